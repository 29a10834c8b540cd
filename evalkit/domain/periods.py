"""Periods of a study: length, boundaries in a time zone, and gaps.

An hour has a fixed length. A day, a week (from Monday) and a month begin at midnight, so a day on which the clocks change has 23 or 25
hours. Without a time zone, periods are in UTC, where every day has 24 hours.
"""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, TypeVar

from evalkit.domain.study import PeriodType

__all__ = ["LONGEST", "SHORTEST", "current_period", "first_instant", "is_gap", "local_readings", "period_end", "period_start", "shifted"]

_T = TypeVar("_T", bound=Any)

_FIXED = {PeriodType.HOURLY: timedelta(hours=1), PeriodType.DAILY: timedelta(days=1), PeriodType.WEEKLY: timedelta(days=7)}
_SECOND = timedelta(seconds=1)
SHORTEST: dict[PeriodType, timedelta] = {**_FIXED, PeriodType.MONTHLY: timedelta(days=28)}
"""The length of the shortest period of each type, in UTC."""
LONGEST: dict[PeriodType, timedelta] = {**_FIXED, PeriodType.MONTHLY: timedelta(days=31)}
"""The length of the longest period of each type, in UTC."""


def period_start(kind: PeriodType | str, moment: datetime, tz: tzinfo | None = None) -> datetime:
    """Return the start of the hour, day, week (from Monday) or calendar month of a time.

    Parameters
    ----------
    kind
        The type of the period.
    moment
        A time-zone-aware time; without `tz`, it may also be naive.
    tz
        The time zone whose midnights are the boundaries; by default the zone of `moment`, which must have a fixed offset, such as UTC.

    Returns
    -------
    datetime
        With `tz`, in UTC; otherwise in the zone of `moment`. Where the clocks skip midnight, the day begins when they go forward.

    Examples
    --------
    >>> period_start("weekly", datetime(2026, 1, 31, 8, 30))
    datetime.datetime(2026, 1, 26, 0, 0)
    >>> from zoneinfo import ZoneInfo
    >>> print(period_start("daily", datetime(2026, 1, 31, 8, 30, tzinfo=UTC), ZoneInfo("Europe/Berlin")))
    2026-01-30 23:00:00+00:00
    """
    if tz is None:
        return _floor(kind, moment)
    local = moment.astimezone(tz)
    if kind == PeriodType.HOURLY:  # when clocks go back, the repeated hour is a separate period
        return moment.astimezone(UTC) - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    return first_instant(_floor(kind, local.replace(tzinfo=None)), tz)


def period_end(kind: PeriodType | str, start: datetime, tz: tzinfo | None = None) -> datetime:
    """Return the end of the period that begins at `start`, by the calendar.

    Parameters
    ----------
    kind
        The type of the period.
    start
        A time-zone-aware time; without `tz`, it may also be naive.
    tz
        The time zone of the calendar, in which a day on which the clocks change has 23 or 25 hours; by default every day has 24 hours.

    Returns
    -------
    datetime
        With `tz`, in UTC; otherwise in the zone of `start`.

    Raises
    ------
    OverflowError, ValueError
        When the end is after the year 9999.

    Examples
    --------
    >>> from zoneinfo import ZoneInfo
    >>> start = datetime(2026, 3, 28, 23, tzinfo=UTC)  # midnight in Berlin, where the clocks go forward on March 29
    >>> period_end("daily", start, ZoneInfo("Europe/Berlin")) - start
    datetime.timedelta(seconds=82800)
    """
    if tz is None:
        return shifted(kind, start, 1)
    if kind == PeriodType.HOURLY:
        return start.astimezone(UTC) + _FIXED[PeriodType.HOURLY]
    local = start.astimezone(tz).replace(tzinfo=None)
    midnight = _floor(kind, local)
    if midnight != local and first_instant(midnight, tz) == start:  # the clocks skip this midnight; the next one exists
        local = midnight
    return first_instant(shifted(kind, local, 1), tz)


def current_period(kind: PeriodType | str, moment: datetime, tz: tzinfo) -> tuple[datetime, datetime]:
    """Return the start and end of the calendar period that contains a time, in UTC.

    Parameters
    ----------
    kind
        The type of the period.
    moment
        A time-zone-aware time.
    tz
        The time zone of the calendar.

    Examples
    --------
    >>> start, end = current_period("monthly", datetime(2026, 1, 31, 8, tzinfo=UTC), UTC)
    >>> print(start, end, sep=", ")
    2026-01-01 00:00:00+00:00, 2026-02-01 00:00:00+00:00
    """
    start = period_start(kind, moment, tz)
    return start, period_end(kind, start, tz)


def shifted(kind: PeriodType | str, start: datetime, count: int) -> datetime:
    """Return the time `count` periods after `start`.

    If the resulting month does not have the day of `start`, the result is the last day of the month.

    Raises
    ------
    OverflowError, ValueError
        When the result is outside the years 1 to 9999.

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
    """Return whether the time between two periods is a gap: half a period or more.

    A gap means a missing checkpoint. Charts and audit use the same rule. In a study of runs, a run counts as a period from its start; see
    `evalkit.frames.expected_runs`.

    Parameters
    ----------
    between
        The time between the end of a period and the start of the next: a timedelta, a number of microseconds, or a Polars expression.
    length
        The length of a period, in the same unit.

    Examples
    --------
    >>> is_gap(timedelta(hours=12), timedelta(days=1))
    True
    """
    return between * 2 >= length


def local_readings(local: datetime, tz: tzinfo) -> tuple[datetime, datetime]:
    """Return the two times in UTC that a naive local time can mean.

    The first has the offset before a change of the clocks, the second the offset after it. They are equal, except for times that the clocks
    repeat (the first is earlier) or skip (the first is later).

    Examples
    --------
    >>> from zoneinfo import ZoneInfo
    >>> for reading in local_readings(datetime(2026, 10, 25, 2, 30), ZoneInfo("Europe/Berlin")):
    ...     print(reading)
    2026-10-25 00:30:00+00:00
    2026-10-25 01:30:00+00:00
    """
    return (
        local.replace(tzinfo=tz, fold=0).astimezone(UTC),
        local.replace(tzinfo=tz, fold=1).astimezone(UTC),
    )


def first_instant(local: datetime, tz: tzinfo) -> datetime:
    """Return the first time in UTC at which a zone's clocks show `local` or later.

    Examples
    --------
    >>> from zoneinfo import ZoneInfo
    >>> print(first_instant(datetime(2026, 3, 29), ZoneInfo("Asia/Beirut")))  # where the clocks go from 00:00 to 01:00
    2026-03-28 22:00:00+00:00
    """
    first, second = local_readings(local, tz)
    if first <= second:
        return first
    # The clocks skip `local`. Search for the change, at a whole second after `second` and not after `first`.
    offset = second.astimezone(tz).utcoffset()
    low, high = 0, (first - second) // _SECOND
    while high - low > 1:
        middle = (low + high) // 2
        before = (second + middle * _SECOND).astimezone(tz).utcoffset() == offset
        low, high = (middle, high) if before else (low, middle)
    return (second + high * _SECOND).replace(microsecond=0)


def _floor(kind: PeriodType | str, moment: datetime) -> datetime:
    """Return the start of a period by the fields of a time, ignoring changes of clocks."""
    if kind == PeriodType.HOURLY:
        return moment.replace(minute=0, second=0, microsecond=0)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if kind == PeriodType.WEEKLY:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if kind == PeriodType.MONTHLY else day
