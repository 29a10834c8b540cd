"""Where did it shift: the times at which the level of a metric changed, with a p-value and an interval for each time."""

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
    """A time at which the level changed.

    Attributes
    ----------
    at
        Where the first period after the change starts, UTC.
    low, high
        The 95 % interval of that time.
    before, after
        Means on both sides, as far as the neighbouring changes, in the unit of the metric.
    p
        Of no change between the neighbouring changes.
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
        How many have a value.
    values
        How many values the test uses: those of one time are averaged, and a very long series over stretches of time.
    start, end
        The time looked at, UTC; None without a value.
    p
        Of no shift at all, from permutations; None with fewer than 12 checkpoints, and where all values are the same.
    gradual
        Whether a straight line describes the series as well as one step does.
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
        """The shifts, in the order of time; none where the adjusted p-value is over 0.05."""
        return [*self._candidates] if is_significant(self.p_corrected) else []

    @property
    def verdict(self) -> Verdict:
        """Shifted, no significant shift, insufficient data."""
        if self.p is None and not self.constant:
            return Verdict.INSUFFICIENT_DATA
        return Verdict.SHIFTED if self.changes else Verdict.NO_SHIFT

    def change_marks(self) -> pl.DataFrame:
        """Return the shifts as text: at, low, high, text."""
        rows = [{"at": one.at, "low": one.low, "high": one.high, "text": _wording.change_mark(self.metric, one)} for one in self.changes]
        return table(rows, MARKS)

    def _rows(self) -> list[dict[str, Any]]:
        """Return a row for each shift, numbered from 1 in the order of time; a single one without any."""
        row = {
            "study_id": self.study_id, "study": self.study, "metric": self.metric.name, "verdict": self.verdict.value,
            "checkpoints": self.checkpoints, "p": self.p, "p_corrected": self.p_corrected, "changes": len(self.changes),
            "caveats": self.caveats,
        }  # fmt: skip
        names = ("at", "low", "high", "before", "after")
        shifts = [{"shift": n, "p_shift": one.p, **{name: getattr(one, name) for name in names}} for n, one in enumerate(self.changes, 1)]
        return [{**row, **shift} for shift in shifts or [{}]]

    def sentences(self) -> list[str]:
        """Return each shift with the interval of its time, the method with its count, and the caveats."""
        return _wording.changepoints(self)


def changepoints(data: DataLike, metric: str) -> PerStudy[ChangePoints]:
    """Find where the level of a metric shifted.

    Parameters
    ----------
    data
        A `StudyData`, a frame as ``kit.checkpoints()`` returns it, Polars or pandas, or a `Resampled`.
    metric
        A name of `evalkit.METRICS`.

    Returns
    -------
    PerStudy of ChangePoints
        A result for each study, ``insufficient data`` with fewer than 12 checkpoints with a value. The same data gives the same result.
        ``.frame`` has a row for each shift, `shift` from 1 with its own `p_shift`, what is said of the study being repeated; a study
        without a shift has one row, where they are null.

    Raises
    ------
    InvalidInputError
        When the data lacks a column, or there is no such metric.
    MissingExtraError
        Without scipy.

    Notes
    -----
    See `evalkit.analysis._stats.shift` for the test, docs/power.md for how often it is right.
    """
    return by_study(data, metric, changepoints_of, ChangePoints)


def changepoints_of(series: MetricSeries, data: StudyData | None = None) -> ChangePoints:
    """Find the shifts of one series, its p-value not adjusted."""
    enough = len(series.values) >= FEWEST
    p: float | None = None
    candidates: list[Change] = []
    caveats = list(series.caveats)
    if enough and not series.constant:
        p, candidates = _segments(series)
        wanders = fit(series.times, series.values, levels(len(series.values))).wanders
        caveats += [Caveat(CaveatKind.AUTOCORRELATED)] if wanders else []
    return ChangePoints(
        study_id=series.study_id, study=series.study, metric=series.metric, checkpoints=series.checkpoints, values=len(series.values),
        start=series.start, end=series.end, constant=series.constant and enough, p=p, p_corrected=p, _candidates=candidates,
        gradual=bool(candidates) and not is_step(series.days, series.values), _caveats=caveats, _data=data,
    )  # fmt: skip


def _segments(series: MetricSeries) -> tuple[float, list[Change]]:
    """Look for a shift in the whole, then in what lies on each side of it, and so on: the first p-value, and the shifts by time."""
    waiting = [(0, len(series.values))]
    cuts: list[int] = []
    first: float | None = None
    while waiting and len(cuts) < _MOST:
        low, high = waiting.pop(0)
        if high - low < FEWEST:
            continue
        shift = find_shift(series.times[low:high], series.values[low:high])
        first = shift.p if first is None else first
        if shift.p <= ALPHA:
            cuts.append(low + shift.at)
            waiting += [(low, low + shift.at), (low + shift.at, high)]
    edges = [0, *sorted(cuts), len(series.values)]
    return 1.0 if first is None else first, [_change(series, *edges[place - 1 : place + 2]) for place in range(1, len(edges) - 1)]


def _change(series: MetricSeries, low: int, cut: int, high: int) -> Change:
    """Return the change at `cut`, estimated between its neighbours, which do not blur it."""
    shift = find_shift(series.times[low:high], series.values[low:high], at=cut - low)
    before, after = series.values[low:cut], series.values[cut:high]
    return Change(
        at=series.at(series.starts[cut]), low=series.at(series.starts[low + shift.low]), high=series.at(series.starts[low + shift.high]),
        before=float(before.mean()), after=float(after.mean()), p=shift.p,
    )  # fmt: skip
