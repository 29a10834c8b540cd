"""What an audit can find, as data: each kind of finding with its severity and its words, and how places become findings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from evalkit._util.text import plural

__all__ = ["FINDINGS", "KINDS", "SEVERITIES", "Kind", "findings", "none_found"]

SEVERITIES = ("error", "warning", "note")
"""``error``: cannot be true. ``warning``: probably wrong, or it biases an analysis. ``note``: worth knowing."""
_MOST_APART = 3


@dataclass(frozen=True)
class Kind:
    """A kind of finding: how bad it is, what a message begins with, and what to do."""

    severity: Literal["error", "warning", "note"]
    title: str
    advice: str


KINDS = {
    "no_period": Kind("error", "Without a period", "No analysis can place it in time: record it again with its period."),
    "backwards_period": Kind("error", "Ends before it begins", "Leave it out (exclude=) and record it again with its true period."),
    "empty_period": Kind("error", "Without length", "It ends when it begins: leave it out (exclude=) and record it again as it was."),
    "missing_period": Kind("warning", "Missing", "Record what was measured then; what is missing counts as unknown, never as zero."),
    "overlapping_periods": Kind("warning", "Overlapping", "What happened then counts more than once: keep one of them (exclude=)."),
    "wrong_length": Kind("warning", "Wrong length", "Counts and sums of it do not compare with the others': record whole periods."),
    "shifted_period": Kind("note", "Shifted", "See that its start is right."),
    "outside_running": Kind(
        "warning", "Outside the running time", "Leave it out (exclude=), unless the study was created after it had begun: then all is well."
    ),
    "partly_outside": Kind("note", "Begun or ended within", "Counts and sums of it may cover less than a whole period."),
    "inside_pause": Kind("warning", "Inside a pause", "A paused study measures nothing: leave it out (exclude=), or correct the period."),
    "partly_paused": Kind("note", "Paused for a part", "Counts and sums of it may cover less than a whole period."),
    "recorded_late": Kind("note", "Recorded late", "Back-filled values may have another source than live ones: see that they compare."),
    "shared_sessions": Kind("warning", "Session in several checkpoints", "It counts more than once: keep it where it ended."),
    "session_count": Kind("note", "Session count", "The count and the names in sessions_included should agree: see which one is right."),
    "not_finite": Kind("error", "No number", "Record it as missing (None) when it was not measured."),
    "rate_outside": Kind("error", "Rate outside 0 to 1", "Rates are shares: divide a percentage by 100."),
    "negative_value": Kind("error", "Negative", "Counts, durations and money are 0 or more: record it again with its true value."),
    "below_one_iteration": Kind("error", "Success in less than one iteration", "A success takes one or more: see how it was computed."),
    "over_nothing": Kind("error", "A mean over nothing", "Record it as missing (None): it is not zero, nor anything else."),
    "rate_not_of_count": Kind(
        "error", "Rate and count contradict each other", "See whether it is a mean of rates, or a rate of something else."
    ),
    "cost_below_task": Kind(
        "error", "Cost per success below cost per task", "There are never more successes than tasks: see how both were computed."
    ),
    "successes_not_whole": Kind(
        "error", "Costs contradict each other", "total_cost / cost_per_successful_task is the number of solved tasks, so it must be whole."
    ),
    "first_above_successes": Kind(
        "error", "More first-attempt successes than successes", "See whether rate, tasks and costs speak of the same tasks."
    ),
}  # fmt: skip
"""Every kind of finding, by its code."""

FINDINGS = {
    "study_id": pl.String(), "severity": pl.Enum(SEVERITIES), "kind": pl.String(), "metrics": pl.List(pl.String()),
    "rows": pl.List(pl.Int64()), "count": pl.Int64(), "start": pl.Int64(), "end": pl.Int64(), "text": pl.String(), "advice": pl.String(),
}  # fmt: skip
"""The columns of findings before they are shown: times are microseconds since 1970, `text` says what was found, `advice` what to do."""


def none_found() -> pl.DataFrame:
    """Return findings without any."""
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
    """Make a finding of each place; of more than a few in one study, one finding that names the largest.

    Parameters
    ----------
    kind
        One of `KINDS`.
    places
        study_id, start and end (microseconds), rows (numbers in the frame), count (how much this place is), and what `describe` reads.
    describe
        Says one place in words.
    metrics
        The metrics that are touched; none for all.
    unit
        The column with the noun for `count`; None for checkpoints.
    together
        Which places belong in one finding however few they are, as their study has so many of a kind.
    """
    if places.is_empty():
        return none_found()
    noun = pl.lit("checkpoint") if unit is None else pl.col(unit)
    counted = places.with_columns(pl.col("count").cast(pl.Int64()))
    ranked = counted.sort("study_id", -pl.col("count"), "start", maintain_order=True, nulls_last=True).with_columns(
        several=(pl.len().over("study_id") > _MOST_APART) | (pl.lit(False) if together is None else together),
        rank=pl.int_range(pl.len()).over("study_id"),
        noun=noun,
    )
    shown = ranked.filter(pl.col("rank") < _MOST_APART)
    details = shown.select(
        "study_id", "rank", detail=pl.Series([describe(place) for place in shown.iter_rows(named=True)], dtype=pl.String())
    )
    made = ranked.join(details, on=["study_id", "rank"], how="left").group_by(
        "study_id", pl.when("several").then(0).otherwise("rank").alias("finding"), maintain_order=True
    ).agg(
        pl.col("rows").explode(keep_nulls=False, empty_as_null=False), pl.col("count").sum(), pl.col("start").min(), pl.col("end").max(),
        pl.col("detail").drop_nulls(), pl.col("noun").first(), places=pl.len(),
    )  # fmt: skip
    known = KINDS[kind]
    texts = [_text(known, **row) for row in made.select("detail", "places", "count", "noun").iter_rows(named=True)]
    return made.select(
        pl.col("study_id").cast(pl.String()), severity=pl.lit(known.severity, dtype=pl.Enum(SEVERITIES)), kind=pl.lit(kind),
        metrics=pl.lit(list(metrics), dtype=pl.List(pl.String())), rows=pl.col("rows").list.unique().list.sort(),
        count=pl.col("count").cast(pl.Int64()), start="start", end="end", text=pl.Series(texts, dtype=pl.String()),
        advice=pl.lit(known.advice),
    ).cast(FINDINGS)  # type: ignore[arg-type]  # fmt: skip


def _text(kind: Kind, detail: list[str], places: int, count: int, noun: str) -> str:
    total = "" if places == 1 else f", {plural(count, noun)}" + (f" in {places:,} places" if places < count else "")
    more = f"; and {places - len(detail):,} more" if places > len(detail) else ""
    return f"{kind.title}{total}: {'; '.join(detail)}{more}."
