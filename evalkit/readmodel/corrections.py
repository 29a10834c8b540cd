"""Corrections of recorded checkpoints, applied in their order in the log."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from evalkit.domain.corrections import amended
from evalkit.domain.events import CheckpointAmended, CheckpointRetracted, event_of
from evalkit.domain.ids import time_of_event
from evalkit.domain.study import Checkpoint
from evalkit.readmodel.database.database import Database, pages

__all__ = ["NOT_RETRACTED", "Correction", "Corrections", "latest", "read_corrections"]

NOT_RETRACTED = """NOT EXISTS (SELECT 1 FROM changes r WHERE r.study_id = checkpoints.study_id AND r.subject = checkpoints.id
  AND r.kind = 'checkpoint_retracted')"""
"""The condition for checkpoints that are not retracted."""
_CORRECTIONS = """SELECT seq, subject, body, event_id FROM changes
WHERE study_id = ? AND kind IN ('checkpoint_amended', 'checkpoint_retracted')"""
_OF_FEW = " AND subject IN (SELECT value FROM json_each(?))"
_FEW = 100
"""Up to this number of checkpoints, corrections are read by id; for more, those of the study are read at once."""
_PAGE = 1000


class Correction(NamedTuple):
    """An amendment or retraction that was applied."""

    event: CheckpointAmended | CheckpointRetracted
    at: datetime


Corrections = dict[str, list[Correction]]
"""The corrections of each corrected checkpoint, by its id, in their order in the log."""


def read_corrections(database: Database, study_id: str, checkpoint_ids: Sequence[str]) -> Corrections:
    """Return the corrections of checkpoints of a study."""
    few = len(checkpoint_ids) <= _FEW
    sql = f"{_CORRECTIONS}{_OF_FEW if few else ''} AND seq > ? ORDER BY seq LIMIT ?"
    args = (study_id, json.dumps(list(checkpoint_ids))) if few else (study_id,)
    corrections: Corrections = defaultdict(list)
    rows = pages(lambda after, limit: database.execute(sql, (*args, *after, limit)), (0,), lambda row: row[:1], _PAGE)
    for _, subject, body, event_id in rows:
        event = event_of(str(body))
        assert isinstance(event, CheckpointAmended | CheckpointRetracted)
        corrections[str(subject)].append(Correction(event, time_of_event(str(event_id))))
    return corrections


def latest(checkpoint: Checkpoint, corrections: Iterable[Correction]) -> Checkpoint:
    """Return the latest version of a checkpoint from its first version."""
    for correction in corrections:
        if isinstance(correction.event, CheckpointAmended):
            checkpoint = amended(checkpoint, correction.event)
        else:
            checkpoint = checkpoint.model_copy(update={"retracted": True})
    return checkpoint
