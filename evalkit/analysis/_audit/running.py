"""When a study ran: what its lifecycle says about the time in which there is something to measure. Times are microseconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

__all__ = ["FAR", "Running", "running"]

FAR = 2**61
"""Later than every calendar's end, for what has no end."""


@dataclass(frozen=True)
class Running:
    """The running time of studies.

    Attributes
    ----------
    known
        A row a study with a lifecycle: study_id, began (`FAR` when it never did) and ended (`FAR` when it has not).
    pauses
        study_id, start, end (`FAR` when it is paused still); in order, none overlapping.
    """

    known: pl.DataFrame
    pauses: pl.DataFrame

    def idle(self) -> pl.DataFrame:
        """Give the time in which studies did not run: study_id, start, end."""
        before = self.known.select("study_id", start=pl.lit(-FAR), end="began")
        after = self.known.filter(pl.col("ended") < FAR).select("study_id", start="ended", end=pl.lit(FAR))
        return pl.concat([before, self.pauses, after])

    def paused(self, periods: pl.DataFrame) -> pl.Series:
        """Give how much of each period, study_id with start and end, lies in pauses: microseconds."""
        length = pl.col("end") - pl.col("start")
        sums = self.pauses.sort("study_id", "start").with_columns(before=length.cum_sum().over("study_id") - length)
        sums = sums.sort("start").rename({"start": "from", "end": "to"})
        until = {name: _paused_until(periods, name, sums) for name in ("start", "end")}
        return until["end"] - until["start"]


def _paused_until(periods: pl.DataFrame, name: str, sums: pl.DataFrame) -> pl.Series:
    asked = periods.select("study_id", at=name).with_row_index("place").sort("at")
    found = asked.join_asof(sums, left_on="at", right_on="from", by="study_id", strategy="backward", check_sortedness=False)
    paused = pl.col("before") + pl.min_horizontal("at", "to") - pl.col("from")
    return found.sort("place").select(paused.fill_null(0)).to_series()


def running(lifecycle: pl.DataFrame) -> Running:
    """Read the running time from lifecycles.

    Parameters
    ----------
    lifecycle
        study_id, seq, status (after the event), at. A time that runs backwards counts as that of the event before it.
    """
    steps = lifecycle.sort("study_id", "seq", maintain_order=True).with_columns(pl.col("at").cum_max().over("study_id"))
    steps = steps.with_columns(until=pl.col("at").shift(-1).over("study_id").fill_null(FAR))
    ran, stopped = pl.col("status").is_in(["running", "paused"]), pl.col("status") == "stopped"
    known = steps.group_by("study_id").agg(
        began=pl.col("at").filter(ran).min().fill_null(FAR), ended=pl.col("at").filter(stopped).min().fill_null(FAR)
    )
    pauses = steps.filter((pl.col("status") == "paused") & (pl.col("until") > pl.col("at"))).select("study_id", start="at", end="until")
    return Running(known, pauses)
