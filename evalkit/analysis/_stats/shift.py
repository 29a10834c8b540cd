"""One shift in the level of a series whose neighbours correlate: whether there is one, and where.

The statistic is the largest share of the variance that one step explains, over all places that leave 4 values on each side. Points of
a series are not exchangeable, so its distribution without a shift comes from series made anew: a correlation is drawn by its weight, the
residuals about the best step are freed of it, permuted, and given it back. The weights are those of a fit with a level for each stretch of
about ten values: else a shift would pass for correlation, and two would hide each other. That makes the test wrong more often than it
should be where neighbours correlate by more than about 0.7.

Sources: the largest cumulative sum: E. S. Page, "A test for a change in a parameter occurring at an unknown point", Biometrika 42 (1955),
523-527; permuting what is left when the correlation is taken out: J.-P. Kreiss, J. Franke, "Bootstrapping stationary autoregressive
moving-average models", Journal of Time Series Analysis 13 (1992), 297-317. The interval of the place is the set of places with the largest
marginal likelihoods that hold 95 % together, see A. F. M. Smith, "A Bayesian approach to inference about a change-point in a sequence of
random variables", Biometrika 62 (1975), 407-416.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evalkit.analysis._stats.ar1 import CONFIDENCE, CORRELATIONS, PRIOR, Array, Fit, constant, fit, steps

__all__ = ["FEWEST", "Shift", "find_shift", "is_step", "largest", "levels"]

FEWEST = 12
"""Values below which no shift is looked for."""
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
        The place of the first value after it.
    low, high
        The 95 % interval of that place.
    p
        Of no shift, at least 0.0005.
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
        In the order of time, 8 or more.
    at
        Where it is, when that is known; else the place that explains most.
    """
    count = len(values)
    if constant(values):
        return Shift(count // 2, 0, count - 1, 1.0)
    y = (values - values.mean()) / float(np.abs(values - values.mean()).max())
    explained, best = _largest(y[:, None])
    likely = _places(times, y)
    low, high = _interval(likely)
    cut = int(best[0]) if at is None else at
    residuals = y - np.where(np.arange(count) < cut, y[:cut].mean(), y[cut:].mean())
    if not residuals.any():
        residuals = y
    return Shift(cut, min(low, cut), max(high, cut), _p(times, y, residuals, float(explained[0])))


def _largest(series: Array) -> tuple[Array, npt.NDArray[np.intp]]:
    """Give the largest share of variance that one step explains, and its place, for each column."""
    count = len(series)
    centred = series - series.mean(axis=0)
    sums = np.cumsum(centred, axis=0)[_SIDE - 1 : count - _SIDE]
    places = np.arange(_SIDE, count - _SIDE + 1)[:, None]
    explained = sums**2 * (count / (places * (count - places)))
    total = (centred**2).sum(axis=0)
    shares = explained.max(axis=0) / np.where(total > 0, total, 1)
    return shares, explained.argmax(axis=0) + _SIDE


def largest(values: Array) -> int:
    """Give the place of the first value after the step that explains most."""
    return int(_largest(values[:, None])[1][0])


def is_step(days: Array, values: Array, line: Fit | None = None) -> bool:
    """Tell whether one step describes a series better than a straight line, by Schwarz's criterion: a step has its time as well.

    Parameters
    ----------
    days, values
        In the order of time, 8 or more.
    line
        The fit of the straight line, where it is known.
    """
    count = len(values)
    constant, cut = np.ones(count), largest(values)
    line = line or fit(days, values, np.column_stack([constant, days / np.ptp(days) - 0.5]))
    step = fit(days, values, np.column_stack([constant, np.arange(count) >= cut]))
    return bool(line.likelihood + np.log(count) / 2 < step.likelihood)


def _p(times: Array, y: Array, residuals: Array, explained: float) -> float:
    """Give the share of series without a shift that have a step as large; many are made only where it matters."""
    random = np.random.default_rng(0)  # the same series, the same answer
    weights = fit(times, y, levels(len(y))).weights
    gaps = steps(times)
    as_large, made = 0, 0
    for more in _ROUNDS:
        drawn = random.choice(CORRELATIONS, size=more, p=weights)
        as_large += int((_largest(_remade(residuals, gaps, drawn, random))[0] >= explained * (1 - 1e-12)).sum())
        made += more
        if as_large > _CLEARLY_NOT * made:
            break
    return (1 + as_large) / (1 + made)


def levels(count: int) -> Array:
    """Give a design with a level for each stretch of about ten values."""
    stretches = max(1, round(count / _STRETCH))
    return np.eye(stretches)[np.arange(count) * stretches // count]


def _remade(residuals: Array, gaps: Array, correlations: Array, random: np.random.Generator) -> Array:
    """Make series anew, a column for each correlation: freed of it, permuted, and given it back."""
    neighbours = correlations[None, :] ** gaps[:, None]
    apart = np.sqrt(1 - neighbours**2)
    free = np.empty((len(residuals), len(correlations)))
    free[0] = residuals[0]
    free[1:] = (residuals[1:, None] - neighbours * residuals[:-1, None]) / apart
    free = random.permuted(free - free.mean(axis=0), axis=0)
    for row in range(1, len(free)):
        free[row] = neighbours[row - 1] * free[row - 1] + apart[row - 1] * free[row]
    return free


def _places(times: Array, y: Array) -> Array:
    """Give the marginal likelihood of the shift being at each place, summing to 1; 0 where too few values are on a side.

    Level, step, variance and correlation are integrated out, each place being as likely beforehand.
    """
    count = len(y)
    r = CORRELATIONS[_COARSE, None] ** steps(times)[None, :]
    apart = np.sqrt(1 - r * r)
    one = np.concatenate([np.ones((len(r), 1)), (1 - r) / apart], axis=1)
    level = np.concatenate([np.full((len(r), 1), y[0]), (y[1:] - r * y[:-1]) / apart], axis=1)
    first = np.concatenate([np.ones((len(r), 1)), 1 / apart], axis=1)  # a step's first value, the one before it being 0

    def after(product: Array) -> Array:
        """Give the sums over what comes after each place."""
        sums: Array = product.sum(axis=1, keepdims=True) - np.cumsum(product, axis=1)
        return sums

    ss, s1, sy = after(one * one) + first**2, after(one * one) + one * first, after(one * level) + level * first
    oo, oy, yy = ((a * b).sum(axis=1, keepdims=True) for a, b in ((one, one), (one, level), (level, level)))
    determinant = np.maximum(oo * ss - s1 * s1, 1e-300)
    left = yy - (ss * oy * oy - 2 * s1 * oy * sy + oo * sy * sy) / determinant
    left = np.maximum(left, 1e-18 * yy)
    likelihood = -np.log(apart).sum(axis=1, keepdims=True) - 0.5 * np.log(determinant) - (count - 2) / 2 * np.log(left)
    likelihood += np.log(PRIOR[_COARSE, None])
    likelihood[:, :_SIDE] = likelihood[:, count - _SIDE + 1 :] = -np.inf
    place = np.exp(likelihood - likelihood.max()).sum(axis=0)
    shares: Array = place / place.sum()
    return shares


def _interval(likely: Array) -> tuple[int, int]:
    """Give the first and the last of the likeliest places that hold 95 % together."""
    order = np.argsort(-likely, kind="stable")
    held = order[: int(np.searchsorted(np.cumsum(likely[order]), CONFIDENCE)) + 1]
    return int(held.min()), int(held.max())
