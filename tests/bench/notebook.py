"""Benchmarks of charts with many checkpoints, and of updates of the panel."""

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

import evalkit
from evalkit.samples import sample_checkpoints
from tests.bench import workload

_UPDATES = 10


def charting(folder: Path, size: dict[str, int], rounds: int) -> Iterator[dict[str, tuple[float, float | None]]]:
    """Compare the specification of a trend chart with a plain Altair line chart, and measure its size (kB)."""
    from evalkit import plots
    from tests.chart_frames import long

    frame = long(size["charted"])
    plots.trend(frame, "session_success_rate").to_dict()
    for _ in range(rounds):
        time, spec = _timed(lambda: plots.trend(frame, "session_success_rate").to_dict())
        baseline, _ = _timed(lambda: _plain_chart(frame))
        yield {"chart": (time, baseline), "chart size": (len(json.dumps(spec)) / 1000, None)}


def _plain_chart(frame: Any) -> Any:
    import altair as alt

    drawn = frame.select("study", "period_start", "session_success_rate")
    with alt.data_transformers.enable("default", max_rows=None):
        return alt.Chart(drawn).mark_line().encode(x="period_start:T", y="session_success_rate:Q", color="study:N").to_dict()


def following(folder: Path, size: dict[str, int], rounds: int) -> Iterator[dict[str, tuple[float, float | None]]]:
    """Compare the update of a panel and its chart after a new checkpoint with the creation of a panel.

    Each round is a new process. The time of the first panel includes its imports, as in a new kernel; that of a second one does not.
    """
    for number in range(rounds):
        home = folder / f"home-{number}"
        code = f"from tests.bench import notebook; result = notebook.panels(Path({str(home)!r}))"
        first, update, second = workload.in_new_process(code)[0]
        yield {"panel": (update, first), "panel again": (update, second)}


def following_many(folder: Path, size: dict[str, int], rounds: int) -> Iterator[dict[str, tuple[float, float | None]]]:
    """Compare the update of a panel of many studies with its opening, in this process."""
    home = folder / "home"
    workload.make_home(home, 3 * size["listed"], studies=size["listed"])
    with evalkit.connect(home) as kit:
        displayed(kit).close()  # so that imports and cold files are in no round
        newest = kit.studies()["study_id"][0]
        rows = workload.later_rows(rounds * _UPDATES, 3 * size["listed"])
        for number in range(rounds):
            opening, panel = _timed(lambda: displayed(kit))
            updates = []
            for row in rows[number * _UPDATES :][:_UPDATES].iter_slices(1):
                kit.record_checkpoints(newest, row)
                updates.append(_timed(panel.refresh)[0])
            panel.close()
            yield {"panel of many": (sorted(updates)[_UPDATES // 2], opening)}


def reporting(folder: Path, size: dict[str, int], rounds: int) -> Iterator[dict[str, tuple[float, float | None]]]:
    """Compare a report with the drawing of its two charts alone."""
    from evalkit import plots
    from evalkit.plots._rendering import specification, svg

    start = datetime(2026, 1, 5, tzinfo=UTC)
    with evalkit.connect(folder / "home") as kit:
        kit.create_study("agent", period="daily:200", at=start)
        kit.start_study("agent", at=start)
        kit.record_checkpoints("agent", [_dated(row) for row in sample_checkpoints("daily", start, 120, seed=1)])
        specs = [specification(chart(kit.data("agent"))) for chart in (plots.lifecycle, plots.overview)]
        kit.report("agent", folder / "report.html")
        for _ in range(rounds):
            time, _ = _timed(lambda: kit.report("agent", folder / "report.html"))
            baseline, _ = _timed(lambda: [svg(spec, "page") for spec in specs])
            yield {"report": (time, baseline)}


def panels(home: Path) -> tuple[float, float, float]:
    """Return the seconds of a first panel, the median of its updates, and the seconds of a second panel."""
    start = datetime(2026, 1, 5, tzinfo=UTC)
    kit = evalkit.connect(home)
    kit.create_study("agent", period="daily:200", at=start)
    kit.start_study("agent", at=start)
    rows = [_dated(row) for row in sample_checkpoints("daily", start, 60 + _UPDATES, seed=1)]
    kit.record_checkpoints("agent", rows[:60])
    first, panel = _timed(lambda: displayed(kit))
    updates = []
    for row in rows[60:]:
        kit.record_checkpoints("agent", [row])
        updates.append(_timed(panel.refresh)[0])
    panel.close()
    second, panel = _timed(lambda: displayed(kit))
    panel.close()
    return first, sorted(updates)[_UPDATES // 2], second


def _dated(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "recorded_at": min(row["recorded_at"], datetime.now(UTC) + timedelta(minutes=1))}


def displayed(kit: evalkit.EvalKit, study: str | None = None) -> Any:
    """Return a panel that is displayed, without its output."""
    panel = kit.panel(study)
    with contextlib.redirect_stdout(io.StringIO()):
        panel._ipython_display_()
    return panel


def _timed(work: Any) -> tuple[float, Any]:
    gc.collect()
    start = perf_counter()
    result = work()
    return perf_counter() - start, result
