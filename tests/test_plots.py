"""Charts tell the truth: gaps, intervals, extremes and units, for frames of any kind and size, and they compose and display offline."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl
import pytest
from altair.utils.schemapi import SchemaValidationError
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit import METRICS, InvalidInputError, StudyData, analysis, plots
from evalkit.frames.columns import CHECKPOINTS, LIFECYCLE
from evalkit.frames.pandas_output import to_pandas
from evalkit.plots._lines import axis_years
from evalkit.plots._points import wilson
from evalkit.plots._rendering import bundle, page, specification, svg
from evalkit.plots._theme import PALETTE, colours
from evalkit.plots._thinning import broken, bucket, buckets_for, runs, thin
from tests import oracles
from tests.chart_frames import DAY, START, checkpoints, lifecycle, long, rows_of, study_id
from tests.properties import examples

GOLDEN = Path(__file__).parent / "golden" / "charts"
MARKUP = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


@pytest.fixture(autouse=True)
def fresh_colours() -> Iterator[None]:
    """Each test sees its studies for the first time."""
    colours.clear()
    yield
    colours.clear()


def two() -> pl.DataFrame:
    return pl.concat([checkpoints("old", 1, 12, left_out=(4, 5)), checkpoints("new", 2, 8, period="weekly", seed=2)])


def lived() -> pl.DataFrame:
    steps = [
        ("study_started", START + DAY / 24),
        ("study_paused", START + 4 * DAY),
        ("study_resumed", START + 6 * DAY),
        ("study_stopped", START + 12 * DAY),
    ]
    return pl.concat([lifecycle("old", 1, *steps), lifecycle("new", 2, steps[0])])


def shifted() -> pl.DataFrame:
    """Twenty checkpoints, in the last ten of which the agent succeeds half as often."""
    half = pl.when(pl.int_range(20) < 10).then(1.0).otherwise(0.5)
    return checkpoints(count=20).with_columns(session_success_rate=pl.col("session_success_rate") * half)


CHARTS: dict[str, Callable[[], Any]] = {
    "trend": lambda: plots.trend(StudyData(two(), lived()), "session_success_rate"),
    "trend_rolling": lambda: plots.trend(
        checkpoints(count=12, left_out=(6,)), "session_success_rate", rolling=3, reference=(0.6, "target")
    ),
    "trend_cost": lambda: plots.trend(two(), "total_cost", y="data"),
    "compare_start": lambda: plots.trend(two(), "first_attempt_success_rate", align="start"),
    "overview": lambda: plots.overview(checkpoints(count=3)),
    "scatter": lambda: plots.scatter(two()),
    "lifecycle": lambda: plots.lifecycle(StudyData(two(), lived())),
    "trend_fit": lambda: analysis.trend(checkpoints(count=12, left_out=(6,)), "session_success_rate").plot(),
    "trend_changes": lambda: analysis.changepoints(shifted(), "session_success_rate").plot(),
    "differences": lambda: analysis.compare(pl.concat([shifted(), checkpoints("base", 2, 20, seed=3)]), "agent", baseline="base").plot(),
    "audit": lambda: analysis.audit(two()).plot(),
    "empty": lambda: plots.trend(two().head(0), "total_cost"),
}


def rounded(value: Any) -> Any:
    """A specification with its numbers to nine digits, so that another machine's last bit does not count."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items() if key != "$schema"}
    return [rounded(one) for one in value] if isinstance(value, list) else value


def named(spec: dict[str, Any]) -> dict[str, Any]:
    """A specification whose data sets are named by their order: Altair names them by a hash of every digit."""
    text = json.dumps(spec)
    for number, name in enumerate(spec["datasets"]):
        text = text.replace(name, f"data-{number}")
    return rounded(json.loads(text))  # type: ignore[no-any-return]


# --- golden files -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_what_it_was(name: str, request: pytest.FixtureRequest) -> None:
    """The specification of each chart, with its data, equals the golden one; `python -m tests.golden_charts` writes them anew."""
    assert named(CHARTS[name]().to_dict()) == json.loads((GOLDEN / f"{name}.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "name"),
    [
        pytest.param(mode, name, marks=[pytest.mark.long] * (name == "overview" and mode != "dark"))
        for mode in ("light", "dark", "page")
        for name in CHARTS
    ],
)
def test_a_chart_is_drawn_without_a_browser(name: str, mode: Any) -> None:
    """Each chart renders, in every mode; nothing in it is NaN, and it is named for screen readers by its description."""
    chart = CHARTS[name]()
    drawn = svg(chart, mode)
    assert "NaN" not in drawn
    assert "undefined" not in drawn
    assert drawn.startswith("<svg")
    assert chart.to_dict()["description"]


# --- gaps -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_missing_checkpoint_is_a_gap_in_the_data_and_in_the_line() -> None:
    """Between the runs stands a row without a value, and the line that is drawn begins anew there."""
    chart = plots.trend(checkpoints(count=10, left_out=(4,)), "session_success_rate", interval=False)
    rows = rows_of(chart.to_dict(), mark="line")
    assert [row["v"] is None for row in rows] == [False] * 4 + [True] + [False] * 5
    assert rows[3]["b"] <= rows[4]["a"] <= rows[5]["a"]
    line = re.search(
        r'<path aria-label="[^"]*"[^>]*role="graphics-symbol"[^>]*line mark[^>]*d="([^"]*)"|line mark[^>]*d="([^"]*)"', svg(chart)
    )
    assert line is not None
    assert (line[1] or line[2]).count("M") == 2


def test_a_missing_value_is_a_gap_and_zero_is_none() -> None:
    """A checkpoint without the metric breaks the line; a checkpoint with a zero does not."""
    frame = checkpoints(count=6).with_columns(total_cost=pl.Series([1.0, 2.0, None, 3.0, 0.0, 1.0]))
    rows = rows_of(plots.trend(frame, "total_cost").to_dict(), mark="line")
    assert [row["v"] for row in rows] == [1.0, 2.0, None, 3.0, 0.0, 1.0]


@pytest.mark.slow
def test_a_period_that_begins_a_little_late_is_no_gap() -> None:
    """Five working days of a weekly study follow on each other; half a period without a checkpoint is a gap."""
    weeks = checkpoints(count=4, period="weekly")
    short = weeks.with_columns(period_end=pl.col("period_start") + timedelta(days=5))
    assert None not in [row["v"] for row in rows_of(plots.trend(short, "total_cost").to_dict(), mark="line")]
    shorter = weeks.with_columns(period_end=pl.col("period_start") + timedelta(days=3))
    assert [row["v"] for row in rows_of(plots.trend(shorter, "total_cost").to_dict(), mark="line")].count(None) == 3


def test_half_a_period_is_a_gap_and_a_long_period_reaches_over_short_ones() -> None:
    """Exactly half a period without a checkpoint breaks the line; what a longer, overlapping period covers is not missing."""
    days = checkpoints(count=3)
    half = days.with_columns(period_end=pl.col("period_end") - timedelta(hours=12))
    assert [row["v"] for row in rows_of(plots.trend(half, "total_cost").to_dict(), mark="line")].count(None) == 2
    long_first = days.with_columns(period_end=pl.Series([START + 2 * DAY, START + timedelta(hours=25), START + 3 * DAY]))
    long_first = long_first.with_columns(period_start=pl.Series([START, START + DAY, START + 2 * DAY])).cast(days.schema)
    assert None not in [row["v"] for row in rows_of(plots.trend(long_first, "total_cost").to_dict(), mark="line")]


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 12))
def test_no_line_ever_bridges_what_is_missing(there: list[bool], buckets: int) -> None:
    """However thinned, between two drawn neighbours with a missing checkpoint in between stands a row without a value."""
    frame = checkpoints(count=1)
    base = pl.concat(
        [
            frame.with_columns(period_start=pl.lit(START + index * DAY), period_end=pl.lit(START + (index + 1) * DAY))
            for index in range(len(there))
        ]
    )
    base = base.cast(frame.schema).filter(pl.Series(there))
    points = runs(StudyData(base).sorted_checkpoints(["total_cost"]).with_columns(StudyData(base).lengths, v=pl.col("total_cost")), ["v"])
    drawn = broken(thin(points, ["v"], buckets) if points.height else points, ["v"])
    values, days = drawn["v"].to_list(), [(moment - START).days for moment in drawn["t"].to_list()]
    neighbours = [(a, b) for a, b, v, w in zip(days, days[1:], values, values[1:], strict=False) if v is not None and w is not None]
    assert all(all(there[a : b + 1]) for a, b in neighbours)
    assert drawn["t"].is_sorted()


# --- intervals --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=examples(300))
@given(st.floats(0, 1), st.integers(1, 10**9))
def test_wilson_intervals_are_those_of_statsmodels(rate: float, count: int) -> None:
    """With the successes unrounded, to 1e-9."""
    low, high = wilson(pl.col("rate"), pl.col("n"))
    (found,) = pl.DataFrame({"rate": [rate], "n": [count]}).select(low=low, high=high).rows()
    expected = oracles.wilson(rate * count, count)
    assert found == pytest.approx(tuple(min(1, max(0, end)) for end in expected), abs=1e-9)


@pytest.mark.slow
def test_there_is_no_interval_where_the_data_cannot_carry_one() -> None:
    """Without a count, with a count of 0, without a rate, or with a rate outside 0 to 1 there is none, and the chart says so."""
    rates, counts = [0.5, 0.5, 0.5, None, 1.5], [10, 0, None, 10, 10]
    low, high = wilson(pl.col("rate"), pl.col("n"))
    found = pl.DataFrame({"rate": rates, "n": counts}).select(low=low, high=high).rows()
    assert [row[0] is None and row[1] is None for row in found] == [False, True, True, True, True]
    frame = checkpoints(count=5).with_columns(session_success_rate=pl.Series(rates), sessions_completed=pl.Series(counts))
    said = subtitle(plots.trend(frame, "session_success_rate"))
    assert "No interval for 2 checkpoints: sessions completed is missing or 0." in said
    assert "No interval for 1 checkpoint: the rate lies outside 0 to 100 %." in said
    assert "1 value outside 0 to 100 %." in said
    bare = frame.with_columns(sessions_completed=pl.lit(None, dtype=pl.Int64()))
    assert "Band" not in subtitle(plots.trend(bare, "session_success_rate"))
    assert "not recorded" in subtitle(plots.trend(checkpoints(), "tool_success_rate"))
    assert "interval" not in subtitle(plots.trend(checkpoints(), "total_cost")).lower()


@pytest.mark.slow
def test_a_rate_that_was_rounded_is_told_of() -> None:
    """Where rate times count is more than 0.05 from whole the chart says where the count comes from; exact rates say nothing."""
    exact = checkpoints(count=3).with_columns(
        session_success_rate=pl.Series([1 / 3, 2 / 3, 1 / 7]), sessions_completed=pl.Series([30, 60, 70])
    )
    assert "rounded" not in subtitle(plots.trend(exact, "session_success_rate"))
    odd = exact.with_columns(session_success_rate=pl.Series([0.333, 0.667, 0.1428]), sessions_completed=pl.Series([333, 60, 70]))
    assert "For 1 checkpoint rate times sessions completed is no whole number" in subtitle(plots.trend(odd, "session_success_rate"))


def test_bands_are_left_out_where_they_would_hide_each_other() -> None:
    """With seven studies there are none, and the chart says how to have them; asked for, they are drawn; refused, not even for one."""
    many = pl.concat([checkpoints(f"s{number}", number, 4) for number in range(7)])
    chart = plots.trend(many, "session_success_rate")
    assert "interval=True" in subtitle(chart)
    assert not has_mark(chart, "area")
    assert has_mark(plots.trend(many, "session_success_rate", interval=True), "area")
    assert not has_mark(plots.trend(checkpoints(), "session_success_rate", interval=False), "area")


def test_a_lonely_point_has_its_interval_too() -> None:
    """A point without neighbours has no area; a bar shows its interval."""
    alone = plots.trend(checkpoints(count=1), "session_success_rate")
    rule = next(layer for layer in alone.to_dict()["layer"] if layer["mark"]["type"] == "rule")
    (row,) = alone.to_dict()["datasets"][rule["data"]["name"]]
    assert row["alone"]
    assert row["low"] < row["high"]


def test_a_band_breaks_where_an_interval_is_missing_and_keeps_its_ends_when_thinned() -> None:
    """No band over a checkpoint without a count, though the line goes on; of a thinned series the hull of all intervals."""
    frame = checkpoints(count=9).with_columns(sessions_completed=pl.Series([9, 9, 9, 9, None, 9, 9, 9, 9]))
    band = rows_of(plots.trend(frame, "session_success_rate").to_dict(), mark="area")
    assert [row["low"] is None for row in band] == [False] * 4 + [True] + [False] * 4
    chart = plots.trend(long(5000), "session_success_rate")
    rows, table = rows_of(chart.to_dict(), mark="area"), plots.table(chart)
    assert min(row["low"] for row in rows if row["low"] is not None) == table["low"].min()
    assert max(row["high"] for row in rows if row["high"] is not None) == table["high"].max()


def subtitle(chart: Any) -> str:
    return " ".join(chart.to_dict()["title"].get("subtitle", []))


def has_mark(chart: Any, mark: str) -> bool:
    return any(layer["mark"]["type"] == mark for layer in chart.to_dict()["layer"])


# --- options ----------------------------------------------------------------------------------------------------------------------------


def test_a_rolling_mean_is_weighted_and_begins_anew_after_a_gap() -> None:
    """Over sessions for the success rate, plain where nothing records what a metric rests on; complete windows only."""
    frame = checkpoints(count=9, left_out=(4,))
    rate, n, effort = (frame[name].to_list() for name in ("session_success_rate", "sessions_completed", "avg_iterations_to_success"))
    spec = plots.trend(frame, "session_success_rate", rolling=3).to_dict()
    means = [row["v"] for row in last_rows(spec)]
    windows = [(0, 1, 2), (1, 2, 3), None, (4, 5, 6), (5, 6, 7)]
    expected = [None if window is None else sum(rate[i] * n[i] for i in window) / sum(n[i] for i in window) for window in windows]
    assert means == [None if value is None else pytest.approx(value) for value in expected]
    plain = [row["v"] for row in last_rows(plots.trend(frame, "avg_iterations_to_success", rolling=3).to_dict())]
    assert plain == [None if window is None else pytest.approx(sum(effort[i] for i in window) / 3) for window in windows]
    assert "weighted by sessions completed" in subtitle(plots.trend(frame, "session_success_rate", rolling=3))


@pytest.mark.slow
def test_a_rolling_mean_breaks_where_it_cannot_be_weighted() -> None:
    """A checkpoint whose count is missing has no weight: the mean is missing there, is not bridged, and the chart says why."""
    frame = checkpoints(count=9).with_columns(sessions_completed=pl.Series([10, 10, 10, 10, None, 10, 10, 10, 10]))
    chart = plots.trend(frame, "session_success_rate", rolling=2)
    assert [row["v"] is None for row in last_rows(chart.to_dict())] == [False] * 3 + [True] + [False] * 3
    assert "after a gap and where that is missing or 0." in subtitle(chart)
    bare = plots.trend(frame.drop("sessions_completed"), "session_success_rate")
    assert "No interval for 9 checkpoints: sessions completed is missing or 0." in subtitle(bare)
    assert plots.overview(frame.drop("sessions_completed")).to_dict()["description"].startswith("Overview of 15 metrics")


def last_rows(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return spec["datasets"][spec["layer"][-1]["data"]["name"]]  # type: ignore[no-any-return]


def test_rates_stand_on_a_fixed_axis_unless_asked_otherwise() -> None:
    """0 to 100 % for a rate, from 0 for the rest, fitted or set when asked; what lies outside is counted."""

    def domain(metric: str, **options: Any) -> Any:
        chart = plots.trend(checkpoints(), metric, interval=False, **options)
        return chart.to_dict()["layer"][0]["encoding"]["y"]["scale"], subtitle(chart)

    assert domain("session_success_rate")[0] == {"domain": [0.0, 1.0], "nice": False}
    assert domain("total_cost")[0] == {"zero": True}
    assert domain("session_success_rate", y="data")[0] == {"zero": False}
    assert "does not show the whole of 0 to 100 %" in domain("session_success_rate", y="data")[1]
    fitted = plots.trend(checkpoints(), "session_success_rate", y="data").to_dict()["layer"]
    assert not any(layer["mark"].get("clip") for layer in fitted), "the points at the ends of a fitted axis are whole"
    assert "10 points outside the range of the axis" in domain("session_success_rate", y=(0.99, 1))[1]
    assert domain("tasks_completed")[0] == {"zero": True}


def test_the_axis_says_utc_and_the_year() -> None:
    """Time is in UTC, and the axis says so, whatever the zone of the frame or of the reader."""
    frame = checkpoints().with_columns(pl.col("period_start", "period_end").dt.convert_time_zone("Asia/Tokyo"))
    spec = plots.trend(frame, "total_cost").to_dict()
    assert spec["layer"][0]["encoding"]["x"]["title"] == "Time (UTC, 2026)"
    assert spec["layer"][0]["encoding"]["x"]["scale"]["type"] == "utc"
    assert named(spec) == named(plots.trend(checkpoints(), "total_cost").to_dict())


def axis_title(chart: Any) -> str:
    return next(layer["encoding"]["x"]["title"] for layer in chart.to_dict()["layer"] if "x" in layer["encoding"])


@pytest.mark.parametrize(
    ("chart", "title"),
    [
        (lambda: plots.trend(StudyData(checkpoints(count=5), begun(START - 40 * DAY)), "total_cost"), "Time (UTC, 2025 to 2026)"),
        (lambda: plots.trend(StudyData(checkpoints(count=5), begun(START, START + 400 * DAY)), "total_cost"), "Time (UTC, 2026 to 2027)"),
        (lambda: plots.trend(checkpoints(count=5), "total_cost", changes=Marked(START - 40 * DAY)), "Time (UTC, 2025 to 2026)"),
        (lambda: plots.trend(checkpoints(count=5), "total_cost", fit=Marked(START - 40 * DAY)), "Time (UTC, 2025 to 2026)"),
        (lambda: plots.trend(checkpoints(count=20, start=datetime(2025, 12, 12, tzinfo=UTC)), "total_cost"), "Time (UTC, 2025)"),
        (lambda: plots.lifecycle(StudyData(checkpoints(count=400), begun(START, START + 2 * DAY))), "Time (UTC, 2026 to 2027)"),
    ],
    ids=["start", "stop", "change", "line", "end of a year", "checkpoints of a lifecycle"],
)
def test_the_axis_names_the_years_of_all_that_is_drawn(chart: Callable[[], Any], title: str) -> None:
    """Lifecycles, changes, lines and checkpoints make the axis longer; a period that ends with the year does not."""
    assert axis_title(chart()) == title


@pytest.mark.slow
@pytest.mark.parametrize("width", [300, 640])
@pytest.mark.parametrize("first", [1, 2, 3])
@pytest.mark.parametrize("count", [20, 100, 200, 260])
def test_the_axis_names_the_year_of_a_tick_in_its_padding(width: int, first: int, count: int) -> None:
    """Checkpoints that begin with a year may have a tick in the year before, and only then the title names it."""
    begins = datetime(2024, 1, first, tzinfo=UTC)  # 31 December is a Sunday, on which there are ticks
    chart = plots.trend(checkpoints(count=count, start=begins), "total_cost", width=width)
    labels = re.findall(r">([A-Z][a-z]{2}) \d+</text>", svg(chart))
    assert labels
    assert axis_title(chart) == ("Time (UTC, 2023 to 2024)" if labels[0] == "Dec" else "Time (UTC, 2024)")


def test_an_axis_at_the_end_of_the_calendar_names_its_year() -> None:
    """Where there is no time after it, the padding has no year of its own."""
    last = datetime(9999, 12, 31, 23, 59, 30, tzinfo=UTC)
    assert axis_years(last, last, 640) == "9999"


def test_hours_that_begin_with_a_year_have_no_tick_before_it() -> None:
    """The padding of an axis of hours is shorter than the distance of two ticks."""
    chart = plots.trend(checkpoints(count=70, period="hourly", start=datetime(2026, 1, 1, tzinfo=UTC)), "total_cost")
    assert axis_title(chart) == "Time (UTC, 2026)"


def begun(*times: datetime) -> pl.DataFrame:
    return lifecycle("agent", 1, *zip(("study_started", "study_stopped"), times, strict=False))


class Marked:
    """What an analysis returns that found one thing, at this time."""

    def __init__(self, at: datetime) -> None:
        self.study_id, self._at = study_id(1), at

    def change_marks(self) -> pl.DataFrame:
        return pl.DataFrame({"at": [self._at], "low": [self._at], "high": [self._at], "text": ["a change"]})

    def fitted_line(self) -> pl.DataFrame:
        return pl.DataFrame({"part": [0], "at": [self._at], "value": [1.0], "low": [0.5], "high": [1.5]})


@pytest.mark.slow
def test_no_two_ticks_have_the_same_label() -> None:
    """Days are not divided where only the day is named, and small values have as many digits as tell them apart."""
    for days in (5, 9, 40):
        drawn = svg(plots.trend(checkpoints(count=days), "total_cost"))
        labels = re.findall(r">(Jan \d+|Feb \d+)</text>", drawn)
        assert len(labels) > 2
        assert len(labels) == len(set(labels))
    tiny = checkpoints().with_columns(total_cost=pl.Series([0.0012 + 0.0001 * index for index in range(10)]))
    assert ">$0.0010</text>" in svg(plots.trend(tiny, "total_cost"))
    near = checkpoints().with_columns(session_success_rate=pl.Series([0.845 + 0.001 * index for index in range(10)]))
    assert ">84.5%</text>" in svg(plots.trend(near, "session_success_rate", y="data", interval=False))


def test_paused_time_is_shaded_and_start_and_stop_are_marked() -> None:
    """From pause to resume; a pause without an end reaches to the last time there is."""
    chart = plots.trend(StudyData(two(), lived()), "total_cost").to_dict()
    (shade,) = rows_of(chart, mark="rect")
    milliseconds = [round((START + days * DAY).timestamp() * 1000) for days in (4, 6)]
    assert (shade["study"], shade["a"], shade["b"]) == ("old", *milliseconds)
    assert [row["text"] for row in rows_of(chart, mark="rule")] == ["started", "started", "stopped"]
    still = lifecycle("agent", 1, ("study_started", START), ("study_paused", START + 3 * DAY))
    (open_end,) = rows_of(plots.trend(StudyData(checkpoints(count=5), still), "total_cost").to_dict(), mark="rect")
    assert open_end["b"] == round((START + 5 * DAY).timestamp() * 1000)


def test_a_study_has_one_name_in_a_chart_of_two_frames() -> None:
    """Where only one of two studies of a name has checkpoints, its paused time and its ticks are still its own."""
    steps = [("study_started", START), ("study_paused", START + 3 * DAY), ("study_resumed", START + 5 * DAY)]
    happened = pl.concat([lifecycle("agent", 1, *steps), lifecycle("agent", 2), lifecycle("b", 3)])
    frame = pl.concat([checkpoints("agent", 2), checkpoints("b", 3)])
    spec = plots.lifecycle(StudyData(frame, happened)).to_dict()
    assert {row["study"] for row in rows_of(spec, mark="tick")} == {"agent (…0002)", "b"}
    shaded = plots.trend(StudyData(pl.concat([checkpoints("agent", 1), checkpoints("b", 3)]), happened), "total_cost").to_dict()
    assert [row["study"] for row in rows_of(shaded, mark="rect")] == ["agent"]
    assert {row["study"] for row in rows_of(shaded, mark="line")} == {"agent", "b"}


def test_studies_are_aligned_at_the_start_of_their_first_period() -> None:
    """Each study's first period begins at 0, in a unit that suits the length; gaps stay."""
    spec = plots.trend(two(), "total_cost", align="start").to_dict()
    rows = rows_of(spec, mark="line")
    firsts = {row["study"]: row["x"] for row in reversed(rows)}
    assert firsts == {"old": 0.5, "new": 3.5}
    assert spec["layer"][0]["encoding"]["x"]["title"] == "Days since the start of the first period"
    assert sum(row["v"] is None for row in rows) == 1


def test_scatter_leaves_out_what_lacks_a_value_and_says_how_much() -> None:
    """A checkpoint without cost is no point, is counted, and breaks the path."""
    frame = checkpoints(count=6).with_columns(total_cost=pl.Series([1.0, 2.0, None, 3.0, 4.0, 5.0]))
    chart = plots.scatter(frame)
    assert [row["h"] for row in rows_of(chart.to_dict(), mark="line")] == [1.0, 2.0, None, 3.0, 4.0, 5.0]
    assert "1 checkpoint without one of the two." in subtitle(chart)
    assert not has_mark(plots.scatter(frame, path=False), "line")


def test_times_that_run_backwards_are_drawn_with_length_zero_and_said() -> None:
    """A study that was resumed before it was paused."""
    odd = lifecycle("agent", 1, ("study_started", START + DAY), ("study_paused", START + 5 * DAY), ("study_resumed", START + 3 * DAY))
    chart = plots.lifecycle(odd, until=START + 8 * DAY)
    bars = {row["status"]: (row["a"], row["b"]) for row in rows_of(chart.to_dict(), mark="bar")}
    assert bars["paused"][0] == bars["paused"][1] == round((START + 5 * DAY).timestamp() * 1000)
    assert "Times run backwards 1 time (agent)" in subtitle(chart)
    assert plots.table(chart)["backwards"].to_list() == [False, False, True, False]


def test_a_status_without_length_is_seen() -> None:
    """A study that was only created has a bar without length; its stroke shows it."""
    drawn = svg(plots.lifecycle(lifecycle("agent", 1)))
    assert re.search(r'aria-label="agent, pending[^>]*stroke="#b5b5b5"', drawn)


@pytest.mark.slow
def test_marks_that_are_left_out_are_counted() -> None:
    """Of 2,500 beginnings 2,000 are marked, and the chart says so."""
    many = pl.concat([lifecycle(f"s{number}", number, *[("study_started", START)] * 25) for number in range(100)])
    frame = pl.concat([checkpoints(f"s{number}", number, 1) for number in range(100)])
    chart = plots.trend(StudyData(frame, many), "total_cost")
    assert "Only the first 2,000 of 2,500 are drawn." in subtitle(chart)


def test_changes_that_are_drawn_together_are_near_each_other() -> None:
    """However many studies there are: 4 pixels at most, and the chart says within how much time."""
    steps = [("study_paused" if day % 2 else "study_resumed", START + day * 5 * DAY) for day in range(20)]
    frame = pl.concat([lifecycle(f"s{number}", number, *steps) for number in range(150)])
    chart = plots.lifecycle(frame)
    assert "3,150 changes: those to one status within 14.2 hours are drawn together." in subtitle(chart)
    assert len(rows_of(chart.to_dict(), mark="bar")) == 3150
    assert max(row["b"] - row["a"] for row in rows_of(chart.to_dict(), mark="bar")) == 5 * 86_400_000


def test_of_very_many_studies_the_newest_are_shown_and_that_is_said() -> None:
    """Bars of 200 studies at most."""
    many = pl.concat([lifecycle(f"s{number}", number) for number in range(250)])
    chart = plots.lifecycle(many)
    assert len(rows_of(chart.to_dict(), mark="bar")) == 200
    assert "The 200 newest of 250 studies." in subtitle(chart)


# --- any size ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=examples(80))
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 400), st.floats(-1e9, 1e9)), min_size=1, max_size=120),
    st.integers(1, 20),
)
def test_thinning_keeps_every_extreme(rows: list[tuple[int, int, float]], buckets: int) -> None:
    """Of each study and stretch of time the first, the last, a least and a greatest row are there, and nothing that was not there before."""
    frame = pl.DataFrame(rows, schema=["study_id", "hour", "v"], orient="row").with_columns(pl.col("study_id").cast(pl.String))
    frame = frame.with_columns(t=pl.lit(START) + pl.duration(hours="hour")).sort("study_id", "t", maintain_order=True).with_row_index("row")
    kept = thin(frame, ["v"], buckets)
    assert set(kept["row"]) <= set(frame["row"])
    placed = frame.with_columns(bucket=bucket(frame, buckets))
    for part in placed.partition_by("study_id", "bucket"):
        here = kept.filter(pl.col("row").is_in(part["row"].implode()))
        assert {part["row"][0], part["row"][-1]} <= set(here["row"])
        assert (here["v"].min(), here["v"].max()) == (part["v"].min(), part["v"].max())
        assert here.height <= 4


def test_a_hundred_thousand_checkpoints_make_a_small_chart_that_says_what_it_left_out() -> None:
    """Under 150 kB, within Altair's limits, the extremes among the points, a caption, and a table of everything."""
    frame = long(100_000)
    chart = plots.trend(frame, "session_success_rate")
    spec = chart.to_dict()
    assert len(json.dumps(spec)) < 150_000
    drawn = [row["v"] for row in rows_of(spec, mark="line") if row["v"] is not None]
    assert (min(drawn), max(drawn)) == (frame["session_success_rate"].min(), frame["session_success_rate"].max())
    assert f"Thinned: {len(drawn):,} of {frame.height:,} checkpoints are drawn" in subtitle(chart)
    assert plots.table(chart).height == frame.height
    assert sum(row["v"] is None for row in rows_of(spec, mark="line")) == 2


@pytest.mark.slow
def test_below_the_threshold_every_point_is_there() -> None:
    """2,000 points of a line are drawn as they are; with one more it is thinned; many studies share what there is."""

    def points(count: int, studies: int = 1) -> int | None:
        frame = long(count * studies, studies)
        return buckets_for(runs(StudyData(frame).sorted_checkpoints(["total_cost"]).with_columns(StudyData(frame).lengths), ["total_cost"]))

    assert points(2003) is None
    assert points(2004) == 240
    assert points(400, 50) is not None
    assert "Thinned" not in subtitle(plots.trend(long(2003), "total_cost"))


FRAMES: dict[str, Callable[[], pl.DataFrame]] = {
    "empty": lambda: checkpoints().head(0),
    "one row": lambda: checkpoints(count=1),
    "all missing": lambda: checkpoints().with_columns(pl.lit(None).cast(checkpoints().schema[name]).alias(name) for name in METRICS),
    "one study": checkpoints,
    "50 studies": lambda: pl.concat([checkpoints(f"study {number}", number, 6) for number in range(50)]),
    "unsorted, duplicated": lambda: pl.concat([checkpoints(), checkpoints()]).sample(fraction=1, shuffle=True, seed=1),
    "100,000 rows": lambda: long(100_000),
    "100,000 rows of 50 studies": lambda: long(100_000, 50),
}
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "trend": lambda frame: plots.trend(frame, "session_success_rate", rolling=3),
    "overview": plots.overview,
    "compare": lambda frame: plots.trend(frame, "total_cost", align="start"),
    "scatter": plots.scatter,
    "lifecycle": lambda frame: plots.lifecycle(StudyData(frame, lived())),
}


LARGE = ("50 studies", "100,000 rows", "100,000 rows of 50 studies")
# Drawing takes most of the time, and other functions read a frame as `trend` does.
LATER = {*product(LARGE, ("overview", "compare", "scatter")), ("one row", "overview")}
MATRIX = [pytest.param(*one, marks=[pytest.mark.long] * (one in LATER)) for one in product(FRAMES, FUNCTIONS)]


@pytest.mark.parametrize(("kind", "function"), MATRIX)
def test_every_chart_takes_every_frame_polars_and_pandas_alike(kind: str, function: str) -> None:
    """The same specification from both, valid for Altair, drawn by vl-convert, with a description and a table."""
    frame = FRAMES[kind]()
    chart = FUNCTIONS[function](frame)
    spec = chart.to_dict()
    assert named(FUNCTIONS[function](to_pandas(frame, CHECKPOINTS)).to_dict()) == named(spec)
    assert spec["description"]
    assert isinstance(plots.table(chart), pl.DataFrame)
    if "50" not in kind:  # the drawing of many studies is tried once, below
        assert "NaN" not in svg(spec)


def test_a_lifecycle_of_a_hundred_thousand_changes_is_drawn() -> None:
    """Changes closer than the screen can show are drawn together, and that is said."""
    count = 100_000
    rows = {"study_id": study_id(1), "study": "agent", "seq": pl.int_range(count, eager=True)}
    kinds = pl.Series(["study_paused", "study_resumed"] * (count // 2))
    at = pl.select(pl.lit(START).dt.cast_time_unit("us") + pl.duration(minutes=pl.int_range(count))).to_series()
    frame = pl.DataFrame({**rows, "kind": kinds, "status": kinds.replace({"study_paused": "paused", "study_resumed": "running"}), "at": at})
    chart = plots.lifecycle(frame)
    assert len(rows_of(chart.to_dict(), mark="bar")) <= 2002
    assert "100,000 changes" in subtitle(chart)
    both = plots.lifecycle(StudyData(to_pandas(two(), CHECKPOINTS), to_pandas(lived(), LIFECYCLE)))
    assert named(both.to_dict()) == named(plots.lifecycle(StudyData(two(), lived())).to_dict())


@pytest.mark.slow
def test_of_very_many_studies_the_newest_are_drawn_and_that_is_said() -> None:
    """200 lines at most, in a trend as in a scatter; the table has all of them."""
    many = pl.concat([checkpoints(f"study {number:03}", number, 2) for number in range(230)])
    for chart in (plots.trend(many, "total_cost"), plots.scatter(many)):
        drawn = {row["study"] for row in rows_of(chart.to_dict(), mark="line")}
        assert drawn == {f"study {number:03}" for number in range(30, 230)}
        assert "The 200 of 230 studies that began last." in subtitle(chart)
        assert plots.table(chart)["study"].n_unique() == 230


def test_a_composed_chart_says_what_its_parts_say() -> None:
    """Its text is theirs."""
    one, other = plots.trend(checkpoints(), "total_cost"), plots.lifecycle(lived())
    told = bundle(one | other)[0]["text/plain"]
    assert told == f"{one.to_dict()['description']} {other.to_dict()['description']}"


@pytest.mark.slow
def test_the_small_charts_of_an_overview_have_one_axis_of_time() -> None:
    """A metric that was measured for two days of ten looks so."""
    frame = checkpoints(count=10)
    short = frame.with_columns(total_cost=pl.when(pl.int_range(pl.len()) < 2).then("total_cost"))
    spec = plots.overview(short).to_dict()
    domains = {json.dumps(one["layer"][0]["encoding"]["x"]["scale"]["domain"]) for part in spec["vconcat"] for one in part["concat"]}
    assert domains == {json.dumps([round((START + days * DAY).timestamp() * 1000) for days in (0, 10)])}


def test_fifty_studies_are_drawn() -> None:
    """Lines, a legend with all of them in columns, and a dash for those beyond the palette."""
    drawn = svg(plots.trend(FRAMES["50 studies"](), "session_success_rate"))
    assert all(f">study {number}</text>" in drawn for number in range(50))
    assert "stroke-dasharray" in drawn


def test_a_frame_that_a_user_changed_is_read_as_far_as_it_goes() -> None:
    """NaN is missing, plain floats and seconds are taken, and columns that a chart does not need may be gone."""
    frame = checkpoints(count=4)
    plain = to_pandas(frame, CHECKPOINTS).astype({"total_cost": "float64"})
    plain.loc[1, "total_cost"] = math.nan
    rows = rows_of(plots.trend(plain[["period_start", "period_end", "total_cost"]], "total_cost").to_dict(), mark="line")
    assert [row["v"] is None for row in rows] == [False, True, False, False]
    seconds = frame.with_columns(avg_session_duration=pl.col("avg_session_duration").dt.total_microseconds() / 1e6)
    assert named(plots.trend(seconds, "avg_session_duration").to_dict()) == named(plots.trend(frame, "avg_session_duration").to_dict())


def test_what_is_not_finite_and_a_name_that_is_missing_in_places() -> None:
    """Infinity is no measurement, as NaN; the name of a study is the one that its other rows have."""
    odd = checkpoints(count=4).with_columns(total_cost=pl.Series([1.0, math.inf, -math.inf, 2.0]), study=pl.Series(["a", None, None, "a"]))
    rows = rows_of(plots.trend(odd, "total_cost").to_dict(), mark="line")
    assert [row["v"] for row in rows] == [1.0, None, 2.0]
    assert set(plots.table(plots.trend(odd, "total_cost"))["study"]) == {"a"}


def test_a_thinned_scatter_keeps_the_extremes_of_both_metrics() -> None:
    """The most expensive checkpoint is among the points, and so is the best."""
    frame = long(5000).with_columns(total_cost=((pl.int_range(pl.len()) * 7919) % 10007).cast(pl.Float64()))
    rows = [row for row in rows_of(plots.scatter(frame).to_dict(), mark="line") if row["h"] is not None]
    for name, column in (("h", "total_cost"), ("v", "session_success_rate")):
        drawn = [row[name] for row in rows]
        assert (min(drawn), max(drawn)) == (frame[column].min(), frame[column].max())


# --- colours, words, tables -------------------------------------------------------------------------------------------------------------


def test_a_study_keeps_its_colour_in_every_chart() -> None:
    """In a chart of its own, and when others come before it in the frame; a ninth study is dashed."""

    def range_of(chart: Any) -> dict[str, str]:
        scale = next(layer for layer in chart.to_dict()["layer"] if layer["mark"]["type"] == "line")["encoding"]["color"]["scale"]
        return dict(zip(scale["domain"], scale["range"], strict=True))

    assert range_of(plots.trend(checkpoints("new", 2), "total_cost")) == {"new": PALETTE[0]}
    assert range_of(plots.trend(two(), "total_cost")) == {"old": PALETTE[1], "new": PALETTE[0]}
    assert range_of(plots.scatter(checkpoints("old", 1))) == {"old": PALETTE[1]}
    many = pl.concat([checkpoints(f"s{number}", 10 + number, 3) for number in range(9)])
    assert "strokeDash" in plots.trend(many, "total_cost").to_dict()["layer"][0]["encoding"]
    assert "strokeDash" not in plots.trend(two(), "total_cost").to_dict()["layer"][0]["encoding"]


def test_the_colours_stay_apart_for_the_colour_blind_and_on_both_backgrounds() -> None:
    """Simulated as by Machado et al. (2009) the nearest two differ by 0.09 in OKLab; contrast is 2.6 on white and 2.1 on JupyterLab's dark grey."""
    blindness = [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ]
    to_lms = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]

    def times(matrix: list[list[float]], vector: list[float]) -> list[float]:
        return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]

    def linear(colour: str) -> list[float]:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]

    for seen in blindness:
        points = [
            times(to_lab, [max(0, x) ** (1 / 3) for x in times(to_lms, [min(1, max(0, y)) for y in times(seen, linear(colour))])])
            for colour in PALETTE
        ]
        assert min(math.dist(a, b) for i, a in enumerate(points) for b in points[:i]) > 0.09
    for colour in PALETTE:
        light = sum(a * b for a, b in zip((0.2126, 0.7152, 0.0722), linear(colour), strict=True))
        assert 1.05 / (light + 0.05) > 2.6
        assert (light + 0.05) / 0.0831 > 2.1


def test_a_chart_says_in_words_what_it_shows() -> None:
    """What, which studies, the span, the first and last value, the extremes, and the notes."""
    frame = checkpoints(count=3).with_columns(total_cost=pl.Series([2.0, 3.5, 1.25]))
    assert plots.trend(frame, "total_cost").to_dict()["description"] == (
        "Trend of total cost over time, 1 study, 2026-01-05 to 2026-01-08 UTC. agent: 3 checkpoints, first $2.00, last $1.25, "
        "lowest $1.25 (2026-01-07), highest $3.50 (2026-01-06)."
    )
    assert (
        plots.lifecycle(lived()).to_dict()["description"].startswith("Lifecycle of 2 studies, 2026-01-05 to 2026-01-17 UTC. new: pending")
    )
    assert "nothing to draw" in plots.scatter(frame.head(0)).to_dict()["description"]


@pytest.mark.slow
def test_the_table_has_the_numbers_of_the_frame() -> None:
    """Each checkpoint with its period, value, count and interval; `properties` keeps it, and a composed chart points to its parts."""
    frame = checkpoints(count=5).with_columns(session_success_rate=pl.Series([0.5, None, 0.25, 1.0, 0.0]))
    chart = plots.trend(frame, "session_success_rate")
    found = plots.table(chart.properties(width=100))
    assert found.columns == ["study", "period_start", "period_end", "session_success_rate", "sessions_completed", "low", "high"]
    assert found["session_success_rate"].to_list() == [0.5, None, 0.25, 1.0, 0.0]
    assert found["period_start"].to_list() == frame["period_start"].to_list()
    assert found["low"].null_count() == 1
    with pytest.raises(InvalidInputError, match="LayerChart has no table"):
        plots.table(chart + chart)
    assert plots.table(plots.overview(frame)).filter(metric="session_success_rate")["value"].null_count() == 1


@pytest.mark.slow
def test_an_overview_says_the_time_zone_and_which_chart_a_note_is_of() -> None:
    """Time is UTC; each note with its metric; beyond three they are counted."""
    odd = checkpoints().with_columns(session_success_rate=pl.lit(1.5), agent_efficiency=pl.lit(-0.1))
    said = subtitle(plots.overview(odd))
    assert said == (
        "Time is UTC, 2026. Session success rate: 10 values outside 0 to 100 %. Agent efficiency: 10 values outside 0 to 100 %."
    )
    assert re.search(r"Sessions completed: Thinned: .* And so for \d+ more charts?\.", subtitle(plots.overview(long(5000))))


def test_a_long_title_is_in_lines() -> None:
    """A name of 200 characters, also where there is no note under the title."""
    title = plots.trend(checkpoints("n" * 200), "total_tokens").to_dict()["title"]
    assert "subtitle" not in title
    assert max(map(len, title["text"])) <= 90


@pytest.mark.slow
def test_a_changed_copy_of_an_overview_leaves_the_original_alone() -> None:
    """Charts share no encoding with each other or with a copy."""
    chart = plots.overview(checkpoints(count=3))
    before, copy = chart.to_dict(), chart.copy()
    copy.vconcat[0].concat[0].layer[0].encoding.x.title = "changed"
    assert copy.to_dict() != before
    assert chart.to_dict() == before
    chart.vconcat[0].concat[0].layer[0].encoding.x.title = "changed"
    assert json.dumps(chart.to_dict()).count('"changed"') == 1


@pytest.mark.slow
def test_better_directions_units_and_groups_come_from_the_catalogue() -> None:
    """Each metric of an overview stands in its group, with its direction, on an axis in its format."""
    spec = plots.overview(checkpoints(count=3)).to_dict()
    groups = {part["title"]["text"]: [one["title"] for one in part["concat"]] for part in spec["vconcat"]}
    assert list(groups) == list(dict.fromkeys(metric.group for metric in METRICS.values()))
    arrows = {"up": "↑ Higher is better.", "down": "↓ Lower is better.", "neither": "\u00a0"}
    for metric in METRICS.values():
        (title,) = (
            one for one in groups[metric.group] if one["text"].startswith(metric.label) and len(one["text"]) <= len(metric.label) + 5
        )
        assert title["subtitle"] == arrows[metric.better]


# --- composing, displaying, saving ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_charts_compose_as_any_other_and_still_display_offline() -> None:
    """+, | and & give plain Altair, with the colours as they were; `show` and `bundle` take it, and the theme is applied when it is rendered."""
    one, other = plots.trend(two(), "total_cost"), plots.trend(checkpoints("new", 2), "total_tokens")
    bare = alt.Chart(alt.InlineData(values=[{"v": 5}])).mark_rule().encode(y="v:Q")
    for composed in (one + bare, one | other, one & other, (one | other) & plots.lifecycle(lived()), alt.layer(one, bare), one + one):
        assert type(composed).__module__.startswith("altair")
        assert "config" not in composed.to_dict() or "title" not in composed.to_dict()["config"]
        data, metadata = bundle(composed)
        assert all(colour in data["image/svg+xml"] for colour in PALETTE[:2])
        assert set(data) == {"application/vnd.vegalite.v5+json", "image/svg+xml", "text/plain"}
        assert data["application/vnd.vegalite.v5+json"]["config"]["title"]["anchor"] == "start"
        assert metadata["application/vnd.vegalite.v5+json"]["embed_options"] == {"renderer": "svg", "actions": False}
    assert "config" in one.configure_view(stroke=None).to_dict()


@pytest.mark.slow
def test_a_chart_displays_by_itself_and_altair_is_left_alone() -> None:
    """Its own display is the offline one whatever renderer, transformer and theme are enabled, and those stay."""
    before = (alt.renderers.active, alt.data_transformers.active, alt.theme.active, alt.data_transformers.options)
    chart = plots.trend(long(10_000, 50), "total_cost")
    data, _ = chart._repr_mimebundle_()
    assert data["text/plain"] == chart.to_dict()["description"]
    naive = alt.Chart(pl.DataFrame({"x": range(6000)})).mark_point().encode(x="x:Q")
    assert len(specification(naive)["datasets"].popitem()[1]) == 6000
    with pytest.raises(alt.MaxRowsError):
        naive.to_dict()
    with plots.enable():
        assert set(alt.Chart(alt.InlineData(values=[])).mark_point()._repr_mimebundle_()[0]) == set(data)
    assert (alt.renderers.active, alt.data_transformers.active, alt.theme.active, alt.data_transformers.options) == before


def test_altair_still_checks_what_a_user_writes() -> None:
    """Building a chart switches Altair's checks off for itself only."""
    plots.trend(checkpoints(), "total_cost")
    with pytest.raises(SchemaValidationError):
        alt.X("x:Q", scale=alt.Scale(type="no such scale"))
    with pytest.raises(InvalidInputError):
        plots.trend(checkpoints(), "nothing")
    with pytest.raises(SchemaValidationError):
        alt.X("x:Q", scale=alt.Scale(type="no such scale"))


def test_show_takes_only_altair_charts() -> None:
    """Anything else is refused in words."""
    with pytest.raises(InvalidInputError, match="a DataFrame is no Altair chart"):
        plots.show(checkpoints())


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".svg", ".png", ".html", ".json"])
def test_a_chart_is_saved_whole(tmp_path: Path, ending: str) -> None:
    """In each format; a name with markup stays text, and the page asks no network for anything."""
    frame = checkpoints(MARKUP, 1, 5)
    target = plots.save(plots.trend(frame, "session_success_rate", reference=(0.5, MARKUP)), tmp_path / f"chart{ending}")
    content = target.read_bytes()
    if ending == ".png":
        assert content.startswith(b"\x89PNG")
        return
    text = content.decode()
    if ending == ".json":
        assert " ".join(json.loads(text)["title"]["text"]).endswith(MARKUP)
        return
    assert MARKUP not in text
    assert "<img src=x" not in text
    assert "alert(2)</script>" not in text
    if ending == ".html":
        assert text.count("</script>") == text.count("<script")
        assert not re.search(r'(src|href)="', re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))


def test_tooltips_stand_in_the_svg() -> None:
    """Each point of a saved SVG says its study, period, value and count."""
    drawn = svg(plots.trend(checkpoints(count=2), "session_success_rate"))
    told = re.findall(r"<title>(.*?)</title>", drawn)
    assert [text for text in told if text != "agent"] == told[1:]
    assert re.fullmatch(r"agent, 2026-01-05 00:00 to 2026-01-06 00:00 UTC: \d+\.\d% of \d+ sessions completed", told[1])


def test_a_page_holds_several_charts() -> None:
    """Each with a heading and its description, and the data where no name can end the script."""
    text = page([("One & <two>", plots.trend(checkpoints(MARKUP), "total_cost")), ("", plots.lifecycle(lived()))], title=MARKUP)
    assert "<h2>One &amp; &lt;two&gt;</h2>" in text
    assert text.count('class="chart"') == 2
    data = re.search(r'<script type="application/json" id="charts">(.*?)</script>', text, flags=re.DOTALL)
    assert data is not None
    assert len(json.loads(data[1])["specs"]) == 2


# --- bad input --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: plots.trend(checkpoints(), "sucess_rate"), "metric: 'sucess_rate' is no metric. Did you mean 'self_correction_rate'|Did you mean"),
        (lambda: plots.trend(checkpoints(), 5), "metric: 5 is no metric"),  # type: ignore[arg-type]
        (lambda: plots.trend(checkpoints().lazy(), "total_cost"), "a LazyFrame is no Polars or Pandas frame. Call .collect\\(\\) first"),
        (lambda: plots.trend([{"a": 1}], "total_cost"), "a list is no Polars or Pandas frame"),
        (lambda: plots.trend(checkpoints().drop("period_end"), "total_cost"), "it has no column 'period_end'"),
        (lambda: plots.trend(checkpoints().drop("total_cost"), "total_cost"), "it has no column 'total_cost'"),
        (lambda: plots.trend(checkpoints()["total_cost"], "total_cost"), "a Series is no"),
        (lambda: plots.trend(checkpoints().with_columns(total_cost=pl.lit("1")), "total_cost"), "'total_cost' holds String; numbers are needed"),
        (lambda: plots.trend(checkpoints().with_columns(pl.col("period_start").dt.replace_time_zone(None)), "total_cost"), "times with a time zone are needed"),
        (lambda: plots.trend(checkpoints(), "total_cost", rolling=1), "rolling: 1 is no number of checkpoints"),
        (lambda: plots.trend(checkpoints(), "total_cost", interval="x"), "interval: 'x' is none of"),  # type: ignore[arg-type]
        (lambda: plots.trend(checkpoints(), "total_cost", width="container"), "width: 'container' is no number of pixels"),  # type: ignore[arg-type]
        (lambda: plots.scatter(checkpoints(), height=-5), "height: -5 is no number of pixels"),
        (lambda: plots.lifecycle(lived(), width=0), "width: 0 is no number of pixels"),
        (lambda: plots.trend(checkpoints(), "total_cost", reference=math.inf), "reference: inf is no value"),
        (lambda: plots.trend(checkpoints(), "total_cost", y=(0, math.inf)), "y: .* is no range"),
        (lambda: plots.save(plots.scatter(checkpoints()), None), "path: None is no path"),  # type: ignore[arg-type]
        (lambda: plots.trend(checkpoints(), "total_cost", y=(2, 1)), "y: \\(2, 1\\) is no range"),
        (lambda: plots.trend(checkpoints(), "total_cost", y="zero"), "y: 'zero' is no range"),  # type: ignore[arg-type]
        (lambda: plots.trend(checkpoints(), "total_cost", reference="high"), "reference: 'high' is no value"),  # type: ignore[arg-type]
        (lambda: plots.trend(StudyData(checkpoints(), checkpoints()), "total_cost"), "it has no column 'seq'"),
        (lambda: plots.trend(checkpoints(), "total_cost", align="end"), "align: 'end' is neither"),  # type: ignore[arg-type]
        (lambda: plots.scatter(checkpoints(), x="cost"), "x: 'cost' is no metric"),
        (lambda: plots.lifecycle(checkpoints()), "data: it has no lifecycle. Give kit.data"),
        (lambda: plots.lifecycle(lived(), until=datetime(2026, 1, 1)), "until: .* has no time zone"),
        (lambda: plots.overview(checkpoints().select("study", "period_start")), "it has no column 'period_end', 'sessions_completed'"),
        (lambda: plots.save(plots.scatter(checkpoints()), "chart.pdf"), "does not end in one of .svg, .png, .html, .json"),
        (lambda: plots.save(plots.scatter(checkpoints()), "/nowhere/at/all/chart.svg"), "cannot be written"),
        (lambda: plots.save(plots.scatter(checkpoints()), "chart.svg", mode="blue"), "mode: 'blue' is neither"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_told_in_words(wrong: Callable[[], Any], message: str) -> None:
    """What was wrong, the value, the valid options."""
    with pytest.raises(InvalidInputError, match=message):
        wrong()


def test_two_studies_of_one_name_are_told_apart() -> None:
    """By the ends of their ids."""
    frame = pl.concat([checkpoints("agent", 1, 3), checkpoints("agent", 2, 3)])
    assert set(plots.table(plots.trend(frame, "total_cost"))["study"]) == {"agent (…0001)", "agent (…0002)"}


def test_a_timestamp_before_1970_is_drawn() -> None:
    """Nothing depends on the epoch."""
    old = checkpoints(count=3).with_columns(pl.col("period_start", "period_end") - timedelta(days=365 * 80))
    assert rows_of(plots.trend(old, "total_cost").to_dict(), mark="line")[0]["a"] < 0
    assert datetime(1946, 1, 1, tzinfo=UTC) < plots.table(plots.trend(old, "total_cost"))["period_start"][0]


def test_studies_are_ordered_by_when_they_began_then_by_name() -> None:
    """Whatever their ids: a study's id says nothing of its age, and is another one in each home."""
    younger, older, twin = (
        checkpoints("a", 1).with_columns(pl.col("period_start", "period_end") + DAY),
        checkpoints("z", 2),
        checkpoints("y", 3),
    )
    for frame in (pl.concat([younger, older, twin]), pl.concat([twin, younger, older])):
        scale = plots.trend(frame, "total_cost").to_dict()["layer"][0]["encoding"]["color"]["scale"]
        assert scale["domain"] == ["y", "z", "a"]
