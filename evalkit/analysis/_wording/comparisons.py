"""Comparisons with a baseline as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from evalkit._util.text import plural
from evalkit.analysis._wording.audits import audit_warning
from evalkit.analysis._wording.caveats import METHOD, ONLY_ALONE, coefficient, value_name
from evalkit.analysis._wording.phrases import change, p_values, with_interval
from evalkit.domain.catalog import METRICS
from evalkit.domain.verdicts import Verdict, is_significant, only_alone

if TYPE_CHECKING:
    from evalkit.analysis._compare import Comparison, Difference

__all__ = ["comparison", "comparison_line", "difference", "difference_line"]

_MOST_METRICS = 3
_MOST_CAVEATS = 3


def difference_line(result: Difference, subject: str | None = None) -> str:
    """Return a difference in one line.

    It begins with `subject`, by default study, baseline and metric.
    """
    name = f"{subject or f'{result.study} vs. {result.baseline}, {result.metric.label.lower()}'}: {result.verdict}"
    if result.difference is None:
        return f"{name} ({_too_few([result]) if result.comparable else _NOT_COMPARABLE})."
    counts = f"{plural(result.study_checkpoints, 'checkpoint')} vs. {result.baseline_checkpoints:,}, unpaired"
    p_text = "not tested: no pair differs" if result.constant and result.pairs else p_values(result.p, result.p_corrected)
    based_on = plural(result.pairs, "paired period") if result.pairs else counts
    return f"{name} ({with_interval(result.metric, result.difference)}; {p_text}; {based_on})."


def difference(result: Difference) -> list[str]:
    """Return a difference as text, one string per paragraph.

    These are the difference in one line, the minimum detectable difference, the method and the caveats.
    """
    caveats = [*result.caveats, *audit_warning(result.findings, result.baseline_findings)]
    if result.difference is None:
        return [difference_line(result), *caveats]
    return [difference_line(result), *_detectable(result), f"{_method([result])}", *caveats]


def _detectable(result: Difference) -> list[str]:
    """Return the minimum detectable difference if the difference is not significant."""
    if result.verdict != Verdict.NO_DIFFERENCE or not result.spread or not result.minimum_detectable:
        return []
    value = " or ".join(value_name(stretch) for stretch in result.averaged_over)
    of = f"the differences of paired {value}s" if result.pairs else f"the difference between two {value}s"
    deviations = f"{result.minimum_detectable / result.spread:.1f} standard deviations of {of}"
    text = f"Minimum detectable difference at 80% power: {change(result.metric, result.minimum_detectable, sign=False)} ({deviations})"
    more = result._needed_for(result.spread)
    size = change(result.metric, result.spread, sign=False)
    needed = f"; about {plural(more, 'more checkpoint')} needed to detect a difference of 1 standard deviation ({size})" if more else ""
    return [f"{text}{needed}."]


def comparison_line(result: Comparison) -> str:
    """Return a comparison in one line: the number of metrics with each verdict."""
    name = f"{result.study} vs. {result.baseline}"
    total = len(result.differences)
    if not total:
        return f"{name}: no metric has a value in both studies."
    if total == 1:
        return difference_line(result.differences[0])
    insufficient = [each for each in result.differences if each.difference is None]
    if len(insufficient) == total:
        return f"{name}: {Verdict.INSUFFICIENT_DATA} for all {total} metrics ({'; '.join(_reasons(insufficient))})."
    if all(each.verdict == Verdict.NO_DIFFERENCE for each in result.differences):
        return f"{name}: {Verdict.NO_DIFFERENCE} in any of {total} metrics."
    labels: dict[Verdict, list[str]] = {}
    for each in result.differences:
        labels.setdefault(each.verdict, []).append(each.metric.label.lower())
    unclear = [labels.pop(verdict, []) for verdict in (Verdict.NO_DIFFERENCE, Verdict.INSUFFICIENT_DATA)]
    counts = [f"{verdict} in {len(names)} ({', '.join(names)})" for verdict, names in labels.items()]
    counts += [f"{Verdict.NO_DIFFERENCE} in {len(unclear[0])}"] if unclear[0] else []
    counts += [f"{Verdict.INSUFFICIENT_DATA} in {len(unclear[1])}"] if unclear[1] else []
    return f"{name}, {total} metrics: {', '.join(counts)}."


def comparison(result: Comparison) -> list[str]:
    """Return a comparison as text, one string per paragraph.

    These are the comparison in one line, each significant difference, the method and the caveats.
    """
    left_out = _left_out(result.left_out)
    if len(result.differences) == 1:
        return [*difference(result.differences[0]), *left_out]
    tested = [each for each in result.differences if each.difference is not None]
    if not tested:
        return [comparison_line(result), *_caveats(result), *left_out]
    few = len(result.differences) <= _MOST_METRICS
    shown = [each for each in result.differences if few or is_significant(each.p_corrected)]
    lines = [" ".join([difference_line(each, each.metric.label), *(_detectable(each) if few else [])]) for each in shown]
    unadjusted = [each.metric.label.lower() for each in result.differences if only_alone(each.p, each.p_corrected)]
    only_before = [f"{ONLY_ALONE}: {', '.join(unadjusted)}."] if unadjusted else []
    return [
        comparison_line(result),
        *lines,
        *only_before,
        _method(tested, _family(result)),
        *([] if few else [_based_on(result)]),
        *_caveats(result),
        *left_out,
    ]


def _left_out(metrics: Mapping[str, str]) -> list[str]:
    """Return the custom metrics that are left out, with the reasons."""
    others = [name for name, reason in metrics.items() if reason == "not primary"]
    texts = [f"Not compared, because not primary: {', '.join(others)}. Name them with metrics=."] if others else []
    return [*texts, *(f"Not compared: {name!r}, because {reason}." for name, reason in metrics.items() if reason != "not primary")]


def _family(result: Comparison) -> str:
    """Return the metrics whose p-values are adjusted together."""
    if result._requested:
        return " of the requested metrics"
    primary = [each.metric.label.lower() for each in result.differences if each.p is not None and each.metric.name not in METRICS]
    return f" of the 16 metrics{' and the primary ' if primary else ''}{', '.join(primary)}"


def _method(tested: Sequence[Difference], family: str = "") -> str:
    """Return the method of some differences, and the adjustment of their p-values."""
    mean = coefficient(tested[0].autocorrelation) if len(tested) == 1 else ""
    tests = max(each.tests for each in tested)
    adjusted = f"; p-values (not confidence intervals) adjusted for multiple comparisons (Holm, {tests} tests{family})" if tests > 1 else ""
    return f"Method: difference of means (equal weight per checkpoint) by {METHOD}{mean}{adjusted}."


def _based_on(result: Comparison) -> str:
    """Return the number of periods or checkpoints that the differences are based on."""
    pairs = [each.pairs for each in result.differences if each.pairs]
    unpaired = sum(each.difference is not None and not each.pairs for each in result.differences)
    parts = [f"{_range(pairs)} paired periods for {plural(len(pairs), 'metric')}"] if pairs else []
    parts += [f"unpaired checkpoints for {plural(unpaired, 'metric')}"] if unpaired else []
    return f"Based on {' and '.join(parts)}; all estimates and counts: .frame."


def _caveats(result: Comparison) -> list[str]:
    """Return the caveats of the metrics, each once.

    The reasons for insufficient data in some metrics are included unless other lines have them.
    """
    insufficient = [each for each in result.differences if each.difference is None]
    some = len(result.differences) > _MOST_METRICS and 0 < len(insufficient) < len(result.differences)
    labels = ", ".join(each.metric.label.lower() for each in insufficient)
    reasons = [f"Insufficient data for {labels}: {'; '.join(_reasons(insufficient))}."] if some else []
    caveats = list(dict.fromkeys(text for each in result.differences for text in each.caveats))
    warnings = list(dict.fromkeys(text for each in result.differences for text in audit_warning(each.findings, each.baseline_findings)))
    more = [f"{plural(len(caveats) - _MOST_CAVEATS, 'more caveat')}: result[metric].caveats."] if len(caveats) > _MOST_CAVEATS else []
    return [*reasons, *caveats[:_MOST_CAVEATS], *more, *warnings[:1]]


_NOT_COMPARABLE = "totals of periods of different lengths are not comparable; resample first"


def _reasons(insufficient: Sequence[Difference]) -> list[str]:
    """Return the reasons for metrics without an estimate, each once."""
    few = [each for each in insufficient if each.comparable]
    return [*([_too_few(few)] if few else []), *([_NOT_COMPARABLE] if len(few) < len(insufficient) else [])]


def _too_few(differences: Sequence[Difference]) -> str:
    """Return the number of checkpoints of both studies, and the number needed."""
    counts = [_range(getattr(each, name) for each in differences) for name in ("study_checkpoints", "baseline_checkpoints")]
    values = [_range(getattr(each, name) for each in differences) for name in ("study_values", "baseline_values")]
    distinct = "" if values == counts else f", with {values[0]} and {values[1]} distinct timestamps"
    return f"{counts[0]} and {counts[1]} checkpoints{distinct}; at least {differences[0].FEWEST} each are needed"


def _range(counts: Iterable[int]) -> str:
    """Return the smallest and the largest of some counts: ``18 to 20``."""
    ordered = sorted(counts)
    return f"{ordered[0]:,}" if ordered[0] == ordered[-1] else f"{ordered[0]:,} to {ordered[-1]:,}"
