"""The state of the log that a query asks for with ``as_of=``."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256

from evalkit._util.text import plural
from evalkit.domain.refusals import invalid
from evalkit.domain.time_input import check_time
from evalkit.errors import InvalidInputError, LogMismatchError, LogUnavailableError
from evalkit.eventlog.event_log import LogPosition, record_at
from evalkit.readmodel.history import AsOf
from evalkit.readmodel.pins import Pin, PinnedPosition
from evalkit.readmodel.rows import readable
from evalkit.readmodel.snapshot import Snapshot, consistently
from evalkit.readmodel.verify import digest as digest_of
from evalkit.runtime.engine import Engine

__all__ = ["AsOfInput", "check_as_of", "current_pin", "did_not_exist", "is_before"]

AsOfInput = Pin | datetime | str | None
"""A pin or its text, a time with a time zone, or None for the latest state."""


def check_as_of(engine: Engine, field: str, value: AsOfInput) -> AsOf:
    """Check a state that a user passes; the read model is up to date.

    Raises
    ------
    InvalidInputError
        When it is neither a pin nor a time with a time zone.
    LogMismatchError
        When a pin is of another log, or has more events than the log.
    """
    if value is None:
        return None
    if isinstance(value, str) and value.strip().startswith("pin:"):
        value = Pin.parse(value)
    if isinstance(value, Pin):
        _check_pin(engine, field, value)
        return value
    if not isinstance(value, str | datetime):
        raise invalid(field, value, "expected a pin of kit.pin(), or a time with a time zone", 'e.g. "2026-11-01T00:00:00Z"')
    try:
        return check_time(field, value)
    except InvalidInputError as error:
        raise error.but(hint=f"{error.message.hint} A pin is accepted too: its text begins with 'pin:'.".strip()) from None


def is_before(state: AsOf, other: AsOf) -> bool:
    """Return whether a state is before another; False for a pin and a time."""
    if isinstance(state, Pin) and isinstance(other, Pin):
        return state.events < other.events
    return isinstance(state, datetime) and isinstance(other, datetime) and state < other


def did_not_exist(study: str, as_of: AsOfInput) -> InvalidInputError:
    """Return the error for a study that was created after a state of the log."""
    return invalid("as_of", str(as_of) if isinstance(as_of, Pin) else as_of, f"study {study!r} did not exist", hint="Choose a later state.")


def current_pin(engine: Engine, *, digest: bool = False) -> Pin:
    """Return the pin of the read model; without one, that of an empty log."""
    if not engine.exists or not engine.has_tables():
        return Pin(tuple(PinnedPosition(0, "") for _ in (engine.log.ranges() if engine.exists else [None])))

    def read() -> Pin:
        snapshot = Snapshot(engine.database)
        positions = tuple(PinnedPosition(position.next, position.last_sha256) for position in snapshot.head.positions)
        return Pin(positions, digest_of(snapshot) if digest else None)

    with readable(engine.database):
        return consistently(read)


def _check_pin(engine: Engine, field: str, pin: Pin) -> None:
    current = current_pin(engine)
    if len(pin.positions) != len(current.positions):
        raise LogMismatchError(
            f"Invalid {field}: the pin has {plural(len(pin.positions), 'partition')}, this log has {len(current.positions)}", **_OTHER
        )
    for partition, (pinned, position) in enumerate(zip(pin.positions, current.positions, strict=True)):
        if pinned.next > position.next:
            behind = " that the read model contains" if engine.behind is not None else ""
            raise LogMismatchError(
                f"Invalid {field}: the pin has {plural(pinned.next, 'event')}, but this log has only {position.next:,}{behind}",
                **({"hint": "Try again when the log is reachable."} if behind else _OTHER), partition=partition,
            )  # fmt: skip
        if pinned.next and _sha256_before(engine, partition, pinned.next, position) not in (None, pinned.last_sha256):
            raise LogMismatchError(
                f"Invalid {field}: this is the pin of another log: event {pinned.next:,} differs", **_OTHER, partition=partition
            )


def _sha256_before(engine: Engine, partition: int, offset: int, position: PinnedPosition) -> str | None:
    """Return the SHA-256 of the event before an offset; None if the log is out of reach."""
    if offset == position.next:
        return position.last_sha256
    try:
        record = record_at(engine.log, LogPosition(partition, offset - 1))
    except LogUnavailableError:
        return None  # a warning says that the read model may be outdated
    return "" if record is None else sha256(record.data).hexdigest()


_RENEW = "A pin belongs to its log; after log export and log import, make a new one with"
_OTHER = {"hint": f"{_RENEW} kit.pin().", "shell_hint": f"{_RENEW}: evalkit pin"}
