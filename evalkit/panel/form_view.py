"""The widgets of the panel's forms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

import ipywidgets as widgets
from ipywidgets.widgets.widget_string import TextStyle

from evalkit.panel.metric_fields import MetricFields
from evalkit.panel.texts import Field
from evalkit.panel.traits import set_class, set_trait

__all__ = ["ConflictRow", "FormView"]


class FormView:
    """The widgets of one form; `box` contains all of them.

    Parameters
    ----------
    fields
        The fields of the form, ordered by group.
    submit
        Label of the submit button.
    custom_before
        The group before which the fields of custom metrics are; None for a form without them.
    """

    def __init__(self, fields: Sequence[Field], submit: str, *, custom_before: str | None = None) -> None:
        layout, style = widgets.Layout(), TextStyle()
        self.fields: dict[str, Any] = {}
        """The control of each field, by the name of the field; custom metrics have others."""
        self.custom = None if custom_before is None else MetricFields()
        """The controls of custom metrics."""
        self._note, self._problems = widgets.HTML().add_class("evalkit-note"), widgets.HTML()
        self.button = widgets.Button(description=submit, disabled=True, button_style="primary")
        rows: list[widgets.Widget] = [self._note]
        for group, members in groupby(fields, key=lambda field: field.group):
            if self.custom is not None and group == custom_before:
                rows.append(self.custom.box)
            controls = {field.name: _control(field, layout, style) for field in members}
            self.fields |= controls
            rows += [widgets.HTML(escape(group)).add_class("evalkit-group")] if group else []
            rows.append(widgets.Box(list(controls.values())).add_class("evalkit-fields"))
        self.feedback = widgets.HTML()
        self.submit_row = widgets.HBox([self.button, self.feedback]).add_class("evalkit-submit")
        self.box = widgets.VBox([*rows, self._problems, self.submit_row]).add_class("evalkit-form")

    def on_input(self, callback: Callable[[str, str], None]) -> None:
        """Call a function with the name and the new text of each edited field."""
        for name, control in self.fields.items():
            control.observe(lambda change, name=name: callback(name, change["new"]), "value")
        if self.custom is not None:
            self.custom.on_input(callback)

    def show(
        self,
        texts: Mapping[str, str],
        problems: Mapping[str, str],
        *,
        sendable: bool,
        editable: bool,
        note: str = "",
        fixed: Collection[str] = (),
        custom: Sequence[Field] = (),
    ) -> None:
        """Show the texts and problems of the fields; only changes are sent to the browser.

        Parameters
        ----------
        texts, problems
            By the name of the field.
        sendable
            Whether the form can be submitted.
        editable
            Whether the fields can be edited, except those in `fixed`.
        note
            A text above the fields.
        fixed
            The names of fields that cannot be edited.
        custom
            The fields of custom metrics.
        """
        for name, control in self.fields.items():
            text = texts.get(name, "")
            if text or isinstance(control, widgets.Text | widgets.Textarea):
                set_trait(control, "value", text)
            set_trait(control, "disabled", not editable or name in fixed)
            set_class(control, "evalkit-invalid", present=name in problems)
        if self.custom is not None:
            self.custom.show(custom, texts, problems, editable=editable)
        set_trait(self.button, "disabled", not sendable)
        listed = "".join(f"<div>{escape(problem)}</div>" for problem in dict.fromkeys(problems.values()))
        set_trait(self._note, "value", escape(note.strip()))
        set_trait(self._problems, "value", listed and f'<div role="alert" class="evalkit-problems">{listed}</div>')


class ConflictRow:
    """Changes by another process, and the button that accepts them; `box` contains both.

    Parameters
    ----------
    accept
        Label of the button.
    """

    def __init__(self, accept: str) -> None:
        self.text = widgets.HTML()
        self.accept = widgets.Button(description=accept)
        self.box = widgets.HBox([self.text, self.accept]).add_class("evalkit-confirmation")

    def show(self, changes: str, *, editable: bool) -> None:
        """Show what was changed; nothing if the text is empty."""
        text = f"Conflict: {changes}. What you typed is kept. Check it, then continue."
        set_trait(self.text, "value", f'<div role="alert">{escape(text)}</div>' if changes else "")
        set_trait(self.accept, "disabled", not editable)
        set_trait(self.box.layout, "display", None if changes else "none")


def _control(field: Field, layout: widgets.Layout, style: TextStyle) -> Any:
    if field.choices:
        return widgets.Dropdown(options=field.choices, description=field.label, layout=layout)
    kind = widgets.Textarea if field.multiline else widgets.Text
    return kind(description=field.label, placeholder=field.placeholder, layout=layout, style=style)
