"""Headings that open and close the forms of the panel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import ipywidgets as widgets

if TYPE_CHECKING:
    from evalkit.panel.form_view import FormView
    from evalkit.panel.model import PanelModel

__all__ = ["SectionView", "Sections"]


class SectionView(Protocol):
    """The widgets below a heading."""

    box: widgets.VBox
    """Contains all of them."""
    form: FormView
    """The form of the section."""

    def show(self, model: PanelModel) -> None:
        """Show the state of the model; only changes are sent to the browser."""


class Sections:
    """Headings that open and close the widgets below them, at most one at a time.

    The widgets of a section are created when it is opened first, so that closed forms cost nothing. `box` contains all widgets.

    Parameters
    ----------
    sections
        For each section, by its name: the text of its heading, and a function that creates its widgets.
    """

    def __init__(self, sections: Mapping[str, tuple[str, Callable[[], SectionView]]]) -> None:
        self._create = {name: create for name, (_, create) in sections.items()}
        self._on_create: dict[str, Callable[[Any], None]] = {}
        self.views: dict[str, SectionView] = {}
        """The sections that were opened, by name."""
        self.opened: str | None = None
        """Name of the open section; None if all are closed."""
        # Headings have no icons, because screen readers read out the letters of the symbol font.
        self.headings = {name: widgets.ToggleButton(description=title, tooltip="Press to open") for name, (title, _) in sections.items()}
        self._contents = {name: widgets.VBox(layout=widgets.Layout(display="none")) for name in sections}
        cards = []
        for name, heading in self.headings.items():
            cards.append(widgets.VBox([heading.add_class("evalkit-heading"), self._contents[name]]).add_class("evalkit-card"))
        self.box = widgets.VBox(cards).add_class("evalkit-forms")

    def on_create(self, name: str, callback: Callable[[Any], None]) -> None:
        """Call a function with the widgets of a section when they are created."""
        self._on_create[name] = callback

    def open(self, name: str | None) -> None:
        """Open one section and close the others; None closes all."""
        if name is not None and name not in self.views:
            self.views[name] = view = self._create[name]()
            if name in self._on_create:
                self._on_create[name](view)
            self._contents[name].children = (view.box,)
        self.opened = name
        for other, heading in self.headings.items():
            heading.value = other == name
            heading.tooltip = "Press to close" if other == name else "Press to open"
            self._contents[other].layout.display = None if other == name else "none"
