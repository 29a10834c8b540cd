"""What charts read: the columns of a Polars or Pandas frame, in one form, with what is missing missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import polars as pl

from evalkit.domain.metrics import METRICS, Metric
from evalkit.domain.validation import a_type, invalid, nearest
from evalkit.errors import InvalidInputError
from evalkit.frames.columns import CHECKPOINTS, LIFECYCLE

__all__ = [
    "MOST_STUDIES",
    "NAMELESS",
    "check_frame",
    "labelled",
    "lifecycle_rows",
    "metric_named",
    "newest",
    "of_studies",
    "read_checkpoints",
    "read_columns",
    "studies_of",
]

MOST_STUDIES = 200
"""In one chart."""
NAMELESS = "-"
"""The label of the only study of a frame that names none."""
_TEXTS = ("text", "status", "period_type", "lifecycle_kind")
_SCHEMA = {"time": pl.Datetime("us", "UTC"), "count": pl.Int64(), "duration": pl.Duration("us"), "flag": pl.Boolean()}


def metric_named(name: object, field: str = "metric") -> Metric:
    """Give a metric of the catalogue.

    Raises
    ------
    InvalidInputError
        When there is none of this name.
    """
    if not isinstance(name, str):
        raise invalid(field, name, f"is no metric; give one name, as a text. The metrics are {', '.join(METRICS)}.")
    if name not in METRICS:
        raise invalid(field, name, f"is no metric.{nearest(name, METRICS)} The metrics are {', '.join(METRICS)}.")
    return METRICS[name]


def read_checkpoints(frame: Any, metrics: Sequence[str], counts: Sequence[str] = (), flags: Sequence[str] = ()) -> pl.DataFrame:
    """Give the checkpoints of a frame, by study and time: ``study_id``, ``label``, ``t``, ``start``, ``end``, ``length`` and the metrics.

    Checkpoints of the same period are ordered by timestamp, then id, as in ``kit.checkpoints()``, whatever the order of the rows.
    `study_id` and `label` are enumerations in the order of the studies. `t` is the middle of the period;
    `length` is how long a period of this study is; durations are seconds. Rows without a period are left out. `counts` are columns that
    may be absent, and are missing then. NaN and infinity are no measurements, and are missing too. `flags` are other columns that may be
    absent, of true and false, and are false where they are missing.

    Raises
    ------
    InvalidInputError
        When it is no frame, or lacks a column, or one is of a type that cannot be drawn.
    """
    optional = ["study_id", "study", "period_type", *counts, *flags]
    kinds = {**CHECKPOINTS, **dict.fromkeys(flags, "flag")}
    ties = [name for name in ("timestamp", "checkpoint_id") if name not in optional and _is_readable(frame, name)]
    rows = read_columns(frame, kinds, ["period_start", "period_end", *metrics], [*optional, *ties])
    metrics = [*metrics, *counts]
    days = pl.col("period_type").replace_strict({"hourly": 1 / 24, "daily": 1, "weekly": 7, "monthly": 28}, default=None)
    length = pl.col("end") - pl.col("start")
    read = (
        labelled(rows.rename({"period_start": "start", "period_end": "end"}), "start")
        .filter(pl.col("start").is_not_null() & pl.col("end").is_not_null())
        .with_columns(
            *(pl.col(name).dt.total_microseconds() / 1e6 for name in metrics if METRICS[name].kind == "duration"),
            *(pl.when(pl.col(name).is_finite()).then(name).alias(name) for name in metrics if rows.schema[name].is_float()),
            *(pl.col(name).fill_null(False) for name in flags),
            t=pl.col("start") + length / 2,
            length=pl.coalesce((days * 86_400_000_000).cast(pl.Int64).cast(pl.Duration("us")), length),
        )
        .collect()
    )
    # Frames of the kit are in this order mostly, and to see that is quicker than to sort.
    order = ["study_id", "t", "start", *ties]
    return (read if read.select(_in_order(order)).item() else read.sort(order, maintain_order=True)).drop(ties)


def _is_readable(frame: Any, name: str) -> bool:
    """Whether a frame has a column as ``kit.checkpoints()`` has it: what only breaks ties is never a reason to refuse a frame."""
    try:
        return bool(len(read_columns(frame, CHECKPOINTS, [name], []).columns))
    except InvalidInputError:
        return False


def _in_order(columns: Sequence[str]) -> pl.Expr:
    """Whether rows are sorted by some columns, the first of which is an enumeration."""
    order = [pl.col(columns[0]).to_physical(), *(pl.col(name) for name in columns[1:])]
    ascending = pl.lit(True)
    for part in reversed(order):
        before = part.shift(1)
        ascending = (before < part) | ((before == part) & ascending)
    return ascending.fill_null(True).all()


def lifecycle_rows(frame: Any) -> pl.DataFrame:
    """Give the lifecycle of a frame, by study and its order in the log: ``study_id``, ``label``, ``seq``, ``kind``, ``status``, ``at``.

    Raises
    ------
    InvalidInputError
        When it is no frame, or lacks a column.
    """
    rows = read_columns(frame, LIFECYCLE, ["seq", "kind", "status", "at"], optional=["study_id", "study"])
    return labelled(rows, "at").filter(pl.col("at").is_not_null()).sort("study_id", "seq", maintain_order=True).collect()


def labelled(rows: pl.DataFrame, time: str) -> pl.LazyFrame:
    """Add a `label` for each study: the name, and the end of the id where two have the same name.

    `study_id` and `label` become enumerations in the order in which the studies began, by the column `time`; those that began at once are
    ordered by name, then id.
    """
    study_id = pl.coalesce("study_id", "study", pl.lit(NAMELESS))
    named = rows.lazy().with_columns(study_id=study_id)
    found = (
        named.group_by("study_id")
        .agg(pl.col("study").drop_nulls().last(), pl.col(time).min())
        .sort(time, pl.coalesce("study", "study_id"), "study_id", nulls_last=True)
        .select("study_id", "study")
        .collect()
        .rows()
    )
    names = Counter(name for _, name in found)
    labels = {key: (name or key) + (f" (…{key[-4:]})" if names[name] > 1 else "") for key, name in found}
    if len(set(labels.values())) < len(labels):
        labels = {key: f"{label} ({key})" for key, label in labels.items()}
    # Enumerations are grouped and sorted much faster than texts.
    ids, shown = pl.Enum(list(labels)), pl.Enum(list(labels.values()))
    label = pl.col("study_id").replace_strict(labels, return_dtype=shown) if labels else pl.lit(None, dtype=shown)
    return named.with_columns(label=label, study_id=pl.col("study_id").cast(ids)).drop("study")


def studies_of(rows: pl.DataFrame) -> list[tuple[str, str]]:
    """Return the studies that have rows, in the order in which they began: (id, label)."""
    return rows.select("study_id", "label").unique().sort("study_id").cast(pl.String()).rows()


def newest(studies: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the studies that a chart can hold, of very many those that began last, and the note that says so."""
    if len(studies) <= MOST_STUDIES:
        return studies, []
    return studies[-MOST_STUDIES:], [f"The {MOST_STUDIES} of {len(studies):,} studies that began last."]


def of_studies(rows: pl.DataFrame, studies: list[tuple[str, str]]) -> pl.DataFrame:
    """Give the rows of some studies; all of them where there are no others."""
    if rows["study_id"].n_unique() <= len(studies):
        return rows
    return rows.filter(pl.col("study_id").cast(pl.String()).is_in([study_id for study_id, _ in studies]))


def check_frame(frame: Any, source: str = "kit.checkpoints()", field: str = "frame") -> None:
    """Check that something is a Polars or Pandas frame.

    Raises
    ------
    InvalidInputError
        When it is none; `source` is what to give instead.
    """
    module = type(frame).__module__.partition(".")[0]
    if module not in ("polars", "pandas") or hasattr(frame, "collect") or len(getattr(frame, "shape", ())) != 2:
        hint = " Call .collect() first." if hasattr(frame, "collect") else f" Give {source}, or a part of it."
        raise InvalidInputError(f"{field}: {a_type(frame)} is no Polars or Pandas frame.{hint}", field=field, value=frame)


def read_columns(frame: Any, columns: dict[str, str], wanted: Sequence[str], optional: Sequence[str]) -> pl.DataFrame:
    """Give some columns of a frame in one form: texts, times in UTC, durations, Int64 or Float64, lists of texts.

    `columns` says the kind of each, as `evalkit.frames.columns` does. Those in `optional` may be absent, and are missing then.

    Raises
    ------
    InvalidInputError
        When it is no frame, or lacks a column of `wanted`, or one is of another kind.
    """
    source = "kit.lifecycle()" if columns is LIFECYCLE else "kit.checkpoints()"
    check_frame(frame, source)
    module = type(frame).__module__.partition(".")[0]
    names = [str(name) for name in frame.columns]
    lacking = [name for name in wanted if name not in names]
    if lacking:
        raise InvalidInputError(
            f"frame: it has no column {', '.join(map(repr, lacking))}. Needed are {', '.join(map(repr, wanted))}, as {source} gives "
            f"them; this frame has {', '.join(map(repr, names[:12])) or 'no columns'}.",
            field="frame", value=names,
        )  # fmt: skip
    read = {}
    for name in (*optional, *wanted):
        kind = columns[name]
        if name not in names:
            read[name] = _checked(pl.Series(name, [None] * len(frame), dtype=pl.Null()), name, kind)
            continue
        series = frame[name] if module == "polars" else _from_pandas(frame[name], name, kind)
        read[name] = _checked(series, name, kind)
    return pl.DataFrame(read)


def _checked(series: pl.Series, name: str, kind: str) -> pl.Series:
    dtype = series.dtype
    if kind == "texts" and (dtype == pl.Null() or (isinstance(dtype, pl.List | pl.Array) and dtype.inner in (pl.String(), pl.Null()))):
        return series.cast(pl.List(pl.String()))
    if dtype == pl.Null():
        return series.cast(pl.String() if kind in _TEXTS else _SCHEMA.get(kind, pl.Float64()))
    if kind in _TEXTS and (isinstance(dtype, pl.String | pl.Enum | pl.Categorical)):
        return series.cast(pl.String())
    if kind == "time" and isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return series.dt.convert_time_zone("UTC").cast(pl.Datetime("us", "UTC"))
    if kind == "duration" and isinstance(dtype, pl.Duration):
        return series.cast(pl.Duration("us"))
    if kind == "duration" and dtype.is_numeric():
        return (series.cast(pl.Float64()).fill_nan(None) * 1e6).round().cast(pl.Int64(), strict=False).cast(pl.Duration("us"))
    if kind == "flag" and dtype == pl.Boolean():
        return series
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
        raise InvalidInputError(f"frame: {name!r} is the name of two columns; keep one of them.", field=name, value=name)
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
