"""What happens when a command is given: check it against the read model, append, learn what became of it, answer."""

from __future__ import annotations

import itertools
import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from evalkit.domain import validation as checks
from evalkit.domain.commands import CreateStudy, RecordCheckpoint, content, lifecycle_event
from evalkit.domain.events import CheckpointContent, CheckpointRecorded, EncodedEvent, StoredEvalEvent
from evalkit.domain.ids import (
    CheckpointId,
    StudyId,
    event_milliseconds,
    milliseconds,
    new_id,
    normalized_name,
    study_id_of_name,
    time_of_event,
)
from evalkit.domain.study import COMMANDS, TRANSITIONS, Checkpoint, Study, StudyStatus, commands_allowed
from evalkit.domain.times import stored_text, wire_time
from evalkit.errors import (
    ConflictError,
    InvalidInputError,
    LogError,
    LogUnavailableError,
    Message,
    OutcomeUnknownError,
    StudyExistsError,
    TransitionError,
    warn,
)  # fmt: skip
from evalkit.readmodel.database.database import in_parts
from evalkit.readmodel.fold import APPLIED, Decision, Reason
from evalkit.readmodel.repository import EvalStorage, References
from evalkit.runtime.engine import Engine
from evalkit.runtime.outcomes import Outcomes

__all__ = ["Handlers", "RecordedCheckpoints"]


@dataclass(frozen=True)
class RecordedCheckpoints:
    """What `record_checkpoints` did."""

    recorded: int
    """How many were appended and applied."""
    already_recorded: int
    """How many were there before, under the same key with the same content."""
    checkpoint_ids: tuple[str, ...]
    """Of all rows, in their order."""

    def __repr__(self) -> str:
        again = f", {self.already_recorded} already recorded" if self.already_recorded else ""
        return f"RecordedCheckpoints({self.recorded} recorded{again})"


class _New(NamedTuple):
    """A checkpoint to append."""

    row: int
    key: str | None
    says: CheckpointContent | None
    """What it records; None for an event that records no checkpoint."""
    encoded: EncodedEvent


@dataclass
class _Recording:
    """What becomes of the commands that record checkpoints in one study."""

    ids: list[str]
    stored: dict[str, Checkpoint]
    """By id, what was there before, or was recorded by another process meanwhile."""
    new: dict[str, _New] = field(default_factory=dict)
    """By id, what was appended."""

    def checkpoint(self, checkpoint_id: str) -> Checkpoint:
        """Return the checkpoint with an id, as it was recorded now or before."""
        if checkpoint_id in self.stored:
            return self.stored[checkpoint_id].model_copy(update={"already_recorded": True})
        one = self.new[checkpoint_id]
        assert one.says is not None
        return Checkpoint(
            id=CheckpointId(checkpoint_id), study_id=StudyId(one.encoded.study_id), timestamp=one.says.timestamp, metrics=one.says.metrics,
            events_analyzed=one.says.events_analyzed, sessions_included=one.says.sessions_included,
            recorded_at=time_of_event(one.encoded.event_id),
        )  # fmt: skip


class Handlers:
    """Carries out commands on an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._outcomes = Outcomes(engine)
        # The engine has caught up before these are asked.
        self._stored = EvalStorage(engine.database, lambda: not engine.holds_nothing)
        self.studies = References(self._stored, engine.settings.home)

    def create_study(self, command: CreateStudy, at: datetime | str | None, if_exists: str) -> Study:
        """See `EvalKit.create_study`."""
        if not isinstance(if_exists, str) or if_exists not in ("error", "open"):
            raise checks.invalid("if_exists", if_exists, "is neither 'error' nor 'open'")
        now = datetime.now(UTC)
        at_ms = milliseconds(now if at is None else checks.check_at("at", at, now))
        command.event(StudyId(new_id()), at_ms).encoded()  # refuses an event that is too large, before anything is created
        with self._engine.command():
            named = self._named(command.name)
            if not named:
                study_id = self._id_of_name(command.name)
                if self._stored.get_study(study_id) is None:
                    event = command.event(study_id, at_ms).encoded()
                    decision = self._append(event)
                    if decision is APPLIED:
                        return self._study(study_id)
                    if decision.reason is not Reason.STUDY_ID_TAKEN:
                        raise self._lost(event, decision)
                named = [self._study(study_id)]  # another process created the name in the meantime
            if if_exists == "error":
                raise StudyExistsError(
                    f"A study named {named[0].name!r} already exists ({named[0].status}, created {named[0].created_at:%Y-%m-%d})",
                    hint='Choose another name, or open it: create_study(..., if_exists="open").',
                    shell_hint="Choose another name, or open it: --if-exists open.",
                    name=command.name, study_ids=[study.id for study in named],
                )  # fmt: skip
            return self._open(command, named)

    def _named(self, name: str) -> list[Study]:
        """Return the studies with this name, newest first: one at most, except in logs where ids did not depend on names yet."""
        return [study for study in self._stored.find_studies(name) if normalized_name(study.name) == normalized_name(name)]

    def _id_of_name(self, name: str) -> StudyId:
        """Return the id that everyone who creates this name now gives it: of several at once, the fold accepts the first in the log."""
        self._engine.make_ready()
        identity = self._engine.log.identity()
        ids = (study_id_of_name(identity, name, counter) for counter in itertools.count())
        return next(
            study_id
            for study_id in ids
            if (study := self._stored.get_study(study_id)) is None or normalized_name(study.name) == normalized_name(name)
        )

    def _open(self, command: CreateStudy, named: list[Study]) -> Study:
        study = named[0] if len(named) == 1 else self.studies.resolve(command.name)
        if (study.period_type, study.period_value) != (command.period_type, command.period_value):
            warn(f"The study {study.name!r} was created with the period {str(study.period)!r}; the period given now is ignored.")
        return study

    def change_study(self, command: str, reference: Study | str, at: datetime | str | None) -> Study:
        """Carry out a lifecycle command: start, pause, resume or stop."""
        kind = COMMANDS[command]
        now = datetime.now(UTC)
        given = None if at is None else checks.check_at("at", at, now)
        with self._engine.command():
            study = self.studies.resolve(reference)
            if study.status not in TRANSITIONS[kind][0]:
                raise TransitionError(
                    _with_next_step(
                        f"The study {study.name!r} is {study.status}; {command} needs it {' or '.join(sorted(TRANSITIONS[kind][0]))}", study
                    ),
                    study_id=study.id, status=study.status.value, command=command,
                )  # fmt: skip
            sql = "SELECT event_id FROM lifecycle WHERE study_id = ? ORDER BY seq DESC LIMIT 1"
            last_id = str(self._engine.database.execute(sql, (study.id,))[0][0])
            last = event_milliseconds(last_id)
            if given is not None and milliseconds(given) < last:
                last_at = wire_time(time_of_event(last_id))
                raise checks.invalid("at", at, f"lies before the study's last lifecycle event, at {last_at}", "give a later time")
            # Without a time given: now, or, where another machine's clock is ahead, not before the last event.
            event = lifecycle_event(kind, study.id, max(milliseconds(now), last) if given is None else milliseconds(given)).encoded()
            if (decision := self._append(event)) is not APPLIED:
                raise self._lost(event, decision)
            return self._study(study.id)

    def record_checkpoint(self, reference: Study | str, command: RecordCheckpoint) -> Checkpoint:
        """See `EvalKit.record_checkpoint`."""
        done = self._record(reference, [command])
        return done.checkpoint(done.ids[0])

    def record_checkpoints(self, reference: Study | str, commands: Sequence[RecordCheckpoint]) -> RecordedCheckpoints:
        """See `EvalKit.record_checkpoints`."""
        done = self._record(reference, commands, rows=True)
        recorded = sum(checkpoint_id not in done.stored for checkpoint_id in done.new)
        return RecordedCheckpoints(recorded, len(commands) - recorded, tuple(done.ids))

    def _record(self, reference: Study | str, commands: Sequence[RecordCheckpoint], *, rows: bool = False) -> _Recording:
        """Record checkpoints in a study; with `rows`, errors name the row of a command."""
        with self._engine.command():
            study = self.recordable(reference)
            ids: list[str] = [command.checkpoint_id(study.id) for command in commands]
            keyed = [one for one, command in zip(ids, commands, strict=True) if command.key is not None]
            done = _Recording(ids, self._checkpoints(study.id, keyed))
            for row, (checkpoint_id, command) in enumerate(zip(ids, commands, strict=True)):
                self._add(done, study.id, row if rows else None, checkpoint_id, command)
            self._warn_of_repeats(study, [command for command in commands if command.key is None])
            if done.new:
                try:
                    decisions = self._outcomes.append(study.id, [one.encoded for one in done.new.values()])
                except LogError as error:
                    if not rows:
                        raise
                    raise _in_rows(error, list(done.new.values())) from None
                done.stored |= self._settled(study.id, done.new, decisions)
            return done

    def _add(self, done: _Recording, study_id: str, row: int | None, checkpoint_id: str, command: RecordCheckpoint) -> None:
        """Add a checkpoint to those to append, unless it is there already.

        Raises
        ------
        ConflictError, InvalidInputError
            When its key stands for other content, or it is too large.
        """
        known = done.stored.get(checkpoint_id)
        if known is not None:
            if content(known) != content(command):
                raise self._other_content(study_id, command.key, where="" if row is None else f"row {row}, ")
            return
        if checkpoint_id in done.new:
            earlier = done.new[checkpoint_id].says
            assert earlier is not None
            if content(earlier) != content(command):
                error = InvalidInputError(
                    f"key: {command.key!r} stands for other content in an earlier row", field="key", value=command.key
                )
                raise error.in_row(row or 0, effect="Nothing was recorded.")
            return
        try:
            done.new[checkpoint_id] = _New(row or 0, command.key, command, command.encoded(study_id, checkpoint_id))
        except InvalidInputError as error:
            raise error if row is None else error.in_row(row, effect="Nothing was recorded.") from None

    def outcome(self, error: OutcomeUnknownError) -> Study | Checkpoint | RecordedCheckpoints:
        """See `EvalKit.outcome`."""
        with self._engine.lock:
            placed = zip(error.positions, error.event_ids, strict=True)
            messages = [self._outcomes.message_at(position, event_id) for position, event_id in placed]
            decisions = self._outcomes.of(error.study_id, messages, error.positions)
            new = {}
            for row, message in enumerate(messages):
                event = StoredEvalEvent.from_wire(message.data).event
                says = event if isinstance(event, CheckpointRecorded) else None
                new[event.id] = _New(row, None, says, message)
            stored = self._settled(error.study_id, new, decisions)
            if any(one.says is None for one in new.values()):
                return self._study(error.study_id)
            if len(new) == 1:
                return _Recording(list(new), stored, new).checkpoint(*new)
            return RecordedCheckpoints(len(new) - len(stored), len(stored), tuple(new))

    def recordable(self, reference: Study | str) -> Study:
        """Return the study, when checkpoints may be recorded in it."""
        study = self.studies.resolve(reference)
        if study.started_at is None:
            problem = f"The study {study.name!r} was never started, so it has no checkpoints"
            step = (
                _with_next_step(problem, study)
                if study.status is StudyStatus.PENDING
                else Message(problem=problem, hint="Create another study.")
            )
            raise TransitionError(step, study_id=study.id, status=study.status.value, command="record_checkpoint")
        return study

    def _append(self, event: EncodedEvent) -> Decision:
        return self._outcomes.append(event.study_id, [event])[event.event_id]

    def _settled(self, study_id: str, new: Mapping[str, _New], decisions: dict[str, Decision]) -> dict[str, Checkpoint]:
        """Return, of appended events by id, the checkpoints that another process had recorded in the meantime, with the same content.

        Raises
        ------
        ConflictError
            When an event had no effect for another reason.
        """
        lost = {one_id: one for one_id, one in new.items() if decisions[one.encoded.event_id] is not APPLIED}
        stored = self._checkpoints(study_id, list(lost))
        for one_id, one in lost.items():
            if one.says is None or one_id not in stored:
                raise self._lost(one.encoded, decisions[one.encoded.event_id])
            if content(stored[one_id]) != content(one.says):
                raise self._other_content(study_id, one.key, where="another process was quicker: ", event_id=one.encoded.event_id)
        return stored

    def _lost(self, event: EncodedEvent, decision: Decision) -> ConflictError:
        study = self._stored.get_study(event.study_id)
        problem = f"Another process was quicker: this event is in the log, but it changed nothing, because {decision.message}"
        if study is not None:
            problem = f"{problem}. The study is {study.status} now"
        return ConflictError(
            Message(problem=problem) if study is None else _with_next_step(problem, study),
            study_id=event.study_id, event_id=event.event_id, reason=str(decision.reason or decision.outcome),
        )  # fmt: skip

    @staticmethod
    def _other_content(study_id: str, key: str | None, *, where: str = "", event_id: str | None = None) -> ConflictError:
        named = f"The key {key!r}" if key is not None else "This checkpoint's id"
        message = Message(
            where=where, problem=f"{named} stands for a checkpoint with other content", effect="What is recorded stays; give another key "
            "to record this as well.",
        )  # fmt: skip
        return ConflictError(message, study_id=study_id, event_id=event_id, reason="checkpoint id taken")

    def _study(self, study_id: str) -> Study:
        study = self._stored.get_study(study_id)
        assert study is not None
        return study

    def _checkpoints(self, study_id: str, checkpoint_ids: Sequence[str]) -> dict[str, Checkpoint]:
        return {one.id: one for one in self._stored.checkpoints_by_id(study_id, checkpoint_ids)} if checkpoint_ids else {}

    def _warn_of_repeats(self, study: Study, commands: Sequence[RecordCheckpoint]) -> None:
        periods = [_stored_period(command) for command in commands]
        if not periods:
            return
        sql = (
            "WITH asked (began, ended) AS MATERIALIZED (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)) "
            "SELECT began, ended FROM asked WHERE EXISTS "
            "(SELECT 1 FROM checkpoints WHERE study_id = ? AND period_end = ended AND period_start = began)"
        )
        found = in_parts(lambda part: self._engine.database.execute(sql, (json.dumps(part), study.id)), list(dict.fromkeys(periods)))
        there = {(str(start), str(end)) for start, end in found}
        repeated = [period for period in periods if period in there]
        counted = Counter(periods)
        again = sum(times if period in there else times - 1 for period, times in counted.items())
        if again:
            start, end = repeated[0] if repeated else next(period for period, times in counted.items() if times > 1)
            warn(
                f"The study {study.name!r} has a checkpoint for the period [{start[:16]}, {end[:16]}) UTC already, "
                f"and gets another one ({again} such in all). "
                "Give each checkpoint a key, and running a cell again records nothing twice.",
            )


def _in_rows(error: LogError, new: Sequence[_New]) -> LogError:
    """Return the error of an append that failed between two chunks, with the rows that are durable."""
    durable = [one.row for one, position in zip(new, error.positions, strict=False) if position is not None]
    if not durable:
        return error
    keyed = all(one.key is not None for one in new)
    return LogUnavailableError(
        error.message.problem,
        effect=f"Of the {len(new):,} new rows {len(durable):,} are durable in the log: those up to row {durable[-1]}, counted from 0.",
        hint="Call again with the same rows and keys, and the rest is recorded."
        if keyed
        else f"They have no keys: look which from row {durable[-1] + 1} on are there (kit.checkpoints()), and record only the others.",
        positions=error.positions, driver_message=error.driver_message,
    )  # fmt: skip


def _with_next_step(problem: str, study: Study) -> Message:
    allowed = commands_allowed(study.status)
    if not allowed:
        return Message(problem=problem, hint="It ended for good.")
    return Message(
        problem=problem,
        hint=f"Next: {' or '.join(f'kit.{command}_study({study.name!r})' for command in allowed)}",
        shell_hint=f"Next: {' or '.join(f'evalkit study {command} {shlex.quote(study.name)}' for command in allowed)}",
    )


def _stored_period(command: RecordCheckpoint) -> tuple[str, str]:
    period = command.metrics.period
    return stored_text(period.start), stored_text(period.end)
