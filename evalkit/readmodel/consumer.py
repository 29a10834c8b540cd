"""The consumer, which checks the identity of the log and applies new events."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import sha256
from itertools import repeat

from evalkit._util.garbage import collector_paused
from evalkit._util.named_tuples import named_tuples
from evalkit._util.waiting import Pauses
from evalkit.domain.codec import DecodedEvent
from evalkit.domain.events import EncodedEvent
from evalkit.errors import (
    DatabaseBusyError,
    DatabaseError,
    DatabaseUnavailableError,
    EvalkitError,
    LogError,
    LogMismatchError,
    LogUnavailableError,
)  # fmt: skip
from evalkit.eventlog.event_log import EventLog, LogPosition, LogRecord, partition_of
from evalkit.readmodel.database.database import ConditionFailed, Database
from evalkit.readmodel.fold import Decision
from evalkit.readmodel.log_identity import adopt_hints, check_complete, check_ends, check_identity, different_event
from evalkit.readmodel.projection import EvalProjection, EventKey
from evalkit.readmodel.schema import Head, Position, adopt_partition_count, check_current, initialize, read_head
from evalkit.readmodel.write_behind import WriteBehind

__all__ = ["EvalProjectionConsumer"]

_logger = logging.getLogger("evalkit.readmodel")

_BATCH_BYTES = 4 << 20
_SEVERAL = 200  # a thread is worth it for more events
_BACKLOG_FACTOR = 5  # batches are larger by this factor while there is a long backlog
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0


class EvalProjectionConsumer:
    """Brings a read model up to date with a log, once (`catch_up`) or continuously (`run`).

    Any number of consumers can share a database. If two apply the same events at the same time, one succeeds, and the other restarts from
    the new positions.

    Parameters
    ----------
    log, database
        The source and the target. Missing tables are created.
    batch_size
        The number of events in an atomic batch.
    group
        The name of the consumer group, which the log's tools show with its progress; None stores nothing in the log.
    writer
        The name of this process, stored in the read model for information.
    projection
        A projection into tables without other writers; by default, one into the live tables.
    """

    def __init__(
        self,
        log: EventLog,
        database: Database,
        *,
        batch_size: int = 1000,
        group: str | None = "eval-projection",
        projection: EvalProjection | None = None,
        writer: str = "",
    ) -> None:
        self.conflicts = 0
        """The number of batches that failed because another process had applied the same events."""
        self._log = log
        self._database = database
        self._writes = WriteBehind(database)
        self._batch_size = batch_size
        self._stores_progress = group is not None
        self._consumer = log.consumer(group or "eval-replay")
        self._writer = writer
        self._projection = projection
        self._exclusive = projection is not None

    def catch_up(
        self,
        keys: Collection[EventKey] = (),
        *,
        until: Sequence[int] | None = None,
        on_batch: Callable[[int], None] | None = None,
        stop: threading.Event | None = None,
    ) -> dict[EventKey, Decision]:
        """Apply all new events of the log, and return the decisions about some of them.

        Parameters
        ----------
        keys
            The keys of the events whose decisions are returned, as far as this call applies them.
        until
            The offset to stop at (exclusive), for each partition; by default the end of the log.
        on_batch
            Called after each batch with its number of events.
        stop
            When set, return after the current batch.

        Raises
        ------
        LogMismatchError
            When it is a different log than that of the read model, or events are missing.
        SchemaError
            When another version of evalkit created the tables.
        """
        while True:
            try:
                return self._apply_new(keys, until, on_batch, stop)
            except ConditionFailed:
                if self._exclusive:
                    raise
                self.conflicts += 1
                _logger.debug("another process applied the same events first; restarting")
                self.restart()

    def append(
        self, messages: Sequence[EncodedEvent], keys: Collection[EventKey], events: Sequence[DecodedEvent] | None = None
    ) -> tuple[list[LogPosition], dict[EventKey, Decision]]:
        """Append events of one study to the log, and apply them if they are the next ones.

        They are the next ones if the log returns the positions after the last applied event. Then they need not be read again. Otherwise
        nothing is applied, and `catch_up` has to read them. Call `catch_up` before, which verifies that the log still has that event.

        Many events are written to the read model while they are appended to the log. They are committed after the log has confirmed their
        positions.

        Parameters
        ----------
        messages
            The events.
        keys
            The keys of the events whose decisions are returned.
        events
            The decoded messages, if they are known.

        Returns
        -------
        tuple
            The positions in the log, and the decisions about the events that were applied.

        Raises
        ------
        LogError
            When the events were not appended.
        """
        known = [] if self._projection is None else self._projection.positions
        partition = partition_of(messages[0].study_id, max(len(known), 1))
        first = LogPosition(partition, known[partition].next if known else -1)
        if first.offset < 0 or len(messages) < _SEVERAL:
            positions = self._log.append(messages)
            return positions, self._applied(messages, first, keys, events) if _begin_at(first, positions) else {}
        with ThreadPoolExecutor(1, thread_name_prefix="evalkit-log") as writer:
            appending = writer.submit(self._log.append, messages)

            def confirm() -> None:
                if not _begin_at(first, appending.result()):
                    raise ConditionFailed

            try:
                decisions = self._applied(messages, first, keys, events, confirm)
            except LogError:
                self.restart()
                raise
            return appending.result(), decisions

    def _applied(
        self,
        messages: Sequence[EncodedEvent],
        first: LogPosition,
        keys: Collection[EventKey],
        events: Sequence[DecodedEvent] | None,
        confirm: Callable[[], None] | None = None,
    ) -> dict[EventKey, Decision]:
        """Apply events from their first position on.

        If the database raises an error, `catch_up` has to.
        """
        partition, offset = first
        data = [message.data for message in messages]
        records = list(named_tuples(LogRecord, repeat(partition), range(offset, offset + len(data)), data))
        try:
            decisions = self._opened().apply(records, keys, events, confirm=confirm)
            self._report(records, None)
        except (ConditionFailed, DatabaseError) as error:
            self.conflicts += isinstance(error, ConditionFailed)
            self.restart()
            return {}
        return decisions

    def _apply_new(
        self,
        keys: Collection[EventKey],
        until: Sequence[int] | None,
        on_batch: Callable[[int], None] | None,
        stop: threading.Event | None,
    ) -> dict[EventKey, Decision]:
        """Apply all new events in batches.

        In a long backlog, a batch is written while the next one is decoded.
        """
        decisions: dict[EventKey, Decision] = {}
        written: list[LogRecord] = []
        size, more = self._batch_size, True
        try:
            with ExitStack() as background:
                while more and not (stop is not None and stop.is_set()):
                    projection = self._opened()
                    records, more = self._read(projection.positions, until, size)
                    if records:
                        decisions |= projection.apply(records, keys)
                        if size == self._batch_size:
                            self._report(records, on_batch)
                        else:
                            self._report(written, on_batch)  # the previous batch, which is written by now
                            written = records
                    if more and not self._exclusive and size == self._batch_size:
                        size *= _BACKLOG_FACTOR
                        background.enter_context(collector_paused())
                        background.enter_context(self._writes.in_background())
                self._writes.flush()
                self._report(written, on_batch)
        except BaseException:
            if not self._exclusive:
                self.restart()  # the projection may be ahead of the tables
            raise
        return decisions

    def _report(self, written: Sequence[LogRecord], on_batch: Callable[[int], None] | None) -> None:
        if self._stores_progress:
            for partition, offset in {record.partition: record.offset for record in written}.items():
                self._consumer.commit(LogPosition(partition, offset))
        if written and on_batch is not None:
            on_batch(len(written))

    def run(
        self,
        stop: threading.Event,
        *,
        on_batch: Callable[[int], None] | None = None,
        on_lost: Callable[[EvalkitError], None] | None = None,
        on_back: Callable[[], None] | None = None,
    ) -> None:
        """Apply events as they are appended, until `stop` is set.

        While the log or the database is unavailable, it is retried with exponential back-off.

        Parameters
        ----------
        stop
            When set, return after the current batch.
        on_batch
            Called after each batch with its number of events.
        on_lost, on_back
            Called once with the error when the log or the database becomes unavailable, and once when both are available again.

        Raises
        ------
        EvalkitError
            For errors that a retry does not resolve: a different log, missing events, another version, missing permissions.
        """
        pauses: Pauses | None = None
        while not stop.is_set():
            try:
                self.catch_up(on_batch=on_batch, stop=stop)
                if pauses is not None and on_back is not None:
                    on_back()
                pauses = None
                # The polled events are discarded. catch_up reads them again, from the last applied event on, which it verifies.
                self._consumer.poll(100, 1.0)
            except (LogUnavailableError, DatabaseUnavailableError, DatabaseBusyError) as error:
                if pauses is None and on_lost is not None:
                    on_lost(error)
                _logger.debug("waiting for an engine: %s", error)
                self.restart()
                pauses = pauses or Pauses(_FIRST_PAUSE, _LONGEST_PAUSE)
                stop.wait(pauses.next())

    def restart(self) -> None:
        """Discard all cached state, including the writer thread, which a fork does not copy."""
        self._projection = None
        self._writes = WriteBehind(self._database)

    def _opened(self) -> EvalProjection:
        if self._projection is None:
            head = self._head()
            check_identity(self._log, head.positions)
            self._projection = EvalProjection(self._writes, head, writer=self._writer)
        return self._projection

    def _head(self) -> Head:
        head = read_head(self._database)
        if head is None:
            ranges = self._log.ranges()
            check_complete(ranges)  # before creating tables, which would be an empty read model
            initialize(self._database, len(ranges))
            head = read_head(self._database)
            assert head is not None
        elif not any(position.next for position in head.positions) and (count := len(self._log.ranges())) != len(head.positions):
            adopt_partition_count(self._database, head, count)  # the log was created after the read model
            head = read_head(self._database)
            assert head is not None
        check_current(head)
        return head

    def _read(self, positions: Sequence[Position], until: Sequence[int] | None, batch_size: int) -> tuple[list[LogRecord], bool]:
        """Return the records after the positions, and whether there may be more.

        Every poll starts at the last applied event and verifies that it is unchanged. This detects a log that lost its last events, even if
        other events were appended since.
        """
        ranges = self._log.ranges()
        check_ends(positions, ranges)  # every time, because one partition may have new events while another lost some
        for partition, position in enumerate(positions):
            done = until is not None and position.next >= until[partition]
            self._consumer.seek(partition, ranges[partition].end if done else max(position.next - 1, 0))
        requested = batch_size + len(positions)
        polled = self._consumer.poll(requested, 0)
        new_records: list[LogRecord] = []
        expected = [max(position.next - 1, 0) for position in positions]
        for record in polled:
            partition, offset, data = record
            if until is not None and offset >= until[partition]:
                continue
            position = positions[partition]
            if offset != expected[partition]:
                raise self._gap(partition, expected[partition], offset)
            expected[partition] += 1
            if offset >= position.next:
                new_records.append(record)
            elif sha256(data).hexdigest() != position.last_sha256:
                raise different_event(partition, offset)
        batch = new_records[: _fitting(new_records[:batch_size])]
        if until is not None:
            reached = [position.next for position in positions]
            for record in batch:
                reached[record.partition] = record.offset + 1
            return batch, any(offset < end for offset, end in zip(reached, until, strict=True))
        return batch, len(batch) < len(new_records) or (bool(new_records) and len(polled) >= requested)

    def _gap(self, partition: int, expected: int, offset: int) -> LogMismatchError:
        return LogMismatchError(
            f"Partition {partition} of the log has a gap: expected offset {expected}, got {offset}",
            effect="Nothing was changed.", partition=partition, **adopt_hints(),
        )  # fmt: skip


def _begin_at(first: LogPosition, positions: Sequence[LogPosition]) -> bool:
    """Return whether positions are successive and begin at the first one."""
    return all(position == (first.partition, offset) for offset, position in enumerate(positions, first.offset))


def _fitting(records: Sequence[LogRecord]) -> int:
    """Return the number of records that fit into the size limit of a batch, at least 1."""
    size = 0
    for count, record in enumerate(records):
        size += len(record.data)
        if size > _BATCH_BYTES and count:
            return count
    return len(records)
