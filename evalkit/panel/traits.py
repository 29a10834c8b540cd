"""Updates of widgets that send only changes to the browser; closing of widget trees."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

__all__ = ["close_tree", "set_class", "set_trait"]


def set_trait(widget: Any, name: str, value: Any) -> None:
    """Set a trait if its value differs.

    Setting an equal value could cause flicker and lose the focus or a selection.
    """
    if getattr(widget, name) != value:
        setattr(widget, name, value)


def set_class(widget: Any, name: str, *, present: bool) -> None:
    """Add or remove a CSS class."""
    (widget.add_class if present else widget.remove_class)(name)


def close_tree(root: widgets.Widget) -> None:
    """Close a widget and all widgets that it refers to: children, layouts, styles."""
    tree = [root]
    for widget in tree:  # grows during the loop
        values = [getattr(widget, name) for name in widget.keys]
        parts = [part for value in values for part in (value if isinstance(value, tuple | list) else (value,))]
        tree += [part for part in dict.fromkeys(filter(_is_widget, parts)) if part not in tree]
    for widget in tree:
        widget.unobserve_all()
        widget.close()


def _is_widget(value: object) -> bool:
    return isinstance(value, widgets.Widget)
