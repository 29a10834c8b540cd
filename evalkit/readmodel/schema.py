"""The tables of the read model, and what a database says of itself.

`studies` and `checkpoints` begin with columns that other programs may read; evalkit's own columns and tables come after them.
Every table exists under its plain name, and, while a rebuild runs, once more with a suffix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from evalkit.errors import DatabaseDamagedError, SchemaError
from evalkit.readmodel.database.database import Database, Row, Statement
from evalkit.readmodel.fold import FOLD_VERSION

__all__ = [
    "FIXED_INDEX",
    "HEAD_STATEMENTS",
    "SCHEMA_VERSION",
    "TABLES",
    "Head",
    "Position",
    "Tables",
    "create_tables",
    "empty_positions",
    "follow_count",
    "has_tables",
    "head_of",
    "initialize",
    "read_head",
    "reading_index",
]

SCHEMA_VERSION = 2

_COLUMNS = {
    "studies": """id TEXT PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL, period_type TEXT NOT NULL, period_value INTEGER,
        config TEXT NOT NULL, created_at TEXT NOT NULL, started_at TEXT, stopped_at TEXT""",
    "checkpoints": """id TEXT NOT NULL, study_id TEXT NOT NULL, timestamp TEXT NOT NULL, metrics TEXT NOT NULL,
        events_analyzed INTEGER NOT NULL, sessions_included TEXT NOT NULL, event_id TEXT NOT NULL, period_start TEXT NOT NULL,
        period_end TEXT NOT NULL, regular INTEGER NOT NULL, PRIMARY KEY (study_id, id)""",
    "lifecycle": """study_id TEXT NOT NULL, seq INTEGER NOT NULL, event_id TEXT NOT NULL, kind TEXT NOT NULL,
        PRIMARY KEY (study_id, seq)""",
    "rejected": """study_id TEXT NOT NULL, event_id TEXT NOT NULL, reason TEXT NOT NULL, kind TEXT NOT NULL, message TEXT NOT NULL,
        PRIMARY KEY (study_id, event_id, reason)""",
    "quarantined": """study_id TEXT NOT NULL, key TEXT NOT NULL, event_id TEXT NOT NULL, sha256 TEXT NOT NULL, error TEXT NOT NULL,
        bytes INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (study_id, key)""",
    "positions": """"partition" INTEGER PRIMARY KEY, next INTEGER NOT NULL, first_sha256 TEXT NOT NULL, last_sha256 TEXT NOT NULL,
        writer TEXT NOT NULL, written_at TEXT NOT NULL""",
}
_META = """CREATE TABLE IF NOT EXISTS meta (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), generation INTEGER NOT NULL,
    schema_version INTEGER NOT NULL, fold_version INTEGER NOT NULL, partitions INTEGER NOT NULL)"""

# The name of an index outlives the renaming of its table. One name is fixed, for other programs: it is made at the swap.
FIXED_INDEX = "CREATE INDEX IF NOT EXISTS idx_checkpoints_study_time ON checkpoints (study_id, timestamp)"
_FOLDING_INDEX = "CREATE INDEX IF NOT EXISTS idx_checkpoints_event{suffix} ON checkpoints{suffix} (study_id, event_id)"
_READING_INDEX = "CREATE INDEX IF NOT EXISTS idx_checkpoints_period{suffix} ON checkpoints{suffix} (study_id, period_end, period_start)"

TABLES = tuple(_COLUMNS)
"""The tables that a rebuild makes anew."""


class Tables(NamedTuple):
    """The names of one set of tables."""

    studies: str
    checkpoints: str
    lifecycle: str
    rejected: str
    quarantined: str
    positions: str

    @classmethod
    def with_suffix(cls, suffix: str = "") -> Tables:
        """Give the names with a suffix; without one, those of the tables that serve."""
        return cls(*(table + suffix for table in TABLES))


class Position(NamedTuple):
    """How far a partition has been applied."""

    next: int
    """The offset after the last applied event; 0 when there is none."""
    first_sha256: str
    """Of the partition's first event: a part of the log's identity. Empty until seen."""
    last_sha256: str
    """Of the last applied event. Empty until there is one."""


@dataclass(frozen=True)
class Head:
    """What a database says of itself at one moment."""

    generation: int
    schema_version: int
    fold_version: int
    positions: tuple[Position, ...]


def create_tables(suffix: str = "") -> list[Statement]:
    """Give the statements that make one set of tables, with what folding needs of indexes."""
    names = Tables.with_suffix(suffix)
    statements = [f"CREATE TABLE IF NOT EXISTS {name} ({_COLUMNS[table]})" for table, name in zip(TABLES, names, strict=True)]
    return [(statement, ()) for statement in [*statements, _FOLDING_INDEX.format(suffix=suffix)]]


def reading_index(suffix: str = "") -> Statement:
    """Give the statement that makes the index which only readers need: later is faster, when many rows are written."""
    return _READING_INDEX.format(suffix=suffix), ()


def empty_positions(partitions: int, suffix: str = "") -> list[Statement]:
    """Give the statements that make each partition's position: a compare-and-set needs a row to compare."""
    return [(f"INSERT OR IGNORE INTO positions{suffix} VALUES (?, 0, '', '', '', '')", (partition,)) for partition in range(partitions)]


def follow_count(database: Database, head: Head, partitions: int) -> None:
    """Give a read model that holds nothing yet the positions of a log with another number of partitions.

    Raises
    ------
    ConditionFailed
        When it holds something by now.
    """
    # Where another process was quicker this gives no row, so NULL is set, which fails the batch.
    still = "SELECT generation FROM meta WHERE generation = ? AND partitions = ? AND (SELECT max(next) FROM positions) = 0"
    database.batch(
        [
            (f"UPDATE meta SET generation = ({still}), partitions = ?", (head.generation, len(head.positions), partitions)),
            ("DELETE FROM positions", ()),
            *empty_positions(partitions),
        ]
    )


def initialize(database: Database, partitions: int) -> None:
    """Create the tables in a database where `has_tables` found none. Harmless when another process does the same."""
    database.batch(
        [
            (_META, ()),
            *create_tables(),
            reading_index(),
            (FIXED_INDEX, ()),
            ("INSERT OR IGNORE INTO meta VALUES (1, 1, ?, ?, ?)", (SCHEMA_VERSION, FOLD_VERSION, partitions)),
            *empty_positions(partitions),
        ]
    )


def has_tables(database: Database) -> bool:
    """Return whether a database has the tables of a read model.

    Raises
    ------
    SchemaError
        When it has tables of these names that another program created.
    """
    found = {str(name): str(sql) for name, sql in database.execute(_NAMED)}
    if any(name.lower() == "meta" and "fold_version" in sql for name, sql in found.items()):
        return True
    if found:
        raise SchemaError(
            f"The database already has tables that evalkit did not create: {', '.join(sorted(found))}",
            effect="Nothing was changed.",
            hint="Use a database of its own for evalkit: another home, or another EVALKIT_DATABASE_URL. If this one is evalkit's, move its "
            "file away: the next command rebuilds the read model from the log.",
            found=sorted(found), supported=[],
        )  # fmt: skip
    return False


# SQLite does not distinguish upper and lower case in names, and gives a table no name that an index has.
_NAMED = (
    "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view', 'index') "
    f"AND lower(name) IN ('meta', {', '.join(map(repr, TABLES))})"
)


def read_head(database: Database) -> Head | None:
    """Read what a database says of itself; None when it has no tables.

    Raises
    ------
    SchemaError
        When a newer evalkit, or another program, made it.
    """
    if not has_tables(database):
        return None
    meta, rows = database.batch(HEAD_STATEMENTS)
    return head_of(meta, rows)


HEAD_STATEMENTS: list[Statement] = [
    ("SELECT generation, schema_version, fold_version, partitions FROM meta", ()),
    ('SELECT next, first_sha256, last_sha256 FROM positions ORDER BY "partition"', ()),
]
"""What `head_of` is made from: the first statements of every snapshot."""


def head_of(meta: list[Row], rows: list[Row]) -> Head:
    """Make a `Head` of the rows that `HEAD_STATEMENTS` gave.

    Raises
    ------
    SchemaError
        When a newer evalkit made the tables.
    DatabaseDamagedError
        When it says nothing of itself, or contradicts itself.
    """
    values = [*(meta[0] if meta else ()), *(row[0] for row in rows)]
    if not meta or not all(isinstance(value, int) for value in values) or meta[0][3] != len(rows):
        raise DatabaseDamagedError(
            "The read model is damaged: what it notes of itself (the tables meta and positions) was changed by another program",
            hint="Nothing is lost, it is made from the log: move its file away, and the next command makes it anew.",
        )
    generation, schema, fold, _ = (int(str(value)) for value in meta[0])
    if schema > SCHEMA_VERSION or fold > FOLD_VERSION:
        raise SchemaError(
            f"The read model was made by a newer evalkit (schema {schema}, fold {fold}); this one knows schema {SCHEMA_VERSION}, "
            f"fold {FOLD_VERSION}",
            hint="Upgrade evalkit from where you installed it.",
            found=(schema, fold), supported=(SCHEMA_VERSION, FOLD_VERSION),
        )  # fmt: skip
    return Head(generation, schema, fold, tuple(Position(int(str(n)), str(first), str(last)) for n, first, last in rows))
