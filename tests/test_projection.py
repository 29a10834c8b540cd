"""Catch-up, rebuild and verify, with changes of the log or the database by other processes, and with crashes."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from inline_snapshot import snapshot

import evalkit
from evalkit.domain.events import MAX_EVENT_BYTES, EncodedEvent, StoredEvalEvent
from evalkit.errors import (
    DatabaseDamagedError,
    DatabaseUnavailableError,
    EvalkitError,
    LogIncompleteError,
    LogMismatchError,
    RebuildSupersededError,
    SchemaError,
)
from evalkit.eventlog.event_log import EventLog, LogPosition, partition_of
from evalkit.eventlog.sqlite_log import SqliteEventLog
from evalkit.readmodel.consumer import EvalProjectionConsumer
from evalkit.readmodel.database.database import Args, Row, Statement
from evalkit.readmodel.database.sqlite_database import SqliteDatabase
from evalkit.readmodel.fold import FOLD_VERSION
from evalkit.readmodel.rebuild import rebuild
from evalkit.readmodel.schema import SCHEMA_VERSION, TABLES
from evalkit.readmodel.snapshot import Snapshot
from evalkit.readmodel.verify import digest, verify
from tests.generators import STUDIES
from tests.memory_log import InMemoryEventLog
from tests.messages import says

REAL = (Path(__file__).parent / "data" / "wire_events.ndjson").read_bytes().splitlines()
REAL_DIGEST = "73e7b7faf585530f6f98bdcb5a265bce3429743d08a50725c5593a78510b0245"
"""The digest of the 43 real events. It changes only with the version of fold or schema."""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "read model.db")
    yield database
    database.close()


def event(study: int = 0, kind: str = "study_created", number: int = 0) -> EncodedEvent:
    """Return an event of one of four studies, each of which belongs to another of four partitions."""
    study_id, event_id = STUDIES[study], f"018bcfe5-{number:04x}-7000-8000-{study:012d}"
    content: dict[str, Any] = {"type": kind, "id": study_id}
    if kind == "study_created":
        content |= {"name": f"study {study}", "period_type": "daily", "config": {}}
    if kind == "checkpoint_recorded":
        day = "2026-01-01T00:00:00Z"
        content |= {"id": f"00000000-0000-4000-8000-{number:012d}", "study_id": study_id, "timestamp": day, "events_analyzed": number}
        content |= {"metrics": {"total_tokens": number, "period": {"start": day, "end": day}}, "sessions_included": []}
    stored = StoredEvalEvent.model_validate({"event_id": event_id, "event": content}, strict=False)
    return EncodedEvent(study_id, event_id, stored.to_wire())


IN_LAST_PARTITION = next(event(study) for study in range(4) if partition_of(STUDIES[study], 4) == 3)


def history(checkpoints: int = 12, studies: Sequence[int] = (0, 1, 2, 3)) -> list[EncodedEvent]:
    created = [event(study, number=study) for study in studies]
    return created + [event(studies[number % len(studies)], "checkpoint_recorded", number) for number in range(100, 100 + checkpoints)]


def log_of(messages: Sequence[EncodedEvent], partitions: int = 1) -> InMemoryEventLog:
    log = InMemoryEventLog(partitions)
    log.append(messages)
    return log


def contents(database: SqliteDatabase) -> dict[str, list[Row]]:
    """Return all rows of the tables that the projection writes."""
    return {table: database.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in [*TABLES, "meta"]}


def digest_of(database: SqliteDatabase) -> str:
    return digest(Snapshot(database))


def assert_stopped(call: Callable[[], object], database: SqliteDatabase, kind: type[EvalkitError], hint: str = "") -> str:
    """Check that a call raises an error and leaves the tables unchanged."""
    before = contents(database)
    with pytest.raises(kind) as error:
        call()
    assert contents(database) == before
    assert hint in error.value.message.hint
    return says(error)


# --- a different or damaged log -------------------------------------------------------------------------------------------------------


def lose_the_tail(log: InMemoryEventLog) -> None:
    del log._partitions[-1][-2:]


def lose_the_tail_and_grow_as_far(log: InMemoryEventLog) -> None:
    lose_the_tail(log)
    grow(log, 2)


def lose_the_tail_and_grow_past_it(log: InMemoryEventLog) -> None:
    lose_the_tail(log)
    grow(log, 7)


def lose_everything(log: InMemoryEventLog) -> None:
    log._partitions[-1].clear()


def become_another(log: InMemoryEventLog) -> None:
    log._partitions[-1].clear()
    grow(log, 20)


def change_the_last_event(log: InMemoryEventLog) -> None:
    log._partitions[-1][-1] = log._partitions[-1][-1].replace(b'"total_tokens":', b'"total_tokens":1')


def grow(log: InMemoryEventLog, count: int) -> None:
    study = next(index for index, study in enumerate(STUDIES) if partition_of(study, len(log._partitions)) == len(log._partitions) - 1)
    log.append([event(study, "checkpoint_recorded", number) for number in range(500, 500 + count)])


DAMAGES = [
    lose_the_tail, lose_the_tail_and_grow_as_far, lose_the_tail_and_grow_past_it, lose_everything, become_another, change_the_last_event,
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("damage", DAMAGES)
def test_different_log_is_rejected_until_adopted(
    database: SqliteDatabase, damage: Callable[[InMemoryEventLog], None], partitions: int
) -> None:
    """By a running and a new consumer, a rebuild and verify."""
    log = log_of(history(), partitions)
    running = EvalProjectionConsumer(log, database)
    running.catch_up()
    damage(log)
    for call in (
        running.catch_up,
        lambda: EvalProjectionConsumer(log, database).catch_up(),
        lambda: rebuild(database, log),
        lambda: verify(database, log),
        running.catch_up,
    ):
        assert_stopped(call, database, LogMismatchError, "adopt_log=True")
    rebuild(database, log, adopt_log=True)
    running.restart()
    running.catch_up()
    assert verify(database, log).ok
    log.append([event(0, "study_started", 900)])
    running.catch_up()
    assert verify(database, log).ok


def test_new_events_do_not_hide_missing_ones_in_another_partition(database: SqliteDatabase) -> None:
    log = log_of(history(), 4)
    running = EvalProjectionConsumer(log, database)
    running.catch_up()
    lose_the_tail(log)
    other = next(index for index, study in enumerate(STUDIES) if partition_of(study, 4) == 0)
    log.append([event(other, "checkpoint_recorded", 700)])
    with pytest.raises(LogMismatchError) as error:
        running.catch_up()
    assert says(error) == snapshot(
        "Partition 3 of the log ends at offset 2, but the read model applied events up to offset 4: the log lost its last events. Nothing was changed. Restore the log from a backup if you have one. If this is the right log, rebuild the read model from it: kit.rebuild(adopt_log=True)."
    )


def test_changed_partition_count_is_rejected_until_adopted(database: SqliteDatabase) -> None:
    EvalProjectionConsumer(log_of(history()), database).catch_up()
    for partitions in (4, 1, 2):
        log = log_of(history(), partitions)
        before = digest_of(database)
        for call in (EvalProjectionConsumer(log, database).catch_up, partial(rebuild, database, log), partial(verify, database, log)):
            assert_stopped(call, database, LogMismatchError, "adopt_log=True")
        rebuild(database, log, adopt_log=True)
        EvalProjectionConsumer(log, database).catch_up()
        assert digest_of(database) == before
        assert len(database.execute("SELECT * FROM positions")) == partitions


def test_consumer_of_old_log_writes_nothing_after_adoption(database: SqliteDatabase) -> None:
    """Even if its partition has no position any more: every batch compares the generation."""
    old, new = log_of(history(), 4), log_of(history(4, studies=[0]))
    stale = EvalProjectionConsumer(old, database)
    stale.catch_up()
    rebuild(database, new, adopt_log=True)
    in_the_last = next(index for index, study in enumerate(STUDIES) if partition_of(study, 4) == 3)
    old.append([event(in_the_last, "checkpoint_recorded", 800), event(in_the_last, "study_stopped", 801)])
    assert assert_stopped(stale.catch_up, database, LogMismatchError) == snapshot(
        "The log has 4 partitions, but the read model was built from 1: the topic was changed, or this is a different log. The events of a study would no longer be in order: export the log, recreate it, and import it. If this is the right log, rebuild the read model from it: kit.rebuild(adopt_log=True)."
    )


def sqlite_log(path: Path, messages: Sequence[EncodedEvent]) -> SqliteEventLog:
    log = SqliteEventLog(path)
    log.append(messages)
    return log


def delete_events(log: SqliteEventLog, where: str) -> None:
    with closing(sqlite3.connect(log.path)) as connection, connection:
        connection.execute(f'DELETE FROM events WHERE "offset" {where}')


def test_log_without_first_events_is_rejected(database: SqliteDatabase, tmp_path: Path) -> None:
    """By catch-up, rebuild and verify; the read model remains readable."""
    log = sqlite_log(tmp_path / "events.db", history())
    EvalProjectionConsumer(log, database, batch_size=5).catch_up(until=[5])
    fresh = SqliteDatabase(tmp_path / "fresh.db")
    delete_events(log, "< 3")
    assert log.ranges() == [(3, 16)]
    for call in (
        lambda: EvalProjectionConsumer(log, database).catch_up(),
        lambda: rebuild(database, log),
        lambda: rebuild(database, log, adopt_log=True),
        lambda: verify(database, log),
    ):
        assert assert_stopped(call, database, LogIncompleteError) == snapshot(
            "Partition 0 of the log starts at offset 3: its first 3 events are missing, so a read model cannot be built from it. The read model remains readable. Restore the log from a backup (`evalkit log export` creates one)."
        )
    with pytest.raises(LogIncompleteError):
        EvalProjectionConsumer(log, fresh).catch_up()
    assert not fresh.path.exists() or fresh.execute("SELECT count(*) FROM studies") == [(0,)]
    assert len(database.execute("SELECT * FROM studies")) == 4
    fresh.close()
    log.close()


def test_catch_up_stops_at_gap_in_offsets(database: SqliteDatabase, tmp_path: Path) -> None:
    log = sqlite_log(tmp_path / "events.db", history())
    delete_events(log, "= 9")
    for _ in range(2):
        with pytest.raises(LogMismatchError) as error:
            EvalProjectionConsumer(log, database, batch_size=4).catch_up()
        assert says(error) == snapshot(
            "Partition 0 of the log has a gap: expected offset 9, got 10. Nothing was changed. If this is the right log, rebuild the read model from it: kit.rebuild(adopt_log=True)."
        )
        ((reached,),) = database.execute("SELECT next FROM positions")
        assert int(str(reached)) <= 9
        assert len(database.execute("SELECT * FROM checkpoints")) == max(int(str(reached)) - 4, 0)
    log.close()


@pytest.mark.parametrize("group", ["eval-projection", "eval-rebuild"])
@pytest.mark.parametrize("offset", [0, 3, 10_000])
def test_committed_position_has_no_effect(database: SqliteDatabase, tmp_path: Path, group: str, offset: int) -> None:
    """On a running consumer, a new one, a rebuild and verify."""
    log = sqlite_log(tmp_path / "events.db", history())
    running = EvalProjectionConsumer(log, database, batch_size=5)
    running.catch_up()
    log.append([event(0, "study_started", 600)])
    log.consumer(group).commit(LogPosition(0, offset))
    running.catch_up()
    log.append([event(1, "study_started", 601)])
    log.consumer(group).commit(LogPosition(0, offset))
    EvalProjectionConsumer(log, database).catch_up()
    assert database.execute("SELECT count(*) FROM lifecycle WHERE kind = 'study_started'") == [(2,)]
    assert database.execute("SELECT count(*) FROM rejected") == [(0,)]
    before = digest_of(database)
    log.consumer(group).commit(LogPosition(0, offset))
    rebuild(database, log)
    assert verify(database, log, expect=before).ok
    log.close()


# --- versions -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["schema_version", "fold_version"])
def test_newer_read_model_is_rejected(database: SqliteDatabase, column: str) -> None:
    """By a running and a new consumer, a rebuild and verify."""
    log = log_of(history())
    running = EvalProjectionConsumer(log, database)
    running.catch_up()
    database.batch([(f"UPDATE meta SET {column} = {column} + 1", ())])
    log.append([event(0, "study_started", 600)])
    for call in (
        running.catch_up,
        lambda: EvalProjectionConsumer(log, database).catch_up(),
        lambda: rebuild(database, log),
        lambda: rebuild(database, log, adopt_log=True),
        lambda: verify(database, log),
    ):
        assert_stopped(call, database, SchemaError, "Upgrade evalkit")


@pytest.mark.parametrize("column", ["schema_version", "fold_version"])
def test_older_read_model_requires_rebuild(database: SqliteDatabase, column: str) -> None:
    log = log_of(history())
    running = EvalProjectionConsumer(log, database)
    running.catch_up()
    before = digest_of(database)
    database.batch([(f"UPDATE meta SET {column} = {column} - 1", ())])
    log.append([event(0, "study_started", 600)])
    for call in (running.catch_up, lambda: EvalProjectionConsumer(log, database).catch_up()):
        assert_stopped(call, database, SchemaError, "kit.rebuild()")
    rebuild(database, log)
    assert database.execute("SELECT schema_version, fold_version, generation FROM meta") == [(SCHEMA_VERSION, FOLD_VERSION, 2)]
    running.catch_up()
    assert verify(database, log).ok
    assert digest_of(database) != before


@pytest.mark.parametrize("column", ["schema_version", "fold_version"])
def test_embedded_home_rebuilds_older_read_model_on_first_use(tmp_path: Path, column: str) -> None:
    for use in (lambda kit: kit.studies(), lambda kit: kit.start_study("study"), lambda kit: kit.status(), lambda kit: kit.verify()):
        home = tmp_path / f"{sha256(repr(use).encode()).hexdigest()}"
        with evalkit.connect(home) as kit:
            kit.create_study("study")
        with closing(sqlite3.connect(home / "evalkit.db")) as connection, connection:
            connection.execute(f"UPDATE meta SET {column} = {column} - 1")
            connection.execute("UPDATE studies SET name = 'as the older version had it'")
        with evalkit.connect(home) as kit:
            use(kit)
            assert kit.studies()["name"].to_list() == ["study"]
            assert kit.status().generation == 2
            assert kit.verify().ok


def test_tables_of_another_program_are_rejected_unchanged(database: SqliteDatabase) -> None:
    database.batch([("CREATE TABLE studies (id INTEGER)", ()), ("INSERT INTO studies VALUES (7)", ())])
    for call in (EvalProjectionConsumer(log_of(history()), database).catch_up, lambda: rebuild(database, log_of(history()))):
        with pytest.raises(SchemaError) as error:
            call()
        assert says(error) == snapshot(
            "The database already has tables that evalkit did not create: studies. Nothing was changed. Use a separate database for evalkit: another home, or another EVALKIT_DATABASE_URL. If evalkit created this file, move it away: the next command rebuilds the read model from the log."
        )
    assert database.execute("SELECT name FROM sqlite_master") == [("studies",)]
    assert database.execute("SELECT * FROM studies") == [(7,)]


# --- crashes --------------------------------------------------------------------------------------------------------------------------


class Crash(Exception):
    """Simulates a crash of the process."""


class CrashingDatabase:
    """A database that crashes in one of its batches, before or right after the write."""

    def __init__(self, database: SqliteDatabase, at: int, *, after: bool) -> None:
        self._database, self._left, self._after = database, at, after

    def execute(self, sql: str, args: Args = ()) -> list[Row]:
        return self._database.execute(sql, args)

    def batch(self, statements: Sequence[Statement]) -> list[list[Row]]:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Crash
        answers = self._database.batch(statements)
        if self._left == 0:
            raise Crash
        return answers

    def close(self) -> None:
        self._database.close()


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("same", [False, True], ids=["another process", "the same process"])
def test_crash_in_any_batch_loses_and_repeats_nothing(tmp_path: Path, after: bool, same: bool) -> None:
    """Rows, outcomes and positions are written atomically."""
    messages = [*history(100), event(0, "study_started", 500), event(0, "study_started", 501), event(1, "study_paused", 502)]
    log = log_of(messages, 4)
    expected = SqliteDatabase(tmp_path / "expected.db")
    EvalProjectionConsumer(log, expected).catch_up()
    crashes = 0
    for at in range(1, 30):
        database = SqliteDatabase(tmp_path / f"{at}.db")
        consumer = EvalProjectionConsumer(log, CrashingDatabase(database, at, after=after), batch_size=2)
        try:
            consumer.catch_up()
        except Crash:
            crashes += 1
            if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'"):
                assert_consistent(database, log)
        (consumer if same else EvalProjectionConsumer(log, database)).catch_up()
        assert digest_of(database) == digest_of(expected)
        database.close()
    assert crashes >= 8
    expected.close()


def assert_consistent(database: SqliteDatabase, log: InMemoryEventLog) -> None:
    """Check that the rows are those of the events before the positions."""
    reached = [int(str(value)) for (value,) in database.execute('SELECT next FROM positions ORDER BY "partition"')]
    decided = sum(int(str(database.execute(f"SELECT count(*) FROM {table}")[0][0])) for table in ("checkpoints", "lifecycle", "rejected"))
    assert decided == sum(reached)
    assert verify(database, log).ok


def test_consumer_continues_after_database_failure(database: SqliteDatabase) -> None:
    """It discards the state of the failed batch."""

    class Failing(CrashingDatabase):
        def batch(self, statements: Sequence[Statement]) -> list[list[Row]]:
            try:
                return super().batch(statements)
            except Crash:
                raise DatabaseUnavailableError("The disk is full.") from None

    log = log_of(history(4))
    EvalProjectionConsumer(log, database).catch_up()
    consumer = EvalProjectionConsumer(log, Failing(database, 2, after=False))
    consumer.catch_up()
    log.append([event(0, "study_started", 500), event(0, "study_started", 501)])
    with pytest.raises(DatabaseUnavailableError):
        consumer.catch_up()
    assert database.execute("SELECT count(*) FROM rejected") == [(0,)]
    consumer.catch_up()
    assert database.execute("SELECT status FROM studies WHERE id = ?", (STUDIES[0],)) == [("running",)]
    assert database.execute("SELECT event_id, reason FROM rejected") == [(event_id_of(log, -1), "transition not allowed")]
    assert verify(database, log).ok


def event_id_of(log: InMemoryEventLog, index: int) -> str:
    return StoredEvalEvent.from_wire(log._partitions[0][index]).event_id


# --- several projectors ---------------------------------------------------------------------------------------------------------------


def test_slower_consumer_counts_conflict_and_continues(database: SqliteDatabase) -> None:
    log = log_of(history())
    first, second = EvalProjectionConsumer(log, database), EvalProjectionConsumer(log, database)
    first.catch_up()
    second.catch_up()
    assert (first.conflicts, second.conflicts) == (0, 0)
    log.append([event(0, "study_started", 500)])
    first.catch_up()
    second.catch_up()
    assert (first.conflicts, second.conflicts) == (0, 1)
    log.append([event(0, "study_paused", 501)])
    second.catch_up()
    first.catch_up()
    assert (first.conflicts, second.conflicts) == (1, 1)
    assert database.execute("SELECT status FROM studies WHERE id = ?", (STUDIES[0],)) == [("paused",)]
    assert database.execute("SELECT count(*) FROM rejected") == [(0,)]
    assert verify(database, log).ok


def test_concurrent_consumers_apply_each_event_once(database: SqliteDatabase) -> None:
    """Four live consumers on one database; each stops when its event is set."""
    log, stop, start = InMemoryEventLog(4), threading.Event(), threading.Barrier(5)
    databases = [SqliteDatabase(database.path) for _ in range(4)]
    consumers = [EvalProjectionConsumer(log, database, batch_size=3) for database in databases]
    applied: list[int] = []

    def live(consumer: EvalProjectionConsumer) -> None:
        start.wait(30)
        consumer.run(stop, on_batch=applied.append)

    threads = [threading.Thread(target=live, args=(consumer,)) for consumer in consumers]
    for thread in threads:
        thread.start()
    start.wait(30)
    log.append(history(0))
    appended, deadline = 4, time.monotonic() + 120
    while sum(applied) < appended or sum(consumer.conflicts for consumer in consumers) == 0:
        assert time.monotonic() < deadline, f"{sum(applied)} of {appended} applied, without a conflict"
        if sum(applied) == appended:
            log.append([event(number % 4, "checkpoint_recorded", number) for number in range(appended, appended + 100)])
            appended += 100
        time.sleep(0.001)
    stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert sum(applied) == appended
    assert verify(database, log).ok
    for opened in databases:
        opened.close()


@pytest.mark.parametrize("data", [b"not an event", IN_LAST_PARTITION.data], ids=["invalid bytes", "wrong partition"])
def test_copies_in_two_partitions_can_be_applied_at_the_same_time(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    """A consumer applies the copy in one partition after another consumer has decided about that in the other."""
    log = InMemoryEventLog(4)
    for partition in (0, 1):
        log.place(partition, data)
    first = EvalProjectionConsumer(log, database)
    with closing(SqliteDatabase(database.path)) as other:
        second = EvalProjectionConsumer(log, other)
        first.catch_up(until=[0, 0, 0, 0])
        batch = other.batch

        def after_the_first(statements: Sequence[Any], **options: Any) -> list[list[Row]]:
            if "quarantined" in str(statements) or "rejected" in str(statements):
                monkeypatch.undo()
                first.catch_up(until=[1, 0, 0, 0])
            return batch(statements, **options)

        monkeypatch.setattr(other, "batch", after_the_first)
        second.catch_up(until=[0, 1, 0, 0])
        assert other.batch == batch
        assert (first.conflicts, second.conflicts) == (0, 0)
    counts = [database.execute(f"SELECT count(*) FROM {table}") for table in ("quarantined", "rejected")]
    assert sorted(counts) == [[(0,)], [(1,)]]
    assert verify(database, log).ok


def test_catch_up_commits_every_partition(database: SqliteDatabase) -> None:
    """A growing partition does not end the catch-up of the others."""
    log = log_of(history(), 4)
    EvalProjectionConsumer(log, database).catch_up()
    assert log.committed["eval-projection"] == {partition: part.end - 1 for partition, part in enumerate(log.ranges())}
    until = [part.end for part in log.ranges()]
    log.append([event(number % 4, "checkpoint_recorded", number) for number in range(900, 960)])
    until[0] += 9
    EvalProjectionConsumer(log, database, batch_size=2).catch_up(until=until)
    assert [row[1] for row in database.execute('SELECT * FROM positions ORDER BY "partition"')] == until


@pytest.mark.parametrize("damage", ["DELETE FROM meta", "DELETE FROM positions"])
def test_missing_head_raises_database_damaged(database: SqliteDatabase, damage: str) -> None:
    log = log_of(history())
    EvalProjectionConsumer(log, database).catch_up()
    database.batch([(damage, ())])
    for call in (EvalProjectionConsumer(log, database).catch_up, partial(rebuild, database, log), partial(verify, database, log)):
        assert_stopped(call, database, DatabaseDamagedError, "Move its file away")


# --- rebuild --------------------------------------------------------------------------------------------------------------------------


def shadow_tables(database: SqliteDatabase) -> list[str]:
    known = {*TABLES, "meta"}
    names = [str(name) for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return [name for name in names if name not in known]


def test_later_of_two_rebuilds_wins(database: SqliteDatabase) -> None:
    """The first one raises and changes nothing."""
    log = log_of(history())
    EvalProjectionConsumer(log, database).catch_up()
    before = digest_of(database)
    nested: list[int] = []

    def begin_another(done: int, total: int) -> None:
        if not nested:
            nested.append(rebuild(database, log, on_progress=lambda done, total: None).generation)

    with pytest.raises(RebuildSupersededError) as error:
        rebuild(database, log, on_progress=begin_another)
    assert says(error) == snapshot("Another rebuild of this read model started, so this one stopped. It changed nothing.")
    assert nested == [2]
    assert shadow_tables(database) == []
    assert database.execute("SELECT generation FROM meta") == [(2,)]
    assert digest_of(database) == before


def test_superseded_rebuild_raises_in_any_batch(database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalkit.readmodel.rebuild._BATCH", 3)
    test_later_of_two_rebuilds_wins(database)


def test_rebuild_drops_tables_of_crashed_rebuild(database: SqliteDatabase) -> None:
    """Live tables remain in use after the crash, and tables of other programs are kept."""
    log = log_of(history())
    consumer = EvalProjectionConsumer(log, database)
    consumer.catch_up()

    def die(done: int, total: int) -> None:
        raise Crash

    with pytest.raises(Crash):
        rebuild(database, log, on_progress=die)
    database.batch([("CREATE TABLE studies_notes (text TEXT)", ()), ("CREATE TABLE studies_0123456 (text TEXT)", ())])
    left = shadow_tables(database)
    assert len(left) == len(TABLES) + 2
    log.append([event(0, "study_started", 500)])
    consumer.catch_up()
    assert verify(database, log).ok
    before = digest_of(database)
    rebuild(database, log)
    assert shadow_tables(database) == ["studies_notes", "studies_0123456"]
    assert digest_of(database) == before
    assert verify(database, log).ok


@pytest.mark.parametrize("at", range(1, 12))
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_crash_in_any_batch_of_rebuild_leaves_complete_tables(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch, at: int, after: bool
) -> None:
    """Either the old or the new ones."""
    monkeypatch.setattr("evalkit.readmodel.rebuild._BATCH", 5)
    log = log_of(history())
    consumer = EvalProjectionConsumer(log, database)
    consumer.catch_up()
    before = digest_of(database)
    crashed = False
    try:
        rebuild(CrashingDatabase(database, at, after=after), log)
    except Crash:
        crashed = True
    assert crashed or at > 8
    assert digest_of(database) == before
    log.append([event(0, "study_started", 500)])
    consumer.catch_up()
    assert verify(database, log).ok


def test_rebuild_includes_concurrent_events(database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new tables are never behind the old ones, which a live consumer keeps updating."""
    monkeypatch.setattr("evalkit.readmodel.rebuild._BATCH", 4)
    log = log_of(history())
    live = EvalProjectionConsumer(log, database)
    live.catch_up()
    numbers = iter(range(500, 505))

    def meanwhile(done: int, total: int) -> None:
        assert done <= total
        for number in numbers:
            log.append([event(0, "checkpoint_recorded", number)])
            live.catch_up()
            return

    result = rebuild(database, log, on_progress=meanwhile)
    assert (result.events, result.generation) == (21, 2)
    assert database.execute("SELECT count(*) FROM checkpoints") == [(17,)]
    live.catch_up()
    assert live.conflicts == 0
    log.append([event(0, "study_started", 600)])
    live.catch_up()
    assert live.conflicts == 1
    assert verify(database, log).ok


def test_rebuild_preserves_tables_and_indexes(database: SqliteDatabase) -> None:
    """Names, types and order of columns, and the index with the public name."""
    log = log_of(history())
    EvalProjectionConsumer(log, database).catch_up()
    columns = {table: database.execute(f"SELECT name, type, pk FROM pragma_table_info('{table}')") for table in TABLES}
    assert [name for name, _, _ in columns["studies"]][:9] == [
        "id", "name", "status", "period_type", "period_value", "config", "created_at", "started_at", "stopped_at",
    ]  # fmt: skip
    assert [name for name, _, _ in columns["checkpoints"]][:6] == [
        "id", "study_id", "timestamp", "metrics", "events_analyzed", "sessions_included",
    ]  # fmt: skip
    assert [name for name, _, key in columns["checkpoints"] if key] == ["id", "study_id"]
    for _ in range(3):
        rebuild(database, log)
        assert {table: database.execute(f"SELECT name, type, pk FROM pragma_table_info('{table}')") for table in TABLES} == columns
        assert indexed(database)["idx_checkpoints_study_time"] == ("checkpoints", ["study_id", "timestamp"])
        assert sorted(columns for table, columns in indexed(database).values() if table == "checkpoints") == [
            ["study_id"], ["study_id", "event_id"], ["study_id", "id"], ["study_id", "period_end", "period_start"], ["study_id", "timestamp"],
        ]  # fmt: skip


def indexed(database: SqliteDatabase) -> dict[str, tuple[str, list[str]]]:
    names = database.execute("SELECT name, tbl_name FROM sqlite_master WHERE type = 'index'")
    columns = {name: database.execute(f"SELECT name FROM pragma_index_info('{name}')") for name, _ in names}
    return {str(name): (str(table), [str(column) for (column,) in columns[name]]) for name, table in names}


# --- decisions and quarantine ---------------------------------------------------------------------------------------------------------


def test_catch_up_returns_requested_decisions(database: SqliteDatabase) -> None:
    wanted = [event(0), event(0, number=1), event(0, "study_paused", 2), event(0, "study_started", 3)]
    log = log_of([*wanted, event(1, number=4)])
    decided = EvalProjectionConsumer(log, database, batch_size=2).catch_up({(message.study_id, message.event_id) for message in wanted})
    assert [(decision.outcome.value, decision.reason) for decision in decided.values()] == [
        ("applied", None), ("rejected", "study id taken"), ("rejected", "transition not allowed"), ("applied", None),
    ]  # fmt: skip
    assert decided[wanted[2].study_id, wanted[2].event_id].message == "study_paused is not allowed when the study is pending"
    assert list(decided) == [(message.study_id, message.event_id) for message in wanted]


def test_quarantined_bytes_are_stored(database: SqliteDatabase) -> None:
    """With the error, the size, the SHA-256, and the first 64 KiB."""
    too_long = event(0).data.replace(b"study 0", b"x" * MAX_EVENT_BYTES)
    strange = [b"", b"\0\xff", "ünï".encode("utf-16"), too_long, b"x" * (64 * 1024 + 1)]
    log = InMemoryEventLog()
    for data in strange:
        log.place(0, data)
    EvalProjectionConsumer(log, database).catch_up()
    kept = {str(row[0]): row[1:] for row in database.execute("SELECT sha256, key, bytes, data, error, study_id, event_id FROM quarantined")}
    assert len(kept) == len(strange)
    for data in strange:
        key, size, beginning, error, study_id, event_id = kept[sha256(data).hexdigest()]
        assert (key, size, beginning) == (sha256(data).hexdigest(), len(data), data[: 64 * 1024])
        assert (study_id, event_id) == ("", "")
        assert 0 < len(str(error)) <= 500


def test_catch_up_stops_at_until(database: SqliteDatabase) -> None:
    log = log_of(history(), 4)
    ends = [part.end for part in log.ranges()]
    for until in ([0, 0, 0, 0], [1, 0, 2, 0], [1, 3, 2, 1], [end - 1 for end in ends], ends):
        EvalProjectionConsumer(log, database, batch_size=2).catch_up(until=until)
        assert [row[0] for row in database.execute('SELECT next FROM positions ORDER BY "partition"')] == until
    assert verify(database, log).ok


# --- digest and verify ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("UPDATE studies SET name = name || ' ' WHERE id LIKE 'ffff%'", "studies ffffffff-ffff-4fff-bfff-ffffffffffff: different values in name"),
        ("UPDATE studies SET started_at = created_at WHERE id LIKE '0000%'", "studies 00000000-.*: different values in started_at"),
        ("DELETE FROM studies WHERE id LIKE '9b1d%'", "studies 9b1deb4d-.*: missing in the read model"),
        ("INSERT INTO studies SELECT 'x', name, status, period_type, 1, config, '', '', '', 0, name, config FROM studies LIMIT 1", "studies x: not in the log"),
        ("UPDATE checkpoints SET metrics = replace(metrics, '101', '101.0')", "checkpoints .*: different values in metrics"),
        ("UPDATE checkpoints SET events_analyzed = events_analyzed + 1", "checkpoints .*: different values in events_analyzed"),
        ("DELETE FROM checkpoints WHERE id LIKE '%111'", "checkpoints .*-000000000111: missing in the read model"),
        ("DELETE FROM lifecycle WHERE study_id LIKE 'ffff%'", "lifecycle ffffffff-.*, 1: missing in the read model"),
        ("UPDATE lifecycle SET seq = 2 WHERE study_id LIKE 'ffff%'", "lifecycle ffffffff-.*, 1: missing in the read model"),
        ("INSERT INTO rejected VALUES ('s', 'e', 'unknown study', '', '', NULL, 0, 0)", "rejected s, e, unknown study: not in the log"),
        ("DELETE FROM rejected", "rejected .*transition not allowed: missing in the read model"),
    ],
)  # fmt: skip
def test_verify_names_first_difference(database: SqliteDatabase, change: str, difference: str) -> None:
    log = log_of([*history(), event(0, "study_paused", 500)])
    EvalProjectionConsumer(log, database).catch_up()
    before = verify(database, log)
    assert before.ok
    with closing(sqlite3.connect(database.path)) as connection, connection:
        assert connection.execute(change).rowcount >= 1
    after = verify(database, log)
    assert not after.ok
    assert after.digest != before.digest
    assert re.fullmatch(difference, str(after.difference))


def test_verify_compares_expected_digest(database: SqliteDatabase) -> None:
    log = log_of(history())
    EvalProjectionConsumer(log, database).catch_up()
    earlier = digest_of(database)
    assert verify(database, log, expect=earlier).ok
    log.append([event(0, "study_started", 500)])
    EvalProjectionConsumer(log, database).catch_up()
    result = verify(database, log, expect=earlier)
    assert (result.ok, result.difference) == (False, None)
    assert says(str(result), expected=earlier, digest=result.digest) == snapshot(
        "The read model matches the log, but its digest is DIGEST instead of EXPECTED"
    )
    assert verify(database, log).ok


def test_verify_ignores_unapplied_events(database: SqliteDatabase) -> None:
    log = log_of(history(), 4)
    EvalProjectionConsumer(log, database).catch_up(until=[2, 1, 3, 0])
    assert verify(database, log).ok


def independent_digest(database: SqliteDatabase) -> str:
    """Return the digest as its docstring describes it, computed from the rows."""
    tables = {
        "studies": ("id, name, status, period_type, period_value, config, created_at, started_at, stopped_at", "id"),
        "checkpoints": ("study_id, id, timestamp, metrics, events_analyzed, sessions_included", "study_id, id"),
        "lifecycle": ("study_id, seq, event_id, kind", "study_id, seq"),
        "rejected": ("study_id, event_id, reason", "study_id, event_id, reason"),
    }
    total = sha256()
    for table, (columns, key) in tables.items():
        values: list[Any] = [table]
        for row in database.execute(f"SELECT {columns} FROM {table} ORDER BY {key}"):
            values += row
        for value in values:
            data = str(value).encode()
            letter = b"i" if isinstance(value, int) else b"t"
            total.update(b"n" if value is None else letter + len(data).to_bytes(8, "big") + data)
    return total.hexdigest()


def test_digest_of_real_events_is_golden(database: SqliteDatabase) -> None:
    log = InMemoryEventLog()
    for line in REAL:
        log.place(0, line)
    EvalProjectionConsumer(log, database, batch_size=7).catch_up()
    assert digest_of(database) == independent_digest(database) == REAL_DIGEST
    assert database.execute("SELECT (SELECT count(*) FROM rejected) + (SELECT count(*) FROM quarantined)") == [(0,)]


ELSEWHERE = """
import sys, time
from pathlib import Path
from evalkit.readmodel.database.sqlite_database import SqliteDatabase
from tests.memory_log import InMemoryEventLog
from evalkit.readmodel.consumer import EvalProjectionConsumer
from evalkit.readmodel.snapshot import Snapshot
from evalkit.readmodel.verify import digest

time.tzset()
assert time.timezone != 0
log = InMemoryEventLog()
for line in Path(sys.argv[1]).read_bytes().splitlines():
    log.place(0, line)
database = SqliteDatabase(Path(sys.argv[2]))
EvalProjectionConsumer(log, database).catch_up()
print(digest(Snapshot(database)))
"""


@pytest.mark.slow
def test_digest_is_independent_of_time_zone_and_locale(tmp_path: Path) -> None:
    there = {**os.environ, "TZ": "NZST-12NZDT", "LC_ALL": "C", "PYTHONHASHSEED": "7", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    data = Path(__file__).parent / "data" / "wire_events.ndjson"
    command = [sys.executable, "-c", ELSEWHERE, str(data), str(tmp_path / "there.db")]
    answer = subprocess.run(command, env=there, capture_output=True, text=True, timeout=60, check=False)
    assert (answer.stdout.strip(), answer.stderr) == (REAL_DIGEST, "")


def test_digest_is_independent_of_log_adapter_and_partitions(database: SqliteDatabase, tmp_path: Path) -> None:
    logs: list[EventLog] = [log_of(history()), log_of(history(), 4), sqlite_log(tmp_path / "events.db", history())]
    digests = set()
    for log in logs:
        rebuild(database, log, adopt_log=True)
        digests.add(verify(database, log).digest)
        log.close()
    assert len(digests) == 1
