"""Retries with exponential back-off and a time limit."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["BUSY_SECONDS", "Pauses", "poll"]

_T = TypeVar("_T")

BUSY_SECONDS = 30.0
"""The time limit for retries while other processes lock a file or a server's database."""


class Pauses:
    """Pauses between retries: exponential back-off with ±50% jitter.

    Parameters
    ----------
    first, longest
        The first and the longest pause, in seconds, before jitter.
    within
        The time limit in seconds, after which `over` is true.
    """

    def __init__(self, first: float, longest: float, within: float = float("inf")) -> None:
        self._next, self._longest = first, longest
        self._deadline = time.monotonic() + within

    @property
    def over(self) -> bool:
        """Whether the time limit has passed."""
        return time.monotonic() > self._deadline

    def next(self) -> float:
        """Return the length of the next pause, in seconds."""
        pause, self._next = self._next, min(self._next * 2, self._longest)
        return pause * random.uniform(0.5, 1.5)  # noqa: S311  (not security-relevant)


def poll(read: Callable[[], list[_T]], seconds: float, *, longest: float) -> list[_T]:
    """Call `read` until it returns items or `seconds` have passed, at least once."""
    deadline = time.monotonic() + seconds
    pauses = Pauses(0.005, longest)
    while not (items := read()) and (remaining := deadline - time.monotonic()) > 0:
        time.sleep(min(pauses.next(), remaining))
    return items
