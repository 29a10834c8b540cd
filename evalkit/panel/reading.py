"""What a panel uses of a kit, and what it shows of it: three frames, read together, and only when something changed."""

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
    """The part of a kit's engine that panels ask, about once a second."""

    behind: str | None
    """Why the last answer may be behind the log; None where it is not."""
    not_writable: str | None
    """Why nothing can be appended; None where it can."""

    def read_version(self) -> object:
        """Return another value whenever a frame may be another one."""


class PanelKit(Protocol):
    """The part of an `EvalKit` that panels use. Panels import nothing else of it, so that the kit may import them."""

    def studies(self) -> pl.DataFrame:
        """Return every study, newest first."""

    def checkpoints(self) -> pl.DataFrame:
        """Return every checkpoint."""

    def lifecycle(self) -> pl.DataFrame:
        """Return what happened to each study."""

    def create_study(
        self,
        name: str,
        *,
        period: PeriodType | tuple[PeriodType, int],
        description: str | None,
        tags: Sequence[str],
        metadata: Mapping[str, str],
    ) -> Study:
        """Create a study, pending."""

    def start_study(self, study: str) -> Study:
        """Let a pending study run."""

    def pause_study(self, study: str) -> Study:
        """Pause a running study."""

    def resume_study(self, study: str) -> Study:
        """Let a paused study run on."""

    def stop_study(self, study: str) -> Study:
        """Stop a study for good."""

    def record_checkpoint(self, study: str, metrics: Mapping[str, object]) -> Checkpoint:
        """Record one period's measurements."""

    def outcome(self, error: OutcomeUnknownError) -> object:
        """Ask again what became of events whose outcome was unknown."""

    @property
    def engine(self) -> PanelEngine:
        """The log and the read model at work."""


@dataclass(frozen=True)
class Reading:
    """What a kit answered."""

    version: object
    """Another one whenever the frames may be others."""
    studies: pl.DataFrame
    """As ``kit.studies()`` returns them."""
    checkpoints: pl.DataFrame
    """As ``kit.checkpoints()`` returns them."""
    lifecycle: pl.DataFrame
    """As ``kit.lifecycle()`` returns it."""
    behind: str | None = None
    """Why this may be behind the log; None when it is not."""
    not_writable: str | None = None
    """Why nothing can be appended; None when it can."""
    notes: tuple[str, ...] = ()
    """What the kit warned of."""


def read(kit: PanelKit, before: Reading | None) -> Reading:
    """Read a kit, or return the frames of `before` again where nothing changed.

    Raises
    ------
    EvalkitError
        When the kit cannot answer.
    """
    notes: list[str] = []
    with collect_warnings(notes.append):
        version = kit.engine.read_version()
        state = (kit.engine.behind, kit.engine.not_writable)
        if before is not None and before.version == version:
            same = (before.behind, before.not_writable) == state
            return before if same else replace(before, behind=state[0], not_writable=state[1])
        # The version comes first: what changes while the frames are read is read again the next time.
        frames = kit.studies(), kit.checkpoints(), kit.lifecycle()
    return Reading(version, *frames, *state, tuple(dict.fromkeys(notes)))
