"""An event log in memory, whose events a test may change."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence

from evalkit._util.engine_report import EngineReport
from evalkit._util.waiting import poll
from evalkit.domain.events import EncodedEvent
from evalkit.eventlog.event_log import LogPosition, LogRecord, PartitionRange, partition_of

__all__ = ["InMemoryEventLog"]


class InMemoryEventLog:
    """An `EventLog` in lists.

    Parameters
    ----------
    partitions
        The number of partitions, 1 or more.
    """

    def __init__(self, partitions: int = 1) -> None:
        self._partitions: list[list[bytes]] = [[] for _ in range(partitions)]
        self._identity = str(uuid.uuid4())
        self._lock = threading.Lock()
        self.committed: dict[str, dict[int, int]] = {}
        """The last committed offset of each partition, by consumer group."""

    def identity(self) -> str:
        """See `EventLog.identity`."""
        return self._identity

    def append(self, messages: Sequence[EncodedEvent]) -> list[LogPosition]:
        """See `EventLog.append`."""
        placed = [(partition_of(message.study_id, len(self._partitions)), message.data) for message in messages]
        with self._lock:
            return [self.place(partition, data) for partition, data in placed]

    def place(self, partition: int, data: bytes) -> LogPosition:
        """Append bytes to any partition, as a faulty writer might."""
        self._partitions[partition].append(data)
        return LogPosition(partition, len(self._partitions[partition]) - 1)

    def ranges(self) -> list[PartitionRange]:
        """See `EventLog.ranges`."""
        return [PartitionRange(0, len(events)) for events in self._partitions]

    def consumer(self, group: str) -> _InMemoryConsumer:
        """See `EventLog.consumer`."""
        return _InMemoryConsumer(self, self.committed.setdefault(group, {}))

    def describe(self) -> EngineReport:
        """See `EventLog.describe`."""
        return EngineReport("memory", "")

    def close(self) -> None:
        """See `EventLog.close`."""


class _InMemoryConsumer:
    def __init__(self, log: InMemoryEventLog, committed: dict[int, int]) -> None:
        self._log = log
        self._committed = committed
        self._next = [0] * len(log._partitions)
        self._turn = 0

    def poll(self, max_count: int, timeout: float) -> list[LogRecord]:
        return poll(lambda: self._take(max_count), timeout, longest=0.05)

    def _take(self, max_count: int) -> list[LogRecord]:
        records: list[LogRecord] = []
        count = len(self._next)
        for step in range(count):
            partition = (self._turn + step) % count
            start = self._next[partition]
            events = self._log._partitions[partition][start : start + max_count - len(records)]
            records += [LogRecord(partition, start + index, data) for index, data in enumerate(events)]
            self._next[partition] += len(events)
        self._turn = (self._turn + 1) % count
        return records

    def seek(self, partition: int, offset: int) -> None:
        self._next[partition] = offset

    def commit(self, position: LogPosition) -> None:
        self._committed[position.partition] = position.offset
