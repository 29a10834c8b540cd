"""What a panel shows of a kit: three frames, read together, and only when something changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from evalkit.errors import told_warnings

if TYPE_CHECKING:
    import polars as pl

    from evalkit.kit import EvalKit

__all__ = ["Reading", "read"]


@dataclass(frozen=True)
class Reading:
    """What a kit answered."""

    version: object
    """Another one whenever the frames may be others."""
    studies: pl.DataFrame
    """As ``kit.studies()`` gives them."""
    checkpoints: pl.DataFrame
    """As ``kit.checkpoints()`` gives them."""
    lifecycle: pl.DataFrame
    """As ``kit.lifecycle()`` gives it."""
    behind: str | None = None
    """Why this may be behind the log; None when it is not."""
    not_writable: str | None = None
    """Why nothing can be appended; None when it can."""
    notes: tuple[str, ...] = ()
    """What the kit warned of."""


def read(kit: EvalKit, before: Reading | None) -> Reading:
    """Read a kit, or give the frames of `before` again where nothing changed.

    Raises
    ------
    EvalkitError
        When the kit cannot answer.
    """
    notes: list[str] = []
    with told_warnings(notes.append):
        version = kit._read_version()
        state = kit._read_state()
        if before is not None and before.version == version:
            same = (before.behind, before.not_writable) == state
            return before if same else replace(before, behind=state[0], not_writable=state[1])
        # The version comes first: what changes while the frames are read is read again the next time.
        frames = kit.studies(), kit.checkpoints(), kit.lifecycle()
    return Reading(version, *frames, *state, tuple(dict.fromkeys(notes)))
