"""What an audit reads: the rows of a frame as they stand, with their numbers, and when the studies ran."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import polars as pl

from evalkit.analysis._audit.running import Running, running
from evalkit.analysis._given import pair_of, steps_of
from evalkit.domain.metrics import METRICS
from evalkit.domain.study import Study
from evalkit.domain.validation import invalid, nearest
from evalkit.errors import InvalidInputError
from evalkit.frames.columns import CHECKPOINTS
from evalkit.frames.normalize import labelled, read_columns

__all__ = ["Audited", "read"]

_TIMES = {"period_start": "start", "period_end": "end", "recorded_at": "recorded_at"}


@dataclass(frozen=True)
class Audited:
    """What is audited.

    Attributes
    ----------
    frame
        The checkpoints as they were given.
    rows
        The same with row (its number), study_id and label (as texts), start, end and recorded_at in microseconds since 1970, metrics as
        Float64 (durations in seconds, NaN as missing), partial (false where it is not said), the other columns as they are.
    ran
        When the studies ran; None where it is not known.
    """

    frame: Any
    rows: pl.DataFrame
    ran: Running | None


def read(source: Any, study: Any) -> Audited:
    """Read a kit, a frame of checkpoints, a result that has one, or checkpoints and lifecycle.

    Raises
    ------
    InvalidInputError
        When it is none of these, or no study of a frame answers to `study`.
    """
    if callable(getattr(source, "checkpoints", None)) and callable(getattr(source, "lifecycle", None)):
        frame, lifecycle, study = source.checkpoints(study), source.lifecycle(), None
    else:
        frame, lifecycle = pair_of(source, "source")
    rows = read_columns(
        frame,
        CHECKPOINTS,
        ["period_start", "period_end"],
        [name for name in CHECKPOINTS if not name.startswith("period_")] + ["period_type"],
    )
    rows = rows.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64()), _partial(frame))
    named = next((name for name in ("study_id", "study") if rows[name].is_not_null().any()), None)
    if study is not None:
        rows = rows.filter(_of_studies(rows, study))
    ran = None if lifecycle is None else running(_steps(lifecycle, named))
    return Audited(frame, _prepared(rows), ran)


def _partial(frame: Any) -> pl.Series:
    """Give which periods `resample` marked as covered in part: false where it is not said."""
    try:
        return read_columns(frame, {"partial": "flag"}, [], ["partial"])["partial"].fill_null(False)
    except InvalidInputError:  # the name is free for whatever else a frame holds
        return pl.repeat(False, len(frame), dtype=pl.Boolean(), eager=True).alias("partial")


def _prepared(rows: pl.DataFrame) -> pl.DataFrame:
    values = (
        (pl.col(name).dt.total_microseconds() / 1e6 if metric.kind == "duration" else pl.col(name).cast(pl.Float64()).fill_nan(None)).alias(
            name
        )
        for name, metric in METRICS.items()
    )
    times = (pl.col(name).dt.epoch("us").alias(shown) for name, shown in _TIMES.items())
    return labelled(rows, "period_start").with_columns(pl.col("study_id", "label").cast(pl.String()), *values, *times).collect()


def _steps(frame: Any, named: str | None) -> pl.DataFrame:
    """Give the lifecycle by what the checkpoints call their studies: ids, names, or nothing, when there is only one."""
    steps = steps_of(frame).filter(pl.col("at").is_not_null())
    name = pl.col(named) if named and steps[named].is_not_null().any() else pl.lit("-")
    studies = steps.select(pl.coalesce("study_id", "study", pl.lit("-")).n_unique()).item()
    if studies > 1 and not (named and steps[named].is_not_null().any()):
        raise invalid("lifecycle", studies, "studies are in it, and the checkpoints do not say whose they are; keep the rows of one study.")
    return steps.select(name.alias("study_id"), "seq", "status", at=pl.col("at").dt.epoch("us"))


def _of_studies(rows: pl.DataFrame, study: Any) -> pl.Expr:
    """Give which rows are of the studies that are asked for."""
    asked = [study] if isinstance(study, str | Study) or not isinstance(study, Iterable) else list(study)
    ids, names = (rows[name].drop_nulls().unique().sort().to_list() for name in ("study_id", "study"))
    wanted = pl.lit(False)
    for one in asked:
        text = one.id if isinstance(one, Study) else one
        if not isinstance(text, str) or not text:
            raise invalid("study", one, "is no study; give an id, a name, or the last four characters of an id.")
        ends = [known for known in ids if len(text) >= 4 and known.endswith(text)]
        if text in ids:
            wanted |= pl.col("study_id") == text
        elif text in names:
            wanted |= pl.col("study") == text
        elif len(ends) == 1:
            wanted |= pl.col("study_id") == ends[0]
        else:
            known = [*names, *(ids if not names else [])]
            which = f"ends the ids of {len(ends)} studies" if ends else "is no study of the frame"
            raise invalid(
                "study", one, f"{which}.{nearest(text, known)} It has {', '.join(map(repr, known[:8])) or 'no study names or ids'}."
            )
    return wanted.fill_null(False)
