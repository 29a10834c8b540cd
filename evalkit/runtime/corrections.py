"""The handler that amends and retracts checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evalkit.domain import validation as checks
from evalkit.domain.commands import content
from evalkit.domain.corrections import amend_call, amended, amendment, changed_text, changes_of
from evalkit.domain.events import CheckpointAmended, CheckpointRetracted, EncodedEvent, StoredEvalEvent
from evalkit.domain.ids import new_id
from evalkit.domain.refusals import invalid, shown
from evalkit.domain.study import Checkpoint
from evalkit.errors import ConflictError, InvalidInputError, Message
from evalkit.readmodel.corrections import Correction
from evalkit.readmodel.fold import APPLIED, Decision, Reason
from evalkit.runtime.checkpoint_references import CheckpointReferences
from evalkit.runtime.commands import CommandHandler, written_now
from evalkit.runtime.engine import Engine

__all__ = ["CorrectionHandler", "correction_text"]


def correction_text(correction: Correction) -> str:
    """Return the author, time and reason of a correction.

    For example: ``by 'ada' on 2026-01-31 08:00 UTC, reason: 'wrong invoice'``.
    """
    author = "" if correction.event.author is None else f"by {correction.event.author!r} "
    return f"{author}on {correction.at:%Y-%m-%d %H:%M} UTC, reason: {shown(correction.event.reason)}"


class CorrectionHandler(CommandHandler):
    """The handler of the commands that amend and retract checkpoints."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._references = CheckpointReferences(self._stored, self.studies)

    def amend(
        self,
        reference: object,
        metrics: object,
        *,
        events_analyzed: object,
        sessions_included: Iterable[str] | None,
        provenance: object,
        reason: object,
        author: object,
    ) -> Checkpoint:
        """See `EvalKit.amend_checkpoint`."""
        options = {"events_analyzed": events_analyzed, "sessions_included": sessions_included, "provenance": provenance}
        values = _changes(metrics, {name: value for name, value in options.items() if value is not None})
        because, writer = checks.check_text("reason", reason, low=1, high=1000, lines=True), self._author(author)
        with self._engine.command():
            checkpoint, corrections = self._references.latest(reference)
            if checkpoint.retracted:
                raise self._overtaken(checkpoint, corrections, seen=checkpoint.revision)
            event = amendment(checkpoint, values, self._stored.get_metrics(checkpoint.study_id), reason=because, author=writer)
            if event is None:
                return checkpoint.model_copy(update={"already_recorded": True})
            if isinstance(reference, Checkpoint) and reference.revision < checkpoint.revision:
                raise self._overtaken(checkpoint, corrections, seen=reference.revision, event=event)
            encoded = StoredEvalEvent(event_id=new_id(), event=event).encoded(written_now())
            return self.corrected(event, encoded, self._append(encoded))

    def retract(self, reference: object, *, reason: object, author: object) -> Checkpoint:
        """See `EvalKit.retract_checkpoint`."""
        because, writer = checks.check_text("reason", reason, low=1, high=1000, lines=True), self._author(author)
        with self._engine.command():
            checkpoint, _ = self._references.latest(reference)
            if checkpoint.retracted:
                return checkpoint
            event = CheckpointRetracted(
                type="checkpoint_retracted", study_id=checkpoint.study_id, checkpoint_id=checkpoint.id, reason=because,
                **({} if writer is None else {"author": writer}),
            )  # fmt: skip
            encoded = StoredEvalEvent(event_id=new_id(), event=event).encoded(written_now())
            return self.corrected(event, encoded, self._append(encoded))

    def corrected(self, event: CheckpointAmended | CheckpointRetracted, encoded: EncodedEvent, decision: Decision) -> Checkpoint:
        """Return the latest version after an appended correction.

        Raises
        ------
        ConflictError
            When another correction was applied first, and the checkpoint does not have the values of this one.
        """
        versions, corrections = self._stored.versions(event.study_id, [event.checkpoint_id])
        checkpoint = versions.get(event.checkpoint_id)
        if decision is APPLIED and checkpoint is not None:
            return checkpoint
        if checkpoint is None or decision.reason not in (Reason.AMENDED_MEANWHILE, Reason.CHECKPOINT_RETRACTED):
            raise self._conflict(encoded, decision)
        assert isinstance(event, CheckpointAmended)  # retractions are never rejected for these reasons
        after = amended(checkpoint, event)
        if not checkpoint.retracted and (content(after), after.provenance) == (content(checkpoint), checkpoint.provenance):
            return checkpoint  # another process amended it to the same values
        raise self._overtaken(checkpoint, corrections[checkpoint.id], seen=event.revision, event=event, event_id=encoded.event_id)

    def _overtaken(
        self,
        checkpoint: Checkpoint,
        corrections: Sequence[Correction],
        *,
        seen: int,
        event: CheckpointAmended | None = None,
        event_id: str | None = None,
    ) -> ConflictError:
        """Return the error for an amendment after a retraction or other amendments.

        `seen` is the version that the author of the amendment saw.
        """
        last = next(c for c in corrections if isinstance(c.event, CheckpointRetracted)) if checkpoint.retracted else corrections[-1]
        study, effect = self._study(checkpoint.study_id), "Nothing was appended."
        if event_id is not None:
            effect = "This event is in the log but had no effect."
        amendments = [c.event for c in corrections if isinstance(c.event, CheckpointAmended)]
        changes: dict[str, Any] = {}
        for later in amendments[seen:]:
            changes |= changes_of(later)
        values: dict[str, Any] = {
            "study_id": checkpoint.study_id, "event_id": event_id, "checkpoint": checkpoint, "changes": changes,
            "explanation": last.event.reason, "author": last.event.author,
        }  # fmt: skip
        named = f"{checkpoint.id} of study {study.name!r}"
        if checkpoint.retracted:
            message = Message(
                problem=f"Cannot amend checkpoint {named}: it was retracted {correction_text(last)}", effect=effect,
                hint="Record the period again, with a new key.",
            )  # fmt: skip
            return ConflictError(message, reason=str(Reason.CHECKPOINT_RETRACTED), **values)
        message = Message(
            problem=f"Conflict: checkpoint {named} was amended meanwhile {correction_text(last)}; now {changed_text(changes)}",
            effect=effect,
            hint=f"To amend the latest version: {amend_call(checkpoint.id, {} if event is None else changes_of(event))}.",
            shell_hint=f"To amend the latest version: evalkit checkpoint amend {checkpoint.id} NAME=VALUE --reason TEXT",
        )  # fmt: skip
        return ConflictError(message, reason=str(Reason.AMENDED_MEANWHILE), **values)


def _changes(metrics: object, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the changed values in one mapping."""
    if metrics is not None and not isinstance(metrics, Mapping):
        raise invalid("metrics", metrics, 'expected a mapping of the changed metrics, e.g. {"total_cost": 2.5}; None withdraws a value')
    for name in options:
        if metrics is not None and name in metrics:
            raise invalid(name, options[name], f"passed twice, the metrics contain {shown(metrics[name])}", hint="Pass it once.")
    values = {**(metrics or {}), **options}
    if not values:
        raise InvalidInputError(
            "Nothing to amend",
            hint='Pass the changed metrics, e.g. {"total_cost": 2.5}, or events_analyzed=, sessions_included= or provenance=.',
            shell_hint="Pass the changed values, e.g. total_cost=2.5.", field="metrics", value=metrics,
        )  # fmt: skip
    return values
