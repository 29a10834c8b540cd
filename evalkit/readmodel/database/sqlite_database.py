"""The read model's database in a local file, through Python's sqlite3.

libsql-client reads files too, but its import takes 0.3 s, because it imports HTTP and websocket clients. One connection stays open, because
closing the last connection checkpoints the WAL, which takes longer than a query. SQLite's own busy timeout is disabled (``timeout=0``):
`SqliteDatabase` retries with a time limit.

The log is the source of truth, so a commit is not flushed to the disk: after a power failure, the read model is in an earlier consistent
state, and the next catch-up continues from its positions. Large pages and a large cache make inserts in bulk faster.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from evalkit._util.sqlite_files import BUSY, DAMAGED, SqliteFile, create_atomically, describe_failure, primary_code, read_without_writing
from evalkit._util.waiting import BUSY_SECONDS, Pauses
from evalkit.errors import DatabaseBusyError, DatabaseDamagedError, DatabaseError, DatabaseUnavailableError
from evalkit.readmodel.database.database import REBUILD_HINTS, Args, BulkInsert, ConditionFailed, Row, Statement

__all__ = ["SqliteDatabase"]

_logger = logging.getLogger("evalkit.readmodel")
_T = TypeVar("_T")
_PAGE_SIZE = 16_384
_CACHE_KIB = 32_768
_BOUND_VALUES = 30_000  # SQLite binds at most 32,766 in one statement


class SqliteDatabase(SqliteFile):
    """A `Database` in one file in WAL mode, created by the first batch.

    A missing file reads as an empty database.

    Parameters
    ----------
    path
        The file. Its folder must exist for a batch.
    read_only
        Read the file without writing anything, not even lock files: for a read-only folder.
    busy_seconds
        How long to retry while other processes lock the database.
    """

    def __init__(self, path: Path, *, read_only: bool = False, busy_seconds: float = BUSY_SECONDS) -> None:
        super().__init__(path)
        self.busy_retries = 0
        """The number of retries because the database was busy."""
        self._read_only = read_only
        self._busy_seconds = busy_seconds

    def switch(self, path: Path, *, read_only: bool) -> tuple[Path, bool]:
        """Use another file from now on, and return `path` and `read_only` of the previous one."""
        with self._lock:
            self.close()
            before = self.path, self._read_only
            self.path, self._read_only = path, read_only
            return before

    def execute(self, sql: str, args: Args = ()) -> list[Row]:
        """See `Database.execute`."""
        if not self._exists(create=False):
            return []
        return self._retried(lambda connection: _rows(connection, (sql, args)))

    def batch(self, statements: Sequence[Statement | BulkInsert], *, confirm: Callable[[], None] | None = None) -> list[list[Row]]:
        """See `Database.batch`."""
        self._exists(create=True)
        return self._retried(lambda connection: _transaction(connection, statements, confirm))

    def _exists(self, *, create: bool) -> bool:
        if self.path.exists():
            return True
        self.close()  # the file may have been moved or deleted
        if create:
            try:
                create_atomically(self.path, lambda _: None, page_size=_PAGE_SIZE)
            except OSError as error:
                raise self._unavailable("it cannot be created", str(error)) from None
            except sqlite3.Error as error:
                raise self._as_database_error(getattr(error, "sqlite_errorname", "SQLITE_ERROR"), str(error)) from None
        return create

    def _retried(self, call: Callable[[sqlite3.Connection], _T]) -> _T:
        pauses = Pauses(0.001, 0.05, self._busy_seconds)
        while True:
            try:
                with self._lock:  # the lock also prevents a fork by another thread while the file is open
                    return read_without_writing(self.path, call) if self._read_only else call(self._connected())
            except sqlite3.Error as error:
                code, message = getattr(error, "sqlite_errorname", "SQLITE_ERROR"), str(error)
            if code == "SQLITE_CONSTRAINT_NOTNULL":
                raise ConditionFailed(message)
            if primary_code(code) not in BUSY or pauses.over:
                self.close()  # the next call reopens the file, in case it was replaced
                raise self._as_database_error(code, message)
            self.busy_retries += 1
            _logger.debug("database busy (%s), retrying", code)
            time.sleep(pauses.next())

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=0)

    def _set_up(self, connection: sqlite3.Connection) -> None:
        if self.path.stat().st_size == 0:
            connection.execute("PRAGMA journal_mode=WAL")
        # Some builds of SQLite overwrite deleted data with zeros, so a rebuild would also write all old tables.
        connection.execute("PRAGMA secure_delete=OFF")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")

    def _as_database_error(self, code: str, driver_message: str) -> DatabaseError:
        if primary_code(code) in BUSY:
            return DatabaseBusyError(
                f"The read model {self.path} was locked by other processes for {self._busy_seconds:g} s",
                hint="Try again; if it stays locked, find the process that has it open.", driver_message=driver_message,
            )  # fmt: skip
        failure = describe_failure(code, driver_message)
        if primary_code(code) in DAMAGED:
            return DatabaseDamagedError(
                f"The read model {self.path} cannot be read: {failure.reason}", effect="The file was not changed.",
                hint="No data is lost: move the file away, and the next command rebuilds the read model from the log.",
                driver_message=driver_message,
            )  # fmt: skip
        return self._unavailable(failure.reason, driver_message, **(REBUILD_HINTS if failure.foreign_change else {}))

    def _unavailable(self, reason: str, driver_message: str, **hints: str) -> DatabaseUnavailableError:
        problem = f"The read model {self.path} cannot be used: {reason}"
        return DatabaseUnavailableError(problem, driver_message=driver_message, **hints)


def _rows(connection: sqlite3.Connection, statement: Statement) -> list[Row]:
    sql, args = statement
    return connection.execute(sql, tuple(args)).fetchall()


def _transaction(
    connection: sqlite3.Connection, statements: Sequence[Statement | BulkInsert], confirm: Callable[[], None] | None
) -> list[list[Row]]:
    connection.execute("BEGIN")
    try:
        results = [
            _insert(connection, statement) if isinstance(statement, BulkInsert) else _rows(connection, statement)
            for statement in statements
        ]
        if confirm is not None:
            confirm()
        connection.execute("COMMIT")
        return results
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _insert(connection: sqlite3.Connection, rows: BulkInsert) -> list[Row]:
    """Insert rows with as many values per statement as SQLite allows."""
    width, into = rows.width, f"INSERT INTO {rows.table} ({rows.columns}) VALUES"
    placeholders = f"({','.join('?' * width)})"
    step = _BOUND_VALUES // width * width
    for start in range(0, len(rows.values), step):
        part = rows.values[start : start + step]
        connection.execute(f"{into} {','.join([placeholders] * (len(part) // width))}", part)
    return []
