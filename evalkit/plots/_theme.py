"""Colors, line styles and the Vega-Lite configuration of charts."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

__all__ = ["DASHES", "LOOKS", "NEUTRAL", "PALETTE", "SHAPES", "STATUS_COLORS", "ColorBook", "colors", "fresh_colors", "theme"]

Mode = Literal["light", "dark", "page"]

PALETTE = ("#1e78b4", "#e1871e", "#870fff", "#c31e00", "#69a5c3", "#964b69", "#a578ff", "#b47869")
"""Eight colors, optimized to be distinct under the three kinds of color blindness (simulation: Machado, Oliveira and Fernandes, 2009) and
visible on white and on dark gray."""
DASHES: tuple[list[int], ...] = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
"""From the ninth study on, colors repeat with another dash pattern, and points have another shape."""
SHAPES = ("circle", "square", "triangle-up", "diamond")
LOOKS = len(PALETTE) * len(DASHES)
"""The number of distinct combinations of color and dash pattern (or shape)."""
NEUTRAL = "#808080"
"""Visible on white and on dark gray."""
STATUS_COLORS = {"pending": "#b5b5b5", "running": "#2f9e77", "paused": "#d9a021", "stopped": "#777777"}

_INK: dict[str, tuple[str, str, str, str]] = {  # text, subtitles, lines, background
    "light": ("#222222", "#555555", "#cccccc", "#ffffff"),
    "dark": ("#eeeeee", "#bbbbbb", "#555555", "#1e1e1e"),
    "page": (
        "var(--jp-ui-font-color1, #222222)", "var(--jp-ui-font-color1, #222222)", "var(--jp-border-color2, #cccccc)", "transparent",
    ),
}  # fmt: skip
_READABLE = {"expr": "luminance(background) < 0.3 ? '#eeeeee' : '#222222'"}
"""The color of text marks, which JupyterLab's dark theme does not change. No gray is readable on light and dark backgrounds."""


class ColorBook:
    """The palette position of each study.

    A study gets the next free position when it is first drawn, and keeps it.
    """

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._lock = threading.Lock()

    def places(self, study_ids: Iterable[str]) -> list[int]:
        """Return the palette position of each study, from 0."""
        local = _local_places.get()
        with self._lock:
            places = self._places if local is None else local
            return [places.setdefault(study_id, len(places)) for study_id in study_ids]

    def clear(self) -> None:
        """Remove all studies."""
        with self._lock:
            self._places.clear()


colors = ColorBook()
"""Shared by all charts of the process, so that a study has the same color in each of them."""
_local_places: ContextVar[dict[str, int] | None] = ContextVar("local_places", default=None)


@contextmanager
def fresh_colors() -> Iterator[None]:
    """Assign colors in this block as if no chart had been drawn before.

    The same data then give the same chart.
    """
    token = _local_places.set({})
    try:
        yield
    finally:
        _local_places.reset(token)


def theme(mode: Mode | None) -> dict[str, Any]:
    """Return the Vega-Lite configuration.

    Parameters
    ----------
    mode
        ``"light"`` or ``"dark"``; ``"page"`` uses JupyterLab's CSS variables. None leaves text and background colors to the renderer, as
        JupyterLab needs for its dark theme.
    """
    config: dict[str, Any] = {
        "axis": {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "gridOpacity": 0.5, "labelSeparation": 6},
        "axisX": {"grid": False},
        "legend": {"labelFontSize": 11, "titleFontSize": 11, "labelLimit": 240, "symbolLimit": 0, "symbolStrokeWidth": 2.5},
        "text": {"color": _READABLE},
        "line": {"strokeWidth": 1.8, "strokeJoin": "round"},
        "title": {
            "anchor": "start", "frame": "group", "fontSize": 14, "subtitleFontSize": 11, "subtitleFontWeight": "normal", "offset": 10,
            "subtitlePadding": 4,
        },
        "tick": {"color": _READABLE},
        "view": {"stroke": "transparent"},
        # Other fonts make rendering without a browser five times slower, because each text is measured.
        "font": "sans-serif",
    }  # fmt: skip
    if mode is None:
        return config
    text, subtitle, line, background = _INK[mode]
    config["background"] = background
    config["axis"] |= {"labelColor": text, "titleColor": text, "domainColor": line, "tickColor": line, "gridColor": line}
    config["legend"] |= {"labelColor": text, "titleColor": text}
    config["title"] |= {"color": text, "subtitleColor": subtitle}
    config["header"] = {"labelColor": text, "titleColor": text}
    config["text"]["color"] = config["tick"]["color"] = text
    return config
