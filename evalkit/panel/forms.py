"""The forms of the panel without widgets: typed texts, problems and parsed values.

The fields of the checkpoint form come from `METRICS`. Values are checked by `evalkit.domain.validation`; this module only parses text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from evalkit._util.text import exact_moment
from evalkit.domain import validation as checks
from evalkit.domain.catalog import METRICS
from evalkit.domain.commands import CreateStudy, RecordCheckpoint
from evalkit.domain.definitions import Metric
from evalkit.domain.periods import period_end, period_start
from evalkit.domain.refusals import invalid
from evalkit.domain.study import PER_PERIOD, PER_RUN, PeriodType, StudyConfig
from evalkit.domain.time_input import check_bounds, check_time
from evalkit.errors import InvalidInputError

__all__ = ["CHECKPOINT_FIELDS", "STUDY_FIELDS", "CheckpointForm", "Field", "StudyForm", "cadence_of", "proposed_period"]


@dataclass(frozen=True)
class Field:
    """One input of a form."""

    name: str
    """The parameter, metric or column that the text is parsed to."""
    label: str
    placeholder: str
    group: str
    """The heading above the field; empty for a field without a heading."""
    multiline: bool = False


STUDY_FIELDS = (
    Field("name", "Name", "1 to 200 characters", ""),
    Field("period", "Period", "", ""),
    Field("periods", "Planned periods", "blank: until stopped", ""),
    Field("tags", "Tags", "e.g. nightly, coding", ""),
    Field("description", "Description", "question or goal of the study", "", multiline=True),
    Field("metadata", "Metadata", "one per line, e.g. model=m-1", "", multiline=True),
)
"""The fields of the form that creates a study."""


def _placeholder(metric: Metric) -> str:
    unit = {"s": "seconds, ", "US$": "US dollars, ", "tokens": "tokens, "}.get(metric.unit, metric.unit)
    if metric.kind == "count":
        return f"{unit}integer"
    return f"{unit}{metric.low:g} or more" if metric.high is None else f"{unit}{metric.low:g} to {metric.high:g}"


def _checkpoint_fields() -> tuple[Field, ...]:
    groups = list(dict.fromkeys(metric.group for metric in METRICS.values()))
    metrics = sorted(METRICS.values(), key=lambda metric: groups.index(metric.group))
    return (
        Field("period_start", "Period start (UTC)", "2026-01-31 00:00, inclusive", "Period"),
        Field("period_end", "Period end (UTC)", "2026-02-01 00:00, exclusive", "Period"),
        *(Field(metric.name, metric.label, _placeholder(metric), metric.group) for metric in metrics),
        Field("events_analyzed", "Events analyzed", "integer", "Source"),
        Field("sessions_included", "Sessions included", "comma-separated names", "Source"),
        Field("key", "Idempotency key", "optional", "Source"),
    )


CHECKPOINT_FIELDS = _checkpoint_fields()
"""The fields of the form that records a checkpoint, ordered by group."""


def cadence_of(study: Mapping[str, Any]) -> str:
    """Return the cadence of a row of the studies frame."""
    return StudyConfig(metadata={pair["key"]: pair["value"] for pair in study["metadata"] or ()}).cadence


def proposed_period(study: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    """Return the period to propose for the next checkpoint of a study.

    It follows the latest recorded period. Without a checkpoint, it is the period in which the study was started. For runs there is no
    proposal.

    Parameters
    ----------
    study
        A row of the studies frame.

    Returns
    -------
    tuple of datetime or None
        Start and end in UTC; ``(None, None)`` for a study that was never started, or of runs.
    """
    if cadence_of(study) == PER_RUN:
        return None, None
    start = study["last_period_end"]
    if start is None and study["started_at"] is not None:
        start = period_start(study["period_type"], study["started_at"])
    try:
        return (None, None) if start is None else (start, period_end(study["period_type"], start))
    except (OverflowError, ValueError):
        return None, None


def _number(name: str, text: str, hint: str = "Leave the field blank if it was not measured.") -> int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise invalid(name, text, "not a number", hint=_percentage_hint(text) or hint)


def _percentage_hint(text: str) -> str:
    try:
        return f"Enter a percentage as a fraction: {float(text.removesuffix('%')) / 100:g}." if text.endswith("%") else ""
    except ValueError:
        return ""


def _comma_separated(text: str) -> list[str]:
    return [part for part in map(str.strip, text.replace("\n", ",").split(",")) if part]


def _time(name: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise invalid(name, text, "not a time", "expected e.g. 2026-01-31 08:00 (UTC)") from None
    return check_time(name, moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)


def _metadata(text: str) -> dict[str, str]:
    pairs = {}
    for line in filter(str.strip, text.split("\n")):
        name, equals, value = line.partition("=")
        if not equals:
            raise invalid("metadata", line, "'=' is missing", "expected one pair per line, e.g. model=m-1")
        pairs[name.strip()] = value.strip()
    return checks.check_metadata(pairs)


def _planned_periods(period: str, text: str) -> tuple[str, int] | str:
    """Return the `period` argument of `CreateStudy`."""
    if not text:
        return period
    number = _number("planned periods", text, "Leave the field blank for a study without a planned end.")
    if number < 1 or number != number // 1:
        raise invalid("planned periods", number, "expected a positive integer")
    planned = (period, int(number))
    checks.check_period(planned)
    return planned


@dataclass
class StudyForm:
    """The text typed to create a study."""

    texts: dict[str, str] = field(default_factory=lambda: {each.name: "" for each in STUDY_FIELDS} | {"period": PeriodType.DAILY.value})
    """The text of each field, by the names in `STUDY_FIELDS`."""

    def set_text(self, name: str, text: str) -> None:
        """Set the text of a field."""
        self.texts[name] = text

    @property
    def touched(self) -> bool:
        """Whether any field has text; the preselected period does not count."""
        return any(text.strip() for name, text in self.texts.items() if name != "period")

    def values(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the valid arguments of `CreateStudy`, and the problems by field name."""
        values: dict[str, Any] = {}
        problems: dict[str, str] = {}
        for name, (argument, read) in _STUDY_READERS.items():
            try:
                values[argument] = read(self.texts)
            except InvalidInputError as error:
                problems[name] = str(error)
        return values, problems

    def command(self) -> CreateStudy:
        """Return the command that the form describes.

        Raises
        ------
        InvalidInputError
            If a field is invalid.
        """
        return CreateStudy(**{argument: read(self.texts) for argument, read in _STUDY_READERS.values()})

    def problems(self) -> dict[str, str]:
        """Return the problem of each invalid field; empty while nothing was typed."""
        if not self.touched:
            return {}
        problems = self.values()[1]
        return problems if self.texts["name"].strip() else {**problems, "name": "Enter a name."}


_STUDY_READERS: dict[str, tuple[str, Callable[[Mapping[str, str]], Any]]] = {
    "name": ("name", lambda texts: checks.check_name(texts["name"].strip())),
    "periods": ("period", lambda texts: _planned_periods(texts["period"], texts["periods"].strip())),
    "tags": ("tags", lambda texts: checks.check_texts("tags", _comma_separated(texts["tags"]))),
    "description": ("description", lambda texts: checks.check_text("description", texts["description"].strip(), lines=True) or None),
    "metadata": ("metadata", lambda texts: _metadata(texts["metadata"])),
}
"""For each field of a study: the argument of `CreateStudy`, and the function that parses and checks it."""


@dataclass
class CheckpointForm:
    """The text typed to record a checkpoint of one study.

    Parameters
    ----------
    start, end
        The proposed period; None without a proposal.
    cadence
        The cadence of the study. A run may end when it starts.
    """

    start: datetime | None = None
    end: datetime | None = None
    cadence: str = PER_PERIOD
    texts: dict[str, str] = field(init=False)
    """The text of each field, by the names in `CHECKPOINT_FIELDS`."""

    def __post_init__(self) -> None:
        self.texts = {each.name: "" for each in CHECKPOINT_FIELDS} | self._proposed_texts()

    def _proposed_texts(self) -> dict[str, str]:
        bounds = {"period_start": self.start, "period_end": self.end}
        return {name: "" if moment is None else exact_moment(moment) for name, moment in bounds.items()}

    def set_text(self, name: str, text: str) -> None:
        """Set the text of a field."""
        self.texts[name] = text

    @property
    def touched(self) -> bool:
        """Whether any text differs from the proposal."""
        return self.texts != {each.name: "" for each in CHECKPOINT_FIELDS} | self._proposed_texts()

    def propose(self, start: datetime | None, end: datetime | None) -> None:
        """Propose another period, unless the form was edited."""
        if not self.touched:
            self.start, self.end = start, end
            self.texts |= self._proposed_texts()

    @property
    def period(self) -> tuple[datetime, datetime] | None:
        """The typed period; None if it is incomplete or invalid."""
        try:
            start, end = (_time(name, self.texts[name].strip()) for name in ("period_start", "period_end"))
            return check_bounds(start, end, cadence=self.cadence)
        except InvalidInputError:
            return None

    def values(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the valid values for ``kit.record_checkpoint``, and problems by field name."""
        values: dict[str, Any] = {}
        problems: dict[str, str] = {}
        for name, read in _CHECKPOINT_READERS.items():
            text = self.texts[name].strip()
            if text:
                try:
                    values[name] = read(name, text)
                except InvalidInputError as error:
                    problems[name] = str(error)
        if "period_start" in values and "period_end" in values:
            start, end = values["period_start"], values["period_end"]
            if end < start or (end == start and self.cadence != PER_RUN):
                problems["period_end"] = "The period must end after it starts."
        return values, problems

    def problems(self) -> dict[str, str]:
        """Return the problem of each invalid field; empty while nothing was typed.

        A problem of the form as a whole has the key ``""``.
        """
        values, problems = self.values()
        if problems or not self.touched:
            return problems
        if not any(name in METRICS for name in values):
            return {"": "Enter at least one metric."}
        missing = {name: "Enter the start and end of the period." for name in ("period_start", "period_end") if name not in values}
        if missing:
            return dict(list(missing.items())[:1])
        try:
            RecordCheckpoint(values, cadence=self.cadence)
        except InvalidInputError as error:
            return {error.field if error.field in self.texts else "": str(error)}
        return {}

    @property
    def complete(self) -> bool:
        """Whether the form can be submitted."""
        return self.touched and not self.problems()


def _metric_value(name: str, text: str) -> Any:
    number = _number(name, text)
    checks.CHECKERS[name](name, number)
    return number


_CHECKPOINT_READERS: dict[str, Callable[[str, str], Any]] = {
    "period_start": _time,
    "period_end": _time,
    **dict.fromkeys(METRICS, _metric_value),
    "events_analyzed": lambda name, text: checks.check_count(name, _number(name, text)),
    "sessions_included": lambda name, text: checks.check_texts(name, _comma_separated(text)),
    "key": lambda name, text: checks.check_text(name, text, low=1, high=500),
}
"""For each field of a checkpoint: the function that parses and checks its text."""
