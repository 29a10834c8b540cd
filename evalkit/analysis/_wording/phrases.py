"""Differences, confidence intervals, p-values and counts as text."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING

from evalkit._util.text import duration, plural
from evalkit.analysis._stats.ar1 import Estimate
from evalkit.domain.definitions import Metric
from evalkit.frames.normalize import MISSING_STUDY

if TYPE_CHECKING:
    from evalkit.analysis._results import StudyResult

__all__ = [
    "change", "change_and_interval", "counted", "over_time", "p_value", "p_values", "subject_of", "time_unit", "with_interval",
]  # fmt: skip

_LEAST, _MOST = 1e-9, 1e12
_LEAST_IN_CENTS = 0.1
_LEAST_P = 0.001
_UNITS = ((4, "hour", 1 / 24), (70, "day", 1.0), (1000, "week", 7.0), (math.inf, "year", 365.25))


def change(metric: Metric, value: float, *, sign: bool = True) -> str:
    """Return a difference of two values in its unit, with three significant digits.

    Examples
    --------
    >>> from evalkit.domain.metrics import METRICS
    >>> change(METRICS["session_success_rate"], 0.0118), change(METRICS["total_cost"], -0.34)
    ('+1.18 pp', '−$0.34')
    >>> change(METRICS["avg_session_duration"], 12.0, sign=False)
    '12.0 s'
    """
    scaled = _scaled(metric, value)
    return _with_unit(metric, _digits(scaled, _places(metric, scaled), sign=sign))


def change_and_interval(metric: Metric, value: float, low: float, high: float, *, per: str = "") -> tuple[str, str]:
    """Return a difference and its confidence limits, all with the same number of decimals.

    Parameters
    ----------
    metric
        The metric of the difference.
    value, low, high
        The difference and its confidence limits, in the unit of the metric.
    per
        A suffix of the unit of the difference: ``/day``.

    Examples
    --------
    >>> from evalkit.domain.metrics import METRICS
    >>> change_and_interval(METRICS["session_success_rate"], 0.00618, -0.00221, 0.01568, per="/day")
    ('+0.62 pp/day', '−0.22 to +1.57')
    >>> change_and_interval(METRICS["total_cost"], 120, -5, 245.0)
    ('+$120', '−$5 to +$245')
    """
    numbers = [_scaled(metric, each) for each in (value, low, high)]
    places = _places(metric, *numbers)
    center, start, end = (_digits(each, places) for each in numbers)
    limits = [_with_unit(metric, limit) if metric.kind == "money" else limit for limit in (start, end)]
    return f"{_with_unit(metric, center)}{per}", " to ".join(limits)


def with_interval(metric: Metric, estimate: Estimate, *, per: str = "") -> str:
    """Return an estimate with its interval: ``+0.62 pp/day, 95% CI −0.22 to +1.57``."""
    text, limits = change_and_interval(metric, estimate.value, estimate.low, estimate.high, per=per)
    return f"{text}, 95% CI {limits}"


def over_time(metric: Metric, slope: Estimate, span_days: float) -> str:
    """Return a slope with its confidence interval.

    The slope is per day; the text has the unit of time that suits the span.
    """
    unit, days = time_unit(span_days)
    return with_interval(metric, slope.times(days), per=f"/{unit}")


def time_unit(span_days: float) -> tuple[str, float]:
    """Return the unit of time for slopes over a span, and its length in days.

    Examples
    --------
    >>> time_unit(20.0), time_unit(365.0)
    (('day', 1.0), ('week', 7.0))
    """
    return next((unit, days) for most, unit, days in _UNITS if span_days <= most)


def _scaled(metric: Metric, value: float) -> float:
    return value * 100 if metric.kind == "rate" else value


def _with_unit(metric: Metric, figure: str) -> str:
    if metric.kind == "money":
        return f"{figure[0]}${figure[1:]}" if figure[0] in "+−" else f"${figure}"
    unit = "pp" if metric.kind == "rate" else metric.unit
    return f"{figure} {unit}" if unit else figure


def _places(metric: Metric, value: float, *limits: float) -> int | None:
    """Return the number of decimals; None for scientific notation.

    The largest number has three significant digits, and no limit is rounded to 0.
    """
    sizes = [abs(each) for each in (value, *limits) if each != 0]
    if not sizes:
        return 0
    if not _LEAST <= max(sizes) < _MOST:
        return None
    cents = metric.kind == "money" and max(sizes) >= _LEAST_IN_CENTS
    places = 0 if max(sizes) >= 100 else 2 if cents else 2 - math.floor(math.log10(max(sizes)))
    smallest = min((abs(each) for each in limits if each != 0), default=max(sizes))
    return min(12, max(places, min(places + 2, -math.floor(math.log10(smallest)))))


def _digits(number: float, places: int | None, *, sign: bool = True) -> str:
    if number == 0:
        return f"{0:.{places or 0}f}"
    text = f"{abs(number):.3g}" if places is None else f"{abs(number):,.{places}f}"
    return ("−" if number < 0 else "+" if sign else "") + text


def p_values(p: float | None, adjusted: float | None) -> str:
    """Return a p-value, and the adjusted p-value if it differs.

    None means that all values are equal.

    Examples
    --------
    >>> p_values(0.0004, 0.002), p_values(0.13, 0.13), p_values(None, None)
    ('p < 0.001, Holm-adjusted p = 0.002', 'p = 0.13', 'not tested: all values are equal')
    """
    if p is None:
        return "not tested: all values are equal"
    text = f"p {_compared(p)}"
    return text if adjusted is None or adjusted == p else f"{text}, Holm-adjusted p {_compared(adjusted)}"


def p_value(p: float) -> str:
    """Return a p-value for a table.

    Examples
    --------
    >>> p_value(0.02), p_value(0.00001), p_value(0.134)
    ('0.020', '< 0.001', '0.13')
    """
    return "< 0.001" if p < _LEAST_P else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _compared(p: float) -> str:
    return p_value(p) if p < _LEAST_P else f"= {p_value(p)}"


def counted(checkpoints: int, values: int, start: datetime | None = None, end: datetime | None = None) -> str:
    """Return a number of checkpoints with their time span.

    The time span is from the first start to the last end. The number of distinct timestamps is included if it is smaller.

    Examples
    --------
    >>> counted(16, 16, datetime(2026, 1, 1), datetime(2026, 1, 21)), counted(8, 4)
    ('16 checkpoints over 20 days', '8 checkpoints with 4 distinct timestamps')
    """
    over = f" over {duration(end - start)}" if start and end else ""
    distinct = f" with {plural(values, 'distinct timestamp')}" if values != checkpoints else ""
    return f"{plural(checkpoints, 'checkpoint')}{over}{distinct}"


def subject_of(result: StudyResult) -> str:
    """Return study and metric as the subject of a line.

    It is the metric alone when the frame has no study column.
    """
    label = result.metric.label
    return label if result.study == MISSING_STUDY else f"{result.study}, {label.lower()}"
