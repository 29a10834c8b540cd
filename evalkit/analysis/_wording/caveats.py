"""The method of estimates and the caveats that limit them, one sentence each."""

from __future__ import annotations

from collections.abc import Callable

from evalkit._util.text import moment, plural
from evalkit.analysis._series import Caveat, CaveatKind
from evalkit.domain.catalog import counted

__all__ = ["METHOD", "ONLY_ALONE", "caveat", "coefficient", "value_name"]

METHOD = "generalized least squares with AR(1) errors, model-averaged over the AR(1) coefficient"
ONLY_ALONE = "Statistically significant before, but not after, adjustment for multiple comparisons (Holm)"


def coefficient(autocorrelation: float | None) -> str:
    """Return the mean of the AR(1) coefficient, to append to `METHOD`; empty for None."""
    return "" if autocorrelation is None else f" (mean {autocorrelation:.2f})"


def value_name(stretch: str) -> str:
    """Return the name of a value of a series, which is a mean in a very long series.

    Examples
    --------
    >>> value_name(""), value_name("hour"), value_name("28 days")
    ('checkpoint', 'hourly mean', '28-day mean')
    """
    if not stretch:
        return "checkpoint"
    names = {"minute": "minute mean", "hour": "hourly mean", "day": "daily mean", "week": "weekly mean", "year": "yearly mean"}
    return names.get(stretch) or f"{stretch.replace(' ', '-').removesuffix('s')} mean"


def caveat(limit: Caveat) -> str:
    """Return a caveat as a sentence.

    Examples
    --------
    >>> caveat(Caveat(CaveatKind.MISSING, (2, 20)))
    '2 of 20 checkpoints have no value and were excluded (not counted as zero).'
    """
    return _CAVEATS[limit.kind](*limit.values)


_CAVEATS: dict[CaveatKind, Callable[..., str]] = {
    CaveatKind.TOO_LARGE: lambda count, limit: (
        f"{plural(count, 'value')} of {limit:g} or more {'was' if count == 1 else 'were'} treated as missing."
    ),
    CaveatKind.MISSING: lambda count, total: (
        f"{count:,} of {plural(total, 'checkpoint')} {'has no value and was' if count == 1 else 'have no value and were'} excluded "
        "(not counted as zero)."
    ),
    CaveatKind.SAME_TIME: lambda checkpoints, distinct: (
        f"Checkpoints with the same timestamp were averaged ({plural(checkpoints, 'checkpoint')}, "
        f"{plural(distinct, 'distinct timestamp')})."
    ),
    CaveatKind.AVERAGED: lambda count, stretch, means: (
        f"{count:,} values were averaged to {means:,} {value_name(stretch)}s before the analysis."
    ),
    CaveatKind.UNEVEN: lambda least, most, denominator: (
        f"Checkpoints are based on {least:,} to {most:,} {counted(denominator).split()[0]} but have equal weight here."
    ),
    CaveatKind.PARTIAL: lambda count: (
        f"{plural(count, 'partially covered period')} {'was' if count == 1 else 'were'} excluded, because "
        f"{'its total covers' if count == 1 else 'their totals cover'} only part of the period."
    ),
    CaveatKind.SAME_TASKS: lambda: (
        "The rates vary less than the binomial distribution predicts (underdispersion), for example because the same tasks are repeated; "
        "the confidence interval applies to these tasks and may be too narrow for others."
    ),
    CaveatKind.AUTOCORRELATED: lambda: (
        "Autocorrelation may exceed 0.7, in which case false positives are more frequent than the nominal 5%."
    ),
    CaveatKind.NO_WIDTH: lambda: (
        "Residual variance is zero, so the confidence interval has no width and does not reflect sampling error."
    ),
    CaveatKind.FAR: lambda count: (
        f"{plural(count, 'outlier')} {'widens' if count == 1 else 'widen'} the confidence interval."
    ),
    CaveatKind.OUTLIERS: lambda: (
        "The median of all pairwise slopes (Theil-Sen) is outside the confidence interval: a few extreme checkpoints "
        "or a curved trend may dominate the slope."
    ),
    CaveatKind.STEP: lambda at: f"A single step at {moment(at)} UTC fits the series better than a straight line; see changepoints().",
    CaveatKind.GRADUAL: lambda: "A straight line fits the series as well as a step, so the change may be gradual.",
    CaveatKind.LEFT_OUT: lambda count: (
        f"{plural(count, 'checkpoint')} whose period includes the time of the change {'was' if count == 1 else 'were'} excluded."
    ),
    CaveatKind.UNUSED: lambda pairs, study, baseline: (
        f"{plural(pairs, 'period has', 'periods have')} a value in both studies; only these were compared, of {study:,} and "
        f"{baseline:,} checkpoints."
    ),
    CaveatKind.UNPAIRED: lambda pairs, fewest: (
        f"The comparison is unpaired: {plural(pairs, 'period has', 'periods have')} a value in both studies, fewer than "
        + (f"{fewest}." if fewest else "half of the periods of the shorter study.")
    ),
    CaveatKind.UNDEFINED: lambda name: (
        f"{name!r} has no definition in this data, so no direction is better. Use kit.data(), or StudyData(frame, metrics=[...])."
    ),
}  # fmt: skip
"""The sentence of each kind of caveat, from its values."""
