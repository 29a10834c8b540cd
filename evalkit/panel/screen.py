"""What is on the page: a `PanelModel`, the widgets and the chart that show it, and the lock under which they change."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

from evalkit.errors import EvalkitError
from evalkit.panel.model import PanelModel
from evalkit.panel.view import PanelView, close_tree

if TYPE_CHECKING:
    import polars as pl

    from evalkit.panel.feed import Worker
    from evalkit.panel.reading import Reading
    from evalkit.plots._theme import Mode

    _Wanted = tuple[str, pl.DataFrame, pl.DataFrame]

__all__ = ["Picture", "Screen", "clock", "in_words"]

_WIDTH, _HEIGHT = 560, 240
_logger = logging.getLogger("evalkit.panel")


def clock() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


def in_words(error: Exception) -> str:
    """Return an error's message; an error that is not evalkit's own, which explain themselves, with its name."""
    return str(error) if isinstance(error, EvalkitError) else f"{type(error).__name__}: {error}"


@dataclass(frozen=True)
class Picture:
    """The chart: a trend of `evalkit.plots`, as SVG and in words."""

    spec: dict[str, Any]
    """Its specification, without a theme."""

    @classmethod
    def of(cls, checkpoints: pl.DataFrame, lifecycle: pl.DataFrame, metric: str) -> Picture:
        """Draw one metric of one study over time, with its lifecycle: the study's rows of the kit's frames."""
        from evalkit.frames.study_data import StudyData
        from evalkit.plots import trend
        from evalkit.plots._rendering import specification

        return cls(specification(trend(StudyData(checkpoints, lifecycle), metric, width=_WIDTH, height=_HEIGHT)))

    @property
    def words(self) -> str:
        """What it shows, in words."""
        return str(self.spec.get("description", ""))

    def svg(self, mode: Mode) -> str:
        """Return it as an SVG that is named for screen readers: ``"light"``, or in the colors of the ``"page"`` that it is on."""
        from evalkit.plots._rendering import svg

        return svg(self.spec, mode)


class Screen:
    """Changes the model and shows it, for one thread at a time: the kernel's, the watcher's or a worker's.

    Nothing that may wait for a server, and nothing that takes long, happens under the lock, so that the kernel never waits for it.

    Parameters
    ----------
    model
        What it shows.
    drawer
        What draws the chart.
    """

    def __init__(self, model: PanelModel, drawer: Worker) -> None:
        self.model = model
        self.view = PanelView()
        self.closed = False
        self.seen = False
        self._lock = threading.RLock()
        self._showing = False
        self._drawer = drawer
        self._drawing: Future[None] = Future()
        self._drawing.set_result(None)
        self._wanted: _Wanted | None = None
        self._asked: _Wanted | None = None
        self._picture: Picture | None = None

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

    def end(self) -> bool:
        """Show nothing any more. Returns whether anything was shown until now."""
        with self._lock:
            was_closed, self.closed = self.closed, True
        return not was_closed

    def remove(self) -> None:
        """Take everything off the page."""
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
        self._look_at_chart()

    def see(self, seen: bool) -> None:
        """Take note whether anybody sees the screen: its chart is drawn only then, or when it is asked for."""
        with self._lock:
            self.seen = seen
            if seen:
                self._draw_later()

    def picture(self, seconds: float) -> Picture | None:
        """Return the chart, waiting for it for some seconds where it is still to be drawn; None when there is none by then."""
        with self._lock:
            self._draw_later()
            drawing = self._drawing
        with suppress(TimeoutError, CancelledError):
            drawing.result(seconds)
        with self._lock:
            return self._picture

    def _look_at_chart(self) -> None:
        """Find out whether the chart would be another one."""
        checkpoints, lifecycle, metric = self.model.checkpoints(), self.model.lifecycle(), self.model.metric
        if checkpoints is None or lifecycle is None:
            self._wanted, self._picture, self.view.chart.value = None, None, ""
            return
        before = self._wanted
        if before is None or before[0] != metric or not before[1].equals(checkpoints) or not before[2].equals(lifecycle):
            self._wanted = metric, checkpoints, lifecycle
            if self.seen:
                self._draw_later()

    def _draw_later(self) -> None:
        """Have the chart drawn, if it is not. That takes a while, and the rest of the panel does not wait for it."""
        wanted = self._wanted
        if wanted is not None and wanted is not self._asked and not self.closed:
            self._asked = wanted
            self._drawing = self._drawer.submit(lambda: self._draw(wanted))

    def _draw(self, wanted: _Wanted) -> None:
        if self._wanted is not wanted or self.closed:
            return
        picture: Picture | None = None
        try:
            metric, checkpoints, lifecycle = wanted
            picture = Picture.of(checkpoints, lifecycle, metric)
            html = "" if self.closed else picture.svg("page")
        except Exception as error:
            _logger.exception("the chart could not be drawn")
            html = f"<em>The chart could not be drawn: {escape(in_words(error))}</em>"
        with self._lock:
            if self._wanted is wanted and not self.closed:
                self._picture, self.view.chart.value = picture, html  # swapped as a whole
