"""Lifecycles of studies, as a chart and as the background of charts over time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

from evalkit._util.text import duration, plural, span
from evalkit.domain.time_input import check_time
from evalkit.errors import InvalidInputError
from evalkit.frames.columns import CHECKPOINTS, empty_frame
from evalkit.frames.study_data import StudyData, study_data
from evalkit.plots._annotations import annotations_in, row_marks
from evalkit.plots._chart import LayeredChart, check_size, layered
from evalkit.plots._descriptions import MOST_DESCRIBED
from evalkit.plots._downsampling import MOST_POINTS, counts_per_study, time_bin
from evalkit.plots._lines import PERIOD, SUMMARY, color_of, drawn_times, empty_layers, milliseconds, time_axis
from evalkit.plots._points import MOST_STUDIES, Series
from evalkit.plots._theme import NEUTRAL, STATUS_COLORS
from evalkit.plots._vega_lite import Channel, Part, calculate, field, inline_rows, layer, mark

if TYPE_CHECKING:
    from evalkit.frames.study_data import DataLike

__all__ = ["History", "history_layers", "history_of", "lifecycle", "status_spans"]

_MARKS = {"study_started": "started", "study_stopped": "stopped"}
_FEWEST_BINS, _MOST_BINS = 160, 500  # with the fewest, a bin is 4 pixels wide
_MOST_STEPS = 6
_MOST_NAMED = 3


def status_spans(rows: pl.DataFrame, until: datetime | None) -> pl.DataFrame:
    """Return the time spans between the status changes of studies.

    The columns are study_id, label, status, start, end and backwards. A status lasts until the next event of the study, the last one until
    `until`. If the next event is earlier, the span has zero length and `backwards` is true.
    """
    following = pl.col("at").shift(-1).over("study_id")
    last = following.is_null()
    end = pl.coalesce(following, pl.lit(until).cast(pl.Datetime("us", "UTC")), pl.col("at"))
    return rows.select(
        "study_id", "label", "status", start="at", end=pl.max_horizontal("at", end), backwards=last.not_() & (end < pl.col("at"))
    )


@dataclass(frozen=True)
class History:
    """The lifecycles of the studies of a series.

    Attributes
    ----------
    spans
        The result of `status_spans`.
    marks
        The events that are marked, at the time `at`.
    """

    spans: pl.DataFrame
    marks: pl.DataFrame

    @cached_property
    def paused(self) -> pl.DataFrame:
        """The spans of paused time, which are shaded."""
        return self.spans.filter(status="paused")

    @property
    def times(self) -> pl.Series:
        """The times of all marks."""
        return pl.concat([drawn_times(self.paused, "start", "end"), drawn_times(self.marks, "at")])


def history_of(data: StudyData, series: Series) -> History:
    """Return the lifecycles of the studies of a series."""
    rows = _relabeled(data.sorted_lifecycle, dict(series.studies))
    if series.points.is_empty():
        rows = rows.clear()
    until = None if rows.is_empty() else max(rows["at"].max(), series.points["end"].max())  # type: ignore[type-var]
    return History(status_spans(rows, until), rows.filter(pl.col("kind").is_in(list(_MARKS))))  # type: ignore[arg-type]


def history_layers(history: History, series: Series, x: Channel) -> tuple[list[Part], list[str]]:
    """Return the background layers of a series, and notes on them.

    The layers are paused time, and the starts and stops of studies.
    """
    paused, marks = history.paused, history.marks
    color = {"value": NEUTRAL} if len(series.studies) == 1 else color_of(series.studies)
    tooltip = [field("summary:N", title="lifecycle")]
    layers: list[Part] = []
    notes: list[str] = []
    if paused.height:
        drawn, merged = _merged(paused)
        notes += ["Shaded: paused.", *merged]
        data = drawn.select(study="label", a=milliseconds("start"), b=milliseconds("end"), x=milliseconds("start"))
        summary = calculate("summary", "datum.study + ', paused ' + datum.period")
        layers.append(
            layer(
                inline_rows(data), mark("rect", opacity=0.2), calculate("period", PERIOD), summary,
                x=x, x2=field("b"), tooltip=tooltip, description=SUMMARY, color=color,
            )
        )  # fmt: skip
    if marks.height:
        notes.append("Thin vertical lines: study started (dashed) or stopped (solid).")
        if marks.height > MOST_POINTS:
            notes.append(f"Only the first {MOST_POINTS:,} of {marks.height:,} are drawn.")
            marks = marks.sort("at")
        data = marks[:MOST_POINTS].select(study="label", x=milliseconds("at"), text=pl.col("kind").replace_strict(_MARKS))
        summary = calculate("summary", "datum.study + ', ' + datum.text + ' ' + utcFormat(datum.x, '%Y-%m-%d %H:%M') + ' UTC'")
        dash = field("text:N", scale={"domain": ["started", "stopped"], "range": [[3, 3], [1, 0]]}, legend=None)
        rule = mark("rule", opacity=0.9)
        layers.append(layer(inline_rows(data), rule, summary, x=x, strokeDash=dash, tooltip=tooltip, description=SUMMARY, color=color))
    return layers, [*notes, *_backwards(history.spans)]


def lifecycle(data: DataLike, *, until: datetime | str | None = None, width: int = 640) -> LayeredChart:
    """Draw each study as a bar over time, colored by status, with a tick for each checkpoint.

    Parameters
    ----------
    data
        A `StudyData` with a lifecycle, as ``kit.data()`` returns it; ticks are drawn in the middle of each checkpoint's period, and
        notes and changes of the model or agent version are marked. Or a DataFrame as ``kit.lifecycle()`` returns it, for bars alone.
    until
        The end of bars without an end, with a time zone. None: the last time in the data.
    width
        The width of the frame, in pixels.

    Returns
    -------
    altair.LayerChart
        Displays without a network, and can be combined with other charts. Studies are in order of creation; of more than 200, the newest
        are shown.

    Raises
    ------
    InvalidInputError
        For data without a lifecycle or a required column, or a time `until` without a time zone.

    Examples
    --------
    >>> import tempfile
    >>> import evalkit
    >>> from evalkit import plots
    >>> kit = evalkit.connect(tempfile.mkdtemp())
    >>> study = kit.create_study("nightly", period="daily", at="2026-01-05T00:00:00Z")
    >>> _ = kit.start_study(study, at="2026-01-06T00:00:00Z")
    >>> chart = plots.lifecycle(kit.data(), until="2026-01-08T00:00:00Z")
    >>> plots.table(chart)["status"].to_list()
    ['pending', 'running']
    >>> kit.close()
    """
    check_size(width=width)
    known = _with_lifecycle(data)
    rows, ticks = known.sorted_lifecycle, known.sorted_checkpoints([])
    created = rows.group_by("study_id", "label").agg(pl.col("at").first()).sort("at", "study_id")
    shown = created.tail(MOST_STUDIES)
    notes = [f"Showing the {MOST_STUDIES} newest of {created.height:,} studies."] if created.height > MOST_STUDIES else []
    labels = dict(shown.select("study_id", "label").cast(pl.String()).rows())
    rows, ticks = _relabeled(rows, labels), _relabeled(ticks, labels)
    if rows.is_empty():
        notes = ["Nothing to draw: no study."]
        return layered(empty_layers(), "Lifecycle", notes, "Lifecycle of studies: nothing to draw.", _table(rows, None), width=width)
    newest = [time for time in (rows["at"].max(), ticks["end"].max()) if isinstance(time, datetime)]
    end = max(newest) if until is None else check_time("until", until)
    spans = status_spans(rows, end)
    drawn, merged = _merged(spans)
    order = shown["label"].to_list()
    axis = {"labelLimit": 180, "ticks": False, "domain": False}
    y = field("study:N", sort=order, title=None, scale={"domain": order}, axis=axis)
    times = [drawn_times(spans, "start", "end"), drawn_times(ticks, "t")]
    annotations = annotations_in(known, list(labels.items()), times)
    times.append(annotations.times)
    x = time_axis(times, width)
    marks, mark_notes = row_marks(annotations, x, y, times, width)
    layers = [_bars(drawn, x, y), *marks]
    notes += [*known.scope.sentences(), *mark_notes, *merged, *_backwards(spans)]
    if ticks.height:
        tick_layer, tick_notes = _ticks(ticks, x, y)
        layers.append(tick_layer)
        notes = [f"Ticks: {plural(ticks.height, 'checkpoint')}.", *notes, *tick_notes]
    subject = f"Lifecycle of {plural(shown.height, 'study', 'studies')}, {span(spans['start'].min(), spans['end'].max())}."  # type: ignore[arg-type]
    text = " ".join([subject, *_summaries(spans), *notes, *annotations.sentences()])
    table = annotations.with_texts(_table(rows, end).lazy(), "start", "end")
    return layered(layers, "Lifecycle", notes, text, table, width=width, height={"step": 26})


def _relabeled(rows: pl.DataFrame, labels: dict[str, str]) -> pl.DataFrame:
    """Return the rows of some studies, with the given labels.

    The labels of another frame can differ, because they depend on all studies of the frame.
    """
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
            "The data has no lifecycle", hint="Pass kit.data(), StudyData(checkpoints, lifecycle), or kit.lifecycle().",
            field="data", value=data,
        )  # fmt: skip
    return known


def _bars(drawn: pl.DataFrame, x: Channel, y: Channel) -> Part:
    statuses = [status for status in STATUS_COLORS if status in drawn["status"].to_list()]
    scale = {"domain": statuses, "range": [STATUS_COLORS[status] for status in statuses]}
    data = drawn.select(study="label", status="status", x=milliseconds("start"), a=milliseconds("start"), b=milliseconds("end"))
    return layer(
        inline_rows(data), mark("bar", minBandSize=1),
        calculate("period", PERIOD), calculate("summary", "datum.study + ', ' + datum.status + ' ' + datum.period"),
        x=x, x2=field("b"), y=y,
        size={"value": 14, "condition": {"test": "datum.status == 'stopped' || datum.status == 'pending'", "value": 5}},
        color=field("status:N", scale=scale, legend={"title": None, "orient": "bottom"}),
        stroke=field("status:N", scale=scale, legend=None),  # makes a status of zero length visible
        tooltip=[field("study:N", title="study"), field("status:N"), field("period:N", title="time")],
        description=SUMMARY,
    )  # fmt: skip


def _ticks(ticks: pl.DataFrame, x: Channel, y: Channel) -> tuple[Part, list[str]]:
    """Return the checkpoints as ticks; very many are merged to about one per pixel."""
    notes: list[str] = []
    if max(counts_per_study(ticks)) > MOST_POINTS or ticks.height > 5 * MOST_POINTS:
        bins = max(_FEWEST_BINS, min(_MOST_BINS, 5 * MOST_POINTS // ticks["study_id"].n_unique()))
        step: Any = (ticks["t"].max() - ticks["t"].min()) / bins  # type: ignore[operator]
        ticks = ticks.group_by("study_id", "label", time_bin(ticks, bins).alias("bin")).agg(pl.col("t", "start", "end").first())
        ticks = ticks.sort("study_id", "t")
        notes = [f"Ticks within {duration(step)} are merged."]
    data = ticks.select(study="label", x=milliseconds("t"), a=milliseconds("start"), b=milliseconds("end"))
    drawn = layer(
        inline_rows(data), mark("tick", thickness=1, size=20, opacity=1),
        calculate("period", PERIOD), calculate("summary", "datum.study + ', checkpoint ' + datum.period"),
        x=x, y=y, description=SUMMARY, tooltip=[field("study:N", title="study"), field("period:N", title="checkpoint")],
    )  # fmt: skip
    return drawn, notes


def _merged(spans: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Merge spans of equal status that a screen cannot distinguish, and return a note.

    Spans are merged only if there are very many.
    """
    if spans.height <= MOST_POINTS:
        return spans, []
    bins = max(_FEWEST_BINS, min(_MOST_BINS, 2 * MOST_POINTS // spans["study_id"].n_unique()))
    at = pl.col("start").dt.epoch("ms")
    first, last = spans.select(at.min().alias("a"), at.max().alias("b")).row(0)
    step = max(1, (last - first) // bins)
    merged = spans.group_by("study_id", "label", "status", (at - first) // step, maintain_order=True).agg(
        pl.col("backwards").any(), from_=pl.col("start").min(), to=pl.col("end").max()
    )
    merged = merged.select("study_id", "label", "status", "backwards", start="from_", end="to")
    return merged, [f"{spans.height:,} status changes; repeated statuses within {duration(timedelta(milliseconds=step))} are merged."]


def _backwards(spans: pl.DataFrame) -> list[str]:
    rows = spans.filter("backwards")
    if rows.is_empty():
        return []
    named = ", ".join(rows["label"].unique(maintain_order=True).to_list()[:_MOST_NAMED])
    verb = "precedes" if rows.height == 1 else "precede"
    return [f"{plural(rows.height, 'event')} {verb} the previous event of the study ({named}); the status between them has zero length."]


def _summaries(spans: pl.DataFrame) -> list[str]:
    """Describe the statuses of the newest studies."""
    sentences = []
    for rows in spans.partition_by("study_id", maintain_order=True)[-MOST_DESCRIBED:]:
        steps = [f"{status} {span(start, end)}" for status, start, end in rows.select("status", "start", "end").head(_MOST_STEPS).rows()]
        more = f" and {plural(rows.height - _MOST_STEPS, 'more status', 'more statuses')}" if rows.height > _MOST_STEPS else ""
        sentences.append(f"{rows['label'][0]}: {', '.join(steps)}{more}.")
    return sentences


def _table(rows: pl.DataFrame, until: datetime | None) -> pl.DataFrame:
    spans = status_spans(rows, until or datetime(1970, 1, 1, tzinfo=UTC))
    return spans.select(study=pl.col("label").cast(pl.String()), status="status", start="start", end="end", backwards="backwards")
