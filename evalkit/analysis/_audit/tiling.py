"""How periods tile time: the grid that a study's own periods stand on, whether hours, days, weeks, calendar months or any one length.

All times are microseconds since 1970 in UTC. A month begins at the same day and time of day as the one before it, or at the last day of
the month where it has no such day, so that 31 January is followed by 28 February and 31 March.
"""

from __future__ import annotations

import polars as pl

__all__ = ["DAY", "GRID", "HOUR", "edge", "grids", "on_grid", "tile"]

HOUR = 3_600_000_000
DAY = 24 * HOUR
GRID = ("monthly", "length", "phase", "day")
"""The columns of a grid: whether it is of months, else how long a tile is and where a tile begins (from 1970, or within a month's day),
and the day of the month on which months begin. `length` of a month is that of the longest. All null where a study has no usual length."""
_LENGTHS = {"hourly": HOUR, "daily": DAY, "weekly": 7 * DAY, "monthly": 31 * DAY}


def grids(rows: pl.DataFrame) -> pl.DataFrame:
    """Give the grid of each study, by majority: a row a study, with the columns in `GRID`, and `unit`, what a tile is called.

    Parameters
    ----------
    rows
        study_id, period_type (null where it is not known: then the length of at least half of the periods counts), start, end.
    """
    length = pl.col("end") - pl.col("start")
    usual = (
        rows.group_by("study_id", length=length)
        .agg(n=pl.len())
        .sort("n", "length", descending=[True, False])
        .group_by("study_id", maintain_order=True)
        .agg(usual=pl.col("length").first(), of=pl.col("n").first(), n=pl.col("n").sum())
    )
    kinds = rows.group_by("study_id").agg(
        kind=pl.col("period_type").drop_nulls().mode(maintain_order=True).first(), months=_is_month("start", "end").sum()
    )
    known = usual.join(kinds, on="study_id").with_columns(
        kind=pl.col("kind").fill_null(
            pl.when((pl.col("months") >= pl.col("of")) & (2 * pl.col("months") >= pl.col("n"))).then(pl.lit("monthly"))
        )
    )
    often = 2 * pl.col("of") >= pl.col("n")
    lengths = known.select(
        "study_id", monthly=(pl.col("kind") == "monthly").fill_null(False),
        length=pl.coalesce(pl.col("kind").replace_strict(_LENGTHS, default=None, return_dtype=pl.Int64()), pl.when(often).then("usual")),
    )  # fmt: skip
    of_length = pl.col("length").replace_strict({HOUR: "hour", DAY: "day", 7 * DAY: "week"}, default="period", return_dtype=pl.String())
    return _phased(rows, lengths).with_columns(unit=pl.when("monthly").then(pl.lit("month")).otherwise(of_length))


def _phased(rows: pl.DataFrame, lengths: pl.DataFrame) -> pl.DataFrame:
    """Find where the tiles begin: where most of the periods begin and end."""
    edges = pl.concat([rows.select("study_id", at="start"), rows.select("study_id", at="end")]).join(lengths, on="study_id")
    step = pl.when("monthly").then(DAY).otherwise("length")
    phase = (
        edges.group_by("study_id", phase=pl.col("at") % step)
        .agg(n=pl.len(), first=pl.col("at").min())
        .sort("n", "first", descending=[True, False])
        .unique("study_id", keep="first")
        .select("study_id", "phase")
    )
    at = _as_time(pl.col("at"))
    days = edges.filter("monthly").group_by("study_id", day=at.dt.day(), last=at.dt.month_end().dt.day()).agg(n=pl.len())
    tried = days.select("study_id", tried="day").unique()
    day = (
        days.join(tried, on="study_id")
        .filter(pl.col("day") == pl.min_horizontal("tried", "last"))
        .group_by("study_id", day="tried")
        .agg(pl.col("n").sum())
        .sort("n", "day", descending=True)
        .unique("study_id", keep="first")
        .select("study_id", pl.col("day").cast(pl.Int64()))
    )
    return lengths.join(phase, on="study_id", how="left").join(day, on="study_id", how="left")


def tile(at: pl.Expr) -> pl.Expr:
    """Give the number of the tile that a moment lies in, in a frame with the columns of `GRID`."""
    month = _month(at)
    fixed = (at - pl.col("phase")) // pl.col("length")
    return pl.when("monthly").then(month - (at < _month_edge(month)).cast(pl.Int64())).otherwise(fixed)


def edge(number: pl.Expr) -> pl.Expr:
    """Give the moment at which a tile begins, in a frame with the columns of `GRID`."""
    return pl.when("monthly").then(_month_edge(number)).otherwise(number * pl.col("length") + pl.col("phase"))


def on_grid(rows: pl.DataFrame, grid: pl.DataFrame) -> pl.DataFrame:
    """Give periods their grid: begun, where the tile begins that they start in, and regular, whether they are as long as they should be.

    One that begins on the grid must end on it; another one must have the length. Null where the study has no grid.
    """
    # In steps, since one expression would have the search for a tile in it over and over.
    placed = rows.join(grid, on="study_id", how="left").with_columns(number=tile(pl.col("start")))
    placed = placed.with_columns(begun=edge(pl.col("number")), after=edge(pl.col("number") + 1), a_month=_is_month("start", "end"))
    month = pl.when(pl.col("begun") == pl.col("start")).then(pl.col("after") == pl.col("end")).otherwise("a_month")
    fixed = pl.col("end") - pl.col("start") == pl.col("length")
    return placed.with_columns(regular=pl.when("monthly").then(month).otherwise(fixed)).drop("number", "after", "a_month")


def _is_month(start: str, end: str) -> pl.Expr:
    """Whether a period is one calendar month, beginning on any day: of the last of a month it is not known which day it stands for."""
    first, after = pl.col(start), pl.col(end)
    day, last, end_day, end_last = (
        part.cast(pl.Int64()) for at in (_as_time(first), _as_time(after)) for part in (at.dt.day(), at.dt.month_end().dt.day())
    )
    least = pl.min_horizontal(day, end_last)
    right_day = pl.when(day < last).then(end_day == least).otherwise(end_day >= least)
    return (_month(after) - _month(first) == 1) & (first % DAY == after % DAY) & right_day


def _as_time(at: pl.Expr) -> pl.Expr:
    return at.cast(pl.Datetime("us"))


def _month(at: pl.Expr) -> pl.Expr:
    moment = _as_time(at)
    return moment.dt.year().cast(pl.Int64()) * 12 + moment.dt.month().cast(pl.Int64()) - 1


def _month_edge(month: pl.Expr) -> pl.Expr:
    # Only months of monthly grids are looked up: the numbers of other tiles lie outside all calendars.
    known = pl.when("monthly").then(month)
    first = pl.datetime(known // 12, known % 12 + 1, 1)
    last = first.dt.month_end().dt.day().cast(pl.Int64())
    return first.dt.epoch("us") + (pl.min_horizontal("day", last) - 1) * DAY + pl.col("phase")
