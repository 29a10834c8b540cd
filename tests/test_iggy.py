"""The shared event log, on a real Apache Iggy server."""

from __future__ import annotations

import asyncio
import datetime
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import UUID

import pytest
from apache_iggy import AutoLogin, Consumer, IggyClient, Partitioning, PollingStrategy, SendMessage, TcpConfig
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from inline_snapshot import snapshot

from evalkit import EvalKit, EvalkitError, EvalkitWarning, InvalidInputError, connect
from evalkit.domain.commands import RecordCheckpoint
from evalkit.domain.events import MAX_EVENT_BYTES, EncodedEvent
from evalkit.domain.ids import new_id
from evalkit.errors import LogError, LogIncompleteError, LogMismatchError, LogUnavailableError
from evalkit.eventlog import iggy_log
from evalkit.eventlog.event_log import EventLog, LogPosition, partition_of
from evalkit.eventlog.iggy_client import IggyAddress
from evalkit.runtime.connections import open_log
from tests.iggy_server import PASSWORD, URL_PASSWORD, USER, Iggy
from tests.log_contract import LogContract, messages
from tests.messages import says
from tests.servers import Relay, Silent
from tests.worker import flat_sample, sample, study_with_checkpoints

T = TypeVar("T")

SECONDS = 10
SECRET = "s3cr3t-pass"


class IggyContract(LogContract):
    @pytest.fixture
    def log(self, iggy: Iggy) -> Iterator[EventLog]:
        self.address = iggy.url(iggy.stream(partitions=self.partitions), partitions=self.partitions)
        log = open_log(self.address)
        yield log
        log.close()

    def another(self, log: Any) -> EventLog:
        return open_log(self.address)


class TestOnePartition(IggyContract):
    partitions = 1


class TestFourPartitions(IggyContract):
    partitions = 4


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EVALKIT_HOME", "EVALKIT_LOG_URL", "EVALKIT_DATABASE_URL", "EVALKIT_DATABASE_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def with_iggy_client(iggy: Iggy, work: Callable[[IggyClient], Awaitable[T]]) -> T:
    """Run a function with Iggy's own client, as root."""

    async def connected() -> T:
        login = AutoLogin.username_password(USER, PASSWORD)
        client = IggyClient(TcpConfig(server_address=f"127.0.0.1:{iggy.port}", auto_login=login))
        await client.connect()
        return await work(client)

    return asyncio.run(connected())


def send(iggy: Iggy, stream: str, partitioning: Partitioning, *data: bytes) -> None:
    with_iggy_client(iggy, lambda client: client.send_messages(stream, "events", partitioning, [SendMessage(message) for message in data]))


def message_counts(iggy: Iggy, stream: str) -> list[int]:
    """Return the number of messages of each partition, according to the server."""
    partitions = iggy.http("GET", f"/streams/{stream}/topics/events")["partitions"]
    return [partition["messages_count"] for partition in sorted(partitions, key=lambda partition: partition["id"])]


# --- topics --------------------------------------------------------------------------------------------------------------------------


def test_first_append_creates_durable_topic(iggy: Iggy, tmp_path: Path) -> None:
    """Servers before 0.9.0 cannot: the error explains how to create it."""
    stream = f"test-{new_id()}"
    url = iggy.url(stream, partitions=3)
    log = open_log(url)
    assert log.ranges() == [(0, 0)] * 3
    assert log.consumer("test").poll(10, 0) == []
    assert "does not exist yet" in log.describe().details[0]
    kit = connect(tmp_path / "home", log_url=url)
    with pytest.warns(EvalkitWarning):
        assert kit.studies().is_empty()
    assert stream not in [existing["name"] for existing in iggy.http("GET", "/streams")]
    options = {option.key for option in with_iggy_client(iggy, lambda client: client.describe_options("topic"))}
    if "durability" not in options:
        with pytest.raises(LogError) as error:
            kit.create_study("study")
        for part in ("enforce_fsync=true", "messages_required_to_save=1", "No events were appended", f"'{stream}'"):
            assert part in str(error.value)
        assert iggy.http("GET", f"/streams/{stream}/topics") == []
        topic = {
            "name": "events", "partitions_count": 3, "message_expiry": 0, "compression_algorithm": "none", "max_topic_size": 0,
            "options": {"enforce_fsync": "true", "messages_required_to_save": "1"},
        }  # fmt: skip
        iggy.http("POST", f"/streams/{stream}/topics", topic)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kit.create_study("study")
    assert log.describe().problems == ()
    assert "3 partitions" in log.describe().details[0]
    made = iggy.http("GET", f"/streams/{stream}/topics/events")["options"]
    assert made["durability"]["value"] == "persisted" if "durability" in options else made["enforce_fsync"]["value"] == "true"
    assert made["messages_required_to_save"]["value"] == "1"
    assert sum(message_counts(iggy, stream)) == 1
    kit.close()
    log.close()


class _ServerWithoutDurability:
    """A client of a server that does not know the option ``durability`` of topics."""

    def __init__(self, version: str | None) -> None:
        self._version = version

    async def get_stream(self, stream: str) -> str:
        return stream

    async def create_topic(self, *_: object, **__: object) -> None:
        raise RuntimeError("Unsupported option: durability")

    async def get_stats(self) -> SimpleNamespace:
        if self._version is None:
            raise RuntimeError("Unauthorized")
        return SimpleNamespace(iggy_server_version=self._version)


@pytest.mark.parametrize(
    ("version", "problem"),
    [
        ("0.9.0-edge.2", "is a pre-release of 0.9.0 (0.9.0-edge.2): "),
        ("0.8.1", "is older than 0.9.0 (0.8.1): "),
        ("0.8.0-edge.1", "is older than 0.9.0 (0.8.0-edge.1): "),
        (None, "is older than 0.9.0 or a pre-release of 0.9.0: "),
    ],
)
def test_server_without_durability_is_reported_with_its_version(version: str | None, problem: str) -> None:
    """Only users with permission to read the server's statistics see its version."""
    log = iggy_log.IggyEventLog(IggyAddress.parse("iggy+tcp://user:secret@127.0.0.1:1"))
    with pytest.raises(LogError) as error:
        asyncio.run(log._create(_ServerWithoutDurability(version)))
    assert str(error.value).startswith(f"The Iggy server at 127.0.0.1:1 {problem}its clients cannot set the durability of a topic.")
    assert "enforce_fsync=true and messages_required_to_save=1" in str(error.value)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"message_expiry": "7 days"}, "has a message expiry"),
        ({"max_topic_size": "4 GiB"}, "has a maximum size"),
        ({"durable": False}, "loses acknowledged events"),
        ({"durable": False, "enforce_fsync": "true"}, "loses acknowledged events"),
        ({"durable": False, "messages_required_to_save": "1"}, "loses acknowledged events"),
        ({}, None),
    ],
)
def test_unsafe_topic_settings_warn_once(iggy: Iggy, options: dict[str, Any], problem: str | None) -> None:
    log = open_log(iggy.url(iggy.stream(**options)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        log.append(messages(2))
        log.ranges()
        log.append(messages(2))
    warned = [str(warning.message) for warning in caught]
    assert all(warning.category is EvalkitWarning for warning in caught)
    assert warned == list(log.describe().problems)
    assert len(warned) == (0 if problem is None else 1)
    assert problem is None or (problem in warned[0] and "evalkit log export" in warned[0])
    log.close()


def test_added_partitions_are_detected(iggy: Iggy, tmp_path: Path) -> None:
    """Appends, ranges and catch-up fail."""
    stream = iggy.stream(partitions=2)
    home = tmp_path / "home"
    kit = connect(home, log_url=iggy.url(stream))
    study = study_with_checkpoints(kit, 5)
    with_iggy_client(iggy, lambda client: client.create_partitions(stream, "events", 3))
    deadline = time.monotonic() + SECONDS
    while len(message_counts(iggy, stream)) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    before = message_counts(iggy, stream)
    for call in (
        lambda: kit.engine.log.append(messages(3)),
        kit.engine.log.ranges,
        kit.engine.catch_up,
        lambda: kit.record_checkpoint(study, sample(100)),
    ):
        with pytest.raises(LogMismatchError) as error:
            call()
        assert says(error) == snapshot(
            "Topic 'events' now has 5 partitions instead of 2, so the events of a study would no longer be in order. No events were appended. Export the log (evalkit log export), recreate the topic, and import it."
        )
    kit.close()
    with connect(home, log_url=iggy.url(stream)) as again:
        with pytest.raises(LogMismatchError) as error:
            again.record_checkpoint(study, sample(100))
        assert says(error) == snapshot(
            "The log has 5 partitions, but the read model was built from 2: the topic was changed, or this is a different log. The events of a study would no longer be in order: export the log, recreate it, and import it. If this is the right log, rebuild the read model from it: kit.rebuild(adopt_log=True)."
        )
        assert any("export the log" in problem for problem in again.status().problems)
    assert message_counts(iggy, stream) == before
    assert sum(before) == 7


# --- other programs ------------------------------------------------------------------------------------------------------------------


def test_event_in_wrong_partition_is_rejected(iggy: Iggy, tmp_path: Path) -> None:
    stream = iggy.stream()
    kit = connect(tmp_path / "home", log_url=iggy.url(stream))
    study = study_with_checkpoints(kit, 3)
    command = RecordCheckpoint(flat_sample(50))
    stray = command.encoded(study.id, command.checkpoint_id(study.id))
    right = partition_of(study.id, 4)
    send(iggy, stream, Partitioning.partition_id((right + 1) % 4), stray.data)
    assert kit.checkpoints()["total_tokens"].to_list() == [0, 1, 2]
    rejected = kit.rejected()
    assert rejected["reason"].to_list() == ["wrong partition"]
    assert rejected["event_id"].to_list() == [stray.event_id]
    assert kit.stop_study(study).status == "stopped"
    send(iggy, stream, Partitioning.partition_id(right), stray.data)
    assert kit.checkpoints()["total_tokens"].to_list() == [0, 1, 2, 50]
    assert kit.verify().ok
    kit.close()


@pytest.mark.parametrize("partitions", [4, 7])
def test_events_are_readable_with_iggy_client(iggy: Iggy, partitions: int) -> None:
    """By event id, in the partition of the study's key."""
    stream = iggy.stream(partitions=partitions)
    log = open_log(iggy.url(stream))
    mine = [EncodedEvent(new_id(), new_id(), b"evalkit") for _ in range(30)]
    positions = log.append(mine)
    log.close()

    async def work(client: IggyClient) -> list[Any]:
        for message in mine:
            key = Partitioning.messages_key(message.study_id)
            await client.send_messages(stream, "events", key, [SendMessage(message.study_id.encode())])
        polled = []
        for partition in range(partitions):
            polled += await client.poll_messages(
                stream, "events", consumer=Consumer.Single("another"), polling_strategy=PollingStrategy.First(), count=100,
                auto_commit=False, partition_id=partition,
            )  # fmt: skip
        return [(message.partition_id(), message.offset(), message.id(), message.payload()) for message in polled]

    polled = with_iggy_client(iggy, work)
    by_key = {payload.decode(): partition for partition, _, _, payload in polled if payload != b"evalkit"}
    assert by_key == {message.study_id: position.partition for message, position in zip(mine, positions, strict=True)}
    ids = {(partition, offset): identity for partition, offset, identity, payload in polled if payload == b"evalkit"}
    assert ids == {tuple(position): UUID(message.event_id).int for message, position in zip(mine, positions, strict=True)}


def test_group_offset_follows_read_model(iggy: Iggy, tmp_path: Path) -> None:
    """Moving it has no effect on evalkit."""
    stream = iggy.stream(partitions=2)
    home = tmp_path / "home"
    with connect(home, log_url=iggy.url(stream)) as kit:
        study = study_with_checkpoints(kit, 10)
        digest = kit.verify().digest
    partition = partition_of(study.id, 2)
    groups = iggy.http("GET", f"/streams/{stream}/topics/events/consumer-groups")
    assert "eval-projection" in [group["name"] for group in groups]

    # The HTTP API tells only the offsets of single consumers, so what the group would be given next tells where it stands.
    async def next_of_group(client: IggyClient) -> int | None:
        await client.consumer_group("eval-projection", stream, "events")
        polled = await client.poll_messages(
            stream, "events", consumer=Consumer.Group("eval-projection"), polling_strategy=PollingStrategy.Next(), count=1,
            auto_commit=False, partition_id=partition,
        )  # fmt: skip
        return polled[0].offset() if polled else None

    async def rewind(client: IggyClient) -> int | None:
        member = await client.consumer_group("eval-projection", stream, "events")
        await member.store_offset(4, partition)
        return await next_of_group(client)

    assert with_iggy_client(iggy, next_of_group) is None
    assert with_iggy_client(iggy, rewind) == 5
    with connect(home, log_url=iggy.url(stream)) as kit:
        assert kit.checkpoints().height == 10
        kit.record_checkpoint(study, sample(10))
        assert kit.checkpoints().height == 11
        assert kit.rejected().is_empty()
        assert kit.verify().ok
        assert kit.verify().digest != digest
    assert with_iggy_client(iggy, next_of_group) is None


# --- lost events ---------------------------------------------------------------------------------------------------------------------


def test_log_without_first_events_is_rejected(iggy: Iggy, tmp_path: Path) -> None:
    """The read model remains readable."""
    stream = iggy.stream(partitions=1, segment_size="1 MiB")
    url = iggy.url(stream)
    kit = connect(tmp_path / "home", log_url=url)
    study = study_with_checkpoints(kit, 0)
    for index in range(6):
        kit.record_checkpoint(study, {**sample(index), "sessions_included": ["x" * 1000] * 600})
    kit.close()  # stores the group's offset: the server only deletes segments that the group has read
    segments = iggy.http("GET", f"/streams/{stream}/topics/events")["partitions"][0]["segments_count"]
    assert segments > 2
    iggy.http("DELETE", f"/streams/{stream}/topics/events/partitions/0?segments_count={segments - 2}")
    ((first, end),) = kit.engine.log.ranges()
    assert 0 < first < end == 8
    with pytest.warns(EvalkitWarning, match=rf"starts at offset {first}: its first {first} events are missing"):
        assert kit.checkpoints().height == 6
    for call in (lambda: kit.rebuild(on_progress=lambda done, total: None), lambda: kit.record_checkpoint(study, sample(100))):
        kit.engine.consumer.restart()
        with pytest.raises(LogIncompleteError):
            call()
    assert any("events are missing" in problem for problem in kit.status().problems)
    with connect(tmp_path / "new", log_url=url) as new, pytest.raises(LogIncompleteError):
        new.checkpoints()
    assert kit.engine.log.ranges() == [(first, end)]
    kit.close()


def test_purged_topic_is_rejected(iggy: Iggy, tmp_path: Path) -> None:
    """Also when the log grew again."""
    stream = iggy.stream(partitions=1)
    kit = connect(tmp_path / "home", log_url=iggy.url(stream))
    study = study_with_checkpoints(kit, 5)
    with_iggy_client(iggy, lambda client: client.purge_topic(stream, "events"))
    with pytest.raises(LogMismatchError):
        kit.record_checkpoint(study, sample(10))
    kit.engine.log.append(messages(30))
    with pytest.raises(LogMismatchError):
        kit.record_checkpoint(study, sample(10))
    assert kit.status().problems
    assert kit.engine.database.execute("SELECT count(*) FROM checkpoints") == [(5,)]
    kit.close()


# --- large appends -------------------------------------------------------------------------------------------------------------------


def cut_before_chunk(kit: EvalKit, wire: Relay, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut the connection before the n-th chunk that the log sends."""
    log: Any = kit.engine.log
    sent = log._send
    count = 0

    def send(*args: Any) -> int:
        nonlocal count
        count += 1
        if count == chunk:
            wire.cut()
        offset: int = sent(*args)
        return offset

    monkeypatch.setattr(log, "_send", send)


def retry_until_available(call: Callable[[], T]) -> T:
    """Retry while the log is unavailable."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return call()
        except LogUnavailableError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.parametrize("keyed", [True, False])
def test_interrupted_frame_names_durable_rows(iggy: Iggy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keyed: bool) -> None:
    """With keys, the same call records the rest; without, the remaining rows do."""
    monkeypatch.setattr(iggy_log, "_CHUNK_MESSAGES", 500)
    rows = [flat_sample(index) | ({"key": str(index)} if keyed else {}) for index in range(6000)]
    with Relay("127.0.0.1", iggy.port) as wire:
        kit = connect(tmp_path / "home", log_url=iggy.url(iggy.stream(), port=wire.port))
        study = study_with_checkpoints(kit, 0)
        with monkeypatch.context() as patch:
            cut_before_chunk(kit, wire, 4, patch)
            with pytest.raises(LogUnavailableError) as error:
                kit.record_checkpoints(study, rows)
        partition = partition_of(study.id, 4)
        assert list(error.value.positions) == [*(LogPosition(partition, 2 + index) for index in range(1500)), *[None] * 4500]
        assert all(number in error.value.message.effect for number in ("6,000", "1,500", "1499"))
        assert ("same rows" in error.value.message.hint, "1500" in error.value.message.hint) == (keyed, not keyed)
        with pytest.raises(LogUnavailableError) as next_error:
            kit.record_checkpoints(study, rows)
        assert not list(next_error.value.positions)
        assert "unknown" not in next_error.value.message.effect
        wire.restore()
        if keyed:
            done = retry_until_available(lambda: kit.record_checkpoints(study, rows))
            assert (done.recorded, done.already_recorded, len(set(done.checkpoint_ids))) == (4500, 1500, 6000)
        else:
            done = retry_until_available(lambda: kit.record_checkpoints(study, rows[1500:]))
            assert (done.recorded, done.already_recorded) == (4500, 0)
        assert kit.checkpoints()["total_tokens"].to_list() == list(range(6000))
        assert kit.status().events == 6002
        assert kit.rejected().is_empty()
        kit.close()


def test_large_events_are_appended_or_rejected(iggy: Iggy, tmp_path: Path) -> None:
    kit = connect(tmp_path / "home", log_url=iggy.url(iggy.stream()))
    study = study_with_checkpoints(kit, 0)

    def row(index: int, length: int) -> dict[str, Any]:
        return {**flat_sample(index), "sessions_included": ["x" * length]}

    command = RecordCheckpoint(row(0, 0))
    small = len(command.encoded(study.id, new_id(), written_at="2026-01-01T00:00:00.000000Z").data)
    rows = [row(index, MAX_EVENT_BYTES - small - len(str(index)) + 1) for index in range(30)]
    assert kit.record_checkpoints(study, rows).recorded == 30
    sizes = [len(record.data) for record in records_of(kit)]
    assert sizes.count(MAX_EVENT_BYTES) == 30
    before = kit.engine.log.ranges()
    with pytest.raises(LogError) as error:
        kit.engine.log.append([EncodedEvent(study.id, new_id(), b"x" * ((64 << 20) + 1))])
    assert says(error) == snapshot("An event of 67,108,865 bytes is too large for Iggy. It was not appended.")
    assert kit.engine.log.ranges() == before
    assert kit.checkpoints().height == 30
    kit.close()


def records_of(kit: EvalKit) -> list[Any]:
    consumer, records = kit.engine.log.consumer("test"), []
    while batch := consumer.poll(1000, 0):
        records += batch
    return records


# --- loops, threads, processes -------------------------------------------------------------------------------------------------------


def test_kit_works_inside_running_event_loop(iggy: Iggy, tmp_path: Path) -> None:
    kit = connect(tmp_path / "home", log_url=iggy.url(iggy.stream()))

    async def cell(first: int) -> int:
        study = study_with_checkpoints(kit, 3, first=first)
        kit.record_checkpoint(study, sample(first + 3))
        await asyncio.sleep(0)
        return kit.checkpoints().height

    assert [asyncio.run(cell(0)), asyncio.run(cell(10))] == [4, 8]
    kit.close()


def test_threads_share_a_kit(iggy: Iggy, tmp_path: Path) -> None:
    """Each sees its own writes immediately."""
    kit = connect(tmp_path / "home", log_url=iggy.url(iggy.stream()))
    shared = study_with_checkpoints(kit, 0)
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait(30)
        own = kit.start_study(kit.create_study(f"study {number}"))
        for index in range(5):
            recorded = kit.record_checkpoint(shared, sample(number * 100 + index)).id
            assert recorded in kit.checkpoints()["checkpoint_id"].to_list()
            kit.record_checkpoint(own, sample(index))
            assert kit.checkpoints(own).height == index + 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert kit.checkpoints(shared).height == 40
    assert kit.status().events == 2 + 40 + 8 * 7
    assert kit.verify().ok
    kit.close()


@pytest.mark.slow
def test_threads_time_out_together(tmp_path: Path) -> None:
    with Silent() as server:
        log = open_log(f"iggy+tcp://evalkit:{SECRET}@127.0.0.1:{server.port}")

        def work(number: int) -> float:
            began = time.monotonic()
            with pytest.raises(LogUnavailableError) as error:
                log.ranges()
            assert "did not answer within" in error.value.message.problem
            return time.monotonic() - began

        with ThreadPoolExecutor(8) as pool:
            assert max(pool.map(work, range(8))) < SECONDS
        log.close()


BEGIN = """
import os, sys, threading, time, warnings
import evalkit
from tests.worker import sample, study_with_checkpoints
home, url, other = sys.argv[1:]
kit = evalkit.connect(home, log_url=url)
study = study_with_checkpoints(kit, 2)
"""
ENDS = {
    "right after commands": "kit.record_checkpoint(study, sample(100))",
    "right after a query": "kit.checkpoints()",
    "closed": "kit.checkpoints(); kit.close()",
    "while a thread connects": """
silent = evalkit.connect(home + "-other", log_url=other)
threading.Thread(target=silent.checkpoints, daemon=True).start()
time.sleep(0.2)
""",
    "after an error": "kit.checkpoints(); raise RuntimeError('on purpose')",
    "while a thread polls": """
consumer = kit.engine.log.consumer("test")
consumer.poll(1000, 0)
threading.Thread(target=consumer.poll, args=(1000, 5), daemon=True).start()
time.sleep(0.2)
""",
}


def run_script(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("end", ENDS)
def test_scripts_exit_cleanly(iggy: Iggy, tmp_path: Path, end: str) -> None:
    """With their own exit code and no output of the driver."""
    with Silent() as silent:
        other = f"iggy+tcp://evalkit:{SECRET}@127.0.0.1:{silent.port}"
        for trial in range(3):
            done = run_script(BEGIN + ENDS[end], str(tmp_path / f"home{trial}"), iggy.url(iggy.stream(partitions=1)), other)
            if end == "after an error":
                assert done.returncode == 1
                assert done.stderr.startswith("Traceback")
                assert done.stderr.strip().endswith("RuntimeError: on purpose")
                assert done.stderr.count("Traceback") == 1
            else:
                assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout == ""


FORK = """
from tests.worker import exit_code, in_fork

def refused():
    began = time.monotonic()
    for call in (lambda: kit.record_checkpoint(study, sample(100)), kit.engine.log.ranges, lambda: evalkit.connect(home + "-new", log_url=url).create_study("new")):
        try:
            call()
        except evalkit.errors.LogUnavailableError as error:
            assert "spawn" in str(error)
        else:
            raise AssertionError("no error")
    kit.close()
    assert time.monotonic() - began < 5

assert exit_code(in_fork(refused)) == 0
warnings.simplefilter("ignore")
pid = os.fork()
if pid == 0:
    sys.exit(3)
assert exit_code(pid) == 3
for index in range(10, 13):
    kit.record_checkpoint(study, sample(index))
print(kit.checkpoints().height)
"""
FIRST_IN_CHILD = """
import os, sys, time, warnings
import evalkit
from tests.worker import exit_code, in_fork, sample, study_with_checkpoints
home, url, other = sys.argv[1:]
kit = evalkit.connect(home, log_url=url)

def work(first):
    study_with_checkpoints(kit, 2, first=first)
    assert kit.checkpoints().height == first + 2

assert exit_code(in_fork(lambda: work(0))) == 0
warnings.simplefilter("ignore")
pid = os.fork()
if pid == 0:
    work(2)
    sys.exit(3)
assert exit_code(pid) == 3
print(kit.checkpoints().height)
"""


def test_fork_after_use_raises_in_child(iggy: Iggy, tmp_path: Path) -> None:
    """The parent continues, and both exit cleanly."""
    done = run_script(BEGIN + FORK, str(tmp_path / "home"), iggy.url(iggy.stream()), "")
    assert (done.returncode, done.stdout, done.stderr) == (0, "5\n", "")


def test_fork_before_use_works(iggy: Iggy, tmp_path: Path) -> None:
    done = run_script(FIRST_IN_CHILD, str(tmp_path / "home"), iggy.url(iggy.stream()), "")
    assert (done.returncode, done.stdout, done.stderr) == (0, "4\n", "")


# --- who may connect, and how --------------------------------------------------------------------------------------------------------


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate for localhost, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "certificate.pem", folder / "key.pem"


@pytest.fixture(scope="module")
def tls_iggy(tmp_path_factory: pytest.TempPathFactory, iggy: Iggy) -> Iterator[tuple[Iggy, Path]]:
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = make_certificate(folder)
    environment = {
        "IGGY_TCP_TLS_ENABLED": "true", "IGGY_TCP_TLS_SELF_SIGNED": "false", "IGGY_TCP_TLS_CERT_FILE": str(certificate),
        "IGGY_TCP_TLS_KEY_FILE": str(key),
    }  # fmt: skip
    with Iggy(folder / "iggy", environment=environment) as server:
        yield server, certificate


def test_tls_with_trusted_certificate(tls_iggy: tuple[Iggy, Path], tmp_path: Path) -> None:
    iggy, certificate = tls_iggy
    url = f"{iggy.url(iggy.stream())}&tls=true&tls_domain=localhost&tls_ca_file={quote(str(certificate))}"
    with connect(tmp_path / "home", log_url=url) as kit:
        study_with_checkpoints(kit, 3)
        assert kit.checkpoints().height == 3
        assert kit.status().problems == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            "",
            snapshot(
                "The event log cannot be used: the Iggy server at 127.0.0.1:PORT closed the connection or is not an Iggy 0.9 server. Use its TCP port (8090 by default). If it requires TLS, add tls=true to the log URL."
            ),
        ),
        (
            "&tls=true&tls_domain=localhost",
            snapshot(
                "The event log cannot be used: the Iggy server at 127.0.0.1:PORT cannot be reached. Check that it is running at this host and port, that it uses TLS, and that its certificate matches tls_domain and tls_ca_file (iggy+tcp://USER:PASSWORD@HOST:PORT or iggy+tcp://TOKEN@HOST:PORT)."
            ),
        ),
        (
            "&tls=true&tls_domain=example.org&tls_ca_file=CERTIFICATE",
            snapshot(
                "The event log cannot be used: the Iggy server at 127.0.0.1:PORT cannot be reached. Check that it is running at this host and port, that it uses TLS, and that its certificate matches tls_domain and tls_ca_file (iggy+tcp://USER:PASSWORD@HOST:PORT or iggy+tcp://TOKEN@HOST:PORT)."
            ),
        ),
        (
            "&tls=true&tls_domain=localhost&tls_ca_file=/no/such/file.pem",
            snapshot(
                "The event log cannot be used: the Iggy server at 127.0.0.1:PORT cannot be reached over TLS: Invalid TLS certificate path. Check the options tls_domain and tls_ca_file of the log URL."
            ),
        ),
    ],
)
def test_tls_mismatch_names_options(tls_iggy: tuple[Iggy, Path], tmp_path: Path, options: str, message: str) -> None:
    iggy, certificate = tls_iggy
    began = time.monotonic()
    with connect(tmp_path / "home", log_url=iggy.url("evals") + options.replace("CERTIFICATE", str(certificate))) as kit:
        with pytest.raises(LogUnavailableError) as error:
            kit.create_study("study")
        assert says(error, port=iggy.port) == message
    assert time.monotonic() - began < SECONDS


def make_user(iggy: Iggy, stream: str, permissions: dict[str, Any], topic_permissions: dict[str, Any] | None = None) -> str:
    """Create a user with permissions for one stream and its topic."""
    name = f"user-{new_id()[-12:]}"
    details = iggy.http("GET", f"/streams/{stream}")
    none = dict.fromkeys(("manage_stream", "read_stream", "manage_topics", "read_topics", "poll_messages", "send_messages"), False)
    none_of_topic = dict.fromkeys(("manage_topic", "read_topic", "poll_messages", "send_messages"), False)
    topics = None if topic_permissions is None else {str(details["topics"][0]["id"]): {**none_of_topic, **topic_permissions}}
    everywhere = (
        "manage_servers", "read_servers", "manage_users", "read_users", "manage_streams", "read_streams", "manage_topics", "read_topics",
        "poll_messages", "send_messages",
    )  # fmt: skip
    rights = {"global": dict.fromkeys(everywhere, False), "streams": {str(details["id"]): {**none, **permissions, "topics": topics}}}
    iggy.http("POST", "/users", {"username": name, "password": SECRET, "status": "active", "permissions": rights})
    return name


def test_minimal_permissions_suffice(iggy: Iggy, tmp_path: Path) -> None:
    stream = iggy.stream(partitions=1)
    user = make_user(iggy, stream, {"read_stream": True}, {"send_messages": True})
    with connect(tmp_path / "home", log_url=iggy.url(stream, user=user, password=SECRET)) as kit:
        study_with_checkpoints(kit, 5)
        assert kit.checkpoints().height == 5
        assert kit.verify().ok
        assert kit.status().problems == ()
        assert kit.checkpoints().height == 5
    groups = [group["name"] for group in iggy.http("GET", f"/streams/{stream}/topics/events/consumer-groups")]
    assert "eval-projection" in groups


def test_read_only_user_cannot_append(iggy: Iggy, tmp_path: Path) -> None:
    stream = iggy.stream(partitions=1)
    with connect(tmp_path / "writer", log_url=iggy.url(stream)) as writer:
        study = study_with_checkpoints(writer, 5)
    user = make_user(iggy, stream, {}, {"read_topic": True})
    with connect(tmp_path / "home", log_url=iggy.url(stream, user=user, password=SECRET)) as kit:
        assert kit.checkpoints().height == 5
        with pytest.raises(LogUnavailableError) as error:
            kit.record_checkpoint(study, sample(10))
        assert says(error, port=iggy.port, stream=stream) == snapshot(
            "The event log cannot be used: the Iggy server at 127.0.0.1:PORT denied access to the user of the log URL. No events were appended. Grant permission to read, poll from and send to topic 'events' of stream 'STREAM', and to manage the stream if the topic does not exist yet."
        )
        assert kit.status().problems == ()
        assert kit.checkpoints().height == 5
    assert message_counts(iggy, stream) == [7]


def test_personal_access_token(iggy: Iggy, tmp_path: Path) -> None:
    """A user name without a password is a token."""
    stream = iggy.stream()
    token = iggy.http("POST", "/personal-access-tokens", {"name": new_id()[-12:], "expiry": 0})["token"]
    with connect(tmp_path / "home", log_url=f"iggy+tcp://{quote(token, safe='')}@127.0.0.1:{iggy.port}?stream={stream}") as kit:
        kit.create_study("study")
        assert kit.studies().height == 1
        assert token not in str(kit.status())
    with connect(tmp_path / "other", log_url=f"iggy+tcp://{SECRET}@127.0.0.1:{iggy.port}?stream={stream}") as kit:
        with pytest.raises(LogUnavailableError) as error:
            kit.create_study("study")
        assert says(error, port=iggy.port) == snapshot(
            "The event log cannot be used: the Iggy server at 127.0.0.1:PORT rejected the user name or the password. Check the log URL (EVALKIT_LOG_URL)."
        )
        assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (f"iggy+tcp://user:{SECRET}@", "expected iggy+tcp://USER:PASSWORD@HOST:PORT"),
        (f"iggy+tcp://user:{SECRET}@:8090", "expected iggy+tcp://USER:PASSWORD@HOST:PORT"),
        ("iggy+tcp://host:8090", "expected iggy+tcp://USER:PASSWORD@HOST:PORT"),
        ("iggy+tcp:host", "expected iggy+tcp://USER:PASSWORD@HOST:PORT"),
        (f"iggy+tcp://:{SECRET}@host:8090", "expected iggy+tcp://USER:PASSWORD@HOST:PORT"),
        (f"iggy+tcp://user:{SECRET}@host:port", "expected iggy+tcp://USER:PASSWORD@HOST:PORT"),
        (f"iggy+tcp://user:{SECRET}@host:99999", "expected iggy+tcp://USER:PASSWORD@HOST:PORT"),
        (f"iggy+tcp://user:{SECRET}@host:8090/evals", "expected iggy+tcp://USER:PASSWORD@HOST:PORT"),
        (f"iggy+tcp://user:{SECRET}@host:8090#evals", "expected iggy+tcp://USER:PASSWORD@HOST:PORT"),
        (f"iggy+tcp://user:{SECRET}/word@host:8090", "expected iggy+tcp://USER:PASSWORD@HOST:PORT"),
        (f"iggy+tcp://user:{SECRET}#word@host:8090", "expected iggy+tcp://USER:PASSWORD@HOST:PORT"),
        (f"iggy+tcp://user:{SECRET}@[host:8090", "expected iggy+tcp://USER:PASSWORD@HOST:PORT"),
        (f"iggy+tcp://user:{SECRET}@host:8090?stream", "expected iggy+tcp://USER:PASSWORD@HOST:PORT"),
        (f"iggy+tcp://user:{SECRET}@host:8090?streams=x", "unknown option 'streams'"),
        (f"iggy+tcp://user:{SECRET}@host:8090?tls=1", "option tls is '1'; expected true or false"),
        (f"iggy+tcp://user:{SECRET}@host:8090?nodelay=yes", "option nodelay is 'yes'; expected true or false"),
        (f"iggy+tcp://user:{SECRET}@host:8090?partitions=0", "option partitions is '0'; expected a number from 1 to 1000"),
        (f"iggy+tcp://user:{SECRET}@host:8090?partitions=1001", "expected a number from 1 to 1000"),
        (f"iggy+tcp://user:{SECRET}@host:8090?partitions=four", "expected a number from 1 to 1000"),
        (f"iggy+tcp://user:{SECRET}@host:8090?stream=", "option stream is ''; expected a name"),
        (f"iggy+tcp://user:{SECRET}@host:8090?topic=12", "option topic is '12'; expected a name"),
        (f"iggy+tcp://user:{SECRET}@host:8090?topic={'x' * 256}", "a name of 1 to 255 bytes"),
        (f"iggy+tcp://user:{SECRET}@host:8090?stream=a&stream=b", "duplicate option"),
        (f"iggy://user:{SECRET}@host:8090", ""),
        (f"iggy+quic://user:{SECRET}@host:8090", ""),
    ],
)
def test_invalid_urls_are_rejected(tmp_path: Path, url: str, problem: str) -> None:
    """The error shows no password."""
    with pytest.raises(InvalidInputError) as error:
        connect(tmp_path / "home", log_url=url)
    assert problem in str(error.value)
    assert error.value.field == "log_url"
    shown: EvalkitError | BaseException | None = error.value
    while shown is not None:
        assert SECRET not in f"{shown} {vars(shown)}"
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)


def test_percent_encoded_password(iggy: Iggy, tmp_path: Path) -> None:
    assert set("@/#") <= set(PASSWORD)
    with connect(tmp_path / "home", log_url=iggy.url(iggy.stream())) as kit:
        kit.create_study("study")
        shown = f"{kit!r} {kit.status()} {kit.engine.settings} {kit.engine.log._address!r}"  # type: ignore[attr-defined]
    assert PASSWORD not in shown
    assert URL_PASSWORD not in shown
