"""Honest analysis: is it getting better, how sure are we, and can the data carry it."""

from evalkit.analysis.rollup import Resampled, resample
from evalkit.analysis.summary import Summary, summary

__all__ = ["Resampled", "Summary", "resample", "summary"]
