"""What is wrong with how checkpoints were kept: recorded late, a session counted twice, sessions that do not match their count."""

from __future__ import annotations

from typing import Any

import polars as pl

from evalkit.analysis._audit.coverage import told_span
from evalkit.analysis._audit.finding_kinds import findings
from evalkit.analysis._audit.tiling import DAY
from evalkit.domain.metrics import METRICS
from evalkit.plots._words import plural

__all__ = ["record_findings"]

_OF_SESSIONS = [name for name, metric in METRICS.items() if "sessions_completed" in (name, metric.denominator)]


def record_findings(rows: pl.DataFrame, grid: pl.DataFrame) -> list[pl.DataFrame]:
    """Give the findings about when checkpoints were recorded, and from which sessions.

    Parameters
    ----------
    rows
        row, study_id, start, end, recorded_at, sessions_included, sessions_completed.
    grid
        As `grids` gives it.
    """
    found = [findings("recorded_late", _late(rows, grid), _told_late)]
    named = rows.filter(pl.col("sessions_included").list.len() > 0)
    if named.is_empty():
        return found
    shared = findings("shared_sessions", _shared(named), _told_shared)
    counted = named.with_columns(
        named=pl.col("sessions_included").list.n_unique().cast(pl.Int64()), rows=pl.concat_list("row"), count=pl.lit(1)
    ).filter(pl.col("named") != pl.col("sessions_completed"))
    return [*found, shared, findings("session_count", counted, _told_count, metrics=_OF_SESSIONS)]


def _late(rows: pl.DataFrame, grid: pl.DataFrame) -> pl.DataFrame:
    """Give the checkpoints recorded more than a period, and more than a day, after their end: all of a study are one place."""
    since = pl.col("recorded_at") - pl.col("end")
    lengths = grid.select("study_id", patience=pl.max_horizontal(pl.col("length").fill_null(DAY), DAY))
    late = rows.with_columns(since=since, of=pl.len().over("study_id")).join(lengths, on="study_id", how="left").filter(
        pl.col("since") > pl.col("patience").fill_null(DAY)
    )  # fmt: skip
    return late.group_by("study_id").agg(
        pl.col("start").min(), pl.col("end").max(), pl.col("of").first(), rows="row", count=pl.len(), least=pl.col("since").min(),
        most=pl.col("since").max(),
    )  # fmt: skip


def _told_late(place: dict[str, Any]) -> str:
    least, most = (place[name] // DAY for name in ("least", "most"))
    days = plural(most, "day") if least == most else f"{least:,} to {plural(most, 'day')}"
    return f"{place['count']:,} of {plural(place['of'], 'checkpoint')}, {days} after their periods ended"


def _shared(named: pl.DataFrame) -> pl.DataFrame:
    """Give the groups of checkpoints of one study that name the same sessions."""
    mentions = (
        named.select("study_id", "row", session="sessions_included")
        .explode("session", keep_nulls=False, empty_as_null=False)
        .drop_nulls("session")
    )
    several = pl.struct("study_id", "session").hash()
    if mentions.select(several.n_unique()).item() == mentions.height:
        return pl.DataFrame(schema={"study_id": pl.String()})
    twice = mentions.filter(several.is_duplicated()).unique(maintain_order=True)
    groups = (
        twice.group_by("study_id", "session", maintain_order=True)
        .agg(rows=pl.col("row").sort())
        .filter(pl.col("rows").list.len() > 1)
        .with_columns(key=pl.col("rows").cast(pl.List(pl.String())).list.join(" "))
        .group_by("study_id", "key", maintain_order=True)
        .agg(pl.col("rows").first(), session=pl.col("session").first(), sessions=pl.len())
        .with_columns(count=pl.col("rows").list.len(), place=pl.int_range(pl.len()))
    )
    times = groups.select("place", row="rows").explode("row").join(named.select("row", "start", "end"), on="row").group_by("place").agg(
        pl.col("start").min(), pl.col("end").max()
    )  # fmt: skip
    return groups.join(times, on="place")


def _told_shared(place: dict[str, Any]) -> str:
    others = "" if place["sessions"] == 1 else f" and {plural(place['sessions'] - 1, 'other')}"
    return f"{place['session']!r}{others} in {plural(place['count'], 'checkpoint')} from {told_span(place)}"


def _told_count(place: dict[str, Any]) -> str:
    return f"{told_span(place)}: sessions_completed is {place['sessions_completed']:,.0f}, {plural(place['named'], 'session')} named"
