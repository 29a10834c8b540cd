"""The chart that the panel shows: a trend of `evalkit.plots`, as SVG and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from evalkit.plots._theme import Mode

__all__ = ["Picture", "draw"]

_WIDTH, _HEIGHT = 560, 240


@dataclass(frozen=True)
class Picture:
    """One chart."""

    spec: dict[str, Any]
    """Its specification, without a theme."""

    @property
    def words(self) -> str:
        """What it shows, in words."""
        return str(self.spec.get("description", ""))

    def svg(self, mode: Mode) -> str:
        """Give it as an SVG that is named for screen readers: ``"light"``, or in the colours of the ``"page"`` that it stands on."""
        from evalkit.plots._rendering import svg

        return svg(self.spec, mode)


def draw(checkpoints: pl.DataFrame, lifecycle: pl.DataFrame, metric: str) -> Picture:
    """Draw one metric of one study over time, with its lifecycle.

    Parameters
    ----------
    checkpoints, lifecycle
        The study's rows of the kit's frames.
    metric
        One of `METRICS`.
    """
    from evalkit.plots._rendering import specification
    from evalkit.plots._trends import trend

    return Picture(specification(trend(checkpoints, metric, lifecycle=lifecycle, width=_WIDTH, height=_HEIGHT)))
