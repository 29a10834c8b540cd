"""Read models of the version before: renewed where they can be written, otherwise read through a temporary one.

``tests/data/older_home`` was written by that version (schema 2, projection 1). Its log ends with an event of each kind that it did not know
yet, as of a colleague with a newer version.
"""

from __future__ import annotations

import io
import os
import sqlite3
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from inline_snapshot import snapshot
from typer.testing import CliRunner

from evalkit import EvalKit, EvalkitWarning, LogMismatchError, ReadOnlyError, SchemaError, connect
from evalkit.cli.app import app
from evalkit.domain.events import KINDS, SEED_KINDS, EncodedEvent
from evalkit.errors import DatabaseUnavailableError, LogUnavailableError
from evalkit.eventlog.sqlite_log import SqliteEventLog
from evalkit.io.log_files import LogImport, export_log, import_log
from evalkit.readmodel.consumer import EvalProjectionConsumer
from evalkit.readmodel.fold import FOLD_VERSION
from evalkit.readmodel.replay import replayed
from evalkit.readmodel.rows import check_rows
from evalkit.readmodel.schema import SCHEMA_VERSION
from evalkit.readmodel.snapshot import Snapshot
from evalkit.readmodel.verify import digest
from evalkit.runtime.connections import open_database
from tests.memory_log import InMemoryEventLog
from tests.messages import says
from tests.servers import Sqld
from tests.test_database_servers import emptied
from tests.worker import sample

OLDER = Path(__file__).parent / "data" / "older_home"
EVENTS = (OLDER / "events.ndjson").read_bytes().splitlines()
STATEMENTS = [text for text in (OLDER / "evalkit.sql").read_text().split(";\n") if text not in ("BEGIN TRANSACTION", "COMMIT", "")]
OLDER_DIGEST = "3213ca423e871e0fb05c3ba2741eb640a5f89b53194308707c65d4e51a79eb09"
"""The digest of the older version, which did not apply the events of kinds that it did not know."""
READS: dict[str, Callable[[EvalKit], object]] = {
    "studies": lambda kit: kit.studies()["name"].to_list(),
    "checkpoints": lambda kit: kit.checkpoints().height,
    "lifecycle": lambda kit: kit.lifecycle().height,
    "data": lambda kit: kit.data("renamed").checkpoints.height,
    "models": lambda kit: [study.name for study in kit.storage.list_studies()],
    "verify": lambda kit: kit.verify().ok,
    "status": lambda kit: (kit.status().checkpoints, kit.status().lag, kit.status().quarantined),
}
EXPECTED = {
    "studies": ["renamed"], "lifecycle": 2, "models": ["renamed"], "verify": True, "status": (3, 0, 1),
}  # fmt: skip


def write_log(home: Path) -> None:
    home.mkdir()
    log = SqliteEventLog(home / "events.db")
    log.append([EncodedEvent("", "", event) for event in EVENTS])
    log.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home of the older version."""
    write_log(tmp_path / "home")
    with closing(sqlite3.connect(tmp_path / "home" / "evalkit.db")) as database:
        database.executescript((OLDER / "evalkit.sql").read_text())
        database.execute("PRAGMA journal_mode=WAL")
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def contents(home: Path) -> dict[str, bytes]:
    """The files of a home, without SQLite's lock files, which a reader may create."""
    return {path.name: path.read_bytes() for path in home.iterdir() if not path.name.endswith(("-shm", "-wal"))}


def older_rows(home: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(home / "evalkit.db")) as database:
        return database.execute(sql).fetchall()


def decided_kinds(kit: EvalKit) -> set[object]:
    return {kind for (kind,) in kit.engine.database.execute("SELECT kind FROM changes")}


NEW_KINDS = {*KINDS} - {*SEED_KINDS}


def test_the_older_version_quarantined_new_kinds_and_said_why(home: Path) -> None:
    errors = [error for (error,) in older_rows(home, "SELECT error FROM quarantined WHERE event_id <> ''")]
    assert len(errors) == len(NEW_KINDS)
    assert {kind for kind in NEW_KINDS if any(f"'{kind}'" in error for error in errors)} == NEW_KINDS
    assert older_rows(home, "SELECT schema_version, fold_version FROM meta") == [(2, 1)]


def test_digest_of_older_events_is_unchanged() -> None:
    """The new kinds aside, the same events have the digest that the older version computed."""
    log = InMemoryEventLog()
    for event in EVENTS:
        if not any(f'"type":"{kind}"'.encode() in event for kind in NEW_KINDS):
            log.place(0, event)
    assert log.ranges()[0].end == len(EVENTS) - len(NEW_KINDS)
    with replayed(log) as database:
        assert digest(Snapshot(database)) == OLDER_DIGEST


USES: dict[str, Callable[[EvalKit], object]] = READS | {
    "record": lambda kit: kit.record_checkpoint("renamed", sample(9)), "stop": lambda kit: kit.stop_study("renamed"),
}  # fmt: skip


@pytest.mark.parametrize("use", [name for name in USES if name != "status"])
def test_embedded_home_is_renewed_at_next_use(home: Path, use: str) -> None:
    """The quarantined events of the new kinds are decided then."""
    with connect(home) as kit, warnings.catch_warnings(action="error"):
        USES[use](kit)
        assert decided_kinds(kit) == NEW_KINDS
        status = kit.status()
        assert (status.schema_version, status.fold_version, status.generation) == (SCHEMA_VERSION, FOLD_VERSION, 2)
        assert (status.quarantined, status.rejected, status.problems) == (1, 1, ())
        assert kit.studies()["name"].to_list() == ["renamed"]
        assert kit.verify().ok


def database_of_older_version(sqld: Sqld) -> None:
    database = emptied(open_database(sqld.url))
    database.batch([(statement, ()) for statement in STATEMENTS])
    database.close()


@pytest.mark.server
@pytest.mark.filterwarnings("ignore::evalkit.EvalkitWarning")  # the second kit is read-only
def test_shared_read_model_asks_for_rebuild(home: Path, sqld: Sqld) -> None:
    """Nothing else changes it; a rebuild decides the quarantined events of the new kinds."""
    database_of_older_version(sqld)
    with connect(home, database_url=sqld.url) as kit, connect(home, database_url=sqld.url, read_only=True) as reader:
        for one in (kit, reader):
            for name, use in USES.items():
                if name != "status" and (one is kit or name in READS):
                    with pytest.raises(SchemaError) as error:
                        use(one)
                    assert says(error) == snapshot(
                        "The read model was created by an older version of evalkit (schema 2, projection 1; this version needs schema 3, projection 2). Rebuild the read model from the log: kit.rebuild()."
                    )
                    assert error.value.message.shell_hint == snapshot("Rebuild the read model from the log: evalkit projection rebuild")
            assert any("older version of evalkit (schema 2, projection 1)" in problem for problem in one.status().problems)
        assert kit.engine.database.execute("SELECT count(*) FROM quarantined") == [(1 + len(NEW_KINDS),)]
        done = CliRunner().invoke(app, ["--home", str(home), "--database-url", sqld.url, "projection", "rebuild"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert decided_kinds(kit) == NEW_KINDS
        assert kit.engine.database.execute("SELECT count(*) FROM quarantined") == [(1,)]
        assert [{name: READS[name](one) for name in EXPECTED} for one in (kit, reader)] == [EXPECTED] * 2


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("use", READS)
def test_read_only_kit_reads_through_a_temporary_read_model(home: Path, temporary: Path, use: str, missing: bool) -> None:
    """Also in place of a missing one. Nothing in the home changes; one warning gives the reason; no file is left."""
    if missing:
        (home / "evalkit.db").unlink()
    before = contents(home)
    with connect(home, read_only=True) as kit:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            results = [READS[use](kit) for _ in range(2)]
            others = {name: READS[name](kit) for name in EXPECTED}
        assert results[0] == results[1]
        assert others == EXPECTED
        assert [warning.category for warning in caught] == [EvalkitWarning]
        assert len(list(temporary.iterdir())) == 1
        status = kit.status()
        assert (status.schema_version, status.fold_version) == (SCHEMA_VERSION, FOLD_VERSION)
        assert list(status.problems) == [str(caught[0].message)]
        with pytest.raises(ReadOnlyError):
            kit.stop_study("renamed")
        with pytest.raises(ReadOnlyError):
            kit.rebuild()
    assert list(temporary.iterdir()) == []
    assert contents(home) == before


def test_warning_about_a_temporary_read_model(home: Path) -> None:
    with connect(home, read_only=True) as kit, pytest.warns(EvalkitWarning) as caught:
        kit.studies()
    assert [str(warning.message) for warning in caught] == snapshot(
        [
            "This kit is read-only. The read model in the home was created by an older version of evalkit (schema 2, projection 1), so a temporary one is computed from the log. To avoid this, connect once with write access, which rebuilds it."
        ]
    )
    (home / "evalkit.db").unlink()
    with connect(home, read_only=True) as kit, pytest.warns(EvalkitWarning) as caught:
        kit.studies()
    assert [str(warning.message) for warning in caught] == snapshot(
        [
            "This kit is read-only. The read model in the home is missing, so a temporary one is computed from the log. To avoid this, connect once with write access, which rebuilds it."
        ]
    )


@pytest.mark.filterwarnings("ignore::evalkit.EvalkitWarning")
def test_temporary_read_model_shows_later_events(home: Path, temporary: Path) -> None:
    """Of other processes, also after the read model in the home was renewed, and after the kit was closed."""
    with connect(home, read_only=True) as reader:
        assert reader.checkpoints().height == 2
        with connect(home) as writer:
            writer.record_checkpoint("renamed", sample(9))
        assert reader.checkpoints().height == 3
        assert len(list(temporary.iterdir())) == 1
        reader.close()
        assert list(temporary.iterdir()) == []
        assert reader.checkpoints().height == 3
        assert list(temporary.iterdir()) == []  # that in the home is current now
        assert reader.status().generation == 2


@pytest.mark.filterwarnings("ignore::evalkit.EvalkitWarning")
def test_temporary_read_model_of_a_damaged_or_different_log_raises(home: Path, temporary: Path) -> None:
    log = (home / "events.db").read_bytes()
    (home / "events.db").unlink()
    with connect(home, read_only=True) as kit:
        with pytest.raises(LogMismatchError, match="The event log is empty, but the read model was built from 15 events"):
            kit.studies()
        assert any("The event log is empty" in problem for problem in kit.status().problems)
        (home / "events.db").write_bytes(b"damaged" * 1000)
        with pytest.raises(Exception, match=r"events\.db"):
            kit.studies()
        (home / "events.db").write_bytes(log)
        assert kit.studies()["name"].to_list() == ["renamed"]
    assert list(temporary.iterdir()) == []


def test_temporary_read_model_without_a_temporary_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(home / "missing"))
    with connect(home, read_only=True) as kit:
        with pytest.raises(DatabaseUnavailableError) as error:
            kit.studies()
        assert says(error) == snapshot(
            "A temporary read model cannot be created: No such file or directory. Set TMPDIR to a folder that is writable."
        )


def test_writable_home_with_a_damaged_log_raises(home: Path) -> None:
    """An older read model is never read as if it were current."""
    (home / "events.db").write_bytes(b"damaged" * 1000)
    with connect(home) as kit, pytest.raises(Exception, match=r"events\.db") as error:
        kit.studies()
    assert not isinstance(error.value, LogUnavailableError | DatabaseUnavailableError)


PROCESS = """
import os, sys, tempfile, warnings
import evalkit
tempfile.tempdir = sys.argv[2]
warnings.simplefilter("ignore", evalkit.EvalkitWarning)
kit = evalkit.connect(sys.argv[1], read_only=True)
names = [study.name for study in kit.storage.list_studies()]
child = os.fork()
if child == 0:
    assert [study.name for study in kit.storage.list_studies()] == names
    sys.exit(len(os.listdir(sys.argv[2])))
_, code = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(code) == 2, code
print(names, len(os.listdir(sys.argv[2])), len(kit.storage.list_studies()))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_temporary_read_models_of_processes_and_forks_are_deleted(home: Path, temporary: Path) -> None:
    """A forked process makes its own; neither deletes that of the other; none is left at exit."""
    before = contents(home)
    done = subprocess.run([sys.executable, "-c", PROCESS, home, temporary], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("['renamed'] 1 1\n", "")
    assert list(temporary.iterdir()) == []
    assert contents(home) == before


# --- export and import ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("partitions", [1, 4])
def test_log_with_new_kinds_is_exported_and_imported(home: Path, tmp_path: Path, partitions: int) -> None:
    """Another home has the same digest, a second import appends nothing, and there are no problems but the bytes that are not JSON."""
    stream = io.BytesIO()
    with connect(home) as kit, connect(tmp_path / "other") as other:
        export_log(kit.engine, stream)
        if partitions > 1:
            other.engine.log = InMemoryEventLog(partitions)
            other.engine.consumer = EvalProjectionConsumer(other.engine.log, other.engine.database)
        for appended in (len(EVENTS) - 1, 0):
            stream.seek(0)
            assert import_log(other.engine, stream) == LogImport(appended, len(EVENTS) - 1 - appended)
        assert other.verify(expect=kit.verify().digest).ok
        assert decided_kinds(other) == NEW_KINDS
        status = other.status()
        assert (status.problems, status.lag, status.rejected, status.quarantined) == ((), 0, 1, 0)
        check_rows(other.engine.database)


def test_doctor_of_a_renewed_home_reports_no_problems(home: Path) -> None:
    run = CliRunner()
    assert run.invoke(app, ["--home", str(home), "study", "list"], catch_exceptions=False).exit_code == 0
    done = run.invoke(app, ["--home", str(home), "doctor"], catch_exceptions=False)
    assert (done.exit_code, done.output.endswith("No problems found.\n")) == (0, True), done.output
