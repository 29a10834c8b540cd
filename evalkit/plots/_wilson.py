"""The Wilson score interval of a rate."""

from __future__ import annotations

import polars as pl

__all__ = ["Z", "wilson"]

Z = 1.959963984540054
"""The 97.5 % point of the normal distribution: 95 % lie within."""


def wilson(rate: pl.Expr, count: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Give the lower and upper end of the 95 % Wilson score interval of `rate`, measured on `count` trials.

    Missing where the rate or the count is, where the count is 0, and where the rate lies outside 0 to 1. The number of successes,
    rate times count, is not rounded.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American Statistical
    Association 22 (1927), 209-212; in the form of Brown, Cai and DasGupta, Statistical Science 16 (2001), equation (4).
    """
    n = pl.when((count > 0) & (rate >= 0) & (rate <= 1)).then(count.cast(pl.Float64()))
    middle = (rate + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * (rate * (1 - rate) / n + Z * Z / (4 * n * n)).sqrt()
    return (middle - half).clip(0, 1), (middle + half).clip(0, 1)
