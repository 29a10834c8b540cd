"""Threads that read kits and draw charts for panels, so that the kernel is not blocked.

Each kit has a `Feed`, whose worker reads the kit. Each process has one watcher thread. While a panel is visible, the watcher requests a
reading about once a second, and notifies the panels if a reading is overdue. An unresponsive server therefore blocks neither the kernel nor
the panels of other kits.
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
"""Name of the watcher thread."""
TICK_SECONDS = 1.0
_IDLE_SECONDS = 5.0
_SLOW_SECONDS = 2.0
_LAST_SECONDS = 2.0

_logger = logging.getLogger("evalkit.panel")


class Worker:
    """Run jobs one after the other in a thread, which ends a few seconds after the last job.

    Parameters
    ----------
    name
        Name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._condition = threading.Condition()
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._thread: threading.Thread | None = None
        self._started: float | None = None
        self._ending = False

    def submit(self, job: Callable[[], Any]) -> Future[Any]:
        """Run a job after the queued ones."""
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
        """Whether no job is running or queued."""
        with self._condition:
            return self._started is None and not self._jobs

    @property
    def busy_seconds(self) -> float:
        """Running time of the current job, in seconds; 0 if no job is running."""
        started = self._started
        return 0.0 if started is None else time.monotonic() - started

    def end(self, seconds: float) -> None:
        """Cancel the queued jobs and wait up to `seconds` for the current one.

        The thread ends when the current job returns.
        """
        with self._condition:
            while self._jobs:
                self._jobs.popleft()[0].cancel()
            self._ending = True
            thread = self._thread
            self._condition.notify()
        _join(thread, seconds)

    def _work(self) -> None:
        while (queued := self._next()) is not None:
            future, job = queued
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(job())
                except BaseException as error:
                    future.set_exception(error)
            self._started = None
            del queued, future, job  # so that the objects that the job refers to can be garbage-collected

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._condition:
            while not self._jobs:
                if self._ending or not (self._condition.wait(_IDLE_SECONDS) or self._jobs):
                    self._thread = None
                    return None
            self._started = time.monotonic()
            return self._jobs.popleft()


@dataclass(frozen=True, eq=False)
class Follower:
    """The callbacks of a panel.

    They are called from other threads than the kernel's, and must not raise or block.
    """

    on_reading: Callable[[Reading], None]
    """Called with each reading."""
    on_failure: Callable[[Exception], None]
    """Called if the kit could not be read."""
    on_tick: Callable[[float], None]
    """Called about once a second with the duration of an overdue reading, in seconds; 0 if no reading is overdue."""


class Feed:
    """The state shared by the panels of one kit: its last reading and two workers."""

    def __init__(self, kit: PanelKit) -> None:
        self.kit = kit
        self.reading: Reading | None = None
        self.panels = 0
        """Number of panels that are open or opening."""
        self.followers: list[Follower] = []
        """The callbacks of all panels that are ready to show readings, visible or hidden."""
        self.drawer = Worker("evalkit-drawer")
        """The worker that draws charts."""
        self._worker = Worker("evalkit-reader")

    def submit(self, job: Callable[[], Callable[[], None]]) -> Future[Any]:
        """Run a job in the kit's worker, then read the kit and notify every panel.

        The job returns a function, which is called last.
        """

        def work() -> None:
            finish = job()
            self._read()
            finish()

        return self._worker.submit(work)

    def refresh(self) -> Future[Any]:
        """Read the kit and notify every panel; the future raises if the kit cannot be read."""
        return self._worker.submit(self._read_or_raise)

    def tick(self) -> None:
        """Request a reading unless one is running, and notify the panels of an overdue reading."""
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
        with suppress(Exception):  # the panels show the error
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
    """The feeds of this process, and the thread that updates those with visible panels."""

    def __init__(self) -> None:
        self.reset_in_child()
        reset_in_child(self)
        atexit.register(self.end)

    def reset_in_child(self) -> None:
        """Clear all feeds in a forked process, which has no threads and no visible panels."""
        self._lock = threading.Lock()
        self._feeds: dict[int, Feed] = {}
        self._visible: dict[int, Feed] = {}
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def join(self, kit: PanelKit) -> Feed:
        """Return the feed of a kit for a new panel.

        The panel adds itself to the followers when it is ready to show readings.
        """
        with self._lock:
            feed = self._feeds.setdefault(id(kit), Feed(kit))
            feed.panels += 1
            return feed

    def leave(self, feed: Feed, follower: Follower) -> None:
        """Remove a closed panel.

        The workers of a kit end with its last panel, and the watcher ends with the last visible panel.
        """
        with self._lock:
            self._visible.pop(id(follower), None)
            thread = None if self._visible else self._stopped()
            feed.followers.remove(follower)
            feed.panels -= 1
            last = feed.panels == 0
            if last:
                self._feeds.pop(id(feed.kit), None)
        _join(thread, _LAST_SECONDS)
        if last:
            feed.end()

    def watch(self, feed: Feed, follower: Follower) -> None:
        """Start updating a panel that has become visible."""
        with self._lock:
            self._visible[id(follower)] = feed
            if self._thread is None:
                self._stop = threading.Event()
                self._thread = threading.Thread(target=self._run, args=(self._stop,), name=WATCHER, daemon=True)
                self._thread.start()

    def unwatch(self, follower: Follower) -> None:
        """Stop updating a panel that has been hidden.

        If no panel is visible, the watcher ends at its next tick. It does not end immediately, because a panel is hidden for a moment
        whenever its cell runs again.
        """
        with self._lock:
            self._visible.pop(id(follower), None)

    def end(self) -> None:
        """End all threads before the interpreter exits."""
        with self._lock:
            feeds, thread = list(self._feeds.values()), self._stopped()
            self._feeds.clear()
            self._visible.clear()
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
                if not self._visible:
                    self._thread = None
                    return
                feeds = {id(feed): feed for feed in self._visible.values()}
            for feed in feeds.values():
                try:
                    feed.tick()
                except Exception:
                    _logger.exception("a panel could not be updated")
            stop.wait(TICK_SECONDS)


def _join(thread: threading.Thread | None, seconds: float) -> None:
    if thread is not None and thread is not threading.current_thread():
        thread.join(seconds)


watchers = Watchers()
"""The watchers of this process."""
