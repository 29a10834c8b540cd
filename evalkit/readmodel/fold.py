"""The fold: what each event does, given what came before it in its own study.

Pure: no clock, no randomness, no input or output. Total: there is no event that it does not decide. All the state that it reads for an
event is that of the event's own study, so outcomes do not depend on how studies interleave.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from evalkit.domain.codec import DecodedEvent
from evalkit.domain.study import TRANSITIONS, StudyStatus

__all__ = ["APPLIED", "DUPLICATE", "FOLD_VERSION", "Decision", "Outcome", "Reason", "StudyState", "decide", "decide_invalid"]

FOLD_VERSION = 1
"""Raised whenever the same events would give other rows: older projectors then stop, older databases are rebuilt."""


class Outcome(StrEnum):
    """What became of an event."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    QUARANTINED = "quarantined"


class Reason(StrEnum):
    """Why a valid event was rejected."""

    UNKNOWN_STUDY = "unknown study"
    STUDY_ID_TAKEN = "study id taken"
    TRANSITION_NOT_ALLOWED = "transition not allowed"
    CHECKPOINT_ID_TAKEN = "checkpoint id taken"
    WRONG_PARTITION = "wrong partition"


class Decision(NamedTuple):
    """What the fold decided about one event, with the words for people."""

    outcome: Outcome
    reason: Reason | None = None
    message: str = ""


APPLIED = Decision(Outcome.APPLIED)
DUPLICATE = Decision(Outcome.DUPLICATE)


@dataclass(slots=True)
class StudyState:
    """All that the fold must know of one study.

    `decided`, `misplaced` and `checkpoints` are complete for the events at hand, not for the whole study: whoever keeps the state asks
    the read model about ids that are not greater than `newest_event` and `newest_checkpoint`; greater ones cannot be known.
    """

    status: StudyStatus | None = None
    """None until the study was created."""
    seq: int = 0
    """The number of its lifecycle events."""
    newest_event: str = ""
    newest_checkpoint: str = ""
    decided: set[str] = field(default_factory=set)
    """Ids of events that were decided."""
    misplaced: set[str] = field(default_factory=set)
    """Ids of events that were found in another partition than the study's."""
    checkpoints: set[str] = field(default_factory=set)
    """Ids of checkpoints that were recorded."""


def decide(state: StudyState, event: DecodedEvent, *, right_partition: bool = True) -> Decision:
    """Decide a valid event, and bring the state of its study up to date.

    Parameters
    ----------
    state
        Of the event's own study; changed when the outcome is not a duplicate.
    event
        The event.
    right_partition
        Whether it was found in the partition that its study belongs to. An event in a wrong one is rejected whatever the study's
        state, and does not count as decided in the right one: otherwise outcomes would depend on which partition is read first.
    """
    event_id = event.event_id
    if not right_partition:
        if event_id in state.misplaced:
            return DUPLICATE
        state.misplaced.add(event_id)
        return Decision(Outcome.REJECTED, Reason.WRONG_PARTITION, "it stands in another partition than its study's other events")
    if event_id in state.decided:
        return DUPLICATE
    state.decided.add(event_id)
    state.newest_event = max(state.newest_event, event_id)
    if event.kind == "checkpoint_recorded":
        return _decide_checkpoint(state, event)
    if event.kind == "study_created":
        if state.status is not None:
            return Decision(Outcome.REJECTED, Reason.STUDY_ID_TAKEN, "a study with this id was created before")
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
        return Decision(Outcome.REJECTED, Reason.CHECKPOINT_ID_TAKEN, "another event recorded a checkpoint with this id in this study")
    state.checkpoints.add(checkpoint_id)
    state.newest_checkpoint = max(state.newest_checkpoint, checkpoint_id)
    return APPLIED


def _unknown_study() -> Decision:
    return Decision(Outcome.REJECTED, Reason.UNKNOWN_STUDY, "no study with this id was created before it")


def decide_invalid(state: StudyState, event_id: str, error: str) -> Decision:
    """Decide bytes that are no valid event.

    Parameters
    ----------
    state
        Of the study that the bytes name, or, when that cannot be read, of the study ``""``; changed when not a duplicate.
    event_id
        The event id, or, when that cannot be read, the SHA-256 of the bytes.
    error
        What is wrong with them.
    """
    if event_id in state.decided:
        return DUPLICATE
    state.decided.add(event_id)
    state.newest_event = max(state.newest_event, event_id)
    return Decision(Outcome.QUARANTINED, None, error)
