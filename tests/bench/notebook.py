"""Benchmarks of what a notebook shows: a chart of very many checkpoints beside the naive one, and a panel's update beside its building."""

from __future__ import annotations

import contextlib
import gc
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import altair as alt
import polars as pl

import evalkit
from evalkit import plots
from evalkit.samples import sample_checkpoints
from tests.chart_frames import long

_UPDATES = 10


def charting(folder: Path, size: dict[str, int], rounds: int) -> Iterator[dict[str, tuple[float, float | None]]]:
    """A trend of all checkpoints, as a specification, beside a line of Altair's own with its limit lifted; and how large it is (kB)."""
    frame = long(size["charted"])
    plots.trend(frame, "session_success_rate").to_dict()
    for _ in range(rounds):
        ours, spec = _timed(lambda: plots.trend(frame, "session_success_rate").to_dict())
        theirs, _ = _timed(lambda: _naive(frame))
        yield {"chart": (ours, theirs), "chart size": (len(json.dumps(spec)) / 1000, None)}


def _naive(frame: pl.DataFrame) -> Any:
    drawn = frame.select("study", "period_start", "session_success_rate")
    with alt.data_transformers.enable("default", max_rows=None):
        return alt.Chart(drawn).mark_line().encode(x="period_start:T", y="session_success_rate:Q", color="study:N").to_dict()


def following(folder: Path, size: dict[str, int], rounds: int) -> Iterator[dict[str, tuple[float, float | None]]]:
    """A panel that is brought up to date after one new checkpoint, chart included, beside one that is made and displayed."""
    start = datetime(2026, 1, 5, tzinfo=UTC)
    kit = evalkit.connect(folder / "home")
    kit.create_study("agent", period="daily:200", at=start)
    kit.start_study("agent", at=start)
    rows = sample_checkpoints("daily", start, 60 + _UPDATES * (rounds + 1), seed=1)
    kit.record_checkpoints("agent", [_dated(row) for row in rows[:60]])
    coming = iter(rows[60:])
    for number in range(rounds + 1):
        made, panel = _timed(lambda: _displayed(kit))
        updates = []
        for _ in range(_UPDATES):
            kit.record_checkpoints("agent", [_dated(next(coming))])
            updates.append(_timed(panel.refresh)[0])
        panel.close()
        if number:  # the first one loads what is needed
            yield {"panel": (sorted(updates)[_UPDATES // 2], made)}


def _dated(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "recorded_at": min(row["recorded_at"], datetime.now(UTC) + timedelta(minutes=1))}


def _displayed(kit: evalkit.EvalKit) -> Any:
    panel = kit.panel()
    with contextlib.redirect_stdout(io.StringIO()):
        panel._ipython_display_()
    return panel


def _timed(work: Any) -> tuple[float, Any]:
    gc.collect()
    start = perf_counter()
    result = work()
    return perf_counter() - start, result
