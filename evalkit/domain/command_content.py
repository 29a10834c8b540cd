"""What a checkpoint says, beside its ids: to tell whether the same key was given the same content again."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json

from evalkit.domain.commands import RecordCheckpoint
from evalkit.domain.events import CheckpointRecorded, StoredEvalEvent
from evalkit.domain.metrics import LongitudinalMetrics
from evalkit.domain.times import duration_pair, stored_time, wire_time

Row = tuple[Any, ...]

__all__ = ["CONTENT_COLUMNS", "content_of_command", "content_of_event", "same_content"]

CONTENT_COLUMNS = "timestamp, metrics, events_analyzed, sessions_included"
"""The columns of `checkpoints` that hold the content, in the order of the rows that the functions here take and give."""


def content_of_event(data: bytes) -> Row:
    """Give the content of a `checkpoint_recorded` event, from its wire bytes."""
    event = StoredEvalEvent.from_wire(data).event
    assert isinstance(event, CheckpointRecorded)
    sessions = json.dumps(event.sessions_included)
    return stored_time(wire_time(event.timestamp)), event.metrics.model_dump_json(), event.events_analyzed, sessions


def content_of_command(command: RecordCheckpoint) -> Row:
    """Give the content that a command would record."""
    sessions = json.dumps(command.sessions_included)
    return stored_time(command.timestamp), json.dumps(command.metrics), command.events_analyzed, sessions


def same_content(one: Row, other: Row) -> bool:
    """Whether two contents say the same: equal values, however they are written."""
    return _values(one) == _values(other)


def _values(content: Row) -> tuple[object, ...]:
    timestamp, text, analyzed, sessions = content
    metrics = LongitudinalMetrics.model_validate_json(str(text), extra="ignore")
    duration = metrics.avg_session_duration  # as a timedelta it compares without its nanoseconds
    return timestamp, analyzed, from_json(str(sessions)), metrics, None if duration is None else duration_pair(duration)
