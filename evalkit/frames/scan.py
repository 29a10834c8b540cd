"""Lazy frames over a mirror, with the columns and values of ``kit.checkpoints()``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise

import polars as pl

from evalkit.frames.checkpoint_pages import stored_schema
from evalkit.frames.columns import CHECKPOINTS, frame_schema
from evalkit.frames.mirror import MirrorFile, MirrorState
from evalkit.frames.reader import selected_studies
from evalkit.frames.versions import FrameStudy, View, versions_frame

__all__ = ["scan"]


def scan(state: MirrorState, study_ids: Sequence[str] | None, view: View, *, archived: bool) -> pl.LazyFrame:
    """Return the checkpoints of a mirror, ordered by study (oldest first), timestamp and id.

    Parameters
    ----------
    state
        The mirror and the state of the log to show.
    study_ids, view, archived
        See `FrameReader.checkpoints`.

    Raises
    ------
    InvalidInputError
        When the studies define more custom metrics than a frame can have columns.
    """
    studies = selected_studies(state.studies, state.bounds, state.history, study_ids, archived=archived)
    wanted = {study.id for study in studies}
    files = [file for file in state.files if file.study_id in wanted]
    custom = tuple(dict.fromkeys(name for study in studies for name in state.history.definitions.get(study.id, {})))
    rows = _stored(state, files, custom).join(_of_studies(studies, state).lazy(), on="study_id", how="inner", maintain_order="left")
    if not state.bounds.is_latest:
        rows = rows.filter(pl.col("log_offset") < pl.col(_LIMIT))
    return versions_frame(rows, studies, state.history, view)


_LIMIT = "offset of the state"


def _of_studies(studies: Sequence[FrameStudy], state: MirrorState) -> pl.DataFrame:
    limits = [state.bounds.of(study.id) for study in studies]
    schema = {"study_id": pl.String(), "study": pl.String(), "period_type": frame_schema(CHECKPOINTS)["period_type"], _LIMIT: pl.Int64()}
    return pl.DataFrame([(*study, limit) for study, limit in zip(studies, limits, strict=True)], schema=schema, orient="row")


def _stored(state: MirrorState, files: Sequence[MirrorFile], custom: Sequence[str]) -> pl.LazyFrame:
    """Return the stored checkpoints of files, in the order of studies, timestamps and ids."""
    schema = stored_schema(custom)
    parts: list[pl.LazyFrame] = [pl.LazyFrame(schema=schema)]
    sections: list[tuple[tuple[str, ...], bool, list[MirrorFile]]] = []
    for _, of_year in groupby(files, key=lambda file: (file.study_id, file.year)):
        group = list(of_year)
        overlaps = any(earlier.last >= later.first for earlier, later in pairwise(group))
        if sections and not overlaps and not sections[-1][1] and sections[-1][0] == group[0].custom:
            sections[-1][2].extend(group)
        else:
            sections.append((group[0].custom, overlaps, group))
    for own, overlaps, group in sections:
        rows = pl.scan_parquet([state.folder / file.path for file in group], hive_partitioning=False)
        missing = [pl.lit(None, pl.Float64()).alias(name) for name in custom if name not in own]
        rows = rows.with_columns(missing).select(list(schema)) if missing or own else rows.select(list(schema))
        parts.append(rows.sort("timestamp", "checkpoint_id") if overlaps else rows)
    return pl.concat(parts)
