"""Select the events of a log that other programs can read.

Other programs read them as the Rust program that the wire format comes from: with serde, into structs of exact types.
"""

from __future__ import annotations

import json
import math
from typing import Any

from evalkit.domain.catalog import METRICS
from evalkit.domain.codec import decode
from evalkit.domain.events import SEED_KINDS, InvalidEventError
from evalkit.readmodel.database.database import Database

__all__ = ["LEFT_OUT", "SeedEvents"]

LEFT_OUT = {
    "other_kind": "a kind that only evalkit reads",
    "retracted": "the checkpoint is retracted",
    "missing_metrics": "the checkpoint has missing metrics",
    "not_portable": "other JSON parsers reject it (a repeated key, a number beyond float64, -0 as an integer, or deep nesting)",
    "invalid": "not a valid event of a known kind",
}
"""The reasons for leaving out events, each with a description for messages."""
_DEEPEST = 100


class SeedEvents:
    """Decides whether other programs can read each event of a log.

    They read the six original kinds, and only checkpoints with all 16 metrics. They ignore unknown fields.

    Parameters
    ----------
    replayed
        A read model of the same events, which has the retracted checkpoints.
    """

    def __init__(self, replayed: Database) -> None:
        retracted = replayed.execute("SELECT study_id, subject FROM changes WHERE kind = 'checkpoint_retracted'")
        self._left_out = {(str(study_id), str(subject)): "retracted" for study_id, subject in retracted}
        rejected = replayed.execute("SELECT study_id, event_id FROM rejected WHERE kind = 'checkpoint_recorded'")
        self._rejected = {(str(study_id), str(event_id)) for study_id, event_id in rejected}

    def reason(self, data: bytes) -> str | None:
        """Return the reason for leaving out an event, a key of `LEFT_OUT`; None if it can be read."""
        try:
            event = decode(data)
        except InvalidEventError:
            return "invalid"
        if event.kind not in SEED_KINDS:
            return "other_kind"
        if event.kind != "checkpoint_recorded":
            return None if _is_portable(data) else "not_portable"
        # Another event with the id of a checkpoint that is left out had no effect, but would have one in the export.
        checkpoint = (event.study_id, event.subject)
        reason = self._left_out.get(checkpoint)
        if reason is None:
            reason = None if _is_portable(data) else "not_portable"
            metrics = json.loads(event.row[1])
            if any(metrics.get(name) is None for name in METRICS):
                reason = "missing_metrics"
            if reason is not None and (event.study_id, event.event_id) not in self._rejected:
                self._left_out[checkpoint] = reason
        return reason


class _NotPortableError(ValueError):
    """JSON that parsers read differently."""


def _is_portable(data: bytes) -> bool:
    """Return whether Rust's serde_json reads the JSON as evalkit does."""
    try:
        content = json.loads(data, object_pairs_hook=_unique, parse_float=_finite, parse_int=_integer)
    except (_NotPortableError, RecursionError):
        return False
    return data.count(b"[") + data.count(b"{") <= _DEEPEST or _depth(content) <= _DEEPEST


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(members)
    if len(content) < len(members):
        raise _NotPortableError
    return content


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise _NotPortableError
    return value


def _integer(text: str) -> float:
    if text == "-0":  # a float in other parsers, which a count must not be
        raise _NotPortableError
    return _finite(text)


def _depth(content: Any) -> int:
    children = content.values() if isinstance(content, dict) else content if isinstance(content, list) else None
    return 0 if children is None else 1 + max(map(_depth, children), default=0)
