"""One metric of each study over time, ready to draw: its points in runs, their intervals, and what must be said about them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import polars as pl

from evalkit._util.text import plural
from evalkit.domain.metrics import METRICS, Metric
from evalkit.domain.validation import invalid
from evalkit.frames.normalize import metric_named
from evalkit.frames.study_data import StudyData
from evalkit.plots._thinning import runs

__all__ = ["MOST_BANDS", "MOST_STUDIES", "Series", "Z", "newest", "of_studies", "prepare", "studies_of", "wilson"]

MOST_STUDIES = 200
"""In one chart."""
MOST_BANDS = 6
"""With more studies than this their bands would hide each other, and are left out unless asked for."""
_ROUNDED = 0.05
Z = 1.959963984540054
"""The 97.5 % point of the normal distribution: 95 % lie within."""


@dataclass(frozen=True)
class Series:
    """One metric over time.

    Attributes
    ----------
    points
        The checkpoints that have a value, by study and time: study_id, label, start, end, t (the middle), v, n (what it rests on; missing
        where nothing records it), low, high (the interval), first (where the study's first period starts), run, and mean where a
        rolling mean was asked for.
    twin
        All checkpoints, as a table for people, made when it is asked for.
    studies
        (id, label) of each study with a checkpoint.
    notes
        Sentences for under the title.
    """

    metric: Metric
    points: pl.DataFrame
    twin: pl.LazyFrame
    studies: list[tuple[str, str]]
    notes: list[str] = field(default_factory=list)
    banded: bool = False

    def from_start(self) -> Series:
        """Give the series with `t` counted from the start of each study's first period, as if that had been 1970 began."""
        began = pl.lit(datetime(1970, 1, 1, tzinfo=UTC)).cast(pl.Datetime("us", "UTC"))
        return replace(self, points=self.points.with_columns(t=began + (pl.col("t") - pl.col("first"))))


def prepare(data: StudyData, metric: str, *, interval: bool | None = None, rolling: int | None = None) -> Series:
    """Read one metric of the data.

    Parameters
    ----------
    data
        The checkpoints.
    metric
        A name of the catalogue.
    interval
        Whether to compute intervals; None where they can be computed and seen.
    rolling
        Over how many checkpoints to take a mean; None for no mean.

    Raises
    ------
    InvalidInputError
        When the frame, the metric, `interval` or `rolling` is none.
    """
    known = metric_named(metric)
    if rolling is not None and (type(rolling) is not int or rolling < 2):
        raise invalid("rolling", rolling, "is no number of checkpoints", "give a whole number from 2, or None")
    if interval not in (None, True, False):
        raise invalid("interval", interval, "is none of True, False and None.")
    counted = known.denominator
    rows = data.sorted_checkpoints([metric], [counted] if counted else [])
    value, count = pl.col(metric).cast(pl.Float64()), pl.col(counted) if counted else pl.lit(None, dtype=pl.Int64())
    studies = studies_of(rows)
    wanted = interval if interval is not None else len(studies) <= MOST_BANDS
    studies, notes = newest(studies)
    can = known.kind == "rate" and counted is not None
    low, high = wilson(value, count) if can and wanted else (pl.lit(None, dtype=pl.Float64()),) * 2
    rows = rows.with_columns(v=value, n=count, low=low, high=high, length=data.lengths, first=pl.col("start").min().over("study_id"))
    points = of_studies(runs(rows, ["v"]), studies)
    if known.kind == "rate" and points.height:
        notes += _on_intervals(points, known, wanted=wanted, asked=interval)
    if rolling is not None:
        points = points.with_columns(mean=_rolling(known, rolling))
        over = f", weighted by {METRICS[counted].label.lower()}" if counted else ""
        without = " and where that is missing or 0" if counted and points["n"].fill_null(0).eq(0).any() else ""
        notes.append(f"Thick line: mean of the last {rolling} checkpoints{over}; it begins anew after a gap{without}.")
    named = pl.col("label").cast(pl.String())
    twin = rows.lazy().select(
        study=named, period_start="start", period_end="end", **{metric: "v"}, **({counted: "n"} if counted else {}),
        **({"low": "low", "high": "high"} if can and wanted else {}),
    )  # fmt: skip
    return Series(known, points, twin, studies, notes, can and wanted and points["low"].is_not_null().any())


def _on_intervals(points: pl.DataFrame, metric: Metric, *, wanted: bool, asked: bool | None) -> list[str]:
    """Say what the band is, and why there is none where there is none."""
    if metric.denominator is None:
        return ["No intervals: how many trials the rate rests on is not recorded."]
    if not wanted:
        return (
            [f"No intervals: with more than {MOST_BANDS} studies they would hide each other; interval=True draws them."]
            if asked is None
            else []
        )
    counted = METRICS[metric.denominator].label.lower()
    notes = []
    bare, based = pl.col("low").is_null(), (pl.col("n") > 0).fill_null(False)
    successes = pl.col("v") * pl.col("n")
    rounded = bare.not_() & ((successes - successes.round()).abs() > _ROUNDED)
    without, outside, odd = points.select((bare & based.not_()).sum(), (bare & based).sum().alias("b"), rounded.sum().alias("c")).row(0)
    if without + outside < points.height:
        notes.append(f"Band: 95 % Wilson interval, over {counted}.")
    if without:
        notes.append(f"No interval for {plural(without, 'checkpoint')}: {counted} is missing or 0.")
    if outside:
        notes.append(f"No interval for {plural(outside, 'checkpoint')}: the rate lies outside 0 to 100 %.")
    if odd:
        notes.append(
            f"For {plural(odd, 'checkpoint')} rate times {counted} is no whole number: the rate was rounded before it was recorded."
        )
    return notes


def _rolling(metric: Metric, size: int) -> pl.Expr:
    """Give the mean of the last `size` checkpoints of a run, weighted where it can be, for a mean of rates is no rate of the whole."""
    if metric.denominator is None or metric.rollup != "weighted":
        return pl.col("v").rolling_mean(size).over("run")
    weight = pl.when(pl.col("n") > 0).then(pl.col("n").cast(pl.Float64()))
    return ((pl.col("v") * weight).rolling_sum(size) / weight.rolling_sum(size)).over("run")


def wilson(rate: pl.Expr, count: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Return the lower and upper end of the 95 % Wilson score interval of `rate`, measured on `count` trials.

    Missing where the rate or the count is, where the count is 0, and where the rate lies outside 0 to 1. The number of successes,
    rate times count, is not rounded.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American Statistical
    Association 22 (1927), 209-212; in the form of Brown, Cai and DasGupta, Statistical Science 16 (2001), equation (4).
    """
    n = pl.when((count > 0) & (rate >= 0) & (rate <= 1)).then(count.cast(pl.Float64()))
    middle = (rate + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * (rate * (1 - rate) / n + Z * Z / (4 * n * n)).sqrt()
    return (middle - half).clip(0, 1), (middle + half).clip(0, 1)


def studies_of(rows: pl.DataFrame) -> list[tuple[str, str]]:
    """Return the studies that have rows, in the order in which they began: (id, label)."""
    return rows.select("study_id", "label").unique().sort("study_id").cast(pl.String()).rows()


def newest(studies: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the studies that a chart can hold, of very many those that began last, and the note that says so."""
    if len(studies) <= MOST_STUDIES:
        return studies, []
    return studies[-MOST_STUDIES:], [f"The {MOST_STUDIES} of {len(studies):,} studies that began last."]


def of_studies(rows: pl.DataFrame, studies: list[tuple[str, str]]) -> pl.DataFrame:
    """Return the rows of some studies; all of them where there are no others."""
    if rows["study_id"].n_unique() <= len(studies):
        return rows
    return rows.filter(pl.col("study_id").cast(pl.String()).is_in([study_id for study_id, _ in studies]))
