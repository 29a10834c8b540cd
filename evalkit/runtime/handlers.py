"""The handlers of all commands of a kit; this module has those about studies."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from evalkit._util.text import alternatives
from evalkit.domain.commands import lifecycle_event
from evalkit.domain.definitions import Metric
from evalkit.domain.events import CheckpointAmended, CheckpointRecorded, CheckpointRetracted, NoteAdded, StoredEvalEvent
from evalkit.domain.ids import event_milliseconds, milliseconds, time_of_event
from evalkit.domain.notes import Note
from evalkit.domain.refusals import invalid
from evalkit.domain.study import COMMANDS, TRANSITIONS, Checkpoint, Study, StudyStatus
from evalkit.domain.time_input import check_at
from evalkit.domain.times import wire_time
from evalkit.errors import Message, OutcomeUnknownError, TransitionError
from evalkit.readmodel.fold import APPLIED
from evalkit.runtime.checkpoints import CheckpointHandler, RecordedCheckpoints
from evalkit.runtime.commands import CommandHandler, calls, with_next_step, written_now
from evalkit.runtime.corrections import CorrectionHandler
from evalkit.runtime.definitions import new_definitions
from evalkit.runtime.engine import Engine
from evalkit.runtime.notes import NoteHandler
from evalkit.runtime.study_changes import StudyChanges

__all__ = ["Handlers"]


class Handlers(CommandHandler):
    """The handlers of the commands of one engine."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.checkpoints = CheckpointHandler(engine)
        self.corrections = CorrectionHandler(engine)
        self.notes = NoteHandler(engine)
        self.study_changes = StudyChanges(engine)

    def define_metrics(self, reference: Study | str, metrics: Sequence[Metric]) -> None:
        """See `EvalKit.define_metric`."""
        with self._engine.command():
            study = self.studies.resolve(reference)
            self._define(study.id, new_definitions(study.name, self._stored.get_metrics(study.id), metrics))

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
                message = with_next_step(problem, study)
                if study.status is StudyStatus.PENDING:  # it cannot be paused or resumed
                    message = Message(problem=problem, **calls("Start it first with", "start", study))
                raise TransitionError(message, study_id=study.id, status=study.status.value, command=command)
            sql = "SELECT event_id FROM lifecycle WHERE study_id = ? ORDER BY seq DESC LIMIT 1"
            last_id = str(self._engine.database.execute(sql, (study.id,))[0][0])
            last = event_milliseconds(last_id)
            if moment is not None and milliseconds(moment) < last:
                raise invalid("at", at, f"before the study's last lifecycle event ({wire_time(time_of_event(last_id))})")
            # Without `at`, use the current time, or the time of the last event if the clock of its writer is ahead.
            event = lifecycle_event(kind, study.id, max(milliseconds(now), last) if moment is None else milliseconds(moment))
            encoded = event.encoded(written_now())
            if (decision := self._append(encoded)) is not APPLIED:
                raise self._conflict(encoded, decision)
            return self._study(study.id)

    def outcome(self, error: OutcomeUnknownError) -> Study | Checkpoint | RecordedCheckpoints | Note:
        """See `EvalKit.outcome`."""
        with self._engine.lock:
            pairs = zip(error.positions, error.event_ids, strict=True)
            messages = [self._outcomes.message_at(position, event_id) for position, event_id in pairs]
            decisions = self._outcomes.of(error.study_id, messages, error.positions)
            event = StoredEvalEvent.from_wire(messages[0].data).event
            if isinstance(event, CheckpointRecorded):
                return self.checkpoints.recorded(error.study_id, messages, decisions)
            if isinstance(event, CheckpointAmended | CheckpointRetracted):
                return self.corrections.corrected(event, messages[0], decisions[messages[0].event_id])
            if isinstance(event, NoteAdded):
                return self.notes.added(event, messages[0], decisions[messages[0].event_id])
            for message in messages:
                if decisions[message.event_id] is not APPLIED:
                    raise self._conflict(message, decisions[message.event_id])
            return self._study(error.study_id)
