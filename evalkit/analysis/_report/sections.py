"""The parts of a report as people read them, in their order: titles, sentences, facts and tables, whatever they are written in."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from evalkit._util.text import moment, plural, span
from evalkit.analysis._report.content import AuditFacts, DifferenceRow, MetricRow, ReportContent, ShiftsRow, StudyFacts
from evalkit.analysis._report.render import shortened
from evalkit.analysis._wording.phrases import change, change_and_interval, p_value
from evalkit.domain.metrics import METRICS, Metric
from evalkit.domain.verdicts import Verdict, is_significant
from evalkit.frames.metric_text import number

__all__ = ["Section", "Table", "sections"]

_NONE = "-"
_NAME = 60


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes
    ----------
    caption
        What it shows.
    columns
        Their titles; a row's first cell is its name.
    rows
        A text for each column.
    numbers
        Which columns hold numbers, from 0.
    loud
        Which rows are findings, from 0.
    free
        Which columns hold texts of others, which may be long words, from 0.
    times
        Which columns hold times, from 0.
    """

    caption: str
    columns: list[str]
    rows: list[list[str]]
    numbers: frozenset[int] = frozenset()
    loud: frozenset[int] = frozenset()
    free: frozenset[int] = frozenset()
    times: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Section:
    """A part with a title. `charts` says which charts stand in it, where there are charts."""

    title: str
    lead: list[str] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    charts: str = ""
    tables: list[Table] = field(default_factory=list)
    points: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def sections(content: ReportContent) -> list[Section]:
    """Return the parts of a report."""
    parts = [
        Section("In short", points=content.in_short, notes=[_corrected(content)]),
        Section("The study", facts=_facts(content.study), charts="lifecycle"),
        _metrics(content),
        _shifts(content),
        *_comparison(content),
        _audit(content.audit, compared=content.comparison is not None),
        Section("Caveats", points=_caveats(content)) if _caveats(content) else None,
        _computed(content),
    ]
    return [part for part in parts if part is not None]


def _corrected(content: ReportContent) -> str:
    made = content.correction
    if not made.tests:
        return "Nothing was tested."
    kinds = [(made.trends, "trend"), (made.shifts, "shift"), (made.differences, "difference")]
    counted = ", ".join(plural(count, kind) for count, kind in kinds if count)
    return (
        f"{plural(made.tests, 'p-value')} ({counted}) stand in this report. They are corrected together (Holm): with no effect at all a "
        f"report claims anything in at most {made.level * 100:.0f} % of studies.{_more_claimed(content)}"
    )


def _more_claimed(content: ReportContent) -> str:
    count = len(content.correction.autocorrelated)
    return f" In {plural(count, 'metric')} neighbours may be very alike, and more may be claimed there." if count else ""


def _facts(study: StudyFacts) -> list[tuple[str, str]]:
    planned = "until stopped" if study.planned_periods is None else f"{study.planned_periods:,} planned"
    pairs = [f"{name} = {value}" for name, value in sorted(study.metadata.items())]
    found = {
        "Id": study.id, "Status": study.status, "Periods": study.period_type and f"{study.period_type}, {planned}",
        "Description": study.description, "Tags": ", ".join(study.tags), "Metadata": ", ".join(pairs),
        "Created": _time(study.created_at), "Started": _time(study.started_at), "Stopped": _time(study.stopped_at),
        "Checkpoints cover": span(study.first_period_start, study.last_period_end) if study.first_period_start else "no time yet",
    }  # fmt: skip
    return [(name, value) for name, value in found.items() if value]


def _time(at: datetime | None) -> str:
    return "" if at is None else f"{moment(at)} UTC"


def _metrics(content: ReportContent) -> Section | None:
    absent = ", ".join(METRICS[name].label.lower() for name in content.not_measured)
    notes = [f"Not measured: {absent}."] if absent else []
    if any(row.verdict == Verdict.NO_TREND for row in content.metrics):
        notes.append("Without a significant trend, the interval says which trends remain possible.")
    if not content.metrics:
        return Section("Metrics over time", lead=["No metric has a value."], notes=notes) if absent else None
    columns = [
        "Metric",
        "Checkpoints",
        "Missing",
        "First",
        "Last",
        "Mean",
        "Verdict",
        "Change over the span (95 % interval)",
        "p",
        "Corrected p",
    ]
    marked = not all(row.audit_findings for row in content.metrics)
    rows = [_metric(METRICS[row.metric], row, marked=marked) for row in content.metrics]
    loud = frozenset(place for place, row in enumerate(content.metrics) if is_significant(row.p_corrected))
    table = Table("Each metric over time", columns, rows, frozenset({1, 2, 3, 4, 5, 7, 8, 9}), loud)
    if any(row.weighted_mean is not None for row in content.metrics):
        notes.append("Means are of the whole where the metric rests on a recorded count, else of the checkpoints (marked with ≈).")
    if all(row.audit_findings for row in content.metrics):
        notes.append("An error or a warning of the audit touches every metric, see below.")
    elif any(row.audit_findings for row in content.metrics):
        notes.append("A metric with an asterisk is touched by an error or a warning of the audit, see below.")
    return Section("Metrics over time", charts="overview", tables=[table], notes=notes)


def _metric(metric: Metric, row: MetricRow, *, marked: bool) -> list[str]:
    mean = (
        f"≈ {number(metric, row.mean)}"
        if row.weighted_mean is None and metric.rollup != "sum"
        else number(metric, row.mean if row.weighted_mean is None else row.weighted_mean)
    )
    verdict = str(row.verdict)
    if row.verdict == Verdict.INSUFFICIENT_DATA and row.more_needed:
        verdict += f", about {row.more_needed:,} more needed"
    return [
        f"{row.label}{' *' if marked and row.audit_findings else ''}", f"{row.checkpoints:,}", f"{row.missing:,}",
        number(metric, row.first), number(metric, row.last), mean, verdict,
        _interval(metric, row.change, row.change_low, row.change_high), _p(row.p), _p(row.p_corrected),
    ]  # fmt: skip


def _interval(metric: Metric, value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None:
        return _NONE
    text, limits = change_and_interval(metric, value, low, high)
    return f"{text} ({limits})"


def _p(p: float | None) -> str:
    return _NONE if p is None else p_value(p).replace(" ", "\u00a0")


def _shifts(content: ReportContent) -> Section | None:
    if not content.shifts:
        return None
    words = {Verdict.SHIFTED: "detected in", Verdict.NO_SHIFT: "none in", Verdict.INSUFFICIENT_DATA: "insufficient data in"}
    counts = {word: sum(row.verdict == verdict for row in content.shifts) for verdict, word in words.items()}
    counted = ", ".join(f"{word} {count:,}" for word, count in counts.items() if count)
    lead = [f"Shifts in the level, of {plural(len(content.shifts), 'metric')}: {counted}."]
    rows = [cells for row in content.shifts for cells in _shift(row)]
    columns = [
        "Metric",
        "Shifted at (UTC)",
        "95 % interval of the time",
        "Mean before",
        "Mean after",
        "Change",
        "p",
        "Corrected p of any shift",
    ]
    tables = [Table("Where the level shifted", columns, rows, frozenset({3, 4, 5, 6, 7}), times=frozenset({1}))] if rows else []
    return Section("Significant trends and shifts", lead=lead, charts="significant", tables=tables)


def _shift(row: ShiftsRow) -> list[list[str]]:
    metric = METRICS[row.metric]
    return [
        [row.label, moment(one.at), f"{moment(one.low)} to {moment(one.high)}", number(metric, one.before), number(metric, one.after),
         change(metric, one.after - one.before), _p(one.p), _p(row.p_corrected)]
        for one in row.shifts
    ]  # fmt: skip


def _comparison(content: ReportContent) -> list[Section]:
    found = content.comparison
    if found is None:
        return []
    title = f"Against the baseline {shortened(found.baseline.name, _NAME)}"
    if not found.differences:
        return [Section(title, lead=["No metric has a value in both."], facts=_facts(found.baseline))]
    columns = ["Metric", "Study", "Baseline", "Verdict", "Difference (95 % interval)", "p", "Corrected p", "Rests on"]
    loud = frozenset(place for place, row in enumerate(found.differences) if is_significant(row.p_corrected))
    rows = [_difference(METRICS[row.metric], row) for row in found.differences]
    table = Table("The study less the baseline", columns, rows, frozenset({1, 2, 4, 5, 6}), loud)
    return [Section(title, facts=_facts(found.baseline), charts="differences", tables=[table])]


def _difference(metric: Metric, row: DifferenceRow) -> list[str]:
    rests = f"{row.pairs:,} pairs" if row.pairs else f"{row.study_checkpoints:,} against {row.baseline_checkpoints:,}"
    means = [number(metric, mean) if mean is not None else _NONE for mean in (row.study_mean, row.baseline_mean)]
    return [
        row.label,
        *means,
        str(row.verdict),
        _interval(metric, row.difference, row.low, row.high),
        _p(row.p),
        _p(row.p_corrected),
        rests,
    ]


def _audit(found: AuditFacts, *, compared: bool) -> Section:
    counts = [(found.errors, "error"), (found.warnings, "warning"), (found.notes, "note")]
    told = ", ".join(plural(count, word) for count, word in counts if count) or "nothing found"
    lead = [f"{plural(found.checkpoints, 'checkpoint')} looked at{' in both studies' if compared else ''}: {told}."]
    columns = ["Severity", *(["Study"] if compared else []), "What", "From", "To"]
    rows = [
        [one.severity, *([shortened(one.study, _NAME)] if compared else []), one.message, _day(one.start), _day(one.end)]
        for one in found.findings
    ]
    tables = (
        [Table("What the audit found", columns, rows, free=frozenset({1, 2} if compared else {1}), times=frozenset({2, 3, 4}))]
        if rows
        else []
    )
    more = [f"And {found.more:,} more."] if found.more else []
    return Section("Can the data carry it?", lead=lead, tables=tables, notes=[*more, *found.unchecked])


def _day(at: datetime | None) -> str:
    return _NONE if at is None else moment(at)


def _caveats(content: ReportContent) -> list[str]:
    """Return each caveat once, with the metrics that have it."""
    metrics: dict[str, list[str]] = {}
    differences = content.comparison.differences if content.comparison else []
    rows: list[MetricRow | ShiftsRow | DifferenceRow] = [*content.metrics, *content.shifts, *differences]
    for row in rows:
        for caveat in row.caveats:
            named = metrics.setdefault(caveat, [])
            if row.label not in named:
                named.append(row.label)
    return [f"{', '.join(named)}: {caveat}" for caveat, named in metrics.items()]


def _computed(content: ReportContent) -> Section:
    points = [f"{note.what}: {note.how}" + (f" Source: {note.source}." if note.source else "") for note in content.methods]
    columns = ["Study", "Lifecycle events", "Checkpoints", "First event (UTC)", "Last event (UTC)", "SHA-256 of the content"]
    rows = [
        [shortened(one.study, _NAME), f"{one.lifecycle_events:,}", f"{one.checkpoints:,}", _day(one.first), _day(one.last), one.digest]
        for one in content.events
    ]
    covers = f"The digest covers {content.digest_covers}. The same content has the same digest, whatever holds it."
    table = Table("The events that this report rests on", columns, rows, frozenset({1, 2}), free=frozenset({0, 5}), times=frozenset({3, 4}))
    return Section("How it was computed", points=points, tables=[table], notes=[covers, f"Made by evalkit {content.evalkit}."])
