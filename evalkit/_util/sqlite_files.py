"""What the two SQLite files of an embedded home have in common: creation that survives a crash, and errors in words."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from evalkit._util.engine_report import EngineReport
from evalkit._util.forks import close_for_fork
from evalkit._util.waiting import BUSY_SECONDS

__all__ = [
    "BUSY",
    "DAMAGED",
    "NOT_WRITABLE",
    "SqliteFile",
    "create_whole",
    "file_identity",
    "primary_code",
    "read_without_writing",
    "says",
    "why_not_writable",
]

_T = TypeVar("_T")

BUSY = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL"})
DAMAGED = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})
NOT_WRITABLE = frozenset({"SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH"})

_WORDS = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_IOERR": "reading or writing failed (a full disk, a quota, or a lost drive)",
    "SQLITE_READONLY": "it is not writable",
    "SQLITE_CANTOPEN": "it cannot be opened; check that this user has read access to it",
    "SQLITE_PERM": "access is not permitted",
    "SQLITE_NOTADB": "the file is not a database",
    "SQLITE_CORRUPT": "the file is damaged or cut short",
}

_log = logging.getLogger("evalkit")


def primary_code(name: str) -> str:
    """Give SQLite's primary result code of an extended one: ``SQLITE_BUSY_RECOVERY`` is a ``SQLITE_BUSY``."""
    return "_".join(name.split("_")[:2])


def says(code: str, driver_message: str) -> str:
    """Give a result code in words, and note the driver's own in the debug log."""
    _log.debug("%s: %s", code, driver_message)
    if "no such table" in driver_message:
        return "its tables are gone: another program deleted or replaced it; connect again"
    if "no such column" in driver_message:
        return "another program changed its tables; rebuild it from the log: kit.rebuild() (evalkit projection rebuild)"
    if "not decode to UTF-8" in driver_message:
        return "another program wrote text that is not UTF-8; rebuild it from the log: kit.rebuild() (evalkit projection rebuild)"
    return _WORDS.get(primary_code(code), f"the engine answered {code} ({driver_message})")


def file_identity(path: str | Path) -> tuple[int, int] | None:
    """Give what tells a file from one that takes its place under the same name; None when there is no file."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def why_not_writable(path: Path) -> str | None:
    """Return why a SQLite file, or the files that SQLite creates beside it, cannot be written; None when they can be."""
    if path.exists() and not os.access(path, os.W_OK):
        return f"{path} is not writable"
    if path.parent.exists() and not os.access(path.parent, os.W_OK | os.X_OK):
        return f"The folder {path.parent} is not writable"
    return None


def read_without_writing(path: Path, read: Callable[[sqlite3.Connection], _T]) -> _T:
    """Call `read` with a connection to a file in WAL mode whose folder cannot be written, and return what it returns.

    While somebody else has the file open, SQLite's own locks keep what is read consistent. Without the ``-shm`` file there are no locks:
    then the files are compared before and after, and `read` is called again when another process wrote in between.
    """
    while True:
        state = _unlocked_state(path)
        try:
            connection = _open_without_writing(path, state)
            try:
                found = read(connection)
            finally:
                connection.close()
        except Exception:
            if state == _unlocked_state(path):
                raise
            continue
        if state is None or state == _unlocked_state(path):
            return found


def _unlocked_state(path: Path) -> tuple[object, ...] | None:
    """Return what changes when a file without locks is written; None while its ``-wal`` and ``-shm`` files, and so locks, are there."""
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
    if unlocked[0] is None:  # closed by its last user: everything is in the file itself
        return sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None, check_same_thread=False)
    # A crash, or a copy, left a -wal file alone. In exclusive mode SQLite needs no -shm file, and reads both.
    vfs = "win32-none" if os.name == "nt" else "unix-none"
    connection = sqlite3.connect(f"{uri}&vfs={vfs}", uri=True, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    return connection


def create_whole(path: Path, fill: Callable[[sqlite3.Connection], None]) -> None:
    """Create a SQLite file in WAL mode at once and whole: whoever dies in the middle leaves nothing at `path`.

    When another process is quicker, its file stays.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.new")
    draft.unlink(missing_ok=True)
    try:
        connection = sqlite3.connect(draft, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            fill(connection)
        finally:
            connection.close()
        draft.chmod(0o600)
        _place(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _place(draft: Path, path: Path) -> None:
    """Give a file its name, unless there is one of that name, and make the name durable as well."""
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
    """A SQLite file with one connection, which stays open between calls, and is closed before every fork.

    Parameters
    ----------
    path
        The file. It need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        close_for_fork(self)

    def describe(self) -> EngineReport:
        """Return which engine this is, and where the file is."""
        return EngineReport("SQLite", sqlite3.sqlite_version, (str(self.path),))

    def close(self) -> None:
        """Close the connection; the next call opens it again. Closing twice is harmless."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def __del__(self) -> None:
        with suppress(Exception):  # a kit need not be closed, and an interpreter that ends has taken things away already
            self.close()

    @abstractmethod
    def _connect(self) -> sqlite3.Connection:
        """Open a connection to the file."""

    @abstractmethod
    def _set_up(self, connection: sqlite3.Connection) -> None:
        """Check the file, and set what holds for the connection."""

    def _connected(self) -> sqlite3.Connection:
        """Return the connection to the file that is at the path now: the one before may have been moved away, deleted or replaced."""
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
