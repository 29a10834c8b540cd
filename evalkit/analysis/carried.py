"""The findings of the audit that touch what was analysed, so that a result carries them."""

from __future__ import annotations

from typing import Any

from evalkit.analysis.observed import Observed

__all__ = ["Carried"]


class Carried:
    """The audit of a frame.

    Parameters
    ----------
    frame
        What is analysed.
    """

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    def about(self, *series: Observed) -> Any:  # noqa: ARG002
        """Give the findings that touch the metric of some series, in their studies."""
        return None
