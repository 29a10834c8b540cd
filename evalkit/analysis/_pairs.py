"""Pairs of periods of two studies that overlap by more than half of the longer period."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from evalkit.analysis._series import MetricSeries, Samples, complete_periods, series_of
from evalkit.analysis._stats.ar1 import SAME
from evalkit.analysis._stats.trials import sampling_variances
from evalkit.domain.definitions import Metric

__all__ = ["matched", "paired"]

Places = npt.NDArray[np.intp]
_NEAREST = 4
"""The number of candidates before and after a period, among periods of similar length.

If the periods of a study do not overlap, at most one candidate matches, and it is among the nearest."""


def paired(study: pl.DataFrame, baseline: pl.DataFrame, metric: Metric) -> tuple[MetricSeries, tuple[float | None, float | None]]:
    """Return the differences in the paired periods of two studies, and the mean of each study.

    The means are those of the paired periods.

    Parameters
    ----------
    study, baseline
        Rows of `StudyData.sorted_checkpoints`.
    metric
        The metric.
    """
    first, second = (_by_period(rows, metric) for rows in (study, baseline))
    places = matched(first, second)
    both = first[places[0]].with_columns(second[places[1]].select(pl.col("v", "variance", "count_variance").name.suffix("_of_baseline")))
    of_study, of_baseline = pl.col("v"), pl.col("v_of_baseline")
    equal = (of_study - of_baseline).abs() <= SAME * pl.max_horizontal(of_study.abs(), of_baseline.abs())
    rows = both.select(
        t=(pl.col("start") + (pl.col("end") - pl.col("start")) / 2).dt.timestamp("us"),
        a=pl.col("start").dt.timestamp("us"), b=pl.col("end").dt.timestamp("us"),
        v=pl.when(equal).then(0.0).otherwise(of_study - of_baseline), variance=pl.col("variance") + pl.col("variance_of_baseline"),
        count_variance=pl.min_horizontal("count_variance", "count_variance_of_baseline"),
    ).sort("t", maintain_order=True).cast(pl.Float64())  # fmt: skip
    means: Any = both.select(of_study.mean(), of_baseline.mean()).row(0)
    t, v, a, b, variance, count_variance = (rows[name].to_numpy() for name in ("t", "v", "a", "b", "variance", "count_variance"))
    return series_of("", "", metric, Samples(t, v, a, b), variances=(variance, count_variance)), means


def _by_period(rows: pl.DataFrame, metric: Metric) -> pl.DataFrame:
    """Return the value, `v`, and its sampling variance for each period of a study.

    Values of duplicate periods are averaged.
    """
    measured = complete_periods(rows, metric)[0].filter(pl.col(metric.name).is_not_null())
    values = measured[metric.name].cast(pl.Float64())
    denominator = metric.denominator
    has_count = metric.kind == "rate" and denominator in measured.columns
    count = measured[denominator or ""].cast(pl.Float64()).to_numpy() if has_count else np.full(measured.height, np.nan)
    variance, count_variance = (
        pl.Series(each, nan_to_null=True, dtype=pl.Float64()) for each in sampling_variances(values.to_numpy(), count)
    )
    grouped = measured.select("start", "end", v=values, variance=variance, count_variance=count_variance).group_by(
        "start", "end", maintain_order=True
    )
    return grouped.agg(pl.col("v").mean(), pl.col("variance").mean() / pl.len(), pl.col("count_variance").sum())


def matched(study: pl.DataFrame, baseline: pl.DataFrame) -> tuple[Places, Places]:
    """Pair the periods of two studies one to one, the nearest first.

    Parameters
    ----------
    study, baseline
        Columns `start` and `end` (datetimes), without duplicates.

    Returns
    -------
    tuple of two integer arrays
        Row numbers in `study` of the periods with a partner, ascending, and row numbers in `baseline` of the partners.
    """
    numbered = [rows.select("start", "end").with_row_index("row") for rows in (study, baseline)]
    same = numbered[0].join(numbered[1], on=["start", "end"], suffix="_other", maintain_order="left")
    firsts, seconds = (same[name].to_numpy().astype(np.intp) for name in ("row", "row_other"))
    unpaired = [_others(firsts, study.height), _others(seconds, baseline.height)]
    if all(len(places) for places in unpaired):
        more = _match_overlapping(
            *(
                rows.select(pl.col("start", "end").dt.timestamp("us")).to_numpy()[places]
                for rows, places in zip((study, baseline), unpaired, strict=True)
            )
        )
        firsts, seconds = np.concatenate([firsts, unpaired[0][more[0]]]), np.concatenate([seconds, unpaired[1][more[1]]])
    order = np.argsort(firsts, kind="stable")
    return firsts[order], seconds[order]


def _match_overlapping(study: npt.NDArray[np.int64], baseline: npt.NDArray[np.int64]) -> tuple[Places, Places]:
    """Pair overlapping periods without an exact match, shapes (n, 2) and (m, 2).

    The result does not depend on the order of the studies.
    """
    sizes, partner_sizes = _length_exponents(study), _length_exponents(baseline)
    candidates = [
        _overlapping(study, baseline, np.flatnonzero(sizes == size), np.flatnonzero(partner_sizes == partner_size))
        for size in np.unique(sizes)
        for partner_size in np.unique(partner_sizes)
        if abs(size - partner_size) <= 1
    ]
    rows, partners = np.hstack([np.empty((2, 0), dtype=np.intp), *candidates])
    middles, lengths = ((study[rows] @ side, baseline[partners] @ side) for side in ([1, 1], [-1, 1]))
    order = np.lexsort([sum(lengths), sum(middles), np.abs(middles[0] - middles[1])])
    return _each_once(rows[order], partners[order])


def _length_exponents(periods: npt.NDArray[np.int64]) -> npt.NDArray[np.intc]:
    """Return the binary exponents of the lengths of periods.

    The lengths of matching periods differ by a factor of less than 2, so their exponents differ by at most 1.
    """
    return np.frexp(np.diff(periods)[:, 0])[1]


def _overlapping(study: npt.NDArray[np.int64], baseline: npt.NDArray[np.int64], rows: Places, among: Places) -> npt.NDArray[np.intp]:
    """Return the matching pairs, shape (2, n), of some rows of two studies.

    Each of `rows` of the study is compared with the nearest periods `among` rows of the baseline.
    """
    by_time = among[np.argsort(baseline[among].sum(axis=1), kind="stable")]
    periods, partners = study[rows], baseline[by_time]
    near = np.searchsorted(partners.sum(axis=1), periods.sum(axis=1))[:, None] + np.arange(-_NEAREST, _NEAREST)
    place = np.clip(near, 0, len(partners) - 1)
    start, end = periods[:, :1], periods[:, 1:]
    overlap = np.minimum(end, partners[place, 1]) - np.maximum(start, partners[place, 0])
    longer = np.maximum(end - start, partners[place, 1] - partners[place, 0])
    matches, columns = np.nonzero((overlap > 0) & (2 * overlap > longer) & (near == place))
    return np.stack([rows[matches], by_time[place[matches, columns]]])


def _each_once(rows: Places, partners: Places) -> tuple[Places, Places]:
    """Keep the pairs, sorted by distance, whose periods are not in an earlier kept pair."""
    counts = np.bincount(rows), np.bincount(partners)
    if not any((count > 1).any() for count in counts):
        return rows, partners
    used = [bytearray(len(count)) for count in counts]
    kept = []
    for place, (row, partner) in enumerate(zip(rows.tolist(), partners.tolist(), strict=True)):
        if not (used[0][row] or used[1][partner]):
            used[0][row] = used[1][partner] = 1
            kept.append(place)
    return rows[kept], partners[kept]


def _others(used: Places, count: int) -> Places:
    """Return the numbers from 0 to `count` - 1 that are not in `used`."""
    free = np.ones(count, dtype=bool)
    free[used] = False
    return np.flatnonzero(free)
