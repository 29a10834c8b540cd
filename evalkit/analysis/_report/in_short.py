"""What a report claims in plain sentences, and how it says that it was computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from evalkit._util.text import moment, plural
from evalkit.analysis import _wording
from evalkit.analysis._changepoints import ChangePoints
from evalkit.analysis._compare import FEWEST as FEWEST_PAIRS
from evalkit.analysis._compare import Difference
from evalkit.analysis._report.content import MethodNote
from evalkit.analysis._report.examination import Examination
from evalkit.analysis._report.render import shortened
from evalkit.analysis._stats.shift import FEWEST as FEWEST_FOR_SHIFT
from evalkit.analysis._trend import FEWEST, FEWEST_FOR_NO_TREND, Trend
from evalkit.analysis._wording import METHOD, ONLY_ALONE
from evalkit.analysis._wording.phrases import change
from evalkit.domain.verdicts import ALPHA, Verdict, is_significant, only_alone

__all__ = ["in_short", "methods"]

T = TypeVar("T", Trend, ChangePoints, Difference)

_NAME = 60
_MOST = 4
"""Results of one kind that have a sentence each."""


def in_short(examined: Examination) -> list[str]:
    """Return what can be claimed of a study; or that nothing can, of how many metrics and why."""
    checkpoints = examined.study.checkpoints.height
    if not checkpoints:
        return ["No checkpoint is recorded yet, so there is nothing to tell."]
    if not examined.trends:
        return [f"{plural(checkpoints, 'checkpoint')}, and no metric has a value, so there is nothing to tell."]
    sentences = _trends(examined.trends) + _shifts(examined.changes) + _differences(examined.differences)
    if not sentences:
        sentences = _nothing(examined, checkpoints)
    elif not any(is_significant(one.p_corrected) for one in examined.differences) and examined.comparison is not None:
        sentences.append(_no_difference(examined))
    return [*sentences, *_only_alone(examined)]


def _trends(trends: list[Trend]) -> list[str]:
    found = [one for one in trends if is_significant(one.p_corrected)]
    if len(found) <= _MOST:
        return [_wording.trend_line(one, one.metric.label) for one in found]
    return _together(found, len(trends), lambda one: one.verdict, lambda one: change(one.metric, one.total_change.value))  # type: ignore[union-attr]


def _shifts(changes: list[ChangePoints]) -> list[str]:
    found = [one for one in changes if is_significant(one.p_corrected)]
    if len(found) <= _MOST:
        return [_wording.changepoints_line(one, one.metric.label) for one in found]
    return _together(found, len(changes), lambda one: one.verdict, lambda one: ", ".join(moment(each.at) for each in one.changes))


def _differences(differences: list[Difference]) -> list[str]:
    found = [one for one in differences if is_significant(one.p_corrected)]
    if len(found) <= _MOST:
        return [_wording.difference_line(one, f"{one.metric.label} vs. {shortened(one.baseline, _NAME)}") for one in found]
    against = f" than {shortened(found[0].baseline, _NAME)}"
    return _together(
        found, len(differences), lambda one: one.verdict + against, lambda one: change(one.metric, one.difference.value)  # type: ignore[union-attr]
    )  # fmt: skip


def _together(results: Sequence[T], of: int, verdict: Callable[[T], str], value: Callable[[T], str]) -> list[str]:
    """Return a sentence for each verdict of many metrics at once; the tables have the intervals."""
    groups: dict[str, list[str]] = {}
    for one in results:
        groups.setdefault(verdict(one), []).append(f"{one.metric.label.lower()} ({value(one)})")
    return [
        f"{word[:1].upper()}{word[1:]}, {len(named)} of {plural(of, 'metric')}: {', '.join(named)}. The intervals stand below."
        for word, named in groups.items()
    ]


def _no_difference(examined: Examination) -> str:
    assert examined.comparison is not None
    against = shortened(examined.comparison.baseline, _NAME)
    tested = examined.tests[2]
    if not tested:
        return _untested_difference(examined.differences, against)
    return f"No significant difference from {against} in any of {plural(tested, 'metric')}. That does not show that nothing changed."


def _untested_difference(differences: Sequence[Difference], against: str) -> str:
    """Say why no difference was tested: both have the same values, or too few."""
    same = sum(one.constant for one in differences)
    if not same:
        return f"Insufficient data to compare with {against}: no metric has enough comparable checkpoints in both studies."
    if same == len(differences):
        return f"Against {against} nothing was tested: in every metric that both have, their values are the same."
    return (
        f"Against {against} nothing was tested: in {same} of {plural(len(differences), 'metric')} the values of both are the same, and no "
        "other has enough checkpoints in both that can be compared."
    )


def _only_alone(examined: Examination) -> list[str]:
    """Name what is significant by itself and not among all that the report looks at."""
    kinds: dict[str, Sequence[Trend | ChangePoints | Difference]] = {
        "trend": examined.trends, "shift": examined.changes, "difference": examined.differences,
    }  # fmt: skip
    named = {kind: [one.metric.label.lower() for one in results if only_alone(one.p, one.p_corrected)] for kind, results in kinds.items()}
    parts = "; ".join(f"{kind} in {', '.join(names)}" for kind, names in named.items() if names)
    return [f"{ONLY_ALONE}: {parts}."] if parts else []


def _nothing(examined: Examination, checkpoints: int) -> list[str]:
    looked = f"{plural(len(examined.trends), 'metric')} of {plural(checkpoints, 'checkpoint')}"
    if not sum(examined.tests):
        return [_untested(examined, looked)]
    against = "" if examined.comparison is None else f", and no difference from {shortened(examined.comparison.baseline, _NAME)}"
    few = sum(one.verdict == Verdict.INSUFFICIENT_DATA for one in examined.trends)
    more = f" For {few} of them there are too few checkpoints to tell their trend." if few else ""
    return [
        f"Nothing is statistically significant: of {looked} no trend, no shift{against}.{more}",
        "That does not show that nothing changed: the intervals below say what remains possible.",
    ]


def _untested(examined: Examination, looked: str) -> str:
    """Say why nothing was tested: all values are the same, or there are too few."""
    same = sum(one.constant and one.slope is not None for one in examined.trends)
    if same == len(examined.trends):
        return f"In every metric all values are the same, so nothing was tested ({looked})."
    needed = f"a trend or a difference needs {FEWEST} values of different times, a shift {FEWEST_FOR_SHIFT}"
    if not same:
        return f"Too few checkpoints to tell anything ({looked}): {needed}."
    return f"In {same} of {looked} all values are the same, so nothing was tested; of the others there are too few values: {needed}."


def methods(*, compared: bool) -> list[MethodNote]:
    """Say how each part was computed, with the publications."""
    notes = [
        MethodNote(
            what="Trends",
            how=f"The slope of a straight line over real time: {METHOD}; 95 % intervals. With fewer than {FEWEST} values of different "
            f"times nothing is claimed. “{Verdict.NO_TREND}”: none is significant with {FEWEST_FOR_NO_TREND} values or more and half the "
            "interval is at most three standard deviations of a checkpoint, so that a change as large would be detected in about half of "
            f"the studies or more; or nothing ever varies. “{Verdict.INSUFFICIENT_DATA}”: there are fewer values or the interval is wider, "
            "or a slope is significant by itself and not after the adjustment for all that this report looks at.",
            source="A. Zellner, G. C. Tiao, Journal of the American Statistical Association 59 (1964), 763-778",
        ),
        MethodNote(
            what="Shifts",
            how="The largest step in the mean against those of permuted residuals with the autocorrelation that they "
            "have within stretches of ten, then each side again; "
            f"from {FEWEST_FOR_SHIFT} values of different times on; the smallest possible p-value is 0.0005. Of a metric that shifted, the "
            "p-values of the single shifts are not corrected.",
            source="E. S. Page, Biometrika 42 (1955), 523-527; J.-P. Kreiss, J. Franke, Journal of Time Series Analysis 13 (1992), 297-317",
        ),
    ]
    if compared:
        notes.append(
            MethodNote(
                what="Differences",
                how="Of means over checkpoints, each counting the same, in pairs of the same period where there are at least "
                f"{FEWEST_PAIRS} and at least half as many as the shorter study has values, else of all: {METHOD}; 95 % intervals. "
                "The study less the baseline.",
                source="B. L. Welch, Biometrika 34 (1947), 28-35",
            )
        )
    return [
        *notes,
        MethodNote(
            what="Correction",
            how=f"All p-values of this report are corrected together, and what is claimed has a corrected one of {ALPHA} or less. So with "
            f"no effect at all a report claims anything in at most {ALPHA * 100:.0f} % of studies, as simulated where neighbours "
            "correlate by 0.5 or less; by more than about 0.7 it claims more. Intervals are not corrected.",
            source="S. Holm, Scandinavian Journal of Statistics 6 (1979), 65-70",
        ),
        MethodNote(
            what="Means",
            how="Weighted by what the metric is a mean over, where that is recorded: a mean of rates is not the rate of the whole. Of "
            "other metrics each checkpoint counts the same. What is missing is left out, and never counts as zero.",
            source=None,
        ),
        MethodNote(
            what="Audit",
            how="Periods that are missing, overlap, or lie where the study did not run; sessions that count twice; values that contradict "
            "each other. Nothing that it finds was left out of the analysis.",
            source=None,
        ),
    ]
