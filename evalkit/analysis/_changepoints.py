"""Change points: times at which the level of a metric shifted, with p-value and interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl

from evalkit.analysis import _wording
from evalkit.analysis._results import MARKS, PerStudy, StudyResult, by_study, table
from evalkit.analysis._series import Caveat, CaveatKind, MetricSeries
from evalkit.analysis._stats.ar1 import fit
from evalkit.analysis._stats.shift import FEWEST, find_shift, is_step, levels
from evalkit.domain.verdicts import ALPHA, Verdict, is_significant

if TYPE_CHECKING:
    from evalkit.frames.study_data import DataLike, StudyData

__all__ = ["Change", "ChangePoints", "changepoints", "changepoints_of"]

_MOST = 20
_COLUMNS = {
    "study_id": "text", "study": "text", "metric": "text", "verdict": "text", "checkpoints": "count", "p": "number",
    "p_corrected": "number", "changes": "count", "shift": "count", "at": "time", "low": "time", "high": "time", "before": "number",
    "after": "number", "p_shift": "number", "caveats": "texts",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Change:
    """A shift in the level of a metric.

    Attributes
    ----------
    at
        Start of the first period after the shift, UTC.
    low, high
        95% confidence interval of that time.
    before, after
        Means from the previous shift to this one, and from this one to the next, in the unit of the metric.
    p
        p-value of the null hypothesis of no shift between the previous and the next shift.

    Examples
    --------
    >>> import polars as pl
    >>> from evalkit import analysis, samples
    >>> old = samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 14, seed=1, level=-0.5)
    >>> new = samples.sample_checkpoints("daily", "2026-01-15T00:00:00Z", 14, seed=2, level=1.0)
    >>> shift = analysis.changepoints(pl.DataFrame(old + new), "session_success_rate").only().changes[0]
    >>> print(shift.at, f"{shift.before:.2f} to {shift.after:.2f}")
    2026-01-15 00:00:00+00:00 0.36 to 0.75
    """

    at: datetime
    low: datetime
    high: datetime
    before: float
    after: float
    p: float


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class ChangePoints(StudyResult):
    """The shifts of one metric in one study.

    Attributes
    ----------
    checkpoints
        The number of checkpoints with a value.
    values
        The number of values in the test. Values with equal timestamps are averaged; series of more than 1,000 values are averaged over
        equal stretches of time.
    start, end
        Start of the first and end of the last period, UTC; None without a value.
    p
        Permutation p-value of the null hypothesis of no shift; None with fewer than 12 values, and when all values are equal.
    gradual
        Whether a straight line fits the series as well as a step.

    Examples
    --------
    >>> import polars as pl
    >>> from evalkit import analysis, samples
    >>> nights = pl.DataFrame(samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 8, seed=1))
    >>> result = analysis.changepoints(nights, "session_success_rate").only()
    >>> result.verdict, result.changes
    (<Verdict.INSUFFICIENT_DATA: 'insufficient data'>, [])
    """

    checkpoints: int
    values: int
    start: datetime | None
    end: datetime | None
    p: float | None = None
    gradual: bool = False
    _candidates: Sequence[Change] = ()

    FEWEST: ClassVar[int] = FEWEST
    _COLUMNS: ClassVar[Mapping[str, str]] = _COLUMNS
    _DRAWN_AS: ClassVar[tuple[str, ...]] = ("changes",)

    @property
    def changes(self) -> list[Change]:
        """The shifts by time; empty when the adjusted p-value of any shift is above 0.05."""
        return [*self._candidates] if is_significant(self.p_corrected) else []

    @property
    def verdict(self) -> Verdict:
        """Shifted, no significant shift, or insufficient data."""
        if self.p is None and not self.constant:
            return Verdict.INSUFFICIENT_DATA
        return Verdict.SHIFTED if self.changes else Verdict.NO_SHIFT

    def change_marks(self) -> pl.DataFrame:
        """Return the shifts with labels for charts.

        Returns
        -------
        polars.DataFrame
            One row per shift: `at`, `low`, `high` (UTC) and `text`.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> nights = pl.DataFrame(samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 8, seed=1))
        >>> analysis.changepoints(nights, "session_success_rate").only().change_marks().height
        0
        """
        rows = [
            {"at": shift.at, "low": shift.low, "high": shift.high, "text": _wording.change_mark(self.metric, shift)}
            for shift in self.changes
        ]
        return table(rows, MARKS)

    def _rows(self) -> list[dict[str, Any]]:
        """Return a row for each shift, numbered from 1 by time; one row without shifts."""
        row = {
            "study_id": self.study_id, "study": self.study, "metric": self.metric.name, "verdict": self.verdict.value,
            "checkpoints": self.checkpoints, "p": self.p, "p_corrected": self.p_corrected, "changes": len(self.changes),
            "caveats": self.caveats,
        }  # fmt: skip
        names = ("at", "low", "high", "before", "after")
        shifts = [
            {"shift": number, "p_shift": shift.p, **{name: getattr(shift, name) for name in names}}
            for number, shift in enumerate(self.changes, 1)
        ]
        return [{**row, **shift} for shift in shifts or [{}]]

    def sentences(self) -> list[str]:
        """Return the result as text, one string per paragraph.

        The first paragraph is the result in one line. Each of several shifts, the method and the caveats follow.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> nights = pl.DataFrame(samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 8, seed=1))
        >>> print(analysis.changepoints(nights, "session_success_rate").only().sentences()[0])
        Session success rate: insufficient data (8 checkpoints; at least 12 are needed).
        """
        return _wording.changepoints(self)


def changepoints(data: DataLike, metric: str) -> PerStudy[ChangePoints]:
    """Find the times at which the level of a metric shifted.

    The largest step in the mean is tested by a permutation test with AR(1) residuals, and so are the largest steps on both sides of each
    shift (binary segmentation). With several studies, p-values are adjusted for multiple comparisons (Holm).

    Parameters
    ----------
    data
        A `StudyData`, a Polars or pandas frame like that of ``kit.checkpoints()``, or a `Resampled`.
    metric
        The name of a metric: one of the 16, or a custom one.

    Returns
    -------
    PerStudy of ChangePoints
        One result per study; ``insufficient data`` with fewer than 12 distinct timestamps. The same data always gives the same result.
        ``.frame`` has one row per shift, numbered from 1 in `shift` with its own `p_shift`; the columns of the study are repeated. A
        study without a shift has one row, in which the columns of the shift are null.

    Raises
    ------
    InvalidInputError
        When the data lacks a column or the metric is unknown.
    MissingExtraError
        When scipy is not installed.

    Notes
    -----
    `evalkit.analysis._stats.shift` describes the test, docs/statistics/power.md its coverage and power.

    Examples
    --------
    >>> import polars as pl
    >>> from evalkit import analysis, samples
    >>> old = samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 14, seed=1, level=-0.5)
    >>> new = samples.sample_checkpoints("daily", "2026-01-15T00:00:00Z", 14, seed=2, level=1.0)
    >>> nights = pl.DataFrame(old + new).with_columns(study=pl.lit("nightly"))
    >>> analysis.changepoints(nights, "session_success_rate")
    nightly, session success rate: 1 shift at 2026-01-15 (better, 35.7% to 74.9%, +39.2 pp; 95% CI for its time: 2026-01-15 to 2026-01-15
    UTC; p = 0.002; 28 checkpoints over 28 days).
    Method: permutation test for the largest step in the mean, with AR(1) residuals, repeated on both sides of each shift; data from
    2026-01-01 to 2026-01-29 UTC.
    Autocorrelation may exceed 0.7, in which case false positives are more frequent than the nominal 5%.
    """
    return by_study(data, metric, changepoints_of, ChangePoints)


def changepoints_of(series: MetricSeries, data: StudyData | None = None) -> ChangePoints:
    """Return the shifts of one series, with an unadjusted p-value."""
    enough = len(series.values) >= FEWEST
    p: float | None = None
    candidates: list[Change] = []
    caveats = list(series.caveats)
    if enough and not series.constant:
        p, candidates = _segments(series)
        strongly_autocorrelated = fit(series.times, series.values, levels(len(series.values))).strongly_autocorrelated
        caveats += [Caveat(CaveatKind.AUTOCORRELATED)] if strongly_autocorrelated else []
    return ChangePoints(
        study_id=series.study_id, study=series.study, metric=series.metric, checkpoints=series.checkpoints, values=len(series.values),
        start=series.start, end=series.end, constant=series.constant and enough, p=p, p_corrected=p, _candidates=candidates,
        gradual=bool(candidates) and not is_step(series.days, series.values), _caveats=caveats, _data=data,
    )  # fmt: skip


def _segments(series: MetricSeries) -> tuple[float, list[Change]]:
    """Return the p-value of the first shift, and the shifts by time (binary segmentation)."""
    segments = [(0, len(series.values))]
    cuts: list[int] = []
    first_p: float | None = None
    while segments and len(cuts) < _MOST:
        low, high = segments.pop(0)
        if high - low < FEWEST:
            continue
        shift = find_shift(series.times[low:high], series.values[low:high])
        first_p = shift.p if first_p is None else first_p
        if shift.p <= ALPHA:
            cuts.append(low + shift.at)
            segments += [(low, low + shift.at), (low + shift.at, high)]
    edges = [0, *sorted(cuts), len(series.values)]
    return 1.0 if first_p is None else first_p, [_change(series, *edges[index - 1 : index + 2]) for index in range(1, len(edges) - 1)]


def _change(series: MetricSeries, low: int, cut: int, high: int) -> Change:
    """Return the shift at `cut`, estimated between the previous and the next shift."""
    shift = find_shift(series.times[low:high], series.values[low:high], at=cut - low)
    before, after = series.values[low:cut], series.values[cut:high]
    return Change(
        at=series.at(series.starts[cut]), low=series.at(series.starts[low + shift.low]), high=series.at(series.starts[low + shift.high]),
        before=float(before.mean()), after=float(after.mean()), p=shift.p,
    )  # fmt: skip
