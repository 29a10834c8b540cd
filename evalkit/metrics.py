"""Definitions of metrics: the 16 of every study, standard ones to add, and `Metric`.

Examples
--------
>>> from evalkit.metrics import METRICS, STANDARD
>>> METRICS["session_success_rate"].denominator, STANDARD["tool_errors"].kind
('sessions_completed', 'count')
"""

from __future__ import annotations

from evalkit.domain.catalog import METRICS
from evalkit.domain.definitions import Metric

__all__ = ["METRICS", "STANDARD", "Metric"]


def _count(name: str, group: str, description: str, *, unit: str = "") -> Metric:
    return Metric(name, kind="count", better="neither", unit=unit, group=group, description=description)


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
