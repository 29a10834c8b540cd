"""Which periods of two studies are the same, or nearly: those that overlap by more than half of the longer of the two."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from evalkit.analysis.observed import Observed, observed_of, whole_periods
from evalkit.analysis.trials import CHANCE, COMMON, with_chance
from evalkit.metrics import METRICS

__all__ = ["matched", "paired"]

Places = npt.NDArray[np.intp]
_SAME = 1e-12
_NEIGHBOURS = 4
"""On each side; of periods that overlap no others of their study at most one fits, and it is among the nearest."""


def paired(study: pl.DataFrame, baseline: pl.DataFrame, metric: str) -> tuple[Observed, tuple[float | None, float | None]]:
    """Give the differences of two studies in the periods in which both have a value, and the means of both there.

    Parameters
    ----------
    study, baseline
        Rows as `read_checkpoints` gives.
    metric
        A name of `evalkit.METRICS`.
    """
    one, other = (_by_period(rows, metric) for rows in (study, baseline))
    places = matched(one, other)
    both = one[places[0]].with_columns(other[places[1]].select(pl.col(metric, CHANCE, COMMON).name.suffix("_of_baseline")))
    of_study, of_baseline = pl.col(metric), pl.col(f"{metric}_of_baseline")
    alike = (of_study - of_baseline).abs() <= _SAME * pl.max_horizontal(of_study.abs(), of_baseline.abs())
    rows = both.select(
        "start", "end", t=pl.col("start") + (pl.col("end") - pl.col("start")) / 2,
        v=pl.when(alike).then(0.0).otherwise(of_study - of_baseline),
        **{CHANCE: pl.col(CHANCE) + pl.col(f"{CHANCE}_of_baseline"), COMMON: pl.min_horizontal(COMMON, f"{COMMON}_of_baseline")},
    )  # fmt: skip
    rows = rows.sort("t").rename({"v": metric}).join(study[:1].select("study_id", "label"), how="cross")
    means: Any = both.select(of_study.mean(), of_baseline.mean()).row(0)
    return observed_of(rows, metric), means


def _by_period(rows: pl.DataFrame, metric: str) -> pl.DataFrame:
    """Give the value of each period of a study; of periods that are exactly the same the mean."""
    there = whole_periods(rows, metric)[0].filter(pl.col(metric).is_not_null())
    grouped = with_chance(there.sort("t"), METRICS[metric]).group_by("start", "end", maintain_order=True)
    return grouped.agg(pl.col(metric).cast(pl.Float64()).mean(), pl.col(CHANCE).mean() / pl.len(), pl.col(COMMON).sum())


def matched(one: pl.DataFrame, other: pl.DataFrame) -> tuple[Places, Places]:
    """Pair periods one to one, the nearest first.

    Parameters
    ----------
    one, other
        start and end (datetimes), no two periods of one of them the same.

    Returns
    -------
    tuple of two arrays
        The rows of `one` that have a partner, ascending, and the rows of their partners.
    """
    numbered = [rows.select("start", "end").with_row_index("row") for rows in (one, other)]
    same = numbered[0].join(numbered[1], on=["start", "end"], suffix="_other", maintain_order="left")
    firsts, seconds = (same[name].to_numpy().astype(np.intp) for name in ("row", "row_other"))
    left = [_others(firsts, one.height), _others(seconds, other.height)]
    if all(len(rows) for rows in left):
        more = _nearly(
            *(rows.select(pl.col("start", "end").dt.timestamp("us")).to_numpy()[at] for rows, at in zip((one, other), left, strict=True))
        )
        firsts, seconds = np.concatenate([firsts, left[0][more[0]]]), np.concatenate([seconds, left[1][more[1]]])
    order = np.argsort(firsts, kind="stable")
    return firsts[order], seconds[order]


def _nearly(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> tuple[Places, Places]:
    """Pair periods, shape (n, 2) and (m, 2), that are not the same."""
    by_time = np.argsort(other.sum(axis=1), kind="stable")
    middles, ordered = one.sum(axis=1), other[by_time]
    near = np.searchsorted(ordered.sum(axis=1), middles)[:, None] + np.arange(-_NEIGHBOURS, _NEIGHBOURS)
    partner = np.clip(near, 0, len(other) - 1)
    start, end = one[:, :1], one[:, 1:]
    overlap = np.minimum(end, ordered[partner, 1]) - np.maximum(start, ordered[partner, 0])
    longer = np.maximum(end - start, ordered[partner, 1] - ordered[partner, 0])
    rows, columns = np.nonzero((overlap > 0) & (2 * overlap > longer) & (near == partner))
    partners = by_time[partner[rows, columns]]
    order = np.argsort(np.abs(middles[rows] - other[partners].sum(axis=1)), kind="stable")
    return _each_once(rows[order], partners[order])


def _each_once(rows: Places, partners: Places) -> tuple[Places, Places]:
    """Keep of pairs, the nearest first, those of which neither was taken before."""
    counts = np.bincount(rows), np.bincount(partners)
    if not any((count > 1).any() for count in counts):
        return rows, partners
    taken, gone = (bytearray(len(count)) for count in counts)
    kept = []
    for place, (row, partner) in enumerate(zip(rows.tolist(), partners.tolist(), strict=True)):
        if not (taken[row] or gone[partner]):
            taken[row] = gone[partner] = 1
            kept.append(place)
    return rows[kept], partners[kept]


def _others(used: Places, count: int) -> Places:
    """Give the numbers below `count` that are not used."""
    free = np.ones(count, dtype=bool)
    free[used] = False
    return np.flatnonzero(free)
