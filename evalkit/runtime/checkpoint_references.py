"""Finds checkpoints: by a `Checkpoint`, an id, the end of an id, or (study, key)."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.domain import validation as checks
from evalkit.domain.ids import keyed_checkpoint_id
from evalkit.domain.refusals import invalid
from evalkit.domain.study import Checkpoint
from evalkit.errors import InvalidInputError
from evalkit.readmodel.command_queries import CommandQueries
from evalkit.readmodel.corrections import Correction
from evalkit.readmodel.repository import References

__all__ = ["CheckpointReferences"]

_LISTED = 5
_EXPECTED = "expected a Checkpoint, an id, the last 4 or more characters of an id, or (study, key)"


class CheckpointReferences:
    """Finds checkpoints of a read model that is up to date.

    Parameters
    ----------
    stored
        The queries of the read model.
    studies
        Finds the study of a (study, key).
    """

    def __init__(self, stored: CommandQueries, studies: References) -> None:
        self._stored = stored
        self._studies = studies

    def latest(self, reference: object) -> tuple[Checkpoint, Sequence[Correction]]:
        """Return the latest version of the checkpoint that matches, and its corrections.

        A retracted checkpoint matches, too.

        Raises
        ------
        InvalidInputError
            When no checkpoint, or more than one, matches.
        StudyNotFoundError, AmbiguousStudyError
            When the study of a (study, key) matches no study, or more than one.
        """
        if isinstance(reference, Checkpoint):
            study_id, checkpoint_id = str(reference.study_id), str(reference.id)
            problem = "this kit has no such checkpoint"
        elif isinstance(reference, tuple) and len(reference) == 2:
            study = self._studies.resolve(reference[0])
            key = checks.check_text("key", reference[1], low=1, high=500)
            study_id, checkpoint_id = str(study.id), str(keyed_checkpoint_id(study.id, key))
            problem = f"study {study.name!r} has no checkpoint with the key {key!r}"
        elif isinstance(reference, str) and len(reference) >= 4:
            study_id, checkpoint_id = self._found(reference)
            problem = "no checkpoint matches"
        else:
            raise invalid("checkpoint", reference, _EXPECTED)
        versions, corrections = self._stored.versions(study_id, [checkpoint_id])
        if checkpoint_id not in versions:
            raise _unknown(reference, problem)
        return versions[checkpoint_id], corrections.get(checkpoint_id, [])

    def _found(self, reference: str) -> tuple[str, str]:
        """Return the ids of the study and the checkpoint for an id, or the end of an id."""
        text = reference.lower()
        matches = self._stored.find_checkpoints(text, _LISTED + 1) if text.isascii() and text.isprintable() else []
        if not matches:
            raise _unknown(reference, "no checkpoint matches")
        if len(matches) > 1:
            listed = sorted(f"{checkpoint_id} in study {self._name(study_id)!r}" for study_id, checkpoint_id in matches[:_LISTED])
            more = "; and more" if len(matches) > _LISTED else ""
            more_characters = "" if len({checkpoint_id for _, checkpoint_id in matches}) == 1 else "more characters of its id, "
            raise invalid(
                "checkpoint", reference, f"matches several checkpoints: {'; '.join(listed)}{more}",
                hint=f"Pass the Checkpoint, {more_characters}or (study, key).",
            ).but(shell_hint=f"Pass {more_characters}or the study and --key.")  # fmt: skip
        return matches[0]

    def _name(self, study_id: str) -> str:
        study = self._stored.get_study(study_id)
        return study_id if study is None else study.name


def _unknown(reference: object, problem: str) -> InvalidInputError:
    return invalid("checkpoint", reference, problem, hint="Find ids with kit.checkpoints(study).").but(
        shell_hint="Find ids with: evalkit checkpoint list STUDY --json"
    )
