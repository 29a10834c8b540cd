"""The charts of a report as compact SVG that takes its colors from the page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from evalkit.analysis import _wording
from evalkit.analysis._report.safe_text import sanitized, truncated
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
    alone = {name: frame for name, frame in study.items() if name != "lifecycle"}  # which has a chart of its own
    data = _data(alone, analysis)
    charts: dict[str, list[Figure]] = {"lifecycle": [], "overview": [], "significant": [], "differences": []}
    with fresh_colors():
        if any(frames["lifecycle"].height for frames in both):
            joined = {name: pl.concat([frames[name] for frames in both], how="diagonal_relaxed") for name in study}
            charts["lifecycle"] = [_figure("Lifecycle", lifecycle(_data(joined, analysis)), titled=False)]
        if analysis.trends:
            measured = [result.metric.name for result in analysis.trends]
            others = [name for name in data.catalog if name not in measured]
            shown = _data({**alone, "checkpoints": study["checkpoints"].drop(others)}, analysis)
            charts["overview"] = [_figure("Overview of all metrics", overview(shown), titled=False)]
        charts["significant"] = [_significant(data, analysis, metric) for metric in _most_significant(analysis)]
        estimated = [
            (result, _wording.difference_line(result)) for result in analysis.differences if result.difference is not None and result.spread
        ]
        if analysis.comparison is not None and estimated:
            name, baseline = (truncated(label, _NAME // 2) for label in (analysis.comparison.study, analysis.comparison.baseline))
            charts["differences"] = [
                _figure("Differences", differences(name, baseline, estimated, analysis.data.scope.sentences()), titled=True)
            ]
    return charts


def _short_names(study: ReportedStudy) -> dict[str, pl.DataFrame]:
    """Return the frames of a study, with a study name that is short enough for a chart."""
    frames = {name: getattr(study, name) for name in ("checkpoints", "lifecycle", "notes", "amendments", "provenance")}
    for name, frame in frames.items():
        names = frame["study"].drop_nulls().unique().to_list() if "study" in frame.columns else []
        if names:
            frames[name] = frame.with_columns(pl.col("study").replace({long: truncated(long, _NAME) for long in names}))
    return frames


def _data(frames: dict[str, pl.DataFrame], analysis: StudyAnalysis) -> StudyData:
    """Return frames as the data of charts."""
    return StudyData(
        frames["checkpoints"], frames.get("lifecycle"), metrics=analysis.study.data.metrics, notes=frames["notes"],
        amendments=frames["amendments"], provenance=frames["provenance"], scope=analysis.data.scope,
    )  # fmt: skip


def _most_significant(analysis: StudyAnalysis) -> list[str]:
    """Return the metrics with the most significant results, in their order.

    These are the smallest adjusted p-values of significant trends and shifts.
    """
    ps: dict[str, float] = {}
    for result in (*analysis.trends, *analysis.changes):
        if is_significant(result.p_corrected):
            ps[result.metric.name] = min(ps.get(result.metric.name, 1.0), result.p_corrected or 0.0)
    chosen = sorted(ps, key=lambda name: ps[name])[:_MOST_SIGNIFICANT]
    return [result.metric.name for result in analysis.trends if result.metric.name in chosen]


def _significant(data: StudyData, analysis: StudyAnalysis, metric: str) -> Figure:
    from evalkit.plots import trend

    (line,) = (result for result in analysis.trends if result.metric.name == metric)
    (shifts,) = (result for result in analysis.changes if result.metric.name == metric)
    fit, marked = line if is_significant(line.p_corrected) else None, shifts if shifts.changes else None
    return _figure(line.metric.label, trend(data, metric, fit=fit, changes=marked), titled=True)


def _figure(name: str, chart: Any, *, titled: bool) -> Figure:
    from evalkit.plots._rendering import specification, svg
    from evalkit.plots._vega_lite import without_pointer

    spec = specification(chart)
    if not titled:  # it is faster not to draw what `_compact` would remove
        spec = {**without_pointer(spec), "config": {**spec.get("config", {}), "aria": False}}
    drawing = svg(spec, "page")
    return Figure(_compact(drawing, titled=titled), name, str(spec["description"]), _width(drawing))


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
