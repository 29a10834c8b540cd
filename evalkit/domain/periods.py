"""Periods of a study: how long they are, where they begin and end, and how much time between two of them is a gap.

An hour, a day and 7 days have a fixed length; a month is a calendar month. All times are in UTC.
"""

from __future__ import annotations

import calendar
from datetime import datetime, timedelta
from typing import Any, TypeVar

from evalkit.domain.study import PeriodType

__all__ = ["LONGEST", "SHORTEST", "is_gap", "period_end", "period_start", "shifted"]

_T = TypeVar("_T", bound=Any)

_FIXED = {PeriodType.HOURLY: timedelta(hours=1), PeriodType.DAILY: timedelta(days=1), PeriodType.WEEKLY: timedelta(days=7)}
SHORTEST: dict[PeriodType, timedelta] = {**_FIXED, PeriodType.MONTHLY: timedelta(days=28)}
"""The length of the shortest period of each type."""
LONGEST: dict[PeriodType, timedelta] = {**_FIXED, PeriodType.MONTHLY: timedelta(days=31)}
"""The length of the longest period of each type."""


def period_start(kind: PeriodType | str, moment: datetime) -> datetime:
    """Return the start of the hour, day, week (from Monday) or calendar month that a time lies in.

    Examples
    --------
    >>> period_start("weekly", datetime(2026, 1, 31, 8, 30))
    datetime.datetime(2026, 1, 26, 0, 0)
    """
    if kind == PeriodType.HOURLY:
        return moment.replace(minute=0, second=0, microsecond=0)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if kind == PeriodType.WEEKLY:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if kind == PeriodType.MONTHLY else day


def period_end(kind: PeriodType | str, start: datetime) -> datetime:
    """Return the end of the period that begins at `start`.

    Raises
    ------
    OverflowError, ValueError
        When it is after the year 9999.
    """
    return shifted(kind, start, 1)


def shifted(kind: PeriodType | str, start: datetime, count: int) -> datetime:
    """Return the time `count` periods after `start`; a month without that day ends on its last.

    Raises
    ------
    OverflowError, ValueError
        When it is outside the years 1 to 9999.

    Examples
    --------
    >>> shifted("monthly", datetime(2026, 1, 31), 1)
    datetime.datetime(2026, 2, 28, 0, 0)
    """
    if kind != PeriodType.MONTHLY:
        return start + _FIXED[PeriodType(kind)] * count
    years, month = divmod(start.month - 1 + count, 12)
    year, month = start.year + years, month + 1
    return start.replace(year=year, month=month, day=min(start.day, calendar.monthrange(year, month)[1]))


def is_gap(between: _T, length: _T) -> Any:
    """Return whether the time between two periods is a gap: half a period or more, so that a checkpoint is missing.

    The one rule of charts and audit. It takes timedeltas, numbers of microseconds, and Polars expressions of either.

    Examples
    --------
    >>> is_gap(timedelta(hours=12), timedelta(days=1))
    True
    """
    return between * 2 >= length
