"""Commands that define metrics, correct checkpoints, add notes and change studies; states of the log on the command line."""

from __future__ import annotations

import json
import re
import shlex
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from inline_snapshot import snapshot

import evalkit
from tests.command_line import DAY, NAME, metrics, read_json, run, started
from tests.messages import says

pytestmark = pytest.mark.usefixtures("empty_folder")


def recorded() -> evalkit.EvalKit:
    """A kit on ./.evalkit with a study that defines `retries`, the checkpoints `a` and `b`, and the retracted checkpoint `gone`."""
    kit = started()
    kit.define_metric(NAME, evalkit.Metric("retries", kind="count", better="down", high=9))
    kit.record_checkpoints(NAME, [{**metrics(day, total_cost=10, retries=3), "key": key} for day, key in enumerate(("a", "b", "gone"))])
    kit.retract_checkpoint((NAME, "gone"), reason="Wrong model", author="ada")
    return kit


def costs(*args: str) -> list[float | None]:
    return [row["total_cost"] for row in read_json("checkpoint", "list", NAME, *args)]


# --- metrics ----------------------------------------------------------------------------------------------------------------------------


def test_metric_define_and_list() -> None:
    """Options are the parameters of `Metric`; --standard adds predefined ones; an equal definition has no effect."""
    kit = started()
    options = "--kind rate --better down --denominator sessions_completed --label Refused --unit share --low 0.1 --high 0.9 --group Safety"
    command = ["metric", "define", NAME, "refusal_rate", *options.split(), "--description", "Refused sessions.", "--primary"]
    standard = ["--standard", "tool_calls", "--standard", "tool_errors"]
    assert run(*command, *standard).stdout == "nightly agent: refusal_rate, tool_calls, tool_errors defined\n"
    before = kit.pin()
    (row,) = read_json(*command)
    assert kit.pin() == before
    assert {name: value for name, value in row.items() if name not in ("study_id", "study")} == {
        "name": "refusal_rate", "label": "Refused", "kind": "rate", "unit": "share", "better": "down", "low": 0.1, "high": 0.9,
        "denominator": "sessions_completed", "rollup": "weighted", "group": "Safety", "description": "Refused sessions.", "primary": True,
    }  # fmt: skip
    lines = run("metric", "list").stdout.splitlines()
    assert lines[0].split() == ["study", "name", "kind", "unit", "better", "denominator", "rollup", "description"]
    assert lines[2].split()[2:7] == ["refusal_rate", "rate", "share", "down", "sessions_completed"]
    assert [row["name"] for row in read_json("metric", "list", NAME)] == ["refusal_rate", "tool_calls", "tool_errors"]
    assert read_json("metric", "list", "--as-of", DAY.isoformat()) == []
    run("metric", "define", NAME, "grade", "--kind", "score", "--better", "up", "--high", "10", "--rollup", "last")
    grade = kit.storage.get_metrics(kit.resolve(NAME).id)["grade"]
    assert (repr(grade.high), grade.rollup, grade.primary) == ("10", "last", False)


def test_create_with_metrics_and_cadence() -> None:
    run("study", "create", "runs", "--metric", "tool_calls", "--metric", "tool_errors", "--cadence", "per-run")
    kit = evalkit.connect()
    assert kit.resolve("runs").cadence == "per-run"
    assert kit.metrics("runs")["name"].to_list() == ["tool_calls", "tool_errors"]


def test_custom_metrics_are_recorded_and_imported() -> None:
    """Defined ones without further options, undeclared ones with --define auto."""
    kit = recorded()
    Path("one.json").write_text(json.dumps(metrics(5, retries=2, judge=0.5)))
    record = ("checkpoint", "record", NAME, "--metrics", "one.json")
    run(*record, code=1)
    assert run(*record, "--define", "auto").stdout == "nightly agent: checkpoint 2026-02-05 recorded (1 of 16 metrics, 2 custom)\n"
    Path("in.csv").write_text("period_start,retries,other\n2026-02-07,4,1.5\n")
    load = ("checkpoint", "import", "in.csv", "--study", NAME, "--tz", "UTC")
    run(*load, code=1)
    run(*load, "--define", "auto")
    assert kit.checkpoints(NAME).select("retries", "judge", "other").rows()[-2:] == [(2, 0.5, None), (4, None, 1.5)]
    assert read_json("checkpoint", "list", NAME)[-1]["other"] == 1.5


# --- corrections ------------------------------------------------------------------------------------------------------------------------


def test_amend_by_key_and_by_id() -> None:
    """NAME= and NAME=null withdraw a value; repeating the command appends nothing."""
    kit = recorded()
    command = ["checkpoint", "amend", NAME, "--key", "a", "total_cost=2.5", "retries=", "--reason", "Wrong currency", "--author", "ada"]
    for done in ("amended", "unchanged"):
        assert run(*command).stdout == f"nightly agent: checkpoint 2026-01-31 {done} (revision 1)\n"
    assert costs() == [2.5, 10.0]
    checkpoint_id = kit.checkpoints(NAME)["checkpoint_id"][0]
    values = ["avg_session_duration=90.5", "session_success_rate=Null", "events_analyzed=7", 'sessions_included=["x", "y"]', "retries=9"]
    row = read_json("checkpoint", "amend", checkpoint_id[-8:], *values, "--reason", "r")
    assert (row["checkpoint_id"], row["revision"], row["avg_session_duration"]) == (checkpoint_id, 2, [90, 500_000_000])
    assert (row["session_success_rate"], row["events_analyzed"], row["sessions_included"], row["retries"]) == (None, 7, ["x", "y"], 9)
    amended = kit.amendments().drop_nulls("metric").select("reason", "author")
    assert amended.unique(maintain_order=True).rows() == [("Wrong currency", "ada"), ("r", None)]
    unchanged = run("checkpoint", "amend", NAME, "--key", "b", "total_cost=10", "--reason", "r").stdout
    assert unchanged == "nightly agent: checkpoint 2026-02-01 unchanged (revision 0)\n"


def test_retract(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint is left out; repeating the command has no effect; EVALKIT_AUTHOR is the author."""
    kit = recorded()
    monkeypatch.setenv("EVALKIT_AUTHOR", "grace")
    command = ["checkpoint", "retract", NAME, "--key", "b", "--reason", "Wrong model"]
    for _ in range(2):
        assert run(*command).stdout == "nightly agent: checkpoint 2026-02-01 retracted\n"
    done = read_json(*command)
    assert (done["study"], done["retracted"]) == (NAME, True)
    assert kit.amendments().row(-1, named=True)["author"] == "grace"
    assert costs() == [10.0]


# --- states, versions, exclusion --------------------------------------------------------------------------------------------------------


def test_states_and_versions() -> None:
    """--as-of accepts a time, a pin and the file of a pin; --values first shows retracted checkpoints; --exclude leaves some out."""
    kit = recorded()
    text = run("pin").stdout.strip()
    assert text == str(kit.pin())
    assert run("pin", "--save", "p.txt").stdout == f"Pin of {kit.pin().events} events written to p.txt\n"
    assert read_json("pin", "--digest") == {"pin": text, "events": kit.pin().events, "digest": kit.verify().digest, "file": None}
    run("checkpoint", "amend", NAME, "--key", "a", "total_cost=1", "--reason", "r")
    run("study", "rename", NAME, "new")
    run("study", "rename", "new", NAME)
    assert costs("--as-of", text) == costs("--as-of", "p.txt") == [10.0, 10.0]
    assert costs("--as-of", DAY.isoformat()) == []
    assert (costs(), costs("--values", "first")) == ([1.0, 10.0], [10.0, 10.0, 10.0])
    ids = kit.checkpoints(NAME)["checkpoint_id"].to_list()
    assert costs("--exclude", ids[0], "--exclude", ids[1][-6:]) == []
    exported = read_json("checkpoint", "export", "out.csv", "--study", NAME, "--as-of", "p.txt", "--exclude", ids[0])
    assert exported == {"exported": 1, "file": "out.csv"}
    assert read_json("checkpoint", "export", "out.csv", "--values", "first")["exported"] == 3
    shown = read_json("study", "show", NAME, "--as-of", text, "--exclude", ids[0])
    assert ([row["total_cost"] for row in shown["last_checkpoints"]], shown["checkpoints"]) == ([10.0], 2)
    assert [row["name"] for row in read_json("study", "list", "--as-of", "p.txt")] == [NAME]
    run("report", NAME, "-o", "out.json", "--as-of", text, "--exclude", ids[0])
    assert json.loads(Path("out.json").read_text())["events"][0]["checkpoints"] == 1
    run("report", NAME, "-o", "out.json", "--values", "first")
    assert json.loads(Path("out.json").read_text())["events"][0]["checkpoints"] == 3


def test_changes_between_states() -> None:
    kit = recorded()
    kit.pin().save("p.json")
    run("checkpoint", "amend", NAME, "--key", "a", "total_cost=1", "--reason", "Wrong\ncurrency")
    pin = str(kit.pin())
    run("note", "add", NAME, "New prompt", "--author", "ada")
    rows = read_json("changes", "--since", "p.json")
    assert [(row["kind"], row["description"], row["author"]) for row in rows] == [
        ("checkpoint_amended", "total_cost = 1.0", None), ("note_added", "New prompt", "ada"),
    ]  # fmt: skip
    assert read_json("changes", NAME, "--since", "p.json", "--until", pin) == rows[:1]
    lines = run("changes", "--since", "p.json").stdout.splitlines()
    assert len(lines) == 4
    assert "Wrong currency" in lines[2]
    assert rows[0]["checkpoint_id"][-8:] in lines[2]
    assert len(run("changes", "--since", pin, "--until", pin).stdout.splitlines()) == 2


# --- notes and studies ------------------------------------------------------------------------------------------------------------------


def test_notes() -> None:
    """Adding a note twice has no effect; the table is on one line per note."""
    kit = recorded()
    command = ["note", "add", NAME, "Model m-2\ninstead of m-1", "--at", "2026-02-01", "--until", "2026-02-03", "--tz", "UTC"]
    for _ in range(2):
        output = run(*command, "--category", "model", "--author", "ada").stdout
        assert output == "nightly agent: note added (2026-02-01 to 2026-02-03, model)\n"
    note = read_json("note", "add", NAME, "later")
    assert (note["category"], note["until"], note["text"]) == ("other", None, "later")
    rows = read_json("note", "list")
    assert [row["text"] for row in rows] == ["Model m-2\ninstead of m-1", "later"]
    lines = run("note", "list", NAME).stdout.splitlines()
    assert re.split(r" {2,}", lines[2]) == [NAME, "2026-02-01", "2026-02-03", "model", "Model m-2 instead of m-1", "ada"]
    assert read_json("note", "list", "--as-of", DAY.isoformat()) == []
    shown = run("study", "show", NAME).stdout
    assert "Model m-2 instead of m-1" in shown
    assert "metrics      retries" in shown
    assert kit.notes().height == 2


def test_study_can_be_renamed_and_edited() -> None:
    kit = recorded()
    assert run("study", "rename", NAME, "new").stdout == "new: running, daily:30\n"
    assert run("study", "edit", "new", "--description", "d", "--tag", "x", "--meta", "k=v", "--remove-meta", "model").stdout == (
        "new: running, daily:30\n"
    )
    config = kit.resolve("new").config
    assert (config.description, config.tags, config.metadata) == ("d", ["x"], {"k": "v"})
    row = read_json("study", "edit", "new", "--description", "", "--no-tags", "--cadence", "per-run")
    assert (row["description"], row["tags"], row["metadata"]) == (None, [], {"k": "v", "evalkit.cadence": "per-run"})


def test_study_can_be_archived_and_restored() -> None:
    """An archived study is in no list and no look-up by name, unless asked for; its id still selects it."""
    kit = recorded()
    study = kit.resolve(NAME)
    assert run("study", "archive", NAME).stdout == "nightly agent: archived\n"
    assert read_json("study", "list") == []
    assert [row["archived"] for row in read_json("study", "list", "--archived")] == [True]
    assert " running, archived " in run("study", "list", "--archived").stdout
    assert says(run("checkpoint", "list", NAME, code=1).stderr) == snapshot(
        "error: No study matches 'nightly agent'. Study 'nightly agent' is archived; restore it with: evalkit study unarchive 'nightly agent'\n"
    )
    assert "status       running, archived" in run("study", "show", study.id).stdout
    assert [len(read_json(*command)) for command in (["metric", "list"], ["note", "list"])] == [0, 0]
    assert run("study", "unarchive", NAME).stdout == "nightly agent: running, daily:30\n"
    assert [row["archived"] for row in read_json("study", "list")] == [False]


# --- errors -----------------------------------------------------------------------------------------------------------------------------

ERRORS: dict[str, Any] = {
    f"metric define '{NAME}' Retries --kind count --better down": snapshot(
        "error: Invalid name 'Retries': expected a lowercase letter, then up to 62 lowercase letters, digits or underscores.\n"
    ),
    f"metric define '{NAME}' total_cost --kind money --better down": snapshot(
        "error: Invalid name 'total_cost': this is one of the 16 metrics. Choose another name.\n"
    ),
    f"metric define '{NAME}' retries --kind number --better down": snapshot(
        "error: Invalid metric 'retries': study 'nightly agent' defines it differently: kind is 'count', not 'number'; rollup is 'sum', not 'none'. Define the other metric under a new name.\n"
    ),
    f"metric define '{NAME}' a --kind rate --better down --denominator sesions": snapshot(
        "error: Unknown denominator 'sesions'. Did you mean 'sessions_completed'?\n"
    ),
    f"metric define '{NAME}' a --kind score --better up --low 5 --high 1": snapshot("error: Invalid low 5: must be below high (1).\n"),
    f"metric define '{NAME}' a --kind rate --better up --rollup sum": snapshot(
        "error: Invalid rollup 'sum': the sum of rates has no meaning; expected 'weighted', 'min', 'max', 'last' or 'none'.\n"
    ),
    f"metric define '{NAME}' a --kind count --better up --low nan": snapshot("error: Invalid low nan: expected a finite number.\n"),
    f"metric define '{NAME}' --standard tool_call": snapshot("error: Unknown standard metric 'tool_call'. Did you mean 'tool_calls'?\n"),
    "metric define nothing --standard tool_calls": snapshot(
        "error: No study matches 'nothing'. Most recent studies: 'other', 'nightly agent'.\n"
    ),
    "study create x --metric retries": snapshot(
        "error: Unknown standard metric 'retries'. Valid standard metrics: sessions_attempted, sessions_invalid, sessions_limited, tasks_solved, tool_calls, tool_errors, tokens_input, tokens_cached, tokens_output, cost_estimated.\n"
    ),
    f"note add '{NAME}' ''": snapshot("error: Invalid text '': empty; at least one visible character is required.\n"),
    f"note add '{NAME}' text --at yesterday": snapshot(
        "error: Invalid at='yesterday': not an ISO 8601 time; expected e.g. '2026-01-31T00:00:00Z'.\n"
    ),
    f"note add '{NAME}' text --at 2026-02-01": snapshot(
        "error: Invalid at='2026-02-01': no time zone; expected e.g. '2026-01-31T00:00:00Z'. Pass --tz UTC to read dates and local times in that time zone.\n"
    ),
    f"note add '{NAME}' text --at 2026-02-02 --until 2026-02-01 --tz UTC": snapshot(
        "error: Invalid until '2026-02-01': must be after at (2026-02-02T00:00:00Z); ranges are half-open, [at, until).\n"
    ),
    f"checkpoint amend '{NAME}' --key a total_costs=1 --reason r": snapshot(
        "error: Unknown metric 'total_costs'. Did you mean 'total_cost'? To record it as a custom metric, define it with: evalkit metric define STUDY total_costs --kind KIND --better DIRECTION\n"
    ),
    f"checkpoint amend '{NAME}' --key a judge=1 --reason r": snapshot(
        "error: Unknown metric 'judge'. Valid metrics: sessions_completed, session_success_rate, avg_session_duration, tasks_completed, first_attempt_success_rate, avg_iterations_to_success, agent_efficiency, tool_success_rate, self_correction_rate, swarm_coordination_overhead, parallelism_efficiency, learnings_applied, learning_effectiveness, total_tokens, total_cost, cost_per_successful_task, retries; and period_start, period_end, timestamp, events_analyzed, sessions_included, recorded_at, key. To record it as a custom metric, define it with: evalkit metric define STUDY judge --kind KIND --better DIRECTION\n"
    ),
    f"checkpoint amend '{NAME}' --key a total_cost=cheap --reason r": snapshot(
        "error: Invalid total_cost 'cheap': expected a number, got a string.\n"
    ),
    f"checkpoint amend '{NAME}' --key a session_success_rate=85 --reason r": snapshot(
        "error: Invalid session_success_rate 85: outside the range 0 to 1. If it is a percentage, divide it by 100: 0.85.\n"
    ),
    f"checkpoint amend '{NAME}' --key a retries=10 --reason r": snapshot("error: Invalid retries 10: outside the range 0 to 9.\n"),
    f"checkpoint amend '{NAME}' --key a retries=1.5 --reason r": snapshot(
        "error: Invalid retries 1.5: expected a whole number of 0 or more.\n"
    ),
    f"checkpoint amend '{NAME}' --key a period_start=2026-01-01 --reason r": snapshot(
        "error: Invalid period_start '2026-01-01': only metrics, events_analyzed, sessions_included and provenance can be amended. Retract the checkpoint, and record it again: evalkit checkpoint retract ID --reason TEXT\n"
    ),
    f"checkpoint amend '{NAME}' --key a events_analyzed= --reason r": snapshot(
        "error: Invalid events_analyzed None: expected a whole number of 0 or more.\n"
    ),
    f"checkpoint amend '{NAME}' --key a total_cost=1 --reason ''": snapshot(
        "error: Invalid reason '': empty; at least one visible character is required.\n"
    ),
    f"checkpoint amend '{NAME}' --key c total_cost=1 --reason r": snapshot(
        "error: Invalid checkpoint ('nightly agent', 'c'): study 'nightly agent' has no checkpoint with the key 'c'. Find ids with: evalkit checkpoint list STUDY --json\n"
    ),
    f"checkpoint amend '{NAME}' --key gone total_cost=1 --reason r": snapshot(
        "error: Cannot amend checkpoint ID of study 'nightly agent': it was retracted by 'ada' on DAY, reason: 'Wrong model'. Nothing was appended. Record the period again, with a new key.\n"
    ),
    "checkpoint amend ffffffffff total_cost=1 --reason r": snapshot(
        "error: Invalid checkpoint 'ffffffffff': no checkpoint matches. Find ids with: evalkit checkpoint list STUDY --json\n"
    ),
    "checkpoint retract abc --reason r": snapshot(
        "error: Invalid checkpoint 'abc': expected a Checkpoint, an id, the last 4 or more characters of an id, or (study, key).\n"
    ),
    f"checkpoint retract '{NAME}' --key c --reason r": snapshot(
        "error: Invalid checkpoint ('nightly agent', 'c'): study 'nightly agent' has no checkpoint with the key 'c'. Find ids with: evalkit checkpoint list STUDY --json\n"
    ),
    f"checkpoint retract '{NAME}' --key a --reason ''": snapshot(
        "error: Invalid reason '': empty; at least one visible character is required.\n"
    ),
    f"checkpoint record '{NAME}' --metrics judge.json": snapshot(
        "error: judge.json: Unknown metric 'judge'. Valid metrics: sessions_completed, session_success_rate, avg_session_duration, tasks_completed, first_attempt_success_rate, avg_iterations_to_success, agent_efficiency, tool_success_rate, self_correction_rate, swarm_coordination_overhead, parallelism_efficiency, learnings_applied, learning_effectiveness, total_tokens, total_cost, cost_per_successful_task, retries; and period_start, period_end, timestamp, events_analyzed, sessions_included, recorded_at, key. To record it as a custom metric, define it with: evalkit metric define STUDY judge --kind KIND --better DIRECTION, or add --define auto.\n"
    ),
    f"checkpoint record '{NAME}' --metrics judge.json --key a --define auto": snapshot(
        "error: judge.json: Invalid judge 'good': expected a number, got a string.\n"
    ),
    f"checkpoint record '{NAME}' --metrics bad.json --define auto": snapshot(
        "error: bad.json: Invalid metric 'Judge': not a valid name; expected a lowercase letter, then up to 62 lowercase letters, digits or underscores. Rename it.\n"
    ),
    f"checkpoint record '{NAME}' --metrics one.json --key gone": snapshot(
        "error: Key 'gone' was used for a checkpoint that was retracted by 'ada' on DAY, reason: 'Wrong model'. The key of a retracted checkpoint cannot be used again. Use a new key.\n"
    ),
    f"checkpoint record '{NAME}' --metrics one.json --key a": snapshot(
        "error: Key 'a' was already used for a checkpoint with different content. The recorded checkpoint is unchanged. Use a new key to record this one as well. To correct the recorded one: evalkit checkpoint amend ID NAME=VALUE --reason TEXT\n"
    ),
    f"checkpoint import judge.ndjson --study '{NAME}'": snapshot(
        "error: judge.ndjson, line 1: Unknown column 'retry'. Nothing was recorded. Did you mean 'retries'? To record it as a custom metric, define it with: evalkit metric define STUDY retry --kind KIND --better DIRECTION, or add --define auto.\n"
    ),
    f"checkpoint list '{NAME}' --as-of yesterday": snapshot(
        "error: Invalid as_of 'yesterday': not an ISO 8601 time; expected e.g. '2026-01-31T00:00:00Z'. A pin is accepted too: its text begins with 'pin:'.\n"
    ),
    f"checkpoint list '{NAME}' --as-of pin:1": snapshot(
        "error: Invalid pin 'pin:1': expected the text of a pin: pin:EVENTS@SHA256, one pair for each partition. Make a pin with: evalkit pin\n"
    ),
    f"checkpoint list '{NAME}' --as-of pin:2@{'0' * 64}": snapshot(
        "error: Invalid as_of: this is the pin of another log: event 2 differs. A pin belongs to its log; after log export and log import, make a new one with: evalkit pin\n"
    ),
    f"checkpoint list '{NAME}' --as-of pin:99@{'0' * 64}": snapshot(
        "error: Invalid as_of: the pin has 99 events, but this log has only 8. A pin belongs to its log; after log export and log import, make a new one with: evalkit pin\n"
    ),
    f"checkpoint list '{NAME}' --as-of none.json": snapshot("error: Cannot read 'none.json': the file does not exist.\n"),
    f"checkpoint list '{NAME}' --as-of one.json": snapshot(
        "error: Invalid path 'one.json': this is not the file of a pin. Make a pin with: evalkit pin\n"
    ),
    f"checkpoint list '{NAME}' --exclude zzzz": snapshot(
        "error: Invalid exclude 'zzzz': matches none of the selected checkpoints; expected a Checkpoint, an id, the last 4 or more characters of an id, or (study, key). A retracted checkpoint is already left out.\n"
    ),
    "checkpoint export out.csv --exclude abc": snapshot(
        "error: Invalid exclude 'abc': expected a Checkpoint, an id, the last 4 or more characters of an id, or (study, key).\n"
    ),
    f"study show '{NAME}' --as-of 2020-01-01T00:00:00Z": snapshot(
        "error: Invalid as_of '2020-01-01T00:00:00Z': study 'nightly agent' did not exist. Choose a later state.\n"
    ),
    f"report '{NAME}' -o out.md --as-of 2020-01-01T00:00:00Z": snapshot(
        "error: Invalid as_of '2020-01-01T00:00:00Z': study 'nightly agent' did not exist. Choose a later state.\n"
    ),
    "changes --since soon": snapshot(
        "error: Invalid since 'soon': not an ISO 8601 time; expected e.g. '2026-01-31T00:00:00Z'. A pin is accepted too: its text begins with 'pin:'.\n"
    ),
    "pin --save none/p.json": snapshot(
        "error: Cannot write 'none/p.json': folder 'none' does not exist. Create it, or choose another folder.\n"
    ),
    f"study rename '{NAME}' other": snapshot("error: Study 'other' already exists (pending, created 2026-02-01). Choose another name.\n"),
    f"study rename '{NAME}' ''": snapshot("error: Invalid name '': empty; at least one visible character is required.\n"),
    f"study edit '{NAME}' --meta evalkit.cadence=weekly": snapshot(
        "error: Invalid metadata['evalkit.cadence'] 'weekly': expected 'per-period' or 'per-run'.\n"
    ),
}


@pytest.mark.parametrize("command", ERRORS)
def test_error_is_one_line_and_appends_nothing(command: str) -> None:
    """Exit code 1, the message with hints for the shell on standard error, no output, no event, no file."""
    kit = recorded()
    kit.create_study("other", at=DAY + timedelta(days=1))
    Path("one.json").write_text(json.dumps(metrics(total_cost=11, retries=3)))
    Path("judge.json").write_text(json.dumps(metrics(judge="good")))
    Path("judge.ndjson").write_text(json.dumps(metrics(retry=1)))
    Path("bad.json").write_text(json.dumps(metrics(Judge=1)))
    pin, files = kit.pin(), sorted(Path.cwd().iterdir())
    result = run(*shlex.split(command), code=1)
    assert result.stdout == ""
    assert re.sub(r"on \d{4}-\d\d-\d\d \d\d:\d\d UTC", "on DAY", says(result.stderr)) == ERRORS[command]
    assert result.stderr.count("\n") == 1
    assert not re.search(r"\bkit\.|as_of=|define=|datetime", result.stderr)
    assert (kit.pin(), sorted(Path.cwd().iterdir())) == (pin, files)


USAGE: dict[str, Any] = {
    f"checkpoint amend '{NAME}' --key a total_cost=1": snapshot("Error: Missing option '--reason'."),
    f"checkpoint amend '{NAME}' --key a --reason r": snapshot("Error: Missing argument 'NAME=VALUE...'."),
    f"checkpoint amend '{NAME}' --key a total_cost --reason r": snapshot(
        "Error: Invalid value for 'NAME=VALUE': expected NAME=VALUE, such as total_cost=2.5; got 'total_cost'."
    ),
    f"checkpoint amend '{NAME}' --key a total_cost=1 total_cost=2 --reason r": snapshot(
        "Error: Invalid value for 'NAME=VALUE': duplicate name 'total_cost'."
    ),
    f"checkpoint retract '{NAME}' --key a": snapshot("Error: Missing option '--reason'."),
    f"metric define '{NAME}'": snapshot("Error: Missing NAME, or --standard NAME."),
    f"metric define '{NAME}' a --better up": snapshot("Error: Missing option '--kind'."),
    f"metric define '{NAME}' a --kind percent --better up": snapshot(
        "Error: Invalid value for '--kind': 'percent' is not one of 'count', 'rate', 'number', 'money', 'duration', 'score'."
    ),
    f"metric define '{NAME}' a --kind rate --better higher": snapshot(
        "Error: Invalid value for '--better': 'higher' is not one of 'up', 'down', 'neither'."
    ),
    f"metric define '{NAME}' --unit s": snapshot("Error: --unit requires NAME."),
    f"note add '{NAME}' text --category mood": snapshot(
        "Error: Invalid value for '--category': 'mood' is not one of 'model', 'prompt', 'tool', 'data', 'incident', 'other'."
    ),
    f"study edit '{NAME}'": snapshot("Error: Nothing to change: pass --description, --tag, --no-tags, --meta, --remove-meta or --cadence."),
    f"study edit '{NAME}' --tag a --no-tags": snapshot("Error: Invalid value for '--no-tags': omit it, or omit --tag."),
    f"study edit '{NAME}' --meta k=1 --remove-meta k": snapshot("Error: Invalid value for '--remove-meta': 'k' is also set with --meta."),
    f"checkpoint list '{NAME}' --values last": snapshot("Error: Invalid value for '--values': 'last' is not one of 'latest', 'first'."),
    "changes": snapshot("Error: Missing option '--since'."),
}


@pytest.mark.parametrize("command", USAGE)
def test_usage_error_has_a_message_and_appends_nothing(command: str) -> None:
    """Exit code 2, the usage and the message on standard error."""
    kit = recorded()
    pin = kit.pin()
    result = run(*shlex.split(command), code=2)
    assert (result.stdout, result.stderr.splitlines()[-1]) == ("", USAGE[command])
    assert kit.pin() == pin
