"""The forms of one study, with what was typed in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalkit.panel.checkpoint_form import CheckpointForm, cadence_of, proposed_period
from evalkit.panel.correction_form import CheckpointChoice
from evalkit.panel.note_form import NoteForm
from evalkit.panel.study_forms import EditForm

if TYPE_CHECKING:
    from evalkit.panel.content import Content

__all__ = ["Drafts"]


class Drafts:
    """The forms of one study. They are kept when another study is selected.

    Parameters
    ----------
    content
        The latest content of the kit.
    study_id
        The id of the study.
    """

    def __init__(self, content: Content, study_id: str) -> None:
        self._study_id = study_id
        self.note = NoteForm()
        self.edit = EditForm(content.studies[study_id])
        self.correction = CheckpointChoice()
        self._discard_checkpoint(content)
        self.follow(content)

    def _discard_checkpoint(self, content: Content) -> None:
        study = content.studies[self._study_id]
        self.checkpoint = CheckpointForm(*proposed_period(study), cadence_of(study))

    def follow(self, content: Content) -> None:
        """Follow newer content; typed text is kept."""
        study, definitions = content.studies[self._study_id], content.definitions.get(self._study_id, {})
        self.checkpoint.cadence, self.checkpoint.definitions = cadence_of(study), definitions
        self.checkpoint.propose(*proposed_period(study))
        self.edit.follow(study)
        self.correction.follow(lambda: content.of_study(self._study_id).checkpoints, definitions)

    def discard(self, form: str, content: Content) -> None:
        """Clear a form after its command: ``"checkpoint"``, ``"note"`` or ``"edit"``."""
        if form == "checkpoint":
            self._discard_checkpoint(content)
        elif form == "note":
            self.note = NoteForm()
        else:
            self.edit = EditForm(content.studies[self._study_id])
        self.follow(content)
