"""The runs that a study of runs is expected to have: one in each period.

A run belongs to the hour, day, week (from Monday) or calendar month in UTC in which it starts. Its length does not matter.
"""

from __future__ import annotations

import polars as pl

from evalkit.domain.periods import is_gap
from evalkit.domain.study import PeriodType

__all__ = ["misses_runs", "period_of"]

_EVERY = {PeriodType.HOURLY.value: "1h", PeriodType.DAILY.value: "1d", PeriodType.WEEKLY.value: "1w", PeriodType.MONTHLY.value: "1mo"}


def period_of(at: pl.Expr, kind: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Return the start and end of the period that contains a time; null without a period type.

    Parameters
    ----------
    at
        Times in UTC.
    kind
        The period type of each.
    """
    every = kind.cast(pl.String()).replace_strict(_EVERY, default=None, return_dtype=pl.String())
    start = at.dt.truncate(every)
    return start, start.dt.offset_by(every)


def misses_runs(previous: pl.Expr, at: pl.Expr, kind: pl.Expr) -> pl.Expr:
    """Return whether a run is missing between two successive runs.

    That is the case if a period between them has no run, unless the second run starts less than one and a half periods after the first:
    runs at almost the same time of each day may start just before and just after midnight. Charts and audit use this rule.

    Parameters
    ----------
    previous, at
        The starts of the runs.
    kind
        The period type of each.
    """
    start, end = period_of(previous, kind)
    length = end - start
    gap: pl.Expr = is_gap(at - (previous + length), length)
    return (period_of(at, kind)[0] > end) & gap
