"""Handling of open files, locks and threads when a process forks."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from typing import Any, Protocol

__all__ = ["close_for_fork", "polars_is_stranded", "reset_in_child"]


class _Closes(Protocol):
    _lock: threading.RLock

    def close(self) -> None: ...


class _Resets(Protocol):
    def reset_in_child(self) -> None: ...


_files: weakref.WeakSet[Any] = weakref.WeakSet()
_resettable: weakref.WeakSet[Any] = weakref.WeakSet()
_locked: list[_Closes] = []
_stranded = False


def close_for_fork(resource: _Closes) -> None:
    """Close a resource's SQLite connections before every fork, and hold its lock meanwhile.

    The connections are reopened on next use. No SQLite file may be open during a fork: SQLite tracks file locks per process, so a child
    that inherits an open file assumes locks that it does not have, even for connections that it opens itself.
    """
    _files.add(resource)


def reset_in_child(resource: _Resets) -> None:
    """Call ``resource.reset_in_child()`` in every forked process.

    The method replaces locks that another thread may have held during the fork, and drops connections of the parent.
    """
    _resettable.add(resource)


def polars_is_stranded() -> bool:
    """Return whether this process was forked after Polars was imported.

    Polars then waits forever for threads that the fork did not copy.
    """
    return _stranded


def _before_fork() -> None:
    for resource in list(_files):
        resource._lock.acquire()
        _locked.append(resource)
        resource.close()


def _after_in_parent() -> None:
    while _locked:
        _locked.pop()._lock.release()


def _after_in_child() -> None:
    global _stranded  # noqa: PLW0603  (process-wide state)
    _stranded = "polars" in sys.modules
    while _locked:
        _locked.pop()._lock = threading.RLock()
    for resource in list(_resettable):
        resource.reset_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
