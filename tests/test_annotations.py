"""Notes, changes of versions and amended values in charts, from the events of a kit to the marks on the screen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from inline_snapshot import snapshot

import evalkit
from evalkit import EvalKit, Metric, StudyData, analysis, plots
from evalkit.frames.columns import FRAMES, NOTES, PROVENANCE, frame_schema, kinds_of
from evalkit.frames.pandas_output import to_pandas
from evalkit.plots._rendering import svg
from evalkit.samples import sample_checkpoints
from tests.chart_frames import checkpoints, long, study_id
from tests.test_plots import two_lifecycles

START = datetime(2026, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)
MARKUP = "<img src=x onerror=alert(1)></script>"


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvalKit]:
    """A study of ten days with two models, two notes, an outage, an amended, a withdrawn and a retracted value."""
    with evalkit.connect(tmp_path_factory.mktemp("home")) as kit:
        study = kit.start_study(kit.create_study("nightly", at=START), at=START)
        made = []
        for day, row in enumerate(sample_checkpoints("daily", START, 10, seed=1)):
            models = ["m-2", "m-1"] if day < 4 else ["m-3"]
            origin = {"collector": "script", "models": models, "agent": "coder", "agent_version": "1.0" if day < 7 else "1.1"}
            made.append(kit.record_checkpoint(study, row, provenance=None if day == 5 else origin))
        kit.amend_checkpoint(made[2], {"session_success_rate": 0.9}, reason="Wrong file")
        kit.amend_checkpoint(made[2].id, {"session_success_rate": 0.95}, reason="Again")
        kit.amend_checkpoint(made[3], {"session_success_rate": None}, reason="Not measured")
        kit.amend_checkpoint(made[6], {"total_cost": 1.0}, reason="Other metric")
        kit.retract_checkpoint(made[9], reason="Test run")
        kit.note(study, f"New prompt {MARKUP}", at=START + 2.5 * DAY, category="prompt")
        kit.note(study, "Outage", at=START + 5 * DAY, until=START + 6.5 * DAY, category="incident")
        kit.note(study, "Much later", at=START + 400 * DAY)
        yield kit


@pytest.fixture(scope="module")
def data(kit: EvalKit) -> StudyData:
    return kit.data("nightly")


def subtitle(chart: Any) -> str:
    return " ".join(chart.to_dict()["title"].get("subtitle", []))


def layers_of(chart: Any, mark: str) -> list[dict[str, Any]]:
    return [layer for layer in chart.to_dict()["layer"] if layer["mark"]["type"] == mark]


def rows_of(chart: Any, layer: dict[str, Any]) -> list[dict[str, Any]]:
    data = layer["data"]
    rows: list[dict[str, Any]] = data["values"] if "values" in data else chart.to_dict()["datasets"][data["name"]]
    return rows


def test_trend_marks_notes_and_version_changes(data: StudyData) -> None:
    chart = plots.trend(data, "total_cost")
    assert subtitle(chart) == snapshot(
        "Hollow: amended (1 value). Thin vertical lines: study started (dashed) or stopped (solid). Triangles: 2 notes (shaded: duration). Diamonds: 2 version changes. 1 note or version change outside the time of this chart."
    )
    triangles, diamonds = (
        next(layer for layer in layers_of(chart, "point") if layer["mark"].get("shape") == shape) for shape in ("triangle-down", "diamond")
    )
    assert [row["summary"] for row in rows_of(chart, triangles)] == snapshot(
        [
            "2026-01-07 12:00 UTC, prompt: New prompt <img src=x onerror=alert(1)></script>",
            "2026-01-10 00:00 to 2026-01-11 12:00 UTC, incident: Outage",
        ]
    )
    assert [row["summary"] for row in rows_of(chart, diamonds)] == snapshot(
        ["2026-01-09 00:00 UTC, model m-1, m-2 → m-3", "2026-01-12 00:00 UTC, agent version 1.0 → 1.1"]
    )
    assert [row["text"] for layer in layers_of(chart, "text") for row in rows_of(chart, layer)] == snapshot(
        ["New prompt <img s…", "model m-1, m-2 → m-3", "agent version 1.0 → 1.1", "Outage"]
    )
    (outage,) = rows_of(chart, layers_of(chart, "rect")[0])
    assert (outage["b"] - outage["x"]) / 3.6e6 == 36
    assert chart.description.partition("Diamonds: ")[2] == snapshot(
        "2 version changes. 1 note or version change outside the time of this chart. 2 notes: 2026-01-07 12:00 UTC, prompt: New prompt <img src=x onerror=alert(1)></script>; 2026-01-10 00:00 to 2026-01-11 12:00 UTC, incident: Outage. 2 version changes: 2026-01-09 00:00 UTC, model m-1, m-2 → m-3; 2026-01-12 00:00 UTC, agent version 1.0 → 1.1."
    )


def test_table_has_the_notes_of_each_period(data: StudyData) -> None:
    table = plots.table(plots.trend(data, "total_cost"))
    by_day = [[text.partition(" <")[0] for text in texts] if texts else [] for texts in table["notes"].to_list()]
    assert by_day == snapshot(
        [
            [],
            [],
            ["prompt: New prompt"],
            [],
            ["model m-1, m-2 → m-3"],
            ["incident: Outage"],
            ["incident: Outage"],
            ["agent version 1.0 → 1.1"],
            [],
            ["other: Much later"],
        ]
    )
    assert table.row(-1, named=True)["period_start"] == START + 400 * DAY
    assert table.row(-1, named=True)["total_cost"] is None
    overview = plots.table(plots.overview(data))
    assert overview.filter(metric="total_cost")["notes"].to_list() == table["notes"].to_list()[:-1]
    assert plots.table(plots.lifecycle(data))["notes"].drop_nulls().explode(empty_as_null=False).len() == 5


def test_amended_values_are_hollow(data: StudyData) -> None:
    chart = plots.trend(data, "session_success_rate")
    assert "Hollow: amended (1 value). 1 value withdrawn by amendments." in subtitle(chart)
    filled, hollow = (layer for layer in layers_of(chart, "point") if "shape" not in layer["mark"])
    assert (filled["mark"]["filled"], hollow["mark"]["filled"]) == (True, False)
    assert hollow["encoding"]["tooltip"][-1]["title"] == "as first recorded"
    table = plots.table(chart)
    assert table["status"].to_list() == ["recorded"] * 2 + ["amended", "withdrawn"] + ["recorded"] * 5 + [None]
    original = sample_checkpoints("daily", START, 10, seed=1)
    assert table["old"].drop_nulls().to_list() == [original[2]["session_success_rate"], original[3]["session_success_rate"]]
    drawing = svg(chart, "light")
    assert f"amended from {original[2]['session_success_rate'] * 100:.1f}%" in drawing
    assert "Hollow" not in subtitle(plots.trend(data, "total_tokens"))
    assert "old" not in plots.table(plots.trend(data, "total_tokens")).columns


def test_an_amendment_that_was_reversed_is_not_hollow(tmp_path: Path) -> None:
    with evalkit.connect(tmp_path / "home") as kit:
        study = kit.start_study(kit.create_study("nightly"))
        made = kit.record_checkpoint(study, {"period_start": "2026-01-05", "total_cost": 2, "total_tokens": None}, tz="UTC")
        kit.amend_checkpoint(made, {"total_cost": 3, "total_tokens": 5}, reason="a")
        kit.amend_checkpoint(made.id, {"total_cost": 2}, reason="b")
        assert "Hollow" not in subtitle(plots.trend(kit.data(), "total_cost"))
        chart = plots.trend(kit.data(), "total_tokens")
        assert "Hollow: amended (1 value)" in subtitle(chart)
        assert "amended from missing" in svg(chart, "light")


def test_scatter_marks_amended_checkpoints(data: StudyData) -> None:
    chart = plots.scatter(data, "total_cost", "session_success_rate")
    assert "Hollow: amended (2 checkpoints)." in subtitle(chart)
    original = sample_checkpoints("daily", START, 10, seed=1)
    old = plots.table(chart)["old"].to_list()
    assert old[2] == f"session success rate {original[2]['session_success_rate'] * 100:.1f}%"
    assert old[6] == f"total cost ${original[6]['total_cost']:.2f}"
    assert f"first recorded: {old[6]}" in svg(chart, "light")


def test_overview_and_lifecycle_have_marks(data: StudyData) -> None:
    overview = plots.overview(data)
    assert "Hollow: amended (2 values). Triangles: 2 notes (shaded: duration). Diamonds: 2 version changes." in subtitle(overview)
    lifecycle = plots.lifecycle(data)
    assert "Triangles: 2 notes (bars: duration). Diamonds: 2 version changes. 1 note or version change outside" in subtitle(lifecycle)
    for chart in (overview, lifecycle, plots.trend(data, "total_cost")):
        assert "New prompt &lt;img" in svg(chart, "light")
        assert "<img" not in svg(chart, "light").replace("&lt;img", "")
        assert "model m-1, m-2 → m-3" in chart.description
        assert MARKUP in chart.description


def test_aligned_charts_count_their_notes(data: StudyData) -> None:
    chart = plots.trend(data, "total_cost", align="start")
    assert "5 notes or version changes not shown, since studies are aligned." in subtitle(chart)
    assert not layers_of(chart, "rule")
    assert plots.table(chart)["notes"].drop_nulls().explode(empty_as_null=False).len() == 6


def test_note_beyond_the_chart_keeps_its_end() -> None:
    notes = note_frame([START + DAY]).with_columns(until=pl.lit(START + 90 * DAY, dtype=pl.Datetime("us", "UTC")))
    chart = plots.trend(StudyData(checkpoints(), notes=notes), "total_cost")
    assert "2026-01-06 00:00 to 2026-04-05 00:00 UTC" in chart.description
    (shaded,) = rows_of(chart, layers_of(chart, "rect")[0])
    assert shaded["b"] < (START + 20 * DAY).timestamp() * 1000


def test_notes_of_several_studies_share_a_mark() -> None:
    frame = pl.concat([checkpoints(), checkpoints("other", 2)])
    notes = pl.concat([note_frame([START + DAY]), note_frame([START + DAY + timedelta(hours=1)], study=study_id(2))])
    chart = plots.trend(StudyData(frame, notes=notes), "total_cost")
    (triangles,) = (layer for layer in layers_of(chart, "point") if layer["mark"].get("shape") == "triangle-down")
    (mark,) = rows_of(chart, triangles)
    assert mark["study"] is None
    assert mark["summary"] == ("agent, 2026-01-06 00:00 UTC, prompt: Note 0; other, 2026-01-06 01:00 UTC, prompt: Note 0")
    apart = plots.lifecycle(StudyData(frame, two_lifecycles(), notes=notes))
    assert len(rows_of(apart, next(layer for layer in layers_of(apart, "point")))) == 2


def test_labels_of_wide_characters_do_not_overlap() -> None:
    notes = note_frame([START + 10 * DAY, START + 50 * DAY, START + 52 * DAY], text="模型" * 20)
    chart = plots.trend(StudyData(checkpoints(count=100), notes=notes), "total_cost")
    labels = [row for layer in layers_of(chart, "text") for row in rows_of(chart, layer)]
    assert len(labels) == 3
    assert all(len(row["text"]) <= 15 for row in labels)


def test_note_at_the_moment_of_a_run_is_in_its_row() -> None:
    runs = checkpoints(count=3).with_columns(period_end=pl.col("period_start"))
    table = plots.table(plots.trend(StudyData(runs, notes=note_frame([START + DAY])), "total_cost"))
    assert table["notes"].to_list() == [None, ["prompt: Note 0"], None]


def test_note_without_category_keeps_its_text() -> None:
    notes = note_frame([START + DAY], text="Fix: prompt").drop("category")
    chart = plots.trend(StudyData(checkpoints(), notes=notes), "total_cost")
    assert [row["text"] for row in rows_of(chart, layers_of(chart, "text")[0])] == ["Fix: prompt 0"]


def test_excluded_checkpoints_change_no_version(kit: EvalKit) -> None:
    rows = kit.checkpoints("nightly")
    changed = rows.filter(pl.col("period_start") == START + 4 * DAY)["checkpoint_id"][0]
    amended = rows.filter(pl.col("period_start") == START + 2 * DAY)["checkpoint_id"][0]
    data = kit.data("nightly", exclude=[changed, amended])
    assert "2026-01-11 00:00 UTC, model" in plots.trend(data, "total_cost").description  # the next checkpoint with a known model
    assert data.amendments["checkpoint_id"].is_in([changed, amended]).sum() == 0  # type: ignore[index]
    assert data.scope.excluded == 2


def test_charts_say_what_their_data_is(kit: EvalKit, data: StudyData) -> None:
    pin = kit.pin()
    first = kit.checkpoints()["checkpoint_id"][0]
    shown = kit.data(as_of=pin, values="first", exclude=[first])
    sentences = f"As of pin:{pin.events}@{pin.positions[0].last_sha256[:8]}…. Values as first recorded. 1 checkpoint excluded."
    for chart in (
        plots.trend(shown, "total_cost"), plots.overview(shown), plots.lifecycle(shown), plots.scatter(shown), analysis.audit(shown).plot(),
        analysis.trend(shown, "total_cost").plot(), analysis.resample(shown, "weekly").plot(), plots.trend(shown, "agent_efficiency"),
    ):  # fmt: skip
        assert sentences in subtitle(chart)
    assert "Hollow" not in subtitle(plots.trend(shown, "session_success_rate"))
    now = datetime.now(UTC)
    assert subtitle(plots.trend(kit.data(as_of=now), "total_cost")).startswith(f"As of {now:%Y-%m-%d %H:%M}")
    assert "As of" not in subtitle(plots.trend(data, "total_cost"))


def test_pandas_frames_give_the_same_charts(data: StudyData) -> None:
    def in_pandas(name: str) -> Any:
        frame = getattr(data, name)
        return to_pandas(frame, kinds_of(frame, FRAMES[name]))

    names = ("lifecycle", "studies", "metrics", "notes", "amendments", "provenance")
    converted = StudyData(in_pandas("checkpoints"), **{name: in_pandas(name) for name in names})
    for draw in (lambda data: plots.trend(data, "session_success_rate"), plots.overview, plots.lifecycle, plots.scatter):
        expected, chart = draw(data), draw(converted)
        assert (chart.description, subtitle(chart)) == (expected.description, subtitle(expected))
        assert plots.table(chart).equals(plots.table(expected))


def note_frame(times: list[datetime], text: str = "Note", study: str | None = None) -> pl.DataFrame:
    rows = [
        {"study_id": study or study_id(1), "study": study or "agent", "note_id": str(number), "at": at, "category": "prompt",
         "text": f"{text} {number}"}
        for number, at in enumerate(times)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=frame_schema(NOTES))


def test_three_hundred_notes_are_legible() -> None:
    frame = checkpoints(count=100)
    times = [START + timedelta(hours=8 * number) for number in range(300)]
    chart = plots.trend(StudyData(frame, notes=note_frame(times)), "total_cost")
    (triangles,) = (layer for layer in layers_of(chart, "point") if layer["mark"].get("shape") == "triangle-down")
    marks = rows_of(chart, triangles)
    assert len(marks) <= 640 / 9 + 1
    assert all(after["x"] > before["x"] for before, after in pairwise(marks))
    assert not layers_of(chart, "rule")  # too many lines would hide the values
    for layer in layers_of(chart, "text"):
        labels = sorted(rows_of(chart, layer), key=lambda row: row["x"])
        scale = 624 / (100 * 86.4e6)
        assert labels
        assert all((b["x"] - a["x"]) * scale >= 5.6 * len(a["text"]) for a, b in pairwise(labels))
    assert "Triangles: 300 notes." in subtitle(chart)
    assert "labels without room: see tooltips." in subtitle(chart)
    assert "290 more" in chart.description
    texts = plots.table(chart)["notes"].explode(empty_as_null=True).to_list()
    assert texts == [f"prompt: Note {number}" for number in range(300)]


def test_large_studies_with_many_amendments() -> None:
    frame = long(5000).with_columns(pl.format("c-{}", pl.int_range(pl.len())).alias("checkpoint_id"))
    changed = frame[::10]
    amendments = changed.select(
        "study_id", "study", "checkpoint_id", revision=pl.lit(1), metric=pl.lit("session_success_rate"), old=pl.lit(0.123),
        new="session_success_rate",
    )  # fmt: skip
    chart = plots.trend(StudyData(frame, amendments=amendments), "session_success_rate")
    assert f"Hollow: amended ({changed.height} values)" in subtitle(chart)
    assert plots.table(chart)["status"].value_counts().sort("status")["count"].to_list() == [changed.height, frame.height - changed.height]
    assert len(chart.to_json()) < 400_000
    for drawn in (chart, plots.scatter(StudyData(frame, amendments=amendments))):  # none is lost by downsampling
        hollow = next(layer for layer in layers_of(drawn, "point") if layer["mark"]["filled"] is False)
        rows = rows_of(drawn, hollow if "data" in hollow else {"data": drawn.to_dict()["data"]})
        assert sum(bool(row.get("amended") or row.get("before")) for row in rows) == changed.height


def test_notes_are_matched_by_study_name_or_without_studies() -> None:
    frame = checkpoints().drop("study_id")
    notes = note_frame([START + DAY], study="agent").drop("study_id")
    assert "Triangles: 1 note." in subtitle(plots.trend(StudyData(frame, notes=notes), "total_cost"))
    single = frame.drop("study")
    assert "Triangles: 1 note." in subtitle(plots.trend(StudyData(single, notes=notes), "total_cost"))
    other = note_frame([START + DAY], study="other").drop("study_id")
    assert "Triangles" not in subtitle(plots.trend(StudyData(frame, notes=other), "total_cost"))


def test_version_changes_compare_known_values() -> None:
    def provenance(*rows: tuple[list[str], str | None]) -> pl.DataFrame:
        listed = [
            {"study_id": study_id(1), "study": "agent", "checkpoint_id": str(day), "period_start": START + day * DAY, "collector": "x",
             "models": models, "agent_version": version}
            for day, (models, version) in enumerate(rows)
        ]  # fmt: skip
        return pl.DataFrame(listed, schema=frame_schema(PROVENANCE))

    rows = provenance((["b", "a"], None), (["a", "b"], "1"), ([], "1"), (["a", "b"], "2"), (["a"], "2"))
    chart = plots.trend(StudyData(checkpoints(), provenance=rows.sample(fraction=1, shuffle=True, seed=2)), "total_cost")
    assert chart.description.split("2 version changes: ")[1] == snapshot(
        "2026-01-08 00:00 UTC, agent version 1 → 2; 2026-01-09 00:00 UTC, model a, b → a."
    )


@pytest.mark.parametrize(
    ("frames", "problem"),
    [
        ({"notes": [1]}, "Invalid notes: expected a Polars or pandas DataFrame, got a list"),
        ({"amendments": pl.DataFrame({"a": [1]})}, "Invalid amendments: no columns 'checkpoint_id', 'metric', 'old'"),
        ({"provenance": pl.DataFrame({"a": [1]})}, "Invalid provenance: no columns 'period_start', 'models'"),
        ({"notes": pl.DataFrame({"at": ["today"], "text": ["x"]})}, "Invalid notes: column 'at' has dtype String"),
    ],
)
def test_invalid_frames_are_named(frames: dict[str, Any], problem: str) -> None:
    with pytest.raises(evalkit.InvalidInputError, match=problem):
        plots.trend(StudyData(checkpoints(), **frames), "total_cost")


def test_provenance_frame(kit: EvalKit) -> None:
    frame = kit.provenance()
    assert frame.columns == list(PROVENANCE)
    assert frame.schema == frame_schema(PROVENANCE)
    assert frame.height == 8  # one checkpoint without provenance, one retracted
    assert frame["models"].to_list()[0] == ["m-2", "m-1"]
    assert frame["period_start"].is_sorted()
    assert kit.provenance(as_of="2026-01-05T00:00:00Z").is_empty()
    assert list(kit.provenance(backend="pandas").columns) == frame.columns


def test_amended_provenance_is_the_latest(tmp_path: Path) -> None:
    with evalkit.connect(tmp_path / "home") as kit:
        study = kit.start_study(kit.create_study("nightly"))
        made = kit.record_checkpoint(study, {"period_start": "2026-01-05", "total_cost": 2}, tz="UTC")
        before = kit.pin()
        kit.amend_checkpoint(made, {"provenance": {"collector": "x", "models": ["m-1"]}}, reason="Known now")
        assert kit.provenance()["models"].to_list() == [["m-1"]]
        assert kit.checkpoints()["collector"].to_list() == ["x"]
        assert kit.provenance(as_of=before).is_empty()


def test_denominators_are_those_of_each_study(tmp_path: Path) -> None:
    """A study without tool calls has its own rolling mean, and no count from a metric of another kind."""
    with evalkit.connect(tmp_path / "home") as kit:
        kinds: dict[str, Any] = {"counts": "count", "none": None}
        for name, kind in kinds.items():
            metrics = [] if kind is None else [Metric("tool_calls", kind=kind, better="neither")]
            study = kit.start_study(kit.create_study(name, metrics=metrics, at=START), at=START)
            for day in range(4):
                row = {"period": (START + day * DAY, START + (day + 1) * DAY), "tool_success_rate": 0.5 + day / 10}
                kit.record_checkpoint(study, row | ({} if kind is None else {"tool_calls": 10}))
        counted = kit.measurements().filter(metric="tool_success_rate").group_by("study").agg(pl.col("count").count()).rows()
        assert dict(counted) == {"counts": 4, "none": 0}
        chart = plots.trend(kit.data(["counts", "none"]), "tool_success_rate", rolling=2)
        assert "Not weighted: 1 study without tool calls." in subtitle(chart)
        alone = plots.trend(kit.data("none"), "tool_success_rate", rolling=2)
        means = [{row["v"] for row in rows_of(each, layers_of(each, "line")[-1]) if row["study"] == "none"} for each in (chart, alone)]
        assert means[0] == means[1]


def test_standard_extras_give_denominators(tmp_path: Path) -> None:
    extras = ["tool_calls", "tasks_solved"]
    with evalkit.connect(tmp_path / "home") as kit:
        study = kit.start_study(kit.create_study("nightly", metrics=extras, at=START), at=START)
        values = [(0.9, 2.0, 0.5, 1.0, 10, 2), (0.6, 3.0, 1.0, 8.0, 40, 8), (None, None, None, 1.0, 0, 0)]
        for day, (rate, iterations, cost, total, calls, solved) in enumerate(values):
            row = {
                "period": (START + day * DAY, START + (day + 1) * DAY),
                "tasks_completed": 10,
                "tool_calls": calls,
                "tasks_solved": solved,
            }
            measured = {"tool_success_rate": rate, "avg_iterations_to_success": iterations, "cost_per_successful_task": cost}
            kit.record_checkpoint(study, {**row, **measured, "total_cost": total})
        data = kit.data()
        week = analysis.resample(data, "weekly").frame.row(0, named=True)
        assert week["tool_success_rate"] == pytest.approx((9 + 24) / 50)
        assert week["avg_iterations_to_success"] == pytest.approx((4 + 24) / 10)
        assert week["cost_per_successful_task"] == pytest.approx(10 / 10)  # the costs of days without a solved task count
        chart = plots.trend(data, "tool_success_rate")
        assert "Band: 95% Wilson CI (n = tool calls)." in subtitle(chart)
        counts = kit.measurements().filter(pl.col("metric").is_in(["tool_success_rate", "cost_per_successful_task"]))["count"]
        assert sorted(counts.to_list()) == [2, 8, 10, 40]
        rests_on = analysis.summary(data).frame.filter(metric="avg_iterations_to_success")
        assert rests_on.select("weighted_mean", "rests_on").row(0) == (pytest.approx(2.8), 10)
        plain = StudyData(kit.checkpoints(), metrics=[])
        assert plain.metric("tool_success_rate").denominator is None


def test_undefined_or_other_definitions_give_no_denominators() -> None:
    frame = checkpoints().with_columns(pl.lit(10).alias("tool_calls"))
    assert StudyData(frame).metric("tool_success_rate").denominator is None
    for kind in ("number", "money"):
        other = Metric("tool_calls", kind=kind, better="up")  # type: ignore[arg-type]
        assert StudyData(frame, metrics=[other]).metric("tool_success_rate").denominator is None
    counted = Metric("tool_calls", kind="count", better="down")
    assert StudyData(frame, metrics=[counted]).metric("tool_success_rate").denominator == "tool_calls"
    empty = frame.with_columns(pl.lit(None, dtype=pl.Int64()).alias("tool_calls"))
    assert StudyData(empty, metrics=[counted]).metric("tool_success_rate").denominator is None
