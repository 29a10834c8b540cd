"""Checks of names, texts, periods and values that a user passes.

Each returns its input in the form that events need, or raises `InvalidInputError`.
"""

from __future__ import annotations

import math
import numbers
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from evalkit.domain.catalog import METRICS
from evalkit.domain.definitions import LARGEST_CUSTOM_COUNT, Metric
from evalkit.domain.ids import normalized_name
from evalkit.domain.lenient import MAX_CUSTOM
from evalkit.domain.metrics import LongitudinalMetrics, TimePeriod
from evalkit.domain.refusals import a_type, invalid, nearest, shown
from evalkit.domain.study import CADENCE, CADENCES, PER_PERIOD, PER_RUN, PeriodType
from evalkit.domain.time_input import check_time
from evalkit.domain.times import MAX_COUNT, WireDuration, duration_of, duration_pair
from evalkit.errors import InvalidInputError

__all__ = [
    "CHECKERS",
    "check_cadence",
    "check_count",
    "check_metadata",
    "check_metadata_changes",
    "check_name",
    "check_period",
    "check_text",
    "check_texts",
    "custom_check",
    "metrics_as_mapping",
    "too_many_custom",
]

_ROUNDING = 1e-6  # the largest accepted rounding error of a rate; float32 arithmetic causes smaller ones
_SECONDS = "expected 0 or more seconds, or a timedelta"
_WHOLE_NUMBER = "expected a whole number of 0 or more"


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
    """Check a mapping of strings to strings; the default cadence is left out."""
    if not isinstance(value, Mapping):
        raise invalid("metadata", value, 'expected a mapping of strings, e.g. {"model": "m-1"}')
    texts = {check_text("metadata key", key, low=1): check_text(f"metadata[{key!r}]", text, lines=True) for key, text in value.items()}
    if CADENCE in texts and check_cadence(f"metadata[{CADENCE!r}]", texts[CADENCE]) == PER_PERIOD:
        del texts[CADENCE]
    return texts


def check_metadata_changes(value: object, cadence: object) -> dict[str, str | None]:
    """Check changes of metadata and of the cadence, which is a key too; None removes a key."""
    if value is not None and not isinstance(value, Mapping):
        raise invalid("metadata", value, 'expected a mapping of strings, e.g. {"model": "m-2"}; None removes a key')
    passed = value or {}
    texts = check_metadata({key: text for key, text in passed.items() if text is not None})
    changes: dict[str, str | None] = {check_text("metadata key", key, low=1): texts.get(key) for key in passed}
    if cadence is not None:
        changes[CADENCE] = None if check_cadence("cadence", cadence, passed) == PER_PERIOD else PER_RUN
    return changes


def check_cadence(field: str, value: object, metadata: Mapping[Any, Any] | None = None) -> str:
    """Check a cadence, which `metadata` must not contradict."""
    if not isinstance(value, str) or value not in CADENCES:
        raise invalid(field, value, "expected 'per-period' or 'per-run'", hint=nearest(value, CADENCES).strip())
    if metadata and CADENCE in metadata and (metadata[CADENCE] or PER_PERIOD) != value:
        raise invalid(field, value, f"the metadata contain {CADENCE}={shown(metadata[CADENCE])}", hint="Pass it once.")
    return str.__str__(value)


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
        if low <= -sys.float_info.max:
            raise invalid(field, value, f"expected a number of at most {high:g}")
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


def _number_check(metric: Metric) -> Callable[[str, object], float]:
    least = -sys.float_info.max if metric.low is None else metric.low
    most = sys.float_info.max if metric.high is None else metric.high
    rounding = _ROUNDING if metric.kind == "rate" else 0

    def check(field: str, value: object) -> float:
        if type(value) is float and least <= value <= most:  # the fast path; NaN and infinity fail the comparisons
            return value
        return _check_number(field, value, least, metric.high, rounding)

    return check


def _checker(metric: Metric) -> Callable[[str, object], Any]:
    return {"count": check_count, "duration": _check_duration}.get(metric.kind) or _number_check(metric)


CHECKERS: dict[str, Callable[[str, object], Any]] = {name: _checker(metric) for name, metric in METRICS.items()}
"""The check of each metric's value, which returns the value as stored in `LongitudinalMetrics`."""


_LONGEST = 9_000_000_000_000
"""The seconds that a DataFrame can show, as microseconds in 64 bits."""


@lru_cache(maxsize=1024)
def custom_check(metric: Metric) -> Callable[[str, object], float]:
    """Return the check of the values of a custom metric, which returns a value as in an event.

    A count is an int, and a duration is a float, in seconds.

    Examples
    --------
    >>> custom_check(Metric("retries", kind="count", better="down"))("retries", 3.0)
    3
    """
    check_range = _number_check(metric)
    if metric.kind not in ("count", "duration"):
        return check_range

    def check(field: str, value: object) -> float:
        if metric.kind == "duration":
            seconds, nanoseconds = _seconds_and_nanoseconds(field, value)
            if seconds >= _LONGEST:
                raise invalid(field, value, f"expected less than {_LONGEST:,} seconds")
            return check_range(field, seconds + nanoseconds / 1e9)
        count = check_count(field, value)
        if count > LARGEST_CUSTOM_COUNT:  # a reader ignores all custom metrics of the checkpoint
            raise invalid(field, value, f"expected at most {LARGEST_CUSTOM_COUNT:,}, the largest count of a custom metric")
        check_range(field, count)
        return count

    return check


def too_many_custom(count: int) -> InvalidInputError:
    """Return the error for a checkpoint with more custom metrics than an event can have."""
    return invalid("metrics", count, f"a checkpoint can have at most {MAX_CUSTOM} custom metrics")


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
