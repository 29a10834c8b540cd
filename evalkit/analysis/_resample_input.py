"""Reading and validation of the checkpoints to resample."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta, tzinfo

import polars as pl

from evalkit.analysis._calendar import BEGINNINGS
from evalkit.analysis._rollup_rules import SESSION_TIME
from evalkit.domain.catalog import METRICS
from evalkit.domain.definitions import Metric
from evalkit.domain.periods import LONGEST
from evalkit.domain.refusals import invalid, nearest, shown
from evalkit.domain.study import PeriodType
from evalkit.errors import InvalidInputError
from evalkit.frames.columns import VALUES
from evalkit.frames.normalize import MISSING_STUDY
from evalkit.frames.study_data import StudyData

__all__ = ["RESAMPLED", "check_longer", "check_period_types", "read_checkpoints", "resampled_columns"]

RESAMPLED = {**VALUES, "parts": "count", "covered": "rate", "partial": "flag", SESSION_TIME: "duration"}
"""The columns of a resampled frame, with their kinds: those of ``kit.checkpoints()``, and four more.

Custom metrics follow the 16, see `resampled_columns`.
"""
_MOST_NAMED = 3
_CLOCK_CHANGE = timedelta(hours=1)


def resampled_columns(metrics: Mapping[str, Metric]) -> dict[str, str]:
    """Return `RESAMPLED` with the custom ones of some metrics after the 16."""
    names = list(RESAMPLED)
    after = names.index("events_analyzed")
    custom = {name: metric.kind for name, metric in metrics.items() if name not in METRICS}
    return {**{name: RESAMPLED[name] for name in names[:after]}, **custom, **{name: RESAMPLED[name] for name in names[after:]}}


def read_checkpoints(data: StudyData, metrics: Mapping[str, Metric]) -> tuple[pl.DataFrame, int, int]:
    """Return the checkpoints by study and time, with counts of invalid rows and values.

    NaN and infinity are null, as are negative values of metrics that cannot be negative.

    Parameters
    ----------
    data
        The data.
    metrics
        The 16 metrics, and the custom metrics to read.

    Returns
    -------
    tuple of polars.DataFrame, int and int
        The checkpoints, the number of rows without a period, and the number of negative values. The columns are `resampled_columns`,
        null when absent, with the dtypes of ``kit.checkpoints()``; the period is in `start`, `end` and `t`: the midpoint, or the start of a
        run (`is_run`).

    Raises
    ------
    InvalidInputError
        When there are no columns of the period, or a column has the wrong type.
    """
    bounds, kinds = ["period_start", "period_end"], resampled_columns(metrics)
    kinds |= {metric.denominator: "count" for metric in metrics.values() if metric.denominator and metric.denominator not in kinds}
    rows = data.columns(kinds, bounds, [name for name in kinds if name not in (*bounds, "partial")])
    rows = rows.rename({"period_start": "start", "period_end": "end"}).with_columns(
        *(_integers(rows[name]) for name, kind in kinds.items() if kind == "count"),
        study_id=pl.coalesce("study_id", "study", pl.lit(MISSING_STUDY)),
    )
    with_period = rows.filter(pl.col("start").is_not_null() & pl.col("end").is_not_null())
    finite = [pl.when(pl.col(name).is_finite()).then(name) for name in (*metrics, "covered") if with_period.schema[name].is_float()]
    read = with_period.with_columns(finite)
    is_negative = {name: _negative(name, metric.kind) for name, metric in metrics.items() if metric.low is not None and metric.low >= 0}
    is_negative["events_analyzed"] = _negative("events_analyzed", "count")
    valid = read.with_columns(pl.when(~negative).then(name).alias(name) for name, negative in is_negative.items())
    negative = read.select(pl.sum_horizontal(negative.sum() for negative in is_negative.values())).item()
    is_run = pl.col("study_id").is_in(list(data.per_run))
    placed_at = pl.when(is_run).then("start").otherwise(pl.col("start") + (pl.col("end") - pl.col("start")) / 2)
    order = ["study_id", "t", "start", "timestamp", "checkpoint_id"]
    return valid.with_columns(t=placed_at, is_run=is_run).sort(order, maintain_order=True), rows.height - with_period.height, int(negative)


def _negative(name: str, kind: str) -> pl.Expr:
    value = pl.col(name).dt.total_microseconds() if kind == "duration" else pl.col(name)
    return value < 0


def _integers(series: pl.Series) -> pl.Series:
    """Return counts as integers; pandas columns with missing counts have floats."""
    if not series.dtype.is_float():
        return series
    series = series.set(~series.is_finite(), None)
    if (fractions := series.filter(series != series.round())).len():
        raise InvalidInputError(
            f"frame: invalid value {fractions[0]!r} in column {series.name!r}", allowed="expected whole numbers", field=series.name,
            value=fractions[0],
        )  # fmt: skip
    return series.cast(pl.Int64(), strict=False)


def check_longer(to: object) -> str:
    """Return a valid period type to resample to, or raise `InvalidInputError`."""
    if not isinstance(to, str) or to not in BEGINNINGS:
        raise invalid("to", to, "expected 'daily', 'weekly' or 'monthly'", hint=nearest(to, BEGINNINGS).strip())
    return str(to)


def check_period_types(rows: pl.DataFrame, to: str, tz: tzinfo | None) -> None:
    """Raise `InvalidInputError` when a study has longer periods than `to`.

    A value over a month cannot be split into weeks. Without a period type, the median length of the periods of a study is used.

    Parameters
    ----------
    rows
        Checkpoints with `study_id`, `study`, `period_type`, `start` and `end`.
    to
        A key of `BEGINNINGS`.
    tz
        The time zone of the calendar, in which a period may be an hour longer. None: UTC.
    """
    order = [kind.value for kind in PeriodType]
    ranks = {kind: rank for rank, kind in enumerate(order)}
    length = (pl.col("end") - pl.col("start")).median()
    limits = [
        LONGEST[kind] + (timedelta(0) if tz is None else _CLOCK_CHANGE)
        for kind in (PeriodType.DAILY, PeriodType.WEEKLY, PeriodType.MONTHLY)
    ]
    by_length = sum((length > limit).cast(pl.Int8()) for limit in limits) + 1
    by_kind = pl.col("period_type").drop_nulls().replace_strict(ranks, default=None, return_dtype=pl.Int8()).max()
    name = pl.coalesce(pl.col("study").drop_nulls().last(), pl.col("study_id").first())
    studies = rows.group_by("study_id", maintain_order=True).agg(name=name, rank=pl.coalesce(by_kind, by_length))
    studies = studies.filter(pl.col("rank") > order.index(to))
    if studies.is_empty():
        return
    names, rank = studies["name"].to_list(), max(studies["rank"].to_list())
    listed = ", ".join(map(repr, names[:_MOST_NAMED])) + (f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else "")
    which = "this study" if len(names) == 1 else "these studies"
    hint = f"Use {order[rank]!r}, or exclude {which}." if rank < len(order) else f"Exclude {which}."
    raise InvalidInputError(
        f"Cannot resample to {shown(to)}: {listed} {'has' if len(names) == 1 else 'have'} longer periods", hint=hint, field="to", value=to
    )
