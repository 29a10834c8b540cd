"""Summary statistics: each metric of each study in one row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from evalkit.analysis import _wording
from evalkit.analysis._results import Result
from evalkit.analysis._rollup_rules import rule_of
from evalkit.domain.catalog import METRICS
from evalkit.domain.definitions import Metric
from evalkit.errors import InvalidInputError
from evalkit.frames.normalize import to_library_of
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
    """Summary statistics of the metrics of some studies.

    Attributes
    ----------
    studies
        The number of studies.
    checkpoints
        The number of checkpoints of all studies.
    start, end
        Start of the first and end of the last period, UTC; None without checkpoints.

    Notes
    -----
    ``.frame`` has one row per study and metric, studies ordered by their start and the 16 before custom metrics. Statistics are
    computed over the checkpoints with a value; they are Float64, durations in seconds and rates 0 to 1, and null without values.

    - ``study_id``, ``study`` (name, with the end of the id when names are equal), ``metric``, ``label``, ``unit``: String
    - ``checkpoints`` (of the study), ``missing`` (of these, without a value): Int64
    - ``first`` and ``last`` by time, ``min``, ``max``
    - ``median``, ``p95``: with linear interpolation, the default of ``numpy.quantile``
    - ``mean``: with equal weight of checkpoints
    - ``weighted_mean``: the pooled rate or mean, weighted by the denominator of the metric, over the checkpoints that have both. For cost
      per successful task: total cost divided by the implied number of successes. Null for sums, and without a recorded denominator
    - ``rests_on``: sum of these denominators, or the rounded number of implied successes: Int64, null above 2^63 - 1
    - ``total``: for metrics that are summed; too small when `missing` is above 0

    Examples
    --------
    >>> import polars as pl
    >>> from evalkit import analysis, samples
    >>> nights = pl.DataFrame(samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 7, seed=1))
    >>> result = analysis.summary(nights)
    >>> result.studies, result.checkpoints, result.frame.height
    (1, 7, 16)
    """

    studies: int
    checkpoints: int
    start: datetime | None
    end: datetime | None
    _rows: pl.DataFrame
    _data: StudyData

    @cached_property
    def frame(self) -> FrameLike:
        """One row per study and metric, in the library (Polars or pandas) of the data."""
        return to_library_of(self._data.checkpoints, self._rows, _COLUMNS)

    def sentences(self) -> list[str]:
        """Return the result as text, one string per paragraph.

        The first metric with values is summarized in one line per study. The amount of data and the missing values follow.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> nights = pl.DataFrame(samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 7, seed=1))
        >>> print(analysis.summary(nights).sentences()[0])
        Session success rate: pooled rate 56.8% (first 58.3%, last 54.5%, mean of checkpoints 56.9%; 7 checkpoints, 229 sessions).
        """
        return _wording.summary(self, self._rows)

    def plot(self) -> alt.VConcatChart:
        """Draw every metric over time, like `evalkit.plots.overview`.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> nights = pl.DataFrame(samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 7, seed=1))
        >>> chart = analysis.summary(nights).plot()
        """
        from evalkit.plots import overview

        return overview(self._data)


def summary(data: DataLike) -> Summary:
    """Compute summary statistics of every metric of every study.

    Parameters
    ----------
    data
        A `StudyData`, a Polars or pandas frame like that of ``kit.checkpoints()``, or a `Resampled`. Metrics without a column and rows
        without a period are excluded.

    Returns
    -------
    Summary
        Displays as text; the table is ``.frame``.

    Raises
    ------
    InvalidInputError
        When the data lacks the columns of the period, or has no metric.

    Notes
    -----
    A mean of rates is not the pooled rate: rates of 1 of 1 and 0 of 9 have a mean of 50% and a pooled rate of 10%. `weighted_mean` is the
    pooled rate, Σ denominator x value / Σ denominator.

    Examples
    --------
    >>> import polars as pl
    >>> from evalkit import analysis, samples
    >>> nights = pl.DataFrame(samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 7, seed=1))
    >>> analysis.summary(nights).frame.select("metric", "first", "last", "weighted_mean").head(2)
    shape: (2, 4)
    ┌──────────────────────┬──────────┬──────────┬───────────────┐
    │ metric               ┆ first    ┆ last     ┆ weighted_mean │
    │ ---                  ┆ ---      ┆ ---      ┆ ---           │
    │ str                  ┆ f64      ┆ f64      ┆ f64           │
    ╞══════════════════════╪══════════╪══════════╪═══════════════╡
    │ sessions_completed   ┆ 36.0     ┆ 33.0     ┆ null          │
    │ session_success_rate ┆ 0.583333 ┆ 0.545455 ┆ 0.567686      │
    └──────────────────────┴──────────┴──────────┴───────────────┘
    """
    prepared = study_data(data)
    catalog = prepared.catalog
    needed = {"tasks_completed", "total_cost", *(metric.denominator for metric in catalog.values() if metric.denominator is not None)}
    rows = prepared.sorted_checkpoints(catalog, sorted(needed - catalog.keys()))
    if not catalog:
        raise InvalidInputError(
            "data: no column with a metric", hint=f"Valid metrics: {', '.join(METRICS)}.", field="data", value=prepared.column_names
        )
    metrics = list(catalog.values())
    aggregates = {name: expression for metric in metrics for name, expression in _aggregates(metric).items()}
    grouped = rows.group_by("study_id", maintain_order=True).agg(
        study=pl.col("label").first(), checkpoints=pl.len(), rows=pl.len(), **aggregates
    )
    table = pl.concat([grouped.select(_row(metric)) for metric in metrics])
    order = pl.col("metric").replace_strict({name: place for place, name in enumerate(catalog)}, return_dtype=pl.Int16())
    table = table.sort("study_id", order, maintain_order=True)
    start, end = rows.select(pl.col("start").min(), pl.col("end").max()).row(0)
    return Summary(grouped.height, rows.height, start, end, _rows=table, _data=prepared)


def _aggregates(metric: Metric) -> dict[str, pl.Expr]:
    value = pl.col(metric.name).cast(pl.Float64())
    measured = value.drop_nulls()
    statistics = {
        "missing": value.null_count(), "first": measured.first(), "last": measured.last(), "min": value.min(), "max": value.max(),
        "median": value.median(), "p95": value.quantile(0.95, interpolation="linear"), "mean": value.mean(),
        "total": value.sum() if metric.rollup == "sum" else pl.lit(None, dtype=pl.Float64()),
    }  # fmt: skip
    pooled = rule_of(metric).aggregates if metric.rollup in ("weighted", "ratio") else {}
    return {**{f"{metric.name}|{name}": expression for name, expression in statistics.items()}, **pooled}


def _row(metric: Metric) -> list[pl.Expr]:
    """Return the columns of the table for one metric."""
    rule, missing = rule_of(metric), pl.lit(None)
    pooled = metric.rollup in ("weighted", "ratio")
    texts = {"metric": pl.lit(metric.name), "label": pl.lit(metric.label), "unit": pl.lit(metric.unit)}
    texts |= {name: pl.col(name) for name in ("study_id", "study", "checkpoints")}
    computed = {
        **texts, "weighted_mean": rule.value if pooled else missing,
        "rests_on": pl.when(rule.value.is_not_null()).then(rule.denominator.round()) if pooled else missing,
        "total": pl.when(pl.col(f"{metric.name}|mean").is_not_null()).then(f"{metric.name}|total"),
    }  # fmt: skip
    expressions = [
        computed.get(name, pl.col(f"{metric.name}|{name}")).cast(_DTYPES[kind], strict=False).alias(name) for name, kind in _COLUMNS.items()
    ]
    return [
        pl.when(column.is_finite()).then(column) if _COLUMNS[column.meta.output_name()] == "number" else column for column in expressions
    ]
