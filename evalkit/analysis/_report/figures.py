"""The charts of a report as compact SVG that takes its colors from the page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from evalkit.analysis import _wording
from evalkit.analysis._report.safe_text import sanitized, truncated
from evalkit.domain.catalog import METRICS
from evalkit.domain.verdicts import is_significant
from evalkit.frames.study_data import StudyData

if TYPE_CHECKING:
    from evalkit.analysis._report.study_analysis import ReportedStudy, StudyAnalysis

__all__ = ["Figure", "figures"]

_MOST_SIGNIFICANT = 4
_NAME = 48
_TAG = re.compile(r'<[\w:]+(?:\s+[\w:-]+="[^"]*")*\s*/?>')
_INVISIBLE = re.compile(r'<path(?=[^<>]* opacity="0")(?:\s+[\w:-]+="[^"]*")*>(?:<title>[^<]*</title>)?</path>')
_TITLE = re.compile(r"<title>[^<]*</title>")
_ACCESSIBILITY = re.compile(r' (?:aria-[a-z]+|role|class|pointer-events|xmlns:xlink|version)="[^"]*"')
_DECIMALS = re.compile(r"(\.\d\d)\d+")
_WIDTH = re.compile(r'^<svg [^>]*?\bwidth="([\d.]+)"')


@dataclass(frozen=True)
class Figure:
    """A chart with its name and its text description.

    Attributes
    ----------
    drawing
        SVG.
    name
        A short title.
    description
        The content as text.
    width
        The width of the drawing, in pixels.
    """

    drawing: str
    name: str
    description: str
    width: int


def figures(analysis: StudyAnalysis) -> dict[str, list[Figure]]:
    """Return the charts of a report, by section.

    The charts depend only on the data, not on earlier charts of the process.
    """
    from evalkit.plots import lifecycle, overview
    from evalkit.plots._result_layers import differences
    from evalkit.plots._theme import fresh_colors

    study = _short_names(analysis.study)
    both = [study] if analysis.baseline is None else [study, _short_names(analysis.baseline)]
    charts: dict[str, list[Figure]] = {"lifecycle": [], "overview": [], "significant": [], "differences": []}
    with fresh_colors():
        checkpoints = study[0]
        if any(lifecycle_rows.height for _, lifecycle_rows in both):
            frames = [pl.concat(parts, how="diagonal_relaxed") for parts in zip(*both, strict=True)]
            charts["lifecycle"] = [_figure("Lifecycle", lifecycle(StudyData(*frames)), titled=False)]
        if analysis.trends:
            measured = [result.metric.name for result in analysis.trends]
            selected = checkpoints.drop([name for name in METRICS if name not in measured and name in checkpoints.columns])
            charts["overview"] = [_figure("Overview of all metrics", overview(selected), titled=False)]
        charts["significant"] = [_significant(checkpoints, analysis, metric) for metric in _most_significant(analysis)]
        estimated = [
            (result, _wording.difference_line(result)) for result in analysis.differences if result.difference is not None and result.spread
        ]
        if analysis.comparison is not None and estimated:
            name, baseline = (truncated(label, _NAME // 2) for label in (analysis.comparison.study, analysis.comparison.baseline))
            charts["differences"] = [_figure("Differences", differences(name, baseline, estimated), titled=True)]
    return charts


def _short_names(study: ReportedStudy) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return checkpoints and lifecycle with study names short enough for a chart."""
    frames = []
    for frame in (study.checkpoints, study.lifecycle):
        names = frame["study"].drop_nulls().unique().to_list() if "study" in frame.columns else []
        short = {name: truncated(name, _NAME) for name in names}
        frames.append(frame.with_columns(pl.col("study").replace(short)) if short else frame)
    return frames[0], frames[1]


def _most_significant(analysis: StudyAnalysis) -> list[str]:
    """Return the metrics with the most significant results, in the order of `METRICS`.

    These are the smallest adjusted p-values of significant trends and shifts.
    """
    ps: dict[str, float] = {}
    for result in (*analysis.trends, *analysis.changes):
        if is_significant(result.p_corrected):
            ps[result.metric.name] = min(ps.get(result.metric.name, 1.0), result.p_corrected or 0.0)
    chosen = sorted(ps, key=lambda name: ps[name])[:_MOST_SIGNIFICANT]
    return [name for name in METRICS if name in chosen]


def _significant(checkpoints: pl.DataFrame, analysis: StudyAnalysis, metric: str) -> Figure:
    from evalkit.plots import trend

    (line,) = (result for result in analysis.trends if result.metric.name == metric)
    (shifts,) = (result for result in analysis.changes if result.metric.name == metric)
    fit, marked = line if is_significant(line.p_corrected) else None, shifts if shifts.changes else None
    return _figure(METRICS[metric].label, trend(checkpoints, metric, fit=fit, changes=marked), titled=True)


def _figure(name: str, chart: Any, *, titled: bool) -> Figure:
    from evalkit.plots._rendering import svg

    drawing = svg(chart, "page")
    return Figure(_compact(drawing, titled=titled), name, str(chart.description), _width(drawing))


def _width(drawing: str) -> int:
    match = _WIDTH.search(drawing)
    assert match is not None
    return round(float(match[1]))


def _compact(drawing: str, *, titled: bool) -> str:
    """Return a compact drawing.

    Invisible points, decimals below a hundredth of a pixel, and accessibility attributes are removed. Only tags are changed; texts of a
    study cannot look like tags, since their angle brackets are escaped.
    """
    drawing = _INVISIBLE.sub("", drawing)
    if not titled:
        drawing = _TITLE.sub("", drawing)
    return sanitized(_TAG.sub(lambda tag: _DECIMALS.sub(r"\1", _ACCESSIBILITY.sub("", tag[0])), drawing))
