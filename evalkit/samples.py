"""Sample checkpoints and a temporary kit, for demonstrations, notebooks and tests.

The checkpoints are generated from a seed. Their values are plausible and consistent.
"""

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
from evalkit.domain.time_input import check_time
from evalkit.domain.validation import check_count, check_period

__all__ = ["sample_checkpoints", "trial_kit"]

_SESSIONS = {PeriodType.HOURLY: 6, PeriodType.DAILY: 30, PeriodType.WEEKLY: 90, PeriodType.MONTHLY: 300}
_KEYS = {PeriodType.HOURLY: "%Y-%m-%dT%H", PeriodType.DAILY: "%Y-%m-%d", PeriodType.WEEKLY: "%G-W%V", PeriodType.MONTHLY: "%Y-%m"}
_DOLLARS_PER_TOKEN = 4e-6
_PREFIX = "evalkit-trial-"
_LOCK = "in-use.lock"


def trial_kit() -> EvalKit:
    """Open a kit in a temporary folder, which is deleted when this process ends.

    Log and read model are files in this folder, even if the environment has the URLs of servers. If the environment variable
    ``EVALKIT_TRIAL_HOME`` is set, its value is the folder, which is not deleted.

    Examples
    --------
    >>> trial_kit().create_study("first try")
    Study('first try', pending, daily)
    """
    if configured := os.environ.get("EVALKIT_TRIAL_HOME"):
        return _embedded(Path(configured).expanduser().absolute())
    _delete_abandoned_homes()
    home = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = FileLock(home / _LOCK, thread_local=False)
    lock.acquire()
    kit = _embedded(home)
    atexit.register(_close_and_delete, kit, lock, home, os.getpid())
    return kit


def _embedded(home: Path) -> EvalKit:
    return connect(home, log_url=f"sqlite:{home / 'events.db'}", database_url=f"file:{home / 'evalkit.db'}")


def _close_and_delete(kit: EvalKit, lock: FileLock, home: Path, pid: int) -> None:
    if os.getpid() == pid:  # not when a forked process ends
        kit.close()
        lock.release()
        shutil.rmtree(home, ignore_errors=True)


def _delete_abandoned_homes() -> None:
    """Delete the folders of processes that were killed, such as notebook kernels."""
    for home in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # filelock.Timeout is an OSError: the folder is in use
            # A new folder may not be locked yet.
            if time.time() - home.stat().st_mtime > 60:
                with FileLock(home / _LOCK, blocking=False):
                    pass
                shutil.rmtree(home, ignore_errors=True)


def sample_checkpoints(
    period_type: PeriodType | str, start: datetime | str, count: int, *, seed: int, level: float = 0.3, trend: float = 0.0
) -> list[dict[str, Any]]:
    """Return sample checkpoints of a coding agent for consecutive periods.

    All numbers of a row are computed from the same simulated sessions, tasks and tool calls, so they are consistent: a rate is exactly k/n,
    `total_cost` / `cost_per_successful_task` is the number of solved tasks, and `sessions_included` has one name per completed session. The
    rows are reproducible, and a larger `count` only adds rows.

    Parameters
    ----------
    period_type
        The length of a period, for example ``"weekly"``.
    start
        The start of the first period, with a time zone. Each period starts where the previous one ends.
    count
        The number of periods.
    seed
        The seed of the random numbers.
    level
        The log-odds of success in the first period: 0 is a rate of 0.5, 0.3 a rate of 0.57, and 1 a rate of 0.73.
    trend
        The change of the log-odds per period. 0.15 is a clear improvement within ten periods; negative values are a decline. Concatenate
        the rows of several calls for a history with turning points.

    Returns
    -------
    list of dict
        Rows for ``kit.record_checkpoints``: the 16 metrics (None if the denominator is 0), period_start, period_end, recorded_at (at most 4
        minutes after the end of the period), events_analyzed, sessions_included, and the period's name as key (``"2026-W05"``).

    Raises
    ------
    InvalidInputError
        When the period type is unknown, the start is not a time with a time zone, or the count is not a whole number.

    Examples
    --------
    >>> rows = sample_checkpoints("weekly", "2026-01-26T00:00:00Z", 2, seed=1)
    >>> [row["key"] for row in rows]
    ['2026-W05', '2026-W06']
    """
    kind, _ = check_period(period_type)
    first = check_time("start", start)
    return [_row(kind, first, index, seed, level + trend * index) for index in range(check_count("count", count))]


def _row(kind: PeriodType, first: datetime, index: int, seed: int, odds: float) -> dict[str, Any]:
    random = Random(f"{seed} {index}")  # noqa: S311  (reproducible sample data)
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
    first_attempt = _hits(random, tasks, _chance(odds - 0.6))
    corrected = _hits(random, tasks - first_attempt, _chance(odds - 0.4))
    solved = first_attempt + corrected
    attempts = first_attempt + sum(random.choice((2, 2, 3, 4)) for _ in range(corrected))
    calls = tasks * random.randint(8, 14)
    learnings = _hits(random, sessions, 0.4)
    tokens = sum(random.randint(6_000, 30_000) for _ in range(tasks + attempts))
    cost = tokens * _DOLLARS_PER_TOKEN
    return {
        "sessions_completed": sessions,
        "session_success_rate": succeeded / sessions,
        "avg_session_duration": timedelta(microseconds=round(random.uniform(400, 700) * (1.5 - better) * 1_000_000)),
        "tasks_completed": tasks,
        "first_attempt_success_rate": first_attempt / tasks,
        "avg_iterations_to_success": attempts / solved if solved else None,
        "agent_efficiency": round(min(1.0, better * random.uniform(0.9, 1.1)), 4),
        "tool_success_rate": _hits(random, calls, 0.9 + 0.08 * better) / calls,
        "self_correction_rate": corrected / (tasks - first_attempt) if tasks > first_attempt else None,
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
