"""The sentences of results, for display, reports and charts.

Text about results is written only in this package. Each kind of result has two functions. ``trend_line(result)`` returns its first line,
a complete statement to paste elsewhere: the subject, the verdict, and in parentheses the estimate with its 95% CI, the p-value and the
number of checkpoints. ``trend(result)`` returns that line, followed by details, method and caveats, one string per paragraph.
"""

from evalkit.analysis._wording.audits import audit, audit_warning
from evalkit.analysis._wording.caveats import METHOD, ONLY_ALONE, caveat
from evalkit.analysis._wording.comparisons import comparison, comparison_line, difference, difference_line
from evalkit.analysis._wording.effects import before_after, before_after_line, effect_mark
from evalkit.analysis._wording.per_study import per_study, several_results
from evalkit.analysis._wording.resampling import resampled, resampled_line
from evalkit.analysis._wording.shifts import change_mark, changepoints, changepoints_line
from evalkit.analysis._wording.summaries import summary, summary_line
from evalkit.analysis._wording.trends import trend, trend_line

__all__ = [
    "METHOD",
    "ONLY_ALONE",
    "audit",
    "audit_warning",
    "before_after",
    "before_after_line",
    "caveat",
    "change_mark",
    "changepoints",
    "changepoints_line",
    "comparison",
    "comparison_line",
    "difference",
    "difference_line",
    "effect_mark",
    "per_study",
    "resampled",
    "resampled_line",
    "several_results",
    "summary",
    "summary_line",
    "trend",
    "trend_line",
]
