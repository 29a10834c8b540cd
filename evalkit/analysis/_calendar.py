"""Days, weeks and months in a time zone, and the share of them that checkpoints cover."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

import numpy as np
import numpy.typing as npt
import polars as pl

from evalkit.domain.periods import period_end, period_start
from evalkit.domain.time_input import zone_name
from evalkit.errors import InvalidInputError

__all__ = ["BEGINNINGS", "begin_text", "covered", "local_dates", "placed"]

BEGINNINGS = {
    "daily": "days begin at 00:00",
    "weekly": "weeks begin on Monday, 00:00",
    "monthly": "months begin on the 1st, 00:00",
}
"""The beginning, without the time zone, of each period type that checkpoints can be resampled to."""
_EVERY = {"daily": "1d", "weekly": "1w", "monthly": "1mo"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def begin_text(to: str, tz: tzinfo | None) -> str:
    """Return the beginning of the periods of a type as text.

    Examples
    --------
    >>> from zoneinfo import ZoneInfo
    >>> begin_text("weekly", ZoneInfo("Europe/Berlin"))
    'weeks begin on Monday, 00:00 Europe/Berlin'
    """
    return f"{BEGINNINGS[to]} {'UTC' if tz is None else zone_name(tz)}"


def placed(rows: pl.DataFrame, to: str, tz: tzinfo | None) -> pl.DataFrame:
    """Add the calendar period that contains the midpoint of each checkpoint.

    Parameters
    ----------
    rows
        Checkpoints with `t` (the midpoint, or the start of a run), `start`, `end` and `is_run`.
    to
        A key of `BEGINNINGS`.
    tz
        The time zone of the calendar. None: UTC.

    Returns
    -------
    polars.DataFrame
        The rows with `begin` and `finish` of the period (UTC), and `straddles`: whether the checkpoint crosses one of them.

    Raises
    ------
    InvalidInputError
        When a period of the zone begins before the year 1 or ends after the year 9999.
    """
    if tz is None:
        begin = pl.col("t").dt.truncate(_EVERY[to])
        in_period = rows.with_columns(begin=begin, finish=begin.dt.offset_by(_EVERY[to]))
    else:
        starts, ends = _periods(rows["t"].dt.timestamp("us").to_numpy(), to, tz)
        dtype = rows.schema["t"]
        in_period = rows.with_columns(pl.Series("begin", starts).cast(dtype), pl.Series("finish", ends).cast(dtype))
    crosses = (pl.col("start") < pl.col("begin")) | (pl.col("end") > pl.col("finish"))
    return in_period.with_columns(straddles=crosses & pl.col("is_run").not_())


def _periods(times: npt.NDArray[np.int64], to: str, tz: tzinfo) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return start and end of the calendar period of each time.

    Times are microseconds since 1970. Each period is computed once.
    """
    distinct, inverse = np.unique(times, return_inverse=True)
    starts, ends = np.empty_like(distinct), np.empty_like(distinct)
    place = 0
    while place < len(distinct):
        try:
            start = period_start(to, _EPOCH + int(distinct[place]) * _MICROSECOND, tz)
            end = period_end(to, start, tz)
        except (OverflowError, ValueError):
            raise InvalidInputError(
                "Cannot resample: a period is outside the years 1 to 9999", allowed="expected earlier or later checkpoints", field="data"
            ) from None
        bounds = [(bound - _EPOCH) // _MICROSECOND for bound in (start, end)]
        after = max(place + 1, int(np.searchsorted(distinct, bounds[1])))
        starts[place:after], ends[place:after] = bounds
        place = after
    return starts[inverse], ends[inverse]


def local_dates(starts: pl.Series, tz: tzinfo | None) -> pl.Series:
    """Return the local dates of period starts: ``2026-03-29``."""
    if tz is None:
        return starts.dt.strftime("%Y-%m-%d")
    return pl.Series([start.astimezone(tz).date().isoformat() for start in starts], dtype=pl.String())


def covered(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the share of each calendar period that its checkpoints cover.

    Time in two checkpoints counts once. A checkpoint that is itself resampled counts with the share that it covers.

    Parameters
    ----------
    rows
        Checkpoints with `group` (the period), `start`, `end`, `begin`, `finish`, `is_run` and `covered` (their own share, null for 1).

    Returns
    -------
    polars.DataFrame
        `group`, `covered` (0 to 1; null for runs, which do not cover periods), and `overlaps`: whether checkpoints of the period overlap.
    """
    from_, until = pl.max_horizontal("start", "begin"), pl.min_horizontal("end", "finish")
    previous = until.cum_max().shift(1).over("group")
    new = (until - pl.max_horizontal(from_, previous)).dt.total_microseconds().clip(0)
    # In integer microseconds, so that resampling in two steps results in exactly the coverage of one step.
    part = (new * pl.col("covered").fill_null(1.0).clip(0, 1)).round().cast(pl.Int64())
    length = (pl.col("finish") - pl.col("begin")).dt.total_microseconds().first()
    ordered = rows.select("group", "start", "end", "begin", "finish", "covered", "is_run").sort("group", "start", maintain_order=True)
    overlaps = (previous > from_) & pl.col("is_run").not_()
    grouped = ordered.with_columns(part=part, overlaps=overlaps).group_by("group", maintain_order=True)
    share = pl.when(pl.col("is_run").first().not_()).then(pl.col("part").sum() / length)
    return grouped.agg(pl.col("overlaps").any(), covered=share)
