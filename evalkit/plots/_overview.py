"""All metrics at once, as small charts in the catalogue's groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import altair as alt
import polars as pl

from evalkit._util.text import plural, span
from evalkit.domain.metrics import METRICS
from evalkit.errors import InvalidInputError
from evalkit.frames.metric_text import number
from evalkit.frames.study_data import study_data
from evalkit.plots._chart import GroupedChart, LayeredChart, StackedChart, layered, titled
from evalkit.plots._lines import Plane, axis_years, colour_of, drawn_times, legend_of, line_layers, nothing, time_axis, value_axis, values
from evalkit.plots._points import Series, prepare
from evalkit.plots._words import DIRECTIONS, axis_title, described

if TYPE_CHECKING:
    from evalkit.frames.study_data import DataLike

__all__ = ["overview"]

_COLUMNS = 3
_MOST_NOTES = 3
_WIDTH, _HEIGHT = 200, 100
_SPACING = 72  # from frame to frame: room for the axis of the one and the title of the other
_EXTENT = 42  # the same room for the labels of each small chart, so that they stand in columns


def overview(data: DataLike) -> StackedChart:
    """Draw every metric that has data as a small chart, in the groups of the catalogue.

    Parameters
    ----------
    data
        A `StudyData`, or a frame as ``kit.checkpoints()`` returns it. Metrics without a column are left out.

    Returns
    -------
    altair.VConcatChart
        It displays offline by itself. Lines break at gaps as in `trend`; there are no bands.

    Raises
    ------
    InvalidInputError
        When the frame is none, or lacks the periods or all metrics.
    """
    known = study_data(data)
    named = [name for name in METRICS if name in known]
    if not named:
        prepare(known, next(iter(METRICS)))  # says what is wrong with the frame
        raise InvalidInputError("data: it has no metric.", field="data", value=known.column_names)  # pragma: no cover
    series = [one for one in (prepare(known, name, interval=False) for name in named) if one.points.height]
    if not series:
        empty = layered(nothing(), "", [], "", pl.DataFrame(), height=_HEIGHT)
        note = "Nothing to draw: no checkpoint has a value."
        return _stacked([empty], [note], f"Overview. {note}", pl.DataFrame(schema=_TWIN))
    groups: dict[str, list[Series]] = {}
    for one in series:
        groups.setdefault(one.metric.group, []).append(one)
    many = len({study for one in series for study in one.studies}) > 1
    parts: list[Any] = [_legend(sorted({study for one in series for study in one.studies}))] if many else []
    notes: list[str] = []
    # One axis for all: a metric that was measured for a while only looks so.
    x = time_axis([drawn_times(one.points, "start", "end") for one in series], _WIDTH, title=False, fixed=True)
    for group, members in groups.items():
        small = [_small(one, x) for one in members]
        notes += [f"{one.metric.label}: {note}" for one, (_, said) in zip(members, small, strict=True) for note in said]
        parts.append(
            GroupedChart(
                concat=[chart for chart, _ in small],
                columns=_COLUMNS,
                spacing=_SPACING,
                bounds="flush",
                title=alt.TitleParams(group, fontSize=12),
            )
        )
    first: Any = min(one.points["start"].min() for one in series)  # type: ignore[type-var]
    last: Any = max(one.points["end"].max() for one in series)  # type: ignore[type-var]
    more = [f"And so for {plural(len(notes) - _MOST_NOTES, 'more chart')}."] if len(notes) > _MOST_NOTES else []
    told = [f"Overview of {plural(len(series), 'metric')}, {span(first, last)}."]
    told += [described(one.metric.label, one.metric, one.points, []) for one in series] if not many else [_range(one) for one in series]
    twin = pl.concat(
        [one.twin.select("study", "period_start", "period_end", metric=pl.lit(one.metric.name), value=one.metric.name) for one in series]
    )
    return _stacked(parts, [f"Time is UTC, {axis_years(first, last, _WIDTH)}.", *notes[:_MOST_NOTES], *more], " ".join(told), twin)


_TWIN = {
    "study": pl.String(),
    "period_start": pl.Datetime("us", "UTC"),
    "period_end": pl.Datetime("us", "UTC"),
    "metric": pl.String(),
    "value": pl.Float64(),
}


def _stacked(parts: list[Any], notes: list[str], told: str, twin: pl.LazyFrame | pl.DataFrame) -> StackedChart:
    chart = StackedChart(vconcat=parts, title=titled("Overview", notes), description=told, spacing=28)
    for layer in _layers(chart):
        layer.encoding = alt.FacetedEncoding(**layer.encoding._kwds).copy()
    chart.with_twin(twin.lazy(), valid=True)
    return chart


class _Shared(alt.FacetedEncoding):
    """An encoding that is not copied while charts are composed; Altair would copy each one about 20 times."""

    _class_is_valid_at_instantiation = False

    def __deepcopy__(self, _: object) -> _Shared:
        return self


def _layers(chart: Any) -> Iterator[Any]:
    """Yield the layers of a composed chart whose encoding is shared."""
    for part in (part for name in ("vconcat", "concat", "layer") for part in chart._kwds.get(name, ())):
        yield from _layers(part)
    if isinstance(chart._kwds.get("encoding"), _Shared):
        yield chart


def _small(series: Series, x: alt.X) -> tuple[Any, list[str]]:
    metric = series.metric
    axis, notes = value_axis(metric, None, series.points, title=False)
    if metric.kind != "rate":
        axis["scale"]["nice"] = 4
    axis["axis"] = alt.Axis(format=axis["axis"]["format"], tickCount=4, minExtent=_EXTENT, maxExtent=_EXTENT)
    layers, thinned = line_layers(series, Plane(x=x, y=axis, share=_WIDTH / 640, legend=False))
    for layer in layers:
        layer.encoding = _Shared(**layer.encoding._kwds)
    title = alt.TitleParams(axis_title(metric), subtitle=DIRECTIONS[metric.better] or "\u00a0", fontSize=11, subtitleFontSize=10, offset=4)
    apart = alt.Resolve(scale=alt.ScaleResolveMap(color="independent", strokeDash="independent"))
    return LayeredChart(layer=layers, resolve=apart, width=_WIDTH, height=_HEIGHT, title=title), [*notes, *thinned]


def _legend(studies: list[tuple[str, str]]) -> Any:
    """Give the names of the studies in a chart of their own, above the others."""
    colour = colour_of(studies)
    colour["legend"] = legend_of(studies, "circle", "top")
    named = alt.Chart(values(pl.DataFrame({"study": [label for _, label in studies]})))
    shown = named.mark_point(opacity=0, filled=True, aria=False).encode(color=colour)
    return shown.properties(width=3 * _WIDTH, height=1, view=alt.ViewBackground(stroke=None))


def _range(series: Series) -> str:
    low, high = series.points["v"].min(), series.points["v"].max()
    return f"{series.metric.label}: {number(series.metric, low)} to {number(series.metric, high)}."  # type: ignore[arg-type]
