"""Effects of a change at a known time as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from evalkit._util.text import moment, plural
from evalkit.analysis._wording.audits import audit_warning
from evalkit.analysis._wording.caveats import METHOD, coefficient
from evalkit.analysis._wording.phrases import change, over_time, p_values, subject_of, with_interval
from evalkit.domain.verdicts import ALPHA

if TYPE_CHECKING:
    from evalkit.analysis._before_after import BeforeAfter

__all__ = ["before_after", "before_after_line", "effect_mark"]


def before_after_line(result: BeforeAfter, subject: str | None = None) -> str:
    """Return an effect in one line.

    It begins with `subject`, by default study and metric.
    """
    note = f" ({result.note})" if result.note else ""
    name = f"{subject or subject_of(result)}, change at {moment(result.at)} UTC{note}: {result.verdict}"
    counts = f"{plural(result.before, 'checkpoint')} before and {result.after:,} after"
    if result.effect is None:
        values = (result.values_before, result.values_after)
        distinct = "" if values == (result.before, result.after) else f", with {values[0]:,} and {values[1]:,} distinct timestamps"
        return f"{name} ({counts}{distinct}; at least {result.FEWEST} on each side are needed)."
    step = f"step of {with_interval(result.metric, result.effect)}"
    return f"{name} ({step}; {p_values(result.p, result.p_corrected)}; {counts})."


def before_after(result: BeforeAfter) -> list[str]:
    """Return an effect as text, one string per paragraph.

    These are the effect in one line, the change in slope, the method, the placebo test and the caveats.
    """
    caveats = [*result.caveats, *audit_warning(result.findings)]
    if result.effect is None or result.slope_change is None:
        return [before_after_line(result), *caveats]
    slope = f"Change in slope: {over_time(result.metric, result.slope_change, result.span_days)}; not tested."
    method = f"Method: interrupted time series, fitted by {METHOD}{coefficient(result.autocorrelation)}."
    return [before_after_line(result), slope, method, _placebo_test(result), *caveats]


def _placebo_test(result: BeforeAfter) -> str:
    count = result.placebos.height
    if not count:
        return "Placebo test: not possible, too few checkpoints on each side."
    significant = result.placebos.filter(pl.col("p") <= ALPHA).height
    text = f"Placebo test at {plural(count, 'other time')} without a known change: {plural(significant, 'statistically significant step')}"
    if result.effect is not None and result.effect.value and not result.constant:
        as_clear = plural(result.placebos_as_clear or 0, "step")
        text += f"; {as_clear} at least as large as this one relative to the width of their confidence intervals"
    excess = " This is more than expected by chance: such steps also occur without a change." if significant > count / 5 else ""
    return f"{text}.{excess}"


def effect_mark(result: BeforeAfter) -> str:
    """Return the label of a chart at the time of a change."""
    return str(result.verdict) if result.effect is None else f"{result.verdict}: {change(result.metric, result.effect.value)}"
