"""The periods of a study that can be recorded. Pure: the current time is a parameter."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

from evalkit.domain.periods import LONGEST, current_period
from evalkit.domain.refusals import invalid
from evalkit.domain.study import PeriodType

__all__ = [
    "DEFAULT_GRACE",
    "Interval",
    "days_to_keep",
    "due_periods",
    "parse_grace",
    "period_key",
    "retention_needed",
    "running_intervals",
]

DEFAULT_GRACE = timedelta(hours=2)
_LONGEST_GRACE = timedelta(days=366)


class Interval(NamedTuple):
    """A half-open range of time."""

    start: datetime
    end: datetime

    def overlaps(self, other: Interval) -> bool:
        """Return whether two ranges have a time in common."""
        return self.start < other.end and other.start < self.end


_OPEN = datetime.max.replace(tzinfo=UTC)
"""The end of the time in which a study runs that was not paused or stopped."""


def running_intervals(lifecycle: Iterable[tuple[str, datetime]]) -> list[Interval]:
    """Return when a study ran; the last interval of a running study has no end.

    Parameters
    ----------
    lifecycle
        The kind and time of its lifecycle events, in their order.

    Examples
    --------
    >>> day = [datetime(2026, 1, number, tzinfo=UTC) for number in range(1, 5)]
    >>> events = [("study_created", day[0]), ("study_started", day[1]), ("study_paused", day[2]), ("study_resumed", day[3])]
    >>> [(interval.start.day, interval.end.year) for interval in running_intervals(events)]
    [(2, 2026), (4, 9999)]
    """
    intervals: list[Interval] = []
    began: datetime | None = None
    for kind, at in lifecycle:
        if kind in ("study_started", "study_resumed"):
            began = at if began is None else began
        elif began is not None and kind in ("study_paused", "study_stopped"):
            intervals.append(Interval(began, at))
            began = None
    if began is not None:
        intervals.append(Interval(began, _OPEN))
    return [interval for interval in intervals if interval.start < interval.end]


def due_periods(kind: PeriodType, running: Sequence[Interval], tz: tzinfo, now: datetime, grace: timedelta) -> list[Interval]:
    """Return the due periods of a study, oldest first.

    These are the calendar periods in which it ran and that ended long enough ago.

    Parameters
    ----------
    kind
        The type of the study's periods.
    running
        When the study ran; see `running_intervals`.
    tz
        The time zone of the calendar.
    now
        The current time.
    grace
        The time after the end of a period in which its last sessions may still be written.

    Examples
    --------
    >>> running = [Interval(datetime(2026, 1, 1, 8, tzinfo=UTC), datetime(2026, 1, 4, 1, tzinfo=UTC))]
    >>> due = due_periods(PeriodType.DAILY, running, UTC, datetime(2026, 1, 4, 1, tzinfo=UTC), DEFAULT_GRACE)
    >>> [period.start.day for period in due]
    [1, 2]
    """
    periods: list[Interval] = []
    for interval in running:
        at = interval.start if not periods else max(interval.start, periods[-1].end)
        while at < interval.end:
            try:
                period = Interval(*current_period(kind, at, tz))
            except (OverflowError, ValueError):  # at the end of the year 9999
                break
            if period.end + grace > now:
                break
            periods.append(period)
            at = period.end
    return periods


def period_key(source: str, start: datetime) -> str:
    """Return the idempotency key of a source's checkpoint for one period.

    Examples
    --------
    >>> period_key("inspect", datetime(2026, 1, 31, tzinfo=UTC))
    'collect:inspect:2026-01-31T00:00:00Z'
    """
    return f"collect:{source}:{start:%Y-%m-%dT%H:%M:%SZ}"


def retention_needed(kind: PeriodType, grace: timedelta) -> timedelta:
    """Return how long logs must be kept, until their period is due.

    Examples
    --------
    >>> retention_needed(PeriodType.MONTHLY, timedelta(hours=2)).days
    31
    """
    return LONGEST[kind] + grace


def days_to_keep(kind: PeriodType, grace: timedelta) -> int:
    """Return for how many days logs should be kept, with a day in which to collect.

    Examples
    --------
    >>> days_to_keep(PeriodType.MONTHLY, timedelta(hours=2))
    33
    """
    return retention_needed(kind, grace) // timedelta(days=1) + 2


_GRACE_UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days"}


def parse_grace(value: object) -> timedelta:
    """Return a grace time from a timedelta, or from text such as ``"2h"`` or ``"30m"``.

    Raises
    ------
    InvalidInputError
        If it is neither, or negative.

    Examples
    --------
    >>> parse_grace("90m")
    datetime.timedelta(seconds=5400)
    """
    expected = "expected a time such as '2h', '30m' or '1d', at most 366 days"
    grace = value
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d{1,9})\s*([a-z]*)\s*", value)
        if match is None or (match[2] or ("s" if match[1] == "0" else "")) not in _GRACE_UNITS:
            raise invalid("grace", value, expected)
        grace = timedelta(**{_GRACE_UNITS[match[2] or "s"]: int(match[1])})
    if not isinstance(grace, timedelta) or not timedelta(0) <= grace <= _LONGEST_GRACE:
        raise invalid("grace", value, expected)
    return timedelta(seconds=math.ceil(grace.total_seconds()))
