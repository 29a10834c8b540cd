"""Trends, comparisons, effects and change points: against scipy and statsmodels, on known truth, and on unusual frames."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from datetime import datetime, timedelta
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot

import evalkit
from evalkit import InvalidInputError, StudyData, StudyNotFoundError, analysis, plots
from evalkit.analysis._before_after import FEWEST_A_SIDE
from evalkit.analysis._pairs import matched
from evalkit.analysis._resample import RESAMPLED
from evalkit.analysis._results import holm
from evalkit.analysis._series import Caveat, CaveatKind
from evalkit.analysis._stats import ar1
from evalkit.analysis._stats.shift import find_shift
from evalkit.analysis._stats.trials import sampling_variances, trials_of
from evalkit.analysis._wording import caveat
from evalkit.analysis._wording.phrases import p_values
from evalkit.domain.catalog import METRICS
from evalkit.errors import AmbiguousStudyError
from evalkit.frames.columns import CHECKPOINTS
from evalkit.frames.pandas_output import to_pandas
from evalkit.plots._rendering import svg
from evalkit.samples import sample_checkpoints
from tests import oracles
from tests.analysis_frames import odd_frames
from tests.chart_frames import DAY, START, checkpoints, lifecycle, long, study_id
from tests.messages import says
from tests.properties import examples, in_long_form
from tests.report_studies import noise as quiet

RATE = "session_success_rate"


def trend(rows: Any, metric: str) -> analysis.Trend:
    return analysis.trend(rows, metric).only()


def changepoints(rows: Any, metric: str) -> analysis.ChangePoints:
    return analysis.changepoints(rows, metric).only()


def before_after(rows: Any, metric: str, *, at: datetime) -> analysis.BeforeAfter:
    return analysis.before_after(rows, metric, at=at).only()


def frame(
    values: Any,
    metric: str = "agent_efficiency",
    *,
    name: str = "agent",
    number: int = 1,
    start: datetime = START,
    left_out: tuple[int, ...] = (),
) -> pl.DataFrame:
    """Return daily checkpoints with values of one metric."""
    there = [(index, value) for index, value in enumerate(values) if index not in left_out]
    kind = METRICS[metric].kind
    dtype: Any = pl.Duration("us") if kind == "duration" else pl.Int64() if kind == "count" else pl.Float64()
    return pl.DataFrame(
        {
            "study_id": study_id(number), "study": name, "period_type": "daily",
            "period_start": [start + index * DAY for index, _ in there], "period_end": [start + (index + 1) * DAY for index, _ in there],
            metric: pl.Series([value for _, value in there], dtype=dtype, strict=False),
        },
        schema_overrides={"period_start": pl.Datetime("us", "UTC"), "period_end": pl.Datetime("us", "UTC")},
    )  # fmt: skip


def noise(count: int, seed: int, rho: float = 0.0) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(seed)
    values = random.standard_normal(count)
    for place in range(1, count):
        values[place] = rho * values[place - 1] + math.sqrt(1 - rho * rho) * values[place]
    return values


# The regression


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_fits_match_statsmodels(seed: int) -> None:
    """Coefficients, covariances and variances equal those of statsmodels to 1e-9, at irregular times."""
    random = np.random.default_rng(seed)
    times = np.sort(random.uniform(0, 60, 25))
    values, design = random.normal(5, 2, 25) + 0.1 * times, np.column_stack([np.ones(25), times - 30, times > 40])
    fitted = ar1.fit(times, values, design)
    places = np.concatenate([[0.0], np.cumsum(ar1.steps(times))])
    for index in (0, 1, 35, 70, 99):
        rho = ar1.CORRELATIONS[index]
        sigma = rho ** np.abs(np.subtract.outer(places, places)) if rho else np.eye(25)
        theirs = oracles.generalized_least_squares(values, design, sigma=sigma)
        np.testing.assert_allclose(fitted.coefficients[index], theirs.params, rtol=1e-9)
        np.testing.assert_allclose(fitted.covariances[index], theirs.normalized_cov_params, rtol=1e-9)
        assert math.isclose(fitted.variances[index] * 21, theirs.scale * 22, rel_tol=1e-9)
    assert math.isclose(fitted.weights.sum(), 1.0)


def test_weights_are_restricted_likelihood_times_prior() -> None:
    """Weights equal those computed with dense matrices."""
    values = noise(12, 3, 0.5)
    design = np.column_stack([np.ones(12), np.arange(12.0)])
    fitted = ar1.fit(np.arange(12.0), values, design)
    logs = []
    for rho in ar1.CORRELATIONS:
        sigma = rho ** np.abs(np.subtract.outer(np.arange(12), np.arange(12))) if rho else np.eye(12)
        inverse = np.linalg.inv(sigma)
        inside = design.T @ inverse @ design
        residuals = values - design @ np.linalg.solve(inside, design.T @ inverse @ values)
        logs.append(-0.5 * np.linalg.slogdet(sigma)[1] - 0.5 * np.linalg.slogdet(inside)[1] - 5 * math.log(residuals @ inverse @ residuals))
    weights = np.exp(np.array(logs) - max(logs)) * ar1.PRIOR
    np.testing.assert_allclose(fitted.weights, weights / weights.sum(), rtol=1e-7)
    assert ar1.PRIOR[0] == 0.5
    assert math.isclose(ar1.PRIOR.sum(), 1.0)


def test_mixtures_match_student_and_welch() -> None:
    """With a single AR(1) coefficient, intervals equal those of the t-test and of Welch's test in scipy to 1e-9."""
    a, b = noise(9, 1), noise(14, 2) * 3 + 1
    parts = [
        ar1.Mixture(np.ones(1), np.array([v.mean()]), np.array([v.std(ddof=1) / math.sqrt(len(v))]), np.array([len(v) - 1.0]))
        for v in (a, b)
    ]
    one = parts[0].estimate()
    low, high = scipy.stats.t.interval(0.95, 8, a.mean(), scipy.stats.sem(a))
    assert (one.low, one.high, one.p) == pytest.approx((low, high, scipy.stats.ttest_1samp(a, 0).pvalue), rel=1e-9)
    both = parts[0].minus(parts[1]).estimate()
    theirs = scipy.stats.ttest_ind(a, b, equal_var=False)
    low, high = theirs.confidence_interval()
    assert (both.low, both.high, both.p) == pytest.approx((low, high, theirs.pvalue), rel=1e-9)


def test_interval_ends_are_quantiles_of_the_mixture() -> None:
    """The distribution function of the mixture, from scipy, is 0.025 and 0.975 at the ends."""
    fitted = ar1.fit(np.arange(20.0), noise(20, 5, 0.6), np.ones((20, 1)))
    result = fitted.mixture([1.0])
    estimate = result.estimate()
    for end, level in ((estimate.low, 0.025), (estimate.high, 0.975)):
        assert (result.weights * scipy.stats.t.cdf((end - result.centers) / result.scales, 18)).sum() == pytest.approx(level, abs=1e-9)


@pytest.mark.slow
@settings(max_examples=examples(60))  # statsmodels collects garbage each time
@given(st.lists(st.none() | st.floats(0, 1) | st.sampled_from([0.0, 0.01, 0.05, 1.0]), max_size=40))
def test_holm_matches_statsmodels(ps: list[float | None]) -> None:
    """Adjusted p-values equal those of statsmodels; None stays None and is not counted."""
    tested = [p for p in ps if p is not None]
    expected = iter(oracles.holm(tested))
    assert holm(ps) == pytest.approx([None if p is None else next(expected) for p in ps], abs=1e-15)


# Trend


def test_theil_sen_matches_scipy() -> None:
    values = noise(30, 7) / 10 + 0.5
    result = trend(frame(values, left_out=(4, 5, 20)), "agent_efficiency")
    days = np.array([index for index in range(30) if index not in (4, 5, 20)], dtype=float)
    assert result.theil_sen == pytest.approx(scipy.stats.theilslopes(values[days.astype(int)], days)[0], rel=1e-9)


def test_trend_over_gaps_uses_elapsed_time() -> None:
    """A straight line with a third of its checkpoints missing has exactly its slope per day."""
    result = trend(frame([0.1 + 0.02 * day for day in range(30)], left_out=tuple(range(8, 18))), "agent_efficiency")
    assert (result.slope.value, result.slope.low, result.slope.high) == pytest.approx((0.02, 0.02, 0.02))
    assert (result.verdict, result.checkpoints, result.span_days) == ("improving", 20, 29.0)


def test_missing_values_are_excluded_with_a_caveat() -> None:
    values = list(noise(20, 9) / 10 + 0.5)
    with_holes = trend(frame([None if index in (3, 11) else value for index, value in enumerate(values)]), "agent_efficiency")
    without = trend(frame(values, left_out=(3, 11)), "agent_efficiency")
    assert (with_holes.slope, with_holes.missing, without.missing) == (without.slope, 2, 0)
    assert "2 of 20 checkpoints have no value and were excluded" in repr(with_holes)


@pytest.mark.parametrize(
    ("metric", "up", "down"),
    [("agent_efficiency", "improving", "declining"), ("avg_iterations_to_success", "declining", "improving"), ("total_tokens", "rising", "falling"),
     ("avg_session_duration", "declining", "improving"), ("total_cost", "rising", "falling")],
)  # fmt: skip
def test_verdicts_follow_the_better_direction_of_the_metric(metric: str, up: str, down: str) -> None:
    kind = METRICS[metric].kind
    steps = [10 + index + (index % 3) for index in range(20)]
    values = [timedelta(seconds=step) if kind == "duration" else step if kind == "count" else step / 40 for step in steps]
    assert trend(frame(values, metric), metric).verdict == up
    assert trend(frame(values[::-1], metric), metric).verdict == down


@pytest.mark.slow
def test_insufficient_data_reports_checkpoints_needed() -> None:
    """Below 8 values, and when the interval is too wide to detect 3 standard deviations."""
    few = trend(frame([0.1, 0.5, 0.3, 0.9, 0.2]), "agent_efficiency")
    assert (few.verdict, few.more_needed, few.slope) == ("insufficient data", 3, None)
    assert repr(few) == "agent, agent efficiency: insufficient data (5 checkpoints; at least 8 are needed)."
    result = [trend(frame(noise(8, seed, 0.9) / 10), "agent_efficiency") for seed in range(in_long_form(40, 10))]
    wide = [each for each in result if each.verdict == "insufficient data"]
    assert wide
    assert all(
        each.total_change.half_width > 3 * each.spread
        and each.more_needed >= 1
        and f"With about {each.more_needed} more checkpoint" in repr(each)
        for each in wide
    )


@pytest.mark.slow
def test_no_significant_trend_needs_twelve_values() -> None:
    """Duplicate timestamps count once; constant series need 8."""
    for count in (8, 9, 10, 11):
        result = [trend(frame(noise(count, seed) / 10), "agent_efficiency") for seed in range(in_long_form(8, 3))]
        unclaimed = [each for each in result if each.p > 0.05]
        assert unclaimed
        assert all(each.verdict == "insufficient data" and each.more_needed >= 12 - count for each in unclaimed)
        assert all(f"With about {each.more_needed} more checkpoint" in repr(each) for each in unclaimed)
    twelve = frame(noise(12, 1) / 10)
    assert trend(twelve, "agent_efficiency").verdict == "no significant trend"
    twice = pl.concat([twelve.head(10)] * 2)
    assert trend(twice, "agent_efficiency").more_needed >= 2
    assert trend(frame([0.5] * 8), "agent_efficiency").verdict == "no significant trend"
    assert trend(frame(np.arange(8) / 10 + noise(8, 1) / 1000), "agent_efficiency").verdict == "improving"


@pytest.mark.slow
def test_constant_series_are_not_tested() -> None:
    """Constant metrics have no p-value and are not counted in the adjustment of others."""
    same = frame([1.0] * 20)
    result = trend(same, "agent_efficiency")
    assert (result.verdict, result.slope.value, result.p) == ("no significant trend", 0.0, None)
    shifts = changepoints(same, "agent_efficiency")
    assert (shifts.verdict, shifts.p) == ("no significant shift", None)
    effect = before_after(same, "agent_efficiency", at=START + 10 * DAY)
    assert (effect.verdict, effect.effect.value, effect.p) == ("no significant effect", 0.0, None)
    assert all("not tested: all values are equal" in repr(each) for each in (result, shifts, effect))
    other = pl.concat([same, frame([1.0] * 20, name="other", number=2)])
    difference = analysis.compare(other, "agent", baseline="other")["agent_efficiency"]
    assert (difference.verdict, difference.p) == ("no significant difference", None)
    assert "Residual variance is zero" in repr(difference)
    rows = two(20, apart=10).with_columns(tasks_completed=pl.lit(20))
    result = analysis.compare(rows, "agent", baseline="base", metrics=["agent_efficiency", "tasks_completed"])
    assert result["agent_efficiency"].p_corrected == result["agent_efficiency"].p


@pytest.mark.parametrize("values", [[0.1 * n / n for n in range(100, 160)], [1e-300 * value for value in noise(60, 1)]])
def test_rounding_errors_are_not_significant(values: list[float]) -> None:
    """Equal values computed differently, and values whose squares underflow, count as constant."""
    rows = frame(values, "cost_per_successful_task")
    assert (trend(rows, "cost_per_successful_task").verdict, trend(rows, "cost_per_successful_task").p) == (
        "no significant trend",
        None,
    )
    assert changepoints(rows, "cost_per_successful_task").p is None
    later = pl.concat([rows, frame(values, "cost_per_successful_task", name="base", number=2, start=START + 90 * DAY)])
    result = analysis.compare(later, "agent", baseline="base")["cost_per_successful_task"]
    assert (result.difference.value, result.p) == (0.0, None)


@given(
    seed=st.integers(0, 10**6),
    factor=st.sampled_from([1e-6, 0.5, 3.0, 1e9]),
    shift=st.sampled_from([0.0, -7.0, 1e4]),
    days=st.integers(-2000, 2000),
)
@settings(max_examples=examples(25))
def test_results_are_invariant_to_units_and_dates(seed: int, factor: float, shift: float, days: int) -> None:
    """Slope and interval scale with the unit; p-values do not change."""
    values = noise(15, seed, 0.4) + np.arange(15) / 8
    metric = "avg_iterations_to_success"
    one = trend(frame(values, metric), metric)
    other = trend(frame(values * factor + shift * factor, metric, start=START + days * DAY), metric)
    assert (other.slope.value, other.slope.low, other.slope.high) == pytest.approx(
        (one.slope.value * factor, one.slope.low * factor, one.slope.high * factor), rel=1e-5, abs=1e-7 * factor
    )
    assert other.p == pytest.approx(one.p, rel=1e-4, abs=1e-8)
    backwards = trend(frame(values[::-1], metric), metric)
    assert (backwards.slope.value, backwards.p) == pytest.approx((-one.slope.value, one.p), rel=1e-7, abs=1e-10)


def test_results_of_several_studies_are_adjusted_and_selected_by_name() -> None:
    several = pl.concat([frame(noise(20, seed) / 9 + 0.03 * seed * np.arange(20), name=f"s{seed}", number=seed) for seed in range(1, 6)])
    result = analysis.trend(several, "agent_efficiency")
    alone = [trend(several.filter(study=f"s{seed}"), "agent_efficiency").p for seed in range(1, 6)]
    assert [result[f"s{seed}"].p for seed in range(1, 6)] == alone
    assert result.frame["p_corrected"].to_list() == pytest.approx(oracles.holm(alone))
    assert result[study_id(2)] is result["s2"]
    assert list(result) == ["s1", "s2", "s3", "s4", "s5"]
    with pytest.raises(InvalidInputError) as error:
        result.only()
    assert says(error) == snapshot("There are results for 5 studies: 's1', 's2', 's3', 's4', 's5'. Select one with result['s1'].")
    with pytest.raises(AttributeError):
        result.verdict  # noqa: B018
    with pytest.raises(StudyNotFoundError):
        result["s9"]
    assert result.get("s9") is None
    assert ("s9" in result, "s2" in result) == (False, True)
    assert result.sentences()[0] == "Agent efficiency: improving in all 5 studies."


def test_trend_significant_only_before_adjustment_is_insufficient() -> None:
    alone = trend(frame(noise(20, 6) / 10 + 0.02 * np.arange(20)), "agent_efficiency")
    assert alone.verdict == "improving"
    hidden = alone._adjusted(min(1.0, alone.p * 40))
    assert (hidden.verdict, hidden.p) == ("insufficient data", alone.p)
    assert f"but not after, adjustment for multiple comparisons (Holm); about {hidden.more_needed} more checkpoints needed" in repr(hidden)
    assert alone._adjusted(min(1.0, alone.p * 400)).more_needed > hidden.more_needed > 0


def test_fitted_lines_end_at_the_change() -> None:
    """The lines before and after the change differ there by the effect."""
    at = START + 20 * DAY
    result = before_after(frame(noise(40, 4) / 100 + 0.3 * (np.arange(40) >= 20)), "agent_efficiency", at=at)
    before, after = result.fitted_line().filter(part=0), result.fitted_line().filter(part=1)
    assert (before["at"][-1], after["at"][0]) == (at, at)
    assert after["value"][0] - before["value"][-1] == pytest.approx(result.effect.value)
    assert "Dashed: straight lines" in " ".join(result.plot().to_dict()["title"]["subtitle"])


def test_outliers_are_a_caveat() -> None:
    values = noise(30, 1) / 100 + 0.5
    values[20] = 50.0
    assert "1 outlier widens the confidence interval." in repr(trend(frame(values, "total_cost"), "total_cost"))


@pytest.mark.slow
def test_texts_have_singular_forms() -> None:
    """Without study columns, a text begins with the metric."""
    alone = frame([0.5])
    assert "(1 checkpoint; at least 8 are needed)" in repr(trend(alone, "agent_efficiency"))
    assert "(1 checkpoint; at least 12 are needed)" in repr(changepoints(alone, "agent_efficiency"))
    missing = frame([None, *noise(19, 1)]).drop("study_id", "study")
    for result in (
        trend(missing, "agent_efficiency"),
        changepoints(missing, "agent_efficiency"),
        before_after(missing, "agent_efficiency", at=START + 9 * DAY),
    ):
        assert "1 of 20 checkpoints has no value and was excluded (not counted as zero)." in repr(result)
        assert repr(result).startswith("Agent efficiency")


@pytest.mark.parametrize(
    ("days", "words"), [(70.0, "70 days"), (2.0, "2 days"), (1.5, "1.5 days"), (23 / 24, "23 hours"), (0.02, "28.8 minutes")]
)
def test_spans_have_suitable_units(days: float, words: str) -> None:
    close = frame(noise(20, 1)).with_columns(period_start=START + (pl.col("period_start") - START) * (days / 19))
    close = close.with_columns(period_end=pl.col("period_start") + timedelta(seconds=1))
    assert f"20 checkpoints over {words})" in repr(trend(close, "agent_efficiency"))


@pytest.mark.slow
def test_long_series_are_averaged_by_week() -> None:
    result = trend(long(100_000), RATE)
    assert result.values < 1000 < result.checkpoints
    assert "weekly means before the analysis" in repr(result)


def hourly(values: Any, name: str = "agent", number: int = 1) -> pl.DataFrame:
    """Return hourly checkpoints with values of one metric."""
    hour = timedelta(hours=1)
    starts = [START + index * hour for index in range(len(values))]
    return frame(values, name=name, number=number).with_columns(
        period_type=pl.lit("hourly"), period_start=pl.Series(starts), period_end=pl.Series([start + hour for start in starts])
    )


def test_spread_of_a_long_series_is_of_its_means() -> None:
    one, other = (noise(2400, seed) / 10 + 0.5 for seed in (1, 2))
    days = (one - other).reshape(100, 24).mean(axis=1)
    result = analysis.compare(pl.concat([hourly(one), hourly(other, "base", 2)]), "agent", baseline="base")["agent_efficiency"]
    assert result.pairs == 2400
    assert result.spread == pytest.approx(days.std(ddof=1), rel=0.05)
    assert "standard deviations of the differences of paired daily means" in repr(result)
    assert repr(result).count("2,400 values were averaged to 100 daily means before the analysis.") == 1
    assert trend(hourly(one), "agent_efficiency").averaged_over == "day"
    assert trend(frame(one[:50]), "agent_efficiency").averaged_over == ""


@pytest.mark.slow
def test_change_within_an_averaged_day_splits_its_hours() -> None:
    """Counts are of checkpoints; only the hour of the change is excluded, and no mean spans the change."""
    rows = hourly(np.where(np.arange(2400) < 1210, 0.2, 0.8))
    result = before_after(rows, "agent_efficiency", at=START + timedelta(hours=1210, minutes=30))
    assert (result.before, result.after, result.values_before, result.values_after) == (1210, 1189, 51, 50)
    assert "2,399 values were averaged to 101 daily means before the analysis." in repr(result)
    assert "1,210 checkpoints before and 1,189 after" in repr(result)
    between = before_after(rows, "agent_efficiency", at=START + timedelta(hours=1210))
    assert (between.before, between.after) == (1210, 1190)
    assert "excluded" not in repr(between)
    assert between.effect.value == pytest.approx(0.6)


def test_checkpoints_at_the_change_are_excluded() -> None:
    """A checkpoint of zero length at the change is on neither side."""
    rows = frame(noise(20, 1))
    at = START + 10 * DAY
    point = rows[:1].with_columns(period_start=pl.lit(at), period_end=pl.lit(at))
    result = before_after(pl.concat([rows, point]), "agent_efficiency", at=at)
    assert (result.before, result.after) == (10, 10)
    assert "1 checkpoint whose period includes the time of the change was excluded." in repr(result)
    both = before_after(pl.concat([rows, point, point]), "agent_efficiency", at=at)
    assert "2 checkpoints whose period includes the time of the change were excluded." in repr(both)
    again = pl.concat([rows[:4], rows[:4], rows[10:]])
    few = before_after(again, "agent_efficiency", at=at)
    assert (few.before, few.values_before, few.values_after, few.verdict) == (8, 4, 10, "insufficient data")
    assert "(8 checkpoints before and 10 after, with 4 and 10 distinct timestamps; at least 5 on each side are needed)" in repr(few)


# Comparison


def two(count: int = 20, difference: float = 0.0, *, apart: int = 0, metric: str = "agent_efficiency") -> pl.DataFrame:
    return pl.concat(
        [
            frame(noise(count, 1) / 10 + 0.5 + difference, metric),
            frame(noise(count, 2) / 10 + 0.5, metric, name="base", number=2, start=START + apart * DAY),
        ]
    )


def test_comparison_of_equal_periods_is_paired() -> None:
    """Variation that both studies share cancels out in pairs, but not without."""
    weather = noise(20, 3, 0.7)
    both = pl.concat([frame(weather + 0.2 + noise(20, 1) / 20), frame(weather + noise(20, 2) / 20, name="base", number=2)])
    result = analysis.compare(both, "agent", baseline="base")["agent_efficiency"]
    assert (result.verdict, result.pairs) == ("better", 20)
    assert result.study_mean - result.baseline_mean == pytest.approx(result.difference.value, abs=0.05)
    later = pl.concat(
        [both.filter(study="agent"), both.filter(study="base").with_columns(pl.col("period_start", "period_end") + timedelta(hours=12))]
    )
    unpaired = analysis.compare(later, "agent", baseline="base")["agent_efficiency"]
    assert (unpaired.verdict, unpaired.pairs) == ("no significant difference", None)
    assert "unpaired" in repr(unpaired)


def test_comparison_is_antisymmetric() -> None:
    for apart in (0, 40):
        rows = two(difference=0.1, apart=apart)
        one = analysis.compare(rows, "agent", baseline="base")["agent_efficiency"].difference
        other = analysis.compare(rows, "base", baseline="agent")["agent_efficiency"].difference
        assert (one.value, one.low, one.high, one.p) == pytest.approx((-other.value, -other.high, -other.low, other.p), rel=1e-3, abs=1e-9)


@pytest.mark.slow
def test_comparison_adjusts_for_its_metrics() -> None:
    """Metrics without values in both studies are not compared."""
    rows = pl.concat([checkpoints("agent", 1, 20, seed=1), checkpoints("base", 2, 20, seed=2)])
    result = analysis.compare(rows, "agent", baseline="base")
    assert len(result.differences) == 16
    assert result.frame["p_corrected"].to_list() == pytest.approx(oracles.holm(result.frame["p"].to_list()))
    fewer = analysis.compare(rows, "agent", baseline=study_id(2), metrics=[RATE, "total_cost"])
    assert [each.metric.name for each in fewer.differences] == [RATE, "total_cost"]
    assert analysis.compare(rows.with_columns(total_cost=pl.lit(None, dtype=pl.Float64)), "agent", baseline="base").frame.height == 15


def test_baseline_must_be_another_known_study() -> None:
    rows = pl.concat([two(), frame([0.5] * 9, name="base", number=3)])
    with pytest.raises(TypeError, match="baseline"):
        analysis.compare(rows, "agent")  # type: ignore[call-arg]
    with pytest.raises(InvalidInputError) as same:
        analysis.compare(rows, "agent", baseline=study_id(1))
    assert says(same) == snapshot("Invalid baseline 'ID': it is the study itself. Choose another study.")
    with pytest.raises(StudyNotFoundError, match=r"'agnet'.* Did you mean 'agent'\?"):
        analysis.compare(rows, "agent", baseline="agnet")
    with pytest.raises(AmbiguousStudyError):
        analysis.compare(rows, "agent", baseline="base")
    for wrong, metrics in ((None, None), (study_id(2), ["success"])):
        with pytest.raises(InvalidInputError) as invalid:
            analysis.compare(rows, "agent", baseline=wrong, metrics=metrics)  # type: ignore[arg-type]
        assert invalid.value.field == ("baseline" if wrong is None else "metrics")


@pytest.mark.parametrize("metrics", [3, [3], [["total_cost"]], 0.5])
def test_invalid_metric_names_are_refused(metrics: Any) -> None:
    with pytest.raises(InvalidInputError) as error:
        analysis.compare(two(), "agent", baseline="base", metrics=metrics)
    assert error.value.field == "metrics"
    with pytest.raises(InvalidInputError) as error:
        trend(two(), ["agent_efficiency"])  # type: ignore[arg-type]
    assert error.value.field == "metric"


@pytest.mark.parametrize(
    ("wrong", "part"),
    [(two().lazy(), "LazyFrame"), ((two(), two()), "tuple"), ((two(),), "tuple"), (3, "int"), (object(), "object")],
)
def test_invalid_data_is_refused_with_its_type(wrong: Any, part: str) -> None:
    for analyze in (
        lambda: analysis.trend(wrong, RATE),
        lambda: analysis.compare(wrong, "agent", baseline="base"),
        lambda: analysis.summary(wrong),
        lambda: analysis.resample(wrong, "weekly"),
        lambda: analysis.audit(wrong),
    ):
        with pytest.raises(InvalidInputError, match=part) as error:
            analyze()
        assert error.value.field == "data"


def test_kit_as_data_is_refused(tmp_path: Path) -> None:
    with (
        evalkit.connect(tmp_path) as kit,
        pytest.raises(InvalidInputError, match=r"EvalKit.* kit.data\(\)"),
    ):
        analysis.trend(kit, RATE)


@pytest.mark.slow
def test_comparison_with_insufficient_data_has_the_reason() -> None:
    """Fewer than 8 checkpoints each, or totals of periods of different lengths."""
    rows = two(7, apart=30)
    few = analysis.compare(rows, "agent", baseline="base")["agent_efficiency"]
    assert (few.verdict, few.difference, few.more_needed(0.1)) == ("insufficient data", None, None)
    means = dict(rows.group_by("study").agg(pl.col("agent_efficiency").mean()).iter_rows())
    assert (few.study_mean, few.baseline_mean) == pytest.approx((means["agent"], means["base"]), rel=1e-12)
    weeks = checkpoints("base", 2, 20, period="weekly")
    result = analysis.compare(pl.concat([checkpoints("agent", 1, 20), weeks]), "agent", baseline="base")
    assert (result["total_cost"].verdict, result["total_cost"].study_mean) == ("insufficient data", None)
    assert "resample first" in repr(result["total_cost"])
    assert "Insufficient data for sessions completed, tasks completed, learnings applied, total tokens, total cost: " in repr(result)
    assert result[RATE].difference is not None


def test_more_needed_depends_on_the_difference() -> None:
    result = analysis.compare(two(), "agent", baseline="base")["agent_efficiency"]
    assert result.more_needed(0.01) > result.more_needed(0.03) > result.more_needed(1.0) == 0
    for wrong in (0, math.nan, "0.1", True):
        with pytest.raises(InvalidInputError) as error:
            result.more_needed(wrong)
        assert error.value.field == "difference"


# Before and after


def test_effect_allows_for_an_existing_trend() -> None:
    line = 0.01 * np.arange(40) + noise(40, 4) / 100
    at = START + 20 * DAY
    result = before_after(frame(line + 0.3 * (np.arange(40) >= 20)), "agent_efficiency", at=at)
    assert result.verdict == "better"
    assert result.effect.low < 0.3 < result.effect.high
    assert result.slope_change.low < 0 < result.slope_change.high
    nothing = before_after(frame(line), "agent_efficiency", at=at)
    assert nothing.verdict == "no significant effect"
    assert nothing.effect.low < 0 < nothing.effect.high


def test_placebo_times_use_one_side_of_the_change() -> None:
    at = START + 20 * DAY
    result = before_after(frame(noise(40, 4) / 100 + 0.3 * (np.arange(40) >= 20)), "agent_efficiency", at=at)
    moments = result.placebos["at"]
    edge = FEWEST_A_SIDE * DAY
    before, after = moments.filter(moments < at), moments.filter(moments > at)
    assert len(before) == len(after) == 11
    assert before.min() >= START + edge  # type: ignore[operator]
    assert before.max() <= at - edge  # type: ignore[operator]
    assert result.placebos_as_clear == 0
    assert "Placebo test at 22 other times without a known change: 0 statistically significant steps" in repr(result)


def test_placebo_steps_are_compared_relative_to_their_intervals() -> None:
    values, at = noise(24, 8) / 10 + 0.15 * (np.arange(24) >= 12), START + 12 * DAY
    result = before_after(frame(values, "total_cost"), "total_cost", at=at)
    clear = abs(result.effect.value) / result.effect.half_width
    steps, halves = result.placebos["effect"].abs(), (result.placebos["high"] - result.placebos["low"]) / 2
    assert result.placebos_as_clear == (steps / halves >= clear).sum() < (steps >= abs(result.effect.value)).sum()
    assert result.frame["placebos_as_clear"].to_list() == [result.placebos_as_clear]
    assert f"; {result.placebos_as_clear} step at least as large as this one relative to the width of their confidence intervals." in repr(
        result
    )
    same = before_after(frame([1.0] * 24), "agent_efficiency", at=at)
    assert f"Placebo test at {same.placebos.height} other times without a known change: 0 statistically significant steps." in repr(same)
    assert "as large" not in repr(same)
    few = before_after(frame(values[:14], "total_cost"), "total_cost", at=at)
    for each in (same, few):
        assert (each.placebos_as_clear, each.frame["placebos_as_clear"].to_list()) == (None, [None])


def test_change_in_slope_is_not_tested() -> None:
    result = before_after(frame(noise(40, 4) / 100), "agent_efficiency", at=START + 20 * DAY)
    assert re.search(r"Change in slope: \S+ pp/day, 95% CI .*; not tested\.", repr(result))


def test_before_after_needs_five_values_on_each_side() -> None:
    rows = frame(noise(20, 1))
    assert before_after(rows, "agent_efficiency", at=START + 4 * DAY).verdict == "insufficient data"
    assert before_after(rows, "agent_efficiency", at=START + 90 * DAY).effect is None
    inside = before_after(rows, "agent_efficiency", at=START + timedelta(days=10, hours=5))
    assert (inside.before, inside.after) == (10, 9)
    assert "excluded" in repr(inside)
    with pytest.raises(InvalidInputError) as error:
        before_after(rows, "agent_efficiency", at=datetime(2026, 1, 10))
    assert error.value.field == "at"


# Change points


def test_changepoints_finds_two_steps() -> None:
    steps = 0.2 * (np.arange(90) >= 30) - 0.3 * (np.arange(90) >= 60)
    result = changepoints(frame(0.5 + steps + noise(90, 6) / 30), "agent_efficiency")
    assert [each.at for each in result.changes] == [START + 30 * DAY, START + 60 * DAY]
    assert all(each.low <= each.at <= each.high for each in result.changes)
    assert [each.after - each.before for each in result.changes] == pytest.approx([0.2, -0.3], abs=0.03)
    assert result.frame["changes"].to_list() == [2, 2]
    assert all("; p < 0.001." in sentence for sentence in result.sentences()[1:3])


@pytest.mark.parametrize("library", ["polars", "pandas"])
def test_changepoints_frame_has_a_row_per_shift(library: str) -> None:
    """A study without shifts has one row with nulls."""
    steps = 0.2 * (np.arange(90) >= 30) - 0.3 * (np.arange(90) >= 60)
    both = pl.concat([frame(0.5 + steps + noise(90, 6) / 30), frame(noise(30, 1) / 10, name="quiet", number=2)]).drop("period_type")
    columns = {name: CHECKPOINTS[name] for name in both.columns}
    result = analysis.changepoints(both if library == "polars" else to_pandas(both, columns), "agent_efficiency")

    def column(name: str) -> list[Any]:
        """Return the values of a column, with None for missing."""
        return [None if pd.isna(value) else value for value in result.frame[name].to_list()]

    shifts = result["agent"].changes
    assert column("study") == ["agent", "agent", "quiet"]
    assert column("changes") == [2, 2, 0]
    assert column("shift") == [1, 2, None]
    assert column("at") == [shift.at for shift in shifts] + [None]
    assert column("p_shift") == [shift.p for shift in shifts] + [None]
    assert column("after") == [shift.after for shift in shifts] + [None]
    assert column("p_corrected") == [result["agent"].p_corrected] * 2 + [result["quiet"].p_corrected]


def test_shift_text_has_the_adjusted_p_value_of_any_shift() -> None:
    step = frame(0.5 + 0.1 * (np.arange(40) >= 20) + noise(40, 8) / 30, name="a")
    one = changepoints(step, "agent_efficiency")
    assert one.changes
    assert "overall test" not in repr(one)
    several = pl.concat([step, *(frame(noise(20, seed) / 10, name=f"s{seed}", number=seed) for seed in (2, 3))])
    result = analysis.changepoints(several, "agent_efficiency")["a"]
    assert result.p_corrected == pytest.approx(3 * one.p)
    assert f"; overall test: {p_values(result.p, result.p_corrected)}" in repr(result)


def test_interval_of_a_small_shift_is_wide() -> None:
    widths = []
    for size in (1.5, 6.0):
        shift = find_shift(np.arange(60.0), noise(60, 11) + size * (np.arange(60) >= 25))
        assert shift.low <= 25 <= shift.high
        widths.append(shift.high - shift.low)
    assert widths[0] > widths[1]
    assert widths[1] <= 2


def test_likelihood_of_shift_positions_matches_dense_matrices() -> None:
    from evalkit.analysis._stats.shift import _places

    times = np.array([0, 1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14.0])
    values = noise(13, 2, 0.5) + 2 * (np.arange(13) >= 6)
    gaps = np.concatenate([[0.0], np.cumsum(ar1.steps(times))])
    logs = np.full((20, 13), -np.inf)
    for row, (rho, prior) in enumerate(zip(ar1.CORRELATIONS[::5], ar1.PRIOR[::5], strict=True)):
        sigma = rho ** np.abs(np.subtract.outer(gaps, gaps)) if rho else np.eye(13)
        inverse = np.linalg.inv(sigma)
        for place in range(4, 10):
            design = np.column_stack([np.ones(13), np.arange(13) >= place])
            inside = design.T @ inverse @ design
            left = values @ inverse @ values - (design.T @ inverse @ values) @ np.linalg.solve(inside, design.T @ inverse @ values)
            logs[row, place] = (
                -0.5 * np.linalg.slogdet(sigma)[1] - 0.5 * np.linalg.slogdet(inside)[1] - 5.5 * math.log(left) + math.log(prior)
            )
    expected = np.exp(logs - logs.max()).sum(axis=0)
    np.testing.assert_allclose(_places(times, values), expected / expected.sum(), rtol=1e-8, atol=1e-14)


def test_changepoints_are_reproducible_in_any_row_order() -> None:
    rows = frame(0.5 + 0.05 * (np.arange(40) >= 20) + noise(40, 8) / 30)
    shuffled = rows.sample(fraction=1, shuffle=True, seed=3)
    one, other = (changepoints(each, "agent_efficiency") for each in (rows, shuffled))
    assert (one.p, one._candidates) == (other.p, other._candidates)


def test_changepoints_need_twelve_values_and_mention_gradual_changes() -> None:
    assert changepoints(frame(noise(11, 1)), "agent_efficiency").verdict == "insufficient data"
    rising = changepoints(frame(np.arange(60) / 20 + noise(60, 5)), "agent_efficiency")
    assert rising.verdict == "shifted"
    assert "the change may be gradual" in repr(rising)
    stepping = changepoints(frame(4.0 * (np.arange(60) >= 30) + noise(60, 5)), "agent_efficiency")
    assert "gradual" not in repr(stepping)


@pytest.mark.slow
def test_trend_of_a_step_has_a_caveat() -> None:
    text = repr(trend(frame(4.0 * (np.arange(60) >= 30) + noise(60, 5)), "agent_efficiency"))
    at = f"{START + 30 * DAY:%Y-%m-%d} UTC"
    assert f"A single step at {at} fits the series better than a straight line" in text
    assert "A single step" not in repr(trend(frame(np.arange(60) / 20 + noise(60, 5)), "agent_efficiency"))
    short = frame(4.0 * (np.arange(10) >= 5) + noise(10, 5) / 10)  # changepoints would not look at it
    nothing = frame(2.0 * ((np.arange(60) >= 20) & (np.arange(60) < 40)) + noise(60, 5) / 10)
    for rows, claimed in ((short, True), (nothing, False)):
        result = trend(rows, "agent_efficiency")
        assert (result.p <= 0.05) is claimed
        assert "A single step" not in repr(result)


# Texts


def _step(count: int = 40, size: float = 0.3) -> pl.DataFrame:
    return frame(noise(count, 4) / 100 + size * (np.arange(count) >= count // 2))


TEXTS: dict[str, tuple[Any, str]] = {
    "trend": (lambda: analysis.trend(frame(noise(20, 1) / 10 + 0.5), "agent_efficiency"), snapshot("""\
agent, agent efficiency: no significant trend (−0.346 pp/day, 95% CI −0.861 to +0.171; p = 0.17; 20 checkpoints over 20 days).
Change from the first to the last checkpoint: −6.6 pp, 95% CI −16.4 to +3.2. Trends within the confidence interval cannot be ruled out.
Method: generalized least squares with AR(1) errors, model-averaged over the AR(1) coefficient (mean 0.03); data from 2026-01-05 to 2026-01-25 UTC.\
""")),
    "significant trend": (lambda: analysis.trend(frame(noise(20, 1) / 10 + np.arange(20) / 50), "agent_efficiency"), snapshot("""\
agent, agent efficiency: improving (+1.65 pp/day, 95% CI +1.14 to +2.17; p < 0.001; 20 checkpoints over 20 days).
Change from the first to the last checkpoint: +31.4 pp, 95% CI +21.6 to +41.2.
Method: generalized least squares with AR(1) errors, model-averaged over the AR(1) coefficient (mean 0.03); data from 2026-01-05 to 2026-01-25 UTC.
The audit reports 1 error for this data; see .findings.\
""")),
    "short trend": (lambda: analysis.trend(frame(noise(10, 1) / 10 + 0.5), "agent_efficiency"), snapshot("""\
agent, agent efficiency: insufficient data (−0.04 pp/day, 95% CI −2.81 to +2.72; p = 0.97; 10 checkpoints over 10 days, about 2 more checkpoints needed).
Change from the first to the last checkpoint: −0.3 pp, 95% CI −25.3 to +24.5. With about 2 more checkpoints, a change of 3 standard deviations of a single checkpoint would be detected in about half of all studies.
Method: generalized least squares with AR(1) errors, model-averaged over the AR(1) coefficient (mean 0.14); data from 2026-01-05 to 2026-01-15 UTC.\
""")),
    "constant trend": (lambda: analysis.trend(frame([0.5] * 20), "agent_efficiency"), snapshot("""\
agent, agent efficiency: no significant trend (0 pp/day, 95% CI 0 to 0; not tested: all values are equal; 20 checkpoints over 20 days).
Change from the first to the last checkpoint: 0 pp, 95% CI 0 to 0.
Method: generalized least squares with AR(1) errors, model-averaged over the AR(1) coefficient (mean 0.00); data from 2026-01-05 to 2026-01-25 UTC.
Residual variance is zero, so the confidence interval has no width and does not reflect sampling error.\
""")),
    "trend of a cost": (lambda: analysis.trend(frame(noise(20, 1) / 10 + 0.5, "total_cost"), "total_cost"), snapshot("""\
agent, total cost: no significant trend (−$0.00346/day, 95% CI −$0.00861 to +$0.00171; p = 0.17; 20 checkpoints over 20 days).
Change from the first to the last checkpoint: −$0.07, 95% CI −$0.16 to +$0.03. Trends within the confidence interval cannot be ruled out.
Method: generalized least squares with AR(1) errors, model-averaged over the AR(1) coefficient (mean 0.03); data from 2026-01-05 to 2026-01-25 UTC.\
""")),
    "effect": (lambda: analysis.before_after(_step(), "agent_efficiency", at=START + 20 * DAY), snapshot("""\
agent, agent efficiency, change at 2026-01-25 UTC: better (step of +29.7 pp, 95% CI +28.3 to +31.2; p < 0.001; 20 checkpoints before and 20 after).
Change in slope: +0.013 pp/day, 95% CI −0.112 to +0.139; not tested.
Method: interrupted time series, fitted by generalized least squares with AR(1) errors, model-averaged over the AR(1) coefficient (mean 0.00).
Placebo test at 22 other times without a known change: 0 statistically significant steps; 0 steps at least as large as this one relative to the width of their confidence intervals.
The audit reports 1 error for this data; see .findings.\
""")),
    "effect with insufficient data": (lambda: analysis.before_after(_step(9), "agent_efficiency", at=START + 3 * DAY), snapshot("""\
agent, agent efficiency, change at 2026-01-08 UTC: insufficient data (3 checkpoints before and 6 after; at least 5 on each side are needed).
The audit reports 2 errors for this data; see .findings.\
""")),
    "shift": (lambda: analysis.changepoints(_step(), "agent_efficiency"), snapshot("""\
agent, agent efficiency: 1 shift at 2026-01-25 (better, 0.0% to 29.8%, +29.8 pp; 95% CI for its time: 2026-01-25 to 2026-01-25 UTC; p < 0.001; 40 checkpoints over 40 days).
Method: permutation test for the largest step in the mean, with AR(1) residuals, repeated on both sides of each shift; data from 2026-01-05 to 2026-02-14 UTC.
The audit reports 1 error for this data; see .findings.\
""")),
    "two shifts": (
        lambda: analysis.changepoints(frame(noise(60, 4) / 100 + 0.3 * ((np.arange(60) // 20) == 1)), "agent_efficiency"), snapshot("""\
agent, agent efficiency: 2 shifts at 2026-01-25 and 2026-02-14 (p = 0.003; 60 checkpoints over 60 days).
2026-01-25 UTC: better, 0.0% to 29.8%, +29.8 pp; 95% CI for its time: 2026-01-25 to 2026-01-25 UTC; p < 0.001.
2026-02-14 UTC: worse, 29.8% to 0.0%, −29.8 pp; 95% CI for its time: 2026-02-14 to 2026-02-14 UTC; p < 0.001.
Method: permutation test for the largest step in the mean, with AR(1) residuals, repeated on both sides of each shift; data from 2026-01-05 to 2026-03-06 UTC.
The audit reports 1 error for this data; see .findings.\
"""),
    ),
    "no shift": (lambda: analysis.changepoints(frame(noise(30, 1)), "agent_efficiency"), snapshot("""\
agent, agent efficiency: no significant shift (p = 0.22; 30 checkpoints over 30 days).
Method: permutation test for the largest step in the mean, with AR(1) residuals, repeated on both sides of each shift; data from 2026-01-05 to 2026-02-04 UTC.
The audit reports 1 error for this data; see .findings.\
""")),
    "difference": (lambda: analysis.compare(two(difference=0.1), "agent", baseline="base"), snapshot("""\
agent vs. base, agent efficiency: better (+10.9 pp, 95% CI +7.1 to +14.7; p < 0.001; 20 paired periods).
Method: difference of means (equal weight per checkpoint) by generalized least squares with AR(1) errors, model-averaged over the AR(1) coefficient (mean 0.01).\
""")),
    "no difference": (lambda: analysis.compare(two(), "agent", baseline="base"), snapshot("""\
agent vs. base, agent efficiency: no significant difference (+0.88 pp, 95% CI −2.90 to +4.68; p = 0.62; 20 paired periods).
Minimum detectable difference at 80% power: 5.42 pp (0.7 standard deviations of the differences of paired checkpoints).
Method: difference of means (equal weight per checkpoint) by generalized least squares with AR(1) errors, model-averaged over the AR(1) coefficient (mean 0.01).\
""")),
    "differences": (
        lambda: analysis.compare(pl.concat([checkpoints("agent", 1, 20), checkpoints("base", 2, 20, seed=2)]), "agent", baseline="base"),
        snapshot("""\
agent vs. base: no significant difference in any of 16 metrics.
Statistically significant before, but not after, adjustment for multiple comparisons (Holm): sessions completed, average iterations to success, tool success rate, self-correction rate.
Method: difference of means (equal weight per checkpoint) by generalized least squares with AR(1) errors, model-averaged over the AR(1) coefficient; p-values (not confidence intervals) adjusted for multiple comparisons (Holm, 16 tests of the 16 metrics).
Based on 20 paired periods for 16 metrics; all estimates and counts: .frame.\
"""),
    ),
    "insufficient data": (
        lambda: analysis.compare(pl.concat([checkpoints("agent", 1, 5), checkpoints("base", 2, 3)]), "agent", baseline="base"), snapshot('agent vs. base: insufficient data for all 16 metrics (5 and 3 checkpoints; at least 8 each are needed).'),
    ),
    "several studies": (
        lambda: analysis.trend(pl.concat([frame(noise(20, seed), name=f"s{seed}", number=seed) for seed in range(1, 6)]), "agent_efficiency"),
        snapshot("""\
Agent efficiency: no significant trend in any of 5 studies.
p-values are adjusted for multiple comparisons (Holm, 5 studies). Use result['…'] for one study, .frame for all estimates.\
"""),
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXTS)
def test_texts_of_results(name: str) -> None:
    result, text = TEXTS[name]
    assert repr(result()) == text


# Unusual frames


ANALYSES = {
    "trend": lambda rows: analysis.trend(rows, RATE),
    "changepoints": lambda rows: analysis.changepoints(rows, RATE),
    "before_after": lambda rows: analysis.before_after(rows, RATE, at=START + 5 * DAY),
}


LARGE = ("50 studies", "many rows")
# All analyses read frames in the same way, so unusual values are tried with fewer of them.
OF_VALUES = ("not finite", "below 0", "at the limits", "few columns", "duplicated timestamps")
LATER = {*product(("changepoints", "before_after"), LARGE), *product(("before_after",), OF_VALUES)}
MATRIX = [pytest.param(*each, marks=[pytest.mark.long] * (each in LATER)) for each in product(ANALYSES, odd_frames())]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "odd"), MATRIX)
def test_unusual_frames_are_analyzed(name: str, odd: str) -> None:
    """Every frame gives text, a table and a chart, the same in pandas, without warnings."""
    rows = odd_frames()[odd]
    result = ANALYSES[name](rows)
    assert result._repr_html_()
    assert result._repr_markdown_()
    assert result.plot().to_dict()["description"]
    in_pandas = ANALYSES[name](to_pandas(rows, {column: CHECKPOINTS[column] for column in rows.columns}))
    assert repr(in_pandas) == repr(result)
    assert list(in_pandas.frame.columns) == result.frame.columns
    assert type(in_pandas.frame).__module__.startswith("pandas")


@pytest.mark.slow
@pytest.mark.parametrize("odd", [pytest.param(odd, marks=[pytest.mark.long] * (odd in LARGE)) for odd in odd_frames()])
def test_unusual_frames_are_compared(odd: str) -> None:
    rows = odd_frames()[odd]
    base = checkpoints("base", 900, 10)
    if "study_id" not in rows.columns or rows.is_empty() or rows["period_start"].null_count() == rows.height:
        with pytest.raises((StudyNotFoundError, InvalidInputError)):
            analysis.compare(rows, "agent", baseline="base")
        return
    joined = pl.concat([rows, base.select(rows.columns)], how="vertical_relaxed")
    study = rows["study"][0]
    metrics = in_long_form(None, [name for name in (RATE, "total_cost", "total_tokens", "sessions_completed") if name in joined.columns])
    result = analysis.compare(joined, study, baseline="base", metrics=metrics)
    assert result._repr_html_()
    assert result.plot().to_dict()["description"]
    pandas = to_pandas(joined, {column: CHECKPOINTS[column] for column in joined.columns})
    in_pandas = analysis.compare(pandas, study, baseline="base", metrics=metrics)
    assert repr(in_pandas) == repr(result)


def test_names_are_escaped() -> None:
    result = trend(frame(noise(10, 1), name="<img src=x onerror=alert(1)> *bold* [a](b) `c` | $x$"), "agent_efficiency")
    assert "<img" not in result._repr_html_()
    assert "<img" not in result._repr_markdown_()
    assert r"\*bold\* \[a\](b) \`c\` \| \$x\$" in result._repr_markdown_()


@pytest.mark.slow
def test_results_have_their_audit_findings() -> None:
    rows = checkpoints(count=20)
    spoiled = rows.with_columns(session_success_rate=pl.when(pl.int_range(20) == 4).then(1.4).otherwise(pl.col(RATE)))
    touched = trend(spoiled, RATE)
    assert touched.findings.errors == 1
    assert "The audit reports 1 error for this data" in repr(touched)
    assert trend(spoiled, "total_cost").findings.errors == 0
    both = pl.concat([spoiled, checkpoints("base", 2, 20)])
    assert analysis.compare(both, "agent", baseline="base")[RATE].findings.errors == 1
    assert before_after(spoiled, RATE, at=START + 9 * DAY).findings.errors == 1
    assert changepoints(spoiled, RATE).findings.errors == 1


@pytest.mark.slow
def test_missing_scipy_is_reported_on_use() -> None:
    """Summary, resample and audit work without scipy."""
    code = """
import sys
sys.modules["scipy"] = None
from evalkit import analysis
from evalkit.errors import EvalkitError
from tests.chart_frames import checkpoints
rows = checkpoints(count=20)
print(analysis.summary(rows).frame.height, analysis.resample(rows, "weekly").frame.height, analysis.audit(rows).errors)
try:
    analysis.trend(rows, "total_cost")
except EvalkitError as error:
    print(isinstance(error, ImportError), error)
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert printed == ["16 3 0", "True evalkit.analysis needs scipy, which is not installed. Install: pip install scipy jinja2"]


# Charts


@pytest.mark.slow
def test_charts_draw_trends_and_shifts() -> None:
    rows = frame(0.5 + 0.3 * (np.arange(40) >= 20) + noise(40, 8) / 30)
    fit, changes = analysis.trend(rows, "agent_efficiency"), analysis.changepoints(rows, "agent_efficiency")
    line = fit["agent"].fitted_line()
    assert line["at"][0] == START + DAY / 2
    slope = (line["value"][-1] - line["value"][0]) / 39
    assert slope == pytest.approx(fit.only().slope.value)
    assert (line["low"] <= line["value"]).all()
    assert line["high"][0] - line["low"][0] > line["high"][4] - line["low"][4] > 0  # widest at the ends
    chart = plots.trend(rows, "agent_efficiency", fit=fit, changes=changes)
    drawn = svg(chart)
    assert "agent, +" in drawn
    text = chart.to_dict()["title"]["subtitle"]
    assert "Dashed: straight line" in " ".join(text)
    several = pl.concat([rows, frame(noise(20, 1) / 10, name="other", number=2)])
    assert svg(analysis.trend(several, "agent_efficiency").plot())
    for wrong in ({"fit": "yes"}, {"changes": fit}):
        with pytest.raises(InvalidInputError) as error:
            plots.trend(rows, "agent_efficiency", **wrong)
        assert error.value.field == next(iter(wrong))


@pytest.mark.slow
def test_charts_of_audit_and_comparison() -> None:
    rows = checkpoints(count=20, left_out=(4, 5, 9))
    assert svg(analysis.audit(rows).plot()).count("missing_period") == 0
    assert "missing period" in svg(analysis.audit(rows).plot())
    assert "Nothing to draw" in svg(analysis.audit(checkpoints(count=20)).plot())
    both = pl.concat([rows, checkpoints("base", 2, 20, seed=2)])
    result = analysis.compare(both, "agent", baseline="base")
    assert plots.table(result.plot()).height == 16
    assert "Session success rate" in svg(result.plot())
    assert "Nothing to draw" in svg(
        analysis.compare(both.filter(pl.int_range(pl.len()).over("study") < 3), "agent", baseline="base").plot()
    )


# Rates of trials, pairs, and partially covered periods


@pytest.mark.slow
def test_interval_of_equal_rates_has_sampling_error() -> None:
    """Without a recorded number of trials, the interval has no width."""
    rows = checkpoints(count=8).with_columns(session_success_rate=pl.lit(1.0), sessions_completed=pl.lit(1), tool_success_rate=pl.lit(1.0))
    counted = trend(rows, RATE)
    assert counted.total_change.low < -0.3 < 0.3 < counted.total_change.high
    assert counted.verdict == "no significant trend"
    assert "has no width" in repr(trend(rows, "tool_success_rate"))
    base = checkpoints("base", 2, 8).with_columns(session_success_rate=pl.lit(0.5), sessions_completed=pl.lit(2))
    result = analysis.compare(pl.concat([rows, base], how="vertical_relaxed"), "agent", baseline="base")[RATE]
    assert result.difference.half_width > 0.2


@pytest.mark.slow
def test_repeated_tasks_are_a_caveat() -> None:
    solved = np.array([12] * 30 + [13] * 30)
    solved[[4, 17, 25, 40, 51]] += [1, -1, 1, -1, 1]
    fixed = frame(solved / 20, RATE).with_columns(sessions_completed=pl.lit(20))
    at = START + 30 * DAY
    for rows in (fixed, fixed.drop("sessions_completed")):
        assert changepoints(rows, RATE).verdict == "shifted"
        assert before_after(rows, RATE, at=at).verdict == "better"
        assert trend(rows, RATE).verdict == "improving"
    assert caveat(Caveat(CaveatKind.SAME_TASKS)) in trend(fixed, RATE).caveats
    assert trend(fixed, RATE).spread == pytest.approx(trend(fixed.drop("sessions_completed"), RATE).spread)


@pytest.mark.slow
@pytest.mark.parametrize(("trials", "rate"), [(1, 0.5), (3, 0.97), (5, 0.6), (20, 0.99), (20, 0.5), (200, 0.9)])
@pytest.mark.parametrize("count", [8, 30])
def test_independent_trials_are_rarely_taken_for_repeated_tasks(trials: int, rate: float, count: int) -> None:
    random = np.random.default_rng([trials, count])
    dependent = 0
    for _ in range(in_long_form(400, 100)):
        rates, counted = random.binomial(trials, rate, count) / trials, np.full(count, float(trials))
        dependent += trials_of(rates, *sampling_variances(rates, counted)).steady
    assert dependent <= in_long_form(4, 2)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["a large step", "a large rise", "uneven counts"])
def test_steps_and_uneven_counts_are_not_taken_for_repeated_tasks(case: str) -> None:
    random = np.random.default_rng(3)
    rates = np.r_[[0.05] * 60, [0.95] * 60] if case == "a large step" else np.linspace(0.05, 0.95, 120)
    counts = np.full(120, 20)
    if case == "uneven counts":
        rates, counts = np.full(30, 0.8), np.r_[[1, 1], [500] * 28]
    dependent = 0
    for _ in range(200):
        drawn = random.binomial(counts, rates) / counts
        dependent += trials_of(drawn, *sampling_variances(drawn, counts.astype(float))).steady
    assert dependent <= 2


def test_constant_rates_have_the_sampling_error_of_their_trials() -> None:
    rows = pl.concat([frame([0.5] * 8, RATE), frame([0.6] * 8, RATE, name="base", number=2)]).with_columns(sessions_completed=pl.lit(20))
    result = analysis.compare(rows, "agent", baseline="base", metrics=[RATE])[RATE]
    assert result.verdict == "no significant difference"
    assert result.difference.half_width > 0.05
    step = frame([0.5] * 10 + [0.6] * 10, RATE).with_columns(sessions_completed=pl.lit(50))
    assert before_after(step, RATE, at=START + 10 * DAY).effect.half_width > 0.05


def test_pairs_on_repeated_tasks_have_a_caveat_and_equal_pairs_are_not_tested() -> None:
    tasks = np.random.default_rng(7).uniform(0, 1, (30, 400))
    rows = pl.concat([frame((tasks < 0.5).mean(axis=1), RATE), frame((tasks < 0.53).mean(axis=1), RATE, name="base", number=2)])
    result = analysis.compare(rows.with_columns(sessions_completed=pl.lit(400)), "agent", baseline="base", metrics=[RATE])[RATE]
    assert caveat(Caveat(CaveatKind.SAME_TASKS)) in result.caveats
    values = 0.7 + noise(20, 5) / 50
    copy = pl.concat([frame(values, RATE), frame(values * (1 + 2e-16), RATE, name="base", number=2)])
    same = analysis.compare(copy, "agent", baseline="base", metrics=[RATE])
    assert (same[RATE].p, same[RATE].verdict) == (None, "no significant difference")
    assert "not tested: no pair differs" in repr(same)
    assert same.plot() is not None


def test_pairs_are_counted_before_averaging() -> None:
    values = noise(5000, 8) / 20 + 0.5
    hours = frame(values).with_columns(period_start=START + pl.int_range(pl.len()) * timedelta(hours=1), period_type=pl.lit("hourly"))
    hours = hours.with_columns(period_end=pl.col("period_start") + timedelta(hours=1))
    later = pl.col("period_start", "period_end") + timedelta(hours=4100)
    other = hours.with_columns(later, study_id=pl.lit(study_id(2)), study=pl.lit("base"))
    result = analysis.compare(pl.concat([hours, other]), "agent", baseline="base", metrics=["agent_efficiency"])["agent_efficiency"]
    assert result.pairs is None
    assert "900 periods have a value in both studies, fewer than half of the periods of the shorter study." in repr(result)


def test_comparison_of_an_autocorrelated_series_has_a_caveat() -> None:
    walk = frame(0.5 + 0.02 * np.cumsum(noise(40, 5)))
    still = pl.concat([walk, frame(0.45 + noise(40, 6) / 100, name="base", number=2)])
    assert caveat(Caveat(CaveatKind.AUTOCORRELATED)) in analysis.compare(still, "agent", baseline="base")["agent_efficiency"].caveats


@pytest.mark.slow
def test_comparison_with_few_common_periods_is_unpaired() -> None:
    values = noise(60, 3) / 20
    far = pl.concat([frame(values + 0.7), frame(noise(60, 4) / 20 + 0.5, name="base", number=2, start=START + 52 * DAY)])
    result = analysis.compare(far, "agent", baseline="base")["agent_efficiency"]
    assert (result.verdict, result.pairs) == ("better", None)
    assert "unpaired: 8 periods have a value in both studies, fewer than half of the periods of the shorter study." in repr(result)
    short = analysis.compare(
        pl.concat([far[52:60], frame(noise(9, 4), name="base", number=2, start=START + 54 * DAY)]), "agent", baseline="base"
    )
    assert "unpaired: 6 periods have a value in both studies, fewer than 8." in repr(short)
    assert "is unpaired" not in repr(analysis.compare(two(apart=30), "agent", baseline="base"))
    near = pl.concat([frame(values + 0.7), frame(noise(60, 4) / 20 + 0.5, name="base", number=2, start=START + 10 * DAY)])
    result = analysis.compare(near, "agent", baseline="base")["agent_efficiency"]
    assert result.pairs == 50
    assert "50 periods have a value in both studies; only these were compared, of 60 and 60 checkpoints." in repr(result)


@pytest.mark.parametrize(("later", "shorter"), [(60, 0), (0, 1), (-3600, 0), (11 * 3600, 0), (-60, 7200)])
def test_periods_with_small_offsets_are_paired(later: int, shorter: int) -> None:
    exact = analysis.compare(two(), "agent", baseline="base")["agent_efficiency"]
    rows = two().with_columns(period_type=pl.lit(None, dtype=pl.String()))
    base = pl.col("study") == "base"
    moved = rows.with_columns(
        period_start=pl.when(base).then(pl.col("period_start") + timedelta(seconds=later)).otherwise("period_start"),
        period_end=pl.when(base).then(pl.col("period_end") + timedelta(seconds=later - shorter)).otherwise("period_end"),
    )
    result = analysis.compare(moved, "agent", baseline="base")["agent_efficiency"]
    assert (result.pairs, result.study_mean, result.baseline_mean) == (20, exact.study_mean, exact.baseline_mean)
    assert result.difference.value == pytest.approx(exact.difference.value)
    assert (result.difference.low, result.difference.high) == pytest.approx((exact.difference.low, exact.difference.high))


def test_periods_that_overlap_by_half_are_not_paired() -> None:
    assert analysis.compare(two(apart=0).pipe(_moved, timedelta(hours=12)), "agent", baseline="base")["agent_efficiency"].pairs is None
    week = frame(noise(10, 1)).with_columns(period_end=pl.col("period_start") + 7 * DAY, period_type=pl.lit("weekly"))
    result = analysis.compare(pl.concat([week, frame(noise(10, 2), name="base", number=2)]), "agent", baseline="base")
    assert result["agent_efficiency"].pairs is None


def _moved(rows: pl.DataFrame, by: timedelta) -> pl.DataFrame:
    base = pl.col("study") == "base"
    return rows.with_columns(pl.when(base).then(pl.col(name) + by).otherwise(name).alias(name) for name in ("period_start", "period_end"))


_PERIODS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5)), max_size=5, unique=True)


@pytest.mark.slow
@given(_PERIODS, _PERIODS)
@settings(max_examples=examples(200))
def test_pairs_match_exhaustive_search(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    """The nearest of all pairs that overlap by more than half of the longer period, or are equal, come first."""
    frames = [
        pl.DataFrame(
            {"start": [START + at * DAY for at, _ in periods], "end": [START + (at + length) * DAY for at, length in periods]},
            schema={"start": pl.Datetime("us", "UTC"), "end": pl.Datetime("us", "UTC")},
        )
        for periods in (one, other)
    ]
    apart: dict[tuple[int, int], float] = {}
    for row, (start, length) in enumerate(one):
        for partner, (begin, size) in enumerate(other):
            overlap = min(start + length, begin + size) - max(start, begin)
            if (start, length) == (begin, size) or 2 * overlap > max(length, size) > 0:
                apart[row, partner] = abs(2 * start + length - 2 * begin - size) - ((start, length) == (begin, size))
    result = list(zip(*(places.tolist() for places in matched(*frames)), strict=True))
    assert set(result) <= set(apart)
    for side in (0, 1):
        assert len({pair[side] for pair in result}) == len(result)
    for pair, distance in apart.items():  # a period of any other pair is in a pair at least as near
        assert pair in result or any(apart[taken] <= distance for taken in result if taken[0] == pair[0] or taken[1] == pair[1])


@given(
    later=st.integers(-11, 11), hours=st.lists(st.integers(0, 239), min_size=20, max_size=120, unique=True),
    days=st.sets(st.integers(0, 9)), weeks=st.sets(st.integers(-1, 1)),
)  # fmt: skip
@settings(max_examples=examples(60))
def test_pairs_do_not_depend_on_the_order_of_studies(later: int, hours: list[int], days: set[int], weeks: set[int]) -> None:
    hour = timedelta(hours=1)
    spans = [[(24 * day + later, 24) for day in range(10)], [(at, 1) for at in hours] + [(24 * day, 24) for day in sorted(days)]]
    spans[1] += [(168 * week, 168) for week in sorted(weeks)]
    one, other = (
        pl.DataFrame(
            {"start": [START + at * hour for at, _ in periods], "end": [START + (at + length) * hour for at, length in periods]},
            schema={"start": pl.Datetime("us", "UTC"), "end": pl.Datetime("us", "UTC")},
        )
        for periods in spans
    )
    pairs, turned = matched(one, other), matched(other, one)
    result = set(zip(*(places.tolist() for places in pairs), strict=True))
    assert result == set(zip(*(places.tolist() for places in turned[::-1]), strict=True))
    assert result == {(day, len(hours) + place) for place, day in enumerate(sorted(days))}


def test_days_are_paired_despite_hours_in_the_baseline() -> None:
    one, days = frame(noise(30, 1), start=START + timedelta(hours=7)), frame(noise(30, 2), name="base", number=2)
    rows = pl.concat([one, days, hourly(noise(720, 3), "base", 2).select(days.columns)]).with_columns(
        period_type=pl.lit(None, dtype=pl.String())
    )
    result = [analysis.compare(rows, study, baseline=base)["agent_efficiency"] for study, base in (("agent", "base"), ("base", "agent"))]
    assert [each.pairs for each in result] == [30, 30]
    assert result[0].difference.value == pytest.approx(-result[1].difference.value)


@pytest.mark.slow
def test_findings_use_the_lifecycle() -> None:
    """With the lifecycle, a pause is not a missing checkpoint."""
    rows = checkpoints(count=30, left_out=(10, 11, 12))
    lived = lifecycle("agent", 1, ("study_started", START), ("study_paused", START + 10 * DAY), ("study_resumed", START + 13 * DAY))
    assert trend(rows, RATE).findings.warnings == 1
    for result in (
        trend(StudyData(rows, lived), RATE),
        changepoints(StudyData(rows, lived), RATE),
        before_after(StudyData(rows, lived), RATE, at=START + 20 * DAY),
    ):
        assert result.findings.warnings == 0
        assert result.plot().to_dict()
    both = pl.concat([rows, checkpoints("base", 2, 30)])
    assert analysis.compare(StudyData(both, lived), "agent", baseline="base")[RATE].findings.warnings == 0


@pytest.mark.parametrize("library", ["polars", "pandas"])
def test_totals_of_partially_covered_periods_are_excluded(library: str) -> None:
    rows = checkpoints(count=71).with_columns(total_tokens=pl.lit(7_000, dtype=pl.Int64))
    weeks = analysis.resample(rows if library == "polars" else to_pandas(rows, CHECKPOINTS), "weekly")
    totals = trend(weeks, "total_tokens")
    assert (totals.slope.value, totals.checkpoints, totals.missing) == (0.0, 10, 1)
    assert "1 partially covered period was excluded" in repr(totals)
    assert trend(weeks, RATE).checkpoints == 11
    assert "have no value" not in repr(totals)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["polars", "pandas"])
def test_rows_without_partial_flag_are_complete(library: str) -> None:
    tokens = pl.lit(7_000, dtype=pl.Int64).alias("total_tokens")
    weeks = analysis.resample(checkpoints(count=71).with_columns(tokens), "weekly").frame
    plain = checkpoints("base", 2, 20).with_columns(tokens)
    both = pl.concat([weeks, plain], how="diagonal")
    marked = both.with_columns(partial=pl.lit("no"))
    if library == "pandas":
        both = pd.concat([to_pandas(weeks, RESAMPLED), to_pandas(plain, CHECKPOINTS)])
        marked = both.assign(partial=2)
    result = analysis.trend(both, "total_tokens")
    assert [(each.checkpoints, each.missing) for each in result.results] == [(10, 1), (20, 0)]
    assert analysis.compare(both, "base", baseline="agent", metrics="total_tokens")["total_tokens"].study_checkpoints == 20
    with pytest.raises(InvalidInputError) as error:
        trend(marked, "total_tokens")
    assert error.value.column == "partial"
    assert len(analysis.trend(marked, RATE)) == 2


@pytest.mark.slow
def test_high_autocorrelation_is_a_caveat() -> None:
    series = in_long_form(20, 8)
    warned = {
        rho: sum(
            "Autocorrelation may exceed 0.7" in repr(trend(frame(noise(40, seed, rho) / 10), "agent_efficiency")) for seed in range(series)
        )
        for rho in (0.0, 0.95)
    }
    assert warned[0.0] <= 1
    assert warned[0.95] >= 0.7 * series


@pytest.mark.slow
def test_intervals_of_adjacent_shifts_do_not_overlap() -> None:
    steps = 0.2 * (np.arange(60) >= 20) - 0.2 * (np.arange(60) >= 40)
    for seed in range(6):
        changes = changepoints(frame(0.5 + steps + noise(60, seed) / 15), "agent_efficiency").changes
        for one, other in pairwise(changes):
            assert one.high < other.at
            assert other.low > one.at


@pytest.mark.slow
def test_comparison_without_differences_has_estimates() -> None:
    one = repr(analysis.compare(two(), "agent", baseline="base", metrics="agent_efficiency"))
    assert "95% CI" in one
    assert "20 paired periods" in one
    assert "adjusted for" not in one
    rows = pl.concat([checkpoints("agent", 1, 20), checkpoints("base", 2, 20, seed=2, left_out=(4,))])
    result = analysis.compare(rows, "agent", baseline="base")
    assert "Based on 19 paired periods for 16 metrics" in repr(result)
    assert "The audit reports 1 warning" in repr(result)
    difference = result["total_cost"]
    assert difference.tests == 16
    assert difference.more_needed(difference.spread / 2) > difference._adjusted(difference.p, 1).more_needed(difference.spread / 2)
    uneven = repr(
        analysis.compare(rows.with_columns(total_cost=pl.when(pl.int_range(pl.len()) > 0).then("total_cost")), "agent", baseline="base")
    )
    assert "Based on 18 to 19 paired periods for 16 metrics" in uneven
    with pytest.raises(InvalidInputError) as error:
        analysis.compare(rows, "agent", baseline="base", metrics=[])
    assert error.value.field == "metrics"


@pytest.mark.slow
def test_comparison_lists_metrics_significant_only_before_adjustment() -> None:
    rows = pl.concat([quiet(2), quiet(3, number=2)])
    result = analysis.compare(rows, "study 1", baseline="study 2")
    hidden = [each.metric.label.lower() for each in result.differences if each.p <= 0.05]
    assert 0 < len(hidden) < 16
    assert {each.verdict for each in result.differences} == {"no significant difference"}
    assert f"\nStatistically significant before, but not after, adjustment for multiple comparisons (Holm): {', '.join(hidden)}.\n" in repr(
        result
    )
    one = analysis.compare(
        rows, "study 1", baseline="study 2", metrics=[each.metric.name for each in result.differences if each.p <= 0.05][:1]
    )
    assert one.differences[0].verdict != "no significant difference"
    assert "not after" not in repr(one)


def test_totals_of_months_are_comparable() -> None:
    rows = pl.concat(
        [checkpoints("agent", 1, 12, period="monthly"), checkpoints("base", 2, 12, period="monthly", seed=2, start=START + 31 * DAY)]
    )
    result = analysis.compare(rows.drop("period_type"), "agent", baseline="base")["total_cost"]
    assert result.difference is not None


def test_comparison_with_a_study_without_checkpoints_names_it(tmp_path: Path) -> None:
    with evalkit.connect(tmp_path) as kit:
        for name in ("agent", "empty"):
            kit.start_study(kit.create_study(name, at="2026-01-01T00:00:00Z"), at="2026-01-01T00:00:00Z")
        kit.record_checkpoints("agent", sample_checkpoints("daily", "2026-01-01T00:00:00Z", 9, seed=1))
        result = analysis.compare(kit.data(), "agent", baseline="empty", metrics="total_cost")
    assert repr(result) == "agent vs. empty, total cost: insufficient data (9 and 0 checkpoints; at least 8 each are needed)."
    assert result["total_cost"].baseline_findings.frame.is_empty()
