"""``evalkit projection`` and ``evalkit consume``: the read model, how far it is, and what brings it forward."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

import typer

from evalkit import EvalkitError
from evalkit.cli.session import Command, group, in_shell_words
from evalkit.engine import Engine
from evalkit.errors import ReadOnlyError, SchemaError

__all__ = ["consume", "projection_app"]

projection_app = group("The read model: how far it is, rebuild, verify.")


@projection_app.command("status", cls=Command)
def status(ctx: typer.Context) -> None:
    """Say where things are, how far the read model is, and what is wrong.

    Example: evalkit projection status
    """
    with ctx.obj.kit() as kit:
        found = kit.status()
        ctx.obj.say(in_shell_words(repr(found)), asdict(found))


@projection_app.command("catch-up", cls=Command)
def catch_up(ctx: typer.Context) -> None:
    """Apply what is new in the log, and return.

    Example: evalkit projection catch-up
    """
    with ctx.obj.kit(must_exist=True) as kit:
        applied = _catch_up(kit._engine)
        found = kit.status()
        ctx.obj.say(
            f"{applied} events applied; {found.events} in the log, {found.lag} behind",
            {"applied": applied, "events": found.events, "lag": found.lag},
        )


def _catch_up(engine: Engine, stop: threading.Event | None = None) -> int:
    if engine.not_writable is not None:
        raise ReadOnlyError(f"{engine.not_writable}, so the read model cannot be brought up to date.")
    batches: list[int] = []
    try:
        engine.consumer.catch_up(on_batch=batches.append, stop=stop)
    except SchemaError:
        engine.catch_up()  # which makes an embedded read model of an older version anew, and refuses any other
    return sum(batches)


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


def consume(ctx: typer.Context) -> None:
    """Apply events as they come, until Ctrl-C or SIGTERM.

    Example: evalkit consume
    """
    with _stopped_by_signals() as stop, ctx.obj.kit(must_exist=True) as kit:
        applied = _catch_up(kit._engine, stop)
        if not stop.is_set():
            ctx.obj.say(f"Caught up: {applied} events applied. Waiting for more; Ctrl-C ends.", {"caught_up": True, "applied": applied})
        kit._engine.consumer.run(stop)


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Give an event that the first SIGINT or SIGTERM sets; a second one acts as if nobody listened."""
    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def heard(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in numbers:
        signal.signal(number, heard)
    try:
        yield stop
    finally:
        for number in numbers:
            signal.signal(number, before[number])
