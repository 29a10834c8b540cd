"""The rows of a read model at one moment, read in pages while others go on writing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from evalkit.errors import DatabaseError
from evalkit.readmodel.database.database import Database, Row, Statement, Value, pages
from evalkit.readmodel.schema import HEAD_STATEMENTS, Head, head_of

__all__ = ["RebuiltMeanwhileError", "Snapshot", "StudyRow", "consistently"]

_T = TypeVar("_T")
_PAGE = 2000
_TRIES = 5
_ONLY_ADDED = ("checkpoints", "lifecycle", "rejected", "quarantined")


class RebuiltMeanwhileError(DatabaseError):
    """The tables of a snapshot are gone."""


class StudyRow(NamedTuple):
    """A row of ``studies``."""

    id: str
    name: str
    status: str
    period_type: str
    period_value: int | None
    config: str
    created_at: str
    started_at: str | None
    stopped_at: str | None


class Snapshot:
    """The rows of a read model at one moment.

    A study's status and its times change, and are read at once; all the rest is only added, and is bounded by the last row there was, or
    never changes.

    Parameters
    ----------
    database
        Where the read model is.
    beside
        One more statement that is to see the same moment; its rows are `beside`.
    """

    def __init__(self, database: Database, beside: Statement = ("SELECT 1", ())) -> None:
        self._database = database
        bounds = ", ".join(f"(SELECT coalesce(max(rowid), 0) FROM {table})" for table in _ONLY_ADDED)
        changing: Statement = ("SELECT id, status, started_at, stopped_at FROM studies", ())
        meta, positions, found, self._changing, self.beside = database.batch([*HEAD_STATEMENTS, (f"SELECT {bounds}", ()), changing, beside])
        self.head: Head = head_of(meta, positions)
        self._bounds = dict(zip(_ONLY_ADDED, found[0], strict=True))

    def studies(self) -> list[StudyRow]:
        """Give every study, in the order of their ids.

        Raises
        ------
        RebuiltMeanwhileError
            When a rebuild took the tables away.
        """
        columns = "id, name, period_type, period_value, config, created_at"
        fixed = {row[0]: row for row in self._pages("studies", columns, ("id",), "1")}
        rows = []
        for study_id, status, started, stopped in sorted(self._changing, key=lambda row: str(row[0])):
            _, name, period_type, period_value, config, created = fixed[study_id]
            rows.append(StudyRow._make((study_id, name, status, period_type, period_value, config, created, started, stopped)))
        return rows

    def rows(self, table: str, columns: str, key: tuple[str, ...]) -> Iterator[Row]:
        """Give the rows of a table to which rows are only added, in the order of `key`, with which `columns` must begin.

        Raises
        ------
        RebuiltMeanwhileError
            When a rebuild took the tables away.
        """
        return self._pages(table, columns, key, "rowid <= ?", (self._bounds[table],))

    def _pages(self, table: str, columns: str, key: tuple[str, ...], where: str, args: tuple[Value, ...] = ()) -> Iterator[Row]:
        width, names = len(key), ", ".join(key)
        sql = f"SELECT {columns} FROM {table} WHERE {where} AND ({names}) > ({', '.join('?' * width)}) ORDER BY {names} LIMIT ?"

        def ask(after: tuple[Value, ...], most: int) -> list[Row]:
            meta, positions, page = self._database.batch([*HEAD_STATEMENTS, (sql, (*args, *after, most))])
            if head_of(meta, positions).generation != self.head.generation:
                raise RebuiltMeanwhileError("The read model was rebuilt while it was being read", hint="Try again.")
            return page

        return pages(ask, ("",) * width, lambda row: row[:width], _PAGE)


def consistently(read: Callable[[], _T]) -> _T:
    """Call `read`, and again when a rebuild came in between.

    Raises
    ------
    RebuiltMeanwhileError
        When that happened each time.
    """
    for _ in range(_TRIES - 1):
        try:
            return read()
        except RebuiltMeanwhileError:
            continue
    return read()
