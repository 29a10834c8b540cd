"""Charts as Vega-Lite specifications in plain dictionaries.

A chart is written without Altair's objects, which are validated and copied whenever they are combined. A dictionary may be part of several
layers, so it is never changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, TypeAlias

import altair as alt
import polars as pl
from altair.utils import update_nested

__all__ = [
    "Channel",
    "Part",
    "Rows",
    "calculate",
    "composed",
    "field",
    "inline_rows",
    "keep",
    "layer",
    "mark",
    "top_level",
    "with_field",
    "without_pointer",
]

Channel: TypeAlias = dict[str, Any]
"""What a channel of a layer shows: a field or a value, with its axis, scale or legend."""
Part: TypeAlias = dict[str, Any]
"""A layer, or a chart of several parts. Its data are `Rows`."""
_TYPES = {"N": "nominal", "Q": "quantitative", "T": "temporal"}


class Rows(alt.InlineData):
    """Any number of inline rows, which Altair neither validates nor copies.

    This is safe because the rows are valid and never change.
    """

    _class_is_valid_at_instantiation = False

    def __deepcopy__(self, _: object) -> Rows:
        return self

    @cached_property
    def dataset(self) -> str:
        """The name of the rows in a specification, which is the one that Altair gives them."""
        text = json.dumps(self["values"], sort_keys=True, default=str)
        return f"data-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def inline_rows(rows: pl.DataFrame) -> Rows:
    """Return rows as the inline data of a chart."""
    return Rows(values=rows.to_dicts())


def field(shorthand: str, **options: Any) -> Channel:
    """Return the channel of a field; its type may follow the name, as in ``"v:Q"``."""
    name, _, kind = shorthand.partition(":")
    return {"field": name, **({"type": _TYPES[kind]} if kind else {}), **options}


def with_field(channel: Channel, name: str) -> Channel:
    """Return the same channel for another field of the same type."""
    return {**channel, "field": name}


def mark(kind: str, **options: Any) -> dict[str, Any]:
    """Return the mark of a layer."""
    return {"type": kind, **options}


def calculate(name: str, expression: str) -> dict[str, Any]:
    """Return a transformation that adds a field."""
    return {"calculate": expression, "as": name}


def keep(condition: str) -> dict[str, Any]:
    """Return a transformation that keeps the rows that satisfy a condition."""
    return {"filter": condition}


def layer(rows: Rows, mark: dict[str, Any], *transform: dict[str, Any], **encoding: Channel | list[Channel]) -> Part:
    """Return a layer: a mark for each of the transformed rows."""
    return {
        "data": rows, "mark": mark, **({"transform": list(transform)} if transform else {}), **({"encoding": encoding} if encoding else {}),
    }  # fmt: skip


def composed(kind: Literal["layer", "concat", "vconcat"], parts: Sequence[Part], **properties: Any) -> Part:
    """Return a chart of several parts.

    Data that all parts share become the data of the chart, as in Altair.
    """
    data = parts[0].get("data")
    if data is None or any(part.get("data") is not data for part in parts):
        return {**properties, kind: list(parts)}
    return {"data": data, **properties, kind: [{name: value for name, value in part.items() if name != "data"} for part in parts]}


def without_pointer(value: Any) -> Any:
    """Return a part of a specification without what only shows under a pointer.

    These are tooltips, and transparent points, except those to which the condition of their opacity applies.
    """
    if isinstance(value, list):
        return [without_pointer(item) for item in value if not _is_transparent(item)]
    if not isinstance(value, dict) or "values" in value:
        return value
    if "encoding" not in value:
        return {name: item if name == "datasets" else without_pointer(item) for name, item in value.items()}
    encoding = {name: channel for name, channel in value["encoding"].items() if name not in ("tooltip", "description")}
    opacity = encoding.get("opacity", {})
    visible = [keep(opacity["condition"]["test"])] if opacity.get("value") == 0 else []
    return {**value, "transform": [*visible, *value.get("transform", [])], "encoding": encoding}


def _is_transparent(layer: Any) -> bool:
    return isinstance(layer, dict) and layer.get("encoding", {}).get("opacity") == {"value": 0}


def top_level(chart: Part) -> dict[str, Any]:
    """Return a chart as a specification that can be drawn, with Altair's enabled theme.

    Everything but the rows is copied.
    """
    datasets: dict[str, Any] = {}
    theme: Any = alt.theme.get()
    spec = update_nested(theme(), {**_named(chart, datasets), "$schema": alt.SCHEMA_URL}, copy=True)
    return {**spec, "datasets": datasets}


def _named(value: Any, datasets: dict[str, Any]) -> Any:
    """Return a copy with names in place of rows; these are added to `datasets`."""
    if isinstance(value, dict):
        return {name: _named(item, datasets) for name, item in value.items()}
    if isinstance(value, list):
        return [_named(item, datasets) for item in value]
    if isinstance(value, Rows):
        datasets[value.dataset] = value["values"]
        return {"name": value.dataset}
    return value
