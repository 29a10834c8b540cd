"""One metric over time, with a line for each study.

The time is the date, or the time since the study's first period.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import polars as pl

from evalkit.domain.refusals import invalid
from evalkit.frames.study_data import study_data
from evalkit.plots._annotations import annotation_layers, annotations_in
from evalkit.plots._chart import LayeredChart, check_size, layered
from evalkit.plots._descriptions import DIRECTIONS, description, only_study
from evalkit.plots._history import history_layers, history_of
from evalkit.plots._lines import (
    Plane,
    check_reference,
    drawn_times,
    empty_layers,
    line_layers,
    look_notes,
    reference_layer,
    time_axis,
    value_axis,
)
from evalkit.plots._points import Series, prepare
from evalkit.plots._result_layers import change_layers, change_marks, fit_layers, fit_lines
from evalkit.plots._vega_lite import Channel, field

if TYPE_CHECKING:
    from evalkit.analysis import BeforeAfter, ChangePoints, PerStudy, Trend
    from evalkit.frames.study_data import DataLike

__all__ = ["trend"]

_UNITS = ((72, 3_600, "hours"), (120 * 24, 86_400, "days"), (float("inf"), 604_800, "weeks"))
"""The units of an axis: the largest number of hours on the axis, the length of the unit in seconds, and its name."""


def trend(
    data: DataLike,
    metric: str,
    *,
    align: Literal["calendar", "start"] = "calendar",
    interval: bool | None = None,
    rolling: int | None = None,
    reference: float | tuple[float, str] | None = None,
    y: Literal["data", "log"] | tuple[float, float] | None = None,
    fit: Trend | BeforeAfter | PerStudy[Trend] | PerStudy[BeforeAfter] | None = None,
    changes: ChangePoints | BeforeAfter | PerStudy[ChangePoints] | PerStudy[BeforeAfter] | None = None,
    width: int = 640,
    height: int = 280,
) -> LayeredChart:
    """Draw one metric over time, with a line for each study.

    Each point represents a period and is drawn in its middle. Lines break at missing values and at gaps of half a period or more
    without a checkpoint; they are never interpolated.

    Parameters
    ----------
    data
        A `StudyData`, or a DataFrame as ``kit.checkpoints()`` returns it, with any number of rows. If it has a lifecycle, paused time is
        shaded, and the starts and stops of studies are marked. If it has notes or provenance, notes (triangles) and changes of the model,
        agent or agent version (diamonds) are marked. If it has amendments, amended values are hollow.
    metric
        The name of a metric: one of the 16, or a custom one.
    align
        ``"calendar"``: by date. ``"start"``: by time since the start of each study's first period, without the lifecycle and notes.
    interval
        Whether to draw the 95% Wilson confidence interval of a rate as a band. None: if the denominator of the rate is recorded, for up
        to 6 studies.
    rolling
        The window of a rolling mean to draw, in checkpoints, 2 or more. The mean is weighted by the metric's denominator if that is
        recorded.
    reference
        The value of a horizontal reference line (for rates 0 to 1), or the value and a label.
    y
        The value axis: ``"data"`` fits it to the values, ``(low, high)`` sets its range, ``"log"`` makes it logarithmic; values of zero
        or less are then left out and counted in the subtitle. Rates have no log axis. None: 0 to 100% for rates, from 0 for others.
    fit
        A result of ``evalkit.analysis.trend(data, metric)`` or ``before_after(...)``, whose fitted lines are drawn with their 95%
        confidence intervals.
    changes
        A result of ``evalkit.analysis.changepoints(data, metric)`` or ``before_after(...)``, whose changes are marked.
    width, height
        The size of the frame, in pixels.

    Returns
    -------
    altair.LayerChart
        Displays without a network, and can be combined with other charts. The subtitle describes intervals, gaps and omissions.

    Raises
    ------
    InvalidInputError
        For data without a required column, an unknown metric, or an invalid option.

    Examples
    --------
    >>> from evalkit import plots
    >>> from evalkit.samples import sample_checkpoints
    >>> checkpoints = pl.DataFrame(sample_checkpoints("daily", "2026-01-05T00:00:00Z", 14, seed=1))
    >>> chart = plots.trend(checkpoints, "session_success_rate", rolling=3)
    >>> print(" ".join(chart.to_dict()["title"]["subtitle"]))  # doctest: +NORMALIZE_WHITESPACE
    ↑ Higher is better. Band: 95% Wilson CI (n = sessions completed). Thick line: 3-checkpoint rolling mean,
    weighted by sessions completed (restarts after gaps).
    """
    if align not in ("calendar", "start"):
        raise invalid("align", align, "expected 'calendar' or 'start'")
    if align == "start" and not (fit is None and changes is None):
        raise invalid("align", align, "fit= and changes= require align='calendar'")
    data = study_data(data)
    series = prepare(data, metric, interval=interval, rolling=rolling)
    check_size(width=width, height=height)
    definition = series.metric
    line = None if reference is None else check_reference(reference, definition)
    if y == "log" and line is not None and line[0] <= 0:
        raise invalid("reference", reference, "a log axis has positive values only")
    history = history_of(data, series) if data.lifecycle is not None and align == "calendar" else None
    has_values = not series.points.is_empty()
    series = series.positive() if y == "log" and definition.kind != "rate" else series
    marks = None if changes is None else change_marks(changes, series.studies, definition.name)
    lines = None if fit is None else fit_lines(fit, series.studies, definition.name)
    axis, axis_notes = value_axis(definition, y, series.points, also=_also_drawn(series, line, lines))
    subject = f"Trend of {definition.label.lower()} over time" if align == "calendar" else f"Comparison of {definition.label.lower()}"
    name = only_study(series.studies)
    title = f"{definition.label}: {name}" if name else definition.label
    if series.points.is_empty():
        notes = [f"Nothing to draw: no checkpoint has a {'positive ' if has_values else ''}value.", *data.scope.sentences(), *series.notes]
        text = description(subject, definition, series.points, notes)
        return layered(empty_layers(), title, notes, text, series.table, width=width, height=height)
    times = [drawn_times(series.points, "t")]
    times += [] if history is None else [history.times]
    annotations = annotations_in(data, series.studies, [*times, drawn_times(series.points, "start", "end")])
    times += [annotations.times] if align == "calendar" else []
    times += [] if marks is None else [drawn_times(marks, "low", "at", "high")]
    times += [] if lines is None else [drawn_times(lines, "at")]
    x = time_axis(times, width)
    position: pl.Expr | None = None
    if align == "start":
        series = series.since_start()
        x, position = _since_start(series.points)
    background, history_notes = ([], []) if history is None else history_layers(history, series, x)
    marked, mark_notes = (
        annotation_layers(annotations, series.studies, x, times, width) if align == "calendar" else ([], annotations.absent())
    )
    plane = Plane(x=x, y=axis, position=position, clip=isinstance(y, tuple | list), width_ratio=width / 640)
    layers, line_notes = line_layers(series, plane)
    changed, change_notes = ([], []) if marks is None else change_layers(marks, series.studies, x)
    fitted, fit_notes = ([], []) if lines is None else fit_layers(lines, series.studies, x, axis)
    referred, reference_notes = ([], []) if line is None else reference_layer(line, definition, axis)
    notes = [
        DIRECTIONS[definition.better],
        *data.scope.sentences(),
        *series.notes,
        *axis_notes,
        *change_notes,
        *fit_notes,
        *reference_notes,
    ]
    notes = [note for note in [*notes, *look_notes(series.studies), *line_notes, *history_notes, *mark_notes] if note]
    text = description(subject, definition, series.points, [*notes, *annotations.sentences()])
    table = annotations.with_texts(series.table)
    return layered([*background, *changed, *marked, *layers, *fitted, *referred], title, notes, text, table, width=width, height=height)


def _also_drawn(series: Series, line: tuple[float, str | None] | None, lines: pl.DataFrame | None) -> list[float]:
    """Return the values that the value axis includes besides those of the checkpoints."""
    values = [] if line is None else [line[0]]
    values += [] if lines is None or lines.is_empty() else lines["high"].to_list()
    return values if series.rolled is None else [*values, *series.rolled["mean"].drop_nulls()]


def _since_start(points: pl.DataFrame) -> tuple[Channel, pl.Expr]:
    """Return the axis of time since each study's first period, and the position on it.

    The unit depends on the length of the axis.
    """
    microseconds = pl.col("t").dt.timestamp("us")
    hours = float(points.select(microseconds.max()).item() or 0) / 3.6e9
    length, unit = next((length, unit) for limit, length, unit in _UNITS if hours <= limit)
    title = f"{unit.capitalize()} since the start of the first period"
    axis = field("x:Q", title=title, scale={"zero": True, "nice": False, "padding": 8})
    return axis, microseconds / (length * 1e6)
