"""The command line: output, streams and exit codes of each command; signals and pipes with real processes."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from inline_snapshot import snapshot
from typer.main import get_command
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.domain.events import EncodedEvent, StoredEvalEvent, StudyCreated
from evalkit.domain.ids import event_id_at, new_id
from evalkit.domain.study import StudyConfig
from evalkit.io.log_files import import_log
from evalkit.readmodel.projection import EvalProjection
from tests.command_line import DAY, NAME, metrics, read_json, run, started
from tests.messages import says

EVALKIT = Path(sys.executable).parent / "evalkit"
REAL = Path(__file__).parent / "data" / "wire_events.ndjson"
pytestmark = pytest.mark.usefixtures("empty_folder")


def process(*args: str | Path, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([EVALKIT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def finished(*args: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([EVALKIT, *args], capture_output=True, text=True, check=False, timeout=60, **more)


# --- studies and checkpoints ------------------------------------------------------------------------------------------------------------


def test_lifecycle_commands_change_the_status_and_print_it() -> None:
    """Each command takes effect at the given time and prints the new status."""
    options = ["--period", "weekly:2", "--description", "d", "--tag", "x", "--tag", "y", "--meta", "model=m=1", "--meta", "k="]
    assert run("study", "create", NAME, *options, "--at", "2026-01-01T00:00:00+01:00").stdout.startswith(
        "nightly agent: pending, weekly:2 (id "
    )
    for day, (command, status) in enumerate([("start", "running"), ("pause", "paused"), ("resume", "running"), ("stop", "stopped")], 2):
        assert run("study", command, NAME, "--at", f"2026-01-0{day}T00:00:00Z").stdout == f"nightly agent: {status}, weekly:2\n"
    (study,) = evalkit.connect().storage.list_studies()
    assert study.config.model_dump() == {"description": "d", "tags": ["x", "y"], "metadata": {"model": "m=1", "k": ""}}
    assert study.created_at == datetime(2025, 12, 31, 23, tzinfo=UTC)
    assert evalkit.connect().lifecycle()["at"].dt.day().to_list() == [31, 2, 3, 4, 5]


def test_study_reference_can_be_the_end_of_an_id() -> None:
    """REF is a name, an id, or the last characters of an id, as shown by a list."""
    kit = started()
    short_id = run("study", "list").stdout.split("…")[1].strip()
    assert kit.resolve(NAME).id.endswith(short_id)
    assert run("study", "pause", short_id[-4:]).stdout == "nightly agent: paused, daily:30\n"
    assert read_json("study", "show", kit.resolve(NAME).id)["name"] == NAME


def test_create_opens_an_existing_study_on_request() -> None:
    """--if-exists open returns the existing study; without it, the name is refused with a hint."""
    first = read_json("study", "create", NAME)
    assert read_json("study", "create", NAME, "--if-exists", "open")["study_id"] == first["study_id"]
    assert "--if-exists open" in run("study", "create", NAME, code=1).stderr
    assert run("study", "create", NAME, "--if-exists", "open", "--period", "hourly").stderr.startswith("warning: ")


def test_study_list_is_sorted_and_filtered_by_status() -> None:
    """The table has one line per study, newest first; --status filters it."""
    kit = started("old")
    kit.create_study("new", at=DAY + timedelta(days=1))
    lines = run("study", "list").stdout.splitlines()
    assert [line.split()[:3] for line in lines[2:]] == [["new", "pending", "daily"], ["old", "running", "daily:30"]]
    assert [row["name"] for row in read_json("study", "list", "--status", "running")] == ["old"]
    assert run("study", "list", "--status", "stopped").stdout.count("\n") == 2
    assert "'pending', 'running', 'paused', 'stopped'" in run("study", "list", "--status", "ended", code=2).stderr


def test_study_show_has_lifecycle_and_last_checkpoints() -> None:
    """The period count ignores repeated checkpoints of a period; at most five checkpoints are shown."""
    kit = started()
    assert "No checkpoints yet." in run("study", "show", NAME).stdout
    for day in (0, 1, 2, 2):
        kit.record_checkpoint(NAME, metrics(day), key=f"{day} {kit.status().checkpoints}")
    text = run("study", "show", NAME).stdout
    for part in (
        "period       daily, 3 of 30 recorded",
        "description  Nightly run",
        "tags         a, b",
        "metadata     model=m-1",
        "85.0%",
    ):
        assert part in text
    data = read_json("study", "show", NAME)
    assert (data["periods_recorded"], data["period_value"], data["metadata"], data["tags"]) == (3, 30, {"model": "m-1"}, ["a", "b"])
    assert [event["kind"] for event in data["lifecycle"]] == ["study_created", "study_started"]
    assert len(data["last_checkpoints"]) == 4
    kit.create_study("open end")
    assert "daily, 0 periods with checkpoints (no planned count)" in run("study", "show", "open end").stdout


def test_checkpoint_record_reads_a_file_or_standard_input() -> None:
    """The same key and content are recorded once; different content is a conflict; NaN is missing; --at sets the recording time."""
    kit = started()
    Path("one.json").write_text(json.dumps(metrics(total_tokens=2**53 + 1, avg_session_duration=[1, 500])))
    assert run("checkpoint", "record", NAME, "--metrics", "one.json", "--key", "k", "--at", "2026-02-02T00:00:00Z").stdout == (
        "nightly agent: checkpoint 2026-01-31 recorded (3 of 16 metrics)\n"
    )
    again = read_json("checkpoint", "record", NAME, "--metrics", "-", "--key", "k", stdin=b"\xef\xbb\xbf" + Path("one.json").read_bytes())
    assert again["already_recorded"] is True
    assert (again["total_tokens"], again["avg_session_duration"], again["recorded_at"]) == (
        2**53 + 1,
        [1, 0],
        "2026-02-02T00:00:00.000000Z",
    )
    error = run("checkpoint", "record", NAME, "--metrics", "-", "--key", "k", stdin=json.dumps(metrics(total_tokens=1)), code=1).stderr
    assert "'k'" in error
    assert kit.checkpoints().height == 1
    nan = json.dumps(metrics(1, total_cost=float("nan"), total_tokens=5))
    recorded = read_json("checkpoint", "record", NAME, "--metrics", "-", stdin=nan)
    assert (recorded["total_cost"], recorded["total_tokens"]) == (None, 5)


def test_checkpoint_list_formats_metrics_as_in_the_catalog() -> None:
    """Rates are percentages, money is in dollars, counts have separators, missing values are dashes; rows are not wrapped in a pipe."""
    kit = started()
    kit.record_checkpoint(NAME, metrics(total_tokens=1234567, total_cost=12.5))
    kit.record_checkpoint(NAME, metrics(1))
    lines = run("checkpoint", "list", NAME).stdout.splitlines()
    assert lines[2].split()[:6] == ["2026-01-31", "-", "85.0%", "1,234,567", "$12.50", "-"]
    assert lines[3].split()[:6] == ["2026-02-01", "-", "85.0%", "-", "-", "-"]
    assert len(lines) == 4
    assert [row["total_cost"] for row in read_json("checkpoint", "list", NAME)] == [12.5, None]


@pytest.mark.parametrize("extension", ["csv", "parquet", "json.gz"])
def test_checkpoints_can_be_exported_and_imported(extension: str) -> None:
    """Importing an export twice records each checkpoint once."""
    kit = started()
    kit.record_checkpoints(NAME, [{**metrics(day), "key": str(day), "sessions_included": ["é,"]} for day in range(3)])
    kit.create_study("other")
    file = f"out.{extension}"
    assert run("checkpoint", "export", file, "--study", NAME).stdout == f"3 checkpoints written to {file}\n"
    for command in (["create", NAME], ["start", NAME]):
        run("--home", "there", "study", *command)
    assert run("--home", "there", "checkpoint", "import", file, "--study", NAME).stdout == "3 checkpoints recorded, 0 already recorded\n"
    assert read_json("--home", "there", "checkpoint", "import", file, "--study", NAME) == {
        "recorded": 0, "already_recorded": 3, "read_as": "",
    }  # fmt: skip
    drop = ["study_id", "checkpoint_id"]
    assert evalkit.connect("there").checkpoints().drop(drop).equals(kit.checkpoints().drop(drop))


SPREADSHEET = """\
period_start;period_end;session_success_rate;total_cost
2026-01-31T00:00:00Z;2026-02-01T00:00:00Z;85,5%;12,50
2026-02-01T00:00:00Z;2026-02-02T00:00:00Z;90%;n/a
"""


def test_checkpoint_import_reads_a_spreadsheet_with_percentages() -> None:
    """The output names what was detected; without --percent, every row is refused with a hint for the shell."""
    started()
    Path("runs.csv").write_text(SPREADSHEET)
    command = ("checkpoint", "import", "runs.csv", "--study", NAME)
    assert says(run(*command, code=1).stderr) == snapshot("""\
error: runs.csv, line 2: Invalid session_success_rate '85,5%': expected a rate from 0 to 1, not a percentage. 2 of 2 rows are invalid; nothing was recorded. Write 0.855, or add --percent to read 85% and 85 as 0.85.
  line 3: Invalid session_success_rate '90%': expected a rate from 0 to 1, not a percentage. Write 0.9, or add --percent to read 85% and 85 as 0.85.
""")
    assert says(run(*command, "--percent").stdout) == snapshot(
        "2 checkpoints recorded, 0 already recorded (read as semicolon-separated with decimal commas)\n"
    )
    assert [row["session_success_rate"] for row in read_json("checkpoint", "list", NAME)] == [0.855, 0.9]
    assert read_json(*command, "--percent")["read_as"] == "semicolon-separated with decimal commas"


# --- the log and the projection ---------------------------------------------------------------------------------------------------------


def test_log_export_and_import() -> None:
    """Files and pipes work; a second import changes nothing; skipped and changed events are counted on standard error."""
    assert run("log", "import", REAL).stdout == "43 events appended, 0 skipped\n"
    assert read_json("log", "import", "-", stdin=REAL.read_bytes()) == {"appended": 0, "skipped": 43}
    kit = evalkit.connect()
    kit.engine.log.append([EncodedEvent("", "", data) for data in (b"no JSON", b"{}", b'{"event_id":\n"%s"}' % new_id().encode())])
    exported = run("log", "export", "-")
    assert exported.stdout_bytes.splitlines()[:43] == REAL.read_bytes().splitlines()
    assert exported.stderr.splitlines() == snapshot(
        [
            "warning: 1 event skipped: not valid JSON.",
            "warning: 1 event skipped: no version 7 event id, which an import requires.",
            "warning: 1 event changed: line breaks between values replaced with spaces.",
        ]
    )
    assert run("log", "export", "backup.ndjson").stdout == "44 events written to backup.ndjson\n"
    assert Path("backup.ndjson").read_bytes() == exported.stdout_bytes
    assert read_json("log", "export", "again.ndjson") == {
        "exported": 44,
        "respaced": 1,
        "not_json": 1,
        "without_event_id": 1,
        "left_out": {},
    }


def test_log_export_for_other_programs() -> None:
    """--seed-kinds leaves out what they cannot read, and counts it by reason on standard error, or as data."""
    kit = started()
    kit.record_checkpoint(NAME, metrics())  # most metrics are missing
    kit.define_metric(NAME, "tool_calls", "tool_errors")
    kit.engine.log.append([EncodedEvent("", "", b'{"event_id":"%s"}' % new_id().encode())])
    kit.close()
    exported = run("log", "export", "--seed-kinds", "-")
    assert [json.loads(line)["event"]["type"] for line in exported.stdout.splitlines()] == ["study_created", "study_started"]
    assert exported.stderr.splitlines() == snapshot(
        [
            "warning: 2 events left out: a kind that only evalkit reads.",
            "warning: 1 event left out: the checkpoint has missing metrics.",
            "warning: 1 event left out: not a valid event of a known kind.",
        ]
    )
    assert read_json("log", "export", "seed.ndjson", "--seed-kinds") == snapshot(
        {
            "exported": 2,
            "respaced": 0,
            "not_json": 0,
            "without_event_id": 0,
            "left_out": {"missing_metrics": 1, "other_kind": 2, "invalid": 1},
        }
    )
    assert read_json("--home", "other", "log", "import", "seed.ndjson") == {"appended": 2, "skipped": 0}


def test_projection_commands_update_rebuild_and_verify() -> None:
    """Each command prints the state of the read model, and --expect compares a digest."""
    started().close()
    Path(".evalkit/evalkit.db").unlink()
    assert run("projection", "catch-up").stdout == "2 events applied (2 in the log, 0 pending)\n"
    assert read_json("projection", "catch-up") == {"applied": 0, "events": 2, "lag": 0}
    assert re.search(r"^generation +1$", run("projection", "status").stdout, re.MULTILINE)
    assert re.search(r"^lag_by_partition +0$", run("doctor").stdout, re.MULTILINE)
    assert run("doctor").stdout.endswith("\n\nNo problems found.\n")
    assert run("projection", "rebuild").stdout == "2 events replayed (generation 2)\n"
    status = read_json("projection", "status")
    assert (status["generation"], status["lag"], status["studies"], status["problems"]) == (2, 0, 1, [])
    digest = read_json("projection", "verify")["digest"]
    assert digest in run("projection", "verify", "--expect", digest).stdout
    error = run("projection", "verify", "--expect", "abc", code=1).stderr
    assert digest in error
    assert "abc" in error


def test_projection_verify_reports_a_difference() -> None:
    """The error names the row; --json also prints the result; a rebuild fixes the read model."""
    started().close()
    with closing(sqlite3.connect(".evalkit/evalkit.db")) as connection, connection:
        connection.execute("UPDATE studies SET name = 'forged'")
    result = run("projection", "verify", code=1)
    assert result.stdout == ""
    assert re.fullmatch(r"error: .* studies .* name\.?\n", result.stderr)
    comparison = read_json("projection", "verify", code=1)
    assert comparison["ok"] is False
    assert "name" in comparison["difference"]
    run("projection", "rebuild")
    assert read_json("projection", "verify")["ok"] is True


def test_rebuild_from_another_log_requires_an_option() -> None:
    """The error names the option; with it, the read model is rebuilt from the other log."""
    started().close()
    run("--home", "other", "log", "import", REAL)
    urls = ["--log-url", f"sqlite:{Path('other/events.db').absolute()}", "--database-url", f"file:{Path('.evalkit/evalkit.db').absolute()}"]
    assert "--adopt-log" in run(*urls, "projection", "rebuild", code=1).stderr
    assert read_json(*urls, "projection", "rebuild", "--adopt-log")["events"] == 43
    assert len(read_json(*urls, "study", "list")) > 1


# --- options, streams, exit codes -------------------------------------------------------------------------------------------------------


PRINTING = [
    "study create other --period weekly:2", f"study start pending --at {DAY.isoformat()}", "study pause 'nightly agent'", "study list",
    "study show 'nightly agent'", "checkpoint record 'nightly agent' --metrics one.json", "checkpoint list 'nightly agent'",
    "checkpoint export out.csv", "checkpoint import in.ndjson --study 'nightly agent'", "log export out.ndjson", f"log import {REAL}",
    "projection status", "projection catch-up", "projection rebuild", "projection verify", "doctor", "demo", "report 'nightly agent' -o out.md", "--version",
    "study rename 'nightly agent' new", "study edit 'nightly agent' --tag x", "study archive 'nightly agent'",
    "study unarchive 'nightly agent'", "metric define 'nightly agent' retries --kind count --better down", "metric list",
    "note add 'nightly agent' text", "note list", "checkpoint amend 'nightly agent' --key k total_cost=2 --reason r",
    "checkpoint explain 'nightly agent' --key k", "checkpoint retract 'nightly agent' --key k --reason r", "pin", "changes --since 2026-01-01T00:00:00Z", "mirror",
    "collect 'nightly agent' --from records:runs.csv",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("command", PRINTING)
def test_json_output_is_one_document(command: str) -> None:
    """With --json, before or after the command, standard output is one JSON document that is not empty."""
    kit = started("nightly agent")
    kit.create_study("pending", at=DAY)
    kit.record_checkpoint(NAME, metrics(5), key="k")
    kit.define_metric(NAME, "tool_calls")
    kit.note(NAME, "note")
    Path("one.json").write_text(json.dumps(metrics()))
    Path("in.ndjson").write_text(json.dumps(metrics(1)))
    Path("runs.csv").write_text(f"session_id,outcome,ended_at\na,passed,{DAY.isoformat()}\n")
    words = shlex.split(command)
    assert json.loads(run("--json", *words).stdout)
    if words[1:] in (["list"], ["status"], ["verify"]) or words[0] == "demo":
        assert json.loads(run(*words, "--json").stdout)


def test_json_output_is_tested_for_every_command() -> None:
    """`PRINTING` has every command, except those that share an implementation with another one."""
    named = {
        " ".join(words[:2] if len(words) > 1 and words[0] in ("study", "checkpoint", "metric", "note", "log", "projection") else words[:1])
        for words in map(shlex.split, PRINTING)
    }
    equivalent = {"study resume", "study stop"}  # same implementation as start and pause
    assert {path for path, _ in commands()} - {"consume"} - equivalent == named - {"--version"}


def commands(group: Any = None, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in (group or get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


def test_every_command_has_a_summary_and_a_valid_example() -> None:
    """The summary is one sentence on one line, every option has a help text, and the example is a valid call of the command."""
    for path, command in commands():
        first, *_, example = [part for part in command.help.split("\n\n") if part.strip()]
        assert first.endswith(".")
        assert len(first) <= 65  # not truncated in the list of commands
        assert all(parameter.help for parameter in command.params if parameter.name != "help"), path
        words = shlex.split(example.strip().removeprefix("Example: evalkit "))
        assert " ".join(words).startswith(path), path
        command.make_context(path, words[len(path.split()) :], resilient_parsing=False, parent=None)
        assert "Example: evalkit" in re.sub(r"\s+", " ", run(*path.split(), "--help").stdout)


def test_help_documents_the_exit_codes() -> None:
    """They are listed at the end of the main help."""
    text = re.sub(r"\s+", " ", run("--help").stdout)
    assert all(f"{code} " in text[text.index("Exit codes: ") :] for code in (0, 1, 2, 130, 141))


ERRORS = {
    "study show nothing": snapshot("error: No study matches 'nothing'. Most recent studies: 'nightly agent'.\n"),
    "study start 'nightly agent'": snapshot(
        "error: Cannot start study 'nightly agent': it is running (must be pending). Next: evalkit study pause 'nightly agent' or evalkit study stop 'nightly agent'\n"
    ),
    "study create 'nightly agent'": snapshot(
        "error: Study 'nightly agent' already exists (running, created 2026-01-31). Choose another name, or open it: --if-exists open.\n"
    ),
    "study create x --period yearly": snapshot(
        "error: Invalid period 'yearly': expected hourly, daily, weekly or monthly, optionally with a count ('weekly:2').\n"
    ),
    "study create x --at tomorrow": snapshot("error: Invalid at='tomorrow': not an ISO 8601 time; expected e.g. '2026-01-31T00:00:00Z'.\n"),
    "study create x --at 2026-01-01T00:00:00": snapshot(
        "error: Invalid at='2026-01-01T00:00:00': no time zone; expected e.g. '2026-01-31T00:00:00Z'.\n"
    ),
    "study create ''": snapshot("error: Invalid name '': empty; at least one visible character is required.\n"),
    "study stop 'nightly agent' --at 2020-01-01T00:00:00Z": snapshot(
        "error: Invalid at='2020-01-01T00:00:00Z': before the study's last lifecycle event (2026-01-31T00:00:00Z).\n"
    ),
    "checkpoint record 'nightly agent' --metrics none.json": snapshot("error: Cannot read 'none.json': the file does not exist.\n"),
    "checkpoint record 'nightly agent' --metrics bad.json": snapshot(
        "error: bad.json: Unknown metric 'a'. Valid metrics: sessions_completed, session_success_rate, avg_session_duration, tasks_completed, first_attempt_success_rate, avg_iterations_to_success, agent_efficiency, tool_success_rate, self_correction_rate, swarm_coordination_overhead, parallelism_efficiency, learnings_applied, learning_effectiveness, total_tokens, total_cost, cost_per_successful_task; and period_start, period_end, timestamp, events_analyzed, sessions_included, recorded_at, key. To record it as a custom metric, define it with: evalkit metric define STUDY a --kind KIND --better DIRECTION, or add --define auto.\n"
    ),
    "checkpoint record 'nightly agent' --metrics list.json": snapshot(
        'error: list.json: expected a JSON object, e.g. {"period": ["2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z"], "session_success_rate": 0.85}.\n'
    ),
    "checkpoint record 'nightly agent' --metrics .": snapshot("error: Cannot read '.': it is a folder.\n"),
    "checkpoint export out.xlsx": snapshot(
        "error: Unsupported file extension in 'out.xlsx'; expected .csv, .tsv, .ndjson, .jsonl, .json or .parquet, each optionally followed by .gz.\n"
    ),
    "checkpoint import none.csv --study 'nightly agent'": snapshot("error: Cannot read 'none.csv': the file does not exist.\n"),
    "log import none.ndjson": snapshot("error: Cannot read 'none.ndjson': the file does not exist.\n"),
    "log import bad.json": snapshot(
        "error: bad.json, line 1: invalid JSON at column 6. No events were appended. Import a file that evalkit log export wrote.\n"
    ),
    "log export none/out.ndjson": snapshot(
        "error: Cannot write 'none/out.ndjson': folder 'none' does not exist. Create it, or choose another folder.\n"
    ),
    "--home bad.json study list": snapshot("error: Invalid home 'TMP/bad.json': it is a file, expected a folder.\n"),
    "--log-url ftp://me:hidden@x study list": snapshot(
        "error: Invalid log_url 'ftp://***@x': expected sqlite:PATH, iggy+tcp://USER:PASSWORD@HOST:PORT or iggy+tcp://TOKEN@HOST:PORT. Omit it to use the log in the home.\n"
    ),
    "--home none consume": snapshot(
        "error: No evalkit home found (searched TMP/none). Select one with --home DIR, or create one with: evalkit study create NAME.\n"
    ),
    "--home none log export -": snapshot(
        "error: No evalkit home found (searched TMP/none). Select one with --home DIR, or create one with: evalkit study create NAME.\n"
    ),
    "--home none projection rebuild": snapshot(
        "error: No evalkit home found (searched TMP/none). Select one with --home DIR, or create one with: evalkit study create NAME.\n"
    ),
    "demo --folder bad.json": snapshot("error: Invalid folder 'bad.json': this is a file; expected a folder.\n"),
}


@pytest.mark.parametrize("command", ERRORS)
def test_error_is_one_line_on_standard_error(tmp_path: Path, command: str) -> None:
    """Exit code 1, hints for the shell, nothing on standard output, no new home."""
    started()
    Path("bad.json").write_text('{"a": \nNaN}')
    Path("list.json").write_text("[1]")
    before = sorted(tmp_path.iterdir())
    result = run(*shlex.split(command), code=1)
    assert result.stdout == ""
    assert says(result.stderr) == ERRORS[command]
    assert result.stderr.count("\n") == 1
    assert not re.search(r"kit\.|datetime|hidden", result.stderr)
    assert sorted(tmp_path.iterdir()) == before


USAGE = [
    "", "--json", "study", "study make x", "study create", "study create x --meta k", "study create x --meta k=1 --meta k=2",
    "study create x --if-exists maybe", "checkpoint import in.csv", "--home here demo", "--json log export -", "projection verify --wrong",
    "study edit x", "study edit x --tag a --no-tags", "study edit x --meta k=1 --remove-meta k", "study edit x --meta k", "study rename x",
    "study create x --cadence weekly", "metric define x", "metric define x retries", "metric define x retries --kind count",
    "metric define x retries --kind counter --better down", "metric define x retries --kind count --better less",
    "metric define x --kind count", "metric define x a --kind rate --better up --rollup ratio", "metric define x a --low few",
    "note add x", "note add x text --category mood", "checkpoint amend a1b2 total_cost=1", "checkpoint amend a1b2 --reason r",
    "checkpoint amend a1b2 total_cost --reason r", "checkpoint amend a1b2 total_cost=1 total_cost=2 --reason r", "checkpoint retract a1b2",
    "checkpoint record x --metrics a.json --define all", "checkpoint list x --values last", "changes",
]  # fmt: skip


@pytest.mark.parametrize("command", USAGE)
def test_usage_error_is_exit_code_2(tmp_path: Path, command: str) -> None:
    """The usage is on standard error or, without a command, the help is printed; nothing is created."""
    result = run(*shlex.split(command), code=2)
    assert "Usage: evalkit" in result.output
    assert list(tmp_path.iterdir()) == []


def test_home_after_the_command_names_its_place(tmp_path: Path) -> None:
    assert "--home comes before the command: evalkit --home DIR study list" in run("study", "list", "--home", "here", code=2).stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "args",
    [
        ("study", "create", ""), ("study", "create", "x", "--period", "dayly"), ("study", "create", "x", "--at", "tomorrow"),
        ("study", "create", "x", "--meta", "model"), ("study", "create", "x", "--if-exists", "maybe"), ("study", "start", "x"),
        ("study", "stop", "x"), ("study", "show", "x"), ("checkpoint", "record", "x", "--metrics", "/dev/null"),
        ("checkpoint", "record", "x", "--metrics", "missing.json"), ("checkpoint", "list", "x"), ("checkpoint", "export", "runs.csv"),
        ("checkpoint", "import", "runs.csv", "--study", "x"), ("log", "import", "missing.ndjson"), ("log", "export", "out.ndjson"),
        ("log", "import", "bad.ndjson"), ("projection", "rebuild"), ("projection", "verify"), ("projection", "catch-up"), ("consume",),
        ("doctor",), ("report", "x", "-o", "report.html"), ("pin",), ("pin", "--save", "p.json"), ("study", "rename", "x", "y"),
        ("study", "edit", "x", "--tag", "y"), ("study", "archive", "x"), ("study", "unarchive", "x"), ("note", "add", "x", "text"),
        ("metric", "define", "x", "--standard", "tool_calls"), ("metric", "list", "x"), ("note", "list", "x"),
        ("checkpoint", "amend", "a1b2", "total_cost=1", "--reason", "r"), ("checkpoint", "retract", "a1b2", "--reason", "r"),
        ("checkpoint", "retract", "x", "--key", "k", "--reason", "r"), ("changes", "x", "--since", "2026-01-01T00:00:00Z"),
        ("study", "list", "--as-of", "none.json"), ("study", "create", "x", "--metric", "tool"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_failed_command_creates_nothing(args: tuple[str, ...], tmp_path: Path) -> None:
    """Without a home, a command that fails creates neither a home nor a file."""
    if "bad.ndjson" in args:
        Path("bad.ndjson").write_text("[]\n")
    before = list(tmp_path.rglob("*"))
    result = CliRunner().invoke(app, list(args), prog_name="evalkit", catch_exceptions=False)
    assert result.exit_code in (1, 2), result.output
    assert list(tmp_path.rglob("*")) == before


def test_warning_is_one_line_on_standard_error() -> None:
    """Listing studies without a home prints an empty list, and a warning with the searched folders."""
    result = run("study", "list")
    assert re.fullmatch(rf"warning: .*{Path.cwd()}/\.evalkit, .*--home DIR.*\n", result.stderr)
    assert read_json("study", "list") == []
    assert not Path(".evalkit").exists()
    started().record_checkpoint(NAME, metrics())
    Path("one.json").write_text(json.dumps(metrics()))
    result = run("checkpoint", "record", NAME, "--metrics", "one.json")
    assert re.match(r"warning: .*'nightly agent'.*2026-01-31", result.stderr)
    assert result.stderr.count("\n") == 1


def test_hints_are_quoted_for_the_shell() -> None:
    """The suggested command can be pasted into a shell, whatever characters the name has."""
    kit = evalkit.connect()
    for name in ("plain", "it's", 'say "hi"', 'it\'s "both"', "$(touch pwned) `touch pwned` \\", "back\\slash\\'", "ü n; touch pwned"):
        kit.create_study(name)
        result = run("checkpoint", "record", name, "--metrics", "-", stdin=json.dumps(metrics()), code=1)
        typed = result.stderr.strip().partition("Start it with: ")[2]
        assert shlex.split(typed) == ["evalkit", "study", "start", name]


def test_names_with_control_characters_are_printed_as_text() -> None:
    """Escape codes, line breaks and markup in a name from another log are printed as plain text on one line."""
    name = "\x1b[31mred\n[bold]x[/bold]\r\x9b2J"
    created = StudyCreated(id=new_id(), name=name, period_type=evalkit.PeriodType.DAILY, config=StudyConfig())
    event = StoredEvalEvent(event_id=event_id_at(10**12), event=created).to_wire()
    import_log(evalkit.connect().engine, io.BytesIO(event))
    for args, code in (
        ("study list", 0),
        (f"study show {created.id}", 0),
        (f"study start {created.id}", 0),
        (f"study start {created.id}", 1),
    ):
        output = run(*args.split(), code=code).output
        assert "[bold]x[/bold]" in output
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", output)
    assert len(run("study", "list").stdout.splitlines()) == 3
    assert read_json("study", "list")[0]["name"] == name


def test_options_take_precedence_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """--home, --log-url and --database-url override EVALKIT_HOME."""
    monkeypatch.setenv("EVALKIT_HOME", "from environment")
    run("study", "create", "a")
    run("--home", "from option", "study", "create", "b")
    run(
        "--home",
        "mixed",
        "--log-url",
        f"sqlite:{Path('log.db').absolute()}",
        "--database-url",
        f"file:{Path('rm.db').absolute()}",
        "study",
        "create",
        "c",
    )
    assert [row["name"] for row in read_json("study", "list")] == ["a"]
    assert [row["name"] for row in read_json("--home", "from option", "study", "list")] == ["b"]
    assert Path("log.db").exists()
    assert Path("rm.db").exists()


def test_argument_after_two_dashes_is_not_an_option() -> None:
    """A study may be named --json."""
    assert "--json: pending" in run("study", "create", "--", "--json").stdout


def test_heavy_packages_are_imported_on_demand() -> None:
    """Commands that print no frame do not import Polars, pandas or Rich."""
    code = (
        "import sys; from evalkit.cli.app import app; app(['--version'], standalone_mode=False); "
        "print([name for name in ('polars', 'pandas', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# --- processes, signals, pipes ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_process_exit_codes() -> None:
    """Real processes exit with 0, 1 and 2 without a traceback; errors and warnings are on standard error only."""
    assert finished("--version").stdout == f"evalkit {evalkit_version()}\n"
    done = finished("study", "show", "x")
    assert (done.returncode, done.stdout, done.stderr.count("error: "), done.stderr.count("warning: ")) == (1, "", 1, 1)
    done = finished("study", "create")
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (2, "", False)


def evalkit_version() -> str:
    from importlib.metadata import version

    return version("evalkit-studies")


@pytest.mark.slow
def test_log_can_be_piped_between_processes() -> None:
    """Export to standard output and import from standard input, which can be read only once."""
    run("--home", "a", "log", "import", REAL)
    pipe = f"{shlex.quote(str(EVALKIT))} --home a log export - | {shlex.quote(str(EVALKIT))} --home b log import -"
    assert (
        subprocess.run(["sh", "-c", pipe], capture_output=True, text=True, check=True, timeout=60).stdout
        == "43 events appended, 0 skipped\n"
    )
    assert Path("b/events.db").exists()


@pytest.mark.slow
def test_unicode_in_an_ascii_terminal() -> None:
    """Tables escape other characters, and JSON is still valid."""
    started("ünï 😀")
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    assert "\\xfcn\\xef" in finished("study", "list", env=ascii_only).stdout
    assert json.loads(finished("--json", "study", "list", env=ascii_only).stdout)[0]["name"] == "ünï 😀"


@pytest.mark.slow
@pytest.mark.parametrize("command", [["study", "list"], ["log", "export", "-"], ["consume"], ["--json", "projection", "status"]])
def test_closed_pipe_is_exit_code_141(command: list[str]) -> None:
    """A reader that stops, such as head, ends a command without an error message."""
    started()
    with child_of(*command) as child:
        child.stdout.close()  # type: ignore[union-attr]
        messages = [line for line in child.stderr if " info " not in line]  # type: ignore[union-attr]  (the log of consume)
        assert messages == []
        assert child.wait(60) == 141
        child.stdout = None


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_full_standard_output_is_an_error() -> None:
    """A command fails if its output cannot be written."""
    started()
    with Path("/dev/full").open("w") as full:
        for command in (["study", "list"], ["log", "export", "-"]):
            done = subprocess.run([EVALKIT, *command], stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
            assert (done.returncode, done.stderr) == (1, "error: [Errno 28] No space left on device\n")


@pytest.mark.slow
def test_closed_standard_output_is_accepted() -> None:
    """A command that is started with `>&-`, as by some schedulers, succeeds."""
    done = subprocess.run(["sh", "-c", f"{shlex.quote(str(EVALKIT))} study create a >&- 2>&-"], check=False, timeout=60)
    assert done.returncode == 0
    assert evalkit.connect().studies()["name"].to_list() == ["a"]


@contextmanager
def child_of(*args: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is killed at the end of the block."""
    child = process(*args)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def ended(child: subprocess.Popen[str], *, within: float) -> bool:
    try:
        child.wait(within)
    except subprocess.TimeoutExpired:
        return False
    return True


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_ctrl_c_is_exit_code_130() -> None:
    """A command that is interrupted while waiting for input ends without a traceback, and appends nothing."""
    kit = started()
    os.mkfifo("input.json")
    with child_of("checkpoint", "record", NAME, "--metrics", "input.json") as child, Path("input.json").open("w"):
        # The pipe opened, so the command is about to read it. A signal that comes just before it sleeps is seen with the next one.
        wait_until(lambda: child.send_signal(signal.SIGINT) or ended(child, within=2))
        assert (child.returncode, *child.communicate()) == (130, "", "")
    assert kit.checkpoints().height == 0


def applied() -> int:
    """The number of applied events, read without updating the read model."""
    with closing(sqlite3.connect("file:.evalkit/evalkit.db?mode=ro", uri=True)) as connection:
        try:
            return int(connection.execute("SELECT next FROM positions").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_consume_applies_events_until_a_signal(number: signal.Signals) -> None:
    """It prints one line after catching up, applies events of other processes, and ends with exit code 0."""
    kit = started()
    first, second = kit.engine.log.consumer("test").poll(10, 0)
    kit.close()
    Path(".evalkit/evalkit.db").unlink()
    with child_of("consume") as child:
        assert child.stdout.readline() == "Caught up (2 events applied). Waiting for new events; press Ctrl-C to stop.\n"  # type: ignore[union-attr]
        assert applied() == 2
        messages = [EncodedEvent("", "", b"%d" % index) for index in range(3)]
        kit.engine.log.append(messages)
        wait_until(lambda: applied() == 5)
        child.send_signal(number)
        rest, log = child.communicate(timeout=30)
        assert (rest, child.returncode) == ("", 0)
    assert [line.split()[1:3] for line in log.splitlines()] == [["info", event] for event in ("started", "applied", "applied", "stopped")]
    assert "events=3 total=5" in log
    assert kit.verify().ok
    assert [record.data for record in kit.engine.log.consumer("test").poll(10, 0)][:2] == [first.data, second.data]


def signal_in_the_second_batch(monkeypatch: pytest.MonkeyPatch, *numbers: signal.Signals) -> None:
    """Send signals to this process while the second batch is being applied."""
    apply, calls = EvalProjection.apply, iter(range(100))

    def interrupted(self: EvalProjection, *args: Any) -> Any:
        if next(calls) == 1:
            for number in numbers:
                os.kill(os.getpid(), number)
        return apply(self, *args)

    monkeypatch.setattr(EvalProjection, "apply", interrupted)


@pytest.mark.slow
def test_consume_finishes_the_current_batch_after_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal during the first catch-up ends it after the current batch, without the message that it caught up."""
    kit = started()
    kit.engine.log.append([EncodedEvent("", "", b"%d" % index) for index in range(9000)])
    before = signal.getsignal(signal.SIGTERM)
    signal_in_the_second_batch(monkeypatch, signal.SIGTERM)
    result = run("consume")
    assert result.stdout == ""
    assert re.search(r"info stopped applied=6000$", result.stderr)
    assert applied() == 6002
    assert signal.getsignal(signal.SIGTERM) == before
    assert kit.verify().ok


@pytest.mark.slow
def test_consume_ends_immediately_on_a_second_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The current batch is rolled back, and the exit code is 130."""
    kit = started()
    kit.engine.log.append([EncodedEvent("", "", b"%d" % index) for index in range(4000)])
    signal_in_the_second_batch(monkeypatch, signal.SIGINT, signal.SIGINT)
    assert run("consume", code=130).stdout == ""
    assert applied() == 1002
    assert kit.verify().ok


@pytest.mark.slow
def test_consume_prints_json_on_request() -> None:
    """Standard output is one document; each line of the log is another one."""
    started()
    with child_of("--json", "consume") as child:
        assert json.loads(child.stdout.readline()) == {"caught_up": True, "applied": 0}  # type: ignore[union-attr]
        child.terminate()
        rest, log = child.communicate(timeout=30)
        assert (rest, child.returncode) == ("", 0)
        assert [json.loads(line)["event"] for line in log.splitlines()] == ["started", "stopped"]


@pytest.mark.slow
def test_consume_requires_a_home(tmp_path: Path) -> None:
    """The error names every searched folder, and no home is created."""
    done = finished("consume")
    assert done.returncode == 1
    assert all(str(folder / ".evalkit") in done.stderr for folder in (tmp_path, *tmp_path.parents))
    assert list(tmp_path.iterdir()) == []


def test_record_reads_dates_in_a_time_zone() -> None:
    """The end of a period is derived; a day without a clock change has 24 hours, and this one 23."""
    run("study", "create", "local")
    run("study", "start", "local")
    day = {"period_start": "2026-03-29", "total_cost": 1}
    refused = run("checkpoint", "record", "local", "--metrics", "-", stdin=json.dumps(day), code=1)
    assert "--tz" in refused.stderr
    recorded = read_json("checkpoint", "record", "local", "--metrics", "-", "--tz", "Europe/Berlin", stdin=json.dumps(day))
    assert (recorded["period_start"], recorded["period_end"]) == ("2026-03-28T23:00:00.000000Z", "2026-03-29T22:00:00.000000Z")
    week = json.dumps(day | {"period_start": "2026-W05"})
    assert "period_start" in run("checkpoint", "record", "local", "--metrics", "-", "--tz", "UTC", stdin=week, code=1).stderr
