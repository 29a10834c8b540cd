"""The charts that evalkit gives: Altair's own, that display offline by themselves, know their table, and compose into plain Altair."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from evalkit.domain.validation import a_type, invalid
from evalkit.errors import InvalidInputError
from evalkit.plots._rendering import bundle

__all__ = ["EvalChart", "GroupedChart", "LayeredChart", "StackedChart", "check_size", "layered", "table", "titled"]


class EvalChart(alt.TopLevelMixin):
    """What an evalkit chart adds to Altair's: it displays offline by itself, and `table` gives the numbers that it shows."""

    @property
    def holds_rows(self) -> bool:
        """Whether all data stand in the chart as rows, for which Altair's data transformers are not asked."""
        return True

    def with_twin(self, twin: pl.LazyFrame | None, *, valid: bool = False) -> Any:
        """Give this chart its table, and whether it is known to be valid. Neither is a property for Altair, so it goes past its setters."""
        object.__setattr__(self, "_twin", twin)
        object.__setattr__(self, "_valid", valid)
        return self

    def copy(self, deep: Any = True, ignore: list[str] | None = None) -> Any:
        """Copy, as `properties` and other methods of Altair do; the copy shows the same numbers."""
        if deep is False:  # Altair would compose the parts again and copy each of them deeply
            shallow = copy.copy(self)
            object.__setattr__(shallow, "_kwds", dict(vars(self)["_kwds"]))
        else:
            shallow = super().copy(deep, ignore)  # type: ignore[misc]
        return shallow.with_twin(vars(self).get("_twin"))

    def to_dict(self, validate: bool = True, **kwargs: Any) -> Any:
        """Give the specification. Altair checks what a user changed; what evalkit made is checked in its tests, and that takes long."""
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
    """One evalkit chart; for Altair a `LayerChart`."""


class GroupedChart(EvalChart, alt.ConcatChart):
    """Several evalkit charts in columns; for Altair a `ConcatChart`."""


class StackedChart(EvalChart, alt.VConcatChart):
    """Several evalkit charts under each other; for Altair a `VConcatChart`."""


def table(chart: alt.TopLevelMixin) -> pl.DataFrame:
    """Give the numbers that a chart of evalkit shows, all of them, also where the chart is thinned.

    Parameters
    ----------
    chart
        What a function of `evalkit.plots` gave, or what ``.properties(...)`` made of it.

    Returns
    -------
    polars.DataFrame
        A row for each point. Times are Datetime(us, UTC), durations seconds, rates 0 to 1.

    Raises
    ------
    InvalidInputError
        For another chart: one that was composed has the tables of its parts.
    """
    twin: pl.LazyFrame | None = vars(chart).get("_twin") if isinstance(chart, EvalChart) else None
    if twin is None:
        raise InvalidInputError(
            f"chart: {a_type(chart)} has no table. Give what a function of evalkit.plots returned, of a composed chart each part.",
            field="chart", value=type(chart).__name__,
        )  # fmt: skip
    return twin.collect()


def check_size(**sizes: Any) -> None:
    """Refuse a width or height that is no number of pixels."""
    for name, size in sizes.items():
        if type(size) is not int or not 50 <= size <= 10_000:
            raise invalid(name, size, "is no number of pixels", "give a whole number from 50 to 10,000")


def layered(
    layers: Sequence[Any], title: str, notes: Sequence[str], described: str, twin: pl.LazyFrame | pl.DataFrame, **properties: Any
) -> LayeredChart:
    """Make a chart of layers, with its notes under the title."""
    # Shared scales would be merged with those of the charts that a user puts beside this one, and the colours would change.
    apart = alt.Resolve(scale=alt.ScaleResolveMap(color="independent", strokeDash="independent", opacity="independent"))
    width = properties.pop("width", 640)
    chart = LayeredChart(
        layer=list(layers), resolve=apart, title=titled(title, notes, max(40, width * 105 // 640)), description=described, width=width,
        height=properties.pop("height", 280), **properties,
    )  # fmt: skip
    chart.with_twin(twin.lazy(), valid=True)
    return chart


def titled(title: str, notes: Sequence[str], width: int = 105) -> alt.TitleParams:
    """Give a title with notes under it, as a text in lines of about `width` characters."""
    import textwrap

    lines = textwrap.wrap(" ".join(notes), width)
    text = textwrap.wrap(title, 90) or [""]
    return alt.TitleParams(text=text, subtitle=lines) if lines else alt.TitleParams(text=text)
