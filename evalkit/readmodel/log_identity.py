"""Proves that a log is the one that the read model was made from, and that it still holds everything.

A log's identity is its number of partitions and the SHA-256 of each partition's first event: never a URL, which may move.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from evalkit.errors import LogIncompleteError, LogMismatchError
from evalkit.eventlog.event_log import EventLog, LogPosition, PartitionRange, record_at
from evalkit.readmodel.schema import Position

__all__ = ["check_count", "check_ends", "check_identity", "check_whole", "how_to_adopt", "other_event"]


def how_to_adopt(before: str = "", after: str = "") -> dict[str, str]:
    """Return the next step where a log may be the right one after all, with sentences before and after it."""
    step = " ".join(part for part in (before, "If it is the right log after all: {} makes the read model anew from it.", after) if part)
    return {"hint": step.format("kit.rebuild(adopt_log=True)"), "shell_hint": step.format("evalkit projection rebuild --adopt-log")}


def check_identity(log: EventLog, positions: Sequence[Position]) -> None:
    """Prove that a log is the one that a read model was made from, and that it holds everything from the beginning.

    Raises
    ------
    LogMismatchError
        When it is another log, has another number of partitions, lost its beginning or its end.
    """
    ranges = log.ranges()
    check_count(positions, ranges)
    check_whole(ranges)
    for partition, position in enumerate(positions):
        if position.first_sha256 and _sha256_at(log, partition, 0) != position.first_sha256:
            empty = ranges[partition].end == 0
            lost = "What this partition held, and only the read model still holds, is gone then." if empty else ""
            raise LogMismatchError(
                f"This is not the log that the read model was made from: partition {partition} "
                f"{'is empty' if empty else 'begins with another event'}",
                effect="Nothing was changed.", partition=partition,
                **how_to_adopt("Give the log that belongs to this read model, or another home.", lost),
            )  # fmt: skip
    check_ends(positions, ranges)
    for partition, position in enumerate(positions):
        if position.next > 0 and _sha256_at(log, partition, position.next - 1) != position.last_sha256:
            raise other_event(partition, position.next - 1)


def check_count(positions: Sequence[Position], ranges: Sequence[PartitionRange]) -> None:
    """Prove that a log has as many partitions as the read model was made from.

    Raises
    ------
    LogMismatchError
        When it has not.
    """
    if len(ranges) != len(positions):
        raise LogMismatchError(
            f"The log has {len(ranges)} partitions, the read model was made from {len(positions)}: the topic was changed, or it is another "
            "log",
            partition=min(len(ranges), len(positions)),
            **how_to_adopt("Events of one study would no longer be in one order: export the log, recreate it, import."),
        )


def other_event(partition: int, offset: int) -> LogMismatchError:
    """Make the error for a log that holds another event where the last applied one was."""
    return LogMismatchError(
        f"Event {offset} of the log's partition {partition} is not the one that the read model applied: the log lost its end and grew "
        f"again, or it is another log",
        effect="Nothing was changed.", partition=partition, **how_to_adopt(),
    )  # fmt: skip


def _sha256_at(log: EventLog, partition: int, offset: int) -> str | None:
    record = record_at(log, LogPosition(partition, offset))
    return None if record is None else sha256(record.data).hexdigest()


def check_whole(ranges: Sequence[PartitionRange]) -> None:
    """Prove that every partition still begins at offset 0.

    Raises
    ------
    LogIncompleteError
        When the beginning of one is gone.
    """
    for partition, (first, _) in enumerate(ranges):
        if first > 0:
            raise LogIncompleteError(
                f"The log's partition {partition} begins at offset {first}: its first {first} events are gone, so nothing can be made from "
                "it that holds everything",
                effect="The tables stay readable.", hint="Restore the log from a backup (`evalkit log export` makes one).",
                partition=partition,
            )  # fmt: skip


def check_ends(positions: Sequence[Position], ranges: Sequence[PartitionRange]) -> None:
    """Prove that a log still holds every event that was applied.

    Raises
    ------
    LogMismatchError
        When a partition ends before its position, or there are more or fewer partitions than positions.
    """
    check_count(positions, ranges)
    for partition, (position, (_, end)) in enumerate(zip(positions, ranges, strict=True)):
        if end < position.next:
            raise LogMismatchError(
                f"The log's partition {partition} ends at offset {end}, but the read model applied events up to {position.next}: the log "
                f"lost its end",
                effect="Nothing was changed.", partition=partition,
                **how_to_adopt("Restore the log from a backup, if there is one."),
            )  # fmt: skip
