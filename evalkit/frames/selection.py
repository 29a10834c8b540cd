"""Selection of checkpoints from a frame: by time, and without excluded ones."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import polars as pl

from evalkit.domain.ids import StudyId, keyed_checkpoint_id
from evalkit.domain.refusals import invalid
from evalkit.domain.study import Checkpoint
from evalkit.domain.study_references import CheckpointRef, resolve_study
from evalkit.domain.time_input import check_time
from evalkit.domain.validation import check_text

__all__ = ["select"]

_SELECTED_BY = {"timestamp": "timestamp", "period": "period_start"}


def select(frame: pl.DataFrame, start: datetime | None, end: datetime | None, by: str, exclude: Iterable[CheckpointRef]) -> pl.DataFrame:
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


def _checkpoint_id(frame: pl.DataFrame, reference: object) -> str:
    if isinstance(reference, Checkpoint):
        return reference.id
    if isinstance(reference, tuple) and len(reference) == 2:
        study_id = resolve_study(reference[0], frame.select("study_id", "study").unique(maintain_order=True).rows(), field="exclude")
        checkpoint_id = keyed_checkpoint_id(StudyId(study_id), check_text("key", reference[1], low=1, high=500))
        if checkpoint_id not in frame["checkpoint_id"]:
            raise invalid("exclude", reference, "matches none of the selected checkpoints")
        return checkpoint_id
    if not isinstance(reference, str) or len(reference) < 4:
        raise invalid("exclude", reference, "expected a Checkpoint, an id, the last 4 or more characters of an id, or (study, key)")
    ids = frame["checkpoint_id"]
    matches = ids.filter(ids.str.ends_with(reference.lower())).unique().to_list()
    if len(matches) != 1:
        problem = f"matches {len(matches)} checkpoints: {', '.join(matches[:5])}" if matches else "matches none of the selected checkpoints"
        hint = f"To exclude a column, use frame.drop({reference!r})." if reference in frame.columns else ""
        raise invalid("exclude", reference, problem, hint=hint)
    return str(matches[0])
