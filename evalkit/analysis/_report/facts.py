"""From an examination of a study to the content of its report."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import polars as pl

from evalkit._util.distribution import installed_version
from evalkit.analysis._audit.audit import Audit, audit
from evalkit.analysis._changepoints import ChangePoints
from evalkit.analysis._compare import Difference
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
from evalkit.analysis._report.examination import Examination, StudyPart
from evalkit.analysis._report.in_short import in_short, methods
from evalkit.analysis._report.render import shortened
from evalkit.analysis._series import CaveatKind
from evalkit.analysis._stats.ar1 import Estimate
from evalkit.analysis._trend import Trend
from evalkit.domain.verdicts import ALPHA

__all__ = ["content_of"]

_MOST_FINDINGS = 50
_MESSAGE = 1000


def content_of(examined: Examination) -> ReportContent:
    """Return what a report says of an examination."""
    study, baseline = examined.study, examined.baseline
    facts = _facts(study)
    trends, shifts, differences = examined.tests
    comparison = None
    if baseline is not None:
        comparison = ComparisonFacts(baseline=_facts(baseline), differences=[_difference(one) for one in examined.differences])
    autocorrelated = {
        one.metric.name for one in (*examined.trends, *examined.changes)
        if any(caveat.kind == CaveatKind.AUTOCORRELATED for caveat in one._caveats)
    }  # fmt: skip
    return ReportContent(
        evalkit=installed_version(),
        study=facts,
        in_short=in_short(examined),
        correction=CorrectionFacts(
            level=ALPHA, tests=sum(examined.tests), trends=trends, shifts=shifts, differences=differences,
            autocorrelated=sorted(autocorrelated),
        ),
        metrics=[_metric(one, examined.summary[one.metric.name]) for one in examined.trends],
        not_measured=examined.not_measured,
        shifts=[_shifts(one) for one in examined.changes],
        comparison=comparison,
        audit=_audit(audit(examined.data)),
        methods=methods(compared=baseline is not None),
        events=[_events(one) for one in (study, baseline) if one is not None],
        digest_covers=DIGEST_COVERS,
    )  # fmt: skip


def _facts(study: StudyPart) -> StudyFacts:
    about, rows = study.description, study.checkpoints
    first, last = rows.select(pl.col("period_start").min(), pl.col("period_end").max()).row(0) if rows.height else (None, None)
    period = rows["period_type"][0] if rows.height and "period_type" in rows.columns else None
    return StudyFacts(
        id=about.get("study_id") or study.name.id,
        name=about.get("name") or study.name.name,
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


def _events(study: StudyPart) -> EventFacts:
    facts, checkpoints, lifecycle = _facts(study), study.checkpoints, study.lifecycle
    times: list[datetime] = lifecycle["at"].drop_nulls().to_list()
    if "recorded_at" in checkpoints.columns:
        times += [at for at in checkpoints.select(a=pl.col("recorded_at").min(), b=pl.col("recorded_at").max()).row(0) if at]
    return EventFacts(
        study_id=facts.id, study=facts.name, lifecycle_events=lifecycle.height, checkpoints=checkpoints.height,
        first=min(times, default=None), last=max(times, default=None), digest=digest(study.description, checkpoints, lifecycle),
    )  # fmt: skip


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _ends(estimate: Estimate | None) -> list[float | None]:
    """Return an estimate with the ends of its interval."""
    return [None] * 3 if estimate is None else [_number(one) for one in (estimate.value, estimate.low, estimate.high)]


def _metric(result: Trend, summed: dict[str, Any]) -> MetricRow:
    slope, slope_low, slope_high = _ends(result.slope)
    change, change_low, change_high = _ends(result.total_change)
    return MetricRow(
        metric=result.metric.name, label=result.metric.label, unit=result.metric.unit, checkpoints=result.checkpoints,
        missing=result.missing, first=_number(summed["first"]), last=_number(summed["last"]), mean=_number(summed["mean"]),
        weighted_mean=_number(summed["weighted_mean"]),
        verdict=result.verdict, slope=slope, slope_low=slope_low, slope_high=slope_high, change=change, change_low=change_low,
        change_high=change_high, p=_number(result.p), p_corrected=_number(result.p_corrected), more_needed=result.more_needed,
        audit_findings=0 if result.findings is None else result.findings.errors + result.findings.warnings, caveats=result.caveats,
    )  # fmt: skip


def _shifts(result: ChangePoints) -> ShiftsRow:
    shifts = [ShiftRow(at=one.at, low=one.low, high=one.high, before=one.before, after=one.after, p=one.p) for one in result.changes]
    return ShiftsRow(
        metric=result.metric.name, label=result.metric.label, checkpoints=result.checkpoints, verdict=result.verdict, p=_number(result.p),
        p_corrected=_number(result.p_corrected), shifts=shifts, caveats=result.caveats,
    )  # fmt: skip


def _difference(result: Difference) -> DifferenceRow:
    value, low, high = _ends(result.difference)
    return DifferenceRow(
        metric=result.metric.name, label=result.metric.label, verdict=result.verdict, study_mean=_number(result.study_mean),
        baseline_mean=_number(result.baseline_mean), difference=value, low=low, high=high, p=_number(result.p),
        p_corrected=_number(result.p_corrected), pairs=result.pairs, study_checkpoints=result.study_checkpoints,
        baseline_checkpoints=result.baseline_checkpoints, caveats=result.caveats,
    )  # fmt: skip


def _audit(result: Audit) -> AuditFacts:
    worst = result.worst(_MOST_FINDINGS)
    rows = [
        FindingRow(
            study=row["study"], severity=row["severity"], kind=row["kind"], metrics=row["metrics"], count=row["count"], start=row["start"],
            end=row["end"], message=shortened(row["message"], _MESSAGE),
        )
        for row in worst.iter_rows(named=True)
    ]  # fmt: skip
    return AuditFacts(
        checkpoints=result.checked, errors=result.errors, warnings=result.warnings, notes=result.notes, findings=rows,
        more=result.errors + result.warnings + result.notes - worst.height, unchecked=list(result.unchecked),
    )  # fmt: skip
