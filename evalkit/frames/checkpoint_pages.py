"""Reading of checkpoints in pages, with a text for each column that Polars decodes."""

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

_SEPARATOR = "\x1e"  # never appears in JSON
_OF_STUDIES = ("study", "period_type")
"""Columns that are joined when a frame is made, because they can change."""
_WIDTHS = {"id": 36, "study_id": 36, "event_id": 36, "timestamp": 27, "period_start": 27, "period_end": 27}
_STORED = (*_WIDTHS, "log_offset", "events_analyzed", "collector", "sessions_included", "metrics")
_COLUMNS = {"id": "checkpoint_id", "event_id": "recorded_at"}
"""The columns that have other names in frames."""
_DTYPES = {**frame_schema(CHECKPOINTS), "log_offset": pl.Int64()}
_NUMBERS = ("log_offset", "events_analyzed")
_DURATION = "avg_session_duration"
_WIDTH_OF_TIME = 27
_CHUNK = 500
"""How many rows Polars decodes at once. Several chunks are decoded at the same time, and their values fit into the cache of a processor."""
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

    One text per column is faster to send than rows, and faster to decode. Rows with unusual JSON (duplicate or unknown keys) are sent
    separately, and parsed by the model.

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
        and the values for `decode_page`.
    """
    texts = ", ".join(f"group_concat({_text_of(name)}, '{_SEPARATOR}') FILTER (WHERE regular)" for name in _fields(columns))
    return f"""
SELECT max(row), count(*), {_IRREGULAR}, {texts}
FROM (
  SELECT rowid AS row, regular, {", ".join(_STORED)} FROM checkpoints
  WHERE {chosen} rowid > ? AND rowid <= ? ORDER BY rowid LIMIT ?
)"""


def _text_of(name: str) -> str:
    """Return a column as SQL, with an empty text for a value of another type."""
    if name == "collector":
        return "json_quote(collector)"
    if name in ("sessions_included", "metrics"):
        return f"CASE WHEN typeof({name}) = 'text' THEN {name} ELSE '' END"
    return name


def _fields(columns: Collection[str] | None) -> list[str]:
    """Return the columns of the read model that are needed for those of a frame."""
    fields = [name for name in _STORED if name != "metrics" and _is_wanted(_COLUMNS.get(name, name), columns)]
    has_metrics = columns is None or any(name in METRICS or name not in CHECKPOINTS for name in columns)
    return [*fields, "metrics"] if has_metrics else fields


def _is_wanted(column: str, columns: Collection[str] | None) -> bool:
    return columns is None or column in columns or column in _NEEDED


_NEEDED = ("study_id", "timestamp", "checkpoint_id", "log_offset")
"""The columns that sort and select rows."""


def stored_schema(custom: Sequence[str], columns: Collection[str] | None = None) -> dict[str, pl.DataType]:
    """Return the dtypes of the columns that `decode_page` returns."""
    kept = {name: dtype for name, dtype in _DTYPES.items() if name not in (*_OF_STUDIES, "revision") and _is_wanted(name, columns)}
    return {**kept, **{name: pl.Float64() for name in custom if _is_wanted(name, columns)}}


def decode_page(
    count: int, irregular: str, texts: Sequence[Any], custom: Sequence[str], columns: Collection[str] | None = None
) -> pl.DataFrame:
    """Return the checkpoints of a page.

    Parameters
    ----------
    count
        The number of rows.
    irregular, texts
        The text of the unusual rows, and those of the columns, as the query for a page returns them.
    custom
        The names of the custom metrics to read.
    columns
        The columns to read, and those that sort and select rows; None for all.

    Raises
    ------
    ValueError
        When a value has another length or form than evalkit writes. Numbers in metrics were checked when they were projected.
    """
    stored = stored_schema(custom, columns)
    decoded = [pl.DataFrame(schema=stored)]
    if any(text is not None for text in texts):
        named = dict(zip(_fields(columns), texts, strict=True))
        decoded.append(_decode_columns(named, stored, [name for name in custom if name in stored]))
    if rows := from_json(irregular):
        decoded.append(_decode_irregular(rows, stored))
    frame = pl.concat(decoded, rechunk=True)  # which takes less memory than many chunks
    if frame.height != count:
        raise ValueError("a value has a type that evalkit does not write")
    return frame


def _decode_columns(texts: dict[str, Any], stored: dict[str, pl.DataType], custom: Sequence[str]) -> pl.DataFrame:
    """Decode the columns of regular checkpoints."""
    joined = pl.DataFrame({name: [text] for name, text in texts.items()}, schema=dict.fromkeys(texts, pl.String()))
    try:
        whole = joined.select(pl.all().str.split(_SEPARATOR).explode(empty_as_null=False))
    except pl.exceptions.ShapeError as error:
        raise ValueError("a value contains a separator") from error
    page = pl.concat(whole.iter_slices(_CHUNK), rechunk=False)
    forms = [pl.col(name).str.len_bytes() == _WIDTHS[name] for name in texts if name in _WIDTHS]
    forms += [pl.col(name).str.starts_with(first) for name, first in (("metrics", "{"), ("sessions_included", "[")) if name in texts]
    if not page.select(pl.all_horizontal(forms).fill_null(value=False).all()).item():
        raise ValueError("a value has a type or length that evalkit does not write")
    try:
        decoded = page.select(_decoded(name).alias(_COLUMNS.get(name, name)) for name in texts if name != "metrics")
    except pl.exceptions.PolarsError as error:
        raise ValueError("a value is not a number, a time, or JSON") from error
    metrics = {name: dtype for name, dtype in stored.items() if name in METRICS or name in custom}
    if not metrics:
        return decoded.select(list(stored))
    try:
        structs = page.select(pl.col("metrics").str.json_decode(_struct_of(metrics, custom)))
        values = structs.select(_of_struct(name, custom).alias(name) for name in metrics).get_columns()
    except pl.exceptions.ComputeError:  # a number that is valid JSON, but not for Polars, such as 0e99999999999
        values = _by_model(page["metrics"], metrics)
    return decoded.with_columns(values).select(list(stored))


def _decoded(name: str) -> pl.Expr:
    """Return the values of a column of texts."""
    text = pl.col(name)
    if name in _NUMBERS:
        return text.cast(pl.Int64())
    if name in ("collector", "sessions_included"):
        return text.str.json_decode(_DTYPES[name])
    if name == "event_id":
        return event_time(text)
    return parsed_time(text) if _WIDTHS[name] == _WIDTH_OF_TIME else text


def _struct_of(metrics: dict[str, pl.DataType], custom: Sequence[str]) -> pl.Struct:
    """Return the dtype of metrics as JSON."""
    fields = {name: pl.List(pl.Int64()) if name == _DURATION else dtype for name, dtype in metrics.items() if name not in custom}
    return pl.Struct({**fields, "custom": pl.Struct({name: metrics[name] for name in custom})} if custom else fields)


def _of_struct(name: str, custom: Sequence[str]) -> pl.Expr:
    """Return the values of a metric in a column of structs."""
    metrics = pl.col("metrics").struct
    if name in custom:
        return metrics.field("custom").struct.field(name)
    return _microseconds(metrics.field(name)) if name == _DURATION else metrics.field(name)


def _decode_irregular(rows: list[list[Any]], stored: dict[str, pl.DataType]) -> pl.DataFrame:
    """Decode the rows with unusual JSON."""
    known = {name: dtype for name, dtype in stored.items() if name in rows[0][0]}
    texts = {name: pl.col(name) for name, dtype in known.items() if isinstance(dtype, pl.Datetime)}
    frame = pl.DataFrame([values for values, _, _ in rows], schema={**known, **dict.fromkeys(texts, pl.String())})
    times = [event_time(text) if name == "recorded_at" else parsed_time(text) for name, text in texts.items()]
    sessions = pl.Series("sessions_included", [from_json(text) for _, text, _ in rows], dtype=pl.List(pl.String()))
    others = {name: dtype for name, dtype in stored.items() if name not in (*known, "sessions_included")}
    return frame.with_columns(*times, sessions, *_by_model([text for _, _, text in rows], others)).select(list(stored))


def _microseconds(pair: pl.Expr) -> pl.Expr:
    """Return the microseconds of a duration on the wire, ``[seconds,nanoseconds]``."""
    seconds, nanoseconds = pair.list.get(0), pair.list.get(1)
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
