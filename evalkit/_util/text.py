"""Times, durations and counts as text, for charts, reports, tables and messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

__all__ = ["alternatives", "duration", "exact_duration", "exact_moment", "moment", "plural", "span"]

_UNITS = ((86_400_000_000, "day"), (3_600_000_000, "hour"), (60_000_000, "minute"), (1_000_000, "second"))
_MICROSECOND = timedelta(microseconds=1)


def plural(count: int, singular: str, several: str | None = None) -> str:
    """Return a count with its noun.

    Examples
    --------
    >>> plural(1, "checkpoint"), plural(1200, "checkpoint"), plural(0, "study", "studies")
    ('1 checkpoint', '1,200 checkpoints', '0 studies')
    """
    return f"{count:,} {singular if count == 1 else several or singular + 's'}"


def alternatives(items: Sequence[str], word: str = "or") -> str:
    """Return items as an enumeration: ``a, b or c``.

    Examples
    --------
    >>> alternatives(["a"]), alternatives(["a", "b", "c"]), alternatives(["a", "b"], "and")
    ('a', 'a, b or c', 'a and b')
    """
    return f" {word} ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def moment(at: datetime | None) -> str:
    """Return a time to the minute, or only the date at midnight; ``?`` for None.

    Examples
    --------
    >>> moment(datetime(2026, 1, 31)), moment(datetime(2026, 1, 31, 8, 30))
    ('2026-01-31', '2026-01-31 08:30')
    """
    if at is None:
        return "?"
    return at.isoformat(sep=" ", timespec="minutes")[: 10 if (at.hour, at.minute) == (0, 0) else 16]


def exact_moment(at: datetime) -> str:
    """Return a time to the minute, with seconds and microseconds if it has any.

    Examples
    --------
    >>> exact_moment(datetime(2026, 1, 31)), exact_moment(datetime(2026, 1, 31, 8, 30, 15))
    ('2026-01-31 00:00', '2026-01-31 08:30:15')
    """
    text = at.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds" if at.microsecond else "seconds")
    return text if at.second or at.microsecond else text[:16]


def span(start: datetime | None, end: datetime | None) -> str:
    """Return a time range in UTC.

    Examples
    --------
    >>> span(datetime(2026, 1, 31), datetime(2026, 2, 1))
    '2026-01-31 to 2026-02-01 UTC'
    """
    return f"{moment(start)} to {moment(end)} UTC"


def duration(length: timedelta) -> str:
    """Return a duration in its largest unit, rounded to one decimal place.

    Examples
    --------
    >>> duration(timedelta(hours=36)), duration(timedelta(days=70)), duration(timedelta(seconds=1))
    ('1.5 days', '70 days', '1 second')
    """
    microseconds = length // _MICROSECOND
    size, unit = next(((size, unit) for size, unit in _UNITS if microseconds >= size), _UNITS[-1])
    number = f"{microseconds / size:,.1f}".removesuffix(".0")
    return f"{number} {unit}{'' if number == '1' else 's'}"


def exact_duration(length: timedelta) -> str:
    """Return a duration in full, without rounding.

    Examples
    --------
    >>> exact_duration(timedelta(days=1, minutes=5)), exact_duration(timedelta(seconds=1.5))
    ('1 day 5 minutes', '1.5 seconds')
    """
    microseconds, parts = length // _MICROSECOND, []
    for size, unit in _UNITS[:-1]:
        count, microseconds = divmod(microseconds, size)
        parts += [plural(count, unit)] if count else []
    if microseconds or not parts:
        parts.append("1 second" if microseconds == 1_000_000 else f"{microseconds / 1e6:g} seconds")
    return " ".join(parts)
