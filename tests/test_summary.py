"""Summing up metrics, held against numpy and against arithmetic in fractions."""

from __future__ import annotations

import math
from datetime import timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from evalkit import StudyData
from evalkit.analysis import resample, summary
from evalkit.domain.metrics import METRICS
from evalkit.errors import InvalidInputError
from evalkit.frames.columns import CHECKPOINTS
from evalkit.frames.pandas_output import to_pandas
from tests.analysis_frames import assert_same, hourly_frames, odd_frames
from tests.chart_frames import checkpoints, lifecycle
from tests.properties import examples

COLUMNS = [
    "study_id", "study", "metric", "label", "unit", "checkpoints", "missing", "first", "last", "min", "max", "median", "p95", "mean",
    "weighted_mean", "rests_on", "total",
]  # fmt: skip


def plain(value: Any) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def row(found: Any, metric: str) -> dict[str, Any]:
    return found.frame.filter(metric=metric).row(0, named=True)  # type: ignore[no-any-return]


@pytest.mark.slow
@settings(max_examples=examples(100))
@given(frame=hourly_frames())
def test_every_statistic_is_that_of_numpy(frame: pl.DataFrame) -> None:
    """For each study and metric all plain statistics equal numpy's to 1e-9, over the checkpoints that have a value, in order of time."""
    rows = summary(frame).frame.to_dicts()
    studies = sorted(set(frame["study_id"]))
    assert [(one["study_id"], one["metric"]) for one in rows] == [(study, name) for study in studies for name in METRICS]
    for one in rows:
        of_study = frame.filter(study_id=one["study_id"]).sort("period_start", maintain_order=True)
        values = [plain(value) for value in of_study[one["metric"]] if value is not None]
        assert (one["checkpoints"], one["missing"]) == (of_study.height, of_study.height - len(values))
        assert (one["label"], one["unit"]) == (METRICS[one["metric"]].label, METRICS[one["metric"]].unit)
        if not values:
            assert {one[name] for name in COLUMNS[7:]} == {None}
            continue
        plain_ones = [("first", values[0]), ("last", values[-1]), ("min", min(values)), ("max", max(values))]
        for name, wanted in (*plain_ones, ("median", np.median(values)), ("p95", np.quantile(values, 0.95)), ("mean", np.mean(values))):
            assert math.isclose(one[name], wanted, rel_tol=1e-9, abs_tol=1e-300), name
        if METRICS[one["metric"]].rollup == "sum":
            assert math.isclose(one["total"], math.fsum(values), rel_tol=1e-9)
        else:
            assert one["total"] is None


@pytest.mark.slow
@settings(max_examples=examples(100))
@given(frame=hourly_frames())
def test_weighted_means_are_those_of_fractions(frame: pl.DataFrame) -> None:
    """Where the catalogue has a denominator, the weighted mean is the rate of the whole over the checkpoints that have both."""
    for one in summary(frame).frame.to_dicts():
        metric = METRICS[one["metric"]]
        rows = frame.filter(study_id=one["study_id"]).to_dicts()
        if metric.rollup in ("sum", "none"):
            assert (one["weighted_mean"], one["rests_on"]) == (None, None)
        elif metric.rollup == "weighted":
            pairs = [(each[metric.denominator], each[metric.name]) for each in rows]
            used = [(n, Fraction(plain(value))) for n, value in pairs if n and value is not None]
            assert one["rests_on"] == (sum(n for n, _ in used) or None)
            assert_near(one["weighted_mean"], sum(n * value for n, value in used) / Fraction(sum(n for n, _ in used)) if used else None)


def assert_near(found: float | None, wanted: Fraction | int | None) -> None:
    assert (found is None) == (wanted is None)
    if found is not None and wanted is not None:
        assert abs(Fraction(found) - wanted) <= abs(wanted) * Fraction(1, 10**9)


@pytest.mark.parametrize(
    ("rows", "value", "rests_on"),
    [
        ([(6.0, 2.0, 5), (4.0, 4.0, 3)], 2.5, 4),
        ([(6.0, 2.0, 5), (4.0, None, 0)], 10 / 3, 3),
        ([(6.0, 2.0, 5), (4.0, None, 3)], 2.0, 3),
        ([(6.0, 2.0, 5), (0.0, 0.0, 3)], 2.0, 3),
        ([(0.0, 0.0, 5), (0.0, 0.0, 3)], 0.0, None),
        ([(6.0, None, 0), (4.0, None, 0)], None, None),
        ([(None, 2.0, 5), (None, 2.0, 5)], None, None),
    ],
)  # fmt: skip
def test_cost_per_success_is_total_cost_over_implied_successes(rows: list[Any], value: float | None, rests_on: int | None) -> None:
    """Cost per successful task sums up as money over successes, from the checkpoints that tell both, and from those without a task."""
    columns = {"total_cost": pl.Float64(), "cost_per_successful_task": pl.Float64(), "tasks_completed": pl.Int64()}
    given_rows = pl.DataFrame(rows, schema=columns, orient="row")
    found = row(summary(checkpoints(count=2).with_columns(*given_rows)), "cost_per_successful_task")
    assert found["weighted_mean"] == (None if value is None else pytest.approx(value, rel=1e-14))
    assert found["rests_on"] == rests_on


def test_a_mean_of_rates_is_not_the_rate_of_the_whole() -> None:
    """1 of 1 and 0 of 9 are 50 % on average and 10 % together, and the sentence says both."""
    frame = checkpoints(count=2).with_columns(sessions_completed=pl.Series([1, 9]), session_success_rate=pl.Series([1.0, 0.0]))
    found = summary(frame)
    assert row(found, "session_success_rate")["mean"] == 0.5
    assert row(found, "session_success_rate")["weighted_mean"] == pytest.approx(0.1, rel=1e-15)
    assert found.sentences() == [
        "2 checkpoints of the study agent, 2026-01-05 to 2026-01-07 UTC; no value is missing.",
        "Session success rate: first 100.0 %, last 0.0 %, together 10.0 % over 10 sessions completed (mean of the checkpoints 50.0 %).",
        "First and last are single checkpoints, and tell no trend.",
    ]


@pytest.mark.slow
@settings(max_examples=examples(40))
@given(frame=hourly_frames(), seed=st.integers(0, 1000))
def test_the_order_of_rows_is_of_no_matter(frame: pl.DataFrame, seed: int) -> None:
    """The same checkpoints in another order give the same table: first and last are by time."""
    frame = frame.unique(["study_id", "period_start"], keep="first", maintain_order=True)
    assert_same(summary(frame.sample(fraction=1, shuffle=True, seed=seed)).frame, summary(frame).frame)


@pytest.mark.parametrize("odd", odd_frames())
def test_odd_frames_are_summed_up_alike_in_polars_and_pandas(odd: str) -> None:
    """No frame is too odd: each gives a table and sentences, and the same from Pandas as from Polars."""
    frame = odd_frames()[odd]
    found = summary(frame)
    assert list(found.frame.columns) == COLUMNS
    assert found.sentences()
    assert found._repr_markdown_()
    assert not any(series.is_infinite().any() or series.is_nan().any() for series in found.frame if series.dtype.is_float())
    if frame.height > 10_000:
        return
    twin = summary(to_pandas(frame, {name: CHECKPOINTS[name] for name in frame.columns}))
    assert type(twin.frame).__module__.startswith("pandas")
    for name in COLUMNS:
        gone = twin.frame[name].isna().tolist()
        assert [None if lost else value for lost, value in zip(gone, twin.frame[name].tolist(), strict=True)] == found.frame[name].to_list()
    assert repr(twin) == repr(found)


def test_only_metrics_that_are_there_have_a_row() -> None:
    """A frame with one metric gives one row a study, whose weighted mean is missing where the denominator's column is."""
    found = summary(checkpoints().select("period_start", "period_end", "session_success_rate"))
    assert found.frame.height == 1
    assert row(found, "session_success_rate")["weighted_mean"] is None
    assert "mean of the checkpoints" in repr(found)


def test_resampled_checkpoints_are_summed_up_as_they_are() -> None:
    """What resample gives goes in, and the rate of the whole stays what it was."""
    frame = checkpoints(count=60)
    whole, weeks = summary(frame), summary(resample(frame, "weekly"))
    for name in ("session_success_rate", "first_attempt_success_rate"):
        assert row(weeks, name)["weighted_mean"] == pytest.approx(row(whole, name)["weighted_mean"], rel=1e-12)
        assert row(weeks, name)["rests_on"] == row(whole, name)["rests_on"]
    assert row(weeks, "total_cost")["total"] == pytest.approx(row(whole, "total_cost")["total"], rel=1e-12)


def test_a_lifecycle_beside_the_checkpoints_changes_nothing() -> None:
    """Data with a lifecycle, and what was resampled from it, are summed up as the checkpoints are."""
    rows, lived = checkpoints(count=14), lifecycle("agent", 1)
    assert_frame_equal(summary(StudyData(rows, lived)).frame, summary(rows).frame)
    assert_frame_equal(summary(resample(StudyData(rows, lived), "weekly")).frame, summary(resample(rows, "weekly")).frame)


def test_many_studies_are_told_from_lowest_to_highest() -> None:
    """Up to three studies are told one by one; of 50 the lowest and the highest are named."""
    few = pl.concat([checkpoints("alpha", 1), checkpoints("beta", 2, seed=2)])
    assert repr(summary(few)).count("together") == 2
    many = pl.concat([checkpoints(f"agent {number:02}", number, 5, seed=number) for number in range(1, 51)])
    told = summary(many).sentences()
    assert told[0].startswith("250 checkpoints of 50 studies, 2026-01-05 to 2026-01-10 UTC")
    assert told[1].startswith("Session success rate, weighted mean of 50 studies: from ")
    assert sum(map(len, told)) < 400


def test_nothing_is_said_about_nothing() -> None:
    """No checkpoints, and checkpoints without a value, are told as what they are."""
    assert summary(checkpoints().clear()).sentences() == ["Nothing to sum up: no checkpoints."]
    assert summary(checkpoints().clear()).frame.height == 0
    bare = odd_frames()["all missing"]
    assert summary(bare).sentences()[1] == "No metric has a value."


def test_names_are_no_markup() -> None:
    """A study's name shows as it is in HTML and Markdown."""
    found = summary(checkpoints("<b>*x*"))
    assert "&lt;b&gt;*x*" in found._repr_html_()
    assert r"\*x\*" in found._repr_markdown_()


@pytest.mark.slow
def test_the_plot_is_the_overview() -> None:
    """Drawing a summary draws every metric that has data."""
    assert summary(checkpoints()).plot().to_dict()["title"]["text"] == ["Overview"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (checkpoints().select("period_start", "period_end"), "it has no metric. The metrics are sessions_completed, "),
        (checkpoints().drop("period_start"), "it has no column 'period_start'"),
        ("checkpoints", "a str is no Polars or Pandas frame"),
        (None, "a NoneType is no Polars or Pandas frame"),
        ((checkpoints(), lifecycle()), r"data: \(DataFrame, DataFrame\) is a tuple. Give kit.data\(\), or StudyData\(checkpoints, lifecycle\)."),
    ],
)  # fmt: skip
def test_wrong_frames_are_refused_in_words(wrong: Any, says: str) -> None:
    """What is no frame of checkpoints is refused with what would be right."""
    with pytest.raises(InvalidInputError, match=says):
        summary(wrong)
