"""Columns of Polars and pandas frames in one form, with missing values as nulls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from evalkit.domain.metrics import Metric
from evalkit.domain.validation import a_type, check_metric
from evalkit.errors import InvalidInputError
from evalkit.frames.columns import LIFECYCLE

if TYPE_CHECKING:
    from typing import TypeAlias

    import pandas as pd

    FrameLike: TypeAlias = pl.DataFrame | pd.DataFrame

__all__ = ["MISSING_STUDY", "StudyName", "check_frame", "labelled", "like", "metric_named", "read_column", "read_columns"]

MISSING_STUDY = "-"
"""The id and label of the only study of a frame without study columns."""
_TEXTS = ("text", "status", "period_type", "lifecycle_kind")
_SCHEMA = {"time": pl.Datetime("us", "UTC"), "count": pl.Int64(), "duration": pl.Duration("us"), "flag": pl.Boolean()}


class StudyName(NamedTuple):
    """A study of a frame: its id, its name, and what charts and tables call it."""

    id: str
    name: str
    label: str


def metric_named(name: object, field: str = "metric") -> Metric:
    """Give a metric of the catalogue.

    Raises
    ------
    InvalidInputError
        When there is none of this name.
    """
    return check_metric(field, name)


def labelled(rows: pl.DataFrame, time: str) -> tuple[pl.DataFrame, list[StudyName]]:
    """Return rows with a `label` for each study, and the studies in the order in which they begin by the column `time`.

    `study_id` and `label` become enumerations in that order; studies that begin at once are ordered by name, then id. The label is the
    name, with the end of the id where two studies have the same.
    """
    keys = rows["study_id"]
    if keys.null_count():
        keys = rows.select(pl.coalesce("study_id", "study", pl.lit(MISSING_STUDY)).alias("study_id")).to_series()
    names = rows["study"].drop_nulls()
    if keys.n_unique() == 1:
        found = [(keys[0], names[-1] if len(names) else None)]
    else:
        begun = rows.lazy().with_columns(keys).group_by("study_id").agg(pl.col("study").drop_nulls().last(), pl.col(time).min())
        order = [pl.col(time), pl.coalesce("study", "study_id"), pl.col("study_id")]
        found = begun.sort(order, nulls_last=True).select("study_id", "study").collect().rows()
    counts = Counter(name for _, name in found)
    labels = {key: (name or key) + (f" (…{key[-4:]})" if counts[name] > 1 else "") for key, name in found}
    if len(set(labels.values())) < len(labels):
        labels = {key: f"{label} ({key})" for key, label in labels.items()}
    # Enumerations are grouped and sorted much faster than texts.
    ids, shown = pl.Enum(list(labels)), pl.Enum(list(labels.values()))
    names_of = [StudyName(key, name or key, labels[key]) for key, name in found]
    if len(found) == 1:
        columns = [pl.Series(name, [value], dtype).new_from_index(0, rows.height) for name, value, dtype in (
            ("study_id", names_of[0].id, ids), ("label", names_of[0].label, shown)
        )]  # fmt: skip
        others = [rows[name] for name in rows.columns if name not in ("study_id", "study")]
        return pl.DataFrame([*others, *columns]), names_of
    label = keys.replace_strict(labels, return_dtype=shown) if labels else pl.Series([], dtype=shown)
    return rows.drop("study").with_columns(keys.cast(ids), label.alias("label")), names_of


def check_frame(frame: object, source: str = "kit.checkpoints()", field: str = "frame") -> None:
    """Check that something is a Polars or Pandas frame.

    Raises
    ------
    InvalidInputError
        When it is none; `source` is what to give instead.
    """
    module = type(frame).__module__.partition(".")[0]
    if module not in ("polars", "pandas") or hasattr(frame, "collect") or len(getattr(frame, "shape", ())) != 2:
        hint = "Call .collect() first." if hasattr(frame, "collect") else f"Give {source}, or a part of it."
        raise InvalidInputError(f"{field}: {a_type(frame)} is no Polars or Pandas frame", hint=hint, field=field, value=frame)


def read_columns(frame: FrameLike, columns: Mapping[str, str], wanted: Sequence[str], optional: Sequence[str]) -> pl.DataFrame:
    """Give some columns of a frame in one form: texts, times in UTC, durations, Int64 or Float64, lists of texts.

    `columns` says the kind of each, as `evalkit.frames.columns` does. Those in `optional` may be absent, and are missing then.

    Raises
    ------
    InvalidInputError
        When it is no frame, or lacks a column of `wanted`, or one is of another kind.
    """
    source = "kit.lifecycle()" if columns is LIFECYCLE else "kit.checkpoints()"
    check_frame(frame, source)
    names = [str(name) for name in frame.columns]
    lacking = [name for name in wanted if name not in names]
    if lacking:
        raise InvalidInputError(
            f"frame: it has no column {', '.join(map(repr, lacking))}",
            hint=f"Needed are {', '.join(map(repr, wanted))}, as {source} gives them; this frame has "
            f"{', '.join(map(repr, names[:12])) or 'no columns'}.",
            field="frame", value=names,
        )  # fmt: skip
    return pl.DataFrame([read_column(frame, name, columns[name]) for name in (*optional, *wanted)])


def read_column(frame: FrameLike, name: str, kind: str) -> pl.Series:
    """Return one column of a frame in its one form; of nulls where the frame has none of that name.

    Raises
    ------
    InvalidInputError
        When it is of another kind.
    """
    if name not in map(str, frame.columns):
        return _checked(pl.Series(name, [None] * len(frame), dtype=pl.Null()), name, kind)
    series: Any = frame[name]
    return _checked(series if isinstance(series, pl.Series) else _from_pandas(series, name, kind), name, kind)


def like(given: FrameLike, rows: pl.DataFrame, columns: Mapping[str, str]) -> FrameLike:
    """Return a table in the library, Polars or pandas, of another frame.

    Parameters
    ----------
    given
        The other frame.
    rows
        The table.
    columns
        For each column of the table its kind, as in `evalkit.frames.columns`; for pandas it says the dtype.
    """
    if isinstance(given, pl.DataFrame):
        return rows
    from evalkit.frames.pandas_output import to_pandas

    return to_pandas(rows, dict(columns))


def _checked(series: pl.Series, name: str, kind: str) -> pl.Series:
    dtype = series.dtype
    if kind == "texts" and (dtype == pl.Null() or (isinstance(dtype, pl.List | pl.Array) and dtype.inner in (pl.String(), pl.Null()))):
        return series.cast(pl.List(pl.String()))
    if dtype == pl.Null():
        return series.cast(pl.String() if kind in _TEXTS else _SCHEMA.get(kind, pl.Float64()))
    if kind in _TEXTS and (isinstance(dtype, pl.String | pl.Enum | pl.Categorical)):
        return series.cast(pl.String())
    if dtype == _SCHEMA.get(kind):
        return series
    if kind == "time" and isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return series.dt.convert_time_zone("UTC").cast(pl.Datetime("us", "UTC"))
    if kind == "duration" and isinstance(dtype, pl.Duration):
        return series.cast(pl.Duration("us"))
    if kind == "duration" and dtype.is_numeric():
        return (series.cast(pl.Float64()).fill_nan(None) * 1e6).round().cast(pl.Int64(), strict=False).cast(pl.Duration("us"))
    if kind not in (*_TEXTS, "texts", "time", "duration", "flag") and dtype.is_numeric():
        return series.cast(pl.Float64()) if not dtype.is_integer() else series.cast(pl.Int64(), strict=False)
    wanted = {"time": "times with a time zone", "duration": "durations", "texts": "lists of texts", "flag": "true and false"}
    needed = "texts" if kind in _TEXTS else wanted.get(kind, "numbers")
    source = "evalkit.analysis.resample" if kind == "flag" else "kit.checkpoints()"
    raise InvalidInputError(
        f"frame: the column {name!r} holds {dtype}; {needed} are needed, as {source} gives them.", field=name, value=str(dtype)
    )


def _from_pandas(series: Any, name: str, kind: str) -> pl.Series:
    """Give a Pandas column as a Polars one."""
    if getattr(series, "ndim", 1) != 1:
        raise InvalidInputError(f"frame: {name!r} is the name of two columns", allowed="keep one of them", field=name, value=name)
    missing = series.isna().to_numpy()
    letter = getattr(series.dtype, "kind", "O")
    if str(series.dtype).startswith("datetime64"):
        zone = getattr(series.dtype, "tz", None)
        naive = series if zone is None else series.dt.tz_convert("UTC").dt.tz_localize(None)
        values = pl.Series(name, naive.to_numpy().astype("datetime64[us]"))
        return values if zone is None else values.dt.replace_time_zone("UTC")
    if letter == "m":
        return pl.Series(name, series.to_numpy().astype("timedelta64[us]"))
    if letter in "iu":
        whole = pl.Series(name, series.fillna(0).to_numpy(dtype="int64"))
        return _with_missing(whole, missing)
    if letter == "f":
        return _with_missing(pl.Series(name, series.fillna(0).to_numpy(dtype="float64")), missing)
    values_list: list[Any] = [None if gone else value for value, gone in zip(series.astype(object).tolist(), missing.tolist(), strict=True)]
    if kind in _TEXTS:
        return pl.Series(name, [None if value is None else str(value) for value in values_list], dtype=pl.String())
    if all(value is None for value in values_list):
        return pl.Series(name, values_list, dtype=pl.Null())
    if kind == "texts":  # Polars would make arrays of one length an Array, and refuse arrays of several
        values_list = [value.tolist() if hasattr(value, "tolist") else value for value in values_list]
    try:
        return pl.Series(name, values_list)
    except (TypeError, pl.exceptions.PolarsError):
        raise InvalidInputError(f"frame: the column {name!r} holds a mix of types.", field=name, value=str(series.dtype)) from None


def _with_missing(values: pl.Series, missing: Any) -> pl.Series:
    return pl.select(pl.when(pl.Series(missing)).then(None).otherwise(values).alias(values.name)).to_series()
