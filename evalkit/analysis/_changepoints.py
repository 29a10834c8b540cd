"""Where did it shift: the times at which the level of a metric changed, with a p-value and an interval for each time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from evalkit.analysis._audit.audit import Findings
from evalkit.analysis._by_study import by_study
from evalkit.analysis._carried import warned
from evalkit.analysis._observed import Observed
from evalkit.analysis._per_study import ALPHA, MARKS, OneStudy, PerStudy, table
from evalkit.analysis._phrases import WANDERS, change, direction, how_likely
from evalkit.analysis._stats.ar1 import fit
from evalkit.analysis._stats.shift import FEWEST, find_shift, is_step, levels
from evalkit.plots._words import moment, number, plural, span

__all__ = ["Change", "ChangePoints", "changepoints", "changepoints_of"]

_WORDS = ("better", "worse", "higher", "lower")
_MOST = 20
_GRADUAL = "A straight line describes the series as well: this may be a gradual change."
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
class ChangePoints(OneStudy):
    """The shifts of one metric in one study.

    Attributes
    ----------
    checkpoints
        How many have a value.
    used
        On how many values the test rests: those of one time are averaged, and a very long series over stretches of time.
    p
        Of no shift at all, from permutations; None with fewer than 12 checkpoints, and where all values are the same.
    found
        The shifts that were found, in the order of time, should `p` hold.
    gradual
        Whether a straight line describes the series as well as one step does.
    span
        The time looked at, in words.
    """

    checkpoints: int
    used: int
    span: str
    p: float | None = None
    found: list[Change] = field(default_factory=list)
    gradual: bool = False

    @property
    def changes(self) -> list[Change]:
        """The shifts, in the order of time; none where the p-value is over 0.05."""
        return self.found if self.p_corrected is not None and self.p_corrected <= ALPHA else []

    @property
    def verdict(self) -> str:
        """``shifted``, ``no shift told``, ``too few points``."""
        if self.p is None and not self.constant:
            return "too few points"
        return "shifted" if self.changes else "no shift told"

    def marks(self) -> pl.DataFrame:
        """Give the shifts in words: at, low, high, text."""
        rows = [
            {
                "at": one.at,
                "low": one.low,
                "high": one.high,
                "text": f"{change(self.metric, one.after - one.before)} at {moment(one.at)} UTC",
            }
            for one in self.changes
        ]
        return table(rows, MARKS)

    def row(self) -> dict[str, Any]:
        """Give what the table says of the study, whatever its shifts."""
        return {
            "study_id": self.study_id, "study": self.study, "metric": self.metric.name, "verdict": self.verdict,
            "checkpoints": self.checkpoints, "p": self.p, "p_corrected": self.p_corrected, "changes": len(self.changes),
            "caveats": self.caveats,
        }  # fmt: skip

    def rows(self) -> list[dict[str, Any]]:
        """Give the rows of the table: one for each shift, numbered from 1 in the order of time; a single one without any."""
        names = ("at", "low", "high", "before", "after")
        facts = [
            {"shift": place, "p_shift": one.p, **{name: getattr(one, name) for name in names}} for place, one in enumerate(self.changes, 1)
        ]
        return [{**self.row(), **each} for each in facts or [{}]]

    def sentences(self) -> list[str]:
        """Say each shift with the interval of its time, the method with its count, and the caveats."""
        name = f"{self.about}: {self.verdict}"
        counts = f"{plural(self.checkpoints, 'checkpoint')}, {self.span}"
        if self.p is None and not self.constant:
            return [f"{name}: {plural(self.used, 'value', 'values of different times')}; {FEWEST} are needed.", *self.caveats]
        told = [f"{name}; {how_likely(self.p, self.p_corrected)}."] if not self.changes else []
        for one in self.changes:
            word = direction(self.metric, one.after - one.before, _WORDS)
            levels = f"from {number(self.metric, one.before)} to {number(self.metric, one.after)}"
            when = f"at {moment(one.at)} UTC (95 % interval {moment(one.low)} to {moment(one.high)})"
            shift = change(self.metric, one.after - one.before)
            told.append(f"{self.about}: {word} {when}, {levels} ({shift}); {self._how_likely(one)}.")
        method = (
            "Method: the largest step in the mean against those of permuted residuals with the same autocorrelation, then each side again; "
            f"{counts}."
        )
        caveats = [*self.caveats, *([_GRADUAL] if self.gradual and self.changes else [])]
        return [*told, " ".join([method, *caveats, *warned(self.findings)])]

    def _how_likely(self, one: Change) -> str:
        """Give the p-value of a shift, and that of any, by which the verdict goes, where it says something else."""
        assert self.p is not None
        alone, overall = how_likely(one.p, None), how_likely(self.p, self.p_corrected)
        return alone if alone == overall else f"{alone} (of any shift, {overall})"


def changepoints(frame: Any, metric: str) -> PerStudy[ChangePoints]:
    """Find where the level of a metric shifted.

    Parameters
    ----------
    frame
        As ``kit.checkpoints()`` gives it, Polars or Pandas; or ``(kit.checkpoints(), kit.lifecycle())``, so that a pause is not taken
        for missing checkpoints; or a result that has such a frame.
    metric
        A name of `evalkit.METRICS`.

    Returns
    -------
    PerStudy of ChangePoints
        A result for each study, ``too few points`` with fewer than 12 checkpoints with a value. The same frame gives the same result.
        ``.frame`` has a row for each shift, `shift` from 1 with its own `p_shift`, what is said of the study being repeated; a study
        without a shift has one row, where they are null.

    Raises
    ------
    InvalidInputError
        When the frame is none or lacks a column, or there is no such metric.
    MissingExtraError
        Without scipy.

    Notes
    -----
    See `evalkit.analysis._stats.shift` for the test, docs/power.md for how often it is right.
    """
    return by_study(frame, metric, changepoints_of, _COLUMNS, ("changes",))


def changepoints_of(series: Observed, audited: Findings | None = None) -> ChangePoints:
    """Find the shifts of one series, its p-value not corrected."""
    when = span(series.start, series.end) if series.start else "no time"
    facts: dict[str, Any] = {
        "study_id": series.study_id, "study": series.study, "metric": series.metric, "checkpoints": series.checkpoints,
        "used": len(series.values), "span": when, "audited": audited, "constant": series.constant and len(series.values) >= FEWEST,
    }  # fmt: skip
    if len(series.values) < FEWEST or series.constant:
        return ChangePoints(**facts, caveats=series.caveats)
    first, found = _segments(series)
    wandering = [WANDERS] if fit(series.times, series.values, levels(len(series.values))).wanders else []
    return ChangePoints(
        **facts,
        p=first,
        p_corrected=first,
        found=found,
        gradual=bool(found) and not is_step(series.days, series.values),
        caveats=[*series.caveats, *wandering],
    )


def _segments(series: Observed) -> tuple[float, list[Change]]:
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


def _change(series: Observed, low: int, cut: int, high: int) -> Change:
    """Give the change at `cut` as what lies between its neighbours tells it, which the neighbours do not blur."""
    shift = find_shift(series.times[low:high], series.values[low:high], at=cut - low)
    before, after = series.values[low:cut], series.values[cut:high]
    return Change(
        at=series.at(series.starts[cut]), low=series.at(series.starts[low + shift.low]), high=series.at(series.starts[low + shift.high]),
        before=float(before.mean()), after=float(after.mean()), p=shift.p,
    )  # fmt: skip
