"""Reading of checkpoints in pages, each a text that Polars decodes column by column."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import polars as pl
from pydantic_core import from_json

from evalkit.domain.catalog import METRICS
from evalkit.domain.metrics import LongitudinalMetrics
from evalkit.domain.times import MAX_COUNT, duration_pair
from evalkit.frames.columns import CHECKPOINTS, frame_schema

__all__ = ["decode_page", "event_time", "page_query", "parsed_time", "stored_schema"]

_FIELD, _ROW = "\x1f", "\x1e"  # separators; neither appears in JSON
_OF_STUDIES = ("study", "period_type")
"""Columns that are joined when a frame is made, because they can change."""
_WIDTHS = {"id": 36, "study_id": 36, "event_id": 36, "timestamp": 27, "period_start": 27, "period_end": 27}
_HEAD = {
    "id": "checkpoint_id", "study_id": "study_id", "event_id": "recorded_at", "timestamp": "timestamp", "period_start": "period_start",
    "period_end": "period_end",
}  # fmt: skip
_FIELDS = {
    "log_offset": "log_offset", "events_analyzed": "events_analyzed",
    "collector": "CASE WHEN collector IS NULL THEN '' ELSE json_quote(collector) END", "sessions_included": "sessions_included",
    "metrics": "metrics",
}  # fmt: skip
_DTYPES = {**frame_schema(CHECKPOINTS), "log_offset": pl.Int64()}
_NUMBERS = {"log_offset": pl.Int64(), "events_analyzed": pl.Int64()}
_TYPED = " AND ".join(
    [
        *(f"typeof({name}) = 'text' AND length({name}) = {width}" for name, width in _WIDTHS.items()),
        "typeof(metrics) = 'text' AND substr(metrics, 1, 1) = '{'",
        "typeof(sessions_included) = 'text' AND substr(sessions_included, 1, 1) = '['",
        *(f"typeof({name}) = 'integer'" for name in ("events_analyzed", "regular", "log_offset")),
        "typeof(collector) IN ('text', 'null')",
    ]
)
_IRREGULAR = f"""
json_group_array(json_array(json_object('checkpoint_id', id, 'study_id', study_id, 'timestamp', timestamp, 'recorded_at', event_id,
    'period_start', period_start, 'period_end', period_end, 'log_offset', log_offset, 'events_analyzed', events_analyzed,
    'collector', collector), sessions_included, metrics)) FILTER (WHERE NOT regular AND {_TYPED})"""


def page_query(chosen: str, columns: Collection[str] | None = None) -> str:
    """Return the query for a page.

    One text cell per page is faster to send than rows, and faster to decode. It has one line per checkpoint: values of a fixed width, then
    others. Rows with unusual JSON (duplicate or unknown keys) are sent separately, and parsed by the model.

    Parameters
    ----------
    chosen
        A condition that selects rows, followed by ``AND``; or an empty text.
    columns
        The columns to read, see `decode_page`.

    Returns
    -------
    str
        Its arguments are the last row id before the page, the last one of all pages, and the number of rows. It returns the last row id,
        the number of rows, that of invalid rows, and the two texts for `decode_page`.
    """
    head = " || ".join(name for name, column in _HEAD.items() if _is_wanted(column, columns))
    fields = " || ".join(f"char({ord(_FIELD)}) || {sql}" for name, sql in _FIELDS.items() if name == "metrics" or _is_wanted(name, columns))
    return f"""
SELECT max(row), count(*), sum(NOT ({_TYPED})), group_concat(CASE WHEN regular THEN {head} || {fields} END, char({ord(_ROW)})), {_IRREGULAR}
FROM (SELECT rowid AS row, * FROM checkpoints WHERE {chosen} rowid > ? AND rowid <= ? ORDER BY rowid LIMIT ?)"""


def _is_wanted(column: str, columns: Collection[str] | None) -> bool:
    return columns is None or column in columns or column in _NEEDED


_NEEDED = ("study_id", "timestamp", "checkpoint_id", "log_offset")
"""The columns that sort and select rows."""


def stored_schema(custom: Sequence[str], columns: Collection[str] | None = None) -> dict[str, pl.DataType]:
    """Return the dtypes of the columns that `decode_page` returns."""
    kept = {name: dtype for name, dtype in _DTYPES.items() if name not in (*_OF_STUDIES, "revision") and _is_wanted(name, columns)}
    return {**kept, **{name: pl.Float64() for name in custom if _is_wanted(name, columns)}}


def decode_page(page: str, irregular: list[list[Any]], custom: Sequence[str], columns: Collection[str] | None = None) -> pl.DataFrame:
    """Return the checkpoints of a page.

    Parameters
    ----------
    page, irregular
        The two texts that the query for a page returns.
    custom
        The names of the custom metrics to read.
    columns
        The columns to read, and those that sort and select rows; None for all.
    """
    stored = stored_schema(custom, columns)
    raw = _raw_schema(stored)
    decoded = _decode_lines(page, raw, [name for name in custom if name in stored]) if page else pl.DataFrame(schema=raw)
    if irregular:
        rows = [_parsed(row | {"sessions_included": from_json(sessions)}, metrics, raw) for row, sessions, metrics in irregular]
        decoded = pl.concat([decoded, pl.DataFrame(rows, schema=raw)])
    times = [(event_time if name == "recorded_at" else parsed_time)(name) for name in stored if CHECKPOINTS.get(name) == "time"]
    durations = [pl.col(name).cast(dtype) for name, dtype in stored.items() if dtype == pl.Duration()]
    return decoded.with_columns(*times, *durations)


def _raw_schema(stored: dict[str, pl.DataType]) -> dict[str, pl.DataType]:
    """Return the dtypes of columns before their times and durations are converted."""
    texts = {name: pl.String() for name in stored if CHECKPOINTS.get(name) == "time"}
    return {**stored, **texts, **{name: pl.Int64() for name, dtype in stored.items() if dtype == pl.Duration()}}


def _decode_lines(page: str, raw: dict[str, pl.DataType], custom: Sequence[str]) -> pl.DataFrame:
    """Decode the lines of regular checkpoints into a frame with the raw columns."""
    schema = {"head": pl.String(), **{name: _NUMBERS.get(name, pl.String()) for name in _FIELDS if name == "metrics" or name in raw}}
    lines = pl.read_csv(page.encode(), separator=_FIELD, eol_char=_ROW, has_header=False, quote_char=None, schema=schema)
    known, start = [pl.col(name) for name in _NUMBERS if name in raw], 0
    for name, column in _HEAD.items():
        if column in raw:
            known.append(pl.col("head").str.slice(start, _WIDTHS[name]).alias(column))
            start += _WIDTHS[name]
    known += [pl.col(name).str.json_decode(raw[name]) for name in ("collector", "sessions_included") if name in raw]
    lines = lines.select(*known, "metrics")
    metrics = [name for name in METRICS if name in raw]
    try:
        decoded = _in_order(lines.lazy(), metrics, custom).collect()
    except pl.exceptions.ComputeError:  # a number that is valid JSON, but not for Polars, such as 0e99999999999
        return _by_model(lines, raw)
    if decoded["in order"].all():
        return decoded.select(list(raw))
    others = decoded.filter(~pl.col("in order")).select(lines.columns)
    return pl.concat([decoded.filter("in order").select(list(raw)), _by_model(others, raw)])


def _in_order(lines: pl.LazyFrame, metrics: Sequence[str], custom: Sequence[str]) -> pl.LazyFrame:
    """Decode metrics with their keys in the usual order, without spaces.

    The text is split at its commas, which is several times faster than a JSON parser. The column `in order` says whether all keys are where
    they are expected, with values that could be read.
    """
    names = list(METRICS)
    place = next(place for place, metric in enumerate(METRICS.values()) if metric.kind == "duration")  # its value has a comma
    text, following = pl.col("metrics"), f',"{names[place + 1]}":'
    end = text.str.find(following, literal=True)
    before, after = text.str.slice(1, end - 1).str.splitn(",", place + 1), text.str.slice(end + 1).str.splitn(",", len(names) - place)
    parts = {name: pl.col("before").struct.field(f"field_{number}") for number, name in enumerate(names[: place + 1])}
    parts |= {name: pl.col("after").struct.field(f"field_{number}") for number, name in enumerate(names[place + 1 :])}
    values, in_order = [], [end.is_not_null()]
    for name in metrics:
        key = f'"{name}":'
        value = parts[name].str.slice(len(key))
        read = _microseconds(value) if name == names[place] else value.cast(_DTYPES[name], strict=False)
        values.append(read.alias(name))
        in_order += [parts[name].str.starts_with(key), read.is_null() == (value == "null")]
    if custom:
        rest = pl.col("after").struct.field(f"field_{len(names) - place - 1}")
        read = rest.str.extract(r'"custom":(\{[^}]*\})').str.json_decode(pl.Struct(dict.fromkeys(custom, pl.Float64())))
        values += [read.struct.field(name) for name in custom]
    return lines.with_columns(before=before, after=after).with_columns(
        *values, pl.all_horizontal(in_order).fill_null(value=False).alias("in order")
    )  # fmt: skip


def _microseconds(pair: pl.Expr) -> pl.Expr:
    """Return the microseconds of a duration on the wire, ``[seconds,nanoseconds]``."""
    parts = pair.str.strip_chars("[]").str.split_exact(",", 1)
    seconds, nanoseconds = (parts.struct.field(name).cast(pl.Int64(), strict=False) for name in ("field_0", "field_1"))
    return pl.min_horizontal(seconds, pl.lit(_LONGEST)) * 1_000_000 + nanoseconds // 1000


_LONGEST = MAX_COUNT // 1_000_000 - 1  # the seconds that fit into 64 bits of microseconds


def _by_model(lines: pl.DataFrame, raw: dict[str, pl.DataType]) -> pl.DataFrame:
    """Decode the metrics of lines with `LongitudinalMetrics`."""
    return pl.DataFrame([_parsed(row, row["metrics"], raw) for row in lines.iter_rows(named=True)], schema=raw)


def _parsed(row: dict[str, Any], text: str | bytes, raw: dict[str, pl.DataType]) -> dict[str, Any]:
    """Return the raw columns of a checkpoint, with metrics parsed by `LongitudinalMetrics`."""
    metrics = LongitudinalMetrics.model_validate_json(text, extra="ignore")
    values = {**row, **{name: getattr(metrics, name) for name in METRICS}, **metrics.custom}
    if metrics.avg_session_duration is not None:
        seconds, nanoseconds = duration_pair(metrics.avg_session_duration)
        values["avg_session_duration"] = min(seconds, _LONGEST) * 1_000_000 + nanoseconds // 1000
    return {name: values.get(name) for name in raw}


def parsed_time(name: str) -> pl.Expr:
    """Return the times of a column with times in the format of the read model."""
    return pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%S%.6fZ", time_unit="us", time_zone="UTC")


def event_time(name: str) -> pl.Expr:
    """Return the times of a column with event ids."""
    digits = pl.col(name).str.slice(0, 8) + pl.col(name).str.slice(9, 4)
    return (digits.str.to_integer(base=16, dtype=pl.Int64()) * 1000).cast(pl.Datetime("us", "UTC"))
