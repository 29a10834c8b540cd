"""One number that stands for all that a study consists of: two reports with the same one rest on the same events."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from evalkit.frames.columns import CHECKPOINTS, LIFECYCLE, frame_schema

__all__ = ["DIGEST_COVERS", "digest"]

_ABOUT = ("study_id", "name", "period_type", "period_value", "description", "tags", "metadata")
_STEPS = ("seq", "kind", "at")
_MEASURED = tuple(name for name in CHECKPOINTS if name not in ("study_id", "study", "period_type"))
DIGEST_COVERS = (
    "the study's id, name, period type, planned periods, description, tags and metadata; the number in its log, the kind and the time of "
    "each lifecycle event; and of each checkpoint its id, timestamp, time of recording, period, 16 metrics (durations to the microsecond), "
    "number of events analysed and sessions, in the order of timestamp and id"
)
"""What goes into the digest, in words. Where the events are stored, in how many partitions, and what was rejected do not."""
_ROWS = 10_000
_ENCODER = json.JSONEncoder(separators=(",", ":"))


def digest(about: Mapping[str, Any], checkpoints: pl.DataFrame, lifecycle: pl.DataFrame) -> str:
    """Give the SHA-256 of a study's content in one canonical form, 64 hexadecimal digits.

    The form is lines of ASCII, each ended by a line feed, as ``json.dumps(list, separators=(",", ":"))`` writes lists: first
    ``["study", …]``, then a ``["event", …]`` for each lifecycle event in the order of the log, then a ``["checkpoint", …]`` for each
    checkpoint by timestamp and id. Times and durations are whole microseconds (times since 1970), metadata is a list of
    ``[name, value]`` by name, and what is missing is null.

    Parameters
    ----------
    about
        A row of ``kit.studies()``; what is not there is null.
    checkpoints, lifecycle
        The study's, as ``kit.checkpoints()`` and ``kit.lifecycle()`` give them; a column that is not there is null.

    Returns
    -------
    str
        See `DIGEST_COVERS` for what it covers.
    """
    found = hashlib.sha256()
    pairs = [[pair["key"], pair["value"]] for pair in about.get("metadata") or []]
    facts = {**about, "tags": list(about.get("tags") or []), "metadata": sorted(pairs)}
    found.update(_line(["study", *(None if facts.get(name) is None else facts[name] for name in _ABOUT)]))
    for row in _plain(lifecycle, _STEPS, LIFECYCLE).sort("seq", maintain_order=True).iter_rows():
        found.update(_line(["event", *row]))
    ordered = _plain(checkpoints, _MEASURED, CHECKPOINTS).sort("timestamp", "checkpoint_id", "period_start", maintain_order=True)
    for lines in _lines(ordered):
        found.update(lines)
    return found.hexdigest()


def _lines(rows: pl.DataFrame) -> Iterator[bytes]:
    for part in rows.iter_slices(_ROWS):
        yield b"".join(_line(["checkpoint", *row]) for row in part.iter_rows())


def _line(values: list[Any]) -> bytes:
    return _ENCODER.encode(values).encode("ascii") + b"\n"


def _plain(frame: pl.DataFrame, names: tuple[str, ...], columns: dict[str, str]) -> pl.DataFrame:
    """Give columns in values that JSON has, in the types of the kit's frames: 1.0 in a count is 1."""
    types = frame_schema({name: columns[name] for name in names})
    made = []
    for name, dtype in types.items():
        there = pl.col(name) if name in frame.columns else pl.lit(None)
        typed = there.cast(pl.String() if isinstance(dtype, pl.Enum) else dtype)
        if columns[name] == "time":
            typed = typed.dt.epoch("us")
        elif columns[name] == "duration":
            typed = typed.dt.total_microseconds()
        made.append(typed.alias(name))
    return frame.select(made)
