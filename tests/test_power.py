"""How often the analyses are right, in a short form: docs/power.md has the long one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from evalkit.plots._points import wilson
from tests import oracles
from tests.properties import in_long_form
from tests.simulations import ANALYSES, error, simulate, simulate_families

SERIES = in_long_form(60, 20)
MOST_FALSE_CLAIMS = binom.ppf(0.99865, SERIES, 0.05) / SERIES
"""Three standard errors above 5 %, exactly: so few series are far from a normal distribution."""
TOO_WIDE = {("trend", 12, 0.0): 1.9, ("compare", 12, 0.0): 1.95, ("compare pairs", 12, 0.0): 1.95}
"""Of 12 values an interval cannot both hold at AR(1) 0.5 and be 1.5 times the best one at 0: see docs/power.md."""
POWER = {(30, 0.0): 0.8, (30, 0.5): 0.3, (120, 0.0): 0.95, (120, 0.5): 0.95}


@pytest.mark.slow
@pytest.mark.parametrize("analysis", ANALYSES)
def test_an_analysis_is_right_as_often_as_it_says(analysis: str) -> None:
    """Within three standard errors: 93 % or more of the intervals hold the truth and are not much wider than they must be, at most 5 % of
    the series without an effect have a finding, and from 30 checkpoints on effects of three standard deviations are found.
    """
    cells = simulate(SERIES, (analysis,), in_long_form((12, 30, 120), (12, 30)), workers=1)
    for cell in cells:
        if cell.width is not None:
            assert cell.covered is not None
            assert cell.covered >= 0.93 - 3 * error(0.93, 2 * SERIES), cell
            assert cell.width <= TOO_WIDE.get((analysis, cell.count, cell.rho), 1.5), cell
        assert cell.false_claims <= MOST_FALSE_CLAIMS, cell
        if cell.count > 12:
            required = POWER[cell.count, cell.rho]
            assert cell.claims >= required - 3 * error(required, SERIES), cell
            assert cell.insufficient <= 0.1 + 3 * error(0.1, 2 * SERIES), cell
    assert np.mean([cell.false_claims for cell in cells]) <= 0.05 + 3 * error(0.05, SERIES * len(cells))


@pytest.mark.long
def test_a_comparison_and_a_report_of_all_metrics_claim_little_without_an_effect() -> None:
    """All that a comparison, and a report, claims on 16 metrics together is claimed of at most 5 % of studies, within three standard errors."""
    series = 10
    families = simulate_families(series, (12, 30), workers=1)
    for shares in ([one.compared for one in families], [one.page for one in families]):
        assert np.mean(shares) <= 0.05 + 3 * error(0.05, series * len(families))


def test_wilson_intervals_cover_on_average() -> None:
    """Averaged over rates uniform in 0.02 to 0.98 and 1 to 400 trials, 93 to 97 % of the Wilson intervals hold the rate; they are statsmodels'."""
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
