"""The consumer: reads the log from where the read model stands, proves that it is the same log, and applies what is new."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Container, Sequence
from contextlib import ExitStack
from hashlib import sha256

from evalkit._util.garbage import collector_paused
from evalkit._util.waiting import Pauses
from evalkit.errors import (
    DatabaseBusyError,
    DatabaseUnavailableError,
    EvalkitError,
    LogMismatchError,
    LogUnavailableError,
    SchemaError,
)  # fmt: skip
from evalkit.eventlog.event_log import EventLog, LogPosition, LogRecord
from evalkit.readmodel.database.database import ConditionFailed, Database
from evalkit.readmodel.fold import FOLD_VERSION, Decision
from evalkit.readmodel.log_identity import check_ends, check_identity, check_whole, how_to_adopt, other_event
from evalkit.readmodel.projection import EvalProjection, EventKey
from evalkit.readmodel.schema import SCHEMA_VERSION, Head, Position, follow_count, initialize, read_head
from evalkit.readmodel.write_behind import WriteBehind

__all__ = ["EvalProjectionConsumer"]

_logger = logging.getLogger("evalkit.readmodel")

_BATCH_BYTES = 4 << 20
_FAR_TIMES = 5  # how much larger the batches of a long backlog are
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0


class EvalProjectionConsumer:
    """Brings a read model up to date with a log, once (`catch_up`) or for as long as it is let (`run`).

    Any number may work on one database at once: of two that apply the same events one wins, and the other reads anew and goes on.

    Parameters
    ----------
    log, database
        From where, and to where. A database without tables gets them.
    batch_size
        How many events one atomic batch takes.
    group
        The name under which the log's own tools see this reader.
    writer
        Who this is, for people: noted in the read model with what it writes.
    projection
        A projection into tables that nobody else writes; by default the one into the tables that serve.
    """

    def __init__(
        self,
        log: EventLog,
        database: Database,
        *,
        batch_size: int = 1000,
        group: str = "eval-projection",
        projection: EvalProjection | None = None,
        writer: str = "",
    ) -> None:
        self.conflicts = 0
        """How often another projector was quicker."""
        self._log = log
        self._database = database
        self._writes = WriteBehind(database)
        self._batch_size = batch_size
        self._consumer = log.consumer(group)
        self._writer = writer
        self._projection = projection
        self._exclusive = projection is not None

    def catch_up(
        self,
        wanted: Container[EventKey] = (),
        *,
        until: Sequence[int] | None = None,
        on_batch: Callable[[int], None] | None = None,
        stop: threading.Event | None = None,
    ) -> dict[EventKey, Decision]:
        """Apply everything that the log holds, and return.

        Parameters
        ----------
        wanted
            The events whose decisions to give, where this call took them.
        until
            For each partition the offset to stop before; by default the log's end.
        on_batch
            Called after each batch with the number of events in it.
        stop
            When set, return after the batch at hand.

        Raises
        ------
        LogMismatchError
            When the log is another one, or lost events.
        SchemaError
            When the tables were made by another version.
        """
        while True:
            try:
                return self._bring_forward(wanted, until, on_batch, stop)
            except ConditionFailed:
                if self._exclusive:
                    raise
                self.conflicts += 1
                _logger.debug("another projector was quicker; reading anew")
                self.restart()

    def _bring_forward(
        self,
        wanted: Container[EventKey],
        until: Sequence[int] | None,
        on_batch: Callable[[int], None] | None,
        stop: threading.Event | None,
    ) -> dict[EventKey, Decision]:
        """Apply one batch after the other; of a long backlog larger ones, one being written while the next is decoded."""
        decided: dict[EventKey, Decision] = {}
        written: list[LogRecord] = []
        size, more = self._batch_size, True
        try:
            with ExitStack() as background:
                while more and not (stop is not None and stop.is_set()):
                    projection = self._opened()
                    records, more = self._read(projection.positions, until, size)
                    if records:
                        decided.update(pair for pair in projection.apply(records) if pair[0] in wanted)
                        if size == self._batch_size:
                            self._tell(records, on_batch)
                        else:
                            self._tell(written, on_batch)  # of the batch before, which has been written by now
                            written = records
                    if more and not self._exclusive and size == self._batch_size:
                        size *= _FAR_TIMES
                        background.enter_context(collector_paused())
                        background.enter_context(self._writes.in_background())
                self._writes.flush()
                self._tell(written, on_batch)
        except BaseException:
            if not self._exclusive:
                self.restart()  # the projection may be ahead of what was written
            raise
        return decided

    def _tell(self, written: Sequence[LogRecord], on_batch: Callable[[int], None] | None) -> None:
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
        """Catch up, then wait for more, until `stop` is set; a batch begun is finished first.

        A log or a database that is out of reach is waited for, with growing pauses.

        Parameters
        ----------
        stop
            When set, return.
        on_batch
            Called after each batch with the number of events in it.
        on_lost, on_back
            Called once when an engine is lost, with the error, and once when everything works again.

        Raises
        ------
        EvalkitError
            For everything that waiting does not mend: another log, lost events, another version, missing permissions.
        """
        pauses: Pauses | None = None
        while not stop.is_set():
            try:
                self.catch_up(on_batch=on_batch, stop=stop)
                if pauses is not None and on_back is not None:
                    on_back()
                pauses = None
                # Only a signal that something is there: what counts is read from the last applied event on, to be compared with it.
                self._consumer.poll(100, 1.0)
            except (LogUnavailableError, DatabaseUnavailableError, DatabaseBusyError) as error:
                if pauses is None and on_lost is not None:
                    on_lost(error)
                _logger.debug("waiting for an engine: %s", error)
                self.restart()
                pauses = pauses or Pauses(_FIRST_PAUSE, _LONGEST_PAUSE)
                stop.wait(pauses.next())

    def restart(self) -> None:
        """Forget what is known of the database and the log; also in a forked process, where a thread that writes is not."""
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
            check_whole(ranges)  # before there are tables, which would answer with nothing
            initialize(self._database, len(ranges))
            head = read_head(self._database)
            assert head is not None
        elif not any(position.next for position in head.positions) and (count := len(self._log.ranges())) != len(head.positions):
            follow_count(self._database, head, count)  # the log came into being after the read model
            head = read_head(self._database)
            assert head is not None
        if (head.schema_version, head.fold_version) != (SCHEMA_VERSION, FOLD_VERSION):
            raise SchemaError(
                f"The read model was made by an older evalkit (schema {head.schema_version}, fold {head.fold_version}; now "
                f"{SCHEMA_VERSION}, {FOLD_VERSION})",
                hint="Make it anew from the log: kit.rebuild().", shell_hint="Make it anew from the log: evalkit projection rebuild",
                found=(head.schema_version, head.fold_version), supported=(SCHEMA_VERSION, FOLD_VERSION),
            )  # fmt: skip
        return head

    def _read(self, positions: Sequence[Position], until: Sequence[int] | None, batch_size: int) -> tuple[list[LogRecord], bool]:
        """Give the records that follow on the positions, and whether there may be more.

        Every poll starts at the last applied event, which must come first and be the same: a log that lost its tail, or grew past it
        again with other events, cannot look like one with nothing new.
        """
        ranges = self._log.ranges()
        check_ends(positions, ranges)  # each time, since news of one partition must not hide that another one lost its end
        for partition, position in enumerate(positions):
            done = until is not None and position.next >= until[partition]
            self._consumer.seek(partition, ranges[partition].end if done else max(position.next - 1, 0))
        asked = batch_size + len(positions)
        polled = self._consumer.poll(asked, 0)
        fresh: list[LogRecord] = []
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
                fresh.append(record)
            elif sha256(data).hexdigest() != position.last_sha256:
                raise other_event(partition, offset)
        taken = fresh[: _fitting(fresh[:batch_size])]
        if until is not None:
            reached = [position.next for position in positions]
            for record in taken:
                reached[record.partition] = record.offset + 1
            return taken, any(at < end for at, end in zip(reached, until, strict=True))
        return taken, len(taken) < len(fresh) or (bool(fresh) and len(polled) >= asked)

    def _gap(self, partition: int, expected: int, found: int) -> LogMismatchError:
        return LogMismatchError(
            f"The log's partition {partition} was asked for event {expected} and gave {found}: events are missing in between",
            effect="Nothing was changed.", partition=partition, **how_to_adopt(),
        )  # fmt: skip


def _fitting(records: Sequence[LogRecord]) -> int:
    """Give how many of the records one batch takes, so that a request to a server stays small; one at least, however large."""
    size = 0
    for count, record in enumerate(records):
        size += len(record.data)
        if size > _BATCH_BYTES and count:
            return count
    return len(records)
