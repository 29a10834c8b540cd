"""What is wrong with checkpoints beside their periods: how they were recorded, and values that cannot be true.

Of values only what no rounding explains is a finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from evalkit._util.text import plural
from evalkit.analysis._audit.coverage import place_span
from evalkit.analysis._audit.finding_kinds import findings
from evalkit.analysis._audit.tiling import DAY
from evalkit.domain.metrics import METRICS

__all__ = ["record_findings", "value_findings"]

_OF_SESSIONS = [name for name, metric in METRICS.items() if "sessions_completed" in (name, metric.denominator)]
_OVER = {name: metric.denominator for name, metric in METRICS.items() if metric.denominator} | {
    "avg_iterations_to_success": "tasks_completed",
    "cost_per_successful_task": "tasks_completed",
    "learning_effectiveness": "learnings_applied",
}
"""What there must be at least one of, for a mean to be known."""
_COUNTED = {name: metric.denominator for name, metric in METRICS.items() if metric.kind == "rate" and metric.denominator}
_COSTS = ("total_cost", "cost_per_successful_task", "tasks_completed")
_FINEST = 6
"""Decimals: a number that has more was not rounded."""
_SINGLE = 1e-7
"""How far off a number may be, relative to it, that was once in single precision."""
_OFF = "{} off"


def record_findings(rows: pl.DataFrame, grid: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the findings about when checkpoints were recorded, and from which sessions.

    Parameters
    ----------
    rows
        row, study_id, start, end, recorded_at, sessions_included, sessions_completed.
    grid
        As `grids` gives it.
    """
    found = [findings("recorded_late", _late(rows, grid), _describe_late)]
    named = rows.filter(pl.col("sessions_included").list.len() > 0)
    if named.is_empty():
        return found
    shared = findings("shared_sessions", _shared(named), _describe_shared)
    counted = named.with_columns(
        named=pl.col("sessions_included").list.n_unique().cast(pl.Int64()), rows=pl.concat_list("row"), count=pl.lit(1)
    ).filter(pl.col("named") != pl.col("sessions_completed"))
    return [*found, shared, findings("session_count", counted, _describe_count, metrics=_OF_SESSIONS)]


def _late(rows: pl.DataFrame, grid: pl.DataFrame) -> pl.DataFrame:
    """Return the checkpoints recorded more than a period, and more than a day, after their end: all of a study are one place."""
    since = pl.col("recorded_at") - pl.col("end")
    lengths = grid.select("study_id", patience=pl.max_horizontal(pl.col("length").fill_null(DAY), DAY))
    late = rows.with_columns(since=since, of=pl.len().over("study_id")).join(lengths, on="study_id", how="left").filter(
        pl.col("since") > pl.col("patience").fill_null(DAY)
    )  # fmt: skip
    return late.group_by("study_id").agg(
        pl.col("start").min(), pl.col("end").max(), pl.col("of").first(), rows="row", count=pl.len(), least=pl.col("since").min(),
        most=pl.col("since").max(),
    )  # fmt: skip


def _describe_late(place: dict[str, Any]) -> str:
    least, most = (place[name] // DAY for name in ("least", "most"))
    days = plural(most, "day") if least == most else f"{least:,} to {plural(most, 'day')}"
    return f"{place['count']:,} of {plural(place['of'], 'checkpoint')}, {days} after their periods ended"


def _shared(named: pl.DataFrame) -> pl.DataFrame:
    """Return the groups of checkpoints of one study that name the same sessions."""
    mentions = (
        named.select("study_id", "row", session="sessions_included")
        .explode("session", keep_nulls=False, empty_as_null=False)
        .drop_nulls("session")
    )
    several = pl.struct("study_id", "session").hash()
    if mentions.select(several.n_unique()).item() == mentions.height:
        return pl.DataFrame(schema={"study_id": pl.String()})
    twice = mentions.filter(several.is_duplicated()).unique(maintain_order=True)
    groups = (
        twice.group_by("study_id", "session", maintain_order=True)
        .agg(rows=pl.col("row").sort())
        .filter(pl.col("rows").list.len() > 1)
        .with_columns(key=pl.col("rows").cast(pl.List(pl.String())).list.join(" "))
        .group_by("study_id", "key", maintain_order=True)
        .agg(pl.col("rows").first(), session=pl.col("session").first(), sessions=pl.len())
        .with_columns(count=pl.col("rows").list.len(), place=pl.int_range(pl.len()))
    )
    times = groups.select("place", row="rows").explode("row").join(named.select("row", "start", "end"), on="row").group_by("place").agg(
        pl.col("start").min(), pl.col("end").max()
    )  # fmt: skip
    return groups.join(times, on="place")


def _describe_shared(place: dict[str, Any]) -> str:
    others = "" if place["sessions"] == 1 else f" and {plural(place['sessions'] - 1, 'other')}"
    return f"{place['session']!r}{others} in {plural(place['count'], 'checkpoint')} from {place_span(place)}"


def _describe_count(place: dict[str, Any]) -> str:
    return f"{place_span(place)}: sessions_completed is {place['sessions_completed']:,.0f}, {plural(place['named'], 'session')} named"


def value_findings(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the findings about values.

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
            found.append(findings(kind, places, lambda place, shown=metrics: _describe_values(place, shown), metrics=metrics))  # type: ignore[misc]
    return found


def _describe_values(place: dict[str, Any], metrics: Sequence[str]) -> str:
    when = place_span(place) if place["start"] is not None and place["end"] is not None else f"row {place['row']}"
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
    """Return each check: the kind of finding, the metrics that it reads, and whether a row has it (null as no)."""
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
    """Return the fewest and the most solved tasks that the costs can come from; missing where a cost is none."""
    cost, each = (pl.col(name) for name in _COSTS[:2])
    cost_off, each_off = (pl.col(_OFF.format(name)) for name in _COSTS[:2])
    sound = (cost >= 0) & (each >= 0) & cost.is_finite() & each.is_finite()
    most = pl.when(each > each_off).then((cost + cost_off) / (each - each_off)).otherwise(float("inf"))
    least = (cost - cost_off).clip(lower_bound=0) / (each + each_off)
    return {"fewest": pl.when(sound).then(least), "most": pl.when(sound).then(most)}


def _of_costs() -> Iterator[tuple[str, list[str], pl.Expr]]:
    """Return the checks of the solved tasks that the costs imply. Later ones are skipped once one is a finding."""
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
    """Return for each number that is compared half a unit of the last decimal that it is written with: how far rounding may have moved it.

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
