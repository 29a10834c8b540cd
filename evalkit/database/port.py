"""What evalkit needs of a database: statements one by one, and several as one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["Args", "ConditionFailed", "Database", "Row", "Statement", "Value"]

Value = str | int | float | bytes | None
Row = tuple[Value, ...]
Args = Sequence[Value]
Statement = tuple[str, Args]
"""SQL with ``?`` for each argument, and the arguments."""


class ConditionFailed(Exception):  # noqa: N818  (a signal between projection and adapter, no error that a user sees)
    """A batch set a NOT NULL column to NULL: the compare-and-set in it found another value. Nothing was written."""


class Database(Protocol):
    """A SQL database in SQLite's dialect. Safe for several threads; other processes may use the same database.

    Both methods wait (bounded) while others hold the database, and raise, besides what is named there,

    - `DatabaseBusyError` when that took too long,
    - `DatabaseUnavailableError` when the database is out of reach, full, or not writable,
    - `DatabaseDamagedError` when what stands at its place is no database.
    """

    def execute(self, sql: str, args: Args = ()) -> list[Row]:
        """Run one statement and give its rows."""

    def batch(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """Run statements as one transaction, all or nothing, and give the rows of each.

        Raises
        ------
        ConditionFailed
            When a NOT NULL column was set to NULL.
        """

    def close(self) -> None:
        """Let go of everything. Closing twice is harmless."""
