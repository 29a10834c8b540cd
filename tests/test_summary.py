"""Summary statistics, compared with numpy and with exact fractions."""

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
from evalkit.domain.catalog import METRICS
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


def row(result: Any, metric: str) -> dict[str, Any]:
    return result.frame.filter(metric=metric).row(0, named=True)  # type: ignore[no-any-return]


@pytest.mark.slow
@settings(max_examples=examples(100))
@given(frame=hourly_frames())
def test_statistics_match_numpy(frame: pl.DataFrame) -> None:
    """Statistics of each study and metric over checkpoints with a value, by time, equal those of numpy to 1e-9."""
    rows = summary(frame).frame.to_dicts()
    studies = sorted(set(frame["study_id"]))
    assert [(row["study_id"], row["metric"]) for row in rows] == [(study, name) for study in studies for name in METRICS]
    for row in rows:
        of_study = frame.filter(study_id=row["study_id"]).sort("period_start", maintain_order=True)
        values = [plain(value) for value in of_study[row["metric"]] if value is not None]
        assert (row["checkpoints"], row["missing"]) == (of_study.height, of_study.height - len(values))
        assert (row["label"], row["unit"]) == (METRICS[row["metric"]].label, METRICS[row["metric"]].unit)
        if not values:
            assert {row[name] for name in COLUMNS[7:]} == {None}
            continue
        plain_ones = [("first", values[0]), ("last", values[-1]), ("min", min(values)), ("max", max(values))]
        for name, wanted in (*plain_ones, ("median", np.median(values)), ("p95", np.quantile(values, 0.95)), ("mean", np.mean(values))):
            assert math.isclose(row[name], wanted, rel_tol=1e-9, abs_tol=1e-300), name
        if METRICS[row["metric"]].rollup == "sum":
            assert math.isclose(row["total"], math.fsum(values), rel_tol=1e-9)
        else:
            assert row["total"] is None


@pytest.mark.slow
@settings(max_examples=examples(100))
@given(frame=hourly_frames())
def test_weighted_means_match_exact_fractions(frame: pl.DataFrame) -> None:
    for row in summary(frame).frame.to_dicts():
        metric = METRICS[row["metric"]]
        rows = frame.filter(study_id=row["study_id"]).to_dicts()
        if metric.rollup in ("sum", "none"):
            assert (row["weighted_mean"], row["rests_on"]) == (None, None)
        elif metric.rollup == "weighted":
            pairs = [(each[metric.denominator], each[metric.name]) for each in rows]
            used = [(n, Fraction(plain(value))) for n, value in pairs if n and value is not None]
            assert row["rests_on"] == (sum(n for n, _ in used) or None)
            assert_near(row["weighted_mean"], sum(n * value for n, value in used) / Fraction(sum(n for n, _ in used)) if used else None)


def assert_near(computed: float | None, wanted: Fraction | int | None) -> None:
    assert (computed is None) == (wanted is None)
    if computed is not None and wanted is not None:
        assert abs(Fraction(computed) - wanted) <= abs(wanted) * Fraction(1, 10**9)


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
    columns = {"total_cost": pl.Float64(), "cost_per_successful_task": pl.Float64(), "tasks_completed": pl.Int64()}
    values = pl.DataFrame(rows, schema=columns, orient="row")
    result = row(summary(checkpoints(count=2).with_columns(*values)), "cost_per_successful_task")
    assert result["weighted_mean"] == (None if value is None else pytest.approx(value, rel=1e-14))
    assert result["rests_on"] == rests_on


def test_summary_text_has_pooled_rate_and_mean() -> None:
    """1 of 1 and 0 of 9 have a mean of 50% and a pooled rate of 10%."""
    frame = checkpoints(count=2).with_columns(sessions_completed=pl.Series([1, 9]), session_success_rate=pl.Series([1.0, 0.0]))
    result = summary(frame)
    assert row(result, "session_success_rate")["mean"] == 0.5
    assert row(result, "session_success_rate")["weighted_mean"] == pytest.approx(0.1, rel=1e-15)
    assert result.sentences() == [
        "agent, session success rate: pooled rate 10.0% (first 100.0%, last 0.0%, mean of checkpoints 50.0%; 2 checkpoints, 10 sessions).",
        "2 checkpoints of 1 study, 2026-01-05 to 2026-01-07 UTC; no missing values. Pooled rate: weighted by sessions completed. First and last are single checkpoints, not a trend.",
    ]


@pytest.mark.slow
@settings(max_examples=examples(40))
@given(frame=hourly_frames(), seed=st.integers(0, 1000))
def test_summary_does_not_depend_on_row_order(frame: pl.DataFrame, seed: int) -> None:
    frame = frame.unique(["study_id", "period_start"], keep="first", maintain_order=True)
    assert_same(summary(frame.sample(fraction=1, shuffle=True, seed=seed)).frame, summary(frame).frame)


@pytest.mark.parametrize("odd", odd_frames())
def test_unusual_frames_are_summarized_equally_in_polars_and_pandas(odd: str) -> None:
    frame = odd_frames()[odd]
    result = summary(frame)
    assert list(result.frame.columns) == COLUMNS
    assert result.sentences()
    assert result._repr_markdown_()
    assert not any(series.is_infinite().any() or series.is_nan().any() for series in result.frame if series.dtype.is_float())
    if frame.height > 10_000:
        return
    in_pandas = summary(to_pandas(frame, {name: CHECKPOINTS[name] for name in frame.columns}))
    assert type(in_pandas.frame).__module__.startswith("pandas")
    for name in COLUMNS:
        missing = in_pandas.frame[name].isna().tolist()
        assert [None if null else value for null, value in zip(missing, in_pandas.frame[name].tolist(), strict=True)] == result.frame[
            name
        ].to_list()
    assert repr(in_pandas) == repr(result)


def test_summary_has_rows_for_existing_metrics() -> None:
    """Without the column of the denominator, the weighted mean is missing."""
    result = summary(checkpoints().select("period_start", "period_end", "session_success_rate"))
    assert result.frame.height == 1
    assert row(result, "session_success_rate")["weighted_mean"] is None
    assert "mean of checkpoints" in repr(result)


def test_pooled_rate_of_resampled_checkpoints_is_unchanged() -> None:
    frame = checkpoints(count=60)
    whole, weeks = summary(frame), summary(resample(frame, "weekly"))
    for name in ("session_success_rate", "first_attempt_success_rate"):
        assert row(weeks, name)["weighted_mean"] == pytest.approx(row(whole, name)["weighted_mean"], rel=1e-12)
        assert row(weeks, name)["rests_on"] == row(whole, name)["rests_on"]
    assert row(weeks, "total_cost")["total"] == pytest.approx(row(whole, "total_cost")["total"], rel=1e-12)


def test_lifecycle_does_not_change_the_summary() -> None:
    rows, lived = checkpoints(count=14), lifecycle("agent", 1)
    assert_frame_equal(summary(StudyData(rows, lived)).frame, summary(rows).frame)
    assert_frame_equal(summary(resample(StudyData(rows, lived), "weekly")).frame, summary(resample(rows, "weekly")).frame)


def test_summary_text_of_many_studies_has_the_range() -> None:
    """Up to three studies have a line each; of 50, the lowest and highest are named."""
    few = pl.concat([checkpoints("alpha", 1), checkpoints("beta", 2, seed=2)])
    assert repr(summary(few)).count("session success rate: pooled rate") == 2
    many = pl.concat([checkpoints(f"agent {number:02}", number, 5, seed=number) for number in range(1, 51)])
    sentences = summary(many).sentences()
    assert sentences[0].startswith("50 studies, session success rate: pooled rate from ")
    assert sentences[1].startswith("250 checkpoints of 50 studies, 2026-01-05 to 2026-01-10 UTC")
    assert sum(map(len, sentences)) < 400


def test_summary_text_without_checkpoints_or_values() -> None:
    assert summary(checkpoints().clear()).sentences() == ["No checkpoints to summarize."]
    assert summary(checkpoints().clear()).frame.height == 0
    bare = odd_frames()["all missing"]
    assert summary(bare).sentences() == ["No metric has a value (10 checkpoints of 1 study, 2026-01-05 to 2026-01-15 UTC)."]


def test_names_are_escaped() -> None:
    result = summary(checkpoints("<b>*x*"))
    assert "&lt;b&gt;*x*" in result._repr_html_()
    assert r"\*x\*" in result._repr_markdown_()


@pytest.mark.slow
def test_plot_of_a_summary_is_the_overview() -> None:
    assert summary(checkpoints()).plot().to_dict()["title"]["text"] == ["Overview"]


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        (checkpoints().select("period_start", "period_end"), "no column with a metric. Valid metrics: sessions_completed, "),
        (checkpoints().drop("period_start"), "'period_start'"),
        ("checkpoints", "str"),
        (None, "None"),
        ((checkpoints(), lifecycle()), "tuple"),
    ],
)
def test_invalid_frames_are_refused(wrong: Any, part: str) -> None:
    with pytest.raises(InvalidInputError, match=part):
        summary(wrong)
