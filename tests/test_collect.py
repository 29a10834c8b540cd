"""Collecting: which periods are due, what is recorded, and that nothing is recorded twice, lost or invented."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot

import evalkit
from evalkit import EvalKit, InvalidInputError, Metric, PeriodType, StudyNotFoundError, TransitionError
from evalkit.collect import Collected, read_sessions, register_source, requests
from evalkit.collect.due import Interval, due_periods, parse_grace, running_intervals
from evalkit.collect.evidence import evidence_hash
from evalkit.collect.health import collect_health
from evalkit.collect.saved_source import Places, read_places, write_places
from evalkit.collect.sources import parse_location
from evalkit.domain.periods import current_period
from evalkit.errors import ConflictError, EvalkitError
from tests.collecting import FIRST, Clock, day, latest, runs, use_clock, write_runs
from tests.messages import says
from tests.test_faults import WITHOUT_ROOT
from tests.transcript_generator import write_claude_code

STUDY = "nightly agent"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The collector's clock: three hours after the end of the fifth day."""
    return use_clock(monkeypatch, day(5, 3))


def collect(kit: EvalKit, path: Path, **more: Any) -> Collected:
    return kit.collect(STUDY, f"records:{path}", since=FIRST, progress=False, **more)


def statuses(result: Collected) -> dict[str, list[float]]:
    """Return the numbers of days by status."""
    found: dict[str, list[float]] = {}
    for period in result.periods:
        found.setdefault(period.status, []).append((period.period_start - FIRST).total_seconds() / 86400)
    return found


def events(kit: EvalKit) -> int:
    return kit.status().events or 0


# --- which periods are due ------------------------------------------------------------------------------------------------------------


def test_every_due_period_is_recorded_once(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """A period is due two hours after its end; collecting again appends nothing, reads nothing, and the next day follows."""
    path = write_runs(tmp_path / "runs.csv", runs(0, 1, 2, 3, 4, 5))
    clock.time = day(5, 1.99)
    assert statuses(collect(kit, path)) == {"recorded": [0, 1, 2, 3]}
    clock.time = day(5, 2)
    result = collect(kit, path)
    assert statuses(result) == {"unchanged": [0, 1, 2, 3], "recorded": [4]}
    assert result.waiting == 3
    assert repr(result) == snapshot("Collected('nightly agent', records: 4 unchanged, 1 recorded)")
    assert result.periods[-1].key == snapshot("collect:records:2026-03-05T00:00:00Z")
    before = events(kit)
    assert statuses(collect(kit, path, amend_late=True)) == {"unchanged": [0, 1, 2, 3, 4]}
    assert events(kit) == before
    assert latest(kit, STUDY, "sessions_completed", "session_success_rate", "avg_session_duration", "collector") == [
        (number, 3, 2 / 3, timedelta(minutes=30), "records") for number in range(5)
    ]
    assert kit.provenance(STUDY)["evidence"].n_unique() == 5


def test_sessions_belong_to_the_period_in_which_they_ended(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """Periods are half-open; a session without an end belongs to none."""
    rows = [
        *runs(0, count=1),
        {
            "session_id": "before",
            "outcome": "success",
            "started_at": day(0, 20).isoformat(),
            "ended_at": (day(1) - MICROSECOND).isoformat(),
        },
        {"session_id": "after", "outcome": "success", "started_at": day(0, 20).isoformat(), "ended_at": day(1).isoformat()},
        {"session_id": "open", "outcome": "unknown", "started_at": day(1, 20).isoformat(), "ended_at": ""},
    ]
    clock.time = day(2, 3)
    result = collect(kit, write_runs(tmp_path / "runs.csv", rows))
    assert latest(kit, STUDY, "sessions_included") == [(0, ["day 0 run 0", "before"]), (1, ["after"])]
    assert (result.waiting, result.outside) == (1, 0)


MICROSECOND = timedelta(microseconds=1)


def test_pauses_are_cut_out(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """Sessions that ended before the start, in a pause or after the stop are in no checkpoint, and days without running are not due."""
    kit.create_study(STUDY, at=day(1, 8.5))
    kit.start_study(STUDY, at=day(1, 8.5))
    kit.pause_study(STUDY, at=day(2, 9.5))
    kit.resume_study(STUDY, at=day(4, 9.5))
    kit.stop_study(STUDY, at=day(6))
    clock.time = day(9)
    result = collect(kit, write_runs(tmp_path / "runs.csv", runs(0, 1, 2, 3, 4, 5, 6)))
    assert statuses(result) == {"recorded": [1, 2, 4, 5]}
    assert latest(kit, STUDY, "sessions_completed") == [(1, 2), (2, 2), (4, 1), (5, 3)]
    assert result.outside == 3 + 1 + 1 + 3 + 2 + 3


@pytest.mark.parametrize(
    ("period", "zone", "starts"),
    [
        ("daily", "Europe/Berlin", ["2026-03-28T00:00+01:00", "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00"]),
        ("weekly", None, ["2026-03-23T00:00+00:00"]),
        ("monthly", "America/New_York", ["2026-03-01T00:00-05:00"]),
        ("hourly", "Asia/Kolkata", ["2026-03-28T09:30+05:30", "2026-03-28T10:30+05:30"]),
    ],
)
def test_periods_follow_the_calendar(kit: EvalKit, tmp_path: Path, clock: Clock, period: str, zone: str | None, starts: list[str]) -> None:
    """They have 23 or 25 hours when the clocks change, and begin at the half hour in some zones' hours of UTC."""
    kit.create_study(STUDY, period=period, at=FIRST)
    kit.start_study(STUDY, at=FIRST)
    moments = [datetime.fromisoformat(start) + timedelta(minutes=35) for start in starts]
    rows = [{"session_id": str(moment), "outcome": "success", "ended_at": moment.isoformat()} for moment in moments]
    clock.time = datetime(2026, 4, 3, tzinfo=UTC)
    result = collect(kit, write_runs(tmp_path / "runs.csv", rows), zone=zone)
    tz = datetime.fromisoformat(starts[0]).tzinfo
    recorded = [found for found in result.periods if found.sessions]
    if period == "hourly":
        hours = [moment.astimezone(UTC).replace(minute=0) for moment in moments]
        assert [(found.period_end - found.period_start).total_seconds() for found in recorded] == [3600] * len(hours)
        assert all(found.period_start <= moment < found.period_end for found, moment in zip(recorded, moments, strict=True))
    else:
        assert [found.period_start.astimezone(tz) for found in recorded] == [datetime.fromisoformat(start) for start in starts]
    if period == "daily":
        assert [(found.period_end - found.period_start).total_seconds() / 3600 for found in recorded] == [24, 23, 24]


@st.composite
def lifecycles(draw: st.DrawFn) -> list[tuple[str, datetime]]:
    hours = sorted(draw(st.lists(st.integers(0, 24 * 20), min_size=1, max_size=8)))
    kinds = ["study_started", *["study_paused", "study_resumed"] * 4][: len(hours)]
    if draw(st.booleans()) and len(hours) > 1:
        kinds[-1] = "study_stopped"
    return [("study_created", FIRST), *zip(kinds, [FIRST + timedelta(hours=hour) for hour in hours], strict=True)]


@settings(max_examples=25)
@given(lifecycle=lifecycles(), kind=st.sampled_from(list(PeriodType)), hours=st.integers(0, 24 * 25), grace=st.integers(0, 30))
def test_due_periods(lifecycle: list[tuple[str, datetime]], kind: PeriodType, hours: int, grace: int) -> None:
    """Each is found by asking of every hour whether the study ran in it, and whether its period has ended long enough ago."""
    now = FIRST + timedelta(hours=hours)
    expected = set()
    for hour in range(24 * 25):
        middle = FIRST + timedelta(hours=hour, minutes=30)
        before = [event for event, at in lifecycle if at <= middle]
        period = Interval(*current_period(kind, middle, UTC))
        if middle < now and before[-1:] and before[-1] in ("study_started", "study_resumed") and period.end + timedelta(hours=grace) <= now:
            expected.add(period)
    found = due_periods(kind, running_intervals(lifecycle), UTC, now, timedelta(hours=grace))
    assert found == sorted(expected)


# --- idle, unreadable and deleted -----------------------------------------------------------------------------------------------------


def test_idle_is_not_unknown(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """An empty day is recorded between others only; at the ends it may be that nothing was written."""
    path = write_runs(tmp_path / "runs.csv", runs(1, 3))
    result = collect(kit, path)
    assert statuses(result) == {"empty": [0, 4], "recorded": [1, 2, 3]}
    assert latest(kit, STUDY, "sessions_completed", "total_tokens", "session_success_rate") == [
        (1, 3, None, 2 / 3), (2, 0, None, None), (3, 3, None, 2 / 3),
    ]  # fmt: skip
    assert str(result) == snapshot("""\
nightly agent: 2 empty, 3 recorded
  2026-03-01  empty     0  no sessions, and the logs have none before or none after it
  2026-03-02  recorded  3
  2026-03-03  recorded  0
  2026-03-04  recorded  3
  2026-03-05  empty     0  no sessions, and the logs have none before or none after it\
""")
    assert result.exit_code == 0
    again = collect(kit, path)
    assert (again.exit_code, statuses(again)) == (3, {"empty": [0, 4], "unchanged": [1, 2, 3]})
    assert statuses(collect(kit, path, allow_empty=True)) == {"recorded": [0, 4], "unchanged": [1, 2, 3]}


def test_unreadable_is_not_idle(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """While a file cannot be read, empty days are not recorded as idle; the other days are, and the file is named."""
    folder = tmp_path / "logs"
    write_runs(folder / "a.csv", runs(0, 1, 4))
    (folder / "b.csv").write_bytes(b"\x00\xff broken")
    with pytest.raises(InvalidInputError) as raised:
        collect(kit, folder, strict=True)
    assert says(raised) == snapshot(
        "1 file skipped ('b.csv': line 1: not valid UTF-8 text). Nothing was recorded. Repair or remove the files, or collect without strict=True."
    )
    result = collect(kit, folder)
    assert statuses(result) == {"recorded": [0, 1, 4], "empty": [2, 3]}
    assert [problem.file for problem in result.problems.skipped] == ["b.csv"]
    assert "1 file skipped ('b.csv': " in str(result)
    write_runs(folder / "b.csv", runs(2))
    assert statuses(collect(kit, folder)) == {"unchanged": [0, 1, 4], "recorded": [2, 3]}


# --- late sessions --------------------------------------------------------------------------------------------------------------------


def test_late_sessions_are_reported_then_amended(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """Only with amend_late, once; the first values stay, and a correction by hand of another metric, too."""
    path = write_runs(tmp_path / "runs.csv", runs(0, 1, 2, 3, 4))
    collect(kit, path)
    kit.amend_checkpoint((STUDY, "collect:records:2026-03-02T00:00:00Z"), {"total_cost": 5.0}, reason="invoice")
    before = events(kit)
    write_runs(path, [*runs(0, 1, 2, 3, 4), {**runs(1, hour=20)[1], "session_id": "late"}])
    result = collect(kit, path)
    assert statuses(result) == {"unchanged": [0, 2, 3, 4], "late": [1]}
    assert (events(kit), result.exit_code) == (before, 0)
    assert str(result) == snapshot("""\
nightly agent: 4 unchanged, 1 late
  2026-03-02  late  4  1 more session; sessions_completed, session_success_rate and sessions_attempted changed
  Late sessions are not recorded. To amend the checkpoints: amend_late=True, --amend-late in a shell.\
""")
    assert statuses(collect(kit, path, amend_late=True)) == {"unchanged": [0, 2, 3, 4], "amended": [1]}
    assert latest(kit, STUDY, "sessions_completed", "total_cost", "revision")[1] == (1, 4, 5.0, 2)
    (recorded,) = kit.checkpoints(STUDY, values="first").filter(pl.col("period_start") == day(1))["sessions_completed"]
    assert recorded == 3
    assert kit.amendments(STUDY)["reason"].unique().sort().to_list() == ["Late sessions", "invoice"]
    before = events(kit)
    assert statuses(collect(kit, path, amend_late=True)) == {"unchanged": [0, 1, 2, 3, 4]}
    assert events(kit) == before


def test_lost_logs_change_nothing(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """What was recorded stays, and late sessions of a day are added to the sessions of its evidence."""
    folder = tmp_path / "logs"
    for number in range(5):
        write_runs(folder / f"{number}.csv", runs(number))
    collect(kit, folder)
    before = events(kit)
    (folder / "1.csv").unlink()
    write_runs(folder / "2.csv", runs(2)[:1])
    assert statuses(collect(kit, folder, amend_late=True)) == {"unchanged": [0, 1, 2, 3, 4]}
    assert events(kit) == before
    write_runs(folder / "late.csv", [{**runs(1)[0], "session_id": "late"}])
    assert statuses(collect(kit, folder, amend_late=True)) == {"unchanged": [0, 2, 3, 4], "amended": [1]}
    assert latest(kit, STUDY, "sessions_completed")[1] == (1, 4)


def test_labels_that_come_later(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """They give the success rate; a later run without them does not take it away."""
    rows = [{**row, "outcome": "unknown"} for row in runs(0, 1, 2, 3, 4)]
    path = write_runs(tmp_path / "runs.csv", rows)
    collect(kit, path)
    assert latest(kit, STUDY, "session_success_rate")[1] == (1, None)
    labels = {row["session_id"]: row["outcome"] for row in runs(1)}
    assert statuses(collect(kit, path, labels=labels, amend_late=True)) == {"unchanged": [0, 2, 3, 4], "amended": [1]}
    assert latest(kit, STUDY, "session_success_rate")[1] == (1, 2 / 3)
    before = events(kit)
    assert statuses(collect(kit, path, amend_late=True)) == {"unchanged": [0, 1, 2, 3, 4]}
    assert events(kit) == before


def test_evidence_of_another_machine(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, a day is compared only if the logs still have all recorded sessions; with a shared folder, always."""
    folder = tmp_path / "logs"
    for number in range(3):
        write_runs(folder / f"{number}.csv", runs(number))
    clock.time = day(3, 3)
    with evalkit.connect(tmp_path / "home") as first:
        collect(first, folder)
    (tmp_path / "home" / "evidence").rename(tmp_path / "elsewhere")
    with evalkit.connect(tmp_path / "home") as second:
        write_runs(folder / "2.csv", [*runs(2), {**runs(2)[0], "session_id": "late"}])
        write_runs(folder / "1.csv", runs(1)[1:])
        result = collect(second, folder)
        assert statuses(result) == {"unchanged": [0, 1], "late": [2]}
        assert result.periods[1].note == snapshot("its evidence is not on this machine, so the recorded sessions are not compared")
        with pytest.warns(evalkit.EvalkitWarning, match="The sessions of 2 checkpoints are not in"):
            assert second.sessions(STUDY).height == 3  # the first day is unchanged, so its evidence was written again
        assert [says(problem) for problem in collect_health(second).problems] == snapshot(
            [
                "The sessions of 2 checkpoints of study 'nightly agent' (2026-03-02 and 2026-03-03) are not in 'TMP/home/evidence'. Copy the files from the machine that collected them, or set EVALKIT_EVIDENCE to a folder that all machines share."
            ]
        )
    monkeypatch.setenv("EVALKIT_EVIDENCE", str(tmp_path / "elsewhere"))
    with evalkit.connect(tmp_path / "home") as third:
        assert statuses(collect(third, folder, amend_late=True)) == {"unchanged": [0, 1], "amended": [2]}
        assert latest(third, STUDY, "sessions_completed") == [(0, 3), (1, 3), (2, 4)]
        assert third.sessions(STUDY).height == 10


def test_retracted_and_changed_meanwhile(kit: EvalKit, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retracted period stays retracted. A race for a period or an amendment is decided by the log, and nothing is overwritten."""
    path = write_runs(tmp_path / "runs.csv", runs(0, 1, 2, 3))
    clock.time = day(3, 3)
    collect(kit, path)
    kit.retract_checkpoint((STUDY, "collect:records:2026-03-01T00:00:00Z"), reason="wrong model")
    write_runs(path, [*runs(0, 1, 2, 3), {**runs(1)[0], "session_id": "late"}])
    clock.time = day(4, 3)
    handlers = kit._handlers
    record, amend = handlers.checkpoints.record_checkpoints, handlers.corrections.amend

    def record_after_another(*args: Any, **more: Any) -> Any:
        monkeypatch.setattr(handlers.checkpoints, "record_checkpoints", record)
        kit.record_checkpoint(STUDY, {"period_start": day(3)}, key="collect:records:2026-03-04T00:00:00Z", tz="UTC")
        return record(*args, **more)

    def amend_after_another(*args: Any, **more: Any) -> Any:
        monkeypatch.setattr(handlers.corrections, "amend", amend)
        kit.amend_checkpoint((STUDY, "collect:records:2026-03-02T00:00:00Z"), {"total_cost": 9}, reason="invoice")
        return amend(*args, **more)

    monkeypatch.setattr(handlers.checkpoints, "record_checkpoints", record_after_another)
    monkeypatch.setattr(handlers.corrections, "amend", amend_after_another)
    result = collect(kit, path, amend_late=True)
    assert statuses(result) == {"retracted": [0], "conflict": [1], "unchanged": [2, 3]}
    assert statuses(collect(kit, path, amend_late=True)) == {"retracted": [0], "amended": [1], "unchanged": [2, 3]}
    assert latest(kit, STUDY, "sessions_completed", "total_cost") == [(1, 4, 9.0), (2, 3, None), (3, None, None)]


# --- dry runs, saved sources ----------------------------------------------------------------------------------------------------------


def test_dry_run_writes_nothing(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """Neither events nor evidence; the result is that of a real run."""
    path = write_runs(tmp_path / "runs.csv", runs(0, 2, 4, judge=0.5))
    assert statuses(collect(kit, path, dry_run=True, save=True)) == {"recorded": [0, 1, 2, 3, 4]}
    assert not (tmp_path / "home").exists()
    kit.create_study(STUDY, at=FIRST)
    kit.start_study(STUDY, at=FIRST)
    before = events(kit)
    planned = collect(kit, path, dry_run=True, save=True)
    assert (events(kit), (tmp_path / "home" / "evidence").exists(), planned.dry_run) == (before, False, True)
    done = collect(kit, path)
    assert statuses(planned) == statuses(done) == {"recorded": [0, 1, 2, 3, 4]}
    write_runs(path, [*runs(0, 2, 4, judge=0.5), {**runs(2)[0], "session_id": "late", "judge": 1}])
    before = events(kit)
    assert statuses(collect(kit, path, dry_run=True, amend_late=True)) == {"unchanged": [0, 1, 3, 4], "amended": [2]}
    assert events(kit) == before
    assert kit.sessions(STUDY).height == 9


def test_saved_source(kit: EvalKit, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The study keeps all that is needed to collect again, from any folder; arguments override it."""
    rows = [{"id": row["session_id"], "passed": row["outcome"] == "success", "done": row["ended_at"]} for row in runs(0, 1, 2, 3, 4)]
    write_runs(tmp_path / "runs.csv", rows)
    monkeypatch.chdir(tmp_path)
    names = "session_id=id,outcome=passed,ended_at=done"
    with pytest.raises(InvalidInputError) as raised:
        kit.collect(STUDY, since=FIRST)
    assert says(raised) == snapshot(
        "No location, and no source is saved in study 'nightly agent'. Pass it, e.g. 'inspect:./logs', and save=True to keep it."
    )
    kit.collect(STUDY, "records:runs.csv", since=FIRST, map=names, zone="Europe/Berlin", grace="1d", source_name="ci", save=True)
    monkeypatch.chdir("/")
    saved = json.loads(kit.resolve(STUDY).config.metadata["evalkit.collect"])
    assert saved == snapshot(
        {
            "source": "records",
            "name": "ci",
            "zone": "Europe/Berlin",
            "grace": "86400s",
            "options": {"map": "session_id=id,outcome=passed,ended_at=done"},
        }
    )
    places = read_places(tmp_path / "home", kit.resolve(STUDY).id)
    assert places is not None
    assert says(places.location) == snapshot("records:TMP/runs.csv")
    assert [period.status for period in kit.collect(STUDY).periods] == ["unchanged"] * 4
    clock.time = day(6, 3)
    assert kit.collect(STUDY).periods[-1].key == snapshot("collect:ci:2026-03-04T23:00:00Z")
    with pytest.raises(InvalidInputError) as raised:
        kit.collect(STUDY, zone="UTC")
    assert says(raised) == snapshot(
        "Invalid zone 'UTC': a period of study 'nightly agent' begins at 2026-03-04T23:00:00Z, which is not the start of a period in this time zone. Pass the time zone of the study's periods."
    )
    with pytest.raises(InvalidInputError) as raised:
        kit.collect(STUDY, labels={"a": "success"}, save=True)
    assert says(raised) == snapshot(
        "Invalid labels {'a': 'success'}: only a file can be saved. Write the labels to a file, or collect without save=True."
    )
    write_places(tmp_path / "home", kit.resolve(STUDY).id, Places("records:gone.csv"))
    with pytest.raises(InvalidInputError, match=r"keeps the location 'records:gone\.csv', which does not exist"):
        kit.collect(STUDY)
    (tmp_path / "home" / "sources" / f"{kit.resolve(STUDY).id}.json").unlink()
    with pytest.raises(InvalidInputError) as raised:
        kit.collect(STUDY)
    assert says(raised) == snapshot(
        "Study 'nightly agent' keeps a source of records logs, but not where they are on this machine. Pass the location, and save=True to keep it."
    )
    kit.edit_study(STUDY, metadata={"evalkit.collect": '{"location": 5}'})
    with pytest.raises(InvalidInputError) as raised:
        kit.collect(STUDY)
    assert says(raised) == snapshot(
        "Invalid evalkit.collect '{\"location\": 5}': the study's metadata has no valid source. Collect once with the location and save=True."
    )


def test_studies_that_cannot_be_collected(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    path = write_runs(tmp_path / "runs.csv", runs(0, 1))
    with pytest.raises(StudyNotFoundError) as missing:
        kit.collect(STUDY, f"records:{path}")
    assert says(missing) == snapshot("No study matches 'nightly agent'. To create and start it, pass since=, the day of its first period.")
    kit.create_study(STUDY, at=FIRST)
    with pytest.raises(TransitionError) as pending:
        kit.collect(STUDY, f"records:{path}")
    assert says(pending) == snapshot(
        "Cannot record in study 'nightly agent': it is pending (must be running, paused or stopped). Start it with kit.start_study('nightly agent')."
    )
    clock.time = day(2, 3)
    assert statuses(collect(kit, path)) == {"recorded": [0, 1]}


# --- frames of sessions, evidence, recomputing ----------------------------------------------------------------------------------------


def test_record_sessions(kit: EvalKit, clock: Clock) -> None:
    """Periods with sessions that have ended are recorded, further columns are custom metrics, and repeating has no effect."""
    sessions = pl.DataFrame(runs(0, 2, 5, judge_score=0.75, reviewed=True, retries=2))
    result = kit.record_sessions(STUDY, sessions, since=FIRST)
    assert (statuses(result), result.waiting) == ({"recorded": [0, 2]}, 3)
    assert latest(kit, STUDY, "judge_score", "judge_score_sessions", "reviewed", "retries") == [
        (0, 0.75, 3, 1.0, 2.0),
        (2, 0.75, 3, 1.0, 2.0),
    ]
    kinds = {name: (kind, denominator) for name, kind, denominator in kit.metrics(STUDY).select("name", "kind", "denominator").iter_rows()}
    assert {name: kinds[name] for name in ("judge_score", "judge_score_sessions", "reviewed")} == {
        "judge_score": ("number", "judge_score_sessions"), "judge_score_sessions": ("count", None),
        "reviewed": ("rate", "reviewed_sessions"),
    }  # fmt: skip
    before = events(kit)
    assert statuses(kit.record_sessions(STUDY, sessions.to_pandas(), amend_late=True)) == {"unchanged": [0, 2]}
    assert events(kit) == before
    with pytest.raises(InvalidInputError) as raised:
        kit.record_sessions(STUDY, sessions.drop("ended_at"))
    assert says(raised) == snapshot("Column 'ended_at' is missing in the sessions. Rename a column, or add it.")


def test_evidence_and_recomputing(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """Sessions are kept with the checkpoints; a metric that is defined later gets its history from them."""
    path = write_runs(tmp_path / "runs.csv", runs(0, 1, 2, 3, 4, tool_calls=3, judge=0.5))
    collect(kit, path)
    path.unlink()
    sessions = kit.sessions(STUDY)
    assert sessions.select("study", "session_id", "tool_calls", "judge").row(0) == (STUDY, "day 0 run 0", 3, 0.5)
    assert sessions.height == 15
    assert sessions.schema["period_start"] == pl.Datetime("us", "UTC")
    best = Metric("judge_best", kind="number", better="up", rollup="max")
    kit.define_metric(STUDY, best)
    with pytest.raises(InvalidInputError) as raised:
        kit.recompute(STUDY, "judge_bst")
    assert says(raised) == snapshot("Unknown metric 'judge_bst'. Did you mean 'judge_best'?")
    with pytest.warns(evalkit.EvalkitWarning, match="No recorded session has a value from which 'judge_best' can be computed"):
        assert repr(kit.recompute(STUDY, "judge_best")) == snapshot("Recomputed(0 amended, 5 unchanged)")
    kit.amend_checkpoint((STUDY, "collect:records:2026-03-02T00:00:00Z"), {"tool_calls": 1, "judge": 0.1}, reason="typing error")
    assert repr(kit.recompute(STUDY, ["tool_calls"])) == snapshot("Recomputed(1 amended, 4 unchanged)")
    assert latest(kit, STUDY, "tool_calls", "judge")[1] == (1, 9, 0.1)
    (file,) = {kit.provenance(STUDY)["evidence"][0]}
    (tmp_path / "home" / "evidence" / f"{file}.parquet").write_bytes(b"damaged")
    assert repr(kit.recompute(STUDY, ["tool_calls"])) == snapshot("Recomputed(0 amended, 4 unchanged, 1 without evidence)")
    with pytest.warns(evalkit.EvalkitWarning, match="The sessions of 1 checkpoint are not in"):
        assert kit.sessions(STUDY).height == 12


def test_metric_defined_later_is_filled_in(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """Sessions of the evidence have the column, although the study did not define the metric when they were recorded."""
    kit.create_study(STUDY, at=FIRST)
    kit.start_study(STUDY, at=FIRST)
    path = write_runs(tmp_path / "runs.csv", runs(0, 1, 2, 3, 4, tool_calls=3))
    collect(kit, path)
    kit.define_metric(STUDY, "tasks_solved")
    write_runs(path, runs(0, 1, 2, 3, 4, tool_calls=3, task_id="t"))
    assert statuses(collect(kit, path)) == {"late": [0, 1, 2, 3, 4]}
    collect(kit, path, amend_late=True)
    assert latest(kit, STUDY, "tasks_solved", "tasks_completed")[0] == (0, 1, 1)


# --- files ----------------------------------------------------------------------------------------------------------------------------


def test_registered_source(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """A function is a source, with its options; its frames are checked."""

    def read(path: Path, *, team: str = "all") -> pl.DataFrame:
        table = pl.read_csv(path)
        return table if team == "all" else table.filter(pl.col("team") == team).drop("team")

    register_source("our-ci", read, options={"team": "Only the runs of a team."})
    path = write_runs(
        tmp_path / "runs.csv", [*runs(0, 1, team="a"), *({**run, "session_id": f"b {run['session_id']}"} for run in runs(1, team="b"))]
    )
    assert read_sessions(f"our-ci:{path}", team="a").height == 6
    clock.time = day(2, 3)
    kit.collect(STUDY, f"our-ci:{path}", since=FIRST, team="b", save=True)
    assert latest(kit, STUDY, "sessions_completed", "collector") == [(1, 3, "our-ci")]
    assert kit.collect(STUDY).periods[1].status == "unchanged"
    with pytest.raises(InvalidInputError, match=r"^Unknown option 'tem'\. Did you mean 'team'"):
        read_sessions(f"our-ci:{path}", tem="a")
    with pytest.raises(InvalidInputError, match=r"^Invalid team 'a': expected numbers or booleans"):
        read_sessions(f"our-ci:{path}")
    for name in ("inspect", "Our CI", "", None):
        with pytest.raises(InvalidInputError):
            register_source(name, read)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError):
        register_source("other", "read")  # type: ignore[arg-type]


def test_two_runs_at_once(kit: EvalKit, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run waits for the first one, up to a limit."""
    from evalkit.collect import collector

    path = write_runs(tmp_path / "runs.csv", runs(0, 1, 2, 3, 4))
    monkeypatch.setattr(collector, "_LOCK_SECONDS", 0.1)
    kit.start_study(kit.create_study(STUDY, at=FIRST), at=FIRST)
    cache = requests._collector(kit)._cache(parse_location(f"records:{path}"))
    cache.parent.mkdir()
    with collector.FileLock(cache.with_suffix(".lock")), pytest.raises(EvalkitError) as raised:
        collect(kit, path)
    assert says(raised) == snapshot(
        "Another process has been collecting 'records:TMP/runs.csv' for 0.00166667 minutes. Nothing was recorded. Wait until it is done, or end it."
    )
    assert statuses(collect(kit, path)) == {"recorded": [0, 1, 2, 3, 4]}


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() == 0 and not WITHOUT_ROOT, reason="needs a user without all rights")
def test_folder_without_permission(kit: EvalKit, tmp_path: Path) -> None:
    """A folder that cannot be opened is named, and its days are not idle; a location without permission is an error."""
    write_runs(tmp_path / "logs" / "a.csv", runs(0, 2))
    write_runs(tmp_path / "logs" / "closed" / "b.csv", runs(1))
    kit.start_study(kit.create_study(STUDY, at=FIRST), at=FIRST)
    kit.close()
    (tmp_path / "logs" / "closed").chmod(0)
    command = [
        *WITHOUT_ROOT,
        str(Path(sys.executable).with_name("evalkit")),
        "--home",
        str(tmp_path / "home"),
        "--json",
        "collect",
        STUDY,
        "--from",
    ]
    try:
        done = subprocess.run([*command, f"records:{tmp_path / 'logs'}"], capture_output=True, text=True, check=False)
        result = json.loads(done.stdout)
        assert result["skipped"] == [{"file": "closed", "reason": "permission denied"}]
        assert [period["status"] for period in result["periods"]][:3] == ["recorded", "empty", "recorded"]
        refused = subprocess.run([*command, f"records:{tmp_path / 'logs' / 'closed'}"], capture_output=True, text=True, check=False)
        assert refused.returncode == 1
        assert says(refused.stderr) == snapshot("error: Cannot read 'TMP/logs/closed': permission denied. Ask its owner for read access.\n")
        (tmp_path / "home" / "evidence").chmod(0)
        doctor = subprocess.run([*command[:-3], "doctor"], capture_output=True, text=True, check=False)
        assert says(json.loads(doctor.stdout)["problems"][0]) == snapshot(
            "Cannot read the folder of the evidence 'TMP/home/evidence': permission denied. Ask its owner for read access, or set EVALKIT_EVIDENCE to another folder."
        )
    finally:
        (tmp_path / "home" / "evidence").chmod(0o700)
        (tmp_path / "logs" / "closed").chmod(0o755)


# --- input ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "expected"), [("2h", 7200), ("30m", 1800), (" 1d ", 86400), ("0", 0), ("90min", 5400), ("5s", 5)])
def test_grace(text: str, expected: int) -> None:
    assert parse_grace(text) == timedelta(seconds=expected)


LOCATIONS = [
    (
        None,
        snapshot("No location, and no source is saved in study 'nightly agent'. Pass it, e.g. 'inspect:./logs', and save=True to keep it."),
    ),
    ("runs.csv", snapshot("Invalid location 'runs.csv': expected SOURCE:PATH, e.g. 'inspect:./logs' or 'claude-code:'.")),
    (
        "inspect",
        snapshot("Invalid location 'inspect': expected SOURCE:PATH, e.g. 'inspect:./logs' or 'claude-code:'. Did you mean 'inspect:PATH'?"),
    ),
    ("inspect:", snapshot("Cannot read 'inspect' logs: 'logs' does not exist. Check the path; it is relative to the working directory.")),
    ("inspct:logs", snapshot("Unknown source 'inspct'. Did you mean 'inspect'?")),
    (
        "records:gone.csv",
        snapshot("Cannot read 'records' logs: 'gone.csv' does not exist. Check the path; it is relative to the working directory."),
    ),
    (
        "inspect:gone",
        snapshot("Cannot read 'inspect' logs: 'gone' does not exist. Check the path; it is relative to the working directory."),
    ),
    (
        "records:runs.xlsx",
        snapshot(
            "runs.xlsx: Unsupported file extension; expected .csv, .tsv, .parquet, .ndjson, .jsonl or .json, each optionally followed by .gz."
        ),
    ),
    (5, snapshot("Invalid location 5: expected SOURCE:PATH, e.g. 'inspect:./logs' or 'claude-code:'.")),
]


@pytest.mark.parametrize(("location", "message"), LOCATIONS)
@pytest.mark.usefixtures("empty_folder")
def test_bad_locations(location: Any, message: str) -> None:
    """Nothing is created for any of them."""
    Path("runs.csv").write_text("session_id,outcome,ended_at\n")
    Path("runs.xlsx").write_bytes(b"PK")
    with pytest.raises(InvalidInputError) as raised:
        evalkit.connect("home").collect(STUDY, location, since=FIRST)
    assert says(raised) == message
    assert not Path("home").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grace": "2 weeks"}, snapshot("Invalid grace '2 weeks': expected a time such as '2h', '30m' or '1d', at most 366 days.")),
        ({"grace": "-1h"}, snapshot("Invalid grace '-1h': expected a time such as '2h', '30m' or '1d', at most 366 days.")),
        (
            {"grace": timedelta(-1)},
            snapshot("Invalid grace datetime.timedelta(days=-1): expected a time such as '2h', '30m' or '1d', at most 366 days."),
        ),
        ({"zone": "Berlin"}, snapshot("Unknown time zone 'Berlin'. Did you mean 'Europe/Berlin'?")),
        ({"source_name": ""}, snapshot("Invalid source_name '': empty; at least one visible character is required.")),
        ({"scorer": "match"}, snapshot("Unknown option 'scorer'. Valid options: map, tz.")),
        ({"mpa": "a=b"}, snapshot("Unknown option 'mpa'. Did you mean 'map'?")),
        (
            {"since": "2026-13-01"},
            snapshot("Invalid since '2026-13-01': not an ISO 8601 time; expected e.g. '2026-01-31' or '2026-01-31T08:00'."),
        ),
        (
            {"since": "2099-01-01"},
            snapshot("Invalid since 2099-01-01T00:00:00+00:00: in the future (now is NOW; at most 5 minutes ahead are allowed)."),
        ),
        (
            {"period": "dayly"},
            snapshot(
                "Invalid period 'dayly': expected hourly, daily, weekly or monthly, optionally with a count ('weekly:2'). Did you mean 'daily'?"
            ),
        ),
        ({"labels": "gone.csv"}, snapshot("Cannot read labels from 'gone.csv': no such file or directory.")),
        (
            {"labels": {"a": "maybe"}},
            snapshot(
                "row 0: Invalid outcome 'maybe': expected success, failure, invalid or unknown, or a word such as passed, failed or error."
            ),
        ),
        ({"prices": "gone.toml"}, snapshot("Cannot read prices from 'gone.toml': no such file or directory.")),
        ({"map": "session_id"}, snapshot("Invalid map 'session_id': expected e.g. 'session_id=run_id,outcome=passed,ended_at=finished'.")),
        (
            {"map": {"session_id": "gone"}},
            snapshot(
                "runs.csv: Unknown column 'gone' in map: the table does not have it. Its columns are 'session_id', 'outcome', 'started_at', 'ended_at'."
            ),
        ),
    ],
)
@pytest.mark.usefixtures("empty_folder")
def test_bad_options(options: dict[str, Any], message: str) -> None:
    write_runs(Path("runs.csv"), runs(0, 1))
    with pytest.raises(InvalidInputError) as raised:
        evalkit.connect("home").collect(STUDY, "records:runs.csv", **{"since": FIRST, "progress": False, **options})
    assert says(raised) == message


def test_conflicts_are_not_retried_forever(kit: EvalKit, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A period that another process keeps changing is an error in the end."""
    path = write_runs(tmp_path / "runs.csv", runs(0, 1, 2, 3, 4))
    tries = []

    def refuse(*_: Any, **__: Any) -> Any:
        tries.append(1)
        raise ConflictError("Conflict")

    monkeypatch.setattr(kit._handlers.checkpoints, "record_checkpoints", refuse)
    with pytest.raises(ConflictError):
        collect(kit, path)
    assert len(tries) == 3
    assert evidence_hash(kit.sessions()) == evidence_hash(kit.sessions())


# --- nothing is lost, doubled or invented ---------------------------------------------------------------------------------------------


def test_corrections_by_hand_are_kept(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """Late sessions change what is computed from sessions, except what a person has corrected; without evidence, nothing."""
    path = write_runs(tmp_path / "runs.csv", runs(0, 1, 2, 3, 4))
    collect(kit, path)
    first, second = ((STUDY, f"collect:records:2026-03-0{number}T00:00:00Z") for number in (1, 2))
    kit.amend_checkpoint(first, {"total_cost": 12.5, "session_success_rate": 0.5}, reason="by hand")
    kit.amend_checkpoint(second, {"total_cost": 12.5}, reason="by hand")
    shutil.move(tmp_path / "home" / "evidence", tmp_path / "elsewhere")
    write_runs(path, [*runs(0, 1, 2, 3, 4), *({**runs(number)[0], "session_id": f"late {number}"} for number in (0, 1))])
    assert statuses(collect(kit, path, amend_late=True)) == {"unchanged": [0, 1, 2, 3, 4]}
    shutil.rmtree(tmp_path / "home" / "evidence")
    shutil.move(tmp_path / "elsewhere", tmp_path / "home" / "evidence")
    result = collect(kit, path, amend_late=True)
    assert statuses(result) == {"amended": [0, 1], "unchanged": [2, 3, 4]}
    assert result.notes == ("Metrics that were amended by hand are kept: session_success_rate.",)
    assert latest(kit, STUDY, "sessions_completed", "session_success_rate", "total_cost")[:2] == [(0, 4, 0.5, 12.5), (1, 4, 0.5, 12.5)]


def test_without_evidence_nothing_shrinks(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """Also where the checkpoint does not list its sessions, because they are invalid or too many for an event."""
    long = "x" * 480
    many = [{**runs(0)[1], "session_id": f"{long} {number}"} for number in range(2_000)]
    invalid = [{**run, "outcome": "invalid"} for run in runs(1, count=2)]
    path = write_runs(tmp_path / "runs.csv", [*many, *invalid, *runs(2, 3, 4)])
    collect(kit, path)
    assert latest(kit, STUDY, "sessions_included")[0] == (0, [])
    shutil.rmtree(tmp_path / "home" / "evidence")
    write_runs(path, [*many[:100], *invalid[:1], *runs(2, 3, 4)])
    assert statuses(collect(kit, path, amend_late=True)) == {"unchanged": [0, 1, 2, 3, 4]}
    assert latest(kit, STUDY, "sessions_completed", "sessions_attempted")[:2] == [(0, 2_000, 2_000), (1, 0, 2)]


def test_a_session_whose_end_moves_counts_once(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """It stays in the period in which it was recorded, and the result says so; also for frames."""
    path = write_runs(tmp_path / "runs.csv", runs(0, 1))
    clock.time = day(2, 3)
    collect(kit, path)
    moved = {**runs(0)[0], "ended_at": day(2, 9).isoformat()}
    write_runs(path, [moved, *runs(0)[1:], *runs(1, 2, 3)])
    clock.time = day(4, 3)
    result = collect(kit, path, amend_late=True)
    assert latest(kit, STUDY, "sessions_completed") == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert result.notes == ("1 session stayed in the period of the first recording, although the end has changed.",)
    for moment in (day(0, 9), day(2, 9)):
        frame = pl.DataFrame({"session_id": ["a"], "outcome": ["success"], "ended_at": [moment]})
        kit.record_sessions("frames", frame, since=FIRST, amend_late=True)
    assert kit.sessions("frames")["session_id"].to_list() == ["a"]


def test_an_emptied_folder_is_not_idle(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """Neither is a day whose file could not be read before it was deleted, nor days before a session with a wrong clock."""
    folder = tmp_path / "logs"
    for number in (0, 2, 4):
        write_runs(folder / f"{number}.csv", runs(number))
    (folder / "1.csv").write_bytes(b"\0")
    assert statuses(collect(kit, folder)) == {"recorded": [0, 2, 4], "empty": [1, 3]}
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(InvalidInputError, match="No tables in"):
        collect(kit, folder)
    assert kit.checkpoints(STUDY).height == 3
    future = {**runs(0)[1], "session_id": "future", "ended_at": day(900).isoformat()}
    result = kit.collect("other", f"records:{write_runs(tmp_path / 'f.csv', [*runs(0), future])}", since=FIRST)
    assert statuses(result) == {"recorded": [0], "empty": [1, 2, 3, 4]}
    assert result.notes == ("1 session ended in the future, by the clock of this machine. Check the times of the logs.",)


def test_a_day_whose_sessions_are_recorded_elsewhere_is_not_idle(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """Sessions with the ids of recorded ones say that something ran."""
    clock.time = day(1, 3)
    collect(kit, write_runs(tmp_path / "runs.csv", runs(0)))
    path = write_runs(tmp_path / "runs.csv", [{**row, "session_id": row["session_id"].replace("day 2", "day 0")} for row in runs(2, 4)])
    clock.time = day(5, 3)
    result = collect(kit, path)
    assert statuses(result) == {"unchanged": [0], "recorded": [1, 3, 4], "empty": [2]}
    assert result.periods[2].note == snapshot("3 sessions in other periods, where they were recorded before")


def test_time_zones_that_differ_only_in_summer(kit: EvalKit, clock: Clock) -> None:
    """A study of London is refused in UTC, although its last period begins at midnight in both."""
    begin, clock.time = datetime(2026, 10, 20, 23, tzinfo=UTC), datetime(2026, 11, 4, 3, tzinfo=UTC)
    ends = [begin + timedelta(days=number, hours=9) for number in range(14)]
    sessions = pl.DataFrame({"session_id": [str(end) for end in ends], "outcome": True, "ended_at": ends})
    arguments = {"sessions": sessions, "source_name": "ci"}
    assert len(kit.record_sessions(STUDY, since="2026-10-21", zone="Europe/London", **arguments).periods) == 14
    with pytest.raises(InvalidInputError) as raised:
        kit.record_sessions(STUDY, **arguments)
    assert says(raised) == snapshot(
        "Invalid zone 'UTC': a period of study 'nightly agent' begins at 2026-10-20T23:00:00Z, which is not the start of a period in this time zone. Pass the time zone of the study's periods."
    )
    assert kit.checkpoints(STUDY).height == 14


def test_logs_that_are_deleted_too_soon(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """The result says how often to collect, or how long to keep logs."""
    projects = tmp_path / "claude" / "projects"
    write_claude_code(projects, 1, [(day(38, 8), 5)])
    (projects.parent / "settings.json").write_text("{}")
    clock.time = day(40, 3)
    result = kit.collect("nightly", f"claude-code:{projects}", since=FIRST)
    assert set(statuses(result)["incomplete"]) >= set(range(10))
    assert result.notes[-1] == snapshot(
        "Logs are deleted after 30 days, so incomplete periods are not recorded. Collect at least every 28 days."
    )
    result = kit.collect("monthly", f"claude-code:{projects}", since=FIRST, period="monthly")
    assert result.notes[-1] == snapshot(
        "Logs are deleted after 30 days, before a monthly period can be recorded. Keep them for 33 days or longer."
    )


def test_places_that_are_gone(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """Collecting and doctor name the saved places that do not exist."""
    path, labels = write_runs(tmp_path / "runs.csv", runs(0)), tmp_path / "labels.csv"
    labels.write_text("session_id,outcome\n")
    collect(kit, path, labels=labels, save=True)
    for gone in (labels, path):
        gone.unlink()
        with pytest.raises(InvalidInputError) as raised:
            kit.collect(STUDY)
        assert says(collect_health(kit).problems[0]) == says(raised)
    assert says(raised) == snapshot(
        "Study 'nightly agent' keeps the location 'records:TMP/runs.csv' and the labels 'TMP/labels.csv', which do not exist on this machine. Pass and save the new place: kit.collect('nightly agent', LOCATION, labels=FILE, save=True)."
    )
    write_runs(path, runs(0))
    assert statuses(kit.collect(STUDY, labels={}, progress=False))["unchanged"] == [0]


def test_since_of_a_study_that_was_started_later(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    path = write_runs(tmp_path / "runs.csv", runs(0, 1, 2))
    kit.collect(STUDY, f"records:{path}", since=day(1))
    assert kit.collect(STUDY, f"records:{path}", since=day(1)).notes == ()
    assert kit.collect(STUDY, f"records:{path}", since=FIRST).notes == snapshot(
        (
            "since has no effect: study 'nightly agent' was started on 2026-03-02T00:00:00Z. For earlier sessions, collect into another study.",
        )
    )


def test_a_second_source_in_a_study_is_reported(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    path = write_runs(tmp_path / "runs.csv", runs(0, 1))
    assert collect(kit, path).notes == ()
    assert collect(kit, path, source_name="other").notes == snapshot(
        ("Study 'nightly agent' has checkpoints of another source in the same periods. Collect each source into a study of its own.",)
    )


def test_sessions_without_outcomes_are_named_once(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """When labels have completed the evidence, it is not said again of the logs."""
    path = write_runs(tmp_path / "runs.csv", [{**row, "outcome": "unknown"} for row in runs(0)])
    assert "No session has an outcome" in str(collect(kit, path))
    labels = {row["session_id"]: True for row in runs(0)}
    assert "No session has an outcome" not in str(collect(kit, path, labels=labels, amend_late=True))
    assert collect(kit, path).notes == ()


def test_idle_days_have_zeros_of_measured_metrics_only(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """A source without costs does not have a cost of zero."""
    collect(kit, write_runs(tmp_path / "runs.csv", runs(0, 2, 4, tokens_total=5, task_id="t")))
    assert latest(kit, STUDY, "total_tokens", "tasks_completed", "total_cost", "sessions_attempted")[1] == (1, 0, 0, None, 0)


def test_damaged_evidence_is_missing_evidence(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """A changed byte is found before the file is parsed, and the file is written again from the logs."""
    path = write_runs(tmp_path / "runs.csv", runs(0, 1, 2, 3, 4))
    collect(kit, path)
    for file in (tmp_path / "home" / "evidence").glob("*.parquet"):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
    with pytest.warns(evalkit.EvalkitWarning, match="The sessions of 5 checkpoints are not in"):
        assert kit.sessions().is_empty()
    for file in (tmp_path / "home" / "evidence").glob("*.parquet"):
        file.unlink()
    collect(kit, path)
    assert kit.sessions().height == 15


def test_wrong_folders_create_nothing(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """No log, no readable one, a pipe, or a folder of evidence that is not writable: an error before the study is created."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.eval").write_bytes(b"no zip")
    os.mkfifo(tmp_path / "pipe.eval")
    messages = []
    for name in ("empty", "other", "pipe.eval"):
        with pytest.raises(InvalidInputError) as raised:
            kit.collect(STUDY, f"inspect:{tmp_path / name}", since=FIRST)
        messages.append(str(raised.value).replace(str(tmp_path), "TMP"))
    assert messages == snapshot(
        [
            "No Inspect AI logs in 'TMP/empty'. Nothing was recorded. Check the path and the source.",
            "Cannot read any of 1 file in 'TMP/other' as Inspect AI logs: not a complete zip file. Nothing was recorded. Check the path and the source.",
            "Cannot read 'TMP/pipe.eval': it is neither a folder nor a regular file.",
        ]
    )
    assert not (tmp_path / "home").exists()
    os.mkfifo(tmp_path / "other" / "b.eval")
    os.close(os.open(os.fsencode(tmp_path) + b"/other/bad\xff.eval", os.O_CREAT))
    with pytest.warns(evalkit.EvalkitWarning) as warned:
        assert read_sessions(f"inspect:{tmp_path / 'other'}").is_empty()
    assert "'b.eval': not a regular file" in str(warned[0].message)
    assert r"bad\\xff.eval" in str(warned[0].message)


def test_evidence_that_cannot_be_written(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EVALKIT_EVIDENCE", str(tmp_path / "file" / "evidence"))
    with evalkit.connect(tmp_path / "home") as kit, pytest.raises(InvalidInputError) as raised:
        collect(kit, write_runs(tmp_path / "runs.csv", runs(0, 1)))
    assert says(raised) == snapshot(
        "Cannot write to the folder of the evidence 'TMP/file/evidence': 'TMP/file' is a file. Nothing was recorded. Set EVALKIT_EVIDENCE to a folder that is writable."
    )
    assert not (tmp_path / "home").exists()


def test_options_of_a_study_that_exists(kit: EvalKit, tmp_path: Path, clock: Clock) -> None:
    """Its period and its start cannot be changed; a grace of weeks is saved; a zone without a name is not."""
    path = write_runs(tmp_path / "runs.csv", runs(0, 1))
    clock.time = day(40)
    collect(kit, path, grace="12d", save=True)
    assert {period.status for period in kit.collect(STUDY).periods} == {"unchanged", "empty"}
    messages = []
    for options in (
        {"period": "weekly"}, {"period": "dayly"}, {"zone": timezone(timedelta(0), "home"), "save": True}, {"grace": timedelta(days=10**7)},
    ):  # fmt: skip
        with pytest.raises(InvalidInputError) as raised:
            kit.collect(STUDY, **options)
        messages.append(says(raised))
    assert messages == snapshot(
        [
            "Invalid period 'weekly': study 'nightly agent' has daily periods, which cannot be changed. Omit it, or create another study.",
            "Invalid period 'dayly': expected hourly, daily, weekly or monthly, optionally with a count ('weekly:2'). Did you mean 'daily'?",
            "Invalid zone datetime.timezone(datetime.timedelta(0), 'home'): only a named time zone can be saved; expected e.g. 'Europe/Berlin'.",
            "Invalid grace datetime.timedelta(days=10000000): expected a time such as '2h', '30m' or '1d', at most 366 days.",
        ]
    )
    kit.create_study("late", at=day(3))
    with pytest.raises(InvalidInputError, match=r"^Cannot start study 'late' on 2026-03-01T00:00:00Z: it was created later"):
        kit.collect("late", f"records:{path}", since=FIRST)
    with pytest.raises(InvalidInputError, match="the last session ended before it"):
        kit.collect("after", f"records:{path}", since=day(9))
    with pytest.raises(StudyNotFoundError):
        kit.resolve("after")
    with pytest.raises(
        InvalidInputError, match=r"^Invalid grace '30m': a session of claude-code is over when nothing happened for 2 hours"
    ):
        kit.collect(STUDY, f"claude-code:{tmp_path}", grace="30m")
