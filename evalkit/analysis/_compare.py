"""Is A better than B: the difference of two studies, metric by metric, against a baseline that is always named."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from evalkit.analysis import _wording
from evalkit.analysis._pairs import paired
from evalkit.analysis._results import MetricResult, Result, holm, table
from evalkit.analysis._series import Caveat, CaveatKind, MetricSeries, one_series, rows_for
from evalkit.analysis._stats.ar1 import Estimate, Fit, fit
from evalkit.analysis._stats.scipy_functions import ndtri
from evalkit.domain.metrics import METRICS
from evalkit.domain.validation import invalid
from evalkit.domain.verdicts import ALPHA, Verdict, change_verdict, is_significant
from evalkit.frames.normalize import like, metric_named
from evalkit.frames.study_data import StudyData, study_data

if TYPE_CHECKING:
    import altair as alt

    from evalkit.analysis._audit.audit import Audit
    from evalkit.domain.study import Study
    from evalkit.frames.normalize import FrameLike
    from evalkit.frames.study_data import DataLike

__all__ = ["FEWEST", "Comparison", "Difference", "compare", "compare_of", "named_metrics", "rows_of"]

FEWEST = 8
"""Pairs, or checkpoints of each study, below which nothing is claimed."""
_ALIKE = 1.2
"""Periods whose usual lengths differ by less count as equally long: months do."""
_COLUMNS = {
    "metric": "text", "label": "text", "verdict": "text", "study_mean": "number", "baseline_mean": "number", "difference": "number",
    "low": "number", "high": "number", "p": "number", "p_corrected": "number", "pairs": "count", "study_checkpoints": "count",
    "baseline_checkpoints": "count", "spread": "number", "autocorrelation": "number", "caveats": "texts",
}  # fmt: skip


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class Difference(MetricResult):
    """The difference of two studies in one metric.

    Attributes
    ----------
    study, baseline
        Their labels.
    study_checkpoints, baseline_checkpoints
        How many have a value.
    study_values, baseline_values
        How many values of different times each has; very long series are averaged over stretches of time.
    study_mean, baseline_mean
        Over the checkpoints that the difference is computed from, each counting the same, in the unit of the metric; with insufficient data
        over those that have a value. None where none has, or the two cannot be compared.
    difference
        Study minus baseline, with its 95 % interval and p-value; None with insufficient data, or where the two cannot be compared.
    constant
        Whether all values of both are the same, or those of each pair, so that nothing can be tested.
    comparable
        Whether the two can be compared: totals of periods of different lengths cannot.
    pairs
        In how many periods both have a value, when the difference is that of these pairs; None when they are not paired.
    spread
        Standard deviation of one difference in a period, in the unit of the metric.
    averaged_over
        The stretch of time, as ``day``, that a value is the mean over in a very long series, else empty; two where the studies differ.
    autocorrelation
        Of neighbours, 0 to 0.99, averaged over what the data allow.
    tests
        For how many p-values its own was adjusted.
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
        """What the audit found that touches this metric of the study; the audit runs when this is first read."""
        return self._findings(self._study_ids[0])

    @property
    def baseline_findings(self) -> Audit | None:
        """The same of the baseline."""
        return self._findings(self._study_ids[1])

    @property
    def p(self) -> float | None:
        """The two-sided p-value of no difference; None where all values are the same."""
        return None if self.difference is None or self.constant else self.difference.p

    @property
    def verdict(self) -> Verdict:
        """Better, worse (higher, lower for a metric without a better direction), no significant difference, insufficient data."""
        if self.difference is None:
            return Verdict.INSUFFICIENT_DATA
        return change_verdict(self.metric, self.difference.value) if is_significant(self.p_corrected) else Verdict.NO_DIFFERENCE

    def more_needed(self, difference: float) -> int | None:
        """Return about how many more periods of the same kind are needed to detect a difference in four of five studies; 0 for none.

        Detected is what is significant after the adjustment for all that was looked at.

        Parameters
        ----------
        difference
            In the unit of the metric, not 0.
        """
        if self.difference is None:
            return None
        if isinstance(difference, bool) or not isinstance(difference, int | float) or not math.isfinite(difference) or difference == 0:
            raise invalid("difference", difference, "is no difference", "give a number in the unit of the metric, not 0")
        count = self.pairs or min(self.study_checkpoints, self.baseline_checkpoints)
        wanted = min(1e15, count * (self.difference.half_width * self._power() / abs(difference)) ** 2)
        return max(0, math.ceil(wanted) - count)

    @property
    def minimum_detectable(self) -> float | None:
        """The smallest difference that is detected with a power of 80%, in the unit of the metric; None with insufficient data.

        Detected means statistically significant after adjustment for multiple comparisons.
        """
        return None if self.difference is None else self.difference.half_width * self._power()

    def _power(self) -> float:
        """Return how much larger than half its interval a difference must be to be detected in four of five studies."""
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
        """Return the difference with its interval, how it was computed, and the caveats."""
        return _wording.difference(self)

    def plot(self) -> alt.LayerChart:
        """Draw the metric of both studies over time."""
        return self._drawn(*self._study_ids)


@dataclass(frozen=True, repr=False, eq=False)
class Comparison(Result, Mapping[str, Difference]):
    """A study against a baseline: a mapping from a metric's name to the difference in it.

    Attributes
    ----------
    study, baseline
        Their labels.
    differences
        A `Difference` for each metric looked at.
    """

    study: str
    baseline: str
    differences: list[Difference]
    _data: StudyData

    @cached_property
    def frame(self) -> FrameLike:
        """A row for each metric, in the library (Polars or pandas) of the data."""
        return like(self._data.checkpoints, table([row for one in self.differences for row in one._rows()], _COLUMNS), _COLUMNS)

    def __getitem__(self, metric: str) -> Difference:
        for one in self.differences:
            if one.metric.name == metric:
                return one
        raise invalid("metric", metric, f"was not compared; {', '.join(one.metric.name for one in self.differences)} were.")

    def __contains__(self, metric: object) -> bool:
        return any(one.metric.name == metric for one in self.differences)

    def __iter__(self) -> Iterator[str]:
        return (one.metric.name for one in self.differences)

    def __len__(self) -> int:
        return len(self.differences)

    def sentences(self) -> list[str]:
        """Return in which metrics the study differs, the method, and each significant difference."""
        return _wording.comparison(self)

    def plot(self) -> alt.LayerChart:
        """Draw each difference in standard deviations, with its interval."""
        from evalkit.plots._result_layers import differences

        return differences(
            self.study, self.baseline, [(one, _wording.difference_line(one)) for one in self.differences if one.difference and one.spread]
        )  # fmt: skip


def compare(data: DataLike, study: Study | str, *, baseline: Study | str, metrics: Sequence[str] | str | None = None) -> Comparison:
    """Compare a study with a baseline.

    Where both studies have a value in the same period, in 8 periods or more and at least half of those of the shorter one, the difference
    is that of these pairs, so that what moved both at a time does not count; else it is that of their means. Periods that overlap by more
    than half of the longer one count as the same, the nearest first, each once. Checkpoints that are neighbours may correlate, and the
    intervals allow for it. The p-values are adjusted for the number of metrics looked at (Holm).

    Parameters
    ----------
    data
        A `StudyData`, a frame as ``kit.checkpoints()`` returns it, Polars or pandas, or a `Resampled`, with both studies.
    study, baseline
        Which: a `Study`, an id, a name, or the last 4 or more characters of an id.
    metrics
        Names of `evalkit.METRICS`. None: all that have a value in both.

    Returns
    -------
    Comparison
        ``comparison["session_success_rate"]`` is the `Difference` in one metric, ``.frame`` the table of all.

    Raises
    ------
    InvalidInputError
        When the data lacks a column, there is no such metric or none at all, or study and baseline are the same or None.
    StudyNotFoundError, AmbiguousStudyError
        When no study of the data, or more than one, matches.
    MissingExtraError
        Without scipy.
    """
    known = study_data(data)
    names = named_metrics(known, metrics)
    rows = rows_for(known, names)
    one, other = known.find(study), known.find(baseline, "baseline")
    if one == other:
        raise invalid("baseline", baseline, "is the study itself", "name another one")
    parts = [rows_of(rows, name.id) for name in (one, other)]
    if metrics is None:
        names = [name for name in names if all(part[name].count() for part in parts)]
    differences = [compare_of(parts[0], parts[1], name, known) for name in names]
    adjusted = holm([each.p for each in differences])
    tests = sum(each.p is not None for each in differences)
    return Comparison(one.label, other.label, [each._adjusted(p, tests) for each, p in zip(differences, adjusted, strict=True)], known)


def rows_of(rows: pl.DataFrame, study_id: str) -> pl.DataFrame:
    """Return the rows of one study."""
    return rows.filter(pl.col("study_id").cast(pl.String()) == study_id)


def named_metrics(data: StudyData, metrics: Sequence[str] | str | None) -> list[str]:
    """Return the metrics that are asked for; None stands for all that the data has.

    Raises
    ------
    InvalidInputError
        When there is no such metric, or none is named.
    """
    if metrics is None:
        return [name for name in METRICS if name in data]
    if not isinstance(metrics, Iterable):
        raise invalid("metrics", metrics, "is no list of names", "give names of evalkit.METRICS, or None for all")
    asked = [metric_named(name, "metrics").name for name in ([metrics] if isinstance(metrics, str) else metrics)]
    if not asked:
        raise invalid("metrics", metrics, "names no metric", "give names of evalkit.METRICS, or None for all")
    return list(dict.fromkeys(asked))


def compare_of(study: pl.DataFrame, baseline: pl.DataFrame, name: str, data: StudyData | None = None) -> Difference:
    """Compare rows of `StudyData.sorted_checkpoints` of two studies in one metric; the p-value is not adjusted."""
    one, other = one_series(study, name), one_series(baseline, name)
    metric = METRICS[name]
    caveats = list(dict.fromkeys([*one.caveats, *other.caveats]))
    made = partial(
        Difference, study=one.study, baseline=other.study, metric=metric, study_checkpoints=one.checkpoints,
        baseline_checkpoints=other.checkpoints, study_values=len(one.values), baseline_values=len(other.values), _data=data,
        _study_ids=(one.study_id, other.study_id),
    )  # fmt: skip
    pairs, means = paired(study, baseline, name)
    half = min(one.distinct, other.distinct) / 2
    if len(pairs.values) >= FEWEST and pairs.distinct >= half:
        level = _level(pairs)
        estimate = level.estimate([1])
        kept = [caveat for caveat in caveats if caveat.kind not in (CaveatKind.AVERAGED, CaveatKind.SAME_TASKS)]
        used = _unused(pairs.checkpoints, one.distinct, other.distinct)
        return made(
            _caveats=[*kept, *used, *pairs.caveats, *_limits(estimate, level)], constant=pairs.constant and estimate.value == 0,
            study_mean=means[0], baseline_mean=means[1], difference=estimate, pairs=pairs.checkpoints, spread=level.spread,
            averaged_over=(pairs.stretch,), autocorrelation=level.correlation,
        )  # fmt: skip
    if metric.rollup == "sum" and not _as_long(study, baseline):
        return made(_caveats=caveats, comparable=False)
    if min(len(one.values), len(other.values)) < FEWEST:
        return made(_caveats=caveats, study_mean=one.mean, baseline_mean=other.mean)
    if pairs.checkpoints:
        caveats.append(Caveat(CaveatKind.UNPAIRED, (pairs.checkpoints, 0 if pairs.distinct < half else FEWEST)))
    levels = _level(one), _level(other)
    estimate = levels[0].mixture([1]).less(levels[1].mixture([1])).estimate()
    return made(
        _caveats=[*caveats, *_limits(estimate, *levels)], constant=one.constant and other.constant and estimate.value == 0,
        study_mean=one.mean, baseline_mean=other.mean, difference=estimate, spread=math.hypot(*(each.spread for each in levels)),
        averaged_over=tuple(dict.fromkeys((one.stretch, other.stretch))), autocorrelation=sum(each.correlation for each in levels) / 2,
    )  # fmt: skip


def _unused(pairs: int, one: int, other: int) -> list[Caveat]:
    """Say that checkpoints of which the other study has no partner do not count."""
    return [Caveat(CaveatKind.UNUSED, (pairs, one, other))] if pairs < max(one, other) else []


def _as_long(study: pl.DataFrame, baseline: pl.DataFrame) -> bool:
    lengths = [rows.select((pl.col("end") - pl.col("start")).dt.total_microseconds().median()).item() for rows in (study, baseline)]
    return bool(min(lengths) * _ALIKE >= max(lengths))


def _limits(estimate: Estimate, *fits: Fit) -> list[Caveat]:
    autocorrelated = [Caveat(CaveatKind.AUTOCORRELATED)] if any(each.wanders for each in fits) else []
    return [*autocorrelated, *([] if estimate.half_width else [Caveat(CaveatKind.NO_WIDTH)])]


def _level(series: MetricSeries) -> Fit:
    return fit(series.times, series.values, np.ones((len(series.values), 1)), *series.trials.floor)
