"""How charts look: one palette, one theme, and a colour that a study keeps."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

__all__ = ["DASHES", "NEUTRAL", "PALETTE", "SHAPES", "STATUS_COLOURS", "ColourBook", "colours", "colours_of_their_own", "theme"]

Mode = Literal["light", "dark", "page"]

PALETTE = ("#1e78b4", "#e1871e", "#870fff", "#c31e00", "#69a5c3", "#964b69", "#a578ff", "#b47869")
"""Found by a search for eight colours that stay apart for the three kinds of colour blindness (simulated as by Machado, Oliveira and
Fernandes, 2009), and that can be seen on white and on dark grey alike."""
DASHES: tuple[list[int], ...] = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
"""The ninth study begins again with the first colour, dashed; its points have another shape."""
SHAPES = ("circle", "square", "triangle-up", "diamond")
NEUTRAL = "#808080"
"""Can be read on white and on dark grey."""
STATUS_COLOURS = {"pending": "#b5b5b5", "running": "#2f9e77", "paused": "#d9a021", "stopped": "#777777"}

_INK: dict[str, tuple[str, str, str]] = {  # text, lines, background
    "light": ("#222222", "#cccccc", "#ffffff"),
    "dark": ("#eeeeee", "#555555", "#1e1e1e"),
    "page": ("var(--jp-ui-font-color1, #222222)", "var(--jp-border-color2, #cccccc)", "transparent"),
}
_READABLE = {"expr": "luminance(background) < 0.3 ? '#eeeeee' : '#222222'"}
"""JupyterLab's dark theme changes the background, but no text among the marks; no one grey is read well on both."""


class ColourBook:
    """Which place in the palette each study has: the next free one when it is first seen, and the same ever after."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._lock = threading.Lock()

    def places(self, study_ids: Iterable[str]) -> list[int]:
        """Give the place of each study, from 0."""
        own = _own.get()
        with self._lock:
            places = self._places if own is None else own
            return [places.setdefault(study_id, len(places)) for study_id in study_ids]

    def clear(self) -> None:
        """Forget every study."""
        with self._lock:
            self._places.clear()


colours = ColourBook()
"""The one of this process: a study has one colour in all its charts."""
_own: ContextVar[dict[str, int] | None] = ContextVar("own", default=None)


@contextmanager
def colours_of_their_own() -> Iterator[None]:
    """Give the charts made in this block colours as if they were the first of the process, whatever it drew before."""
    token = _own.set({})
    try:
        yield
    finally:
        _own.reset(token)


def theme(mode: Mode | None) -> dict[str, Any]:
    """Give the Vega-Lite configuration.

    Parameters
    ----------
    mode
        ``"light"`` or ``"dark"``; ``"page"`` takes the colours from JupyterLab's style variables; None leaves texts and background to
        whoever renders, as JupyterLab does in its dark theme.
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
        "view": {"strokeOpacity": 0.25},
        # Any other font than this one makes drawing without a browser five times slower: each text is measured.
        "font": "sans-serif",
    }  # fmt: skip
    if mode is None:
        return config
    text, line, background = _INK[mode]
    config["background"] = background
    config["axis"] |= {"labelColor": text, "titleColor": text, "domainColor": line, "tickColor": line, "gridColor": line}
    config["legend"] |= {"labelColor": text, "titleColor": text}
    config["title"] |= {"color": text, "subtitleColor": text}
    config["header"] = {"labelColor": text, "titleColor": text}
    config["text"]["color"] = text
    return config
