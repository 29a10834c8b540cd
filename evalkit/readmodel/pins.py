"""Pins: exact states of a log, to read frames as they were then."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from evalkit._util.atomic_files import reading, writing
from evalkit.domain.refusals import invalid
from evalkit.errors import InvalidInputError

__all__ = ["Pin", "PinnedPosition"]

_TEXT = re.compile(r"pin:(\d{1,19}@(?:[0-9a-f]{64})?)(,\d{1,19}@(?:[0-9a-f]{64})?)*").fullmatch


@dataclass(frozen=True)
class PinnedPosition:
    """The position in one partition of a log."""

    next: int
    """The number of events: the offset after the last one."""
    last_sha256: str
    """The SHA-256 of the last event; empty without events."""


@dataclass(frozen=True)
class Pin:
    """An exact state of a log: every partition's position, and the SHA-256 of its last event.

    Created by ``kit.pin()``; pass it, or its text, as ``as_of=``. Frames of a pin never change: not by later events, and not by a rebuild.
    A pin belongs to its log: after ``log export`` and ``log import`` into another home, make a new one.

    Parameters
    ----------
    positions
        The position in each partition.
    digest
        The digest of the read model in this state, as ``kit.verify()`` computes it; None if it was not requested.

    Examples
    --------
    >>> import tempfile, evalkit
    >>> kit = evalkit.connect(tempfile.mkdtemp())
    >>> study = kit.start_study(kit.create_study("nightly agent"))
    >>> pin = kit.pin()
    >>> _ = kit.record_checkpoint(study, {"period_start": "2026-01-31", "total_cost": 1.5}, tz="UTC")
    >>> kit.checkpoints(as_of=pin).height, kit.checkpoints(as_of=str(pin)).height, kit.checkpoints().height
    (0, 0, 1)
    """

    positions: tuple[PinnedPosition, ...]
    digest: str | None = None

    @property
    def events(self) -> int:
        """The number of events in all partitions."""
        return sum(position.next for position in self.positions)

    def __str__(self) -> str:
        return "pin:" + ",".join(f"{position.next}@{position.last_sha256}" for position in self.positions)

    def __repr__(self) -> str:
        return f"Pin({str(self)!r})"

    @classmethod
    def parse(cls, text: str) -> Pin:
        """Return the pin of its text, as ``str(pin)`` returns it.

        Raises
        ------
        InvalidInputError
            When it is not the text of a pin.

        Examples
        --------
        >>> Pin.parse("pin:0@").events
        0
        """
        if not isinstance(text, str) or not _TEXT(text.strip()):
            raise _refused("pin", text, "expected the text of a pin: pin:EVENTS@SHA256, one pair for each partition")
        pairs = [part.split("@") for part in text.strip().removeprefix("pin:").split(",")]
        if any((int(count) == 0) != (sha == "") for count, sha in pairs):
            raise _refused("pin", text, "a partition with events has a SHA-256, one without events has none")
        return cls(tuple(PinnedPosition(int(count), sha) for count, sha in pairs))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the pin to a JSON file, and return its path.

        Raises
        ------
        InvalidInputError
            When the file cannot be written.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.create_study("nightly agent")
        >>> pin = kit.pin()
        >>> path = pin.save(f"{tempfile.mkdtemp()}/paper.pin.json")
        >>> Pin.load(path) == pin
        True
        """
        content = {"pin": str(self), "events": self.events} | ({} if self.digest is None else {"digest": self.digest})
        target = Path(path)
        with writing(target) as file:
            file.write(json.dumps(content, indent=1).encode() + b"\n")
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Pin:
        """Read a pin from a file that `save` wrote.

        Raises
        ------
        InvalidInputError
            When the file cannot be read, or is not the file of a pin.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.create_study("nightly agent")
        >>> Pin.load(kit.pin().save(f"{tempfile.mkdtemp()}/paper.pin.json")).events
        1
        """
        with reading(Path(path)):
            data = Path(path).read_bytes()
        try:
            content = json.loads(data)
            pin, digest = cls.parse(content["pin"]), content.get("digest")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _refused("path", os.fspath(path), "this is not the file of a pin") from None
        return cls(pin.positions, digest if isinstance(digest, str) else None)


def _refused(field: str, value: object, problem: str) -> InvalidInputError:
    return invalid(field, value, problem, hint="Make a pin with kit.pin().").but(shell_hint="Make a pin with: evalkit pin")
