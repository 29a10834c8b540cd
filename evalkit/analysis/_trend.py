"""Is it getting better: the slope of a metric over real time, with an interval that allows for autocorrelation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from evalkit.analysis import _wording
from evalkit.analysis._results import LINE, PerStudy, StudyResult, by_study, table
from evalkit.analysis._series import Caveat, CaveatKind, MetricSeries
from evalkit.analysis._stats.ar1 import Array, Estimate, Fit, fit
from evalkit.analysis._stats.scipy_functions import ndtri
from evalkit.analysis._stats.shift import FEWEST as FEWEST_FOR_SHIFT
from evalkit.analysis._stats.shift import is_step, largest
from evalkit.domain.verdicts import ALPHA, Verdict, is_significant, only_alone, trend_verdict

if TYPE_CHECKING:
    from evalkit.frames.study_data import DataLike, StudyData

__all__ = ["FEWEST", "FEWEST_FOR_NO_TREND", "Trend", "trend", "trend_of"]

FEWEST = 8
"""Checkpoints below which nothing is claimed."""
FEWEST_FOR_NO_TREND = 12
"""Values below which a trend is never ruled out: of 9 or 10 even a change of three standard deviations is detected in 30 %."""
DETECTABLE = 3.0
"""What half the interval of the total change is at most where there is no significant trend, in standard deviations of a checkpoint.

A change as large is then detected in about half of the studies or more."""
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
class Trend(StudyResult):
    """The trend of one metric in one study.

    Attributes
    ----------
    checkpoints, missing
        How many have a value, and how many do not.
    values
        How many values the statistics use: those of one time are averaged, and a very long series over stretches of time.
    start, end
        The time looked at, UTC; None without a value.
    span_days
        Days from the first value to the last.
    slope
        Change a day, in the unit of the metric (durations in seconds, rates 0 to 1), with its 95 % interval and p-value;
        None with fewer than 8 checkpoints or all of one time.
    total_change
        The same over the whole span: from the first to the last checkpoint.
    theil_sen
        The median of the slopes of all pairs of checkpoints, a day: what a few extreme values cannot move.
    spread
        Standard deviation of a single value about the line, in the unit of the metric.
    averaged_over
        Of a very long series the stretch of time that a value is the mean over, as ``day``; else empty.
    autocorrelation
        Of neighbours, 0 to 0.99, averaged over what the data allow.
    """

    checkpoints: int
    missing: int
    values: int
    start: datetime | None
    end: datetime | None
    span_days: float
    slope: Estimate | None = None
    total_change: Estimate | None = None
    theil_sen: float | None = None
    spread: float | None = None
    averaged_over: str = ""
    autocorrelation: float | None = None
    _more: int | None = None
    _line: Callable[[], pl.DataFrame] | None = None

    FEWEST: ClassVar[int] = FEWEST
    _COLUMNS: ClassVar[Mapping[str, str]] = _COLUMNS
    _DRAWN_AS: ClassVar[tuple[str, ...]] = ("fit",)

    def fitted_line(self) -> pl.DataFrame:
        """Return the straight line with its 95 % interval: part (0), at (UTC), value, low, high; empty without a slope."""
        return table([], LINE) if self._line is None else self._line()

    @property
    def p(self) -> float | None:
        """The two-sided p-value of a slope of 0; None where all values are the same."""
        return None if self.slope is None or self.constant else self.slope.p

    @property
    def verdict(self) -> Verdict:
        """Improving, declining (rising, falling for a metric without a better direction), no significant trend, insufficient data.

        There is no significant trend where none is significant with 12 values or more, and half the interval of the total change is at
        most three standard deviations of a checkpoint: a change as large would be detected in about half of the studies or more. What
        never varies has no trend from 8 values on.
        """
        if self.slope is not None and is_significant(self.p_corrected):
            return trend_verdict(self.metric, self.slope.value)
        return Verdict.INSUFFICIENT_DATA if self.slope is None or self.more_needed is not None else Verdict.NO_TREND

    @property
    def more_needed(self) -> int | None:
        """About how many more checkpoints of the same kind are needed, when the verdict is ``insufficient data``; else None.

        With as many, half the interval would be three standard deviations and there would be 12 values, so that a change as large over the
        span would be detected in about half of the studies; or this very slope, where it is significant by itself, and is not after the
        adjustment for multiple comparisons.
        """
        if self.slope is not None and self.p_corrected is not None and only_alone(self.slope.p, self.p_corrected):
            return _more_beside(self.slope.p, self.p_corrected, self.checkpoints)
        return self._more

    def _rows(self) -> list[dict[str, Any]]:
        slope, total = (one or Estimate(math.nan, math.nan, math.nan, math.nan) for one in (self.slope, self.total_change))
        numbers = {
            "slope": slope.value, "slope_low": slope.low, "slope_high": slope.high, "p": self.p, "p_corrected": self.p_corrected,
            "rise": total.value, "rise_low": total.low, "rise_high": total.high, "theil_sen": self.theil_sen, "spread": self.spread,
            "autocorrelation": self.autocorrelation, "span_days": self.span_days,
        }  # fmt: skip
        return [{
            "study_id": self.study_id, "study": self.study, "metric": self.metric.name, "verdict": self.verdict.value,
            "checkpoints": self.checkpoints, "missing": self.missing, "more_needed": self.more_needed, "caveats": self.caveats,
            **{name: None if value is None or math.isnan(value) else value for name, value in numbers.items()},
        }]  # fmt: skip

    def sentences(self) -> list[str]:
        """Return the verdict with its interval, the method with its count, and the caveats."""
        return _wording.trend(self)


def trend(data: DataLike, metric: str) -> PerStudy[Trend]:
    """Estimate whether a metric gets better over time; `evalkit.plots.trend` draws what this estimates.

    The slope is that of a straight line over real time, so gaps are gaps and nothing counts as zero. Neighbouring checkpoints
    may correlate, and the interval allows for it. With several studies the p-values are adjusted for their number (Holm).

    Parameters
    ----------
    data
        A `StudyData`, a frame as ``kit.checkpoints()`` returns it, Polars or pandas, or a `Resampled`.
    metric
        A name of `evalkit.METRICS`.

    Returns
    -------
    PerStudy of Trend
        A result for each study: ``trend(data, metric).only().verdict``, ``trend(data, metric)["nightly"].slope``.

    Raises
    ------
    InvalidInputError
        When the data lacks a column, or there is no such metric.
    MissingExtraError
        Without scipy.

    Notes
    -----
    See `evalkit.analysis._stats.ar1` for the method, docs/power.md for how often it is right.
    """
    return by_study(data, metric, trend_of, Trend)


def trend_of(series: MetricSeries, data: StudyData | None = None) -> Trend:
    """Return the trend of one series, its p-value not adjusted."""
    days, values = series.days, series.values
    length = float(days[-1]) if len(days) else 0.0
    short = len(values) < FEWEST
    line = None if short else fit(days, values, np.column_stack([np.ones_like(days), days / length - 0.5]), *series.trials.floor)
    total = None if line is None else line.estimate([0.0, 1.0])
    robust = None if line is None else theil_sen(days, values)
    caveats = list(series.caveats)
    more: int | None = FEWEST - len(values)
    if line is not None and total is not None and robust is not None:
        caveats += _caveats(values, total, robust * length, line)
        if total.p <= ALPHA:
            caveats += _step(series, line)
        more = _more(total, line.spread, series)
    return Trend(
        study_id=series.study_id, study=series.study, metric=series.metric, checkpoints=series.checkpoints, missing=series.missing,
        values=len(values), start=series.start, end=series.end, span_days=length, constant=series.constant,
        slope=None if total is None else total.times(1 / length), total_change=total,
        p_corrected=None if total is None or series.constant else total.p, theil_sen=robust, spread=None if line is None else line.spread,
        averaged_over=series.stretch, autocorrelation=None if line is None else line.correlation, _more=more, _caveats=caveats, _data=data,
        _line=None if line is None else partial(_line, series, line),
    )  # fmt: skip


def _step(series: MetricSeries, line: Fit) -> list[Caveat]:
    """Say that a step describes a series better than the line, where `changepoints` can look for it."""
    if len(series.values) < FEWEST_FOR_SHIFT or not is_step(series.days, series.values, line):
        return []
    return [Caveat(CaveatKind.STEP, (series.at(series.starts[largest(series.values)]),))]


def _line(series: MetricSeries, line: Fit) -> pl.DataFrame:
    first, last = series.times[0], series.times[-1]
    rows = []
    for share in np.linspace(-0.5, 0.5, _LINE_POINTS):
        there = line.estimate([1.0, share])
        at = series.at(first + (share + 0.5) * (last - first))
        rows.append({"part": 0, "at": at, "value": there.value, "low": there.low, "high": there.high})
    return table(rows, LINE)


def theil_sen(days: Array, values: Array) -> float:
    """Return the median slope of all pairs, a day; importing scipy.stats for it would take a second.

    Source: P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", Journal of the American Statistical
    Association 63 (1968), 1379-1389.
    """
    earlier, later = np.triu_indices(len(days), 1)
    return float(np.median((values[later] - values[earlier]) / (days[later] - days[earlier])))


def _more(total: Estimate, spread: float, series: MetricSeries) -> int | None:
    """Return how many more checkpoints would detect a change of `DETECTABLE` every other time; None where these do, or one is significant.

    They bring half the interval, which goes with 1 / sqrt(n), to that, and the values to `FEWEST_FOR_NO_TREND`.
    """
    if spread == 0 or total.p <= ALPHA:
        return None
    ratio, count = total.half_width / (DETECTABLE * spread), series.checkpoints
    narrower = max(1, math.ceil(count * ratio**2) - count) if ratio > 1 else 0
    longer = 0 if series.constant else FEWEST_FOR_NO_TREND - len(series.values)
    return max(narrower, longer, 0) or None


def _more_beside(p: float, corrected: float, count: int) -> int:
    """Return how many more checkpoints would make an adjusted p-value significant, were the slope to stay: z goes with sqrt(n)."""
    wanted, now = ndtri(ALPHA * p / corrected / 2), ndtri(p / 2)
    return max(1, math.ceil(count * float(wanted / now) ** 2) - count)


def _caveats(values: Array, total: Estimate, robust: float, line: Fit) -> list[Caveat]:
    away = np.abs(values - np.median(values))
    far = int((away > _FAR * np.median(away)).sum()) if np.median(away) > 0 else 0
    limits = [
        (far, Caveat(CaveatKind.FAR, (far,))),
        (total.p <= ALPHA and total.half_width and not total.low <= robust <= total.high, Caveat(CaveatKind.OUTLIERS)),
        (line.wanders, Caveat(CaveatKind.AUTOCORRELATED)),
        (not total.half_width, Caveat(CaveatKind.NO_WIDTH)),
    ]
    return [caveat for holds, caveat in limits if holds]
