"""Shared parts of the commands: global options, output, error messages and exit codes."""

from __future__ import annotations

import json
import os
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup

import evalkit
from evalkit import EvalkitError, EvalkitWarning, InvalidInputError
from evalkit.settings import Settings, no_home

__all__ = [
    "AsOf", "At", "Author", "CheckpointFile", "Command", "Define", "Exclude", "Main", "OptionalRef", "Reason", "Ref", "Session", "Tz",
    "Values", "group", "pairs", "print_message", "state",
]  # fmt: skip

Ref = Annotated[str, typer.Argument(metavar="REF", help="Study name, id, or the last 4 or more characters of an id.")]
OptionalRef = Annotated[
    str | None, typer.Argument(metavar="[REF]", help="Study name, id, or the last 4 or more characters of an id. [default: all studies]")
]
At = Annotated[str | None, typer.Option(metavar="TIME", help="Set the event time, with a time zone: 2026-01-31T08:00:00Z. [default: now]")]
CheckpointFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="File; the extension (.csv, .tsv, .ndjson, .jsonl, .json, .parquet, each also with .gz) selects the format."
    ),
]
Tz = Annotated[
    str | None, typer.Option(metavar="ZONE", help="Read dates, and times without a time zone, in this zone (UTC, Europe/Berlin).")
]
AsOf = Annotated[
    str | None,
    typer.Option(metavar="STATE", help="Show this state of the log: a time with a time zone, or a pin of evalkit pin (its text or file)."),
]
Values = Annotated[
    Literal["latest", "first"],
    typer.Option(help="Show the latest values without retracted checkpoints, or all checkpoints as first recorded."),
]
Exclude = Annotated[list[str] | None, typer.Option(metavar="ID", help="Leave out a checkpoint: its id, or the end of its id (repeatable).")]
Define = Annotated[
    Literal["auto"] | None, typer.Option(help="Define undeclared metrics with numbers as values; otherwise they are refused.")
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="State the reason.")]
Author = Annotated[str | None, typer.Option(metavar="TEXT", help="Set the author. [default: EVALKIT_AUTHOR]")]


_GLOBAL_OPTIONS = {"--home": "DIR", "--log-url": "URL", "--database-url": "URL"}


class Main(TyperGroup):
    """A command group that prints evalkit's errors and warnings and sets the exit code.

    Errors and warnings are printed on stderr, one per line.
    """

    def invoke(self, ctx: Any) -> None:
        """Run a command."""
        with warnings.catch_warnings():
            warnings.simplefilter("always", EvalkitWarning)
            show_other = warnings.showwarning
            warnings.showwarning = lambda message, category, *where: (
                print_message("warning", in_shell(message))
                if issubclass(category, EvalkitWarning)
                else show_other(message, category, *where)
            )
            code = 0
            try:
                try:
                    super().invoke(ctx)
                except EvalkitError as error:
                    print_message("error", error.message.in_shell(), *(part.in_shell() for part in getattr(error, "further", ())))
                    code = 1
                sys.stdout.flush()
            except OSError as error:
                # Standard output was closed or is full. Discard the remaining output; otherwise Python reports another error at exit.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                code = 141 if isinstance(error, BrokenPipeError) else 1
                if code == 1:
                    print_message("error", error)
        if code:
            raise typer.Exit(code)


class Command(TyperCommand):
    """A command that also accepts ``--json`` after its name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments."""
        options = args[: args.index("--")] if "--" in args else args
        if "--json" in options:
            args = [*(arg for arg in options if arg != "--json"), *args[len(options) :]]
            ctx.obj.json = True
        for arg in options:
            if (option := arg.partition("=")[0]) in _GLOBAL_OPTIONS:
                command = ctx.command_path.partition(" ")[2]
                ctx.fail(f"{option} comes before the command: evalkit {option} {_GLOBAL_OPTIONS[option]} {command}")
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")  # messages of invalid choices begin with this
            raise


def print_message(level: str, message: object, *details: str) -> None:
    """Print a message on one line of stderr, followed by its details as indented lines.

    The level is ``"error"`` or ``"warning"``.
    """
    text, *lines = (re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", str(part)) for part in (message, *details))
    print("\n".join([f"{level}: {text}", *(f"  {line}" for line in lines)]), file=sys.stderr)


def in_shell(warning: object) -> str:
    """Return the text of a warning, with hints for the shell."""
    return warning.message.in_shell() if isinstance(warning, EvalkitWarning) else str(warning)


@dataclass
class Session:
    """The global options, with the kit and the output format that they select."""

    home: str | None = None
    log_url: str | None = None
    database_url: str | None = None
    json: bool = False

    def kit(self, *, must_exist: bool = False, role: str = "cli") -> evalkit.EvalKit:
        """Open the kit selected by the options.

        Raises
        ------
        InvalidInputError
            If `must_exist` is set and the home does not exist.
        """
        kit = evalkit.EvalKit(Settings.resolve(self.home, self.log_url, self.database_url), role=role)
        if must_exist and not kit.engine.exists:
            raise InvalidInputError(no_home(kit.engine.settings), field="home", value=str(kit.engine.settings.home))
        return kit

    def print(self, text: str | Callable[[], str], data: Any) -> None:
        """Print `text`, or `data` as JSON with ``--json``; each may be a callable."""
        output = data if self.json else text
        output = output() if callable(output) else output
        if self.json:
            output = json.dumps(output, ensure_ascii=(sys.stdout.encoding or "").lower() not in ("utf-8", "utf8"))
        print(output, flush=True)


def state(text: str | None) -> evalkit.Pin | str | None:
    """Return the state of the log in an option: a pin, or a text for ``as_of=``.

    An existing file, and a name that ends in ``.json``, is the file of a pin.

    Raises
    ------
    InvalidInputError
        If the file cannot be read, or is not the file of a pin.
    """
    if text is not None and (text.endswith(".json") or os.path.isfile(text)):  # noqa: PTH113  (accepts long texts)
        return evalkit.Pin.load(text)
    return text


def pairs(texts: list[str], option: str, expected: str) -> dict[str, str]:
    """Return the names and values of texts such as ``model=m-1``.

    Raises
    ------
    typer.BadParameter
        If a text has no ``=``, or two have the same name.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name in found:
            problem = f"duplicate {expected.partition('=')[0].lower()} {name!r}." if equals else f"expected {expected}; got {text!r}."
            raise typer.BadParameter(problem, param_hint=f"'{option}'")
        found[name] = value
    return found


def group(text: str) -> typer.Typer:
    """Create a group of commands."""
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None)
