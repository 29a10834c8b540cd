"""The forms of the panel, without widgets: what was typed, what is wrong with it, and the command that it makes.

The checkpoint form is made from `METRICS`. What a value may be is decided by `evalkit.domain.validation` alone; how it is typed, here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from evalkit._util.text import exact_moment
from evalkit.domain import validation as checks
from evalkit.domain.commands import CreateStudy, RecordCheckpoint
from evalkit.domain.metrics import METRICS, Metric
from evalkit.domain.periods import period_end, period_start
from evalkit.domain.study import PeriodType
from evalkit.errors import InvalidInputError

__all__ = ["CHECKPOINT_FIELDS", "STUDY_FIELDS", "CheckpointForm", "Field", "StudyForm", "proposed_period"]


@dataclass(frozen=True)
class Field:
    """One thing that a form asks for."""

    name: str
    """The parameter, metric or column that it becomes."""
    label: str
    hint: str
    """What may be typed, shown while nothing is."""
    group: str
    """The heading it is under."""
    several_lines: bool = False


STUDY_FIELDS = (
    Field("name", "Name", "1 to 200 characters", "Study"),
    Field("period", "Period", "", "Study"),
    Field("periods", "Planned periods", "empty: until stopped", "Study"),
    Field("description", "Description", "what the study is about", "Study", several_lines=True),
    Field("tags", "Tags", "nightly, coding", "Study"),
    Field("metadata", "Metadata", "one a line: model=m-1", "Study", several_lines=True),
)
"""What the form for a study asks for."""


def _hint(metric: Metric) -> str:
    unit = {"s": "seconds, ", "US$": "US dollars, ", "tokens": "tokens, "}.get(metric.unit, metric.unit)
    if metric.kind == "count":
        return f"{unit}a whole number"
    return f"{unit}{metric.low:g} or more" if metric.high is None else f"{unit}{metric.low:g} to {metric.high:g}"


def _checkpoint_fields() -> tuple[Field, ...]:
    groups = list(dict.fromkeys(metric.group for metric in METRICS.values()))
    measured = sorted(METRICS.values(), key=lambda metric: groups.index(metric.group))
    return (
        Field("period_start", "Period start (UTC)", "2026-01-31 00:00, included", "Period"),
        Field("period_end", "Period end (UTC)", "2026-02-01 00:00, not included", "Period"),
        *(Field(metric.name, metric.label, _hint(metric), metric.group) for metric in measured),
        Field("events_analyzed", "Events analyzed", "a whole number", "Source"),
        Field("sessions_included", "Sessions included", "names, with commas between them", "Source"),
        Field("key", "Key", "optional: makes it the same when recorded again", "Source"),
    )


CHECKPOINT_FIELDS = _checkpoint_fields()
"""What the form for a checkpoint asks for, by group."""


def proposed_period(study: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    """Return the period after the last one that was recorded, or the one that the study, a row of the studies frame, was started in."""
    start = study["last_period_end"]
    if start is None and study["started_at"] is not None:
        start = period_start(study["period_type"], study["started_at"])
    try:
        return (None, None) if start is None else (start, period_end(study["period_type"], start))
    except (OverflowError, ValueError):
        return None, None


def _number(name: str, text: str) -> int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise checks.invalid(name, text, "is no number", "leave it empty when it was not measured")


def _parts(text: str) -> list[str]:
    return [part for part in (one.strip() for one in text.replace("\n", ",").split(",")) if part]


def _moment(name: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise checks.invalid(name, text, "is no time", "give, for example, 2026-01-31 08:00, in UTC") from None
    return checks.check_time(name, moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)


def _pairs(text: str) -> dict[str, str]:
    pairs = {}
    for line in filter(str.strip, text.split("\n")):
        name, equals, value = line.partition("=")
        if not equals:
            raise checks.invalid("metadata", line, "has no '='", "give one pair a line, for example model=m-1")
        pairs[name.strip()] = value.strip()
    return pairs


@dataclass
class StudyForm:
    """What was typed to create a study."""

    texts: dict[str, str] = field(default_factory=lambda: {one.name: "" for one in STUDY_FIELDS} | {"period": PeriodType.DAILY.value})
    """By the names in `STUDY_FIELDS`."""

    def type(self, name: str, text: str) -> None:
        """Set the text of a field."""
        self.texts[name] = text

    @property
    def touched(self) -> bool:
        """Whether anything was typed."""
        return any(text.strip() for name, text in self.texts.items() if name != "period")

    def command(self) -> CreateStudy:
        """Return the command.

        Raises
        ------
        InvalidInputError
            When anything is wrong with what was typed.
        """
        texts = self.texts
        count = texts["periods"].strip()
        planned = _number("periods", count) if count else None
        period: Any = (texts["period"], int(planned) if isinstance(planned, float) and planned.is_integer() else planned)
        return CreateStudy(
            texts["name"].strip(), period=period, description=texts["description"].strip() or None, tags=_parts(texts["tags"]),
            metadata=_pairs(texts["metadata"]),
        )  # fmt: skip

    def problems(self) -> dict[str, str]:
        """Return what is wrong, by field; nothing while nothing was typed."""
        if not self.touched:
            return {}
        try:
            self.command()
        except InvalidInputError as error:
            name = error.field.partition(" ")[0].partition("[")[0]
            return {name if name in self.texts and name != "period" else "periods": str(error)}
        return {}


@dataclass
class CheckpointForm:
    """What was typed to record a checkpoint of one study.

    Parameters
    ----------
    start, end
        The period that is proposed; None where none can be.
    """

    start: datetime | None = None
    end: datetime | None = None
    texts: dict[str, str] = field(init=False)
    """By the names in `CHECKPOINT_FIELDS`."""

    def __post_init__(self) -> None:
        self.texts = {one.name: "" for one in CHECKPOINT_FIELDS} | self._proposed()

    def _proposed(self) -> dict[str, str]:
        bounds = {"period_start": self.start, "period_end": self.end}
        return {name: "" if moment is None else exact_moment(moment) for name, moment in bounds.items()}

    def type(self, name: str, text: str) -> None:
        """Set the text of a field."""
        self.texts[name] = text

    @property
    def touched(self) -> bool:
        """Whether anything was typed, or a period other than the proposed one was."""
        return self.texts != {one.name: "" for one in CHECKPOINT_FIELDS} | self._proposed()

    def propose(self, start: datetime | None, end: datetime | None) -> None:
        """Propose a period, unless something was typed."""
        if not self.touched:
            self.start, self.end = start, end
            self.texts |= self._proposed()

    @property
    def period(self) -> tuple[datetime, datetime] | None:
        """The period as typed; None when it is none."""
        try:
            return checks.check_bounds(*(_moment(name, self.texts[name].strip()) for name in ("period_start", "period_end")))
        except InvalidInputError:
            return None

    def values(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return what was typed as values, as ``kit.record_checkpoint`` takes them, and what is wrong, by field."""
        values: dict[str, Any] = {}
        problems: dict[str, str] = {}
        for name, read in _READERS.items():
            text = self.texts[name].strip()
            if text:
                try:
                    values[name] = read(name, text)
                except InvalidInputError as error:
                    problems[name] = str(error)
        if "period_start" in values and "period_end" in values:
            try:
                checks.check_bounds(values["period_start"], values["period_end"])
            except InvalidInputError as error:
                problems["period_end"] = str(error)
        return values, problems

    def problems(self) -> dict[str, str]:
        """Return what is wrong, by field; nothing while nothing was typed."""
        values, problems = self.values()
        if problems or not self.touched:
            return problems
        if not any(name in METRICS for name in values):
            return {"": "Nothing was measured yet: fill in at least one metric."}
        try:
            RecordCheckpoint(values)
        except InvalidInputError as error:
            return {error.field if error.field in self.texts else "": str(error)}
        return {}

    @property
    def complete(self) -> bool:
        """Whether it can be recorded as it is."""
        return self.touched and not self.problems()


def _measured(name: str, text: str) -> Any:
    number = _number(name, text)
    checks.CHECKERS[name](name, number)
    return number


_READERS: dict[str, Callable[[str, str], Any]] = {
    "period_start": _moment,
    "period_end": _moment,
    **dict.fromkeys(METRICS, _measured),
    "events_analyzed": lambda name, text: checks.check_count(name, _number(name, text)),
    "sessions_included": lambda name, text: checks.check_texts(name, _parts(text)),
    "key": lambda name, text: checks.check_text(name, text, low=1, high=500),
}
"""For each field of a checkpoint: what makes a value of its text."""
