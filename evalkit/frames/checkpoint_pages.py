"""Reading of checkpoints in pages, each a text that Polars decodes column by column."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
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
_STORED = (*_WIDTHS, "log_offset", "events_analyzed", "collector", "sessions_included", "metrics")
_COLUMNS = {"id": "checkpoint_id", "event_id": "recorded_at"}
"""The columns that have other names in frames."""
_COLLECTOR = "CASE WHEN collector IS NULL THEN '' ELSE json_quote(collector) END"
_DTYPES = {**frame_schema(CHECKPOINTS), "log_offset": pl.Int64()}
_DURATION = "avg_session_duration"
_WIDTH_OF_TIME = 27
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


def page_query(chosen: str, columns: Collection[str] | None = None, *, few: bool = False) -> str:
    """Return the query for a page.

    One text cell per page is faster to send than rows, and faster to decode. It has one line per checkpoint. Rows with unusual JSON
    (duplicate or unknown keys) are sent separately, and parsed by the model. So are few rows, for which this is faster.

    Parameters
    ----------
    chosen
        A condition that selects rows, followed by ``AND``; or an empty text.
    columns
        The columns to read, see `decode_page`.
    few
        Whether the page has few rows.

    Returns
    -------
    str
        Its arguments are the last row id before the page, the last one of all pages, and the number of rows. It returns the last row id,
        the number of rows, and the two texts for `decode_page`.
    """
    read = (_COLLECTOR if name == "collector" else name for name in _STORED if name == "metrics" or _is_wanted(name, columns))
    fields = f" || char({ord(_FIELD)}) || ".join(read)
    line = f"CASE WHEN regular AND typeof(metrics) = 'text' AND typeof(sessions_included) = 'text' THEN {fields} END"
    return f"""
SELECT max(row), count(*), group_concat({line}, char({ord(_ROW)})), {_IRREGULAR}
FROM (
  SELECT rowid AS row, {"FALSE AS " if few else ""}regular, {", ".join(_STORED)} FROM checkpoints
  WHERE {chosen} rowid > ? AND rowid <= ? ORDER BY rowid LIMIT ?
)"""


def _is_wanted(name: str, columns: Collection[str] | None) -> bool:
    column = _COLUMNS.get(name, name)
    return columns is None or column in columns or column in _NEEDED


_NEEDED = ("study_id", "timestamp", "checkpoint_id", "log_offset")
"""The columns that sort and select rows."""


def stored_schema(custom: Sequence[str], columns: Collection[str] | None = None) -> dict[str, pl.DataType]:
    """Return the dtypes of the columns that `decode_page` returns."""
    kept = {name: dtype for name, dtype in _DTYPES.items() if name not in (*_OF_STUDIES, "revision") and _is_wanted(name, columns)}
    return {**kept, **{name: pl.Float64() for name in custom if _is_wanted(name, columns)}}


def decode_page(
    count: int, page: str, irregular: list[list[Any]], custom: Sequence[str], columns: Collection[str] | None = None
) -> pl.DataFrame:
    """Return the checkpoints of a page.

    Parameters
    ----------
    count
        The number of rows.
    page, irregular
        The two texts that the query for a page returns.
    custom
        The names of the custom metrics to read.
    columns
        The columns to read, and those that sort and select rows; None for all.

    Raises
    ------
    ValueError
        When a value has a type or length that evalkit does not write.
    """
    stored = stored_schema(custom, columns)
    decoded = [pl.DataFrame(schema=stored)]
    if page:
        decoded.append(_decode_lines(page, stored, [name for name in custom if name in stored]))
    if irregular:
        decoded.append(_decode_irregular(irregular, stored))
    frame = pl.concat(decoded, rechunk=False)
    if frame.height != count:  # a line with a null is null
        raise ValueError("a value has a type that evalkit does not write")
    return frame


def _decode_lines(page: str, stored: dict[str, pl.DataType], custom: Sequence[str]) -> pl.DataFrame:
    """Decode the lines of regular checkpoints."""
    fields = [name for name in _STORED if name == "metrics" or _COLUMNS.get(name, name) in stored]
    schema = {name: _NUMBERS.get(name, pl.String()) for name in fields}
    try:
        lines = pl.read_csv(page.encode(), separator=_FIELD, eol_char=_ROW, has_header=False, quote_char=None, schema=schema)
    except pl.exceptions.PolarsError as error:
        raise ValueError("a value is not a number") from error
    texts = [(name, pl.col(name)) for name in fields if name in _WIDTHS]
    valid = [text.str.len_bytes() == _WIDTHS[name] for name, text in texts] + [pl.col("metrics").str.starts_with("{")]
    if "sessions_included" in fields:
        valid.append(pl.col("sessions_included").str.starts_with("["))  # Polars reads a string as no list
    if not lines.select(pl.all_horizontal(valid).fill_null(value=False).all()).item():
        raise ValueError("a value has a type or length that evalkit does not write")
    known = [pl.col(name) for name in _NUMBERS if name in fields]
    for name, text in texts:
        read = event_time(text) if name == "event_id" else parsed_time(text) if _WIDTHS[name] == _WIDTH_OF_TIME else text
        known.append(read.alias(_COLUMNS.get(name, name)))
    known += [pl.col(name).str.json_decode(stored[name]) for name in ("collector", "sessions_included") if name in fields]
    metrics = [name for name in METRICS if name in stored]
    try:
        decoded = lines.lazy().select(*known, "metrics").pipe(_in_order, metrics, custom).collect()
    except pl.exceptions.ComputeError:  # a number that is valid JSON, but not for Polars, such as 0e99999999999
        decoded = lines.select(*known, "metrics", *(pl.lit(None, stored[name]).alias(name) for name in (*metrics, *custom)))
        decoded = decoded.with_columns(pl.lit(value=False).alias("in order"))
    if decoded["in order"].all():
        return decoded.select(list(stored))
    others = decoded.filter(~pl.col("in order"))
    values = _by_model(others["metrics"], {name: stored[name] for name in (*metrics, *custom)})
    return pl.concat([decoded.filter("in order").select(list(stored)), others.with_columns(values).select(list(stored))])


def _decode_irregular(rows: list[list[Any]], stored: dict[str, pl.DataType]) -> pl.DataFrame:
    """Decode the rows with unusual JSON."""
    known = {name: dtype for name, dtype in stored.items() if name in rows[0][0]}
    texts = {name: pl.col(name) for name, dtype in known.items() if isinstance(dtype, pl.Datetime)}
    frame = pl.DataFrame([values for values, _, _ in rows], schema={**known, **dict.fromkeys(texts, pl.String())})
    times = [event_time(text) if name == "recorded_at" else parsed_time(text) for name, text in texts.items()]
    sessions = pl.Series("sessions_included", [from_json(text) for _, text, _ in rows], dtype=pl.List(pl.String()))
    others = {name: dtype for name, dtype in stored.items() if name not in (*known, "sessions_included")}
    return frame.with_columns(*times, sessions, *_by_model([text for _, _, text in rows], others)).select(list(stored))


def _in_order(lines: pl.LazyFrame, metrics: Sequence[str], custom: Sequence[str]) -> pl.LazyFrame:
    """Decode metrics with their keys in the usual order, without spaces.

    The text is split at its commas, which is several times faster than a JSON parser. The column `in order` says whether all keys are where
    they are expected, with values that could be read.
    """
    names = list(METRICS)
    place = names.index(_DURATION)  # its value has a comma
    text, following = pl.col("metrics"), f',"{names[place + 1]}":'
    end = text.str.find(following, literal=True)
    before, after = text.str.slice(1, end - 1).str.splitn(",", place + 1), text.str.slice(end + 1).str.splitn(",", len(names) - place)
    parts = {name: pl.col("before").struct.field(f"field_{number}") for number, name in enumerate(names[: place + 1])}
    parts |= {name: pl.col("after").struct.field(f"field_{number}") for number, name in enumerate(names[place + 1 :])}
    values, in_order = [], [end.is_not_null()]
    for name in metrics:
        key = f'"{name}":'
        value = parts[name].str.slice(len(key))
        read = _microseconds(value) if name == _DURATION else value.cast(_DTYPES[name], strict=False)
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
    return (pl.min_horizontal(seconds, pl.lit(_LONGEST)) * 1_000_000 + nanoseconds // 1000).cast(pl.Duration("us"))


_LONGEST = MAX_COUNT // 1_000_000 - 1  # the seconds that fit into 64 bits of microseconds


def _by_model(texts: Iterable[str], schema: dict[str, pl.DataType]) -> list[pl.Series]:
    """Decode metrics with `LongitudinalMetrics` into the columns of a schema."""
    rows = [LongitudinalMetrics.model_validate_json(text, extra="ignore") for text in texts]
    values = [{**{name: getattr(row, name) for name in METRICS}, **row.custom, _DURATION: _in_microseconds(row)} for row in rows]
    return [pl.Series(name, [row.get(name) for row in values], dtype=dtype) for name, dtype in schema.items()]


def _in_microseconds(metrics: LongitudinalMetrics) -> int | None:
    if metrics.avg_session_duration is None:
        return None
    seconds, nanoseconds = duration_pair(metrics.avg_session_duration)
    return min(seconds, _LONGEST) * 1_000_000 + nanoseconds // 1000


def parsed_time(text: pl.Expr) -> pl.Expr:
    """Return times in the format of the read model as times."""
    return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.6fZ", time_unit="us", time_zone="UTC")


def event_time(event_id: pl.Expr) -> pl.Expr:
    """Return the times of event ids."""
    digits = event_id.str.slice(0, 8) + event_id.str.slice(9, 4)
    return (digits.str.to_integer(base=16, dtype=pl.Int64()) * 1000).cast(pl.Datetime("us", "UTC"))
