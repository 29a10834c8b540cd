"""Reading of frames from the read model, in pages of one consistent state."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import msgspec
import polars as pl

from evalkit._util.forks import reset_in_child
from evalkit.domain.study import TRANSITIONS, StudyConfig, StudyStatus
from evalkit.domain.times import MAX_COUNT
from evalkit.frames.checkpoint_pages import event_time, parsed_time
from evalkit.frames.columns import LIFECYCLE, REJECTED, STUDIES, empty_frame, frame_schema
from evalkit.frames.stored_pages import ENDS_QUERY, STUDIES_QUERY, StoredPages
from evalkit.frames.versions import FrameStudy, Stored, View, checkpoint_frame
from evalkit.readmodel.database.database import Database, Row, Value
from evalkit.readmodel.history import (
    AsOf,
    Bounds,
    History,
    bounds_of,
    bounds_query,
    known_at,
    studies_at,
)
from evalkit.readmodel.rows import readable
from evalkit.readmodel.snapshot import RebuiltMeanwhileError, Snapshot, StudyRow, consistently, last_rows_query

__all__ = [
    "Build", "FrameReader", "Mark", "frame_of_rows", "lifecycle_frame", "selected_studies", "studies_frame",
]  # fmt: skip

_T = TypeVar("_T")

Build = Callable[[Snapshot, History, list[StudyRow], Bounds], pl.DataFrame]
"""A function that builds a frame of a state of the log."""

# Polars shortens strings of more than 30 characters when it prints a frame; ids have 36.
os.environ.setdefault("POLARS_FMT_STR_LEN", "36")

_RETRACTED = "SELECT study_id, subject FROM changes WHERE :chosen AND kind = 'checkpoint_retracted'"
_COUNTS = f"""
SELECT study_id, count(*), max(period_end) FROM checkpoints
WHERE :chosen AND study_id NOT IN (SELECT study_id FROM ({_RETRACTED})) AND +rowid <= :checkpoints GROUP BY study_id
UNION ALL SELECT study_id, count(*), max(period_end) FROM checkpoints
WHERE :chosen AND study_id IN (SELECT study_id FROM ({_RETRACTED})) AND (study_id, id) NOT IN ({_RETRACTED}) AND +rowid <= :checkpoints
GROUP BY study_id"""
_NEW_ROWS = """
SELECT study_id FROM checkpoints WHERE rowid > ? UNION SELECT study_id FROM lifecycle WHERE rowid > ?
UNION SELECT study_id FROM changes WHERE rowid > ?"""
_COUNTS_AT = """
WITH bounds (id, before) AS MATERIALIZED (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))
SELECT c.study_id, count(*), max(c.period_end) FROM bounds CROSS JOIN checkpoints c ON c.study_id = bounds.id
WHERE c.log_offset < before AND c.rowid <= :checkpoints AND NOT EXISTS (SELECT 1 FROM changes r WHERE r.study_id = c.study_id
  AND r.subject = c.id AND r.kind = 'checkpoint_retracted' AND r.log_offset < before)
GROUP BY c.study_id"""


@dataclass(frozen=True)
class _Cache:
    """The checkpoints and changes that were read, up to a row id of each table."""

    generation: int = -1
    last: int = 0
    last_change: int = 0
    history: History = field(default_factory=History)
    custom: tuple[str, ...] = ()
    """The custom metrics that were read."""
    stored: Stored = field(default_factory=Stored.empty)
    identity: object = None


class Mark(NamedTuple):
    """The last row ids of a read model at one point in time."""

    identity: object
    generation: int
    checkpoints: int
    lifecycle: int
    changes: int


@dataclass(frozen=True)
class _State:
    """What is read together with checkpoints."""

    studies: list[Row]
    bounds: Bounds
    history: History


class FrameReader:
    """Read frames from a read model, each from one consistent state.

    Parameters
    ----------
    database
        The database of the read model.
    identity
        A function that returns the identity of the read model. The cache is cleared when the identity changes.
    """

    def __init__(self, database: Database, identity: Callable[[], object] = lambda: None) -> None:
        self._database = database
        self._identity = identity
        self._lock = threading.Lock()
        self._cache: _Cache | None = None
        self._result: tuple[object, pl.DataFrame] | None = None
        self._pages = StoredPages(database)
        reset_in_child(self)

    def reset_in_child(self) -> None:
        """Replace the lock in a forked process."""
        self._lock = threading.Lock()

    def studies(self, as_of: AsOf = None, *, archived: bool = False) -> pl.DataFrame:
        """Return the studies, newest first: by creation time, then id, descending."""
        return self.read(studies_frame(archived=archived), as_of=as_of, changes=False)[0]

    def lifecycle(self, as_of: AsOf = None, *, archived: bool = False) -> pl.DataFrame:
        """Return the lifecycle events: studies oldest first, events in log order."""
        return self.read(lifecycle_frame(archived=archived), as_of=as_of, changes=False)[0]

    def rejected(self, as_of: AsOf = None) -> pl.DataFrame:
        """Return the events without effect, rejected and quarantined, in time order."""

        def read(snapshot: Snapshot, _: History, bounds: Bounds) -> pl.DataFrame:
            columns = "study_id, event_id, reason, kind, message, written_at, log_partition, log_offset"
            rejected = snapshot.rows("rejected", columns, ("study_id", "event_id", "reason"))
            rows: list[list[Any]] = []
            for study_id, event_id, reason, kind, message, written_at, *place in rejected:
                owner = "" if reason == "wrong partition" else str(study_id)
                if _belongs(bounds, owner, str(event_id), written_at, place):
                    rows.append([study_id, event_id, kind, "rejected", reason, message, event_id])
            columns = "study_id, key, event_id, error, log_partition, log_offset"
            for study_id, _key, event_id, error, *place in snapshot.rows("quarantined", columns, ("study_id", "key")):
                if _belongs(bounds, "", str(event_id), None, place):
                    rows.append([study_id or None, event_id or None, None, "quarantined", "not a valid event", error, event_id or None])
            rows.sort(key=lambda row: tuple(part or "" for part in (row[6], row[0], row[4])))
            return frame_of_rows(rows, REJECTED, event_times=("at",))

        return self._consistently(read, as_of)

    def read(
        self, *builds: Build, as_of: AsOf = None, changes: bool = True, study_ids: Collection[str] | None = None
    ) -> list[pl.DataFrame]:
        """Return frames of one state of the log.

        `changes` says whether they need changes, and `study_ids` limits them to some studies.
        """

        def read(snapshot: Snapshot, history: History, bounds: Bounds) -> list[pl.DataFrame]:
            studies = studies_at(snapshot, history, bounds)
            return [build(snapshot, history, studies, bounds) for build in builds]

        return self._consistently(read, as_of, changes=changes, study_ids=study_ids)

    def changed_since(self, mark: Mark | None) -> tuple[Mark, set[str] | None]:
        """Return the current mark, and the ids of the studies with newer rows than `mark`.

        None in place of ids: all studies may have changed.
        """
        identity = self._identity()
        ends = last_rows_query("checkpoints", "lifecycle", "changes")
        with readable(self._database):
            head, (rows, new) = self._pages.read(ends, (_NEW_ROWS, (MAX_COUNT,) * 3 if mark is None else mark[2:]))
        log = tuple(position.first_sha256 for position in head.positions)
        now = Mark((identity, log), head.generation, *(int(str(end)) for end in rows[0]))
        comparable = mark is not None and mark[:2] == now[:2] and all(old <= end for old, end in zip(mark[2:], now[2:], strict=True))
        return now, {str(study_id) for (study_id,) in new} if comparable else None

    def bounds(self, as_of: AsOf) -> Bounds:
        """Return the bounds of a state of the log."""
        return bounds_of(as_of, self._database.execute(*bounds_query(as_of)) if isinstance(as_of, datetime) else ())

    def _consistently(
        self,
        read: Callable[[Snapshot, History, Bounds], _T],
        as_of: AsOf,
        *,
        changes: bool = False,
        study_ids: Collection[str] | None = None,
    ) -> _T:
        def attempt() -> _T:
            snapshot = Snapshot(self._database, bounds_query(as_of), study_ids)
            bounds = bounds_of(as_of, snapshot.extra)
            needed = changes or not bounds.is_latest
            return read(snapshot, History.of_snapshot(snapshot).until(bounds) if needed else History(), bounds)

        with readable(self._database):
            return consistently(attempt)

    def checkpoints(
        self,
        study_ids: Sequence[str] | None = None,
        view: View = View(),  # noqa: B008  (it is frozen)
        as_of: AsOf = None,
        *,
        archived: bool = False,
    ) -> pl.DataFrame:
        """Return the checkpoints of some studies, or of all, sorted by study, timestamp and id.

        The stored checkpoints of all studies are cached; later calls read only new ones.

        Parameters
        ----------
        study_ids
            The ids of studies. None: all that are not archived, or all with `archived`.
        view
            What to show.
        as_of
            The state of the log; by default the latest.
        archived
            Whether archived studies are included.
        """
        with self._lock, readable(self._database):
            identity = self._identity()
            if self._cache is not None and self._cache.identity != identity:
                self._cache = None
            whole = (study_ids is None and view.columns is None) or self._cache is not None
            columns = None if whole else view.columns
            cache, state = self._read(None if whole else study_ids, self._cache if whole else None, as_of, columns)
            if whole and cache is not self._cache:
                self._cache = cache = replace(cache, identity=identity)
            studies = selected_studies(state.studies, state.bounds, state.history, study_ids, archived=archived)
            key = (identity, cache.generation, cache.last, cache.last_change, tuple(studies), view)
            if not state.bounds.is_latest:
                return checkpoint_frame(cache.stored, studies, state.history, state.bounds, view)
            if self._result is None or self._result[0] != key:
                frame = checkpoint_frame(cache.stored, studies, state.history, state.bounds, view)
                if study_ids is not None or view.columns is not None:
                    return frame
                self._result = key, frame
            return self._result[1].clone()  # users may change a frame in place

    def _read(
        self, study_ids: Sequence[str] | None, cache: _Cache | None, as_of: AsOf, columns: Sequence[str] | None
    ) -> tuple[_Cache, _State]:
        """Read new rows and changes; return the cache with them, and the state.

        The cache is the same object if there are no new ones. See `decode_page` for `columns`.
        """
        while True:
            try:
                return self._read_generation(study_ids, cache or _Cache(stored=Stored.empty((), columns)), as_of, columns)
            except RebuiltMeanwhileError:
                cache = None  # start over

    def _read_generation(
        self, study_ids: Sequence[str] | None, cache: _Cache, as_of: AsOf, columns: Sequence[str] | None
    ) -> tuple[_Cache, _State]:
        """Read as `_read`.

        Raises
        ------
        RebuiltMeanwhileError
            When the cache has another generation than the read model, or lacks the values of new metrics.
        """
        head, (ends, studies, later) = self._pages.read(ENDS_QUERY, STUDIES_QUERY, bounds_query(as_of))
        generation, (end, end_of_changes) = head.generation, (int(str(value)) for value in ends[0])
        if cache.generation not in (-1, generation):
            raise RebuiltMeanwhileError("The read model was rebuilt")
        history, custom = cache.history, cache.custom
        if end_of_changes > cache.last_change:
            history = History([*history.changes, *self._pages.changes(generation, cache.last_change, end_of_changes)])
            custom = tuple(dict.fromkeys(name for defined in history.definitions.values() for name in defined))
            if custom != cache.custom and cache.last:
                raise RebuiltMeanwhileError("Earlier checkpoints may have values of new metrics")
        bounds = bounds_of(as_of, later)
        state = _State(studies, bounds, history.until(bounds))
        pages = [page for _, page in self._pages.checkpoints(generation, (cache.last, end), custom, study_ids=study_ids, columns=columns)]
        if cache.generation == generation and (end, end_of_changes) == (cache.last, cache.last_change):
            return cache, state
        stored = cache.stored if custom == cache.custom else Stored.empty(custom, columns)
        stored = stored.with_pages(pages, tuple(str(study[0]) for study in studies))
        return _Cache(generation, max(end, cache.last), end_of_changes, history, custom, stored, cache.identity), state


def studies_frame(*, archived: bool = False) -> Build:
    """Return the builder of ``kit.studies()``."""

    def build(snapshot: Snapshot, _: History, studies: list[StudyRow], bounds: Bounds) -> pl.DataFrame:
        if bounds.is_latest:
            counted = snapshot.query(_COUNTS)
        else:
            counted = snapshot.query(_COUNTS_AT, (json.dumps([[study.id, bounds.of(study.id)] for study in studies]),))
        counts = {study_id: tuple(rest) for study_id, *rest in counted}
        rows: list[list[Any]] = []
        for study in sorted(studies, key=lambda study: (study.created_at, study.id), reverse=True):
            if study.archived and not archived:
                continue
            config = StudyConfig.model_validate_json(study.config, extra="ignore")
            metadata = [{"key": key, "value": value} for key, value in config.metadata.items()]
            times = (study.created_at, study.started_at, study.stopped_at)
            counts_of = counts.get(study.id, (0, None))
            rows.append([*study[:5], config.description, config.tags, metadata, *times, *counts_of, bool(study.archived)])
        return frame_of_rows(rows, STUDIES)

    return build


def lifecycle_frame(*, archived: bool = False) -> Build:
    """Return the builder of ``kit.lifecycle()``."""
    status = {kind: leads_to.value for kind, (_, leads_to) in TRANSITIONS.items()} | {"study_created": StudyStatus.PENDING.value}

    def build(snapshot: Snapshot, _: History, studies: list[StudyRow], bounds: Bounds) -> pl.DataFrame:
        by_id = {study.id: study for study in studies}
        entries = snapshot.rows("lifecycle", "study_id, seq, kind, event_id, log_offset", ("study_id", "seq"))
        rows: list[list[Any]] = [
            [study_id, by_id[str(study_id)].name, seq, kind, status[str(kind)], at]
            for study_id, seq, kind, at, offset in entries
            if int(str(offset)) < bounds.of(str(study_id)) and (archived or not by_id[str(study_id)].archived)
        ]
        rows.sort(key=lambda row: (by_id[row[0]].created_at, row[0], row[2]))
        return frame_of_rows(rows, LIFECYCLE, event_times=("at",))

    return build


def selected_studies(
    rows: Sequence[Row], bounds: Bounds, history: History, study_ids: Sequence[str] | None, *, archived: bool
) -> list[FrameStudy]:
    """Return the studies to show, oldest first, with their names in a state.

    `rows` are those of `STUDIES_QUERY`, and `history` has the changes of the state.
    """
    chosen, latest = None if study_ids is None else set(study_ids), bounds.is_latest
    studies = []
    for study_id, first_name, period_type, name, is_archived in rows:
        key = str(study_id)
        hidden = is_archived if latest else history.archived.get(key, False)
        if key in chosen if chosen is not None else archived or not hidden:
            current = name if latest else history.names.get(key, str(first_name))
            studies.append(FrameStudy(key, str(current), str(period_type)))
    return studies


def _belongs(bounds: Bounds, study_id: str, event_id: str, written_at: Value, place: Sequence[Value]) -> bool:
    """Return whether an event without effect belongs to a state.

    `study_id` is empty for an event that is not in the partition of its study.
    """
    partition, offset = (int(str(part)) for part in place)
    limit = bounds.of(study_id) if study_id else bounds.of_misplaced(partition)
    if limit is not None:
        return offset < limit
    if bounds.moment is None or not (written_at or event_id):
        return True
    return known_at(written_at, event_id) <= bounds.moment


def frame_of_rows(rows: list[list[Any]], columns: dict[str, str], event_times: Sequence[str] = ()) -> pl.DataFrame:
    """Return a frame of rows in the format of the read model.

    The columns `event_times` have event ids, whose times are shown.
    """
    if not rows:
        return empty_frame(columns)
    schema = frame_schema(columns)
    return pl.DataFrame(
        [
            _series(name, values, kind, schema[name], event_time if name in event_times else parsed_time)
            for (name, kind), values in zip(columns.items(), zip(*rows, strict=True), strict=True)
        ]
    )


def _series(name: str, values: Sequence[Any], kind: str, dtype: pl.DataType, time: Callable[[pl.Expr], pl.Expr]) -> pl.Series:
    if kind == "time":
        return pl.Series(name, values, dtype=pl.String()).to_frame().select(time(pl.col(name))).to_series()
    if kind in ("texts", "pairs"):  # Polars converts Python lists of lists one by one
        return pl.Series(name, [msgspec.json.encode(value).decode() for value in values], dtype=pl.String()).str.json_decode(dtype)
    return pl.Series(name, values, dtype=dtype)
