"""Frames of definitions, notes, amendments, changes and measurements."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import polars as pl
from pydantic_core import from_json

from evalkit.domain.catalog import METRICS, standard_metrics
from evalkit.domain.corrections import changed_text, changes_of
from evalkit.domain.definitions import Metric
from evalkit.domain.events import (
    CheckpointAmended,
    CheckpointRetracted,
    EvalEvent,
    MetricDefined,
    NoteAdded,
    StudyEdited,
    StudyRenamed,
)
from evalkit.domain.metrics import LongitudinalMetrics
from evalkit.domain.times import stored_text
from evalkit.frames.columns import AMENDMENTS, CHANGES, MALFORMED, MEASUREMENTS, METRICS_FRAME, NOTES, PROVENANCE, frame_schema
from evalkit.frames.reader import Build, frame_of_rows
from evalkit.readmodel.history import Bounds, CheckpointKey, History, known_at
from evalkit.readmodel.snapshot import Snapshot, StudyRow

__all__ = [
    "BUILDERS",
    "amendments_frame",
    "changes_frame",
    "malformed_frame",
    "measurements_frame",
    "metrics_frame",
    "notes_frame",
    "provenance_frame",
]

_KEYS_PAGE = 500


def _chosen(
    studies: Sequence[StudyRow], ids: Sequence[str] | None, *, archived: bool, among: Container[str] | None = None
) -> list[StudyRow]:
    """Return the selected studies, oldest first; with `among`, only those of these ids."""
    kept = studies if among is None else [study for study in studies if study.id in among]
    kept = [study for study in kept if (study.id in ids if ids is not None else archived or not study.archived)]
    return sorted(kept, key=lambda study: (study.created_at, study.id))


def metrics_frame(ids: Sequence[str] | None, *, archived: bool = False) -> Build:
    """Return the builder of ``kit.metrics()``."""

    def build(_: Snapshot, history: History, studies: list[StudyRow], __: Bounds) -> pl.DataFrame:
        fields = list(METRICS_FRAME)[2:]
        rows = [
            [study.id, study.name, *(getattr(metric, field) for field in fields)]
            for study in _chosen(studies, ids, archived=archived, among=history.definitions)
            for metric in history.definitions[study.id].values()
        ]
        return frame_of_rows(rows, METRICS_FRAME)

    return build


def notes_frame(ids: Sequence[str] | None, *, archived: bool = False) -> Build:
    """Return the builder of ``kit.notes()``."""

    def build(_: Snapshot, history: History, studies: list[StudyRow], __: Bounds) -> pl.DataFrame:
        notes: dict[str, list[NoteAdded]] = {}
        for note in history.notes:
            notes.setdefault(note.study_id, []).append(note)
        rows: list[list[Any]] = []
        for study in _chosen(studies, ids, archived=archived, among=notes):
            for note in sorted(notes[study.id], key=lambda note: (note.at, note.id)):
                times = [stored_text(note.at), None if note.until is None else stored_text(note.until)]
                rows.append([study.id, study.name, note.id, *times, note.category, note.text, note.author])
        return frame_of_rows(rows, NOTES)

    return build


def amendments_frame(ids: Sequence[str] | None, *, archived: bool = False) -> Build:
    """Return the builder of ``kit.amendments()``."""

    def build(snapshot: Snapshot, history: History, studies: list[StudyRow], _: Bounds) -> pl.DataFrame:
        changed = {study_id for study_id, _ in (*history.amendments, *history.retractions)}
        chosen = _chosen(studies, ids, archived=archived, among=changed)
        chosen_ids = {study.id for study in chosen}
        first = _first_values(snapshot, [key for key in history.amendments if key[0] in chosen_ids])
        entries: dict[str, list[tuple[int, list[Any]]]] = {}
        for key, chain in history.amendments.items():
            if key not in first:
                continue
            values = first[key]
            for revision, (change, event) in enumerate(chain, 1):
                for name, new in _changed(event):
                    row = [key[1], revision, name, values.get(name), new, event.reason, event.author, change.written_at]
                    entries.setdefault(key[0], []).append((change.seq, row))
                    values[name] = new
        for key, (change, retraction) in history.retractions.items():
            row = [key[1], None, None, None, None, retraction.reason, retraction.author, change.written_at]
            entries.setdefault(key[0], []).append((change.seq, row))
        rows = [
            [study.id, study.name, *row] for study in chosen for _, row in sorted(entries.get(study.id, []), key=lambda entry: entry[0])
        ]
        return frame_of_rows(rows, AMENDMENTS)

    return build


def _number(value: object) -> float | None:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return float(value) if isinstance(value, int | float) else None


def _changed(event: CheckpointAmended) -> Iterator[tuple[str, float | None]]:
    """Yield the names and new values of an amendment; of sessions, their number."""
    for name, value in event.metrics.changed().items():
        yield name, _number(value)
    if event.events_analyzed is not None:
        yield "events_analyzed", float(event.events_analyzed)
    if event.sessions_included is not None:
        yield "sessions_included", float(len(event.sessions_included))
    if event.provenance is not None:
        yield "provenance", None


def _first_values(snapshot: Snapshot, keys: Sequence[CheckpointKey]) -> dict[CheckpointKey, dict[str, float | None]]:
    """Return the values of checkpoints as first recorded."""
    sql = (
        "WITH keys (study, id) AS MATERIALIZED (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)) "
        "SELECT study_id, c.id, metrics, events_analyzed, sessions_included FROM keys CROSS JOIN checkpoints c "
        "ON study_id = study AND c.id = keys.id"
    )
    values: dict[CheckpointKey, dict[str, float | None]] = {}
    for start in range(0, len(keys), _KEYS_PAGE):
        for study_id, checkpoint_id, text, analyzed, sessions in snapshot.query(sql, (json.dumps(keys[start : start + _KEYS_PAGE]),)):
            metrics = LongitudinalMetrics.model_validate_json(str(text), extra="ignore")
            numbers: dict[str, float | None] = {name: _number(value) for name, value in metrics.measured().items()}
            numbers |= {"events_analyzed": _number(analyzed), "sessions_included": float(len(from_json(str(sessions))))}
            values[str(study_id), str(checkpoint_id)] = numbers
    return values


_WITH_PROVENANCE = """
SELECT c.study_id, c.id, period_start, provenance, c.log_offset FROM json_each(?) AS chosen
CROSS JOIN checkpoints c ON c.study_id = chosen.value
WHERE (provenance IS NOT NULL OR EXISTS (SELECT 1 FROM changes a WHERE a.study_id = c.study_id AND a.subject = c.id
  AND a.kind = 'checkpoint_amended')) AND c.rowid <= :checkpoints AND (c.study_id, c.id) > (?, ?) ORDER BY c.study_id, c.id LIMIT ?"""


def provenance_frame(ids: Sequence[str] | None, *, archived: bool = False) -> Build:
    """Return the builder of ``kit.provenance()``."""

    def build(snapshot: Snapshot, history: History, studies: list[StudyRow], bounds: Bounds) -> pl.DataFrame:
        chosen = _chosen(studies, ids, archived=archived)
        fields = list(PROVENANCE)[4:]
        rows: dict[str, list[list[Any]]] = {study.id: [] for study in chosen}
        amended = _amended_provenance(history)
        for study_id, checkpoint_id, start, text, offset in snapshot.paged(_WITH_PROVENANCE, (json.dumps(list(rows)),), 2):
            key = str(study_id), str(checkpoint_id)
            origin = amended.get(key) or (None if text is None else from_json(str(text)))
            if origin is not None and int(str(offset)) < bounds.of(key[0]) and key not in history.retractions:
                rows[key[0]].append([key[1], start, *({"models": [], **origin}.get(field) for field in fields)])
        listed = [[study.id, study.name, *row] for study in chosen for row in sorted(rows[study.id], key=lambda row: (row[1], row[0]))]
        return frame_of_rows(listed, PROVENANCE)

    return build


def _amended_provenance(history: History) -> dict[CheckpointKey, dict[str, Any]]:
    """Return the latest provenance of the checkpoints whose provenance was amended."""
    return {
        key: event.provenance.model_dump()
        for key, chain in history.amendments.items()
        for _, event in chain
        if event.provenance is not None
    }


_NEW_CHECKPOINTS = """
WITH bounds (id, low, high) AS MATERIALIZED
  (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(?))
SELECT study_id, c.id, event_id, period_start, period_end, written_at, log_offset FROM bounds
CROSS JOIN checkpoints c ON study_id = bounds.id AND log_offset >= low AND log_offset < high
WHERE c.rowid <= :checkpoints AND (study_id, c.id) > (?, ?) ORDER BY study_id, c.id LIMIT ?"""


def changes_frame(ids: Sequence[str] | None, since: Bounds, *, archived: bool = False) -> Build:
    """Return the builder of ``kit.changes()``: the applied events after the state `since`."""

    def build(snapshot: Snapshot, history: History, studies: list[StudyRow], until: Bounds) -> pl.DataFrame:
        visible = _chosen(studies, ids, archived=archived)
        if ids is None:  # a study that was archived in between was visible before
            archived_since = {
                change.study_id
                for change in history.changes
                if change.kind == "study_archived" and change.offset >= since.of(change.study_id)
            }
            visible += [study for study in studies if study.id in archived_since and study not in visible]
        chosen = {study.id: study for study in visible}
        events: list[_Event] = []
        columns = "study_id, seq, event_id, kind, written_at, log_offset"
        for study_id, _, event_id, kind, written, offset in snapshot.rows("lifecycle", columns, ("study_id", "seq")):
            events.append(_Event(known_at(written, event_id), str(study_id), int(str(offset)), str(kind)))
        bounds = json.dumps([[study_id, since.of(study_id), until.of(study_id)] for study_id in chosen])
        for study_id, checkpoint_id, event_id, start, end, written, offset in snapshot.paged(_NEW_CHECKPOINTS, (bounds,), 2):
            period = f"[{str(start)[:16].replace('T', ' ')}, {str(end)[:16].replace('T', ' ')}) UTC"
            place = known_at(written, event_id), str(study_id), int(str(offset))
            events.append(_Event(*place, "checkpoint_recorded", str(checkpoint_id), period))
        for change in history.changes:
            checkpoint_id = change.subject if isinstance(change.event, CheckpointAmended | CheckpointRetracted) else None
            texts = (_described(change.event), getattr(change.event, "reason", None), getattr(change.event, "author", None))
            events.append(_Event(change.written_at, change.study_id, change.offset, change.kind, checkpoint_id, *texts))
        rows: list[list[Any]] = [
            [event.study_id, chosen[event.study_id].name, event.written_at, *event[3:]]
            for event in sorted(events, key=lambda event: event[:3])
            if event.study_id in chosen and since.of(event.study_id) <= event.offset < until.of(event.study_id)
        ]
        return frame_of_rows(rows, CHANGES)

    return build


class _Event(NamedTuple):
    written_at: str
    study_id: str
    offset: int
    kind: str
    checkpoint_id: str | None = None
    description: str = ""
    reason: str | None = None
    author: str | None = None


def _described(event: EvalEvent) -> str:
    """Return the change of an event as text."""
    if isinstance(event, MetricDefined):
        return f"{event.metric.name} ({event.metric.kind})"
    if isinstance(event, CheckpointAmended):
        changes = changes_of(event)
        origin = changes.pop("provenance", None)
        return "; ".join([*([changed_text(changes)] if changes else []), *([f"collector {origin.collector}"] if origin else [])])
    if isinstance(event, NoteAdded):
        return event.text
    if isinstance(event, StudyRenamed):
        return event.name
    if isinstance(event, StudyEdited):
        return ", ".join(event.changes())
    return ""


def malformed_frame(ids: Sequence[str] | None, *, archived: bool = False) -> Build:
    """Return the builder of the frame of optional parts that are present but invalid."""

    def build(snapshot: Snapshot, _: History, studies: list[StudyRow], bounds: Bounds) -> pl.DataFrame:
        chosen = {study.id for study in _chosen(studies, ids, archived=archived)}
        # With "+", SQLite uses the index of malformed parts.
        sql = "SELECT study_id, id, malformed, log_offset FROM checkpoints WHERE malformed IS NOT NULL AND +rowid <= :checkpoints"
        rows: list[list[Any]] = [
            [study_id, checkpoint_id, parts]
            for study_id, checkpoint_id, parts, offset in snapshot.query(sql)
            if study_id in chosen and int(str(offset)) < bounds.of(str(study_id))
        ]
        return frame_of_rows(rows, MALFORMED)

    return build


def measurements_frame(checkpoints: pl.DataFrame, definitions: dict[str, dict[str, Metric]]) -> pl.DataFrame:
    """Return the measured values of checkpoints, one in each row.

    Parameters
    ----------
    checkpoints
        A frame of ``kit.checkpoints()``.
    definitions
        The custom metrics of each study.
    """
    customs: dict[str, dict[str, Metric]] = {}
    for study_id, defined in definitions.items():
        for name, metric in defined.items():
            customs.setdefault(name, {})[study_id] = metric
    counting = {study_id: standard_metrics(defined) for study_id, defined in definitions.items()}
    schema, parts = frame_schema(MEASUREMENTS), []
    rows = checkpoints.with_row_index("row")
    for name in checkpoints.columns:
        if name in METRICS:
            own = [study_id for study_id, standard in counting.items() if standard[name] != METRICS[name]]
            parts += [_measured(rows.filter(pl.col("study_id") == study_id), name, counting[study_id][name]) for study_id in own]
            parts.append(_measured(rows.filter(~pl.col("study_id").is_in(own)) if own else rows, name, METRICS[name]))
        elif name in customs:
            for study_id, metric in customs[name].items():
                parts.append(_measured(rows.filter(pl.col("study_id") == study_id), name, metric))
    order = pl.concat(parts).sort("row", maintain_order=True) if parts else pl.DataFrame(schema=schema)
    return order.select(pl.col(name).cast(dtype) for name, dtype in schema.items())


def _measured(rows: pl.DataFrame, name: str, metric: Metric) -> pl.DataFrame:
    value = pl.col(name).dt.total_microseconds() / 1e6 if rows.schema[name] == pl.Duration("us") else pl.col(name)
    count = pl.lit(None) if metric.denominator is None or metric.denominator not in rows.columns else pl.col(metric.denominator)
    return rows.filter(pl.col(name).is_not_null()).select(
        "row", "study_id", "study", "checkpoint_id", "period_start", "period_end", pl.lit(name).alias("metric"),
        value.cast(pl.Float64()).alias("value"), count.cast(pl.Int64(), strict=False).alias("count"), pl.lit(metric.unit).alias("unit"),
        pl.lit(metric.better).alias("better"),
    )  # fmt: skip


BUILDERS = {"metrics": metrics_frame, "notes": notes_frame, "amendments": amendments_frame, "provenance": provenance_frame}
"""The builder of each frame of changes, by the name of the `EvalKit` method that returns it."""
