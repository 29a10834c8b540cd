"""Commands: what they do, what they refuse, and what running a cell again does."""

from __future__ import annotations

import copy
import pickle
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import evalkit
from evalkit import ConflictError, EvalKit, EvalkitWarning, InvalidInputError, OutcomeUnknownError, PeriodType, StudyStatus, TransitionError
from evalkit.domain.commands import lifecycle_event
from evalkit.domain.events import EncodedEvent
from evalkit.domain.ids import milliseconds
from evalkit.errors import DatabaseBusyError, LogMismatchError

DAY = datetime(2026, 1, 1, tzinfo=UTC)
LONG_AGO = datetime(2025, 6, 1, 12, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[EvalKit]:
    with evalkit.connect(tmp_path / "home") as kit:
        yield kit


@pytest.fixture
def running(kit: EvalKit) -> evalkit.Study:
    kit.create_study("running", period="weekly:8", at=LONG_AGO)
    return kit.start_study("running", at=LONG_AGO)


def week(number: int, **metrics: Any) -> dict[str, Any]:
    return {"period": (DAY + timedelta(weeks=number), DAY + timedelta(weeks=number + 1)), **metrics}


def test_a_study_goes_through_its_lifecycle(kit: EvalKit) -> None:
    """Created pending, then running, paused, running, stopped; each command answers with the study as it is then."""
    study = kit.create_study("one", period=(PeriodType.WEEKLY, 8), description="d", tags=["a", "b"], metadata={"model": "m-1"})
    assert (study.status, study.period, study.config.tags, study.config.metadata) == ("pending", "weekly:8", ["a", "b"], {"model": "m-1"})
    assert study.started_at is None
    steps = [kit.start_study(study), kit.pause_study("one"), kit.resume_study(study.id), kit.stop_study(study.id[-6:])]
    assert [step.status for step in steps] == ["running", "paused", "running", "stopped"]
    assert steps[-1].started_at == steps[0].started_at is not None
    assert steps[-1].stopped_at is not None
    assert kit.lifecycle()["kind"].to_list() == ["study_created", "study_started", "study_paused", "study_resumed", "study_stopped"]
    assert kit.lifecycle()["seq"].to_list() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("status", list(StudyStatus))
@pytest.mark.parametrize("command", ["start", "pause", "resume", "stop"])
def test_only_the_legal_transitions_are_taken(kit: EvalKit, status: StudyStatus, command: str) -> None:
    """In each status, exactly the commands of the lifecycle table succeed; the others raise and append nothing."""
    legal = {"pending": {"start", "stop"}, "running": {"pause", "stop"}, "paused": {"resume", "stop"}, "stopped": set()}
    way = {"pending": [], "running": ["start"], "paused": ["start", "pause"], "stopped": ["stop"]}[status]
    kit.create_study("one")
    for step in way:
        getattr(kit, f"{step}_study")("one")
    before = kit.status().events
    if command in legal[status]:
        getattr(kit, f"{command}_study")("one")
        assert kit.status().events == before + 1
    else:
        with pytest.raises(TransitionError) as raised:
            getattr(kit, f"{command}_study")("one")
        assert (raised.value.status, raised.value.command) == (status, command)
        assert kit.status().events == before


def test_creating_again_opens_or_refuses(kit: EvalKit) -> None:
    """A taken name is an error, or with if_exists="open" the study itself; another period is warned of."""
    study = kit.create_study("one", period="weekly:8")
    assert kit.create_study("one", period="weekly:8", if_exists="open") == study
    with pytest.raises(evalkit.StudyExistsError, match='if_exists="open"'):
        kit.create_study("one")
    with pytest.warns(EvalkitWarning, match="'weekly:8'; the period given now is ignored"):
        assert kit.create_study("one", period="daily", if_exists="open") == study
    assert kit.status().events == 1


def test_an_event_carries_the_time_that_it_was_given(kit: EvalKit) -> None:
    """`at` is the time inside the event id, to the millisecond, and the only time of a lifecycle event."""
    cut = LONG_AGO.replace(microsecond=123000)
    assert kit.create_study("one", at=LONG_AGO).created_at == cut
    assert kit.start_study("one", at="2025-06-01T14:30:15.124+02:00").started_at == cut + timedelta(milliseconds=1)
    checkpoint = kit.record_checkpoint("one", week(0), at=LONG_AGO)
    assert checkpoint.recorded_at == cut
    assert kit.checkpoints()["recorded_at"].to_list() == [cut]


def test_a_clock_that_is_behind_does_not_stop_the_study(kit: EvalKit) -> None:
    """Without `at`, a command takes the study's last time where another machine's clock ran ahead of this one's."""
    ahead = datetime.now(UTC) + timedelta(minutes=4)
    kit.create_study("one", at=ahead)
    started = kit.start_study("one")
    assert started.started_at == started.created_at


def test_what_is_recorded_comes_back(kit: EvalKit, running: evalkit.Study) -> None:
    """A checkpoint is given back as it was recorded, and again by every query."""
    metrics = week(
        0, sessions_completed=40, session_success_rate=0.1 + 0.2, avg_session_duration=timedelta(seconds=1.5), total_tokens=2**53 + 1
    )
    made = kit.record_checkpoint(
        running, metrics, timestamp=DAY + timedelta(days=8), events_analyzed=7, sessions_included=["a", 'b "quoted" é😀'], key="w0"
    )
    assert made.metrics.session_success_rate == 0.1 + 0.2
    assert made.metrics.total_tokens == 2**53 + 1
    assert made.metrics.total_cost is None
    assert made.id == str(uuid.uuid5(uuid.UUID(running.id), "w0"))
    assert kit.storage.get_checkpoints(running.id) == [made] == [kit.storage.get_latest_checkpoint(running.id)]
    row = kit.checkpoints().row(0, named=True)
    assert (row["total_tokens"], row["session_success_rate"], row["total_cost"]) == (2**53 + 1, 0.1 + 0.2, None)
    assert row["avg_session_duration"] == timedelta(seconds=1.5)
    assert (row["timestamp"], row["events_analyzed"], row["sessions_included"]) == (DAY + timedelta(days=8), 7, ["a", 'b "quoted" é😀'])


def test_the_same_key_records_once(kit: EvalKit, running: evalkit.Study) -> None:
    """The same content under the same key appends nothing and says so; other content is a conflict; another study has its own keys."""
    first = kit.record_checkpoint(running, week(0, total_tokens=5), key="w0")
    again = kit.record_checkpoint(running, week(0, total_tokens=5), key="w0")
    assert (first.already_recorded, again.already_recorded) == (False, True)
    assert again.id == first.id
    assert "already recorded" in repr(again)
    with pytest.raises(ConflictError, match="other content"):
        kit.record_checkpoint(running, week(0, total_tokens=6), key="w0")
    kit.create_study("other")
    kit.start_study("other")
    assert kit.record_checkpoint("other", week(0, total_tokens=6), key="w0").id != first.id
    assert kit.checkpoints().height == 2
    assert kit.rejected().height == 0


def test_a_repeated_period_without_a_key_is_warned_of(kit: EvalKit, running: evalkit.Study) -> None:
    """It is recorded, since two checkpoints of one period may be meant, and the warning names `key` and points to the caller's line."""
    kit.record_checkpoint(running, week(0))
    with pytest.warns(EvalkitWarning, match="Give each checkpoint a key") as caught:
        kit.record_checkpoint(running, week(0))
    assert caught[0].filename == __file__
    assert kit.checkpoints().height == 2
    rows = [{"period_start": DAY + timedelta(days=90), "period_end": DAY + timedelta(days=91)}] * 2
    with pytest.warns(EvalkitWarning, match="1 such in all"):
        kit.record_checkpoints(running, rows)
    with pytest.warns(EvalkitWarning, match="2 such in all"):  # each of them repeats what is recorded
        kit.record_checkpoints(running, rows)


def test_a_checkpoint_of_a_study_in_any_status_after_its_start(kit: EvalKit, running: evalkit.Study) -> None:
    """Late data is normal: a paused or stopped study takes checkpoints."""
    kit.pause_study(running)
    kit.record_checkpoint(running, week(0))
    kit.stop_study(running)
    kit.record_checkpoint(running, week(1))
    assert kit.checkpoints(running).height == 2


def day(number: int, **values: Any) -> dict[str, Any]:
    return {"period_start": DAY + timedelta(days=number - 1), "period_end": DAY + timedelta(days=number), "key": f"d{number}", **values}


ROWS = [
    day(1, total_tokens=5, session_success_rate=0.5, total_cost=None),
    day(2, total_tokens=None, session_success_rate=1),
    day(3, avg_session_duration=2.5, events_analyzed=3),
]


@pytest.mark.parametrize("make", [list, pl.DataFrame, pd.DataFrame], ids=["list", "polars", "pandas"])
def test_many_at_once_from_a_frame_or_a_list(kit: EvalKit, running: evalkit.Study, make: Any) -> None:
    """A list, a Polars and a Pandas frame of the same rows record the same; running it again records nothing."""
    result = kit.record_checkpoints(running, make(ROWS))
    assert (result.recorded, result.already_recorded, len(result.checkpoint_ids)) == (3, 0, 3)
    frame = kit.checkpoints(running)
    assert frame["total_tokens"].to_list() == [5, None, None]
    assert frame["session_success_rate"].to_list() == [0.5, 1.0, None]
    assert frame["avg_session_duration"].to_list() == [None, None, timedelta(seconds=2.5)]
    assert frame["events_analyzed"].to_list() == [0, 0, 3]
    assert frame["timestamp"].to_list() == frame["period_end"].to_list()
    again = kit.record_checkpoints(running, make([*ROWS, {**ROWS[0], "key": "d4"}]))
    assert (again.recorded, again.already_recorded) == (1, 3)
    assert repr(again) == "RecordedCheckpoints(1 recorded, 3 already recorded)"


def test_a_frame_with_one_bad_row_is_refused_whole(kit: EvalKit, running: evalkit.Study) -> None:
    """The error names the row and the column, and nothing of the frame is in the log."""
    before = kit.status().events
    with pytest.raises(evalkit.InvalidInputError, match=r"row 1, total_cost: -1") as raised:
        kit.record_checkpoints(running, pl.DataFrame([ROWS[0] | {"total_cost": 1.0}, ROWS[1] | {"total_cost": -1.0}]))
    assert (raised.value.row, raised.value.field) == (1, "total_cost")
    assert kit.status().events == before


def test_an_empty_frame_records_nothing(kit: EvalKit, running: evalkit.Study) -> None:
    """No rows are no error."""
    assert kit.record_checkpoints(running, []).recorded == 0
    assert kit.record_checkpoints(running, kit.checkpoints()).recorded == 0


def test_a_frame_of_one_study_can_be_recorded_in_another(kit: EvalKit, running: evalkit.Study) -> None:
    """What `kit.checkpoints()` gives is taken as it is, in both libraries, and comes back equal but for its ids."""
    kit.record_checkpoints(running, ROWS)
    for name, backend in (("copy", "polars"), ("twin", "pandas")):
        kit.create_study(name, period="weekly:8")
        kit.start_study(name)
        kit.record_checkpoints(name, kit.checkpoints(running, backend=backend))
        ids = ["study_id", "study", "checkpoint_id"]
        assert kit.checkpoints(name).drop(ids).equals(kit.checkpoints(running).drop(ids))


def _append_behind(kit: EvalKit, event: str) -> None:
    """Append an event between a command's check and its append, as another process might."""
    log = kit.engine.log
    append = log.append

    def late(messages: list[EncodedEvent]) -> Any:
        log.append = append  # type: ignore[method-assign]
        other = evalkit.connect(kit.engine.settings.home)
        eval(event, {"other": other, "week": week})
        other.close()
        return append(messages)

    log.append = late  # type: ignore[method-assign]


def test_a_lost_race_is_never_reported_as_success(kit: EvalKit, running: evalkit.Study) -> None:
    """Both events are in the log, the first one won, and the loser is told what happened and what the study is now."""
    _append_behind(kit, "other.pause_study('running')")
    with pytest.raises(ConflictError, match=r"quicker.*study_paused is not allowed when the study is paused.*resume_study") as raised:
        kit.pause_study(running)
    assert raised.value.reason == "transition not allowed"
    assert kit.rejected()["event_id"].to_list() == [raised.value.event_id]


def test_a_lost_race_for_a_key_is_told_by_content(kit: EvalKit, running: evalkit.Study) -> None:
    """When another process recorded the same content under the key, it is recorded; other content is a conflict."""
    _append_behind(kit, "other.record_checkpoint('running', week(0, total_tokens=5), key='w0')")
    assert kit.record_checkpoint(running, week(0, total_tokens=5), key="w0").already_recorded
    _append_behind(kit, "other.record_checkpoint('running', week(1, total_tokens=5), key='w1')")
    with pytest.raises(ConflictError, match="other content"):
        kit.record_checkpoint(running, week(1, total_tokens=6), key="w1")
    assert kit.checkpoints()["total_tokens"].to_list() == [5, 5]
    assert kit.rejected()["reason"].to_list() == ["checkpoint id taken"] * 2


def test_an_unknown_outcome_can_be_asked_for_again(kit: EvalKit, running: evalkit.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the read model cannot be reached after the append, the error says not to repeat, and the kit answers later."""

    def busy(*_: object) -> Any:
        raise DatabaseBusyError("The read model stayed locked.")

    with monkeypatch.context() as patched:
        append = kit.engine.log.append

        def append_then_lose(messages: list[EncodedEvent]) -> Any:
            positions = append(messages)
            patched.setattr(kit.engine.database, "batch", busy)
            return positions

        patched.setattr(kit.engine.log, "append", append_then_lose)
        with pytest.raises(OutcomeUnknownError, match="Do not repeat") as first:
            kit.pause_study(running)
        with pytest.raises(OutcomeUnknownError) as still:
            kit.outcome(first.value)
    assert still.value.event_ids == first.value.event_ids
    study = kit.outcome(first.value)
    assert isinstance(study, evalkit.Study)
    assert study.status == "paused"
    assert kit.lifecycle()["kind"].to_list().count("study_paused") == 1


def test_an_outcome_that_stays_unknown_is_told_in_the_end(
    kit: EvalKit, running: evalkit.Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """However often it was asked for in vain, a lost race is never reported as success; and another log is told in words."""

    def busy(*_: object) -> Any:
        raise DatabaseBusyError("The read model stayed locked.")

    with monkeypatch.context() as patched:
        append = kit.engine.log.append

        def append_behind_and_lose(messages: list[EncodedEvent]) -> Any:
            append([lifecycle_event("study_stopped", running.id, milliseconds(datetime.now(UTC))).encoded()])
            patched.setattr(kit.engine.database, "batch", busy)
            return append(messages)

        patched.setattr(kit.engine.log, "append", append_behind_and_lose)
        with pytest.raises(OutcomeUnknownError) as raised:
            kit.pause_study(running)
        for _ in range(2):
            error = raised.value
            with pytest.raises(OutcomeUnknownError) as raised:
                kit.outcome(error)
    with pytest.raises(ConflictError):
        kit.outcome(error)
    with evalkit.connect(tmp_path / "other home") as other:
        other.create_study("other")
        with pytest.raises(LogMismatchError, match="does not hold the event"):
            other.outcome(error)


def test_an_event_id_that_another_study_has_too_decides_nothing(kit: EvalKit, running: evalkit.Study) -> None:
    """The outcome of a command is that of its own event in its own study, whatever events of others share its id."""
    other = kit.create_study("another study")
    append = kit.engine.log.append

    def append_between(messages: Any) -> Any:
        append([lifecycle_event("study_stopped", running.id, milliseconds(datetime.now(UTC))).encoded()])
        positions = append(messages)
        twin = messages[0].data.replace(running.id.encode(), other.id.encode()).replace(b"study_paused", b"study_started")
        append([EncodedEvent(other.id, messages[0].event_id, twin)])
        return positions

    kit.engine.log.append = append_between  # type: ignore[method-assign]
    with pytest.raises(ConflictError, match="not allowed"):
        kit.pause_study(running)
    assert set(kit.studies()["status"]) == {"stopped", "running"}


def test_content_that_differs_in_nanoseconds_is_other_content(kit: EvalKit, running: evalkit.Study) -> None:
    """Durations are compared as they are on the wire; and they are whole in pickles and copies."""
    first = kit.record_checkpoint(running, week(0, avg_session_duration=[1, 5]), key="a")
    with pytest.raises(ConflictError, match="other content"):
        kit.record_checkpoint(running, week(0, avg_session_duration=[1, 999]), key="a")
    for again in (pickle.loads(pickle.dumps(first)), copy.deepcopy(first)):
        assert again.model_dump_json() == first.model_dump_json()
        assert kit.record_checkpoint(running, again.metrics, key="a").already_recorded


def test_reprs_hold_nothing_that_changes(kit: EvalKit, running: evalkit.Study) -> None:
    """Notebook tests compare what a cell shows: no ids, no clocks, no addresses."""
    assert repr(running) == "Study('running', running, weekly:8)"
    assert repr(kit.record_checkpoint(running, week(0, total_tokens=5))) == (
        "Checkpoint([2026-01-01 00:00 .. 2026-01-08 00:00) UTC, 1 of 16 metrics)"
    )


def test_durations_of_numpy_are_durations(kit: EvalKit, running: evalkit.Study) -> None:
    """Whatever their unit, and never bare numbers; months have no fixed length; NaT is missing; texts of NumPy are texts."""
    given = [np.timedelta64(10**9, "ns"), np.timedelta64(90, "s"), np.timedelta64("NaT")]
    kit.record_checkpoints(
        running,
        [
            {"period_start": DAY, "period_end": DAY + timedelta(days=1), "avg_session_duration": one, "key": str(number),
             "sessions_included": np.array(["a", "b"])}
            for number, one in enumerate(given)
        ],
    )  # fmt: skip
    seconds = [None if one is None else one.total_seconds() for one in kit.checkpoints()["avg_session_duration"]]
    assert sorted(seconds, key=str) == [1.0, 90.0, None]
    assert kit.checkpoints()["sessions_included"].to_list() == [["a", "b"]] * 3
    for name, value in (
        ("avg_session_duration", np.timedelta64(10, "M")), ("avg_session_duration", np.timedelta64(-1, "s")),
        ("sessions_completed", np.timedelta64(10, "ns")), ("total_cost", np.timedelta64(10, "ns")),
    ):  # fmt: skip
        with pytest.raises(InvalidInputError, match=name):
            kit.record_checkpoint(running, week(3, **{name: value}))


def test_what_is_given_twice_is_refused(kit: EvalKit, running: evalkit.Study) -> None:
    """Neither of two values wins in silence; and what is no frame is told so."""
    twice = pd.DataFrame([[DAY, DAY + timedelta(days=1), 1.0, 5.0]], columns=["period_start", "period_end", "total_cost", "total_cost"])
    for rows in (twice, pl.LazyFrame({"total_cost": [1.0]}), pl.Series([1.0]), pd.Series([1.0])):
        with pytest.raises(InvalidInputError, match="rows"):
            kit.record_checkpoints(running, rows)
    for metrics, more in (
        (week(0, period_start=DAY - timedelta(days=1)), {}),
        (week(0, key="a"), {"key": "b"}),
        (week(0), {"events_analyzed": False}),
    ):
        with pytest.raises(InvalidInputError):
            kit.record_checkpoint(running, metrics, **more)
    assert kit.checkpoints().height == 0


def test_models_are_found_by_study_or_id(kit: EvalKit, running: evalkit.Study) -> None:
    """In any case of letters; what is no id is refused in words."""
    for given in (running, running.id, running.id.upper()):
        assert kit.storage.get_study(given) == running  # type: ignore[arg-type]
        assert kit.storage.get_checkpoints(given) == []  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="study_id"):
        kit.storage.get_study(5)  # type: ignore[arg-type]
    assert not kit.verify(expect="abc")


def test_a_kit_takes_whole_commands(kit: EvalKit, running: evalkit.Study) -> None:
    """`CreateStudy` and `RecordCheckpoint` are what their arguments would have been."""
    study = kit.create_study(evalkit.CreateStudy("other", period="weekly:2", tags=["a"]))
    assert (study.name, study.period, study.config.tags) == ("other", "weekly:2", ["a"])
    command = evalkit.RecordCheckpoint({"total_tokens": 5}, period=week(0)["period"], key="w0", sessions_included=["s"])
    assert kit.record_checkpoint(running, command).metrics.total_tokens == 5
    assert kit.record_checkpoint(running, {"total_tokens": 5}, **week(0), key="w0", sessions_included=["s"]).already_recorded
    done = kit.record_checkpoints(running, [command, evalkit.RecordCheckpoint(week(1), key="w1"), week(2)])
    assert (done.recorded, done.already_recorded) == (2, 1)
    with pytest.raises(InvalidInputError, match="is a whole command; give the other arguments to RecordCheckpoint"):
        kit.record_checkpoint(running, command, key="another")
    for option in ({"tags": ["b"]}, {"period": "daily"}, {"description": ""}):
        with pytest.raises(InvalidInputError, match="is a whole command; give the options to CreateStudy"):
            kit.create_study(evalkit.CreateStudy("third"), **option)  # type: ignore[arg-type]
    assert repr(evalkit.CreateStudy("a", period="weekly:2")) == "CreateStudy('a', period='weekly:2')"
    assert repr(command) == "RecordCheckpoint([2026-01-01 00:00 .. 2026-01-08 00:00) UTC, 1 of 16 metrics, key='w0')"
    assert evalkit.CreateStudy("a") == evalkit.CreateStudy("a", tags=[]) != evalkit.CreateStudy("b")
    assert evalkit.RecordCheckpoint(week(1)) == evalkit.RecordCheckpoint(week(1)) != evalkit.RecordCheckpoint(week(1), key="k")


@pytest.mark.parametrize(
    "beside",
    [{"period": week(0)["period"]}, {"period_start": DAY, "period_end": DAY + timedelta(1)}, {"period_start": DAY}, {"period_end": DAY}],
)
def test_a_period_is_an_argument_and_given_once(kit: EvalKit, running: evalkit.Study, beside: dict[str, Any]) -> None:
    """``period=(start, end)`` is the checkpoint's period; one in the metrics beside it is refused, whatever it says."""
    metrics = evalkit.LongitudinalMetrics(total_tokens=1, period=evalkit.TimePeriod(start=DAY, end=DAY + timedelta(1)))
    recorded = kit.record_checkpoint(running, {"total_tokens": 1}, period=(DAY, "2026-01-02T00:00:00Z"))
    assert recorded.metrics == metrics
    assert recorded.timestamp == DAY + timedelta(1)
    before = kit.status().events
    for given in ({"total_tokens": 1, **beside}, metrics):
        with pytest.raises(InvalidInputError, match=r"^period: the metrics have one, too; give one or the other\.$"):
            kit.record_checkpoint(running, given, period=week(1)["period"])
    assert kit.status().events == before
