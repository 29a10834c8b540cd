"""What evalkit needs of a database: statements one by one, and several as one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from evalkit.errors import DatabaseError
from evalkit.reports import EngineReport

__all__ = ["Args", "BulkInsert", "ConditionFailed", "Database", "PageSize", "ResponseTooLarge", "Row", "Statement", "Value"]

_T = TypeVar("_T")

Value = str | int | float | bytes | None
Row = tuple[Value, ...]
Args = Sequence[Value]
Statement = tuple[str, Args]
"""SQL with ``?`` for each argument, and the arguments."""


class BulkInsert(NamedTuple):
    """Rows for one table, thousands if need be: each engine has its own fastest way to take them."""

    table: str
    width: int
    """The number of columns, all of the table's."""
    values: Sequence[str | int | None]
    """The values of all rows, one row after the other."""


class ConditionFailed(Exception):  # noqa: N818  (a signal between projection and adapter, no error that a user sees)
    """A batch set a NOT NULL column to NULL: the compare-and-set in it found another value. Nothing was written."""


class ResponseTooLarge(Exception):  # noqa: N818  (a signal between reader and adapter, no error that a user sees)
    """The rows that were asked for are more than the engine sends at once: ask for fewer. See `PageSize`."""


class PageSize:
    """How many rows to ask for at once: fewer from the moment on when the engine says that a page is more than it sends.

    Parameters
    ----------
    rows
        To begin with.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._most = rows

    def read(self, page: Callable[[int], _T]) -> _T:
        """Call `page` with the number of rows, and with fewer until the engine sends them; `rows` is the number that it sent.

        Raises
        ------
        DatabaseError
            When a single row is more than the engine sends.
        """
        while True:
            try:
                return page(self.rows)
            except ResponseTooLarge as refused:
                if self.rows == 1:
                    raise DatabaseError(
                        f"The read model holds a row that is larger than its server sends at once ({refused}). Raise the server's limit "
                        "(sqld: --max-response-size), or use a read model in a file: file:PATH"
                    ) from None
                self.rows = max(1, self.rows // 4)

    def aim(self, count: int, size: int, target: int) -> None:
        """Choose the next page so that it has about `target` bytes, after one of `count` rows and `size` bytes."""
        self.rows = max(1, min(self._most, target * max(count, 1) // max(size, 1)))


class Database(Protocol):
    """A SQL database in SQLite's dialect. Safe for several threads; other processes may use the same database.

    Both methods wait (bounded) while others hold the database, and raise, besides what is named there,

    - `ResponseTooLarge` when the rows are more than the engine sends at once,
    - `ReadOnlyError` when this connection may read, but not write,
    - `DatabaseBusyError` when that took too long,
    - `DatabaseUnavailableError` when the database is out of reach, full, or not writable,
    - `DatabaseDamagedError` when what stands at its place is no database.
    """

    def execute(self, sql: str, args: Args = ()) -> list[Row]:
        """Run one statement and give its rows."""

    def batch(self, statements: Sequence[Statement | BulkInsert]) -> list[list[Row]]:
        """Run statements as one transaction, all or nothing, and give the rows of each.

        Raises
        ------
        ConditionFailed
            When a NOT NULL column was set to NULL.
        """

    def describe(self) -> EngineReport:
        """Say which engine it is."""

    def close(self) -> None:
        """Let go of everything. Closing twice is harmless."""
