"""What stands on the page: a `PanelModel`, the widgets that show it, and the lock under which both change."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from evalkit.errors import EvalkitError
from evalkit.widgets.model import PanelModel
from evalkit.widgets.picture import trend_svg
from evalkit.widgets.view import PanelView, close_tree

if TYPE_CHECKING:
    import polars as pl

    from evalkit.widgets.reading import Reading

__all__ = ["Screen", "clock", "in_words"]

_logger = logging.getLogger("evalkit.widgets")


def clock() -> datetime:
    """Give the time, in UTC."""
    return datetime.now(UTC)


def in_words(error: Exception) -> str:
    """Give an error's message; an error that is not evalkit's own, which explain themselves, with its name."""
    return str(error) if isinstance(error, EvalkitError) else f"{type(error).__name__}: {error}"


class Screen:
    """Changes the model and shows it, for one thread at a time: the kernel's, the watcher's or a worker's.

    Nothing that may wait for a server happens under the lock, so that the kernel never does.
    """

    def __init__(self, selected: str | None) -> None:
        self.model = PanelModel(clock(), selected)
        self.view = PanelView()
        self.closed = False
        self._lock = threading.RLock()
        self._showing = False
        self._drawn: tuple[str, pl.DataFrame, pl.DataFrame] | None = None

    def change(self, act: Callable[[], object]) -> None:
        """Do something to the model, and show it. Nothing happens any more once the screen is closed."""
        self._locked(act, self._show_all)

    def take(self, reading: Reading) -> None:
        """Show what was read; where nothing is new, only that it was read."""
        news = []
        self._locked(
            lambda: news.append(self.model.take(reading, clock())),
            lambda: self._show_all() if any(news) else self.view.show_age(self.model, clock()),
        )

    def type(self, act: Callable[[], object]) -> None:
        """Do something to what was typed into the forms, and show only them, since this happens with every key."""
        self._locked(act, lambda: self.view.show_forms(self.model))

    def show_age(self) -> None:
        """Show how old things are."""
        self._locked(lambda: None, lambda: self.view.show_age(self.model, clock()))

    def read(self, ask: Callable[[], object]) -> None:
        """Look at the model while nothing changes it."""
        with self._lock:
            ask()

    def close(self) -> None:
        """Take everything off the page. Closing twice is harmless."""
        with self._lock:
            was_closed, self.closed = self.closed, True
        if not was_closed:
            close_tree(self.view.root)

    def _locked(self, act: Callable[[], object], show: Callable[[], object]) -> None:
        with self._lock:
            if self.closed or self._showing:  # what widgets report while they are brought up to the model is not from a user
                return
            self._showing = True
            try:
                act()
            except Exception as error:
                # An error in a widget's callback is seen nowhere, unless the status line says it.
                _logger.exception("a panel could not do what it was asked to")
                self.model.say(in_words(error), "problem", clock())
                show = self._show_all
            finally:
                try:
                    show()
                finally:
                    self._showing = False

    def _show_all(self) -> None:
        self.view.show(self.model, clock())
        self._draw()

    def _draw(self) -> None:
        """Draw the chart again if what it shows changed; it is swapped as a whole."""
        checkpoints, lifecycle, metric = self.model.checkpoints(), self.model.lifecycle(), self.model.metric
        if checkpoints is None or lifecycle is None:
            self._drawn, self.view.chart.value = None, ""
            return
        before = self._drawn
        if before is not None and before[0] == metric and before[1].equals(checkpoints) and before[2].equals(lifecycle):
            return
        self._drawn = metric, checkpoints, lifecycle
        try:
            self.view.chart.value = trend_svg(checkpoints, lifecycle, metric)
        except Exception as error:
            _logger.exception("the chart could not be drawn")
            self.view.chart.value = f"<em>The chart could not be drawn: {escape(in_words(error))}</em>"
