"""The fold, which decides the effect of each event.

It is pure: no clock, no randomness, no I/O. It is total: there is a decision for every event. A decision depends only on the earlier events
of the same study, so it is independent of the order in which the events of different studies are applied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from evalkit.domain.codec import DecodedEvent
from evalkit.domain.definitions import Metric
from evalkit.domain.events import CheckpointAmended, CheckpointRetracted, MetricDefined, NoteAdded, StudyEdited
from evalkit.domain.study import TRANSITIONS, StudyStatus, edited_config

__all__ = [
    "APPLIED", "DUPLICATE", "FOLD_VERSION", "Decision", "Outcome", "Reason", "StudyState", "decide", "decide_checkpoints", "decide_invalid",
]  # fmt: skip

FOLD_VERSION = 2
"""Incremented by every change after which the same events produce different rows.

Older versions of evalkit refuse a newer read model, and an older read model is rebuilt.
"""


class Outcome(StrEnum):
    """The outcome of an event."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    QUARANTINED = "quarantined"


class Reason(StrEnum):
    """The reason for rejecting a valid event."""

    UNKNOWN_STUDY = "unknown study"
    STUDY_ID_TAKEN = "study id taken"
    TRANSITION_NOT_ALLOWED = "transition not allowed"
    CHECKPOINT_ID_TAKEN = "checkpoint id taken"
    WRONG_PARTITION = "wrong partition"
    METRIC_DEFINED_DIFFERENTLY = "metric defined differently"
    UNKNOWN_CHECKPOINT = "unknown checkpoint"
    AMENDED_MEANWHILE = "amended meanwhile"
    CHECKPOINT_RETRACTED = "checkpoint retracted"
    NOTE_ID_TAKEN = "note id taken"


class Decision(NamedTuple):
    """The fold's decision about one event, with a human-readable message."""

    outcome: Outcome
    reason: Reason | None = None
    message: str = ""


APPLIED = Decision(Outcome.APPLIED)
DUPLICATE = Decision(Outcome.DUPLICATE)


@dataclass(slots=True)
class StudyState:
    """The fold's state of one study.

    The sets contain only the ids of the current events, not of all events of the study. The projection looks up ids that are not greater
    than `newest_event` or `newest_checkpoint` in the read model. Greater ids are new.
    """

    status: StudyStatus | None = None
    """None before the study is created."""
    seq: int = 0
    """The number of lifecycle events."""
    newest_event: str = ""
    newest_checkpoint: str = ""
    decided: set[str] = field(default_factory=set)
    """Ids of events that are already decided."""
    misplaced: set[str] = field(default_factory=set)
    """Ids of rejected events in a wrong partition."""
    checkpoints: set[str] = field(default_factory=set)
    """Ids of checkpoints that are already recorded."""
    config: str = "{}"
    """The description, tags and metadata, as JSON text."""
    changes: int = 0
    """The number of applied events of the kinds that only evalkit reads."""
    metrics: dict[str, Metric] = field(default_factory=dict)
    """The definitions of the study's custom metrics, by name: all of them."""
    revisions: dict[str, int] = field(default_factory=dict)
    """The latest version of amended checkpoints."""
    retracted: set[str] = field(default_factory=set)
    """Ids of retracted checkpoints."""
    notes: set[str] = field(default_factory=set)
    """Ids of notes that are already added."""


def decide(state: StudyState, event: DecodedEvent, *, right_partition: bool = True) -> Decision:
    """Decide a valid event, and update the state of its study.

    Parameters
    ----------
    state
        The state of the event's study; updated unless the outcome is a duplicate.
    event
        The event.
    right_partition
        Whether the event is in the partition of its study. An event in a wrong partition is rejected. An event with the same id in the
        right partition is still decided on its own: otherwise, the outcome would depend on the partition that is read first.
    """
    event_id = event.event_id
    if not right_partition:
        if event_id in state.misplaced:
            return DUPLICATE
        state.misplaced.add(event_id)
        return Decision(Outcome.REJECTED, Reason.WRONG_PARTITION, "it is not in the partition of its study")
    if event_id in state.decided:
        return DUPLICATE
    state.decided.add(event_id)
    state.newest_event = max(state.newest_event, event_id)
    if event.kind == "checkpoint_recorded":
        return _decide_checkpoint(state, event)
    if event.kind == "study_created":
        if state.status is not None:
            return Decision(Outcome.REJECTED, Reason.STUDY_ID_TAKEN, "a study with this id already exists")
        state.status = StudyStatus.PENDING
        state.config = event.row[3]
    elif state.status is None:
        return _unknown_study()
    elif event.kind in TRANSITIONS:
        allowed, new_status = TRANSITIONS[event.kind]
        if state.status not in allowed:
            return Decision(
                Outcome.REJECTED, Reason.TRANSITION_NOT_ALLOWED, f"{event.kind} is not allowed when the study is {state.status}"
            )
        state.status = new_status
    else:
        decision = _decide_change(state, event)
        state.changes += decision is APPLIED
        return decision
    state.seq += 1
    return APPLIED


def _decide_change(state: StudyState, event: DecodedEvent) -> Decision:
    """Decide an event of a kind that only evalkit reads, of an existing study.

    An equal definition and a repeated retraction are applied, without an effect.
    """
    change = event.event
    if isinstance(change, MetricDefined):
        defined = state.metrics.setdefault(event.subject, change.metric)
        if differences := defined.differences(change.metric):
            return Decision(
                Outcome.REJECTED, Reason.METRIC_DEFINED_DIFFERENTLY, f"the metric was defined differently: {'; '.join(differences)}"
            )
        state.metrics[event.subject] = change.metric
    elif isinstance(change, CheckpointAmended | CheckpointRetracted):
        return _decide_correction(state, event.subject, change)
    elif isinstance(change, NoteAdded):
        if event.subject in state.notes:
            return Decision(Outcome.REJECTED, Reason.NOTE_ID_TAKEN, "the study already has a note with this id")
        state.notes.add(event.subject)
    elif isinstance(change, StudyEdited):
        state.config = edited_config(state.config, change.changes())
    return APPLIED


def _decide_correction(state: StudyState, checkpoint_id: str, change: CheckpointAmended | CheckpointRetracted) -> Decision:
    if checkpoint_id not in state.checkpoints:
        return Decision(Outcome.REJECTED, Reason.UNKNOWN_CHECKPOINT, "the study has no checkpoint with this id")
    if isinstance(change, CheckpointRetracted):
        state.retracted.add(checkpoint_id)
        return APPLIED
    if checkpoint_id in state.retracted:
        return Decision(Outcome.REJECTED, Reason.CHECKPOINT_RETRACTED, "the checkpoint is retracted")
    latest = state.revisions.get(checkpoint_id, 0)
    if change.revision != latest:
        problem = f"it amends version {change.revision} of the checkpoint, but version {latest} is the latest"
        return Decision(Outcome.REJECTED, Reason.AMENDED_MEANWHILE, problem)
    state.revisions[checkpoint_id] = latest + 1
    return APPLIED


def _decide_checkpoint(state: StudyState, event: DecodedEvent) -> Decision:
    checkpoint_id = event.subject
    if state.status is None:
        return _unknown_study()
    if checkpoint_id in state.checkpoints:
        return Decision(Outcome.REJECTED, Reason.CHECKPOINT_ID_TAKEN, "the study already has a checkpoint with this id")
    state.checkpoints.add(checkpoint_id)
    state.newest_checkpoint = max(state.newest_checkpoint, checkpoint_id)
    return APPLIED


def decide_checkpoints(state: StudyState, event_ids: Sequence[str], checkpoint_ids: Sequence[str]) -> bool:
    """Decide successive checkpoint events of one study in their partition, if all are applied.

    Much faster than `decide`, and with the same effect on the state.

    Parameters
    ----------
    state
        The state of the study; updated if all events are applied.
    event_ids, checkpoint_ids
        The ids of each event and of its checkpoint.

    Returns
    -------
    bool
        False if `decide` would not apply each of them; then the state is unchanged.
    """
    events, checkpoints = set(event_ids), set(checkpoint_ids)
    if (
        state.status is None
        or len(events) < len(event_ids)
        or len(checkpoints) < len(checkpoint_ids)
        or not events.isdisjoint(state.decided)
        or not checkpoints.isdisjoint(state.checkpoints)
    ):
        return False
    state.decided |= events
    state.checkpoints |= checkpoints
    state.newest_event = max(state.newest_event, *event_ids)
    state.newest_checkpoint = max(state.newest_checkpoint, *checkpoint_ids)
    return True


def _unknown_study() -> Decision:
    return Decision(Outcome.REJECTED, Reason.UNKNOWN_STUDY, "no study with this id had been created")


def decide_invalid(state: StudyState, event_id: str, error: str) -> Decision:
    """Decide bytes that are not a valid event.

    Parameters
    ----------
    state
        The state of the study whose id is in the bytes, or of the study ``""`` if no id can be read; updated unless the outcome is a
        duplicate.
    event_id
        The event id, or the SHA-256 of the bytes if no id can be read.
    error
        The reason why the bytes are invalid.
    """
    if event_id in state.decided:
        return DUPLICATE
    state.decided.add(event_id)
    state.newest_event = max(state.newest_event, event_id)
    return Decision(Outcome.QUARANTINED, None, error)
