"""How often the analyses are right: seeded series with known truth, and what is claimed of them. ``python -m tests.simulations`` writes docs/power.md.

A series is a stationary AR(1) of standard deviation 1, plus an effect of 3 standard deviations or none: a rise over the span, a step in the
middle, or a difference between two studies. What an interval is measured against knows the variance and the autocorrelation.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
import scipy.stats

from evalkit.analysis._before_after import before_after_of
from evalkit.analysis._changepoints import changepoints_of
from evalkit.analysis._compare import compare_of
from evalkit.analysis._report.examination import examine
from evalkit.analysis._results import holm
from evalkit.analysis._series import MetricSeries
from evalkit.analysis._stats.ar1 import Array, Estimate
from evalkit.analysis._trend import trend_of
from evalkit.domain.metrics import METRICS
from evalkit.domain.verdicts import ALPHA, Verdict
from evalkit.frames.study_data import StudyData

T = TypeVar("T")
COUNTS, CORRELATIONS, EFFECT = (12, 30, 120), (0.0, 0.5), 3.0
METRIC = METRICS["agent_efficiency"]
START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = 86_400e6
ANALYSES = ("trend", "compare pairs", "compare", "before_after", "changepoints")


def ar1_series(count: int, rho: float, random: np.random.Generator) -> Array:
    noise = random.standard_normal(count)
    for place in range(1, count):
        noise[place] = rho * noise[place - 1] + math.sqrt(1 - rho * rho) * noise[place]
    return noise


def observed(values: Array) -> MetricSeries:
    start = START.timestamp() * 1e6 + DAY * np.arange(len(values))
    return MetricSeries("1", "agent", METRIC, start + DAY / 2, values, start, start + DAY, len(values), 0)


def rows(values: Array, name: str, *, shifted: bool = False) -> pl.DataFrame:
    """A study's rows as `StudyData.sorted_checkpoints` returns them; shifted ones share no period with others."""
    start = pl.Series([START + timedelta(days=index, hours=12 * shifted) for index in range(len(values))], dtype=pl.Datetime("us", "UTC"))
    day = timedelta(days=1)
    return pl.DataFrame({"start": start, METRIC.name: values}).select(
        pl.lit(name).alias("study_id"), pl.lit(name).alias("label"), "start", METRIC.name, t=pl.col("start") + day / 2, end=pl.col("start") + day,
        length=pl.lit(day),
    )  # fmt: skip


def oracle(design: Array, contrast: Array, rho: float) -> float:
    """Half the 95 % interval of who knows the variance, 1, and the autocorrelation."""
    count = len(design)
    covariance = rho ** np.abs(np.subtract.outer(np.arange(count), np.arange(count))) if rho else np.eye(count)
    inside = design.T @ np.linalg.solve(covariance, design)
    return 1.959964 * math.sqrt(contrast @ np.linalg.solve(inside, contrast))


def designs(analysis: str, count: int) -> tuple[Array, Array, float]:
    """The design, the contrast, and by what the half-width is to be multiplied."""
    one, place = np.ones(count), np.arange(count)
    if analysis == "trend":
        return np.column_stack([one, place / (count - 1)]), np.array([0.0, 1.0]), 1.0
    if analysis.startswith("compare"):
        return one[:, None], np.array([1.0]), math.sqrt(2)
    away, later = place - (count // 2 - 0.5), (place >= count // 2).astype(float)
    return np.column_stack([one, away, later, away * later]), np.array([0.0, 0.0, 1.0, 0.0]), 1.0


def analysed(analysis: str, count: int, rho: float, effect: float, random: np.random.Generator) -> tuple[bool, bool, Estimate | None]:
    """Analyse one series: whether something was claimed, whether it was called insufficient, and the estimate."""
    noise = ar1_series(count, rho, random)
    if analysis == "trend":
        found = trend_of(observed(noise + effect * np.arange(count) / (count - 1)))
        return found.verdict in ("improving", "declining"), found.verdict == Verdict.INSUFFICIENT_DATA, found.total_change
    if analysis.startswith("compare"):
        other = ar1_series(count, rho, random)
        difference = compare_of(rows(noise + effect, "a"), rows(other, "b", shifted=analysis == "compare"), METRIC.name)
        difference = difference._adjusted(difference.p, 1)
        return difference.verdict in ("better", "worse"), difference.verdict == Verdict.INSUFFICIENT_DATA, difference.difference
    stepped = observed(noise + effect * (np.arange(count) >= count // 2))
    if analysis == "before_after":
        change = before_after_of(stepped, START + timedelta(days=count // 2), placebos=False)
        change = change._adjusted(change.p)
        return change.verdict in ("better", "worse"), change.verdict == Verdict.INSUFFICIENT_DATA, change.effect
    shift = changepoints_of(stepped)
    middle = START + timedelta(days=count // 2)
    dated = next((Estimate(0, float(one.low > middle), float(one.high >= middle), one.p) for one in shift.changes), None)
    return shift.verdict == "shifted", shift.verdict == Verdict.INSUFFICIENT_DATA, dated


@dataclass(frozen=True)
class Cell:
    """What came of many series of one kind."""

    analysis: str
    count: int
    rho: float
    series: int
    covered: float | None
    """Share of intervals that hold the truth; of change points, of the dates of claimed shifts."""
    width: float | None
    """Mean width over that of the interval that knows."""
    false_claims: float
    claims: float
    """Share of series with the effect of which something is claimed."""
    insufficient: float
    """Of both kinds of series."""


def cell(analysis: str, count: int, rho: float, series: int) -> Cell:
    random = np.random.default_rng([count, round(rho * 100), ANALYSES.index(analysis)])
    none = [analysed(analysis, count, rho, 0.0, random) for _ in range(series)]
    some = [analysed(analysis, count, rho, EFFECT, random) for _ in range(series)]
    if analysis == "changepoints":
        dates = [one for _, _, one in some if one is not None]
        covered = float(np.mean([one.low == 0 and one.high == 1 for one in dates])) if dates else None
        width = None
    else:
        design, contrast, factor = designs(analysis, count)
        estimates = [(one, truth) for part, truth in ((none, 0.0), (some, EFFECT)) for _, _, one in part if one is not None]
        covered = float(np.mean([one.low <= truth <= one.high for one, truth in estimates]))
        width = float(np.mean([one.half_width for one, _ in estimates])) / (factor * oracle(design, contrast, rho))
    return Cell(
        analysis, count, rho, series, covered, width, float(np.mean([claimed for claimed, _, _ in none])),
        float(np.mean([claimed for claimed, _, _ in some])), float(np.mean([few for _, few, _ in none + some])),
    )  # fmt: skip


@dataclass(frozen=True)
class Family:
    """What was claimed of studies with 16 metrics and a baseline, without any effect."""

    count: int
    rho: float
    series: int
    compared: float
    """Share of comparisons of all 16 metrics that claim something."""
    page: float
    """Share of reports, with trends and shifts of all metrics and the comparison, that claim something."""


def family(count: int, rho: float, series: int) -> Family:
    random = np.random.default_rng([count, round(rho * 100)])
    claimed = []
    for _ in range(series):
        data = StudyData(pl.concat([_whole("1", count, rho, random), _whole("2", count, rho, random)]))
        found = examine(data, *data.names)
        ps = [one.p for one in found.differences]
        compared = any(p is not None and p <= ALPHA for p in holm(ps))
        claims = [one.p_corrected for one in (*found.trends, *found.changes, *found.differences)]
        claimed.append((compared, any(p is not None and p <= ALPHA for p in claims)))
    return Family(count, rho, series, *np.mean(claimed, axis=0).tolist())


def _whole(study_id: str, count: int, rho: float, random: np.random.Generator) -> pl.DataFrame:
    values = {name: ar1_series(count, rho, random) for name in METRICS}
    start = pl.Series([START + timedelta(days=index) for index in range(count)], dtype=pl.Datetime("us", "UTC"))
    rows = pl.DataFrame({"study_id": study_id, "study": study_id, "period_type": "daily", "period_start": start, **values})
    return rows.with_columns(period_end=pl.col("period_start") + timedelta(days=1))


def narrowest(analysis: str, count: int, covering: float, series: int = 20_000) -> float:
    """The least mean width that any interval can have at AR(1) 0 and still hold the truth in `covering` of series at 0.5.

    Of intervals that do not depend on unit and zero, the one with the least width for its coverage puts, for each shape of the residuals,
    as much width as pays: f0 v = l f1(x), with f0 and f1 the likelihoods of the shape at 0 and at 0.5, v the width at 0, and f1(x) the
    density of t at the end. Given over that of the interval that knows the variance and that the autocorrelation is 0.
    """
    design, contrast, _ = designs(analysis, count)
    freedom = count - design.shape[1]
    peak = float(scipy.stats.t.pdf(0, freedom))
    mean = math.sqrt(2 / freedom) * math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
    random = np.random.default_rng(0)
    drawn = {rho: np.column_stack([ar1_series(count, rho, random) for _ in range(series)]) for rho in CORRELATIONS}
    fits = {rho: [_fitted(values, design, contrast, each) for each in CORRELATIONS] for rho, values in drawn.items()}

    def half(rho: float, price: float) -> Array:
        (_, _, deviation, likely0), (_, scale, _, likely) = fits[rho]
        density = np.exp(np.minimum(likely0 - likely, 50)) * scale / deviation * mean / (2 * price)
        return np.where(density >= peak, 0, np.sqrt(np.maximum(freedom * ((density / peak) ** (-2 / (freedom + 1)) - 1), 0))) * scale

    low, high = 1e-4, 1e6
    for _ in range(60):
        price = math.sqrt(low * high)
        held = float((np.abs(fits[0.5][1][0]) <= half(0.5, price)).mean())
        low, high = (price, high) if held < covering else (low, price)
    return float(half(0.0, high).mean()) / oracle(design, contrast, 0.0)


def _fitted(values: Array, design: Array, contrast: Array, rho: float) -> tuple[Array, Array, Array, Array]:
    """Of each column: the estimate, its standard error, the standard deviation of the residuals, the restricted log likelihood."""
    count, terms = design.shape
    covariance = rho ** np.abs(np.subtract.outer(np.arange(count), np.arange(count))) if rho else np.eye(count)
    root = np.linalg.inv(np.linalg.cholesky(covariance))
    q, r = np.linalg.qr(root @ design)
    free = root @ values
    towards = q.T @ free
    left = (free**2).sum(axis=0) - (towards**2).sum(axis=0)
    deviation = np.sqrt(left / (count - terms))
    error = float(np.linalg.norm(np.linalg.solve(r.T, contrast)))
    likely = np.linalg.slogdet(root)[1] - np.log(np.abs(np.diag(r))).sum() - (count - terms) / 2 * np.log(left)
    return contrast @ np.linalg.solve(r, towards), error * deviation, deviation, likely


def simulate(series: int, analyses: tuple[str, ...] = ANALYSES, counts: tuple[int, ...] = COUNTS, workers: int = 2) -> list[Cell]:
    return _mapped(cell, [(analysis, count, rho, series) for analysis in analyses for count in counts for rho in CORRELATIONS], workers)


def simulate_families(series: int, counts: tuple[int, ...] = COUNTS, workers: int = 2) -> list[Family]:
    return _mapped(family, [(count, rho, series) for count in counts for rho in CORRELATIONS], workers)


def _mapped(simulate_one: Callable[..., T], kinds: list[tuple[Any, ...]], workers: int) -> list[T]:
    if workers == 1:
        return [simulate_one(*kind) for kind in kinds]
    # Spawned: a fork of a process in which Polars has threads waits for them for ever.
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        return list(pool.map(simulate_one, *zip(*kinds, strict=True)))


def shown(value: float | None) -> str:
    return "" if value is None else f"{value * 100:.1f} %"


def error(share: float, series: int) -> float:
    """The Monte Carlo standard error of a share."""
    return math.sqrt(share * (1 - share) / series)


TITLES = {
    "trend": "`trend`: a rise of 3 standard deviations over the span",
    "compare pairs": "`compare`, paired: a difference of 3 standard deviations",
    "compare": "`compare`, not paired: the same",
    "before_after": "`before_after`: a step of 3 standard deviations in the middle, beside a trend",
    "changepoints": "`changepoints`: the same step at an unknown time, without a trend",
}
HEAD = """# How often the analyses are right

Simulated series with known truth: {series:,} without an effect and as many with one for each row; normal values, autocorrelation (AR(1)) 0 or 0.5 between
neighbouring checkpoints. The Monte Carlo standard error of a share of 5 % is {small:.1f} points, of one of 50 % {large:.1f} points.
Made by `python -m tests.simulations --write`; `make bench` runs it, `make test` a short form of it.

- *covered*: share of the 95 % intervals that hold the truth (of `changepoints`: of the intervals of the dates of claimed shifts).
- *width*: mean width of the interval over that of one that knows the variance and the autocorrelation.
- *false claims*: share of the series without any effect of which something is claimed.
- *power*: share of the series with the effect of which it is claimed.
- *insufficient*: share of all series of which the analysis says that they are too short to tell.
"""


FAMILIES = """
## `compare` and `report`: everything together

{series:,} pairs of studies with 16 metrics each and no effect at all, in each row: the share of which anything is claimed. All p-values of a
comparison, and all of a report (trends, shifts and differences), are corrected together.

| checkpoints | AR(1) | a comparison claims anything | a report claims anything |
|--:|--:|--:|--:|
{rows}
"""
BOUNDS = """
## What falls short

With 12 checkpoints and no autocorrelation the intervals of `trend` and `compare` are 1.8 times as wide as those that know the variance and that there is
no autocorrelation, not 1.5 times. 12 values do not tell 0 from 0.5, so an interval that is to hold at 0.5 must be wide at 0 as well. The narrowest
interval that holds the truth in 95 % of series at 0.5, so that what excludes 0 may be claimed, is on average {trend:.2f} (`trend`) and {compare:.2f} (`compare`) times
as wide at 0; one that must hold in 93 % only, {trend93:.2f} and {compare93:.2f}. Those are made for these two autocorrelations alone; ours also hold between and beyond.

Where neighbours correlate by more than about 0.7, more is claimed of nothing than 5 %: at 0.9 and 30 checkpoints `trend` and `changepoints` claim something
in a fifth to a quarter of the series (200 of them). Thirty such values hardly differ from a trend, and their correlation cannot be seen in them.
"""


def page(cells: list[Cell], families: list[Family], series: int) -> str:
    """The page of the docs."""
    parts = [HEAD.format(series=series, small=error(0.05, series) * 100, large=error(0.5, series) * 100)]
    for analysis in ANALYSES:
        parts.append(
            f"\n## {TITLES[analysis]}\n\n| checkpoints | AR(1) | covered | width | false claims | power | insufficient |\n|--:|--:|--:|--:|--:|--:|--:|"
        )
        parts += [
            f"| {one.count} | {one.rho} | {shown(one.covered)} | {'' if one.width is None else f'{one.width:.2f}'} | {shown(one.false_claims)} "
            f"| {shown(one.claims)} | {shown(one.insufficient)} |"
            for one in cells if one.analysis == analysis
        ]  # fmt: skip
    rows = "\n".join(f"| {one.count} | {one.rho} | {shown(one.compared)} | {shown(one.page)} |" for one in families)
    least = {
        f"{name}{level}": narrowest(name, 12, covering) for name in ("trend", "compare") for level, covering in (("", 0.95), ("93", 0.93))
    }
    return "\n".join(parts) + "\n" + FAMILIES.format(series=families[0].series, rows=rows) + BOUNDS.format(**least)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=2000, help="of each kind, in each row")
    parser.add_argument("--write", action="store_true", help="write docs/power.md")
    given = parser.parse_args(arguments)
    made = page(simulate(given.series), simulate_families(max(10, given.series // 10)), given.series)
    print(made)
    if given.write:
        (Path(__file__).parents[1] / "docs" / "power.md").write_text(made)


if __name__ == "__main__":
    main(sys.argv[1:])
