"""Fault injection with real processes and files: kills, full disks, missing permissions, lost and damaged files.

The long form (``make faults``) kills ten times as often.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from evalkit import EvalKit, EvalkitError, Study, connect
from evalkit.domain.commands import RecordCheckpoint
from evalkit.domain.events import CheckpointRecorded, CheckpointRetracted, StoredEvalEvent
from evalkit.errors import DatabaseDamagedError, LogDamagedError, LogError, LogMismatchError, SchemaError
from evalkit.readmodel.schema import read_head
from tests.properties import in_long_form
from tests.worker import Child, Marker, flat_sample, sample, shown_errors, study_with_checkpoints

TIMES = in_long_form(10, 1)
RANDOM = -1
"""Kill at a random moment instead of at a marker's value."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


# --- kill -9 -----------------------------------------------------------------------------------------------------------------------


def kill(child: Child, marker: Marker, aim: int, chance: random.Random, at_most: float) -> tuple[list[Any], int]:
    """Kill a busy child; return its output and its last operation."""
    time.sleep(chance.uniform(0, at_most))
    output = child.kill() if aim == RANDOM else child.kill_while(marker, aim)
    return output, marker.get()


def checkpoints_in_log(kit: EvalKit) -> list[str]:
    """Return the ids of all checkpoints in the log, and check that no event is duplicated."""
    events = [StoredEvalEvent.from_wire(record.data) for record in kit.engine.log.consumer("test").poll(1_000_000, 0)]
    assert len({event.event_id for event in events}) == len(events)
    return [event.event.id for event in events if isinstance(event.event, CheckpointRecorded)]


def assert_consistent(kit: EvalKit) -> list[str]:
    """Check that the read model has each checkpoint of the log once, and return their ids."""
    ids = checkpoints_in_log(kit)
    assert len(set(ids)) == len(ids)
    assert sorted(kit.checkpoints()["checkpoint_id"]) == sorted(ids)
    assert kit.rejected().is_empty()
    result = kit.verify()
    assert result.ok, str(result)
    return ids


def assert_mostly_inside(moments: list[int]) -> None:
    """Check that at least half of the kills happened inside an open append, batch or swap."""
    inside = sum(moment != Marker.OUTSIDE for moment in moments)
    print(f"{inside} of {len(moments)} kills were inside: {Counter(moments)}")
    assert inside * 2 >= len(moments)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(TIMES))
def test_killed_writer_loses_no_acknowledged_event(home: Path, tmp_path: Path, seed: int) -> None:
    """An unacknowledged append is either complete or absent."""
    chance = random.Random(seed)
    marker, moments, acknowledged = Marker(tmp_path / "marker"), [], {}
    for trial in range(in_long_form(9, 6)):
        aim = (Marker.APPEND, Marker.BATCH, RANDOM)[trial % 3]
        with Child("record", home, first=len(acknowledged), marker=str(marker.path)) as child:
            assert child.hear() == "ready"
            output, moment = kill(child, marker, aim, chance, 0.3)
        moments.append(moment)
        acknowledged.update(dict(output))
        kit = connect(home)
        if trial == 0 and not acknowledged and not kit.storage.list_studies():
            continue
        recorded = assert_consistent(kit)
        assert set(acknowledged.values()) <= set(recorded)
        assert len(recorded) - len(acknowledged) <= 1
        if trial % 2:
            kit.close()  # so that the next writer is the only process with the files open
        # The next writer repeats unacknowledged checkpoints with the same key.
    assert_mostly_inside(moments)
    assert {Marker.APPEND, Marker.BATCH} <= set(moments)
    with Child("record", home, first=len(acknowledged)) as child:
        assert child.hear() == "ready"
        acknowledged.update([child.hear()])
        acknowledged.update(child.finish())
    with connect(home) as kit:
        assert sorted(assert_consistent(kit)) == sorted(acknowledged.values())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(TIMES))
@pytest.mark.parametrize("as_frame", [False, True], ids=["list", "frame"])
def test_killed_bulk_append_is_atomic(home: Path, tmp_path: Path, seed: int, as_frame: bool) -> None:
    chance, rows = random.Random(seed), 1000 if as_frame else 200
    marker, acknowledged = Marker(tmp_path / "marker"), set()
    for trial in range(in_long_form(4, 3)):
        aim = Marker.BATCH if as_frame and trial % 2 else Marker.APPEND
        with Child("record_many", home, first=1000 * trial, rows=rows, marker=str(marker.path), as_frame=as_frame) as child:
            assert child.hear() == "ready"
            output, _ = kill(child, marker, aim, chance, 0.2)
        acknowledged |= {checkpoint for ids in output for checkpoint in ids}
        with connect(home) as kit:
            recorded = assert_consistent(kit)
        assert acknowledged <= set(recorded)
        assert len(recorded) % rows == 0
        assert len(recorded) <= len(acknowledged) + rows * (trial + 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(TIMES))
def test_killed_creation_of_home_leaves_usable_home(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    for trial in range(in_long_form(5, 3)):
        home = tmp_path / f"home {trial}"
        with Child("record", home, first=0) as child:
            assert child.hear() == "ready"
            time.sleep(chance.uniform(0, 0.08))
            acknowledged = dict(child.kill())
        with connect(home) as kit:
            study_with_checkpoints(kit, 0)
            there = assert_consistent(kit)
            assert set(acknowledged.values()) <= set(there)
            assert len(there) - len(acknowledged) <= 1


def assert_corrections_kept(kit: EvalKit, acknowledged: list[tuple[str, str]]) -> None:
    """Check that acknowledged definitions, amendments, retractions and notes are in the log and in the read model."""
    (study,) = kit.storage.list_studies()
    metrics, latest = kit.storage.get_metrics(study.id), {checkpoint.id: checkpoint for checkpoint in kit.storage.get_checkpoints(study.id)}
    notes = {note.id for note in kit.storage.get_notes(study.id)}
    retracted = {subject for kind, subject in acknowledged if kind == "retract"}
    for kind, subject in acknowledged:
        if kind == "define":
            assert metrics[subject].kind == "count"
        elif kind == "amend" and subject in latest:
            assert latest[subject].revision == 1
            assert list(latest[subject].metrics.custom.values()) == [2]
        elif kind == "note":
            assert subject in notes
    assert not retracted & latest.keys()
    assert {subject for kind, subject in acknowledged if kind == "amend"} - latest.keys() - retracted == unacknowledged(kit, retracted)
    checkpoints_in_log(kit)
    assert kit.rejected().is_empty()
    result = kit.verify()
    assert result.ok, str(result)


def unacknowledged(kit: EvalKit, retracted: set[str]) -> set[str]:
    """Return the checkpoints whose retraction is in the log, but was not acknowledged, because its writer was killed."""
    events = [StoredEvalEvent.from_wire(record.data).event for record in kit.engine.log.consumer("test").poll(1_000_000, 0)]
    return {event.checkpoint_id for event in events if isinstance(event, CheckpointRetracted)} - retracted


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(TIMES))
def test_killed_writer_loses_no_acknowledged_correction(home: Path, tmp_path: Path, seed: int) -> None:
    """Definitions, amendments, retractions and notes, each either complete or absent."""
    chance = random.Random(seed)
    marker, moments, acknowledged = Marker(tmp_path / "marker"), [], []
    with connect(home) as kit:
        study_with_checkpoints(kit, 0)
    for trial in range(in_long_form(9, 6)):
        aim = (Marker.APPEND, Marker.BATCH, RANDOM)[trial % 3]
        with Child("correct", home, first=1000 * trial, marker=str(marker.path)) as child:
            assert child.hear() == "ready"
            output, moment = kill(child, marker, aim, chance, 0.3)
        moments.append(moment)
        acknowledged += [(kind, subject) for kind, subject in output]
        with connect(home) as kit:
            assert_corrections_kept(kit, acknowledged)
    assert_mostly_inside(moments)
    assert {kind for kind, _ in acknowledged} == {"define", "amend", "retract", "note"}


@contextmanager
def growing_log(kit: EvalKit, study: Study, first: int) -> Iterator[list[int]]:
    """Append checkpoints from number `first` on during the block; yield their numbers."""
    appended: list[int] = []
    done = threading.Event()

    def append(count: int) -> None:
        numbers = range(first + len(appended), first + len(appended) + count)
        commands = [RecordCheckpoint(flat_sample(number)) for number in numbers]
        kit.engine.log.append([command.encoded(study.id, command.checkpoint_id(study.id)) for command in commands])
        appended.extend(numbers)

    def go_on() -> None:
        while not done.wait(0.02):
            append(20)

    append(200)
    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield appended
    finally:
        done.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(TIMES))
def test_killed_consumer_applies_events_exactly_once(home: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    marker, moments, recorded = Marker(tmp_path / "marker"), [], 0
    with connect(home) as kit:
        study = study_with_checkpoints(kit, 0)
    for trial in range(in_long_form(9, 4)):
        aim = (Marker.BATCH, RANDOM)[trial % 2]
        kit = connect(home)
        if trial % 2:
            assert kit.checkpoints().height == recorded  # the read model is open in this process when the consumer is killed
        with growing_log(kit, study, recorded) as appended, Child("project", home, batch_size=5, marker=str(marker.path)) as child:
            assert child.hear() == "ready"
            _, moment = kill(child, marker, aim, chance, 0.15)
        moments.append(moment)
        recorded += len(appended)
        head = read_head(kit.engine.database)
        assert head is not None
        (applied,) = kit.engine.database.execute("SELECT (SELECT count(*) FROM checkpoints) + (SELECT count(*) FROM lifecycle)")[0]
        assert head.positions[0].next == applied
        assert len(assert_consistent(kit)) == recorded
        kit.close()
    assert_mostly_inside(moments)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(TIMES))
def test_killed_rebuild_keeps_old_tables(home: Path, tmp_path: Path, seed: int) -> None:
    """The next rebuild drops the shadow tables."""
    chance = random.Random(seed)
    marker, moments, leftovers = Marker(tmp_path / "marker"), [], 0
    rows = in_long_form(2000, 1000)
    with connect(home) as kit:
        study = study_with_checkpoints(kit, rows)
        expected = kit.verify().digest
    for trial in range(in_long_form(6, 3)):
        aim = (Marker.SWAP, Marker.BATCH, RANDOM)[trial % 3]
        with Child("rebuild", home, batch_size=100, marker=str(marker.path)) as child:
            assert child.hear() == "ready"
            output, moment = kill(child, marker, aim, chance, 0.4)
        moments.append(moment)
        with connect(home) as kit:
            left = _shadow_tables(kit)
            leftovers += bool(left)
            assert kit.checkpoints().height == rows + trial
            assert kit.verify(expect=expected).ok
            before = kit.status().generation
            assert before is not None
            assert before in (max(output, default=before), max(output, default=before) + 1)
            # Despite leftover shadow tables, new checkpoints are written to the live tables.
            kit.record_checkpoint(study, sample(100_000 + trial))
            if trial % 2:
                assert kit.rebuild(on_progress=lambda done, total: None).generation == before + 1
                assert _shadow_tables(kit) == []
            assert len(assert_consistent(kit)) == rows + 1 + trial
            expected = kit.verify().digest
    assert_mostly_inside(moments)
    assert Marker.SWAP in moments
    assert leftovers >= 1
    with connect(home) as kit:
        kit.rebuild(on_progress=lambda done, total: None)
        assert _shadow_tables(kit) == []
        assert kit.verify(expect=expected).ok


def _shadow_tables(kit: EvalKit) -> list[str]:
    names = [str(name) for (name,) in kit.engine.database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return [name for name in names if re.search(r"_[0-9a-f]{8}$", name)]


# --- full disks --------------------------------------------------------------------------------------------------------------------

REMEDY = re.compile(r"backup|move|another home|rebuild|upgrade|again|access|full disk|disk is full|space|too large|writable", re.IGNORECASE)


def assert_helpful_error(answer: dict[str, Any], file: Path) -> None:
    """Check that an error is evalkit's, and names the file and a remedy."""
    assert "EvalkitError" in answer["bases"], answer
    assert str(file) in answer["message"]
    assert REMEDY.search(answer["message"]), answer["message"]
    assert answer["shown"] == [f"evalkit.errors.{answer['error']}"], "the traceback contains a driver error"


@pytest.mark.slow
def test_full_disk_at_any_operation(home: Path) -> None:
    """Nothing is appended, or the event is appended and its outcome can be queried later."""
    with Child("fill_up", home) as child:
        *answers, end = child.finish()

    ends = Counter()
    for answer in answers:
        ends[answer.get("error", "recorded")] += 1
        appended = answer["after"] - answer["before"]
        if "value" in answer:
            assert appended == 1
            continue
        assert_helpful_error(answer, home)
        if answer["error"] == "OutcomeUnknownError":
            assert appended == 1
            assert "o events were appended" not in answer["message"]
            assert answer["outcome"]
        else:
            assert appended == 0, answer["message"]
    assert end == {"verified": True, "checkpoints": sum(answer["after"] - answer["before"] for answer in answers)}
    assert ends["LogUnavailableError"] >= 1
    assert ends["OutcomeUnknownError"] >= 1
    assert ends["recorded"] >= 1
    assert ends.keys() <= {"LogUnavailableError", "DatabaseUnavailableError", "OutcomeUnknownError", "recorded"}


@pytest.mark.slow
def test_full_disk_during_creation_of_home(tmp_path: Path) -> None:
    with Child("fill_up_first", tmp_path) as child:
        answers = child.finish()

    for number, answer in enumerate(answers):
        assert answer["studies"] == answer["events"] == 1
        if "error" in answer:
            assert_helpful_error(answer, tmp_path / str(number))
    assert len({answer.get("error") for answer in answers}) >= 2


@pytest.mark.slow
def test_full_disk_during_rebuild_keeps_old_tables(home: Path) -> None:
    with connect(home) as kit:
        study_with_checkpoints(kit, 3000)
    with Child("fill_up_rebuild", home) as child:
        (answer,) = child.finish()

    assert answer["error"] == "DatabaseUnavailableError"
    assert_helpful_error(answer, home / "evalkit.db")
    assert answer["before"] == answer["during"] == 3000
    assert answer["generation"] == 2
    assert answer["verified"] is True


# --- read-only homes ---------------------------------------------------------------------------------------------------------------

WITHOUT_ROOT = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all") if os.geteuid() == 0 else ()


def forbid_writing(home: Path, *, forbidden: bool) -> None:
    for file in home.iterdir():
        file.chmod(0o444 if forbidden else 0o600)
    home.chmod(0o555 if forbidden else 0o700)


@pytest.mark.slow
@pytest.mark.parametrize("in_use", [False, True], ids=["closed", "in use"])
def test_read_only_home_allows_queries_only(home: Path, in_use: bool) -> None:
    """With one warning about the age of the read model."""
    kit = connect(home)
    study = study_with_checkpoints(kit, 3)
    events = kit.status().events
    if not in_use:
        kit.close()
    forbid_writing(home, forbidden=True)
    try:
        with Child("look", home, prefix=WITHOUT_ROOT) as child:
            child.tell()
            first = child.hear()
            forbid_writing(home, forbidden=False)
            kit.record_checkpoint(study, sample(3))
            if not in_use:
                kit.close()
            forbid_writing(home, forbidden=True)
            child.tell()
            second = child.hear()
            assert child.finish() == []
    finally:
        forbid_writing(home, forbidden=False)

    assert [answer["error"] for answer in first["plain"]] == ["PermissionError"] * 3
    assert first["seen"]["studies"] == ["study"]
    assert first["seen"]["checkpoints"] == [0, 1, 2]
    assert (first["seen"]["lifecycle"], first["seen"]["rejected"]) == (2, 0)
    assert first["seen"]["pandas"] == first["seen"]["models"] == 3
    assert second["seen"]["checkpoints"] == [0, 1, 2, 3], "a read-only kit reads the new checkpoint"
    (warning,) = first["warnings"]
    assert "not writable" in warning
    assert "newest event" in warning
    assert second["warnings"] == []
    assert any("not writable" in problem for problem in first["seen"]["problems"])
    for answer in [*first["refused"].values(), *second["refused"].values()]:
        assert answer["error"] == "ReadOnlyError"
        assert "PermissionError" in answer["bases"]
        assert_helpful_error(answer, home)
    assert events is not None
    assert kit.status().events == events + 1
    kit.close()


# --- lost, foreign and newer files -------------------------------------------------------------------------------------------------


class Aged:
    """A home with a history, and a backup from the middle of it. No file is open."""

    def __init__(self, folder: Path) -> None:
        self.home, self.backup = folder / "home", folder / "backup"
        with connect(self.home) as kit:
            self.study = study_with_checkpoints(kit, 10)
        shutil.copytree(self.home, self.backup)
        with connect(self.home) as kit:
            study_with_checkpoints(kit, 5, first=10)

    def put_back(self, name: str) -> None:
        for file in self.home.glob(f"{name}*"):
            file.unlink()
        shutil.copy(self.backup / name, self.home)

    def lose_the_tail(self) -> None:
        self.put_back("events.db")

    def lose_the_tail_and_grow(self) -> None:
        self.lose_the_tail()
        with connect(self.backup, log_url=f"sqlite:{self.home / 'events.db'}") as other:
            study_with_checkpoints(other, 50, first=1000)

    def lose_the_tail_and_grow_to_the_same_length(self) -> None:
        self.lose_the_tail()
        with connect(self.backup, log_url=f"sqlite:{self.home / 'events.db'}") as other:
            study_with_checkpoints(other, 5, first=1000)

    def lose_the_write_ahead_file(self) -> None:
        with Child("record", self.home, first=100) as child:
            assert child.hear() == "ready"
            child.hear()
            child.kill()
        (self.home / "events.db-wal").unlink()

    def lose_the_log(self) -> None:
        (self.home / "events.db").unlink()

    def swap_the_log(self) -> None:
        with connect(self.backup.with_name("foreign")) as foreign:
            study_with_checkpoints(foreign, 30)
        self.lose_the_log()
        shutil.copy(self.backup.with_name("foreign") / "events.db", self.home)


@pytest.fixture
def aged(tmp_path: Path) -> Aged:
    return Aged(tmp_path)


def contents(home: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in home.iterdir() if not file.name.endswith(("-shm", "-wal"))}


def uses(kit: EvalKit) -> dict[str, Callable[[], object]]:
    """Return every use of a kit that has a study "study"."""
    return {
        "studies": kit.studies,
        "checkpoints": kit.checkpoints,
        "checkpoints of one": lambda: kit.checkpoints("study"),
        "models": kit.storage.list_studies,
        "create": lambda: kit.create_study("another"),
        "open": lambda: kit.create_study("study", if_exists="open"),
        "pause": lambda: kit.pause_study("study"),
        "record": lambda: kit.record_checkpoint("study", sample(999_999)),
        "verify": kit.verify,
        "rebuild": lambda: kit.rebuild(on_progress=lambda done, total: None),
    }


def assert_rejected(call: Callable[[], object], kind: type[EvalkitError]) -> EvalkitError:
    """Check that a call raises an error of a kind with a remedy, without the driver's error as its cause."""
    with pytest.raises(EvalkitError) as error:
        call()
    assert isinstance(error.value, kind), error.value
    assert REMEDY.search(str(error.value)), error.value
    assert shown_errors(error.value) == [f"evalkit.errors.{type(error.value).__name__}"]
    return error.value


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (Aged.lose_the_tail, "lost its last events"),
        (Aged.lose_the_tail_and_grow, "lost its last events|different log"),
        (Aged.lose_the_tail_and_grow_to_the_same_length, "lost its last events|different log"),
        (Aged.lose_the_write_ahead_file, "lost its last events"),
        (Aged.lose_the_log, "is empty"),
        (Aged.swap_the_log, "not the log that the read model was built from"),
    ],
)
def test_different_log_is_rejected_until_adopted(aged: Aged, damage: Callable[[Aged], None], problem: str) -> None:
    damage(aged)
    connect(aged.home).close()
    with closing(sqlite3.connect(aged.home / "evalkit.db")) as reader:
        count = reader.execute("SELECT count(*) FROM checkpoints").fetchone()
        before = contents(aged.home)
        with connect(aged.home) as kit:
            for call in uses(kit).values():
                assert re.search(problem, str(assert_rejected(call, LogMismatchError)))
            assert any(re.search(problem, reported) for reported in kit.status().problems)
        assert reader.execute("SELECT count(*) FROM checkpoints").fetchone() == count
        assert contents(aged.home) == before

    with connect(aged.home) as kit:
        kit.rebuild(adopt_log=True, on_progress=lambda done, total: None)
        assert kit.verify().ok
        kit.create_study("after all")
        assert kit.verify().ok


def test_events_are_appended_to_replaced_log(aged: Aged) -> None:
    """Never to a file that was moved away."""
    with connect(aged.home) as kit:
        kit.record_checkpoint("study", sample(20))
        for file in aged.home.glob("events.db*"):
            file.rename(file.with_name(f"old {file.name}"))
        shutil.copy(aged.backup / "events.db", aged.home)
        try:
            acknowledged = kit.record_checkpoint("study", sample(21)).id
        except EvalkitError:
            acknowledged = None
        with connect(aged.backup.with_name("look"), log_url=f"sqlite:{aged.home / 'events.db'}") as other:
            assert acknowledged is None or acknowledged in checkpoints_in_log(other)


@pytest.mark.parametrize("column", ["schema_version", "fold_version"])
def test_newer_read_model_is_rejected_unchanged(aged: Aged, column: str) -> None:
    with closing(sqlite3.connect(aged.home / "evalkit.db")) as database, database:
        database.execute(f"UPDATE meta SET {column} = {column} + 1")
    before = contents(aged.home)
    with connect(aged.home) as kit:
        for call in uses(kit).values():
            assert "Upgrade evalkit from where you installed it" in str(assert_rejected(call, SchemaError))
        assert any("newer version of evalkit" in problem for problem in kit.status().problems)
    assert contents(aged.home) == before


def test_open_kit_stops_when_read_model_is_upgraded(aged: Aged) -> None:
    with connect(aged.home) as kit:
        kit.record_checkpoint("study", sample(20))
        with closing(sqlite3.connect(aged.home / "evalkit.db", isolation_level=None)) as database:
            database.execute("UPDATE meta SET schema_version = schema_version + 1")
            count = database.execute("SELECT count(*) FROM checkpoints").fetchone()
            assert "Upgrade evalkit from where you installed it" in str(assert_rejected(uses(kit)["record"], EvalkitError))
            assert "Upgrade evalkit from where you installed it" in str(assert_rejected(uses(kit)["checkpoints"], SchemaError))
            assert database.execute("SELECT count(*) FROM checkpoints").fetchone() == count


def test_older_read_model_is_rebuilt(aged: Aged) -> None:
    with closing(sqlite3.connect(aged.home / "evalkit.db")) as database, database:
        database.execute("UPDATE meta SET fold_version = fold_version - 1")
    with connect(aged.home) as kit:
        assert kit.checkpoints().height == 15
        assert kit.status().generation == 2
        assert kit.verify().ok


def test_newer_log_is_rejected_unchanged(aged: Aged) -> None:
    with closing(sqlite3.connect(aged.home / "events.db")) as log, log:
        log.execute("PRAGMA user_version = 2")
    before = contents(aged.home)
    with connect(aged.home) as kit:
        for call in uses(kit).values():
            assert "Upgrade evalkit from where you installed it" in str(assert_rejected(call, LogError))
    assert contents(aged.home) == before


def test_tables_of_another_program_are_rejected_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as theirs, theirs:
        theirs.execute("CREATE TABLE studies (anything)")
        theirs.execute("INSERT INTO studies VALUES ('precious')")
    with connect(tmp_path / "home", database_url=f"file:{path}") as kit:
        for name in ("create", "models", "rebuild"):
            assert_rejected(uses(kit)[name], SchemaError)
    with closing(sqlite3.connect(path)) as theirs:
        assert theirs.execute("SELECT * FROM studies").fetchall() == [("precious",)]
        assert theirs.execute("SELECT count(*) FROM sqlite_master").fetchone() == (1,)


def test_database_at_log_path_is_rejected_unchanged(aged: Aged) -> None:
    with connect(aged.home.with_name("new"), log_url=f"sqlite:{aged.home / 'evalkit.db'}") as kit:
        for name in ("models", "create", "rebuild", "verify"):
            assert str(aged.home / "evalkit.db") in str(assert_rejected(uses(kit)[name], LogDamagedError))
    with connect(aged.home) as kit:
        assert kit.verify().ok


def test_log_and_read_model_require_separate_files(aged: Aged) -> None:
    before = contents(aged.home)
    with pytest.raises(EvalkitError) as error, connect(aged.home, database_url=f"file:{aged.home / 'events.db'}") as kit:
        kit.create_study("another")
    assert "events.db" in str(error.value)
    assert contents(aged.home) == before


# --- damaged files -----------------------------------------------------------------------------------------------------------------


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda data: data[: int(len(data) * share)]


def garbage(data: bytes) -> bytes:
    return random.Random(5).randbytes(len(data))


def garbage_after_the_header(data: bytes) -> bytes:
    return data[:100] + garbage(data)[100:]


def zeros(data: bytes) -> bytes:
    return bytes(len(data))


def other_text(data: bytes) -> bytes:
    return b"This is a note, not a database.\n" * 400


DAMAGES = {
    "cut in half": cut(0.5),
    "cut inside a page": cut(0.77),
    "cut inside the header": lambda data: data[:57],
    "garbage": garbage,
    "garbage after the header": garbage_after_the_header,
    "zeros": zeros,
    "a text": other_text,
}


def damage(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize("change", DAMAGES.values(), ids=DAMAGES)
def test_damaged_log_is_rejected_unchanged(aged: Aged, change: Callable[[bytes], bytes]) -> None:
    damage(aged.home / "events.db", change)
    before = contents(aged.home)
    with connect(aged.home) as kit:
        for call in uses(kit).values():
            error = assert_rejected(call, LogDamagedError)
            assert str(aged.home / "events.db") in str(error)
        assert any(str(aged.home / "events.db") in problem for problem in kit.status().problems)
    assert contents(aged.home) == before


@pytest.mark.parametrize("change", [cut(0.5), garbage, zeros, other_text], ids=["cut", "garbage", "zeros", "a text"])
def test_damaged_log_without_read_model_is_rejected_unchanged(aged: Aged, change: Callable[[bytes], bytes]) -> None:
    (aged.home / "evalkit.db").unlink()
    damage(aged.home / "events.db", change)
    before = (aged.home / "events.db").read_bytes()
    with connect(aged.home) as kit:
        for name in ("models", "create", "verify", "rebuild"):
            error = assert_rejected(uses(kit)[name], LogDamagedError)
            assert str(aged.home / "events.db") in str(error)
    assert (aged.home / "events.db").read_bytes() == before


def test_emptied_log_is_rejected_unchanged(aged: Aged) -> None:
    (aged.home / "events.db").write_bytes(b"")
    before = contents(aged.home)
    with connect(aged.home) as kit:
        for call in uses(kit).values():
            assert str(aged.home / "events.db") in str(assert_rejected(call, LogDamagedError))
    assert contents(aged.home) == before


@pytest.mark.parametrize("change", DAMAGES.values(), ids=DAMAGES)
def test_damaged_read_model_can_be_rebuilt(aged: Aged, change: Callable[[bytes], bytes]) -> None:
    path = aged.home / "evalkit.db"
    damage(path, change)
    before = contents(aged.home)
    with connect(aged.home) as kit:
        for call in uses(kit).values():
            assert str(path) in str(assert_rejected(call, DatabaseDamagedError))
        assert any(str(path) in problem for problem in kit.status().problems)
    assert contents(aged.home) == before

    path.rename(path.with_name("damaged.db"))
    with connect(aged.home) as kit:
        assert kit.checkpoints().height == 15
        assert kit.verify().ok


def test_verify_and_rebuild_detect_damaged_page(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with connect(home) as kit:
        study_with_checkpoints(kit, 2000)
    path = home / "events.db"
    data = path.read_bytes()
    middle = len(data) // 2 // 4096 * 4096
    path.write_bytes(data[:middle] + garbage(data)[:4096] + data[middle + 4096 :])
    before = contents(home)
    with connect(home) as kit:
        for name in ("verify", "rebuild"):
            assert str(path) in str(assert_rejected(uses(kit)[name], LogDamagedError))
        assert kit.checkpoints().height == 2000
    assert contents(home)["events.db"] == before["events.db"]
