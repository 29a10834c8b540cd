"""From what was found on a study to what its report says; and from frames to the whole report as data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import polars as pl

from evalkit._util.distribution import installed_version
from evalkit.analysis._audit.audit import Audit
from evalkit.analysis._audit.finding_kinds import SEVERITIES
from evalkit.analysis._changepoints import ChangePoints
from evalkit.analysis._difference import Difference
from evalkit.analysis._per_study import ALPHA
from evalkit.analysis._report.content import (
    AuditFacts,
    ComparisonFacts,
    CorrectionFacts,
    DifferenceRow,
    EventFacts,
    FindingRow,
    MetricRow,
    ReportContent,
    ShiftRow,
    ShiftsRow,
    StudyFacts,
)
from evalkit.analysis._report.digest import DIGEST_COVERS, digest
from evalkit.analysis._report.harmless import shortened
from evalkit.analysis._report.in_short import in_short, methods
from evalkit.analysis._report.whole import StudyFrames, Whole, examine
from evalkit.analysis._trend import Trend

__all__ = ["content_of", "report_content"]

_MOST_FINDINGS = 50
_MESSAGE = 1000


def report_content(study: StudyFrames, baseline: StudyFrames | None = None, metrics: Sequence[str] | None = None) -> ReportContent:
    """Give the report of a study as data.

    The same frames give the same content: it holds no clock, no path and nothing random.

    Parameters
    ----------
    study, baseline, metrics
        See `evalkit.analysis._report.whole.examine`.

    Raises
    ------
    InvalidInputError
        When a frame lacks a column, or there is no such metric.
    MissingExtraError
        Without scipy.
    """
    return content_of(examine(study, baseline, metrics), study, baseline)


def content_of(found: Whole, study: StudyFrames, baseline: StudyFrames | None) -> ReportContent:
    """Give what a report says of what was found."""
    facts = _facts(study)
    trends, shifts, differences = found.tests
    comparison = None
    if baseline is not None:
        comparison = ComparisonFacts(baseline=_facts(baseline), differences=[_difference(one) for one in found.differences])
    return ReportContent(
        evalkit=installed_version(),
        study=facts,
        in_short=in_short(found, study.checkpoints.height, facts.name),
        correction=CorrectionFacts(level=ALPHA, tests=sum(found.tests), trends=trends, shifts=shifts, differences=differences),
        metrics=[_metric(one, found.summary[one.metric.name]) for one in found.trends],
        not_measured=found.not_measured,
        shifts=[_shifts(one) for one in found.changes],
        comparison=comparison,
        audit=_audit(found.audit),
        methods=methods(compared=baseline is not None),
        events=[_events(one) for one in (study, baseline) if one is not None],
        digest_covers=DIGEST_COVERS,
    )


def _facts(study: StudyFrames) -> StudyFacts:
    about, rows = study.about, study.checkpoints
    first, last = rows.select(pl.col("period_start").min(), pl.col("period_end").max()).row(0) if rows.height else (None, None)
    named = [rows[name][0] for name in ("study", "study_id") if rows.height and name in rows.columns and rows[name][0]]
    ids = [rows["study_id"][0]] if rows.height and "study_id" in rows.columns else []
    period = rows["period_type"][0] if rows.height and "period_type" in rows.columns else None
    return StudyFacts(
        id=about.get("study_id") or next(iter(ids), None) or "-",
        name=about.get("name") or next(iter(named), "-"),
        status=about.get("status"),
        period_type=about.get("period_type") or period,
        planned_periods=about.get("period_value"),
        description=about.get("description"),
        tags=list(about.get("tags") or []),
        metadata={pair["key"]: pair["value"] for pair in about.get("metadata") or []},
        created_at=about.get("created_at"),
        started_at=about.get("started_at"),
        stopped_at=about.get("stopped_at"),
        first_period_start=first,
        last_period_end=last,
    )


def _events(study: StudyFrames) -> EventFacts:
    facts = _facts(study)
    times: list[datetime] = study.lifecycle["at"].drop_nulls().to_list()
    if "recorded_at" in study.checkpoints.columns:
        times += [at for at in study.checkpoints.select(a=pl.col("recorded_at").min(), b=pl.col("recorded_at").max()).row(0) if at]
    return EventFacts(
        study_id=facts.id, study=facts.name, lifecycle_events=study.lifecycle.height, checkpoints=study.checkpoints.height,
        first=min(times, default=None), last=max(times, default=None), digest=digest(study.about, study.checkpoints, study.lifecycle),
    )  # fmt: skip


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _ends(estimate: Any) -> list[float | None]:
    """Give an estimate with the ends of its interval."""
    return [None] * 3 if estimate is None else [_number(one) for one in (estimate.value, estimate.low, estimate.high)]


def _metric(found: Trend, summed: dict[str, Any]) -> MetricRow:
    slope, slope_low, slope_high = _ends(found.slope)
    change, change_low, change_high = _ends(found.rise)
    return MetricRow(
        metric=found.metric.name, label=found.metric.label, unit=found.metric.unit, checkpoints=found.checkpoints, missing=found.missing,
        **{name: _number(summed[name]) for name in ("first", "last", "mean", "weighted_mean")},
        verdict=found.verdict, slope=slope, slope_low=slope_low, slope_high=slope_high, change=change, change_low=change_low,
        change_high=change_high, p=_number(found.p), p_corrected=_number(found.p_corrected), more_needed=found.more_needed,
        audit_findings=0 if found.findings is None else found.findings.errors + found.findings.warnings, caveats=found.caveats,
    )  # fmt: skip


def _shifts(found: ChangePoints) -> ShiftsRow:
    shifts = [ShiftRow(at=one.at, low=one.low, high=one.high, before=one.before, after=one.after, p=one.p) for one in found.changes]
    return ShiftsRow(
        metric=found.metric.name, label=found.metric.label, checkpoints=found.checkpoints, verdict=found.verdict, p=_number(found.p),
        p_corrected=_number(found.p_corrected), shifts=shifts, caveats=found.caveats,
    )  # fmt: skip


def _difference(found: Difference) -> DifferenceRow:
    value, low, high = _ends(found.difference)
    return DifferenceRow(
        metric=found.metric.name, label=found.metric.label, verdict=found.verdict, study_mean=_number(found.study_mean),
        baseline_mean=_number(found.baseline_mean), difference=value, low=low, high=high, p=_number(found.p),
        p_corrected=_number(found.p_corrected), pairs=found.pairs, study_checkpoints=found.study_checkpoints,
        baseline_checkpoints=found.baseline_checkpoints, caveats=found.caveats,
    )  # fmt: skip


def _audit(found: Audit) -> AuditFacts:
    worst = found.frame.sort(pl.col("severity").cast(pl.Enum(SEVERITIES)), maintain_order=True).head(_MOST_FINDINGS)
    names = ("study", "severity", "kind", "metrics", "count", "start", "end", "message")
    rows = [
        FindingRow(**{**row, "message": shortened(row["message"], _MESSAGE)}) for row in worst.select(names).iter_rows(named=True)
    ]  # fmt: skip
    return AuditFacts(
        checkpoints=found.checked, errors=found.errors, warnings=found.warnings, notes=found.notes, findings=rows,
        more=found.frame.height - worst.height, unchecked=list(found.unchecked),
    )  # fmt: skip
