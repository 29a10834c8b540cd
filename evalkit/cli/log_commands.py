"""``evalkit log``: export and import the event log."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from evalkit._util.text import plural
from evalkit.cli.common import Command, group, print_message

__all__ = ["log_app"]

log_app = group("Back up and restore the event log.")


@log_app.command("export", cls=Command)
def log_export(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Output file, or - for standard output.")],
    seed_kinds: Annotated[
        bool,
        typer.Option("--seed-kinds", help="Only what other programs read: the six original kinds, and checkpoints with all 16 metrics."),
    ] = False,
) -> None:
    """Export all events, one JSON object per line.

    Example: evalkit log export backup.ndjson
    """
    from evalkit._util.atomic_files import writing
    from evalkit.io.log_files import export_log
    from evalkit.io.seed_events import LEFT_OUT

    if str(file) == "-" and ctx.obj.json:
        raise typer.BadParameter("events are written to standard output; omit --json.", param_hint="'FILE'")
    with ctx.obj.kit(must_exist=True) as kit:
        if str(file) == "-":
            result = export_log(kit.engine, sys.stdout.buffer, seed_kinds=seed_kinds)
        else:
            with writing(file) as stream:
                result = export_log(kit.engine, stream, seed_kinds=seed_kinds)
            ctx.obj.print(f"{plural(result.exported, 'event')} written to {file}", asdict(result))
    for count, problem in (
        (result.not_json, "skipped: not valid JSON"),
        (result.without_event_id, "skipped: no version 7 event id, which an import requires"),
        (result.respaced, "changed: line breaks between values replaced with spaces"),
    ):
        if count:
            print_message("warning", f"{plural(count, 'event')} {problem}.")
    for why, description in LEFT_OUT.items():
        if why in result.left_out:
            print_message("warning", f"{plural(result.left_out[why], 'event')} left out: {description}.")


@log_app.command("import", cls=Command)
def log_import(
    ctx: typer.Context, file: Annotated[Path, typer.Argument(metavar="FILE", help="Input file, or - for standard input.")]
) -> None:
    """Append events from a file, skipping those already in the log.

    Nothing is appended if any line is invalid.

    Example: evalkit log import backup.ndjson
    """
    from evalkit._util.atomic_files import reading
    from evalkit.io.log_files import import_log

    with reading(file):
        source = nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb")
    with source as stream, ctx.obj.kit() as kit:
        result = import_log(kit.engine, stream)
        ctx.obj.print(f"{plural(result.appended, 'event')} appended, {result.skipped:,} skipped", asdict(result))
