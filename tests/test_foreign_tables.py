"""Read models changed by other programs: errors name the row, no query returns empty results, and no driver error is raised."""

from __future__ import annotations

import json
import sqlite3
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from inline_snapshot import snapshot
from typer.testing import CliRunner

from evalkit import EvalKit, EvalkitError, EvalkitWarning, connect
from evalkit.cli.app import app
from evalkit.errors import DatabaseDamagedError, DatabaseUnavailableError, SchemaError
from evalkit.panel.reading import read
from evalkit.readmodel.database.database import ConditionFailed
from evalkit.readmodel.rows import readable
from tests.messages import says
from tests.properties import LONG
from tests.worker import study_with_checkpoints

READS: dict[str, Callable[[EvalKit], object]] = {
    "studies": lambda kit: kit.studies(),
    "checkpoints": lambda kit: kit.checkpoints(),
    "checkpoints of one": lambda kit: kit.checkpoints("study"),
    "lifecycle": lambda kit: kit.lifecycle(),
    "rejected": lambda kit: kit.rejected(),
    "models": lambda kit: [kit.storage.get_checkpoints(study.id) for study in kit.storage.list_studies()],
    "verify": lambda kit: kit.verify(),
    "panel": lambda kit: read(kit, None),
    "status": lambda kit: kit.status(),
}
COMMANDS: dict[str, Callable[[EvalKit], object]] = {
    "create": lambda kit: kit.create_study("another"),
    "pause": lambda kit: kit.pause_study("study"),
    "record": lambda kit: kit.record_checkpoint("study", {"period": ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")}, key="new"),
    "record again": lambda kit: kit.record_checkpoint("study", {"period": ("2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z")}, key="again"),
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with connect(tmp_path / "home") as kit:
        study_with_checkpoints(kit, 3)
        COMMANDS["record again"](kit)
    return tmp_path / "home"


def write(home: Path, *statements: str) -> None:
    with closing(sqlite3.connect(home / "evalkit.db")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def cli(home: Path, *args: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["--home", str(home), *args], prog_name="evalkit", catch_exceptions=False)
    return result.exit_code, result.output


FOREIGN = {
    "studies": ["CREATE TABLE studies (a)"],
    "studies and checkpoints": ["CREATE TABLE studies (id, name)", "CREATE TABLE checkpoints (id)", "INSERT INTO studies VALUES (1, 'x')"],
    "meta": ["CREATE TABLE meta (key, value)", "INSERT INTO meta VALUES ('a', 'b')"],
    "upper case": ["CREATE TABLE Studies (a)", "INSERT INTO Studies VALUES ('mine')"],
    "an index": ["CREATE TABLE q (a)", "CREATE INDEX studies ON q (a)"],
    "a view": ["CREATE VIEW studies AS SELECT 1"],
}


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("tables", FOREIGN)
def test_tables_of_another_program_are_rejected_unchanged(home: Path, tables: str, read_only: bool) -> None:
    (home / "evalkit.db").unlink()
    write(home, *FOREIGN[tables])
    before = (home / "evalkit.db").read_bytes()
    with connect(home, read_only=read_only) as kit:
        calls = {name: call for name, call in READS.items() if name != "status"} | (
            {} if read_only else COMMANDS | {"rebuild": EvalKit.rebuild}
        )
        for name, call in calls.items():
            with pytest.raises(SchemaError) as error:
                call(kit)
            assert error.value.actual, name
        assert any("did not create" in problem for problem in kit.status().problems)
    assert (home / "evalkit.db").read_bytes() == before
    code, output = cli(home, "doctor")
    assert (code, "tables that evalkit did not create" in output, "No problems found" in output) == (1, True, False)
    assert cli(home, "study", "list")[0] == 1


def test_replaced_table_requires_rebuild(home: Path) -> None:
    write(home, "DROP TABLE studies", "CREATE TABLE studies (id, title)", "INSERT INTO studies VALUES (1, 'x')")
    with connect(home) as kit:
        for name in ("studies", "models", "panel", "verify"):
            with pytest.raises(DatabaseUnavailableError) as error:
                READS[name](kit)
            assert says(error) == snapshot(
                "The read model TMP/home/evalkit.db cannot be used: another program changed its tables. Rebuild the read model from the log: kit.rebuild()."
            )
            assert error.value.message.shell_hint == snapshot("Rebuild the read model from the log: evalkit projection rebuild")
        assert kit.rebuild().generation == 2
        assert kit.verify().ok


@pytest.mark.filterwarnings("ignore::evalkit.EvalkitWarning")
def test_missing_read_model_is_not_created_by_read_only_kit(home: Path) -> None:
    """It reads through a temporary one; a writable kit rebuilds it."""
    (home / "evalkit.db").unlink()
    with connect(home, read_only=True) as kit:
        assert kit.checkpoints().height == 4
        status = kit.status()
        assert (status.events, status.lag) == (6, 0)
        assert any("is missing" in problem for problem in status.problems)
    assert not (home / "evalkit.db").exists()
    with connect(home) as kit:
        assert kit.checkpoints().height == 4


FOREIGN_VALUES = ["'odd'", "''", "x'00ff'", "1.5", "-1", "'{'", "'[1, 2]'", "'\"x\"'", "'5'", "'2026-01-01'", "'{\"tags\": 5}'", "9e999"]
COLUMNS = {
    "studies": ["id", "name", "status", "period_type", "period_value", "config", "created_at", "started_at", "stopped_at"],
    "checkpoints": [
        "id", "study_id", "timestamp", "metrics", "events_analyzed", "sessions_included", "event_id", "period_start", "period_end", "regular",
    ],
    "lifecycle": ["study_id", "seq", "event_id", "kind"],
    "meta": ["generation", "schema_version", "fold_version", "partitions"],
    "positions": ["next"],
}  # fmt: skip
CELLS = [(table, column) for table, columns in COLUMNS.items() for column in columns]


@pytest.mark.slow
@pytest.mark.parametrize(("table", "column"), CELLS, ids=map(".".join, CELLS))
def test_foreign_value_is_read_or_raises_evalkit_error(home: Path, table: str, column: str) -> None:
    """For any value in any cell."""
    kept = (home / "evalkit.db").read_bytes()
    errors: list[str] = []
    values = FOREIGN_VALUES if LONG else FOREIGN_VALUES[(CELLS.index((table, column)) + 1) % 3 :: 3]
    for value in values:
        (home / "evalkit.db").write_bytes(kept)
        write(home, f"UPDATE {table} SET {column} = {value} WHERE rowid = (SELECT max(rowid) FROM {table})")
        with connect(home) as kit, warnings.catch_warnings():
            warnings.simplefilter("ignore", EvalkitWarning)
            for call in (*READS.values(), *COMMANDS.values()):
                try:
                    call(kit)
                except DatabaseDamagedError as error:
                    errors.append(str(error) if error.__suppress_context__ or error.__context__ is None else "driver error in context")
                except EvalkitError:
                    pass  # the changed row makes the study unknown, or its status does not allow the command
    assert all("another program" in message.lower() for message in errors)
    if (table, column) not in (("studies", "name"), ("studies", "period_value")):
        assert errors
    if table not in ("meta", "positions"):
        assert all(f"in the table '{table}'" in message and f"{column} is " in message for message in errors if "in the table" in message)


UNREADABLE: dict[str, tuple[str, str]] = {
    "a status": ("studies.status", "'odd'"),
    "a period type": ("studies.period_type", "'odd'"),
    "a number of periods": ("studies.period_value", "'many'"),
    "a config that is not JSON": ("studies.config", "'{'"),
    "a config of another type": ("studies.config", "'[]'"),
    "tags of another type": ("studies.config", "'{\"tags\": 5}'"),
    "a name that is a blob": ("studies.name", "x'00ff'"),
    "a creation time": ("studies.created_at", "'yesterday'"),
    "a start": ("studies.started_at", "'2026-01-01'"),
    "metrics that are not JSON": ("checkpoints.metrics", "'{'"),
    "a metric of another type": ("checkpoints.metrics", "replace(metrics, '0.5', '\"half\"')"),
    "metrics that are a blob": ("checkpoints.metrics", "CAST(metrics AS BLOB)"),
    "a timestamp": ("checkpoints.timestamp", "'yesterday'"),
    "a count with a fraction": ("checkpoints.events_analyzed", "1.5"),
    "a count that is text": ("checkpoints.events_analyzed", "'many'"),
    "sessions that are not JSON": ("checkpoints.sessions_included", "'a, b'"),
    "sessions of another type": ("checkpoints.sessions_included", "'\"x\"'"),
    "an event id": ("checkpoints.event_id", "'odd'"),
    "an irregular row": ("checkpoints.metrics", "'5', regular = 0"),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_foreign_row_is_named_everywhere(home: Path, what: str) -> None:
    """By frames, models, panel, doctor and command line; a rebuild repairs it."""
    cell, value = UNREADABLE[what]
    table, column = cell.split(".")
    write(home, f"UPDATE {table} SET {column} = {value}")
    reads = ["studies", "models", "panel"] if table == "studies" else ["checkpoints", "checkpoints of one", "models", "panel"]
    with connect(home) as kit:
        for name in reads:
            with pytest.raises(DatabaseDamagedError) as error:
                READS[name](kit)
            assert f"in the table '{table}'" in str(error.value)
            assert f"{column} is " in str(error.value)
            assert "evalkit projection rebuild" in error.value.message.in_shell()
            assert (error.value.table, error.value.column) == (table, column)
            assert error.value.key
    for args in (("study", "list") if table == "studies" else ("checkpoint", "list", "study"), ("doctor",)):
        code, output = cli(home, *args)
        assert (code, f"in the table '{table}'" in output, "Traceback" in output) == (1, True, False)
    assert cli(home, "projection", "rebuild")[0] == 0
    assert cli(home, "doctor")[0] == 0
    with connect(home) as kit:
        assert kit.verify().ok


def test_separators_do_not_move_values_to_other_rows(home: Path) -> None:
    write(home, "UPDATE checkpoints SET metrics = CAST(metrics AS BLOB) WHERE rowid = 1")
    write(home, "UPDATE checkpoints SET metrics = metrics || char(30) || metrics WHERE rowid = 2")
    with connect(home) as kit, pytest.raises(DatabaseDamagedError):
        kit.checkpoints()


def test_reformatted_metrics_raise_in_frames(home: Path) -> None:
    """Models can read them."""
    write(home, "UPDATE checkpoints SET metrics = ' ' || metrics")
    with connect(home) as kit, pytest.raises(DatabaseDamagedError) as error:
        kit.checkpoints()
    assert (error.value.table, error.value.column) == ("checkpoints", "metrics")
    assert "in the table 'checkpoints'" in cli(home, "doctor")[1]


def test_text_that_is_not_utf_8_requires_rebuild(home: Path) -> None:
    write(home, "UPDATE studies SET name = CAST(x'ff41' AS TEXT)")
    with connect(home) as kit, pytest.raises(EvalkitError) as error:
        kit.studies()
    assert says(error) == snapshot(
        "The read model TMP/home/evalkit.db cannot be used: another program wrote text that is not UTF-8. Rebuild the read model from the log: kit.rebuild()."
    )
    assert cli(home, "projection", "rebuild")[0] == 0
    with connect(home) as kit:
        assert kit.studies()["name"].to_list() == ["study"]


def test_row_without_study_is_named(home: Path) -> None:
    write(home, "UPDATE studies SET id = '01900000-0000-7000-8000-000000000000'")
    with connect(home) as kit:
        for name in ("checkpoints", "lifecycle"):
            with pytest.raises(DatabaseDamagedError) as error:
                READS[name](kit)
            assert (error.value.table, error.value.column) == ("checkpoints", "study_id")


def test_foreign_row_in_doctor_json(home: Path) -> None:
    write(home, "UPDATE studies SET status = 'odd'")
    report: dict[str, Any] = json.loads(CliRunner().invoke(app, ["--home", str(home), "--json", "doctor"], prog_name="evalkit").stdout)
    assert not report["ok"]
    assert "status is 'odd'" in report["problems"][0]


def test_failed_compare_and_swap_is_not_damage(tmp_path: Path) -> None:
    with connect(tmp_path / "home") as kit:
        study_with_checkpoints(kit, 3)
        kit.engine.database.execute("DELETE FROM studies")
        with pytest.raises(ConditionFailed), readable(kit.engine.database):
            raise ConditionFailed
