"""A thread that does one kit's work for its panels, so that neither the kernel nor the watcher waits for a server."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

__all__ = ["Worker"]

_IDLE_SECONDS = 5.0


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
        """Give up the jobs that wait, and wait up to some seconds for the one at hand; a job that hangs ends its thread when it returns."""
        with self._condition:
            while self._jobs:
                self._jobs.popleft()[0].cancel()
            self._ending = True
            thread = self._thread
            self._condition.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds)

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
