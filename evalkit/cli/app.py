"""The ``evalkit`` command: global options, command groups and exit codes."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from evalkit._util.distribution import installed_version
from evalkit._util.text import plural
from evalkit.cli.checkpoint_commands import checkpoint_app
from evalkit.cli.collect_command import collect
from evalkit.cli.common import Command, Main, Session
from evalkit.cli.consume_command import consume
from evalkit.cli.doctor_command import doctor
from evalkit.cli.log_commands import log_app
from evalkit.cli.metric_commands import metric_app
from evalkit.cli.note_commands import note_app
from evalkit.cli.projection_commands import projection_app
from evalkit.cli.report_command import report
from evalkit.cli.state_commands import changes, mirror, pin
from evalkit.cli.study_commands import study_app
from evalkit.cli.tables import json_rows

__all__ = ["app", "main"]

_EXIT_CODES = (
    "Exit codes: 0 success; 1 error (message on stderr), problems found by doctor, or a difference found by projection verify; "
    "2 usage error; 3 no data (collect); 130 interrupted (Ctrl-C); 141 output closed by the reader (such as head)."
)
"""The exit codes, shown at the end of ``evalkit --help``."""

app = typer.Typer(
    cls=Main, add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="Track evaluation studies of AI agents over weeks or months. To get started: evalkit demo",
    epilog=_EXIT_CODES,
)  # fmt: skip
for _name, _group in (
    ("study", study_app), ("checkpoint", checkpoint_app), ("metric", metric_app), ("note", note_app), ("log", log_app),
    ("projection", projection_app),
):  # fmt: skip
    app.add_typer(_group, name=_name)
for _command in (collect, consume, doctor, report, pin, changes, mirror):
    app.command(_command.__name__, cls=Command)(_command)


@app.callback(invoke_without_command=True)
def _options(
    ctx: typer.Context,
    *,
    home: Annotated[
        str | None, typer.Option(metavar="DIR", help="Set the home folder. [default: EVALKIT_HOME, else the nearest .evalkit]")
    ] = None,
    log_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Set the event log: sqlite:PATH, iggy+tcp://USER:PASSWORD@HOST:PORT or iggy+tcp://TOKEN@HOST:PORT. "
            "[default: EVALKIT_LOG_URL, else in the home]",
        ),
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Set the read model: file:PATH, libsql://HOST or turso+https://HOST. [default: EVALKIT_DATABASE_URL, else in the home]",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document (also accepted after the command).")] = False,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    session = ctx.obj = Session(home, log_url, database_url, as_json)
    if show_version:
        session.print(f"evalkit {installed_version()}", {"version": installed_version()})
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        ctx.fail("Missing command.")


@app.command("demo", cls=Command)
def demo(
    ctx: typer.Context,
    folder: Annotated[Path | None, typer.Option(metavar="DIR", help="Set the demo folder. [default: evalkit-demo]")] = None,
) -> None:
    """Create sample studies with charts, and suggest next steps.

    Running it again has no effect. Inside a demo folder, that folder is reused.

    Example: evalkit demo
    """
    from evalkit.cli.demo import demo_folder, frames_as_text, next_commands, notebook_lines, open_demo, run_demo, write_charts

    if (ctx.obj.home, ctx.obj.log_url, ctx.obj.database_url) != (None, None, None):
        raise typer.BadParameter("the demo uses a separate folder; omit --home, --log-url and --database-url.", param_hint="'demo'")
    folder = demo_folder() if folder is None else folder
    with open_demo(folder) as kit:
        result = run_demo(kit)
        commands, charts = next_commands(folder), write_charts(kit, folder)
        ctx.obj.print(
            lambda: (
                f"{frames_as_text(kit)}\n\n"
                f"{folder if folder.name else folder.absolute()}: "
                f"{plural(result.recorded, 'checkpoint')} recorded, {result.already_recorded} already recorded.\n"
                f"Charts (open in a browser): {charts}\n\n"
                "What to try next:\n\n" + "\n".join(f"  {command}" for command in commands) + "\n\nIn a notebook:\n\n"
                + "\n".join(f"  {line}".rstrip() for line in notebook_lines(folder).splitlines())
            ),
            lambda: {
                "folder": str(folder), "charts": str(charts), **asdict(result), "studies": json_rows(kit.studies()), "next": commands,
                "notebook": notebook_lines(folder),
            },
        )  # fmt: skip


def main() -> None:
    """Run the command line."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  (None if the caller closed it)
    sys.stderr = sys.stderr or sys.stdout
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # escape characters that the terminal cannot show
    app(prog_name="evalkit")
