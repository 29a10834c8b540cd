"""The status of a kit: its log, its read model and their problems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

from evalkit._util.engine_report import EngineReport
from evalkit.domain.ids import time_of_event
from evalkit.domain.times import stored_time, wire_time
from evalkit.errors import EvalkitError, Message
from evalkit.readmodel.log_identity import check_complete, check_identity
from evalkit.readmodel.rows import readable
from evalkit.readmodel.schema import Head, read_head
from evalkit.runtime.connections import uses_files
from evalkit.settings import network_file_system, no_home, redacted

if TYPE_CHECKING:
    from evalkit.runtime.engine import Engine

__all__ = ["Status", "read_status"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Status:
    """The location and state of the log and the read model, and their problems.

    None means that a value is unknown.

    Examples
    --------
    >>> import tempfile, evalkit
    >>> status = evalkit.connect(tempfile.mkdtemp()).status()
    >>> status.file_system, status.studies
    ('local', None)
    """

    home: str
    file_system: str
    """``local``, or the type of the home's network file system; ``unused`` if log and read model are on servers."""
    log_url: str
    log_engine: str | None
    """The engine of the log and its version."""
    log_details: tuple[str, ...]
    """The configuration of the log."""
    database_url: str
    database_engine: str | None
    """The engine of the read model and its version."""
    events: int | None
    """The number of events in the log, in all partitions."""
    lag: int | None
    """The number of events that are not in the read model yet."""
    lag_by_partition: tuple[int, ...] | None
    studies: int | None
    checkpoints: int | None
    applied: int | None
    """The number of events that had an effect."""
    rejected: int | None
    """The number of valid events without an effect, see ``kit.rejected()``."""
    quarantined: int | None
    """The number of records that are not valid events."""
    last_event_at: str | None
    """The time of the newest event that was applied, RFC 3339 UTC."""
    last_writer: str | None
    """The last process that updated the read model: role, host and process id."""
    last_written_at: str | None
    """The time of the last update, by the clock of the writer's host, RFC 3339 UTC."""
    generation: int | None
    """The generation of the read model; each rebuild adds 1."""
    schema_version: int | None
    fold_version: int | None
    messages: tuple[Message, ...]
    """The problems, each with the next step."""

    def __repr__(self) -> str:
        return self._text(self.problems)

    @property
    def problems(self) -> tuple[str, ...]:
        """The problems, as text."""
        return tuple(map(str, self.messages))

    def in_shell(self) -> str:
        """Return the text of the status, with the next steps for a shell.

        Examples
        --------
        >>> import evalkit, tempfile
        >>> print(evalkit.connect(tempfile.mkdtemp()).status().in_shell().splitlines()[1])
        file_system       local
        """
        return self._text([message.in_shell() for message in self.messages])

    def _text(self, problems: Sequence[str]) -> str:
        width = max(len(field.name) for field in fields(self))
        lines = [f"{field.name:<{width}}  {_shown(getattr(self, field.name))}" for field in fields(self) if field.name != "messages"]
        return "\n".join([*lines, *(f"{'problem':<{width}}  {problem}" for problem in problems)])

    def as_dict(self) -> dict[str, object]:
        """Return all values by name, as JSON types.

        Examples
        --------
        >>> import evalkit, tempfile
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.create_study("nightly")
        >>> kit.status().as_dict()["events"]
        1
        """
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "messages"}
        return {**values, "problems": [message.in_shell() for message in self.messages]}


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "-"
    return "unknown" if value is None else str(value)


def read_status(engine: Engine) -> Status:
    """Return the status of an engine, without changing anything. Errors become `problems`.

    If a temporary read model is in use, the status is that of it, and the reason is a problem.
    """
    problems: list[Message] = []

    def attempt(read: Callable[[], _T]) -> _T | None:
        try:
            with readable(engine.database):
                return read()
        except EvalkitError as error:
            problems.append(error.message)
            return None

    temporary = attempt(engine.read_through_temporary) if engine.exists else None
    if temporary is not None:
        problems.append(temporary)
    elif engine.not_writable is not None and not engine.settings.read_only:
        problems.append(Message(problem=engine.read_only_problem()))
    log: EngineReport | None = None
    database: EngineReport | None = None
    events = lag = counts = head = written = None
    kind = network_file_system(engine.settings.home) if uses_files(engine.settings) else None
    if kind is not None:
        problem = f"The home is on a network file system ({kind}), where SQLite's WAL mode is not safe"
        problems.append(Message(problem=problem, hint="Use a folder on a local disk, or shared servers."))
    if engine.exists:
        log, database = attempt(engine.log.describe), attempt(engine.database.describe)
        reported = [*(log.problems if log is not None else ()), *(database.problems if database is not None else ())]
        problems += [Message(problem=problem) for problem in reported]
        head_result = attempt(lambda: (read_head(engine.database),))
        head = head_result[0] if head_result is not None else None
        ranges = attempt(engine.log.ranges)
        events = None if ranges is None else sum(part.end - part.first for part in ranges)
        if ranges is not None:
            attempt(lambda: check_complete(ranges))
        if head is not None:
            if head.is_current:
                counts, written = attempt(lambda: _counts(engine)), attempt(engine.last_writer)
                if ranges is not None:
                    lag = attempt(lambda: _verified_lag(engine, head))
            else:
                problem = (
                    "The read model was created by an older version of evalkit "
                    f"(schema {head.schema_version}, projection {head.fold_version})"
                )
                problems.append(
                    Message(
                        problem=problem, hint="Rebuild it with kit.rebuild().", shell_hint="Rebuild it with: evalkit projection rebuild"
                    )
                )
        elif ranges is not None and head_result is not None:
            lag = tuple(part.end for part in ranges)
            attempt(engine.check_read_model)
    else:
        problems.append(no_home(engine.settings))
    newest = counts["newest"] if counts else None
    return Status(
        home=str(engine.settings.home),
        file_system=kind or ("local" if uses_files(engine.settings) else "unused"),
        log_url=redacted(engine.settings.log_url),
        log_engine=_named(log),
        log_details=log.details if log is not None else (),
        database_url=redacted(engine.settings.database_url),
        database_engine=_named(database),
        events=events,
        lag=None if lag is None else sum(lag),
        lag_by_partition=lag,
        **{
            name: None if counts is None else int(counts[name]) for name in ("studies", "checkpoints", "applied", "rejected", "quarantined")
        },
        last_event_at=newest,
        last_writer=written[0] if written else None,
        last_written_at=written[1] if written else None,
        generation=None if head is None else head.generation,
        schema_version=None if head is None else head.schema_version,
        fold_version=None if head is None else head.fold_version,
        messages=tuple(dict.fromkeys(problems)),
    )


def _named(report: EngineReport | None) -> str | None:
    return None if report is None else f"{report.engine} {report.version}".strip()


def _verified_lag(engine: Engine, head: Head) -> tuple[int, ...]:
    """Return the lag of the read model by partition.

    Raises
    ------
    LogMismatchError
        When the read model was built from another log.
    """
    if any(position.next for position in head.positions):
        check_identity(engine.log, head.positions)
    return engine.lag(head.positions)


def _counts(engine: Engine) -> dict[str, Any]:
    sql = (
        "SELECT (SELECT count(*) FROM studies), (SELECT count(*) FROM checkpoints), (SELECT count(*) FROM lifecycle), "
        "(SELECT count(*) FROM changes), "
        "(SELECT count(*) FROM rejected), (SELECT count(*) FROM quarantined), "
        "max(coalesce((SELECT max(event_id) FROM lifecycle), ''), coalesce((SELECT max(event_id) FROM checkpoints), ''), "
        "coalesce((SELECT max(event_id) FROM changes), ''))"
    )
    ((studies, checkpoints, lifecycle, changes, rejected, quarantined, newest),) = engine.database.execute(sql)
    applied = sum(int(str(count)) for count in (checkpoints, lifecycle, changes))
    return {
        "studies": studies, "checkpoints": checkpoints, "applied": applied, "rejected": rejected,
        "quarantined": quarantined, "newest": stored_time(wire_time(time_of_event(str(newest)))) if newest else None,
    }  # fmt: skip
