"""Coverage, false positives and power of the analyses, in a short version of docs/statistics/power.md."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from evalkit.plots._points import wilson
from tests import oracles
from tests.properties import in_long_form
from tests.simulations import ANALYSES, error, simulate, simulate_families, simulate_rates

SERIES = in_long_form(60, 20)
MOST_FALSE_POSITIVES = binom.ppf(0.99865, SERIES, 0.05) / SERIES
"""Three standard errors above 5%, from the binomial distribution."""
TOO_WIDE = {("trend", 12, 0.0): 1.9, ("compare", 12, 0.0): 1.95, ("compare pairs", 12, 0.0): 1.95}
"""With 12 values, no interval covers at an AR(1) coefficient of 0.5 with a relative width of 1.5 at 0: see docs/statistics/power.md."""
POWER = {(30, 0.0): 0.8, (30, 0.5): 0.3, (120, 0.0): 0.95, (120, 0.5): 0.95}


@pytest.mark.slow
@pytest.mark.parametrize("analysis", ANALYSES)
def test_coverage_false_positives_and_power(analysis: str) -> None:
    """Coverage is at least 93%, false positives are at most 5%, and power is sufficient from 30 checkpoints on, within 3 standard errors."""
    cells = simulate(SERIES, (analysis,), in_long_form((12, 30, 120), (12, 30)), workers=1)
    for cell in cells:
        if cell.width is not None:
            assert cell.covered is not None
            assert cell.covered >= 0.93 - 3 * error(0.93, 2 * SERIES), cell
            assert cell.width <= TOO_WIDE.get((analysis, cell.count, cell.rho), 1.5), cell
        assert cell.false_positives <= MOST_FALSE_POSITIVES, cell
        if cell.count > 12:
            required = POWER[cell.count, cell.rho]
            assert cell.power >= required - 3 * error(required, SERIES), cell
            assert cell.insufficient <= 0.1 + 3 * error(0.1, 2 * SERIES), cell
    assert np.mean([cell.false_positives for cell in cells]) <= 0.05 + 3 * error(0.05, SERIES * len(cells))


@pytest.mark.slow
def test_calibration_of_custom_rates() -> None:
    """With and without a recorded denominator, calibration is that of other metrics, within 3 standard errors.

    It is worse with 120 checkpoints and autocorrelation, see the limitations in docs/statistics/power.md.
    """
    series = in_long_form(300, 20)
    cells = simulate_rates(series, in_long_form((12, 30, 120), (30,)), workers=1)
    assert {cell.recorded for cell in cells} == {True, False}
    for cell in cells:
        coverage, positives = (0.915, 0.09) if (cell.count, cell.rho) == (120, 0.5) else (0.93, 0.05)
        assert cell.covered >= coverage - 3 * error(coverage, 2 * series), cell
        assert cell.false_positives <= binom.ppf(0.99865, series, positives) / series, cell
        if cell.count >= 30:
            assert cell.power >= 0.5, cell
    short = [cell for cell in cells if cell.count == 30]
    for recorded in (True, False):
        of_kind = [cell for cell in short if cell.recorded == recorded]
        assert np.mean([cell.false_positives for cell in of_kind]) <= 0.05 + 3 * error(0.05, series * len(of_kind))
        assert np.mean([cell.covered for cell in of_kind]) >= 0.93 - 3 * error(0.93, 2 * series * len(of_kind))


@pytest.mark.long
def test_comparison_and_report_of_all_metrics_have_few_false_positives() -> None:
    """At most 5% of comparisons and reports of 16 metrics have any false positive, within three standard errors."""
    series = 10
    families = simulate_families(series, (12, 30), workers=1)
    for shares in ([each.compared for each in families], [each.page for each in families]):
        assert np.mean(shares) <= 0.05 + 3 * error(0.05, series * len(families))


def test_coverage_of_wilson_intervals() -> None:
    """Mean coverage over rates from 0.02 to 0.98 is 93% to 97%, and the intervals equal those of statsmodels."""
    import polars as pl

    random = np.random.default_rng(0)
    for trials in (5, 12, 30, 120, 400):
        truth = random.uniform(0.02, 0.98, 20_000)
        successes = random.binomial(trials, truth)
        low, high = wilson(pl.col("rate"), pl.col("count"))
        rows = pl.DataFrame({"rate": successes / trials, "count": np.full(20_000, trials), "truth": truth, "k": successes})
        rows = rows.with_columns(low.alias("low"), high.alias("high"))
        share = ((rows["low"] <= rows["truth"]) & (rows["truth"] <= rows["high"])).mean()
        assert 0.93 <= share <= 0.97, (trials, share)  # type: ignore[operator]
        theirs = oracles.wilson(rows["k"].to_numpy(), trials)
        np.testing.assert_allclose(rows["low"], theirs[0], atol=1e-9)
        np.testing.assert_allclose(rows["high"], theirs[1], atol=1e-9)
