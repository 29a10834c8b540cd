"""Checkpoints as parts of longer periods: everything that a roll-up reads of a frame, in one form and one order."""

from __future__ import annotations

from typing import Any

import polars as pl

from evalkit.analysis._rollup_rules import SESSION_TIME
from evalkit.domain.metrics import METRICS
from evalkit.errors import InvalidInputError
from evalkit.frames.columns import CHECKPOINTS
from evalkit.frames.normalize import read_columns

__all__ = ["RESAMPLED", "read_parts"]

RESAMPLED = {**CHECKPOINTS, "parts": "count", "covered": "rate", "partial": "flag", SESSION_TIME: "duration"}
"""The columns of a resampled frame, with their kinds: those of ``kit.checkpoints()``, and four more."""
_COUNTS = [name for name, kind in RESAMPLED.items() if kind == "count"]


def read_parts(frame: Any) -> tuple[pl.DataFrame, list[str]]:
    """Read the checkpoints of a frame by study and time, with the columns of `RESAMPLED` that it has, and what to say about them.

    The period stands in `start`, `end` and its middle `t`; every other column has the dtype of ``kit.checkpoints()``, and is missing
    where the frame has none of that name. NaN, infinity and values below 0 are no measurements, and are missing.

    Raises
    ------
    InvalidInputError
        When it is no frame, has no periods, or a column holds something else than ``kit.checkpoints()`` gives.
    """
    bounds = ["period_start", "period_end"]
    rows = read_columns(frame, RESAMPLED, bounds, [name for name in RESAMPLED if name not in (*bounds, "partial")])
    rows = rows.rename({"period_start": "start", "period_end": "end"}).with_columns(
        *(_whole(rows[name]) for name in _COUNTS), study_id=pl.coalesce("study_id", "study", pl.lit("-"))
    )
    there = rows.filter(pl.col("start").is_not_null() & pl.col("end").is_not_null())
    measured = [*METRICS, "events_analyzed"]
    finite = [pl.when(pl.col(name).is_finite()).then(name) for name in (*METRICS, "covered") if there.schema[name].is_float()]
    read = there.with_columns(finite)
    sane = read.with_columns(pl.when(~_negative(name)).then(name).alias(name) for name in measured)
    negative = read.select(pl.sum_horizontal(_negative(name).sum() for name in measured)).item()
    notes = []
    if there.height < rows.height:
        notes.append(f"Left out: {rows.height - there.height:,} of {rows.height:,} rows, which have no period.")
    if negative:
        notes.append(f"Values below 0 are no measurements, and are taken as missing: {negative:,}.")
    middle = pl.col("start") + (pl.col("end") - pl.col("start")) / 2
    order = ["study_id", "t", "start", "timestamp", "checkpoint_id"]
    return sane.with_columns(t=middle).sort(order, maintain_order=True), notes


def _negative(name: str) -> pl.Expr:
    value = pl.col(name).dt.total_microseconds() if RESAMPLED[name] == "duration" else pl.col(name)
    return value < 0


def _whole(series: pl.Series) -> pl.Series:
    """Give counts that came as floats, as they do where Pandas had some missing, as whole numbers."""
    if not series.dtype.is_float():
        return series
    series = series.set(~series.is_finite(), None)
    if (odd := series.filter(series != series.round())).len():
        raise InvalidInputError(
            f"frame: the column {series.name!r} holds {odd[0]!r}; counts are whole numbers, as kit.checkpoints() gives them.",
            field=series.name, value=odd[0],
        )  # fmt: skip
    return series.cast(pl.Int64(), strict=False)
