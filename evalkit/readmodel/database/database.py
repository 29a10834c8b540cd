"""What evalkit needs of a database: statements one by one, and several as one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

from evalkit._util.engine_report import EngineReport
from evalkit.errors import DatabaseError

__all__ = [
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


class ResponseTooLarge(DatabaseError):  # noqa: N818  (a signal between reader and adapter, that a user sees where no page is small enough)
    """The rows that were asked for are more than the engine sends at once: ask for fewer. See `PageSize` and `in_parts`.

    Parameters
    ----------
    said
        The engine's own words.
    """

    def __init__(self, said: str) -> None:
        super().__init__(
            f"The read model holds more, perhaps in a single row, than its server sends at once ({said})",
            hint="Raise the server's limit (sqld: --max-response-size), or use a read model in a file: file:PATH",
        )


def writes(statements: Sequence[Statement | BulkInsert]) -> bool:
    """Return whether any of some statements writes."""
    return not all(one[0].lstrip().startswith(("SELECT", "WITH")) for one in statements)


class PageSize:
    """How many rows to ask for at once: fewer from the moment on when the engine says that a page is more than it sends.

    Parameters
    ----------
    rows
        To begin with, and the most.
    size
        How many bytes a page should have at most, as far as `aim` can foresee it.
    """

    def __init__(self, rows: int, size: int = 0) -> None:
        self.rows = rows
        self._most = rows
        self._size = size
        self._refused = False

    def read(self, page: Callable[[int], _T]) -> _T:
        """Call `page` with the number of rows, and with fewer until the engine sends them; `rows` is the number that it sent.

        Raises
        ------
        ResponseTooLarge
            When a single row is more than the engine sends.
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
        """Choose the next page by the size of this one, of `count` rows and `size` bytes; after a refusal, what is sent is known to fit."""
        if self._refused:
            self._size, self._refused = size, False
        self.rows = max(1, min(self._most, self._size * max(count, 1) // max(size, 1)))


def pages(
    ask: Callable[[tuple[Value, ...], int], list[Row]], first: tuple[Value, ...], key: Callable[[Row], tuple[Value, ...]], rows: int
) -> Iterator[Row]:
    """Return the rows of a question page by page, whatever number of them the engine sends at once.

    Parameters
    ----------
    ask
        Takes the key to begin after and the most rows to return; returns them in the order of their keys.
    first
        A key before that of every row.
    key
        Returns the key of a row.
    rows
        The most rows of a page.
    """
    size, after = PageSize(rows), first
    while True:
        start = after
        page = size.read(lambda most: ask(start, most))  # noqa: B023  (called at once)
        yield from page
        if len(page) < size.rows:
            return
        after = key(page[-1])


def in_parts(ask: Callable[[Sequence[_T]], list[Row]], about: Sequence[_T]) -> list[Row]:
    """Give the rows that answer a question about each of many: asked at once, or in parts when that is more than the engine sends.

    Raises
    ------
    ResponseTooLarge
        When the answer about a single one is.
    """
    try:
        return ask(about)
    except ResponseTooLarge:
        if len(about) < 2:
            raise
        half = len(about) // 2
        return in_parts(ask, about[:half]) + in_parts(ask, about[half:])


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
