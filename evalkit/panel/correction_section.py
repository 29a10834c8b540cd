"""The section that amends and retracts recorded checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import ipywidgets as widgets

from evalkit._util.text import plural
from evalkit.panel.checkpoint_form import custom_fields
from evalkit.panel.correction_form import CORRECTION_FIELDS, LISTED, CheckpointChoice, CorrectionForm, Version, period_text, versions_of
from evalkit.panel.form_sections import NO_STUDY
from evalkit.panel.form_view import ConflictRow, FormView
from evalkit.panel.traits import set_trait

if TYPE_CHECKING:
    from evalkit.panel.model import PanelModel

__all__ = ["CorrectionSection", "versions_html"]

_NOTE = "Change values and enter a reason. A value that you clear is withdrawn. The recorded values stay in the log."
_LISTED_VERSIONS = 20


class CorrectionSection:
    """A checkpoint to choose, its versions, and the form that amends or retracts it."""

    def __init__(self) -> None:
        self.search = widgets.Text(description="Find a period", placeholder="e.g. 2026-01")
        self.choice = widgets.Dropdown(description="Checkpoint")
        self._found = widgets.HTML().add_class("evalkit-note")
        chooser = widgets.Box([self.search, self.choice, self._found]).add_class("evalkit-finder").add_class("evalkit-more")
        self._versions = widgets.HTML().add_class("evalkit-history")
        self.conflict = ConflictRow("Use latest version")
        self.form = FormView(CORRECTION_FIELDS, "Amend", custom_before="Source")
        self.retract = widgets.Button(description="Retract checkpoint", disabled=True)
        self.form.submit_row.children = (self.form.button, self.retract, self.form.feedback)
        self._question = widgets.HTML()
        self.confirm = widgets.Button(description="Retract permanently", button_style="danger")
        self.cancel = widgets.Button(description="Keep checkpoint")
        self._confirmation = widgets.HBox([self._question, self.confirm, self.cancel]).add_class("evalkit-confirmation")
        self.box = widgets.VBox([chooser, self._versions, self.conflict.box, self.form.box, self._confirmation])

    def show(self, model: PanelModel) -> None:
        """Show the selected checkpoint of the selected study."""
        drafts, study = model.drafts, model.study
        correction = None if drafts is None else drafts.correction.form
        if drafts is None or study is None or correction is None:
            self._show_nothing(model.read_only or (NO_STUDY if study is None else "The study has no checkpoints yet."))
            return
        choice, editable = drafts.correction, model.can_write and not drafts.correction.retracted
        self._show_choice(choice)
        frames = model.latest_frames()
        versions = [] if frames is None else versions_of(frames.amendments, correction.row["checkpoint_id"], correction.definitions)
        set_trait(self._versions, "value", versions_html(versions))
        conflict = correction.amended_meanwhile and model.busy is None  # not while an own amendment is being read
        self.conflict.show(_changes_since(correction, versions) if conflict else "", editable=editable)
        hint = "Use the latest version first." if correction.amended_meanwhile else "Enter a reason first."
        note = model.read_only or f"Study: {study['name']}. {_retracted(versions) if choice.retracted else _NOTE}"
        self.form.show(
            correction.texts, correction.problems(), sendable=editable and correction.can_amend, editable=editable, note=note,
            fixed=correction.fixed, custom=custom_fields(correction.definitions),
        )  # fmt: skip
        for button in (self.retract, self.confirm):
            set_trait(button, "disabled", not (editable and correction.can_retract))
            set_trait(button, "button_style", "danger" if editable and correction.can_retract else "")
            set_trait(button, "tooltip", "" if correction.can_retract else hint)
        confirming = correction.confirming and editable
        set_trait(self._confirmation.layout, "display", None if confirming else "none")
        period = period_text(correction.row["period_start"], correction.row["period_end"])
        question = f"Retract the checkpoint {period} permanently? It is left out everywhere, and its key cannot be used again."
        set_trait(self._question, "value", f'<div role="alert">{escape(question)}</div>' if confirming else "")

    def _show_nothing(self, note: str) -> None:
        set_trait(self.choice, "options", ())
        for control in (self.search, self.choice, self.retract):
            set_trait(control, "disabled", True)
        self.conflict.show("", editable=False)
        set_trait(self._confirmation.layout, "display", "none")
        for html in (self._versions, self._found):
            set_trait(html, "value", "")
        self.form.show({}, {}, sendable=False, editable=False, note=note)

    def _show_choice(self, choice: CheckpointChoice) -> None:
        options, found = tuple(choice.options()), len(choice.matching())
        set_trait(self.search, "disabled", False)
        set_trait(self.search, "value", choice.search)
        set_trait(self.choice, "disabled", False)
        set_trait(self.choice, "options", options)
        set_trait(self.choice, "value", choice.selected)
        matches = plural(found, "checkpoint") + (" found" if choice.search.strip() else "")
        newest = f", the newest {LISTED} are listed" if found > LISTED else ", newest first"
        set_trait(self._found, "value", escape(f"{matches}{newest if found else ''}."))


def _changes_since(form: CorrectionForm, versions: Sequence[Version]) -> str:
    since = [version for version in versions if version.revision is not None and form.base is not None and version.revision > form.base]
    changed = "; ".join(f"{'; '.join(version.changes)} ({_by(version)})" for version in reversed(since))
    return f"this checkpoint was amended meanwhile: {changed}"


def _by(version: Version) -> str:
    author = "" if version.author is None else f"by {version.author}, "
    return f"{author}reason: {version.reason}"


def _retracted(versions: Sequence[Version]) -> str:
    retraction = next((version for version in versions if version.revision is None), None)
    return "This checkpoint was retracted." if retraction is None else f"This checkpoint was retracted ({_by(retraction)})."


def versions_html(versions: Sequence[Version]) -> str:
    """Return a table of the newest corrections of a checkpoint; empty without corrections."""
    if not versions:
        return ""
    rows = []
    for version in versions[:_LISTED_VERSIONS]:
        name = "Retracted" if version.revision is None else f"Revision {version.revision}"
        texts = ("; ".join(version.changes), version.reason, version.author or "", f"{version.at:%Y-%m-%d %H:%M:%S}")
        rows.append(f'<tr><th scope="row">{name}</th>{"".join(f"<td>{escape(text)}</td>" for text in texts)}</tr>')
    omitted = len(versions) - len(rows)
    caption = f"Versions, newest first ({plural(omitted, 'older one')} omitted)" if omitted else "Versions, newest first"
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Version", "Changes", "Reason", "Author", "Written (UTC)"))
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
