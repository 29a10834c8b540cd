"""The read model's database through libsql-client: a local file.

libsql-client opens a connection for each call, and the last one to close copies the whole WAL back, which costs more than the call. So one
connection is kept, and handed to it again. It waits for nothing (``timeout=0``): a busy database is tried again here, for a bounded time.
"""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from evalkit.database.port import Args, BulkInsert, ConditionFailed, Row, Statement
from evalkit.errors import DatabaseBusyError, DatabaseDamagedError, DatabaseError, DatabaseUnavailableError
from evalkit.reports import EngineReport
from evalkit.sqlite_files import BUSY, DAMAGED, close_for_fork, create_whole, file_identity, primary_code, read_without_writing, says

__all__ = ["LibsqlFileDatabase"]

_logger = logging.getLogger("evalkit.database")
_T = TypeVar("_T")
_BOUND_VALUES = 30_000  # SQLite binds at most 32,766 in one statement


class LibsqlFileDatabase:
    """A `Database` in one file, in WAL mode. The file comes into being with the first batch; until then it is empty.

    Parameters
    ----------
    path
        The file. Its folder must exist when something is written.
    read_only
        Open the file without writing so much as a lock beside it: for a folder that cannot be written.
    busy_seconds
        How long to try again while others hold the database.
    """

    def __init__(self, path: Path, *, read_only: bool = False, busy_seconds: float = 30.0) -> None:
        self.path = path
        self.busy_retries = 0
        """How often a call found the database busy and tried again."""
        self._read_only = read_only
        self._busy_seconds = busy_seconds
        self._lock = threading.RLock()
        self._client: Any = None
        close_for_fork(self)

    def execute(self, sql: str, args: Args = ()) -> list[Row]:
        """See `Database.execute`."""
        if not self._exists(create=False):
            return []
        result = self._patiently(lambda client: client.execute(sql, tuple(args)))
        return [row.astuple() for row in result.rows]

    def batch(self, statements: Sequence[Statement | BulkInsert]) -> list[list[Row]]:
        """See `Database.batch`."""
        self._exists(create=True)
        results = self._patiently(lambda client: client.batch(statements))
        return [[row.astuple() for row in result.rows] for result in results]

    def describe(self) -> EngineReport:
        """See `Database.describe`."""
        return EngineReport("SQLite", sqlite3.sqlite_version, (str(self.path),))

    def close(self) -> None:
        """See `Database.close`."""
        with self._lock:
            if self._client is not None and self._client.kept is not None:
                self._client.kept.connection.close()
            self._client = None

    def __del__(self) -> None:
        with suppress(Exception):  # a kit need not be closed, and an interpreter that ends has taken things away already
            self.close()

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

    def _patiently(self, call: Callable[[Any], Coroutine[Any, Any, _T]]) -> _T:
        from libsql_client import LibsqlError

        deadline = time.monotonic() + self._busy_seconds
        pause = 0.001
        while True:
            try:
                with self._lock:  # so that nothing is open when another thread forks
                    return self._call(call)
            except LibsqlError as error:
                code, message = error.code, error.explanation
            except sqlite3.Error as error:  # opening a connection is outside libsql-client's own mapping
                code, message = getattr(error, "sqlite_errorname", "SQLITE_ERROR"), str(error)
            if code == "SQLITE_CONSTRAINT_NOTNULL":
                raise ConditionFailed(message)
            if primary_code(code) not in BUSY or time.monotonic() > deadline:
                self.close()  # the next call opens the file anew: it may be another one by then
                raise self._in_words(code, message)
            self.busy_retries += 1
            _logger.debug("database busy (%s), trying again", code)
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  (keeps processes out of step; no secret)
            pause = min(pause * 2, 0.05)

    def _opened(self) -> Any:
        if self._client is None:
            self._client = _client(str(self.path))
        return self._client

    def _call(self, call: Callable[[Any], Coroutine[Any, Any, _T]]) -> _T:
        client = self._opened()
        if not self._read_only:
            return _run(call(client))

        def read(connection: sqlite3.Connection) -> _T:
            client.kept = _Kept(connection, str(self.path))
            return _run(call(client))

        try:
            return read_without_writing(self.path, read)
        finally:
            client.kept = None

    def _in_words(self, code: str, driver_message: str) -> DatabaseError:
        if primary_code(code) in BUSY:
            wrong: DatabaseError = DatabaseBusyError(
                f"The read model {self.path} stayed locked by other processes for {self._busy_seconds:g} s. "
                "Try again; if it stays so, see which process holds it."
            )
        elif primary_code(code) in DAMAGED:
            wrong = DatabaseDamagedError(
                f"The read model {self.path} cannot be read: {says(code, driver_message)}. It was left as it is. "
                "Nothing is lost, it is made from the log: move the file away, and the next command makes it anew."
            )
        else:
            return self._unavailable(says(code, driver_message), driver_message)
        wrong.driver_message = driver_message
        return wrong

    def _unavailable(self, why: str, driver_message: str) -> DatabaseUnavailableError:
        wrong = DatabaseUnavailableError(f"The read model {self.path} cannot be used: {why}.")
        wrong.driver_message = driver_message
        return wrong


def _client(path: str) -> Any:
    # The class rather than create_client(url): a URL cannot hold a path with '#' or '?', and a folder may well be named C#.
    from libsql_client import LibsqlError
    from libsql_client.sqlite3_utils import Sqlite3Client, _execute_stmt

    class FileClient(Sqlite3Client):  # type: ignore[misc]
        kept: _Kept | None = None

        def _connect(self) -> _Kept:
            if self.kept is not None and not self.kept.stands_at(path):
                self.kept.connection.close()
                self.kept = None
            if self.kept is None:
                self.kept = _Kept(_connection(path), path)
            return self.kept

        async def batch(self, statements: Sequence[Statement | BulkInsert]) -> list[Any]:
            connection = self._connect()
            try:
                _execute_stmt(connection, "BEGIN")
                results = [
                    _bulk(connection, one) if isinstance(one, BulkInsert) else _execute_stmt(connection, (one[0], tuple(one[1])))
                    for one in statements
                ]
                _execute_stmt(connection, "COMMIT")
                return results
            finally:
                connection.close()

    def _bulk(connection: _Kept, rows: BulkInsert) -> Any:
        """Insert rows with thousands of values a statement, which libsql-client would look at one by one."""
        one = f"({','.join('?' * rows.width)})"
        step = _BOUND_VALUES // rows.width * rows.width
        try:
            for start in range(0, len(rows.values), step):
                part = rows.values[start : start + step]
                connection.execute(f"INSERT INTO {rows.table} VALUES {','.join([one] * (len(part) // rows.width))}", part)
            return _NO_ROWS
        except sqlite3.Error as error:
            raise LibsqlError(str(error), getattr(error, "sqlite_errorname", "SQLITE")) from error

    return FileClient(path)


def _connection(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
    if Path(path).stat().st_size == 0:
        connection.execute("PRAGMA journal_mode=WAL")
    # Some builds of SQLite overwrite with zeros what is deleted: a rebuild would write the old tables once more.
    connection.execute("PRAGMA secure_delete=OFF")
    return connection


class _Kept:
    """A connection that stays open when libsql-client closes it after each call: opening one costs more than most calls."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self.connection = connection
        self.execute = connection.execute
        self._file = file_identity(path)

    def stands_at(self, path: str) -> bool:
        """Whether the file at `path` is the one that was opened: it may have been deleted or replaced."""
        return self._file is not None and self._file == file_identity(path)

    def close(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")


class _NoRows:
    """What inserting gives."""

    rows: tuple[Any, ...] = ()


_NO_ROWS = _NoRows()


def _run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine of the file client, which never awaits anything: no event loop, no thread, and none to keep a process alive."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    coroutine.close()
    raise RuntimeError("libsql-client's file client awaited something; evalkit is made for version 0.3.1")
