"""Lifecycles: from events to stretches of time in one status, behind a chart of a metric and as bars of their own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import altair as alt
import polars as pl

from evalkit._util.text import duration, plural, span
from evalkit.domain.validation import check_time
from evalkit.errors import InvalidInputError
from evalkit.frames.columns import CHECKPOINTS, empty_frame
from evalkit.frames.study_data import StudyData, study_data
from evalkit.plots._chart import LayeredChart, check_size, layered
from evalkit.plots._lines import PERIOD, TOLD, colour_of, drawn_times, milliseconds, nothing, time_axis, values
from evalkit.plots._points import MOST_STUDIES, Series
from evalkit.plots._theme import NEUTRAL, STATUS_COLOURS
from evalkit.plots._thinning import MOST_POINTS, bucket, lengths

if TYPE_CHECKING:
    from evalkit.frames.study_data import DataLike

__all__ = ["History", "history_layers", "history_of", "lifecycle", "stretches"]

_MARKS = {"study_started": "started", "study_stopped": "stopped"}
_FEWEST_BUCKETS, _BUCKETS = 160, 500  # the fewest are 4 pixels wide each


def stretches(rows: pl.DataFrame, until: datetime | None) -> pl.DataFrame:
    """Give the stretches of time that studies were in one status: study_id, label, status, start, end, backwards.

    A status lasts until the next event of the study, the last one until `until`. Where the next event's time is the earlier one the
    stretch has the length zero, and `backwards` says so.
    """
    following = pl.col("at").shift(-1).over("study_id")
    last = following.is_null()
    end = pl.coalesce(following, pl.lit(until).cast(pl.Datetime("us", "UTC")), pl.col("at"))
    return rows.select(
        "study_id", "label", "status", start="at", end=pl.max_horizontal("at", end), backwards=last.not_() & (end < pl.col("at"))
    )


@dataclass(frozen=True)
class History:
    """The lifecycles behind the lines of a series."""

    parts: pl.DataFrame
    """As `stretches` returns them."""
    marks: pl.DataFrame
    """The events that are marked, by their time, `at`."""

    @property
    def paused(self) -> pl.DataFrame:
        """The stretches of paused time, which are shaded."""
        return self.parts.filter(status="paused")

    @property
    def times(self) -> pl.Series:
        """Where the layers are in time."""
        return pl.concat([drawn_times(self.paused, "start", "end"), drawn_times(self.marks, "at")])


def history_of(data: StudyData, series: Series) -> History:
    """Return the lifecycles of the studies of a series."""
    rows = _relabelled(data.sorted_lifecycle, dict(series.studies))
    if series.points.is_empty():
        rows = rows.clear()
    until = None if rows.is_empty() else max(rows["at"].max(), series.points["end"].max())  # type: ignore[type-var]
    return History(stretches(rows, until), rows.filter(pl.col("kind").is_in(list(_MARKS))))  # type: ignore[arg-type]


def history_layers(history: History, series: Series, x: alt.X) -> tuple[list[Any], list[str]]:
    """Return what is behind the lines of a series, paused time and the marks of start and stop, and what must be said of it."""
    paused, marks = history.paused, history.marks
    alone = len(series.studies) == 1
    colour = {"color": alt.ColorValue(NEUTRAL)} if alone else {"color": colour_of(series.studies)}
    layers: list[Any] = []
    notes: list[str] = []
    if paused.height:
        drawn, thinned = _fewer(paused)
        notes += ["Shaded: paused.", *thinned]
        layers.append(
            alt.Chart(values(drawn.select(study="label", a=milliseconds("start"), b=milliseconds("end"), x=milliseconds("start"))))
            .transform_calculate(period=PERIOD)
            .transform_calculate(told="datum.study + ', paused ' + datum.period")
            .mark_rect(opacity=0.2)
            .encode(x=x, x2=alt.X2("b:T"), tooltip=[alt.Tooltip("told:N", title="lifecycle")], description=TOLD, **colour)
        )
    if marks.height:
        notes.append("Vertical lines: when a study was started (dashed) or stopped.")
        if marks.height > MOST_POINTS:
            notes.append(f"Only the first {MOST_POINTS:,} of {marks.height:,} are drawn.")
            marks = marks.sort("at")
        data = marks[:MOST_POINTS].select(study="label", x=milliseconds("at"), text=pl.col("kind").replace_strict(_MARKS))
        base = alt.Chart(values(data)).transform_calculate(
            told="datum.study + ', ' + datum.text + ' ' + utcFormat(datum.x, '%Y-%m-%d %H:%M') + ' UTC'"
        )
        dash = alt.StrokeDash("text:N", scale=alt.Scale(domain=["started", "stopped"], range=[[3, 3], [1, 0]]), legend=None)
        tip = [alt.Tooltip("told:N", title="lifecycle")]
        layers.append(base.mark_rule(opacity=0.9).encode(x=x, strokeDash=dash, tooltip=tip, description=TOLD, **colour))
    return layers, [*notes, *_backwards(history.parts)]


def lifecycle(data: DataLike, *, until: datetime | str | None = None, width: int = 640) -> LayeredChart:
    """Draw studies as bars over time: pending, running, paused, stopped, with a tick for each checkpoint.

    Parameters
    ----------
    data
        A `StudyData` with a lifecycle, from ``kit.data()``; a tick is drawn in the middle of each checkpoint's period. Or a frame as
        ``kit.lifecycle()`` returns it: bars without ticks.
    until
        Where the bars end that have no end yet, with a time zone. None: at the last time in the frames.
    width
        Of the frame, in pixels.

    Returns
    -------
    altair.LayerChart
        It displays offline by itself. Studies stand in the order of their creation, the 200 newest of them.

    Raises
    ------
    InvalidInputError
        When there is no lifecycle, a frame lacks a column, or `until` has no time zone.
    """
    check_size(width=width)
    known = _with_lifecycle(data)
    rows, ticks = known.sorted_lifecycle, known.sorted_checkpoints([])
    created = rows.group_by("study_id", "label").agg(pl.col("at").first()).sort("at", "study_id")
    shown = created.tail(MOST_STUDIES)
    notes = [f"The {MOST_STUDIES} newest of {created.height:,} studies."] if created.height > MOST_STUDIES else []
    labels = dict(shown.select("study_id", "label").cast(pl.String()).rows())
    rows, ticks = _relabelled(rows, labels), _relabelled(ticks, labels)
    if rows.is_empty():
        return layered(nothing(), "Lifecycle", ["Nothing to draw: no study."], "Lifecycle of studies: nothing to draw.", _twin(rows, None))
    newest = [moment for moment in (rows["at"].max(), ticks["end"].max()) if isinstance(moment, datetime)]
    end = max(newest) if until is None else check_time("until", until)
    parts = stretches(rows, end)
    drawn, thinned = _fewer(parts)
    order = shown["label"].to_list()
    y = alt.Y("study:N", sort=order, title=None, scale=alt.Scale(domain=order), axis=alt.Axis(labelLimit=180, ticks=False, domain=False))
    x = time_axis([drawn_times(parts, "start", "end"), drawn_times(ticks, "t")], width)
    layers = [_bars(drawn, x, y)]
    notes += [*thinned, *_backwards(parts)]
    if ticks.height:
        dots, fewer = _ticks(ticks, x, y)
        layers.append(dots)
        notes = [f"Ticks: {plural(ticks.height, 'checkpoint')}.", *notes, *fewer]
    what = f"Lifecycle of {plural(shown.height, 'study', 'studies')}, {span(parts['start'].min(), parts['end'].max())}."  # type: ignore[arg-type]
    told = " ".join([what, *_histories(parts), *notes])
    return layered(layers, "Lifecycle", notes, told, _twin(rows, end), width=width, height=alt.Step(26))


def _relabelled(rows: pl.DataFrame, labels: dict[str, str]) -> pl.DataFrame:
    """Keep the rows of these studies, and call them so: where another frame has other studies of the name, its labels differ."""
    study_id = pl.col("study_id").cast(pl.String())
    kept = rows.filter(study_id.is_in(list(labels)))
    label = study_id.replace_strict(labels, return_dtype=pl.Enum(list(labels.values()))) if labels else pl.col("label")
    return kept.with_columns(label=label)


def _with_lifecycle(data: DataLike) -> StudyData:
    if not isinstance(data, StudyData) and "seq" in getattr(data, "columns", ()):
        return StudyData(empty_frame(CHECKPOINTS), data)  # type: ignore[arg-type]
    known = study_data(data)
    if known.lifecycle is None:
        raise InvalidInputError(
            "data: it has no lifecycle. Give kit.data(), StudyData(checkpoints, lifecycle), or kit.lifecycle().", field="data", value=data
        )
    return known


def _bars(drawn: pl.DataFrame, x: alt.X, y: alt.Y) -> Any:
    seen = [status for status in STATUS_COLOURS if status in drawn["status"].to_list()]
    scale = alt.Scale(domain=seen, range=[STATUS_COLOURS[status] for status in seen])
    data = drawn.select(study="label", status="status", x=milliseconds("start"), a=milliseconds("start"), b=milliseconds("end"))
    size = alt.SizeValue(14, condition={"test": "datum.status == 'stopped' || datum.status == 'pending'", "value": 5})
    return (
        alt.Chart(values(data))
        .transform_calculate(period=PERIOD)
        .transform_calculate(told="datum.study + ', ' + datum.status + ' ' + datum.period")
        .mark_bar(minBandSize=1)
        .encode(
            x=x, x2=alt.X2("b:T"), y=y, size=size, color=alt.Color("status:N", scale=scale, legend=alt.Legend(title=None, orient="bottom")),
            stroke=alt.Stroke("status:N", scale=scale, legend=None),  # a status without length is seen too
            tooltip=[alt.Tooltip("study:N", title="study"), alt.Tooltip("status:N"), alt.Tooltip("period:N", title="time")],
            description=TOLD,
        )
    )  # fmt: skip


def _ticks(ticks: pl.DataFrame, x: alt.X, y: alt.Y) -> tuple[Any, list[str]]:
    """Give the checkpoints as ticks, one for each pixel where there are more."""
    fewer: list[str] = []
    if max(lengths(ticks)) > MOST_POINTS or ticks.height > 5 * MOST_POINTS:
        buckets = max(_FEWEST_BUCKETS, min(_BUCKETS, 5 * MOST_POINTS // ticks["study_id"].n_unique()))
        step: Any = (ticks["t"].max() - ticks["t"].min()) / buckets  # type: ignore[operator]
        ticks = ticks.group_by("study_id", "label", bucket(ticks, buckets).alias("bucket")).agg(pl.col("t", "start", "end").first())
        ticks = ticks.sort("study_id", "t")
        fewer = [f"Ticks of a study within {duration(step)} are drawn as one."]
    data = ticks.select(study="label", x=milliseconds("t"), a=milliseconds("start"), b=milliseconds("end"))
    drawn = (
        alt.Chart(values(data))
        .transform_calculate(period=PERIOD)
        .transform_calculate(told="datum.study + ', checkpoint ' + datum.period")
        .mark_tick(thickness=1.5, size=20, color=NEUTRAL, opacity=1)
        .encode(
            x=x, y=y, description=TOLD, tooltip=[alt.Tooltip("study:N", title="study"), alt.Tooltip("period:N", title="checkpoint of")],
        )
    )  # fmt: skip
    return drawn, fewer


def _fewer(parts: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Join stretches that are closer than a screen can show, where there are very many."""
    if parts.height <= MOST_POINTS:
        return parts, []
    buckets = max(_FEWEST_BUCKETS, min(_BUCKETS, 2 * MOST_POINTS // parts["study_id"].n_unique()))
    at = pl.col("start").dt.epoch("ms")
    first, last = parts.select(at.min().alias("a"), at.max().alias("b")).row(0)
    step = max(1, (last - first) // buckets)
    joined = parts.group_by("study_id", "label", "status", (at - first) // step, maintain_order=True).agg(
        pl.col("backwards").any(), from_=pl.col("start").min(), to=pl.col("end").max()
    )
    joined = joined.select("study_id", "label", "status", "backwards", start="from_", end="to")
    return joined, [f"{parts.height:,} changes: those to one status within {duration(timedelta(milliseconds=step))} are drawn together."]


def _backwards(parts: pl.DataFrame) -> list[str]:
    turned = parts.filter("backwards")
    if turned.is_empty():
        return []
    named = ", ".join(turned["label"].unique(maintain_order=True).to_list()[:3])
    return [
        f"Times run backwards {plural(turned.height, 'time')} ({named}): the status that ended before it began is drawn with length zero."
    ]


def _histories(parts: pl.DataFrame) -> list[str]:
    told = []
    for one in parts.partition_by("study_id", maintain_order=True)[-5:]:
        steps = [f"{status} {span(start, end)}" for status, start, end in one.select("status", "start", "end").head(6).rows()]
        told.append(f"{one['label'][0]}: {', '.join(steps)}{' and so on' if one.height > 6 else ''}.")
    return told


def _twin(rows: pl.DataFrame, until: datetime | None) -> pl.DataFrame:
    parts = stretches(rows, until or datetime(1970, 1, 1, tzinfo=UTC))
    return parts.select(study=pl.col("label").cast(pl.String()), status="status", start="start", end="end", backwards="backwards")
