"""Conversion of frames to pandas, in documented dtypes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["to_pandas"]


def to_pandas(frame: pl.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """Return a pandas copy of a frame, with the same columns, rows and values.

    Counts are Int64; rates, numbers and money Float64 (both nullable); durations timedelta64[us]; times datetime64[us, UTC]; texts
    `string`; statuses, period types and kinds ordered categories; flags `boolean`; lists Python lists; metadata a list of dicts.
    Missing values stay missing.
    """
    import pandas as pd

    series_of = {}
    for name, kind in columns.items():
        series = frame[name]
        missing = series.is_null().to_numpy()
        if kind == "count":
            series_of[name] = pd.Series(pd.arrays.IntegerArray(series.fill_null(0).to_numpy().copy(), missing.copy()))
        elif kind in ("rate", "number", "money", "score"):
            series_of[name] = pd.Series(pd.arrays.FloatingArray(series.fill_null(0).to_numpy().copy(), missing.copy()))
        elif kind == "duration":
            series_of[name] = pd.Series(series.to_numpy().astype("timedelta64[us]"))
        elif kind == "time":
            series_of[name] = pd.Series(series.dt.replace_time_zone(None).to_numpy().astype("datetime64[us]")).dt.tz_localize("UTC")
        elif kind == "flag":
            series_of[name] = pd.Series(pd.arrays.BooleanArray(series.fill_null(False).to_numpy().copy(), missing.copy()))
        elif kind in ("text", "texts", "pairs"):
            series_of[name] = pd.Series(series.to_list(), dtype="string" if kind == "text" else "object")
        else:
            assert isinstance(series.dtype, pl.Enum)
            series_of[name] = pd.Series(pd.Categorical(series.to_list(), categories=series.dtype.categories.to_list(), ordered=True))
    return pd.DataFrame(series_of, columns=list(columns))
