"""The demonstration and its samples: plausible, consistent, the same again, and everything that it says to try works."""

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
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

import evalkit
from evalkit import METRICS, InvalidInputError, PeriodType
from evalkit.cli import demo
from evalkit.cli.app import app
from evalkit.cli.demo import DemoResult, next_commands, open_demo, picture, run_demo, snippet
from evalkit.samples import sample_checkpoints

START = datetime(2026, 1, 5, tzinfo=UTC)


def shell(command: str, folder: Path, *, at_home: Path) -> str:
    """Run a command as a user would, in a folder, with settings of evalkit that point elsewhere."""
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
def test_the_numbers_of_a_sample_agree_with_each_other(period_type: PeriodType) -> None:
    """Rates are k/n of what was counted, the cost of a success fits the total, sessions are named, and nothing leaves its range."""
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
def test_samples_are_recorded_as_they_are(tmp_path: Path, period_type: PeriodType) -> None:
    """Every period type's samples pass the checks of a command, in periods that follow on each other, under keys of their own."""
    rows = sample_checkpoints(period_type, START, 30, seed=1)
    assert [row["period_start"] for row in rows[1:]] == [row["period_end"] for row in rows[:-1]]
    kit = evalkit.connect(tmp_path / "home")
    kit.create_study("samples", period=period_type, at=START)
    kit.start_study("samples", at=START)
    past = [row for row in rows if row["period_end"] < datetime.now(UTC)]
    assert kit.record_checkpoints("samples", past).recorded == len(past) > 5
    assert kit.record_checkpoints("samples", past).already_recorded == len(past)


def test_the_same_arguments_give_the_same_samples_and_more_periods_give_more() -> None:
    """A seed is an agent; a longer series begins with the shorter one; another seed is another agent."""
    few, many = (sample_checkpoints("weekly", START, count, seed=1, trend=0.1) for count in (5, 20))
    assert many[:5] == few == sample_checkpoints("weekly:8", START.isoformat(), 5, seed=1, trend=0.1)
    assert sample_checkpoints("weekly", START, 5, seed=2, trend=0.1) != few
    assert sample_checkpoints("weekly", START, 0, seed=2) == []


def test_a_trend_is_a_trend() -> None:
    """With a rising trend the last periods are better than the first in success, iterations and cost; with a falling one worse."""

    def change(name: str, trend: float) -> float:
        values = [row[name] for row in sample_checkpoints("weekly", START, 20, seed=4, trend=trend)]
        return float(sum(values[-5:]) - sum(values[:5]))

    assert change("session_success_rate", 0.15) > 1
    assert change("session_success_rate", -0.15) < -1
    assert change("cost_per_successful_task", 0.15) < 0 < change("cost_per_successful_task", -0.15)
    assert change("avg_iterations_to_success", 0.15) < 0 < change("avg_iterations_to_success", -0.15)
    assert abs(change("session_success_rate", 0)) < 0.5


def test_months_are_calendar_months_and_extreme_trends_are_no_error() -> None:
    """From the 31st on, a short month ends on its last day; a trend without end stays a rate, and a month without a success has gaps."""
    months = sample_checkpoints("monthly", datetime(2025, 12, 31, tzinfo=UTC), 3, seed=1)
    assert [row["period_start"].day for row in months] == [31, 31, 28]
    assert [row["key"] for row in months] == ["2025-12", "2026-01", "2026-02"]
    assert sample_checkpoints("hourly", START, 2, seed=1, trend=1e6)[-1]["session_success_rate"] == 1.0
    worst = sample_checkpoints("hourly", START, 2, seed=1, trend=-1e6)[-1]
    assert (worst["session_success_rate"], worst["cost_per_successful_task"], worst["avg_iterations_to_success"]) == (0.0, None, None)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"period_type": "yearly"}, "period: 'yearly' is none of"),
        ({"start": datetime(2026, 1, 5)}, "start: .* has no time zone"),
        ({"count": -1}, "count: -1 is outside the range"),
    ],
)
def test_wrong_arguments_of_samples_are_told_in_words(wrong: dict[str, Any], message: str) -> None:
    """The same checks as a command's, with the same words."""
    with pytest.raises(InvalidInputError, match=message):
        sample_checkpoints(**({"period_type": "daily", "start": START, "count": 1, "seed": 1} | wrong))


# --- the demonstration ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[evalkit.EvalKit]:
    with open_demo(tmp_path / "demo") as opened:
        yield opened


def test_the_demo_tells_three_stories(kit: evalkit.EvalKit) -> None:
    """One study runs and improves, one was paused and has gaps, one was stopped; all of it lies in the past, and the log agrees."""
    run_demo(kit)
    studies = {row["name"]: row for row in kit.studies().to_dicts()}
    assert {name: (row["status"], row["checkpoints"]) for name, row in studies.items()} == {
        "weekly coder": ("running", 5), "daily helper": ("running", 16), "old prompt": ("stopped", 3),
    }  # fmt: skip
    coder = kit.checkpoints("weekly coder")["session_success_rate"].to_list()
    assert coder[-1] > coder[0]
    helper = kit.checkpoints("daily helper")
    assert helper["total_cost"].null_count() == 3
    paused, resumed = kit.lifecycle().filter(study="daily helper")["at"].to_list()[2:]
    assert helper.filter((helper["period_start"] >= paused) & (helper["period_start"] < resumed)).height == 0
    assert kit.checkpoints()["recorded_at"].max() <= datetime.now(UTC) + timedelta(minutes=5)  # type: ignore[operator]
    assert kit.rejected().height == 0
    assert kit.verify().ok


def test_a_second_run_doubles_nothing_not_even_weeks_later(kit: evalkit.EvalKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """All times hang on the first run: a later one finds every event there, and appends none."""
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


@pytest.mark.parametrize("calls", [1, 2, 3, 4, 7, 9])
def test_a_run_that_was_cut_short_is_finished_by_the_next(
    tmp_path: Path, kit: evalkit.EvalKit, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """Wherever the first run ended, the second one makes the same frames as a run in one piece."""
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
        for name in ("create_study", "start_study", "pause_study", "resume_study", "stop_study", "record_checkpoints"):
            patch.setattr(kit, name, count(getattr(kit, name)))
        with pytest.raises(KeyboardInterrupt):
            run_demo(kit)
    run_demo(kit)
    with open_demo(tmp_path / "in one piece") as whole:
        run_demo(whole)
        assert_frame_equal(kit.lifecycle().drop("study_id"), whole.lifecycle().drop("study_id"))
        assert_frame_equal(kit.checkpoints().drop("study_id", "checkpoint_id"), whole.checkpoints().drop("study_id", "checkpoint_id"))


def test_what_a_user_does_in_the_demo_stays(kit: evalkit.EvalKit) -> None:
    """A study that was stopped by hand, and a checkpoint of one's own, survive the next run."""
    run_demo(kit)
    kit.stop_study("weekly coder")
    kit.record_checkpoint("weekly coder", {"period": (START, START + timedelta(days=7))})
    assert run_demo(kit) == DemoResult(0, 24)
    assert kit.resolve("weekly coder").status == "stopped"
    assert kit.checkpoints().height == 25


def test_the_picture_fits_a_hundred_columns(kit: evalkit.EvalKit) -> None:
    """No line is wider, and the frames are whole: nothing is cut with dots."""
    run_demo(kit)
    text = picture(kit)
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    assert text.count("weekly coder") >= 3


def test_a_file_in_the_place_of_the_folder_is_told_in_words(tmp_path: Path) -> None:
    """The demo does not touch what is no folder."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InvalidInputError, match="is a file; give a folder"):
        open_demo(tmp_path / "file")


@pytest.mark.slow
def test_everything_that_the_demo_says_to_try_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with a difficult name, with settings that point elsewhere: the commands and notebook lines run, and the demo again."""
    here, elsewhere = tmp_path / "it's a folder", tmp_path / "elsewhere"
    here.mkdir()
    first = shell("evalkit demo", here, at_home=elsewhere)
    assert "24 checkpoints recorded, 0 were there already" in first
    assert not elsewhere.exists()
    assert sorted(path.name for path in here.iterdir()) == ["evalkit-demo"]
    folder = here / "evalkit-demo"
    lines = [line.strip() for line in first.splitlines()]
    told = [line for line in lines[lines.index("Try next:") :] if line.startswith(("cd ", "evalkit "))]
    assert len(told) == 6
    unset = "unset EVALKIT_HOME EVALKIT_LOG_URL EVALKIT_DATABASE_URL\n"
    printed = shell(unset + "\n".join(told), here, at_home=elsewhere)
    assert "5 of 8" in printed
    assert "The read model is what the log says" in printed
    assert (folder / "coder.csv").read_text().count("weekly coder") == 5
    notebook = first[first.index("import evalkit") :].replace("\n  ", "\n")
    names: dict[str, Any] = {}
    exec(notebook.replace("plots.trend(", "chart = plots.trend(").replace("kit.panel()", "panel = kit.panel()"), names)
    assert names["chart"].to_dict()["description"].startswith("Trend of session success rate over time, 3 studies")
    assert "3 studies" in repr(names["panel"])
    names["panel"].close()
    assert "weekly coder" in (folder / "charts.html").read_text()
    assert snippet(folder) in notebook
    monkeypatch.chdir(here)
    second = json.loads(CliRunner().invoke(app, ["--json", "demo"], catch_exceptions=False).stdout)
    assert (second["recorded"], second["already_recorded"]) == (0, 24)
    assert [row["status"] for row in second["studies"] if row["name"] == "weekly coder"] == ["paused"]
    assert second["next"][1:] == next_commands(folder)[1:]


@pytest.mark.slow
def test_the_demo_takes_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--folder says where; folders on the way are made."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["demo", "--folder", "a/b"], catch_exceptions=False)
    assert "In a/b: 24 checkpoints recorded" in done.stdout
    assert evalkit.connect(tmp_path / "a" / "b" / ".evalkit").studies().height == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
