"""The log as wire NDJSON, one event a line: the backup, and the way to another engine."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import BinaryIO, NamedTuple

from pydantic_core import from_json

from evalkit.domain.codec import decode, readable_ids
from evalkit.domain.events import EncodedEvent, InvalidEventError
from evalkit.domain.ids import normalize_event_id, normalize_id
from evalkit.errors import InvalidInputError, LogError, warn
from evalkit.readmodel.database.database import in_parts
from evalkit.readmodel.fold import Reason
from evalkit.readmodel.projection import DECIDED
from evalkit.readmodel.schema import Tables
from evalkit.runtime.engine import Engine

__all__ = ["LogExport", "LogImport", "export_log", "import_log"]

_CHUNK = 4000
_IN_MEMORY = 32 << 20


@dataclass(frozen=True)
class LogExport:
    """What `export_log` did."""

    exported: int
    """Events written, one a line."""
    respaced: int
    """Of those, events with line breaks between their values, which became spaces."""
    not_json: int
    """Events left out because their bytes are not JSON."""
    without_event_id: int
    """Events left out because they are JSON, but no object with a version 7 event id: `import_log` would refuse the file."""


@dataclass(frozen=True)
class LogImport:
    """What `import_log` did."""

    appended: int
    skipped: int
    """Events that were decided before, or stand in the file twice."""


def export_log(engine: Engine, stream: BinaryIO) -> LogExport:
    """Write every event of a log as one line of JSON, byte for byte; each study's events in their order.

    Nothing is encoded anew. Strict JSON holds raw line breaks only between its values, and there a space says the same; but a
    read model keeps the texts of `metrics` and `config` as they were written, so where a break stood in one of those, another digest comes
    of the exported log. What is no line of JSON that `import_log` takes changed nothing in the read model; it is left out and counted.

    Parameters
    ----------
    engine
        Whose log. The read model is not asked: a damaged one is no obstacle to a backup.
    stream
        Where the lines go.
    """
    ranges = engine.log.ranges()
    for partition, (first, _) in enumerate(ranges):
        if first > 0:
            warn(f"The log's partition {partition} begins at offset {first}: its first {first} events are gone, and not in this export.")
    expected = [first for first, _ in ranges]
    consumer = engine.log.consumer("eval-export")
    counts: Counter[str] = Counter()
    missing = 0
    while any(at < end for at, (_, end) in zip(expected, ranges, strict=True)) and (records := consumer.poll(_CHUNK, 0)):
        lines = []
        for partition, offset, data in records:
            if offset < ranges[partition].end:  # what was appended since is left for the next export
                missing += offset - expected[partition]
                expected[partition] = offset + 1
                lines.append(_line(data, counts))
        stream.write(b"".join(lines))
    missing += sum(end - at for at, (_, end) in zip(expected, ranges, strict=True))
    if missing:
        warn(f"The log lacks {missing} events in its middle: they are not in this export. Restore the log from an earlier backup.")
    return LogExport(counts["exported"], counts["respaced"], counts["not_json"], counts["without_event_id"])


def _line(data: bytes, counts: Counter[str]) -> bytes:
    try:
        _event_id_in(data)
    except _NoJsonError:
        counts["not_json"] += 1
        return b""
    except ValueError:
        counts["without_event_id"] += 1
        return b""
    counts["exported"] += 1
    if b"\n" in data or b"\r" in data:
        counts["respaced"] += 1
        data = data.replace(b"\n", b" ").replace(b"\r", b" ")
    return data + b"\n"


class _NoJsonError(ValueError):
    """Bytes that are not strict JSON."""


def _event_id_in(data: bytes) -> str:
    """Give the event id of any JSON object that has one, whatever its kind; raise a `ValueError` that says what is wrong."""
    try:
        content = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise _NoJsonError(f"is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"is JSON, but no object: {data[:60].decode(errors='replace')}")
    if not isinstance(content.get("event_id"), str):
        raise ValueError('has no "event_id" that is a text')
    try:
        return normalize_event_id(content["event_id"])
    except ValueError as error:
        raise ValueError(f"has a wrong event_id: {error}") from None


def import_log(engine: Engine, stream: BinaryIO) -> LogImport:
    """Append the events of wire NDJSON, byte for byte, and bring the read model up to date.

    Event ids stay, unknown kinds are kept, and what was decided before is skipped, so importing twice adds nothing, and an import that was
    cut short is finished by importing again.

    Parameters
    ----------
    engine
        To whose log.
    stream
        One event a line; empty lines are passed over.

    Raises
    ------
    InvalidInputError
        Naming the first line that is no JSON object with a version 7 ``event_id``. Nothing was appended then.
    """
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
        if not _spooled(stream, spool):
            return LogImport(0, 0)
        with engine.command():
            engine.make_ready()
            seen: set[tuple[str, str]] = set()
            appended = skipped = 0
            spool.seek(0)
            lines = (line.rstrip(b"\r\n") for line in spool)
            while chunk := [_Imported.of(line) for line in islice(lines, _CHUNK)]:
                messages = list(_new(engine, chunk, seen))
                try:
                    if messages:
                        engine.log.append([one.message for one in messages])
                except LogError as error:
                    before = f"Before that {appended} events of the import were appended: import again, and the rest is."
                    raise error.but(effect=f"{error.message.effect} {before if appended else ''}".strip()) from None
                appended += len(messages)
                skipped += len(chunk) - len(messages)
            engine.catch_up()
    return LogImport(appended, skipped)


def _spooled(stream: Iterable[bytes], spool: tempfile.SpooledTemporaryFile[bytes]) -> int:
    """Check every line, copy those that are not empty, and give their number: a pipe can be read only once, and a file may change."""
    count = 0
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            _event_id_in(line.rstrip(b"\r\n"))
        except ValueError as error:
            raise InvalidInputError(
                f"line {number} {error}. Every line must be a JSON object with a version 7 event_id",
                effect="Nothing was appended.",
                field="line", value=number,
            ) from None  # fmt: skip
        spool.write(line)
        count += 1
    return count


class _Imported(NamedTuple):
    """A line to import: the message, and the study and key under which the projection knows what was decided."""

    message: EncodedEvent
    study_id: str
    key: str

    @classmethod
    def of(cls, data: bytes) -> _Imported:
        try:
            event = decode(data)
            return cls(EncodedEvent(event.study_id, event.event_id, data), event.study_id, event.event_id)
        except InvalidEventError:
            study_id, event_id = readable_ids(data)
            return cls(
                EncodedEvent(study_id or _study_of_unknown(data), _event_id_in(data), data), study_id, event_id or sha256(data).hexdigest()
            )


def _study_of_unknown(data: bytes) -> str:
    """Give the study that an event of an unknown kind seems to belong to, so that it stays with that study's events; else ``""``."""
    event = from_json(data).get("event")
    for field in ("study_id", "id"):
        try:
            return normalize_id(event[field])
        except (ValueError, TypeError, KeyError):
            continue
    return ""


def _new(engine: Engine, chunk: list[_Imported], seen: set[tuple[str, str]]) -> Iterator[_Imported]:
    """Give the events that were not decided before, and were not seen, and see them."""
    sql = DECIDED.format(**Tables.with_suffix()._asdict())
    asked = [[one.study_id, one.key] for one in chunk]
    rows = in_parts(lambda part: engine.database.execute(sql, (json.dumps(part),)), asked)
    # What was rejected for standing in a wrong partition was not decided in the right one.
    seen |= {(str(study_id), str(key)) for study_id, key, reason in rows if reason != Reason.WRONG_PARTITION}
    for one in chunk:
        if (one.study_id, one.key) not in seen:
            seen.add((one.study_id, one.key))
            yield one
