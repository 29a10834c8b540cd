"""Fault injection with shared engines: killed writers, consumers and servers, and broken connections.

Each test compares the acknowledged events with the log and the read model. The long form (``make faults``) runs each ten times.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from evalkit import EvalKit, connect
from evalkit.domain.commands import CreateStudy, RecordCheckpoint
from evalkit.domain.events import CheckpointRecorded, StoredEvalEvent
from evalkit.domain.ids import StudyId, new_id
from evalkit.errors import LogMismatchError
from evalkit.readmodel.schema import read_head
from tests.iggy_server import NO_IGGY, Iggy, iggy_binary
from tests.properties import LONG
from tests.servers import Relay, Sqld
from tests.test_faults import assert_corrections_kept
from tests.worker import Child, Marker, flat_sample, sample, study_with_checkpoints

pytestmark = pytest.mark.skipif(iggy_binary() is None, reason=NO_IGGY)

TIMES = 10 if LONG else 1
each_time = pytest.mark.parametrize("seed", range(TIMES))


@dataclass
class Shared:
    """An Iggy server and a sqld for one test, and the environment that points to them."""

    iggy: Iggy
    sqld: Sqld
    stream: str
    home: Path
    monkeypatch: pytest.MonkeyPatch

    def kit(self) -> EvalKit:
        return connect(self.home)

    def use_servers(self, *, log_port: int | None = None, database_port: int | None = None) -> None:
        """Point this process and its children to the servers, or to a relay."""
        self.monkeypatch.setenv("EVALKIT_LOG_URL", self.iggy.url(self.stream, port=log_port))
        url = self.sqld.url if database_port is None else f"http://127.0.0.1:{database_port}"
        self.monkeypatch.setenv("EVALKIT_DATABASE_URL", url)


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shared]:
    with Iggy(tmp_path / "iggy") as iggy, Sqld(tmp_path / "sqld") as sqld:
        servers = Shared(iggy, sqld, iggy.stream(), tmp_path / "home", monkeypatch)
        servers.use_servers()
        yield servers


def in_log(kit: EvalKit) -> list[StoredEvalEvent]:
    consumer, events = kit.engine.log.consumer("test"), []
    while records := consumer.poll(10_000, 0):
        events += [StoredEvalEvent.from_wire(record.data) for record in records]
    return events


def assert_nothing_lost(kit: EvalKit, acknowledged: set[str], *, repeats: bool = False) -> int:
    """Check that acknowledged events are in the log and once in the read model; return their number."""
    events = in_log(kit)
    recorded = {stored.event_id: stored.event.id for stored in events if isinstance(stored.event, CheckpointRecorded)}
    if not repeats:  # an append that was retried after a lost response may be there twice, with the same event id
        assert len({stored.event_id for stored in events}) == len(events)
    assert acknowledged <= set(recorded.values())
    ids = kit.checkpoints()["checkpoint_id"].to_list()
    assert len(set(ids)) == len(ids)
    assert set(ids) == set(recorded.values())
    assert kit.rejected().is_empty()
    result = kit.verify()
    assert result.ok, str(result)
    return len(ids)


def report(moments: list[int]) -> None:
    """Print how many kills happened inside an open append, batch or swap; at least half must."""
    inside = sum(moment != Marker.OUTSIDE for moment in moments)
    print(f"{os.environ.get('PYTEST_CURRENT_TEST')}: {inside} of {len(moments)} kills were inside: {dict(Counter(moments))}")
    assert inside * 2 >= len(moments)


@each_time
def test_killed_writer_loses_no_acknowledged_event(shared: Shared, tmp_path: Path, seed: int) -> None:
    """An unacknowledged append is either complete or absent."""
    chance, marker, moments, acknowledged = random.Random(seed), Marker(tmp_path / "marker"), [], {}
    for trial in range(4):
        with Child("record", shared.home, first=len(acknowledged), marker=str(marker.path)) as child:
            assert child.hear() == "ready"
            acknowledged.update([child.hear()])
            time.sleep(chance.uniform(0, 0.2))
            acknowledged.update(child.kill_while(marker, (Marker.APPEND, Marker.BATCH)[trial % 2]))
        moments.append(marker.get())
        with shared.kit() as kit:
            assert assert_nothing_lost(kit, set(acknowledged.values())) - len(acknowledged) <= 1
    report(moments)


@each_time
def test_killed_writer_loses_no_acknowledged_correction(shared: Shared, tmp_path: Path, seed: int) -> None:
    """Definitions, amendments, retractions and notes."""
    chance, marker, moments, acknowledged = random.Random(seed), Marker(tmp_path / "marker"), [], []
    with shared.kit() as kit:
        study_with_checkpoints(kit, 0)
    for trial in range(4):
        with Child("correct", shared.home, first=1000 * trial, marker=str(marker.path)) as child:
            assert child.hear() == "ready"
            output = [child.hear() for _ in range(10)]
            time.sleep(chance.uniform(0, 0.2))
            output += child.kill_while(marker, (Marker.APPEND, Marker.BATCH)[trial % 2])
        moments.append(marker.get())
        acknowledged += [(kind, subject) for kind, subject in output]
        with shared.kit() as kit:
            assert_corrections_kept(kit, acknowledged)
    report(moments)
    assert {kind for kind, _ in acknowledged} == {"define", "amend", "retract", "note"}


@each_time
def test_killed_consumer_applies_events_exactly_once(shared: Shared, tmp_path: Path, seed: int) -> None:
    marker, moments, count = Marker(tmp_path / "marker"), [], 0
    with shared.kit() as kit:
        study = study_with_checkpoints(kit, 0)
        for trial in range(3):
            with Child("project", shared.home, batch_size=5, marker=str(marker.path)) as child:
                assert child.hear() == "ready"
                commands = [RecordCheckpoint(flat_sample(count + row)) for row in range(300)]
                kit.engine.log.append([command.encoded(study.id, command.checkpoint_id(study.id)) for command in commands])
                count += 300
                child.kill_while(marker, Marker.BATCH)
            moments.append(marker.get())
            head = read_head(kit.engine.database)
            assert head is not None
            applied = kit.engine.database.execute("SELECT (SELECT count(*) FROM checkpoints) + (SELECT count(*) FROM lifecycle)")[0][0]
            assert sum(position.next for position in head.positions) == applied
            assert trial > 1 or int(str(applied)) < count + 2
            kit.engine.consumer.restart()
            assert assert_nothing_lost(kit, set()) == count
    report(moments)


@each_time
def test_killed_iggy_server_loses_no_acknowledged_event(shared: Shared, tmp_path: Path, seed: int) -> None:
    """A writer that retries with its keys records nothing twice."""
    chance, marker, moments = random.Random(seed), Marker(tmp_path / "marker"), []
    with Child("persist", shared.home, first=0, marker=str(marker.path)) as child:
        assert child.hear() == "ready"
        acknowledged = [child.hear()]
        for trial in range(3):
            time.sleep(chance.uniform(0.05, 0.3))
            if trial % 2:
                child.interrupt_while(marker, Marker.BATCH, shared.iggy.kill)
            else:
                child.interrupt_while(marker, Marker.APPEND, shared.iggy.kill)
            moments.append(Marker.BATCH if trial % 2 else Marker.APPEND)
            time.sleep(chance.uniform(0, 0.5))
            shared.iggy.start()
            acknowledged.append(child.hear())
        acknowledged += child.finish()
    report(moments)
    with shared.kit() as kit:
        assert_nothing_lost(kit, {identity for _, identity, _ in acknowledged}, repeats=True)
        assert [number for number, _, _ in acknowledged] == list(range(len(acknowledged)))
        assert kit.checkpoints()["total_tokens"].to_list() == list(range(len(acknowledged)))


@each_time
def test_consumer_survives_killed_sqld(shared: Shared, tmp_path: Path, seed: int) -> None:
    """It reports the loss once."""
    marker, chance = Marker(tmp_path / "marker"), random.Random(seed)
    with Child("project", shared.home, batch_size=3, marker=str(marker.path)) as consumer, Child("persist", shared.home, first=0) as writer:
        assert [consumer.hear(), writer.hear()] == ["ready", "ready"]
        acknowledged = [writer.hear()]
        for _ in range(2):
            consumer.interrupt_while(marker, Marker.BATCH, shared.sqld.kill)
            time.sleep(chance.uniform(0, 0.5))
            shared.sqld.start()
            acknowledged.append(writer.hear())
        acknowledged += writer.finish()
        consumer.finish()
    with shared.kit() as kit:
        assert assert_nothing_lost(kit, {identity for _, identity, _ in acknowledged}, repeats=True) == len(acknowledged)


@each_time
def test_killed_sqld_keeps_old_tables_during_rebuild(shared: Shared, tmp_path: Path, seed: int) -> None:
    marker = Marker(tmp_path / "marker")
    with shared.kit() as kit:
        study_with_checkpoints(kit, 1500)
        expected = kit.verify().digest
        for doing in (Marker.BATCH, Marker.SWAP):
            with Child("rebuild", shared.home, batch_size=100, marker=str(marker.path)) as child:
                assert child.hear() == "ready"
                child.interrupt_while(marker, doing, shared.sqld.kill)
                shared.sqld.start()
                child.kill()
            assert kit.checkpoints().height == 1500
            assert kit.verify(expect=expected).ok
        before = kit.status().generation
        assert before is not None
        assert kit.rebuild(on_progress=lambda done, total: None).generation == before + 1
        assert kit.verify(expect=expected).ok
        tables = kit.engine.database.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name GLOB '*_[0-9a-f]*[0-9a-f]'")
        assert tables == [(0,)]


@each_time
def test_writer_and_consumer_survive_broken_connections(shared: Shared, seed: int) -> None:
    chance = random.Random(seed)
    with Relay("127.0.0.1", shared.iggy.port) as log_wire, Relay("127.0.0.1", shared.sqld.port) as database_wire:
        shared.use_servers(log_port=log_wire.port, database_port=database_wire.port)
        with Child("project", shared.home, batch_size=3) as consumer, Child("persist", shared.home, first=0) as writer:
            assert [consumer.hear(), writer.hear()] == ["ready", "ready"]
            acknowledged = [writer.hear()]
            for wire in (log_wire, database_wire, log_wire):
                time.sleep(chance.uniform(0.05, 0.3))
                wire.cut()
                time.sleep(chance.uniform(0.1, 1.0))
                wire.restore()
                acknowledged.append(writer.hear())
            acknowledged += writer.finish()
            consumer.finish()
        with shared.kit() as kit:
            assert assert_nothing_lost(kit, {identity for _, identity, _ in acknowledged}, repeats=True) == len(acknowledged)


@each_time
def test_consumers_share_work(shared: Shared, tmp_path: Path, seed: int) -> None:
    """When one is killed in a batch, the other continues."""
    marker = Marker(tmp_path / "marker")
    with (
        Child("project", shared.home, batch_size=3) as first,
        Child("project", shared.home, batch_size=3, marker=str(marker.path)) as second,
        Child("persist", shared.home, first=0) as writer,
    ):
        assert [first.hear(), second.hear(), writer.hear()] == ["ready"] * 3
        acknowledged = [writer.hear() for _ in range(5)]
        second.kill_while(marker, Marker.BATCH)
        acknowledged += [writer.hear() for _ in range(5)]
        acknowledged += writer.finish()
        with shared.kit() as kit:
            wait_until(lambda: count_by_others(kit) == len(acknowledged))
            assert assert_nothing_lost(kit, {identity for _, identity, _ in acknowledged}) == len(acknowledged)
        first.finish()


@pytest.mark.parametrize("seed", range(TIMES))
def test_suspended_consumer_resumes(shared: Shared, seed: int) -> None:
    """The other consumer does its work in the meantime."""
    pause = 60.0 if LONG and seed == 0 else 2.0
    with Child("project", shared.home, batch_size=3) as first, Child("persist", shared.home, first=0) as writer:
        assert [first.hear(), writer.hear()] == ["ready", "ready"]
        acknowledged = [writer.hear()]
        os.kill(first.pid, signal.SIGSTOP)
        with Child("project", shared.home, batch_size=3) as second:
            assert second.hear() == "ready"
            time.sleep(pause)
            acknowledged.append(writer.hear())
            os.kill(first.pid, signal.SIGCONT)
            acknowledged += [writer.hear() for _ in range(3)]
            second.finish()
        acknowledged += writer.finish()
        first.finish()
    with shared.kit() as kit:
        assert assert_nothing_lost(kit, {identity for _, identity, _ in acknowledged}) == len(acknowledged)


def test_lost_acknowledged_events_are_detected(shared: Shared) -> None:
    """Doctor warns of the default durability; catch-up stops after the loss, also when the log grew again."""
    shared.stream = shared.iggy.stream(partitions=1, durable=False)
    shared.use_servers()
    kit = shared.kit()
    with pytest.warns(match="loses acknowledged events"):  # the topic's durability
        study = study_with_checkpoints(kit, 20)
    assert any("loses acknowledged events" in problem for problem in kit.status().problems)
    assert kit.checkpoints().height == 20
    shared.iggy.kill()
    shared.iggy.start()
    assert len(in_log(kit)) < 22
    with pytest.raises(LogMismatchError, match=r"lost its last events|The event log is empty"):
        kit.record_checkpoint(study, sample(100))
    studies = [CreateStudy(f"study {number}") for number in range(40)]
    kit.engine.log.append(
        [command.event(StudyId(new_id()), 1_700_000_000_000 + number).encoded() for number, command in enumerate(studies)]
    )
    assert len(in_log(kit)) > 22
    with pytest.raises(LogMismatchError, match=r"lost its last events|starts with a different event"):
        kit.record_checkpoint(study, sample(100))
    assert any("different event" in problem or "lost" in problem for problem in kit.status().problems)
    kit.close()


def count_by_others(kit: EvalKit) -> int:
    """Count the checkpoints applied by other processes, without applying any."""
    return int(str(kit.engine.database.execute("SELECT count(*) FROM checkpoints")[0][0]))


def wait_until(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "condition not met in time"
        time.sleep(0.05)
