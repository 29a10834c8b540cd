"""The panel: studies in a notebook, seen and driven."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from evalkit.errors import EvalkitError
from evalkit.panel.cells import replace_in_cell
from evalkit.panel.controls import Controls
from evalkit.panel.model import PanelModel
from evalkit.panel.screen import Screen, clock, in_words
from evalkit.panel.static import folded_html, static_html
from evalkit.panel.watcher import watchers

if TYPE_CHECKING:
    from evalkit.kit import EvalKit
    from evalkit.panel.picture import Picture
    from evalkit.panel.reading import Reading

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

    def __init__(self, kit: EvalKit, selected: str | None = None) -> None:
        self._feed = watchers.join(kit)
        self._screen = Screen(PanelModel(clock(), selected, "kit" if kit.engine.embedded else "server"), self._feed.drawer)
        self._controls = Controls(kit, self._screen, self._feed)
        self._feed.followers.append(self)
        with suppress(Exception):  # the status line says it; and a server that does not answer is not waited for
            self._feed.refresh().result(_FIRST_SECONDS)
        root = self._screen.view.root
        root._view_count = 0  # from now on the front end counts
        root.observe(self._on_views, "_view_count")
        self._screen.read(self._open_form)
        replace_in_cell(self)

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
        """Take the panel off the page and let go of its widgets, and with the last panel of its threads. Closing twice is harmless."""
        if self._screen.end():
            watchers.leave(self._feed, self)
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
            watchers.watch(self._feed, self)
        else:
            watchers.unwatch(self)

    def on_reading(self, reading: Reading) -> None:
        """See `Follower.on_reading`."""
        self._screen.take(reading)
        self._controls.ask_again()

    def on_failure(self, error: Exception) -> None:
        """See `Follower.on_failure`."""
        self._screen.change(lambda: self.model.fail(in_words(error), clock()))

    def on_tick(self, waited_seconds: float) -> None:
        """See `Follower.on_tick`."""
        if waited_seconds:
            self._screen.change(lambda: self.model.wait(waited_seconds, clock()))
        else:
            self._screen.show_age()
