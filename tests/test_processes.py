"""Concurrent processes on one home, with real processes and files."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from evalkit import EvalKit, connect
from evalkit.domain.commands import RecordCheckpoint
from evalkit.domain.events import StoredEvalEvent
from evalkit.readmodel.schema import read_head
from tests.properties import in_long_form
from tests.worker import Child, flat_sample, sample, study_with_checkpoints

PROCESSES = 4
COMMANDS = in_long_form(250, 80)


def in_step(stack: ExitStack, task: str, home: Path, options: list[dict[str, Any]]) -> list[Child]:
    """Start children that wait for their first message, and return when all are ready."""
    children = [stack.enter_context(Child(task, home, **arguments)) for arguments in options]
    for child in children:
        assert child.hear() == "ready"
    return children


def log_events(kit: EvalKit) -> list[StoredEvalEvent]:
    return [StoredEvalEvent.from_wire(record.data) for record in kit.engine.log.consumer("test").poll(1_000_000, 0)]


@pytest.mark.slow
def test_four_processes_lose_and_duplicate_nothing(kit: EvalKit, tmp_path: Path) -> None:
    """Every acknowledged event is stored exactly once, despite contention at the log and the read model."""
    shared = study_with_checkpoints(kit, 0, "shared")
    before = len(log_events(kit))
    options = [{"number": number, "study": shared.id, "count": COMMANDS} for number in range(PROCESSES)]
    with ExitStack() as stack:
        children = in_step(stack, "commands", tmp_path / "home", options)
        with closing(sqlite3.connect(tmp_path / "home" / "evalkit.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for child in children:
                child.tell()
            time.sleep(0.3)  # on a fast machine, the children would rarely wait for each other
            other.execute("ROLLBACK")
        reports = [child.hear() for child in children]
        for child in children:
            assert child.finish() == []

    assert sum(report["conflicts"] for report in reports) >= 1
    assert sum(report["busy"] for report in reports) >= 1
    events = log_events(kit)
    assert len(events) == before + PROCESSES * COMMANDS
    assert len({event.event_id for event in events}) == len(events)
    acknowledged = [checkpoint for report in reports for checkpoint in report["checkpoints"]]
    assert sorted(kit.checkpoints()["checkpoint_id"]) == sorted(acknowledged)
    created = [study for report in reports for study in report["studies"]]
    studies = kit.studies()
    assert sorted(studies["study_id"]) == sorted([shared.id, *created])
    assert set(studies.filter(studies["study_id"] != shared.id)["status"]) == {"stopped"}
    assert kit.lifecycle().height == 2 + 5 * len(created)
    assert len(acknowledged) + 5 * len(created) == PROCESSES * COMMANDS
    assert kit.rejected().is_empty()
    assert kit.verify().ok


@pytest.mark.slow
def test_the_first_commands_of_four_processes_create_one_home(tmp_path: Path) -> None:
    """All of them find no home, and create the same one without losing an event."""
    with ExitStack() as stack:
        children = in_step(stack, "begin", tmp_path, [{"number": number} for number in range(PROCESSES)])
        for attempt in range(in_long_form(10, 5)):
            home = tmp_path / f"home {attempt}"
            for child in children:
                child.tell(home.name)
            created = [child.hear() for child in children]
            with connect(home) as kit:
                assert sorted(kit.studies()["study_id"]) == sorted(created)
                assert kit.verify().ok
            assert sorted(path.name for path in home.iterdir()) == [".gitignore", "evalkit.db", "events.db"]
        for child in children:
            assert child.finish() == []


@pytest.mark.slow
def test_exactly_one_of_four_concurrent_transitions_succeeds(kit: EvalKit, tmp_path: Path) -> None:
    """Four processes start, pause, resume and stop the same studies; the others get a conflict or a transition error."""
    ends = {"won": 0, "lost": 0, "late": 0}
    lost_events = set()
    with ExitStack() as stack:
        children = in_step(stack, "race", tmp_path / "home", [{}] * PROCESSES)
        for number in count():
            study = kit.create_study(f"race {number}")
            for command in ("start", "pause", "resume", "stop"):
                for child in children:
                    child.tell({"command": command, "study": study.id})
                answers = [child.hear() for child in children]
                assert [answer["ended"] for answer in answers].count("won") == 1, answers
                for answer in answers:
                    ends[answer["ended"]] += 1
                lost_events |= {answer["event_id"] for answer in answers if answer["ended"] == "lost"}
            if ends["lost"] and number >= in_long_form(9, 3):
                break
            assert number < 100, f"no race was lost in 400: {ends}"
        for child in children:
            assert child.finish() == []

    races = 4 * (number + 1)
    assert ends["won"] == races
    assert ends["lost"] + ends["late"] == races * (PROCESSES - 1)
    rejected = kit.rejected()
    assert set(rejected["event_id"]) == lost_events
    assert rejected.height == ends["lost"]
    assert len(log_events(kit)) == number + 1 + races + ends["lost"]
    assert set(kit.studies()["status"]) == {"stopped"}
    assert kit.verify().ok


@pytest.mark.slow
def test_the_log_decides_between_two_checked_commands(kit: EvalKit, tmp_path: Path) -> None:
    """Both were checked before either appended: the second one gets a conflict."""
    study = kit.create_study("contended")
    with ExitStack() as stack:
        children = [stack.enter_context(Child("meet", tmp_path / "home", command="stop", study=study.id)) for _ in range(2)]
        assert [child.hear() for child in children] == ["checked", "checked"]
        answers = []
        for child in children:
            child.tell()
            answers.append(child.hear())
            assert child.finish() == []

    assert answers[0] == "won"
    rejected = kit.rejected().row(0, named=True)
    assert answers[1] == {"reason": rejected["reason"], "event_id": rejected["event_id"], "study_id": study.id}
    assert kit.lifecycle()["kind"].to_list() == ["study_created", "study_stopped"]
    assert kit.rejected().height == 1


@pytest.mark.slow
def test_a_reader_never_sees_fewer_rows_while_the_read_model_is_rebuilt(kit: EvalKit, tmp_path: Path) -> None:
    """Its counts never decrease, while a writer and a live consumer are active."""
    study = study_with_checkpoints(kit, 3000)
    with ExitStack() as stack:
        reader = stack.enter_context(Child("read", tmp_path / "home"))
        writer = stack.enter_context(Child("record", tmp_path / "home", first=100_000))
        consumer = stack.enter_context(Child("project", tmp_path / "home", batch_size=50))
        assert [child.hear() for child in (reader, writer, consumer)] == ["ready"] * 3
        writer.hear()  # it has recorded a checkpoint
        generations = []
        for _ in range(6):
            generations.append(kit.rebuild(on_progress=lambda done, total: None).generation)
            assert [reader.hear(), reader.hear()] == ["read"] * 2  # also on a busy machine
        acknowledged = writer.finish()
        *_, seen = reader.finish()
        # The consumer may have had nothing to do so far; these events are applied only by it.
        numbers = range(200_000, 200_010)
        commands = [RecordCheckpoint(flat_sample(number)) for number in numbers]
        positions = kit.engine.log.append([command.encoded(study.id, command.checkpoint_id(study.id)) for command in commands])
        deadline = time.monotonic() + 60
        while (head := read_head(kit.engine.database)) is None or head.positions[0].next <= positions[-1].offset:
            assert time.monotonic() < deadline, "the consumer does not continue"
            time.sleep(0.05)
        (consumed,) = consumer.finish()

    assert seen["missing"] == []
    assert seen["reads"] >= 10
    assert len(set(seen["generations"]) & set(generations)) >= 3, "too few reads during a rebuild"
    assert seen["most"]["frame"] > 3000
    assert seen["most"]["raw"] > 3000
    assert consumed["applied"] >= len(numbers)
    assert len(acknowledged) > 10
    frame = kit.checkpoints()
    assert {checkpoint for _, checkpoint in acknowledged} < set(frame["checkpoint_id"])
    assert frame["checkpoint_id"].n_unique() == frame.height == 3000 + len(acknowledged) + 1 + len(numbers)
    assert kit.verify().ok


def test_events_applied_just_before_the_swap_are_in_the_new_tables(kit: EvalKit, tmp_path: Path) -> None:
    """They are there immediately, not only after the next catch-up."""
    study = study_with_checkpoints(kit, 10)
    database: Any = kit.engine.database
    batch, counts = database.batch, []
    with connect(tmp_path / "home") as other, closing(sqlite3.connect(tmp_path / "home" / "evalkit.db")) as reader:

        def overtaken(statements: Any) -> Any:
            swapping = any("RENAME TO" in sql for sql, *_ in statements)
            if swapping and len(counts) < 3:
                other.record_checkpoint(study, sample(100 + len(counts)))
                counts.append(reader.execute("SELECT count(*) FROM checkpoints").fetchone()[0])
            answer = batch(statements)
            if swapping:
                counts.append(reader.execute("SELECT count(*) FROM checkpoints").fetchone()[0])
            return answer

        database.batch = overtaken
        assert kit.rebuild(on_progress=lambda done, total: None).generation == 2
    assert counts == [11, 12, 13, 13]
    assert kit.verify().ok


@pytest.mark.slow
def test_two_concurrent_projectors_give_the_digest_of_one(tmp_path: Path) -> None:
    """Two processes project the same 5,000 events into one read model."""
    home, alone = tmp_path / "home", tmp_path / "alone"
    with connect(home) as kit:
        for number in range(5):
            study_with_checkpoints(kit, 998, f"study {number}", first=number * 1000)
        assert len(log_events(kit)) == 5000
    alone.mkdir()
    shutil.copy(home / "events.db", alone)
    with connect(alone) as kit:
        expected = kit.verify().digest

    conflicts = 0
    for _ in range(5):
        for file in home.glob("evalkit.db*"):
            file.unlink()
        with ExitStack() as stack:
            children = in_step(stack, "catch_up", home, [{"batch_size": 50}] * 2)
            for child in children:
                child.tell()
            reports = [child.hear() for child in children]
            for child in children:
                assert child.finish() == []
        assert [report["digest"] for report in reports] == [expected, expected]
        with connect(home) as kit:
            assert kit.checkpoints().height == 5 * 998
            assert kit.verify(expect=expected).ok
        conflicts += sum(report["conflicts"] for report in reports)
        if conflicts:
            break
    assert conflicts >= 1, "no conflict of the projectors"


class _Inspecting(list[Any]):
    """Messages that inspect the connection when they are appended."""

    def __init__(self, messages: Any, connection: Any, seen: list[tuple[Any, ...]]) -> None:
        super().__init__(messages)
        self._connection, self._seen = connection, seen

    def __iter__(self) -> Iterator[Any]:
        (synchronous,) = self._connection.execute("PRAGMA synchronous").fetchone()
        (mode,) = self._connection.execute("PRAGMA journal_mode").fetchone()
        self._seen.append((self._connection.in_transaction, synchronous, mode))
        return super().__iter__()


def test_an_append_is_a_durable_transaction(kit: EvalKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection has synchronous=FULL (2) and WAL mode, also after it was reopened."""
    study = study_with_checkpoints(kit, 0)
    log: Any = kit.engine.log
    append, seen = log.append, []
    monkeypatch.setattr(log, "append", lambda messages: append(_Inspecting(messages, log._connection, seen)))

    kit.record_checkpoint(study, sample(0))
    kit.close()
    kit.studies()  # opens it again
    kit.record_checkpoint(study, sample(1))

    assert seen == [(True, 2, "wal")] * 2


@pytest.mark.slow
def test_two_processes_rebuild_an_older_read_model(kit: EvalKit, tmp_path: Path) -> None:
    """One rebuilds it, the other one waits."""
    study_with_checkpoints(kit, 5000)
    kit.close()
    with closing(sqlite3.connect(tmp_path / "home" / "evalkit.db")) as database, database:
        database.execute("UPDATE meta SET fold_version = 0")
    with ExitStack() as stack:
        children = in_step(stack, "catch_up", tmp_path / "home", [{"batch_size": 1000}] * 2)
        for child in children:
            child.tell()
        digests = {child.hear()["digest"] for child in children}
        for child in children:
            assert child.finish() == []
    assert digests == {kit.verify().digest}
