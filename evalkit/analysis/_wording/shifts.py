"""Shifts in level at unknown times as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalkit._util.text import moment, span
from evalkit.analysis._series import Caveat, CaveatKind
from evalkit.analysis._wording.audits import audit_warning
from evalkit.analysis._wording.caveats import caveat
from evalkit.analysis._wording.phrases import change, counted, p_values, subject_of
from evalkit.domain.definitions import Metric
from evalkit.domain.verdicts import Verdict, change_verdict
from evalkit.frames.metric_text import number

if TYPE_CHECKING:
    from evalkit.analysis._changepoints import Change, ChangePoints

__all__ = ["change_mark", "changepoints", "changepoints_line"]

_METHOD = (
    "Method: permutation test for the largest step in the mean, with AR(1) residuals, repeated on both sides of each shift; data from {}."
)


def changepoints_line(result: ChangePoints, subject: str | None = None) -> str:
    """Return the shifts in one line.

    It begins with `subject`, by default study and metric.
    """
    name = subject or subject_of(result)
    if result.verdict == Verdict.INSUFFICIENT_DATA:
        return f"{name}: {result.verdict} ({counted(result.checkpoints, result.values)}; at least {result.FEWEST} are needed)."
    p_text = p_values(result.p, result.p_corrected)
    counts = counted(result.checkpoints, result.checkpoints, result.start, result.end)
    if not result.changes:
        return f"{name}: {result.verdict} ({p_text}; {counts})."
    if len(result.changes) == 1:
        shift = result.changes[0]
        return f"{name}: 1 shift at {moment(shift.at)} ({_details(result.metric, shift)}; {_shift_p_values(result, shift)}; {counts})."
    times = [moment(shift.at) for shift in result.changes]
    return f"{name}: {len(times)} shifts at {', '.join(times[:-1])} and {times[-1]} ({p_text}; {counts})."


def changepoints(result: ChangePoints) -> list[str]:
    """Return the shifts as text, one string per paragraph.

    These are the shifts in one line, each of several shifts, the method and the caveats.
    """
    caveats = [*result.caveats, *audit_warning(result.findings)]
    if result.verdict == Verdict.INSUFFICIENT_DATA:
        return [changepoints_line(result), *caveats]
    several = result.changes if len(result.changes) > 1 else []
    shifts = [f"{moment(shift.at)} UTC: {_details(result.metric, shift)}; {p_values(shift.p, None)}." for shift in several]
    gradual = [caveat(Caveat(CaveatKind.GRADUAL))] if result.gradual and result.changes else []
    return [changepoints_line(result), *shifts, _METHOD.format(span(result.start, result.end)), *gradual, *caveats]


def _details(metric: Metric, shift: Change) -> str:
    """Return direction, levels and the confidence interval of the time of a shift."""
    step = shift.after - shift.before
    levels = f"{change_verdict(metric, step)}, {number(metric, shift.before)} to {number(metric, shift.after)}, {change(metric, step)}"
    return f"{levels}; 95% CI for its time: {moment(shift.low)} to {moment(shift.high)} UTC"


def _shift_p_values(result: ChangePoints, shift: Change) -> str:
    """Return the p-value of a shift, and the p-value of any shift if it differs.

    The verdict is based on the p-value of any shift.
    """
    own, overall = p_values(shift.p, None), p_values(result.p, result.p_corrected)
    return own if own == overall else f"{own}; overall test: {overall}"


def change_mark(metric: Metric, shift: Change) -> str:
    """Return the label of a chart at a shift."""
    return f"{change(metric, shift.after - shift.before)} at {moment(shift.at)} UTC"
