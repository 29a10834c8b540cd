"""The input of charts and analyses, and their results, which are computed on demand."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from inline_snapshot import snapshot
from polars.testing import assert_frame_equal

import evalkit
from evalkit import InvalidInputError, StudyData, StudyNotFoundError, analysis, plots
from evalkit.analysis import Verdict
from evalkit.analysis._audit import audit as audit_module
from evalkit.frames import study_data
from evalkit.frames.columns import CHECKPOINTS, LIFECYCLE
from evalkit.frames.pandas_output import to_pandas
from evalkit.plots._downsampling import runs
from tests.chart_frames import DAY, START, checkpoints, lifecycle, study_id
from tests.messages import says
from tests.report_schema import schema
from tests.report_studies import samples

RATE = "session_success_rate"


def two() -> pl.DataFrame:
    return pl.concat([checkpoints("agent", 1, 20), checkpoints("base", 2, 20, seed=2)])


def lived() -> pl.DataFrame:
    return pl.concat([lifecycle("agent", 1, ("study_started", START)), lifecycle("base", 2, ("study_started", START))])


@pytest.mark.parametrize("library", ["polars", "pandas"])
def test_data_accepts_both_libraries(library: str) -> None:
    """The results are tables of the same library."""
    rows, steps = two(), lived()
    data = StudyData(rows, steps) if library == "polars" else StudyData(to_pandas(rows, CHECKPOINTS), to_pandas(steps, LIFECYCLE))
    assert repr(data) == "StudyData(40 checkpoints of 2 studies, with lifecycle)"
    assert_frame_equal(
        data.sorted_checkpoints([RATE], ["sessions_completed"]), StudyData(rows).sorted_checkpoints([RATE], ["sessions_completed"])
    )
    assert [name.label for name in data.names] == ["agent", "base"]
    trends = analysis.trend(data, RATE)
    assert type(trends.frame).__module__.partition(".")[0] == type(trends["agent"].frame).__module__.partition(".")[0] == library
    assert repr(trends) == repr(analysis.trend(StudyData(rows, steps), RATE))
    assert data.of("base").names == [data.names[1]]
    assert len(data.of("base").checkpoints) == 20
    assert len(data.of("base").lifecycle) == 2  # type: ignore[arg-type]


def test_columns_are_read_lazily_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(frame: Any, name: str, kind: str) -> pl.Series:
        read.append(name)
        return original(frame, name, kind)

    original = study_data.read_column
    monkeypatch.setattr(study_data, "read_column", counted)
    data = StudyData(checkpoints(count=20).with_columns(total_cost=pl.lit("much")))
    analysis.trend(data, RATE)
    assert {RATE, "sessions_completed", "period_start"} <= set(read)
    assert len(read) == len(set(read)) < 10
    before = len(read)
    analysis.changepoints(data, RATE)
    plots.trend(data, RATE)
    assert read[before:] == ["period_type"]  # for the gaps of the chart
    with pytest.raises(InvalidInputError) as error:
        analysis.trend(data, "total_cost")
    assert says(error) == snapshot("Invalid checkpoints: column 'total_cost' has dtype String; expected numbers, as in kit.checkpoints().")


def test_audit_runs_once_on_first_access(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    original = audit_module.audit_of
    monkeypatch.setattr(audit_module, "audit_of", lambda *args: runs.append(args) or original(*args))  # type: ignore[func-returns-value]
    data = StudyData(two(), lived())
    trend = analysis.trend(data, RATE)
    compared = analysis.compare(data, "agent", baseline="base")
    others = analysis.changepoints(data, RATE), analysis.before_after(data, RATE, at=START + 10 * DAY)
    assert all(result.frame.height for result in (trend, compared, *others))
    assert runs == []
    assert trend["agent"].findings is not None
    assert compared[RATE].baseline_findings is not None
    assert analysis.audit(data) is analysis.audit(data)
    assert len(runs) == 1


def test_tuple_is_rejected() -> None:
    pair: Any = (two(), lived())
    for draw in (
        lambda: plots.trend(pair, RATE), lambda: plots.overview(pair), lambda: plots.scatter(pair), lambda: plots.lifecycle(pair),
        lambda: analysis.trend(pair, RATE), lambda: analysis.audit(pair), lambda: analysis.report(pair, "report.md"),
    ):  # fmt: skip
        with pytest.raises(InvalidInputError) as error:
            draw()
        assert error.value.message.hint == "Pass kit.data(), or StudyData(checkpoints, lifecycle)."


def test_errors_name_parameter_and_close_columns() -> None:
    nameless: Any = object()
    with pytest.raises(InvalidInputError) as error:
        StudyData(two(), nameless)
    assert says(error) == snapshot(
        "Invalid lifecycle: expected a Polars or pandas DataFrame, got an object. Pass kit.lifecycle(), or some of its rows."
    )
    with pytest.raises(InvalidInputError) as error:
        plots.trend(nameless, RATE)
    assert says(error) == snapshot(
        "Invalid data: expected a Polars or pandas DataFrame, got an object. Pass kit.data() or kit.checkpoints(), or some of its rows."
    )
    with pytest.raises(InvalidInputError) as error:
        analysis.trend(two().rename({"period_start": "Period_Start"}), RATE)
    assert says(error) == snapshot(
        "Invalid checkpoints: no column 'period_start'; expected the columns of kit.checkpoints(). Did you mean 'Period_Start'?"
    )
    with pytest.raises(InvalidInputError) as error:
        analysis.trend(pl.DataFrame({"x": [1]}), RATE)
    assert says(error) == snapshot(
        "Invalid checkpoints: no columns 'period_start', 'period_end', 'session_success_rate'; expected the columns of kit.checkpoints(), got 'x'."
    )
    with pytest.raises(InvalidInputError) as error:
        plots.trend(StudyData(two(), two()), RATE)
    assert (error.value.field, says(error)) == snapshot(
        (
            "lifecycle",
            "Invalid lifecycle: no columns 'seq', 'kind', 'status', 'at'; expected the columns of kit.lifecycle(), got 'study_id', 'study', 'period_type', 'checkpoint_id', 'timestamp' and 23 more.",
        )
    )
    with pytest.raises(InvalidInputError) as error:
        analysis.trend(to_pandas(two(), CHECKPOINTS).rename(columns={"study": "period_end"}), RATE)
    assert says(error) == snapshot("Invalid checkpoints: duplicate column 'period_end'; keep one of them.")


@pytest.mark.slow
def test_analysis_does_not_import_altair() -> None:
    code = (
        "import sys, evalkit; light = 'polars' in sys.modules; from evalkit import StudyData, analysis; import tests.chart_frames as f\n"
        "analysis.trend(StudyData(f.checkpoints(count=20)), 'total_cost'); analysis.summary(f.checkpoints())\n"
        "print(light, 'altair' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False False\n"


def test_report_schema_has_all_verdicts() -> None:
    made = json.loads(schema())
    assert made["$defs"]["Verdict"]["enum"] == [verdict.value for verdict in Verdict]
    assert made["properties"]["format"]["const"] == "evalkit-report/3"
    fields = [made["$defs"][name]["properties"]["verdict"] for name in ("MetricRow", "ShiftsRow", "DifferenceRow")]
    assert all(field == {"$ref": "#/$defs/Verdict"} for field in fields)


def test_only_returns_the_single_study() -> None:
    only = analysis.trend(checkpoints(count=20), RATE).only()
    assert only.verdict in Verdict
    assert only.frame.height == 1
    trends = analysis.trend(two(), RATE)
    assert_frame_equal(trends["base"].frame, trends.frame.tail(1))
    assert trends["base"].plot().to_dict()["title"]["text"] == ["Session success rate: base"]
    assert trends[study_id(2)] is trends[study_id(2)[-6:]] is trends["base"]
    with pytest.raises(InvalidInputError):
        trends.only()
    with pytest.raises(InvalidInputError):
        analysis.trend(checkpoints().clear(), RATE).only()


def test_half_a_missing_period_is_a_gap_in_charts_and_audit() -> None:
    for covered, missing in ((timedelta(hours=12), True), (timedelta(hours=12, minutes=1), False)):
        longer = pl.when(pl.col("period_start") == START + 3 * DAY).then(pl.col("period_end") + covered).otherwise("period_end")
        rows = checkpoints(count=10, left_out=(4,)).with_columns(period_end=longer)
        gaps = analysis.audit(rows).frame.filter(kind="missing_period").height
        runs = sum(value["v"] is None for value in next(iter(plots.trend(rows, "total_cost").to_dict()["datasets"].values())))
        assert (gaps, runs) == (missing, missing)


@pytest.mark.slow
def test_kit_data_selects_checkpoints_and_lifecycle(tmp_path: Path) -> None:
    with evalkit.connect(tmp_path / "home") as kit:
        for name in ("one", "two"):
            kit.create_study(name, at=START - DAY, tags=[name])
            kit.start_study(name, at=START - DAY)
            kit.record_checkpoints(name, samples(20))
        data = kit.data("one", start=START + 5 * DAY, end=START + 10 * DAY, by="period")
        assert_frame_equal(data.checkpoints, kit.checkpoints("one", start=START + 5 * DAY, end=START + 10 * DAY, by="period"))  # type: ignore[arg-type]
        assert data.lifecycle["study"].unique().to_list() == ["one"]  # type: ignore[index]
        assert [name.name for name in data.known] == ["one"]
        assert [name.name for name in kit.data().known] == ["one", "two"]
        with pytest.raises(StudyNotFoundError):
            kit.data("three")
        assert kit.report("one", tmp_path / "kit.json", baseline="two", metrics=RATE) == tmp_path / "kit.json"
        analysis.report(kit.data(), tmp_path / "data.json", study="one", baseline="two", metrics=[RATE])
        pandas = StudyData(kit.checkpoints(backend="pandas"), kit.lifecycle(backend="pandas"), studies=kit.studies(backend="pandas"))
        analysis.report(pandas, tmp_path / "pandas.json", study="one", baseline="two", metrics=[RATE])
        written = [(tmp_path / f"{name}.json").read_text() for name in ("kit", "data", "pandas")]
        assert written[0] == written[1] == written[2]
        with pytest.raises(InvalidInputError) as error:
            analysis.report(kit.data(), tmp_path / "none.json")
        assert error.value.field == "study"


def test_checkpoints_without_study_columns_belong_to_the_lifecycle(tmp_path: Path) -> None:
    nameless = checkpoints(count=20).drop("study_id", "study")
    data = StudyData(nameless, lifecycle("agent", 1, ("study_started", START)))
    assert [name.id for name in data.known] == ["-"]
    assert analysis.trend(data, RATE).only().plot().to_dict()
    made = json.loads(analysis.report(data, tmp_path / "report.json", metrics=[RATE]).read_text())
    assert (made["study"]["name"], made["events"][0]["lifecycle_events"]) == ("-", 2)
    assert analysis.report(nameless, tmp_path / "report.md").exists()


def test_comparison_is_a_mapping_by_metric() -> None:
    compared = analysis.compare(two(), "agent", baseline="base", metrics=[RATE, "total_cost"])
    assert list(compared) == [RATE, "total_cost"]
    assert len(compared) == 2
    assert RATE in compared
    assert "total_tokens" not in compared
    assert dict(compared)[RATE] is compared[RATE]
    with pytest.raises(InvalidInputError):
        compared["total_tokens"]


def test_ambiguous_name_raises_in_get() -> None:
    rows = pl.concat([checkpoints("same", 1, 12), checkpoints("same", 2, 12)])
    trends = analysis.trend(rows, RATE)
    assert "same" in trends
    assert "other" not in trends
    assert trends.get("other", 5) == 5
    with pytest.raises(evalkit.AmbiguousStudyError):
        trends.get("same")
    assert trends.findings.frame.height == sum(trend.findings.frame.height for trend in trends.values() if trend.findings is not None)


def test_studies_match_by_name_without_ids(tmp_path: Path) -> None:
    """With ids, a `Study` only matches by id."""
    with evalkit.connect(tmp_path) as kit:
        study = kit.create_study("agent")
        other = kit.create_study("base")
    rows = two()
    trends = analysis.trend(rows.drop("study_id"), RATE)
    assert trends[study].study == "agent"
    assert analysis.compare(rows.drop("study_id"), study, baseline=other, metrics=RATE).baseline == "base"
    with pytest.raises(StudyNotFoundError):
        analysis.trend(rows, RATE)[study]


def test_half_a_missing_month_is_a_gap_in_charts_and_audit() -> None:
    for days, missing in ((14.5, False), (15.5, True)):
        first, march = START.replace(month=1, day=1), START.replace(month=3, day=1)
        later = timedelta(days=days)
        february, april, may = (START.replace(month=number, day=1) for number in (2, 4, 5))
        starts, ends = [first, february, march + later, april + later], [february, march, april + later, may + later]
        rows = pl.DataFrame(
            {"study": ["m"] * 4, "period_type": ["monthly"] * 4, "period_start": starts, "period_end": ends, RATE: [0.5] * 4}
        )
        kinds = analysis.audit(rows).frame["kind"].to_list()  # type: ignore[index]
        assert ("missing_period" in kinds) == missing
        drawn = plots.table(plots.trend(rows, RATE))
        data = StudyData(rows)
        runs_of = runs(data.sorted_checkpoints([RATE]).with_columns(data.gaps), [RATE])
        assert (runs_of["run"].n_unique() == 2) == missing, drawn


def test_kit_data_is_a_consistent_state(tmp_path: Path) -> None:
    with evalkit.connect(tmp_path) as kit, evalkit.connect(tmp_path) as other:
        kit.create_study("agent")
        checkpoints_of, calls = kit.checkpoints, []

        def between(*args: Any, **options: Any) -> Any:
            frame = checkpoints_of(*args, **options)
            if not calls:
                calls.append(other.start_study(other.create_study("late")))
                other.record_checkpoint("late", {"period_start": "2026-01-31", "total_cost": 1}, tz="UTC")
            return frame

        kit.checkpoints = between  # type: ignore[method-assign,assignment]
        data = kit.data()
        assert data.checkpoints["study"].to_list() == ["late"]  # read again, since another process wrote meanwhile
        assert data.lifecycle is not None
        assert data.studies is not None
        assert set(data.studies["name"]) == set(data.lifecycle["study"]) == {"agent", "late"}
        for wrong in (5, b"agent", [5]):
            with pytest.raises(InvalidInputError) as error:
                kit.data(wrong)  # type: ignore[arg-type]
            assert error.value.field == "study"
            with pytest.raises(InvalidInputError) as error:
                kit.checkpoints(wrong)  # type: ignore[call-overload]
            assert error.value.field == "study"
