"""The port of the event log: durable appends, ordered reads, offset ranges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import xxhash

from evalkit._util.engine_report import EngineReport
from evalkit.domain.events import EncodedEvent

__all__ = ["EventConsumer", "EventLog", "LogPosition", "LogRecord", "PartitionRange", "partition_of", "record_at"]

_BEYOND_EVERY_END = 2**63 - 1


class LogPosition(NamedTuple):
    """The position of an event. Offsets start at 0 in each partition, without gaps."""

    partition: int
    offset: int


class LogRecord(NamedTuple):
    """The bytes of one event with its position."""

    partition: int
    offset: int
    data: bytes


class PartitionRange(NamedTuple):
    """The offsets of a partition, ``[first, end)``; `first` > 0 if events are missing."""

    first: int
    end: int


class EventConsumer(Protocol):
    """Reads a log in order. Created by `EventLog.consumer`; not thread-safe."""

    def poll(self, max_count: int, timeout: float) -> list[LogRecord]:
        """Return up to `max_count` records from the current offsets, and advance past them.

        Waits up to `timeout` seconds for the first record. The records of a partition are in the order of their offsets. All partitions are
        read in turn.
        """

    def seek(self, partition: int, offset: int) -> None:
        """Set the offset from which the next `poll` reads `partition`."""

    def commit(self, position: LogPosition) -> None:
        """Store that the group has applied all events up to `position`.

        evalkit does not read it; the log's own tools show it.
        """


class EventLog(Protocol):
    """An append-only log of events, partitioned by study; thread-safe and process-safe."""

    def identity(self) -> str:
        """Return the unique and permanent id of this log.

        The id exists before the first event: a missing log is created.

        Raises
        ------
        LogUnavailableError
            When the log cannot be reached or created.
        """

    def append(self, messages: Sequence[EncodedEvent]) -> list[LogPosition]:
        """Append events in order, atomically if possible; return their durable positions.

        A server may receive a large append in chunks. If a chunk fails, the error's `positions` has the positions of the durable events.

        Raises
        ------
        LogUnavailableError
            When the log cannot be reached, is full or is not writable.
        LogDamagedError
            When the file is not an evalkit log.
        """

    def ranges(self) -> list[PartitionRange]:
        """Return the offsets of each partition, in the order of the partition numbers."""

    def consumer(self, group: str) -> EventConsumer:
        """Open a reader at the beginning of every partition."""

    def describe(self) -> EngineReport:
        """Return the engine of the log, its version and its problems.

        Raises
        ------
        LogUnavailableError
            When the log cannot be reached.
        """

    def close(self) -> None:
        """Release all resources. Closing twice is a no-op."""


def partition_of(study_id: str, partitions: int) -> int:
    """Return the partition of a study, as Iggy's clients compute it.

    It is the xxh32 (seed 0) of the study id, modulo the number of partitions.
    """
    return 0 if partitions == 1 else xxhash.xxh32_intdigest(study_id.encode()) % partitions


def record_at(log: EventLog, position: LogPosition) -> LogRecord | None:
    """Return the record at a position; None if the log has none there."""
    consumer = log.consumer("eval-projection")
    for partition in range(len(log.ranges())):
        # Seek past the end of the other partitions: a concurrently appended event would be polled instead.
        consumer.seek(partition, position.offset if partition == position.partition else _BEYOND_EVERY_END)
    return next((record for record in consumer.poll(1, 0) if (record.partition, record.offset) == position), None)
