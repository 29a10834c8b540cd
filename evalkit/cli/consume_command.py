"""``evalkit consume``: a process that keeps a read model up to date for everybody, and says what it does as a log with one event a line."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import typer

from evalkit.errors import DatabaseBusyError, DatabaseUnavailableError, LogUnavailableError, ReadOnlyError, SchemaError
from evalkit.runtime.engine import CONSUMER, Engine
from evalkit.settings import redacted

__all__ = ["catch_up_now", "consume"]


def consume(ctx: typer.Context) -> None:
    """Apply events as they come, until Ctrl-C or SIGTERM. Several may run at once; what happens is logged to standard error.

    Example: evalkit consume
    """
    with _stopped_by_signals() as stop, ctx.obj.kit(must_exist=True, role=CONSUMER) as kit:
        engine: Engine = kit.engine
        log = _Log(as_json=ctx.obj.json)
        log.say("started", log=redacted(engine.settings.log_url), database=redacted(engine.settings.database_url), writer=engine.writer)
        try:
            applied = catch_up_now(engine, stop, log.count)
        except (LogUnavailableError, DatabaseUnavailableError, DatabaseBusyError):
            if not log.total:
                raise  # nothing has answered yet: it is set up wrongly
        else:
            if not stop.is_set():
                ctx.obj.say(f"Caught up: {applied} events applied. Waiting for more; Ctrl-C ends.", {"caught_up": True, "applied": applied})
        if not stop.is_set():
            engine.consumer.run(
                stop,
                on_batch=log.count,
                on_lost=lambda error: log.say("lost", "warning", reason=error.message.in_shell(), then="waiting for it"),
                on_back=lambda: log.say("back"),
            )
        log.flush()
        log.say("stopped", applied=log.total)


def catch_up_now(engine: Engine, stop: threading.Event | None = None, on_batch: Callable[[int], None] = lambda _: None) -> int:
    """Apply what is new in the log, and give how many events that were.

    Raises
    ------
    ReadOnlyError
        When nothing may be written.
    """
    if engine.not_writable is not None:
        raise ReadOnlyError(f"{engine.not_writable}, so the read model cannot be brought up to date.")
    batches: list[int] = []

    def count(events: int) -> None:
        batches.append(events)
        on_batch(events)

    try:
        engine.consumer.catch_up(on_batch=count, stop=stop)
    except SchemaError:
        engine.catch_up()  # which makes an embedded read model of an older version anew, and refuses any other
    return sum(batches)


class _Log:
    """Writes one event a line: time, level, event, and what belongs to it; as JSON where that was asked for."""

    def __init__(self, *, as_json: bool) -> None:
        self.total = 0
        self._as_json = as_json
        self._unsaid = 0
        self._said_at = float("-inf")

    def say(self, event: str, level: str = "info", **values: object) -> None:
        at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
        if self._as_json:
            line = json.dumps({"at": at, "level": level, "event": event, **values})
        else:
            line = " ".join([at, level, event, *(f"{name}={json.dumps(value)}" for name, value in values.items())])
        print(line, file=sys.stderr, flush=True)

    def count(self, events: int) -> None:
        """Say how many events were applied, once a second at most."""
        self.total += events
        self._unsaid += events
        if time.monotonic() - self._said_at > 1:
            self.flush()

    def flush(self) -> None:
        """Say what was applied and not said yet."""
        if self._unsaid:
            self.say("applied", events=self._unsaid, total=self.total)
            self._unsaid, self._said_at = 0, time.monotonic()


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
