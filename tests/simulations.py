"""Coverage, false positives and power of the analyses in simulated series.

``python -m tests.simulations --write`` writes docs/statistics/power.md.

A series is a stationary AR(1) process of standard deviation 1, plus no effect or one of 3 standard deviations: a trend over the span, a step
in the middle, or a difference between two studies. The width of intervals is relative to one for known variance and AR(1) coefficient.
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

from evalkit.analysis import compare, trend
from evalkit.analysis._before_after import before_after_of
from evalkit.analysis._changepoints import changepoints_of
from evalkit.analysis._compare import compare_of
from evalkit.analysis._report.study_analysis import analyze_study
from evalkit.analysis._results import holm
from evalkit.analysis._series import MetricSeries
from evalkit.analysis._stats.ar1 import Array, Estimate
from evalkit.analysis._trend import trend_of
from evalkit.domain.catalog import METRICS
from evalkit.domain.definitions import Metric
from evalkit.domain.verdicts import ALPHA, Verdict
from evalkit.frames.study_data import StudyData

T = TypeVar("T")
COUNTS, CORRELATIONS, EFFECT = (12, 30, 120), (0.0, 0.5), 3.0
METRIC = METRICS["agent_efficiency"]
START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = 86_400e6
RATE_ANALYSES, RATE_EFFECT = ("trend", "compare"), 0.3
ANALYSES = ("trend", "compare pairs", "compare", "before_after", "changepoints")


def ar1_series(count: int, rho: float, random: np.random.Generator) -> Array:
    noise = random.standard_normal(count)
    for place in range(1, count):
        noise[place] = rho * noise[place - 1] + math.sqrt(1 - rho * rho) * noise[place]
    return noise


def series_of(values: Array) -> MetricSeries:
    start = START.timestamp() * 1e6 + DAY * np.arange(len(values))
    return MetricSeries("1", "agent", METRIC, start + DAY / 2, values, start, start + DAY, len(values), 0)


def rows(values: Array, name: str, *, shifted: bool = False) -> pl.DataFrame:
    """Return rows of a study like `StudyData.sorted_checkpoints`; shifted ones have no period in common with others."""
    start = pl.Series([START + timedelta(days=index, hours=12 * shifted) for index in range(len(values))], dtype=pl.Datetime("us", "UTC"))
    day = timedelta(days=1)
    return pl.DataFrame({"start": start, METRIC.name: values}).select(
        pl.lit(name).alias("study_id"), pl.lit(name).alias("label"), "start", METRIC.name, t=pl.col("start") + day / 2, end=pl.col("start") + day,
        length=pl.lit(day),
    )  # fmt: skip


def known_half_width(design: Array, contrast: Array, rho: float) -> float:
    """Return the half-width of the 95% interval for a known variance, 1, and a known AR(1) coefficient."""
    count = len(design)
    covariance = rho ** np.abs(np.subtract.outer(np.arange(count), np.arange(count))) if rho else np.eye(count)
    inside = design.T @ np.linalg.solve(covariance, design)
    return 1.959964 * math.sqrt(contrast @ np.linalg.solve(inside, contrast))


def designs(analysis: str, count: int) -> tuple[Array, Array, float]:
    """Return the design, the contrast, and a factor of the half-width."""
    one, place = np.ones(count), np.arange(count)
    if analysis == "trend":
        return np.column_stack([one, place / (count - 1)]), np.array([0.0, 1.0]), 1.0
    if analysis.startswith("compare"):
        return one[:, None], np.array([1.0]), math.sqrt(2)
    away, later = place - (count // 2 - 0.5), (place >= count // 2).astype(float)
    return np.column_stack([one, away, later, away * later]), np.array([0.0, 0.0, 1.0, 0.0]), 1.0


def analyzed(analysis: str, count: int, rho: float, effect: float, random: np.random.Generator) -> tuple[bool, bool, Estimate | None]:
    """Analyze one series; return whether the result is significant, whether data are insufficient, and the estimate."""
    noise = ar1_series(count, rho, random)
    if analysis == "trend":
        trend = trend_of(series_of(noise + effect * np.arange(count) / (count - 1)))
        return trend.verdict in ("improving", "declining"), trend.verdict == Verdict.INSUFFICIENT_DATA, trend.total_change
    if analysis.startswith("compare"):
        other = ar1_series(count, rho, random)
        difference = compare_of(rows(noise + effect, "a"), rows(other, "b", shifted=analysis == "compare"), METRIC)
        difference = difference._adjusted(difference.p, 1)
        return difference.verdict in ("better", "worse"), difference.verdict == Verdict.INSUFFICIENT_DATA, difference.difference
    stepped = series_of(noise + effect * (np.arange(count) >= count // 2))
    if analysis == "before_after":
        change = before_after_of(stepped, START + timedelta(days=count // 2), placebos=False)
        change = change._adjusted(change.p)
        return change.verdict in ("better", "worse"), change.verdict == Verdict.INSUFFICIENT_DATA, change.effect
    shift = changepoints_of(stepped)
    middle = START + timedelta(days=count // 2)
    time = next((Estimate(0, float(each.low > middle), float(each.high >= middle), each.p) for each in shift.changes), None)
    return shift.verdict == "shifted", shift.verdict == Verdict.INSUFFICIENT_DATA, time


@dataclass(frozen=True)
class Cell:
    """Results of many series of one kind."""

    analysis: str
    count: int
    rho: float
    series: int
    covered: float | None
    """Share of intervals that contain the true value; for change points, the intervals of the times of detected shifts."""
    width: float | None
    """Mean width relative to the interval for known variance and AR(1) coefficient."""
    false_positives: float
    """Share of series without an effect with a significant result."""
    power: float
    """Share of series with an effect with a significant result."""
    insufficient: float
    """Share of all series with insufficient data."""


def cell(analysis: str, count: int, rho: float, series: int) -> Cell:
    random = np.random.default_rng([count, round(rho * 100), ANALYSES.index(analysis)])
    none = [analyzed(analysis, count, rho, 0.0, random) for _ in range(series)]
    some = [analyzed(analysis, count, rho, EFFECT, random) for _ in range(series)]
    if analysis == "changepoints":
        times = [estimate for _, _, estimate in some if estimate is not None]
        covered = float(np.mean([estimate.low == 0 and estimate.high == 1 for estimate in times])) if times else None
        width = None
    else:
        design, contrast, factor = designs(analysis, count)
        estimates = [(each, truth) for part, truth in ((none, 0.0), (some, EFFECT)) for _, _, each in part if each is not None]
        covered = float(np.mean([each.low <= truth <= each.high for each, truth in estimates]))
        width = float(np.mean([each.half_width for each, _ in estimates])) / (factor * known_half_width(design, contrast, rho))
    return Cell(
        analysis, count, rho, series, covered, width, float(np.mean([significant for significant, _, _ in none])),
        float(np.mean([significant for significant, _, _ in some])), float(np.mean([few for _, few, _ in none + some])),
    )  # fmt: skip


@dataclass(frozen=True)
class RateCell:
    """Results for a custom rate: observed shares of random numbers of trials, around a true rate that varies."""

    analysis: str
    count: int
    rho: float
    recorded: bool
    """Whether the number of trials, the denominator, is recorded."""
    series: int
    covered: float
    false_positives: float
    power: float
    insufficient: float


def rate_cell(analysis: str, count: int, rho: float, recorded: bool, series: int) -> RateCell:
    random = np.random.default_rng([count, round(rho * 100), RATE_ANALYSES.index(analysis), recorded])
    none, some = ([_rate_result(analysis, count, rho, recorded, effect, random) for _ in range(series)] for effect in (0.0, RATE_EFFECT))
    estimates = [(each, truth) for part, truth in ((none, 0.0), (some, RATE_EFFECT)) for _, each in part if each is not None]
    significant = [np.mean([p is not None and p <= ALPHA for p, _ in part]) for part in (none, some)]
    covered = np.mean([each.low <= truth <= each.high for each, truth in estimates])
    insufficient = np.mean([each is None for _, each in none + some])
    return RateCell(
        analysis, count, rho, recorded, series, float(covered), float(significant[0]), float(significant[1]), float(insufficient)
    )


def _rate_result(
    analysis: str, count: int, rho: float, recorded: bool, effect: float, random: np.random.Generator
) -> tuple[float | None, Estimate | None]:
    """Return the p-value and the estimate of the change or difference of a custom rate."""
    metrics = [Metric("refusal_rate", kind="rate", better="down", denominator="attempts" if recorded else None)]
    if recorded:
        metrics.append(Metric("attempts", kind="count", better="neither"))
    if analysis == "trend":
        frame = _rates("a", effect * np.arange(count) / (count - 1), rho, recorded, random)
        (result,) = trend(StudyData(frame, metrics=metrics), "refusal_rate").results
        return result.p, result.total_change
    frame = pl.concat([_rates("a", np.full(count, effect), rho, recorded, random), _rates("b", np.zeros(count), rho, recorded, random)])
    difference = compare(StudyData(frame, metrics=metrics), "a", baseline="b", metrics="refusal_rate")["refusal_rate"]
    return difference.p, difference.difference


def _rates(study: str, effects: Array, rho: float, recorded: bool, random: np.random.Generator) -> pl.DataFrame:
    count = len(effects)
    trials = random.integers(20, 41, count)
    rates = random.binomial(trials, np.clip(0.35 + effects + 0.06 * ar1_series(count, rho, random), 0, 1)) / trials
    start = pl.Series([START + timedelta(days=index) for index in range(count)], dtype=pl.Datetime("us", "UTC"))
    rows = pl.DataFrame({"study": study, "period_type": "daily", "period_start": start, "refusal_rate": rates})
    rows = rows.with_columns(period_end=pl.col("period_start") + timedelta(days=1))
    return rows.with_columns(pl.Series("attempts", trials)) if recorded else rows


@dataclass(frozen=True)
class Family:
    """False positives in studies with 16 metrics and a baseline, without any effect."""

    count: int
    rho: float
    series: int
    compared: float
    """Share of comparisons of all 16 metrics with a significant result."""
    page: float
    """Share of reports, with trends and shifts of all metrics and the comparison, with a significant result."""


def family(count: int, rho: float, series: int) -> Family:
    random = np.random.default_rng([count, round(rho * 100)])
    significant = []
    for _ in range(series):
        data = StudyData(pl.concat([_whole("1", count, rho, random), _whole("2", count, rho, random)]))
        report = analyze_study(data, *data.names)
        ps = [each.p for each in report.differences]
        compared = any(p is not None and p <= ALPHA for p in holm(ps))
        results = (*report.trends, *report.changes, *report.differences)
        significant.append((compared, any(each.p_corrected is not None and each.p_corrected <= ALPHA for each in results)))
    return Family(count, rho, series, *np.mean(significant, axis=0).tolist())


def _whole(study_id: str, count: int, rho: float, random: np.random.Generator) -> pl.DataFrame:
    values = {name: ar1_series(count, rho, random) for name in METRICS}
    start = pl.Series([START + timedelta(days=index) for index in range(count)], dtype=pl.Datetime("us", "UTC"))
    rows = pl.DataFrame({"study_id": study_id, "study": study_id, "period_type": "daily", "period_start": start, **values})
    return rows.with_columns(period_end=pl.col("period_start") + timedelta(days=1))


def narrowest(analysis: str, count: int, covering: float, series: int = 20_000) -> float:
    """Return the least mean width of an interval at an AR(1) coefficient of 0 that has a coverage of `covering` at 0.5.

    Among intervals invariant to unit and origin, the one with the least width for its coverage satisfies, for each shape of the residuals,
    f0 v = l f1(x), with f0 and f1 the likelihoods of the shape at 0 and at 0.5, v the width at 0, and f1(x) the density of t at the end.
    The width is relative to the interval for known variance and an AR(1) coefficient known to be 0.
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
        coverage = float((np.abs(fits[0.5][1][0]) <= half(0.5, price)).mean())
        low, high = (price, high) if coverage < covering else (low, price)
    return float(half(0.0, high).mean()) / known_half_width(design, contrast, 0.0)


def _fitted(values: Array, design: Array, contrast: Array, rho: float) -> tuple[Array, Array, Array, Array]:
    """Return, per column, estimate, standard error, standard deviation of the residuals, and restricted log likelihood."""
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


def simulate_rates(series: int, counts: tuple[int, ...] = COUNTS, workers: int = 2) -> list[RateCell]:
    kinds = [
        (analysis, count, rho, recorded, series)
        for analysis in RATE_ANALYSES for count in counts for rho in CORRELATIONS for recorded in (True, False)
    ]  # fmt: skip
    return _mapped(rate_cell, kinds, workers)


def _mapped(simulate_one: Callable[..., T], kinds: list[tuple[Any, ...]], workers: int) -> list[T]:
    if workers == 1:
        return [simulate_one(*kind) for kind in kinds]
    # Forked processes hang in Polars, whose threads do not exist in them.
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        return list(pool.map(simulate_one, *zip(*kinds, strict=True)))


def shown(value: float | None) -> str:
    return "" if value is None else f"{value * 100:.1f}%"


def error(share: float, series: int) -> float:
    """Return the Monte Carlo standard error of a share."""
    return math.sqrt(share * (1 - share) / series)


TITLES = {
    "trend": "`trend`: a change of 3 standard deviations over the span",
    "compare pairs": "`compare`, paired: a difference of 3 standard deviations",
    "compare": "`compare`, unpaired: a difference of 3 standard deviations",
    "before_after": "`before_after`: a step of 3 standard deviations in the middle, with a trend in the model",
    "changepoints": "`changepoints`: the same step at an unknown time, without a trend in the model",
}
HEAD = """# Coverage and power of the analyses

Simulations with known truth. Each row has {series:,} series without an effect and {series:,} with one: normally distributed values with an AR(1)
coefficient of 0 or 0.5 between consecutive checkpoints. The Monte Carlo standard error is {small:.1f} percentage points for a share of 5% and {large:.1f}
for a share of 50%. `python -m tests.simulations --write` writes this page; `make bench` runs the simulations, `make test` a short version.

- *coverage*: share of the 95% confidence intervals that contain the true value (`changepoints`: intervals of the times of detected shifts).
- *relative width*: mean width of the interval, relative to the interval for a known variance and a known AR(1) coefficient.
- *false positives*: share of the series without an effect with a statistically significant result.
- *power*: share of the series with the effect in which it is statistically significant.
- *insufficient data*: share of all series with this verdict.
"""


RATES = """
## Custom rates

Each row has {series:,} series of a custom rate without an effect and {series:,} with one of {effect:.0f} percentage points (`trend`: over the span; `compare`, paired: in
the mean): shares of 20 to 40 trials, around a true rate of 35% that varies with a standard deviation of 6 percentage points and the AR(1) coefficient of the
row. The trials are recorded as the denominator of the rate, or not.

| analysis | checkpoints | AR(1) | denominator | coverage | false positives | power | insufficient data |
|:--|--:|--:|:--|--:|--:|--:|--:|
{rows}
"""
FAMILIES = """
## `compare` and `report`: multiple comparisons

Each row has {series:,} pairs of studies with 16 metrics each and no effect: the share with any statistically significant result. All p-values of a
comparison, and all p-values of a report (trends, shifts and differences), are adjusted together (Holm).

| checkpoints | AR(1) | comparison with a false positive | report with a false positive |
|--:|--:|--:|--:|
{rows}
"""
BOUNDS = """
## Limitations

With 12 checkpoints and no autocorrelation, the intervals of `trend` and `compare` are 1.8 times as wide as those for a known variance and a known AR(1)
coefficient. With 12 values, coefficients of 0 and 0.5 cannot be distinguished, so an interval with the nominal coverage at 0.5 must be wide at 0
too. The narrowest interval with a coverage of 95% at 0.5 has a mean relative width at 0 of {trend:.2f} (`trend`) and {compare:.2f} (`compare`); with a
coverage of 93%, {trend93:.2f} and {compare93:.2f}. Those intervals are optimal for these two coefficients only; the intervals of evalkit also have the
nominal coverage in between, and up to about 0.6.

With an AR(1) coefficient above about 0.7, false positives exceed 5%: at 0.9 and 30 checkpoints, `trend` and `changepoints` are significant in 20% to 25%
of the series (200 simulated). Thirty such values look like a trend, and their autocorrelation cannot be estimated from them.

A rate is measured with sampling noise. If its true value is autocorrelated, the observed shares are an AR(1) process plus noise, which looks less
autocorrelated than it is: above, with 120 checkpoints and a coefficient of 0.5, intervals cover 92% and false positives are 6% to 9%, with and without a
recorded denominator. With 30 checkpoints or fewer, the difference is within the simulation error.
"""


def rates_section(cells: list[RateCell]) -> str:
    """Return the section on custom rates."""
    rows = "\n".join(
        f"| `{each.analysis}` | {each.count} | {each.rho} | {'recorded' if each.recorded else 'not recorded'} | {shown(each.covered)} "
        f"| {shown(each.false_positives)} | {shown(each.power)} | {shown(each.insufficient)} |"
        for each in cells
    )
    return RATES.format(series=cells[0].series, effect=RATE_EFFECT * 100, rows=rows)


def page(cells: list[Cell], families: list[Family], rates: list[RateCell], series: int) -> str:
    """Return the page of the docs."""
    parts = [HEAD.format(series=series, small=error(0.05, series) * 100, large=error(0.5, series) * 100)]
    for analysis in ANALYSES:
        parts.append(
            f"\n## {TITLES[analysis]}\n\n| checkpoints | AR(1) | coverage | relative width | false positives | power | insufficient data |\n|--:|--:|--:|--:|--:|--:|--:|"
        )
        parts += [
            f"| {cell.count} | {cell.rho} | {shown(cell.covered)} | {'' if cell.width is None else f'{cell.width:.2f}'} "
            f"| {shown(cell.false_positives)} | {shown(cell.power)} | {shown(cell.insufficient)} |"
            for cell in cells if cell.analysis == analysis
        ]  # fmt: skip
    rows = "\n".join(f"| {each.count} | {each.rho} | {shown(each.compared)} | {shown(each.page)} |" for each in families)
    least = {
        f"{name}{level}": narrowest(name, 12, covering) for name in ("trend", "compare") for level, covering in (("", 0.95), ("93", 0.93))
    }
    return "\n".join(parts) + "\n" + rates_section(rates) + FAMILIES.format(series=families[0].series, rows=rows) + BOUNDS.format(**least)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=2000, help="number of series of each kind in each row")
    parser.add_argument("--write", action="store_true", help="write docs/statistics/power.md")
    options = parser.parse_args(arguments)
    families = simulate_families(max(10, options.series // 10))
    text = page(simulate(options.series), families, simulate_rates(options.series), options.series)
    print(text)
    if options.write:
        (Path(__file__).parents[1] / "docs" / "statistics" / "power.md").write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
