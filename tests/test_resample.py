"""Resampling to longer periods, compared with exact fractions and with counted hours."""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot
from polars.testing import assert_frame_equal

from evalkit import StudyData
from evalkit.analysis import resample
from evalkit.domain.catalog import METRICS
from evalkit.errors import InvalidInputError
from evalkit.frames.columns import CHECKPOINTS, VALUES, frame_schema
from evalkit.frames.pandas_output import to_pandas
from evalkit.plots import overview, trend
from tests.analysis_frames import FIRST, HOUR, assert_same, hourly_frames, odd_frames
from tests.chart_frames import START, checkpoints, lifecycle, study_id
from tests.messages import says
from tests.properties import examples

TO = ["daily", "weekly", "monthly"]
EXTRA = ["parts", "covered", "partial", "session_time"]
MOST = 2**63 - 1


def begin(at: datetime, to: str) -> datetime:
    """Return the start of the calendar period that contains a time."""
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday()) if to == "weekly" else day.replace(day=1) if to == "monthly" else day


def finish(start: datetime, to: str) -> datetime:
    if to == "monthly":
        return (start + timedelta(days=32)).replace(day=1)
    return start + timedelta(days=7 if to == "weekly" else 1)


def in_fractions(name: str, rows: list[dict[str, Any]]) -> Fraction | int | None:
    """Return one metric of one longer period by its rule, without rounding."""
    metric, values = METRICS[name], [row[name] for row in rows]
    if len(rows) == 1:
        return exactly(values[0])
    if metric.rollup == "sum":
        total = None if None in values else sum(map(exactly, values))
        return None if total is None or (metric.kind == "count" and total > MOST) else total
    if metric.rollup == "weighted":
        counts = [row[metric.denominator] for row in rows]
        if None in counts or sum(counts) == 0 or any(n > 0 and v is None for n, v in zip(counts, values, strict=True)):
            return None
        return sum(n * exactly(v) for n, v in zip(counts, values, strict=True) if n) / Fraction(sum(counts))
    if metric.rollup == "ratio":
        return cost_of_a_success(rows)
    return None


def cost_of_a_success(rows: list[dict[str, Any]]) -> Fraction | int | None:
    spent, solved, free = Fraction(0), Fraction(0), 0
    for row in rows:
        cost, each, tasks = exactly(row["total_cost"]), exactly(row["cost_per_successful_task"]), row["tasks_completed"]
        if cost is None:
            return None
        if tasks == 0:
            spent += cost
        elif each is None or (cost > 0) != (each > 0):
            return None
        elif cost == 0:
            free += 1
        else:
            spent, solved = spent + cost, solved + cost / each
    if free:
        return None if spent else 0
    return spent / solved if solved else None


def exactly(value: Any) -> Any:
    """Return floats as fractions and durations as microseconds."""
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1)
    return Fraction(value) if isinstance(value, float) else value


def by_period(frame: pl.DataFrame, to: str) -> dict[tuple[str, datetime], list[dict[str, Any]]]:
    groups = defaultdict(list)
    for row in frame.to_dicts():
        middle = row["period_start"] + (row["period_end"] - row["period_start"]) / 2
        groups[row["study_id"], begin(middle, to)].append({**row, "middle": middle})
    return dict(sorted(groups.items()))


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(frame=hourly_frames(), to=st.sampled_from(TO))
def test_values_match_the_rules_in_exact_fractions(frame: pl.DataFrame, to: str) -> None:
    """Each value equals the rule computed without rounding, and is missing exactly where the rule requires."""
    rolled = resample(frame, to).frame.to_dicts()
    groups = by_period(frame, to)
    assert [(row["study_id"], row["period_start"]) for row in rolled] == list(groups)
    for row, ((_, start), parts) in zip(rolled, groups.items(), strict=True):
        assert row["period_end"] == finish(start, to)
        for name, metric in METRICS.items():
            wanted, result = in_fractions(name, parts), exactly(row[name])
            assert (wanted is None) == (result is None), (name, parts)
            if wanted is None:
                continue
            if metric.kind == "count":
                assert result == wanted
            elif metric.kind == "duration":
                assert abs(result - wanted) <= Fraction(1, 2) + Fraction(1, 1000)
            else:
                assert abs(result - wanted) <= wanted * Fraction(1, 10**12), name


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(frame=hourly_frames(), to=st.sampled_from(["weekly", "monthly"]))
def test_resampling_in_two_steps_equals_one_step(frame: pl.DataFrame, to: str) -> None:
    one_step = resample(frame, to).frame
    assert_same(resample(resample(frame, "daily"), to).frame, one_step)
    assert_same(resample(one_step, to).frame, one_step)


@settings(max_examples=examples(30))
@given(frame=hourly_frames(), to=st.sampled_from(TO), seed=st.integers(0, 1000))
def test_resampling_does_not_depend_on_row_order(frame: pl.DataFrame, to: str, seed: int) -> None:
    shuffled = frame.sample(fraction=1, shuffle=True, seed=seed)
    assert_same(resample(shuffled, to).frame, resample(frame, to).frame, relative=0)


@settings(max_examples=examples(30))
@given(frame=hourly_frames(), to=st.sampled_from(TO))
def test_fields_besides_metrics_are_combined(frame: pl.DataFrame, to: str) -> None:
    """Latest times, summed events, distinct sessions in order, and the number of checkpoints."""
    rows = resample(frame, to).frame.sort("study_id", "period_start").to_dicts()
    for row, parts in zip(rows, by_period(frame, to).values(), strict=True):
        parts.sort(key=lambda part: (part["middle"], part["checkpoint_id"]))
        named = [part["sessions_included"] for part in parts]
        events = [part["events_analyzed"] for part in parts]
        assert row["timestamp"] == max(part["timestamp"] for part in parts)
        assert row["recorded_at"] == max(part["recorded_at"] for part in parts)
        assert row["events_analyzed"] == (None if None in events else sum(events))
        assert row["sessions_included"] == (None if None in named else list(dict.fromkeys(one for each in named for one in each)))
        assert (row["parts"], row["study"], row["period_type"]) == (len(parts), parts[0]["study"], to)


@pytest.mark.slow
@settings(max_examples=examples(30))
@given(frame=hourly_frames(), to=st.sampled_from(TO))
def test_every_missing_value_has_a_reason(frame: pl.DataFrame, to: str) -> None:
    result = resample(frame, to)
    missing = {
        (row["study_id"], row["period_start"], name) for row in result.frame.to_dicts() for name in METRICS if row[name] is None
    }  # fmt: skip
    rows = result.reasons.rows()
    assert {(study, start, metric) for study, _, start, metric, _ in rows} == missing
    assert len(rows) == len(missing)
    assert all(reason for *_, reason in rows)


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(
    spans=st.lists(st.tuples(st.integers(1, 2), st.integers(0, 24 * 40), st.integers(1, 60)), min_size=1, max_size=12),
    to=st.sampled_from(TO),
)
def test_coverage_matches_counted_hours(spans: list[tuple[int, int, int]], to: str) -> None:
    """Time in several checkpoints counts once; checkpoints count in the period of their midpoint."""
    frame = periods(
        [(study_id(number), FIRST + first * HOUR, FIRST + (first + hours) * HOUR) for number, first, hours in spans], period_type="hourly"
    )
    result = resample(frame, to)
    across, overlapping = 0, 0
    for row, ((_, start), parts) in zip(result.frame.to_dicts(), by_period(frame, to).items(), strict=True):
        end = finish(start, to)
        hours = [
            part["period_start"] + step * HOUR for part in parts for step in range((part["period_end"] - part["period_start"]) // HOUR)
        ]
        inside = [hour for hour in hours if start <= hour < end]
        across += sum(part["period_start"] < start or part["period_end"] > end for part in parts)
        overlapping += len(set(inside)) < len(inside)
        assert math.isclose(row["covered"], len(set(inside)) / ((end - start) / HOUR), rel_tol=1e-12)
        assert row["partial"] == (len(set(inside)) < (end - start) / HOUR)
        assert row["parts"] == len(parts)
    assert (result.straddling, result.overlapping) == (across, overlapping)


def periods(spans: list[tuple[str, datetime, datetime]], **values: Any) -> pl.DataFrame:
    """Return checkpoints with a period each, and the same values for all."""
    rows = [{"study_id": study, "study": study, "period_start": start, "period_end": end, **values} for study, start, end in spans]
    return pl.DataFrame(rows, schema_overrides={name: frame_schema(VALUES)[name] for name in rows[0]})


def one_day(*rows: dict[str, Any]) -> Any:
    """Return hourly checkpoints resampled to a day."""
    start = [{"period_start": START + index * HOUR, "period_end": START + (index + 1) * HOUR, **row} for index, row in enumerate(rows)]
    schema = frame_schema(CHECKPOINTS)
    return resample(pl.DataFrame(start, schema_overrides={name: schema[name] for row in start for name in row}), "daily")


def reason(result: Any, metric: str) -> str:
    return str(result.reasons.filter(metric=metric)["reason"].item())


@pytest.mark.slow
def test_frame_has_the_columns_of_checkpoints_and_four_more() -> None:
    result = resample(checkpoints(count=60), "weekly")
    assert list(result.frame.columns) == [*VALUES, *EXTRA]
    assert result.frame.select(list(VALUES)).schema == pl.Schema(frame_schema(VALUES))
    assert result.frame.select(EXTRA).dtypes == [pl.Int64(), pl.Float64(), pl.Boolean(), pl.Duration("us")]
    assert result.frame["checkpoint_id"][0] == f"{study_id(1)}/weekly/2026-01-05"
    assert result.frame["checkpoint_id"].is_unique().all()
    trend(result.frame, "session_success_rate")
    overview(result.frame)
    assert result.plot("total_cost").to_dict()["title"]["text"] == ["Total cost: agent"]


@pytest.mark.parametrize("odd", odd_frames())
def test_unusual_frames_are_resampled_equally_in_polars_and_pandas(odd: str) -> None:
    frame, to = odd_frames()[odd], "weekly"
    result = resample(frame, to)
    assert list(result.frame.columns) == [*VALUES, *EXTRA]
    assert result.sentences()
    assert result._repr_html_().startswith("<p>")
    if frame.height > 10_000:
        return
    in_pandas = resample(to_pandas(frame, {name: CHECKPOINTS[name] for name in frame.columns}), to)
    for one, other in ((result.frame, in_pandas.frame), (result.reasons, in_pandas.reasons)):
        assert type(other).__module__.startswith("pandas")
        assert list(other.columns) == list(one.columns)
        for name in one.columns:
            missing = one[name].is_null().to_list()
            assert [None if null else value for null, value in zip(missing, other[name].tolist(), strict=True)] == one[name].to_list()
            if other[name].dtype != object or True not in missing:
                assert other[name].isna().tolist() == missing
    assert repr(in_pandas) == repr(result)
    assert_same(resample(in_pandas, to).frame.pipe(pl_of), result.frame)


def pl_of(frame: Any) -> pl.DataFrame:
    """Return a resampled pandas frame as a Polars frame."""
    schema = resample(checkpoints(), "daily").frame.schema
    columns = {
        name: [None if missing is True else value for value, missing in zip(frame[name].tolist(), (frame[name].isna() if frame[name].dtype != object else frame[name].map(lambda one: one is None)).tolist(), strict=True)]
        for name in frame.columns
    }  # fmt: skip
    return pl.DataFrame(columns, schema=schema)


def test_sum_with_a_missing_value_is_missing() -> None:
    result = one_day({"total_tokens": 5, "total_cost": 0.5}, {"total_tokens": None, "total_cost": 0.25})
    assert result.frame["total_tokens"].item() is None
    assert result.frame["total_cost"].item() == 0.75
    assert reason(result, "total_tokens") == "missing in 1 of 2 checkpoints"


def test_overflowing_sums_are_missing() -> None:
    result = one_day(
        {"total_tokens": MOST, "tasks_completed": MOST, "total_cost": 1.7e308},
        {"total_tokens": 1, "tasks_completed": 0, "total_cost": 1.7e308},
    )
    assert result.frame.select("total_tokens", "tasks_completed", "total_cost").row(0) == (None, MOST, None)
    assert reason(result, "total_tokens") == reason(result, "total_cost") == "the sum exceeds the range of the column"


def test_rates_are_weighted_by_their_denominator() -> None:
    """Checkpoints without sessions are ignored."""
    result = one_day(
        {"sessions_completed": 1, "session_success_rate": 1.0},
        {"sessions_completed": 9, "session_success_rate": 0.0},
        {"sessions_completed": 0, "session_success_rate": 1.0},
        {"sessions_completed": 0, "session_success_rate": None},
    )
    assert result.frame["session_success_rate"].item() == pytest.approx(0.1, rel=1e-15)


def test_means_of_equal_rates_are_exact() -> None:
    for rate in (1.0, 0.85, 0.1):  # with these counts the shares add up to 0.9999999999999998
        counts = (18, 36, 1, 1, 24, 19, 14, 4, 20)
        result = one_day(*({"sessions_completed": n, "session_success_rate": rate} for n in counts))
        assert result.frame["session_success_rate"].item() == rate


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([(3, 0.5), (2, None)], "missing in 1 of 2 checkpoints"),
        ([(3, 0.5), (None, 0.5)], "sessions completed (its weight) missing in 1 of 2 checkpoints"),
        ([(3, 0.5), (None, None)], "sessions completed (its weight) missing in 1 of 2 checkpoints"),
        ([(0, None), (0, 0.5)], "sessions completed is 0"),
        ([(MOST, 0.5), (MOST, 0.5)], "sessions completed exceeds the range of the column"),
        ([(4, None)], "missing in the only checkpoint"),
    ],
)  # fmt: skip
def test_missing_rates_have_their_reason(rows: list[tuple[int | None, float | None]], why: str) -> None:
    result = one_day(*({"sessions_completed": n, "session_success_rate": rate} for n, rate in rows))
    assert result.frame["session_success_rate"].item() is None
    assert reason(result, "session_success_rate") == why


@pytest.mark.parametrize(
    ("rows", "value", "why"),
    [
        ([(6, 2.0, 5), (4, 4.0, 3)], 2.5, None),
        ([(6, 2.0, 5), (4, None, 0)], 10 / 3, None),
        ([(6, 2.0, None), (4, 4.0, None)], 2.5, None),
        ([(6, 2.0, 5), (4, None, 3)], None, "number of solved tasks unknown in 1 of 2 checkpoints"),
        ([(6, 2.0, 5), (4, None, None)], None, "number of solved tasks unknown in 1 of 2 checkpoints"),
        ([(6, 2.0, 5), (4, 0.0, 3)], None, "number of solved tasks unknown in 1 of 2 checkpoints"),
        ([(6, 2.0, 5), (None, 3.0, 3)], None, "total cost missing in 1 of 2 checkpoints"),
        ([(6, None, 0), (4, None, 0)], None, "no task was completed"),
        ([(0, 0.0, 5), (0, 0.0, 3)], 0.0, None),
        ([(0, 0.0, 5), (4, 2.0, 3)], None, "checkpoints with a cost of 0 imply no number of solved tasks"),
        ([(0, 0.0, 5), (4, None, 0)], None, "checkpoints with a cost of 0 imply no number of solved tasks"),
        ([(1e300, 1e-300, 5), (4, 2.0, 3)], None, "number of solved tasks unknown in 1 of 2 checkpoints"),
    ],
)  # fmt: skip
def test_cost_per_success_from_known_successes(
    rows: list[tuple[float | None, float | None, int | None]], value: float | None, why: str | None
) -> None:
    result = one_day(*({"total_cost": cost, "cost_per_successful_task": each, "tasks_completed": n} for cost, each, n in rows))
    assert result.frame["cost_per_successful_task"].item() == (None if value is None else pytest.approx(value, rel=1e-14))
    if why:
        assert reason(result, "cost_per_successful_task") == why


def test_metrics_without_recorded_denominator_are_missing() -> None:
    """A single checkpoint keeps its value."""
    two = one_day({"agent_efficiency": 0.5}, {"agent_efficiency": 0.5})
    assert two.frame["agent_efficiency"].item() is None
    assert reason(two, "agent_efficiency") == reason(resample(two, "weekly"), "agent_efficiency") == "its denominator is not recorded"
    assert reason(two, "tool_success_rate") == "no column tool_success_rate in the frame"
    assert one_day({"agent_efficiency": 0.5}).frame["agent_efficiency"].item() == 0.5


def test_session_time_is_exact_in_two_steps() -> None:
    rows = [{"sessions_completed": n, "avg_session_duration": timedelta(microseconds=us)} for n, us in ((3, 10), (4, 11), (2, 12))]
    day = one_day(*rows)
    assert day.frame["session_time"].item() == timedelta(microseconds=98)
    assert day.frame["avg_session_duration"].item() == timedelta(microseconds=11)  # 98 / 9 = 10.9
    assert resample(day, "weekly").frame["session_time"].item() == timedelta(microseconds=98)
    unknown = one_day({"sessions_completed": None, "avg_session_duration": timedelta(seconds=3)})
    assert unknown.frame.select("avg_session_duration", "session_time").row(0) == (timedelta(seconds=3), None)
    too_long = one_day(*[{"sessions_completed": 2**40, "avg_session_duration": timedelta(days=10_000)}] * 2)
    assert reason(too_long, "avg_session_duration") == "the total duration of all sessions exceeds the range of the column"


def test_studies_with_longer_periods_are_refused() -> None:
    """By period type, or by median length without one."""
    monthly = checkpoints("slow", 2, 4, period="monthly")
    with pytest.raises(InvalidInputError) as error:
        resample(pl.concat([checkpoints(), monthly]), "weekly")
    assert says(error) == snapshot("Cannot resample to 'weekly': 'slow' has longer periods. Use 'monthly', or exclude this study.")
    with pytest.raises(InvalidInputError) as by_length:
        resample(monthly.drop("period_type"), "daily")
    assert says(by_length) == snapshot("Cannot resample to 'daily': 'slow' has longer periods. Use 'monthly', or exclude this study.")
    with pytest.raises(InvalidInputError) as resampled:
        resample(resample(checkpoints(), "weekly"), "daily")
    assert says(resampled) == snapshot("Cannot resample to 'daily': 'agent' has longer periods. Use 'weekly', or exclude this study.")
    with pytest.raises(InvalidInputError) as yearly:
        resample(periods([("yearly", START, START + timedelta(days=365))]), "monthly")
    assert says(yearly) == snapshot("Cannot resample to 'monthly': 'yearly' has longer periods. Exclude this study.")
    assert resample(monthly, "monthly").frame["parts"].to_list() == [1, 1, 1, 1]


@pytest.mark.parametrize("to", ["hourly", "week", "Weekly", None, 7, ""])
def test_invalid_period_types_are_refused(to: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"expected 'daily', 'weekly' or 'monthly'\.") as error:
        resample(checkpoints(), to)
    assert (error.value.field, error.value.value) == ("to", to)


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        (checkpoints().with_columns(tasks_completed=pl.lit(2.5)), "invalid value 2.5 in column 'tasks_completed'; expected whole numbers"),
        (checkpoints().drop("period_end"), "'period_end'"),
        (checkpoints().with_columns(sessions_included=pl.lit("s-1")), "'sessions_included'"),
        (checkpoints().with_columns(total_cost=pl.lit("much")), "'total_cost'"),
        ([1, 2], "list"),
        (checkpoints().lazy(), "collect"),
        ((checkpoints(), "x"), "tuple"),
    ],
)
def test_invalid_frames_are_refused(wrong: Any, part: str) -> None:
    with pytest.raises(InvalidInputError, match=part):
        resample(wrong, "weekly")


def test_lifecycle_does_not_change_resampling() -> None:
    rows, lived = checkpoints(count=40), lifecycle("agent", 1)
    days = resample(StudyData(rows, lived), "daily")
    assert days.data.lifecycle is lived
    assert_frame_equal(days.frame, resample(rows, "daily").frame)
    assert_frame_equal(resample(days, "weekly").frame, resample(rows, "weekly").frame)


def test_counts_as_floats_are_read() -> None:
    frame = checkpoints(count=3).with_columns(total_tokens=pl.Series([5.0, math.nan, 7.0]))
    assert resample(frame, "daily").frame["total_tokens"].to_list() == [5, None, 7]


def test_weeks_across_months_count_by_their_midpoint() -> None:
    start = datetime(2026, 1, 26, tzinfo=UTC)  # to February 2: six days of January and one of February
    result = resample(
        periods([("a", start, start + timedelta(days=7)), ("a", start + timedelta(days=7), start + timedelta(days=14))], total_cost=2.0),
        "monthly",
    )
    assert result.frame.select("total_cost", "covered", "partial").rows() == [(2.0, 6 / 31, True), (2.0, 0.25, True)]
    assert "1 checkpoint crosses a period boundary and is counted in the period that contains its midpoint." in result.sentences()


def test_texts_of_resampled_checkpoints() -> None:
    frame = checkpoints(count=10).with_columns(
        total_cost=pl.when(pl.int_range(pl.len()) == 8).then(-1.0).otherwise("total_cost"),
        period_start=pl.when(pl.int_range(pl.len()) > 0).then("period_start"),
    )
    twice = pl.concat([frame, frame.slice(1, 1)])
    assert resample(twice, "weekly").sentences() == snapshot(
        [
            "agent: 10 checkpoints resampled to 2 weekly periods (2026-01-05 to 2026-01-19 UTC; 2 partially covered, lowest coverage 42.8%).",
            "Weeks begin on Monday, 00:00 UTC. Counts and cost are summed, rates and durations weighted by their denominator; cost per successful task is total cost divided by the implied number of successes.",
            "Sums of partially covered periods are sums of the covered part.",
            "Missing in all periods: average iterations to success, agent efficiency, tool success rate, self-correction rate, swarm coordination overhead, parallelism efficiency, learning effectiveness. Missing in some periods: total cost (1), cost per successful task (1). See .reasons.",
            "1 of 11 rows was excluded: no period.",
            "1 negative value was treated as missing.",
            "1 period has overlapping checkpoints; what two of them measured is counted twice.",
        ]
    )
    assert resample(checkpoints(count=3), "weekly", tz="Asia/Tokyo").sentences()[:2] == snapshot(
        [
            "agent: 3 checkpoints resampled to 1 weekly period (2026-01-05 to 2026-01-12 Asia/Tokyo; 42.8% covered).",
            "Weeks begin on Monday, 00:00 Asia/Tokyo. Counts and cost are summed, rates and durations weighted by their denominator; cost per successful task is total cost divided by the implied number of successes.",
        ]
    )
    assert resample(checkpoints().clear(), "daily").sentences() == ["No checkpoints to resample to daily periods."]


def test_checkpoints_are_counted_across_two_steps() -> None:
    result = resample(resample(checkpoints(count=48, period="hourly"), "daily"), "weekly")
    assert result.checkpoints == 48
    assert result.sentences()[0].startswith("agent: 48 checkpoints resampled to 1 weekly period (")


# Time zones

ZONES = ["Europe/Berlin", "America/Havana", "Asia/Beirut", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia"]


def hours(first: datetime, count: int) -> pl.DataFrame:
    """Return consecutive hourly checkpoints with a token each."""
    starts = [first + index * HOUR for index in range(count)]
    return periods([("a", start, start + HOUR) for start in starts], period_type="hourly", total_tokens=1)


@pytest.mark.parametrize(
    ("first", "lengths"),
    [
        (datetime(2026, 3, 27, 23, tzinfo=UTC), [24, 23, 24]),  # clocks go forward on March 29
        (datetime(2026, 10, 23, 22, tzinfo=UTC), [24, 25, 24]),  # clocks go back on October 25
    ],
)
def test_days_with_clock_changes_have_23_or_25_hours(first: datetime, lengths: list[int]) -> None:
    days = resample(hours(first, sum(lengths)), "daily", tz="Europe/Berlin").frame
    assert days["parts"].to_list() == days["total_tokens"].to_list() == lengths
    assert [(end - start) / HOUR for start, end in days.select("period_start", "period_end").rows()] == lengths
    assert days["covered"].to_list() == [1.0, 1.0, 1.0]
    assert not days["partial"].any()
    assert days["period_start"].dtype == pl.Datetime("us", "UTC")


@pytest.mark.parametrize(
    ("to", "first", "count", "label"),
    [
        ("weekly", datetime(2026, 3, 22, 23, tzinfo=UTC), 7 * 24 - 1, "2026-03-23"),
        ("weekly", datetime(2026, 10, 18, 22, tzinfo=UTC), 7 * 24 + 1, "2026-10-19"),
        ("monthly", datetime(2026, 2, 28, 23, tzinfo=UTC), 31 * 24 - 1, "2026-03-01"),
        ("monthly", datetime(2026, 9, 30, 22, tzinfo=UTC), 31 * 24 + 1, "2026-10-01"),
    ],
)
def test_weeks_and_months_of_a_time_zone_include_their_clock_change(to: Any, first: datetime, count: int, label: str) -> None:
    result = resample(hours(first, count), to, tz="Europe/Berlin")
    assert result.frame.select("parts", "covered", "partial").rows() == [(count, 1.0, False)]
    assert result.frame["checkpoint_id"].item() == f"a/{to}/{label}"
    days = resample(hours(first, count), "daily", tz="Europe/Berlin")
    assert_same(resample(days, to, tz="Europe/Berlin").frame, result.frame)


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(frame=hourly_frames(), to=st.sampled_from(TO), zone=st.sampled_from(ZONES), days=st.integers(-6000, 0))
def test_periods_of_time_zones_match_local_dates(frame: pl.DataFrame, to: str, zone: str, days: int) -> None:
    """Checkpoints with midpoints in the same local day, week or month are combined, and totals are conserved."""
    frame = frame.with_columns(pl.col("period_start", "period_end") + timedelta(days=days))
    counts: defaultdict[tuple[str, datetime], int] = defaultdict(int)
    for row in frame.to_dicts():
        middle = row["period_start"] + (row["period_end"] - row["period_start"]) / 2
        counts[row["study_id"], begin(middle.astimezone(ZoneInfo(zone)).replace(tzinfo=None), to)] += 1
    result = resample(frame, to, tz=zone).frame
    assert sum(result["parts"]) == frame.height
    local = [start.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for start in result["period_start"]]
    starts = [begin(start, to) for start in local]
    assert dict(zip(zip(result["study_id"], starts, strict=True), result["parts"], strict=True)) == counts
    assert [text.rpartition("/")[2] for text in result["checkpoint_id"]] == [start.date().isoformat() for start in starts]
    for start, end in result.select("period_start", "period_end").rows():
        before, after = (bound.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for bound in (end - timedelta(microseconds=1), end))
        assert begin(before, to) == begin(start.astimezone(ZoneInfo(zone)).replace(tzinfo=None), to) < begin(after, to)


@settings(max_examples=examples(20))
@given(frame=hourly_frames(), to=st.sampled_from(TO))
def test_time_zone_utc_equals_the_default(frame: pl.DataFrame, to: str) -> None:
    default = resample(frame, to)
    for tz in ("UTC", UTC, ZoneInfo("Etc/UTC")):
        result = resample(frame, to, tz=tz)
        assert_same(result.frame, default.frame, relative=0)
        assert (result.straddling, result.overlapping) == (default.straddling, default.overlapping)
    assert default.tz == "UTC"


def test_days_in_utc_count_once_in_another_time_zone() -> None:
    """A day in UTC crosses two local days: it counts in the day of its midpoint and covers it in part."""
    start = datetime(2026, 1, 5, tzinfo=UTC)
    days = periods([("a", start + index * 24 * HOUR, start + (index + 1) * 24 * HOUR) for index in range(3)], total_tokens=1)
    result = resample(days, "daily", tz=timezone(timedelta(hours=9)))
    assert result.frame["total_tokens"].to_list() == [1, 1, 1]
    assert (result.straddling, result.frame["covered"].to_list()) == (3, [15 / 24] * 3)


def test_day_of_25_hours_is_a_day_of_its_time_zone() -> None:
    first = datetime(2026, 10, 24, 22, tzinfo=UTC)
    day = periods([("a", first, first + 25 * HOUR)], total_tokens=1)
    assert resample(day, "daily", tz="Europe/Berlin").frame["covered"].to_list() == [1.0]
    with pytest.raises(InvalidInputError):
        resample(day, "daily")


@pytest.mark.parametrize("tz", ["Mars/Olympus", "europe/berlin", "", 2])
def test_invalid_time_zones_are_refused(tz: Any) -> None:
    with pytest.raises(InvalidInputError) as error:
        resample(checkpoints(), "weekly", tz=tz)
    assert error.value.field == "tz"


def test_period_beyond_the_last_year_is_refused_with_a_time_zone() -> None:
    last = datetime(9999, 12, 31, tzinfo=UTC)
    with pytest.raises(InvalidInputError, match="years 1 to 9999"):
        resample(periods([("a", last, last + HOUR)]), "weekly", tz="Europe/Berlin")
