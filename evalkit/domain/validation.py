"""What commands accept: each check gives the value in the form that events need, or says what is wrong with it."""

from __future__ import annotations

import difflib
import math
import numbers
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from evalkit.domain.ids import normalized_name
from evalkit.domain.metrics import METRICS, LongitudinalMetrics, Metric, TimePeriod
from evalkit.domain.study import PeriodType
from evalkit.domain.times import MAX_COUNT, WireDuration, WireTime, duration_of, duration_pair, wire_time
from evalkit.errors import InvalidInputError

__all__ = [
    "CHECKERS",
    "a_type",
    "check_at",
    "check_count",
    "check_name",
    "check_period",
    "check_text",
    "check_texts",
    "check_time",
    "invalid",
    "is_missing",
    "nearest",
    "shown",
]

_AHEAD = timedelta(minutes=5)
_ROUNDING = 1e-6  # what float32 arithmetic can add to a rate of 0 or 1
_TIME_EXAMPLE = "a time with a time zone, as in '2026-01-31T00:00:00Z'"


def invalid(field: str, value: object, problem: str, allowed: str = "", hint: str = "") -> InvalidInputError:
    """Return the error for a value that is refused: ``Invalid period 'dayly': expected hourly, daily, weekly or monthly``."""
    return InvalidInputError(f"Invalid {field} {shown(value)}: {problem}", allowed=allowed, hint=hint, field=field, value=value)


def shown(value: object) -> str:
    """Return a value as messages show it: its representation, cut to 80 characters, or its type."""
    try:
        text = repr(value)
    except Exception:  # the message of an error must not fail, as repr does for an int of more than 4,300 digits
        return a_type(value)
    if "\n" in text:  # a frame, or what holds one: a piece of its table tells nothing
        text = f"({', '.join(type(part).__name__ for part in value)})" if isinstance(value, tuple) else a_type(value)
    return text if len(text) <= 80 else text[:77] + "..."


def a_type(value: object) -> str:
    """Give the type of a value with its article: ``"an EvalKit"``, ``"a tuple"``, ``"a UUID"``."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"


def nearest(name: object, valid: Iterable[str]) -> str:
    """Give ``". Did you mean ...?"`` with the valid name nearest to `name`, or nothing when none is near."""
    near = difflib.get_close_matches(name, list(valid), n=1) if isinstance(name, str) else []
    return f" Did you mean {near[0]!r}?" if near else ""


def is_missing(value: object) -> bool:
    """Whether a value means "not measured": None, and what Pandas uses for it (NaT, NA). A NaN is checked by its metric."""
    kind = type(value).__name__
    return value is None or kind in ("NaTType", "NAType") or (kind in ("timedelta64", "datetime64") and str(value) == "NaT")


def check_text(field: str, value: object, *, low: int = 0, high: int | None = None, lines: bool = False) -> str:
    """Check a text: `low` to `high` characters, no lone surrogates, no control characters (line breaks and tabs where `lines`)."""
    if not isinstance(value, str):
        raise invalid(field, value, f"is of type {type(value).__name__}", "give text")
    if len(value) < low or (not value.strip() and low > 0):
        raise invalid(field, value, "is empty", "give at least one visible character")
    if high is not None and len(value) > high:
        raise invalid(field, value, f"has {len(value)} characters", f"at most {high} are allowed")
    for character in "" if value.isprintable() else value:
        category = unicodedata.category(character)
        if category == "Cs" or (category == "Cc" and not (lines and character in "\n\r\t")):
            raise invalid(field, value, f"holds the character U+{ord(character):04X}, which is not allowed", "remove it")
    return str.__str__(value)  # a plain text: one of NumPy is not for JSON, and str() of an enumeration's member is its name


def check_name(value: object) -> str:
    """Check a study's name: 1 to 200 characters, at least one of them visible, no control characters."""
    name = check_text("name", value, low=1, high=200)
    if not normalized_name(name):
        raise invalid("name", value, "is empty", "give at least one visible character")
    return name


def check_texts(field: str, value: object) -> list[str]:
    """Check a list of texts."""
    try:
        items = iter(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else None
    except TypeError:  # also for an array without dimensions, which is an Iterable
        items = None
    if items is None:
        raise invalid(field, value, "is no list of texts", 'give, for example, ["one", "two"]')
    return [check_text(field, item) for item in items]


def check_metadata(value: object) -> dict[str, str]:
    """Check a mapping of text to text."""
    if not isinstance(value, Mapping):
        raise invalid("metadata", value, "is no mapping", 'give, for example, {"model": "m-1"}')
    return {check_text("metadata key", key, low=1): check_text(f"metadata[{key!r}]", text, lines=True) for key, text in value.items()}


def check_period(value: object) -> tuple[PeriodType, int | None]:
    """Check a period: ``"daily"``, ``"weekly:2"``, a `PeriodType`, or a `PeriodType` with a number of periods."""
    name, count = value, None
    if isinstance(value, tuple) and len(value) == 2:
        name, count = value
    elif isinstance(value, str) and ":" in value:
        name, _, text = value.partition(":")
        if not (text.isascii() and text.isdigit()):
            raise invalid("period", value, "must end in a whole number after the colon, for example 'weekly:2'")
        count = Decimal(text)  # of any number of digits
    valid = [period.value for period in PeriodType]
    if not isinstance(name, str) or name not in valid:
        raise invalid(
            "period", value, f"is none of {', '.join(valid)}, alone or with a number, as in 'weekly:2'", hint=nearest(name, valid).strip()
        )
    if count is None:
        return PeriodType(name), None
    periods = _whole_number(count)
    if periods is None or not 1 <= periods < 2**32:
        raise invalid("period", value, "must plan a whole number of periods, 1 to 4,294,967,295")
    return PeriodType(name), periods


def check_time(field: str, value: object) -> datetime:
    """Check a time: a time-zone-aware datetime, or RFC 3339 text with a time zone. Gives it in UTC."""
    moment = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise invalid(field, value, "is no RFC 3339 time", f"give {_TIME_EXAMPLE}") from None
    if type(moment) is datetime and moment.tzinfo is UTC:
        return moment
    if not isinstance(moment, datetime) or is_missing(value):
        raise invalid(field, value, "is no time", f"give {_TIME_EXAMPLE}")
    if moment.utcoffset() is None:
        raise invalid(field, value, "has no time zone", f"give {_TIME_EXAMPLE}")
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        moment = None
    if moment is None or not 1 <= moment.year <= 9999:  # a Pandas Timestamp reaches further than Python's types
        raise invalid(field, value, "lies outside the years 1 to 9999 in UTC")
    if type(moment) not in (datetime, WireTime):  # a pandas Timestamp
        return datetime(*moment.timetuple()[:6], moment.microsecond, UTC)
    return moment


def check_at(field: str, value: object, now: datetime | None = None) -> datetime:
    """Check when something happened: not before 1970, and at most 5 minutes after `now`, by default the system's clock."""
    moment = check_time(field, value)
    now = now or datetime.now(UTC)
    if moment > now + _AHEAD:
        raise invalid(field, value, f"lies in the future: now is {wire_time(now)}, and at most 5 minutes ahead are allowed")
    if moment.year < 1970:
        raise invalid(field, value, "lies before 1970, which an event id cannot hold")
    return moment


def check_count(field: str, value: object) -> int:
    """Check a count: a whole number from 0 to 2^63 - 1. A float without a fraction is one, as frames with gaps make them."""
    if type(value) is int and 0 <= value <= MAX_COUNT:
        return value
    count = _whole_number(value)
    if count is None:
        hint = ", or None when it was not measured" if isinstance(value, float) and math.isnan(value) else ""
        raise invalid(field, value, "is no whole number", f"give a count from 0 to 9,223,372,036,854,775,807{hint}")
    if not 0 <= count <= MAX_COUNT:
        raise invalid(field, value, "is outside the range of a count, 0 to 9,223,372,036,854,775,807")
    return count


def _whole_number(value: object) -> int | None:
    """Return a whole number of any type as an int, also a float or Decimal without a fraction; None for anything else."""
    if isinstance(value, bool) or _is_numpy_duration(value):
        return None
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, Decimal):
        return int(value) if value.is_finite() and value.adjusted() < 20 and value == value.to_integral_value() else None
    number: Any = value
    return int(number) if isinstance(value, numbers.Real) and abs(number) <= 2**53 and number == int(number) else None


def _check_number(field: str, value: object, low: float, high: float | None, rounding: float = 0) -> float:
    """Check a number from `low` to `high`; one that is out of this range by at most `rounding` is the bound."""
    if not isinstance(value, numbers.Real | Decimal) or isinstance(value, bool) or _is_numpy_duration(value):
        raise invalid(field, value, f"is of type {type(value).__name__}", "give a number, or None when it was not measured")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    except ValueError:  # a signaling NaN
        number = math.nan
    if not math.isfinite(number):
        raise invalid(field, value, "is not finite", "give None when it was not measured")
    bound = max(number, float(low)) if high is None else min(max(number, float(low)), float(high))
    if abs(number - bound) > rounding:
        wanted = f"{low:g} to {high:g}" if high is not None else f"{low:g} or more"
        hint = f"A percentage? Divide it by 100: {number / 100:g}." if high == 1 and 2 <= number <= 100 else ""
        raise invalid(field, value, f"is outside the range {wanted}", hint=hint)
    return bound


def _is_numpy_duration(value: object) -> bool:
    return type(value).__name__ == "timedelta64"  # which NumPy counts among the integers


def _check_duration(field: str, value: object) -> WireDuration:
    return duration_of(*_seconds_and_nanoseconds(field, value))


def _seconds_and_nanoseconds(field: str, value: object) -> tuple[int, int]:
    if _is_numpy_duration(value):
        if str(value.dtype) in ("timedelta64", "timedelta64[M]", "timedelta64[Y]"):  # type: ignore[attr-defined]
            raise invalid(field, value, "has a unit without a fixed length", "give seconds, or a timedelta")
        if str(value.dtype).endswith(("ns]", "ps]", "fs]", "as]")):  # type: ignore[attr-defined]
            nanoseconds = int(value.astype("timedelta64[ns]").astype("int64"))  # type: ignore[attr-defined]
            if nanoseconds < 0:
                raise invalid(field, value, "is negative", "a duration is 0 or more")
            return divmod(nanoseconds, 1_000_000_000)
        duration = value.item()  # type: ignore[attr-defined]
        if not isinstance(duration, timedelta):
            raise invalid(field, value, "is out of range: a duration is at most 999,999,999 days")
    else:
        duration = value
    if isinstance(duration, timedelta):
        if duration < timedelta(0):
            raise invalid(field, value, "is negative", "a duration is 0 or more")
        nanoseconds = getattr(duration, "nanoseconds", 0)  # a Pandas Timedelta has them
        seconds, fraction = duration_pair(duration)
        return seconds, fraction + nanoseconds
    if isinstance(value, Sequence) and len(value) == 2 and all(type(part) is int for part in value):
        if 0 <= value[0] <= MAX_COUNT and 0 <= value[1] <= 999_999_999:
            return value[0], value[1]
        raise invalid(field, value, "must be [seconds, nanoseconds] with nanoseconds below 1,000,000,000")
    seconds_given = _check_number(field, value, 0, float(2**53))
    return divmod(round(seconds_given * 1_000_000_000), 1_000_000_000)


def _checker(metric: Metric) -> Callable[[str, object], Any]:
    if metric.kind == "count":
        return check_count
    if metric.kind == "duration":
        return _check_duration
    low, high = metric.low, sys.float_info.max if metric.high is None else metric.high
    rounding = _ROUNDING if metric.kind == "rate" else 0

    def check(field: str, value: object) -> float:
        if type(value) is float and low <= value <= high:  # nearly always; not NaN, which compares with nothing
            return value
        return _check_number(field, value, metric.low, metric.high, rounding)

    return check


CHECKERS: dict[str, Callable[[str, object], Any]] = {name: _checker(metric) for name, metric in METRICS.items()}
"""For each metric, what checks its value and returns it as `LongitudinalMetrics` holds it."""


def check_bounds(start: object, end: object) -> tuple[datetime, datetime]:
    """Check a period's start and end: `end` comes after `start`."""
    first, last = check_time("period_start", start), check_time("period_end", end)
    if last <= first:
        raise invalid("period_end", end, f"does not come after period_start, {wire_time(first)}", "a period is [start, end)")
    return first, last


def metrics_as_mapping(metrics: LongitudinalMetrics | Mapping[str, Any]) -> Mapping[str, Any]:
    """Give a checkpoint's metrics and period as one mapping, however they were given."""
    if isinstance(metrics, LongitudinalMetrics):
        return {**metrics.measured(), "period_start": metrics.period.start, "period_end": metrics.period.end}
    if not isinstance(metrics, Mapping):
        raise invalid("metrics", metrics, "is no mapping", 'give {"session_success_rate": 0.8, ..., "period": (start, end)}')
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
        raise invalid("period", period, "is no period", "give (start, end), or {'start': start, 'end': end}")
    for name, bound in zip(("period_start", "period_end"), bounds, strict=True):
        if name in metrics and check_time(name, metrics[name]) != check_time(name, bound):
            raise invalid("period", period, f"contradicts {name}, which is {shown(metrics[name])}", "give one or the other")
    return {**{key: value for key, value in metrics.items() if key != "period"}, "period_start": bounds[0], "period_end": bounds[1]}
