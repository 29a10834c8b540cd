"""The port of the read model's database: statements and transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

from evalkit._util.engine_report import EngineReport
from evalkit.errors import DatabaseError

__all__ = [
    "REBUILD_HINTS",
    "Args",
    "BulkInsert",
    "ConditionFailed",
    "Database",
    "PageSize",
    "ResponseTooLarge",
    "Row",
    "Statement",
    "Value",
    "in_parts",
    "pages",
    "writes",
]

_T = TypeVar("_T")

REBUILD_HINTS = {
    "hint": "Rebuild the read model from the log: kit.rebuild().",
    "shell_hint": "Rebuild the read model from the log: evalkit projection rebuild",
}
"""The hints of errors about a read model that another program changed."""

Value = str | int | float | bytes | None
Row = tuple[Value, ...]
Args = Sequence[Value]
Statement = tuple[str, Args]
"""SQL with ``?`` placeholders, and the values of the placeholders."""


class BulkInsert(NamedTuple):
    """Rows to insert into one table, in the fastest way of each adapter."""

    table: str
    columns: str
    """The names of columns, separated by commas; other columns are NULL."""
    values: Sequence[str | int | None]
    """The values of all rows, row by row."""

    @property
    def width(self) -> int:
        """The number of values in each row."""
        return self.columns.count(",") + 1


class ConditionFailed(Exception):  # noqa: N818  (an internal signal between projection and adapter)
    """A compare-and-swap in a batch failed: a NOT NULL column became NULL."""


class ResponseTooLarge(DatabaseError):  # noqa: N818  (an internal signal between reader and adapter; users see it only when a single row is too large)
    """The result exceeds the response limit; retry with fewer rows.

    Parameters
    ----------
    server_message
        The server's error message.
    """

    def __init__(self, server_message: str) -> None:
        super().__init__(
            f"A single row of the read model exceeds the response limit of its server ({server_message})",
            hint="Raise the limit (sqld: --max-response-size), or use a read model in a file: file:PATH",
        )


def writes(statements: Sequence[Statement | BulkInsert]) -> bool:
    """Return whether any of the statements changes the database."""
    return not all(statement[0].lstrip().startswith(("SELECT", "WITH")) for statement in statements)


class PageSize:
    """The number of rows to request, reduced when the server rejects a page as too large.

    Parameters
    ----------
    rows
        The initial and maximum number of rows.
    size
        The target size of a page in bytes, used by `aim`.
    """

    def __init__(self, rows: int, size: int = 0) -> None:
        self.rows = rows
        self._max_rows = rows
        self._size = size
        self._refused = False

    def read(self, page: Callable[[int], _T]) -> _T:
        """Call `page` with the number of rows, reduced until the server accepts it.

        The accepted number is the new value of `rows`.

        Raises
        ------
        ResponseTooLarge
            When a single row exceeds the limit.
        """
        while True:
            try:
                return page(self.rows)
            except ResponseTooLarge:
                if self.rows == 1:
                    raise
                self.rows = max(1, self.rows // 4)
                self._refused = True

    def aim(self, count: int, size: int) -> None:
        """Set `rows` for the next page, after a page of `count` rows and `size` bytes.

        If the server rejected a larger page before, `size` becomes the target size.
        """
        if self._refused:
            self._size, self._refused = size, False
        self.rows = max(1, min(self._max_rows, self._size * max(count, 1) // max(size, 1)))


def pages(
    query: Callable[[tuple[Value, ...], int], list[Row]], first: tuple[Value, ...], key: Callable[[Row], tuple[Value, ...]], rows: int
) -> Iterator[Row]:
    """Yield the rows of a query page by page, within the server's response limit.

    Parameters
    ----------
    query
        A function of the last key of the previous page and the maximum number of rows. It returns rows in the order of their keys.
    first
        A key that is less than the keys of all rows.
    key
        A function that returns the key of a row.
    rows
        The maximum number of rows of a page.
    """
    size, after = PageSize(rows), first
    while True:
        start = after
        page = size.read(lambda limit: query(start, limit))  # noqa: B023  (called immediately)
        yield from page
        if len(page) < size.rows:
            return
        after = key(page[-1])


def in_parts(query: Callable[[Sequence[_T]], list[Row]], items: Sequence[_T]) -> list[Row]:
    """Return the rows of a query about many items, split if the result is too large.

    Raises
    ------
    ResponseTooLarge
        When the rows of a single item exceed the limit.
    """
    try:
        return query(items)
    except ResponseTooLarge:
        if len(items) < 2:
            raise
        half = len(items) // 2
        return in_parts(query, items[:half]) + in_parts(query, items[half:])


class Database(Protocol):
    """A SQL database in SQLite's dialect; thread-safe, shared with other processes.

    `execute` and `batch` retry for a limited time while other processes lock the database. Both may raise

    - `ResponseTooLarge` when the result exceeds the server's response limit,
    - `ReadOnlyError` when the connection has no write access,
    - `DatabaseBusyError` when the database stayed locked,
    - `DatabaseUnavailableError` when the database cannot be reached, is full or is not writable,
    - `DatabaseDamagedError` when the file is not a database.
    """

    def execute(self, sql: str, args: Args = ()) -> list[Row]:
        """Run one statement and return its rows."""

    def batch(self, statements: Sequence[Statement | BulkInsert], *, confirm: Callable[[], None] | None = None) -> list[list[Row]]:
        """Run statements as one atomic transaction, and return the rows of each.

        Parameters
        ----------
        statements
            The statements.
        confirm
            Called before the transaction is committed, perhaps more than once. If it raises an error, nothing is written.

        Raises
        ------
        ConditionFailed
            When a NOT NULL column was set to NULL.
        """

    def describe(self) -> EngineReport:
        """Return the engine and its version."""

    def close(self) -> None:
        """Release all resources. Closing twice is a no-op."""
