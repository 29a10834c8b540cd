"""The audit: injected faults are found exactly, and flawless data have no findings."""

from __future__ import annotations

import calendar
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot
from polars.testing import assert_frame_equal

import evalkit
from evalkit import StudyData
from evalkit.analysis import Audit, audit, resample
from evalkit.analysis._audit.finding_kinds import KINDS, SEVERITIES
from evalkit.analysis._resample import RESAMPLED
from evalkit.domain.events import EncodedEvent
from evalkit.domain.periods import period_end, period_start
from evalkit.errors import InvalidInputError, StudyNotFoundError
from evalkit.frames.columns import CHECKPOINTS, LIFECYCLE
from evalkit.frames.pandas_output import to_pandas
from evalkit.samples import sample_checkpoints
from tests.chart_frames import DAY, START, checkpoints, lifecycle, study_id
from tests.messages import says
from tests.properties import examples

MINUTE = timedelta(minutes=1)
PERIODS = {
    "missing_period", "overlapping_periods", "wrong_length", "shifted_period", "outside_running", "partly_outside", "inside_pause",
    "partly_paused",
}  # fmt: skip
"""The kinds of findings about periods."""
LENGTHS = {"hourly": 60 * MINUTE, "daily": DAY, "weekly": 7 * DAY}


def edge(kind: str, first: datetime, index: int) -> datetime:
    """Return the start of tile `index`, computed with the calendar module."""
    if kind != "monthly":
        return first + LENGTHS[kind] * index
    years, month = divmod(first.month - 1 + index, 12)
    last = calendar.monthrange(first.year + years, month + 1)[1]
    return first.replace(year=first.year + years, month=month + 1, day=min(first.day, last))


def findings(result: Audit, kind: str) -> pl.DataFrame:
    return result.frame.filter(kind=kind)


def kinds(result: Audit) -> list[str]:
    return sorted(result.frame["kind"].to_list())


def rows_of(result: Audit, kind: str) -> list[int]:
    return sorted({row for rows in findings(result, kind)["rows"] for row in rows})


# --- periods, against brute force on a minute grid ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Series:
    """A flawless tiling with known faults. Times are whole minutes after its start."""

    kind: str
    first: datetime
    edges: list[int]
    periods: list[tuple[int, int]]
    bent: list[int]
    """Numbers of the shortened or lengthened periods."""
    moved: list[int]
    steps: list[tuple[str, int]] | None

    def frame(self) -> pl.DataFrame:
        at = [(self.first + MINUTE * start, self.first + MINUTE * end) for start, end in self.periods]
        return pl.DataFrame([{"study_id": "s", "period_type": self.kind, "period_start": start, "period_end": end} for start, end in at])

    def lifecycle(self) -> pl.DataFrame:
        assert self.steps is not None
        return lifecycle("s", 1, *((kind, self.first + MINUTE * at) for kind, at in self.steps)).with_columns(
            study_id=pl.lit("s"), at=pl.when(pl.col("seq") == 1).then(self.first - 9 * DAY).otherwise("at")
        )  # fmt: skip


@st.composite
def series(draw: st.DrawFn) -> Series:
    kind = draw(st.sampled_from(["hourly", "daily", "weekly", "monthly"]))
    day = draw(st.integers(0, 1095) | st.sampled_from([29, 30, 423]))  # 30 and 31 January 2023, 29 February 2024
    first = datetime(2023, 1, 1, tzinfo=UTC) + day * DAY + MINUTE * draw(st.sampled_from([0, 0, 61, 1439]))
    count = draw(st.integers(8, 14))
    edges = [(edge(kind, first, index) - first) // MINUTE for index in range(count + 1)]
    random = Random(draw(st.integers(0, 2**32)))
    tiles = list(pairwise(edges))
    faulty = random.sample(range(count), k=draw(st.integers(0, 3)))
    run = range(3, draw(st.integers(3, 6)))
    gone = {tile for tile in [*random.sample(range(count), k=draw(st.integers(0, 2))), *run] if tile not in faulty}
    periods, bent, moved = [], [], []
    for number, (start, end) in enumerate(tiles):
        if number in gone:
            continue
        by = random.randint(1, (end - start) // 2 - 1)
        fault = random.choice(["early", "late", "long", "twice", *(["moved"] if kind != "monthly" else [])]) if number in faulty else ""
        shape = {"early": (start, end - by), "late": (start + by, end), "long": (start, end + by), "moved": (start + by, end + by)}.get(
            fault, (start, end)
        )
        periods += [(shape, fault)] * (2 if fault == "twice" else 1)
    random.shuffle(periods)
    for number, (_, fault) in enumerate(periods):
        if fault in ("early", "late", "long"):
            bent.append(number)
        elif fault == "moved":
            moved.append(number)
    steps = None
    if draw(st.booleans()):
        times = sorted(random.sample(range(edges[-1]), k=draw(st.integers(0, 2)) * 2))
        began = random.randint(0, times[0] if times else edges[1])
        steps = [("study_started", began), *zip(["study_paused", "study_resumed"] * 2, times, strict=False)]
        if draw(st.booleans()):
            steps.append(("study_stopped", random.randint(max(times[-1] if times else began, began), edges[-1])))
    return Series(kind, first, edges, [shape for shape, _ in periods], bent, moved, steps)


def overlaps(periods: list[tuple[int, int]]) -> set[frozenset[int]]:
    """Return groups of overlapping periods, joined pair by pair."""
    groups = [{number} for number in range(len(periods))]
    for first, (start, end) in enumerate(periods):
        for other, (other_start, other_end) in enumerate(periods):
            if first < other and max(start, other_start) < min(end, other_end):
                joined = {number for group in groups if first in group or other in group for number in group}
                groups = [group for group in groups if not group & joined] + [joined]
    return {frozenset(group) for group in groups if len(group) > 1}


def missing(tiling: Series, minutes: int) -> list[tuple[int, int, int]]:
    """Return runs of tiles without a checkpoint, computed minute by minute: start, end, number of tiles."""
    covered, ran = np.zeros(minutes, dtype=bool), ran_at(tiling, minutes)
    for start, end in tiling.periods:
        covered[start:end] = True
    steps = dict(tiling.steps or [])
    since = min(*(start for start, _ in tiling.periods), steps.get("study_started", minutes))
    until = max(*(end for _, end in tiling.periods), steps.get("study_stopped", 0))
    uncovered = ran & ~covered
    uncovered[:since], uncovered[until:] = False, False
    middles = [(start + end) / 2 for start, end in tiling.periods]
    lacking = [
        number for number, (start, end) in enumerate(pairwise(tiling.edges))
        if 2 * uncovered[start:end].sum() > end - start and not any(start <= middle < end for middle in middles)
    ]  # fmt: skip
    runs: list[list[int]] = []
    for number in lacking:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return [(max(tiling.edges[run[0]], since), min(tiling.edges[run[-1] + 1], until), len(run)) for run in runs]


def ran_at(tiling: Series, minutes: int) -> np.ndarray[Any, Any]:
    ran = np.full(minutes, tiling.steps is None)
    for (status, at), (_, until) in pairwise([*(tiling.steps or []), ("end", minutes)]):
        ran[at:until] = status in ("study_started", "study_resumed")
    return ran


@pytest.mark.slow
@given(series())
@example(Series("daily", START, [0, 1440, 2880], [(0, 1440)], [], [], [("study_started", 0), ("study_stopped", 2880)]))
@settings(max_examples=examples(100))
def test_period_findings_match_brute_force(tiling: Series) -> None:
    """Findings about periods are those computed on a grid of minutes, and no others."""
    minutes = max(tiling.edges[-1], *(end for _, end in tiling.periods)) + 1
    result = audit(StudyData(tiling.frame(), None if tiling.steps is None else tiling.lifecycle()))
    gaps = missing(tiling, minutes)
    reported = [
        ((row["start"] - tiling.first) // MINUTE, (row["end"] - tiling.first) // MINUTE, row["count"])
        for row in findings(result, "missing_period").iter_rows(named=True)
    ]
    if len(gaps) > 3 or sum(count for _, _, count in gaps) > len(tiling.periods):
        gaps = [(gaps[0][0], gaps[-1][1], sum(count for _, _, count in gaps))]
    assert reported == gaps
    groups = overlaps(tiling.periods)
    if len(groups) <= 3:
        overlapping = findings(result, "overlapping_periods").select("rows", "start", "end").rows()
        assert {frozenset(rows) for rows, _, _ in overlapping} == groups
        for rows, start, end in overlapping:
            covers = np.zeros(minutes, dtype=int)
            for row in rows:
                covers[slice(*tiling.periods[row])] += 1
            (several,) = np.nonzero(covers > 1)
            assert (several[0], several[-1] + 1) == ((start - tiling.first) // MINUTE, (end - tiling.first) // MINUTE)
    assert rows_of(result, "overlapping_periods") == sorted(row for group in groups for row in group)
    assert rows_of(result, "wrong_length") == sorted(tiling.bent)
    assert rows_of(result, "shifted_period") == sorted(tiling.moved)
    steps = dict(tiling.steps or [("study_started", -1)])
    ended = steps.get("study_stopped", minutes)
    outside = np.arange(minutes) < steps["study_started"]
    outside[ended:] = True
    paused = ~ran_at(tiling, minutes) & ~outside
    for idle, mostly, partly in ((outside, "outside_running", "partly_outside"), (paused, "inside_pause", "partly_paused")):
        shares = [idle[start:end].mean() for start, end in tiling.periods]
        assert rows_of(result, mostly) == [row for row, share in enumerate(shares) if share > 0.5]
        assert rows_of(result, partly) == [row for row, share in enumerate(shares) if 0 < share <= 0.5]
    assert set(kinds(result)) <= PERIODS


@pytest.mark.slow
@pytest.mark.parametrize("first", ["2024-01-31", "2023-01-31", "2024-01-30", "2023-10-29", "2024-02-29", "2023-12-01"])
def test_calendar_months(first: str) -> None:
    """Months end on the same day of the next month or its last day; other lengths are reported."""
    start = datetime.fromisoformat(f"{first}T06:30+00:00")
    months = checkpoints(period="monthly", start=start, count=30)
    assert audit(months).frame.is_empty()
    assert audit(months.drop("period_type", "study_id", "study")).frame.is_empty()
    shorter = months.with_columns(period_end=pl.when(pl.int_range(pl.len()) == 7).then(pl.col("period_end") - DAY).otherwise("period_end"))
    result = audit(shorter)
    assert kinds(result) == ["wrong_length"]
    assert "not a calendar month" in result.frame["message"][0]
    gap = audit(months.filter(~pl.int_range(pl.len()).is_in([4, 5])))
    assert gap.frame.select("kind", "count", "start", "end").row(0) == (
        "missing_period", 2, edge("monthly", start, 4), edge("monthly", start, 6)
    )  # fmt: skip


def test_month_off_the_grid_is_shifted_or_wrong_length() -> None:
    """A period from the 10th to the 10th is a shifted month if others start on the 5th; to the 12th its length is wrong."""
    for day, kind, message in (
        (
            10,
            "shifted_period",
            snapshot("Shifted period: 2026-10-10 to 2026-11-10 UTC starts 5 days after the study's other months. Check the start time."),
        ),
        (
            12,
            "wrong_length",
            snapshot(
                "Wrong period length: 2026-10-10 to 2026-11-12 UTC lasts 33 days, not a calendar month. Counts and totals are not comparable with those of other periods; record complete periods."
            ),
        ),
    ):
        moved = pl.int_range(pl.len()) == 9
        start, end = datetime(2026, 10, 10, tzinfo=UTC), datetime(2026, 11, day, tzinfo=UTC)
        result = audit(checkpoints(period="monthly").with_columns(
            period_start=pl.when(moved).then(start).otherwise("period_start"), period_end=pl.when(moved).then(end).otherwise("period_end")
        ))  # fmt: skip
        assert kinds(result) == [kind]
        assert result.frame["message"][0] == message


def test_short_periods_represent_their_tile() -> None:
    """Short periods have the wrong length, in one finding; only days without any period are missing."""
    frame = checkpoints(count=10, left_out=(4,)).with_columns(
        period_start=pl.col("period_start") + 9 * pl.duration(hours=1), period_end=pl.col("period_start") + pl.duration(hours=9, minutes=10)
    )
    result = audit(frame)
    assert kinds(result) == ["missing_period", "wrong_length"]
    assert findings(result, "missing_period")["count"].to_list() == [1]
    assert findings(result, "wrong_length")["message"][0] == snapshot(
        "Wrong period length (9 checkpoints): 2026-01-05 09:00 to 2026-01-05 09:10 UTC lasts 10 minutes, not 1 day; 2026-01-06 09:00 to 2026-01-06 09:10 UTC lasts 10 minutes, not 1 day; 2026-01-07 09:00 to 2026-01-07 09:10 UTC lasts 10 minutes, not 1 day; and 6 more. Counts and totals are not comparable with those of other periods; record complete periods."
    )


def test_paused_periods_are_not_missing() -> None:
    """Days inside a pause are not missing; adjacent days are."""
    frame = checkpoints(count=12, left_out=(3, 4, 5, 6))
    pause = lifecycle(
        "agent", 1, ("study_started", START), ("study_paused", START + 4 * DAY), ("study_resumed", START + 7 * DAY)
    )  # fmt: skip
    result = audit(StudyData(frame, pause))
    assert result.frame["message"].to_list() == snapshot(
        [
            "Missing checkpoints: 1 day, 2026-01-08 to 2026-01-09 UTC. Record them if they were measured; missing values count as unknown, never as zero."
        ]
    )


def test_many_gaps_are_one_finding() -> None:
    """Gaps in many places, or more missing than present periods, are one finding with the count and the largest gaps."""
    frame = checkpoints(count=40, left_out=(3, 8, 13, 18, 23, 24))
    result = audit(frame)
    assert result.frame["count"].to_list() == [6]
    assert result.frame["message"][0] == snapshot(
        "Missing checkpoints (6 days in 5 places): 2 days, 2026-01-28 to 2026-01-30 UTC; 1 day, 2026-01-08 to 2026-01-09 UTC; 1 day, 2026-01-13 to 2026-01-14 UTC; and 2 more. Record them if they were measured; missing values count as unknown, never as zero."
    )
    sparse = audit(checkpoints(count=40, left_out=tuple(range(1, 30))))
    assert sparse.frame["count"].to_list() == [29]


def test_usual_length_replaces_missing_period_type() -> None:
    """Without a period type, the most common length is expected; without a common length, the check is skipped."""
    frame = checkpoints(count=10, left_out=(4,)).select("period_start", "period_end")
    assert kinds(audit(frame)) == ["missing_period"]
    irregular = frame.with_columns(period_end=pl.col("period_start") + pl.duration(minutes=pl.int_range(pl.len()) * 7 + 60))
    result = audit(irregular)
    assert result.frame.is_empty()
    assert result.unchecked == snapshot(
        [
            "Skipped for 1 study without lifecycle data: checkpoints outside the running time or inside a pause. Pass kit.data() or StudyData(checkpoints, lifecycle) to check them.",
            "Skipped for 1 study without a period type: missing periods and period lengths. No length is shared by at least half of the periods.",
        ]
    )


# --- values and records ---------------------------------------------------------------------------------------------------------------

GOOD = {
    "sessions_completed": 10, "session_success_rate": 0.7, "avg_session_duration": timedelta(seconds=90), "tasks_completed": 12,
    "first_attempt_success_rate": 0.5, "avg_iterations_to_success": 1.4, "tool_success_rate": 0.96, "learnings_applied": 3,
    "learning_effectiveness": 0.6667, "total_tokens": 1000, "total_cost": 4.5, "cost_per_successful_task": 0.5,
    "sessions_included": [f"s-{number}" for number in range(10)], "recorded_at": timedelta(minutes=3),
}  # fmt: skip

FAULTS: dict[str, tuple[str, dict[str, Any], list[str], str]] = {
    "a percentage": (
        "rate_outside",
        {"tool_success_rate": 96.0},
        ["tool_success_rate"],
        snapshot(
            "Rate outside 0 to 1: tool_success_rate is 96 (2026-01-07 to 2026-01-08 UTC). Rates are fractions; divide percentages by 100."
        ),
    ),
    "a negative rate": (
        "rate_outside",
        {"session_success_rate": -0.1},
        ["session_success_rate"],
        snapshot(
            "Rate outside 0 to 1: session_success_rate is -0.1 (2026-01-07 to 2026-01-08 UTC). Rates are fractions; divide percentages by 100."
        ),
    ),
    "negative money": (
        "negative_value",
        {"total_cost": -4.5},
        ["total_cost"],
        snapshot(
            "Negative value: total_cost is -4.5 (2026-01-07 to 2026-01-08 UTC). Counts, durations and costs cannot be negative; correct the value with kit.amend_checkpoint()."
        ),
    ),
    "a negative duration": (
        "negative_value",
        {"avg_session_duration": timedelta(seconds=-5)},
        ["avg_session_duration"],
        snapshot(
            "Negative value: avg_session_duration is -5 (2026-01-07 to 2026-01-08 UTC). Counts, durations and costs cannot be negative; correct the value with kit.amend_checkpoint()."
        ),
    ),
    "an infinite cost": (
        "not_finite",
        {"total_cost": float("inf")},
        ["total_cost"],
        snapshot(
            "Not a finite number: total_cost is inf (2026-01-07 to 2026-01-08 UTC). Record it as missing (None) if it was not measured."
        ),
    ),
    "half an attempt": (
        "below_one_iteration",
        {"avg_iterations_to_success": 0.5},
        ["avg_iterations_to_success"],
        snapshot(
            "Fewer than one iteration per success: avg_iterations_to_success is 0.5 (2026-01-07 to 2026-01-08 UTC). A success takes at least one iteration; check how the mean was computed."
        ),
    ),
    "no sessions with a rate": (
        "over_nothing",
        {"sessions_completed": 0, "avg_session_duration": None, "sessions_included": []},
        ["session_success_rate", "sessions_completed"],
        snapshot(
            "Value with zero denominator: session_success_rate is 0.7, sessions_completed is 0 (2026-01-07 to 2026-01-08 UTC). Record the value as missing (None), or correct the count."
        ),
    ),
    "no sessions with a duration": (
        "over_nothing",
        {"sessions_completed": 0, "session_success_rate": None, "sessions_included": []},
        ["avg_session_duration", "sessions_completed"],
        snapshot(
            "Value with zero denominator: avg_session_duration is 90, sessions_completed is 0 (2026-01-07 to 2026-01-08 UTC). Record the value as missing (None), or correct the count."
        ),
    ),
    "no tasks with attempts": (
        "over_nothing",
        {"tasks_completed": 0, "first_attempt_success_rate": None, "cost_per_successful_task": None},
        ["avg_iterations_to_success", "tasks_completed"],
        snapshot(
            "Value with zero denominator: avg_iterations_to_success is 1.4, tasks_completed is 0 (2026-01-07 to 2026-01-08 UTC). Record the value as missing (None), or correct the count."
        ),
    ),
    "an inconsistent rate": (
        "rate_not_of_count",
        {"session_success_rate": 0.75},
        ["session_success_rate", "sessions_completed"],
        snapshot(
            "Rate inconsistent with count: session_success_rate is 0.75, sessions_completed is 10, which implies 7.5 successes (2026-01-07 to 2026-01-08 UTC). Check whether it is a mean of rates, or has a different denominator."
        ),
    ),
    "more successes than tasks": (
        "cost_below_task",
        {"cost_per_successful_task": 0.3},
        ["total_cost", "cost_per_successful_task", "tasks_completed"],
        snapshot(
            "Cost per success below cost per task: total_cost is 4.5, cost_per_successful_task is 0.3, tasks_completed is 12, which implies 15 solved tasks (2026-01-07 to 2026-01-08 UTC). Successes cannot outnumber tasks; check how cost and tasks were counted."
        ),
    ),
    "a fractional success": (
        "successes_not_whole",
        {"cost_per_successful_task": 0.53},
        ["total_cost", "cost_per_successful_task"],
        snapshot(
            "Inconsistent costs: total_cost is 4.5, cost_per_successful_task is 0.53, which implies 8.491 solved tasks (2026-01-07 to 2026-01-08 UTC). total_cost / cost_per_successful_task is the number of solved tasks and must be an integer."
        ),
    ),
    "a price without a cost": (
        "successes_not_whole",
        {"total_cost": 0.0},
        ["total_cost", "cost_per_successful_task"],
        snapshot(
            "Inconsistent costs: total_cost is 0, cost_per_successful_task is 0.5, which implies 0 solved tasks (2026-01-07 to 2026-01-08 UTC). total_cost / cost_per_successful_task is the number of solved tasks and must be an integer."
        ),
    ),
    "too many at once": (
        "first_above_successes",
        {"first_attempt_success_rate": 0.9167},
        ["first_attempt_success_rate", "total_cost", "cost_per_successful_task", "tasks_completed"],
        snapshot(
            "More first-attempt successes than successes: first_attempt_success_rate is 0.9167, total_cost is 4.5, cost_per_successful_task is 0.5, tasks_completed is 12, which implies 9 solved tasks (2026-01-07 to 2026-01-08 UTC). Check that rate, tasks and costs refer to the same tasks."
        ),
    ),
    "names and count differ": (
        "session_count",
        {"sessions_included": ["a", "b", "b"]},
        ["sessions_completed", "session_success_rate", "avg_session_duration"],
        snapshot(
            "Session count mismatch: sessions_completed is 10, sessions_included has 2 (2026-01-07 to 2026-01-08 UTC). sessions_completed and sessions_included should agree; check which is correct."
        ),
    ),
    "a shared session": (
        "shared_sessions",
        {"sessions_included": [f"2-s-{number}" for number in range(9)] + ["1-s-0"]},
        [],
        snapshot(
            "Sessions in several checkpoints: '1-s-0' in 2 checkpoints from 2026-01-06 to 2026-01-08 UTC. They are counted more than once; keep each session in the checkpoint of the period in which it ended."
        ),
    ),
    "late": (
        "recorded_late",
        {"recorded_at": 40 * DAY},
        [],
        snapshot(
            "Recorded late: 1 of 5 checkpoints, 40 days after the end of its period. Backfilled values may come from a different source; check that they are comparable with live ones."
        ),
    ),
    "no end": (
        "no_period",
        {"period_end": None},
        [],
        snapshot("No period: row 2. It cannot be placed in time; record it again with its period."),
    ),
    "backwards": (
        "backwards_period",
        {"period_end": START},
        [],
        snapshot("Period ends before it starts: row 2. Exclude it (exclude=) and record it again with the correct period."),
    ),
    "no length": (
        "empty_period",
        {"period_end": START + 2 * DAY},
        [],
        snapshot(
            "Zero-length period: row 2. Exclude it (exclude=) and record it again with the correct period; for a study of runs, pass kit.data() instead of a DataFrame."
        ),
    ),
}


def faulty_checkpoints(fault: dict[str, Any] | None = None, count: int = 5) -> pl.DataFrame:
    """Return good daily checkpoints, the third with a fault."""
    rows = []
    for number in range(count):
        row = {"period_start": START + number * DAY, "period_end": START + (number + 1) * DAY, **GOOD}
        row["sessions_included"] = [f"{number}-{name}" for name in GOOD["sessions_included"]]  # type: ignore[attr-defined]
        row |= fault if fault is not None and number == 2 else {}
        row["recorded_at"] = START + (number + 1) * DAY + row["recorded_at"]
        rows.append({"study_id": study_id(1), "study": "agent", "period_type": "daily", "checkpoint_id": f"c-{number}", **row})
    schema = {name: dtype for name, dtype in checkpoints().schema.items() if name in rows[0]}
    return pl.DataFrame(rows, schema=schema)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_one_finding(name: str) -> None:
    """A fault is one finding with its kind, row and metrics, in Polars and pandas."""
    kind, fault, metrics, message = FAULTS[name]
    frame = faulty_checkpoints(fault)
    assert audit(faulty_checkpoints()).frame.is_empty()
    gap = ["missing_period"] if kind in ("no_period", "backwards_period", "empty_period") else []
    result = audit(frame)
    assert kinds(result) == sorted([kind, *gap])
    row = findings(result, kind).row(0, named=True)
    assert row["rows"] == ([1, 2] if kind == "shared_sessions" else [2])
    assert row["checkpoints"] == ([f"c-{number}" for number in row["rows"]])
    assert row["metrics"] == metrics
    assert row["severity"] == KINDS[kind].severity
    assert row["message"] == message
    if name != "an infinite cost":  # which pandas frames of the kit cannot hold
        other = audit(to_pandas(frame.select(list(frame.columns)), {column: CHECKPOINTS[column] for column in frame.columns}))
        assert other.frame.drop(columns=["start", "end"]).to_dict("records") == result.frame.drop("start", "end").to_dicts()


def test_every_kind_is_tested() -> None:
    """Those of runs are in `test_cadence.py`, those of custom metrics in `test_custom_metrics.py`."""
    elsewhere = {"duplicate_runs", "malformed_part", "value_outside", "part_above_total", "successes_not_recorded"}
    assert {kind for kind, *_ in FAULTS.values()} | PERIODS | elsewhere == set(KINDS)
    assert {kind.severity for kind in KINDS.values()} == set(SEVERITIES)


def test_optional_parts_that_are_invalid_are_named(tmp_path: Path) -> None:
    """Another program wrote them; the checkpoint counts without them."""
    with evalkit.connect(tmp_path) as kit:
        study = kit.start_study(kit.create_study("nightly", at=START))
        for day in range(2):
            kit.record_checkpoint(study, {"period_start": START + day * DAY, "total_cost": 1}, tz="UTC", at=START + (day + 1) * DAY)
        event = json.loads(kit.engine.log.consumer("eval-projection").poll(10, 1)[-1].data)
        number = event["event_id"][:-4]
        event |= {"event_id": f"{number}ffff", "written_at": "yesterday"}
        event["event"] |= {"id": event["event_id"], "provenance": {"collector": 5}}
        event["event"]["metrics"] |= {"custom": {"A": 1}, "period": {"start": "2026-01-07T00:00:00Z", "end": "2026-01-08T00:00:00Z"}}
        kit.engine.log.append([EncodedEvent(study.id, event["event_id"], json.dumps(event).encode())])
        found = audit(kit.data()).frame.filter(kind="malformed_part")
        assert found["message"].to_list() == [
            snapshot(
                "Invalid optional part: metrics.custom, provenance, written_at. It counts as absent, and the checkpoint is valid; correct the program that writes it."
            )
        ]
        assert audit(kit.data(as_of=START)).frame.filter(kind="malformed_part").is_empty()
        assert audit(kit.data(exclude=[event["event_id"]])).frame.filter(kind="malformed_part").is_empty()


def days(values: list[dict[str, Any]]) -> pl.DataFrame:
    """Return consecutive daily checkpoints with these values."""
    return pl.DataFrame(
        [{"period_start": START + day * DAY, "period_end": START + (day + 1) * DAY, **row} for day, row in enumerate(values)],
        infer_schema_length=None,
    )


def could_be(rate: float, count: int) -> bool:
    """Return whether k / count, rounded like the rate, equals the rate for some k; tries each k with fractions."""
    written = len(repr(rate).partition(".")[2]) if rate not in (0.0, 1.0) else 0
    return any(abs(Fraction(repr(rate)) - Fraction(k, count)) <= Fraction(1, 2 * 10**written) for k in range(count + 1))


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 10_000), st.integers(2, 4)), min_size=1, max_size=40))
@settings(max_examples=examples(25))
def test_rate_is_inconsistent_if_no_fraction_rounds_to_it(cases: list[tuple[int, int, int]]) -> None:
    """A rate is inconsistent with a count if and only if no k / n, rounded like the rate, equals it."""
    counted = [(count, round(units / 10_000, decimals)) for count, units, decimals in cases]
    frame = days([{"tasks_completed": count, "first_attempt_success_rate": rate} for count, rate in counted])
    result = audit(frame)
    assert set(kinds(result)) <= {"rate_not_of_count"}
    assert rows_of(result, "rate_not_of_count") == [row for row, (count, rate) in enumerate(counted) if not could_be(rate, count)]


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 3000), st.sampled_from([2, 3, 4, 17]), st.floats(0.01, 500)), min_size=1, max_size=40)
)  # fmt: skip
@settings(max_examples=examples(25))
def test_rounded_values_are_consistent(cases: list[tuple[int, int, int, float]]) -> None:
    """Rates and costs computed from counts have no findings, however they are rounded, also in single precision."""
    values = []
    for some, tasks, decimals, cost in cases:
        solved = min(some, tasks)
        values.append({
            "sessions_completed": tasks, "tasks_completed": tasks, "session_success_rate": round(solved / tasks, decimals),
            "first_attempt_success_rate": round(solved // 2 / tasks, decimals), "total_cost": round(cost, decimals),
            "cost_per_successful_task": round(cost / solved, decimals) if solved else None,
        })  # fmt: skip
    frame = days(values)
    assert kinds(audit(frame)) == []
    assert kinds(audit(frame.with_columns(pl.col(pl.Float64()).cast(pl.Float32())))) == []


def test_backfilled_series_is_one_finding() -> None:
    """Fifty checkpoints recorded long after their periods are one finding."""
    frame = faulty_checkpoints(count=50).with_columns(recorded_at=pl.lit(START + 400 * DAY))
    result = audit(frame)
    assert kinds(result) == ["recorded_late"]
    assert result.frame["message"][0] == snapshot(
        "Recorded late: 50 of 50 checkpoints, 350 to 399 days after the end of their periods. Backfilled values may come from a different source; check that they are comparable with live ones."
    )


# --- flawless and unusual frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("period", ["hourly", "daily", "weekly", "monthly"])
@pytest.mark.parametrize("seed", range(3))
def test_samples_have_no_findings(period: str, seed: int) -> None:
    """Sample checkpoints are flawless, with a lifecycle, without ids and types, and shuffled."""
    start = datetime(2024, 1, 31, 7, 15, tzinfo=UTC)
    rows = sample_checkpoints(period, start, 70, seed=seed, level=seed - 2, trend=0.05)
    frame = pl.DataFrame([{key: value for key, value in row.items() if key != "key"} for row in rows], infer_schema_length=None)
    assert audit(frame).frame.is_empty()
    assert audit(frame.sample(fraction=1, shuffle=True, seed=seed)).frame.is_empty()
    ran = lifecycle("agent", 1, ("study_started", start), ("study_stopped", rows[-1]["period_end"])).with_columns(
        at=pl.when(pl.col("seq") == 1).then(start - DAY).otherwise("at")
    )  # fmt: skip
    result = audit(StudyData(frame.with_columns(study_id=pl.lit(study_id(1)), period_type=pl.lit(period)), ran))
    assert result.frame.is_empty()
    assert len(result.sentences()) == 1


def many(count: int) -> pl.DataFrame:
    return pl.concat([checkpoints(f"agent {number}", number, 8, left_out=(3,)) for number in range(count)])


UNUSUAL: dict[str, Callable[[], pl.DataFrame]] = {
    "empty": lambda: checkpoints(count=0),
    "one row": lambda: checkpoints(count=1),
    "all missing": lambda: checkpoints(count=6).with_columns(
        pl.lit(None, dtype=dtype).alias(name) for name, dtype in checkpoints().schema.items()
    ),
    "no periods": lambda: checkpoints(count=6).with_columns(period_start=pl.lit(None, dtype=checkpoints().schema["period_start"])),
    "constant": lambda: checkpoints(count=6).with_columns(pl.col("session_success_rate").first(), pl.col("sessions_completed").first()),
    "twice": lambda: pl.concat([checkpoints(), checkpoints()]),
    "unsorted": lambda: checkpoints(left_out=(2,)).reverse(),
    "fifty studies": lambda: many(50),
    "the ends of the calendar": lambda: checkpoints(count=2).with_columns(
        period_start=pl.Series([datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)]),
        period_end=pl.Series([datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 31, 23, tzinfo=UTC)]),
    ),
    "the last month": lambda: checkpoints(count=2, period="monthly").with_columns(
        period_start=pl.Series([datetime(9999, 10, 1, tzinfo=UTC), datetime(9999, 12, 1, tzinfo=UTC)]),
        period_end=pl.Series([datetime(9999, 11, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)]),
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_frames(name: str) -> None:
    """Polars and pandas frames have the same findings, with the same columns, without warnings."""
    frame = UNUSUAL[name]()
    result = audit(frame)
    assert result.frame.columns == list(audit(faulty_checkpoints()).frame.columns)
    assert result.frame.schema == audit(faulty_checkpoints()).frame.schema
    assert result.sentences()[0].startswith(f"Audit of {frame.height} checkpoint")
    assert "<p>Audit of" in result._repr_html_()
    other = audit(to_pandas(frame, CHECKPOINTS))
    assert other.frame["message"].tolist() == result.frame["message"].to_list()
    assert other.frame["rows"].tolist() == result.frame["rows"].to_list()
    assert str(other.frame.dtypes["start"]) == "datetime64[us, UTC]"
    assert repr(other) == repr(result)


@pytest.mark.slow
def test_findings_of_unusual_frames() -> None:
    """Duplicate rows overlap, rows without times have no period, and the first and last dates are supported."""
    assert kinds(audit(UNUSUAL["twice"]())) == ["overlapping_periods"]
    assert kinds(audit(UNUSUAL["no periods"]())) == ["no_period"]
    assert rows_of(audit(UNUSUAL["twice"]()), "overlapping_periods") == list(range(20))
    assert findings(audit(UNUSUAL["the ends of the calendar"]()), "missing_period")["count"].to_list() == [3_652_056]
    assert findings(audit(UNUSUAL["the last month"]()), "missing_period")["count"].to_list() == [1]
    assert audit(UNUSUAL["fifty studies"]()).warnings == 50


def test_filter_by_metric_and_study() -> None:
    """Findings about a metric, its denominator, and periods match; a study is chosen by any reference."""
    frame = pl.concat([faulty_checkpoints({"tool_success_rate": 96.0}), faulty_checkpoints({"sessions_completed": -1, "sessions_included": []}).with_columns(
        study_id=pl.lit(study_id(2)), study=pl.lit("other")).filter(pl.int_range(pl.len()) != 1)])  # fmt: skip
    result = audit(frame)
    assert (result.errors, result.warnings, result.notes) == (2, 1, 0)
    assert kinds(result.filter("session_success_rate")) == ["missing_period", "negative_value"]
    assert kinds(result.filter("tool_success_rate", study=study_id(1))) == ["rate_outside"]
    assert kinds(result.filter(study="other")) == ["missing_period", "negative_value"]
    assert kinds(result.filter("total_cost", study=study_id(1))) == []
    with pytest.raises(InvalidInputError) as error:
        result.filter("total_costs")
    assert error.value.value == "total_costs"
    assert result.sentences()[:2] == snapshot(
        [
            "Audit of 9 checkpoints of 2 studies: 2 errors and 1 warning.",
            "Error: agent: Rate outside 0 to 1: tool_success_rate is 96 (2026-01-07 to 2026-01-08 UTC). Rates are fractions; divide percentages by 100.",
        ]
    )


def test_study_references() -> None:
    """A study of a frame is chosen by id, name or end of the id; row numbers refer to the whole frame."""
    frame = many(3)
    for reference in ("agent 2", study_id(2), study_id(2)[-8:], ["agent 2"]):
        result = audit(frame.with_columns(tool_success_rate=pl.lit(2.0)), study=reference)
        assert result.studies == 1
        assert rows_of(result, "rate_outside") == list(range(14, 21))
    with pytest.raises(StudyNotFoundError) as error:
        audit(frame, study="agent 9")
    assert error.value.reference == "agent 9"
    with pytest.raises(InvalidInputError) as invalid:
        audit(frame, study=3)
    assert (invalid.value.field, invalid.value.value) == ("study", 3)


@pytest.mark.slow
def test_lifecycle_is_matched_by_id_or_name() -> None:
    """A lifecycle is matched by id, else by name, else it must be of one study; studies without a lifecycle are unchecked."""
    frame, events = checkpoints(left_out=(4,)), lifecycle("agent", 1, ("study_started", START + 6 * DAY))
    for rows in (frame, frame.drop("study_id"), frame.drop("study_id", "study"), to_pandas(frame, CHECKPOINTS)):
        assert sorted(audit(StudyData(rows, events)).frame["kind"]) == ["outside_running"]
    assert audit(StudyData(frame, to_pandas(events, LIFECYCLE))).frame.height == 1
    with pytest.raises(InvalidInputError) as error:
        audit(StudyData(frame.drop("study_id", "study"), pl.concat([events, lifecycle("other", 2)])))
    assert says(error) == snapshot(
        "Cannot match a lifecycle of 2 studies with checkpoints that have no study_id or study. Keep the lifecycle rows of one study."
    )
    assert audit(StudyData(frame, lifecycle("other", 2))).unchecked == snapshot(
        [
            "Skipped for 1 study without lifecycle data: checkpoints outside the running time or inside a pause. Pass kit.data() or StudyData(checkpoints, lifecycle) to check them."
        ]
    )


def test_lifecycle_times_out_of_order() -> None:
    """A resumption earlier than its pause makes the pause empty."""
    frame = checkpoints(count=8)
    back = lifecycle(
        "agent", 1, ("study_started", START), ("study_paused", START + 5 * DAY), ("study_resumed", START + 2 * DAY),
        ("study_paused", START + 3 * DAY), ("study_resumed", START + 4 * DAY),
    )  # fmt: skip
    assert audit(StudyData(frame, back)).frame.is_empty()


def test_pending_study_has_no_running_time() -> None:
    """All checkpoints of a study that was never started are outside its running time."""
    result = audit(StudyData(checkpoints(count=8), lifecycle("agent", 1)))
    assert kinds(result) == ["outside_running"]
    assert result.frame["message"][0] == snapshot(
        "Outside the study's running time (8 checkpoints): 2026-01-05 to 2026-01-06 UTC, but the study was never started; 2026-01-06 to 2026-01-07 UTC, but the study was never started; 2026-01-07 to 2026-01-08 UTC, but the study was never started; and 5 more. Exclude such checkpoints (exclude=), or ignore this if the study was registered retroactively."
    )


@pytest.mark.parametrize("wrong", [None, 3, "agent", (checkpoints(),), pl.DataFrame({"a": [1]})])
def test_invalid_data(wrong: object) -> None:
    with pytest.raises(InvalidInputError) as error:
        audit(wrong)
    assert error.value.field in ("data", "checkpoints", "frame")


def test_resampled_data() -> None:
    """A resampled result is audited like its frame, with and without a lifecycle."""
    weeks, events = resample(checkpoints(count=28), "weekly"), lifecycle("agent", 1, ("study_started", START))
    assert_frame_equal(audit(weeks).frame, audit(weeks.frame).frame)
    assert_frame_equal(
        audit(resample(StudyData(checkpoints(count=28), events), "weekly")).frame, audit(StudyData(weeks.frame, events)).frame
    )
    assert audit(weeks).checked == 4


@pytest.mark.slow
@pytest.mark.parametrize("library", ["polars", "pandas"])
def test_partial_periods_are_notes(library: str) -> None:
    """A mostly idle period is a note if it is marked as partial, otherwise a warning."""
    frame = checkpoints(count=8)
    steps = (
        [("study_started", START), ("study_stopped", START + 8 * DAY)],
        [("study_started", START), ("study_paused", START + 8 * DAY), ("study_resumed", START + 14 * DAY)],
    )
    for events, kind, note in zip(steps, ("outside_running", "inside_pause"), ("partly_outside", "partly_paused"), strict=True):
        ran = lifecycle("agent", 1, *events)
        weeks = resample(frame, "weekly").frame
        assert weeks["partial"].to_list() == [False, True]
        for partial, expected in ((True, note), (None, kind), (False, kind)):
            rows = weeks.with_columns(partial=pl.Series([False, partial], dtype=pl.Boolean()))
            result = audit(StudyData(to_pandas(rows, RESAMPLED) if library == "pandas" else rows, ran))
            assert list(result.frame["kind"]) == [expected]
            assert list(result.frame["rows"][0]) == [1]
        assert (
            kinds(audit(StudyData(weeks.drop("partial"), ran)))
            == kinds(audit(StudyData(weeks.with_columns(partial=pl.lit(3)), ran)))
            == [kind]
        )


def test_column_of_wrong_type() -> None:
    with pytest.raises(InvalidInputError) as error:
        audit(checkpoints().with_columns(sessions_included=pl.lit(1, dtype=pl.Int64())))
    assert "sessions_included" in str(error.value)


@pytest.mark.slow
def test_data_of_a_kit_includes_the_lifecycle(tmp_path: Path) -> None:
    """Samples recorded in a kit are flawless; checkpoints of paused time are found."""
    with evalkit.connect(tmp_path) as kit:
        for name in ("one", "two"):
            kit.create_study(name, at=START)
            kit.start_study(name, at=START)
            kit.record_checkpoints(name, sample_checkpoints("daily", START, 12, seed=1))
        kit.pause_study("two", at=START + 3 * DAY)
        kit.resume_study("two", at=START + 4 * DAY + 6 * MINUTE)
        assert repr(audit(kit.data("one"))) == snapshot("Audit of 12 checkpoints of 1 study: no problems found.")
        result = audit(kit.data())
        assert result.frame.select("study", "kind", "count").rows() == [("two", "inside_pause", 1), ("two", "partly_paused", 1)]
        assert [message.partition(". ")[0] for message in result.frame["message"]] == snapshot(
            ["Inside a pause: 2026-01-08 to 2026-01-09 UTC, entirely", "Partly paused: 2026-01-09 to 2026-01-10 UTC, 6 minutes of it"]
        )
        with pytest.raises(StudyNotFoundError):
            audit(kit.data("three"))


# --- local calendars ------------------------------------------------------------------------------------------------------------------------


def local_periods(kind: str, zone: str, first: datetime, count: int) -> list[tuple[datetime, datetime]]:
    bounds = [period_start(kind, first, ZoneInfo(zone))]
    for _ in range(count):
        bounds.append(period_end(kind, bounds[-1], ZoneInfo(zone)))
    return list(pairwise(bounds))


def period_frame(kind: str, periods: list[tuple[datetime, datetime]]) -> pl.DataFrame:
    rows = {"study": "local", "period_type": kind, "sessions_completed": 3}
    return pl.DataFrame([{**rows, "period_start": start, "period_end": end} for start, end in periods])


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Sydney", "Asia/Kolkata"])
@pytest.mark.parametrize(("kind", "count"), [("daily", 400), ("weekly", 60), ("monthly", 14)])
def test_complete_periods_of_a_local_calendar_have_no_findings(kind: str, count: int, zone: str) -> None:
    """Days of 23 and 25 hours at clock changes are complete days."""
    periods = local_periods(kind, zone, datetime(2026, 1, 15, 12, tzinfo=UTC), count)
    assert kinds(audit(period_frame(kind, periods))) == []
    assert kinds(audit(period_frame(kind, periods).drop("period_type"))) == []


def test_an_hour_too_much_is_found_where_no_clock_changes() -> None:
    """The next period starts as usual, so the longer one overlaps it; a shorter one leaves an hour uncovered."""
    periods = local_periods("daily", "UTC", datetime(2026, 3, 20, tzinfo=UTC), 20)
    for hours, expected in ((1, ["overlapping_periods", "wrong_length"]), (-1, ["wrong_length"])):
        changed = [*periods[:9], (periods[9][0], periods[9][1] + timedelta(hours=hours)), *periods[10:]]
        assert kinds(audit(period_frame("daily", changed))) == expected


def test_a_missing_local_day_is_found() -> None:
    periods = local_periods("daily", "Europe/Berlin", datetime(2026, 3, 20, 12, tzinfo=UTC), 20)
    result = audit(period_frame("daily", periods[:4] + periods[5:]))
    assert kinds(result) == ["missing_period"]
