"""The command line: what each command prints, on which stream, and with which exit code; signals and pipes with real processes."""

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
from typer.main import get_command
from typer.testing import CliRunner, Result

import evalkit
from evalkit.cli.app import app
from evalkit.domain.events import EncodedEvent, StoredEvalEvent, StudyCreated
from evalkit.domain.ids import event_id_at, new_id
from evalkit.domain.study import StudyConfig
from evalkit.io.log_files import import_log
from evalkit.readmodel.projection import EvalProjection

EVALKIT = Path(sys.executable).parent / "evalkit"
REAL = Path(__file__).parent / "data" / "wire_events.ndjson"
NAME = "nightly agent"
DAY = datetime(2026, 1, 31, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test stands in a folder of its own, and no setting of evalkit is in the environment."""
    for name in [name for name in os.environ if name.startswith("EVALKIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def run(*args: str | Path, stdin: str | bytes | None = None, code: int = 0) -> Result:
    """Run a command in this process."""
    result = CliRunner().invoke(app, [str(arg) for arg in args], input=stdin, prog_name="evalkit", catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def read_json(*args: str | Path, **more: Any) -> Any:
    """Run a command with --json; standard output must be one JSON document, and nothing else."""
    return json.loads(run("--json", *args, **more).stdout)


def process(*args: str | Path, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([EVALKIT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def finished(*args: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([EVALKIT, *args], capture_output=True, text=True, check=False, timeout=60, **more)


def started(name: str = NAME) -> evalkit.EvalKit:
    """A kit on ./.evalkit with a running study that plans 30 days."""
    kit = evalkit.connect()
    kit.create_study(name, period="daily:30", tags=["a", "b"], metadata={"model": "m-1"}, description="What it is about", at=DAY)
    kit.start_study(name, at=DAY)
    return kit


def metrics(day: int = 0, **more: Any) -> dict[str, Any]:
    start = DAY + timedelta(days=day)
    return {"period": [start.isoformat(), (start + timedelta(days=1)).isoformat()], "session_success_rate": 0.85, **more}


# --- studies and checkpoints ------------------------------------------------------------------------------------------------------------


def test_a_study_from_its_creation_to_its_end() -> None:
    """Every lifecycle command does what its name says, at the time given, and says what the study is now."""
    options = ["--period", "weekly:2", "--description", "d", "--tag", "x", "--tag", "y", "--meta", "model=m=1", "--meta", "k="]
    assert run("study", "create", NAME, *options, "--at", "2026-01-01T00:00:00+01:00").stdout.startswith(
        "nightly agent: pending, weekly:2, id "
    )
    for day, (command, status) in enumerate([("start", "running"), ("pause", "paused"), ("resume", "running"), ("stop", "stopped")], 2):
        assert run("study", command, NAME, "--at", f"2026-01-0{day}T00:00:00Z").stdout == f"nightly agent: {status}, weekly:2\n"
    (study,) = evalkit.connect().storage.list_studies()
    assert study.config.model_dump() == {"description": "d", "tags": ["x", "y"], "metadata": {"model": "m=1", "k": ""}}
    assert study.created_at == datetime(2025, 12, 31, 23, tzinfo=UTC)
    assert evalkit.connect().lifecycle()["at"].dt.day().to_list() == [31, 2, 3, 4, 5]


def test_a_study_answers_to_the_end_of_its_id() -> None:
    """REF is a name, an id, or the last characters of one, which a list shows."""
    kit = started()
    shown = run("study", "list").stdout.split("…")[1].strip()
    assert kit.resolve(NAME).id.endswith(shown)
    assert run("study", "pause", shown[-4:]).stdout == "nightly agent: paused, daily:30\n"
    assert read_json("study", "show", kit.resolve(NAME).id)["name"] == NAME


def test_an_existing_study_is_opened_when_asked() -> None:
    """--if-exists open gives the study that is there; without it the name is refused, and the message says how to open it."""
    first = read_json("study", "create", NAME)
    assert read_json("study", "create", NAME, "--if-exists", "open")["study_id"] == first["study_id"]
    assert "--if-exists open" in run("study", "create", NAME, code=1).stderr
    assert "given now is ignored" in run("study", "create", NAME, "--if-exists", "open", "--period", "hourly").stderr


def test_studies_are_listed_newest_first_and_by_status() -> None:
    """The table has a line a study; --status leaves the others out."""
    kit = started("old")
    kit.create_study("new", at=DAY + timedelta(days=1))
    lines = run("study", "list").stdout.splitlines()
    assert [line.split()[:3] for line in lines[2:]] == [["new", "pending", "daily"], ["old", "running", "daily:30"]]
    assert [row["name"] for row in read_json("study", "list", "--status", "running")] == ["old"]
    assert run("study", "list", "--status", "stopped").stdout.count("\n") == 2
    assert "'pending', 'running', 'paused', 'stopped'" in run("study", "list", "--status", "ended", code=2).stderr


def test_a_study_is_shown_with_its_lifecycle_and_its_last_checkpoints() -> None:
    """Details, "3 of 30" periods however many checkpoints a period has, the lifecycle, and at most five checkpoints."""
    kit = started()
    assert "No checkpoints yet." in run("study", "show", NAME).stdout
    for day in (0, 1, 2, 2):
        kit.record_checkpoint(NAME, metrics(day), key=f"{day} {kit.status().checkpoints}")
    text = run("study", "show", NAME).stdout
    for part in ("period       daily, 3 of 30", "description  What it is about", "tags         a, b", "metadata     model=m-1", "85.0%"):
        assert part in text
    data = read_json("study", "show", NAME)
    assert (data["periods_recorded"], data["period_value"], data["metadata"], data["tags"]) == (3, 30, {"model": "m-1"}, ["a", "b"])
    assert [event["kind"] for event in data["lifecycle"]] == ["study_created", "study_started"]
    assert len(data["last_checkpoints"]) == 4
    kit.create_study("open end")
    assert "daily, 0 until stopped" in run("study", "show", "open end").stdout


def test_a_checkpoint_is_recorded_from_a_file_and_from_standard_input() -> None:
    """The same content under the same key is recorded once; other content is a conflict; the time of recording can be given."""
    kit = started()
    Path("one.json").write_text(json.dumps(metrics(total_tokens=2**53 + 1, avg_session_duration=[1, 500])))
    assert run("checkpoint", "record", NAME, "--metrics", "one.json", "--key", "k", "--at", "2026-02-02T00:00:00Z").stdout == (
        "Checkpoint([2026-01-31 00:00 .. 2026-02-01 00:00) UTC, 3 of 16 metrics)\n"
    )
    again = read_json("checkpoint", "record", NAME, "--metrics", "-", "--key", "k", stdin=b"\xef\xbb\xbf" + Path("one.json").read_bytes())
    assert again["already_recorded"] is True
    assert (again["total_tokens"], again["avg_session_duration"], again["recorded_at"]) == (
        2**53 + 1,
        [1, 0],
        "2026-02-02T00:00:00.000000Z",
    )
    error = run("checkpoint", "record", NAME, "--metrics", "-", "--key", "k", stdin=json.dumps(metrics(total_tokens=1)), code=1).stderr
    assert "'k' stands for a checkpoint with other content" in error
    assert kit.checkpoints().height == 1


def test_checkpoints_are_listed_in_the_formats_of_the_catalogue() -> None:
    """Rates are percentages, money dollars, counts have commas; what was not measured is a dash; a line is a line when nobody looks."""
    kit = started()
    kit.record_checkpoint(NAME, metrics(total_tokens=1234567, total_cost=12.5))
    kit.record_checkpoint(NAME, metrics(1))
    lines = run("checkpoint", "list", NAME).stdout.splitlines()
    assert lines[2].split()[:6] == ["2026-01-31", "-", "85.0%", "1,234,567", "$12.50", "-"]
    assert lines[3].split()[:6] == ["2026-02-01", "-", "85.0%", "-", "-", "-"]
    assert len(lines) == 4
    assert [row["total_cost"] for row in read_json("checkpoint", "list", NAME)] == [12.5, None]


@pytest.mark.parametrize("extension", ["csv", "parquet", "ndjson"])
def test_checkpoints_go_from_home_to_home_in_a_file(extension: str) -> None:
    """Export here, import there, twice: the same checkpoints, once."""
    kit = started()
    kit.record_checkpoints(NAME, [{**metrics(day), "key": str(day), "sessions_included": ["é,"]} for day in range(3)])
    kit.create_study("other")
    file = f"out.{extension}"
    assert run("checkpoint", "export", file, "--study", NAME).stdout == f"3 checkpoints written to {file}\n"
    for command in (["create", NAME], ["start", NAME]):
        run("--home", "there", "study", *command)
    assert run("--home", "there", "checkpoint", "import", file, "--study", NAME).stdout == "3 recorded, 0 already recorded\n"
    assert read_json("--home", "there", "checkpoint", "import", file, "--study", NAME) == {"recorded": 0, "already_recorded": 3}
    drop = ["study_id", "checkpoint_id"]
    assert evalkit.connect("there").checkpoints().drop(drop).equals(kit.checkpoints().drop(drop))


# --- the log and the projection ---------------------------------------------------------------------------------------------------------


def test_the_log_goes_out_and_in() -> None:
    """A file or standard output, a file or standard input; twice changes nothing; what is left out is counted on standard error."""
    assert run("log", "import", REAL).stdout == "43 appended, 0 skipped\n"
    assert read_json("log", "import", "-", stdin=REAL.read_bytes()) == {"appended": 0, "skipped": 43}
    kit = evalkit.connect()
    kit.engine.log.append([EncodedEvent("", "", data) for data in (b"no JSON", b"{}", b'{"event_id":\n"%s"}' % new_id().encode())])
    exported = run("log", "export", "-")
    assert exported.stdout_bytes.splitlines()[:43] == REAL.read_bytes().splitlines()
    assert [line[:40] for line in exported.stderr.splitlines()] == [
        "warning: 1 events are not JSON, and were",
        "warning: 1 events have no version 7 even",
        "warning: 1 events had line breaks betwee",
    ]
    assert run("log", "export", "backup.ndjson").stdout == "44 events written to backup.ndjson\n"
    assert Path("backup.ndjson").read_bytes() == exported.stdout_bytes
    assert read_json("log", "export", "again.ndjson") == {"exported": 44, "respaced": 1, "not_json": 1, "without_event_id": 1}


def test_the_read_model_is_caught_up_rebuilt_and_verified() -> None:
    """Status, catch-up, rebuild and verify say how far it is, and a digest that was noted can be compared."""
    started().close()
    Path(".evalkit/evalkit.db").unlink()
    assert run("projection", "catch-up").stdout == "2 events applied; 2 in the log, 0 behind\n"
    assert read_json("projection", "catch-up") == {"applied": 0, "events": 2, "lag": 0}
    assert re.search(r"^generation +1$", run("projection", "status").stdout, re.MULTILINE)
    assert re.search(r"^lag_by_partition +0$", run("doctor").stdout, re.MULTILINE)
    assert run("doctor").stdout.endswith("Nothing is wrong.\n")
    assert run("projection", "rebuild").stdout == "2 events replayed; generation 2\n"
    status = read_json("projection", "status")
    assert (status["generation"], status["lag"], status["studies"], status["problems"]) == (2, 0, 1, [])
    digest = read_json("projection", "verify")["digest"]
    assert run("projection", "verify", "--expect", digest).stdout == f"The read model is what the log says. Digest {digest}\n"
    assert f"its digest is {digest}, not abc" in run("projection", "verify", "--expect", "abc", code=1).stderr


def test_a_read_model_that_differs_is_found() -> None:
    """verify names the row, exits with 1, and with --json prints the finding as well; a rebuild mends it."""
    started().close()
    with closing(sqlite3.connect(".evalkit/evalkit.db")) as connection, connection:
        connection.execute("UPDATE studies SET name = 'forged'")
    result = run("projection", "verify", code=1)
    assert result.stdout == ""
    assert re.fullmatch(r"error: The read model differs from the log.*: studies \S+: other values in name\.\n", result.stderr)
    found = read_json("projection", "verify", code=1)
    assert found["ok"] is False
    assert "other values in name" in found["difference"]
    run("projection", "rebuild")
    assert read_json("projection", "verify")["ok"] is True


def test_another_log_is_adopted_only_when_asked() -> None:
    """A rebuild from another log is refused, with the option to add; with it, the read model is that log's."""
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
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("command", PRINTING)
def test_json_is_one_document_whatever_is_printed(command: str) -> None:
    """With --json, before the command or after it, standard output is one JSON document that is not empty."""
    kit = started("nightly agent")
    kit.create_study("pending", at=DAY)
    kit.record_checkpoint(NAME, metrics(5))
    Path("one.json").write_text(json.dumps(metrics()))
    Path("in.ndjson").write_text(json.dumps(metrics(1)))
    words = shlex.split(command)
    assert json.loads(run("--json", *words).stdout)
    if words[1:] in (["list"], ["status"], ["verify"]) or words[0] == "demo":
        assert json.loads(run(*words, "--json").stdout)


def test_every_printing_command_is_in_the_table_above() -> None:
    """A new command is added to the table, or to the two that are tested on their own."""
    named = {
        " ".join(words[:2] if len(words) > 1 and words[0] in ("study", "checkpoint", "log", "projection") else words[:1])
        for words in map(shlex.split, PRINTING)
    }
    alike = {"study resume", "study stop"}  # of one piece with start and pause
    assert {path for path, _ in commands()} - {"consume"} - alike == named - {"--version"}


def commands(group: Any = None, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in (group or get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


def test_every_command_has_one_line_of_help_and_an_example_of_itself() -> None:
    """The first line is a sentence, and the example parses as a call of that very command."""
    for path, command in commands():
        first, example = [part for part in command.help.split("\n\n") if part.strip()]
        assert first.endswith((".", "}."))
        words = shlex.split(example.strip().removeprefix("Example: evalkit "))
        assert " ".join(words).startswith(path), path
        command.make_context(path, words[len(path.split()) :], resilient_parsing=False, parent=None)
        assert "Example: evalkit" in re.sub(r"\s+", " ", run(*path.split(), "--help").stdout)


ERRORS = {
    "study show nothing": "No study answers to 'nothing'. The newest are 'nightly agent'",
    "study start 'nightly agent'": "Next: evalkit study pause 'nightly agent' or evalkit study stop 'nightly agent'",
    "study create 'nightly agent'": "Choose another name, or open it: --if-exists open",
    "study create x --period yearly": "period: 'yearly' is none of hourly, daily, weekly, monthly",
    "study create x --at tomorrow": "at: 'tomorrow' is no RFC 3339 time; give a time with a time zone, as in '2026-01-31T00:00:00Z'.",
    "study create x --at 2026-01-01T00:00:00": "has no time zone",
    "study create ''": "name: '' is empty",
    "study stop 'nightly agent' --at 2020-01-01T00:00:00Z": "lies before the study's last lifecycle event",
    "checkpoint record 'nightly agent' --metrics none.json": "none.json cannot be read: No such file or directory",
    "checkpoint record 'nightly agent' --metrics bad.json": "bad.json cannot be read: ",
    "checkpoint record 'nightly agent' --metrics list.json": "metrics: [1] is no mapping",
    "checkpoint record 'nightly agent' --metrics .": ". cannot be read: Is a directory",
    "checkpoint export out.xlsx": "ends in none of .csv, .parquet and .ndjson",
    "checkpoint import none.csv --study 'nightly agent'": "none.csv cannot be read: No such file or directory",
    "log import none.ndjson": "none.ndjson cannot be read: No such file or directory",
    "log import bad.json": "line 1 is not JSON",
    "log export none/out.ndjson": "none/out.ndjson cannot be written: No such file or directory",
    "--home bad.json study list": "is a file; give a folder.",
    "--log-url ftp://me:hidden@x study list": "log_url: 'ftp://***@x' is no event log",
    "--home none consume": "There is no evalkit home. Looked in ",
    "--home none log export -": "There is no evalkit home. Looked in ",
    "--home none projection rebuild": "There is no evalkit home. Looked in ",
    "demo --folder bad.json": "folder: 'bad.json' is a file; give a folder.",
}


@pytest.mark.parametrize("command", ERRORS)
def test_an_error_is_one_line_on_standard_error(tmp_path: Path, command: str) -> None:
    """Exit code 1, "error: ..." in words for a shell, nothing on standard output, no new home."""
    started()
    Path("bad.json").write_text('{"a": \nNaN}')
    Path("list.json").write_text("[1]")
    before = sorted(tmp_path.iterdir())
    result = run(*shlex.split(command), code=1)
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert ERRORS[command] in result.stderr
    assert result.stderr.count("\n") == 1
    assert not re.search(r"kit\.|datetime|hidden", result.stderr)
    assert sorted(tmp_path.iterdir()) == before


USAGE = [
    "", "--json", "study", "study make x", "study create", "study create x --meta k", "study create x --meta k=1 --meta k=2",
    "study create x --if-exists maybe", "checkpoint import in.csv", "--home here demo", "--json log export -", "projection verify --wrong",
]  # fmt: skip


@pytest.mark.parametrize("command", USAGE)
def test_a_wrong_call_is_exit_code_2(tmp_path: Path, command: str) -> None:
    """Usage on standard error or, without any command, the help; nothing is made."""
    result = run(*shlex.split(command), code=2)
    assert "Usage: evalkit" in result.output
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
        ("doctor",), ("report", "x", "-o", "report.html"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_refused_command_leaves_nothing(args: tuple[str, ...], tmp_path: Path) -> None:
    """Where there is no home, a command that is refused creates neither a home nor a file."""
    if "bad.ndjson" in args:
        Path("bad.ndjson").write_text("[]\n")
    before = list(tmp_path.rglob("*"))
    result = CliRunner().invoke(app, list(args), prog_name="evalkit", catch_exceptions=False)
    assert result.exit_code in (1, 2), result.output
    assert list(tmp_path.rglob("*")) == before


def test_a_warning_is_one_line_on_standard_error() -> None:
    """Listing studies where there is no home is no error: an empty list, and a warning that names the folders."""
    result = run("study", "list")
    assert re.fullmatch(rf"warning: There is no evalkit home yet\. Looked in {Path.cwd()}/\.evalkit, .*--home DIR\n", result.stderr)
    assert read_json("study", "list") == []
    assert not Path(".evalkit").exists()
    started().record_checkpoint(NAME, metrics())
    Path("one.json").write_text(json.dumps(metrics()))
    result = run("checkpoint", "record", NAME, "--metrics", "one.json")
    assert result.stderr.startswith("warning: The study 'nightly agent' has a checkpoint for the period [2026-01-31T00:00, ")
    assert result.stderr.count("\n") == 1


def test_the_words_for_python_become_words_for_a_shell() -> None:
    """The command to type next stands as a shell takes it, whatever is in the name: pasted, it does that and nothing else."""
    kit = evalkit.connect()
    for name in ("plain", "it's", 'say "hi"', 'it\'s "both"', "$(touch pwned) `touch pwned` \\", "back\\slash\\'", "ü n; touch pwned"):
        kit.create_study(name)
        result = run("checkpoint", "record", name, "--metrics", "-", stdin=json.dumps(metrics()), code=1)
        typed = result.stderr.strip().partition("Next: ")[2].partition(" or evalkit study stop ")[0]
        assert shlex.split(typed) == ["evalkit", "study", "start", name]
    assert (
        "evalkit study start plain or evalkit study stop plain"
        in run("checkpoint", "record", "plain", "--metrics", "-", stdin=json.dumps(metrics()), code=1).stderr
    )


def test_names_cannot_steer_a_terminal_or_the_layout() -> None:
    """A name from a foreign log with escape codes, line breaks and markup is shown as plain text on one line."""
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


def test_home_and_urls_are_taken_from_options_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """--home, --log-url and --database-url say where; EVALKIT_HOME where they do not."""
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


def test_an_argument_after_two_dashes_is_never_an_option() -> None:
    """A study may be called --json."""
    assert "--json: pending" in run("study", "create", "--", "--json").stdout


def test_the_command_line_imports_no_heavy_package_before_it_needs_it() -> None:
    """What prints no frame starts without Polars, Pandas and Rich."""
    code = (
        "import sys; from evalkit.cli.app import app; app(['--version'], standalone_mode=False); "
        "print([name for name in ('polars', 'pandas', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# --- processes, signals, pipes ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_process_ends_with_the_same_codes_and_no_traceback() -> None:
    """0, 1 and 2 from real processes; errors and warnings on standard error only; --version is the package's."""
    assert finished("--version").stdout == f"evalkit {evalkit_version()}\n"
    done = finished("study", "show", "x")
    assert (done.returncode, done.stdout, done.stderr.count("error: "), done.stderr.count("warning: ")) == (1, "", 1, 1)
    done = finished("study", "create")
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (2, "", False)


def evalkit_version() -> str:
    from importlib.metadata import version

    return version("evalkit-studies")


@pytest.mark.slow
def test_checkpoints_and_logs_go_through_pipes() -> None:
    """Standard input that cannot be read twice, and standard output, between two processes."""
    run("--home", "a", "log", "import", REAL)
    pipe = f"{shlex.quote(str(EVALKIT))} --home a log export - | {shlex.quote(str(EVALKIT))} --home b log import -"
    assert subprocess.run(["sh", "-c", pipe], capture_output=True, text=True, check=True, timeout=60).stdout == "43 appended, 0 skipped\n"
    assert Path("b/events.db").exists()


@pytest.mark.slow
def test_unicode_survives_a_terminal_that_knows_only_ascii() -> None:
    """A table shows what it can, JSON stays JSON."""
    started("ünï 😀")
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    assert "\\xfcn\\xef" in finished("study", "list", env=ascii_only).stdout
    assert json.loads(finished("--json", "study", "list", env=ascii_only).stdout)[0]["name"] == "ünï 😀"


@pytest.mark.slow
@pytest.mark.parametrize("command", [["study", "list"], ["log", "export", "-"], ["consume"], ["--json", "projection", "status"]])
def test_a_reader_that_left_ends_a_command_quietly(command: list[str]) -> None:
    """As with `| head`: exit code 141, as other tools, and not a word on standard error."""
    started()
    with child_of(*command) as child:
        child.stdout.close()  # type: ignore[union-attr]
        complaints = [line for line in child.stderr if " info " not in line]  # type: ignore[union-attr]  (the log of consume)
        assert complaints == []
        assert child.wait(60) == 141
        child.stdout = None


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_standard_output_is_an_error_in_one_line() -> None:
    """Nothing that could not be printed passes for done."""
    started()
    with Path("/dev/full").open("w") as full:
        for command in (["study", "list"], ["log", "export", "-"]):
            done = subprocess.run([EVALKIT, *command], stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
            assert (done.returncode, done.stderr) == (1, "error: [Errno 28] No space left on device\n")


@pytest.mark.slow
def test_a_closed_standard_output_is_no_error() -> None:
    """`>&-` is how some schedulers call; the command does its work."""
    done = subprocess.run(["sh", "-c", f"{shlex.quote(str(EVALKIT))} study create a >&- 2>&-"], check=False, timeout=60)
    assert done.returncode == 0
    assert evalkit.connect().studies()["name"].to_list() == ["a"]


@contextmanager
def child_of(*args: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is gone when the block ends."""
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
    """Interrupted while it waits for its input, a command ends without a traceback, and appends nothing."""
    kit = started()
    os.mkfifo("input.json")
    with child_of("checkpoint", "record", NAME, "--metrics", "input.json") as child, Path("input.json").open("w"):
        # The pipe opened, so the command is about to read it. A signal that comes just before it sleeps is seen with the next one.
        wait_until(lambda: child.send_signal(signal.SIGINT) or ended(child, within=2))
        assert (child.returncode, *child.communicate()) == (130, "", "")
    assert kit.checkpoints().height == 0


def applied() -> int:
    """How far the read model is, asked without bringing it further."""
    with closing(sqlite3.connect("file:.evalkit/evalkit.db?mode=ro", uri=True)) as connection:
        try:
            return int(connection.execute("SELECT next FROM positions").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_consume_catches_up_applies_what_comes_and_ends_on_a_signal(number: signal.Signals) -> None:
    """One line when it has caught up, then it applies what others append, without being asked; a signal ends it with exit code 0."""
    kit = started()
    first, second = kit.engine.log.consumer("test").poll(10, 0)
    kit.close()
    Path(".evalkit/evalkit.db").unlink()
    with child_of("consume") as child:
        assert child.stdout.readline() == "Caught up: 2 events applied. Waiting for more; Ctrl-C ends.\n"  # type: ignore[union-attr]
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
    """Have signals reach this process in the middle of the second batch that is applied."""
    apply, calls = EvalProjection.apply, iter(range(100))

    def interrupted(self: EvalProjection, records: Any) -> Any:
        if next(calls) == 1:
            for number in numbers:
                os.kill(os.getpid(), number)
        return apply(self, records)

    monkeypatch.setattr(EvalProjection, "apply", interrupted)


@pytest.mark.slow
def test_consume_ends_after_the_batch_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal while it still catches up: the batch is finished, no further one begun, and nothing said of having caught up."""
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
def test_a_second_signal_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who presses Ctrl-C twice means it: the batch at hand is given up, whole, and the exit code is 130."""
    kit = started()
    kit.engine.log.append([EncodedEvent("", "", b"%d" % index) for index in range(4000)])
    signal_in_the_second_batch(monkeypatch, signal.SIGINT, signal.SIGINT)
    assert run("consume", code=130).stdout == ""
    assert applied() == 1002
    assert kit.verify().ok


@pytest.mark.slow
def test_consume_prints_json_when_asked() -> None:
    """One document, when it has caught up; the log has one on each line."""
    started()
    with child_of("--json", "consume") as child:
        assert json.loads(child.stdout.readline()) == {"caught_up": True, "applied": 0}  # type: ignore[union-attr]
        child.terminate()
        rest, log = child.communicate(timeout=30)
        assert (rest, child.returncode) == ("", 0)
        assert [json.loads(line)["event"] for line in log.splitlines()] == ["started", "stopped"]


@pytest.mark.slow
def test_consume_makes_no_home(tmp_path: Path) -> None:
    """Without a home it is an error that names every folder looked in."""
    done = finished("consume")
    assert done.returncode == 1
    assert all(str(folder / ".evalkit") in done.stderr for folder in (tmp_path, *tmp_path.parents))
    assert list(tmp_path.iterdir()) == []
