"""The command handlers.

A handler checks a command against the read model, appends its events, reads their effect and returns the result.
"""

from __future__ import annotations

import itertools
import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from evalkit._util.text import alternatives
from evalkit.domain.commands import CreateStudy, RecordCheckpoint, check_custom, content, lifecycle_event
from evalkit.domain.definitions import Metric
from evalkit.domain.events import CheckpointContent, CheckpointRecorded, EncodedEvent, MetricDefined, StoredEvalEvent
from evalkit.domain.ids import (
    CheckpointId,
    StudyId,
    event_id_at,
    event_milliseconds,
    milliseconds,
    new_id,
    normalized_name,
    study_id_of_name,
    time_of_event,
)
from evalkit.domain.refusals import invalid, shown
from evalkit.domain.study import COMMANDS, TRANSITIONS, Checkpoint, Study, StudyStatus, commands_allowed
from evalkit.domain.time_input import check_at
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
from evalkit.runtime.definitions import new_definitions
from evalkit.runtime.engine import Engine
from evalkit.runtime.outcomes import Outcomes

__all__ = ["Handlers", "RecordedCheckpoints"]


@dataclass(frozen=True)
class RecordedCheckpoints:
    """The result of `record_checkpoints`.

    Examples
    --------
    >>> RecordedCheckpoints(recorded=2, already_recorded=1, checkpoint_ids=("a", "b", "c"))
    RecordedCheckpoints(2 recorded, 1 already recorded)
    """

    recorded: int
    """The number of checkpoints recorded now."""
    already_recorded: int
    """The number of checkpoints recorded before, under the same key and with the same content."""
    checkpoint_ids: tuple[str, ...]
    """The checkpoint ids of all rows, in row order."""

    def __repr__(self) -> str:
        again = f", {self.already_recorded} already recorded" if self.already_recorded else ""
        return f"RecordedCheckpoints({self.recorded} recorded{again})"


class _New(NamedTuple):
    """A checkpoint to append."""

    row: int
    key: str | None
    content: CheckpointContent | None
    """None for an event of another kind."""
    encoded: EncodedEvent


@dataclass
class _Recording:
    """The checkpoints for a list of commands of one study, recorded now or before."""

    ids: list[str]
    stored: dict[str, Checkpoint]
    """The checkpoints that were already recorded, or that another process recorded meanwhile, by id."""
    new: dict[str, _New] = field(default_factory=dict)
    """The checkpoints to append, by id."""

    def checkpoint(self, checkpoint_id: str) -> Checkpoint:
        """Return the checkpoint with an id, recorded now or before."""
        if checkpoint_id in self.stored:
            return self.stored[checkpoint_id].model_copy(update={"already_recorded": True})
        new = self.new[checkpoint_id]
        assert new.content is not None
        return Checkpoint(
            id=CheckpointId(checkpoint_id), study_id=StudyId(new.encoded.study_id), timestamp=new.content.timestamp,
            metrics=new.content.metrics, events_analyzed=new.content.events_analyzed, sessions_included=new.content.sessions_included,
            recorded_at=time_of_event(new.encoded.event_id),
        )  # fmt: skip


class Handlers:
    """The handlers of the commands of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._outcomes = Outcomes(engine)
        # The engine has brought the read model up to date before these queries.
        self._stored = EvalStorage(engine.database, lambda: not engine.holds_nothing)
        self.studies = References(self._stored, engine.settings.home)

    def create_study(self, command: CreateStudy, at: datetime | str | None, if_exists: str) -> Study:
        """See `EvalKit.create_study`."""
        if not isinstance(if_exists, str) or if_exists not in ("error", "open"):
            raise invalid("if_exists", if_exists, "expected 'error' or 'open'")
        now = datetime.now(UTC)
        at_ms = milliseconds(now if at is None else check_at("at", at, now))
        command.event(StudyId(new_id()), at_ms).encoded()  # raises if the event is too large, before anything is created
        with self._engine.command():
            named = self._named(command.name)
            if not named:
                study_id = self._id_of_name(command.name)
                if self._stored.get_study(study_id) is None:
                    event = command.event(study_id, at_ms).encoded(_written_now())
                    decision = self._append(event)
                    if decision is APPLIED:
                        return self._study(study_id)
                    if decision.reason is not Reason.STUDY_ID_TAKEN:
                        raise self._conflict(event, decision)
                named = [self._study(study_id)]  # another process created this study in the meantime
            if if_exists == "error":
                raise StudyExistsError(
                    f"Study {named[0].name!r} already exists ({named[0].status}, created {named[0].created_at:%Y-%m-%d})",
                    hint='Choose another name, or open it: create_study(..., if_exists="open").',
                    shell_hint="Choose another name, or open it: --if-exists open.",
                    name=command.name, study_ids=[study.id for study in named],
                )  # fmt: skip
            return self._open(command, named)

    def _named(self, name: str) -> list[Study]:
        """Return the studies with a name, newest first.

        There is at most one, except in old logs, where study ids do not depend on names.
        """
        return [study for study in self._stored.find_studies(name) if normalized_name(study.name) == normalized_name(name)]

    def _id_of_name(self, name: str) -> StudyId:
        """Return the id for a new study with a name.

        Concurrent processes derive the same id, and the fold accepts only the first of their events.
        """
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
        config, ignored = command.config, []
        if (study.period_type, study.period_value) != (command.period_type, command.period_value):
            passed = f"{command.period_type}:{command.period_value}" if command.period_value is not None else str(command.period_type)
            ignored.append(f"period {passed!r} (recorded: {str(study.period)!r})")
        for name in ("description", "tags", "metadata"):
            stored, new = getattr(study.config, name), getattr(config, name)
            if new and new != stored:
                ignored.append(f"{name} {shown(new)} (recorded: {shown(stored) if stored else 'none'})")
        if ignored:
            were = "was" if len(ignored) == 1 else "were"
            warn(f"Study {study.name!r} already exists and is unchanged; {alternatives(ignored, 'and')} {were} ignored.")
        return study

    def define_metrics(self, reference: Study | str, metrics: Sequence[Metric]) -> None:
        """See `EvalKit.define_metric`."""
        with self._engine.command():
            study = self.studies.resolve(reference)
            new = new_definitions(study.name, self._stored.get_metrics(study.id), metrics)
            if not new:
                return
            now = datetime.now(UTC)
            events = [
                StoredEvalEvent(
                    event_id=event_id_at(milliseconds(now)), event=MetricDefined(type="metric_defined", study_id=study.id, metric=metric)
                ).encoded(stored_text(now))
                for metric in new
            ]
            decisions = self._outcomes.append(study.id, events)
            for event in events:
                if decisions[event.event_id] is not APPLIED:
                    raise self._conflict(event, decisions[event.event_id])

    def definitions(self, reference: Study | str) -> dict[str, Metric]:
        """Return the definitions of the custom metrics of a study."""
        with self._engine.command():
            return self._stored.get_metrics(self.studies.resolve(reference).id)

    def change_study(self, command: str, reference: Study | str, at: datetime | str | None) -> Study:
        """Handle a lifecycle command: start, pause, resume or stop."""
        kind = COMMANDS[command]
        now = datetime.now(UTC)
        moment = None if at is None else check_at("at", at, now)
        with self._engine.command():
            study = self.studies.resolve(reference)
            if study.status not in TRANSITIONS[kind][0]:
                required = alternatives([status for status in StudyStatus if status in TRANSITIONS[kind][0]])
                problem = f"Cannot {command} study {study.name!r}: it is {study.status} (must be {required})"
                message = _with_next_step(problem, study)
                if study.status is StudyStatus.PENDING:  # it cannot be paused or resumed
                    message = Message(problem=problem, **_calls("Start it first with", "start", study))
                raise TransitionError(message, study_id=study.id, status=study.status.value, command=command)
            sql = "SELECT event_id FROM lifecycle WHERE study_id = ? ORDER BY seq DESC LIMIT 1"
            last_id = str(self._engine.database.execute(sql, (study.id,))[0][0])
            last = event_milliseconds(last_id)
            if moment is not None and milliseconds(moment) < last:
                raise invalid("at", at, f"before the study's last lifecycle event ({wire_time(time_of_event(last_id))})")
            # Without `at`, use the current time, or the time of the last event if the clock of its writer is ahead.
            event = lifecycle_event(kind, study.id, max(milliseconds(now), last) if moment is None else milliseconds(moment))
            encoded = event.encoded(_written_now())
            if (decision := self._append(encoded)) is not APPLIED:
                raise self._conflict(encoded, decision)
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
        """Record checkpoints in a study. With `rows`, errors name the row of a command."""
        with self._engine.command():
            study = self.recordable(reference)
            if any(command.metrics.custom for command in commands):
                check_custom(commands, self._stored.get_metrics(study.id), rows=rows)
            ids: list[str] = [command.checkpoint_id(study.id) for command in commands]
            keyed = [checkpoint_id for checkpoint_id, command in zip(ids, commands, strict=True) if command.key is not None]
            done = _Recording(ids, self._checkpoints(study.id, keyed))
            for row, (checkpoint_id, command) in enumerate(zip(ids, commands, strict=True)):
                self._add(done, study.id, row if rows else None, checkpoint_id, command)
            repeats = self._repeats(study, [command for command in commands if command.key is None], several=rows)
            if done.new:
                try:
                    decisions = self._outcomes.append(study.id, [new.encoded for new in done.new.values()])
                except LogError as error:
                    if not rows:
                        raise
                    raise _in_rows(error, list(done.new.values())) from None
                done.stored |= self._settled(study.id, done.new, decisions)
            if repeats is not None:
                warn(repeats)
            return done

    def _add(self, done: _Recording, study_id: str, row: int | None, checkpoint_id: str, command: RecordCheckpoint) -> None:
        """Add a checkpoint to `done.new`, unless it is already recorded.

        Raises
        ------
        ConflictError, InvalidInputError
            When the key was used for different content, or the event is too large.
        """
        stored = done.stored.get(checkpoint_id)
        if stored is not None:
            if content(stored) != content(command):
                raise self._different_content(study_id, command.key, where="" if row is None else f"row {row}: ", row=row)
            return
        if checkpoint_id in done.new:
            earlier = done.new[checkpoint_id].content
            assert earlier is not None
            if content(earlier) != content(command):
                error = invalid("key", command.key, "an earlier row has this key and different content")
                raise error.in_row(row or 0, effect="Nothing was recorded.")
            return
        try:
            done.new[checkpoint_id] = _New(row or 0, command.key, command, command.encoded(study_id, checkpoint_id, _written_now()))
        except InvalidInputError as error:
            raise error if row is None else error.in_row(row, effect="Nothing was recorded.") from None

    def outcome(self, error: OutcomeUnknownError) -> Study | Checkpoint | RecordedCheckpoints:
        """See `EvalKit.outcome`."""
        with self._engine.lock:
            pairs = zip(error.positions, error.event_ids, strict=True)
            messages = [self._outcomes.message_at(position, event_id) for position, event_id in pairs]
            decisions = self._outcomes.of(error.study_id, messages, error.positions)
            new = {}
            for row, message in enumerate(messages):
                event = StoredEvalEvent.from_wire(message.data).event
                new[getattr(event, "id", message.event_id)] = _New(
                    row, None, event if isinstance(event, CheckpointRecorded) else None, message
                )
            stored = self._settled(error.study_id, new, decisions)
            if any(appended.content is None for appended in new.values()):
                return self._study(error.study_id)
            if len(new) == 1:
                return _Recording(list(new), stored, new).checkpoint(*new)
            return RecordedCheckpoints(len(new) - len(stored), len(stored), tuple(new))

    def recordable(self, reference: Study | str) -> Study:
        """Return the study that matches a reference.

        Raises
        ------
        TransitionError
            When the study was never started, so that no checkpoint can be recorded in it.
        """
        study = self.studies.resolve(reference)
        if study.started_at is None:
            problem = f"Cannot record in study {study.name!r}: it"
            message = (
                Message(problem=f"{problem} is pending (must be running, paused or stopped)", **_calls("Start it with", "start", study))
                if study.status is StudyStatus.PENDING
                else Message(problem=f"{problem} is stopped and was never started", hint="Create another study.")
            )
            raise TransitionError(message, study_id=study.id, status=study.status.value, command="record_checkpoint")
        return study

    def _append(self, event: EncodedEvent) -> Decision:
        return self._outcomes.append(event.study_id, [event])[event.event_id]

    def _settled(self, study_id: str, new: Mapping[str, _New], decisions: dict[str, Decision]) -> dict[str, Checkpoint]:
        """Return the checkpoints that another process recorded first with the same content.

        Raises
        ------
        ConflictError
            When an event had no effect for another reason.
        """
        ineffective = {key: appended for key, appended in new.items() if decisions[appended.encoded.event_id] is not APPLIED}
        stored = self._checkpoints(study_id, list(ineffective))
        for checkpoint_id, appended in ineffective.items():
            event = appended.encoded
            if appended.content is None or checkpoint_id not in stored:
                raise self._conflict(event, decisions[event.event_id])
            if content(stored[checkpoint_id]) != content(appended.content):
                raise self._different_content(study_id, appended.key, where="Conflict: ", event_id=event.event_id)
        return stored

    def _conflict(self, event: EncodedEvent, decision: Decision) -> ConflictError:
        study = self._stored.get_study(event.study_id)
        problem = f"Conflict: a concurrent command was applied first ({decision.message})"
        effect = "This event is in the log but had no effect."
        message = Message(problem=problem) if study is None else _with_next_step(f"{problem}; the study is {study.status}", study)
        return ConflictError(
            message, effect=effect, study_id=event.study_id, event_id=event.event_id, reason=str(decision.reason or decision.outcome)
        )

    @staticmethod
    def _different_content(
        study_id: str, key: str | None, *, where: str = "", event_id: str | None = None, row: int | None = None
    ) -> ConflictError:
        name = "this checkpoint's id" if key is None else f"key {key!r}"
        name = name if where else name[0].upper() + name[1:]
        message = Message(
            where=where, problem=f"{name} was already used for a checkpoint with different content",
            effect="The recorded checkpoint is unchanged.", hint="Use a new key to record this one as well.",
        )  # fmt: skip
        return ConflictError(message, study_id=study_id, event_id=event_id, reason="checkpoint id taken", row=row)

    def _study(self, study_id: str) -> Study:
        study = self._stored.get_study(study_id)
        assert study is not None
        return study

    def _checkpoints(self, study_id: str, checkpoint_ids: Sequence[str]) -> dict[str, Checkpoint]:
        if not checkpoint_ids:
            return {}
        return {checkpoint.id: checkpoint for checkpoint in self._stored.checkpoints_by_id(study_id, checkpoint_ids)}

    def _repeats(self, study: Study, commands: Sequence[RecordCheckpoint], *, several: bool) -> Message | None:
        """Return a warning about periods that have or get several checkpoints; None without any."""
        periods = [_stored_period(command) for command in commands]
        if not periods:
            return None
        sql = (
            "WITH candidates (began, ended) AS MATERIALIZED "
            "(SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)) "
            "SELECT began, ended FROM candidates WHERE EXISTS "
            "(SELECT 1 FROM checkpoints WHERE study_id = ? AND period_end = ended AND period_start = began)"
        )
        rows = in_parts(lambda part: self._engine.database.execute(sql, (json.dumps(part), study.id)), list(dict.fromkeys(periods)))
        stored = {(str(start), str(end)) for start, end in rows}
        counts = Counter(periods)
        duplicates = {period: count if period in stored else count - 1 for period, count in counts.items()}
        total = sum(duplicates.values())
        if not total:
            return None
        start, end = (text[:16].replace("T", " ") for text in next(period for period, count in duplicates.items() if count))
        recorded = "another one was recorded" if total == 1 else f"{total:,} duplicates were recorded"
        return Message(
            problem=f"Study {study.name!r} already has a checkpoint for [{start}, {end}) UTC; {recorded}",
            hint="Add a key to each row to avoid duplicates." if several else "Pass key= to avoid duplicates.",
            shell_hint="Add a 'key' column to avoid duplicates." if several else "Pass --key to avoid duplicates.",
        )


def _written_now() -> str:
    """Return the time of writing of an event that is appended now."""
    return stored_text(datetime.now(UTC))


def _in_rows(error: LogError, new: Sequence[_New]) -> LogError:
    """Return the error of a partly failed append, with the durable rows in its message."""
    durable = [appended.row for appended, position in zip(new, error.positions, strict=False) if position is not None]
    if not durable:
        return error
    keyed = all(appended.key is not None for appended in new)
    return LogUnavailableError(
        error.message.problem,
        effect=f"{len(durable):,} of {len(new):,} new rows are durable in the log: those up to row {durable[-1]}, counted from 0.",
        hint="Call again with the same rows and keys to record the rest."
        if keyed
        else f"The rows have no keys: check with kit.checkpoints() which rows from {durable[-1] + 1} on are recorded, and record only the "
        "others.",
        positions=error.positions, driver_message=error.driver_message,
    )  # fmt: skip


def _with_next_step(problem: str, study: Study) -> Message:
    commands = commands_allowed(study.status)
    if not commands:
        return Message(problem=problem, hint="A stopped study cannot be changed; create another one.")
    return Message(
        problem=problem,
        hint=f"Next: {' or '.join(f'kit.{command}_study({study.name!r})' for command in commands)}.",
        shell_hint=f"Next: {' or '.join(f'evalkit study {command} {shlex.quote(study.name)}' for command in commands)}",
    )


def _calls(before: str, command: str, study: Study) -> dict[str, str]:
    """Return hints to call a command."""
    return {
        "hint": f"{before} kit.{command}_study({study.name!r}).",
        "shell_hint": f"{before}: evalkit study {command} {shlex.quote(study.name)}",  # without a period, so that it can be pasted
    }


def _stored_period(command: RecordCheckpoint) -> tuple[str, str]:
    period = command.metrics.period
    return stored_text(period.start), stored_text(period.end)
