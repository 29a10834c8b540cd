"""Notes and changes of versions as marks in charts over time."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import polars as pl

from evalkit._util.text import plural
from evalkit.frames.annotations import annotations_of
from evalkit.frames.study_data import StudyData
from evalkit.plots._lines import SUMMARY, color_of, drawn_times, milliseconds
from evalkit.plots._theme import NEUTRAL
from evalkit.plots._vega_lite import Channel, Part, field, inline_rows, layer, mark

__all__ = ["Annotations", "annotation_layers", "annotations_in", "row_marks"]

_LABEL_ROWS, _LABEL_HEIGHT = 3, 13
"""The number of rows of labels above the frame, and the height of a row in pixels."""
_KINDS = {"note": "note", "version": "version change"}
_EITHER, _EITHERS = "note or version change", "notes or version changes"
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
            pl.col("at").clip(self.first), pl.col("until").clip(upper_bound=self.last), begins="at", ends="until"
        )

    @property
    def times(self) -> pl.Series:
        """The times of all marks."""
        return drawn_times(self.drawn, "at")

    def beyond(self) -> list[str]:
        """Return the number of annotations that are not drawn, as a sentence."""
        outside = self.rows.height - self.drawn.height
        return [f"{plural(outside, _EITHER, _EITHERS)} outside the time of this chart."] if outside else []

    def absent(self) -> list[str]:
        """Return the number of annotations as a sentence, for a chart that cannot draw them."""
        return [f"{plural(self.rows.height, _EITHER, _EITHERS)} not shown, since studies are aligned."] if self.rows.height else []

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
        ended = pl.max_horizontal(end, pl.col(start) + timedelta(microseconds=1)).alias("ended")  # a run may end when it starts
        numbered = table.with_row_index("row")
        pairs = numbered.with_columns(ended).join_where(
            rows, pl.col("study") == pl.col("of"), pl.col("at") < pl.col("ended"), pl.col("until") >= pl.col(start)
        )
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
    x: Channel,
    times: Sequence[pl.Series],
    width: int,
    *,
    labels: bool = True,
) -> tuple[list[Part], list[str]]:
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
    single = len(studies) == 1
    color = {"value": NEUTRAL} if single else color_of(studies)
    layers: list[Part] = []
    if (shaded := _unions(rows)).height:
        data = inline_rows(shaded.select(study="label", x=milliseconds("at"), b=milliseconds("until")))
        layers.append(layer(data, mark("rect", opacity=0.1, aria=False), x=x, x2=field("b"), color=color))
    marks = _labeled(_clusters(rows, _ends(times), width, per_study=False), width)
    if not single:  # a mark of several studies is neutral
        color = {"condition": {"test": "datum.study == null", "value": NEUTRAL}, **color}
    for kind, name in _KINDS.items():
        of_kind = marks.filter(kind=kind)
        if of_kind.is_empty():
            continue
        data = inline_rows(of_kind.select("study", "summary", x=milliseconds("at")))
        if marks.height <= _MOST_RULES * width / 640:
            layers.append(layer(data, mark("rule", strokeDash=_DASHES[kind], opacity=0.8, aria=False), x=x, color=color))
        point = mark("point", shape=_SHAPES[kind], filled=True, size=55 if labels else 24, opacity=1)
        tooltip = [field("summary:N", title=name)]
        layers.append(layer(data, point, x=x, y={"value": 0}, tooltip=tooltip, description=SUMMARY, color=color))
    crowded: list[str] = []
    if labels:
        shown = marks.drop_nulls("row")
        for (row,), part in shown.group_by("row", maintain_order=True):
            data = inline_rows(part.select("text", x=milliseconds("at")))
            label = mark("text", align="left", baseline="bottom", dx=-3, fontSize=10, aria=False)
            layers.append(layer(data, label, x=x, y={"value": -5 - _LABEL_HEIGHT * int(str(row))}, text=field("text:N")))
        crowded = [f"{plural(marks.height - shown.height, 'label')} without room: see tooltips."] if shown.height < marks.height else []
    return layers, [*_counts(rows), *crowded, *annotations.beyond()]


def row_marks(annotations: Annotations, x: Channel, y: Channel, times: Sequence[pl.Series], width: int) -> tuple[list[Part], list[str]]:
    """Return the layers that mark notes and version changes, and sentences for the subtitle.

    The chart has a row for each study.
    """
    rows = annotations.drawn
    layers: list[Part] = []
    if rows.is_empty():
        return layers, annotations.beyond()
    if (spans := _unions(rows)).height:
        data = inline_rows(spans.select(study="label", x=milliseconds("at"), b=milliseconds("until")))
        layers.append(layer(data, mark("rule", yOffset=_ABOVE, strokeWidth=3, color=NEUTRAL, aria=False), x=x, x2=field("b"), y=y))
    marks = pl.DataFrame(_clusters(rows, _ends(times), width, per_study=True), schema=_MARKS)
    for kind, name in _KINDS.items():
        if (of_kind := marks.filter(kind=kind)).height:
            data = inline_rows(of_kind.select("study", "summary", x=milliseconds("at")))
            point = mark("point", shape=_SHAPES[kind], filled=True, size=50, opacity=1, color=NEUTRAL, yOffset=_ABOVE)
            layers.append(layer(data, point, x=x, y=y, tooltip=[field("summary:N", title=name)], description=SUMMARY))
    return layers, [*_counts(rows, "bars"), *annotations.beyond()]


def _ends(times: Sequence[pl.Series]) -> tuple[datetime, datetime]:
    """Return the first and last time of all marks of a chart, which must have at least one."""
    ends = [time for series in times for time in (series.min(), series.max()) if isinstance(time, datetime)]
    return min(ends), max(ends)


def _counts(rows: pl.DataFrame, spans: str = "shaded") -> list[str]:
    """Return what the symbols mean, with the number of annotations of each kind."""
    counts = {kind: rows.filter(kind=kind).height for kind in _KINDS}
    ranges = rows.drop_nulls("until").height
    texts = {kind: f"{_NAMES[kind]}: {plural(count, _KINDS[kind])}" for kind, count in counts.items() if count}
    return [f"{text}{f' ({spans}: duration)' if kind == 'note' and ranges else ''}." for kind, text in texts.items()]


def _unions(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the time that notes with an end cover, as spans without overlap."""
    ranges = rows.drop_nulls("until").filter(pl.col("until") > pl.col("at")).sort("study_id", "at")
    begins = (pl.col("at") > pl.col("until").cum_max().shift(1).over("study_id")).fill_null(True)
    return (
        ranges.with_columns(begins.cast(pl.Int64()).cum_sum().over("study_id").alias("span"))
        .group_by("study_id", "label", "span", maintain_order=True)
        .agg(pl.col("at").min(), pl.col("until").max())
    )


def _clusters(rows: pl.DataFrame, axis: tuple[datetime, datetime], width: int, *, per_study: bool) -> list[dict[str, Any]]:
    """Return the marks: study (None for several), kind, at, pixel, title and summary.

    Annotations of one kind that a screen cannot distinguish share a mark, unless it is `per_study` and they are of different studies.
    """
    scale = (width - 2 * _PADDING) / max((axis[1] - axis[0]) / timedelta(microseconds=1), 1)
    several = rows["study_id"].n_unique() > 1
    clusters: list[list[dict[str, Any]]] = []
    latest: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows.iter_rows(named=True):
        row["pixel"] = (row["at"] - axis[0]) / timedelta(microseconds=1) * scale
        key = row["kind"], row["study_id"] if per_study else ""
        if key not in latest or row["pixel"] - latest[key][0]["pixel"] >= _CLUSTER_PIXELS:
            latest[key] = []
            clusters.append(latest[key])
        latest[key].append(row)
    marks = []
    for members in clusters:
        first, studies = members[0], {row["label"] for row in members}
        more = [f"{len(members) - _IN_TOOLTIP:,} more"] if len(members) > _IN_TOOLTIP else []
        merged = {name: first[name] for name in ("kind", "at", "pixel")} | {"study": first["label"] if len(studies) == 1 else None}
        titles = list(dict.fromkeys(" ".join(row["title"].split()) for row in members))
        merged["title"] = titles[0] if len(titles) == 1 else plural(len(members), "change" if first["kind"] == "version" else "note")
        merged["summary"] = "; ".join([*(_dated(row, several=several) for row in members[:_IN_TOOLTIP]), *more])
        marks.append(merged)
    return marks


_MARKS = {"study": pl.String(), "kind": pl.String(), "at": pl.Datetime("us", "UTC"), "summary": pl.String()}


def _labeled(marks: list[dict[str, Any]], width: int) -> pl.DataFrame:
    """Return marks with a label as far as there is room: its text, and its row."""
    taken: list[list[tuple[float, float]]] = [[] for _ in range(_LABEL_ROWS)]
    for each in sorted(marks, key=lambda each: (each["kind"] == "note", each["pixel"])):  # versions first, because they are fewer
        start, title = each["pixel"], each["title"]
        for row, spans in enumerate(taken):
            following = min([left for left, _ in spans if left >= start], default=width + _LABEL_OVERHANG)
            text = _cut(title, min(_LONGEST_LABEL, int((following - start) / _CHARACTER_PIXELS) - 1))
            fits = text == title or _length(text) >= _SHORTEST_LABEL
            if text and fits and not any(left <= start < right for left, right in spans):
                each |= {"text": text, "row": row}
                spans.append((start, start + (_length(text) + 1) * _CHARACTER_PIXELS))
                break
    return pl.DataFrame(marks, schema={**_MARKS, "text": pl.String(), "row": pl.Int64()})


def _length(text: str) -> int:
    """Return the length of a text in characters of usual width; some characters are wider."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _cut(text: str, length: int) -> str:
    """Return a text, with an ellipsis if it is too long for a number of characters."""
    if _length(text) <= length:
        return text
    while text and _length(text) >= length:
        text = text[:-1]
    return f"{text.rstrip()}…" if text else ""


def _dated(row: dict[str, Any], *, several: bool) -> str:
    """Return a note or change with its time."""
    times = [f"{time:%Y-%m-%d %H:%M}" for time in (row["begins"], row["ends"]) if time is not None]
    text = " ".join(row["text"].split())
    text = text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
    study = f"{row['label']}, " if several else ""
    return f"{study}{' to '.join(times)} UTC, {text}"
