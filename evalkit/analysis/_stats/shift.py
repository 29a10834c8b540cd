"""Permutation test for one shift in the level of an autocorrelated series.

The statistic is the largest share of the variance that one step explains, over all positions with at least 4 values on each side. Values
of a series are not exchangeable, so its null distribution comes from simulated series: an AR(1) coefficient is drawn by its weight, the
residuals about the best step are whitened, permuted, and correlated again. The weights are those of a fit with a separate level for about
every ten values; otherwise a shift would increase the estimated autocorrelation, and two shifts would mask each other. As a consequence,
the test has too many false positives when the autocorrelation is above about 0.7.

Sources: the largest cumulative sum: E. S. Page, "A test for a change in a parameter occurring at an unknown point", Biometrika 42 (1955),
523-527; permuting whitened residuals: J.-P. Kreiss, J. Franke, "Bootstrapping stationary autoregressive moving-average models", Journal of
Time Series Analysis 13 (1992), 297-317. The confidence interval of the position is the set of positions with the largest marginal
likelihoods that sum to 95%, see A. F. M. Smith, "A Bayesian approach to inference about a change-point in a sequence of random variables",
Biometrika 62 (1975), 407-416.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evalkit.analysis._stats.ar1 import CONFIDENCE, CORRELATIONS, PRIOR, Array, Fit, constant, fit, steps

__all__ = ["FEWEST", "Shift", "find_shift", "is_step", "largest", "levels"]

FEWEST = 12
"""The number of values that the test needs."""
_SIDE = 4
_ROUNDS = (100, 400, 1499)
_STRETCH = 10
_CLEARLY_NOT = 0.2
_COARSE = slice(None, None, 5)


@dataclass(frozen=True)
class Shift:
    """The largest shift of a series.

    Attributes
    ----------
    at
        Index of the first value after the shift.
    low, high
        95% confidence interval of the index.
    p
        p-value of the null hypothesis of no shift, at least 0.0005.
    """

    at: int
    low: int
    high: int
    p: float


def find_shift(times: Array, values: Array, at: int | None = None) -> Shift:
    """Find the largest shift.

    Parameters
    ----------
    times, values
        By time, 8 or more.
    at
        The index of the shift. None: the index whose step explains most of the variance.
    """
    count = len(values)
    if constant(values):
        return Shift(count // 2, 0, count - 1, 1.0)
    y = (values - values.mean()) / float(np.abs(values - values.mean()).max())
    explained, best = _largest(y[:, None])
    low, high = _interval(_places(times, y))
    cut = int(best[0]) if at is None else at
    residuals = y - np.where(np.arange(count) < cut, y[:cut].mean(), y[cut:].mean())
    if not residuals.any():
        residuals = y
    return Shift(cut, min(low, cut), max(high, cut), _p(times, y, residuals, float(explained[0])))


def _largest(series: Array) -> tuple[Array, npt.NDArray[np.intp]]:
    """Return, per column, the largest share of variance that a step explains, and its index."""
    count = len(series)
    centered = series - series.mean(axis=0)
    sums = np.cumsum(centered, axis=0)[_SIDE - 1 : count - _SIDE]
    places = np.arange(_SIDE, count - _SIDE + 1)[:, None]
    explained = sums**2 * (count / (places * (count - places)))
    total = (centered**2).sum(axis=0)
    shares = explained.max(axis=0) / np.where(total > 0, total, 1)
    return shares, explained.argmax(axis=0) + _SIDE


def largest(values: Array) -> int:
    """Return the index of the first value after the step that explains most of the variance."""
    return int(_largest(values[:, None])[1][0])


def is_step(days: Array, values: Array, line: Fit | None = None) -> bool:
    """Return whether a step fits a series better than a straight line.

    The criterion is the Bayesian information criterion (BIC); the time of the step is an additional parameter.

    Parameters
    ----------
    days, values
        By time, 8 or more.
    line
        The fit of the straight line; None to compute it.
    """
    count = len(values)
    ones, cut = np.ones(count), largest(values)
    line = line or fit(days, values, np.column_stack([ones, days / np.ptp(days) - 0.5]))
    step = fit(days, values, np.column_stack([ones, np.arange(count) >= cut]))
    return bool(line.likelihood + np.log(count) / 2 < step.likelihood)


def _p(times: Array, y: Array, residuals: Array, explained: float) -> float:
    """Return the p-value of the largest step, from simulated series without a shift.

    Fewer series are simulated when the p-value is clearly large.
    """
    random = np.random.default_rng(0)  # reproducible: the same series gives the same p-value
    weights = fit(times, y, levels(len(y))).weights
    gaps = steps(times)
    as_large, total = 0, 0
    for count in _ROUNDS:
        coefficients = random.choice(CORRELATIONS, size=count, p=weights)
        as_large += int((_largest(_permuted(residuals, gaps, coefficients, random))[0] >= explained * (1 - 1e-12)).sum())
        total += count
        if as_large > _CLEARLY_NOT * total:
            break
    return (1 + as_large) / (1 + total)


def levels(count: int) -> Array:
    """Return a design with a level for each stretch of about ten values."""
    stretches = max(1, round(count / _STRETCH))
    return np.eye(stretches)[np.arange(count) * stretches // count]


def _permuted(residuals: Array, gaps: Array, coefficients: Array, random: np.random.Generator) -> Array:
    """Return a simulated series for each AR(1) coefficient, as columns.

    The whitened residuals are permuted and correlated again.
    """
    successive = coefficients[None, :] ** gaps[:, None]
    scale = np.sqrt(1 - successive**2)
    series = np.empty((len(residuals), len(coefficients)))
    series[0] = residuals[0]
    series[1:] = (residuals[1:, None] - successive * residuals[:-1, None]) / scale
    series = random.permuted(series - series.mean(axis=0), axis=0)
    for row in range(1, len(series)):
        series[row] = successive[row - 1] * series[row - 1] + scale[row - 1] * series[row]
    return series


def _places(times: Array, y: Array) -> Array:
    """Return the marginal likelihood of each index of the shift, scaled to a sum of 1.

    It is 0 with too few values on a side. Level, step, variance and AR(1) coefficient are integrated out, with a uniform prior of the
    index.
    """
    count = len(y)
    r = CORRELATIONS[_COARSE, None] ** steps(times)[None, :]
    scale = np.sqrt(1 - r * r)
    ones = np.concatenate([np.ones((len(r), 1)), (1 - r) / scale], axis=1)
    values = np.concatenate([np.full((len(r), 1), y[0]), (y[1:] - r * y[:-1]) / scale], axis=1)
    first = np.concatenate([np.ones((len(r), 1)), 1 / scale], axis=1)  # the first value of a step follows a 0

    def after(product: Array) -> Array:
        """Return the sums over all values after each index."""
        sums: Array = product.sum(axis=1, keepdims=True) - np.cumsum(product, axis=1)
        return sums

    ss, s1, sy = after(ones * ones) + first**2, after(ones * ones) + ones * first, after(ones * values) + values * first
    oo, oy, yy = ((a * b).sum(axis=1, keepdims=True) for a, b in ((ones, ones), (ones, values), (values, values)))
    determinant = np.maximum(oo * ss - s1 * s1, 1e-300)
    left = yy - (ss * oy * oy - 2 * s1 * oy * sy + oo * sy * sy) / determinant
    left = np.maximum(left, 1e-18 * yy)
    likelihood = -np.log(scale).sum(axis=1, keepdims=True) - 0.5 * np.log(determinant) - (count - 2) / 2 * np.log(left)
    likelihood += np.log(PRIOR[_COARSE, None])
    likelihood[:, :_SIDE] = likelihood[:, count - _SIDE + 1 :] = -np.inf
    marginal = np.exp(likelihood - likelihood.max()).sum(axis=0)
    shares: Array = marginal / marginal.sum()
    return shares


def _interval(likelihoods: Array) -> tuple[int, int]:
    """Return the first and last index of the set of the most likely indices with a sum of 95%."""
    order = np.argsort(-likelihoods, kind="stable")
    region = order[: int(np.searchsorted(np.cumsum(likelihoods[order]), CONFIDENCE)) + 1]
    return int(region.min()), int(region.max())
