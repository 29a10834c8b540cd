"""The verdicts of all analyses."""

from __future__ import annotations

from enum import StrEnum

from evalkit.domain.definitions import Metric

__all__ = ["ALPHA", "Verdict", "change_verdict", "is_significant", "only_alone", "trend_verdict"]

ALPHA = 0.05
"""The significance level, for p-values adjusted for multiple comparisons."""


class Verdict(StrEnum):
    """The conclusion of an analysis: the same text in results, charts and reports.

    Examples
    --------
    >>> print(Verdict.NO_TREND)
    no significant trend
    """

    IMPROVING = "improving"
    """A significant trend toward better values."""
    DECLINING = "declining"
    """A significant trend toward worse values."""
    RISING = "rising"
    """A significant upward trend of a metric without a better direction."""
    FALLING = "falling"
    """A significant downward trend of a metric without a better direction."""
    NO_TREND = "no significant trend"
    """No statistically significant trend, although there is enough data to detect a large one."""
    BETTER = "better"
    """A significant difference or effect toward better values."""
    WORSE = "worse"
    """A significant difference or effect toward worse values."""
    HIGHER = "higher"
    """A significant upward difference or effect of a metric without a better direction."""
    LOWER = "lower"
    """A significant downward difference or effect of a metric without a better direction."""
    NO_EFFECT = "no significant effect"
    """No statistically significant effect of a change at a known time."""
    NO_DIFFERENCE = "no significant difference"
    """No statistically significant difference between a study and its baseline."""
    SHIFTED = "shifted"
    """One or more significant changes of the level."""
    NO_SHIFT = "no significant shift"
    """No statistically significant change of the level."""
    INSUFFICIENT_DATA = "insufficient data"
    """Too few checkpoints, or no comparable ones."""


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
    """Return whether only the unadjusted p-value is significant."""
    return p is not None and p_corrected is not None and p <= ALPHA < p_corrected
