"""Frames for the tests of analyses: unusual ones, and Hypothesis strategies for ordinary ones."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import polars as pl
from hypothesis import strategies as st

from evalkit.domain.catalog import METRICS
from evalkit.frames.columns import CHECKPOINTS, frame_schema
from tests.chart_frames import checkpoints, long, study_id
from tests.properties import in_long_form

FIRST = datetime(2026, 1, 26, tzinfo=UTC)  # a Monday, six days before a month begins
HOUR = timedelta(hours=1)


@lru_cache
def odd_frames() -> dict[str, pl.DataFrame]:
    """Return frames with unusual columns, rows or values, by description."""
    ten = checkpoints()
    missing = [pl.lit(None, dtype=ten.schema[name]).alias(name) for name in METRICS]
    constant = [pl.lit(ten[name][0], dtype=ten.schema[name]).alias(name) for name in METRICS]
    duplicated = pl.concat([ten, ten.with_columns(pl.col("checkpoint_id") + "-again")])
    return {
        "empty": ten.clear(),
        "one row": ten.head(1),
        "all missing": ten.with_columns(missing),
        "constant": ten.with_columns(constant),
        "one study": ten,
        "50 studies": long(in_long_form(5_000, 1_000), 50),
        "many rows": long(in_long_form(100_000, 10_000)),
        "unsorted": ten.sample(fraction=1, shuffle=True, seed=4),
        "duplicated timestamps": duplicated,
        "no study, no period type": ten.drop("study_id", "study", "period_type"),
        "few columns": ten.select("period_start", "period_end", "session_success_rate"),
        "without periods": ten.with_columns(period_start=pl.lit(None, dtype=ten.schema["period_start"])),
        "not finite": ten.with_columns(session_success_rate=pl.lit(math.nan), total_cost=pl.lit(math.inf)),
        "below 0": ten.with_columns(total_cost=pl.lit(-1.0), tasks_completed=pl.lit(-5)),
        "at the limits": ten.with_columns(total_tokens=pl.lit(2**63 - 1), sessions_completed=pl.lit(2**63 - 1), total_cost=pl.lit(1.7e308)),
    }


_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "sessions_completed": st.integers(0, 3) | st.integers(0, 40),
    "session_success_rate": st.integers(0, 12).map(lambda k: k / 12) | st.floats(0, 1, allow_subnormal=False),
    "avg_session_duration": st.integers(0, 10**10).map(lambda n: timedelta(microseconds=n)),
    "tasks_completed": st.integers(0, 2) | st.integers(1, 60),
    "first_attempt_success_rate": st.floats(0, 1, allow_subnormal=False),
    "agent_efficiency": st.floats(0, 1, allow_subnormal=False),
    "total_tokens": st.integers(0, 10**6) | st.integers(2**61, 2**63 - 1),
    "total_cost": st.just(0.0) | st.floats(0.01, 1e4),
    "cost_per_successful_task": st.just(0.0) | st.floats(0.01, 1e3),
    "events_analyzed": st.integers(0, 10**5),
}
_OFTEN_MISSING = ["cost_per_successful_task"]  # as without solved tasks


@st.composite
def hourly_frames(draw: st.DrawFn, most: int = 18) -> pl.DataFrame:
    """Draw hourly checkpoints of one or two studies over five weeks, some in the same hour, with missing values in some columns."""
    gappy = draw(st.sets(st.sampled_from([*_VALUES, "sessions_included"]), max_size=2)) | set(draw(st.sampled_from([_OFTEN_MISSING, []])))
    values = {name: st.none() | each if name in gappy else each for name, each in _VALUES.items()}
    days = draw(st.lists(st.integers(0, 34), min_size=1, max_size=5))
    sessions = st.lists(st.sampled_from("abcdef"), max_size=3)
    rows = draw(
        st.lists(
            st.fixed_dictionaries(
                {"number": st.integers(1, 2), "day": st.sampled_from(days), "hour": st.integers(0, 23),
                 "sessions_included": st.none() | sessions if "sessions_included" in gappy else sessions, **values}
            ),
            min_size=1, max_size=most,
        )
    )  # fmt: skip
    return pl.DataFrame([_row(index, **row) for index, row in enumerate(rows)], schema=frame_schema(CHECKPOINTS))


def _row(index: int, *, number: int, day: int, hour: int, **values: Any) -> dict[str, Any]:
    start = FIRST + timedelta(days=day, hours=hour)
    return {
        "study_id": study_id(number), "study": f"study {number}", "period_type": "hourly", "checkpoint_id": f"c-{index:03}",
        "timestamp": start + HOUR, "recorded_at": start + HOUR + timedelta(minutes=index), "period_start": start, "period_end": start + HOUR,
        **values,
    }  # fmt: skip


def assert_same(one: pl.DataFrame, other: pl.DataFrame, *, relative: float = 1e-12) -> None:
    """Assert that frames have equal columns, dtypes and values, floats up to a relative error."""
    assert one.schema == other.schema
    assert one.height == other.height
    for name, dtype in one.schema.items():
        left, right = one[name].to_list(), other[name].to_list()
        if not dtype.is_float():
            assert left == right, name
            continue
        for a, b in zip(left, right, strict=True):
            assert (a is None) == (b is None), (name, a, b)
            assert a is None or math.isclose(a, b, rel_tol=relative, abs_tol=1e-300), (name, a, b)
