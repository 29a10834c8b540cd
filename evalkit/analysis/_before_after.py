"""Did a change matter: the step in a metric at a moment, beside the trend before and after it."""

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
from evalkit.analysis._results import LINE, MARKS, PerStudy, StudyResult, by_study, table
from evalkit.analysis._series import Caveat, CaveatKind, MetricSeries, Trials
from evalkit.analysis._stats.ar1 import Array, Estimate, Fit, constant, fit
from evalkit.domain.validation import check_time
from evalkit.domain.verdicts import Verdict, change_verdict, is_significant

if TYPE_CHECKING:
    from evalkit.frames.study_data import DataLike, StudyData

__all__ = ["FEWEST_A_SIDE", "BeforeAfter", "before_after", "before_after_of"]

FEWEST_A_SIDE = 5
"""Checkpoints before and after the moment below which there is insufficient data."""
_MOST_PLACEBOS = 40
_LINE_POINTS = 5
_COLUMNS = {
    "study_id": "text", "study": "text", "metric": "text", "at": "time", "verdict": "text", "before": "count", "after": "count",
    "effect": "number", "effect_low": "number", "effect_high": "number", "p": "number", "p_corrected": "number",
    "slope_change": "number", "slope_change_low": "number", "slope_change_high": "number", "placebos": "count",
    "placebos_as_clear": "count", "autocorrelation": "number", "caveats": "texts",
}  # fmt: skip
_PLACEBO_COLUMNS = {"at": "time", "effect": "number", "low": "number", "high": "number", "p": "number"}


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class BeforeAfter(StudyResult):
    """The effect of a change at a moment on one metric in one study.

    Attributes
    ----------
    at
        The moment, UTC.
    before, after
        How many checkpoints with a value are wholly before it and wholly after it.
    values_before, values_after
        How many values the lines use: those of one time are averaged, and a very long series over stretches of time.
    span_days
        Days from the first value to the last.
    effect
        The step at the moment between the line through what came before and the line through what came after, in the unit of the
        metric, with its 95 % interval and p-value; None with insufficient data.
    slope_change
        How much steeper the line is afterwards, a day. It is not tested, so its interval claims nothing.
    placebos
        The same estimate at moments at which nothing is known to have happened, each from the checkpoints of one side alone: a table of
        at, effect, low, high, p (Polars). Empty with too few checkpoints.
    autocorrelation
        Of neighbours, 0 to 0.99, averaged over what the data allow.
    """

    at: datetime
    before: int
    after: int
    values_before: int
    values_after: int
    span_days: float
    placebos: pl.DataFrame
    effect: Estimate | None = None
    slope_change: Estimate | None = None
    autocorrelation: float | None = None
    _line: Callable[[], pl.DataFrame] | None = None

    FEWEST: ClassVar[int] = FEWEST_A_SIDE
    _COLUMNS: ClassVar[Mapping[str, str]] = _COLUMNS
    _DRAWN_AS: ClassVar[tuple[str, ...]] = ("fit", "changes")

    def fitted_line(self) -> pl.DataFrame:
        """Return the lines before and after with their 95 % intervals: part (0, 1), at (UTC), value, low, high; empty without an effect."""
        return table([], LINE) if self._line is None else self._line()

    @property
    def p(self) -> float | None:
        """The two-sided p-value of no step; None where all values are the same."""
        return None if self.effect is None or self.constant else self.effect.p

    @property
    def placebos_as_clear(self) -> int | None:
        """At how many of the other moments the step is as clear or clearer, each measured by half its own interval.

        With fewer checkpoints their steps vary more than that at the moment does, so the bare sizes do not compare. None where nothing
        was tested: without an effect, and where all values are the same.
        """
        if self.effect is None or self.constant:
            return None
        if self.effect.value == 0:
            return self.placebos.height
        step, half = pl.col("effect"), (pl.col("high") - pl.col("low")) / 2
        as_clear = step.abs() * self.effect.half_width >= abs(self.effect.value) * half
        return self.placebos.filter(as_clear & (step != 0)).height

    @property
    def verdict(self) -> Verdict:
        """Better, worse (higher, lower for a metric without a better direction), no significant effect, insufficient data."""
        if self.effect is None:
            return Verdict.INSUFFICIENT_DATA
        return change_verdict(self.metric, self.effect.value) if is_significant(self.p_corrected) else Verdict.NO_EFFECT

    def change_marks(self) -> pl.DataFrame:
        """Return the moment with the effect as text: at, low, high, text."""
        return table([{"at": self.at, "low": self.at, "high": self.at, "text": _wording.effect_mark(self)}], MARKS)

    def _rows(self) -> list[dict[str, Any]]:
        effect, slope = self.effect, self.slope_change
        return [{
            "study_id": self.study_id, "study": self.study, "metric": self.metric.name, "at": self.at, "verdict": self.verdict.value,
            "before": self.before, "after": self.after, "p": self.p, "p_corrected": self.p_corrected,
            "placebos": self.placebos.height, "placebos_as_clear": self.placebos_as_clear, "autocorrelation": self.autocorrelation,
            "caveats": self.caveats,
            **({} if effect is None else {"effect": effect.value, "effect_low": effect.low, "effect_high": effect.high}),
            **({} if slope is None else {"slope_change": slope.value, "slope_change_low": slope.low, "slope_change_high": slope.high}),
        }]  # fmt: skip

    def sentences(self) -> list[str]:
        """Return the effect with its interval, the method with its counts, and the caveats."""
        return _wording.before_after(self)


def before_after(data: DataLike, metric: str, *, at: datetime | str) -> PerStudy[BeforeAfter]:
    """Estimate the effect of a change at a moment on a metric.

    A straight line is fitted before and one after, so that a trend that was there already is not taken for an effect. A checkpoint
    whose period the moment falls into is left out. Neighbouring checkpoints may correlate, and the intervals allow for it.

    Parameters
    ----------
    data
        A `StudyData`, a frame as ``kit.checkpoints()`` returns it, Polars or pandas, or a `Resampled`.
    metric
        A name of `evalkit.METRICS`.
    at
        When the change was made, with a time zone.

    Returns
    -------
    PerStudy of BeforeAfter
        A result for each study, ``insufficient data`` with fewer than 5 checkpoints on a side.

    Raises
    ------
    InvalidInputError
        When the data lacks a column, there is no such metric, or `at` is no time with a time zone.
    MissingExtraError
        Without scipy.

    Notes
    -----
    An interrupted time series: A. K. Wagner et al., "Segmented regression analysis of interrupted time series studies in medication
    use research", Journal of Clinical Pharmacy and Therapeutics 27 (2002), 299-309; the errors as in `evalkit.analysis._stats.ar1`.
    """
    moment = check_time("at", at)
    return by_study(data, metric, lambda series, known: before_after_of(series, moment, known), BeforeAfter)


def before_after_of(series: MetricSeries, at: datetime, data: StudyData | None = None, *, placebos: bool = True) -> BeforeAfter:
    """Return the effect in one series, its p-value not adjusted; without placebos it is much quicker."""
    moment = round(at.timestamp() * 1e6)
    before, after = series.parted(moment)
    times, values = np.concatenate([before.times, after.times]), np.concatenate([before.values, after.values])
    later = times > moment
    caveats = _caveats(series, before, after)
    lines: Fit | None = None
    effect = slope_change = None
    tried: list[dict[str, Any]] = []
    if min(len(before.values), len(after.values)) >= FEWEST_A_SIDE:
        lines, scale = _two_lines(times, values, moment, series.trials)
        effect, slope_change = lines.estimate([0, 0, 1, 0]), lines.estimate([0, 0, 0, 1]).times(1 / scale)
        caveats += [*([Caveat(CaveatKind.AUTOCORRELATED)] if lines.wanders else [])]
        caveats += [*([] if effect.half_width else [Caveat(CaveatKind.NO_WIDTH)])]
        sides = (~later, later) if placebos else ()
        tried = [_placebo(series, times[side], values[side], place) for side in sides for place in _places(times[side])]
    return BeforeAfter(
        study_id=series.study_id, study=series.study, metric=series.metric, at=at, before=before.checkpoints, after=after.checkpoints,
        values_before=len(before.values), values_after=len(after.values), constant=constant(values),
        span_days=float(np.ptp(series.days)) if len(series.days) else 0.0, effect=effect, slope_change=slope_change,
        autocorrelation=None if lines is None else lines.correlation, placebos=table(tried, _PLACEBO_COLUMNS), _caveats=caveats, _data=data,
        _line=None if lines is None else partial(_lines, series, lines, times, moment),
    )  # fmt: skip


def _caveats(series: MetricSeries, before: MetricSeries, after: MetricSeries) -> list[Caveat]:
    """Return those of the series, with how many means there are on both sides, and what is on no side."""
    used = before.checkpoints + after.checkpoints
    means = Caveat(CaveatKind.AVERAGED, (used, series.stretch, len(before.values) + len(after.values)))
    left_out = series.checkpoints - used
    return [
        *series.without(CaveatKind.AVERAGED),
        *([means] if series.stretch else []),
        *([Caveat(CaveatKind.LEFT_OUT, (left_out,))] if left_out else []),
    ]


def _two_lines(times: Array, values: Array, at: float, trials: Trials) -> tuple[Fit, float]:
    """Fit a line before `at` and one after: level, slope, step, change of slope. Return the days of the slopes' unit as well."""
    scale = float(np.ptp(times))
    away = (times - at) / scale
    later = (times > at).astype(float)
    return fit(times, values, np.column_stack([np.ones_like(away), away, later, away * later]), *trials.floor), scale / 86_400e6


def _lines(series: MetricSeries, lines: Fit, times: Array, at: float) -> pl.DataFrame:
    rows = []
    for part, (first, last) in enumerate(((times[0], at), (at, times[-1]))):
        for place in np.linspace(first, last, _LINE_POINTS):
            away = (place - at) / float(np.ptp(times))
            there = lines.estimate([1.0, away, part, away * part])
            rows.append({"part": part, "at": series.at(place), "value": there.value, "low": there.low, "high": there.high})
    return table(rows, LINE)


def _places(times: Array) -> Array:
    """Return the moments of one side at which to look for a step that is not there, as many checkpoints on both sides as are needed."""
    middles = (times[:-1] + times[1:])[FEWEST_A_SIDE - 1 : len(times) - FEWEST_A_SIDE] / 2
    return middles[:: max(1, math.ceil(len(middles) / (_MOST_PLACEBOS // 2)))]


def _placebo(series: MetricSeries, times: Array, values: Array, place: float) -> dict[str, Any]:
    effect = _two_lines(times, values, place, series.trials)[0].estimate([0, 0, 1, 0])
    return {"at": series.at(place), "effect": effect.value, "low": effect.low, "high": effect.high, "p": effect.p}
