"""Checks of user input.

Each check returns the value in the form that events need, or raises `InvalidInputError`.
"""

from __future__ import annotations

import difflib
import math
import numbers
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from evalkit._util.text import alternatives
from evalkit.domain.ids import normalized_name
from evalkit.domain.metrics import ALIASES, METRICS, LongitudinalMetrics, Metric, TimePeriod
from evalkit.domain.periods import first_instant, local_readings
from evalkit.domain.study import PeriodType
from evalkit.domain.times import MAX_COUNT, WireDuration, WireTime, duration_of, duration_pair, wire_time
from evalkit.errors import InvalidInputError

__all__ = [
    "CHECKERS",
    "a_type",
    "check_at",
    "check_bounds",
    "check_count",
    "check_local_time",
    "check_metadata",
    "check_metric",
    "check_name",
    "check_period",
    "check_text",
    "check_texts",
    "check_time",
    "check_zone",
    "close_names",
    "invalid",
    "is_missing",
    "metrics_as_mapping",
    "nearest",
    "shown",
    "unknown_name",
    "zone_name",
]

_AHEAD = timedelta(minutes=5)
_ROUNDING = 1e-6  # the largest accepted rounding error of a rate; float32 arithmetic causes smaller ones
_TIME_EXAMPLE = "expected e.g. '2026-01-31T00:00:00Z'"
_LOCAL_EXAMPLE = "expected e.g. '2026-01-31' or '2026-01-31T08:00'"
_TZ_HINTS = {
    "hint": "Pass tz='UTC' to read dates and local times in that time zone.",
    "shell_hint": "Pass --tz UTC to read dates and local times in that time zone.",
}
_SECONDS = "expected 0 or more seconds, or a timedelta"
_WHOLE_NUMBER = "expected a whole number of 0 or more"
_LIKE_WORDS = frozenset(("by", "fit", "of", "sort", "align", "steps", "legend"))
"""Parameters that messages show as ``by='x'``, because their names are common words."""
_SUGGESTED = 3
_SHORTEST_SIMILAR = 5  # shorter aliases resemble unrelated names: rate, date
_GENERIC_WORDS = frozenset(("avg", "average", "mean", "total", "sum", "rate", "ratio", "number", "num", "count", "per", "completed", "the"))


def invalid(field: str, value: object, problem: str, allowed: str = "", hint: str = "") -> InvalidInputError:
    """Return the error for an invalid value: ``Invalid period 'dayly': expected …``.

    A parameter whose name has one or two characters, or is a common word, is shown as ``by='x'``.
    """
    subject = f"{field}={shown(value)}" if len(field) <= 2 or field in _LIKE_WORDS else f"{field} {shown(value)}"
    return InvalidInputError(f"Invalid {subject}: {problem}", allowed=allowed, hint=hint, field=field, value=value)


def shown(value: object) -> str:
    """Return a value as text for messages: its `repr` of at most 80 characters, or its type.

    Examples
    --------
    >>> shown("dayly"), shown("x" * 100)[-5:]
    ("'dayly'", 'xx...')
    """
    if isinstance(value, date) and not is_missing(value):
        return value.isoformat()
    try:
        text = repr(value)
    except Exception:  # repr() raises for an int of more than 4,300 digits
        return a_type(value)
    if "\n" in text:  # such as a frame, of which 80 characters would not help
        text = f"({', '.join(type(part).__name__ for part in value)})" if isinstance(value, tuple) else a_type(value)
    return text if len(text) <= 80 else text[:77] + "..."


def a_type(value: object) -> str:
    """Return the type of a value with its article: ``"an EvalKit"``, ``"a tuple"``."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"


def close_names(name: object, valid: Iterable[str]) -> list[str]:
    """Return up to three valid names close to a name.

    These are, in this order: the same name in another case, the names for which it is an alias, names with a similar spelling, and names
    with a common word.

    Examples
    --------
    >>> close_names("accuracy", METRICS), close_names("Total Cost", METRICS), close_names("sucess_rate", METRICS)
    (['session_success_rate'], ['total_cost'], ['session_success_rate'])
    >>> close_names("zzz", METRICS)
    []
    """
    if not isinstance(name, str):
        return []
    key, names = _lookup_key(name), {_lookup_key(known): known for known in valid}
    if key in names:
        return [names[key]]
    aliases = {alias: meant for alias, meant in ALIASES.items() if all(names.get(target) == target for target in meant)}
    if key in ALIASES:  # unambiguous, even if its names are not valid here
        return list(aliases.get(key, ()))
    targets = {alias: meant for alias, meant in aliases.items() if len(alias) >= _SHORTEST_SIMILAR}
    targets |= {known_key: (known,) for known_key, known in names.items()}
    similar = {near: difflib.SequenceMatcher(None, near, key).ratio() for near in difflib.get_close_matches(key, targets, n=_SUGGESTED)}
    best = max(similar.values(), default=0.0)
    close = [known for near, ratio in similar.items() if ratio > best - 0.1 for known in targets[near]]
    return list(dict.fromkeys(close or _with_common_word(key, names)))[:_SUGGESTED]


def _lookup_key(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def _with_common_word(key: str, names: Mapping[str, str]) -> list[str]:
    """Return the names that share words with `key`, best match first."""
    terms = set(key.split("_")) - _GENERIC_WORDS
    common = {known: sum(bool(difflib.get_close_matches(term, part.split("_"), 1, 0.8)) for term in terms) for part, known in names.items()}
    return sorted((known for known, count in common.items() if count), key=lambda known: -common[known])


def nearest(name: object, valid: Iterable[str]) -> str:
    """Return ``" Did you mean 'a'?"`` with the close names, or ``""`` without any."""
    close = close_names(name, valid)
    return f" Did you mean {alternatives([repr(known) for known in close])}?" if close else ""


def unknown_name(kind: str, name: object, valid: Sequence[str], *, field: str, listed: str = "") -> InvalidInputError:
    """Return the error for an unknown name.

    It suggests the valid names close to it, or lists all valid names if none is close.

    Parameters
    ----------
    kind
        The kind of name, such as ``"metric"``.
    name
        The name.
    valid
        The valid names.
    field
        The name of the parameter, key or column.
    listed
        The valid names as text; by default joined with commas.
    """
    hint = nearest(name, valid).strip() or f"Valid {kind}s: {listed or ', '.join(valid)}."
    return InvalidInputError(f"Unknown {kind} {shown(name)}", hint=hint, field=field, value=name)


def check_metric(field: str, name: object) -> Metric:
    """Check the name of a metric, and return the metric.

    Examples
    --------
    >>> check_metric("metric", "total_cost").label
    'Total cost'
    """
    if not isinstance(name, str):
        raise invalid(field, name, "expected the name of one metric, e.g. 'session_success_rate'")
    if name not in METRICS:
        raise unknown_name("metric", name, [*METRICS], field=field)
    return METRICS[name]


def is_missing(value: object) -> bool:
    """Return whether a value means "not measured": None, or NaT or NA of pandas.

    NaN is not missing: the check of the metric decides whether it is valid.
    """
    kind = type(value).__name__
    return value is None or kind in ("NaTType", "NAType") or (kind in ("timedelta64", "datetime64") and str(value) == "NaT")


def check_text(field: str, value: object, *, low: int = 0, high: int | None = None, lines: bool = False) -> str:
    """Check a string of `low` to `high` characters.

    Lone surrogates and control characters are errors, but with `lines`, line breaks and tabs are allowed.
    """
    if not isinstance(value, str):
        raise invalid(field, value, f"expected a string, got {a_type(value)}")
    if len(value) < low or (not value.strip() and low > 0):
        raise invalid(field, value, "empty", "at least one visible character is required")
    if high is not None and len(value) > high:
        raise invalid(field, value, f"{len(value):,} characters", f"at most {high} are allowed")
    for character in "" if value.isprintable() else value:
        category = unicodedata.category(character)
        if category == "Cs" or (category == "Cc" and not (lines and character in "\n\r\t")):
            raise invalid(field, value, f"contains the character U+{ord(character):04X}, which is not allowed")
    return str.__str__(value)  # a plain str: NumPy's str_ cannot be encoded as JSON, and str() of an enum member is its name


def check_name(value: object) -> str:
    """Check a study's name: 1 to 200 characters, one of them visible, no control characters."""
    name = check_text("name", value, low=1, high=200)
    if not normalized_name(name):
        raise invalid("name", value, "empty", "at least one visible character is required")
    return name


def check_texts(field: str, value: object) -> list[str]:
    """Check a list of strings."""
    try:
        items = iter(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else None
    except TypeError:  # a NumPy array without dimensions is an Iterable, but iter() raises
        items = None
    if items is None:
        raise invalid(field, value, 'expected a list of strings, e.g. ["one", "two"]')
    texts = list(items)
    for text in texts:
        if not isinstance(text, str):
            raise invalid(field, value, f"expected strings, got {a_type(text)} ({shown(text)})")
    return [check_text(field, text) for text in texts]


def check_metadata(value: object) -> dict[str, str]:
    """Check a mapping of strings to strings."""
    if not isinstance(value, Mapping):
        raise invalid("metadata", value, 'expected a mapping of strings, e.g. {"model": "m-1"}')
    return {check_text("metadata key", key, low=1): check_text(f"metadata[{key!r}]", text, lines=True) for key, text in value.items()}


def check_period(value: object, field: str = "period") -> tuple[PeriodType, int | None]:
    """Check a period: ``"daily"``, ``"weekly:2"``, a `PeriodType` or a (type, count) pair."""
    name, count = value, None
    if isinstance(value, tuple) and len(value) == 2:
        name, count = value
    elif isinstance(value, str) and ":" in value:
        name, _, text = value.partition(":")
        if not (text.isascii() and text.isdigit()):
            raise invalid(field, value, "expected a whole number after the colon, e.g. 'weekly:2'")
        count = Decimal(text)  # int() limits the number of digits
    valid = [period.value for period in PeriodType]
    if not isinstance(name, str) or name not in valid:
        raise invalid(
            field, value, "expected hourly, daily, weekly or monthly, optionally with a count ('weekly:2')",
            hint=nearest(name, valid).strip(),
        )  # fmt: skip
    if count is None:
        return PeriodType(name), None
    periods = _whole_number(count)
    if periods is None or not 1 <= periods < 2**32:
        raise invalid(field, value, "expected a count of 1 to 4,294,967,295 periods")
    return PeriodType(name), periods


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
        names = [name for name in available_timezones() if len(value) >= _SHORTEST_SIMILAR or name.lower() == value.lower()]
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


def check_count(field: str, value: object) -> int:
    """Check a count: a whole number from 0 to 2^63 - 1.

    Floats without a fraction are accepted, because pandas stores counts with missing values as floats.
    """
    if type(value) is int and 0 <= value <= MAX_COUNT:
        return value
    count = _whole_number(value)
    if count is None:
        hint = "Use None for a missing value." if isinstance(value, float) and math.isnan(value) else ""
        raise invalid(field, value, _WHOLE_NUMBER, hint=hint)
    if not 0 <= count <= MAX_COUNT:
        raise invalid(field, value, _WHOLE_NUMBER if count < 0 else f"expected at most {MAX_COUNT:,}")
    return count


def _whole_number(value: object) -> int | None:
    """Return a whole number of any type, such as ``2.0``, as an int; None for other values."""
    if isinstance(value, bool) or _is_numpy_duration(value):
        return None
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, Decimal):
        return int(value) if value.is_finite() and value.adjusted() < 20 and value == value.to_integral_value() else None
    number: Any = value
    return int(number) if isinstance(value, numbers.Real) and abs(number) <= 2**53 and number == int(number) else None


def _check_number(field: str, value: object, low: float, high: float | None, rounding: float = 0, *, expected: str = "a number") -> float:
    """Check a number from `low` to `high`.

    A number outside the range by at most `rounding` is replaced with the bound. `expected` describes the valid types in messages.
    """
    if isinstance(value, str):
        raise invalid(field, value, f"expected {expected}, got a string")
    if not isinstance(value, numbers.Real | Decimal) or isinstance(value, bool) or _is_numpy_duration(value):
        raise invalid(field, value, f"expected {expected}, got {a_type(value)}", hint="Use None for a missing value.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    except ValueError:  # a signaling NaN
        number = math.nan
    if not math.isfinite(number):
        raise invalid(field, value, "not finite", hint="Use None for a missing value.")
    bound = max(number, float(low)) if high is None else min(max(number, float(low)), float(high))
    if abs(number - bound) > rounding:
        if high is None or high == sys.float_info.max:
            raise invalid(field, value, f"expected a number of {low:g} or more")
        hint = f"If it is a percentage, divide it by 100: {number / 100:g}." if high == 1 and 2 <= number <= 100 else ""
        raise invalid(field, value, f"outside the range {low:g} to {high:g}", hint=hint)
    return bound


def _is_numpy_duration(value: object) -> bool:
    return type(value).__name__ == "timedelta64"  # NumPy registers it as an integer type


def _check_duration(field: str, value: object) -> WireDuration:
    return duration_of(*_seconds_and_nanoseconds(field, value))


def _seconds_and_nanoseconds(field: str, value: object) -> tuple[int, int]:
    if _is_numpy_duration(value):
        if str(value.dtype) in ("timedelta64", "timedelta64[M]", "timedelta64[Y]"):  # type: ignore[attr-defined]
            raise invalid(field, value, "months and years have no fixed length", "expected seconds or a timedelta")
        if str(value.dtype).endswith(("ns]", "ps]", "fs]", "as]")):  # type: ignore[attr-defined]
            nanoseconds = int(value.astype("timedelta64[ns]").astype("int64"))  # type: ignore[attr-defined]
            if nanoseconds < 0:
                raise invalid(field, value, _SECONDS)
            return divmod(nanoseconds, 1_000_000_000)
        duration = value.item()  # type: ignore[attr-defined]
        if not isinstance(duration, timedelta):
            raise invalid(field, value, "outside the range of a duration, 0 to 999,999,999 days")
    else:
        duration = value
    if isinstance(duration, timedelta):
        if duration < timedelta(0):
            raise invalid(field, value, _SECONDS)
        nanoseconds = getattr(duration, "nanoseconds", 0)  # of a pandas Timedelta
        seconds, fraction = duration_pair(duration)
        return seconds, fraction + nanoseconds
    if isinstance(value, Sequence) and len(value) == 2 and all(type(part) is int for part in value):
        if 0 <= value[0] <= MAX_COUNT and 0 <= value[1] <= 999_999_999:
            return value[0], value[1]
        raise invalid(field, value, "expected [seconds, nanoseconds] with nanoseconds below 1,000,000,000")
    seconds_measured = _check_number(field, value, -math.inf, None, expected="seconds or a timedelta")
    if seconds_measured < 0:
        raise invalid(field, value, _SECONDS)
    if seconds_measured > 2**53:
        raise invalid(field, value, f"expected at most {2**53:,} seconds")
    return divmod(round(seconds_measured * 1_000_000_000), 1_000_000_000)


def _checker(metric: Metric) -> Callable[[str, object], Any]:
    if metric.kind == "count":
        return check_count
    if metric.kind == "duration":
        return _check_duration
    low, high = metric.low, sys.float_info.max if metric.high is None else metric.high
    rounding = _ROUNDING if metric.kind == "rate" else 0

    def check(field: str, value: object) -> float:
        if type(value) is float and low <= value <= high:  # the fast path; NaN fails the comparisons
            return value
        return _check_number(field, value, metric.low, metric.high, rounding)

    return check


CHECKERS: dict[str, Callable[[str, object], Any]] = {name: _checker(metric) for name, metric in METRICS.items()}
"""The check of each metric's value, which returns the value as stored in `LongitudinalMetrics`."""


def check_bounds(start: object, end: object, *, suggest_tz: bool = False) -> tuple[datetime, datetime]:
    """Check the start and end of a period as in `check_time`; the end must be after the start."""
    first, last = check_time("period_start", start, suggest_tz=suggest_tz), check_time("period_end", end, suggest_tz=suggest_tz)
    return first, check_order(first, last, end)


def check_order(start: datetime, end: datetime, value: object) -> datetime:
    """Check that the end of a period is after its start, and return the end.

    `value` is the end as the user passed it, for the error.
    """
    if end <= start:
        raise invalid("period_end", value, f"must be after period_start ({wire_time(start)})", "periods are half-open, [start, end)")
    return end


def metrics_as_mapping(
    metrics: LongitudinalMetrics | Mapping[str, Any], read_time: Callable[[str, object], datetime] = check_time
) -> Mapping[str, Any]:
    """Return a checkpoint's metrics and period as one mapping.

    A key ``"period"`` becomes period_start and period_end. If the mapping has both forms, they must be equal; `read_time` parses their
    times for this comparison.
    """
    if isinstance(metrics, LongitudinalMetrics):
        return {**metrics.measured(), "period_start": metrics.period.start, "period_end": metrics.period.end}
    if not isinstance(metrics, Mapping):
        raise invalid("metrics", metrics, 'expected a mapping, e.g. {"session_success_rate": 0.8, ..., "period": (start, end)}')
    if "period" not in metrics:
        return metrics
    period = metrics["period"]
    if isinstance(period, TimePeriod):
        bounds: Sequence[Any] = (period.start, period.end)
    elif isinstance(period, Mapping) and set(period) == {"start", "end"}:
        bounds = (period["start"], period["end"])
    elif isinstance(period, list | tuple) and len(period) == 2:
        bounds = period
    else:
        raise invalid("period", period, "expected (start, end) or {'start': start, 'end': end}")
    for name, bound in zip(("period_start", "period_end"), bounds, strict=True):
        if name in metrics and read_time(name, metrics[name]) != read_time(name, bound):
            raise invalid("period", period, f"contradicts {name} {shown(metrics[name])}", hint="Pass one of them.")
    return {**{key: value for key, value in metrics.items() if key != "period"}, "period_start": bounds[0], "period_end": bounds[1]}
