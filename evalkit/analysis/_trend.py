"""Trends: the slope of a metric over time, estimated with autocorrelated errors."""

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
"""The number of values that a trend needs."""
FEWEST_FOR_NO_TREND = 12
"""The least number of values for the verdict of no trend.

With 9 or 10 values, the power to detect a change of 3 standard deviations is only 30%."""
DETECTABLE = 3.0
"""The largest half-width of the interval of the total change for the verdict of no trend, in standard deviations of a checkpoint.

A change of this size is then detected in about half of all studies or more."""
_COLUMNS = {
    "study_id": "text", "study": "text", "metric": "text", "verdict": "text", "checkpoints": "count", "missing": "count",
    "slope": "number", "slope_low": "number", "slope_high": "number", "p": "number", "p_corrected": "number", "rise": "number",
    "rise_low": "number", "rise_high": "number", "theil_sen": "number", "spread": "number", "autocorrelation": "number",
    "span_days": "number", "more_needed": "count", "caveats": "texts",
}  # fmt: skip
_NOT_ESTIMATED = Estimate(math.nan, math.nan, math.nan, math.nan)
_LINE_POINTS = 9
_FAR = 15
"""Median absolute deviations from the median beyond which a value is an outlier: about 10 standard deviations of a normal distribution."""


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class Trend(StudyResult):
    """The trend of one metric in one study.

    Attributes
    ----------
    checkpoints, missing
        The number of checkpoints with and without a value.
    values
        The number of values in the regression. Values with equal timestamps are averaged; series of more than 1,000 values are averaged
        over equal stretches of time.
    start, end
        Start of the first and end of the last period, UTC; None without a value.
    span_days
        Days from the first value to the last.
    slope
        Change per day in the unit of the metric (durations in seconds, rates 0 to 1), with its 95% confidence interval and p-value;
        None with fewer than 8 distinct timestamps.
    total_change
        Change from the first to the last checkpoint: `slope` times `span_days`.
    theil_sen
        Median of all pairwise slopes, per day; robust to a few extreme values.
    spread
        Standard deviation of a single value about the line, in the unit of the metric.
    averaged_over
        The stretch of time over which values were averaged, such as ``day``; empty without averaging.
    autocorrelation
        Mean of the AR(1) coefficient, 0 to 0.99.

    Examples
    --------
    >>> import polars as pl
    >>> from evalkit import analysis, samples
    >>> nights = pl.DataFrame(samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 20, seed=1, trend=0.1))
    >>> result = analysis.trend(nights, "session_success_rate").only()
    >>> result.verdict
    <Verdict.IMPROVING: 'improving'>
    >>> f"{result.slope.value * 100:.1f} pp per day, {result.checkpoints} checkpoints"
    '1.8 pp per day, 20 checkpoints'
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
        """Return points of the fitted line with its pointwise 95% confidence interval.

        Returns
        -------
        polars.DataFrame
            `part` (always 0), `at` (UTC), `value`, `low` and `high` in the unit of the metric; no rows without a slope.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> nights = pl.DataFrame(samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 20, seed=1))
        >>> analysis.trend(nights, "total_cost").only().fitted_line().columns
        ['part', 'at', 'value', 'low', 'high']
        """
        return table([], LINE) if self._line is None else self._line()

    @property
    def p(self) -> float | None:
        """Two-sided p-value of the null hypothesis of no slope.

        None without a slope, and when all values are equal.
        """
        return None if self.slope is None or self.constant else self.slope.p

    @property
    def verdict(self) -> Verdict:
        """Improving, declining, no significant trend, or insufficient data.

        Rising or falling for a metric without a better direction. No significant trend needs 12 values or more and an interval of the
        total change whose half-width is at most 3 standard deviations of a checkpoint, so that a change of this size is detected in about
        half of all studies or more. When all values are equal, 8 are enough.
        """
        if self.slope is not None and is_significant(self.p_corrected):
            return trend_verdict(self.metric, self.slope.value)
        return Verdict.INSUFFICIENT_DATA if self.slope is None or self.more_needed is not None else Verdict.NO_TREND

    @property
    def more_needed(self) -> int | None:
        """The approximate number of further checkpoints needed for sufficient data.

        None unless the verdict is ``insufficient data``. With this number, a change of 3 standard deviations over the span would be
        detected in about half of all studies. For a slope that is significant only before adjustment for multiple comparisons, it is the
        number with which the same slope would be significant after adjustment.
        """
        if self.slope is not None and self.p_corrected is not None and only_alone(self.slope.p, self.p_corrected):
            return _more_after_adjustment(self.slope.p, self.p_corrected, self.checkpoints)
        return self._more

    def _rows(self) -> list[dict[str, Any]]:
        slope, total = (estimate or _NOT_ESTIMATED for estimate in (self.slope, self.total_change))
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
        """Return the result as text, one string per paragraph.

        The first paragraph is the result in one line. The total change, the method and the caveats follow.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> nights = pl.DataFrame(samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 20, seed=1))
        >>> print(analysis.trend(nights, "session_success_rate").only().sentences()[0])
        Session success rate: no significant trend (−0.153 pp/day, 95% CI −0.938 to +0.600; p = 0.68; 20 checkpoints over 20 days).
        """
        return _wording.trend(self)


def trend(data: DataLike, metric: str) -> PerStudy[Trend]:
    """Estimate the trend of a metric in each study.

    A straight line is fitted over time by generalized least squares with AR(1) errors. Missing checkpoints are gaps, not zeros. With
    several studies, p-values are adjusted for multiple comparisons (Holm).

    Parameters
    ----------
    data
        A `StudyData`, a Polars or pandas frame like that of ``kit.checkpoints()``, or a `Resampled`.
    metric
        The name of a metric: one of the 16, or a custom one.

    Returns
    -------
    PerStudy of Trend
        One result per study: ``trend(data, metric).only().verdict``, ``trend(data, metric)["nightly"].slope``.

    Raises
    ------
    InvalidInputError
        When the data lacks a column or the metric is unknown.
    MissingExtraError
        When scipy is not installed.

    See Also
    --------
    evalkit.plots.trend : Draw a metric over time; ``fit=`` adds the fitted line.

    Notes
    -----
    `evalkit.analysis._stats.ar1` describes the method, docs/statistics/power.md its coverage and power.

    Examples
    --------
    >>> import polars as pl
    >>> from evalkit import analysis, samples
    >>> rows = samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 20, seed=1, trend=0.1)
    >>> nights = pl.DataFrame(rows).with_columns(study=pl.lit("nightly"))
    >>> analysis.trend(nights, "session_success_rate")
    nightly, session success rate: improving (+1.77 pp/day, 95% CI +1.12 to +2.41; p < 0.001; 20 checkpoints over 20 days).
    Change from the first to the last checkpoint: +33.6 pp, 95% CI +21.3 to +45.7.
    Method: generalized least squares with AR(1) errors, model-averaged over the AR(1) coefficient (mean 0.06); data from 2026-01-01 to
    2026-01-21 UTC.
    """
    return by_study(data, metric, trend_of, Trend)


def trend_of(series: MetricSeries, data: StudyData | None = None) -> Trend:
    """Return the trend of one series, with an unadjusted p-value."""
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
    """Return a caveat when a step fits the series better than the line.

    Series that are too short for `changepoints` have no such caveat.
    """
    if len(series.values) < FEWEST_FOR_SHIFT or not is_step(series.days, series.values, line):
        return []
    return [Caveat(CaveatKind.STEP, (series.at(series.starts[largest(series.values)]),))]


def _line(series: MetricSeries, line: Fit) -> pl.DataFrame:
    first, last = series.times[0], series.times[-1]
    rows = []
    for share in np.linspace(-0.5, 0.5, _LINE_POINTS):
        estimate = line.estimate([1.0, share])
        at = series.at(first + (share + 0.5) * (last - first))
        rows.append({"part": 0, "at": at, "value": estimate.value, "low": estimate.low, "high": estimate.high})
    return table(rows, LINE)


def theil_sen(days: Array, values: Array) -> float:
    """Return the median of all pairwise slopes, per day (Theil-Sen).

    `scipy.stats.theilslopes` is not used, since importing it takes a second.

    Source: P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", Journal of the American Statistical
    Association 63 (1968), 1379-1389.
    """
    earlier, later = np.triu_indices(len(days), 1)
    return float(np.median((values[later] - values[earlier]) / (days[later] - days[earlier])))


def _more(total: Estimate, spread: float, series: MetricSeries) -> int | None:
    """Return the number of further checkpoints needed to detect a change of `DETECTABLE`.

    The power is about 50%. None when the trend is significant, or when there are enough checkpoints: `FEWEST_FOR_NO_TREND` values, and a
    half-width of at most `DETECTABLE`, which is proportional to 1 / sqrt(n).
    """
    if spread == 0 or total.p <= ALPHA:
        return None
    ratio, count = total.half_width / (DETECTABLE * spread), series.checkpoints
    narrower = max(1, math.ceil(count * ratio**2) - count) if ratio > 1 else 0
    longer = 0 if series.constant else FEWEST_FOR_NO_TREND - len(series.values)
    return max(narrower, longer, 0) or None


def _more_after_adjustment(p: float, corrected: float, count: int) -> int:
    """Return the number of further checkpoints that make an adjusted p-value significant.

    The slope is assumed to stay the same, so that z is proportional to sqrt(n).
    """
    needed_z, z = ndtri(ALPHA * p / corrected / 2), ndtri(p / 2)
    return max(1, math.ceil(count * float(needed_z / z) ** 2) - count)


def _caveats(values: Array, total: Estimate, robust: float, line: Fit) -> list[Caveat]:
    distances = np.abs(values - np.median(values))
    far = int((distances > _FAR * np.median(distances)).sum()) if np.median(distances) > 0 else 0
    limits = [
        (far, Caveat(CaveatKind.FAR, (far,))),
        (total.p <= ALPHA and total.half_width and not total.low <= robust <= total.high, Caveat(CaveatKind.OUTLIERS)),
        (line.strongly_autocorrelated, Caveat(CaveatKind.AUTOCORRELATED)),
        (not total.half_width, Caveat(CaveatKind.NO_WIDTH)),
    ]
    return [caveat for applies, caveat in limits if applies]
