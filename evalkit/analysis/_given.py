"""What an analysis is given: a frame of checkpoints, a result that has one, or checkpoints and their lifecycle."""

from __future__ import annotations

from typing import Any

import polars as pl

from evalkit.analysis._result import Result
from evalkit.domain.validation import invalid
from evalkit.frames.columns import LIFECYCLE
from evalkit.frames.normalize import check_frame, read_columns

__all__ = ["checkpoints_of", "pair_of", "steps_of"]


def checkpoints_of(source: Any) -> Any:
    """Give the frame of checkpoints of what is to be analysed, as `pair_of` does."""
    return pair_of(source)[0]


def pair_of(source: Any, field: str = "frame") -> tuple[Any, Any]:
    """Give the checkpoints and the lifecycle of what is to be analysed.

    Parameters
    ----------
    source
        A frame, a result that has one, or ``(checkpoints, lifecycle)``, the first of these a frame or a result.
    field
        What the source is called in errors.

    Returns
    -------
    tuple
        The frame of checkpoints, and the lifecycle as it was given; None where there is none.

    Raises
    ------
    InvalidInputError
        When it is none of these, or the lifecycle is no frame of one.
    """
    checkpoints, lifecycle = source, None
    if isinstance(source, tuple):
        if len(source) != 2:
            raise invalid(field, source, "is no pair; give kit.checkpoints(), or (kit.checkpoints(), kit.lifecycle()).")
        checkpoints, lifecycle = source
    frame = checkpoints.frame if isinstance(checkpoints, Result) else checkpoints
    check_frame(frame, field=field)
    if lifecycle is not None:
        steps_of(lifecycle)
    return frame, lifecycle


def steps_of(lifecycle: Any) -> pl.DataFrame:
    """Give the columns of a lifecycle that an analysis needs: seq, status, at, study_id and study, the last two missing where it has none.

    Raises
    ------
    InvalidInputError
        When it is no frame, lacks a column, or has one of another type.
    """
    return read_columns(lifecycle, LIFECYCLE, ["seq", "status", "at"], ["study_id", "study"])
