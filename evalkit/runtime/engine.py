"""The engine of a kit: a log, its read model, and the consumer that updates it.

It creates the home, checks write access, and projects events. The log and the read model are files in the home, or are on servers that
several kits share.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from evalkit._util.forks import reset_in_child
from evalkit._util.sqlite_files import file_identity
from evalkit._util.text import plural
from evalkit.domain.codec import DecodedEvent
from evalkit.domain.events import EncodedEvent
from evalkit.domain.ids import time_of_event
from evalkit.errors import (
    DatabaseUnavailableError,
    EvalkitError,
    InvalidInputError,
    LogIncompleteError,
    LogUnavailableError,
    Message,
    ReadOnlyError,
    RebuildSupersededError,
    SchemaError,
    collects_warnings,
    warn,
)  # fmt: skip
from evalkit.eventlog.event_log import LogPosition
from evalkit.readmodel.consumer import EvalProjectionConsumer
from evalkit.readmodel.database.sqlite_database import SqliteDatabase
from evalkit.readmodel.fold import Decision
from evalkit.readmodel.log_identity import check_count
from evalkit.readmodel.projection import EventKey
from evalkit.readmodel.rebuild import rebuild
from evalkit.readmodel.rows import readable
from evalkit.readmodel.schema import Position, check_current, has_tables, read_head
from evalkit.runtime.connections import make_home, open_database, open_log, uses_files, why_not_writable
from evalkit.runtime.temporary_read_model import TemporaryReadModel
from evalkit.settings import Settings, network_file_system, no_home, redacted

__all__ = ["CONSUMER", "Engine"]

_logger = logging.getLogger("evalkit")

_RENEWAL_SECONDS = 300.0
CONSUMER = "consumer"
"""The role of a consumer process, and the prefix of its writer name."""


class Engine:
    """A log and its read model, opened when first needed.

    Parameters
    ----------
    settings
        The URLs of the log and the read model, and the home.
    role
        ``"kit"`` or ``"consumer"``, the prefix of the writer name in the read model.
    """

    def __init__(self, settings: Settings, role: str = "kit") -> None:
        self.settings = settings
        self.writer = f"{role} {platform.node()}:{os.getpid()}"
        """The name under which this process writes to the read model."""
        self.log = open_log(settings.log_url)
        self.lock = threading.RLock()
        """Every command holds it from its checks to its result."""
        self.not_writable = why_not_writable(settings)
        """The reason why events cannot be appended; None if they can."""
        self.behind: str | None = None
        """The reason why the last read may have used an outdated read model; None if it was up to date."""
        self.database = open_database(settings.database_url, token=settings.auth_token)
        self.consumer = EvalProjectionConsumer(self.log, self.database, writer=self.writer)
        paths = [getattr(part, "path", None) for part in (self.log, self.database)]
        if paths[0] is not None and paths[1] is not None and paths[0].resolve() == paths[1].resolve():
            raise InvalidInputError(
                f"Invalid database_url {redacted(settings.database_url)!r}: this file is the event log",
                hint="Use another file:PATH, or another home.",
                field="database_url", value=redacted(settings.database_url),
            )  # fmt: skip
        self.embedded = None not in paths
        """Whether the log and the read model are both files."""
        self._write_access_verified = self.embedded
        self.holds_nothing = False
        """Whether there were neither events nor tables when the current command began."""
        self._temporary: tuple[TemporaryReadModel, Message] | None = None
        self._has_read = False
        self._warned: set[str] = set()
        self._caught_up: object = None
        self._check_file_system()
        reset_in_child(self)

    @property
    def exists(self) -> bool:
        """Whether there is anything to read: a file of the log or the read model, or a server."""
        paths = [getattr(part, "path", None) for part in (self.log, self.database)]
        return any(path is None or path.exists() for path in paths)

    def ready_to_read(self) -> bool:
        """Bring the read model up to date if possible.

        Returns
        -------
        bool
            False if there is nothing to read yet.
        """
        if not self.exists:
            self._warn_once(
                "home",
                no_home(self.settings),
            )
            return False
        try:
            if self.not_writable is None and not self._is_empty():
                make_home(self.settings)  # only now: reading an empty log on a server must not create files
                self.catch_up()
                self._has_read, self.behind = True, None
                return True
            if (reason := self.read_through_temporary()) is not None:
                self._warn_once("stale", reason)
                return True
        except ReadOnlyError as error:
            self.not_writable = error.message.problem[:1].lower() + error.message.problem[1:]
        except (LogUnavailableError, LogIncompleteError, DatabaseUnavailableError) as error:
            if (head := read_head(self.database)) is None or not head.is_current:
                raise
            self.behind = str(error)
            self._warn_once("stale", f"{error} Results are from the current read model, which may be outdated. {self.age()}")
            return True
        head = read_head(self.database)
        if head is None:
            self.check_read_model()
            self._warn_once(
                "home",
                Message(
                    problem="The log and the read model are empty", hint="Create a study with kit.create_study('my study').",
                    shell_hint="Create a study with: evalkit study create NAME.",
                ),
            )  # fmt: skip
            return False
        check_current(head)
        if self.not_writable is not None:
            self._warn_once("stale", self.read_only_problem())
        return True

    def read_through_temporary(self) -> Message | None:
        """Use a temporary read model if the one in the home is older or missing, and not writable.

        Every call brings it up to date. It is deleted when the engine is closed.

        Returns
        -------
        Message or None
            The reason; None if the read model in the home can be read, or is on a server.
        """
        if self.not_writable is None or not isinstance(self.database, SqliteDatabase):
            return None
        with self.lock:
            if self._temporary is None:
                if (reason := TemporaryReadModel.reason(self.log, self.database)) is None:
                    return None
                why = Message(
                    problem=f"{self._read_only()}. The read model in the home {reason}, so a temporary one is computed from the log",
                    hint="To avoid this, connect once with write access, which rebuilds it.",
                )
                self._temporary = TemporaryReadModel(self.log, self.database), why
            temporary, why = self._temporary
            temporary.catch_up()
            return why

    def _close_temporary(self) -> None:
        if self._temporary is not None:
            self._temporary[0].close()
            self._temporary = None

    def _read_only(self) -> str:
        return "This kit is read-only" if self.settings.read_only else f"Read-only: {self.not_writable}"

    def read_only_problem(self) -> str:
        """Return the reason why nothing can be written, and the age of the data."""
        return f"{self._read_only()}. {self.age()}"

    @property
    def write_hint(self) -> str:
        """The next step when nothing can be written."""
        return "Connect without read_only=True." if self.settings.read_only else "Ask for write access, or use another home."

    def _is_empty(self) -> bool:
        """Return whether there are neither events nor tables."""
        if self.embedded:
            return not self.exists
        if self._has_read or self.has_tables():
            return False
        return not any(part.end for part in self.log.ranges())

    def read_version(self) -> object:
        """Bring the read model up to date, and return its version.

        The version changes whenever frames of the read model may have changed.
        """
        if not self.ready_to_read() or (head := read_head(self.database)) is None:
            return None
        return (self.database_identity(), head.generation, *(position.next for position in head.positions))

    def database_identity(self) -> object:
        """Return the identity of the read model's file; None if it is not a file.

        The identity changes when the file is replaced.
        """
        path = getattr(self.database, "path", None)
        return None if path is None else file_identity(path)

    def catch_up(self, keys: Collection[EventKey] = ()) -> dict[EventKey, Decision]:
        """Apply the new events of the log, and return the decisions of the events with `keys`.

        A read model in a file that an older version created is rebuilt first.
        """
        with self.lock:
            if self._caught_up != self.database_identity():
                self.consumer.restart()  # the file was moved away or replaced
            try:
                return self.consumer.catch_up(keys)
            except SchemaError as error:
                if not (self.embedded and isinstance(error.actual, tuple) and error.actual < error.supported):  # type: ignore[operator]
                    raise
                self._renew()
                self.consumer.restart()
                return self.consumer.catch_up(keys)
            finally:
                self._caught_up = self.database_identity()

    def append(
        self, messages: Sequence[EncodedEvent], keys: Collection[EventKey], events: Sequence[DecodedEvent] | None = None
    ) -> tuple[list[LogPosition], dict[EventKey, Decision]]:
        """Append events of one study; see `EvalProjectionConsumer.append`."""
        with self.lock:
            if self.embedded and self._caught_up == self.database_identity():
                return self.consumer.append(messages, keys, events)
            return self.log.append(messages), {}  # on servers, a consumer may apply them

    def _renew(self) -> None:
        """Rebuild a read model of an older version, or wait until another process has done so."""
        _logger.info("the read model was written by an older version of evalkit; rebuilding it")
        try:
            rebuild(self.database, self.log, writer=self.writer)
        except RebuildSupersededError:
            deadline = time.monotonic() + _RENEWAL_SECONDS
            while (head := read_head(self.database)) is None or not head.is_current:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    @contextmanager
    def command(self) -> Iterator[None]:
        """Hold the lock for a command, with an up-to-date read model.

        If there are neither events nor tables, nothing is created before `make_ready`, so that a command that raises creates nothing.
        """
        if self.not_writable is not None:
            raise ReadOnlyError(f"Cannot write: {self.not_writable}", effect="No events were appended.", hint=self.write_hint)
        with self.lock:
            self.holds_nothing = self._is_empty()
            if not self.holds_nothing:
                self._prepare()
            try:
                with readable(self.database):
                    yield
            finally:
                self.holds_nothing = False

    def make_ready(self) -> None:
        """Create the home and the tables if they do not exist.

        A command calls this after its checks and before it appends events.
        """
        if self.holds_nothing:
            self._prepare()
            self.holds_nothing = False

    def _prepare(self) -> None:
        make_home(self.settings)
        self.catch_up()
        if not self._write_access_verified:
            # Without new events, catch_up writes nothing. Verify write access before the command appends its event.
            self.database.batch([("UPDATE meta SET generation = generation WHERE 0", ())])
            self._write_access_verified = True

    def last_writer(self) -> tuple[str, str] | None:
        """Return the read model's last writer and the time; None if it was never written."""
        rows = self.database.execute("SELECT writer, written_at FROM positions ORDER BY written_at DESC LIMIT 1")
        return (str(rows[0][0]), str(rows[0][1])) if rows and rows[0][1] else None

    def age(self) -> str:
        """Return a sentence with the age of the read model's newest event."""
        try:
            sql = "SELECT max((SELECT max(event_id) FROM lifecycle), coalesce((SELECT max(event_id) FROM checkpoints), ''))"
            newest = self.database.execute(sql)[0][0]
            if not newest:
                return "The read model contains no events."
            moment = time_of_event(str(newest))
        except (EvalkitError, IndexError, ValueError, OverflowError):
            return "The read model cannot be read now."
        hours = (datetime.now(UTC) - moment).total_seconds() / 3600
        age = "less than an hour" if hours < 1 else f"{hours:,.1f} hours"
        return f"Its newest event is from {moment:%Y-%m-%d %H:%M} UTC ({age} ago).{self._lag_sentence()}"

    def _lag_sentence(self) -> str:
        """Return a sentence about the lag of the read model; empty if the lag is unknown."""
        try:
            head = read_head(self.database)
            lag = sum(self.lag(head.positions)) if head is not None else 0
        except EvalkitError:
            return ""
        return f" It is {plural(lag, 'event')} behind the log." if lag > 0 else " It is up to date with the log."

    def lag(self, positions: Sequence[Position]) -> tuple[int, ...]:
        """Return the number of events of each partition that are not in the read model yet.

        Raises
        ------
        LogMismatchError
            When the number of partitions of the log changed.
        """
        ranges = self.log.ranges()
        if not any(position.next for position in positions):
            return tuple(part.end for part in ranges)
        check_count(positions, ranges)
        return tuple(part.end - position.next for position, part in zip(positions, ranges, strict=True))

    def close(self) -> None:
        """Close the log and the database."""
        with self.lock:
            self.log.close()
            self._close_temporary()
            self.database.close()
            self.consumer.restart()

    def has_tables(self) -> bool:
        """Return whether there is a read model; see `evalkit.readmodel.schema.has_tables`."""
        return has_tables(self.database)

    def check_read_model(self) -> None:
        """Raise an error if the log has events, but no read model exists or can be created.

        Raises
        ------
        DatabaseUnavailableError
            Its message has the number of events and the next step.
        """
        if self.not_writable is None or self.has_tables() or not (events := sum(part.end for part in self.log.ranges())):
            return
        hint = (
            "Connect once without read_only=True, or run: evalkit projection rebuild."
            if self.settings.read_only
            else "Ask a user with write access to run: evalkit projection rebuild. Or copy the log to another home: evalkit log export, "
            "evalkit log import."
        )
        raise DatabaseUnavailableError(
            f"The log has {plural(events, 'event')}, but the read model {redacted(self.settings.database_url)} is missing and cannot be "
            f"created: {self.not_writable}",
            hint=hint,
        )

    def _check_file_system(self) -> None:
        kind = network_file_system(self.settings.home) if uses_files(self.settings) else None
        if kind is not None:
            self._warn_once(
                "network",
                f"The home {self.settings.home} is on a network file system ({kind}), where SQLite's WAL mode is not safe. Use a folder "
                "on a local disk (EVALKIT_HOME), or shared servers (EVALKIT_LOG_URL, EVALKIT_DATABASE_URL).",
            )

    def _warn_once(self, about: str, message: str | Message) -> None:
        if collects_warnings():  # a panel collects warnings in the background; a later cell must show them again
            warn(message)
        elif about not in self._warned:
            self._warned.add(about)
            warn(message)

    def reset_in_child(self) -> None:
        """Replace the lock in a forked process."""
        self.lock = threading.RLock()
        self._close_temporary()  # it is that of the parent
        self.consumer.restart()
