"""Values that cannot be true, alone or beside each other. Only what no rounding explains is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from evalkit.analysis._audit.coverage import told_span
from evalkit.analysis._audit.finding_kinds import findings
from evalkit.domain.metrics import METRICS

__all__ = ["value_findings"]

_OVER = {name: metric.denominator for name, metric in METRICS.items() if metric.denominator} | {
    "avg_iterations_to_success": "tasks_completed",
    "cost_per_successful_task": "tasks_completed",
    "learning_effectiveness": "learnings_applied",
}
"""What there must be at least one of, for a mean to be known."""
_RATES = [name for name, metric in METRICS.items() if metric.kind == "rate"]
_COUNTED = {name: metric.denominator for name, metric in METRICS.items() if metric.kind == "rate" and metric.denominator}
_COSTS = ("total_cost", "cost_per_successful_task", "tasks_completed")
_FINEST = 6
"""Decimals: a number that has more was not rounded."""
_SINGLE = 1e-7
"""How far off a number may be, relative to it, that was once in single precision."""
_OFF = "{} off"


def value_findings(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """Give the findings about values.

    Parameters
    ----------
    rows
        row, study_id, start, end, and every metric as Float64, durations in seconds.
    """
    checks = list(_checks())
    # In steps, since as one expression each check would have all that it is made of in it, many times over.
    prepared = rows.lazy().with_columns(_half_units()).with_columns(**_implied_successes())
    hits = prepared.select("row", **{f"hit {number}": hit for number, (_, _, hit) in enumerate(checks)}).collect()
    found = []
    for number, (kind, metrics, _) in enumerate(checks):
        hit = hits[f"hit {number}"].fill_null(False)
        if hit.any():
            places = rows.filter(hit).with_columns(rows=pl.concat_list("row"), count=pl.lit(1))
            found.append(findings(kind, places, lambda place, shown=metrics: _told(place, shown), metrics=metrics))  # type: ignore[misc]
    return found


def _told(place: dict[str, Any], metrics: Sequence[str]) -> str:
    when = told_span(place) if place["start"] is not None and place["end"] is not None else f"row {place['row']}"
    told = [f"{name} is {place[name]:,.10g}" for name in metrics]
    return f"{when}: {', '.join(told)}{_implied(place, metrics)}"


def _implied(place: dict[str, Any], metrics: Sequence[str]) -> str:
    """Say what the values lead to, where that is what cannot be."""
    values = [place[name] for name in metrics]
    if len(values) == 2 and _COUNTED.get(metrics[0]) == metrics[1] and values[1]:
        return f", which would be {values[0] * values[1]:,.4g} successes"
    costs = [place[name] for name in metrics if name in _COSTS[:2]]
    return f", which would be {costs[0] / costs[1]:,.4g} solved tasks" if len(costs) == 2 and costs[1] else ""


def _checks() -> Iterator[tuple[str, list[str], pl.Expr]]:
    """Give each check: the kind of finding, the metrics that it reads, and whether a row has it (null as no)."""
    for name, metric in METRICS.items():
        value = pl.col(name)
        yield "not_finite", [name], value.is_infinite()
        if metric.kind == "rate":
            yield "rate_outside", [name], value.is_finite() & value.is_between(metric.low, metric.high).not_()
        else:
            yield "negative_value", [name], value.is_finite() & (value < metric.low)
    iterations = pl.col("avg_iterations_to_success")
    yield "below_one_iteration", ["avg_iterations_to_success"], (iterations >= 0) & (iterations < 1 - _SINGLE)
    for name, counted in _OVER.items():
        yield "over_nothing", [name, counted], pl.col(name).is_not_null() & (pl.col(counted) == 0)
    for name, counted in _COUNTED.items():
        yield "rate_not_of_count", [name, counted], _no_share(pl.col(name), pl.col(counted), pl.col(_OFF.format(name)))
    yield from _of_costs()


def _no_share(rate: pl.Expr, count: pl.Expr, off: pl.Expr) -> pl.Expr:
    """Whether no whole number over the count, rounded as the rate is, gives the rate."""
    nearest = (rate * count).round() / count
    return rate.is_between(0, 1) & (count > 0) & count.is_finite() & ((rate - nearest).abs() > off)


def _implied_successes() -> dict[str, pl.Expr]:
    """Give the fewest and the most solved tasks that the costs can come from; missing where a cost is none."""
    cost, each = (pl.col(name) for name in _COSTS[:2])
    cost_off, each_off = (pl.col(_OFF.format(name)) for name in _COSTS[:2])
    sound = (cost >= 0) & (each >= 0) & cost.is_finite() & each.is_finite()
    most = pl.when(each > each_off).then((cost + cost_off) / (each - each_off)).otherwise(float("inf"))
    least = (cost - cost_off).clip(lower_bound=0) / (each + each_off)
    return {"fewest": pl.when(sound).then(least), "most": pl.when(sound).then(most)}


def _of_costs() -> Iterator[tuple[str, list[str], pl.Expr]]:
    """Give the checks of the solved tasks that the costs imply. Each holds its peace where one before it has spoken."""
    fewest, most, tasks, first = (pl.col(name) for name in ("fewest", "most", "tasks_completed", "first_attempt_success_rate"))
    some = (tasks > 0) & tasks.is_finite()
    below = some & (fewest > tasks)
    no_number = pl.max_horizontal(fewest.ceil(), pl.lit(1.0)) > most
    broken = no_number & (tasks != 0).fill_null(True) & below.fill_null(False).not_()
    at_once = (first - pl.col(_OFF.format("first_attempt_success_rate"))) * tasks
    names = list(_COSTS)
    yield "cost_below_task", names, below
    yield "successes_not_whole", names[:2], broken
    yield (
        "first_above_successes",
        ["first_attempt_success_rate", *names],
        some & first.is_between(0, 1) & no_number.not_() & (at_once > most),
    )


def _half_units() -> list[pl.Expr]:
    """Give for each number that is compared half a unit of the last decimal that it is written with: how far rounding may have moved it.

    Money has two decimals at least: 2.0 stands for $2.00.
    """
    given = []
    for name in (*_COUNTED, *_COSTS[:2]):
        value = pl.col(name)
        slack = _SINGLE * value.abs().clip(lower_bound=1)
        half = pl.lit(0.0)
        for decimals in reversed(range(0 if name in _COUNTED else 2, _FINEST + 1)):
            scale = 10.0**decimals
            written = ((value * scale).round() / scale - value).abs() <= slack
            half = pl.when(written).then(0.5 / scale).otherwise(half)
        given.append((half + slack).alias(_OFF.format(name)))
    return given
