"""What all command handlers share: the engine, its queries, and the errors of lost races."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime

from evalkit.domain import validation as checks
from evalkit.domain.definitions import Metric
from evalkit.domain.events import EncodedEvent, MetricDefined, StoredEvalEvent
from evalkit.domain.ids import event_id_at, milliseconds
from evalkit.domain.study import Study, commands_allowed
from evalkit.domain.times import stored_text
from evalkit.errors import ConflictError, Message
from evalkit.readmodel.command_queries import CommandQueries
from evalkit.readmodel.fold import APPLIED, Decision
from evalkit.readmodel.repository import References, calls
from evalkit.runtime.engine import Engine
from evalkit.runtime.outcomes import Outcomes

__all__ = ["CommandHandler", "calls", "with_next_step", "written_now"]


class CommandHandler:
    """The base class of the handlers of one engine.

    A handler checks a command against the read model, appends its events, reads their effect and returns the result.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._outcomes = Outcomes(engine)
        # The engine has brought the read model up to date before these queries.
        self._stored = CommandQueries(engine.database, lambda: not engine.holds_nothing)
        self.studies = References(self._stored, engine.settings.home)

    def _append(self, event: EncodedEvent) -> Decision:
        return self._outcomes.append(event.study_id, [event])[event.event_id]

    def _conflict(self, event: EncodedEvent, decision: Decision) -> ConflictError:
        study = self._stored.get_study(event.study_id)
        problem = f"Conflict: a concurrent command was applied first ({decision.message})"
        effect = "This event is in the log but had no effect."
        message = Message(problem=problem) if study is None else with_next_step(f"{problem}; the study is {study.status}", study)
        return ConflictError(
            message, effect=effect, study_id=event.study_id, event_id=event.event_id, reason=str(decision.reason or decision.outcome)
        )

    def _study(self, study_id: str) -> Study:
        study = self._stored.get_study(study_id)
        assert study is not None
        return study

    def _define(self, study_id: str, metrics: Sequence[Metric]) -> None:
        """Append the definitions of metrics."""
        if not metrics:
            return
        now = datetime.now(UTC)
        events = [
            StoredEvalEvent(
                event_id=event_id_at(milliseconds(now)), event=MetricDefined(type="metric_defined", study_id=study_id, metric=metric)
            ).encoded(stored_text(now))
            for metric in metrics
        ]
        decisions = self._outcomes.append(study_id, events)
        for event in events:
            if decisions[event.event_id] is not APPLIED:
                raise self._conflict(event, decisions[event.event_id])

    def _author(self, author: object) -> str | None:
        """Return the checked author of a correction or note; by default that of the settings."""
        return self._engine.settings.author if author is None else checks.check_text("author", author, low=1, high=200)


def written_now() -> str:
    """Return the time of writing of an event that is appended now."""
    return stored_text(datetime.now(UTC))


def with_next_step(problem: str, study: Study) -> Message:
    """Return a message with the commands that are allowed next."""
    commands = commands_allowed(study.status)
    if not commands:
        return Message(problem=problem, hint="A stopped study cannot be changed; create another one.")
    return Message(
        problem=problem,
        hint=f"Next: {' or '.join(f'kit.{command}_study({study.name!r})' for command in commands)}.",
        shell_hint=f"Next: {' or '.join(f'evalkit study {command} {shlex.quote(study.name)}' for command in commands)}",
    )
