"""Write a batch while the next one is decoded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from evalkit._util.engine_report import EngineReport
from evalkit.readmodel.database.database import Args, BulkInsert, Database, Row, Statement

__all__ = ["WriteBehind"]

_SWITCH_SECONDS = 0.001


class WriteBehind:
    """A `Database` whose batches can run while the next events are decoded.

    Reads wait for the pending batch.

    Parameters
    ----------
    database
        The database that executes the batches.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writer: ThreadPoolExecutor | None = None
        self._pending: Future[list[list[Row]]] | None = None

    @contextmanager
    def in_background(self) -> Iterator[None]:
        """Run batches in a thread during the block.

        The error of a failed batch is raised by the next call, or at the end of the block.
        """
        with _quick_switches(), ThreadPoolExecutor(1, thread_name_prefix="evalkit-writer") as writer:
            self._writer = writer
            try:
                yield
                self.flush()
            finally:
                self._writer = self._pending = None

    def execute(self, sql: str, args: Args = ()) -> list[Row]:
        """See `Database.execute`."""
        self.flush()
        return self._database.execute(sql, args)

    def batch(self, statements: Sequence[Statement | BulkInsert], *, confirm: Callable[[], None] | None = None) -> list[list[Row]]:
        """See `Database.batch`; in the background it returns no rows."""
        run = self._database.batch if confirm is None else partial(self._database.batch, confirm=confirm)
        if self._writer is None:
            return run(statements)
        self.flush()
        self._pending = self._writer.submit(run, statements)
        return []

    def flush(self) -> None:
        """Wait for the pending batch, and raise its error, if any."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def describe(self) -> EngineReport:
        """See `Database.describe`."""
        return self._database.describe()

    def close(self) -> None:
        """Wait for the pending batch; the database stays open."""
        self.flush()


@contextmanager
def _quick_switches() -> Iterator[None]:
    """Switch between the threads of the process more often during the block.

    The writer needs Python's global lock (GIL) for a moment between two statements. It would wait for up to 5 ms each time, while the
    other thread decodes.
    """
    usual = sys.getswitchinterval()
    if usual <= _SWITCH_SECONDS:  # also in a second such block
        yield
        return
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)
