"""Interrupted time series: the step in a metric at a known time, adjusted for trends."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from evalkit.analysis import _wording
from evalkit.analysis._results import LINE, MARKS, PerStudy, StudyResult, by_study, table
from evalkit.analysis._series import Caveat, CaveatKind, MetricSeries
from evalkit.analysis._stats.ar1 import Array, Estimate, Fit, constant, fit
from evalkit.analysis._stats.trials import Trials
from evalkit.domain.notes import Note
from evalkit.domain.time_input import check_time
from evalkit.domain.verdicts import Verdict, change_verdict, is_significant

if TYPE_CHECKING:
    from evalkit.frames.study_data import DataLike, StudyData

__all__ = ["FEWEST_A_SIDE", "BeforeAfter", "before_after", "before_after_of"]

FEWEST_A_SIDE = 5
"""The number of values needed on each side of the change."""
_MOST_PLACEBOS = 40
_LINE_POINTS = 5
_COLUMNS = {
    "study_id": "text", "study": "text", "metric": "text", "at": "time", "verdict": "text", "before": "count", "after": "count",
    "effect": "number", "effect_low": "number", "effect_high": "number", "p": "number", "p_corrected": "number",
    "slope_change": "number", "slope_change_low": "number", "slope_change_high": "number", "placebos": "count",
    "placebos_as_clear": "count", "autocorrelation": "number", "caveats": "texts",
}  # fmt: skip
_PLACEBO_COLUMNS = {"at": "time", "effect": "number", "low": "number", "high": "number", "p": "number"}


_NOTE_LENGTH = 60
_ID = re.compile("[0-9a-f-]{36}").fullmatch  # names of studies take the place of ids that a frame does not have


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class BeforeAfter(StudyResult):
    """The effect of a change at a known time on one metric in one study.

    Attributes
    ----------
    at
        The time of the change, UTC.
    before, after
        The number of checkpoints with a value that end before the change, and that start after it.
    values_before, values_after
        The number of values in the regression. Values with equal timestamps are averaged; series of more than 1,000 values are averaged
        over equal stretches of time.
    span_days
        Days from the first value to the last.
    effect
        The step at the time of the change, between the line before and the line after, in the unit of the metric, with its 95% confidence
        interval and p-value; None with insufficient data.
    slope_change
        Slope after minus slope before, per day, with its 95% confidence interval; not tested.
    placebos
        The same estimate at times without a known change, each from the checkpoints on one side of the change only: a Polars table with
        `at`, `effect`, `low`, `high` and `p`. Empty with too few checkpoints.
    autocorrelation
        Mean of the AR(1) coefficient, 0 to 0.99.

    Examples
    --------
    >>> import polars as pl
    >>> from evalkit import analysis, samples
    >>> old = samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 14, seed=1, level=-0.5)
    >>> new = samples.sample_checkpoints("daily", "2026-01-15T00:00:00Z", 14, seed=2, level=1.0)
    >>> result = analysis.before_after(pl.DataFrame(old + new), "session_success_rate", at="2026-01-15T00:00:00Z").only()
    >>> result.verdict, result.before, result.after
    (<Verdict.BETTER: 'better'>, 14, 14)
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
    note: str | None = None
    """The text of the note whose time is that of the change, if one was passed."""
    _line: Callable[[], pl.DataFrame] | None = None

    FEWEST: ClassVar[int] = FEWEST_A_SIDE
    _COLUMNS: ClassVar[Mapping[str, str]] = _COLUMNS
    _DRAWN_AS: ClassVar[tuple[str, ...]] = ("fit", "changes")

    def fitted_line(self) -> pl.DataFrame:
        """Return points of both fitted lines, with their pointwise 95% confidence intervals.

        Returns
        -------
        polars.DataFrame
            `part` (0 before, 1 after), `at` (UTC), `value`, `low` and `high` in the unit of the metric; no rows without an effect.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> nights = pl.DataFrame(samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 20, seed=1))
        >>> result = analysis.before_after(nights, "total_cost", at="2026-01-11T00:00:00Z").only()
        >>> result.fitted_line()["part"].unique().sort().to_list()
        [0, 1]
        """
        return table([], LINE) if self._line is None else self._line()

    @property
    def p(self) -> float | None:
        """Two-sided p-value of the null hypothesis of no step.

        None with insufficient data, and when all values are equal.
        """
        return None if self.effect is None or self.constant else self.effect.p

    @property
    def placebos_as_clear(self) -> int | None:
        """The number of placebo times at which the step is as large as the effect.

        Steps are compared relative to the widths of their confidence intervals: placebo steps are estimated from fewer checkpoints and
        vary more, so the sizes themselves are not comparable. None when nothing was tested.
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
        """Better, worse, no significant effect, or insufficient data.

        Higher or lower for a metric without a better direction.
        """
        if self.effect is None:
            return Verdict.INSUFFICIENT_DATA
        return change_verdict(self.metric, self.effect.value) if is_significant(self.p_corrected) else Verdict.NO_EFFECT

    def change_marks(self) -> pl.DataFrame:
        """Return the time of the change with a label for charts.

        Returns
        -------
        polars.DataFrame
            One row with `at`, `low`, `high` (all the time of the change, UTC) and `text`.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> nights = pl.DataFrame(samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 6, seed=1))
        >>> result = analysis.before_after(nights, "total_cost", at="2026-01-04T00:00:00Z").only()
        >>> result.change_marks()["text"].item()
        'insufficient data'
        """
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
        """Return the result as text, one string per paragraph.

        The first paragraph is the result in one line. The change in slope, the method, the placebo test and the caveats follow.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> nights = pl.DataFrame(samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 6, seed=1))
        >>> print(analysis.before_after(nights, "total_cost", at="2026-01-04T00:00:00Z").only().sentences()[0])
        Total cost, change at 2026-01-04 UTC: insufficient data (3 checkpoints before and 3 after; at least 5 on each side are needed).
        """
        return _wording.before_after(self)


def before_after(data: DataLike, metric: str, *, at: datetime | str | Note) -> PerStudy[BeforeAfter]:
    """Estimate the effect of a change at a known time on a metric (interrupted time series).

    Two straight lines, one before and one after the change, are fitted by generalized least squares with AR(1) errors, so that an
    existing trend is not mistaken for an effect. A checkpoint whose period includes the time of the change is excluded. The step is also
    estimated at other times, without a known change (placebo test). With several studies, p-values are adjusted for multiple comparisons
    (Holm).

    Parameters
    ----------
    data
        A `StudyData`, a Polars or pandas frame like that of ``kit.checkpoints()``, or a `Resampled`.
    metric
        The name of a metric: one of the 16, or a custom one.
    at
        The time of the change, with a time zone; or a note on the change, as ``kit.note()`` returns it. The time of the note is used, of a
        note with an end its start, for all studies of the data.

    Returns
    -------
    PerStudy of BeforeAfter
        One result per study; ``insufficient data`` with fewer than 5 distinct timestamps on a side.

    Raises
    ------
    InvalidInputError
        When the data lacks a column, the metric is unknown, or `at` is not a time with a time zone.
    MissingExtraError
        When scipy is not installed.

    Notes
    -----
    An interrupted time series: A. K. Wagner et al., "Segmented regression analysis of interrupted time series studies in medication
    use research", Journal of Clinical Pharmacy and Therapeutics 27 (2002), 299-309. The error model is described in
    `evalkit.analysis._stats.ar1`.

    Examples
    --------
    >>> import polars as pl
    >>> from evalkit import analysis, samples
    >>> old = samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 14, seed=1, level=-0.5)
    >>> new = samples.sample_checkpoints("daily", "2026-01-15T00:00:00Z", 14, seed=2, level=1.0)
    >>> nights = pl.DataFrame(old + new).with_columns(study=pl.lit("nightly"))
    >>> analysis.before_after(nights, "session_success_rate", at="2026-01-15T00:00:00Z")
    nightly, session success rate, change at 2026-01-15 UTC: better (step of +40.8 pp, 95% CI +25.1 to +56.3; p < 0.001; 14 checkpoints
    before and 14 after).
    Change in slope: +0.55 pp/day, 95% CI −1.89 to +2.62; not tested.
    Method: interrupted time series, fitted by generalized least squares with AR(1) errors, model-averaged over the AR(1) coefficient
    (mean 0.10).
    Placebo test at 10 other times without a known change: 1 statistically significant step; 0 steps at least as large as
    this one relative to the width of their confidence intervals.
    """
    moment = at.at if isinstance(at, Note) else check_time("at", at)

    def analyze(series: MetricSeries, prepared: StudyData) -> BeforeAfter:
        result = before_after_of(series, moment, prepared)
        return result if not isinstance(at, Note) else replace(result, note=_described(at, series.study_id))

    return by_study(data, metric, analyze, BeforeAfter)


def _described(note: Note, study_id: str) -> str:
    """Return the text of a note, and whether it is a note of another study."""
    text = " ".join(note.text.split())
    text = text if len(text) <= _NOTE_LENGTH else f"{text[: _NOTE_LENGTH - 1]}…"
    return f"note of another study: {text}" if _ID(study_id) and study_id != note.study_id else f"note: {text}"


def before_after_of(series: MetricSeries, at: datetime, data: StudyData | None = None, *, placebos: bool = True) -> BeforeAfter:
    """Return the effect in one series, with an unadjusted p-value.

    ``placebos=False`` omits the placebo tests, which take most of the time.
    """
    moment = round(at.timestamp() * 1e6)
    before, after = series.split(moment)
    times, values = np.concatenate([before.times, after.times]), np.concatenate([before.values, after.values])
    later = times > moment
    caveats = _caveats(series, before, after)
    lines: Fit | None = None
    effect = slope_change = None
    placebo_rows: list[dict[str, Any]] = []
    if min(len(before.values), len(after.values)) >= FEWEST_A_SIDE:
        lines, scale = _two_lines(times, values, moment, series.trials)
        effect, slope_change = lines.estimate([0, 0, 1, 0]), lines.estimate([0, 0, 0, 1]).times(1 / scale)
        caveats += [*([Caveat(CaveatKind.AUTOCORRELATED)] if lines.strongly_autocorrelated else [])]
        caveats += [*([] if effect.half_width else [Caveat(CaveatKind.NO_WIDTH)])]
        sides = (~later, later) if placebos else ()
        placebo_rows = [_placebo(series, times[side], values[side], time) for side in sides for time in _placebo_times(times[side])]
    return BeforeAfter(
        study_id=series.study_id, study=series.study, metric=series.metric, at=at, before=before.checkpoints, after=after.checkpoints,
        values_before=len(before.values), values_after=len(after.values), constant=constant(values),
        span_days=float(np.ptp(series.days)) if len(series.days) else 0.0, effect=effect, slope_change=slope_change,
        autocorrelation=None if lines is None else lines.correlation, placebos=table(placebo_rows, _PLACEBO_COLUMNS), _caveats=caveats,
        _data=data,
        _line=None if lines is None else partial(_lines, series, lines, times, moment),
    )  # fmt: skip


def _caveats(series: MetricSeries, before: MetricSeries, after: MetricSeries) -> list[Caveat]:
    """Return the caveats of a series that is split into checkpoints before and after a change."""
    used = before.checkpoints + after.checkpoints
    means = Caveat(CaveatKind.AVERAGED, (used, series.stretch, len(before.values) + len(after.values)))
    left_out = series.checkpoints - used
    return [
        *series.without(CaveatKind.AVERAGED),
        *([means] if series.stretch else []),
        *([Caveat(CaveatKind.LEFT_OUT, (left_out,))] if left_out else []),
    ]


def _two_lines(times: Array, values: Array, at: float, trials: Trials) -> tuple[Fit, float]:
    """Fit a line before and after `at`; also return the time unit of slopes in days.

    The coefficients are level, slope, step and change in slope.
    """
    scale = float(np.ptp(times))
    offsets = (times - at) / scale
    later = (times > at).astype(float)
    return fit(times, values, np.column_stack([np.ones_like(offsets), offsets, later, offsets * later]), *trials.floor), scale / 86_400e6


def _lines(series: MetricSeries, lines: Fit, times: Array, at: float) -> pl.DataFrame:
    rows = []
    for part, (first, last) in enumerate(((times[0], at), (at, times[-1]))):
        for time in np.linspace(first, last, _LINE_POINTS):
            offset = (time - at) / float(np.ptp(times))
            estimate = lines.estimate([1.0, offset, part, offset * part])
            rows.append({"part": part, "at": series.at(time), "value": estimate.value, "low": estimate.low, "high": estimate.high})
    return table(rows, LINE)


def _placebo_times(times: Array) -> Array:
    """Return times for placebo tests, each with enough checkpoints before and after it."""
    middles = (times[:-1] + times[1:])[FEWEST_A_SIDE - 1 : len(times) - FEWEST_A_SIDE] / 2
    return middles[:: max(1, math.ceil(len(middles) / (_MOST_PLACEBOS // 2)))]


def _placebo(series: MetricSeries, times: Array, values: Array, time: float) -> dict[str, Any]:
    effect = _two_lines(times, values, time, series.trials)[0].estimate([0, 0, 1, 0])
    return {"at": series.at(time), "effect": effect.value, "low": effect.low, "high": effect.high, "p": effect.p}
