"""A temporary read model, in place of one that is older or missing and cannot be written."""

from __future__ import annotations

from evalkit._util.temporary_folder import TemporaryFolder
from evalkit.errors import DatabaseUnavailableError
from evalkit.eventlog.event_log import EventLog
from evalkit.readmodel.consumer import EvalProjectionConsumer
from evalkit.readmodel.database.sqlite_database import SqliteDatabase
from evalkit.readmodel.log_identity import check_identity
from evalkit.readmodel.schema import Head, read_head

__all__ = ["TemporaryReadModel"]

_BATCH = 5000


class TemporaryReadModel:
    """A read model in a temporary folder, which a database uses instead of its own file.

    The folder is deleted when it is closed, at the latest when the process exits. Nothing else is written. A forked process must close it
    before it uses the database.

    Parameters
    ----------
    log, database
        The source, and the database whose file cannot be used.

    Raises
    ------
    DatabaseUnavailableError
        When no temporary folder can be created.
    """

    def __init__(self, log: EventLog, database: SqliteDatabase) -> None:
        try:
            self._folder = TemporaryFolder("evalkit-read-model-")
        except OSError as error:
            problem = f"A temporary read model cannot be created: {error.strerror}"
            raise DatabaseUnavailableError(problem, hint="Set TMPDIR to a folder that is writable.") from None
        self._database = database
        self._consumer = EvalProjectionConsumer(log, database, batch_size=_BATCH, group=None)
        self._original = database.switch(self._folder.path / "evalkit.db", read_only=False)

    @staticmethod
    def reason(log: EventLog, database: SqliteDatabase) -> str | None:
        """Return why the file of a database cannot be read (older or missing); None if it can.

        Raises
        ------
        LogMismatchError
            When an older read model was built from another log, or events are missing.
        SchemaError
            When a newer evalkit or another program created the tables.
        """
        head: Head | None = read_head(database)
        if head is None:
            return "is missing" if any(part.end for part in log.ranges()) else None
        if head.is_current:
            return None
        check_identity(log, head.positions)
        return f"was created by an older version of evalkit (schema {head.schema_version}, projection {head.fold_version})"

    def catch_up(self) -> None:
        """Apply the new events of the log."""
        self._consumer.catch_up()

    def close(self) -> None:
        """Make the database use its own file again, and delete the temporary one."""
        path, read_only = self._original
        self._database.switch(path, read_only=read_only)
        self._folder.close()
