"""``evalkit study``: create, run and inspect studies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from evalkit import StudyStatus
from evalkit._util.text import plural
from evalkit.cli.common import At, Command, Ref, group
from evalkit.cli.tables import checkpoint_table, json_rows, minute, printable, short_id, study_line, study_row, table

if TYPE_CHECKING:
    import polars as pl

__all__ = ["study_app"]

study_app = group("Create, run and inspect studies.")


@study_app.command("create", cls=Command)
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the study.")],
    *,
    period: Annotated[
        str,
        typer.Option(
            metavar="PERIOD", help="Set the period: hourly, daily, weekly or monthly, optionally with a planned count (weekly:2)."
        ),
    ] = "daily",
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="Describe the study.")] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="TAG", help="Add a tag (repeatable).")] = None,
    meta: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Add metadata, such as model=m-1 (repeatable).")] = None,
    at: At = None,
    if_exists: Annotated[Literal["error", "open"], typer.Option(help="Choose what to do if a study has this name.")] = "error",
) -> None:
    """Create a study in the pending state.

    Example: evalkit study create "nightly agent" --period daily:30 --tag baseline --meta model=m-1
    """
    with ctx.obj.kit() as kit:
        study = kit.create_study(
            name, period=period, description=description, tags=tag or (), metadata=_pairs(meta or []), at=at, if_exists=if_exists
        )
        ctx.obj.print(f"{study_line(study)} (id {study.id})", lambda: study_row(kit, study))


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key in pairs:
            problem = f"duplicate key {key!r}." if equals else f"expected KEY=VALUE, such as model=m-1; got {text!r}."
            raise typer.BadParameter(problem, param_hint="'--meta'")
        pairs[key] = value
    return pairs


def _change(ctx: typer.Context, command: str, ref: str, at: str | None) -> None:
    with ctx.obj.kit() as kit:
        study = getattr(kit, f"{command}_study")(ref, at=at)
        ctx.obj.print(study_line(study), lambda: study_row(kit, study))


@study_app.command("start", cls=Command)
def start(ctx: typer.Context, ref: Ref, at: At = None) -> None:
    """Start a pending study.

    Example: evalkit study start "nightly agent"
    """
    _change(ctx, "start", ref, at)


@study_app.command("pause", cls=Command)
def pause(ctx: typer.Context, ref: Ref, at: At = None) -> None:
    """Pause a running study.

    Example: evalkit study pause "nightly agent"
    """
    _change(ctx, "pause", ref, at)


@study_app.command("resume", cls=Command)
def resume(ctx: typer.Context, ref: Ref, at: At = None) -> None:
    """Resume a paused study.

    Example: evalkit study resume "nightly agent" --at 2026-01-31T08:00:00Z
    """
    _change(ctx, "resume", ref, at)


@study_app.command("stop", cls=Command)
def stop(ctx: typer.Context, ref: Ref, at: At = None) -> None:
    """Stop a study permanently.

    Example: evalkit study stop "nightly agent"
    """
    _change(ctx, "stop", ref, at)


@study_app.command("list", cls=Command)
def list_studies(
    ctx: typer.Context, status: Annotated[StudyStatus | None, typer.Option(help="List only studies with this status.")] = None
) -> None:
    """List studies, newest first.

    The table shows the last 8 characters of ids; --json prints full ids.

    Example: evalkit study list --status running
    """
    with ctx.obj.kit() as kit:
        frame = kit.studies()
        rows = [row for row in json_rows(frame) if status in (None, row["status"])]
        columns = {
            "name": "name",
            "status": "status",
            "period": "period",
            "checkpoints": "checkpoints",
            "created_at": "created",
            "id": "id",
        }
        for row in rows if not ctx.obj.json else ():
            planned = f":{row['period_value']}" if row["period_value"] is not None else ""
            row.update(period=row["period_type"] + planned, id=short_id(row["study_id"]), created_at=minute(row["created_at"]))
        ctx.obj.print(lambda: table(rows, columns), rows)


@study_app.command("show", cls=Command)
def show(ctx: typer.Context, ref: Ref) -> None:
    """Show a study with its lifecycle and latest checkpoints.

    Example: evalkit study show "nightly agent"
    """
    with ctx.obj.kit() as kit:
        row = study_row(kit, kit.resolve(ref))
        lifecycle = [event for event in json_rows(kit.lifecycle()) if event["study_id"] == row["study_id"]]
        frame = kit.checkpoints(row["study_id"])
        periods = frame.select("period_start", "period_end").unique().height
        data = {**row, "periods_recorded": periods, "lifecycle": lifecycle, "last_checkpoints": json_rows(frame.tail(5))}
        ctx.obj.print(lambda: _study_text(data, frame.tail(5)), data)


def _study_text(study: dict[str, Any], last: pl.DataFrame) -> str:
    recorded = study["periods_recorded"]
    planned = study["period_value"]
    progress = (
        f"{plural(recorded, 'period')} with checkpoints (no planned count)" if planned is None else f"{recorded} of {planned} recorded"
    )
    fields = {
        "id": study["study_id"],
        "status": study["status"],
        "period": f"{study['period_type']}, {progress}",
        "description": study["description"],
        "tags": ", ".join(study["tags"]),
        "metadata": ", ".join(f"{key}={value}" for key, value in study["metadata"].items()),
    }
    lines = [printable(study["name"]), *(f"  {name:<13}{printable(value)}" for name, value in fields.items() if value)]
    events = [{**event, "kind": event["kind"].removeprefix("study_"), "at": minute(event["at"])} for event in study["lifecycle"]]
    lines += ["", table(events, {"seq": "", "kind": "event", "at": "time (UTC)"})]
    return "\n".join([*lines, "", checkpoint_table(last) if last.height else "No checkpoints yet."])
