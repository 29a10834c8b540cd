"""Reference values from statsmodels, imported on first use because the import takes a second."""

from __future__ import annotations

from typing import Any

__all__ = ["generalized_least_squares", "holm", "wilson"]


def wilson(successes: Any, trials: Any) -> tuple[Any, Any]:
    """Return the bounds of the 95% Wilson interval of a proportion."""
    from statsmodels.stats.proportion import proportion_confint

    return proportion_confint(successes, trials, method="wilson")  # type: ignore[no-any-return]


def holm(p: list[float]) -> list[float]:
    """Return p-values adjusted by Holm's method."""
    from statsmodels.stats.multitest import multipletests

    return multipletests(p, method="holm")[1].tolist() if p else []  # type: ignore[no-any-return]


def generalized_least_squares(values: Any, design: Any, *, sigma: Any) -> Any:
    """Return the fit of `values` on the columns of `design`, with errors of covariance `sigma`."""
    import statsmodels.api as sm

    return sm.GLS(values, design, sigma=sigma).fit()
