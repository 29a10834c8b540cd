"""The content of a report as data: the model of its JSON, which the pages are based on."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from evalkit.domain.definitions import Better, Kind, Metric, Rollup
from evalkit.domain.verdicts import Verdict

__all__ = [
    "AuditFacts", "ComparisonFacts", "CorrectionFacts", "DataFacts", "DefinitionFacts", "DifferenceRow", "EventFacts", "FindingRow",
    "MethodNote", "MetricRow", "NoteRow", "ReportContent", "RestatementRow", "ShiftRow", "ShiftsRow", "StudyFacts",
]  # fmt: skip

Number = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    """Base class of the parts of a report.

    Times are RFC 3339 in UTC, durations seconds, rates 0 to 1, money US dollars; missing values are null.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class StudyFacts(_Part):
    """The description of a study."""

    id: str
    name: str
    status: str | None
    """``pending``, ``running``, ``paused`` or ``stopped``."""
    archived: bool
    period_type: str | None
    """``hourly``, ``daily``, ``weekly`` or ``monthly``."""
    planned_periods: int | None
    """Null if the study runs until it is stopped."""
    description: str | None
    tags: list[str]
    metadata: dict[str, str]
    created_at: datetime | None
    started_at: datetime | None
    stopped_at: datetime | None
    first_period_start: datetime | None
    last_period_end: datetime | None


class DataFacts(_Part):
    """Which versions of which checkpoints the report is based on."""

    as_of: str | None
    """The state of the log: the text of a pin, or a time; null for the latest state."""
    values: Literal["latest", "first"]
    """``first``: as first recorded, without corrections."""
    excluded: int
    """Number of excluded checkpoints."""


class DefinitionFacts(_Part):
    """The definition of a metric."""

    name: str
    label: str
    kind: Kind
    unit: str
    better: Better
    low: Number | None
    high: Number | None
    denominator: str | None
    rollup: Rollup
    group: str
    description: str
    primary: bool
    """Whether a custom metric is tested by default."""

    @classmethod
    def of(cls, metric: Metric) -> DefinitionFacts:
        """Return the definition of a metric."""
        return cls(**{name: getattr(metric, name) for name in cls.model_fields})

    @property
    def metric(self) -> Metric:
        """The metric."""
        return Metric(**self.model_dump())


class EventFacts(_Part):
    """The events of a study on which the report is based."""

    study_id: str
    study: str
    lifecycle_events: int
    checkpoints: int
    first: datetime | None
    """Time of the first event: a lifecycle event, or the recording of a checkpoint."""
    last: datetime | None
    digest: str
    """SHA-256 of the study's content in canonical form, 64 hexadecimal digits; `digest_covers` lists the covered content. The same
    events have the same digest in every storage engine."""


class CorrectionFacts(_Part):
    """The tests whose p-values are adjusted together for multiple comparisons (Holm)."""

    level: Number
    """Adjusted p-values up to this level are significant: if nothing changed, at most this share of reports has a significant result."""
    tests: int
    """Number of p-values."""
    trends: int
    shifts: int
    differences: int
    metrics: list[str]
    """The metrics that were tested: those that were requested, or else the 16 and the primary custom ones, if they have a value."""
    autocorrelated: list[str]
    """Metrics with possibly strong autocorrelation, in which false positives may be more frequent than `level`."""


class MetricRow(_Part):
    """One metric of the study over time."""

    metric: str
    label: str
    unit: str
    checkpoints: int
    """Number of checkpoints with a value."""
    missing: int
    """Number of checkpoints without a value."""
    first: Number | None
    last: Number | None
    mean: Number | None
    """Mean over checkpoints with equal weights."""
    weighted_mean: Number | None
    """Mean weighted by the denominator of the metric (pooled rate); null if the denominator is not recorded."""
    verdict: Verdict
    slope: Number | None
    """Change per day, with its 95% confidence interval."""
    slope_low: Number | None
    slope_high: Number | None
    change: Number | None
    """Change of the fitted line from the first checkpoint to the last, with its 95% confidence interval."""
    change_low: Number | None
    change_high: Number | None
    p: Number | None
    """p-value of the slope."""
    p_corrected: Number | None
    """p-value adjusted for multiple comparisons; it determines the verdict."""
    more_needed: int | None
    """Approximate number of additional checkpoints needed if data are insufficient."""
    audit_findings: int
    """Number of audit errors and warnings that affect this metric."""
    caveats: list[str]


class ShiftRow(_Part):
    """A shift in the level of a metric."""

    at: datetime
    low: datetime
    high: datetime
    """Upper end of the 95% confidence interval of the time; `low` is the lower."""
    before: Number
    after: Number
    """Mean from this shift to the next; `before` is the mean from the previous shift to this one."""
    p: Number
    """p-value of this shift, tested between the adjacent shifts; not adjusted."""


class ShiftsRow(_Part):
    """The shifts of a metric."""

    metric: str
    label: str
    checkpoints: int
    verdict: Verdict
    p: Number | None
    """p-value of any shift."""
    p_corrected: Number | None
    shifts: list[ShiftRow]
    """Sorted by time; empty if the adjusted p-value is above the level."""
    caveats: list[str]


class DifferenceRow(_Part):
    """The difference between the study and its baseline in one metric."""

    metric: str
    label: str
    verdict: Verdict
    study_mean: Number | None
    baseline_mean: Number | None
    difference: Number | None
    """Study minus baseline, with its 95% confidence interval."""
    low: Number | None
    high: Number | None
    p: Number | None
    p_corrected: Number | None
    pairs: int | None
    """Number of pairs (periods with a value in both studies) of a paired comparison; null if unpaired."""
    study_checkpoints: int
    baseline_checkpoints: int
    caveats: list[str]


class ComparisonFacts(_Part):
    """The comparison of the study with its baseline."""

    baseline: StudyFacts
    differences: list[DifferenceRow]
    """One for each metric with a value in both studies."""


class NoteRow(_Part):
    """A note on a study, or a change of the model, agent or agent version."""

    study: str
    kind: Literal["note", "version"]
    at: datetime
    until: datetime | None
    category: str | None
    """The category of a note."""
    text: str
    """The note or change, truncated to 1,000 characters."""
    author: str | None


class RestatementRow(_Part):
    """A value that was changed after it was recorded, or a retracted checkpoint."""

    study: str
    checkpoint_id: str
    period_start: datetime | None
    """Null if the data does not contain the checkpoint, such as a retracted one."""
    period_end: datetime | None
    revision: int | None
    """The version with the new value; null for a retraction."""
    metric: str | None
    """The changed metric, or another changed value such as ``events_analyzed``; null for a retraction."""
    label: str
    old: Number | None
    """The value before; null if it was missing."""
    new: Number | None
    """The value after; null if it was withdrawn."""
    reason: str
    """The reason, truncated to 1,000 characters."""
    author: str | None
    written_at: datetime | None


class FindingRow(_Part):
    """An audit finding."""

    study: str
    severity: Literal["error", "warning", "note"]
    kind: str
    """The code of the kind of finding, as listed in the documentation of `evalkit.analysis.audit`."""
    metrics: list[str]
    """The affected metrics; empty for all."""
    count: int
    """Number of checkpoints, or of missing periods."""
    start: datetime | None
    end: datetime | None
    message: str
    """The finding, its values and advice, truncated to 1,000 characters."""


class AuditFacts(_Part):
    """Data quality: the findings of the audit."""

    checkpoints: int
    """Number of audited checkpoints."""
    errors: int
    warnings: int
    notes: int
    findings: list[FindingRow]
    """The 50 most severe findings, sorted by severity."""
    more: int
    """Number of further findings."""
    unchecked: list[str]
    """Skipped checks, with the reason."""


class MethodNote(_Part):
    """The method of a part of the report."""

    what: str
    how: str
    source: str | None
    """References for the method."""


class ReportContent(_Part):
    """A report on one study."""

    format: Literal["evalkit-report/3"] = "evalkit-report/3"
    evalkit: str
    """The evalkit version that generated the report."""
    study: StudyFacts
    data: DataFacts
    in_short: list[str]
    """The significant results as sentences, or the reason for their absence."""
    correction: CorrectionFacts
    definitions: list[DefinitionFacts]
    """The metrics in this report."""
    metrics: list[MetricRow]
    """The metrics that have a value: the 16 in the order of `evalkit.METRICS`, then custom ones in the order of their definition."""
    not_measured: list[str]
    """Requested metrics without a value."""
    not_tested: dict[str, str]
    """Custom metrics that are left out, with the reason: they are ``not primary`` and were not requested, or the studies define them
    differently."""
    shifts: list[ShiftsRow]
    comparison: ComparisonFacts | None
    """Null without a baseline."""
    notes: list[NoteRow]
    """Sorted by study and time."""
    restatements: list[RestatementRow]
    """In the order in which they were recorded."""
    audit: AuditFacts
    methods: list[MethodNote]
    events: list[EventFacts]
    """The events of the study, and of the baseline if there is one."""
    digest_covers: str
    """The content that the digests cover."""
