"""The audit: what is injected is found, and nothing else; what is perfect gives no finding."""

from __future__ import annotations

import calendar
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import evalkit
from evalkit import StudyData
from evalkit.analysis import Audit, audit, resample
from evalkit.analysis._audit.finding_kinds import KINDS, SEVERITIES
from evalkit.analysis._resample import RESAMPLED
from evalkit.errors import InvalidInputError, StudyNotFoundError
from evalkit.frames.columns import CHECKPOINTS, LIFECYCLE
from evalkit.frames.pandas_output import to_pandas
from evalkit.samples import sample_checkpoints
from tests.chart_frames import DAY, START, checkpoints, lifecycle, study_id
from tests.properties import examples

MINUTE = timedelta(minutes=1)
PERIODS = {
    "missing_period", "overlapping_periods", "wrong_length", "shifted_period", "outside_running", "partly_outside", "inside_pause",
    "partly_paused",
}  # fmt: skip
"""What can be wrong with when checkpoints are."""
LENGTHS = {"hourly": 60 * MINUTE, "daily": DAY, "weekly": 7 * DAY}


def edge(kind: str, first: datetime, index: int) -> datetime:
    """Where tile `index` begins, by the calendar module."""
    if kind != "monthly":
        return first + LENGTHS[kind] * index
    years, month = divmod(first.month - 1 + index, 12)
    last = calendar.monthrange(first.year + years, month + 1)[1]
    return first.replace(year=first.year + years, month=month + 1, day=min(first.day, last))


def found(result: Audit, kind: str) -> pl.DataFrame:
    return result.frame.filter(kind=kind)


def kinds(result: Audit) -> list[str]:
    return sorted(result.frame["kind"].to_list())


def rows_of(result: Audit, kind: str) -> list[int]:
    return sorted({row for rows in found(result, kind)["rows"] for row in rows})


# --- periods, against brute force on a minute grid ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Series:
    """A perfect tiling with known faults. Times are whole minutes after the tiling's beginning."""

    kind: str
    first: datetime
    edges: list[int]
    periods: list[tuple[int, int]]
    bent: list[int]
    """The numbers of the periods that were cut or stretched."""
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
    """The groups of periods that overlap, joined pair by pair."""
    groups = [{number} for number in range(len(periods))]
    for one, (start, end) in enumerate(periods):
        for other, (other_start, other_end) in enumerate(periods):
            if one < other and max(start, other_start) < min(end, other_end):
                joined = {number for group in groups if one in group or other in group for number in group}
                groups = [group for group in groups if not group & joined] + [joined]
    return {frozenset(group) for group in groups if len(group) > 1}


def missing(made: Series, minutes: int) -> list[tuple[int, int, int]]:
    """The stretches of tiles without a checkpoint, minute by minute: from, to, how many tiles."""
    covered, ran = np.zeros(minutes, dtype=bool), ran_at(made, minutes)
    for start, end in made.periods:
        covered[start:end] = True
    steps = dict(made.steps or [])
    since = min(*(start for start, _ in made.periods), steps.get("study_started", minutes))
    until = max(*(end for _, end in made.periods), steps.get("study_stopped", 0))
    bare = ran & ~covered
    bare[:since], bare[until:] = False, False
    middles = [(start + end) / 2 for start, end in made.periods]
    lacking = [
        number for number, (start, end) in enumerate(pairwise(made.edges))
        if 2 * bare[start:end].sum() > end - start and not any(start <= middle < end for middle in middles)
    ]  # fmt: skip
    runs: list[list[int]] = []
    for number in lacking:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return [(max(made.edges[run[0]], since), min(made.edges[run[-1] + 1], until), len(run)) for run in runs]


def ran_at(made: Series, minutes: int) -> np.ndarray[Any, Any]:
    ran = np.full(minutes, made.steps is None)
    for (status, at), (_, until) in pairwise([*(made.steps or []), ("end", minutes)]):
        ran[at:until] = status in ("study_started", "study_resumed")
    return ran


@pytest.mark.slow
@given(series())
@example(Series("daily", START, [0, 1440, 2880], [(0, 1440)], [], [], [("study_started", 0), ("study_stopped", 2880)]))
@settings(max_examples=examples(100))
def test_the_faults_of_a_tiling_are_found_exactly(made: Series) -> None:
    """Missing, overlapping, wrong in length, shifted, outside the running time, inside a pause: as a grid of minutes says, and no more."""
    minutes = max(made.edges[-1], *(end for _, end in made.periods)) + 1
    result = audit(StudyData(made.frame(), None if made.steps is None else made.lifecycle()))
    holes = missing(made, minutes)
    told = [
        ((row["start"] - made.first) // MINUTE, (row["end"] - made.first) // MINUTE, row["count"])
        for row in found(result, "missing_period").iter_rows(named=True)
    ]
    if len(holes) > 3 or sum(hole[2] for hole in holes) > len(made.periods):
        holes = [(holes[0][0], holes[-1][1], sum(hole[2] for hole in holes))]
    assert told == holes
    doubled = overlaps(made.periods)
    if len(doubled) <= 3:
        told_of = found(result, "overlapping_periods").select("rows", "start", "end").rows()
        assert {frozenset(rows) for rows, _, _ in told_of} == doubled
        for rows, start, end in told_of:
            twice = np.zeros(minutes, dtype=int)
            for row in rows:
                twice[slice(*made.periods[row])] += 1
            (several,) = np.nonzero(twice > 1)
            assert (several[0], several[-1] + 1) == ((start - made.first) // MINUTE, (end - made.first) // MINUTE)
    assert rows_of(result, "overlapping_periods") == sorted(row for group in doubled for row in group)
    assert rows_of(result, "wrong_length") == sorted(made.bent)
    assert rows_of(result, "shifted_period") == sorted(made.moved)
    steps = dict(made.steps or [("study_started", -1)])
    ended = steps.get("study_stopped", minutes)
    outside = np.arange(minutes) < steps["study_started"]
    outside[ended:] = True
    paused = ~ran_at(made, minutes) & ~outside
    for idle, whole, part in ((outside, "outside_running", "partly_outside"), (paused, "inside_pause", "partly_paused")):
        shares = [idle[start:end].mean() for start, end in made.periods]
        assert rows_of(result, whole) == [row for row, share in enumerate(shares) if share > 0.5]
        assert rows_of(result, part) == [row for row, share in enumerate(shares) if 0 < share <= 0.5]
    assert set(kinds(result)) <= PERIODS


@pytest.mark.slow
@pytest.mark.parametrize("first", ["2024-01-31", "2023-01-31", "2024-01-30", "2023-10-29", "2024-02-29", "2023-12-01"])
def test_months_end_on_the_same_day_or_the_last(first: str) -> None:
    """31 January is followed by 29 February in a leap year and by 31 March; a month that ends elsewhere is told, with what it should be."""
    start = datetime.fromisoformat(f"{first}T06:30+00:00")
    whole = checkpoints(period="monthly", start=start, count=30)
    assert audit(whole).frame.is_empty()
    assert audit(whole.drop("period_type", "study_id", "study")).frame.is_empty()
    day_less = whole.with_columns(period_end=pl.when(pl.int_range(pl.len()) == 7).then(pl.col("period_end") - DAY).otherwise("period_end"))
    result = audit(day_less)
    assert kinds(result) == ["wrong_length"]
    assert "not a calendar month" in result.frame["message"][0]
    hole = audit(whole.filter(~pl.int_range(pl.len()).is_in([4, 5])))
    assert hole.frame.select("kind", "count", "start", "end").row(0) == (
        "missing_period", 2, edge("monthly", start, 4), edge("monthly", start, 6)
    )  # fmt: skip


def test_a_month_beside_the_grid_is_shifted_or_wrong() -> None:
    """From the 10th to the 10th, where the others begin on the 5th, is a shifted month; to the 12th it is none."""
    for day, kind in ((10, "shifted_period"), (12, "wrong_length")):
        moved = pl.int_range(pl.len()) == 9
        start, end = datetime(2026, 10, 10, tzinfo=UTC), datetime(2026, 11, day, tzinfo=UTC)
        result = audit(checkpoints(period="monthly").with_columns(
            period_start=pl.when(moved).then(start).otherwise("period_start"), period_end=pl.when(moved).then(end).otherwise("period_end")
        ))  # fmt: skip
        assert kinds(result) == [kind]
    assert "begins 5 days after the study's months do" in audit(checkpoints(period="monthly").with_columns(
        period_start=pl.when(moved).then(start).otherwise("period_start"), period_end=pl.when(moved).then(end - 2 * DAY).otherwise("period_end")
    )).frame["message"][0]  # fmt: skip


def test_what_a_short_period_leaves_open_is_not_missing() -> None:
    """A recorder's minutes stand for their day: every length is wrong, said once, and only the day without any is missing."""
    frame = checkpoints(count=10, left_out=(4,)).with_columns(
        period_start=pl.col("period_start") + 9 * pl.duration(hours=1), period_end=pl.col("period_start") + pl.duration(hours=9, minutes=10)
    )
    result = audit(frame)
    assert kinds(result) == ["missing_period", "wrong_length"]
    assert found(result, "missing_period")["count"].to_list() == [1]
    assert found(result, "wrong_length")["message"][0].startswith(
        "Wrong length, 9 checkpoints: 2026-01-05 09:00 to 2026-01-05 09:10 UTC lasts 10 minutes, not 1 day; "
    )


def test_a_pause_explains_a_hole() -> None:
    """Days inside a pause are not missing; those beside it are, and the message has their number and dates."""
    frame = checkpoints(count=12, left_out=(3, 4, 5, 6))
    pause = lifecycle(
        "agent", 1, ("study_started", START), ("study_paused", START + 4 * DAY), ("study_resumed", START + 7 * DAY)
    )  # fmt: skip
    result = audit(StudyData(frame, pause))
    assert result.frame["message"].to_list() == [
        "Missing: 1 day, 2026-01-08 to 2026-01-09 UTC. Record what was measured then; what is missing counts as unknown, never as zero."
    ]


def test_many_holes_are_one_finding() -> None:
    """A study that lacks more than it has, or has holes in many places, gets one finding with the count and the largest."""
    frame = checkpoints(count=40, left_out=(3, 8, 13, 18, 23, 24))
    result = audit(frame)
    assert result.frame["count"].to_list() == [6]
    assert "6 days in 5 places: 2 days, 2026-01-28 to 2026-01-30 UTC" in result.frame["message"][0]
    sparse = audit(checkpoints(count=40, left_out=tuple(range(1, 30))))
    assert sparse.frame["count"].to_list() == [29]


def test_without_a_period_type_the_usual_length_counts() -> None:
    """Where half of the periods agree their length is the right one; where none agree it says that it did not check."""
    frame = checkpoints(count=10, left_out=(4,)).select("period_start", "period_end")
    assert kinds(audit(frame)) == ["missing_period"]
    loose = frame.with_columns(period_end=pl.col("period_start") + pl.duration(minutes=pl.int_range(pl.len()) * 7 + 60))
    result = audit(loose)
    assert result.frame.is_empty()
    assert "missing periods and lengths" in result.sentences()[-1]


# --- values and records ---------------------------------------------------------------------------------------------------------------

GOOD = {
    "sessions_completed": 10, "session_success_rate": 0.7, "avg_session_duration": timedelta(seconds=90), "tasks_completed": 12,
    "first_attempt_success_rate": 0.5, "avg_iterations_to_success": 1.4, "tool_success_rate": 0.96, "learnings_applied": 3,
    "learning_effectiveness": 0.6667, "total_tokens": 1000, "total_cost": 4.5, "cost_per_successful_task": 0.5,
    "sessions_included": [f"s-{number}" for number in range(10)], "recorded_at": timedelta(minutes=3),
}  # fmt: skip

FAULTS: dict[str, tuple[str, dict[str, Any], list[str], str]] = {
    "a percentage": ("rate_outside", {"tool_success_rate": 96.0}, ["tool_success_rate"], "tool_success_rate is 96"),
    "a negative rate": ("rate_outside", {"session_success_rate": -0.1}, ["session_success_rate"], "is -0.1"),
    "negative money": ("negative_value", {"total_cost": -4.5}, ["total_cost"], "total_cost is -4.5"),
    "a negative duration": ("negative_value", {"avg_session_duration": timedelta(seconds=-5)}, ["avg_session_duration"], "is -5"),
    "an infinite cost": ("not_finite", {"total_cost": float("inf")}, ["total_cost"], "total_cost is inf"),
    "half an attempt": ("below_one_iteration", {"avg_iterations_to_success": 0.5}, ["avg_iterations_to_success"], "is 0.5"),
    "no sessions with a rate": (
        "over_nothing", {"sessions_completed": 0, "avg_session_duration": None, "sessions_included": []},
        ["session_success_rate", "sessions_completed"], "session_success_rate is 0.7, sessions_completed is 0",
    ),
    "no sessions with a duration": (
        "over_nothing", {"sessions_completed": 0, "session_success_rate": None, "sessions_included": []},
        ["avg_session_duration", "sessions_completed"], "avg_session_duration is 90",
    ),
    "no tasks with attempts": (
        "over_nothing", {"tasks_completed": 0, "first_attempt_success_rate": None, "cost_per_successful_task": None},
        ["avg_iterations_to_success", "tasks_completed"], "avg_iterations_to_success is 1.4",
    ),
    "a rate of no whole number": (
        "rate_not_of_count", {"session_success_rate": 0.75}, ["session_success_rate", "sessions_completed"], "would be 7.5 successes",
    ),
    "more successes than tasks": (
        "cost_below_task", {"cost_per_successful_task": 0.3}, ["total_cost", "cost_per_successful_task", "tasks_completed"], "15 solved tasks",
    ),
    "a fraction of a success": (
        "successes_not_whole", {"cost_per_successful_task": 0.53}, ["total_cost", "cost_per_successful_task"], "8.491 solved tasks",
    ),
    "a price without a cost": ("successes_not_whole", {"total_cost": 0.0}, ["total_cost", "cost_per_successful_task"], "0 solved tasks"),
    "too many at once": (
        "first_above_successes", {"first_attempt_success_rate": 0.9167},
        ["first_attempt_success_rate", "total_cost", "cost_per_successful_task", "tasks_completed"], "9 solved tasks",
    ),
    "names and count differ": (
        "session_count", {"sessions_included": ["a", "b", "b"]}, ["sessions_completed", "session_success_rate", "avg_session_duration"],
        "sessions_completed is 10, 2 sessions named",
    ),
    "a shared session": ("shared_sessions", {"sessions_included": [f"2-s-{number}" for number in range(9)] + ["1-s-0"]}, [], "'1-s-0' in 2"),
    "late": ("recorded_late", {"recorded_at": 40 * DAY}, [], "1 of 5 checkpoints, 40 days after"),
    "no end": ("no_period", {"period_end": None}, [], "row 2"),
    "backwards": ("backwards_period", {"period_end": START}, [], "Ends before it begins: row 2"),
    "no length": ("empty_period", {"period_end": START + 2 * DAY}, [], "Without length: row 2. It ends when it begins"),
}  # fmt: skip


def made(fault: dict[str, Any] | None = None, count: int = 5) -> pl.DataFrame:
    """Good daily checkpoints, the third with a fault."""
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
def test_each_wrong_value_is_found_once(name: str) -> None:
    """One wrong value gives one finding, of its row, with its kind, the metrics it touches, and the value in words; in Pandas the same."""
    kind, fault, metrics, words = FAULTS[name]
    frame = made(fault)
    assert audit(made()).frame.is_empty()
    gap = ["missing_period"] if kind in ("no_period", "backwards_period", "empty_period") else []
    result = audit(frame)
    assert kinds(result) == sorted([kind, *gap])
    row = found(result, kind).row(0, named=True)
    assert row["rows"] == ([1, 2] if kind == "shared_sessions" else [2])
    assert row["checkpoints"] == ([f"c-{number}" for number in row["rows"]])
    assert row["metrics"] == metrics
    assert row["severity"] == KINDS[kind].severity
    assert words in row["message"]
    if name != "an infinite cost":  # fixed width: Pandas frames of the kit hold what its events may hold
        twin = audit(to_pandas(frame.select(list(frame.columns)), {column: CHECKPOINTS[column] for column in frame.columns}))
        assert twin.frame.drop(columns=["start", "end"]).to_dict("records") == result.frame.drop("start", "end").to_dicts()


def test_every_kind_can_be_found() -> None:
    """Each kind of finding is met by a test of this file."""
    assert {kind for kind, *_ in FAULTS.values()} | PERIODS == set(KINDS)
    assert {kind.severity for kind in KINDS.values()} == set(SEVERITIES)


def days(values: list[dict[str, Any]]) -> pl.DataFrame:
    """One daily checkpoint after the other with these values."""
    return pl.DataFrame(
        [{"period_start": START + day * DAY, "period_end": START + (day + 1) * DAY, **row} for day, row in enumerate(values)],
        infer_schema_length=None,
    )


def could_be(rate: float, count: int) -> bool:
    """Whether some k of the count, rounded as the rate is written, gives the rate: in fractions, by trying each k."""
    written = len(repr(rate).partition(".")[2]) if rate not in (0.0, 1.0) else 0
    return any(abs(Fraction(repr(rate)) - Fraction(k, count)) <= Fraction(1, 2 * 10**written) for k in range(count + 1))


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 10_000), st.integers(2, 4)), min_size=1, max_size=40))
@settings(max_examples=examples(25))
def test_a_rate_is_told_when_no_fraction_rounds_to_it(cases: list[tuple[int, int, int]]) -> None:
    """A rate and a count contradict each other exactly when no k of n, rounded as the rate is written, gives the rate."""
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
def test_true_values_are_not_told_however_they_are_rounded(cases: list[tuple[int, int, int, float]]) -> None:
    """Rates and costs that come from counts give no finding, rounded to 2, 3 or 4 decimals or not at all, in single precision too."""
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


def test_a_back_filled_series_is_one_finding() -> None:
    """Fifty checkpoints recorded on one day, long after their periods, are told of once."""
    frame = made(count=50).with_columns(recorded_at=pl.lit(START + 400 * DAY))
    result = audit(frame)
    assert kinds(result) == ["recorded_late"]
    assert "50 of 50 checkpoints, 350 to 399 days after their periods ended" in result.frame["message"][0]


# --- perfect and odd frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("period", ["hourly", "daily", "weekly", "monthly"])
@pytest.mark.parametrize("seed", range(3))
def test_samples_give_no_finding(period: str, seed: int) -> None:
    """Sample checkpoints, with their sessions and a lifecycle, are perfect; without ids, names and types, and shuffled, too."""
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
    assert repr(result) == "Audit of 70 checkpoints of 1 study: nothing found."


def many(count: int) -> pl.DataFrame:
    return pl.concat([checkpoints(f"agent {number}", number, 8, left_out=(3,)) for number in range(count)])


ODD: dict[str, Callable[[], pl.DataFrame]] = {
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
@pytest.mark.parametrize("name", ODD)
def test_odd_frames_are_told_of_in_words(name: str) -> None:
    """Every frame, Polars or Pandas, gives the same table with the same columns, and sentences; nothing warns, nothing breaks."""
    frame = ODD[name]()
    result = audit(frame)
    assert result.frame.columns == list(audit(made()).frame.columns)
    assert result.frame.schema == audit(made()).frame.schema
    assert result.sentences()[0].startswith(f"Audit of {frame.height} checkpoint")
    assert "<p>Audit of" in result._repr_html_()
    twin = audit(to_pandas(frame, CHECKPOINTS))
    assert twin.frame["message"].tolist() == result.frame["message"].to_list()
    assert twin.frame["rows"].tolist() == result.frame["rows"].to_list()
    assert str(twin.frame.dtypes["start"]) == "datetime64[us, UTC]"
    assert repr(twin) == repr(result)


@pytest.mark.slow
def test_odd_frames_have_the_findings_that_they_should() -> None:
    """Doubled rows overlap, a frame without times is without periods, the calendar's ends are no obstacle."""
    assert kinds(audit(ODD["twice"]())) == ["overlapping_periods"]
    assert kinds(audit(ODD["no periods"]())) == ["no_period"]
    assert rows_of(audit(ODD["twice"]()), "overlapping_periods") == list(range(20))
    assert found(audit(ODD["the ends of the calendar"]()), "missing_period")["count"].to_list() == [3_652_056]
    assert found(audit(ODD["the last month"]()), "missing_period")["count"].to_list() == [1]
    assert audit(ODD["fifty studies"]()).warnings == 50


def test_findings_about_a_metric_are_kept_apart() -> None:
    """What touches a metric, or the count it is a mean over, goes with it; what is wrong with periods goes with every metric."""
    frame = pl.concat([made({"tool_success_rate": 96.0}), made({"sessions_completed": -1, "sessions_included": []}).with_columns(
        study_id=pl.lit(study_id(2)), study=pl.lit("other")).filter(pl.int_range(pl.len()) != 1)])  # fmt: skip
    result = audit(frame)
    assert (result.errors, result.warnings, result.notes) == (2, 1, 0)
    assert kinds(result.filter("session_success_rate")) == ["missing_period", "negative_value"]
    assert kinds(result.filter("tool_success_rate", study=study_id(1))) == ["rate_outside"]
    assert kinds(result.filter(study="other")) == ["missing_period", "negative_value"]
    assert result.filter("total_cost", study=study_id(1)).sentences()[0].endswith("nothing found.")
    with pytest.raises(InvalidInputError, match="Did you mean 'total_cost'"):
        result.filter("total_costs")
    assert result.sentences()[:2] == [
        "Audit of 9 checkpoints of 2 studies: 2 errors and 1 warning.",
        "Error: agent: Rate outside 0 to 1: 2026-01-07 to 2026-01-08 UTC: tool_success_rate is 96. Rates are shares: divide a percentage by 100.",
    ]


def test_a_study_is_named_as_elsewhere() -> None:
    """With frames a study is an id, a name, or the end of an id; rows keep their numbers; an unknown one is answered with the names."""
    frame = many(3)
    for reference in ("agent 2", study_id(2), study_id(2)[-8:], ["agent 2"]):
        result = audit(frame.with_columns(tool_success_rate=pl.lit(2.0)), study=reference)
        assert result.studies == 1
        assert rows_of(result, "rate_outside") == list(range(14, 21))
    with pytest.raises(StudyNotFoundError, match=r"study: no study matches 'agent 9'\. Did you mean 'agent 2'"):
        audit(frame, study="agent 9")
    with pytest.raises(InvalidInputError, match="Invalid study 3: is not a study reference; give a Study, an id"):
        audit(frame, study=3)


@pytest.mark.slow
def test_a_lifecycle_is_matched_by_what_the_checkpoints_know() -> None:
    """By id, else by name, else it must be of one study; a study without one is said to be unchecked."""
    frame, ran = checkpoints(left_out=(4,)), lifecycle("agent", 1, ("study_started", START + 6 * DAY))
    for known in (frame, frame.drop("study_id"), frame.drop("study_id", "study"), to_pandas(frame, CHECKPOINTS)):
        assert sorted(audit(StudyData(known, ran)).frame["kind"]) == ["outside_running"]
    assert audit(StudyData(frame, to_pandas(ran, LIFECYCLE))).frame.height == 1
    two = pl.concat([ran, lifecycle("other", 2)])
    with pytest.raises(InvalidInputError, match="keep the rows of one study"):
        audit(StudyData(frame.drop("study_id", "study"), two))
    assert "Not checked, for want of its lifecycle" in audit(StudyData(frame, lifecycle("other", 2))).sentences()[-1]


def test_times_that_run_backwards_and_studies_never_started() -> None:
    """A resumption before its pause pauses nothing; what a pending study has lies outside, and it is told why."""
    frame = checkpoints(count=8)
    back = lifecycle(
        "agent", 1, ("study_started", START), ("study_paused", START + 5 * DAY), ("study_resumed", START + 2 * DAY),
        ("study_paused", START + 3 * DAY), ("study_resumed", START + 4 * DAY),
    )  # fmt: skip
    assert audit(StudyData(frame, back)).frame.is_empty()
    result = audit(StudyData(frame, lifecycle("agent", 1)))
    assert kinds(result) == ["outside_running"]
    assert "the study was never started" in result.frame["message"][0]


@pytest.mark.parametrize("wrong", [None, 3, "agent", (checkpoints(),), pl.DataFrame({"a": [1]})])
def test_what_is_no_source_is_refused_in_words(wrong: object) -> None:
    """What is neither data nor a frame is refused, saying what would be right."""
    with pytest.raises(InvalidInputError, match=r"kit\.(data|checkpoints)\(\)"):
        audit(wrong)


def test_what_resample_gave_is_audited_as_a_frame() -> None:
    """A result, alone or beside a lifecycle, is audited as its frame is."""
    weeks, lived = resample(checkpoints(count=28), "weekly"), lifecycle("agent", 1, ("study_started", START))
    assert_frame_equal(audit(weeks).frame, audit(weeks.frame).frame)
    assert_frame_equal(audit(resample(StudyData(checkpoints(count=28), lived), "weekly")).frame, audit(StudyData(weeks.frame, lived)).frame)
    assert audit(weeks).checked == 4


@pytest.mark.slow
@pytest.mark.parametrize("library", ["polars", "pandas"])
def test_a_week_of_which_one_day_was_measured_is_only_noted(library: str) -> None:
    """A rolled-up week that was mostly stopped or paused is a note where it is marked as partial, and a warning where it is not."""
    frame = checkpoints(count=8)
    steps = (
        [("study_started", START), ("study_stopped", START + 8 * DAY)],
        [("study_started", START), ("study_paused", START + 8 * DAY), ("study_resumed", START + 14 * DAY)],
    )
    for taken, kind, noted in zip(steps, ("outside_running", "inside_pause"), ("partly_outside", "partly_paused"), strict=True):
        lived = lifecycle("agent", 1, *taken)
        weeks = resample(frame, "weekly").frame
        assert weeks["partial"].to_list() == [False, True]
        for marked, told in ((True, noted), (None, kind), (False, kind)):
            rows = weeks.with_columns(partial=pl.Series([False, marked], dtype=pl.Boolean()))
            result = audit(StudyData(to_pandas(rows, RESAMPLED) if library == "pandas" else rows, lived))
            assert list(result.frame["kind"]) == [told]
            assert list(result.frame["rows"][0]) == [1]
        assert (
            kinds(audit(StudyData(weeks.drop("partial"), lived)))
            == kinds(audit(StudyData(weeks.with_columns(partial=pl.lit(3)), lived)))
            == [kind]
        )


def test_a_column_of_a_wrong_type_is_refused_in_words() -> None:
    """Sessions that are no lists of texts are refused, naming the column."""
    with pytest.raises(InvalidInputError, match="'sessions_included' holds Int64; lists of texts are needed"):
        audit(checkpoints().with_columns(sessions_included=pl.lit(1, dtype=pl.Int64())))


@pytest.mark.slow
def test_a_kit_is_audited_with_its_lifecycle(tmp_path: Path) -> None:
    """A kit brings its lifecycle along; a study is named as for kit.checkpoints; samples recorded in a kit are perfect."""
    with evalkit.connect(tmp_path) as kit:
        for name in ("one", "two"):
            kit.create_study(name, at=START)
            kit.start_study(name, at=START)
            kit.record_checkpoints(name, sample_checkpoints("daily", START, 12, seed=1))
        kit.pause_study("two", at=START + 3 * DAY)
        kit.resume_study("two", at=START + 4 * DAY + 6 * MINUTE)
        assert repr(audit(kit.data("one"))) == "Audit of 12 checkpoints of 1 study: nothing found."
        result = audit(kit.data())
        assert result.frame.select("study", "kind", "count").rows() == [("two", "inside_pause", 1), ("two", "partly_paused", 1)]
        assert [message.partition(". ")[0] for message in result.frame["message"]] == [
            "Inside a pause: 2026-01-08 to 2026-01-09 UTC, wholly",
            "Paused for a part: 2026-01-09 to 2026-01-10 UTC, 6 minutes of it",
        ]
        with pytest.raises(StudyNotFoundError):
            audit(kit.data("three"))
