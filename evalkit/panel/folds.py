"""Parts of which one at a time is open, under headings that are buttons: an Accordion's headings are out of reach of the keyboard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets

__all__ = ["Folds"]


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
