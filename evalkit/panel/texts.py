"""The fields of forms, and the parsing of the texts typed in them.

Values are checked by `evalkit.domain.validation`; this module only parses text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from evalkit.domain import validation as checks
from evalkit.domain.definitions import Metric
from evalkit.domain.refusals import invalid
from evalkit.domain.time_input import check_time

__all__ = [
    "Field", "comma_separated", "metadata_of", "metadata_text", "metric_field", "metric_value", "number_of", "parsed_time", "value_text",
]  # fmt: skip


@dataclass(frozen=True)
class Field:
    """One input of a form."""

    name: str
    """The parameter, metric or column that the text is parsed to."""
    label: str
    placeholder: str = ""
    group: str = ""
    """The heading above the field; empty for a field without a heading."""
    multiline: bool = False
    choices: tuple[str, ...] = ()
    """The texts to choose from; empty for free text."""


def metric_field(metric: Metric, group: str) -> Field:
    """Return the field of a metric, with its unit and range as the placeholder.

    Examples
    --------
    >>> metric_field(Metric("judge_score", kind="score", better="up", low=1, high=5), "Custom")
    Field(name='judge_score', label='Judge score', placeholder='1 to 5', group='Custom', multiline=False, choices=())
    """
    unit = {"s": "seconds", "US$": "US dollars"}.get(metric.unit, metric.unit)
    low, high = metric.low, metric.high
    if metric.kind == "count":
        span = "integer"
    elif low is not None and high is not None:
        span = f"{low:g} to {high:g}"
    else:
        span = f"{low:g} or more" if low is not None else f"at most {high:g}" if high is not None else "number"
    return Field(metric.name, metric.label or metric.name, ", ".join(filter(None, (unit, span))), group)


def metric_value(metric: Metric, text: str) -> int | float:
    """Return the number in a text, if it is a valid value of a metric.

    Raises
    ------
    InvalidInputError
        If it is not.
    """
    number = number_of(metric.name, text)
    (checks.CHECKERS.get(metric.name) or checks.custom_check(metric))(metric.name, number)
    return number


def value_text(value: object) -> str:
    """Return the text of a value in a form: exact numbers, and durations in seconds.

    Examples
    --------
    >>> value_text(None), value_text(2.0), value_text(0.1), value_text(timedelta(minutes=1)), value_text(["a", "b"])
    ('', '2', '0.1', '60', 'a, b')
    """
    if value is None:
        return ""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    return ", ".join(value) if isinstance(value, list) else repr(value).removesuffix(".0")


def number_of(name: str, text: str, hint: str = "Leave the field blank if it was not measured.") -> int | float:
    """Return the number in a text.

    Raises
    ------
    InvalidInputError
        If it is not a number.
    """
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise invalid(name, text, "not a number", hint=_percentage_hint(text) or hint)


def _percentage_hint(text: str) -> str:
    try:
        return f"Enter a percentage as a fraction: {float(text.removesuffix('%')) / 100:g}." if text.endswith("%") else ""
    except ValueError:
        return ""


def comma_separated(text: str) -> list[str]:
    """Return the parts of a text that commas or line breaks separate.

    Examples
    --------
    >>> comma_separated("a, b,,c")
    ['a', 'b', 'c']
    """
    return [part for part in map(str.strip, text.replace("\n", ",").split(",")) if part]


def parsed_time(name: str, text: str) -> datetime:
    """Return the time in a text, in UTC unless it has another time zone.

    Raises
    ------
    InvalidInputError
        If it is not a time.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise invalid(name, text, "not a time", "expected e.g. 2026-01-31 08:00 (UTC)") from None
    return check_time(name, moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)


def metadata_of(text: str) -> dict[str, str]:
    """Return the metadata in a text with one pair per line.

    Raises
    ------
    InvalidInputError
        If a line is not a pair, or a key is invalid.
    """
    pairs = {}
    for line in filter(str.strip, text.split("\n")):
        name, equals, value = line.partition("=")
        if not equals:
            raise invalid("metadata", line, "'=' is missing", "expected one pair per line, e.g. model=m-1")
        pairs[name.strip()] = value.strip()
    return checks.check_metadata(pairs)


def metadata_text(metadata: Mapping[str, Any]) -> str:
    r"""Return metadata as text with one pair per line.

    Examples
    --------
    >>> metadata_text({"model": "m-1", "seed": "1"})
    'model=m-1\nseed=1'
    """
    return "\n".join(f"{key}={value}" for key, value in metadata.items())
