"""The panel, which shows and controls the studies of a kit in a notebook."""

from __future__ import annotations

import sys
import weakref
from contextlib import suppress
from typing import Any

from evalkit.errors import EvalkitError
from evalkit.panel.controls import Controls
from evalkit.panel.feed import Follower, watchers
from evalkit.panel.model import PanelModel
from evalkit.panel.reading import PanelKit, Reading
from evalkit.panel.screen import Picture, Screen, error_text, utc_now
from evalkit.panel.static import collapsed_html, static_html

__all__ = ["Panel"]

_FIRST_SECONDS = 3.0
_PICTURE_SECONDS = 20.0
_WIDGET = "application/vnd.jupyter.widget-view+json"
_CLOSED = "This panel is closed. Create another one with kit.panel()."


class Panel:
    """Show and control the studies of a kit in a notebook. Created by ``kit.panel()``.

    A visible panel follows the kit: changes by other processes appear within about a second. Hidden panels stop polling. Running a cell
    again closes the panels that it created before. The kernel is not notified when a page is closed or reloaded; a panel on it keeps
    polling until its cell runs again, the panel is closed, or the kernel ends.

    Where widgets cannot run (exported or untrusted notebooks, notebooks reopened without their kernel), a table and an image are shown.

    Examples
    --------
    >>> import tempfile, evalkit
    >>> kit = evalkit.connect(tempfile.mkdtemp())
    >>> study = kit.create_study("nightly agent", period="daily:30")
    >>> panel = kit.panel()  # as the last expression of a cell: shows the panel
    >>> panel
    Panel(1 study, showing 'nightly agent': pending, 0 of 30 periods)
    >>> panel.close()
    """

    def __init__(
        self, kit: PanelKit, selected: str | None = None, *, excluded: frozenset[tuple[str, str]] = frozenset(), embedded: bool = True
    ) -> None:
        self._feed = watchers.join(kit)
        self._screen = Screen(PanelModel(utc_now(), selected, "kit" if embedded else "server", excluded), self._feed.drawer, kit)
        self._controls = Controls(self._screen, self._feed)
        self._follower = Follower(self._show_reading, self._show_failure, self._show_age)
        self._feed.followers.append(self._follower)
        with suppress(Exception):  # the status line shows the error; the panel does not wait for an unresponsive server
            self._feed.refresh().result(_FIRST_SECONDS)
        root = self._screen.view.root
        # ipywidgets has no public API for visibility. Its front end updates `_view_count` once that has a value.
        root._view_count = 0
        root.observe(self._on_views, "_view_count")
        self._screen.change_form(self._open_form)
        _replace_in_cell(self)

    def _open_form(self) -> None:
        if self.model.reading is not None and not self.model.has_studies:
            self._screen.view.sections.open("study")

    @property
    def model(self) -> PanelModel:
        """The state of the panel, without widgets."""
        return self._screen.model

    @property
    def widget(self) -> Any:
        """The root widget, e.g. to place the panel in another widget."""
        return self._screen.view.root

    @property
    def last_error(self) -> Exception | None:
        """The error of the last command; None if it succeeded.

        If the outcome of the command is unknown, ``kit.outcome(panel.last_error)`` looks it up.
        """
        return self._controls.commands.last_error

    def refresh(self) -> None:
        """Read the kit now and show any changes.

        Raises
        ------
        EvalkitError
            If the kit cannot be read, or the panel is closed.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> panel = kit.panel()
        >>> study = kit.create_study("nightly agent")
        >>> panel.refresh()
        >>> panel
        Panel(1 study, showing 'nightly agent': pending, 0 periods)
        >>> panel.close()
        """
        if self._screen.closed:
            raise EvalkitError(_CLOSED)
        self._feed.refresh().result()
        self._screen.picture(_PICTURE_SECONDS)

    def close(self) -> None:
        """Remove the panel from the page and close its widgets.

        Closing the last panel of a kit also ends the threads that update it. Closing a panel twice has no effect.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> panel = evalkit.connect(tempfile.mkdtemp()).panel()
        >>> panel.close()
        >>> panel
        Panel(closed)
        """
        if self._screen.end():
            watchers.leave(self._feed, self._follower)
            self._screen.remove()

    def __repr__(self) -> str:
        return "Panel(closed)" if self._screen.closed else self.model.summary()

    def _ipython_display_(self) -> None:
        from IPython.display import display

        picture = None if self._screen.closed else self._screen.picture(_PICTURE_SECONDS)
        outputs: list[dict[str, Any]] = []
        self._screen.read(lambda: outputs.extend(self._outputs(picture)))
        for output in outputs:
            display(output, raw=True)  # type: ignore[no-untyped-call]  # (IPython has no annotations here)

    def _outputs(self, picture: Picture | None) -> list[dict[str, Any]]:
        if self._screen.closed:
            return [{"text/plain": _CLOSED}]
        plain = self.model.summary()
        static = static_html(self.model, None if picture is None else picture.svg("light"), "" if picture is None else picture.alt)
        view = {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}
        # In a trusted notebook reopened without its kernel, an error replaces the widget and its fallback: hence the second output.
        return [{_WIDGET: view, "text/plain": plain, "text/html": static}, {"text/plain": plain, "text/html": collapsed_html(static)}]

    def _on_views(self, change: dict[str, Any]) -> None:
        visible = bool(change["new"]) and not self._screen.closed
        self._screen.set_visible(visible)
        if visible:
            watchers.watch(self._feed, self._follower)
        else:
            watchers.unwatch(self._follower)

    def _show_reading(self, reading: Reading) -> None:
        self._screen.apply(reading)
        self._controls.commands.resolve_unknown_outcome()

    def _show_failure(self, error: Exception) -> None:
        self._screen.change(lambda: self.model.read_failed(error_text(error), utc_now()))

    def _show_age(self, waited_seconds: float) -> None:
        if waited_seconds:
            self._screen.change(lambda: self.model.read_overdue(waited_seconds, utc_now()))
        else:
            self._screen.show_age()


_panels: dict[str, tuple[str, weakref.WeakSet[Panel]]] = {}
"""For each cell of a notebook: its last run, and the panels created in that run."""


def _replace_in_cell(new: Panel) -> None:
    """Close the panels that an earlier run of the current cell created.

    The kernel is not notified when a page is reloaded or closed, so the panels on that page would otherwise be updated forever. Outside of
    a notebook, nothing is closed.
    """
    cell, run = _current_cell()
    if cell is None:
        return
    last_run, panels = _panels.setdefault(cell, (run, weakref.WeakSet()))
    if last_run != run:
        for old in list(panels):
            old.close()
        panels = weakref.WeakSet()
    panels.add(new)
    _panels[cell] = run, panels


def _current_cell() -> tuple[str | None, str]:
    """Return the id of the running cell, and the id of the run.

    The id of the cell is missing (None) if the front end does not send it.
    """
    get_ipython: Any = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell: Any = get_ipython() if get_ipython is not None else None
    parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
    cell = parent.get("metadata", {}).get("cellId")
    return (cell if isinstance(cell, str) else None), str(parent.get("header", {}).get("msg_id"))
