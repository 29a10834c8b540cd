"""The panel's widgets: what they are, how they are laid out, and how they come to show a `PanelModel`.

Nothing is decided here. A trait is set only when it changes, so nothing flickers and nobody's focus or half-typed text is lost. Every text
that comes from a study is escaped where it becomes HTML.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from html import escape
from typing import Any

import ipywidgets as widgets

from evalkit.domain.metrics import METRICS
from evalkit.domain.study import StudyStatus
from evalkit.panel.folds import Folds
from evalkit.panel.form_view import FormView
from evalkit.panel.forms import CHECKPOINT_FIELDS, STUDY_FIELDS
from evalkit.panel.model import ALL, Message, PanelModel

__all__ = ["COMMANDS", "PanelView", "close_tree"]

COMMANDS = {"start": "Start", "pause": "Pause", "resume": "Resume", "stop": "Stop"}
"""The lifecycle commands, and what their buttons say."""

_NEW = "A new study is pending until it is started. The number of planned periods limits nothing."
_STYLE = """<style>
.evalkit-panel .evalkit-muted { color: var(--jp-ui-font-color2, #616161); }
.evalkit-panel .evalkit-problem { color: var(--jp-error-color0, #b71c1c); }
.evalkit-panel .evalkit-details { border-collapse: collapse; line-height: 1.35; }
.evalkit-panel .evalkit-details th { text-align: left; padding: 1px 12px 1px 0; white-space: nowrap; vertical-align: top; }
.evalkit-panel .evalkit-details td { text-align: left; padding: 1px 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.evalkit-panel .evalkit-invalid input, .evalkit-panel .evalkit-invalid textarea { border-color: var(--jp-error-color1, #d32f2f); }
.evalkit-panel .evalkit-heading { text-align: left; font-weight: bold; }
.evalkit-panel .evalkit-heading::before { content: "▸ " / ""; }
.evalkit-panel .evalkit-heading.mod-active::before { content: "▾ " / ""; }
.evalkit-panel .evalkit-chart svg { max-width: 100%; height: auto; }
</style>"""


class PanelView:
    """Every widget of a panel. `root` holds them all."""

    def __init__(self) -> None:
        narrow = {"description_width": "60px"}
        left = widgets.Layout(width="auto")
        statuses = [("All", ALL), *((status.value.capitalize(), status.value) for status in StudyStatus)]
        self.status = widgets.Dropdown(options=statuses, description="Status", style=narrow, layout=left)
        self.search = widgets.Text(description="Search", placeholder="name, tag, metadata; Enter: next", style=narrow, layout=left)
        self.list = widgets.Select(description="Studies", style=narrow, layout=widgets.Layout(width="auto", height="220px"))
        self.details = widgets.HTML()
        command = widgets.Layout(width="100px")
        self.buttons = {name: widgets.Button(description=says, disabled=True, layout=command) for name, says in COMMANDS.items()}
        self.question = widgets.HTML()
        self.yes = widgets.Button(description="Yes, stop for good", button_style="danger")
        self.no = widgets.Button(description="No")
        self.confirmation = widgets.HBox([self.question, self.yes, self.no], layout=widgets.Layout(display="none", align_items="center"))
        metrics = [(metric.label, name) for name, metric in METRICS.items()]
        self.metric = widgets.Dropdown(options=metrics, description="Metric", style=narrow, layout=widgets.Layout(width="360px"))
        self.chart = widgets.HTML().add_class("evalkit-chart")
        self.message, self.echo = widgets.HTML(), widgets.HTML()
        self.nobody = widgets.HTML()
        self.refresh = widgets.Button(description="Refresh")
        self.age = widgets.HTML()
        self.study_form = FormView(STUDY_FIELDS, "Create study")
        self.checkpoint_form = FormView(CHECKPOINT_FIELDS, "Record")
        for form in (self.study_form, self.checkpoint_form):
            form.box.children = (*form.box.children, self.echo)
        self.forms = Folds({"New study": self.study_form.box, "Record checkpoint": self.checkpoint_form.box})
        self.root = self._laid_out()

    def _laid_out(self) -> widgets.VBox:
        commands = widgets.HBox(list(self.buttons.values()), layout=widgets.Layout(flex_flow="row wrap"))
        shown = [self.details, commands, self.confirmation, self.message, self.metric, self.chart]
        columns = [
            widgets.VBox([self.status, self.search, self.list, self.nobody], layout=widgets.Layout(width="350px", flex="0 1 auto")),
            widgets.VBox(shown, layout=widgets.Layout(flex="1 1 360px", min_width="0", margin="0 0 0 16px")),
        ]
        return widgets.VBox(
            [
                widgets.HTML(_STYLE, layout=widgets.Layout(display="none")),
                widgets.HBox(columns, layout=widgets.Layout(flex_flow="row wrap")),
                self.forms.box,
                widgets.HBox([self.refresh, self.age], layout=widgets.Layout(align_items="center")),
            ]
        ).add_class("evalkit-panel")

    def show(self, model: PanelModel, now: datetime) -> None:
        """Show what the model holds, except the chart."""
        self._show_list(model)
        _set(self.status, "value", model.status_filter)
        _set(self.search, "value", model.text_filter)
        _set(self.metric, "value", model.metric)
        _set(self.details, "value", _details_html(model))
        allowed = model.allowed()
        for name, button in self.buttons.items():
            _set(button, "disabled", name not in allowed)
        asked = model.study if model.confirming is not None else None
        _set(self.question, "value", "" if asked is None else f"Stop {escape(repr(asked['name']))} for good?")
        _set(self.confirmation.layout, "display", "none" if asked is None else "flex")
        _set(self.message, "value", _message_html(model.message))
        # The same once more, beside the forms' buttons, for who sees it: a screen reader heard it already.
        _set(self.echo, "value", f'<div aria-hidden="true" class="evalkit-{model.message.kind}">{escape(_said(model.message))}</div>')
        hidden = model.studies and not model.listed()
        _set(self.nobody, "value", '<span class="evalkit-muted">No study passes the filters.</span>' if hidden else "")
        self.show_age(model, now)
        self.show_forms(model)

    def show_age(self, model: PanelModel, now: datetime) -> None:
        """Show how old things are."""
        _set(self.age, "value", f'<span class="evalkit-muted">{escape(model.age(now))}</span>')

    def show_forms(self, model: PanelModel) -> None:
        """Show what was typed, and what is wrong with it."""
        new = model.study_form
        self.study_form.show(new.texts, new.problems(), sendable=model.can_create, editable=model.can_write, note=_NEW)
        form, study = model.checkpoint_form, model.study
        refusal = model.why_not_recordable
        if form is None or study is None:
            self.checkpoint_form.show({}, {}, sendable=False, editable=False, note=refusal or "")
            return
        note = refusal or f"For the study {study['name']!r}. What was not measured stays empty."
        taken = "The study has a checkpoint for this period already; it would get another one." if model.period_is_taken() else ""
        self.checkpoint_form.show(
            form.texts, form.problems(), sendable=model.can_record, editable=model.can_write and refusal is None, note=f"{note} {taken}"
        )

    def _show_list(self, model: PanelModel) -> None:
        options = tuple((label, study_id) for study_id, label in model.listed())
        if self.list.options != options:
            with self.list.hold_sync():  # one message: the list never shows without its selection
                self.list.index = None
                self.list.options = options
                self.list.value = model.selected if model.selected in self.list._options_values else None
        else:
            _set(self.list, "value", model.selected if model.selected in self.list._options_values else None)


def _set(widget: Any, trait: str, value: Any) -> None:
    if getattr(widget, trait) != value:
        setattr(widget, trait, value)


def _details_html(model: PanelModel) -> str:
    rows = "".join(f'<tr><th scope="row">{name}</th><td>{escape(text)}</td></tr>' for name, text in model.details())
    return f'<table class="evalkit-details"><tbody>{rows}</tbody></table>' if rows else "<em>No study is selected.</em>"


def _message_html(message: Message) -> str:
    # A problem is an alert, since a live region that is put in anew, as here, is announced reliably only then.
    role = 'role="alert"' if message.kind == "problem" else 'role="status" aria-live="polite"'
    return f'<div {role} class="evalkit-{message.kind}">{escape(_said(message))}</div>'


def _said(message: Message) -> str:
    return f"{message.at:%H:%M:%S} UTC: {message.text}"


def close_tree(root: widgets.Widget) -> None:
    """Close a widget and all that it refers to: children, layouts, styles."""
    for widget in list(_tree(root, set())):
        widget.unobserve_all()
        widget.close()


def _tree(widget: widgets.Widget, seen: set[int]) -> Iterator[widgets.Widget]:
    if id(widget) in seen:
        return
    seen.add(id(widget))
    yield widget
    for name in widget.keys:
        value = getattr(widget, name)
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, widgets.Widget):
                yield from _tree(part, seen)
