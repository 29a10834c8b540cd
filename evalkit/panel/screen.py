"""The model, widgets and chart of a panel, which change only while a lock is held."""

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
from evalkit.panel.markup import no_values_html
from evalkit.panel.model import PanelModel
from evalkit.panel.reading import read_provenance
from evalkit.panel.traits import close_tree, set_trait
from evalkit.panel.view import PanelView

if TYPE_CHECKING:
    import polars as pl

    from evalkit.frames.study_data import StudyData
    from evalkit.panel.content import StudyFrames
    from evalkit.panel.feed import Worker
    from evalkit.panel.reading import PanelKit, Reading
    from evalkit.plots._theme import Mode

    _ChartInput = tuple[str, StudyFrames]

__all__ = ["Picture", "Screen", "error_text", "utc_now"]

_WIDTH, _HEIGHT = 560, 240
_logger = logging.getLogger("evalkit.panel")


def utc_now() -> datetime:
    """Return the current time, in UTC."""
    return datetime.now(UTC)


def error_text(error: Exception) -> str:
    """Return the message of an error, with the name of its type if it is not evalkit's."""
    return str(error) if isinstance(error, EvalkitError) else f"{type(error).__name__}: {error}"


@dataclass(frozen=True)
class Picture:
    """The chart of the selected study: a trend chart of `evalkit.plots`."""

    spec: dict[str, Any]
    """Vega-Lite specification, without a theme."""

    @classmethod
    def of(cls, data: StudyData, metric: str) -> Picture:
        """Draw one metric of one study over time, with its lifecycle and notes.

        Parameters
        ----------
        data
            The data of the study.
        metric
            Name of the metric.
        """
        from evalkit.plots import trend
        from evalkit.plots._rendering import specification

        return cls(specification(trend(data, metric, width=_WIDTH, height=_HEIGHT)))

    @property
    def alt(self) -> str:
        """Text alternative."""
        return str(self.spec.get("description", ""))

    def svg(self, mode: Mode) -> str:
        """Return an SVG with an accessible name.

        The colors are those of a light theme if `mode` is ``"light"``, and those of the surrounding page if it is ``"page"``.
        """
        from evalkit.plots._rendering import svg

        return svg(self.spec, mode)


class Screen:
    """Change the model and show it, in one thread at a time.

    The threads are those of the kernel, the watcher and the workers. Code that is slow or may wait for a server does not hold the lock, so
    that it never blocks the kernel.

    Parameters
    ----------
    model
        State to show.
    drawer
        Worker that draws the chart.
    kit
        The kit, from which the worker reads the origin of the drawn checkpoints.
    """

    def __init__(self, model: PanelModel, drawer: Worker, kit: PanelKit) -> None:
        self.model = model
        self.view = PanelView()
        self.closed = False
        self.visible = False
        self._lock = threading.RLock()
        self._showing = False
        self._drawer = drawer
        self._kit = kit
        self._drawing: Future[None] = Future()
        self._drawing.set_result(None)
        self._chart_input: _ChartInput | None = None
        self._requested_input: _ChartInput | None = None
        self._picture: Picture | None = None

    def change(self, act: Callable[[], object]) -> None:
        """Change the model and show it. A closed screen ignores changes."""
        self._locked(act, self._show_all)

    def apply(self, reading: Reading) -> None:
        """Show a reading of the kit; if nothing changed, only its age."""
        changes: list[bool] = []
        self._locked(
            lambda: changes.append(self.model.apply(reading, utc_now())),
            lambda: self._show_all() if any(changes) else self.view.show_age(self.model, utc_now()),
        )

    def change_form(self, act: Callable[[], object]) -> None:
        """Change the text of a form and show only the forms, because this runs on each keystroke."""
        self._locked(act, lambda: self.view.show_forms(self.model))

    def show_age(self) -> None:
        """Show the age of the last reading."""
        self._locked(lambda: None, lambda: self.view.show_age(self.model, utc_now()))

    def read(self, ask: Callable[[], object]) -> None:
        """Call a function that reads the model; the model does not change in the meantime."""
        with self._lock:
            ask()

    def end(self) -> bool:
        """Ignore all further changes. Return whether the screen was open."""
        with self._lock:
            was_closed, self.closed = self.closed, True
        return not was_closed

    def remove(self) -> None:
        """Remove the widgets from the page."""
        close_tree(self.view.root)

    def _locked(self, act: Callable[[], object], show: Callable[[], object]) -> None:
        with self._lock:
            if self.closed or self._showing:  # events of widgets that are being updated do not come from a user
                return
            self._showing = True
            try:
                act()
            except Exception as error:
                # Notebooks do not show errors of widget callbacks, so the status line shows them.
                _logger.exception("panel: a callback failed")
                self.model.notify(error_text(error), "problem", utc_now())
                show = self._show_all
            finally:
                try:
                    show()
                finally:
                    self._showing = False

    def _show_all(self) -> None:
        self.view.show(self.model, utc_now())
        self._update_chart()

    def set_visible(self, visible: bool) -> None:
        """Set whether the screen is visible: charts of hidden screens are drawn only on request."""
        with self._lock:
            self.visible = visible
            if visible:
                self._draw_later()

    def picture(self, seconds: float) -> Picture | None:
        """Return the chart, waiting up to `seconds` for the drawing; None without a chart."""
        with self._lock:
            self._draw_later()
            drawing = self._drawing
        with suppress(TimeoutError, CancelledError):
            drawing.result(seconds)
        with self._lock:
            return self._picture

    def _update_chart(self) -> None:
        """Request a drawing if the content of the chart changed."""
        model = self.model
        metric, frames = model.metric, model.study_frames()
        if frames is None:
            self._chart_input, self._picture, self.view.chart.value = None, None, ""
            return
        if metric not in frames.checkpoints.columns or not frames.checkpoints[metric].count():
            self._chart_input, self._picture = None, None
            set_trait(self.view.chart, "value", no_values_html(model.metric_label))
            return
        previous = self._chart_input
        if previous is None or previous[0] != metric or not (previous[1] is frames or previous[1].equals(frames)):
            self._chart_input = metric, frames
            if self.visible:
                self._draw_later()

    def _draw_later(self) -> None:
        """Request the drawing of the chart, unless it was already requested.

        The other parts of the panel do not wait for it.
        """
        chart_input = self._chart_input
        if chart_input is not None and chart_input is not self._requested_input and not self.closed:
            self._requested_input = chart_input
            self._drawing = self._drawer.submit(lambda: self._draw(chart_input))

    def _draw(self, chart_input: _ChartInput) -> None:
        if self._chart_input is not chart_input or self.closed:
            return
        metric, frames = chart_input
        picture: Picture | None = None
        problem = ""
        try:
            provenance, problem = self._provenance(frames)
            picture = Picture.of(frames.data(provenance), metric)
            html = "" if self.closed else picture.svg("page") + problem
        except Exception as error:
            _logger.exception("panel: the chart could not be drawn")
            html = f"<em>The chart could not be drawn: {escape(error_text(error))}</em>"
        with self._lock:
            if self._chart_input is chart_input and not self.closed:
                self._picture, self.view.chart.value = picture, html  # in one step, so that the chart does not flicker
                if problem:
                    self._chart_input = None  # so that the next change draws the chart again

    def _provenance(self, frames: StudyFrames) -> tuple[pl.DataFrame | None, str]:
        """Return the known origin of the checkpoints, and a message if it cannot be read."""
        if not frames.checkpoints["collector"].count():
            return None, ""
        try:
            return read_provenance(self._kit, frames.studies["study_id"][0], frames.as_of), ""
        except EvalkitError as error:
            return None, f"<em>Version changes could not be read, so the chart does not show them: {escape(str(error))}</em>"
