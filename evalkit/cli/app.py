"""The command ``evalkit``, put together.

Exit codes: 0 is fine; 1 is an error, told in one line on stderr; 2 is a wrong call; 130 is Ctrl-C; 141 is a reader that left (``| head``).
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from evalkit._util.distribution import installed_version
from evalkit.cli.checkpoint_commands import checkpoint_app
from evalkit.cli.common import Command, Main, Session
from evalkit.cli.consume_command import consume
from evalkit.cli.doctor_command import doctor
from evalkit.cli.log_commands import log_app
from evalkit.cli.projection_commands import projection_app
from evalkit.cli.report_command import report
from evalkit.cli.study_commands import study_app
from evalkit.cli.tables import json_rows

__all__ = ["app", "main"]

app = typer.Typer(
    cls=Main, add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="Longitudinal evaluation studies of AI agents. Begin with: evalkit demo",
)  # fmt: skip
for _name, _part in (("study", study_app), ("checkpoint", checkpoint_app), ("log", log_app), ("projection", projection_app)):
    app.add_typer(_part, name=_name)
app.command("consume", cls=Command)(consume)
app.command("doctor", cls=Command)(doctor)
app.command("report", cls=Command)(report)


@app.callback(invoke_without_command=True)
def _options(
    ctx: typer.Context,
    *,
    home: Annotated[str | None, typer.Option(metavar="DIR", help="[default: EVALKIT_HOME, else the nearest .evalkit]")] = None,
    log_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="sqlite:PATH or iggy+tcp://USER:PASSWORD@HOST:PORT [default: EVALKIT_LOG_URL, else in the home]"),
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="file:PATH, libsql://HOST, turso+https://HOST [default: EVALKIT_DATABASE_URL, else in the home]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document; may stand after the command too.")] = False,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    session = ctx.obj = Session(home, log_url, database_url, as_json)
    if show_version:
        session.say(f"evalkit {installed_version()}", {"version": installed_version()})
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        ctx.fail("Missing command.")


@app.command("demo", cls=Command)
def demo(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Option(metavar="DIR", help="The folder of its own that it works in.")] = Path("evalkit-demo"),
) -> None:
    """Make three studies with weeks of sample checkpoints, show the frames, draw charts, say what to try next.

    Example: evalkit demo
    """
    from evalkit.cli.demo import next_commands, open_demo, picture, run_demo, snippet, write_charts

    if (ctx.obj.home, ctx.obj.log_url, ctx.obj.database_url) != (None, None, None):
        raise typer.BadParameter(
            "the demo keeps to a folder of its own; leave out --home, --log-url and --database-url.", param_hint="'demo'"
        )
    with open_demo(folder) as kit:
        done = run_demo(kit)
        commands, charts = next_commands(folder), write_charts(kit, folder)
        ctx.obj.say(
            lambda: (
                f"{picture(kit)}\n\nIn {folder}: {done.recorded} checkpoints recorded, {done.already_recorded} were there already.\n"
                f"Charts, to open in a browser: {charts}\n\n"
                "Try next:\n\n" + "\n".join(f"  {one}" for one in commands) + "\n\nIn a notebook:\n\n"
                + "\n".join(f"  {line}".rstrip() for line in snippet(folder).splitlines())
            ),
            lambda: {
                "folder": str(folder), "charts": str(charts), **asdict(done), "studies": json_rows(kit.studies()), "next": commands,
                "notebook": snippet(folder),
            },
        )  # fmt: skip


def main() -> None:
    """Run the command line."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  (None when the caller closed it)
    sys.stderr = sys.stderr or sys.stdout
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no error
    app(prog_name="evalkit")
