"""Which study a reference means: an exact id, a name as typed, a name as compared, or the end of an id, in this order."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.domain.ids import normalized_name
from evalkit.domain.study import Study
from evalkit.domain.validation import invalid, nearest
from evalkit.errors import AmbiguousStudyError, StudyNotFoundError

__all__ = ["matching_studies", "resolve_study"]

_SHORTEST_END = 4
_MOST_LISTED = 8


def matching_studies(text: str, studies: Sequence[tuple[str, str]]) -> list[str]:
    """Return the ids of the studies that a text matches.

    Parameters
    ----------
    text
        An exact id, which counts before a name, which counts before the last four or more characters of an id.
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
    typed = [study_id for study_id, name in studies if name == text]
    compared = normalized_name(text)
    named = [study_id for study_id, name in studies if normalized_name(name) == compared]
    ends = [study_id for study_id, _ in studies if len(text) >= _SHORTEST_END and study_id.endswith(key)]
    return exact or typed or named or ends


def resolve_study(reference: object, studies: Sequence[tuple[str, str]], *, field: str = "study") -> str:
    """Return the id of the one study that a reference means.

    Parameters
    ----------
    reference
        A `Study`, or a text as `matching_studies` takes it.
    studies
        (id, name) of each study.
    field
        The name of the parameter, for messages.

    Raises
    ------
    StudyNotFoundError, AmbiguousStudyError
        When no study, or more than one, matches.
    InvalidInputError
        When it is neither a `Study` nor a text.
    """
    text = reference
    if isinstance(reference, Study):  # of studies without ids, the name is the id
        text = reference.name if (reference.name, reference.name) in studies else reference.id
    if not isinstance(text, str) or not text:
        raise invalid(
            field, reference, "is not a study reference", "give a Study, an id, a name, or the last four or more characters of an id"
        )
    matches = matching_studies(text, studies)
    if len(matches) == 1:
        return matches[0]
    if matches:
        names = dict(studies)
        listed = "; ".join(f"{study_id} ({names[study_id]!r})" for study_id in matches[:_MOST_LISTED])
        raise AmbiguousStudyError(
            f"{field}: {text!r} matches {len(matches)} studies: {listed}", hint="Give the id.", reference=reference, candidates=matches
        )
    names_there = list(dict.fromkeys(name or study_id for study_id, name in studies))
    listed = ", ".join(map(repr, names_there[:_MOST_LISTED])) + (" …" if len(names_there) > _MOST_LISTED else "")
    known = f" The studies in the data: {listed}." if names_there else " The data has no studies."
    hint = f"{nearest(text, names_there)}{known}".strip()
    raise StudyNotFoundError(f"{field}: no study matches {text!r}", hint=hint, reference=reference)
