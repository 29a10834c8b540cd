"""Import and export of checkpoints as csv, tsv, ndjson, json and parquet files.

A file has the columns of ``kit.checkpoints()``, with the custom metrics of the studies. If a format has no type for a value, the value is
written as follows:

============  ========================  ===========================  =================  ==========
format        times                     durations                    sessions_included  missing
============  ========================  ===========================  =================  ==========
csv, tsv      RFC 3339 to microseconds  seconds, an exact decimal    JSON text          empty cell
ndjson, json  RFC 3339 to microseconds  ``[seconds, nanoseconds]``   list               null
parquet       timestamp (us, UTC)       duration (us)                list               null
============  ========================  ===========================  =================  ==========

Numbers are written with as many digits as needed to restore the same value; text is UTF-8.
"""

from __future__ import annotations

import gzip
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from evalkit import EvalKit, Metric, Pin, Study
from evalkit._util.atomic_files import writing
from evalkit._util.garbage import collector_paused
from evalkit._util.text import plural
from evalkit.domain.commands import AutoDefinitions, RecordCheckpoint, checkpoint_commands, content, is_auto
from evalkit.domain.ids import milliseconds
from evalkit.domain.refusals import invalid
from evalkit.domain.study import PER_RUN
from evalkit.domain.study_references import CheckpointRef
from evalkit.domain.time_input import check_zone
from evalkit.errors import ConflictError, InvalidInputError, Message
from evalkit.io.checkpoint_reader import file_format, read_rows
from evalkit.io.file_rows import FileRow
from evalkit.runtime.checkpoints import RecordedCheckpoints

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ImportedCheckpoints", "as_json", "export_checkpoints", "import_checkpoints", "write_frame"]

_SHOWN_PROBLEMS = 5


@dataclass(frozen=True, repr=False)
class ImportedCheckpoints(RecordedCheckpoints):
    """The result of `import_checkpoints`."""

    read_as: str = ""
    """The detected format, unless the extension implies it, e.g. ``semicolon-separated with decimal commas``."""

    def __repr__(self) -> str:
        note = f", read as {self.read_as}" if self.read_as else ""
        return super().__repr__().replace("RecordedCheckpoints", "ImportedCheckpoints", 1).removesuffix(")") + f"{note})"


def export_checkpoints(
    kit: EvalKit,
    path: str | Path,
    study: Study | str | None = None,
    *,
    exclude: Iterable[CheckpointRef] = (),
    values: Literal["latest", "first"] = "latest",
    as_of: Pin | datetime | str | None = None,
) -> int:
    """Export checkpoints to a file, atomically replacing an existing one.

    Parameters
    ----------
    kit
        The kit to export from.
    path
        The file; its extension selects the format: ``.csv``, ``.tsv``, ``.ndjson``, ``.jsonl``, ``.json`` or ``.parquet``, each
        optionally followed by ``.gz``.
    study
        The study to export; by default, all studies that are not archived.
    exclude, values, as_of
        The checkpoints, versions and state of the log to export, see ``kit.checkpoints``.

    Returns
    -------
    int
        The number of exported checkpoints.

    Raises
    ------
    InvalidInputError
        If the extension is not supported, the file cannot be written, or `exclude` matches no checkpoint.
    StudyNotFoundError, AmbiguousStudyError
        If no study, or more than one, matches `study`.
    LogMismatchError
        If `as_of` is the pin of another log.

    Examples
    --------
    >>> import tempfile
    >>> import evalkit
    >>> kit = evalkit.connect(tempfile.mkdtemp())
    >>> study = kit.create_study("nightly")
    >>> export_checkpoints(kit, Path(tempfile.mkdtemp()) / "nightly.parquet", study)
    0
    """
    path = _checked_path(path)
    file_format(path)  # raises before the checkpoints are read
    frame = kit.checkpoints(study, exclude=exclude, values=values, as_of=as_of)
    write_frame(frame, path)
    return frame.height


def write_frame(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame of checkpoints to a file, in the format that its extension selects."""
    extension, compressed = file_format(path)
    with writing(path) as file:
        if not compressed:
            _WRITERS[extension](frame, file)
        else:
            plain = io.BytesIO()
            _WRITERS[extension](frame, plain)
            file.write(gzip.compress(plain.getvalue(), mtime=0))


def import_checkpoints(
    kit: EvalKit,
    path: str | Path,
    study: Study | str,
    *,
    tz: str | tzinfo | None = None,
    percent: bool = False,
    define: Literal["auto"] | None = None,
) -> ImportedCheckpoints:
    r"""Record the checkpoints of a file in a study: all of them, or none if any row is invalid.

    The file has the columns that ``kit.record_checkpoints`` takes, with the custom metrics that the study defines, for example as exported
    by `export_checkpoints`. The columns `study_id`, `study`, `period_type`, `checkpoint_id`, `revision` and `collector` are ignored. A row
    with a `recorded_at` is skipped if the study already has an equal checkpoint, so importing a file twice records its rows once. It is
    also skipped if that checkpoint was amended or retracted since.

    In csv and tsv files:

    - The separator may be a comma, semicolon or tab; a decimal comma is accepted if the separator is not a comma. Both are detected.
    - Missing values are empty cells, ``nan``, ``NA``, ``N/A``, ``null``, ``none`` and ``-``, in any case. In the column `key`, only an
      empty cell is missing. Lines without any value are skipped.
    - Durations are in seconds, and `sessions_included` is a JSON list.
    - The encoding is UTF-8 or, with a byte order mark, UTF-16.

    In other formats, ``NaN`` and null are missing. A missing `period_end` is derived if `period_start` is the start of a period
    of the study.

    Parameters
    ----------
    kit
        The kit to import into.
    path
        The file; its extension selects the format, as in `export_checkpoints`.
    study
        A study that was started.
    tz
        The time zone of dates, and of times without a time zone, such as ``"UTC"`` or ``"Europe/Berlin"``; see ``kit.record_checkpoints``.
        By default, times must have a time zone.
    percent
        Whether rates are percentages: ``85%`` and ``85`` are both read as 0.85. A column is refused as ambiguous if it
        mixes values with and without a percent sign, or has neither a percent sign nor a value greater than 1.
    define
        ``"auto"`` to define undeclared columns of numbers as metrics of the study, see ``kit.record_checkpoint``. By default, they are
        refused.

    Returns
    -------
    ImportedCheckpoints
        The numbers of recorded and skipped rows, and the detected format.

    Raises
    ------
    InvalidInputError
        If the extension is not supported, or the file or a row of it is invalid. The message contains the first invalid row and the
        number of invalid rows; the notes of the exception contain the next invalid rows. The attribute `row` counts rows from 0.
    TransitionError
        If the study was not started.

    Examples
    --------
    >>> import evalkit
    >>> import tempfile
    >>> kit = evalkit.connect(tempfile.mkdtemp())
    >>> study = kit.start_study(kit.create_study("nightly", at="2026-01-01T00:00:00Z"), at="2026-01-01T00:00:00Z")
    >>> file = Path(tempfile.mkdtemp()) / "runs.csv"
    >>> _ = file.write_text("period_start;period_end;session_success_rate\n2026-01-01T00:00:00Z;2026-01-02T00:00:00Z;0,85\n")
    >>> import_checkpoints(kit, file, study)
    ImportedCheckpoints(1 recorded, read as semicolon-separated with decimal commas)
    """
    with collector_paused():
        return _import(kit, _checked_path(path), study, tz=tz, percent=percent, define=define)


def _checked_path(path: object) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise invalid("file", path, "expected a path")
    return Path(path)


def _import(
    kit: EvalKit, path: Path, study: Study | str, *, tz: str | tzinfo | None, percent: bool, define: Literal["auto"] | None
) -> ImportedCheckpoints:
    zone = None if tz is None else check_zone("tz", tz)
    auto, resolved = is_auto(define), cache(lambda: kit.resolve(study))

    @cache
    def definitions() -> Mapping[str, Metric]:
        defined = kit.storage.get_metrics(resolved().id)
        return AutoDefinitions(defined) if auto else defined

    file = read_rows(path, percent=percent, definitions=definitions)
    read = partial(
        checkpoint_commands, tz=zone, period_type=lambda: resolved().period_type, cadence=lambda: resolved().cadence,
        definitions=definitions,
    )  # fmt: skip
    commands = _commands(path, file.rows, read)
    existing = _recorded(kit, study, {command.at for command in commands if command.at is not None}, definitions)
    new: list[tuple[int, RecordCheckpoint]] = []
    for index, command in enumerate(commands):
        recorded = _content(command)
        if command.key is None and command.at is not None and existing[recorded] > 0:
            existing[recorded] -= 1
        else:
            new.append((index, command))
    try:
        result = kit.record_checkpoints(study, [command for _, command in new], define=define)
    except (InvalidInputError, ConflictError) as error:
        if error.row is None:
            raise
        raise _in_file(error, path, file.rows, new[error.row][0], 1) from None
    skipped = len(commands) - len(new)
    return ImportedCheckpoints(result.recorded, result.already_recorded + skipped, result.checkpoint_ids, file.read_as)


def _commands(
    path: Path, rows: Sequence[FileRow], read: Callable[[list[Mapping[str, Any]]], list[RecordCheckpoint]]
) -> list[RecordCheckpoint]:
    """Return a command for each row.

    Raises
    ------
    InvalidInputError
        If any row is invalid.
    """
    commands: list[RecordCheckpoint] = []
    problems: list[tuple[int, InvalidInputError]] = []
    for index, row in enumerate(rows):
        error = row.error
        if error is None:
            try:
                commands += read([row.values])
                continue
            except InvalidInputError as refused:
                error = refused
        problems.append((index, error))
    if problems:
        (index, error), *others = problems
        first = _in_file(error, path, rows, index, len(problems))
        further = [replace(error.message, where=f"{rows[index].place}: ", effect="") for index, error in others[: _SHOWN_PROBLEMS - 1]]
        if len(problems) > _SHOWN_PROBLEMS:
            further.append(Message(problem=plural(len(problems) - _SHOWN_PROBLEMS, "more invalid row")))
        for message in further:
            first.add_note(str(message))
        vars(first).update(further=further)
        raise first
    return commands


def _in_file(
    error: InvalidInputError | ConflictError, path: Path, rows: Sequence[FileRow], index: int, count: int
) -> InvalidInputError | ConflictError:
    """Return a row's error with the file, the row's place and the number of invalid rows."""
    effect = "Nothing was recorded." if count == 1 else f"{count:,} of {plural(len(rows), 'row')} are invalid; nothing was recorded."
    located = error.but(where=f"{path}, {rows[index].place}: ", effect=effect)
    located.row = index
    return located


def as_json(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame with values that JSON supports.

    Times become RFC 3339 text, and durations ``[seconds, nanoseconds]``.

    Examples
    --------
    >>> import polars as pl
    >>> as_json(pl.DataFrame({"at": [datetime(2026, 1, 31, tzinfo=UTC)]}))["at"][0]
    '2026-01-31T00:00:00.000000Z'
    """
    import polars as pl
    import polars.selectors as cs

    frame = _times_as_text(frame)
    pairs = []
    for name in cs.expand_selector(frame, cs.duration()):
        us = pl.col(name).dt.total_microseconds()
        pairs.append(pl.when(us.is_not_null()).then(pl.concat_list(us // 1_000_000, us % 1_000_000 * 1000)).alias(name))
    return frame.with_columns(pairs)


def _write_csv(frame: pl.DataFrame, file: BinaryIO) -> None:
    _as_cells(frame).write_csv(file)


def _write_tsv(frame: pl.DataFrame, file: BinaryIO) -> None:
    _as_cells(frame).write_csv(file, separator="\t")


def _write_ndjson(frame: pl.DataFrame, file: BinaryIO) -> None:
    as_json(frame).write_ndjson(file)


def _write_json(frame: pl.DataFrame, file: BinaryIO) -> None:
    file.write(as_json(frame).write_json().encode())


def _write_parquet(frame: pl.DataFrame, file: BinaryIO) -> None:
    frame.write_parquet(file)


_WRITERS: dict[str, Callable[[pl.DataFrame, BinaryIO], None]] = {
    "csv": _write_csv,
    "tsv": _write_tsv,
    "ndjson": _write_ndjson,
    "jsonl": _write_ndjson,
    "json": _write_json,
    "parquet": _write_parquet,
}


def _as_cells(frame: pl.DataFrame) -> pl.DataFrame:
    import polars as pl
    import polars.selectors as cs

    us = cs.duration().dt.total_microseconds()
    seconds = pl.format("{}.{}", us // 1_000_000, (us % 1_000_000).cast(pl.String).str.zfill(6))
    sessions = [json.dumps(names, ensure_ascii=False) for names in frame["sessions_included"].to_list()]
    texts = pl.Series("sessions_included", sessions, dtype=pl.String)
    return _times_as_text(frame).with_columns(seconds, texts)


def _times_as_text(frame: pl.DataFrame) -> pl.DataFrame:
    import polars.selectors as cs

    return frame.with_columns(cs.datetime().dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ"))


def _content(command: RecordCheckpoint) -> tuple[Any, ...]:
    # Recording times are compared in milliseconds, the precision of event ids.
    return (*content(command), None if command.at is None else milliseconds(command.at))


def _recorded(
    kit: EvalKit, study: Study | str, times: set[datetime], definitions: Callable[[], Mapping[str, Metric]]
) -> Counter[tuple[Any, ...]]:
    """Count the contents of a study's checkpoints that were recorded at the given times.

    A checkpoint that was amended or retracted counts with its first content, too, so that an older export does not record it again.
    """
    import polars as pl

    now = datetime.now(UTC)
    contents: Counter[tuple[Any, ...]] = Counter()
    moments = [moment.replace(microsecond=moment.microsecond // 1000 * 1000) for moment in times]
    latest, first = kit.checkpoints(study), kit.checkpoints(study, values="first")
    unchanged = latest.filter(pl.col("revision") == 0)["checkpoint_id"]
    for frame in (latest, first.filter(~pl.col("checkpoint_id").is_in(unchanged.implode()))):
        for row in frame.filter(pl.col("recorded_at").is_in(moments)).iter_rows(named=True):
            try:
                (command,) = checkpoint_commands([row], now=now, cadence=PER_RUN, definitions=definitions)
            except InvalidInputError:
                continue  # the log may contain values that commands refuse; rows of a valid file do not
            contents[_content(command)] += 1
    return contents
