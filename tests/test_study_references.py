"""Which study a reference means."""

from __future__ import annotations

import pytest

from evalkit import AmbiguousStudyError, InvalidInputError, StudyNotFoundError
from evalkit.domain.study_references import matching_studies, resolve_study


def test_a_study_reference_counts_ids_before_names_before_ends() -> None:
    """An exact id, a name as typed, a name as compared, the end of an id; one study or an error that lists them."""
    studies = [("0192-aaaa", "nightly"), ("0192-bbbb", "0192-aaaa"), ("0192-cccc", "Caf\u00e9"), ("0192-dddd", "nightly")]
    assert matching_studies("0192-AAAA", studies) == ["0192-aaaa"]
    assert matching_studies("Cafe\u0301 ", studies) == ["0192-cccc"]
    assert matching_studies("bbbb", studies) == ["0192-bbbb"]
    assert matching_studies("bbb", studies) == []
    with pytest.raises(AmbiguousStudyError, match="study: 'nightly' matches 2 studies: 0192-aaaa") as raised:
        resolve_study("nightly", studies)
    assert raised.value.candidates == ["0192-aaaa", "0192-dddd"]
    with pytest.raises(StudyNotFoundError, match=r"baseline: no study matches 'nightli'. Did you mean 'nightly'\?"):
        resolve_study("nightli", studies, field="baseline")
    with pytest.raises(InvalidInputError, match="Invalid study 3: is not a study reference"):
        resolve_study(3, studies)
