"""The verdicts of all analyses."""

from __future__ import annotations

from enum import StrEnum

from evalkit.domain.metrics import Metric

__all__ = ["ALPHA", "Verdict", "change_verdict", "is_significant", "only_alone", "trend_verdict"]

ALPHA = 0.05
"""A p-value, adjusted for multiple comparisons, up to it is statistically significant."""


class Verdict(StrEnum):
    """What an analysis concludes; the same words in results, tables, charts and reports."""

    IMPROVING = "improving"
    """A trend for the better."""
    DECLINING = "declining"
    """A trend for the worse."""
    RISING = "rising"
    """A trend upwards of a metric of which neither direction is better."""
    FALLING = "falling"
    """A trend downwards of such a metric."""
    NO_TREND = "no significant trend"
    """No trend is statistically significant, with enough data to detect a large one."""
    BETTER = "better"
    """A difference or an effect for the better."""
    WORSE = "worse"
    """A difference or an effect for the worse."""
    HIGHER = "higher"
    """A difference or an effect upwards of a metric of which neither direction is better."""
    LOWER = "lower"
    """A difference or an effect downwards of such a metric."""
    NO_EFFECT = "no significant effect"
    """Of a change at a known time."""
    NO_DIFFERENCE = "no significant difference"
    """Between a study and its baseline."""
    SHIFTED = "shifted"
    """The level changed at one time or more."""
    NO_SHIFT = "no significant shift"
    """The level changed at no time."""
    INSUFFICIENT_DATA = "insufficient data"
    """Too few checkpoints, or none that can be compared."""


def trend_verdict(metric: Metric, slope: float) -> Verdict:
    """Return the verdict for a significant trend."""
    if metric.better == "neither":
        return Verdict.RISING if slope > 0 else Verdict.FALLING
    return Verdict.IMPROVING if (slope > 0) == (metric.better == "up") else Verdict.DECLINING


def change_verdict(metric: Metric, change: float) -> Verdict:
    """Return the verdict for a significant effect, difference or shift."""
    if metric.better == "neither":
        return Verdict.HIGHER if change > 0 else Verdict.LOWER
    return Verdict.BETTER if (change > 0) == (metric.better == "up") else Verdict.WORSE


def is_significant(p_corrected: float | None) -> bool:
    """Return whether an adjusted p-value is statistically significant."""
    return p_corrected is not None and p_corrected <= ALPHA


def only_alone(p: float | None, p_corrected: float | None) -> bool:
    """Return whether a p-value is significant by itself, and is not after the adjustment for multiple comparisons."""
    return p is not None and p_corrected is not None and p <= ALPHA < p_corrected
