"""Trends, comparisons, effects and change points: against scipy and statsmodels, on known truth, and on frames that break careless code."""

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

import evalkit
from evalkit import InvalidInputError, StudyData, StudyNotFoundError, analysis, plots
from evalkit.analysis._before_after import FEWEST_A_SIDE
from evalkit.analysis._pairs import matched
from evalkit.analysis._resample import RESAMPLED
from evalkit.analysis._results import holm
from evalkit.analysis._series import Caveat, CaveatKind
from evalkit.analysis._stats import ar1
from evalkit.analysis._stats.shift import find_shift
from evalkit.analysis._stats.trials import chance_of, trials_of
from evalkit.analysis._wording import caveat
from evalkit.analysis._wording.phrases import p_values
from evalkit.domain.metrics import METRICS
from evalkit.errors import AmbiguousStudyError
from evalkit.frames.columns import CHECKPOINTS
from evalkit.frames.pandas_output import to_pandas
from evalkit.plots._rendering import svg
from tests import oracles
from tests.analysis_frames import odd_frames
from tests.chart_frames import DAY, START, checkpoints, lifecycle, long, study_id
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
    """Daily checkpoints with these values of one metric; nothing else is recorded."""
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
def test_every_autocorrelation_gives_the_fit_of_statsmodels(seed: int) -> None:
    """Coefficients, covariances and variances equal generalised least squares of statsmodels to 1e-9, at irregular times."""
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


def test_the_weights_are_the_restricted_likelihood_times_the_prior() -> None:
    """The weight of an autocorrelation is that which dense linear algebra gives."""
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


def test_one_part_of_a_mixture_is_students_t_and_two_are_welch() -> None:
    """With one autocorrelation alone the interval is that of t; the difference of two is that of Welch's test in scipy, to 1e-9."""
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


def test_the_ends_of_an_interval_leave_two_and_a_half_percent_each() -> None:
    """The mixture's distribution function, from scipy's t, is 0.025 and 0.975 at the ends."""
    fitted = ar1.fit(np.arange(20.0), noise(20, 5, 0.6), np.ones((20, 1)))
    found = fitted.mixture([1.0])
    estimate = found.estimate()
    for end, level in ((estimate.low, 0.025), (estimate.high, 0.975)):
        assert (found.weights * scipy.stats.t.cdf((end - found.centres) / found.scales, 18)).sum() == pytest.approx(level, abs=1e-9)


@pytest.mark.slow
@settings(max_examples=examples(60))  # statsmodels collects garbage each time
@given(st.lists(st.none() | st.floats(0, 1) | st.sampled_from([0.0, 0.01, 0.05, 1.0]), max_size=40))
def test_holm_is_that_of_statsmodels_and_leaves_out_what_was_not_tested(ps: list[float | None]) -> None:
    """Corrected p-values equal those of statsmodels; None stays None and does not count."""
    tested = [p for p in ps if p is not None]
    expected = iter(oracles.holm(tested))
    assert holm(ps) == pytest.approx([None if p is None else next(expected) for p in ps], abs=1e-15)


# Trend


def test_theil_sen_is_that_of_scipy() -> None:
    """The robust slope equals theilslopes to 1e-9, over days."""
    values = noise(30, 7) / 10 + 0.5
    found = trend(frame(values, left_out=(4, 5, 20)), "agent_efficiency")
    days = np.array([index for index in range(30) if index not in (4, 5, 20)], dtype=float)
    assert found.theil_sen == pytest.approx(scipy.stats.theilslopes(values[days.astype(int)], days)[0], rel=1e-9)


def test_time_is_real_and_a_gap_is_no_zero() -> None:
    """A straight line with a third of its checkpoints left out has its slope a day, exactly."""
    found = trend(frame([0.1 + 0.02 * day for day in range(30)], left_out=tuple(range(8, 18))), "agent_efficiency")
    assert (found.slope.value, found.slope.low, found.slope.high) == pytest.approx((0.02, 0.02, 0.02))
    assert (found.verdict, found.checkpoints, found.span_days) == ("improving", 20, 29.0)


def test_a_missing_value_is_left_out_and_told() -> None:
    """A checkpoint without the metric changes nothing but the count of the missing."""
    values = list(noise(20, 9) / 10 + 0.5)
    with_holes = trend(frame([None if index in (3, 11) else value for index, value in enumerate(values)]), "agent_efficiency")
    without = trend(frame(values, left_out=(3, 11)), "agent_efficiency")
    assert (with_holes.slope, with_holes.missing, without.missing) == (without.slope, 2, 0)
    assert "2 of 20 checkpoints have no value" in repr(with_holes)


@pytest.mark.parametrize(
    ("metric", "up", "down"),
    [("agent_efficiency", "improving", "declining"), ("avg_iterations_to_success", "declining", "improving"), ("total_tokens", "rising", "falling"),
     ("avg_session_duration", "declining", "improving"), ("total_cost", "rising", "falling")],
)  # fmt: skip
def test_a_verdict_goes_by_the_better_direction_of_the_metric(metric: str, up: str, down: str) -> None:
    """A rise is improving, declining or rising, as the catalogue says."""
    kind = METRICS[metric].kind
    steps = [10 + index + (index % 3) for index in range(20)]
    values = [timedelta(seconds=step) if kind == "duration" else step if kind == "count" else step / 40 for step in steps]
    assert trend(frame(values, metric), metric).verdict == up
    assert trend(frame(values[::-1], metric), metric).verdict == down


@pytest.mark.slow
def test_few_checkpoints_are_insufficient_with_how_many_more() -> None:
    """Below eight nothing is estimated; with more, an interval too wide for a rise of three deviations says what would tell it."""
    few = trend(frame([0.1, 0.5, 0.3, 0.9, 0.2]), "agent_efficiency")
    assert (few.verdict, few.more_needed, few.slope) == ("insufficient data", 3, None)
    assert "5 values of different times are too few to tell a trend; at least 3 more are needed" in repr(few)
    found = [trend(frame(noise(8, seed, 0.9) / 10), "agent_efficiency") for seed in range(in_long_form(40, 10))]
    wide = [one for one in found if one.verdict == "insufficient data"]
    assert wide
    assert all(
        one.total_change.half_width > 3 * one.spread
        and one.more_needed >= 1
        and f"With about {one.more_needed} more checkpoint" in repr(one)
        for one in wide
    )


@pytest.mark.slow
def test_nothing_that_varies_is_stable_below_twelve_values() -> None:
    """Of 8 to 11 values without a trend none is called stable, and enough more are asked for; those of one time count once. Equal values are stable."""
    for count in (8, 9, 10, 11):
        found = [trend(frame(noise(count, seed) / 10), "agent_efficiency") for seed in range(in_long_form(8, 3))]
        unclaimed = [one for one in found if one.p > 0.05]
        assert unclaimed
        assert all(one.verdict == "insufficient data" and one.more_needed >= 12 - count for one in unclaimed)
        assert all(f"With about {one.more_needed} more checkpoint" in repr(one) for one in unclaimed)
    twelve = frame(noise(12, 1) / 10)
    assert trend(twelve, "agent_efficiency").verdict == "no significant trend"
    twice = pl.concat([twelve.head(10)] * 2)
    assert trend(twice, "agent_efficiency").more_needed >= 2
    assert trend(frame([0.5] * 8), "agent_efficiency").verdict == "no significant trend"
    assert trend(frame(np.arange(8) / 10 + noise(8, 1) / 1000), "agent_efficiency").verdict == "improving"


@pytest.mark.slow
def test_a_series_that_never_changes_is_stable() -> None:
    """Of equal values the slope is exactly 0, nothing is tested, and nothing is claimed by any analysis; other metrics do not pay for it."""
    same = frame([1.0] * 20)
    found = trend(same, "agent_efficiency")
    assert (found.verdict, found.slope.value, found.p) == ("no significant trend", 0.0, None)
    shifts = changepoints(same, "agent_efficiency")
    assert (shifts.verdict, shifts.p) == ("no significant shift", None)
    effect = before_after(same, "agent_efficiency", at=START + 10 * DAY)
    assert (effect.verdict, effect.effect.value, effect.p) == ("no significant effect", 0.0, None)
    assert all("all values are the same, so nothing was tested" in repr(one) for one in (found, shifts, effect))
    other = pl.concat([same, frame([1.0] * 20, name="other", number=2)])
    difference = analysis.compare(other, "agent", baseline="other")["agent_efficiency"]
    assert (difference.verdict, difference.p) == ("no significant difference", None)
    assert "has no width" in repr(difference)
    rows = two(20, apart=10).with_columns(tasks_completed=pl.lit(20))
    found = analysis.compare(rows, "agent", baseline="base", metrics=["agent_efficiency", "tasks_completed"])
    assert found["agent_efficiency"].p_corrected == found["agent_efficiency"].p


@pytest.mark.parametrize("values", [[0.1 * n / n for n in range(100, 160)], [1e-300 * value for value in noise(60, 1)]])
def test_the_error_of_computing_is_no_finding(values: list[float]) -> None:
    """Ten cents a success, computed anew each day, are the same each day, and so are numbers whose squares are 0."""
    rows = frame(values, "cost_per_successful_task")
    assert (trend(rows, "cost_per_successful_task").verdict, trend(rows, "cost_per_successful_task").p) == (
        "no significant trend",
        None,
    )
    assert changepoints(rows, "cost_per_successful_task").p is None
    later = pl.concat([rows, frame(values, "cost_per_successful_task", name="base", number=2, start=START + 90 * DAY)])
    found = analysis.compare(later, "agent", baseline="base")["cost_per_successful_task"]
    assert (found.difference.value, found.p) == (0.0, None)


@given(
    seed=st.integers(0, 10**6),
    factor=st.sampled_from([1e-6, 0.5, 3.0, 1e9]),
    shift=st.sampled_from([0.0, -7.0, 1e4]),
    days=st.integers(-2000, 2000),
)
@settings(max_examples=examples(25))
def test_units_and_dates_do_not_matter(seed: int, factor: float, shift: float, days: int) -> None:
    """In another unit, from another zero and at another date, slope and interval scale, and p and the verdict stay."""
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


def test_several_studies_are_corrected_together_and_looked_up_by_name() -> None:
    """The p-values are Holm's over the studies; a study is found by label or id; the fields of one are not guessed."""
    several = pl.concat([frame(noise(20, seed) / 9 + 0.03 * seed * np.arange(20), name=f"s{seed}", number=seed) for seed in range(1, 6)])
    found = analysis.trend(several, "agent_efficiency")
    alone = [trend(several.filter(study=f"s{seed}"), "agent_efficiency").p for seed in range(1, 6)]
    assert [found[f"s{seed}"].p for seed in range(1, 6)] == alone
    assert found.frame["p_corrected"].to_list() == pytest.approx(oracles.holm(alone))
    assert found[study_id(2)] is found["s2"]
    assert list(found) == ["s1", "s2", "s3", "s4", "s5"]
    with pytest.raises(InvalidInputError, match=r"There are results of 5 studies: 's1', .* Take one with result\['s1'\]"):
        found.only()
    with pytest.raises(AttributeError):
        found.verdict  # noqa: B018
    with pytest.raises(StudyNotFoundError, match=r"no study matches 's9'\. The studies in the data: 's1', 's2'"):
        found["s9"]
    assert found.get("s9") is None
    assert ("s9" in found, "s2" in found) == (False, True)
    assert "5 studies:" in repr(found)


def test_what_only_the_correction_hides_is_not_called_stable() -> None:
    """A slope with a small p-value that its correction makes large is insufficient, with how many more checkpoints would tell it."""
    alone = trend(frame(noise(20, 6) / 10 + 0.02 * np.arange(20)), "agent_efficiency")
    assert alone.verdict == "improving"
    hidden = alone._adjusted(min(1.0, alone.p * 40))
    assert (hidden.verdict, hidden.p) == ("insufficient data", alone.p)
    assert f"about {hidden.more_needed} more checkpoints would tell it" in repr(hidden)
    assert alone._adjusted(min(1.0, alone.p * 400)).more_needed > hidden.more_needed > 0


def test_the_lines_before_and_after_meet_the_moment() -> None:
    """Two lines are drawn, which end and begin at the moment, as far apart as the effect."""
    at = START + 20 * DAY
    found = before_after(frame(noise(40, 4) / 100 + 0.3 * (np.arange(40) >= 20)), "agent_efficiency", at=at)
    before, after = found.fitted_line().filter(part=0), found.fitted_line().filter(part=1)
    assert (before["at"][-1], after["at"][0]) == (at, at)
    assert after["value"][0] - before["value"][-1] == pytest.approx(found.effect.value)
    assert "Dashed: straight lines" in " ".join(found.plot().to_dict()["title"]["subtitle"])


def test_extreme_values_are_told() -> None:
    """One value far from the others widens the interval, and the result says so; a slope that a few carry is told as well."""
    values = noise(30, 1) / 100 + 0.5
    values[20] = 50.0
    assert "1 value lies very far from the others, and widens the interval." in repr(trend(frame(values, "total_cost"), "total_cost"))


@pytest.mark.slow
def test_one_of_a_kind_is_told_in_the_singular() -> None:
    """One value is too few, one of twenty checkpoints has no value, and a frame that names no study has no name before its metric."""
    alone = frame([0.5])
    assert "1 value is too few" in repr(trend(alone, "agent_efficiency"))
    assert "1 value; 12 are needed" in repr(changepoints(alone, "agent_efficiency"))
    missing = frame([None, *noise(19, 1)]).drop("study_id", "study")
    for found in (
        trend(missing, "agent_efficiency"),
        changepoints(missing, "agent_efficiency"),
        before_after(missing, "agent_efficiency", at=START + 9 * DAY),
    ):
        assert "1 of 20 checkpoints has no value and is left out; none counts as zero." in repr(found)
        assert repr(found).startswith("Agent efficiency")


@pytest.mark.parametrize(
    ("days", "words"), [(70.0, "70 days"), (2.0, "2 days"), (1.5, "1.5 days"), (23 / 24, "23 hours"), (0.02, "28.8 minutes")]
)
def test_a_short_span_is_told_in_hours(days: float, words: str) -> None:
    """No span is 0 days."""
    close = frame(noise(20, 1)).with_columns(period_start=START + (pl.col("period_start") - START) * (days / 19))
    close = close.with_columns(period_end=pl.col("period_start") + timedelta(seconds=1))
    assert f"Over the {words} that is" in repr(trend(close, "agent_efficiency"))


@pytest.mark.slow
def test_a_long_series_is_averaged_over_equal_stretches_first() -> None:
    """100,000 hourly values become fewer than 1,000 weeks, and the result says so."""
    found = trend(long(100_000), RATE)
    assert found.values < 1000 < found.checkpoints
    assert "averaged over each week first" in repr(found)


def hourly(values: Any, name: str = "agent", number: int = 1) -> pl.DataFrame:
    """Hourly checkpoints with these values of one metric."""
    hour = timedelta(hours=1)
    starts = [START + index * hour for index in range(len(values))]
    return frame(values, name=name, number=number).with_columns(
        period_type=pl.lit("hourly"), period_start=pl.Series(starts), period_end=pl.Series([start + hour for start in starts])
    )


def test_the_spread_of_a_long_series_is_that_of_its_means() -> None:
    """Of 2,400 hours the spread is that of a day's mean, which the sentences say, and that they were averaged they say once."""
    one, other = (noise(2400, seed) / 10 + 0.5 for seed in (1, 2))
    days = (one - other).reshape(100, 24).mean(axis=1)
    found = analysis.compare(pl.concat([hourly(one), hourly(other, "base", 2)]), "agent", baseline="base")["agent_efficiency"]
    assert found.pairs == 2400
    assert found.spread == pytest.approx(days.std(ddof=1), rel=0.05)
    assert "(one standard deviation of a day's mean)" in repr(found)
    assert repr(found).count("2,400 values were averaged over each day first, to 100.") == 1
    assert trend(hourly(one), "agent_efficiency").averaged_over == "day"
    assert trend(frame(one[:50]), "agent_efficiency").averaged_over == ""


@pytest.mark.slow
def test_a_moment_in_a_day_that_is_averaged_parts_its_hours() -> None:
    """Before and after are counted in checkpoints; only the hour that the moment falls into is left out, and no mean reaches over it."""
    rows = hourly(np.where(np.arange(2400) < 1210, 0.2, 0.8))
    found = before_after(rows, "agent_efficiency", at=START + timedelta(hours=1210, minutes=30))
    assert (found.before, found.after, found.values_before, found.values_after) == (1210, 1189, 51, 50)
    assert "2,399 values were averaged over each day first, to 101." in repr(found)
    assert "1,210 checkpoints before and 1,189 after" in repr(found)
    between = before_after(rows, "agent_efficiency", at=START + timedelta(hours=1210))
    assert (between.before, between.after) == (1210, 1190)
    assert "left out" not in repr(between)
    assert between.effect.value == pytest.approx(0.6)


def test_what_has_no_length_at_the_moment_is_on_neither_side() -> None:
    """A checkpoint that begins and ends at the moment is left out; several of them are counted; those of one time are one value."""
    rows = frame(noise(20, 1))
    at = START + 10 * DAY
    point = rows[:1].with_columns(period_start=pl.lit(at), period_end=pl.lit(at))
    found = before_after(pl.concat([rows, point]), "agent_efficiency", at=at)
    assert (found.before, found.after) == (10, 10)
    assert "The checkpoint whose period the moment falls into is left out." in repr(found)
    both = before_after(pl.concat([rows, point, point]), "agent_efficiency", at=at)
    assert "2 checkpoints whose periods the moment falls into are left out." in repr(both)
    again = pl.concat([rows[:4], rows[:4], rows[10:]])
    few = before_after(again, "agent_efficiency", at=at)
    assert (few.before, few.values_before, few.values_after, few.verdict) == (8, 4, 10, "insufficient data")
    assert "with 8 checkpoints before and 10 after, of 4 and 10 different times; 5 are needed" in repr(few)


# Comparison


def two(count: int = 20, difference: float = 0.0, *, apart: int = 0, metric: str = "agent_efficiency") -> pl.DataFrame:
    return pl.concat(
        [
            frame(noise(count, 1) / 10 + 0.5 + difference, metric),
            frame(noise(count, 2) / 10 + 0.5, metric, name="base", number=2, start=START + apart * DAY),
        ]
    )


def test_a_comparison_uses_the_pairs_that_the_calendar_gives() -> None:
    """What moved both studies at a time does not count: with the same weather in both a small difference is told."""
    weather = noise(20, 3, 0.7)
    both = pl.concat([frame(weather + 0.2 + noise(20, 1) / 20), frame(weather + noise(20, 2) / 20, name="base", number=2)])
    found = analysis.compare(both, "agent", baseline="base")["agent_efficiency"]
    assert (found.verdict, found.pairs) == ("better", 20)
    assert found.study_mean - found.baseline_mean == pytest.approx(found.difference.value, abs=0.05)
    later = pl.concat(
        [both.filter(study="agent"), both.filter(study="base").with_columns(pl.col("period_start", "period_end") + timedelta(hours=12))]
    )
    unpaired = analysis.compare(later, "agent", baseline="base")["agent_efficiency"]
    assert (unpaired.verdict, unpaired.pairs) == ("no significant difference", None)
    assert "not paired" in repr(unpaired)


def test_a_comparison_turned_round_is_its_opposite() -> None:
    """Study against baseline is minus baseline against study, paired or not."""
    for apart in (0, 40):
        rows = two(difference=0.1, apart=apart)
        one = analysis.compare(rows, "agent", baseline="base")["agent_efficiency"].difference
        other = analysis.compare(rows, "base", baseline="agent")["agent_efficiency"].difference
        assert (one.value, one.low, one.high, one.p) == pytest.approx((-other.value, -other.high, -other.low, other.p), rel=1e-3, abs=1e-9)


@pytest.mark.slow
def test_metrics_looked_at_are_corrected_together() -> None:
    """The p-values of a comparison are Holm's over its metrics; metrics that both lack are not looked at."""
    rows = pl.concat([checkpoints("agent", 1, 20, seed=1), checkpoints("base", 2, 20, seed=2)])
    found = analysis.compare(rows, "agent", baseline="base")
    assert len(found.differences) == 16
    assert found.frame["p_corrected"].to_list() == pytest.approx(oracles.holm(found.frame["p"].to_list()))
    fewer = analysis.compare(rows, "agent", baseline=study_id(2), metrics=[RATE, "total_cost"])
    assert [one.metric.name for one in fewer.differences] == [RATE, "total_cost"]
    assert analysis.compare(rows.with_columns(total_cost=pl.lit(None, dtype=pl.Float64)), "agent", baseline="base").frame.height == 15


def test_the_baseline_is_always_named_and_another_study() -> None:
    """Without a baseline, with itself, with an unknown or an ambiguous one the error says what there is."""
    rows = pl.concat([two(), frame([0.5] * 9, name="base", number=3)])
    with pytest.raises(TypeError, match="baseline"):
        analysis.compare(rows, "agent")  # type: ignore[call-arg]
    with pytest.raises(InvalidInputError, match="is the study itself"):
        analysis.compare(rows, "agent", baseline=study_id(1))
    with pytest.raises(
        StudyNotFoundError, match=r"baseline: no study matches 'agnet'. Did you mean 'agent'\? The studies in the data: 'agent', 'base'\."
    ):
        analysis.compare(rows, "agent", baseline="agnet")
    with pytest.raises(AmbiguousStudyError, match="baseline: 'base' matches 2 studies: "):
        analysis.compare(rows, "agent", baseline="base")
    with pytest.raises(InvalidInputError, match=r"baseline: None is not a study reference; give a Study, an id"):
        analysis.compare(rows, "agent", baseline=None)
    with pytest.raises(InvalidInputError, match="is no metric"):
        analysis.compare(rows, "agent", baseline=study_id(2), metrics=["success"])


@pytest.mark.parametrize("metrics", [3, [3], [["total_cost"]], 0.5])
def test_what_names_no_metrics_is_refused_in_words(metrics: Any) -> None:
    """What is no list of names is refused, saying what would be right; where one name is wanted, a list of it is as well."""
    with pytest.raises(InvalidInputError, match=r"metrics: .* give .*name"):
        analysis.compare(two(), "agent", baseline="base", metrics=metrics)
    with pytest.raises(InvalidInputError, match=r"Invalid metric \['agent_efficiency'\]: is no metric; give one name, as a text"):
        trend(two(), ["agent_efficiency"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (two().lazy(), r"a LazyFrame is no Polars or Pandas frame. Call .collect\(\) first"),
        ((two(), two()), r"data: \(DataFrame, DataFrame\) is a tuple. Give kit.data\(\), or StudyData\(checkpoints, lifecycle\)"),
        ((two(),), r"\(DataFrame\) is a tuple"),
        (3, "an int is no Polars or Pandas frame"),
        (object(), r"data: an object is no Polars or Pandas frame. Give kit.data\(\), kit.checkpoints\(\)"),
    ],
)
def test_what_is_nothing_to_analyse_is_refused_by_its_type(wrong: Any, says: str) -> None:
    """Every analysis says of which type it is, without a piece of a table and without a warning, and what to give."""
    for analyse in (
        lambda: analysis.trend(wrong, RATE),
        lambda: analysis.compare(wrong, "agent", baseline="base"),
        lambda: analysis.summary(wrong),
        lambda: analysis.resample(wrong, "weekly"),
        lambda: analysis.audit(wrong),
    ):
        with pytest.raises(InvalidInputError, match=says):
            analyse()


def test_a_kit_is_told_from_its_checkpoints(tmp_path: Path) -> None:
    """An analysis of a frame that is given a kit says to give its checkpoints."""
    with (
        evalkit.connect(tmp_path) as kit,
        pytest.raises(InvalidInputError, match=r"an EvalKit is no .* Give kit.data\(\), kit.checkpoints\(\)"),
    ):
        analysis.trend(kit, RATE)


@pytest.mark.slow
def test_what_cannot_be_compared_is_insufficient_with_the_reason() -> None:
    """Fewer than eight of each are not compared, though their means are given; totals of periods of different lengths have none to compare."""
    rows = two(7, apart=30)
    few = analysis.compare(rows, "agent", baseline="base")["agent_efficiency"]
    assert (few.verdict, few.difference, few.more_needed(0.1)) == ("insufficient data", None, None)
    means = dict(rows.group_by("study").agg(pl.col("agent_efficiency").mean()).iter_rows())
    assert (few.study_mean, few.baseline_mean) == pytest.approx((means["agent"], means["base"]), rel=1e-12)
    weeks = checkpoints("base", 2, 20, period="weekly")
    found = analysis.compare(pl.concat([checkpoints("agent", 1, 20), weeks]), "agent", baseline="base")
    assert (found["total_cost"].verdict, found["total_cost"].study_mean) == ("insufficient data", None)
    assert "resample first" in repr(found["total_cost"])
    assert ".frame. A total of one period cannot" in repr(found)
    assert found[RATE].difference is not None


def test_how_many_more_periods_a_difference_needs() -> None:
    """A smaller difference needs more; one that would have been told needs none; no difference is refused."""
    found = analysis.compare(two(), "agent", baseline="base")["agent_efficiency"]
    assert found.more_needed(0.01) > found.more_needed(0.03) > found.more_needed(1.0) == 0
    for wrong in (0, math.nan, "0.1", True):
        with pytest.raises(InvalidInputError, match="is no difference"):
            found.more_needed(wrong)


# Before and after


def test_a_step_is_found_beside_the_trend_that_was_there() -> None:
    """A step of 0.3 on a rising line is told as 0.3; the line alone is no effect, whatever the difference of the means."""
    line = 0.01 * np.arange(40) + noise(40, 4) / 100
    at = START + 20 * DAY
    found = before_after(frame(line + 0.3 * (np.arange(40) >= 20)), "agent_efficiency", at=at)
    assert found.verdict == "better"
    assert found.effect.low < 0.3 < found.effect.high
    assert found.slope_change.low < 0 < found.slope_change.high
    nothing = before_after(frame(line), "agent_efficiency", at=at)
    assert nothing.verdict == "no significant effect"
    assert nothing.effect.low < 0 < nothing.effect.high


def test_placebos_lie_on_one_side_each_and_are_counted() -> None:
    """Other moments are tried with the checkpoints of one side alone, five on each side of them, so that the change is in none."""
    at = START + 20 * DAY
    found = before_after(frame(noise(40, 4) / 100 + 0.3 * (np.arange(40) >= 20)), "agent_efficiency", at=at)
    moments = found.placebos["at"]
    edge = FEWEST_A_SIDE * DAY
    before, after = moments.filter(moments < at), moments.filter(moments > at)
    assert len(before) == len(after) == 11
    assert before.min() >= START + edge  # type: ignore[operator]
    assert before.max() <= at - edge  # type: ignore[operator]
    assert found.placebos_as_clear == 0
    assert "Of 22 other moments" in repr(found)


def test_steps_at_other_moments_are_measured_by_their_own_intervals() -> None:
    """Five checkpoints on a side make larger steps by chance than twelve: none counts as large for that; of a step of 0 none is said to be."""
    values, at = noise(24, 8) / 10 + 0.15 * (np.arange(24) >= 12), START + 12 * DAY
    found = before_after(frame(values, "total_cost"), "total_cost", at=at)
    clear = abs(found.effect.value) / found.effect.half_width
    steps, halves = found.placebos["effect"].abs(), (found.placebos["high"] - found.placebos["low"]) / 2
    assert found.placebos_as_clear == (steps / halves >= clear).sum() < (steps >= abs(found.effect.value)).sum()
    assert found.frame["placebos_as_clear"].to_list() == [found.placebos_as_clear]
    assert f"is as clear as this one (measured by its own interval) at {found.placebos_as_clear}." in repr(found)
    same = before_after(frame([1.0] * 24), "agent_efficiency", at=at)
    assert "a step is told at 0." in repr(same)
    assert "as clear" not in repr(same)
    few = before_after(frame(values[:14], "total_cost"), "total_cost", at=at)
    for one in (same, few):
        assert (one.placebos_as_clear, one.frame["placebos_as_clear"].to_list()) == (None, [None])


def test_a_change_of_slope_is_no_second_claim() -> None:
    """How much the slopes differ is given as what was not tested."""
    found = before_after(frame(noise(40, 4) / 100), "agent_efficiency", at=START + 20 * DAY)
    assert re.search(r"The slopes after and before differ by \S+ percentage points a day \(95 % .*\), which is not tested\.", repr(found))


def test_too_little_on_one_side_cannot_be_said() -> None:
    """Four before, or none after, give no number; a period that the moment falls into is on no side."""
    rows = frame(noise(20, 1))
    assert before_after(rows, "agent_efficiency", at=START + 4 * DAY).verdict == "insufficient data"
    assert before_after(rows, "agent_efficiency", at=START + 90 * DAY).effect is None
    inside = before_after(rows, "agent_efficiency", at=START + timedelta(days=10, hours=5))
    assert (inside.before, inside.after) == (10, 9)
    assert "left out" in repr(inside)
    with pytest.raises(InvalidInputError, match="has no time zone"):
        before_after(rows, "agent_efficiency", at=datetime(2026, 1, 10))


# Change points


def test_shifts_are_found_with_their_dates() -> None:
    """Two steps are found where they are, each in its interval, with the means between them."""
    steps = 0.2 * (np.arange(90) >= 30) - 0.3 * (np.arange(90) >= 60)
    found = changepoints(frame(0.5 + steps + noise(90, 6) / 30), "agent_efficiency")
    assert [one.at for one in found.changes] == [START + 30 * DAY, START + 60 * DAY]
    assert all(one.low <= one.at <= one.high for one in found.changes)
    assert [one.after - one.before for one in found.changes] == pytest.approx([0.2, -0.3], abs=0.03)
    assert found.frame["changes"].to_list() == [2, 2]
    assert repr(found).count("p < 0.001") + repr(found).count("p = 0.00") == 2


@pytest.mark.parametrize("library", ["polars", "pandas"])
def test_the_table_has_a_row_for_each_shift(library: str) -> None:
    """Two shifts are two rows with numbers, times and p-values of their own; a study without any has one, with nulls there."""
    steps = 0.2 * (np.arange(90) >= 30) - 0.3 * (np.arange(90) >= 60)
    both = pl.concat([frame(0.5 + steps + noise(90, 6) / 30), frame(noise(30, 1) / 10, name="quiet", number=2)]).drop("period_type")
    columns = {name: CHECKPOINTS[name] for name in both.columns}
    found = analysis.changepoints(both if library == "polars" else to_pandas(both, columns), "agent_efficiency")

    def column(name: str) -> list[Any]:
        """Give the values of a column, with None where there is none."""
        return [None if pd.isna(value) else value for value in found.frame[name].to_list()]

    told = found["agent"].changes
    assert column("study") == ["agent", "agent", "quiet"]
    assert column("changes") == [2, 2, 0]
    assert column("shift") == [1, 2, None]
    assert column("at") == [one.at for one in told] + [None]
    assert column("p_shift") == [one.p for one in told] + [None]
    assert column("after") == [one.after for one in told] + [None]
    assert column("p_corrected") == [found["agent"].p_corrected] * 2 + [found["quiet"].p_corrected]


def test_a_shift_of_several_studies_has_its_corrected_p_value() -> None:
    """Beside the p-value of the shift stands that of any shift in the study, with its correction for the number of studies."""
    step = frame(0.5 + 0.1 * (np.arange(40) >= 20) + noise(40, 8) / 30, name="a")
    one = changepoints(step, "agent_efficiency")
    assert one.changes
    assert "of any shift" not in repr(one)
    several = pl.concat([step, *(frame(noise(20, seed) / 10, name=f"s{seed}", number=seed) for seed in (2, 3))])
    found = analysis.changepoints(several, "agent_efficiency")["a"]
    assert found.p_corrected == pytest.approx(3 * one.p)
    assert f"(of any shift, {p_values(found.p, found.p_corrected)})." in repr(found)


def test_the_interval_of_a_shift_is_wide_where_the_data_do_not_tell() -> None:
    """A step of half the noise has an interval of many days, a large one of few; both hold the truth."""
    widths = []
    for size in (1.5, 6.0):
        shift = find_shift(np.arange(60.0), noise(60, 11) + size * (np.arange(60) >= 25))
        assert shift.low <= 25 <= shift.high
        widths.append(shift.high - shift.low)
    assert widths[0] > widths[1]
    assert widths[1] <= 2


def test_the_place_of_a_shift_has_the_likelihood_of_dense_algebra() -> None:
    """The marginal likelihood of each place equals that of matrices, for uneven times and the correlations looked at."""
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


def test_the_same_frame_gives_the_same_shifts_in_any_order() -> None:
    """The permutations are seeded by nothing: the same rows, shuffled or not, give the same p-value."""
    rows = frame(0.5 + 0.05 * (np.arange(40) >= 20) + noise(40, 8) / 30)
    shuffled = rows.sample(fraction=1, shuffle=True, seed=3)
    one, other = (changepoints(each, "agent_efficiency") for each in (rows, shuffled))
    assert (one.p, one._candidates) == (other.p, other._candidates)


def test_too_few_points_are_no_guess_and_a_line_is_told_from_a_step() -> None:
    """Eleven values give no p-value; a steady rise that looks like a shift is said to be possibly gradual."""
    assert changepoints(frame(noise(11, 1)), "agent_efficiency").verdict == "insufficient data"
    rising = changepoints(frame(np.arange(60) / 20 + noise(60, 5)), "agent_efficiency")
    assert rising.verdict == "shifted"
    assert "may be a gradual change" in repr(rising)
    stepping = changepoints(frame(4.0 * (np.arange(60) >= 30) + noise(60, 5)), "agent_efficiency")
    assert "gradual" not in repr(stepping)


@pytest.mark.slow
def test_a_trend_that_is_a_step_says_so() -> None:
    """A line that is claimed where a step describes the series better says when; one that rises steadily, or is not claimed, does not."""
    told = repr(trend(frame(4.0 * (np.arange(60) >= 30) + noise(60, 5)), "agent_efficiency"))
    at = f"{START + 30 * DAY:%Y-%m-%d} UTC"
    assert f"One step at {at} describes the series better than a straight line: see changepoints." in told
    assert "One step" not in repr(trend(frame(np.arange(60) / 20 + noise(60, 5)), "agent_efficiency"))
    short = frame(4.0 * (np.arange(10) >= 5) + noise(10, 5) / 10)  # changepoints would not look at it
    nothing = frame(2.0 * ((np.arange(60) >= 20) & (np.arange(60) < 40)) + noise(60, 5) / 10)
    for rows, claimed in ((short, True), (nothing, False)):
        found = trend(rows, "agent_efficiency")
        assert (found.p <= 0.05) is claimed
        assert "One step" not in repr(found)


# What all of them must take


ANALYSES = {
    "trend": lambda rows: analysis.trend(rows, RATE),
    "changepoints": lambda rows: analysis.changepoints(rows, RATE),
    "before_after": lambda rows: analysis.before_after(rows, RATE, at=START + 5 * DAY),
}


LARGE = ("50 studies", "many rows")
# All analyses read a frame alike: what is odd about values is tried in every run with one that splits the series, and one that does not.
OF_VALUES = ("not finite", "below 0", "at the limits", "few columns", "duplicated timestamps")
LATER = {*product(("changepoints", "before_after"), LARGE), *product(("before_after",), OF_VALUES)}
MATRIX = [pytest.param(*one, marks=[pytest.mark.long] * (one in LATER)) for one in product(ANALYSES, odd_frames())]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "odd"), MATRIX)
def test_odd_frames_are_analysed_without_a_warning(name: str, odd: str) -> None:
    """Every odd frame gives a result with words, a table and a chart, the same from Polars and Pandas."""
    rows = odd_frames()[odd]
    found = ANALYSES[name](rows)
    assert found._repr_html_()
    assert found._repr_markdown_()
    assert found.plot().to_dict()["description"]
    twin = ANALYSES[name](to_pandas(rows, {column: CHECKPOINTS[column] for column in rows.columns}))
    assert repr(twin) == repr(found)
    assert list(twin.frame.columns) == found.frame.columns
    assert type(twin.frame).__module__.startswith("pandas")


@pytest.mark.slow
@pytest.mark.parametrize("odd", [pytest.param(odd, marks=[pytest.mark.long] * (odd in LARGE)) for odd in odd_frames()])
def test_odd_frames_are_compared(odd: str) -> None:
    """A study of any odd frame is compared with an ordinary one, or the error says that it has none."""
    rows = odd_frames()[odd]
    base = checkpoints("base", 900, 10)
    if "study_id" not in rows.columns or rows.is_empty() or rows["period_start"].null_count() == rows.height:
        with pytest.raises((StudyNotFoundError, InvalidInputError)):
            analysis.compare(rows, "agent", baseline="base")
        return
    joined = pl.concat([rows, base.select(rows.columns)], how="vertical_relaxed")
    study = rows["study"][0]
    metrics = in_long_form(None, [name for name in (RATE, "total_cost", "total_tokens", "sessions_completed") if name in joined.columns])
    found = analysis.compare(joined, study, baseline="base", metrics=metrics)
    assert found._repr_html_()
    assert found.plot().to_dict()["description"]
    pandas = to_pandas(joined, {column: CHECKPOINTS[column] for column in joined.columns})
    twin = analysis.compare(pandas, study, baseline="base", metrics=metrics)
    assert repr(twin) == repr(found)


def test_names_are_no_markup() -> None:
    """A name with markup shows as it is in HTML and in Markdown."""
    found = trend(frame(noise(10, 1), name="<img src=x onerror=alert(1)> *bold* [a](b) `c` | $x$"), "agent_efficiency")
    assert "<img" not in found._repr_html_()
    assert "<img" not in found._repr_markdown_()
    assert r"\*bold\* \[a\](b) \`c\` \| \$x\$" in found._repr_markdown_()


@pytest.mark.slow
def test_what_the_audit_found_is_carried() -> None:
    """A result holds the findings that touch it, and says that there are some."""
    rows = checkpoints(count=20)
    spoiled = rows.with_columns(session_success_rate=pl.when(pl.int_range(20) == 4).then(1.4).otherwise(pl.col(RATE)))
    touched = trend(spoiled, RATE)
    assert touched.findings.errors == 1
    assert "The audit has 1 error on this data" in repr(touched)
    assert trend(spoiled, "total_cost").findings.errors == 0
    both = pl.concat([spoiled, checkpoints("base", 2, 20)])
    assert analysis.compare(both, "agent", baseline="base")[RATE].findings.errors == 1
    assert before_after(spoiled, RATE, at=START + 9 * DAY).findings.errors == 1
    assert changepoints(spoiled, RATE).findings.errors == 1


@pytest.mark.slow
def test_without_the_extra_the_error_says_what_to_install() -> None:
    """Without scipy the statistics say how to get them; summary, resample and audit need neither."""
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
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == ["16 3 0", "True evalkit.analysis needs scipy, which is not installed. Install: pip install scipy jinja2"]


# The layers of charts


@pytest.mark.slow
def test_a_chart_takes_the_line_of_a_trend_and_the_marks_of_changes() -> None:
    """The line is the fitted one with its interval; a shift is a band from the low to the high end of its date."""
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
    with pytest.raises(InvalidInputError, match="Invalid fit 'str': is nothing to draw here"):
        plots.trend(rows, "agent_efficiency", fit="yes")
    with pytest.raises(InvalidInputError, match="Invalid changes 'PerStudy': is nothing to draw here"):
        plots.trend(rows, "agent_efficiency", changes=fit)


@pytest.mark.slow
def test_an_audit_and_a_comparison_are_drawn() -> None:
    """A bar for each finding with a time, a dot with its interval for each difference; with nothing to draw the chart says so."""
    rows = checkpoints(count=20, left_out=(4, 5, 9))
    assert svg(analysis.audit(rows).plot()).count("missing_period") == 0
    assert "missing period" in svg(analysis.audit(rows).plot())
    assert "Nothing to draw" in svg(analysis.audit(checkpoints(count=20)).plot())
    both = pl.concat([rows, checkpoints("base", 2, 20, seed=2)])
    found = analysis.compare(both, "agent", baseline="base")
    assert plots.table(found.plot()).height == 16
    assert "Session success rate" in svg(found.plot())
    assert "Nothing to draw" in svg(
        analysis.compare(both.filter(pl.int_range(pl.len()).over("study") < 3), "agent", baseline="base").plot()
    )


# What fresh eyes found


@pytest.mark.slow
def test_a_rate_that_happens_to_be_alike_has_the_width_of_its_trials() -> None:
    """Eight nights of one session each, all successful, do not make a rate of exactly 1; where no count is known the result says so."""
    rows = checkpoints(count=8).with_columns(session_success_rate=pl.lit(1.0), sessions_completed=pl.lit(1), tool_success_rate=pl.lit(1.0))
    counted = trend(rows, RATE)
    assert counted.total_change.low < -0.3 < 0.3 < counted.total_change.high
    assert counted.verdict == "no significant trend"
    assert "has no width" in repr(trend(rows, "tool_success_rate"))
    base = checkpoints("base", 2, 8).with_columns(session_success_rate=pl.lit(0.5), sessions_completed=pl.lit(2))
    found = analysis.compare(pl.concat([rows, base], how="vertical_relaxed"), "agent", baseline="base")[RATE]
    assert found.difference.half_width > 0.2


@pytest.mark.slow
def test_the_same_tasks_each_night_are_no_independent_trials() -> None:
    """Of 20 tasks 12 are solved each night, then 13, with a flip now and then: all analyses tell it, and that it holds for these tasks."""
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
def test_independent_trials_are_not_taken_for_the_same_tasks(trials: int, rate: float, count: int) -> None:
    """Of many series of independent trials hardly one varies so little that its trials would pass for dependent."""
    random = np.random.default_rng([trials, count])
    dependent = 0
    for _ in range(in_long_form(400, 100)):
        rates, counted = random.binomial(trials, rate, count) / trials, np.full(count, float(trials))
        dependent += trials_of(rates, *chance_of(rates, counted)).steady
    assert dependent <= in_long_form(4, 2)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["a large step", "a large rise", "uneven counts"])
def test_neither_steps_nor_uneven_counts_pass_for_the_same_tasks(case: str) -> None:
    """Of 200 series of independent trials hardly one does, whatever their rates and counts."""
    random = np.random.default_rng(3)
    rates = np.r_[[0.05] * 60, [0.95] * 60] if case == "a large step" else np.linspace(0.05, 0.95, 120)
    counts = np.full(120, 20)
    if case == "uneven counts":
        rates, counts = np.full(30, 0.8), np.r_[[1, 1], [500] * 28]
    dependent = 0
    for _ in range(200):
        drawn = random.binomial(counts, rates) / counts
        dependent += trials_of(drawn, *chance_of(drawn, counts.astype(float))).steady
    assert dependent <= 2


def test_where_nothing_varies_the_chance_in_the_trials_is_all_that_is_known() -> None:
    """Two rates that stand still at 20 tasks a night differ by no more than independent trials could: nothing is claimed for certain."""
    rows = pl.concat([frame([0.5] * 8, RATE), frame([0.6] * 8, RATE, name="base", number=2)]).with_columns(sessions_completed=pl.lit(20))
    found = analysis.compare(rows, "agent", baseline="base", metrics=[RATE])[RATE]
    assert found.verdict == "no significant difference"
    assert found.difference.half_width > 0.05
    step = frame([0.5] * 10 + [0.6] * 10, RATE).with_columns(sessions_completed=pl.lit(50))
    assert before_after(step, RATE, at=START + 10 * DAY).effect.half_width > 0.05


def test_pairs_on_the_same_tasks_say_so_and_pairs_that_never_differ_are_not_tested() -> None:
    """What both are tried on moves both; a study against its own copy differs nowhere, nor by the error of computing."""
    tasks = np.random.default_rng(7).uniform(0, 1, (30, 400))
    rows = pl.concat([frame((tasks < 0.5).mean(axis=1), RATE), frame((tasks < 0.53).mean(axis=1), RATE, name="base", number=2)])
    found = analysis.compare(rows.with_columns(sessions_completed=pl.lit(400)), "agent", baseline="base", metrics=[RATE])[RATE]
    assert caveat(Caveat(CaveatKind.SAME_TASKS)) in found.caveats
    values = 0.7 + noise(20, 5) / 50
    copy = pl.concat([frame(values, RATE), frame(values * (1 + 2e-16), RATE, name="base", number=2)])
    same = analysis.compare(copy, "agent", baseline="base", metrics=[RATE])
    assert (same[RATE].p, same[RATE].verdict) == (None, "no significant difference")
    assert "no pair differs, so nothing was tested" in repr(same)
    assert same.plot() is not None


def test_pairs_are_counted_before_long_series_are_averaged() -> None:
    """900 hours in common of 5,000 are fewer than half, though they are more than the days."""
    values = noise(5000, 8) / 20 + 0.5
    hours = frame(values).with_columns(period_start=START + pl.int_range(pl.len()) * timedelta(hours=1), period_type=pl.lit("hourly"))
    hours = hours.with_columns(period_end=pl.col("period_start") + timedelta(hours=1))
    later = pl.col("period_start", "period_end") + timedelta(hours=4100)
    other = hours.with_columns(later, study_id=pl.lit(study_id(2)), study=pl.lit("base"))
    found = analysis.compare(pl.concat([hours, other]), "agent", baseline="base", metrics=["agent_efficiency"])["agent_efficiency"]
    assert found.pairs is None
    assert "900 periods have a value in both: fewer than half of the shorter study's" in repr(found)


def test_neighbours_that_are_very_alike_are_told_by_a_comparison_too() -> None:
    """Where a series wanders, a difference of means may be chance more often than the p-value says."""
    walk = frame(0.5 + 0.02 * np.cumsum(noise(40, 5)))
    still = pl.concat([walk, frame(0.45 + noise(40, 6) / 100, name="base", number=2)])
    assert caveat(Caveat(CaveatKind.AUTOCORRELATED)) in analysis.compare(still, "agent", baseline="base")["agent_efficiency"].caveats


@pytest.mark.slow
def test_a_few_chance_pairs_do_not_throw_the_rest_away() -> None:
    """With 8 periods in common of 60 the means of all are compared; with most in common the pairs, and it says what is not used."""
    values = noise(60, 3) / 20
    far = pl.concat([frame(values + 0.7), frame(noise(60, 4) / 20 + 0.5, name="base", number=2, start=START + 52 * DAY)])
    found = analysis.compare(far, "agent", baseline="base")["agent_efficiency"]
    assert (found.verdict, found.pairs) == ("better", None)
    assert "8 periods have a value in both: fewer than half of the shorter study's, so the two are compared unpaired." in repr(found)
    short = analysis.compare(
        pl.concat([far[52:60], frame(noise(9, 4), name="base", number=2, start=START + 54 * DAY)]), "agent", baseline="base"
    )
    assert "6 periods have a value in both: fewer than 8, so the two are compared unpaired." in repr(short)
    assert "compared unpaired" not in repr(analysis.compare(two(apart=30), "agent", baseline="base"))
    near = pl.concat([frame(values + 0.7), frame(noise(60, 4) / 20 + 0.5, name="base", number=2, start=START + 10 * DAY)])
    found = analysis.compare(near, "agent", baseline="base")["agent_efficiency"]
    assert found.pairs == 50
    assert "50 periods have a value in both. The other periods of 60 and 60 checkpoints are not used." in repr(found)


@pytest.mark.parametrize(("later", "shorter"), [(60, 0), (0, 1), (-3600, 0), (11 * 3600, 0), (-60, 7200)])
def test_periods_that_are_nearly_the_same_are_pairs(later: int, shorter: int) -> None:
    """A baseline whose periods begin or end some time beside the study's is paired as one whose periods are the same."""
    exact = analysis.compare(two(), "agent", baseline="base")["agent_efficiency"]
    rows = two().with_columns(period_type=pl.lit(None, dtype=pl.String()))
    base = pl.col("study") == "base"
    moved = rows.with_columns(
        period_start=pl.when(base).then(pl.col("period_start") + timedelta(seconds=later)).otherwise("period_start"),
        period_end=pl.when(base).then(pl.col("period_end") + timedelta(seconds=later - shorter)).otherwise("period_end"),
    )
    found = analysis.compare(moved, "agent", baseline="base")["agent_efficiency"]
    assert (found.pairs, found.study_mean, found.baseline_mean) == (20, exact.study_mean, exact.baseline_mean)
    assert found.difference.value == pytest.approx(exact.difference.value)
    assert (found.difference.low, found.difference.high) == pytest.approx((exact.difference.low, exact.difference.high))


def test_half_a_day_is_not_the_same_day() -> None:
    """Periods that overlap by half of them, or a week and a day of it, are no pairs."""
    assert analysis.compare(two(apart=0).pipe(_moved, timedelta(hours=12)), "agent", baseline="base")["agent_efficiency"].pairs is None
    week = frame(noise(10, 1)).with_columns(period_end=pl.col("period_start") + 7 * DAY, period_type=pl.lit("weekly"))
    found = analysis.compare(pl.concat([week, frame(noise(10, 2), name="base", number=2)]), "agent", baseline="base")
    assert found["agent_efficiency"].pairs is None


def _moved(rows: pl.DataFrame, by: timedelta) -> pl.DataFrame:
    base = pl.col("study") == "base"
    return rows.with_columns(pl.when(base).then(pl.col(name) + by).otherwise(name).alias(name) for name in ("period_start", "period_end"))


_PERIODS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5)), max_size=5, unique=True)


@pytest.mark.slow
@given(_PERIODS, _PERIODS)
@settings(max_examples=examples(200))
def test_pairs_are_those_of_trying_all(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    """Of all pairs that overlap by more than half of the longer period, or are the same, the nearest are taken first, each period once."""
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
    found = list(zip(*(places.tolist() for places in matched(*frames)), strict=True))
    assert set(found) <= set(apart)
    for side in (0, 1):
        assert len({pair[side] for pair in found}) == len(found)
    for pair, distance in apart.items():  # what is not taken has lost one of its two to a pair as near or nearer
        assert pair in found or any(apart[taken] <= distance for taken in found if taken[0] == pair[0] or taken[1] == pair[1])


@given(
    later=st.integers(-11, 11), hours=st.lists(st.integers(0, 239), min_size=20, max_size=120, unique=True),
    days=st.sets(st.integers(0, 9)), weeks=st.sets(st.integers(-1, 1)),
)  # fmt: skip
@settings(max_examples=examples(60))
def test_pairs_are_the_same_whichever_study_is_named_first(later: int, hours: list[int], days: set[int], weeks: set[int]) -> None:
    """Days beside a study's days, hours and weeks are paired with its days, from either side, however many hours lie between."""
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
    found = set(zip(*(places.tolist() for places in pairs), strict=True))
    assert found == set(zip(*(places.tolist() for places in turned[::-1]), strict=True))
    assert found == {(day, len(hours) + place) for place, day in enumerate(sorted(days))}


def test_a_comparison_of_days_beside_hours_has_its_pairs_from_either_side() -> None:
    """Days from 07:00 are compared with days from 00:00 in pairs, though the baseline has a checkpoint of each hour as well."""
    one, days = frame(noise(30, 1), start=START + timedelta(hours=7)), frame(noise(30, 2), name="base", number=2)
    rows = pl.concat([one, days, hourly(noise(720, 3), "base", 2).select(days.columns)]).with_columns(
        period_type=pl.lit(None, dtype=pl.String())
    )
    found = [analysis.compare(rows, study, baseline=base)["agent_efficiency"] for study, base in (("agent", "base"), ("base", "agent"))]
    assert [one.pairs for one in found] == [30, 30]
    assert found[0].difference.value == pytest.approx(-found[1].difference.value)


@pytest.mark.slow
def test_a_pause_is_no_missing_checkpoint_where_the_lifecycle_is_given() -> None:
    """With (checkpoints, lifecycle) a pause is not carried as a finding; results and resampled frames are taken as they are."""
    rows = checkpoints(count=30, left_out=(10, 11, 12))
    lived = lifecycle("agent", 1, ("study_started", START), ("study_paused", START + 10 * DAY), ("study_resumed", START + 13 * DAY))
    assert trend(rows, RATE).findings.warnings == 1
    for found in (
        trend(StudyData(rows, lived), RATE),
        changepoints(StudyData(rows, lived), RATE),
        before_after(StudyData(rows, lived), RATE, at=START + 20 * DAY),
    ):
        assert found.findings.warnings == 0
        assert found.plot().to_dict()
    both = pl.concat([rows, checkpoints("base", 2, 30)])
    assert analysis.compare(StudyData(both, lived), "agent", baseline="base")[RATE].findings.warnings == 0


@pytest.mark.parametrize("library", ["polars", "pandas"])
def test_totals_of_weeks_that_are_covered_in_part_are_left_out(library: str) -> None:
    """The last week of a roll-up has one day: its total is no fall, its rate is a rate."""
    rows = checkpoints(count=71).with_columns(total_tokens=pl.lit(7_000, dtype=pl.Int64))
    weeks = analysis.resample(rows if library == "polars" else to_pandas(rows, CHECKPOINTS), "weekly")
    totals = trend(weeks, "total_tokens")
    assert (totals.slope.value, totals.checkpoints, totals.missing) == (0.0, 10, 1)
    assert "cover only in part are left out" in repr(totals)
    assert trend(weeks, RATE).checkpoints == 11
    assert "have no value" not in repr(totals)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["polars", "pandas"])
def test_what_is_not_marked_as_partial_is_whole(library: str) -> None:
    """Beside the rows of a roll-up those of a plain frame keep their totals; a mark that is neither true nor false is refused by name."""
    tokens = pl.lit(7_000, dtype=pl.Int64).alias("total_tokens")
    weeks = analysis.resample(checkpoints(count=71).with_columns(tokens), "weekly").frame
    plain = checkpoints("base", 2, 20).with_columns(tokens)
    both = pl.concat([weeks, plain], how="diagonal")
    marked = both.with_columns(partial=pl.lit("no"))
    if library == "pandas":
        both = pd.concat([to_pandas(weeks, RESAMPLED), to_pandas(plain, CHECKPOINTS)])
        marked = both.assign(partial=2)
    found = analysis.trend(both, "total_tokens")
    assert [(one.checkpoints, one.missing) for one in found.results] == [(10, 1), (20, 0)]
    assert analysis.compare(both, "base", baseline="agent", metrics="total_tokens")["total_tokens"].study_checkpoints == 20
    with pytest.raises(InvalidInputError, match=r"the column 'partial' holds .*; true and false are needed"):
        trend(marked, "total_tokens")
    assert len(analysis.trend(marked, RATE)) == 2


@pytest.mark.slow
def test_neighbours_that_are_very_alike_are_told() -> None:
    """Of series with an autocorrelation of 0.95 most results warn that they may wander; of independent ones hardly any."""
    series = in_long_form(20, 8)
    warned = {
        rho: sum("wanders" in repr(trend(frame(noise(40, seed, rho) / 10), "agent_efficiency")) for seed in range(series))
        for rho in (0.0, 0.95)
    }
    assert warned[0.0] <= 1
    assert warned[0.95] >= 0.7 * series


@pytest.mark.slow
def test_the_interval_of_a_shift_ends_at_its_neighbours() -> None:
    """Of two shifts neither date reaches over the other."""
    steps = 0.2 * (np.arange(60) >= 20) - 0.2 * (np.arange(60) >= 40)
    for seed in range(6):
        changes = changepoints(frame(0.5 + steps + noise(60, seed) / 15), "agent_efficiency").changes
        for one, other in pairwise(changes):
            assert one.high < other.at
            assert other.low > one.at


@pytest.mark.slow
def test_a_comparison_in_which_nothing_differs_still_has_its_numbers() -> None:
    """Of few metrics every difference is told; of many what they rest on and what the audit found; a power is that after the correction."""
    one = repr(analysis.compare(two(), "agent", baseline="base", metrics="agent_efficiency"))
    assert "95 % interval" in one
    assert "20 pairs" in one
    assert "corrected for" not in one
    rows = pl.concat([checkpoints("agent", 1, 20), checkpoints("base", 2, 20, seed=2, left_out=(4,))])
    found = analysis.compare(rows, "agent", baseline="base")
    assert "Rests on: 16 metrics in 19 pairs of the same period" in repr(found)
    assert "The audit has 1 warning" in repr(found)
    difference = found["total_cost"]
    assert difference.tests == 16
    assert difference.more_needed(difference.spread / 2) > difference._adjusted(difference.p, 1).more_needed(difference.spread / 2)
    uneven = repr(
        analysis.compare(rows.with_columns(total_cost=pl.when(pl.int_range(pl.len()) > 0).then("total_cost")), "agent", baseline="base")
    )
    assert "Rests on: 16 metrics in 18 to 19 pairs of the same period" in uneven
    with pytest.raises(InvalidInputError, match="names no metric"):
        analysis.compare(rows, "agent", baseline="base", metrics=[])


@pytest.mark.slow
def test_a_comparison_names_what_only_the_correction_hides() -> None:
    """Of sixteen metrics the one that would be told alone stands by name; what is told, or would not be told alone, does not."""
    rows = pl.concat([quiet(2), quiet(3, number=2)])
    found = analysis.compare(rows, "study 1", baseline="study 2")
    hidden = [one.metric.label.lower() for one in found.differences if one.p <= 0.05]
    assert 0 < len(hidden) < 16
    assert {one.verdict for one in found.differences} == {"no significant difference"}
    assert f"\nTold alone, but not among all that was looked at: {', '.join(hidden)}.\n" in repr(found)
    one = analysis.compare(rows, "study 1", baseline="study 2", metrics=[one.metric.name for one in found.differences if one.p <= 0.05][:1])
    assert one.differences[0].verdict != "no significant difference"
    assert "Told alone" not in repr(one)


def test_months_are_as_long_as_each_other() -> None:
    """Totals of two monthly studies are compared though months have 28 to 31 days, also where no period type says so."""
    rows = pl.concat(
        [checkpoints("agent", 1, 12, period="monthly"), checkpoints("base", 2, 12, period="monthly", seed=2, start=START + 31 * DAY)]
    )
    found = analysis.compare(rows.drop("period_type"), "agent", baseline="base")["total_cost"]
    assert found.difference is not None
