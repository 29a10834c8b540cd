"""Summaries as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from evalkit._util.text import plural, span
from evalkit.domain.catalog import counted
from evalkit.domain.definitions import Metric
from evalkit.frames.metric_text import number
from evalkit.frames.normalize import MISSING_STUDY

if TYPE_CHECKING:
    from evalkit.analysis._summary import Summary

__all__ = ["summary", "summary_line"]

_MOST_STUDIES = 3


def summary_line(row: dict[str, Any], metric: Metric, subject: str | None = None) -> str:
    """Return a row of a summary's table in one line.

    It begins with `subject`, by default study and metric.

    Examples
    --------
    >>> from evalkit.metrics import METRICS
    >>> row = dict(study="agent", checkpoints=2, missing=0, first=1.0, last=0.0, mean=0.5, weighted_mean=0.1, rests_on=10)
    >>> summary_line(row, METRICS["session_success_rate"])
    'agent, session success rate: pooled rate 10.0% (first 100.0%, last 0.0%, mean of checkpoints 50.0%; 2 checkpoints, 10 sessions).'
    """
    name = subject or (metric.label if row["study"] == MISSING_STUDY else f"{row['study']}, {metric.label.lower()}")
    measured = row["checkpoints"] - row["missing"]
    counts = plural(measured, "checkpoint") if not row["missing"] else f"{measured:,} of {plural(row['checkpoints'], 'checkpoint')}"
    first_and_last, mean = f"first {number(metric, row['first'])}, last {number(metric, row['last'])}", number(metric, row["mean"])
    if row["weighted_mean"] is None:
        return f"{name}: mean of checkpoints {mean} ({first_and_last}; {counts})."
    counts += f", {row['rests_on']:,} {_denominator(metric)}" if row["rests_on"] else ""
    return f"{name}: {_pooled(metric)} {number(metric, row['weighted_mean'])} ({first_and_last}, mean of checkpoints {mean}; {counts})."


def summary(result: Summary, rows: pl.DataFrame) -> list[str]:
    """Return a summary as text, one string per paragraph.

    These are the first metric with values in one line per study, the amount of data, and the missing values.
    """
    if not result.checkpoints:
        return ["No checkpoints to summarize."]
    data = f"{plural(result.checkpoints, 'checkpoint')} of {plural(result.studies, 'study', 'studies')}"
    data += f", {span(result.start, result.end)}"
    measured = rows.filter(pl.col("mean").is_not_null())
    if measured.is_empty():
        return [f"No metric has a value ({data})."]
    names = set(measured["metric"])
    catalog = [metric for name, metric in result._data.catalog.items() if name in names]
    metric = min(catalog, key=lambda metric: metric.rollup != "weighted")
    of_metric = measured.filter(metric=metric.name)
    several = of_metric.height > _MOST_STUDIES
    lines = [_many_studies(metric, of_metric)] if several else [summary_line(row, metric) for row in of_metric.to_dicts()]
    pooled = [] if of_metric["weighted_mean"].null_count() == of_metric.height else [_weighting(metric)]
    left_out = [f"Left out: {name!r}, because {problem}." for name, problem in result._data.contradictions.items()]
    return [
        *lines,
        *left_out,
        " ".join([f"{data}; {_missing_values(rows, result.studies)}.", *pooled, "First and last are single checkpoints, not a trend."]),
    ]


def _pooled(metric: Metric) -> str:
    return "pooled rate" if metric.kind == "rate" else "pooled mean"


def _denominator(metric: Metric) -> str:
    """Return the noun for the denominator of a metric: ``sessions``."""
    return counted(metric.denominator).split()[0] if metric.denominator else "successes"


def _weighting(metric: Metric) -> str:
    """Return the formula of the pooled value as a sentence."""
    name = _pooled(metric).capitalize()
    if metric.denominator is None or metric.rollup == "ratio":
        return f"{name}: total cost divided by the implied number of successes."
    return f"{name}: weighted by {counted(metric.denominator)}."


def _missing_values(rows: pl.DataFrame, studies: int) -> str:
    gaps = rows.filter(pl.col("missing") > 0)
    if gaps.is_empty():
        return "no missing values"
    most = gaps.row(gaps.select(pl.col("missing").arg_max()).item(), named=True)
    study = f" of {most['study']}" if studies > 1 else ""
    worst = f"{most['label'].lower()}{study}: {most['missing']:,} of {most['checkpoints']:,}"
    return f"missing values in {gaps['metric'].n_unique()} of {plural(rows['metric'].n_unique(), 'metric')} (most in {worst})"


def _many_studies(metric: Metric, rows: pl.DataFrame) -> str:
    pooled = rows["weighted_mean"].null_count() == 0
    column, value = ("weighted_mean", _pooled(metric)) if pooled else ("mean", "mean of checkpoints")
    ordered = rows.sort(column, maintain_order=True)
    low, high = ordered.row(0, named=True), ordered.row(-1, named=True)
    ends = (f"{number(metric, row[column])} ({row['study']})" for row in (low, high))
    return f"{plural(rows.height, 'study', 'studies')}, {metric.label.lower()}: {value} from {' to '.join(ends)}."
