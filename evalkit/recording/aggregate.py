"""What a recorder notes of each agent session, and the metrics computed from a list of them. Pure."""

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
"""The metrics that come from the sessions."""


@dataclass(frozen=True, kw_only=True)
class SessionRecord:
    """One agent session that ended."""

    name: str
    """Unique within the journal."""
    nanoseconds: int
    """How long it took."""
    succeeded: bool
    """Whether success was reported, and no exception came after."""
    reported: bool = True
    """Whether anything was: success, failure, or an exception."""
    iterations: int | None = None
    """The attempts it took, 1 or more; None when not reported."""
    tokens: int | None = None
    """The tokens that all models read and wrote; None when not reported."""
    cost: float | None = None
    """What it cost, in US dollars; None when not reported."""
    error: str | None = None
    """The type of the exception that ended it."""


def aggregate(sessions: Sequence[SessionRecord]) -> dict[str, Any]:
    """Return the metrics that the sessions determine, by name; None for one that they do not. `Recorder` has the table of the formulas.

    Parameters
    ----------
    sessions
        Those that ended, in any order.

    Returns
    -------
    mapping
        The names in `COMPUTED`. The duration is ``(seconds, nanoseconds)``, costs are US dollars.
    """
    count = len(sessions)
    solved = [session for session in sessions if session.succeeded]
    attempts = [session.iterations for session in solved if session.iterations is not None]
    known = len(attempts) == len(solved)
    tokens = [session.tokens for session in sessions if session.tokens is not None]
    costs = [session.cost for session in sessions if session.cost is not None]
    total_cost = math.fsum(costs) if len(costs) == count else None
    mean = round(Fraction(sum(session.nanoseconds for session in sessions), count)) if count else None
    return {
        "sessions_completed": count,
        "session_success_rate": len(solved) / count if count else None,
        "avg_session_duration": None if mean is None else divmod(mean, 1_000_000_000),
        "tasks_completed": count,
        "first_attempt_success_rate": attempts.count(1) / count if count and known else None,
        "avg_iterations_to_success": sum(attempts) / len(attempts) if attempts and known else None,
        "total_tokens": sum(tokens) if len(tokens) == count else None,
        "total_cost": total_cost,
        "cost_per_successful_task": total_cost / len(solved) if solved and total_cost is not None else None,
    }
