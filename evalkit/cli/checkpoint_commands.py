"""``evalkit checkpoint``: record, list, import and export checkpoints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import from_json

from evalkit.cli.common import At, Command, File, Ref, group
from evalkit.cli.tables import checkpoint_table, json_rows

__all__ = ["checkpoint_app"]

checkpoint_app = group("Record, list, import and export checkpoints.")


@checkpoint_app.command("record", cls=Command)
def record(
    ctx: typer.Context,
    ref: Ref,
    metrics: Annotated[str, typer.Option(metavar="FILE", help="A JSON object with metrics and period; - for standard input.")],
    key: Annotated[str | None, typer.Option(help="What makes it the same checkpoint when it is recorded again.")] = None,
    at: At = None,
) -> None:
    """Record one checkpoint, from JSON: {"period": ["2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z"], "session_success_rate": 0.85}.

    Example: evalkit checkpoint record "nightly agent" --metrics checkpoint.json --key 01-31
    """
    from evalkit._util.atomic_files import reading

    with reading(Path(metrics)):
        data = sys.stdin.buffer.read() if metrics == "-" else Path(metrics).read_bytes()
        given = from_json(data.removeprefix(b"\xef\xbb\xbf"), allow_inf_nan=False)
    with ctx.obj.kit() as kit:
        done = kit.record_checkpoint(ref, given, key=key, at=at)

        def row() -> dict[str, Any]:
            (found,) = (one for one in json_rows(kit.checkpoints(done.study_id)) if one["checkpoint_id"] == done.id)
            return {**found, "already_recorded": done.already_recorded}

        ctx.obj.say(str(done), row)


@checkpoint_app.command("list", cls=Command)
def list_checkpoints(ctx: typer.Context, ref: Ref) -> None:
    """List a study's checkpoints, oldest first.

    Example: evalkit checkpoint list "nightly agent"
    """
    with ctx.obj.kit() as kit:
        frame = kit.checkpoints(ref)
        ctx.obj.say(lambda: checkpoint_table(frame), lambda: json_rows(frame))


@checkpoint_app.command("import", cls=Command)
def import_file(
    ctx: typer.Context, file: File, study: Annotated[str, typer.Option(metavar="REF", help="The study to record them in.")]
) -> None:
    """Record the checkpoints of a file: all, or none when anything is wrong.

    Example: evalkit checkpoint import runs.csv --study "nightly agent"
    """
    from evalkit.io.checkpoint_files import import_checkpoints

    with ctx.obj.kit() as kit:
        done = import_checkpoints(kit, file, study)
        text = f"{done.recorded} recorded, {done.already_recorded} already recorded"
        ctx.obj.say(text, {"recorded": done.recorded, "already_recorded": done.already_recorded})


@checkpoint_app.command("export", cls=Command)
def export_file(
    ctx: typer.Context, file: File, study: Annotated[str | None, typer.Option(metavar="REF", help="Only this study's.")] = None
) -> None:
    """Write checkpoints to a file, replacing one that is there.

    Example: evalkit checkpoint export runs.parquet --study "nightly agent"
    """
    from evalkit.io.checkpoint_files import export_checkpoints

    with ctx.obj.kit(must_exist=True) as kit:
        count = export_checkpoints(kit, file, study)
        ctx.obj.say(f"{count} checkpoints written to {file}", {"exported": count, "file": str(file)})
