"""The README and the documentation: their code runs, their links lead somewhere, and what is generated covers the code."""

from __future__ import annotations

import doctest
import importlib
import inspect
import json
import os
import re
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import evalkit
from evalkit.domain.catalog import METRICS
from evalkit.domain.codec import decode
from evalkit.domain.events import KINDS, StoredEvalEvent
from evalkit.frames.columns import FRAMES
from evalkit.readmodel.fold import Reason

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
RUNNING_PAGES = [
    "quickstart.md", "guides/charts.md", "guides/analysis.md", "guides/panel.md", "guides/recorder.md", "guides/custom-metrics.md",
    "guides/corrections.md", "guides/earlier-states.md", "guides/large-studies.md", "guides/runs.md", "guides/import-export.md",
    "operations/failures-and-recovery.md", "reference/errors.md",
]  # fmt: skip
"""Pages with Python code."""


def _blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def _environment() -> dict[str, str]:
    """The environment without settings of evalkit, and with the command of this virtual environment first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EVALKIT_")}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"}


def _run_shell(script: str, folder: Path) -> str:
    done = subprocess.run(
        ["sh", "-e", "-c", script], cwd=folder, env=_environment(), capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, without settings of evalkit."""
    for name in list(os.environ):
        if name.startswith("EVALKIT_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _exec(code: str, page: str) -> dict[str, object]:
    names: dict[str, object] = {"__name__": page}
    exec(compile(code, page, "exec"), names)
    return names


def test_readme_is_short() -> None:
    text = README.read_text("utf-8")
    assert len(text.splitlines()) <= 150
    assert "\nmake test " in text


@pytest.mark.slow
def test_readme_quickstart_records_once_when_run_twice(folder: Path) -> None:
    block = _blocks(README, "python")[0]
    assert len(block.splitlines()) <= 12
    for _ in range(2):
        _exec(block, "README.md")
    with evalkit.connect() as kit:
        assert kit.checkpoints("nightly agent")["session_success_rate"].to_list() == [0.85]
        assert kit.lifecycle().height == 2
    assert (folder / ".evalkit" / "events.db").exists()


@pytest.mark.slow
def test_readme_examples_run_one_after_another(folder: Path) -> None:
    names = _exec("\n".join(_blocks(README, "python")), "README.md")
    assert names["rec"].checkpoint.metrics.sessions_completed == 2  # type: ignore[attr-defined]
    assert (folder / "nightly.html").read_text("utf-8").rstrip().endswith("</html>")


@pytest.mark.slow
def test_readme_shell_example_runs(tmp_path: Path) -> None:
    (block,) = (block for block in _blocks(README, "sh") if "evalkit study" in block)
    _run_shell(block, tmp_path)
    with evalkit.connect(tmp_path / ".evalkit") as kit:
        assert kit.checkpoints("weekly agent")["session_success_rate"].to_list() == [0.85]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNING_PAGES)
def test_python_code_of_a_page_runs(page: str, folder: Path) -> None:
    with evalkit.connect(folder / ".evalkit") as kit:
        kit.create_study("nightly agent", at="2026-01-01T00:00:00Z")
    blocks = _blocks(DOCS / page, "python")
    assert blocks
    _exec("\n".join(blocks), page)


@pytest.mark.slow
def test_corrections_and_states_have_the_values_of_their_pages(folder: Path) -> None:
    corrected = _exec("\n".join(_blocks(DOCS / "guides" / "corrections.md", "python")), "corrections.md")
    kit: Any = corrected["kit"]
    shown = kit.checkpoints(corrected["old"])
    assert shown.select("total_cost", "revision", "collector").rows() == [(2.2, 1, None), (2.5, 1, None), (None, 0, "nightly.py")]
    assert kit.checkpoints(corrected["old"], values="first")["total_cost"].to_list() == [2.0, 25.0, 2.1, None]
    names = _exec("\n".join(_blocks(DOCS / "guides" / "earlier-states.md", "python")), "earlier-states.md")
    study, pin = names["study"], names["pin"]
    assert (kit.checkpoints(study)["total_cost"].item(), kit.checkpoints(study, as_of=pin)["total_cost"].item()) == (2.5, 25.0)


def test_every_page_with_python_code_is_run() -> None:
    """Those on collecting need logs, and are run by the tests of their sources."""
    pages = [path for path in DOCS.rglob("*.md") if not path.relative_to(DOCS).parts[0].startswith("_")]
    with_code = [path for path in pages if _blocks(path, "python") or _blocks(path, "{code-block} python")]
    on_collecting = {path for path in with_code if path.name.startswith("collect")}
    assert sorted(str(path.relative_to(DOCS)) for path in {*with_code} - on_collecting) == sorted(RUNNING_PAGES)
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests").glob("test_collect*.py"))
    assert len(on_collecting) == 5
    assert [path.name for path in on_collecting if f'"{path.name}"' not in tests] == []


@pytest.mark.slow
def test_command_line_example_runs(tmp_path: Path) -> None:
    output = _run_shell("\n".join(_blocks(DOCS / "guides" / "command-line.md", "sh")), tmp_path)
    assert "nightly agent: checkpoint 2026-01-31 amended (revision 1)" in output


@pytest.mark.slow
def test_import_and_export_examples_run(tmp_path: Path) -> None:
    page = DOCS / "guides" / "import-export.md"
    (tmp_path / "runs.csv").write_text(next(block for block in _blocks(page, "text") if block.startswith("period_start")))
    _run_shell("\n".join(_blocks(page, "sh")), tmp_path)
    with evalkit.connect(tmp_path / "elsewhere") as kit:
        assert kit.checkpoints()["session_success_rate"].to_list() == [0.85, 0.9]
    assert (tmp_path / "runs.parquet").stat().st_size > 1000


@pytest.mark.slow
def test_page_on_shared_servers_matches_the_code(tmp_path: Path) -> None:
    """Its variables are read, its commands exist, its URLs are valid, and the compose file starts the three services."""
    block, _ = _blocks(DOCS / "operations" / "shared-servers.md", "sh")
    exports = dict(line.removeprefix("export ").replace("'", "").split("=", 1) for line in block.splitlines() if line.startswith("export"))
    assert exports.keys() == {"EVALKIT_LOG_URL", "EVALKIT_DATABASE_URL", "EVALKIT_DATABASE_AUTH_TOKEN"}
    for line in block.splitlines():
        if line.startswith("evalkit "):
            command = [str(Path(sys.executable).with_name("evalkit")), line.split()[1], "--help"]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
    evalkit.connect(tmp_path, log_url=exports["EVALKIT_LOG_URL"], database_url=exports["EVALKIT_DATABASE_URL"])
    (body,) = _blocks(DOCS / "operations" / "security.md", "json")
    assert json.loads(body)["permissions"]["streams"]["0"]["read_stream"] is True
    services = yaml.safe_load((ROOT / "examples" / "shared" / "compose.yaml").read_text())["services"]
    assert list(services) == ["iggy", "sqld", "consumer"]
    assert services["consumer"]["command"][-1].endswith("evalkit --json consume")


def test_generated_parts_cover_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every metric, column, error and command is in its table."""
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    parts = importlib.import_module("generated")
    assert set(re.findall(r"^\| `(\w+)`", parts.metrics(), flags=re.MULTILINE)) == METRICS.keys()
    assert [*re.findall(r"^\| `(\w+)`", parts.frames(), flags=re.MULTILINE)] == [name for columns in FRAMES.values() for name in columns]
    errors = {name for name in evalkit.__all__ if name.endswith("Error")}
    assert set(re.findall(r"\w+Error(?= \(|$)", parts.error_tree(), flags=re.MULTILINE)) == errors
    assert "### evalkit checkpoint import" in parts.commands()
    assert "`--if-exists" in parts.commands()


def test_event_format_page_matches_the_code() -> None:
    """Its events are valid in all parts, and it lists every kind and every reason for rejection."""
    page = DOCS / "reference" / "event-format.md"
    for block in _blocks(page, "json"):
        event = StoredEvalEvent.from_wire(block.encode())
        assert json.loads(event.to_wire()) == json.loads(block) | {"event": json.loads(event.to_wire())["event"]}
        assert decode(block.encode()).event_id == event.event_id
    listed = re.findall(r"^\| (`study_\w+`.*?|`\w+_\w+`.*?) \|", page.read_text("utf-8"), flags=re.MULTILINE)
    assert [name for line in listed for name in re.findall(r"`(\w+)`", line) if name in KINDS] == list(KINDS)
    text = page.read_text("utf-8")
    assert [reason for reason in Reason if reason.value.split()[-1] not in text] == []


def test_read_model_page_lists_every_table_and_column(tmp_path: Path) -> None:
    with evalkit.connect(tmp_path) as kit:
        kit.create_study("nightly agent")
    database = sqlite3.connect(tmp_path / "evalkit.db")
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    columns = {(table, column[1]) for table in tables for column in database.execute(f"PRAGMA table_info({table})")}
    database.close()
    rows = re.findall(
        r"^\| `(\w+)`(?:, more columns)? \| (.*) \|$", (DOCS / "reference" / "read-model.md").read_text("utf-8"), flags=re.MULTILINE
    )
    listed = {(table, column) for table, text in rows for column in re.findall(r"`(\w+)`", text.partition("; index")[0])}
    assert listed == columns


def test_links_of_the_top_level_files_lead_to_files() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "notebooks/README.md"):
        path = ROOT / name
        links = re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text("utf-8"))
        assert [link for link in links if not (path.parent / link).exists()] == []


def test_pictures_of_the_readme_exist_and_have_a_text() -> None:
    """`python -m tests.pictures` makes them."""
    text = README.read_text("utf-8")
    shown = re.findall(r"!\[([^]]+)\]\(([^)]+)\)", text) + [
        (alt, path) for path, alt in re.findall(r'<img src="([^"]+)"[^>]*alt="([^"]+)"', text)
    ]
    assert len(shown) == 4
    assert all(alt and (ROOT / path).stat().st_size > 1000 for alt, path in shown)


def test_files_named_in_contributing_exist() -> None:
    """Each package is listed, and each module in the tables exists."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", text, flags=re.MULTILINE)
    named = set()
    for place, content in rows:
        parent = ROOT / "evalkit"
        for name in re.findall(r"`([\w/]+(?:\.py|\.html\.j2|/))`", f"{place} {content}"):
            places = (ROOT, parent, *parent.parents)
            path = next((place / name for place in places if (place / name).exists()), None)
            assert path is not None, name
            named.add(path)
            parent = path if path.is_dir() else path.parent
    assert {path for path in (ROOT / "evalkit").iterdir() if path.name not in ("__init__.py", "__pycache__", "py.typed")} <= named


def _with_examples() -> list[str]:
    names = (
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "evalkit").rglob("*.py"))
        if ">>>" in path.read_text()
    )
    return [name.removesuffix(".__init__") for name in names]


@pytest.mark.parametrize("module", _with_examples())
def test_docstring_examples_run(module: str) -> None:
    outcome = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert outcome.attempted
    assert not outcome.failed


def _public_callables() -> dict[str, Any]:
    """Return the functions, classes and methods that a user calls, by name."""
    callables: dict[str, Any] = {}
    for module in ("evalkit", "evalkit.analysis", "evalkit.collect", "evalkit.plots", "evalkit.samples", "evalkit.io"):
        public = importlib.import_module(module)
        for name in public.__all__:
            value = getattr(public, name)
            if not (inspect.isfunction(value) or inspect.isclass(value)) or not value.__module__.startswith("evalkit"):
                continue
            if inspect.isfunction(value):
                callables[f"{module}.{name}"] = value
            for attribute, method in vars(value).items() if inspect.isclass(value) else ():
                function = method.__func__ if isinstance(method, classmethod | staticmethod) else method
                if inspect.isfunction(function) and not attribute.startswith("_") and (function.__doc__ or "").count("See `") == 0:
                    callables[f"{module}.{name}.{attribute}"] = function
    return callables


def test_every_public_function_and_method_has_an_example() -> None:
    without = {name for name, function in _public_callables().items() if ">>>" not in (function.__doc__ or "")}
    events = {"evalkit.CreateStudy.event", "evalkit.RecordCheckpoint.checkpoint_id", "evalkit.RecordCheckpoint.encoded"}
    assert without == events, "only what makes events of commands needs no example"


def test_versions_agree() -> None:
    """The changelog's newest entry and the citation name the version of the package."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1] == version  # type: ignore[index]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == version
    assert {"cff-version", "message", "title", "authors", "license"} <= citation.keys()


INVENTED = """
- {dirname: a, model: claude-x + gpt-y, date: 2025-01-02, test_cases: 10, pass_num_1: 2, pass_num_2: 5, percent_cases_well_formed: 90.0,
   seconds_per_case: 34.8, total_cost: 2.5, prompt_tokens: 70, completion_tokens: 30}
- {dirname: b, model: Claude Z, date: 2025-02-02, test_cases: 10, pass_num_1: 4, pass_num_2: 8, percent_cases_well_formed: 100.0,
   seconds_per_case: 10, total_cost: 0.0}
- {dirname: c, model: o3-mini, date: 2025-01-05, test_cases: 8, pass_num_1: 0, pass_num_2: 0, percent_cases_well_formed: 50.0,
   seconds_per_case: 1.5, total_cost: 1.0, prompt_tokens: 5}
- {dirname: d, model: QwQ-1B, date: 2025-01-06, test_cases: 4, pass_num_1: 4, pass_num_2: 4, percent_cases_well_formed: 100.0,
   seconds_per_case: 2, total_cost: 1.0}
- {dirname: e, model: nobody-knows, date: 2025-01-07, test_cases: 4, pass_num_1: 1, pass_num_2: 1, percent_cases_well_formed: 25.0,
   seconds_per_case: 2, total_cost: 0.5}
"""


REAL = ROOT.parent / "shared" / "data" / "aider_polyglot_leaderboard.yml"
needs_real = pytest.mark.skipif(not REAL.exists(), reason="the public leaderboard file is not available")


def _run(example: str, *arguments: object) -> str:
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / example), *map(str, arguments)]
    return subprocess.run(command, env=_environment(), check=True, capture_output=True, text=True, timeout=240).stdout


def _run_leaderboard(path: Path, home: Path) -> str:
    return _run("aider_leaderboard.py", path, home)


@pytest.mark.slow
def test_leaderboard_example_maps_runs_to_checkpoints(tmp_path: Path) -> None:
    """Five invented runs: families, exact rates, missing values, and a second run."""
    (tmp_path / "board.yml").write_text(INVENTED)
    printed = _run_leaderboard(tmp_path / "board.yml", tmp_path / "home")
    assert "5 already recorded" not in printed
    kit = evalkit.connect(tmp_path / "home")
    assert sorted(kit.studies()["name"]) == ["aider claude", "aider o-series", "aider other", "aider qwen"]
    first, second = kit.checkpoints("aider claude").to_dicts()
    assert (first["session_success_rate"], first["first_attempt_success_rate"], first["self_correction_rate"]) == (0.5, 0.2, 3 / 8)
    assert (first["avg_iterations_to_success"], first["tool_success_rate"], first["total_tokens"]) == (8 / 5, 0.9, 100)
    assert (first["total_cost"], first["cost_per_successful_task"], first["avg_session_duration"].total_seconds()) == (2.5, 0.5, 34.8)
    assert (second["total_cost"], second["cost_per_successful_task"], second["total_tokens"]) == (None, None, None)
    unsolved = kit.checkpoints("aider o-series").to_dicts()[0]
    assert (unsolved["session_success_rate"], unsolved["avg_iterations_to_success"], unsolved["cost_per_successful_task"]) == (
        0.0,
        None,
        None,
    )
    assert kit.checkpoints("aider qwen")["self_correction_rate"].to_list() == [None]
    assert "0 recorded, 2 already recorded" in _run_leaderboard(tmp_path / "board.yml", tmp_path / "home")
    assert kit.checkpoints().height == 5


@pytest.mark.slow
@needs_real
def test_leaderboard_example_records_all_public_runs(tmp_path: Path) -> None:
    printed = _run_leaderboard(REAL, tmp_path / "home")
    assert "aider gemini: RecordedCheckpoints(11 recorded)" in printed
    kit = evalkit.connect(tmp_path / "home")
    assert kit.checkpoints().height == 69
    assert kit.verify().ok


def _reported(printed: str) -> dict[str, str]:
    """Return the line printed for each report, by study."""
    lines = [line for line in printed.splitlines() if "significant:" in line]
    return dict(line.split(": ", 1) for line in lines)


@pytest.mark.slow
def test_report_example_writes_a_page_and_data_for_every_family(tmp_path: Path) -> None:
    """Other studies of the home get none."""
    (tmp_path / "board.yml").write_text(INVENTED.partition("- {dirname: d")[0])
    evalkit.connect(tmp_path / "home").create_study("something else")
    reported = _reported(_run("aider_report.py", tmp_path / "board.yml", tmp_path / "home", "-o", tmp_path / "pages"))
    assert list(reported) == ["aider claude", "aider o-series"]
    page = tmp_path / "pages" / "aider-claude.html"
    assert reported["aider claude"] == f"2 runs; significant: none; insufficient data for a trend in 11 of 11 metrics. {page}"
    assert reported["aider o-series"].startswith("1 run; significant: none; ")
    assert sorted(path.name for path in page.parent.iterdir()) == [
        f"aider-{name}.{kind}" for name in ("claude", "o-series") for kind in ("html", "json")
    ]
    assert "Insufficient data" in page.read_text()
    assert json.loads(page.with_suffix(".json").read_text())["study"]["description"] == "Aider polyglot benchmark"


@pytest.mark.long
@needs_real
def test_report_example_runs_on_the_real_file(tmp_path: Path) -> None:
    """With at most 13 runs per family nothing is significant; the pages are complete and load nothing from the network."""
    reported = _reported(_run("aider_report.py", REAL, tmp_path / "home", "-o", tmp_path / "pages"))
    assert len(reported) == 9
    assert all("significant: none" in line for line in reported.values())
    assert reported["aider gpt"].startswith("13 runs; ")
    for page in (tmp_path / "pages").glob("*.html"):
        text = page.read_text()
        assert text.rstrip().endswith("</html>")
        assert not re.search(r"<script|(src|href)=.https?:", text)


def test_report_example_lists_significant_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    significant_results = importlib.import_module("aider_report").significant_results
    metrics = [("Cost", "improving"), ("Tokens", "no significant trend"), ("Efficiency", "insufficient data"), ("Sessions", "falling")]
    shifts = [("Cost", "shifted"), ("Tokens", "no significant shift"), ("Efficiency", "insufficient data")]
    content = {
        name: [dict(zip(("label", "verdict"), pair, strict=True)) for pair in pairs]
        for name, pairs in (("metrics", metrics), ("shifts", shifts))
    }
    expected = "40 runs; significant: cost improving, sessions falling, cost shifted; insufficient data for a trend in 1 of 4 metrics"
    assert significant_results(content | {"events": [{"checkpoints": 40}]}) == expected
