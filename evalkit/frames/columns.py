"""The columns of each frame: names, order and types."""

from __future__ import annotations

from typing import get_args

import polars as pl

from evalkit.domain.catalog import METRICS
from evalkit.domain.definitions import Better, Kind, Rollup
from evalkit.domain.events import KINDS, LIFECYCLE_KINDS, Category
from evalkit.domain.study import PeriodType, StudyStatus
from evalkit.readmodel.fold import Outcome

__all__ = [
    "AMENDMENTS", "CHANGES", "CHECKPOINTS", "FRAMES", "LIFECYCLE", "MALFORMED", "MEASUREMENTS", "METRICS_FRAME", "NOTES", "PROVENANCE",
    "REJECTED", "STUDIES", "VALUES", "empty_frame", "frame_schema", "kinds_of",
]  # fmt: skip

STUDIES = {
    "study_id": "text", "name": "text", "status": "status", "period_type": "period_type", "period_value": "count", "description": "text",
    "tags": "texts", "metadata": "pairs", "created_at": "time", "started_at": "time", "stopped_at": "time", "checkpoints": "count",
    "last_period_end": "time", "archived": "flag",
}  # fmt: skip
"""The columns of ``kit.studies()``."""
CHECKPOINTS = {
    "study_id": "text", "study": "text", "period_type": "period_type", "checkpoint_id": "text", "timestamp": "time", "recorded_at": "time",
    "period_start": "time", "period_end": "time", **{name: metric.kind for name, metric in METRICS.items()}, "events_analyzed": "count",
    "sessions_included": "texts", "revision": "count", "collector": "text",
}  # fmt: skip
"""The columns of ``kit.checkpoints()``; custom metrics stand after the 16."""
VALUES = {name: kind for name, kind in CHECKPOINTS.items() if name not in ("revision", "collector")}
"""The columns of checkpoints without those about their version and origin."""
LIFECYCLE = {"study_id": "text", "study": "text", "seq": "count", "kind": "lifecycle_kind", "status": "status", "at": "time"}
"""The columns of ``kit.lifecycle()``."""
REJECTED = {
    "study_id": "text", "event_id": "text", "kind": "kind", "outcome": "outcome", "reason": "text", "message": "text", "at": "time",
}  # fmt: skip
"""The columns of ``kit.rejected()``."""
METRICS_FRAME = {
    "study_id": "text", "study": "text", "name": "text", "label": "text", "kind": "metric_kind", "unit": "text", "better": "better",
    "low": "number", "high": "number", "denominator": "text", "rollup": "rollup", "group": "text", "description": "text",
    "primary": "flag",
}  # fmt: skip
"""The columns of ``kit.metrics()``."""
MEASUREMENTS = {
    "study_id": "text", "study": "text", "checkpoint_id": "text", "period_start": "time", "period_end": "time", "metric": "text",
    "value": "number", "count": "count", "unit": "text", "better": "better",
}  # fmt: skip
"""The columns of ``kit.measurements()``."""
NOTES = {
    "study_id": "text", "study": "text", "note_id": "text", "at": "time", "until": "time", "category": "category", "text": "text",
    "author": "text",
}  # fmt: skip
"""The columns of ``kit.notes()``."""
AMENDMENTS = {
    "study_id": "text", "study": "text", "checkpoint_id": "text", "revision": "count", "metric": "text", "old": "number",
    "new": "number", "reason": "text", "author": "text", "written_at": "time",
}  # fmt: skip
"""The columns of ``kit.amendments()``."""
PROVENANCE = {
    "study_id": "text", "study": "text", "checkpoint_id": "text", "period_start": "time", "collector": "text", "version": "text",
    "models": "texts", "agent": "text", "agent_version": "text", "cost_basis": "text", "prices": "text", "evidence": "text",
}  # fmt: skip
"""The columns of ``kit.provenance()``."""
MALFORMED = {"study_id": "text", "checkpoint_id": "text", "parts": "text"}
"""The columns of the frame of optional parts of events that are invalid."""
CHANGES = {
    "study_id": "text", "study": "text", "written_at": "time", "kind": "kind", "checkpoint_id": "text", "description": "text",
    "reason": "text", "author": "text",
}  # fmt: skip
"""The columns of ``kit.changes()``."""
FRAMES = {
    "studies": STUDIES, "checkpoints": CHECKPOINTS, "lifecycle": LIFECYCLE, "rejected": REJECTED, "metrics": METRICS_FRAME,
    "measurements": MEASUREMENTS, "notes": NOTES, "amendments": AMENDMENTS, "provenance": PROVENANCE, "changes": CHANGES,
}  # fmt: skip
"""The columns of each frame, by the name of the `EvalKit` method that returns it."""

_DTYPES: dict[str, pl.DataType] = {
    "text": pl.String(),
    "texts": pl.List(pl.String()),
    "pairs": pl.List(pl.Struct({"key": pl.String(), "value": pl.String()})),
    "count": pl.Int64(),
    "rate": pl.Float64(),
    "number": pl.Float64(),
    "money": pl.Float64(),
    "duration": pl.Duration("us"),
    "score": pl.Float64(),
    "flag": pl.Boolean(),
    "time": pl.Datetime("us", "UTC"),
    "status": pl.Enum([status.value for status in StudyStatus]),
    "period_type": pl.Enum([period.value for period in PeriodType]),
    "kind": pl.Enum(KINDS),
    "lifecycle_kind": pl.Enum(LIFECYCLE_KINDS),
    "metric_kind": pl.Enum(get_args(Kind)),
    "better": pl.Enum(get_args(Better)),
    "rollup": pl.Enum(get_args(Rollup)),
    "category": pl.Enum(get_args(Category)),
    "outcome": pl.Enum([Outcome.REJECTED.value, Outcome.QUARANTINED.value]),
}


def frame_schema(columns: dict[str, str]) -> dict[str, pl.DataType]:
    """Return the Polars dtypes of a frame's columns.

    Counts are Int64; rates, numbers and money Float64; durations Duration(us); times Datetime(us, UTC).
    """
    return {name: _DTYPES[kind] for name, kind in columns.items()}


def empty_frame(columns: dict[str, str]) -> pl.DataFrame:
    """Return a frame without rows."""
    return pl.DataFrame(schema=frame_schema(columns))


def kinds_of(frame: pl.DataFrame, columns: dict[str, str]) -> dict[str, str]:
    """Return the kind of each column; that of a custom metric follows from its dtype."""
    by_dtype = {pl.Int64(): "count", pl.Duration("us"): "duration"}
    return {name: columns.get(name) or by_dtype.get(dtype, "number") for name, dtype in frame.schema.items()}
