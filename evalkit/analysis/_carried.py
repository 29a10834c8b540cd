"""The findings of the audit that touch what was analysed, so that a result carries them."""

from __future__ import annotations

from functools import cached_property, partial
from typing import Any

from evalkit.analysis._audit.audit import Audit, Findings, audit_of
from evalkit.analysis._audit.audited import read
from evalkit.analysis._given import pair_of
from evalkit.analysis._observed import Observed
from evalkit.plots._words import plural

__all__ = ["Carried", "warned"]


class Carried:
    """The audit of a frame, which is read at once and audited when findings are asked for.

    Parameters
    ----------
    frame
        What is analysed, or ``(checkpoints, lifecycle)``.
    """

    def __init__(self, frame: Any) -> None:
        checkpoints, lifecycle = pair_of(frame)
        self._audited = read(checkpoints if lifecycle is None else (checkpoints, lifecycle), None)

    @cached_property
    def audit(self) -> Audit:
        """All that was found."""
        return audit_of(self._audited)

    def about(self, series: Observed) -> Findings:
        """Return what computes the findings that touch the metric of a series, in its study."""
        return partial(self._about, series.metric.name, series.study_id)

    def _about(self, metric: str, study_id: str) -> Audit:
        return self.audit.about(metric, study_id)


def warned(*findings: Audit | None) -> list[str]:
    """Say that the audit found something that may matter, where it did, and where to read it."""
    errors, warnings = (sum(getattr(one, kind) for one in findings if one is not None) for kind in ("errors", "warnings"))
    if not errors + warnings:
        return []
    found = " and ".join(plural(count, word) for count, word in ((errors, "error"), (warnings, "warning")) if count)
    return [f"The audit has {found} on this data: see .findings."]
