"""Check that the read model matches the log.

The digest of a read model is a SHA-256 over the rows that follow from the events, sorted by key. It excludes partitions, offsets,
generations, messages and quarantined bytes, so the same events always have the same digest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from itertools import zip_longest

from evalkit.eventlog.event_log import EventLog
from evalkit.readmodel.database.database import Database, Row, Value
from evalkit.readmodel.log_identity import check_identity
from evalkit.readmodel.replay import replayed
from evalkit.readmodel.rows import readable
from evalkit.readmodel.snapshot import Snapshot, StudyRow, consistently

__all__ = ["Difference", "VerifyResult", "digest", "verify"]

_KEYS = {
    "studies": ("id",),
    "checkpoints": ("study_id", "id"),
    "lifecycle": ("study_id", "seq"),
    "rejected": ("study_id", "event_id", "reason"),
    "changes": ("study_id", "seq"),
}
_COLUMNS = {
    "studies": ", ".join(StudyRow._fields),
    "checkpoints": "study_id, id, timestamp, metrics, events_analyzed, sessions_included, provenance, written_at",
    "lifecycle": "study_id, seq, event_id, kind, written_at",
    "rejected": "study_id, event_id, reason, written_at",
    "changes": "study_id, seq, event_id, kind, subject, body, written_at",
}
_FIRST_DIGEST = {"studies": 9, "checkpoints": 6, "lifecycle": 4, "rejected": 3}
"""The number of columns of each table that were in the digest from the beginning."""


@dataclass(frozen=True)
class Difference:
    """The first row in which a read model and its log differ."""

    table: str
    key: tuple[Value, ...]
    stored: Row | None
    """The row in the read model; None if it is missing there."""
    expected: Row | None
    """The row according to the log; None if there should be no such row."""

    def __str__(self) -> str:
        where = f"{self.table} {', '.join(str(part) for part in self.key)}"
        if self.stored is None or self.expected is None:
            return f"{where}: {'missing in the read model' if self.stored is None else 'not in the log'}"
        names = _COLUMNS[self.table].split(", ")
        columns = [name for name, stored, expected in zip(names, self.stored, self.expected, strict=True) if stored != expected]
        return f"{where}: different values in {', '.join(columns)}"


@dataclass(frozen=True)
class VerifyResult:
    """The result of `EvalKit.verify`: true if the read model matches the log.

    Examples
    --------
    >>> import tempfile, evalkit
    >>> kit = evalkit.connect(tempfile.mkdtemp())
    >>> _ = kit.create_study("nightly")
    >>> result = kit.verify()
    >>> result.ok, len(result.digest)
    (True, 64)
    >>> print(kit.verify(expect=result.digest).difference)
    None
    """

    digest: str
    """SHA-256 of the read model's rows, 64 hexadecimal digits."""
    difference: Difference | None
    """The first row that differs from the log; None without a difference."""
    expected: str | None = None
    """The expected digest, if any."""

    @property
    def ok(self) -> bool:
        """Whether the read model matches the log and the expected digest."""
        return self.difference is None and self.expected in (None, self.digest)

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        if self.difference is not None:
            return f"The read model differs from the log; first difference: {self.difference}"
        if not self.ok:
            return f"The read model matches the log, but its digest is {self.digest} instead of {self.expected}"
        return f"The read model matches the log. Digest: {self.digest}"


def digest(snapshot: Snapshot) -> str:
    """Return the SHA-256 of a snapshot, 64 hexadecimal digits.

    For each of studies, checkpoints, lifecycle and rejected: the table's name, then the values of each row (9, 6, 4 and 3), sorted by key.
    Every value is preceded by its type (``n``, ``i`` or ``t``) and its length in bytes (8, big-endian); integers are decimal text. If there
    are provenances, times of writing or changes, a SHA-256 over them follows, so the digest of a log without them is as before.
    """
    total, further, has_further = sha256(), sha256(), False
    for table, width in _FIRST_DIGEST.items():
        total.update(_prefixed(table))
        for row in _rows(snapshot, table):
            total.update(b"".join(map(_prefixed, row[:width])))
            if table != "studies" and any(value is not None for value in row[width:]):
                has_further = True
                further.update(b"".join(map(_prefixed, (table, *row[: len(_KEYS[table])], *row[width:]))))
    for row in _rows(snapshot, "changes"):
        has_further = True
        further.update(b"".join(map(_prefixed, ("changes", *row))))
    if has_further:
        total.update(_prefixed("further") + further.digest())
    return total.hexdigest()


def _rows(snapshot: Snapshot, table: str) -> Iterable[Row]:
    return snapshot.studies() if table == "studies" else snapshot.rows(table, _COLUMNS[table], _KEYS[table])


def _prefixed(value: Value) -> bytes:
    if value is None:
        return b"n"
    data = str(value).encode()
    return (b"i" if isinstance(value, int) else b"t") + len(data).to_bytes(8, "big") + data


def verify(database: Database, log: EventLog, *, expect: str | None = None) -> VerifyResult:
    """Replay the log up to the read model's positions, and compare every row.

    Parameters
    ----------
    database, log
        The read model and its log.
    expect
        The expected digest, if any.

    Raises
    ------
    LogMismatchError
        When it is a different log than that of the read model, or events are missing.
    DatabaseError
        When rebuilds replaced the read model in every attempt.
    """
    with readable(database):
        return consistently(lambda: _verify(database, log, expect))


def _verify(database: Database, log: EventLog, expect: str | None) -> VerifyResult:
    stored = Snapshot(database)
    check_identity(log, stored.head.positions)
    with replayed(log, [position.next for position in stored.head.positions]) as fresh:
        return VerifyResult(digest(stored), _first_difference(stored, Snapshot(fresh)), expect)


def _first_difference(stored: Snapshot, replayed: Snapshot) -> Difference | None:
    for table, key in _KEYS.items():
        for row, expected in zip_longest(_rows(stored, table), _rows(replayed, table)):
            if row != expected:
                width = len(key)
                if row is None or (expected is not None and expected[:width] < row[:width]):
                    return Difference(table, expected[:width], None, expected)
                return Difference(table, row[:width], row, None if expected is None or row[:width] < expected[:width] else expected)
    return None
