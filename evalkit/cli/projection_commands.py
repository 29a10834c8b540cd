"""``evalkit projection``: the read model, how far it is, and what brings it forward."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from evalkit import EvalkitError
from evalkit.cli.common import Command, group
from evalkit.cli.consume_command import catch_up_now

__all__ = ["projection_app"]

projection_app = group("The read model: how far it is, rebuild, verify.")


@projection_app.command("status", cls=Command)
def status(ctx: typer.Context) -> None:
    """Say where things are, how far the read model is, and what is wrong.

    Example: evalkit projection status
    """
    with ctx.obj.kit() as kit:
        found = kit.status()
        ctx.obj.say(found.in_shell(), found.as_dict())


@projection_app.command("catch-up", cls=Command)
def catch_up(ctx: typer.Context) -> None:
    """Apply what is new in the log, and return.

    Example: evalkit projection catch-up
    """
    with ctx.obj.kit(must_exist=True) as kit:
        applied = catch_up_now(kit.engine)
        found = kit.status()
        ctx.obj.say(
            f"{applied} events applied; {found.events} in the log, {found.lag} behind",
            {"applied": applied, "events": found.events, "lag": found.lag},
        )


@projection_app.command("rebuild", cls=Command)
def rebuild(
    ctx: typer.Context,
    adopt_log: Annotated[bool, typer.Option("--adopt-log", help="Accept another log, or one that lost events.")] = False,
) -> None:
    """Make the read model anew from the log, while readers go on with the old one.

    Example: evalkit projection rebuild
    """
    with ctx.obj.kit(must_exist=True) as kit:
        done = kit.rebuild(adopt_log=adopt_log)
        ctx.obj.say(f"{done.events} events replayed; generation {done.generation}", asdict(done))


@projection_app.command("verify", cls=Command)
def verify(
    ctx: typer.Context, expect: Annotated[str | None, typer.Option(metavar="DIGEST", help="Must be the read model's digest.")] = None
) -> None:
    """Fold the log afresh and compare every row; exit code 1 when one differs.

    Example: evalkit projection verify
    """
    with ctx.obj.kit(must_exist=True) as kit:
        found = kit.verify(expect=expect)
        difference = None if found.difference is None else str(found.difference)
        if found.ok or ctx.obj.json:
            ctx.obj.say(str(found), {"ok": found.ok, "digest": found.digest, "expected": found.expected, "difference": difference})
        if not found.ok:
            raise EvalkitError(str(found))
