"""The record of an agent session, and the metrics computed from a list of records. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from evalkit._util.text import plural
from evalkit.domain.definitions import Metric
from evalkit.domain.validation import custom_check
from evalkit.errors import InvalidInputError
from evalkit.metrics import STANDARD

__all__ = ["COMPUTED", "COMPUTED_STANDARD", "SessionRecord", "aggregate", "aggregate_custom", "combination", "is_computed", "session_check"]

COMPUTED = (
    "sessions_completed", "session_success_rate", "avg_session_duration", "tasks_completed", "first_attempt_success_rate",
    "avg_iterations_to_success", "total_tokens", "total_cost", "cost_per_successful_task",
)  # fmt: skip
"""The metrics that are computed from the sessions."""

COMPUTED_STANDARD = ("sessions_attempted", "sessions_invalid", "tasks_solved")
"""The standard definitions whose metrics are computed from the sessions, in a study that has them."""
_EVERY_SESSION = (None, "sessions_completed", "tasks_completed")
"""The denominators of which a session counts 1."""


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
    custom: dict[str, float] = field(default_factory=dict)
    """Reported values of the study's own metrics by name."""


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


def is_computed(metric: Metric) -> bool:
    """Return whether a custom metric is computed from the sessions.

    It has one of the names in `COMPUTED_STANDARD` and the meaning of the standard definition; label, group, range and `primary` may
    differ.

    Examples
    --------
    >>> is_computed(STANDARD["tasks_solved"]), is_computed(Metric("tasks_solved", kind="count", better="up"))
    (True, False)
    """
    standard = STANDARD[metric.name] if metric.name in COMPUTED_STANDARD else None
    return standard is not None and not standard.differences(metric) and standard.description == metric.description


def combination(metric: Metric) -> str:
    """Return how a block combines the values of its sessions.

    That is the roll-up of the metric. Without one, counts and money are summed, and other values are averaged, weighted by the
    denominator if there is one.

    Returns
    -------
    str
        ``"sum"``, ``"weighted"``, ``"min"``, ``"max"`` or ``"last"``.

    Examples
    --------
    >>> combination(Metric("refusals", kind="count", better="down")), combination(Metric("judge_score", kind="score", better="up"))
    ('sum', 'weighted')
    """
    if metric.rollup != "none":
        return metric.rollup
    return "sum" if metric.kind in ("count", "money") else "weighted"


def session_check(metric: Metric) -> Callable[[str, object], float]:
    """Return the check of a session's value of a custom metric.

    True and False are 1 and 0 for rates and numbers. The range of a metric that is summed applies to the sum only.

    Examples
    --------
    >>> session_check(Metric("passed_review", kind="rate", better="up"))("passed_review", True)
    1.0
    """
    check = custom_check(Metric(metric.name, kind=metric.kind, better=metric.better) if combination(metric) == "sum" else metric)
    if metric.kind not in ("rate", "number"):
        return check

    def check_with_flags(name: str, value: object) -> float:
        is_flag = type(value).__name__ in ("bool", "bool_")  # those of Python and NumPy
        return check(name, float(bool(value)) if is_flag else value)

    return check_with_flags


def aggregate_custom(
    sessions: Sequence[SessionRecord], definitions: Mapping[str, Metric], interrupted: int = 0
) -> tuple[dict[str, float], dict[str, str]]:
    """Compute the custom metrics of a list of sessions.

    The rules are in the documentation of `Recorder`.

    Parameters
    ----------
    sessions
        Completed sessions, in order of completion.
    definitions
        The definitions of the study's custom metrics by name.
    interrupted
        The number of interrupted sessions.

    Returns
    -------
    values
        The values by name, not checked against the range of the definition.
    missing
        The reason for each other metric that a session reported, as the beginning of ``"... of refusals"``.

    Examples
    --------
    >>> refusals = Metric("refusals", kind="count", better="down")
    >>> session = SessionRecord(name="a", nanoseconds=1, succeeded=True, custom={"refusals": 2})
    >>> aggregate_custom([session, session], {"refusals": refusals})
    ({'refusals': 4}, {})
    >>> aggregate_custom([session, SessionRecord(name="b", nanoseconds=1, succeeded=True)], {"refusals": refusals})
    ({}, {'refusals': '1 of 2 sessions has no value'})
    """
    values: dict[str, float] = {}
    missing: dict[str, str] = {}
    for name in dict.fromkeys(name for session in sessions for name in session.custom):
        metric = definitions.get(name)
        if metric is None:
            missing[name] = "The study has no definition"
        elif not is_computed(metric):
            column = _column(metric, sessions)
            weights = _weights(metric, sessions, definitions)
            reason = _reason(metric, column, weights)
            if reason is not None:
                missing[name] = reason
            elif any(weights):
                values[name] = _combined(metric, column, weights)
    counts = (len(sessions) + interrupted, interrupted, sum(session.succeeded for session in sessions))
    computed = zip(COMPUTED_STANDARD, counts, strict=True)
    return values | {name: count for name, count in computed if name in definitions and is_computed(definitions[name])}, missing


def _column(metric: Metric, sessions: Sequence[SessionRecord]) -> list[float | None]:
    """Return the value of each session; None for a missing one.

    A value that was reported before its metric was defined is missing if the definition does not allow it.
    """
    check = session_check(metric)
    values: list[float | None] = []
    for session in sessions:
        try:
            value = session.custom.get(metric.name)
            values.append(None if value is None else check(metric.name, value))
        except InvalidInputError:
            values.append(None)
    return values


def _weights(metric: Metric, sessions: Sequence[SessionRecord], definitions: Mapping[str, Metric]) -> Sequence[float | None]:
    """Return the weight of each session: 0 if its value is not used, None if it is unknown."""
    how, denominator = combination(metric), metric.denominator
    if how == "last":
        return [0] * (len(sessions) - 1) + [1]
    if how != "weighted" or denominator in _EVERY_SESSION:
        return [1] * len(sessions)
    if denominator == "total_tokens":
        return [session.tokens for session in sessions]
    counted = definitions.get(denominator or "")
    if counted is None or counted.kind != "count":  # a definition by another program may have any denominator
        return [None] * len(sessions)
    if counted.name == "tasks_solved" and is_computed(counted):
        return [int(session.succeeded) for session in sessions]
    return _column(counted, sessions)


def _reason(metric: Metric, column: Sequence[float | None], weights: Sequence[float | None]) -> str | None:
    """Return why a metric is missing; None if it is not, or if all weights are 0."""
    unknown = weights.count(None)
    if unknown:
        return f"{_of(unknown, len(weights))} no value of {metric.denominator}, the denominator"
    without = sum(value is None for value, weight in zip(column, weights, strict=True) if weight)
    if not without:
        return None
    return "The last session has no value" if combination(metric) == "last" else f"{_of(without, sum(map(bool, weights)))} no value"


def _of(count: int, total: int) -> str:
    return f"{count:,} of {plural(total, 'session')} {'has' if count == 1 else 'have'}"


def _combined(metric: Metric, column: Sequence[float | None], weights: Sequence[float | None]) -> float:
    """Return the combined value of the sessions that have a weight, rounded once."""
    used = [(value, int(weight)) for value, weight in zip(column, weights, strict=True) if weight and value is not None]
    match combination(metric):
        case "sum":
            exact = _sum_of_products(used)
        case "min":
            return min(value for value, _ in used)
        case "max":
            return max(value for value, _ in used)
        case _:
            exact = _sum_of_products(used) / sum(weight for _, weight in used)
    if metric.kind == "count" and exact.denominator == 1:
        return int(exact)
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf  # which no definition allows


def _sum_of_products(pairs: Sequence[tuple[float, int]]) -> Fraction:
    """Return the exact sum of all products of a finite number and an integer."""
    ratios = [(*value.as_integer_ratio(), weight) for value, weight in pairs]
    scale = max(denominator for _, denominator, _ in ratios)  # a power of two, like all denominators of floats
    return Fraction(sum(numerator * (scale // denominator) * weight for numerator, denominator, weight in ratios), scale)
