"""The commands, and what each appends. Pure: the clock and the source of ids are passed in.

A command is made from what a user gave, and checked as a whole; nothing is appended when anything is wrong.
"""

from __future__ import annotations

import numbers
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from evalkit.domain import validation as checks
from evalkit.domain.codec import encode_checkpoint
from evalkit.domain.events import MAX_EVENT_BYTES, EncodedEvent, StoredEvalEvent, StudyCreated
from evalkit.domain.ids import StudyId, event_id_at, keyed_checkpoint_id, milliseconds, new_id
from evalkit.domain.metrics import METRICS
from evalkit.domain.study import PeriodType, StudyConfig
from evalkit.domain.times import wire_time
from evalkit.errors import InvalidInputError

__all__ = ["CHECKPOINT_COLUMNS", "CreateStudy", "RecordCheckpoint", "lifecycle_message"]

_EXTRAS = ("period_start", "period_end", "timestamp", "events_analyzed", "sessions_included", "recorded_at", "key")
CHECKPOINT_COLUMNS = (*METRICS, *_EXTRAS)
"""The columns that `record_checkpoints` knows."""
IGNORED_COLUMNS = ("study_id", "study", "period_type", "checkpoint_id")
"""Columns of ``kit.checkpoints()`` that say where a row came from; a frame may be recorded in another study as it is."""


@dataclass(frozen=True, kw_only=True)
class CreateStudy:
    """Create a study, pending."""

    name: str
    period_type: PeriodType
    period_value: int | None
    config: StudyConfig

    @classmethod
    def of(
        cls, name: object, period: object = "daily", description: object = None, tags: object = (), metadata: object = None
    ) -> CreateStudy:
        """Make the command from what a user gave.

        Raises
        ------
        InvalidInputError
            When anything is wrong with it.
        """
        period_type, period_value = checks.check_period(period)
        config = StudyConfig(
            description=None if description is None else checks.check_text("description", description, lines=True) or None,
            tags=checks.check_texts("tags", tags),
            metadata=checks.check_metadata({} if metadata is None else metadata),
        )
        return cls(name=checks.check_name(name), period_type=period_type, period_value=period_value, config=config)

    def message(self, study_id: StudyId, at_ms: int) -> EncodedEvent:
        """Return the event to append, `at_ms` milliseconds after 1970 began."""
        created = StudyCreated(
            id=study_id, name=self.name, period_type=self.period_type, period_value=self.period_value, config=self.config
        )
        stored = StoredEvalEvent(event_id=event_id_at(at_ms), event=created)
        return _checked_size(EncodedEvent(study_id, stored.event_id, stored.to_wire()))


def lifecycle_message(kind: str, study_id: str, at_ms: int) -> EncodedEvent:
    """Give the event that a lifecycle command appends: `kind` is one of `TRANSITIONS`."""
    stored = StoredEvalEvent.model_validate({"event_id": event_id_at(at_ms), "event": {"type": kind, "id": study_id}})
    return EncodedEvent(study_id, stored.event_id, stored.to_wire())


@dataclass(slots=True)
class RecordCheckpoint:
    """Record what was measured in one period of a study. Values are in the form that they have on the wire."""

    metrics: dict[str, Any]
    """All 16 in wire order, None for what was not measured, then the period."""
    timestamp: str
    events_analyzed: int = 0
    sessions_included: list[str] = field(default_factory=list)
    key: str | None = None
    at: datetime | None = None
    """When it was recorded; None is now."""

    @classmethod
    def of(cls, given: Mapping[str, Any], *, now: datetime) -> RecordCheckpoint:
        """Make the command from a mapping with the names in `CHECKPOINT_COLUMNS`.

        Raises
        ------
        InvalidInputError
            When anything is wrong with it.
        """
        values: dict[str, Any] = dict.fromkeys(METRICS)
        for name, value in given.items():
            if name in METRICS:
                if value is not None and (type(value) in (float, int) or not checks.is_missing(value)):
                    values[name] = checks.CHECKERS[name](name, value)
            elif not _among(name, _EXTRAS):
                raise _unknown_name(name)
        for name in ("period_start", "period_end"):
            if given.get(name) is None:
                raise InvalidInputError(
                    f"{name} is missing. A checkpoint needs its period: period_start and period_end, with a time zone.",
                    field=name,
                    value=None,
                )
        start, end = checks.check_bounds(given["period_start"], given["period_end"])
        values["period"] = {"start": wire_time(start), "end": wire_time(end)}
        command = cls(values, values["period"]["end"])
        for name in ("timestamp", "events_analyzed", "sessions_included", "recorded_at", "key"):
            value = given.get(name)
            if value is None or checks.is_missing(value):
                continue
            if name == "timestamp":
                command.timestamp = wire_time(checks.check_time(name, value))
            elif name == "events_analyzed":
                command.events_analyzed = checks.check_count(name, value)
            elif name == "sessions_included":
                command.sessions_included = checks.check_texts(name, value)
            elif name == "recorded_at":
                command.at = checks.check_at(name, value, now)
            else:
                command.key = checks.check_text(name, value, low=1, high=500)
        return command

    @classmethod
    def of_rows(cls, rows: Any, *, now: datetime) -> list[RecordCheckpoint]:
        """Make the commands from a Polars or Pandas frame, or a list of mappings.

        Raises
        ------
        InvalidInputError
            Naming the row (counted from 0) and the column, when anything is wrong with any of them.
        """
        commands = []
        for row, given in enumerate(_mappings(rows)):
            try:
                commands.append(cls.of(checks.metrics_as_mapping(given), now=now))
            except InvalidInputError as error:
                raise InvalidInputError(
                    f"row {row}, {error} Nothing was recorded.", field=error.field, value=error.value, row=row
                ) from None
        return commands

    def checkpoint_id(self, study_id: str) -> str:
        """Give the id: from the key when there is one, so that the same key is the same checkpoint; else a new one."""
        return new_id() if self.key is None else keyed_checkpoint_id(study_id, self.key)

    def message(self, study_id: str, checkpoint_id: str) -> EncodedEvent:
        """Give the event to append."""
        event_id = new_id() if self.at is None else event_id_at(milliseconds(self.at))
        wire = encode_checkpoint(
            event_id, checkpoint_id, study_id, self.timestamp, self.metrics, self.events_analyzed, self.sessions_included
        )
        return _checked_size(EncodedEvent(study_id, event_id, wire))


def _among(name: object, columns: Sequence[str]) -> bool:
    """Whether a name is one of some columns; Pandas' NA, for one, cannot be compared with a text."""
    return isinstance(name, str) and name in columns


def _unknown_name(name: object) -> InvalidInputError:
    hint = checks.nearest(name, CHECKPOINT_COLUMNS)
    return InvalidInputError(
        f"{checks.shown(name)} is no metric.{hint} The metrics are {', '.join(METRICS)}; besides them there are {', '.join(_EXTRAS)}.",
        field=name if isinstance(name, str) else checks.shown(name), value=name,
    )  # fmt: skip


def _checked_size(message: EncodedEvent) -> EncodedEvent:
    if len(message.data) > MAX_EVENT_BYTES:
        raise InvalidInputError(
            f"The event has {len(message.data):,} bytes; at most {MAX_EVENT_BYTES:,} are allowed. Shorten its texts or list of sessions.",
            field="event", value=len(message.data),
        )  # fmt: skip
    return message


def _mappings(rows: Any) -> Iterable[Mapping[str, Any]]:
    """Give the rows of a frame or list as mappings; in a Pandas frame, where NaN means missing, without those."""
    module = type(rows).__module__.partition(".")[0]
    if module in ("polars", "pandas"):
        if not hasattr(rows, "iter_rows" if module == "polars" else "to_dict") or not hasattr(rows, "columns"):
            collect = " Call .collect() first." if hasattr(rows, "collect") else ""
            raise checks.invalid(
                "rows", type(rows).__name__, f"is no frame; give a Polars or Pandas frame, or a list of mappings.{collect}"
            )
        twice = [column for column, times in Counter(rows.columns).items() if times > 1]
        if twice:
            raise checks.invalid("rows", twice[0], "is the name of two columns; keep one of them.")
        for column in rows.columns:
            if not _among(column, CHECKPOINT_COLUMNS) and not _among(column, IGNORED_COLUMNS):
                raise _unknown_name(column)
        kept = [column for column in rows.columns if _among(column, CHECKPOINT_COLUMNS)]
        if module == "polars":
            return rows.select(kept).iter_rows(named=True)  # type: ignore[no-any-return]
        # Not by to_dict(), which fails at objects that Pandas has no type for, such as a timedelta64 in years.
        columns = [rows[column].tolist() for column in kept]
        return [
            {str(name): value for name, value in zip(kept, row, strict=True) if not _is_nan(value)}
            for row in (zip(*columns, strict=True) if columns else [()] * len(rows))
        ]
    if isinstance(rows, Mapping | str | bytes) or not isinstance(rows, Sequence):
        raise checks.invalid("rows", type(rows).__name__, "is no frame; give a Polars or Pandas frame, or a list of mappings.")
    return [_known_columns(row) for row in rows]


def _is_nan(value: object) -> bool:
    return isinstance(value, numbers.Real) and value != value  # noqa: PLR0124 - math.isnan() fails at huge fractions


def _known_columns(row: Any) -> Any:
    """Give a mapping without the columns that say where a row came from; anything else as it is."""
    return {key: value for key, value in row.items() if not _among(key, IGNORED_COLUMNS)} if isinstance(row, Mapping) else row
