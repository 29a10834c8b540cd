"""The interface between panels and kits, and the frames that panels read.

Frames are read together; after the first time, only the rows of studies that changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from evalkit.errors import OutcomeUnknownError, collect_warnings

if TYPE_CHECKING:
    import polars as pl

    from evalkit.domain.notes import Category, Note
    from evalkit.domain.study import Checkpoint, PeriodType, Study
    from evalkit.frames.all_frames import AllFrames

__all__ = ["PanelKit", "Reading", "read", "read_earlier", "read_provenance"]


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

    def _all_frames(self, as_of: datetime | str | None = None, previous: AllFrames | None = None) -> AllFrames:
        """Return the frames of all studies in one state of the log.

        With the `previous` frames, only what changed is read.
        """

    def provenance(self, study: str, *, as_of: datetime | str | None = None) -> pl.DataFrame:
        """Return the origin of the checkpoints of a study."""

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

    def collect(self, study: str, *, progress: bool) -> object:
        """Collect the source of a study; the text of the result says what was done."""

    def record_checkpoint(self, study: str, metrics: Mapping[str, object]) -> Checkpoint:
        """Record the measurements of one period."""

    def amend_checkpoint(
        self,
        checkpoint: Checkpoint,
        metrics: Mapping[str, object],
        *,
        reason: str,
        events_analyzed: int | None = None,
        sessions_included: Sequence[str] | None = None,
        author: str | None,
    ) -> Checkpoint:
        """Correct values of a recorded checkpoint."""

    def retract_checkpoint(self, checkpoint: Checkpoint, *, reason: str, author: str | None) -> Checkpoint:
        """Declare a recorded checkpoint invalid."""

    def note(
        self,
        study: str,
        text: str,
        *,
        at: datetime | None = None,
        until: datetime | None = None,
        category: Category,
        author: str | None = None,
    ) -> Note:
        """Add a note to a study."""

    def rename_study(self, study: str, name: str) -> Study:
        """Rename a study."""

    def edit_study(
        self,
        study: str,
        *,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, str | None] | None = None,
    ) -> Study:
        """Change the description, tags or metadata of a study."""

    def archive_study(self, study: str) -> Study:
        """Leave a study out of lists."""

    def unarchive_study(self, study: str) -> Study:
        """Restore a study from the archive."""

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
    frames: AllFrames
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
        frames = kit._all_frames(previous=None if previous is None else previous.frames)
    return Reading(version, frames, *state, tuple(dict.fromkeys(notes)))


def read_earlier(kit: PanelKit, as_of: datetime | str) -> AllFrames:
    """Return the frames of an earlier state of the log.

    Raises
    ------
    EvalkitError
        If the kit cannot be read, or the state is not one of its log.
    """
    with collect_warnings(lambda _: None):
        return kit._all_frames(as_of)


def read_provenance(kit: PanelKit, study_id: str, as_of: datetime | str | None) -> pl.DataFrame:
    """Return the origin of the checkpoints of a study.

    Only charts show it, so it is not read with each change of the kit.

    Raises
    ------
    EvalkitError
        If the kit cannot be read.
    """
    with collect_warnings(lambda _: None):
        return kit.provenance(study_id, as_of=as_of)
