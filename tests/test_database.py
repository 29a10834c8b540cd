"""The database adapters: the contract, and tests of SQLite files."""

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
from inline_snapshot import snapshot

from evalkit.errors import DatabaseBusyError, DatabaseDamagedError, DatabaseUnavailableError
from evalkit.readmodel.database.sqlite_database import SqliteDatabase
from tests.database_contract import DatabaseContract
from tests.messages import says

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


def test_busy_file_is_retried_until_timeout(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "a.db", busy_seconds=0.3)
    database.batch([TABLE])
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseBusyError) as error:
            database.batch([("INSERT INTO t VALUES (1, 'a')", ())])
        assert says(error) == snapshot(
            "The read model TMP/a.db was locked by other processes for 0.3 s. Try again; if it stays locked, find the process that has it open."
        )
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
    assert SqliteDatabase(tmp_path / "a.db").execute("SELECT 1") == []
    assert list(tmp_path.iterdir()) == []


def test_invalid_database_file_is_rejected_unchanged(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"garbage " * 1000)
    with pytest.raises(DatabaseDamagedError) as error:
        SqliteDatabase(tmp_path / "a.db").execute("SELECT 1 FROM sqlite_master")
    assert says(error) == snapshot(
        "The read model TMP/a.db cannot be read: the file is not a database. The file was not changed. No data is lost: move the file away, and the next command rebuilds the read model from the log."
    )
    assert error.value.driver_message
    assert (tmp_path / "a.db").read_bytes() == b"garbage " * 1000


def test_batch_requires_existing_folder(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailableError) as error:
        SqliteDatabase(tmp_path / "missing" / "a.db").batch([TABLE])
    assert says(error) == snapshot(
        "The read model TMP/missing/a.db cannot be used: it cannot be opened; check that this user has read access to it."
    )


def test_folder_at_database_path_raises_database_unavailable(tmp_path: Path) -> None:
    """Repeated calls raise the same error."""
    (tmp_path / "a.db").mkdir()
    database = SqliteDatabase(tmp_path / "a.db")
    for call in (lambda: database.execute("SELECT 1"), lambda: database.batch([TABLE])) * 2:
        with pytest.raises(DatabaseUnavailableError) as error:
            call()
        assert says(error) == snapshot(
            "The read model TMP/a.db cannot be used: it cannot be opened; check that this user has read access to it."
        )
        assert error.value.__cause__ is None
        assert error.value.driver_message


def test_batch_recreates_damaged_file_after_moving_it_away(tmp_path: Path) -> None:
    """In the same process; the new file is private and in WAL mode."""
    path = tmp_path / "a.db"
    path.write_bytes(b"garbage " * 1000)
    database = SqliteDatabase(path)
    for call in (lambda: database.execute("SELECT 1 FROM sqlite_master"), lambda: database.batch([TABLE])):
        with pytest.raises(DatabaseDamagedError) as error:
            call()
        assert "move the file away" in error.value.message.hint
    path.rename(tmp_path / "away")
    assert database.execute("SELECT 1") == []
    database.batch([TABLE, ("INSERT INTO t VALUES (1, 'a')", ())])
    assert database.execute("SELECT v FROM t") == [("a",)]
    assert database.execute("PRAGMA journal_mode") == [("wal",)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (tmp_path / "away").read_bytes() == b"garbage " * 1000
    database.close()


def test_truncated_file_is_rejected_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    database = SqliteDatabase(path)
    database.batch([TABLE, ("INSERT INTO t SELECT value, hex(randomblob(500)) FROM json_each(?)", (str(list(range(100))),))])
    database.close()
    cut = path.read_bytes()[: path.stat().st_size // 2 // 4096 * 4096]
    path.write_bytes(cut)
    with pytest.raises(DatabaseDamagedError) as error:
        SqliteDatabase(path).execute("SELECT count(v), max(v) FROM t")
    assert says(error) == snapshot(
        "The read model TMP/a.db cannot be read: the file is damaged or truncated. The file was not changed. No data is lost: move the file away, and the next command rebuilds the read model from the log."
    )
    assert path.read_bytes() == cut


def test_read_only_database_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    database = SqliteDatabase(path)
    database.batch([TABLE, ("INSERT INTO t VALUES (1, 'a')", ())])
    database.close()
    before = path.read_bytes()
    reader = SqliteDatabase(path, read_only=True)
    assert reader.execute("SELECT v FROM t") == [("a",)]
    with pytest.raises(DatabaseUnavailableError) as error:
        reader.batch([("INSERT INTO t VALUES (2, 'b')", ())])
    assert says(error) == snapshot("The read model TMP/a.db cannot be used: it is not writable.")
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
def test_read_only_folder_allows_reading_only() -> None:
    """Runs without root's privileges."""
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
