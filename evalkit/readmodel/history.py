"""Earlier states of the log: which events belong to them, and what they changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import NamedTuple

from evalkit.domain.definitions import Metric
from evalkit.domain.events import (
    CheckpointAmended,
    CheckpointRetracted,
    EvalEvent,
    MetricDefined,
    NoteAdded,
    StudyArchived,
    StudyEdited,
    StudyRenamed,
    event_of,
)
from evalkit.domain.ids import milliseconds, time_of_event
from evalkit.domain.study import TRANSITIONS, StudyStatus, edited_config
from evalkit.domain.times import MAX_COUNT, stored_text
from evalkit.eventlog.event_log import partition_of
from evalkit.readmodel.database.database import Row, Statement
from evalkit.readmodel.pins import Pin
from evalkit.readmodel.snapshot import Snapshot, StudyRow

__all__ = [
    "CHANGE_COLUMNS",
    "LATEST",
    "AsOf",
    "Bounds",
    "Change",
    "CheckpointKey",
    "History",
    "bounds_of",
    "bounds_query",
    "known_at",
    "studies_at",
]

AsOf = Pin | datetime | None
"""A state of the log: that of a pin, that at a time, or the latest."""
CheckpointKey = tuple[str, str]
"""(study id, checkpoint id)"""

CHANGE_COLUMNS = "study_id, seq, event_id, kind, subject, body, written_at, log_offset"


class Bounds:
    """The events of a state of the log: of each study, those before an offset.

    Parameters
    ----------
    partitions
        For a pin: the number of events in each partition.
    studies
        For a time: the offset of the first event after it, of each study that has one.
    moment
        For a time: the time, in the format of the read model.
    """

    def __init__(self, partitions: Sequence[int] = (), studies: Mapping[str, int] | None = None, moment: str | None = None) -> None:
        self._partitions = partitions
        self._studies = studies or {}
        self.moment = moment

    @property
    def is_latest(self) -> bool:
        """Whether all events belong to the state."""
        return not self._partitions and self.moment is None

    def of(self, study_id: str) -> int:
        """Return the offset before which the events of a study belong to the state."""
        if self._partitions:
            return self._partitions[partition_of(study_id, len(self._partitions))]
        return self._studies.get(study_id, MAX_COUNT)

    def of_misplaced(self, partition: int) -> int | None:
        """Return the number of events of a partition in a pin; None without a pin."""
        return self._partitions[partition] if self._partitions else None


LATEST = Bounds()
"""All events."""


def bounds_query(as_of: AsOf) -> Statement:
    """Return the query for the first event after a time, of each study that has one."""
    if not isinstance(as_of, datetime):
        return "SELECT 1 WHERE 0", ()
    moment = as_of.astimezone(UTC)
    later = "coalesce(written_at > ?1, substr(event_id, 1, 13) > ?2)"  # the first 13 characters of an event id are its time
    parts = [f"SELECT study_id, log_offset FROM {table} WHERE {later}" for table in ("checkpoints", "lifecycle", "changes")]
    parts.append(f"SELECT study_id, log_offset FROM rejected WHERE reason <> 'wrong partition' AND {later}")
    digits = f"{max(milliseconds(moment), 0):012x}"
    return (
        f"SELECT study_id, min(log_offset) FROM ({' UNION ALL '.join(parts)}) GROUP BY study_id",
        (stored_text(moment), f"{digits[:8]}-{digits[8:]}"),
    )


def bounds_of(as_of: AsOf, rows: Iterable[Row] = ()) -> Bounds:
    """Return the bounds of a state; `rows` are those of `bounds_query`."""
    if isinstance(as_of, Pin):
        return Bounds([position.next for position in as_of.positions])
    if isinstance(as_of, datetime):
        return Bounds((), {str(study_id): int(str(offset)) for study_id, offset in rows}, stored_text(as_of.astimezone(UTC)))
    return LATEST


def known_at(written_at: object, event_id: object) -> str:
    """Return when an event was appended: its time of writing, or else the time in its id."""
    return str(written_at) if written_at is not None else stored_text(time_of_event(str(event_id)))


class Change(NamedTuple):
    """An applied event of a kind that only evalkit reads."""

    study_id: str
    seq: int
    event_id: str
    kind: str
    subject: str
    """The id of the checkpoint or note, or the name of the metric; empty for other kinds."""
    event: EvalEvent
    written_at: str
    """When it was appended, in the format of the read model."""
    offset: int

    @classmethod
    def of_row(cls, row: Row) -> Change:
        """Return the change of a row with `CHANGE_COLUMNS`."""
        study_id, seq, event_id, kind, subject, body, _, offset = map(str, row)
        return cls(study_id, int(seq), event_id, kind, subject, event_of(body), known_at(row[6], event_id), int(offset))


class History:
    """The changes of studies; the changes of one study are in the order of the log."""

    def __init__(self, changes: Sequence[Change] = ()) -> None:
        self.changes = changes

    @classmethod
    def of_snapshot(cls, snapshot: Snapshot) -> History:
        """Return all changes in a snapshot."""
        return cls([Change.of_row(row) for row in snapshot.rows("changes", CHANGE_COLUMNS, ("study_id", "seq"))])

    def until(self, bounds: Bounds) -> History:
        """Return the changes that belong to a state."""
        return self if bounds.is_latest else History([change for change in self.changes if change.offset < bounds.of(change.study_id)])

    @cached_property
    def definitions(self) -> dict[str, dict[str, Metric]]:
        """The custom metrics of each study by name, in the order of their definition."""
        defined: dict[str, dict[str, Metric]] = {}
        for change in self.changes:
            if isinstance(change.event, MetricDefined):
                defined.setdefault(change.study_id, {})[change.subject] = change.event.metric
        return defined

    @cached_property
    def names(self) -> dict[str, str]:
        """The latest name of each study that was renamed."""
        return {change.study_id: change.event.name for change in self.changes if isinstance(change.event, StudyRenamed)}

    @cached_property
    def archived(self) -> dict[str, bool]:
        """Whether a study is archived, for each study that was archived once."""
        events = [change.event for change in self.changes if isinstance(change.event, StudyArchived)]
        return {event.id: event.type == "study_archived" for event in events}

    def config(self, study_id: str, first: str) -> str:
        """Return the config of a study as JSON text; `first` is that at its creation."""
        for change in self._edits.get(study_id, ()):
            first = edited_config(first, change.changes())
        return first

    @cached_property
    def _edits(self) -> dict[str, list[StudyEdited]]:
        edits: dict[str, list[StudyEdited]] = {}
        for change in self.changes:
            if isinstance(change.event, StudyEdited):
                edits.setdefault(change.study_id, []).append(change.event)
        return edits

    @cached_property
    def amendments(self) -> dict[CheckpointKey, list[tuple[Change, CheckpointAmended]]]:
        """The amendments of each amended checkpoint, in order."""
        amended: dict[CheckpointKey, list[tuple[Change, CheckpointAmended]]] = {}
        for change in self.changes:
            if isinstance(change.event, CheckpointAmended):
                amended.setdefault((change.study_id, change.subject), []).append((change, change.event))
        return amended

    @cached_property
    def retractions(self) -> dict[CheckpointKey, tuple[Change, CheckpointRetracted]]:
        """The first retraction of each retracted checkpoint."""
        retracted: dict[CheckpointKey, tuple[Change, CheckpointRetracted]] = {}
        for change in self.changes:
            if isinstance(change.event, CheckpointRetracted):
                retracted.setdefault((change.study_id, change.subject), (change, change.event))
        return retracted

    @cached_property
    def notes(self) -> list[NoteAdded]:
        """The notes of all studies."""
        return [change.event for change in self.changes if isinstance(change.event, NoteAdded)]


def studies_at(snapshot: Snapshot, history: History, bounds: Bounds) -> list[StudyRow]:
    """Return the studies in a state of the log, sorted by id.

    Studies that were created later are left out.

    Parameters
    ----------
    snapshot
        The read model.
    history
        The changes that belong to the state.
    bounds
        The state.
    """
    if bounds.is_latest:
        return snapshot.studies()
    status: dict[str, StudyStatus] = {}
    times: dict[str, dict[str, str]] = {}
    for row in snapshot.rows("lifecycle", "study_id, seq, kind, event_id, log_offset", ("study_id", "seq")):
        study_id, _, kind, event_id, offset = map(str, row)
        if int(offset) < bounds.of(study_id):
            status[study_id] = StudyStatus.PENDING if kind == "study_created" else TRANSITIONS[kind][1]
            times.setdefault(study_id, {})[kind] = stored_text(time_of_event(event_id))
    first = snapshot.first_of_studies()
    return [
        study._replace(
            name=history.names.get(study.id, first[study.id][0]), status=status[study.id].value,
            config=history.config(study.id, first[study.id][1]), started_at=times[study.id].get("study_started"),
            stopped_at=times[study.id].get("study_stopped"), archived=int(history.archived.get(study.id, False)),
        )
        for study in snapshot.studies()
        if study.id in status
    ]  # fmt: skip
