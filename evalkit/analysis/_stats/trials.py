"""The chance in the trials that a rate rests on: how far it would move values although nothing changed."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from evalkit.analysis._extra import needed
from evalkit.domain.metrics import Metric

__all__ = ["CHANCE", "COMMON", "NO_TRIALS", "SAME_TASKS", "Trials", "trials_of", "with_chance"]

SAME_TASKS = (
    "Values vary less from one checkpoint to the next than independent trials would, as where the same tasks are tried each time: "
    "intervals hold for these tasks, and may be too narrow for others."
)
CHANCE, COMMON = "chance", "common"
"""The columns of the variance q (1 - q) / n of a rate of n independent trials, and of n q (1 - q); null where n is not known."""
_WINDOW = 3
_HARDLY = 0.001
_ENOUGH = 1.0


@dataclass(frozen=True)
class Trials:
    """What is known of the trials behind the values of a series.

    Attributes
    ----------
    variance
        Of a value, were its trials independent. 0 where their number is not recorded.
    steady
        Whether the values vary clearly less than that, so that their trials are not independent.
    """

    variance: float = 0.0
    steady: bool = False

    @property
    def floor(self) -> tuple[float, float]:
        """The variance that a value has at least, and the one it has where nothing is seen to vary."""
        return 0.0 if self.steady else self.variance, self.variance


NO_TRIALS = Trials()
"""Of what is no rate, or rests on no recorded number of trials."""


def with_chance(rows: pl.DataFrame, metric: Metric) -> pl.DataFrame:
    """Give the rows of one study, in the order of time, with the columns `CHANCE` and `COMMON`.

    q is the rate of a checkpoint and its two neighbours together, with half a success and half a failure more: neither a trend nor a step
    enlarges the chance, and a rate of 1 has some.
    """
    if metric.kind != "rate" or metric.denominator not in rows.columns:
        return rows.with_columns(pl.lit(None, dtype=pl.Float64()).alias(name) for name in (CHANCE, COMMON))
    trials, rate = pl.col(metric.denominator).cast(pl.Float64()), pl.col(metric.name).cast(pl.Float64())
    counted = (trials > 0) & rate.is_between(0, 1)
    hits, tried = (pl.when(counted).then(sums).otherwise(0.0) for sums in (rate * trials, trials))
    near = [sums.rolling_sum(_WINDOW, min_samples=1, center=True) for sums in (hits, tried)]
    q = (near[0] + 0.5) / (near[1] + 1)
    varied = (q * (1 - q)).clip(lower_bound=0)
    return rows.with_columns(
        pl.when(counted).then(varied / trials).alias(CHANCE), pl.when(counted).then(varied * trials).alias(COMMON)
    )  # fmt: skip


def trials_of(rows: pl.DataFrame, value: str) -> Trials:
    """Tell what is known of the trials behind a column of rows, which are in the order of time and have `CHANCE` and `COMMON`.

    Whether values vary too little is judged from the differences of neighbours, against chi-square with as many degrees of freedom as
    their mean square has. Where successes or failures are rare, values are alike by chance, and nothing is concluded.

    Source: J. von Neumann et al., "The mean square successive difference", Annals of Mathematical Statistics 12 (1941), 153-162.
    """
    known = rows.filter(pl.col(CHANCE).is_not_null())
    if known.is_empty():
        return NO_TRIALS
    variance, common = known.select(pl.col(CHANCE).mean(), pl.col(COMMON).mean()).row(0)
    count = known.height
    if count < _WINDOW or common < _ENOUGH:
        return Trials(float(variance))
    squares = pl.col(value).cast(pl.Float64()).diff() ** 2 / (pl.col(CHANCE) + pl.col(CHANCE).shift(1))
    seen = known.select(squares.mean()).item()
    freedom = 2 * (count - 1) ** 2 / (3 * count - 4)
    return Trials(float(variance), bool(needed("scipy.special").chdtr(freedom, freedom * seen) < _HARDLY))
