"""Rebuild: replay the log into tables beside those that serve, then swap them in one transaction."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from evalkit._util.garbage import collector_paused
from evalkit.errors import DatabaseUnavailableError, RebuildSupersededError
from evalkit.eventlog.event_log import EventLog
from evalkit.readmodel.consumer import EvalProjectionConsumer
from evalkit.readmodel.database.database import ConditionFailed, Database, Statement
from evalkit.readmodel.fold import FOLD_VERSION
from evalkit.readmodel.log_identity import check_identity, check_whole
from evalkit.readmodel.projection import EvalProjection
from evalkit.readmodel.schema import (
    FIXED_INDEX,
    SCHEMA_VERSION,
    TABLES,
    Head,
    Position,
    create_tables,
    empty_positions,
    initialize,
    read_head,
    reading_index,
)  # fmt: skip
from evalkit.readmodel.write_behind import WriteBehind

__all__ = ["RebuildResult", "rebuild"]

_BATCH = 5000
_SHADOW = re.compile(rf"(?:{'|'.join(TABLES)})(_[0-9a-f]{{8}})")


@dataclass(frozen=True)
class RebuildResult:
    """What a rebuild did."""

    events: int
    """How many events were replayed."""
    generation: int
    """The generation of the tables that serve now; each rebuild adds 1."""


def rebuild(
    database: Database,
    log: EventLog,
    *,
    adopt_log: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    writer: str = "",
) -> RebuildResult:
    """Make the read model anew from the log. Readers see the old rows until they see the new ones.

    A rebuild that dies leaves the old tables serving; the next one drops what it left. Of two at once the later one goes on.

    Parameters
    ----------
    database, log
        To where, and from where.
    adopt_log
        Accept a log that is not the one the read model was made from, or that lost events.
    on_progress
        Called after each batch with the number of events replayed so far, and in the log.
    writer
        Who this is, for people: noted in the read model.

    Raises
    ------
    LogMismatchError
        When the log is another one, or lost events, and `adopt_log` is not set.
    RebuildSupersededError
        When another rebuild began.
    """
    ranges = log.ranges()
    check_whole(ranges)
    live = read_head(database)
    if live is None:
        initialize(database, len(ranges))
        live = read_head(database)
    assert live is not None
    if not adopt_log:
        check_identity(log, live.positions)
    suffix = _make_shadow(database, len(ranges))
    start = replace(live, positions=(Position(0, "", ""),) * len(ranges))
    behind = WriteBehind(database)
    with collector_paused(), behind.in_background():
        projection = EvalProjection(behind, start, suffix, writer=writer)
        consumer = EvalProjectionConsumer(log, behind, batch_size=_BATCH, group="eval-rebuild", projection=projection)
        replayed = 0

        def count(events: int) -> None:
            nonlocal replayed
            replayed += events
            if on_progress is not None:
                on_progress(replayed, max(replayed, sum(part.end for part in log.ranges())))

        try:
            while True:
                consumer.catch_up(on_batch=count)
                behind.flush()
                database.batch([reading_index(suffix)])
                live = _serving(database, live)
                if not adopt_log:
                    check_identity(log, live.positions)
                    if any(now.next > made.next for now, made in zip(live.positions, projection.positions, strict=True)):
                        continue
                try:
                    database.batch(_swap(live, suffix, len(ranges)))
                except ConditionFailed:
                    continue
                return RebuildResult(replayed, live.generation + 1)
        except ConditionFailed:
            raise _superseded() from None
        except DatabaseUnavailableError:
            if database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (f"positions{suffix}",)):
                raise
            raise _superseded() from None  # which dropped these tables when it began


def _serving(database: Database, before: Head) -> Head:
    head = read_head(database)
    if head is None or head.generation != before.generation:
        raise _superseded()
    return head


def _superseded() -> RebuildSupersededError:
    return RebuildSupersededError("Another rebuild of this read model began, and this one gave way", effect="Nothing was changed by it.")


def _make_shadow(database: Database, partitions: int) -> str:
    """Drop what dead rebuilds left, make new tables, and give their suffix."""
    left = [str(name) for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    drops: list[Statement] = [(f"DROP TABLE IF EXISTS {name}", ()) for name in left if _SHADOW.fullmatch(name)]
    suffix = "_" + secrets.token_hex(4)
    database.batch([*drops, *create_tables(suffix), *empty_positions(partitions, suffix)])
    return suffix


def _swap(live: Head, suffix: str, partitions: int) -> list[Statement]:
    """Give the transaction that compares what was last seen, and puts the new tables in the place of the old."""
    compare: list[Statement] = [
        (
            "UPDATE meta SET generation = CASE WHEN generation = ? THEN generation + 1 ELSE NULL END, "
            "schema_version = ?, fold_version = ?, partitions = ?",
            (live.generation, SCHEMA_VERSION, FOLD_VERSION, partitions),
        )
    ]
    compare += [
        (
            'UPDATE positions SET next = CASE WHEN next = ? AND last_sha256 = ? THEN next ELSE NULL END WHERE "partition" = ?',
            (position.next, position.last_sha256, partition),
        )
        for partition, position in enumerate(live.positions)
    ]
    swap: list[Statement] = []
    for table in TABLES:
        swap += [(f"DROP TABLE IF EXISTS {table}", ()), (f"ALTER TABLE {table}{suffix} RENAME TO {table}", ())]
    return [*compare, *swap, (FIXED_INDEX, ())]
