"""Layers of a chart: lines that break at gaps, points that stand for periods, bands, and a line to compare with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import altair as alt
import polars as pl

from evalkit._util.text import plural
from evalkit.domain.metrics import METRICS, Metric
from evalkit.domain.validation import invalid
from evalkit.frames.metric_text import number
from evalkit.plots._points import Series
from evalkit.plots._theme import DASHES, NEUTRAL, PALETTE, SHAPES, colours
from evalkit.plots._thinning import broken, bucket, buckets_for, thin
from evalkit.plots._words import axis_title, years

__all__ = [
    "NAMED",
    "PERIOD",
    "TOLD",
    "Plane",
    "axis_years",
    "colour_of",
    "drawn_times",
    "line_layers",
    "milliseconds",
    "nothing",
    "reference_layer",
    "time_axis",
    "value_axis",
    "values",
    "with_field",
]

PERIOD = "utcFormat(datum.a, '%Y-%m-%d %H:%M') + ' to ' + utcFormat(datum.b, '%Y-%m-%d %H:%M') + ' UTC'"
TOLD, NAMED = alt.Description("told:N"), alt.Description("study:N")
"""What a mark says of itself to who cannot see it, and to who points at it in an SVG."""
_SEEN_POINTS = 300
_WIDTH, _NAME_PIXELS = 640, 240
_AXIS_FORMATS = {"rate": "%", "count": "~s", "number": ",f", "duration": ",f", "money": "$,f"}
"""Without a number of digits Vega takes as many as tell two ticks apart."""
_DAY = 86_400_000
_PADDING = 8
_LABELS = ((4, "%b %-d %H:%M", 60_000), (300, "%b %-d", _DAY), (3000, "%b %Y", 30 * _DAY), (math.inf, "%Y", 365 * _DAY))
"""Below how many days the ticks have which labels, and the least distance of two; finer ticks would all have the same label."""
_MINUTE = 60_000
_TICKS = {
    _MINUTE: "1m", 5 * _MINUTE: "5m",
    15 * _MINUTE: "15m", 30 * _MINUTE: "30m", 60 * _MINUTE: "1h", 180 * _MINUTE: "3h", 360 * _MINUTE: "6h",
    _DAY / 2: "12h", _DAY: "1d", 2 * _DAY: "1d", 7 * _DAY: "1w", 30 * _DAY: "1mo", 90 * _DAY: "1q", 365 * _DAY: "1y",
}  # fmt: skip
"""The distances of ticks that Vega chooses from, about one for 40 pixels, and of what they are whole multiples."""


def milliseconds(name: str) -> pl.Expr:
    """Give a time as a browser takes it, finer digits cut."""
    return pl.col(name).dt.epoch("ms")


class Rows(alt.InlineData):
    """Rows as the data of a chart, in whatever number.

    Altair checks and copies what a chart is made of, again and again; rows that never change need neither.
    """

    _class_is_valid_at_instantiation = False

    def __deepcopy__(self, _: object) -> Rows:
        return self


def values(rows: pl.DataFrame) -> Rows:
    """Give rows as the data of a chart."""
    return Rows(values=rows.to_dicts())


def colour_of(studies: Sequence[tuple[str, str]], legend: Literal["stroke", "circle"] | None = None) -> alt.Color:
    """Give each study its colour. One layer of a chart has the legend: their scales are independent, see `layered`."""
    places = colours.places([study_id for study_id, _ in studies])
    scale = alt.Scale(domain=[label for _, label in studies], range=[PALETTE[place % len(PALETTE)] for place in places])
    return alt.Color("study:N", scale=scale, legend=legend_of(studies, legend) if legend else None)


def legend_of(studies: Sequence[tuple[str, str]], symbol: str, orient: Literal["bottom", "top"] = "bottom") -> alt.Legend:
    """Give a legend under or over the frame, in as many columns as the longest name leaves room for."""
    longest = max(len(label) for _, label in studies)
    columns = max(1, int(_WIDTH / (min(_NAME_PIXELS, 6.5 * longest) + 30)))
    return alt.Legend(title=None, orient=orient, symbolType=symbol, symbolOpacity=1, columns=min(columns, len(studies)), columnPadding=12)


def dash_of(studies: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Give the lines of studies beyond the palette a dash; nothing where there are none."""
    return _apart(studies, DASHES, lambda scale: {"strokeDash": alt.StrokeDash("study:N", scale=scale, legend=None)})


def shape_of(studies: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Give the points of studies beyond the palette a shape; nothing where there are none."""
    return _apart(studies, SHAPES, lambda scale: {"shape": alt.Shape("study:N", scale=scale, legend=None)})


def _apart(studies: Sequence[tuple[str, str]], kinds: Sequence[Any], channel: Callable[[alt.Scale], dict[str, Any]]) -> dict[str, Any]:
    places = colours.places([study_id for study_id, _ in studies])
    if all(place < len(PALETTE) for place in places):
        return {}
    chosen = [kinds[place // len(PALETTE) % len(kinds)] for place in places]
    return channel(alt.Scale(domain=[label for _, label in studies], range=chosen))


def drawn_times(frame: pl.DataFrame, *names: str) -> pl.Series:
    """Return the times in some columns, for `time_axis`."""
    empty = pl.Series("x", [], dtype=pl.Datetime("us", "UTC"))
    return pl.concat([empty, *(frame[name].rename("x").cast(empty.dtype) for name in names if frame.height)])


def time_axis(times: Sequence[pl.Series], width: int, *, title: bool = True, fixed: bool = False) -> alt.X:
    """Return the axis of time, in UTC.

    Parameters
    ----------
    times
        Where all that the chart draws is in time, in all its layers: labels and the years in the title follow from it.
    width
        Of the frame, in pixels.
    title
        Whether the axis has a title.
    fixed
        Whether the axis is exactly as long as `times`, whatever is drawn.
    """
    every = pl.concat(times)
    first, last = every.min(), every.max()
    form, least, in_years = "%b %-d", _DAY, ""
    domain: dict[str, Any] = {}
    if isinstance(first, datetime) and isinstance(last, datetime):
        form, least = _labels(first, last)
        in_years = f", {axis_years(first, last, width)}"
        if fixed:
            domain = {"domain": [round(end.timestamp() * 1000) for end in (first, last)]}
    axis = alt.Axis(format=form, tickMinStep=least, labelOverlap=True, labelSeparation=6, labelFlush=False)
    scale = alt.Scale(type="utc", padding=_PADDING, **domain)
    return alt.X("x:T", title=f"Time (UTC{in_years})" if title else None, scale=scale, axis=axis)


def _labels(first: datetime, last: datetime) -> tuple[str, int]:
    return next((form, least) for most, form, least in _LABELS if (last - first).days < most)


def axis_years(first: datetime, last: datetime, width: int) -> str:
    """Return the years on an axis of time: of what is drawn, and of ticks that the padding beyond it has room for."""
    apart = max(_labels(first, last)[1], (last - first) / timedelta(milliseconds=1) / math.ceil(width / 40))
    step = _TICKS[min(_TICKS, key=lambda distance: abs(math.log(distance / apart)))]
    shift = timedelta(days=step == "1w")  # Vega's weeks begin on Sunday, those of Polars on Monday
    room = (last - first) * _PADDING / (width - 2 * _PADDING)
    try:
        ends = pl.Series([first - room - timedelta(microseconds=1), last + room]) + shift
        earliest, latest = ends.dt.truncate(step).dt.offset_by(step)[0] - shift, ends.dt.truncate(step)[1] - shift
    except OverflowError:  # at the ends of the calendar
        return years(first, last)
    return years(min(first, earliest), max(last, latest))


def value_axis(metric: Metric, y: Any, points: pl.DataFrame, *, title: bool = True) -> tuple[alt.Y, list[str]]:
    """Give the axis of a metric's values, and what must be said of it.

    Rates stand on 0 to 100 %, everything else begins at 0, unless asked otherwise.
    """
    low, high = points["v"].min(), points["v"].max()
    notes: list[str] = []
    scale: dict[str, Any] = {"zero": True}
    if isinstance(y, tuple | list) and len(y) == 2 and all(isinstance(end, int | float) and abs(end) < 1e300 for end in y) and y[0] < y[1]:
        outside = points.filter((pl.col("v") < y[0]) | (pl.col("v") > y[1])).height
        scale = {"domain": list(y), "clamp": False}
        notes = [f"{plural(outside, 'point')} outside the range of the axis."] if outside else []
    elif isinstance(y, str) and y == "data":
        scale = {"zero": False}
        notes = ["The axis does not begin at 0." if metric.kind != "rate" else "The axis does not show the whole of 0 to 100 %."]
    elif y is not None:
        raise invalid("y", y, "is no range of the axis", "give (low, high), 'data', or None")
    elif metric.kind == "rate":
        scale = {"domain": [min(0.0, low or 0.0), max(1.0, high or 1.0)], "nice": False}
        outside = points.filter((pl.col("v") < 0) | (pl.col("v") > 1)).height
        notes = [f"{plural(outside, 'value')} outside 0 to 100 %."] if outside else []
    whole: dict[str, Any] = {"tickMinStep": 1} if metric.kind == "count" else {}
    axis = alt.Axis(format=_AXIS_FORMATS[metric.kind], **whole)
    return alt.Y("v:Q", title=axis_title(metric) if title else None, scale=alt.Scale(**scale), axis=axis), notes


@dataclass(frozen=True, kw_only=True)
class Plane:
    """Where lines are drawn."""

    x: alt.X
    y: alt.Y
    at: pl.Expr | None = None
    """The place on the x axis; None is the middle of the period, on an axis of time."""
    share: float = 1.0
    """How much of a chart's usual width there is."""
    legend: bool = True
    """Whether to name the colours, where there are several."""
    clip: bool = False
    """Whether to draw within the frame only."""

    @property
    def place(self) -> pl.Expr:
        """The place on the x axis."""
        return milliseconds("t") if self.at is None else self.at

    def encoded(self, studies: Sequence[tuple[str, str]], **more: Any) -> dict[str, Any]:
        """Give the channels that all layers have."""
        return {"x": self.x, "y": self.y, "color": colour_of(studies), **more}


def line_layers(series: Series, plane: Plane) -> tuple[list[Any], list[str]]:
    """Give the layers that draw a series, and what must be said of them."""
    buckets = buckets_for(series.points, plane.share)
    points, notes = series.points, []
    if buckets is not None:
        points = thin(points, ["v"], buckets)
        notes = [
            f"Thinned: {points.height:,} of {series.points.height:,} checkpoints are drawn, the first, last, lowest and highest of each of "
            f"{buckets} stretches of time."
        ]
    named = colour_of(series.studies, legend="stroke" if plane.legend and len(series.studies) > 1 else None)
    dashes = dash_of(series.studies)
    layers = _bands(series, buckets, plane) if series.banded else []
    drawn = broken(points.drop("mean", strict=False), ["v", "n", "low", "high"])
    base = _based(drawn, series.metric, plane)
    rolling = "mean" in series.points.columns
    faint: dict[str, Any] = {"strokeWidth": 1, "opacity": 0.45} if rolling else {}
    layers += [
        base.mark_line(clip=plane.clip, **faint).encode(**plane.encoded(series.studies, color=named, description=NAMED, **dashes)),
        _points(base, series, drawn.height, plane),
    ]
    if rolling:
        means = _unbroken(series.points, "mean").with_columns(v="mean")
        means = thin(means, ["v"], buckets) if buckets is not None else means
        data = values(broken(means, ["v"]).select(study="label", x=plane.place, v="v"))
        layers.append(
            alt.Chart(data).mark_line(clip=plane.clip, strokeWidth=2.6).encode(**plane.encoded(series.studies, description=NAMED, **dashes))
        )
    return layers, notes


def _based(drawn: pl.DataFrame, metric: Metric, plane: Plane) -> alt.Chart:
    """Give the chart of lines and points without their marks: study, a and b (the period), v, n where it is recorded."""
    columns = {"study": pl.col("label"), "a": milliseconds("start"), "b": milliseconds("end"), "v": pl.col("v")}
    if metric.denominator is not None:
        columns["n"] = pl.col("n")
    if plane.at is not None:
        columns["x"] = plane.at
    if drawn["alone"].any():
        columns["alone"] = pl.col("alone")
    base = alt.Chart(values(drawn.select(**columns)))
    return base if plane.at is not None else base.transform_calculate(x="(datum.a + datum.b) / 2")


def _points(base: alt.Chart, series: Series, count: int, plane: Plane) -> Any:
    """Give the points: each stands for its period.

    Where there are many, only those that have no line are seen; the others can be pointed at.
    """
    metric, form = series.metric, series.metric.format
    tips = [
        alt.Tooltip("study:N", title="study"),
        alt.Tooltip("period:N", title="period"),
        alt.Tooltip("v:Q", title=metric.label, format=form),
    ]
    told = f"datum.study + ', ' + datum.period + ': ' + format(datum.v, '{form}')"
    if metric.denominator is not None:
        counted = METRICS[metric.denominator].label.lower()
        tips.append(alt.Tooltip("n:Q", title=counted, format=",d"))
        told += f" + (isValid(datum.n) ? ' of ' + format(datum.n, ',d') + ' {counted}' : '')"
    seen = alt.OpacityValue(1 if count <= _SEEN_POINTS else 0, condition={"test": "datum.alone", "value": 1})
    return (
        base.transform_filter("isValid(datum.v)")
        .transform_calculate(period=PERIOD)
        .transform_calculate(told=told)
        .mark_point(filled=True, size=36 if count <= 80 else 16, clip=plane.clip)
        .encode(**plane.encoded(series.studies, opacity=seen, tooltip=tips, description=TOLD, **shape_of(series.studies)))
    )


def _bands(series: Series, buckets: int | None, plane: Plane) -> list[Any]:
    """Give the bands of the intervals; of a thinned series the hull of those within each stretch of time."""
    there = _unbroken(series.points, "low")
    if buckets is not None:
        there = (
            there.group_by("study_id", "label", "run", bucket(there, buckets).alias("bucket"))
            .agg(pl.col("t").mean(), pl.col("low").min(), pl.col("high").max())
            .sort("study_id", "t")
        )
    drawn = broken(there, ["low", "high"])
    base = alt.Chart(values(drawn.select(study="label", x=plane.place, low="low", high="high", alone="alone")))
    ends = plane.encoded(series.studies, y=with_field(plane.y, "low:Q"), y2=alt.Y2("high:Q"))
    bars = base.transform_filter("datum.alone").mark_rule(clip=plane.clip, opacity=0.5, strokeWidth=2, aria=False).encode(**ends)
    area = base.mark_area(clip=plane.clip, opacity=0.18, line=False, aria=False).encode(**ends)
    return [*([] if drawn["alone"].all() else [area]), *([bars] if drawn["alone"].any() else [])]


def _unbroken(points: pl.DataFrame, name: str) -> pl.DataFrame:
    """Give the points that have `name`, a mean or an end of an interval; where it is missing a new run begins, though the line goes on."""
    if not points[name].null_count():
        return points
    breaks = pl.col(name).is_null().cast(pl.Int64()).cum_sum()
    return points.with_columns(run=pl.struct("run", breaks.alias("at")).rank("dense")).filter(pl.col(name).is_not_null())


def with_field(axis: Any, field: str) -> Any:
    """Give the same axis for another field."""
    copied = axis.copy(deep=False)
    copied["shorthand"] = field
    return copied


def reference_layer(reference: Any, metric: Metric, y: alt.Y) -> tuple[Any, str]:
    """Give a horizontal line to compare with, a value or (value, text), and the note that says what it is."""
    value, text = reference if isinstance(reference, tuple) and len(reference) == 2 else (reference, "")
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300 or not isinstance(text, str):
        raise invalid("reference", reference, "is no value to draw a line at", "give a number, or (number, text)")
    told = f"{text or 'reference'}, {number(metric, value)}"
    base = alt.Chart(values(pl.DataFrame({"v": [float(value)], "told": [told]})))
    rule = base.mark_rule(strokeDash=[6, 4], color=NEUTRAL, strokeWidth=1.5)
    return rule.encode(y=y, tooltip=[alt.Tooltip("told:N", title="line")], description=TOLD), f"Horizontal line: {told}."


def nothing() -> list[Any]:
    """Give a layer that draws nothing, for a chart whose notes say why."""
    return [alt.Chart(values(pl.DataFrame())).mark_point()]
