"""The sections that create a study, record a checkpoint, add a note, and edit a study."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from evalkit._util.text import plural
from evalkit.panel.checkpoint_form import CHECKPOINT_FIELDS, custom_fields
from evalkit.panel.form_view import ConflictRow, FormView
from evalkit.panel.note_form import NOTE_FIELDS
from evalkit.panel.study_forms import EDIT_FIELDS, STUDY_FIELDS
from evalkit.panel.traits import set_trait

if TYPE_CHECKING:
    import polars as pl

    from evalkit.panel.model import PanelModel

__all__ = ["NO_STUDY", "EditSection", "NewStudySection", "NoteSection", "RecordSection"]

NO_STUDY = "Select or create a study first."
_NEW_STUDY_NOTE = "A new study is pending until you start it. The number of planned periods is informative; it is not enforced."
_LISTED_NOTES = 10
_FIXED = "The {} cannot be written in a field, because of a comma or a line break; change them with kit.edit_study()."


class NewStudySection:
    """The form that creates a study."""

    def __init__(self) -> None:
        self.form = FormView(STUDY_FIELDS, "Create study")
        self.box = self.form.box

    def show(self, model: PanelModel) -> None:
        """Show the form."""
        form, note = model.study_form, model.read_only or _NEW_STUDY_NOTE
        self.form.show(form.texts, form.problems(), sendable=model.can_create, editable=model.can_write, note=note)


class RecordSection:
    """The form that records a checkpoint."""

    def __init__(self) -> None:
        self.form = FormView(CHECKPOINT_FIELDS, "Record", custom_before="Source")
        self.box = self.form.box

    def show(self, model: PanelModel) -> None:
        """Show the form of the selected study."""
        drafts, study = model.drafts, model.study
        refusal = model.read_only or model.why_not_recordable
        if drafts is None or study is None:
            self.form.show({}, {}, sendable=False, editable=False, note=refusal or NO_STUDY)
            return
        form, note = drafts.checkpoint, refusal or f"Study: {study['name']}. Leave unmeasured metrics blank."
        if model.period_is_recorded():
            note += " This period already has a checkpoint; recording adds a duplicate."
        self.form.show(
            form.texts, form.problems(), sendable=model.can_record, editable=model.can_write and refusal is None, note=note,
            custom=custom_fields(form.definitions),
        )  # fmt: skip


class NoteSection:
    """The form that adds a note, and the newest notes."""

    def __init__(self) -> None:
        self.form = FormView(NOTE_FIELDS, "Add note")
        self._notes = widgets.HTML().add_class("evalkit-history")
        self.box = widgets.VBox([self.form.box, self._notes])

    def show(self, model: PanelModel) -> None:
        """Show the form and the notes of the selected study."""
        drafts, study, frames = model.drafts, model.study, model.study_frames()
        set_trait(self._notes, "value", "" if frames is None else notes_html(frames.notes))
        if drafts is None or study is None:
            self.form.show({}, {}, sendable=False, editable=False, note=model.read_only or NO_STUDY)
            return
        form, problems = drafts.note, drafts.note.problems()
        note = model.read_only or f"Study: {study['name']}. A note records what happened outside of the study, such as a new model."
        sendable = model.can_write and form.touched and not problems
        self.form.show(form.texts, problems, sendable=sendable, editable=model.can_write, note=note)


def notes_html(notes: pl.DataFrame) -> str:
    """Return a table of the newest notes; its caption has the number of the others."""
    if notes.is_empty():
        return ""
    rows = []
    for note in reversed(notes.tail(_LISTED_NOTES).to_dicts()):
        until = "" if note["until"] is None else f" to {note['until']:%Y-%m-%d %H:%M}"
        texts = (f"{note['at']:%Y-%m-%d %H:%M}{until}", note["category"], note["text"], note["author"] or "")
        rows.append(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in texts)}</tr>")
    omitted = notes.height - len(rows)
    caption = f"Notes, newest first ({plural(omitted, 'older one')} omitted)" if omitted else "Notes, newest first"
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Time (UTC)", "Category", "Note", "Author"))
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


class EditSection:
    """The form that renames and edits a study, and the button that archives it."""

    def __init__(self) -> None:
        self.conflict = ConflictRow("Continue with my changes")
        self.form = FormView(EDIT_FIELDS, "Save changes")
        self.archive = widgets.Button(description="Archive study", disabled=True)
        self._about = widgets.HTML().add_class("evalkit-reason")
        actions = widgets.HBox([self.archive, self._about]).add_class("evalkit-submit").add_class("evalkit-more")
        self.box = widgets.VBox([self.conflict.box, self.form.box, actions])

    def show(self, model: PanelModel) -> None:
        """Show the form of the selected study."""
        drafts, study = model.drafts, model.study
        set_trait(self.archive, "disabled", drafts is None or study is None or not model.can_write)
        if drafts is None or study is None:
            self.form.show({}, {}, sendable=False, editable=False, note=model.read_only or NO_STUDY)
            self.conflict.show("", editable=False)
            set_trait(self._about, "value", "")
            return
        form = drafts.edit
        (new, values, problems), conflicts = form.changes(), form.conflicts()
        meanwhile = f"{'; '.join(conflicts)} meanwhile" if conflicts and model.busy is None else ""  # not while own changes are being read
        self.conflict.show(meanwhile, editable=model.can_write)
        fixed = form.fixed
        note = model.read_only or f"Study: {study['name']}. {_FIXED.format(' and '.join(sorted(fixed))) if fixed else ''}"
        sendable = model.can_write and not problems and not conflicts and (new is not None or bool(values))
        self.form.show(form.texts, problems, sendable=sendable, editable=model.can_write, note=note, fixed=fixed)
        archived: Any = study["archived"]
        set_trait(self.archive, "description", "Restore study" if archived else "Archive study")
        about = (
            "The study is archived: it is left out of lists." if archived else "An archived study is left out of lists; its data is kept."
        )
        set_trait(self._about, "value", about)
