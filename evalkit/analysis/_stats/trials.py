"""The trials behind the values of a rate: sampling variance and independence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evalkit.analysis._stats.ar1 import Array
from evalkit.analysis._stats.scipy_functions import chdtr

__all__ = ["NO_TRIALS", "Trials", "sampling_variances", "trials_of"]

_WINDOW = 3
_LEAST_P = 0.001
_LEAST_COUNT_VARIANCE = 1.0


@dataclass(frozen=True)
class Trials:
    """The trials behind the values of a rate.

    Attributes
    ----------
    variance
        Sampling variance of a value with independent trials; 0 when the number of trials is not recorded.
    steady
        Whether the values vary significantly less than `variance`, which shows that the trials are not independent.
    """

    variance: float = 0.0
    steady: bool = False

    @property
    def floor(self) -> tuple[float, float]:
        """The least variance of a value, and its variance when all residuals are zero."""
        return 0.0 if self.steady else self.variance, self.variance


NO_TRIALS = Trials()
"""For metrics other than rates, and rates without a recorded number of trials."""


def sampling_variances(rate: Array, count: Array) -> tuple[Array, Array]:
    """Return the sampling variances of rates, and of their numbers of successes.

    These are q (1 - q) / n and n q (1 - q) for n independent trials, and NaN when n is not recorded. q is the pooled rate of a checkpoint
    and the two adjacent checkpoints, with half a success and half a failure added, so that neither a trend nor a step increases the
    variance, and a rate of 1 has a variance above 0.

    Parameters
    ----------
    rate, count
        Values of one study by time; NaN for missing.
    """
    if not len(rate):
        return rate, rate
    usable = (count > 0) & (rate >= 0) & (rate <= 1)
    trials, successes = np.where(usable, count, 0.0), np.where(usable, rate * count, 0.0)
    pooled_trials, pooled_successes = (np.convolve(sums, np.ones(_WINDOW))[1 : len(sums) + 1] for sums in (trials, successes))
    q = (pooled_successes + 0.5) / (pooled_trials + 1)
    bernoulli = np.clip(q * (1 - q), 0, None)
    recorded = np.where(usable, count, np.nan)
    return bernoulli / recorded, bernoulli * recorded


def trials_of(values: Array, variances: Array, count_variances: Array) -> Trials:
    """Return the trials behind values by time, from the result of `sampling_variances`.

    Values are steady when the mean square of successive differences is too small for a chi-square distribution with its effective degrees
    of freedom. With rare successes or failures, values are similar by chance, and nothing is concluded.

    Source: J. von Neumann et al., "The mean square successive difference", Annals of Mathematical Statistics 12 (1941), 153-162.
    """
    recorded = ~np.isnan(variances)
    if not recorded.any():
        return NO_TRIALS
    values, variances, count_variances = values[recorded], variances[recorded], count_variances[recorded]
    count, variance = len(values), float(variances.mean())
    if count < _WINDOW or count_variances.mean() < _LEAST_COUNT_VARIANCE:
        return Trials(variance)
    observed = float((np.diff(values) ** 2 / (variances[1:] + variances[:-1])).mean())
    freedom = 2 * (count - 1) ** 2 / (3 * count - 4)
    return Trials(variance, bool(chdtr(freedom, freedom * observed) < _LEAST_P))
