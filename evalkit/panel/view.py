"""The panel's widgets: what they are, how they are laid out, and how they come to show a `PanelModel`.

Nothing is decided here. A trait is set only when it changes, so nothing flickers and nobody's focus or half-typed text is lost. Every text
that comes from a study is escaped where it becomes HTML.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from html import escape
from itertools import groupby
from typing import Any

import ipywidgets as widgets
from ipywidgets.widgets.widget_string import TextStyle

from evalkit.domain.metrics import METRICS
from evalkit.domain.study import COMMANDS, PeriodType, StudyStatus
from evalkit.panel.forms import CHECKPOINT_FIELDS, STUDY_FIELDS, Field
from evalkit.panel.model import ALL, Message, PanelModel

__all__ = ["Folds", "FormView", "PanelView", "close_tree"]

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
        self.buttons = {name: widgets.Button(description=name.capitalize(), disabled=True, layout=command) for name in COMMANDS}
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
        listed = model.listed()
        options = tuple((label, study_id) for study_id, label in listed)
        selected = model.selected if model.selected in dict(listed) else None
        if self.list.options != options:
            with self.list.hold_sync():  # one message: the list never shows without its selection
                self.list.index = None
                self.list.options = options
                self.list.value = selected
        else:
            _set(self.list, "value", selected)


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
    tree = [root]
    for widget in tree:  # which grows meanwhile
        values = [getattr(widget, name) for name in widget.keys]
        parts = [part for value in values for part in (value if isinstance(value, tuple | list) else (value,))]
        tree += [part for part in dict.fromkeys(filter(_is_widget, parts)) if part not in tree]
    for widget in tree:
        widget.unobserve_all()
        widget.close()


def _is_widget(value: object) -> bool:
    return isinstance(value, widgets.Widget)


class Folds:
    """Headings, each with a part below it that it opens and closes; `box` holds them all.

    Parameters
    ----------
    parts
        The widget below each heading, by what the heading says.
    """

    def __init__(self, parts: Mapping[str, widgets.Widget]) -> None:
        self._parts = list(parts.values())
        # No icon: its letter of a symbol font would be read out as part of the name.
        self.headings = [widgets.ToggleButton(description=title, layout=widgets.Layout(width="auto")) for title in parts]
        for heading in self.headings:
            heading.add_class("evalkit-heading").observe(self._on_click, "value")
        self.box = widgets.VBox([one for pair in zip(self.headings, self._parts, strict=True) for one in pair])
        self.open(None)

    @property
    def opened(self) -> int | None:
        """Which part is open, from 0; None when none is."""
        return next((index for index, heading in enumerate(self.headings) if heading.value), None)

    def open(self, index: int | None) -> None:
        """Open one part, and close the others; None closes all."""
        for number, (heading, part) in enumerate(zip(self.headings, self._parts, strict=True)):
            shown = number == index
            heading.value = shown
            heading.tooltip = "Press to close" if shown else "Press to open"
            part.layout.display = None if shown else "none"

    def _on_click(self, change: dict[str, Any]) -> None:
        index = self.headings.index(change["owner"])
        if change["new"]:
            self.open(index)
        elif self.opened is None:
            self.open(None)


class FormView:
    """The widgets of one form; `box` holds them all.

    Parameters
    ----------
    fields
        What it asks for, with the fields of one group together.
    says
        What its button says.
    """

    def __init__(self, fields: Sequence[Field], says: str) -> None:
        layout = widgets.Layout(width="440px")
        style = TextStyle(description_width="205px")
        self.fields: dict[str, Any] = {}
        """The control of each field, by its name."""
        self._note, self._problems = widgets.HTML(), widgets.HTML()
        self.button = widgets.Button(description=says, disabled=True, layout=widgets.Layout(width="205px"), button_style="primary")
        rows: list[widgets.Widget] = [self._note]
        wrapped = widgets.Layout(flex_flow="row wrap")
        for group, members in groupby(fields, key=lambda field: field.group):
            controls = {field.name: _control(field, layout, style) for field in members}
            self.fields |= controls
            rows += [widgets.HTML(f"<strong>{escape(group)}</strong>"), widgets.HBox(list(controls.values()), layout=wrapped)]
        self.box = widgets.VBox([*rows, self._problems, self.button])

    def on_type(self, typed: Callable[[str, str], None]) -> None:
        """Call a function with the name of a field and the text that is now in it."""
        for name, control in self.fields.items():
            control.observe(lambda change, name=name: typed(name, change["new"]), "value")

    def show(self, texts: Mapping[str, str], problems: Mapping[str, str], *, sendable: bool, editable: bool, note: str = "") -> None:
        """Show what was typed, and what is wrong with it, by field. Only what changed is touched."""
        for name, control in self.fields.items():
            text = texts.get(name, "")
            if text or isinstance(control, widgets.Text | widgets.Textarea):
                _set(control, "value", text)
            _set(control, "disabled", not editable)
            (control.add_class if name in problems else control.remove_class)("evalkit-invalid")
        _set(self.button, "disabled", not sendable)
        said = "".join(f"<div>{escape(problem)}</div>" for problem in problems.values())
        _set(self._note, "value", escape(note.strip()))
        _set(self._problems, "value", said and f'<div role="alert" class="evalkit-problem">{said}</div>')


def _control(field: Field, layout: widgets.Layout, style: TextStyle) -> Any:
    if field.name == "period":
        periods = [period.value for period in PeriodType]
        dropdown_style = {"description_width": style.description_width}
        return widgets.Dropdown(options=periods, value=PeriodType.DAILY.value, description=field.label, layout=layout, style=dropdown_style)
    kind = widgets.Textarea if field.several_lines else widgets.Text
    return kind(description=field.label, placeholder=field.hint, layout=layout, style=style)


def _set(widget: Any, trait: str, value: Any) -> None:
    if getattr(widget, trait) != value:
        setattr(widget, trait, value)
