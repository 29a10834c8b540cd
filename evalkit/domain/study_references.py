"""Resolve references to studies.

A reference is an exact id, an exact name, a name with the same normal form, or the end of an id, tried in this order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from evalkit.domain.ids import normalized_name
from evalkit.domain.refusals import invalid, nearest
from evalkit.domain.study import Checkpoint, Study
from evalkit.errors import AmbiguousStudyError, StudyNotFoundError

__all__ = ["CheckpointRef", "StudyRef", "matching_studies", "resolve_study", "short_suffix_hint"]

_SHORTEST_SUFFIX = 4
_MAX_LISTED = 8


StudyRef = Study | str
"""A study: the object, its id, its name, or the end of its id."""
CheckpointRef = Checkpoint | str | tuple[StudyRef, str]
"""A checkpoint: the object, its id, the end of its id, or (study, key)."""


def matching_studies(text: str, studies: Sequence[tuple[str, str]]) -> list[str]:
    """Return the ids of the studies that a text matches.

    Parameters
    ----------
    text
        An exact id, a name, or the last 4 or more characters of an id; the first of these that matches is used.
    studies
        (id, name) of each study.

    Examples
    --------
    >>> matching_studies("nightly", [("0192-ab12", "nightly"), ("0192-cd34", "weekly")])
    ['0192-ab12']
    >>> matching_studies("CD34", [("0192-ab12", "nightly"), ("0192-cd34", "weekly")])
    ['0192-cd34']
    """
    key = text.lower()
    exact = [study_id for study_id, _ in studies if study_id in (text, key)]
    same_name = [study_id for study_id, name in studies if name == text]
    normal = normalized_name(text)
    similar_name = [study_id for study_id, name in studies if normalized_name(name) == normal]
    suffix = [study_id for study_id, _ in studies if len(text) >= _SHORTEST_SUFFIX and study_id.endswith(key)]
    return exact or same_name or similar_name or suffix


def resolve_study(reference: object, studies: Sequence[tuple[str, str]], *, field: str = "study") -> str:
    """Return the id of the study that matches a reference.

    Parameters
    ----------
    reference
        A `Study`, or a string as in `matching_studies`.
    studies
        (id, name) of each study.
    field
        The name of the parameter, for messages.

    Raises
    ------
    StudyNotFoundError, AmbiguousStudyError
        When no study, or more than one, matches.
    InvalidInputError
        When `reference` is neither a `Study` nor a non-empty string.
    """
    text = reference
    if isinstance(reference, Study):  # in frames without ids, the name is the id
        text = reference.name if (reference.name, reference.name) in studies else reference.id
    if not isinstance(text, str) or not text:
        raise invalid(field, reference, "expected a Study, an id, a name, or the last 4 or more characters of an id")
    matches = matching_studies(text, studies)
    if len(matches) == 1:
        return matches[0]
    if matches:
        names = dict(studies)
        listed = "; ".join(f"{study_id} ({names[study_id]!r})" for study_id in matches[:_MAX_LISTED])
        raise AmbiguousStudyError(
            f"{len(matches)} studies match {text!r}: {listed}", hint="Use the id.", reference=reference, candidates=matches
        )
    labels = list(dict.fromkeys(name or study_id for study_id, name in studies))
    listed = ", ".join(map(repr, labels[:_MAX_LISTED])) + (", …" if len(labels) > _MAX_LISTED else "")
    hint = nearest(text, labels).strip() or (f"Studies in the data: {listed}." if labels else "The data contains no studies.")
    short = short_suffix_hint(text, [study_id for study_id, _ in studies])
    raise StudyNotFoundError(f"No study matches {text!r}", hint=f"{short} {hint}".strip(), reference=reference)


def short_suffix_hint(text: str, study_ids: Iterable[str]) -> str:
    """Return a hint if a text is the end of an id but too short; otherwise ``""``."""
    short = 0 < len(text) < _SHORTEST_SUFFIX and any(study_id.endswith(text.lower()) for study_id in study_ids)
    return f"An abbreviated id needs at least {_SHORTEST_SUFFIX} characters." if short else ""
