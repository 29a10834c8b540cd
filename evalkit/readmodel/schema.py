"""The tables of the read model, and the head: generation, versions and positions.

The first columns of `studies` and `checkpoints` are public: other programs may read them. The columns after them and the other tables are
internal. During a rebuild, a second set of tables exists, whose names have a suffix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from evalkit.errors import DatabaseDamagedError, SchemaError
from evalkit.readmodel.database.database import REBUILD_HINTS, Database, Row, Statement
from evalkit.readmodel.fold import FOLD_VERSION

__all__ = [
    "FIXED_INDEX",
    "HEAD_STATEMENTS",
    "SCHEMA_VERSION",
    "TABLES",
    "Head",
    "Position",
    "Tables",
    "adopt_partition_count",
    "check_current",
    "create_tables",
    "empty_positions",
    "has_tables",
    "head_of",
    "initialize",
    "query_index",
    "read_head",
]

SCHEMA_VERSION = 3

_COLUMNS = {
    "studies": """id TEXT PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL, period_type TEXT NOT NULL, period_value INTEGER,
        config TEXT NOT NULL, created_at TEXT NOT NULL, started_at TEXT, stopped_at TEXT, archived INTEGER NOT NULL,
        first_name TEXT NOT NULL, first_config TEXT NOT NULL""",
    "checkpoints": """id TEXT NOT NULL, study_id TEXT NOT NULL, timestamp TEXT NOT NULL, metrics TEXT NOT NULL,
        events_analyzed INTEGER NOT NULL, sessions_included TEXT NOT NULL, event_id TEXT NOT NULL, period_start TEXT NOT NULL,
        period_end TEXT NOT NULL, regular INTEGER NOT NULL, provenance TEXT, collector TEXT, malformed TEXT, written_at TEXT,
        log_offset INTEGER NOT NULL, PRIMARY KEY (study_id, id)""",
    "lifecycle": """study_id TEXT NOT NULL, seq INTEGER NOT NULL, event_id TEXT NOT NULL, kind TEXT NOT NULL, written_at TEXT,
        log_offset INTEGER NOT NULL, PRIMARY KEY (study_id, seq)""",
    "changes": """study_id TEXT NOT NULL, seq INTEGER NOT NULL, event_id TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,
        body TEXT NOT NULL, written_at TEXT, log_offset INTEGER NOT NULL, PRIMARY KEY (study_id, seq)""",
    "rejected": """study_id TEXT NOT NULL, event_id TEXT NOT NULL, reason TEXT NOT NULL, kind TEXT NOT NULL, message TEXT NOT NULL,
        written_at TEXT, log_partition INTEGER NOT NULL, log_offset INTEGER NOT NULL, PRIMARY KEY (study_id, event_id, reason)""",
    "quarantined": """study_id TEXT NOT NULL, key TEXT NOT NULL, event_id TEXT NOT NULL, sha256 TEXT NOT NULL, error TEXT NOT NULL,
        bytes INTEGER NOT NULL, data BLOB NOT NULL, log_partition INTEGER NOT NULL, log_offset INTEGER NOT NULL,
        PRIMARY KEY (study_id, key)""",
    "positions": """"partition" INTEGER PRIMARY KEY, next INTEGER NOT NULL, first_sha256 TEXT NOT NULL, last_sha256 TEXT NOT NULL,
        writer TEXT NOT NULL, written_at TEXT NOT NULL""",
}
_META = """CREATE TABLE IF NOT EXISTS meta (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), generation INTEGER NOT NULL,
    schema_version INTEGER NOT NULL, fold_version INTEGER NOT NULL, partitions INTEGER NOT NULL)"""

# Renaming a table does not rename its indexes. The public index, which has a fixed name, is therefore created at the swap.
FIXED_INDEX = "CREATE INDEX IF NOT EXISTS idx_checkpoints_study_time ON checkpoints (study_id, timestamp)"
_PROJECTION_INDEXES = (
    "CREATE INDEX IF NOT EXISTS idx_checkpoints_event{suffix} ON checkpoints{suffix} (study_id, event_id)",
    "CREATE INDEX IF NOT EXISTS idx_checkpoints_malformed{suffix} ON checkpoints{suffix} (study_id) WHERE malformed IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS idx_changes_event{suffix} ON changes{suffix} (study_id, event_id)",
    "CREATE INDEX IF NOT EXISTS idx_changes_subject{suffix} ON changes{suffix} (study_id, subject, kind)",
)
_QUERY_INDEX = "CREATE INDEX IF NOT EXISTS idx_checkpoints_period{suffix} ON checkpoints{suffix} (study_id, period_end, period_start)"

TABLES = tuple(_COLUMNS)
"""The tables that a rebuild replaces."""


class Tables(NamedTuple):
    """The names of one set of tables."""

    studies: str
    checkpoints: str
    lifecycle: str
    changes: str
    rejected: str
    quarantined: str
    positions: str

    @classmethod
    def with_suffix(cls, suffix: str = "") -> Tables:
        """Return the names of the tables with a suffix; by default the live tables."""
        return cls(*(table + suffix for table in TABLES))


class Position(NamedTuple):
    """The progress of the read model in one partition of the log."""

    next: int
    """The offset after the last applied event, or 0."""
    first_sha256: str
    """The SHA-256 of the partition's first event, which identifies the log; empty before the first event."""
    last_sha256: str
    """The SHA-256 of the last applied event; empty before the first event."""


@dataclass(frozen=True)
class Head:
    """The generation, versions and positions of a database at one point in time."""

    generation: int
    schema_version: int
    fold_version: int
    positions: tuple[Position, ...]

    @property
    def is_current(self) -> bool:
        """Whether this version of evalkit, or one with the same tables and rows, created them."""
        return (self.schema_version, self.fold_version) == (SCHEMA_VERSION, FOLD_VERSION)


def create_tables(suffix: str = "") -> list[Statement]:
    """Return the statements that create a set of tables and the index of the projection."""
    names = Tables.with_suffix(suffix)
    statements = [f"CREATE TABLE IF NOT EXISTS {name} ({_COLUMNS[table]})" for table, name in zip(TABLES, names, strict=True)]
    return [(statement, ()) for statement in [*statements, *(index.format(suffix=suffix) for index in _PROJECTION_INDEXES)]]


def query_index(suffix: str = "") -> Statement:
    """Return the statement that creates the index for queries.

    A rebuild creates this index after inserting the rows, which is faster.
    """
    return _QUERY_INDEX.format(suffix=suffix), ()


def empty_positions(partitions: int, suffix: str = "") -> list[Statement]:
    """Return the statements that insert the initial positions."""
    return [(f"INSERT OR IGNORE INTO positions{suffix} VALUES (?, 0, '', '', '', '')", (partition,)) for partition in range(partitions)]


def adopt_partition_count(database: Database, head: Head, partitions: int) -> None:
    """Change the number of partitions of an empty read model.

    Raises
    ------
    ConditionFailed
        When the read model is no longer empty.
    """
    # If another process changed the read model first, this returns no row, and the generation becomes NULL, which fails the batch.
    unchanged = "SELECT generation FROM meta WHERE generation = ? AND partitions = ? AND (SELECT max(next) FROM positions) = 0"
    database.batch(
        [
            (f"UPDATE meta SET generation = ({unchanged}), partitions = ?", (head.generation, len(head.positions), partitions)),
            ("DELETE FROM positions", ()),
            *empty_positions(partitions),
        ]
    )


def check_current(head: Head) -> None:
    """Raise an error if an older version of evalkit created the tables.

    Raises
    ------
    SchemaError
        Its `actual` and `supported` are the versions.
    """
    if not head.is_current:
        raise SchemaError(
            "The read model was created by an older version of evalkit "
            f"(schema {head.schema_version}, projection {head.fold_version}; this version needs schema {SCHEMA_VERSION}, "
            f"projection {FOLD_VERSION})",
            actual=(head.schema_version, head.fold_version), supported=(SCHEMA_VERSION, FOLD_VERSION), **REBUILD_HINTS,
        )  # fmt: skip


def initialize(database: Database, partitions: int) -> None:
    """Create the tables. Concurrent processes can do so at the same time."""
    database.batch(
        [
            (_META, ()),
            *create_tables(),
            query_index(),
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
        When another program created tables with these names.
    """
    tables = {str(name): str(sql) for name, sql in database.execute(_NAMED)}
    if any(name.lower() == "meta" and "fold_version" in sql for name, sql in tables.items()):
        return True
    if tables:
        raise SchemaError(
            f"The database already has tables that evalkit did not create: {', '.join(sorted(tables))}",
            effect="Nothing was changed.",
            hint="Use a separate database for evalkit: another home, or another EVALKIT_DATABASE_URL. If evalkit created this file, "
            "move it away: the next command rebuilds the read model from the log.",
            actual=sorted(tables), supported=[],
        )  # fmt: skip
    return False


# Names are case-insensitive in SQLite, and tables and indexes share a namespace.
_NAMED = (
    "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view', 'index') "
    f"AND lower(name) IN ('meta', {', '.join(map(repr, TABLES))})"
)


def read_head(database: Database) -> Head | None:
    """Return the head of a database; None if it has no tables.

    Raises
    ------
    SchemaError
        When a newer evalkit or another program created the tables.
    """
    if not has_tables(database):
        return None
    meta, rows = database.batch(HEAD_STATEMENTS)
    return head_of(meta, rows)


HEAD_STATEMENTS: list[Statement] = [
    ("SELECT generation, schema_version, fold_version, partitions FROM meta", ()),
    ('SELECT next, first_sha256, last_sha256 FROM positions ORDER BY "partition"', ()),
]
"""The statements that read a `Head`; see `head_of`."""


def head_of(meta: list[Row], rows: list[Row]) -> Head:
    """Return the `Head` from the results of `HEAD_STATEMENTS`.

    Raises
    ------
    SchemaError
        When a newer evalkit created the tables.
    DatabaseDamagedError
        When the rows are missing or inconsistent.
    """
    values = [*(meta[0] if meta else ()), *(row[0] for row in rows)]
    if not meta or not all(isinstance(value, int) for value in values) or meta[0][3] != len(rows):
        raise DatabaseDamagedError(
            "The read model is damaged: another program changed its tables meta and positions",
            effect="No data is lost.", hint="Move its file away, and the next command rebuilds the read model from the log.",
        )  # fmt: skip
    generation, schema, fold, _ = (int(str(value)) for value in meta[0])
    if schema > SCHEMA_VERSION or fold > FOLD_VERSION:
        raise SchemaError(
            f"The read model was created by a newer version of evalkit (schema {schema}, projection {fold}); this version supports schema "
            f"{SCHEMA_VERSION}, projection {FOLD_VERSION}",
            hint="Upgrade evalkit from where you installed it.",
            actual=(schema, fold), supported=(SCHEMA_VERSION, FOLD_VERSION),
        )  # fmt: skip
    return Head(generation, schema, fold, tuple(Position(int(str(n)), str(first), str(last)) for n, first, last in rows))
