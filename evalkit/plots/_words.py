"""Axis titles, and charts described in sentences for readers who cannot see them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from evalkit._util.text import moment, plural, span
from evalkit.domain.metrics import Metric
from evalkit.frames.metric_text import number

__all__ = ["DIRECTIONS", "axis_title", "described", "years"]

DIRECTIONS = {"up": "↑ Higher is better.", "down": "↓ Lower is better.", "neither": ""}
_MOST_TOLD = 5


def axis_title(metric: Metric) -> str:
    """Give an axis its title: the label, and the unit where the labels do not show it."""
    shown = metric.kind in ("rate", "money") or metric.unit in metric.label.lower()
    unit = "" if shown and metric.kind != "duration" else metric.unit
    return f"{metric.label} ({unit})" if unit else metric.label


def years(first: datetime, last: datetime) -> str:
    """Give the year of two times, or both."""
    return f"{first.year}" if first.year == last.year else f"{first.year} to {last.year}"


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
