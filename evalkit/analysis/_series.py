"""One metric of one study as a series for statistics: values by time, with caveats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import numpy as np
import polars as pl

from evalkit.analysis._stats.ar1 import Array, constant
from evalkit.analysis._stats.trials import NO_TRIALS, Trials, sampling_variances, trials_of
from evalkit.domain.definitions import Metric
from evalkit.frames.study_data import StudyData

__all__ = [
    "MOST_VALUES", "PARTIAL", "Caveat", "CaveatKind", "MetricSeries", "Samples", "all_series", "complete_periods", "metric_series",
    "rows_for", "series_of",
]  # fmt: skip

PARTIAL = "partial"
"""The column that marks partially covered periods, whose totals are too small."""
MOST_VALUES = 1000
"""The largest number of values; longer series are averaged over equal stretches of time, which also removes daily or weekly cycles."""
_DAY = 86_400_000_000
_STRETCHES = {
    "minute": 60_000_000, "hour": _DAY // 24, "day": _DAY, "week": 7 * _DAY, "28 days": 28 * _DAY, "year": 365 * _DAY,
    "10 years": 3650 * _DAY, "100 years": 36_500 * _DAY,
}  # fmt: skip
_UNEVEN = 10
_TOO_LARGE = 1e100  # a sum of the squares of such values would overflow
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CaveatKind(StrEnum):
    """Kinds of caveats; `evalkit.analysis._wording.caveat` has the sentence of each."""

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
    UNDEFINED = "undefined"


@dataclass(frozen=True)
class Caveat:
    """A limitation of a result, with the values in its sentence."""

    kind: CaveatKind
    values: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Samples:
    """Values by time: arrays of equal length.

    Attributes
    ----------
    times, starts, ends
        Midpoint, start and end of each period, microseconds since 1970.
    values
        In the unit of the metric; durations in seconds, rates 0 to 1.
    """

    times: Array
    values: Array
    starts: Array
    ends: Array

    def where(self, mask: Any) -> Samples:
        """Return the samples that a Boolean mask selects."""
        return Samples(self.times[mask], self.values[mask], self.starts[mask], self.ends[mask])

    def grouped(self, keys: Array, *, times: bool = False) -> Samples:
        """Return the means of consecutive samples with equal keys.

        A mean extends from the first start to the last end. Its time is the mean of the times with `times`, and otherwise the first time.
        """
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
        As in `Samples`, with distinct times; a very long series has means over stretches of time.
    checkpoints, missing
        The number of checkpoints with a value, and of the others: without a value, with a value that is too large, or with the total of a
        partially covered period.
    caveats
        Limitations of the series.
    trials
        The trials behind the values of a rate.
    distinct
        The number of distinct timestamps, before a very long series is averaged.
    stretch
        The stretch of time over which a very long series was averaged, such as ``day``; otherwise empty.
    samples
        All checkpoints with a value, by time. None when no values were averaged.
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
    samples: Samples | None = None

    @property
    def constant(self) -> bool:
        """Whether all values are equal, in which case nothing is tested."""
        return constant(self.values)

    @property
    def days(self) -> Array:
        """Days since the first value."""
        return (self.times - self.times[:1]) / _DAY

    @property
    def start(self) -> datetime | None:
        """Start of the first period; None without values."""
        return self.at(self.starts.min()) if len(self.starts) else None

    @property
    def end(self) -> datetime | None:
        """End of the last period; None without values."""
        return self.at(self.ends.max()) if len(self.ends) else None

    @property
    def mean(self) -> float | None:
        """Mean of the values; None without values."""
        return float(self.values.mean()) if len(self.values) else None

    def at(self, microseconds: float) -> datetime:
        """Return a time in microseconds as a datetime in UTC."""
        return _EPOCH + timedelta(microseconds=round(microseconds))

    def without(self, *kinds: CaveatKind) -> list[Caveat]:
        """Return the caveats without some kinds."""
        return [caveat for caveat in self.caveats if caveat.kind not in kinds]

    def split(self, microseconds: float) -> tuple[MetricSeries, MetricSeries]:
        """Return the checkpoints that end before a time, and those that start after it.

        Very long series are averaged after the split, so that no mean spans that time.
        """
        samples = self.samples or Samples(self.times, self.values, self.starts, self.ends)
        first, last = np.minimum(samples.starts, samples.ends), np.maximum(samples.starts, samples.ends)
        before, after = (last <= microseconds) & (first < microseconds), (first >= microseconds) & (last > microseconds)
        return self._of(samples.where(before)), self._of(samples.where(after))

    def _of(self, samples: Samples) -> MetricSeries:
        used = _averaged(samples.grouped(samples.times), self.stretch)
        return replace(
            self, times=used.times, values=used.values, starts=used.starts, ends=used.ends, checkpoints=len(samples.values),
            samples=samples,
        )  # fmt: skip


def rows_for(data: StudyData, metrics: Sequence[Metric]) -> pl.DataFrame:
    """Return `StudyData.sorted_checkpoints` with the columns for series of some metrics."""
    names = [metric.name for metric in metrics]
    denominators = {metric.denominator for metric in metrics}
    counts = sorted(name for name in denominators if name is not None and name not in names)
    return data.sorted_checkpoints(names, counts, [PARTIAL] if any(metric.rollup == "sum" for metric in metrics) else [])


def all_series(data: StudyData, metric: str) -> list[MetricSeries]:
    """Return a series of one metric for each study with checkpoints, in study order.

    Raises
    ------
    InvalidInputError
        When the data lacks a column or the metric is unknown.
    """
    definition = data.metric(metric)
    rows = rows_for(data, [definition])
    parts = [rows] if len(data.names) == 1 and rows.height else rows.partition_by("study_id", maintain_order=True)
    return [metric_series(part, definition, defined=metric not in data.undefined) for part in parts]


def complete_periods(rows: pl.DataFrame, metric: Metric) -> tuple[pl.DataFrame, int]:
    """Return the rows without totals of partial periods, and the number of excluded rows."""
    if metric.rollup != "sum" or PARTIAL not in rows.columns or not rows[PARTIAL].any():
        return rows, 0
    complete = rows.filter(pl.col(PARTIAL).not_())
    return complete, rows.height - complete.height


def metric_series(rows: pl.DataFrame, metric: Metric, *, defined: bool = True) -> MetricSeries:
    """Return one metric of one study as a series.

    Rows are those of `StudyData.sorted_checkpoints` of one study. A metric that is not `defined` has a caveat.
    """
    denominator = metric.denominator
    complete, partial = complete_periods(rows, metric)
    samples = _samples(complete, metric.name)
    counts = _numbers(complete, denominator) if denominator in complete.columns else None
    study_id, study = (rows["study_id"][0], rows["label"][0]) if rows.height else ("", "")
    series = series_of(study_id, study, metric, samples, counts=counts, partial=partial)
    caveats = series.caveats if defined else (*series.caveats, Caveat(CaveatKind.UNDEFINED, (metric.name,)))
    return replace(series, missing=rows.height - series.checkpoints, caveats=caveats)


def series_of(
    study_id: str, study: str, metric: Metric, samples: Samples, *, counts: Array | None = None,
    variances: tuple[Array, Array] | None = None, partial: int = 0,
) -> MetricSeries:  # fmt: skip
    """Return samples by time as a series.

    Parameters
    ----------
    study_id, study, metric
        Id and label of the study, and the metric.
    samples
        The values by time, NaN for missing values.
    counts
        The denominators of the values; None when not recorded.
    variances
        The result of `sampling_variances`, for values whose sampling variance does not follow from `counts`.
    partial
        The number of totals of partially covered periods that were excluded.
    """
    measured = ~np.isnan(samples.values)
    usable = measured & (np.abs(samples.values) < _TOO_LARGE)
    total, too_large = len(measured), int(measured.sum() - usable.sum())
    samples = samples.where(usable)
    used, distinct = len(samples.values), samples.grouped(samples.times)
    stretch = _stretch_of(distinct.times)
    averaged = _averaged(distinct, stretch)
    values = averaged.values
    if variances is not None:
        variances = variances[0][usable], variances[1][usable]
    elif counts is not None and metric.kind == "rate":
        variances = sampling_variances(samples.values, counts[usable])
    trials = NO_TRIALS if variances is None else trials_of(samples.values, *variances)
    trials = replace(trials, variance=trials.variance * len(values) / max(1, used))  # values of a very long series are means
    limits = [
        (too_large, Caveat(CaveatKind.TOO_LARGE, (too_large, _TOO_LARGE))),
        (used < total, Caveat(CaveatKind.MISSING, (total - used, total))),
        (len(distinct.times) < used, Caveat(CaveatKind.SAME_TIME, (used, len(distinct.times)))),
        (stretch, Caveat(CaveatKind.AVERAGED, (len(distinct.times), stretch, len(values)))),
    ]
    caveats = [caveat for applies, caveat in limits if applies] + _uneven(None if counts is None else counts[usable], metric)
    caveats += [Caveat(CaveatKind.PARTIAL, (partial,))] if partial else []
    caveats += [Caveat(CaveatKind.SAME_TASKS)] if trials.steady else []
    return MetricSeries(
        study_id, study, metric, averaged.times, values, averaged.starts, averaged.ends, checkpoints=used, missing=total - used,
        caveats=tuple(caveats), distinct=len(distinct.times), trials=trials, stretch=stretch, samples=samples,
    )  # fmt: skip


def _samples(rows: pl.DataFrame, metric: str) -> Samples:
    times, starts, ends = (rows[name].to_numpy().view(np.int64).astype(np.float64) for name in ("t", "start", "end"))
    return Samples(times, _numbers(rows, metric), starts, ends)


def _numbers(rows: pl.DataFrame, name: str | None) -> Array:
    """Return a column as floats, NaN for null."""
    numbers: Array = rows[name or ""].cast(pl.Float64()).to_numpy()
    return numbers


def _uneven(counts: Array | None, metric: Metric) -> list[Caveat]:
    """Return a caveat when denominators differ by a factor of `_UNEVEN` or more."""
    positive = np.array([]) if counts is None else counts[counts > 0]
    if not len(positive) or positive.max() < _UNEVEN * positive.min():
        return []
    return [Caveat(CaveatKind.UNEVEN, (int(positive.min()), int(positive.max()), metric.denominator))]


def _stretch_of(times: Array) -> str:
    """Return the shortest stretch of time with at most `MOST_VALUES` means.

    Empty when there are at most `MOST_VALUES` values.
    """
    if len(times) <= MOST_VALUES:
        return ""
    long_enough = (name for name, length in _STRETCHES.items() if len(np.unique(times // length)) <= MOST_VALUES)
    return next(long_enough, list(_STRETCHES)[-1])


def _averaged(samples: Samples, stretch: str) -> Samples:
    """Average samples over stretches of time; without a stretch, return them unchanged."""
    return samples.grouped(samples.times // _STRETCHES[stretch], times=True) if stretch else samples
