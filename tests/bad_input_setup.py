"""The home for the bad input of `test_bad_input.py`."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

import evalkit
from evalkit import PeriodType
from evalkit.domain.ids import event_id_at, milliseconds

DAY = datetime(2026, 1, 1, tzinfo=UTC)
NEXT = DAY + timedelta(days=1)


def namespace(home: str | Path) -> dict[str, Any]:
    """Create a home with a study in each status, and return the names that the cases use."""
    kit = evalkit.connect(home)
    at = datetime(2025, 6, 1, tzinfo=UTC)
    for minute, period in enumerate(("hourly", "weekly", "monthly"), -3):
        kit.start_study(kit.create_study(period, period=period, at=at + timedelta(minutes=minute)), at=at)
    for minute, name in enumerate(("pending", "running", "stopped", "stopped before it started", "twin")):
        kit.create_study(name, at=at + timedelta(minutes=minute))
    at += timedelta(hours=1)
    kit.stop_study("stopped before it started", at=at)
    for name in ("running", "stopped"):
        kit.start_study(name, at=at)
    kit.stop_study("stopped", at=at)
    # Two studies with one name are in logs whose ids did not depend on names; here, they come from the events of another home.
    other = evalkit.connect(Path(home) / "other")
    other.create_study("twin", at=at)
    consumer = other.engine.log.consumer("test")
    for record in consumer.poll(10, 0):
        stored = evalkit.domain.events.StoredEvalEvent.from_wire(record.data)
        kit.engine.log.append([evalkit.eventlog.event_log.EncodedEvent(stored.study_id, stored.event_id, record.data)])
    other.close()
    earlier = at - timedelta(days=10)  # not among the most recent studies, which messages list
    kit.start_study(kit.create_study("runs", cadence="per-run", at=earlier), at=at)
    kit.archive_study(kit.create_study("archived", at=earlier))
    kit.record_checkpoint("running", {"period": (DAY, NEXT), "total_tokens": 5}, key="taken", at=at)

    kit.create_study("measured", at=at - timedelta(days=30), metrics=[
        evalkit.Metric("refusals", kind="count", better="down"), evalkit.Metric("refusal_rate", kind="rate", better="down", denominator="refusals"),
        evalkit.Metric("judge", kind="score", better="up", low=1, high=5), evalkit.Metric("wait", kind="duration", better="down"),
    ])  # fmt: skip
    kit.start_study("measured", at=at)
    stale = kit.record_checkpoint("measured", {"period": (DAY, NEXT), "total_tokens": 5, "refusals": 2}, key="amended", at=at)
    # Fixed times, because messages have them.
    amended = {"total_tokens": 6, "custom": {"refusals": None}}
    gone = kit.record_checkpoint("measured", {"period": (NEXT, NEXT + timedelta(days=1)), "total_tokens": 5}, key="retracted", at=at)
    events = [
        {"type": "checkpoint_amended", "study_id": stale.study_id, "checkpoint_id": stale.id, "revision": 0, "metrics": amended,
         "reason": "wrong tokenizer", "author": "ada"},
        {"type": "checkpoint_retracted", "study_id": stale.study_id, "checkpoint_id": gone.id, "reason": "wrong model"},
    ]  # fmt: skip
    for event in events:
        wire = json.dumps({"event_id": event_id_at(milliseconds(at)), "event": event}).encode()
        kit.engine.log.append([evalkit.domain.events.StoredEvalEvent.from_wire(wire).encoded()])

    def record(study: str, metrics: dict[Any, Any], **extras: Any) -> evalkit.Checkpoint:
        return kit.record_checkpoint(study, {"period": (DAY + timedelta(days=9), NEXT + timedelta(days=9)), **metrics}, **extras)

    row = {"period_start": DAY + timedelta(days=20), "period_end": NEXT + timedelta(days=20)}
    names = {"DAY": DAY, "NEXT": NEXT, "ROW": row, "PeriodType": PeriodType, "date": date, "datetime": datetime, "timedelta": timedelta}
    return {
        "kit": kit,
        "record": record,
        "evalkit": evalkit,
        "pl": pl,
        "pd": pd,
        "np": np,
        "math": math,
        "__file__": __file__,
        "STALE": stale,
        "GONE": gone,
        **names,
    }
