"""What an engine says of itself, for people."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["EngineReport"]


class EngineReport(NamedTuple):
    """An engine, its version, and what is wrong with it."""

    engine: str
    version: str
    """Empty when it does not say."""
    details: tuple[str, ...] = ()
    """Where it is and how it is set up."""
    problems: tuple[str, ...] = ()
    """What is wrong, in words, with what to do."""
