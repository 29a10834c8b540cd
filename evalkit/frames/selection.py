"""Selection of checkpoints from a frame: by time, and without excluded ones."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import polars as pl

from evalkit.domain.ids import StudyId, keyed_checkpoint_id
from evalkit.domain.refusals import invalid, unknown_name
from evalkit.domain.study import Checkpoint
from evalkit.domain.study_references import CheckpointRef, resolve_study
from evalkit.domain.time_input import check_time
from evalkit.domain.validation import check_text, check_texts

__all__ = ["columns_to_read", "only", "select"]

_KEY = ["study_id", "checkpoint_id"]
_SELECTED_BY = {"timestamp": "timestamp", "period": "period_start"}


def columns_to_read(columns: object, by: str) -> tuple[list[str], tuple[str, ...]]:
    """Return the columns that a user wants, once each, and those and what `select` needs.

    Raises
    ------
    InvalidInputError
        If it is not a list of strings, or empty.
    """
    names = check_texts("columns", columns)
    if not names:
        raise invalid("columns", columns, "empty", "expected names of columns, e.g. ['period_start', 'session_success_rate']")
    wanted = list(dict.fromkeys(names))
    return wanted, (*wanted, *_KEY, "study", _SELECTED_BY.get(by, "timestamp"))


def only(frame: Any, wanted: list[str]) -> Any:
    """Return the wanted columns of a Polars or pandas frame.

    Raises
    ------
    InvalidInputError
        If a column is unknown.
    """
    for name in wanted:
        if name not in frame.columns:
            raise unknown_name("column", name, list(frame.columns), field="columns")
    return frame[wanted]


def select(frame: pl.DataFrame, start: datetime | None, end: datetime | None, by: str, exclude: Iterable[CheckpointRef]) -> pl.DataFrame:
    """Return the checkpoints in ``[start, end)`` that are not excluded.

    Raises
    ------
    InvalidInputError
        If a time has no time zone, `by` is unknown, or a reference in `exclude` does not match exactly one checkpoint.
    """
    if by not in _SELECTED_BY:
        raise invalid("by", by, "expected 'timestamp' or 'period'")
    excluded = [_key(frame, reference) for reference in ([exclude] if isinstance(exclude, str | Checkpoint) else exclude)]
    if start is not None and end is not None and check_time("end", end) < check_time("start", start):
        raise invalid("end", end, f"must not be before start ({check_time('start', start).isoformat()})")
    if start is not None:
        frame = frame.filter(pl.col(_SELECTED_BY[by]) >= check_time("start", start))
    if end is not None:
        frame = frame.filter(pl.col(_SELECTED_BY[by]) < check_time("end", end))
    if not excluded:
        return frame
    keys = pl.DataFrame(excluded, schema=dict.fromkeys(_KEY, pl.String()), orient="row")
    return frame.join(keys, on=_KEY, how="anti", maintain_order="left")


def _key(frame: pl.DataFrame, reference: object) -> tuple[str, str]:
    """Return the study id and the id of the checkpoint that matches a reference."""
    if isinstance(reference, Checkpoint):
        return reference.study_id, reference.id
    if isinstance(reference, tuple) and len(reference) == 2:
        study_id = resolve_study(reference[0], frame.select("study_id", "study").unique(maintain_order=True).rows(), field="exclude")
        checkpoint_id = keyed_checkpoint_id(StudyId(study_id), check_text("key", reference[1], low=1, high=500))
        if frame.filter(study_id=study_id, checkpoint_id=checkpoint_id).is_empty():
            raise invalid("exclude", reference, "matches none of the selected checkpoints", hint=_MAY_BE_RETRACTED)
        return study_id, checkpoint_id
    if not isinstance(reference, str) or len(reference) < 4:
        raise invalid("exclude", reference, _EXPECTED)
    matches = frame.filter(pl.col("checkpoint_id").str.ends_with(reference.lower())).select(_KEY).unique(maintain_order=True).rows()
    if len(matches) != 1:
        ids = ", ".join(checkpoint_id for _, checkpoint_id in matches[:5])
        problem = f"matches {len(matches)} checkpoints: {ids}" if matches else "matches none of the selected checkpoints"
        hint = "" if matches else _MAY_BE_RETRACTED
        if reference in frame.columns:
            hint = f"To exclude a column, use frame.drop({reference!r})."
        raise invalid("exclude", reference, problem, "" if matches else _EXPECTED, hint=hint)
    return matches[0]


_EXPECTED = "expected a Checkpoint, an id, the last 4 or more characters of an id, or (study, key)"
_MAY_BE_RETRACTED = "A retracted checkpoint is already left out."
