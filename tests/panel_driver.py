"""Operates a panel with its widgets like a user, without a browser: controls are operated by name."""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ipywidgets.widgets.widget import _instances

from evalkit import EvalKit
from evalkit.panel.panel import Panel

SECONDS = 20


def until(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    """Wait for a condition that another thread fulfills."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.01)


def threads() -> list[str]:
    """Return the names of the threads that panels started; the drivers' shared thread lives as long as the process."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("evalkit-") and name != "evalkit-background"]


class Driver:
    """Operates a panel like a user: controls by name, and the texts it shows."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.view = panel._screen.view

    def widgets(self, widget: Any = None, *, shown: bool = False) -> list[Any]:
        """Return all widgets, or those that are `shown`."""
        widget = self.panel.widget if widget is None else widget
        if shown and widget.layout.display == "none":
            return []
        children = getattr(widget, "children", ())
        return [widget, *(below for child in children for below in self.widgets(child, shown=shown))]

    def control(self, name: str) -> Any:
        """Return the control with a name; a page may still show one that was hidden a moment ago."""
        named = [[each for each in self.widgets(shown=shown) if getattr(each, "description", None) == name] for shown in (True, False)]
        controls = named[0] or named[1]
        assert len(controls) == 1, f"{len(controls)} controls are named {name!r}"
        return controls[0]

    def open(self, title: str) -> Any:
        """Open a section, unless it is open, and return its form."""
        (heading,) = (heading for heading in self.view.sections.headings.values() if heading.description == title)
        heading.value = True
        assert self.view.sections.opened is not None
        return self.view.sections.views[self.view.sections.opened].form

    def form(self, name: str) -> Any:
        """Return the form of a section that was opened."""
        return self.view.sections.views[name].form

    def click(self, name: str) -> None:
        self.control(name).click()
        self.settle()

    def settle(self) -> None:
        """Wait until the running command has finished and its outcome is shown."""
        until(lambda: self.panel.model.busy is None)
        self.panel._screen.read(lambda: None)  # the model is shown before its lock is released

    def type(self, name: str, text: str) -> None:
        assert not self.control(name).disabled
        self.control(name).value = text

    def choose(self, name: str) -> None:
        (row,) = [row for row in self.rows if f", {name}," in f", {row.button.description.removeprefix('Selected: ')},"]
        row.button.click()

    @property
    def rows(self) -> list[Any]:
        """The visible rows of the list."""
        return [row for row in self.view.list.rows if row.box.layout.display is None]

    @property
    def listed(self) -> list[str]:
        """The names in the list, with ``*`` before the selected one."""
        names = [row.button.description.split(", ")[0] for row in self.rows]
        return [f"*{name.removeprefix('Selected: ')}" if name.startswith("Selected: ") else name for name in names]

    @property
    def name(self) -> str:
        """The name of the selected study, as shown in the details."""
        return html.unescape(self.view.details.value.partition('aria-level="3">')[2].partition("<")[0])

    @property
    def study_status(self) -> str:
        """The badge of the selected study."""
        return str(self.view.details.value.partition("evalkit-badge evalkit-")[2].partition('"')[0])

    @property
    def message(self) -> str:
        """The HTML of the status line."""
        return str(self.view.message.value)

    @property
    def enabled(self) -> set[str]:
        return {name for name in ("Start", "Pause", "Resume", "Stop") if not self.control(name).disabled}


Show = Callable[..., Driver]


@contextmanager
def opened_panels(kit: EvalKit) -> Iterator[Show]:
    """Return a function that opens panels, visible or hidden, and close them at the end; no thread or widget may be left."""
    before, opened = len(_instances), []

    def opened_panel(*args: Any, on: EvalKit = kit, visible: bool = False) -> Driver:
        panel = on.panel(*args)
        opened.append(panel)
        if visible:
            panel.widget._view_count = 1
        return Driver(panel)

    yield opened_panel
    for panel in opened:
        panel.close()
    assert threads() == []
    assert len(_instances) == before
