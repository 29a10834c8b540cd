"""Honest analysis: is it getting better, how sure are we, and can the data carry it.

>>> from evalkit import analysis
>>> analysis.trend(kit.checkpoints("nightly"), "session_success_rate")  # doctest: +SKIP

Each function takes a frame, as ``kit.checkpoints()`` gives it, and gives a result: numbers as fields, ``.frame`` for the table, plain
sentences when displayed, ``.plot()`` for a chart.
"""

from evalkit.analysis.audit import audit
from evalkit.analysis.before_after import before_after
from evalkit.analysis.changepoints import changepoints
from evalkit.analysis.compare import compare
from evalkit.analysis.trend import trend

__all__ = ["audit", "before_after", "changepoints", "compare", "trend"]
