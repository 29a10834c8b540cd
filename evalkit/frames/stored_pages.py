"""Reading of stored checkpoints and changes, page by page, in one generation."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import polars as pl

from evalkit.frames.checkpoint_pages import decode_page, page_query
from evalkit.readmodel.database.database import Database, PageSize, Row, Statement
from evalkit.readmodel.history import CHANGE_COLUMNS, Change
from evalkit.readmodel.schema import HEAD_STATEMENTS, Head, head_of
from evalkit.readmodel.snapshot import RebuiltMeanwhileError, last_rows_query

__all__ = ["ENDS_QUERY", "STUDIES_QUERY", "StoredPages"]

ENDS_QUERY = last_rows_query("checkpoints", "changes")
"""The last row ids of checkpoints and of changes."""
STUDIES_QUERY: Statement = ("SELECT id, first_name, period_type, name, archived FROM studies ORDER BY created_at, id", ())
_CHANGES = f"SELECT rowid, {CHANGE_COLUMNS} FROM changes WHERE rowid > ? AND rowid <= ? ORDER BY rowid LIMIT ?"
_CHANGES_PAGE = 500
_SERVER_PAGE = 5000, 4 << 20  # rows and bytes; servers escape each quote in two bytes, and limit a response to 10 MB
_FILE_PAGE = 10_000, 10 << 20
_SHORTEST_PAGE = 1000
"""More rows are read in two pages, so that the database reads one while Polars decodes the other."""


class StoredPages:
    """Reads the rows of append-only tables, up to a row id.

    Parameters
    ----------
    database
        The database of the read model. Pages from files are larger than those from servers.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._page = PageSize(*(_SERVER_PAGE if getattr(database, "path", None) is None else _FILE_PAGE))

    def read(self, *statements: Statement) -> tuple[Head, list[list[Row]]]:
        """Return the head, and the rows of statements, at one point in time."""
        meta, positions, *results = self._database.batch([*HEAD_STATEMENTS, *statements])
        return head_of(meta, positions), results

    def rows(self, generation: int, statement: Statement) -> list[Row]:
        """Return the rows of a statement in a generation.

        Raises
        ------
        RebuiltMeanwhileError
            When a rebuild replaced the tables.
        """
        head, (rows,) = self.read(statement)
        if head.generation != generation:
            raise RebuiltMeanwhileError("The read model was rebuilt while it was read", hint="Try again.")
        return rows

    def changes(self, generation: int, after: int, end: int) -> list[Change]:
        """Return the changes after a row id, up to another.

        Raises
        ------
        RebuiltMeanwhileError
            When a rebuild replaced the tables.
        """
        size = PageSize(_CHANGES_PAGE)
        changes: list[Change] = []
        while after < end:
            rows = size.read(lambda limit: self.rows(generation, (_CHANGES, (after, end, limit))))  # noqa: B023  (called immediately)
            if not rows:
                break
            changes += [Change.of_row(row[1:]) for row in rows]
            after = int(str(rows[-1][0]))
        return changes

    def checkpoints(
        self,
        generation: int,
        between: tuple[int, int],
        custom: Sequence[str],
        *,
        study_ids: Sequence[str] | None = None,
        columns: Collection[str] | None = None,
    ) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield the last row id and the checkpoints of each page.

        The database reads the next page while Polars decodes one.

        Parameters
        ----------
        generation
            The generation.
        between
            The row id after which, and the one up to which to read.
        custom, columns
            See `decode_page`.
        study_ids
            The ids of studies; None for all.

        Raises
        ------
        RebuiltMeanwhileError
            When a rebuild replaced the tables.
        """
        after, end = between
        chosen = "" if study_ids is None else f"study_id IN ({', '.join('?' * len(study_ids))}) AND"
        query, args = page_query(chosen, columns), study_ids or ()
        self._page.rows = min(self._page.rows, max(_SHORTEST_PAGE, -(-(end - after) // 2)))

        def page(start: int) -> Row:
            return self._page.read(lambda limit: self.rows(generation, (query, [*args, start, end, limit])))[0]

        if after >= end:
            return
        with ThreadPoolExecutor(1, thread_name_prefix="evalkit-read") as reader:
            reading: Future[Row] | None = reader.submit(page, after)
            while reading is not None and (row := reading.result())[0] is not None:
                last, count, (irregular, *texts) = int(str(row[0])), int(str(row[1])), row[2:]
                self._page.aim(count, len(str(irregular)) + sum(len(str(text)) for text in texts))
                reading = reader.submit(page, last) if last < end else None
                yield last, decode_page(count, str(irregular), texts, custom, columns)
