"""The running time of studies, and the grid of periods that tiles it.

A grid is the sequence of a study's periods: hours, days, weeks, calendar months, or any other fixed length.

All times are microseconds since 1970 in UTC. Months start on the same day and time of day, or on the last day of shorter months:
31 January is followed by 28 February and 31 March.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from evalkit.domain.periods import LONGEST

__all__ = ["DAY", "FAR", "GRID", "HOUR", "RunningTime", "edge", "grids", "on_grid", "running_time", "tile"]

HOUR = 3_600_000_000
DAY = 24 * HOUR
GRID = ("monthly", "length", "phase", "day")
"""The columns of a grid: whether its tiles are months, the length of a tile (the longest month), its offset (from 1970, or within the day
for months), and the day on which months start. All are null if the study has no usual length."""
FAR = 2**61
"""The time of an event that has not happened, later than every representable date."""
_LENGTHS = {kind.value: length // timedelta(microseconds=1) for kind, length in LONGEST.items()}


def grids(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the most common grid of each study.

    The result has one row per study with the columns of `GRID`, and `unit`, the name of a tile.

    Parameters
    ----------
    rows
        Columns study_id, period_type, start, end. Without a period type, the length of at least half of the periods is used.
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
    typed = usual.join(kinds, on="study_id").with_columns(
        kind=pl.col("kind").fill_null(
            pl.when((pl.col("months") >= pl.col("of")) & (2 * pl.col("months") >= pl.col("n"))).then(pl.lit("monthly"))
        )
    )
    common = 2 * pl.col("of") >= pl.col("n")
    lengths = typed.select(
        "study_id", monthly=(pl.col("kind") == "monthly").fill_null(False),
        length=pl.coalesce(pl.col("kind").replace_strict(_LENGTHS, default=None, return_dtype=pl.Int64()), pl.when(common).then("usual")),
    )  # fmt: skip
    of_length = pl.col("length").replace_strict({HOUR: "hour", DAY: "day", 7 * DAY: "week"}, default="period", return_dtype=pl.String())
    return _phased(rows, lengths).with_columns(unit=pl.when("monthly").then(pl.lit("month")).otherwise(of_length))


def _phased(rows: pl.DataFrame, lengths: pl.DataFrame) -> pl.DataFrame:
    """Add the phase of the tiles: the most common offset of period starts and ends."""
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
    candidates = days.select("study_id", candidate="day").unique()
    day = (
        days.join(candidates, on="study_id")
        .filter(pl.col("day") == pl.min_horizontal("candidate", "last"))
        .group_by("study_id", day="candidate")
        .agg(pl.col("n").sum())
        .sort("n", "day", descending=True)
        .unique("study_id", keep="first")
        .select("study_id", pl.col("day").cast(pl.Int64()))
    )
    return lengths.join(phase, on="study_id", how="left").join(day, on="study_id", how="left")


def tile(at: pl.Expr) -> pl.Expr:
    """Return the number of the tile that contains a time; needs the columns of `GRID`."""
    month = _month(at)
    fixed = (at - pl.col("phase")) // pl.col("length")
    return pl.when("monthly").then(month - (at < _month_edge(month)).cast(pl.Int64())).otherwise(fixed)


def edge(number: pl.Expr) -> pl.Expr:
    """Return the start of a tile; needs the columns of `GRID`."""
    return pl.when("monthly").then(_month_edge(number)).otherwise(number * pl.col("length") + pl.col("phase"))


def on_grid(rows: pl.DataFrame, grid: pl.DataFrame) -> pl.DataFrame:
    """Add the columns tile_start, regular and aligned to periods.

    `tile_start` is the start of the tile that contains the start of the period. `regular` is true if the length is as expected: a period
    that starts on the grid must end on it, and any other period must have the usual length. At a clock change of a local calendar, a
    period may be an hour longer or shorter. `aligned` is true if the period starts on the grid, or an hour off it in a study with clock
    changes. All are null if the study has no grid.
    """
    # In steps: a single expression would repeat the search for a tile many times.
    placed = rows.join(grid, on="study_id", how="left").with_columns(number=tile(pl.col("start")))
    placed = placed.with_columns(
        tile_start=edge(pl.col("number")), next_start=edge(pl.col("number") + 1), is_month=_is_month("start", "end")
    )
    month = pl.when(pl.col("tile_start") == pl.col("start")).then(pl.col("next_start") == pl.col("end")).otherwise("is_month")
    fixed = pl.col("end") - pl.col("start") == pl.col("length")
    placed = placed.with_columns(regular=pl.when("monthly").then(month).otherwise(fixed))
    placed = placed.with_columns(clock_change=_at_clock_change(placed)).with_columns(
        regular=pl.col("regular") | pl.col("clock_change"), local=pl.col("clock_change").any().over("study_id")
    )
    # In UTC, local midnights in summer and in winter differ by an hour.
    off = pl.col("start") - pl.col("tile_start")
    in_place = (off == 0) | (pl.col("local").fill_null(False) & ((off == HOUR) | (pl.col("next_start") - pl.col("start") == HOUR)))
    return placed.with_columns(aligned=in_place).drop("number", "next_start", "is_month", "clock_change", "local")


def _at_clock_change(placed: pl.DataFrame) -> pl.Series:
    """Return whether a period is at a clock change of a local calendar.

    Such a period is a day or more, is an hour longer or shorter than usual, and has no gap to the adjacent periods and no overlap with
    them. An erroneous period would overlap the next period, or leave a gap.
    """
    hour_off = pl.when("monthly").then(_is_month("start", "later") | _is_month("start", "earlier")).otherwise(
        (pl.col("length") >= DAY) & ((pl.col("end") - pl.col("start") - pl.col("length")).abs() == HOUR)
    )  # fmt: skip
    ordered = placed.select("study_id", "start", "end", "monthly", "length", later=pl.col("end") + HOUR, earlier=pl.col("end") - HOUR)
    ordered = ordered.with_row_index("place").sort("study_id", "start", "end")
    before, after = pl.col("end").shift(1).over("study_id"), pl.col("start").shift(-1).over("study_id")
    adjacent = (before == pl.col("start")).fill_null(True) & (after == pl.col("end")).fill_null(True) & (pl.len().over("study_id") > 1)
    return ordered.with_columns(clock_change=(hour_off & adjacent).fill_null(False)).sort("place")["clock_change"]


def _is_month(start: str, end: str) -> pl.Expr:
    """Return whether a period is a calendar month, starting on any day of the month.

    The last day of a month may represent any later day: 30 April to 31 May is a month.
    """
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
    # Only for monthly grids: the tile numbers of other grids are not valid months.
    number = pl.when("monthly").then(month)
    first = pl.datetime(number // 12, number % 12 + 1, 1)
    last = first.dt.month_end().dt.day().cast(pl.Int64())
    return first.dt.epoch("us") + (pl.min_horizontal("day", last) - 1) * DAY + pl.col("phase")


@dataclass(frozen=True)
class RunningTime:
    """The running time of studies.

    Attributes
    ----------
    bounds
        One row per study with a lifecycle: study_id, began (`FAR` if it never started) and ended (`FAR` if it has not ended).
    pauses
        Columns study_id, start, end (`FAR` if it is still paused); sorted, not overlapping.
    """

    bounds: pl.DataFrame
    pauses: pl.DataFrame

    def idle(self) -> pl.DataFrame:
        """Return the times in which studies were not running: study_id, start, end."""
        before = self.bounds.select("study_id", start=pl.lit(-FAR), end="began")
        after = self.bounds.filter(pl.col("ended") < FAR).select("study_id", start="ended", end=pl.lit(FAR))
        return pl.concat([before, self.pauses, after])

    def paused(self, periods: pl.DataFrame) -> pl.Series:
        """Return the paused time of a study within each period, in microseconds.

        The periods have the columns study_id, start and end.
        """
        length = pl.col("end") - pl.col("start")
        sums = self.pauses.sort("study_id", "start").with_columns(before=length.cum_sum().over("study_id") - length)
        sums = sums.sort("start").rename({"start": "from", "end": "to"})
        until = {name: _paused_until(periods, name, sums) for name in ("start", "end")}
        return until["end"] - until["start"]


def _paused_until(periods: pl.DataFrame, name: str, sums: pl.DataFrame) -> pl.Series:
    times = periods.select("study_id", at=name).with_row_index("place").sort("at")
    joined = times.join_asof(sums, left_on="at", right_on="from", by="study_id", strategy="backward", check_sortedness=False)
    paused = pl.col("before") + pl.min_horizontal("at", "to") - pl.col("from")
    return joined.sort("place").select(paused.fill_null(0)).to_series()


def running_time(lifecycle: pl.DataFrame) -> RunningTime:
    """Return the running time of studies from their lifecycles.

    Parameters
    ----------
    lifecycle
        Columns study_id, seq, status (after the event), at. An event earlier than its predecessor counts as simultaneous with it.
    """
    steps = lifecycle.sort("study_id", "seq", maintain_order=True).with_columns(pl.col("at").cum_max().over("study_id"))
    steps = steps.with_columns(until=pl.col("at").shift(-1).over("study_id").fill_null(FAR))
    ran, stopped = pl.col("status").is_in(["running", "paused"]), pl.col("status") == "stopped"
    bounds = steps.group_by("study_id").agg(
        began=pl.col("at").filter(ran).min().fill_null(FAR), ended=pl.col("at").filter(stopped).min().fill_null(FAR)
    )
    pauses = steps.filter((pl.col("status") == "paused") & (pl.col("until") > pl.col("at"))).select("study_id", start="at", end="until")
    return RunningTime(bounds, pauses)
