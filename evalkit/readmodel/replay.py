"""Replay a log into a temporary read model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from evalkit.eventlog.event_log import EventLog
from evalkit.readmodel.consumer import EvalProjectionConsumer
from evalkit.readmodel.database.sqlite_database import SqliteDatabase

__all__ = ["replayed"]


@contextmanager
def replayed(log: EventLog, until: Sequence[int] | None = None) -> Iterator[SqliteDatabase]:
    """Return a read model in a temporary file, which is deleted at the end.

    Parameters
    ----------
    log
        The source.
    until
        The offset to stop at (exclusive), for each partition; by default the end of the log.
    """
    with tempfile.TemporaryDirectory(prefix="evalkit-replay-") as folder:
        database = SqliteDatabase(Path(folder) / "fresh.db")
        try:
            EvalProjectionConsumer(log, database, batch_size=5000, group=None).catch_up(until=until)
            yield database
        finally:
            database.close()
