"""Changes, intervals and p-values as text."""

from __future__ import annotations

import math

from evalkit.analysis._stats.ar1 import Estimate
from evalkit.domain.metrics import Metric

__all__ = ["change", "how_likely", "interval", "interval_ends", "p_value", "per_time"]

_LEAST, _MOST = 1e-9, 1e12
_LEAST_P = 0.001
_UNITS = ((4, "hour", 1 / 24), (70, "day", 1.0), (1000, "week", 7.0), (math.inf, "year", 365.25))


def change(metric: Metric, value: float, *, sign: bool = True, points: str = "percentage points") -> str:
    """Return a difference of two values in its unit: ``+1.2 percentage points``, ``-$0.34``, ``+12 s``; that of rates is in `points`."""
    if metric.kind == "rate":
        return f"{_digits(value * 100, sign)} {points}"
    if metric.kind == "money":
        figure = _digits(value, sign)
        return f"{figure[0]}${figure[1:]}" if figure[0] in "+-" else f"${figure}"
    unit = f" {metric.unit}" if metric.unit else ""
    return f"{_digits(value, sign)}{unit}"


def _digits(value: float, sign: bool) -> str:
    """Return a number with three significant digits, with an exponent only where it is out of all proportion."""
    if value != 0 and not _LEAST <= abs(value) < _MOST:
        return f"{value:{'+' if sign else ''}.3g}"
    places = 0 if value == 0 or abs(value) >= 100 else min(12, 2 - math.floor(math.log10(abs(value))))
    return f"{value:{'+' if sign else ''},.{places}f}"


def interval_ends(metric: Metric, low: float, high: float, *, points: str = "percentage points") -> str:
    """Return the ends of the interval of a difference: ``-0.2 to +1.4 percentage points``."""
    start = change(metric, low)
    if metric.kind != "money":  # the unit once, at the end
        start = _digits(low * (100 if metric.kind == "rate" else 1), sign=True)
    return f"{start} to {change(metric, high, points=points)}"


def interval(metric: Metric, estimate: Estimate) -> str:
    """Return the interval of a difference: ``95 % interval -0.2 to +1.4 percentage points``."""
    return f"95 % interval {interval_ends(metric, estimate.low, estimate.high)}"


def per_time(metric: Metric, slope: Estimate, span_days: float) -> str:
    """Return a slope with its interval, in the unit of time that suits the span: ``+1.2 percentage points a week (95 % ...)``."""
    _, unit, days = next(one for one in _UNITS if span_days <= one[0])
    scaled = slope.times(days)
    return f"{change(metric, scaled.value)} {'an' if unit == 'hour' else 'a'} {unit} ({interval(metric, scaled)})"


def how_likely(p: float | None, corrected: float | None) -> str:
    """Return a p-value, and the adjusted one where it was adjusted; None stands for values that are all the same."""
    if p is None:
        return "all values are the same, so nothing was tested"
    plain = f"p {_compared(p)}"
    return plain if corrected is None or corrected == p else f"{plain}, corrected {_compared(corrected)}"


def p_value(p: float) -> str:
    """Return a p-value as tables show it: ``0.020``, ``< 0.001``."""
    return "< 0.001" if p < _LEAST_P else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _compared(p: float) -> str:
    return p_value(p) if p < _LEAST_P else f"= {p_value(p)}"
