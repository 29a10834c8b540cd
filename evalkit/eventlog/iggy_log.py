"""The shared event log: a topic of an Apache Iggy server."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any
from uuid import UUID

from evalkit._util import background_loop as background
from evalkit._util.engine_report import EngineReport
from evalkit._util.waiting import poll
from evalkit.domain.events import EncodedEvent
from evalkit.errors import EvalkitError, LogError, LogMismatchError, LogUnavailableError, warn
from evalkit.eventlog.event_log import LogPosition, LogRecord, PartitionRange, partition_of
from evalkit.eventlog.iggy_client import NOTHING_APPENDED, IggyAddress, IggyConnection

__all__ = ["IggyEventLog"]

_logger = logging.getLogger("evalkit.eventlog")

_CHUNK_MESSAGES = 1000
_CHUNK_BYTES = 8 << 20  # the server takes 64 MiB at most
_POLL_BYTES = 32 << 20
_POLL_MESSAGES = 500
_SEND_SECONDS = 30.0
_COMMIT_SECONDS = 0.5
_NEVER = 2**64 - 1
_OUTCOME_UNKNOWN = (
    "It is unknown whether the last events were appended: check the study when the server is back before you repeat the command. "
    "Checkpoints with a key can be recorded again safely."
)


class IggyEventLog:
    """An `EventLog` in a topic of an Iggy server, created by the first append.

    Parameters
    ----------
    address
        The address of the server, the credentials, and the names of stream and topic.
    """

    def __init__(self, address: IggyAddress) -> None:
        self._address = address
        self._connection = IggyConnection(address)
        self._partitions: int | None = None
        self._policy_checked = False
        self._pending: dict[tuple[str, int], int] = {}
        self._committed_at = 0.0

    def identity(self) -> str:
        """See `EventLog.identity`. It is the topic's name and creation time (µs since 1970)."""
        address = self._address
        return f"{address.stream}/{address.topic}/{self._existing_topic().created_at}"

    def append(self, messages: Sequence[EncodedEvent]) -> list[LogPosition]:
        """See `EventLog.append`. Events are sent in chunks per partition; a chunk is atomic.

        If a chunk fails, the error's `positions` has one entry for each event, None for those that were not appended.
        """
        events = list(messages)
        if not events:
            return []
        count = self._checked_count(self._existing_topic())
        positions: list[LogPosition | None] = [None] * len(events)
        numbered = sorted(enumerate(events), key=lambda item: partition_of(item[1].study_id, count))
        for partition, group in groupby(numbered, key=lambda item: partition_of(item[1].study_id, count)):
            for chunk in _chunks(list(group)):
                try:
                    start = self._send(partition, [message for _, message in chunk])
                except LogError as error:
                    error.positions = positions
                    raise
                for step, (index, _) in enumerate(chunk):
                    positions[index] = LogPosition(partition, start + step)
        return [position for position in positions if position is not None]

    def ranges(self) -> list[PartitionRange]:
        """See `EventLog.ranges`."""
        topic = self._topic()
        if topic is None:
            return [PartitionRange(0, 0)] * self._address.partitions
        self._checked_count(topic)
        return [self._range(partition) for partition in sorted(topic.partitions, key=lambda partition: partition.id)]

    def consumer(self, group: str) -> _IggyConsumer:
        """See `EventLog.consumer`."""
        return _IggyConsumer(self, group)

    def describe(self) -> EngineReport:
        """See `EventLog.describe`."""
        try:
            version = str(self._connection.call(lambda client: client.get_stats()).iggy_server_version)
        except LogError as error:
            if not (error.driver_message or "").startswith("Unauthorized"):
                raise
            version = ""  # the user has no permission to read the server's statistics
        topic = self._topic()
        name = self._address.topic_name
        if topic is None:
            return EngineReport("Apache Iggy", version, (f"{name[0].upper()}{name[1:]} does not exist yet; the first study creates it.",))
        details = (f"{name}, {topic.partitions_count} partitions, {topic.messages_count:,} messages",)
        return EngineReport("Apache Iggy", version, details, tuple(_policy_problems(topic, name)))

    def close(self) -> None:
        """See `EventLog.close`."""
        with suppress(EvalkitError, TimeoutError):
            if self._pending:
                background.run(self._store(), 1.0)
        self._connection.close()

    def _existing_topic(self) -> Any:
        """Return the details of the topic, which is created if it does not exist."""
        topic = self._topic()
        if topic is None:
            self._connection.call(self._create, appending=NOTHING_APPENDED)
            topic = self._topic()
        return topic

    def _topic(self) -> Any:
        """Return the details of the topic; None if it does not exist."""
        address = self._address
        topic = self._connection.call(lambda client: client.get_topic(address.stream, address.topic))
        if topic is not None and not self._policy_checked:
            self._policy_checked = True
            for problem in _policy_problems(topic, address.topic_name):
                warn(problem)
        return topic

    def _checked_count(self, topic: Any) -> int:
        count = int(topic.partitions_count)
        if self._partitions is None:
            self._partitions = count
        if count != self._partitions:
            raise LogMismatchError(
                f"Topic {self._address.topic!r} now has {count} partitions instead of {self._partitions}, so the events of a study would "
                "no longer be in order",
                effect=NOTHING_APPENDED,
                hint="Export the log (evalkit log export), recreate the topic, and import it.",
                partition=min(count, self._partitions),
            )
        return count

    async def _create(self, client: Any) -> None:
        from apache_iggy import Durability, IggyExpiry, MaxTopicSize

        address = self._address
        if await client.get_stream(address.stream) is None:
            try:
                await client.create_stream(address.stream)
            except RuntimeError as error:
                if "already exists" not in str(error):
                    raise
        try:
            await client.create_topic(
                address.stream, address.topic, address.partitions,
                message_expiry=IggyExpiry.NeverExpire(), max_topic_size=MaxTopicSize.Unlimited(),
                durability=Durability.PERSISTED, messages_required_to_save=1,
            )  # fmt: skip
        except RuntimeError as error:
            if "Unsupported option" in str(error):
                version = await _unsupported_version(client)
                raise LogError(
                    f"The Iggy server at {address} is {version}: its clients cannot set the durability of a topic",
                    effect=NOTHING_APPENDED,
                    hint=f"Upgrade the server, or create {address.topic_name} through its HTTP API with the options enforce_fsync=true "
                    "and messages_required_to_save=1.",
                ) from None
            if "already exists" not in str(error):
                raise
        for _ in range(50):  # the server creates the partitions a moment later
            topic = await client.get_topic(address.stream, address.topic)
            if topic is not None and topic.partitions_count == len(topic.partitions):
                return
            await asyncio.sleep(0.02)

    def _send(self, partition: int, messages: Sequence[EncodedEvent]) -> int:
        """Append messages to one partition, and return the offset of the first."""
        from apache_iggy import Partitioning, SendMessage

        address = self._address
        try:
            batch = [
                SendMessage(_framed(message.data), id=UUID(message.event_id).int if message.event_id else None) for message in messages
            ]
        except ValueError as error:
            largest = max(len(message.data) for message in messages)
            problem = f"An event of {largest:,} bytes is too large for Iggy"
            raise LogError(problem, effect="It was not appended.", driver_message=str(error)) from None
        partitioning = Partitioning.partition_id(partition)
        result = self._connection.call(
            lambda client: client.send_messages(address.stream, address.topic, partitioning, batch),
            seconds=_SEND_SECONDS, appending=_OUTCOME_UNKNOWN,
        )  # fmt: skip
        if not result.confirmations:
            raise LogUnavailableError(
                f"The Iggy server at {address} did not return the offsets of the events; version 0.9 or later is required",
                effect=_OUTCOME_UNKNOWN,
            )
        return int(result.confirmations[0].base_offset)

    def _range(self, partition: Any) -> PartitionRange:
        count, last = int(partition.messages_count), int(partition.current_offset)
        end = last + 1 if count or last else 0
        if count == end:
            return PartitionRange(0, end)
        records = self._poll(partition.id, None, 1)
        return PartitionRange(records[0].offset if records else end, end)

    def _poll(self, partition: int, offset: int | None, count: int) -> list[LogRecord]:
        """Read from one partition, starting at an offset, or at the first message (None)."""
        from apache_iggy import Consumer, PollingStrategy

        address = self._address
        strategy = PollingStrategy.First() if offset is None else PollingStrategy.Offset(offset)

        async def poll(client: Any) -> list[LogRecord]:
            polled = await client.poll_messages(
                address.stream, address.topic, consumer=Consumer.Single("evalkit"), polling_strategy=strategy, count=count,
                auto_commit=False, partition_id=partition,
            )  # fmt: skip
            return [LogRecord(partition, message.offset(), _unframed(message.payload())) for message in polled]

        return self._connection.call(poll, seconds=_SEND_SECONDS)

    def _commit(self, group: str, position: LogPosition) -> None:
        """Store a position in the background, at most twice a second."""
        self._pending[group, position.partition] = position.offset
        if time.monotonic() - self._committed_at > _COMMIT_SECONDS:
            self._committed_at = time.monotonic()
            background.spawn(self._store())

    async def _store(self) -> None:
        client, address = self._connection._client, self._address
        pending, self._pending = self._pending, {}
        try:
            for group, stored in groupby(sorted(pending.items()), key=lambda item: item[0][0]):
                member = await client.consumer_group(group, address.stream, address.topic)
                for (_, partition), offset in stored:
                    await member.store_offset(offset, partition)
        except Exception as error:
            _logger.debug("Iggy: failed to store the position: %s", error)


class _IggyConsumer:
    def __init__(self, log: IggyEventLog, group: str) -> None:
        self._log = log
        self._group = group
        self._next: dict[int, int] = {}
        self._turn = 0

    def poll(self, max_count: int, timeout: float) -> list[LogRecord]:
        return poll(lambda: self._take(max_count), timeout, longest=0.1)

    def _take(self, max_count: int) -> list[LogRecord]:
        topic = self._log._topic()
        if topic is None:
            return []
        partitions = sorted(topic.partitions, key=lambda partition: partition.id)
        records: list[LogRecord] = []
        size = 0
        for step in range(len(partitions)):
            partition = partitions[(self._turn + step) % len(partitions)]
            offset, count = self._next.get(partition.id, 0), int(partition.messages_count)
            if not count or offset > partition.current_offset:
                continue
            # A poll can be limited in messages, but not in bytes, so several polls of few messages are needed to stay below a size.
            while (limit := min(max_count - len(records), _POLL_MESSAGES)) > 0 and size < _POLL_BYTES:
                polled = self._log._poll(partition.id, offset, limit)
                records += polled
                size += sum(len(record.data) for record in polled)
                if polled:
                    self._next[partition.id] = offset = polled[-1].offset + 1
                if len(polled) < limit:
                    break
        self._turn = (self._turn + 1) % max(len(partitions), 1)
        return records

    def seek(self, partition: int, offset: int) -> None:
        self._next[partition] = offset

    def commit(self, position: LogPosition) -> None:
        self._log._commit(self._group, position)


def _chunks(numbered: list[tuple[int, EncodedEvent]]) -> Iterator[list[tuple[int, EncodedEvent]]]:
    """Split messages into chunks below the server's limits; a large message is one chunk."""
    chunk: list[tuple[int, EncodedEvent]] = []
    size = 0
    for index, message in numbered:
        if chunk and (len(chunk) == _CHUNK_MESSAGES or size + len(message.data) > _CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append((index, message))
        size += len(message.data)
    yield chunk


def _framed(data: bytes) -> bytes:
    """Prefix empty messages with a NUL, because Iggy rejects them. No event begins with NUL."""
    return b"\x00" + data if not data or data[0] == 0 else data


def _unframed(payload: bytes) -> bytes:
    return payload[1:] if payload[:1] == b"\x00" else payload


async def _unsupported_version(client: Any) -> str:
    """Describe the version of a server whose clients cannot set the durability of a topic."""
    version = ""
    with suppress(RuntimeError):  # the user may have no permission to read the server's statistics
        version = str((await client.get_stats()).iggy_server_version)
    if not version:
        return "older than 0.9.0 or a pre-release of 0.9.0"
    return f"a pre-release of 0.9.0 ({version})" if version.startswith("0.9.0-") else f"older than 0.9.0 ({version})"


def _policy_problems(topic: Any, name: str) -> Iterator[str]:
    """Yield a message for each setting of a topic that can lose events."""
    options = {**topic.derived_options.to_scalar_dict(), **topic.options.to_scalar_dict()}
    recreate = "Export the log (evalkit log export), recreate the topic without this setting, and import it."
    subject = f"{name[0].upper()}{name[1:]}"
    if options.get("message_expiry", _NEVER) != _NEVER:
        yield f"{subject} has a message expiry, but the event log must keep all events. {recreate}"
    if options.get("max_topic_size", _NEVER) != _NEVER:
        yield f"{subject} has a maximum size: the server deletes the oldest events when it is reached. {recreate}"
    durable = options.get("durability") == "persisted" or options.get("enforce_fsync") is True
    if not durable or options.get("messages_required_to_save") != 1:
        yield (
            f"{subject} loses acknowledged events when the server is killed: it is not set to durability 'persisted' (enforce_fsync) with "
            f"messages_required_to_save=1. {recreate}"
        )
