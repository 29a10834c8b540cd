"""The 16 metrics that every study has, and the names that no other metric can have.

Columns, dtypes, axes, forms, checks and the tables of the documentation are made from `METRICS`.
"""

from __future__ import annotations

from typing import Literal

from evalkit.domain.definitions import Metric, definition_of, is_name
from evalkit.domain.times import MAX_COUNT

__all__ = ["METRICS", "RESERVED", "counted", "custom_definition", "is_custom_name"]


def _count(name: str, group: str, description: str, *, unit: str = "") -> Metric:
    return Metric(name, kind="count", better="neither", unit=unit, high=MAX_COUNT, group=group, description=description)


def _rate(
    name: str,
    group: str,
    description: str,
    *,
    label: str | None = None,
    denominator: str | None = None,
    better: Literal["up", "down"] = "up",
) -> Metric:
    return Metric(name, kind="rate", better=better, label=label, denominator=denominator, group=group, description=description)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _count("sessions_completed", "Volume", "Agent sessions that ended in the period."),
        _rate("session_success_rate", "Success", "Completed sessions that reached their goal.", denominator="sessions_completed"),
        Metric(
            "avg_session_duration", label="Average session duration", kind="duration", group="Effort", denominator="sessions_completed",
            better="down", description="Mean wall-clock time of a completed session.",
        ),
        _count("tasks_completed", "Volume", "Tasks that the agent finished, solved or not."),
        _rate(
            "first_attempt_success_rate",
            "Success",
            "Completed tasks solved at the first attempt.",
            denominator="tasks_completed",
            label="First-attempt success rate",
        ),
        Metric(
            "avg_iterations_to_success", label="Average iterations to success", kind="number", low=0, group="Effort", better="down",
            description="Mean number of attempts that a solved task took; the number of solved tasks is not recorded.",
        ),
        _rate("agent_efficiency", "Success", "Useful share of the agent's work."),
        _rate("tool_success_rate", "Success", "Tool calls that succeeded, of all tool calls; their number is not recorded."),
        _rate(
            "self_correction_rate",
            "Success",
            "Failures that the agent corrected without help; their number is not recorded.",
            label="Self-correction rate",
        ),
        _rate("swarm_coordination_overhead", "Coordination", "Share of the work spent on coordinating agents.", better="down"),
        _rate("parallelism_efficiency", "Coordination", "Achieved share of the ideal parallel speedup."),
        _count("learnings_applied", "Learning", "Earlier learnings that the agent used in the period."),
        _rate("learning_effectiveness", "Learning", "Share of the applied learnings that helped."),
        _count("total_tokens", "Volume", "Tokens read and written by all models.", unit="tokens"),
        Metric(
            "total_cost", label="Total cost", kind="money", group="Cost", better="neither",
            description="Money spent in the period.",
        ),
        Metric(
            "cost_per_successful_task", label="Cost per successful task", kind="money", group="Cost", rollup="ratio", better="down",
            description="Total cost divided by the number of solved tasks.",
        ),
    )
}  # fmt: skip
"""The 16 metrics by name, in wire order."""

RESERVED = frozenset(
    (
        *METRICS, "period", "custom", "study_id", "study", "period_type", "period_value", "checkpoint_id", "timestamp", "recorded_at",
        "period_start", "period_end", "events_analyzed", "sessions_included", "revision", "collector", "key", "name", "status",
        "description", "tags", "metadata", "created_at", "started_at", "stopped_at", "checkpoints", "last_period_end", "archived", "seq",
        "kind", "at", "event_id", "outcome", "reason", "message", "metric", "value", "count", "unit", "better", "label", "low", "high",
        "denominator", "rollup", "group", "primary", "note_id", "until", "category", "text", "author", "old", "new", "written_at",
        "provenance", "start", "end", "partial", "parts", "covered", "session_time", "row", "log_offset", "t",
        "begin", "finish", "is_run", "overlaps", "straddles",
    )
)  # fmt: skip
"""Names that a custom metric cannot have: the 16 metrics, and the columns of all frames."""


def counted(denominator: str) -> str:
    """Return what a denominator counts, for use in a sentence.

    Examples
    --------
    >>> counted("sessions_completed"), counted("tool_calls")
    ('sessions completed', 'tool calls')
    """
    return METRICS[denominator].label.lower() if denominator in METRICS else denominator.replace("_", " ")


def is_custom_name(name: object) -> bool:
    """Return whether a custom metric can have a name.

    Examples
    --------
    >>> is_custom_name("refusal_rate"), is_custom_name("total_cost"), is_custom_name("Refusals")
    (True, False, False)
    """
    return isinstance(name, str) and is_name(name) and name not in RESERVED


def custom_definition(values: object) -> Metric:
    """Return the definition of a custom metric in an event.

    Raises
    ------
    ValueError
        If it is not valid.

    Examples
    --------
    >>> custom_definition({"name": "retries", "kind": "count", "better": "down"}).label
    'Retries'
    """
    metric = values if isinstance(values, Metric) else definition_of(values)
    if not is_custom_name(metric.name):
        raise ValueError(f"the name {metric.name!r} is reserved")
    if metric.rollup == "ratio":
        raise ValueError("the rollup 'ratio' is reserved")
    return metric
