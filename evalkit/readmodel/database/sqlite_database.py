"""The read model's database in a local file, through Python's own SQLite.

libsql-client reads files too, but importing it loads a client for HTTP and one for websockets, which takes 0.3 s of every
command. One connection is kept: the last one to close copies the whole WAL back, which costs more than a call. It waits for
nothing (``timeout=0``): a busy database is tried again here, for a bounded time.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from evalkit._util.sqlite_files import BUSY, DAMAGED, SqliteFile, create_whole, primary_code, read_without_writing, says
from evalkit._util.waiting import BUSY_SECONDS, Pauses
from evalkit.errors import DatabaseBusyError, DatabaseDamagedError, DatabaseError, DatabaseUnavailableError
from evalkit.readmodel.database.database import Args, BulkInsert, ConditionFailed, Row, Statement

__all__ = ["SqliteDatabase"]

_logger = logging.getLogger("evalkit.readmodel")
_T = TypeVar("_T")
_BOUND_VALUES = 30_000  # SQLite binds at most 32,766 in one statement


class SqliteDatabase(SqliteFile):
    """A `Database` in one file, in WAL mode. The first batch creates the file; until then the database is empty.

    Parameters
    ----------
    path
        The file. Its folder must exist when something is written.
    read_only
        Open the file without writing anything, not even a lock beside it: for a folder that cannot be written.
    busy_seconds
        How long to try again while others hold the database.
    """

    def __init__(self, path: Path, *, read_only: bool = False, busy_seconds: float = BUSY_SECONDS) -> None:
        super().__init__(path)
        self.busy_retries = 0
        """How often a call found the database busy and tried again."""
        self._read_only = read_only
        self._busy_seconds = busy_seconds

    def execute(self, sql: str, args: Args = ()) -> list[Row]:
        """See `Database.execute`."""
        if not self._exists(create=False):
            return []
        return self._patiently(lambda connection: _rows(connection, (sql, args)))

    def batch(self, statements: Sequence[Statement | BulkInsert]) -> list[list[Row]]:
        """See `Database.batch`."""
        self._exists(create=True)
        return self._patiently(lambda connection: _transaction(connection, statements))

    def _exists(self, *, create: bool) -> bool:
        if self.path.exists():
            return True
        self.close()  # should it have been moved away or deleted
        if create:
            try:
                create_whole(self.path, lambda _: None)
            except OSError as error:
                raise self._unavailable("it cannot be created", str(error)) from None
            except sqlite3.Error as error:
                raise self._in_words(getattr(error, "sqlite_errorname", "SQLITE_ERROR"), str(error)) from None
        return create

    def _patiently(self, call: Callable[[sqlite3.Connection], _T]) -> _T:
        pauses = Pauses(0.001, 0.05, self._busy_seconds)
        while True:
            try:
                with self._lock:  # so that nothing is open when another thread forks
                    return read_without_writing(self.path, call) if self._read_only else call(self._connected())
            except sqlite3.Error as error:
                code, message = getattr(error, "sqlite_errorname", "SQLITE_ERROR"), str(error)
            if code == "SQLITE_CONSTRAINT_NOTNULL":
                raise ConditionFailed(message)
            if primary_code(code) not in BUSY or pauses.over:
                self.close()  # the next call opens the file again: it may be another one by then
                raise self._in_words(code, message)
            self.busy_retries += 1
            _logger.debug("database busy (%s), trying again", code)
            time.sleep(pauses.next())

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=0)

    def _set_up(self, connection: sqlite3.Connection) -> None:
        if self.path.stat().st_size == 0:
            connection.execute("PRAGMA journal_mode=WAL")
        # Some builds of SQLite overwrite with zeros what is deleted: a rebuild would write the old tables once more.
        connection.execute("PRAGMA secure_delete=OFF")

    def _in_words(self, code: str, driver_message: str) -> DatabaseError:
        if primary_code(code) in BUSY:
            return DatabaseBusyError(
                f"The read model {self.path} stayed locked by other processes for {self._busy_seconds:g} s",
                hint="Try again; if it stays so, see which process holds it.", driver_message=driver_message,
            )  # fmt: skip
        if primary_code(code) in DAMAGED:
            return DatabaseDamagedError(
                f"The read model {self.path} cannot be read: {says(code, driver_message)}", effect="It was left as it is.",
                hint="Nothing is lost: move the file away, and the next command rebuilds it from the log.", driver_message=driver_message,
            )  # fmt: skip
        return self._unavailable(says(code, driver_message), driver_message)

    def _unavailable(self, why: str, driver_message: str) -> DatabaseUnavailableError:
        return DatabaseUnavailableError(f"The read model {self.path} cannot be used: {why}", driver_message=driver_message)


def _rows(connection: sqlite3.Connection, statement: Statement) -> list[Row]:
    sql, args = statement
    return connection.execute(sql, tuple(args)).fetchall()


def _transaction(connection: sqlite3.Connection, statements: Sequence[Statement | BulkInsert]) -> list[list[Row]]:
    connection.execute("BEGIN")
    try:
        results = [_insert(connection, one) if isinstance(one, BulkInsert) else _rows(connection, one) for one in statements]
        connection.execute("COMMIT")
        return results
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _insert(connection: sqlite3.Connection, rows: BulkInsert) -> list[Row]:
    """Insert rows with thousands of values a statement."""
    one = f"({','.join('?' * rows.width)})"
    step = _BOUND_VALUES // rows.width * rows.width
    for start in range(0, len(rows.values), step):
        part = rows.values[start : start + step]
        connection.execute(f"INSERT INTO {rows.table} VALUES {','.join([one] * (len(part) // rows.width))}", part)
    return []
