"""Waiting for what others hold or have not written yet: pauses that grow, for a bounded time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["BUSY_SECONDS", "Pauses", "poll"]

_T = TypeVar("_T")

BUSY_SECONDS = 30.0
"""How long a file or a server that others hold is waited for."""


class Pauses:
    """Pauses between tries, each twice as long as the one before.

    Parameters
    ----------
    first, longest
        How long they are, in seconds. Half as much is added or taken away at random, which keeps processes out of step.
    within
        After how many seconds `over` is true.
    """

    def __init__(self, first: float, longest: float, within: float = float("inf")) -> None:
        self._next, self._longest = first, longest
        self._deadline = time.monotonic() + within

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self._deadline

    def next(self) -> float:
        """Return how long to wait now."""
        pause, self._next = self._next, min(self._next * 2, self._longest)
        return pause * random.uniform(0.5, 1.5)  # noqa: S311  (no secret)


def poll(read: Callable[[], list[_T]], seconds: float, *, longest: float) -> list[_T]:
    """Call `read` until it returns something, or `seconds` have passed; 0 is once."""
    deadline = time.monotonic() + seconds
    pauses = Pauses(0.005, longest)
    while not (found := read()) and (remaining := deadline - time.monotonic()) > 0:
        time.sleep(min(pauses.next(), remaining))
    return found
