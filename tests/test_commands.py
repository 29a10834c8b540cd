"""Commands: effects, refusals, and repeated execution."""

from __future__ import annotations

import copy
import pickle
import uuid
import warnings
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

import evalkit
from evalkit import (
    ConflictError,
    EvalKit,
    EvalkitWarning,
    InvalidInputError,
    OutcomeUnknownError,
    PeriodType,
    StudyData,
    StudyStatus,
    TransitionError,
)
from evalkit.domain.commands import CHECKPOINT_COLUMNS, lifecycle_event
from evalkit.domain.events import EncodedEvent
from evalkit.domain.ids import milliseconds
from evalkit.domain.periods import period_end, period_start
from evalkit.domain.refusals import ALIASES, close_names
from evalkit.errors import DatabaseBusyError, LogMismatchError
from tests.messages import says

DAY = datetime(2026, 1, 1, tzinfo=UTC)
LONG_AGO = datetime(2025, 6, 1, 12, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture
def running(kit: EvalKit) -> evalkit.Study:
    kit.create_study("running", period="weekly:8", at=LONG_AGO)
    return kit.start_study("running", at=LONG_AGO)


def week(number: int, **metrics: Any) -> dict[str, Any]:
    return {"period": (DAY + timedelta(weeks=number), DAY + timedelta(weeks=number + 1)), **metrics}


def test_a_study_goes_through_its_lifecycle(kit: EvalKit) -> None:
    """Each command returns the study in its new status."""
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
def test_only_allowed_transitions_succeed(kit: EvalKit, status: StudyStatus, command: str) -> None:
    """The other commands raise and append nothing."""
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


def test_create_study_opens_or_raises_for_an_existing_name(kit: EvalKit) -> None:
    study = kit.create_study("one", period="weekly:8")
    assert kit.create_study("one", period="weekly:8", if_exists="open") == study
    with pytest.raises(evalkit.StudyExistsError, match='if_exists="open"'):
        kit.create_study("one")
    assert kit.status().events == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"period": "daily"}, snapshot("Study 'one' already exists and is unchanged; period 'daily' (recorded: 'weekly:8') was ignored.")),
        (
            {"description": "another"},
            snapshot("Study 'one' already exists and is unchanged; description 'another' (recorded: 'first') was ignored."),
        ),
        (
            {"tags": ["b", "a"], "metadata": {"model": "m-2"}},
            snapshot(
                "Study 'one' already exists and is unchanged; tags ['b', 'a'] (recorded: ['a', 'b']) and metadata {'model': 'm-2'} (recorded: none) were ignored."
            ),
        ),
        (
            {"period": "weekly", "description": "another", "tags": ["c"], "metadata": {"model": "m-2"}},
            snapshot(
                "Study 'one' already exists and is unchanged; period 'weekly' (recorded: 'weekly:8'), description 'another' (recorded: 'first'), tags ['c'] (recorded: ['a', 'b']) and metadata {'model': 'm-2'} (recorded: none) were ignored."
            ),
        ),
    ],
)
def test_opening_a_study_warns_of_different_arguments(kit: EvalKit, options: dict[str, Any], message: str) -> None:
    stored = {"period": "weekly:8", "description": "first", "tags": ["a", "b"]}
    study = kit.create_study("one", **stored)
    with pytest.warns(EvalkitWarning) as warned:
        assert kit.create_study("one", **{"period": "weekly:8", **options}, if_exists="open") == study
    assert says(warned[0].message) == message


def test_opening_a_study_with_equal_or_omitted_arguments_is_silent(kit: EvalKit) -> None:
    stored = {"description": "first", "tags": ["a", "b"], "metadata": {"model": "m-1"}}
    study = kit.create_study("one", **stored)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for options in ({}, stored, {"tags": ["a", "b"]}):
            assert kit.create_study("one", **options, if_exists="open") == study


def test_at_is_the_time_in_the_event_id(kit: EvalKit) -> None:
    """It is truncated to milliseconds."""
    cut = LONG_AGO.replace(microsecond=123000)
    assert kit.create_study("one", at=LONG_AGO).created_at == cut
    assert kit.start_study("one", at="2025-06-01T14:30:15.124+02:00").started_at == cut + timedelta(milliseconds=1)
    checkpoint = kit.record_checkpoint("one", week(0), at=LONG_AGO)
    assert checkpoint.recorded_at == cut
    assert kit.checkpoints()["recorded_at"].to_list() == [cut]


def test_a_clock_behind_the_last_event_does_not_block_commands(kit: EvalKit) -> None:
    """Without `at`, a command uses the time of the last event if that is later than now."""
    ahead = datetime.now(UTC) + timedelta(minutes=4)
    kit.create_study("one", at=ahead)
    started = kit.start_study("one")
    assert started.started_at == started.created_at


def test_a_recorded_checkpoint_is_returned_by_every_query(kit: EvalKit, running: evalkit.Study) -> None:
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
    """Equal content under the same key is a no-op, different content a conflict; keys of other studies are independent."""
    first = kit.record_checkpoint(running, week(0, total_tokens=5), key="w0")
    again = kit.record_checkpoint(running, week(0, total_tokens=5), key="w0")
    assert (first.already_recorded, again.already_recorded) == (False, True)
    assert again.id == first.id
    assert "already recorded" in repr(again)
    with pytest.raises(ConflictError) as conflict:
        kit.record_checkpoint(running, week(0, total_tokens=6), key="w0")
    assert (conflict.value.reason, conflict.value.event_id) == ("checkpoint id taken", None)
    kit.create_study("other")
    kit.start_study("other")
    assert kit.record_checkpoint("other", week(0, total_tokens=6), key="w0").id != first.id
    assert kit.checkpoints().height == 2
    assert kit.rejected().height == 0


def test_a_repeated_period_without_a_key_warns(kit: EvalKit, running: evalkit.Study) -> None:
    """The checkpoint is recorded, and the warning points to the calling line."""
    kit.record_checkpoint(running, week(0))
    with pytest.warns(EvalkitWarning) as caught:
        kit.record_checkpoint(running, week(0))
    assert says(caught[0].message) == snapshot(
        "Study 'running' already has a checkpoint for [2026-01-01 00:00, 2026-01-08 00:00) UTC; another one was recorded. Pass key= to avoid duplicates."
    )
    assert caught[0].filename == __file__
    assert kit.checkpoints().height == 2
    rows = [{"period_start": DAY + timedelta(days=90), "period_end": DAY + timedelta(days=91)}] * 2
    with pytest.warns(EvalkitWarning, match="another one was recorded"):
        kit.record_checkpoints(running, rows)
    with pytest.warns(EvalkitWarning, match="2 duplicates were recorded"):  # both repeat a recorded period
        kit.record_checkpoints(running, rows)


def test_paused_and_stopped_studies_accept_checkpoints(kit: EvalKit, running: evalkit.Study) -> None:
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
def test_record_checkpoints_accepts_frames_and_lists(kit: EvalKit, running: evalkit.Study, make: Any) -> None:
    """The results are equal, and recording the rows again is a no-op."""
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


def test_an_invalid_row_refuses_the_whole_frame(kit: EvalKit, running: evalkit.Study) -> None:
    before = kit.status().events
    with pytest.raises(evalkit.InvalidInputError) as raised:
        kit.record_checkpoints(running, pl.DataFrame([ROWS[0] | {"total_cost": 1.0}, ROWS[1] | {"total_cost": -1.0}]))
    assert (raised.value.row, raised.value.field, raised.value.value) == (1, "total_cost", -1)
    assert raised.value.message.where == "row 1: "
    assert kit.status().events == before


def test_an_empty_frame_records_nothing(kit: EvalKit, running: evalkit.Study) -> None:
    assert kit.record_checkpoints(running, []).recorded == 0
    assert kit.record_checkpoints(running, kit.checkpoints()).recorded == 0


def test_a_frame_of_one_study_can_be_recorded_in_another(kit: EvalKit, running: evalkit.Study) -> None:
    """A frame of `kit.checkpoints()` of either backend is accepted unchanged; only the ids of the result differ."""
    kit.record_checkpoints(running, ROWS)
    for name, backend in (("copy", "polars"), ("other copy", "pandas")):
        kit.create_study(name, period="weekly:8")
        kit.start_study(name)
        kit.record_checkpoints(name, kit.checkpoints(running, backend=backend))
        ids = ["study_id", "study", "checkpoint_id"]
        assert kit.checkpoints(name).drop(ids).equals(kit.checkpoints(running).drop(ids))


def _append_behind(kit: EvalKit, event: str) -> None:
    """Append an event between the checks and the append of the next command, as another process might."""
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
    """Both events are in the log, and the first one is applied."""
    _append_behind(kit, "other.pause_study('running')")
    with pytest.raises(ConflictError) as raised:
        kit.pause_study(running)
    assert says(raised) == snapshot(
        "Conflict: a concurrent command was applied first (study_paused is not allowed when the study is paused); the study is paused. This event is in the log but had no effect. Next: kit.resume_study('running') or kit.stop_study('running')."
    )
    assert raised.value.reason == "transition not allowed"
    assert kit.rejected()["event_id"].to_list() == [raised.value.event_id]


def test_a_lost_race_for_a_key_depends_on_the_content(kit: EvalKit, running: evalkit.Study) -> None:
    """Equal content of another process counts as recorded; different content is a conflict."""
    _append_behind(kit, "other.record_checkpoint('running', week(0, total_tokens=5), key='w0')")
    assert kit.record_checkpoint(running, week(0, total_tokens=5), key="w0").already_recorded
    _append_behind(kit, "other.record_checkpoint('running', week(1, total_tokens=5), key='w1')")
    with pytest.raises(ConflictError) as conflict:
        kit.record_checkpoint(running, week(1, total_tokens=6), key="w1")
    assert says(conflict) == snapshot(
        "Conflict: key 'w1' was already used for a checkpoint with different content. The recorded checkpoint is unchanged. Use a new key to record this one as well. To correct the recorded one: kit.amend_checkpoint(('running', 'w1'), {'total_tokens': 6}, reason='...')."
    )
    assert kit.checkpoints()["total_tokens"].to_list() == [5, 5]
    assert kit.rejected()["reason"].to_list() == ["checkpoint id taken"] * 2


def test_an_unknown_outcome_can_be_read_later(kit: EvalKit, running: evalkit.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """The read model is not available after the append, and available again for the second `kit.outcome`."""

    def busy(*_: object) -> Any:
        raise DatabaseBusyError("The read model stayed locked.")

    with monkeypatch.context() as patched:
        append = kit.engine.log.append

        def append_then_lose(messages: list[EncodedEvent]) -> Any:
            positions = append(messages)
            patched.setattr(kit.engine.database, "batch", busy)
            return positions

        patched.setattr(kit.engine.log, "append", append_then_lose)
        with pytest.raises(OutcomeUnknownError) as first:
            kit.pause_study(running)
        assert says(first) == snapshot(
            "1 event (ID) is durable in the log, but the effect cannot be read now: The read model stayed locked. Do not repeat the command. Read it again with kit.outcome(error)."
        )
        with pytest.raises(OutcomeUnknownError) as still:
            kit.outcome(first.value)
    assert still.value.event_ids == first.value.event_ids
    study = kit.outcome(first.value)
    assert isinstance(study, evalkit.Study)
    assert study.status == "paused"
    assert kit.lifecycle()["kind"].to_list().count("study_paused") == 1


def test_repeated_unknown_outcomes_end_in_a_conflict(
    kit: EvalKit, running: evalkit.Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A lost race is never reported as success, and the log of another home raises."""

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
        with pytest.raises(LogMismatchError) as mismatch:
            other.outcome(error)
    assert says(mismatch) == snapshot(
        "Event ID is not at offset 3 of partition 0: this is another log than that of the command, or it lost its newest events. Use a kit of the home in which the command was executed."
    )


def test_an_event_of_another_study_with_the_same_id_is_ignored(kit: EvalKit, running: evalkit.Study) -> None:
    other = kit.create_study("another study")
    append = kit.engine.log.append

    def append_between(messages: Any) -> Any:
        append([lifecycle_event("study_stopped", running.id, milliseconds(datetime.now(UTC))).encoded()])
        positions = append(messages)
        copied = messages[0].data.replace(running.id.encode(), other.id.encode()).replace(b"study_paused", b"study_started")
        append([EncodedEvent(other.id, messages[0].event_id, copied)])
        return positions

    kit.engine.log.append = append_between  # type: ignore[method-assign]
    with pytest.raises(ConflictError, match="not allowed"):
        kit.pause_study(running)
    assert set(kit.studies()["status"]) == {"stopped", "running"}


def test_content_is_compared_with_nanoseconds(kit: EvalKit, running: evalkit.Study) -> None:
    """Pickles and copies keep the nanoseconds of durations too."""
    first = kit.record_checkpoint(running, week(0, avg_session_duration=[1, 5]), key="a")
    with pytest.raises(ConflictError):
        kit.record_checkpoint(running, week(0, avg_session_duration=[1, 999]), key="a")
    for again in (pickle.loads(pickle.dumps(first)), copy.deepcopy(first)):
        assert again.model_dump_json() == first.model_dump_json()
        assert kit.record_checkpoint(running, again.metrics, key="a").already_recorded


def test_reprs_are_reproducible(kit: EvalKit, running: evalkit.Study) -> None:
    """They contain no ids, current times or addresses, since notebook tests compare them."""
    assert repr(running) == "Study('running', running, weekly:8)"
    assert repr(kit.record_checkpoint(running, week(0, total_tokens=5))) == (
        "Checkpoint([2026-01-01 00:00 .. 2026-01-08 00:00) UTC, 1 of 16 metrics)"
    )


@pytest.mark.parametrize("unit", ["D", "h", "s", "us", "ns"])
def test_numpy_times_are_local(unit: str) -> None:
    moment = np.datetime64("2026-03-29").astype(f"datetime64[{unit}]")
    command = evalkit.RecordCheckpoint({"period_start": moment}, tz="Europe/Berlin", period_type="daily")
    assert command.metrics.period == evalkit.TimePeriod(
        start=datetime(2026, 3, 28, 23, tzinfo=UTC), end=datetime(2026, 3, 29, 22, tzinfo=UTC)
    )


def test_numpy_durations_and_strings_are_accepted(kit: EvalKit, running: evalkit.Study) -> None:
    """Units are converted, NaT is missing, and months and years are refused."""
    durations = [np.timedelta64(10**9, "ns"), np.timedelta64(90, "s"), np.timedelta64("NaT")]
    kit.record_checkpoints(
        running,
        [
            {"period_start": DAY, "period_end": DAY + timedelta(days=1), "avg_session_duration": duration, "key": str(number),
             "sessions_included": np.array(["a", "b"])}
            for number, duration in enumerate(durations)
        ],
    )  # fmt: skip
    seconds = [None if duration is None else duration.total_seconds() for duration in kit.checkpoints()["avg_session_duration"]]
    assert sorted(seconds, key=str) == [1.0, 90.0, None]
    assert kit.checkpoints()["sessions_included"].to_list() == [["a", "b"]] * 3
    for name, value in (
        ("avg_session_duration", np.timedelta64(10, "M")), ("avg_session_duration", np.timedelta64(-1, "s")),
        ("sessions_completed", np.timedelta64(10, "ns")), ("total_cost", np.timedelta64(10, "ns")),
    ):  # fmt: skip
        with pytest.raises(InvalidInputError, match=f"^Invalid {name} "):
            kit.record_checkpoint(running, week(3, **{name: value}))


def test_duplicate_arguments_and_columns_are_refused(kit: EvalKit, running: evalkit.Study) -> None:
    duplicates = pd.DataFrame(
        [[DAY, DAY + timedelta(days=1), 1.0, 5.0]], columns=["period_start", "period_end", "total_cost", "total_cost"]
    )
    for rows in (duplicates, pl.LazyFrame({"total_cost": [1.0]}), pl.Series([1.0]), pd.Series([1.0])):
        with pytest.raises(InvalidInputError) as raised:
            kit.record_checkpoints(running, rows)
        assert raised.value.field == "rows"
    for metrics, more in (
        (week(0, period_start=DAY - timedelta(days=1)), {}),
        (week(0, key="a"), {"key": "b"}),
        (week(0), {"events_analyzed": False}),
    ):
        with pytest.raises(InvalidInputError):
            kit.record_checkpoint(running, metrics, **more)
    assert kit.checkpoints().height == 0


def test_storage_accepts_a_study_or_an_id_in_any_case(kit: EvalKit, running: evalkit.Study) -> None:
    for reference in (running, running.id, running.id.upper()):
        assert kit.storage.get_study(reference) == running  # type: ignore[arg-type]
        assert kit.storage.get_checkpoints(reference) == []  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError) as raised:
        kit.storage.get_study(5)  # type: ignore[arg-type]
    assert raised.value.field == "study_id"
    assert not kit.verify(expect="abc")


def test_a_kit_accepts_commands_instead_of_arguments(kit: EvalKit, running: evalkit.Study) -> None:
    study = kit.create_study(evalkit.CreateStudy("other", period="weekly:2", tags=["a"]))
    assert (study.name, study.period, study.config.tags) == ("other", "weekly:2", ["a"])
    command = evalkit.RecordCheckpoint({"total_tokens": 5}, period=week(0)["period"], key="w0", sessions_included=["s"])
    assert kit.record_checkpoint(running, command).metrics.total_tokens == 5
    assert kit.record_checkpoint(running, {"total_tokens": 5}, **week(0), key="w0", sessions_included=["s"]).already_recorded
    done = kit.record_checkpoints(running, [command, evalkit.RecordCheckpoint(week(1), key="w1"), week(2)])
    assert (done.recorded, done.already_recorded) == (2, 1)
    with pytest.raises(InvalidInputError, match="Pass them to RecordCheckpoint"):
        kit.record_checkpoint(running, command, key="another")
    for option in ({"tags": ["b"]}, {"period": "daily"}, {"description": ""}):
        with pytest.raises(InvalidInputError, match="Pass them to CreateStudy"):
            kit.create_study(evalkit.CreateStudy("third"), **option)  # type: ignore[arg-type]
    assert repr(evalkit.CreateStudy("a", period="weekly:2")) == "CreateStudy('a', period='weekly:2')"
    assert repr(command) == "RecordCheckpoint([2026-01-01 00:00 .. 2026-01-08 00:00) UTC, 1 of 16 metrics, key='w0')"
    assert evalkit.CreateStudy("a") == evalkit.CreateStudy("a", tags=[]) != evalkit.CreateStudy("b")
    assert evalkit.RecordCheckpoint(week(1)) == evalkit.RecordCheckpoint(week(1)) != evalkit.RecordCheckpoint(week(1), key="k")


@pytest.mark.parametrize(
    "also",
    [{"period": week(0)["period"]}, {"period_start": DAY, "period_end": DAY + timedelta(1)}, {"period_start": DAY}, {"period_end": DAY}],
)
def test_a_period_is_an_argument_or_in_the_metrics(kit: EvalKit, running: evalkit.Study, also: dict[str, Any]) -> None:
    """Both are refused, even when they agree."""
    metrics = evalkit.LongitudinalMetrics(total_tokens=1, period=evalkit.TimePeriod(start=DAY, end=DAY + timedelta(1)))
    recorded = kit.record_checkpoint(running, {"total_tokens": 1}, period=(DAY, "2026-01-02T00:00:00Z"))
    assert recorded.metrics == metrics
    assert recorded.timestamp == DAY + timedelta(1)
    before = kit.status().events
    for values in ({"total_tokens": 1, **also}, metrics):
        with pytest.raises(InvalidInputError) as raised:
            kit.record_checkpoint(running, values, period=week(1)["period"])
        assert (raised.value.field, raised.value.message.hint) == ("period", "Pass it once.")
    assert kit.status().events == before


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Beirut", "Asia/Kolkata"]


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1)), st.sampled_from(ZONES),
    st.sampled_from([PeriodType.DAILY, PeriodType.WEEKLY, PeriodType.MONTHLY]),
)  # fmt: skip
def test_a_derived_period_equals_an_explicit_one(moment: datetime, zone: str, kind: PeriodType) -> None:
    """The same content results from a date, a local time, and two times in UTC."""
    tz = ZoneInfo(zone)
    start = period_start(kind, moment.replace(tzinfo=UTC), tz)
    end = period_end(kind, start, tz)
    explicit = evalkit.RecordCheckpoint({"total_tokens": 5}, period=(start, end))
    local = start.astimezone(tz)
    for form in (start, local, local.isoformat(), str(local.date()), local.date()):
        assert evalkit.RecordCheckpoint({"total_tokens": 5, "period_start": form}, tz=zone, period_type=kind) == explicit
    assert evalkit.RecordCheckpoint({"total_tokens": 5}, period=(local.date(), end.astimezone(tz).date()), tz=tz) == explicit


@pytest.mark.parametrize("make", [list, pl.DataFrame, pd.DataFrame], ids=["list", "polars", "pandas"])
@pytest.mark.parametrize("form", ["text", "date", "naive"])
def test_frames_of_dates_are_read_in_a_time_zone(kit: EvalKit, make: Any, form: str) -> None:
    """The day of the change of clocks has 23 hours; recording again with explicit times is a no-op."""
    kit.start_study(kit.create_study("daily", at=LONG_AGO), at=LONG_AGO)
    days = [date(2026, 3, 28), date(2026, 3, 29), date(2026, 3, 30)]
    forms = {"text": str, "date": lambda day: day, "naive": lambda day: datetime(day.year, day.month, day.day)}
    rows = [{"period_start": forms[form](day), "total_tokens": 5, "key": str(day)} for day in days]
    assert kit.record_checkpoints("daily", make(rows), tz="Europe/Berlin").recorded == 3
    frame = kit.checkpoints("daily")
    assert (frame["period_end"] - frame["period_start"]).to_list() == [timedelta(hours=hours) for hours in (24, 23, 24)]
    assert frame["period_start"][0] == datetime(2026, 3, 27, 23, tzinfo=UTC)
    explicit = frame.select("period_start", "period_end", "total_tokens", pl.Series("key", [str(day) for day in days]))
    assert kit.record_checkpoints("daily", explicit).already_recorded == 3


def test_a_missing_period_end_is_derived_in_utc_without_a_zone(kit: EvalKit, running: evalkit.Study) -> None:
    monday = datetime(2026, 1, 5, tzinfo=UTC)
    rows = pd.DataFrame({"period_start": [monday, monday + timedelta(weeks=1)], "period_end": [pd.NaT, monday + timedelta(days=9)]})
    kit.record_checkpoints(running, rows)
    assert kit.checkpoints(running)["period_end"].to_list() == [monday + timedelta(weeks=1), monday + timedelta(days=9)]
    assert kit.record_checkpoint(running, {}, period=(monday + timedelta(weeks=2), None)).timestamp == monday + timedelta(weeks=3)


def test_a_zone_applies_to_all_times_of_a_checkpoint(kit: EvalKit, running: evalkit.Study) -> None:
    metrics = {"period_start": "2026-01-05", "period_end": "2026-01-12T00:00:00Z", "timestamp": "2026-01-13"}
    checkpoint = kit.record_checkpoint(running, metrics, at="2026-01-14T12:00", tz=ZoneInfo("Asia/Kolkata"))
    times = (checkpoint.metrics.period.start, checkpoint.metrics.period.end, checkpoint.timestamp, checkpoint.recorded_at)
    assert [f"{moment:%m-%d %H:%M}" for moment in times] == ["01-04 18:30", "01-12 00:00", "01-12 18:30", "01-14 06:30"]


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("success_rate", ["session_success_rate"]),
        ("accuracy", ["session_success_rate"]),
        ("pass_rate", ["session_success_rate"]),
        ("sucess_rate", ["session_success_rate"]),
        ("SESSION_SUCCESS_RATE", ["session_success_rate"]),
        ("cost", ["total_cost"]),
        ("cost_usd", ["total_cost"]),
        ("Total cost", ["total_cost"]),
        ("duration", ["avg_session_duration"]),
        ("tokens", ["total_tokens"]),
        ("sessions", ["sessions_completed"]),
        ("n_sessions", ["sessions_completed"]),
        ("start", ["period_start"]),
        ("end", ["period_end"]),
        ("date", ["period_start", "period_end"]),
        ("Period-Start", ["period_start"]),
        ("zzz", []),
        (5, []),
    ],
)
def test_close_names_are_suggested(name: object, suggested: list[str]) -> None:
    assert close_names(name, CHECKPOINT_COLUMNS) == suggested
    metrics = [known for known in suggested if known in evalkit.METRICS]
    assert close_names(name, evalkit.METRICS) == metrics
    with pytest.raises(InvalidInputError) as raised:
        StudyData(pl.DataFrame({"study": ["a"]})).metric(name)
    assert raised.value.field == "metric"
    assert all(known in raised.value.message.hint for known in metrics)


def test_every_alias_means_metrics_or_columns() -> None:
    assert {name for names in ALIASES.values() for name in names} <= set(CHECKPOINT_COLUMNS)
    assert not ALIASES.keys() & set(CHECKPOINT_COLUMNS)
