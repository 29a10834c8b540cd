"""Altair charts that display without a network and keep their underlying data.

Composed charts are plain Altair charts.
"""

from __future__ import annotations

import copy
import textwrap
from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from evalkit.domain.refusals import a_type, invalid
from evalkit.errors import InvalidInputError
from evalkit.plots._rendering import bundle

__all__ = ["EvalChart", "GroupedChart", "LayeredChart", "StackedChart", "check_size", "layered", "table", "titled"]


class EvalChart(alt.TopLevelMixin):
    """An Altair chart that displays without a network and keeps its underlying data.

    `table` returns the underlying data.
    """

    @property
    def has_inline_rows(self) -> bool:
        """Whether all data are inline rows, so that Altair's data transformers are not needed."""
        return True

    def with_underlying(self, data: pl.LazyFrame | None, *, valid: bool = False) -> Any:
        """Attach the underlying data, and whether the specification is known to be valid."""
        # Altair's setters would treat them as properties of the specification.
        object.__setattr__(self, "_underlying", data)
        object.__setattr__(self, "_valid", valid)
        return self

    def copy(self, deep: Any = True, ignore: list[str] | None = None) -> Any:
        """Return a copy with the same underlying data.

        `properties` and other methods of Altair return such copies.
        """
        if deep is False:  # Altair would compose the parts again and copy each of them deeply
            copied = copy.copy(self)
            object.__setattr__(copied, "_kwds", dict(vars(self)["_kwds"]))
        else:
            copied = super().copy(deep, ignore)  # type: ignore[misc]
        return copied.with_underlying(vars(self).get("_underlying"))

    def to_dict(self, validate: bool = True, **kwargs: Any) -> Any:
        """Return the specification; Altair validates it only if the chart was changed.

        Validation is slow, and evalkit's charts are valid.
        """
        return super().to_dict(validate and not vars(self).get("_valid"), **kwargs)

    def _repr_mimebundle_(self, *_: Any, **__: Any) -> Any:
        return bundle(self)

    def __add__(self, other: Any) -> Any:
        return alt.layer(self, other)  # type: ignore[arg-type]

    def __or__(self, other: Any) -> Any:
        return alt.hconcat(self, other)  # type: ignore[arg-type]

    def __and__(self, other: Any) -> Any:
        return alt.vconcat(self, other)  # type: ignore[arg-type]


class LayeredChart(EvalChart, alt.LayerChart):
    """A single chart; an Altair `LayerChart`."""


class GroupedChart(EvalChart, alt.ConcatChart):
    """Several charts in columns; an Altair `ConcatChart`."""


class StackedChart(EvalChart, alt.VConcatChart):
    """Several charts below each other; an Altair `VConcatChart`."""


def table(chart: alt.TopLevelMixin) -> pl.DataFrame:
    """Return the underlying data of a chart, complete even if the chart is downsampled.

    Parameters
    ----------
    chart
        A chart that a function of `evalkit.plots` returned, also after ``.properties(...)``.

    Returns
    -------
    polars.DataFrame
        One row for each point: the study, the period, the values. Times are ``Datetime("us", "UTC")``, durations are in seconds, rates
        are 0 to 1. If values were amended, `status` is ``"recorded"``, ``"amended"`` or ``"withdrawn"``, and `old` is the value as first
        recorded. If the chart has notes or version changes, `notes` lists those of the period; what is in no period has a row of its own.

    Raises
    ------
    InvalidInputError
        For any other chart. For a composed chart, pass each of its parts.

    Examples
    --------
    >>> from evalkit import plots
    >>> from evalkit.samples import sample_checkpoints
    >>> checkpoints = pl.DataFrame(sample_checkpoints("daily", "2026-01-05T00:00:00Z", 3, seed=1))
    >>> plots.table(plots.trend(checkpoints, "total_cost")).columns
    ['study', 'period_start', 'period_end', 'total_cost']
    """
    data: pl.LazyFrame | None = vars(chart).get("_underlying") if isinstance(chart, EvalChart) else None
    if data is None:
        raise InvalidInputError(
            f"Cannot get the underlying data of {a_type(chart)}",
            hint="Pass a chart that evalkit.plots returned; for a composed chart, pass each part.",
            field="chart",
            value=type(chart).__name__,
        )
    return data.collect()


def check_size(**sizes: Any) -> None:
    """Raise if a width or height is not a valid number of pixels."""
    for name, size in sizes.items():
        if type(size) is not int or not 50 <= size <= 10_000:
            raise invalid(name, size, "expected an integer from 50 to 10,000 (pixels)")


def layered(
    layers: Sequence[Any], title: str, notes: Sequence[str], description: str, underlying: pl.LazyFrame | pl.DataFrame, **properties: Any
) -> LayeredChart:
    """Return a chart of layers, with its notes as the subtitle."""
    # In a composed chart, shared scales would be merged, and colors would change.
    channels: dict[str, Any] = dict.fromkeys(("color", "strokeDash", "shape", "opacity"), "independent")
    independent = alt.Resolve(scale=alt.ScaleResolveMap(**channels))
    width = properties.pop("width", 640)
    chart = LayeredChart(
        layer=list(layers), resolve=independent, title=titled(title, notes, max(40, width * 105 // 640)), description=description,
        width=width, height=properties.pop("height", 280), **properties,
    )  # fmt: skip
    chart.with_underlying(underlying.lazy(), valid=True)
    return chart


def titled(title: str, notes: Sequence[str], width: int = 105) -> alt.TitleParams:
    """Return a title with notes as its subtitle, in lines of about `width` characters."""
    lines = textwrap.wrap(" ".join(notes), width)
    text = textwrap.wrap(title, 90) or [""]
    return alt.TitleParams(text=text, subtitle=lines) if lines else alt.TitleParams(text=text)
