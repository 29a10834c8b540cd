"""One metric over time: each study a line, on one calendar or from each study's own beginning."""

from __future__ import annotations

from typing import Any, Literal

import altair as alt
import polars as pl

from evalkit.domain.validation import invalid
from evalkit.plots._chart import LayeredChart, check_size, layered
from evalkit.plots._history import history_layers, history_of
from evalkit.plots._lines import Plane, drawn_times, line_layers, nothing, reference_layer, time_axis, value_axis
from evalkit.plots._result_layers import change_layers, change_marks, fit_layers, fit_lines
from evalkit.plots._series import Series, prepare
from evalkit.plots._words import DIRECTIONS, described

__all__ = ["compare", "trend"]

_NOTHING = "Nothing to draw: no checkpoint has a value."
_UNITS = ((72, 3_600, "hours"), (120 * 24, 86_400, "days"), (float("inf"), 604_800, "weeks"))
"""Up to how many hours an axis counts in which unit, and how many seconds that has."""


def trend(
    frame: Any,
    metric: str,
    *,
    lifecycle: Any = None,
    interval: bool | None = None,
    rolling: int | None = None,
    reference: float | tuple[float, str] | None = None,
    y: Literal["data"] | tuple[float, float] | None = None,
    fit: Any = None,
    changes: Any = None,
    width: int = 640,
    height: int = 280,
) -> LayeredChart:
    """Draw one metric over time, a line for each study.

    A point stands for its period, and is drawn in its middle. A missing checkpoint (half a period or more without one) and a missing
    value are gaps: the line breaks.

    Parameters
    ----------
    frame
        As ``kit.checkpoints()`` gives it, Polars or Pandas, any number of rows.
    metric
        A name of `evalkit.METRICS`.
    lifecycle
        What ``kit.lifecycle()`` gives: paused time is shaded, and where the studies of `frame` were started and stopped is marked.
    interval
        Whether a rate gets a band, its 95 % Wilson interval. None: where what it rests on is recorded, for up to 6 studies.
    rolling
        Over how many checkpoints to draw a mean as well, 2 or more; weighted by what the metric rests on, where that is recorded.
    reference
        A value to draw a line at (rates 0 to 1), or the value and a text for it.
    y
        The range of the axis: ``"data"`` fits it to the values, ``(low, high)`` sets it. None: rates 0 to 100 %, others from 0.
    fit
        What ``evalkit.analysis._trend(frame, metric)`` or ``before_after(...)`` gave: the straight lines are drawn, with their intervals.
    changes
        What ``evalkit.analysis._changepoints(frame, metric)`` or ``before_after(...)`` gave: the changes are marked.
    width, height
        Of the frame, in pixels.

    Returns
    -------
    altair.LayerChart
        It displays offline by itself, and composes as any other.

    Raises
    ------
    InvalidInputError
        When the frame is none or lacks a column, there is no such metric, or an option is wrong.
    """
    series = prepare(frame, metric, interval=interval, rolling=rolling)
    what = f"Trend of {series.metric.label.lower()} over time"
    return _drawn(series, what, lifecycle=lifecycle, reference=reference, y=y, fit=fit, changes=changes, width=width, height=height)


def compare(
    frame: Any,
    metric: str,
    align: Literal["calendar", "start"] = "calendar",
    *,
    interval: bool | None = None,
    rolling: int | None = None,
    reference: float | tuple[float, str] | None = None,
    y: Literal["data"] | tuple[float, float] | None = None,
    width: int = 640,
    height: int = 280,
) -> LayeredChart:
    """Draw one metric of several studies over each other.

    Parameters
    ----------
    align
        ``"calendar"``: by date. ``"start"``: by the time since the start of each study's first period.
    frame, metric, interval, rolling, reference, y, width, height
        See `trend`.

    Raises
    ------
    InvalidInputError
        As `trend`, or when `align` is neither.
    """
    if align not in ("calendar", "start"):
        raise invalid("align", align, "is neither 'calendar' nor 'start'.")
    series = prepare(frame, metric, interval=interval, rolling=rolling)
    what = f"Comparison of {series.metric.label.lower()}"
    return _drawn(series, what, align=align, reference=reference, y=y, width=width, height=height)


def _drawn(
    series: Series,
    what: str,
    *,
    align: str = "calendar",
    lifecycle: Any = None,
    reference: Any,
    y: Any,
    fit: Any = None,
    changes: Any = None,
    width: int,
    height: int,
) -> LayeredChart:
    check_size(width=width, height=height)
    metric = series.metric
    lived = None if lifecycle is None else history_of(lifecycle, series)
    marks = None if changes is None else change_marks(changes, series.studies)
    lines = None if fit is None else fit_lines(fit, series.studies)
    times = [drawn_times(series.points, "t")]
    times += [] if lived is None else [lived.times]
    times += [] if marks is None else [drawn_times(marks, "low", "at", "high")]
    times += [] if lines is None else [drawn_times(lines, "at")]
    x: alt.X = time_axis(times, width)
    at: pl.Expr | None = None
    if align == "start":
        series = series.from_start()
        x, at = _since_start(series.points)
    axis, notes = value_axis(metric, y, series.points)
    behind, history = ([], []) if lived is None else history_layers(lived, series, x)
    layers, thinned = line_layers(series, Plane(x=x, y=axis, at=at, clip=isinstance(y, tuple | list), share=width / 640))
    line: list[str] = []
    if marks is not None:
        marked, line = change_layers(marks, series.studies, x)
        behind = [*behind, *marked]
    if lines is not None:
        fitted, more = fit_layers(lines, series.studies, x, axis)
        layers, line = [*layers, *fitted], [*line, *more]
    if reference is not None:
        rule, note = reference_layer(reference, metric, axis)
        layers, line = [*layers, rule], [*line, note]
    said = [DIRECTIONS[metric.better], *series.notes, *notes, *line, *thinned, *history]
    if series.points.is_empty():
        layers, said = nothing(), [_NOTHING, *series.notes]
    said = [note for note in said if note]
    title = f"{metric.label}: {series.studies[0][1]}" if len(series.studies) == 1 else metric.label
    told = described(what, metric, series.points, said)
    return layered([*behind, *layers], title, said, told, series.twin, width=width, height=height)


def _since_start(points: pl.DataFrame) -> tuple[alt.X, pl.Expr]:
    """Give the axis of the time since each study's first period, in the unit that suits its length."""
    microseconds = pl.col("t").dt.timestamp("us")
    hours = float(points.select(microseconds.max()).item() or 0) / 3.6e9
    length, unit = next((length, unit) for most, length, unit in _UNITS if hours <= most)
    axis = alt.X("x:Q", title=f"{unit.capitalize()} since the start of the first period", scale=alt.Scale(zero=True, nice=False, padding=8))
    return axis, microseconds / (length * 1e6)
