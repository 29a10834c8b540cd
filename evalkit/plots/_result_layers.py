"""Results of analyses as layers and charts.

These are fitted lines, marks of changes, differences from a baseline, and findings of an audit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from evalkit._util.text import plural
from evalkit.domain.refusals import a_type
from evalkit.domain.verdicts import Verdict
from evalkit.errors import InvalidInputError
from evalkit.plots._chart import LayeredChart, layered
from evalkit.plots._lines import STUDY, SUMMARY, color_of, drawn_times, empty_layers, milliseconds, time_axis
from evalkit.plots._theme import NEUTRAL, PALETTE
from evalkit.plots._vega_lite import Channel, Part, field, inline_rows, layer, mark, with_field

if TYPE_CHECKING:
    from evalkit.analysis import Difference

__all__ = ["audit_chart", "change_layers", "change_marks", "differences", "fit_layers", "fit_lines"]

_NOT_SIGNIFICANT = Verdict.NO_DIFFERENCE.value
_VERDICTS = {
    Verdict.BETTER.value: PALETTE[0], Verdict.WORSE.value: PALETTE[3], Verdict.HIGHER.value: PALETTE[2], Verdict.LOWER.value: PALETTE[5],
    _NOT_SIGNIFICANT: NEUTRAL,
}  # fmt: skip
_REFINEMENT = 16
_SEVERITIES = {"error": PALETTE[3], "warning": PALETTE[1], "note": NEUTRAL}


def fit_lines(result: Any, studies: Sequence[tuple[str, str]], metric: str) -> pl.DataFrame:
    """Return the points of fitted lines, at the time `at`, with their confidence intervals.

    Parameters
    ----------
    result
        A result of ``evalkit.analysis.trend`` or ``before_after``, for any number of studies.
    studies
        (id, label) of the studies in the chart.
    metric
        The metric of the chart, which must be that of the result.

    Raises
    ------
    InvalidInputError
        For a result of another type, or for another metric.
    """
    source = "evalkit.analysis.trend(data, metric) or before_after(...)"
    return _of_studies(result, "fit", "fitted_line", studies, metric=metric, source=source)


def fit_layers(lines: pl.DataFrame, studies: Sequence[tuple[str, str]], x: Channel, y: Channel) -> tuple[list[Part], list[str]]:
    """Return the layers that draw fitted lines, and notes on them."""
    if lines.is_empty():
        return [], ["No straight line: the fit has no estimate for the studies shown."]
    several = bool(lines["part"].max())
    curved, clip = "", {}
    if y["scale"].get("type") == "log":
        floor, curved, clip = y["scale"]["domain"][0], " (curved on a log axis)", {"clip": True}
        positive = pl.when(pl.col("value") > 0).then("value")
        lines = _refined(lines).filter(pl.col("high") > floor).with_columns(pl.col("low").clip(floor), value=positive)
    note = f"Dashed: straight {'lines' if several else 'line'}{curved} with 95% {'CIs' if several else 'CI'}."
    data = inline_rows(lines.select("study", "part", x=milliseconds("at"), v="value", low="low", high="high"))
    channels = {"x": x, "color": _color(studies), "detail": field("part:N")}
    band = layer(data, mark("area", opacity=0.14, line=False, aria=False, **clip), y=with_field(y, "low"), y2=field("high"), **channels)
    line = layer(data, mark("line", strokeDash=[7, 4], strokeWidth=1.6, **clip), y=y, description=STUDY, **channels)
    return [band, line], [note]


def _refined(lines: pl.DataFrame) -> pl.DataFrame:
    """Insert points into straight lines, which are curves on a log axis."""
    columns = ["at", "value", "low", "high"]
    shares = pl.DataFrame({"share": [step / _REFINEMENT for step in range(_REFINEMENT)]})
    following = [pl.col(name).shift(-1).over("study", "part").alias(f"next {name}") for name in columns]
    between = lines.with_columns(following).drop_nulls([f"next {name}" for name in columns]).join(shares, how="cross")
    inserted = between.with_columns(pl.col(name) + (pl.col(f"next {name}") - pl.col(name)) * pl.col("share") for name in columns)
    return pl.concat([inserted.select(lines.columns), lines]).unique(["study", "part", "at"]).sort("study", "part", "at")


def change_marks(result: Any, studies: Sequence[tuple[str, str]], metric: str) -> pl.DataFrame:
    """Return the times of changes, `at`, with their confidence intervals, `low` to `high`.

    Parameters
    ----------
    result
        A result of ``evalkit.analysis.changepoints`` or ``before_after``, for any number of studies.
    studies
        (id, label) of the studies in the chart.
    metric
        The metric of the chart, which must be that of the result.

    Raises
    ------
    InvalidInputError
        For a result of another type, or for another metric.
    """
    source = "evalkit.analysis.changepoints(data, metric) or before_after(...)"
    return _of_studies(result, "changes", "change_marks", studies, metric=metric, source=source)


def change_layers(marks: pl.DataFrame, studies: Sequence[tuple[str, str]], x: Channel) -> tuple[list[Part], list[str]]:
    """Return the layers that draw changes, and notes on them."""
    if marks.is_empty():
        return [], ["No changes detected."]
    summary = pl.format("{}, {}", "study", "text")
    data = inline_rows(marks.select("study", x=milliseconds("at"), a=milliseconds("low"), b=milliseconds("high"), summary=summary))
    color, tooltip = _color(studies), [field("summary:N", title="change")]
    intervals = layer(data, mark("rect", opacity=0.12, aria=False), x=with_field(x, "a"), x2=field("b"), color=color)
    rules = layer(data, mark("rule", strokeWidth=2), x=x, tooltip=tooltip, description=SUMMARY, color=color)
    if (marks["low"] < marks["high"]).any():
        return [intervals, rules], ["Vertical bands: times of changes with 95% CIs."]
    return [intervals, rules], ["Thick vertical line: change." if marks.height == 1 else "Thick vertical lines: changes."]


def _color(studies: Sequence[tuple[str, str]]) -> Channel:
    return {"value": NEUTRAL} if len(studies) == 1 else color_of(studies)


def _of_studies(result: Any, field: str, method: str, studies: Sequence[tuple[str, str]], *, metric: str, source: str) -> pl.DataFrame:
    """Return the lines or marks of the studies in the chart, with the chart's labels."""
    results = getattr(result, "results", [result])
    if not isinstance(results, list) or not all(callable(getattr(each, method, None)) for each in results):
        wrong = results[0] if isinstance(results, list) and results else result  # an item of a `PerStudy`
        problem = f"Invalid {field}: expected a result of {source}, got {a_type(wrong)}"
        raise InvalidInputError(problem, field=field, value=type(wrong).__name__)
    other = next((each.metric.name for each in results if each.metric.name != metric), None)
    if other is not None:
        raise InvalidInputError(f"Invalid {field}: expected a result for {metric!r}, got one for {other!r}", field=field, value=other)
    labels = dict(studies)
    drawn = [each for each in results if each.study_id in labels]
    rows = [getattr(each, method)().with_columns(study=pl.lit(labels[each.study_id])) for each in drawn]
    return pl.concat(rows) if rows else pl.DataFrame()


def differences(
    study: str, baseline: str, shown: Sequence[tuple[Difference, str]], scope: Sequence[str] = (), *, width: int = 480
) -> LayeredChart:
    """Draw the differences of a comparison with their 95% confidence intervals.

    The unit is the standard deviation.

    Parameters
    ----------
    study, baseline
        The names of the two studies.
    shown
        Differences and their sentences. Differences without an estimate or a standard deviation are not drawn.
    scope
        Sentences on the data, as `Scope.sentences` returns them.
    width
        The width of the frame, in pixels.
    """
    title = f"{study} vs. {baseline}"
    rows = pl.DataFrame(
        [
            {"metric": each.metric.label, "verdict": each.verdict.value, "v": each.difference.value / each.spread,
             "low": each.difference.low / each.spread, "high": each.difference.high / each.spread, "summary": sentence}
            for each, sentence in shown if each.difference is not None and each.spread
        ],
        schema={"metric": pl.String, "verdict": pl.String, "v": pl.Float64, "low": pl.Float64, "high": pl.Float64, "summary": pl.String},
        orient="row",
    )  # fmt: skip
    if rows.is_empty():
        notes = ["Nothing to draw: no metric has enough checkpoints in both studies.", *scope]
        return layered(empty_layers(), title, notes, f"{title}: nothing to draw.", rows)
    notes = [
        *scope,
        f"Study \u2212 baseline for {plural(rows.height, 'metric')} with 95% CIs, in standard deviations of a single-period difference.",
    ]
    if rows.filter(pl.col("verdict") == _NOT_SIGNIFICANT, pl.col("low") * pl.col("high") > 0).height:
        notes.append("Verdicts are adjusted for multiple comparisons (Holm); the intervals are not.")
    order = rows["metric"].to_list()
    y = field("metric:N", sort=order, title=None, axis={"labelLimit": 260, "ticks": False, "domain": False}, scale={"domain": order})
    x = field("v:Q", title="Difference (standard deviations)", scale={"zero": True, "padding": 8})
    verdicts = [verdict for verdict in _VERDICTS if verdict in rows["verdict"].to_list()]
    scale = {"domain": verdicts, "range": [_VERDICTS[verdict] for verdict in verdicts]}
    with_legend = field("verdict:N", scale=scale, legend={"title": None, "orient": "bottom", "columns": 3})
    color = field("verdict:N", scale=scale, legend=None)
    data = inline_rows(rows)
    zero = layer(inline_rows(pl.DataFrame({"v": [0.0]})), mark("rule", color=NEUTRAL, strokeDash=[4, 4], aria=False), x=x)
    intervals = layer(data, mark("rule", strokeWidth=2, aria=False), x=with_field(x, "low"), x2=field("high"), y=y, color=color)
    tooltip = [field("metric:N"), field("verdict:N"), field("summary:N", title="result")]
    dots = layer(data, mark("point", filled=True, size=50, opacity=1), x=x, y=y, color=with_legend, description=SUMMARY, tooltip=tooltip)
    text = f"{title}. " + " ".join(f"{metric}: {verdict}." for metric, verdict in rows.select("metric", "verdict").rows())
    table = rows.drop("summary").rename({"v": "difference"})
    return layered([zero, intervals, dots], title, notes, text, table, width=width, height={"step": 24})


def audit_chart(findings: pl.DataFrame, scope: Sequence[str] = (), *, width: int = 480) -> LayeredChart:
    """Draw the findings of an audit over time: a row for each kind, a bar for each finding.

    Parameters
    ----------
    findings
        As ``evalkit.analysis.audit`` returns them: study, severity, kind, start, end, message.
    scope
        Sentences on the data, as `Scope.sentences` returns them.
    width
        The width of the frame, in pixels.
    """
    rows = findings.filter(pl.col("start").is_not_null() & pl.col("end").is_not_null())
    table = rows.select("study", "severity", "kind", "start", "end", "message")
    if rows.is_empty():
        return layered(
            empty_layers(),
            "Audit",
            ["Nothing to draw: no findings." if findings.is_empty() else "Nothing to draw: no finding has a time.", *scope],
            "Audit: nothing to draw.",
            table,
        )
    summary = pl.format("{}, {}: {}", "severity", "study", "message")
    kind = pl.col("kind").str.replace_all("_", " ")
    data = rows.select("severity", kind=kind, x=milliseconds("start"), b=milliseconds("end"), summary=summary)
    severities = [severity for severity in _SEVERITIES if severity in rows["severity"].to_list()]
    scale = {"domain": severities, "range": [_SEVERITIES[severity] for severity in severities]}
    x = time_axis([drawn_times(rows, "start", "end")], width)
    bars = layer(
        inline_rows(data), mark("bar", minBandSize=2, opacity=0.85),
        x=x, x2=field("b"), size={"value": 14},
        y=field("kind:N", title=None, axis={"labelLimit": 200, "ticks": False, "domain": False}),
        color=field("severity:N", scale=scale, legend={"title": None, "orient": "bottom"}), description=SUMMARY,
        stroke=field("severity:N", scale=scale, legend=None), tooltip=[field("summary:N", title="finding")],
    )  # fmt: skip
    notes = [*scope, f"{plural(rows.height, 'finding')} by kind and time."]
    return layered([bars], "Audit", notes, f"Audit: {plural(rows.height, 'finding')}.", table, width=width, height={"step": 24})
