"""One metric over time, prepared for drawing.

A `Series` has points in runs, their confidence intervals, and notes for the subtitle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import polars as pl

from evalkit._util.text import plural
from evalkit.domain.catalog import counted
from evalkit.domain.definitions import Metric
from evalkit.domain.refusals import invalid
from evalkit.frames.annotations import first_values
from evalkit.frames.study_data import StudyData
from evalkit.plots._downsampling import runs

__all__ = [
    "MOST_BANDS",
    "MOST_STUDIES",
    "Series",
    "Z",
    "drawn_studies",
    "of_studies",
    "omission_notes",
    "prepare",
    "split_runs",
    "studies_of",
    "wilson",
]

MOST_STUDIES = 200
"""The largest number of studies in one chart."""
MOST_BANDS = 6
"""The largest number of studies with bands by default. More bands would hide each other; they are drawn only on request."""
_MOST_NAMED = 3
_ROUNDED = 0.05
_STATUS = (
    pl.when(pl.col("amended").not_()).then(pl.lit("recorded"))
    .when(pl.col("v").is_null()).then(pl.lit("withdrawn")).otherwise(pl.lit("amended"))
)  # fmt: skip
_WEIGHTED = ("weighted", "ratio")
Z = 1.959963984540054
"""The 97.5% quantile of the standard normal distribution."""


@dataclass(frozen=True)
class Series:
    """One metric over time.

    Attributes
    ----------
    points
        The checkpoints with a value, by study and time: study_id, label, start, end, t (the middle of the period), v, n (the denominator;
        null if it is not recorded), low, high (the confidence interval), first (the start of the study's first period), run, mean if
        a rolling mean is requested, and if values were amended: amended, and old (the value as first recorded).
    table
        All checkpoints with readable column names, computed on request.
    studies
        (id, label) of each study with a value; of all studies if none has one.
    notes
        Sentences for the subtitle.
    banded
        Whether confidence intervals are drawn as bands.
    rolled
        The points with the rolling mean if they differ from `points`; otherwise None.
    """

    metric: Metric
    points: pl.DataFrame
    table: pl.LazyFrame
    studies: list[tuple[str, str]]
    notes: list[str] = field(default_factory=list)
    banded: bool = False
    rolled: pl.DataFrame | None = None

    @property
    def means(self) -> pl.DataFrame | None:
        """The points with a rolling mean; None if none is requested."""
        points = self.points if self.rolled is None else self.rolled
        return points if "mean" in points.columns else None

    def since_start(self) -> Series:
        """Return the series with `t` relative to the start of each study's first period.

        The start becomes 1970-01-01.
        """
        epoch = pl.lit(datetime(1970, 1, 1, tzinfo=UTC)).cast(pl.Datetime("us", "UTC"))
        since = {"t": epoch + (pl.col("t") - pl.col("first"))}
        rolled = None if self.rolled is None else self.rolled.with_columns(**since)
        return replace(self, points=self.points.with_columns(**since), rolled=rolled)

    def positive(self) -> Series:
        """Return the series without values of zero or less, for a log axis; lines break there."""
        points = split_runs(self.points.with_columns(v=pl.when(pl.col("v") > 0).then("v")), "v")
        omitted = self.points.height - points.height
        counted = f"{plural(omitted, 'value')} of zero or less {'is' if omitted == 1 else 'are'} not shown"
        studies, notes = drawn_studies(self.studies, points, "positive values")
        notes = [*self.notes, f"Log axis; {counted}." if omitted else "Log axis.", *notes]
        # A mean that includes omitted values may still be positive.
        positive_mean = pl.when(pl.col("mean") > 0).then("mean")
        rolled = self.points.with_columns(mean=positive_mean) if "mean" in self.points.columns else None
        return replace(self, points=points, rolled=rolled, studies=studies, notes=notes)


def prepare(data: StudyData, metric: str, *, interval: bool | None = None, rolling: int | None = None) -> Series:
    """Prepare one metric of the data for drawing.

    Parameters
    ----------
    data
        The checkpoints.
    metric
        The name of a metric.
    interval
        Whether to compute confidence intervals; None: if they can be computed, for up to `MOST_BANDS` studies.
    rolling
        The window of the rolling mean, in checkpoints; None for no mean.

    Raises
    ------
    InvalidInputError
        For an invalid frame, an unknown metric, or an invalid `interval` or `rolling`.
    """
    definition = data.metric(metric)
    if rolling is not None and (type(rolling) is not int or rolling < 2):
        raise invalid("rolling", rolling, "expected an integer of 2 or more, or None")
    if interval not in (None, True, False):
        raise invalid("interval", interval, "expected True, False or None")
    denominator = definition.denominator
    rows = data.sorted_checkpoints([metric], [denominator] if denominator else [])
    value, count = pl.col(metric).cast(pl.Float64()), pl.col(denominator) if denominator else pl.lit(None, dtype=pl.Int64())
    studies, notes = drawn_studies(studies_of(data), rows.filter(value.is_not_null()))
    if metric in data.undefined:
        notes.append(f"The better direction of {metric} is unknown, since this data has no definition of it.")
    with_intervals = interval if interval is not None else len(studies) <= MOST_BANDS
    computable = definition.kind == "rate" and denominator is not None
    low, high = wilson(value, count) if computable and with_intervals else (pl.lit(None, dtype=pl.Float64()),) * 2
    rows = rows.with_columns(v=value, n=count, low=low, high=high, gap=data.gaps, first=pl.col("start").min().over("study_id"))
    earlier = first_values(data, metric)
    if earlier is not None:
        rows = rows.hstack(earlier).with_columns(amended=pl.col("amended") & pl.col("v").ne_missing(pl.col("old")))
        notes += _amendment_notes(rows)
    points = of_studies(runs(rows, ["v"]), studies)
    if definition.kind == "rate" and points.height:
        notes += _interval_notes(points, definition, with_intervals=with_intervals, requested=interval)
    if rolling is not None:
        points = points.with_columns(mean=_rolling(definition, rolling))
        weights = counted(denominator) if denominator and definition.rollup in _WEIGHTED else ""
        weighted = f", weighted by {weights}" if weights else ""
        known = points.filter(pl.col("n").count().over("study_id") > 0)["n"] if weights else points["n"].clear()
        unweighted = " and checkpoints without a weight" if known.fill_null(0).eq(0).any() else ""
        if points.height and points["mean"].is_null().all():
            notes.append(f"No rolling mean: fewer than {rolling} consecutive checkpoints{f' with {weights}' if weights else ''}.")
        else:
            notes.append(f"Thick line: {rolling}-checkpoint rolling mean{weighted} (restarts after gaps{unweighted}).")
            without = points.group_by("study_id", "label").agg(pl.col("n").count()).filter(n=0).height if weights else 0
            notes += [f"Not weighted: {plural(without, 'study', 'studies')} without {weights}."] if without else []
    table = rows.lazy().select(
        study=pl.col("label").cast(pl.String()), period_start="start", period_end="end", **{metric: "v"},
        **({denominator: "n"} if denominator else {}), **({"low": "low", "high": "high"} if computable and with_intervals else {}),
        **({} if earlier is None else {"status": _STATUS, "old": pl.col("old")}),
    )  # fmt: skip
    return Series(definition, points, table, studies, notes, computable and with_intervals and points["low"].is_not_null().any())


def _amendment_notes(rows: pl.DataFrame) -> list[str]:
    amended = rows.filter("amended")
    hollow, withdrawn = amended["v"].count(), amended["v"].null_count()
    notes = [f"Hollow: amended ({plural(hollow, 'value')})."] if hollow else []
    return [*notes, *([f"{plural(withdrawn, 'value')} withdrawn by amendments."] if withdrawn else [])]


def _interval_notes(points: pl.DataFrame, metric: Metric, *, with_intervals: bool, requested: bool | None) -> list[str]:
    """Describe the band, and the reasons for missing intervals."""
    if metric.denominator is None:
        return ["No intervals: the denominator of this rate is not recorded."]
    if not with_intervals:
        return [f"No intervals for more than {MOST_BANDS} studies; interval=True draws them."] if requested is None else []
    trials = counted(metric.denominator)
    notes = []
    missing, has_count = pl.col("low").is_null(), (pl.col("n") > 0).fill_null(False)
    successes = pl.col("v") * pl.col("n")
    rounded = missing.not_() & ((successes - successes.round()).abs() > _ROUNDED)
    uncounted, outside, inexact = points.select(
        uncounted=(missing & has_count.not_()).sum(), outside=(missing & has_count).sum(), inexact=rounded.sum()
    ).row(0)
    if uncounted + outside < points.height:
        shape = "Band" if points["run"].n_unique() < points.height else "Bar"
        notes.append(f"{shape}: 95% Wilson CI (n = {trials}).")
    if uncounted:
        notes.append(f"No interval for {plural(uncounted, 'checkpoint')}: {trials} missing or 0.")
    if outside:
        notes.append(f"No interval for {plural(outside, 'checkpoint')}: rate outside 0 to 100%.")
    if inexact:
        notes.append(f"Rate times {trials} is not an integer for {plural(inexact, 'checkpoint')} (rounded input).")
    return notes


def _rolling(metric: Metric, size: int) -> pl.Expr:
    """Return the rolling mean within runs, weighted by the denominator if possible.

    The plain mean of rates is not the pooled rate.
    """
    if metric.denominator is None or metric.rollup not in _WEIGHTED:
        return pl.col("v").rolling_mean(size).over("run")
    unknown = pl.col("n").count().over("study_id") == 0  # a denominator that only other studies record
    weight = pl.when(unknown).then(1.0).when(pl.col("n") > 0).then(pl.col("n").cast(pl.Float64()))
    return ((pl.col("v") * weight).rolling_sum(size) / weight.rolling_sum(size)).over("run")


def wilson(rate: pl.Expr, count: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Return the bounds of the 95% Wilson score interval of `rate` in `count` trials.

    The lower and upper bound are null if the rate or the count is null, the count is 0, or the rate is outside 0 to 1. The number of
    successes, rate times count, is not rounded.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American Statistical
    Association 22 (1927), 209-212; in the form of Brown, Cai and DasGupta, Statistical Science 16 (2001), equation (4).
    """
    n = pl.when((count > 0) & (rate >= 0) & (rate <= 1)).then(count.cast(pl.Float64()))
    middle = (rate + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * (rate * (1 - rate) / n + Z * Z / (4 * n * n)).sqrt()
    return (middle - half).clip(0, 1), (middle + half).clip(0, 1)


def split_runs(points: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return the points that have `name`; after a point without it, a new run begins."""
    if not points[name].null_count():
        return points
    breaks = pl.col(name).is_null().cast(pl.Int64()).cum_sum()
    return points.with_columns(run=pl.struct("run", breaks.alias("at")).rank("dense")).filter(pl.col(name).is_not_null())


def studies_of(data: StudyData) -> list[tuple[str, str]]:
    """Return (id, label) of the studies with periods, ordered by their first one."""
    return data.once("studies with periods", _studies_with_periods)


def _studies_with_periods(data: StudyData) -> list[tuple[str, str]]:
    return data.sorted_checkpoints([]).select("study_id", "label").unique().sort("study_id").cast(pl.String()).rows()


def drawn_studies(
    studies: Sequence[tuple[str, str]], points: pl.DataFrame, missing: str = "values of this metric"
) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the studies to draw, and notes on those that are left out.

    Parameters
    ----------
    studies
        (id, label) of the studies of the data.
    points
        The rows that can be drawn. The latest `MOST_STUDIES` studies with rows are returned; without any rows, the latest of all studies.
    missing
        Name of the missing values, for the notes.
    """
    ids = set(points["study_id"].unique().cast(pl.String()))
    present = [study for study in studies if study[0] in ids]
    if not present:
        return list(studies)[-MOST_STUDIES:], []
    absent = [label for study_id, label in studies if study_id not in ids]
    notes = omission_notes(absent, missing)
    if len(present) > MOST_STUDIES:
        notes.insert(0, f"Showing the {MOST_STUDIES} most recently started of {len(present):,} studies.")
    return present[-MOST_STUDIES:], notes


def omission_notes(absent: Sequence[str], missing: str) -> list[str]:
    """Return the note on studies that are not shown because of missing values."""
    if not absent:
        return []
    named = f": {', '.join(absent)}" if len(absent) <= _MOST_NAMED else ""
    return [f"{plural(len(absent), 'study', 'studies')} without {missing} {'is' if len(absent) == 1 else 'are'} not shown{named}."]


def of_studies(rows: pl.DataFrame, studies: list[tuple[str, str]]) -> pl.DataFrame:
    """Return the rows of some studies."""
    if rows["study_id"].n_unique() <= len(studies):
        return rows
    return rows.filter(pl.col("study_id").cast(pl.String()).is_in([study_id for study_id, _ in studies]))
