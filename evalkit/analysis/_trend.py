"""Is it getting better: the slope of a metric over real time, with an interval that allows for autocorrelation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import polars as pl

from evalkit.analysis._audit.audit import Findings
from evalkit.analysis._by_study import by_study
from evalkit.analysis._carried import warned
from evalkit.analysis._extra import needed
from evalkit.analysis._observed import Observed
from evalkit.analysis._per_study import ALPHA, LINE, OneStudy, PerStudy, table
from evalkit.analysis._phrases import ALIKE, ALONE, METHOD, WANDERS, change, direction, how_likely, interval, lasting, per_time
from evalkit.analysis._stats.ar1 import Array, Estimate, Fit, fit
from evalkit.analysis._stats.shift import FEWEST as FEWEST_FOR_SHIFT
from evalkit.analysis._stats.shift import is_step, largest
from evalkit.plots._words import moment, plural, span

__all__ = ["FEWEST", "FEWEST_FOR_STABLE", "Trend", "trend", "trend_of"]

FEWEST = 8
"""Checkpoints below which nothing is claimed."""
FEWEST_FOR_STABLE = 12
"""Values below which nothing that varies is called stable: of 9 or 10 even a rise of three standard deviations is told in 30 %."""
TOLD_APART = 3.0
"""What half the interval of the rise is at most where a series is called stable, in standard deviations of a single checkpoint.

A rise as large is then told in about half of the studies or more."""
_WORDS = ("improving", "declining", "rising", "falling")
_COLUMNS = {
    "study_id": "text", "study": "text", "metric": "text", "verdict": "text", "checkpoints": "count", "missing": "count",
    "slope": "number", "slope_low": "number", "slope_high": "number", "p": "number", "p_corrected": "number", "rise": "number",
    "rise_low": "number", "rise_high": "number", "theil_sen": "number", "spread": "number", "autocorrelation": "number",
    "span_days": "number", "more_needed": "count", "caveats": "texts",
}  # fmt: skip
_LINE_POINTS = 9
_FAR = 15
"""Median distances from the median, about ten standard deviations of a normal distribution."""


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class Trend(OneStudy):
    """The trend of one metric in one study.

    Attributes
    ----------
    checkpoints, missing
        How many have a value, and how many do not.
    used
        On how many values the statistics rest: those of one time are averaged, and a very long series over stretches of time.
    span_days
        Days from the first value to the last.
    when
        The time looked at, in words.
    slope
        Change a day, in the unit of the metric (durations in seconds, rates 0 to 1), with its 95 % interval and p-value;
        None with fewer than 8 checkpoints or all of one time.
    rise
        The same over the whole span: from the first to the last checkpoint.
    theil_sen
        The median of the slopes of all pairs of checkpoints, a day: what a few extreme values cannot move.
    spread
        Standard deviation of a single checkpoint about the line, in the unit of the metric; of a very long series that of a mean over a
        stretch of time, as `spread_of` says.
    spread_of
        What that is the standard deviation of, in words: ``a period``, or ``a day's mean``.
    autocorrelation
        Of neighbours, 0 to 0.99, averaged over what the data allow.
    more_needed
        When the verdict is ``insufficient``: with about how many more checkpoints of the same kind half the interval would be three
        standard deviations and there would be 12 values, so that a rise as large over the span would be told in about half of the
        studies; or this very slope, where it would be told alone and is not among all that was looked at. None otherwise.
    """

    checkpoints: int
    missing: int
    used: int
    span_days: float
    when: str
    slope: Estimate | None = None
    rise: Estimate | None = None
    theil_sen: float | None = None
    spread: float | None = None
    spread_of: str = "a period"
    autocorrelation: float | None = None
    more_needed: int | None = None
    drawn: Callable[[], pl.DataFrame] | None = None

    def line(self) -> pl.DataFrame:
        """Give the straight line with its 95 % interval: part (0), at (UTC), value, low, high; empty without a slope."""
        return table([], LINE) if self.drawn is None else self.drawn()

    @property
    def p(self) -> float | None:
        """The two-sided p-value of a slope of 0; None where all values are the same."""
        return None if self.slope is None or self.constant else self.slope.p

    @property
    def verdict(self) -> str:
        """``improving``, ``declining`` (``rising``, ``falling`` for a metric without a better direction), ``stable``, ``insufficient``.

        ``stable`` where no trend is told from 12 values or more, and half the interval of the rise is at most three standard deviations
        of a checkpoint: a rise as large would be told in about half of the studies or more. What never varies is stable from 8 on.
        """
        if self.slope is not None and self.p_corrected is not None and self.p_corrected <= ALPHA:
            return direction(self.metric, self.slope.value, _WORDS)
        if self.slope is None or self.more_needed is not None:
            return "insufficient"
        return "stable"

    def judged(self, p: float | None) -> Self:
        """Give the trend with its p-value corrected for what else was looked at.

        A slope that would be told alone, and is not beside all the rest, is not stable: it needs more checkpoints.
        """
        one = replace(self, p_corrected=p)
        if p is None or self.slope is None or not self.slope.p <= ALPHA < p:
            return one
        return replace(one, more_needed=_more_beside(self.slope.p, p, self.checkpoints))

    def row(self) -> dict[str, Any]:
        """Give the row of the table."""
        slope, rise = (one or Estimate(math.nan, math.nan, math.nan, math.nan) for one in (self.slope, self.rise))
        numbers = {
            "slope": slope.value, "slope_low": slope.low, "slope_high": slope.high, "p": self.p, "p_corrected": self.p_corrected,
            "rise": rise.value, "rise_low": rise.low, "rise_high": rise.high, "theil_sen": self.theil_sen, "spread": self.spread,
            "autocorrelation": self.autocorrelation, "span_days": self.span_days,
        }  # fmt: skip
        return {
            "study_id": self.study_id, "study": self.study, "metric": self.metric.name, "verdict": self.verdict,
            "checkpoints": self.checkpoints, "missing": self.missing, "more_needed": self.more_needed, "caveats": self.caveats,
            **{name: None if value is None or math.isnan(value) else value for name, value in numbers.items()},
        }  # fmt: skip

    def sentences(self) -> list[str]:
        """Say the verdict with its interval, the method with its count, and the caveats."""
        name = f"{self.about}: {self.verdict}"
        if self.slope is None or self.rise is None:
            more = f"; at least {plural(self.more_needed or 0, 'more is', 'more are')} needed"
            values = plural(self.used, "value is", "values of different times are")
            return [f"{name}: {values} too few to tell a trend{more}.", *self.caveats]
        told = f"{name}, {per_time(self.metric, self.slope, self.span_days)}; {how_likely(self.p, self.p_corrected)}."
        over = f"Over the {lasting(self.span_days)} that is {change(self.metric, self.rise.value)} ({interval(self.metric, self.rise)})."
        extra = []
        if self.verdict == "stable" and self.rise.half:
            extra = ["No trend can be told from chance; the interval says which trends remain possible."]
        elif self.slope.p <= ALPHA < (self.p_corrected or 0.0):
            extra = [f"{ALONE}; about {plural(self.more_needed or 1, 'more checkpoint')} would tell it."]
        elif self.verdict == "insufficient" and self.more_needed:
            of = "" if self.spread_of == "a period" else f" of {self.spread_of}"
            more = f"With about {plural(self.more_needed, 'more checkpoint')}"
            extra = [f"{more} a rise of {TOLD_APART:.0f} standard deviations{of} would be told about every other time."]
        method = f"Method: {METHOD} (here about {self.autocorrelation:.2f}); {plural(self.checkpoints, 'checkpoint')}, {self.when}."
        return [told, " ".join([over, *extra]), " ".join([method, *self.caveats, *warned(self.findings)])]


def trend(frame: Any, metric: str) -> PerStudy[Trend]:
    """Tell whether a metric gets better over time.

    The slope is that of a straight line over real time, so gaps are gaps and nothing counts as zero. Neighbouring checkpoints
    may correlate, and the interval allows for it. With several studies the p-values are corrected for their number (Holm).

    Parameters
    ----------
    frame
        As ``kit.checkpoints()`` gives it, Polars or Pandas; or ``(kit.checkpoints(), kit.lifecycle())``, so that a pause is not taken
        for missing checkpoints; or a result that has such a frame.
    metric
        A name of `evalkit.METRICS`.

    Returns
    -------
    PerStudy of Trend
        A result for each study; with one study its fields can be read directly: ``trend(frame, metric).verdict``.

    Raises
    ------
    InvalidInputError
        When the frame is none or lacks a column, or there is no such metric.
    MissingExtraError
        Without scipy.

    Notes
    -----
    See `evalkit.analysis._stats.ar1` for the method, docs/power.md for how often it is right.
    """
    return by_study(frame, metric, trend_of, _COLUMNS, ("fit",))


def trend_of(series: Observed, audited: Findings | None = None) -> Trend:
    """Tell the trend of one series, its p-value not corrected."""
    days, values = series.days, series.values
    length = float(days[-1]) if len(days) else 0.0
    facts: dict[str, Any] = {
        "study_id": series.study_id, "study": series.study, "metric": series.metric, "checkpoints": series.checkpoints,
        "missing": series.missing, "used": len(values), "span_days": length, "audited": audited, "constant": series.constant,
        "when": span(series.start, series.end) if series.start else "no time",
    }  # fmt: skip
    if len(values) < FEWEST:
        return Trend(**facts, more_needed=FEWEST - len(values), caveats=series.caveats)
    found = fit(days, values, np.column_stack([np.ones_like(days), days / length - 0.5]), *series.trials.floor)
    rise = found.estimate([0.0, 1.0])
    robust = theil_sen(days, values)
    return Trend(
        **facts, slope=rise.times(1 / length), rise=rise, p_corrected=None if series.constant else rise.p, theil_sen=robust,
        spread=found.spread, spread_of=series.single, autocorrelation=found.correlation,
        more_needed=_more(rise, found.spread, series),
        caveats=[*series.caveats, *_cautions(values, rise, robust * length, found), *(_step(series) if rise.p <= ALPHA else [])],
        drawn=lambda: _line(series, found),
    )  # fmt: skip


def _step(series: Observed) -> list[str]:
    """Say that a step describes a series better than the line that is claimed, where `changepoints` can look for it."""
    if len(series.values) < FEWEST_FOR_SHIFT or not is_step(series.days, series.values):
        return []
    at = moment(series.at(series.starts[largest(series.values)]))
    return [f"One step at {at} UTC describes the series better than a straight line: see changepoints."]


def _line(series: Observed, found: Fit) -> pl.DataFrame:
    first, last = series.times[0], series.times[-1]
    rows = []
    for share in np.linspace(-0.5, 0.5, _LINE_POINTS):
        there = found.estimate([1.0, share])
        at = series.at(first + (share + 0.5) * (last - first))
        rows.append({"part": 0, "at": at, "value": there.value, "low": there.low, "high": there.high})
    return table(rows, LINE)


def theil_sen(days: Array, values: Array) -> float:
    """Return the median slope of all pairs, a day; importing scipy.stats for it would take a second.

    Source: P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", Journal of the American Statistical
    Association 63 (1968), 1379-1389.
    """
    spans, rises = np.subtract.outer(days, days), np.subtract.outer(values, values)
    return float(np.median(rises[spans > 0] / spans[spans > 0]))


def _more(rise: Estimate, spread: float, series: Observed) -> int | None:
    """Give how many more checkpoints would tell a rise of `TOLD_APART` about every other time; None where so few do, or it is claimed.

    They bring half the interval, which goes with 1 / sqrt(n), to what must be told apart, and the values to `FEWEST_FOR_STABLE`.
    """
    if spread == 0 or rise.p <= ALPHA:
        return None
    ratio, count = rise.half / (TOLD_APART * spread), series.checkpoints
    narrower = max(1, math.ceil(count * ratio**2) - count) if ratio > 1 else 0
    longer = 0 if series.constant else FEWEST_FOR_STABLE - len(series.values)
    return max(narrower, longer, 0) or None


def _more_beside(p: float, corrected: float, count: int) -> int:
    """Give how many more checkpoints would make a p-value small enough for the correction, were the slope to stay: z goes with sqrt(n)."""
    quantile = needed("scipy.special").ndtri
    wanted, now = quantile(ALPHA * p / corrected / 2), quantile(p / 2)
    return max(1, math.ceil(count * float(wanted / now) ** 2) - count)


def _cautions(values: Array, rise: Estimate, robust: float, found: Fit) -> list[str]:
    told = []
    away = np.abs(values - np.median(values))
    far = int((away > _FAR * np.median(away)).sum()) if np.median(away) > 0 else 0
    if far:
        told.append(
            f"{plural(far, 'value lies', 'values lie')} very far from the others, and {'widens' if far == 1 else 'widen'} the interval."
        )
    if rise.p <= ALPHA and rise.half and not rise.low <= robust <= rise.high:
        told.append("The median of the slopes of all pairs (Theil-Sen) lies outside the interval: a few extreme checkpoints carry this.")
    if found.wanders:
        told.append(WANDERS)
    if not rise.half:
        told.append(ALIKE)
    return told
