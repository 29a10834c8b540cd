"""The chance in the trials that a rate rests on: how far it would move values although nothing changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from evalkit.analysis.ar1 import Array
from evalkit.analysis.extra import needed
from evalkit.metrics import Metric

__all__ = ["NO_TRIALS", "SAME_TASKS", "Trials", "trials_of"]

SAME_TASKS = (
    "The rate varies less from one checkpoint to the next than independent trials would, as where the same tasks are tried each time: "
    "intervals hold for these tasks, and may be too narrow for others."
)
_HARDLY = 0.001
_ENOUGH = 1.0


@dataclass(frozen=True)
class Trials:
    """What is known of the trials behind the values of a series.

    Attributes
    ----------
    variance
        Of a value, were its trials independent: p (1 - p) / n. 0 where their number is not recorded.
    rare
        Whether there are so few successes or failures that values may well be alike by chance.
    """

    variance: float = 0.0
    rare: bool = True

    def less(self, other: Trials) -> Trials:
        """Give what is known of the difference of two values, each from trials of its own."""
        return Trials(self.variance + other.variance, self.rare or other.rare)

    def least(self, values: Array) -> float:
        """Give the variance that a value has at least; 0 where the values are so alike that their trials cannot be independent.

        The variance is judged from differences of neighbours, which neither a trend nor a step enlarges much.

        Source: J. von Neumann et al., "The mean square successive difference", Annals of Mathematical Statistics 12 (1941), 153-162.
        """
        count = len(values)
        if self.rare or self.variance == 0 or count < 3:
            return self.variance
        freedom = 2 * (count - 1) ** 2 / (3 * count - 4)
        seen = float((np.diff(values) ** 2).mean()) / 2 / self.variance
        return 0.0 if needed("scipy.special").chdtr(freedom, freedom * seen) < _HARDLY else self.variance


NO_TRIALS = Trials()
"""Of what is no rate, or rests on no recorded number of trials."""


def trials_of(measured: pl.DataFrame, metric: Metric) -> Trials:
    """Read the trials of a rate, with the p of all of them, one success and one failure more.

    Parameters
    ----------
    measured
        The rows of one study that have a value, with the metric's denominator where it has one.
    metric
        Of the catalogue.
    """
    if metric.kind != "rate" or metric.denominator is None:
        return NO_TRIALS
    trials = pl.col(metric.denominator).cast(pl.Float64())
    counted = measured.filter((trials > 0) & pl.col(metric.name).is_between(0, 1))
    if counted.is_empty():
        return NO_TRIALS
    hits, tried, each, most = counted.select(
        hits=(pl.col(metric.name) * trials).sum(), tried=trials.sum(), each=(1 / trials).mean(), most=trials.mean()
    ).row(0)
    rate = (hits + 1) / (tried + 2)
    return Trials(float(rate * (1 - rate) * each), bool(rate * (1 - rate) * most < _ENOUGH))
