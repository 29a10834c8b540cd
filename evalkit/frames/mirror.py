"""The mirror: checkpoints as Parquet files, by study and year.

A mirror is derived from a read model, like the read model from the log, and can be deleted at any time. Its files have checkpoints as first
recorded; corrections, names and definitions are applied when it is scanned. The list of its files, `manifest.json`, is replaced atomically,
so a killed update leaves the previous state. One process updates it at a time.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import polars as pl
from filelock import FileLock, Timeout
from pydantic_core import from_json

from evalkit._util.atomic_files import flush, writing
from evalkit._util.text import plural
from evalkit.domain.refusals import invalid
from evalkit.errors import EvalkitError
from evalkit.frames.stored_pages import ENDS_QUERY, STUDIES_QUERY, StoredPages
from evalkit.readmodel.database.database import Database, Row
from evalkit.readmodel.history import AsOf, Bounds, History, bounds_of, bounds_query
from evalkit.readmodel.rows import readable
from evalkit.readmodel.schema import Head
from evalkit.readmodel.snapshot import consistently

__all__ = ["CheckpointMirror", "Mirror", "MirrorFile", "MirrorState"]

_FORMAT = 1
_ORDER = ("study_id", "timestamp", "checkpoint_id")
_ROWS_OF_FILE = 100_000
"""New rows are added to the newest file of a study's year until it has this many."""
_ROWS_OF_FLUSH = 100_000
_LOCK_SECONDS = 600.0
_KEPT_SECONDS = 3600.0  # a frame that was scanned before an update may still read replaced files


@dataclass(frozen=True)
class MirrorFile:
    """A Parquet file with checkpoints of one study and year, sorted by timestamp and id."""

    path: str
    """Relative to the folder of the mirror."""
    study_id: str
    year: int
    rows: int
    size: int
    """In bytes."""
    first: str
    """The earliest timestamp, in ISO 8601 with microseconds."""
    last: str
    """The latest timestamp."""
    custom: tuple[str, ...] = ()
    """The custom metrics with a column."""


@dataclass(frozen=True)
class _Manifest:
    """The content of a mirror: the rows of a generation of a read model, up to a row id."""

    log: tuple[str, ...] = ()
    """The SHA-256 of the first event of each partition of the log; empty before the first event."""
    generation: int = -1
    last: int = 0
    last_event: str = ""
    """The id of the event of the last row. Another read model of the log may have the same generation, but other row ids."""
    files: tuple[MirrorFile, ...] = ()
    replaced: tuple[tuple[str, float], ...] = ()
    """Files that are not part of the mirror any more, and since when."""

    def text(self) -> bytes:
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=1).encode()

    @classmethod
    def read(cls, path: Path) -> _Manifest:
        """Return the manifest of a file; an empty one if the file is missing or of another format."""
        try:
            content = from_json(path.read_bytes())
            if content.pop("format") != _FORMAT:
                return cls()
            files = tuple(MirrorFile(**{**file, "custom": tuple(file["custom"])}) for file in content["files"])
            replaced = tuple((str(name), float(since)) for name, since in content["replaced"])
            last = int(content["last"]), str(content["last_event"])
            return cls(tuple(content["log"]), int(content["generation"]), *last, files, replaced)
        except (FileNotFoundError, KeyError, TypeError, ValueError):
            return cls()


@dataclass(frozen=True)
class Mirror:
    """The result of `EvalKit.mirror`.

    Examples
    --------
    >>> Mirror(Path("m"), checkpoints=3, added=1, files=(Path("m/a.parquet"),))
    Mirror(3 checkpoints in 1 file, 1 added)
    """

    folder: Path
    """The folder of the mirror."""
    checkpoints: int
    """The number of checkpoints in the mirror, retracted ones too."""
    added: int
    """The number of checkpoints that this update added."""
    files: tuple[Path, ...] = field(default=(), repr=False)
    """The Parquet files, with values as first recorded; other files in the folder are not part of the mirror."""

    def __repr__(self) -> str:
        return f"Mirror({plural(self.checkpoints, 'checkpoint')} in {plural(len(self.files), 'file')}, {self.added:,} added)"


@dataclass(frozen=True)
class MirrorState:
    """A mirror and what its checkpoints are combined with, at one point in time."""

    folder: Path
    files: tuple[MirrorFile, ...]
    studies: list[Row]
    history: History
    bounds: Bounds
    added: int = 0

    def result(self) -> Mirror:
        """Return what `EvalKit.mirror` returns."""
        paths = tuple(self.folder / file.path for file in self.files)
        return Mirror(self.folder, sum(file.rows for file in self.files), self.added, paths)


class CheckpointMirror:
    """Updates the mirror of a read model in a folder.

    Parameters
    ----------
    database
        The database of the read model.
    folder
        The folder, which is created if it is missing.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder
        self._pages = StoredPages(database)

    def update(self, as_of: AsOf = None) -> MirrorState:
        """Add new checkpoints, and return the mirror with the state of the log to show.

        Raises
        ------
        InvalidInputError
            If the folder cannot be written, or has the mirror of another log.
        EvalkitError
            If another process keeps updating the mirror.
        """
        if self._folder.exists() and not self._folder.is_dir():
            raise invalid("folder", str(self._folder), "this is a file", "expected a folder")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self._folder / ".lock", timeout=_LOCK_SECONDS), readable(self._database):
                return consistently(lambda: self._update(as_of))
        except Timeout:
            raise EvalkitError(
                f"Another process has been updating the mirror {self._folder} for {_LOCK_SECONDS:.0f} s", hint="Try again later."
            ) from None
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise invalid("folder", str(self._folder), f"it cannot be written: {reason}", hint="Choose another folder.") from None

    def _update(self, as_of: AsOf) -> MirrorState:
        head, (ends, studies, later) = self._pages.read(ENDS_QUERY, STUDIES_QUERY, bounds_query(as_of))
        end, end_of_changes = (int(str(value)) for value in ends[0])
        manifest = self._usable(head)
        history = History(self._pages.changes(head.generation, 0, end_of_changes))
        custom = {study_id: tuple(defined) for study_id, defined in history.definitions.items()}
        # A metric that was defined later may have values in earlier checkpoints.
        outdated = {file.study_id for file in manifest.files if file.custom != custom.get(file.study_id, ())}
        if outdated:
            manifest = self._without(manifest, outdated)
            for _, rows in self._chunks(head, (0, manifest.last), custom, sorted(outdated)):
                manifest = self._with_rows(manifest, rows, custom, manifest.last)
            self._save(manifest)
        before = sum(file.rows for file in manifest.files)
        for last, rows in self._chunks(head, (manifest.last, end), custom):
            manifest = replace(self._with_rows(manifest, rows, custom, last), last_event=self._event_of(head, last))
            self._save(manifest)
        if not manifest.last:
            self._save(manifest)
        order = {str(study[0]): number for number, study in enumerate(studies)}
        files = sorted(manifest.files, key=lambda file: (order.get(file.study_id, -1), file.year, file.first, file.path))
        added = sum(file.rows for file in files) - before
        return MirrorState(self._folder, tuple(files), studies, history.until(bounds := bounds_of(as_of, later)), bounds, added)

    def _usable(self, head: Head) -> _Manifest:
        """Return the manifest, or an empty one if the mirror has to be made again."""
        manifest = _Manifest.read(self._folder / "manifest.json")
        log = tuple(position.first_sha256 for position in head.positions)
        if any(old and new and old != new for old, new in zip(manifest.log, log, strict=False)):
            raise invalid(
                "folder", str(self._folder), "it has the mirror of another log", hint="Choose another folder, or delete this one first."
            )
        intact = manifest.generation == head.generation and self._event_of(head, manifest.last) == manifest.last_event
        if not intact or any(_size(self._folder / file.path) != file.size for file in manifest.files):
            manifest = self._without(manifest, {file.study_id for file in manifest.files})
            manifest = replace(manifest, generation=head.generation, last=0, last_event="")
        return replace(manifest, log=log)

    def _event_of(self, head: Head, row: int) -> str:
        """Return the id of the event of a row; empty without that row."""
        rows = self._pages.rows(head.generation, ("SELECT event_id FROM checkpoints WHERE rowid = ?", (row,)))
        return str(rows[0][0]) if rows else ""

    def _without(self, manifest: _Manifest, study_ids: set[str]) -> _Manifest:
        now = time.time()
        gone = [(file.path, now) for file in manifest.files if file.study_id in study_ids]
        kept = tuple(file for file in manifest.files if file.study_id not in study_ids)
        return replace(manifest, files=kept, replaced=(*manifest.replaced, *gone))

    def _chunks(
        self, head: Head, between: tuple[int, int], custom: dict[str, tuple[str, ...]], study_ids: Sequence[str] | None = None
    ) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield the checkpoints of many pages at a time, with the last row id.

        See `StoredPages.checkpoints` for the parameters.
        """
        names = tuple(dict.fromkeys(name for of_study in custom.values() for name in of_study))
        parts: list[pl.DataFrame] = []
        last = between[0]
        for last, page in self._pages.checkpoints(head.generation, between, names, study_ids=study_ids):
            parts.append(page)
            if sum(part.height for part in parts) >= _ROWS_OF_FLUSH:
                yield last, pl.concat(parts)
                parts = []
        if parts:
            yield last, pl.concat(parts)

    def _with_rows(self, manifest: _Manifest, rows: pl.DataFrame, custom: dict[str, tuple[str, ...]], last: int) -> _Manifest:
        """Write rows to files, and return the manifest with them."""
        newest = {(file.study_id, file.year): file for file in manifest.files}
        others = {name for names in custom.values() for name in names}
        known = [name for name in rows.columns if name not in others]
        replaced: dict[str, float] = {}
        written: list[MirrorFile] = []
        ordered = rows.with_columns(year=pl.col("timestamp").dt.year()).sort(*_ORDER)
        for key, part in ordered.partition_by("study_id", "year", as_dict=True).items():
            study_id, year = str(key[0]), int(key[1])
            own = custom.get(study_id, ())
            frame = pl.DataFrame([part[name] for name in (*known, *own)])
            last_file = newest.get((study_id, year))
            if last_file is not None and last_file.rows < _ROWS_OF_FILE:
                frame = pl.concat([pl.read_parquet(self._folder / last_file.path), frame]).sort(*_ORDER)
                replaced[last_file.path] = time.time()
            written.append(self._written(frame, study_id, year, own))
        flush([self._folder / file.path for file in written])
        files = (*(file for file in manifest.files if file.path not in replaced), *written)
        return replace(manifest, last=max(manifest.last, last), files=files, replaced=(*manifest.replaced, *replaced.items()))

    def _written(self, frame: pl.DataFrame, study_id: str, year: int, custom: tuple[str, ...]) -> MirrorFile:
        path = f"study={study_id}/year={year}/{secrets.token_hex(8)}.parquet"
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with writing(target, durable=False) as file:
            frame.write_parquet(file)
        first, last = (frame["timestamp"][place].isoformat(timespec="microseconds") for place in (0, -1))
        return MirrorFile(path, study_id, year, frame.height, target.stat().st_size, first, last, custom)

    def _save(self, manifest: _Manifest) -> None:
        """Replace the manifest, then delete files that were replaced some time ago."""
        old = time.time() - _KEPT_SECONDS
        gone = [name for name, since in manifest.replaced if since < old]
        kept = tuple((name, since) for name, since in manifest.replaced if since >= old)
        with writing(self._folder / "manifest.json") as file:
            file.write(replace(manifest, replaced=kept).text())
        for name in gone:
            with suppress(OSError):  # in use on Windows
                (self._folder / name).unlink(missing_ok=True)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
