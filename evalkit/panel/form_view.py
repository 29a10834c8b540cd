"""A form's widgets: one named control for each field, in groups, what is wrong, and the button that sends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

import ipywidgets as widgets
from ipywidgets.widgets.widget_string import TextStyle

from evalkit.domain.study import PeriodType
from evalkit.panel.forms import Field

__all__ = ["FormView"]


class FormView:
    """The widgets of one form; `box` holds them all.

    Parameters
    ----------
    fields
        What it asks for; those of one group stand together.
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
            for field in members:
                self.fields[field.name] = _control(field, layout, style)
            controls = [self.fields[field.name] for field in fields if field.group == group]
            rows += [widgets.HTML(f"<strong>{escape(group)}</strong>"), widgets.HBox(controls, layout=wrapped)]
        self.box = widgets.VBox([*rows, self._problems, self.button])

    def on_type(self, typed: Callable[[str, str], None]) -> None:
        """Call a function with the name of a field and the text that now stands in it."""
        for name, control in self.fields.items():
            control.observe(lambda change, name=name: typed(name, change["new"]), "value")

    def show(self, texts: Mapping[str, str], problems: Mapping[str, str], *, sendable: bool, editable: bool, note: str = "") -> None:
        """Show what was typed, and what is wrong with it, by field. Only what changed is touched."""
        for name, control in self.fields.items():
            text = texts.get(name, "")
            if control.value != text and (text or isinstance(control, widgets.Text | widgets.Textarea)):
                control.value = text
            if control.disabled is editable:
                control.disabled = not editable
            if ("evalkit-invalid" in control._dom_classes) is not (name in problems):
                (control.add_class if name in problems else control.remove_class)("evalkit-invalid")
        if self.button.disabled is sendable:
            self.button.disabled = not sendable
        said = "".join(f"<div>{escape(problem)}</div>" for problem in problems.values())
        for widget, html in (
            (self._note, escape(note.strip())),
            (self._problems, said and f'<div role="alert" class="evalkit-problem">{said}</div>'),
        ):
            if widget.value != html:
                widget.value = html


def _control(field: Field, layout: widgets.Layout, style: TextStyle) -> Any:
    if field.name == "period":
        periods = [period.value for period in PeriodType]
        dropdown_style = {"description_width": style.description_width}
        return widgets.Dropdown(options=periods, value=PeriodType.DAILY.value, description=field.label, layout=layout, style=dropdown_style)
    kind = widgets.Textarea if field.several_lines else widgets.Text
    return kind(description=field.label, placeholder=field.hint, layout=layout, style=style)
