"""Bulk work with the garbage collector disabled."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collector_paused"]


@contextmanager
def collector_paused() -> Iterator[None]:
    """Disable the garbage collector during the block.

    A collection is slow, because it visits the objects of all imported packages. Bulk work creates no reference cycles, so reference
    counting frees its objects.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
