"""Amendments, retractions and notes: effects, repeated cells, conflicts, and metrics that are defined automatically."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from inline_snapshot import snapshot

import evalkit
from evalkit import Checkpoint, ConflictError, EvalKit, InvalidInputError, Metric, OutcomeUnknownError, Study
from evalkit.errors import DatabaseBusyError
from tests.messages import says
from tests.properties import in_long_form
from tests.servers import Sqld
from tests.test_shared import empty_url
from tests.worker import Child

DAY = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def study(kit: EvalKit) -> Study:
    metrics = [Metric("refusals", kind="count", better="down"), Metric("judge", kind="score", better="up", low=1, high=5)]
    return kit.start_study(kit.create_study("nightly", metrics=metrics))


def day(number: int, **metrics: Any) -> dict[str, Any]:
    return {"period": (DAY + timedelta(days=number), DAY + timedelta(days=number + 1)), **metrics}


def events(kit: EvalKit) -> int:
    return sum(part.end for part in kit.engine.log.ranges())


# --- amendments ---------------------------------------------------------------------------------------------------------------------


def test_an_amendment_changes_only_the_passed_values(kit: EvalKit, study: Study) -> None:
    first = kit.record_checkpoint(study, day(0, total_cost=25, total_tokens=7, refusals=3, avg_session_duration=2.5), key="a")
    amended = kit.amend_checkpoint(
        first, {"total_cost": 2.5, "judge": 4, "refusals": None, "avg_session_duration": timedelta(seconds=3)}, reason="Wrong currency",
        events_analyzed=9, sessions_included=["s-1"], provenance={"collector": "billing"},
    )  # fmt: skip
    assert amended.metrics.measured() == {
        "avg_session_duration": timedelta(seconds=3), "total_tokens": 7, "total_cost": 2.5, "judge": 4.0,
    }  # fmt: skip
    assert (amended.revision, amended.events_analyzed, amended.sessions_included) == (1, 9, ["s-1"])
    assert amended.provenance is not None
    assert amended.provenance.collector == "billing"
    assert (amended.id, amended.timestamp, amended.recorded_at) == (first.id, first.timestamp, first.recorded_at)
    assert repr(amended) == "Checkpoint([2026-01-01 00:00 .. 2026-01-02 00:00) UTC, 3 of 16 metrics, 1 custom, revision 1)"
    again = kit.amend_checkpoint(amended, {"refusals": 0}, reason="Zero was measured")
    assert (again.revision, again.metrics.custom) == (2, {"judge": 4.0, "refusals": 0})
    assert kit.verify().ok


@pytest.mark.parametrize(
    "reference",
    [
        lambda first: first, lambda first: first.id, lambda first: first.id[-4:], lambda first: first.id.upper()[-12:],
        lambda first: ("nightly", "a"), lambda first: (first.study_id, "a"),
    ],
    ids=["checkpoint", "id", "end of an id", "upper case", "name and key", "study id and key"],
)  # fmt: skip
def test_a_checkpoint_is_found_by_any_reference(kit: EvalKit, study: Study, reference: Callable[[Checkpoint], Any]) -> None:
    first = kit.record_checkpoint(study, day(0, total_cost=25), key="a")
    assert kit.amend_checkpoint(reference(first), {"total_cost": 2.5}, reason="Wrong currency").metrics.total_cost == 2.5
    assert kit.retract_checkpoint(reference(first), reason="Wrong model").id == first.id


def test_an_id_in_two_studies_is_ambiguous(kit: EvalKit, study: Study) -> None:
    """As after copying the events of another log; the study and the object decide."""
    first = kit.record_checkpoint(study, day(0, total_cost=25))
    other = kit.start_study(kit.create_study("weekly"))
    command = evalkit.RecordCheckpoint(day(0, total_cost=1))
    kit.engine.log.append([command.encoded(other.id, first.id)])
    with pytest.raises(InvalidInputError) as raised:
        kit.amend_checkpoint(first.id, {"total_cost": 2.5}, reason="Wrong currency")
    assert says(raised) == snapshot(
        "Invalid checkpoint 'ID': matches several checkpoints: ID in study 'nightly'; ID in study 'weekly'. Pass the Checkpoint, or (study, key)."
    )
    assert "'nightly'" in says(raised)
    assert "'weekly'" in says(raised)
    assert kit.amend_checkpoint(first, {"total_cost": 2.5}, reason="Wrong currency").metrics.total_cost == 2.5
    assert [checkpoint.metrics.total_cost for checkpoint in kit.storage.get_checkpoints(other.id)] == [1.0]


def test_a_repeated_cell_appends_nothing(kit: EvalKit, study: Study) -> None:
    """Also with the first version of the checkpoint, which the cell before recorded."""
    first = kit.record_checkpoint(study, day(0, total_cost=25, refusals=1), key="a", provenance={"collector": "c"})
    amended = kit.amend_checkpoint(first, {"total_cost": 2.5, "refusals": None}, reason="Wrong currency")
    count = events(kit)
    same = amended.model_copy(update={"already_recorded": True})
    assert kit.amend_checkpoint(first, {"total_cost": 2.5, "refusals": None}, reason="Other words") == same
    assert kit.amend_checkpoint(amended, events_analyzed=0, provenance={"collector": "c"}, reason="Nothing new") == same
    retracted = kit.retract_checkpoint(first, reason="Wrong model")
    assert kit.retract_checkpoint(amended, reason="Again") == retracted
    assert (retracted.retracted, retracted.revision) == (True, 1)
    assert events(kit) == count + 1


def test_nanoseconds_of_a_duration_are_a_difference(kit: EvalKit, study: Study) -> None:
    first = kit.record_checkpoint(study, day(0, avg_session_duration=[2, 1]))
    assert kit.amend_checkpoint(first, {"avg_session_duration": [2, 1]}, reason="Same").revision == 0
    assert kit.amend_checkpoint(first, {"avg_session_duration": [2, 2]}, reason="Clock").revision == 1


def test_the_author_is_an_argument_or_of_the_environment(kit: EvalKit, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALKIT_AUTHOR", " ada ")
    with evalkit.connect(kit.engine.settings.home) as other:
        assert other.note(study, "by the environment").author == "ada"
        assert other.note(study, "by the argument", author="grace").author == "grace"
    assert kit.note(study, "by nobody").author is None
    monkeypatch.setenv("EVALKIT_AUTHOR", "two\nlines")
    with pytest.raises(InvalidInputError) as raised:
        evalkit.connect(kit.engine.settings.home)
    assert says(raised) == snapshot("Invalid EVALKIT_AUTHOR: expected at most 200 printable characters. Set it to a name.")


# --- conflicts ----------------------------------------------------------------------------------------------------------------------


def _append_behind(kit: EvalKit, command: Callable[[EvalKit], object]) -> None:
    """Execute a command between the checks and the append of the next command, as another process might."""
    log = kit.engine.log
    append = log.append

    def late(messages: Any) -> Any:
        log.append = append  # type: ignore[method-assign]
        with evalkit.connect(kit.engine.settings.home) as other:
            command(other)
        return append(messages)

    log.append = late  # type: ignore[method-assign]


def test_a_stale_checkpoint_is_a_conflict_before_anything_is_appended(kit: EvalKit, study: Study) -> None:
    first = kit.record_checkpoint(study, day(0, total_cost=25))
    latest = kit.amend_checkpoint(first, {"total_cost": 2.5}, reason="Wrong currency", author="ada")
    count = events(kit)
    with pytest.raises(ConflictError) as raised:
        kit.amend_checkpoint(first, {"total_cost": 3, "total_tokens": 5}, reason="Rounded")
    error = raised.value
    assert (error.reason, error.event_id, error.checkpoint) == ("amended meanwhile", None, latest)
    assert (error.changes, error.explanation, error.author) == ({"total_cost": 2.5}, "Wrong currency", "ada")
    assert "To amend the latest version: kit.amend_checkpoint(" in str(error)
    assert events(kit) == count
    call = error.message.hint.partition(": ")[2].removesuffix(".")
    assert eval(call, {"kit": kit}).metrics.measured() == {"total_tokens": 5, "total_cost": 3.0}  # the hint can be pasted


def test_a_lost_amendment_raises_with_the_other_values(kit: EvalKit, study: Study) -> None:
    first = kit.record_checkpoint(study, day(0, total_cost=25, refusals=1))
    other = {"total_cost": 2.5, "refusals": None}
    _append_behind(kit, lambda kit: kit.amend_checkpoint(first.id, other, reason="Wrong currency", author="ada"))
    with pytest.raises(ConflictError) as raised:
        kit.amend_checkpoint(first.id, {"total_cost": 3}, reason="Rounded")
    error = raised.value
    assert (error.reason, error.changes, error.explanation, error.author) == ("amended meanwhile", other, "Wrong currency", "ada")
    assert error.checkpoint == kit.storage.get_checkpoint(study.id, first.id)
    assert error.checkpoint is not None
    assert error.checkpoint.metrics.measured() == {"total_cost": 2.5}
    assert "by 'ada'" in str(error)
    assert "total_cost = 2.5 and refusals = None" in str(error)
    assert "This event is in the log but had no effect." in str(error)
    assert kit.rejected()["event_id"].to_list() == [error.event_id]


def test_an_equal_amendment_by_another_process_is_no_conflict(kit: EvalKit, study: Study) -> None:
    first = kit.record_checkpoint(study, day(0, total_cost=25))
    _append_behind(kit, lambda kit: kit.amend_checkpoint(first.id, {"total_cost": 2.5}, reason="Wrong currency"))
    assert kit.amend_checkpoint(first, {"total_cost": 2.5}, reason="Wrong currency").revision == 1


def test_a_retraction_wins_against_an_amendment(kit: EvalKit, study: Study) -> None:
    first = kit.record_checkpoint(study, day(0, total_cost=25))
    _append_behind(kit, lambda kit: kit.retract_checkpoint(first, reason="Wrong model", author="ada"))
    for _ in range(2):  # the second is refused before the append
        with pytest.raises(ConflictError) as raised:
            kit.amend_checkpoint(first, {"total_cost": 3}, reason="Rounded")
        error = raised.value
        assert (error.reason, error.explanation, error.author) == ("checkpoint retracted", "Wrong model", "ada")
        assert error.checkpoint is not None
        assert error.checkpoint.retracted
        assert "it was retracted by 'ada'" in str(error)
    assert error.event_id is None


@pytest.mark.slow
def test_one_of_two_processes_that_amend_at_once_wins(kit: EvalKit, study: Study, tmp_path: Path) -> None:
    """Both are real processes; the loser's error has the values, reason and author of the winner."""
    lost_after_append = 0
    with ExitStack() as stack:
        children = [stack.enter_context(Child("amend_at_once", tmp_path / "home", number=number)) for number in (1, 2)]
        assert [child.hear() for child in children] == ["ready", "ready"]
        for number in range(in_long_form(40, 8)):
            checkpoint = kit.record_checkpoint(study, day(number, total_cost=25), key=str(number))
            for child in children:
                child.tell(checkpoint.id)
            for child in children:
                assert child.hear() == "checked"
            for child in children:
                child.tell()
            answers = [child.hear() for child in children]
            (winner,) = (answer for answer in answers if answer["ended"] == "won")
            (loser,) = (answer for answer in answers if answer["ended"] == "lost")
            lost_after_append += loser["event_id"] is not None
            expected = {"total_cost": winner["cost"]}
            assert (loser["changes"], loser["explanation"]) == (expected, f"reason {winner['number']}")
            assert (loser["author"], loser["reason"]) == (f"author {winner['number']}", "amended meanwhile")
            assert (loser["measured"], loser["revision"]) == (expected, 1)
            assert f"total_cost = {winner['cost']}" in loser["message"]
            latest = kit.storage.get_checkpoint(study.id, checkpoint.id)
            assert latest is not None
            assert latest.metrics.measured() == expected
        for child in children:
            assert child.finish() == []
    assert kit.rejected().height == lost_after_append == number + 1
    assert kit.verify().ok


# --- keys ---------------------------------------------------------------------------------------------------------------------------


def test_recording_again_is_compared_with_the_latest_version(kit: EvalKit, study: Study) -> None:
    """Without the provenance; the hint of the error corrects the recorded checkpoint."""
    kit.record_checkpoint(study, day(0, total_cost=25, refusals=1), key="a", provenance={"collector": "c"})
    kit.amend_checkpoint(("nightly", "a"), {"total_cost": 2.5}, reason="Wrong currency", author="ada")
    again = kit.record_checkpoint(study, day(0, total_cost=2.5, refusals=1), key="a", provenance={"collector": "other"})
    assert (again.already_recorded, again.revision) == (True, 1)
    with pytest.raises(ConflictError) as raised:
        kit.record_checkpoint(study, day(0, total_cost=25), key="a", events_analyzed=3)
    assert (raised.value.explanation, raised.value.author) == ("Wrong currency", "ada")
    assert "evalkit checkpoint amend" in raised.value.message.in_shell()
    call = raised.value.message.hint.partition("recorded one: ")[2].removesuffix(".")
    assert call == "kit.amend_checkpoint(('nightly', 'a'), {'total_cost': 25.0, 'refusals': None, 'events_analyzed': 3}, reason='...')"
    assert eval(call, {"kit": kit}).metrics.measured() == {"total_cost": 25.0}
    assert kit.record_checkpoint(study, day(0, total_cost=25), key="a", events_analyzed=3).already_recorded


def test_another_period_cannot_be_amended_so_no_call_is_suggested(kit: EvalKit, study: Study) -> None:
    kit.record_checkpoint(study, day(0, total_cost=25), key="a")
    with pytest.raises(ConflictError) as raised:
        kit.record_checkpoint(study, day(1, total_cost=25), key="a")
    assert says(raised) == snapshot(
        "Key 'a' was already used for a checkpoint with different content. The recorded checkpoint is unchanged. Use a new key to record this one as well."
    )


@pytest.mark.parametrize("amended", [False, True], ids=["as recorded", "amended"])
def test_the_key_of_a_retracted_checkpoint_is_refused(kit: EvalKit, study: Study, amended: bool) -> None:
    """Also for equal content, in bulk, and when the retraction comes between the checks and the append."""
    first = kit.record_checkpoint(study, day(0, total_cost=25), key="a")
    if amended:
        kit.amend_checkpoint(first, {"total_cost": 2.5}, reason="Wrong currency")
    kit.retract_checkpoint(first.id, reason="Wrong model", author="ada")
    for record in (
        lambda: kit.record_checkpoint(study, day(0, total_cost=25), key="a"),
        lambda: kit.record_checkpoints(study, [day(1), {**day(0, total_cost=25), "key": "a"}]),
    ):
        with pytest.raises(ConflictError) as raised:
            record()
        assert (raised.value.reason, raised.value.explanation, raised.value.author) == ("checkpoint retracted", "Wrong model", "ada")
        assert f"{first.recorded_at:%Y-%m-%d}" in str(raised.value)
    assert raised.value.row == 1

    def record_and_retract(other: EvalKit) -> None:
        other.retract_checkpoint(other.record_checkpoint(study, day(2), key="b"), reason="Wrong model")

    _append_behind(kit, record_and_retract)
    with pytest.raises(ConflictError) as raised:
        kit.record_checkpoint(study, day(2), key="b")
    assert raised.value.reason == "checkpoint retracted"
    assert raised.value.event_id is not None
    assert kit.record_checkpoint(study, day(0, total_cost=25), key="a2").already_recorded is False  # without a warning about its period


# --- reading ------------------------------------------------------------------------------------------------------------------------


def check_latest_versions(kit: EvalKit) -> None:
    """Check the queries of a study with amended and retracted checkpoints, which this creates."""
    study = kit.start_study(kit.create_study("corrected", metrics=[Metric("refusals", kind="count", better="down")]))
    rows = [{**day(number, total_tokens=number, refusals=1), "key": str(number)} for number in range(6)]
    kit.record_checkpoints(study, rows)
    kit.record_checkpoint(study, day(6, total_tokens=6), key="6", provenance={"collector": "c"})
    kit.amend_checkpoint((study, "1"), {"total_tokens": 100, "refusals": None}, reason="first")
    kit.amend_checkpoint((study, "1"), {"total_tokens": 101, "refusals": 5}, reason="second")
    kit.amend_checkpoint((study, "5"), {"total_tokens": None}, reason="unknown tokenizer")
    for key in ("2", "6"):
        kit.retract_checkpoint((study, key), reason="Wrong model")
    checkpoints = kit.storage.get_checkpoints(study.id)
    assert [checkpoint.metrics.total_tokens for checkpoint in checkpoints] == [0, 101, 3, 4, None]
    assert [checkpoint.metrics.custom["refusals"] for checkpoint in checkpoints] == [1, 5, 1, 1, 1]
    assert [checkpoint.revision for checkpoint in checkpoints] == [0, 2, 0, 0, 1]
    assert kit.storage.get_latest_checkpoint(study.id) == checkpoints[-1]
    assert kit.storage.get_checkpoints_in_range(study.id, DAY + timedelta(days=2), DAY + timedelta(days=6)) == checkpoints[1:4]
    for checkpoint in checkpoints:
        assert kit.storage.get_checkpoint(study.id, checkpoint.id) == checkpoint
    (retracted,) = (kit.retract_checkpoint((study, key), reason="again").id for key in ("6",))
    assert kit.storage.get_checkpoint(study.id, retracted) is None
    ids = [*(checkpoint.id for checkpoint in checkpoints), retracted, "unknown"]
    assert sorted(kit.storage.checkpoints_by_id(study.id, ids), key=lambda checkpoint: checkpoint.timestamp) == checkpoints
    note = kit.note(study, "New model", at=DAY, until=DAY + timedelta(days=3), category="model", author="ada")
    earlier = kit.note(study, "New prompt\nwith two lines", at=DAY - timedelta(days=3), category="prompt")
    assert kit.note(study, "New model", at=DAY, until=DAY + timedelta(days=3), category="model") == note
    assert kit.storage.get_notes(study.id) == [earlier, note]
    first = kit.record_checkpoint(study, day(9, total_tokens=1))
    latest = kit.amend_checkpoint(first, {"total_tokens": 2}, reason="late")
    with pytest.raises(ConflictError) as raised:
        kit.amend_checkpoint(first, {"total_tokens": 3}, reason="later")
    assert raised.value.checkpoint == latest
    assert kit.verify().ok


def test_queries_return_the_latest_versions(kit: EvalKit) -> None:
    check_latest_versions(kit)


@pytest.mark.slow
@pytest.mark.server
def test_queries_of_a_server_return_the_latest_versions(sqld: Sqld, tmp_path: Path) -> None:
    with evalkit.connect(tmp_path / "home", database_url=empty_url(sqld)) as kit:
        check_latest_versions(kit)


def test_many_corrections_are_read_with_one_query(kit: EvalKit, study: Study) -> None:
    """More checkpoints than are looked up by id."""
    result = kit.record_checkpoints(study, [day(number, total_tokens=number) for number in range(150)])
    amended = set(result.checkpoint_ids[::30])
    for checkpoint_id in amended:
        kit.amend_checkpoint(checkpoint_id, {"total_tokens": 1000}, reason="late")
    kit.retract_checkpoint(result.checkpoint_ids[1], reason="Wrong model")
    database: Any = kit.engine.database
    execute, statements = database.execute, []

    def counting(sql: str, args: Any = ()) -> Any:
        statements.append(sql)
        return execute(sql, args)

    kit.storage.get_checkpoints(study.id)
    database.execute = counting
    checkpoints = kit.storage.get_checkpoints(study.id)
    database.execute = execute
    assert len(checkpoints) == 149
    assert {checkpoint.id for checkpoint in checkpoints if checkpoint.metrics.total_tokens == 1000} == amended
    assert sum("FROM changes" in sql and "FROM checkpoints" not in sql for sql in statements) == 1


def test_a_new_kit_and_a_rebuilt_read_model_have_the_latest_versions(kit: EvalKit) -> None:
    check_latest_versions(kit)
    (study,) = kit.storage.list_studies()
    expected = kit.storage.get_checkpoints(study.id)
    kit.rebuild(on_progress=lambda done, total: None)
    with evalkit.connect(kit.engine.settings.home) as other:
        assert other.storage.get_checkpoints(study.id) == expected


# --- notes --------------------------------------------------------------------------------------------------------------------------


def test_a_repeated_note_adds_nothing(kit: EvalKit, study: Study) -> None:
    note = kit.note("nightly", "New model", at="2026-01-31", category="model", tz="Europe/Berlin")
    assert note.at == datetime(2026, 1, 30, 23, tzinfo=UTC)
    assert repr(note) == "Note(2026-01-30 23:00 UTC, model, 'New model')"
    count = events(kit)
    assert kit.note(study, "New model", at=note.at, category="model", author="ada") == note
    assert events(kit) == count
    different = [
        kit.note(study, "New model", at=note.at, category="tool"),
        kit.note(study, "new model", at=note.at, category="model"),
        kit.note(study, "New model", at=note.at, until=note.at + timedelta(microseconds=1), category="model"),
        kit.note(kit.create_study("other"), "New model", at=note.at, category="model"),
    ]
    assert len({other.id for other in [note, *different]}) == 5
    _append_behind(kit, lambda kit: kit.note(study, "Twice", at=DAY, author="ada"))
    assert kit.note(study, "Twice", at=DAY).author == "ada"


def test_a_note_is_about_now_by_default(kit: EvalKit, study: Study) -> None:
    before = datetime.now(UTC)
    note = kit.note(study, "Something happened", until=before + timedelta(days=1))
    assert before <= note.at <= datetime.now(UTC)
    assert kit.storage.get_notes(study.id) == [note]


# --- unknown outcomes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["amend", "retract", "note", "define"])
def test_an_unknown_outcome_can_be_read_later(kit: EvalKit, study: Study, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    first = kit.record_checkpoint(study, day(0, total_cost=25))
    commands: dict[str, Callable[[], object]] = {
        "amend": lambda: kit.amend_checkpoint(first, {"total_cost": 2.5}, reason="Wrong currency"),
        "retract": lambda: kit.retract_checkpoint(first, reason="Wrong model"),
        "note": lambda: kit.note(study, "New model", at=DAY),
        "define": lambda: kit.define_metric(study, "tool_calls"),
    }

    def busy(*_: object) -> Any:
        raise DatabaseBusyError("The read model stayed locked.")

    with monkeypatch.context() as patched:
        append = kit.engine.log.append

        def append_then_lose(messages: Any) -> Any:
            positions = append(messages)
            patched.setattr(kit.engine.database, "batch", busy)
            return positions

        patched.setattr(kit.engine.log, "append", append_then_lose)
        with pytest.raises(OutcomeUnknownError) as raised:
            commands[command]()
    with evalkit.connect(kit.engine.settings.home) as other:
        other.studies()  # another process decides the event, so its outcome is read from the tables
    result = kit.outcome(raised.value)
    expected: dict[str, object] = {
        "amend": kit.storage.get_checkpoint(study.id, first.id), "retract": commands["retract"]() if command == "retract" else None,
        "note": next(iter(kit.storage.get_notes(study.id)), None), "define": study,
    }  # fmt: skip
    assert result == expected[command]
    if command == "amend":
        assert isinstance(result, Checkpoint)
        assert result.metrics.total_cost == 2.5
    if command == "define":
        assert "tool_calls" in kit.storage.get_metrics(study.id)


def test_the_unknown_outcome_of_a_lost_amendment_is_a_conflict(kit: EvalKit, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    first = kit.record_checkpoint(study, day(0, total_cost=25))
    _append_behind(kit, lambda kit: kit.amend_checkpoint(first, {"total_cost": 2.5}, reason="Wrong currency", author="ada"))
    with monkeypatch.context() as patched:

        def busy(*_: object) -> Any:
            raise DatabaseBusyError("The read model stayed locked.")

        patched.setattr(kit.engine.database, "batch", busy)
        with pytest.raises(OutcomeUnknownError) as raised:
            kit.amend_checkpoint(first, {"total_cost": 3}, reason="Rounded")
    with pytest.raises(ConflictError) as conflict:
        kit.outcome(raised.value)
    assert (conflict.value.changes, conflict.value.author) == ({"total_cost": 2.5}, "ada")


# --- metrics defined automatically --------------------------------------------------------------------------------------------------


def test_numbers_of_undeclared_metrics_are_defined(kit: EvalKit, study: Study) -> None:
    checkpoint = kit.record_checkpoint(study, day(0, retries=2, ratio=0.5, refusals=3, missing=None), define="auto")
    assert checkpoint.metrics.custom == {"retries": 2.0, "ratio": 0.5, "refusals": 3}
    metrics = kit.storage.get_metrics(study.id)
    assert list(metrics) == ["refusals", "judge", "retries", "ratio"]
    assert metrics["retries"] == Metric("retries", kind="number", better="neither")
    assert kit.record_checkpoints(study, [day(1, grade=1.5), day(2)], define="auto").recorded == 2
    assert "grade" in kit.storage.get_metrics(study.id)
    command = evalkit.RecordCheckpoint(
        evalkit.LongitudinalMetrics(period=evalkit.TimePeriod(start=DAY - timedelta(1), end=DAY), custom={"own": 1.0})
    )
    with pytest.raises(InvalidInputError):
        kit.record_checkpoint(study, command)
    assert kit.record_checkpoint(study, command, define="auto").metrics.custom == {"own": 1.0}


def test_nothing_is_defined_when_a_value_is_invalid(kit: EvalKit, study: Study) -> None:
    kit.record_checkpoint(study, day(0), key="a")
    count = events(kit)
    for rows in ([day(1, grade=1), day(2, grade="good")], [day(1, grade=1), {**day(1, grade=1), "key": "a"}]):
        with pytest.raises((InvalidInputError, ConflictError)):
            kit.record_checkpoints(study, rows, define="auto")
    assert events(kit) == count
    assert "grade" not in kit.storage.get_metrics(study.id)


def test_an_unknown_outcome_of_a_definition_says_that_no_checkpoint_was_recorded(
    kit: EvalKit, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:

        def busy(*_: object) -> Any:
            raise DatabaseBusyError("The read model stayed locked.")

        append = kit.engine.log.append

        def append_then_lose(messages: Any) -> Any:
            patched.setattr(kit.engine.database, "batch", busy)
            return append(messages)

        patched.setattr(kit.engine.log, "append", append_then_lose)
        with pytest.raises(OutcomeUnknownError) as raised:
            kit.record_checkpoint(study, day(0, grade=1), define="auto")
    assert says(raised) == snapshot(
        "1 event (ID) is durable in the log, but the effect cannot be read now: The read model stayed locked. No checkpoint was recorded. Execute the command again."
    )
    assert kit.record_checkpoint(study, day(0, grade=1), define="auto").metrics.custom == {"grade": 1.0}


def test_a_frame_defines_its_columns(kit: EvalKit, study: Study) -> None:
    start = pl.datetime_range(DAY, DAY + timedelta(days=2), "1d", time_zone="UTC", eager=True)
    rows = pl.DataFrame({"period_start": start, "grade": [1, None, 3], "empty": pl.Series([None] * 3, dtype=pl.Float64)})
    assert kit.record_checkpoints(study, rows, define="auto").recorded == 3
    assert [checkpoint.metrics.custom for checkpoint in kit.storage.get_checkpoints(study.id)] == [{"grade": 1.0}, {}, {"grade": 3.0}]
    assert "empty" not in kit.storage.get_metrics(study.id)


def test_threads_of_one_kit_amend_in_turn(kit: EvalKit, study: Study) -> None:
    """Each amends the latest version by id, so every amendment is applied."""
    first = kit.record_checkpoint(study, day(0, total_tokens=0))
    names = ["total_tokens", "learnings_applied", "tasks_completed", "sessions_completed"]

    def amend(name: str) -> None:
        for number in range(1, 6):
            kit.amend_checkpoint(first.id, {name: number}, reason="late")

    threads = [threading.Thread(target=amend, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    latest = kit.storage.get_checkpoint(study.id, first.id)
    assert latest is not None
    assert (latest.metrics.measured(), latest.revision) == (dict.fromkeys(sorted(latest.metrics.measured()), 5), 20)
    assert kit.rejected().is_empty()


def test_an_amendment_without_a_difference_says_so(kit: EvalKit, study: Study) -> None:
    first = kit.record_checkpoint(study, day(0, total_cost=2.0))
    assert not kit.amend_checkpoint(first, {"total_cost": 1.5}, reason="decimal point").already_recorded
    assert kit.amend_checkpoint(first.id, {"total_cost": 1.5}, reason="decimal point").already_recorded
    assert len(kit.amendments()) == 1


def test_status_counts_events_of_all_kinds(kit: EvalKit, study: Study) -> None:
    before = kit.status()
    kit.note(study, "New prompt", at="2026-01-02T00:00:00Z", category="prompt")
    after = kit.status()
    assert (after.events, after.applied) == (before.events + 1, before.applied + 1)
    assert after.applied == after.events
    assert after.last_event_at > before.last_event_at


def test_the_provenance_of_a_row_is_recorded(kit: EvalKit, study: Study) -> None:
    rows = [day(number, refusals=number, provenance={"collector": f"program {number}"}) for number in range(2)]
    kit.record_checkpoints(study, rows)
    assert kit.checkpoints(study).select("refusals", "collector").rows() == [(0, "program 0"), (1, "program 1")]


def test_large_bounds_of_a_definition_are_readable(kit: EvalKit, study: Study) -> None:
    kit.define_metric(study, Metric("energy", kind="number", better="down", low=-(10**39), high=10**39))
    assert kit.metrics(study).filter(name="energy").select("low", "high").row(0) == (-1e39, 1e39)
