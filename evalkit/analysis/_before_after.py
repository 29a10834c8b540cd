"""Did a change matter: the step in a metric at a moment, beside the trend before and after it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from evalkit.analysis._audit.audit import Findings
from evalkit.analysis._by_study import by_study
from evalkit.analysis._carried import warned
from evalkit.analysis._observed import Observed
from evalkit.analysis._per_study import ALPHA, LINE, MARKS, OneStudy, PerStudy, table
from evalkit.analysis._phrases import ALIKE, METHOD, WANDERS, change, direction, how_likely, interval, per_time
from evalkit.analysis._stats.ar1 import Array, Estimate, Fit, constant, fit
from evalkit.analysis._stats.trials import Trials
from evalkit.analysis._stretches import averaged_note
from evalkit.domain.validation import check_time
from evalkit.plots._words import moment, plural

__all__ = ["FEWEST_A_SIDE", "BeforeAfter", "before_after", "before_after_of"]

FEWEST_A_SIDE = 5
"""Checkpoints before and after the moment below which nothing can be said."""
_MOST_PLACEBOS = 40
_LINE_POINTS = 5
_WORDS = ("better", "worse", "higher", "lower")
_COLUMNS = {
    "study_id": "text", "study": "text", "metric": "text", "at": "time", "verdict": "text", "before": "count", "after": "count",
    "effect": "number", "effect_low": "number", "effect_high": "number", "p": "number", "p_corrected": "number",
    "slope_change": "number", "slope_change_low": "number", "slope_change_high": "number", "placebos": "count",
    "placebos_as_clear": "count", "autocorrelation": "number", "caveats": "texts",
}  # fmt: skip
_PLACEBO_COLUMNS = {"at": "time", "effect": "number", "low": "number", "high": "number", "p": "number"}


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class BeforeAfter(OneStudy):
    """What a change at a moment did to one metric in one study.

    Attributes
    ----------
    at
        The moment, UTC.
    before, after
        How many checkpoints with a value lie wholly before it and wholly after it.
    used
        On how many values before and after the lines rest: those of one time are averaged, and a very long series over stretches of time.
    effect
        The step at the moment between the line through what came before and the line through what came after, in the unit of the
        metric, with its 95 % interval and p-value; None when it cannot be said.
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
    used: tuple[int, int]
    span_days: float
    placebos: pl.DataFrame
    effect: Estimate | None = None
    slope_change: Estimate | None = None
    autocorrelation: float | None = None
    drawn: Callable[[], pl.DataFrame] | None = None

    def line(self) -> pl.DataFrame:
        """Give the lines before and after with their 95 % intervals: part (0, 1), at (UTC), value, low, high; empty without an effect."""
        return table([], LINE) if self.drawn is None else self.drawn()

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
        as_clear = step.abs() * self.effect.half >= abs(self.effect.value) * half
        return self.placebos.filter(as_clear & (step != 0)).height

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` (``higher``, ``lower`` for a metric without a better direction), ``no effect told``, ``cannot say``."""
        if self.effect is None:
            return "cannot say"
        if self.p_corrected is not None and self.p_corrected <= ALPHA:
            return direction(self.metric, self.effect.value, _WORDS)
        return "no effect told"

    def marks(self) -> pl.DataFrame:
        """Give the moment with the effect in words: at, low, high, text."""
        told = self.verdict if self.effect is None else f"{self.verdict}: {change(self.metric, self.effect.value)}"
        return table([{"at": self.at, "low": self.at, "high": self.at, "text": told}], MARKS)

    def row(self) -> dict[str, Any]:
        """Give the row of the table."""
        effect, slope = self.effect, self.slope_change
        return {
            "study_id": self.study_id, "study": self.study, "metric": self.metric.name, "at": self.at, "verdict": self.verdict,
            "before": self.before, "after": self.after, "p": self.p, "p_corrected": self.p_corrected,
            "placebos": self.placebos.height, "placebos_as_clear": self.placebos_as_clear, "autocorrelation": self.autocorrelation,
            "caveats": self.caveats,
            **({} if effect is None else {"effect": effect.value, "effect_low": effect.low, "effect_high": effect.high}),
            **({} if slope is None else {"slope_change": slope.value, "slope_change_low": slope.low, "slope_change_high": slope.high}),
        }  # fmt: skip

    def sentences(self) -> list[str]:
        """Say the effect with its interval, the method with its counts, and the caveats."""
        name = f"{self.about}, at {moment(self.at)} UTC: {self.verdict}"
        counts = f"{plural(self.before, 'checkpoint')} before and {self.after:,} after"
        if self.effect is None or self.slope_change is None:
            used = "" if self.used == (self.before, self.after) else f"{self.used[0]:,} and {self.used[1]:,} "
            return [f"{name}, with {counts}, of {used}different times; {FEWEST_A_SIDE} are needed on each side.", *self.caveats]
        step = f"{change(self.metric, self.effect.value)} ({interval(self.metric, self.effect)})"
        tilt = f"The slopes after and before differ by {per_time(self.metric, self.slope_change, self.span_days)}, which is not tested."
        told = f"{name}, a step of {step} between the lines before and after; {how_likely(self.p, self.p_corrected)}. {tilt}"
        method = f"Method: two straight lines, {METHOD} (here about {self.autocorrelation:.2f}); {counts}."
        return [told, " ".join([method, self._on_placebos()]), *self.caveats, *warned(self.findings)]

    def _on_placebos(self) -> str:
        if self.placebos.is_empty():
            return "Too few checkpoints to try moments at which nothing happened."
        found = self.placebos.filter(pl.col("p") <= ALPHA).height
        tried = plural(self.placebos.height, "other moment")
        odd = " More than chance explains: steps of this kind come without a change as well." if found > self.placebos.height / 5 else ""
        told = f"a step is told at {found}"
        if self.effect is not None and self.effect.value and not self.constant:
            told += f", and is as clear as this one (measured by its own interval) at {self.placebos_as_clear}"
        return f"Of {tried}, at which nothing is known to have happened, {told}.{odd}"


def before_after(frame: Any, metric: str, *, at: datetime | str) -> PerStudy[BeforeAfter]:
    """Estimate what a change at a moment did to a metric.

    A straight line is fitted before and one after, so that a trend that was there already is not taken for an effect. A checkpoint
    whose period the moment falls into is left out. Neighbouring checkpoints may correlate, and the intervals allow for it.

    Parameters
    ----------
    frame
        As ``kit.checkpoints()`` gives it, Polars or Pandas; or ``(kit.checkpoints(), kit.lifecycle())``, so that a pause is not taken
        for missing checkpoints; or a result that has such a frame.
    metric
        A name of `evalkit.METRICS`.
    at
        When the change was made, with a time zone.

    Returns
    -------
    PerStudy of BeforeAfter
        A result for each study, ``cannot say`` with fewer than 5 checkpoints on a side.

    Raises
    ------
    InvalidInputError
        When the frame is none or lacks a column, there is no such metric, or `at` is no time with a time zone.
    MissingExtraError
        Without scipy.

    Notes
    -----
    An interrupted time series: A. K. Wagner et al., "Segmented regression analysis of interrupted time series studies in medication
    use research", Journal of Clinical Pharmacy and Therapeutics 27 (2002), 299-309; the errors as in `evalkit.analysis._stats.ar1`.
    """
    when = check_time("at", at)
    return by_study(frame, metric, lambda series, audited: before_after_of(series, when, audited), _COLUMNS, ("fit", "changes"))


def before_after_of(series: Observed, at: datetime, audited: Findings | None = None, *, placebos: bool = True) -> BeforeAfter:
    """Estimate the effect in one series, its p-value not corrected; without placebos it is much quicker."""
    moment_at = round(at.timestamp() * 1e6)
    before, after = series.parted(moment_at)
    times, values = np.concatenate([before.times, after.times]), np.concatenate([before.values, after.values])
    later = times > moment_at
    caveats = _cautions(series, before, after)
    facts: dict[str, Any] = {
        "study_id": series.study_id, "study": series.study, "metric": series.metric, "at": at, "before": before.checkpoints,
        "after": after.checkpoints, "used": (len(before.values), len(after.values)), "audited": audited,
        "span_days": float(np.ptp(series.days)) if len(series.days) else 0.0,
        "caveats": caveats, "constant": constant(values),
    }  # fmt: skip
    if min(facts["used"]) < FEWEST_A_SIDE:
        return BeforeAfter(**facts, placebos=table([], _PLACEBO_COLUMNS))
    found, scale = _two_lines(times, values, moment_at, series.trials)
    effect = found.estimate([0, 0, 1, 0])
    caveats += [*([WANDERS] if found.wanders else []), *([] if effect.half else [ALIKE])]
    sides = (~later, later) if placebos else ()
    tried = [_placebo(series, times[side], values[side], place) for side in sides for place in _places(times[side])]
    return BeforeAfter(
        **facts, effect=effect, slope_change=found.estimate([0, 0, 0, 1]).times(1 / scale),
        autocorrelation=found.correlation, placebos=table(tried, _PLACEBO_COLUMNS),
        drawn=lambda: _lines(series, found, times, moment_at),
    )  # fmt: skip


def _cautions(series: Observed, before: Observed, after: Observed) -> list[str]:
    """Give those of the series, with how many means there are on both sides, and what is on no side."""
    used = before.checkpoints + after.checkpoints
    kept = [caveat for caveat in series.caveats if caveat != series.averaging]
    means = [averaged_note(used, series.stretch, len(before.values) + len(after.values))] if series.stretch else []
    left_out = series.checkpoints - used
    one = "The checkpoint whose period the moment falls into is left out."
    several = f"{plural(left_out, 'checkpoint')} whose periods the moment falls into are left out."
    return [*kept, *means, *([one] if left_out == 1 else [several] if left_out else [])]


def _two_lines(times: Array, values: Array, at: float, trials: Trials) -> tuple[Fit, float]:
    """Fit a line before `at` and one after: level, slope, step, change of slope. Gives the days of the slopes' unit as well."""
    scale = float(np.ptp(times))
    away = (times - at) / scale
    later = (times > at).astype(float)
    return fit(times, values, np.column_stack([np.ones_like(away), away, later, away * later]), *trials.floor), scale / 86_400e6


def _lines(series: Observed, found: Fit, times: Array, at: float) -> pl.DataFrame:
    rows = []
    for part, (first, last) in enumerate(((times[0], at), (at, times[-1]))):
        for place in np.linspace(first, last, _LINE_POINTS):
            away = (place - at) / float(np.ptp(times))
            there = found.estimate([1.0, away, part, away * part])
            rows.append({"part": part, "at": series.at(place), "value": there.value, "low": there.low, "high": there.high})
    return table(rows, LINE)


def _places(times: Array) -> Array:
    """Give the moments of one side at which to look for a step that is not there, as many checkpoints on both sides as are needed."""
    middles = (times[:-1] + times[1:])[FEWEST_A_SIDE - 1 : len(times) - FEWEST_A_SIDE] / 2
    return middles[:: max(1, math.ceil(len(middles) / (_MOST_PLACEBOS // 2)))]


def _placebo(series: Observed, times: Array, values: Array, place: float) -> dict[str, Any]:
    effect = _two_lines(times, values, place, series.trials)[0].estimate([0, 0, 1, 0])
    return {"at": series.at(place), "effect": effect.value, "low": effect.low, "high": effect.high, "p": effect.p}
