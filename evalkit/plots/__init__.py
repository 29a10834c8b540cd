"""Altair charts of longitudinal metrics, with gaps, confidence intervals and notes.

>>> from evalkit import plots
>>> plots.trend(kit.data(), "session_success_rate")  # doctest: +SKIP

Each function returns an Altair chart that displays without a network and can be combined with others (``a | b``, ``a & b``,
``a + layer``). Combined charts are plain Altair charts: display them with `show`, or call `enable` once.
"""

from evalkit.plots._chart import table
from evalkit.plots._history import lifecycle
from evalkit.plots._overview import overview
from evalkit.plots._rendering import enable, save, show
from evalkit.plots._scatter import scatter
from evalkit.plots._trends import trend

__all__ = ["enable", "lifecycle", "overview", "save", "scatter", "show", "table", "trend"]
