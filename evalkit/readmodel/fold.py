"""The fold: the effect of each event, given the earlier events of its study.

Pure: no clock, no randomness, no I/O. Total: every event gets a decision. The state of an event's own study is its only input, so
outcomes do not depend on how studies interleave.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from evalkit.domain.codec import DecodedEvent
from evalkit.domain.study import TRANSITIONS, StudyStatus

__all__ = ["APPLIED", "DUPLICATE", "FOLD_VERSION", "Decision", "Outcome", "Reason", "StudyState", "decide", "decide_invalid"]

FOLD_VERSION = 1
"""Incremented whenever the same events would produce different rows: older projectors stop, older databases are rebuilt."""


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
    """The fold's decision about one event, with a message for people."""

    outcome: Outcome
    reason: Reason | None = None
    message: str = ""


APPLIED = Decision(Outcome.APPLIED)
DUPLICATE = Decision(Outcome.DUPLICATE)


@dataclass(slots=True)
class StudyState:
    """The fold's state of one study.

    `decided`, `misplaced` and `checkpoints` are complete for the current events, not for the study. The owner of the state looks up ids
    up to `newest_event` and `newest_checkpoint` in the read model; greater ids are new.
    """

    status: StudyStatus | None = None
    """None until the study is created."""
    seq: int = 0
    """The number of lifecycle events."""
    newest_event: str = ""
    newest_checkpoint: str = ""
    decided: set[str] = field(default_factory=set)
    """Ids of decided events."""
    misplaced: set[str] = field(default_factory=set)
    """Ids of events in a partition that is not the study's."""
    checkpoints: set[str] = field(default_factory=set)
    """Ids of recorded checkpoints."""


def decide(state: StudyState, event: DecodedEvent, *, right_partition: bool = True) -> Decision:
    """Decide a valid event, and update the state of its study.

    Parameters
    ----------
    state
        The state of the event's study; updated unless the outcome is a duplicate.
    event
        The event.
    right_partition
        Whether the event is in the partition of its study. An event in a wrong partition is always rejected, and is not decided for the
        right one: otherwise outcomes would depend on which partition is read first.
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
        allowed, leads_to = TRANSITIONS[event.kind]
        if state.status not in allowed:
            return Decision(
                Outcome.REJECTED, Reason.TRANSITION_NOT_ALLOWED, f"{event.kind} is not allowed when the study is {state.status}"
            )
        state.status = leads_to
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
        The state of the study named in the bytes, or of the study ``""`` if none can be read; updated unless it is a duplicate.
    event_id
        The event id, or the SHA-256 of the bytes if no id can be read.
    error
        The reason why they are invalid.
    """
    if event_id in state.decided:
        return DUPLICATE
    state.decided.add(event_id)
    state.newest_event = max(state.newest_event, event_id)
    return Decision(Outcome.QUARANTINED, None, error)
