"""The commands. Constructing one checks everything a user gave; what exists is valid. Pure: the clock is passed in."""

from __future__ import annotations

import numbers
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from evalkit._util.text import exact_moment
from evalkit.domain import validation as checks
from evalkit.domain.events import CheckpointContent, EncodedEvent, StoredEvalEvent, StudyCreated, encoded_checkpoint
from evalkit.domain.ids import CheckpointId, StudyId, event_id_at, keyed_checkpoint_id, milliseconds, new_id
from evalkit.domain.metrics import METRICS, LongitudinalMetrics, TimePeriod, constructed
from evalkit.domain.study import PeriodType, StudyConfig
from evalkit.domain.times import duration_pair
from evalkit.errors import InvalidInputError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

__all__ = ["CHECKPOINT_COLUMNS", "CreateStudy", "RecordCheckpoint", "checkpoint_commands", "content", "lifecycle_event"]

_OPTIONS = ("timestamp", "events_analyzed", "sessions_included", "recorded_at", "key")
_EXTRAS = ("period_start", "period_end", *_OPTIONS)
_EXTRA_NAMES = frozenset(_EXTRAS)
CHECKPOINT_COLUMNS = (*METRICS, *_EXTRAS)
"""The columns that `record_checkpoints` knows."""
IGNORED_COLUMNS = ("study_id", "study", "period_type", "checkpoint_id")
"""Columns of ``kit.checkpoints()`` that say where a row came from; a frame may be recorded in another study as it is."""


class CreateStudy:
    """Create a study, pending. ``kit.create_study`` takes the same arguments, or the command.

    Parameters
    ----------
    name
        1 to 200 characters, no control characters.
    period
        The length of a checkpoint's period, and how many are planned: ``"daily"``, ``"weekly:2"``, ``(PeriodType.WEEKLY, 2)``.
    description, tags, metadata
        What the study is about; metadata is text by name.

    Raises
    ------
    InvalidInputError
        When an argument is refused.
    """

    __slots__ = ("config", "name", "period_type", "period_value")

    def __init__(
        self,
        name: str,
        *,
        period: str | PeriodType | tuple[str | PeriodType, int] = "daily",
        description: str | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.period_type, self.period_value = checks.check_period(period)
        self.config = StudyConfig(
            description=None if description is None else checks.check_text("description", description, lines=True) or None,
            tags=checks.check_texts("tags", tags),
            metadata=checks.check_metadata({} if metadata is None else metadata),
        )
        self.name = checks.check_name(name)

    def __repr__(self) -> str:
        period = self.period_type.value if self.period_value is None else f"{self.period_type.value}:{self.period_value}"
        return f"CreateStudy({self.name!r}, period={period!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CreateStudy) and all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def event(self, study_id: StudyId, at_ms: int) -> StoredEvalEvent:
        """Return the event to append, `at_ms` milliseconds after 1970 began."""
        created = StudyCreated(
            id=study_id, name=self.name, period_type=self.period_type, period_value=self.period_value, config=self.config
        )
        return StoredEvalEvent(event_id=event_id_at(at_ms), event=created)


def lifecycle_event(kind: str, study_id: str, at_ms: int) -> StoredEvalEvent:
    """Return the event that a lifecycle command appends, `at_ms` milliseconds after 1970 began; `kind` is a key of `TRANSITIONS`."""
    return StoredEvalEvent.model_validate({"event_id": event_id_at(at_ms), "event": {"type": kind, "id": study_id}})


class RecordCheckpoint:
    """Record what was measured in one period of a study. ``kit.record_checkpoint`` takes the same arguments, or the command.

    Parameters
    ----------
    metrics
        A `LongitudinalMetrics`, or a mapping with the names in `CHECKPOINT_COLUMNS` or ``"period": (start, end)``.
    period
        ``(start, end)`` with time zones, where `metrics` does not have it.
    timestamp, events_analyzed, sessions_included, recorded_at, key
        See ``kit.record_checkpoint``; where `metrics` does not have them.
    now
        The clock, for `recorded_at`: by default the system's.

    Raises
    ------
    InvalidInputError
        When an argument is refused, or is given twice.
    """

    __slots__ = ("at", "events_analyzed", "key", "metrics", "sessions_included", "timestamp")

    metrics: LongitudinalMetrics
    timestamp: datetime
    """When it was taken; the end of the period where it was not given."""
    events_analyzed: int
    sessions_included: list[str]
    key: str | None
    at: datetime | None
    """When it was recorded; None is now."""

    def __init__(
        self,
        metrics: LongitudinalMetrics | Mapping[str, object],
        *,
        period: TimePeriod | tuple[datetime | str, datetime | str] | None = None,
        timestamp: datetime | str | None = None,
        events_analyzed: int | None = None,
        sessions_included: Iterable[str] | None = None,
        recorded_at: datetime | str | None = None,
        key: str | None = None,
        now: datetime | None = None,
    ) -> None:
        given = checks.metrics_as_mapping(metrics)
        options = (period, timestamp, events_analyzed, sessions_included, recorded_at, key)
        if any(option is not None for option in options):
            given = _merged(given, dict(zip(("period", *_OPTIONS), options, strict=True)))
        values: dict[str, Any] = dict.fromkeys(METRICS)
        for name, value in given.items():
            checker = checks.CHECKERS.get(name)
            if checker is not None:
                if value is not None and (type(value) in (float, int) or not checks.is_missing(value)):
                    values[name] = checker(name, value)
            elif name not in _EXTRA_NAMES:
                raise _unknown_name(name)
        for name in ("period_start", "period_end"):
            if given.get(name) is None:
                raise InvalidInputError(
                    f"{name} is missing", hint="A checkpoint needs its period: period_start and period_end, with a time zone.",
                    field=name, value=None,
                )  # fmt: skip
        start, end = checks.check_bounds(given["period_start"], given["period_end"])
        values["period"] = constructed(TimePeriod, {"start": start, "end": end})
        self.metrics = constructed(LongitudinalMetrics, values)
        self.timestamp, self.events_analyzed, self.sessions_included = end, 0, []
        self.key = self.at = None
        for name in _OPTIONS:
            value = given.get(name)
            if value is None or checks.is_missing(value):
                continue
            if name == "timestamp":
                self.timestamp = checks.check_time(name, value)
            elif name == "events_analyzed":
                self.events_analyzed = checks.check_count(name, value)
            elif name == "sessions_included":
                self.sessions_included = checks.check_texts(name, value)
            elif name == "recorded_at":
                self.at = checks.check_at(name, value, now)
            else:
                self.key = checks.check_text(name, value, low=1, high=500)

    def __repr__(self) -> str:
        period, measured = self.metrics.period, len(self.metrics.measured())
        key = "" if self.key is None else f", key={self.key!r}"
        return (
            f"RecordCheckpoint([{exact_moment(period.start)} .. {exact_moment(period.end)}) UTC, {measured} of {len(METRICS)} metrics{key})"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecordCheckpoint) and (content(self), self.key, self.at) == (content(other), other.key, other.at)

    __hash__ = None  # type: ignore[assignment]

    def checkpoint_id(self, study_id: str) -> CheckpointId:
        """Return the id: from the key when there is one, so that the same key is the same checkpoint; else a new one."""
        return CheckpointId(new_id()) if self.key is None else keyed_checkpoint_id(study_id, self.key)

    def encoded(self, study_id: str, checkpoint_id: str) -> EncodedEvent:
        """Return the event to append.

        Raises
        ------
        InvalidInputError
            When it is larger than an event may be.
        """
        event_id = new_id() if self.at is None else event_id_at(milliseconds(self.at))
        return encoded_checkpoint(event_id, checkpoint_id, study_id, self)


def content(checkpoint: CheckpointContent) -> tuple[object, ...]:
    """Return what a checkpoint says, beside its ids: of checkpoints that say the same it is equal, and has the same hash."""
    duration = checkpoint.metrics.avg_session_duration  # as a timedelta it compares without its nanoseconds
    exact = None if duration is None else duration_pair(duration)
    return checkpoint.timestamp, checkpoint.metrics, exact, checkpoint.events_analyzed, tuple(checkpoint.sessions_included)


def checkpoint_commands(
    rows: pl.DataFrame | pd.DataFrame | Sequence[Mapping[str, Any] | RecordCheckpoint], *, now: datetime | None = None
) -> list[RecordCheckpoint]:
    """Return the commands of a Polars or pandas DataFrame, or of a list of mappings or commands.

    Raises
    ------
    InvalidInputError
        Naming the row (counted from 0) and the column, when anything is wrong with any of them.
    """
    commands = []
    for row, given in enumerate(_mappings(rows)):
        try:
            commands.append(given if isinstance(given, RecordCheckpoint) else RecordCheckpoint(given, now=now))
        except InvalidInputError as error:
            raise error.in_row(row, effect="Nothing was recorded.") from None
    return commands


def _merged(given: Mapping[str, Any], options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metrics and the options in one mapping; None is an option that was not given."""
    merged = dict(given)
    for name, value in options.items():
        if value is None:
            continue
        if name == "period" and given.keys() & {"period_start", "period_end"}:
            raise InvalidInputError("period: the metrics have one, too", allowed="give one or the other", field="period", value=value)
        if given.get(name) is not None:
            raise checks.invalid(name, value, f"is given beside {checks.shown(given[name])} in the metrics", "give one or the other")
        merged[name] = value
    return checks.metrics_as_mapping(merged)


def _among(name: object, columns: Sequence[str]) -> bool:
    """Whether a name is one of some columns; pandas' NA, for one, cannot be compared with a text."""
    return isinstance(name, str) and name in columns


def _unknown_name(name: object) -> InvalidInputError:
    near = checks.nearest(name, CHECKPOINT_COLUMNS)
    return InvalidInputError(
        f"{checks.shown(name)} is no metric.{near}",
        hint=f"The metrics are {', '.join(METRICS)}; besides them there are {', '.join(_EXTRAS)}.",
        field=name if isinstance(name, str) else checks.shown(name), value=name,
    )  # fmt: skip


def _mappings(rows: Any) -> Iterable[Mapping[str, Any]]:
    """Give the rows of a frame or list as mappings; in a Pandas frame, where NaN means missing, without those."""
    module = type(rows).__module__.partition(".")[0]
    if module in ("polars", "pandas"):
        if not hasattr(rows, "iter_rows" if module == "polars" else "to_dict") or not hasattr(rows, "columns"):
            raise _no_rows(rows)
        twice = [column for column, times in Counter(rows.columns).items() if times > 1]
        if twice:
            raise checks.invalid("rows", twice[0], "is the name of two columns", "keep one of them")
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
        raise _no_rows(rows)
    return [_known_columns(row) for row in rows]


def _no_rows(rows: object) -> InvalidInputError:
    collect = "Call .collect() first." if hasattr(rows, "collect") else ""
    return checks.invalid("rows", type(rows).__name__, "is no frame", "give a Polars or Pandas frame, or a list of mappings", collect)


def _is_nan(value: object) -> bool:
    return isinstance(value, numbers.Real) and value != value  # noqa: PLR0124 - math.isnan() fails at huge fractions


def _known_columns(row: Any) -> Any:
    """Give a mapping without the columns that say where a row came from; anything else as it is."""
    return {key: value for key, value in row.items() if not _among(key, IGNORED_COLUMNS)} if isinstance(row, Mapping) else row
