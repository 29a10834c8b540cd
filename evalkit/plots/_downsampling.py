"""Runs of checkpoints without a gap, and downsampling to the resolution of a screen.

Lines are drawn within runs only, regardless of downsampling.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

__all__ = ["MOST_POINTS", "bin_count", "counts_per_study", "downsample", "runs", "time_bin", "with_breaks"]

MOST_POINTS = 2000
"""The largest number of points of a line that is not downsampled."""
_MOST_BINS = 240  # for a chart 640 pixels wide
_FEWEST_BINS = 60


def runs(rows: pl.DataFrame, values: Sequence[str]) -> pl.DataFrame:
    """Return the rows that have all `values`, with the number of their run.

    The numbers in the column `run` are unique over all studies. A new run begins after a missing value, and after a gap.

    Parameters
    ----------
    rows
        Sorted by study_id and t; with `gap`, from `StudyData.gaps`.
    """
    present = pl.all_horizontal(pl.col(name).is_not_null() for name in values)
    new = (pl.col("study_id") != pl.col("study_id").shift(1)) | pl.col("gap")
    breaks = new.fill_null(True) | present.not_() | present.shift(1).fill_null(False).not_()
    return rows.with_columns(run=breaks.cast(pl.Int64()).cum_sum()).filter(present)


def bin_count(rows: pl.DataFrame, width_ratio: float = 1.0) -> int | None:
    """Return the number of time bins to downsample to; None if all points can be drawn.

    Parameters
    ----------
    width_ratio
        The width of the chart as a share of the usual 640 pixels.
    """
    counts = counts_per_study(rows)
    lines, longest = len(counts), max(counts, default=0)
    allowed = MOST_POINTS * width_ratio if lines <= 5 else max(4 * _FEWEST_BINS * width_ratio, 5 * MOST_POINTS * width_ratio / lines)
    if longest <= allowed:
        return None
    return int(max(_FEWEST_BINS * width_ratio, min(_MOST_BINS * width_ratio, allowed / 4)))


def counts_per_study(rows: pl.DataFrame) -> list[int]:
    """Return the number of rows of each study, in no particular order."""
    counts: list[int] = rows.group_by("study_id").len()["len"].to_list()
    return counts


def time_bin(rows: pl.DataFrame, bins: int) -> pl.Expr:
    """Return the time bin of each row.

    The time from the first to the last `t` of all rows is divided into `bins` bins of equal length.
    """
    at = pl.col("t").dt.timestamp("us")
    first, last = rows.select(at.min().alias("a"), at.max().alias("b")).row(0)
    position: pl.Expr = ((at - first) / max(1, (last or 0) - (first or 0)) * bins).floor().cast(pl.Int64()).clip(0, bins - 1)
    return position


def downsample(rows: pl.DataFrame, values: Sequence[str], bins: int, kept: pl.Expr | None = None) -> pl.DataFrame:
    """Return the first, last and extreme rows of each study and time bin.

    The extreme rows have the minimum or maximum of one of the columns `values`. Rows for which `kept` is true are returned too, unless
    there are more than `MOST_POINTS` of them.

    Source: the M4 aggregation of Jugel, Jerzak, Hackenbroich and Markl, "M4: a visualization-oriented time series data aggregation",
    Proceedings of the VLDB Endowment 7 (2014): the drawn line differs from the complete one by less than a pixel.
    """
    numbered = rows.with_row_index("index")
    index = pl.col("index")
    extremes = numbered.group_by("study_id", time_bin(rows, bins).alias("bin")).agg(
        index.first().alias("first"),
        index.last().alias("last"),
        *(index.get(pl.col(name).arg_min()).alias(f"min {name}") for name in values),
        *(index.get(pl.col(name).arg_max()).alias(f"max {name}") for name in values),
    )
    places = [extremes[name] for name in extremes.columns[2:]]
    marked = places[0].clear() if kept is None else numbered.filter(kept)["index"]
    return rows[pl.concat([*places, *([marked] if len(marked) <= MOST_POINTS else [])]).unique().sort()]


def with_breaks(rows: pl.DataFrame, values: Sequence[str]) -> pl.DataFrame:
    """Insert a row without values between two runs of a study, so that lines break there.

    The row is halfway between the runs in time. The column `alone` marks the only row of a run. The rows must be sorted by study_id and t.
    """
    marked = rows.with_columns(alone=pl.len().over("run") == 1)
    last_of_run = (pl.col("run") != pl.col("run").shift(-1)) & (pl.col("study_id") == pl.col("study_id").shift(-1))
    ends = marked.with_columns(until=pl.col("t").shift(-1)).filter(last_of_run)
    if ends.is_empty():
        return marked
    nulls = [pl.lit(None).cast(rows.schema[name]).alias(name) for name in values]
    middle = pl.col("t") + (pl.col("until") - pl.col("t")) / 2
    times = [middle.alias(name) for name in ("t", "start", "end") if name in rows.columns]
    breaks = ends.with_columns(*times, *nulls, alone=False).drop("until")
    # In a stable sort, a break stays after its run.
    return pl.concat([marked, breaks]).sort("study_id", "run", maintain_order=True)
