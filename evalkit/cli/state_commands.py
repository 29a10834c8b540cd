"""``evalkit pin``, ``changes`` and ``mirror``: states, differences and copies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evalkit._util.text import plural
from evalkit.cli.common import OptionalRef, state
from evalkit.cli.tables import json_rows, minute, short_id, table

__all__ = ["changes", "mirror", "pin"]


def pin(
    ctx: typer.Context,
    save: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the pin to a JSON file (overwrites).")] = None,
    digest: Annotated[bool, typer.Option("--digest", help="Compute the digest of the read model, as projection verify does.")] = False,
) -> None:
    """Print the current state of the log, for --as-of and changes.

    Example: evalkit pin --save paper.pin.json
    """
    with ctx.obj.kit(must_exist=True) as kit:
        made = kit.pin(digest=digest)
        text = str(made) if made.digest is None else f"{made}\ndigest {made.digest}"
        data = {"pin": str(made), "events": made.events, "digest": made.digest, "file": None if save is None else str(save)}
        if save is not None:
            made.save(save)
            text = f"Pin of {plural(made.events, 'event')} written to {save}"
        ctx.obj.print(text, data)


def changes(
    ctx: typer.Context,
    ref: OptionalRef = None,
    *,
    since: Annotated[
        str, typer.Option(metavar="STATE", help="Set the first state: a time with a time zone, or a pin of evalkit pin (its text or file).")
    ],
    until: Annotated[str | None, typer.Option(metavar="STATE", help="Set the last state. [default: now]")] = None,
) -> None:
    """List what changed between two states of the log.

    Example: evalkit changes --since 2026-01-31T08:00:00Z
    """
    with ctx.obj.kit() as kit:
        rows = json_rows(kit.changes(state(since), state(until), study=ref))
        columns = {
            "written_at": "written (UTC)", "study": "study", "kind": "event", "checkpoint_id": "checkpoint", "description": "change",
            "reason": "reason", "author": "author",
        }  # fmt: skip
        ctx.obj.print(lambda: table([_shown(row) for row in rows], columns), rows)


def mirror(
    ctx: typer.Context,
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="Set the folder. [default: mirror in the home]")] = None,
) -> None:
    """Write new checkpoints to Parquet files by study and year.

    Values are as first recorded; kit.scan() in Python applies corrections.

    Example: evalkit mirror parquet
    """
    with ctx.obj.kit(must_exist=True) as kit:
        made = kit.mirror(folder)
        counts = f"{plural(made.checkpoints, 'checkpoint')} in {plural(len(made.files), 'file')}"
        data = {"folder": str(made.folder), "checkpoints": made.checkpoints, "added": made.added, "files": len(made.files)}
        ctx.obj.print(f"{made.folder}: {counts}, {made.added:,} added", data)


def _shown(row: dict[str, str | None]) -> dict[str, str | None]:
    """Return a change with short texts."""
    checkpoint_id = row["checkpoint_id"]
    texts = {name: None if row[name] is None else " ".join(str(row[name]).split()) or None for name in ("description", "reason")}
    return {
        **row, **texts, "written_at": minute(str(row["written_at"])),
        "checkpoint_id": None if checkpoint_id is None else short_id(checkpoint_id),
    }  # fmt: skip
