"""Custom metrics in charts and analyses: by definition, like the 16, and never silently left out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from inline_snapshot import snapshot

import evalkit
from evalkit import InvalidInputError, Metric, StudyData, analysis, plots
from evalkit.domain.catalog import METRICS, is_custom_name
from evalkit.frames.columns import CHECKPOINTS, METRICS_FRAME, frame_schema, kinds_of
from evalkit.frames.pandas_output import to_pandas
from evalkit.metrics import STANDARD
from evalkit.samples import sample_checkpoints

START = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday
DAY = timedelta(days=1)
LIKE = {
    "my_rate": "session_success_rate", "my_time": "avg_session_duration", "my_count": "tasks_completed", "my_cost": "total_cost",
    "my_number": "avg_iterations_to_success",
}  # fmt: skip
"""Custom metrics with the values and definitions of some of the 16."""


def same(name: str) -> Metric:
    like = METRICS[LIKE[name]]
    low = 0 if like.kind == "number" else None
    return Metric(
        name, kind=like.kind, better=like.better, denominator=like.denominator, low=low, rollup=like.rollup, label=like.label
    )  # fmt: skip


@pytest.fixture(scope="module")
def nights() -> pl.DataFrame:
    """Two studies of 28 nights, each custom metric equal to its standard one."""
    studies = [
        pl.DataFrame(sample_checkpoints("daily", START, 28, seed=seed, level=level)).with_columns(study=pl.lit(name))
        for seed, (name, level) in enumerate({"new": 1.0, "old": 0.2}.items())
    ]
    frame = pl.concat(studies)
    return frame.with_columns(pl.col(like).alias(name) for name, like in LIKE.items())


@pytest.fixture(scope="module")
def data(nights: pl.DataFrame) -> StudyData:
    return StudyData(nights, metrics=[same(name) for name in LIKE])


def values_of(frame: Any, *without: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in without} for row in frame.to_dicts()]


@pytest.mark.parametrize("name", LIKE)
def test_a_custom_metric_is_charted_and_analyzed_like_a_standard_one(data: StudyData, name: str) -> None:
    like = LIKE[name]
    charts = [plots.trend(data, metric, rolling=3) for metric in (name, like)]
    assert [chart.to_dict()["title"] for chart in charts[:1]] == [chart.to_dict()["title"] for chart in charts[1:]]
    assert plots.table(charts[0]).rename({name: like}).equals(plots.table(charts[1]))
    for analyze in (analysis.trend, analysis.changepoints, lambda *args: analysis.before_after(*args, at=START + 14 * DAY)):
        custom, standard = (analyze(data, metric) for metric in (name, like))
        assert values_of(custom.frame, "metric") == values_of(standard.frame, "metric")
        assert str(custom) == str(standard)
    compared = analysis.compare(data, "new", baseline="old", metrics=[name, like])
    assert values_of(compared.frame.filter(metric=name), "metric") == values_of(compared.frame.filter(metric=like), "metric")
    rows = analysis.summary(data).frame
    assert values_of(rows.filter(metric=name), "metric") == values_of(rows.filter(metric=like), "metric")


@pytest.mark.parametrize("to", ["weekly", "monthly"])
def test_custom_metrics_are_resampled_like_standard_ones(data: StudyData, to: Any) -> None:
    resampled = analysis.resample(data, to)
    for name, like in LIKE.items():
        if name == "my_time":  # the mean duration of sessions is exact; others are rounded to microseconds
            difference = (resampled.frame[name] - resampled.frame[like]).abs().max()
            assert difference <= timedelta(microseconds=1)
        else:
            assert resampled.frame[name].to_list() == resampled.frame[like].to_list()
    assert resampled.data.metric("my_rate").denominator == "sessions_completed"
    again = analysis.resample(analysis.resample(data, "daily"), to)
    assert again.frame["my_rate"].to_list() == pytest.approx(resampled.frame["my_rate"].to_list(), abs=1e-12)
    assert again.frame["my_count"].equals(resampled.frame["my_count"])


def test_the_time_of_a_change_can_be_a_note(tmp_path: Path, data: StudyData) -> None:
    kit = evalkit.connect(tmp_path / "home")
    note = kit.note(kit.create_study("new"), "New prompt", at=START + 14 * DAY, category="prompt")
    texts = [str(analysis.before_after(data, "my_rate", at=at)) for at in (note, START + 14 * DAY)]
    assert texts[0].replace(" (note: New prompt)", "") == texts[1]
    assert "change at 2026-01-19 UTC (note: New prompt): " in texts[0]
    other = kit.start_study(kit.create_study("other"))
    kit.record_checkpoint(other, {"period_start": "2026-01-05", "total_cost": 1}, tz="UTC")
    assert "(note of another study: New prompt)" in str(analysis.before_after(kit.data(other), "total_cost", at=note))


def test_all_standard_metrics_can_be_defined_at_once(tmp_path: Path) -> None:
    kit = evalkit.connect(tmp_path / "home")
    for number, metrics in enumerate((STANDARD, STANDARD.values(), iter(STANDARD))):
        assert kit.metrics(kit.create_study(f"study {number}", metrics=metrics))["name"].to_list() == list(STANDARD)


def test_pandas_frames_have_the_same_results(nights: pl.DataFrame, data: StudyData) -> None:
    kept = nights.select(name for name in nights.columns if name in (*METRICS, *LIKE, "study", "period_start", "period_end"))
    frame = to_pandas(kept, kinds_of(kept, CHECKPOINTS))
    in_pandas = StudyData(frame, metrics=[same(name) for name in LIKE])
    for name in LIKE:
        assert str(analysis.trend(in_pandas, name)) == str(analysis.trend(data, name))
    assert list(analysis.resample(in_pandas, "weekly").frame["my_rate"]) == analysis.resample(data, "weekly").frame["my_rate"].to_list()
    assert plots.table(plots.overview(in_pandas))["metric"].unique().sort().equals(
        plots.table(plots.overview(data))["metric"].unique().sort()
    )  # fmt: skip


def week(**columns: list[Any]) -> pl.DataFrame:
    count = len(next(iter(columns.values())))
    starts = [START + DAY * number for number in range(count)]
    return pl.DataFrame({"study": ["nightly"] * count, "period_start": starts, "period_end": [start + DAY for start in starts], **columns})


@pytest.mark.parametrize(
    ("rollup", "values", "expected", "reason"),
    [
        ("min", [3.0, -2.5, 7.0], -2.5, None),
        ("max", [3.0, -2.5, 7.0], 7.0, None),
        ("last", [3.0, None, 7.0], 7.0, None),
        ("last", [3.0, 7.0, None], None, "missing in the last checkpoint"),
        ("sum", [3.0, -2.5, 7.0], 7.5, None),
        ("min", [3.0, None, 7.0], None, "missing in 1 of 3 checkpoints"),
        ("sum", [3.0, None, 7.0], None, "missing in 1 of 3 checkpoints"),
        ("none", [3.0, -2.5, 7.0], None, "its definition has no roll-up"),
    ],
)
def test_the_roll_up_of_a_definition(rollup: Any, values: list[Any], expected: float | None, reason: str | None) -> None:
    drift = Metric("drift", kind="number", better="down", rollup=rollup)
    result = analysis.resample(StudyData(week(drift=values), metrics=[drift]), "weekly")
    assert result.frame["drift"].to_list() == [expected]
    assert result.reasons.filter(metric="drift")["reason"].to_list() == ([] if reason is None else [reason])


def test_a_weighted_mean_over_a_custom_denominator() -> None:
    rate = Metric("error_rate", kind="rate", better="down", denominator="tool_calls")
    frame = week(tool_calls=[10, 90, 0], error_rate=[0.5, 0.1, None])
    data = StudyData(frame, metrics=[rate, STANDARD["tool_calls"]])
    weekly = analysis.resample(data, "weekly").frame
    assert weekly.select("error_rate", "tool_calls").row(0) == (pytest.approx(14 / 100), 100)
    summary = analysis.summary(data)
    assert summary.frame.filter(metric="error_rate").select("weighted_mean", "rests_on").row(0) == (pytest.approx(0.14), 100)
    assert plots.trend(data, "error_rate").to_dict()["title"]["subtitle"] == snapshot(
        ["↓ Lower is better. Band: 95% Wilson CI (n = tool calls)."]
    )
    without = StudyData(frame.drop("tool_calls"), metrics=[rate, STANDARD["tool_calls"]])
    result = analysis.resample(without, "weekly")
    assert result.frame["error_rate"].to_list() == [None]
    assert result.reasons.filter(metric="error_rate")["reason"].to_list() == snapshot(
        ["tool calls (its weight) missing in 3 of 3 checkpoints"]
    )
    assert "tool_calls" not in result.frame.columns


def test_columns_without_a_definition_have_no_direction_and_say_so() -> None:
    frame = week(judge_score=[4.0, 5.0, 6.0], wait=[timedelta(seconds=3)] * 3, comment=["a", "b", "c"], nothing=[None, None, None])
    data = StudyData(frame)
    assert {name: (metric.kind, metric.better) for name, metric in data.catalog.items()} == {
        "judge_score": ("number", "neither"), "wait": ("duration", "neither")
    }  # fmt: skip
    assert plots.trend(frame, "judge_score").to_dict()["title"]["subtitle"] == snapshot(
        ["The better direction of judge_score is unknown, since this data has no definition of it."]
    )
    assert plots.overview(frame).to_dict()["title"]["subtitle"] == snapshot(
        ["Study: nightly. Time in UTC, 2026. No definition in this data: judge_score, wait."]
    )
    assert str(analysis.trend(frame, "wait")) == snapshot("""\
nightly, wait: insufficient data (3 checkpoints; at least 8 are needed).
'wait' has no definition in this data, so no direction is better. Use kit.data(), or StudyData(frame, metrics=[...]).\
""")
    assert analysis.audit(frame).unchecked[-1] == snapshot("Skipped for metrics without a definition: their values (judge_score, wait).")
    assert analysis.resample(frame, "weekly").frame["judge_score"].to_list() == [None]


def two_definitions(**changes: Any) -> StudyData:
    frame = pl.concat([week(judge_score=[4.0, 5.0, 6.0]).with_columns(study=pl.lit(name)) for name in ("a", "b")])
    first = {
        "name": "judge_score",
        "label": "Judge score",
        "kind": "score",
        "unit": "",
        "better": "up",
        "rollup": "none",
        "group": "Custom",
    }
    rows = [{"study_id": name, "study": name, **first, **(changes if name == "b" else {})} for name in ("a", "b")]
    full = [
        {name: row.get(name, False if name == "primary" else "" if name == "description" else None) for name in METRICS_FRAME}
        for row in rows
    ]
    return StudyData(frame, metrics=pl.DataFrame(full, schema=frame_schema(METRICS_FRAME), orient="row"))


def test_a_metric_that_studies_define_differently_is_named_everywhere() -> None:
    data = two_definitions(better="down")
    for call in (
        lambda: plots.trend(data, "judge_score"),
        lambda: analysis.trend(data, "judge_score"),
        lambda: plots.scatter(data, x="judge_score", y="judge_score"),
        lambda: analysis.compare(data, "a", baseline="b", metrics="judge_score"),
    ):
        with pytest.raises(InvalidInputError, match="studies 'a' and 'b' define it differently: better is 'up', not 'down'"):
            call()
    assert data.catalog == {}
    assert "Left out: 'judge_score', because studies 'a' and 'b'" in str(analysis.resample(data, "weekly"))
    assert analysis.audit(data).unchecked[-1] == snapshot(
        "Skipped: the values of 'judge_score', because studies 'a' and 'b' define it differently: better is 'up', not 'down'. Audit each study separately."
    )
    assert plots.trend(data.of("a"), "judge_score").to_dict()["title"]["subtitle"][0].startswith("↑ Higher is better.")
    assert two_definitions(label="Grade", primary=True).catalog["judge_score"].label == "Judge score", "labels may differ"


def test_the_family_of_a_comparison_is_the_16_and_the_primary_metrics(nights: pl.DataFrame) -> None:
    primary = Metric("my_rate", kind="rate", better="up", denominator="sessions_completed", primary=True)
    data = StudyData(nights, metrics=[primary, *(same(name) for name in LIKE if name != "my_rate")])
    compared = analysis.compare(data, "new", baseline="old")
    assert set(compared.frame["metric"]) == {*METRICS, "my_rate"}
    assert compared.left_out == {name: "not primary" for name in LIKE if name != "my_rate"}
    assert compared.family == [difference.metric.name for difference in compared.differences if difference.p is not None]
    method = next(sentence for sentence in compared.sentences() if sentence.startswith("Method"))
    assert method.endswith("(Holm, 17 tests of the 16 metrics and the primary my rate).")
    assert "Not compared, because not primary: my_time, my_count, my_cost, my_number. Name them with metrics=." in str(compared)
    contradicting = analysis.compare(two_definitions(better="down", primary=True), "a", baseline="b")
    assert "Not compared: 'judge_score', because studies 'a' and 'b' define it differently" in str(contradicting)


def test_unknown_metrics_are_suggested_from_the_definitions(data: StudyData) -> None:
    with pytest.raises(InvalidInputError) as error:
        plots.trend(data, "my_rat")
    assert str(error.value) == snapshot("Unknown metric 'my_rat'. Did you mean 'my_rate'?")


AUDITED = {
    "value_outside": (Metric("grade", kind="score", better="up", low=1, high=5), {"grade": [3.0, 7.0, 5.0]}),
    "negative_value": (Metric("retries", kind="count", better="down"), {"retries": [3, -1, 0]}),
    "rate_outside": (Metric("refusal_rate", kind="rate", better="down"), {"refusal_rate": [0.5, 1.5, 1.0]}),
    "not_finite": (Metric("drift", kind="number", better="down"), {"drift": [0.5, float("inf"), -1.0]}),
    "over_nothing": (
        Metric("refusal_rate", kind="rate", better="down", denominator="sessions_completed"),
        {"refusal_rate": [0.5, 0.0, None], "sessions_completed": [2, 0, 0]},
    ),
    "rate_not_of_count": (
        Metric("refusal_rate", kind="rate", better="down", denominator="sessions_completed"),
        {"refusal_rate": [0.5, 0.45, 1.0], "sessions_completed": [2, 10, 3]},
    ),
    "part_above_total": (
        Metric("refusals", kind="count", better="down", denominator="sessions_completed"),
        {"refusals": [2, 11, 0], "sessions_completed": [2, 10, 0]},
    ),
}


@pytest.mark.parametrize("kind", AUDITED)
def test_the_audit_finds_impossible_values_of_custom_metrics(kind: str) -> None:
    metric, columns = AUDITED[kind]
    result = analysis.audit(StudyData(week(**columns), metrics=[metric]))
    assert result.frame.select("kind", "rows").rows() == [(kind, [1])]
    assert result.filter(metric.name).errors == 1
    assert result.filter("total_cost").errors == 0


def test_the_audit_knows_the_totals_of_standard_metrics() -> None:
    frame = week(tool_calls=[5, 5], tool_errors=[5, 6], sessions_attempted=[3, 3], sessions_invalid=[4, 3])
    result = analysis.audit(StudyData(frame, metrics=[STANDARD[name] for name in frame.columns[3:]]))
    assert sorted(result.frame.select("kind", "metrics", "rows").rows()) == [
        ("part_above_total", ["sessions_invalid", "sessions_attempted"], [0]),
        ("part_above_total", ["tool_errors", "tool_calls"], [1]),
    ]


def test_the_audit_compares_standard_metrics_with_recorded_counts() -> None:
    frame = week(
        tool_success_rate=[0.9, 0.5, None], tool_calls=[0, 10, 0], cost_per_successful_task=[1.0, 2.0, None], total_cost=[10.0, 10.0, 0.0],
        tasks_solved=[3, 5, 0], avg_iterations_to_success=[2.0, 2.0, 2.0], sessions_completed=[10, 3, 0], sessions_attempted=[4, 3, 0],
    )  # fmt: skip
    metrics = [STANDARD[name] for name in ("tool_calls", "tasks_solved", "sessions_attempted")]
    result = analysis.audit(StudyData(frame, metrics=metrics))
    assert sorted(result.frame.select("kind", "metrics", "rows").rows()) == [
        ("over_nothing", ["avg_iterations_to_success", "tasks_solved"], [2]),
        ("over_nothing", ["tool_success_rate", "tool_calls"], [0]),
        ("part_above_total", ["sessions_completed", "sessions_attempted"], [0]),
        ("successes_not_recorded", ["total_cost", "cost_per_successful_task", "tasks_solved"], [0]),
    ]


def test_scores_have_the_axis_of_their_range() -> None:
    frame = week(judge_score=[2.0, 4.5, 3.0])
    for high, expected in ((5, [1, 5]), (4, [1, 4.5]), (None, None)):
        metric = Metric("judge_score", kind="score", better="up", low=1, high=high)
        spec = plots.trend(StudyData(frame, metrics=[metric]), "judge_score").to_dict()
        scale = next(layer["encoding"]["y"]["scale"] for layer in spec["layer"] if "scale" in layer["encoding"].get("y", {}))
        assert scale.get("domain") == expected


def test_data_of_a_state_before_its_study_is_an_error(tmp_path: Path) -> None:
    kit = evalkit.connect(tmp_path / "home")
    study = kit.create_study("new")
    with pytest.raises(InvalidInputError, match=r"study 'new' did not exist\. Choose a later state\."):
        kit.data(study, as_of="2026-01-01T00:00:00Z")
    assert kit.data(as_of="2026-01-01T00:00:00Z").names == []


@pytest.mark.parametrize("case", ["twenty", "all missing", "one value", "many rows"])
def test_no_custom_metric_is_left_out(case: str) -> None:
    label = "<b>*Bold* | [x](y) & 'quoted' \\u202e</b>"
    metrics = [
        Metric(f"custom_{number}", kind="number", better="up", label=f"{label} {number}", group="<i>Mine</i>") for number in range(20)
    ]
    values: list[float | None] = {"all missing": [None] * 10, "one value": [1.5] + [None] * 9}.get(case, [0.5, 1.5] * 5)
    frame = week(**{metric.name: values for metric in metrics})
    if case == "many rows":
        frame = week(**{metric.name: values * 500 for metric in metrics})
    data = StudyData(frame, metrics=metrics)
    names = [metric.name for metric in metrics]
    assert list(data.catalog) == names
    assert analysis.summary(data).frame["metric"].to_list() == names
    assert [name for name in analysis.resample(data, "monthly").frame.columns if name in names] == names
    shown = plots.table(plots.overview(data))["metric"].unique().sort().to_list()
    assert shown == ([] if case == "all missing" else sorted(names))
    assert analysis.audit(data).errors == 0
    for result in (analysis.trend(data, "custom_3"), analysis.changepoints(data, "custom_3"), analysis.summary(data)):
        markdown = result._repr_markdown_() if hasattr(result, "_repr_markdown_") else ""
        assert "<b>" not in markdown


WORKING_NAMES = [
    "a",
    "advice",
    "age",
    "alone",
    "also",
    "analyzed",
    "anchor",
    "b",
    "baseline",
    "began",
    "begin",
    "bin",
    "c",
    "change",
    "checked",
    "columns",
    "covers",
    "cusum",
    "d",
    "detail",
    "difference",
    "drawn",
    "duration",
    "each",
    "earlier",
    "early",
    "ended",
    "estimate",
    "fewest",
    "finding",
    "finish",
    "first",
    "fit",
    "found",
    "gap",
    "grid",
    "h",
    "has_both",
    "height",
    "hit",
    "index",
    "is_run",
    "item",
    "j",
    "k",
    "key_count",
    "last",
    "late",
    "later",
    "least",
    "length",
    "limit",
    "lines",
    "local",
    "mark",
    "mean",
    "median",
    "missing",
    "months",
    "most",
    "n",
    "name_of",
    "named",
    "newest",
    "next",
    "noun",
    "number",
    "of",
    "on",
    "only",
    "order",
    "overlaps",
    "p",
    "part",
    "partly",
    "period",
    "periods",
    "phase",
    "place",
    "places",
    "point",
    "points",
    "position",
    "present",
    "previous",
    "q",
    "r",
    "rank",
    "rate",
    "rolled",
    "rolled_mean",
    "rounds",
    "rowid",
    "rows",
    "run",
    "s",
    "sample",
    "samples",
    "schema",
    "session",
    "sessions",
    "several",
    "severity",
    "share",
    "shown",
    "since",
    "slope",
    "solved",
    "spacing",
    "spent",
    "stretch",
    "straddles",
    "studies",
    "sum",
    "t",
    "time",
    "times",
    "total",
    "trend",
    "u",
    "unanalyzed",
    "uncovered",
    "used",
    "v",
    "values",
    "variance",
    "w",
    "weight",
    "weights",
    "width",
    "x",
    "y",
    "z",
]
"""Names that code may use for columns of its own."""


def test_no_name_of_a_metric_collides_with_a_column_of_a_computation(nights: pl.DataFrame) -> None:
    names = [name for name in WORKING_NAMES if is_custom_name(name)]
    assert len(names) > 100
    few = nights.group_by("study", maintain_order=True).head(14)
    rates = few.select("study", "period_start", "period_end", "sessions_completed", "session_success_rate")
    frame = rates.with_columns(pl.col("session_success_rate").alias(name) for name in names)
    metrics = [Metric(name, kind="rate", better="up", denominator="sessions_completed", label="Session success rate") for name in names]
    data = StudyData(frame, metrics=metrics)
    like = "session_success_rate"
    overview = plots.table(plots.overview(data))
    summary, compared = analysis.summary(data).frame, analysis.compare(data, "new", baseline="old", metrics=[like, *names]).frame
    findings = analysis.audit(data.of("new")).frame
    assert set(findings["kind"]) == {"recorded_late"} or findings.is_empty()
    for to in ("weekly", "monthly"):
        resampled = analysis.resample(data, to).frame  # type: ignore[arg-type]
        assert [name for name in names if not resampled[name].equals(resampled[like])] == []
        assert resampled[like].equals(analysis.resample(rates, to).frame[like])  # type: ignore[arg-type]
    for name in names:
        for rows in (overview, summary, compared):
            of_name, expected = (rows.filter(metric=metric).drop("metric", "p_corrected", strict=False) for metric in (name, like))
            assert of_name.equals(expected), name
    for name in ("n", "v", "first", "mean", "run"):
        charts = [plots.trend(data, metric, rolling=3) for metric in (name, like)]
        assert plots.table(charts[0]).rename({name: like}).equals(plots.table(charts[1]))
