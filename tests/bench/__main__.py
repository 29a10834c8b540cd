"""Benchmark evalkit against SQLite and Polars, print the ratios, and write them as JSON.

``python -m tests.bench [--only NAME] [--scale 0.1] [--rounds 5] [--json FILE]``. Results are ratios rather than times: evalkit and the
baseline alternate, writers get new files in each round, and the median of five rounds is used.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench import baselines, changes, collecting, notebook, shared, workload
from tests.iggy_server import iggy_binary

_ROOT = Path(__file__).parents[2]
_console = Console(width=150)


@dataclass(frozen=True)
class Kind:
    """A benchmark figure: what is compared, and the required ratio."""

    name: str
    evalkit: str
    baseline: str
    required: float
    at_least: bool = False
    """Whether the ratio is baseline / evalkit with a required minimum; otherwise it is evalkit / baseline with a required maximum."""


KINDS = [
    Kind("rebuild", "rebuild of {events:,} checkpoint events", "executemany of the finished rows", 0.9, at_least=True),
    Kind("frame", "record_checkpoints of a frame of {frame:,}", "executemany of (id, JSON)", 0.4, at_least=True),
    Kind("single", "{single:,} record_checkpoint calls", "sqlite3 transaction + libsql-client batch each", 0.9, at_least=True),
    Kind("read", "kit.checkpoints() of {read:,}", "fetchall + read_ndjson", 0.9, at_least=True),
    Kind("columns", "kit.checkpoints(columns=) of 3 metrics of {read:,}", "kit.checkpoints()", 0.4),
    Kind("mirror", "kit.scan() of {read:,}, collected, with an up-to-date mirror", "kit.checkpoints()", 0.5),
    Kind("memory", "peak memory of that read (KB per checkpoint)", "", 1.5),
    Kind("again", "kit.checkpoints() after 100 more", "the first call", 0.1),
    Kind("import", "import evalkit", baselines.IMPORTS, 1.15),
    Kind("append", "append of {events:,} events to Iggy", "apache-iggy's send_messages, the same batches", 0.5, at_least=True),
    Kind("from iggy", "catch-up of {events:,} from Iggy into a file", "apache-iggy's poll_messages + executemany", 0.7, at_least=True),
    Kind("into sqld", "catch-up of {remote:,} into sqld over http", "libsql-client: INSERT FROM json_each", 0.4, at_least=True),
    Kind("from sqld", "kit.checkpoints() of {remote:,} from sqld", "libsql-client: the rows, page by page", 1.3, at_least=True),
    Kind("latency", "append until visible in another process, over Iggy and sqld (s)", "", 1.5),
    Kind("chart", "plots.trend() of {charted:,}, as a specification", "a plain Altair chart without a row limit", 0.3),
    Kind("chart size", "that specification (kB)", "", 150),
    Kind("custom rebuild", "rebuild of {events:,} with 5 custom metrics", "the same without them", 2.0),
    Kind("custom read", "kit.checkpoints() of {events:,} with 5 custom metrics", "the same without them", 2.0),
    Kind("pinned read", "kit.checkpoints(as_of=pin) of {events:,}", "kit.checkpoints()", 1.5),
    Kind("read of a time", "kit.checkpoints(as_of=time) of {events:,}", "kit.checkpoints()", 1.5),
    Kind("amended", "kit.checkpoints() of {events:,} after 100 amendments", "the first call", 0.2),
    Kind("collect again", "kit.collect() of {logs:,} Inspect logs, nothing new", "the first time", 0.1),
    Kind("read logs", "read_sessions() of {logs:,} Inspect logs", "zipfile + json.loads of their members", 1.5),
    Kind("collect memory", "peak memory of the first kit.collect() (MB)", "", 600),
    Kind("panel", "panel.refresh() after one new checkpoint", "first kit.panel() of a process, displayed", 0.25),
    Kind("panel again", "the same", "a second kit.panel(), displayed", 0.25),
    Kind("panel of many", "the same with {listed:,} studies", "the opening of that panel", 0.4),
    Kind("report", "kit.report() of 120 checkpoints", "drawing its two charts with vl-convert", 3),
]
NEEDS_IGGY = {"append", "from iggy", "latency"}
WITHOUT_BASELINE = {"memory": "KB per checkpoint", "latency": "s", "chart size": "kB", "collect memory": "MB"}
"""Figures without a baseline, and their units."""
Round = tuple[float, float | None]
"""Seconds of evalkit and of the baseline; for figures without a baseline, the value and None."""


def sizes(scale: float) -> dict[str, int]:
    full = {
        "events": 100_000,
        "frame": 10_000,
        "single": 300,
        "read": 300_000,
        "remote": 50_000,
        "charted": 100_000,
        "logs": 10_000,
        "listed": 5000,
    }
    return {name: max(int(size * scale), 20) for name, size in full.items()}


def measure(size: dict[str, int], rounds: int, wanted: set[str], folder: Path) -> dict[str, list[Round]]:
    """Run the benchmarks of the selected figures; one benchmark may measure several figures."""
    results: dict[str, list[Round]] = {name: [] for name in wanted}
    for names, benchmark in (
        ({"rebuild"}, rebuilding),
        ({"frame"}, recording_a_frame),
        ({"single"}, recording_one_by_one),
        ({"read", "memory", "again", "columns", "mirror"}, reading),
        ({"import"}, importing),
        ({"custom rebuild", "custom read", "pinned read", "read of a time"}, changes.with_custom_metrics),
        ({"amended"}, changes.amending),
        ({"collect again", "read logs", "collect memory"}, collecting.collecting),
        ({"append"}, shared.appending),
        ({"from iggy"}, shared.catching_up_from_iggy),
        ({"into sqld", "from sqld"}, shared.catching_up_into_sqld),
        ({"latency"}, shared.reaching_another),
        ({"chart", "chart size"}, notebook.charting),
        ({"panel", "panel again"}, notebook.following),
        ({"panel of many"}, notebook.following_many),
        ({"report"}, notebook.reporting),
    ):
        if wanted.isdisjoint(names):
            continue
        _console.print(f"[dim]{benchmark.__name__.replace('_', ' ')} ...")
        here = folder / benchmark.__name__
        here.mkdir()
        for figures in benchmark(here, size, rounds):
            for name in wanted.intersection(figures):
                results[name].append(figures[name])
        shutil.rmtree(here)
    return results


Benchmark = Callable[[Path, dict[str, int], int], Iterator[dict[str, Round]]]


def rebuilding(folder: Path, size: dict[str, int], rounds: int) -> Iterator[dict[str, Round]]:
    """The rebuild replaces a read model with the same events, so its time includes deleting the old one."""
    workload.make_home(folder / "full", size["events"])
    ddl, rows = workload.finished_rows(folder / "full")
    for _ in range(rounds):
        home = Path(shutil.copytree(folder / "full", folder / "home"))
        ours = _isolated(lambda home=home: workload.rebuild(home))
        theirs = _isolated(lambda: baselines.insert_rows(folder / "plain.db", ddl, "checkpoints", rows))
        yield {"rebuild": (ours, theirs)}
        _remove(home, *folder.glob("plain.db*"))


def recording_a_frame(folder: Path, size: dict[str, int], rounds: int) -> Iterator[dict[str, Round]]:
    frame = workload.frame_to_record(size["frame"])
    for _ in range(rounds):
        home = folder / "home"
        study = workload.make_study_home(home)
        ours = _isolated(lambda home=home, study=study: workload.record_frame(home, study, frame))
        rows = workload.wire_rows(home, len(frame))
        theirs = _isolated(lambda rows=rows: baselines.insert_json(folder / "plain.db", rows))
        yield {"frame": (ours, theirs)}
        _remove(home, *folder.glob("plain.db*"))


def recording_one_by_one(folder: Path, size: dict[str, int], rounds: int) -> Iterator[dict[str, Round]]:
    mappings = workload.mappings_to_record(size["single"])
    for _ in range(rounds):
        home, plain = folder / "home", folder / "plain"
        plain.mkdir()
        study = workload.make_study_home(home)
        ours = _isolated(lambda home=home, study=study: workload.record_one_by_one(home, study, mappings))
        rows = workload.wire_rows(home, len(mappings))
        theirs = _isolated(lambda plain=plain, rows=rows: baselines.insert_one_by_one(plain, rows))
        yield {"single": (ours, theirs)}
        _remove(home, plain)


def reading(folder: Path, size: dict[str, int], rounds: int) -> Iterator[dict[str, Round]]:
    """Both read the same files, each in a new process; the checkpoints that a round adds are present for both in the next one."""
    home = folder / "home"
    workload.make_home(home, size["read"])
    theirs_code = f"from tests.bench import baselines; result = baselines.read(Path({str(home / workload.database_file)!r}))"
    ours_code, columns_code, mirror_code = (
        f"from tests.bench import workload; result = workload.{work}(Path({str(home)!r}))"
        for work in ("read_twice", "read_columns", "scan")
    )
    codes = theirs_code, ours_code, columns_code, mirror_code
    for _ in range(rounds):
        theirs, ours, columns, scanned = (_isolated(lambda code=code: _in_child(code, memory=4096 * size["read"])) for code in codes)
        yield {
            "columns": (columns, ours["first"]),
            "mirror": (scanned, ours["first"]),
            "read": (ours["first"], theirs),
            "memory": (ours["peak"] / ours["rows"] / 1000, None),
            "again": (ours["second"], ours["first"]),
        }


def importing(folder: Path, size: dict[str, int], rounds: int) -> Iterator[dict[str, Round]]:
    def wall(code: str) -> float:
        start = perf_counter()
        subprocess.run([sys.executable, "-c", code], cwd=_ROOT, check=True)
        return perf_counter() - start

    for code in ("import evalkit", baselines.IMPORTS):
        wall(code)  # so that the byte code is compiled and the files are cached
    for _ in range(rounds):
        yield {"import": (wall("import evalkit"), wall(baselines.IMPORTS))}


def _isolated(work: Callable[[], Any]) -> Any:
    """Run a function after collecting garbage and flushing files, so that earlier work does not affect it."""
    gc.collect()
    os.sync()
    return work()


def _in_child(code: str, memory: int) -> Any:
    # A virtual machine gets memory from its host on first use, which takes longer than the benchmark. As much as the larger one of both
    # needs is used before, so that neither is charged for it.
    bytearray(memory)[::4096] = bytes(len(range(0, memory, 4096)))
    return workload.in_new_process(code)[0]


def _remove(*paths: Path) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def summary(kind: Kind, rounds: list[Round], size: dict[str, int]) -> dict[str, Any]:
    """Return a figure for JSON output; its ratio is the median of the ratios of all rounds."""
    if kind.name in WITHOUT_BASELINE:
        ratios = [ours for ours, _ in rounds]
    else:
        ratios = [theirs / ours if kind.at_least else ours / theirs for ours, theirs in rounds if theirs is not None]
    ratio = median(ratios)
    ours = median(ours for ours, _ in rounds)
    theirs = None if kind.name in WITHOUT_BASELINE else median(theirs for _, theirs in rounds if theirs is not None)
    return {
        "name": kind.name,
        "ours": kind.evalkit.format(**size),
        "theirs": kind.baseline,
        "ours_median": ours,
        "theirs_median": theirs,
        "unit": WITHOUT_BASELINE.get(kind.name, "s"),
        "ratio": ratio,
        "ratio_lowest": min(ratios),
        "ratio_highest": max(ratios),
        "ratio_of_medians": ratio if theirs is None else theirs / ours if kind.at_least else ours / theirs,
        "required": kind.required,
        "required_is": "at least" if kind.at_least else "at most",
        "met": ratio >= kind.required if kind.at_least else ratio <= kind.required,
        "rounds": [list(times) for times in rounds],
    }


def table(figures: list[dict[str, Any]], rounds: int) -> Table:
    shown = Table(title=f"evalkit and baselines: medians of {rounds} rounds", title_justify="left")
    for heading in ("", "evalkit", "baseline", "evalkit", "baseline", "ratio", "of medians", "min to max", "required", "met"):
        shown.add_column(heading, justify="right" if heading in ("ratio", "of medians") else "left")
    for figure in figures:
        theirs = figure["theirs_median"]
        shown.add_row(
            figure["name"], figure["ours"], figure["theirs"],
            f"{figure['ours_median']:.3f} {figure['unit'][:2]}", "" if theirs is None else f"{theirs:.3f} s",
            f"{figure['ratio']:.3f}", f"{figure['ratio_of_medians']:.3f}", f"{figure['ratio_lowest']:.3f} to {figure['ratio_highest']:.3f}",
            f"{figure['required_is']} {figure['required']:g}", "[green]yes" if figure["met"] else "[red]no",
        )  # fmt: skip
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("bench-results.json"), metavar="FILE", help="output file")
    parser.add_argument("--only", action="append", choices=[kind.name for kind in KINDS], help="measure only this figure (repeatable)")
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the full size")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    load = round(os.getloadavg()[0], 2)
    wanted = set(options.only or [kind.name for kind in KINDS])
    if iggy_binary() is None and (skipped := sorted(wanted & NEEDS_IGGY)):
        _console.print(f"[yellow]Skipped, because iggy-server is not on the PATH: {', '.join(skipped)}")
        wanted -= NEEDS_IGGY
    size = sizes(options.scale)
    with tempfile.TemporaryDirectory(prefix="evalkit-bench-") as folder:
        results = measure(size, options.rounds, wanted, Path(folder))
    figures = [summary(kind, results[kind.name], size) for kind in KINDS if kind.name in wanted]
    _console.print(table(figures, options.rounds))
    _console.print(f"Load average before the run: {load} on {os.cpu_count()} processors. Other processes make the ratios less accurate.")
    if options.scale != 1:
        _console.print("[yellow]Not the full size: the required ratios apply to --scale 1.")
    about = {
        "scale": options.scale,
        "rounds": options.rounds,
        "cpus": os.cpu_count(),
        "load_before": load,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }
    options.json.write_text(json.dumps({**about, "figures": figures}, indent=2) + "\n")
    _console.print(f"Written to {options.json}", highlight=False)


if __name__ == "__main__":
    main()
