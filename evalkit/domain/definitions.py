"""Definitions of metrics: kind, unit, range, direction, and how values combine over time."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from evalkit.domain.refusals import invalid, nearest
from evalkit.domain.times import MAX_COUNT

__all__ = ["COMPARED", "LARGEST_CUSTOM_COUNT", "UNITS", "Better", "Kind", "Metric", "Rollup", "definition_of", "is_name"]

Kind = Literal["count", "rate", "number", "money", "duration", "score"]
Better = Literal["up", "down", "neither"]
Rollup = Literal["sum", "weighted", "min", "max", "last", "ratio", "none"]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}").fullmatch
UNITS = {"money": "US$", "duration": "s"}
"""The units of kinds that have only one."""
_FORMATS = {"count": ",d", "rate": ".1%", "number": ".2f", "money": "$,.2f", "duration": ",.1f", "score": ".2f"}
LARGEST_CUSTOM_COUNT = 2**53
"""The largest count that a float64 represents exactly, like every smaller one."""
_TOO_LARGE = 1e308
_NOT_NEGATIVE = ("count", "rate", "money", "duration")

COMPARED = ("kind", "unit", "better", "denominator", "rollup")
"""What cannot be redefined, because recorded values would change their meaning."""


@dataclass(frozen=True, init=False)
class Metric:
    """The definition of a metric.

    Parameters
    ----------
    name
        The column in frames: a lowercase letter, then up to 62 lowercase letters, digits and underscores.
    kind
        ``"count"`` (a whole number, 0 or more), ``"rate"`` (0 to 1), ``"money"`` (US dollars, 0 or more), ``"duration"`` (seconds, 0 or
        more), ``"score"`` (a grade, from `low` to `high`), or ``"number"`` (any other number).
    better
        The direction of improvement: ``"up"``, ``"down"`` or ``"neither"``.
    label
        For axes, tables and forms; by default made from the name.
    unit
        By default ``"US$"`` for money, ``"s"`` for durations, otherwise empty. Money and durations have no other unit; use the kind
        ``"number"`` for euros or milliseconds. Rates are from 0 to 1, never in percent.
    low, high
        The accepted range, both ends included; None is unbounded. By default that of the kind.
    denominator
        The count that the metric is a mean or rate over: a metric of the study. It gives confidence intervals and pooled values.
    rollup
        How checkpoints combine into a longer period: ``"sum"``, ``"weighted"`` by the denominator, ``"min"``, ``"max"``, ``"last"``, or
        ``"none"``: the value of the longer period is missing. By default the sum of counts and money, and ``"weighted"`` for other
        metrics with a denominator.
    group
        The heading for tables, forms and overviews.
    description
        The meaning, in one sentence.
    primary
        Whether the metric belongs to those that reports test and adjust for multiple comparisons.

    Raises
    ------
    InvalidInputError
        If a value is invalid, or values contradict each other.

    Examples
    --------
    >>> metric = Metric("refusal_rate", kind="rate", better="down", denominator="sessions_completed")
    >>> metric.label, metric.rollup, metric.high
    ('Refusal rate', 'weighted', 1)
    """

    name: str
    label: str
    kind: Kind
    unit: str
    better: Better
    low: float | None
    high: float | None
    denominator: str | None
    rollup: Rollup
    group: str
    description: str
    primary: bool

    def __init__(
        self,
        name: str,
        *,
        kind: Kind,
        better: Better,
        label: str | None = None,
        unit: str | None = None,
        low: float | None = None,
        high: float | None = None,
        denominator: str | None = None,
        rollup: Rollup | None = None,
        group: str = "Custom",
        description: str = "",
        primary: bool = False,
    ) -> None:
        if not isinstance(name, str) or not _NAME(name):
            raise invalid("name", name, "expected a lowercase letter, then up to 62 lowercase letters, digits or underscores")
        _check_choice("kind", kind, Kind)
        _check_choice("better", better, Better)
        if rollup is None:
            rollup = "sum" if kind in ("count", "money") else "weighted" if denominator is not None else "none"
        _check_choice("rollup", rollup, Rollup)
        texts = {"label": label, "unit": unit, "denominator": denominator, "group": group, "description": description}
        for field, text in texts.items():
            if text is not None and (not isinstance(text, str) or not text.isprintable() or len(text) > 500):
                raise invalid(field, text, "expected a string of at most 500 printable characters")
        if not isinstance(primary, bool):
            raise invalid("primary", primary, "expected True or False")
        if denominator == name:
            raise invalid("denominator", denominator, "it is the metric itself")
        if rollup == "weighted" and denominator is None:
            raise invalid("rollup", rollup, "weighted by the denominator, which is missing", hint="Pass denominator=, or another rollup=.")
        if rollup == "sum" and kind in ("rate", "score"):
            raise invalid("rollup", rollup, f"the sum of {kind}s has no meaning", "expected 'weighted', 'min', 'max', 'last' or 'none'")
        least = 0 if kind in _NOT_NEGATIVE else None
        most = 1 if kind == "rate" else LARGEST_CUSTOM_COUNT if kind == "count" else None
        values: dict[str, Any] = {
            "name": name, "label": name.replace("_", " ").capitalize() if label is None else label, "kind": kind,
            "unit": UNITS.get(kind, "") if unit is None else unit, "better": better, "low": _bound("low", low, least, most),
            "high": _bound("high", high, least, most), "denominator": denominator, "rollup": rollup, "group": group,
            "description": description, "primary": primary,
        }  # fmt: skip
        for field, value in values.items():
            object.__setattr__(self, field, value)
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise invalid("low", low, f"must be below high ({self.high:g})")

    def over(self, denominator: str) -> Metric:
        """Return the metric with another denominator, which checkpoints are weighted by.

        A ratio remains a ratio.

        Examples
        --------
        >>> Metric("tool_success_rate", kind="rate", better="up").over("tool_calls").rollup
        'weighted'
        """
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        rollup = self.rollup if self.rollup == "ratio" else "weighted"
        return Metric(**{**fields, "denominator": denominator, "rollup": rollup})

    @property
    def format(self) -> str:
        """A d3-format pattern, as Altair and Vega read it."""
        return _FORMATS[self.kind]

    def definition(self) -> dict[str, Any]:
        """Return the definition as in an event, without what is empty.

        Examples
        --------
        >>> Metric("judge_score", kind="score", better="up", high=10).definition()["high"]
        10
        """
        return {field: value for field, value in vars(self).items() if value is not None and value is not False and value != ""}

    def differences(self, other: Metric) -> list[str]:
        """Return the contradictions to another definition: ``kind is 'rate', not 'number'``.

        Examples
        --------
        >>> Metric("a", kind="rate", better="up").differences(Metric("a", kind="rate", better="down"))
        ["better is 'up', not 'down'"]
        """
        return [
            f"{field} is {getattr(self, field)!r}, not {getattr(other, field)!r}"
            for field in COMPARED
            if getattr(self, field) != getattr(other, field)
        ]


def is_name(name: str) -> bool:
    """Return whether a text has the form of a metric's name."""
    return _NAME(name) is not None


def definition_of(values: object) -> Metric:
    """Return the definition in an event; unknown fields are ignored.

    Raises
    ------
    ValueError
        If it is not a valid definition.

    Examples
    --------
    >>> definition_of({"name": "retries", "kind": "count", "better": "down"}).rollup
    'sum'
    """
    if not isinstance(values, Mapping):
        raise ValueError("a definition is an object")
    missing = [field for field in ("name", "kind", "better") if field not in values]
    if missing:
        raise ValueError(f"a definition has no {missing[0]}")
    known = {field: value for field, value in values.items() if field in _FIELDS and value is not None}
    return Metric(known.pop("name"), **known)  # an InvalidInputError is a ValueError


_FIELDS = frozenset(Metric.__dataclass_fields__)


_SYNONYMS = {
    "higher": "up",
    "lower": "down",
    "maximize": "up",
    "minimize": "down",
    "none": "neither",
    "integer": "count",
    "float": "number",
}


def _check_choice(field: str, value: object, choices: Any) -> None:
    allowed = get_args(choices)
    if not isinstance(value, str) or value not in allowed:
        listed = ", ".join(choice for choice in allowed if choice != "ratio")
        hint = f"Did you mean {_SYNONYMS[value]!r}?" if isinstance(value, str) and value in _SYNONYMS else nearest(value, allowed).strip()
        raise invalid(field, value, f"expected one of {listed}", hint=hint)


def _bound(field: str, value: object, least: float | None, most: float | None) -> float | None:
    """Return a bound of the range of a metric, inside that of its kind."""
    default = least if field == "low" else most
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _TOO_LARGE:
        raise invalid(field, value, "expected a finite number")
    if (least is not None and value < least) or (most is not None and value > most and most != LARGEST_CUSTOM_COUNT):
        upper = "or more" if most in (None, LARGEST_CUSTOM_COUNT) else f"to {most:g}"
        raise invalid(field, value, f"outside the range of the kind, {least:g} {upper}")
    return value if abs(value) <= MAX_COUNT else float(value)  # larger ones do not fit into an integer column
