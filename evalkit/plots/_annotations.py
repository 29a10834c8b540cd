"""Notes and changes of versions as marks in charts over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import altair as alt
import polars as pl

from evalkit._util.text import plural
from evalkit.frames.annotations import annotations_of
from evalkit.frames.study_data import StudyData
from evalkit.plots._lines import SUMMARY, color_of, drawn_times, inline_rows, milliseconds
from evalkit.plots._theme import NEUTRAL

__all__ = ["Annotations", "annotation_layers", "annotations_in", "row_marks"]

_LABEL_ROWS, _LABEL_HEIGHT = 3, 13
"""The number of rows of labels above the frame, and the height of a row in pixels."""
_KINDS = {"note": "note", "version": "version change"}
_DASHES = {"note": [1, 3], "version": [8, 3]}
_SHAPES = {"note": "triangle-down", "version": "diamond"}
_NAMES = {"note": "Triangles", "version": "Diamonds"}
_CLUSTER_PIXELS = 9
"""Marks of one kind within this distance are merged."""
_CHARACTER_PIXELS, _LONGEST_LABEL, _SHORTEST_LABEL = 5.6, 28, 8
_ABOVE = -10  # in a chart with a row for each study
_LABEL_OVERHANG = 20  # the room right of the frame
_MOST_RULES = 40
"""The largest number of marks with a vertical line, in a frame of 640 pixels."""
_PADDING = 8
_IN_TOOLTIP, _IN_DESCRIPTION = 5, 10
_LONGEST_TEXT = 160


@dataclass(frozen=True)
class Annotations:
    """The notes and version changes of the studies of a chart.

    Attributes
    ----------
    rows
        All of them, as `annotations_of` returns them.
    first, last
        The time of the chart. Only what begins or ends in it is drawn.
    """

    rows: pl.DataFrame
    first: datetime
    last: datetime

    @cached_property
    def drawn(self) -> pl.DataFrame:
        """The rows within the time of the chart."""
        if self.rows.is_empty():
            return self.rows
        return self.rows.filter(pl.col("at") <= self.last, pl.coalesce("until", "at") >= self.first).with_columns(
            pl.col("at").clip(self.first), pl.col("until").clip(upper_bound=self.last), since="at"
        )

    @property
    def times(self) -> pl.Series:
        """The times of all marks."""
        return drawn_times(self.drawn, "at")

    def beyond(self) -> list[str]:
        """Return the number of annotations that are not drawn, as a sentence."""
        outside = self.rows.height - self.drawn.height
        return (
            [f"{plural(outside, 'note or version change', 'notes or version changes')} outside the time of this chart."] if outside else []
        )

    def sentences(self) -> list[str]:
        """Return the texts, for the text description of the chart."""
        rows = self.drawn
        sentences: list[str] = []
        if rows.is_empty():
            return sentences
        several = rows["study_id"].n_unique() > 1
        for kind, name in _KINDS.items():
            of_kind = rows.filter(kind=kind)
            if of_kind.height:
                texts = [_dated(row, several=several) for row in of_kind.head(_IN_DESCRIPTION).iter_rows(named=True)]
                more = [f"{of_kind.height - _IN_DESCRIPTION:,} more"] if of_kind.height > _IN_DESCRIPTION else []
                sentences.append(f"{plural(of_kind.height, name)}: {'; '.join([*texts, *more])}.")
        return sentences

    def with_texts(self, table: pl.LazyFrame, start: str = "period_start", end: str = "period_end") -> pl.LazyFrame:
        """Return the underlying data of a chart with a column of notes and version changes.

        The column ``notes`` has the texts of each row's period. What is in no period has a row of its own.
        """
        if self.rows.is_empty():
            return table
        instant = pl.col("until") - timedelta(microseconds=1)
        rows = self.rows.lazy().select(
            pl.col("label").alias("of"), "at", until=pl.max_horizontal("at", pl.coalesce(instant, "at")), text="text",
            ends=pl.coalesce("until", "at"),
        ).with_row_index("annotation")  # fmt: skip
        numbered = table.with_row_index("row")
        pairs = numbered.join_where(rows, pl.col("study") == pl.col("of"), pl.col("at") < pl.col(end), pl.col("until") >= pl.col(start))
        texts = pairs.sort("annotation").group_by("row", maintain_order=True).agg(pl.col("text").alias("notes"))
        others = rows.join(pairs.select("annotation").unique(), on="annotation", how="anti").sort("annotation")
        alone = others.select(
            pl.col("of").alias("study"), pl.col("at").alias(start), pl.col("ends").alias(end), pl.concat_list("text").alias("notes")
        )
        joined = numbered.join(texts, on="row", how="left", maintain_order="left").drop("row")
        return pl.concat([joined, alone], how="diagonal_relaxed")


def annotations_in(data: StudyData, studies: Sequence[tuple[str, str]], times: Sequence[pl.Series]) -> Annotations:
    """Return the annotations of the studies of a chart with marks at some times."""
    return Annotations(annotations_of(data, dict(studies)), *_ends(times))


def annotation_layers(
    annotations: Annotations,
    studies: Sequence[tuple[str, str]],
    x: alt.X,
    times: Sequence[pl.Series],
    width: int,
    *,
    labels: bool = True,
) -> tuple[list[Any], list[str]]:
    """Return the layers that mark notes and version changes, and sentences for the subtitle.

    Parameters
    ----------
    annotations
        What to mark.
    studies
        (id, label) of the studies of the chart.
    x
        The time axis.
    times
        The times of all marks in the chart.
    width
        The width of the frame, in pixels.
    labels
        Whether marks have labels above the frame, as far as there is room.
    """
    rows = annotations.drawn
    if rows.is_empty():
        return [], annotations.beyond()
    color = {"color": alt.ColorValue(NEUTRAL)} if len(studies) == 1 else {"color": color_of(studies)}
    layers: list[Any] = []
    if (shaded := _unions(rows)).height:
        data = inline_rows(shaded.select(study="label", x=milliseconds("at"), b=milliseconds("until")))
        layers.append(alt.Chart(data).mark_rect(opacity=0.1, aria=False).encode(x=x, x2=alt.X2("b:T"), **color))
    marks = _clusters(rows, _ends(times), width)
    for kind, name in _KINDS.items():
        of_kind = marks.filter(kind=kind)
        if of_kind.is_empty():
            continue
        base = alt.Chart(inline_rows(of_kind.select("study", "summary", x=milliseconds("at"))))
        tooltip = [alt.Tooltip("summary:N", title=name)]
        if marks.height <= _MOST_RULES * width / 640:
            layers.append(base.mark_rule(strokeDash=_DASHES[kind], opacity=0.8, aria=False).encode(x=x, **color))
        point = base.mark_point(shape=_SHAPES[kind], filled=True, size=55 if labels else 24, opacity=1)
        layers.append(point.encode(x=x, y=_at_height(0), tooltip=tooltip, description=SUMMARY, **color))
    crowded: list[str] = []
    if labels:
        shown = marks.drop_nulls("row")
        for (row,), part in shown.group_by("row", maintain_order=True):
            data = inline_rows(part.select("text", x=milliseconds("at")))
            label = alt.Chart(data).mark_text(align="left", baseline="bottom", dx=-3, fontSize=10, aria=False)
            layers.append(label.encode(x=x, y=_at_height(-5 - _LABEL_HEIGHT * int(str(row))), text="text:N"))
        crowded = [f"{plural(marks.height - shown.height, 'label')} without room: see tooltips."] if shown.height < marks.height else []
    return layers, [*_counts(rows), *crowded, *annotations.beyond()]


def row_marks(annotations: Annotations, x: alt.X, y: alt.Y, times: Sequence[pl.Series], width: int) -> tuple[list[Any], list[str]]:
    """Return the layers that mark notes and version changes, and sentences for the subtitle.

    The chart has a row for each study.
    """
    rows = annotations.drawn
    layers: list[Any] = []
    if rows.is_empty():
        return layers, annotations.beyond()
    if (spans := _unions(rows)).height:
        data = inline_rows(spans.select(study="label", x=milliseconds("at"), b=milliseconds("until")))
        layers.append(
            alt.Chart(data).mark_rule(yOffset=_ABOVE, strokeWidth=3, color=NEUTRAL, aria=False).encode(x=x, x2=alt.X2("b:T"), y=y)
        )
    marks = _clusters(rows, _ends(times), width)
    for kind, name in _KINDS.items():
        if (of_kind := marks.filter(kind=kind)).height:
            data = inline_rows(of_kind.select("study", "summary", x=milliseconds("at")))
            point = alt.Chart(data).mark_point(shape=_SHAPES[kind], filled=True, size=50, opacity=1, color=NEUTRAL, yOffset=_ABOVE)
            layers.append(point.encode(x=x, y=y, tooltip=[alt.Tooltip("summary:N", title=name)], description=SUMMARY))
    return layers, [*_counts(rows), *annotations.beyond()]


def _at_height(pixels: int) -> Any:
    """Return the encoding of a position below the upper edge of the frame."""
    return alt.YValue(pixels)  # type: ignore[no-untyped-call]


def _ends(times: Sequence[pl.Series]) -> tuple[datetime, datetime]:
    """Return the first and last time of all marks of a chart, which must have at least one."""
    ends = [time for series in times for time in (series.min(), series.max()) if isinstance(time, datetime)]
    return min(ends), max(ends)


def _counts(rows: pl.DataFrame) -> list[str]:
    """Return what the symbols mean, with the number of annotations of each kind."""
    counts = {kind: rows.filter(kind=kind).height for kind in _KINDS}
    ranges = rows.drop_nulls("until").height
    texts = {kind: f"{_NAMES[kind]}: {plural(count, _KINDS[kind])}" for kind, count in counts.items() if count}
    return [f"{text}{' (shaded: duration)' if kind == 'note' and ranges else ''}." for kind, text in texts.items()]


def _unions(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the time that notes with an end cover, as spans without overlap."""
    ranges = rows.drop_nulls("until").filter(pl.col("until") > pl.col("at")).sort("study_id", "at")
    begins = (pl.col("at") > pl.col("until").cum_max().shift(1).over("study_id")).fill_null(True)
    return (
        ranges.with_columns(begins.cast(pl.Int64()).cum_sum().over("study_id").alias("span"))
        .group_by("study_id", "label", "span", maintain_order=True)
        .agg(pl.col("at").min(), pl.col("until").max())
    )


def _clusters(rows: pl.DataFrame, axis: tuple[datetime, datetime], width: int) -> pl.DataFrame:
    """Return one row for each mark.

    The columns are study, kind, at, summary, and if there is room for a label, its text and row.

    Annotations of one study and kind that a screen cannot distinguish share a mark.
    """
    scale = (width - 2 * _PADDING) / max((axis[1] - axis[0]) / timedelta(microseconds=1), 1)
    pixel = (pl.col("at") - axis[0]).dt.total_microseconds() * scale
    rows = rows.with_columns(pixel.alias("pixel"))
    groups = rows.group_by("study_id", "kind", (pl.col("pixel") // _CLUSTER_PIXELS).alias("bin"), maintain_order=True)
    marks = [
        {"study": part["label"][0], "kind": part["kind"][0], "at": part["at"][0], "pixel": part["pixel"][0], "text": _label(part),
         "summary": _summary(part)}
        for _, part in groups
    ]  # fmt: skip
    taken: list[list[tuple[float, float]]] = [[] for _ in range(_LABEL_ROWS)]
    for mark in sorted(marks, key=lambda mark: (mark["kind"] == "note", mark["pixel"])):  # versions first, because they are fewer
        start, text = mark["pixel"], mark["text"]
        mark["text"] = mark["row"] = None
        for row, spans in enumerate(taken):
            following = min([left for left, _ in spans if left >= start], default=width + _LABEL_OVERHANG)
            length = min(_LONGEST_LABEL, int((following - start) / _CHARACTER_PIXELS) - 1, len(text))
            if length >= min(len(text), _SHORTEST_LABEL) and not any(left <= start < right for left, right in spans):
                mark["text"] = text if length == len(text) else f"{text[: length - 1].rstrip()}…"
                mark["row"] = row
                spans.append((start, start + (length + 1) * _CHARACTER_PIXELS))
                break
    schema = {
        "study": pl.String(),
        "kind": pl.String(),
        "at": rows.schema["at"],
        "text": pl.String(),
        "row": pl.Int64(),
        "summary": pl.String(),
    }
    return pl.DataFrame([{name: mark[name] for name in schema} for mark in marks], schema=schema)


def _label(part: pl.DataFrame) -> str:
    if part.height > 1:
        return plural(part.height, "change" if part["kind"][0] == "version" else "note")
    return " ".join(part["text"][0].partition(": ")[2 if part["kind"][0] == "note" else 0].split())


def _summary(part: pl.DataFrame) -> str:
    """Return the texts of a mark, for its tooltip and for screen readers."""
    texts = [_dated(row, several=False) for row in part.head(_IN_TOOLTIP).iter_rows(named=True)]
    more = [f"{part.height - _IN_TOOLTIP:,} more"] if part.height > _IN_TOOLTIP else []
    return f"{part['label'][0]}, {'; '.join([*texts, *more])}"


def _dated(row: dict[str, Any], *, several: bool) -> str:
    """Return a note or change with its time."""
    times = [f"{time:%Y-%m-%d %H:%M}" for time in (row["since"], row["until"]) if time is not None]
    text = " ".join(row["text"].split())
    text = text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
    study = f"{row['label']}, " if several else ""
    return f"{study}{' to '.join(times)} UTC, {text}"
