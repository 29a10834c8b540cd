"""The frames of all studies in one state of the log, for panels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalkit.frames.change_frames import amendments_frame, metrics_frame, notes_frame
from evalkit.frames.columns import FRAMES, empty_frame
from evalkit.frames.reader import lifecycle_frame, studies_frame
from evalkit.frames.versions import View

if TYPE_CHECKING:
    import polars as pl

    from evalkit.frames.reader import FrameReader
    from evalkit.readmodel.history import AsOf

__all__ = ["AllFrames", "read_all_frames"]


@dataclass(frozen=True, eq=False)
class AllFrames:
    """The frames of all studies, archived ones too.

    They are those that the methods of `EvalKit` with these names return. The checkpoints have the columns of all custom metrics, however
    many there are.
    """

    studies: pl.DataFrame
    lifecycle: pl.DataFrame
    metrics: pl.DataFrame
    notes: pl.DataFrame
    amendments: pl.DataFrame
    checkpoints: pl.DataFrame

    @classmethod
    def empty(cls) -> AllFrames:
        """Return frames without rows."""
        return cls(**{name: empty_frame(FRAMES[name]) for name in cls.__dataclass_fields__})


def read_all_frames(reader: FrameReader, as_of: AsOf = None) -> AllFrames:
    """Return the frames of a state of the log.

    The caller has to read again if the read model changed meanwhile, because checkpoints are read separately.
    """
    changes = (build(None, archived=True) for build in (metrics_frame, notes_frame, amendments_frame))
    studies, lifecycle, *changed = reader.read(studies_frame(archived=True), lifecycle_frame(archived=True), *changes, as_of=as_of)
    metrics, notes, amendments = changed
    checkpoints = reader.checkpoints(None, View(limited=False), as_of, archived=True)
    return AllFrames(studies, lifecycle, metrics, notes, amendments, checkpoints)
