"""What goes wrong where engines are shared: writers, consumers, Iggy and sqld that are killed, wires that are cut. All of it is done for real.

Each test compares the writer's own list of what was acknowledged with the log and with the read model. The long form (``make faults``) does each of
them ten times.
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
from tests.worker import Child, Marker, flat_sample, sample, study_with_checkpoints

pytestmark = pytest.mark.skipif(iggy_binary() is None, reason=NO_IGGY)

TIMES = 10 if LONG else 1
each_time = pytest.mark.parametrize("seed", range(TIMES))


@dataclass
class Shared:
    """An Iggy server and a sqld that belong to one test, and the environment that leads a kit to them."""

    iggy: Iggy
    sqld: Sqld
    stream: str
    home: Path
    monkeypatch: pytest.MonkeyPatch

    def kit(self) -> EvalKit:
        return connect(self.home)

    def lead(self, *, log_port: int | None = None, database_port: int | None = None) -> None:
        """Lead kits of this process and of its children to the servers, or to a relay before one."""
        self.monkeypatch.setenv("EVALKIT_LOG_URL", self.iggy.url(self.stream, port=log_port))
        url = self.sqld.url if database_port is None else f"http://127.0.0.1:{database_port}"
        self.monkeypatch.setenv("EVALKIT_DATABASE_URL", url)


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shared]:
    with Iggy(tmp_path / "iggy") as iggy, Sqld(tmp_path / "sqld") as sqld:
        found = Shared(iggy, sqld, iggy.stream(), tmp_path / "home", monkeypatch)
        found.lead()
        yield found


def in_log(kit: EvalKit) -> list[StoredEvalEvent]:
    consumer, found = kit.engine.log.consumer("test"), []
    while records := consumer.poll(10_000, 0):
        found += [StoredEvalEvent.from_wire(record.data) for record in records]
    return found


def assert_nothing_lost(kit: EvalKit, acknowledged: set[str], *, repeats: bool = False) -> int:
    """Check that what was acknowledged is in the log and once in the read model, which holds what the log says, and give how many that is."""
    events = in_log(kit)
    recorded = {stored.event_id: stored.event.id for stored in events if isinstance(stored.event, CheckpointRecorded)}
    if not repeats:  # an append that is sent again, because its answer was lost, may be there twice under one event id
        assert len({stored.event_id for stored in events}) == len(events)
    assert acknowledged <= set(recorded.values())
    there = kit.checkpoints()["checkpoint_id"].to_list()
    assert len(set(there)) == len(there)
    assert set(there) == set(recorded.values())
    assert kit.rejected().is_empty()
    result = kit.verify()
    assert result.ok, str(result)
    return len(there)


def report(moments: list[int]) -> None:
    """Say how many hits fell inside an open append, batch or swap; at least half must."""
    inside = sum(moment != Marker.OUTSIDE for moment in moments)
    print(f"{os.environ.get('PYTEST_CURRENT_TEST')}: {inside} of {len(moments)} hits fell inside: {dict(Counter(moments))}")
    assert inside * 2 >= len(moments)


@each_time
def test_kill_a_writer(shared: Shared, tmp_path: Path, seed: int) -> None:
    """Whatever a writer was told is recorded outlives its `kill -9`, once; of what it was not told, at most the last is there, once."""
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
def test_kill_a_consumer(shared: Shared, tmp_path: Path, seed: int) -> None:
    """A consumer that dies in the middle of a batch has applied whole batches; another one applies the rest, and nothing twice."""
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
def test_kill_the_iggy_server(shared: Shared, tmp_path: Path, seed: int) -> None:
    """Nothing that was acknowledged is lost when the server is killed, and a writer that repeats with its keys records nothing twice."""
    chance, marker, moments = random.Random(seed), Marker(tmp_path / "marker"), []
    with Child("persist", shared.home, first=0, marker=str(marker.path)) as child:
        assert child.hear() == "ready"
        said = [child.hear()]
        for trial in range(3):
            time.sleep(chance.uniform(0.05, 0.3))
            if trial % 2:
                child.interrupt_while(marker, Marker.BATCH, shared.iggy.kill)
            else:
                child.interrupt_while(marker, Marker.APPEND, shared.iggy.kill)
            moments.append(Marker.BATCH if trial % 2 else Marker.APPEND)
            time.sleep(chance.uniform(0, 0.5))
            shared.iggy.start()
            said.append(child.hear())
        said += child.finish()
    report(moments)
    with shared.kit() as kit:
        assert_nothing_lost(kit, {identity for _, identity, _ in said}, repeats=True)
        assert [number for number, _, _ in said] == list(range(len(said)))
        assert kit.checkpoints()["total_tokens"].to_list() == list(range(len(said)))


@each_time
def test_kill_sqld_in_a_batch(shared: Shared, tmp_path: Path, seed: int) -> None:
    """A consumer waits for a read model whose server was killed, says so once, and goes on where it stood; a writer goes on too."""
    marker, chance = Marker(tmp_path / "marker"), random.Random(seed)
    with Child("project", shared.home, batch_size=3, marker=str(marker.path)) as consumer, Child("persist", shared.home, first=0) as writer:
        assert [consumer.hear(), writer.hear()] == ["ready", "ready"]
        said = [writer.hear()]
        for _ in range(2):
            consumer.interrupt_while(marker, Marker.BATCH, shared.sqld.kill)
            time.sleep(chance.uniform(0, 0.5))
            shared.sqld.start()
            said.append(writer.hear())
        said += writer.finish()
        consumer.finish()
    with shared.kit() as kit:
        assert assert_nothing_lost(kit, {identity for _, identity, _ in said}, repeats=True) == len(said)


@each_time
def test_kill_sqld_in_a_rebuild(shared: Shared, tmp_path: Path, seed: int) -> None:
    """The old tables go on serving, and the next rebuild drops what the dead one left."""
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
def test_a_wire_that_is_cut_and_restored(shared: Shared, seed: int) -> None:
    """A writer and a consumer whose connections break go on when they are back, with nothing lost and nothing twice."""
    chance = random.Random(seed)
    with Relay("127.0.0.1", shared.iggy.port) as log_wire, Relay("127.0.0.1", shared.sqld.port) as database_wire:
        shared.lead(log_port=log_wire.port, database_port=database_wire.port)
        with Child("project", shared.home, batch_size=3) as consumer, Child("persist", shared.home, first=0) as writer:
            assert [consumer.hear(), writer.hear()] == ["ready", "ready"]
            said = [writer.hear()]
            for wire in (log_wire, database_wire, log_wire):
                time.sleep(chance.uniform(0.05, 0.3))
                wire.cut()
                time.sleep(chance.uniform(0.1, 1.0))
                wire.restore()
                said.append(writer.hear())
            said += writer.finish()
            consumer.finish()
        with shared.kit() as kit:
            assert assert_nothing_lost(kit, {identity for _, identity, _ in said}, repeats=True) == len(said)


@each_time
def test_two_consumers_at_once(shared: Shared, tmp_path: Path, seed: int) -> None:
    """They work side by side without harm, and when one is killed in a batch the other does the work."""
    marker = Marker(tmp_path / "marker")
    with (
        Child("project", shared.home, batch_size=3) as first,
        Child("project", shared.home, batch_size=3, marker=str(marker.path)) as second,
        Child("persist", shared.home, first=0) as writer,
    ):
        assert [first.hear(), second.hear(), writer.hear()] == ["ready"] * 3
        said = [writer.hear() for _ in range(5)]
        second.kill_while(marker, Marker.BATCH)
        said += [writer.hear() for _ in range(5)]
        said += writer.finish()
        with shared.kit() as kit:
            wait_until(lambda: count_by_others(kit) == len(said))
            assert assert_nothing_lost(kit, {identity for _, identity, _ in said}) == len(said)
        first.finish()


@pytest.mark.parametrize("seed", range(TIMES))
def test_a_consumer_that_is_stopped_and_goes_on(shared: Shared, seed: int) -> None:
    """While one is stopped for longer than another needs, the other does the work; the first goes on without harm."""
    pause = 60.0 if LONG and seed == 0 else 2.0
    with Child("project", shared.home, batch_size=3) as first, Child("persist", shared.home, first=0) as writer:
        assert [first.hear(), writer.hear()] == ["ready", "ready"]
        said = [writer.hear()]
        os.kill(first.pid, signal.SIGSTOP)
        with Child("project", shared.home, batch_size=3) as second:
            assert second.hear() == "ready"
            time.sleep(pause)
            said.append(writer.hear())
            os.kill(first.pid, signal.SIGCONT)
            said += [writer.hear() for _ in range(3)]
            second.finish()
        said += writer.finish()
        first.finish()
    with shared.kit() as kit:
        assert assert_nothing_lost(kit, {identity for _, identity, _ in said}) == len(said)


def test_a_topic_that_loses_acknowledged_events(shared: Shared) -> None:
    """With the default durability doctor warns; the server's death loses events, and catch-up stops, also when the log grew past it."""
    shared.stream = shared.iggy.stream(partitions=1, durable=False)
    shared.lead()
    kit = shared.kit()
    with pytest.warns(match="loses acknowledged events"):
        study = study_with_checkpoints(kit, 20)
    assert any("loses acknowledged events" in problem for problem in kit.status().problems)
    assert kit.checkpoints().height == 20
    shared.iggy.kill()
    shared.iggy.start()
    assert len(in_log(kit)) < 22
    with pytest.raises(LogMismatchError, match="lost its end"):
        kit.record_checkpoint(study, sample(100))
    studies = [CreateStudy(f"study {number}") for number in range(40)]
    kit.engine.log.append(
        [command.event(StudyId(new_id()), 1_700_000_000_000 + number).encoded() for number, command in enumerate(studies)]
    )
    assert len(in_log(kit)) > 22
    with pytest.raises(LogMismatchError, match=r"lost its end|begins with another event"):
        kit.record_checkpoint(study, sample(100))
    assert any("another" in problem or "lost" in problem for problem in kit.status().problems)
    kit.close()


def count_by_others(kit: EvalKit) -> int:
    """Count the checkpoints that others applied, without applying any."""
    return int(str(kit.engine.database.execute("SELECT count(*) FROM checkpoints")[0][0]))


def wait_until(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.05)
