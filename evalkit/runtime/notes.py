"""The handler that adds notes."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from evalkit.domain.events import EncodedEvent, NoteAdded, StoredEvalEvent
from evalkit.domain.ids import new_id
from evalkit.domain.notes import Note, checked_note, note_id, note_of
from evalkit.domain.study import Study
from evalkit.readmodel.fold import APPLIED, Decision, Reason
from evalkit.runtime.commands import CommandHandler, written_now

__all__ = ["NoteHandler"]


class NoteHandler(CommandHandler):
    """The handler of the command that adds a note."""

    def add(
        self, reference: Study | str, text: object, *, at: object, until: object, category: object, author: object, tz: str | tzinfo | None
    ) -> Note:
        """See `EvalKit.note`."""
        content, first, last, kind = checked_note(text, at=at, until=until, category=category, tz=tz, now=datetime.now(UTC))
        writer = self._author(author)
        with self._engine.command():
            study = self.studies.resolve(reference)
            event = NoteAdded(
                type="note_added", study_id=study.id, id=note_id(study.id, (first, last, kind, content)), at=first, until=last,
                category=kind, text=content, **({} if writer is None else {"author": writer}),
            )  # fmt: skip
            existing = self._stored.get_note(study.id, event.id)
            if existing is not None:
                return existing
            encoded = StoredEvalEvent(event_id=new_id(), event=event).encoded(written_now())
            return self.added(event, encoded, self._append(encoded))

    def added(self, event: NoteAdded, encoded: EncodedEvent, decision: Decision) -> Note:
        """Return the note of an appended event, or the same note that another process added first."""
        if decision is APPLIED:
            return note_of(event)
        existing = self._stored.get_note(event.study_id, event.id) if decision.reason is Reason.NOTE_ID_TAKEN else None
        if existing is None:
            raise self._conflict(encoded, decision)
        return existing
