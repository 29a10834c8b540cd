"""Reading of checkpoints in pages, each a text of JSON lines that Polars decodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from pydantic_core import from_json

from evalkit.domain.catalog import METRICS
from evalkit.domain.metrics import LongitudinalMetrics
from evalkit.domain.times import MAX_COUNT, duration_pair
from evalkit.frames.columns import CHECKPOINTS, frame_schema

__all__ = ["PAGE_SQL", "decode_page", "event_time", "parsed_time", "stored_schema"]

_SEPARATOR = "\x1e"  # never appears in JSON, unlike line breaks
_OF_STUDIES = ("study", "period_type")
"""Columns that are joined when a frame is made, because they can change."""

# One text cell per page is faster to send than rows, and faster to decode with Polars. Rows with unusual JSON (duplicate or unknown keys)
# are sent separately, and parsed by the model. The values of custom metrics are in `metrics`.
_TEXTS = ("id", "study_id", "timestamp", "metrics", "sessions_included", "event_id", "period_start", "period_end")
_TYPED = " AND ".join(
    [
        *(f"typeof({name}) = 'text'" for name in _TEXTS),
        "substr(metrics, 1, 1) = '{'",
        "substr(sessions_included, 1, 1) = '['",  # some versions of Polars read a string as a null list
        *(f"typeof({name}) = 'integer'" for name in ("events_analyzed", "regular", "log_offset")),
        "typeof(collector) IN ('text', 'null')",
    ]
)
PAGE_SQL = f"""
SELECT max(row), count(*), sum(NOT ({_TYPED})),
  group_concat(CASE WHEN regular THEN '{{"checkpoint_id":"' || id || '","study_id":"' || study_id
    || '","timestamp":"' || timestamp || '","event_id":"' || event_id || '","period_start":"' || period_start
    || '","period_end":"' || period_end || '","log_offset":' || log_offset || ',"events_analyzed":' || events_analyzed
    || ',"sessions_included":' || sessions_included || CASE WHEN collector IS NULL THEN '' ELSE ',"collector":' || json_quote(collector) END
    || ',' || substr(metrics, 2) END,
    char({ord(_SEPARATOR)})),
  json_group_array(json_array(json_object('checkpoint_id', id, 'study_id', study_id, 'timestamp', timestamp, 'event_id', event_id,
    'period_start', period_start, 'period_end', period_end, 'log_offset', log_offset, 'events_analyzed', events_analyzed,
    'collector', collector), sessions_included, metrics)) FILTER (WHERE NOT regular AND {_TYPED})
FROM (SELECT rowid AS row, * FROM checkpoints WHERE :chosen rowid > ? AND rowid <= ? ORDER BY rowid LIMIT ?)"""
"""The query for a page; its arguments are the last row id before the page, the last one of all pages, and the number of rows."""


def stored_schema(custom: Sequence[str]) -> dict[str, pl.DataType]:
    """Return the dtypes of the columns that `decode_page` returns."""
    schema = frame_schema(CHECKPOINTS)
    kept = {name: dtype for name, dtype in schema.items() if name not in (*_OF_STUDIES, "revision")}
    return {**kept, "log_offset": pl.Int64(), **dict.fromkeys(custom, pl.Float64())}


def decode_page(page: str, irregular: list[list[Any]], custom: Sequence[str]) -> pl.DataFrame:
    """Return the checkpoints of a page.

    Parameters
    ----------
    page, irregular
        The two texts that `PAGE_SQL` returns.
    custom
        The names of the custom metrics to read.
    """
    stored = stored_schema(())
    raw = {name: pl.String() if CHECKPOINTS.get(name) == "time" else dtype for name, dtype in stored.items()}
    raw = {**raw, "event_id": pl.String(), "avg_session_duration": pl.List(pl.Int64())}
    del raw["recorded_at"]
    if custom:
        raw["custom"] = pl.Struct(dict.fromkeys(custom, pl.Float64()))
    lines = page.encode().replace(b"\n", b" ").replace(_SEPARATOR.encode(), b"\n")
    decoded = _decode_lines(lines, raw) if lines else pl.DataFrame(schema=raw)
    if irregular:
        rows = [_parsed_by_model(row | {"sessions_included": from_json(sessions)}, metrics) for row, sessions, metrics in irregular]
        decoded = pl.concat([decoded, pl.DataFrame(rows, schema=raw)])
    seconds, nanoseconds = (pl.col("avg_session_duration").list.get(index) for index in (0, 1))
    clipped = pl.min_horizontal(seconds, pl.lit(MAX_COUNT // 1_000_000 - 1))
    return decoded.with_columns(
        *(parsed_time(name) for name in ("timestamp", "period_start", "period_end")),
        event_time("event_id").alias("recorded_at"),
        pl.when(seconds.is_not_null())
        .then(clipped * 1_000_000 + nanoseconds // 1000)
        .cast(pl.Duration("us"))
        .alias("avg_session_duration"),
        *(pl.col("custom").struct.field(name) for name in custom),
    ).select([*stored, *custom])


def _decode_lines(lines: bytes, raw: dict[str, pl.DataType]) -> pl.DataFrame:
    """Decode JSON lines into a frame with the raw columns."""
    try:
        return pl.read_ndjson(lines, schema=raw)
    except pl.exceptions.ComputeError:  # a number that is valid JSON, but not for Polars, such as 0e99999999999
        columns = [name for name in raw if name not in METRICS and name != "custom"]
        rows = [
            _parsed_by_model({name: row.get(name) for name in columns}, line) for line in lines.split(b"\n") for row in [from_json(line)]
        ]
        return pl.DataFrame(rows, schema=raw)


def _parsed_by_model(row: dict[str, Any], text: str | bytes) -> dict[str, Any]:
    """Return the raw columns of a checkpoint, with metrics parsed by `LongitudinalMetrics`."""
    metrics = LongitudinalMetrics.model_validate_json(text, extra="ignore")
    duration = metrics.avg_session_duration
    pair = None if duration is None else list(duration_pair(duration))
    return {**row, **{name: getattr(metrics, name) for name in METRICS}, "avg_session_duration": pair, "custom": metrics.custom}


def parsed_time(name: str) -> pl.Expr:
    """Return the times of a column with times in the format of the read model."""
    return pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%S%.6fZ", time_unit="us", time_zone="UTC")


def event_time(name: str) -> pl.Expr:
    """Return the times of a column with event ids."""
    digits = pl.col(name).str.slice(0, 8) + pl.col(name).str.slice(9, 4)
    return (digits.str.to_integer(base=16, dtype=pl.Int64()) * 1000).cast(pl.Datetime("us", "UTC"))
