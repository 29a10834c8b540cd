"""Resolve references to studies."""

from __future__ import annotations

import pytest
from inline_snapshot import snapshot

from evalkit import AmbiguousStudyError, InvalidInputError, StudyNotFoundError
from evalkit.domain.study_references import matching_studies, resolve_study
from tests.messages import says


def test_ids_match_before_names_before_suffixes() -> None:
    studies = [("0192-aaaa", "nightly"), ("0192-bbbb", "0192-aaaa"), ("0192-cccc", "Caf\u00e9"), ("0192-dddd", "nightly")]
    assert matching_studies("0192-AAAA", studies) == ["0192-aaaa"]
    assert matching_studies("Cafe\u0301 ", studies) == ["0192-cccc"]
    assert matching_studies("bbbb", studies) == ["0192-bbbb"]
    assert matching_studies("bbb", studies) == []


def test_a_reference_matches_one_study() -> None:
    studies = [("0192-aaaa", "nightly"), ("0192-cccc", "weekly"), ("0192-dddd", "nightly")]
    with pytest.raises(AmbiguousStudyError) as ambiguous:
        resolve_study("nightly", studies)
    assert ambiguous.value.candidates == ["0192-aaaa", "0192-dddd"]
    assert says(ambiguous) == snapshot("2 studies match 'nightly': 0192-aaaa ('nightly'); 0192-dddd ('nightly'). Use the id.")
    with pytest.raises(StudyNotFoundError) as similar:
        resolve_study("nightli", studies)
    assert says(similar) == snapshot("No study matches 'nightli'. Did you mean 'nightly'?")
    with pytest.raises(StudyNotFoundError) as unknown:
        resolve_study("zzz", studies)
    assert says(unknown) == snapshot("No study matches 'zzz'. Studies in the data: 'nightly', 'weekly'.")
    with pytest.raises(StudyNotFoundError) as empty:
        resolve_study("zzz", [])
    assert says(empty) == snapshot("No study matches 'zzz'. The data contains no studies.")
    with pytest.raises(InvalidInputError) as invalid:
        resolve_study(3, studies, field="baseline")
    assert says(invalid) == snapshot("Invalid baseline 3: expected a Study, an id, a name, or the last 4 or more characters of an id.")
