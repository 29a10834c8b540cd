"""Sample checkpoints: seeded, plausible, and in themselves consistent, and a kit to try things in: for demonstrations, notebooks, tests."""

from __future__ import annotations

import atexit
import math
import os
import shutil
import tempfile
import time
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from filelock import FileLock

from evalkit import EvalKit, PeriodType, connect
from evalkit.domain.periods import shifted
from evalkit.domain.validation import check_count, check_period, check_time

__all__ = ["sample_checkpoints", "trial_kit"]

_SESSIONS = {PeriodType.HOURLY: 6, PeriodType.DAILY: 30, PeriodType.WEEKLY: 90, PeriodType.MONTHLY: 300}
_KEYS = {PeriodType.HOURLY: "%Y-%m-%dT%H", PeriodType.DAILY: "%Y-%m-%d", PeriodType.WEEKLY: "%G-W%V", PeriodType.MONTHLY: "%Y-%m"}
_DOLLARS_A_TOKEN = 4e-6
_PREFIX = "evalkit-trial-"
_LOCK = "in-use.lock"


def trial_kit() -> EvalKit:
    """Open a kit to try things in: in a temporary folder that goes when this process ends, whatever engines the environment names.

    Where ``EVALKIT_TRIAL_HOME`` is set it is that folder instead, which stays: then what was tried outlives a kernel.
    """
    if kept := os.environ.get("EVALKIT_TRIAL_HOME"):
        return _embedded(Path(kept).expanduser().absolute())
    _clear_after_the_dead()
    home = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = FileLock(home / _LOCK, thread_local=False)
    lock.acquire()
    kit = _embedded(home)
    atexit.register(_clear_away, kit, lock, home, os.getpid())
    return kit


def _embedded(home: Path) -> EvalKit:
    return connect(home, log_url=f"sqlite:{home / 'events.db'}", database_url=f"file:{home / 'evalkit.db'}")


def _clear_away(kit: EvalKit, lock: FileLock, home: Path, pid: int) -> None:
    if os.getpid() == pid:  # not at the end of a forked process
        kit.close()
        lock.release()
        shutil.rmtree(home, ignore_errors=True)


def _clear_after_the_dead() -> None:
    """Delete the folders of processes that were killed, which a notebook's kernel often is."""
    for home in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # filelock.Timeout is one: the folder is in use
            # One that was made this minute may not be locked yet.
            if time.time() - home.stat().st_mtime > 60:
                with FileLock(home / _LOCK, blocking=False):
                    pass
                shutil.rmtree(home, ignore_errors=True)


def sample_checkpoints(
    period_type: PeriodType | str, start: datetime | str, count: int, *, seed: int, level: float = 0.3, trend: float = 0.0
) -> list[dict[str, Any]]:
    """Make up what an agent that does coding tasks might have measured, period after period.

    The numbers of a row come from one made-up list of sessions, tasks and tool calls, so they agree with each other: a rate is exactly k/n,
    `total_cost` / `cost_per_successful_task` is the number of solved tasks, `sessions_included` names as many sessions as were completed.
    The same arguments give the same rows, and a larger `count` the same ones and more after them.

    Parameters
    ----------
    period_type
        The length of a period, for example ``"weekly"``.
    start
        The start of the first period, with a time zone. Each period starts where the one before it ends.
    count
        The number of periods.
    seed
        Another one gives another agent.
    level
        How good the agent is in the first period: its log-odds of success. 0 is a rate of 0.5, 0.3 one of 0.57, 1 one of 0.73.
    trend
        How much better it gets each period: what is added to the log-odds. 0.15 is a clear improvement within ten periods; a negative one
        gets worse. For a history with turns, join calls that begin where the one before ends.

    Returns
    -------
    list of mappings
        As ``kit.record_checkpoints`` takes them: the 16 metrics, None where there is nothing to measure, and period_start, period_end,
        recorded_at (within 4 minutes of the period's end), events_analyzed, sessions_included, and the period's name as key
        (``"2026-W05"``).

    Raises
    ------
    InvalidInputError
        When the period type is none, the start no time with a time zone, or the count no whole number.
    """
    kind, _ = check_period(period_type)
    first = check_time("start", start)
    return [_row(kind, first, index, seed, level + trend * index) for index in range(check_count("count", count))]


def _row(kind: PeriodType, first: datetime, index: int, seed: int, odds: float) -> dict[str, Any]:
    random = Random(f"{seed} {index}")  # noqa: S311  (sample data, to be the same every time)
    begin, end = shifted(kind, first, index), shifted(kind, first, index + 1)
    key = begin.strftime(_KEYS[kind])
    return {
        **_measured(random, _SESSIONS[kind], odds, key),
        "period_start": begin,
        "period_end": end,
        "recorded_at": end + timedelta(seconds=random.randrange(5, 240)),
        "key": key,
    }


def _measured(random: Random, usual: int, odds: float, key: str) -> dict[str, Any]:
    better = _chance(odds)
    sessions = max(1, round(usual * random.uniform(0.8, 1.2)))
    succeeded = _hits(random, sessions, better)
    tasks = sum(random.choice((1, 1, 2, 3)) for _ in range(sessions))
    at_once = _hits(random, tasks, _chance(odds - 0.6))
    mended = _hits(random, tasks - at_once, _chance(odds - 0.4))
    solved = at_once + mended
    attempts = at_once + sum(random.choice((2, 2, 3, 4)) for _ in range(mended))
    calls = tasks * random.randint(8, 14)
    learnings = _hits(random, sessions, 0.4)
    tokens = sum(random.randint(6_000, 30_000) for _ in range(tasks + attempts))
    cost = tokens * _DOLLARS_A_TOKEN
    return {
        "sessions_completed": sessions,
        "session_success_rate": succeeded / sessions,
        "avg_session_duration": timedelta(microseconds=round(random.uniform(400, 700) * (1.5 - better) * 1_000_000)),
        "tasks_completed": tasks,
        "first_attempt_success_rate": at_once / tasks,
        "avg_iterations_to_success": attempts / solved if solved else None,
        "agent_efficiency": round(min(1.0, better * random.uniform(0.9, 1.1)), 4),
        "tool_success_rate": _hits(random, calls, 0.9 + 0.08 * better) / calls,
        "self_correction_rate": mended / (tasks - at_once) if tasks > at_once else None,
        "swarm_coordination_overhead": round(random.uniform(0.08, 0.18) * (1.4 - better), 4),
        "parallelism_efficiency": round(random.uniform(0.6, 0.8), 4),
        "learnings_applied": learnings,
        "learning_effectiveness": _hits(random, learnings, better) / learnings if learnings else None,
        "total_tokens": tokens,
        "total_cost": cost,
        "cost_per_successful_task": cost / solved if solved else None,
        "events_analyzed": calls + 2 * sessions,
        "sessions_included": [f"{key}-{number:03}" for number in range(1, sessions + 1)],
    }


def _chance(odds: float) -> float:
    return 1 / (1 + math.exp(-max(-700.0, min(700.0, odds))))


def _hits(random: Random, tries: int, chance: float) -> int:
    return sum(random.random() < chance for _ in range(tries))
