"""Charts: gaps, intervals, extremes and units, for frames of any kind and size; composing, displaying and saving."""

from __future__ import annotations

import copy
import json
import math
import pickle
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
from inline_snapshot import snapshot
from IPython.core.formatters import DisplayFormatter

from evalkit import METRICS, InvalidInputError, StudyData, analysis, plots
from evalkit.frames.columns import CHECKPOINTS, LIFECYCLE
from evalkit.frames.pandas_output import to_pandas
from evalkit.plots._downsampling import bin_count, downsample, runs, time_bin, with_breaks
from evalkit.plots._lines import axis_years
from evalkit.plots._points import wilson
from evalkit.plots._rendering import bundle, page, specification, svg
from evalkit.plots._theme import LOOKS, PALETTE, colors, fresh_colors
from tests import oracles
from tests.chart_frames import DAY, START, checkpoints, lifecycle, long, rows_of, study_id
from tests.messages import says
from tests.properties import examples

GOLDEN = Path(__file__).parent / "golden" / "charts"
MARKUP = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


@pytest.fixture(autouse=True)
def unassigned_colors() -> Iterator[None]:
    """Assign no color to a study before a test."""
    colors.clear()
    yield
    colors.clear()


def two_studies() -> pl.DataFrame:
    return pl.concat([checkpoints("old", 1, 12, left_out=(4, 5)), checkpoints("new", 2, 8, period="weekly", seed=2)])


def two_lifecycles() -> pl.DataFrame:
    steps = [
        ("study_started", START + DAY / 24),
        ("study_paused", START + 4 * DAY),
        ("study_resumed", START + 6 * DAY),
        ("study_stopped", START + 12 * DAY),
    ]
    return pl.concat([lifecycle("old", 1, *steps), lifecycle("new", 2, steps[0])])


def shifted() -> pl.DataFrame:
    """Return twenty checkpoints; in the last ten the success rate is halved."""
    half = pl.when(pl.int_range(20) < 10).then(1.0).otherwise(0.5)
    return checkpoints(count=20).with_columns(session_success_rate=pl.col("session_success_rate") * half)


CHARTS: dict[str, Callable[[], Any]] = {
    "trend": lambda: plots.trend(StudyData(two_studies(), two_lifecycles()), "session_success_rate"),
    "trend_rolling": lambda: plots.trend(
        checkpoints(count=12, left_out=(6,)), "session_success_rate", rolling=3, reference=(0.6, "target")
    ),
    "trend_cost": lambda: plots.trend(two_studies(), "total_cost", y="data"),
    "compare_start": lambda: plots.trend(two_studies(), "first_attempt_success_rate", align="start"),
    "overview": lambda: plots.overview(checkpoints(count=3)),
    "scatter": lambda: plots.scatter(two_studies()),
    "lifecycle": lambda: plots.lifecycle(StudyData(two_studies(), two_lifecycles())),
    "trend_fit": lambda: analysis.trend(checkpoints(count=12, left_out=(6,)), "session_success_rate").plot(),
    "trend_changes": lambda: analysis.changepoints(shifted(), "session_success_rate").plot(),
    "differences": lambda: analysis.compare(pl.concat([shifted(), checkpoints("base", 2, 20, seed=3)]), "agent", baseline="base").plot(),
    "audit": lambda: analysis.audit(two_studies()).plot(),
    "empty": lambda: plots.trend(two_studies().head(0), "total_cost"),
}


def rounded(value: Any) -> Any:
    """Return a specification with numbers rounded to nine digits, which do not depend on the machine."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items() if key != "$schema"}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def named(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a specification whose datasets are named by their order; Altair names them by a hash of all digits."""
    text = json.dumps(spec)
    for number, name in enumerate(spec["datasets"]):
        text = text.replace(name, f"data-{number}")
    return rounded(json.loads(text))  # type: ignore[no-any-return]


# --- golden files -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", CHARTS)
def test_chart_equals_golden_specification(name: str, request: pytest.FixtureRequest) -> None:
    """Each chart equals its golden specification; renew these with `python -m tests.golden_charts`."""
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
def test_chart_renders_without_browser(name: str, mode: Any) -> None:
    """Each chart renders in each mode, without NaN, and has a description for screen readers."""
    chart = CHARTS[name]()
    drawn = svg(chart, mode)
    assert "NaN" not in drawn
    assert "undefined" not in drawn
    assert drawn.startswith("<svg")
    assert chart.to_dict()["description"]


# --- gaps -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_missing_checkpoint_is_gap() -> None:
    """Two runs are separated by a row without a value, which breaks the line."""
    chart = plots.trend(checkpoints(count=10, left_out=(4,)), "session_success_rate", interval=False)
    rows = rows_of(chart.to_dict(), mark="line")
    assert [row["v"] is None for row in rows] == [False] * 4 + [True] + [False] * 5
    assert rows[3]["b"] <= rows[4]["a"] <= rows[5]["a"]
    line = re.search(
        r'<path aria-label="[^"]*"[^>]*role="graphics-symbol"[^>]*line mark[^>]*d="([^"]*)"|line mark[^>]*d="([^"]*)"', svg(chart)
    )
    assert line is not None
    assert (line[1] or line[2]).count("M") == 2


def test_missing_value_is_gap_but_zero_is_not() -> None:
    frame = checkpoints(count=6).with_columns(total_cost=pl.Series([1.0, 2.0, None, 3.0, 0.0, 1.0]))
    rows = rows_of(plots.trend(frame, "total_cost").to_dict(), mark="line")
    assert [row["v"] for row in rows] == [1.0, 2.0, None, 3.0, 0.0, 1.0]


@pytest.mark.slow
def test_less_than_half_a_period_is_not_a_gap() -> None:
    """A weekly study with periods of five days has no gaps; with periods of three days it has."""
    weeks = checkpoints(count=4, period="weekly")
    short = weeks.with_columns(period_end=pl.col("period_start") + timedelta(days=5))
    assert None not in [row["v"] for row in rows_of(plots.trend(short, "total_cost").to_dict(), mark="line")]
    shorter = weeks.with_columns(period_end=pl.col("period_start") + timedelta(days=3))
    assert [row["v"] for row in rows_of(plots.trend(shorter, "total_cost").to_dict(), mark="line")].count(None) == 3


def test_half_a_period_is_gap_unless_covered_by_overlap() -> None:
    """Exactly half a period without a checkpoint breaks the line; time covered by a longer, overlapping period is not a gap."""
    days = checkpoints(count=3)
    half = days.with_columns(period_end=pl.col("period_end") - timedelta(hours=12))
    assert [row["v"] for row in rows_of(plots.trend(half, "total_cost").to_dict(), mark="line")].count(None) == 2
    long_first = days.with_columns(period_end=pl.Series([START + 2 * DAY, START + timedelta(hours=25), START + 3 * DAY]))
    long_first = long_first.with_columns(period_start=pl.Series([START, START + DAY, START + 2 * DAY])).cast(days.schema)
    assert None not in [row["v"] for row in rows_of(plots.trend(long_first, "total_cost").to_dict(), mark="line")]


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 12))
def test_lines_never_bridge_missing_checkpoints(present: list[bool], bins: int) -> None:
    """At any degree of downsampling, points on both sides of a missing checkpoint are separated by a row without a value."""
    frame = checkpoints(count=1)
    base = pl.concat(
        [
            frame.with_columns(period_start=pl.lit(START + index * DAY), period_end=pl.lit(START + (index + 1) * DAY))
            for index in range(len(present))
        ]
    )
    base = base.cast(frame.schema).filter(pl.Series(present))
    points = runs(StudyData(base).sorted_checkpoints(["total_cost"]).with_columns(StudyData(base).gaps, v=pl.col("total_cost")), ["v"])
    drawn = with_breaks(downsample(points, ["v"], bins) if points.height else points, ["v"])
    values, days = drawn["v"].to_list(), [(moment - START).days for moment in drawn["t"].to_list()]
    neighbours = [(a, b) for a, b, v, w in zip(days, days[1:], values, values[1:], strict=False) if v is not None and w is not None]
    assert all(all(present[a : b + 1]) for a, b in neighbours)
    assert drawn["t"].is_sorted()


# --- intervals --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=examples(300))
@given(st.floats(0, 1), st.integers(1, 10**9))
def test_wilson_intervals_equal_statsmodels(rate: float, count: int) -> None:
    """With unrounded successes, to 1e-9."""
    low, high = wilson(pl.col("rate"), pl.col("n"))
    (bounds,) = pl.DataFrame({"rate": [rate], "n": [count]}).select(low=low, high=high).rows()
    expected = oracles.wilson(rate * count, count)
    assert bounds == pytest.approx(tuple(min(1, max(0, end)) for end in expected), abs=1e-9)


@pytest.mark.slow
def test_interval_requires_count_and_valid_rate() -> None:
    """Checkpoints without a count, with a count of 0 or with a rate outside 0 to 1 have no interval and are counted in the subtitle."""
    rates, counts = [0.5, 0.5, 0.5, None, 1.5], [10, 0, None, 10, 10]
    low, high = wilson(pl.col("rate"), pl.col("n"))
    bounds = pl.DataFrame({"rate": rates, "n": counts}).select(low=low, high=high).rows()
    assert [row[0] is None and row[1] is None for row in bounds] == [False, True, True, True, True]
    frame = checkpoints(count=5).with_columns(session_success_rate=pl.Series(rates), sessions_completed=pl.Series(counts))
    notes = subtitle(plots.trend(frame, "session_success_rate"))
    assert "No interval for 2 checkpoints: sessions completed missing or 0." in notes
    assert "No interval for 1 checkpoint: rate outside 0 to 100%." in notes
    assert "1 value outside 0 to 100%." in notes
    bare = frame.with_columns(sessions_completed=pl.lit(None, dtype=pl.Int64()))
    assert "Band" not in subtitle(plots.trend(bare, "session_success_rate"))
    assert "not recorded" in subtitle(plots.trend(checkpoints(), "tool_success_rate"))
    assert "interval" not in subtitle(plots.trend(checkpoints(), "total_cost")).lower()


@pytest.mark.slow
def test_rounded_rate_is_noted() -> None:
    """The subtitle counts rates that are not a whole number of successes, within 0.05."""
    exact = checkpoints(count=3).with_columns(
        session_success_rate=pl.Series([1 / 3, 2 / 3, 1 / 7]), sessions_completed=pl.Series([30, 60, 70])
    )
    assert "rounded" not in subtitle(plots.trend(exact, "session_success_rate"))
    inexact = exact.with_columns(session_success_rate=pl.Series([0.333, 0.667, 0.1428]), sessions_completed=pl.Series([333, 60, 70]))
    assert "Rate times sessions completed is not an integer for 1 checkpoint (rounded input)." in subtitle(
        plots.trend(inexact, "session_success_rate")
    )


def test_bands_are_omitted_for_more_than_six_studies() -> None:
    """With `interval=True` they are drawn, with `interval=False` never."""
    many = pl.concat([checkpoints(f"s{number}", number, 4) for number in range(7)])
    chart = plots.trend(many, "session_success_rate")
    assert "interval=True" in subtitle(chart)
    assert not has_mark(chart, "area")
    assert has_mark(plots.trend(many, "session_success_rate", interval=True), "area")
    assert not has_mark(plots.trend(checkpoints(), "session_success_rate", interval=False), "area")


def test_isolated_point_has_interval_bar() -> None:
    """A band needs two adjacent points; a single one has a bar."""
    alone = plots.trend(checkpoints(count=1), "session_success_rate")
    rule = next(layer for layer in alone.to_dict()["layer"] if layer["mark"]["type"] == "rule")
    (row,) = alone.to_dict()["datasets"][rule["data"]["name"]]
    assert row["alone"]
    assert row["low"] < row["high"]


def test_band_breaks_at_missing_interval_and_keeps_extremes() -> None:
    """A checkpoint without a count interrupts the band but not the line; a downsampled band is the hull of all intervals."""
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


def test_rolling_mean_is_weighted_and_restarts_after_gap() -> None:
    """Weighted by sessions for the success rate, unweighted for metrics without a recorded denominator; complete windows only."""
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
def test_rolling_mean_breaks_at_missing_weight() -> None:
    frame = checkpoints(count=9).with_columns(sessions_completed=pl.Series([10, 10, 10, 10, None, 10, 10, 10, 10]))
    chart = plots.trend(frame, "session_success_rate", rolling=2)
    assert [row["v"] is None for row in last_rows(chart.to_dict())] == [False] * 3 + [True] + [False] * 3
    assert "(restarts after gaps and checkpoints without a weight)." in subtitle(chart)
    bare = plots.trend(frame.drop("sessions_completed"), "session_success_rate")
    assert "No interval for 9 checkpoints: sessions completed missing or 0." in subtitle(bare)
    assert plots.overview(frame.drop("sessions_completed")).to_dict()["description"].startswith("Overview of 15 metrics")


def last_rows(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return spec["datasets"][spec["layer"][-1]["data"]["name"]]  # type: ignore[no-any-return]


def test_value_axis_ranges() -> None:
    """0 to 100% for rates, from 0 for other metrics, fitted or set on request; values outside are counted."""

    def domain(metric: str, **options: Any) -> Any:
        chart = plots.trend(checkpoints(), metric, interval=False, **options)
        return chart.to_dict()["layer"][0]["encoding"]["y"]["scale"], subtitle(chart)

    assert domain("session_success_rate")[0] == {"domain": [0.0, 1.0], "nice": False}
    assert domain("total_cost")[0] == {"zero": True}
    assert domain("session_success_rate", y="data")[0] == {"zero": False}
    assert "Axis does not span 0 to 100%." in domain("session_success_rate", y="data")[1]
    fitted = plots.trend(checkpoints(), "session_success_rate", y="data").to_dict()["layer"]
    assert not any(layer["mark"].get("clip") for layer in fitted), "the points at the ends of a fitted axis must not be clipped"
    assert "10 points outside the axis range." in domain("session_success_rate", y=(0.99, 1))[1]
    assert domain("tasks_completed")[0] == {"zero": True}


def test_log_axis_omits_and_counts_values_of_zero_or_less() -> None:
    """The line breaks at them, and the axis ends at 1, 2 or 5 times a power of ten."""
    costs = [3.0, 40.0, 0.0, 150.0, 12.0, -1.0]
    chart = plots.trend(checkpoints(count=6).with_columns(total_cost=pl.Series(costs)), "total_cost", y="log")
    assert [row["v"] for row in rows_of(chart.to_dict(), mark="line")] == [3.0, 40.0, None, 150.0, 12.0]
    scale = chart.to_dict()["layer"][0]["encoding"]["y"]["scale"]
    assert scale == {"type": "log", "domain": [2.0, 200.0], "nice": False}
    assert subtitle(chart) == "Log axis; 2 values of zero or less are not shown."
    assert plots.table(chart)["total_cost"].to_list() == costs
    assert subtitle(plots.trend(checkpoints(), "total_cost", y="log")) == "Log axis."


def test_log_axis_covers_reference_line_and_rolling_mean() -> None:
    frame = checkpoints(count=6).with_columns(total_cost=pl.Series([30.0, 0.0, 0.0, 30.0, 40.0, 50.0]))
    chart = plots.trend(frame, "total_cost", y="log", rolling=3, reference=700).to_dict()
    assert chart["layer"][0]["encoding"]["y"]["scale"]["domain"] == [10.0, 1000.0]


def test_rolling_mean_on_log_axis_includes_omitted_values() -> None:
    frame = checkpoints(count=6).with_columns(total_cost=pl.Series([6.0, 0.0, 3.0, 0.0, 0.0, 0.0]))
    spec = plots.trend(frame, "total_cost", y="log", rolling=3).to_dict()
    thick = [layer for layer in spec["layer"] if layer["mark"]["type"] == "line"][-1]
    assert [row["v"] for row in spec["datasets"][thick["data"]["name"]]] == [3.0, 1.0, 1.0]
    assert spec["layer"][0]["encoding"]["y"]["scale"]["domain"] == [1.0, 10.0]


@pytest.mark.parametrize(("value", "reason"), [(0.0, "no checkpoint has a positive value."), (None, "no checkpoint has a value.")])
def test_log_axis_without_positive_values_is_empty(value: float | None, reason: str) -> None:
    chart = plots.trend(checkpoints().with_columns(total_cost=pl.lit(value, pl.Float64())), "total_cost", y="log")
    assert subtitle(chart).startswith(f"Nothing to draw: {reason}")


def test_overview_says_once_that_studies_look_alike() -> None:
    frame = pl.concat([checkpoints(f"study {number:02}", number, 3) for number in range(40)])
    text = subtitle(plots.overview(frame.select("study_id", "study", "period_start", "period_end", "total_cost", "total_tokens")))
    assert text.count("look alike") == 1


def test_legend_of_overview_has_the_shapes_of_its_points() -> None:
    frame = pl.concat([checkpoints(f"study {number:02}", number, 3) for number in range(12)])
    legend = plots.overview(frame).to_dict()["vconcat"][0]["encoding"]
    assert len(set(legend["shape"]["scale"]["range"])) == 2


def test_fitted_line_is_clipped_at_log_axis() -> None:
    """A straight line or its interval can have values of zero or less, which have no place on a log axis."""
    frame = checkpoints(count=12).with_columns(total_cost=pl.Series([1000.0 * 0.5**index for index in range(12)]))
    spec = plots.trend(frame, "total_cost", y="log", fit=analysis.trend(frame, "total_cost")).to_dict()
    (area,) = (layer for layer in spec["layer"] if layer["mark"]["type"] == "area")
    rows = spec["datasets"][area["data"]["name"]]
    assert area["mark"]["clip"]
    assert min(row["v"] for row in rows if row["v"] is not None) > 0
    assert min(row["low"] for row in rows) == spec["layer"][0]["encoding"]["y"]["scale"]["domain"][0]


def test_time_axis_title_has_utc_and_year() -> None:
    """Times are in UTC, regardless of the time zone of the frame."""
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
        (
            lambda: plots.trend(StudyData(checkpoints(count=5), started_and_stopped(START - 40 * DAY)), "total_cost"),
            "Time (UTC, 2025 to 2026)",
        ),
        (lambda: plots.trend(StudyData(checkpoints(count=5), started_and_stopped(START, START + 400 * DAY)), "total_cost"), "Time (UTC)"),
        (lambda: plots.trend(checkpoints(count=5), "total_cost", changes=Marked(START - 40 * DAY)), "Time (UTC, 2025 to 2026)"),
        (lambda: plots.trend(checkpoints(count=5), "total_cost", fit=Marked(START - 40 * DAY)), "Time (UTC, 2025 to 2026)"),
        (lambda: plots.trend(checkpoints(count=20, start=datetime(2025, 12, 12, tzinfo=UTC)), "total_cost"), "Time (UTC, 2025)"),
        (lambda: plots.lifecycle(StudyData(checkpoints(count=400), started_and_stopped(START, START + 2 * DAY))), "Time (UTC)"),
    ],
    ids=["start", "stop", "change", "line", "end of a year", "checkpoints of a lifecycle"],
)
def test_time_axis_title_covers_all_marks(chart: Callable[[], Any], title: str) -> None:
    """All of them extend the axis; a period that ends with the year does not. Labels with years need no years in the title."""
    assert axis_title(chart()) == title


@pytest.mark.slow
@pytest.mark.parametrize("width", [300, 640])
@pytest.mark.parametrize("first", [1, 2, 3])
@pytest.mark.parametrize("count", [20, 100, 200, 260])
def test_time_axis_title_covers_ticks_in_padding(width: int, first: int, count: int) -> None:
    """If the padding before the first checkpoint has a tick in the previous year, the title names that year."""
    begins = datetime(2024, 1, first, tzinfo=UTC)  # 31 December is a Sunday, and ticks are on Sundays
    chart = plots.trend(checkpoints(count=count, start=begins), "total_cost", width=width)
    labels = re.findall(r">([A-Z][a-z]{2}) \d+</text>", svg(chart))
    assert labels
    assert axis_title(chart) == ("Time (UTC, 2023 to 2024)" if labels[0] == "Dec" else "Time (UTC, 2024)")


def test_time_axis_at_end_of_calendar() -> None:
    """The padding after the year 9999 has no year."""
    last = datetime(9999, 12, 31, 23, 59, 30, tzinfo=UTC)
    assert axis_years(last, last, 640) == "9999"


def test_hourly_axis_has_no_tick_in_previous_year() -> None:
    """The padding of an hourly axis is shorter than the distance between ticks."""
    chart = plots.trend(checkpoints(count=70, period="hourly", start=datetime(2026, 1, 1, tzinfo=UTC)), "total_cost")
    assert axis_title(chart) == "Time (UTC, 2026)"


def started_and_stopped(*times: datetime) -> pl.DataFrame:
    return lifecycle("agent", 1, *zip(("study_started", "study_stopped"), times, strict=False))


class Marked:
    """A result of an analysis with one line and one change, at this time."""

    def __init__(self, at: datetime) -> None:
        self.study_id, self.metric, self._at = study_id(1), METRICS["total_cost"], at

    def change_marks(self) -> pl.DataFrame:
        return pl.DataFrame({"at": [self._at], "low": [self._at], "high": [self._at], "text": ["a change"]})

    def fitted_line(self) -> pl.DataFrame:
        return pl.DataFrame({"part": [0], "at": [self._at], "value": [1.0], "low": [0.5], "high": [1.5]})


@pytest.mark.slow
def test_tick_labels_are_unique() -> None:
    """Ticks are at least as far apart as their labels distinguish, for days and for small values."""
    for days in (5, 9, 40):
        drawn = svg(plots.trend(checkpoints(count=days), "total_cost"))
        labels = re.findall(r">(Jan \d+|Feb \d+)</text>", drawn)
        assert len(labels) > 2
        assert len(labels) == len(set(labels))
    tiny = checkpoints().with_columns(total_cost=pl.Series([0.0012 + 0.0001 * index for index in range(10)]))
    assert ">$0.0010</text>" in svg(plots.trend(tiny, "total_cost"))
    near = checkpoints().with_columns(session_success_rate=pl.Series([0.845 + 0.001 * index for index in range(10)]))
    assert ">84.5%</text>" in svg(plots.trend(near, "session_success_rate", y="data", interval=False))


def test_paused_time_is_shaded_and_starts_and_stops_are_marked() -> None:
    """A pause without an end lasts until the last time in the data."""
    chart = plots.trend(StudyData(two_studies(), two_lifecycles()), "total_cost").to_dict()
    (shade,) = rows_of(chart, mark="rect")
    milliseconds = [round((START + days * DAY).timestamp() * 1000) for days in (4, 6)]
    assert (shade["study"], shade["a"], shade["b"]) == ("old", *milliseconds)
    assert [row["text"] for row in rows_of(chart, mark="rule")] == ["started", "started", "stopped"]
    still = lifecycle("agent", 1, ("study_started", START), ("study_paused", START + 3 * DAY))
    (open_end,) = rows_of(plots.trend(StudyData(checkpoints(count=5), still), "total_cost").to_dict(), mark="rect")
    assert open_end["b"] == round((START + 5 * DAY).timestamp() * 1000)


def test_study_has_same_label_in_checkpoints_and_lifecycle() -> None:
    """If only one of two studies with the same name has checkpoints, pauses and ticks are attributed correctly."""
    steps = [("study_started", START), ("study_paused", START + 3 * DAY), ("study_resumed", START + 5 * DAY)]
    history = pl.concat([lifecycle("agent", 1, *steps), lifecycle("agent", 2), lifecycle("b", 3)])
    frame = pl.concat([checkpoints("agent", 2), checkpoints("b", 3)])
    spec = plots.lifecycle(StudyData(frame, history)).to_dict()
    assert {row["study"] for row in rows_of(spec, mark="tick")} == {"agent (…0002)", "b"}
    shaded = plots.trend(StudyData(pl.concat([checkpoints("agent", 1), checkpoints("b", 3)]), history), "total_cost").to_dict()
    assert [row["study"] for row in rows_of(shaded, mark="rect")] == ["agent"]
    assert {row["study"] for row in rows_of(shaded, mark="line")} == {"agent", "b"}


def test_align_start_begins_each_study_at_zero() -> None:
    """The unit suits the length; gaps remain."""
    spec = plots.trend(two_studies(), "total_cost", align="start").to_dict()
    rows = rows_of(spec, mark="line")
    firsts = {row["study"]: row["x"] for row in reversed(rows)}
    assert firsts == {"old": 0.5, "new": 3.5}
    assert spec["layer"][0]["encoding"]["x"]["title"] == "Days since the start of the first period"
    assert sum(row["v"] is None for row in rows) == 1


def test_scatter_counts_checkpoints_without_both_values() -> None:
    """They are omitted and break the path."""
    frame = checkpoints(count=6).with_columns(total_cost=pl.Series([1.0, 2.0, None, 3.0, 4.0, 5.0]))
    chart = plots.scatter(frame)
    assert [row["h"] for row in rows_of(chart.to_dict(), mark="line")] == [1.0, 2.0, None, 3.0, 4.0, 5.0]
    assert "1 checkpoint without both values is not shown." in subtitle(chart)
    assert not has_mark(plots.scatter(frame, path=False), "line")


def test_backwards_times_have_zero_length_and_are_noted() -> None:
    """A study that was resumed before it was paused."""
    backwards = lifecycle("agent", 1, ("study_started", START + DAY), ("study_paused", START + 5 * DAY), ("study_resumed", START + 3 * DAY))
    chart = plots.lifecycle(backwards, until=START + 8 * DAY)
    bars = {row["status"]: (row["a"], row["b"]) for row in rows_of(chart.to_dict(), mark="bar")}
    assert bars["paused"][0] == bars["paused"][1] == round((START + 5 * DAY).timestamp() * 1000)
    assert "1 event precedes the previous event of the study (agent)" in subtitle(chart)
    assert plots.table(chart)["backwards"].to_list() == [False, False, True, False]


def test_status_of_zero_length_is_visible() -> None:
    """The bar of a study that was only created is drawn by its stroke."""
    drawn = svg(plots.lifecycle(lifecycle("agent", 1)))
    assert re.search(r'aria-label="agent, pending[^>]*stroke="#b5b5b5"', drawn)


@pytest.mark.slow
def test_omitted_marks_are_counted() -> None:
    many = pl.concat([lifecycle(f"s{number}", number, *[("study_started", START)] * 25) for number in range(100)])
    frame = pl.concat([checkpoints(f"s{number}", number, 1) for number in range(100)])
    chart = plots.trend(StudyData(frame, many), "total_cost")
    assert "Only the first 2,000 of 2,500 are drawn." in subtitle(chart)


def test_merged_statuses_are_close() -> None:
    """For any number of studies, statuses within 4 pixels are merged, and the subtitle has the time span."""
    steps = [("study_paused" if day % 2 else "study_resumed", START + day * 5 * DAY) for day in range(20)]
    frame = pl.concat([lifecycle(f"s{number}", number, *steps) for number in range(150)])
    chart = plots.lifecycle(frame)
    assert "3,150 status changes; repeated statuses within 14.2 hours are merged." in subtitle(chart)
    assert len(rows_of(chart.to_dict(), mark="bar")) == 3150
    assert max(row["b"] - row["a"] for row in rows_of(chart.to_dict(), mark="bar")) == 5 * 86_400_000


def test_lifecycle_shows_newest_200_studies() -> None:
    many = pl.concat([lifecycle(f"s{number}", number) for number in range(250)])
    chart = plots.lifecycle(many)
    assert len(rows_of(chart.to_dict(), mark="bar")) == 200
    assert "Showing the 200 newest of 250 studies." in subtitle(chart)


# --- any size ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=examples(80))
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 400), st.floats(-1e9, 1e9)), min_size=1, max_size=120),
    st.integers(1, 20),
)
def test_downsampling_keeps_extremes(rows: list[tuple[int, int, float]], bins: int) -> None:
    """The first, last, minimum and maximum of each study and time bin are kept, and no rows are added."""
    frame = pl.DataFrame(rows, schema=["study_id", "hour", "v"], orient="row").with_columns(pl.col("study_id").cast(pl.String))
    frame = frame.with_columns(t=pl.lit(START) + pl.duration(hours="hour")).sort("study_id", "t", maintain_order=True).with_row_index("row")
    kept = downsample(frame, ["v"], bins)
    assert set(kept["row"]) <= set(frame["row"])
    binned = frame.with_columns(bin=time_bin(frame, bins))
    for part in binned.partition_by("study_id", "bin"):
        here = kept.filter(pl.col("row").is_in(part["row"].implode()))
        assert {part["row"][0], part["row"][-1]} <= set(here["row"])
        assert (here["v"].min(), here["v"].max()) == (part["v"].min(), part["v"].max())
        assert here.height <= 4


def test_large_chart_is_downsampled() -> None:
    """100,000 checkpoints give less than 150 kB with the extremes, a note, and a complete table."""
    frame = long(100_000)
    chart = plots.trend(frame, "session_success_rate")
    spec = chart.to_dict()
    assert len(json.dumps(spec)) < 150_000
    drawn = [row["v"] for row in rows_of(spec, mark="line") if row["v"] is not None]
    assert (min(drawn), max(drawn)) == (frame["session_success_rate"].min(), frame["session_success_rate"].max())
    assert f"Downsampled to {len(drawn):,} of {frame.height:,} checkpoints" in subtitle(chart)
    assert plots.table(chart).height == frame.height
    assert sum(row["v"] is None for row in rows_of(spec, mark="line")) == 2


@pytest.mark.slow
def test_downsampling_threshold() -> None:
    """2,000 points of a line are drawn; with one more it is downsampled; many studies share a limit."""

    def points(count: int, studies: int = 1) -> int | None:
        frame = long(count * studies, studies)
        return bin_count(runs(StudyData(frame).sorted_checkpoints(["total_cost"]).with_columns(StudyData(frame).gaps), ["total_cost"]))

    assert points(2003) is None
    assert points(2004) == 240
    assert points(400, 50) is not None
    assert "Downsampled" not in subtitle(plots.trend(long(2003), "total_cost"))


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
    "lifecycle": lambda frame: plots.lifecycle(StudyData(frame, two_lifecycles())),
}


LARGE = ("50 studies", "100,000 rows", "100,000 rows of 50 studies")
# Rendering takes most of the time, and the other functions read a frame in the same way as `trend`.
LATER = {*product(LARGE, ("overview", "compare", "scatter")), ("one row", "overview")}
MATRIX = [pytest.param(*case, marks=[pytest.mark.long] * (case in LATER)) for case in product(FRAMES, FUNCTIONS)]


@pytest.mark.parametrize(("kind", "function"), MATRIX)
def test_polars_and_pandas_give_same_chart(kind: str, function: str) -> None:
    """For frames of many kinds and sizes, the specification is the same and has a description and a table."""
    frame = FRAMES[kind]()
    chart = FUNCTIONS[function](frame)
    spec = chart.to_dict()
    assert named(FUNCTIONS[function](to_pandas(frame, CHECKPOINTS)).to_dict()) == named(spec)
    assert spec["description"]
    assert isinstance(plots.table(chart), pl.DataFrame)
    if "50" not in kind:  # many studies are rendered once, below
        assert "NaN" not in svg(spec)


def test_large_lifecycle_is_merged() -> None:
    count = 100_000
    rows = {"study_id": study_id(1), "study": "agent", "seq": pl.int_range(count, eager=True)}
    kinds = pl.Series(["study_paused", "study_resumed"] * (count // 2))
    at = pl.select(pl.lit(START).dt.cast_time_unit("us") + pl.duration(minutes=pl.int_range(count))).to_series()
    frame = pl.DataFrame({**rows, "kind": kinds, "status": kinds.replace({"study_paused": "paused", "study_resumed": "running"}), "at": at})
    chart = plots.lifecycle(frame)
    assert len(rows_of(chart.to_dict(), mark="bar")) <= 2002
    assert "100,000 status changes" in subtitle(chart)
    both = plots.lifecycle(StudyData(to_pandas(two_studies(), CHECKPOINTS), to_pandas(two_lifecycles(), LIFECYCLE)))
    assert named(both.to_dict()) == named(plots.lifecycle(StudyData(two_studies(), two_lifecycles())).to_dict())


@pytest.mark.slow
def test_trend_and_scatter_show_200_most_recent_studies() -> None:
    """The table has all studies."""
    many = pl.concat([checkpoints(f"study {number:03}", number, 2) for number in range(230)])
    for chart in (plots.trend(many, "total_cost"), plots.scatter(many)):
        drawn = {row["study"] for row in rows_of(chart.to_dict(), mark="line")}
        assert drawn == {f"study {number:03}" for number in range(30, 230)}
        assert "Showing the 200 most recently started of 230 studies." in subtitle(chart)
        assert plots.table(chart)["study"].n_unique() == 230


def test_composed_chart_has_descriptions_of_parts() -> None:
    left, right = plots.trend(checkpoints(), "total_cost"), plots.lifecycle(two_lifecycles())
    text = bundle(left | right)[0]["text/plain"]
    assert text == f"{left.to_dict()['description']} {right.to_dict()['description']}"


@pytest.mark.slow
def test_overview_shares_time_axis() -> None:
    """All small charts span the same time, also if a metric has values for two of ten days."""
    frame = checkpoints(count=10)
    short = frame.with_columns(total_cost=pl.when(pl.int_range(pl.len()) < 2).then("total_cost"))
    spec = plots.overview(short).to_dict()
    domains = {json.dumps(small["layer"][0]["encoding"]["x"]["scale"]["domain"]) for part in spec["vconcat"] for small in part["concat"]}
    assert domains == {json.dumps([round((START + days * DAY).timestamp() * 1000) for days in (0, 10)])}


def test_many_studies_have_legend_and_dashes() -> None:
    drawn = svg(plots.trend(FRAMES["50 studies"](), "session_success_rate"))
    assert all(f">study {number}</text>" in drawn for number in range(50))
    assert "stroke-dasharray" in drawn


def test_studies_without_values_are_not_in_legend() -> None:
    """The subtitle names up to three of them and counts more."""
    frame = pl.concat([checkpoints(f"s{number}", number) for number in range(3)])
    partial = frame.with_columns(total_cost=pl.when(pl.col("study") != "s1").then("total_cost"))
    for chart, missing in ((plots.trend(partial, "total_cost"), "values of this metric"), (plots.scatter(partial), "both values")):
        color = next(layer["encoding"]["color"] for layer in chart.to_dict()["layer"] if layer["encoding"]["color"].get("legend"))
        assert color["scale"]["domain"] == ["s0", "s2"]
        assert f"1 study without {missing} is not shown: s1." in subtitle(chart)
    many = pl.concat([checkpoints(f"s{number}", number, 3) for number in range(8)])
    few = many.with_columns(total_cost=pl.when(pl.col("study") < "s2").then("total_cost"))
    assert "6 studies without values of this metric are not shown." in subtitle(plots.trend(few, "total_cost"))


def test_legend_fits_width_of_chart() -> None:
    many = pl.concat([checkpoints(f"study {number} with a model", number, 2) for number in range(4)])

    def columns(width: int) -> int:
        layers = plots.trend(many, "total_cost", width=width).to_dict()["layer"]
        return next(layer["encoding"]["color"]["legend"]["columns"] for layer in layers if layer["encoding"]["color"].get("legend"))

    assert [columns(width) for width in (200, 400, 640, 1200)] == [1, 2, 3, 4]


def test_overview_names_studies_without_values() -> None:
    frame = pl.concat([checkpoints("a", 1), checkpoints("b", 2)])
    empty = frame.with_columns(pl.when(pl.col("study") == "a").then(name).alias(name) for name in METRICS)
    assert "1 study without values is not shown: b." in subtitle(plots.overview(empty))


def test_chart_notes_more_studies_than_distinct_looks() -> None:
    for count, noted in ((LOOKS, False), (LOOKS + 1, True)):
        many = pl.concat([checkpoints(f"s{number}", number, 2) for number in range(count)])
        for chart in (plots.trend(many, "total_cost"), plots.scatter(many)):
            assert ("32 combinations of color and" in subtitle(chart)) == noted


def test_studies_of_a_chart_look_different_whatever_was_drawn_before() -> None:
    """The 33rd study that is drawn has the look of the first, except in a chart with it."""
    first, last = checkpoints("first", 1, 3), checkpoints("last", 99, 3)
    with fresh_colors():
        colors.places([study_id(number) for number in (*range(1, LOOKS + 1), 99)])
        alone = plots.trend(last, "total_cost").to_dict()["layer"][0]["encoding"]
        both = plots.trend(pl.concat([first, last]), "total_cost").to_dict()["layer"][0]["encoding"]
    assert alone["color"] == {"value": PALETTE[0]}
    assert both["color"]["scale"]["range"] == [PALETTE[0], PALETTE[1]]


def test_frame_with_other_dtypes_and_fewer_columns() -> None:
    """NaN is missing; plain floats and seconds are accepted; columns that a chart does not need can be absent."""
    frame = checkpoints(count=4)
    plain = to_pandas(frame, CHECKPOINTS).astype({"total_cost": "float64"})
    plain.loc[1, "total_cost"] = math.nan
    rows = rows_of(plots.trend(plain[["period_start", "period_end", "total_cost"]], "total_cost").to_dict(), mark="line")
    assert [row["v"] is None for row in rows] == [False, True, False, False]
    seconds = frame.with_columns(avg_session_duration=pl.col("avg_session_duration").dt.total_microseconds() / 1e6)
    assert named(plots.trend(seconds, "avg_session_duration").to_dict()) == named(plots.trend(frame, "avg_session_duration").to_dict())


def test_infinity_and_missing_study_name() -> None:
    """Infinity is missing, like NaN; a missing study name is taken from the other rows of the study."""
    odd = checkpoints(count=4).with_columns(total_cost=pl.Series([1.0, math.inf, -math.inf, 2.0]), study=pl.Series(["a", None, None, "a"]))
    rows = rows_of(plots.trend(odd, "total_cost").to_dict(), mark="line")
    assert [row["v"] for row in rows] == [1.0, None, 2.0]
    assert set(plots.table(plots.trend(odd, "total_cost"))["study"]) == {"a"}


def test_downsampled_scatter_keeps_extremes_of_both_metrics() -> None:
    frame = long(5000).with_columns(total_cost=((pl.int_range(pl.len()) * 7919) % 10007).cast(pl.Float64()))
    rows = [row for row in rows_of(plots.scatter(frame).to_dict(), mark="line") if row["h"] is not None]
    for name, column in (("h", "total_cost"), ("v", "session_success_rate")):
        drawn = [row[name] for row in rows]
        assert (min(drawn), max(drawn)) == (frame[column].min(), frame[column].max())


# --- colors, descriptions, tables -------------------------------------------------------------------------------------------------------------


def test_study_has_same_color_in_every_chart() -> None:
    """Alone, and with other studies before it in the frame; the ninth study is dashed."""

    def color_of(chart: Any) -> dict[str, Any]:
        line = next(layer for layer in chart.to_dict()["layer"] if layer["mark"]["type"] == "line")
        color: dict[str, Any] = line["encoding"]["color"]
        return color

    assert color_of(plots.trend(checkpoints("new", 2), "total_cost")) == {"value": PALETTE[0]}
    scale = color_of(plots.trend(two_studies(), "total_cost"))["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True)) == {"old": PALETTE[1], "new": PALETTE[0]}
    assert color_of(plots.scatter(checkpoints("old", 1))) == {"value": PALETTE[1]}
    many = pl.concat([checkpoints(f"s{number}", 10 + number, 3) for number in range(9)])
    assert "strokeDash" in plots.trend(many, "total_cost").to_dict()["layer"][0]["encoding"]
    assert "strokeDash" not in plots.trend(two_studies(), "total_cost").to_dict()["layer"][0]["encoding"]


def test_palette_is_distinct_for_color_blindness_and_has_contrast() -> None:
    """With simulated color blindness (Machado et al., 2009) the minimum distance is 0.09 in OKLab; the contrast is 2.6 on white, 2.1 on dark gray."""
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

    def linear(color: str) -> list[float]:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]

    for seen in blindness:
        points = [
            times(to_lab, [max(0, x) ** (1 / 3) for x in times(to_lms, [min(1, max(0, y)) for y in times(seen, linear(color))])])
            for color in PALETTE
        ]
        assert min(math.dist(a, b) for i, a in enumerate(points) for b in points[:i]) > 0.09
    for color in PALETTE:
        light = sum(a * b for a, b in zip((0.2126, 0.7152, 0.0722), linear(color), strict=True))
        assert 1.05 / (light + 0.05) > 2.6
        assert (light + 0.05) / 0.0831 > 2.1


def test_description_summarizes_chart() -> None:
    """Subject, studies, time span, first and last value, extremes, notes."""
    frame = checkpoints(count=3).with_columns(total_cost=pl.Series([2.0, 3.5, 1.25]))
    assert plots.trend(frame, "total_cost").to_dict()["description"] == (
        "Trend of total cost over time, 1 study, 2026-01-05 to 2026-01-08 UTC. agent: 3 checkpoints, first $2.00, last $1.25, "
        "lowest $1.25 (2026-01-07), highest $3.50 (2026-01-06)."
    )
    assert (
        plots.lifecycle(two_lifecycles())
        .to_dict()["description"]
        .startswith("Lifecycle of 2 studies, 2026-01-05 to 2026-01-17 UTC. new: pending")
    )
    assert "nothing to draw" in plots.scatter(frame.head(0)).to_dict()["description"]


def test_frame_without_study_names_has_none_in_chart() -> None:
    chart = plots.trend(checkpoints(count=2).drop("study_id", "study"), "total_cost").to_dict()
    assert chart["title"]["text"] == ["Total cost"]
    assert "UTC. 2 checkpoints, first" in chart["description"]


@pytest.mark.slow
def test_table_returns_underlying_data() -> None:
    """`properties` keeps it; a composed chart has none."""
    frame = checkpoints(count=5).with_columns(session_success_rate=pl.Series([0.5, None, 0.25, 1.0, 0.0]))
    chart = plots.trend(frame, "session_success_rate")
    table = plots.table(chart.properties(width=100))
    assert table.columns == ["study", "period_start", "period_end", "session_success_rate", "sessions_completed", "low", "high"]
    assert table["session_success_rate"].to_list() == [0.5, None, 0.25, 1.0, 0.0]
    assert table["period_start"].to_list() == frame["period_start"].to_list()
    assert table["low"].null_count() == 1
    with pytest.raises(InvalidInputError):
        plots.table(chart + chart)
    assert plots.table(plots.overview(frame)).filter(metric="session_success_rate")["value"].null_count() == 1


@pytest.mark.slow
def test_overview_subtitle_has_time_zone_and_notes_by_metric() -> None:
    """More than three notes are counted."""
    outside = checkpoints().with_columns(session_success_rate=pl.lit(1.5), agent_efficiency=pl.lit(-0.1))
    assert subtitle(plots.overview(outside)) == (
        "Study: agent. Time in UTC, 2026. Session success rate: 10 values outside 0 to 100%. Agent efficiency: 10 values outside 0 to 100%."
    )
    assert re.search(r"Sessions completed: Downsampled to .* \d+ similar notes? for other metrics\.", subtitle(plots.overview(long(5000))))


def test_long_title_is_wrapped() -> None:
    """Also without a subtitle."""
    title = plots.trend(checkpoints("n" * 200), "total_tokens").to_dict()["title"]
    assert "subtitle" not in title
    assert max(map(len, title["text"])) <= 90


@pytest.mark.slow
def test_copy_of_overview_is_independent() -> None:
    chart = plots.overview(checkpoints(count=3))
    before, copied = chart.to_dict(), chart.copy()
    copied.vconcat[0].concat[0].layer[0].encoding.x.title = "changed"
    assert copied.to_dict() != before
    assert chart.to_dict() == before
    chart.vconcat[0].concat[0].layer[0].encoding.x.title = "changed"
    assert json.dumps(chart.to_dict()).count('"changed"') == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", CHARTS)
def test_objects_of_chart_equal_its_specification(name: str) -> None:
    """Altair validates a copy, which has the same specification."""
    chart = CHARTS[name]()
    before = chart.to_dict()
    assert chart.copy().to_dict() == chart.to_dict() == before
    assert copy.deepcopy(chart).to_dict() == pickle.loads(pickle.dumps(chart)).to_dict() == before


@pytest.mark.parametrize(("width", "count", "visible"), [(640, 300, True), (640, 301, False), (320, 150, True), (320, 151, False)])
def test_points_are_hidden_above_one_per_two_pixels(width: int, count: int, visible: bool) -> None:
    spec = plots.trend(checkpoints(count=count), "total_cost", width=width).to_dict()
    (points,) = (layer for layer in spec["layer"] if layer["mark"]["type"] == "point")
    assert points["encoding"]["opacity"]["value"] == int(visible)


def test_layers_are_charts() -> None:
    """They can be changed one by one, also in a chart that was drawn before."""
    chart = plots.trend(two_studies(), "total_cost", rolling=3)
    before = chart.to_dict()
    assert isinstance(chart, alt.LayerChart)
    assert all(isinstance(layer, alt.Chart) and isinstance(layer.encoding.x, alt.X) for layer in chart.layer)
    chart.layer[0].encoding.x.title = "changed"
    chart.layer[0].encoding.color["scale"]["domain"].append("third")
    changed = chart.to_dict()["layer"][0]["encoding"]
    assert (changed["x"]["title"], changed["color"]["scale"]["domain"]) == ("changed", ["new", "old", "third"])
    assert chart.to_dict()["layer"][1:] == before["layer"][1:]
    chart.width = "wide"  # type: ignore[assignment]
    with pytest.raises(SchemaValidationError):
        chart.to_dict()
    zoomed = plots.trend(checkpoints(), "total_cost").interactive().to_dict()
    assert zoomed["params"][0]["bind"] == "scales"


def test_changed_specification_does_not_change_the_chart() -> None:
    chart = plots.trend(two_studies(), "total_cost")
    spec, before = chart.to_dict(), chart.to_json()
    spec["title"]["text"].append("changed")
    spec["layer"][0]["encoding"]["color"]["scale"]["domain"].clear()
    spec["datasets"].clear()
    del spec["config"]
    assert chart.to_json() == before


@pytest.mark.slow
def test_settings_and_options_of_altair_apply() -> None:
    """Themes, inline data, and the arguments of `to_dict`."""
    chart = plots.trend(two_studies(), "total_cost")
    spec = chart.to_dict()
    with alt.theme.enable("dark"):
        assert chart.to_dict() == chart.copy().to_dict() != spec
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alt.data_transformers, "consolidate_datasets", False)
        inline = chart.to_dict()
    assert "datasets" not in inline
    assert inline["data"]["values"] == spec["datasets"][spec["data"]["name"]]
    assert chart.to_dict(format="vega")["$schema"].startswith("https://vega.github.io/schema/vega/")
    assert "title" not in chart.to_dict(ignore=["title"])
    with pytest.raises(TypeError, match="nothing"):
        chart.to_dict(nothing=1)


def test_display_makes_no_objects_of_altair() -> None:
    """Neither do the underlying data and saving; making them is slow."""
    chart = plots.trend(checkpoints(), "total_cost")
    data, _ = DisplayFormatter().format(chart)  # type: ignore[no-untyped-call]
    assert "image/svg+xml" in data
    plots.table(chart)
    assert "_kwds" not in vars(chart)


@pytest.mark.slow
def test_overview_groups_and_directions_follow_catalog() -> None:
    spec = plots.overview(checkpoints(count=3)).to_dict()
    groups = {part["title"]["text"]: [small["title"] for small in part["concat"]] for part in spec["vconcat"]}
    assert list(groups) == list(dict.fromkeys(metric.group for metric in METRICS.values()))
    arrows = {"up": "↑ Higher is better.", "down": "↓ Lower is better.", "neither": "\u00a0"}
    for metric in METRICS.values():
        (title,) = (
            title
            for title in groups[metric.group]
            if title["text"].startswith(metric.label) and len(title["text"]) <= len(metric.label) + 5
        )
        assert title["subtitle"] == arrows[metric.better]


# --- composing, displaying, saving ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_charts_compose_into_plain_altair() -> None:
    """Colors are unchanged, and `show` and `bundle` apply the theme."""
    left, right = plots.trend(two_studies(), "total_cost"), plots.trend(checkpoints("new", 2), "total_tokens")
    bare = alt.Chart(alt.InlineData(values=[{"v": 5}])).mark_rule().encode(y="v:Q")
    for composed in (
        left + bare,
        left | right,
        left & right,
        (left | right) & plots.lifecycle(two_lifecycles()),
        alt.layer(left, bare),
        left + left,
    ):
        assert type(composed).__module__.startswith("altair")
        assert "config" not in composed.to_dict() or "title" not in composed.to_dict()["config"]
        data, metadata = bundle(composed)
        assert all(color in data["image/svg+xml"] for color in PALETTE[:2])
        assert set(data) == {"application/vnd.vegalite.v5+json", "image/svg+xml", "text/plain"}
        assert data["application/vnd.vegalite.v5+json"]["config"]["title"]["anchor"] == "start"
        assert metadata["application/vnd.vegalite.v5+json"]["embed_options"] == {"renderer": "svg", "actions": False}
    assert "config" in left.configure_view(stroke=None).to_dict()


@pytest.mark.slow
def test_displaying_chart_changes_no_altair_setting() -> None:
    """Charts display offline with any renderer, transformer and theme."""
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


def test_altair_validation_stays_enabled() -> None:
    """Building a chart disables validation for its own parts only."""
    plots.trend(checkpoints(), "total_cost")
    with pytest.raises(SchemaValidationError):
        alt.X("x:Q", scale=alt.Scale(type="no such scale"))
    with pytest.raises(InvalidInputError):
        plots.trend(checkpoints(), "nothing")
    with pytest.raises(SchemaValidationError):
        alt.X("x:Q", scale=alt.Scale(type="no such scale"))


def test_show_prints_description_outside_ipython(capsys: pytest.CaptureFixture[str]) -> None:
    chart = plots.trend(checkpoints(), "total_cost")
    plots.show(chart)
    assert capsys.readouterr().out == f"{chart.to_dict()['description']}\n"


@pytest.mark.slow
@pytest.mark.parametrize("extension", [".svg", ".png", ".html", ".json"])
def test_saved_chart_has_inert_markup(tmp_path: Path, extension: str) -> None:
    """In each format; HTML files request nothing from the network."""
    frame = checkpoints(MARKUP, 1, 5)
    target = plots.save(plots.trend(frame, "session_success_rate", reference=(0.5, MARKUP)), tmp_path / f"chart{extension}")
    content = target.read_bytes()
    if extension == ".png":
        assert content.startswith(b"\x89PNG")
        return
    text = content.decode()
    if extension == ".json":
        assert " ".join(json.loads(text)["title"]["text"]).endswith(MARKUP)
        return
    assert MARKUP not in text
    assert "<img src=x" not in text
    assert "alert(2)</script>" not in text
    if extension == ".html":
        assert text.count("</script>") == text.count("<script")
        assert not re.search(r'(src|href)="', re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))


def test_svg_has_tooltips() -> None:
    """Each point has its study, period, value and count."""
    drawn = svg(plots.trend(checkpoints(count=2), "session_success_rate"))
    titles = re.findall(r"<title>(.*?)</title>", drawn)
    assert [title for title in titles if title != "agent"] == titles[1:]
    assert re.fullmatch(r"agent, 2026-01-05 00:00 to 2026-01-06 00:00 UTC: \d+\.\d% of \d+ sessions completed", titles[1])


def test_page_has_several_charts() -> None:
    """Each has a heading and a description; the data cannot end the script."""
    text = page([("One & <two>", plots.trend(checkpoints(MARKUP), "total_cost")), ("", plots.lifecycle(two_lifecycles()))], title=MARKUP)
    assert "<h2>One &amp; &lt;two&gt;</h2>" in text
    assert text.count('class="chart"') == 2
    data = re.search(r'<script type="application/json" id="charts">(.*?)</script>', text, flags=re.DOTALL)
    assert data is not None
    assert len(json.loads(data[1])["specs"]) == 2


# --- invalid input --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.trend(checkpoints(), "total_cost", rolling=1), snapshot('Invalid rolling 1: expected an integer of 2 or more, or None.')),
        (lambda: plots.trend(checkpoints(), "total_cost", interval="x"), snapshot("Invalid interval 'x': expected True, False or None.")),  # type: ignore[arg-type]
        (lambda: plots.trend(checkpoints(), "total_cost", width="container"), snapshot("Invalid width 'container': expected an integer from 50 to 10,000 (pixels).")),  # type: ignore[arg-type]
        (lambda: plots.scatter(checkpoints(), height=-5), snapshot('Invalid height -5: expected an integer from 50 to 10,000 (pixels).')),
        (lambda: plots.lifecycle(two_lifecycles(), width=0), snapshot('Invalid width 0: expected an integer from 50 to 10,000 (pixels).')),
        (lambda: plots.trend(checkpoints(), "total_cost", reference=math.inf), snapshot('Invalid reference inf: expected a number, or (number, text).')),
        (lambda: plots.trend(checkpoints(), "total_cost", reference="high"), snapshot("Invalid reference 'high': expected a number, or (number, text).")),  # type: ignore[arg-type]
        (lambda: plots.trend(checkpoints(), "total_cost", reference=0, y="log"), snapshot('Invalid reference 0: a log axis has positive values only.')),
        (lambda: plots.trend(checkpoints(), "total_cost", y=(0, math.inf)), snapshot("Invalid y=(0, inf): expected (low, high) with low < high, 'data', 'log' or None.")),
        (lambda: plots.trend(checkpoints(), "total_cost", y=(2, 1)), snapshot("Invalid y=(2, 1): expected (low, high) with low < high, 'data', 'log' or None.")),
        (lambda: plots.trend(checkpoints(), "total_cost", y="zero"), snapshot("Invalid y='zero': expected (low, high) with low < high, 'data', 'log' or None.")),  # type: ignore[arg-type]
        (lambda: plots.trend(checkpoints(), "session_success_rate", y="log"), snapshot("Invalid y='log': session_success_rate is a rate, and rates have no log axis. Use y='data' or y=(low, high).")),
        (lambda: plots.trend(checkpoints(), "total_cost", align="end"), snapshot("Invalid align='end': expected 'calendar' or 'start'.")),  # type: ignore[arg-type]
        (lambda: plots.trend(checkpoints(), "total_cost", align="start", fit=Marked(START)), snapshot("Invalid align='start': fit= and changes= require align='calendar'.")),  # type: ignore[arg-type]
        (lambda: plots.trend(checkpoints(), "total_cost", fit=5), snapshot('Invalid fit: expected a result of evalkit.analysis.trend(data, metric) or before_after(...), got an int.')),  # type: ignore[arg-type]
        (lambda: plots.trend(checkpoints(), "total_cost", changes="some"), snapshot('Invalid changes: expected a result of evalkit.analysis.changepoints(data, metric) or before_after(...), got a str.')),  # type: ignore[arg-type]
        (lambda: plots.trend(checkpoints(), "session_success_rate", fit=analysis.trend(checkpoints(), "total_cost")), snapshot("Invalid fit: expected a result for 'session_success_rate', got one for 'total_cost'.")),
        (lambda: plots.trend(checkpoints(), "session_success_rate", changes=analysis.changepoints(checkpoints(), "total_cost")), snapshot("Invalid changes: expected a result for 'session_success_rate', got one for 'total_cost'.")),
        (lambda: plots.trend(checkpoints(), "total_cost", changes=analysis.trend(checkpoints(), "total_cost")), snapshot('Invalid changes: expected a result of evalkit.analysis.changepoints(data, metric) or before_after(...), got a Trend.')),  # type: ignore[arg-type]
        (lambda: plots.lifecycle(checkpoints()), snapshot('The data has no lifecycle. Pass kit.data(), StudyData(checkpoints, lifecycle), or kit.lifecycle().')),
        (lambda: plots.save(plots.scatter(checkpoints()), None), snapshot("Invalid path None: expected a file name, e.g. 'chart.svg'.")),  # type: ignore[arg-type]
        (lambda: plots.save(plots.scatter(checkpoints()), "chart.pdf"), snapshot("Invalid path 'chart.pdf': expected the extension .svg, .png, .html or .json.")),
        (lambda: plots.save(plots.scatter(checkpoints()), "chart.svg", mode="blue"), snapshot("Invalid mode 'blue': expected 'light' or 'dark'.")),
        (lambda: plots.show(checkpoints()), snapshot('Expected an Altair chart, got a DataFrame. Pass a chart of evalkit.plots, or a combination of such charts.')),  # type: ignore[arg-type]
        (lambda: plots.table(alt.Chart().mark_point()), snapshot('Cannot get the underlying data of a Chart. Pass a chart that evalkit.plots returned; for a composed chart, pass each part.')),
    ],
)  # fmt: skip
def test_invalid_option_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        call()
    assert says(error) == message


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: plots.trend(checkpoints(), "sucess_rate"), "metric"),
        (lambda: plots.trend(checkpoints(), 5), "metric"),  # type: ignore[arg-type]
        (lambda: plots.scatter(checkpoints(), x="cost"), "x"),
        (lambda: plots.trend(checkpoints().lazy(), "total_cost"), "data"),
        (lambda: plots.trend([{"a": 1}], "total_cost"), "data"),
        (lambda: plots.trend(checkpoints()["total_cost"], "total_cost"), "data"),
        (lambda: plots.trend(checkpoints().drop("period_end"), "total_cost"), "checkpoints"),
        (lambda: plots.trend(checkpoints().drop("total_cost"), "total_cost"), "checkpoints"),
        (lambda: plots.overview(checkpoints().select("study", "period_start")), "checkpoints"),
        (lambda: plots.trend(StudyData(checkpoints(), checkpoints()), "total_cost"), "lifecycle"),
        (lambda: plots.trend(checkpoints().with_columns(total_cost=pl.lit("1")), "total_cost"), "checkpoints"),
        (lambda: plots.trend(checkpoints().with_columns(pl.col("period_start").dt.replace_time_zone(None)), "total_cost"), "checkpoints"),
        (lambda: plots.lifecycle(two_lifecycles(), until=datetime(2026, 1, 1)), "until"),
        (lambda: plots.save(plots.scatter(checkpoints()), "/nowhere/at/all/chart.svg"), "file"),
    ],
)  # fmt: skip
def test_invalid_data_is_refused(call: Callable[[], Any], field: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        call()
    assert error.value.field == field


def test_studies_with_same_name_have_id_suffix() -> None:
    frame = pl.concat([checkpoints("agent", 1, 3), checkpoints("agent", 2, 3)])
    assert set(plots.table(plots.trend(frame, "total_cost"))["study"]) == {"agent (…0001)", "agent (…0002)"}


def test_times_before_1970() -> None:
    old = checkpoints(count=3).with_columns(pl.col("period_start", "period_end") - timedelta(days=365 * 80))
    assert rows_of(plots.trend(old, "total_cost").to_dict(), mark="line")[0]["a"] < 0
    assert datetime(1946, 1, 1, tzinfo=UTC) < plots.table(plots.trend(old, "total_cost"))["period_start"][0]


def test_studies_are_ordered_by_start_then_name() -> None:
    """The order does not depend on the ids, which differ between homes."""
    younger, older, twin = (
        checkpoints("a", 1).with_columns(pl.col("period_start", "period_end") + DAY),
        checkpoints("z", 2),
        checkpoints("y", 3),
    )
    for frame in (pl.concat([younger, older, twin]), pl.concat([twin, younger, older])):
        scale = plots.trend(frame, "total_cost").to_dict()["layer"][0]["encoding"]["color"]["scale"]
        assert scale["domain"] == ["y", "z", "a"]
