"""The sections of a report in reading order, independent of the output format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeVar

from evalkit._util.text import moment, plural, span
from evalkit.analysis._report.content import (
    AuditFacts,
    ComparisonFacts,
    DifferenceRow,
    MetricRow,
    NoteRow,
    ReportContent,
    RestatementRow,
    ShiftsRow,
    StudyFacts,
)
from evalkit.analysis._report.safe_text import truncated
from evalkit.analysis._wording.phrases import change, change_and_interval, p_value
from evalkit.domain.catalog import METRICS
from evalkit.domain.definitions import Metric
from evalkit.domain.verdicts import Verdict, is_significant
from evalkit.frames.metric_text import number
from evalkit.frames.scope import Scope

Row = TypeVar("Row", NoteRow, RestatementRow)

__all__ = ["Column", "Section", "Table", "sections"]

_MISSING = "-"
_NAME = 60
_MOST_ROWS = 50
"""The largest number of notes, and of restatements, of a study in a page."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    title
        Its heading.
    kind
        ``text``; ``number``; ``time``; ``verdict`` for verdicts and severities; ``long`` for texts that may contain long words. Cells of
        other kinds than ``long`` may have a second line with details.
    """

    title: str
    kind: Literal["text", "number", "time", "verdict", "long"] = "text"


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes
    ----------
    caption
        The content of the table, in a few words.
    columns
        The columns; the first column has the names of the rows.
    rows
        A text for each column.
    significant
        The numbers of the rows with significant results, from 0.
    """

    caption: str
    columns: list[Column]
    rows: list[list[str]]
    significant: frozenset[int] = frozenset()

    @property
    def fits(self) -> bool:
        """Whether the table fits any width of a desktop window.

        Texts wrap; numbers do not, and have an unknown length.
        """
        return all(column.kind != "number" for column in self.columns)


@dataclass(frozen=True)
class Section:
    """A section with a title.

    Attributes
    ----------
    name
        An identifier, unique in the report.
    title
        Its heading.
    lead
        Paragraphs at the beginning.
    facts
        Names with values.
    definitions
        Terms with their definitions.
    charts
        The key of its charts; empty for none.
    tables
        Its tables.
    points
        A list of sentences.
    notes
        Small print at the end.
    """

    name: str
    title: str
    lead: list[str] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    definitions: list[tuple[str, str]] = field(default_factory=list)
    charts: str = ""
    tables: list[Table] = field(default_factory=list)
    points: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def sections(content: ReportContent) -> list[Section]:
    """Return the sections of a report."""
    scope = Scope(content.data.as_of, content.data.values, content.data.excluded)
    compared = content.comparison is not None
    parts = [
        Section("summary", "Summary", lead=scope.sentences(exact=True), points=content.in_short, notes=[_adjustment(content)]),
        Section("study", "Study", facts=_facts(content.study), charts="lifecycle"),
        _metrics(content),
        _shifts(content),
        None if content.comparison is None else _comparison(content.comparison, _by_name(content)),
        _notes(content.notes, compared=compared),
        _restatements(content, compared=compared),
        _data_quality(content.audit, compared=compared),
        Section("caveats", "Caveats", points=_caveats(content)) if _caveats(content) else None,
        _methods(content),
    ]
    return [part for part in parts if part is not None]


def _by_name(content: ReportContent) -> dict[str, Metric]:
    return {definition.name: definition.metric for definition in content.definitions}


def _adjustment(content: ReportContent) -> str:
    correction = content.correction
    if not correction.tests:
        return "Nothing was tested."
    kinds = [(correction.trends, "trend"), (correction.shifts, "shift"), (correction.differences, "difference")]
    counts = ", ".join(plural(count, kind) for count, kind in kinds if count)
    custom = [_by_name(content)[name].label.lower() for name in correction.metrics if name not in METRICS]
    standard = len(correction.metrics) - len(custom)
    of = [*([f"{standard} of the 16 metrics"] if standard else []), *custom]
    return (
        f"{plural(correction.tests, 'p-value')} ({counts}; {', '.join(of)}), adjusted together for multiple comparisons (Holm): if "
        f"nothing changed, at most "
        f"{correction.level * 100:.0f}% of reports contain a significant result.{_autocorrelated(content)}"
    )


def _autocorrelated(content: ReportContent) -> str:
    count = len(content.correction.autocorrelated)
    return f" Strong autocorrelation may cause more false positives in {plural(count, 'metric')}." if count else ""


def _facts(study: StudyFacts) -> list[tuple[str, str]]:
    planned = "until stopped" if study.planned_periods is None else f"{study.planned_periods:,} planned"
    pairs = [f"{name} = {value}" for name, value in sorted(study.metadata.items())]
    facts = {
        "ID": study.id, "Status": ", ".join(filter(None, [study.status, "archived" if study.archived else None])),
        "Periods": study.period_type and f"{study.period_type}, {planned}", "Description": study.description,
        "Tags": ", ".join(study.tags), "Metadata": ", ".join(pairs),
        "Created": _time(study.created_at), "Started": _time(study.started_at), "Stopped": _time(study.stopped_at),
        "Time range": span(study.first_period_start, study.last_period_end) if study.first_period_start else "no checkpoints",
    }  # fmt: skip
    return [(name, value) for name, value in facts.items() if value]


def _time(at: datetime | None) -> str:
    return "" if at is None else f"{moment(at)} UTC"


def _metrics(content: ReportContent) -> Section | None:
    title = "Metrics over time"
    metrics = _by_name(content)
    absent = ", ".join(metrics[name].label.lower() for name in content.not_measured)
    notes = [f"Not measured: {absent}."] if absent else []
    others = [name for name, reason in content.not_tested.items() if reason == "not primary"]
    notes += [f"Custom metrics that are not in this report, because they are not primary: {', '.join(others)}."] if others else []
    notes += [f"Not in this report: {name!r}, because {reason}." for name, reason in content.not_tested.items() if name not in others]
    if not content.metrics:
        return Section("metrics", title, lead=["No metric has a value."], notes=notes) if notes else None
    columns = [
        Column("Metric"), Column("Verdict", "verdict"), Column("Change (95% CI)", "number"), Column("p", "number"),
        Column("Adj. p", "number"), Column("First", "number"), Column("Last", "number"), Column("Mean", "number"),
        Column("Values", "number"),
    ]  # fmt: skip
    affected = [row for row in content.metrics if row.audit_findings]
    all_affected = len(affected) == len(content.metrics)
    rows = [_metric(metrics[row.metric], row, asterisk=bool(row.audit_findings) and not all_affected) for row in content.metrics]
    significant = frozenset(place for place, row in enumerate(content.metrics) if is_significant(row.p_corrected))
    notes = [
        "Change: of the fitted line from the first checkpoint to the last (pp: percentage points). Adj. p: adjusted for multiple "
        "comparisons (Holm).",
        *notes,
    ]
    if any(row.verdict == Verdict.NO_TREND for row in content.metrics):
        notes.append("Without a significant trend, the 95% CI shows which changes remain possible.")
    if any(row.weighted_mean is not None for row in content.metrics):
        notes.append("Means are weighted by the metric's denominator where it is recorded; ≈ marks unweighted means of checkpoints.")
    if all_affected:
        notes.append("Audit errors or warnings affect every metric; see Data quality.")
    elif affected:
        notes.append("* Audit errors or warnings affect this metric; see Data quality.")
    return Section("metrics", title, charts="overview", tables=[Table("Trend of each metric", columns, rows, significant)], notes=notes)


def _metric(metric: Metric, row: MetricRow, *, asterisk: bool) -> list[str]:
    mean = number(metric, row.mean if row.weighted_mean is None else row.weighted_mean)
    if row.weighted_mean is None and metric.rollup != "sum":
        mean = f"≈ {mean}"
    verdict = str(row.verdict)
    if row.verdict == Verdict.INSUFFICIENT_DATA and row.more_needed:
        verdict += f"\n(about {plural(row.more_needed, 'more checkpoint')} needed)"
    return [
        f"{row.label}{' *' if asterisk else ''}", verdict, _interval(metric, row.change, row.change_low, row.change_high),
        _p(row.p), _p(row.p_corrected), number(metric, row.first), number(metric, row.last), mean,
        f"{row.checkpoints:,}" + (f"\n({row.missing:,} missing)" if row.missing else ""),
    ]  # fmt: skip


def _interval(metric: Metric, value: float | None, low: float | None, high: float | None) -> str:
    """Return an estimate with its confidence interval in a second line."""
    if value is None or low is None or high is None:
        return _MISSING
    text, limits = change_and_interval(metric, value, low, high)
    return f"{text}\n({limits})"


def _p(p: float | None) -> str:
    return _MISSING if p is None else p_value(p).replace(" ", "\u00a0")


def _shifts(content: ReportContent) -> Section | None:
    if not content.shifts:
        return None
    lead = f"{_significant_count('trend', content.metrics)} {_significant_count('shift in level', content.shifts)}"
    columns = [
        Column("Metric"), Column("Time of shift (UTC), 95% CI", "time"), Column("Change", "number"), Column("Mean before", "number"),
        Column("Mean after", "number"), Column("p", "number"), Column("Adj. p of any shift", "number"),
    ]  # fmt: skip
    rows = [cells for row in content.shifts for cells in _shift(_by_name(content)[row.metric], row)]
    tables = [Table("Significant shifts", columns, rows)] if rows else []
    return Section("changes", "Significant trends and shifts", lead=[lead], charts="significant", tables=tables)


def _significant_count(kind: str, rows: Sequence[MetricRow] | Sequence[ShiftsRow]) -> str:
    significant = sum(is_significant(row.p_corrected) for row in rows)
    insufficient = sum(row.verdict == Verdict.INSUFFICIENT_DATA for row in rows)
    without = f" (insufficient data for {insufficient:,})" if insufficient else ""
    return f"Significant {kind}: {significant:,} of {plural(len(rows), 'metric')}{without}."


def _shift(metric: Metric, row: ShiftsRow) -> list[list[str]]:
    return [
        [row.label, f"{moment(shift.at)}\n({moment(shift.low)} to {moment(shift.high)})",
         change(metric, shift.after - shift.before), number(metric, shift.before), number(metric, shift.after),
         _p(shift.p), _p(row.p_corrected)]
        for shift in row.shifts
    ]  # fmt: skip


def _comparison(comparison: ComparisonFacts, metrics: Mapping[str, Metric]) -> Section:
    title, facts = f"Comparison with {truncated(comparison.baseline.name, _NAME)}", _facts(comparison.baseline)
    if not comparison.differences:
        return Section("comparison", title, lead=["No metric has a value in both studies."], facts=facts)
    columns = [
        Column("Metric"), Column("Verdict", "verdict"), Column("Difference (95% CI)", "number"), Column("p", "number"),
        Column("Adj. p", "number"), Column("Study", "number"), Column("Baseline", "number"), Column("Based on"),
    ]  # fmt: skip
    significant = frozenset(place for place, row in enumerate(comparison.differences) if is_significant(row.p_corrected))
    rows = [_difference(metrics[row.metric], row) for row in comparison.differences]
    table = Table("Difference in each metric (study − baseline)", columns, rows, significant)
    return Section("comparison", title, facts=facts, charts="differences", tables=[table])


def _difference(metric: Metric, row: DifferenceRow) -> list[str]:
    based_on = f"{row.pairs:,} pairs" if row.pairs else f"{row.study_checkpoints:,} and {row.baseline_checkpoints:,} checkpoints"
    means = [_MISSING if mean is None else number(metric, mean) for mean in (row.study_mean, row.baseline_mean)]
    return [
        row.label, str(row.verdict), _interval(metric, row.difference, row.low, row.high), _p(row.p), _p(row.p_corrected), *means, based_on,
    ]  # fmt: skip


def _notes(notes: list[NoteRow], *, compared: bool) -> Section | None:
    if not notes:
        return None
    shown, omitted = _latest(notes)
    columns = [
        Column("From (UTC)", "time"), Column("To (UTC)", "time"), *([Column("Study", "long")] if compared else []), Column("Category"),
        Column("Text", "long"), Column("Author", "long"),
    ]  # fmt: skip
    rows = [
        [_moment(note.at), _moment(note.until), *([truncated(note.study, _NAME)] if compared else []), note.category or "version change",
         note.text, note.author or _MISSING]
        for note in shown
    ]  # fmt: skip
    return Section("notes", "Notes and version changes", tables=[Table("Notes and version changes", columns, rows)], notes=omitted)


def _restatements(content: ReportContent, *, compared: bool) -> Section | None:
    restatements = content.restatements
    if not restatements:
        return None
    shown, omitted = _latest(restatements)
    values, metrics = content.data.values, _by_name(content)
    retracted = len([row for row in restatements if row.metric is None])
    changed = len(restatements) - retracted
    counts = [*([plural(changed, "changed value")] if changed else []), *([plural(retracted, "retracted checkpoint")] if retracted else [])]
    effect = "This report shows the values as first recorded." if values == "first" else "This report shows the latest values."
    columns = [
        Column("Recorded (UTC)", "time"), *([Column("Study", "long")] if compared else []), Column("Period"), Column("Value"),
        Column("Before", "number"), Column("After", "number"), Column("Reason", "long"), Column("Author", "long"),
    ]  # fmt: skip
    rows = [
        [_moment(row.written_at), *([truncated(row.study, _NAME)] if compared else []),
         span(row.period_start, row.period_end) if row.period_start and row.period_end else f"checkpoint …{row.checkpoint_id[-8:]}",
         row.label, *(_value(metrics.get(row.metric or ""), value) for value in (row.old, row.new)), row.reason, row.author or _MISSING]
        for row in shown
    ]  # fmt: skip
    table = Table("Restatements", columns, rows)
    return Section("restatements", "Restatements", lead=[f"{' and '.join(counts)}. {effect}"], tables=[table], notes=omitted)


def _value(metric: Metric | None, value: float | None) -> str:
    return _MISSING if value is None else f"{value:,g}" if metric is None else number(metric, value)


def _latest(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """Return the latest rows of each study, and a sentence on the others of each study."""
    shown: list[Row] = []
    omitted = []
    for study in dict.fromkeys(row.study for row in rows):
        of_study = [row for row in rows if row.study == study]
        shown += of_study[-_MOST_ROWS:]
        more = len(of_study) - _MOST_ROWS
        if more > 0:
            counted = f"{more:,} earlier {'row' if more == 1 else 'rows'} of {truncated(study, _NAME)}"
            omitted.append(f"{counted} {'is' if more == 1 else 'are'} not shown; a report in JSON has all.")
    return shown, omitted


def _data_quality(audit: AuditFacts, *, compared: bool) -> Section:
    counts = [(audit.errors, "error"), (audit.warnings, "warning"), (audit.notes, "note")]
    counted = ", ".join(plural(count, severity) for count, severity in counts if count) or "no problems found"
    lead = [f"Audit of {plural(audit.checkpoints, 'checkpoint')}{' of both studies' if compared else ''}: {counted}."]
    columns = [
        Column("Severity", "verdict"), *([Column("Study", "long")] if compared else []), Column("Finding", "long"),
        Column("From (UTC)", "time"), Column("To (UTC)", "time"),
    ]  # fmt: skip
    rows = [
        [
            finding.severity,
            *([truncated(finding.study, _NAME)] if compared else []),
            finding.message,
            _moment(finding.start),
            _moment(finding.end),
        ]
        for finding in audit.findings
    ]
    tables = [Table("Audit findings", columns, rows)] if rows else []
    more = [f"{plural(audit.more, 'more finding')} not shown."] if audit.more else []
    return Section("data-quality", "Data quality", lead=lead, tables=tables, notes=[*more, *audit.unchecked])


def _moment(at: datetime | None) -> str:
    return _MISSING if at is None else moment(at)


def _caveats(content: ReportContent) -> list[str]:
    """Return each caveat once, with the metrics to which it applies."""
    labels: dict[str, list[str]] = {}
    differences = content.comparison.differences if content.comparison else []
    rows: list[MetricRow | ShiftsRow | DifferenceRow] = [*content.metrics, *content.shifts, *differences]
    for row in rows:
        for caveat in row.caveats:
            of_caveat = labels.setdefault(caveat, [])
            if row.label not in of_caveat:
                of_caveat.append(row.label)
    measured = len({row.label for row in rows})
    applies_to = {caveat: "all metrics" if len(of_caveat) == measured > 1 else ", ".join(of_caveat) for caveat, of_caveat in labels.items()}
    return [f"{caveat}\nApplies to: {metrics}." for caveat, metrics in applies_to.items()]


def _methods(content: ReportContent) -> Section:
    notes = [(note.what, note.how + (f" Reference: {note.source}." if note.source else "")) for note in content.methods]
    columns = [
        Column("Study", "long"), Column("Lifecycle events", "number"), Column("Checkpoints", "number"), Column("First event (UTC)", "time"),
        Column("Last event (UTC)", "time"), Column("SHA-256 digest", "long"),
    ]  # fmt: skip
    rows = [
        [truncated(events.study, _NAME), f"{events.lifecycle_events:,}", f"{events.checkpoints:,}", _moment(events.first),
         _moment(events.last), events.digest]
        for events in content.events
    ]  # fmt: skip
    covers = f"The digest covers {content.digest_covers}. The same content has the same digest in every storage engine."
    table = Table("Based on", columns, rows)
    return Section("methods", "Methods", definitions=notes, tables=[table], notes=[covers, f"Generated by evalkit {content.evalkit}."])
