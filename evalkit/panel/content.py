"""The content of one reading: studies, definitions, last values, frames of a study."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

from evalkit._util.text import plural
from evalkit.domain.catalog import standard_metrics
from evalkit.domain.times import stored_text
from evalkit.frames.columns import CHECKPOINTS
from evalkit.frames.definitions import definitions_in
from evalkit.frames.metric_text import number

if TYPE_CHECKING:
    from evalkit.domain.definitions import Metric
    from evalkit.frames.all_frames import AllFrames
    from evalkit.frames.study_data import StudyData

__all__ = ["Content", "StudyFrames"]

_PERIODS = "recorded periods"
"""The name of the number of recorded periods; it cannot be that of a metric."""
_DESCRIBED = ("study_id", "name", "metadata")
"""The columns of the studies frame that a chart depends on."""


@dataclass(frozen=True, eq=False)
class StudyFrames:
    """The rows of one study in the frames of a kit, without excluded checkpoints."""

    checkpoints: pl.DataFrame
    """With the columns of the custom metrics that the study defines."""
    lifecycle: pl.DataFrame
    studies: pl.DataFrame
    """Only the columns `_DESCRIBED`, so that a chart is not drawn again when others change."""
    metrics: pl.DataFrame
    notes: pl.DataFrame
    amendments: pl.DataFrame
    periods: pl.DataFrame
    """The start and end of each checkpoint, excluded ones too."""
    as_of: datetime | str | None
    """The state of the log, a time or the text of a pin; None for the latest."""
    excluded: frozenset[str] = frozenset()
    """The ids of checkpoints of the study that are not shown."""

    def equals(self, other: StudyFrames) -> bool:
        """Return whether a chart of these frames is the same."""
        names = ("checkpoints", "lifecycle", "studies", "metrics", "notes", "amendments", "periods")
        return self.as_of == other.as_of and all(getattr(self, name).equals(getattr(other, name)) for name in names)

    def data(self, provenance: pl.DataFrame | None = None) -> StudyData:
        """Return the frames as the input of a chart."""
        from evalkit.frames.scope import Scope
        from evalkit.frames.study_data import StudyData

        as_of = stored_text(self.as_of) if isinstance(self.as_of, datetime) else self.as_of
        return StudyData(
            self.checkpoints, self.lifecycle, studies=self.studies, metrics=self.metrics, notes=self.notes,
            amendments=self._kept(self.amendments), provenance=None if provenance is None else self._kept(provenance),
            scope=Scope(as_of, excluded=self.periods.height - self.checkpoints.height),
        )  # fmt: skip

    def _kept(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of checkpoints that are not excluded."""
        return frame.filter(~pl.col("checkpoint_id").is_in(list(self.excluded))) if self.excluded else frame


class Content:
    """What a panel shows of one reading.

    Parameters
    ----------
    frames
        The frames of a kit.
    excluded
        The study id and id of each checkpoint that is not shown.
    as_of
        The state of the log, a time or the text of a pin; None for the latest.
    previous
        The content of an earlier reading with the same excluded checkpoints, whose values are kept for studies that did not change.
    """

    def __init__(
        self,
        frames: AllFrames,
        excluded: frozenset[tuple[str, str]] = frozenset(),
        as_of: datetime | str | None = None,
        previous: Content | None = None,
    ) -> None:
        self.frames = frames
        self.excluded = excluded
        self.as_of = as_of
        self.studies = frames.rows
        """The rows of the studies frame by id, newest first; archived ones too."""
        self._metrics: dict[str, dict[str, Metric]] = {}
        self._of_study: dict[str, StudyFrames] = {}
        self._values: dict[str, dict[str, Any]] = {}
        """Values of each study that has them, by their name."""
        self._known = ({}, {}) if previous is None else (previous.studies, previous._values)

    @cached_property
    def not_archived(self) -> list[dict[str, Any]]:
        """The rows of the studies that are not archived."""
        return [row for row in self.studies.values() if not row["archived"]]

    @cached_property
    def search_texts(self) -> dict[str, str]:
        """The searchable text of each study."""
        return {study_id: _search_text(row) for study_id, row in self.studies.items()}

    @cached_property
    def definitions(self) -> dict[str, dict[str, Metric]]:
        """The custom metrics by study id, then by name."""
        return definitions_in(self.frames.metrics)

    @cached_property
    def _shown(self) -> pl.DataFrame:
        frame, schema = self.frames.checkpoints, {"study_id": pl.String, "checkpoint_id": pl.String}
        if not self.excluded:
            return frame
        return frame.join(pl.DataFrame(list(self.excluded), schema, orient="row"), on=list(schema), how="anti", maintain_order="left")

    def _of_each(self, name: str, value: pl.Expr, kept: pl.Expr | None = None) -> dict[str, Any]:
        """Return a value of each study, computed from its checkpoints (those that are `kept`)."""
        if name not in self._values:
            studies, values = self._known
            rows, known = self._shown, values.get(name, {})
            if known:  # rows of studies that did not change are the same objects
                changed = [study_id for study_id, row in self.studies.items() if studies.get(study_id) is not row]
                rows = rows.filter(pl.col("study_id").is_in(changed))
                known = {study_id: found for study_id, found in known.items() if studies[study_id] is self.studies.get(study_id)}
            rows = rows if kept is None else rows.filter(kept)
            self._values[name] = known | dict(rows.group_by("study_id", maintain_order=True).agg(value).iter_rows())
        return self._values[name]

    def metrics_of(self, study_id: str | None) -> dict[str, Metric]:
        """Return the metrics of a study by name: the 16, then custom ones as defined."""
        key = study_id or ""
        if key not in self._metrics:
            custom = self.definitions.get(key, {})
            self._metrics[key] = standard_metrics(custom) | custom
        return self._metrics[key]

    def is_measured(self, metric: str) -> bool:
        """Return whether any shown checkpoint has a value of a metric."""
        return metric in self._shown.columns and self._shown[metric].count() > 0

    def of_study(self, study_id: str) -> StudyFrames:
        """Return the rows of one study."""
        if study_id not in self._of_study:
            frames, own = self.frames, pl.col("study_id") == study_id
            custom = [name for name in self.definitions.get(study_id, {}) if name in frames.checkpoints.columns]
            self._of_study[study_id] = StudyFrames(
                self._shown.select(*CHECKPOINTS, *custom).filter(own),
                frames.lifecycle.filter(own),
                frames.studies.select(_DESCRIBED).filter(own),
                frames.metrics.filter(own),
                frames.notes.filter(own),
                frames.amendments.filter(own),
                frames.checkpoints.select("study_id", "period_start", "period_end").filter(own),
                self.as_of,
                frozenset(checkpoint_id for owner, checkpoint_id in self.excluded if owner == study_id),
            )
        return self._of_study[study_id]

    def last_value(self, row: dict[str, Any], metric: str) -> str:
        """Return the last measured value of a metric in a study; empty without one.

        Its format is that of the study's definition.
        """
        column, definition = pl.col(metric), self.metrics_of(row["study_id"]).get(metric)
        last = self._of_each(metric, column.last(), column.is_not_null()) if metric in self._shown.columns else {}
        value = last.get(row["study_id"])
        if value is None or definition is None:
            return ""
        return number(definition, value.total_seconds() if isinstance(value, timedelta) else value)

    def recorded(self, row: dict[str, Any]) -> int:
        """Return the number of recorded periods of a study."""
        periods = self._of_each(_PERIODS, pl.struct("period_start", "period_end").n_unique().alias(_PERIODS))
        count: int = periods.get(row["study_id"], 0)
        return count

    def progress(self, row: dict[str, Any]) -> str:
        """Return the recorded and planned periods of a study, e.g. ``"3 of 8 periods"``."""
        recorded, planned = self.recorded(row), row["period_value"]
        return plural(recorded, "period") if planned is None else f"{recorded:,} of {plural(planned, 'period')}"

    def fraction(self, row: dict[str, Any]) -> float | None:
        """Return recorded / planned periods, at most 1; None if no number is planned."""
        planned = row["period_value"]
        return None if planned is None else min(1.0, self.recorded(row) / planned)


def _search_text(row: dict[str, Any]) -> str:
    """Return name, id, description, tags and metadata of a study, in lower case."""
    pairs = (f"{pair['key']}={pair['value']}" for pair in row["metadata"])
    return "\n".join((row["name"], row["study_id"], row["description"] or "", *row["tags"], *pairs)).lower()
