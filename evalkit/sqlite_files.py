"""What the two SQLite files of an embedded home have in common: creation that survives a crash, and errors in words."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

__all__ = ["BUSY", "DAMAGED", "NOT_WRITABLE", "close_for_fork", "create_whole", "file_identity", "primary_code", "reset_in_child", "says"]

BUSY = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL"})
DAMAGED = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})
NOT_WRITABLE = frozenset({"SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH"})

_WORDS = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_IOERR": "reading or writing failed (a full disk, a quota, or a lost drive)",
    "SQLITE_READONLY": "it is not writable",
    "SQLITE_CANTOPEN": "it cannot be opened",
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
    return _WORDS.get(primary_code(code), f"the engine answered {code} ({driver_message})")


def file_identity(path: str | Path) -> tuple[int, int] | None:
    """Give what tells a file from one that takes its place under the same name; None when there is no file."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


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


class _Closes(Protocol):
    _lock: threading.RLock

    def close(self) -> None: ...


class _Resets(Protocol):
    def reset_in_child(self) -> None: ...


_files: weakref.WeakSet[Any] = weakref.WeakSet()
_others: weakref.WeakSet[Any] = weakref.WeakSet()
_held: list[_Closes] = []


def close_for_fork(resource: _Closes) -> None:
    """Have a resource's SQLite connections closed before every fork, under its lock; it opens them again when next used.

    SQLite keeps account of its locks by process. A child that inherits an open file believes that it holds locks which it does not, even
    for connections that it opens itself: so nothing may be open while a process forks.
    """
    _files.add(resource)


def reset_in_child(resource: _Resets) -> None:
    """Have ``resource.reset_in_child()`` called in every forked process: to replace locks that nobody there will ever release."""
    _others.add(resource)


def _before_fork() -> None:
    for resource in list(_files):
        resource._lock.acquire()
        _held.append(resource)
        resource.close()


def _after_in_parent() -> None:
    while _held:
        _held.pop()._lock.release()


def _after_in_child() -> None:
    while _held:
        _held.pop()._lock = threading.RLock()
    for resource in list(_others):
        resource.reset_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
