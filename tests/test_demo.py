"""The demo and its sample data: plausible, consistent and reproducible; the suggested commands work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from inline_snapshot import snapshot
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

import evalkit
from evalkit import METRICS, InvalidInputError, PeriodType
from evalkit.cli import demo
from evalkit.cli.app import app
from evalkit.cli.demo import DemoResult, demo_folder, frames_as_text, next_commands, notebook_lines, open_demo, run_demo
from evalkit.samples import sample_checkpoints
from tests.messages import says

START = datetime(2026, 1, 5, tzinfo=UTC)


def shell(command: str, folder: Path, *, at_home: Path) -> str:
    """Run a shell command in a folder, with evalkit settings in the environment that point elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EVALKIT_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    elsewhere = {
        "EVALKIT_HOME": str(at_home),
        "EVALKIT_LOG_URL": f"sqlite:{at_home}/log.db",
        "EVALKIT_DATABASE_URL": f"file:{at_home}/rm.db",
    }
    done = subprocess.run(
        ["sh", "-e", "-c", command],
        cwd=folder,
        env=kept | elsewhere | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# --- samples ----------------------------------------------------------------------------------------------------------------------------


def is_whole(number: float) -> bool:
    return abs(number - round(number)) < 1e-6


@pytest.mark.parametrize("period_type", PeriodType)
def test_sample_metrics_are_consistent(period_type: PeriodType) -> None:
    """Rates are k/n of the counts, the cost per success matches the total, and every value is in range."""
    for seed in range(5):
        for row in sample_checkpoints(period_type, START, 12, seed=seed, trend=0.3 - 0.2 * seed):
            sessions, tasks = row["sessions_completed"], row["tasks_completed"]
            succeeded = round(row["session_success_rate"] * sessions)
            assert row["session_success_rate"] == succeeded / sessions
            at_once = round(row["first_attempt_success_rate"] * tasks)
            assert row["first_attempt_success_rate"] == at_once / tasks
            solved = row["total_cost"] / row["cost_per_successful_task"] if row["cost_per_successful_task"] is not None else 0
            assert is_whole(solved)
            assert at_once <= round(solved) <= tasks
            if row["self_correction_rate"] is not None:
                assert row["self_correction_rate"] == (round(solved) - at_once) / (tasks - at_once)
            if solved:
                assert is_whole(row["avg_iterations_to_success"] * solved)
                assert row["avg_iterations_to_success"] >= 1
            if row["learnings_applied"]:
                assert is_whole(row["learning_effectiveness"] * row["learnings_applied"])
            assert row["total_tokens"] > tasks
            assert len(set(row["sessions_included"])) == sessions
            assert set(METRICS) < set(row)


@pytest.mark.parametrize("period_type", PeriodType)
def test_samples_can_be_recorded(tmp_path: Path, period_type: PeriodType) -> None:
    """Samples of every period type are valid, have consecutive periods, and have distinct keys."""
    rows = sample_checkpoints(period_type, START, 30, seed=1)
    assert [row["period_start"] for row in rows[1:]] == [row["period_end"] for row in rows[:-1]]
    kit = evalkit.connect(tmp_path / "home")
    kit.create_study("samples", period=period_type, at=START)
    kit.start_study("samples", at=START)
    past = [row for row in rows if row["period_end"] < datetime.now(UTC)]
    assert kit.record_checkpoints("samples", past).recorded == len(past) > 5
    assert kit.record_checkpoints("samples", past).already_recorded == len(past)


def test_samples_are_reproducible() -> None:
    """The same seed gives the same samples, and a longer series starts with the shorter one."""
    few, many = (sample_checkpoints("weekly", START, count, seed=1, trend=0.1) for count in (5, 20))
    assert many[:5] == few == sample_checkpoints("weekly:8", START.isoformat(), 5, seed=1, trend=0.1)
    assert sample_checkpoints("weekly", START, 5, seed=2, trend=0.1) != few
    assert sample_checkpoints("weekly", START, 0, seed=2) == []


def test_sample_trend_has_the_requested_direction() -> None:
    """A positive trend improves success, iterations and cost; a negative one worsens them."""

    def change(name: str, trend: float) -> float:
        values = [row[name] for row in sample_checkpoints("weekly", START, 20, seed=4, trend=trend)]
        return float(sum(values[-5:]) - sum(values[:5]))

    assert change("session_success_rate", 0.15) > 1
    assert change("session_success_rate", -0.15) < -1
    assert change("cost_per_successful_task", 0.15) < 0 < change("cost_per_successful_task", -0.15)
    assert change("avg_iterations_to_success", 0.15) < 0 < change("avg_iterations_to_success", -0.15)
    assert abs(change("session_success_rate", 0)) < 0.5


def test_samples_of_months_and_extreme_trends() -> None:
    """Short months end on their last day; rates stay in range, and a month without a success has missing values."""
    months = sample_checkpoints("monthly", datetime(2025, 12, 31, tzinfo=UTC), 3, seed=1)
    assert [row["period_start"].day for row in months] == [31, 31, 28]
    assert [row["key"] for row in months] == ["2025-12", "2026-01", "2026-02"]
    assert sample_checkpoints("hourly", START, 2, seed=1, trend=1e6)[-1]["session_success_rate"] == 1.0
    worst = sample_checkpoints("hourly", START, 2, seed=1, trend=-1e6)[-1]
    assert (worst["session_success_rate"], worst["cost_per_successful_task"], worst["avg_iterations_to_success"]) == (0.0, None, None)


@pytest.mark.parametrize(
    ("argument", "value", "field"), [("period_type", "yearly", "period"), ("start", datetime(2026, 1, 5), "start"), ("count", -1, "count")]
)
def test_samples_validate_their_arguments(argument: str, value: object, field: str) -> None:
    """The error names the argument."""
    with pytest.raises(InvalidInputError) as error:
        sample_checkpoints(**({"period_type": "daily", "start": START, "count": 1, "seed": 1} | {argument: value}))
    assert (error.value.field, error.value.value) == (field, value)


# --- the demo ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[evalkit.EvalKit]:
    with open_demo(tmp_path / "demo") as opened:
        yield opened


def test_demo_creates_three_studies(kit: evalkit.EvalKit) -> None:
    """One study is running and improving, one was paused and has gaps, one was stopped; all events are in the past."""
    run_demo(kit)
    studies = {row["name"]: row for row in kit.studies().to_dicts()}
    assert {name: (row["status"], row["checkpoints"]) for name, row in studies.items()} == {
        "weekly coder": ("running", 5), "daily helper": ("running", 16), "old prompt": ("stopped", 3),
    }  # fmt: skip
    coder = kit.checkpoints("weekly coder")["session_success_rate"].to_list()
    assert coder[-1] > coder[0]
    helper = kit.checkpoints("daily helper")
    assert helper["total_cost"].null_count() == 3
    assert helper["escalation_rate"].null_count() == 0
    assert kit.notes()["text"].to_list() == ["New help pages"]
    amendments = kit.amendments()
    assert amendments["metric"].to_list() == ["total_cost", "cost_per_successful_task"]
    assert (amendments["old"] / amendments["new"]).to_list() == pytest.approx([10, 10])
    paused, resumed = kit.lifecycle().filter(study="daily helper")["at"].to_list()[2:]
    assert helper.filter((helper["period_start"] >= paused) & (helper["period_start"] < resumed)).height == 0
    assert kit.checkpoints()["recorded_at"].max() <= datetime.now(UTC) + timedelta(minutes=5)  # type: ignore[operator]
    assert kit.rejected().height == 0
    assert kit.verify().ok


def test_second_demo_run_appends_nothing(kit: evalkit.EvalKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """All times are relative to the first run, so a run weeks later appends no event."""
    assert run_demo(kit) == DemoResult(24, 0)
    before, events = kit.checkpoints(), kit.status().events

    class WeeksLater(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(days=23)

    monkeypatch.setattr(demo, "datetime", WeeksLater)
    assert run_demo(kit) == DemoResult(0, 24)
    assert_frame_equal(kit.checkpoints(), before)
    assert kit.status().events == events


@pytest.mark.parametrize("calls", [1, 2, 3, 4, 7, 9, 12, 13])
def test_next_run_completes_an_interrupted_demo(tmp_path: Path, kit: evalkit.EvalKit, monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """After an interruption at any point, the second run gives the same frames as an uninterrupted run."""
    left = calls

    def count(real: Any) -> Any:
        def counted(*args: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return real(*args, **named)

        return counted

    with monkeypatch.context() as patch:
        lifecycle = ("create_study", "start_study", "pause_study", "resume_study", "stop_study")
        for name in (*lifecycle, "define_metric", "note", "record_checkpoints", "amend_checkpoint"):
            patch.setattr(kit, name, count(getattr(kit, name)))
        with pytest.raises(KeyboardInterrupt):
            run_demo(kit)
    run_demo(kit)
    with open_demo(tmp_path / "uninterrupted") as expected:
        run_demo(expected)
        assert_frame_equal(kit.lifecycle().drop("study_id"), expected.lifecycle().drop("study_id"))
        assert_frame_equal(kit.checkpoints().drop("study_id", "checkpoint_id"), expected.checkpoints().drop("study_id", "checkpoint_id"))
        for frame in ("notes", "amendments", "metrics"):
            dropped = ["study_id", "note_id", "checkpoint_id", "written_at"]
            left_frame, right_frame = (getattr(each, frame)().drop(dropped, strict=False) for each in (kit, expected))
            assert_frame_equal(left_frame, right_frame)


def test_demo_keeps_changes_of_the_user(kit: evalkit.EvalKit) -> None:
    """A study that the user stopped, and a checkpoint that the user recorded, are unchanged by the next run."""
    run_demo(kit)
    kit.stop_study("weekly coder")
    kit.record_checkpoint("weekly coder", {"period": (START, START + timedelta(days=7))})
    assert run_demo(kit) == DemoResult(0, 24)
    assert kit.resolve("weekly coder").status == "stopped"
    assert kit.checkpoints().height == 25


def test_demo_frames_fit_100_columns(kit: evalkit.EvalKit) -> None:
    """No line is wider, and no value is truncated."""
    run_demo(kit)
    text = frames_as_text(kit)
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    assert text.count("weekly coder") >= 3


def test_demo_folder_must_not_be_a_file(tmp_path: Path) -> None:
    """The file is left unchanged."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InvalidInputError) as error:
        open_demo(tmp_path / "file")
    assert says(error) == snapshot("Invalid folder 'TMP/file': this is a file; expected a folder.")
    assert (tmp_path / "file").read_text() == "mine"


def test_demo_within_a_demo_folder_uses_that_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No demo is nested in another one; a folder with a home of the user gets a demo folder as usual."""
    monkeypatch.chdir(tmp_path)
    evalkit.connect(".evalkit").create_study("mine")
    assert demo_folder() == Path("evalkit-demo")
    with open_demo(Path("evalkit-demo")) as kit:
        run_demo(kit)
    assert demo_folder() == Path("evalkit-demo")
    inner = tmp_path / "evalkit-demo" / "notes"
    inner.mkdir()
    monkeypatch.chdir(inner)
    assert demo_folder() == Path("..")
    assert next_commands(demo_folder())[0] == "cd .."
    monkeypatch.chdir(inner.parent)
    monkeypatch.setattr("evalkit.cli.demo.write_charts", lambda kit, folder: folder / "charts.html")  # takes seconds
    result = json.loads(CliRunner().invoke(app, ["--json", "demo"], catch_exceptions=False).stdout)
    assert (result["folder"], result["recorded"], result["already_recorded"]) == (".", 0, 24)
    assert sorted(path.name for path in inner.parent.iterdir()) == [".evalkit", "notes"]
    assert result["next"] == next_commands(Path())
    assert not any(command.startswith("cd ") for command in result["next"])


def test_demo_ignores_a_damaged_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home that cannot be read is not a demo folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".evalkit").mkdir()
    (tmp_path / ".evalkit" / "events.db").write_bytes(b"damaged" * 1000)
    assert demo_folder() == Path("evalkit-demo")


@pytest.mark.slow
def test_suggested_commands_and_notebook_lines_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They work in a folder with a difficult name and with settings that point elsewhere, and the demo can run again."""
    here, elsewhere = tmp_path / "it's a folder", tmp_path / "elsewhere"
    here.mkdir()
    first = shell("evalkit demo", here, at_home=elsewhere)
    assert "24 checkpoints recorded, 0 already recorded" in first
    assert not elsewhere.exists()
    assert sorted(path.name for path in here.iterdir()) == ["evalkit-demo"]
    folder = here / "evalkit-demo"
    lines = [line.strip() for line in first.splitlines()]
    suggested = [line for line in lines[lines.index("What to try next:") :] if line.startswith(("cd ", "evalkit "))]
    assert len(suggested) == 6
    unset = "unset EVALKIT_HOME EVALKIT_LOG_URL EVALKIT_DATABASE_URL\n"
    printed = shell(unset + "\n".join(suggested), here, at_home=elsewhere)
    assert "5 of 8" in printed
    assert "digest" in printed.lower()
    assert (folder / "coder.csv").read_text().count("weekly coder") == 5
    notebook = first[first.index("import evalkit") :].replace("\n  ", "\n")
    names: dict[str, Any] = {}
    exec(notebook.replace("plots.trend(", "chart = plots.trend(").replace("kit.panel()", "panel = kit.panel()"), names)
    assert "3 studies" in names["chart"].to_dict()["description"]
    assert "3 studies" in repr(names["panel"])
    names["panel"].close()
    assert "weekly coder" in (folder / "charts.html").read_text()
    assert notebook_lines(folder) in notebook
    monkeypatch.chdir(here)
    second = json.loads(CliRunner().invoke(app, ["--json", "demo"], catch_exceptions=False).stdout)
    assert (second["recorded"], second["already_recorded"]) == (0, 24)
    assert [row["status"] for row in second["studies"] if row["name"] == "weekly coder"] == ["paused"]
    assert second["next"][1:] == next_commands(folder)[1:]


@pytest.mark.slow
def test_demo_folder_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--folder selects the folder, and missing parents are created."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["demo", "--folder", "a/b"], catch_exceptions=False)
    assert "a/b: 24 checkpoints recorded" in done.stdout
    assert evalkit.connect(tmp_path / "a" / "b" / ".evalkit").studies().height == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
