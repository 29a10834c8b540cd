"""The contract of every event log. An adapter's test file subclasses it with a fixture that opens a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from evalkit.domain.events import EncodedEvent
from evalkit.domain.ids import new_id
from evalkit.eventlog.event_log import EventLog, LogPosition, partition_of, record_at
from tests.memory_log import InMemoryEventLog

STUDIES = [new_id() for _ in range(12)]


def messages(count: int, tag: str = "event") -> list[EncodedEvent]:
    return [EncodedEvent(STUDIES[index % len(STUDIES)], new_id(), f"{tag} {index}".encode()) for index in range(count)]


class Interrupted(Exception):
    """Interrupts an append."""


class InterruptedMessages(list[EncodedEvent]):
    """Messages whose iteration fails at the end."""

    def __iter__(self) -> Iterator[EncodedEvent]:
        yield from list.__iter__(self)
        raise Interrupted


class LogContract:
    """The contract of every event log; `log` is a fixture with an empty log of `partitions` partitions."""

    partitions = 1

    def another(self, log: Any) -> EventLog:
        """Open the same log again, as another process would; a log in memory returns itself."""
        return log

    def read_all(self, log: EventLog, at_once: int = 7) -> list[tuple[int, int, bytes]]:
        consumer, read = log.consumer("test"), []
        while records := consumer.poll(at_once, 0):
            assert len(records) <= at_once
            read += [tuple(record) for record in records]
        return read

    def test_empty_log_has_empty_ranges(self, log: EventLog) -> None:
        assert log.ranges() == [(0, 0)] * self.partitions
        assert log.consumer("test").poll(10, 0) == []

    def test_identity_is_unique_and_permanent(self, log: EventLog) -> None:
        """Every opening of a log has the same identity, before and after the first event."""
        other = self.another(log)
        with ThreadPoolExecutor() as pool:
            first = set(pool.map(lambda opened: opened.identity(), [log, other, self.another(log), log]))
        assert len(first) == 1
        assert log.ranges() == [(0, 0)] * self.partitions
        log.append(messages(3))
        log.close()
        assert {log.identity(), other.identity()} == first
        assert InMemoryEventLog().identity() not in first

    def test_append_and_read_preserve_bytes_and_order(self, log: EventLog) -> None:
        """Regardless of the batch size, at the positions that append returned."""
        appended = [*messages(40), EncodedEvent(STUDIES[0], "", b""), EncodedEvent(STUDIES[1], "", bytes(range(256)))]
        positions = [*log.append(appended[:5]), *log.append(appended[5:])]
        expected = {position: message.data for position, message in zip(positions, appended, strict=True)}
        for at_once in (1, 7, 1000):
            read = self.read_all(log, at_once)
            assert {LogPosition(partition, offset): data for partition, offset, data in read} == expected
            for partition in range(self.partitions):
                offsets = [offset for where, offset, _ in read if where == partition]
                assert offsets == list(range(len(offsets)))
                assert log.ranges()[partition] == (0, len(offsets))

    def test_other_openings_read_acknowledged_events(self, log: EventLog) -> None:
        other = self.another(log)
        assert self.read_all(other) == []
        first = log.append(messages(9))
        assert sorted(self.read_all(other)) == sorted(self.read_all(log))
        assert other.ranges() == log.ranges()
        second = other.append(messages(9, "other"))
        assert set(first).isdisjoint(second)
        log.close()
        read = {LogPosition(partition, offset): data for partition, offset, data in self.read_all(log)}
        assert [read[position] for position in second] == [message.data for message in messages(9, "other")]
        other.close()

    def test_interrupted_append_is_atomic(self, log: EventLog) -> None:
        """The next append uses the same offsets."""
        log.append(messages(3))
        before = self.read_all(log)
        with pytest.raises(Interrupted):
            log.append(InterruptedMessages(messages(8, "lost")))
        assert self.read_all(log) == before
        log.append(messages(8, "next"))
        assert not any(data.startswith(b"lost") for _, _, data in self.read_all(log))

    def test_empty_append_is_no_op(self, log: EventLog) -> None:
        log.append(messages(2))
        before = log.ranges()
        assert log.append([]) == []
        assert log.ranges() == before

    def test_consumers_are_independent(self, log: EventLog) -> None:
        """Also two consumers of the same group."""
        log.append(messages(30))
        first_consumer, second_consumer = log.consumer("test"), log.consumer("test")
        first = first_consumer.poll(10, 0)
        assert second_consumer.poll(10, 0) == first
        assert first_consumer.poll(10, 0) != first
        assert log.consumer("test").poll(10, 0) == first

    def test_consumer_at_end_reads_next_event_once(self, log: EventLog) -> None:
        log.append(messages(30))
        consumer = log.consumer("test")
        for partition, (_, end) in enumerate(log.ranges()):
            consumer.seek(partition, end)
        assert consumer.poll(10, 0) == []
        (position,) = log.append(messages(1, "next"))
        assert [tuple(record) for record in consumer.poll(10, 1)] == [(*position, b"next 0")]
        assert consumer.poll(10, 0) == []

    def test_events_of_one_mebibyte_round_trip(self, log: EventLog) -> None:
        large = [EncodedEvent(STUDIES[0], new_id(), bytes([number]) * (1 << 20)) for number in range(3)]
        log.append(large)
        assert [data for _, _, data in self.read_all(log, 2)] == [message.data for message in large]

    def test_partition_is_determined_by_study_id(self, log: EventLog) -> None:
        appended = messages(30)
        for message, position in zip(appended, log.append(appended), strict=True):
            assert position.partition == partition_of(message.study_id, self.partitions)

    def test_consumer_seeks_each_partition(self, log: EventLog) -> None:
        """Forwards and backwards."""
        log.append(messages(60))
        consumer = log.consumer("test")
        for offset in (3, 0, 2):
            for partition in range(self.partitions):
                consumer.seek(partition, offset)
            first = {}
            for partition, start, _ in consumer.poll(1000, 0):
                first.setdefault(partition, start)
            assert set(first.values()) <= {offset}
            assert first

    def test_record_at_ignores_concurrent_appends(self, log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
        sent = messages(12)
        positions = log.append(sent)
        with monkeypatch.context() as patched:
            ranges = log.ranges
            patched.setattr(log, "ranges", lambda: (ranges(), log.append(messages(12, "meanwhile")))[0])
            read = [record_at(log, position) for position in positions]
        assert [record and (record.partition, record.offset, record.data) for record in read] == [
            (*position, message.data) for position, message in zip(positions, sent, strict=True)
        ]
        assert record_at(log, LogPosition(positions[0].partition, 1_000_000)) is None

    def test_poll_waits_until_event_or_timeout(self, log: EventLog) -> None:
        consumer = log.consumer("test")
        began = time.monotonic()
        assert consumer.poll(1, 0.2) == []
        assert 0.15 <= time.monotonic() - began < 10
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(consumer.poll, 1, 30)
            log.append(messages(1))
            assert waiting.result(20)[0].data == b"event 0"

    def test_commit_does_not_move_consumers(self, log: EventLog) -> None:
        """Neither open consumers nor new ones of the same group."""
        log.append(messages(20))
        expected = self.read_all(log)
        for offset in (0, 5, 1):
            consumer = log.consumer("test")
            consumer.commit(LogPosition(expected[0][0], offset))
            assert self.read_all(log) == expected
            assert [tuple(record) for record in consumer.poll(1000, 0)] == self.read_all(log, 1000)

    def test_polls_do_not_starve_partitions(self, log: EventLog) -> None:
        log.append(messages(60))
        consumer = log.consumer("test")
        seen = {consumer.poll(1, 0)[0].partition for _ in range(60)}
        assert seen == {partition for partition, (_, end) in enumerate(log.ranges()) if end}

    def test_concurrent_threads_append_each_event_once(self, log: EventLog) -> None:
        """The events of each thread keep their order."""
        start = threading.Barrier(8)

        def work(number: int) -> list[bytes]:
            start.wait(30)
            mine = messages(20, f"thread {number}")
            for message in mine:
                log.append([message])
            return [message.data for message in mine]

        with ThreadPoolExecutor(8) as pool:
            written = [data for part in pool.map(work, range(8)) for data in part]
        read = self.read_all(log, 1000)
        assert sorted(data for _, _, data in read) == sorted(written)
        for number in range(8):
            for study in range(self.partitions):
                mine = [int(data.split()[-1]) for where, _, data in read if where == study and data.startswith(b"thread %d " % number)]
                assert mine == sorted(mine)

    def test_concurrent_openings_append_contiguous_batches(self, log: EventLog) -> None:
        logs = [log, *(self.another(log) for _ in range(3))]
        start = threading.Barrier(4)

        def work(number: int) -> dict[LogPosition, bytes]:
            start.wait(30)
            written: dict[LogPosition, bytes] = {}
            for batch in range(10):
                mine = [EncodedEvent(STUDIES[number], new_id(), b"%d %d %d" % (number, batch, part)) for part in range(5)]
                positions = logs[number].append(mine)
                assert [position.offset for position in positions] == list(range(positions[0].offset, positions[0].offset + 5))
                written |= dict(zip(positions, (message.data for message in mine), strict=True))
            return written

        with ThreadPoolExecutor(4) as pool:
            written = {position: data for part in pool.map(work, range(4)) for position, data in part.items()}
        assert len(written) == 200
        assert {LogPosition(partition, offset): data for partition, offset, data in self.read_all(log)} == written
        assert [end for _, end in log.ranges()] == [sum(where == partition for where, _ in written) for partition in range(self.partitions)]
        for other in logs[1:]:
            other.close()

    def test_closed_log_can_be_closed_and_used_again(self, log: EventLog) -> None:
        log.append(messages(1))
        log.close()
        log.close()
        log.append(messages(1))
        assert sum(end for _, end in log.ranges()) == 2
