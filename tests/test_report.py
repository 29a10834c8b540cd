"""Reports: what they claim and how surely, in three formats, safe with any text, and the same for the same events."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

import evalkit
from evalkit import StudyData
from evalkit.analysis._compare import FEWEST as FEWEST_PAIRS
from evalkit.analysis._report.content import ReportContent
from evalkit.analysis._report.digest import digest
from evalkit.analysis._report.examination import examine
from evalkit.analysis._report.facts import content_of
from evalkit.analysis._report.figures import figures
from evalkit.analysis._report.in_short import methods
from evalkit.analysis._report.render import html, markdown
from evalkit.analysis._stats import ar1, scipy_functions
from evalkit.cli.app import app
from evalkit.frames.columns import LIFECYCLE, empty_frame
from tests import oracles
from tests.analysis_frames import odd_frames
from tests.chart_frames import checkpoints, study_id
from tests.properties import in_long_form
from tests.report_schema import SCHEMA, schema
from tests.report_studies import BEGIN, HOSTILE, add, hostile, hourly, noise, samples, stepped

FORMATS = ("html", "md", "json")


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> evalkit.EvalKit:
    """A kit with a study that got better at once, a baseline, a hostile study, and one that was never started."""
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


def of(study: pl.DataFrame, baseline: pl.DataFrame | None = None, metrics: list[str] | None = None) -> ReportContent:
    """The content of a report on a study's frame, and on that of its baseline."""
    frames = [frame for frame in (study, baseline) if frame is not None]
    ids = [frame["study_id"][0] if "study_id" in frame.columns and frame.height else study_id(1) for frame in frames]
    if "study_id" not in study.columns:
        data = StudyData(study)
        return content_of(examine(data, data.names[0], metrics=metrics))
    about = pl.DataFrame({"study_id": ids, "name": [frame["study"][0] if frame.height else "agent" for frame in frames]})
    known = StudyData(pl.concat(frames, how="diagonal_relaxed"), studies=about)
    return content_of(examine(known, known.find(ids[0]), None if baseline is None else known.find(ids[1]), metrics))


def written(kit: evalkit.EvalKit, study: Any, folder: Path, ending: str, **more: Any) -> str:
    return kit.report(study, folder / f"report.{ending}", **more).read_text("utf-8")


@pytest.fixture(scope="module")
def known(kit: evalkit.EvalKit, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Gives the text of a report, written once for all tests: nothing in it depends on when it is written, as a test below shows."""
    folder = tmp_path_factory.mktemp("known")

    @cache
    def text(study: str, ending: str, baseline: str | None = None) -> str:
        return written(kit, study, folder, ending, baseline=baseline)

    return text


@pytest.mark.slow
def test_each_format_says_what_can_be_claimed(known: Callable[..., str]) -> None:
    """The claims, the facts, the audit and the digest stand in all three; the page has a chart of each kind."""
    texts = {ending: known("agent", ending, "baseline") for ending in FORMATS}
    made = json.loads(texts["json"])
    assert [row["verdict"] for row in made["shifts"] if row["metric"] == "agent_efficiency"] == ["shifted"]
    assert made["comparison"]["baseline"]["name"] == "baseline"
    assert [one["kind"] for one in made["audit"]["findings"]] == ["missing_period"]
    assert made["study"]["planned_periods"] == 60
    assert [one["checkpoints"] for one in made["events"]] == [38, 40]
    page = " ".join(Page(texts["html"]).texts)
    plain = re.sub(r"\\(.)", r"\1", texts["md"]).replace("&lt;", "<")
    for sentence in [*made["in_short"], made["events"][0]["digest"], "Does it help?", "model = m-1"]:
        assert sentence in page
        assert sentence in plain
    shown = re.findall('aria-label="Chart: ([^"]*)"', texts["html"])
    told = {row["label"] for part in ("metrics", "shifts") for row in made[part] if (row["p_corrected"] or 0) <= 0.05}
    assert shown[:2] == ["Lifecycle", "Overview of all metrics"]
    assert shown[-1] == "Differences"
    assert set(shown[2:-1]) <= told
    assert len(shown) == 3 + min(4, len(told)) == texts["html"].count("<svg ")
    assert "<svg" not in texts["md"]


@pytest.mark.slow
def test_the_json_follows_its_documented_schema(known: Callable[..., str]) -> None:
    """docs/report.schema.json is that of the model (`python -m tests.report_schema` writes it), and reports fit it; nothing is NaN."""
    assert SCHEMA.read_text("utf-8") == schema()
    validator = Draft202012Validator(json.loads(schema()))
    for study, baseline in (("agent", "baseline"), (HOSTILE, "agent"), ("pending", None), ("agent", "pending")):
        text = known(study, "json", baseline)
        assert list(validator.iter_errors(json.loads(text))) == []
        assert "NaN" not in text


@pytest.mark.slow
def test_all_p_values_of_a_report_are_corrected_together(kit: evalkit.EvalKit, known: Callable[..., str], tmp_path: Path) -> None:
    """Trends, shifts and differences of all metrics are one family for Holm, as statsmodels corrects it."""
    made = json.loads(known("agent", "json", "baseline"))
    rows = [*made["metrics"], *made["shifts"], *made["comparison"]["differences"]]
    ps = [row["p"] for row in rows]
    assert len(ps) == made["correction"]["tests"] == 48
    assert [row["p_corrected"] for row in rows] == pytest.approx(oracles.holm(ps))
    fewer = json.loads(written(kit, "agent", tmp_path, "json", metrics=["total_cost", "agent_efficiency"]))
    assert [row["metric"] for row in fewer["metrics"]] == ["agent_efficiency", "total_cost"]
    assert fewer["correction"]["tests"] == 4


@pytest.mark.slow
def test_with_no_effect_hardly_any_report_claims_something() -> None:
    """Of 8 studies of noise (3 in short runs), each with trends, shifts and a baseline for 16 metrics, at most 2 claim anything: of 8, more would come
    in 0.6 % of runs at 5 %.
    """
    claims = 0
    for seed in range(in_long_form(8, 3)):
        made = of(noise(2 * seed), noise(2 * seed + 1, number=2))
        claims += not made.in_short[0].startswith("Nothing is statistically significant: of 16 metrics")
    assert claims <= in_long_form(2, 1)


@pytest.mark.slow
def test_what_only_the_correction_hides_is_named() -> None:
    """A report without a claim names the metrics that would be told alone, and says that no difference told is no proof of none."""
    made = of(noise(2), noise(3, number=2))
    rows = {"trend": made.metrics, "shift": made.shifts, "difference": made.comparison.differences if made.comparison else []}
    named = {kind: ", ".join(row.label.lower() for row in of if (row.p or 1.0) <= 0.05) for kind, of in rows.items()}
    told = "; ".join(f"{kind} in {names}" for kind, names in named.items() if names)
    assert named["difference"]
    assert made.in_short[-1] == f"Told alone, but not among all that was looked at: {told}."
    rising = noise(2).with_columns(total_cost=pl.col("total_cost") / 100 + pl.int_range(pl.len()))
    other = noise(3, number=2).with_columns(total_cost=pl.lit(None, dtype=pl.Float64))
    said = of(rising, other).in_short
    assert said[0].startswith("Total cost: rising")
    assert any(one.endswith("in any of 15 metrics. That does not show that nothing changed.") for one in said)


@pytest.mark.slow
def test_a_report_says_where_its_promise_does_not_hold() -> None:
    """Where neighbours may be very alike the sentence on 5 % says that more may be claimed there, and of how many metrics; else not."""
    random = np.random.default_rng(1)
    wandering = np.cumsum(random.standard_normal(60))
    quiet = noise(5, count=60)
    alike = quiet.with_columns(total_cost=pl.Series(100 + wandering))
    limit = "In 1 metric neighbours may be very alike, and more may be claimed there."
    for study, held in ((alike, False), (quiet, True)):
        made = of(study, metrics=["agent_efficiency", "total_cost"])
        assert ("at most 5 % of studies." in markdown(made).replace("\\", "")) is True
        assert (limit not in markdown(made)) is held


def test_how_a_report_pairs_is_how_a_comparison_does() -> None:
    """The words on differences have both conditions, and those on trends what `stable` means."""
    notes = {note.what: note.how for note in methods(compared=True)}
    assert f"at least {FEWEST_PAIRS} and at least half as many as the shorter study has values, else of all" in notes["Differences"]
    assert "detected in about half of the studies or more" in notes["Trends"]


def test_a_constant_metric_is_no_finding() -> None:
    """What never changes has no trend, no shift and no difference, however its values are rounded in the computer."""
    frame = checkpoints(count=30).with_columns(session_success_rate=pl.lit(0.1), total_cost=pl.lit(1.1), sessions_completed=pl.lit(1))
    shifted = frame.with_columns(pl.col("period_start", "period_end").dt.offset_by("1y"), study_id=pl.lit("0-other"), study=pl.lit("other"))
    names = ["sessions_completed", "session_success_rate", "total_cost"]
    made = of(frame, shifted.head(29), names)
    assert [row.verdict for row in made.metrics] == ["no significant trend"] * 3
    assert made.comparison is not None
    assert [row.verdict for row in made.comparison.differences] == ["no significant difference"] * 3


@pytest.mark.slow
def test_what_never_varies_is_not_too_few() -> None:
    """Of metrics that never vary a report says that nothing was tested; of those that lack values, alone and beside them, that they are too few."""
    names = ["session_success_rate", "total_cost"]
    frame = checkpoints(count=20).with_columns(session_success_rate=pl.lit(0.5), total_cost=pl.lit(1.5))
    assert of(frame, metrics=names).in_short == [
        "In every metric all values are the same, so nothing was tested (2 metrics of 20 checkpoints)."
    ]
    few = frame.with_columns(total_cost=pl.when(pl.int_range(pl.len()) < 5).then("total_cost"))
    assert (
        of(few, metrics=names)
        .in_short[0]
        .startswith(
            "In 1 of 2 metrics of 20 checkpoints all values are the same, so nothing was tested; of the others there are too few values: a trend"
        )
    )
    assert of(frame.head(5), metrics=names).in_short[0].startswith("Too few checkpoints to tell anything (2 metrics")
    rising = frame.with_columns(agent_efficiency=pl.int_range(pl.len()) / 20)
    other = frame.with_columns(study_id=pl.lit("0-other"), study=pl.lit("other")).drop("agent_efficiency")
    for base, told in (
        (other, "Against other nothing was tested: in every metric that both have, their values are the same."),
        (
            other.with_columns(few["total_cost"]),
            "Against other nothing was tested: in 1 of 2 metrics the values of both are the same, and no",
        ),
        (other.head(5), "Insufficient data to compare with other: no metric has enough comparable checkpoints in both studies."),
    ):
        made = of(rising, base, [*names, "agent_efficiency"]).in_short
        assert any(sentence.startswith(told) for sentence in made), made


@pytest.mark.slow
def test_the_same_events_give_the_same_bytes(kit: evalkit.EvalKit, tmp_path: Path) -> None:
    """Also in another process with other hashes, time zone, locale and folder, and after charts were drawn that take colours."""
    metrics = in_long_form(None, ["agent_efficiency", "total_cost"])
    first = {ending: written(kit, "agent", tmp_path, ending, baseline="baseline", metrics=metrics) for ending in FORMATS}
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
    others = {ending: tmp_path / f"other.{ending}" for ending in FORMATS}
    command = [sys.executable, "-W", "error", "-c", code, str(kit.engine.settings.home), *map(str, others.values())]
    subprocess.run(command, env=environment, cwd="/", check=True, timeout=120)
    assert {ending: path.read_text("utf-8") for ending, path in others.items()} == first


@pytest.mark.slow
def test_a_page_is_inert_whatever_the_texts_are(known: Callable[..., str]) -> None:
    """No script, no image, no address to ask; every text of the study is text, and what steers the direction of writing is not there."""
    text = known(HOSTILE, "html", "agent")
    page = Page(text)
    assert not {"script", "img", "iframe", "link", "object", "a"} & set(page.tags)
    names = {name for name, _ in page.attributes}
    assert not {name for name in names if name.startswith("on")}
    assert not {"href", "src", "srcset", "xlink:href"} & names
    assert {value for name, value in page.attributes if value and "://" in value} == {"http://www.w3.org/2000/svg"}
    assert "url(" not in text
    assert HOSTILE.replace("\u202e", "\ufffd").replace("\u202c", "\ufffd") in page.texts
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", text)
    assert len(re.findall(r' id="', text)) == 0  # so that no two drawings can share one
    assert "{{ 7*7 }}" in text


@pytest.mark.slow
def test_a_table_of_markdown_holds_any_text(known: Callable[..., str]) -> None:
    """Each row has as many cells as its heading, no text is markup or a link, and none begins a line of its own."""
    text = known(HOSTILE, "md", "agent")
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
    ("frame", "told"),
    [
        (checkpoints(count=1).clear(), "No checkpoint is recorded yet"),
        (checkpoints(count=1), "Too few checkpoints to tell anything"),
        (checkpoints(count=7), "Too few checkpoints to tell anything"),
        (checkpoints(count=20).with_columns(pl.lit(None, dtype=checkpoints().schema[name]).alias(name) for name in evalkit.METRICS), "no metric has a value"),
        (checkpoints(count=20).select("study_id", "study", "period_start", "period_end", "total_cost"), "Nothing is statistically significant: of 1 metric"),
    ],
)  # fmt: skip
def test_a_study_of_which_nothing_can_be_told_says_so(frame: pl.DataFrame, told: str) -> None:
    """Without checkpoints, with too few, with all missing, with few columns: in words, and no error."""
    for baseline in (None, checkpoints("other", 2, 20)):
        assert told in of(frame, baseline).in_short[0]


@pytest.mark.parametrize(
    "odd", ["unsorted", "duplicated timestamps", "no study, no period type", "without periods", "not finite", "below 0"]
)
def test_odd_frames_have_reports(odd: str) -> None:
    """No warning and no error, whatever is odd about the checkpoints, and no number that is none."""
    made = of(odd_frames()[odd])
    assert markdown(made).startswith("# ")
    assert "NaN" not in made.model_dump_json()


@pytest.mark.slow
def test_a_pending_study_has_a_report_in_every_format(known: Callable[..., str]) -> None:
    """And it can be a baseline."""
    for ending in FORMATS:
        assert "No checkpoint is recorded yet" in known("pending", ending, "agent")
        assert known("agent", ending, "pending")


@pytest.mark.slow
def test_a_study_is_named_as_in_the_kit(kit: evalkit.EvalKit, tmp_path: Path) -> None:
    """By itself, its id, its name, or the end of its id; an unknown one is not found."""
    study = kit.resolve("agent")
    made = {written(kit, one, tmp_path, "json") for one in (study, study.id, "agent", study.id[-8:])}
    assert len(made) == 1
    with pytest.raises(evalkit.EvalkitError, match="No study answers to 'agnet'"):
        kit.report("agnet", tmp_path / "a.md")


def test_the_digest_is_that_of_the_content() -> None:
    """The order of rows and the types of columns do not matter; any value does."""
    frame, about = checkpoints(count=5), {"study_id": "1", "name": "a", "tags": ["x"], "metadata": [{"key": "k", "value": "v"}]}
    lifecycle = empty_frame(LIFECYCLE)
    known = digest(about, frame, lifecycle)
    assert re.fullmatch("[0-9a-f]{64}", known)
    assert digest(about, frame.reverse(), lifecycle) == known
    assert digest(about, frame.with_columns(pl.col("study").cast(pl.Categorical)).select(reversed(frame.columns)), lifecycle) == known
    others = [
        digest({**about, "name": "b"}, frame, lifecycle),
        digest({**about, "metadata": []}, frame, lifecycle),
        digest(about, frame.head(4), lifecycle),
        *(digest(about, frame.with_columns(pl.lit(None, dtype=dtype).alias(name)), lifecycle) for name, dtype in frame.schema.items()
          if frame[name].count() and name not in ("study_id", "study", "period_type", "sessions_included")),
    ]  # fmt: skip
    assert len({known, *others}) == len(others) + 1


@pytest.mark.slow
def test_a_report_of_many_checkpoints_is_hardly_larger() -> None:
    """Of many checkpoints (100,000 in the long form) under 3 MB, and at most three times that of few, in every format."""
    sizes = [[len(text.encode()) for text in _rendered(StudyData(hourly(count)))] for count in in_long_form((1000, 100_000), (300, 2000))]
    for small, large in zip(*sizes, strict=True):
        assert large < 3_000_000
        assert large <= 3 * small


def _rendered(study: StudyData) -> list[str]:
    found = examine(study, study.names[0], metrics=in_long_form(None, ["session_success_rate", "total_cost", "total_tokens"]))
    content = content_of(found)
    return [html(content, figures(found)), markdown(content), content.model_dump_json()]


@pytest.mark.parametrize(
    ("path", "baseline", "message"),
    [
        ("report.pdf", None, r"path: 'report.pdf' does not end in one of .html, .md, .json"),
        ("no/such/report.md", None, "lies in no folder that exists"),
        ("report.md", "agent", "baseline: 'agent' is the study itself; name another one."),
    ],
)
def test_a_refusal_teaches_and_leaves_no_file(kit: evalkit.EvalKit, tmp_path: Path, path: str, baseline: str | None, message: str) -> None:
    """Another ending, a folder that is not there, the study as its own baseline."""
    with pytest.raises(evalkit.InvalidInputError, match=message):
        kit.report("agent", tmp_path / path, baseline=baseline)
    with pytest.raises(evalkit.InvalidInputError, match="Invalid path 3: is no path"):
        kit.report("agent", 3)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def run(kit: evalkit.EvalKit, *args: str | Path, code: int = 0) -> Any:
    result = CliRunner().invoke(
        app, ["--home", str(kit.engine.settings.home), *map(str, args)], prog_name="evalkit", catch_exceptions=False
    )
    assert result.exit_code == code, result.output
    return result


@pytest.mark.slow
def test_the_command_writes_a_report(kit: evalkit.EvalKit, known: Callable[..., str], tmp_path: Path) -> None:
    """`evalkit report REF -o FILE --baseline REF` writes what the function does, and says where."""
    target = tmp_path / "a.md"
    assert run(kit, "report", "agent", "-o", target, "--baseline", "baseline").stdout == f"Report written to {target}\n"
    assert target.read_text("utf-8") == known("agent", "md", "baseline")
    run(kit, "report", "agent", "-o", target, "--metric", "total_cost", "--metric", "session_success_rate")
    assert target.read_text("utf-8") == written(kit, "agent", tmp_path, "md", metrics=["total_cost", "session_success_rate"])
    told = json.loads(run(kit, "report", "agent", "-o", tmp_path / "a.json", "--json").stdout)
    assert told == {"study_id": kit.resolve("agent").id, "file": str(tmp_path / "a.json")}


def test_the_command_refuses_in_one_line(kit: evalkit.EvalKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another ending, an unknown study, the study itself, and missing packages are told on stderr with exit code 1; no option is a wrong call."""
    for args, message in [
        (("agent", "-o", "a.doc"), "error: path: 'a.doc' does not end in one of .html, .md, .json, which say the format.\n"),
        (("agnet", "-o", "a.md"), "error: No study answers to 'agnet'. Did you mean 'agent'?\n"),
        (("agent", "-o", "a.md", "--baseline", "agent"), "error: baseline: 'agent' is the study itself; name another one.\n"),
    ]:
        assert run(kit, "report", *args, code=1).stderr == message
    assert "--output" in run(kit, "report", "agent", code=2).stderr
    assert "lies in no folder that exists; make 'absent' first." in run(kit, "report", "agent", "-o", "absent/a.md", code=1).stderr
    monkeypatch.setattr(ar1, "stdtr", _absent)
    said = run(kit, "report", "agent", "-o", tmp_path / "a.md", code=1).stderr
    assert said == "error: evalkit.analysis needs scipy, which is not installed. Install: pip install scipy jinja2\n"
    assert list(tmp_path.iterdir()) == []


def _absent(*_: object) -> None:
    raise scipy_functions.missing_extra("scipy")
