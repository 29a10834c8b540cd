"""Changes, intervals, lengths of time and p-values in words."""

from __future__ import annotations

import math

from evalkit.analysis._stats.ar1 import Estimate
from evalkit.domain.metrics import Metric
from evalkit.plots._words import plural

__all__ = ["ALIKE", "ALONE", "METHOD", "WANDERS", "change", "direction", "how_likely", "interval", "lasting", "p_value", "per_time"]

METHOD = "generalised least squares with autocorrelated errors, averaged over how strongly neighbours may correlate"
WANDERS = "Neighbours may be so alike that the series wanders without a cause, and more is claimed of nothing than the usual 5 %."
ALIKE = "Nothing varies beside that, so the interval has no width: it does not tell how far chance could move the values."
ALONE = "Told alone, but not among all that was looked at"
_LEAST, _MOST = 1e-9, 1e12
_LENGTHS = (("day", 1.0), ("hour", 1 / 24), ("minute", 1 / 1440))
_UNITS = ((4, "hour", 1 / 24), (70, "day", 1.0), (1000, "week", 7.0), (math.inf, "year", 365.25))


def change(metric: Metric, value: float, *, sign: bool = True) -> str:
    """Give a difference of two values in its unit: ``+1.2 percentage points``, ``-$0.34``, ``+12 s``."""
    if metric.kind == "rate":
        return f"{_digits(value * 100, sign)} percentage points"
    if metric.kind == "money":
        figure = _digits(value, sign)
        return f"{figure[0]}${figure[1:]}" if figure[0] in "+-" else f"${figure}"
    unit = f" {metric.unit}" if metric.unit else ""
    return f"{_digits(value, sign)}{unit}"


def _digits(value: float, sign: bool) -> str:
    """Give a number with three significant digits, with an exponent only where it is out of all proportion."""
    if value != 0 and not _LEAST <= abs(value) < _MOST:
        return f"{value:{'+' if sign else ''}.3g}"
    places = 0 if value == 0 or abs(value) >= 100 else min(12, 2 - math.floor(math.log10(abs(value))))
    return f"{value:{'+' if sign else ''},.{places}f}"


def interval(metric: Metric, estimate: Estimate) -> str:
    """Give the interval of a difference: ``95 % interval -0.2 to +1.4 percentage points``."""
    low = change(metric, estimate.low)
    if metric.kind != "money":  # the unit once, at the end
        low = _digits(estimate.low * (100 if metric.kind == "rate" else 1), sign=True)
    return f"95 % interval {low} to {change(metric, estimate.high)}"


def per_time(metric: Metric, slope: Estimate, span_days: float) -> str:
    """Give a slope with its interval, in the unit of time that suits the span: ``+1.2 percentage points a week (95 % ...)``."""
    _, unit, days = next(one for one in _UNITS if span_days <= one[0])
    scaled = slope.times(days)
    return f"{change(metric, scaled.value)} {'an' if unit == 'hour' else 'a'} {unit} ({interval(metric, scaled)})"


def lasting(days: float) -> str:
    """Give a length of time in whole days, or in hours or minutes where it has less than two of them: ``70 days``, ``36 hours``."""
    unit, length = next(((unit, length) for unit, length in _LENGTHS if days >= 2 * length), _LENGTHS[-1])
    return plural(round(days / length), unit)


def how_likely(p: float | None, corrected: float | None) -> str:
    """Give a p-value, and the corrected one where it was corrected; None stands for values that are all the same."""
    if p is None:
        return "all values are the same, so nothing was tested"
    plain = f"p {p_value(p)}"
    return plain if corrected is None or corrected == p else f"{plain}, corrected {p_value(corrected)}"


def p_value(p: float) -> str:
    """Give a p-value as it is read after a p: ``= 0.02``, ``< 0.001``."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"


def direction(metric: Metric, value: float, words: tuple[str, str, str, str]) -> str:
    """Choose the word for a change: (for the better, for the worse, up, down); the last two where the metric has no better direction."""
    better, worse, up, down = words
    if metric.better == "neither":
        return up if value > 0 else down
    return better if (value > 0) == (metric.better == "up") else worse
