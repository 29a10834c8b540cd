"""Read sessions from tables: csv, tsv, ndjson, json and parquet files, and DataFrames."""

from __future__ import annotations

import difflib
import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from evalkit._util.text import alternatives
from evalkit.collect.session_frame import SESSION_SCHEMA, as_polars, checked_sessions, empty_sessions
from evalkit.collect.source import FunctionSource, Problems
from evalkit.collect.table_files import FORMATS, Table, read_table, table_files, without_nan
from evalkit.domain.catalog import is_custom_name
from evalkit.domain.refusals import a_type, invalid, nearest, unknown_name
from evalkit.domain.time_input import check_local_time, check_time, check_zone
from evalkit.errors import InvalidInputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RECORDS", "mapped"]

_MISSING = frozenset(["", "nan", "na", "n/a", "#n/a", "<na>", "null", "none", "nat", "-"])
"""Notations for a missing number or time, in lower case."""
_BOOLEANS = {"true": True, "false": False}
_INDEX_NAME = re.compile(r"(unnamed: \d+)?|index", re.IGNORECASE).fullmatch
"""The names of columns with the numbers of rows, as pandas writes them."""
_UNIX_UNITS = ((1e11, 1_000_000), (1e14, 1000), (1e17, 1), (math.inf, 0.001))
"""The microseconds of the unit of a Unix time below a limit: seconds, milliseconds, microseconds, nanoseconds."""
_FIRST_UNIX_TIME = 1e8
_PLAIN_TIME = r"^[12]\d{3}-\d\d-\d\d[T ]\d\d:\d\d:[0-5]\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$"
_UNIX_TIME = re.compile(r"^\d{9,}(\.\d*)?$")
_TIME = SESSION_SCHEMA["ended_at"]


@dataclass
class _LeftOut:
    """The columns that are left out or have another name, over all files."""

    texts: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    renamed: set[str] = field(default_factory=set)
    infinite: int = 0
    without_outcome: int = 0

    def add_to(self, problems: Problems) -> None:
        counts = {
            "columns without numbers": len(self.texts),
            "columns whose names metrics cannot have": len(self.names),
            "names of columns that were changed to names of metrics": len(self.renamed),
            "infinite values": self.infinite,
            "outcomes of sessions without the column outcome": self.without_outcome,
        }
        for reason, count in counts.items():
            if count:
                problems.ignore(reason, count)


# --- sessions -------------------------------------------------------------------------------------------------------------------------


def mapped(
    frame: pl.DataFrame | pd.DataFrame,
    map: Mapping[str, str | None] | str | None,  # noqa: A002
    problems: Problems | None = None,
) -> pl.DataFrame:
    """Return a table with the names and dtypes of a session frame, before its check.

    Parameters
    ----------
    frame
        A Polars or pandas DataFrame.
    map
        The columns of the table by the names of a session frame: ``{"session_id": "run_id", "outcome": "passed"}``, or as text
        ``"session_id=run_id,outcome=passed"``. A further name is that of a custom metric. The value None, or no text after ``=``, leaves
        out a column of the table. Columns that are neither in `map` nor in a session frame are kept if they have numbers or booleans.
    problems
        Counts what is left out.

    Raises
    ------
    InvalidInputError
        If `map` is invalid, or names a column that the table does not have.

    Examples
    --------
    >>> runs = pl.DataFrame({"run": ["a"], "passed": [True], "finished": [1769846400], "Judge Score": [0.5], "prompt": ["Hello"]})
    >>> sessions = mapped(runs, "session_id=run,outcome=passed,ended_at=finished")
    >>> sessions.columns
    ['session_id', 'outcome', 'ended_at', 'judge_score']
    """
    left_out = _LeftOut()
    result = _mapped(without_nan(as_polars(frame, "sessions")), _parsed_map(map), None, left_out)
    left_out.add_to(problems or Problems())
    return result


def _parsed_map(map: object) -> dict[str, str | None]:  # noqa: A002
    """Return the columns of a table by the names of a session frame, or of a custom metric."""
    example = "expected e.g. 'session_id=run_id,outcome=passed,ended_at=finished'"
    if map is None:
        return {}
    if isinstance(map, str):
        pairs = [tuple(part.strip() for part in item.partition("=")[::2]) for item in map.split(",") if item.strip()]
        if not pairs or any("=" not in item for item in map.split(",") if item.strip()):
            raise invalid("map", map, example)
    elif isinstance(map, Mapping):
        pairs = list(map.items())
    else:
        raise invalid("map", map, f"expected a mapping or text, got {a_type(map)}", example)
    names: dict[str, str | None] = {}
    for name, column in pairs:
        if not isinstance(column, str | None) or not isinstance(name, str):
            raise invalid("map", map, "names of columns must be text", example)
        if name in names:
            raise invalid("map", map, f"{name!r} occurs twice")
        misspelled = difflib.get_close_matches(name, SESSION_SCHEMA, 1, 0.85) and name not in SESSION_SCHEMA
        if column and name not in SESSION_SCHEMA and (misspelled or not is_custom_name(name)):
            raise unknown_name("column", name, list(SESSION_SCHEMA), field="map")
        names[name] = column or None
    return names


def _mapped(frame: pl.DataFrame, names: Mapping[str, str | None], tz: tzinfo | None, left_out: _LeftOut) -> pl.DataFrame:
    for column in names.values():
        if column is not None and column not in frame.columns:
            hint = nearest(column, frame.columns).strip() or f"Its columns are {', '.join(map(repr, frame.columns[:20]))}."
            raise InvalidInputError(f"Unknown column {column!r} in map: the table does not have it", hint=hint, field="map", value=column)
    used = {column for column in names.values() if column}
    columns = {name: frame[column] for name, column in names.items() if column}
    columns |= {name: frame[name] for name in SESSION_SCHEMA if name in frame.columns and name not in names and name not in used}
    for name, series in columns.items():
        columns[name] = _session_column(name, series, tz)
    for column in frame.columns:
        if column in used or column in names or column in SESSION_SCHEMA:
            continue
        metric = _metric_column(frame[column], left_out)
        if metric is None:
            continue
        name = column if is_custom_name(column) else re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")[:63]
        if not is_custom_name(name) or name in columns:
            left_out.names.add(column)
            continue
        if name != column:
            left_out.renamed.add(column)
        columns[name] = metric
    if "outcome" not in columns and columns:
        left_out.without_outcome += frame.height
        columns["outcome"] = pl.Series(["unknown"] * frame.height, dtype=pl.String)
    return pl.DataFrame([series.alias(name) for name, series in columns.items()])


def _metric_column(series: pl.Series, left_out: _LeftOut) -> pl.Series | None:
    """Return a column as numbers or booleans; None if it has other values, or none at all."""
    if series.dtype == pl.String:
        parsed = _parsed(series)
        if parsed is None:
            left_out.texts.add(series.name)
            return None
        series = parsed
    if series.null_count() == len(series) or _INDEX_NAME(series.name):
        return None
    if series.dtype == pl.Boolean:
        return series
    if not series.dtype.is_numeric():
        left_out.texts.add(series.name)
        return None
    numbers = series.cast(pl.Float64)
    infinite = numbers.is_infinite()
    left_out.infinite += len(infinite.arg_true())
    return numbers.set(infinite, None)


def _parsed(series: pl.Series) -> pl.Series | None:
    """Return a column of text as numbers or booleans; None if it has other values."""
    text = series.str.strip_chars()
    lower = text.str.to_lowercase()
    text = text.set(lower.is_in(_MISSING), None)
    present = text.drop_nulls()
    if present.str.to_lowercase().is_in(list(_BOOLEANS)).all() and len(present):
        return text.str.to_lowercase().replace_strict(_BOOLEANS, default=None, return_dtype=pl.Boolean)
    numbers = text.cast(pl.Float64, strict=False)
    return numbers if numbers.null_count() == text.null_count() else None


def _session_column(name: str, series: pl.Series, tz: tzinfo | None) -> pl.Series:
    """Return a column as `checked_sessions` takes it."""
    dtype = SESSION_SCHEMA.get(name)
    if series.dtype == pl.Null:
        return series if name != "outcome" else series.cast(pl.String).fill_null("unknown")
    if isinstance(dtype, pl.Datetime):
        return _times(name, series, tz)
    if isinstance(series.dtype, pl.Decimal):
        series = series.cast(pl.Float64)
    if series.dtype != pl.String:
        return series
    text = series.str.strip_chars()
    if name == "outcome":
        return text.str.to_lowercase().replace({"1.0": "1", "0.0": "0", "nan": None, "-": None})
    if dtype is None and (parsed := _parsed(series)) is not None:
        return parsed
    if dtype is None or dtype.is_numeric() or isinstance(dtype, pl.Duration):
        text = text.set(text.str.to_lowercase().is_in(_MISSING), None)
        numbers = text.cast(pl.Float64, strict=False)
        _check(name, series, numbers.is_null() & text.is_not_null(), "expected a number")
        return numbers
    return text.set(text == "", None)


def _times(name: str, series: pl.Series, tz: tzinfo | None) -> pl.Series:
    """Return times in UTC, from texts, Unix times, and local times."""
    if series.dtype == pl.String:
        text = series.str.strip_chars()
        text = text.set(text.str.to_lowercase().is_in(_MISSING), None)
        if text.drop_nulls().str.contains(_UNIX_TIME.pattern).all():
            series = text.cast(pl.Float64)
        else:
            return _read_times(name, text, tz)
    if series.dtype.is_numeric():
        seconds = series.cast(pl.Float64)
        limit, first = 253402300800e9, _FIRST_UNIX_TIME  # the year 10000, in nanoseconds
        wrong = (seconds < first) | (seconds >= limit) | seconds.is_nan()
        _check(name, series, wrong, "expected seconds or milliseconds since 1970, or e.g. '2026-01-31T00:00:00Z'")
        value = pl.col(name)
        micros = pl.coalesce(pl.when(value < below).then(value * unit) for below, unit in _UNIX_UNITS)
        frame = seconds.alias(name).to_frame().select(micros.round().cast(pl.Int64).cast(_TIME))
        return frame.to_series()
    if isinstance(series.dtype, pl.Datetime) and series.dtype.time_zone is not None:
        return series.dt.convert_time_zone("UTC").cast(_TIME)
    if isinstance(series.dtype, pl.Datetime | pl.Date):
        return _read_times(name, series, tz)
    return series


def _read_times(name: str, series: pl.Series, tz: tzinfo | None) -> pl.Series:
    """Return times in UTC from texts, dates and local times; Polars reads plain ones."""
    times = pl.Series(name, [None] * len(series), dtype=_TIME)
    if series.dtype == pl.String:
        text = series.set(~series.str.contains(_PLAIN_TIME), None).str.replace(" ", "T")
        times = text.str.to_datetime("%+", time_unit="us", strict=False).dt.convert_time_zone("UTC")
    rows = (times.is_null() & series.is_not_null()).arg_true()
    read: list[datetime] = []
    for row, value in zip(rows, series[rows], strict=True):
        try:
            read.append(_read_time(name, value, tz))
        except InvalidInputError as error:
            raise error.in_row(row) from None
    return times.scatter(rows, pl.Series(read, dtype=_TIME)).alias(name)


def _read_time(name: str, value: str | date, tz: tzinfo | None) -> datetime:
    if isinstance(value, str) and _UNIX_TIME.match(value):
        moment: datetime = _times(name, pl.Series(name, [float(value)]), tz)[0]
        return moment
    if isinstance(value, str) and value.endswith(" UTC"):
        value = value.removesuffix(" UTC") + "Z"
    return check_time(name, value, suggest_tz=True) if tz is None else check_local_time(name, value, tz)


def _check(name: str, series: pl.Series, wrong: pl.Series, problem: str) -> None:
    rows = wrong.fill_null(value=False).arg_true()
    if len(rows):
        raise invalid(name, series[int(rows[0])], problem).in_row(int(rows[0]))


# --- source ---------------------------------------------------------------------------------------------------------------------------


def _read(path: Path, problems: Problems, *, map: Mapping[str, str | None] | str | None = None, tz: object = None) -> pl.DataFrame:  # noqa: A002
    """Return the sessions of a file, or of the files in a folder and its subfolders."""
    names, zone = _parsed_map(map), None if tz is None else check_zone("tz", tz)
    left_out = _LeftOut()
    frames, found = [], 0
    failures: list[tuple[str, InvalidInputError, datetime | None]] = []
    for name, file in table_files(path, problems):
        found += 1
        try:
            frames.append(_sessions(read_table(file), name, names, zone, left_out))
        except InvalidInputError as error:
            failures.append((name, error, _modified(file)))
        except OSError as error:
            reason = (error.strerror or "cannot be read").lower()
            if not path.is_dir():
                raise InvalidInputError(f"Cannot read {str(path)!r}: {reason}", field="location", value=str(path)) from None
            if not isinstance(error, FileNotFoundError):  # deleted meanwhile
                problems.skip(name, reason, _modified(file))
    if not found and not problems.skipped:  # a wrong path must not be taken for an idle agent
        raise InvalidInputError(
            f"No tables in {str(path)!r}", hint=f"Check the path; tables are {alternatives(FORMATS)} files.", field="location",
            value=str(path),
        )  # fmt: skip
    if failures and not frames:  # of a folder, because an option is wrong rather than each file
        name, failure, _ = failures[0]
        where = name if path.is_dir() else str(path)
        raise failure.but(where=f"{where}, {failure.message.where}" if failure.message.where else f"{where}: ")
    for name, failure, modified in failures:
        problems.skip(name, f"{failure.message.where}{failure.message.problem}", modified)
    left_out.add_to(problems)
    if not frames:
        return empty_sessions()
    sessions = pl.concat(frames, how="diagonal_relaxed")
    _check_ids(sessions)
    return sessions


def _modified(file: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(file.stat().st_mtime, UTC)
    except OSError:
        return None


def _check_ids(sessions: pl.DataFrame) -> None:
    """Check that an id that occurs in several files is that of one session.

    A session can be exported several times: the same one has the same start or the same end, or had no end before. Two sessions with one
    id would become one.

    Raises
    ------
    InvalidInputError
        If they are different sessions.
    """
    repeated = sessions.filter(pl.col("session_id").is_duplicated())
    times = [pl.col(name).drop_nulls().n_unique() for name in ("started_at", "ended_at")]
    different = repeated.group_by("session_id", maintain_order=True).agg(
        pl.col("source").first(), other=pl.col("source").last(), starts=times[0], ends=times[1], unknown=pl.col("started_at").has_nulls()
    )
    different = different.filter((pl.col("ends") > 1) & ((pl.col("starts") != 1) | pl.col("unknown")))
    if different.height:
        session_id, first, other = different.select("session_id", "source", "other").row(0)
        raise InvalidInputError(
            f"Invalid session_id {session_id!r}: it is in {first!r} and in {other!r} with different times",
            hint="Ids are unique in all files: map another column. A run that was exported twice has the same started_at.",
            field="session_id", value=session_id,
        )  # fmt: skip


def _sessions(table: Table, name: str, names: Mapping[str, str | None], tz: tzinfo | None, left_out: _LeftOut) -> pl.DataFrame:
    if not table.frame.width and not table.frame.height:
        return empty_sessions()
    columns = table.frame.columns
    for required in ("session_id", "ended_at"):
        if not names.get(required) and (required in names or required not in columns):
            example = next((column for column in columns if column not in SESSION_SCHEMA), "run_id")
            raise InvalidInputError(
                f"Column {required!r} is missing; the columns are {', '.join(map(repr, columns[:20]))}",
                hint=f"Map one of them, e.g. map={{{required!r}: {example!r}}}.",
                shell_hint=f"Map one of them, e.g. --map {shlex.quote(f'{required}={example}')}.", field=required, value=columns,
            )  # fmt: skip
    try:
        frame = _mapped(table.frame, names, tz, left_out)
        sessions = checked_sessions(frame)
    except InvalidInputError as error:
        raise error if error.row is None else error.but(where=f"{table.place(error.row)}: ") from None
    return sessions.with_columns(source=pl.lit(name), source_sha256=pl.lit(table.sha256))


RECORDS = FunctionSource(
    name="records",
    title="tables",
    read=_read,
    options={
        "map": "the columns of the table by the names of a session: session_id=run_id,outcome=passed,ended_at=finished",
        "tz": "the time zone of times without one",
    },
)
"""Tables with one row per session: csv, tsv, parquet, ndjson, jsonl and json files, or a folder of them."""
