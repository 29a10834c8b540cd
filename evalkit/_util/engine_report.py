"""The description of a log or database engine."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["EngineReport"]


class EngineReport(NamedTuple):
    """An engine with its version, configuration and problems."""

    engine: str
    version: str
    """The version; empty if unknown."""
    details: tuple[str, ...] = ()
    """Location and configuration."""
    problems: tuple[str, ...] = ()
    """Problems, each with the next step."""
