"""Altair charts that display without a network and keep their underlying data.

Composed charts are plain Altair charts.
"""

from __future__ import annotations

import copy
import textwrap
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

import altair as alt
import polars as pl

from evalkit.domain.refusals import a_type, invalid
from evalkit.errors import InvalidInputError
from evalkit.plots._rendering import bundle
from evalkit.plots._vega_lite import Part, composed, top_level

__all__ = ["INDEPENDENT", "EvalChart", "GroupedChart", "LayeredChart", "StackedChart", "check_size", "layered", "table", "titled"]

# In a composed chart, shared scales would be merged, and colors would change.
INDEPENDENT = {"scale": dict.fromkeys(("color", "strokeDash", "shape", "opacity"), "independent")}


class EvalChart(alt.TopLevelMixin):
    """An Altair chart that displays without a network and keeps its underlying data.

    `table` returns the underlying data. Altair's objects are made from the specification when they are first used, because that is slow.
    From then on, they are the chart, and the specification is not used anymore.
    """

    _specification: Part | None = None
    _underlying: pl.LazyFrame | None = None
    _args = ()

    @classmethod
    def of(cls, specification: Part, underlying: pl.LazyFrame | pl.DataFrame) -> Self:
        """Return the chart of a valid specification, with the underlying data."""
        chart = cls.__new__(cls)
        # Altair's setters would treat them as properties of the specification.
        vars(chart).update(_specification=specification, _underlying=underlying.lazy())
        return chart

    @cached_property
    def _kwds(self) -> dict[str, Any]:
        """The properties of the chart as Altair's objects."""
        if self._specification is None:
            raise AttributeError
        properties: dict[str, Any] = _altair_chart(self._specification)._kwds
        return properties

    def __getattr__(self, name: str) -> Any:
        # IPython looks up such names to display a chart; Altair's objects are not needed for that.
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        return super().__getattr__(name)  # type: ignore[misc]

    @property
    def has_inline_rows(self) -> bool:
        """Whether all data are inline rows, so that Altair's data transformers are not needed."""
        return True

    def copy(self, deep: Any = True, ignore: list[str] | None = None) -> Any:
        """Return a copy with the same underlying data.

        `properties` and other methods of Altair return such copies.
        """
        copied = super().copy(deep, ignore)  # type: ignore[misc]
        vars(copied)["_underlying"] = self._underlying
        return copied

    def to_dict(self, validate: bool = True, **options: Any) -> Any:
        """Return the specification, whose rows are not copied: change a copy of them.

        Altair writes and validates it if its objects have been used, or for special options.
        """
        if "_kwds" in vars(self) or self._specification is None or not _is_usual(**options):
            return super().to_dict(validate, **options)
        return top_level(self._specification)

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


_COMPOSED: dict[str, Any] = {"layer": LayeredChart, "concat": GroupedChart, "vconcat": StackedChart}
_OBJECTS: dict[str, Any] = {
    "axis": alt.Axis, "height": alt.Step, "legend": alt.Legend, "mark": alt.MarkDef, "scale": alt.Scale, "title": alt.TitleParams,
    "view": alt.ViewBackground,
}  # fmt: skip


def _altair_chart(part: Part) -> Any:
    """Return a chart or a layer as Altair's objects.

    They share only the rows with the specification.
    """
    kind = next((kind for name, kind in _COMPOSED.items() if name in part), alt.Chart)
    chart = kind()  # Altair would copy parts that are passed here, on each level
    for name, value in part.items():
        chart[name] = _object(name, value)
    return chart


def _object(name: str, value: Any) -> Any:
    if name in _COMPOSED:
        return [_altair_chart(part) for part in value]
    if name == "encoding":
        return alt.FacetedEncoding(**{channel: _channel(channel, each) for channel, each in value.items()})
    copied = copy.deepcopy(value)
    return _OBJECTS[name](**copied) if name in _OBJECTS and isinstance(copied, dict) else copied


def _channel(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_channel(name, each) for each in value]
    kind = getattr(alt, f"{name[0].upper()}{name[1:]}{'' if 'field' in value else 'Value'}")
    return kind(**{option: _object(option, each) for option, each in value.items()})


def _is_usual(*, format: str = "vega-lite", ignore: Any = None, context: Any = None, **others: Any) -> bool:  # noqa: A002 # Altair's name
    """Return whether neither these options of `to_dict` nor settings of data apply."""
    plain = format == "vega-lite" and not ignore and context in (None, {}, {"pre_transform": False}) and not others
    return plain and alt.data_transformers.consolidate_datasets and not alt.data_transformers.active.startswith("vegafusion")


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
    data = chart._underlying if isinstance(chart, EvalChart) else None
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
    layers: Sequence[Part], title: str, notes: Sequence[str], description: str, underlying: pl.LazyFrame | pl.DataFrame,
    *, width: int = 640, height: Any = 280,
) -> LayeredChart:  # fmt: skip
    """Return a chart of layers, with its notes as the subtitle."""
    heading = titled(title, notes, max(40, width * 105 // 640))
    chart = composed("layer", layers, resolve=INDEPENDENT, title=heading, description=description, width=width, height=height)
    return LayeredChart.of(chart, underlying)


def titled(title: str, notes: Sequence[str], width: int = 105) -> dict[str, Any]:
    """Return a title with notes as its subtitle, in lines of about `width` characters."""
    lines = textwrap.wrap(" ".join(notes), width)
    text = textwrap.wrap(title, 90) or [""]
    return {"text": text, "subtitle": lines} if lines else {"text": text}
