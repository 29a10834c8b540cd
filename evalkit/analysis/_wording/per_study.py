"""Results of several studies as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evalkit.domain.verdicts import Verdict

if TYPE_CHECKING:
    from evalkit.analysis._results import StudyResult

__all__ = ["per_study", "several_results"]

_MOST_STUDIES = 3
_MOST_NAMED = 8


def per_study(results: Sequence[StudyResult]) -> list[str]:
    """Return the results of several studies as text, one string per paragraph.

    For more than three studies, the text is the number of studies with each verdict.
    """
    if not results:
        return ["The data has no checkpoints."]
    if len(results) <= _MOST_STUDIES:
        return [sentence for result in results for sentence in result.sentences()]
    verdicts: dict[Verdict, list[str]] = {}
    for result in results:
        verdicts.setdefault(result.verdict, []).append(result.study)
    studies = f"{'any of' if results[0].verdict.startswith('no ') else 'all'} {len(results)} studies"
    line = f"{results[0].metric.label}: {results[0].verdict} in {studies}."
    if len(verdicts) > 1:
        counts = "; ".join(f"{verdict} in {len(names)} ({_named(names)})" for verdict, names in sorted(verdicts.items()))
        line = f"{len(results)} studies, {results[0].metric.label.lower()}: {counts}."
    return [
        line,
        f"p-values are adjusted for multiple comparisons (Holm, {len(results)} studies). "
        "Use result['…'] for one study, .frame for all estimates.",
    ]


def _named(studies: Sequence[str]) -> str:
    more = f" and {len(studies) - _MOST_STUDIES} more" if len(studies) > _MOST_STUDIES else ""
    return ", ".join(map(repr, studies[:_MOST_STUDIES])) + more


def several_results(studies: Sequence[str]) -> tuple[str, str]:
    """Return the problem and the next step when there is not exactly one result."""
    if not studies:
        return "The data has no checkpoints", ""
    names = ", ".join(map(repr, studies[:_MOST_NAMED])) + (" …" if len(studies) > _MOST_NAMED else "")
    return f"There are results for {len(studies)} studies: {names}", f"Select one with result[{studies[0]!r}]."
