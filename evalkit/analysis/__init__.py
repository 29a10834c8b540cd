"""Statistical analyses of studies.

Trends, comparisons, effects of changes, shifts, resampling, summaries, data quality, and reports.

Each function takes a `StudyData`, as from ``kit.data()``, or a frame like that of ``kit.checkpoints()``, and returns a result with
estimates as attributes, a table in ``.frame``, a chart from ``.plot()``, and text when displayed.

Examples
--------
>>> import tempfile
>>> import evalkit
>>> from evalkit import analysis, samples
>>> with evalkit.connect(tempfile.mkdtemp()) as kit:
...     study = kit.start_study(kit.create_study("nightly", period="daily"))
...     rows = samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 5, seed=1)
...     recorded = kit.record_checkpoints("nightly", rows)
...     print(analysis.trend(kit.data("nightly"), "session_success_rate").sentences()[0])
nightly, session success rate: insufficient data (5 checkpoints; at least 8 are needed).
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
