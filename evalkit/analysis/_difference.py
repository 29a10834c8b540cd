"""The difference of two studies in one metric, in words and numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from evalkit.analysis._audit.audit import Audit, Findings
from evalkit.analysis._carried import warned
from evalkit.analysis._extra import needed
from evalkit.analysis._per_study import ALPHA
from evalkit.analysis._phrases import change, direction, how_likely, interval
from evalkit.analysis._result import Told
from evalkit.analysis._stats.ar1 import Estimate
from evalkit.domain.metrics import Metric
from evalkit.domain.validation import invalid
from evalkit.plots._words import plural

__all__ = ["WORDS", "Difference"]

WORDS = ("better", "worse", "higher", "lower")
"""The verdicts that claim a difference."""


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class Difference(Told):
    """The difference of two studies in one metric.

    Attributes
    ----------
    study_mean, baseline_mean
        Over the checkpoints that the difference rests on, each counting the same, in the unit of the metric; with too few for a difference
        over those that have a value. None where none has, or the two cannot be compared.
    difference
        The study less the baseline, with its 95 % interval and p-value; None with too few checkpoints, or where the two cannot be
        compared.
    constant
        Whether all values of both are the same, or those of each pair, so that nothing can be tested.
    pairs
        In how many periods both have a value, when the difference is that of these pairs; None when they are not paired.
    study_checkpoints, baseline_checkpoints
        How many have a value.
    used
        How many values of different times each of the two has; very long series are averaged over stretches of time.
    p_corrected
        The p-value corrected for the metrics looked at with it; `verdict` goes by it.
    spread
        Standard deviation of one difference in a period, in the unit of the metric; of very long series that of means over stretches of
        time, as `spread_of` says.
    spread_of
        What that is the standard deviation of, in words: ``a period``, ``a day's mean``, or where the two differ both of these.
    autocorrelation
        Of neighbours, 0 to 0.99, averaged over what the data allow.
    reason
        Why there is no difference, where there is none.
    tests
        With how many p-values its own was corrected.
    caveats
        What to be careful about, in sentences.
    audited
        What computes `findings` and `baseline_findings`.
    """

    study: str
    baseline: str
    metric: Metric
    study_checkpoints: int
    baseline_checkpoints: int
    used: tuple[int, int]
    study_mean: float | None = None
    baseline_mean: float | None = None
    difference: Estimate | None = None
    p_corrected: float | None = None
    constant: bool = False
    pairs: int | None = None
    spread: float | None = None
    spread_of: str = "a period"
    autocorrelation: float | None = None
    reason: str = ""
    tests: int = 1
    caveats: list[str] = field(default_factory=list)
    audited: tuple[Findings, Findings] | None = None

    @property
    def findings(self) -> Audit | None:
        """What the audit found that touches this metric of the study; computed when it is first read."""
        return None if self.audited is None else self.audited[0]()

    @property
    def baseline_findings(self) -> Audit | None:
        """The same of the baseline."""
        return None if self.audited is None else self.audited[1]()

    @property
    def p(self) -> float | None:
        """The two-sided p-value of no difference; None where all values are the same."""
        return None if self.difference is None or self.constant else self.difference.p

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` (``higher``, ``lower`` without a better direction), ``not distinguishable``, ``insufficient``."""
        if self.difference is None:
            return "insufficient"
        if self.p_corrected is not None and self.p_corrected <= ALPHA:
            return direction(self.metric, self.difference.value, WORDS)
        return "not distinguishable"

    def judged(self, p: float | None, tests: int = 1) -> Difference:
        """Give the difference with its p-value corrected for what else was looked at, `tests` p-values in all."""
        return replace(self, p_corrected=p, tests=tests)

    def more_needed(self, difference: float) -> int | None:
        """Give roughly how many more periods of the same kind would tell this difference in four of five studies; 0 when these would.

        Told is what stays after the correction for all that was looked at.

        Parameters
        ----------
        difference
            In the unit of the metric, not 0.
        """
        if self.difference is None:
            return None
        if isinstance(difference, bool) or not isinstance(difference, int | float) or not math.isfinite(difference) or difference == 0:
            raise invalid("difference", difference, "is no difference; give a number in the unit of the metric, not 0.")
        count = self.pairs or min(self.study_checkpoints, self.baseline_checkpoints)
        wanted = min(1e15, count * (self.difference.half * self._power() / abs(difference)) ** 2)
        return max(0, math.ceil(wanted) - count)

    def _power(self) -> float:
        """How much larger than half its interval a difference must be to be told in four of five studies."""
        quantile = needed("scipy.special").ndtri
        return float((quantile(1 - ALPHA / 2 / max(1, self.tests)) + quantile(0.8)) / quantile(1 - ALPHA / 2))

    def row(self) -> dict[str, Any]:
        """Give the row of the table."""
        found = self.difference
        return {
            "metric": self.metric.name, "label": self.metric.label, "verdict": self.verdict, "study_mean": self.study_mean,
            "baseline_mean": self.baseline_mean, "p": self.p, "p_corrected": self.p_corrected, "pairs": self.pairs,
            "study_checkpoints": self.study_checkpoints, "baseline_checkpoints": self.baseline_checkpoints, "spread": self.spread,
            "autocorrelation": self.autocorrelation, "caveats": self.caveats,
            **({} if found is None else {"difference": found.value, "low": found.low, "high": found.high}),
        }  # fmt: skip

    def sentences(self) -> list[str]:
        """Say the difference with its interval, how it was computed, and the caveats."""
        name = f"{self.metric.label}: {self.study} {self.verdict} against {self.baseline}"
        counts = f"{plural(self.study_checkpoints, 'checkpoint')} against {self.baseline_checkpoints:,}"
        if self.difference is None:
            return [" ".join([f"{name}: {self.reason}", *self.caveats, *self.warnings()])]
        rests = f"{self.pairs:,} pairs of the same period" if self.pairs else f"{counts}, not paired"
        told = f"{change(self.metric, self.difference.value)} ({interval(self.metric, self.difference)})"
        likely = "no pair differs, so nothing was tested" if self.constant and self.pairs else how_likely(self.p, self.p_corrected)
        return [
            " ".join(
                [
                    f"{name}, {told}; {likely}; {rests}.",
                    *self._more(),
                    *self.caveats,
                    *self.warnings(),
                ]
            )
        ]

    def warnings(self) -> list[str]:
        """Say that the audit found something on either study, where it did."""
        return warned(self.findings, self.baseline_findings)

    def _more(self) -> list[str]:
        if self.verdict != "not distinguishable" or not self.spread or self.difference is None:
            return []
        more = self.more_needed(self.spread)
        size = f"A difference of {change(self.metric, self.spread, sign=False)} (one standard deviation of {self.spread_of})"
        if more:
            return [f"{size} would need about {plural(more, 'more period')} to be told in four of five studies."]
        return [f"{size} would be told in four of five studies."]
