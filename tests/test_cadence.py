"""Studies of runs: checkpoints of any length, of which one is expected in each period."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import evalkit
from evalkit import EvalKit, InvalidInputError, RecordCheckpoint, Study, StudyData, analysis, io, plots
from evalkit.frames.expected_runs import misses_runs
from evalkit.panel.model import PanelModel
from evalkit.panel.reading import read
from evalkit.plots._downsampling import runs as split

START = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
TIMES = pl.Datetime("us", "UTC")


def started(kit: EvalKit, name: str = "nightly", period: str = "daily", cadence: Any = "per-run", at: datetime = START) -> Study:
    return kit.start_study(kit.create_study(name, period=period, cadence=cadence, at=at), at=at)


def nights(days: list[int], minutes: float = 40, hour: float = 2) -> list[dict[str, Any]]:
    """Return a run of some minutes in each night; their start varies by a few minutes."""
    rows = []
    for number, day in enumerate(days):
        begin = START + day * DAY + timedelta(hours=hour) + (number % 5 - 2) * MINUTE
        values = {"sessions_completed": 10, "session_success_rate": 0.5 + number % 4 / 10, "total_cost": 1.0 + number % 3}
        rows.append({"period_start": begin, "period_end": begin + minutes * MINUTE, "recorded_at": begin + minutes * MINUTE, **values})
    return rows


def kinds(data: StudyData) -> list[str]:
    return list(analysis.audit(data).frame["kind"])


def gaps(data: StudyData) -> int:
    """Return the number of gaps in a chart."""
    drawn = split(data.sorted_checkpoints(["total_cost"]).with_columns(data.gaps), ["total_cost"])
    return int(drawn["run"].n_unique()) - int(drawn["study_id"].n_unique())


def test_the_cadence_is_kept_in_the_metadata(kit: EvalKit) -> None:
    study = kit.create_study("nightly", cadence="per-run", metadata={"model": "m-1"})
    assert (study.cadence, study.config.metadata) == ("per-run", {"model": "m-1", "evalkit.cadence": "per-run"})
    assert kit.create_study("other", metadata={"evalkit.cadence": "per-run"}).cadence == "per-run"
    plain = kit.create_study("plain", cadence="per-period")
    assert (plain.cadence, plain.config.metadata) == ("per-period", {})
    assert kit.edit_study(plain, cadence="per-run").cadence == "per-run"
    assert kit.edit_study(plain, metadata={"evalkit.cadence": None}) == plain
    assert kit.edit_study(study, cadence="per-period").config.metadata == {"model": "m-1"}


def test_opening_a_study_with_another_cadence_warns(kit: EvalKit) -> None:
    kit.create_study("nightly", metadata={"model": "m-1"})
    with pytest.warns(UserWarning, match=r"cadence 'per-run' \(recorded: 'per-period'\) was ignored"):
        kit.create_study("nightly", cadence="per-run", metadata={"model": "m-1"}, if_exists="open")
    kit.edit_study("nightly", cadence="per-run")
    assert kit.create_study("nightly", cadence="per-run", if_exists="open").cadence == "per-run"


def test_metadata_of_other_programs_may_have_any_cadence() -> None:
    assert evalkit.StudyConfig(metadata={"evalkit.cadence": "hourly"}).cadence == "per-period"


def test_a_run_may_be_a_point_in_time(kit: EvalKit, tmp_path: Path) -> None:
    study = started(kit)
    point = {"period_start": START, "period_end": START, "total_cost": 1}
    checkpoint = kit.record_checkpoint(study, point, key="a")
    assert checkpoint.metrics.period.start == checkpoint.metrics.period.end == checkpoint.timestamp == START
    assert kit.record_checkpoint(study, point, key="a").already_recorded
    kit.record_checkpoints(study, [{"period_start": START + DAY, "period_end": START + DAY}])
    kit.record_checkpoint(study, RecordCheckpoint({"period": (START + 2 * DAY, START + 2 * DAY)}, cadence="per-run"))
    kit.record_checkpoint(study, {"period_start": "2026-01-08T12:00", "period_end": "2026-01-08T12:00"}, tz="Europe/Berlin")
    frame = kit.checkpoints()
    assert (frame["period_start"] == frame["period_end"]).all()
    file = tmp_path / "runs.csv"
    io.export_checkpoints(kit, file)
    other = started(kit, "copy")
    assert io.import_checkpoints(kit, file, other).recorded == 4
    assert io.import_checkpoints(kit, file, other).recorded == 0
    assert kit.checkpoints(other)["period_start"].to_list() == frame["period_start"].to_list()
    kit.rebuild(on_progress=lambda done, events: None)
    assert kit.checkpoints(study).equals(frame)
    assert kit.verify().ok


def test_a_command_for_a_run_is_refused_in_a_study_of_periods(kit: EvalKit) -> None:
    """Commands do not know their study before they are recorded."""
    study = started(kit, cadence="per-period")
    commands = [RecordCheckpoint({"period": (START, START + n * DAY)}, cadence="per-run") for n in (1, 0)]
    with pytest.raises(InvalidInputError) as raised:
        kit.record_checkpoints(study, commands)
    assert (raised.value.row, raised.value.field) == (1, "period_end")
    assert 'cadence="per-run"' in str(raised.value)
    assert kit.checkpoints().is_empty()


def test_a_recorder_in_a_daily_study_of_runs_has_no_findings(kit: EvalKit) -> None:
    """The period of each checkpoint is the time of the block."""
    study = started(kit, at=datetime.now(UTC) - timedelta(minutes=5))
    for block in range(3):
        with kit.recorder(study, progress=False) as rec, rec.session(f"task {block}") as session:
            session.success(iterations=1, tokens=5, cost=0.1)
        assert rec.checkpoint is not None
        period = rec.checkpoint.metrics.period
        assert timedelta(0) < period.end - period.start < MINUTE
    assert kinds(kit.data(study)) == []
    assert gaps(kit.data(study)) == 0
    now = datetime.now(UTC)
    with kit.recorder(study, progress=False, period=(now, now)) as rec, rec.session("task") as session:
        session.success()
    assert rec.checkpoint is not None
    assert rec.checkpoint.metrics.period.start == rec.checkpoint.metrics.period.end == now


@pytest.mark.parametrize("minutes", [0, 40, 1439])
@pytest.mark.parametrize("hour", [0.01, 2, 23.99])
def test_nights_without_a_miss_have_no_findings_and_no_gaps(kit: EvalKit, minutes: float, hour: float) -> None:
    """Also if they start around midnight, on either side of it."""
    study = started(kit, at=START - DAY)
    kit.record_checkpoints(study, nights([*range(20)], minutes, hour))
    data = kit.data(study)
    assert kinds(data) == []
    assert gaps(data) == 0


def test_a_missing_night_is_a_gap_in_charts_and_audit(kit: EvalKit) -> None:
    study = started(kit)
    kit.record_checkpoints(study, nights([0, 1, 2, 5, 6, 8]))
    data = kit.data(study)
    found = analysis.audit(data).frame
    assert found["kind"].to_list() == ["missing_period", "missing_period"]
    assert found["count"].to_list() == [2, 1]
    assert found["start"].to_list() == [START + 3 * DAY, START + 7 * DAY]
    assert found["end"].to_list() == [START + 5 * DAY, START + 8 * DAY]
    assert gaps(data) == 2


def test_only_periods_between_the_first_and_the_last_run_are_expected(kit: EvalKit) -> None:
    study = started(kit)
    kit.record_checkpoints(study, nights([4, 5, 6]))
    kit.stop_study(study, at=START + 20 * DAY)
    assert kinds(kit.data(study)) == []


def test_a_pause_has_no_missing_runs(kit: EvalKit) -> None:
    study = started(kit)
    kit.pause_study(study, at=START + 2 * DAY + timedelta(hours=9))
    kit.resume_study(study, at=START + 5 * DAY + timedelta(hours=15))
    kit.record_checkpoints(study, nights([0, 1, 2, 6, 7]))
    data = kit.data(study)
    assert kinds(data) == []
    assert gaps(data) == 1


def test_runs_outside_the_running_time_are_found(kit: EvalKit) -> None:
    """Points in time too; a run that is partly outside counts whole."""
    study = started(kit, at=START + 2 * DAY)
    kit.pause_study(study, at=START + 4 * DAY)
    kit.resume_study(study, at=START + 5 * DAY)
    rows = nights([1, 4, 6], minutes=0)
    across = {
        **rows[2],
        "period_start": START + 2 * DAY - 10 * MINUTE,
        "period_end": START + 2 * DAY + 30 * MINUTE,
        "recorded_at": START + 3 * DAY,
    }
    kit.record_checkpoints(study, [*rows, across])
    found = analysis.audit(kit.data(study)).frame.filter(pl.col("kind") != "missing_period")
    assert found.select("kind", "start").rows() == [
        ("outside_running", rows[0]["period_start"]), ("inside_pause", rows[1]["period_start"]),
    ]  # fmt: skip
    assert "2026-01-06 01:58 UTC" in found["message"][0]


def test_equal_runs_are_duplicates_and_overlapping_ones_are_not(kit: EvalKit) -> None:
    study = started(kit)
    first, second, third = nights([0, 1, 2])
    overlapping = {**second, "period_start": second["period_start"] + 5 * MINUTE}
    kit.record_checkpoints(study, [first, second, overlapping, third])
    assert kinds(kit.data(study)) == []
    with pytest.warns(UserWarning, match="already has a checkpoint"):
        kit.record_checkpoint(study, {**first, "total_cost": 9})
    found = analysis.audit(kit.data(study)).frame
    assert found.select("kind", "count").rows() == [("duplicate_runs", 2)]


@pytest.mark.parametrize(("period", "step"), [("hourly", timedelta(hours=1)), ("weekly", 7 * DAY), ("monthly", 31 * DAY)])
def test_every_period_type_expects_one_run(kit: EvalKit, period: str, step: timedelta) -> None:
    study = started(kit, period=period)
    rows = [{"period_start": START + n * step, "period_end": START + n * step, "total_cost": 1} for n in (0, 1, 2, 4)]
    kit.record_checkpoints(study, [{**row, "recorded_at": row["period_start"]} for row in rows])
    data = kit.data(study)
    found = analysis.audit(data).frame
    assert found.select("kind", "count").rows() == [("missing_period", 1)]
    assert gaps(data) == 1


def test_several_runs_in_one_period_are_expected_to_be_one_or_more(kit: EvalKit) -> None:
    study = started(kit)
    kit.record_checkpoints(study, [*nights([0, 1, 2]), *nights([0, 2], hour=14)])
    data = kit.data(study)
    assert kinds(data) == []
    assert gaps(data) == 0


def test_the_same_checkpoints_without_the_cadence_are_judged_as_periods(kit: EvalKit) -> None:
    """A plain frame has no cadence, and neither has a study without the key."""
    study = started(kit)
    kit.record_checkpoints(study, nights([0, 1, 2]))
    plain = StudyData(kit.checkpoints(study), kit.lifecycle())
    without = StudyData(kit.checkpoints(study), kit.lifecycle(), studies=kit.studies().drop("metadata"))
    edited = kit.edit_study(study, cadence="per-period")
    assert kinds(plain) == kinds(without) == kinds(kit.data(edited))
    assert "wrong_length" in kinds(plain)
    assert gaps(plain) == 2


def test_the_cadence_is_known_in_pandas_and_in_frames_without_ids(kit: EvalKit) -> None:
    study = started(kit)
    started(kit, "other", cadence="per-period")
    kit.record_checkpoints(study, nights([0, 1, 2]))
    in_pandas = StudyData(kit.checkpoints(study, backend="pandas"), studies=kit.studies(backend="pandas"))
    named = StudyData(kit.checkpoints(study).drop("study_id"), studies=kit.studies())
    single = StudyData(
        kit.checkpoints(study).drop("study_id", "study"), studies=kit.studies().filter(pl.col("name") == "nightly")
    )  # fmt: skip
    for data in (in_pandas, named, single):
        assert kinds(data) == []
    assert kinds(StudyData(single.checkpoints, studies=kit.studies())) != [], "which of two studies is unknown"


def test_a_study_of_runs_beside_one_of_periods(kit: EvalKit) -> None:
    runs, periods = started(kit), started(kit, "whole days", cadence="per-period")
    kit.record_checkpoints(runs, nights([0, 1, 3]))
    whole = [{**row, "period_start": START + n * DAY, "period_end": START + (n + 1) * DAY} for n, row in enumerate(nights([0, 1, 3]))]
    kit.record_checkpoints(periods, [{**row, "recorded_at": row["period_end"]} for row in whole])
    data = kit.data()
    assert analysis.audit(data).frame.select("study", "kind").rows() == [("nightly", "missing_period")]
    assert gaps(data) == 1
    weeks = analysis.resample(data, "weekly").frame
    assert weeks.sort("study").select("study", "parts", "covered", "partial").rows() == [
        ("nightly", 3, None, False), ("whole days", 3, 3 / 7, True),
    ]  # fmt: skip


def test_a_roll_up_counts_a_run_in_the_period_of_its_start(kit: EvalKit) -> None:
    study = started(kit)
    late = {"sessions_completed": 4, "session_success_rate": 0.25, "total_cost": 2.0}
    begin = START + 7 * DAY - 10 * MINUTE
    across = {"period_start": begin, "period_end": begin + 60 * MINUTE, "recorded_at": begin + 60 * MINUTE, **late}
    kit.record_checkpoints(study, [*nights([0, 2]), across, *nights([8], minutes=0)])
    result = analysis.resample(kit.data(study), "weekly")
    assert result.straddling == result.overlapping == 0
    assert result.frame.select("parts", "partial", "total_cost", "sessions_completed").rows() == [(3, False, 5.0, 24), (1, False, 1.0, 10)]
    assert "partial" not in " ".join(result.sentences())
    assert "runs counted in the period of their start" in result.sentences()[0]
    local = analysis.resample(kit.data(study), "weekly", tz="Europe/Berlin")
    assert local.frame["parts"].to_list() == [2, 2], "Monday begins earlier in Berlin"
    again = analysis.resample(analysis.resample(kit.data(study), "daily"), "weekly")
    assert again.frame.drop("session_time").equals(result.frame.drop("session_time"))
    assert kinds(result.data) == []


def test_points_in_time_are_drawn_and_analyzed(kit: EvalKit, tmp_path: Path) -> None:
    """Benchmark runs: every chart and analysis accepts them."""
    study, baseline = started(kit), started(kit, "baseline")
    kit.record_checkpoints(study, nights([*range(30)], minutes=0))
    kit.record_checkpoints(baseline, nights([*range(30)], minutes=0, hour=5))
    data = kit.data([study, baseline])
    for chart in (
        plots.trend(data, "session_success_rate", rolling=3), plots.overview(data), plots.lifecycle(data),
        plots.scatter(data, x="total_cost", y="session_success_rate"),
    ):  # fmt: skip
        assert chart.to_dict()["title"]
    assert "30 checkpoints" in analysis.trend(data.of(study), "session_success_rate").sentences()[0]
    change = analysis.before_after(data.of(study), "session_success_rate", at=START + 15 * DAY).only()
    assert (change.before, change.after) == (15, 15)
    assert analysis.changepoints(data.of(study), "total_cost").sentences()
    assert analysis.compare(data, study="nightly", baseline="baseline").sentences()
    assert analysis.summary(data).sentences()
    kit.report(study, tmp_path / "report.md", baseline=baseline)
    assert "Missing checkpoints" not in (tmp_path / "report.md").read_text()
    assert kinds(data) == []


def test_the_form_of_a_panel_accepts_points_and_proposes_no_period(kit: EvalKit) -> None:
    study = started(kit)
    kit.record_checkpoints(study, nights([*range(5)], minutes=0))
    model = PanelModel(START)
    model.apply(read(kit, None), START)  # type: ignore[arg-type]
    assert model.drafts is not None
    form = model.drafts.checkpoint
    assert form.texts["period_start"] == form.texts["period_end"] == ""
    for name in ("period_start", "period_end"):
        form.set_text(name, "2026-01-12 02:00")
    form.set_text("total_cost", "1")
    assert form.complete
    assert form.period == (START + 7 * DAY + timedelta(hours=2),) * 2
    kit.record_checkpoint(study, form.values()[0])
    kit.edit_study(study, cadence="per-period")
    model.apply(read(kit, None), START)  # type: ignore[arg-type]
    assert form.problems() == {"period_end": "The period must end after it starts."}


@given(st.lists(st.integers(0, 60), min_size=1, max_size=25), st.integers(0, 1439), st.sampled_from([0, 7, 40, 600]))
def test_the_audit_and_charts_agree_on_the_missing_days(days: list[int], minute: int, length: int) -> None:
    """They are the days between the first and last run in which no run starts."""
    begins = [START + day * DAY + minute * MINUTE for day in sorted(set(days))]
    checkpoints = pl.DataFrame(
        {"study": "a", "period_type": "daily", "period_start": begins, "period_end": [at + length * MINUTE for at in begins],
         "total_cost": 1.0},
        schema_overrides={"period_start": TIMES, "period_end": TIMES},
    )  # fmt: skip
    pairs = pl.Series("metadata", [[{"key": "evalkit.cadence", "value": "per-run"}]])
    data = StudyData(checkpoints, studies=pl.DataFrame({"study_id": ["1"], "name": ["a"]}).with_columns(pairs))
    found = analysis.audit(data).frame
    present = {(at - START).days for at in begins}
    expected = set(range(min(present), max(present) + 1)) - present
    assert set(found["kind"]) <= {"missing_period"}
    assert found["count"].sum() == len(expected)
    breaks = sum(later - earlier > 1 for earlier, later in zip(sorted(present), sorted(present)[1:], strict=False))
    assert gaps(data) == breaks


@given(st.integers(0, 4 * 1440), st.integers(0, 1440), st.sampled_from(["hourly", "daily", "weekly", "monthly"]))
def test_successive_periods_have_no_missing_run(later: int, offset: int, kind: str) -> None:
    """Runs less than one and a half periods apart have none, and neither have runs in adjacent periods."""
    first = START + offset * MINUTE
    at = first + later * MINUTE
    row = pl.DataFrame({"a": [first], "b": [at], "kind": [kind]}, schema_overrides={"a": TIMES, "b": TIMES})
    missed = row.select(misses_runs(pl.col("a"), pl.col("b"), pl.col("kind"))).item()
    length = {"hourly": timedelta(hours=1), "daily": DAY, "weekly": 7 * DAY, "monthly": 31 * DAY}[kind]
    if at - first < 1.5 * length:
        assert not missed
    if at - first >= 2 * length:
        assert missed
