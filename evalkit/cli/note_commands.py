"""``evalkit note``: add and list notes on studies."""

from __future__ import annotations

from typing import Annotated

import typer

from evalkit.cli.common import AsOf, Author, Command, OptionalRef, Ref, Tz, group, state
from evalkit.cli.tables import json_rows, minute, note_table, printable
from evalkit.domain.notes import Category

__all__ = ["note_app"]

note_app = group("Add and list notes on studies, such as model changes.")


@note_app.command("add", cls=Command)
def add(
    ctx: typer.Context,
    ref: Ref,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Text of the note.")],
    *,
    at: Annotated[str | None, typer.Option(metavar="TIME", help="Set the time that the note is about. [default: now]")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Set the end of a range of time, excluded.")] = None,
    category: Annotated[Category, typer.Option(help="Set the category.")] = "other",
    author: Author = None,
    tz: Tz = None,
) -> None:
    """Add a note to a study.

    Adding the same text for the same time and category again has no effect.

    Example: evalkit note add "nightly agent" "Model m-2 instead of m-1" --at 2026-01-31 --tz UTC --category model
    """
    with ctx.obj.kit() as kit:
        note = kit.note(ref, text, at=at, until=until, category=category, author=author, tz=tz)
        until_text = "" if note.until is None else f" to {minute(note.until)}"
        name = printable(kit.resolve(note.study_id).name)
        ctx.obj.print(
            f"{name}: note added ({minute(note.at)}{until_text}, {note.category})",
            lambda: next(row for row in json_rows(kit.notes(note.study_id)) if row["note_id"] == note.id),
        )


@note_app.command("list", cls=Command)
def list_notes(ctx: typer.Context, ref: OptionalRef = None, as_of: AsOf = None) -> None:
    """List the notes on a study, or on all studies.

    Example: evalkit note list "nightly agent"
    """
    with ctx.obj.kit() as kit:
        rows = json_rows(kit.notes(ref, as_of=state(as_of)))
        ctx.obj.print(lambda: note_table(rows), rows)
