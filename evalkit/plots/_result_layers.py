"""Results of analyses, drawn: a slope with its interval, marks of changes, differences side by side, findings of an audit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import polars as pl

from evalkit._util.text import plural
from evalkit.domain.validation import invalid
from evalkit.domain.verdicts import Verdict
from evalkit.plots._chart import LayeredChart, layered
from evalkit.plots._lines import NAMED, TOLD, colour_of, drawn_times, milliseconds, nothing, time_axis, values, with_field
from evalkit.plots._theme import NEUTRAL, PALETTE

if TYPE_CHECKING:
    from evalkit.analysis import Difference

__all__ = ["audit_chart", "change_layers", "change_marks", "differences", "fit_layers", "fit_lines"]

_NOT_SIGNIFICANT = Verdict.NO_DIFFERENCE.value
_VERDICTS = {
    Verdict.BETTER.value: PALETTE[0], Verdict.WORSE.value: PALETTE[3], Verdict.HIGHER.value: PALETTE[2], Verdict.LOWER.value: PALETTE[5],
    _NOT_SIGNIFICANT: NEUTRAL,
}  # fmt: skip
_SEVERITIES = {"error": PALETTE[3], "warning": PALETTE[1], "note": NEUTRAL}


def fit_lines(result: Any, studies: Sequence[tuple[str, str]]) -> pl.DataFrame:
    """Return the points of straight lines, in `at`, with their intervals.

    Parameters
    ----------
    result
        What ``evalkit.analysis.trend`` or ``before_after`` returned, of any number of studies.
    studies
        (id, label) of those in the chart.

    Raises
    ------
    InvalidInputError
        When it is something else.
    """
    return _of_studies(result, "fit", "fitted_line", studies, "evalkit.analysis.trend(data, metric) or before_after(…)")


def fit_layers(lines: pl.DataFrame, studies: Sequence[tuple[str, str]], x: alt.X, y: alt.Y) -> tuple[list[Any], list[str]]:
    """Return the layers that draw what `fit_lines` returned, and what must be said of them."""
    if lines.is_empty():
        return [], ["No line: no study has enough checkpoints for a trend."]
    data = values(lines.select("study", "part", x=milliseconds("at"), v="value", low="low", high="high"))
    colour = {**_colour(studies), "detail": alt.Detail("part:N")}
    band = alt.Chart(data).mark_area(opacity=0.14, line=False, aria=False)
    line = alt.Chart(data).mark_line(strokeDash=[7, 4], strokeWidth=1.6)
    ends = {"y": with_field(y, "low:Q"), "y2": alt.Y2("high:Q")}
    note = "Dashed: straight lines, with their 95 % intervals." if lines["part"].max() else "Dashed: straight line, with its 95 % interval."
    return [band.encode(x=x, **ends, **colour), line.encode(x=x, y=y, description=NAMED, **colour)], [note]


def change_marks(result: Any, studies: Sequence[tuple[str, str]]) -> pl.DataFrame:
    """Return moments of change, in `at`, with the intervals of their times, `low` to `high`.

    Parameters
    ----------
    result
        What ``evalkit.analysis.changepoints`` or ``before_after`` returned, of any number of studies.
    studies
        (id, label) of those in the chart.

    Raises
    ------
    InvalidInputError
        When it is something else.
    """
    return _of_studies(result, "changes", "change_marks", studies, "evalkit.analysis.changepoints(data, metric) or before_after(…)")


def change_layers(marks: pl.DataFrame, studies: Sequence[tuple[str, str]], x: alt.X) -> tuple[list[Any], list[str]]:
    """Return the layers that draw what `change_marks` returned, and what must be said of them."""
    if marks.is_empty():
        return [], ["No change to mark."]
    told = pl.format("{}, {}", "study", "text")
    data = values(marks.select("study", x=milliseconds("at"), a=milliseconds("low"), b=milliseconds("high"), told=told))
    colour, tip = _colour(studies), [alt.Tooltip("told:N", title="change")]
    base = alt.Chart(data)
    wide = base.mark_rect(opacity=0.12, aria=False).encode(x=with_field(x, "a:T"), x2=alt.X2("b:T"), **colour)
    rule = base.mark_rule(strokeWidth=2).encode(x=x, tooltip=tip, description=TOLD, **colour)
    note = "Vertical bands: when a change came, with the 95 % interval of its time." if (marks["low"] < marks["high"]).any() else ""
    return [wide, rule], [note or "Vertical line: the change."]


def _colour(studies: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {"color": alt.ColorValue(NEUTRAL)} if len(studies) == 1 else {"color": colour_of(studies)}


def _of_studies(result: Any, field: str, method: str, studies: Sequence[tuple[str, str]], source: str) -> pl.DataFrame:
    """Return the lines or marks of the studies that are in the chart, under its labels."""
    results = getattr(result, "results", [result])
    if not isinstance(results, list) or not all(callable(getattr(one, method, None)) for one in results):
        raise invalid(field, type(result).__name__, "is nothing to draw here", f"give what {source} gave")
    labels = dict(studies)
    drawn = [one for one in results if one.study_id in labels]
    rows = [getattr(one, method)().with_columns(study=pl.lit(labels[one.study_id])) for one in drawn]
    return pl.concat(rows) if rows else pl.DataFrame()


def differences(study: str, baseline: str, shown: Sequence[tuple[Difference, str]], *, width: int = 480) -> LayeredChart:
    """Draw the differences of a comparison in standard deviations, each with its 95 % interval.

    Parameters
    ----------
    study, baseline
        What they are called.
    shown
        The differences that have an estimate and a standard deviation, each with its sentence.
    width
        Of the frame, in pixels.
    """
    title = f"{study} against {baseline}"
    table = pl.DataFrame(
        [
            {"metric": one.metric.label, "verdict": one.verdict.value, "v": one.difference.value / one.spread,
             "low": one.difference.low / one.spread, "high": one.difference.high / one.spread, "told": sentence}
            for one, sentence in shown if one.difference is not None and one.spread
        ],
        schema={"metric": pl.String, "verdict": pl.String, "v": pl.Float64, "low": pl.Float64, "high": pl.Float64, "told": pl.String},
        orient="row",
    )  # fmt: skip
    if table.is_empty():
        return layered(
            nothing(), title, ["Nothing to draw: no metric has enough checkpoints in both."], f"{title}: nothing to draw.", table
        )
    notes = [f"The study less the baseline, {plural(table.height, 'metric')}, with 95 % intervals, in standard deviations of one period."]
    if table.filter(pl.col("verdict") == _NOT_SIGNIFICANT, pl.col("low") * pl.col("high") > 0).height:
        notes.append("The verdicts go by p-values corrected for all metrics; the intervals are not corrected.")
    order = table["metric"].to_list()
    y = alt.Y("metric:N", sort=order, title=None, axis=alt.Axis(labelLimit=260, ticks=False, domain=False), scale=alt.Scale(domain=order))
    x = alt.X("v:Q", title="Difference (standard deviations)", scale=alt.Scale(zero=True, padding=8))
    seen = [verdict for verdict in _VERDICTS if verdict in table["verdict"].to_list()]
    scale = alt.Scale(domain=seen, range=[_VERDICTS[verdict] for verdict in seen])
    colour = alt.Color("verdict:N", scale=scale, legend=alt.Legend(title=None, orient="bottom", columns=3))
    same = alt.Color("verdict:N", scale=scale, legend=None)
    base = alt.Chart(values(table))
    zero = alt.Chart(values(pl.DataFrame({"v": [0.0]}))).mark_rule(color=NEUTRAL, strokeDash=[4, 4], aria=False).encode(x=x)
    bars = base.mark_rule(strokeWidth=2, aria=False).encode(x=with_field(x, "low:Q"), x2="high:Q", y=y, color=same)
    dots = base.mark_point(filled=True, size=50, opacity=1).encode(
        x=x,
        y=y,
        color=colour,
        description=TOLD,
        tooltip=[alt.Tooltip("metric:N"), alt.Tooltip("verdict:N"), alt.Tooltip("told:N", title="in words")],
    )
    described = f"{title}. " + " ".join(f"{metric}: {verdict}." for metric, verdict in table.select("metric", "verdict").rows())
    twin = table.drop("told").rename({"v": "difference"})
    return layered([zero, bars, dots], title, notes, described, twin, width=width, height=alt.Step(24))


def audit_chart(findings: pl.DataFrame, *, width: int = 480) -> LayeredChart:
    """Draw where the findings of an audit lie in time: a row for each kind, a bar for each finding.

    Parameters
    ----------
    findings
        As ``evalkit.analysis.audit`` returns them: study, severity, kind, start, end, message.
    width
        Of the frame, in pixels.
    """
    rows = findings.filter(pl.col("start").is_not_null() & pl.col("end").is_not_null())
    twin = rows.select("study", "severity", "kind", "start", "end", "message")
    if rows.is_empty():
        return layered(nothing(), "Audit", ["Nothing to draw: no finding with a time."], "Audit: nothing to draw.", twin)
    told = pl.format("{}, {}: {}", "severity", "study", "message")
    data = rows.select("severity", kind=pl.col("kind").str.replace_all("_", " "), x=milliseconds("start"), b=milliseconds("end"), told=told)
    seen = [severity for severity in _SEVERITIES if severity in rows["severity"].to_list()]
    scale = alt.Scale(domain=seen, range=[_SEVERITIES[severity] for severity in seen])
    x = time_axis([drawn_times(rows, "start", "end")], width)
    bars = (
        alt.Chart(values(data))
        .mark_bar(minBandSize=2, opacity=0.85)
        .encode(
            x=x, x2=alt.X2("b:T"), y=alt.Y("kind:N", title=None, axis=alt.Axis(labelLimit=200, ticks=False, domain=False)),
            color=alt.Color("severity:N", scale=scale, legend=alt.Legend(title=None, orient="bottom")), description=TOLD,
            stroke=alt.Stroke("severity:N", scale=scale, legend=None), tooltip=[alt.Tooltip("told:N", title="finding")],
        )
    )  # fmt: skip
    notes = [f"{plural(rows.height, 'finding')}, each where it lies in time."]
    return layered([bars], "Audit", notes, f"Audit: {plural(rows.height, 'finding')}.", twin, width=width, height=alt.Step(24))
