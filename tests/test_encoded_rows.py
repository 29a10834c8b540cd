"""Frames are checked and encoded column by column with the same bytes, messages and row numbers as row by row."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import evalkit
from evalkit import METRICS, EvalKit, InvalidInputError, Metric
from evalkit.domain.checkpoint_rows import CheckpointRows
from evalkit.domain.codec import decode
from evalkit.domain.commands import RowReader
from evalkit.domain.events import encoded_checkpoint
from evalkit.domain.ids import event_milliseconds, milliseconds, new_id
from evalkit.frames.encoded_rows import encoded_rows
from tests.properties import examples

STUDY = new_id()
WRITTEN = "2026-02-03T04:05:06.000007Z"
START = datetime(2026, 1, 5, tzinfo=UTC)
DEFINED = {
    metric.name: metric
    for metric in (
        Metric("judge_score", kind="score", better="up", low=1, high=5),
        Metric("refusals", kind="count", better="down"),
        Metric("refusal_rate", kind="rate", better="down"),
        Metric("drift", kind="number", better="neither"),
        Metric("wait", kind="duration", better="down"),
    )
}


def prepared(frame: Any, **options: Any) -> CheckpointRows:
    reader = RowReader(definitions=DEFINED, **options)
    return encoded_rows(frame, reader.mappings(frame), reader)


def outcome(rows: CheckpointRows) -> str | None:
    """Return the error of the first invalid row, or None."""
    try:
        _ = rows.commands
    except InvalidInputError as error:
        return f"{error.row} {error}"
    return None


def assert_same(frame: Any) -> Counter[str]:
    """Compare both ways for each row, and count the rows by how they were read."""
    rows, reader = prepared(frame), RowReader(definitions=DEFINED)
    mappings = reader.mappings(frame)
    one_by_one = CheckpointRows.of_mappings(mappings, RowReader(definitions=DEFINED))
    error = outcome(rows)
    assert error == outcome(one_by_one)
    seen: Counter[str] = Counter()
    before = milliseconds(datetime.now(UTC))
    events = rows.events(STUDY, [STUDY] * len(rows), WRITTEN)
    assert {row for row, event in enumerate(events) if event is None} >= set(rows.not_encoded)
    for row, new in enumerate(events):
        if new is None:
            seen["in doubt"] += 1
            continue
        command = reader.command(mappings[row], row)
        _, event, decoded = new
        assert new.row == row
        recorded = event_milliseconds(event.event_id)
        assert recorded >= before if command.at is None else recorded == milliseconds(command.at)
        assert event.data == encoded_checkpoint(event.event_id, STUDY, STUDY, command, WRITTEN).data
        assert decode(event.data) == decoded
        if error is None:
            assert (rows.keys[row], rows.periods[row]) == (command.key, (decoded.row[4], decoded.row[5]))
        seen["encoded"] += 1
    return seen


# --- columns of all kinds ---------------------------------------------------------------------------------------------------------------

edges = st.sampled_from([0.0, -0.0, 1.0, 1.0000001, 1.1, -1e-9, 5e-324, 1e16, 123456789.123456789, math.nan, math.inf, -1.0, 0.1 + 0.2])
floats = edges | st.floats(0, 1) | st.floats(0, 100)
whole = st.sampled_from([0, 1, 2**53, 2**53 + 1, 2**63 - 1, -1]) | st.integers(0, 5000)
seconds = st.sampled_from([0.0, 0.5, 1e-10, 0.0000000015, 86_399.999999999, 9e15, -1.0, math.nan]) | st.floats(0, 1e6)
FLOATS, COUNTS = [pl.Float64(), pl.Float32()], [pl.Int64(), pl.Int32(), pl.UInt64(), pl.Float64()]


@st.composite
def columns(draw: st.DrawFn, height: int, values: st.SearchStrategy[Any], dtypes: list[Any]) -> pl.Series:
    present = draw(st.sampled_from([values, values | st.none()]))
    items = draw(st.lists(present, min_size=height, max_size=height))
    dtype = draw(st.sampled_from(dtypes))
    return pl.Series("", items, dtype=pl.Float64 if dtype.is_float() else None, strict=False).cast(dtype, strict=False)


@st.composite
def moments(draw: st.DrawFn, height: int, first: datetime) -> pl.Series:
    step = draw(st.sampled_from([timedelta(days=1), timedelta(milliseconds=5), timedelta(microseconds=7), timedelta(0)]))
    times = pl.Series("", [first + index * step for index in range(height)], dtype=pl.Datetime("us", "UTC"))
    zone, unit = draw(st.sampled_from(["UTC", "Europe/Berlin"])), draw(st.sampled_from(["us", "ms", "ns"]))
    times = times.dt.convert_time_zone(zone).cast(pl.Datetime(unit, zone))
    offset = draw(st.sampled_from([0, 0, 1])) if unit == "ns" else 0
    return (times.to_physical() + offset).cast(pl.Datetime(unit, "UTC")).dt.convert_time_zone(zone)


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    """Frames with valid, invalid and missing values in many dtypes."""
    height = draw(st.integers(1, 6))
    chosen: dict[str, pl.Series] = {
        "period_start": draw(moments(height, START)),
        "period_end": draw(moments(height, START + timedelta(hours=1))),
    }
    for name, metric in METRICS.items():
        if draw(st.booleans()):
            values, dtypes = {"count": (whole, COUNTS), "duration": (seconds, FLOATS)}.get(metric.kind, (floats, [*FLOATS, pl.Int64()]))
            chosen[name] = draw(columns(height, values, dtypes))
    custom = draw(st.lists(st.sampled_from(list(DEFINED)), unique=True, max_size=3))
    for name in custom:
        chosen[name] = draw(columns(height, whole, COUNTS) if name == "refusals" else columns(height, floats, FLOATS))
    texts = st.sampled_from(["a", "key 2", "ü", " a", "", "x\n", "k" * 500, "k" * 501]) | st.text(max_size=5)
    several = st.lists(st.sampled_from(["s-1", 'with "quotes"', "ü\u2028", "tab\t", ""]), max_size=3)
    options = {
        "timestamp": moments(height, START + timedelta(hours=2)),
        "recorded_at": moments(height, START + timedelta(hours=3)),
        "events_analyzed": columns(height, whole, COUNTS),
        "key": st.lists(texts | st.none(), min_size=height, max_size=height).map(lambda items: pl.Series(items, dtype=pl.String())),
        "sessions_included": st.lists(several | st.none(), min_size=height, max_size=height).map(
            lambda items: pl.Series(items, dtype=pl.List(pl.String()))
        ),
    }
    for name in draw(st.lists(st.sampled_from(list(options)), unique=True)):
        chosen[name] = draw(options[name])
    return pl.DataFrame([series.alias(name) for name, series in chosen.items()])


@pytest.mark.slow
def test_both_ways_give_the_same_bytes_and_errors() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=examples(160))
    @given(frames())
    def check(frame: pl.DataFrame) -> None:
        seen.update(assert_same(frame))

    check()
    assert min(seen["encoded"], seen["in doubt"]) > examples(160) // 4, seen


# --- the usual frames -------------------------------------------------------------------------------------------------------------------


def usual(count: int = 50) -> pl.DataFrame:
    numbers = range(count)
    return pl.DataFrame(
        {
            "period_start": [START + number * timedelta(days=1) for number in numbers],
            "period_end": [START + (number + 1) * timedelta(days=1) for number in numbers],
            "session_success_rate": [number / count for number in numbers],
            "avg_session_duration": [number * 1.7 for number in numbers],
            "total_tokens": [number * 1000 for number in numbers],
            "total_cost": [number / 7 if number % 3 else None for number in numbers],
            "judge_score": [1 + number % 5 for number in numbers],
            "key": [f"day {number}" for number in numbers],
            "sessions_included": [[f"s-{number}"] for number in numbers],
        }
    )


def test_usual_frames_are_encoded_whole() -> None:
    assert assert_same(usual()) == Counter({"encoded": 50})


def test_usual_pandas_frames_are_encoded_whole() -> None:
    frame = usual().drop("key", "sessions_included").to_pandas()
    assert assert_same(frame) == Counter({"encoded": 50})
    frame["total_tokens"] = frame["total_tokens"].astype("float64").where(frame["total_tokens"] > 3000)
    frame["period_start"] = frame["period_start"].dt.tz_convert("Europe/Berlin")
    assert assert_same(frame) == Counter({"encoded": 50})


def test_a_doubtful_row_leaves_the_others_encoded() -> None:
    frame = usual().with_row_index().with_columns(
        pl.when(pl.col("index") == 7).then(1.0000001).otherwise("session_success_rate").alias("session_success_rate")
    ).drop("index")  # fmt: skip
    assert assert_same(frame) == Counter({"encoded": 49, "in doubt": 1})


@pytest.mark.parametrize(
    ("column", "value", "row"),
    [
        ("session_success_rate", 1.5, 3), ("session_success_rate", math.nan, 49), ("total_tokens", -1, 0),
        ("avg_session_duration", -0.5, 20), ("judge_score", 6, 12), ("key", "", 5), ("sessions_included", ["a\x00"], 8),
        ("period_end", START, 30), ("period_start", None, 31), ("total_cost", math.inf, 1),
    ],
)  # fmt: skip
def test_an_invalid_row_has_its_message_and_number(column: str, value: Any, row: int) -> None:
    frame = usual()
    changed = frame[column].to_list()
    changed[row] = value
    frame = frame.with_columns(pl.Series(column, changed, dtype=frame.schema[column], strict=False))
    assert_same(frame)
    error = outcome(prepared(frame))
    assert error is not None
    assert error.startswith(f"{row} Row {row}: ") or f"row {row}" in error.lower()


@pytest.fixture
def kit(tmp_path: Path) -> EvalKit:
    kit = evalkit.connect(tmp_path / "home")
    kit.create_study("agent", at=START)
    kit.start_study("agent", at=START)
    kit.define_metric("agent", DEFINED["judge_score"])
    return kit


def test_a_frame_is_recorded_like_its_rows(kit: EvalKit, tmp_path: Path) -> None:
    """Recording it again in either way is a no-op, and the read model matches the log."""
    frame = usual(400)
    assert kit.record_checkpoints("agent", frame).recorded == 400
    for again in (frame, frame.to_dicts(), frame.to_pandas()):
        result = kit.record_checkpoints("agent", again)
        assert (result.recorded, result.already_recorded) == (0, 400)
    assert kit.verify().ok
    changed = frame.with_columns(pl.lit(0.5).alias("session_success_rate"))
    with pytest.raises(evalkit.ConflictError) as raised:
        kit.record_checkpoints("agent", changed)
    assert raised.value.row == 0
    half = pl.concat([frame[50:], frame.head(1).with_columns(pl.lit("new").alias("key")), frame.tail(1)])
    result = kit.record_checkpoints("agent", half)
    assert (result.recorded, result.already_recorded, len(result.checkpoint_ids)) == (1, 351, 352)
    digest = kit.verify().digest
    kit.rebuild()
    assert kit.verify(expect=digest).ok


def test_a_column_without_values_defines_nothing(kit: EvalKit) -> None:
    frame = usual(400).with_columns(pl.lit(None, pl.Float64()).alias("unmeasured"), pl.lit(2.0).alias("measured"))
    kit.record_checkpoints("agent", frame, define="auto")
    assert kit.metrics()["name"].to_list() == ["judge_score", "measured"]
    assert kit.checkpoints()["measured"].to_list() == [2.0] * 400


def test_definitions_that_change_meanwhile_apply() -> None:
    """Rows that were checked with other definitions are checked again."""
    frame = usual().with_columns(pl.lit(5.0).alias("judge_score"))
    rows = prepared(frame)
    narrower = {**DEFINED, "judge_score": Metric("judge_score", kind="score", better="up", low=1, high=4)}
    assert rows.checked_with(DEFINED) is rows
    assert list(rows.checked_with(narrower).not_encoded) == list(range(len(frame)))
    assert "judge_score" in str(
        outcome(CheckpointRows.of_mappings(RowReader(definitions=narrower).mappings(frame), RowReader(definitions=narrower)))
    )
