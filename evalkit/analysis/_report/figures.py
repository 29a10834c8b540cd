"""The charts of a report, as SVG that is small, takes its colors from the page, and describes what it shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from evalkit.analysis import _wording
from evalkit.analysis._report.render import harmless, shortened
from evalkit.domain.metrics import METRICS
from evalkit.domain.verdicts import is_significant
from evalkit.frames.study_data import StudyData

if TYPE_CHECKING:
    from evalkit.analysis._report.examination import Examination, StudyPart

__all__ = ["Figure", "figures"]

_MOST_SIGNIFICANT = 4
_NAME = 48
_TAG = re.compile(r'<[\w:]+(?:\s+[\w:-]+="[^"]*")*\s*/?>')
_UNSEEN = re.compile(r'<path(?=[^<>]* opacity="0")(?:\s+[\w:-]+="[^"]*")*>(?:<title>[^<]*</title>)?</path>')
_TITLE = re.compile(r"<title>[^<]*</title>")
_SAID = re.compile(r' (?:aria-[a-z]+|role|class|pointer-events|xmlns:xlink|version)="[^"]*"')
_FINE = re.compile(r"(\.\d\d)\d+")


@dataclass(frozen=True)
class Figure:
    """A drawing, its name, and a description of what it shows."""

    drawing: str
    name: str
    words: str


def figures(examined: Examination) -> dict[str, list[Figure]]:
    """Draw what a report shows, by the section that it is in.

    The same data give the same drawings, whatever this process drew before.
    """
    from evalkit.plots import lifecycle, overview
    from evalkit.plots._result_layers import differences
    from evalkit.plots._theme import colours_of_their_own

    study = _short_names(examined.study)
    both = [study] if examined.baseline is None else [study, _short_names(examined.baseline)]
    made: dict[str, list[Figure]] = {"lifecycle": [], "overview": [], "significant": [], "differences": []}
    with colours_of_their_own():
        checkpoints = study[0]
        if any(each[1].height for each in both):
            frames = [pl.concat([each[place] for each in both], how="diagonal_relaxed") for place in (0, 1)]
            made["lifecycle"] = [_figure("Lifecycle", lifecycle(StudyData(*frames)), titled=False)]
        if examined.trends:
            wanted = [one.metric.name for one in examined.trends]
            without = checkpoints.drop([name for name in METRICS if name not in wanted and name in checkpoints.columns])
            made["overview"] = [_figure("Overview of all metrics", overview(without), titled=False)]
        made["significant"] = [_significant(checkpoints, examined, metric) for metric in _most_significant(examined)]
        shown = [(each, _wording.difference_line(each)) for each in examined.differences if each.difference is not None and each.spread]
        if examined.comparison is not None and shown:
            one, other = (shortened(name, _NAME // 2) for name in (examined.comparison.study, examined.comparison.baseline))
            made["differences"] = [_figure("Differences", differences(one, other, shown), titled=True)]
    return made


def _short_names(part: StudyPart) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return checkpoints and lifecycle with a name that a chart has room for."""
    frames = []
    for frame in (part.checkpoints, part.lifecycle):
        names = frame["study"].drop_nulls().unique().to_list() if "study" in frame.columns else []
        short = {name: shortened(name, _NAME) for name in names}
        frames.append(frame.with_columns(pl.col("study").replace(short)) if short else frame)
    return frames[0], frames[1]


def _most_significant(examined: Examination) -> list[str]:
    """Return the metrics with the most significant trends and shifts, in the catalog's order."""
    ps: dict[str, float] = {}
    for one in (*examined.trends, *examined.changes):
        if is_significant(one.p_corrected):
            ps[one.metric.name] = min(ps.get(one.metric.name, 1.0), one.p_corrected or 0.0)
    chosen = sorted(ps, key=lambda name: ps[name])[:_MOST_SIGNIFICANT]
    return [name for name in METRICS if name in chosen]


def _significant(checkpoints: pl.DataFrame, examined: Examination, metric: str) -> Figure:
    from evalkit.plots import trend

    (line,) = (one for one in examined.trends if one.metric.name == metric)
    (shifts,) = (one for one in examined.changes if one.metric.name == metric)
    fit, marked = line if is_significant(line.p_corrected) else None, shifts if shifts.changes else None
    return _figure(METRICS[metric].label, trend(checkpoints, metric, fit=fit, changes=marked), titled=True)


def _figure(name: str, chart: Any, *, titled: bool) -> Figure:
    from evalkit.plots._rendering import svg

    return Figure(_small(svg(chart, "page"), titled=titled), name, str(chart.description))


def _small(drawing: str, *, titled: bool) -> str:
    """Leave out of a drawing what nobody sees: points without ink, digits below a hundredth of a pixel, and words for screen readers.

    Only tags are touched, which no text of a study can look like: there, angle brackets are escaped.
    """
    drawing = _UNSEEN.sub("", drawing)
    if not titled:
        drawing = _TITLE.sub("", drawing)
    return harmless(_TAG.sub(lambda tag: _FINE.sub(r"\1", _SAID.sub("", tag[0])), drawing))
