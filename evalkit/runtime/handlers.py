"""What happens when a command is given: check it against the read model, append, learn what became of it, answer."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from evalkit.domain import validation as checks
from evalkit.domain.command_content import CONTENT_COLUMNS, content_of_command, content_of_event, same_content
from evalkit.domain.commands import CreateStudy, RecordCheckpoint, lifecycle_message
from evalkit.domain.events import CheckpointRecorded, EncodedEvent, StoredEvalEvent
from evalkit.domain.ids import StudyId, event_milliseconds, milliseconds, new_id, normalized_name, study_id_of_name, time_of_event
from evalkit.domain.study import COMMANDS, TRANSITIONS, Checkpoint, Study, StudyStatus, commands_allowed
from evalkit.domain.times import stored_time, wire_time
from evalkit.errors import (
    ConflictError,
    InvalidInputError,
    LogError,
    LogUnavailableError,
    OutcomeUnknownError,
    StudyExistsError,
    TransitionError,
    warn,
)  # fmt: skip
from evalkit.readmodel.database.database import Row, in_parts
from evalkit.readmodel.fold import APPLIED, Decision, Reason
from evalkit.readmodel.references import References
from evalkit.readmodel.repository import EvalStorage
from evalkit.runtime.engine import Engine

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


class Handlers:
    """Carries out commands on an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # The engine has caught up before these are asked.
        self._stored = EvalStorage(engine.database, lambda: not engine.holds_nothing)
        self.studies = References(self._stored, engine.settings.home)

    def create_study(self, command: CreateStudy, at: datetime | str | None, if_exists: str) -> Study:
        """See `EvalKit.create_study`."""
        if not isinstance(if_exists, str) or if_exists not in ("error", "open"):
            raise checks.invalid("if_exists", if_exists, "is neither 'error' nor 'open'.")
        now = datetime.now(UTC)
        moment = now if at is None else checks.check_at("at", at, now)
        command.message(StudyId(new_id()), milliseconds(moment))  # refuses an event that is too large, before anything is created
        with self._engine.command():
            named = self._named(command.name)
            if not named:
                study_id = self._id_of_name(command.name)
                if self._stored.get_study(study_id) is None:
                    message = command.message(study_id, milliseconds(moment))
                    decision = self._engine.append(study_id, [message])[message.event_id]
                    if decision is APPLIED:
                        return self._study(study_id)
                    if decision.reason is not Reason.STUDY_ID_TAKEN:
                        raise self._lost(study_id, message, decision)
                named = [self._study(study_id)]  # another process created the name in the meantime
            if if_exists == "error":
                raise StudyExistsError(
                    f"A study named {named[0].name!r} already exists ({named[0].status}, created {named[0].created_at:%Y-%m-%d}). Choose "
                    'another name, or open it: create_study(..., if_exists="open").',
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
                    f"The study {study.name!r} is {study.status}; {command} needs it {' or '.join(sorted(TRANSITIONS[kind][0]))}."
                    f"{_next_step(study)}",
                    study_id=study.id, status=study.status.value, command=command,
                )  # fmt: skip
            last_id = str(
                self._engine.database.execute("SELECT event_id FROM lifecycle WHERE study_id = ? ORDER BY seq DESC LIMIT 1", (study.id,))[
                    0
                ][0]
            )
            last = event_milliseconds(last_id)
            if given is not None and milliseconds(given) < last:
                raise checks.invalid(
                    "at", at, f"lies before the study's last lifecycle event, at {wire_time(time_of_event(last_id))}; give a later time."
                )
            # Without a time given: now, or, where another machine's clock is ahead, not before the last event.
            moment = max(milliseconds(now), last) if given is None else milliseconds(given)
            return self._append_to_study(lifecycle_message(kind, study.id, moment))

    def record_checkpoint(self, reference: Study | str, command: RecordCheckpoint) -> Checkpoint:
        """See `EvalKit.record_checkpoint`."""
        with self._engine.command():
            study = self.recordable(reference)
            checkpoint_id = command.checkpoint_id(study.id)
            message = command.message(study.id, checkpoint_id)
            if command.key is not None and (before := self._contents(study.id, [checkpoint_id]).get(checkpoint_id)) is not None:
                if not same_content(before, content_of_command(command)):
                    raise self._other_content(study.id, command.key)
                return self._recorded(study.id, checkpoint_id)
            if command.key is None:
                self._warn_of_repeats(study, [command])
            lost = self._append_checkpoints(study, [(command.key, message)])
            return self._recorded(study.id, checkpoint_id) if lost else _as_checkpoint(message)

    def record_checkpoints(self, reference: Study | str, commands: Sequence[RecordCheckpoint]) -> RecordedCheckpoints:
        """See `EvalKit.record_checkpoints`."""
        with self._engine.command():
            study = self.recordable(reference)
            ids = [command.checkpoint_id(study.id) for command in commands]
            if any(command.key is not None for command in commands):
                stored = self._contents(study.id, [one for one, command in zip(ids, commands, strict=True) if command.key is not None])
            else:
                stored = {}
            new: dict[str, tuple[str | None, EncodedEvent]] = {}
            for row, (checkpoint_id, command) in enumerate(zip(ids, commands, strict=True)):
                if checkpoint_id in stored:
                    if not same_content(stored[checkpoint_id], content_of_command(command)):
                        raise self._other_content(study.id, command.key, f"row {row}, ")
                    continue
                if checkpoint_id in new:
                    first = new[checkpoint_id][1].data
                    if not same_content(content_of_event(first), content_of_command(command)):
                        raise InvalidInputError(
                            f"row {row}, key: {command.key!r} stands for other content in an earlier row. Nothing was recorded.",
                            field="key", value=command.key, row=row,
                        )  # fmt: skip
                    continue
                try:
                    new[checkpoint_id] = (command.key, command.message(study.id, checkpoint_id))
                except InvalidInputError as error:
                    raise InvalidInputError(
                        f"row {row}, {error} Nothing was recorded.", field=error.field, value=error.value, row=row
                    ) from None
            self._warn_of_repeats(study, [command for command in commands if command.key is None])
            try:
                lost = self._append_checkpoints(study, list(new.values())) if new else 0
            except LogError as error:
                first_rows = {checkpoint_id: row for row, checkpoint_id in reversed(list(enumerate(ids)))}
                raise _in_rows(error, [first_rows[checkpoint_id] for checkpoint_id in new], list(new.values())) from None
            recorded = len(new) - lost
            return RecordedCheckpoints(recorded, len(commands) - recorded, tuple(ids))

    def outcome(self, error: OutcomeUnknownError) -> Study | Checkpoint | RecordedCheckpoints:
        """See `EvalKit.outcome`."""
        with self._engine.lock:
            placed = zip(error.positions, error.event_ids, strict=True)
            messages = [self._engine.message_at(position, event_id) for position, event_id in placed]
            decisions = self._engine.outcomes(error.study_id, messages, error.positions)
            lost = self._settle(error.study_id, [(None, message) for message in messages], decisions)
            events = [StoredEvalEvent.from_wire(message.data).event for message in messages]
            recorded = [event.id for event in events if isinstance(event, CheckpointRecorded)]
            if not recorded:
                return self._study(error.study_id)
            if len(recorded) == 1:
                return self._recorded(error.study_id, recorded[0]) if lost else _as_checkpoint(messages[0])
            return RecordedCheckpoints(len(recorded) - lost, lost, tuple(recorded))

    def recordable(self, reference: Study | str) -> Study:
        """Give the study, when checkpoints may be recorded in it."""
        study = self.studies.resolve(reference)
        if study.started_at is None:
            step = _next_step(study) if study.status is StudyStatus.PENDING else " Create another study."
            raise TransitionError(
                f"The study {study.name!r} was never started, so it has no checkpoints.{step}",
                study_id=study.id, status=study.status.value, command="record_checkpoint",
            )  # fmt: skip
        return study

    def _append_to_study(self, message: EncodedEvent) -> Study:
        decision = self._engine.append(message.study_id, [message])[message.event_id]
        if decision is not APPLIED:
            raise self._lost(message.study_id, message, decision)
        return self._study(message.study_id)

    def _append_checkpoints(self, study: Study, keyed: Sequence[tuple[str | None, EncodedEvent]]) -> int:
        """Append checkpoints; give how many another process had recorded in the meantime, with the same content."""
        decisions = self._engine.append(study.id, [message for _, message in keyed])
        return self._settle(study.id, keyed, decisions)

    def _settle(self, study_id: str, keyed: Sequence[tuple[str | None, EncodedEvent]], decisions: dict[str, Decision]) -> int:
        lost = [(key, message) for key, message in keyed if decisions[message.event_id] is not APPLIED]
        for key, message in lost:
            event = StoredEvalEvent.from_wire(message.data).event
            stored = self._contents(study_id, [event.id]).get(event.id) if isinstance(event, CheckpointRecorded) else None
            if stored is None:
                raise self._lost(study_id, message, decisions[message.event_id])
            if not same_content(stored, content_of_event(message.data)):
                raise self._other_content(study_id, key, "another process was quicker: ", message.event_id)
        return len(lost)

    def _lost(self, study_id: str, message: EncodedEvent, decision: Decision) -> ConflictError:
        study = self._stored.get_study(study_id)
        now = f" The study is {study.status} now.{_next_step(study)}" if study is not None else ""
        return ConflictError(
            f"Another process was quicker: this event is in the log, but it changed nothing, because {decision.message}.{now}",
            study_id=study_id, event_id=message.event_id, reason=str(decision.reason or decision.outcome),
        )  # fmt: skip

    @staticmethod
    def _other_content(study_id: str, key: str | None, where: str = "", event_id: str | None = None) -> ConflictError:
        named = f"The key {key!r}" if key is not None else "This checkpoint's id"
        return ConflictError(
            f"{where}{named} stands for a checkpoint with other content. What is recorded stays; give another key to record "
            "this as well.",
            study_id=study_id, event_id=event_id, reason="checkpoint id taken",
        )  # fmt: skip

    def _study(self, study_id: str) -> Study:
        study = self._stored.get_study(study_id)
        assert study is not None
        return study

    def _recorded(self, study_id: str, checkpoint_id: str) -> Checkpoint:
        """Give a checkpoint that was there before."""
        checkpoint = self._stored.get_checkpoint(study_id, checkpoint_id)
        assert checkpoint is not None
        return checkpoint.model_copy(update={"already_recorded": True})

    def _contents(self, study_id: str, checkpoint_ids: Sequence[str]) -> dict[str, Row]:
        sql = (
            f"SELECT checkpoints.id, {CONTENT_COLUMNS} FROM json_each(?) CROSS JOIN checkpoints ON study_id = ? AND checkpoints.id = value"
        )
        rows = in_parts(lambda part: self._engine.database.execute(sql, (json.dumps(part), study_id)), checkpoint_ids)
        return {str(found): tuple(content) for found, *content in rows}

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


def _in_rows(error: LogError, rows: Sequence[int], new: Sequence[tuple[str | None, EncodedEvent]]) -> LogError:
    """Say of an append that failed between two chunks which rows are durable."""
    durable = [row for row, position in zip(rows, error.positions, strict=False) if position is not None]
    if not durable:
        return error
    keyed = all(key is not None for key, _ in new)
    rest = (
        "Call again with the same rows and keys, and the rest is recorded."
        if keyed
        else (f"They have no keys: look which from row {durable[-1] + 1} on are there (kit.checkpoints()), and record only the others.")
    )
    told = LogUnavailableError(
        f"{str(error).replace(' Nothing was appended.', '')} Of the {len(new):,} new rows {len(durable):,} are durable in the log: those "
        f"up to row {durable[-1]}, counted from 0. {rest}"
    )
    told.positions = error.positions
    told.driver_message = error.driver_message
    return told


def _next_step(study: Study) -> str:
    allowed = commands_allowed(study.status)
    return f" Next: {' or '.join(f'kit.{command}_study({study.name!r})' for command in allowed)}" if allowed else " It ended for good."


def _as_checkpoint(message: EncodedEvent) -> Checkpoint:
    event = StoredEvalEvent.from_wire(message.data).event
    assert isinstance(event, CheckpointRecorded)
    values = event.model_dump(exclude={"type", "metrics"})
    return Checkpoint(**values, metrics=event.metrics, recorded_at=time_of_event(message.event_id))


def _stored_period(command: RecordCheckpoint) -> tuple[str, str]:
    period = command.metrics["period"]
    return stored_time(period["start"]), stored_time(period["end"])
