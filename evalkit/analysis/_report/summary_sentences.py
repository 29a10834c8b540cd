"""The results of a report as sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from evalkit._util.text import moment, plural
from evalkit.analysis import _wording
from evalkit.analysis._changepoints import ChangePoints
from evalkit.analysis._compare import Difference
from evalkit.analysis._report.safe_text import truncated
from evalkit.analysis._report.study_analysis import StudyAnalysis
from evalkit.analysis._stats.shift import FEWEST as FEWEST_FOR_SHIFT
from evalkit.analysis._trend import FEWEST, Trend
from evalkit.analysis._wording import ONLY_ALONE
from evalkit.analysis._wording.phrases import change
from evalkit.domain.verdicts import Verdict, is_significant, only_alone

__all__ = ["summary_sentences"]

T = TypeVar("T", Trend, ChangePoints, Difference)

_NAME = 60
_MOST_SENTENCES = 4
"""The largest number of results of one kind with a sentence each."""
_NOT_PROOF = "The absence of a significant result does not prove the absence of an effect"


def summary_sentences(analysis: StudyAnalysis) -> list[str]:
    """Return the significant results of a study, or the reason for their absence."""
    checkpoints = analysis.study.checkpoints.height
    if not checkpoints:
        return ["No checkpoints recorded yet."]
    if not analysis.trends:
        return [f"No metric has a value ({plural(checkpoints, 'checkpoint')})."]
    sentences = _trends(analysis.trends) + _shifts(analysis.changes) + _differences(analysis.differences)
    if not sentences:
        sentences = _no_results(analysis, checkpoints)
    elif analysis.comparison is not None and not any(is_significant(result.p_corrected) for result in analysis.differences):
        sentences.append(_no_difference(analysis))
    return [*sentences, *_only_unadjusted(analysis)]


def _significant(results: Sequence[T]) -> list[T]:
    return [result for result in results if is_significant(result.p_corrected)]


def _trends(trends: list[Trend]) -> list[str]:
    results = _significant(trends)
    if len(results) <= _MOST_SENTENCES:
        return [_wording.trend_line(result, result.metric.label) for result in results]
    return _grouped(
        results, len(trends), lambda result: result.verdict, lambda result: change(result.metric, result.total_change.value)  # type: ignore[union-attr]
    )  # fmt: skip


def _shifts(changes: list[ChangePoints]) -> list[str]:
    results = _significant(changes)
    if len(results) <= _MOST_SENTENCES:
        return [_wording.changepoints_line(result, result.metric.label) for result in results]
    return _grouped(
        results, len(changes), lambda result: f"{Verdict.SHIFTED} at {_listed([moment(shift.at) for shift in result.changes])} UTC",
        lambda result: ", ".join(change(result.metric, shift.after - shift.before) for shift in result.changes),
    )  # fmt: skip


def _differences(differences: list[Difference]) -> list[str]:
    results = _significant(differences)
    if len(results) <= _MOST_SENTENCES:
        return [_wording.difference_line(result, f"{result.metric.label} vs. {_quoted(result.baseline)}") for result in results]
    than_baseline = f" than {_quoted(results[0].baseline)}"
    return _grouped(
        results, len(differences), lambda result: result.verdict + than_baseline,
        lambda result: change(result.metric, result.difference.value),  # type: ignore[union-attr]
    )  # fmt: skip


def _listed(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1])] * (len(parts) > 1) + parts[-1:])


def _quoted(name: str) -> str:
    return f"'{truncated(name, _NAME)}'"


def _grouped(results: Sequence[T], of: int, verdict: Callable[[T], str], value: Callable[[T], str]) -> list[str]:
    """Return one sentence per verdict, with the metrics and values of the results."""
    groups: dict[str, list[str]] = {}
    for result in results:
        groups.setdefault(verdict(result), []).append(f"{result.metric.label.lower()} ({value(result)})")
    return [
        f"{name[:1].upper()}{name[1:]} ({len(metrics)} of {plural(of, 'metric')}): {', '.join(metrics)}. See the table for 95% CIs."
        for name, metrics in groups.items()
    ]


def _no_difference(analysis: StudyAnalysis) -> str:
    assert analysis.comparison is not None
    baseline = _quoted(analysis.comparison.baseline)
    tested = analysis.tests[2]
    if not tested:
        return _untested_difference(analysis.differences, baseline)
    return f"No significant difference from {baseline} ({plural(tested, 'metric')}). {_NOT_PROOF}."


def _untested_difference(differences: Sequence[Difference], baseline: str) -> str:
    """Return why no difference was tested."""
    constant = sum(result.constant for result in differences)
    if not constant:
        return f"Insufficient data to compare with {baseline}: no metric has enough comparable checkpoints in both studies."
    if constant == len(differences):
        return f"No difference from {baseline} to test: the values of all shared metrics are identical."
    return (
        f"No difference from {baseline} to test: the values of {constant} of {plural(len(differences), 'shared metric')} are identical, "
        "and the others have insufficient data."
    )


def _only_unadjusted(analysis: StudyAnalysis) -> list[str]:
    """Return a sentence on results that are significant only before adjustment."""
    kinds: dict[str, Sequence[Trend | ChangePoints | Difference]] = {
        "trend": analysis.trends, "shift": analysis.changes, "difference": analysis.differences,
    }  # fmt: skip
    labels = {
        kind: [result.metric.label.lower() for result in results if only_alone(result.p, result.p_corrected)]
        for kind, results in kinds.items()
    }
    parts = "; ".join(f"{kind} in {', '.join(names)}" for kind, names in labels.items() if names)
    return [f"{ONLY_ALONE}: {parts}."] if parts else []


def _no_results(analysis: StudyAnalysis, checkpoints: int) -> list[str]:
    counts = f"{plural(len(analysis.trends), 'metric')}, {plural(checkpoints, 'checkpoint')}"
    if not sum(analysis.tests):
        return [_untested(analysis, counts)]
    tested, compared = "trend or shift", ""
    if analysis.comparison is not None:
        baseline = _quoted(analysis.comparison.baseline)
        if analysis.tests[2]:
            tested = f"trend, shift, or difference from {baseline}"
        else:
            compared = f" {_untested_difference(analysis.differences, baseline)}"
    insufficient = sum(result.verdict == Verdict.INSUFFICIENT_DATA for result in analysis.trends)
    more = f" Insufficient data for the trend of {plural(insufficient, 'metric')}." if insufficient else ""
    return [
        f"No significant {tested} ({counts}).{more}{compared}",
        f"{_NOT_PROOF}: the confidence intervals below show which effects remain possible.",
    ]


def _untested(analysis: StudyAnalysis, counts: str) -> str:
    """Return why nothing was tested."""
    constant = sum(result.constant and result.slope is not None for result in analysis.trends)
    if constant == len(analysis.trends):
        return f"Nothing to test: all metrics are constant ({counts})."
    required = f"a trend or difference needs at least {FEWEST} values at distinct times, a shift {FEWEST_FOR_SHIFT}"
    if not constant:
        return f"Insufficient data ({counts}): {required}."
    are_constant = f"{plural(constant, 'metric is', 'metrics are')} constant"
    return f"Nothing to test ({counts}): {are_constant}, the others have insufficient data; {required}."
