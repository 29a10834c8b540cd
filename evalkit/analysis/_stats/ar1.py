"""Linear regression of a short series whose neighbours correlate, with intervals that allow for not knowing how much.

The errors are a stationary first-order autoregression in time: two values a distance d apart correlate by r to the power of
d / (the usual distance). No estimate of r is trusted, for of 12 values it may as well be 0 as 0.6. Instead every r from 0 to 0.99 gets its
generalised least squares fit and its weight: its restricted likelihood times a prior. An estimate is then a mixture of Student's t
distributions, one for each r, and its interval runs from the 2.5 % to the 97.5 % point of that mixture.

Sources: restricted likelihood: D. A. Harville, "Bayesian inference for variance components using only error contrasts", Biometrika 61
(1974), 383-385; averaging over r rather than plugging one in: A. Zellner and G. C. Tiao, "Bayesian analysis of the regression model with
autocorrelated errors", Journal of the American Statistical Association 59 (1964), 763-778. Prior and degrees of freedom were chosen by
simulation, so that intervals cover: see docs/power.md.
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
"""The autocorrelations looked at. Below 0 is not: neighbours that alternate make intervals too wide, never too narrow."""
_INDEPENDENT = 0.5
_BETA = (4.0, 3.0)
_EXACT = 1e-20
_NOISE = 1e-9
"""What is smaller than this share of the values is the error of computing, and would be a finding where nothing else varies."""
SAME = 1e-12
"""Values that differ by no more than this share of the larger are the same, but for the error of computing."""
_TOO_SMALL = 1e-100
_STRONG, _OFTEN = 0.7, 0.25
_HARDLY = 1e-3
_MANY = 30


def _prior() -> Array:
    """Half of the weight on no autocorrelation at all, the other half by Beta(4, 3), whose mean is 0.57."""
    slab = CORRELATIONS ** (_BETA[0] - 1) * (1 - CORRELATIONS) ** (_BETA[1] - 1)
    prior: Array = (1 - _INDEPENDENT) * slab / slab.sum()
    prior[0] = _INDEPENDENT
    return prior


PRIOR = _prior()
"""Of each of `CORRELATIONS`."""


@dataclass(frozen=True)
class Estimate:
    """A number that was estimated.

    Attributes
    ----------
    value
        The point estimate.
    low, high
        Its 95 % interval.
    p
        The two-sided p-value of its being 0, from 0 to 1.
    """

    value: float
    low: float
    high: float
    p: float

    @property
    def half_width(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    def times(self, factor: float) -> Estimate:
        """Give the estimate in another unit; `factor` is above 0."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor, self.p)


@dataclass(frozen=True)
class Mixture:
    """A distribution that mixes Student's t distributions: what is known of one number.

    Attributes
    ----------
    weights, centres, scales, freedom
        Of each part; the weights sum to 1.
    """

    weights: Array
    centres: Array
    scales: Array
    freedom: Array

    def below(self, at: float) -> float:
        """Give the probability that the number is below `at`."""
        return float(stdtr(self.freedom, (at - self.centres) / self.scales) @ self.weights)

    def quantile(self, level: float) -> float:
        """Give the point below which the number lies with probability `level`, 0 to 1."""
        ends = self.centres + stdtrit(self.freedom, level) * self.scales
        low, high = float(ends.min()), float(ends.max())
        if low == high:
            return low
        low, high = low - 1e-6 * (high - low), high + 1e-6 * (high - low)  # where one part has all the weight, an end is the solution
        return float(brentq(lambda at: self.below(at) - level, low, high, xtol=1e-12 * (high - low), rtol=1e-14))

    def minus(self, other: Mixture) -> Mixture:
        """Give what is known of the difference to another number, which does not depend on this one.

        Each pair of parts becomes a part whose degrees of freedom are those of Welch's test.

        Source: B. L. Welch, "The generalization of Student's problem when several different population variances are involved",
        Biometrika 34 (1947), 28-35.
        """
        a, b = self._main(), other._main()
        squares = a.scales[:, None] ** 2, b.scales[None, :] ** 2
        both = squares[0] + squares[1]
        parts = squares[0] ** 2 / a.freedom[:, None] + squares[1] ** 2 / b.freedom[None, :]
        freedom = np.divide(both**2, parts, out=np.full_like(both, np.inf), where=parts > 0)
        centres = a.centres[:, None] - b.centres[None, :]
        size = np.maximum(np.abs(a.centres[:, None]), np.abs(b.centres[None, :]))
        centres = np.where(np.abs(centres) <= _NOISE * size, 0.0, centres)
        weights = a.weights[:, None] * b.weights[None, :]
        return Mixture(weights.ravel(), centres.ravel(), np.sqrt(both).ravel(), freedom.ravel())

    def _main(self) -> Mixture:
        """Leave out the parts that hardly count, and of many take each third, as neighbours are all but alike; the first always."""
        kept = np.flatnonzero(self.weights > _HARDLY)
        if len(kept) > _MANY:
            kept = np.concatenate([kept[:1], kept[2::3]])
        weights = self.weights[kept].copy()
        weights[1:] *= (1 - weights[0]) / max(weights[1:].sum(), 1e-300)
        return Mixture(weights / weights.sum(), self.centres[kept], self.scales[kept], self.freedom[kept])

    @property
    def mean(self) -> float:
        """The centre."""
        mean = float(self.weights @ self.centres)
        return mean if abs(mean) > _NOISE * float(np.abs(self.centres).max()) else 0.0

    def estimate(self) -> Estimate:
        """Give the number with its interval and the p-value of 0."""
        if not self.scales.any():
            return _exact(self.mean)
        tail = (1 - CONFIDENCE) / 2
        below = self.below(0.0)
        return Estimate(self.mean, self.quantile(tail), self.quantile(1 - tail), min(1.0, 2 * min(below, 1 - below)))


def _exact(value: float) -> Estimate:
    return Estimate(value, value, value, float(value == 0))


@dataclass(frozen=True)
class Fit:
    """A regression for every autocorrelation.

    Attributes
    ----------
    weights
        Of each of `CORRELATIONS`.
    coefficients, covariances
        Generalised least squares for each of them, shapes (100, p) and (100, p, p); the covariances for errors of variance 1.
    variances
        Of the errors, for each of them.
    freedom
        Number of values less number of coefficients less 1, for the autocorrelation is estimated as well.
    likelihood
        The log likelihood of the best of them, up to a constant that all regressions of the same values share.
    """

    weights: Array
    coefficients: Array
    covariances: Array
    variances: Array
    freedom: int
    likelihood: float

    def mixture(self, contrast: Any) -> Mixture:
        """Give what is known of a sum of coefficients, each times its number in `contrast`."""
        c = np.asarray(contrast, dtype=float)
        scales = np.sqrt(np.clip(np.einsum("i,gij,j->g", c, self.covariances, c), 0, None) * self.variances)
        return Mixture(self.weights, self.coefficients @ c, scales, np.full(len(scales), float(self.freedom)))

    def estimate(self, contrast: Any) -> Estimate:
        """Estimate a sum of coefficients, each times its number in `contrast`."""
        return self.mixture(contrast).estimate()

    @property
    def spread(self) -> float:
        """The standard deviation of a single value about the fitted line."""
        return float(np.sqrt(self.weights @ self.variances))

    @property
    def correlation(self) -> float:
        """The autocorrelation of neighbours, averaged over its weights, 0 to 0.99."""
        return float(self.weights @ CORRELATIONS)

    @property
    def wanders(self) -> bool:
        """Whether neighbours may be so alike that more is claimed of nothing than the 5 % that hold up to about 0.6."""
        return bool(self.weights[CORRELATIONS > _STRONG].sum() > _OFTEN)


def constant(values: Array) -> bool:
    """Tell whether all values are the same, but for the error of computing, or for so little that its square is 0; of none it is untrue."""
    return bool(len(values)) and bool(np.ptp(values) <= max(SAME * float(np.abs(values).max()), _TOO_SMALL))


def steps(times: Array) -> Array:
    """Give the distance of each value from the one before it, in units of the usual distance (the median), at least 1.

    Neighbours that are closer than usual are not taken to correlate more: two runs within a minute would otherwise count as one.
    """
    gaps = np.diff(times)
    usual = float(np.median(gaps)) if len(gaps) else 1.0
    return np.maximum(gaps / usual, 1.0) if usual > 0 else np.ones_like(gaps)


def correlations(gaps: Array) -> Array:
    """Return the correlation of each value with the one before it for each of `CORRELATIONS`: (100, n - 1), or (100, 1) if all alike."""
    powers: Array = CORRELATIONS[:, None] if (gaps == 1).all() else CORRELATIONS[:, None] ** gaps[None, :]
    return powers


def whitened(columns: Array, neighbours: Array) -> Array:
    """Give columns, shape (n, k), without the correlation of neighbours, shape (g, n - 1) or (g, 1): an array of shape (g, n, k)."""
    out: Array = np.repeat(columns[None], len(neighbours), axis=0)
    r, later = neighbours[:, :, None], out[:, 1:]
    later -= r * columns[None, :-1]
    later /= np.sqrt(1 - r * r)
    return out


def fit(times: Array, values: Array, design: Array, least: float = 0.0, still: float = 0.0) -> Fit:
    """Regress values on the columns of a design.

    Parameters
    ----------
    times
        When, in any unit, ascending, shape (n,).
    values
        Shape (n,).
    design
        Shape (n, p), of full rank, with n >= p + 2.
    least
        What the variance of a value is at least: of a rate the chance in the trials that it rests on. Else values that happen to be alike
        would have intervals of no width.
    still
        What it is where nothing varies about the regression.
    """
    count, terms = design.shape
    same = constant(values)
    centre = float(values[0]) if same else float(values.mean())
    away = np.zeros(count) if same else values - centre  # else the error of computing would be a finding
    size = float(np.abs(away).max()) or 1.0
    neighbours = correlations(steps(times))
    z = whitened(np.column_stack([design, away / size]), neighbours)
    gram: Array = z.transpose(0, 2, 1) @ z
    inside, towards, total = gram[:, :terms, :terms], gram[:, :terms, terms], gram[:, terms, terms]
    covariances: Any = np.linalg.inv(inside)
    scaled = np.einsum("gij,gj->gi", covariances, towards)
    left = np.clip(total - np.einsum("gi,gi->g", scaled, towards), 0, None)
    freedom = count - terms - 1
    intercept = np.linalg.lstsq(design, np.ones(count), rcond=None)[0]
    intercept[np.abs(intercept) < _NOISE] = 0.0
    coefficients = scaled * size + intercept * centre
    if left.min() <= _EXACT * count:  # a perfect fit: constant, or on a line
        weights = np.zeros(len(left))
        weights[0] = 1.0
        exact = np.where(np.abs(scaled) < _NOISE, 0.0, scaled) * size + intercept * centre
        return Fit(weights, exact, covariances, np.full(len(left), max(least, still)), freedom, float("inf"))
    alike = (count - 1) // neighbours.shape[1]  # how many correlations each column stands for
    correlated = -0.5 * alike * np.log1p(-neighbours * neighbours).sum(axis=1)
    restricted = correlated - 0.5 * np.linalg.slogdet(inside)[1] - (count - terms) / 2 * np.log(left)
    weights = np.exp(restricted - restricted.max()) * PRIOR
    best = float((correlated - count / 2 * np.log(left)).max())
    variances = np.maximum(left / freedom * size**2, least)
    return Fit(weights / weights.sum(), coefficients, covariances, variances, freedom, best)
