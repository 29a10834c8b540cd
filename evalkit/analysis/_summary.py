"""What happened, in numbers: each metric of each study in one row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from evalkit.analysis import _wording
from evalkit.analysis._results import Result
from evalkit.analysis._rollup_rules import rule_of
from evalkit.domain.metrics import METRICS, Metric
from evalkit.errors import InvalidInputError
from evalkit.frames.normalize import like
from evalkit.frames.study_data import StudyData, study_data

if TYPE_CHECKING:
    import altair as alt

    from evalkit.frames.normalize import FrameLike
    from evalkit.frames.study_data import DataLike

__all__ = ["Summary", "summary"]

_COLUMNS = {
    "study_id": "text", "study": "text", "metric": "text", "label": "text", "unit": "text", "checkpoints": "count", "missing": "count",
    "first": "number", "last": "number", "min": "number", "max": "number", "median": "number", "p95": "number", "mean": "number",
    "weighted_mean": "number", "rests_on": "count", "total": "number",
}  # fmt: skip
_DTYPES: dict[str, pl.DataType] = {"text": pl.String(), "count": pl.Int64(), "number": pl.Float64()}


@dataclass(frozen=True, repr=False, eq=False)
class Summary(Result):
    """The metrics of studies in numbers.

    Attributes
    ----------
    studies
        How many.
    checkpoints
        How many, of all studies.
    start, end
        The time that they cover, UTC; None without any.

    Notes
    -----
    ``.frame`` has a row for each study and metric, studies in the order in which they begin and metrics in the catalogue's order. All
    statistics are over the checkpoints that have a value; they are Float64, durations in seconds, rates 0 to 1, and null where no
    checkpoint has one.

    ``study_id``, ``study`` (its name, with the end of the id where two have the same), ``metric``, ``label``, ``unit`` (text);
    ``checkpoints`` (of the study) and ``missing`` (of these, without a value), Int64;
    ``first`` and ``last`` by time; ``min``, ``max``;
    ``median`` and ``p95``, with linear interpolation as ``numpy.quantile`` has it by default;
    ``mean``, in which each checkpoint counts the same;
    ``weighted_mean``, by the catalogue's denominator, over the checkpoints that have both: the rate of the whole. For cost per
    successful task it is total cost over the successes that it implies. Null where no denominator is recorded, and for sums;
    ``rests_on`` (Int64): the sum of these denominators, or the implied successes to the nearest whole number; null above 2^63 - 1;
    ``total``, for metrics that add up: of the checkpoints that have a value, so too small where `missing` is above 0.
    """

    studies: int
    checkpoints: int
    start: datetime | None
    end: datetime | None
    _rows: pl.DataFrame
    _data: StudyData

    @cached_property
    def frame(self) -> FrameLike:
        """A row for each study and metric, in the library (Polars or pandas) of the data."""
        return like(self._data.checkpoints, self._rows, _COLUMNS)

    def sentences(self) -> list[str]:
        """Return how much there is, what is missing, and the first metric with values: of a few studies each, or from lowest to highest."""
        return _wording.summary(self, self._rows)

    def plot(self) -> alt.VConcatChart:
        """Draw every metric over time, as `evalkit.plots.overview` does."""
        from evalkit.plots import overview

        return overview(self._data)


def summary(data: DataLike) -> Summary:
    """Sum up every metric of every study.

    Parameters
    ----------
    data
        A `StudyData`, a frame as ``kit.checkpoints()`` returns it, Polars or pandas, or a `Resampled`. Metrics without a column are left
        out, and so are rows without a period.

    Returns
    -------
    Summary
        Displays as sentences; the table is its ``.frame``.

    Raises
    ------
    InvalidInputError
        When the data lacks the periods or all metrics.

    Notes
    -----
    A mean of rates is not the rate of the whole: 1 of 1 and 0 of 9 are 50 % on average, and 10 % together. Hence `weighted_mean`,
    Σ denominator x value / Σ denominator.
    """
    known = study_data(data)
    named = [name for name in METRICS if name in known]
    based_on = [name for name in ("sessions_completed", "tasks_completed", "total_cost") if name not in known]
    rows = known.sorted_checkpoints(named, based_on)
    if not named:
        raise InvalidInputError(
            "data: it has no metric", hint=f"The metrics are {', '.join(METRICS)}.", field="data", value=known.column_names
        )
    metrics = [METRICS[name] for name in named]
    aggregates = {name: made for metric in metrics for name, made in _aggregates(metric).items()}
    grouped = rows.group_by("study_id", maintain_order=True).agg(
        study=pl.col("label").first(), checkpoints=pl.len(), rows=pl.len(), **aggregates
    )
    table = pl.concat([grouped.select(_row(metric)) for metric in metrics])
    order = pl.col("metric").replace_strict({name: place for place, name in enumerate(METRICS)}, return_dtype=pl.Int8())
    table = table.sort("study_id", order, maintain_order=True)
    start, end = rows.select(pl.col("start").min(), pl.col("end").max()).row(0)
    return Summary(grouped.height, rows.height, start, end, _rows=table, _data=known)


def _aggregates(metric: Metric) -> dict[str, pl.Expr]:
    value = pl.col(metric.name).cast(pl.Float64())
    there = value.drop_nulls()
    made = {
        "missing": value.null_count(), "first": there.first(), "last": there.last(), "min": value.min(), "max": value.max(),
        "median": value.median(), "p95": value.quantile(0.95, interpolation="linear"), "mean": value.mean(),
        "total": value.sum() if metric.rollup == "sum" else pl.lit(None, dtype=pl.Float64()),
    }  # fmt: skip
    whole = rule_of(metric).aggregates if metric.rollup in ("weighted", "ratio") else {}
    return {**{f"{metric.name}|{name}": expression for name, expression in made.items()}, **whole}


def _row(metric: Metric) -> list[pl.Expr]:
    """Return one metric's columns of the table."""
    rule, nothing = rule_of(metric), pl.lit(None)
    whole = metric.rollup in ("weighted", "ratio")
    texts = {"metric": pl.lit(metric.name), "label": pl.lit(metric.label), "unit": pl.lit(metric.unit)}
    texts |= {name: pl.col(name) for name in ("study_id", "study", "checkpoints")}
    made = {
        **texts, "weighted_mean": rule.value if whole else nothing,
        "rests_on": pl.when(rule.value.is_not_null()).then(rule.rests_on.round()) if whole else nothing,
        "total": pl.when(pl.col(f"{metric.name}|mean").is_not_null()).then(f"{metric.name}|total"),
    }  # fmt: skip
    expressions = [
        made.get(name, pl.col(f"{metric.name}|{name}")).cast(_DTYPES[kind], strict=False).alias(name) for name, kind in _COLUMNS.items()
    ]
    return [pl.when(one.is_finite()).then(one) if _COLUMNS[one.meta.output_name()] == "number" else one for one in expressions]
