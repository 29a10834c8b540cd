"""The handlers of the commands that create, rename, edit and archive studies."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from evalkit._util.text import alternatives
from evalkit.domain import validation as checks
from evalkit.domain.commands import CreateStudy
from evalkit.domain.events import StoredEvalEvent, StudyArchived, StudyEdited, StudyRenamed
from evalkit.domain.ids import StudyId, event_id_at, milliseconds, new_id, normalized_name, study_id_of_name
from evalkit.domain.refusals import invalid, shown
from evalkit.domain.study import CADENCE, PER_PERIOD, Study
from evalkit.domain.time_input import check_at
from evalkit.domain.times import stored_text
from evalkit.errors import StudyExistsError, warn
from evalkit.readmodel.fold import APPLIED, Reason
from evalkit.runtime.commands import CommandHandler, calls, written_now

__all__ = ["StudyChanges"]


class StudyChanges(CommandHandler):
    """The handlers of the commands that create, rename, edit and archive studies."""

    def create(self, command: CreateStudy, at: datetime | str | None, if_exists: str) -> Study:
        """See `EvalKit.create_study`."""
        if not isinstance(if_exists, str) or if_exists not in ("error", "open"):
            raise invalid("if_exists", if_exists, "expected 'error' or 'open'")
        now = datetime.now(UTC)
        at_ms = milliseconds(now if at is None else check_at("at", at, now))
        command.event(StudyId(new_id()), at_ms).encoded()  # raises if the event is too large, before anything is created
        with self._engine.command():
            while not (named := self.studies.named(command.name)):
                study_id = self._id_of_name(command.name)
                if self._stored.get_study(study_id) is not None:
                    continue  # another process created it in the meantime
                event = command.event(study_id, at_ms).encoded(written_now())
                decision = self._append(event)
                if decision is APPLIED:
                    return self._study(study_id)
                if decision.reason is not Reason.STUDY_ID_TAKEN:
                    raise self._conflict(event, decision)
                # Another process created this study in the meantime, and may have renamed it already.
            if if_exists == "error" or all(study.archived for study in named):
                raise _name_in_use(command.name, named, opens=True)
            return self._open(command, [study for study in named if not study.archived])

    def _id_of_name(self, name: str) -> StudyId:
        """Return the id for a new study: the first that is free, or whose study has the name.

        Concurrent processes derive the same id, and the fold accepts only the first of their events.
        """
        self._engine.make_ready()
        identity = self._engine.log.identity()
        ids = (study_id_of_name(identity, name, counter) for counter in itertools.count())
        return next(
            study_id
            for study_id in ids
            if (study := self._stored.get_study(study_id)) is None or normalized_name(study.name) == normalized_name(name)
        )

    def _open(self, command: CreateStudy, named: Sequence[Study]) -> Study:
        study = named[0] if len(named) == 1 else self.studies.resolve(command.name)
        config, ignored = command.config, []
        if (study.period_type, study.period_value) != (command.period_type, command.period_value):
            passed = f"{command.period_type}:{command.period_value}" if command.period_value is not None else str(command.period_type)
            ignored.append(f"period {passed!r} (recorded: {str(study.period)!r})")
        if config.cadence not in (PER_PERIOD, study.cadence):
            ignored.append(f"cadence {config.cadence!r} (recorded: {study.cadence!r})")
        for name in ("description", "tags", "metadata"):
            stored, new = getattr(study.config, name), getattr(config, name)
            if name == "metadata":
                stored, new = ({key: text for key, text in texts.items() if key != CADENCE} for texts in (stored, new))
            if new and new != stored:
                ignored.append(f"{name} {shown(new)} (recorded: {shown(stored) if stored else 'none'})")
        if ignored:
            were = "was" if len(ignored) == 1 else "were"
            warn(f"Study {study.name!r} already exists and is unchanged; {alternatives(ignored, 'and')} {were} ignored.")
        return study

    def rename(self, reference: Study | str, name: str) -> Study:
        """See `EvalKit.rename_study`."""
        checked = checks.check_name(name)
        with self._engine.command():
            study = self.studies.resolve(reference)
            if checked == study.name:
                return study
            others = [other for other in self.studies.named(checked) if other.id != study.id]
            if others:
                raise _name_in_use(checked, others, opens=False)
            renamed = self._change(StudyRenamed(type="study_renamed", id=study.id, name=checked))
            # The fold decides events of one study alone, so two processes can give two studies one name at once.
            same = [other.id for other in self.studies.named(checked) if other.id != study.id]
            if same:
                warn(f"Another process gave study {alternatives(same, 'and')} the name {checked!r} at the same time. Rename one of them.")
            return renamed

    def edit(
        self,
        reference: Study | str,
        *,
        description: str | None,
        tags: Iterable[str] | None,
        metadata: Mapping[str, str | None] | None,
        cadence: str | None,
    ) -> Study:
        """See `EvalKit.edit_study`."""
        new: dict[str, Any] = {}
        if description is not None:
            new["description"] = checks.check_text("description", description, lines=True) or None
        if tags is not None:
            new["tags"] = checks.check_texts("tags", tags)
        changed = checks.check_metadata_changes(metadata, cadence)
        with self._engine.command():
            study = self.studies.resolve(reference)
            different = {part: value for part, value in new.items() if value != getattr(study.config, part)}
            metadata_changes = {key: text for key, text in changed.items() if text != study.config.metadata.get(key)}
            if metadata_changes:
                different["metadata"] = metadata_changes
            if not different:
                return study
            return self._change(StudyEdited(type="study_edited", id=study.id, **different))

    def archive(self, reference: Study | str, *, archived: bool) -> Study:
        """See `EvalKit.archive_study` and `EvalKit.unarchive_study`."""
        with self._engine.command():
            study = self.studies.resolve(reference, archived=True)
            if study.archived == archived:
                return study
            return self._change(StudyArchived(type="study_archived" if archived else "study_unarchived", id=study.id))

    def _change(self, change: StudyRenamed | StudyEdited | StudyArchived) -> Study:
        """Append a change of a study, and return the changed study."""
        now = datetime.now(UTC)
        event = StoredEvalEvent(event_id=event_id_at(milliseconds(now)), event=change).encoded(stored_text(now))
        if (decision := self._append(event)) is not APPLIED:
            raise self._conflict(event, decision)
        return self._study(change.id)


def _name_in_use(name: str, named: Sequence[Study], *, opens: bool) -> StudyExistsError:
    """Return the error for a name in use; with `opens`, the study can be opened instead."""
    study = next((study for study in named if not study.archived), named[0])
    state = f"{'archived, ' if study.archived else ''}{study.status}, created {study.created_at:%Y-%m-%d}"
    hints = {"hint": "Choose another name.", "shell_hint": "Choose another name."}
    if study.archived:
        hints = calls("Choose another name, or restore it with", "unarchive", study)
    elif opens:
        hints = {
            "hint": 'Choose another name, or open it: create_study(..., if_exists="open").',
            "shell_hint": "Choose another name, or open it: --if-exists open.",
        }
    return StudyExistsError(f"Study {study.name!r} already exists ({state})", name=name, study_ids=[study.id for study in named], **hints)
