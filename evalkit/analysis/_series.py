"""One metric of one study as statistics need it: numbers in the order of time, and what limits them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import numpy as np
import polars as pl

from evalkit.analysis._stats.ar1 import Array, constant
from evalkit.analysis._stats.scipy_functions import chdtr
from evalkit.domain.metrics import METRICS, Metric
from evalkit.frames.normalize import metric_named
from evalkit.frames.study_data import StudyData

__all__ = [
    "MOST_VALUES", "NO_TRIALS", "PARTIAL", "Caveat", "CaveatKind", "MetricSeries", "Samples", "Trials", "all_series", "chance_of",
    "one_series", "rows_for", "series_of", "trials_of", "whole_periods",
]  # fmt: skip

PARTIAL = "partial"
"""The column that marks periods which checkpoints cover only in part: totals of them are too small."""
MOST_VALUES = 1000
"""More are averaged over equal stretches of time, which takes a daily or weekly rhythm out as well."""
_DAY = 86_400_000_000
_STRETCHES = {
    "minute": 60_000_000, "hour": _DAY // 24, "day": _DAY, "week": 7 * _DAY, "28 days": 28 * _DAY, "year": 365 * _DAY,
    "10 years": 3650 * _DAY, "100 years": 36_500 * _DAY,
}  # fmt: skip
_UNEVEN = 10
_TOO_LARGE = 1e100  # their squares could not be added
_WINDOW = 3
_HARDLY = 0.001
_ENOUGH = 1.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CaveatKind(StrEnum):
    """What can limit a result; `evalkit.analysis._wording.caveat` says each in a sentence."""

    TOO_LARGE = "too_large"
    MISSING = "missing"
    SAME_TIME = "same_time"
    AVERAGED = "averaged"
    UNEVEN = "uneven"
    PARTIAL = "partial"
    SAME_TASKS = "same_tasks"
    AUTOCORRELATED = "autocorrelated"
    NO_WIDTH = "no_width"
    FAR = "far"
    OUTLIERS = "outliers"
    STEP = "step"
    GRADUAL = "gradual"
    LEFT_OUT = "left_out"
    UNUSED = "unused"
    UNPAIRED = "unpaired"


@dataclass(frozen=True)
class Caveat:
    """What to be careful about, with the values that its sentence has."""

    kind: CaveatKind
    values: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Trials:
    """The trials behind the values of a rate.

    Attributes
    ----------
    variance
        Of a value, were its trials independent. 0 where their number is not recorded.
    steady
        Whether the values vary clearly less than that, so that their trials are not independent.
    """

    variance: float = 0.0
    steady: bool = False

    @property
    def floor(self) -> tuple[float, float]:
        """The variance that a value has at least, and the one it has where nothing is seen to vary."""
        return 0.0 if self.steady else self.variance, self.variance


NO_TRIALS = Trials()
"""Of what is no rate, or has no recorded number of trials."""


@dataclass(frozen=True)
class Samples:
    """Values in the order of time: arrays of one length.

    Attributes
    ----------
    times, starts, ends
        Middle, start and end of each period, microseconds since 1970.
    values
        In the unit of the metric; durations in seconds, rates 0 to 1.
    """

    times: Array
    values: Array
    starts: Array
    ends: Array

    def where(self, kept: Any) -> Samples:
        """Return some of the samples."""
        return Samples(self.times[kept], self.values[kept], self.starts[kept], self.ends[kept])

    def grouped(self, keys: Array, *, times: bool = False) -> Samples:
        """Return the means of neighbours with the same key, from the first start to the last end; `times` are averaged as well."""
        if not len(keys) or not (keys[1:] == keys[:-1]).any():
            return self
        first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        counts = np.diff(np.append(first, len(keys)))
        middles = np.add.reduceat(self.times - self.times[0], first) / counts + self.times[0] if times else self.times[first]
        values = np.add.reduceat(self.values, first) / counts
        return Samples(middles, values, np.minimum.reduceat(self.starts, first), np.maximum.reduceat(self.ends, first))


@dataclass(frozen=True)
class MetricSeries:
    """The measured values of one metric of one study.

    Attributes
    ----------
    times, values, starts, ends
        As those of `Samples`, no two of the same time; a very long series as means over stretches of time.
    checkpoints, missing
        How many have a value, and how many do not, or have a total of a part of their period, which is left out.
    caveats
        What limits the series.
    trials
        The trials behind the values of a rate.
    distinct
        How many values of different times there are; of a very long series before it is averaged.
    stretch
        Of a very long series the stretch of time that each value is the mean over, as ``day``; else empty.
    each
        Every checkpoint that has a value, by time. None: they are the values.
    """

    study_id: str
    study: str
    metric: Metric
    times: Array
    values: Array
    starts: Array
    ends: Array
    checkpoints: int
    missing: int
    caveats: tuple[Caveat, ...] = ()
    trials: Trials = NO_TRIALS
    distinct: int = 0
    stretch: str = ""
    each: Samples | None = None

    @property
    def constant(self) -> bool:
        """Whether all values are the same: then there is nothing to test."""
        return constant(self.values)

    @property
    def days(self) -> Array:
        """Days since the first value."""
        return (self.times - self.times[:1]) / _DAY

    @property
    def start(self) -> datetime | None:
        """When the first period starts; None without any."""
        return self.at(self.starts.min()) if len(self.starts) else None

    @property
    def end(self) -> datetime | None:
        """When the last period ends; None without any."""
        return self.at(self.ends.max()) if len(self.ends) else None

    @property
    def mean(self) -> float | None:
        """The mean of the values; None without any."""
        return float(self.values.mean()) if len(self.values) else None

    def at(self, microseconds: float) -> datetime:
        """Return a time of this series as a datetime in UTC."""
        return _EPOCH + timedelta(microseconds=round(microseconds))

    def without(self, *kinds: CaveatKind) -> list[Caveat]:
        """Return the caveats that are not of some kinds."""
        return [caveat for caveat in self.caveats if caveat.kind not in kinds]

    def parted(self, microseconds: float) -> tuple[MetricSeries, MetricSeries]:
        """Return what lies wholly before a time and what lies wholly after it; no mean reaches over it."""
        each = self.each or Samples(self.times, self.values, self.starts, self.ends)
        first, last = np.minimum(each.starts, each.ends), np.maximum(each.starts, each.ends)
        before, after = (last <= microseconds) & (first < microseconds), (first >= microseconds) & (last > microseconds)
        return self._of(each.where(before)), self._of(each.where(after))

    def _of(self, each: Samples) -> MetricSeries:
        used = _averaged(each.grouped(each.times), self.stretch)
        return replace(
            self, times=used.times, values=used.values, starts=used.starts, ends=used.ends, checkpoints=len(each.values), each=each
        )  # fmt: skip


def rows_for(data: StudyData, metrics: Iterable[str]) -> pl.DataFrame:
    """Return the rows of `StudyData.sorted_checkpoints` with all columns that series of some metrics need."""
    names = list(metrics)
    counts = sorted({counted for name in names if (counted := METRICS[name].denominator) is not None and counted not in names})
    return data.sorted_checkpoints(names, counts, [PARTIAL] if any(METRICS[name].rollup == "sum" for name in names) else [])


def all_series(data: StudyData, metric: str) -> list[MetricSeries]:
    """Return one metric as a series for each study that has checkpoints, in the order of the studies.

    Raises
    ------
    InvalidInputError
        When the data lacks a column, or there is no such metric.
    """
    metric_named(metric)
    rows = rows_for(data, [metric])
    parts = [rows] if len(data.names) == 1 and rows.height else rows.partition_by("study_id", maintain_order=True)
    return [one_series(part, metric) for part in parts]


def whole_periods(rows: pl.DataFrame, metric: str) -> tuple[pl.DataFrame, int]:
    """Leave out the totals of periods that are covered in part; return how many there are."""
    if METRICS[metric].rollup != "sum" or PARTIAL not in rows.columns or not rows[PARTIAL].any():
        return rows, 0
    whole = rows.filter(pl.col(PARTIAL).not_())
    return whole, rows.height - whole.height


def one_series(rows: pl.DataFrame, metric: str) -> MetricSeries:
    """Return one metric of rows of `StudyData.sorted_checkpoints`, all of one study."""
    known = METRICS[metric]
    whole, partial = whole_periods(rows, metric)
    samples = _samples(whole, metric)
    counts = _numbers(whole, known.denominator) if known.denominator in whole.columns else None
    study_id, study = (rows["study_id"][0], rows["label"][0]) if rows.height else ("", "")
    made = series_of(study_id, study, known, samples, counts=counts, partial=partial)
    return replace(made, missing=rows.height - made.checkpoints)


def series_of(
    study_id: str, study: str, metric: Metric, samples: Samples, *, counts: Array | None = None,
    chance: tuple[Array, Array] | None = None, partial: int = 0,
) -> MetricSeries:  # fmt: skip
    """Return a series of samples by time, NaN where a value is missing.

    Parameters
    ----------
    counts
        What each value is a mean over; None where that is not recorded.
    chance
        What `chance_of` returns, of values whose chance does not follow from `counts`.
    partial
        How many totals were left out because their periods are covered in part.
    """
    measured = ~np.isnan(samples.values)
    usable = measured & (np.abs(samples.values) < _TOO_LARGE)
    each = samples.where(usable)
    total, used, too_large = len(measured), len(each.values), int(measured.sum() - usable.sum())
    distinct = each.grouped(each.times)
    stretch = _stretch_of(distinct.times)
    averaged = _averaged(distinct, stretch)
    values = averaged.values
    if chance is not None:
        chance = chance[0][usable], chance[1][usable]
    elif counts is not None and metric.kind == "rate":
        chance = chance_of(each.values, counts[usable])
    trials = NO_TRIALS if chance is None else trials_of(each.values, *chance)
    trials = replace(trials, variance=trials.variance * len(values) / max(1, used))  # of averaged values
    limits = [
        (too_large, Caveat(CaveatKind.TOO_LARGE, (too_large, _TOO_LARGE))),
        (used < total, Caveat(CaveatKind.MISSING, (total - used, total))),
        (len(distinct.times) < used, Caveat(CaveatKind.SAME_TIME, (used, len(distinct.times)))),
        (stretch, Caveat(CaveatKind.AVERAGED, (len(distinct.times), stretch, len(values)))),
    ]
    caveats = [caveat for holds, caveat in limits if holds] + _uneven(None if counts is None else counts[usable], metric)
    caveats += [Caveat(CaveatKind.PARTIAL, (partial,))] if partial else []
    caveats += [Caveat(CaveatKind.SAME_TASKS)] if trials.steady else []
    return MetricSeries(
        study_id, study, metric, averaged.times, values, averaged.starts, averaged.ends, checkpoints=used, missing=total - used,
        caveats=tuple(caveats), distinct=len(distinct.times), trials=trials, stretch=stretch, each=each,
    )  # fmt: skip


def _samples(rows: pl.DataFrame, metric: str) -> Samples:
    middles, starts, ends = (rows[name].to_numpy().view(np.int64).astype(np.float64) for name in ("t", "start", "end"))
    return Samples(middles, _numbers(rows, metric), starts, ends)


def _numbers(rows: pl.DataFrame, name: str | None) -> Array:
    """Return a column as floats, NaN where it is null."""
    numbers: Array = rows[name or ""].cast(pl.Float64()).to_numpy()
    return numbers


def _uneven(counts: Array | None, metric: Metric) -> list[Caveat]:
    """Say that a mean over few counts as much as a mean over many, where that matters."""
    positive = np.array([]) if counts is None else counts[counts > 0]
    if not len(positive) or positive.max() < _UNEVEN * positive.min():
        return []
    return [Caveat(CaveatKind.UNEVEN, (int(positive.min()), int(positive.max()), metric.denominator))]


def _stretch_of(times: Array) -> str:
    """Return the shortest stretch that leaves at most `MOST_VALUES` of these times; nothing where there are no more."""
    if len(times) <= MOST_VALUES:
        return ""
    few = (name for name, length in _STRETCHES.items() if len(np.unique(times // length)) <= MOST_VALUES)
    return next(few, list(_STRETCHES)[-1])


def _averaged(samples: Samples, stretch: str) -> Samples:
    """Average samples over stretches of time; without a stretch they stay as they are."""
    return samples.grouped(samples.times // _STRETCHES[stretch], times=True) if stretch else samples


def chance_of(rate: Array, count: Array) -> tuple[Array, Array]:
    """Return the variance q (1 - q) / n of each rate of n independent trials, and n q (1 - q); NaN where n is not known.

    q is the rate of a checkpoint and its two neighbours together, with half a success and half a failure more: neither a trend nor a step
    enlarges the chance, and a rate of 1 has some.

    Parameters
    ----------
    rate, count
        Of one study, in the order of time; NaN where missing.
    """
    if not len(rate):
        return rate, rate
    counted = (count > 0) & (rate >= 0) & (rate <= 1)
    trials, hits = np.where(counted, count, 0.0), np.where(counted, rate * count, 0.0)
    near_trials, near_hits = (np.convolve(sums, np.ones(_WINDOW))[1 : len(sums) + 1] for sums in (trials, hits))
    q = (near_hits + 0.5) / (near_trials + 1)
    varied = np.clip(q * (1 - q), 0, None)
    known = np.where(counted, count, np.nan)
    return varied / known, varied * known


def trials_of(values: Array, chance: Array, common: Array) -> Trials:
    """Return what is known of the trials behind values in the order of time, with what `chance_of` returned for them.

    Whether values vary too little is judged from the differences of neighbours, against chi-square with as many degrees of freedom as
    their mean square has. Where successes or failures are rare, values are alike by chance, and nothing is concluded.

    Source: J. von Neumann et al., "The mean square successive difference", Annals of Mathematical Statistics 12 (1941), 153-162.
    """
    known = ~np.isnan(chance)
    if not known.any():
        return NO_TRIALS
    values, chance, common = values[known], chance[known], common[known]
    count, variance = len(values), float(chance.mean())
    if count < _WINDOW or common.mean() < _ENOUGH:
        return Trials(variance)
    seen = float((np.diff(values) ** 2 / (chance[1:] + chance[:-1])).mean())
    freedom = 2 * (count - 1) ** 2 / (3 * count - 4)
    return Trials(variance, bool(chdtr(freedom, freedom * seen) < _HARDLY))
