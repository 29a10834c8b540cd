"""Honest analysis: is it getting better, how sure are we, and can the data carry it.

>>> from evalkit import analysis
>>> analysis.trend(kit.checkpoints("nightly"), "session_success_rate")  # doctest: +SKIP

Each function takes a frame, as ``kit.checkpoints()`` gives it, and gives a result: numbers as fields, ``.frame`` for the table, plain
sentences when displayed, ``.plot()`` for a chart.
"""

from evalkit.analysis._audit.audit import Audit, audit
from evalkit.analysis._before_after import BeforeAfter, before_after
from evalkit.analysis._changepoints import Change, ChangePoints, changepoints
from evalkit.analysis._compare import Comparison, compare
from evalkit.analysis._difference import Difference
from evalkit.analysis._per_study import PerStudy
from evalkit.analysis._report.report import report
from evalkit.analysis._resample import Resampled, resample
from evalkit.analysis._summary import Summary, summary
from evalkit.analysis._trend import Trend, trend

__all__ = [
    "Audit",
    "BeforeAfter",
    "Change",
    "ChangePoints",
    "Comparison",
    "Difference",
    "PerStudy",
    "Resampled",
    "Summary",
    "Trend",
    "audit",
    "before_after",
    "changepoints",
    "compare",
    "report",
    "resample",
    "summary",
    "trend",
]
