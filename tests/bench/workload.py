"""The workload of the benchmarks: homes with checkpoints, frames to record, and the timed calls."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import polars as pl

import evalkit
from evalkit.domain.catalog import METRICS
from evalkit.domain.commands import CreateStudy, lifecycle_event
from evalkit.domain.definitions import Metric
from evalkit.domain.events import EncodedEvent, MetricDefined, StoredEvalEvent
from evalkit.domain.ids import StudyId, new_id
from evalkit.domain.times import wire_time
from evalkit.eventlog.sqlite_log import SqliteEventLog
from tests.wire_writer import encode_checkpoint

STUDIES = 20
_ROOT = Path(__file__).parents[2]
_START = datetime(2024, 1, 1, tzinfo=UTC)
_HOUR = timedelta(hours=1)
_STUDIES_BEGAN = 1_704_067_200_000  # milliseconds: 2024-01-01
_CHUNK = 5000

log_file = "events.db"
database_file = "evalkit.db"


def measured(rng: random.Random) -> dict[str, Any]:
    """Return values of all 16 metrics, in the wire format."""
    values: dict[str, Any] = {}
    for name, metric in METRICS.items():
        if metric.kind == "count":
            values[name] = rng.randrange(2_000_000 if name == "total_tokens" else 500)
        elif metric.kind == "duration":
            values[name] = [rng.randrange(3600), rng.randrange(1000) * 1_000_000]
        elif metric.kind == "rate":
            values[name] = rng.random()
        else:
            values[name] = 1 + 50 * rng.random()
    return values


def period(index: int) -> tuple[datetime, datetime]:
    start = _START + index * _HOUR
    return start, start + _HOUR


def sessions(index: int) -> list[str]:
    return [f"session-{2 * index}", f"session-{2 * index + 1}"]


def study_messages(count: int, custom: int = 0) -> list[EncodedEvent]:
    """Return the events that create and start studies, and define custom metrics."""
    messages = []
    for index in range(count):
        created = (
            CreateStudy(f"agent {index}", period="hourly", description=f"benchmark study {index}", tags=["bench"])
            .event(StudyId(new_id()), _STUDIES_BEGAN)
            .encoded()
        )
        messages += [created, lifecycle_event("study_started", created.study_id, _STUDIES_BEGAN + 1).encoded()]
        for number in range(custom):
            metric = Metric(f"custom_{number}", kind="number", better="up")
            defined = MetricDefined(type="metric_defined", study_id=created.study_id, metric=metric)
            messages.append(StoredEvalEvent(event_id=new_id(), event=defined).encoded())
    return messages


def checkpoint_messages(study_ids: list[str], count: int, custom: int = 0) -> Iterator[EncodedEvent]:
    """Return checkpoint events in the order of hourly evaluations, in which the studies alternate."""
    rng = random.Random(1)
    for index in range(count):
        study_id = study_ids[index % len(study_ids)]
        start, end = (wire_time(moment) for moment in period(index // len(study_ids)))
        event_id, checkpoint_id = new_id(), new_id()
        metrics = {**measured(rng), "period": {"start": start, "end": end}}
        if custom:
            metrics["custom"] = {f"custom_{number}": rng.random() for number in range(custom)}
        yield EncodedEvent(study_id, event_id, encode_checkpoint(event_id, checkpoint_id, study_id, end, metrics, 40, sessions(index)))


def make_home(home: Path, checkpoints: int, custom: int = 0, studies: int = STUDIES) -> None:
    """Create an embedded home with a log and its read model, optionally with custom metrics."""
    home.mkdir()
    log = SqliteEventLog(home / log_file)
    created = study_messages(studies, custom)
    log.append(created)
    messages = checkpoint_messages(sorted({message.study_id for message in created}), checkpoints, custom)
    while chunk := list(islice(messages, _CHUNK)):
        log.append(chunk)
    log.close()
    rebuild(home)


def make_study_home(home: Path) -> str:
    """Create a home with one running study, and return the study's id."""
    with evalkit.connect(home) as kit:
        study = kit.create_study("agent", period="hourly")
        return kit.start_study(study).id


def finished_rows(home: Path) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return the DDL of the read model's table `checkpoints` and its indexes, and all rows."""
    connection = sqlite3.connect(home / database_file)
    ddl = connection.execute(
        "SELECT sql FROM sqlite_master WHERE tbl_name = 'checkpoints' AND sql IS NOT NULL ORDER BY type DESC"
    ).fetchall()
    rows = connection.execute("SELECT * FROM checkpoints ORDER BY rowid").fetchall()
    connection.close()
    return [sql for (sql,) in ddl], rows


def wire_rows(home: Path, count: int) -> list[tuple[str, str]]:
    """Return (checkpoint id, JSON) of the last events in a log."""
    connection = sqlite3.connect(home / log_file)
    rows = connection.execute('SELECT data FROM events ORDER BY "offset" DESC LIMIT ?', (count,)).fetchall()
    connection.close()
    return [(json.loads(data)["event"]["id"], data.decode()) for (data,) in reversed(rows)]


def frame_to_record(count: int) -> pl.DataFrame:
    """Return a frame with the 16 metrics (the duration in seconds) and the bounds of the period."""
    rng = random.Random(2)
    rows = []
    for index in range(count):
        values = measured(rng)
        seconds, nanoseconds = values["avg_session_duration"]
        start, end = period(index)
        rows.append({**values, "avg_session_duration": seconds + nanoseconds / 1e9, "period_start": start, "period_end": end})
    return pl.DataFrame(rows)


def later_rows(count: int, existing: int) -> pl.DataFrame:
    """Return a frame to record in a home with `existing` checkpoints, after all their periods."""
    return frame_to_record(count).with_columns(pl.col("period_start", "period_end") + existing * _HOUR)


def mappings_to_record(count: int) -> list[dict[str, Any]]:
    """Return checkpoints for `record_checkpoint`."""
    rows = frame_to_record(count).to_dicts()
    return [{**row, "period": (row.pop("period_start"), row.pop("period_end"))} for row in rows]


def rebuild(home: Path) -> float:
    with evalkit.connect(home) as kit:
        start = perf_counter()
        kit.rebuild(on_progress=lambda done, total: None)
        return perf_counter() - start


def record_frame(home: Path, study_id: str, frame: pl.DataFrame) -> float:
    """Record a frame, and wait until the read model has its last checkpoint."""
    with evalkit.connect(home) as kit:
        start = perf_counter()
        kit.record_checkpoints(study_id, frame)
        latest = kit.storage.get_latest_checkpoint(study_id)
        seconds = perf_counter() - start
        assert latest is not None
        assert latest.metrics.period.end == frame["period_end"].max()
        return seconds


def record_one_by_one(home: Path, study_id: str, mappings: list[dict[str, Any]]) -> float:
    with evalkit.connect(home) as kit:
        kit.studies()
        start = perf_counter()
        for mapping in mappings:
            kit.record_checkpoint(study_id, mapping)
        seconds = perf_counter() - start
        assert len(kit.checkpoints()) == len(mappings)
        return seconds


def read_twice(home: Path) -> dict[str, float]:
    """Read all checkpoints with a new kit, record 100 more, and read again; return the seconds, and the peak memory of the first read.

    Call it in a new process, so that imports of the first call are included.
    """
    pl.read_ndjson(b'{"a": 1}')
    with evalkit.connect(home) as kit:
        with PeakMemory() as memory:
            start = perf_counter()
            frame = kit.checkpoints()
            first = perf_counter() - start
        rows = len(frame)
        newest = kit.studies()["study_id"][0]
        kit.record_checkpoints(newest, later_rows(100, rows))
        start = perf_counter()
        again = kit.checkpoints()
        second = perf_counter() - start
        assert len(again) == rows + 100
        return {"first": first, "second": second, "rows": rows, "peak": memory.peak}


def read_columns(home: Path) -> float:
    """Read three metrics of all checkpoints with a new kit."""
    pl.read_ndjson(b'{"a": 1}')
    with evalkit.connect(home) as kit:
        start = perf_counter()
        frame = kit.checkpoints(columns=["session_success_rate", "total_cost", "total_tokens"])
        seconds = perf_counter() - start
        assert frame.width == 3
        return seconds


def scan(home: Path) -> float:
    """Bring the mirror up to date, then scan all checkpoints with a new kit."""
    with evalkit.connect(home) as kit:
        rows = kit.mirror().checkpoints
    with evalkit.connect(home) as kit:
        kit.status()
        start = perf_counter()
        frame = kit.scan().collect()
        seconds = perf_counter() - start
        assert frame.height == rows
        return seconds


def in_new_process(code: str) -> tuple[Any, int]:
    """Run code that sets `result` in a new process; return the result, and the peak memory of the process in MB."""
    code = (
        f"import json; from pathlib import Path; from tests.bench.workload import peak_memory; {code}; "
        "print(json.dumps([result, peak_memory() // 2**20]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=_ROOT, check=True, stdout=subprocess.PIPE, text=True)
    result, memory = json.loads(done.stdout)
    return result, memory


class PeakMemory:
    """Measures the additional memory that a block needs at its peak, in bytes, as counted by the kernel; requires Linux."""

    peak: int

    def __enter__(self) -> PeakMemory:
        self._before = _memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM to VmRSS
        return self

    def __exit__(self, *_error: object) -> None:
        self.peak = _memory("VmHWM") - self._before


def peak_memory() -> int:
    """Return the peak memory of this process in bytes, without that of the process that started it."""
    return _memory("VmHWM")


def _memory(field: str) -> int:
    """Return a memory value of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
