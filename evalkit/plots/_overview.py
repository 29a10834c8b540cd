"""All metrics in one chart, as small multiples in the catalog's groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from evalkit._util.text import plural, span
from evalkit.domain.catalog import METRICS
from evalkit.errors import InvalidInputError
from evalkit.frames.metric_text import number
from evalkit.frames.study_data import study_data
from evalkit.plots._annotations import annotation_layers, annotations_in
from evalkit.plots._chart import INDEPENDENT, StackedChart, titled
from evalkit.plots._descriptions import DIRECTIONS, axis_title, description, only_study
from evalkit.plots._lines import (
    Plane,
    axis_years,
    color_of,
    drawn_times,
    empty_layers,
    legend_of,
    line_layers,
    look_notes,
    shape_of,
    time_axis,
    value_axis,
)
from evalkit.plots._points import MOST_STUDIES, Series, omission_notes, prepare
from evalkit.plots._vega_lite import Channel, Part, composed, inline_rows, layer, mark

if TYPE_CHECKING:
    from evalkit.frames.study_data import DataLike

__all__ = ["overview"]

_COLUMNS = 3
_MOST_NOTES = 3
_WIDTH, _HEIGHT = 200, 100
_SPACING = 72  # between frames: room for axis labels and a title
_EXTENT = 42  # equal room for the axis labels of all small charts, which aligns them in columns


def overview(data: DataLike) -> StackedChart:
    """Draw all metrics that have values as small multiples, grouped as in the catalog.

    Parameters
    ----------
    data
        A `StudyData`, or a DataFrame as ``kit.checkpoints()`` returns it. Metrics without a column are left out.

    Returns
    -------
    altair.VConcatChart
        Displays without a network, and can be combined with other charts. Lines break at gaps as in `trend`; there are no confidence
        intervals.

    Raises
    ------
    InvalidInputError
        For data without the columns of the periods or without any metric.

    Examples
    --------
    >>> from evalkit import plots
    >>> from evalkit.samples import sample_checkpoints
    >>> checkpoints = pl.DataFrame(sample_checkpoints("daily", "2026-01-05T00:00:00Z", 3, seed=1))
    >>> metrics = ["total_cost", "total_tokens"]
    >>> chart = plots.overview(checkpoints.select("period_start", "period_end", *metrics))
    >>> plots.table(chart)["metric"].unique().sort().to_list()
    ['total_cost', 'total_tokens']
    """
    data = study_data(data)
    names = list(data.catalog)
    if not names and not data.contradictions:
        prepare(data, next(iter(METRICS)))  # raises the error for missing columns
        raise InvalidInputError("The data has no metric", field="data", value=data.column_names)  # pragma: no cover
    all_series = [series for series in (prepare(data, name, interval=False) for name in names) if series.points.height]
    if not all_series:
        empty = composed("layer", empty_layers(), resolve=INDEPENDENT, title=titled("", []), description="", width=640, height=_HEIGHT)
        note = "Nothing to draw: no checkpoint has a value."
        return _stacked([empty], [note], f"Overview. {note}", pl.DataFrame(schema=_TABLE))
    studies = [(name.id, name.label) for name in data.names]
    drawn = {study for series in all_series for study in series.studies}
    absent = [label for study_id, label in studies if (study_id, label) not in drawn] if len(studies) <= MOST_STUDIES else []
    studies = [study for study in studies if study in drawn]
    all_series = [replace(series, studies=studies) for series in all_series]  # a study has the same look in all small charts
    groups: dict[str, list[Series]] = {}
    for series in all_series:
        groups.setdefault(series.metric.group, []).append(series)
    parts: list[Part] = [_legend(studies)] if len(studies) > 1 else []
    notes = [f"Not shown: {name!r}, because {problem}." for name, problem in data.contradictions.items()]
    if data.undefined:
        notes.append(f"No definition in this data: {', '.join(data.undefined)}.")
    # All small charts have the same time axis, which shows when a metric was not measured.
    times = [drawn_times(series.points, "start", "end") for series in all_series]
    annotations = annotations_in(data, studies, times)
    x = time_axis(times, _WIDTH, title=False, fixed=True)
    marks, mark_notes = annotation_layers(annotations, studies, x, times, _WIDTH, labels=False)
    for group, members in groups.items():
        small = [_small(series, x, marks) for series in members]
        notes += [f"{series.metric.label}: {note}" for series, (_, texts) in zip(members, small, strict=True) for note in texts]
        charts, title = [chart for chart, _ in small], {"text": group, "fontSize": 13}
        parts.append(composed("concat", charts, columns=_COLUMNS, spacing=_SPACING, bounds="flush", title=title))
    first: Any = min(series.points["start"].min() for series in all_series)  # type: ignore[type-var]
    last: Any = max(series.points["end"].max() for series in all_series)  # type: ignore[type-var]
    omitted = len(notes) - _MOST_NOTES
    more = [f"{plural(omitted, 'similar note')} for other metrics."] if omitted > 0 else []
    sentences = [f"Overview of {plural(len(all_series), 'metric')}, {span(first, last)}."]
    if len(studies) > 1:
        sentences += [_range(series) for series in all_series]
    else:
        sentences += [description(series.metric.label, series.metric, series.points, []) for series in all_series]
    table = pl.concat(
        [
            series.table.select("study", "period_start", "period_end", metric=pl.lit(series.metric.name), value=series.metric.name)
            for series in all_series
        ]
    )
    name = only_study(studies)
    amended = sum(series.points.filter("amended").height for series in all_series if "amended" in series.points.columns)
    mark_notes = [*([f"Hollow: amended ({plural(amended, 'value')})."] if amended else []), *mark_notes]
    study_notes = [*data.scope.sentences(), *omission_notes(absent, "values"), *look_notes(studies), *mark_notes]
    subtitle = [f"Time in UTC, {axis_years(first, last, _WIDTH)}.", *study_notes, *notes[:_MOST_NOTES], *more]
    subtitle = [f"Study: {name}.", *subtitle] if name else subtitle
    return _stacked(parts, subtitle, " ".join([*sentences, *annotations.sentences()]), annotations.with_texts(table))


_TABLE = {
    "study": pl.String(),
    "period_start": pl.Datetime("us", "UTC"),
    "period_end": pl.Datetime("us", "UTC"),
    "metric": pl.String(),
    "value": pl.Float64(),
}


def _stacked(parts: list[Part], notes: list[str], text: str, underlying: pl.LazyFrame | pl.DataFrame) -> StackedChart:
    return StackedChart.of(composed("vconcat", parts, title=titled("Overview", notes), description=text, spacing=28), underlying)


def _small(series: Series, x: Channel, marks: list[Part]) -> tuple[Part, list[str]]:
    """Return the small chart of a metric, with marks in the background, and notes on it."""
    metric = series.metric
    y, notes = value_axis(metric, None, series.points, title=False)
    axis = {"format": y["axis"]["format"], "tickCount": 4, "minExtent": _EXTENT, "maxExtent": _EXTENT}
    y = {**y, "axis": axis, "scale": y["scale"] if metric.kind == "rate" else {**y["scale"], "nice": 4}}
    layers, line_notes = line_layers(series, Plane(x=x, y=y, width_ratio=_WIDTH / 640, legend=False))
    direction = DIRECTIONS[metric.better] or "\u00a0"
    title = {"text": axis_title(metric), "subtitle": direction, "fontSize": 11, "subtitleFontSize": 10, "offset": 4}
    resolve = {"scale": {"color": "independent", "strokeDash": "independent"}}
    chart = composed("layer", [*marks, *layers], resolve=resolve, width=_WIDTH, height=_HEIGHT, title=title)
    return chart, [*notes, *line_notes]


def _legend(studies: Sequence[tuple[str, str]]) -> Part:
    """Return a chart without marks whose legend has the names of the studies."""
    color = color_of(studies, legend_of(studies, "point", 3 * _WIDTH, orient="top", offset=0))
    rows = inline_rows(pl.DataFrame({"study": [label for _, label in studies]}))
    marks = layer(rows, mark("point", opacity=0, filled=True, aria=False), color=color, **shape_of(studies))
    return {**marks, "width": 3 * _WIDTH, "height": 1, "view": {"stroke": None}}


def _range(series: Series) -> str:
    low, high = series.points["v"].min(), series.points["v"].max()
    return f"{series.metric.label}: {number(series.metric, low)} to {number(series.metric, high)}."  # type: ignore[arg-type]
