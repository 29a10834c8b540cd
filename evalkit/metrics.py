"""Definitions of metrics: the 16 of every study, standard ones to add, and `Metric`.

Examples
--------
>>> from evalkit.metrics import METRICS, STANDARD
>>> METRICS["session_success_rate"].denominator, STANDARD["tool_errors"].kind
('sessions_completed', 'count')
"""

from __future__ import annotations

from evalkit.domain.catalog import METRICS, STANDARD
from evalkit.domain.definitions import Metric

__all__ = ["METRICS", "STANDARD", "Metric"]
