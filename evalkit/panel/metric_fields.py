"""The fields of a study's custom metrics in a form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import ipywidgets as widgets
from ipywidgets.widgets.widget_string import TextStyle

from evalkit._util.text import plural
from evalkit.panel.texts import Field
from evalkit.panel.traits import set_class, set_trait

__all__ = ["SHOWN_FIELDS", "MetricFields"]

SHOWN_FIELDS = 24
"""The number of fields that are shown at once; a search finds the others."""


class MetricFields:
    """The controls of custom metrics, which differ by study; `box` contains all of them.

    Controls are created when a study needs them, at most `SHOWN_FIELDS`. A metric keeps its control while it is shown, so that text that is
    being typed never goes to another metric; other controls are reused. What was typed is kept by the form.
    """

    def __init__(self) -> None:
        self.find = widgets.Text(description="Find a custom metric", placeholder="part of its label or name")
        self._summary = widgets.HTML().add_class("evalkit-note")
        self._finder = widgets.Box([self.find, self._summary]).add_class("evalkit-finder")
        self._grid = widgets.Box().add_class("evalkit-fields")
        self._spare = widgets.Box(layout=widgets.Layout(display="none"))
        self.box = widgets.VBox([self._finder, self._grid, self._spare])
        self._looks: dict[str, Any] = {}
        self._controls: list[widgets.Text] = []
        self._headings: list[widgets.HTML] = []
        self._shown: list[Field] = []
        self._query = ""
        self._bound: dict[str, widgets.Text] = {}
        """The control of each shown metric, by name."""
        self._callback: Callable[[str, str], None] | None = None

    def on_input(self, callback: Callable[[str, str], None]) -> None:
        """Call a function with the name of a metric and its new text."""
        self._callback = callback

    def show(self, fields: Sequence[Field], texts: Mapping[str, str], problems: Mapping[str, str], *, editable: bool) -> None:
        """Show the fields that match the search, ordered by group, with their texts and problems."""
        many = len(fields) > SHOWN_FIELDS
        query = self.find.value.strip().lower() if many else ""
        matching = [field for field in fields if query in f"{field.label}\n{field.name}".lower()]
        self._arrange(self._selected(matching, query))
        for field in self._shown:
            control = self._bound[field.name]
            set_trait(control, "description", field.label)
            set_trait(control, "placeholder", field.placeholder)
            set_trait(control, "value", texts.get(field.name, ""))
            set_trait(control, "disabled", not editable)
            set_class(control, "evalkit-invalid", present=field.name in problems)
        set_trait(self._finder.layout, "display", None if many else "none")
        filled = sum(bool(texts.get(field.name, "").strip()) for field in fields)
        found = f"{len(self._shown)} of {plural(len(fields), 'custom metric')} shown, {filled} with a value."
        set_trait(self._summary, "value", found if many else "")

    def _selected(self, matching: list[Field], query: str) -> list[Field]:
        """Return the shown fields, unless the search changed, and the first other ones."""
        kept = {field.name for field in matching if field.name in self._bound} if query == self._query else set()
        self._query = query
        others = [field.name for field in matching if field.name not in kept]
        names = kept.union(others[: SHOWN_FIELDS - len(kept)])
        return [field for field in matching if field.name in names]

    def _arrange(self, fields: list[Field]) -> None:
        """Place the controls of some fields, each group below its heading."""
        if fields == self._shown:
            return
        names = {field.name for field in fields}
        self._bound = {name: control for name, control in self._bound.items() if name in names}
        free = [control for control in self._controls if control not in self._bound.values()]
        for field in fields:
            if field.name not in self._bound:
                self._bound[field.name] = free.pop() if free else self._control()
        children: list[widgets.Widget] = []
        groups = 0
        for index, field in enumerate(fields):
            if index == 0 or field.group != fields[index - 1].group:
                if groups == len(self._headings):
                    self._headings.append(widgets.HTML().add_class("evalkit-group"))
                set_trait(self._headings[groups], "value", escape(field.group))
                children.append(self._headings[groups])
                groups += 1
            children.append(self._bound[field.name])
        self._shown = fields
        set_trait(self._grid, "children", tuple(children))
        set_trait(self._spare, "children", tuple(each for each in (*self._controls, *self._headings) if each not in children))

    def _control(self) -> widgets.Text:
        self._looks = self._looks or {"layout": widgets.Layout(), "style": TextStyle()}  # shared, because there can be many controls
        control = widgets.Text(**self._looks)
        control.observe(lambda change: self._on_input(control, change["new"]), "value")
        self._controls.append(control)
        return control

    def _on_input(self, control: widgets.Text, text: str) -> None:
        name = next((name for name, bound in self._bound.items() if bound is control), None)
        if self._callback is not None and name is not None:
            self._callback(name, text)
