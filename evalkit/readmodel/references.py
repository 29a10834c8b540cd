"""Which study is meant: a `Study`, an exact id, a name that only one study has, or the end of an id."""

from __future__ import annotations

from pathlib import Path

from evalkit.domain import validation as checks
from evalkit.domain.ids import normalized_name
from evalkit.domain.study import Study
from evalkit.errors import AmbiguousStudyError, StudyNotFoundError
from evalkit.readmodel.repository import EvalStorage

__all__ = ["References"]


class References:
    """Finds studies by reference.

    Parameters
    ----------
    storage
        A read model that is up to date.
    home
        Where it is, for messages.
    """

    def __init__(self, storage: EvalStorage, home: Path) -> None:
        self._storage = storage
        self._home = home

    def resolve(self, reference: Study | str) -> Study:
        """Give the one study that a reference stands for: an exact id counts before a name, a name before the end of an id.

        Raises
        ------
        StudyNotFoundError, AmbiguousStudyError
            When no study, or more than one, answers to it.
        """
        if isinstance(reference, Study):
            known = self._storage.get_study(reference.id)
            matches = [] if known is None else [known]
            text = reference.name
        elif isinstance(reference, str) and reference:
            text = reference
            matches = [] if any("\ud800" <= character <= "\udfff" for character in text) else self._matches(text)  # no database holds these
        else:
            raise checks.invalid("study", reference, "is no study", "give a Study, an id, a name, or the last four characters of an id")
        if not matches:
            raise self._not_found(reference, text)
        if len(matches) > 1:
            listed = "; ".join(f"{study.id} ({study.name!r}, {study.status}, created {study.created_at:%Y-%m-%d})" for study in matches[:8])
            raise AmbiguousStudyError(
                f"{text!r} could be any of {len(matches)} studies: {listed}", hint="Give the id, or its last characters.",
                reference=reference, candidates=[study.id for study in matches],
            )  # fmt: skip
        return matches[0]

    def _matches(self, text: str) -> list[Study]:
        found = self._storage.find_studies(text)
        exact = [study for study in found if study.id == text.lower()]
        typed = [study for study in found if study.name == text]
        named = [study for study in found if normalized_name(study.name) == normalized_name(text)]
        ends = [study for study in found if len(text) >= 4 and study.id.endswith(text.lower())]
        return exact or typed or named or ends

    def _not_found(self, reference: object, text: str) -> StudyNotFoundError:
        names = [study.name for study in self._storage.list_studies()]
        hint = checks.nearest(text, names).strip() or f"The newest are {', '.join(map(repr, names[:5]))}."
        if not names:
            hint = f"There are no studies in {self._home}; create one, or give another home."
        return StudyNotFoundError(f"No study answers to {text!r}", hint=hint, reference=reference)
