"""The 16 metrics of every study, standard ones to add, and reserved names.

Columns, dtypes, axes, forms, checks and the tables of the documentation are made from `METRICS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from evalkit.domain.definitions import Metric, definition_of, is_name
from evalkit.domain.times import MAX_COUNT

__all__ = ["METRICS", "RESERVED", "STANDARD", "counted", "custom_definition", "is_custom_name", "standard_metrics"]


def _count(name: str, group: str, description: str, *, unit: str = "", high: int | None = None) -> Metric:
    return Metric(name, kind="count", better="neither", unit=unit, high=high, group=group, description=description)


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
        _count("sessions_completed", "Volume", "Agent sessions that ended in the period.", high=MAX_COUNT),
        _rate("session_success_rate", "Success", "Completed sessions that reached their goal.", denominator="sessions_completed"),
        Metric(
            "avg_session_duration", label="Average session duration", kind="duration", group="Effort", denominator="sessions_completed",
            better="down", description="Mean wall-clock time of a completed session.",
        ),
        _count("tasks_completed", "Volume", "Tasks that the agent finished, solved or not.", high=MAX_COUNT),
        _rate(
            "first_attempt_success_rate",
            "Success",
            "Completed tasks solved at the first attempt.",
            denominator="tasks_completed",
            label="First-attempt success rate",
        ),
        Metric(
            "avg_iterations_to_success", label="Average iterations to success", kind="number", low=0, group="Effort", better="down",
            description="Mean number of attempts that a solved task took.",
        ),
        _rate("agent_efficiency", "Success", "Useful share of the agent's work."),
        _rate("tool_success_rate", "Success", "Tool calls that succeeded, of all tool calls."),
        _rate(
            "self_correction_rate",
            "Success",
            "Failures that the agent corrected without help; their number is not recorded.",
            label="Self-correction rate",
        ),
        _rate("swarm_coordination_overhead", "Coordination", "Share of the work spent on coordinating agents.", better="down"),
        _rate("parallelism_efficiency", "Coordination", "Achieved share of the ideal parallel speedup."),
        _count("learnings_applied", "Learning", "Earlier learnings that the agent used in the period.", high=MAX_COUNT),
        _rate("learning_effectiveness", "Learning", "Share of the applied learnings that helped."),
        _count("total_tokens", "Volume", "Tokens read and written by all models.", unit="tokens", high=MAX_COUNT),
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

STANDARD: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _count("sessions_attempted", "Volume", "Agent sessions that were started in the period, completed or not."),
        _count("sessions_invalid", "Volume", "Sessions without a result, such as interrupted ones and failures of the infrastructure."),
        _count("sessions_limited", "Volume", "Completed sessions that reached a limit of time, tokens or turns."),
        _count("tasks_solved", "Volume", "Completed tasks that the agent solved."),
        _count("tool_calls", "Volume", "Calls of tools by the agent."),
        _count("tool_errors", "Volume", "Calls of tools that failed."),
        _count("tokens_input", "Volume", "Input tokens that were not read from a cache.", unit="tokens"),
        _count("tokens_cached", "Volume", "Input tokens that were read from or written to a cache.", unit="tokens"),
        _count("tokens_output", "Volume", "Output tokens, including reasoning.", unit="tokens"),
        Metric(
            "cost_estimated", kind="money", better="neither", label="Estimated cost", group="Cost",
            description="Cost computed from token counts and a list of prices, not reported by the provider.",
        ),
    )
}  # fmt: skip
"""Definitions of common metrics by name, which a study can have besides the 16: ``create_study(..., metrics=["tool_calls"])``."""

_COUNTED_BY = {
    "tool_success_rate": "tool_calls", "avg_iterations_to_success": "tasks_solved", "cost_per_successful_task": "tasks_solved",
}  # fmt: skip
"""The metric of `STANDARD` that is the denominator of one of the 16, where a study defines it."""

RESERVED = frozenset(
    (
        *METRICS, "period", "custom", "study_id", "study", "period_type", "period_value", "checkpoint_id", "timestamp", "recorded_at",
        "period_start", "period_end", "events_analyzed", "sessions_included", "revision", "collector", "key", "name", "status",
        "description", "tags", "metadata", "created_at", "started_at", "stopped_at", "checkpoints", "last_period_end", "archived", "seq",
        "kind", "at", "event_id", "outcome", "reason", "message", "metric", "value", "count", "unit", "better", "label", "low", "high",
        "denominator", "rollup", "group", "primary", "note_id", "until", "category", "text", "author", "old", "new", "written_at",
        "notes", "provenance", "start", "end", "partial", "parts", "covered", "session_time", "row", "log_offset", "t",
        "begin", "finish", "is_run", "overlaps", "straddles",
    )
)  # fmt: skip
"""Names that a custom metric cannot have: the 16 metrics, and the columns of all frames."""


def standard_metrics(custom: Mapping[str, Metric]) -> dict[str, Metric]:
    """Return the 16 metrics, with the denominators that some custom metrics are.

    These are the tool calls of the tool success rate, and the solved tasks of the iterations to success and the cost per successful task.

    Parameters
    ----------
    custom
        The custom metrics that are recorded.

    Examples
    --------
    >>> standard_metrics({})["tool_success_rate"].denominator, standard_metrics(STANDARD)["tool_success_rate"].denominator
    (None, 'tool_calls')
    """
    recorded = {name: count for name, count in _COUNTED_BY.items() if count in custom and custom[count].kind == "count"}
    return METRICS | {name: METRICS[name].over(count) for name, count in recorded.items()}


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
