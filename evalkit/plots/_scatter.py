"""One metric against another, such as what a study cost against what it achieved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt
import polars as pl

from evalkit._util.text import moment, plural, span
from evalkit.domain.metrics import Metric
from evalkit.frames.metric_text import number
from evalkit.frames.normalize import metric_named
from evalkit.frames.study_data import study_data
from evalkit.plots._chart import LayeredChart, check_size, layered
from evalkit.plots._lines import NAMED, PERIOD, TOLD, colour_of, milliseconds, nothing, shape_of, value_axis, values
from evalkit.plots._points import newest, of_studies, studies_of
from evalkit.plots._thinning import broken, buckets_for, runs, thin
from evalkit.plots._words import axis_title

if TYPE_CHECKING:
    from evalkit.frames.study_data import DataLike

__all__ = ["scatter"]


def scatter(
    data: DataLike, x: str = "total_cost", y: str = "session_success_rate", *, path: bool = True, width: int = 480, height: int = 360
) -> LayeredChart:
    """Draw one metric against another: a point for each checkpoint, studies by colour, time by order.

    Parameters
    ----------
    data
        A `StudyData`, or a frame as ``kit.checkpoints()`` returns it.
    x, y
        Names of `evalkit.METRICS`. A checkpoint that lacks either is left out, and counted under the title.
    path
        Whether to join the points of a study in the order of time; the path breaks at gaps. Later points are drawn stronger.
    width, height
        Of the frame, in pixels.

    Returns
    -------
    altair.LayerChart
        It displays offline by itself.

    Raises
    ------
    InvalidInputError
        When the frame is none or lacks a column, or there is no such metric.
    """
    check_size(width=width, height=height)
    across, up = metric_named(x, "x"), metric_named(y, "y")
    known = study_data(data)
    rows = known.sorted_checkpoints(dict.fromkeys([x, y])).with_columns(
        known.lengths, h=pl.col(x).cast(pl.Float64()), v=pl.col(y).cast(pl.Float64())
    )
    studies = studies_of(rows)
    studies, shown = newest(studies)
    everything = runs(rows, ["h", "v"])
    points = of_studies(everything, studies)
    notes = [f"{plural(rows.height - everything.height, 'checkpoint')} without one of the two."] if rows.height > everything.height else []
    notes = [*shown, *notes]
    twin = rows.select(
        study=pl.col("label").cast(pl.String()), period_start="start", period_end="end", **{x: "h"}, **({y: "v"} if x != y else {})
    )
    title = f"{up.label} against {across.label.lower()}"
    told = f"{title}, {plural(len(studies), 'study', 'studies')}"
    if points.is_empty():
        return layered(
            nothing(),
            title,
            ["Nothing to draw: no checkpoint has both values.", *notes],
            f"{told}: nothing to draw.",
            twin,
            width=width,
            height=height,
        )
    horizontal, more = value_axis(across, None, points.with_columns(v="h"))
    vertical, also = value_axis(up, None, points)
    horizontal_axis = alt.X("h:Q", title=axis_title(across), scale=horizontal["scale"], axis=horizontal["axis"])
    drawn, thinned = points, []
    if (buckets := buckets_for(points)) is not None:
        drawn = thin(points, ["h", "v"], buckets)
        thinned = [
            f"Thinned: {drawn.height:,} of {points.height:,} checkpoints, with the extremes of both of each of {buckets} stretches of time."
        ]
    notes = [
        *(["The path follows time; later points are stronger."] if path else ["Later points are stronger."]),
        *notes,
        *more,
        *also,
        *thinned,
    ]
    layers = _layers(drawn, studies, (horizontal_axis, vertical), (across, up), path=path)
    what = f"{told}, {span(points['start'].min(), points['end'].max())}."  # type: ignore[arg-type]
    described = " ".join([what, *_told(points, across, up), *notes])
    return layered(layers, title, notes, described, twin, width=width, height=height)


def _layers(
    points: pl.DataFrame, studies: list[tuple[str, str]], axes: tuple[alt.X, alt.Y], metrics: tuple[Metric, Metric], *, path: bool
) -> list[Any]:
    (x, y), (across, up) = axes, metrics
    age = (pl.col("t").rank("ordinal").over("study_id") / pl.len().over("study_id")).round(3)
    rows = broken(points.with_columns(age=age), ["h", "v"])
    drawn = rows.select(study="label", a=milliseconds("start"), b=milliseconds("end"), h="h", v="v", age="age", t=milliseconds("t"))
    base, colour = alt.Chart(values(drawn)), colour_of(studies)
    named = colour_of(studies, legend="circle" if len(studies) > 1 else None)
    told = (
        f"datum.study + ', ' + datum.period + ': {across.label.lower()} ' + format(datum.h, '{across.format}') + ', {up.label.lower()} ' + "
        f"format(datum.v, '{up.format}')"
    )
    line = base.mark_line(strokeWidth=1, opacity=0.45).encode(x=x, y=y, color=colour, order=alt.Order("t:Q"), description=NAMED)
    tips = [
        alt.Tooltip("study:N", title="study"), alt.Tooltip("period:N", title="period"),
        *(alt.Tooltip(f"{name}:Q", title=one.label, format=one.format) for name, one in (("h", across), ("v", up))),
    ]  # fmt: skip
    later = alt.Opacity("age:Q", scale=alt.Scale(domain=[0, 1], range=[0.3, 1]), legend=None)
    dots = (
        base.transform_filter("isValid(datum.v)")
        .transform_calculate(period=PERIOD)
        .transform_calculate(told=told)
        .mark_point(filled=True, size=46 if points.height <= 300 else 16)
        .encode(x=x, y=y, color=named, opacity=later, tooltip=tips, description=TOLD, **shape_of(studies))
    )
    return [line, dots] if path else [dots]


def _told(points: pl.DataFrame, across: Metric, up: Metric) -> list[str]:
    told = []
    for one in points.partition_by("study_id", maintain_order=True)[:5]:
        first, last = one.row(0, named=True), one.row(-1, named=True)
        steps = [f"{number(across, row['h'])} and {number(up, row['v'])} ({moment(row['start'])})" for row in (first, last)]
        told.append(f"{one['label'][0]}: {plural(one.height, 'checkpoint')}, first {steps[0]}, last {steps[1]}.")
    low, high = points.row(points["v"].arg_min(), named=True), points.row(points["v"].arg_max(), named=True)
    return [*told, f"{up.label}: lowest {number(up, low['v'])} ({low['label']}), highest {number(up, high['v'])} ({high['label']})."]
