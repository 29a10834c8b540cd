"""Benchmarks of custom metrics, earlier states and amendments, each against the same work without them."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import evalkit
from evalkit import EvalKit
from tests.bench import workload

__all__ = ["amending", "with_custom_metrics"]

_CUSTOM = 5
_CORRECTED = 100


def with_custom_metrics(folder: Path, size: dict[str, int], rounds: int) -> Iterator[dict[str, tuple[float, float | None]]]:
    """Rebuild and cold read of a home with 5 custom metrics and of one without; and reads of earlier states."""
    homes = {"plain": folder / "plain", "custom": folder / "custom"}
    workload.make_home(homes["plain"], size["events"])
    workload.make_home(homes["custom"], size["events"], custom=_CUSTOM)
    for _ in range(rounds):
        rebuilt = {name: _timed_rebuild(home) for name, home in homes.items()}
        read = {name: _cold_read(home) for name, home in homes.items()}
        with evalkit.connect(homes["plain"]) as kit:
            pin = kit.pin()
        pinned, at_time = _cold_read(homes["plain"], as_of=pin), _cold_read(homes["plain"], as_of=datetime.now(UTC))
        yield {
            "custom rebuild": (rebuilt["custom"], rebuilt["plain"]),
            "custom read": (read["custom"], read["plain"]),
            "pinned read": (pinned, read["plain"]),
            "read of a time": (at_time, read["plain"]),
        }


def amending(folder: Path, size: dict[str, int], rounds: int) -> Iterator[dict[str, tuple[float, float | None]]]:
    """The read that follows 100 amendments, and the first one."""
    workload.make_home(folder / "full", size["events"])
    for _ in range(rounds):
        home = Path(shutil.copytree(folder / "full", folder / "home"))
        with evalkit.connect(home) as kit:
            kit.status()
            first = _timed_read(kit)
            for checkpoint_id in kit.checkpoints()["checkpoint_id"].tail(_CORRECTED).to_list():
                kit.amend_checkpoint(checkpoint_id, {"total_cost": 1.0}, reason="benchmark")
            amended = _timed_read(kit)
        yield {"amended": (amended, first)}
        shutil.rmtree(home)


def _timed_rebuild(home: Path) -> float:
    _settle()
    return workload.rebuild(home)


def _cold_read(home: Path, **options: Any) -> float:
    with evalkit.connect(home) as kit:
        kit.status()
        return _timed_read(kit, **options)


def _timed_read(kit: EvalKit, **options: Any) -> float:
    _settle()
    start = perf_counter()
    frame = kit.checkpoints(**options)
    seconds = perf_counter() - start
    assert len(frame)
    return seconds


def _settle() -> None:
    gc.collect()
    os.sync()
