"""The interface between panels and kits, and the frames that panels read.

The three frames are read together if anything changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from evalkit.errors import OutcomeUnknownError, collect_warnings

if TYPE_CHECKING:
    import polars as pl

    from evalkit.domain.study import Checkpoint, PeriodType, Study

__all__ = ["PanelKit", "Reading", "read"]


class PanelEngine(Protocol):
    """The part of a kit's engine that panels poll about once a second."""

    behind: str | None
    """The reason why the last result may be behind the log; None if it is current."""
    not_writable: str | None
    """The reason why events cannot be appended; None if they can be appended."""

    def read_version(self) -> object:
        """Return a token that changes whenever the frames may have changed."""


class PanelKit(Protocol):
    """The part of an `EvalKit` that panels use.

    It is a protocol because panels cannot import the kit, which imports panels.
    """

    def studies(self) -> pl.DataFrame:
        """Return every study, newest first."""

    def checkpoints(self, *, custom: bool = True) -> pl.DataFrame:
        """Return every checkpoint."""

    def lifecycle(self) -> pl.DataFrame:
        """Return the lifecycle of each study."""

    def create_study(
        self,
        name: str,
        *,
        period: PeriodType | tuple[PeriodType, int],
        description: str | None,
        tags: Sequence[str],
        metadata: Mapping[str, str],
    ) -> Study:
        """Create a pending study."""

    def start_study(self, study: str) -> Study:
        """Start a pending study."""

    def pause_study(self, study: str) -> Study:
        """Pause a running study."""

    def resume_study(self, study: str) -> Study:
        """Resume a paused study."""

    def stop_study(self, study: str) -> Study:
        """Stop a study permanently."""

    def record_checkpoint(self, study: str, metrics: Mapping[str, object]) -> Checkpoint:
        """Record the measurements of one period."""

    def outcome(self, error: OutcomeUnknownError) -> object:
        """Return the outcome of a command that raised an `OutcomeUnknownError`."""

    @property
    def engine(self) -> PanelEngine:
        """The kit's connection to its log and read model."""


@dataclass(frozen=True)
class Reading:
    """The frames of a kit at one time."""

    version: object
    """The token of `PanelEngine.read_version`."""
    studies: pl.DataFrame
    """The frame of ``kit.studies()``."""
    checkpoints: pl.DataFrame
    """The frame of ``kit.checkpoints()``."""
    lifecycle: pl.DataFrame
    """The frame of ``kit.lifecycle()``."""
    behind: str | None = None
    """The reason why the frames may be behind the log; None if they are current."""
    not_writable: str | None = None
    """The reason why events cannot be appended; None if they can be appended."""
    notes: tuple[str, ...] = ()
    """Warnings of the kit."""


def read(kit: PanelKit, previous: Reading | None) -> Reading:
    """Read a kit, or return `previous` if nothing changed.

    Raises
    ------
    EvalkitError
        If the kit cannot be read.
    """
    notes: list[str] = []
    with collect_warnings(notes.append):
        version = kit.engine.read_version()
        state = (kit.engine.behind, kit.engine.not_writable)
        if previous is not None and previous.version == version:
            unchanged = (previous.behind, previous.not_writable) == state
            return previous if unchanged else replace(previous, behind=state[0], not_writable=state[1])
        # The version is read first, so that the next reading includes changes made while the frames are read.
        frames = kit.studies(), kit.checkpoints(custom=False), kit.lifecycle()
    return Reading(version, *frames, *state, tuple(dict.fromkeys(notes)))
