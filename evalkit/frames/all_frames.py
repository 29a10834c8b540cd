"""The frames of all studies in one state of the log, for panels."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from evalkit.frames.change_frames import amendments_frame, metrics_frame, notes_frame
from evalkit.frames.columns import FRAMES, empty_frame
from evalkit.frames.reader import lifecycle_frame, studies_frame
from evalkit.frames.versions import MOST_CHUNKS, View

if TYPE_CHECKING:
    from evalkit.frames.reader import FrameReader, Mark
    from evalkit.readmodel.history import AsOf

__all__ = ["AllFrames", "read_all_frames"]

_NAMES = ("studies", "lifecycle", "metrics", "notes", "amendments", "checkpoints")
_MOST_CHANGED = 100
"""With more changed studies, all are read again."""


@dataclass(frozen=True, eq=False)
class AllFrames:
    """The frames of all studies, archived ones too.

    They have the rows that the methods of `EvalKit` with these names return. The rows of a study stand together and in order; the studies
    themselves are in order only in `studies`, newest first. The checkpoints have the columns of all custom metrics, however many there are.
    """

    studies: pl.DataFrame
    lifecycle: pl.DataFrame
    metrics: pl.DataFrame
    notes: pl.DataFrame
    amendments: pl.DataFrame
    checkpoints: pl.DataFrame
    rows: dict[str, dict[str, Any]]
    """The rows of `studies` by id, in their order. Those of studies that did not change are the same objects after an update."""
    mark: Mark | None = None
    """The rows that were read; None for an earlier state of the log."""

    @classmethod
    def empty(cls) -> AllFrames:
        """Return frames without rows."""
        return cls(**{name: empty_frame(FRAMES[name]) for name in _NAMES}, rows={}, mark=None)

    def updated(self, new: AllFrames, study_ids: Collection[str]) -> AllFrames | None:
        """Return these frames with the rows of some studies replaced by those of `new`.

        None if the columns of custom metrics have other dtypes now.
        """
        old = self.checkpoints.schema
        if any(old.get(name, dtype) != dtype for name, dtype in new.checkpoints.schema.items()):
            return None
        others = ~pl.col("study_id").is_in(list(study_ids))
        frames = {
            name: pl.concat([getattr(self, name).filter(others), getattr(new, name)], how="diagonal", rechunk=False) for name in _NAMES
        }
        frames = {name: frame.rechunk() if frame.n_chunks() > MOST_CHUNKS else frame for name, frame in frames.items()}
        frames["studies"] = frames["studies"].sort("created_at", "study_id", descending=True)
        rows = self.rows | new.rows
        return replace(new, **frames, rows={study_id: rows[study_id] for study_id in frames["studies"]["study_id"]})


def read_all_frames(reader: FrameReader, as_of: AsOf = None, previous: AllFrames | None = None) -> AllFrames:
    """Return the frames of a state of the log.

    With the `previous` frames of the latest state, only studies with new events are read. The caller has to read again if the read model
    changed meanwhile, because checkpoints are read separately.
    """
    if as_of is not None:
        return _read(reader, as_of, None, None)
    mark, changed = reader.changed_since(None if previous is None else previous.mark)
    if previous is not None and changed is not None and len(changed) <= _MOST_CHANGED:
        if not changed:
            return previous
        updated = previous.updated(_read(reader, None, sorted(changed), mark), changed)
        if updated is not None:
            return updated
    return _read(reader, None, None, mark)


def _read(reader: FrameReader, as_of: AsOf, study_ids: list[str] | None, mark: Mark | None) -> AllFrames:
    builds = [build(None, archived=True) for build in (metrics_frame, notes_frame, amendments_frame)]
    studies, lifecycle, metrics, notes, amendments = reader.read(
        studies_frame(archived=True), lifecycle_frame(archived=True), *builds, as_of=as_of, study_ids=study_ids
    )
    checkpoints = reader.checkpoints(study_ids, View(limited=False), as_of, archived=True)
    rows = {row["study_id"]: row for row in studies.to_dicts()}
    return AllFrames(studies, lifecycle, metrics, notes, amendments, checkpoints, rows, mark)
