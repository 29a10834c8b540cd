"""The machine under the facade: a log, a read model, and what keeps the second up to date with the first.

It decides when a home comes into being, whether it can be written, and what became of an event that was appended.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from evalkit.decoding import readable_ids
from evalkit.errors import (
    DatabaseUnavailableError,
    EvalkitError,
    InvalidInputError,
    LogIncompleteError,
    LogMismatchError,
    LogUnavailableError,
    OutcomeUnknownError,
    ReadOnlyError,
    RebuildSupersededError,
    SchemaError,
    warn,
)  # fmt: skip
from evalkit.events import StoredEvalEvent
from evalkit.ids import time_of_event
from evalkit.log.port import LogMessage, LogPosition
from evalkit.opening import local_path, open_database, open_log
from evalkit.projection.consumer import EvalProjectionConsumer
from evalkit.projection.fold import APPLIED, FOLD_VERSION, Decision, Outcome, Reason
from evalkit.projection.projection import EventKey
from evalkit.projection.rebuild import rebuild
from evalkit.projection.schema import SCHEMA_VERSION, read_head
from evalkit.settings import Settings, network_file_system, redacted
from evalkit.sqlite_files import file_identity, reset_in_child

__all__ = ["Engine"]

_logger = logging.getLogger("evalkit")

_RENEWAL_SECONDS = 300.0

_OUTCOME = """
WITH asked (id) AS MATERIALIZED (SELECT value FROM json_each(?))
SELECT event_id, 'applied', '', '' FROM asked CROSS JOIN lifecycle ON study_id = ? AND event_id = id
UNION ALL SELECT event_id, 'applied', '', '' FROM asked CROSS JOIN checkpoints c ON c.study_id = ? AND c.event_id = asked.id
UNION ALL SELECT event_id, 'rejected', reason, message FROM asked CROSS JOIN rejected ON study_id = ? AND event_id = id
  AND reason <> 'wrong partition'
UNION ALL SELECT event_id, 'quarantined', '', error FROM asked CROSS JOIN quarantined ON study_id = ? AND key = id"""


class Engine:
    """A log and its read model, opened when first needed.

    Parameters
    ----------
    settings
        Where they are.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.log = open_log(settings.log_url)
        self.lock = threading.RLock()
        """Held by a command from its checks to its outcome."""
        self.not_writable = self._why_not_writable()
        """Why nothing can be appended; None when it can."""
        self.database = open_database(settings.database_url, read_only=self.not_writable is not None)
        self.consumer = EvalProjectionConsumer(self.log, self.database)
        paths = [getattr(part, "path", None) for part in (self.log, self.database)]
        if paths[0] is not None and paths[1] is not None and paths[0].resolve() == paths[1].resolve():
            raise InvalidInputError(
                f"database_url: {paths[1]} is the event log. Give the read model a file of its own: another home, or another file:PATH.",
                field="database_url", value=redacted(settings.database_url),
            )  # fmt: skip
        self.embedded = settings.log_url.startswith("sqlite:") and settings.database_url.startswith("file:")
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
                f"There is no evalkit home yet. Looked in {', '.join(map(str, self.settings.looked_in[:6]))}. The first study makes one: "
                'kit.create_study("my study"), or give another folder: evalkit.connect(home=...)',
            )
            return False
        if self.not_writable is not None:
            self._warn_once("stale", f"{self.not_writable}; reading only. {self.age()}")
            return self._has_tables()
        try:
            self.catch_up()
        except (LogUnavailableError, LogIncompleteError, DatabaseUnavailableError) as error:
            if not self._has_tables():
                raise
            self._warn_once("stale", f"{error} Answering from the read model as it stands. {self.age()}")
        return True

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
            rebuild(self.database, self.log)
        except RebuildSupersededError:
            deadline = time.monotonic() + _RENEWAL_SECONDS
            while (head := read_head(self.database)) is None or (head.schema_version, head.fold_version) != (SCHEMA_VERSION, FOLD_VERSION):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    @contextmanager
    def command(self) -> Iterator[None]:
        """Hold the lock, with a home that can be written and a read model that is up to date."""
        if self.not_writable is not None:
            raise ReadOnlyError(
                f"{self.not_writable}, so nothing can be appended. Nothing was. Give another home, or ask for write access."
            )
        with self.lock:
            self._make_home()
            self.catch_up()
            yield

    def append(self, study_id: str, messages: Sequence[LogMessage]) -> dict[str, Decision]:
        """Append events of one study, and give what became of each, by event id.

        Raises
        ------
        OutcomeUnknownError
            When they are durable, but what became of them cannot be learnt now.
        """
        positions = self.log.append(messages)
        return self.outcomes(study_id, messages, positions)

    def outcomes(self, study_id: str, messages: Sequence[LogMessage], positions: Sequence[LogPosition] = ()) -> dict[str, Decision]:
        """Give what became of appended events of one study, by event id.

        Raises
        ------
        OutcomeUnknownError
            When the read model cannot be brought that far.
        """
        event_ids = [message.event_id for message in messages]
        try:
            found = self.catch_up({(study_id, event_id) for event_id in event_ids})
            decided = {event_id: decision for (_, event_id), decision in found.items()}
            # What is a duplicate, or not among them, was decided before this call: by another process, or by an earlier one.
            missing = [event_id for event_id in event_ids if event_id not in decided or decided[event_id].outcome is Outcome.DUPLICATE]
            if missing:
                for event_id, outcome, reason, message in self.database.execute(_OUTCOME, (json.dumps(missing), *[study_id] * 4)):
                    known = Decision(Outcome(str(outcome)), Reason(str(reason)) if reason else None, str(message))
                    decided[str(event_id)] = APPLIED if known.outcome is Outcome.APPLIED else known
            if len(decided) < len(event_ids):
                raise EvalkitError("the read model does not hold them.")
        except EvalkitError as error:
            unknown = OutcomeUnknownError(
                f"{len(messages)} event(s) are durable in the log, the first with the id {event_ids[0]}, but what became of them cannot be "
                f"learnt now: {error} Do not repeat the command. Ask again with kit.outcome(error).",
                study_id=study_id, event_ids=event_ids, positions=list(positions),
            )  # fmt: skip
            unknown.driver_message = error.driver_message
            raise unknown from None
        return decided

    def message_at(self, position: LogPosition, event_id: str) -> LogMessage:
        """Read an event of one's own back from the log.

        Raises
        ------
        LogMismatchError
            When another event stands there, or none.
        """
        consumer = self.log.consumer("eval-projection")
        for partition, (_, end) in enumerate(self.log.ranges()):
            consumer.seek(partition, position.offset if partition == position.partition else end)
        for record in consumer.poll(1, 0):
            if (record.partition, record.offset) == position and readable_ids(record.data)[1] == event_id:
                stored = StoredEvalEvent.from_wire(record.data)
                return LogMessage(stored.study_id, stored.event_id, record.data)
        raise LogMismatchError(
            f"The log does not hold the event {event_id} at offset {position.offset} of partition {position.partition}: it is another log "
            "than the one that the command was given to, or it lost its end. Ask a kit of that home.",
            partition=position.partition,
        )

    def age(self) -> str:
        """Say in words how old the read model's newest event is."""
        try:
            sql = "SELECT max((SELECT max(event_id) FROM lifecycle), coalesce((SELECT max(event_id) FROM checkpoints), ''))"
            newest = self.database.execute(sql)[0][0]
        except (EvalkitError, IndexError):
            return "It cannot be read now."
        if not newest:
            return "It holds no events."
        moment = time_of_event(str(newest))
        hours = (datetime.now(UTC) - moment).total_seconds() / 3600
        return f"Its newest event is of {moment:%Y-%m-%d %H:%M} UTC, {hours:,.1f} hours ago."

    def close(self) -> None:
        """Let go of the log and the database."""
        with self.lock:
            self.log.close()
            self.database.close()
            self.consumer.restart()

    def _has_tables(self) -> bool:
        return bool(self.database.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'"))

    def _why_not_writable(self) -> str | None:
        home = self.settings.home
        for url, scheme in ((self.settings.log_url, "sqlite:"), (self.settings.database_url, "file:")):
            path = local_path(url.removeprefix(scheme))
            if url.startswith(scheme) and path.exists() and not os.access(path, os.W_OK):
                return f"{path} is not writable"
            if url.startswith(scheme) and path.parent.exists() and not os.access(path.parent, os.W_OK | os.X_OK):
                return f"The folder {path.parent} is not writable"
        if not home.exists() and not os.access(_nearest_existing(home), os.W_OK | os.X_OK):
            return f"The home {home} does not exist, and cannot be made"
        return None

    def _make_home(self) -> None:
        home = self.settings.home
        if home.exists() or not self.embedded:
            return
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            (home / ".gitignore").write_text("*\n")
        except OSError as error:
            raise LogUnavailableError(f"The home {home} cannot be made: {error.strerror}. Nothing was appended.") from None

    def _check_file_system(self) -> None:
        kind = network_file_system(self.settings.home) if self.embedded else None
        if kind is not None:
            self._warn_once(
                "network",
                f"The home {self.settings.home} is on a network file system ({kind}), where SQLite's WAL mode is not safe. Give a folder "
                "on a local disk (EVALKIT_HOME), or shared engines (EVALKIT_LOG_URL, EVALKIT_DATABASE_URL).",
            )

    def _warn_once(self, about: str, message: str) -> None:
        if about not in self._warned:
            self._warned.add(about)
            warn(message)

    def reset_in_child(self) -> None:
        """Go on in a forked process."""
        self.lock = threading.RLock()
        self.consumer.restart()


def _nearest_existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())
