"""Analyses of studies: is it getting better, how certain is that, and can the data support it.

>>> from evalkit import analysis
>>> analysis.trend(kit.data("nightly"), "session_success_rate")  # doctest: +SKIP

Each function takes a `StudyData`, from ``kit.data()``, or a frame as ``kit.checkpoints()`` returns it, and returns a result: numbers as
fields, ``.frame`` for the table, sentences when displayed, ``.plot()`` for a chart.
"""

from evalkit.analysis._audit.audit import Audit, audit
from evalkit.analysis._before_after import BeforeAfter, before_after
from evalkit.analysis._changepoints import Change, ChangePoints, changepoints
from evalkit.analysis._compare import Comparison, Difference, compare
from evalkit.analysis._report.report import report
from evalkit.analysis._resample import Resampled, resample
from evalkit.analysis._results import PerStudy
from evalkit.analysis._stats.ar1 import Estimate
from evalkit.analysis._summary import Summary, summary
from evalkit.analysis._trend import Trend, trend
from evalkit.domain.verdicts import Verdict

__all__ = [
    "Audit",
    "BeforeAfter",
    "Change",
    "ChangePoints",
    "Comparison",
    "Difference",
    "Estimate",
    "PerStudy",
    "Resampled",
    "Summary",
    "Trend",
    "Verdict",
    "audit",
    "before_after",
    "changepoints",
    "compare",
    "report",
    "resample",
    "summary",
    "trend",
]
