"""Check that a log is complete and is the one that the read model was built from.

The read model identifies its log by the number of partitions and the SHA-256 of each partition's first event. It does not use the
URL, which may change.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from evalkit._util.text import plural
from evalkit.errors import LogIncompleteError, LogMismatchError
from evalkit.eventlog.event_log import EventLog, LogPosition, PartitionRange, record_at
from evalkit.readmodel.schema import Position

__all__ = ["adopt_hints", "check_complete", "check_count", "check_ends", "check_identity", "different_event"]


def adopt_hints(before: str = "") -> dict[str, str]:
    """Return hints to rebuild the read model if the log is the right one."""
    hint = " ".join(part for part in (before, "If this is the right log, rebuild the read model from it: {}.") if part)
    return {"hint": hint.format("kit.rebuild(adopt_log=True)"), "shell_hint": hint.format("evalkit projection rebuild --adopt-log")}


def check_identity(log: EventLog, positions: Sequence[Position]) -> None:
    """Raise an error unless a log is complete and is the one that a read model was built from.

    Raises
    ------
    LogMismatchError
        When it is a different log, it has another number of partitions, or its last events are missing.
    LogIncompleteError
        When the first events of a partition are missing.
    """
    ranges = log.ranges()
    check_count(positions, ranges)
    check_complete(ranges)
    for partition, position in enumerate(positions):
        if position.first_sha256 and _sha256_at(log, partition, 0) != position.first_sha256:
            if ranges[partition].end == 0:
                raise _empty_log(positions, ranges, partition)
            raise LogMismatchError(
                f"This is not the log that the read model was built from: partition {partition} starts with a different event",
                effect="Nothing was changed.", partition=partition,
                **adopt_hints("Use the log that belongs to this read model, or another home."),
            )  # fmt: skip
    check_ends(positions, ranges)
    for partition, position in enumerate(positions):
        if position.next > 0 and _sha256_at(log, partition, position.next - 1) != position.last_sha256:
            raise different_event(partition, position.next - 1)


def _empty_log(positions: Sequence[Position], ranges: Sequence[PartitionRange], partition: int) -> LogMismatchError:
    """Return the error for a partition without events, usually in a wrong or deleted log."""
    empty = all(end == 0 for _, end in ranges)
    events = sum(position.next for position in positions) if empty else positions[partition].next
    name = "The event log" if empty else f"Partition {partition} of the event log"
    hint = (
        "Restore a backup: put the log back in its place, or import an exported file into a new home (evalkit log import FILE). "
        f"{{}} accepts {'the empty log' if empty else 'the log as it is'} and permanently discards these events."
    )
    return LogMismatchError(
        f"{name} is empty, but the read model was built from {plural(events, 'event')}{'' if empty else ' of it'}",
        effect="Nothing was changed.", partition=partition,
        hint=hint.format("kit.rebuild(adopt_log=True)"), shell_hint=hint.format("`evalkit projection rebuild --adopt-log`"),
    )  # fmt: skip


def check_count(positions: Sequence[Position], ranges: Sequence[PartitionRange]) -> None:
    """Raise an error unless log and read model have the same number of partitions.

    Raises
    ------
    LogMismatchError
        When the numbers differ.
    """
    if len(ranges) != len(positions):
        raise LogMismatchError(
            f"The log has {len(ranges)} partitions, but the read model was built from {len(positions)}: the topic was changed, or this is "
            "a different log",
            partition=min(len(ranges), len(positions)),
            **adopt_hints("The events of a study would no longer be in order: export the log, recreate it, and import it."),
        )


def different_event(partition: int, offset: int) -> LogMismatchError:
    """Return the error for a different event at the last applied position."""
    return LogMismatchError(
        f"Event {offset} in partition {partition} of the log is not the event that the read model applied: the log lost its last events "
        f"and grew again, or this is a different log",
        effect="Nothing was changed.", partition=partition, **adopt_hints(),
    )  # fmt: skip


def _sha256_at(log: EventLog, partition: int, offset: int) -> str | None:
    record = record_at(log, LogPosition(partition, offset))
    return None if record is None else sha256(record.data).hexdigest()


def check_complete(ranges: Sequence[PartitionRange]) -> None:
    """Raise an error unless every partition starts at offset 0.

    Raises
    ------
    LogIncompleteError
        When the first events of a partition are missing.
    """
    for partition, (first, _) in enumerate(ranges):
        if first > 0:
            raise LogIncompleteError(
                f"Partition {partition} of the log starts at offset {first}: its first {first} events are missing, so a read model cannot "
                "be built from it",
                effect="The read model remains readable.", hint="Restore the log from a backup (`evalkit log export` creates one).",
                partition=partition,
            )  # fmt: skip


def check_ends(positions: Sequence[Position], ranges: Sequence[PartitionRange]) -> None:
    """Raise an error unless a log contains every applied event.

    Raises
    ------
    LogMismatchError
        When a partition ends before its position, or the numbers of partitions and positions differ.
    """
    check_count(positions, ranges)
    for partition, (position, (_, end)) in enumerate(zip(positions, ranges, strict=True)):
        if end < position.next and end == 0:
            raise _empty_log(positions, ranges, partition)
        if end < position.next:
            raise LogMismatchError(
                f"Partition {partition} of the log ends at offset {end}, but the read model applied events up to offset {position.next}: "
                f"the log lost its last events",
                effect="Nothing was changed.", partition=partition,
                **adopt_hints("Restore the log from a backup if you have one."),
            )  # fmt: skip
