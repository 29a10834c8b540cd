"""Frames for the tests of charts, with fixed ids and times, in the form of `kit.checkpoints()` and `kit.lifecycle()`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import polars as pl

from evalkit.domain.study import TRANSITIONS
from evalkit.frames.columns import CHECKPOINTS, LIFECYCLE, frame_schema
from evalkit.samples import sample_checkpoints

START = datetime(2026, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)


def study_id(number: int) -> str:
    return f"019b8c2f-0000-7000-8000-{number:012d}"


@cache  # frames are immutable, and samples are generated one by one
def checkpoints(
    name: str = "agent",
    number: int = 1,
    count: int = 10,
    *,
    period: str = "daily",
    left_out: tuple[int, ...] = (),
    seed: int = 1,
    start: datetime = START,
) -> pl.DataFrame:
    """Return sample checkpoints of one study, without those in `left_out`."""
    rows = []
    for index, row in enumerate(sample_checkpoints(period, start, count, seed=seed, trend=0.05)):
        if index not in left_out:
            values = {key: value for key, value in row.items() if key not in ("key", "sessions_included")}
            rows.append(
                {"study_id": study_id(number), "study": name, "period_type": period, "checkpoint_id": f"c-{number}-{index}", "timestamp": row["period_end"],
                 "sessions_included": [], **values}
            )  # fmt: skip
    return pl.DataFrame(rows, schema=frame_schema(CHECKPOINTS))


def lifecycle(name: str = "agent", number: int = 1, *steps: tuple[str, datetime]) -> pl.DataFrame:
    """Return the lifecycle of one study: created, then the steps as (kind, time)."""
    leads_to = {kind: status.value for kind, (_, status) in TRANSITIONS.items()} | {"study_created": "pending"}
    rows = [
        {"study_id": study_id(number), "study": name, "seq": seq, "kind": kind, "status": leads_to[kind], "at": at}
        for seq, (kind, at) in enumerate([("study_created", START), *steps], start=1)
    ]
    return pl.DataFrame(rows, schema=frame_schema(LIFECYCLE))


def long(count: int, studies: int = 1) -> pl.DataFrame:
    """Return many hourly checkpoints of some studies: a wave with spikes and two gaps in each."""
    each = count // studies
    index = pl.int_range(each, eager=True)
    parts = []
    for number in range(studies):
        start = pl.select(pl.lit(START).dt.cast_time_unit("us") + pl.duration(hours=index)).to_series()
        rate = (0.5 + 0.3 * (index / 500).sin() + 0.1 * ((index * 7919 + number) % 101 / 101)).clip(0, 1)
        n = (index % 40) + 5
        part = pl.DataFrame(
            {"study_id": study_id(number), "study": f"study {number:02}", "period_type": "hourly", "period_start": start,
             "period_end": start + timedelta(hours=1), "timestamp": start + timedelta(hours=1), "sessions_completed": n,
             "session_success_rate": rate, "total_cost": 1.0 + rate, "total_tokens": n * 1000, "avg_session_duration": pl.Series([timedelta(seconds=90)]).extend_constant(timedelta(seconds=60), each - 1) if each else pl.Series([], dtype=pl.Duration("us"))}
        )  # fmt: skip
        parts.append(part.filter(~pl.int_range(pl.len()).is_in([each // 4, each // 2, each // 2 + 1])))
    return pl.concat(parts).with_columns(
        pl.lit(None, dtype=dtype).alias(name) for name, dtype in frame_schema(CHECKPOINTS).items() if name not in parts[0].columns
    ).select(list(CHECKPOINTS)).cast({"period_type": frame_schema(CHECKPOINTS)["period_type"], "sessions_completed": pl.Int64()})  # fmt: skip


def rows_of(spec: Any, *, mark: str) -> list[dict[str, Any]]:
    """Return the rows of the first layer of a specification that has this mark."""
    for layer in spec["layer"]:
        if (layer["mark"] if isinstance(layer["mark"], str) else layer["mark"]["type"]) == mark:
            data = layer.get("data", spec.get("data"))
            return spec["datasets"][data["name"]]  # type: ignore[no-any-return]
    raise LookupError(mark)
