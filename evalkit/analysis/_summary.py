"""What happened, in numbers: each metric of each study in one row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from evalkit.analysis._given import checkpoints_of
from evalkit.analysis._result import Result, like
from evalkit.analysis._rollup_rules import rule_of
from evalkit.domain.metrics import METRICS, Metric
from evalkit.errors import InvalidInputError
from evalkit.frames.normalize import read_checkpoints
from evalkit.plots import overview
from evalkit.plots._words import number, plural, span

__all__ = ["Summary", "summary"]

_COLUMNS = {
    "study_id": "text", "study": "text", "metric": "text", "label": "text", "unit": "text", "checkpoints": "count", "missing": "count",
    "first": "number", "last": "number", "min": "number", "max": "number", "median": "number", "p95": "number", "mean": "number",
    "weighted_mean": "number", "rests_on": "count", "total": "number",
}  # fmt: skip
_DTYPES: dict[str, pl.DataType] = {"text": pl.String(), "count": pl.Int64(), "number": pl.Float64()}
_MOST_TOLD = 3


@dataclass(frozen=True, repr=False, eq=False)
class Summary(Result):
    """The metrics of studies in numbers.

    Attributes
    ----------
    frame
        A row for each study and metric, studies by id and metrics in the catalogue's order. All statistics are over the checkpoints
        that have a value; they are Float64, durations in seconds, rates 0 to 1, and null where no checkpoint has one.

        ``study_id``, ``study`` (its name, with the end of the id where two have the same), ``metric``, ``label``, ``unit`` (text);
        ``checkpoints`` (of the study) and ``missing`` (of these, without a value), Int64;
        ``first`` and ``last`` by time; ``min``, ``max``;
        ``median`` and ``p95``, with linear interpolation as ``numpy.quantile`` has it by default;
        ``mean``, in which each checkpoint counts the same;
        ``weighted_mean``, by the catalogue's denominator, over the checkpoints that have both: the rate of the whole. For cost per
        successful task it is total cost over the successes that it implies. Null where no denominator is recorded, and for sums;
        ``rests_on`` (Int64): the sum of these denominators, or the implied successes to the nearest whole number; null above 2^63 - 1;
        ``total``, for metrics that add up: of the checkpoints that have a value, so too small where `missing` is above 0.
    studies
        How many.
    checkpoints
        How many, of all studies.
    """

    frame: Any
    studies: int
    checkpoints: int
    _rows: pl.DataFrame
    _read: pl.DataFrame
    _given: Any

    def sentences(self) -> list[str]:
        """Say how much there is, what is missing, and the first metric with values: of each of a few studies, or from lowest to highest."""
        if not self.checkpoints:
            return ["Nothing to sum up: no checkpoints."]
        measured = self._rows.filter(pl.col("mean").is_not_null())
        named = f"the study {self._rows['study'][0]}" if self.studies == 1 else f"{self.studies} studies"
        when = span(*self._read.select(pl.col("start").min(), pl.col("end").max()).row(0))
        told = [f"{plural(self.checkpoints, 'checkpoint')} of {named}, {when}{self._on_missing()}."]
        if measured.is_empty():
            return [*told, "No metric has a value."]
        metric = METRICS[min(measured["metric"].unique().to_list(), key=_prominence)]
        rows = measured.filter(metric=metric.name)
        told.append(_few(metric, rows) if rows.height <= _MOST_TOLD else _many(metric, rows))
        told.append("First and last are single checkpoints, and tell no trend.")
        return told

    def _on_missing(self) -> str:
        gaps = self._rows.filter(pl.col("missing") > 0)
        if gaps.is_empty():
            return "; no value is missing"
        most = gaps.row(gaps.select(pl.col("missing").arg_max()).item(), named=True)
        of = f" of {most['study']}" if self.studies > 1 else ""
        worst = f"{most['label']}{of}: {most['missing']:,} of {most['checkpoints']:,}"
        return f"; values are missing in {gaps['metric'].n_unique()} of {self._rows['metric'].n_unique()} metrics (most in {worst})"

    def plot(self) -> Any:
        """Draw every metric over time, as `evalkit.plots._overview` does."""
        return overview(self._given)


def _prominence(name: str) -> tuple[bool, int]:
    """Order metrics for words: those that have a rate of the whole, then as the catalogue has them."""
    return METRICS[name].rollup != "weighted", list(METRICS).index(name)


def _few(metric: Metric, rows: pl.DataFrame) -> str:
    several = rows.height > 1
    return f"{metric.label}: " + "; ".join((f"{row['study']} " if several else "") + _one(metric, row) for row in rows.to_dicts()) + "."


def _one(metric: Metric, row: dict[str, Any]) -> str:
    told = f"first {number(metric, row['first'])}, last {number(metric, row['last'])}"
    mean = number(metric, row["mean"])
    if row["weighted_mean"] is None:
        return f"{told}, mean of the checkpoints {mean}"
    whole = number(metric, row["weighted_mean"])
    over = f" over {row['rests_on']:,} {METRICS[metric.denominator or ''].label.lower()}" if row["rests_on"] else ""
    return f"{told}, together {whole}{over}" + ("" if whole == mean else f" (mean of the checkpoints {mean})")


def _many(metric: Metric, rows: pl.DataFrame) -> str:
    value, what = ("weighted_mean", "weighted mean") if rows["weighted_mean"].null_count() == 0 else ("mean", "mean of the checkpoints")
    ordered = rows.sort(value, maintain_order=True)
    low, high = ordered.row(0, named=True), ordered.row(-1, named=True)
    return (
        f"{metric.label}, {what} of {plural(rows.height, 'study', 'studies')}: from {number(metric, low[value])} ({low['study']}) "
        f"to {number(metric, high[value])} ({high['study']})."
    )


def summary(frame: Any) -> Summary:
    """Sum up every metric of every study.

    Parameters
    ----------
    frame
        As ``kit.checkpoints()`` gives it, Polars or Pandas; or ``(kit.checkpoints(), kit.lifecycle())``, or a result that has such a
        frame. Metrics whose column is not there are left out, and so are rows without a period.

    Returns
    -------
    Summary
        Displays as sentences; the table is its ``.frame``.

    Raises
    ------
    InvalidInputError
        When the frame is none, or lacks the periods or all metrics.

    Notes
    -----
    A mean of rates is not the rate of the whole: 1 of 1 and 0 of 9 are 50 % on average, and 10 % together. Hence `weighted_mean`,
    Σ denominator x value / Σ denominator.
    """
    given = checkpoints_of(frame)
    columns = {str(name) for name in given.columns}
    named = [name for name in METRICS if name in columns]
    based_on = [name for name in ("sessions_completed", "tasks_completed", "total_cost") if name not in columns]
    rows = read_checkpoints(given, named, counts=based_on)
    if not named:
        raise InvalidInputError(f"frame: it has no metric. The metrics are {', '.join(METRICS)}.", field="frame", value=sorted(columns))
    metrics = [METRICS[name] for name in named]
    aggregates = {name: made for metric in metrics for name, made in _aggregates(metric).items()}
    grouped = rows.group_by("study_id", maintain_order=True).agg(
        study=pl.col("label").first(), checkpoints=pl.len(), rows=pl.len(), **aggregates
    )
    table = pl.concat([grouped.select(_row(metric)) for metric in metrics])
    order = pl.col("metric").replace_strict({name: place for place, name in enumerate(METRICS)}, return_dtype=pl.Int8())
    table = table.sort("study_id", order, maintain_order=True)
    return Summary(like(given, table, _COLUMNS), grouped.height, rows.height, _rows=table, _read=rows, _given=given)


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
    """Give one metric's columns of the table."""
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
