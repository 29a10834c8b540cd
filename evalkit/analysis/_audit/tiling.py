"""When there is something to measure: the running time of studies, and how periods tile it.

A grid is where a study's own periods begin and end, whether hours, days, weeks, calendar months or any one length.

All times are microseconds since 1970 in UTC. A month begins at the same day and time of day as the one before it, or at the last day of
the month where it has no such day, so that 31 January is followed by 28 February and 31 March.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from evalkit.domain.periods import LONGEST

__all__ = ["DAY", "FAR", "GRID", "HOUR", "Running", "edge", "grids", "on_grid", "running", "tile"]

HOUR = 3_600_000_000
DAY = 24 * HOUR
GRID = ("monthly", "length", "phase", "day")
"""The columns of a grid: whether it is of months, else how long a tile is and where a tile begins (from 1970, or within a month's day),
and the day of the month on which months begin. `length` of a month is that of the longest. All null where a study has no usual length."""
FAR = 2**61
"""Later than every calendar's end, for what has no end."""
_LENGTHS = {kind.value: length // timedelta(microseconds=1) for kind, length in LONGEST.items()}


def grids(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the grid of each study, by majority: a row a study, with the columns in `GRID`, and `unit`, what a tile is called.

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
    """Return the number of the tile that a moment lies in, in a frame with the columns of `GRID`."""
    month = _month(at)
    fixed = (at - pl.col("phase")) // pl.col("length")
    return pl.when("monthly").then(month - (at < _month_edge(month)).cast(pl.Int64())).otherwise(fixed)


def edge(number: pl.Expr) -> pl.Expr:
    """Return the moment at which a tile begins, in a frame with the columns of `GRID`."""
    return pl.when("monthly").then(_month_edge(number)).otherwise(number * pl.col("length") + pl.col("phase"))


def on_grid(rows: pl.DataFrame, grid: pl.DataFrame) -> pl.DataFrame:
    """Return periods their grid: begun, where the tile begins that they start in, and regular, whether they are as long as they should be.

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


@dataclass(frozen=True)
class Running:
    """The running time of studies.

    Attributes
    ----------
    known
        A row a study with a lifecycle: study_id, began (`FAR` when it never did) and ended (`FAR` when it has not).
    pauses
        study_id, start, end (`FAR` when it is paused still); in order, none overlapping.
    """

    known: pl.DataFrame
    pauses: pl.DataFrame

    def idle(self) -> pl.DataFrame:
        """Return the time in which studies did not run: study_id, start, end."""
        before = self.known.select("study_id", start=pl.lit(-FAR), end="began")
        after = self.known.filter(pl.col("ended") < FAR).select("study_id", start="ended", end=pl.lit(FAR))
        return pl.concat([before, self.pauses, after])

    def paused(self, periods: pl.DataFrame) -> pl.Series:
        """Return how much of each period, study_id with start and end, lies in pauses: microseconds."""
        length = pl.col("end") - pl.col("start")
        sums = self.pauses.sort("study_id", "start").with_columns(before=length.cum_sum().over("study_id") - length)
        sums = sums.sort("start").rename({"start": "from", "end": "to"})
        until = {name: _paused_until(periods, name, sums) for name in ("start", "end")}
        return until["end"] - until["start"]


def _paused_until(periods: pl.DataFrame, name: str, sums: pl.DataFrame) -> pl.Series:
    asked = periods.select("study_id", at=name).with_row_index("place").sort("at")
    found = asked.join_asof(sums, left_on="at", right_on="from", by="study_id", strategy="backward", check_sortedness=False)
    paused = pl.col("before") + pl.min_horizontal("at", "to") - pl.col("from")
    return found.sort("place").select(paused.fill_null(0)).to_series()


def running(lifecycle: pl.DataFrame) -> Running:
    """Read the running time from lifecycles.

    Parameters
    ----------
    lifecycle
        study_id, seq, status (after the event), at. A time that runs backwards counts as that of the event before it.
    """
    steps = lifecycle.sort("study_id", "seq", maintain_order=True).with_columns(pl.col("at").cum_max().over("study_id"))
    steps = steps.with_columns(until=pl.col("at").shift(-1).over("study_id").fill_null(FAR))
    ran, stopped = pl.col("status").is_in(["running", "paused"]), pl.col("status") == "stopped"
    known = steps.group_by("study_id").agg(
        began=pl.col("at").filter(ran).min().fill_null(FAR), ended=pl.col("at").filter(stopped).min().fill_null(FAR)
    )
    pauses = steps.filter((pl.col("status") == "paused") & (pl.col("until") > pl.col("at"))).select("study_id", start="at", end="until")
    return Running(known, pauses)
