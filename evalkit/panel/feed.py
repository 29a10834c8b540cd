"""How panels follow their kits without holding up the kernel: workers that read and draw, and one thread a process that has them read.

Each kit has a `Feed`, whose worker reads. The watcher only has it read, about once a second, while somebody sees a panel, and tells the
panels when an answer keeps them waiting. So a server that does not answer holds up neither the kernel nor the panels of other kits.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from evalkit._util.forks import reset_in_child
from evalkit.panel.reading import PanelKit, Reading, read

__all__ = ["WATCHER", "Feed", "Follower", "Worker", "watchers"]

WATCHER = "evalkit-watcher"
"""The name of the watcher's thread."""
TICK_SECONDS = 1.0
_IDLE_SECONDS = 5.0
_SLOW_SECONDS = 2.0
_LAST_SECONDS = 2.0

_logger = logging.getLogger("evalkit.panel")


class Worker:
    """Does jobs one after the other, in a thread that is there only while there are any: it ends by itself a few seconds after the last.

    Parameters
    ----------
    name
        Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._condition = threading.Condition()
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._thread: threading.Thread | None = None
        self._began: float | None = None
        self._ending = False

    def submit(self, job: Callable[[], Any]) -> Future[Any]:
        """Do a job after those that wait already."""
        future: Future[Any] = Future()
        with self._condition:
            self._jobs.append((future, job))
            self._ending = False
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            self._condition.notify()
        return future

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        with self._condition:
            return self._began is None and not self._jobs

    @property
    def busy_seconds(self) -> float:
        """For how long the present job has been running; 0 when there is none."""
        began = self._began
        return 0.0 if began is None else time.monotonic() - began

    def end(self, seconds: float) -> None:
        """Cancel the jobs that wait, and wait up to some seconds for the one at hand; a job that hangs ends its thread when it returns."""
        with self._condition:
            while self._jobs:
                self._jobs.popleft()[0].cancel()
            self._ending = True
            thread = self._thread
            self._condition.notify()
        _join(thread, seconds)

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            future, job = taken
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(job())
                except BaseException as error:
                    future.set_exception(error)
            self._began = None
            del taken, future, job  # what a job refers to is not kept until the next one

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._condition:
            while not self._jobs:
                if self._ending or not (self._condition.wait(_IDLE_SECONDS) or self._jobs):
                    self._thread = None
                    return None
            self._began = time.monotonic()
            return self._jobs.popleft()


@dataclass(frozen=True, eq=False)
class Follower:
    """What a panel does about its kit. Called from other threads than the kernel's; none of it may raise or wait for long."""

    on_reading: Callable[[Reading], None]
    """Show what was read."""
    on_failure: Callable[[Exception], None]
    """Say that nothing could be read."""
    on_tick: Callable[[float], None]
    """Say how old things are, and for how many seconds an answer has been waited for: 0 when none is overdue."""


class Feed:
    """What one kit's panels share: what was read last, what reads, and what draws: two workers, so that neither waits for the other."""

    def __init__(self, kit: PanelKit) -> None:
        self.kit = kit
        self.reading: Reading | None = None
        self.panels = 0
        """How many panels are open, or opening."""
        self.followers: list[Follower] = []
        """Those of the panels that are ready to show something, seen or not."""
        self.drawer = Worker("evalkit-drawer")
        self._worker = Worker("evalkit-reader")

    def submit(self, job: Callable[[], Callable[[], None]]) -> Future[Any]:
        """Have something done by the kit's worker, then read the kit again and tell every panel, then call what the job returned."""

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
        self.reset_in_child()
        reset_in_child(self)
        atexit.register(self.end)

    def reset_in_child(self) -> None:
        """Begin anew in a forked process, where the threads are not; its panels are seen by nobody."""
        self._lock = threading.Lock()
        self._feeds: dict[int, Feed] = {}
        self._seen: dict[int, Feed] = {}
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def join(self, kit: PanelKit) -> Feed:
        """Return the feed of a kit to a panel that opens; it becomes one of its followers when it can show something."""
        with self._lock:
            feed = self._feeds.setdefault(id(kit), Feed(kit))
            feed.panels += 1
            return feed

    def leave(self, feed: Feed, follower: Follower) -> None:
        """Remove a panel that closes; with a kit's last one its workers end, and with the last one that is seen the watcher."""
        with self._lock:
            self._seen.pop(id(follower), None)
            thread = None if self._seen else self._stopped()
            feed.followers.remove(follower)
            feed.panels -= 1
            last = feed.panels == 0
            if last:
                self._feeds.pop(id(feed.kit), None)
        _join(thread, _LAST_SECONDS)
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

    def end(self) -> None:
        """End every thread, before the interpreter does."""
        with self._lock:
            feeds, thread = list(self._feeds.values()), self._stopped()
            self._feeds.clear()
            self._seen.clear()
        for feed in feeds:
            feed.end()
        _join(thread, _LAST_SECONDS)

    def _stopped(self) -> threading.Thread | None:
        self._stop.set()
        thread, self._thread = self._thread, None
        return thread

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


def _join(thread: threading.Thread | None, seconds: float) -> None:
    if thread is not None and thread is not threading.current_thread():
        thread.join(seconds)


watchers = Watchers()
"""Those of this process."""
