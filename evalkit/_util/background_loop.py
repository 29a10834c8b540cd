"""A background thread with an event loop, for drivers that only have an asyncio API.

evalkit's own API is synchronous, and can be used inside a running event loop.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any, TypeVar

from evalkit._util.forks import reset_in_child

__all__ = ["at_end", "run", "spawn"]

_T = TypeVar("_T")
_LAST_SECONDS = 2.0
_SETTLING_SECONDS = 0.05


class _Background:
    """The event loop of this process, which is started on first use and stopped at exit."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # reentrant: the garbage collector may close a connection at any point
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closers: dict[int, Callable[[], Coroutine[Any, Any, object]]] = {}
        self._left_behind: list[object] = []
        self.ended = False
        reset_in_child(self)
        atexit.register(self.end)

    def loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="evalkit-background", daemon=True)
                self._thread.start()
            return self._loop

    def spawn(self, coroutine: Coroutine[Any, Any, object]) -> bool:
        with self._lock:
            if self._loop is None:
                return False
            asyncio.run_coroutine_threadsafe(coroutine, self._loop)
            return True

    def stay_out(self) -> None:
        """Block the calling thread forever at exit, unless it is the main thread.

        While the interpreter exits, it kills daemon threads at any point.
        """
        if self.ended and threading.current_thread() is not threading.main_thread():
            threading.Event().wait()

    def at_end(self, key: int, closer: Callable[[], Coroutine[Any, Any, object]] | None) -> None:
        if closer is None:
            self._closers.pop(key, None)
        else:
            self._closers[key] = closer

    def reset_in_child(self) -> None:
        """Forget the loop and its thread in a forked process, where the thread does not exist.

        The parent's objects are neither closed nor freed.
        """
        self._left_behind += [self._loop, self._thread, dict(self._closers)]
        self._lock = threading.RLock()
        self._loop = self._thread = None
        self.ended = False
        self._closers.clear()

    def end(self) -> None:
        """Close all connections and stop the thread, before the interpreter is finalized."""
        with self._lock:
            self.ended = True
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        future = asyncio.run_coroutine_threadsafe(self._end(), loop)
        with suppress(Exception, CancelledError):  # no caller could handle an error at exit
            future.result(_LAST_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_LAST_SECONDS)
        if not loop.is_running():
            loop.close()
        # A native driver that woke the loop may still be returning from its call, with references to Python objects.
        time.sleep(_SETTLING_SECONDS)

    async def _end(self) -> None:
        await asyncio.gather(*(closer() for closer in self._closers.values()), return_exceptions=True)
        self._closers.clear()
        # Wait for the remaining tasks to finish, then cancel them.
        for timeout, cancel in ((_LAST_SECONDS / 4, False), (_LAST_SECONDS / 4, True)):
            remaining = {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}
            for task in remaining if cancel else ():
                task.cancel()
            if remaining:
                await asyncio.wait(remaining, timeout=timeout)


_background = _Background()


def run(coroutine: Coroutine[Any, Any, _T], seconds: float) -> _T:
    """Run a coroutine and return its result, from any thread except that of the loop.

    Raises
    ------
    TimeoutError
        When the coroutine takes longer than `seconds`. It is then canceled.
    """
    future = None
    try:
        _background.stay_out()
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(coroutine, seconds), _background.loop())
        return future.result()
    except BaseException:
        _background.stay_out()
        if future is not None:
            future.cancel()  # for example after Ctrl-C
        raise
    finally:
        if _background.ended:
            _background.end()  # this call, from a later exit handler, restarted the loop


def spawn(coroutine: Coroutine[Any, Any, object]) -> None:
    """Schedule a coroutine, which must handle its own errors, without waiting for it.

    If the loop is not running, the coroutine is discarded.
    """
    if not _background.spawn(coroutine):
        coroutine.close()


def at_end(key: int, closer: Callable[[], Coroutine[Any, Any, object]] | None) -> None:
    """Register a coroutine function to run at exit under a key; None unregisters it."""
    _background.at_end(key, closer)
