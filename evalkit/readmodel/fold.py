"""The fold, which decides the effect of each event.

It is pure: no clock, no randomness, no I/O. It is total: there is a decision for every event. A decision depends only on the earlier events
of the same study, so it is independent of the order in which the events of different studies are applied.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from evalkit.domain.codec import DecodedEvent
from evalkit.domain.study import TRANSITIONS, StudyStatus

__all__ = ["APPLIED", "DUPLICATE", "FOLD_VERSION", "Decision", "Outcome", "Reason", "StudyState", "decide", "decide_invalid"]

FOLD_VERSION = 1
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
    else:
        if state.status is None:
            return _unknown_study()
        allowed, new_status = TRANSITIONS[event.kind]
        if state.status not in allowed:
            return Decision(
                Outcome.REJECTED, Reason.TRANSITION_NOT_ALLOWED, f"{event.kind} is not allowed when the study is {state.status}"
            )
        state.status = new_status
    state.seq += 1
    return APPLIED


def _decide_checkpoint(state: StudyState, event: DecodedEvent) -> Decision:
    checkpoint_id = event.checkpoint_id
    if state.status is None:
        return _unknown_study()
    if checkpoint_id in state.checkpoints:
        return Decision(Outcome.REJECTED, Reason.CHECKPOINT_ID_TAKEN, "the study already has a checkpoint with this id")
    state.checkpoints.add(checkpoint_id)
    state.newest_checkpoint = max(state.newest_checkpoint, checkpoint_id)
    return APPLIED


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
