"""What is wrong with when checkpoints are: missing, overlapping, wrong in length, shifted, or at times when the study did not run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from evalkit._util.text import exact_duration, moment, plural, span
from evalkit.analysis._audit.finding_kinds import findings
from evalkit.analysis._audit.tiling import DAY, FAR, GRID, HOUR, Running, edge, on_grid, tile
from evalkit.domain.periods import is_gap

__all__ = ["period_findings", "place_span"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def place_span(place: dict[str, Any]) -> str:
    """Return the time of a place as text."""
    return span(_time(place["start"]), _time(place["end"]))


def period_findings(rows: pl.DataFrame, grid: pl.DataFrame, ran: Running | None) -> list[pl.DataFrame]:
    """Return the findings about periods.

    Parameters
    ----------
    rows
        row, study_id, start, end, partial: those that have both times, and end after they start.
    grid
        As `grids` gives it.
    ran
        When the studies ran; None where it is not known.
    """
    placed = on_grid(rows, grid).with_columns(count=pl.lit(1), rows=pl.concat_list("row"))
    wrong = placed.filter(pl.col("regular").not_())
    shifted = placed.filter("regular", pl.col("begun") != pl.col("start"))
    found = [
        findings("missing_period", _counted(missing(rows, grid, ran), rows), _missing, unit="unit", together=pl.col("sparse")),
        findings("overlapping_periods", overlapping(rows), lambda place: f"{plural(place['count'], 'checkpoint')} in {place_span(place)}"),
        findings("wrong_length", wrong, _wrong_length),
        findings("shifted_period", shifted, _shifted),
    ]
    return found if ran is None else [*found, *_outside(placed, ran), *_inside_pause(placed, ran)]


def _counted(missed: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Say which studies lack more periods than they have: those are measured now and then, and have no holes worth a finding each."""
    has = rows.group_by("study_id").agg(has=pl.len())
    return missed.join(has, on="study_id", how="left").with_columns(sparse=pl.col("count").sum().over("study_id") > pl.col("has"))


def missing(rows: pl.DataFrame, grid: pl.DataFrame, ran: Running | None) -> pl.DataFrame:
    """Return the stretches of tiles that lack a checkpoint: study_id, start, end, count, unit, rows (empty).

    A tile lacks one when the study ran, and no checkpoint covers it, for half of it or more, and the middle of no checkpoint lies in it.
    """
    based = grid.filter(pl.col("length").is_not_null())
    gaps = _uncovered(rows.join(based.select("study_id"), on="study_id"), ran).join(based, on="study_id")
    first, last = tile(pl.col("start")), tile(pl.col("end") - 1)
    gaps = gaps.with_columns(first=first, last=last)
    alone = pl.col("first") == pl.col("last")
    parts = pl.concat([
        gaps.select("study_id", *GRID, tile="first", bare=pl.min_horizontal("end", edge(pl.col("first") + 1)) - pl.col("start")),
        gaps.filter(alone.not_()).select("study_id", *GRID, tile="last", bare=pl.col("end") - edge(pl.col("last"))),
    ]).group_by("study_id", "tile", *GRID).agg(pl.col("bare").sum())  # fmt: skip
    half = is_gap(pl.col("bare"), edge(pl.col("tile") + 1) - edge(pl.col("tile")))
    middle = pl.col("start") + (pl.col("end") - pl.col("start")) // 2
    stood_for = rows.join(based, on="study_id").select("study_id", tile=tile(middle)).unique()
    lone = parts.filter(half).join(stood_for, on=["study_id", "tile"], how="anti").select("study_id", first="tile", last="tile")
    whole = gaps.filter(pl.col("last") - pl.col("first") > 1).select("study_id", first=pl.col("first") + 1, last=pl.col("last") - 1)
    return _stretches(pl.concat([lone, whole]), based, gaps)


def _stretches(tiles: pl.DataFrame, grid: pl.DataFrame, gaps: pl.DataFrame) -> pl.DataFrame:
    """Join tiles that follow each other, and cut them to the time that is looked at, beyond which a calendar may end."""
    tiles = tiles.sort("study_id", "first")
    begins = (pl.col("first") != pl.col("last").shift(1).over("study_id") + 1).fill_null(True)
    joined = tiles.with_columns(run=begins.cum_sum()).group_by("run", maintain_order=True).agg(
        pl.col("study_id").first(), pl.col("first").min(), pl.col("last").max()
    )  # fmt: skip
    looked_at = gaps.group_by("study_id").agg(since=pl.col("since").first(), until=pl.col("until").first())
    return joined.join(grid, on="study_id", how="left").join(looked_at, on="study_id", how="left").select(
        "study_id", "unit", "length", start=pl.max_horizontal(edge(pl.col("first")), "since"),
        end=pl.min_horizontal(edge(pl.col("last") + 1), "until"), count=pl.col("last") - pl.col("first") + 1,
        rows=pl.lit([], dtype=pl.List(pl.Int64())),
    )  # fmt: skip


def _uncovered(rows: pl.DataFrame, ran: Running | None) -> pl.DataFrame:
    """Return the time in which a study ran and no checkpoint covers it: study_id, start, end, and since and until when was looked.

    That is from the first period to the last, and, where it is known, from the study's start and to its stop.
    """
    looked_at = rows.group_by("study_id").agg(since=pl.col("start").min(), until=pl.col("end").max())
    covers = rows.select("study_id", "start", "end")
    if ran is not None:
        lasted = looked_at.join(ran.known, on="study_id", how="left").with_columns(never=pl.col("began") == FAR)
        ended = pl.when((pl.col("ended") < FAR) & pl.col("never").not_()).then("ended")
        looked_at = lasted.select(
            "study_id", since=pl.min_horizontal("since", "began"), until=pl.max_horizontal("until", ended)
        )  # fmt: skip
        covers = pl.concat([covers, ran.idle().join(looked_at.select("study_id"), on="study_id", how="semi")])
    ends = looked_at.select("study_id", start="until", end="until")
    limited = pl.concat([covers, ends]).join(looked_at, on="study_id").sort("study_id", "start", "end")
    covered = pl.max_horizontal(pl.col("end").cum_max().shift(1).over("study_id"), "since")
    bare = limited.with_columns(covered=covered, start=pl.min_horizontal("start", "until")).filter(pl.col("start") > pl.col("covered"))
    return bare.select("study_id", "since", "until", start="covered", end="start")


def overlapping(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the groups of checkpoints whose periods overlap: study_id, rows, count, and from when to when there is more than one."""
    ordered = rows.sort("study_id", "start", "end", "row").with_columns(
        covered=pl.col("end").cum_max().shift(1).over("study_id").fill_null(-FAR)
    )
    group = (pl.col("start") >= pl.col("covered")).cum_sum()
    both = pl.col("start") < pl.col("covered")
    return ordered.with_columns(group=group, both=both).group_by("group", maintain_order=True).agg(
        pl.col("study_id").first(), rows="row", count=pl.len(), start=pl.col("start").filter("both").min(),
        end=pl.min_horizontal("end", "covered").filter(pl.col("both")).max(),
    ).filter(pl.col("count") > 1)  # fmt: skip


def _outside(placed: pl.DataFrame, ran: Running) -> list[pl.DataFrame]:
    start, end = pl.col("start"), pl.col("end")
    lasted = placed.join(ran.known, on="study_id").with_columns(
        early=(pl.min_horizontal(end, "began") - start).clip(lower_bound=0),
        late=(end - pl.max_horizontal(start, "ended")).clip(lower_bound=0),
    )
    mostly, partly = _idle(lasted, pl.col("early") + pl.col("late"))
    return [findings("outside_running", mostly, _describe_outside), findings("partly_outside", partly, _describe_outside)]


def _inside_pause(placed: pl.DataFrame, ran: Running) -> list[pl.DataFrame]:
    if ran.pauses.is_empty():
        return []
    mostly, partly = _idle(placed.with_columns(paused=ran.paused(placed)), pl.col("paused"))
    return [findings("inside_pause", mostly, _describe_paused), findings("partly_paused", partly, _describe_paused)]


def _idle(placed: pl.DataFrame, idle: pl.Expr) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the periods in more than half of which a study did not run, and those in which it did not for a part.

    Whoever starts, pauses or stops a study does so in the middle of a period more often than not: that is no fault, but worth knowing.
    Of a period that `resample` made and checkpoints cover only in part it is no fault either, however large the part.
    """
    mostly = (2 * idle > pl.col("end") - pl.col("start")) & ~pl.col("partial")
    return placed.filter(mostly), placed.filter(idle > 0, ~mostly)


def _missing(place: dict[str, Any]) -> str:
    of = f" of {_length(place['length'])}" if place["unit"] == "period" else ""
    return f"{plural(place['count'], place['unit'])}{of}, {place_span(place)}"


def _wrong_length(place: dict[str, Any]) -> str:
    right = "a calendar month" if place["monthly"] else _length(place["length"])
    length = place["end"] - place["start"]
    off = abs(length - place["length"]) if not place["monthly"] else 0
    summer = " (a change of the clocks? Give UTC)" if off == HOUR and place["length"] >= DAY else ""
    return f"{place_span(place)} lasts {_length(length)}, not {right}{summer}"


def _shifted(place: dict[str, Any]) -> str:
    into = place["start"] - place["begun"]
    off = f"{_length(into)} after" if 2 * into <= place["length"] else f"{_length(place['length'] - into)} before"
    return f"{place_span(place)} begins {off} the study's {place['unit']}s do"


def _describe_outside(place: dict[str, Any]) -> str:
    if place["began"] == FAR:
        return f"{place_span(place)}, and the study was never started"
    parts = [f"{_share(place, 'early')} before the study's start, {moment(_time(place['began']))} UTC"] if place["early"] else []
    if place["late"]:
        parts.append(f"{_share(place, 'late')} after its stop, {moment(_time(place['ended']))} UTC")
    return f"{place_span(place)}, {' and '.join(parts)}"


def _describe_paused(place: dict[str, Any]) -> str:
    return f"{place_span(place)}, {_share(place, 'paused')}"


def _share(place: dict[str, Any], name: str) -> str:
    return "wholly" if place[name] == place["end"] - place["start"] else f"{_length(place[name])} of it"


def _length(microseconds: int) -> str:
    return exact_duration(timedelta(microseconds=microseconds))


def _time(at: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at)
