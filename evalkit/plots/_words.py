"""Numbers, times and whole charts in words: for titles, notes, and for who cannot see the chart."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl

from evalkit.domain.metrics import Metric

__all__ = ["DIRECTIONS", "axis_title", "described", "lasting", "moment", "number", "plural", "span", "years"]

DIRECTIONS = {"up": "↑ Higher is better.", "down": "↓ Lower is better.", "neither": ""}
_MOST_TOLD = 5
_LENGTHS = ((86_400, "days"), (3_600, "hours"), (60, "minutes"), (1, "seconds"))


def number(metric: Metric, value: float | None) -> str:
    """Give a value as it is read: ``85.0 %``, ``$1.20``, ``12.5 s``."""
    if value is None:
        return "missing"
    if metric.kind == "rate":
        return f"{value * 100:.1f} %"
    if metric.kind == "money":
        return f"${value:,.2f}"
    if metric.kind == "count":
        return f"{value:,.0f}"
    return f"{value:,.2f}" if metric.kind == "number" else f"{value:,.1f} s"


def axis_title(metric: Metric) -> str:
    """Give an axis its title: the label, and the unit where the labels do not show it."""
    shown = metric.kind in ("rate", "money") or metric.unit in metric.label.lower()
    unit = "" if shown and metric.kind != "duration" else metric.unit
    return f"{metric.label} ({unit})" if unit else metric.label


def moment(at: datetime | None) -> str:
    """Give a time without what is nought: ``2026-01-31``, ``2026-01-31 08:30``."""
    if at is None:
        return "?"
    return at.isoformat(sep=" ", timespec="minutes")[: 10 if (at.hour, at.minute) == (0, 0) else 16]


def years(first: datetime, last: datetime) -> str:
    """Give the year of two times, or both."""
    return f"{first.year}" if first.year == last.year else f"{first.year} to {last.year}"


def span(start: datetime | None, end: datetime | None) -> str:
    """Give a stretch of time in UTC."""
    return f"{moment(start)} to {moment(end)} UTC"


def lasting(time: timedelta) -> str:
    """Give a length of time in the largest unit that it has one of: ``36.5 hours`` is ``1.5 days``."""
    seconds = time.total_seconds()
    length, unit = next(((length, unit) for length, unit in _LENGTHS if seconds >= length), _LENGTHS[-1])
    return f"{seconds / length:,.1f}".removesuffix(".0") + f" {unit}"


def plural(count: int, one: str, many: str | None = None) -> str:
    """Give a count with its noun: ``1 checkpoint``, ``1,200 checkpoints``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def described(what: str, metric: Metric, points: pl.DataFrame, notes: Sequence[str]) -> str:
    """Say what a chart of one metric over time shows: which studies, the span, first and last value, extremes, and its notes."""
    if points.is_empty():
        return " ".join([f"{what}: nothing to draw.", *notes])
    studies = plural(points["study_id"].n_unique(), "study", "studies")
    told = [f"{what}, {studies}, {span(points['start'].min(), points['end'].max())}."]  # type: ignore[arg-type]
    value, start = pl.col("v"), pl.col("start")
    told_of = points.group_by("study_id", maintain_order=True).agg(
        pl.col("label").first(), count=pl.len(), first=value.first(), last=value.last(), low=value.min(), high=value.max(),
        low_at=start.get(value.arg_min()), high_at=start.get(value.arg_max()),
    )  # fmt: skip
    for one in told_of.head(_MOST_TOLD).iter_rows(named=True):
        first, last, low, high = (number(metric, one[name]) for name in ("first", "last", "low", "high"))
        told.append(
            f"{one['label']}: {plural(one['count'], 'checkpoint')}, first {first}, last {last}, "
            f"lowest {low} ({moment(one['low_at'])}), highest {high} ({moment(one['high_at'])})."
        )
    if told_of.height > _MOST_TOLD:
        lowest, highest = (told_of.sort(name, descending=name == "high").row(0, named=True) for name in ("low", "high"))
        told.append(
            f"And {told_of.height - _MOST_TOLD} more studies; of all, lowest {number(metric, lowest['low'])} ({lowest['label']}), "
            f"highest {number(metric, highest['high'])} ({highest['label']})."
        )
    return " ".join([*told, *notes])
