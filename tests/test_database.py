"""The databases: each adapter runs the whole contract, and says only how to open it."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from evalkit.errors import DatabaseBusyError, DatabaseDamagedError, DatabaseUnavailableError
from evalkit.readmodel.database.sqlite_database import SqliteDatabase
from tests.database_contract import DatabaseContract

TABLE = ("CREATE TABLE t (k INTEGER PRIMARY KEY, v)", ())


class TestSqlite(DatabaseContract):
    @pytest.fixture
    def database(self, tmp_path: Path) -> Iterator[SqliteDatabase]:
        database = SqliteDatabase(tmp_path / "read model.db")
        database.batch([TABLE])
        yield database
        database.close()

    def another(self, database: SqliteDatabase) -> SqliteDatabase:
        return SqliteDatabase(database.path)


def test_a_busy_file_is_tried_again_and_in_the_end_told(tmp_path: Path) -> None:
    """While another connection holds the write lock a batch waits; past the time it is told, and nothing was written."""
    database = SqliteDatabase(tmp_path / "a.db", busy_seconds=0.3)
    database.batch([TABLE])
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseBusyError, match="stayed locked"):
            database.batch([("INSERT INTO t VALUES (1, 'a')", ())])
        assert database.busy_retries > 0
        patient = SqliteDatabase(tmp_path / "a.db")
        release = threading.Timer(0.2, lambda: other.execute("ROLLBACK"))
        began = time.monotonic()
        release.start()
        patient.batch([("INSERT INTO t VALUES (1, 'b')", ())])
        release.join()
        assert time.monotonic() - began >= 0.15
        assert patient.busy_retries > 0
        assert patient.execute("SELECT v FROM t") == [("b",)]


def test_reading_creates_no_file(tmp_path: Path) -> None:
    """A file that is not there reads as empty."""
    assert SqliteDatabase(tmp_path / "a.db").execute("SELECT 1") == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    """Garbage is refused in words that say that nothing is lost, and stays."""
    (tmp_path / "a.db").write_bytes(b"garbage " * 1000)
    with pytest.raises(DatabaseDamagedError, match="Nothing is lost") as raised:
        SqliteDatabase(tmp_path / "a.db").execute("SELECT 1 FROM sqlite_master")
    assert raised.value.driver_message
    assert (tmp_path / "a.db").read_bytes() == b"garbage " * 1000


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    """The driver's error does not reach the caller."""
    with pytest.raises(DatabaseUnavailableError, match="cannot be used"):
        SqliteDatabase(tmp_path / "missing" / "a.db").batch([TABLE])


def test_a_folder_in_the_place_of_a_database_is_told(tmp_path: Path) -> None:
    """As an error of evalkit, for reading as for writing, the second time too."""
    (tmp_path / "a.db").mkdir()
    database = SqliteDatabase(tmp_path / "a.db")
    for call in (lambda: database.execute("SELECT 1"), lambda: database.batch([TABLE])) * 2:
        with pytest.raises(DatabaseUnavailableError, match="cannot be opened") as raised:
            call()
        assert raised.value.__cause__ is None
        assert raised.value.driver_message


def test_a_damaged_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    """As the error says: the next write makes it, whole, private and in WAL mode, in the process that was told so."""
    path = tmp_path / "a.db"
    path.write_bytes(b"garbage " * 1000)
    database = SqliteDatabase(path)
    for call in (lambda: database.execute("SELECT 1 FROM sqlite_master"), lambda: database.batch([TABLE])):
        with pytest.raises(DatabaseDamagedError, match="move the file away"):
            call()
    path.rename(tmp_path / "away")
    assert database.execute("SELECT 1") == []
    database.batch([TABLE, ("INSERT INTO t VALUES (1, 'a')", ())])
    assert database.execute("SELECT v FROM t") == [("a",)]
    assert database.execute("PRAGMA journal_mode") == [("wal",)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (tmp_path / "away").read_bytes() == b"garbage " * 1000
    database.close()


def test_a_truncated_file_is_told(tmp_path: Path) -> None:
    """Cut in its middle it is refused in words, and stays as it is."""
    path = tmp_path / "a.db"
    database = SqliteDatabase(path)
    database.batch([TABLE, ("INSERT INTO t SELECT value, hex(randomblob(500)) FROM json_each(?)", (str(list(range(100))),))])
    database.close()
    cut = path.read_bytes()[: path.stat().st_size // 2 // 4096 * 4096]
    path.write_bytes(cut)
    with pytest.raises(DatabaseDamagedError, match="damaged or cut short"):
        SqliteDatabase(path).execute("SELECT count(v), max(v) FROM t")
    assert path.read_bytes() == cut


def test_a_read_only_opening_writes_nothing(tmp_path: Path) -> None:
    """It reads what is there, leaves no file beside it, and refuses to write."""
    path = tmp_path / "a.db"
    database = SqliteDatabase(path)
    database.batch([TABLE, ("INSERT INTO t VALUES (1, 'a')", ())])
    database.close()
    before = path.read_bytes()
    reader = SqliteDatabase(path, read_only=True)
    assert reader.execute("SELECT v FROM t") == [("a",)]
    with pytest.raises(DatabaseUnavailableError, match="not writable"):
        reader.batch([("INSERT INTO t VALUES (2, 'b')", ())])
    reader.close()
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.db"]


WITHOUT_RIGHTS = """
import os, sys
from pathlib import Path
from evalkit.readmodel.database.sqlite_database import SqliteDatabase
from evalkit.errors import DatabaseUnavailableError

folder = Path(sys.argv[1])
if os.getuid() == 0:  # root may write anywhere
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
for name in ("new", "a.db"):
    try:
        open(folder / name, "ab").close()
    except PermissionError:
        continue
    raise SystemExit(f"{name} could be written")
for name in ("new.db", "a.db"):
    try:
        SqliteDatabase(folder / name, busy_seconds=1).batch([("CREATE TABLE u (n)", ())])
    except DatabaseUnavailableError as error:
        print(type(error).__name__, error.__cause__, bool(error.driver_message))
print(SqliteDatabase(folder / "a.db", read_only=True).execute("SELECT v FROM t"))
"""


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_told() -> None:
    """In a process without root's rights, where a plain write fails: writing is refused in words, and reading works."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = SqliteDatabase(folder / "a.db")
        database.batch([TABLE, ("INSERT INTO t VALUES (1, 'a')", ())])
        database.close()
        database.path.chmod(0o444)
        folder.chmod(0o555)
        command = [sys.executable, "-c", WITHOUT_RIGHTS, name]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (answer.stdout, answer.stderr) == ("DatabaseUnavailableError None True\n" * 2 + "[('a',)]\n", "")
        assert [path.name for path in folder.iterdir()] == ["a.db"]
        folder.chmod(0o755)
