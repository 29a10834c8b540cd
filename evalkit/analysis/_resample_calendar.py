"""The calendar that checkpoints are rolled up to, in UTC: days, weeks that begin on Monday, months."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from evalkit.domain.study import PeriodType
from evalkit.domain.validation import invalid, nearest

__all__ = ["BEGINNINGS", "check_longer", "check_reach", "covered", "placed"]

BEGINNINGS = {
    "daily": "days begin at 00:00 UTC",
    "weekly": "weeks begin on Monday, 00:00 UTC",
    "monthly": "months begin on the 1st, 00:00 UTC",
}
"""The period types that checkpoints can be rolled up to, and where each begins."""
_EVERY = {"daily": "1d", "weekly": "1w", "monthly": "1mo"}
_LONGEST = {"daily": timedelta(days=1), "weekly": timedelta(days=7), "monthly": timedelta(days=31)}
_MOST_NAMED = 3


def check_longer(to: object) -> str:
    """Check that something is a period type that can be rolled up to."""
    if not isinstance(to, str) or to not in BEGINNINGS:
        raise invalid("to", to, f"is no period to roll up to.{nearest(to, BEGINNINGS)} Give one of {', '.join(map(repr, BEGINNINGS))}.")
    return str(to)


def check_reach(rows: pl.DataFrame, to: str) -> None:
    """Refuse studies whose periods are longer than those asked for: what was measured over a month cannot be split into weeks.

    Where a study's period type is not in the frame, the middle one of its lengths decides.

    Parameters
    ----------
    rows
        Checkpoints with `study_id`, `study`, `period_type`, `start` and `end`.
    to
        A key of `BEGINNINGS`.
    """
    order = [kind.value for kind in PeriodType]
    ranks = {kind: rank for rank, kind in enumerate(order)}
    length = (pl.col("end") - pl.col("start")).median()
    by_length = sum((length > longest).cast(pl.Int8()) for longest in _LONGEST.values()) + 1
    by_kind = pl.col("period_type").drop_nulls().replace_strict(ranks, default=None, return_dtype=pl.Int8()).max()
    name = pl.coalesce(pl.col("study").drop_nulls().last(), pl.col("study_id").first())
    studies = rows.group_by("study_id", maintain_order=True).agg(name=name, rank=pl.coalesce(by_kind, by_length))
    studies = studies.filter(pl.col("rank") > order.index(to))
    if studies.is_empty():
        return
    names, needed = studies["name"].to_list(), max(studies["rank"].to_list())
    shown = ", ".join(map(repr, names[:_MOST_NAMED])) + (f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else "")
    instead = f"Give {order[needed]!r}, or leave" if needed < len(order) else "Leave"
    raise invalid(
        "to", to, f"is shorter than the periods of {shown}; what was measured over a longer period cannot be split. "
        f"{instead} these studies out of the frame.",
    )  # fmt: skip


def placed(rows: pl.DataFrame, to: str) -> pl.DataFrame:
    """Give each checkpoint the period of the calendar that its middle lies in: `begin`, `finish`, and whether it `straddles` one.

    Parameters
    ----------
    rows
        Checkpoints with `t` (the middle), `start` and `end`.
    to
        A key of `BEGINNINGS`.
    """
    begin = pl.col("t").dt.truncate(_EVERY[to])
    placed = rows.with_columns(begin=begin, finish=begin.dt.offset_by(_EVERY[to]))
    return placed.with_columns(straddles=(pl.col("start") < pl.col("begin")) | (pl.col("end") > pl.col("finish")))


def covered(rows: pl.DataFrame) -> pl.DataFrame:
    """Give how much of each calendar period its checkpoints cover: `group`, `covered` (0 to 1), and whether any `overlaps` another.

    Time that two checkpoints cover counts once. Of a checkpoint that is itself a roll-up counts the share that it covers.

    Parameters
    ----------
    rows
        Checkpoints with `group` (of a period), `start`, `end`, `begin`, `finish` and `covered` (their own share, missing for all of it).
    """
    from_, until = pl.max_horizontal("start", "begin"), pl.min_horizontal("end", "finish")
    seen = until.cum_max().shift(1).over("group")
    new = (until - pl.max_horizontal(from_, seen)).dt.total_microseconds().clip(0)
    # Shares of whole microseconds are whole again: so two roll-ups cover exactly what one does.
    part = (new * pl.col("covered").fill_null(1.0).clip(0, 1)).round().cast(pl.Int64())
    length = (pl.col("finish") - pl.col("begin")).dt.total_microseconds().first()
    ordered = rows.select("group", "start", "end", "begin", "finish", "covered").sort("group", "start", maintain_order=True)
    grouped = ordered.with_columns(part=part, overlaps=seen > from_).group_by("group", maintain_order=True)
    return grouped.agg(pl.col("overlaps").any(), covered=pl.col("part").sum() / length)
