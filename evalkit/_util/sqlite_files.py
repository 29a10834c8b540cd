"""SQLite files: crash-safe creation, reading without write access, readable errors."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import quote

from evalkit._util.engine_report import EngineReport
from evalkit._util.forks import close_for_fork
from evalkit._util.waiting import BUSY_SECONDS

__all__ = [
    "BUSY",
    "DAMAGED",
    "NOT_WRITABLE",
    "SqliteFailure",
    "SqliteFile",
    "create_atomically",
    "describe_failure",
    "file_identity",
    "primary_code",
    "read_without_writing",
    "why_not_writable",
]

_T = TypeVar("_T")

BUSY = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL"})
DAMAGED = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})
NOT_WRITABLE = frozenset({"SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH"})

_REASONS = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_IOERR": "I/O error (a full disk, a quota or a disconnected drive)",
    "SQLITE_READONLY": "it is not writable",
    "SQLITE_CANTOPEN": "it cannot be opened; check that this user has read access to it",
    "SQLITE_PERM": "permission denied",
    "SQLITE_NOTADB": "the file is not a database",
    "SQLITE_CORRUPT": "the file is damaged or truncated",
}

_log = logging.getLogger("evalkit")


class SqliteFailure(NamedTuple):
    """The reason for a SQLite error."""

    reason: str
    foreign_change: bool = False
    """Whether another program changed the tables or their contents, which then must be replaced."""


def primary_code(name: str) -> str:
    """Return the primary result code, such as ``SQLITE_BUSY``, of an extended one."""
    return "_".join(name.split("_")[:2])


def describe_failure(code: str, driver_message: str) -> SqliteFailure:
    """Return the reason for an error, and log the driver's message at the debug level."""
    _log.debug("%s: %s", code, driver_message)
    if "no such table" in driver_message:
        return SqliteFailure("its tables are missing: another program deleted or replaced it; connect again")
    if "no such column" in driver_message:
        return SqliteFailure("another program changed its tables", foreign_change=True)
    if "not decode to UTF-8" in driver_message:
        return SqliteFailure("another program wrote text that is not UTF-8", foreign_change=True)
    return SqliteFailure(_REASONS.get(primary_code(code), f"SQLite returned {code} ({driver_message})"))


def file_identity(path: Path) -> tuple[int, int] | None:
    """Return the identity of a file, which changes if it is replaced; None if it is missing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def why_not_writable(path: Path) -> str | None:
    """Return the reason why a SQLite file or its folder is not writable; None if it is."""
    if path.exists() and not os.access(path, os.W_OK):
        return f"{path} is not writable"
    if path.parent.exists() and not os.access(path.parent, os.W_OK | os.X_OK):
        return f"the folder {path.parent} is not writable"
    return None


def read_without_writing(path: Path, read: Callable[[sqlite3.Connection], _T]) -> _T:
    """Call `read` with a connection to a file in a read-only folder, and return its result.

    While another process has the file open, SQLite's locks make the read consistent. Otherwise the ``-shm`` file is missing, and with it
    the locks: `read` is called again if another process changed the file in the meantime.
    """
    while True:
        state = _unlocked_state(path)
        try:
            connection = _open_without_writing(path, state)
            try:
                result = read(connection)
            finally:
                connection.close()
        except Exception:
            if state == _unlocked_state(path):
                raise
            continue
        if state is None or state == _unlocked_state(path):
            return result


def _unlocked_state(path: Path) -> tuple[object, ...] | None:
    """Return a fingerprint that changes with every write; None if SQLite uses locks."""
    wal, shm = (Path(f"{path}{suffix}") for suffix in ("-wal", "-shm"))
    if wal.exists() and shm.exists():
        return None
    return tuple(_modified(file) for file in (wal, path))


def _modified(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _open_without_writing(path: Path, unlocked: tuple[object, ...] | None) -> sqlite3.Connection:
    uri = f"file:{quote(str(path))}?mode=ro"
    if unlocked is None:
        return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS)
    if unlocked[0] is None:  # no WAL: the file itself is complete
        return sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None, check_same_thread=False)
    # A crash or a copy left a -wal file without a -shm file, which SQLite does not need in exclusive mode.
    vfs = "win32-none" if os.name == "nt" else "unix-none"
    connection = sqlite3.connect(f"{uri}&vfs={vfs}", uri=True, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    return connection


def create_atomically(path: Path, fill: Callable[[sqlite3.Connection], None], *, page_size: int = 4096) -> None:
    """Create a SQLite file in WAL mode atomically. A crash leaves no partial file at `path`.

    If another process creates the file first, that file is kept.

    Parameters
    ----------
    path
        The file.
    fill
        Writes the tables.
    page_size
        The size of a page in bytes, which cannot be changed later.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.new")
    draft.unlink(missing_ok=True)
    try:
        connection = sqlite3.connect(draft, isolation_level=None)
        try:
            connection.execute(f"PRAGMA page_size={page_size}")
            connection.execute("PRAGMA journal_mode=WAL")
            fill(connection)
        finally:
            connection.close()
        draft.chmod(0o600)
        _place(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _place(draft: Path, path: Path) -> None:
    """Move a file to `path` durably, unless `path` exists."""
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        if not path.exists():
            draft.rename(path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class SqliteFile(ABC):
    """A SQLite file with one connection, which stays open except during a fork.

    Parameters
    ----------
    path
        The file. It does not need to exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        close_for_fork(self)

    def describe(self) -> EngineReport:
        """Return the engine, its version and the path of the file."""
        return EngineReport("SQLite", sqlite3.sqlite_version, (str(self.path),))

    def close(self) -> None:
        """Close the connection. The next call reopens it; closing twice is a no-op."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def __del__(self) -> None:
        with suppress(Exception):  # closing a kit is optional, and modules may be gone when the interpreter exits
            self.close()

    @abstractmethod
    def _connect(self) -> sqlite3.Connection:
        """Open a connection to the file."""

    @abstractmethod
    def _set_up(self, connection: sqlite3.Connection) -> None:
        """Check the file and set the pragmas of the connection."""

    def _connected(self) -> sqlite3.Connection:
        """Return a connection to the current file at the path, which may have been replaced."""
        if self._connection is not None and (self._identity is None or self._identity != file_identity(self.path)):
            self.close()
        if self._connection is None:
            connection = self._connect()
            try:
                self._set_up(connection)
            except BaseException:
                connection.close()
                raise
            self._connection, self._identity = connection, file_identity(self.path)
        return self._connection
