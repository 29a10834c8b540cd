"""Everything that is asked of one study, with all p-values corrected together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from evalkit.analysis._audit.audit import Audit
from evalkit.analysis._carried import Carried
from evalkit.analysis._changepoints import ChangePoints, changepoints_of
from evalkit.analysis._compare import Comparison, compare_of, named_metrics
from evalkit.analysis._difference import Difference
from evalkit.analysis._observed import observed_of
from evalkit.analysis._per_study import holm
from evalkit.analysis._summary import summary
from evalkit.analysis._trend import Trend, trend_of
from evalkit.domain.metrics import METRICS
from evalkit.frames.columns import LIFECYCLE, empty_frame
from evalkit.frames.normalize import read_checkpoints

__all__ = ["StudyFrames", "Whole", "examine"]


@dataclass(frozen=True)
class StudyFrames:
    """A study as frames.

    Attributes
    ----------
    checkpoints
        Its own, as ``kit.checkpoints(study)`` gives them.
    lifecycle
        Its own rows of ``kit.lifecycle()``.
    about
        Its row of ``kit.studies()``; of what is not there the report says nothing.
    """

    checkpoints: pl.DataFrame
    lifecycle: pl.DataFrame = field(default_factory=lambda: empty_frame(LIFECYCLE))
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Whole:
    """What was found on one study.

    Attributes
    ----------
    trends, changes
        Of each metric that has a value, in the catalogue's order.
    comparison
        With the baseline, in the metrics that have a value in both; None without one.
    audit
        Of the study and its baseline.
    summary
        A row for each metric of the study by its name, as in `evalkit.analysis.Summary`.
    not_measured
        Metrics that were looked for and have no value.
    """

    trends: list[Trend]
    changes: list[ChangePoints]
    comparison: Comparison | None
    audit: Audit
    summary: dict[str, dict[str, Any]]
    not_measured: list[str]

    @property
    def tests(self) -> tuple[int, int, int]:
        """How many p-values there are of trends, of shifts and of differences."""
        trends, changes, differences = self.trends, self.changes, self.differences
        return (
            sum(one.p is not None for one in trends),
            sum(one.p is not None for one in changes),
            sum(one.p is not None for one in differences),
        )

    @property
    def differences(self) -> list[Difference]:
        """The differences to the baseline; none without one."""
        return [] if self.comparison is None else self.comparison.differences


def examine(study: StudyFrames, baseline: StudyFrames | None = None, metrics: Sequence[str] | None = None) -> Whole:
    """Ask everything of a study: trends, shifts, differences to a baseline, and the audit.

    All p-values are corrected together (Holm): with no effect at all anything is claimed in at most 5 % of studies, as
    simulated for autocorrelations up to 0.5.

    Parameters
    ----------
    study, baseline
        As frames.
    metrics
        Names of `evalkit.METRICS`; None for all.

    Raises
    ------
    InvalidInputError
        When a frame lacks a column, or there is no such metric.
    MissingExtraError
        Without scipy.
    """
    names = _named(study.checkpoints, metrics)
    both = [study] if baseline is None else [study, baseline]
    frame = pl.concat([one.checkpoints for one in both], how="diagonal_relaxed")
    counts = {METRICS[name].denominator for name in names} - {None, *names}
    rows = read_checkpoints(frame, names, counts=sorted(name for name in counts if name))
    ids = pl.col("study_id").cast(pl.String())
    parts = [rows.filter(ids == _id_of(one)) for one in both] if baseline is not None else [rows]
    carried = Carried((frame, pl.concat([one.lifecycle for one in both])))
    measured = [name for name in names if parts[0][name].count()]
    series = [observed_of(parts[0], name) for name in measured]
    trends = [trend_of(one, carried.about(one)) for one in series]
    changes = [changepoints_of(one, carried.about(one)) for one in series]
    shared = [name for name in measured if baseline is not None and parts[1][name].count()]
    differences = [compare_of(parts[0], parts[1], name, carried) for name in shared]
    trends, changes, differences = _corrected(trends, changes, differences)
    comparison = None
    if baseline is not None:
        names_of = [part["label"][0] if part.height else one.about.get("name") or "-" for part, one in zip(parts, both, strict=True)]
        comparison = Comparison(frame, names_of[0], names_of[1], differences)
    told = summary(study.checkpoints).frame if names else pl.DataFrame()
    return Whole(
        trends, changes, comparison, carried.audit, {row["metric"]: row for row in told.to_dicts()},
        [name for name in names if name not in measured],
    )  # fmt: skip


def _named(frame: pl.DataFrame, metrics: Sequence[str] | None) -> list[str]:
    asked = named_metrics(frame, metrics)
    return [name for name in METRICS if name in asked]


def _id_of(study: StudyFrames) -> str:
    """Give the id by which the rows of a study are found in a frame of two."""
    rows = study.checkpoints
    return str(study.about.get("study_id") or (rows["study_id"][0] if rows.height else ""))


def _corrected(
    trends: list[Trend], changes: list[ChangePoints], differences: list[Difference]
) -> tuple[list[Trend], list[ChangePoints], list[Difference]]:
    """Correct the p-values of all of them together."""
    raw = [*(one.p for one in trends), *(one.p for one in changes), *(one.p for one in differences)]
    ps, tests = iter(holm(raw)), sum(p is not None for p in raw)
    return (
        [one.judged(next(ps)) for one in trends],
        [one.judged(next(ps)) for one in changes],
        [one.judged(next(ps), tests) for one in differences],
    )
