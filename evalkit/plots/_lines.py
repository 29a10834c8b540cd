"""Layers and axes of charts: lines that break at gaps, points, bands, reference lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import polars as pl

from evalkit._util.text import plural
from evalkit.domain.catalog import counted
from evalkit.domain.definitions import Metric
from evalkit.domain.refusals import invalid
from evalkit.frames.metric_text import number
from evalkit.plots._descriptions import axis_title, years
from evalkit.plots._downsampling import bin_count, downsample, time_bin, with_breaks
from evalkit.plots._points import Series, split_runs
from evalkit.plots._theme import DASHES, LOOKS, NEUTRAL, PALETTE, SHAPES, colors
from evalkit.plots._vega_lite import Channel, Part, Rows, calculate, field, inline_rows, keep, layer, mark, with_field

__all__ = [
    "PERIOD",
    "STUDY",
    "SUMMARY",
    "Plane",
    "axis_years",
    "check_reference",
    "color_of",
    "drawn_times",
    "empty_layers",
    "legend_of",
    "line_layers",
    "look_notes",
    "milliseconds",
    "reference_layer",
    "shape_of",
    "time_axis",
    "value_axis",
]

PERIOD = "utcFormat(datum.a, '%Y-%m-%d %H:%M') + ' to ' + utcFormat(datum.b, '%Y-%m-%d %H:%M') + ' UTC'"
SUMMARY, STUDY = field("summary:N"), field("study:N")
"""The accessible description of a mark, which is also its tooltip in an SVG."""
_MOST_VISIBLE_POINTS = 300  # at the usual width; more would cover the line
_WIDTH, _NAME_PIXELS = 640, 240
_AXIS_FORMATS = {"rate": "%", "count": "~s", "number": ",f", "duration": ",f", "money": "$,f", "score": ",f"}
"""Without a precision, Vega chooses enough digits to distinguish adjacent ticks."""
_DAY = 86_400_000
_PADDING = 8
_LABELS = ((4, "%b %-d %H:%M", 60_000), (300, "%b %-d", _DAY), (3000, "%b %Y", 30 * _DAY), (math.inf, "%Y", 365 * _DAY))
"""Formats of tick labels: the number of days below which a format is used, the format, and the smallest step with distinct labels."""
_MOST_LABELED_DECADES = 3
"""The longest log axis, in powers of ten, that also has labels between powers of ten."""
_MINUTE = 60_000
_TICKS = {
    _MINUTE: "1m", 5 * _MINUTE: "5m",
    15 * _MINUTE: "15m", 30 * _MINUTE: "30m", 60 * _MINUTE: "1h", 180 * _MINUTE: "3h", 360 * _MINUTE: "6h",
    _DAY / 2: "12h", _DAY: "1d", 2 * _DAY: "1d", 7 * _DAY: "1w", 30 * _DAY: "1mo", 90 * _DAY: "1q", 365 * _DAY: "1y",
}  # fmt: skip
"""The tick steps that Vega chooses from, with about one tick per 40 pixels, and the units that ticks are aligned to."""


def milliseconds(name: str) -> pl.Expr:
    """Return a time as JavaScript milliseconds; fractions are truncated."""
    return pl.col(name).dt.epoch("ms")


def _looks(studies: Sequence[tuple[str, str]]) -> list[int]:
    """Return the look of each study: a combination of color and dash pattern (or shape).

    The looks are distinct for up to `LOOKS` studies.
    """
    looks: list[int] = []
    for place in colors.places([study_id for study_id, _ in studies]):
        look = place % LOOKS
        if look in looks and len(studies) <= LOOKS:
            look = next(free for free in range(LOOKS) if free not in looks)
        looks.append(look)
    return looks


def look_notes(studies: Sequence[tuple[str, str]], style: str = "dash pattern") -> list[str]:
    """Return the note for a chart with more studies than distinct looks."""
    if len(studies) <= LOOKS:
        return []
    return [f"{LOOKS} combinations of color and {style} for {len(studies)} studies: some look alike."]


def color_of(studies: Sequence[tuple[str, str]], legend: dict[str, Any] | None = None) -> Channel:
    """Return the color channel.

    Only one layer of a chart has the legend, because the scales of its layers are independent; see `layered`. A single study has a color
    without a scale, which is faster to draw.
    """
    colors = [PALETTE[look % len(PALETTE)] for look in _looks(studies)]
    if len(studies) == 1:
        return {"value": colors[0]}
    return field("study:N", scale={"domain": [label for _, label in studies], "range": colors}, legend=legend)


def legend_of(
    studies: Sequence[tuple[str, str]], symbol: Literal["stroke", "point"], width: float, **options: Any
) -> dict[str, Any] | None:
    """Return a legend below the frame; None for a single study.

    It has as many columns as fit into `width` pixels. Its symbols have the dashes or shapes of the marks.
    """
    if len(studies) < 2:
        return None
    stroke = symbol == "stroke"
    column = min(_NAME_PIXELS, 6.5 * max(len(label) for _, label in studies)) + (40 if stroke else 30)
    columns = min(len(studies), max(1, int(width / column)))
    symbols: dict[str, Any] = {"symbolType": "stroke", "symbolSize": 400, "rowPadding": -5} if stroke else {"symbolSize": 60}
    return {"title": None, "symbolOpacity": 1, "orient": "bottom", "columns": columns, "columnPadding": 12, **symbols, **options}


def dash_of(studies: Sequence[tuple[str, str]]) -> dict[str, Channel]:
    """Return the dash channel for studies of the same color; empty if no color repeats."""
    return _repeated(studies, "strokeDash", DASHES)


def shape_of(studies: Sequence[tuple[str, str]]) -> dict[str, Channel]:
    """Return the shape channel for studies of the same color; empty if no color repeats."""
    return _repeated(studies, "shape", SHAPES)


def _repeated(studies: Sequence[tuple[str, str]], channel: str, kinds: Sequence[Any]) -> dict[str, Channel]:
    looks = _looks(studies)
    if all(look < len(PALETTE) for look in looks):
        return {}
    scale = {"domain": [label for _, label in studies], "range": [kinds[look // len(PALETTE)] for look in looks]}
    return {channel: field("study:N", scale=scale, legend=None)}


def drawn_times(frame: pl.DataFrame, *names: str) -> pl.Series:
    """Return the times in some columns, for `time_axis`."""
    empty = pl.Series("x", [], dtype=pl.Datetime("us", "UTC"))
    return pl.concat([empty, *(frame[name].rename("x").cast(empty.dtype) for name in names if frame.height)])


def time_axis(times: Sequence[pl.Series], width: int, *, title: bool = True, fixed: bool = False) -> Channel:
    """Return the time axis, in UTC.

    Parameters
    ----------
    times
        The times of all marks in all layers of the chart; they determine the labels, and the years in the title if labels have none.
    width
        The width of the frame, in pixels.
    title
        Whether the axis has a title.
    fixed
        Whether the axis spans exactly `times`, regardless of the marks.
    """
    all_times = pl.concat(times)
    first, last = all_times.min(), all_times.max()
    label_format, min_step, year_suffix = "%b %-d", _DAY, ""
    domain: dict[str, Any] = {}
    if isinstance(first, datetime) and isinstance(last, datetime):
        label_format, min_step = _labels(first, last)
        year_suffix = "" if "%Y" in label_format else f", {axis_years(first, last, width)}"
        if fixed:
            domain = {"domain": [round(end.timestamp() * 1000) for end in (first, last)]}
    axis = {"format": label_format, "tickMinStep": min_step, "labelOverlap": True, "labelSeparation": 6, "labelFlush": False}
    scale = {"type": "utc", "padding": _PADDING, **domain}
    return field("x:T", title=f"Time (UTC{year_suffix})" if title else None, scale=scale, axis=axis)


def _labels(first: datetime, last: datetime) -> tuple[str, int]:
    """Return the format of tick labels, and the smallest tick step in milliseconds."""
    return next((label_format, min_step) for limit, label_format, min_step in _LABELS if (last - first).days < limit)


def axis_years(first: datetime, last: datetime, width: int) -> str:
    """Return the years on a time axis.

    These are the years of all marks, and of ticks in the padding around the marks.
    """
    spacing = max(_labels(first, last)[1], (last - first) / timedelta(milliseconds=1) / math.ceil(width / 40))
    step = _TICKS[min(_TICKS, key=lambda distance: abs(math.log(distance / spacing)))]
    shift = timedelta(days=step == "1w")  # Vega's weeks begin on Sunday, those of Polars on Monday
    room = (last - first) * _PADDING / (width - 2 * _PADDING)
    try:
        ends = pl.Series([first - room - timedelta(microseconds=1), last + room]) + shift
        floors = ends.dt.truncate(step)
        earliest, latest = floors.dt.offset_by(step)[0] - shift, floors[1] - shift
    except OverflowError:  # outside of the range of datetimes
        return years(first, last)
    return years(min(first, earliest), max(last, latest))


def value_axis(
    metric: Metric, y: Any, points: pl.DataFrame, *, title: bool = True, also: Sequence[float] = ()
) -> tuple[Channel, list[str]]:
    """Return the axis of a metric's values, and notes on it.

    Rates have a fixed axis from 0 to 100%, other metrics start at 0, unless `y` requests another range.

    Parameters
    ----------
    metric
        The metric of the axis.
    y
        ``(low, high)``, ``"data"``, ``"log"`` or None. On a log axis, all points must be positive.
    points
        The points, with `v`.
    title
        Whether the axis has a title.
    also
        Other values that a log axis must include.
    """
    low, high = points["v"].min(), points["v"].max()
    notes: list[str] = []
    ticks: list[float] = []
    scale: dict[str, Any] = {"zero": True}
    if isinstance(y, tuple | list) and len(y) == 2 and all(isinstance(end, int | float) and abs(end) < 1e300 for end in y) and y[0] < y[1]:
        outside = points.filter((pl.col("v") < y[0]) | (pl.col("v") > y[1])).height
        scale = {"domain": list(y), "clamp": False}
        notes = [f"{plural(outside, 'point')} outside the axis range."] if outside else []
    elif isinstance(y, str) and y == "data":
        scale = {"zero": False}
        notes = ["Axis does not start at 0." if metric.kind != "rate" else "Axis does not span 0 to 100%."]
    elif isinstance(y, str) and y == "log":
        if metric.kind == "rate":
            raise invalid("y", y, f"{metric.name} is a rate, and rates have no log axis", hint="Use y='data' or y=(low, high).")
        domain, ticks = _log_scale(points, also)
        scale = {"type": "log", "domain": domain, "nice": False}
    elif y is not None:
        raise invalid("y", y, "expected (low, high) with low < high, 'data', 'log' or None")
    elif metric.kind == "rate":
        scale = {"domain": [min(0.0, low or 0.0), max(1.0, high or 1.0)], "nice": False}
        outside = points.filter((pl.col("v") < 0) | (pl.col("v") > 1)).height
        notes = [f"{plural(outside, 'value')} outside 0 to 100%."] if outside else []
    elif metric.kind == "score" and metric.low is not None and metric.high is not None:
        scale = {"domain": [min(metric.low, low or metric.low), max(metric.high, high or metric.high)], "nice": False}
    options: dict[str, Any] = {"values": ticks} if ticks else {"tickMinStep": 1} if metric.kind == "count" else {}
    axis = {"format": _AXIS_FORMATS[metric.kind], **options}
    return field("v:Q", title=axis_title(metric) if title else None, scale=scale, axis=axis), notes


def _log_scale(points: pl.DataFrame, also: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return the ends of a log axis, 1, 2 or 5 times a power of ten, and its ticks."""
    columns = [points[name].cast(pl.Float64()).alias("v") for name in ("v", "mean") if name in points.columns]
    values = [value for value in (*pl.concat(columns).drop_nulls(), *also) if value > 0] or [1.0]
    powers = range(math.floor(math.log10(min(values))) - 1, math.ceil(math.log10(max(values))) + 2)
    ends = [float(f"{factor}e{power}") for power in powers for factor in (1, 2, 5)]
    low = max(end for end in ends if end <= min(values))
    high = min(end for end in ends if end >= max(values) and end > low)
    decades = math.log10(high / low)
    factors = (1, 2, 3, 5, 7) if decades <= 1 else (1, 2, 5) if decades <= _MOST_LABELED_DECADES else (1,)
    ticks = [float(f"{factor}e{power}") for power in powers for factor in factors]
    return [low, high], [tick for tick in ticks if low <= tick <= high]


@dataclass(frozen=True, kw_only=True)
class Plane:
    """The axes and frame in which lines are drawn."""

    x: Channel
    y: Channel
    position: pl.Expr | None = None
    """The position on the x axis; None for the middle of the period on a time axis."""
    width_ratio: float = 1.0
    """The width as a share of the usual 640 pixels."""
    legend: bool = True
    """Whether to draw a legend if there are several studies."""
    clip: bool = False
    """Whether to clip marks at the frame."""

    @property
    def x_value(self) -> pl.Expr:
        """The position on the x axis."""
        return milliseconds("t") if self.position is None else self.position

    @property
    def transform(self) -> list[dict[str, Any]]:
        """The transformation that computes the position of a period on a time axis."""
        return [calculate("x", "(datum.a + datum.b) / 2")] if self.position is None else []

    def encoding(self, studies: Sequence[tuple[str, str]], **more: Any) -> dict[str, Any]:
        """Return the channels of all layers, and additional ones."""
        return {"x": self.x, "y": self.y, "color": color_of(studies), **more}


def line_layers(series: Series, plane: Plane) -> tuple[list[Part], list[str]]:
    """Return the layers that draw a series, and notes on them."""
    bins = bin_count(series.points, plane.width_ratio)
    points: pl.DataFrame = series.points
    notes: list[str] = []
    if bins is not None:
        points = downsample(points, ["v"], bins, pl.col("amended") if "amended" in points.columns else None)
        drawn_share = f"{points.height:,} of {series.points.height:,} checkpoints"
        notes.append(f"Downsampled to {drawn_share}: first, last, minimum and maximum per time bin ({bins} bins).")
        notes += _undrawn(points, series.points)
    legend = legend_of(series.studies, "stroke", _WIDTH * plane.width_ratio) if plane.legend else None
    with_legend = color_of(series.studies, legend)
    dashes = dash_of(series.studies)
    layers = _bands(series, bins, plane) if series.banded else []
    drawn = with_breaks(points.drop("mean", strict=False), ["v", "n", "low", "high", *(["old"] if "old" in points.columns else [])])
    rows = _rows(drawn, series.metric, plane)
    faint: dict[str, Any] = {} if series.means is None else {"strokeWidth": 1, "opacity": 0.45}
    channels = plane.encoding(series.studies, color=with_legend, description=STUDY, **dashes)
    layers.append(layer(rows, mark("line", clip=plane.clip, **faint), *plane.transform, **channels))
    layers += _points(rows, series, drawn, plane)
    if series.means is not None:
        means = split_runs(series.means, "mean").with_columns(v="mean")
        means = downsample(means, ["v"], bins) if bins is not None else means
        drawn = with_breaks(means, ["v"])
        rows = inline_rows(drawn.select(study="label", x=plane.x_value, v="v", alone="alone"))
        if drawn["alone"].any():
            dash = mark("point", clip=plane.clip, shape="stroke", size=120, strokeWidth=2.6, opacity=1, aria=False)
            layers.append(layer(rows, dash, keep("datum.alone"), **plane.encoding(series.studies)))
        thick = mark("line", clip=plane.clip, strokeWidth=2.6)
        layers.append(layer(rows, thick, **plane.encoding(series.studies, description=STUDY, **dashes)))
    return layers, notes


def _undrawn(drawn: pl.DataFrame, points: pl.DataFrame) -> list[str]:
    """Return a note if not all amended values are drawn."""
    if "amended" not in points.columns:
        return []
    shown, amended = drawn["amended"].sum(), points["amended"].sum()
    return [f"{shown:,} of {amended:,} amended values are drawn."] if shown < amended else []


def _rows(drawn: pl.DataFrame, metric: Metric, plane: Plane) -> Rows:
    """Return the data of lines and points.

    The fields are study, a and b (start and end of the period), v, x if the plane has a position, n if the metric has a denominator, and
    amended and old if values were amended.
    """
    columns = {"study": pl.col("label"), "a": milliseconds("start"), "b": milliseconds("end"), "v": pl.col("v")}
    if metric.denominator is not None:
        columns["n"] = pl.col("n")
    if plane.position is not None:
        columns["x"] = plane.position
    if drawn["alone"].any():
        columns["alone"] = pl.col("alone")
    if "amended" in drawn.columns:
        columns |= {"amended": pl.col("amended"), "old": pl.col("old")}
    return inline_rows(drawn.select(**columns))


def _points(rows: Rows, series: Series, drawn: pl.DataFrame, plane: Plane) -> list[Part]:
    """Return the points, one per period: amended ones are hollow.

    If there are many, only those without a line and amended ones are visible; the others are transparent and keep their tooltips.
    """
    metric, number_format, count = series.metric, series.metric.format, drawn.height
    tooltips = [
        field("study:N", title="study"),
        field("period:N", title="period"),
        field("v:Q", title=metric.label, format=number_format),
    ]
    summary = f"datum.study + ', ' + datum.period + ': ' + format(datum.v, '{number_format}')"
    if metric.denominator is not None:
        trials = counted(metric.denominator)
        tooltips.append(field("n:Q", title=trials, format=",d"))
        summary += f" + (isValid(datum.n) ? ' of ' + format(datum.n, ',d') + ' {trials}' : '')"
    visible = count <= _MOST_VISIBLE_POINTS * plane.width_ratio
    opacity: dict[str, Any] = {"value": 1 if visible else 0}
    if not visible and drawn["alone"].any():
        opacity["condition"] = {"test": "datum.alone", "value": 1}
    size = 36 if count <= 80 else 16
    channels = plane.encoding(series.studies, description=SUMMARY, **shape_of(series.studies))
    period = calculate("period", PERIOD)
    amended = "amended" in drawn.columns and bool(drawn["amended"].any())
    points = layer(
        rows, mark("point", filled=True, size=size, clip=plane.clip), *plane.transform,
        keep("isValid(datum.v) && !datum.amended" if amended else "isValid(datum.v)"), period, calculate("summary", summary),
        **channels, opacity=opacity, tooltip=tooltips,
    )  # fmt: skip
    if not amended:
        return [points]
    before = f"isValid(datum.old) ? format(datum.old, '{number_format}') : 'missing'"
    hollow = layer(
        rows, mark("point", filled=False, size=size + 14, strokeWidth=1.8, opacity=1, clip=plane.clip), *plane.transform,
        keep("isValid(datum.v) && datum.amended"), period, calculate("before", before),
        calculate("summary", f"{summary} + ', amended from ' + datum.before"),
        **channels, tooltip=[*tooltips, field("before:N", title="as first recorded")],
    )  # fmt: skip
    return [points, hollow]


def _bands(series: Series, bins: int | None, plane: Plane) -> list[Part]:
    """Return the bands of the confidence intervals.

    In a downsampled series, the bands cover all intervals of each time bin.
    """
    points = split_runs(series.points, "low")
    if bins is not None:
        points = (
            points.group_by("study_id", "label", "run", time_bin(points, bins).alias("bin"))
            .agg(pl.col("t").mean(), pl.col("low").min(), pl.col("high").max())
            .sort("study_id", "t")
        )
    drawn = with_breaks(points, ["low", "high"])
    rows = inline_rows(drawn.select(study="label", x=plane.x_value, low="low", high="high", alone="alone"))
    ends = plane.encoding(series.studies, y=with_field(plane.y, "low"), y2=field("high"))
    area = layer(rows, mark("area", clip=plane.clip, opacity=0.18, line=False, aria=False), **ends)
    bars = layer(rows, mark("rule", clip=plane.clip, opacity=0.5, strokeWidth=2, aria=False), keep("datum.alone"), **ends)
    return [*([] if drawn["alone"].all() else [area]), *([bars] if drawn["alone"].any() else [])]


def reference_layer(reference: tuple[float, str], metric: Metric, y: Channel) -> tuple[list[Part], list[str]]:
    """Return the layer with a horizontal reference line, and the note on it."""
    value, text = reference
    summary = f"{text or 'reference'}, {number(metric, value)}"
    rows = inline_rows(pl.DataFrame({"v": [float(value)], "summary": [summary]}))
    rule = mark("rule", strokeDash=[6, 4], color=NEUTRAL, strokeWidth=1.5)
    return [layer(rows, rule, y=y, tooltip=[field("summary:N", title="line")], description=SUMMARY)], [f"Horizontal line: {summary}."]


def check_reference(reference: Any, metric: Metric) -> tuple[float, str]:
    """Return the value and the label of a reference line."""
    value, text = reference if isinstance(reference, tuple) and len(reference) == 2 else (reference, "")
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300 or not isinstance(text, str):
        raise invalid("reference", reference, "expected a number, or (number, text)")
    if metric.kind == "rate" and 2 <= value <= 100:
        hint = f"If it is a percentage, divide it by 100: {value / 100:g}."
        raise invalid("reference", reference, "outside the range 0 to 1 of a rate", hint=hint)
    return value, text


def empty_layers() -> list[Part]:
    """Return a layer without marks, for a chart whose notes explain why it is empty."""
    return [layer(inline_rows(pl.DataFrame()), mark("point"))]
