"""What a report says, as data: the model that its JSON is, and that its pages are made of."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from evalkit.domain.verdicts import Verdict

__all__ = [
    "AuditFacts", "ComparisonFacts", "CorrectionFacts", "DifferenceRow", "EventFacts", "FindingRow", "MethodNote", "MetricRow",
    "ReportContent", "ShiftRow", "ShiftsRow", "StudyFacts",
]  # fmt: skip

Number = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    """Times are RFC 3339 in UTC; durations seconds, rates 0 to 1, money US dollars; what is missing is null."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class StudyFacts(_Part):
    """What a study is."""

    id: str
    name: str
    status: str | None
    """``pending``, ``running``, ``paused`` or ``stopped``."""
    period_type: str | None
    """``hourly``, ``daily``, ``weekly`` or ``monthly``."""
    planned_periods: int | None
    """Null: until stopped."""
    description: str | None
    tags: list[str]
    metadata: dict[str, str]
    created_at: datetime | None
    started_at: datetime | None
    stopped_at: datetime | None
    first_period_start: datetime | None
    last_period_end: datetime | None


class EventFacts(_Part):
    """The events that the report of a study was computed from."""

    study_id: str
    study: str
    lifecycle_events: int
    checkpoints: int
    first: datetime | None
    """The time of the first of these events: a lifecycle event, or the recording of a checkpoint."""
    last: datetime | None
    digest: str
    """SHA-256, 64 hexadecimal digits, of the study's content in a canonical form: `digest_covers` says of what. The same events give the
    same digest, whatever engine holds them."""


class CorrectionFacts(_Part):
    """How many tests the report rests on. All of them are corrected together by Holm's method."""

    level: Number
    """A corrected p-value up to it counts as a finding: with no effect at all a report claims anything in at most that share of studies."""
    tests: int
    """How many p-values there are."""
    trends: int
    shifts: int
    differences: int
    autocorrelated: list[str]
    """Metrics whose neighbouring checkpoints may correlate so strongly that more than `level` may be claimed of them."""


class MetricRow(_Part):
    """One metric of the study over time."""

    metric: str
    label: str
    unit: str
    checkpoints: int
    """That have a value."""
    missing: int
    """That have none."""
    first: Number | None
    last: Number | None
    mean: Number | None
    """Of the checkpoints, each counting the same."""
    weighted_mean: Number | None
    """Of the whole, by what the metric is a mean over; null where that is not recorded."""
    verdict: Verdict
    slope: Number | None
    """Change a day, with its 95 % interval."""
    slope_low: Number | None
    slope_high: Number | None
    change: Number | None
    """Change over the span from the first checkpoint to the last, on a straight line, with its 95 % interval."""
    change_low: Number | None
    change_high: Number | None
    p: Number | None
    """Of no trend."""
    p_corrected: Number | None
    """The verdict goes by it."""
    more_needed: int | None
    """About how many more checkpoints would do, where there are too few."""
    audit_findings: int
    """How many errors and warnings of the audit touch this metric."""
    caveats: list[str]


class ShiftRow(_Part):
    """A time at which the level of a metric changed."""

    at: datetime
    low: datetime
    high: datetime
    """The 95 % interval of the time."""
    before: Number
    after: Number
    """Means on both sides, as far as the neighbouring changes."""
    p: Number
    """Of no change in the stretch of time between those neighbours, not corrected."""


class ShiftsRow(_Part):
    """Where one metric of the study shifted."""

    metric: str
    label: str
    checkpoints: int
    verdict: Verdict
    p: Number | None
    """Of no shift at all."""
    p_corrected: Number | None
    shifts: list[ShiftRow]
    """By time; none where the corrected p-value is over the level."""
    caveats: list[str]


class DifferenceRow(_Part):
    """The difference of the study and its baseline in one metric."""

    metric: str
    label: str
    verdict: Verdict
    study_mean: Number | None
    baseline_mean: Number | None
    difference: Number | None
    """The study less the baseline, with its 95 % interval."""
    low: Number | None
    high: Number | None
    p: Number | None
    p_corrected: Number | None
    pairs: int | None
    """In how many periods both have a value, when the difference is that of pairs."""
    study_checkpoints: int
    baseline_checkpoints: int
    caveats: list[str]


class ComparisonFacts(_Part):
    """The study against its baseline."""

    baseline: StudyFacts
    differences: list[DifferenceRow]
    """In the metrics that have a value in both."""


class FindingRow(_Part):
    """A finding of the audit."""

    study: str
    severity: Literal["error", "warning", "note"]
    kind: str
    """A code of `evalkit.analysis._audit.finding_kinds.KINDS`."""
    metrics: list[str]
    """That it touches; none: all."""
    count: int
    """Of checkpoints, or of missing periods."""
    start: datetime | None
    end: datetime | None
    message: str
    """What, the values, what to do; cut at 1,000 characters."""


class AuditFacts(_Part):
    """Whether the data can carry it."""

    checkpoints: int
    """That were looked at."""
    errors: int
    warnings: int
    notes: int
    findings: list[FindingRow]
    """The worst first, 50 at most."""
    more: int
    """How many more there are."""
    unchecked: list[str]
    """What could not be checked, and why."""


class MethodNote(_Part):
    """How something was computed."""

    what: str
    how: str
    source: str | None
    """The publication that the method is from."""


class ReportContent(_Part):
    """A report on one study."""

    format: Literal["evalkit-report/2"] = "evalkit-report/2"
    evalkit: str
    """The version that made it."""
    study: StudyFacts
    in_short: list[str]
    """What can be claimed, in plain sentences; or that nothing can, and why."""
    correction: CorrectionFacts
    metrics: list[MetricRow]
    """Those that have a value, in the catalogue's order."""
    not_measured: list[str]
    """Metrics that were looked for and have no value."""
    shifts: list[ShiftsRow]
    comparison: ComparisonFacts | None
    """Null without a baseline."""
    audit: AuditFacts
    methods: list[MethodNote]
    events: list[EventFacts]
    """Of the study, and of the baseline where there is one."""
    digest_covers: str
    """What goes into the digests, in words."""
