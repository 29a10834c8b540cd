"""``evalkit doctor``: what is there, how far it is, what is wrong with it, and how to mend it."""

from __future__ import annotations

from dataclasses import replace

import typer

from evalkit import EvalkitError
from evalkit.readmodel.rows import check_rows

__all__ = ["doctor"]


def doctor(ctx: typer.Context) -> None:
    """Look at the log, the read model and the home, change nothing, and say what is wrong; exit code 1 when something is.

    Example: evalkit doctor
    """
    with ctx.obj.kit() as kit:
        found = kit.status()
        if found.studies is not None:
            try:
                check_rows(kit.engine.database)
            except EvalkitError as error:
                found = replace(found, messages=(*found.messages, error.message))
        verdict = "Nothing is wrong." if not found.problems else f"{len(found.problems)} to mend, see above."
        behind = "" if not found.lag else f"{found.lag:,} events wait to be applied: evalkit projection catch-up, or evalkit consume.\n"
        ctx.obj.say(f"{found.in_shell()}\n\n{behind}{verdict}", {**found.as_dict(), "ok": not found.problems})
    if found.problems:
        raise typer.Exit(1)
