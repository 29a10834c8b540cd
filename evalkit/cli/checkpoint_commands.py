"""``evalkit checkpoint``: record, list, import and export checkpoints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from evalkit import METRICS, InvalidInputError
from evalkit._util.text import plural
from evalkit.cli.common import At, CheckpointFile, Command, Ref, group
from evalkit.cli.tables import checkpoint_table, json_rows, minute, printable

__all__ = ["checkpoint_app"]

Tz = Annotated[
    str | None, typer.Option(metavar="ZONE", help="Read dates, and times without a time zone, in this zone (UTC, Europe/Berlin).")
]

checkpoint_app = group("Record, list, import and export checkpoints.")


@checkpoint_app.command("record", cls=Command)
def record(
    ctx: typer.Context,
    ref: Ref,
    *,
    metrics: Annotated[str, typer.Option(metavar="FILE", help="Read the metrics and the period from a JSON file (- for standard input).")],
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Set an idempotency key: recording again with the same key and content has no effect."),
    ] = None,
    at: At = None,
    tz: Tz = None,
) -> None:
    """Record a checkpoint from a JSON object.

    Example input: {"period": ["2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z"], "session_success_rate": 0.85}

    Example: evalkit checkpoint record "nightly agent" --metrics checkpoint.json --key 2026-01-31
    """
    from evalkit._util.atomic_files import reading
    from evalkit.io.checkpoint_reader import parse_json

    with reading(Path(metrics)):
        data = sys.stdin.buffer.read() if metrics == "-" else Path(metrics).read_bytes()
        values = parse_json(data.removeprefix(b"\xef\xbb\xbf"))
    where = "standard input: " if metrics == "-" else f"{metrics}: "
    if not isinstance(values, dict):
        example = '{"period": ["2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z"], "session_success_rate": 0.85}'
        raise InvalidInputError(f"{where}expected a JSON object, e.g. {example}", field="metrics", value=values)
    options = {"study", "tz", *({"key"} if key is not None else ()), *({"at", "recorded_at"} if at is not None else ())}
    with ctx.obj.kit() as kit:
        try:
            checkpoint = kit.record_checkpoint(ref, values, key=key, at=at, tz=tz)
        except InvalidInputError as error:
            raise error if error.field in options else error.but(where=where) from None

        def row() -> dict[str, Any]:
            (recorded,) = (row for row in json_rows(kit.checkpoints(checkpoint.study_id)) if row["checkpoint_id"] == checkpoint.id)
            return {**recorded, "already_recorded": checkpoint.already_recorded}

        recorded = "already recorded" if checkpoint.already_recorded else "recorded"
        measured = f"{len(checkpoint.metrics.measured())} of {len(METRICS)} metrics"
        name = printable(kit.resolve(checkpoint.study_id).name)
        ctx.obj.print(f"{name}: checkpoint {minute(checkpoint.metrics.period.start)} {recorded} ({measured})", row)


@checkpoint_app.command("list", cls=Command)
def list_checkpoints(ctx: typer.Context, ref: Ref) -> None:
    """List a study's checkpoints, oldest first.

    The table shows the main metrics and the last 8 characters of ids; --json prints all metrics and full ids.

    Example: evalkit checkpoint list "nightly agent"
    """
    with ctx.obj.kit() as kit:
        frame = kit.checkpoints(ref)
        ctx.obj.print(lambda: checkpoint_table(frame), lambda: json_rows(frame))


@checkpoint_app.command("import", cls=Command)
def import_file(
    ctx: typer.Context,
    file: CheckpointFile,
    study: Annotated[str, typer.Option(metavar="REF", help="Select the study to record in.")],
    tz: Tz = None,
    percent: Annotated[bool, typer.Option("--percent", help="Read rates as percentages: 85% and 85 are 0.85.")] = False,
) -> None:
    """Import checkpoints from a file.

    Nothing is recorded if any row is invalid. Separators (comma, semicolon, tab) and decimal commas are detected. Empty cells, nan, NA,
    N/A, null, none and - are missing values. A missing period_end is derived from the period of the study.

    Example: evalkit checkpoint import runs.csv --study "nightly agent"
    """
    from evalkit.io.checkpoint_files import import_checkpoints

    with ctx.obj.kit() as kit:
        result = import_checkpoints(kit, file, study, tz=tz, percent=percent)
        read_as = f" (read as {result.read_as})" if result.read_as else ""
        text = f"{plural(result.recorded, 'checkpoint')} recorded, {result.already_recorded:,} already recorded{read_as}"
        ctx.obj.print(text, {"recorded": result.recorded, "already_recorded": result.already_recorded, "read_as": result.read_as})


@checkpoint_app.command("export", cls=Command)
def export_file(
    ctx: typer.Context,
    file: CheckpointFile,
    study: Annotated[str | None, typer.Option(metavar="REF", help="Export only this study.")] = None,
) -> None:
    """Export checkpoints to a file (overwrites).

    Example: evalkit checkpoint export runs.parquet --study "nightly agent"
    """
    from evalkit.io.checkpoint_files import export_checkpoints

    with ctx.obj.kit(must_exist=True) as kit:
        count = export_checkpoints(kit, file, study)
        ctx.obj.print(f"{plural(count, 'checkpoint')} written to {file}", {"exported": count, "file": str(file)})
