"""The widgets of the panel's forms, and of the sections that open and close them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

import ipywidgets as widgets
from ipywidgets.widgets.widget_string import TextStyle

from evalkit.domain.study import PeriodType
from evalkit.panel.forms import Field
from evalkit.panel.traits import set_class, set_trait

__all__ = ["FormView", "Sections"]


class Sections:
    """Headings that open and close the widgets below them, at most one at a time.

    `box` contains all of these widgets.

    Parameters
    ----------
    contents
        The widget below each heading, by the text of the heading.
    """

    def __init__(self, contents: Mapping[str, widgets.Widget]) -> None:
        self._contents = list(contents.values())
        # Headings have no icons, because screen readers read out the letters of the symbol font.
        self.headings = [widgets.ToggleButton(description=title) for title in contents]
        for heading in self.headings:
            heading.add_class("evalkit-heading").observe(self._on_click, "value")
        cards = [widgets.VBox(pair).add_class("evalkit-card") for pair in zip(self.headings, self._contents, strict=True)]
        self.box = widgets.VBox(cards).add_class("evalkit-forms")
        self.open(None)

    @property
    def opened(self) -> int | None:
        """Index of the open section; None if all are closed."""
        return next((index for index, heading in enumerate(self.headings) if heading.value), None)

    def open(self, index: int | None) -> None:
        """Open one section and close the others; None closes all."""
        for number, (heading, content) in enumerate(zip(self.headings, self._contents, strict=True)):
            opened = number == index
            heading.value = opened
            heading.tooltip = "Press to close" if opened else "Press to open"
            content.layout.display = None if opened else "none"

    def _on_click(self, change: dict[str, Any]) -> None:
        index = self.headings.index(change["owner"])
        if change["new"]:
            self.open(index)
        elif self.opened is None:
            self.open(None)


class FormView:
    """The widgets of one form; `box` contains all of them.

    Parameters
    ----------
    name
        Name of the form, as in `Message.form`.
    fields
        The fields of the form, ordered by group.
    submit
        Label of the submit button.
    """

    def __init__(self, name: str, fields: Sequence[Field], submit: str) -> None:
        self.name = name
        layout, style = widgets.Layout(), TextStyle()
        self.fields: dict[str, Any] = {}
        """The control of each field, by the name of the field."""
        self._note, self._problems = widgets.HTML().add_class("evalkit-note"), widgets.HTML()
        self.button = widgets.Button(description=submit, disabled=True, button_style="primary")
        rows: list[widgets.Widget] = [self._note]
        for group, members in groupby(fields, key=lambda field: field.group):
            controls = {field.name: _control(field, layout, style) for field in members}
            self.fields |= controls
            rows += [widgets.HTML(escape(group)).add_class("evalkit-group")] if group else []
            rows.append(widgets.Box(list(controls.values())).add_class("evalkit-fields"))
        self.feedback = widgets.HTML()
        submit_row = widgets.HBox([self.button, self.feedback]).add_class("evalkit-submit")
        self.box = widgets.VBox([*rows, self._problems, submit_row]).add_class("evalkit-form")

    def on_input(self, callback: Callable[[str, str], None]) -> None:
        """Call a function with the name and the new text of each edited field."""
        for name, control in self.fields.items():
            control.observe(lambda change, name=name: callback(name, change["new"]), "value")

    def show(self, texts: Mapping[str, str], problems: Mapping[str, str], *, sendable: bool, editable: bool, note: str = "") -> None:
        """Show the texts and problems of the fields; only changes are sent to the browser."""
        for name, control in self.fields.items():
            text = texts.get(name, "")
            if text or isinstance(control, widgets.Text | widgets.Textarea):
                set_trait(control, "value", text)
            set_trait(control, "disabled", not editable)
            set_class(control, "evalkit-invalid", present=name in problems)
        set_trait(self.button, "disabled", not sendable)
        listed = "".join(f"<div>{escape(problem)}</div>" for problem in dict.fromkeys(problems.values()))
        set_trait(self._note, "value", escape(note.strip()))
        set_trait(self._problems, "value", listed and f'<div role="alert" class="evalkit-problems">{listed}</div>')


def _control(field: Field, layout: widgets.Layout, style: TextStyle) -> Any:
    if field.name == "period":
        periods = [period.value for period in PeriodType]
        return widgets.Dropdown(options=periods, value=PeriodType.DAILY.value, description=field.label, layout=layout)
    kind = widgets.Textarea if field.multiline else widgets.Text
    return kind(description=field.label, placeholder=field.placeholder, layout=layout, style=style)
