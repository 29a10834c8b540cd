"""How often the analyses are right, in a short form: docs/power.md has the long one."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from evalkit.plots.wilson import wilson
from tests.simulations import ANALYSES, Cell, error, simulate, simulate_families

SERIES = 60
TOO_WIDE = {("trend", 12, 0.0): 1.9, ("compare", 12, 0.0): 1.95, ("compare pairs", 12, 0.0): 1.95}
"""Of 12 values an interval cannot both hold at AR(1) 0.5 and be 1.5 times the best one at 0: see docs/power.md."""
POWER = {(30, 0.0): 0.8, (30, 0.5): 0.3, (120, 0.0): 0.95, (120, 0.5): 0.95}


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return simulate(SERIES)


@pytest.mark.slow
def test_intervals_hold_the_truth_and_are_not_much_wider_than_they_must_be(cells: list[Cell]) -> None:
    """Of slopes, differences and effects 93 % or more of the intervals hold the truth, within three standard errors."""
    for one in cells:
        if one.width is None:
            continue
        assert one.covered is not None
        assert one.covered >= 0.93 - 3 * error(0.93, 2 * SERIES), one
        assert one.width <= TOO_WIDE.get((one.analysis, one.count, one.rho), 1.5), one


@pytest.mark.slow
def test_without_an_effect_little_is_claimed(cells: list[Cell]) -> None:
    """Something is claimed of at most 5 % of the series without an effect, of each analysis and of each row, within three standard errors."""
    of_analysis = defaultdict(list)
    for one in cells:
        of_analysis[one.analysis].append(one.false_claims)
        assert one.false_claims <= 0.05 + 3 * error(0.05, SERIES), one
    assert set(of_analysis) == set(ANALYSES)
    for shares in of_analysis.values():
        assert np.mean(shares) <= 0.05 + 3 * error(0.05, SERIES * len(shares))


@pytest.mark.slow
def test_large_effects_are_claimed_and_nothing_hides_behind_insufficient(cells: list[Cell]) -> None:
    """Effects of three standard deviations are told at 30 and 120 checkpoints as often as they must be."""
    for one in cells:
        if one.count > 12:
            required = POWER[one.count, one.rho]
            assert one.claims >= required - 3 * error(required, SERIES), one
            assert one.insufficient <= 0.1 + 3 * error(0.1, 2 * SERIES), one


@pytest.mark.slow
def test_a_comparison_and_a_report_of_all_metrics_claim_little_without_an_effect() -> None:
    """All that a comparison, and a report, claims on 16 metrics together is claimed of at most 5 % of studies, within three standard errors."""
    families = simulate_families(10, (12, 30))
    for shares in ([one.compared for one in families], [one.page for one in families]):
        assert np.mean(shares) <= 0.05 + 3 * error(0.05, 40)


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
        theirs = proportion_confint(rows["k"].to_numpy(), trials, method="wilson")
        np.testing.assert_allclose(rows["low"], theirs[0], atol=1e-9)
        np.testing.assert_allclose(rows["high"], theirs[1], atol=1e-9)
