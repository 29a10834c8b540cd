"""The commands to create studies and to record checkpoints.

The constructors check all input, so every command object is valid. Pure: the current time is a parameter.
"""

from __future__ import annotations

import numbers
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from evalkit._util.text import exact_moment
from evalkit.domain import validation as checks
from evalkit.domain.catalog import METRICS, RESERVED, is_custom_name
from evalkit.domain.definitions import Metric
from evalkit.domain.events import CheckpointContent, EncodedEvent, StoredEvalEvent, StudyCreated, encoded_checkpoint
from evalkit.domain.ids import CheckpointId, StudyId, event_id_at, keyed_checkpoint_id, milliseconds, new_id
from evalkit.domain.lenient import MAX_CUSTOM, Provenance, is_sha256
from evalkit.domain.metrics import LongitudinalMetrics, TimePeriod, constructed
from evalkit.domain.periods import period_end, period_start
from evalkit.domain.refusals import a_type, invalid, is_missing, shown, unknown_name
from evalkit.domain.study import CADENCE, PER_RUN, PeriodType, StudyConfig
from evalkit.domain.time_input import CadenceOf, check_at, check_bounds, check_local_time, check_order, check_time, check_zone, zone_name
from evalkit.domain.times import duration_pair
from evalkit.errors import InvalidInputError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

__all__ = [
    "CHECKPOINT_COLUMNS", "AutoDefinitions", "CreateStudy", "RecordCheckpoint", "RowReader", "check_custom", "check_runs",
    "checked_provenance", "checkpoint_commands", "content", "is_auto", "lifecycle_event", "unknown_field",
]  # fmt: skip

_OPTIONS = ("timestamp", "events_analyzed", "sessions_included", "recorded_at", "key")
_EXTRAS = ("period_start", "period_end", *_OPTIONS)
_EXTRA_NAMES = frozenset((*_EXTRAS, "provenance"))
CHECKPOINT_COLUMNS = (*METRICS, *_EXTRAS)
"""The columns that `record_checkpoints` records."""
IGNORED_COLUMNS = ("study_id", "study", "period_type", "checkpoint_id", "revision", "collector")
"""Columns of ``kit.checkpoints()`` that identify a row's origin.

They are ignored, so that the frame of one study can be recorded in another.
"""
_check_time = partial(check_time, suggest_tz=True)
_STARTS = {
    PeriodType.HOURLY: "an hour", PeriodType.DAILY: "a day", PeriodType.WEEKLY: "a week (Monday 00:00)", PeriodType.MONTHLY: "a month",
}  # fmt: skip


class CreateStudy:
    """The command to create a study.

    ``kit.create_study`` takes the same arguments, or the command.

    Parameters
    ----------
    name
        1 to 200 characters, no control characters.
    period
        The length of a checkpoint's period, and optionally the planned number of periods: ``"daily"``, ``"weekly:2"``,
        ``(PeriodType.WEEKLY, 2)``.
    description, tags, metadata
        Notes about the study; metadata maps names to strings.
    cadence
        See ``kit.create_study``.

    Raises
    ------
    InvalidInputError
        When an argument is invalid.

    Examples
    --------
    >>> CreateStudy("nightly agent", period="weekly:8", tags=["coding"])
    CreateStudy('nightly agent', period='weekly:8')
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
        cadence: str | None = None,
    ) -> None:
        self.period_type, self.period_value = checks.check_period(period)
        self.config = StudyConfig(
            description=None if description is None else checks.check_text("description", description, lines=True) or None,
            tags=checks.check_texts("tags", tags),
            metadata=_with_cadence({} if metadata is None else metadata, cadence),
        )
        self.name = checks.check_name(name)

    def __repr__(self) -> str:
        period = self.period_type.value if self.period_value is None else f"{self.period_type.value}:{self.period_value}"
        return f"CreateStudy({self.name!r}, period={period!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CreateStudy) and all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def event(self, study_id: StudyId, at_ms: int) -> StoredEvalEvent:
        """Return the event to append, with the time `at_ms` in milliseconds since 1970 UTC."""
        created = StudyCreated(
            id=study_id, name=self.name, period_type=self.period_type, period_value=self.period_value, config=self.config
        )
        return StoredEvalEvent(event_id=event_id_at(at_ms), event=created)


def _with_cadence(metadata: Mapping[str, str], cadence: str | None) -> dict[str, str]:
    """Return metadata with the cadence, which is stored there unless it is the default."""
    texts = checks.check_metadata(metadata)
    return texts if cadence is None or checks.check_cadence("cadence", cadence, metadata) != PER_RUN else {**texts, CADENCE: PER_RUN}


def lifecycle_event(kind: str, study_id: str, at_ms: int) -> StoredEvalEvent:
    """Return the event of a lifecycle command.

    Parameters
    ----------
    kind
        A key of `TRANSITIONS`.
    study_id
        The id of the study.
    at_ms
        The time of the event, in milliseconds since 1970 UTC.
    """
    return StoredEvalEvent.model_validate({"event_id": event_id_at(at_ms), "event": {"type": kind, "id": study_id}})


class RecordCheckpoint:
    """The command to record the metrics of one period.

    ``kit.record_checkpoint`` takes the same arguments, or the command.

    Parameters
    ----------
    metrics
        A `LongitudinalMetrics`, or a mapping with the names in `CHECKPOINT_COLUMNS`, custom metrics, ``"provenance"``, or
        ``"period": (start, end)``.
    period
        ``(start, end)``, if `metrics` does not contain it.
    timestamp, events_analyzed, sessions_included, recorded_at, key
        See ``kit.record_checkpoint``. Pass each as an argument or in `metrics`, not both.
    tz
        The time zone of dates and naive times: a name such as ``"Europe/Berlin"``, or a tzinfo. Without it, dates and naive times are
        errors.
    period_type
        The length of the study's periods, or a function that returns it. Used to derive a missing end of the period.
    now
        The current time, to check `recorded_at`; by default the system's clock.
    provenance
        The origin of the values: a mapping with ``"collector"`` and the other fields of `Provenance`.
    definitions
        The definitions of the study's custom metrics by name, or a function that returns them.
    cadence
        The cadence of the study, or a function that returns it. With ``"per-run"``, the end of the period may equal its start.

    Raises
    ------
    InvalidInputError
        When an argument is invalid or passed twice.

    Examples
    --------
    >>> RecordCheckpoint({"session_success_rate": 0.85, "period": ("2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z")})
    RecordCheckpoint([2026-01-31 00:00 .. 2026-02-01 00:00) UTC, 1 of 16 metrics)
    >>> RecordCheckpoint({"period_start": "2026-03-29", "total_cost": 3}, tz="Europe/Berlin", period_type="daily", key="a")
    RecordCheckpoint([2026-03-28 23:00 .. 2026-03-29 22:00) UTC, 1 of 16 metrics, key='a')
    """

    __slots__ = ("at", "events_analyzed", "key", "metrics", "provenance", "sessions_included", "timestamp")

    metrics: LongitudinalMetrics
    timestamp: datetime
    """The time of the checkpoint; by default the end of the period."""
    events_analyzed: int
    sessions_included: list[str]
    provenance: Provenance | None
    key: str | None
    at: datetime | None
    """The time of recording; None for the current time."""

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
        tz: str | tzinfo | None = None,
        period_type: PeriodType | str | Callable[[], PeriodType] | None = None,
        now: datetime | None = None,
        provenance: Provenance | Mapping[str, object] | None = None,
        definitions: Definitions = None,
        cadence: CadenceOf = None,
    ) -> None:
        zone = None if tz is None else check_zone("tz", tz)
        read_time = _check_time if zone is None else _local_reader(zone, period_type)
        fields = checks.metrics_as_mapping(metrics, read_time)
        options = (period, timestamp, events_analyzed, sessions_included, recorded_at, key)
        if any(option is not None for option in options):
            fields = checks.metrics_as_mapping(_merged(fields, dict(zip(("period", *_OPTIONS), options, strict=True))), read_time)
        values: dict[str, Any] = dict.fromkeys(METRICS)
        custom: dict[str, float] = {}
        structured = isinstance(metrics, LongitudinalMetrics) and definitions is None  # its names are checked when it is recorded
        for name, value in fields.items():
            checker = checks.CHECKERS.get(name)
            if checker is not None:
                if value is not None and (type(value) in (float, int) or not is_missing(value)):
                    values[name] = checker(name, value)
            elif name not in _EXTRA_NAMES:
                defined = _defined(definitions)
                if structured:
                    custom[name] = value
                elif name not in defined:
                    raise unknown_field("metric", name, defined) if definitions is not None else _undefined(name)
                elif value is not None and not is_missing(value):
                    custom[name] = checks.custom_check(defined[name])(name, value)
        if len(custom) > MAX_CUSTOM:
            raise checks.too_many_custom(len(custom))
        values["custom"] = custom
        start, end = fields.get("period_start"), fields.get("period_end")
        if zone is None and start is not None and (type(end) is datetime or not is_missing(end)):
            start, end = check_bounds(start, end, suggest_tz=True, cadence=cadence)
        else:
            start, end = _bounds(start, end, read_time, zone, period_type, cadence=cadence)
        values["period"] = constructed(TimePeriod, {"start": start, "end": end})
        self.provenance = _provenance(provenance, fields.get("provenance"))
        self.metrics = constructed(LongitudinalMetrics, values)
        self.timestamp, self.events_analyzed, self.sessions_included = end, 0, []
        self.key = self.at = None
        for name in _OPTIONS:
            value = fields.get(name)
            if value is None or is_missing(value):
                continue
            if name == "timestamp":
                self.timestamp = read_time(name, value)
            elif name == "events_analyzed":
                self.events_analyzed = checks.check_count(name, value)
            elif name == "sessions_included":
                self.sessions_included = checks.check_texts(name, value)
            elif name == "recorded_at":
                self.at = check_at(name, value, now, read_time)
            else:
                self.key = checks.check_text(name, value, low=1, high=500)

    def __repr__(self) -> str:
        period = self.metrics.period
        key = "" if self.key is None else f", key={self.key!r}"
        return f"RecordCheckpoint([{exact_moment(period.start)} .. {exact_moment(period.end)}) UTC, {self.metrics.counted()}{key})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecordCheckpoint) and (content(self), self.key, self.at) == (content(other), other.key, other.at)

    __hash__ = None  # type: ignore[assignment]

    def checkpoint_id(self, study_id: str) -> CheckpointId:
        """Return the id of the checkpoint: derived from the key if there is one, else new."""
        return CheckpointId(new_id()) if self.key is None else keyed_checkpoint_id(study_id, self.key)

    def encoded(self, study_id: str, checkpoint_id: str, written_at: str | None = None) -> EncodedEvent:
        """Return the event to append, with the time of writing.

        Raises
        ------
        InvalidInputError
            When it is larger than an event may be.
        """
        event_id = new_id() if self.at is None else event_id_at(milliseconds(self.at))
        return encoded_checkpoint(event_id, checkpoint_id, study_id, self, written_at)


def content(checkpoint: CheckpointContent) -> tuple[object, ...]:
    """Return the content of a checkpoint, comparable and hashable: all but ids and provenance."""
    metrics = checkpoint.metrics
    duration = metrics.avg_session_duration  # as a timedelta it compares without its nanoseconds
    exact = None if duration is None else duration_pair(duration)
    values = tuple(getattr(metrics, name) for name in METRICS)
    custom = tuple(sorted(metrics.custom.items()))
    return (
        checkpoint.timestamp, metrics.period, values, exact, custom, checkpoint.events_analyzed, tuple(checkpoint.sessions_included)
    )  # fmt: skip


def check_runs(commands: Mapping[int, RecordCheckpoint], cadence: str, *, rows: bool = False) -> None:
    """Check that only a study of runs gets checkpoints whose end equals their start.

    With `rows`, an error names the row.

    Raises
    ------
    InvalidInputError
        When a checkpoint has no length, and the cadence is not ``"per-run"``.
    """
    for row, command in commands.items():
        period = command.metrics.period
        if period.start < period.end:
            continue
        try:
            check_order(period.start, period.end, period.end, cadence)
        except InvalidInputError as error:
            raise error.in_row(row, effect="Nothing was recorded.") if rows else error from None


def check_custom(commands: Mapping[int, RecordCheckpoint], defined: Mapping[str, Metric], *, rows: bool = False) -> None:
    """Check the custom metrics of commands: they must be defined, and their values in range.

    With `rows`, an error names the row.

    Raises
    ------
    InvalidInputError
        When a metric is not defined, or a value is invalid.
    """
    for row, command in commands.items():
        try:
            for name, value in command.metrics.custom.items():
                if name not in defined:
                    raise unknown_field("metric", name, defined)
                checks.custom_check(defined[name])(name, value)
        except InvalidInputError as error:
            raise error.in_row(row, effect="Nothing was recorded.") if rows else error from None


def checkpoint_commands(
    rows: pl.DataFrame | pd.DataFrame | Sequence[Mapping[str, Any] | RecordCheckpoint],
    *,
    tz: str | tzinfo | None = None,
    period_type: PeriodType | str | Callable[[], PeriodType] | None = None,
    now: datetime | None = None,
    definitions: Definitions = None,
    cadence: CadenceOf = None,
) -> list[RecordCheckpoint]:
    """Return the commands to record the rows of a frame or list.

    Parameters
    ----------
    rows
        A Polars or pandas DataFrame, or a list of mappings or commands.
    tz, period_type, now, definitions, cadence
        See `RecordCheckpoint`.

    Raises
    ------
    InvalidInputError
        When a value is invalid. The message names the row (counted from 0) and the column.

    Examples
    --------
    >>> checkpoint_commands([{"period_start": "2026-01-31", "total_tokens": 5}], tz="UTC", period_type="daily")
    [RecordCheckpoint([2026-01-31 00:00 .. 2026-02-01 00:00) UTC, 1 of 16 metrics)]
    """
    reader = RowReader(tz=tz, period_type=period_type, now=now, definitions=definitions, cadence=cadence)
    return [reader.command(row, index) for index, row in enumerate(reader.mappings(rows))]


class RowReader:
    """Reads the rows of a frame or list as commands.

    Parameters
    ----------
    tz, period_type, now, definitions, cadence
        See `RecordCheckpoint`. The functions are called at most once.
    """

    def __init__(
        self,
        *,
        tz: str | tzinfo | None = None,
        period_type: PeriodType | str | Callable[[], PeriodType] | None = None,
        now: datetime | None = None,
        definitions: Definitions = None,
        cadence: CadenceOf = None,
    ) -> None:
        self.definitions: Callable[[], Mapping[str, Metric]] = cache(lambda: _defined(definitions))
        """Returns the definitions of custom metrics."""
        self._options: dict[str, Any] = {
            "tz": None if tz is None else check_zone("tz", tz),
            "period_type": cache(period_type) if callable(period_type) else period_type,
            "now": now, "definitions": self.definitions, "cadence": cache(cadence) if callable(cadence) else cadence,
        }  # fmt: skip

    def mappings(self, rows: Any) -> Sequence[Any]:
        """Return the rows of a frame as mappings, and the items of a list.

        Raises
        ------
        InvalidInputError
            When it is neither a frame nor a list, or a column is unknown.
        """
        return _mappings(rows, self.definitions)

    def command(self, row: Any, index: int) -> RecordCheckpoint:
        """Return the command to record a row, which may be a command.

        Raises
        ------
        InvalidInputError
            When a value is invalid. The message names the row (`index`, counted from 0) and the column.
        """
        if isinstance(row, RecordCheckpoint):
            return row
        try:
            return RecordCheckpoint(row, **self._options)
        except InvalidInputError as error:
            raise error.in_row(index, effect="Nothing was recorded.") from None


def _local_reader(zone: tzinfo, period_type: PeriodType | str | Callable[[], PeriodType] | None) -> Callable[[str, object], datetime]:
    def read(field: str, value: object) -> datetime:
        return check_local_time(field, value, zone, period_type=partial(_resolved, period_type))

    return read


def _resolved(period_type: PeriodType | str | Callable[[], PeriodType] | None) -> PeriodType | None:
    if callable(period_type):
        return period_type()
    return None if period_type is None else checks.check_period(period_type, "period_type")[0]


def _bounds(
    start: object,
    end: object,
    read_time: Callable[[str, object], datetime],
    zone: tzinfo | None,
    period_type: PeriodType | str | Callable[[], PeriodType] | None,
    *,
    cadence: CadenceOf,
) -> tuple[datetime, datetime]:
    """Return the start and end of a period.

    A missing end is derived from the start and the period type.
    """
    if is_missing(start):
        raise InvalidInputError(
            "period_start is missing",
            hint="The end may be omitted if period_start is the start of a period, such as midnight for a daily study.",
            field="period_start", value=start,
        )  # fmt: skip
    first = read_time("period_start", start)
    if not is_missing(end):
        return first, check_order(first, read_time("period_end", end), end, cadence)
    kind = _resolved(period_type)
    if kind is None:
        raise InvalidInputError(
            "period_end is missing", hint="Pass it, or period_type= to derive it from period_start.", field="period_end", value=end
        )
    calendar = zone or UTC
    try:
        boundary, last = period_start(kind, first, calendar), period_end(kind, first, calendar)
    except (OverflowError, ValueError):
        raise invalid("period_start", start, "its period is not inside the years 1 to 9999 in UTC") from None
    if boundary != first:
        raise InvalidInputError(
            f"Cannot derive period_end: period_start {first.astimezone(calendar).isoformat()} is not the start of {_STARTS[kind]} in "
            f"{zone_name(calendar)}",
            hint=f"Pass period_end too, or a period_start such as {boundary.astimezone(calendar).isoformat()!r}"
            f"{'.' if zone is not None else ', or tz= for the periods of another time zone.'}",
            field="period_end", value=end,
        )  # fmt: skip
    return first, last


def _merged(metrics: Mapping[str, Any], options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return metrics and options in one mapping, without unset options (None)."""
    merged = dict(metrics)
    for name, value in options.items():
        if value is None:
            continue
        if name == "period" and metrics.keys() & {"period_start", "period_end"}:
            raise invalid("period", value, "passed twice, as an argument and in the metrics", hint="Pass it once.")
        if metrics.get(name) is not None:
            raise invalid(name, value, f"passed twice, the metrics contain {shown(metrics[name])}", hint="Pass it once.")
        merged[name] = value
    return merged


def _is_in(name: object, columns: Container[str]) -> bool:
    """Return whether a name of any type is one of the columns."""
    return isinstance(name, str) and name in columns  # the comparison of pandas' NA with a string has no truth value


class AutoDefinitions(dict[str, Metric]):
    """The definitions of a study, in which every other valid name is a number.

    Examples
    --------
    >>> definitions = AutoDefinitions()
    >>> "judge_score" in definitions, "Judge" in definitions, definitions["judge_score"].kind
    (True, False, 'number')
    """

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or is_custom_name(name)

    def __missing__(self, name: str) -> Metric:
        return Metric(name, kind="number", better="neither")


def is_auto(define: object) -> bool:
    """Return whether undeclared metrics are defined, from the parameter `define` of a command.

    Raises
    ------
    InvalidInputError
        When it is neither ``"auto"`` nor None.
    """
    if define is not None and define != "auto":
        raise invalid("define", define, 'expected "auto", or None')
    return define == "auto"


Definitions = Mapping[str, Metric] | Callable[[], Mapping[str, Metric]] | None


def _defined(definitions: Definitions) -> Mapping[str, Metric]:
    defined = definitions() if callable(definitions) else definitions
    if defined is not None and not isinstance(defined, Mapping):
        raise invalid("definitions", defined, "expected a mapping from names to Metric objects, or a function that returns one")
    return {} if defined is None else defined


def _undefined(name: object) -> InvalidInputError:
    """Return the error for an unknown name in a command that was created without definitions."""
    error = unknown_field("metric", name)
    if not is_custom_name(name):
        return error
    step = f"{error.message.hint} To record it as a custom metric, pass the mapping to kit.record_checkpoint()"
    return error.but(hint=f"{step}, or definitions={{name: Metric}}.")


def _provenance(passed: Provenance | Mapping[str, object] | None, of_row: Any) -> Provenance | None:
    """Return the provenance of a checkpoint, passed as an argument or in the row."""
    if passed is not None and of_row is not None:
        raise invalid("provenance", passed, "passed twice, the metrics contain it", hint="Pass it once.")
    origin = of_row if passed is None else passed
    return None if origin is None or is_missing(origin) else checked_provenance(origin)


def checked_provenance(provenance: Provenance | Mapping[str, object]) -> Provenance:
    """Check a provenance: a mapping with ``"collector"`` and other fields of `Provenance`.

    Raises
    ------
    InvalidInputError
        When it has no collector, an unknown field, or a value of another type.
    """
    if isinstance(provenance, Provenance):
        return provenance
    if not isinstance(provenance, Mapping):
        raise invalid("provenance", provenance, 'expected a mapping, e.g. {"collector": "inspect", "models": ["m-1"]}')
    for name in provenance:
        if name not in Provenance.model_fields:
            raise unknown_name("field", name, [*Provenance.model_fields], field="provenance")
    try:
        valid = Provenance.model_validate(provenance)
        checks.check_text("collector", valid.collector, low=1, high=200)
        for source in valid.sources or ():
            if source.sha256 is not None and not is_sha256(source.sha256):
                raise invalid("sources", source.sha256, "expected a SHA-256: 64 hexadecimal digits in lower case")
        return valid
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"]))
        text = " is missing" if problem["type"] == "missing" else f": {problem['msg'].replace('Input should be ', 'expected ')}"
        raise invalid("provenance", provenance, f"{where}{text}") from None


def unknown_field(
    kind: str, name: object, defined: Mapping[str, Metric] | None = None, *, alternative: str = ', or pass define="auto"'
) -> InvalidInputError:
    """Return the error for an unknown name.

    `kind` is ``"metric"`` for a key of a mapping, and ``"column"`` for a column of a frame or file. With `defined`, the custom metrics of
    the study, the message says how to define one; `alternative` is another way.
    """
    field = name if isinstance(name, str) else shown(name)
    if isinstance(defined, AutoDefinitions):
        problem = "cannot be defined as a metric, because it is the name of a column" if field in RESERVED else "not a valid name"
        allowed = "" if field in RESERVED else "expected a lowercase letter, then up to 62 lowercase letters, digits or underscores"
        return invalid("metric", name, problem, allowed, hint="Rename it.")
    metrics = [*METRICS, *(defined or ())]
    listed = f"{', '.join(metrics)}; and {', '.join(_EXTRAS)}"
    error = unknown_name(kind, name, [*metrics, *_EXTRAS], field=field, listed=listed)
    if defined is None or not is_custom_name(name):
        return error
    step = f"{error.message.hint} To record it as a custom metric, define it with"
    in_shell = f"evalkit metric define STUDY {name} --kind KIND --better DIRECTION"
    return error.but(
        hint=f"{step} kit.define_metric(){alternative}.", shell_hint=f"{step}: {in_shell}{', or add --define auto.' if alternative else ''}"
    )


def _mappings(rows: Any, defined: Callable[[], Mapping[str, Metric]]) -> Sequence[Any]:
    """Return the rows of a frame or list as mappings."""
    module = type(rows).__module__.partition(".")[0]
    if module in ("polars", "pandas"):
        if not hasattr(rows, "iter_rows" if module == "polars" else "to_dict") or not hasattr(rows, "columns"):
            raise _not_rows(rows)
        duplicates = [column for column, count in Counter(rows.columns).items() if count > 1]
        if duplicates:
            raise invalid("rows", duplicates[0], "two columns have this name", hint="Remove or rename one of them.")
        for column in rows.columns:
            if not (_is_in(column, CHECKPOINT_COLUMNS) or _is_in(column, IGNORED_COLUMNS) or _is_in(column, defined())):
                raise unknown_field("column", column, defined())
        recorded = [column for column in rows.columns if not _is_in(column, IGNORED_COLUMNS)]
        return _FrameRows(rows[recorded], _of_polars if module == "polars" else _of_pandas)
    if isinstance(rows, Mapping | str | bytes) or not isinstance(rows, Sequence):
        raise _not_rows(rows)
    return [_without_origin(row) for row in rows]


class _FrameRows(Sequence[Mapping[str, Any]]):
    """The rows of a frame as mappings, made in blocks when they are needed."""

    def __init__(self, frame: Any, read: Callable[[Any], list[dict[str, Any]]]) -> None:
        self._frame = frame
        self._read = read
        self._block: tuple[int, list[dict[str, Any]]] = (-1, [])

    def __len__(self) -> int:
        return len(self._frame)

    def __getitem__(self, row: Any) -> Any:
        if not 0 <= row < len(self):
            raise IndexError(row)
        number, place = divmod(row, _ROWS_OF_BLOCK)
        if self._block[0] != number:
            self._block = number, self._read(self._frame[number * _ROWS_OF_BLOCK : (number + 1) * _ROWS_OF_BLOCK])
        return self._block[1][place]


_ROWS_OF_BLOCK = 64


def _of_polars(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return frame.rows(named=True)


def _of_pandas(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a pandas frame without NaN values, because they mean missing values."""
    # to_dict() fails for objects without a pandas dtype, such as a timedelta64 in years.
    columns = [frame[column].tolist() for column in frame.columns]
    return [
        {str(name): value for name, value in zip(frame.columns, row, strict=True) if not _is_nan(value)}
        for row in (zip(*columns, strict=True) if columns else [()] * len(frame))
    ]


def _not_rows(rows: object) -> InvalidInputError:
    collect = "Call .collect() first." if hasattr(rows, "collect") else ""
    return InvalidInputError(
        f"Invalid rows: expected a Polars or pandas DataFrame, or a list of mappings, got {a_type(rows)}",
        hint=collect, field="rows", value=type(rows).__name__,
    )  # fmt: skip


def _is_nan(value: object) -> bool:
    return isinstance(value, numbers.Real) and value != value  # noqa: PLR0124 - math.isnan() fails for huge fractions


def _without_origin(row: Any) -> Any:
    """Return a mapping without `IGNORED_COLUMNS`, and any other value unchanged."""
    return {key: value for key, value in row.items() if not _is_in(key, IGNORED_COLUMNS)} if isinstance(row, Mapping) else row
