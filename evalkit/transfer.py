"""In and out: checkpoints as csv, parquet and ndjson files, and the log as wire NDJSON.

A checkpoints file holds the columns of ``kit.checkpoints()`` under their names. What a format cannot say by itself is spelled so that it
comes back as it was:

=======  ========================  ===========================  =================  ==========
format   times                     avg_session_duration         sessions_included  missing
=======  ========================  ===========================  =================  ==========
csv      RFC 3339 to microseconds  seconds, an exact decimal    JSON text          empty cell
ndjson   RFC 3339 to microseconds  ``[seconds, nanoseconds]``   list               null
parquet  timestamp (us, UTC)       duration (us)                list               null
=======  ========================  ===========================  =================  ==========

Numbers are written with every digit that tells them from their neighbours; text is UTF-8.
"""

from __future__ import annotations

import csv
import json
import os
import re
import secrets
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from pydantic_core import from_json

from evalkit import EvalKit, Study
from evalkit.commands import RecordCheckpoint
from evalkit.content import content_of_command
from evalkit.engine import Engine
from evalkit.errors import EvalkitError, InvalidInputError, LogError, warn
from evalkit.events import MAX_EVENT_BYTES, InvalidEventError, decode, readable_ids
from evalkit.frames import CHECKPOINTS
from evalkit.garbage import collector_paused
from evalkit.handlers import RecordedCheckpoints
from evalkit.ids import milliseconds, normalize_event_id, normalize_id
from evalkit.log.port import LogMessage
from evalkit.projection.fold import Reason
from evalkit.projection.projection import _DECIDED
from evalkit.projection.schema import Tables

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "LogExport",
    "LogImport",
    "as_json",
    "export_checkpoints",
    "export_log",
    "import_checkpoints",
    "import_log",
    "reading",
    "writing",
]

_CHUNK = 4000
_IN_MEMORY = 32 << 20
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII).fullmatch
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII).fullmatch


# --- files ------------------------------------------------------------------------------------------------------------------------------


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong while `path` is read into an `InvalidInputError` that names it."""
    with _named(path, "cannot be read", OSError, ValueError, csv.Error):
        yield


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Give a file that stands at `path` when the block ends well, whole and durable; until then, and if it fails, nothing changes there.

    What is no ordinary file, such as a pipe, is written directly.

    Raises
    ------
    InvalidInputError
        When it cannot be written.
    """
    with _named(path, "cannot be written", OSError):
        target = path.resolve()
        if target.exists() and not target.is_file():
            with target.open("wb") as file:
                yield file
            return
        draft = target.with_name(f".evalkit-{secrets.token_hex(4)}.part")
        try:
            with draft.open("xb") as file:
                if target.exists():
                    draft.chmod(target.stat().st_mode & 0o777)
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)


@contextmanager
def _named(path: Path, problem: str, *kinds: type[Exception]) -> Iterator[None]:
    try:
        yield
    except (EvalkitError, BrokenPipeError):
        raise
    except Exception as error:
        if not isinstance(error, kinds) and type(error).__module__.partition(".")[0] != "polars":
            raise
        words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InvalidInputError(f"{path} {problem}: {words}", field="file", value=str(path)) from None


# --- checkpoints ------------------------------------------------------------------------------------------------------------------------


def export_checkpoints(kit: EvalKit, path: Path, study: Study | str | None = None) -> int:
    """Write checkpoints to a file; its extension says how. A file that is there already is replaced, at once and whole.

    Parameters
    ----------
    kit
        Where they come from.
    path
        Ends in ``.csv``, ``.parquet`` or ``.ndjson``.
    study
        Whose checkpoints; None for all.

    Returns
    -------
    int
        How many were written.

    Raises
    ------
    InvalidInputError
        When the extension is another one, or the file cannot be written.
    """
    write = {"csv": _write_csv, "parquet": _write_parquet, "ndjson": _write_ndjson}[_format(path)]
    frame = kit.checkpoints(study)
    with writing(path) as file:
        write(frame, file)
    return frame.height


def import_checkpoints(kit: EvalKit, path: Path, study: Study | str) -> RecordedCheckpoints:
    """Record the checkpoints of a file in a study: all, or none when anything is wrong with any.

    A row with a `recorded_at` that the study holds already, equal in all that it says, is not recorded again: importing a file twice adds
    nothing. `study_id`, `study`, `period_type` and `checkpoint_id` say where a row came from, and are passed over.

    Parameters
    ----------
    kit
        Where they go.
    path
        As `export_checkpoints` writes it, or any file with the columns that ``kit.record_checkpoints`` takes. In a csv file
        `avg_session_duration` is in seconds and `sessions_included` a JSON list.
    study
        A study that was started.

    Raises
    ------
    InvalidInputError
        When the extension is unknown, the file cannot be read, or a row is refused; it names the row, counted from 0, and the column.
    """
    read = {"csv": _read_csv, "parquet": _read_parquet, "ndjson": _read_ndjson}[_format(path)]
    with collector_paused():
        return _import(kit, path, read, study)


def _import(kit: EvalKit, path: Path, read: Callable[[Path], Any], study: Study | str) -> RecordedCheckpoints:
    with reading(path):
        rows = read(path)
    try:
        commands = RecordCheckpoint.of_rows(rows, now=datetime.now(UTC))
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}", field=error.field, value=error.value, row=error.row) from None
    there = _recorded(kit.checkpoints(study), {command.at for command in commands if command.at is not None})
    new = []
    for command in commands:
        content = _content(command)
        if command.key is None and command.at is not None and there[content] > 0:
            there[content] -= 1
        else:
            new.append(command)
    done = kit._handlers.record_checkpoints(study, new)
    return RecordedCheckpoints(done.recorded, done.already_recorded + len(commands) - len(new), done.checkpoint_ids)


def as_json(frame: pl.DataFrame) -> pl.DataFrame:
    """Give a frame whose values JSON can hold: times as RFC 3339 text, durations as ``[seconds, nanoseconds]``, else unchanged."""
    import polars as pl
    import polars.selectors as cs

    frame = _times_as_text(frame)
    pairs = []
    for name in cs.expand_selector(frame, cs.duration()):
        us = pl.col(name).dt.total_microseconds()
        pairs.append(pl.when(us.is_not_null()).then(pl.concat_list(us // 1_000_000, us % 1_000_000 * 1000)).alias(name))
    return frame.with_columns(pairs)


def _format(path: Path) -> str:
    extension = path.suffix.lower().removeprefix(".")
    if extension not in ("csv", "parquet", "ndjson"):
        raise InvalidInputError(
            f"file: {str(path)!r} ends in none of .csv, .parquet and .ndjson, which say how it is written. Give one of the three.",
            field="file", value=str(path),
        )  # fmt: skip
    return extension


def _write_csv(frame: pl.DataFrame, file: BinaryIO) -> None:
    import polars as pl

    us = pl.col("avg_session_duration").dt.total_microseconds()
    seconds = pl.format("{}.{}", us // 1_000_000, (us % 1_000_000).cast(pl.String).str.zfill(6))
    sessions = [json.dumps(names, ensure_ascii=False) for names in frame["sessions_included"].to_list()]
    texts = pl.Series("sessions_included", sessions, dtype=pl.String)
    _times_as_text(frame).with_columns(seconds.alias("avg_session_duration"), texts).write_csv(file)


def _write_parquet(frame: pl.DataFrame, file: BinaryIO) -> None:
    frame.write_parquet(file)


def _write_ndjson(frame: pl.DataFrame, file: BinaryIO) -> None:
    as_json(frame).write_ndjson(file)


def _times_as_text(frame: pl.DataFrame) -> pl.DataFrame:
    import polars.selectors as cs

    return frame.with_columns(cs.datetime().dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ"))


def _read_parquet(path: Path) -> pl.DataFrame:
    import polars as pl

    return pl.read_parquet(path)


def _read_ndjson(path: Path) -> list[Any]:
    rows = []
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            try:
                rows.append(from_json(line, allow_inf_nan=False))
            except ValueError as error:
                raise ValueError(f"line {number} is not JSON: {error}") from None
    return rows


def _read_csv(path: Path) -> list[dict[str, Any]]:
    before = csv.field_size_limit(2 * MAX_EVENT_BYTES)  # a list of sessions may fill a whole event
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            if not header:
                raise ValueError("it is empty; the first line must name the columns")
            if len(set(header)) < len(header):
                raise ValueError(f"the column {Counter(header).most_common(1)[0][0]!r} is there twice")
            rows = []
            for cells in lines:
                if cells and len(cells) != len(header):
                    raise ValueError(f"line {lines.line_num} has {len(cells)} cells, the header {len(header)}")
                if cells:
                    rows.append({name: _from_cell(name, cell) for name, cell in zip(header, cells, strict=True)})
            return rows
    finally:
        csv.field_size_limit(before)


def _from_cell(column: str, cell: str) -> Any:
    """Give the value that a cell of a csv file stands for; text that stands for none as it is, for the checks to refuse in words."""
    kind = CHECKPOINTS.get(column)
    if cell == "":
        return None
    if kind == "texts":
        try:
            return from_json(cell)
        except ValueError:
            return cell
    if kind in ("count", "rate", "number", "money", "duration") and _DECIMAL(cell):
        if kind == "count" and _INTEGER(cell):
            return int(cell)
        if kind == "duration" and (pair := _exact_pair(Decimal(cell))) is not None:
            return pair
        return float(cell)
    return cell


def _exact_pair(seconds: Decimal) -> tuple[int, int] | None:
    if not 0 <= seconds < Decimal(2**63):
        return None
    nanoseconds = round(seconds.scaleb(9)) if seconds.adjusted() >= -10 else 0
    return divmod(nanoseconds, 1_000_000_000)


def _content(command: RecordCheckpoint) -> tuple[Any, ...]:
    # Event ids hold milliseconds: that is what is left of a time of recording.
    return (*content_of_command(command), None if command.at is None else milliseconds(command.at))


def _recorded(frame: pl.DataFrame, times: set[datetime]) -> Counter[tuple[Any, ...]]:
    """Count the contents of a study's checkpoints that were recorded at one of some times."""
    import polars as pl

    now = datetime.now(UTC)
    found: Counter[tuple[Any, ...]] = Counter()
    moments = [moment.replace(microsecond=moment.microsecond // 1000 * 1000) for moment in times]
    for row in frame.filter(pl.col("recorded_at").is_in(pl.Series(moments, dtype=frame["recorded_at"].dtype))).iter_rows(named=True):
        try:
            (command,) = RecordCheckpoint.of_rows([row], now=now)
        except InvalidInputError:
            continue  # the log holds what a command would refuse, and so does no file that can be imported
        found[_content(command)] += 1
    return found


# --- the log ----------------------------------------------------------------------------------------------------------------------------


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
    left = sum(end - first for first, end in ranges)
    consumer = engine.log.consumer("eval-export")
    counts: Counter[str] = Counter()
    while left > 0 and (records := consumer.poll(_CHUNK, 0)):
        lines = []
        for partition, offset, data in records:
            if offset < ranges[partition].end:  # what was appended since is left for the next export
                left -= 1
                lines.append(_line(data, counts))
        stream.write(b"".join(lines))
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
    return normalize_event_id(content["event_id"])


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
                    raise LogError(
                        f"{error} Before that {appended} events of the import were appended: import again, and the rest is."
                    ) from None
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
                f"line {number} {_as_problem(error)}. Every line must be a JSON object with a version 7 event_id. Nothing was appended.",
                field="line", value=number,
            ) from None  # fmt: skip
        spool.write(line)
        count += 1
    return count


def _as_problem(error: ValueError) -> str:
    text = str(error)
    return text if text.startswith(("is ", "has ")) else f"has a wrong event_id: {text}"


class _Imported(NamedTuple):
    """A line to import: the message, and the study and key under which the projection knows what was decided."""

    message: LogMessage
    study_id: str
    key: str

    @classmethod
    def of(cls, data: bytes) -> _Imported:
        try:
            event = decode(data)
            return cls(LogMessage(event.study_id, event.event_id, data), event.study_id, event.event_id)
        except InvalidEventError:
            study_id, event_id = readable_ids(data)
            return cls(
                LogMessage(study_id or _study_of_unknown(data), _event_id_in(data), data), study_id, event_id or sha256(data).hexdigest()
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
    sql = _DECIDED.format(**Tables.with_suffix()._asdict())
    rows = engine.database.execute(sql, (json.dumps([[one.study_id, one.key] for one in chunk]),))
    # What was rejected for standing in a wrong partition was not decided in the right one.
    seen |= {(str(study_id), str(key)) for study_id, key, reason in rows if reason != Reason.WRONG_PARTITION}
    for one in chunk:
        if (one.study_id, one.key) not in seen:
            seen.add((one.study_id, one.key))
            yield one
