"""Every error that evalkit raises, with one base class.

::

    EvalkitError
    ├── InvalidInputError (ValueError)      a command or query got an invalid value
    ├── StudyNotFoundError (LookupError)    no study matches a reference
    ├── AmbiguousStudyError (LookupError)   more than one study matches a reference
    ├── StudyExistsError (ValueError)       create_study with a name that is taken
    ├── TransitionError (ValueError)        not allowed in the study's current status
    ├── ConflictError                       a concurrent event took precedence; this one had no effect
    ├── OutcomeUnknownError (TimeoutError)  appended, but the effect is not known yet: do not repeat
    ├── ReadOnlyError (PermissionError)     this kit can read, but not append
    ├── RecorderError (RuntimeError)        a recorder is used out of order, or cannot write its journal
    ├── MissingExtraError (ImportError)     an optional part needs packages that are not installed
    ├── LogError
    │   ├── LogUnavailableError (OSError)   unreachable, full or not writable
    │   ├── LogDamagedError                 not an evalkit log, or corrupt
    │   └── LogMismatchError                another log, or one whose newest events were lost
    │       └── LogIncompleteError          its first events were deleted
    └── DatabaseError
        ├── DatabaseUnavailableError (OSError)
        ├── DatabaseBusyError (TimeoutError)
        ├── DatabaseDamagedError
        ├── RebuildSupersededError          another rebuild started, and this one stopped
        └── SchemaError                     written by another version of evalkit

Each error has a `Message` with the problem, the allowed values, the effect on the data and the next step, for Python and for a shell.
Only `Message` composes the text from these parts. The invalid values are attributes of the error. After a failure of a driver,
`driver_message` is the driver's text, with secrets removed. A warning is an `EvalkitWarning`, which has a `Message` too.
"""

from __future__ import annotations

import copy
import copyreg
import sys
import warnings
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from evalkit.domain.study import Checkpoint
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
    "collect_warnings",
    "collects_warnings",
    "warn",
]


@dataclass(frozen=True, kw_only=True)
class Message:
    """The text of an error, a warning or a status, in parts.

    Examples
    --------
    >>> message = Message(problem="The study 'x' is running", hint="Next: kit.stop_study('x')", shell_hint="Next: evalkit study stop x")
    >>> print(message)
    The study 'x' is running. Next: kit.stop_study('x')
    >>> print(message.in_shell())
    The study 'x' is running. Next: evalkit study stop x
    """

    problem: str
    """The problem, including the invalid value."""
    where: str = ""
    """The place in a file or frame, written before the problem: ``row 3:``."""
    allowed: str = ""
    """The allowed values."""
    effect: str = ""
    """The effect on the data: ``Nothing was appended.``"""
    hint: str = ""
    """The next step, in Python."""
    shell_hint: str = ""
    """The next step, in a shell; empty when it is the same."""

    def __str__(self) -> str:
        return self._with(self.hint)

    def in_shell(self) -> str:
        """Return the text with the next step for a shell.

        Examples
        --------
        >>> Message(problem="The study is pending", hint="Call kit.start_study().", shell_hint="Run evalkit study start.").in_shell()
        'The study is pending. Run evalkit study start.'
        """
        return self._with(self.shell_hint or self.hint)

    def _with(self, step: str) -> str:
        problem = f"{self.where}{self.problem}" + (f"; {self.allowed}" if self.allowed else "")
        end = "" if problem.endswith((".", "?", "!")) else "."
        return " ".join(part for part in (problem + end, self.effect, step) if part)


class EvalkitError(Exception):
    """Base class of all errors of evalkit.

    Parameters
    ----------
    problem
        The problem, including the invalid value; or a complete `Message`.
    allowed, effect, hint, shell_hint
        See `Message`.
    driver_message
        The text of the database or log driver, with secrets removed; None when no driver failed.
    values
        The invalid values; each becomes an attribute of the error.

    Examples
    --------
    >>> import tempfile, evalkit
    >>> kit = evalkit.connect(tempfile.mkdtemp())
    >>> try:
    ...     kit.create_study("nightly", period="dayly")
    ... except evalkit.EvalkitError as error:
    ...     print(error.message.hint)
    Did you mean 'daily'?
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
        message = problem if isinstance(problem, Message) else Message(problem=problem)
        parts = {"allowed": allowed, "effect": effect, "hint": hint, "shell_hint": shell_hint}
        self.message = replace(message, **{name: part for name, part in parts.items() if part})
        """The text, in parts."""
        self.args = (str(self.message),)
        self.driver_message = driver_message
        vars(self).update(values)

    def __str__(self) -> str:
        return str(self.message)

    def but(self, **parts: str) -> Self:
        """Return a copy of the error with some parts of its message replaced.

        Examples
        --------
        >>> print(EvalkitError("The disk is full", hint="Delete files.").but(effect="Nothing was recorded."))
        The disk is full. Nothing was recorded. Delete files.
        """
        other = copy.copy(self)
        other.message = replace(self.message, **parts)
        other.args = (str(other.message),)
        return other

    def __reduce__(self) -> tuple[object, ...]:
        """Copy and pickle the attributes; the text is not composed again."""
        return copyreg.__newobj__, (type(self),), {**vars(self), "args": self.args}  # type: ignore[attr-defined]


class InvalidInputError(EvalkitError, ValueError):
    """A command or query got an invalid value. Nothing was appended."""

    field: str
    """The name of the parameter, key or column."""
    value: object
    """The value as passed."""
    row: int | None = None
    """The row of a frame or list, counted from 0; None for a single value."""

    def in_row(self, row: int, *, effect: str = "") -> Self:
        """Return a copy of the error with the row of the invalid value in a frame or list.

        Examples
        --------
        >>> error = InvalidInputError("Invalid total_cost -1", field="total_cost", value=-1).in_row(3)
        >>> print(error, error.row)
        row 3: Invalid total_cost -1. 3
        """
        other = self.but(where=f"row {row}: ", effect=effect)
        other.row = row
        return other


class StudyNotFoundError(EvalkitError, LookupError):
    """No study matches a reference."""

    reference: object


class AmbiguousStudyError(EvalkitError, LookupError):
    """More than one study matches a reference."""

    reference: object
    candidates: list[str]
    """The ids of the matching studies."""


class StudyExistsError(EvalkitError, ValueError):
    """`create_study` or `rename_study` was called with the name of an existing study."""

    name: str
    study_ids: list[str]


class TransitionError(EvalkitError, ValueError):
    """A command is not allowed in the study's current status. Nothing was appended."""

    study_id: str
    status: str
    command: str


class ConflictError(EvalkitError):
    """A concurrent or earlier event took precedence, so this command had no effect."""

    study_id: str
    event_id: str | None = None
    """The event of this command, or None when nothing was appended."""
    reason: str
    row: int | None = None
    """The row of a frame or list, counted from 0; None for a single checkpoint, or after the append."""
    checkpoint: Checkpoint | None = None
    """The latest version of the checkpoint that was amended or retracted meanwhile, or whose key was used; None for other conflicts."""
    changes: Mapping[str, object] = MappingProxyType({})
    """The values that amendments of a checkpoint set meanwhile, by name; None for a withdrawn metric."""
    explanation: str | None = None
    """The reason that the author of the last amendment, or of the retraction, gave."""
    author: str | None = None
    """The author of the last amendment, or of the retraction."""


class OutcomeUnknownError(EvalkitError, TimeoutError):
    """The events are durable in the log, but their effect could not be read.

    Do not repeat the command; ``kit.outcome(error)`` reads the effect again.
    """

    study_id: str
    event_ids: list[str]
    positions: list[LogPosition]


class ReadOnlyError(EvalkitError, PermissionError):
    """The kit can read but not append. Nothing was appended."""


class RecorderError(EvalkitError, RuntimeError):
    """A recorder is used out of order, cannot start, or cannot write its journal.

    It cannot start while another recorder of the study is active, or when an interrupted recorder left a journal and `resume` is not set.
    """

    path: str | None = None
    """The path of the journal."""


class MissingExtraError(EvalkitError, ImportError):
    """An optional part of evalkit needs packages that are not installed.

    The message has the command that installs them.
    """

    extra: str


class LogError(EvalkitError):
    """The event log cannot be used."""

    positions: Sequence[LogPosition | None] = ()
    """The position of each event after an append that failed between two chunks; None for events that were not appended."""


class LogUnavailableError(LogError, OSError):
    """The event log is unreachable, full or not writable."""


class LogDamagedError(LogError):
    """The file is not an evalkit event log, or it is corrupt. It was not changed."""


class LogMismatchError(LogError):
    """The read model was built from another log, or from events that the log has lost."""

    partition: int


class LogIncompleteError(LogMismatchError):
    """The log no longer contains its first events.

    No complete read model can be built from it.
    """


class DatabaseError(EvalkitError):
    """The read model cannot be used."""


class DatabaseUnavailableError(DatabaseError, OSError):
    """The read model's database is unreachable, full or not writable."""


class DatabaseBusyError(DatabaseError, TimeoutError):
    """The database stayed locked by other processes for longer than evalkit waits."""


class DatabaseDamagedError(DatabaseError):
    """The read model is not a database, is corrupt, or was changed by another program.

    It can be rebuilt from the log.
    """

    table: str | None = None
    """The table of the row that another program wrote; None when the damage is not in a single row."""
    key: tuple[object, ...] = ()
    """The values of the row's primary key."""
    column: str | None = None
    value: object = None


class RebuildSupersededError(DatabaseError):
    """Another rebuild of the same read model started; this one stopped without changes."""


class SchemaError(DatabaseError):
    """The database was written by another version of evalkit, or by another program."""

    actual: object
    """The versions of schema and fold in the database, or its tables."""
    supported: object
    """The versions or tables that this version of evalkit supports."""


class EvalkitWarning(UserWarning):
    """A warning that evalkit issues.

    Parameters
    ----------
    message
        The text, or its parts.

    Examples
    --------
    >>> str(EvalkitWarning(Message(problem="The period is repeated", hint="Use a key.")))
    'The period is repeated. Use a key.'
    """

    def __init__(self, message: str | Message) -> None:
        super().__init__(message)
        self.message = message if isinstance(message, Message) else Message(problem=message)

    def __str__(self) -> str:
        return str(self.message)


_listener: ContextVar[Callable[[str], None] | None] = ContextVar("evalkit_listener", default=None)


@contextmanager
def collect_warnings(listener: Callable[[str], None]) -> Iterator[None]:
    """Pass the warnings of a block to a function instead of showing them.

    Only warnings of the current thread are passed, unlike with `warnings.catch_warnings`.

    Examples
    --------
    >>> messages = []
    >>> with collect_warnings(messages.append):
    ...     warn("The period is repeated")
    >>> messages
    ['The period is repeated.']
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def collects_warnings() -> bool:
    """Return whether warnings of the current thread are passed to a function."""
    return _listener.get() is not None


def warn(message: str | Message) -> None:
    """Issue an `EvalkitWarning` that points to the calling line outside evalkit."""
    message = message if isinstance(message, Message) else Message(problem=message)
    listener = _listener.get()
    if listener is not None:
        listener(str(message))
        return
    depth, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("evalkit", "contextlib"):
        depth, frame = depth + 1, frame.f_back
    warnings.warn(EvalkitWarning(message), stacklevel=depth + 1)
