"""Times and durations on the wire, in the read model and in Python.

On the wire, a time is RFC 3339 text in UTC with 0 to 9 fractional digits, and a duration is ``[seconds, nanoseconds]``. In the read model,
a time is text of a fixed width, ``2026-01-31T08:00:00.000000Z``. In models, they are `datetime` (UTC) and `timedelta`, which have only
microseconds. The subclasses in this module keep the nanoseconds, so that reading and writing an event is lossless.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

__all__ = [
    "MAX_COUNT", "Duration", "UtcTime", "WireDuration", "WireTime", "duration_of", "duration_pair", "stored_text", "stored_time",
    "wire_time",
]  # fmt: skip

MAX_COUNT = 2**63 - 1

_WIRE_TIME = re.compile(r"(\d{4})-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.(\d{1,9}))?(?:[Zz]|[+-]00:00)", re.ASCII)


class WireTime(datetime):
    """A UTC time with its text on the wire, which may have nanoseconds."""

    wire: str | None = None
    """The text on the wire; None for the result of arithmetic."""


class WireDuration(timedelta):
    """A duration with its seconds and nanoseconds on the wire.

    Its value as a timedelta is limited to 999,999,999 days.
    """

    pair: tuple[int, int]
    """Seconds and nanoseconds."""

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the pair in pickles and deep copies."""
        return _read_duration, (self.pair,)


@lru_cache(maxsize=8192)
def stored_time(text: str) -> str:
    """Return a wire time in the format of the read model.

    The format is ``YYYY-MM-DDTHH:MM:SS.ffffffZ``, truncated to microseconds.

    Raises
    ------
    ValueError
        When `text` is not RFC 3339 in UTC with at most 9 fractional digits, or not a date of the years 1 to 9999.
    """
    match = _WIRE_TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:80]!r} is not an RFC 3339 time in UTC with at most 9 fractional digits")
    seconds = f"{text[:10]}T{text[11:19]}"
    datetime.fromisoformat(seconds)  # raises for February 30, hour 25 or year 0
    if text[11:13] == "24":
        raise ValueError(f"{text!r}: the hour must be in 00..23")
    return f"{seconds}.{(match[2] or '')[:6]:0<6}Z"


def stored_text(moment: datetime) -> str:
    """Return a UTC time in the format of the read model."""
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"  # strftime writes the year 33 as "33"


def wire_time(moment: datetime) -> str:
    """Return a time as RFC 3339 text in UTC.

    A time that was read from the wire has its original text, any other has 0, 3 or 6 fractional digits.
    """
    if isinstance(moment, WireTime) and moment.wire is not None:
        return moment.wire
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    text = moment.isoformat()
    return text[:26].removesuffix("000") + "Z" if moment.microsecond else text[:19] + "Z"


def duration_pair(duration: timedelta) -> tuple[int, int]:
    """Return a duration as seconds and nanoseconds."""
    if isinstance(duration, WireDuration):
        return duration.pair
    return duration.days * 86_400 + duration.seconds, duration.microseconds * 1000


def duration_of(seconds: int, nanoseconds: int) -> WireDuration:
    """Return the duration for seconds and nanoseconds on the wire."""
    duration = WireDuration(seconds=min(seconds, timedelta.max.days * 86_400), microseconds=nanoseconds // 1000)
    duration.pair = (seconds, nanoseconds)
    return duration


def _read_time(value: Any) -> datetime:
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError("a time zone is required, for example datetime(2026, 1, 31, tzinfo=timezone.utc)")
        if isinstance(value, WireTime):
            return value
        try:
            return value.astimezone(UTC)
        except OverflowError:
            raise ValueError(f"{value} is outside the years 1 to 9999 in UTC") from None
    if not isinstance(value, str):
        raise ValueError(f"a time must be a datetime or RFC 3339 text, not {type(value).__name__}")
    moment = WireTime.fromisoformat(stored_time(value))
    moment.wire = value
    return moment


def _read_duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        if value < timedelta(0):
            raise ValueError("a duration must not be negative")
        return value
    if (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(type(part) is int for part in value)
        and 0 <= value[0] <= MAX_COUNT
        and 0 <= value[1] <= 999_999_999
    ):
        return duration_of(*value)
    raise ValueError("a duration must be a timedelta, or [seconds, nanoseconds] with nanoseconds below 1,000,000,000")


UtcTime = Annotated[datetime, PlainValidator(_read_time), PlainSerializer(wire_time, return_type=str, when_used="json")]
"""A time-zone-aware time, stored in UTC."""

Duration = Annotated[
    timedelta, PlainValidator(_read_duration), PlainSerializer(duration_pair, return_type=tuple[int, int], when_used="json")
]
"""A duration of zero or more."""
