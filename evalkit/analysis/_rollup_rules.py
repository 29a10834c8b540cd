"""Roll-up rules: how a metric of several checkpoints becomes one value, as Polars expressions for a group of rows."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from evalkit.domain.metrics import METRICS, Metric
from evalkit.domain.times import MAX_COUNT

__all__ = ["SESSION_TIME", "Rule", "rule_of", "session_time"]

SESSION_TIME = "session_time"
"""A column of resampled frames: total duration of all sessions, which keeps means exact when resampling again."""


@dataclass(frozen=True)
class Rule:
    """A roll-up rule in two steps: aggregates of a group of rows, and expressions over the aggregates.

    Attributes
    ----------
    aggregates
        Expressions over the rows of a group; their names begin with the name of the metric.
    value
        Over the aggregates: the combined value of the usable rows, Float64 (Int128 for counts, whose sums always fit); null without
        usable rows.
    denominator
        Over the aggregates: the denominator of a combined mean (sessions, tasks, implied successes); null for sums.
    faults
        Over the aggregates and `rows` (the number of rows): conditions under which the value is not that of all rows, each with its
        reason; the first that is true applies.
    """

    aggregates: dict[str, pl.Expr]
    value: pl.Expr
    denominator: pl.Expr
    faults: list[tuple[pl.Expr, pl.Expr]]


def rule_of(metric: Metric, *, exact_durations: bool = False) -> Rule:
    """Return the rule of a metric.

    Parameters
    ----------
    metric
        An entry of `evalkit.METRICS`.
    exact_durations
        Whether means of durations are computed in whole microseconds from the column `session_time`, not in floats.
    """
    if metric.rollup == "sum":
        return _sum(metric)
    if metric.rollup == "ratio":
        return _ratio(metric)
    if metric.rollup == "weighted":
        return _total_time(metric) if exact_durations and metric.kind == "duration" else _weighted(metric)
    missing = pl.lit(None, dtype=pl.Float64())
    return Rule({}, missing, missing, [(pl.lit(True), pl.lit("its denominator is not recorded"))])


def session_time() -> pl.Expr:
    """Return the total duration of the sessions of a checkpoint in whole microseconds; null when unknown or beyond Int64.

    It is 0 without sessions. An existing value in the column is exact and stays.
    """
    count = pl.col("sessions_completed").cast(pl.Int128())
    product = count * pl.col("avg_session_duration").dt.total_microseconds().cast(pl.Int128())
    known = pl.col(SESSION_TIME).dt.total_microseconds().cast(pl.Int128())
    time = pl.coalesce(pl.when(count == 0).then(pl.lit(0, dtype=pl.Int128())), known, product)
    return pl.when(time <= MAX_COUNT).then(time)


def _missing(name: str, count: str) -> tuple[pl.Expr, pl.Expr]:
    return pl.col(count) > 0, pl.format(name + " in {} of {} checkpoints", pl.col(count), pl.col("rows"))


def _sum(metric: Metric) -> Rule:
    name, value = metric.name, pl.col(metric.name)
    lack, total = f"{name}|lack", pl.col(f"{name}|sum")
    aggregates = {lack: value.null_count(), f"{name}|sum": (value.cast(pl.Int128()) if metric.kind == "count" else value).sum()}
    fits = total <= MAX_COUNT if metric.kind == "count" else total.is_finite()
    faults = [_missing("missing", lack), (~fits, pl.lit("the sum exceeds the range of the column"))]
    return Rule(aggregates, pl.when(fits).then(total), pl.lit(None, dtype=pl.Int64()), faults)


def _denominators(metric: Metric) -> tuple[dict[str, pl.Expr], list[tuple[pl.Expr, pl.Expr]]]:
    """Return the aggregates and faults of weighted means: missing denominators, missing values, and the total weight of the others."""
    name, value, count = metric.name, pl.col(metric.name), pl.col(metric.denominator or "")
    denominator = METRICS[metric.denominator or ""].label.lower()
    bare, lack, weight = (f"{name}|{part}" for part in ("bare", "lack", "weight"))
    aggregates = {
        bare: count.null_count(),
        lack: ((count > 0) & value.is_null()).sum(),
        weight: count.filter((count > 0) & value.is_not_null()).cast(pl.Int128(), strict=False).sum(),
    }
    faults = [
        _missing(f"{denominator} (its weight) missing", bare),
        _missing("missing", lack),
        (pl.col(weight) > MAX_COUNT, pl.lit(f"{denominator} exceeds the range of the column")),
        (pl.col(weight) == 0, pl.lit(f"{denominator} is 0")),
    ]
    return aggregates, faults


def _weighted(metric: Metric) -> Rule:
    name, value, count = metric.name, pl.col(metric.name), pl.col(metric.denominator or "")
    aggregates, faults = _denominators(metric)
    used = (count > 0) & value.is_not_null()
    share, values = count.filter(used).cast(pl.Float64()), value.filter(used)
    # Dividing first avoids overflow; clipping keeps the mean of rates of 1 at 1.
    mean = (values * (share / share.sum())).sum().clip(values.min(), values.max())
    weight = pl.col(f"{name}|weight")
    return Rule({**aggregates, f"{name}|mean_of_all": mean}, pl.when(weight > 0).then(pl.col(f"{name}|mean_of_all")), weight, faults)


def _total_time(metric: Metric) -> Rule:
    name = metric.name
    aggregates, faults = _denominators(metric)
    lost, time, weight = f"{name}|lost", pl.col(f"{name}|time"), pl.col(f"{name}|weight")
    used = (pl.col("sessions_completed") > 0) & pl.col(name).is_not_null()
    aggregates |= {f"{name}|time": pl.col(SESSION_TIME).sum(), lost: (used & pl.col(SESSION_TIME).is_null()).sum()}
    large = (pl.col(lost) > 0) | (time > MAX_COUNT)
    value = pl.when((weight > 0) & ~large).then(time.cast(pl.Float64()) / weight.cast(pl.Float64()))
    return Rule(aggregates, value, weight, [*faults, (large, pl.lit("the total duration of all sessions exceeds the range of the column"))])


def _ratio(metric: Metric) -> Rule:
    """Return total cost divided by the implied number of successes.

    A checkpoint without completed tasks has no success, and its cost is included. A checkpoint with tasks, or an unknown number of tasks,
    needs a cost per success: null is either "no success" or "not measured". A checkpoint with a cost of 0 implies no number of successes
    and is combined only with others of that kind.
    """
    name, cost, cost_per_success, tasks = metric.name, pl.col("total_cost"), pl.col(metric.name), pl.col("tasks_completed")
    lack, unknown, free, spent, solved = (f"{name}|{part}" for part in ("lack", "unknown", "free", "spent", "solved"))
    successes = cost / cost_per_success
    idle = tasks.eq_missing(0)
    known = ~idle & ((cost > 0) & (cost_per_success > 0) & successes.is_finite() & (successes > 0)).fill_null(False)
    costless = ~idle & ((cost == 0) & (cost_per_success == 0)).fill_null(False)
    aggregates = {
        lack: cost.null_count(),
        unknown: (cost.is_not_null() & ~idle & ~known & ~costless).sum(),
        free: costless.sum(),
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
        _missing("total cost missing", lack),
        _missing("number of solved tasks unknown", unknown),
        ((pl.col(free) > 0) & (pl.col(spent) > 0), pl.lit("checkpoints with a cost of 0 imply no number of solved tasks")),
        (no_task, pl.lit("no task was completed")),
        (value.is_null(), pl.lit("the ratio of the costs exceeds the range of the column")),
    ]
    return Rule(aggregates, value, pl.when(pl.col(solved) > 0).then(pl.col(solved)), faults)
