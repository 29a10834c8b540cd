"""A second, independent writer of checkpoint events."""

from __future__ import annotations

from typing import Any

import msgspec


def encode_checkpoint(
    event_id: str, checkpoint_id: str, study_id: str, timestamp: str, metrics: dict[str, Any], events_analyzed: int, sessions: list[str]
) -> bytes:
    """Return the wire format of a checkpoint; `metrics` has all 16 in wire order, then the period."""
    return msgspec.json.encode(
        {
            "event_id": event_id,
            "event": {
                "type": "checkpoint_recorded",
                "id": checkpoint_id,
                "study_id": study_id,
                "timestamp": timestamp,
                "metrics": metrics,
                "events_analyzed": events_analyzed,
                "sessions_included": sessions,
            },
        }
    )
