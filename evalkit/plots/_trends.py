"""One metric over time: each study a line, on one calendar or from each study's own beginning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import altair as alt
import polars as pl

from evalkit.domain.validation import invalid
from evalkit.frames.study_data import study_data
from evalkit.plots._chart import LayeredChart, check_size, layered
from evalkit.plots._history import history_layers, history_of
from evalkit.plots._lines import Plane, drawn_times, line_layers, nothing, reference_layer, time_axis, value_axis
from evalkit.plots._points import prepare
from evalkit.plots._result_layers import change_layers, change_marks, fit_layers, fit_lines
from evalkit.plots._words import DIRECTIONS, described

if TYPE_CHECKING:
    from evalkit.analysis import BeforeAfter, ChangePoints, PerStudy, Trend
    from evalkit.frames.study_data import DataLike

__all__ = ["trend"]

_NOTHING = "Nothing to draw: no checkpoint has a value."
_UNITS = ((72, 3_600, "hours"), (120 * 24, 86_400, "days"), (float("inf"), 604_800, "weeks"))
"""Up to how many hours an axis counts in which unit, and how many seconds that has."""


def trend(
    data: DataLike,
    metric: str,
    *,
    align: Literal["calendar", "start"] = "calendar",
    interval: bool | None = None,
    rolling: int | None = None,
    reference: float | tuple[float, str] | None = None,
    y: Literal["data"] | tuple[float, float] | None = None,
    fit: Trend | BeforeAfter | PerStudy[Trend] | PerStudy[BeforeAfter] | None = None,
    changes: ChangePoints | BeforeAfter | PerStudy[ChangePoints] | PerStudy[BeforeAfter] | None = None,
    width: int = 640,
    height: int = 280,
) -> LayeredChart:
    """Draw one metric over time, a line for each study: what `evalkit.analysis.trend` estimates.

    A point stands for its period, and is drawn in its middle. A missing checkpoint (half a period or more without one) and a missing
    value are gaps: the line breaks.

    Parameters
    ----------
    data
        A `StudyData`, or a frame as ``kit.checkpoints()`` returns it, any number of rows. With a lifecycle, paused time is shaded, and
        the times at which studies were started and stopped are marked.
    metric
        A name of `evalkit.METRICS`.
    align
        ``"calendar"``: by date. ``"start"``: by the time since the start of each study's first period, without lifecycle.
    interval
        Whether a rate gets a band, its 95 % Wilson interval. None: where what it rests on is recorded, for up to 6 studies.
    rolling
        Over how many checkpoints to draw a mean as well, 2 or more; weighted by what the metric rests on, where that is recorded.
    reference
        A value to draw a line at (rates 0 to 1), or the value and a text for it.
    y
        The range of the axis: ``"data"`` fits it to the values, ``(low, high)`` sets it. None: rates 0 to 100 %, others from 0.
    fit
        A result of ``evalkit.analysis.trend(data, metric)`` or ``before_after(...)``: its straight lines are drawn, with their intervals.
    changes
        A result of ``evalkit.analysis.changepoints(data, metric)`` or ``before_after(...)``: its changes are marked.
    width, height
        Of the frame, in pixels.

    Returns
    -------
    altair.LayerChart
        It displays offline by itself, and composes as any other.

    Raises
    ------
    InvalidInputError
        When the data lacks a column, there is no such metric, or an option is wrong.
    """
    if align not in ("calendar", "start"):
        raise invalid("align", align, "is neither 'calendar' nor 'start'.")
    if align == "start" and not (fit is None and changes is None):
        raise invalid("align", align, "cannot be combined with fit or changes, which have dates.")
    known = study_data(data)
    series = prepare(known, metric, interval=interval, rolling=rolling)
    check_size(width=width, height=height)
    kind = series.metric
    past = history_of(known, series) if known.lifecycle is not None and align == "calendar" else None
    marks = None if changes is None else change_marks(changes, series.studies)
    lines = None if fit is None else fit_lines(fit, series.studies)
    times = [drawn_times(series.points, "t")]
    times += [] if past is None else [past.times]
    times += [] if marks is None else [drawn_times(marks, "low", "at", "high")]
    times += [] if lines is None else [drawn_times(lines, "at")]
    x: alt.X = time_axis(times, width)
    at: pl.Expr | None = None
    what = f"Trend of {kind.label.lower()} over time"
    if align == "start":
        what = f"Comparison of {kind.label.lower()}"
        series = series.from_start()
        x, at = _since_start(series.points)
    axis, notes = value_axis(kind, y, series.points)
    behind, history = ([], []) if past is None else history_layers(past, series, x)
    layers, thinned = line_layers(series, Plane(x=x, y=axis, at=at, clip=isinstance(y, tuple | list), share=width / 640))
    line: list[str] = []
    if marks is not None:
        marked, line = change_layers(marks, series.studies, x)
        behind = [*behind, *marked]
    if lines is not None:
        fitted, more = fit_layers(lines, series.studies, x, axis)
        layers, line = [*layers, *fitted], [*line, *more]
    if reference is not None:
        rule, note = reference_layer(reference, kind, axis)
        layers, line = [*layers, rule], [*line, note]
    sentences = [DIRECTIONS[kind.better], *series.notes, *notes, *line, *thinned, *history]
    if series.points.is_empty():
        layers, sentences = nothing(), [_NOTHING, *series.notes]
    sentences = [note for note in sentences if note]
    title = f"{kind.label}: {series.studies[0][1]}" if len(series.studies) == 1 else kind.label
    description = described(what, kind, series.points, sentences)
    return layered([*behind, *layers], title, sentences, description, series.twin, width=width, height=height)


def _since_start(points: pl.DataFrame) -> tuple[alt.X, pl.Expr]:
    """Give the axis of the time since each study's first period, in the unit that suits its length."""
    microseconds = pl.col("t").dt.timestamp("us")
    hours = float(points.select(microseconds.max()).item() or 0) / 3.6e9
    length, unit = next((length, unit) for most, length, unit in _UNITS if hours <= most)
    axis = alt.X("x:Q", title=f"{unit.capitalize()} since the start of the first period", scale=alt.Scale(zero=True, nice=False, padding=8))
    return axis, microseconds / (length * 1e6)
