"""Findings about periods: their absence, overlap, length, alignment, and running time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from evalkit._util.text import exact_duration, moment, plural, span
from evalkit.analysis._audit.finding_kinds import findings
from evalkit.analysis._audit.tiling import DAY, FAR, GRID, HOUR, RunningTime, edge, on_grid, tile
from evalkit.domain.periods import is_gap

__all__ = ["missing_findings", "outside_findings", "period_findings", "place_span"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def place_span(place: dict[str, Any]) -> str:
    """Return the start and end of a place as text, or a single time."""
    start, end = _time(place["start"]), _time(place["end"])
    return f"{moment(start)} UTC" if moment(start) == moment(end) else span(start, end)


def period_findings(rows: pl.DataFrame, grid: pl.DataFrame, running: RunningTime | None) -> list[pl.DataFrame]:
    """Return the findings about periods.

    Parameters
    ----------
    rows
        Columns row, study_id, start, end, partial; only periods with a start and a later end.
    grid
        Output of `grids`.
    running
        The running time of the studies; None if unknown.
    """
    placed = on_grid(rows, grid).with_columns(count=pl.lit(1), rows=pl.concat_list("row"))
    wrong = placed.filter(pl.col("regular").not_())
    shifted = placed.filter("regular", pl.col("aligned").not_())
    tables = [
        missing_findings(rows, grid, running),
        findings(
            "overlapping_periods", overlapping(rows), lambda place: f"{plural(place['count'], 'checkpoint')} from {place_span(place)}"
        ),
        findings("wrong_length", wrong, _describe_length),
        findings("shifted_period", shifted, _describe_shift),
    ]
    return tables if running is None else [*tables, *outside_findings(placed, running)]


def missing_findings(
    rows: pl.DataFrame, grid: pl.DataFrame, running: RunningTime | None, *, from_first_to_last: bool = False
) -> pl.DataFrame:
    """Return the findings about missing periods.

    With `from_first_to_last`, periods before the first and after the last one of a study are not missing.
    """
    gaps = _mark_sparse(missing(rows, grid, running, from_first_to_last=from_first_to_last), rows)
    return findings("missing_period", gaps, _describe_missing, unit="unit", together=pl.col("sparse"))


def outside_findings(placed: pl.DataFrame, running: RunningTime, *, partly: bool = True) -> list[pl.DataFrame]:
    """Return the findings about periods outside the running time, or in a pause.

    Without `partly`, only those that are mostly outside.
    """
    tables = [_outside(placed, running), _inside_pause(placed, running)]
    return [table for mostly_and_partly in tables for table in mostly_and_partly[: 2 if partly else 1]]


def _mark_sparse(gaps: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Add a column `sparse`: whether a study has more missing than present periods.

    In a sparse study, one finding per gap would be noise.
    """
    present = rows.group_by("study_id").agg(present=pl.len())
    joined = gaps.join(present, on="study_id", how="left")
    return joined.with_columns(sparse=pl.col("count").sum().over("study_id") > pl.col("present"))


def missing(rows: pl.DataFrame, grid: pl.DataFrame, running: RunningTime | None, *, from_first_to_last: bool = False) -> pl.DataFrame:
    """Return runs of consecutive tiles without a checkpoint.

    A tile has no checkpoint if at least half of it is running time that no checkpoint covers, and no checkpoint has its midpoint in it.
    The columns are study_id, start, end, count, unit and rows (empty).
    """
    regular = grid.filter(pl.col("length").is_not_null())
    uncovered = _uncovered(rows.join(regular.select("study_id"), on="study_id"), running, from_first_to_last=from_first_to_last)
    gaps = uncovered.join(regular, on="study_id")
    first, last = tile(pl.col("start")), tile(pl.col("end") - 1)
    gaps = gaps.with_columns(first=first, last=last)
    in_single_tile = pl.col("first") == pl.col("last")
    parts = pl.concat([
        gaps.select("study_id", *GRID, tile="first", uncovered=pl.min_horizontal("end", edge(pl.col("first") + 1)) - pl.col("start")),
        gaps.filter(in_single_tile.not_()).select("study_id", *GRID, tile="last", uncovered=pl.col("end") - edge(pl.col("last"))),
    ]).group_by("study_id", "tile", *GRID).agg(pl.col("uncovered").sum())  # fmt: skip
    mostly = is_gap(pl.col("uncovered"), edge(pl.col("tile") + 1) - edge(pl.col("tile")))
    middle = pl.col("start") + (pl.col("end") - pl.col("start")) // 2
    represented = rows.join(regular, on="study_id").select("study_id", tile=tile(middle)).unique()
    single = parts.filter(mostly).join(represented, on=["study_id", "tile"], how="anti").select("study_id", first="tile", last="tile")
    complete = gaps.filter(pl.col("last") - pl.col("first") > 1).select("study_id", first=pl.col("first") + 1, last=pl.col("last") - 1)
    return _runs(pl.concat([single, complete]), regular, gaps)


def _runs(tiles: pl.DataFrame, grid: pl.DataFrame, gaps: pl.DataFrame) -> pl.DataFrame:
    """Join consecutive tiles, and clip them to the audited time.

    Dates beyond the audited time may not be representable.
    """
    tiles = tiles.sort("study_id", "first")
    begins = (pl.col("first") != pl.col("last").shift(1).over("study_id") + 1).fill_null(True)
    joined = tiles.with_columns(run=begins.cum_sum()).group_by("run", maintain_order=True).agg(
        pl.col("study_id").first(), pl.col("first").min(), pl.col("last").max()
    )  # fmt: skip
    audited = gaps.group_by("study_id").agg(since=pl.col("since").first(), until=pl.col("until").first())
    return joined.join(grid, on="study_id", how="left").join(audited, on="study_id", how="left").select(
        "study_id", "unit", "length", start=pl.max_horizontal(edge(pl.col("first")), "since"),
        end=pl.min_horizontal(edge(pl.col("last") + 1), "until"), count=pl.col("last") - pl.col("first") + 1,
        rows=pl.lit([], dtype=pl.List(pl.Int64())),
    )  # fmt: skip


def _uncovered(rows: pl.DataFrame, running: RunningTime | None, *, from_first_to_last: bool) -> pl.DataFrame:
    """Return the running time that no checkpoint covers.

    The columns are study_id, start, end, and the audited time, since and until. The audited time is from the first period to the last,
    extended to the study's start and stop if these are known, unless `from_first_to_last`.
    """
    audited = rows.group_by("study_id").agg(since=pl.col("start").min(), until=pl.col("end").max())
    covers = rows.select("study_id", "start", "end")
    if running is not None:
        bounds = audited.join(running.bounds, on="study_id", how="left").with_columns(never=pl.col("began") == FAR)
        ended = pl.when((pl.col("ended") < FAR) & pl.col("never").not_()).then("ended")
        if not from_first_to_last:
            audited = bounds.select("study_id", since=pl.min_horizontal("since", "began"), until=pl.max_horizontal("until", ended))
        covers = pl.concat([covers, running.idle().join(audited.select("study_id"), on="study_id", how="semi")])
    ends = audited.select("study_id", start="until", end="until")
    limited = pl.concat([covers, ends]).join(audited, on="study_id").sort("study_id", "start", "end")
    covered = pl.max_horizontal(pl.col("end").cum_max().shift(1).over("study_id"), "since")
    gaps = limited.with_columns(covered=covered, start=pl.min_horizontal("start", "until")).filter(pl.col("start") > pl.col("covered"))
    return gaps.select("study_id", "since", "until", start="covered", end="start")


def overlapping(rows: pl.DataFrame) -> pl.DataFrame:
    """Return groups of overlapping checkpoints.

    The columns are study_id, rows, count, and start and end of the overlap.
    """
    ordered = rows.sort("study_id", "start", "end", "row").with_columns(
        covered=pl.col("end").cum_max().shift(1).over("study_id").fill_null(-FAR)
    )
    group = (pl.col("start") >= pl.col("covered")).cum_sum()
    both = pl.col("start") < pl.col("covered")
    return ordered.with_columns(group=group, both=both).group_by("group", maintain_order=True).agg(
        pl.col("study_id").first(), rows="row", count=pl.len(), start=pl.col("start").filter("both").min(),
        end=pl.min_horizontal("end", "covered").filter(pl.col("both")).max(),
    ).filter(pl.col("count") > 1)  # fmt: skip


def _outside(placed: pl.DataFrame, running: RunningTime) -> list[pl.DataFrame]:
    start, end = pl.col("start"), pl.col("end")
    bounded = placed.join(running.bounds, on="study_id").with_columns(
        early=(pl.min_horizontal(end, "began") - start).clip(lower_bound=0),
        late=(end - pl.max_horizontal(start, "ended")).clip(lower_bound=0),
    )
    mostly, partly = _split_idle(bounded, pl.col("early") + pl.col("late"))
    return [findings("outside_running", mostly, _describe_outside), findings("partly_outside", partly, _describe_outside)]


def _inside_pause(placed: pl.DataFrame, running: RunningTime) -> list[pl.DataFrame]:
    if running.pauses.is_empty():
        return []
    mostly, partly = _split_idle(placed.with_columns(paused=running.paused(placed)), pl.col("paused"))
    return [findings("inside_pause", mostly, _describe_paused), findings("partly_paused", partly, _describe_paused)]


def _split_idle(placed: pl.DataFrame, idle: pl.Expr) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the periods that were idle for more than half, and those that were partly idle.

    Partly idle periods are expected, since studies are usually started, paused and stopped mid-period. Periods that `resample` marked as
    partial are always returned as partly idle.
    """
    mostly = (2 * idle > pl.col("end") - pl.col("start")) & ~pl.col("partial")
    return placed.filter(mostly), placed.filter(idle > 0, ~mostly)


def _describe_missing(place: dict[str, Any]) -> str:
    of = f" of {_length(place['length'])}" if place["unit"] == "period" else ""
    return f"{plural(place['count'], place['unit'])}{of}, {place_span(place)}"


def _describe_length(place: dict[str, Any]) -> str:
    expected = "a calendar month" if place["monthly"] else _length(place["length"])
    length = place["end"] - place["start"]
    off = abs(length - place["length"]) if not place["monthly"] else 0
    clock_change = " (daylight saving time? Record with tz=)" if off == HOUR and place["length"] >= DAY else ""
    return f"{place_span(place)} lasts {_length(length)}, not {expected}{clock_change}"


def _describe_shift(place: dict[str, Any]) -> str:
    into = place["start"] - place["tile_start"]
    off = f"{_length(into)} after" if 2 * into <= place["length"] else f"{_length(place['length'] - into)} before"
    return f"{place_span(place)} starts {off} the study's other {place['unit']}s"


def _describe_outside(place: dict[str, Any]) -> str:
    if place["began"] == FAR:
        return f"{place_span(place)}, but the study was never started"
    parts = [f"{_share(place, 'early')}before the start at {moment(_time(place['began']))} UTC"] if place["early"] else []
    if place["late"]:
        parts.append(f"{_share(place, 'late')}after the stop at {moment(_time(place['ended']))} UTC")
    return f"{place_span(place)}, {' and '.join(parts)}"


def _describe_paused(place: dict[str, Any]) -> str:
    return f"{place_span(place)}, {_share(place, 'paused').strip() or 'entirely'}"


def _share(place: dict[str, Any], name: str) -> str:
    return "" if place[name] == place["end"] - place["start"] else f"{_length(place[name])} of it "


def _length(microseconds: int) -> str:
    return exact_duration(timedelta(microseconds=microseconds))


def _time(at: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at)
