"""The embedded event log: one SQLite file, one partition, no server.

It is safe for concurrent processes on a local disk: writers wait for each other, and readers do not block them. An append is a transaction
in WAL mode (write-ahead log) with ``synchronous=FULL``, so it is durable (fsync) when it returns.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

from evalkit._util.named_tuples import named_tuples
from evalkit._util.sqlite_files import BUSY, DAMAGED, SqliteFile, create_atomically, describe_failure, primary_code, read_without_writing
from evalkit._util.waiting import BUSY_SECONDS, poll
from evalkit.domain.events import EncodedEvent
from evalkit.errors import LogDamagedError, LogError, LogUnavailableError
from evalkit.eventlog.event_log import LogPosition, LogRecord, PartitionRange

__all__ = ["SqliteEventLog"]

_APPLICATION_ID = 0x45564C47  # "EVLG": identifies the file type among SQLite files
_VERSION = 1
_BOUND_VALUES = 30_000  # SQLite binds at most 32,766 in one statement
_TABLES = """
CREATE TABLE events ("offset" INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE commits (consumer_group TEXT PRIMARY KEY, "offset" INTEGER NOT NULL);
"""
# A separate table, created on first use, because logs of earlier versions do not have it.
_IDENTITY_TABLE = "CREATE TABLE IF NOT EXISTS identity (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), id TEXT NOT NULL)"


class SqliteEventLog(SqliteFile):
    """An `EventLog` in one SQLite file, created by the first append or `identity`.

    A missing file reads as an empty log.

    Parameters
    ----------
    path
        The file. Its folder must exist for an append.
    read_only
        Read the file without writing anything, not even lock files: for a read-only folder.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        super().__init__(path)
        self._read_only = read_only

    def identity(self) -> str:
        """See `EventLog.identity`. It is a random id that is stored in the file."""
        with self._use(create=True) as connection:
            assert connection is not None
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'identity'").fetchone():
                with _transaction(connection):
                    connection.execute(_IDENTITY_TABLE)
                    connection.execute("INSERT OR IGNORE INTO identity VALUES (1, ?)", (str(uuid.uuid4()),))
            (identity,) = connection.execute("SELECT id FROM identity").fetchone()
            return str(identity)

    def append(self, messages: Sequence[EncodedEvent]) -> list[LogPosition]:
        """See `EventLog.append`. Atomic."""
        with self._use(create=True) as connection:
            assert connection is not None
            with _transaction(connection):
                (start,) = connection.execute('SELECT coalesce(max("offset") + 1, 0) FROM events').fetchone()
                values = [value for index, message in enumerate(messages, start) for value in (index, message.data)]
                for first in range(0, len(values), _BOUND_VALUES):
                    part = values[first : first + _BOUND_VALUES]
                    connection.execute(f"INSERT INTO events VALUES {','.join(['(?,?)'] * (len(part) // 2))}", part)
        return list(named_tuples(LogPosition, repeat(0), range(start, start + len(messages))))

    def ranges(self) -> list[PartitionRange]:
        """See `EventLog.ranges`."""
        sql = 'SELECT coalesce((SELECT min("offset") FROM events), 0), coalesce((SELECT max("offset") + 1 FROM events), 0)'
        return [PartitionRange(first, end) for first, end in self._rows(sql) or [(0, 0)]]

    def consumer(self, group: str) -> _SqliteConsumer:
        """See `EventLog.consumer`."""
        return _SqliteConsumer(self, group)

    def _read(self, offset: int, count: int) -> list[LogRecord]:
        rows = self._rows('SELECT 0, "offset", data FROM events WHERE "offset" >= ? ORDER BY "offset" LIMIT ?', (offset, count))
        return list(map(LogRecord._make, rows))

    def _rows(self, sql: str, args: tuple[int, ...] = ()) -> list[Any]:
        """Return the rows of a query; an empty list while the file does not exist."""

        def read(connection: sqlite3.Connection) -> list[Any]:
            if self._read_only:
                self._check(connection)  # every read reopens the file
            return connection.execute(sql, args).fetchall()

        if not self._read_only:
            with self._use() as connection:
                return [] if connection is None else read(connection)
        with self._locked():
            return read_without_writing(self.path, read) if self.path.exists() else []

    def _commit(self, group: str, offset: int) -> None:
        if self._read_only:
            return
        with self._use() as connection:
            if connection is not None:
                # evalkit does not read it, so it does not need to be durable. With OFF instead of NORMAL, this transaction could checkpoint
                # the WAL without an fsync, and acknowledged events could be lost.
                connection.execute("PRAGMA synchronous=NORMAL")
                try:
                    connection.execute("INSERT OR REPLACE INTO commits VALUES (?, ?)", (group, offset))
                finally:
                    connection.execute("PRAGMA synchronous=FULL")

    @contextmanager
    def _use(self, *, create: bool = False) -> Iterator[sqlite3.Connection | None]:
        with self._locked():
            yield self._opened(create)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise self._as_log_error(error) from None

    def _opened(self, create: bool) -> sqlite3.Connection | None:
        if not self.path.exists():
            self.close()  # the file may have been moved: events must not be appended to the old file
            if not create:
                return None
            try:
                create_atomically(self.path, _fill)
            except OSError as error:
                raise self._unavailable("it cannot be created", str(error)) from None
        return self._connected()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False, cached_statements=32)

    def _set_up(self, connection: sqlite3.Connection) -> None:
        self._check(connection)
        connection.execute("PRAGMA synchronous=FULL")

    def _check(self, connection: sqlite3.Connection) -> None:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if application != _APPLICATION_ID:
            raise LogDamagedError(
                f"{self.path} is not an evalkit event log, or it was emptied",
                effect="The file was not changed.", hint="Restore it from a backup, or move it away and use another home.",
            )  # fmt: skip
        if version > _VERSION:
            raise LogError(
                f"{self.path} is an event log of version {version}; this evalkit reads version {_VERSION}",
                hint="Upgrade evalkit from where you installed it.",
            )
        if mode != "wal" and not self._read_only:  # a read-only file that no process has open has another mode
            raise LogDamagedError(
                f"{self.path} is in journal mode {mode!r} instead of 'wal': another program changed it", hint="Restore it from a backup."
            )

    def _as_log_error(self, error: sqlite3.Error) -> LogError:
        name = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
        code = primary_code(name)
        if code in BUSY:
            return self._unavailable(f"other processes kept it locked for {BUSY_SECONDS:.0f} s", str(error), "Try again.")
        failure = describe_failure(name, str(error))
        hint = "Restore it from a backup (`evalkit log export` creates one)."
        if code in DAMAGED:
            return LogDamagedError(
                f"The event log {self.path} cannot be read: {failure.reason}",
                effect="The file was not changed.", hint=hint, driver_message=str(error),
            )  # fmt: skip
        return self._unavailable(failure.reason, str(error), hint if failure.foreign_change else "")

    def _unavailable(self, reason: str, driver_message: str, hint: str = "") -> LogUnavailableError:
        return LogUnavailableError(
            f"The event log {self.path} cannot be used: {reason}",
            effect="No events were appended.", hint=hint, driver_message=driver_message,
        )  # fmt: skip


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block in a transaction, which is rolled back if the block raises an error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _fill(connection: sqlite3.Connection) -> None:
    connection.executescript(f"PRAGMA application_id={_APPLICATION_ID}; PRAGMA user_version={_VERSION}; {_TABLES}")


class _SqliteConsumer:
    def __init__(self, log: SqliteEventLog, group: str) -> None:
        self._log = log
        self._group = group
        self._next = 0

    def poll(self, max_count: int, timeout: float) -> list[LogRecord]:
        records = poll(lambda: self._log._read(self._next, max_count), timeout, longest=0.05)
        if records:
            self._next = records[-1].offset + 1
        return records

    def seek(self, partition: int, offset: int) -> None:
        assert partition == 0
        self._next = offset

    def commit(self, position: LogPosition) -> None:
        self._log._commit(self._group, position.offset)
