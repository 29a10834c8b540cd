"""``evalkit study``: create, run and inspect studies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from evalkit import StudyStatus
from evalkit._util.text import plural
from evalkit.cli.common import AsOf, At, Command, Exclude, Ref, Values, group, pairs, state
from evalkit.cli.tables import checkpoint_table, json_rows, minute, note_table, printable, short_id, study_line, study_row, table

if TYPE_CHECKING:
    import polars as pl

__all__ = ["study_app"]

Cadence = Annotated[
    Literal["per-period", "per-run"] | None,
    typer.Option(help="Say what a checkpoint describes: a whole period, or a run of any length. [default: per-period]"),
]
_PAIR = "KEY=VALUE, such as model=m-1"

study_app = group("Create, run, change and inspect studies.")


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
    cadence: Cadence = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Define a standard metric, such as tool_calls (repeatable)."),
    ] = None,
    at: At = None,
    if_exists: Annotated[Literal["error", "open"], typer.Option(help="Choose what to do if a study has this name.")] = "error",
) -> None:
    """Create a study in the pending state.

    Example: evalkit study create "nightly agent" --period daily:30 --tag baseline --meta model=m-1
    """
    with ctx.obj.kit() as kit:
        study = kit.create_study(
            name, period=period, description=description, tags=tag or (), metadata=pairs(meta or [], "--meta", _PAIR), cadence=cadence,
            metrics=metric or (), at=at, if_exists=if_exists,
        )  # fmt: skip
        ctx.obj.print(f"{study_line(study)} (id {study.id})", lambda: study_row(kit, study))


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


@study_app.command("rename", cls=Command)
def rename(ctx: typer.Context, ref: Ref, name: Annotated[str, typer.Argument(metavar="NAME", help="New name of the study.")]) -> None:
    """Rename a study.

    Example: evalkit study rename "nightly agent" "nightly agent, old prompt"
    """
    with ctx.obj.kit() as kit:
        study = kit.rename_study(ref, name)
        ctx.obj.print(study_line(study), lambda: study_row(kit, study))


@study_app.command("edit", cls=Command)
def edit(
    ctx: typer.Context,
    ref: Ref,
    *,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="Replace the description; an empty text removes it.")] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="TAG", help="Replace all tags (repeatable).")] = None,
    no_tags: Annotated[bool, typer.Option("--no-tags", help="Remove all tags.")] = False,
    meta: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Set metadata, such as model=m-1 (repeatable).")] = None,
    remove_meta: Annotated[list[str] | None, typer.Option(metavar="KEY", help="Remove metadata (repeatable).")] = None,
    cadence: Cadence = None,
) -> None:
    """Change the description, tags, metadata or cadence of a study.

    Omitted options change nothing.

    Example: evalkit study edit "nightly agent" --description "New prompt" --meta model=m-2 --remove-meta seed
    """
    metadata: dict[str, str | None] = {**pairs(meta or [], "--meta", _PAIR)}
    for key in remove_meta or []:
        if key in metadata:
            raise typer.BadParameter(f"{key!r} is also set with --meta.", param_hint="'--remove-meta'")
        metadata[key] = None
    if tag and no_tags:
        raise typer.BadParameter("omit it, or omit --tag.", param_hint="'--no-tags'")
    tags = [] if no_tags else tag or None
    if (description, tags, cadence) == (None, None, None) and not metadata:
        ctx.fail("Nothing to change: pass --description, --tag, --no-tags, --meta, --remove-meta or --cadence.")
    with ctx.obj.kit() as kit:
        study = kit.edit_study(ref, description=description, tags=tags, metadata=metadata or None, cadence=cadence)
        ctx.obj.print(study_line(study), lambda: study_row(kit, study))


@study_app.command("archive", cls=Command)
def archive(ctx: typer.Context, ref: Ref) -> None:
    """Archive a study: leave it out of lists and look-ups by name.

    Its data and its name are kept. Its full id still selects it.

    Example: evalkit study archive "nightly agent"
    """
    with ctx.obj.kit() as kit:
        study = kit.archive_study(ref)
        ctx.obj.print(f"{printable(study.name)}: archived", lambda: study_row(kit, study))


@study_app.command("unarchive", cls=Command)
def unarchive(ctx: typer.Context, ref: Ref) -> None:
    """Restore a study from the archive.

    Example: evalkit study unarchive "nightly agent"
    """
    with ctx.obj.kit() as kit:
        study = kit.unarchive_study(ref)
        ctx.obj.print(study_line(study), lambda: study_row(kit, study))


@study_app.command("list", cls=Command)
def list_studies(
    ctx: typer.Context,
    status: Annotated[StudyStatus | None, typer.Option(help="List only studies with this status.")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="List archived studies, too.")] = False,
    as_of: AsOf = None,
) -> None:
    """List studies, newest first.

    The table shows the last 8 characters of ids; --json prints full ids.

    Example: evalkit study list --status running
    """
    with ctx.obj.kit() as kit:
        frame = kit.studies(as_of=state(as_of), archived=archived)
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
            row["status"] += ", archived" if row["archived"] else ""
            row.update(period=row["period_type"] + planned, id=short_id(row["study_id"]), created_at=minute(row["created_at"]))
        ctx.obj.print(lambda: table(rows, columns), rows)


@study_app.command("show", cls=Command)
def show(ctx: typer.Context, ref: Ref, as_of: AsOf = None, values: Values = "latest", exclude: Exclude = None) -> None:
    """Show a study with its lifecycle, notes and latest checkpoints.

    Example: evalkit study show "nightly agent"
    """
    with ctx.obj.kit() as kit:
        study, then = kit.resolve(ref), state(as_of)
        row = study_row(kit, study, then)
        lifecycle, metrics, notes = (
            [line for line in json_rows(frame) if line["study_id"] == study.id]
            for frame in (
                kit.lifecycle(as_of=then, archived=True), kit.metrics(study, as_of=then), kit.notes(study, as_of=then)
            )
        )  # fmt: skip
        frame = kit.checkpoints(study, as_of=then, values=values, exclude=exclude or ())
        periods = frame.select("period_start", "period_end").unique().height
        data = {
            **row, "periods_recorded": periods, "metrics": metrics, "lifecycle": lifecycle, "notes": notes,
            "last_checkpoints": json_rows(frame.tail(5)),
        }  # fmt: skip
        ctx.obj.print(lambda: _study_text(data, frame.tail(5)), data)


def _study_text(study: dict[str, Any], last: pl.DataFrame) -> str:
    recorded = study["periods_recorded"]
    planned = study["period_value"]
    progress = (
        f"{plural(recorded, 'period')} with checkpoints (no planned count)" if planned is None else f"{recorded} of {planned} recorded"
    )
    fields = {
        "id": study["study_id"],
        "status": study["status"] + (", archived" if study["archived"] else ""),
        "period": f"{study['period_type']}, {progress}",
        "description": study["description"],
        "tags": ", ".join(study["tags"]),
        "metadata": ", ".join(f"{key}={value}" for key, value in study["metadata"].items()),
        "metrics": ", ".join(metric["name"] for metric in study["metrics"]),
    }
    lines = [printable(study["name"]), *(f"  {name:<13}{printable(value)}" for name, value in fields.items() if value)]
    events = [{**event, "kind": event["kind"].removeprefix("study_"), "at": minute(event["at"])} for event in study["lifecycle"]]
    lines += ["", table(events, {"seq": "", "kind": "event", "at": "time (UTC)"})]
    if study["notes"]:
        lines += ["", note_table(study["notes"][-5:], study=False)]
    return "\n".join([*lines, "", checkpoint_table(last) if last.height else "No checkpoints yet."])
