"""A digest of a study's content: the same events have the same digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from evalkit.domain.definitions import Metric
from evalkit.frames.columns import AMENDMENTS, CHECKPOINTS, LIFECYCLE, MALFORMED, NOTES, PROVENANCE, VALUES, frame_schema

__all__ = ["DIGEST_COVERS", "digest"]

_STUDY_FIELDS = ("study_id", "name", "period_type", "period_value", "description", "tags", "metadata")
_EVENT_FIELDS = ("seq", "kind", "at")
_CHECKPOINT_FIELDS = tuple(name for name in VALUES if name not in ("study_id", "study", "period_type"))
DIGEST_COVERS = (
    "the study's id, name, period type, planned periods, description, tags and metadata; the sequence number, kind and time of each "
    "lifecycle event; and the id, timestamp, recording time, period, 16 metrics (durations in microseconds), number of analyzed events and "
    "sessions of each checkpoint, sorted by timestamp and id; and where they exist, the custom metrics with their definitions, amendments "
    "and retractions, notes, the origin of checkpoints, invalid optional parts, and whether the study is archived"
)
"""The content that the digest covers. It is independent of storage engine and partitions, and excludes rejected events."""
_FACTS = ("name", "label", "kind", "unit", "better", "low", "high", "denominator", "rollup", "group", "description", "primary")
_AMENDMENT_FIELDS = ("checkpoint_id", "revision", "metric", "old", "new", "reason", "author", "written_at")
_NOTE_FIELDS = ("note_id", "at", "until", "category", "text", "author")
_ORIGIN_FIELDS = tuple(name for name in PROVENANCE if name not in ("study_id", "study", "period_start"))
_MALFORMED_FIELDS = ("checkpoint_id", "parts")
_ROWS = 10_000
_ENCODER = json.JSONEncoder(separators=(",", ":"))


def digest(
    description: Mapping[str, Any],
    checkpoints: pl.DataFrame,
    lifecycle: pl.DataFrame,
    *,
    custom: Mapping[str, Metric] | None = None,
    amendments: pl.DataFrame | None = None,
    notes: pl.DataFrame | None = None,
    provenance: pl.DataFrame | None = None,
    malformed: pl.DataFrame | None = None,
) -> str:
    """Return the SHA-256 of a study's content in canonical form.

    The canonical form is ASCII lines ended by a line feed, each a JSON array without spaces: first ``["study", …]``, then an
    ``["event", …]`` for each lifecycle event in the order of the log, then a ``["checkpoint", …]`` for each checkpoint by timestamp and
    id. Lines for the other content follow where it exists, so that the digest of a study without it does not depend on them. Times and
    durations are integers in microseconds (times since 1970), metadata is a list of ``[name, value]`` sorted by name, and missing values
    are null.

    Parameters
    ----------
    description
        A row of ``kit.studies()``; absent fields are null.
    checkpoints, lifecycle, amendments, notes, provenance
        The rows of the study from the methods of the kit with these names; absent columns are null.
    malformed
        The invalid optional parts of events, see `StudyData`.
    custom
        The custom metrics that the checkpoints have columns for.

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
    order = ["timestamp", "checkpoint_id", "period_start"]
    ordered = _plain(checkpoints, _CHECKPOINT_FIELDS, CHECKPOINTS).sort(order, maintain_order=True)
    for lines in _lines(ordered):
        sha256.update(lines)
    for line in _custom_lines(checkpoints, custom or {}, order):
        sha256.update(_line(line))
    others = {"amendment": (amendments, _AMENDMENT_FIELDS, AMENDMENTS), "note": (notes, _NOTE_FIELDS, NOTES),
              "origin": (provenance, _ORIGIN_FIELDS, PROVENANCE), "malformed": (malformed, _MALFORMED_FIELDS, MALFORMED)}  # fmt: skip
    for name, (frame, fields, columns) in others.items():
        if frame is not None and frame.height:
            for encoded in sorted(_line([name, *row]) for row in _plain(frame, fields, columns).iter_rows()):
                sha256.update(encoded)
    if description.get("archived"):
        sha256.update(_line(["archived"]))
    return sha256.hexdigest()


def _custom_lines(checkpoints: pl.DataFrame, custom: Mapping[str, Metric], order: list[str]) -> Iterator[list[Any]]:
    """Yield a line for each custom metric, and for each checkpoint with values of them."""
    for metric in custom.values():
        facts = [getattr(metric, name) for name in _FACTS]
        yield ["metric", *(float(fact) if type(fact) is int else fact for fact in facts)]
    if custom:
        kinds = {**CHECKPOINTS, **{name: metric.kind for name, metric in custom.items()}}
        rows = _plain(checkpoints, (*order, *custom), kinds).sort(order, maintain_order=True)
        for row in rows.select("checkpoint_id", *custom).iter_rows(named=True):
            values = [[name, row[name]] for name in sorted(custom) if row[name] is not None]
            if values:
                yield ["custom", row["checkpoint_id"], values]


def _lines(rows: pl.DataFrame) -> Iterator[bytes]:
    for part in rows.iter_slices(_ROWS):
        yield b"".join(_line(["checkpoint", *row]) for row in part.iter_rows())


def _line(values: list[Any]) -> bytes:
    return _ENCODER.encode(values).encode("ascii") + b"\n"


def _plain(frame: pl.DataFrame, names: Sequence[str], columns: Mapping[str, str]) -> pl.DataFrame:
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
