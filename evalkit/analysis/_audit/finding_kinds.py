"""The kinds of audit findings, and the grouping of places into findings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from evalkit._util.text import plural

__all__ = ["FINDINGS", "KINDS", "SEVERITIES", "Kind", "empty_findings", "findings"]

SEVERITIES = ("error", "warning", "note")
"""``error``: cannot be true. ``warning``: probably wrong, or biases an analysis. ``note``: worth knowing."""
_MOST_SEPARATE = 3


@dataclass(frozen=True)
class Kind:
    """A kind of finding: its severity, title and advice."""

    severity: Literal["error", "warning", "note"]
    title: str
    advice: str


KINDS = {
    "no_period": Kind("error", "No period", "It cannot be placed in time; record it again with its period."),
    "backwards_period": Kind("error", "Period ends before it starts", "Exclude it (exclude=) and record it again with the correct period."),
    "empty_period": Kind(
        "error",
        "Zero-length period",
        "Exclude it (exclude=) and record it again with the correct period; for a study of runs, pass kit.data() instead of a DataFrame.",
    ),
    "missing_period": Kind(
        "warning", "Missing checkpoints", "Record them if they were measured; missing values count as unknown, never as zero."
    ),
    "overlapping_periods": Kind(
        "warning",
        "Overlapping periods",
        "Overlaps are counted more than once; keep one checkpoint per period and exclude the others (exclude=).",
    ),
    "duplicate_runs": Kind(
        "warning", "Duplicate runs", "Runs with the same start and end count more than once; keep one and exclude the others (exclude=)."
    ),
    "wrong_length": Kind(
        "warning", "Wrong period length", "Counts and totals are not comparable with those of other periods; record complete periods."
    ),
    "shifted_period": Kind("note", "Shifted period", "Check the start time."),
    "outside_running": Kind(
        "warning",
        "Outside the study's running time",
        "Exclude such checkpoints (exclude=), or ignore this if the study was registered retroactively.",
    ),
    "partly_outside": Kind("note", "Study starts or stops mid-period", "Counts and totals may cover only part of the period."),
    "inside_pause": Kind(
        "warning", "Inside a pause", "A paused study is not measured; exclude the checkpoint (exclude=) or correct its period."
    ),
    "partly_paused": Kind("note", "Partly paused", "Counts and totals may cover only part of the period."),
    "recorded_late": Kind(
        "note", "Recorded late", "Backfilled values may come from a different source; check that they are comparable with live ones."
    ),
    "shared_sessions": Kind(
        "warning",
        "Sessions in several checkpoints",
        "They are counted more than once; keep each session in the checkpoint of the period in which it ended.",
    ),
    "session_count": Kind(
        "note", "Session count mismatch", "sessions_completed and sessions_included should agree; check which is correct."
    ),
    "malformed_part": Kind(
        "note", "Invalid optional part", "It counts as absent, and the checkpoint is valid; correct the program that writes it."
    ),
    "not_finite": Kind("error", "Not a finite number", "Record it as missing (None) if it was not measured."),
    "rate_outside": Kind("error", "Rate outside 0 to 1", "Rates are fractions; divide percentages by 100."),
    "negative_value": Kind(
        "error", "Negative value", "Counts, durations and costs cannot be negative; correct the value with kit.amend_checkpoint()."
    ),
    "value_outside": Kind("error", "Value outside its range", "Correct the value, or check the range in the definition of the metric."),
    "part_above_total": Kind("error", "Part above its total", "A part cannot be more than the whole; check how both were counted."),
    "below_one_iteration": Kind(
        "error", "Fewer than one iteration per success", "A success takes at least one iteration; check how the mean was computed."
    ),
    "over_nothing": Kind("error", "Value with zero denominator", "Record the value as missing (None), or correct the count."),
    "rate_not_of_count": Kind(
        "error", "Rate inconsistent with count", "Check whether it is a mean of rates, or has a different denominator."
    ),
    "cost_below_task": Kind(
        "error", "Cost per success below cost per task", "Successes cannot outnumber tasks; check how cost and tasks were counted."
    ),
    "successes_not_whole": Kind(
        "error", "Inconsistent costs", "total_cost / cost_per_successful_task is the number of solved tasks and must be an integer."
    ),
    "successes_not_recorded": Kind(
        "error", "Costs contradict the solved tasks", "total_cost / cost_per_successful_task must be tasks_solved; correct one of them."
    ),
    "first_above_successes": Kind(
        "error", "More first-attempt successes than successes", "Check that rate, tasks and costs refer to the same tasks."
    ),
}
"""Every kind of finding, by its code."""

FINDINGS = {
    "study_id": pl.String(), "severity": pl.Enum(SEVERITIES), "kind": pl.String(), "metrics": pl.List(pl.String()),
    "rows": pl.List(pl.Int64()), "count": pl.Int64(), "start": pl.Int64(), "end": pl.Int64(), "text": pl.String(), "advice": pl.String(),
}  # fmt: skip
"""The internal columns of findings: times in microseconds since 1970, `text` has the details, `advice` the next step."""


def empty_findings() -> pl.DataFrame:
    """Return a table of findings with no rows."""
    return pl.DataFrame(schema=FINDINGS)


def findings(
    kind: str,
    places: pl.DataFrame,
    describe: Callable[[dict[str, Any]], str],
    *,
    metrics: Sequence[str] = (),
    unit: str | None = None,
    together: pl.Expr | None = None,
) -> pl.DataFrame:
    """Return one finding per place.

    Many places in one study are merged into a single finding that lists the largest.

    Parameters
    ----------
    kind
        One of `KINDS`.
    places
        Columns study_id, start and end (microseconds), rows (row numbers), count (checkpoints or periods), and the columns for `describe`.
    describe
        A function that returns the description of a place.
    metrics
        The affected metrics; empty for all.
    unit
        The column with the noun for `count`; None for checkpoints.
    together
        A Boolean expression: whether to merge even a few places of a study into one finding.
    """
    if places.is_empty():
        return empty_findings()
    noun = pl.lit("checkpoint") if unit is None else pl.col(unit)
    counted = places.with_columns(pl.col("count").cast(pl.Int64()))
    ranked = counted.sort("study_id", -pl.col("count"), "start", maintain_order=True, nulls_last=True).with_columns(
        several=(pl.len().over("study_id") > _MOST_SEPARATE) | (pl.lit(False) if together is None else together),
        rank=pl.int_range(pl.len()).over("study_id"),
        noun=noun,
    )
    largest = ranked.filter(pl.col("rank") < _MOST_SEPARATE)
    details = largest.select(
        "study_id", "rank", detail=pl.Series([describe(place) for place in largest.iter_rows(named=True)], dtype=pl.String())
    )
    merged = ranked.join(details, on=["study_id", "rank"], how="left").group_by(
        "study_id", pl.when("several").then(0).otherwise("rank").alias("finding"), maintain_order=True
    ).agg(
        pl.col("rows").explode(keep_nulls=False, empty_as_null=False), pl.col("count").sum(), pl.col("start").min(), pl.col("end").max(),
        pl.col("detail").drop_nulls(), pl.col("noun").first(), places=pl.len(),
    )  # fmt: skip
    definition = KINDS[kind]
    texts = [_text(definition, **row) for row in merged.select("detail", "places", "count", "noun").iter_rows(named=True)]
    return merged.select(
        pl.col("study_id").cast(pl.String()), severity=pl.lit(definition.severity, dtype=pl.Enum(SEVERITIES)), kind=pl.lit(kind),
        metrics=pl.lit(list(metrics), dtype=pl.List(pl.String())), rows=pl.col("rows").list.unique().list.sort(),
        count=pl.col("count").cast(pl.Int64()), start="start", end="end", text=pl.Series(texts, dtype=pl.String()),
        advice=pl.lit(definition.advice),
    ).cast(FINDINGS)  # type: ignore[arg-type]  # fmt: skip


def _text(kind: Kind, detail: list[str], places: int, count: int, noun: str) -> str:
    total = "" if places == 1 else f" ({plural(count, noun)}{f' in {places:,} places' if places < count else ''})"
    more = f"; and {places - len(detail):,} more" if places > len(detail) else ""
    return f"{kind.title}{total}: {'; '.join(detail)}{more}."
