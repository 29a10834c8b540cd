"""A digest of a study's content: the same events have the same digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from evalkit.frames.columns import CHECKPOINTS, LIFECYCLE, VALUES, frame_schema

__all__ = ["DIGEST_COVERS", "digest"]

_STUDY_FIELDS = ("study_id", "name", "period_type", "period_value", "description", "tags", "metadata")
_EVENT_FIELDS = ("seq", "kind", "at")
_CHECKPOINT_FIELDS = tuple(name for name in VALUES if name not in ("study_id", "study", "period_type"))
DIGEST_COVERS = (
    "the study's id, name, period type, planned periods, description, tags and metadata; the sequence number, kind and time of each "
    "lifecycle event; and the id, timestamp, recording time, period, 16 metrics (durations in microseconds), number of analyzed events and "
    "sessions of each checkpoint, sorted by timestamp and id"
)
"""The content that the digest covers. It is independent of storage engine and partitions, and excludes rejected events."""
_ROWS = 10_000
_ENCODER = json.JSONEncoder(separators=(",", ":"))


def digest(description: Mapping[str, Any], checkpoints: pl.DataFrame, lifecycle: pl.DataFrame) -> str:
    """Return the SHA-256 of a study's content in canonical form.

    The canonical form is ASCII lines ended by a line feed, each a JSON array without spaces: first ``["study", …]``, then an
    ``["event", …]`` for each lifecycle event in the order of the log, then a ``["checkpoint", …]`` for each checkpoint by timestamp and
    id. Times and durations are integers in microseconds (times since 1970), metadata is a list of ``[name, value]`` sorted by name, and
    missing values are null.

    Parameters
    ----------
    description
        A row of ``kit.studies()``; absent fields are null.
    checkpoints, lifecycle
        The rows of the study from ``kit.checkpoints()`` and ``kit.lifecycle()``; absent columns are null.

    Returns
    -------
    str
        64 hexadecimal digits. `DIGEST_COVERS` lists the covered content.
    """
    sha256 = hashlib.sha256()
    pairs = [[pair["key"], pair["value"]] for pair in description.get("metadata") or []]
    facts = {**description, "tags": list(description.get("tags") or []), "metadata": sorted(pairs)}
    sha256.update(_line(["study", *(None if facts.get(name) is None else facts[name] for name in _STUDY_FIELDS)]))
    for row in _plain(lifecycle, _EVENT_FIELDS, LIFECYCLE).sort("seq", maintain_order=True).iter_rows():
        sha256.update(_line(["event", *row]))
    ordered = _plain(checkpoints, _CHECKPOINT_FIELDS, CHECKPOINTS).sort("timestamp", "checkpoint_id", "period_start", maintain_order=True)
    for lines in _lines(ordered):
        sha256.update(lines)
    return sha256.hexdigest()


def _lines(rows: pl.DataFrame) -> Iterator[bytes]:
    for part in rows.iter_slices(_ROWS):
        yield b"".join(_line(["checkpoint", *row]) for row in part.iter_rows())


def _line(values: list[Any]) -> bytes:
    return _ENCODER.encode(values).encode("ascii") + b"\n"


def _plain(frame: pl.DataFrame, names: tuple[str, ...], columns: dict[str, str]) -> pl.DataFrame:
    """Return columns as JSON-compatible values.

    They are cast to the dtypes of the kit's frames: a count of 1.0 becomes 1.
    """
    types = frame_schema({name: columns[name] for name in names})
    expressions = []
    for name, dtype in types.items():
        column = pl.col(name) if name in frame.columns else pl.lit(None)
        typed = column.cast(pl.String() if isinstance(dtype, pl.Enum) else dtype)
        if columns[name] == "time":
            typed = typed.dt.epoch("us")
        elif columns[name] == "duration":
            typed = typed.dt.total_microseconds()
        expressions.append(typed.alias(name))
    return frame.select(expressions)
