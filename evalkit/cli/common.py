"""What every command has in common: the global options, how answers are printed, how errors and warnings become lines and exit codes."""

from __future__ import annotations

import json
import os
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import evalkit
from evalkit import EvalkitError, EvalkitWarning, InvalidInputError
from evalkit.settings import Settings

__all__ = ["At", "Command", "File", "LogFile", "Main", "Ref", "Session", "complain", "group"]

Ref = Annotated[str, typer.Argument(metavar="REF", help="A study's name, id, or the last four or more characters of its id.")]
At = Annotated[str | None, typer.Option(metavar="TIME", help="When it happened, with a time zone: 2026-01-31T08:00:00Z. [default: now]")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A file; its extension, .csv, .parquet or .ndjson, says how it is written.")]
LogFile = Annotated[Path, typer.Argument(metavar="FILE", help="A file, or - for standard input or output.")]


class Main(TyperGroup):
    """Turns errors and warnings of evalkit into lines on stderr and exit codes."""

    def invoke(self, ctx: Any) -> None:
        """Run a command."""
        with warnings.catch_warnings():
            warnings.simplefilter("always", EvalkitWarning)
            shown = warnings.showwarning
            warnings.showwarning = lambda message, category, *where: (
                complain("warning", in_shell(message)) if issubclass(category, EvalkitWarning) else shown(message, category, *where)
            )
            code = 0
            try:
                try:
                    super().invoke(ctx)
                except EvalkitError as error:
                    complain("error", error.message.in_shell())
                    code = 1
                sys.stdout.flush()
            except OSError as error:
                # Standard output went away or is full. What is left to print goes nowhere, or Python would complain once more at exit.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                code = 141 if isinstance(error, BrokenPipeError) else 1
                if code == 1:
                    complain("error", error)
        if code:
            raise typer.Exit(code)


class Command(TyperCommand):
    """Takes ``--json`` after the command as well."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the arguments apart."""
        options = args[: args.index("--")] if "--" in args else args
        if "--json" in options:
            args = [*(arg for arg in options if arg != "--json"), *args[len(options) :]]
            ctx.obj.json = True
        return super().parse_args(ctx, args)


def complain(what: str, message: object) -> None:
    """Tell a warning or an error in one line on stderr."""
    text = re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", str(message))
    print(f"{what}: {text}", file=sys.stderr)


def in_shell(warning: object) -> str:
    """Return what a warning says, with the next step as it is typed in a shell."""
    return warning.message.in_shell() if isinstance(warning, EvalkitWarning) else str(warning)


@dataclass
class Session:
    """The global options, and how they are answered."""

    home: str | None = None
    log_url: str | None = None
    database_url: str | None = None
    json: bool = False

    def kit(self, *, must_exist: bool = False, role: str = "cli") -> evalkit.EvalKit:
        """Open the kit that the options name; where there must be a home already, refuse when there is none."""
        kit = evalkit.EvalKit(Settings.resolve(self.home, self.log_url, self.database_url), role=role)
        if must_exist and not kit.engine.exists:
            looked_in = ", ".join(map(str, kit.engine.settings.looked_in))
            raise InvalidInputError(
                f"There is no evalkit home. Looked in {looked_in}",
                hint="Give another folder with --home DIR; the first study makes one: evalkit study create NAME",
                field="home", value=looked_in,
            )  # fmt: skip
        return kit

    def say(self, text: str | Callable[[], str], data: Any) -> None:
        """Print a text, or with ``--json`` the data; either may be a function that gives it."""
        found = data if self.json else text
        found = found() if callable(found) else found
        if self.json:
            found = json.dumps(found, ensure_ascii=(sys.stdout.encoding or "").lower() not in ("utf-8", "utf8"))
        print(found, flush=True)


def group(text: str) -> typer.Typer:
    """Make a group of commands."""
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None)
