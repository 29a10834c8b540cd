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
_others: weakref.WeakSet[Any] = weakref.WeakSet()
_held: list[_Closes] = []
_stranded = False


def close_for_fork(resource: _Closes) -> None:
    """Close a resource's SQLite connections before every fork, under its lock.

    They are reopened on next use.

    SQLite tracks file locks per process. A child that inherits an open file assumes locks that it does not hold, even for connections
    that it opens itself, so no SQLite file may be open during a fork.
    """
    _files.add(resource)


def reset_in_child(resource: _Resets) -> None:
    """Call ``resource.reset_in_child()`` in forked processes, to replace held locks."""
    _others.add(resource)


def polars_is_stranded() -> bool:
    """Return whether this process was forked after Polars was imported.

    Polars would wait forever for its missing threads.
    """
    return _stranded


def _before_fork() -> None:
    for resource in list(_files):
        resource._lock.acquire()
        _held.append(resource)
        resource.close()


def _after_in_parent() -> None:
    while _held:
        _held.pop()._lock.release()


def _after_in_child() -> None:
    global _stranded  # noqa: PLW0603  (process-wide state, like the inherited modules)
    _stranded = "polars" in sys.modules
    while _held:
        _held.pop()._lock = threading.RLock()
    for resource in list(_others):
        resource.reset_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
