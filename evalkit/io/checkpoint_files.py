"""Checkpoints as csv, parquet and ndjson files.

A file holds the columns of ``kit.checkpoints()`` under their names. What a format cannot say by itself is spelled so that it
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
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pydantic_core import from_json

from evalkit import EvalKit, Study
from evalkit._util.atomic_files import reading, writing
from evalkit._util.garbage import collector_paused
from evalkit.domain.commands import RecordCheckpoint, checkpoint_commands, content
from evalkit.domain.events import MAX_EVENT_BYTES
from evalkit.domain.ids import milliseconds
from evalkit.errors import InvalidInputError
from evalkit.frames.columns import CHECKPOINTS
from evalkit.runtime.handlers import RecordedCheckpoints

if TYPE_CHECKING:
    import polars as pl

__all__ = ["as_json", "export_checkpoints", "import_checkpoints"]

_INTEGER = re.compile(r"[+-]?\d+", re.ASCII).fullmatch
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII).fullmatch


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
        commands = checkpoint_commands(rows)
    except InvalidInputError as error:
        raise error.but(where=f"{path}: {error.message.where}") from None
    there = _recorded(kit.checkpoints(study), {command.at for command in commands if command.at is not None})
    new = []
    for command in commands:
        recorded = _content(command)
        if command.key is None and command.at is not None and there[recorded] > 0:
            there[recorded] -= 1
        else:
            new.append(command)
    done = kit.record_checkpoints(study, new)
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
            f"file: {str(path)!r} ends in none of .csv, .parquet and .ndjson, which say how it is written", hint="Give one of the three.",
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
    return (*content(command), None if command.at is None else milliseconds(command.at))


def _recorded(frame: pl.DataFrame, times: set[datetime]) -> Counter[tuple[Any, ...]]:
    """Count the contents of a study's checkpoints that were recorded at one of some times."""
    import polars as pl

    now = datetime.now(UTC)
    found: Counter[tuple[Any, ...]] = Counter()
    moments = [moment.replace(microsecond=moment.microsecond // 1000 * 1000) for moment in times]
    for row in frame.filter(pl.col("recorded_at").is_in(moments)).iter_rows(named=True):
        try:
            (command,) = checkpoint_commands([row], now=now)
        except InvalidInputError:
            continue  # the log holds what a command would refuse, and so does no file that can be imported
        found[_content(command)] += 1
    return found
