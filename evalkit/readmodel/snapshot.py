"""A consistent view of the read model, read in pages during concurrent writes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from typing import NamedTuple, TypeVar

from evalkit.errors import DatabaseError
from evalkit.readmodel.database.database import Database, Row, Statement, Value, pages
from evalkit.readmodel.schema import HEAD_STATEMENTS, Head, head_of

__all__ = ["RebuiltMeanwhileError", "Snapshot", "StudyRow", "consistently", "last_rows_query"]

_T = TypeVar("_T")
_PAGE = 2000
_TRIES = 5
_APPEND_ONLY = ("checkpoints", "lifecycle", "changes", "rejected", "quarantined")


class RebuiltMeanwhileError(DatabaseError):
    """A rebuild replaced the tables of a snapshot."""


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
    archived: int


class Snapshot:
    """The rows of a read model at one point in time.

    The columns of a study that can change are read immediately: status and times, and the name and config of studies that were renamed or
    edited. Its other columns never change. The other tables are append-only, and are read up to their last row id at the time of the
    snapshot.

    Parameters
    ----------
    database
        The database of the read model.
    extra
        An additional statement, executed at the same point in time. Its rows are in the attribute `extra`.
    study_ids
        The ids of the studies whose rows are read; None for all.
    """

    def __init__(self, database: Database, extra: Statement = ("SELECT 1", ()), study_ids: Collection[str] | None = None) -> None:
        self._database = database
        self._chosen = "TRUE" if study_ids is None else f"study_id IN ({', '.join(map(_literal, study_ids))})"
        changing: Statement = (
            "SELECT id AS study_id, status, started_at, stopped_at, archived, nullif(name, first_name), nullif(config, first_config) "
            f"FROM studies WHERE {self._chosen}", ()
        )  # fmt: skip
        statements = [*HEAD_STATEMENTS, last_rows_query(*_APPEND_ONLY), changing, extra]
        meta, positions, ends, self._changing, self.extra = database.batch(statements)
        self.head: Head = head_of(meta, positions)
        self._bounds = dict(zip(_APPEND_ONLY, ends[0], strict=True))

    def studies(self) -> list[StudyRow]:
        """Return all studies, sorted by id.

        Raises
        ------
        RebuiltMeanwhileError
            When a rebuild replaced the tables.
        """
        rows = []
        for study_id, status, started, stopped, archived, *changed in sorted(self._changing, key=lambda row: str(row[0])):
            _, name, period_type, period_value, config, created = self._fixed[study_id]
            name, config = (first if now is None else now for first, now in zip((name, config), changed, strict=True))
            rows.append(StudyRow._make((study_id, name, status, period_type, period_value, config, created, started, stopped, archived)))
        return rows

    def first_of_studies(self) -> dict[str, tuple[str, str]]:
        """Return the name and config of each study at its creation, by id."""
        return {str(study_id): (str(row[1]), str(row[4])) for study_id, row in self._fixed.items()}

    @cached_property
    def _fixed(self) -> dict[Value, Row]:
        """The columns of studies that never change, by id."""
        columns = "id AS study_id, first_name, period_type, period_value, first_config, created_at"
        return {row[0]: row for row in self._pages("studies", columns, ("id",), self._chosen)}

    def query(self, sql: str, args: tuple[Value, ...] = ()) -> list[Row]:
        """Return the rows of a query.

        In `sql`, ``:table`` is the last row id of an append-only table in the snapshot, and ``:chosen`` the condition on ``study_id``.

        Raises
        ------
        RebuiltMeanwhileError
            When a rebuild replaced the tables.
        """
        for table, bound in self._bounds.items():
            sql = sql.replace(f":{table}", str(bound))
        sql = sql.replace(":chosen", self._chosen)
        meta, positions, rows = self._database.batch([*HEAD_STATEMENTS, (sql, args)])
        if head_of(meta, positions).generation != self.head.generation:
            raise RebuiltMeanwhileError("The read model was rebuilt during the query", hint="Try again.")
        return rows

    def rows(self, table: str, columns: str, key: tuple[str, ...]) -> Iterator[Row]:
        """Yield the rows of an append-only table, sorted by `key`.

        `columns` must begin with the columns of `key`.

        Raises
        ------
        RebuiltMeanwhileError
            When a rebuild replaced the tables.
        """
        return self._pages(table, columns, key, f"{self._chosen} AND rowid <= ?", (self._bounds[table],))

    def _pages(self, table: str, columns: str, key: tuple[str, ...], where: str, args: tuple[Value, ...] = ()) -> Iterator[Row]:
        names = ", ".join(key)
        sql = f"SELECT {columns} FROM {table} WHERE {where} AND ({names}) > ({', '.join('?' * len(key))}) ORDER BY {names} LIMIT ?"
        return self.paged(sql, args, len(key))

    def paged(self, sql: str, args: tuple[Value, ...], width: int) -> Iterator[Row]:
        """Yield the rows of a query page by page.

        The last arguments of `sql` are the key of the row before the page, which is its first `width` columns, and the number of rows.
        """
        return pages(lambda after, limit: self.query(sql, (*args, *after, limit)), ("",) * width, lambda row: row[:width], _PAGE)


def last_rows_query(*tables: str) -> Statement:
    """Return the query for the last row id of append-only tables; 0 for an empty one."""
    return "SELECT " + ", ".join(f"(SELECT coalesce(max(rowid), 0) FROM {table})" for table in tables), ()


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def consistently(read: Callable[[], _T]) -> _T:
    """Call `read`, and retry it if a rebuild replaced the tables.

    Raises
    ------
    RebuiltMeanwhileError
        When a rebuild replaced the tables in every attempt.
    """
    for _ in range(_TRIES - 1):
        try:
            return read()
        except RebuiltMeanwhileError:
            continue
    return read()
