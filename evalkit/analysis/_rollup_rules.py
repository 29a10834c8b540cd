"""Roll-up rules: Polars expressions that combine a metric of several checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from evalkit.domain.catalog import METRICS, counted
from evalkit.domain.definitions import Metric
from evalkit.domain.times import MAX_COUNT

__all__ = ["SESSION_TIME", "Rule", "rule_of", "session_time"]

SESSION_TIME = "session_time"
"""A column of resampled frames: total duration of all sessions, which keeps means exact when resampling again."""


@dataclass(frozen=True)
class Rule:
    """A roll-up rule: aggregates of a group of rows, and expressions over the aggregates.

    Attributes
    ----------
    aggregates
        Expressions over the rows of a group; their names begin with the name of the metric.
    value
        The combined value of the usable rows, computed from the aggregates: Float64, or Int128 for counts, whose sums always fit; null
        without usable rows.
    denominator
        The denominator of a combined mean (sessions, tasks, implied successes), computed from the aggregates; null for sums.
    faults
        Conditions under which the value does not represent all rows, each with its reason, computed from the aggregates and `rows` (the
        number of rows). The first true condition applies.
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
        The metric.
    exact_durations
        Whether durations are combined in microseconds, and the mean duration of sessions from the column `session_time`; otherwise in
        seconds.
    """
    in_microseconds = exact_durations and metric.kind == "duration"
    value = pl.col(metric.name).dt.total_microseconds() if in_microseconds else pl.col(metric.name)
    if metric.rollup == "sum":
        return _sum(metric, value)
    if metric.rollup == "ratio":
        return _ratio(metric)
    if metric.rollup == "weighted":
        return _total_time(metric) if in_microseconds and metric.name in METRICS else _weighted(metric, value)
    if metric.rollup in ("min", "max", "last"):
        return _extreme(metric, value)
    missing = pl.lit(None, dtype=pl.Float64())
    reason = "its denominator is not recorded" if metric.name in METRICS else "its definition has no roll-up"
    return Rule({}, missing, missing, [(pl.lit(True), pl.lit(reason))])


def session_time() -> pl.Expr:
    """Return the total duration of the sessions of a checkpoint, in integer microseconds.

    0 without sessions; null when unknown or beyond Int64. An existing value of the column is exact and is kept.
    """
    count = pl.col("sessions_completed").cast(pl.Int128())
    product = count * pl.col("avg_session_duration").dt.total_microseconds().cast(pl.Int128())
    exact = pl.col(SESSION_TIME).dt.total_microseconds().cast(pl.Int128())
    time = pl.coalesce(pl.when(count == 0).then(pl.lit(0, dtype=pl.Int128())), exact, product)
    return pl.when(time <= MAX_COUNT).then(time)


def _missing(name: str, count: str) -> tuple[pl.Expr, pl.Expr]:
    return pl.col(count) > 0, pl.format(name + " in {} of {} checkpoints", pl.col(count), pl.col("rows"))


def _extreme(metric: Metric, value: pl.Expr) -> Rule:
    """Return the rule of a minimum or maximum without missing values, or of the last value."""
    name, no_value = metric.name, f"{metric.name}|no_value"
    missing = _missing("missing", no_value)
    combined = {"min": value.min(), "max": value.max(), "last": value.last()}[metric.rollup]
    if metric.rollup == "last":
        missing = pl.col(f"{name}|combined").is_null(), pl.lit("missing in the last checkpoint")
    aggregates = {no_value: value.null_count(), f"{name}|combined": combined}
    return Rule(aggregates, pl.col(f"{name}|combined"), pl.lit(None, dtype=pl.Int64()), [missing])


def _sum(metric: Metric, value: pl.Expr) -> Rule:
    name = metric.name
    no_value, total = f"{name}|no_value", pl.col(f"{name}|sum")
    whole = metric.kind in ("count", "duration")
    summed = (value.cast(pl.Int128(), strict=False) if whole else value).sum()
    aggregates = {no_value: value.null_count(), f"{name}|sum": summed}
    fits = total <= MAX_COUNT if whole else total.is_finite()
    faults = [_missing("missing", no_value), (~fits, pl.lit("the sum exceeds the range of the column"))]
    return Rule(aggregates, pl.when(fits).then(total), pl.lit(None, dtype=pl.Int64()), faults)


def _denominators(metric: Metric) -> tuple[dict[str, pl.Expr], list[tuple[pl.Expr, pl.Expr]]]:
    """Return the aggregates and faults of a weighted mean.

    The aggregates are the number of missing denominators, the number of missing values, and the total weight of the other rows.
    """
    name, value, count = metric.name, pl.col(metric.name), pl.col(metric.denominator or "")
    denominator = counted(metric.denominator or "")
    no_denominator, no_value, weight = (f"{name}|{part}" for part in ("no_denominator", "no_value", "weight"))
    aggregates = {
        no_denominator: count.null_count(),
        no_value: ((count > 0) & value.is_null()).sum(),
        weight: count.filter((count > 0) & value.is_not_null()).cast(pl.Int128(), strict=False).sum(),
    }
    faults = [
        _missing(f"{denominator} (its weight) missing", no_denominator),
        _missing("missing", no_value),
        (pl.col(weight) > MAX_COUNT, pl.lit(f"{denominator} exceeds the range of the column")),
        (pl.col(weight) == 0, pl.lit(f"{denominator} is 0")),
    ]
    return aggregates, faults


def _weighted(metric: Metric, value: pl.Expr) -> Rule:
    name, count = metric.name, pl.col(metric.denominator or "")
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
    too_long, time, weight = f"{name}|too_long", pl.col(f"{name}|time"), pl.col(f"{name}|weight")
    used = (pl.col("sessions_completed") > 0) & pl.col(name).is_not_null()
    aggregates |= {f"{name}|time": pl.col(SESSION_TIME).sum(), too_long: (used & pl.col(SESSION_TIME).is_null()).sum()}
    large = (pl.col(too_long) > 0) | (time > MAX_COUNT)
    value = pl.when((weight > 0) & ~large).then(time.cast(pl.Float64()) / weight.cast(pl.Float64()))
    return Rule(aggregates, value, weight, [*faults, (large, pl.lit("the total duration of all sessions exceeds the range of the column"))])


def _ratio(metric: Metric) -> Rule:
    """Return total cost divided by the number of successes.

    The number is implied where it is not recorded. A checkpoint without completed tasks has no success, and its cost is included. A
    checkpoint with tasks, or with an unknown number of tasks, needs a cost per success, since null may mean either no success or not
    measured. With a cost of 0, the number of successes cannot be computed; such checkpoints are combined only with each other.
    """
    name, cost, cost_per_success, tasks = metric.name, pl.col("total_cost"), pl.col(metric.name), pl.col("tasks_completed")
    no_value, unknown, free, spent, solved = (f"{name}|{part}" for part in ("no_value", "unknown", "free", "spent", "solved"))
    recorded = pl.lit(None, dtype=pl.Int64()) if metric.denominator is None else pl.col(metric.denominator)
    successes = cost / cost_per_success
    idle = tasks.eq_missing(0)
    known = recorded.is_not_null()
    priced = ~known & ~idle & ((cost > 0) & (cost_per_success > 0) & successes.is_finite() & (successes > 0)).fill_null(False)
    costless = ~known & ~idle & ((cost == 0) & (cost_per_success == 0)).fill_null(False)
    aggregates = {
        no_value: cost.null_count(),
        unknown: (cost.is_not_null() & ~known & ~idle & ~priced & ~costless).sum(),
        free: costless.sum(),
        spent: cost.filter(known | priced | idle).sum(),
        solved: successes.filter(priced).sum() + recorded.filter(known).cast(pl.Float64()).sum(),
    }
    ratio = pl.col(spent) / pl.col(solved)
    ratio = pl.when(ratio.is_finite() & ((ratio > 0) | (pl.col(spent) == 0))).then(ratio)
    value = (
        pl.when(pl.col(solved) > 0).then(ratio)
        .when((pl.col(free) > 0) & (pl.col(spent) == 0)).then(pl.lit(0.0))
    )  # fmt: skip
    no_task = (pl.col(solved) == 0) & (pl.col(free) == 0)
    faults = [
        _missing("total cost missing", no_value),
        _missing("number of solved tasks unknown", unknown),
        ((pl.col(free) > 0) & (pl.col(spent) > 0), pl.lit("checkpoints with a cost of 0 imply no number of solved tasks")),
        (no_task, pl.lit("no task was completed" if metric.denominator is None else "no task was solved")),
        (value.is_null(), pl.lit("the ratio of the costs exceeds the range of the column")),
    ]
    return Rule(aggregates, value, pl.when(pl.col(solved) > 0).then(pl.col(solved)), faults)
