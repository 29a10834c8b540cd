"""What is known besides values: notes, changes of versions, and amendments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from evalkit.frames.columns import AMENDMENTS, NOTES, PROVENANCE
from evalkit.frames.normalize import MISSING_STUDY, read_columns
from evalkit.frames.study_data import StudyData

__all__ = ["annotations_of", "first_values"]

_VERSIONS = {"models": "model", "agent": "agent", "agent_version": "agent version"}
_SCHEMA = {
    "study_id": pl.String(), "label": pl.String(), "kind": pl.String(), "at": pl.Datetime("us", "UTC"), "until": pl.Datetime("us", "UTC"),
    "title": pl.String(), "text": pl.String(),
}  # fmt: skip


def annotations_of(data: StudyData, labels: Mapping[str, str]) -> pl.DataFrame:
    """Return the notes of studies, and the changes of the model, agent or agent version.

    Parameters
    ----------
    data
        The data of the studies.
    labels
        The label of each study to include, by id.

    Returns
    -------
    polars.DataFrame
        One row per note or change, by time: study_id, label (of the study), kind (``"note"`` or ``"version"``), at, until (null without an
        end), title, and text, which is the title after the category of a note. A version changes at the start of the first period with
        the new one.
    """
    parts: list[pl.DataFrame] = []
    if data.notes is not None and len(data.notes):
        rows = read_columns(data.notes, NOTES, ["at", "text"], ["study_id", "study", "until", "category"])
        text = pl.concat_str(pl.col("category"), pl.col("text"), separator=": ")
        rows = _labeled(rows.filter(pl.col("at").is_not_null()), labels)
        columns = ["study_id", "label", pl.lit("note").alias("kind"), "at", "until", pl.col("text").fill_null("").alias("title")]
        parts.append(rows.select(*columns, pl.coalesce(text, "text", pl.lit("")).alias("text")))  # type: ignore[arg-type]
    if data.provenance is not None and len(data.provenance):
        parts.append(_version_changes(data.provenance, labels))
    if not parts:
        return pl.DataFrame(schema=_SCHEMA)
    return pl.concat([part.cast(_SCHEMA) for part in parts]).sort("at", maintain_order=True)  # type: ignore[arg-type]


def _labeled(rows: pl.DataFrame, labels: Mapping[str, str]) -> pl.DataFrame:
    """Return the rows of some studies, with the id and label of each."""
    if list(labels) == [MISSING_STUDY]:  # checkpoints without study columns belong to a single study
        return rows.with_columns(study_id=pl.lit(MISSING_STUDY), label=pl.lit(labels[MISSING_STUDY]))
    key = pl.when(pl.col("study_id").is_in(list(labels))).then("study_id").otherwise("study")
    return rows.with_columns(key.alias("study_id")).with_columns(
        pl.col("study_id").replace_strict(dict(labels), default=None, return_dtype=pl.String()).alias("label")
    ).filter(pl.col("label").is_not_null())  # fmt: skip


def _version_changes(provenance: Any, labels: Mapping[str, str]) -> pl.DataFrame:
    rows = _labeled(
        read_columns(provenance, PROVENANCE, ["period_start", "models"], ["study_id", "study", "agent", "agent_version"]), labels
    )
    changes: list[list[Any]] = []
    latest: dict[str, dict[str, str]] = {}
    for row in rows.drop_nulls("period_start").sort("study_id", "period_start", maintain_order=True).iter_rows(named=True):
        models = ", ".join(sorted(row["models"] or []))
        known = {name: value for name, value in {**row, "models": models}.items() if name in _VERSIONS and value}
        before = latest.setdefault(row["study_id"], {})
        texts = [f"{_VERSIONS[name]} {before[name]} → {value}" for name, value in known.items() if before.get(name, value) != value]
        if texts:
            changes.append([row["study_id"], row["label"], "version", row["period_start"], None, *[", ".join(texts)] * 2])
        before |= known
    return pl.DataFrame(changes, schema=_SCHEMA, orient="row")


def first_values(data: StudyData, metric: str) -> pl.DataFrame | None:
    """Return the values of a metric that amendments replaced, as first recorded.

    Parameters
    ----------
    data
        The data of the studies.
    metric
        The name of a metric.

    Returns
    -------
    polars.DataFrame or None
        Aligned with `StudyData.sorted_checkpoints`: amended (Boolean) and old (Float64, durations in seconds; null if the checkpoint was
        recorded without a value). None if no value of the metric was amended, or the data shows values as first recorded.
    """
    if data.amendments is None or data.scope.values == "first" or "checkpoint_id" not in data or not len(data.amendments):
        return None
    changes = read_columns(data.amendments, AMENDMENTS, ["checkpoint_id", "metric", "old"], ["study_id", "study", "revision"])
    changes = _labeled(changes.filter(pl.col("metric") == metric), {name.id: name.label for name in data.names})
    if changes.is_empty():
        return None
    key = ["study_id", "checkpoint_id"]
    first = changes.sort("revision", maintain_order=True).unique(key, keep="first").select(*key, "old", amended=pl.lit(True))
    ids = data.sorted_checkpoints([], ["checkpoint_id"]).select(pl.col("study_id").cast(pl.String()), "checkpoint_id")
    joined = ids.join(first, on=key, how="left", maintain_order="left")
    return joined.select(pl.col("amended").fill_null(False), "old")
