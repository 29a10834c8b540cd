"""Checks of times, periods' bounds and time zones that a user passes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from evalkit.domain.periods import first_instant, local_readings
from evalkit.domain.refusals import SHORTEST_SIMILAR, invalid, is_missing, nearest, shown
from evalkit.domain.study import PER_RUN, PeriodType
from evalkit.domain.times import WireTime, wire_time
from evalkit.errors import InvalidInputError

__all__ = ["CadenceOf", "check_at", "check_bounds", "check_local_time", "check_order", "check_time", "check_zone", "zone_name"]

_AHEAD = timedelta(minutes=5)
_TIME_EXAMPLE = "expected e.g. '2026-01-31T00:00:00Z'"
_LOCAL_EXAMPLE = "expected e.g. '2026-01-31' or '2026-01-31T08:00'"
_TZ_HINTS = {
    "hint": "Pass tz='UTC' to read dates and local times in that time zone.",
    "shell_hint": "Pass --tz UTC to read dates and local times in that time zone.",
}


def check_time(field: str, value: object, *, suggest_tz: bool = False, example: str = _TIME_EXAMPLE) -> datetime:
    """Check a time, and return it in UTC.

    It must be a time-zone-aware datetime, or RFC 3339 text with a time zone. With `suggest_tz`, the error for a time without a time zone
    suggests the parameter `tz`.
    """
    moment = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise invalid(field, value, "not an ISO 8601 time", example) from None
    if type(moment) is datetime and moment.tzinfo is UTC:
        return moment
    moment = _from_numpy(moment)
    if not isinstance(moment, date) or is_missing(value):
        raise invalid(field, value, "not a time", _TIME_EXAMPLE)
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise invalid(field, value, "no time zone", _TIME_EXAMPLE).but(**(_TZ_HINTS if suggest_tz else {}))
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        moment = None
    if moment is None or not 1 <= moment.year <= 9999:  # a pandas Timestamp has a wider range than Python's types
        raise _out_of_range(field, value)
    if type(moment) not in (datetime, WireTime):  # such as a pandas Timestamp
        return datetime(*moment.timetuple()[:6], moment.microsecond, UTC)
    return moment


def check_local_time(field: str, value: object, tz: tzinfo, *, period_type: Callable[[], PeriodType | None] = lambda: None) -> datetime:
    """Check a time as in `check_time`; dates and naive times are local to a time zone.

    Parameters
    ----------
    field
        The name of the parameter, key or column.
    value
        The time. A date means the beginning of the day.
    tz
        The time zone of dates and naive times.
    period_type
        Returns the type of the study's periods, or None if it is unknown. For hourly periods, a date is an error.

    Returns
    -------
    datetime
        In UTC.
    """
    local = _local(value)
    if local is None:
        return check_time(field, value, example=_LOCAL_EXAMPLE)
    try:
        if isinstance(local, datetime):
            first, second = local_readings(local, tz)
            if first != second:
                raise _two_readings(field, value, tz, first, second)
            return first
        if period_type() is PeriodType.HOURLY:
            raise invalid(field, value, "a date alone is not precise enough for an hourly study", "expected e.g. '2026-01-31T08:00'")
        moment = first_instant(datetime(local.year, local.month, local.day), tz)
        if moment.astimezone(tz).date() != local:
            raise invalid(field, value, f"this date does not exist in {zone_name(tz)}")
    except OverflowError:
        raise _out_of_range(field, value) from None
    return moment


def _local(value: object) -> datetime | date | None:
    """Return a value as a naive time or a date; None if it is neither."""
    moment = _from_numpy(value)
    if isinstance(value, str) and "W" not in value:  # fromisoformat() would read a week as its Monday
        for read in (date.fromisoformat, datetime.fromisoformat):
            try:
                moment = read(value)
                break
            except ValueError:
                continue
    if not isinstance(moment, date) or is_missing(value):
        return None
    if not isinstance(moment, datetime):
        return moment
    if moment.tzinfo is not None:
        return None
    return datetime(*moment.timetuple()[:6], moment.microsecond)  # converts a pandas Timestamp


def _from_numpy(value: object) -> object:
    """Return a NumPy datetime64 as a date or a naive time; any other value unchanged."""
    if type(value).__name__ != "datetime64":
        return value
    number: Any = value
    return number.item() if number.dtype.str.endswith(("[Y]", "[M]", "[W]", "[D]")) else number.astype("datetime64[us]").item()


def _two_readings(field: str, value: object, tz: tzinfo, first: datetime, second: datetime) -> InvalidInputError:
    early, late = sorted((first, second))
    problem = "occurs twice in" if first < second else "does not exist in"
    change = "back" if first < second else "forward"
    return invalid(
        field, value, f"{problem} {zone_name(tz)} because the clocks go {change}",
        f"use {early.astimezone(tz).isoformat()!r} or {late.astimezone(tz).isoformat()!r}",
    )  # fmt: skip


def _out_of_range(field: str, value: object) -> InvalidInputError:
    return invalid(field, value, "outside the years 1 to 9999 in UTC")


def check_zone(field: str, value: object) -> tzinfo:
    """Check a time zone: a name such as ``"Europe/Berlin"``, or a tzinfo.

    Examples
    --------
    >>> check_zone("tz", "Europe/Berlin")
    zoneinfo.ZoneInfo(key='Europe/Berlin')
    """
    if isinstance(value, tzinfo):
        value = getattr(value, "zone", None) or value  # a pytz zone has the right offset only after localize()
    if isinstance(value, tzinfo):
        return value
    if not isinstance(value, str) or not value:
        raise invalid(field, value, "expected a time zone, e.g. 'UTC' or 'Europe/Berlin'")
    if value == "UTC":
        return UTC
    try:
        return ZoneInfo(value)
    except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        # Abbreviations are similar to unrelated ones: PST to MST.
        names = [name for name in available_timezones() if len(value) >= SHORTEST_SIMILAR or name.lower() == value.lower()]
        hint = nearest(value, names).strip() or "Use an IANA name, e.g. 'UTC', 'Europe/Berlin' or 'America/Los_Angeles'."
        raise InvalidInputError(f"Unknown time zone {shown(value)}", hint=hint, field=field, value=value) from None


def zone_name(tz: tzinfo) -> str:
    """Return the name of a time zone, for messages."""
    return str(getattr(tz, "key", None) or tz)


def check_at(field: str, value: object, now: datetime | None = None, read_time: Callable[[str, object], datetime] = check_time) -> datetime:
    """Check the time of an event: not before 1970, and at most 5 minutes after `now`."""
    moment = read_time(field, value)
    now = now or datetime.now(UTC)
    if moment > now + _AHEAD:
        raise invalid(field, value, f"in the future (now is {wire_time(now)}; at most 5 minutes ahead are allowed)")
    if moment.year < 1970:
        raise invalid(field, value, "before 1970, the earliest time of an event id")
    return moment


def check_bounds(start: object, end: object, *, suggest_tz: bool = False, cadence: CadenceOf = None) -> tuple[datetime, datetime]:
    """Check the start and end of a period as in `check_time`; see `check_order`."""
    first, last = check_time("period_start", start, suggest_tz=suggest_tz), check_time("period_end", end, suggest_tz=suggest_tz)
    return first, check_order(first, last, end, cadence)


CadenceOf = str | Callable[[], str] | None
"""The cadence of a study, or a function that returns it; None for the default."""


def check_order(start: datetime, end: datetime, value: object, cadence: CadenceOf = None) -> datetime:
    """Check that the end of a period is after its start, and return the end.

    The end of a run, in a study with the cadence ``"per-run"``, may equal its start.

    Parameters
    ----------
    start, end
        The period.
    value
        The end as the user passed it, for the error.
    cadence
        The cadence of the study.
    """
    if end > start or (end == start and (cadence() if callable(cadence) else cadence) == PER_RUN):
        return end
    hint = 'Only a study with cadence="per-run" can have checkpoints at a point in time.' if end == start else ""
    allowed = "periods are half-open, [start, end)"
    raise invalid("period_end", value, f"must be after period_start ({wire_time(start)})", allowed, hint)
