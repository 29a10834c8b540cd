"""The charts of a report, as SVG that is small, takes its colours from the page, and says in words what it shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import polars as pl

from evalkit.analysis._changepoints import ChangePoints
from evalkit.analysis._compare import Comparison
from evalkit.analysis._report.harmless import harmless, shortened
from evalkit.analysis._report.in_short import claimed
from evalkit.analysis._report.whole import StudyFrames, Whole
from evalkit.analysis._trend import Trend
from evalkit.domain.metrics import METRICS
from evalkit.plots._history import lifecycle
from evalkit.plots._overview import overview
from evalkit.plots._rendering import svg
from evalkit.plots._result_layers import differences
from evalkit.plots._theme import colours_of_their_own
from evalkit.plots._trends import trend

__all__ = ["Figure", "figures"]

_MOST_TOLD = 4
_NAME = 48
_TAG = re.compile(r'<[\w:]+(?:\s+[\w:-]+="[^"]*")*\s*/?>')
_UNSEEN = re.compile(r'<path(?=[^<>]* opacity="0")(?:\s+[\w:-]+="[^"]*")*>(?:<title>[^<]*</title>)?</path>')
_TITLE = re.compile(r"<title>[^<]*</title>")
_SAID = re.compile(r' (?:aria-[a-z]+|role|class|pointer-events|xmlns:xlink|version)="[^"]*"')
_FINE = re.compile(r"(\.\d\d)\d+")


@dataclass(frozen=True)
class Figure:
    """A drawing, its name, and what it shows in words."""

    drawing: str
    name: str
    words: str


def figures(found: Whole, study: StudyFrames, baseline: StudyFrames | None) -> dict[str, list[Figure]]:
    """Draw what a report shows, by the part that it stands in.

    The same data give the same drawings, whatever this process drew before.
    """
    study, baseline = _named(study), None if baseline is None else _named(baseline)
    with colours_of_their_own():
        checkpoints = study.checkpoints
        both = [study] if baseline is None else [study, baseline]
        made: dict[str, list[Figure]] = {"lifecycle": [], "overview": [], "told": [], "differences": []}
        if any(one.lifecycle.height for one in both):
            frames = [pl.concat([getattr(one, name) for one in both], how="diagonal_relaxed") for name in ("lifecycle", "checkpoints")]
            made["lifecycle"] = [_figure("Lifecycle", lifecycle(*frames), titled=False)]
        if found.trends:
            wanted = [one.metric.name for one in found.trends]
            without = checkpoints.drop([name for name in METRICS if name not in wanted and name in checkpoints.columns])
            made["overview"] = [_figure("Overview of all metrics", overview(without), titled=False)]
        made["told"] = [_told(study, found, metric) for metric in _most_told(found)]
        if found.comparison is not None and any(one.difference is not None and one.spread for one in found.differences):
            study_name, baseline_name = (shortened(name, _NAME // 2) for name in (found.comparison.study, found.comparison.baseline))
            short = Comparison(checkpoints, study_name, baseline_name, found.differences)
            made["differences"] = [_figure("Differences", differences(short), titled=True)]
        return made


def _named(study: StudyFrames) -> StudyFrames:
    """Give a study with a name that a chart has room for."""
    frames = []
    for frame in (study.checkpoints, study.lifecycle):
        names = frame["study"].drop_nulls().unique().to_list() if "study" in frame.columns else []
        short = {name: shortened(name, _NAME) for name in names}
        frames.append(frame.with_columns(pl.col("study").replace(short)) if short else frame)
    return StudyFrames(frames[0], frames[1], study.about)


def _most_told(found: Whole) -> list[str]:
    """Give the metrics in which most can be told, in the catalogue's order."""
    ps: dict[str, float] = {}
    results: list[Trend | ChangePoints] = [*found.trends, *found.changes]
    for one in results:
        if claimed(one):
            ps[one.metric.name] = min(ps.get(one.metric.name, 1.0), one.p_corrected or 0.0)
    chosen = sorted(ps, key=lambda name: ps[name])[:_MOST_TOLD]
    return [name for name in METRICS if name in chosen]


def _told(study: StudyFrames, found: Whole, metric: str) -> Figure:
    (line,) = (one for one in found.trends if one.metric.name == metric)
    (shifts,) = (one for one in found.changes if one.metric.name == metric)
    marked = shifts if shifts.changes else None
    chart = trend(study.checkpoints, metric, fit=line if claimed(line) else None, changes=marked)
    return _figure(METRICS[metric].label, chart, titled=True)


def _figure(name: str, chart: Any, *, titled: bool) -> Figure:
    return Figure(_small(svg(chart, "page"), titled=titled), name, str(chart.description))


def _small(drawing: str, *, titled: bool) -> str:
    """Leave out of a drawing what nobody sees: points without ink, digits below a hundredth of a pixel, and words for screen readers.

    Only tags are touched, which no text of a study can look like: there, angle brackets are escaped.
    """
    drawing = _UNSEEN.sub("", drawing)
    if not titled:
        drawing = _TITLE.sub("", drawing)
    return harmless(_TAG.sub(lambda tag: _FINE.sub(r"\1", _SAID.sub("", tag[0])), drawing))
