"""Definitions of metrics in a frame of ``kit.metrics()``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalkit.domain.definitions import Metric, definition_of
from evalkit.errors import InvalidInputError
from evalkit.frames.columns import METRICS_FRAME
from evalkit.frames.normalize import read_columns

if TYPE_CHECKING:
    from evalkit.frames.normalize import FrameLike

__all__ = ["definitions_in"]


def definitions_in(metrics: FrameLike) -> dict[str, dict[str, Metric]]:
    """Return the metrics in a frame of ``kit.metrics()``, by study id and name.

    Raises
    ------
    InvalidInputError
        If a column is absent or of another kind, or a definition is invalid.
    """
    defined: dict[str, dict[str, Metric]] = {}
    for row, values in enumerate(read_columns(metrics, METRICS_FRAME, list(METRICS_FRAME), []).rows(named=True)):
        try:
            metric = definition_of(values)
        except InvalidInputError as error:
            raise error.in_row(row) from None
        defined.setdefault(values["study_id"], {})[metric.name] = metric
    return defined
