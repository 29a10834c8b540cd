"""Measure how time and memory grow with the number of checkpoints.

``python -m tests.bench.growth [--sizes 1000 10000 100000 1000000] [--folder DIR] [--json FILE]``. Each step runs in a new process. Its time is
shown per checkpoint, and its peak memory includes the interpreter and all imports. 5,000,000 checkpoints need some 20 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import polars as pl

import evalkit
from tests.bench.notebook import displayed
from tests.bench.workload import STUDIES, frame_to_record, in_new_process, later_rows

_CHUNK = 10_000
_ALL_IN_MEMORY = 1_000_000
"""More checkpoints are read through the mirror alone."""


def record(home: Path, size: int) -> float:
    """Record frames of 10,000 rows in 20 studies in turn; return the seconds of recording alone."""
    frame, seconds = frame_to_record(_CHUNK), 0.0
    with evalkit.connect(home) as kit:
        studies = [kit.start_study(kit.create_study(f"agent {number}", period="hourly")).id for number in range(STUDIES)]
        for number in range(-(-size // _CHUNK)):
            shift = timedelta(hours=number // STUDIES * _CHUNK)
            rows = frame.head(size - number * _CHUNK).with_columns(pl.col("period_start", "period_end") + shift)
            start = perf_counter()
            kit.record_checkpoints(studies[number % STUDIES], rows)
            seconds += perf_counter() - start
    return seconds


def rebuild(home: Path, size: int) -> float:
    """Rebuild the read model."""
    return _timed(home, lambda kit: kit.rebuild(on_progress=lambda done, total: None))


def catch_up(home: Path, size: int) -> float:
    """Apply the log to a new read model, as a consumer does."""
    fresh = f"file:{home / 'fresh.db'}"
    start = perf_counter()
    with evalkit.connect(home, database_url=fresh) as kit:
        kit.engine.catch_up()
    seconds = perf_counter() - start
    for file in home.glob("fresh.db*"):
        file.unlink()
    return seconds


def verify(home: Path, size: int) -> float:
    """Compare the read model with the log."""
    return _timed(home, lambda kit: kit.verify())


def cold_read(home: Path, size: int) -> float:
    """Read all checkpoints into a frame."""
    return _timed(home, lambda kit: kit.checkpoints())


def warm_read(home: Path, size: int) -> float:
    """Read all checkpoints again after one more."""
    with evalkit.connect(home) as kit:
        kit.checkpoints()
        _record_one_more(kit, size)
        return _seconds(kit.checkpoints)


def three_columns(home: Path, size: int) -> float:
    """Read three columns of all checkpoints."""
    return _timed(home, lambda kit: kit.checkpoints(columns=["session_success_rate", "total_cost", "total_tokens"]))


def mirror(home: Path, size: int) -> float:
    """Make the mirror."""
    return _timed(home, lambda kit: kit.mirror())


def scan(home: Path, size: int) -> float:
    """Compute the mean of three metrics of each study and month through the mirror."""
    means = [pl.col("session_success_rate", "total_cost", "total_tokens").mean()]

    def work(kit: evalkit.EvalKit) -> Any:
        by_month = kit.scan().group_by("study", pl.col("period_start").dt.truncate("1mo")).agg(means)
        return by_month.collect(engine="streaming")

    return _timed(home, work)


def chart(home: Path, size: int) -> float:
    """Draw a trend chart of the first study as SVG, after its data were read and another chart was drawn."""
    from evalkit import plots
    from evalkit.plots._rendering import svg

    def draw() -> Any:
        return svg(plots.trend(data, "session_success_rate"))

    with evalkit.connect(home) as kit:
        data = kit.data("agent 0")
        draw()
        return _seconds(draw)


def report(home: Path, size: int) -> float:
    """Write a report on the first study, after a first report."""
    with evalkit.connect(home) as kit:
        kit.report("agent 0", home.parent / "report.html")
        return _seconds(lambda: kit.report("agent 0", home.parent / "report.html"))


def panel(home: Path, size: int) -> float:
    """Open a panel of all studies with a new kit, after a panel of another home."""
    with evalkit.connect(home.parent / "empty") as kit:
        kit.create_study("agent")
        displayed(kit).close()
    with evalkit.connect(home) as kit:
        return _seconds(lambda: displayed(kit, "agent 0").close())


def panel_update(home: Path, size: int) -> float:
    """Show one more checkpoint in an open panel."""
    with evalkit.connect(home) as kit:
        opened = displayed(kit, "agent 0")
        _record_one_more(kit, 2 * size)
        opened.refresh()
        _record_one_more(kit, 3 * size)
        seconds = _seconds(opened.refresh)
        opened.close()
        return seconds


STEPS: dict[str, Callable[[Path, int], float]] = {
    step.__name__: step
    for step in (
        record, rebuild, catch_up, verify, cold_read, three_columns, mirror, scan, warm_read, chart, report, panel, panel_update,
    )
}  # fmt: skip
_OF_ALL = ("cold_read", "warm_read", "panel", "panel_update")


def _record_one_more(kit: evalkit.EvalKit, existing: int) -> None:
    kit.record_checkpoints("agent 0", later_rows(1, existing))


def _seconds(work: Callable[[], Any]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


def _timed(home: Path, work: Callable[[evalkit.EvalKit], Any]) -> float:
    with evalkit.connect(home) as kit:
        kit.status()
        return _seconds(lambda: work(kit))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.growth", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--steps", nargs="+", default=[*STEPS], choices=[*STEPS], metavar="STEP", help=f"of {', '.join(STEPS)}")
    parser.add_argument("--folder", type=Path, help="where to make the homes; by default a temporary folder")
    parser.add_argument("--json", type=Path, default=Path("growth-results.json"), metavar="FILE", help="output file")
    options = parser.parse_args()
    results: dict[str, dict[str, dict[str, float]]] = {}
    print(f"load average before: {os.getloadavg()[0]:.2f}")
    for size in options.sizes:
        with tempfile.TemporaryDirectory(prefix="evalkit-growth-", dir=options.folder) as folder:
            home = Path(folder) / "home"
            of_size = results[str(size)] = {}
            for step in options.steps:
                if step in _OF_ALL and size > _ALL_IN_MEMORY:
                    continue
                call = f"growth.STEPS[{step!r}](Path({str(home)!r}), {size})"
                seconds, memory = in_new_process(f"from tests.bench import growth; result = {call}")
                of_size[step] = {"seconds": seconds, "microseconds_per_checkpoint": seconds / size * 1e6, "peak_memory_mb": memory}
                print(f"{size:>9,} {step:14} {seconds:9.2f} s {seconds / size * 1e6:8.2f} µs each, at most {memory:5,} MB", flush=True)
            used = sum(file.stat().st_size for file in home.rglob("*") if file.is_file())
            print(f"{size:>9,} {'disk':14} {used / 1e9:9.2f} GB, {shutil.disk_usage(folder).free / 1e9:.0f} GB free", flush=True)
            options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
