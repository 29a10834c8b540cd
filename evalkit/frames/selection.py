"""Choosing rows of a checkpoints frame: frame in, frame out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from evalkit.domain.study import Checkpoint
from evalkit.domain.validation import check_time, invalid

if TYPE_CHECKING:
    import polars as pl

__all__ = ["select"]

_COLUMNS = {"timestamp": "timestamp", "period": "period_start"}


def select(frame: pl.DataFrame, start: datetime | None, end: datetime | None, by: str, exclude: Iterable[Checkpoint | str]) -> pl.DataFrame:
    """Give the checkpoints in ``[start, end)`` that are not excluded.

    Raises
    ------
    InvalidInputError
        When a time has no time zone, `by` is unknown, or a reference in `exclude` names no checkpoint, or more than one.
    """
    import polars as pl

    if by not in _COLUMNS:
        raise invalid("by", by, "is neither 'timestamp' nor 'period'")
    excluded = [_checkpoint_id(frame, reference) for reference in ([exclude] if isinstance(exclude, str | Checkpoint) else exclude)]
    if start is not None:
        frame = frame.filter(pl.col(_COLUMNS[by]) >= check_time("start", start))
    if end is not None:
        frame = frame.filter(pl.col(_COLUMNS[by]) < check_time("end", end))
    return frame.filter(~pl.col("checkpoint_id").is_in(excluded)) if excluded else frame


def _checkpoint_id(frame: pl.DataFrame, reference: Checkpoint | str) -> str:
    if isinstance(reference, Checkpoint):
        return reference.id
    if not isinstance(reference, str) or len(reference) < 4:
        raise invalid("exclude", reference, "is no checkpoint", "give a Checkpoint, an id, or the last four or more characters of one")
    ids = frame["checkpoint_id"]
    found = ids.filter(ids.str.ends_with(reference.lower())).unique().to_list()
    if len(found) != 1:
        problem = "names no checkpoint among those asked for" if not found else f"names {len(found)} checkpoints: {', '.join(found[:5])}"
        hint = f"To leave out a column: frame.drop({reference!r})." if reference in frame.columns else ""
        raise invalid("exclude", reference, problem, hint=hint)
    return str(found[0])
