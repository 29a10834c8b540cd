"""The prepared input of charts and analyses, and what results are: data, computed when it is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import evalkit
from evalkit import InvalidInputError, StudyData, StudyNotFoundError, analysis, plots
from evalkit.analysis import Verdict
from evalkit.analysis._audit import audit as audit_module
from evalkit.frames import study_data
from evalkit.frames.columns import CHECKPOINTS, LIFECYCLE
from evalkit.frames.pandas_output import to_pandas
from evalkit.plots._thinning import runs
from tests.chart_frames import DAY, START, checkpoints, lifecycle, study_id
from tests.report_schema import schema
from tests.report_studies import samples

RATE = "session_success_rate"


def two() -> pl.DataFrame:
    return pl.concat([checkpoints("agent", 1, 20), checkpoints("base", 2, 20, seed=2)])


def lived() -> pl.DataFrame:
    return pl.concat([lifecycle("agent", 1, ("study_started", START)), lifecycle("base", 2, ("study_started", START))])


@pytest.mark.parametrize("library", ["polars", "pandas"])
def test_data_is_made_of_frames_of_either_library(library: str) -> None:
    """The same rows, studies and results, and tables in the library of the frames."""
    rows, steps = two(), lived()
    data = StudyData(rows, steps) if library == "polars" else StudyData(to_pandas(rows, CHECKPOINTS), to_pandas(steps, LIFECYCLE))
    assert repr(data) == "StudyData(40 checkpoints of 2 studies, with lifecycle)"
    assert_frame_equal(
        data.sorted_checkpoints([RATE], ["sessions_completed"]), StudyData(rows).sorted_checkpoints([RATE], ["sessions_completed"])
    )
    assert [name.label for name in data.names] == ["agent", "base"]
    found = analysis.trend(data, RATE)
    assert type(found.frame).__module__.partition(".")[0] == type(found["agent"].frame).__module__.partition(".")[0] == library
    assert repr(found) == repr(analysis.trend(StudyData(rows, steps), RATE))
    assert data.of("base").names == [data.names[1]]
    assert len(data.of("base").checkpoints) == 20
    assert len(data.of("base").lifecycle) == 2  # type: ignore[arg-type]


def test_a_column_is_read_once_and_only_when_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second analysis of the same data reads only what the first did not; a bad column matters only to who needs it."""
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
    with pytest.raises(InvalidInputError, match="'total_cost' holds String"):
        analysis.trend(data, "total_cost")


def test_no_analysis_runs_the_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs once, when findings are first read."""
    runs = []
    original = audit_module.audit_of
    monkeypatch.setattr(audit_module, "audit_of", lambda *given: runs.append(given) or original(*given))  # type: ignore[func-returns-value]
    data = StudyData(two(), lived())
    trend = analysis.trend(data, RATE)
    compared = analysis.compare(data, "agent", baseline="base")
    others = analysis.changepoints(data, RATE), analysis.before_after(data, RATE, at=START + 10 * DAY)
    assert all(one.frame.height for one in (trend, compared, *others))
    assert runs == []
    assert trend["agent"].findings is not None
    assert compared[RATE].baseline_findings is not None
    assert analysis.audit(data) is analysis.audit(data)
    assert len(runs) == 1


def test_a_tuple_is_refused() -> None:
    """Charts and analyses say what to give in its place."""
    pair: Any = (two(), lived())
    for draw in (
        lambda: plots.trend(pair, RATE), lambda: plots.overview(pair), lambda: plots.scatter(pair), lambda: plots.lifecycle(pair),
        lambda: analysis.trend(pair, RATE), lambda: analysis.audit(pair), lambda: analysis.report(pair, "report.md"),
    ):  # fmt: skip
        with pytest.raises(InvalidInputError, match=r"Give kit.data\(\), or StudyData\(checkpoints, lifecycle\)\."):
            draw()
    with pytest.raises(InvalidInputError, match=r"lifecycle: an int is no Polars or Pandas frame. Give kit.lifecycle\(\)"):
        StudyData(two(), 3)  # type: ignore[arg-type]


@pytest.mark.slow
def test_analysis_imports_no_altair() -> None:
    """Neither it nor `StudyData` need charts before one is drawn; the front door stays light."""
    code = (
        "import sys, evalkit; light = 'polars' in sys.modules; from evalkit import StudyData, analysis; import tests.chart_frames as f\n"
        "analysis.trend(StudyData(f.checkpoints(count=20)), 'total_cost'); analysis.summary(f.checkpoints())\n"
        "print(light, 'altair' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False False\n"


def test_the_schema_of_reports_has_all_verdicts() -> None:
    """One set of verdicts, in every analysis and in the JSON of reports."""
    made = json.loads(schema())
    assert made["$defs"]["Verdict"]["enum"] == [verdict.value for verdict in Verdict]
    assert made["properties"]["format"]["const"] == "evalkit-report/2"
    fields = [made["$defs"][name]["properties"]["verdict"] for name in ("MetricRow", "ShiftsRow", "DifferenceRow")]
    assert all(field == {"$ref": "#/$defs/Verdict"} for field in fields)


def test_the_only_study_is_asked_for() -> None:
    """One study's result has its own table and chart; with several, or none, the error names them."""
    only = analysis.trend(checkpoints(count=20), RATE).only()
    assert only.verdict in Verdict
    assert only.frame.height == 1
    found = analysis.trend(two(), RATE)
    assert_frame_equal(found["base"].frame, found.frame.tail(1))
    assert found["base"].plot().to_dict()["title"]["text"] == ["Session success rate: base"]
    assert found[study_id(2)] is found[study_id(2)[-6:]] is found["base"]
    with pytest.raises(InvalidInputError, match=r"There are results of 2 studies: 'agent', 'base'. Take one with result\['agent'\]"):
        found.only()
    with pytest.raises(InvalidInputError, match="The data has no study with checkpoints"):
        analysis.trend(checkpoints().clear(), RATE).only()


def test_an_exact_half_of_a_period_is_missing_in_charts_and_audit() -> None:
    """Both have one rule; a minute less is no gap for either."""
    for covered, missing in ((timedelta(hours=12), True), (timedelta(hours=12, minutes=1), False)):
        longer = pl.when(pl.col("period_start") == START + 3 * DAY).then(pl.col("period_end") + covered).otherwise("period_end")
        rows = checkpoints(count=10, left_out=(4,)).with_columns(period_end=longer)
        gaps = analysis.audit(rows).frame.filter(kind="missing_period").height
        runs = sum(value["v"] is None for value in next(iter(plots.trend(rows, "total_cost").to_dict()["datasets"].values())))
        assert (gaps, runs) == (missing, missing)


@pytest.mark.slow
def test_a_kit_gives_its_data(tmp_path: Path) -> None:
    """Checkpoints selected as `kit.checkpoints` does, with lifecycle and description of the selected studies; a report from it is the kit's."""
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
        with pytest.raises(InvalidInputError, match=r"study: the data has 2 studies \('one', 'two'\); name one with study="):
            analysis.report(kit.data(), tmp_path / "none.json")


def test_checkpoints_that_name_no_study_are_those_of_the_lifecycle(tmp_path: Path) -> None:
    """A report and a chart of them need no name."""
    nameless = checkpoints(count=20).drop("study_id", "study")
    data = StudyData(nameless, lifecycle("agent", 1, ("study_started", START)))
    assert [name.id for name in data.known] == ["-"]
    assert analysis.trend(data, RATE).only().plot().to_dict()
    made = json.loads(analysis.report(data, tmp_path / "report.json", metrics=[RATE]).read_text())
    assert (made["study"]["name"], made["events"][0]["lifecycle_events"]) == ("-", 2)
    assert analysis.report(nameless, tmp_path / "report.md").exists()


def test_a_comparison_is_a_mapping_by_metric() -> None:
    """Its names, whether one is there, how many."""
    compared = analysis.compare(two(), "agent", baseline="base", metrics=[RATE, "total_cost"])
    assert list(compared) == [RATE, "total_cost"]
    assert len(compared) == 2
    assert RATE in compared
    assert "total_tokens" not in compared
    assert dict(compared)[RATE] is compared[RATE]
    with pytest.raises(InvalidInputError, match="was not compared"):
        compared["total_tokens"]


def test_of_two_studies_with_one_name_none_is_taken_for_absent() -> None:
    """`get` raises where a name is that of two studies, and gives the default only where it is of none; `in` is true."""
    rows = pl.concat([checkpoints("same", 1, 12), checkpoints("same", 2, 12)])
    found = analysis.trend(rows, RATE)
    assert "same" in found
    assert "other" not in found
    assert found.get("other", 5) == 5
    with pytest.raises(evalkit.AmbiguousStudyError):
        found.get("same")
    assert found.findings.frame.height == sum(one.findings.frame.height for one in found.values() if one.findings is not None)


def test_a_study_is_found_by_its_name_where_the_data_has_no_ids(tmp_path: Path) -> None:
    """Where there are ids, only the id counts: another study may have the name."""
    with evalkit.connect(tmp_path) as kit:
        study = kit.create_study("agent")
        other = kit.create_study("base")
    rows = two()
    found = analysis.trend(rows.drop("study_id"), RATE)
    assert found[study].study == "agent"
    assert analysis.compare(rows.drop("study_id"), study, baseline=other, metrics=RATE).baseline == "base"
    with pytest.raises(StudyNotFoundError):
        analysis.trend(rows, RATE)[study]


def test_charts_and_audit_agree_on_what_is_missing_of_a_month() -> None:
    """14.5 days of March without a checkpoint are less than half of it, 15.5 are half: a line breaks where the audit names a period."""
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
        runs_of = runs(data.sorted_checkpoints([RATE]).with_columns(data.lengths), [RATE])
        assert (runs_of["run"].n_unique() == 2) == missing, drawn


def test_the_frames_of_data_are_one_state(tmp_path: Path) -> None:
    """A command of another process between them is in all three or in none; what is no study is refused like everywhere."""
    with evalkit.connect(tmp_path) as kit, evalkit.connect(tmp_path) as other:
        kit.create_study("agent")
        lifecycle_of, calls = kit.lifecycle, []

        def between(**options: Any) -> Any:
            if not calls:
                calls.append(other.create_study("late"))
            return lifecycle_of(**options)

        kit.lifecycle = between  # type: ignore[method-assign,assignment]
        data = kit.data()
        assert data.lifecycle is not None
        assert data.studies is not None
        assert set(data.studies["name"]) == set(data.lifecycle["study"]) == {"agent", "late"}
        for wrong in (5, b"agent", [5]):
            with pytest.raises(InvalidInputError, match="is no study"):
                kit.data(wrong)  # type: ignore[arg-type]
            with pytest.raises(InvalidInputError, match="is no study"):
                kit.checkpoints(wrong)  # type: ignore[call-overload]
