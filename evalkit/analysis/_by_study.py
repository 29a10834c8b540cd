"""From a frame to the results of its studies: read, audit, analyse each, correct together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from evalkit.analysis._audit.audit import Findings
from evalkit.analysis._carried import Carried
from evalkit.analysis._given import checkpoints_of
from evalkit.analysis._observed import Observed, observe
from evalkit.analysis._per_study import OneStudy, PerStudy, holm

__all__ = ["by_study"]

T = TypeVar("T", bound=OneStudy)


def by_study(
    source: Any, metric: str, analyse: Callable[[Observed, Findings], T], columns: Mapping[str, str], drawn_as: tuple[str, ...]
) -> PerStudy[T]:
    """Analyse one metric of each study of a frame.

    Parameters
    ----------
    source
        A frame, a result that has one, or ``(checkpoints, lifecycle)``.
    metric
        A name of the catalogue.
    analyse
        What is done with a series and what computes the findings that touch it.
    columns
        Of the table, with their kinds.
    drawn_as
        The options of `evalkit.plots.trend` that take the result.
    """
    carried, given = Carried(source), checkpoints_of(source)
    found = [analyse(series, carried.about(series)) for series in observe(source, metric)]
    judged = [one.judged(p) for one, p in zip(found, holm([one.p for one in found]), strict=True)]

    def draw(result: PerStudy[T]) -> Any:
        from evalkit.plots._trends import trend

        options: dict[str, Any] = dict.fromkeys(drawn_as, result)
        return trend(given, metric, **options)

    return PerStudy(given, judged, columns, draw)
