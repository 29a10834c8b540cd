"""Every error that evalkit raises, under one base.

::

    EvalkitError
    ├── InvalidInputError (ValueError)      a value that a command or query refuses
    ├── StudyNotFoundError (LookupError)    no study matches this reference
    ├── AmbiguousStudyError (LookupError)   more than one study does
    ├── StudyExistsError (ValueError)       create_study with a name that is taken
    ├── TransitionError (ValueError)        not legal in the study's present status
    ├── ConflictError                       another event won; this one changed nothing
    ├── OutcomeUnknownError (TimeoutError)  appended, but not yet decided: do not repeat
    ├── ReadOnlyError (PermissionError)     this kit may read, but not append
    ├── RecorderError (RuntimeError)        a recorder is used out of turn, or cannot keep its journal
    ├── MissingExtraError (ImportError)     a part of evalkit that needs packages which are not installed
    ├── LogError
    │   ├── LogUnavailableError (OSError)   out of reach, full, not writable
    │   ├── LogDamagedError                 the file is no evalkit log, or broken
    │   └── LogMismatchError                another log, or one that lost its end
    │       └── LogIncompleteError          its beginning is gone
    └── DatabaseError
        ├── DatabaseUnavailableError (OSError)
        ├── DatabaseBusyError (TimeoutError)
        ├── DatabaseDamagedError
        ├── RebuildSupersededError          another rebuild began, this one gave way
        └── SchemaError                     made by another version of evalkit

An error is data: its `Message` holds the problem, what is allowed, what became of the data and the next step, for Python and for a
shell; the text is composed from them here alone. The offending values are attributes. Where a driver failed, `driver_message`
holds its words, with secrets removed. A warning is an `EvalkitWarning` with a `Message` too.
"""

from __future__ import annotations

import copy
import copyreg
import sys
import warnings
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from evalkit.eventlog.event_log import LogPosition

__all__ = [
    "AmbiguousStudyError",
    "ConflictError",
    "DatabaseBusyError",
    "DatabaseDamagedError",
    "DatabaseError",
    "DatabaseUnavailableError",
    "EvalkitError",
    "EvalkitWarning",
    "InvalidInputError",
    "LogDamagedError",
    "LogError",
    "LogIncompleteError",
    "LogMismatchError",
    "LogUnavailableError",
    "Message",
    "MissingExtraError",
    "OutcomeUnknownError",
    "ReadOnlyError",
    "RebuildSupersededError",
    "RecorderError",
    "SchemaError",
    "StudyExistsError",
    "StudyNotFoundError",
    "TransitionError",
    "is_told",
    "told_warnings",
    "warn",
]


@dataclass(frozen=True, kw_only=True)
class Message:
    """What an error, a warning or a status says, in parts.

    Examples
    --------
    >>> message = Message(problem="The study 'x' is running", hint="Next: kit.stop_study('x')", shell_hint="Next: evalkit study stop x")
    >>> print(message)
    The study 'x' is running. Next: kit.stop_study('x')
    >>> print(message.in_shell())
    The study 'x' is running. Next: evalkit study stop x
    """

    problem: str
    """What is wrong, with which value."""
    where: str = ""
    """Where in a file or frame, written before the problem: ``row 3, ``."""
    allowed: str = ""
    """What would be right."""
    effect: str = ""
    """What became of the data: ``Nothing was appended.``"""
    hint: str = ""
    """The next step, for Python."""
    shell_hint: str = ""
    """The next step, for a shell; empty where it is the same."""

    def __str__(self) -> str:
        return self._with(self.hint)

    def in_shell(self) -> str:
        """Return the text with the next step as it is typed in a shell."""
        return self._with(self.shell_hint or self.hint)

    def _with(self, step: str) -> str:
        problem = f"{self.where}{self.problem}" + (f"; {self.allowed}" if self.allowed else "")
        end = "" if problem.endswith((".", "?", "!")) else "."
        return " ".join(part for part in (problem + end, self.effect, step) if part)


class EvalkitError(Exception):
    """Base of every error of evalkit.

    Parameters
    ----------
    problem
        What is wrong, with which value; or a whole `Message`.
    allowed, effect, hint, shell_hint
        See `Message`.
    driver_message
        What the database or log driver said, secrets removed; None when no driver was involved.
    values
        The offending values; each becomes an attribute of the error.
    """

    driver_message: str | None = None

    def __init__(
        self,
        problem: str | Message,
        *,
        allowed: str = "",
        effect: str = "",
        hint: str = "",
        shell_hint: str = "",
        driver_message: str | None = None,
        **values: object,
    ) -> None:
        super().__init__()
        given = problem if isinstance(problem, Message) else Message(problem=problem)
        parts = {"allowed": allowed, "effect": effect, "hint": hint, "shell_hint": shell_hint}
        self.message = replace(given, **{name: part for name, part in parts.items() if part})
        """What it says, in parts."""
        self.args = (str(self.message),)
        self.driver_message = driver_message
        vars(self).update(values)

    def __str__(self) -> str:
        return str(self.message)

    def but(self, **parts: str) -> Self:
        """Return the same error with other parts of its message."""
        other = copy.copy(self)
        other.message = replace(self.message, **parts)
        other.args = (str(other.message),)
        return other

    def __reduce__(self) -> tuple[object, ...]:
        """Copy and pickle what it holds, and compose no text again."""
        return copyreg.__newobj__, (type(self),), {**vars(self), "args": self.args}  # type: ignore[attr-defined]


class InvalidInputError(EvalkitError, ValueError):
    """A value that a command or a query refuses. Nothing was appended."""

    field: str
    """The name of the parameter, key or column."""
    value: object
    """The value as given."""
    row: int | None = None
    """The row of a frame or list, counted from 0; None for a single value."""

    def in_row(self, row: int, *, effect: str = "") -> Self:
        """Return the same error, of a row of a frame or list."""
        other = self.but(where=f"row {row}, ", effect=effect)
        other.row = row
        return other


class StudyNotFoundError(EvalkitError, LookupError):
    """No study matches a reference."""

    reference: object


class AmbiguousStudyError(EvalkitError, LookupError):
    """More than one study matches a reference."""

    reference: object
    candidates: list[str]
    """The ids of the studies that do."""


class StudyExistsError(EvalkitError, ValueError):
    """`create_study` was given a name that a study already has."""

    name: str
    study_ids: list[str]


class TransitionError(EvalkitError, ValueError):
    """A command that is not legal in the study's present status. Nothing was appended."""

    study_id: str
    status: str
    command: str


class ConflictError(EvalkitError):
    """The log holds another event that excludes this one, which therefore changed nothing."""

    study_id: str
    event_id: str | None = None
    """The event of this command, or None when nothing was appended."""
    reason: str


class OutcomeUnknownError(EvalkitError, TimeoutError):
    """The events are durable in the log, but it could not be learnt what they did. Do not repeat the command.

    ``kit.outcome(error)`` asks again.
    """

    study_id: str
    event_ids: list[str]
    positions: list[LogPosition]


class ReadOnlyError(EvalkitError, PermissionError):
    """The kit can read but not append. Nothing was appended."""


class RecorderError(EvalkitError, RuntimeError):
    """A recorder is used out of turn, another one is at work, or an earlier one left a journal to decide about."""

    path: str | None = None
    """The journal."""


class MissingExtraError(EvalkitError, ImportError):
    """A part of evalkit needs packages that are not installed; the message has the line that installs them."""

    extra: str


class LogError(EvalkitError):
    """The event log cannot serve."""

    positions: Sequence[LogPosition | None] = ()
    """Where an append failed between two chunks: where each event stands, None for those that were not appended."""


class LogUnavailableError(LogError, OSError):
    """The event log is out of reach, full or not writable."""


class LogDamagedError(LogError):
    """The file is not an evalkit event log, or it is broken. It was left as it is."""


class LogMismatchError(LogError):
    """The log is not the one that the read model was made from, or it lost events that the read model holds."""

    partition: int


class LogIncompleteError(LogMismatchError):
    """The log no longer holds its first events, so nothing that holds everything can be made from it."""


class DatabaseError(EvalkitError):
    """The read model cannot serve."""


class DatabaseUnavailableError(DatabaseError, OSError):
    """The read model's database is out of reach, full or not writable."""


class DatabaseBusyError(DatabaseError, TimeoutError):
    """The database stayed locked by other processes for longer than evalkit waits."""


class DatabaseDamagedError(DatabaseError):
    """The read model is not a database, broken, or changed by another program. It was left as it is; it can be rebuilt from the log."""

    table: str | None = None
    """The table of the row that another program wrote; None when it is no single row."""
    key: tuple[object, ...] = ()
    """The values of the row's primary key."""
    column: str | None = None
    value: object = None


class RebuildSupersededError(DatabaseError):
    """Another rebuild of the same read model began, and this one gave way. Nothing was changed by it."""


class SchemaError(DatabaseError):
    """The database was made by another version of evalkit, or by another program."""

    found: object
    supported: object


class EvalkitWarning(UserWarning):
    """Something a researcher should know, that stops nothing.

    Parameters
    ----------
    message
        What it says.
    """

    def __init__(self, message: str | Message) -> None:
        super().__init__(message)
        self.message = message if isinstance(message, Message) else Message(problem=message)

    def __str__(self) -> str:
        return str(self.message)


_listener: ContextVar[Callable[[str], None] | None] = ContextVar("evalkit_listener", default=None)


@contextmanager
def told_warnings(listener: Callable[[str], None]) -> Iterator[None]:
    """Have the warnings of a block told to a function, and not shown: those of this thread alone, unlike `warnings.catch_warnings`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def is_told() -> bool:
    """Whether a function is told of the warnings of this thread."""
    return _listener.get() is not None


def warn(message: str | Message) -> None:
    """Warn with an `EvalkitWarning` that points to the line outside evalkit which led here."""
    message = message if isinstance(message, Message) else Message(problem=message)
    listener = _listener.get()
    if listener is not None:
        listener(str(message))
        return
    depth, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("evalkit", "contextlib"):
        depth, frame = depth + 1, frame.f_back
    warnings.warn(EvalkitWarning(message), stacklevel=depth + 1)
