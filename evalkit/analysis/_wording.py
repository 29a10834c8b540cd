"""The sentences of all results: for displaying them, for reports and for charts. The one place where results become text."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from evalkit._util.text import duration, moment, plural, span
from evalkit.analysis._phrases import change, how_likely, interval, per_time
from evalkit.analysis._series import Caveat, CaveatKind
from evalkit.domain.metrics import METRICS, Metric
from evalkit.domain.verdicts import ALPHA, Verdict, change_verdict, is_significant, only_alone
from evalkit.frames.metric_text import number
from evalkit.frames.normalize import MISSING_STUDY

if TYPE_CHECKING:
    from datetime import datetime

    from evalkit.analysis._audit.audit import Audit
    from evalkit.analysis._before_after import BeforeAfter
    from evalkit.analysis._changepoints import Change, ChangePoints
    from evalkit.analysis._compare import Comparison, Difference
    from evalkit.analysis._resample import Resampled
    from evalkit.analysis._results import StudyResult
    from evalkit.analysis._summary import Summary
    from evalkit.analysis._trend import Trend

__all__ = [
    "METHOD", "ONLY_ALONE", "audit", "before_after", "caveat", "change_mark", "changepoints", "comparison", "difference", "effect_mark",
    "not_only", "per_study", "resampled", "shift", "summary", "trend", "trend_in_short",
]  # fmt: skip

METHOD = "generalised least squares with autocorrelated errors, averaged over how strongly neighbours may correlate"
ONLY_ALONE = "Told alone, but not among all that was looked at"
_MOST_STUDIES = 3
_MOST_METRICS = 3
_MOST_FINDINGS = 10


def per_study(results: Sequence[StudyResult]) -> list[str]:
    """Return the sentences of the results of several studies."""
    if not results:
        return ["No study has a checkpoint in this frame."]
    if len(results) <= _MOST_STUDIES:
        return [sentence for one in results for sentence in one.sentences()]
    counts = Counter(one.verdict for one in results)
    verdicts = ", ".join(f"{verdict} {count}" for verdict, count in sorted(counts.items()))
    return [
        f"{plural(len(results), 'study', 'studies')}: {verdicts}.",
        "The p-values are corrected for how many studies were looked at (Holm). One study in words: result['…']; all numbers: .frame.",
    ]


def not_only(studies: Sequence[str]) -> str:
    """Return why there is no only result."""
    if not studies:
        return "The data has no study with checkpoints, so there is no result."
    named = ", ".join(map(repr, studies[:8])) + (" …" if len(studies) > 8 else "")
    return f"There are results of {len(studies)} studies: {named}. Take one with result[{studies[0]!r}]."


def _subject(result: StudyResult) -> str:
    """Return study and metric, as a sentence begins; the metric alone where the frame names no study."""
    label = result.metric.label
    return label if result.study == MISSING_STUDY else f"{result.study}, {label.lower()}"


def _span(start: datetime | None, end: datetime | None) -> str:
    return span(start, end) if start else "no time"


def _audited(*audits: Audit | None) -> list[str]:
    """Say that the audit has errors or warnings, where it has."""
    errors, warnings = (sum(getattr(one, kind) for one in audits if one is not None) for kind in ("errors", "warnings"))
    counts = " and ".join(plural(count, word) for count, word in ((errors, "error"), (warnings, "warning")) if count)
    return [f"The audit has {counts} on this data: see .findings."] if counts else []


def trend(result: Trend) -> list[str]:
    """Return the verdict of a trend with its interval, the method with its count, and the caveats."""
    name, metric, slope, total = f"{_subject(result)}: {result.verdict}", result.metric, result.slope, result.total_change
    if slope is None or total is None:
        more = f"; at least {plural(result.more_needed or 0, 'more is', 'more are')} needed"
        values = plural(result.values, "value is", "values of different times are")
        return [f"{name}: {values} too few to tell a trend{more}.", *result.caveats]
    first = f"{name}, {per_time(metric, slope, result.span_days)}; {how_likely(result.p, result.p_corrected)}."
    over = f"Over the {duration(timedelta(days=result.span_days))} that is {change(metric, total.value)} ({interval(metric, total)})."
    method = f"Method: {METHOD} (here about {result.autocorrelation:.2f}); {plural(result.checkpoints, 'checkpoint')}, "
    method += f"{_span(result.start, result.end)}."
    return [first, " ".join([over, *_on_power(result)]), " ".join([method, *result.caveats, *_audited(result.findings)])]


def _on_power(result: Trend) -> list[str]:
    """Say which trends remain possible, or how many more checkpoints would show one."""
    if result.slope is None or result.total_change is None:
        return []
    if result.verdict == Verdict.NO_TREND and result.total_change.half_width:
        return ["No trend can be told from chance; the interval says which trends remain possible."]
    if only_alone(result.slope.p, result.p_corrected):
        return [f"{ONLY_ALONE}; about {plural(result.more_needed or 1, 'more checkpoint')} would tell it."]
    if result.verdict == Verdict.INSUFFICIENT_DATA and result.more_needed:
        of = f" of {_one_value(result.averaged_over)}" if result.averaged_over else ""
        more = f"With about {plural(result.more_needed, 'more checkpoint')}"
        return [f"{more} a rise of 3 standard deviations{of} would be told about every other time."]
    return []


def trend_in_short(result: Trend) -> str:
    """Return a trend in one sentence, without the study."""
    metric, total = result.metric, result.total_change
    assert total is not None
    over = f"{change(metric, total.value)} over the {duration(timedelta(days=result.span_days))} ({interval(metric, total)})"
    return f"{metric.label}: {result.verdict}, {over}; {how_likely(total.p, result.p_corrected)}."


def before_after(result: BeforeAfter) -> list[str]:
    """Return the effect of a change with its interval, the method with its counts, and the caveats."""
    name, metric = f"{_subject(result)}, at {moment(result.at)} UTC: {result.verdict}", result.metric
    counts = f"{plural(result.before, 'checkpoint')} before and {result.after:,} after"
    if result.effect is None or result.slope_change is None:
        values = (result.values_before, result.values_after)
        used = "" if values == (result.before, result.after) else f"{values[0]:,} and {values[1]:,} "
        return [f"{name}, with {counts}, of {used}different times; {result.FEWEST} are needed on each side.", *result.caveats]
    step = f"{change(metric, result.effect.value)} ({interval(metric, result.effect)})"
    tilt = f"The slopes after and before differ by {per_time(metric, result.slope_change, result.span_days)}, which is not tested."
    first = f"{name}, a step of {step} between the lines before and after; {how_likely(result.p, result.p_corrected)}. {tilt}"
    method = f"Method: two straight lines, {METHOD} (here about {result.autocorrelation:.2f}); {counts}."
    return [first, f"{method} {_placebos(result)}", *result.caveats, *_audited(result.findings)]


def _placebos(result: BeforeAfter) -> str:
    count = result.placebos.height
    if not count:
        return "Too few checkpoints to try moments at which nothing happened."
    significant = result.placebos.filter(pl.col("p") <= ALPHA).height
    odd = " More than chance explains: steps of this kind come without a change as well." if significant > count / 5 else ""
    steps = f"a step is told at {significant}"
    if result.effect is not None and result.effect.value and not result.constant:
        steps += f", and is as clear as this one (measured by its own interval) at {result.placebos_as_clear}"
    return f"Of {plural(count, 'other moment')}, at which nothing is known to have happened, {steps}.{odd}"


def effect_mark(result: BeforeAfter) -> str:
    """Return what a chart says at the time of a change that was made."""
    return str(result.verdict) if result.effect is None else f"{result.verdict}: {change(result.metric, result.effect.value)}"


def changepoints(result: ChangePoints) -> list[str]:
    """Return each shift with the interval of its time, the method with its count, and the caveats."""
    name = f"{_subject(result)}: {result.verdict}"
    if result.verdict == Verdict.INSUFFICIENT_DATA:
        return [f"{name}: {plural(result.values, 'value', 'values of different times')}; {result.FEWEST} are needed.", *result.caveats]
    shifts = [shift(result, one, _subject(result)) for one in result.changes]
    none = [] if shifts else [f"{name}; {how_likely(result.p, result.p_corrected)}."]
    method = (
        "Method: the largest step in the mean against those of permuted residuals with the same autocorrelation, then each side again; "
        f"{plural(result.checkpoints, 'checkpoint')}, {_span(result.start, result.end)}."
    )
    gradual = [caveat(Caveat(CaveatKind.GRADUAL))] if result.gradual and shifts else []
    return [*none, *shifts, " ".join([method, *result.caveats, *gradual, *_audited(result.findings)])]


def shift(result: ChangePoints, one: Change, subject: str) -> str:
    """Return one shift in a sentence that begins with `subject`."""
    assert result.p is not None
    metric, step = result.metric, one.after - one.before
    when = f"at {moment(one.at)} UTC (95 % interval {moment(one.low)} to {moment(one.high)})"
    levels = f"from {number(metric, one.before)} to {number(metric, one.after)} ({change(metric, step)})"
    # The verdict goes by the p-value of any shift, which is said where it is another one.
    alone, overall = how_likely(one.p, None), how_likely(result.p, result.p_corrected)
    likely = alone if alone == overall else f"{alone} (of any shift, {overall})"
    return f"{subject}: {change_verdict(metric, step)} {when}, {levels}; {likely}."


def change_mark(metric: Metric, one: Change) -> str:
    """Return what a chart says at a shift."""
    return f"{change(metric, one.after - one.before)} at {moment(one.at)} UTC"


def comparison(result: Comparison) -> list[str]:
    """Return in which metrics a study differs, the method, and each significant difference."""
    against = f"{result.study} against {result.baseline}"
    if not result.differences:
        return [f"{against}: no metric has a value in both."]
    by_verdict = defaultdict(list)
    for one in result.differences:
        by_verdict[one.verdict].append(one.metric.label.lower())
    few = len(by_verdict.pop(Verdict.INSUFFICIENT_DATA, ()))
    overall = [f"{verdict} in {len(names)} ({', '.join(names)})" for verdict, names in by_verdict.items()]
    overall += [f"{Verdict.INSUFFICIENT_DATA} in {few}"] if few else []
    each = len(result.differences) <= _MOST_METRICS
    sentences = [difference(one) for one in result.differences if each or is_significant(one.p_corrected)]
    hidden = [one.metric.label.lower() for one in result.differences if only_alone(one.p, one.p_corrected)]
    sentences += [f"{ONLY_ALONE}: {', '.join(hidden)}."] if hidden else []
    tests = sum(one.p is not None for one in result.differences)
    correction = f"; p-values, not intervals, corrected for {plural(tests, 'metric')} (Holm)" if tests > 1 else ""
    method = f"Method: means over checkpoints, each counting the same; {METHOD}{correction}."
    return [f"{against}: {'; '.join(overall)}.", *sentences, method, *([] if each else _based_on(result))]


def _based_on(result: Comparison) -> list[str]:
    """Return what the differences that have no sentence of their own are computed from, and their caveats."""
    pairs = [one.pairs for one in result.differences if one.pairs]
    unpaired = sum(one.difference is not None and not one.pairs for one in result.differences)
    counts = f"{min(pairs, default=0):,}" + (f" to {max(pairs):,}" if len(set(pairs)) > 1 else "")
    parts = [f"{plural(len(pairs), 'metric')} in {counts} pairs of the same period"] if pairs else []
    parts += [f"{plural(unpaired, 'metric')} not paired"] if unpaired else []
    reasons = [[reason[:1].upper() + reason[1:]] if (reason := _no_difference(one)) else [] for one in result.differences]
    caveats = list(dict.fromkeys(c for one, reason in zip(result.differences, reasons, strict=True) for c in (*one.caveats, *reason)))
    warnings = dict.fromkeys(w for one in result.differences for w in _audited(one.findings, one.baseline_findings))
    first = [f"Rests on: {', '.join(parts)}. Intervals and counts of all: .frame."] if parts else []
    more = [f"And {len(caveats) - _MOST_METRICS} more cautions: result[metric].caveats."] if len(caveats) > _MOST_METRICS else []
    sentence = " ".join([*first, *caveats[:_MOST_METRICS], *more, *list(warnings)[:1]])
    return [sentence] if sentence else []


def difference(result: Difference, *, study: str | None = None, baseline: str | None = None, brief: bool = False) -> str:
    """Return a difference with its interval and how it was computed.

    Parameters
    ----------
    study, baseline
        What to call the two; None for their labels.
    brief
        Whether to leave out the caveats and what the audit says.
    """
    metric, estimate = result.metric, result.difference
    name = f"{metric.label}: {study or result.study} {result.verdict} against {baseline or result.baseline}"
    limits = [] if brief else [*result.caveats, *_audited(result.findings, result.baseline_findings)]
    if estimate is None:
        return " ".join([f"{name}: {_no_difference(result)}", *limits])
    counts = f"{plural(result.study_checkpoints, 'checkpoint')} against {result.baseline_checkpoints:,}"
    based_on = f"{result.pairs:,} pairs of the same period" if result.pairs else f"{counts}, not paired"
    likely = "no pair differs, so nothing was tested" if result.constant and result.pairs else how_likely(result.p, result.p_corrected)
    first = f"{name}, {change(metric, estimate.value)} ({interval(metric, estimate)}); {likely}; {based_on}."
    return " ".join([first, *_detectable(result), *limits])


def _no_difference(result: Difference) -> str:
    """Return why there is no difference; nothing where there is one."""
    if result.difference is not None:
        return ""
    if not result.comparable:
        return "a total of one period cannot be compared with that of a longer one; resample first."
    values = f"{result.study_values} and {result.baseline_values} values of different times"
    return f"{values}, {result.FEWEST} of each are needed."


def _detectable(result: Difference) -> list[str]:
    """Return whether a difference of one standard deviation would be detected."""
    if result.verdict != Verdict.NO_DIFFERENCE or not result.spread:
        return []
    more = result.more_needed(result.spread)
    of = " and ".join(map(_one_value, result.averaged_over))
    size = f"A difference of {change(result.metric, result.spread, sign=False)} (one standard deviation of {of})"
    if more:
        return [f"{size} would need about {plural(more, 'more period')} to be told in four of five studies."]
    return [f"{size} would be told in four of five studies."]


def _one_value(stretch: str) -> str:
    """Return what one value is called: ``a period``, or of a very long series ``a day's mean``, ``a mean over 28 days``."""
    if not stretch:
        return "a period"
    return f"a mean over {stretch}" if stretch[0].isdigit() else f"{'an' if stretch == 'hour' else 'a'} {stretch}'s mean"


def caveat(one: Caveat) -> str:
    """Return a caveat as a sentence."""
    return _CAVEATS[one.kind](*one.values)


_CAVEATS: dict[CaveatKind, Callable[..., str]] = {
    CaveatKind.TOO_LARGE: lambda count, limit: f"{plural(count, 'value')} of {limit:g} or more: taken as missing.",
    CaveatKind.MISSING: lambda count, of: (
        f"{count:,} of {plural(of, 'checkpoint')} {'has' if count == 1 else 'have'} no value and {'is' if count == 1 else 'are'} left out; "
        "none counts as zero."
    ),
    CaveatKind.SAME_TIME: lambda count: f"{plural(count, 'checkpoint')} of a time that another has: averaged to one value a time.",
    CaveatKind.AVERAGED: lambda count, stretch, left: f"{count:,} values were averaged over each {stretch} first, to {left:,}.",
    CaveatKind.UNEVEN: lambda least, most, counted: (
        f"The values rest on {least:,} to {most:,} {METRICS[counted].label.lower().split()[0]}; each checkpoint counts the same here."
    ),
    CaveatKind.PARTIAL: lambda count: f"Totals of {plural(count, 'period')} that checkpoints cover only in part are left out.",
    CaveatKind.SAME_TASKS: lambda: (
        "Values vary less from one checkpoint to the next than independent trials would, as where the same tasks are tried each time: "
        "intervals hold for these tasks, and may be too narrow for others."
    ),
    CaveatKind.AUTOCORRELATED: lambda: (
        "Neighbours may be so alike that the series wanders without a cause, and more is claimed of nothing than the usual 5 %."
    ),
    CaveatKind.NO_WIDTH: lambda: (
        "Nothing varies beside that, so the interval has no width: it does not tell how far chance could move the values."
    ),
    CaveatKind.FAR: lambda count: (
        f"{plural(count, 'value lies', 'values lie')} very far from the others, and {'widens' if count == 1 else 'widen'} the interval."
    ),
    CaveatKind.OUTLIERS: lambda: (
        "The median of the slopes of all pairs (Theil-Sen) lies outside the interval: a few extreme checkpoints carry this."
    ),
    CaveatKind.STEP: lambda at: f"One step at {moment(at)} UTC describes the series better than a straight line: see changepoints.",
    CaveatKind.GRADUAL: lambda: "A straight line describes the series as well: this may be a gradual change.",
    CaveatKind.LEFT_OUT: lambda count: (
        "The checkpoint whose period the moment falls into is left out." if count == 1
        else f"{plural(count, 'checkpoint')} whose periods the moment falls into are left out."
    ),
    CaveatKind.UNUSED: lambda pairs, study, baseline: (
        f"{pairs:,} periods have a value in both. The other periods of {study:,} and {baseline:,} checkpoints are not used."
    ),
    CaveatKind.UNPAIRED: lambda pairs, fewest: (
        f"{plural(pairs, 'period has', 'periods have')} a value in both: "
        + (f"fewer than {fewest}" if fewest else "fewer than half of the shorter study's")
        + ", so the two are compared unpaired."
    ),
}  # fmt: skip
"""The sentence of each kind of caveat, from its values."""


def summary(result: Summary, rows: pl.DataFrame) -> list[str]:
    """Return how much there is, what is missing, and the first metric with values: of a few studies each, or from lowest to highest."""
    if not result.checkpoints:
        return ["Nothing to sum up: no checkpoints."]
    measured = rows.filter(pl.col("mean").is_not_null())
    named = f"the study {rows['study'][0]}" if result.studies == 1 else f"{result.studies} studies"
    first = (
        f"{plural(result.checkpoints, 'checkpoint')} of {named}, {span(result.start, result.end)}{_missing_values(rows, result.studies)}."
    )
    if measured.is_empty():
        return [first, "No metric has a value."]
    metric = METRICS[min(measured["metric"].unique().to_list(), key=_prominence)]
    of_metric = measured.filter(metric=metric.name)
    values = _each_study(metric, of_metric) if of_metric.height <= _MOST_STUDIES else _all_studies(metric, of_metric)
    return [first, values, "First and last are single checkpoints, and tell no trend."]


def _missing_values(rows: pl.DataFrame, studies: int) -> str:
    gaps = rows.filter(pl.col("missing") > 0)
    if gaps.is_empty():
        return "; no value is missing"
    most = gaps.row(gaps.select(pl.col("missing").arg_max()).item(), named=True)
    of = f" of {most['study']}" if studies > 1 else ""
    worst = f"{most['label']}{of}: {most['missing']:,} of {most['checkpoints']:,}"
    return f"; values are missing in {gaps['metric'].n_unique()} of {rows['metric'].n_unique()} metrics (most in {worst})"


def _prominence(name: str) -> tuple[bool, int]:
    """Order metrics: those that have a pooled rate, then as the catalog has them."""
    return METRICS[name].rollup != "weighted", list(METRICS).index(name)


def _each_study(metric: Metric, rows: pl.DataFrame) -> str:
    several = rows.height > 1
    values = ((f"{row['study']} " if several else "") + _study_values(metric, row) for row in rows.to_dicts())
    return f"{metric.label}: {'; '.join(values)}."


def _study_values(metric: Metric, row: dict[str, Any]) -> str:
    ends = f"first {number(metric, row['first'])}, last {number(metric, row['last'])}"
    mean = number(metric, row["mean"])
    if row["weighted_mean"] is None:
        return f"{ends}, mean of the checkpoints {mean}"
    pooled = number(metric, row["weighted_mean"])
    over = f" over {row['rests_on']:,} {METRICS[metric.denominator or ''].label.lower()}" if row["rests_on"] else ""
    return f"{ends}, together {pooled}{over}" + ("" if pooled == mean else f" (mean of the checkpoints {mean})")


def _all_studies(metric: Metric, rows: pl.DataFrame) -> str:
    value, what = ("weighted_mean", "weighted mean") if rows["weighted_mean"].null_count() == 0 else ("mean", "mean of the checkpoints")
    ordered = rows.sort(value, maintain_order=True)
    low, high = ordered.row(0, named=True), ordered.row(-1, named=True)
    return (
        f"{metric.label}, {what} of {plural(rows.height, 'study', 'studies')}: from {number(metric, low[value])} ({low['study']}) "
        f"to {number(metric, high[value])} ({high['study']})."
    )


def resampled(result: Resampled, rows: pl.DataFrame, begin: str) -> list[str]:
    """Return what was rolled up, which periods are only partly covered, and what is missing."""
    left_out = []
    if result.without_period:
        count = result.without_period
        left_out.append(f"Left out: {count:,} of {count + result.with_period:,} rows, which have no period.")
    if result.negative:
        left_out.append(f"Values below 0 are no measurements, and are taken as missing: {result.negative:,}.")
    periods = rows.height
    if not periods:
        return [f"Nothing to resample to {result.to} periods: no checkpoints.", *left_out]
    studies = plural(rows["study_id"].n_unique(), "study", "studies")
    sentences = [
        f"Resampled {plural(result.checkpoints, 'checkpoint')} of {studies} to {plural(periods, result.to + ' period')} "
        f"({begin}): counts and cost are added, rates and durations weighted by what they count, and cost per "
        "successful task is total cost over the successes that it implies."
    ]
    if partial := int(rows["partial"].sum()):
        least = math.floor(float(rows.select(pl.col("covered").min()).item()) * 1000) / 10
        which = f"{partial:,} of {plural(periods, 'period')}, the least to" if periods > 1 else "the only period, to"
        sentences.append(f"Only partly covered by checkpoints: {which} {least:.1f} %; sums there are those of a part.")
    sentences += [*_missing_metrics(rows), *left_out]
    if result.straddling:
        counted = plural(result.straddling, "checkpoint")
        sentences.append(f"Across the boundary of a period: {counted}, counted wholly where the middle lies.")
    if result.overlapping:
        counted = plural(result.overlapping, "period")
        sentences.append(f"With checkpoints that overlap: {counted}; what two of them measured is counted twice.")
    return sentences


def _missing_metrics(rows: pl.DataFrame) -> list[str]:
    gone = {name: count for name in METRICS if (count := rows[name].null_count())}
    if not gone:
        return []
    everywhere = [METRICS[name].label for name, count in gone.items() if count == rows.height]
    somewhere = [f"{METRICS[name].label} ({count:,})" for name, count in gone.items() if count < rows.height]
    parts = [f"in every period {', '.join(everywhere)}"] if everywhere else []
    parts += [f"in some {', '.join(somewhere)}"] if somewhere else []
    return [f"Missing {'; '.join(parts)}. The table .reasons says why, for each period."]


def audit(result: Audit, rows: pl.DataFrame) -> list[str]:
    """Return how many findings there are, the worst of them, and what could not be checked.

    Parameters
    ----------
    rows
        The findings, the worst first, with their text before the advice, `text`, and the `advice`.
    """
    looked_at = f"{plural(result.checked, 'checkpoint')} of {plural(result.studies, 'study', 'studies')}"
    if rows.is_empty():
        return [f"Audit of {looked_at}: nothing found.", *result.unchecked]
    counts = (result.errors, result.warnings, result.notes)
    counted = [plural(count, name) for count, name in zip(counts, ("error", "warning", "note"), strict=True) if count]
    sentences = [f"Audit of {looked_at}: {' and '.join([', '.join(counted[:-1])] * (len(counted) > 1) + counted[-1:])}."]
    named = rows["study_id"].n_unique() > 1 or result.studies > 1
    advised: set[str] = set()
    for row in rows.head(_MOST_FINDINGS).iter_rows(named=True):
        # What to do is said once: of a kind there may be findings in many studies.
        advice = "" if row["kind"] in advised else f" {row['advice']}"
        advised.add(row["kind"])
        sentences.append(f"{row['severity'].capitalize()}: {row['study'] + ': ' if named else ''}{row['text']}{advice}")
    more = rows.height - _MOST_FINDINGS
    return [*sentences, *([f"And {more:,} more: they stand in .frame."] if more > 0 else []), *result.unchecked]
