"""How each metric of several checkpoints becomes one value: the catalogue's roll-up rules, as expressions for a group of rows."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from evalkit.domain.metrics import METRICS, Metric
from evalkit.domain.times import MAX_COUNT

__all__ = ["SESSION_TIME", "Rule", "rule_of", "session_time"]

SESSION_TIME = "session_time"
"""A column of resampled frames: how long all sessions of a period took together, so that no microsecond is lost in rolling up again."""


@dataclass(frozen=True)
class Rule:
    """A roll-up rule, in two steps: aggregates of a group of rows, and what is made of them.

    Attributes
    ----------
    aggregates
        Expressions over the rows of a group; their names begin with the metric's.
    value
        Over the aggregates: the combined value of the rows that can be combined, Float64 (Int128 for counts, for no sum of counts is
        too large for it); null where there are none.
    rests_on
        Over the aggregates: what a combined mean rests on (sessions, tasks, implied successes); null for sums.
    faults
        Over the aggregates and `rows` (how many): when the value cannot be that of all rows, and why, the first that holds.
    """

    aggregates: dict[str, pl.Expr]
    value: pl.Expr
    rests_on: pl.Expr
    faults: list[tuple[pl.Expr, pl.Expr]]


def rule_of(metric: Metric, *, exact_durations: bool = False) -> Rule:
    """Give the rule of a metric.

    Parameters
    ----------
    metric
        An entry of the catalogue.
    exact_durations
        Whether durations are weighted in whole microseconds, from the column `session_time`, and not as floats from their own.
    """
    if metric.rollup == "sum":
        return _sum(metric)
    if metric.rollup == "ratio":
        return _ratio(metric)
    if metric.rollup == "weighted":
        return _total_time(metric) if exact_durations and metric.kind == "duration" else _weighted(metric)
    nothing = pl.lit(None, dtype=pl.Float64())
    return Rule({}, nothing, nothing, [(pl.lit(True), pl.lit("what it is a mean over is not recorded"))])


def session_time() -> pl.Expr:
    """Give how long all sessions of a checkpoint took together, in whole microseconds; missing where unknown or beyond an Int64.

    Of a row without sessions it is nothing to add. A value that stands in the column already is kept, for it is exact.
    """
    count = pl.col("sessions_completed").cast(pl.Int128())
    product = count * pl.col("avg_session_duration").dt.total_microseconds().cast(pl.Int128())
    known = pl.col(SESSION_TIME).dt.total_microseconds().cast(pl.Int128())
    time = pl.coalesce(pl.when(count == 0).then(pl.lit(0, dtype=pl.Int128())), known, product)
    return pl.when(time <= MAX_COUNT).then(time)


def _lacking(name: str, count: str) -> tuple[pl.Expr, pl.Expr]:
    return pl.col(count) > 0, pl.format(name + " in {} of its {} checkpoints", pl.col(count), pl.col("rows"))


def _sum(metric: Metric) -> Rule:
    name, value = metric.name, pl.col(metric.name)
    lack, total = f"{name}|lack", pl.col(f"{name}|sum")
    aggregates = {lack: value.null_count(), f"{name}|sum": (value.cast(pl.Int128()) if metric.kind == "count" else value).sum()}
    fits = total <= MAX_COUNT if metric.kind == "count" else total.is_finite()
    faults = [_lacking("it is missing", lack), (~fits, pl.lit("the sum is larger than the column can hold"))]
    return Rule(aggregates, pl.when(fits).then(total), pl.lit(None, dtype=pl.Int64()), faults)


def _denominators(metric: Metric) -> tuple[dict[str, pl.Expr], list[tuple[pl.Expr, pl.Expr]]]:
    """Give what every weighted mean needs: which rows lack what, and how much those that lack nothing count."""
    name, value, count = metric.name, pl.col(metric.name), pl.col(metric.denominator or "")
    counted = METRICS[metric.denominator or ""].label.lower()
    bare, lack, weight = (f"{name}|{part}" for part in ("bare", "lack", "weight"))
    aggregates = {
        bare: count.null_count(),
        lack: ((count > 0) & value.is_null()).sum(),
        weight: count.filter((count > 0) & value.is_not_null()).cast(pl.Int128(), strict=False).sum(),
    }
    faults = [
        _lacking(f"{counted}, which it is weighted by, is missing", bare),
        _lacking("it is missing", lack),
        (pl.col(weight) > MAX_COUNT, pl.lit(f"{counted} is larger than the column can hold")),
        (pl.col(weight) == 0, pl.lit(f"{counted} is 0")),
    ]
    return aggregates, faults


def _weighted(metric: Metric) -> Rule:
    name, value, count = metric.name, pl.col(metric.name), pl.col(metric.denominator or "")
    aggregates, faults = _denominators(metric)
    used = (count > 0) & value.is_not_null()
    share, values = count.filter(used).cast(pl.Float64()), value.filter(used)
    # Shares before products, and the mean between its extremes: nothing overflows, and no rate of 1 comes out above 1.
    mean = (values * (share / share.sum())).sum().clip(values.min(), values.max())
    weight = pl.col(f"{name}|weight")
    return Rule({**aggregates, f"{name}|whole": mean}, pl.when(weight > 0).then(pl.col(f"{name}|whole")), weight, faults)


def _total_time(metric: Metric) -> Rule:
    name = metric.name
    aggregates, faults = _denominators(metric)
    lost, time, weight = f"{name}|lost", pl.col(f"{name}|time"), pl.col(f"{name}|weight")
    used = (pl.col("sessions_completed") > 0) & pl.col(name).is_not_null()
    aggregates |= {f"{name}|time": pl.col(SESSION_TIME).sum(), lost: (used & pl.col(SESSION_TIME).is_null()).sum()}
    large = (pl.col(lost) > 0) | (time > MAX_COUNT)
    value = pl.when((weight > 0) & ~large).then(time.cast(pl.Float64()) / weight.cast(pl.Float64()))
    return Rule(aggregates, value, weight, [*faults, (large, pl.lit("all sessions together took longer than the column can hold"))])


def _ratio(metric: Metric) -> Rule:
    """Give total cost over implied successes.

    A checkpoint without a completed task has no success, and its cost counts. One with tasks (or an unknown number of them) must have
    a cost per success: null there is "no success" or "not measured", and nothing tells which. One that cost nothing implies no number
    of successes, so it combines only with others that cost nothing.
    """
    name, cost, each, tasks = metric.name, pl.col("total_cost"), pl.col(metric.name), pl.col("tasks_completed")
    lack, unknown, free, spent, solved = (f"{name}|{part}" for part in ("lack", "unknown", "free", "spent", "solved"))
    successes = cost / each
    idle = tasks.eq_missing(0)
    known = ~idle & ((cost > 0) & (each > 0) & successes.is_finite() & (successes > 0)).fill_null(False)
    gratis = ~idle & ((cost == 0) & (each == 0)).fill_null(False)
    aggregates = {
        lack: cost.null_count(),
        unknown: (cost.is_not_null() & ~idle & ~known & ~gratis).sum(),
        free: gratis.sum(),
        spent: cost.filter(known | idle).sum(),
        solved: successes.filter(known).sum(),
    }
    ratio = pl.col(spent) / pl.col(solved)
    ratio = pl.when(ratio.is_finite() & (ratio > 0)).then(ratio)
    value = (
        pl.when(pl.col(solved) > 0).then(ratio)
        .when((pl.col(free) > 0) & (pl.col(spent) == 0)).then(pl.lit(0.0))
    )  # fmt: skip
    no_task = (pl.col(solved) == 0) & (pl.col(free) == 0)
    faults = [
        _lacking("total cost is missing", lack),
        _lacking("how many tasks were solved is not recorded", unknown),
        ((pl.col(free) > 0) & (pl.col(spent) > 0), pl.lit("some checkpoints cost nothing, which does not say how many tasks they solved")),
        (no_task, pl.lit("no task was completed")),
        (value.is_null(), pl.lit("the costs are too large or too small to be divided")),
    ]
    return Rule(aggregates, value, pl.when(pl.col(solved) > 0).then(pl.col(solved)), faults)
