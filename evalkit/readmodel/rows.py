"""Check the rows of a read model, and name the first row that another program changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from pydantic_core import from_json

from evalkit.domain.events import KINDS, LIFECYCLE_KINDS, SEED_KINDS, event_of
from evalkit.domain.ids import normalize_event_id, normalize_id
from evalkit.domain.lenient import Provenance
from evalkit.domain.metrics import LongitudinalMetrics
from evalkit.domain.study import PeriodType, StudyConfig, StudyStatus
from evalkit.domain.times import MAX_COUNT, stored_time
from evalkit.errors import DatabaseDamagedError, EvalkitError
from evalkit.readmodel.database.database import REBUILD_HINTS, ConditionFailed, Database, Row, Value, pages
from evalkit.readmodel.fold import Reason

__all__ = ["check_rows", "readable"]

_PAGE = 2000
_SHOWN = 80


class _Check(NamedTuple):
    """The check of the values of a column."""

    accepts: Callable[[Value], object]
    """Returns a true value for a valid value; otherwise returns a false value or raises."""
    expected: str


def _one_of(values: Sequence[str]) -> _Check:
    return _Check(values.__contains__, ", ".join(values))


def _integer(low: int, high: int) -> _Check:
    return _Check(lambda value: isinstance(value, int) and low <= value <= high, f"an integer from {low} to {high}")


def _normal(normalize: Callable[[str], str], expected: str) -> _Check:
    return _Check(lambda value: isinstance(value, str) and normalize(value) == value, expected)


def _model(model: type[StudyConfig | LongitudinalMetrics | Provenance], expected: str) -> _Check:
    return _Check(lambda value: isinstance(value, str) and model.model_validate_json(value, extra="ignore") is not None, expected)


def _compact(check: _Check) -> _Check:
    return _Check(lambda value: str(value).startswith("{") and check.accepts(value), check.expected)


def _or(other: Value, name: str, check: _Check) -> _Check:
    return _Check(lambda value: value == other or check.accepts(value), f"{check.expected}, or {name}")


def _is_list_of_strings(value: Value) -> bool:
    items = from_json(value) if isinstance(value, str) else None
    return isinstance(items, list) and all(isinstance(item, str) for item in items)


_ID = _normal(normalize_id, "a lowercase UUID of 36 characters")
_EVENT_ID = _normal(normalize_event_id, "a lowercase version 7 UUID of 36 characters")
_TIME = _normal(stored_time, "a time like 2026-01-31T08:00:00.000000Z")
_OPTIONAL_TIME = _or(None, "NULL", _TIME)
_OFFSET = _integer(0, MAX_COUNT)
_TEXT = _Check(lambda value: isinstance(value, str), "text")
_CONFIG = _model(StudyConfig, "a JSON object with description, tags and metadata")
_PROVENANCE = _model(Provenance, "a JSON object with a collector")
_BODY = _Check(lambda value: isinstance(value, str) and event_of(value) is not None, "the JSON text of an event")
_TABLES: dict[str, tuple[int, dict[str, _Check]]] = {
    "studies": (1, {
        "id": _ID, "name": _TEXT, "status": _one_of(list(StudyStatus)), "period_type": _one_of(list(PeriodType)),
        "period_value": _or(None, "NULL", _integer(0, 2**32 - 1)),
        "config": _CONFIG, "created_at": _TIME,
        "started_at": _OPTIONAL_TIME, "stopped_at": _OPTIONAL_TIME, "archived": _integer(0, 1), "first_name": _TEXT,
        "first_config": _CONFIG,
    }),
    "checkpoints": (2, {
        "study_id": _ID, "id": _ID, "timestamp": _TIME,
        "metrics": _compact(_model(LongitudinalMetrics, "a JSON object with metrics and a period")),
        "events_analyzed": _integer(0, MAX_COUNT), "sessions_included": _Check(_is_list_of_strings, "a JSON list of strings"),
        "event_id": _EVENT_ID, "period_start": _TIME, "period_end": _TIME, "regular": _integer(0, 1),
        "provenance": _or(None, "NULL", _PROVENANCE), "collector": _or(None, "NULL", _TEXT), "malformed": _or(None, "NULL", _TEXT),
        "written_at": _OPTIONAL_TIME, "log_offset": _OFFSET,
    }),
    "lifecycle": (2, {
        "study_id": _ID, "seq": _integer(1, MAX_COUNT), "event_id": _EVENT_ID, "kind": _one_of(LIFECYCLE_KINDS),
        "written_at": _OPTIONAL_TIME, "log_offset": _OFFSET,
    }),
    "changes": (2, {
        "study_id": _ID, "seq": _integer(1, MAX_COUNT), "event_id": _EVENT_ID, "kind": _one_of(KINDS[len(SEED_KINDS):]), "subject": _TEXT,
        "body": _BODY, "written_at": _OPTIONAL_TIME, "log_offset": _OFFSET,
    }),
    "rejected": (2, {
        "study_id": _ID, "event_id": _EVENT_ID, "reason": _one_of(list(Reason)), "kind": _one_of(KINDS), "message": _TEXT,
        "written_at": _OPTIONAL_TIME, "log_partition": _OFFSET, "log_offset": _OFFSET,
    }),
    "quarantined": (2, {
        "study_id": _or("", "empty", _ID), "key": _TEXT, "event_id": _or("", "empty", _EVENT_ID), "error": _TEXT,
        "log_partition": _OFFSET, "log_offset": _OFFSET,
    }),
}  # fmt: skip
"""The number of leading key columns and the check of each column, by table."""
_EXPRESSIONS = {"first_config": "coalesce(nullif(first_config, config), '{}')"}
"""The SQL of columns that are not read as they are: two equal texts could exceed a server's response limit."""


@contextmanager
def readable(database: Database) -> Iterator[None]:
    """Replace an error caused by an invalid row with one that names the row.

    Raises
    ------
    DatabaseDamagedError
        When the block raises an error and a row of the read model is invalid. Other errors are raised unchanged.
    """
    try:
        yield
    except (EvalkitError, ConditionFailed, Warning):  # a filter may turn warnings into exceptions
        raise
    except Exception as error:
        damage = _damage(database)
        if damage is None:
            raise
        damage.driver_message = str(error)
        raise damage from None


def check_rows(database: Database) -> None:
    """Check all rows of a read model.

    Raises
    ------
    DatabaseDamagedError
        When a row has a value that evalkit does not write. The error names the first such row.
    """
    damage = _damage(database)
    if damage is not None:
        raise damage


def _damage(database: Database) -> DatabaseDamagedError | None:
    for table, (width, columns) in _TABLES.items():
        for row in _rows(database, table, ", ".join(_EXPRESSIONS.get(column, column) for column in columns)):
            key = dict(zip(columns, row[:width], strict=False))
            for (column, check), value in zip(columns.items(), row, strict=True):
                if not _accepts(check, value):
                    return _damaged_row(table, key, column, value, f"expected {check.expected}")
        if table in ("checkpoints", "lifecycle", "changes"):
            names = list(columns)[:width]
            # A single statement, so that concurrent writes cannot cause false results.
            orphans = database.execute(f"SELECT {', '.join(names)} FROM {table} WHERE study_id NOT IN (SELECT id FROM studies) LIMIT 1")
            for row in orphans:
                return _damaged_row(table, dict(zip(names, row, strict=True)), "study_id", row[0], "no study has this id")
    return None


def _rows(database: Database, table: str, columns: str) -> Iterator[Row]:
    sql = f"SELECT rowid, {columns} FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT ?"
    rows = pages(lambda after, limit: database.execute(sql, (*after, limit)), (-(2**63),), lambda row: row[:1], _PAGE)
    return (row[1:] for row in rows)


def _accepts(check: _Check, value: Value) -> bool:
    try:
        return bool(check.accepts(value))
    except (ValueError, TypeError):
        return False


def _damaged_row(table: str, key: dict[str, Value], column: str, value: Value, reason: str) -> DatabaseDamagedError:
    shown, where = repr(value), ", ".join(f"{name} {part!r}" for name, part in key.items())
    shown = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 3] + "..."
    return DatabaseDamagedError(
        f"Another program changed a row of the read model, in the table {table!r} ({where}): {column} is {shown} ({reason})",
        effect="No data is lost.", table=table, key=tuple(key.values()), column=column, value=value, **REBUILD_HINTS,
    )  # fmt: skip
