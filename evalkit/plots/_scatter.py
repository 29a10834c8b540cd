"""One metric against another, such as cost against success."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from evalkit._util.text import moment, plural, span
from evalkit.domain.definitions import Metric
from evalkit.frames.annotations import first_values
from evalkit.frames.metric_text import number
from evalkit.frames.study_data import StudyData, study_data
from evalkit.plots._chart import LayeredChart, check_size, layered
from evalkit.plots._descriptions import MOST_DESCRIBED
from evalkit.plots._downsampling import bin_count, downsample, runs, with_breaks
from evalkit.plots._lines import (
    PERIOD,
    STUDY,
    SUMMARY,
    color_of,
    empty_layers,
    legend_of,
    look_notes,
    milliseconds,
    shape_of,
    value_axis,
)
from evalkit.plots._points import drawn_studies, of_studies, studies_of
from evalkit.plots._vega_lite import Channel, Part, calculate, field, inline_rows, keep, layer, mark

if TYPE_CHECKING:
    from evalkit.frames.study_data import DataLike

__all__ = ["scatter"]


def scatter(
    data: DataLike, x: str = "total_cost", y: str = "session_success_rate", *, path: bool = True, width: int = 480, height: int = 360
) -> LayeredChart:
    """Draw one metric against another, with a point for each checkpoint.

    Parameters
    ----------
    data
        A `StudyData`, or a DataFrame as ``kit.checkpoints()`` returns it.
    x, y
        Names of metrics. Checkpoints that lack one of the values are left out, and counted in the subtitle.
    path
        Whether to connect the points of a study in time order. The path breaks at gaps. Later points are more opaque.
    width, height
        The size of the frame, in pixels.

    Returns
    -------
    altair.LayerChart
        Displays without a network, and can be combined with other charts.

    Raises
    ------
    InvalidInputError
        For data without a required column, an unknown metric, or an invalid size.

    Examples
    --------
    >>> from evalkit import plots
    >>> from evalkit.samples import sample_checkpoints
    >>> checkpoints = pl.DataFrame(sample_checkpoints("weekly", "2026-01-05T00:00:00Z", 6, seed=1))
    >>> chart = plots.scatter(checkpoints, x="total_cost", y="tasks_completed")
    >>> chart.to_dict()["title"]["subtitle"]
    ['Path connects checkpoints in time order; later points are more opaque.']
    """
    check_size(width=width, height=height)
    data = study_data(data)
    x_metric, y_metric = data.metric(x, "x"), data.metric(y, "y")
    rows = data.sorted_checkpoints(dict.fromkeys([x, y])).with_columns(
        data.gaps, h=pl.col(x).cast(pl.Float64()), v=pl.col(y).cast(pl.Float64())
    )
    rows = rows.with_columns(before=_before(data, rows, {"h": x_metric, "v": y_metric}))
    complete = runs(rows, ["h", "v"])
    studies, omitted = drawn_studies(studies_of(data), complete, "both values")
    points = of_studies(complete, studies)
    incomplete = rows.height - complete.height
    if incomplete:
        omitted.append(f"{plural(incomplete, 'checkpoint')} without both values {'is' if incomplete == 1 else 'are'} not shown.")
    table = rows.select(
        study=pl.col("label").cast(pl.String()), period_start="start", period_end="end", **{x: "h"}, **({y: "v"} if x != y else {}),
        **({"old": "before"} if rows["before"].count() else {}),
    )  # fmt: skip
    title = f"{y_metric.label} vs. {x_metric.label.lower()}"
    subject = f"{title}, {plural(len(studies), 'study', 'studies')}"
    if points.is_empty():
        notes = ["Nothing to draw: no checkpoint has both values.", *data.scope.sentences(), *omitted]
        return layered(empty_layers(), title, notes, f"{subject}: nothing to draw.", table, width=width, height=height)
    horizontal, x_notes = value_axis(x_metric, None, points.with_columns(v="h"))
    vertical, y_notes = value_axis(y_metric, None, points)
    horizontal = {**horizontal, "field": "h", "axis": {**horizontal["axis"], "labelFlush": False}}
    drawn, downsampled = points, []
    if (bins := bin_count(points)) is not None:
        drawn = downsample(points, ["h", "v"], bins, pl.col("before").is_not_null())
        downsampled = [
            f"Downsampled to {drawn.height:,} of {points.height:,} checkpoints, with the minimum and maximum of both metrics per time bin "
            f"({bins} bins)."
        ]
    order = "Path connects checkpoints in time order; later points are more opaque." if path else "Later points are more opaque."
    amended = [f"Hollow: amended ({plural(count, 'checkpoint')})."] if (count := points["before"].count()) else []
    notes = [*data.scope.sentences(), order, *amended, *omitted, *x_notes, *y_notes, *look_notes(studies, "shape"), *downsampled]
    legend = legend_of(studies, "point", width)
    layers = _layers(drawn, studies, (horizontal, vertical), (x_metric, y_metric), path=path, legend=legend)
    sentences = [f"{subject}, {span(points['start'].min(), points['end'].max())}."]  # type: ignore[arg-type]
    sentences += [*_summaries(points, x_metric, y_metric), *notes]
    return layered(layers, title, notes, " ".join(sentences), table, width=width, height=height)


def _layers(
    points: pl.DataFrame,
    studies: list[tuple[str, str]],
    axes: tuple[Channel, Channel],
    metrics: tuple[Metric, Metric],
    *,
    path: bool,
    legend: dict[str, Any] | None,
) -> list[Part]:
    x_metric, y_metric = metrics
    age = (pl.col("t").rank("ordinal").over("study_id") / pl.len().over("study_id")).round(3)
    rows = with_breaks(points.with_columns(age=age), ["h", "v"])
    amended = bool(rows["before"].count())
    before = {"before": "before"} if amended else {}
    drawn = rows.select(
        study="label", a=milliseconds("start"), b=milliseconds("end"), h="h", v="v", age="age", t=milliseconds("t"), **before
    )
    data, frame = inline_rows(drawn), {"x": axes[0], "y": axes[1]}
    summary = (
        f"datum.study + ', ' + datum.period + ': {x_metric.label.lower()} ' + format(datum.h, '{x_metric.format}') + ', "
        f"{y_metric.label.lower()} ' + format(datum.v, '{y_metric.format}')"
    )
    line = layer(data, mark("line", strokeWidth=1, opacity=0.45), **frame, color=color_of(studies), order=field("t:Q"), description=STUDY)
    tooltips = [
        field("study:N", title="study"), field("period:N", title="period"),
        *(field(f"{name}:Q", title=metric.label, format=metric.format) for name, metric in (("h", x_metric), ("v", y_metric))),
    ]  # fmt: skip
    opacity = field("age:Q", scale={"domain": [0, 1], "range": [0.4, 1]}, legend=None)
    size = 46 if points.height <= 300 else 16
    period, shape = calculate("period", PERIOD), shape_of(studies)
    dots = layer(
        data, mark("point", filled=True, size=size),
        keep("isValid(datum.v) && !isValid(datum.before)" if amended else "isValid(datum.v)"), period, calculate("summary", summary),
        **frame, color=color_of(studies, legend), opacity=opacity, tooltip=tooltips, description=SUMMARY, **shape,
    )  # fmt: skip
    layers = [line, dots] if path else [dots]
    if amended:
        tooltips = [*tooltips, field("before:N", title="as first recorded")]
        hollow = layer(
            data, mark("point", filled=False, size=size + 14, strokeWidth=1.8, opacity=1),
            keep("isValid(datum.before)"), period, calculate("summary", f"{summary} + ', first recorded: ' + datum.before"),
            **frame, color=color_of(studies), tooltip=tooltips, description=SUMMARY, **shape,
        )  # fmt: skip
        layers.append(hollow)
    return layers


def _before(data: StudyData, rows: pl.DataFrame, metrics: dict[str, Metric]) -> pl.Series:
    """Return the values that amendments replaced, as text; null for checkpoints without any."""
    texts: list[list[str]] = [[] for _ in range(rows.height)]
    for column, metric in metrics.items():
        earlier = first_values(data, metric.name)
        if earlier is not None:
            for place, (value, amended, old) in enumerate(zip(rows[column], earlier["amended"], earlier["old"], strict=True)):
                if amended and value != old:
                    texts[place].append(f"{metric.label.lower()} {'missing' if old is None else number(metric, old)}")
    return pl.Series("before", [", ".join(parts) or None for parts in texts], dtype=pl.String())


def _summaries(points: pl.DataFrame, x_metric: Metric, y_metric: Metric) -> list[str]:
    """Describe the first and last checkpoint of each study, and the extremes."""
    sentences = []
    for rows in points.partition_by("study_id", maintain_order=True)[:MOST_DESCRIBED]:
        first, last = (
            f"{number(x_metric, row['h'])} and {number(y_metric, row['v'])} ({moment(row['start'])})"
            for row in (rows.row(0, named=True), rows.row(-1, named=True))
        )
        sentences.append(f"{rows['label'][0]}: {plural(rows.height, 'checkpoint')}, first {first}, last {last}.")
    low, high = points.row(points["v"].arg_min(), named=True), points.row(points["v"].arg_max(), named=True)
    extremes = f"lowest {number(y_metric, low['v'])} ({low['label']}), highest {number(y_metric, high['v'])} ({high['label']})"
    return [*sentences, f"{y_metric.label}: {extremes}."]
