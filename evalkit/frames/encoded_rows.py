"""Checks and encodes the rows of a frame column by column.

A row is encoded if every value of it is certainly valid. All other rows, and frames of other forms, are left to `RecordCheckpoint`, whose
checks and messages are the ones that count.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import polars as pl

from evalkit.domain.catalog import METRICS
from evalkit.domain.checkpoint_rows import CheckpointRows, EncodedRow
from evalkit.domain.commands import CHECKPOINT_COLUMNS, IGNORED_COLUMNS, RowReader
from evalkit.domain.definitions import LARGEST_CUSTOM_COUNT, Metric
from evalkit.domain.lenient import MAX_CUSTOM
from evalkit.domain.times import MAX_COUNT

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["encoded_rows"]

_EXACT = 2**53  # the largest whole number up to which floats are exact
_KEY = r"^[!-~]([ -~]{0,498}[!-~])?$"
_CONTROL = r"\p{Cc}"
_ALLOWED = frozenset((*CHECKPOINT_COLUMNS, *IGNORED_COLUMNS))

_Period = msgspec.defstruct("_Period", [("start", str), ("end", str)], gc=False)
_Metrics = msgspec.defstruct(
    "_Metrics",
    [*((name, Any) for name in METRICS), ("custom", dict[str, Any] | msgspec.UnsetType, msgspec.UNSET), ("period", _Period | None, None)],
    gc=False,
)


class _Column(NamedTuple):
    """The values of a column as they are encoded, and which of them are certainly valid."""

    values: list[Any]
    valid: pl.Series


class _InDoubt(Exception):  # noqa: N818  (a signal inside this module)
    """A column cannot be checked as a whole."""


def encoded_rows(rows: pl.DataFrame | pd.DataFrame, mappings: Sequence[Any], reader: RowReader) -> CheckpointRows:
    """Return the rows of a frame as checkpoints to record.

    Parameters
    ----------
    rows
        A Polars or pandas DataFrame whose columns all have known names.
    mappings
        Its rows as mappings.
    reader
        Reads the mappings that are not encoded.
    """
    frame = rows if isinstance(rows, pl.DataFrame) else _from_pandas(rows)
    encoded: dict[int, EncodedRow] = {}
    definitions: Mapping[str, Metric] = {}
    if frame is not None:
        custom = [name for name in frame.columns if name not in _ALLOWED]
        definitions = reader.definitions() if custom else {}
        with suppress(_InDoubt):
            encoded = _encoded(frame, {name: definitions[name] for name in custom})
            return CheckpointRows.of_mappings(mappings, reader, encoded, custom=custom, definitions=definitions)
    return CheckpointRows.of_mappings(mappings, reader)


def _from_pandas(rows: Any) -> pl.DataFrame | None:
    """Return a pandas frame of numbers and times as a Polars frame; None for any other."""
    if type(rows).__module__.partition(".")[0] != "pandas":
        return None
    columns = []
    for name in rows.columns:
        series = rows[name]
        kind = getattr(series.dtype, "kind", "O")
        if type(series.dtype).__module__.startswith("numpy") and kind in "iuf":
            values = pl.Series(name, series.to_numpy())
            columns.append(values.fill_nan(None) if kind == "f" else values)
        elif kind == "M" and getattr(series.dtype, "tz", None) is not None:
            columns.append(pl.Series(name, series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()).dt.replace_time_zone("UTC"))
        elif name in IGNORED_COLUMNS:
            continue
        else:
            return None
    return pl.DataFrame(columns)


def _encoded(frame: pl.DataFrame, custom: Mapping[str, Metric]) -> dict[int, EncodedRow]:
    """Return the encoded rows by number.

    Raises
    ------
    _InDoubt
        When a column cannot be checked as a whole.
    """
    height = frame.height
    present = {name for name, dtype in frame.schema.items() if dtype != pl.Null()}
    if not height or not {"period_start", "period_end"} <= present or len(custom) > MAX_CUSTOM:
        raise _InDoubt
    missing = _Column([None] * height, pl.repeat(True, height, eager=True))

    def column(name: str, check: Callable[[pl.Series], _Column]) -> _Column:
        return check(frame[name]) if name in present else missing

    metrics = {name: column(name, partial(_metric, metric)) for name, metric in METRICS.items()}
    measured = {name: column(name, partial(_custom_metric, metric)) for name, metric in custom.items()}
    start, end = (_times(frame[name]) for name in ("period_start", "period_end"))
    timestamp = end
    if "timestamp" in present:
        timestamp = _times(frame["timestamp"]).zip_with(frame["timestamp"].is_not_null(), end)
    analyzed = column("events_analyzed", partial(_count, MAX_COUNT))
    sessions = column("sessions_included", _texts)
    keys, moments = column("key", _keys), column("recorded_at", _moments)
    valid = (start < end) & timestamp.is_not_null()
    for checked in (*metrics.values(), *measured.values(), analyzed, sessions, keys, moments):
        valid &= checked.valid
    encode, empty = msgspec.json.Encoder().encode, msgspec.UNSET
    starts, ends, times = (series.to_list() for series in (start, end, timestamp))
    wire_starts, wire_ends, wire_times = (_wire(series).to_list() for series in (start, end, timestamp))
    customs: Any = [empty] * height
    if measured:
        names = list(measured)
        of_rows = zip(*(checked.values for checked in measured.values()), strict=True)
        customs = [{name: value for name, value in zip(names, row, strict=True) if value is not None} or empty for row in of_rows]
    periods = map(_Period, wire_starts, wire_ends)
    texts = [encode(values).decode() for values in map(_Metrics, *(checked.values for checked in metrics.values()), customs, periods)]
    counts = [value or 0 for value in analyzed.values]
    lists = ["[]" if not names else encode(names).decode() for names in sessions.values]
    rows = map(EncodedRow, starts, ends, times, wire_times, texts, counts, lists, keys.values, moments.values)
    return {row: encoded for row, (encoded, is_valid) in enumerate(zip(rows, valid.to_list(), strict=True)) if is_valid}


def _metric(metric: Metric, series: pl.Series) -> _Column:
    if metric.kind == "count":
        return _count(MAX_COUNT, series)
    return _duration(series) if metric.kind == "duration" else _number(metric, series)


def _custom_metric(metric: Metric, series: pl.Series) -> _Column:
    if metric.kind == "duration":
        raise _InDoubt
    number = _number(metric, series)
    if metric.kind != "count":
        return number
    count = _count(LARGEST_CUSTOM_COUNT, series)
    return _Column(count.values, count.valid & number.valid)


def _number(metric: Metric, series: pl.Series) -> _Column:
    """Check floats; NaN and infinity are outside every range."""
    if not (series.dtype.is_float() or series.dtype in _INTEGERS):
        raise _InDoubt
    numbers = series.cast(pl.Float64())
    least = -sys.float_info.max if metric.low is None else metric.low
    most = sys.float_info.max if metric.high is None else metric.high
    return _Column(numbers.to_list(), ((numbers >= least) & (numbers <= most)).fill_null(True))


def _count(most: int, series: pl.Series) -> _Column:
    """Check whole numbers up to `most`."""
    if series.dtype.is_float():
        numbers = series.cast(pl.Float64())
        valid = ((numbers == numbers.floor()) & (numbers >= 0) & (numbers <= _EXACT)).fill_null(True)
        series = pl.select(pl.when(valid).then(numbers)).to_series().cast(pl.Int64())
        return _Column(series.to_list(), valid)
    if series.dtype not in _INTEGERS:
        raise _InDoubt
    counts = series if series.dtype == pl.UInt64() else series.cast(pl.Int64())
    return _Column(series.to_list(), ((counts >= 0) & (counts <= most)).fill_null(True))


_INTEGERS = (pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64(), pl.UInt8(), pl.UInt16(), pl.UInt32(), pl.UInt64())


def _duration(series: pl.Series) -> _Column:
    """Check durations, or floats in seconds, and return pairs of seconds and nanoseconds."""
    if isinstance(series.dtype, pl.Duration):
        moments, valid = _in_microseconds(series, pl.Duration("us"))
        microseconds = moments.dt.total_microseconds()
        pairs = [None if value is None else (value // 1_000_000, value % 1_000_000 * 1000) for value in microseconds.to_list()]
        return _Column(pairs, valid & (microseconds >= 0).fill_null(True))
    numbers = _number(_SECONDS, series)
    nanoseconds = [round(value * 1_000_000_000) if value is not None and 0 <= value <= _EXACT else None for value in numbers.values]
    return _Column([None if value is None else divmod(value, 1_000_000_000) for value in nanoseconds], numbers.valid)


_SECONDS = Metric("seconds", kind="duration", better="neither", high=_EXACT)


def _in_microseconds(series: pl.Series, dtype: pl.DataType) -> tuple[pl.Series, pl.Series]:
    """Return times or durations in microseconds, and which of them are whole ones."""
    exact = series.cast(dtype)
    return exact, (exact.cast(series.dtype) == series).fill_null(True)


def _times(series: pl.Series) -> pl.Series:
    """Return times in the format of the read model; null for one that is missing or in doubt."""
    if not isinstance(series.dtype, pl.Datetime) or series.dtype.time_zone is None:
        raise _InDoubt
    moments, valid = _in_microseconds(series.dt.convert_time_zone("UTC"), pl.Datetime("us", "UTC"))
    usual = valid & (moments >= _FIRST) & (moments < _LAST)
    return pl.select(pl.when(usual).then(moments)).to_series().dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ")


_FIRST, _LAST = datetime(1000, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


def _wire(stored: pl.Series) -> pl.Series:
    """Return times as `evalkit.domain.times.wire_time` does: with 0, 3 or 6 fractional digits."""
    return stored.str.replace(r"(\.000000|000)Z$", "Z")


def _moments(series: pl.Series) -> _Column:
    """Check times of recording, and return milliseconds since 1970."""
    moments = series.dt.convert_time_zone("UTC")
    valid = _times(series).is_not_null() & (moments >= datetime(1970, 1, 1, tzinfo=UTC)) & (moments <= datetime.now(UTC))
    return _Column((moments.dt.epoch("us") // 1000).to_list(), valid | series.is_null())


def _texts(series: pl.Series) -> _Column:
    """Check lists of strings."""
    if series.dtype != pl.List(pl.String()):
        raise _InDoubt
    items = series.drop_nulls().explode()
    if items.str.contains(_CONTROL).any() or series.list.eval(pl.element().is_null()).list.any().any():
        raise _InDoubt
    return _Column(series.to_list(), pl.repeat(True, len(series), eager=True))


def _keys(series: pl.Series) -> _Column:
    if series.dtype != pl.String():
        raise _InDoubt
    return _Column(series.to_list(), series.str.contains(_KEY).fill_null(True))
