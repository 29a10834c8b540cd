"""Verdicts: the conclusions of all analyses."""

from __future__ import annotations

from enum import StrEnum

from evalkit.domain.metrics import Metric

__all__ = ["ALPHA", "Verdict", "change_verdict", "is_significant", "only_alone", "trend_verdict"]

ALPHA = 0.05
"""The significance level: the largest adjusted p-value that is statistically significant."""


class Verdict(StrEnum):
    """The conclusion of an analysis, with the same values in results, tables, charts and reports.

    Examples
    --------
    >>> Verdict.NO_TREND == "no significant trend"
    True
    """

    IMPROVING = "improving"
    """A trend for the better."""
    DECLINING = "declining"
    """A trend for the worse."""
    RISING = "rising"
    """An upward trend of a metric without a better direction."""
    FALLING = "falling"
    """A downward trend of a metric without a better direction."""
    NO_TREND = "no significant trend"
    """No trend is statistically significant, with enough data to detect a large one."""
    BETTER = "better"
    """A difference or an effect for the better."""
    WORSE = "worse"
    """A difference or an effect for the worse."""
    HIGHER = "higher"
    """An increase of a metric without a better direction."""
    LOWER = "lower"
    """A decrease of a metric without a better direction."""
    NO_EFFECT = "no significant effect"
    """No significant effect of a change at a known time."""
    NO_DIFFERENCE = "no significant difference"
    """No significant difference between a study and its baseline."""
    SHIFTED = "shifted"
    """The level shifted at least once."""
    NO_SHIFT = "no significant shift"
    """No shift of the level is statistically significant."""
    INSUFFICIENT_DATA = "insufficient data"
    """Too few checkpoints, or none that are comparable."""


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
    """Return whether a p-value is significant before, but not after, adjustment for multiple comparisons."""
    return p is not None and p_corrected is not None and p <= ALPHA < p_corrected
