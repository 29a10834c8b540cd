"""The registry of sources, and sessions read from a location such as ``inspect:./logs``."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import polars as pl

from evalkit._util.progress_bar import progress_bar
from evalkit._util.text import plural
from evalkit.collect.labels import LabelFunction, read_labels, with_labels
from evalkit.collect.log_files import read_files
from evalkit.collect.prices import Prices, read_prices, with_prices
from evalkit.collect.session_frame import checked_sessions, distinct_sessions
from evalkit.collect.source import FileSource, FunctionSource, Problems, Source, checked_options, missing_location
from evalkit.domain.refusals import invalid, unknown_name
from evalkit.errors import EvalkitError, InvalidInputError, Message, warn
from evalkit.settings import reachable

__all__ = [
    "Reading",
    "SourceReference",
    "known_sources",
    "parse_location",
    "read_location",
    "read_sessions",
    "register_source",
    "source_named",
]

_registered: dict[str, FunctionSource] = {}
_ENTRY_POINTS = "evalkit.sources"
_SHOWN = 5
_MANY = 100
"""The number of files from which on a progress bar is shown."""


@dataclass(frozen=True)
class SourceReference:
    """A source and where its logs are."""

    source: Source
    path: Path
    is_default: bool
    """Whether the location has no path, so that it is the default of the source."""

    @property
    def text(self) -> str:
        """The location as text, valid in any working directory."""
        return f"{self.source.name}:" if self.is_default and self.path.is_absolute() else f"{self.source.name}:{portable(self.path)}"

    @property
    def retention_days(self) -> float | None:
        """After how many days the logs are deleted; None if they are kept."""
        source = self.source
        return source.retention_days(self.path) if isinstance(source, FileSource) and source.retention_days is not None else None

    @property
    def shortest_grace(self) -> timedelta:
        """The time after which a session is over."""
        return self.source.shortest_grace if isinstance(self.source, FileSource) else timedelta(0)


@dataclass(frozen=True)
class Reading:
    """The sessions of a location, and what could not be read."""

    sessions: pl.DataFrame
    problems: Problems
    files: int | None
    """The number of files; None if the source does not count them."""
    changed: int | None
    """The number of files that were read now; the others have not changed since the last time."""
    store: Callable[[Path], None] | None = None
    """Write the file that the next time takes as `cache`; None if the source has no cache."""


def has_default(name: str) -> bool:
    """Return whether a source has a default location, the same in any working directory.

    Examples
    --------
    >>> has_default("claude-code"), has_default("records")
    (True, False)
    """
    source = _built_in().get(name)  # others have no default
    return isinstance(source, FileSource) and source.default_location is not None and source.default_location().is_absolute()


def portable(path: Path) -> str:
    """Return a path that is valid in any working directory.

    One in the home folder of the user begins with ``~``.
    """
    absolute = path.expanduser().absolute()
    home = Path("~").expanduser()
    return f"~/{absolute.relative_to(home).as_posix()}" if absolute.is_relative_to(home) else str(absolute)


def register_source(
    name: str, read: Callable[..., pl.DataFrame], *, title: str | None = None, options: Mapping[str, str] | None = None
) -> None:
    """Add a kind of logs, so that ``name:path`` can be collected.

    A package can register sources for the command line too, as entry points of the group ``evalkit.sources`` whose objects are such
    functions.

    Parameters
    ----------
    name
        The name in locations: lowercase letters, digits and hyphens.
    read
        A function of a `pathlib.Path` that returns a Polars or pandas DataFrame of sessions; see `evalkit.collect.checked_sessions`. The
        options are passed as keyword arguments.
    title
        The name of the format in messages; by default the name.
    options
        The names of the options, with their descriptions; by default the parameters of the function.

    Raises
    ------
    InvalidInputError
        If the name is invalid, or that of a source of evalkit.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> def read(path):
    ...     return pl.DataFrame({"session_id": ["a"], "outcome": ["success"], "ended_at": [datetime(2026, 1, 31, tzinfo=UTC)]})
    >>> register_source("nightly", read)
    >>> read_sessions("nightly:.")["session_id"].to_list()
    ['a']
    """
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9-]{0,49}", name):
        raise invalid("name", name, "expected a lowercase letter, then up to 49 lowercase letters, digits and hyphens")
    if name in _built_in():
        raise invalid("name", name, "this is a source of evalkit", hint="Choose another name.")
    if not callable(read):
        raise invalid("read", read, "expected a function that returns a DataFrame of sessions")
    declared = _options_of(read) if options is None else dict(options)
    _registered[name] = FunctionSource(name=name, title=title or name, read=_checked_reader(name, read), options=declared)


def _options_of(read: Callable[..., Any]) -> dict[str, str]:
    """Return the parameters of a function after its first one, with empty descriptions."""
    try:
        names = list(inspect.signature(read).parameters.values())[1:]
    except (TypeError, ValueError):  # of a function in C
        return {}
    return {name.name: "" for name in names if name.kind in (name.POSITIONAL_OR_KEYWORD, name.KEYWORD_ONLY)}


def _checked_reader(name: str, read: Callable[..., Any]) -> Callable[..., pl.DataFrame]:
    def read_and_check(path: Path, _problems: Problems, **options: Any) -> pl.DataFrame:
        try:
            frame = read(path, **options)
        except EvalkitError:
            raise
        except Exception as error:
            problem = f"Source {name!r} failed: {type(error).__name__}: {error}"
            raise InvalidInputError(problem, hint="Correct its function.", field="location", value=str(path)) from error
        return checked_sessions(frame)

    return read_and_check


@cache
def _built_in() -> dict[str, Source]:
    from evalkit.collect.claude_code import CLAUDE_CODE
    from evalkit.collect.codex import CODEX
    from evalkit.collect.harbor import HARBOR
    from evalkit.collect.inspect_logs import INSPECT
    from evalkit.collect.records import RECORDS

    sources: list[Source] = [INSPECT, CLAUDE_CODE, CODEX, HARBOR, RECORDS]
    return {source.name: source for source in sources}


def known_sources() -> list[str]:
    """Return the names of all sources.

    These are those of evalkit, of installed packages, and of `register_source`.

    Examples
    --------
    >>> known_sources()[:5]
    ['inspect', 'claude-code', 'codex', 'harbor', 'records']
    """
    plugins = (point.name for point in entry_points(group=_ENTRY_POINTS))
    return list(dict.fromkeys([*_built_in(), *plugins, *_registered]))


def source_named(name: str) -> Source:
    """Return a source by its name.

    Of installed packages, only the one with the source is imported.

    Raises
    ------
    InvalidInputError
        If the source is unknown, or its package cannot be imported.

    Examples
    --------
    >>> source_named("inspect").title
    'Inspect AI logs'
    """
    if name in _built_in() or name in _registered:
        return _built_in().get(name) or _registered[name]
    for point in entry_points(group=_ENTRY_POINTS, name=name):
        try:
            read = point.load()
        except Exception as error:
            problem = f"Cannot load source {name!r} from {point.value!r}: {type(error).__name__}: {error}"
            raise InvalidInputError(problem, hint="Update or remove the package.", field="location", value=name) from None
        return FunctionSource(name=name, title=name, read=_checked_reader(name, read), options=_options_of(read))
    raise unknown_name("source", name, known_sources(), field="location")


def parse_location(location: str) -> SourceReference:
    """Return the source and the path of a location.

    Raises
    ------
    InvalidInputError
        If the source is unknown, or the path is missing and the source has no default.

    Examples
    --------
    >>> parse_location("inspect:./logs").path.as_posix()
    'logs'
    """
    expected = "expected SOURCE:PATH, e.g. 'inspect:./logs' or 'claude-code:'"
    if not isinstance(location, str) or ":" not in location:
        hint = ""
        if isinstance(location, str) and location in known_sources():
            hint = f"Did you mean '{location}:PATH'?"
        raise invalid("location", location, expected, hint=hint)
    name, _, path = location.partition(":")
    source = source_named(name)
    if path.strip():
        return SourceReference(source, Path(path.strip()).expanduser(), is_default=False)
    default = source.default_location if isinstance(source, FileSource) else None
    if default is None:
        raise invalid("location", location, "the path is missing", f"expected e.g. '{name}:./logs'")
    return SourceReference(source, default(), is_default=True)


def check_location(reference: SourceReference) -> None:
    """Check that a location exists and can be read.

    Raises
    ------
    InvalidInputError
        If it does not, or cannot.
    """
    path = reference.path
    if not reachable("location", path).exists():
        raise missing_location(path, reference.source.name)
    if not path.is_dir() and not path.is_file():
        problem = f"Cannot read {str(path)!r}: it is neither a folder nor a regular file"
        raise InvalidInputError(problem, field="location", value=str(path))
    if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
        hint = "Ask its owner for read access."
        raise InvalidInputError(f"Cannot read {str(path)!r}: permission denied", hint=hint, field="location", value=str(path))


def read_location(reference: SourceReference, options: Mapping[str, Any], *, cache: Path | None = None, progress: bool = True) -> Reading:
    """Read the sessions of a location.

    Parameters
    ----------
    reference
        The source and its path.
    options
        The options of the source; None is not set.
    cache
        The file with what was read the last time; see `read_files`.
    progress
        Whether to show a progress bar for many files, in a notebook or on a terminal.

    Raises
    ------
    InvalidInputError
        If the location does not exist, or an option is invalid.
    """
    source, path = reference.source, reference.path
    checked = checked_options(source, options)
    check_location(reference)
    if isinstance(source, FunctionSource):
        problems = Problems()
        return Reading(distinct_sessions(source.read(path, problems, **checked)), problems, None, None)
    assert isinstance(source, FileSource)
    with ExitStack() as stack:
        bars: list[Callable[[int, int], None]] = []

        def show(done: int, total: int) -> None:
            if progress and total >= _MANY:
                bars[:] = bars or [stack.enter_context(progress_bar(f"Reading {source.title}"))]
                bars[0](done, total)

        read = read_files(source, path, cache=cache, on_progress=show)
    sessions = distinct_sessions(source.sessions(read.rows, read.problems, **checked))
    return Reading(sessions, read.problems, read.files, read.changed, read.store)


def read_sessions(
    location: str, *, labels: Any = None, prices: Any = None, strict: bool = False, progress: bool = True, **options: Any
) -> pl.DataFrame:
    r"""Read the agent sessions of a folder or file of logs.

    Files that cannot be read are skipped, with a warning that names them.

    Parameters
    ----------
    location
        The source and the path: ``"inspect:./logs"``, ``"claude-code:"`` (its default folder), ``"codex:"``, ``"harbor:./jobs"``,
        ``"records:runs.csv"``, or one of `register_source`.
    labels
        Outcomes of sessions whose logs have none: a file, a mapping of session ids to outcomes, a DataFrame with ``session_id`` and
        ``outcome``, or a function of a session as a mapping.
    prices
        A file with prices of tokens, to estimate the costs that are not reported.
    strict
        Whether a file that cannot be read is an error.
    progress
        Whether to show a progress bar for many files, in a notebook or on a terminal.
    **options
        The options of the source, such as ``scorer="match"``.

    Returns
    -------
    polars.DataFrame
        One row per session, sorted by time of end. See the guide on collecting for the columns.

    Raises
    ------
    InvalidInputError
        If the location does not exist, an option is invalid, or a file cannot be read and `strict` is set.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "runs.csv").write_text("session_id,outcome,ended_at\na,passed,2026-01-31T08:00:00Z\n")
    >>> read_sessions(f"records:{folder}/runs.csv").select("session_id", "outcome").row(0)
    ('a', 'success')
    """
    outcomes = None if labels is None else read_labels(labels)
    price_list = None if prices is None else read_prices(prices)
    reading = read_location(parse_location(location), options, progress=progress)
    sessions = completed_by(reading.sessions, outcomes, price_list, reading.problems)
    if (message := problem_message(reading.problems)) is not None:
        if strict and reading.problems.skipped:
            raise InvalidInputError(message.problem, field="location", value=location)
        warn(message)
    return sessions


def completed_by(
    sessions: pl.DataFrame, labels: pl.DataFrame | LabelFunction | None, prices: Prices | None, problems: Problems
) -> pl.DataFrame:
    """Return sessions with the outcomes of labels and the estimated costs of prices."""
    if labels is not None:
        sessions = with_labels(sessions, labels, problems)
    return sessions if prices is None else with_prices(sessions, prices, problems)


def problem_message(problems: Problems) -> Message | None:
    """Return a message that names skipped files and counts ignored parts; None without any."""
    parts = []
    if problems.skipped:
        named = "; ".join(f"{problem.file!r}: {problem.reason}" for problem in problems.skipped[:_SHOWN])
        more = len(problems.skipped) - _SHOWN
        parts.append(f"{plural(len(problems.skipped), 'file')} skipped ({named}{f'; and {more:,} more' if more > 0 else ''})")
    if problems.ignored:
        parts.append("ignored: " + ", ".join(f"{reason} ({count:,})" for reason, count in sorted(problems.ignored.items())))
    return Message(problem="; ".join(parts)) if parts else None
