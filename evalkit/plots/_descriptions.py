"""Axis titles and text descriptions (alt texts) of charts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from evalkit._util.text import moment, plural, span
from evalkit.domain.definitions import Metric
from evalkit.frames.metric_text import number
from evalkit.frames.normalize import MISSING_STUDY

__all__ = ["DIRECTIONS", "MOST_DESCRIBED", "axis_title", "description", "only_study", "years"]

DIRECTIONS = {"up": "↑ Higher is better.", "down": "↓ Lower is better.", "neither": ""}
MOST_DESCRIBED = 5
"""The largest number of studies that a description covers individually."""


def axis_title(metric: Metric) -> str:
    """Return the title of an axis: the label, with the unit unless the tick labels show it."""
    shown = metric.kind in ("rate", "money") or metric.unit in metric.label.lower()
    unit = "" if shown and metric.kind != "duration" else metric.unit
    return f"{metric.label} ({unit})" if unit else metric.label


def years(first: datetime, last: datetime) -> str:
    """Return the year of two times, or both years if they differ."""
    return f"{first.year}" if first.year == last.year else f"{first.year} to {last.year}"


def only_study(studies: Sequence[tuple[str, str]]) -> str:
    """Return the label of the only study; empty if there are several or it has no name."""
    return studies[0][1] if len(studies) == 1 and studies[0][1] != MISSING_STUDY else ""


def description(subject: str, metric: Metric, points: pl.DataFrame, notes: Sequence[str]) -> str:
    """Describe a chart of one metric over time.

    The description contains the studies, the time span, first and last values, extremes, and notes.
    """
    if points.is_empty():
        return " ".join([f"{subject}: nothing to draw.", *notes])
    studies = plural(points["study_id"].n_unique(), "study", "studies")
    sentences = [f"{subject}, {studies}, {span(points['start'].min(), points['end'].max())}."]  # type: ignore[arg-type]
    value, start = pl.col("v"), pl.col("start")
    summaries = points.group_by("study_id", maintain_order=True).agg(
        pl.col("label").first(), count=pl.len(), first=value.first(), last=value.last(), low=value.min(), high=value.max(),
        low_at=start.get(value.arg_min()), high_at=start.get(value.arg_max()),
    )  # fmt: skip
    for row in summaries.head(MOST_DESCRIBED).iter_rows(named=True):
        first, last, low, high = (number(metric, row[column]) for column in ("first", "last", "low", "high"))
        name = "" if row["label"] == MISSING_STUDY else f"{row['label']}: "
        sentences.append(
            f"{name}{plural(row['count'], 'checkpoint')}, first {first}, last {last}, "
            f"lowest {low} ({moment(row['low_at'])}), highest {high} ({moment(row['high_at'])})."
        )
    if summaries.height > MOST_DESCRIBED:
        lowest, highest = (summaries.sort(name, descending=name == "high").row(0, named=True) for name in ("low", "high"))
        sentences.append(
            f"{plural(summaries.height - MOST_DESCRIBED, 'more study', 'more studies')}; lowest of all {number(metric, lowest['low'])} "
            f"({lowest['label']}), highest {number(metric, highest['high'])} ({highest['label']})."
        )
    return " ".join([*sentences, *notes])
