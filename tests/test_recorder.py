"""The recorder: what it records, what it refuses, and what is left of it after a crash."""
# ruff: noqa: PT012, PT031  (a recorder's block is the one statement that raises or warns)

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import evalkit
from evalkit import EvalKit, EvalkitWarning, InvalidInputError, StudyNotFoundError, TransitionError
from evalkit.errors import LogUnavailableError, ReadOnlyError, RecorderError
from evalkit.recording.aggregate import COMPUTED, SessionRecord, aggregate
from evalkit.recording.block import tally
from evalkit.recording.recorder import Recorder
from evalkit.recording.session import Session
from tests.worker import Child, exit_code, in_fork

BEGUN = datetime(2026, 1, 31, 8, tzinfo=UTC)


class Watch:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = BEGUN

    def move(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def now(self) -> datetime:
        return self.time

    def elapsed(self) -> int:
        return (self.time - BEGUN) // timedelta(microseconds=1) * 1000


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[EvalKit]:
    with evalkit.connect(tmp_path / "home") as kit:
        kit.create_study("study", at=BEGUN)
        kit.start_study("study", at=BEGUN)
        yield kit


@pytest.fixture
def clock() -> Watch:
    return Watch()


def recorder(kit: EvalKit, clock: Watch, **options: Any) -> Recorder:
    home = kit.engine.settings.home
    return Recorder(
        kit.resolve("study"),
        home=home,
        record=kit.record_checkpoint,
        now=clock.now,
        elapsed=clock.elapsed,
        progress=False,
        **options,
    )


def files(kit: EvalKit) -> list[str]:
    folder = kit.engine.settings.home / "recorder"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def leave_a_journal(kit: EvalKit, clock: Watch, sessions: int = 2, **options: Any) -> None:
    """Run a block that an exception ends after some successes of one second."""
    with pytest.raises(KeyError), recorder(kit, clock, **options) as rec:
        for _ in range(sessions):
            with rec.session() as session:
                clock.move(1)
                session.success(iterations=1, tokens=10, cost=0.25)
        raise KeyError("the loop's own")


# --- what is recorded -----------------------------------------------------------------------------------------------------------------


def test_a_block_records_one_checkpoint(kit: EvalKit, clock: Watch) -> None:
    """The period is the block's, durations are measured, and what the sessions reported is aggregated; no file is left."""
    with recorder(kit, clock) as rec:
        for seconds, iterations in ((10, 1), (20, 3)):
            with rec.session() as session:
                clock.move(seconds)
                session.success(iterations=iterations, tokens=100 * iterations, cost=0.25)
        with rec.session("the hard one") as session:
            clock.move(0.5)
            session.failure(iterations=5, tokens=1000, cost=1)
        clock.move(29.5)
        assert rec.checkpoint is None
        rec.metrics(tool_success_rate=0.5, learnings_applied=7)
        rec.metrics(tool_success_rate=0.75)
    assert rec.checkpoint is not None
    assert kit.storage.get_checkpoints(rec.study.id) == [rec.checkpoint]
    metrics = rec.checkpoint.metrics
    assert (metrics.period.start, metrics.period.end) == (BEGUN, BEGUN + timedelta(seconds=60))
    assert metrics.measured() == {
        "sessions_completed": 3, "session_success_rate": 2 / 3, "avg_session_duration": timedelta(microseconds=10_166_666),
        "tasks_completed": 3, "first_attempt_success_rate": 1 / 3, "avg_iterations_to_success": 2.0, "tool_success_rate": 0.75,
        "learnings_applied": 7, "total_tokens": 1400, "total_cost": 1.5, "cost_per_successful_task": 0.75,
    }  # fmt: skip
    assert rec.checkpoint.sessions_included == ["2026-01-31T08:00:00Z #1", "2026-01-31T08:00:00Z #2", "the hard one"]
    assert rec.checkpoint.events_analyzed == 3
    assert files(kit) == []


def test_the_kit_makes_recorders_that_measure(kit: EvalKit) -> None:
    """`kit.recorder` takes a study by name, and measures with the machine's clocks."""
    before = datetime.now(UTC)
    with kit.recorder("study", sessions=1) as rec:
        for _ in rec.track(["task"]):
            with rec.session() as session:
                session.success()
    assert rec.checkpoint is not None
    metrics = rec.checkpoint.metrics
    assert before <= metrics.period.start < metrics.period.end <= datetime.now(UTC)
    assert metrics.avg_session_duration is not None
    assert timedelta(0) < metrics.avg_session_duration < timedelta(seconds=10)


def test_a_period_may_be_given(kit: EvalKit, clock: Watch) -> None:
    """Then the checkpoint describes that period, whenever the block ran."""
    week = (BEGUN - timedelta(days=7), BEGUN)
    with recorder(kit, clock, period=week) as rec, rec.session() as session:
        session.success()
    assert rec.checkpoint is not None
    assert (rec.checkpoint.metrics.period.start, rec.checkpoint.metrics.period.end) == week
    with pytest.raises(InvalidInputError, match="has no time zone"):
        kit.recorder("study", period=(datetime(2026, 1, 1), datetime(2026, 1, 2)))
    with pytest.raises(InvalidInputError, match="does not come after period_start"):
        kit.recorder("study", period=(BEGUN, BEGUN))


def test_a_block_without_a_session_records_nothing_and_warns(kit: EvalKit, clock: Watch) -> None:
    """Nothing happened, so nothing is said of it in a log that forgets nothing; a metric that was given is something."""
    with (
        pytest.warns(EvalkitWarning, match="No session ended in the block, so nothing was recorded in 'study'"),
        recorder(kit, clock) as rec,
    ):
        pass
    assert rec.checkpoint is None
    assert kit.checkpoints().height == 0
    assert files(kit) == []
    with recorder(kit, clock) as rec:
        rec.metrics(tool_success_rate=0.5)
    assert rec.checkpoint is not None
    assert rec.checkpoint.metrics.measured() == {
        "sessions_completed": 0, "tasks_completed": 0, "tool_success_rate": 0.5, "total_tokens": 0, "total_cost": 0.0,
    }  # fmt: skip


def test_an_exception_in_a_session_is_a_failure_and_goes_on(kit: EvalKit, clock: Watch) -> None:
    """The session counts as failed with what it reported, and the block may catch the exception and end as usual."""
    with pytest.warns(EvalkitWarning) as caught, recorder(kit, clock) as rec:
        with pytest.raises(ZeroDivisionError), rec.session():
            clock.move(2)
            raise ZeroDivisionError
        with pytest.raises(KeyError), rec.session() as session:
            session.success(iterations=1, tokens=5, cost=0.5)
            raise KeyError
        with rec.session() as session:
            session.success(iterations=1, tokens=1, cost=1)
    assert [(one.succeeded, one.error, one.tokens) for one in rec.sessions] == [
        (False, "ZeroDivisionError", None), (False, "KeyError", 5), (True, None, 1),
    ]  # fmt: skip
    assert rec.checkpoint is not None
    assert rec.checkpoint.metrics.session_success_rate == 1 / 3
    assert rec.checkpoint.metrics.total_tokens is None
    assert [str(one.message) for one in caught] == [
        "1 of 3 sessions reported no tokens, so total_tokens is missing.", "1 of 3 sessions reported no cost, so total_cost is missing.",
    ]  # fmt: skip
    assert caught[0].filename == __file__


def test_an_exception_goes_on_also_where_its_session_cannot_be_noted(kit: EvalKit, clock: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk does not hide what the agent raised; a note says that the session is not in the journal."""

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(KeyError) as raised, recorder(kit, clock) as rec, rec.session("a"):
        monkeypatch.setattr("evalkit.recording.journal.os.fsync", full)
        raise KeyError
    assert "the session 'a' was not noted. The recorder's journal" in raised.value.__notes__[0]
    assert rec.sessions == ()


def test_a_session_that_reports_nothing_counts_as_failed_and_that_is_said(kit: EvalKit, clock: Watch) -> None:
    """Success is claimed, never assumed."""
    with pytest.warns(EvalkitWarning) as caught, recorder(kit, clock) as rec:
        for reports in (True, False, False):
            with rec.session() as session:
                if reports:
                    session.success()
    assert [str(one.message) for one in caught] == ["2 of 3 sessions reported neither success nor failure, and count as failed."]
    assert rec.checkpoint is not None
    assert rec.checkpoint.metrics.session_success_rate == 1 / 3


def test_iterations_that_some_successes_lack_are_missing_and_that_is_said(kit: EvalKit, clock: Watch) -> None:
    """A mean over some of the successes is not the mean."""
    with (
        pytest.warns(EvalkitWarning, match="1 of 2 successes reported no iterations, so first_attempt_success_rate and"),
        recorder(kit, clock) as rec,
    ):
        for iterations in (1, None):
            with rec.session() as session:
                session.success(iterations=iterations)
    assert rec.checkpoint is not None
    assert (rec.checkpoint.metrics.first_attempt_success_rate, rec.checkpoint.metrics.avg_iterations_to_success) == (None, None)


def test_a_name_that_is_taken_gets_a_number(kit: EvalKit, clock: Watch) -> None:
    """A task that is tried twice stops no night's work, and each session can be told."""
    with recorder(kit, clock) as rec:
        for name in ("task", "task", "task #2", "task"):
            with rec.session(name) as session:
                session.success()
        assert session.name == "task #3"
    assert rec.checkpoint is not None
    assert rec.checkpoint.sessions_included == ["task", "task #2", "task #2 #2", "task #3"]


def test_a_block_of_very_many_sessions_is_recorded_without_their_names(kit: EvalKit, clock: Watch) -> None:
    """What would not fit into an event is left out, rather than the night."""
    with recorder(kit, clock) as rec:
        rec._block.sessions += [SessionRecord(name="n" * 190 + str(index), nanoseconds=1, succeeded=True) for index in range(6000)]
        rec.metrics(tool_success_rate=1)
    assert rec.checkpoint is not None
    assert rec.checkpoint.metrics.sessions_completed == 6000
    assert rec.checkpoint.sessions_included == []


def test_a_clock_that_is_set_back_leaves_a_period(kit: EvalKit, clock: Watch) -> None:
    """The end of a block comes after its beginning, and a session's duration does not depend on the wall clock."""
    with recorder(kit, clock) as rec, rec.session() as session:
        session.success()
        rec._now = lambda: BEGUN - timedelta(hours=1)
        clock.move(3)
    assert rec.checkpoint is not None
    assert rec.checkpoint.metrics.period.end == BEGUN + timedelta(microseconds=1)
    assert rec.checkpoint.metrics.avg_session_duration == timedelta(seconds=3)


# --- the table in the docstring -------------------------------------------------------------------------------------------------------


def test_the_table_holds_the_computed_metrics() -> None:
    """The table in `Recorder`'s documentation has a row for each metric that the recorder computes, and no other."""
    rows = re.findall(r"^(\w+)  +\w", inspect.getdoc(Recorder) or "", flags=re.MULTILINE)  # Python 3.13 stores it without indentation
    assert rows == ["metric", *COMPUTED]


numbers = st.one_of(st.none(), st.integers(0, 2**40))
records = st.builds(
    SessionRecord,
    name=st.just("one"), nanoseconds=st.integers(0, 10**15), succeeded=st.booleans(), iterations=st.one_of(st.none(), st.integers(1, 9)),
    tokens=numbers, cost=st.one_of(st.none(), st.floats(0, 1e6)),
)  # fmt: skip
reported = st.builds(
    SessionRecord,
    name=st.just("one"), nanoseconds=st.integers(0, 10**15), succeeded=st.booleans(), iterations=st.integers(1, 4),
    tokens=st.integers(0, 2**40), cost=st.floats(0, 1e6),
)  # fmt: skip


def mean(values: list[Fraction]) -> Fraction | None:
    return sum(values, Fraction(0)) / len(values) if values else None


@pytest.mark.parametrize("name", COMPUTED)
@given(sessions=st.one_of(st.lists(records, max_size=6), st.lists(reported, max_size=6)))
def test_each_row_of_the_table_is_what_a_plain_computation_gives(name: str, sessions: list[SessionRecord]) -> None:
    """Exact fractions, row by row, empty cases included."""
    ended, successes = Fraction(len(sessions)), [one for one in sessions if one.succeeded]
    plain: dict[str, Fraction | None] = {"sessions_completed": ended, "tasks_completed": ended}
    plain["session_success_rate"] = mean([Fraction(one.succeeded) for one in sessions])
    seconds = mean([Fraction(one.nanoseconds, 10**9) for one in sessions])
    plain["avg_session_duration"] = seconds
    told = all(one.iterations is not None for one in successes)
    plain["first_attempt_success_rate"] = mean([Fraction(one.succeeded and one.iterations == 1) for one in sessions]) if told else None
    plain["avg_iterations_to_success"] = mean([Fraction(one.iterations or 0) for one in successes]) if told else None
    plain["total_tokens"] = Fraction(0) if None not in [one.tokens for one in sessions] else None
    plain["total_cost"] = Fraction(0) if None not in [one.cost for one in sessions] else None
    for one in sessions:
        for total, value in (("total_tokens", one.tokens), ("total_cost", one.cost)):
            before = plain[total]
            plain[total] = None if before is None or value is None else before + Fraction(value)
    cost = plain["total_cost"]
    plain["cost_per_successful_task"] = cost / len(successes) if cost is not None and successes else None

    value, expected = aggregate(sessions)[name], plain[name]
    if expected is None:
        assert value is None
    elif name == "avg_session_duration":
        assert abs(Fraction(value[0]) + Fraction(value[1], 10**9) - expected) <= Fraction(1, 2 * 10**9)
    elif name in ("sessions_completed", "tasks_completed", "total_tokens"):
        assert value == expected
        assert type(value) is int
    else:
        assert value == pytest.approx(float(expected), rel=1e-15, abs=0)


# --- what is refused ------------------------------------------------------------------------------------------------------------------


def test_what_cannot_be_recorded_is_refused_before_the_night(kit: EvalKit, tmp_path: Path) -> None:
    """An unknown study, one that never started, a kit that only reads, and wrong options are refused when the recorder is made."""
    kit.create_study("pending")
    with pytest.raises(StudyNotFoundError):
        kit.recorder("nobody")
    with pytest.raises(TransitionError, match=r"kit\.start_study\('pending'\)"):
        kit.recorder("pending")
    with pytest.raises(ReadOnlyError):
        evalkit.connect(tmp_path / "home", read_only=True).recorder("study")
    with pytest.raises(InvalidInputError, match="sessions: -1"):
        kit.recorder("study", sessions=-1)
    with pytest.raises(InvalidInputError, match="Invalid resume 'yes': is none of True"):
        kit.recorder("study", resume="yes")  # type: ignore[arg-type]


IS_NO_COUNT = "is no whole number; give a count from 0 to 9,223,372,036,854,775,807."


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ({"iterations": 0}, "iterations: 0 is below 1; a session that was solved at the first attempt took 1."),
        ({"iterations": 1.5}, f"iterations: 1.5 {IS_NO_COUNT}"),
        ({"tokens": -1}, "tokens: -1 is outside the range of a count, 0 to 9,223,372,036,854,775,807."),
        ({"tokens": 2**63}, f"tokens: {2**63} is outside the range of a count, 0 to 9,223,372,036,854,775,807."),
        ({"tokens": 10**15 + 1}, "tokens: 1000000000000001 is more than 1,000,000,000,000,000, the most of one session."),
        ({"cost": 1e16}, "cost: 1e+16 is more than 1,000,000,000,000,000, the most of one session."),
        ({"tokens": True}, f"tokens: True {IS_NO_COUNT}"),
        ({"tokens": [1]}, f"tokens: [1] {IS_NO_COUNT}"),
        ({"cost": -0.5}, "cost: -0.5 is outside the range 0 or more."),
        ({"cost": float("nan")}, "cost: nan is not finite; give None when it was not measured."),
        ({"cost": float("inf")}, "cost: inf is not finite; give None when it was not measured."),
        ({"cost": 10**400}, f"cost: {str(10**400)[:77]}... is not finite; give None when it was not measured."),
        ({"cost": "1 $"}, "cost: '1 $' is of type str; give a number, or None when it was not measured."),
    ],
)
@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_a_number_that_cannot_be_is_missing_and_that_is_said(
    kit: EvalKit, clock: Watch, outcome: str, report: dict[str, Any], message: str
) -> None:
    """The warning has the argument, the value, what is allowed, and the session; its other numbers and the loop go on."""
    whole = {"iterations": 2, "tokens": 3, "cost": 0.5}
    with pytest.warns(EvalkitWarning) as caught, recorder(kit, clock) as rec:
        for name, numbers in (("a", {**whole, **report}), ("b", whole)):
            with rec.session(name) as session:
                getattr(session, outcome)(**numbers)
    assert str(caught[0].message) == f"Session 'a': {message} It counts as missing."
    assert caught[0].filename == __file__
    assert [(one.name, one.succeeded, one.reported, one.error) for one in rec.sessions] == [
        (name, outcome == "success", True, None) for name in ("a", "b")
    ]
    assert [{name: getattr(one, name) for name in whole} for one in rec.sessions] == [{**whole, **dict.fromkeys(report)}, whole]
    assert rec.checkpoint is not None
    missing = {"tokens": rec.checkpoint.metrics.total_tokens, "cost": rec.checkpoint.metrics.total_cost}
    assert {name for name, total in missing.items() if total is None} == set(report) - {"iterations"}


@pytest.mark.filterwarnings("error")
def test_a_session_whose_report_was_refused_is_not_counted(kit: EvalKit, clock: Watch) -> None:
    """That evalkit refused a report, or that warnings are errors, says nothing about the agent."""
    with pytest.raises(RecorderError, match="reported a success already"), recorder(kit, clock) as rec:
        with rec.session() as session:
            session.success()
        with rec.session("twice") as session:
            session.success()
            session.failure()
    with pytest.raises(EvalkitWarning, match="cost: nan"), recorder(kit, clock, resume=True) as rec, rec.session("nan") as session:
        session.success(cost=float("nan"))
    with pytest.warns(EvalkitWarning, match=r"2 sessions interrupted .*: twice, nan\."), recorder(kit, clock, resume=True) as rec:
        assert [one.succeeded for one in rec.sessions] == [True]


class Panic(BaseException):
    """Stands for Rust's panics."""


# --- what is interrupted --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit])
def test_a_session_that_was_interrupted_is_neither_success_nor_failure(kit: EvalKit, clock: Watch, kind: type[BaseException]) -> None:
    """It is in no rate and no sum, a warning names it, and its name is free for another attempt; one that had reported is what it reported."""
    with pytest.warns(EvalkitWarning) as caught, recorder(kit, clock) as rec:
        for name, report in (("reported", True), ("lost", False)):
            with pytest.raises(kind), rec.session(name) as session:
                clock.move(5)
                if report:
                    session.failure(tokens=5, cost=0.5)
                raise kind
        with rec.session("lost") as session:
            clock.move(1)
            session.success(iterations=1, tokens=1, cost=1)
    assert [(one.name, one.succeeded, one.error, one.tokens) for one in rec.sessions] == [
        ("reported", False, None, 5),
        ("lost", True, None, 1),
    ]
    assert [str(one.message) for one in caught] == ["1 session interrupted before the end, excluded from all rates and sums: lost."]
    assert rec.checkpoint is not None
    metrics = rec.checkpoint.metrics
    assert (metrics.sessions_completed, metrics.session_success_rate, metrics.total_tokens, metrics.total_cost) == (2, 0.5, 6, 1.5)
    assert metrics.avg_session_duration == timedelta(seconds=3)
    assert rec.checkpoint.sessions_included == ["reported", "lost"]
    assert rec.checkpoint.events_analyzed == 2


def test_a_block_in_which_every_session_was_interrupted_records_nothing_and_names_them(kit: EvalKit, clock: Watch) -> None:
    """Nothing is known of the agent; of very many names some are left out."""
    with pytest.warns(EvalkitWarning) as caught, recorder(kit, clock) as rec:
        for number in range(22):
            with contextlib.suppress(KeyboardInterrupt), rec.session(f"t{number}"):
                raise KeyboardInterrupt
    named = ", ".join(f"t{number}" for number in range(20))
    assert [str(one.message) for one in caught] == [
        "No session ended in the block, so nothing was recorded in 'study'. Use: with rec.session() as s: ...",
        f"22 sessions interrupted before the end, excluded from all rates and sums: {named} and 2 more.",
    ]
    assert rec.checkpoint is None
    assert files(kit) == []


def test_a_timeout_within_a_session_is_a_failure_and_one_around_it_an_interruption(kit: EvalKit, clock: Watch) -> None:
    """The first raises TimeoutError in the session, the second cancels it."""

    async def block() -> None:
        with recorder(kit, clock) as rec:
            with pytest.raises(TimeoutError), rec.session("within"):
                async with asyncio.timeout(0):
                    await asyncio.sleep(10)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    with rec.session("around"):
                        await asyncio.sleep(10)
        assert [(one.name, one.error) for one in rec.sessions] == [("within", "TimeoutError")]

    with pytest.warns(EvalkitWarning, match=r"^1 session interrupted .*: around\.$"):
        asyncio.run(block())


IN_THREADS = """
import os, signal, sys, threading, time, evalkit
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell started this in the background
began, done = threading.Semaphore(0), threading.Semaphore(0)
with evalkit.connect(sys.argv[1]).recorder("study", sessions=20) as rec:
    def work(number):
        with rec.session(f"task {number}") as s:
            if number >= 5:
                began.release()
                time.sleep(60)
            s.success(iterations=1, tokens=10, cost=0.5)
        done.release()
    for number in range(19):
        threading.Thread(target=work, args=(number,), daemon=True).start()
    for _ in range(5):
        done.acquire()
    for _ in range(14):
        began.acquire()
    with rec.session("task 19"):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
"""
IN_TASKS = """
import asyncio, os, signal, sys, evalkit
signal.signal(signal.SIGINT, signal.default_int_handler)
async def work(rec, number):
    with rec.session(f"task {number}") as s:
        if number >= 5:
            await asyncio.sleep(60)
        s.success(iterations=1, tokens=10, cost=0.5)
async def main():
    with evalkit.connect(sys.argv[1]).recorder("study", sessions=20) as rec:
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(work(rec, number))
            await asyncio.sleep(0.1)
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends itself SIGINT")
@pytest.mark.parametrize("program", [IN_THREADS, IN_TASKS], ids=["threads", "tasks"])
def test_sessions_in_flight_at_ctrl_c_are_no_failures_of_the_agent(kit: EvalKit, tmp_path: Path, program: str) -> None:
    """With 5 of 20 done, resuming gives the rate and the sums of the 5, and a warning that names the 15."""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "home")], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGINT, done.stderr
    assert "5 of 20 sessions: 5 succeeded, 0 failed, 15 interrupted; US$2.50. Nothing was recorded yet, and nothing is lost." in done.stderr
    with pytest.raises(RecorderError, match=r"holds 5 sessions: 5 succeeded, 0 failed, 15 interrupted; US\$2\.50\. Go on with it"):
        kit.recorder("study").__enter__()
    with pytest.warns(EvalkitWarning) as caught, kit.recorder("study", resume=True) as rec:
        pass
    (warning,) = [str(each.message) for each in caught]
    assert warning.startswith("15 sessions interrupted before the end, excluded from all rates and sums: ")
    assert set(warning.partition(": ")[2].rstrip(".").split(", ")) == {f"task {number}" for number in range(5, 20)}
    assert rec.checkpoint is not None
    metrics = rec.checkpoint.metrics
    assert (metrics.sessions_completed, metrics.session_success_rate, metrics.total_tokens, metrics.total_cost) == (5, 1.0, 50, 2.5)
    assert sorted(rec.checkpoint.sessions_included) == [f"task {number}" for number in range(5)]


def test_a_journal_of_an_earlier_version_is_resumed(kit: EvalKit, clock: Watch) -> None:
    """Word for word as that version wrote it: with a line for a session that is not counted."""
    study = kit.resolve("study")
    folder = kit.engine.settings.home / "recorder"
    folder.mkdir()
    ended = {"nanoseconds": 10**9, "succeeded": True, "reported": True, "iterations": 1, "tokens": 10, "cost": 0.5, "error": None}
    lines = [
        {"journal": "019c13a5-0000-7000-8000-000000000000", "study": "study", "begun": "2026-01-31T08:00:00Z", "period": None},
        *({"began": name} for name in ("done", "broken", "refused", "killed")),
        {"session": {"name": "done", **ended}},
        {"session": {"name": "broken", **ended, "succeeded": False, "error": "CancelledError", "iterations": None, "tokens": 1}},
        {"dropped": "refused"},
    ]
    (folder / f"{study.id}.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.warns(EvalkitWarning, match=r"^1 session interrupted .*: killed\.$"), recorder(kit, clock, resume=True) as rec:
        clock.move(10)
    assert [(one.name, one.succeeded) for one in rec.sessions] == [("done", True), ("broken", False)]
    assert rec.checkpoint is not None
    assert (rec.checkpoint.metrics.session_success_rate, rec.checkpoint.metrics.total_tokens) == (0.5, 11)


@pytest.mark.parametrize("error", [concurrent.futures.CancelledError(), Panic(), BaseExceptionGroup("both", [Panic(), ValueError()])])
def test_what_is_no_interruption_is_a_failure(kit: EvalKit, clock: Watch, error: BaseException) -> None:
    """A future that was canceled, and an error of another library that derives from BaseException, are failures of the session."""
    with recorder(kit, clock) as rec, pytest.raises(type(error)), rec.session("broken"):
        clock.move(1)
        raise error
    assert [(one.name, one.succeeded, one.error) for one in rec.sessions] == [("broken", False, type(error).__name__)]
    assert rec.checkpoint is not None
    assert rec.checkpoint.metrics.session_success_rate == 0


def test_a_group_with_an_interruption_is_one(kit: EvalKit, clock: Watch) -> None:
    """As asyncio's task groups raise Ctrl-C."""
    group = BaseExceptionGroup("tasks", [ValueError(), KeyboardInterrupt()])
    with pytest.warns(EvalkitWarning, match="1 session interrupted"), recorder(kit, clock) as rec:
        with pytest.raises(BaseExceptionGroup), rec.session("lost"):
            raise group
        with rec.session() as session:
            session.success()
    assert len(rec.sessions) == 1


@contextlib.contextmanager
def out_of_reach(kit: EvalKit, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a kit append nothing while the block runs."""

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise LogUnavailableError("The log is out of reach. Nothing was appended.")

    with monkeypatch.context() as patched:
        patched.setattr(kit, "record_checkpoint", refuse)
        yield


def test_what_was_interrupted_is_named_also_when_the_checkpoint_is_recorded_late(
    kit: EvalKit, clock: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block that ended could not warn: its end was an error."""

    with out_of_reach(kit, monkeypatch), pytest.raises(LogUnavailableError), recorder(kit, clock) as rec:
        with contextlib.suppress(KeyboardInterrupt), rec.session("lost"):
            raise KeyboardInterrupt
        with rec.session() as session:
            session.success()
    with pytest.warns(EvalkitWarning, match=r"^1 session interrupted .*: lost\.$"), recorder(kit, clock, resume=True) as rec:
        pass
    assert rec.checkpoint is not None
    assert rec.checkpoint.metrics.session_success_rate == 1


def test_out_of_turn_is_refused_in_words(kit: EvalKit, clock: Watch) -> None:
    """Outside the block, twice, nested, after the end: each message says what to type."""
    rec = recorder(kit, clock)
    for use in (rec.session, lambda: rec.track([]), lambda: rec.metrics(tool_success_rate=1)):
        with pytest.raises(RecorderError, match=r"belongs inside the block: with kit\.recorder\('study'\) as rec:"):
            use()
    with rec:
        early = rec.session("early")
        with pytest.raises(RecorderError, match="has not begun; report inside its with block"):
            early.success()
        with rec.session("one") as session:
            session.success()
            with pytest.raises(RecorderError, match="'one' reported a success already; report once in each session"):
                session.failure()
            with pytest.raises(RecorderError, match="'one' is still running here; leave its with block"), rec.session("two"):
                pass
        with pytest.raises(RecorderError, match="is over; report inside its with block"):
            session.success()
        with pytest.raises(RecorderError, match="was used already; begin another one"), session:
            pass
        with pytest.raises(InvalidInputError, match="Invalid name '': is empty"):
            rec.session("")
    with pytest.raises(RecorderError, match=r"was used already; make another one: kit\.recorder\('study'\)"), rec:
        pass
    with pytest.raises(RecorderError, match="belongs inside the block"):
        rec.session()
    assert [one.name for one in rec.sessions] == ["one"]


def test_metrics_are_checked_when_they_are_given(kit: EvalKit, clock: Watch) -> None:
    """One that comes from the sessions, one that is none, and one out of its range are refused; None takes a value back."""
    with recorder(kit, clock) as rec:
        with pytest.raises(
            InvalidInputError, match=r"Invalid total_cost 5: cannot be given: it comes from the sessions\. You can give agent_efficiency"
        ):
            rec.metrics(total_cost=5)
        with pytest.raises(InvalidInputError, match=r"Invalid tool_sucess_rate 1: is for no metric\..*Did you mean 'tool_success_rate'\?"):
            rec.metrics(tool_sucess_rate=1)
        with pytest.raises(InvalidInputError, match=r"A percentage\? Divide it by 100: 0\.9\."):
            rec.metrics(agent_efficiency=0.5, tool_success_rate=90)
        rec.metrics(learnings_applied=3)
        rec.metrics(learnings_applied=None, agent_efficiency=0.25)
    assert rec.checkpoint is not None
    assert (rec.checkpoint.metrics.learnings_applied, rec.checkpoint.metrics.agent_efficiency) == (None, 0.25)


# --- threads, tasks, forks ------------------------------------------------------------------------------------------------------------


def test_sessions_may_overlap_in_threads(kit: EvalKit) -> None:
    """Eight agents at once lose no session, and each has its own name."""
    with kit.recorder("study") as rec:

        def work() -> None:
            for _ in range(20):
                with rec.session("task") as session:
                    session.success(iterations=1, tokens=1, cost=0.5)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert rec.checkpoint is not None
    assert (rec.checkpoint.metrics.sessions_completed, rec.checkpoint.metrics.total_tokens) == (160, 160)
    assert len(set(rec.checkpoint.sessions_included)) == 160


def test_a_session_that_outlives_the_block_is_not_counted(kit: EvalKit, clock: Watch) -> None:
    """It is named in a warning, and its own end is refused in words."""
    with (
        pytest.warns(EvalkitWarning, match="1 session interrupted before the end, excluded from all rates and sums: late"),
        recorder(kit, clock) as rec,
    ):
        with rec.session() as session:
            session.success()
        late = threading.Thread(target=lambda: stack.enter_context(rec.session("late")))
        stack = contextlib.ExitStack()
        late.start()
        late.join()
    with pytest.raises(RecorderError, match="The end of the session 'late' belongs inside the block"):
        stack.close()
    assert rec.checkpoint is not None
    assert rec.checkpoint.metrics.sessions_completed == 1


def test_a_forked_process_leaves_the_journal_alone(kit: EvalKit, clock: Watch) -> None:
    """A child cannot report, does not hold the lock, and its end changes nothing, be it that it leaves the block."""
    with recorder(kit, clock) as rec:

        def work() -> None:
            with contextlib.suppress(RecorderError), rec.session():
                os._exit(1)
            with pytest.warns(EvalkitWarning, match="No session ended"):
                rec.__exit__(None, None, None)
            assert len(files(kit)) == 2

        assert exit_code(in_fork(work)) == 0
        with rec.session() as session:
            session.success()
        with pytest.raises(RecorderError, match="is being recorded already in this process"), recorder(kit, clock):
            pass
    assert rec.checkpoint is not None


HELD = """
import os, sys, time, evalkit
rec = evalkit.connect(sys.argv[1]).recorder("study", progress=False).__enter__()
if child := os.fork():
    print(child, flush=True)
time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_killed_process_holds_no_lock_through_those_that_it_forked(kit: EvalKit, tmp_path: Path) -> None:
    """Its workers may live on; another recorder starts all the same."""
    with subprocess.Popen([sys.executable, "-c", HELD, str(tmp_path / "home")], stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())  # type: ignore[union-attr]
        try:
            with pytest.raises(RecorderError, match=f"by process {process.pid}"):
                kit.recorder("study").__enter__()
            process.kill()
            process.wait()
            with kit.recorder("study") as rec, rec.session() as session:
                session.success()
        finally:
            os.kill(child, signal.SIGKILL)
    assert rec.checkpoint is not None


# --- what is left ---------------------------------------------------------------------------------------------------------------------


def test_a_block_that_an_exception_ended_is_offered_again(kit: EvalKit, clock: Watch) -> None:
    """Nothing is recorded; the exception and the next recorder say what there is and what to type; resuming counts on."""
    with pytest.raises(KeyError) as caught, recorder(kit, clock) as rec:
        with rec.session() as session:
            session.success(iterations=1, tokens=10, cost=0.25)
        clock.move(1)
        raise KeyError("the loop's own")
    (note,) = caught.value.__notes__
    assert note == (
        "evalkit: 1 session: 1 succeeded, 0 failed; US$0.25. Nothing was recorded yet, and nothing is lost. Go on: kit.recorder('study', "
        "resume=True); or set it aside: kit.recorder('study', resume=False)"
    )
    assert kit.checkpoints().height == 0
    with pytest.raises(RecorderError) as offered, recorder(kit, clock):
        pass
    assert str(offered.value) == (
        "A block of 'study' that began on 2026-01-31 08:00 UTC did not end. Its journal holds 1 session: 1 succeeded, 0 failed; US$0.25. "
        "Go on with it: kit.recorder('study', resume=True); or set it aside: kit.recorder('study', resume=False)"
    )
    clock.move(3600)
    with recorder(kit, clock, resume=True) as rec:
        assert [one.name for one in rec.sessions] == ["2026-01-31T08:00:00Z #1"]
        with rec.session() as session:
            session.failure(tokens=1, cost=1)
    assert rec.checkpoint is not None
    assert rec.checkpoint.sessions_included == ["2026-01-31T08:00:00Z #1", "2026-01-31T08:00:00Z #2"]
    assert (rec.checkpoint.metrics.period.start, rec.checkpoint.metrics.period.end) == (BEGUN, BEGUN + timedelta(seconds=3601))
    assert rec.checkpoint.metrics.total_cost == 1.25
    assert files(kit) == []


def test_a_block_that_ends_before_anything_happened_leaves_nothing(kit: EvalKit, clock: Watch) -> None:
    """There is nothing to ask about."""
    with pytest.raises(KeyError), recorder(kit, clock):
        raise KeyError
    assert files(kit) == []


def test_a_journal_that_is_set_aside_is_kept_under_another_name(kit: EvalKit, clock: Watch) -> None:
    """The new block begins from nothing, and no journal is deleted, however many are set aside."""
    for number in (1, 2):
        leave_a_journal(kit, clock, number)
        with recorder(kit, clock, resume=False) as rec, rec.session() as session:
            session.success()
        assert rec.checkpoint is not None
        assert rec.checkpoint.metrics.sessions_completed == 1
    assert files(kit) == [f"{rec.study.id}.set-aside-1.ndjson", f"{rec.study.id}.set-aside-2.ndjson"]


def test_resuming_where_nothing_was_left_begins_anew(kit: EvalKit, clock: Watch) -> None:
    """So a nightly script may always say resume=True."""
    with recorder(kit, clock, resume=True) as rec, rec.session() as session:
        session.success()
    assert rec.checkpoint is not None


def test_a_resumed_block_keeps_its_period(kit: EvalKit, clock: Watch) -> None:
    """The one that it was begun with; another one is refused, and nothing is lost by that."""
    week = (BEGUN - timedelta(days=7), BEGUN)
    leave_a_journal(kit, clock, period=week)
    with pytest.raises(InvalidInputError, match=r"is not that of the journal, 2026-01-24T08:00:00Z to 2026-01-31T08:00:00Z\. Leave it out"):
        recorder(kit, clock, resume=True, period=(BEGUN, BEGUN + timedelta(days=7))).__enter__()
    with recorder(kit, clock, resume=True) as rec:
        pass
    assert rec.checkpoint is not None
    assert (rec.checkpoint.metrics.period.start, rec.checkpoint.metrics.period.end) == week


@pytest.mark.slow
def test_a_torn_last_line_is_no_obstacle(kit: EvalKit, clock: Watch) -> None:
    """A journal cut anywhere gives the sessions whose lines are whole, and takes the next line on a line of its own."""
    leave_a_journal(kit, clock, 3)
    (name,) = files(kit)
    path = kit.engine.settings.home / "recorder" / name
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        expected = [json.loads(line)["session"]["name"] for line in whole[:length].split(b"\n")[:-1] if line.startswith(b'{"session"')]
        rec = recorder(kit, clock, resume=True)
        with pytest.raises(KeyError), rec:
            assert [one.name for one in rec.sessions] == expected
            rec.metrics(tool_success_rate=0.5)
            raise KeyError
        assert path.read_bytes().endswith(b'}\n{"metrics": {"tool_success_rate": 0.5}}\n')


@pytest.mark.parametrize("damage", [b"{}", b"no JSON", b'{"session": {"name": "x"}}', b"[]", b"\xff"])
def test_a_damaged_journal_is_left_as_it_is_and_named(kit: EvalKit, clock: Watch, damage: bytes) -> None:
    """Whatever stands in a line before the last; setting it aside goes on without it."""
    leave_a_journal(kit, clock)
    (name,) = files(kit)
    path = kit.engine.settings.home / "recorder" / name
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:2], damage, *lines[2:]]))
    before = path.read_bytes()
    with pytest.raises(RecorderError, match=r"cannot be read in line 3\. .*resume=False"), recorder(kit, clock, resume=True):
        pass
    assert path.read_bytes() == before
    with recorder(kit, clock, resume=False) as rec, rec.session() as session:
        session.success()


def test_a_checkpoint_that_could_not_be_recorded_is_recorded_once_later(
    kit: EvalKit, clock: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says that nothing is lost and what to type; what is recorded is what the block ended with, however often it is tried."""

    with out_of_reach(kit, monkeypatch):
        with pytest.raises(LogUnavailableError) as caught, recorder(kit, clock) as rec, rec.session() as session:
            session.success()
            clock.move(5)
        with pytest.raises(LogUnavailableError), recorder(kit, clock, resume=True):
            pass
    assert str(caught.value) == (
        "The log is out of reach. Nothing was appended. Nothing is lost: the journal holds 1 session: 1 succeeded, 0 failed. Record it, once "
        "and for all, however often you try: with kit.recorder('study', resume=True): pass"
    )
    clock.move(1000)
    with pytest.raises(RecorderError, match=r"ended, but may not be recorded\. .* Record it: kit\.recorder\('study', resume=True\)"):
        recorder(kit, clock).__enter__()
    with recorder(kit, clock, resume=True) as rec:
        pass
    assert rec.checkpoint is not None
    assert rec.checkpoint.metrics.period.end == BEGUN + timedelta(seconds=5)
    assert kit.checkpoints().height == 1
    assert files(kit) == []


def test_what_is_recorded_late_and_the_new_block_are_two_checkpoints(kit: EvalKit, clock: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions of the next block are not mixed into one that had ended."""
    with monkeypatch.context() as patched:
        patched.setattr("evalkit.recording.journal.Journal.remove", lambda self: None)
        with recorder(kit, clock) as rec, rec.session() as session:
            session.success()
            clock.move(5)
    first = rec.checkpoint
    clock.move(5)
    with recorder(kit, clock, resume=True) as rec:
        assert rec.checkpoint is not None
        assert (rec.checkpoint.id, rec.checkpoint.already_recorded) == (first.id, True)  # type: ignore[union-attr]
        with rec.session() as session:
            session.failure()
            clock.move(1)
    assert rec.checkpoint.metrics.period.start == BEGUN + timedelta(seconds=10)
    assert kit.checkpoints()["sessions_completed"].to_list() == [1, 1]


def test_the_journal_is_in_the_home_also_when_the_engines_are_elsewhere(tmp_path: Path) -> None:
    """A home that is not there yet is made for it, readable by its owner alone."""
    engines = {"log_url": f"sqlite:{tmp_path / 'events.db'}", "database_url": f"file:{tmp_path / 'evalkit.db'}"}
    with evalkit.connect(tmp_path / "home", **engines) as kit:
        kit.start_study(kit.create_study("study"))
        shutil.rmtree(tmp_path / "home", ignore_errors=True)
        with kit.recorder("study") as rec, rec.session() as session:
            session.success()
            assert files(kit) == [f"{rec.study.id}.lock", f"{rec.study.id}.ndjson"]
    assert rec.checkpoint is not None
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700


def test_a_journal_that_cannot_be_written_says_so(kit: EvalKit, clock: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full fails the session in words; what was written before stays whole, and is offered again."""
    with pytest.raises(RecorderError, match=r"cannot be kept: No space left on device\. Make room"), recorder(kit, clock) as rec:
        with rec.session() as session:
            session.success()

        def full(file: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("evalkit.recording.journal.os.fsync", full)
        with rec.session():
            pass
    monkeypatch.undo()
    with recorder(kit, clock, resume=True) as rec:
        assert len(rec.sessions) == 1
    (kit.engine.settings.home / "recorder").rmdir()
    (kit.engine.settings.home / "recorder").write_text("in the way")
    with pytest.raises(RecorderError, match="cannot be kept: File exists"):
        recorder(kit, clock).__enter__()


# --- processes that die ---------------------------------------------------------------------------------------------------------------


def run_session(child: Child, name: str) -> None:
    child.tell(name)
    assert child.hear() == "began"
    child.tell()
    assert child.hear() == "ended"


@pytest.mark.slow
def test_a_process_killed_in_a_session_loses_that_session_alone(kit: EvalKit, tmp_path: Path) -> None:
    """After a SIGKILL the lock is no obstacle, what was acknowledged is there, and what was running is named and not counted."""
    with Child("record_sessions", tmp_path / "home", resume=None) as child:
        assert child.hear() == []
        for name in ("one", "two"):
            run_session(child, name)
        child.tell("three")
        assert child.hear() == "began"
        with pytest.raises(RecorderError, match=f"is being recorded already by process {child.pid}"):
            kit.recorder("study").__enter__()
        child.kill()
    assert kit.checkpoints().height == 0
    with pytest.raises(RecorderError, match=r"2 sessions: 2 succeeded, 0 failed, 1 interrupted; US\$1\.00\."):
        kit.recorder("study").__enter__()
    with Child("record_sessions", tmp_path / "home", resume=True) as child:
        assert child.hear() == ["one", "two"]
        run_session(child, "four")
        child.kill()
    with (
        pytest.warns(EvalkitWarning, match=r"^1 session interrupted before the end, excluded from all rates and sums: three\.$"),
        kit.recorder("study", resume=True) as rec,
    ):
        pass
    assert rec.checkpoint is not None
    assert rec.checkpoint.sessions_included == ["one", "two", "four"]
    assert rec.checkpoint.metrics.session_success_rate == 1
    assert (rec.checkpoint.metrics.total_tokens, rec.checkpoint.metrics.total_cost) == (30, 1.5)
    assert files(kit) == []


@pytest.mark.slow
def test_a_process_killed_between_recording_and_cleaning_up_records_once(kit: EvalKit, tmp_path: Path) -> None:
    """The journal is there still, and recording it again finds the same checkpoint."""
    with Child("record_sessions", tmp_path / "home", resume=None, wait_before_cleanup=True) as child:
        assert child.hear() == []
        run_session(child, "one")
        child._process.stdin.close()  # type: ignore[union-attr]
        assert child.hear() == "recorded"
        child.kill()
    assert kit.checkpoints().height == 1
    with pytest.raises(RecorderError, match="ended, but may not be recorded"):
        kit.recorder("study").__enter__()
    with kit.recorder("study", resume=True) as rec:
        pass
    assert rec.checkpoint is not None
    assert rec.checkpoint.already_recorded
    assert kit.checkpoints()["checkpoint_id"].to_list() == [rec.checkpoint.id]
    assert files(kit) == []


# --- what is shown --------------------------------------------------------------------------------------------------------------------


def test_the_tally_says_how_far_it_is() -> None:
    """Counts, the plan where there is one, and the cost where it was reported."""

    def ended(succeeded: int, failed: int, cost: float | None = None) -> list[SessionRecord]:
        records = [SessionRecord(name=str(number), nanoseconds=1, succeeded=number < succeeded) for number in range(succeeded + failed)]
        return records if cost is None else [dataclasses.replace(records[0], cost=cost), *records[1:]]

    assert tally(ended(0, 0)) == "0 sessions: 0 succeeded, 0 failed"
    assert tally(ended(1, 0)) == "1 session: 1 succeeded, 0 failed"
    assert tally(ended(1100, 34, 1234.5), 2000) == "1,134 of 2,000 sessions: 1,100 succeeded, 34 failed; US$1,234.50"
    assert tally(ended(1, 0, 0.0), 3) == "1 of 3 sessions: 1 succeeded, 0 failed; US$0.00"


def test_a_recorder_shows_only_what_its_users_need(kit: EvalKit, clock: Watch) -> None:
    """What sessions call on it is private."""
    names = {name for name in dir(recorder(kit, clock)) if not name.startswith("_")}
    assert names == {"checkpoint", "metrics", "session", "sessions", "study", "track"}


def test_reprs_hold_no_clock(kit: EvalKit, clock: Watch) -> None:
    """What a cell shows is the same in every run."""
    with recorder(kit, clock) as rec:
        assert repr(rec) == "Recorder('study', 0 sessions)"
        with rec.session("one") as session:
            assert repr(session) == "Session('one')"
            assert isinstance(session, Session)
            session.success()
    assert repr(rec) == "Recorder('study', 1 session)"


WITHOUT_WIDGETS = """
import sys
blocked = ("IPython", "altair", "ipywidgets", "pandas", "traitlets")
sys.modules.update(dict.fromkeys(blocked))  # importing one of them raises ImportError
import evalkit
with evalkit.connect(sys.argv[1]).recorder("study") as rec:
    for task in rec.track(range(3)):
        with rec.session() as s:
            s.success(cost=0.5)
print(rec.checkpoint.metrics.total_cost, [name for name in blocked if sys.modules[name] is not None])
"""


@pytest.mark.slow
def test_recording_needs_no_widgets(kit: EvalKit, tmp_path: Path) -> None:
    """A script or cron job records where neither ipywidgets nor IPython nor Altair can be imported."""
    command = [sys.executable, "-W", "error", "-c", WITHOUT_WIDGETS, str(tmp_path / "home")]
    assert subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout == "1.5 []\n"


IN_A_TERMINAL = """
import sys, evalkit
with evalkit.connect(sys.argv[1]).recorder("study") as rec:
    for task in rec.track(range(3)):
        with rec.session() as s:
            s.success(cost=0.5)
"""


@pytest.mark.slow
def test_nothing_is_shown_where_nobody_would_see_it(kit: EvalKit, tmp_path: Path) -> None:
    """Without a terminal and without a kernel both streams stay empty."""
    command = [sys.executable, "-W", "error", "-c", IN_A_TERMINAL, str(tmp_path / "home")]
    done = subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"", b"")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_terminal_shows_a_bar_and_at_last_one_line(kit: EvalKit, tmp_path: Path) -> None:
    """The line that stays says what was recorded."""
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-W", "error", "-c", IN_A_TERMINAL, str(tmp_path / "home")]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(ours, 4096):
            shown += part
    os.close(ours)
    assert process.wait(60) == 0, shown
    assert "3 of 3 sessions: 3 succeeded, 0 failed; US$1.50" in shown.decode()
    assert shown.decode().rstrip().endswith("Recorded in 'study': 3 of 3 sessions: 3 succeeded, 0 failed; US$1.50.")


MARKUP = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
IN_A_NOTEBOOK = [
    f"import evalkit\nkit = evalkit.connect('home')\nkit.start_study(kit.create_study({MARKUP!r}))",
    f"""
    import ipywidgets
    before = len(ipywidgets.widgets.widget._instances)
    with kit.recorder({MARKUP!r}) as rec:
        for task in rec.track(range(2)):
            with rec.session() as s:
                s.success(cost=0.5)
        shown = rec._bar._shown
        line = rec._bar._line.value
    after = len(ipywidgets.widgets.widget._instances)
    """,
    "print(sorted(shown), shown['text/plain'], line, after - before, sep='\\n')",
]


@pytest.mark.slow
def test_a_notebook_shows_a_bar_and_keeps_a_line(tmp_path: Path) -> None:
    """What is saved is text that needs no kernel, whatever the study's name; while it runs the bar has a text beside it for others."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    cells = [nbformat.v4.new_code_cell(textwrap.dedent(source)) for source in IN_A_NOTEBOOK]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    (output,) = cells[1].outputs
    told = f"Recorded in {MARKUP!r}: 2 of 2 sessions: 2 succeeded, 0 failed; US$1.00."
    assert output["data"] == {"text/plain": told}
    kinds, text, line, left = cells[2].outputs[0]["text"].splitlines()
    assert kinds == "['application/vnd.jupyter.widget-view+json', 'text/plain']"
    assert text == f"Recording {MARKUP!r}."
    assert re.fullmatch(r"<span>2 of 2 sessions: 2 succeeded, 0 failed; US\$1\.00; 0:00:0\d</span>", line)
    assert left == "0"


def test_a_generator_that_is_left_after_its_session_reported_is_no_failure(tmp_path: Path) -> None:
    """``break`` in a loop over sessions ends the generator with GeneratorExit; before the report that is an interruption."""
    kit = evalkit.connect(tmp_path / "home")
    kit.create_study("agent")
    kit.start_study("agent")
    with pytest.warns(EvalkitWarning, match=r"1 session interrupted .*: .* #2\."), kit.recorder("agent", progress=False) as rec:

        def sessions() -> Iterator[Any]:
            while True:
                with rec.session() as session:
                    yield session

        coming = sessions()
        next(coming).success()
        coming.close()
        unreported = sessions()
        next(unreported)
        unreported.close()
    assert [(one.succeeded, one.error) for one in rec.sessions] == [(True, None)]
