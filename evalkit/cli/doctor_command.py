"""``evalkit doctor``: check the log, the read model and the home."""

from __future__ import annotations

from dataclasses import replace

import typer

from evalkit import EvalkitError
from evalkit._util.text import plural
from evalkit.readmodel.rows import check_rows

__all__ = ["doctor"]


def doctor(ctx: typer.Context) -> None:
    """Check the log, the read model and the home.

    Each problem is listed with a fix; nothing is changed. The exit code is 1 if there are problems.

    Example: evalkit doctor
    """
    with ctx.obj.kit() as kit:
        status = kit.status()
        if status.studies is not None:
            try:
                check_rows(kit.engine.database)
            except EvalkitError as error:
                status = replace(status, messages=(*status.messages, error.message))
        verdict = f"{plural(len(status.problems), 'problem')} found." if status.problems else "No problems found."
        pending = f"{plural(status.lag, 'event')} pending: run evalkit projection catch-up or evalkit consume.\n" if status.lag else ""
        ctx.obj.print(f"{status.in_shell()}\n\n{pending}{verdict}", {**status.as_dict(), "ok": not status.problems})
    if status.problems:
        raise typer.Exit(1)
