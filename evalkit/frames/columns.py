"""The columns of each frame: names, order and types."""

from __future__ import annotations

import polars as pl

from evalkit.domain.catalog import METRICS
from evalkit.domain.events import KINDS, LIFECYCLE_KINDS
from evalkit.domain.study import PeriodType, StudyStatus
from evalkit.readmodel.fold import Outcome

__all__ = ["CHECKPOINTS", "FRAMES", "LIFECYCLE", "REJECTED", "STUDIES", "empty_frame", "frame_schema"]

STUDIES = {
    "study_id": "text", "name": "text", "status": "status", "period_type": "period_type", "period_value": "count", "description": "text",
    "tags": "texts", "metadata": "pairs", "created_at": "time", "started_at": "time", "stopped_at": "time", "checkpoints": "count",
    "last_period_end": "time",
}  # fmt: skip
"""The columns of ``kit.studies()``."""
CHECKPOINTS = {
    "study_id": "text", "study": "text", "period_type": "period_type", "checkpoint_id": "text", "timestamp": "time", "recorded_at": "time",
    "period_start": "time", "period_end": "time", **{name: metric.kind for name, metric in METRICS.items()}, "events_analyzed": "count",
    "sessions_included": "texts",
}  # fmt: skip
"""The columns of ``kit.checkpoints()``."""
LIFECYCLE = {"study_id": "text", "study": "text", "seq": "count", "kind": "lifecycle_kind", "status": "status", "at": "time"}
"""The columns of ``kit.lifecycle()``."""
REJECTED = {
    "study_id": "text", "event_id": "text", "kind": "kind", "outcome": "outcome", "reason": "text", "message": "text", "at": "time",
}  # fmt: skip
"""The columns of ``kit.rejected()``."""
FRAMES = {"studies": STUDIES, "checkpoints": CHECKPOINTS, "lifecycle": LIFECYCLE, "rejected": REJECTED}
"""The columns of each frame, by the name of the `EvalKit` method that returns it."""


def frame_schema(columns: dict[str, str]) -> dict[str, pl.DataType]:
    """Return the Polars dtypes of a frame's columns.

    Counts are Int64; rates, numbers and money Float64; durations Duration(us); times Datetime(us, UTC).
    """
    types: dict[str, pl.DataType] = {
        "text": pl.String(),
        "texts": pl.List(pl.String()),
        "pairs": pl.List(pl.Struct({"key": pl.String(), "value": pl.String()})),
        "count": pl.Int64(),
        "rate": pl.Float64(),
        "number": pl.Float64(),
        "money": pl.Float64(),
        "duration": pl.Duration("us"),
        "time": pl.Datetime("us", "UTC"),
        "status": pl.Enum([status.value for status in StudyStatus]),
        "period_type": pl.Enum([period.value for period in PeriodType]),
        "kind": pl.Enum(KINDS),
        "lifecycle_kind": pl.Enum(LIFECYCLE_KINDS),
        "outcome": pl.Enum([Outcome.REJECTED.value, Outcome.QUARANTINED.value]),
    }
    return {name: types[kind] for name, kind in columns.items()}


def empty_frame(columns: dict[str, str]) -> pl.DataFrame:
    """Return a frame without rows."""
    return pl.DataFrame(schema=frame_schema(columns))
