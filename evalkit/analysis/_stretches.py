"""Very long series as means over equal stretches of time."""

from __future__ import annotations

import polars as pl

__all__ = ["MOST_VALUES", "a_mean", "averaged", "averaged_note", "stretch_of"]

MOST_VALUES = 1000
"""More are averaged over equal stretches of time, which takes a daily or weekly rhythm out as well."""
_DAY = 86_400_000_000
_STRETCHES = {
    "minute": 60_000_000, "hour": _DAY // 24, "day": _DAY, "week": 7 * _DAY, "28 days": 28 * _DAY, "year": 365 * _DAY,
    "10 years": 3650 * _DAY, "100 years": 36_500 * _DAY,
}  # fmt: skip


def stretch_of(times: pl.Series) -> str:
    """Give the shortest stretch that leaves at most `MOST_VALUES` of these times, in microseconds; nothing where there are no more."""
    if len(times) <= MOST_VALUES:
        return ""
    few = (name for name, length in _STRETCHES.items() if (times // length).n_unique() <= MOST_VALUES)
    return next(few, list(_STRETCHES)[-1])


def averaged(series: pl.DataFrame, stretch: str) -> pl.DataFrame:
    """Average a series: time `t`, value `v`, start `a` and end `b` of each period; without a stretch it stays as it is."""
    if not stretch:
        return series
    means = series.group_by(pl.col("t").alias("k") // _STRETCHES[stretch], maintain_order=True)
    return means.agg(pl.col("t", "v").mean(), pl.col("a").min(), pl.col("b").max())


def averaged_note(count: int, stretch: str, left: int) -> str:
    """Say that so many values were averaged, and how many means there are."""
    return f"{count:,} values were averaged over each {stretch} first, to {left:,}."


def a_mean(stretch: str) -> str:
    """Give what such a mean is called: ``a day's mean``, ``a mean over 28 days``."""
    return f"a mean over {stretch}" if stretch[0].isdigit() else f"{'an' if stretch == 'hour' else 'a'} {stretch}'s mean"
