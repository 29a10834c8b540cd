"""Runs, gaps, and as many points as a screen can show.

A *run* is a stretch of a study's checkpoints without a gap. Lines are drawn within runs only, however many points are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from evalkit.domain.periods import is_gap

__all__ = ["MOST_POINTS", "broken", "bucket", "buckets_for", "lengths", "runs", "thin"]

MOST_POINTS = 2000
"""Of one line; beyond it is thinned."""
_MOST_BUCKETS = 240  # of a chart 640 pixels wide
_FEWEST_BUCKETS = 60


def runs(rows: pl.DataFrame, values: Sequence[str]) -> pl.DataFrame:
    """Give the rows that have all `values`, with `run`: the number of the stretch that they belong to, over all studies.

    A new run begins where a value is missing, and where the time between the end of everything before and the start of a period is a
    gap: see `evalkit.domain.periods.is_gap`.

    Parameters
    ----------
    rows
        Sorted by study_id and t; with start, end, length.
    """
    there = pl.all_horizontal(pl.col(name).is_not_null() for name in values)
    reached = pl.col("end").cum_max().shift(1).over("study_id")
    new = (pl.col("study_id") != pl.col("study_id").shift(1)) | is_gap(pl.col("start") - reached, pl.col("length"))
    breaks = new.fill_null(True) | there.not_() | there.shift(1).fill_null(False).not_()
    return rows.lazy().with_columns(run=breaks.cast(pl.Int64()).cum_sum()).filter(there).collect()


def buckets_for(rows: pl.DataFrame, share: float = 1.0) -> int | None:
    """Give into how many stretches of time the lines of `rows` are to be cut; None when they can be drawn as they are.

    Parameters
    ----------
    share
        How much of a chart's usual width there is.
    """
    if rows.is_empty():
        return None
    counts = lengths(rows)
    lines, longest = len(counts), max(counts)
    allowed = MOST_POINTS * share if lines <= 5 else max(4 * _FEWEST_BUCKETS * share, 5 * MOST_POINTS * share / lines)
    if longest <= allowed:
        return None
    return int(max(_FEWEST_BUCKETS * share, min(_MOST_BUCKETS * share, allowed / 4)))


def lengths(rows: pl.DataFrame) -> list[int]:
    """Give how many rows each study has, in no order."""
    counts: list[int] = rows.group_by("study_id").len()["len"].to_list()
    return counts


def bucket(rows: pl.DataFrame, buckets: int) -> pl.Expr:
    """Give the stretch of time that each row lies in, of `buckets` equal ones between the first and the last row of all."""
    at = pl.col("t").dt.timestamp("us")
    first, last = rows.select(at.min().alias("a"), at.max().alias("b")).row(0)
    place: pl.Expr = ((at - first) / max(1, (last or 0) - (first or 0)) * buckets).floor().cast(pl.Int64()).clip(0, buckets - 1)
    return place


def thin(rows: pl.DataFrame, values: Sequence[str], buckets: int) -> pl.DataFrame:
    """Keep of each study and stretch of time the first and the last row, and those with the least and the greatest of each value.

    Source: the M4 aggregation of Jugel, Jerzak, Hackenbroich and Markl, "M4: a visualization-oriented time series data aggregation",
    Proceedings of the VLDB Endowment 7 (2014): what is drawn differs from the whole by less than a pixel.
    """
    numbered = rows.with_row_index("index")
    index = pl.col("index")
    kept = numbered.group_by("study_id", bucket(rows, buckets).alias("bucket")).agg(
        index.first().alias("first"),
        index.last().alias("last"),
        *(index.get(pl.col(name).arg_min()).alias(f"least {name}") for name in values),
        *(index.get(pl.col(name).arg_max()).alias(f"most {name}") for name in values),
    )
    chosen = pl.concat([kept[name] for name in kept.columns[2:]]).unique().sort()
    return rows[chosen]


def broken(rows: pl.DataFrame, values: Sequence[str]) -> pl.DataFrame:
    """Put a row without values between two runs of a study, halfway in time: there a line breaks. `alone` says that a run has one row."""
    marked = rows.lazy().with_columns(alone=pl.len().over("run") == 1, order=pl.lit(0, dtype=pl.Int8()))
    last = (pl.col("run") != pl.col("run").shift(-1)) & (pl.col("study_id") == pl.col("study_id").shift(-1))
    ends = marked.with_columns(until=pl.col("t").shift(-1)).filter(last.fill_null(False))
    nought = [pl.lit(None).cast(rows.schema[name]).alias(name) for name in values]
    middle = pl.col("t") + (pl.col("until") - pl.col("t")) / 2
    times = [middle.alias(name) for name in ("t", "start", "end") if name in rows.columns]
    holes = ends.with_columns(*times, *nought, alone=False, order=pl.lit(1, dtype=pl.Int8())).drop("until")
    return pl.concat([marked, holes]).sort("study_id", "run", "order", "t", maintain_order=True).drop("order").collect()
