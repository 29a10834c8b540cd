"""What a report claims in plain sentences, and how it says that it was computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from evalkit.analysis._changepoints import ChangePoints
from evalkit.analysis._compare import FEWEST as FEWEST_PAIRS
from evalkit.analysis._difference import Difference
from evalkit.analysis._per_study import ALPHA, only_alone
from evalkit.analysis._phrases import ALONE, METHOD, change, how_likely, interval, lasting
from evalkit.analysis._report.content import MethodNote
from evalkit.analysis._report.harmless import shortened
from evalkit.analysis._report.whole import Whole
from evalkit.analysis._stats.shift import FEWEST as FEWEST_FOR_SHIFT
from evalkit.analysis._trend import FEWEST, FEWEST_FOR_STABLE, Trend
from evalkit.plots._words import moment, plural

__all__ = ["claimed", "in_short", "methods"]

_NAME = 60
_MOST = 4
"""Findings of one kind that are told one by one."""


def claimed(found: Any) -> bool:
    """Tell whether a trend, the shifts of a metric or a difference is a finding."""
    return bool(found.p_corrected is not None and found.p_corrected <= ALPHA)


def in_short(found: Whole, checkpoints: int, name: str) -> list[str]:
    """Say what can be claimed of a study; or that nothing can, of how many metrics and why."""
    if not checkpoints:
        return ["No checkpoint is recorded yet, so there is nothing to tell."]
    if not found.trends:
        return [f"{plural(checkpoints, 'checkpoint')}, and no metric has a value, so there is nothing to tell."]
    told = _trends(found) + _shifts_of(found, name) + _differences(found)
    if not told:
        told = _nothing(found, checkpoints)
    elif not any(claimed(one) for one in found.differences) and found.comparison is not None:
        told.append(_no_difference(found))
    return [*told, *_only_alone(found)]


def _trends(found: Whole) -> list[str]:
    told = [one for one in found.trends if claimed(one)]
    if len(told) <= _MOST:
        return [_trend(one) for one in told]
    return _together(told, len(found.trends), lambda one: one.verdict, lambda one: change(one.metric, one.rise.value))


def _shifts_of(found: Whole, name: str) -> list[str]:
    told = [one for one in found.changes if claimed(one)]
    if len(told) <= _MOST:
        return [_without(name, sentence) for one in told for sentence in _shifts(one)]
    return _together(told, len(found.changes), lambda one: one.verdict, lambda one: ", ".join(moment(each.at) for each in one.changes))


def _differences(found: Whole) -> list[str]:
    told = [one for one in found.differences if claimed(one)]
    if len(told) <= _MOST:
        return [_difference(one) for one in told]
    against = f" than {shortened(told[0].baseline, _NAME)}"
    return _together(told, len(found.differences), lambda one: one.verdict + against, lambda one: change(one.metric, one.difference.value))


def _together(told: Sequence[Any], of: int, word: Callable[[Any], str], value: Callable[[Any], str]) -> list[str]:
    """Say of many metrics at once what was found, a sentence for each verdict; the tables have the intervals."""
    groups: dict[str, list[str]] = {}
    for one in told:
        groups.setdefault(word(one), []).append(f"{one.metric.label.lower()} ({value(one)})")
    return [
        f"{verdict[:1].upper()}{verdict[1:]}, {len(named)} of {plural(of, 'metric')}: {', '.join(named)}. The intervals stand below."
        for verdict, named in groups.items()
    ]


def _without(name: str, sentence: str) -> str:
    """Leave the study's name, which the page has as its title, out of a sentence."""
    rest = sentence.removeprefix(f"{name}, ")
    return rest[:1].upper() + rest[1:]


def _trend(found: Trend) -> str:
    assert found.rise is not None
    over = f"{change(found.metric, found.rise.value)} over the {lasting(found.span_days)} ({interval(found.metric, found.rise)})"
    return f"{found.metric.label}: {found.verdict}, {over}; {how_likely(found.rise.p, found.p_corrected)}."


def _shifts(found: ChangePoints) -> list[str]:
    return found.sentences()[: len(found.changes)]


def _difference(found: Difference) -> str:
    named = replace(found, study=shortened(found.study, _NAME), baseline=shortened(found.baseline, _NAME))
    return " ".join(replace(named, audited=None, caveats=[]).sentences())


def _no_difference(found: Whole) -> str:
    assert found.comparison is not None
    against = shortened(found.comparison.baseline, _NAME)
    tested = found.tests[2]
    if not tested:
        return _untested_difference(found.differences, against)
    return (
        f"Against {against} no difference can be told from chance in any of {plural(tested, 'metric')}. That does not show that nothing "
        "changed."
    )


def _untested_difference(differences: Sequence[Difference], against: str) -> str:
    """Say why no difference was tested: both have the same values, or too few."""
    same = sum(one.constant for one in differences)
    if not same:
        return f"Against {against} nothing can be told: no metric has enough checkpoints in both that can be compared."
    if same == len(differences):
        return f"Against {against} nothing was tested: in every metric that both have, their values are the same."
    return (
        f"Against {against} nothing was tested: in {same} of {plural(len(differences), 'metric')} the values of both are the same, and no "
        "other has enough checkpoints in both that can be compared."
    )


def _only_alone(found: Whole) -> list[str]:
    """Name what would be told alone and is not beside all that the report looks at."""
    kinds: dict[str, Sequence[Any]] = {"trend": found.trends, "shift": found.changes, "difference": found.differences}
    named = {kind: [one.metric.label.lower() for one in all_ if only_alone(one.p, one.p_corrected)] for kind, all_ in kinds.items()}
    told = "; ".join(f"{kind} in {', '.join(names)}" for kind, names in named.items() if names)
    return [f"{ALONE}: {told}."] if told else []


def _nothing(found: Whole, checkpoints: int) -> list[str]:
    looked = f"{plural(len(found.trends), 'metric')} of {plural(checkpoints, 'checkpoint')}"
    if not sum(found.tests):
        return [_untested(found, looked)]
    against = "" if found.comparison is None else f", and no difference from {shortened(found.comparison.baseline, _NAME)}"
    few = sum(one.verdict == "insufficient" for one in found.trends)
    more = f" For {few} of them there are too few checkpoints to tell their trend." if few else ""
    return [
        f"Nothing can be told from chance: of {looked} no trend, no shift{against}.{more}",
        "That does not show that nothing changed: the intervals below say what remains possible.",
    ]


def _untested(found: Whole, looked: str) -> str:
    """Say why nothing was tested: all values are the same, or there are too few."""
    same = sum(one.constant and one.slope is not None for one in found.trends)
    if same == len(found.trends):
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
            f"times nothing is claimed. “Stable” where none is told from {FEWEST_FOR_STABLE} values or more and half the interval is at "
            "most three standard deviations of a checkpoint, so that a rise as large would be told in about half of the studies or more, "
            "and where nothing ever varies. “Insufficient” where there are fewer or it is wider, or where a slope would be told alone and "
            "is not among all that this report looks at.",
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
