"""Findings about the runs of studies with the cadence ``"per-run"``.

Runs have any length, may be points in time, and one is expected in each period.
"""

from __future__ import annotations

import polars as pl

from evalkit._util.text import plural
from evalkit.analysis._audit.coverage import missing_findings, outside_findings, place_span
from evalkit.analysis._audit.finding_kinds import findings
from evalkit.analysis._audit.tiling import RunningTime
from evalkit.frames.expected_runs import misses_runs, period_of

__all__ = ["expected_periods", "run_findings"]

_MICROSECOND = 1


def expected_periods(runs: pl.DataFrame) -> pl.DataFrame:
    """Return the periods that have a run, as if they were checkpoints.

    A period is extended to the next one with a run if no run is missing between them.

    Parameters
    ----------
    runs
        Columns study_id, period_type, start.
    """
    at, kind = pl.col("start").cast(pl.Datetime("us")), pl.col("period_type")
    ordered = runs.select("study_id", "period_type", at=at).sort("study_id", "at").with_columns(
        following=pl.col("at").shift(-1).over("study_id")
    )  # fmt: skip
    begin, finish = period_of(pl.col("at"), kind)
    reached = pl.when(misses_runs(pl.col("at"), pl.col("following"), kind)).then(None).otherwise(period_of(pl.col("following"), kind)[0])
    periods = ordered.select("study_id", "period_type", start=begin, end=pl.max_horizontal(finish, reached)).drop_nulls("start")
    return periods.group_by("study_id", "period_type", "start", maintain_order=True).agg(pl.col("end").max()).with_columns(
        pl.col("start", "end").dt.epoch("us")
    )  # fmt: skip


def run_findings(runs: pl.DataFrame, expected: pl.DataFrame, grid: pl.DataFrame, running: RunningTime | None) -> list[pl.DataFrame]:
    """Return the findings about runs.

    Parameters
    ----------
    runs
        Columns row, study_id, start, end, partial; the end may equal the start.
    expected, grid
        Output of `expected_periods`, and of `grids` for it.
    running
        The running time of the studies; None if unknown.
    """
    repeated = runs.group_by("study_id", "start", "end", maintain_order=True).agg(rows="row", count=pl.len()).filter(pl.col("count") > 1)
    tables = [
        missing_findings(expected, grid, running, from_first_to_last=True),
        findings("duplicate_runs", repeated, lambda place: f"{plural(place['count'], 'checkpoint')}, {place_span(place)}"),
    ]
    if running is None:
        return tables
    # A run counts as a whole, so that only runs that are mostly outside are reported. A point in time lasts a microsecond here.
    lasting = runs.with_columns(
        end=pl.max_horizontal("end", pl.col("start") + _MICROSECOND), count=pl.lit(1), rows=pl.concat_list("row")
    )  # fmt: skip
    return [*tables, *outside_findings(lasting, running, partly=False)]
