"""The machine under the facade: a log, a read model, and what keeps the second up to date with the first.

It decides when a home comes into being, whether it can be written, and what became of an event that was appended. Either engine may be a
file in the home, or a server that others use as well.
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
from evalkit.readmodel.consumer import EvalProjectionConsumer
from evalkit.readmodel.fold import FOLD_VERSION, Decision
from evalkit.readmodel.log_identity import check_count
from evalkit.readmodel.projection import EventKey
from evalkit.readmodel.rebuild import rebuild
from evalkit.readmodel.rows import readable
from evalkit.readmodel.schema import SCHEMA_VERSION, Position, has_tables, read_head
from evalkit.runtime.connections import make_home, open_database, open_log, uses_files, why_not_writable
from evalkit.settings import Settings, network_file_system, redacted

__all__ = ["CONSUMER", "Engine"]

_logger = logging.getLogger("evalkit")

_RENEWAL_SECONDS = 300.0
CONSUMER = "consumer"
"""How the name of a writer begins that is a consumer process."""


class Engine:
    """A log and its read model, opened when first needed.

    Parameters
    ----------
    settings
        Where they are.
    role
        What it works for, noted in the read model with what it writes.
    """

    def __init__(self, settings: Settings, role: str = "kit") -> None:
        self.settings = settings
        self.writer = f"{role} {platform.node()}:{os.getpid()}"
        """Who this is, for people."""
        self.log = open_log(settings.log_url)
        self.lock = threading.RLock()
        """Held by a command from its checks to its outcome."""
        self.not_writable = why_not_writable(settings)
        """Why nothing can be appended; None when it can."""
        self.behind: str | None = None
        """Why the last read was answered from the read model as it stood; None when that was brought up to date."""
        self.database = open_database(settings.database_url, token=settings.auth_token)
        self.consumer = EvalProjectionConsumer(self.log, self.database, writer=self.writer)
        paths = [getattr(part, "path", None) for part in (self.log, self.database)]
        if paths[0] is not None and paths[1] is not None and paths[0].resolve() == paths[1].resolve():
            raise InvalidInputError(
                f"database_url: {paths[1]} is the event log",
                hint="Give the read model a file of its own: another home, or another file:PATH.",
                field="database_url", value=redacted(settings.database_url),
            )  # fmt: skip
        self.embedded = None not in paths
        """Whether both engines are files."""
        self._proven = self.embedded
        self.holds_nothing = False
        """Whether the command that runs found neither events nor tables: there is nothing to ask, and nothing was created yet."""
        self._has_read = False
        self._warned: set[str] = set()
        self._caught_up: object = None
        self._check_file_system()
        reset_in_child(self)

    @property
    def exists(self) -> bool:
        """Whether there is anything to read: a home with a log or a read model, or engines elsewhere."""
        paths = [getattr(part, "path", None) for part in (self.log, self.database)]
        return any(path is None or path.exists() for path in paths)

    def ready_to_read(self) -> bool:
        """Bring the read model up to date, as far as that is possible now. False when there is nothing to read yet."""
        if not self.exists:
            self._warn_once(
                "home",
                Message(
                    problem=f"There is no evalkit home yet. Looked in {', '.join(map(str, self.settings.looked_in[:6]))}",
                    hint='The first study makes one: kit.create_study("my study"), or give another folder: evalkit.connect(home=...)',
                    shell_hint="The first study makes one: evalkit study create 'my study', or give another folder: --home DIR",
                ),
            )
            return False
        try:
            if self.not_writable is None and not self._nothing_yet():
                make_home(self.settings)  # a log elsewhere may be read before anything is written here
                self.catch_up()
                self._has_read, self.behind = True, None
                return True
        except ReadOnlyError as error:
            self.not_writable = error.message.problem
        except (LogUnavailableError, LogIncompleteError, DatabaseUnavailableError) as error:
            if not self.has_tables():
                raise
            self.behind = str(error)
            self._warn_once("stale", f"{error} Answering from the read model as it stands. {self.age()}")
            return True
        if not self.has_tables():
            self.check_read_model()
            self._warn_once(
                "home",
                Message(
                    problem="The log and the read model hold nothing yet", hint="The first study is made with kit.create_study('my study')",
                    shell_hint="The first study is made with evalkit study create 'my study'",
                ),
            )  # fmt: skip
            return False
        if self.not_writable is not None:
            self._warn_once("stale", f"{self.not_writable}; reading only. {self.age()}")
        return True

    def _nothing_yet(self) -> bool:
        """Whether there are neither events nor tables: neither reading nor a refused command creates any."""
        if self.embedded:
            return not self.exists
        if self._has_read or self.has_tables():
            return False
        return not any(part.end for part in self.log.ranges())

    def read_version(self) -> object:
        """Return another value whenever a frame may be another one: cheap, to ask before frames are read again. Brings them up to date."""
        if not self.ready_to_read() or (head := read_head(self.database)) is None:
            return None
        return (self.database_identity(), head.generation, *(position.next for position in head.positions))

    def database_identity(self) -> object:
        """Give what tells the read model from another one under the same name; None while there is none, or where it is no file."""
        path = getattr(self.database, "path", None)
        return None if path is None else file_identity(path)

    def catch_up(self, wanted: Collection[EventKey] = ()) -> dict[EventKey, Decision]:
        """Apply what is new in the log. An embedded read model of an older version is made anew first."""
        with self.lock:
            if self._caught_up != self.database_identity():
                self.consumer.restart()  # the file was moved away or replaced
            try:
                return self.consumer.catch_up(wanted)
            except SchemaError as error:
                if not (self.embedded and isinstance(error.found, tuple) and error.found < error.supported):  # type: ignore[operator]
                    raise
                self._renew()
                self.consumer.restart()
                return self.consumer.catch_up(wanted)
            finally:
                self._caught_up = self.database_identity()

    def _renew(self) -> None:
        """Make an embedded read model of an older version anew, or wait while another process does."""
        _logger.info("the read model was made by an older evalkit; making it anew")
        try:
            rebuild(self.database, self.log, writer=self.writer)
        except RebuildSupersededError:
            deadline = time.monotonic() + _RENEWAL_SECONDS
            while (head := read_head(self.database)) is None or (head.schema_version, head.fold_version) != (SCHEMA_VERSION, FOLD_VERSION):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    @contextmanager
    def command(self) -> Iterator[None]:
        """Hold the lock, with a read model that is up to date; where there is nothing yet, nothing is created."""
        if self.not_writable is not None:
            way_out = "Connect without it." if self.settings.read_only else "Give another home, or ask for write access."
            raise ReadOnlyError(f"{self.not_writable}, so nothing can be appended", effect="Nothing was.", hint=way_out)
        with self.lock:
            self.holds_nothing = self._nothing_yet()
            if not self.holds_nothing:
                self._prepare()
            try:
                with readable(self.database):
                    yield
            finally:
                self.holds_nothing = False

    def make_ready(self) -> None:
        """Create the home and the tables if the command that runs found none: once its checks are done, before anything is appended."""
        if self.holds_nothing:
            self._prepare()
            self.holds_nothing = False

    def _prepare(self) -> None:
        make_home(self.settings)
        self.catch_up()
        if not self._proven:
            # Nothing was new perhaps, so nothing was written, and a token that may only read would show after the event is appended.
            self.database.batch([("UPDATE meta SET generation = generation WHERE 0", ())])
            self._proven = True

    def last_writer(self) -> tuple[str, str] | None:
        """Give who wrote the read model last, and when; None when nobody did."""
        found = self.database.execute("SELECT writer, written_at FROM positions ORDER BY written_at DESC LIMIT 1")
        return (str(found[0][0]), str(found[0][1])) if found and found[0][1] else None

    def age(self) -> str:
        """Say in words how old the read model's newest event is."""
        try:
            sql = "SELECT max((SELECT max(event_id) FROM lifecycle), coalesce((SELECT max(event_id) FROM checkpoints), ''))"
            newest = self.database.execute(sql)[0][0]
            if not newest:
                return "It holds no events."
            moment = time_of_event(str(newest))
        except (EvalkitError, IndexError, ValueError, OverflowError):
            return "It cannot be read now."
        hours = (datetime.now(UTC) - moment).total_seconds() / 3600
        return f"Its newest event is of {moment:%Y-%m-%d %H:%M} UTC, {hours:,.1f} hours ago.{self._behind()}"

    def _behind(self) -> str:
        """Say how far the read model is behind the log; nothing when that cannot be seen."""
        try:
            head = read_head(self.database)
            lag = sum(self.lag(head.positions)) if head is not None else 0
        except EvalkitError:
            return ""
        return f" It is {plural(lag, 'event')} behind the log." if lag > 0 else " It holds all that is in the log."

    def lag(self, positions: Sequence[Position]) -> tuple[int, ...]:
        """Give how many events of each partition the read model does not hold yet.

        Raises
        ------
        LogMismatchError
            When the log has another number of partitions.
        """
        ranges = self.log.ranges()
        if not any(position.next for position in positions):
            return tuple(part.end for part in ranges)
        check_count(positions, ranges)
        return tuple(part.end - position.next for position, part in zip(positions, ranges, strict=True))

    def close(self) -> None:
        """Let go of the log and the database."""
        with self.lock:
            self.log.close()
            self.database.close()
            self.consumer.restart()

    def has_tables(self) -> bool:
        """Return whether there is a read model; see `evalkit.readmodel.schema.has_tables`."""
        return has_tables(self.database)

    def check_read_model(self) -> None:
        """Refuse to answer with nothing where the log has events, but there is no read model, and this kit cannot create one.

        Raises
        ------
        DatabaseUnavailableError
            Saying how many events there are, and what to do.
        """
        if self.not_writable is None or self.has_tables() or not (events := sum(part.end for part in self.log.ranges())):
            return
        way_out = (
            "Connect without read_only=True once, or run: evalkit projection rebuild."
            if self.settings.read_only
            else "Ask somebody who can write to it to run: evalkit projection rebuild; or make a copy of your own: evalkit log export, and "
            "evalkit log import in another home."
        )
        raise DatabaseUnavailableError(
            f"The log has {plural(events, 'event')}, but there is no read model at {redacted(self.settings.database_url)}, and it cannot "
            f"be created. {self.not_writable}",
            hint=way_out,
        )

    def _check_file_system(self) -> None:
        kind = network_file_system(self.settings.home) if uses_files(self.settings) else None
        if kind is not None:
            self._warn_once(
                "network",
                f"The home {self.settings.home} is on a network file system ({kind}), where SQLite's WAL mode is not safe. Give a folder "
                "on a local disk (EVALKIT_HOME), or shared engines (EVALKIT_LOG_URL, EVALKIT_DATABASE_URL).",
            )

    def _warn_once(self, about: str, message: str | Message) -> None:
        if collects_warnings():  # who watches a kit takes no warning from the cell that comes after
            warn(message)
        elif about not in self._warned:
            self._warned.add(about)
            warn(message)

    def reset_in_child(self) -> None:
        """Go on in a forked process."""
        self.lock = threading.RLock()
        self.consumer.restart()
