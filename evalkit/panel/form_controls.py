"""Connection of the sections and their forms with the model and the kit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from evalkit._util.text import plural
from evalkit.panel.commands import Commands, Outcome
from evalkit.panel.correction_form import period_text
from evalkit.panel.correction_section import CorrectionSection
from evalkit.panel.form_sections import EditSection, NewStudySection, NoteSection, RecordSection
from evalkit.panel.reading import PanelKit
from evalkit.panel.screen import Screen
from evalkit.panel.study_forms import StudyForm

if TYPE_CHECKING:
    from evalkit.domain.study import Checkpoint
    from evalkit.panel.correction_form import CheckpointChoice, CorrectionForm
    from evalkit.panel.drafts import Drafts

__all__ = ["FormControls"]


class FormControls:
    """Connect the sections of a screen with the model and the kit.

    Parameters
    ----------
    screen, kit, commands
        The screen, its kit, and the runner of its commands.
    on_click
        Connects a button with an action, and with a function that moves the focus.
    """

    def __init__(self, screen: Screen, kit: PanelKit, commands: Commands, on_click: Callable[..., None]) -> None:
        self._screen = screen
        self._model = screen.model
        self._kit = kit
        self._commands = commands
        self._on_click = on_click
        sections = screen.view.sections
        sections.on_create("study", self._connect_study)
        sections.on_create("checkpoint", self._connect_checkpoint)
        sections.on_create("note", self._connect_note)
        sections.on_create("correction", self._connect_correction)
        sections.on_create("edit", self._connect_edit)
        for name, heading in sections.headings.items():
            self._connect_heading(name, heading)

    def _on_value(self, widget: Any, apply: Callable[[Any], object]) -> None:
        widget.observe(lambda change: self._screen.change_form(lambda: apply(change["new"])), "value")

    def _connect_heading(self, name: str, heading: Any) -> None:
        self._on_value(heading, lambda opened: self._screen.view.sections.open(name if opened else None))

    def _connect_study(self, section: NewStudySection) -> None:
        model = self._model
        section.form.on_input(lambda name, text: self._screen.change_form(lambda: model.study_form.set_text(name, text)))
        self._on_click(section.form.button, self._create)

    def _connect_checkpoint(self, section: RecordSection) -> None:
        section.form.on_input(lambda name, text: self._type("checkpoint", name, text))
        self._connect_find(section.form.custom)
        self._on_click(section.form.button, self._record)

    def _connect_note(self, section: NoteSection) -> None:
        section.form.on_input(lambda name, text: self._type("note", name, text))
        self._on_click(section.form.button, self._add_note)

    def _connect_edit(self, section: EditSection) -> None:
        section.form.on_input(lambda name, text: self._type("edit", name, text))
        self._on_click(section.conflict.accept, self._accept_edits, section.form.button.focus)
        self._on_click(section.form.button, self._edit)
        self._on_click(section.archive, self._archive)

    def _connect_correction(self, section: CorrectionSection) -> None:
        section.form.on_input(lambda name, text: self._screen.change_form(lambda: self._correct(lambda form: form.set_text(name, text))))
        self._connect_find(section.form.custom)
        self._on_value(section.search, lambda text: self._choose(lambda choice: choice.find(text)))
        self._on_value(section.choice, lambda checkpoint_id: self._choose(lambda choice: choice.select(checkpoint_id)))
        self._on_click(section.conflict.accept, lambda: self._correct(lambda form: form.accept_latest()), section.form.button.focus)
        self._on_click(section.form.button, self._amend)
        confirm, cancel = section.confirm, section.cancel
        self._on_click(section.retract, lambda: self._correct(lambda form: form.request_retraction()), cancel.focus)
        self._on_click(cancel, lambda: self._correct(lambda form: form.withdraw_retraction()), section.retract.focus)
        self._on_click(confirm, self._retract, section.choice.focus)

    def _connect_find(self, custom: Any) -> None:
        self._on_value(custom.find, lambda _: None)

    def _type(self, form: str, name: str, text: str) -> None:
        def act() -> None:
            if self._model.drafts is not None:
                getattr(self._model.drafts, form).set_text(name, text)

        self._screen.change_form(act)

    def _accept_edits(self) -> None:
        if self._model.drafts is not None:
            self._model.drafts.edit.accept_latest()

    def _choose(self, act: Callable[[CheckpointChoice], object]) -> None:
        if self._model.drafts is not None:
            act(self._model.drafts.correction)

    def _correct(self, act: Callable[[CorrectionForm], object]) -> None:
        if (correction := self._correction()) is not None:
            act(correction[1])

    def _typed(self) -> tuple[str, str, Drafts] | None:
        """Return the id and the name of the selected study, and what was typed for it."""
        study, drafts = self._model.study, self._model.drafts
        return None if study is None or drafts is None else (study["study_id"], study["name"], drafts)

    def _correction(self) -> tuple[CheckpointChoice, CorrectionForm] | None:
        """Return the choice of a checkpoint to correct, and the form of the chosen one."""
        choice = None if self._model.drafts is None else self._model.drafts.correction
        return None if choice is None or choice.form is None else (choice, choice.form)

    # --- commands -----------------------------------------------------------------------------------------------------------------

    def _create(self) -> None:
        model = self._model
        command = model.study_form.command()
        period = command.period_type if command.period_value is None else (command.period_type, command.period_value)
        config = command.config

        def create() -> Outcome:
            study = self._kit.create_study(
                command.name, period=period, description=config.description, tags=config.tags, metadata=config.metadata
            )

            def show() -> None:
                model.study_form = StudyForm()
                model.show_new(study.id)

            return Outcome(f"Study {study.name!r} created (pending). Press Start to begin.", show)

        self._commands.run(f"Creating {command.name!r}…", create, "study")

    def _record(self) -> None:
        if (typed := self._typed()) is None:
            return
        study_id, name, drafts = typed
        values, _ = drafts.checkpoint.values()

        def record() -> Outcome:
            checkpoint = self._kit.record_checkpoint(study_id, values)
            repeated = " It had already been recorded with the same key." if checkpoint.already_recorded else ""
            count = plural(len(checkpoint.metrics.measured()), "metric")
            text = f"Recorded {count} for {name!r}, {_period_of(checkpoint)}.{repeated}"
            return Outcome(text, lambda: self._model.discard_draft(study_id, "checkpoint"))

        self._commands.run(f"Recording a checkpoint for {name!r}…", record, "checkpoint")

    def _add_note(self) -> None:
        if (typed := self._typed()) is None:
            return
        study_id, name, drafts = typed
        values, _ = drafts.note.values()

        def add() -> Outcome:
            note = self._kit.note(study_id, **values)
            text = f"Added a note to {name!r}, {note.at:%Y-%m-%d %H:%M} UTC, {note.category}."
            return Outcome(text, lambda: self._model.discard_draft(study_id, "note"))

        self._commands.run(f"Adding a note to {name!r}…", add, "note")

    def _edit(self) -> None:
        if (typed := self._typed()) is None:
            return
        study_id, name, drafts = typed
        new, values, _ = drafts.edit.changes()

        def edit() -> Outcome:
            done = []
            if new is not None:  # first, because another study can have the name
                self._kit.rename_study(study_id, new)
                done.append(f"Renamed {name!r} to {new!r}.")
            if values:
                self._kit.edit_study(study_id, **values)
                done.append(f"Changed the {' and '.join(values)} of {new or name!r}.")
            return Outcome(" ".join(done), lambda: self._model.discard_draft(study_id, "edit"))

        self._commands.run(f"Changing {name!r}…", edit, "edit")

    def _archive(self) -> None:
        study = self._model.study
        if study is None:
            return
        change, verb, hint = self._kit.archive_study, "Archived", ' Choose the status "Archived" to list it.'
        if study["archived"]:
            change, verb, hint = self._kit.unarchive_study, "Restored", ""

        def archive() -> Outcome:
            change(study["study_id"])
            return Outcome(f"{verb} {study['name']!r}.{hint}")

        self._commands.run(f"Changing {study['name']!r}…", archive, "edit")

    def _amend(self) -> None:
        if (correction := self._correction()) is None:
            return
        choice, form = correction
        (values, _), (reason, author, _), checkpoint = form.changes(), form.about(), form.checkpoint()
        options: dict[str, Any] = {name: values.pop(name) for name in ("events_analyzed", "sessions_included") if name in values}
        count = plural(len(values) + len(options), "value")

        def amend() -> Outcome:
            amended = self._kit.amend_checkpoint(checkpoint, values, reason=reason, author=author, **options)
            text = f"Amended {count} of the checkpoint {_period_of(amended)} (now revision {amended.revision})."
            if amended.already_recorded:
                text = f"Nothing was amended: the checkpoint {_period_of(amended)} already has these values."
            return Outcome(text, lambda: choice.discard(checkpoint.id))

        self._commands.run(f"Amending the checkpoint {_period_of(checkpoint)}…", amend, "correction")

    def _retract(self) -> None:
        if (correction := self._correction()) is None:
            return
        choice, form = correction
        if not (form.confirming and form.can_retract):
            return
        (reason, author, _), checkpoint = form.about(), form.checkpoint()
        form.withdraw_retraction()

        def retract() -> Outcome:
            self._kit.retract_checkpoint(checkpoint, reason=reason, author=author)
            return Outcome(f"Retracted the checkpoint {_period_of(checkpoint)}.", lambda: choice.discard(checkpoint.id))

        self._commands.run(f"Retracting the checkpoint {_period_of(checkpoint)}…", retract, "correction")


def _period_of(checkpoint: Checkpoint) -> str:
    return period_text(checkpoint.metrics.period.start, checkpoint.metrics.period.end)
