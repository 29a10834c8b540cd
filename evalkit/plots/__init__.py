"""Charts of longitudinal metrics that tell the truth: from a frame to an Altair chart, offline, with gaps, intervals and words.

>>> from evalkit import plots
>>> plots.trend(kit.data(), "session_success_rate")  # doctest: +SKIP

Each function gives an Altair chart that displays by itself, without a network. It composes as any other (``a | b``, ``a & b``,
``a + layer``); what comes out is plain Altair, displayed by `show`, or after `enable`.
"""

from evalkit.plots._chart import table
from evalkit.plots._history import lifecycle
from evalkit.plots._overview import overview
from evalkit.plots._rendering import enable, save, show
from evalkit.plots._scatter import scatter
from evalkit.plots._trends import trend

__all__ = ["enable", "lifecycle", "overview", "save", "scatter", "show", "table", "trend"]
