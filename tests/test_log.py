"""The event log adapters: the contract, and tests of SQLite files."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from inline_snapshot import snapshot

from evalkit.errors import LogDamagedError, LogError, LogUnavailableError
from evalkit.eventlog.event_log import LogPosition
from evalkit.eventlog.sqlite_log import SqliteEventLog
from tests.log_contract import LogContract, messages
from tests.memory_log import InMemoryEventLog
from tests.messages import says


class TestInMemory(LogContract):
    @pytest.fixture
    def log(self) -> InMemoryEventLog:
        return InMemoryEventLog()


class TestInMemoryWithFourPartitions(LogContract):
    partitions = 4

    @pytest.fixture
    def log(self) -> InMemoryEventLog:
        return InMemoryEventLog(4)


class TestSqlite(LogContract):
    @pytest.fixture
    def log(self, tmp_path: Path) -> Iterator[SqliteEventLog]:
        log = SqliteEventLog(tmp_path / "events.db")
        yield log
        log.close()

    def another(self, log: SqliteEventLog) -> SqliteEventLog:
        return SqliteEventLog(log.path)


def test_first_append_creates_sqlite_log(tmp_path: Path) -> None:
    """Reading creates no file; another log object at the same path reads the appended events."""
    path = tmp_path / "events.db"
    log = SqliteEventLog(path)
    assert log.ranges() == [(0, 0)]
    assert not path.exists()
    log.append(messages(2))
    assert SqliteEventLog(path).ranges() == [(0, 2)]


@pytest.mark.parametrize("content", [b"", b"garbage " * 500])
def test_invalid_log_file_is_rejected_unchanged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "events.db"
    path.write_bytes(content)
    for call in (lambda log: log.ranges(), lambda log: log.append(messages(1))):
        with pytest.raises(LogDamagedError) as error:
            call(SqliteEventLog(path))
        assert error.value.message.effect == "The file was not changed."
    assert path.read_bytes() == content


def test_append_requires_existing_folder(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailableError) as error:
        SqliteEventLog(tmp_path / "missing" / "events.db").append(messages(1))
    assert says(error) == snapshot(
        "The event log TMP/missing/events.db cannot be used: it cannot be opened; check that this user has read access to it. No events were appended."
    )
    assert not isinstance(error.value, sqlite3.Error)
    assert error.value.__suppress_context__
    assert error.value.driver_message


def test_sqlite_log_is_private_and_in_wal_mode(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path / "events.db")
    log.append(messages(1))
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    with closing(sqlite3.connect(log.path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert log._connection is not None
    assert log._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    log.close()


def test_commit_keeps_acknowledged_events_durable(tmp_path: Path) -> None:
    """No commit turns off fsync: any transaction may checkpoint the WAL with acknowledged events."""
    log = SqliteEventLog(tmp_path / "events.db")
    log.append(messages(1))
    assert log._connection is not None
    statements: list[str] = []
    log._connection.set_trace_callback(statements.append)
    log.consumer("test").commit(LogPosition(0, 0))
    log._connection.set_trace_callback(None)
    assert any("commits" in statement for statement in statements)
    assert not [statement for statement in statements if "synchronous" in statement.lower() and statement.upper().endswith(("OFF", "0"))]
    assert log._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    log.close()


def test_range_starts_at_first_remaining_event(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path / "events.db")
    log.append(messages(10))
    with closing(sqlite3.connect(log.path)) as connection, connection:
        connection.execute('DELETE FROM events WHERE "offset" < 4')
    assert log.ranges() == [(4, 10)]
    assert log.consumer("test").poll(1, 0)[0].offset == 4
    log.close()


def test_newer_log_version_is_rejected_unchanged(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path / "events.db")
    log.append(messages(1))
    log.close()
    with closing(sqlite3.connect(log.path)) as connection, connection:
        connection.execute("PRAGMA user_version = 2")
    before = log.path.read_bytes()
    for call in (log.ranges, lambda: log.append(messages(1)), lambda: log.consumer("test").poll(1, 0)):
        with pytest.raises(LogError) as error:
            call()
        assert says(error) == snapshot(
            "TMP/events.db is an event log of version 2; this evalkit reads version 1. Upgrade evalkit from where you installed it."
        )
    assert log.path.read_bytes() == before


def test_database_of_another_program_is_rejected_unchanged(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "events.db")) as connection, connection:
        connection.execute("CREATE TABLE events (theirs)")
    before = (tmp_path / "events.db").read_bytes()
    with pytest.raises(LogDamagedError) as error:
        SqliteEventLog(tmp_path / "events.db").append(messages(1))
    assert says(error) == snapshot(
        "TMP/events.db is not an evalkit event log, or it was emptied. The file was not changed. Restore it from a backup, or move it away and use another home."
    )
    assert (tmp_path / "events.db").read_bytes() == before


def test_folder_at_log_path_raises_log_unavailable(tmp_path: Path) -> None:
    (tmp_path / "events.db").mkdir()
    for call in (lambda log: log.ranges(), lambda log: log.append(messages(1)), lambda log: log.consumer("test").poll(1, 0)):
        with pytest.raises(LogUnavailableError) as error:
            call(SqliteEventLog(tmp_path / "events.db"))
        assert says(error) == snapshot(
            "The event log TMP/events.db cannot be used: it cannot be opened; check that this user has read access to it. No events were appended."
        )
        assert error.value.__suppress_context__


WITHOUT_RIGHTS = """
import os, sys
from pathlib import Path
from evalkit.errors import LogUnavailableError
from evalkit.domain.events import EncodedEvent
from evalkit.eventlog.sqlite_log import SqliteEventLog

folder = Path(sys.argv[1])
if os.getuid() == 0:  # root may write anywhere
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
for name in ("new", "events.db"):
    try:
        open(folder / name, "ab").close()
    except PermissionError:
        continue
    raise SystemExit(f"{name} could be written")
for name in ("new.db", "events.db"):
    try:
        SqliteEventLog(folder / name).append([EncodedEvent("s", "e", b"event")])
    except LogUnavailableError as error:
        print(type(error).__name__, error.__cause__, error.__suppress_context__, error.message.effect)
"""


def test_read_only_folder_raises_log_unavailable() -> None:
    """Runs without root's privileges: neither a new nor an existing log is written, and no file is left behind."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = SqliteEventLog(folder / "events.db")
        log.append(messages(1))
        log.close()
        log.path.chmod(0o444)
        folder.chmod(0o555)
        command = [sys.executable, "-c", WITHOUT_RIGHTS, name]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (answer.stdout, answer.stderr) == ("LogUnavailableError None True No events were appended.\n" * 2, "")
        assert [path.name for path in folder.iterdir()] == ["events.db"]
        folder.chmod(0o755)
