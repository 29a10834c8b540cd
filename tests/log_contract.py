"""What every event log must do. An adapter's test file subclasses this and says only how to open one."""

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
    """Stops an append in its middle."""


class BreaksOff(list[EncodedEvent]):
    """Messages that cannot be taken to the end."""

    def __iter__(self) -> Iterator[EncodedEvent]:
        yield from list.__iter__(self)
        raise Interrupted


class LogContract:
    """The contract: `log` is a fixture that gives an empty log of `partitions` partitions."""

    partitions = 1

    def another(self, log: Any) -> EventLog:
        """Open the same log as another process would; a log that only this process can see gives itself."""
        return log

    def read_all(self, log: EventLog, at_once: int = 7) -> list[tuple[int, int, bytes]]:
        consumer, found = log.consumer("test"), []
        while records := consumer.poll(at_once, 0):
            assert len(records) <= at_once
            found += [tuple(record) for record in records]
        return found

    def test_an_empty_log_has_partitions_and_no_events(self, log: EventLog) -> None:
        """Its ranges are empty, and polling gives nothing at once."""
        assert log.ranges() == [(0, 0)] * self.partitions
        assert log.consumer("test").poll(10, 0) == []

    def test_its_identity_is_known_first_and_stays(self, log: EventLog) -> None:
        """Everyone who opens a log reads one identity, before the first event and after, and another log has another one."""
        other = self.another(log)
        with ThreadPoolExecutor() as pool:
            first = set(pool.map(lambda opened: opened.identity(), [log, other, self.another(log), log]))
        assert len(first) == 1
        assert log.ranges() == [(0, 0)] * self.partitions
        log.append(messages(3))
        log.close()
        assert {log.identity(), other.identity()} == first
        assert InMemoryEventLog().identity() not in first

    def test_what_is_appended_is_read_back_in_order(self, log: EventLog) -> None:
        """Byte for byte, in each partition in the order of appending, at the positions that append gave, whatever the batch."""
        appended = [*messages(40), EncodedEvent(STUDIES[0], "", b""), EncodedEvent(STUDIES[1], "", bytes(range(256)))]
        positions = [*log.append(appended[:5]), *log.append(appended[5:])]
        expected = {position: message.data for position, message in zip(positions, appended, strict=True)}
        for at_once in (1, 7, 1000):
            found = self.read_all(log, at_once)
            assert {LogPosition(partition, offset): data for partition, offset, data in found} == expected
            for partition in range(self.partitions):
                offsets = [offset for where, offset, _ in found if where == partition]
                assert offsets == list(range(len(offsets)))
                assert log.ranges()[partition] == (0, len(offsets))

    def test_what_was_acknowledged_is_there_for_everybody(self, log: EventLog) -> None:
        """When append returns, whoever opens the log finds the events, and goes on after them."""
        other = self.another(log)
        assert self.read_all(other) == []
        first = log.append(messages(9))
        assert sorted(self.read_all(other)) == sorted(self.read_all(log))
        assert other.ranges() == log.ranges()
        second = other.append(messages(9, "other"))
        assert set(first).isdisjoint(second)
        log.close()
        found = {LogPosition(partition, offset): data for partition, offset, data in self.read_all(log)}
        assert [found[position] for position in second] == [message.data for message in messages(9, "other")]
        other.close()

    def test_an_append_that_breaks_off_leaves_nothing(self, log: EventLog) -> None:
        """All of it is there or none, and the next append takes the offsets that it would have taken."""
        log.append(messages(3))
        before = self.read_all(log)
        with pytest.raises(Interrupted):
            log.append(BreaksOff(messages(8, "lost")))
        assert self.read_all(log) == before
        log.append(messages(8, "next"))
        assert not any(data.startswith(b"lost") for _, _, data in self.read_all(log))

    def test_appending_nothing_gives_nothing(self, log: EventLog) -> None:
        """No position, and no event."""
        log.append(messages(2))
        before = log.ranges()
        assert log.append([]) == []
        assert log.ranges() == before

    def test_consumers_do_not_know_of_each_other(self, log: EventLog) -> None:
        """Also those of one group: each stands where it has read to, and begins at the beginning."""
        log.append(messages(30))
        one, other = log.consumer("test"), log.consumer("test")
        first = one.poll(10, 0)
        assert other.poll(10, 0) == first
        assert one.poll(10, 0) != first
        assert log.consumer("test").poll(10, 0) == first

    def test_at_the_end_only_what_comes_next_is_given(self, log: EventLog) -> None:
        """A consumer that stands at the end of every partition waits for the next event, and gives it once."""
        log.append(messages(30))
        consumer = log.consumer("test")
        for partition, (_, end) in enumerate(log.ranges()):
            consumer.seek(partition, end)
        assert consumer.poll(10, 0) == []
        (position,) = log.append(messages(1, "next"))
        assert [tuple(record) for record in consumer.poll(10, 1)] == [(*position, b"next 0")]
        assert consumer.poll(10, 0) == []

    def test_a_large_event_comes_back_whole(self, log: EventLog) -> None:
        """An event may have 1 MiB, and one more does not disturb the log."""
        large = [EncodedEvent(STUDIES[0], new_id(), bytes([number]) * (1 << 20)) for number in range(3)]
        log.append(large)
        assert [data for _, _, data in self.read_all(log, 2)] == [message.data for message in large]

    def test_a_study_stays_in_its_partition(self, log: EventLog) -> None:
        """xxh32 of the study id decides, so that all events of one study keep their order."""
        appended = messages(30)
        for message, position in zip(appended, log.append(appended), strict=True):
            assert position.partition == partition_of(message.study_id, self.partitions)

    def test_a_consumer_can_seek(self, log: EventLog) -> None:
        """Forwards and backwards, each partition by itself."""
        log.append(messages(60))
        consumer = log.consumer("test")
        for offset in (3, 0, 2):
            for partition in range(self.partitions):
                consumer.seek(partition, offset)
            first = {}
            for partition, found, _ in consumer.poll(1000, 0):
                first.setdefault(partition, found)
            assert set(first.values()) <= {offset}
            assert first

    def test_a_record_is_read_by_its_position_whatever_is_appended_meanwhile(self, log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
        """An append to any partition while a record is being looked up does not come in its place."""
        sent = messages(12)
        positions = log.append(sent)
        with monkeypatch.context() as patched:
            ranges = log.ranges
            patched.setattr(log, "ranges", lambda: (ranges(), log.append(messages(12, "meanwhile")))[0])
            found = [record_at(log, position) for position in positions]
        assert [record and (record.partition, record.offset, record.data) for record in found] == [
            (*position, message.data) for position, message in zip(positions, sent, strict=True)
        ]
        assert record_at(log, LogPosition(positions[0].partition, 1_000_000)) is None

    def test_polling_waits_for_an_event_and_no_longer_than_told(self, log: EventLog) -> None:
        """An event that comes while it waits is given; when none comes, nothing is, after the time."""
        consumer = log.consumer("test")
        began = time.monotonic()
        assert consumer.poll(1, 0.2) == []
        assert 0.15 <= time.monotonic() - began < 10
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(consumer.poll, 1, 30)
            log.append(messages(1))
            assert waiting.result(20)[0].data == b"event 0"

    def test_a_committed_position_is_never_read_back(self, log: EventLog) -> None:
        """Committing, forwards or backwards, moves no consumer of the same group, open or new."""
        log.append(messages(20))
        expected = self.read_all(log)
        for offset in (0, 5, 1):
            consumer = log.consumer("test")
            consumer.commit(LogPosition(expected[0][0], offset))
            assert self.read_all(log) == expected
            assert [tuple(record) for record in consumer.poll(1000, 0)] == self.read_all(log, 1000)

    def test_no_partition_waits_for_ever_behind_another(self, log: EventLog) -> None:
        """Polls of one event each reach every partition that holds some."""
        log.append(messages(60))
        consumer = log.consumer("test")
        seen = {consumer.poll(1, 0)[0].partition for _ in range(60)}
        assert seen == {partition for partition, (_, end) in enumerate(log.ranges()) if end}

    def test_many_threads_append_at_once(self, log: EventLog) -> None:
        """Nothing is lost, nothing is there twice, and each thread's events keep their order."""
        start = threading.Barrier(8)

        def work(number: int) -> list[bytes]:
            start.wait(30)
            mine = messages(20, f"thread {number}")
            for message in mine:
                log.append([message])
            return [message.data for message in mine]

        with ThreadPoolExecutor(8) as pool:
            written = [data for found in pool.map(work, range(8)) for data in found]
        found = self.read_all(log, 1000)
        assert sorted(data for _, _, data in found) == sorted(written)
        for number in range(8):
            for study in range(self.partitions):
                mine = [int(data.split()[-1]) for where, _, data in found if where == study and data.startswith(b"thread %d " % number)]
                assert mine == sorted(mine)

    def test_several_openings_append_at_once(self, log: EventLog) -> None:
        """Writers that know nothing of each other take turns: offsets have no gaps, and each batch stays together and in order."""
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
            written = {position: data for found in pool.map(work, range(4)) for position, data in found.items()}
        assert len(written) == 200
        assert {LogPosition(partition, offset): data for partition, offset, data in self.read_all(log)} == written
        assert [end for _, end in log.ranges()] == [sum(where == partition for where, _ in written) for partition in range(self.partitions)]
        for other in logs[1:]:
            other.close()

    def test_a_closed_log_can_be_closed_again_and_used_again(self, log: EventLog) -> None:
        """Closing twice is harmless, and using it opens it."""
        log.append(messages(1))
        log.close()
        log.close()
        log.append(messages(1))
        assert sum(end for _, end in log.ranges()) == 2
