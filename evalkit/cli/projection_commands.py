"""``evalkit projection``: inspect, update, rebuild and verify the read model."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from evalkit import EvalkitError
from evalkit._util.text import plural
from evalkit.cli.common import Command, group
from evalkit.cli.consume_command import catch_up_now

__all__ = ["projection_app"]

projection_app = group("Inspect, update, rebuild and verify the read model.")


@projection_app.command("status", cls=Command)
def status(ctx: typer.Context) -> None:
    """Show the state of the log and the read model.

    This includes their locations, engines, the number of pending events, and any problems.

    Example: evalkit projection status
    """
    with ctx.obj.kit() as kit:
        status = kit.status()
        ctx.obj.print(status.in_shell(), status.as_dict())


@projection_app.command("catch-up", cls=Command)
def catch_up(ctx: typer.Context) -> None:
    """Apply new events from the log to the read model.

    Example: evalkit projection catch-up
    """
    with ctx.obj.kit(must_exist=True) as kit:
        applied = catch_up_now(kit.engine)
        status = kit.status()
        ctx.obj.print(
            f"{plural(applied, 'event')} applied ({status.events:,} in the log, {status.lag:,} pending)",
            {"applied": applied, "events": status.events, "lag": status.lag},
        )


@projection_app.command("rebuild", cls=Command)
def rebuild(
    ctx: typer.Context,
    adopt_log: Annotated[bool, typer.Option("--adopt-log", help="Accept a different log, or a log that lost events.")] = False,
) -> None:
    """Rebuild the read model from the log without blocking readers.

    Example: evalkit projection rebuild
    """
    with ctx.obj.kit(must_exist=True) as kit:
        result = kit.rebuild(adopt_log=adopt_log)
        ctx.obj.print(f"{plural(result.events, 'event')} replayed (generation {result.generation})", asdict(result))


@projection_app.command("verify", cls=Command)
def verify(
    ctx: typer.Context,
    expect: Annotated[str | None, typer.Option(metavar="DIGEST", help="Fail unless the read model has this digest.")] = None,
) -> None:
    """Replay the log and compare the result with the read model.

    The exit code is 1 if they differ.

    Example: evalkit projection verify
    """
    with ctx.obj.kit(must_exist=True) as kit:
        result = kit.verify(expect=expect)
        difference = None if result.difference is None else str(result.difference)
        if result.ok or ctx.obj.json:
            ctx.obj.print(str(result), {"ok": result.ok, "digest": result.digest, "expected": result.expected, "difference": difference})
        if not result.ok:
            raise EvalkitError(str(result))
