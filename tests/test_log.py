"""The event logs: each adapter runs the whole contract, and says only how to open it."""

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

from evalkit.errors import LogDamagedError, LogError, LogUnavailableError
from evalkit.eventlog.event_log import LogPosition
from evalkit.eventlog.sqlite_log import SqliteEventLog
from tests.log_contract import LogContract, messages
from tests.memory_log import InMemoryEventLog


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


def test_a_sqlite_log_comes_into_being_with_the_first_append(tmp_path: Path) -> None:
    """Reading creates no file; after appending, another log object at the same path reads the event."""
    path = tmp_path / "events.db"
    log = SqliteEventLog(path)
    assert log.ranges() == [(0, 0)]
    assert not path.exists()
    log.append(messages(2))
    assert SqliteEventLog(path).ranges() == [(0, 2)]


@pytest.mark.parametrize("content", [b"", b"garbage " * 500])
def test_a_file_that_is_no_log_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    """An emptied file or garbage is refused in words, for reading as for appending."""
    path = tmp_path / "events.db"
    path.write_bytes(content)
    for call in (lambda log: log.ranges(), lambda log: log.append(messages(1))):
        with pytest.raises(LogDamagedError, match=r"left as it (is|was)"):
            call(SqliteEventLog(path))
    assert path.read_bytes() == content


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    """The driver's error does not reach the caller; its words are an attribute."""
    with pytest.raises(LogUnavailableError, match="Nothing was appended") as raised:
        SqliteEventLog(tmp_path / "missing" / "events.db").append(messages(1))
    assert not isinstance(raised.value, sqlite3.Error)
    assert raised.value.__suppress_context__
    assert raised.value.driver_message


def test_a_sqlite_log_is_private_and_in_wal_mode(tmp_path: Path) -> None:
    """Only its owner may read it; writing is durable in WAL mode, which the file remembers."""
    log = SqliteEventLog(tmp_path / "events.db")
    log.append(messages(1))
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    with closing(sqlite3.connect(log.path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert log._connection is not None
    assert log._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    log.close()


def test_noting_a_position_never_puts_an_event_at_risk(tmp_path: Path) -> None:
    """A commit need not be flushed, but any transaction may copy the WAL back: with `synchronous=OFF` it would do so without a flush, and
    what append acknowledged could be lost with the power. NORMAL flushes nothing at a commit, and everything before it copies.
    """
    log = SqliteEventLog(tmp_path / "events.db")
    log.append(messages(1))
    assert log._connection is not None
    said: list[str] = []
    log._connection.set_trace_callback(said.append)
    log.consumer("test").commit(LogPosition(0, 0))
    log._connection.set_trace_callback(None)
    assert any("commits" in statement for statement in said)
    assert not [statement for statement in said if "synchronous" in statement.lower() and statement.upper().endswith(("OFF", "0"))]
    assert log._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    log.close()


def test_a_log_without_its_beginning_says_so(tmp_path: Path) -> None:
    """The range begins where the first event is that is still there."""
    log = SqliteEventLog(tmp_path / "events.db")
    log.append(messages(10))
    with closing(sqlite3.connect(log.path)) as connection, connection:
        connection.execute('DELETE FROM events WHERE "offset" < 4')
    assert log.ranges() == [(4, 10)]
    assert log.consumer("test").poll(1, 0)[0].offset == 4
    log.close()


def test_a_log_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """With the line that upgrades, and without touching it."""
    log = SqliteEventLog(tmp_path / "events.db")
    log.append(messages(1))
    log.close()
    with closing(sqlite3.connect(log.path)) as connection, connection:
        connection.execute("PRAGMA user_version = 2")
    before = log.path.read_bytes()
    for call in (log.ranges, lambda: log.append(messages(1)), lambda: log.consumer("test").poll(1, 0)):
        with pytest.raises(LogError, match="Upgrade evalkit from where you installed it"):
            call()
    assert log.path.read_bytes() == before


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    """A SQLite file that is no event log stays as it is."""
    with closing(sqlite3.connect(tmp_path / "events.db")) as connection, connection:
        connection.execute("CREATE TABLE events (theirs)")
    before = (tmp_path / "events.db").read_bytes()
    with pytest.raises(LogDamagedError, match="not an evalkit event log"):
        SqliteEventLog(tmp_path / "events.db").append(messages(1))
    assert (tmp_path / "events.db").read_bytes() == before


def test_a_folder_in_the_place_of_a_log_is_told(tmp_path: Path) -> None:
    """As an error of evalkit, for reading as for appending."""
    (tmp_path / "events.db").mkdir()
    for call in (lambda log: log.ranges(), lambda log: log.append(messages(1)), lambda log: log.consumer("test").poll(1, 0)):
        with pytest.raises(LogUnavailableError, match="cannot be used") as raised:
            call(SqliteEventLog(tmp_path / "events.db"))
        assert raised.value.__suppress_context__


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
        print(type(error).__name__, error.__cause__, error.__suppress_context__, "Nothing was appended" in str(error))
"""


def test_a_folder_that_cannot_be_written_is_told() -> None:
    """In a process without root's rights, where a plain write fails: a new log as well as one that is there; nothing is left behind."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = SqliteEventLog(folder / "events.db")
        log.append(messages(1))
        log.close()
        log.path.chmod(0o444)
        folder.chmod(0o555)
        command = [sys.executable, "-c", WITHOUT_RIGHTS, name]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (answer.stdout, answer.stderr) == ("LogUnavailableError None True True\n" * 2, "")
        assert [path.name for path in folder.iterdir()] == ["events.db"]
        folder.chmod(0o755)
