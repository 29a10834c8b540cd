"""Checks and encodes the rows of a frame column by column.

A row is encoded if every value of it is certainly valid. All other rows, and frames of other forms, are left to `RecordCheckpoint`, whose
checks and messages are the ones that count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import polars as pl

from evalkit.domain.catalog import METRICS
from evalkit.domain.checkpoint_rows import CheckpointRows, EncodedRows
from evalkit.domain.commands import CHECKPOINT_COLUMNS, IGNORED_COLUMNS, RowReader
from evalkit.domain.definitions import LARGEST_CUSTOM_COUNT, Metric
from evalkit.domain.lenient import MAX_CUSTOM
from evalkit.domain.times import MAX_COUNT

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["encoded_rows"]

_EXACT = 2**53  # the largest whole number up to which floats are exact
_LEAST, _MOST = 1e-5, 1e15  # the range in which each program writes a float with the same digits, without an exponent
_KEY = r"^[!-~]([ -~]{0,498}[!-~])?$"
_CONTROL = r"\p{Cc}"
_FIRST, _LAST = datetime(1000, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ALLOWED = frozenset((*CHECKPOINT_COLUMNS, *IGNORED_COLUMNS))
_INTEGERS = (pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64(), pl.UInt8(), pl.UInt16(), pl.UInt32(), pl.UInt64())


class _Column(NamedTuple):
    """The values of a column as they are encoded, and which of them are certainly valid."""

    values: pl.Expr
    """Null for a missing value."""
    valid: pl.Expr


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
    definitions: Mapping[str, Metric] = {}
    if frame is not None:
        custom = [name for name in frame.columns if name not in _ALLOWED]
        definitions = reader.definitions() if custom else {}
        with suppress(_InDoubt):
            encoded = _encoded(frame, {name: definitions[name] for name in custom})
            measured = [name for name in custom if frame[name].count()]
            return CheckpointRows.of_mappings(mappings, reader, encoded, custom=measured, definitions=definitions)
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


def _encoded(frame: pl.DataFrame, custom: Mapping[str, Metric]) -> EncodedRows:
    """Return the encoded rows.

    Raises
    ------
    _InDoubt
        When a column cannot be checked as a whole.
    """
    schema = {name: dtype for name, dtype in frame.schema.items() if dtype != pl.Null()}
    if not {"period_start", "period_end"} <= schema.keys() or len(custom) > MAX_CUSTOM:
        raise _InDoubt

    def column(name: str, check: Callable[[pl.Expr, pl.DataType], _Column]) -> _Column:
        return check(pl.col(name), schema[name]) if name in schema else _Column(pl.lit(None, pl.String()), pl.lit(value=True))

    start, end, timestamp = (column(name, _time) for name in ("period_start", "period_end", "timestamp"))
    metrics = {name: column(name, partial(_metric, metric)) for name, metric in METRICS.items()}
    measured = {name: column(name, partial(_custom_metric, metric)) for name, metric in custom.items()}
    analyzed, key, moment = column("events_analyzed", partial(_count, MAX_COUNT)), column("key", _key), column("recorded_at", _moment)
    times = {":start": start.values, ":end": end.values, ":time": timestamp.values.fill_null(end.values)}
    first, last, at = (pl.col(name) for name in times)
    members: list[pl.Expr] = []
    for name, (encoded, _) in metrics.items():
        members += (pl.lit(f'{"," if members else "{"}"{name}":'), encoded.fill_null("null"))
    if measured:
        present = [pl.concat_str(pl.lit(f'"{name}":'), encoded) for name, (encoded, _) in measured.items()]  # null if missing
        values = pl.concat_str(present, separator=",", ignore_nulls=True)
        members.append(pl.when(values != "").then(pl.concat_str(pl.lit(',"custom":{'), values, pl.lit("}"))).otherwise(pl.lit("")))
    members += (pl.lit(',"period":{"start":"'), _wire(first), pl.lit('","end":"'), _wire(last), pl.lit('"}}'))
    columns = {
        "start": first, "end": last, "timestamp": at, "wire_timestamp": _wire(at), "metrics": pl.concat_str(members),
        "events_analyzed": analyzed.values.fill_null("0").cast(pl.Int64()), "key": key.values, "at_ms": moment.values.cast(pl.Int64()),
    }  # fmt: skip
    checks = (start, end, timestamp, analyzed, key, moment, *metrics.values(), *measured.values())
    valid = pl.all_horizontal(first < last, *(checked.valid.fill_null(value=True) for checked in checks))
    checked = frame.lazy().with_columns(**times).select(valid=valid.fill_null(value=False), **columns).collect()
    sessions = _sessions(frame["sessions_included"]) if "sessions_included" in schema else ["[]"] * frame.height
    return EncodedRows(sessions=sessions, **{name: checked[name].to_list() for name in checked.columns})


def _metric(metric: Metric, value: pl.Expr, dtype: pl.DataType) -> _Column:
    if metric.kind == "count":
        return _count(MAX_COUNT, value, dtype)
    return _duration(value, dtype) if metric.kind == "duration" else _number(metric, value, dtype)


def _custom_metric(metric: Metric, value: pl.Expr, dtype: pl.DataType) -> _Column:
    if metric.kind == "duration":
        raise _InDoubt
    number = _number(metric, value, dtype)
    if metric.kind != "count":
        return number
    count = _count(LARGEST_CUSTOM_COUNT, value, dtype)
    least, most = (metric.low or 0), (LARGEST_CUSTOM_COUNT if metric.high is None else metric.high)
    return _Column(count.values, count.valid & (value >= least) & (value <= most))


def _number(metric: Metric, value: pl.Expr, dtype: pl.DataType) -> _Column:
    """Check floats. NaN and infinity are outside every range."""
    if not (dtype.is_float() or dtype in _INTEGERS):
        raise _InDoubt
    number = value.cast(pl.Float64())
    least = -_MOST if metric.low is None else metric.low
    most = _MOST if metric.high is None else metric.high
    plain = (number.abs() >= _LEAST) & (number.abs() <= _MOST) | (number == 0)
    return _Column(number.cast(pl.String()), (number >= least) & (number <= most) & plain)


def _count(most: int, value: pl.Expr, dtype: pl.DataType) -> _Column:
    """Check whole numbers from 0 to `most`."""
    if dtype.is_float():
        number = value.cast(pl.Float64())
        valid = (number == number.floor()) & (number >= 0) & (number <= min(most, _EXACT))
        return _Column(pl.when(valid).then(number).cast(pl.Int64()).cast(pl.String()), valid)
    if dtype not in _INTEGERS:
        raise _InDoubt
    count = value if dtype == pl.UInt64() else value.cast(pl.Int64())
    valid = (count >= 0) & (count <= most)
    return _Column(pl.when(valid).then(count).cast(pl.String()), valid)


def _duration(value: pl.Expr, dtype: pl.DataType) -> _Column:
    """Check durations, or floats in seconds; the values are pairs of seconds and nanoseconds."""
    if isinstance(dtype, pl.Duration):
        exact, valid = _in_microseconds(value, dtype, pl.Duration("us"))
        microseconds = exact.dt.total_microseconds()
        return _Column(_pair(microseconds // 1_000_000, microseconds % 1_000_000 * 1000), valid & (microseconds >= 0))
    if not (dtype.is_float() or dtype in _INTEGERS):
        raise _InDoubt
    product = value.cast(pl.Float64()) * 1e9
    # Python rounds halves to even, and Polars away from zero.
    valid = (product >= 0) & (product <= _LONGEST) & (product - product.floor() != 0.5)
    nanoseconds = pl.when(valid).then(product.round()).cast(pl.Int64())
    return _Column(_pair(nanoseconds // 1_000_000_000, nanoseconds % 1_000_000_000), valid)


_LONGEST = 9e18  # nanoseconds that fit into 64 bits


def _pair(seconds: pl.Expr, nanoseconds: pl.Expr) -> pl.Expr:
    return pl.concat_str(pl.lit("["), seconds, pl.lit(","), nanoseconds, pl.lit("]"))


def _in_microseconds(value: pl.Expr, dtype: pl.DataType, exact: pl.DataType) -> tuple[pl.Expr, pl.Expr]:
    """Return times or durations in microseconds, and which of them are whole ones."""
    rounded = value.cast(exact)
    return rounded, rounded.cast(dtype) == value


def _time(value: pl.Expr, dtype: pl.DataType) -> _Column:
    """Check times; the values are in the format of the read model."""
    if not isinstance(dtype, pl.Datetime) or dtype.time_zone is None:
        raise _InDoubt
    in_utc = value.dt.convert_time_zone("UTC")
    moment, whole = _in_microseconds(in_utc, pl.Datetime(dtype.time_unit, "UTC"), pl.Datetime("us", "UTC"))
    valid = whole & (moment >= _FIRST) & (moment < _LAST)
    return _Column(pl.when(valid).then(moment).dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ"), valid)


def _wire(stored: pl.Expr) -> pl.Expr:
    """Return times as `evalkit.domain.times.wire_time` does: with 0, 3 or 6 fractional digits."""
    return stored.str.replace(r"(\.000000|000)Z$", "Z")


def _moment(value: pl.Expr, dtype: pl.DataType) -> _Column:
    """Check times of recording; the values are milliseconds since 1970."""
    moment = value.dt.convert_time_zone("UTC") if isinstance(dtype, pl.Datetime) else value
    return _Column(moment.dt.epoch("us") // 1000, _time(value, dtype).valid & (moment >= _EPOCH) & (moment <= datetime.now(UTC)))


def _key(value: pl.Expr, dtype: pl.DataType) -> _Column:
    if dtype != pl.String():
        raise _InDoubt
    return _Column(value, value.str.contains(_KEY))


def _sessions(series: pl.Series) -> list[str]:
    """Return lists of strings as JSON."""
    if series.dtype != pl.List(pl.String()):
        raise _InDoubt
    items = series.drop_nulls().explode(empty_as_null=False)
    if items.str.contains(_CONTROL).any() or series.list.eval(pl.element().is_null()).list.any().any():
        raise _InDoubt
    encode = msgspec.json.Encoder().encode
    return ["[]" if not names else encode(names).decode() for names in series.to_list()]
