"""Findings about the recording of checkpoints, and about values that cannot be true."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import polars as pl

from evalkit._util.text import plural
from evalkit.analysis._audit.coverage import place_span
from evalkit.analysis._audit.finding_kinds import findings
from evalkit.analysis._audit.tiling import DAY
from evalkit.domain.catalog import METRICS
from evalkit.domain.definitions import Metric

__all__ = ["record_findings", "value_findings"]

_SESSION_METRICS = [name for name, metric in METRICS.items() if "sessions_completed" in (name, metric.denominator)]
_IMPLIED_DENOMINATORS = {
    "avg_iterations_to_success": "tasks_completed",
    "cost_per_successful_task": "tasks_completed",
    "learning_effectiveness": "learnings_applied",
}
"""Counts that must be positive for a mean to exist, besides the denominators of definitions."""
_TOTALS = {
    "sessions_invalid": "sessions_attempted", "sessions_limited": "sessions_completed", "tasks_solved": "tasks_completed",
    "tool_errors": "tool_calls", "sessions_completed": "sessions_attempted",
}  # fmt: skip
"""The totals of standard custom metrics, besides the denominators of counts."""
_COSTS = ("total_cost", "cost_per_successful_task", "tasks_completed")
_MOST_DECIMALS = 6
"""Numbers with more decimals are treated as unrounded."""
_SINGLE = 1e-7
"""Relative tolerance for numbers that were stored in single precision."""
_TOLERANCE = "{} tolerance"


def record_findings(rows: pl.DataFrame, grid: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the findings about recording times and sessions.

    Parameters
    ----------
    rows
        Columns row, study_id, start, end, recorded_at, sessions_included, sessions_completed.
    grid
        Output of `grids`.
    """
    late = findings("recorded_late", _late(rows, grid), _describe_late)
    named = rows.filter(pl.col("sessions_included").list.len() > 0)
    if named.is_empty():
        return [late]
    shared = findings("shared_sessions", _shared(named), _describe_shared)
    counted = named.with_columns(
        named=pl.col("sessions_included").list.n_unique().cast(pl.Int64()), rows=pl.concat_list("row"), count=pl.lit(1)
    ).filter(pl.col("named") != pl.col("sessions_completed"))
    return [late, shared, findings("session_count", counted, _describe_count, metrics=_SESSION_METRICS)]


def _late(rows: pl.DataFrame, grid: pl.DataFrame) -> pl.DataFrame:
    """Return the checkpoints that were recorded late, as one place per study.

    Late is more than a period and more than a day after the end of the period.
    """
    since = pl.col("recorded_at") - pl.col("end")
    lengths = grid.select("study_id", limit=pl.max_horizontal(pl.col("length").fill_null(DAY), DAY))
    late = rows.with_columns(since=since, of=pl.len().over("study_id")).join(lengths, on="study_id", how="left").filter(
        pl.col("since") > pl.col("limit").fill_null(DAY)
    )  # fmt: skip
    return late.group_by("study_id").agg(
        pl.col("start").min(), pl.col("end").max(), pl.col("of").first(), rows="row", count=pl.len(), least=pl.col("since").min(),
        most=pl.col("since").max(),
    )  # fmt: skip


def _describe_late(place: dict[str, Any]) -> str:
    least, most = (place[name] // DAY for name in ("least", "most"))
    days = plural(most, "day") if least == most else f"{least:,} to {plural(most, 'day')}"
    periods = "its period" if place["count"] == 1 else "their periods"
    return f"{place['count']:,} of {plural(place['of'], 'checkpoint')}, {days} after the end of {periods}"


def _shared(named: pl.DataFrame) -> pl.DataFrame:
    """Return groups of checkpoints of one study that include the same sessions."""
    mentions = (
        named.select("study_id", "row", session="sessions_included")
        .explode("session", keep_nulls=False, empty_as_null=False)
        .drop_nulls("session")
    )
    key = pl.struct("study_id", "session").hash()
    if mentions.select(key.n_unique()).item() == mentions.height:
        return pl.DataFrame(schema={"study_id": pl.String()})
    duplicates = mentions.filter(key.is_duplicated()).unique(maintain_order=True)
    groups = (
        duplicates.group_by("study_id", "session", maintain_order=True)
        .agg(rows=pl.col("row").sort())
        .filter(pl.col("rows").list.len() > 1)
        .with_columns(key=pl.col("rows").cast(pl.List(pl.String())).list.join(" "))
        .group_by("study_id", "key", maintain_order=True)
        .agg(pl.col("rows").first(), session=pl.col("session").first(), sessions=pl.len())
        .with_columns(count=pl.col("rows").list.len(), place=pl.int_range(pl.len()))
    )
    each = groups.select("place", row="rows").explode("row", empty_as_null=False).join(named.select("row", "start", "end"), on="row")
    times = each.group_by("place").agg(pl.col("start").min(), pl.col("end").max())
    return groups.join(times, on="place")


def _describe_shared(place: dict[str, Any]) -> str:
    others = "" if place["sessions"] == 1 else f" and {plural(place['sessions'] - 1, 'other')}"
    return f"{place['session']!r}{others} in {plural(place['count'], 'checkpoint')} from {place_span(place)}"


def _describe_count(place: dict[str, Any]) -> str:
    counts = f"sessions_completed is {place['sessions_completed']:,.0f}, sessions_included has {place['named']:,}"
    return f"{counts} ({place_span(place)})"


def value_findings(rows: pl.DataFrame, metrics: Mapping[str, Metric]) -> list[pl.DataFrame]:
    """Return the findings about values.

    Parameters
    ----------
    rows
        Columns row, study_id, start, end, and every metric as Float64; durations in seconds.
    metrics
        The 16 metrics, and the custom metrics of the data.
    """
    rates = _counted_rates(metrics)
    checks = list(_checks(metrics, rates))
    # In steps: as single expressions, the checks would compute their shared columns many times.
    prepared = rows.lazy().with_columns(_half_units(rates)).with_columns(**_implied_solved_tasks())
    hits = prepared.select("row", **{f"hit {number}": hit for number, (_, _, hit) in enumerate(checks)}).collect()
    tables = []
    for number, (kind, names, _) in enumerate(checks):
        hit = hits[f"hit {number}"].fill_null(False)
        if hit.any():
            places = rows.filter(hit).with_columns(rows=pl.concat_list("row"), count=pl.lit(1))
            limits = _limits(metrics[names[0]]) if kind == "value_outside" else ""
            describe = partial(_describe_values, metrics=names, rates=rates, limits=limits)
            tables.append(findings(kind, places, describe, metrics=names))
    return tables


def _counted_rates(metrics: Mapping[str, Metric]) -> dict[str, str]:
    """Return the rates with a denominator, and their denominators."""
    return {
        name: metric.denominator
        for name, metric in metrics.items()
        if metric.kind == "rate" and metric.denominator is not None and metric.denominator in metrics
    }


def _limits(metric: Metric) -> str:
    """Return the range of a metric, as the end of a sentence about a value outside of it."""
    if metric.low is None or metric.high is None:
        return f", below {metric.low:,.10g}" if metric.high is None else f", above {metric.high:,.10g}"
    return f", outside {metric.low:,.10g} to {metric.high:,.10g}"


def _describe_values(place: dict[str, Any], metrics: Sequence[str], rates: Mapping[str, str], limits: str = "") -> str:
    when = place_span(place) if place["start"] is not None and place["end"] is not None else f"row {place['row']}"
    values = [f"{name} is {place[name]:,.10g}" for name in metrics]
    return f"{', '.join(values)}{limits}{_implied(place, metrics, rates)} ({when})"


def _implied(place: dict[str, Any], metrics: Sequence[str], rates: Mapping[str, str]) -> str:
    """Return the impossible number that the values imply, if any."""
    values = [place[name] for name in metrics]
    if len(values) == 2 and rates.get(metrics[0]) == metrics[1] and values[1]:
        return f", which implies {values[0] * values[1]:,.4g} successes"
    costs = [place[name] for name in metrics if name in _COSTS[:2]]
    return f", which implies {costs[0] / costs[1]:,.4g} solved tasks" if len(costs) == 2 and costs[1] else ""


def _checks(metrics: Mapping[str, Metric], rates: Mapping[str, str]) -> Iterator[tuple[str, list[str], pl.Expr]]:
    """Yield each check: the kind of finding, its metrics, and a Boolean expression.

    The expression is true for rows with the finding; null means no finding.
    """
    for name, metric in metrics.items():
        value = pl.col(name)
        yield "not_finite", [name], value.is_infinite()
        if metric.kind == "rate":
            yield "rate_outside", [name], value.is_finite() & value.is_between(0, 1).not_()
        elif metric.low is not None and metric.low >= 0 and metric.kind != "score":
            yield "negative_value", [name], value.is_finite() & (value < 0)
        if name not in METRICS:
            yield "value_outside", [name], _outside(metric)
    iterations = pl.col("avg_iterations_to_success")
    yield "below_one_iteration", ["avg_iterations_to_success"], (iterations >= 0) & (iterations < 1 - _SINGLE)
    denominators = {name: metric.denominator for name, metric in metrics.items() if metric.denominator in metrics}
    totals = {name: total for name, total in _TOTALS.items() if name in metrics and total in metrics}
    for name, total in (totals | {name: of for name, of in denominators.items() if of and metrics[name].kind == "count"}).items():
        yield "part_above_total", [name, total], pl.col(name) > pl.col(total)
    means = [(name, count) for name, count in denominators.items() if count and metrics[name].kind != "count"]
    for name, count in (*means, *_IMPLIED_DENOMINATORS.items()):
        yield "over_nothing", [name, count], pl.col(name).is_not_null() & (pl.col(count) == 0)
    for name, count in rates.items():
        yield "rate_not_of_count", [name, count], _not_a_fraction(pl.col(name), pl.col(count), pl.col(_TOLERANCE.format(name)))
    yield from _cost_checks()
    if "tasks_solved" in metrics:
        solved = pl.col("tasks_solved")
        yield (
            "successes_not_recorded",
            [*_COSTS[:2], "tasks_solved"],
            (solved < pl.col("fewest").ceil()) | (solved > pl.col("most").floor()),
        )


def _outside(metric: Metric) -> pl.Expr:
    """Return whether a possible value is outside the range of its definition."""
    value, possible = pl.col(metric.name), pl.col(metric.name).is_finite()
    if metric.kind == "rate":
        possible &= value.is_between(0, 1)
    elif metric.kind in ("count", "money", "duration"):
        possible &= value >= 0
    low = pl.lit(False) if metric.low is None else value < metric.low
    return possible & (low | (pl.lit(False) if metric.high is None else value > metric.high))


def _not_a_fraction(rate: pl.Expr, count: pl.Expr, tolerance: pl.Expr) -> pl.Expr:
    """Return whether no k / count with an integer k equals the rate within its tolerance."""
    nearest = (rate * count).round() / count
    return rate.is_between(0, 1) & (count > 0) & count.is_finite() & ((rate - nearest).abs() > tolerance)


def _implied_solved_tasks() -> dict[str, pl.Expr]:
    """Return the least and largest number of solved tasks that the costs imply.

    Null if a cost is invalid.
    """
    cost, each = (pl.col(name) for name in _COSTS[:2])
    cost_tolerance, each_tolerance = (pl.col(_TOLERANCE.format(name)) for name in _COSTS[:2])
    valid = (cost >= 0) & (each >= 0) & cost.is_finite() & each.is_finite()
    most = pl.when(each > each_tolerance).then((cost + cost_tolerance) / (each - each_tolerance)).otherwise(float("inf"))
    least = (cost - cost_tolerance).clip(lower_bound=0) / (each + each_tolerance)
    return {"fewest": pl.when(valid).then(least), "most": pl.when(valid).then(most)}


def _cost_checks() -> Iterator[tuple[str, list[str], pl.Expr]]:
    """Yield the checks of the number of solved tasks that the costs imply.

    A row has at most one of these findings.
    """
    fewest, most, tasks, first = (pl.col(name) for name in ("fewest", "most", "tasks_completed", "first_attempt_success_rate"))
    positive = (tasks > 0) & tasks.is_finite()
    below = positive & (fewest > tasks)
    no_integer = pl.max_horizontal(fewest.ceil(), pl.lit(1.0)) > most
    fractional = no_integer & (tasks != 0).fill_null(True) & below.fill_null(False).not_()
    first_successes = (first - pl.col(_TOLERANCE.format("first_attempt_success_rate"))) * tasks
    names = list(_COSTS)
    yield "cost_below_task", names, below
    yield "successes_not_whole", names[:2], fractional
    yield (
        "first_above_successes",
        ["first_attempt_success_rate", *names],
        positive & first.is_between(0, 1) & no_integer.not_() & (first_successes > most),
    )


def _half_units(rates: Mapping[str, str]) -> list[pl.Expr]:
    """Return the rounding tolerance of each compared number.

    It is half a unit of the last written decimal. Money has at least two decimals: 2.0 means $2.00.
    """
    tolerances = []
    for name in (*rates, *_COSTS[:2]):
        value = pl.col(name)
        slack = _SINGLE * value.abs().clip(lower_bound=1)
        half = pl.lit(0.0)
        for decimals in reversed(range(0 if name in rates else 2, _MOST_DECIMALS + 1)):
            scale = 10.0**decimals
            written = ((value * scale).round() / scale - value).abs() <= slack
            half = pl.when(written).then(0.5 / scale).otherwise(half)
        tolerances.append((half + slack).alias(_TOLERANCE.format(name)))
    return tolerances
