"""The README runs, its tables are those of the code, and the examples do what they say."""

from __future__ import annotations

import doctest
import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import evalkit
from evalkit.samples import sample_checkpoints
from tests.readme_tables import README, with_tables

ROOT = README.parent
TEXT = README.read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)


def _environment() -> dict[str, str]:
    """The environment without settings of evalkit, and with the command of this virtual environment first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EVALKIT_")}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"}


def test_the_tables_are_made_from_the_code() -> None:
    """The metric table and the lifecycle table are what `python -m tests.readme_tables` writes."""
    assert with_tables(TEXT) == TEXT


@pytest.mark.slow
def test_the_python_example_runs_twice_and_records_once(tmp_path: Path) -> None:
    """Ten lines after the import, run as they stand; running them again doubles nothing."""
    block, *_ = _blocks("python")
    assert len([line for line in block.splitlines() if line.strip() and line != "import evalkit"]) <= 10
    for _ in range(2):
        subprocess.run([sys.executable, "-W", "error", "-c", block], cwd=tmp_path, env=_environment(), check=True, timeout=120)
    kit = evalkit.connect(tmp_path / ".evalkit")
    assert kit.checkpoints("nightly agent")["session_success_rate"].to_list() == [0.85]
    assert kit.lifecycle().height == 2


@pytest.mark.slow
def test_the_examples_of_charts_and_recorder_run(tmp_path: Path) -> None:
    """After the first one, in the same folder: the chart draws what was recorded, the recorder adds a checkpoint."""
    first, chart, _, recorder = _blocks("python")
    shown = "assert plots.trend(kit.checkpoints(), 'session_success_rate').to_dict()['description'].startswith('Trend of')"
    script = "\n".join([first, chart, shown, recorder, "assert rec.checkpoint.metrics.sessions_completed == 2"])
    subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=tmp_path, env=_environment(), check=True, timeout=120)
    assert evalkit.connect(tmp_path / ".evalkit").checkpoints("nightly agent").height == 2


@pytest.mark.slow
def test_the_example_of_analyses_runs_and_answers(tmp_path: Path) -> None:
    """With weeks of nights before and after the change it sees the step and the difference, finds nothing wrong, and the page is there."""
    first, _, block, _ = _blocks("python")
    kit = evalkit.connect(tmp_path / ".evalkit")
    began = "2026-02-01T00:00:00Z"
    better = sample_checkpoints("daily", began, 14, seed=1, level=0.8) + sample_checkpoints(
        "daily", "2026-02-15T00:00:00Z", 21, seed=2, level=1.8
    )
    for name, rows in (("nightly agent", better), ("old agent", sample_checkpoints("daily", began, 35, seed=3, level=-0.5))):
        kit.start_study(kit.create_study(name, period="daily:30", at="2026-01-31T00:00:00Z"), at="2026-01-31T00:00:00Z")
        kit.record_checkpoints(name, rows)
    lines = [
        line if line.startswith(("from", "nights")) or not line else f"told.append({line.split('  # ')[0]})" for line in block.splitlines()
    ]
    shown = "summary, trend, step, comparison, audit, page = told\nprint(trend.only().verdict, step.only().verdict, comparison['session_success_rate'].verdict)"
    script = "\n".join([first, "told = []", *lines, shown, "print(summary.checkpoints, audit.errors, page.name)"])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=tmp_path,
        env=_environment(),
        check=True,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.stdout == "improving better better\n36 0 nightly.html\n"
    assert (tmp_path / "nightly.html").read_text().rstrip().endswith("</html>")


def test_the_files_that_contributing_names_are_there() -> None:
    """Each package, and each module of the table of what to change; no package is left out."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", text, flags=re.MULTILINE)
    named = set()
    for place, content in rows:
        folder = ROOT / "evalkit"
        for name in re.findall(r"`([\w/]+(?:\.py|\.html\.j2|/))`", f"{place} {content}"):
            places = (ROOT, folder, *folder.parents)
            path = next((place / name for place in places if (place / name).exists()), None)
            assert path is not None, name
            named.add(path)
            folder = path if path.is_dir() else path.parent
    assert {path for path in (ROOT / "evalkit").iterdir() if path.name not in ("__init__.py", "__pycache__", "py.typed")} <= named


def _with_examples() -> list[str]:
    names = (
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "evalkit").rglob("*.py"))
        if ">>>" in path.read_text()
    )
    return [name.removesuffix(".__init__") for name in names]


@pytest.mark.parametrize("module", _with_examples())
def test_the_examples_in_docstrings_run(module: str) -> None:
    """Each gives what it says."""
    outcome = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert outcome.attempted
    assert not outcome.failed


def test_the_pages_that_the_readme_links_are_there() -> None:
    """Each file beside it that it has a link to."""
    links = re.findall(r"\]\((?!http)([^)#]+)\)", TEXT)
    assert "docs/power.md" in links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_pictures_of_the_readme_are_there() -> None:
    """Each one that is shown, with a text for who cannot see it; `python -m tests.pictures` makes them."""
    shown = re.findall(r"!\[([^]]+)\]\(([^)]+)\)", TEXT) + [
        (alt, path) for path, alt in re.findall(r'<img src="([^"]+)"[^>]*alt="([^"]+)"', TEXT)
    ]
    assert len(shown) == 6
    assert all(alt and (ROOT / path).stat().st_size > 1000 for alt, path in shown)


@pytest.mark.slow
def test_the_command_line_example_runs(tmp_path: Path) -> None:
    """Five lines, run as they stand by a shell, and the checkpoint is there."""
    block, _ = _blocks("sh")
    assert len(block.splitlines()) == 5
    done = subprocess.run(
        ["sh", "-e", "-c", block], cwd=tmp_path, env=_environment(), check=True, capture_output=True, text=True, timeout=120
    )
    assert "2026-01-31" in done.stdout
    assert evalkit.connect(tmp_path / ".evalkit").checkpoints()["session_success_rate"].to_list() == [0.85]


@pytest.mark.slow
def test_the_page_on_sharing_names_what_there_is(tmp_path: Path) -> None:
    """Its variables are read, its commands exist, its URLs are taken as they stand, and the compose file starts the three services."""
    _, block = _blocks("sh")
    given = dict(line.removeprefix("export ").replace("'", "").split("=", 1) for line in block.splitlines() if line.startswith("export"))
    assert given.keys() == {"EVALKIT_LOG_URL", "EVALKIT_DATABASE_URL", "EVALKIT_DATABASE_AUTH_TOKEN"}
    for line in block.splitlines():
        if line.startswith("evalkit "):
            command = [str(Path(sys.executable).with_name("evalkit")), line.split()[1], "--help"]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
    evalkit.connect(tmp_path, log_url=given["EVALKIT_LOG_URL"], database_url=given["EVALKIT_DATABASE_URL"])
    (body,) = _blocks("json")
    assert json.loads(body)["permissions"]["streams"]["0"]["read_stream"] is True
    services = yaml.safe_load((ROOT / "examples" / "shared" / "compose.yaml").read_text())["services"]
    assert list(services) == ["iggy", "sqld", "consumer"]
    assert services["consumer"]["command"][-1].endswith("evalkit --json consume")


def test_the_version_is_one() -> None:
    """The changelog's newest entry is the version of the package."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1] == version  # type: ignore[index]


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
needs_real = pytest.mark.skipif(not REAL.exists(), reason="the public leaderboard file is not beside this checkout")


def _run(example: str, *arguments: object) -> str:
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / example), *map(str, arguments)]
    return subprocess.run(command, env=_environment(), check=True, capture_output=True, text=True, timeout=240).stdout


def _run_leaderboard(path: Path, home: Path) -> str:
    return _run("aider_leaderboard.py", path, home)


@pytest.mark.slow
def test_the_leaderboard_example_maps_runs_to_checkpoints(tmp_path: Path) -> None:
    """Five invented runs: families, exact rates, what is missing, and running it twice."""
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
def test_the_leaderboard_example_runs_on_the_real_file(tmp_path: Path) -> None:
    """All 69 public runs become checkpoints, with the success rate over time for each family."""
    printed = _run_leaderboard(REAL, tmp_path / "home")
    assert "aider gemini: RecordedCheckpoints(11 recorded)" in printed
    kit = evalkit.connect(tmp_path / "home")
    assert kit.checkpoints().height == 69
    assert kit.verify().ok


def _reported(printed: str) -> dict[str, str]:
    """What is printed of each report, by study."""
    lines = [line for line in printed.splitlines() if "claimed" in line]
    return dict(line.split(": ", 1) for line in lines)


@pytest.mark.slow
def test_the_report_example_reports_on_every_family(tmp_path: Path) -> None:
    """Each invented family has a page and the same as data, in the folder that was named, though none has enough runs; other studies have none."""
    (tmp_path / "board.yml").write_text(INVENTED.partition("- {dirname: d")[0])
    evalkit.connect(tmp_path / "home").create_study("something else")
    reported = _reported(_run("aider_report.py", tmp_path / "board.yml", tmp_path / "home", "-o", tmp_path / "pages"))
    assert list(reported) == ["aider claude", "aider o-series"]
    page = tmp_path / "pages" / "aider-claude.html"
    assert reported["aider claude"] == f"2 runs, claimed: nothing; too few to tell a large trend in 11 of 11 metrics. {page}"
    assert reported["aider o-series"].startswith("1 run, claimed: nothing; ")
    assert sorted(path.name for path in page.parent.iterdir()) == [
        f"aider-{name}.{kind}" for name in ("claude", "o-series") for kind in ("html", "json")
    ]
    assert "Insufficient data" in page.read_text()
    assert json.loads(page.with_suffix(".json").read_text())["study"]["description"] == "Aider polyglot benchmark"


@pytest.mark.long
@needs_real
def test_the_report_example_runs_on_the_real_file(tmp_path: Path) -> None:
    """Of the public runs, 13 at most of a family, no report claims a thing; the pages are whole, and take nothing from the network."""
    reported = _reported(_run("aider_report.py", REAL, tmp_path / "home", "-o", tmp_path / "pages"))
    assert len(reported) == 9
    assert all("claimed: nothing" in told for told in reported.values())
    assert reported["aider gpt"].startswith("13 runs, ")
    for page in (tmp_path / "pages").glob("*.html"):
        text = page.read_text()
        assert text.rstrip().endswith("</html>")
        assert not re.search(r"<script|(src|href)=.https?:", text)


def test_the_report_example_says_what_a_report_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trends and shifts by the metric's name; of what has no trend or insufficient data only how many."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    claims = importlib.import_module("aider_report").claims
    metrics = [("Cost", "improving"), ("Tokens", "no significant trend"), ("Efficiency", "insufficient data"), ("Sessions", "falling")]
    shifts = [("Cost", "shifted"), ("Tokens", "no significant shift"), ("Efficiency", "insufficient data")]
    content = {
        name: [dict(zip(("label", "verdict"), pair, strict=True)) for pair in pairs]
        for name, pairs in (("metrics", metrics), ("shifts", shifts))
    }
    told = "40 runs, claimed: cost improving, sessions falling, cost shifted; too few to tell a large trend in 1 of 4 metrics"
    assert claims(content | {"events": [{"checkpoints": 40}]}) == told
