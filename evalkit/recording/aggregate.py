"""The record of an agent session, and the metrics computed from a list of records. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

__all__ = ["COMPUTED", "SessionRecord", "aggregate"]

COMPUTED = (
    "sessions_completed", "session_success_rate", "avg_session_duration", "tasks_completed", "first_attempt_success_rate",
    "avg_iterations_to_success", "total_tokens", "total_cost", "cost_per_successful_task",
)  # fmt: skip
"""The metrics that are computed from the sessions."""


@dataclass(frozen=True, kw_only=True)
class SessionRecord:
    """One completed agent session: succeeded or failed, not interrupted.

    Examples
    --------
    >>> SessionRecord(name="task 1", nanoseconds=1_500_000_000, succeeded=True, iterations=1, tokens=1200, cost=0.03).succeeded
    True
    """

    name: str
    """Unique within the journal."""
    nanoseconds: int
    """Duration, in nanoseconds."""
    succeeded: bool
    """Whether success was reported and no exception followed."""
    reported: bool = True
    """Whether the session had an outcome: reported success or failure, or an exception."""
    iterations: int | None = None
    """Number of attempts, at least 1; None if not reported."""
    tokens: int | None = None
    """Input and output tokens of all models; None if not reported."""
    cost: float | None = None
    """Cost in US dollars; None if not reported."""
    error: str | None = None
    """Type of the exception that ended the session; None without one."""


def aggregate(sessions: Sequence[SessionRecord]) -> dict[str, Any]:
    """Compute the metrics of a list of sessions.

    The formulas are in the documentation of `Recorder`.

    Parameters
    ----------
    sessions
        Completed sessions, in any order.

    Returns
    -------
    dict
        The value of each metric in `COMPUTED`, None if it is missing. The duration is ``(seconds, nanoseconds)``; costs are US dollars.

    Examples
    --------
    >>> sessions = [SessionRecord(name=str(number), nanoseconds=10**9, succeeded=number > 0) for number in range(4)]
    >>> metrics = aggregate(sessions)
    >>> metrics["session_success_rate"], metrics["avg_session_duration"], metrics["total_cost"]
    (0.75, (1, 0), None)
    """
    count = len(sessions)
    succeeded = [session for session in sessions if session.succeeded]
    attempts = [session.iterations for session in succeeded if session.iterations is not None]
    attempts_known = len(attempts) == len(succeeded)
    tokens = [session.tokens for session in sessions if session.tokens is not None]
    costs = [session.cost for session in sessions if session.cost is not None]
    total_cost = math.fsum(costs) if len(costs) == count else None
    mean = round(Fraction(sum(session.nanoseconds for session in sessions), count)) if count else None
    return {
        "sessions_completed": count,
        "session_success_rate": len(succeeded) / count if count else None,
        "avg_session_duration": None if mean is None else divmod(mean, 1_000_000_000),
        "tasks_completed": count,
        "first_attempt_success_rate": attempts.count(1) / count if count and attempts_known else None,
        "avg_iterations_to_success": sum(attempts) / len(attempts) if attempts and attempts_known else None,
        "total_tokens": sum(tokens) if len(tokens) == count else None,
        "total_cost": total_cost,
        "cost_per_successful_task": total_cost / len(succeeded) if succeeded and total_cost is not None else None,
    }
