"""Trends as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalkit._util.text import plural, span
from evalkit.analysis._wording.audits import audit_warning
from evalkit.analysis._wording.caveats import METHOD, ONLY_ALONE, coefficient, value_name
from evalkit.analysis._wording.phrases import counted, over_time, p_values, subject_of, with_interval
from evalkit.domain.verdicts import Verdict, only_alone

if TYPE_CHECKING:
    from evalkit.analysis._trend import Trend

__all__ = ["trend", "trend_line"]


def trend_line(result: Trend, subject: str | None = None) -> str:
    """Return a trend in one line.

    It begins with `subject`, by default study and metric.

    Examples
    --------
    >>> import polars as pl
    >>> from evalkit import analysis, samples
    >>> nights = samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 5, seed=1)
    >>> trend_line(analysis.trend(pl.DataFrame(nights), "session_success_rate").only())
    'Session success rate: insufficient data (5 checkpoints; at least 8 are needed).'
    """
    name = f"{subject or subject_of(result)}: {result.verdict}"
    if result.slope is None:
        return f"{name} ({counted(result.checkpoints, result.values)}; at least {result.FEWEST} are needed)."
    insufficient = result.verdict == Verdict.INSUFFICIENT_DATA and result.more_needed
    needed = [f"about {plural(result.more_needed or 1, 'more checkpoint')} needed"] if insufficient else []
    parts = [
        over_time(result.metric, result.slope, result.span_days),
        p_values(result.p, result.p_corrected),
        ", ".join([counted(result.checkpoints, result.checkpoints, result.start, result.end), *needed]),
    ]
    return f"{name} ({'; '.join(parts)})."


def trend(result: Trend) -> list[str]:
    """Return a trend as text, one string per paragraph.

    These are the trend in one line, the total change, the method and the caveats.
    """
    caveats = [*result.caveats, *audit_warning(result.findings)]
    if result.slope is None or result.total_change is None:
        return [trend_line(result), *caveats]
    total = f"Change from the first to the last checkpoint: {with_interval(result.metric, result.total_change)}."
    method = f"Method: {METHOD}{coefficient(result.autocorrelation)}; data from {span(result.start, result.end)}."
    return [trend_line(result), " ".join([total, *_power(result)]), method, *caveats]


def _power(result: Trend) -> list[str]:
    """Return the trends that remain possible, or the number of further checkpoints needed."""
    if result.slope is None or result.total_change is None:
        return []
    if result.verdict == Verdict.NO_TREND and result.total_change.half_width:
        return ["Trends within the confidence interval cannot be ruled out."]
    more = f"about {plural(result.more_needed or 1, 'more checkpoint')} needed"
    if only_alone(result.slope.p, result.p_corrected):
        return [f"{ONLY_ALONE}; {more} for a slope of this size."]
    if result.verdict == Verdict.INSUFFICIENT_DATA and result.more_needed:
        deviations = f"3 standard deviations of a single {value_name(result.averaged_over)}"
        return [f"With {more.removesuffix(' needed')}, a change of {deviations} would be detected in about half of all studies."]
    return []
