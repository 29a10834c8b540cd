"""``evalkit log``: export and import the event log."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import asdict

import typer

from evalkit.cli.common import Command, LogFile, complain, group

__all__ = ["log_app"]

log_app = group("Export and import the event log: the backup.")


@log_app.command("export", cls=Command)
def log_export(ctx: typer.Context, file: LogFile) -> None:
    """Write every event as one line of JSON.

    Example: evalkit log export backup.ndjson
    """
    from evalkit._util.atomic_files import writing
    from evalkit.io.log_files import export_log

    if str(file) == "-" and ctx.obj.json:
        raise typer.BadParameter("with - the events themselves go to standard output; leave out --json.", param_hint="'FILE'")
    with ctx.obj.kit(must_exist=True) as kit:
        if str(file) == "-":
            done = export_log(kit.engine, sys.stdout.buffer)
        else:
            with writing(file) as stream:
                done = export_log(kit.engine, stream)
            ctx.obj.say(f"{done.exported} events written to {file}", asdict(done))
    for count, what in (
        (done.not_json, "are not JSON, and were left out"),
        (done.without_event_id, "have no version 7 event id, so that they could not be imported, and were left out"),
        (done.respaced, "had line breaks between their values, and have spaces there now"),
    ):
        if count:
            complain("warning", f"{count} events {what}.")


@log_app.command("import", cls=Command)
def log_import(ctx: typer.Context, file: LogFile) -> None:
    """Append the events of a file that the log does not hold yet: all, or none when a line is no event.

    Example: evalkit log import backup.ndjson
    """
    from evalkit._util.atomic_files import reading
    from evalkit.io.log_files import import_log

    with reading(file):
        source = nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb")
    with source as stream, ctx.obj.kit() as kit:
        done = import_log(kit.engine, stream)
        ctx.obj.say(f"{done.appended} appended, {done.skipped} skipped", asdict(done))
