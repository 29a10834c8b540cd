"""``evalkit consume``: keep a read model up to date, and log the activity."""

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

from evalkit._util.text import plural
from evalkit.errors import DatabaseBusyError, DatabaseUnavailableError, LogUnavailableError, ReadOnlyError, SchemaError
from evalkit.runtime.engine import CONSUMER, Engine
from evalkit.settings import redacted

__all__ = ["catch_up_now", "consume"]


def consume(ctx: typer.Context) -> None:
    """Apply events continuously until Ctrl-C or SIGTERM.

    Several consumers may run at the same time. Activity is logged to standard error.

    Example: evalkit consume
    """
    with _stopped_by_signals() as stop, ctx.obj.kit(must_exist=True, role=CONSUMER) as kit:
        engine: Engine = kit.engine
        log = _ActivityLog(as_json=ctx.obj.json)
        log.write("started", log=redacted(engine.settings.log_url), database=redacted(engine.settings.database_url), writer=engine.writer)
        try:
            applied = catch_up_now(engine, stop, log.count)
        except (LogUnavailableError, DatabaseUnavailableError, DatabaseBusyError):
            if not log.total:
                raise  # nothing was ever read: the URL is probably wrong
        else:
            if not stop.is_set():
                ctx.obj.print(
                    f"Caught up ({plural(applied, 'event')} applied). Waiting for new events; press Ctrl-C to stop.",
                    {"caught_up": True, "applied": applied},
                )
        if not stop.is_set():
            engine.consumer.run(
                stop,
                on_batch=log.count,
                on_lost=lambda error: log.write("lost", "warning", reason=error.message.in_shell(), then="retrying"),
                on_back=lambda: log.write("back"),
            )
        log.flush()
        log.write("stopped", applied=log.total)


def catch_up_now(engine: Engine, stop: threading.Event | None = None, on_batch: Callable[[int], None] = lambda _: None) -> int:
    """Apply new events from the log, and return their number.

    Raises
    ------
    ReadOnlyError
        If the kit is not writable.
    """
    if engine.not_writable is not None:
        raise ReadOnlyError(f"Cannot update the read model: {engine.not_writable}", hint=engine.write_hint)
    batches: list[int] = []

    def count(events: int) -> None:
        batches.append(events)
        on_batch(events)

    try:
        engine.consumer.catch_up(on_batch=count, stop=stop)
    except SchemaError:
        engine.catch_up()  # rebuilds an embedded read model of an older version; raises for any other
    return sum(batches)


class _ActivityLog:
    """A log on stderr: one line of text or JSON per event, with time, level and values."""

    def __init__(self, *, as_json: bool) -> None:
        self.total = 0
        self._as_json = as_json
        self._pending = 0
        self._written_at = float("-inf")

    def write(self, event: str, level: str = "info", **values: object) -> None:
        at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
        if self._as_json:
            line = json.dumps({"at": at, "level": level, "event": event, **values})
        else:
            line = " ".join([at, level, event, *(f"{name}={json.dumps(value)}" for name, value in values.items())])
        print(line, file=sys.stderr, flush=True)

    def count(self, events: int) -> None:
        """Log the number of applied events, at most once per second."""
        self.total += events
        self._pending += events
        if time.monotonic() - self._written_at > 1:
            self.flush()

    def flush(self) -> None:
        """Log the applied events that were not logged yet."""
        if self._pending:
            self.write("applied", events=self._pending, total=self.total)
            self._pending, self._written_at = 0, time.monotonic()


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Yield an event that is set by the first SIGINT or SIGTERM.

    A second signal has its usual effect.
    """
    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous_handlers = {number: signal.getsignal(number) for number in numbers}

    def handle(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, previous_handlers[signal.Signals(number)])

    for number in numbers:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number in numbers:
            signal.signal(number, previous_handlers[number])
