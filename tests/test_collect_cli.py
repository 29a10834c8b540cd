"""``evalkit collect``: its output, exit codes and schedules; what doctor says; and the panel's button."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from inline_snapshot import snapshot

import evalkit
from evalkit.collect import health
from evalkit.collect.schedule import schedule
from tests.collecting import FIRST, Clock, day, runs, use_clock, write_runs
from tests.command_line import read_json, run
from tests.messages import says
from tests.panel_driver import Show
from tests.transcript_generator import write_claude_code

pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return use_clock(monkeypatch, day(3, 3))


def test_first_use(clock: Clock) -> None:
    """One command creates the study and records the days; --json has the same."""
    write_runs(Path("runs.csv"), runs(0, 2))
    result = run("collect", "nightly", "--from", "records:runs.csv", "--since", "2026-03-01")
    assert result.stdout == snapshot("""\
nightly: 3 recorded
  2026-03-01  recorded  3
  2026-03-02  recorded  0
  2026-03-03  recorded  3
""")
    again = read_json("collect", "nightly", "--from", "records:runs.csv", "--since", "2026-03-01")
    assert [period["status"] for period in again["periods"]] == ["unchanged"] * 3
    assert {name: value for name, value in again.items() if name != "periods"} == snapshot(
        {
            "study": "nightly",
            "source": "records",
            "dry_run": False,
            "files": None,
            "changed_files": None,
            "waiting": 0,
            "outside": 0,
            "skipped": [],
            "ignored": {},
            "notes": [],
        }
    )
    assert again["periods"][0] | {"checkpoint_id": ""} == snapshot(
        {
            "period_start": "2026-03-01T00:00:00+00:00",
            "period_end": "2026-03-02T00:00:00+00:00",
            "status": "unchanged",
            "sessions": 3,
            "key": "collect:records:2026-03-01T00:00:00Z",
            "checkpoint_id": "",
            "note": "",
        }
    )


def test_exit_codes(clock: Clock) -> None:
    """0 recorded or nothing due, 1 error, 2 usage, 3 no data."""
    write_runs(Path("runs.csv"), runs(1))
    arguments = ("collect", "nightly", "--from", "records:runs.csv", "--since", "2026-03-01")
    clock.time = day(0, 5)
    assert run(*arguments).stdout == snapshot("""\
nightly: no period is due
  3 sessions ended in the future, by the clock of this machine. Check the times of the logs.
  3 sessions still open or in periods that are not due yet.
""")
    clock.time = day(1, 3)
    assert run(*arguments, code=3).stdout == snapshot("""\
nightly: 1 empty
  2026-03-01  empty  0  no sessions, and the logs have none before or none after it
  3 sessions ended in the future, by the clock of this machine. Check the times of the logs.
  3 sessions still open or in periods that are not due yet.
""")
    clock.time = day(2, 3)
    run(*arguments)
    assert run("collect", "nightly", "--from", "records:gone.csv", code=1).stderr == snapshot(
        "error: Cannot read 'records' logs: 'gone.csv' does not exist. Check the path; it is relative to the working directory.\n"
    )
    Path("broken.csv").write_bytes(b"\0")
    assert run("collect", "nightly", "--from", "records:.", "--strict", code=1).stderr == snapshot(
        "error: 1 file skipped ('broken.csv': line 1: the file contains NUL characters). Nothing was recorded. Repair or remove the files, or collect without --strict.\n"
    )
    assert run("collect", code=2).stderr.splitlines()[-1] == snapshot(
        "Error: Invalid value for 'REF': name the study, or use --due without --from for all studies with a saved source."
    )
    run("collect", "nightly", "--from", "records:runs.csv", "--option", "team", code=2)


def test_all_studies(clock: Clock) -> None:
    """Every study with a saved source is collected, also after one that fails."""
    evalkit.connect().create_study("by hand")
    assert run("collect", "--due", code=1).stderr == snapshot(
        "error: No study has a saved source on this machine. Save one with: evalkit collect NAME --from LOCATION --save\n"
    )
    for name in ("a", "b", "c"):
        write_runs(Path(f"{name}.csv"), [{**row, "id": row.pop("session_id")} for row in runs(0, 2)])
        save = () if name == "c" else ("--save",)
        run("collect", name, "--from", f"records:{name}.csv", "--map", "session_id=id", "--since", "2026-03-01", *save)
    Path("b.csv").unlink()
    clock.time = day(4, 3)
    write_runs(Path("a.csv"), [{**row, "id": row.pop("session_id")} for row in runs(0, 2, 3)])
    result = run("collect", "--due", code=1)
    assert result.stdout == snapshot("""\
a: 3 unchanged, 1 recorded
  2026-03-04  recorded  3
""")
    assert says(result.stderr) == snapshot(
        "error: b: Study 'b' keeps the location 'records:TMP/b.csv', which does not exist on this machine. Pass and save the new place: evalkit collect 'b' --from LOCATION --save\n"
    )
    (listed,) = read_json("collect", "--due", code=1)
    with evalkit.connect() as kit:
        Path(f".evalkit/sources/{kit.resolve('b').id}.json").unlink()
    assert run("collect", "--due").stderr == snapshot("warning: b: skipped, because its logs are not on this machine\n")
    assert [period["status"] for period in listed["periods"]] == ["unchanged"] * 4


def test_dry_run(clock: Clock) -> None:
    write_runs(Path("runs.csv"), runs(0, 2))
    result = run("collect", "nightly", "--from", "records:runs.csv", "--since", "2026-03-01", "--dry-run")
    assert result.stdout == snapshot("""\
nightly: 3 recorded (dry run, nothing was recorded)
  2026-03-01  recorded  3
  2026-03-02  recorded  0
  2026-03-03  recorded  3
""")
    assert not Path(".evalkit").exists()


# --- schedules ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "scheduler"), [("inspect:nowhere", "cron"), ("inspect:/srv/logs", "github"), ("claude-code:", "github")]
)
def test_schedules_that_would_fail(location: str, scheduler: str) -> None:
    """A location that does not exist, or that a runner does not have, is refused before it is scheduled."""
    result = run("collect", "nightly", "--from", location, "--print", scheduler, code=2 if scheduler == "github" else 1)
    assert ("a runner of GitHub does not have the folders" if scheduler == "github" else "does not exist") in result.stderr


@pytest.mark.parametrize("scheduler", ["cron", "systemd", "github"])
def test_schedules(scheduler: str) -> None:
    command = ["evalkit", "collect", "my agent's", "--from", "inspect:100% logs", "--due"]
    environment = {"EVALKIT_HOME": '/data/my "home"'}
    assert schedule(scheduler, command, folder="/data/100%", environment=environment) == {
        "cron": snapshot('17 * * * * cd /data/100\\% && EVALKIT_HOME=\'/data/my "home"\' evalkit collect \'my agent\'"\'"\'s\' --from \'inspect:100\\% logs\' --due'),
        "systemd": snapshot("""\
# ~/.config/systemd/user/evalkit-collect.service
[Unit]
Description=Collect agent logs with evalkit

[Service]
Type=oneshot
WorkingDirectory=/data/100%%
Environment="EVALKIT_HOME=/data/my \\"home\\""
ExecStart=evalkit collect "my agent's" --from "inspect:100%% logs" --due
# Exit code 3: no data.
SuccessExitStatus=3

# ~/.config/systemd/user/evalkit-collect.timer
[Unit]
Description=Collect agent logs every hour

[Timer]
OnCalendar=hourly
Persistent=true

[Install]
WantedBy=timers.target

# Start it: systemctl --user daemon-reload && systemctl --user enable --now evalkit-collect.timer\
"""),
        "github": snapshot("""\
# .github/workflows/evalkit-collect.yml
name: Collect agent logs
on:
  schedule:
    - cron: "17 * * * *"
  workflow_dispatch:
# The log and the read model must be on servers, because a runner keeps no files.
# Set the two URLs and the token as secrets of the repository.
env:
  EVALKIT_LOG_URL: ${{ secrets.EVALKIT_LOG_URL }}
  EVALKIT_DATABASE_URL: ${{ secrets.EVALKIT_DATABASE_URL }}
  EVALKIT_DATABASE_AUTH_TOKEN: ${{ secrets.EVALKIT_DATABASE_AUTH_TOKEN }}
  EVALKIT_EVIDENCE: evidence
jobs:
  collect:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      # requirements.txt has the path or URL of your copy of the package.
      - run: pip install -r requirements.txt
      # The sessions of the checkpoints. A cache can be deleted: for years, copy the folder to a storage of your own.
      - uses: actions/cache@v4
        with:
          path: evidence
          key: evalkit-evidence-${{ github.run_id }}
          restore-keys: evalkit-evidence-
      # Exit code 3: no data.
      - run: |
          evalkit collect 'my agent'"'"'s' --from 'inspect:100% logs' --due || [ $? -eq 3 ]\
"""),
    }[scheduler]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="cron needs a shell")
def test_the_line_of_cron_runs() -> None:
    """A shell runs the printed command, from any folder, and with the variables of the environment."""
    write_runs(Path("my runs.csv"), runs(0, 2))
    program = Path(sys.executable).with_name("evalkit")
    environment = {**os.environ, "EVALKIT_HOME": str(Path("home").absolute())}
    arguments = ["collect", "nightly", "--from", "records:my runs.csv", "--since", "2026-03-01"]
    printed = subprocess.run([program, *arguments, "--print", "cron"], capture_output=True, text=True, check=True, env=environment).stdout
    assert not Path("home").exists()
    line = printed.strip().removeprefix("17 * * * * ").replace(r"\%", "%")
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, cwd="/")
    assert "recorded" in done.stdout, (line, done)
    assert shlex.split(line)[:2] == ["cd", str(Path.cwd())]
    with evalkit.connect("home") as kit:
        assert kit.checkpoints("nightly")["sessions_completed"].to_list() == [3, 0, 3]


# --- doctor ---------------------------------------------------------------------------------------------------------------------------


def test_doctor(clock: Clock) -> None:
    """It names due periods, missing evidence, and transcripts that will be deleted before they are collected."""
    write_runs(Path("runs.csv"), runs(0, 1, 2))
    run("collect", "nightly", "--from", "records:runs.csv", "--since", "2026-03-01", "--save")
    projects = Path("claude") / "projects"
    now = datetime.now(UTC)
    write_claude_code(projects, 1, [(now - timedelta(days=26), 10), (now - timedelta(days=25), 10), (now - timedelta(days=3), 10)])
    (projects.parent / "settings.json").write_text("{}")
    since = (now - timedelta(days=28)).date().isoformat()  # at any time of the day, a whole day before the clock
    clock.time = now - timedelta(days=26.5)
    run("collect", "assistant", "--from", f"claude-code:{projects}", "--since", since, "--save", code=3)
    (evidence, *_) = Path(".evalkit/evidence").iterdir()
    evidence.unlink()
    result = run("doctor", code=1)
    shown = [line for line in result.stdout.splitlines() if line.startswith(("problem", "Note"))]
    assert [re.sub(r"\d+ periods|\d{4}-\d\d-\d\d", "N", says(line, day=(now + timedelta(days=4)).date())) for line in shown] == snapshot(
        [
            "problem           The sessions of 1 checkpoint of study 'nightly' (N) are not in 'TMP/.evalkit/evidence'. Copy the files from the machine that collected them, or set EVALKIT_EVIDENCE to a folder that all machines share.",
            "problem           3 logs of study 'assistant' that no checkpoint covers will be deleted from DAY on, 30 days after the last activity. Collect them now: evalkit collect 'assistant'",
            "Note: N of study 'assistant' due since N. Record them with: evalkit collect 'assistant'. Those without data stay due.",
            "Note: N of study 'nightly' due since N. Record them with: evalkit collect 'nightly'. Those without data stay due.",
        ]
    )
    with evalkit.connect() as kit:
        found = health.collect_health(kit, now)
        assert (len(found.problems), len(found.notes)) == (2, 2)
        clock.time = now
        kit.collect("assistant")
        assert len(health.collect_health(kit, now).problems) == 1


# --- the panel ------------------------------------------------------------------------------------------------------------------------


def test_button_of_the_panel(kit: evalkit.EvalKit, show: Show, clock: Clock) -> None:
    """It is shown for a study that keeps a source, collects, and says what was recorded."""
    write_runs(Path("runs.csv"), runs(0, 1))
    kit.start_study(kit.create_study("by hand", at=FIRST), at=FIRST)
    clock.time = day(1, 3)
    kit.collect("collected", "records:runs.csv", since=FIRST, save=True)
    driver = show("by hand")
    button = driver.control("Collect now")
    assert button.layout.display == "none"
    driver.choose("collected")
    assert (button.layout.display, button.disabled) == (None, False)
    clock.time = day(2, 3)
    driver.click("Collect now")
    assert driver.panel.model.message.text == snapshot("""\
Collected for collected: 1 unchanged, 1 recorded
  2026-03-02  recorded  3\
""")
    assert kit.checkpoints("collected").height == 2
