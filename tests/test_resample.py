"""Rolling checkpoints up to longer periods, held against arithmetic in fractions and against counting hours."""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from evalkit import StudyData
from evalkit.analysis import resample
from evalkit.domain.metrics import METRICS
from evalkit.errors import InvalidInputError
from evalkit.frames.columns import CHECKPOINTS, frame_schema
from evalkit.frames.pandas_output import to_pandas
from evalkit.plots import overview, trend
from tests.analysis_frames import FIRST, HOUR, assert_same, hourly_frames, odd_frames
from tests.chart_frames import START, checkpoints, lifecycle, study_id
from tests.properties import examples

TO = ["daily", "weekly", "monthly"]
EXTRA = ["parts", "covered", "partial", "session_time"]
MOST = 2**63 - 1


def begin(at: datetime, to: str) -> datetime:
    """The start of the calendar period that a time lies in, in plain Python."""
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday()) if to == "weekly" else day.replace(day=1) if to == "monthly" else day


def finish(start: datetime, to: str) -> datetime:
    if to == "monthly":
        return (start + timedelta(days=32)).replace(day=1)
    return start + timedelta(days=7 if to == "weekly" else 1)


def in_fractions(name: str, rows: list[dict[str, Any]]) -> Fraction | int | None:
    """One metric of one longer period by the rules as they are written down, without rounding."""
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
    """Floats as the fractions they are, durations as microseconds."""
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
def test_every_value_is_what_the_rules_give_in_fractions(frame: pl.DataFrame, to: str) -> None:
    """Each metric of each longer period equals the rule worked out without rounding, and is missing exactly where the rule says so."""
    rolled = resample(frame, to).frame.to_dicts()
    groups = by_period(frame, to)
    assert [(row["study_id"], row["period_start"]) for row in rolled] == list(groups)
    for row, ((_, start), parts) in zip(rolled, groups.items(), strict=True):
        assert row["period_end"] == finish(start, to)
        for name, metric in METRICS.items():
            wanted, found = in_fractions(name, parts), exactly(row[name])
            assert (wanted is None) == (found is None), (name, parts)
            if wanted is None:
                continue
            if metric.kind == "count":
                assert found == wanted
            elif metric.kind == "duration":
                assert abs(found - wanted) <= Fraction(1, 2) + Fraction(1, 1000)
            else:
                assert abs(found - wanted) <= wanted * Fraction(1, 10**12), name


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(frame=hourly_frames(), to=st.sampled_from(["weekly", "monthly"]))
def test_two_steps_equal_one(frame: pl.DataFrame, to: str) -> None:
    """Hours to days to weeks or months give what hours to weeks or months give: every column, missing values and coverage included."""
    one_step = resample(frame, to).frame
    assert_same(resample(resample(frame, "daily"), to).frame, one_step)
    assert_same(resample(one_step, to).frame, one_step)


@settings(max_examples=examples(30))
@given(frame=hourly_frames(), to=st.sampled_from(TO), seed=st.integers(0, 1000))
def test_the_order_of_rows_is_of_no_matter(frame: pl.DataFrame, to: str, seed: int) -> None:
    """The same checkpoints in another order give the same periods, to the last bit."""
    shuffled = frame.sample(fraction=1, shuffle=True, seed=seed)
    assert_same(resample(shuffled, to).frame, resample(frame, to).frame, relative=0)


@settings(max_examples=examples(30))
@given(frame=hourly_frames(), to=st.sampled_from(TO))
def test_what_belongs_to_a_checkpoint_is_kept(frame: pl.DataFrame, to: str) -> None:
    """Times are the latest, events are added, sessions are named once each in the order of the checkpoints, and parts are counted."""
    for row, parts in zip(resample(frame, to).frame.to_dicts(), by_period(frame, to).values(), strict=True):
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
def test_every_missing_value_has_its_reason_and_no_other(frame: pl.DataFrame, to: str) -> None:
    """The table of reasons has a row for each missing value, in words, and none for a value that is there."""
    found = resample(frame, to)
    missing = {
        (row["study_id"], row["period_start"], name) for row in found.frame.to_dicts() for name in METRICS if row[name] is None
    }  # fmt: skip
    told = found.reasons.rows()
    assert {(study, start, metric) for study, _, start, metric, _ in told} == missing
    assert len(told) == len(missing)
    assert all(reason for *_, reason in told)


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(
    spans=st.lists(st.tuples(st.integers(1, 2), st.integers(0, 24 * 40), st.integers(1, 60)), min_size=1, max_size=12),
    to=st.sampled_from(TO),
)
def test_coverage_is_that_of_counted_hours(spans: list[tuple[int, int, int]], to: str) -> None:
    """The covered share is the hours of a period that its checkpoints cover, each once; checkpoints count where their middle lies."""
    frame = periods(
        [(study_id(number), FIRST + first * HOUR, FIRST + (first + hours) * HOUR) for number, first, hours in spans], period_type="hourly"
    )
    found = resample(frame, to)
    across, overlapping = 0, 0
    for row, ((_, start), parts) in zip(found.frame.to_dicts(), by_period(frame, to).items(), strict=True):
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
    assert (found.straddling, found.overlapping) == (across, overlapping)


def periods(spans: list[tuple[str, datetime, datetime]], **values: Any) -> pl.DataFrame:
    """Checkpoints with nothing but a period, and what is given for all."""
    rows = [{"study_id": study, "study": study, "period_start": start, "period_end": end, **values} for study, start, end in spans]
    return pl.DataFrame(rows, schema_overrides={name: frame_schema(CHECKPOINTS)[name] for name in rows[0]})


def one_day(*rows: dict[str, Any]) -> Any:
    """Checkpoints of one day, hour by hour, rolled up to that day."""
    start = [{"period_start": START + index * HOUR, "period_end": START + (index + 1) * HOUR, **row} for index, row in enumerate(rows)]
    schema = frame_schema(CHECKPOINTS)
    return resample(pl.DataFrame(start, schema_overrides={name: schema[name] for row in start for name in row}), "daily")


def reason(found: Any, metric: str) -> str:
    return str(found.reasons.filter(metric=metric)["reason"].item())


@pytest.mark.slow
def test_the_frame_has_the_shape_of_checkpoints() -> None:
    """The columns of kit.checkpoints() come first, in order and dtype, so that charts take the frame; then come four more."""
    found = resample(checkpoints(count=60), "weekly")
    assert list(found.frame.columns) == [*CHECKPOINTS, *EXTRA]
    assert found.frame.select(list(CHECKPOINTS)).schema == pl.Schema(frame_schema(CHECKPOINTS))
    assert found.frame.select(EXTRA).dtypes == [pl.Int64(), pl.Float64(), pl.Boolean(), pl.Duration("us")]
    assert found.frame["checkpoint_id"][0] == f"{study_id(1)}/weekly/2026-01-05"
    assert found.frame["checkpoint_id"].is_unique().all()
    trend(found.frame, "session_success_rate")
    overview(found.frame)
    assert found.plot("total_cost").to_dict()["title"]["text"] == ["Total cost: agent"]


@pytest.mark.parametrize("odd", odd_frames())
def test_odd_frames_are_rolled_up_alike_in_polars_and_pandas(odd: str) -> None:
    """No frame is too odd: each gives a table, reasons and sentences, and the same from Pandas as from Polars."""
    frame, to = odd_frames()[odd], "weekly"
    found = resample(frame, to)
    assert list(found.frame.columns) == [*CHECKPOINTS, *EXTRA]
    assert found.sentences()
    assert found._repr_html_().startswith("<p>")
    if frame.height > 10_000:
        return
    twin = resample(to_pandas(frame, {name: CHECKPOINTS[name] for name in frame.columns}), to)
    for one, other in ((found.frame, twin.frame), (found.reasons, twin.reasons)):
        assert type(other).__module__.startswith("pandas")
        assert list(other.columns) == list(one.columns)
        for name in one.columns:
            gone = one[name].is_null().to_list()
            assert [None if lost else value for lost, value in zip(gone, other[name].tolist(), strict=True)] == one[name].to_list()
            if other[name].dtype != object or True not in gone:
                assert other[name].isna().tolist() == gone
    assert repr(twin) == repr(found)
    assert_same(resample(twin, to).frame.pipe(pl_of), found.frame)


def pl_of(frame: Any) -> pl.DataFrame:
    """A resampled Pandas frame as the Polars one that it is the twin of."""
    schema = resample(checkpoints(), "daily").frame.schema
    columns = {
        name: [None if gone is True else value for value, gone in zip(frame[name].tolist(), (frame[name].isna() if frame[name].dtype != object else frame[name].map(lambda one: one is None)).tolist(), strict=True)]
        for name in frame.columns
    }  # fmt: skip
    return pl.DataFrame(columns, schema=schema)


def test_a_sum_over_some_is_missing() -> None:
    """A count or a cost that one checkpoint lacks is missing for the day, for the sum of the others is too small."""
    found = one_day({"total_tokens": 5, "total_cost": 0.5}, {"total_tokens": None, "total_cost": 0.25})
    assert found.frame["total_tokens"].item() is None
    assert found.frame["total_cost"].item() == 0.75
    assert reason(found, "total_tokens") == "it is missing in 1 of its 2 checkpoints"


def test_a_sum_too_large_is_missing_and_never_wraps() -> None:
    """Counts above 2^63 - 1 and costs above the largest float are missing, with that as the reason."""
    found = one_day(
        {"total_tokens": MOST, "tasks_completed": MOST, "total_cost": 1.7e308},
        {"total_tokens": 1, "tasks_completed": 0, "total_cost": 1.7e308},
    )
    assert found.frame.select("total_tokens", "tasks_completed", "total_cost").row(0) == (None, MOST, None)
    assert reason(found, "total_tokens") == reason(found, "total_cost") == "the sum is larger than the column can hold"


def test_rates_are_weighted_by_what_they_count() -> None:
    """1 of 1 and 0 of 9 are 10 %, and not 50 %; a checkpoint without sessions does not count, whatever its rate."""
    found = one_day(
        {"sessions_completed": 1, "session_success_rate": 1.0},
        {"sessions_completed": 9, "session_success_rate": 0.0},
        {"sessions_completed": 0, "session_success_rate": 1.0},
        {"sessions_completed": 0, "session_success_rate": None},
    )
    assert found.frame["session_success_rate"].item() == pytest.approx(0.1, rel=1e-15)


def test_a_perfect_rate_stays_one() -> None:
    """Rounding never moves a mean out of its parts: checkpoints that are all at 1 or at 0.85 stay exactly there."""
    for rate in (1.0, 0.85, 0.1):  # with these counts the shares add up to 0.9999999999999998
        counts = (18, 36, 1, 1, 24, 19, 14, 4, 20)
        found = one_day(*({"sessions_completed": n, "session_success_rate": rate} for n in counts))
        assert found.frame["session_success_rate"].item() == rate


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([(3, 0.5), (2, None)], "it is missing in 1 of its 2 checkpoints"),
        ([(3, 0.5), (None, 0.5)], "sessions completed, which it is weighted by, is missing in 1 of its 2 checkpoints"),
        ([(3, 0.5), (None, None)], "sessions completed, which it is weighted by, is missing in 1 of its 2 checkpoints"),
        ([(0, None), (0, 0.5)], "sessions completed is 0"),
        ([(MOST, 0.5), (MOST, 0.5)], "sessions completed is larger than the column can hold"),
        ([(4, None)], "it is missing in its only checkpoint"),
    ],
)  # fmt: skip
def test_why_a_rate_is_missing(rows: list[tuple[int | None, float | None]], why: str) -> None:
    """A rate is missing where what it rests on is not known, and the reason says what."""
    found = one_day(*({"sessions_completed": n, "session_success_rate": rate} for n, rate in rows))
    assert found.frame["session_success_rate"].item() is None
    assert reason(found, "session_success_rate") == why


@pytest.mark.parametrize(
    ("rows", "value", "why"),
    [
        ([(6, 2.0, 5), (4, 4.0, 3)], 2.5, None),
        ([(6, 2.0, 5), (4, None, 0)], 10 / 3, None),
        ([(6, 2.0, None), (4, 4.0, None)], 2.5, None),
        ([(6, 2.0, 5), (4, None, 3)], None, "how many tasks were solved is not recorded in 1 of its 2 checkpoints"),
        ([(6, 2.0, 5), (4, None, None)], None, "how many tasks were solved is not recorded in 1 of its 2 checkpoints"),
        ([(6, 2.0, 5), (4, 0.0, 3)], None, "how many tasks were solved is not recorded in 1 of its 2 checkpoints"),
        ([(6, 2.0, 5), (None, 3.0, 3)], None, "total cost is missing in 1 of its 2 checkpoints"),
        ([(6, None, 0), (4, None, 0)], None, "no task was completed"),
        ([(0, 0.0, 5), (0, 0.0, 3)], 0.0, None),
        ([(0, 0.0, 5), (4, 2.0, 3)], None, "some checkpoints cost nothing, which does not say how many tasks they solved"),
        ([(0, 0.0, 5), (4, None, 0)], None, "some checkpoints cost nothing, which does not say how many tasks they solved"),
        ([(1e300, 1e-300, 5), (4, 2.0, 3)], None, "how many tasks were solved is not recorded in 1 of its 2 checkpoints"),
    ],
)  # fmt: skip
def test_cost_per_success_counts_only_what_is_known(
    rows: list[tuple[float | None, float | None, int | None]], value: float | None, why: str | None
) -> None:
    """Total cost over implied successes: cost without any task counts, cost with tasks and no value makes it missing, free tasks imply nothing."""
    found = one_day(*({"total_cost": cost, "cost_per_successful_task": each, "tasks_completed": n} for cost, each, n in rows))
    assert found.frame["cost_per_successful_task"].item() == (None if value is None else pytest.approx(value, rel=1e-14))
    if why:
        assert reason(found, "cost_per_successful_task") == why


def test_what_is_a_mean_over_something_unknown_is_missing() -> None:
    """A mean over what nobody recorded is missing when two are combined; of one checkpoint it stays, and in two steps too."""
    two = one_day({"agent_efficiency": 0.5}, {"agent_efficiency": 0.5})
    assert two.frame["agent_efficiency"].item() is None
    assert (
        reason(two, "agent_efficiency") == reason(resample(two, "weekly"), "agent_efficiency") == "what it is a mean over is not recorded"
    )
    assert reason(two, "tool_success_rate") == "the frame has no column tool_success_rate"
    assert one_day({"agent_efficiency": 0.5}).frame["agent_efficiency"].item() == 0.5


def test_no_microsecond_of_session_time_is_lost() -> None:
    """Days keep the time of all sessions together, so that a week made of days has the average that a week made of hours has."""
    rows = [{"sessions_completed": n, "avg_session_duration": timedelta(microseconds=us)} for n, us in ((3, 10), (4, 11), (2, 12))]
    day = one_day(*rows)
    assert day.frame["session_time"].item() == timedelta(microseconds=98)
    assert day.frame["avg_session_duration"].item() == timedelta(microseconds=11)  # 98 / 9 = 10.9
    assert resample(day, "weekly").frame["session_time"].item() == timedelta(microseconds=98)
    unknown = one_day({"sessions_completed": None, "avg_session_duration": timedelta(seconds=3)})
    assert unknown.frame.select("avg_session_duration", "session_time").row(0) == (timedelta(seconds=3), None)
    too_long = one_day(*[{"sessions_completed": 2**40, "avg_session_duration": timedelta(days=10_000)}] * 2)
    assert reason(too_long, "avg_session_duration") == "all sessions together took longer than the column can hold"


def test_longer_periods_are_not_split() -> None:
    """Weeks cannot be made of months: the error names the study and what to type instead; by length where the type is not there."""
    monthly = checkpoints("slow", 2, 4, period="monthly")
    with pytest.raises(InvalidInputError, match=r"Invalid to 'weekly': is shorter than the periods of 'slow'; .* Give 'monthly', or leave"):
        resample(pl.concat([checkpoints(), monthly]), "weekly")
    with pytest.raises(InvalidInputError, match=r"Invalid to 'daily': is shorter than the periods of 'slow'; .* Give 'monthly', or leave"):
        resample(monthly.drop("period_type"), "daily")
    with pytest.raises(InvalidInputError, match=r"Invalid to 'daily': is shorter .* Give 'weekly', or leave"):
        resample(resample(checkpoints(), "weekly"), "daily")
    with pytest.raises(InvalidInputError, match=r"Invalid to 'monthly': is shorter .* split\. Leave these studies out"):
        resample(periods([("yearly", START, START + timedelta(days=365))]), "monthly")
    assert resample(monthly, "monthly").frame["parts"].to_list() == [1, 1, 1, 1]


@pytest.mark.parametrize("to", ["hourly", "week", "Weekly", None, 7, ""])
def test_what_is_no_longer_period_is_refused(to: Any) -> None:
    """The error says which three periods there are."""
    with pytest.raises(InvalidInputError, match=r"to: .* is no period to roll up to\..* Give one of 'daily', 'weekly', 'monthly'\."):
        resample(checkpoints(), to)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (checkpoints().with_columns(tasks_completed=pl.lit(2.5)), "the column 'tasks_completed' holds 2.5; counts are whole numbers"),
        (checkpoints().drop("period_end"), "it has no column 'period_end'"),
        (checkpoints().with_columns(sessions_included=pl.lit("s-1")), "the column 'sessions_included' holds String; lists of texts are needed"),
        (checkpoints().with_columns(total_cost=pl.lit("much")), "the column 'total_cost' holds String; numbers are needed"),
        ([1, 2], "a list is no Polars or Pandas frame"),
        (checkpoints().lazy(), r"Call .collect\(\) first"),
        ((checkpoints(), "x"), "data: .* is a tuple. Give kit.data"),
    ],
)  # fmt: skip
def test_wrong_frames_are_refused_in_words(wrong: Any, says: str) -> None:
    """What is no frame of checkpoints is refused with what would be right."""
    with pytest.raises(InvalidInputError, match=says):
        resample(wrong, "weekly")


def test_a_lifecycle_beside_the_checkpoints_changes_nothing() -> None:
    """Data with a lifecycle is rolled up as the checkpoints are, and what comes out has the lifecycle."""
    rows, lived = checkpoints(count=40), lifecycle("agent", 1)
    days = resample(StudyData(rows, lived), "daily")
    assert days.data.lifecycle is lived
    assert_frame_equal(days.frame, resample(rows, "daily").frame)
    assert_frame_equal(resample(days, "weekly").frame, resample(rows, "weekly").frame)


def test_counts_that_came_as_floats_are_counts() -> None:
    """Pandas makes floats of counts where some are missing; they are whole numbers here, and NaN is missing."""
    frame = checkpoints(count=3).with_columns(total_tokens=pl.Series([5.0, math.nan, 7.0]))
    assert resample(frame, "daily").frame["total_tokens"].to_list() == [5, None, 7]


def test_weeks_across_the_end_of_a_month_count_where_their_middle_lies() -> None:
    """A week that lies in two months counts in one, wholly; a sentence says so with the count, and only its days inside cover."""
    start = datetime(2026, 1, 26, tzinfo=UTC)  # to 2 February: six days of January and one of February
    found = resample(
        periods([("a", start, start + timedelta(days=7)), ("a", start + timedelta(days=7), start + timedelta(days=14))], total_cost=2.0),
        "monthly",
    )
    assert found.frame.select("total_cost", "covered", "partial").rows() == [(2.0, 6 / 31, True), (2.0, 0.25, True)]
    assert "Across the boundary of a period: 1 checkpoint, counted wholly where the middle lies." in found.sentences()


def test_the_sentences_say_what_was_done_and_what_to_be_careful_about() -> None:
    """How many checkpoints went into how many periods, what is only partly covered, what is missing, overlapping, left out or below 0."""
    frame = checkpoints(count=10).with_columns(
        total_cost=pl.when(pl.int_range(pl.len()) == 8).then(-1.0).otherwise("total_cost"),
        period_start=pl.when(pl.int_range(pl.len()) > 0).then("period_start"),
    )
    twice = pl.concat([frame, frame.slice(1, 1)])
    assert resample(twice, "weekly").sentences() == [
        "Resampled 10 checkpoints of 1 study to 2 weekly periods (weeks begin on Monday, 00:00 UTC): counts and cost are added, rates and durations weighted by what they count, and cost per successful task is total cost over the successes that it implies.",
        "Only partly covered by checkpoints: 2 of 2 periods, the least to 42.8 %; sums there are those of a part.",
        "Missing in every period Average iterations to success, Agent efficiency, Tool success rate, Self-correction rate, Swarm coordination overhead, Parallelism efficiency, Learning effectiveness; in some Total cost (1), Cost per successful task (1). The table .reasons says why, for each period.",
        "Left out: 1 of 11 rows, which have no period.",
        "Values below 0 are no measurements, and are taken as missing: 1.",
        "With checkpoints that overlap: 1 period; what two of them measured is counted twice.",
    ]
    assert (
        resample(checkpoints(count=3), "weekly")
        .sentences()[1]
        .startswith("Only partly covered by checkpoints: the only period, to 42.8 %;")
    )
    assert resample(checkpoints().clear(), "daily").sentences() == ["Nothing to resample to daily periods: no checkpoints."]


def test_a_resampled_frame_counts_the_checkpoints_it_came_from() -> None:
    """After two steps the sentence counts what was recorded, not the days in between."""
    found = resample(resample(checkpoints(count=48, period="hourly"), "daily"), "weekly")
    assert found.checkpoints == 48
    assert found.sentences()[0].startswith("Resampled 48 checkpoints of 1 study to 1 weekly period (")
