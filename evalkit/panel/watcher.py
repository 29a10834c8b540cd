"""The watcher: one thread a process that lets the panels which somebody sees follow their kits.

It asks nothing itself. Each kit has a `Feed`, whose worker reads; the watcher only has it read, about once a second, and tells the panels
when an answer keeps them waiting. So a server that does not answer holds up neither the kernel nor the panels of other kits.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from evalkit._util.forks import reset_in_child
from evalkit.panel.reading import Reading, read
from evalkit.panel.worker import Worker

if TYPE_CHECKING:
    from evalkit.kit import EvalKit

__all__ = ["WATCHER", "Feed", "Follower", "watchers"]

WATCHER = "evalkit-watcher"
"""The name of the watcher's thread."""
TICK_SECONDS = 1.0
_SLOW_SECONDS = 2.0
_LAST_SECONDS = 2.0

_logger = logging.getLogger("evalkit.panel")


class Follower(Protocol):
    """What follows a kit. Called from other threads than the kernel's; none of it may raise or wait for long."""

    def on_reading(self, reading: Reading) -> None:
        """Show what was read."""

    def on_failure(self, error: Exception) -> None:
        """Say that nothing could be read."""

    def on_tick(self, waited_seconds: float) -> None:
        """Say how old things are, and for how many seconds an answer has been waited for: 0 when none is overdue."""


class Feed:
    """What one kit's panels share: what was read last, what reads, and what draws: two workers, so that neither waits for the other."""

    def __init__(self, kit: EvalKit) -> None:
        self.kit = kit
        self.reading: Reading | None = None
        self.panels = 0
        """How many panels are open, or opening."""
        self.followers: list[Follower] = []
        """Those of them that are ready to be told something, seen or not."""
        self.drawer = Worker("evalkit-drawer")
        self._worker = Worker("evalkit-reader")

    def submit(self, job: Callable[[], Callable[[], None]]) -> Future[Any]:
        """Have something done by the kit's worker, then read the kit again and tell every panel, then call what the job gave."""

        def work() -> None:
            finish = job()
            self._read()
            finish()

        return self._worker.submit(work)

    def refresh(self) -> Future[Any]:
        """Read the kit and tell every panel; the future holds the error when that failed."""
        return self._worker.submit(self._read_or_raise)

    def tick(self) -> None:
        """Read again, unless that is still under way."""
        waited = self._worker.busy_seconds
        if self._worker.idle:
            self._worker.submit(self._read)
        for follower in list(self.followers):
            follower.on_tick(waited if waited > _SLOW_SECONDS else 0.0)

    def end(self) -> None:
        """End the workers."""
        self._worker.end(_LAST_SECONDS)
        self.drawer.end(_LAST_SECONDS)

    def _read(self) -> None:
        with suppress(Exception):  # the panels say it
            self._read_or_raise()

    def _read_or_raise(self) -> None:
        try:
            self.reading = reading = read(self.kit, self.reading)
        except Exception as error:
            for follower in list(self.followers):
                follower.on_failure(error)
            raise
        for follower in list(self.followers):
            follower.on_reading(reading)


class Watchers:
    """The feeds of this process's kits, and the thread that makes them read while any panel is seen."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._feeds: dict[int, Feed] = {}
        self._seen: dict[int, Feed] = {}
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        reset_in_child(self)
        atexit.register(self.end)

    def join(self, kit: EvalKit) -> Feed:
        """Give the feed of a kit to a panel that opens; it becomes one of its followers when it can show something."""
        with self._lock:
            feed = self._feeds.setdefault(id(kit), Feed(kit))
            feed.panels += 1
            return feed

    def leave(self, feed: Feed, follower: Follower) -> None:
        """Let a panel go; with a kit's last one its worker ends, and with the last one that is seen the watcher."""
        self.unwatch(follower)
        self._end_unless_needed()
        with self._lock:
            if follower in feed.followers:
                feed.followers.remove(follower)
            feed.panels -= 1
            last = feed.panels == 0
            if last:
                self._feeds.pop(id(feed.kit), None)
        if last:
            feed.end()

    def watch(self, feed: Feed, follower: Follower) -> None:
        """Let a panel follow its kit, since somebody sees it."""
        with self._lock:
            self._seen[id(follower)] = feed
            if self._thread is None:
                self._stop = threading.Event()
                self._thread = threading.Thread(target=self._run, args=(self._stop,), name=WATCHER, daemon=True)
                self._thread.start()

    def unwatch(self, follower: Follower) -> None:
        """Let a panel rest, since nobody sees it. Without any that is seen the watcher ends at its next tick.

        Not at once: when a cell is run again, its panel is out of sight for a moment only.
        """
        with self._lock:
            self._seen.pop(id(follower), None)

    def _end_unless_needed(self) -> None:
        with self._lock:
            thread = None if self._seen else self._thread
            if thread is not None:
                self._thread = None
                self._stop.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_LAST_SECONDS)

    def end(self) -> None:
        """End every thread, before the interpreter does."""
        with self._lock:
            feeds, thread, self._thread = list(self._feeds.values()), self._thread, None
            self._feeds.clear()
            self._seen.clear()
            self._stop.set()
        for feed in feeds:
            feed.end()
        if thread is not None:
            thread.join(_LAST_SECONDS)

    def reset_in_child(self) -> None:
        """Begin anew in a forked process, where the threads are not; its panels are seen by nobody."""
        self._lock = threading.Lock()
        self._feeds, self._seen = {}, {}
        self._thread, self._stop = None, threading.Event()

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            with self._lock:
                if stop is not self._stop:
                    return
                if not self._seen:
                    self._thread = None
                    return
                feeds = {id(feed): feed for feed in self._seen.values()}
            for feed in feeds.values():
                try:
                    feed.tick()
                except Exception:
                    _logger.exception("a panel could not be brought up to date")
            stop.wait(TICK_SECONDS)


watchers = Watchers()
"""Those of this process."""
