"""The list of studies: a page of rows with status, progress and last value."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import ipywidgets as widgets

from evalkit.panel.markup import badge, progress_bar
from evalkit.panel.model import PAGE_SIZE, ListEntry, PanelModel
from evalkit.panel.traits import set_trait

__all__ = ["StudyList"]


class _Row:
    """One row: its content, and a transparent button over it that selects the study."""

    def __init__(self) -> None:
        self.study_id: str | None = None
        self.content = widgets.HTML()
        self.button = widgets.Button(description="Empty row")
        self.box = widgets.Box([self.content, self.button], layout=widgets.Layout(display="none")).add_class("evalkit-item")

    def show(self, entry: ListEntry | None) -> None:
        self.study_id = None if entry is None else entry.study_id
        if entry is not None:
            set_trait(self.content, "value", _row_html(entry))
            set_trait(self.button, "description", entry.summary)
        set_trait(self.box.layout, "display", "none" if entry is None else None)


class StudyList:
    """The widgets of the list; `box` contains all of them.

    The rows are created once and reused, so that a row keeps the focus when the list changes.
    """

    def __init__(self) -> None:
        self.head = widgets.HTML()
        self.rows = [_Row() for _ in range(PAGE_SIZE)]
        self.empty = widgets.HTML()
        self.previous, self.next = widgets.Button(description="Previous"), widgets.Button(description="Next")
        self._page = widgets.HTML()
        self.pager = widgets.HBox([self.previous, self._page, self.next]).add_class("evalkit-pager")
        children = [self.head, *(row.box for row in self.rows), self.empty, self.pager]
        self.box = widgets.VBox(children).add_class("evalkit-card").add_class("evalkit-list")

    def on_select(self, callback: Callable[[str], object]) -> None:
        """Call a function with the id of the study whose row was pressed."""
        for row in self.rows:
            row.button.on_click(lambda _, row=row: row.study_id is not None and callback(row.study_id))

    def show(self, model: PanelModel) -> None:
        """Show a page of the studies; only changes are sent to the browser."""
        entries = model.entries()
        metric = escape(model.metric_label)
        column = f'<span title="Last value: {metric}">{metric} (last)</span>'
        head = f'<div class="evalkit-list-head"><span>{model.list_summary()}</span>{column}</div>'
        set_trait(self.head, "value", head)
        for index, row in enumerate(self.rows):
            row.show(entries[index] if index < len(entries) else None)
        empty = "" if entries else "No studies match." if model.has_studies else "No studies."
        set_trait(self.empty, "value", empty and f'<div class="evalkit-empty">{empty}</div>')
        set_trait(self.pager.layout, "display", "none" if model.page_count == 1 else None)
        set_trait(self._page, "value", f"Page {model.page + 1} of {model.page_count}")
        set_trait(self.previous, "disabled", model.page == 0)
        set_trait(self.next, "disabled", model.page == model.page_count - 1)

    def focus(self, study_id: str | None) -> bool:
        """Move the focus to the row of a study. Return whether the study has a row."""
        for row in self.rows:
            if row.study_id is not None and row.study_id == study_id:
                row.button.focus()
                return True
        return False


def _row_html(entry: ListEntry) -> str:
    value = escape(entry.value) or '<span class="evalkit-none">&ndash;</span>'
    bar = "" if entry.fraction is None else progress_bar(entry.fraction)
    badges = badge(entry.status) + (badge("archived") if entry.archived else "")
    return (
        f'<div class="evalkit-row{" evalkit-selected" if entry.selected else ""}" aria-hidden="true">'
        f'<div><span class="evalkit-row-name">{escape(entry.name)}</span><span class="evalkit-row-value">{value}</span></div>'
        f'<div>{badges}{bar}<span class="evalkit-row-progress">{entry.progress}</span></div></div>'
    )
