"""The content of a report, built from the analyses of a study."""

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
    DataFacts,
    DefinitionFacts,
    DifferenceRow,
    EventFacts,
    FindingRow,
    MetricRow,
    NoteRow,
    ReportContent,
    RestatementRow,
    ShiftRow,
    ShiftsRow,
    StudyFacts,
)
from evalkit.analysis._report.digest import DIGEST_COVERS, digest
from evalkit.analysis._report.method_notes import method_notes
from evalkit.analysis._report.safe_text import truncated
from evalkit.analysis._report.study_analysis import ReportedStudy, StudyAnalysis
from evalkit.analysis._report.summary_sentences import summary_sentences
from evalkit.analysis._series import CaveatKind
from evalkit.analysis._stats.ar1 import Estimate
from evalkit.analysis._trend import Trend
from evalkit.domain.catalog import METRICS
from evalkit.domain.verdicts import ALPHA
from evalkit.frames.annotations import annotations_of

__all__ = ["build_content"]

_MOST_FINDINGS = 50
_MESSAGE_LENGTH = 1000


def build_content(analysis: StudyAnalysis) -> ReportContent:
    """Return the content of a report."""
    study, baseline = analysis.study, analysis.baseline
    facts = _facts(study)
    trends, shifts, differences = analysis.tests
    comparison = None
    if baseline is not None:
        comparison = ComparisonFacts(baseline=_facts(baseline), differences=[_difference(result) for result in analysis.differences])
    subjects = [part for part in (study, baseline) if part is not None]
    restatements = [row for part in subjects for row in _restatements(part)]
    autocorrelated = {
        result.metric.name for result in (*analysis.trends, *analysis.changes)
        if any(caveat.kind == CaveatKind.AUTOCORRELATED for caveat in result._caveats)
    }  # fmt: skip
    return ReportContent(
        evalkit=installed_version(),
        study=facts,
        data=DataFacts(as_of=analysis.data.scope.as_of, values=analysis.data.scope.values, excluded=analysis.data.scope.excluded),
        in_short=summary_sentences(analysis),
        correction=CorrectionFacts(
            level=ALPHA, tests=sum(analysis.tests), trends=trends, shifts=shifts, differences=differences,
            metrics=_tested(analysis), autocorrelated=sorted(autocorrelated),
        ),
        definitions=_definitions(analysis, restatements),
        metrics=[_metric(result, analysis.summary[result.metric.name]) for result in analysis.trends],
        not_measured=analysis.not_measured,
        not_tested=analysis.not_tested,
        shifts=[_shifts(result) for result in analysis.changes],
        comparison=comparison,
        notes=[row for part in subjects for row in _notes(part)],
        restatements=restatements,
        audit=_audit(audit(analysis.data)),
        methods=method_notes(compared=baseline is not None),
        events=[_events(part) for part in subjects],
        digest_covers=DIGEST_COVERS,
    )  # fmt: skip


def _facts(study: ReportedStudy) -> StudyFacts:
    description, rows = study.description, study.checkpoints
    first, last = rows.select(pl.col("period_start").min(), pl.col("period_end").max()).row(0) if rows.height else (None, None)
    period = rows["period_type"][0] if rows.height and "period_type" in rows.columns else None
    return StudyFacts(
        id=description.get("study_id") or study.name.id,
        name=description.get("name") or study.name.name,
        status=description.get("status"),
        archived=bool(description.get("archived")),
        period_type=description.get("period_type") or period,
        planned_periods=description.get("period_value"),
        description=description.get("description"),
        tags=list(description.get("tags") or []),
        metadata={pair["key"]: pair["value"] for pair in description.get("metadata") or []},
        created_at=description.get("created_at"),
        started_at=description.get("started_at"),
        stopped_at=description.get("stopped_at"),
        first_period_start=first,
        last_period_end=last,
    )


def _events(study: ReportedStudy) -> EventFacts:
    facts, checkpoints, lifecycle = _facts(study), study.checkpoints, study.lifecycle
    times: list[datetime] = lifecycle["at"].drop_nulls().to_list()
    if "recorded_at" in checkpoints.columns:
        times += [at for at in checkpoints.select(a=pl.col("recorded_at").min(), b=pl.col("recorded_at").max()).row(0) if at]
    return EventFacts(
        study_id=facts.id, study=facts.name, lifecycle_events=lifecycle.height, checkpoints=checkpoints.height,
        first=min(times, default=None), last=max(times, default=None), digest=_digest(study),
    )  # fmt: skip


def _digest(study: ReportedStudy) -> str:
    return digest(
        study.description, study.checkpoints, study.lifecycle, custom=study.custom, amendments=study.amendments, notes=study.notes,
        provenance=study.provenance, malformed=study.data.malformed,
    )  # fmt: skip


def _tested(analysis: StudyAnalysis) -> list[str]:
    """Return the metrics with a p-value."""
    results = (*analysis.trends, *analysis.changes, *analysis.differences)
    tested = {result.metric.name for result in results if result.p is not None}
    return [result.metric.name for result in analysis.trends if result.metric.name in tested]


def _definitions(analysis: StudyAnalysis, restatements: list[RestatementRow]) -> list[DefinitionFacts]:
    """Return the metrics that the report names."""
    names = [*(result.metric.name for result in analysis.trends), *analysis.not_measured]
    catalog = {**METRICS, **analysis.data.catalog}
    names += [row.metric for row in restatements if row.metric in catalog]
    return [DefinitionFacts.of(analysis.data.metric(name)) for name in dict.fromkeys(names)]


def _notes(study: ReportedStudy) -> list[NoteRow]:
    name = study.name.label
    notes = [
        NoteRow(
            study=name, kind="note", at=row["at"], until=row["until"], category=row["category"], author=row["author"],
            text=truncated(row["text"] or "", _MESSAGE_LENGTH),
        )
        for row in study.notes.drop_nulls("at").iter_rows(named=True)
    ]  # fmt: skip
    changes = annotations_of(study.data, {study.name.id: name}).filter(kind="version")
    notes += [
        NoteRow(
            study=name, kind="version", at=row["at"], until=None, category=None, author=None, text=truncated(row["text"], _MESSAGE_LENGTH)
        )
        for row in changes.iter_rows(named=True)
    ]
    return sorted(notes, key=lambda row: row.at)


def _restatements(study: ReportedStudy) -> list[RestatementRow]:
    checkpoints = study.checkpoints
    known = {"checkpoint_id", "period_start", "period_end"} <= set(checkpoints.columns)
    periods = {row[0]: row[1:] for row in checkpoints.select("checkpoint_id", "period_start", "period_end").iter_rows()} if known else {}
    rows = []
    for row in study.amendments.iter_rows(named=True):
        start, end = periods.get(row["checkpoint_id"], (None, None))
        name = row["metric"]
        known_name = name in METRICS or name in study.custom
        label = study.data.metric(name).label if known_name else (name or "retracted").replace("_", " ").capitalize()
        rows.append(
            RestatementRow(
                study=study.name.label, checkpoint_id=row["checkpoint_id"] or "", period_start=start, period_end=end,
                revision=row["revision"], metric=name, label=label, old=_number(row["old"]), new=_number(row["new"]),
                reason=truncated(row["reason"] or "", _MESSAGE_LENGTH), author=row["author"], written_at=row["written_at"],
            )
        )  # fmt: skip
    return rows


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _ends(estimate: Estimate | None) -> list[float | None]:
    """Return an estimate and the limits of its confidence interval."""
    return [None] * 3 if estimate is None else [_number(value) for value in (estimate.value, estimate.low, estimate.high)]


def _metric(result: Trend, summary: dict[str, Any]) -> MetricRow:
    slope, slope_low, slope_high = _ends(result.slope)
    change, change_low, change_high = _ends(result.total_change)
    return MetricRow(
        metric=result.metric.name, label=result.metric.label, unit=result.metric.unit, checkpoints=result.checkpoints,
        missing=result.missing, first=_number(summary["first"]), last=_number(summary["last"]), mean=_number(summary["mean"]),
        weighted_mean=_number(summary["weighted_mean"]),
        verdict=result.verdict, slope=slope, slope_low=slope_low, slope_high=slope_high, change=change, change_low=change_low,
        change_high=change_high, p=_number(result.p), p_corrected=_number(result.p_corrected), more_needed=result.more_needed,
        audit_findings=0 if result.findings is None else result.findings.errors + result.findings.warnings, caveats=result.caveats,
    )  # fmt: skip


def _shifts(result: ChangePoints) -> ShiftsRow:
    shifts = [
        ShiftRow(at=shift.at, low=shift.low, high=shift.high, before=shift.before, after=shift.after, p=shift.p) for shift in result.changes
    ]
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
            end=row["end"], message=truncated(row["message"], _MESSAGE_LENGTH),
        )
        for row in worst.iter_rows(named=True)
    ]  # fmt: skip
    return AuditFacts(
        checkpoints=result.checked, errors=result.errors, warnings=result.warnings, notes=result.notes, findings=rows,
        more=result.errors + result.warnings + result.notes - worst.height, unchecked=list(result.unchecked),
    )  # fmt: skip
