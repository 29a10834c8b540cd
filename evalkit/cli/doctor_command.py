"""``evalkit doctor``: check the log, the read model and the home."""

from __future__ import annotations

from dataclasses import replace

import typer

from evalkit import EvalkitError
from evalkit._util.text import plural
from evalkit.readmodel.rows import check_rows

__all__ = ["doctor"]


def doctor(ctx: typer.Context) -> None:
    """Check the log, the read model, the home, and the saved sources.

    Each problem is listed with a fix; nothing is changed. The exit code is 1 if there are problems.

    Example: evalkit doctor
    """
    with ctx.obj.kit() as kit:
        status, damaged = kit.status(), False
        if status.studies is not None:
            try:
                check_rows(kit.engine.database)
            except EvalkitError as error:
                status, damaged = replace(status, messages=(*status.messages, error.message)), True
        notes: list[str] = []
        if status.studies and not damaged and not status.lag:  # reading the studies would apply the pending events
            from evalkit.collect.health import collect_health

            health = collect_health(kit)
            status = replace(status, messages=(*status.messages, *health.problems))
            notes = [note.in_shell() for note in health.notes]
        verdict = f"{plural(len(status.problems), 'problem')} found." if status.problems else "No problems found."
        pending = f"{plural(status.lag, 'event')} pending: run evalkit projection catch-up or evalkit consume.\n" if status.lag else ""
        listed = "".join(f"Note: {note}\n" for note in notes)
        text = f"{status.in_shell()}\n\n{listed}{pending}{verdict}"
        ctx.obj.print(text, {**status.as_dict(), "notes": notes, "ok": not status.problems})
    if status.problems:
        raise typer.Exit(1)
