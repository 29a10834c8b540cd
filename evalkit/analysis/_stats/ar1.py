"""Linear regression with AR(1) errors, model-averaged over the AR(1) coefficient.

The errors are a stationary AR(1) process in time: the correlation of two values at distance d is r to the power of d / (median distance),
where r is the AR(1) coefficient. With 12 values, r cannot be estimated well: 0 and 0.6 may both be plausible. Therefore, a generalized
least squares fit is computed for each r from 0 to 0.99, and weighted by its restricted likelihood times a prior. An estimate is a mixture
of Student's t distributions, one for each r; its 95% confidence interval is from the 2.5% to the 97.5% quantile of the mixture.

Sources: restricted likelihood: D. A. Harville, "Bayesian inference for variance components using only error contrasts", Biometrika 61
(1974), 383-385; averaging over r: A. Zellner and G. C. Tiao, "Bayesian analysis of the regression model with autocorrelated errors",
Journal of the American Statistical Association 59 (1964), 763-778. Prior and degrees of freedom were chosen by simulation for coverage;
see docs/statistics/power.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evalkit.analysis._stats.scipy_functions import brentq, stdtr, stdtrit

__all__ = [
    "CONFIDENCE",
    "CORRELATIONS",
    "PRIOR",
    "SAME",
    "Array",
    "Estimate",
    "Fit",
    "Mixture",
    "constant",
    "correlations",
    "fit",
    "steps",
    "whitened",
]

Array = npt.NDArray[np.float64]

CONFIDENCE = 0.95
CORRELATIONS: Array = np.arange(100) / 100
"""The AR(1) coefficients of the average. Negative coefficients are omitted, which makes intervals wider, never narrower."""
_INDEPENDENT = 0.5
_BETA = (4.0, 3.0)
_EXACT = 1e-20
_NOISE = 1e-9
"""Relative size below which an estimate is a rounding error and set to 0; without other variance, it would be significant."""
SAME = 1e-12
"""Relative difference up to which values are equal except for rounding errors."""
_TOO_SMALL = 1e-100
_STRONG, _LIKELY = 0.7, 0.25
_LEAST_WEIGHT = 1e-3
_MOST_PARTS = 30


def _prior() -> Array:
    """Return the prior of the AR(1) coefficient.

    Half of the weight is on 0, the other half is distributed as Beta(4, 3), whose mean is 0.57.
    """
    slab = CORRELATIONS ** (_BETA[0] - 1) * (1 - CORRELATIONS) ** (_BETA[1] - 1)
    prior: Array = (1 - _INDEPENDENT) * slab / slab.sum()
    prior[0] = _INDEPENDENT
    return prior


PRIOR = _prior()
"""Prior weights of `CORRELATIONS`."""


@dataclass(frozen=True)
class Estimate:
    """A point estimate with its confidence interval.

    Attributes
    ----------
    value
        The point estimate.
    low, high
        Limits of the 95% confidence interval.
    p
        Two-sided p-value of the null hypothesis that the true value is 0.

    Examples
    --------
    >>> estimate = Estimate(value=0.02, low=-0.01, high=0.05, p=0.13)
    >>> round(estimate.half_width, 3), estimate.times(7).value
    (0.03, 0.14)
    """

    value: float
    low: float
    high: float
    p: float

    @property
    def half_width(self) -> float:
        """Half the width of the confidence interval."""
        return (self.high - self.low) / 2

    def times(self, factor: float) -> Estimate:
        """Return the estimate in another unit.

        Parameters
        ----------
        factor
            The factor between the units, above 0.

        Examples
        --------
        >>> Estimate(value=2.0, low=1.0, high=3.0, p=0.01).times(7)
        Estimate(value=14.0, low=7.0, high=21.0, p=0.01)
        """
        return Estimate(self.value * factor, self.low * factor, self.high * factor, self.p)


@dataclass(frozen=True)
class Mixture:
    """A mixture of Student's t distributions.

    Attributes
    ----------
    weights, centers, scales, freedom
        Weight, center, scale and degrees of freedom of each component; the weights sum to 1.
    """

    weights: Array
    centers: Array
    scales: Array
    freedom: Array

    def below(self, at: float) -> float:
        """Return the cumulative distribution function at `at`."""
        return float(stdtr(self.freedom, (at - self.centers) / self.scales) @ self.weights)

    def quantile(self, level: float) -> float:
        """Return the quantile of a probability from 0 to 1."""
        ends = self.centers + stdtrit(self.freedom, level) * self.scales
        low, high = float(ends.min()), float(ends.max())
        if low == high:
            return low
        low, high = low - 1e-6 * (high - low), high + 1e-6 * (high - low)  # if one component has all the weight, the root is an end
        return float(brentq(lambda at: self.below(at) - level, low, high, xtol=1e-12 * (high - low), rtol=1e-14))

    def minus(self, other: Mixture) -> Mixture:
        """Return the distribution of the difference from an independent variable.

        Each pair of components becomes a component with the degrees of freedom of Welch's test.

        Source: B. L. Welch, "The generalization of Student's problem when several different population variances are involved",
        Biometrika 34 (1947), 28-35.
        """
        a, b = self._reduced(), other._reduced()
        squares = a.scales[:, None] ** 2, b.scales[None, :] ** 2
        both = squares[0] + squares[1]
        parts = squares[0] ** 2 / a.freedom[:, None] + squares[1] ** 2 / b.freedom[None, :]
        freedom = np.divide(both**2, parts, out=np.full_like(both, np.inf), where=parts > 0)
        centers = a.centers[:, None] - b.centers[None, :]
        size = np.maximum(np.abs(a.centers[:, None]), np.abs(b.centers[None, :]))
        centers = np.where(np.abs(centers) <= _NOISE * size, 0.0, centers)
        weights = a.weights[:, None] * b.weights[None, :]
        return Mixture(weights.ravel(), centers.ravel(), np.sqrt(both).ravel(), freedom.ravel())

    def _reduced(self) -> Mixture:
        """Return the mixture with fewer components.

        Components of little weight are dropped. If there are many, every third is kept, as adjacent components are similar.
        """
        places = np.flatnonzero(self.weights > _LEAST_WEIGHT)
        if len(places) > _MOST_PARTS:
            places = np.concatenate([places[:1], places[2::3]])
        weights = self.weights[places].copy()
        weights[1:] *= (1 - weights[0]) / max(weights[1:].sum(), 1e-300)
        return Mixture(weights / weights.sum(), self.centers[places], self.scales[places], self.freedom[places])

    @property
    def mean(self) -> float:
        """Mean of the centers."""
        mean = float(self.weights @ self.centers)
        return mean if abs(mean) > _NOISE * float(np.abs(self.centers).max()) else 0.0

    def estimate(self) -> Estimate:
        """Return the mean with its 95% confidence interval and its p-value."""
        if not self.scales.any():
            return _exact(self.mean)
        tail = (1 - CONFIDENCE) / 2
        below = self.below(0.0)
        return Estimate(self.mean, self.quantile(tail), self.quantile(1 - tail), min(1.0, 2 * min(below, 1 - below)))


def _exact(value: float) -> Estimate:
    return Estimate(value, value, value, float(value == 0))


@dataclass(frozen=True)
class Fit:
    """A regression for each AR(1) coefficient in `CORRELATIONS`.

    Attributes
    ----------
    weights
        Posterior weights, shape (100,).
    coefficients, covariances
        Generalized least squares, shapes (100, p) and (100, p, p); covariances for errors of variance 1.
    variances
        Error variances, shape (100,).
    freedom
        Number of values - number of coefficients - 1, as the AR(1) coefficient is estimated too.
    likelihood
        The largest log likelihood, up to a constant that is the same for all regressions of the same values.
    """

    weights: Array
    coefficients: Array
    covariances: Array
    variances: Array
    freedom: int
    likelihood: float

    def mixture(self, contrast: Any) -> Mixture:
        """Return the distribution of a linear combination of the coefficients."""
        c = np.asarray(contrast, dtype=float)
        scales = np.sqrt(np.clip(np.einsum("i,gij,j->g", c, self.covariances, c), 0, None) * self.variances)
        return Mixture(self.weights, self.coefficients @ c, scales, np.full(len(scales), float(self.freedom)))

    def estimate(self, contrast: Any) -> Estimate:
        """Estimate a linear combination of the coefficients."""
        return self.mixture(contrast).estimate()

    @property
    def spread(self) -> float:
        """Standard deviation of a single value about the fitted line."""
        return float(np.sqrt(self.weights @ self.variances))

    @property
    def correlation(self) -> float:
        """Mean of the AR(1) coefficient, 0 to 0.99."""
        return float(self.weights @ CORRELATIONS)

    @property
    def strongly_autocorrelated(self) -> bool:
        """Whether the weight of coefficients above 0.7 is more than 25%.

        The rate of false positives is 5% up to about 0.6, and higher for larger coefficients.
        """
        return bool(self.weights[CORRELATIONS > _STRONG].sum() > _LIKELY)


def constant(values: Array) -> bool:
    """Return whether all values are equal, except for rounding errors.

    Differences whose squares are 0 are treated as rounding errors. False without values.
    """
    return bool(len(values)) and bool(np.ptp(values) <= max(SAME * float(np.abs(values).max()), _TOO_SMALL))


def steps(times: Array) -> Array:
    """Return the distances of consecutive values in units of the median, at least 1.

    Values that are closer than usual are not assumed to be more correlated: two runs within a minute would otherwise count as one.
    """
    gaps = np.diff(times)
    median = float(np.median(gaps)) if len(gaps) else 1.0
    return np.maximum(gaps / median, 1.0) if median > 0 else np.ones_like(gaps)


def correlations(gaps: Array) -> Array:
    """Return the correlations of consecutive values for each AR(1) coefficient.

    The shape is (100, n - 1), or (100, 1) if all distances are 1.
    """
    powers: Array = CORRELATIONS[:, None] if (gaps == 1).all() else CORRELATIONS[:, None] ** gaps[None, :]
    return powers


def whitened(columns: Array, successive: Array) -> Array:
    """Return columns without the correlation of consecutive rows.

    Parameters
    ----------
    columns
        Shape (n, k).
    successive
        Correlations of consecutive rows, shape (g, n - 1) or (g, 1).

    Returns
    -------
    Array
        Shape (g, n, k).
    """
    out: Array = np.repeat(columns[None], len(successive), axis=0)
    r, later = successive[:, :, None], out[:, 1:]
    later -= r * columns[None, :-1]
    later /= np.sqrt(1 - r * r)
    return out


def fit(times: Array, values: Array, design: Array, least_variance: float = 0.0, exact_variance: float = 0.0) -> Fit:
    """Regress values on the columns of a design.

    Parameters
    ----------
    times
        Times in any unit, ascending, shape (n,).
    values
        Shape (n,).
    design
        Shape (n, p), of full rank, with n >= p + 2.
    least_variance
        The least variance of a value: the sampling variance of a rate. Otherwise, the interval would have no width when values are equal by
        chance.
    exact_variance
        The variance of a value when all residuals are zero.
    """
    count, terms = design.shape
    equal = constant(values)
    center = float(values[0]) if equal else float(values.mean())
    deviations = np.zeros(count) if equal else values - center  # so that rounding errors are not significant
    size = float(np.abs(deviations).max()) or 1.0
    successive = correlations(steps(times))
    z = whitened(np.column_stack([design, deviations / size]), successive)
    gram: Array = z.transpose(0, 2, 1) @ z
    inside, towards, total = gram[:, :terms, :terms], gram[:, :terms, terms], gram[:, terms, terms]
    covariances: Any = np.linalg.inv(inside)
    scaled = np.einsum("gij,gj->gi", covariances, towards)
    left = np.clip(total - np.einsum("gi,gi->g", scaled, towards), 0, None)
    freedom = count - terms - 1
    intercept = np.linalg.lstsq(design, np.ones(count), rcond=None)[0]
    intercept[np.abs(intercept) < _NOISE] = 0.0
    coefficients = scaled * size + intercept * center
    if left.min() <= _EXACT * count:  # a perfect fit
        weights = np.zeros(len(left))
        weights[0] = 1.0
        exact = np.where(np.abs(scaled) < _NOISE, 0.0, scaled) * size + intercept * center
        return Fit(weights, exact, covariances, np.full(len(left), max(least_variance, exact_variance)), freedom, float("inf"))
    repeats = (count - 1) // successive.shape[1]  # a single column applies to all steps
    correlated = -0.5 * repeats * np.log1p(-successive * successive).sum(axis=1)
    restricted = correlated - 0.5 * np.linalg.slogdet(inside)[1] - (count - terms) / 2 * np.log(left)
    weights = np.exp(restricted - restricted.max()) * PRIOR
    best = float((correlated - count / 2 * np.log(left)).max())
    variances = np.maximum(left / freedom * size**2, least_variance)
    return Fit(weights / weights.sum(), coefficients, covariances, variances, freedom, best)
