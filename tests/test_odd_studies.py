"""Every chart, analysis and report on unusual studies: nothing fails, and nothing is left out silently."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit import METRICS, EvalKit, Metric, StudyData, analysis, plots
from evalkit.frames.columns import FRAMES, kinds_of
from evalkit.frames.pandas_output import to_pandas
from evalkit.panel.markup import study_html
from evalkit.panel.model import ALL, ARCHIVED, PanelModel
from evalkit.panel.reading import read
from evalkit.panel.screen import Picture
from evalkit.plots._rendering import svg
from evalkit.samples import sample_checkpoints
from tests.properties import in_long_form

START = datetime(2026, 1, 5, tzinfo=UTC)
NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MARKUP = "<img src=x onerror=alert(1)></script>\"'&amp; {{ 7*7 }} $x$ | `"
KINDS: tuple[dict[str, Any], ...] = (
    {"kind": "count", "better": "down"}, {"kind": "rate", "better": "up", "denominator": "sessions_completed"},
    {"kind": "rate", "better": "down"}, {"kind": "number", "better": "neither", "rollup": "max"},
    {"kind": "score", "better": "up", "low": 0, "high": 10, "rollup": "last"}, {"kind": "money", "better": "down"},
    {"kind": "duration", "better": "down", "rollup": "sum"},
)  # fmt: skip


def value_of(kind: str, day: int) -> Any:
    return {"count": day % 5, "rate": (day % 7) / 7, "duration": timedelta(seconds=30 + day)}.get(kind, 1.5 + day % 3)


def started(kit: EvalKit, name: str, **options: Any) -> evalkit.Study:
    return kit.start_study(kit.create_study(name, at=START, **options), at=START)


def twenty_metrics(kit: EvalKit) -> None:
    metrics = [Metric(f"m_{number}", **KINDS[number % len(KINDS)], label=f"Metric {number} {MARKUP[:20]}") for number in range(20)]
    study = started(kit, "many metrics", metrics=metrics)
    rows = sample_checkpoints("daily", START, 10, seed=1)
    kit.record_checkpoints(
        study, [{**row, **{each.name: value_of(each.kind, day) for each in metrics}} for day, row in enumerate(rows)]
    )  # fmt: skip


def all_missing(kit: EvalKit) -> None:
    study = started(kit, "all missing", metrics=[Metric("m_1", kind="count", better="up", primary=True)])
    for row in sample_checkpoints("daily", START, 5, seed=1):
        made = kit.record_checkpoint(study, {"period": (row["period_start"], row["period_end"]), "total_cost": 1})
        kit.amend_checkpoint(made, {"total_cost": None}, reason="Not measured")


def one_value(kit: EvalKit) -> None:
    study = started(kit, "one value", metrics=[Metric("m_1", kind="score", better="up", primary=True)])
    for day, row in enumerate(sample_checkpoints("daily", START, 9, seed=1)):
        kit.record_checkpoint(study, {**row, "m_1": 3} if day == 4 else row)


def markup(kit: EvalKit) -> None:
    other = Metric("m_2", kind="number", better="up", unit="<b>")
    study = started(kit, MARKUP, metrics=[other, Metric("m_1", kind="rate", better="up", label=MARKUP, group=MARKUP)])
    for day, row in enumerate(sample_checkpoints("daily", START, 9, seed=1)):
        made = kit.record_checkpoint(
            study, {**row, "m_1": 0.5, "m_2": day}, provenance={"collector": MARKUP, "models": [f"{MARKUP}{day // 4}"]}
        )
        if day == 3:
            kit.amend_checkpoint(made, {"m_1": 0.25}, reason=MARKUP, author=MARKUP)
        kit.note(study, f"{MARKUP} {day}", at=START + day * DAY, author=MARKUP)


def many_notes(kit: EvalKit) -> None:
    study = started(kit, "notes")
    kit.record_checkpoints(study, sample_checkpoints("daily", START, 30, seed=1))
    for number in range(300):
        at = START + number * DAY / 10
        kit.note(study, f"Note {number}", at=at, until=at + DAY / 3 if number % 10 == 0 else None)


def different_definitions(kit: EvalKit) -> None:
    for name, kind in {"first": "count", "second": "number"}.items():
        shared = Metric("shared", kind="rate", better="down")
        study = started(kit, name, metrics=[Metric("m_1", kind=kind, better="up", primary=True), shared])  # type: ignore[arg-type]
        kit.record_checkpoints(study, [{**row, "m_1": 3, "shared": 0.5} for row in sample_checkpoints("daily", START, 9, seed=1)])


def archived_and_renamed(kit: EvalKit) -> None:
    for name in ("kept", "left"):
        study = started(kit, name, metrics=[Metric("m_1", kind="count", better="up", primary=True)])
        kit.record_checkpoints(study, [{**row, "m_1": 3} for row in sample_checkpoints("daily", START, 9, seed=1)])
        kit.note(study, "Note", at=START + DAY)
    kit.rename_study("kept", "renamed")
    kit.archive_study("left")


STUDIES: dict[str, Callable[[EvalKit], None]] = {
    "20 metrics": twenty_metrics, "all missing": all_missing, "one value": one_value, "markup": markup, "300 notes": many_notes,
    "different definitions": different_definitions, "archived and renamed": archived_and_renamed,
}  # fmt: skip


@pytest.fixture(scope="module")
def kit_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], EvalKit]]:
    kits: list[EvalKit] = []

    @cache
    def made(name: str) -> EvalKit:
        kits.append(evalkit.connect(tmp_path_factory.mktemp("home")))
        STUDIES[name](kits[-1])
        return kits[-1]

    yield made
    for kit in kits:
        kit.close()


@pytest.fixture(scope="module")
def data_of(kit_of: Callable[[str], EvalKit]) -> Callable[[str], StudyData]:
    @cache
    def read_all(name: str) -> StudyData:
        with evalkit.errors.collect_warnings(lambda _: None):
            return kit_of(name).data(archived=True)

    return read_all


def in_pandas(data: StudyData) -> StudyData:
    frames = {name: getattr(data, name) for name in ("lifecycle", "studies", "metrics", "notes", "amendments", "provenance")}
    converted = {name: to_pandas(frame, kinds_of(frame, FRAMES[name])) for name, frame in frames.items()}
    return StudyData(to_pandas(data.checkpoints, kinds_of(data.checkpoints, FRAMES["checkpoints"])), **converted, malformed=data.malformed)


def shown(chart: Any) -> str:
    drawing = svg(chart, "light")
    assert "<img" not in drawing
    assert "NaN" not in drawing
    return str(chart.description)


def analyzed(data: StudyData) -> list[str]:
    """Return a standard metric, and custom metrics of each kind."""
    return ["total_cost", *[name for name in data.catalog if name not in METRICS][: len(KINDS)]]


def texts_of(data: StudyData) -> dict[str, Any]:
    """Return the texts of all charts and of the analyses of all metrics, and of the trend of each metric."""
    texts: dict[str, Any] = {"overview": shown(plots.overview(data)), "lifecycle": shown(plots.lifecycle(data))}
    texts["audit"], texts["summary"] = str(analysis.audit(data)), analysis.summary(data).frame.shape
    texts["resample"] = str(analysis.resample(data, "weekly"))
    for name in analyzed(data):
        texts[f"trend of {name}"] = plots.trend(data, name, rolling=3).description
        texts[f"analysis of {name}"] = str(analysis.trend(data, name))
        texts[f"scatter of {name}"] = plots.scatter(data, "total_cost", name).description
    return texts


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_everything_works_on_unusual_studies(data_of: Callable[[str], StudyData], tmp_path: Path, name: str) -> None:
    """The texts for Polars and pandas are equal, and none of a study's texts is markup in a page."""
    data = data_of(name)
    assert texts_of(in_pandas(data)) == texts_of(data)
    tested = analyzed(data)[:2]
    for metric in in_long_form(analyzed(data), tested):
        assert str(analysis.changepoints(data, metric))
        assert str(analysis.before_after(data, metric, at=START + 5 * DAY))
    names = [study.id for study in data.names]
    if len(names) > 1:
        assert str(analysis.compare(data, names[0], baseline=names[1], metrics=tested))
    baseline = names[1] if len(names) > 1 else None
    for extension in in_long_form((".html", ".md", ".json"), (".html",)):
        text = analysis.report(data, tmp_path / f"a{extension}", study=names[0], baseline=baseline, metrics=in_long_form(None, tested))
        page = text.read_text("utf-8")
        assert extension != ".html" or ("<img" not in page and "<b>" not in page)


@pytest.mark.parametrize("name", STUDIES)
def test_panel_shows_unusual_studies(kit_of: Callable[[str], EvalKit], name: str) -> None:
    """Every study, archived ones too, with each of its metrics, its checkpoints and their versions, and no markup."""
    kit = kit_of(name)
    model = PanelModel(NOW)
    model.apply(read(kit, None), NOW)
    listed: list[str] = []
    for status in (ALL, ARCHIVED):
        model.filter_by(status=status)
        for row in model.listed():
            listed.append(row["study_id"])
            model.select(row["study_id"])
            assert list(model.metrics) == [*METRICS, *kit.metrics(row["study_id"])["name"]]
            for metric in list(model.metrics)[:: in_long_form(1, 7)]:
                model.choose_metric(metric)
                frames = model.study_frames()
                assert frames is not None
                assert Picture.of(frames.data(), metric).spec["description"]
            page = study_html(model)
            assert "<img" not in page
            assert "<b>" not in page
            assert model.drafts is not None
            choice = model.drafts.correction
            assert len(choice.matching()) == kit.checkpoints(row["study_id"]).height
            assert choice.form is None or set(choice.form.texts) >= {"total_cost", *kit.metrics(row["study_id"])["name"]}
    assert sorted(listed) == sorted(kit.studies(archived=True)["study_id"])


def test_twenty_metrics_are_all_shown(data_of: Callable[[str], StudyData]) -> None:
    data = data_of("20 metrics")
    names = [*METRICS, *(f"m_{number}" for number in range(20))]
    assert plots.table(plots.overview(data))["metric"].unique(maintain_order=True).sort().to_list() == sorted(names)
    assert analysis.summary(data).frame["metric"].to_list() == names
    assert [name for name in analysis.resample(data, "weekly").frame.columns if name in names] == names


def test_values_and_notes_are_counted(data_of: Callable[[str], StudyData], tmp_path: Path) -> None:
    chart = plots.trend(data_of("one value"), "m_1")
    assert plots.table(chart)["m_1"].count() == 1
    assert "1 checkpoint" in chart.description
    notes = plots.trend(data_of("300 notes"), "total_cost")
    assert "300 notes" in notes.description
    report = analysis.report(data_of("300 notes"), tmp_path / "a.json").read_text("utf-8")
    assert len(json.loads(report)["notes"]) == 300
    missing = plots.trend(data_of("all missing"), "total_cost")
    assert "5 values withdrawn by amendments." in missing.description


def test_contradictions_are_named(data_of: Callable[[str], StudyData], tmp_path: Path) -> None:
    data = data_of("different definitions")
    assert "m_1" in " ".join(plots.overview(data).to_dict()["title"]["subtitle"])
    for text in (str(analysis.summary(data)), str(analysis.resample(data, "weekly")), str(analysis.audit(data))):
        assert "m_1" in text
    with pytest.raises(evalkit.InvalidInputError, match=r"studies '(first|second)' and '(first|second)' define it differently: kind"):
        plots.trend(data, "m_1")
    first, second = (name.id for name in data.names)
    content = json.loads(analysis.report(data, tmp_path / "a.json", study=first, baseline=second).read_text("utf-8"))
    assert content["not_tested"]["shared"] == "not primary"
    assert "define it differently" in content["not_tested"]["m_1"]
    assert "m_1" in str(analysis.compare(data, first, baseline=second, metrics=None))


def test_archived_and_renamed_studies_are_shown(data_of: Callable[[str], StudyData], tmp_path: Path) -> None:
    data = data_of("archived and renamed")
    assert sorted(name.label for name in data.names) == ["left", "renamed"]
    content = json.loads(analysis.report(data, tmp_path / "a.json", study="renamed", baseline="left").read_text("utf-8"))
    assert (content["study"]["archived"], content["comparison"]["baseline"]["archived"]) == (False, True)


@pytest.mark.slow
def test_large_study_with_amendments_has_every_chart_and_a_report(tmp_path: Path) -> None:
    """5,000 hourly checkpoints, 500 of them amended in a custom metric."""
    with evalkit.connect(tmp_path / "home") as kit:
        metric = Metric("m_1", kind="rate", better="up", denominator="sessions_completed", primary=True)
        study = kit.start_study(kit.create_study("large", period="hourly", metrics=[metric], at=START), at=START)
        rows = [{**row, "m_1": 0.5, "sessions_included": None} for row in sample_checkpoints("hourly", START, 5000, seed=1)]
        done = kit.record_checkpoints(study, rows)
        for checkpoint_id in done.checkpoint_ids[::10]:
            kit.amend_checkpoint(checkpoint_id, {"m_1": 0.25}, reason="Wrong judge")
        data = kit.data()
        chart = plots.trend(data, "m_1")
        assert "Hollow: amended (500 values)." in chart.description
        assert plots.table(chart)["status"].value_counts().sort("count")["count"].to_list() == [500, 4500]
        assert "Hollow: amended (500 values)" in " ".join(plots.overview(data).to_dict()["title"]["subtitle"])
        assert "Hollow: amended (500 checkpoints)" in plots.scatter(data, "total_cost", "m_1").description
        content = json.loads(kit.report(study, tmp_path / "a.json", metrics="m_1").read_text("utf-8"))
        assert len(content["restatements"]) == 500
        page = kit.report(study, tmp_path / "a.html", metrics="m_1").read_text("utf-8")
        assert "450 earlier rows of large are not shown; a report in JSON has all." in page
        assert len(page) < 3_000_000
