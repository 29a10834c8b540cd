"""``evalkit checkpoint``: record, correct, list, import and export checkpoints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from evalkit import InvalidInputError
from evalkit._util.text import plural
from evalkit.cli.common import (
    AsOf,
    At,
    Author,
    CheckpointFile,
    Command,
    Define,
    Exclude,
    Reason,
    Ref,
    Tz,
    Values,
    group,
    pairs,
    state,
)
from evalkit.cli.tables import checkpoint_table, json_rows, minute, printable

__all__ = ["checkpoint_app"]

checkpoint_app = group("Record, correct, list, import and export checkpoints.")


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
    define: Define = None,
) -> None:
    """Record a checkpoint from a JSON object.

    It can contain the custom metrics that the study defines.

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
            checkpoint = kit.record_checkpoint(ref, values, key=key, at=at, tz=tz, define=define)
        except InvalidInputError as error:
            raise error if error.field in options else error.but(where=where) from None

        def row() -> dict[str, Any]:
            (recorded,) = (row for row in json_rows(kit.checkpoints(checkpoint.study_id)) if row["checkpoint_id"] == checkpoint.id)
            return {**recorded, "already_recorded": checkpoint.already_recorded}

        recorded = "already recorded" if checkpoint.already_recorded else "recorded"
        name = printable(kit.resolve(checkpoint.study_id).name)
        ctx.obj.print(f"{name}: checkpoint {minute(checkpoint.metrics.period.start)} {recorded} ({checkpoint.metrics.counted()})", row)


CheckpointRef = Annotated[
    str, typer.Argument(metavar="REF", help="Checkpoint id, or its last 4 or more characters; with --key, the study.")
]
Key = Annotated[str | None, typer.Option(metavar="KEY", help="Select the checkpoint of the study REF with this idempotency key.")]


@checkpoint_app.command("amend", cls=Command)
def amend(
    ctx: typer.Context,
    ref: CheckpointRef,
    values: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="Metrics to change; NAME= or NAME=null withdraws a value.")],
    *,
    reason: Reason,
    key: Key = None,
    author: Author = None,
) -> None:
    """Correct values of a recorded checkpoint.

    The recorded values stay in the log. Values are numbers (durations in seconds); events_analyzed and sessions_included (a JSON list)
    can be changed, too. If no value differs, nothing is appended.

    Example: evalkit checkpoint amend "nightly agent" --key 2026-01-31 total_cost=2.5 tool_calls= --reason "Wrong currency"
    """
    changes = {name: _value(text) for name, text in pairs(values, "NAME=VALUE", "NAME=VALUE, such as total_cost=2.5").items()}
    with ctx.obj.kit() as kit:
        checkpoint = kit.amend_checkpoint(ref if key is None else (ref, key), changes, reason=reason, author=author)
        name = printable(kit.resolve(checkpoint.study_id).name)
        amended = "unchanged" if checkpoint.already_recorded else "amended"
        ctx.obj.print(
            f"{name}: checkpoint {minute(checkpoint.metrics.period.start)} {amended} (revision {checkpoint.revision})",
            lambda: next(row for row in json_rows(kit.checkpoints(checkpoint.study_id)) if row["checkpoint_id"] == checkpoint.id),
        )


def _value(text: str) -> Any:
    """Return a value: None if it is missing, JSON, or a text, which no metric accepts."""
    from evalkit.io.checkpoint_reader import parse_json

    if text.strip().lower() in ("", "null", "none"):
        return None
    try:
        return parse_json(text)
    except ValueError:
        return text


@checkpoint_app.command("retract", cls=Command)
def retract(ctx: typer.Context, ref: CheckpointRef, *, reason: Reason, key: Key = None, author: Author = None) -> None:
    """Declare a checkpoint invalid, so that it is left out everywhere.

    It stays in the log, and its key cannot be used again. Retracting it again has no effect.

    Example: evalkit checkpoint retract "nightly agent" --key 2026-01-31 --reason "The agent used the wrong model"
    """
    with ctx.obj.kit() as kit:
        checkpoint = kit.retract_checkpoint(ref if key is None else (ref, key), reason=reason, author=author)
        study = kit.resolve(checkpoint.study_id)
        ctx.obj.print(
            f"{printable(study.name)}: checkpoint {minute(checkpoint.metrics.period.start)} retracted",
            {"study_id": study.id, "study": study.name, "checkpoint_id": checkpoint.id, "retracted": True},
        )


@checkpoint_app.command("explain", cls=Command)
def explain(ctx: typer.Context, ref: CheckpointRef, *, key: Key = None) -> None:
    """Show a checkpoint's event, log position, origin and versions.

    Example: evalkit checkpoint explain "nightly agent" --key 2026-01-31
    """
    with ctx.obj.kit() as kit:
        explanation = kit.explain(ref if key is None else (ref, key))
        ctx.obj.print(lambda: "\n".join(map(printable, str(explanation).splitlines())), explanation.as_dict)


@checkpoint_app.command("list", cls=Command)
def list_checkpoints(ctx: typer.Context, ref: Ref, as_of: AsOf = None, values: Values = "latest", exclude: Exclude = None) -> None:
    """List a study's checkpoints, oldest first.

    The table shows the main metrics and the last 8 characters of ids; --json prints all metrics and full ids.

    Example: evalkit checkpoint list "nightly agent"
    """
    with ctx.obj.kit() as kit:
        frame = kit.checkpoints(ref, as_of=state(as_of), values=values, exclude=exclude or ())
        ctx.obj.print(lambda: checkpoint_table(frame), lambda: json_rows(frame))


@checkpoint_app.command("import", cls=Command)
def import_file(
    ctx: typer.Context,
    file: CheckpointFile,
    study: Annotated[str, typer.Option(metavar="REF", help="Select the study to record in.")],
    *,
    tz: Tz = None,
    percent: Annotated[bool, typer.Option("--percent", help="Read rates as percentages: 85% and 85 are 0.85.")] = False,
    define: Define = None,
) -> None:
    """Import checkpoints from a file.

    Nothing is recorded if any row is invalid. Separators (comma, semicolon, tab) and decimal commas are detected. Empty cells, nan, NA,
    N/A, null, none and - are missing values. A missing period_end is derived from the period of the study.

    Example: evalkit checkpoint import runs.csv --study "nightly agent"
    """
    from evalkit.io.checkpoint_files import import_checkpoints

    with ctx.obj.kit() as kit:
        result = import_checkpoints(kit, file, study, tz=tz, percent=percent, define=define)
        read_as = f" (read as {result.read_as})" if result.read_as else ""
        text = f"{plural(result.recorded, 'checkpoint')} recorded, {result.already_recorded:,} already recorded{read_as}"
        ctx.obj.print(text, {"recorded": result.recorded, "already_recorded": result.already_recorded, "read_as": result.read_as})


@checkpoint_app.command("export", cls=Command)
def export_file(
    ctx: typer.Context,
    file: CheckpointFile,
    study: Annotated[str | None, typer.Option(metavar="REF", help="Export only this study.")] = None,
    *,
    as_of: AsOf = None,
    values: Values = "latest",
    exclude: Exclude = None,
) -> None:
    """Export checkpoints to a file (overwrites).

    Example: evalkit checkpoint export runs.parquet --study "nightly agent"
    """
    from evalkit.io.checkpoint_files import export_checkpoints

    with ctx.obj.kit(must_exist=True) as kit:
        count = export_checkpoints(kit, file, study, as_of=state(as_of), values=values, exclude=exclude or ())
        ctx.obj.print(f"{plural(count, 'checkpoint')} written to {file}", {"exported": count, "file": str(file)})
