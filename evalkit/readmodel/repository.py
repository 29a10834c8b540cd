"""The read model as models: studies and checkpoints, one by one and in lists."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic_core import from_json

from evalkit.domain.ids import CheckpointId, StudyId, normalized_name, time_of_event
from evalkit.domain.metrics import LongitudinalMetrics
from evalkit.domain.study import Checkpoint, PeriodType, Study, StudyConfig, StudyStatus
from evalkit.domain.study_references import matching_studies
from evalkit.domain.times import stored_text, stored_time
from evalkit.domain.validation import invalid, nearest
from evalkit.errors import AmbiguousStudyError, StudyNotFoundError
from evalkit.readmodel.database.database import Args, Database, Row, Value, in_parts, pages
from evalkit.readmodel.rows import readable

__all__ = ["EvalStorage", "References"]

_STUDY = "SELECT id, name, status, period_type, period_value, config, created_at, started_at, stopped_at FROM studies"
_CHECKPOINT = "SELECT id, study_id, timestamp, metrics, events_analyzed, sessions_included, event_id FROM checkpoints"
_PAGE = 1000
# Any other name, of printable ASCII without spaces around it, is its own normalized name.
_MAY_DIFFER = "name GLOB '*[^ -~]*' OR name LIKE ' %' OR name LIKE '% '"
_AFTER_ALL_TIMES = b"\xff"  # SQLite sorts a blob after every text, also what another program wrote in the place of a time


class EvalStorage:
    """Answers queries from the read model. It never writes.

    Parameters
    ----------
    database
        Where the read model is.
    before_read
        Called before each query: brings the read model up to date. It answers False when there is no read model to ask.
    """

    def __init__(self, database: Database, before_read: Callable[[], bool] = lambda: True) -> None:
        self._database = database
        self._before_read = before_read

    def get_study(self, study_id: str) -> Study | None:
        """Give the study with this exact id, or None."""
        found = self._studies("id = ?", (_checked_id(study_id),))
        return found[0] if found else None

    def list_studies(self) -> list[Study]:
        """Return every study, newest first: by creation time, then id, both descending, the order of ``kit.studies()``."""
        return self._studies("1", ())

    def list_studies_by_status(self, status: StudyStatus | str) -> list[Study]:
        """Give the studies in a status, newest first.

        Raises
        ------
        InvalidInputError
            When `status` is none.
        """
        return self._studies("status = ?", (checked_status(status),))

    def find_studies(self, reference: str) -> list[Study]:
        """Return the studies whose id or name is `reference`, or whose id ends with it, newest first.

        Names that differ only in surrounding spaces, invisible characters or Unicode normalization are equal.
        """
        name, end = normalized_name(reference), reference.lower()
        candidates = self._studies(f"name IN (?, ?) OR {_MAY_DIFFER} OR substr(id, -length(?)) = ?", (reference, name, end, end))
        return [study for study in candidates if normalized_name(study.name) == name or (end and study.id.endswith(end))]

    def get_checkpoint(self, study_id: str, checkpoint_id: str) -> Checkpoint | None:
        """Give the checkpoint of a study with this exact id, or None."""
        found = self._checkpoints("WHERE study_id = ? AND id = ?", (study_id, checkpoint_id))
        return found[0] if found else None

    def checkpoints_by_id(self, study_id: str, checkpoint_ids: Sequence[str]) -> list[Checkpoint]:
        """Return the checkpoints of a study with these exact ids, as far as there are any, in no order."""
        sql = f"{_CHECKPOINT} WHERE study_id = ? AND id IN (SELECT value FROM json_each(?))"
        if not self._before_read():
            return []
        with readable(self._database):
            rows = in_parts(lambda part: self._database.execute(sql, (study_id, json.dumps(part))), checkpoint_ids)
            return [_checkpoint(row) for row in rows]

    def get_checkpoints(self, study_id: str) -> list[Checkpoint]:
        """Return every checkpoint of a study, oldest first: by timestamp, then id, the order of ``kit.checkpoints()``."""
        return self._in_order(_checked_id(study_id), "", _AFTER_ALL_TIMES)

    def get_latest_checkpoint(self, study_id: str) -> Checkpoint | None:
        """Return the checkpoint of a study with the latest timestamp, of equal ones that with the greatest id; None where there is none.

        It is the last row of ``kit.checkpoints(study)``.
        """
        found = self._checkpoints("WHERE study_id = ? ORDER BY timestamp DESC, id DESC LIMIT 1", (_checked_id(study_id),))
        return found[0] if found else None

    def get_checkpoints_in_range(self, study_id: str, start: datetime, end: datetime) -> list[Checkpoint]:
        """Give the checkpoints of a study with a timestamp in ``[start, end)``, oldest first. Times need a time zone.

        Raises
        ------
        InvalidInputError
            When a time has no time zone.
        """
        return self._in_order(_checked_id(study_id), stored_moment(start, "start"), stored_moment(end, "end"))

    def _studies(self, where: str, args: Args) -> list[Study]:
        """Give studies, newest first."""
        if not self._before_read():
            return []
        sql = f"{_STUDY} WHERE ({where}) AND (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT ?"

        def ask(before: tuple[Value, ...], most: int) -> list[Row]:
            return self._database.execute(sql, (*args, *before, most))

        with readable(self._database):
            return [_study(row) for row in pages(ask, (_AFTER_ALL_TIMES, ""), lambda row: (row[6], row[0]), _PAGE)]

    def _checkpoints(self, where: str, args: Args) -> list[Checkpoint]:
        if not self._before_read():
            return []
        with readable(self._database):
            return [_checkpoint(row) for row in self._database.execute(f"{_CHECKPOINT} {where}", args)]

    def _in_order(self, study_id: str, start: str, end: Value) -> list[Checkpoint]:
        if not self._before_read():
            return []
        sql = f"{_CHECKPOINT} WHERE study_id = ? AND timestamp < ? AND (timestamp, id) > (?, ?) ORDER BY timestamp, id LIMIT ?"

        def ask(after: tuple[Value, ...], most: int) -> list[Row]:
            return self._database.execute(sql, (study_id, end, *after, most))

        with readable(self._database):
            return [_checkpoint(row) for row in pages(ask, (start, ""), lambda row: (row[2], row[0]), _PAGE)]


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
            raise invalid("study", reference, "is no study", "give a Study, an id, a name, or the last four characters of an id")
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
        ids = matching_studies(text, [(study.id, study.name) for study in found])
        return [study for study in found if study.id in ids]

    def _not_found(self, reference: object, text: str) -> StudyNotFoundError:
        names = [study.name for study in self._storage.list_studies()]
        hint = nearest(text, names).strip() or f"The newest are {', '.join(map(repr, names[:5]))}."
        if not names:
            hint = f"There are no studies in {self._home}; create one, or give another home."
        return StudyNotFoundError(f"No study answers to {text!r}", hint=hint, reference=reference)


def _checked_id(study_id: object) -> str:
    """Give an id as text, in lower case as ids are; a `Study` is one that has it."""
    given = study_id.id if isinstance(study_id, Study) else study_id
    if not isinstance(given, str):
        raise invalid("study_id", study_id, "is no id", hint="Give the id of a study as text, for example study.id.")
    return given.lower()


def checked_status(status: StudyStatus | str) -> StudyStatus:
    """Give a status by its name.

    Raises
    ------
    InvalidInputError
        When there is no such status.
    """
    try:
        return StudyStatus(status)
    except ValueError:
        raise invalid("status", status, "is none", hint=f"Give one of {', '.join(StudyStatus)}.") from None


def stored_moment(moment: datetime, field: str) -> str:
    """Give a time in the read model's width.

    Raises
    ------
    InvalidInputError
        When it is no time with a time zone.
    """
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise invalid(field, moment, "is no time with a time zone", hint="Give, for example, datetime(2026, 1, 31, tzinfo=timezone.utc).")
    try:
        return stored_text(moment.astimezone(UTC))
    except OverflowError:
        raise invalid(field, moment, "lies outside the years 1 to 9999 in UTC") from None


def _time(text: object) -> datetime | None:
    return None if text is None else datetime.fromisoformat(stored_time(_text(text)))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _study(row: Row) -> Study:
    study_id, name, status, period_type, period_value, config, created, started, stopped = row
    created_at = _time(created)
    assert created_at is not None
    return Study(
        id=StudyId(_text(study_id)),
        name=_text(name),
        status=StudyStatus(str(status)),
        period_type=PeriodType(str(period_type)),
        period_value=None if period_value is None else int(str(period_value)),
        config=StudyConfig.model_validate_json(_text(config), extra="ignore"),
        created_at=created_at,
        started_at=_time(started),
        stopped_at=_time(stopped),
    )


def _checkpoint(row: Row) -> Checkpoint:
    checkpoint_id, study_id, timestamp, metrics, analyzed, sessions, event_id = row
    return Checkpoint(
        id=CheckpointId(_text(checkpoint_id)),
        study_id=StudyId(_text(study_id)),
        timestamp=datetime.fromisoformat(stored_time(_text(timestamp))),
        metrics=LongitudinalMetrics.model_validate_json(_text(metrics), extra="ignore"),
        events_analyzed=int(str(analyzed)),
        sessions_included=from_json(_text(sessions)),
        recorded_at=time_of_event(_text(event_id)),
    )
