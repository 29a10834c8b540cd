"""Reports: content in three formats, hostile texts, reproducible output."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from inline_snapshot import snapshot
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

import evalkit
from evalkit import StudyData, analysis
from evalkit.analysis import report as analysis_report
from evalkit.analysis._compare import FEWEST as FEWEST_PAIRS
from evalkit.analysis._report.content import ReportContent
from evalkit.analysis._report.content_builder import build_content
from evalkit.analysis._report.digest import digest
from evalkit.analysis._report.figures import figures
from evalkit.analysis._report.method_notes import method_notes
from evalkit.analysis._report.render import html, markdown
from evalkit.analysis._report.study_analysis import analyze_study
from evalkit.analysis._stats import ar1, scipy_functions
from evalkit.analysis._wording import ONLY_ALONE
from evalkit.cli.app import app
from evalkit.domain.catalog import METRICS
from evalkit.frames.columns import LIFECYCLE, empty_frame
from tests import oracles
from tests.analysis_frames import odd_frames
from tests.chart_frames import checkpoints, study_id
from tests.messages import says
from tests.properties import in_long_form
from tests.report_schema import SCHEMA, schema
from tests.report_studies import BEGIN, HOSTILE, add, hostile, hourly, noise, samples, stepped

FORMATS = ("html", "md", "json")


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> evalkit.EvalKit:
    """A kit with a study that improved in one step, a baseline, a study with hostile texts, and a pending study."""
    kit = evalkit.connect(tmp_path_factory.mktemp("reports") / "home")
    add(kit, "agent", stepped(), period="daily:60", description="Does it help?", tags=["night"], metadata={"model": "m-1"})
    add(kit, "baseline", samples(40, seed=9, level=-1.0))
    hostile(kit)
    kit.create_study("pending", at=BEGIN)
    return kit


class Page(HTMLParser):
    """The tags, attributes and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def content_of(study: pl.DataFrame, baseline: pl.DataFrame | None = None, metrics: list[str] | None = None) -> ReportContent:
    """Return the content of a report on a study's frame, compared with a baseline's."""
    frames = [frame for frame in (study, baseline) if frame is not None]
    ids = [frame["study_id"][0] if "study_id" in frame.columns and frame.height else study_id(1) for frame in frames]
    if "study_id" not in study.columns:
        data = StudyData(study)
        return build_content(analyze_study(data, data.names[0], metrics=metrics))
    about = pl.DataFrame({"study_id": ids, "name": [frame["study"][0] if frame.height else "agent" for frame in frames]})
    data = StudyData(pl.concat(frames, how="diagonal_relaxed"), studies=about)
    return build_content(analyze_study(data, data.find(ids[0]), None if baseline is None else data.find(ids[1]), metrics))


def written(kit: evalkit.EvalKit, study: Any, folder: Path, extension: str, **options: Any) -> str:
    return kit.report(study, folder / f"report.{extension}", **options).read_text("utf-8")


@pytest.fixture(scope="module")
def report(kit: evalkit.EvalKit, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Return the text of a report, generated once for all tests."""
    folder = tmp_path_factory.mktemp("reports")

    @cache
    def text(study: str, extension: str, baseline: str | None = None) -> str:
        return written(kit, study, folder, extension, baseline=baseline)

    return text


@pytest.mark.slow
def test_all_formats_have_the_same_content(report: Callable[..., str]) -> None:
    """Summary, description and digest are in all formats; the page has a chart of each kind."""
    texts = {extension: report("agent", extension, "baseline") for extension in FORMATS}
    content = json.loads(texts["json"])
    assert [row["verdict"] for row in content["shifts"] if row["metric"] == "agent_efficiency"] == ["shifted"]
    assert content["comparison"]["baseline"]["name"] == "baseline"
    assert [finding["kind"] for finding in content["audit"]["findings"]] == ["missing_period"]
    assert content["study"]["planned_periods"] == 60
    assert [events["checkpoints"] for events in content["events"]] == [38, 40]
    page = " ".join(Page(texts["html"]).texts)
    plain = re.sub(r"\\(.)", r"\1", texts["md"]).replace("&lt;", "<")
    for sentence in [*content["in_short"], content["events"][0]["digest"], "Does it help?", "model = m-1"]:
        assert sentence in page
        assert sentence in plain
    charts = re.findall('aria-label="Chart: ([^"]*)"', texts["html"])
    significant = {row["label"] for part in ("metrics", "shifts") for row in content[part] if (row["p_corrected"] or 0) <= 0.05}
    assert charts[:2] == ["Lifecycle", "Overview of all metrics"]
    assert charts[-1] == "Differences"
    assert set(charts[2:-1]) <= significant
    assert len(charts) == 3 + min(4, len(significant)) == texts["html"].count("<svg ")
    assert "<svg" not in texts["md"]


def test_report_of_a_state_and_without_excluded_checkpoints(tmp_path: Path) -> None:
    """`exclude`, `values` and `as_of` select checkpoints as in ``kit.checkpoints``; a study is found by its present name."""
    kit = evalkit.connect(tmp_path / "home")
    kit.start_study(kit.create_study("old", at="2026-01-01T00:00:00Z"), at="2026-01-01T00:00:00Z")
    days = [{"period_start": f"2026-01-{day:02}", "total_cost": 1} for day in range(1, 11)]
    ids = kit.record_checkpoints("old", days, tz="UTC").checkpoint_ids
    pin = kit.pin()
    kit.rename_study("old", "new")
    kit.retract_checkpoint(ids[0], reason="r")
    kit.create_study("later")

    def summary(**options: Any) -> tuple[str, int]:
        content = json.loads(written(kit, "new", tmp_path, "json", **options))
        return content["study"]["name"], content["events"][0]["checkpoints"]

    assert [summary(), summary(values="first"), summary(exclude=[ids[1], ids[2]]), summary(as_of=pin)] == [
        ("new", 9), ("new", 10), ("new", 7), ("old", 10),
    ]  # fmt: skip
    with pytest.raises(evalkit.InvalidInputError, match=r"Invalid as_of 'pin:.*': study 'later' did not exist\. Choose a later state\."):
        summary(as_of=pin, baseline="later")


@pytest.fixture(scope="module")
def corrected(tmp_path_factory: pytest.TempPathFactory) -> evalkit.EvalKit:
    """A kit with a study and an archived baseline that have custom metrics, notes, two models, amendments and a retraction."""
    kit = evalkit.connect(tmp_path_factory.mktemp("corrected") / "home")
    metrics = [
        evalkit.Metric("refusal_rate", kind="rate", better="down", denominator="sessions_completed", primary=True),
        evalkit.Metric("judge_score", kind="score", better="up", low=0, high=10, label=f"Judge {HOSTILE[:20]}"),
    ]
    for seed, name in enumerate(("agent", "baseline")):
        study = add(kit, name, [], metrics=metrics)
        for day, row in enumerate(samples(12, seed=seed)):
            values = {**row, "refusal_rate": round(0.2 * row["sessions_completed"]) / row["sessions_completed"], "judge_score": 5 + day % 2}
            made = kit.record_checkpoint(study, values, provenance={"collector": "x", "models": ["m-1" if day < 6 else "m-2"]})
            if day == 3:
                kit.amend_checkpoint(made, {"refusal_rate": 0.5, "judge_score": None, "events_analyzed": 7}, reason=HOSTILE, author="Ada")
            if day == 9:
                kit.retract_checkpoint(made, reason="test run")
        kit.note(study, HOSTILE, at=BEGIN + timedelta(days=2), until=BEGIN + timedelta(days=4), category="incident", author="Ada")
    kit.archive_study("baseline")
    return kit


def test_report_has_custom_metrics_notes_and_restatements(corrected: evalkit.EvalKit, tmp_path: Path) -> None:
    baseline = corrected.resolve("baseline", archived=True)
    texts = {extension: written(corrected, "agent", tmp_path, extension, baseline=baseline) for extension in FORMATS}
    content = json.loads(texts["json"])
    assert [row["metric"] for row in content["metrics"]][-1] == "refusal_rate"
    assert content["not_tested"] == {"judge_score": "not primary"}
    assert content["correction"]["metrics"][-1] == "refusal_rate"
    assert "16 of the 16 metrics, refusal rate" in texts["md"]
    assert content["comparison"]["differences"][-1]["metric"] == "refusal_rate"
    assert content["comparison"]["baseline"]["archived"]
    definitions = {row["name"]: row for row in content["definitions"]}
    assert definitions["refusal_rate"]["denominator"] == "sessions_completed"
    assert [(row["study"], row["kind"], row["text"]) for row in content["notes"]] == [
        (study, kind, text) for study in ("agent", "baseline") for kind, text in (("note", HOSTILE), ("version", "model m-1 → m-2"))
    ]  # fmt: skip
    restated = [(row["study"], row["label"][:5], row["old"], row["new"], row["revision"]) for row in content["restatements"]]
    assert len(restated) == 8
    assert restated[1:4] == [
        ("agent", "Judge", 6.0, None, 1),
        ("agent", "Event", content["restatements"][2]["old"], 7.0, 1),
        ("agent", "Retra", None, None, None),
    ]
    assert content["restatements"][0]["period_start"] == (BEGIN + timedelta(days=3)).isoformat().replace("+00:00", "Z")
    page = " ".join(Page(texts["html"]).texts)
    for sentence in ("6 changed values and 2 retracted checkpoints. This report shows the latest values.", "model m-1 → m-2", "test run"):
        assert sentence in page
        assert sentence in texts["md"]
    assert "img" not in Page(texts["html"]).tags
    assert "Hollow: amended (1 value)" in page
    validator = Draft202012Validator(json.loads(schema()))
    assert list(validator.iter_errors(content)) == []


def test_report_names_its_state_and_selection(corrected: evalkit.EvalKit, tmp_path: Path) -> None:
    pin = corrected.pin()
    first = corrected.checkpoints("agent")["checkpoint_id"][0]
    options: dict[str, Any] = {"as_of": pin, "values": "first", "exclude": [first], "metrics": ["judge_score", "total_cost"]}
    content = json.loads(written(corrected, "agent", tmp_path, "json", **options))
    assert content["data"] == {"as_of": str(pin), "values": "first", "excluded": 1}
    assert [row["metric"] for row in content["metrics"]] == ["total_cost", "judge_score"]
    assert (content["metrics"][1]["missing"], content["not_tested"]) == (0, {})
    page = written(corrected, "agent", tmp_path, "html", **options)
    assert "This report shows the values as first recorded." in page
    assert page.count(f"As of pin:{pin.events}@") >= 3  # in the summary, and in each chart
    latest = json.loads(written(corrected, "agent", tmp_path, "json"))
    assert latest["data"] == {"as_of": None, "values": "latest", "excluded": 0}


def test_notes_of_both_studies_are_shown(tmp_path: Path) -> None:
    frame = pl.concat([checkpoints(count=60), checkpoints("other", 2, count=60)])
    times = [*frame["period_start"][:5], *frame["period_start"][:55]]
    studies = [study_id(1)] * 5 + [study_id(2)] * 55
    texts = [f"{'first' if number < 5 else 'second'} note {number}" for number in range(60)]
    notes = pl.DataFrame({"study_id": studies, "at": times, "text": texts})
    data = StudyData(frame, notes=notes)
    page = analysis_report(data, tmp_path / "a.md", study="agent", baseline="other", metrics="total_cost").read_text("utf-8")
    assert page.count("first note") == 5
    assert "5 earlier rows of other are not shown" in page


def test_digest_covers_everything_that_a_report_shows(corrected: evalkit.EvalKit, tmp_path: Path) -> None:
    def digest_of(data: Any) -> str:
        text = analysis_report(data, tmp_path / "digest.json", study=data.names[0].id, metrics="total_cost").read_text("utf-8")
        return str(json.loads(text)["events"][0]["digest"])

    data = corrected.data("agent")
    parts: dict[str, Any] = {
        "lifecycle": data.lifecycle, "studies": data.studies, "metrics": data.metrics, "notes": data.notes, "amendments": data.amendments,
        "provenance": data.provenance,
    }  # fmt: skip
    changed = {
        "metrics": data.metrics.with_columns(label=pl.lit("Other")),
        "notes": data.notes.with_columns(text=pl.lit("Other")),
        "amendments": data.amendments.with_columns(reason=pl.lit("Other")),
        "provenance": data.provenance.with_columns(agent_version=pl.lit("2")),
        "studies": data.studies.with_columns(archived=pl.lit(value=True)),
    }
    digests = [digest_of(StudyData(data.checkpoints, **{**parts, name: frame})) for name, frame in changed.items()]
    digests += [
        digest_of(StudyData(data.checkpoints, **{**parts, name: frame.head(0)}))
        for name, frame in parts.items()
        if name in changed and name != "studies"
    ]
    custom = data.checkpoints.with_columns(judge_score=pl.col("judge_score") + 1)
    malformed = data.checkpoints.head(1).select("study_id", "checkpoint_id", parts=pl.lit("provenance"))
    digests += [digest_of(StudyData(custom, **parts)), digest_of(StudyData(data.checkpoints, **parts, malformed=malformed))]
    digests.append(digest_of(StudyData(data.checkpoints, **parts)))
    assert len(set(digests)) == len(digests)
    shuffled = {
        name: frame.sample(fraction=1, shuffle=True, seed=1)
        for name, frame in parts.items()
        if name not in ("lifecycle", "studies", "metrics")
    }
    assert digest_of(StudyData(data.checkpoints, **{**parts, **shuffled})) == digests[-1]


def test_undefined_metrics_can_be_reported_on(tmp_path: Path) -> None:
    frame = checkpoints(count=12).with_columns(judge_score=pl.int_range(12) * 1.0)
    text = analysis_report(frame, tmp_path / "a.md", metrics=["judge_score"]).read_text("utf-8")
    assert "has no definition in this data, so no direction is better" in text
    left_out = analysis_report(frame.drop(list(METRICS)), tmp_path / "b.md").read_text("utf-8")
    assert "Custom metrics that are not in this report, because they are not primary: judge\\_score." in left_out


def test_long_lists_are_cut_in_pages(tmp_path: Path) -> None:
    frame = checkpoints(count=60)
    fixed = {"study_id": study_id(1), "study": "agent", "category": "prompt", "text": "x"}
    notes = frame.select(at="period_start", **{name: pl.lit(value) for name, value in fixed.items()})
    page = analysis_report(StudyData(frame, notes=notes), tmp_path / "a.md", metrics="total_cost").read_text("utf-8")
    assert "10 earlier rows of agent are not shown; a report in JSON has all." in page
    rows = analysis_report(StudyData(frame, notes=notes), tmp_path / "a.json", metrics="total_cost").read_text("utf-8")
    assert len(json.loads(rows)["notes"]) == 60


@pytest.mark.slow
def test_json_matches_published_schema(report: Callable[..., str]) -> None:
    """docs/report.schema.json is up to date (`python -m tests.report_schema` writes it), and reports validate against it."""
    assert SCHEMA.read_text("utf-8") == schema()
    validator = Draft202012Validator(json.loads(schema()))
    for study, baseline in (("agent", "baseline"), (HOSTILE, "agent"), ("pending", None), ("agent", "pending")):
        text = report(study, "json", baseline)
        assert list(validator.iter_errors(json.loads(text))) == []
        assert "NaN" not in text


@pytest.mark.slow
def test_all_p_values_are_adjusted_together(kit: evalkit.EvalKit, report: Callable[..., str], tmp_path: Path) -> None:
    """Trends, shifts and differences of all metrics are one family for Holm, as in statsmodels."""
    content = json.loads(report("agent", "json", "baseline"))
    rows = [*content["metrics"], *content["shifts"], *content["comparison"]["differences"]]
    ps = [row["p"] for row in rows]
    assert len(ps) == content["correction"]["tests"] == 48
    assert [row["p_corrected"] for row in rows] == pytest.approx(oracles.holm(ps))
    fewer = json.loads(written(kit, "agent", tmp_path, "json", metrics=["total_cost", "agent_efficiency"]))
    assert [row["metric"] for row in fewer["metrics"]] == ["agent_efficiency", "total_cost"]
    assert fewer["correction"]["tests"] == 4


@pytest.mark.slow
def test_reports_on_noise_are_rarely_significant() -> None:
    """At most 2 of 8 studies of noise (1 of 3 in short runs) have a significant result; more would happen in 0.6% of runs at 5%."""
    significant = 0
    for seed in range(in_long_form(8, 3)):
        content = content_of(noise(2 * seed), noise(2 * seed + 1, number=2))
        rows = [*content.metrics, *content.shifts, *(content.comparison.differences if content.comparison else [])]
        assert len(rows) == 48
        significant += any((row.p_corrected or 1.0) <= 0.05 for row in rows)
    assert significant <= in_long_form(2, 1)


@pytest.mark.slow
def test_results_significant_only_before_adjustment_are_listed() -> None:
    """The last sentence lists exactly the metrics with a p-value up to 0.05 that is larger after adjustment."""
    content = content_of(noise(2), noise(3, number=2))
    rows = {"trend": content.metrics, "shift": content.shifts, "difference": content.comparison.differences if content.comparison else []}
    labels = {kind: ", ".join(row.label.lower() for row in of_kind if (row.p or 1.0) <= 0.05) for kind, of_kind in rows.items()}
    assert labels["difference"]
    assert content.in_short[-1] == f"{ONLY_ALONE}: {'; '.join(f'{kind} in {names}' for kind, names in labels.items() if names)}."
    assert content.in_short[:-1] == snapshot(
        [
            "No significant trend, shift, or difference from 'study 2' (16 metrics, 30 checkpoints).",
            "The absence of a significant result does not prove the absence of an effect: the confidence intervals below show which effects remain possible.",
        ]
    )


@pytest.mark.slow
def test_summary_with_a_trend_and_without_a_difference() -> None:
    """A significant trend is one line; the absence of a significant difference is stated with its limits."""
    rising = noise(2).with_columns(total_cost=pl.col("total_cost") / 100 + pl.int_range(pl.len()))
    other = noise(3, number=2).with_columns(total_cost=pl.lit(None, dtype=pl.Float64))
    assert content_of(rising, other).in_short[:2] == snapshot(
        [
            "Total cost: rising (+$1.00/day, 95% CI +$1.00 to +$1.00; p < 0.001, Holm-adjusted p < 0.001; 30 checkpoints over 30 days).",
            "No significant difference from 'study 2' (15 metrics). The absence of a significant result does not prove the absence of an effect.",
        ]
    )


@pytest.mark.slow
def test_strong_autocorrelation_is_reported() -> None:
    """The statement on false positives mentions metrics with strong autocorrelation."""
    random = np.random.default_rng(1)
    random_walk = np.cumsum(random.standard_normal(60))
    quiet = noise(5, count=60)
    for study, autocorrelated in ((quiet.with_columns(total_cost=pl.Series(100 + random_walk)), ["total_cost"]), (quiet, [])):
        content = content_of(study, metrics=["agent_efficiency", "total_cost"])
        assert content.correction.autocorrelated == autocorrelated
        assert "at most 5% of reports" in markdown(content).replace("\\", "")
        assert ("Strong autocorrelation" in markdown(content)) == bool(autocorrelated)


def test_method_notes_match_the_analyses() -> None:
    """The notes mention the conditions for pairs, and the power behind "no significant trend"."""
    notes = {note.what: note.how for note in method_notes(compared=True)}
    assert f"at least {FEWEST_PAIRS} pairs and at least half as many as the shorter study has values" in notes["Differences"]
    assert "detected in about half of the studies or more" in notes["Trends"]
    assert {*notes} - {note.what for note in method_notes(compared=False)} == {"Differences"}


def test_constant_metrics_are_not_significant() -> None:
    """Constant values have no significant trend, shift or difference, regardless of floating-point rounding."""
    frame = checkpoints(count=30).with_columns(session_success_rate=pl.lit(0.1), total_cost=pl.lit(1.1), sessions_completed=pl.lit(1))
    shifted = frame.with_columns(pl.col("period_start", "period_end").dt.offset_by("1y"), study_id=pl.lit("0-other"), study=pl.lit("other"))
    names = ["sessions_completed", "session_success_rate", "total_cost"]
    content = content_of(frame, shifted.head(29), names)
    assert [row.verdict for row in content.metrics] == ["no significant trend"] * 3
    assert content.comparison is not None
    assert [row.verdict for row in content.comparison.differences] == ["no significant difference"] * 3


@pytest.mark.slow
def test_summary_distinguishes_constant_and_insufficient_data() -> None:
    """Constant metrics, metrics with too few values, and a mixture of both have different summaries."""
    names = ["session_success_rate", "total_cost"]
    constant = checkpoints(count=20).with_columns(session_success_rate=pl.lit(0.5), total_cost=pl.lit(1.5))
    few_costs = constant.with_columns(total_cost=pl.when(pl.int_range(pl.len()) < 5).then("total_cost"))
    assert content_of(constant, metrics=names).in_short == snapshot(
        ["Nothing to test: all metrics are constant (2 metrics, 20 checkpoints)."]
    )
    assert content_of(few_costs, metrics=names).in_short == snapshot(
        [
            "Nothing to test (2 metrics, 20 checkpoints): 1 metric is constant, the others have insufficient data; a trend or difference needs at least 8 values at distinct times, a shift 12."
        ]
    )
    assert content_of(constant.head(5), metrics=names).in_short == snapshot(
        ["Insufficient data (2 metrics, 5 checkpoints): a trend or difference needs at least 8 values at distinct times, a shift 12."]
    )


@pytest.mark.slow
def test_summary_of_untested_differences() -> None:
    """Identical values, too few values, and a mixture of both have different sentences."""
    names = ["session_success_rate", "total_cost", "agent_efficiency"]
    constant = checkpoints(count=20).with_columns(session_success_rate=pl.lit(0.5), total_cost=pl.lit(1.5))
    rising = constant.with_columns(agent_efficiency=pl.int_range(pl.len()) / 20)
    other = constant.with_columns(study_id=pl.lit("0-other"), study=pl.lit("other")).drop("agent_efficiency")
    few_costs = other.with_columns(total_cost=pl.when(pl.int_range(pl.len()) < 5).then("total_cost"))
    assert content_of(rising, other, names).in_short[1:] == snapshot(
        ["No difference from 'other' to test: the values of all shared metrics are identical."]
    )
    assert content_of(rising, few_costs, names).in_short[1:] == snapshot(
        ["No difference from 'other' to test: the values of 1 of 2 shared metrics are identical, and the others have insufficient data."]
    )
    assert content_of(rising, other.head(5), names).in_short[1:] == snapshot(
        ["Insufficient data to compare with 'other': no metric has enough comparable checkpoints in both studies."]
    )


@pytest.mark.slow
def test_output_is_reproducible(kit: evalkit.EvalKit, tmp_path: Path) -> None:
    """Another process with other hashes, time zone, locale, folder and earlier charts writes the same bytes."""
    metrics = in_long_form(None, ["agent_efficiency", "total_cost"])
    first = {extension: written(kit, "agent", tmp_path, extension, baseline="baseline", metrics=metrics) for extension in FORMATS}
    code = (
        "import sys, evalkit; from evalkit import plots; kit = evalkit.connect(sys.argv[1])\n"
        "plots.trend(kit.checkpoints('pending'), 'total_cost'), plots.trend(kit.checkpoints('baseline'), 'total_cost')\n"
        f"for path in sys.argv[2:]: kit.report('agent', path, baseline='baseline', metrics={metrics})"
    )
    environment = os.environ | {
        "PYTHONHASHSEED": "7",
        "TZ": "Asia/Kathmandu",
        "LC_ALL": "C",
        "PYTHONPATH": str(Path(evalkit.__file__).parents[1]),
    }
    others = {extension: tmp_path / f"other.{extension}" for extension in FORMATS}
    command = [sys.executable, "-W", "error", "-c", code, str(kit.engine.settings.home), *map(str, others.values())]
    subprocess.run(command, env=environment, cwd="/", check=True, timeout=120)
    assert {extension: path.read_text("utf-8") for extension, path in others.items()} == first


@pytest.mark.slow
def test_page_is_inert_with_hostile_texts(report: Callable[..., str]) -> None:
    """The page has no scripts, images or URLs; texts of the study are shown literally, without control characters."""
    text = report(HOSTILE, "html", "agent")
    page = Page(text)
    assert not {"script", "img", "iframe", "link", "object"} & set(page.tags)
    names = {name for name, _ in page.attributes}
    assert not {name for name in names if name.startswith("on")}
    assert not {"src", "srcset", "xlink:href"} & names
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert [value for name, value in page.attributes if name == "href"] == [f"#{value}" for value in ids]
    assert {value for name, value in page.attributes if value and "://" in value} == {"http://www.w3.org/2000/svg"}
    assert "url(" not in text
    assert HOSTILE.replace("\u202e", "\ufffd").replace("\u202c", "\ufffd") in page.texts
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", text)
    assert "{{ 7*7 }}" in text


@pytest.mark.slow
def test_markdown_escapes_hostile_texts(report: Callable[..., str]) -> None:
    """Tables stay rectangular, and no text becomes markup, a link or a line."""
    text = report(HOSTILE, "md", "agent")
    assert "<img" not in text
    assert "http://" not in text
    assert "www.x" not in text
    assert "a@b" not in text
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", text)
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert len(tables) >= 3
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert all(re.match(r"(#{1,2} |- |\||\S)", line) for line in text.splitlines() if line)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("frame", "alone", "compared"),
    [
        (checkpoints(count=1).clear(), snapshot("No checkpoints recorded yet."), snapshot("No checkpoints recorded yet.")),
        (
            checkpoints(count=1),
            snapshot(
                "Insufficient data (16 metrics, 1 checkpoint): a trend or difference needs at least 8 values at distinct times, a shift 12."
            ),
            snapshot(
                "Insufficient data (16 metrics, 1 checkpoint): a trend or difference needs at least 8 values at distinct times, a shift 12."
            ),
        ),
        (
            checkpoints(count=7),
            snapshot(
                "Insufficient data (16 metrics, 7 checkpoints): a trend or difference needs at least 8 values at distinct times, a shift 12."
            ),
            snapshot(
                "Insufficient data (16 metrics, 7 checkpoints): a trend or difference needs at least 8 values at distinct times, a shift 12."
            ),
        ),
        (
            checkpoints(count=20).with_columns(pl.lit(None, dtype=checkpoints().schema[name]).alias(name) for name in evalkit.METRICS),
            snapshot("No metric has a value (20 checkpoints)."),
            snapshot("No metric has a value (20 checkpoints)."),
        ),
        (
            checkpoints(count=20).select("study_id", "study", "period_start", "period_end", "total_cost"),
            snapshot("No significant trend or shift (1 metric, 20 checkpoints)."),
            snapshot(
                "No significant trend or shift (1 metric, 20 checkpoints). No difference from 'other' to test: the values of all shared metrics are identical."
            ),
        ),
    ],
)
def test_summary_without_significant_results(frame: pl.DataFrame, alone: str, compared: str) -> None:
    """The first sentence covers no checkpoints, too few, missing values, and few columns, without and with a baseline."""
    assert content_of(frame).in_short[0] == alone
    assert content_of(frame, checkpoints("other", 2, 20)).in_short[0] == compared


@pytest.mark.parametrize(
    "odd", ["unsorted", "duplicated timestamps", "no study, no period type", "without periods", "not finite", "below 0"]
)
def test_unusual_frames_have_reports(odd: str) -> None:
    """Unusual checkpoints cause no warnings, errors or NaN."""
    content = content_of(odd_frames()[odd])
    assert markdown(content).startswith("# ")
    assert "NaN" not in content.model_dump_json()


@pytest.mark.slow
def test_pending_study_has_report_in_every_format(report: Callable[..., str]) -> None:
    """A pending study can be the subject or the baseline of a report."""
    for extension in FORMATS:
        assert "No checkpoints recorded yet" in report("pending", extension, "agent")
        assert report("agent", extension, "pending")


@pytest.mark.slow
def test_study_references(kit: evalkit.EvalKit, tmp_path: Path) -> None:
    """A study is chosen by `Study`, id, name, or the end of its id."""
    study = kit.resolve("agent")
    texts = {written(kit, reference, tmp_path, "json", metrics="total_cost") for reference in (study, study.id, "agent", study.id[-8:])}
    assert len(texts) == 1
    with pytest.raises(evalkit.StudyNotFoundError) as error:
        kit.report("agnet", tmp_path / "a.md")
    assert error.value.reference == "agnet"


def test_digest_depends_on_content_only() -> None:
    """Row order and dtypes do not change the digest; every value does."""
    frame, about = checkpoints(count=5), {"study_id": "1", "name": "a", "tags": ["x"], "metadata": [{"key": "k", "value": "v"}]}
    lifecycle = empty_frame(LIFECYCLE)
    expected = digest(about, frame, lifecycle)
    assert re.fullmatch("[0-9a-f]{64}", expected)
    assert digest(about, frame.reverse(), lifecycle) == expected
    assert digest(about, frame.with_columns(pl.col("study").cast(pl.Categorical)).select(reversed(frame.columns)), lifecycle) == expected
    others = [
        digest({**about, "name": "b"}, frame, lifecycle),
        digest({**about, "metadata": []}, frame, lifecycle),
        digest(about, frame.head(4), lifecycle),
        *(digest(about, frame.with_columns(pl.lit(None, dtype=dtype).alias(name)), lifecycle) for name, dtype in frame.schema.items()
          if frame[name].count() and name not in ("study_id", "study", "period_type", "sessions_included")),
    ]  # fmt: skip
    assert len({expected, *others}) == len(others) + 1


@pytest.mark.slow
def test_report_size_is_bounded() -> None:
    """A report on many checkpoints (100,000 in the long form) is under 3 MB, and at most three times as large as on few."""
    sizes = [[len(text.encode()) for text in _rendered(StudyData(hourly(count)))] for count in in_long_form((1000, 100_000), (300, 2000))]
    for small, large in zip(*sizes, strict=True):
        assert large < 3_000_000
        assert large <= 3 * small


def _rendered(study: StudyData) -> list[str]:
    analyzed = analyze_study(study, study.names[0], metrics=in_long_form(None, ["session_success_rate", "total_cost", "total_tokens"]))
    content = build_content(analyzed)
    return [html(content, figures(analyzed)), markdown(content), content.model_dump_json()]


@pytest.mark.parametrize(
    ("path", "baseline", "message"),
    [
        ("report.pdf", None, snapshot("Invalid path 'report.pdf': expected the extension .html, .md or .json.")),
        (
            "no/such/report.md",
            None,
            snapshot(
                "Cannot write 'FOLDER/no/such/report.md': folder 'FOLDER/no/such' does not exist. Create it, or choose another folder."
            ),
        ),
        ("report.md", "agent", snapshot("Invalid baseline 'agent': it is the study itself. Choose another study.")),
    ],
)
def test_invalid_arguments_leave_no_file(kit: evalkit.EvalKit, tmp_path: Path, path: str, baseline: str | None, message: str) -> None:
    """An unsupported extension, a missing folder, and the study as its own baseline are rejected."""
    with pytest.raises(evalkit.InvalidInputError) as error:
        kit.report("agent", tmp_path / path, baseline=baseline)
    assert says(error, folder=tmp_path) == message
    assert list(tmp_path.iterdir()) == []


def test_path_must_be_a_path(kit: evalkit.EvalKit) -> None:
    with pytest.raises(evalkit.InvalidInputError) as error:
        kit.report("agent", 3)  # type: ignore[arg-type]
    assert says(error) == snapshot("Invalid path 3: expected a file name, e.g. 'report.html'.")


def test_data_with_several_studies_needs_a_choice(tmp_path: Path) -> None:
    with pytest.raises(evalkit.InvalidInputError) as error:
        analysis.report(pl.concat([checkpoints(), checkpoints("other", 2)]), tmp_path / "a.md")
    assert says(error) == snapshot("The data has 2 studies: 'agent', 'other'. Choose one with study=.")


def run(kit: evalkit.EvalKit, *args: str | Path, code: int = 0) -> Any:
    result = CliRunner().invoke(
        app, ["--home", str(kit.engine.settings.home), *map(str, args)], prog_name="evalkit", catch_exceptions=False
    )
    assert result.exit_code == code, result.output
    return result


@pytest.mark.slow
def test_report_command(kit: evalkit.EvalKit, report: Callable[..., str], tmp_path: Path) -> None:
    """`evalkit report REF -o FILE --baseline REF` writes the same report as the method."""
    target = tmp_path / "a.md"
    assert run(kit, "report", "agent", "-o", target, "--baseline", "baseline").stdout == f"Report written to {target}\n"
    assert target.read_text("utf-8") == report("agent", "md", "baseline")
    run(kit, "report", "agent", "-o", target, "--metric", "total_cost", "--metric", "session_success_rate")
    assert target.read_text("utf-8") == written(kit, "agent", tmp_path, "md", metrics=["total_cost", "session_success_rate"])
    output = json.loads(run(kit, "report", "agent", "-o", tmp_path / "a.json", "--json").stdout)
    assert output == {"study_id": kit.resolve("agent").id, "file": str(tmp_path / "a.json")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("agent", "-o", "a.doc"), snapshot("error: Invalid path 'a.doc': expected the extension .html, .md or .json.\n")),
        (
            ("agent", "-o", "a.md", "--baseline", "agent"),
            snapshot("error: Invalid baseline 'agent': it is the study itself. Choose another study.\n"),
        ),
        (
            ("agent", "-o", "absent/a.md"),
            snapshot("error: Cannot write 'absent/a.md': folder 'absent' does not exist. Create it, or choose another folder.\n"),
        ),
    ],
)
def test_report_command_errors(kit: evalkit.EvalKit, arguments: tuple[str, ...], message: str) -> None:
    """Errors are one line on stderr with exit code 1."""
    assert run(kit, "report", *arguments, code=1).stderr == message


def test_report_command_requires_output(kit: evalkit.EvalKit) -> None:
    assert "--output" in run(kit, "report", "agent", code=2).stderr


def test_report_command_without_scipy(kit: evalkit.EvalKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing package is an error with the command that installs it, and leaves no file."""
    monkeypatch.setattr(ar1, "stdtr", _missing_scipy)
    stderr = run(kit, "report", "agent", "-o", tmp_path / "a.md", code=1).stderr
    assert stderr == snapshot("error: evalkit.analysis needs scipy, which is not installed. Install: pip install scipy jinja2\n")
    assert list(tmp_path.iterdir()) == []


def _missing_scipy(*_: object) -> None:
    raise scipy_functions.missing_extra("scipy")
