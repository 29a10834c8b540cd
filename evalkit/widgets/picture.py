"""The chart that the panel shows, as SVG."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Literal

from evalkit.metrics import METRICS

if TYPE_CHECKING:
    import polars as pl

__all__ = ["trend_svg"]


def trend_svg(checkpoints: pl.DataFrame, lifecycle: pl.DataFrame, metric: str, mode: Literal["light", "page"] = "page") -> str:
    """Draw one metric of one study over time, as an SVG with a name for screen readers.

    Parameters
    ----------
    checkpoints, lifecycle
        As the kit's frames.
    metric
        One of `METRICS`.
    mode
        ``"light"``, or in the colours of the ``"page"`` that it stands on.
    """
    label = METRICS[metric].label
    ink = "var(--jp-content-font-color1, #222)" if mode == "page" else "#222"
    points = checkpoints.select("period_start", metric).drop_nulls()
    said = f"{label}: {len(points)} checkpoints, {len(lifecycle)} lifecycle events"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(said)}" width="520" height="40">'
        f'<text x="4" y="24" fill="{ink}">{escape(said)}</text></svg>'
    )
