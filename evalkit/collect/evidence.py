"""The sessions that checkpoints were computed from, in files named by their content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from evalkit.collect.parquet_files import read_parquet, write_parquet
from evalkit.collect.session_frame import distinct_sessions, extra_columns, session_frame
from evalkit.domain.lenient import is_sha256
from evalkit.errors import InvalidInputError

__all__ = ["Evidence", "evidence_hash", "evidence_hashes", "merged_sessions"]

_ORIGIN = ("source", "source_sha256")
"""The columns that say where a session was read; they are no part of its content."""
_PART = "|part"


def evidence_hash(sessions: pl.DataFrame) -> str:
    """Return the SHA-256 of the content of sessions, whatever their order.

    It covers the names, dtypes and values of all columns with a value, except ``source`` and ``source_sha256``. Values are hashed as bytes,
    because the bytes of a Parquet file differ between versions of its writer.

    Examples
    --------
    >>> sessions = session_frame({"session_id": ["a", "b"], "cost": [0.5, None]})
    >>> evidence_hash(sessions) == evidence_hash(sessions.reverse().with_columns(source=pl.lit("run.json")))
    True
    """
    return evidence_hashes([sessions])[0]


def evidence_hashes(parts: Sequence[pl.DataFrame]) -> list[str]:
    """Return `evidence_hash` of each of several frames; faster than one by one.

    Parameters
    ----------
    parts
        Session frames with columns of the same names and dtypes.

    Examples
    --------
    >>> sessions = session_frame({"session_id": ["a", "b"], "cost": [0.5, None]})
    >>> evidence_hashes([sessions, sessions[:1]]) == [evidence_hash(sessions), evidence_hash(sessions[:1])]
    True
    """
    if not parts:
        return []
    ordered = parts[0].sort("session_id")
    if len(parts) > 1:
        marked = pl.concat([part.with_columns(pl.lit(number, pl.Int64).alias(_PART)) for number, part in enumerate(parts)])
        ordered = marked.sort(_PART, "session_id").drop(_PART)
    columns = _columns(ordered.drop(_ORIGIN, strict=False))
    hashes, start = [], 0
    for part in parts:
        rows = slice(start, start := start + part.height)
        digest = hashlib.sha256(f"evalkit sessions 1\n{part.height}\n".encode())
        for column in columns:
            column.update(digest, rows)
        hashes.append(digest.hexdigest())
    return hashes


class _Column(NamedTuple):
    """The bytes of a column: of numbers, 8 for each; of texts, their lengths and UTF-8."""

    head: bytes
    nulls: npt.NDArray[np.bool_]
    values: npt.NDArray[np.generic]
    text: bytes | None
    """The texts of all rows, joined."""
    ends: list[int]
    """Where the text of each row ends."""

    def update(self, digest: hashlib._Hash, rows: slice) -> None:
        """Add some rows to a digest, unless they have no value."""
        nulls = self.nulls[rows]
        if nulls.all():  # also without rows
            return
        digest.update(self.head)
        digest.update(nulls.tobytes())
        digest.update(self.values[rows].tobytes())
        if self.text is not None:
            digest.update(self.text[self.ends[rows.start - 1] if rows.start else 0 : self.ends[rows.stop - 1]])


def _columns(sessions: pl.DataFrame) -> list[_Column]:
    """Return the bytes of all columns, by name.

    Three queries for all columns are several times faster than some for each.
    """
    kinds = {name: _kind(dtype) for name, dtype in sorted(sessions.schema.items())}
    columns = {name: pl.col(name) for name in kinds}
    texts = {name: column.cast(pl.String).fill_null("") for name, column in columns.items() if kinds[name] == "text"}
    numbers = {
        name: column.cast(pl.Float64).fill_null(0.0) + 0.0  # adding 0 removes the sign of zero
        if kinds[name] == "number"
        else column.cast(pl.Int64).fill_null(0)
        for name, column in columns.items()
        if name not in texts
    }
    lengths = {name: text.str.len_bytes().cast(pl.Int64) for name, text in texts.items()}
    nulls, strings = sessions.select(pl.all().is_null()), sessions.select(**texts).to_dict(as_series=False)
    values = sessions.select(**numbers, **lengths)
    prepared = []
    for name, kind in kinds.items():
        of_column, text, ends = values[name].to_numpy(), None, []
        if name in texts:
            text, ends = "".join(strings[name]).encode(), of_column.cumsum().tolist()
        prepared.append(_Column(f"{name}\n{kind}\n".encode(), nulls[name].to_numpy(), of_column, text, ends))
    return prepared


def _kind(dtype: pl.DataType) -> str:
    if dtype in (pl.String, pl.Enum, pl.Categorical):
        return "text"
    if dtype.is_float():
        return "number"
    return "boolean" if dtype == pl.Boolean else "integer"


def merged_sessions(current: pl.DataFrame, recorded: pl.DataFrame) -> pl.DataFrame:
    """Return the sessions of a period that are known from its logs and from its evidence.

    A source can lose sessions, because logs are deleted. So what is recorded stays, and a missing value of a session in the logs, such as
    an outcome without its label, is that of the evidence.

    Parameters
    ----------
    current
        The sessions of the period in the logs.
    recorded
        The sessions in the evidence.

    Examples
    --------
    >>> current = session_frame({"session_id": ["a", "b"], "outcome": ["unknown", "failure"]})
    >>> recorded = session_frame({"session_id": ["a", "c"], "outcome": ["success", "success"]})
    >>> merged_sessions(current, recorded).select("session_id", "outcome").rows()
    [('a', 'success'), ('b', 'failure'), ('c', 'success')]
    """
    lacking = recorded.filter(~pl.col("session_id").is_in(current["session_id"].implode()))
    known = current.join(recorded, on="session_id", how="left", suffix="|recorded", maintain_order="left")
    unknown = (pl.col("outcome") == "unknown") & pl.col("outcome|recorded").is_not_null()
    decided = {name: pl.when(unknown).then(f"{name}|recorded").otherwise(name).alias(name) for name in ("outcome", "reason")}
    columns = [decided.get(name, pl.coalesce(name, f"{name}|recorded")) for name in current.columns if f"{name}|recorded" in known.columns]
    extra = [pl.col(name) for name in extra_columns(recorded) if name not in current.columns]
    merged = pl.concat([known.with_columns(*columns).select(*current.columns, *extra), lacking], how="diagonal_relaxed")
    return distinct_sessions(session_frame(merged))


class Evidence:
    """The folder with the sessions of checkpoints.

    Parameters
    ----------
    folder
        The folder, which may not exist yet.

    Examples
    --------
    >>> import tempfile
    >>> evidence = Evidence(Path(tempfile.mkdtemp()))
    >>> name = evidence.write(session_frame({"session_id": ["a"], "outcome": ["success"]}))
    >>> evidence.read(name)["session_id"].to_list(), evidence.read("0" * 64)
    (['a'], None)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def check(self) -> None:
        """Check that sessions can be written, before anything is recorded.

        Raises
        ------
        InvalidInputError
            When the folder is not writable, or cannot be created.
        """
        existing = next((folder for folder in (self.folder, *self.folder.parents) if folder.exists()), self.folder)
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            reason = "permission denied" if existing.is_dir() else f"{str(existing)!r} is a file"
            raise self._not_writable(reason)

    def _not_writable(self, reason: str) -> InvalidInputError:
        return InvalidInputError(
            f"Cannot write to the folder of the evidence {str(self.folder)!r}: {reason}", effect="Nothing was recorded.",
            hint="Set EVALKIT_EVIDENCE to a folder that is writable.", field="evidence", value=str(self.folder),
        )  # fmt: skip

    def write(self, sessions: pl.DataFrame, name: str | None = None) -> str:
        """Write sessions to a file unless it exists, and return the hash that names it.

        Parameters
        ----------
        sessions
            The sessions.
        name
            Their `evidence_hash`, if it is known.

        Raises
        ------
        InvalidInputError
            When the folder is not writable.
        """
        name = evidence_hash(sessions) if name is None else name
        if not self.has(name):
            try:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise self._not_writable((error.strerror or "unknown error").lower()) from None
            write_parquet(self._path(name), sessions.sort("ended_at", "session_id"))
        return name

    def has(self, name: str) -> bool:
        """Return whether the sessions with a hash are in the folder, and can be read."""
        path = self._path(name)
        return bool(is_sha256(name)) and all(os.access(file, os.R_OK) for file in (path, path.with_suffix(".sha256")))

    def read(self, name: str) -> pl.DataFrame | None:
        """Return the sessions with a hash; None if their file is missing or damaged."""
        content = read_parquet(self._path(name)) if is_sha256(name) else None
        if content is None:
            return None
        sessions = session_frame(content[0])
        return sessions if evidence_hash(sessions) == name else None

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.parquet"
