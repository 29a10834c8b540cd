"""What evalkit needs of an event log: append durably, read in order, say how far it reaches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import xxhash

from evalkit._util.engine_report import EngineReport
from evalkit.domain.events import EncodedEvent

__all__ = ["EventConsumer", "EventLog", "LogPosition", "LogRecord", "PartitionRange", "partition_of", "record_at"]

_BEYOND_EVERY_END = 2**63 - 1


class LogPosition(NamedTuple):
    """Where an event stands: offsets count from 0 in each partition and have no gaps."""

    partition: int
    offset: int


class LogRecord(NamedTuple):
    """One event as it stands in the log."""

    partition: int
    offset: int
    data: bytes


class PartitionRange(NamedTuple):
    """The offsets that a partition holds: ``[first, end)``; a `first` above 0 means that the beginning is gone."""

    first: int
    end: int


class EventConsumer(Protocol):
    """Reads a log in order, partition by partition. Made by `EventLog.consumer`; used by one thread at a time."""

    def poll(self, max_count: int, timeout: float) -> list[LogRecord]:
        """Give up to `max_count` records from where the consumer stands, and stand after them.

        Waits up to `timeout` seconds (0 is not at all) for the first one. Each partition's records come in the order of their
        offsets. No partition waits for ever behind another.
        """

    def seek(self, partition: int, offset: int) -> None:
        """Let the next `poll` read `partition` from `offset` on."""

    def commit(self, position: LogPosition) -> None:
        """Note for the engine's own tools that the group has applied everything up to `position`. Never read back."""


class EventLog(Protocol):
    """An append-only log of events, partitioned by study. Safe for several threads and processes."""

    def identity(self) -> str:
        """Return what tells this log from every other one, the same for everyone who opens it and for as long as it exists.

        It is known before the first event: where there is no log yet, one is created.

        Raises
        ------
        LogUnavailableError
            When the log is out of reach or cannot be created.
        """

    def append(self, messages: Sequence[EncodedEvent]) -> list[LogPosition]:
        """Append in order, all or nothing where the engine can; return when they are durable, with where each stands.

        An engine that takes many in chunks says, when it fails between two, in the error's `positions` which are durable.

        Raises
        ------
        LogUnavailableError
            When the log is out of reach, full or not writable.
        LogDamagedError
            When what stands at its place is no evalkit log.
        """

    def ranges(self) -> list[PartitionRange]:
        """Give the offsets that each partition holds, by partition number; one entry at least."""

    def consumer(self, group: str) -> EventConsumer:
        """Open a reader that stands at the beginning of every partition."""

    def describe(self) -> EngineReport:
        """Say which engine it is, and what is wrong with it.

        Raises
        ------
        LogUnavailableError
            When it is out of reach.
        """

    def close(self) -> None:
        """Let go of everything. Closing twice is harmless."""


def partition_of(study_id: str, partitions: int) -> int:
    """Give the partition of a study: xxh32 (seed 0) of the id's 36 characters, modulo the count, as Iggy's clients compute it."""
    return 0 if partitions == 1 else xxhash.xxh32_intdigest(study_id.encode()) % partitions


def record_at(log: EventLog, position: LogPosition) -> LogRecord | None:
    """Return the record at a position, whatever is appended meanwhile; None where there is none."""
    consumer = log.consumer("eval-projection")
    for partition in range(len(log.ranges())):
        # Not the end of the others: what comes after it would be polled instead.
        consumer.seek(partition, position.offset if partition == position.partition else _BEYOND_EVERY_END)
    return next((record for record in consumer.poll(1, 0) if (record.partition, record.offset) == position), None)
