"""An event loop in a thread of its own, for drivers that only speak asyncio: evalkit itself is synchronous, also inside a running loop."""

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
    """The one loop of this process, started when first used, and ended with the interpreter or left behind by a fork."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # the garbage collector may run anywhere, and with it what closes a connection on the loop
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
        """Hold the caller for ever when the interpreter ends: only daemon threads still run then, and would be cut off anywhere."""
        if self.ended and threading.current_thread() is not threading.main_thread():
            threading.Event().wait()

    def at_end(self, key: int, closer: Callable[[], Coroutine[Any, Any, object]] | None) -> None:
        if closer is None:
            self._closers.pop(key, None)
        else:
            self._closers[key] = closer

    def reset_in_child(self) -> None:
        """Begin anew in a forked process, where the thread is not; what the parent goes on using is neither closed nor freed here."""
        self._left_behind += [self._loop, self._thread, dict(self._closers)]
        self._lock = threading.RLock()
        self._loop = self._thread = None
        self.ended = False
        self._closers.clear()

    def end(self) -> None:
        """Close what is open and end the thread, so that no driver's thread calls into an interpreter that is no longer there."""
        with self._lock:
            self.ended = True
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        ending = asyncio.run_coroutine_threadsafe(self._end(), loop)
        with suppress(Exception, CancelledError):  # the interpreter ends; there is nobody to tell
            ending.result(_LAST_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_LAST_SECONDS)
        if not loop.is_running():
            loop.close()
        # A driver written in another language may still be on its way out of the call that woke the loop up, holding references of ours.
        time.sleep(_SETTLING_SECONDS)

    async def _end(self) -> None:
        await asyncio.gather(*(closer() for closer in self._closers.values()), return_exceptions=True)
        self._closers.clear()
        # What was closed ends by itself; what does not is told to.
        for patience, insist in ((_LAST_SECONDS / 4, False), (_LAST_SECONDS / 4, True)):
            others = {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}
            for task in others if insist else ():
                task.cancel()
            if others:
                await asyncio.wait(others, timeout=patience)


_background = _Background()


def run(coroutine: Coroutine[Any, Any, _T], seconds: float) -> _T:
    """Run a coroutine to its end, from any thread but the loop's own.

    Raises
    ------
    TimeoutError
        When it takes longer than `seconds`; it is cancelled then.
    """
    future = None
    try:
        _background.stay_out()
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(coroutine, seconds), _background.loop())
        return future.result()
    except BaseException:
        _background.stay_out()
        if future is not None:
            future.cancel()  # Ctrl-C
        raise
    finally:
        if _background.ended:
            _background.end()  # what runs after the end, from another's exit handler, ends by itself


def spawn(coroutine: Coroutine[Any, Any, object]) -> None:
    """Start a coroutine and do not wait for it; it must handle its errors itself. Where no loop runs (any more) nothing happens."""
    if not _background.spawn(coroutine):
        coroutine.close()


def at_end(key: int, closer: Callable[[], Coroutine[Any, Any, object]] | None) -> None:
    """Have a coroutine function run on the loop before the interpreter ends; None takes it back."""
    _background.at_end(key, closer)
