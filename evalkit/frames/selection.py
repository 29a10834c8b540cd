"""Selection of checkpoints from a frame: by time, and without excluded ones."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import polars as pl

from evalkit.domain.refusals import invalid
from evalkit.domain.study import Checkpoint
from evalkit.domain.time_input import check_time

__all__ = ["select"]

_SELECTED_BY = {"timestamp": "timestamp", "period": "period_start"}


def select(frame: pl.DataFrame, start: datetime | None, end: datetime | None, by: str, exclude: Iterable[Checkpoint | str]) -> pl.DataFrame:
    """Return the checkpoints in ``[start, end)`` that are not excluded.

    Raises
    ------
    InvalidInputError
        If a time has no time zone, `by` is unknown, or a reference in `exclude` does not match exactly one checkpoint.
    """
    if by not in _SELECTED_BY:
        raise invalid("by", by, "expected 'timestamp' or 'period'")
    excluded = [_checkpoint_id(frame, reference) for reference in ([exclude] if isinstance(exclude, str | Checkpoint) else exclude)]
    if start is not None and end is not None and check_time("end", end) < check_time("start", start):
        raise invalid("end", end, f"must not be before start ({check_time('start', start).isoformat()})")
    if start is not None:
        frame = frame.filter(pl.col(_SELECTED_BY[by]) >= check_time("start", start))
    if end is not None:
        frame = frame.filter(pl.col(_SELECTED_BY[by]) < check_time("end", end))
    return frame.filter(~pl.col("checkpoint_id").is_in(excluded)) if excluded else frame


def _checkpoint_id(frame: pl.DataFrame, reference: Checkpoint | str) -> str:
    if isinstance(reference, Checkpoint):
        return reference.id
    if not isinstance(reference, str) or len(reference) < 4:
        raise invalid("exclude", reference, "expected a Checkpoint, an id, or the last 4 or more characters of an id")
    ids = frame["checkpoint_id"]
    matches = ids.filter(ids.str.ends_with(reference.lower())).unique().to_list()
    if len(matches) != 1:
        problem = f"matches {len(matches)} checkpoints: {', '.join(matches[:5])}" if matches else "matches none of the selected checkpoints"
        hint = f"To exclude a column, use frame.drop({reference!r})." if reference in frame.columns else ""
        raise invalid("exclude", reference, problem, hint=hint)
    return str(matches[0])
