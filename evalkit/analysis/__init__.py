"""Honest analysis: is it getting better, how sure are we, and can the data carry it."""

from evalkit.analysis.audit import Audit, audit

__all__ = ["Audit", "audit"]
