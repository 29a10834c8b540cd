"""Formatting of metric values."""

from __future__ import annotations

from evalkit.domain.definitions import Metric

__all__ = ["number"]


def number(metric: Metric, value: float | None) -> str:
    """Return a value as text, for charts, sentences and tables; ``missing`` for None.

    Examples
    --------
    >>> from evalkit.domain.metrics import METRICS
    >>> number(METRICS["session_success_rate"], 0.85), number(METRICS["total_cost"], 1.2), number(METRICS["avg_session_duration"], 12.5)
    ('85.0%', '$1.20', '12.5 s')
    """
    if value is None:
        return "missing"
    if value < 0:
        text = number(metric, -value)
        return f"−{text}" if any(digit in text for digit in "123456789") else text  # no minus sign before a rounded 0
    if metric.kind == "rate":
        return f"{value * 100:.1f}%"
    if metric.kind == "money":
        return f"${value:,.2f}"
    if metric.kind == "duration":
        return f"{value:,.1f} s"
    figure = f"{value:,.0f}" if metric.kind == "count" else f"{value:,.2f}"
    return f"{figure} {metric.unit}" if metric.unit and metric.unit not in metric.label.lower() else figure
