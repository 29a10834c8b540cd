"""Benchmarks of collecting Inspect logs: the first time, again without anything new, and reading alone."""

from __future__ import annotations

import gc
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import evalkit
from evalkit.collect import read_sessions
from tests.bench.workload import PeakMemory

__all__ = ["collecting"]

SAMPLES = 20
_DAYS = 100
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_ANSWER = "The function returns the sum of its arguments, and the tests pass after the change. " * 2
_CALLS = 3
"""The number of model calls of a sample. With them a sample has about 8 kB, as the smallest samples of real logs."""
_TOOL = {
    "name": "bash",
    "description": "Run a command in the shell.",
    "parameters": {"type": "object", "properties": {"cmd": {"type": "string", "description": "The command."}}, "required": ["cmd"]},
}


def collecting(folder: Path, size: dict[str, int], rounds: int) -> Iterator[dict[str, tuple[float, float | None]]]:
    """All logs are collected into a new home, then again; and read once, against ``json.loads`` of the same members of the zip files."""
    logs = folder / "logs"
    write_logs(logs, size["logs"])
    for _ in range(rounds):
        _settle()
        with evalkit.connect(folder / "home") as kit:
            with PeakMemory() as memory:
                first = _timed(lambda kit=kit: kit.collect("nightly", f"inspect:{logs}", since=_BEGAN, progress=False))
            again = _timed(lambda kit=kit: kit.collect("nightly", f"inspect:{logs}", progress=False))
            assert kit.checkpoints("nightly")["sessions_completed"].sum() == size["logs"] * SAMPLES
        reading = _timed(lambda: read_sessions(f"inspect:{logs}", progress=False))
        parsing = _timed(lambda: parse(logs))
        yield {"collect again": (again, first), "read logs": (reading, parsing), "collect memory": (memory.peak / 1e6, None)}
        shutil.rmtree(folder / "home")


def parse(folder: Path) -> int:
    """Parse what the reader needs: header, summaries and samples of each log."""
    parsed = 0
    for path in sorted(folder.rglob("*.eval")):
        with zipfile.ZipFile(path) as log:
            for name in log.namelist():
                if not name.startswith("_journal/"):
                    json.loads(log.read(name))
                    parsed += 1
    return parsed


def write_logs(folder: Path, count: int) -> None:
    """Write Inspect logs of 100 days with 20 samples each."""
    folder.mkdir()
    for number in range(count):
        at = _BEGAN + timedelta(days=number % _DAYS, minutes=number // _DAYS % 1200)
        day = folder / f"{at:%Y-%m-%d}"
        day.mkdir(exist_ok=True)
        with zipfile.ZipFile(day / f"{number}.eval", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as log:
            for name, content in _members(number, at):
                log.writestr(name, json.dumps(content))


def _members(number: int, at: datetime) -> Iterator[tuple[str, Any]]:
    summaries = []
    for sample in range(SAMPLES):
        start, end = at + timedelta(seconds=sample), at + timedelta(seconds=sample + 40)
        usage = {"m-1": {"input_tokens": 900 + sample, "output_tokens": 80, "total_tokens": 980 + sample, "input_tokens_cache_read": 0}}
        summary = {
            "id": sample, "epoch": 1, "input": "Fix the failing test.", "target": "C", "uuid": f"{number}-{sample}",
            "scores": {"match": {"value": "C" if (number + sample) % 3 else "I"}}, "model_usage": usage, "completed": True,
            "started_at": start.isoformat(), "completed_at": end.isoformat(), "total_time": 40.0, "working_time": 30.0 + sample,
        }  # fmt: skip
        summaries.append(summary)
        messages: list[dict[str, Any]] = [{"role": "user", "content": "Fix the failing test."}]
        events: list[dict[str, Any]] = []
        for call in range(_CALLS):
            events.append(_model_event(list(messages), start + timedelta(seconds=10 * call), usage["m-1"]))
            messages.append({"role": "assistant", "content": _ANSWER, "source": "generate", "model": "m-1"})
            if call < _CALLS - 1:
                tool = {"event": "tool", "timestamp": start.isoformat(), "id": f"call {sample}-{call}", "function": "bash",
                        "arguments": {"cmd": "pytest"}, "result": _ANSWER, "error": None, "events": []}  # fmt: skip
                events.append(tool)
                messages.append({"role": "tool", "content": _ANSWER, "tool_call_id": tool["id"], "function": "bash"})
        yield f"samples/{sample}_epoch_1.json", {**summary, "messages": messages, "events": events}
    yield "summaries.json", summaries
    stats = {"started_at": at.isoformat(), "completed_at": (at + timedelta(minutes=2)).isoformat(), "model_usage": {}}
    spec = {"run_id": f"run {number}", "created": at.isoformat(), "task": "fixing", "task_id": f"task {number}", "model": "m-1",
            "eval_id": f"eval {number}", "dataset": {}, "config": {"epochs": 1}}  # fmt: skip
    results = {"total_samples": SAMPLES, "completed_samples": SAMPLES, "scores": [{"name": "match", "scorer": "match", "metrics": {}}]}
    yield "header.json", {"version": 2, "status": "success", "eval": spec, "plan": {}, "results": results, "stats": stats}


def _model_event(messages: list[dict[str, Any]], at: datetime, usage: dict[str, int]) -> dict[str, Any]:
    """Return a call of a model with its request and response, as Inspect records it."""
    answer = {"message": {"role": "assistant", "content": _ANSWER}, "stop_reason": "stop"}
    return {
        "event": "model", "timestamp": at.isoformat(), "model": "m-1", "input": messages, "tools": [_TOOL], "tool_choice": "auto",
        "config": {"max_connections": 10}, "output": {"model": "m-1", "choices": [answer], "usage": usage, "time": 1.5},
        "call": {"request": {"model": "m-1", "messages": [], "tools": [_TOOL]}, "response": {"id": "r-1", "choices": [answer], "usage": usage}},
        "completed": (at + timedelta(seconds=1.5)).isoformat(), "working_time": 1.5,
    }  # fmt: skip


def _timed(work: Any) -> float:
    _settle()
    start = perf_counter()
    work()
    return perf_counter() - start


def _settle() -> None:
    gc.collect()
    os.sync()
