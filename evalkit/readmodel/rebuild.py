"""Rebuild: replay the log into shadow tables, then swap them with the live tables."""

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
from evalkit.readmodel.log_identity import check_complete, check_identity
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
    query_index,
    read_head,
)  # fmt: skip
from evalkit.readmodel.write_behind import WriteBehind

__all__ = ["RebuildResult", "rebuild"]

_BATCH = 5000
_SHADOW = re.compile(rf"(?:{'|'.join(TABLES)})(_[0-9a-f]{{8}})")


@dataclass(frozen=True)
class RebuildResult:
    """The result of a rebuild."""

    events: int
    """The number of replayed events."""
    generation: int
    """The generation of the new tables; each rebuild adds 1."""


def rebuild(
    database: Database,
    log: EventLog,
    *,
    adopt_log: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    writer: str = "",
) -> RebuildResult:
    """Rebuild the read model from the log. Readers see the old rows until the swap.

    After a crash, the old tables remain live, and the next rebuild drops the shadow tables. Of two concurrent rebuilds, one raises
    RebuildSupersededError.

    Parameters
    ----------
    database, log
        The target and the source.
    adopt_log
        Accept a log that lost events, or that is not the one that the read model was built from.
    on_progress
        Called after each batch with the number of replayed events and the number of events in the log.
    writer
        The name of this process, stored in the read model for information.

    Raises
    ------
    LogMismatchError
        When it is a different log than that of the read model, or events are missing, and `adopt_log` is false.
    RebuildSupersededError
        When another rebuild started in the meantime.
    """
    ranges = log.ranges()
    check_complete(ranges)
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
                database.batch([query_index(suffix)])
                live = _current_head(database, live)
                if not adopt_log:
                    check_identity(log, live.positions)
                    if any(now.next > new.next for now, new in zip(live.positions, projection.positions, strict=True)):
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
            raise _superseded() from None  # the other rebuild dropped these tables


def _current_head(database: Database, before: Head) -> Head:
    head = read_head(database)
    if head is None or head.generation != before.generation:
        raise _superseded()
    return head


def _superseded() -> RebuildSupersededError:
    return RebuildSupersededError("Another rebuild of this read model started, so this one stopped", effect="It changed nothing.")


def _make_shadow(database: Database, partitions: int) -> str:
    """Drop leftover shadow tables, create new ones, and return their suffix."""
    tables = [str(name) for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    drops: list[Statement] = [(f"DROP TABLE IF EXISTS {name}", ()) for name in tables if _SHADOW.fullmatch(name)]
    suffix = "_" + secrets.token_hex(4)
    database.batch([*drops, *create_tables(suffix), *empty_positions(partitions, suffix)])
    return suffix


def _swap(live: Head, suffix: str, partitions: int) -> list[Statement]:
    """Return the statements that replace the live tables, unless another process changed them."""
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
