"""The panel: studies in a notebook, seen and driven."""

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
from evalkit.panel.screen import Picture, Screen, clock, in_words
from evalkit.panel.static import folded_html, static_html

__all__ = ["Panel"]

_FIRST_SECONDS = 3.0
_PICTURE_SECONDS = 20.0
_WIDGET = "application/vnd.jupyter.widget-view+json"
_CLOSED = "This panel is closed. kit.panel() makes another one."


class Panel:
    """Studies in a notebook: see them, drive them, record checkpoints. Made by ``kit.panel()``.

    While somebody sees it, it follows the kit: what another process does appears within about a second. A cell that is run again closes the
    panels that it made before. A page that is closed or reloaded says nothing of it: its panel goes on following, which costs little, until
    its cell runs again, it is closed, or the kernel ends.

    Where it cannot live (exported, not trusted, reopened without its kernel), a table and a picture stand in its place.
    """

    def __init__(self, kit: PanelKit, selected: str | None = None, *, embedded: bool = True) -> None:
        self._feed = watchers.join(kit)
        self._screen = Screen(PanelModel(clock(), selected, "kit" if embedded else "server"), self._feed.drawer)
        self._controls = Controls(self._screen, self._feed)
        self._follower = Follower(self._show_reading, self._show_failure, self._show_age)
        self._feed.followers.append(self._follower)
        with suppress(Exception):  # the status line says it; and a server that does not answer is not waited for
            self._feed.refresh().result(_FIRST_SECONDS)
        root = self._screen.view.root
        # Nothing public of ipywidgets says whether anybody sees a widget. From now on, this not being None, its front end counts the views.
        root._view_count = 0
        root.observe(self._on_views, "_view_count")
        self._screen.read(self._open_form)
        _replace_in_cell(self)

    def _open_form(self) -> None:
        if self.model.reading is not None and not self.model.studies:
            self._screen.view.forms.open(0)

    @property
    def model(self) -> PanelModel:
        """What the panel shows, without widgets."""
        return self._screen.model

    @property
    def widget(self) -> Any:
        """The widget, to be put into other widgets."""
        return self._screen.view.root

    @property
    def last_error(self) -> Exception | None:
        """What the panel's last command ended with, for example for ``kit.outcome(panel.last_error)``; None when it ended well."""
        return self._controls.last_error

    def refresh(self) -> None:
        """Read the kit again now, and draw what changed.

        Raises
        ------
        EvalkitError
            When the kit cannot answer, or the panel is closed.
        """
        if self._screen.closed:
            raise EvalkitError(_CLOSED)
        self._feed.refresh().result()
        self._screen.picture(_PICTURE_SECONDS)

    def close(self) -> None:
        """Take the panel off the page and close its widgets, and with the last panel its threads. Closing twice is harmless."""
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
            display(output, raw=True)  # type: ignore[no-untyped-call]  # (IPython ships none for it)

    def _outputs(self, picture: Picture | None) -> list[dict[str, Any]]:
        if self._screen.closed:
            return [{"text/plain": _CLOSED}]
        plain = self.model.summary()
        static = static_html(self.model, None if picture is None else picture.svg("light"), "" if picture is None else picture.words)
        view = {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}
        # A trusted notebook that is reopened without its kernel shows an error in place of the widget, and no fallback: hence the second.
        return [{_WIDGET: view, "text/plain": plain, "text/html": static}, {"text/plain": plain, "text/html": folded_html(static)}]

    def _on_views(self, change: dict[str, Any]) -> None:
        seen = bool(change["new"]) and not self._screen.closed
        self._screen.see(seen)
        if seen:
            watchers.watch(self._feed, self._follower)
        else:
            watchers.unwatch(self._follower)

    def _show_reading(self, reading: Reading) -> None:
        self._screen.take(reading)
        self._controls.ask_again()

    def _show_failure(self, error: Exception) -> None:
        self._screen.change(lambda: self.model.fail(in_words(error), clock()))

    def _show_age(self, waited_seconds: float) -> None:
        if waited_seconds:
            self._screen.change(lambda: self.model.wait(waited_seconds, clock()))
        else:
            self._screen.show_age()


_made: dict[str, tuple[str, weakref.WeakSet[Panel]]] = {}
"""For each cell of a notebook, which run of it made which panels last."""


def _replace_in_cell(new: Panel) -> None:
    """Close the panels that an earlier run of the present cell made; outside a notebook nothing happens.

    A page that was reloaded or closed says nothing of the views that it takes with it, so their panels would be kept up to date for ever.
    """
    cell, run = _present_cell()
    if cell is None:
        return
    before, made = _made.setdefault(cell, (run, weakref.WeakSet()))
    if before != run:
        for old in list(made):
            old.close()
        made = weakref.WeakSet()
    made.add(new)
    _made[cell] = run, made


def _present_cell() -> tuple[str | None, str]:
    """Return the id of the cell that runs, and of this run of it; None where the front end names no cell."""
    get_ipython: Any = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell: Any = get_ipython() if get_ipython is not None else None
    parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
    cell = parent.get("metadata", {}).get("cellId")
    return (cell if isinstance(cell, str) else None), str(parent.get("header", {}).get("msg_id"))
