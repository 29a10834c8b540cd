"""Resampled checkpoints as text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC
from typing import TYPE_CHECKING, Any

import polars as pl

from evalkit._util.text import moment, plural
from evalkit.domain.catalog import METRICS
from evalkit.domain.definitions import Metric
from evalkit.frames.normalize import MISSING_STUDY

if TYPE_CHECKING:
    from evalkit.analysis._resample import Resampled

__all__ = ["resampled", "resampled_line"]

_RULES = (
    "Counts and cost are summed, rates and durations weighted by their denominator; cost per successful task is total cost divided by the "
    "{} number of successes."
)


def resampled_line(result: Resampled, rows: pl.DataFrame) -> str:
    """Return the number of checkpoints, of periods and of partial periods in one line."""
    count = plural(result.checkpoints, "checkpoint")
    if rows.is_empty():
        return f"No checkpoints to resample to {result.to} periods."
    studies = rows["study_id"].n_unique()
    names = rows["study"].drop_nulls().to_list() if studies == 1 else [f"{studies} studies"]
    subject = "" if names[:1] in ([], [MISSING_STUDY]) else f"{names[0]}: "
    partial = int(rows["partial"].sum())
    covered = "all fully covered" if not rows["covered"].null_count() else "runs counted in the period of their start"
    if partial:
        least = math.floor(float(rows.select(pl.col("covered").min()).item()) * 1000) / 10
        covered = f"{partial:,} partially covered, lowest coverage {least:.1f}%" if rows.height > 1 else f"{least:.1f}% covered"
    periods = f"{rows.height:,} {result.to} {'period' if rows.height == 1 else 'periods'}"
    bounds: list[Any] = [rows["period_start"].min(), rows["period_end"].max()]
    zone = result._zone or UTC
    times = " to ".join(moment(bound.astimezone(zone)) for bound in bounds)
    return f"{subject}{count} resampled to {periods} ({times} {result.tz}; {covered})."


def resampled(result: Resampled, rows: pl.DataFrame, begin: str) -> list[str]:
    """Return resampled checkpoints as text, one string per paragraph.

    These are the counts in one line, the rules, missing values and caveats.

    Parameters
    ----------
    result
        The result.
    rows
        The resampled periods.
    begin
        The beginning of the periods: ``weeks begin on Monday, 00:00 UTC``.
    """
    excluded = []
    if result.without_period:
        total = result.without_period + result.with_period
        excluded.append(f"{result.without_period:,} of {plural(total, 'row')} {_was(result.without_period)} excluded: no period.")
    if result.negative:
        excluded.append(f"{plural(result.negative, 'negative value')} {_was(result.negative)} treated as missing.")
    if rows.is_empty():
        return [resampled_line(result, rows), *excluded]
    solved = "implied" if result._metrics["cost_per_successful_task"].denominator is None else "recorded (or else implied)"
    custom = " Custom metrics are combined by the roll-up in their definition." if len(result._metrics) > len(METRICS) else ""
    sentences = [resampled_line(result, rows), f"{begin[0].upper()}{begin[1:]}. {_RULES.format(solved)}{custom}"]
    sentences += [f"Left out: {name!r}, because {problem}." for name, problem in result._source.contradictions.items()]
    if int(rows["partial"].sum()):
        sentences.append("Sums of partially covered periods are sums of the covered part.")
    sentences += [*_missing_metrics(result._metrics, rows), *excluded]
    if result.straddling:
        count, singular = plural(result.straddling, "checkpoint"), result.straddling == 1
        sentences.append(
            f"{count} {'crosses' if singular else 'cross'} a period boundary and {'is' if singular else 'are'} counted in the period that "
            f"contains {'its' if singular else 'their'} midpoint."
        )
    if result.overlapping:
        has = "has" if result.overlapping == 1 else "have"
        sentences.append(
            f"{plural(result.overlapping, 'period')} {has} overlapping checkpoints; what two of them measured is counted twice."
        )
    return sentences


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def _missing_metrics(metrics: Mapping[str, Metric], rows: pl.DataFrame) -> list[str]:
    missing = {name: count for name in metrics if (count := rows[name].null_count())}
    if not missing:
        return []
    everywhere = [metrics[name].label.lower() for name, count in missing.items() if count == rows.height]
    somewhere = [f"{metrics[name].label.lower()} ({count:,})" for name, count in missing.items() if count < rows.height]
    parts = [f"Missing in all periods: {', '.join(everywhere)}."] if everywhere else []
    parts += [f"Missing in some periods: {', '.join(somewhere)}."] if somewhere else []
    return [" ".join([*parts, "See .reasons."])]
