"""The form that records a checkpoint, without widgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from evalkit._util.text import exact_moment
from evalkit.domain import validation as checks
from evalkit.domain.catalog import METRICS
from evalkit.domain.commands import RecordCheckpoint
from evalkit.domain.definitions import Metric
from evalkit.domain.periods import period_end, period_start
from evalkit.domain.study import PER_PERIOD, PER_RUN, StudyConfig
from evalkit.domain.time_input import check_bounds
from evalkit.errors import InvalidInputError
from evalkit.panel.texts import Field, comma_separated, metric_field, metric_value, number_of, parsed_time

__all__ = [
    "CHECKPOINT_FIELDS", "METRIC_FIELDS", "SOURCE_FIELDS", "CheckpointForm", "cadence_of", "custom_fields", "proposed_period", "read_value",
]  # fmt: skip

_GROUPS = list(dict.fromkeys(metric.group for metric in METRICS.values()))

METRIC_FIELDS = tuple(metric_field(metric, metric.group) for metric in sorted(METRICS.values(), key=lambda each: _GROUPS.index(each.group)))
"""The fields of the 16 metrics, ordered by group."""
SOURCE_FIELDS = (
    Field("events_analyzed", "Events analyzed", "integer", "Source"),
    Field("sessions_included", "Sessions included", "comma-separated names", "Source"),
)
"""The fields of what a checkpoint is computed from."""
CHECKPOINT_FIELDS = (
    Field("period_start", "Period start (UTC)", "2026-01-31 00:00, inclusive", "Period"),
    Field("period_end", "Period end (UTC)", "2026-02-01 00:00, exclusive", "Period"),
    *METRIC_FIELDS,
    *SOURCE_FIELDS,
    Field("key", "Idempotency key", "optional", "Source"),
)
"""The fields of the form that records a checkpoint, without those of custom metrics, ordered by group."""


def custom_fields(definitions: Mapping[str, Metric]) -> list[Field]:
    """Return the fields of custom metrics by group, in the order of definition.

    Examples
    --------
    >>> [field.group for field in custom_fields({"a": Metric("a", kind="count", better="up", group="Cost")})]
    ['Cost (custom)']
    """
    groups = list(dict.fromkeys(metric.group for metric in definitions.values()))
    names = {group: f"{group} (custom)" if group in _GROUPS else group or "Custom" for group in groups}
    ordered = sorted(definitions.values(), key=lambda metric: groups.index(metric.group))
    return [metric_field(metric, names[metric.group]) for metric in ordered]


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


@dataclass
class CheckpointForm:
    """The text typed to record a checkpoint of one study.

    Parameters
    ----------
    start, end
        The proposed period; None without a proposal.
    cadence
        The cadence of the study. A run may end when it starts.
    definitions
        The custom metrics of the study, by name.
    """

    start: datetime | None = None
    end: datetime | None = None
    cadence: str = PER_PERIOD
    definitions: Mapping[str, Metric] = field(default_factory=dict)
    texts: dict[str, str] = field(init=False)
    """The text of each field, by the names in `CHECKPOINT_FIELDS` and `definitions`; blank if it is absent."""

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
        proposed = self._proposed_texts()
        return any(text != proposed.get(name, "") for name, text in self.texts.items())

    def propose(self, start: datetime | None, end: datetime | None) -> None:
        """Propose another period, unless the form was edited."""
        if not self.touched:
            self.start, self.end = start, end
            self.texts |= self._proposed_texts()

    @property
    def period(self) -> tuple[datetime, datetime] | None:
        """The typed period; None if it is incomplete or invalid."""
        try:
            start, end = (parsed_time(name, self.texts[name].strip()) for name in ("period_start", "period_end"))
            return check_bounds(start, end, cadence=self.cadence)
        except InvalidInputError:
            return None

    def values(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the valid values for ``kit.record_checkpoint``, and problems by field name."""
        values: dict[str, Any] = {}
        problems: dict[str, str] = {}
        for name, typed in self.texts.items():
            if text := typed.strip():
                try:
                    values[name] = read_value(name, text, self.definitions)
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
        if not any(name in METRICS or name in self.definitions for name in values):
            return {"": "Enter at least one metric."}
        missing = {name: "Enter the start and end of the period." for name in ("period_start", "period_end") if name not in values}
        if missing:
            return dict(list(missing.items())[:1])
        try:
            RecordCheckpoint(values, cadence=self.cadence, definitions=self.definitions)
        except InvalidInputError as error:
            return {error.field if error.field in self.texts else "": str(error)}
        return {}

    @property
    def complete(self) -> bool:
        """Whether the form can be submitted."""
        return self.touched and not self.problems()


def read_value(name: str, text: str, definitions: Mapping[str, Metric]) -> Any:
    """Return the value in the text of a field of a checkpoint.

    Raises
    ------
    InvalidInputError
        If it is invalid.
    """
    metric = METRICS.get(name) or definitions.get(name)
    return metric_value(metric, text) if metric is not None else _READERS[name](name, text)


_READERS: dict[str, Callable[[str, str], Any]] = {
    "period_start": parsed_time,
    "period_end": parsed_time,
    "events_analyzed": lambda name, text: checks.check_count(name, number_of(name, text)),
    "sessions_included": lambda name, text: checks.check_texts(name, comma_separated(text)),
    "key": lambda name, text: checks.check_text(name, text, low=1, high=500),
}
"""For each field of a checkpoint that is not a metric: the function that parses and checks its text."""
