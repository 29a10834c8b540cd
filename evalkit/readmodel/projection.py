"""The projection, which applies events and writes rows and positions atomically."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from datetime import UTC, datetime
from hashlib import sha256
from itertools import chain, compress

from pydantic_core import from_json

from evalkit.domain.catalog import custom_definition
from evalkit.domain.codec import DecodedEvent, decode, readable_ids
from evalkit.domain.events import LIFECYCLE_KINDS, InvalidEventError, StudyArchived, StudyEdited, StudyRenamed
from evalkit.domain.ids import time_of_event
from evalkit.domain.study import StudyStatus
from evalkit.domain.times import stored_text
from evalkit.eventlog.event_log import LogRecord, partition_of
from evalkit.readmodel.database.database import BulkInsert, Database, Row, Statement, in_parts
from evalkit.readmodel.fold import APPLIED, Decision, Outcome, Reason, StudyState, decide, decide_checkpoints, decide_invalid
from evalkit.readmodel.rows import readable
from evalkit.readmodel.schema import Head, Position, Tables

__all__ = ["DECIDED", "EvalProjection", "EventKey"]

EventKey = tuple[str, str]
"""The key of a decision, (study id, event id). The study id is empty if the event has none or is in a wrong partition."""

_EventAndCheckpointIds = tuple[list[str], list[str]]
"""The event ids and the checkpoint ids of successive events of a study."""

_KEPT_BYTES = 64 * 1024
_UNLESS_STORED = " ON CONFLICT DO NOTHING"
"""For events without effect in several partitions: another consumer may decide about a copy at the same time."""

_STATES = """
SELECT j.value, (SELECT status FROM {studies} WHERE id = j.value), (SELECT max(seq) FROM {lifecycle} WHERE study_id = j.value),
  max(coalesce((SELECT max(event_id) FROM {checkpoints} WHERE study_id = j.value), ''),
      coalesce((SELECT max(event_id) FROM {lifecycle} WHERE study_id = j.value), ''),
      coalesce((SELECT max(event_id) FROM {changes} WHERE study_id = j.value), ''),
      coalesce((SELECT max(event_id) FROM {rejected} WHERE study_id = j.value AND reason <> 'wrong partition'), ''),
      coalesce((SELECT max(key) FROM {quarantined} WHERE study_id = j.value), '')),
  coalesce((SELECT max(id) FROM {checkpoints} WHERE study_id = j.value), ''),
  coalesce((SELECT max(seq) FROM {changes} WHERE study_id = j.value), 0), (SELECT config FROM {studies} WHERE id = j.value)
FROM json_each(?) j"""
_DEFINITIONS = """
SELECT study_id, body FROM json_each(?) j CROSS JOIN {changes} ON study_id = j.value WHERE kind = 'metric_defined' ORDER BY study_id, seq"""
_KEYS = "WITH keys (study, id) AS MATERIALIZED (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))"
DECIDED = (
    _KEYS
    + """
SELECT study_id, event_id, '' FROM keys CROSS JOIN {checkpoints} ON study_id = study AND event_id = keys.id
UNION ALL SELECT study_id, event_id, '' FROM keys CROSS JOIN {lifecycle} ON study_id = study AND event_id = keys.id
UNION ALL SELECT study_id, event_id, '' FROM keys CROSS JOIN {changes} ON study_id = study AND event_id = keys.id
UNION ALL SELECT study_id, event_id, reason FROM keys CROSS JOIN {rejected} ON study_id = study AND event_id = keys.id
UNION ALL SELECT study_id, key, '' FROM keys CROSS JOIN {quarantined} ON study_id = study AND key = keys.id"""
)
_RECORDED = _KEYS + " SELECT study_id, c.id FROM keys CROSS JOIN {checkpoints} c ON study_id = study AND c.id = keys.id"
_CHANGED = (
    _KEYS
    + """
SELECT study_id, subject, kind, count(*) FROM keys CROSS JOIN {changes} ON study_id = study AND subject = keys.id
WHERE kind <> 'metric_defined' GROUP BY study_id, subject, kind"""
)
"""The numbers of amendments, retractions and notes with an id."""

# Compare-and-swap: NULL in a NOT NULL column fails the entire batch. The generation is compared separately, because the update of a
# position that does not exist in a newer generation would match no row and not fail.
_CHECK_GENERATION = """
UPDATE meta SET generation = CASE WHEN generation = ? AND schema_version = ? AND fold_version = ? THEN generation ELSE NULL END"""
_MOVE = """
UPDATE {positions} SET first_sha256 = ?, last_sha256 = ?, writer = ?, written_at = ?,
  next = CASE WHEN next = ? AND last_sha256 = ? THEN ? ELSE NULL END
WHERE "partition" = ?"""
# The columns of a checkpoint: those of every event, and the row of `DecodedEvent`. Most rows end with "regular". It takes time to bind more
# values, also if they are NULL.
_EVENT = ("log_offset", "id", "study_id", "event_id", "written_at")
_ROW = (
    "timestamp", "metrics", "events_analyzed", "sessions_included", "period_start", "period_end", "regular",
    "provenance", "collector", "malformed",
)  # fmt: skip
_CHANGE = "study_id, seq, event_id, kind, subject, body, written_at, log_offset"
_OF_CHECKPOINTS = ("checkpoint_recorded", "checkpoint_amended", "checkpoint_retracted")
_OF_SUBJECTS = ("checkpoint_amended", "checkpoint_retracted", "note_added")
_TIME_COLUMN = {"study_started": "started_at", "study_stopped": "stopped_at"}


class EvalProjection:
    """Applies events to one set of tables.

    It caches the states of the studies and its last written positions. If another process wrote other positions, the compare-and-swap fails
    and nothing is written; call `restart`.

    Parameters
    ----------
    database
        The database of the tables.
    head
        The generation, versions and positions of the tables.
    suffix
        The suffix of the tables' names; empty for the live tables.
    writer
        The name of this process, stored with the positions for information.
    """

    def __init__(self, database: Database, head: Head, suffix: str = "", *, writer: str = "") -> None:
        self._writer = writer
        self.tables = Tables.with_suffix(suffix)
        self._database = database
        self.restart(head)

    def restart(self, head: Head) -> None:
        """Discard the cache, and continue from `head`."""
        self._version = (head.generation, head.schema_version, head.fold_version)
        self.positions = list(head.positions)
        self._states: dict[str, StudyState] = {}

    def apply(
        self,
        records: Sequence[LogRecord],
        keys: Collection[EventKey] = (),
        events: Sequence[DecodedEvent] | None = None,
        *,
        confirm: Callable[[], None] | None = None,
    ) -> dict[EventKey, Decision]:
        """Apply the next records, and return the decisions about some of them.

        Parameters
        ----------
        records
            The records.
        keys
            The keys of the decisions to return.
        events
            The decoded records, if they are known.
        confirm
            Called before the rows are committed. If it raises an error, nothing is applied.

        Raises
        ------
        ConditionFailed
            When another process applied events or rebuilt the read model. Nothing was written; call `restart`.
        """
        try:
            return self._apply(records, keys, [self._decode(record) for record in records] if events is None else events, confirm)
        except BaseException:
            self._states.clear()  # the states are ahead of the tables
            raise

    def _apply(
        self,
        records: Sequence[LogRecord],
        keys: Collection[EventKey],
        events: Sequence[DecodedEvent],
        confirm: Callable[[], None] | None,
    ) -> dict[EventKey, Decision]:
        kinds, study_ids, event_ids, subjects, *_ = zip(*events, strict=True)
        partitions, offsets, _ = zip(*records, strict=True)
        home = {study_id: partition_of(study_id, len(self.positions)) for study_id in set(study_ids)}
        in_place = [
            kind == "" or partition == home[study_id] for kind, partition, study_id in zip(kinds, partitions, study_ids, strict=True)
        ]
        checkpoints = _checkpoint_only_studies(kinds, study_ids, event_ids, subjects, in_place)
        self._load(home.keys(), events, in_place, checkpoints)
        batch = _Batch(self.tables)
        applied = {study_id for study_id, ids in checkpoints.items() if decide_checkpoints(self._states[study_id], *ids)}
        recorded = [study_id in applied for study_id in study_ids]
        of_recorded = compress(zip(study_ids, event_ids, strict=True), recorded) if keys else ()
        decisions = {key: APPLIED for key in of_recorded if key in keys}
        for place, (record, event, right) in enumerate(zip(records, events, in_place, strict=True)):
            if recorded[place]:
                continue
            state = self._states[event.study_id]
            if event.kind == "":
                decision = decide_invalid(state, event.event_id, event.row[0])
                batch.quarantine(decision, event, record)
            else:
                decision = decide(state, event, right_partition=right)
                recorded[place] = decision is APPLIED and event.kind == "checkpoint_recorded"
                batch.add(decision, event, state, record)
            # An event in a wrong partition has no decision for its study.
            key = (event.study_id if right or event.kind == "" else "", event.event_id)
            if key in keys:
                decisions[key] = decision
        batch.set_checkpoints(list(compress(events, recorded)), compress(offsets, recorded))
        moves = self._moves(records)
        statements = [(_CHECK_GENERATION, self._version), *(statement for statement, _ in moves.values()), *batch.statements()]
        if confirm is None:
            self._database.batch(statements)
        else:
            self._database.batch(statements, confirm=confirm)
        for partition, (_, position) in moves.items():
            self.positions[partition] = position
        for state in map(self._states.__getitem__, home):
            state.decided.clear()
            state.misplaced.clear()
            state.checkpoints.clear()
            state.revisions.clear()
            state.retracted.clear()
            state.notes.clear()
        return decisions

    def _decode(self, record: LogRecord) -> DecodedEvent:
        """Decode a record. An invalid event has an empty kind, and (error, event id) as its row."""
        try:
            return decode(record.data)
        except InvalidEventError as error:
            study_id, event_id = readable_ids(record.data)
            row = (str(error)[:500], event_id)
            if study_id and record.partition != partition_of(study_id, len(self.positions)):
                # Like a valid event in a wrong partition, it has no decision for its study.
                study_id = event_id = ""
            return DecodedEvent("", study_id, event_id or sha256(record.data).hexdigest(), "", row)

    def _load(
        self,
        study_ids: Set[str],
        events: Sequence[DecodedEvent],
        in_place: Sequence[bool],
        checkpoints: Mapping[str, _EventAndCheckpointIds],
    ) -> None:
        """Load the states of studies and ids that are needed to decide the events."""
        with readable(self._database):
            self._load_states(study_ids)
            new = {study_id for study_id, ids in checkpoints.items() if _are_new(self._states[study_id], *ids)}
            if len(new) < len(study_ids):
                self._load_ids([(event, right) for event, right in zip(events, in_place, strict=True) if event.study_id not in new])

    def _load_states(self, study_ids: Set[str]) -> None:
        uncached = list(study_ids - self._states.keys())
        if uncached:
            redefined = []
            for study_id, text, seq, newest, checkpoint, changes, config in self._query(_STATES, uncached):
                status = StudyStatus(str(text)) if text else None
                state = StudyState(
                    status, int(seq or 0), str(newest), str(checkpoint), changes=int(changes or 0), config=str(config or "{}")
                )
                self._states[str(study_id)] = state
                if state.changes:
                    redefined.append(study_id)
            for study_id, body in self._query(_DEFINITIONS, redefined) if redefined else ():
                metric = custom_definition(from_json(str(body))["metric"])
                self._states[str(study_id)].metrics[metric.name] = metric

    def _load_ids(self, events: Sequence[tuple[DecodedEvent, bool]]) -> None:
        """Load the ids that are needed to decide events.

        `events` are pairs of an event and whether it is in the partition of its study.
        """
        keys = [
            (event.study_id, event.event_id)
            for event, right in events
            if not right or event.event_id <= self._states[event.study_id].newest_event
        ]
        if keys:
            for study_id, event_id, reason in self._query(DECIDED, keys):
                state = self._states[str(study_id)]
                (state.misplaced if reason == "wrong partition" else state.decided).add(str(event_id))
        keys = [
            (event.study_id, event.subject)
            for event, _ in events
            if event.kind in _OF_CHECKPOINTS and event.subject <= self._states[event.study_id].newest_checkpoint
        ]
        if keys:
            for study_id, checkpoint_id in self._query(_RECORDED, keys):
                self._states[str(study_id)].checkpoints.add(str(checkpoint_id))
        subjects = dict.fromkeys((event.study_id, event.subject) for event, _ in events if event.kind in _OF_SUBJECTS)
        keys = [key for key in subjects if self._states[key[0]].changes]
        if keys:
            for study_id, subject, kind, count in self._query(_CHANGED, keys):
                state = self._states[str(study_id)]
                if kind == "checkpoint_amended":
                    state.revisions[str(subject)] = int(str(count))
                else:
                    (state.retracted if kind == "checkpoint_retracted" else state.notes).add(str(subject))

    def _query(self, template: str, items: Sequence[object]) -> list[Row]:
        sql = template.format(**self.tables._asdict())
        return in_parts(lambda part: self._database.execute(sql, (json.dumps(part),)), items)

    def _moves(self, records: Sequence[LogRecord]) -> dict[int, tuple[Statement, Position]]:
        """Return the compare-and-swap and the new position of each partition."""
        last = {record.partition: record for record in records}
        first = {record.partition: record for record in records if record.offset == 0}
        moves: dict[int, tuple[Statement, Position]] = {}
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"  # for information only
        for partition, record in last.items():
            old = self.positions[partition]
            beginning = sha256(first[partition].data).hexdigest() if partition in first else old.first_sha256
            new = Position(record.offset + 1, beginning, sha256(record.data).hexdigest())
            args = (new.first_sha256, new.last_sha256, self._writer, now, old.next, old.last_sha256, new.next, partition)
            moves[partition] = ((_MOVE.format(positions=self.tables.positions), args), new)
        return moves


def _checkpoint_only_studies(
    kinds: Sequence[str], study_ids: Sequence[str], event_ids: Sequence[str], subjects: Sequence[str], in_place: Sequence[bool]
) -> dict[str, _EventAndCheckpointIds]:
    """Return the ids of the events of each study that has only checkpoints in its partition."""
    others = {
        study_id for kind, study_id, right in zip(kinds, study_ids, in_place, strict=True) if kind != "checkpoint_recorded" or not right
    }
    if not others and len(set(study_ids)) == 1:  # usual when a frame is recorded
        return {study_ids[0]: (list(event_ids), list(subjects))}
    ids_by_study: dict[str, _EventAndCheckpointIds] = {}
    for study_id, event_id, checkpoint_id in zip(study_ids, event_ids, subjects, strict=True):
        if study_id not in others:
            event_ids_of_study, checkpoint_ids = ids_by_study.setdefault(study_id, ([], []))
            event_ids_of_study.append(event_id)
            checkpoint_ids.append(checkpoint_id)
    return ids_by_study


def _are_new(state: StudyState, event_ids: Sequence[str], checkpoint_ids: Sequence[str]) -> bool:
    return min(event_ids) > state.newest_event and min(checkpoint_ids) > state.newest_checkpoint


class _Batch:
    """The changes of a batch of events as statements, with checkpoints in bulk."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._checkpoints = BulkInsert(tables.checkpoints, "", [])
        self._changes: list[str | int | None] = []
        self._others: list[Statement] = []

    def add(self, decision: Decision, event: DecodedEvent, state: StudyState, record: LogRecord) -> None:
        """Add the changes of a valid event, except for a checkpoint.

        `state` is the state of its study after the event.
        """
        if decision is APPLIED:
            if event.kind in LIFECYCLE_KINDS:
                self._change_status(event, state, record)
            elif event.kind != "checkpoint_recorded":
                self._changes += (
                    event.study_id, state.changes, event.event_id, event.kind, event.subject, event.row[0], event.written_at, record.offset,
                )  # fmt: skip
                self._change_study(event, state)
        elif decision.outcome is Outcome.REJECTED:
            # Copies in several wrong partitions may differ, and which one is read first depends on the order of the partitions.
            misplaced = decision.reason is Reason.WRONG_PARTITION
            written_at = None if misplaced else event.written_at
            conflict = _UNLESS_STORED if misplaced else ""
            args = (
                event.study_id, event.event_id, str(decision.reason), event.kind, decision.message, written_at, record.partition,
                record.offset,
            )  # fmt: skip
            self._others.append((f"INSERT INTO {self._tables.rejected} VALUES (?, ?, ?, ?, ?, ?, ?, ?){conflict}", args))

    def set_checkpoints(self, events: Sequence[DecodedEvent], offsets: Iterable[int]) -> None:
        """Set the applied checkpoints, in the order of their events.

        Checkpoints have row ids in this order, whatever the batches are: a mirror fits every read model of its log.
        """
        if not events:
            return
        _, study_ids, event_ids, ids, rows, written_at, _ = zip(*events, strict=True)
        widths = set(map(len, rows))
        width = max(widths)
        if len(widths) > 1:
            rows = tuple(row + (None,) * (width - len(row)) for row in rows)
        complete = zip(offsets, ids, study_ids, event_ids, written_at, *zip(*rows, strict=True), strict=True)
        columns = ", ".join((*_EVENT, *_ROW[:width]))
        self._checkpoints = BulkInsert(self._tables.checkpoints, columns, list(chain.from_iterable(complete)))

    def _change_study(self, event: DecodedEvent, state: StudyState) -> None:
        """Add the changes of a study's name, description, tags, metadata and archived state."""
        change, studies = event.event, self._tables.studies
        if isinstance(change, StudyRenamed):
            self._others.append((f"UPDATE {studies} SET name = ? WHERE id = ?", (change.name, change.id)))
        elif isinstance(change, StudyArchived):
            archived = int(change.type == "study_archived")
            self._others.append((f"UPDATE {studies} SET archived = ? WHERE id = ?", (archived, change.id)))
        elif isinstance(change, StudyEdited):
            self._others.append((f"UPDATE {studies} SET config = ? WHERE id = ?", (state.config, change.id)))

    def _change_status(self, event: DecodedEvent, state: StudyState, record: LogRecord) -> None:
        study_id, at = event.study_id, stored_text(time_of_event(event.event_id))
        if event.kind == "study_created":
            name, _, _, config = event.row
            args = (study_id, name, state.status, *event.row[1:], at, name, config)
            self._others.append((f"INSERT INTO {self._tables.studies} VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL, 0, ?, ?)", args))
        else:
            column = _TIME_COLUMN.get(event.kind)
            times = f", {column} = ?" if column else ""
            args = (state.status, *([at] if column else []), study_id)
            self._others.append((f"UPDATE {self._tables.studies} SET status = ?{times} WHERE id = ?", args))
        entry = (study_id, state.seq, event.event_id, event.kind, event.written_at, record.offset)
        self._others.append((f"INSERT INTO {self._tables.lifecycle} VALUES (?, ?, ?, ?, ?, ?)", entry))

    def quarantine(self, decision: Decision, event: DecodedEvent, record: LogRecord) -> None:
        """Add an invalid event, of which only the first 64 KiB are stored."""
        if decision.outcome is Outcome.QUARANTINED:
            data = record.data
            args = (
                event.study_id, event.event_id, event.row[1], sha256(data).hexdigest(), decision.message, len(data), data[:_KEPT_BYTES],
                record.partition, record.offset,
            )  # fmt: skip
            self._others.append((f"INSERT INTO {self._tables.quarantined} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?){_UNLESS_STORED}", args))

    def statements(self) -> list[Statement | BulkInsert]:
        """Return all changes as statements."""
        inserts = (self._checkpoints, BulkInsert(self._tables.changes, _CHANGE, self._changes))
        return [*self._others, *(insert for insert in inserts if insert.values)]
