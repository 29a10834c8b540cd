"""All analyses of a report, with their p-values adjusted together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from evalkit.analysis._changepoints import ChangePoints, changepoints_of
from evalkit.analysis._compare import Comparison, Difference, compare_of, named_metrics, rows_of, untested_metrics
from evalkit.analysis._results import holm
from evalkit.analysis._series import metric_series, rows_for
from evalkit.analysis._summary import summary
from evalkit.analysis._trend import Trend, trend_of
from evalkit.domain.catalog import METRICS
from evalkit.domain.definitions import Metric
from evalkit.errors import InvalidInputError
from evalkit.frames.columns import AMENDMENTS, CHECKPOINTS, LIFECYCLE, NOTES, PROVENANCE, STUDIES, empty_frame
from evalkit.frames.normalize import StudyName, read_columns
from evalkit.frames.study_data import StudyData

if TYPE_CHECKING:
    from evalkit.frames.normalize import FrameLike

__all__ = ["ReportedStudy", "StudyAnalysis", "analyze_study", "only_study"]


@dataclass(frozen=True)
class ReportedStudy:
    """A study with its data.

    Attributes
    ----------
    name
        Its id, name and label.
    data
        Its checkpoints and lifecycle.
    description
        Its row of ``kit.studies()``; empty if the data has none.
    """

    name: StudyName
    data: StudyData
    description: dict[str, Any]

    @property
    def checkpoints(self) -> pl.DataFrame:
        """The checkpoints as a Polars frame.

        The columns are those of ``kit.checkpoints()`` that the data has, and custom metrics.
        """
        kinds = CHECKPOINTS | {name: metric.kind for name, metric in self.custom.items()}
        return self.data.columns(kinds, [], [name for name in kinds if name in self.data])

    @property
    def custom(self) -> dict[str, Metric]:
        """The custom metrics of the study by name, in the order of their definition."""
        return {name: metric for name, metric in self.data.catalog.items() if name not in METRICS}

    @property
    def amendments(self) -> pl.DataFrame:
        """The amendments and retractions as a Polars frame; empty if the data has none."""
        return _frame(self.data.amendments, AMENDMENTS)

    @property
    def notes(self) -> pl.DataFrame:
        """The notes as a Polars frame; empty if the data has none."""
        return _frame(self.data.notes, NOTES)

    @property
    def provenance(self) -> pl.DataFrame:
        """The origin of checkpoints as a Polars frame; empty if the data has none."""
        return _frame(self.data.provenance, PROVENANCE)

    @property
    def lifecycle(self) -> pl.DataFrame:
        """The lifecycle as a Polars frame; empty if the data has none."""
        if self.data.lifecycle is None:
            return empty_frame(LIFECYCLE)
        return read_columns(self.data.lifecycle, LIFECYCLE, ["seq", "kind", "status", "at"], ["study_id", "study"])


def _frame(frame: FrameLike | None, columns: dict[str, str]) -> pl.DataFrame:
    return empty_frame(columns) if frame is None else read_columns(frame, columns, [], list(columns))


@dataclass(frozen=True)
class StudyAnalysis:
    """The analyses of a report.

    Attributes
    ----------
    study, baseline
        The studies; None for the baseline without a comparison.
    data
        The data of both.
    trends, changes
        The trend and the changepoints of each metric that has a value, in the order of the catalog.
    comparison
        The comparison with the baseline, in the metrics that have a value in both studies; None without a baseline.
    summary
        The row of `evalkit.analysis.Summary` of each metric of the study, by name.
    not_measured
        The requested metrics without a value.
    not_tested
        The custom metrics that were not requested and are left out, with the reason.
    """

    study: ReportedStudy
    baseline: ReportedStudy | None
    data: StudyData
    trends: list[Trend]
    changes: list[ChangePoints]
    comparison: Comparison | None
    summary: dict[str, dict[str, Any]]
    not_measured: list[str]
    not_tested: dict[str, str]

    @property
    def tests(self) -> tuple[int, int, int]:
        """Number of p-values of trends, shifts and differences."""
        trends, shifts, differences = (
            sum(result.p is not None for result in results) for results in (self.trends, self.changes, self.differences)
        )
        return trends, shifts, differences

    @property
    def differences(self) -> list[Difference]:
        """The differences from the baseline; empty without one."""
        return [] if self.comparison is None else self.comparison.differences


def analyze_study(
    data: StudyData, study: StudyName, baseline: StudyName | None = None, metrics: Sequence[str] | str | None = None
) -> StudyAnalysis:
    """Compute the trends and shifts of a study, and its differences from a baseline.

    All p-values are adjusted together (Holm). If nothing changed, at most 5% of studies have a significant result, as simulated for
    autocorrelations up to 0.5.

    Parameters
    ----------
    data
        The data of the study, and possibly of others.
    study, baseline
        Two studies of the data.
    metrics
        Names of metrics; None for the 16 and the primary custom ones.

    Raises
    ------
    InvalidInputError
        If a metric is unknown or a column has the wrong type.
    MissingExtraError
        If scipy is not installed.
    """
    both = data.of(study.id) if baseline is None else data.of(study.id, baseline.id)
    order = list(both.catalog)
    requested = named_metrics(both, metrics)
    chosen = sorted(requested, key=lambda metric: order.index(metric.name) if metric.name in both else len(order))
    rows = rows_for(both, chosen)
    of_study = rows_of(rows, study.id)
    measured = [metric for metric in chosen if of_study[metric.name].count()]
    all_series = [metric_series(of_study, metric, defined=metric.name not in both.undefined) for metric in measured]
    trends = [trend_of(series, both) for series in all_series]
    changes = [changepoints_of(series, both) for series in all_series]
    differences = []
    if baseline is not None:
        of_baseline = rows_of(rows, baseline.id)
        differences = [compare_of(of_study, of_baseline, metric, both) for metric in measured if of_baseline[metric.name].count()]
    trends, changes, differences = _adjusted(trends, changes, differences)
    labels = {name.id: name.label for name in both.known}
    comparison = None
    if baseline is not None:
        comparison = Comparison(labels[study.id], labels[baseline.id], differences, both, metrics is not None)
    reported = _reported(both, study)
    summary_rows = summary(reported.data)._rows.to_dicts() if chosen else []
    return StudyAnalysis(
        reported, None if baseline is None else _reported(both, baseline), both, trends, changes, comparison,
        {row["metric"]: row for row in summary_rows},
        [metric.name for metric in chosen if metric not in measured],
        {} if metrics is not None else untested_metrics(both, chosen),
    )  # fmt: skip


def _reported(data: StudyData, study: StudyName) -> ReportedStudy:
    return ReportedStudy(study, data.of(study.id), _description(data, study))


def _description(data: StudyData, study: StudyName) -> dict[str, Any]:
    """Return a study's row of the studies frame; empty without one."""
    if data.studies is None:
        return {}
    columns = [str(name) for name in data.studies.columns]
    plain = [name for name, kind in STUDIES.items() if kind != "pairs" and name in columns]
    rows = read_columns(data.studies, STUDIES, [], list(dict.fromkeys([*plain, "study_id", "name"]))).with_row_index("place")
    row = rows.filter((pl.col("study_id") == study.id) | (pl.col("study_id").is_null() & (pl.col("name") == study.name)))
    if row.is_empty():
        return {}
    description = row.row(0, named=True)
    if "metadata" in columns:
        pairs: Any = data.studies["metadata"]
        description["metadata"] = list((pairs if isinstance(pairs, pl.Series) else pairs.reset_index(drop=True))[description["place"]])
    return description


def _adjusted(
    trends: list[Trend], changes: list[ChangePoints], differences: list[Difference]
) -> tuple[list[Trend], list[ChangePoints], list[Difference]]:
    """Adjust the p-values of all results together."""
    raw = [result.p for results in (trends, changes, differences) for result in results]
    ps, tests = iter(holm(raw)), sum(p is not None for p in raw)
    return (
        [result._adjusted(next(ps)) for result in trends],
        [result._adjusted(next(ps)) for result in changes],
        [result._adjusted(next(ps), tests) for result in differences],
    )


def only_study(data: StudyData) -> StudyName:
    """Return the only study of the data.

    Raises
    ------
    InvalidInputError
        If the data has several studies, or none.
    """
    if len(data.known) == 1:
        return data.known[0]
    if not data.known:
        raise InvalidInputError("The data has no study", hint="Pass kit.data(study) of a study.", field="study", value=None)
    names = ", ".join(repr(name.label) for name in data.known[:8]) + (", …" if len(data.known) > 8 else "")
    raise InvalidInputError(
        f"The data has {len(data.known)} studies: {names}", hint="Choose one with study=.", field="study", value=None
    )  # fmt: skip
