"""Comparison of a study with a baseline: the difference in each metric."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from evalkit.analysis import _wording
from evalkit.analysis._pairs import paired
from evalkit.analysis._results import MetricResult, Result, holm, table
from evalkit.analysis._series import Caveat, CaveatKind, MetricSeries, metric_series, rows_for
from evalkit.analysis._stats.ar1 import Estimate, Fit, fit
from evalkit.analysis._stats.scipy_functions import ndtri
from evalkit.domain.catalog import METRICS
from evalkit.domain.definitions import Metric
from evalkit.domain.refusals import invalid
from evalkit.domain.verdicts import ALPHA, Verdict, change_verdict, is_significant
from evalkit.frames.normalize import to_library_of
from evalkit.frames.study_data import StudyData, study_data

if TYPE_CHECKING:
    import altair as alt

    from evalkit.analysis._audit.audit import Audit
    from evalkit.domain.study import Study
    from evalkit.frames.normalize import FrameLike
    from evalkit.frames.study_data import DataLike

__all__ = ["FEWEST", "Comparison", "Difference", "compare", "compare_of", "named_metrics", "rows_of", "untested_metrics"]

FEWEST = 8
"""The number of pairs, or of distinct timestamps of each study, that a difference needs."""
_EQUAL_LENGTH = 1.2
"""The largest ratio of median period lengths at which totals are comparable; the lengths of months differ by less."""
_COLUMNS = {
    "metric": "text", "label": "text", "verdict": "text", "study_mean": "number", "baseline_mean": "number", "difference": "number",
    "low": "number", "high": "number", "p": "number", "p_corrected": "number", "pairs": "count", "study_checkpoints": "count",
    "baseline_checkpoints": "count", "spread": "number", "autocorrelation": "number", "caveats": "texts",
}  # fmt: skip


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class Difference(MetricResult):
    """The difference between a study and a baseline in one metric.

    Attributes
    ----------
    study, baseline
        Labels of the studies.
    study_checkpoints, baseline_checkpoints
        The number of checkpoints with a value.
    study_values, baseline_values
        The number of distinct timestamps; more than 1,000 are averaged over equal stretches of time.
    study_mean, baseline_mean
        Means of the checkpoints in the comparison, with equal weight, in the unit of the metric; with insufficient data, means of all
        checkpoints with a value. None without values, and when the studies are not comparable.
    difference
        Study − baseline, with its 95% confidence interval and p-value; None with insufficient data or when not comparable.
    constant
        Whether all values of both studies, or the values of each pair, are equal, in which case nothing is tested.
    comparable
        Whether the studies are comparable; totals of periods of different lengths are not.
    pairs
        The number of paired periods, in which both studies have a value; None in an unpaired comparison.
    spread
        Standard deviation of the difference in one period, in the unit of the metric.
    averaged_over
        The stretches of time over which values were averaged, such as ``day``; empty strings without averaging.
    autocorrelation
        Mean of the AR(1) coefficient, 0 to 0.99.
    tests
        The number of tests that the p-value is adjusted for.

    Examples
    --------
    >>> import polars as pl
    >>> from evalkit import analysis, samples
    >>> new = pl.DataFrame(samples.sample_checkpoints("weekly", "2026-01-05T00:00:00Z", 12, seed=1, level=1.0))
    >>> old = pl.DataFrame(samples.sample_checkpoints("weekly", "2026-01-05T00:00:00Z", 12, seed=2, level=0.0))
    >>> weeks = pl.concat([new.with_columns(study=pl.lit("new")), old.with_columns(study=pl.lit("old"))])
    >>> difference = analysis.compare(weeks, "new", baseline="old", metrics="session_success_rate")["session_success_rate"]
    >>> difference.verdict, difference.pairs
    (<Verdict.BETTER: 'better'>, 12)
    """

    study: str
    baseline: str
    study_checkpoints: int
    baseline_checkpoints: int
    study_values: int
    baseline_values: int
    study_mean: float | None = None
    baseline_mean: float | None = None
    difference: Estimate | None = None
    comparable: bool = True
    pairs: int | None = None
    spread: float | None = None
    averaged_over: tuple[str, ...] = ()
    autocorrelation: float | None = None
    tests: int = 1
    _study_ids: tuple[str, str] = ("", "")

    FEWEST: ClassVar[int] = FEWEST
    _COLUMNS: ClassVar[Mapping[str, str]] = _COLUMNS

    @property
    def findings(self) -> Audit | None:
        """Findings of the audit about this metric of the study; the audit runs on first access."""
        return self._findings(self._study_ids[0])

    @property
    def baseline_findings(self) -> Audit | None:
        """Findings of the audit about this metric of the baseline."""
        return self._findings(self._study_ids[1])

    @property
    def p(self) -> float | None:
        """Two-sided p-value of the null hypothesis of no difference.

        None without an estimate, and when all values are equal.
        """
        return None if self.difference is None or self.constant else self.difference.p

    @property
    def verdict(self) -> Verdict:
        """Better, worse, no significant difference, or insufficient data.

        Higher or lower for a metric without a better direction.
        """
        if self.difference is None:
            return Verdict.INSUFFICIENT_DATA
        return change_verdict(self.metric, self.difference.value) if is_significant(self.p_corrected) else Verdict.NO_DIFFERENCE

    def more_needed(self, difference: float) -> int | None:
        """Return the number of further checkpoints needed to detect a difference.

        It is the approximate number for each study at a power of 80%. Detected means statistically significant after adjustment for
        multiple comparisons.

        Parameters
        ----------
        difference
            The difference to detect, in the unit of the metric, not 0.

        Returns
        -------
        int or None
            0 when there are enough checkpoints; None without an estimate.

        Raises
        ------
        InvalidInputError
            When `difference` is not a finite number other than 0, or above 1 for a rate.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> new = pl.DataFrame(samples.sample_checkpoints("weekly", "2026-01-05T00:00:00Z", 12, seed=1))
        >>> old = pl.DataFrame(samples.sample_checkpoints("weekly", "2026-01-05T00:00:00Z", 12, seed=2))
        >>> weeks = pl.concat([new.with_columns(study=pl.lit("new")), old.with_columns(study=pl.lit("old"))])
        >>> analysis.compare(weeks, "new", baseline="old", metrics="session_success_rate")["session_success_rate"].more_needed(0.2)
        0
        """
        if self.difference is None:
            return None
        if isinstance(difference, bool) or not isinstance(difference, int | float) or not math.isfinite(difference) or difference == 0:
            raise invalid("difference", difference, "expected a finite number in the unit of the metric, not 0")
        if self.metric.kind == "rate" and abs(difference) > 1:
            raise invalid("difference", difference, "a difference of rates is at most 1", "expected e.g. 0.05 for 5 percentage points")
        return self._needed_for(difference)

    def _needed_for(self, difference: float) -> int | None:
        if self.difference is None:
            return None
        count = self.pairs or min(self.study_checkpoints, self.baseline_checkpoints)
        needed = min(1e15, count * (self.difference.half_width * self._detectable_half_widths() / abs(difference)) ** 2)
        return max(0, math.ceil(needed) - count)

    @property
    def minimum_detectable(self) -> float | None:
        """The smallest difference that is detected with a power of 80%.

        In the unit of the metric; None with insufficient data. Detected means statistically significant after adjustment for multiple
        comparisons.
        """
        return None if self.difference is None else self.difference.half_width * self._detectable_half_widths()

    def _detectable_half_widths(self) -> float:
        """Return the difference at a power of 80%, in half-widths of its confidence interval."""
        return float((ndtri(1 - ALPHA / 2 / max(1, self.tests)) + ndtri(0.8)) / ndtri(1 - ALPHA / 2))

    def _adjusted(self, p_corrected: float | None, tests: int) -> Difference:
        return replace(self, p_corrected=p_corrected, tests=tests)

    def _rows(self) -> list[dict[str, Any]]:
        estimate = self.difference
        return [{
            "metric": self.metric.name, "label": self.metric.label, "verdict": self.verdict.value, "study_mean": self.study_mean,
            "baseline_mean": self.baseline_mean, "p": self.p, "p_corrected": self.p_corrected, "pairs": self.pairs,
            "study_checkpoints": self.study_checkpoints, "baseline_checkpoints": self.baseline_checkpoints, "spread": self.spread,
            "autocorrelation": self.autocorrelation, "caveats": self.caveats,
            **({} if estimate is None else {"difference": estimate.value, "low": estimate.low, "high": estimate.high}),
        }]  # fmt: skip

    def sentences(self) -> list[str]:
        """Return the result as text, one string per paragraph.

        The first paragraph is the result in one line. The minimum detectable difference, the method and the caveats follow.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> new = pl.DataFrame(samples.sample_checkpoints("weekly", "2026-01-05T00:00:00Z", 12, seed=1, level=1.0))
        >>> old = pl.DataFrame(samples.sample_checkpoints("weekly", "2026-01-05T00:00:00Z", 12, seed=2, level=0.0))
        >>> weeks = pl.concat([new.with_columns(study=pl.lit("new")), old.with_columns(study=pl.lit("old"))])
        >>> print(analysis.compare(weeks, "new", baseline="old", metrics="session_success_rate")["session_success_rate"].sentences()[0])
        new vs. old, session success rate: better (+21.3 pp, 95% CI +15.7 to +27.0; p < 0.001; 12 paired periods).
        """
        return _wording.difference(self)

    def plot(self) -> alt.LayerChart:
        """Draw the metric of both studies over time.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> new = pl.DataFrame(samples.sample_checkpoints("weekly", "2026-01-05T00:00:00Z", 8, seed=1))
        >>> old = pl.DataFrame(samples.sample_checkpoints("weekly", "2026-01-05T00:00:00Z", 8, seed=2))
        >>> weeks = pl.concat([new.with_columns(study=pl.lit("new")), old.with_columns(study=pl.lit("old"))])
        >>> chart = analysis.compare(weeks, "new", baseline="old", metrics="total_cost")["total_cost"].plot()
        """
        return self._drawn(*self._study_ids)


@dataclass(frozen=True, repr=False, eq=False)
class Comparison(Result, Mapping[str, Difference]):
    """A comparison of a study with a baseline: a mapping from metric names to `Difference`.

    Attributes
    ----------
    study, baseline
        Labels of the studies.
    differences
        A `Difference` for each metric.
    left_out
        The custom metrics that were not compared, with the reason: they are not primary and were not requested, or the studies define
        them differently.

    Examples
    --------
    >>> import polars as pl
    >>> from evalkit import analysis, samples
    >>> new = pl.DataFrame(samples.sample_checkpoints("weekly", "2026-01-05T00:00:00Z", 12, seed=1, level=1.0))
    >>> old = pl.DataFrame(samples.sample_checkpoints("weekly", "2026-01-05T00:00:00Z", 12, seed=2, level=0.0))
    >>> weeks = pl.concat([new.with_columns(study=pl.lit("new")), old.with_columns(study=pl.lit("old"))])
    >>> comparison = analysis.compare(weeks, "new", baseline="old", metrics=["session_success_rate", "total_cost"])
    >>> {metric: str(difference.verdict) for metric, difference in comparison.items()}
    {'session_success_rate': 'better', 'total_cost': 'higher'}
    """

    study: str
    baseline: str
    differences: list[Difference]
    _data: StudyData
    _requested: bool = False
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def family(self) -> list[str]:
        """The metrics whose p-values are adjusted together for multiple comparisons."""
        return [difference.metric.name for difference in self.differences if difference.p is not None]

    @cached_property
    def frame(self) -> FrameLike:
        """One row per metric, in the library (Polars or pandas) of the data."""
        return to_library_of(
            self._data.checkpoints, table([row for difference in self.differences for row in difference._rows()], _COLUMNS), _COLUMNS
        )

    def __getitem__(self, metric: str) -> Difference:
        for difference in self.differences:
            if difference.metric.name == metric:
                return difference
        raise invalid("metric", metric, "not in this comparison", hint=f"Compared metrics: {', '.join(self) or 'none'}.")

    def __contains__(self, metric: object) -> bool:
        return any(difference.metric.name == metric for difference in self.differences)

    def __iter__(self) -> Iterator[str]:
        return (difference.metric.name for difference in self.differences)

    def __len__(self) -> int:
        return len(self.differences)

    def sentences(self) -> list[str]:
        """Return the result as text, one string per paragraph.

        The first paragraph is the result in one line. Each significant difference, the method and the caveats follow.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> new = pl.DataFrame(samples.sample_checkpoints("weekly", "2026-01-05T00:00:00Z", 5, seed=1))
        >>> old = pl.DataFrame(samples.sample_checkpoints("weekly", "2026-01-05T00:00:00Z", 3, seed=2))
        >>> weeks = pl.concat([new.with_columns(study=pl.lit("new")), old.with_columns(study=pl.lit("old"))])
        >>> print(analysis.compare(weeks, "new", baseline="old").sentences()[0])
        new vs. old: insufficient data for all 16 metrics (5 and 3 checkpoints; at least 8 each are needed).
        """
        return _wording.comparison(self)

    def plot(self) -> alt.LayerChart:
        """Draw each difference in standard deviations, with its 95% confidence interval.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> new = pl.DataFrame(samples.sample_checkpoints("weekly", "2026-01-05T00:00:00Z", 8, seed=1))
        >>> old = pl.DataFrame(samples.sample_checkpoints("weekly", "2026-01-05T00:00:00Z", 8, seed=2))
        >>> weeks = pl.concat([new.with_columns(study=pl.lit("new")), old.with_columns(study=pl.lit("old"))])
        >>> chart = analysis.compare(weeks, "new", baseline="old", metrics=["total_cost"]).plot()
        """
        from evalkit.plots._result_layers import differences

        drawn = [difference for difference in self.differences if difference.difference and difference.spread]
        shown = [(difference, _wording.difference_line(difference)) for difference in drawn]
        return differences(self.study, self.baseline, shown, self._data.scope.sentences())


def compare(data: DataLike, study: Study | str, *, baseline: Study | str, metrics: Sequence[str] | str | None = None) -> Comparison:
    """Compare a study with a baseline.

    The comparison is paired when both studies have a value in at least 8 matching periods and in at least half of the periods of the
    shorter study; effects that both studies share in a period then cancel out. Otherwise means are compared. Two periods match when they
    overlap by more than half of the longer period; the nearest are paired first. Means and intervals are estimated by generalized least
    squares with AR(1) errors; p-values are adjusted for multiple comparisons (Holm).

    Parameters
    ----------
    data
        A `StudyData`, a Polars or pandas frame like that of ``kit.checkpoints()``, or a `Resampled`, with both studies.
    study, baseline
        A `Study`, an id, a name, or the last 4 or more characters of an id.
    metrics
        Names of metrics. None: the 16 and the primary custom metrics that have a value in both studies.

    Returns
    -------
    Comparison
        ``comparison["session_success_rate"]`` is the `Difference` in one metric, ``.frame`` the table of all metrics.

    Raises
    ------
    InvalidInputError
        When the data lacks a column, a metric is unknown, `metrics` is empty, or study and baseline are the same or None.
    StudyNotFoundError, AmbiguousStudyError
        When no study, or more than one, matches.
    MissingExtraError
        When scipy is not installed.

    Examples
    --------
    >>> import polars as pl
    >>> from evalkit import analysis, samples
    >>> new = pl.DataFrame(samples.sample_checkpoints("weekly", "2026-01-05T00:00:00Z", 12, seed=1, level=1.0))
    >>> old = pl.DataFrame(samples.sample_checkpoints("weekly", "2026-01-05T00:00:00Z", 12, seed=2, level=0.0))
    >>> weeks = pl.concat([new.with_columns(study=pl.lit("new")), old.with_columns(study=pl.lit("old"))])
    >>> analysis.compare(weeks, "new", baseline="old", metrics="session_success_rate")
    new vs. old, session success rate: better (+21.3 pp, 95% CI +15.7 to +27.0; p < 0.001; 12 paired periods).
    Method: difference of means (equal weight per checkpoint) by generalized least squares with AR(1) errors, model-averaged over the
    AR(1) coefficient (mean 0.05).
    """
    prepared = study_data(data)
    studies = prepared.find(study), prepared.find(baseline, "baseline")
    if studies[0] == studies[1]:
        raise invalid("baseline", baseline, "it is the study itself", hint="Choose another study.")
    prepared = prepared.of(studies[0].id, studies[1].id)
    chosen = named_metrics(prepared, metrics)
    left_out = {} if metrics is not None else untested_metrics(prepared, chosen)
    rows = rows_for(prepared, chosen)
    parts = [rows_of(rows, name.id) for name in studies]
    if metrics is None:
        chosen = [metric for metric in chosen if all(part[metric.name].count() for part in parts)]
    differences = [compare_of(parts[0], parts[1], metric, prepared) for metric in chosen]
    adjusted = holm([difference.p for difference in differences])
    tests = sum(difference.p is not None for difference in differences)
    differences = [difference._adjusted(p, tests) for difference, p in zip(differences, adjusted, strict=True)]
    ids = studies[0].id, studies[1].id
    differences = [  # a study without checkpoints has no rows with its name
        replace(difference, study=studies[0].label, baseline=studies[1].label, _study_ids=ids) for difference in differences
    ]
    return Comparison(studies[0].label, studies[1].label, differences, prepared, metrics is not None, left_out)


def rows_of(rows: pl.DataFrame, study_id: str) -> pl.DataFrame:
    """Return the rows of one study."""
    return rows.filter(pl.col("study_id").cast(pl.String()) == study_id)


def named_metrics(data: StudyData, metrics: Sequence[str] | str | None) -> list[Metric]:
    """Return the metrics to analyze; for None, the 16 and the primary custom ones.

    Those that studies define differently are left out, see `untested_metrics`.

    Raises
    ------
    InvalidInputError
        When a metric is unknown, or `metrics` is empty.
    """
    if metrics is None:
        return [metric for name, metric in data.catalog.items() if name in METRICS or metric.primary]
    if not isinstance(metrics, Iterable):
        raise invalid("metrics", metrics, "expected names of metrics, or None for all metrics")
    chosen = [data.metric(name, "metrics") for name in ([metrics] if isinstance(metrics, str) else metrics)]
    if not chosen:
        raise invalid("metrics", metrics, "expected at least one name of a metric, or None for all metrics")
    return list({metric.name: metric for metric in chosen}.values())


def untested_metrics(data: StudyData, chosen: Sequence[Metric]) -> dict[str, str]:
    """Return the custom metrics that are not among the chosen ones, with the reasons."""
    names = {metric.name for metric in chosen}
    others = {name: "not primary" for name in data.catalog if name not in METRICS and name not in names}
    return others | {name: problem for name, problem in data.contradictions.items() if name not in names}


def compare_of(study: pl.DataFrame, baseline: pl.DataFrame, metric: Metric, data: StudyData | None = None) -> Difference:
    """Compare two studies in one metric, with an unadjusted p-value.

    Both are rows of `StudyData.sorted_checkpoints`.
    """
    defined = data is None or metric.name not in data.undefined
    first, second = (metric_series(rows, metric, defined=defined) for rows in (study, baseline))
    caveats = list(dict.fromkeys([*first.caveats, *second.caveats]))
    difference = partial(
        Difference, study=first.study, baseline=second.study, metric=metric, study_checkpoints=first.checkpoints,
        baseline_checkpoints=second.checkpoints, study_values=len(first.values), baseline_values=len(second.values), _data=data,
        _study_ids=(first.study_id, second.study_id),
    )  # fmt: skip
    pairs, means = paired(study, baseline, metric)
    half = min(first.distinct, second.distinct) / 2
    if len(pairs.values) >= FEWEST and pairs.distinct >= half:
        level = _level(pairs)
        estimate = level.estimate([1])
        others = [caveat for caveat in caveats if caveat.kind not in (CaveatKind.AVERAGED, CaveatKind.SAME_TASKS)]
        used = _unused(pairs.checkpoints, first.distinct, second.distinct)
        return difference(
            _caveats=[*others, *used, *pairs.caveats, *_limits(estimate, level)], constant=pairs.constant and estimate.value == 0,
            study_mean=means[0], baseline_mean=means[1], difference=estimate, pairs=pairs.checkpoints, spread=level.spread,
            averaged_over=(pairs.stretch,), autocorrelation=level.correlation,
        )  # fmt: skip
    if metric.rollup == "sum" and not _equally_long(study, baseline):
        return difference(_caveats=caveats, comparable=False)
    if min(len(first.values), len(second.values)) < FEWEST:
        return difference(_caveats=caveats, study_mean=first.mean, baseline_mean=second.mean)
    if pairs.checkpoints:
        caveats.append(Caveat(CaveatKind.UNPAIRED, (pairs.checkpoints, 0 if pairs.distinct < half else FEWEST)))
    levels = _level(first), _level(second)
    estimate = levels[0].mixture([1]).minus(levels[1].mixture([1])).estimate()
    return difference(
        _caveats=[*caveats, *_limits(estimate, *levels)], constant=first.constant and second.constant and estimate.value == 0,
        study_mean=first.mean, baseline_mean=second.mean, difference=estimate, spread=math.hypot(*(each.spread for each in levels)),
        averaged_over=tuple(dict.fromkeys((first.stretch, second.stretch))),
        autocorrelation=sum(each.correlation for each in levels) / 2,
    )  # fmt: skip


def _unused(pairs: int, study: int, baseline: int) -> list[Caveat]:
    """Return a caveat when some checkpoints of a study are not paired."""
    return [Caveat(CaveatKind.UNUSED, (pairs, study, baseline))] if pairs < max(study, baseline) else []


def _equally_long(study: pl.DataFrame, baseline: pl.DataFrame) -> bool:
    lengths = [rows.select((pl.col("end") - pl.col("start")).dt.total_microseconds().median()).item() for rows in (study, baseline)]
    return None in lengths or bool(min(lengths) * _EQUAL_LENGTH >= max(lengths))  # None without checkpoints


def _limits(estimate: Estimate, *fits: Fit) -> list[Caveat]:
    autocorrelated = [Caveat(CaveatKind.AUTOCORRELATED)] if any(each.strongly_autocorrelated for each in fits) else []
    return [*autocorrelated, *([] if estimate.half_width else [Caveat(CaveatKind.NO_WIDTH)])]


def _level(series: MetricSeries) -> Fit:
    return fit(series.times, series.values, np.ones((len(series.values), 1)), *series.trials.floor)
