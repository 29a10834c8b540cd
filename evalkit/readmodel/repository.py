"""Queries of the read model that return models: studies, checkpoints and notes."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic_core import from_json

from evalkit.domain.definitions import Metric
from evalkit.domain.events import MetricDefined, NoteAdded, event_of
from evalkit.domain.ids import CheckpointId, StudyId, normalized_name, time_of_event
from evalkit.domain.lenient import Provenance
from evalkit.domain.metrics import LongitudinalMetrics
from evalkit.domain.notes import Note, note_of
from evalkit.domain.refusals import invalid, nearest
from evalkit.domain.study import Checkpoint, PeriodType, Study, StudyConfig, StudyStatus
from evalkit.domain.study_references import matching_studies, short_suffix_hint
from evalkit.domain.times import stored_text, stored_time
from evalkit.errors import AmbiguousStudyError, StudyNotFoundError
from evalkit.readmodel.corrections import NOT_RETRACTED, Corrections, latest, read_corrections
from evalkit.readmodel.database.database import Args, Database, Row, Value, in_parts, pages
from evalkit.readmodel.rows import readable

__all__ = ["EvalStorage", "References", "calls"]

_STUDY = "SELECT id, name, status, period_type, period_value, config, created_at, started_at, stopped_at, archived FROM studies"
_CHECKPOINT = """SELECT id, study_id, timestamp, metrics, events_analyzed, sessions_included, event_id, provenance FROM checkpoints"""
_ID_LENGTH = 36
_PAGE = 1000
# All other names (printable ASCII without surrounding spaces) are equal to their normal forms.
_MAY_DIFFER = "name GLOB '*[^ -~]*' OR name LIKE ' %' OR name LIKE '% '"
_IS_ARCHIVED = "Study {!r} is archived; restore it with"
_SHOWN = {True: "1", False: "archived = 0"}
"""The condition for studies, by whether archived ones are included."""
_AFTER_ALL_TIMES = b"\xff"  # SQLite sorts a blob after every text, even after text that is not a time


class EvalStorage:
    """Queries of a kit's studies and checkpoints that return models: ``kit.storage``.

    Studies are identified by their exact id; `EvalKit.resolve` finds a study by its name.

    Parameters
    ----------
    database
        The database of the read model.
    before_read
        Called before each query to bring the read model up to date. Returns False without a read model.

    See Also
    --------
    evalkit.EvalKit.studies : All studies as a DataFrame.
    evalkit.EvalKit.checkpoints : Checkpoints as a DataFrame.

    Examples
    --------
    >>> import tempfile, evalkit
    >>> kit = evalkit.connect(tempfile.mkdtemp())
    >>> study = kit.create_study("nightly", period="daily")
    >>> [study.name for study in kit.storage.list_studies()]
    ['nightly']
    >>> kit.storage.get_checkpoints(study.id)
    []
    """

    def __init__(self, database: Database, before_read: Callable[[], bool] = lambda: True) -> None:
        self._database = database
        self._before_read = before_read

    def get_study(self, study_id: str) -> Study | None:
        """Return the study with an exact id, or None.

        Parameters
        ----------
        study_id
            The id.

        Raises
        ------
        InvalidInputError
            When `study_id` is not a string.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.create_study("nightly")
        >>> kit.storage.get_study(study.id) == study
        True
        >>> print(kit.storage.get_study("00000000-0000-4000-8000-000000000000"))
        None
        """
        studies = self._studies("id = ?", (_checked_id(study_id),))
        return studies[0] if studies else None

    def list_studies(self, *, archived: bool = False) -> list[Study]:
        """Return all studies, newest first, as in ``kit.studies()``.

        Parameters
        ----------
        archived
            Whether to include archived studies.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> _ = kit.create_study("first", at="2026-01-01T00:00:00Z"), kit.create_study("second", at="2026-01-02T00:00:00Z")
        >>> [study.name for study in kit.storage.list_studies()]
        ['second', 'first']
        """
        return self._studies(_SHOWN[archived], ())

    def list_studies_by_status(self, status: StudyStatus | str, *, archived: bool = False) -> list[Study]:
        """Return the studies in a status, newest first.

        Parameters
        ----------
        status
            A `StudyStatus` or its value, such as ``"running"``.
        archived
            Whether to include archived studies.

        Raises
        ------
        InvalidInputError
            When `status` is unknown.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> _ = kit.create_study("nightly")
        >>> [study.name for study in kit.storage.list_studies_by_status("pending")]
        ['nightly']
        >>> kit.storage.list_studies_by_status(evalkit.StudyStatus.RUNNING)
        []
        """
        return self._studies(f"status = ? AND {_SHOWN[archived]}", (checked_status(status),))

    def find_studies(self, reference: str) -> list[Study]:
        """Return the studies that match an id, a name or the end of an id, newest first.

        Archived studies are included. Names that differ only in surrounding spaces, invisible characters or Unicode normalization are
        equal.

        Parameters
        ----------
        reference
            An id, a name or the end of an id.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.create_study("nightly")
        >>> kit.storage.find_studies(" nightly ") == kit.storage.find_studies(study.id[-8:]) == [study]
        True
        """
        name, end = normalized_name(reference), reference.lower()
        candidates = self._studies(f"name IN (?, ?) OR {_MAY_DIFFER} OR substr(id, -length(?)) = ?", (reference, name, end, end))
        return [study for study in candidates if normalized_name(study.name) == name or (end and study.id.endswith(end))]

    def get_checkpoint(self, study_id: str, checkpoint_id: str) -> Checkpoint | None:
        """Return the latest version of the checkpoint with an exact id in a study, or None.

        None also for a retracted checkpoint.

        Parameters
        ----------
        study_id, checkpoint_id
            The ids.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.start_study(kit.create_study("nightly"))
        >>> period = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")
        >>> checkpoint = kit.record_checkpoint(study, {"total_cost": 1.5, "period": period})
        >>> kit.storage.get_checkpoint(study.id, checkpoint.id).metrics.total_cost
        1.5
        """
        checkpoints = self._checkpoints(study_id, "id = ?", (checkpoint_id,))
        return checkpoints[0] if checkpoints else None

    def checkpoints_by_id(self, study_id: str, checkpoint_ids: Sequence[str]) -> list[Checkpoint]:
        """Return the latest versions of the checkpoints with the given ids in a study.

        They are in no particular order. Unknown ids and retracted checkpoints are ignored.

        Parameters
        ----------
        study_id
            The id of the study.
        checkpoint_ids
            The ids of the checkpoints.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.start_study(kit.create_study("nightly"))
        >>> period = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")
        >>> checkpoint = kit.record_checkpoint(study, {"total_cost": 1.5, "period": period})
        >>> len(kit.storage.checkpoints_by_id(study.id, [checkpoint.id, "unknown"]))
        1
        """
        versions, _ = self._versions(study_id, checkpoint_ids)
        return [checkpoint for checkpoint in versions.values() if not checkpoint.retracted]

    def get_metrics(self, study_id: str) -> dict[str, Metric]:
        """Return a study's custom metrics by name, in the order of their definition.

        Parameters
        ----------
        study_id
            The id of the study. An unknown id has no definitions.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.create_study("nightly", metrics=["tool_calls"])
        >>> list(kit.storage.get_metrics(study.id))
        ['tool_calls']
        """
        if not self._before_read():
            return {}
        sql = "SELECT body FROM changes WHERE study_id = ? AND kind = 'metric_defined' ORDER BY seq"
        with readable(self._database):
            events = [event_of(_text(body)) for (body,) in self._database.execute(sql, (_checked_id(study_id),))]
        return {event.metric.name: event.metric for event in events if isinstance(event, MetricDefined)}

    def get_checkpoints(self, study_id: str) -> list[Checkpoint]:
        """Return all checkpoints of a study, oldest first, as in ``kit.checkpoints()``.

        Amendments are applied, and retracted checkpoints are left out; so are they in the other queries.

        Parameters
        ----------
        study_id
            The id of the study. An unknown id has no checkpoints.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.start_study(kit.create_study("nightly"))
        >>> period = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")
        >>> _ = kit.record_checkpoint(study, {"total_cost": 1.5, "period": period})
        >>> [checkpoint.metrics.total_cost for checkpoint in kit.storage.get_checkpoints(study.id)]
        [1.5]
        """
        return self._in_order(_checked_id(study_id), "", _AFTER_ALL_TIMES)

    def get_latest_checkpoint(self, study_id: str) -> Checkpoint | None:
        """Return the checkpoint with the latest timestamp of a study, or None.

        Parameters
        ----------
        study_id
            The id of the study.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.create_study("nightly")
        >>> print(kit.storage.get_latest_checkpoint(study.id))
        None
        """
        checkpoints = self._checkpoints(_checked_id(study_id), "1 ORDER BY timestamp DESC, id DESC LIMIT 1")
        return checkpoints[0] if checkpoints else None

    def get_checkpoints_in_range(self, study_id: str, start: datetime, end: datetime) -> list[Checkpoint]:
        """Return a study's checkpoints with timestamps in ``[start, end)``, oldest first.

        Parameters
        ----------
        study_id
            The id of the study.
        start, end
            Time-zone-aware datetimes.

        Raises
        ------
        InvalidInputError
            When a time has no time zone.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> from datetime import datetime, timezone
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.start_study(kit.create_study("nightly"))
        >>> for day in (1, 2, 3):
        ...     period = (f"2026-01-0{day}T00:00:00Z", f"2026-01-0{day + 1}T00:00:00Z")
        ...     _ = kit.record_checkpoint(study, {"total_cost": day, "period": period})
        >>> start, end = datetime(2026, 1, 2, tzinfo=timezone.utc), datetime(2026, 1, 4, tzinfo=timezone.utc)
        >>> [checkpoint.metrics.total_cost for checkpoint in kit.storage.get_checkpoints_in_range(study.id, start, end)]
        [1.0, 2.0]
        """
        return self._in_order(_checked_id(study_id), stored_moment(start, "start"), stored_moment(end, "end"))

    def _studies(self, where: str, args: Args) -> list[Study]:
        """Return the studies that match a condition, newest first."""
        if not self._before_read():
            return []
        sql = f"{_STUDY} WHERE ({where}) AND (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT ?"

        def query(before: tuple[Value, ...], limit: int) -> list[Row]:
            return self._database.execute(sql, (*args, *before, limit))

        with readable(self._database):
            return [_study(row) for row in pages(query, (_AFTER_ALL_TIMES, ""), lambda row: (row[6], row[0]), _PAGE)]

    def get_notes(self, study_id: str) -> list[Note]:
        """Return all notes of a study, ordered by their time.

        Parameters
        ----------
        study_id
            The id of the study. An unknown id has no notes.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.create_study("nightly")
        >>> _ = kit.note(study, "New prompt", at="2026-01-31T00:00:00Z", category="prompt")
        >>> [note.text for note in kit.storage.get_notes(study.id)]
        ['New prompt']
        """
        if not self._before_read():
            return []
        sql = "SELECT seq, body FROM changes WHERE study_id = ? AND kind = 'note_added' AND seq > ? ORDER BY seq LIMIT ?"
        study_id = _checked_id(study_id)

        def query(after: tuple[Value, ...], limit: int) -> list[Row]:
            return self._database.execute(sql, (study_id, *after, limit))

        with readable(self._database):
            events = [event_of(_text(body)) for _, body in pages(query, (0,), lambda row: row[:1], _PAGE)]
        notes = [note_of(event) for event in events if isinstance(event, NoteAdded)]
        return sorted(notes, key=lambda note: (note.at, note.id))

    def _checkpoints(self, study_id: str, where: str, args: Args = ()) -> list[Checkpoint]:
        if not self._before_read():
            return []
        sql = f"{_CHECKPOINT} WHERE study_id = ? AND {NOT_RETRACTED} AND {where}"
        with readable(self._database):
            return self._latest(study_id, self._database.execute(sql, (study_id, *args)))[0]

    def _in_order(self, study_id: str, start: str, end: Value) -> list[Checkpoint]:
        if not self._before_read():
            return []
        sql = (
            f"{_CHECKPOINT} WHERE study_id = ? AND {NOT_RETRACTED} AND timestamp < ? AND (timestamp, id) > (?, ?) "
            "ORDER BY timestamp, id LIMIT ?"
        )

        def query(after: tuple[Value, ...], limit: int) -> list[Row]:
            return self._database.execute(sql, (study_id, end, *after, limit))

        with readable(self._database):
            return self._latest(study_id, list(pages(query, (start, ""), lambda row: (row[2], row[0]), _PAGE)))[0]

    def _versions(self, study_id: str, checkpoint_ids: Sequence[str]) -> tuple[dict[str, Checkpoint], Corrections]:
        """Return the latest versions of checkpoints by id, with retracted ones, and corrections."""
        sql = f"{_CHECKPOINT} WHERE study_id = ? AND id IN (SELECT value FROM json_each(?))"
        if not checkpoint_ids or not self._before_read():
            return {}, {}
        with readable(self._database):
            rows = in_parts(lambda part: self._database.execute(sql, (study_id, json.dumps(part))), checkpoint_ids)
            checkpoints, corrections = self._latest(study_id, rows)
        return {checkpoint.id: checkpoint for checkpoint in checkpoints}, corrections

    def _latest(self, study_id: str, rows: Sequence[Row]) -> tuple[list[Checkpoint], Corrections]:
        """Return the latest versions of checkpoints, and their corrections."""
        if not rows:
            return [], {}
        corrections = read_corrections(self._database, study_id, [_text(row[0]) for row in rows])
        return [latest(_checkpoint(row), corrections.get(_text(row[0]), ())) for row in rows], corrections


class References:
    """Finds studies by reference: a `Study`, an id, a name, or the end of an id.

    Parameters
    ----------
    storage
        The queries of a read model that is up to date.
    home
        The home, for messages.
    warned
        Whether a missing home was already reported in a warning, so that errors do not mention it again.

    Examples
    --------
    >>> import tempfile, evalkit
    >>> kit = evalkit.connect(tempfile.mkdtemp())
    >>> study = kit.create_study("nightly")
    >>> References(kit.storage, kit.engine.settings.home).resolve("nightly") == study
    True
    """

    def __init__(self, storage: EvalStorage, home: Path, *, warned: bool = False) -> None:
        self._storage = storage
        self._home = home
        self._warned = warned

    def resolve(self, reference: Study | str, *, archived: bool = False) -> Study:
        """Return the study that matches a reference: by id, then name, then the end of the id.

        An archived study matches only as a `Study` or by its exact id, unless `archived` is true.

        Raises
        ------
        StudyNotFoundError, AmbiguousStudyError
            When no study, or more than one, matches.
        InvalidInputError
            When `reference` is neither a `Study` nor a non-empty string.
        """
        if isinstance(reference, Study):
            current = self._storage.get_study(reference.id)
            matches = [] if current is None else [current]
            text = reference.name
        elif isinstance(reference, str) and reference:
            text = reference
            # No database can contain lone surrogates.
            matches = [] if any("\ud800" <= character <= "\udfff" for character in text) else self._matches(text)
        else:
            raise invalid("study", reference, "expected a Study, an id, a name, or the last 4 or more characters of an id")
        if not archived and isinstance(reference, str):
            hidden = [study for study in matches if study.archived and study.id != text.lower()]
            matches = [study for study in matches if study not in hidden]
            if hidden and not matches:
                raise StudyNotFoundError(
                    f"No study matches {text!r}", reference=reference, **calls(_IS_ARCHIVED.format(hidden[0].name), "unarchive", hidden[0])
                )
        if not matches:
            raise self._not_found(reference, text)
        if len(matches) > 1:
            listed = "; ".join(f"{study.id} ({study.name!r}, {study.status}, created {study.created_at:%Y-%m-%d})" for study in matches[:8])
            raise AmbiguousStudyError(
                f"{text!r} matches {len(matches)} studies: {listed}", hint="Use the id, or its last characters.",
                reference=reference, candidates=[study.id for study in matches],
            )  # fmt: skip
        return matches[0]

    def named(self, name: str) -> list[Study]:
        """Return the studies with a name, newest first, archived ones too.

        There is at most one, except in old logs, where study ids do not depend on names, and after concurrent renames.
        """
        return [study for study in self._storage.find_studies(name) if normalized_name(study.name) == normalized_name(name)]

    def _matches(self, text: str) -> list[Study]:
        exact = self._storage.get_study(text) if len(text) == _ID_LENGTH else None  # without a search among the names of all studies
        if exact is not None:
            return [exact]
        candidates = self._storage.find_studies(text)
        ids = matching_studies(text, [(study.id, study.name) for study in candidates])
        return [study for study in candidates if study.id in ids]

    def _not_found(self, reference: object, text: str) -> StudyNotFoundError:
        studies = self._storage.list_studies(archived=True)
        names = [study.name for study in studies]
        recent = [study.name for study in studies if not study.archived][:5]
        listed = f"Most recent studies: {', '.join(map(repr, recent))}." if recent else "All studies are archived."
        hint = nearest(text, names).strip() or listed
        hint = f"{short_suffix_hint(text, [study.id for study in studies])} {hint}".strip()
        if not names and self._warned and not self._home.exists():
            hint = ""
        elif not names:
            hint = f"There are no studies in {self._home}; create a study, or use another home."
        return StudyNotFoundError(f"No study matches {text!r}", hint=hint, reference=reference)


def calls(before: str, command: str, study: Study) -> dict[str, str]:
    """Return the hints to call a command of a study, for Python and the shell."""
    return {
        "hint": f"{before} kit.{command}_study({study.name!r}).",
        "shell_hint": f"{before}: evalkit study {command} {shlex.quote(study.name)}",  # without a period, so that it can be pasted
    }


def _checked_id(study_id: object) -> str:
    """Return an id, or the id of a `Study`, in lower case."""
    text = study_id.id if isinstance(study_id, Study) else study_id
    if not isinstance(text, str):
        raise invalid("study_id", study_id, "expected the id of a study, for example study.id")
    return text.lower()


def checked_status(status: StudyStatus | str) -> StudyStatus:
    """Return a status by its value.

    Raises
    ------
    InvalidInputError
        When the status is unknown.
    """
    try:
        return StudyStatus(status)
    except ValueError:
        raise invalid("status", status, f"expected one of {', '.join(StudyStatus)}") from None


def stored_moment(moment: datetime, field: str) -> str:
    """Return a time in the read model's format.

    Raises
    ------
    InvalidInputError
        When it is not a time-zone-aware datetime.
    """
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise invalid(field, moment, "expected a datetime with a time zone, e.g. datetime(2026, 1, 31, tzinfo=timezone.utc)")
    try:
        return stored_text(moment.astimezone(UTC))
    except OverflowError:
        raise invalid(field, moment, "must be between the years 1 and 9999 in UTC") from None


def _time(text: object) -> datetime | None:
    return None if text is None else datetime.fromisoformat(stored_time(_text(text)))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _study(row: Row) -> Study:
    study_id, name, status, period_type, period_value, config, created, started, stopped, archived = row
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
        archived=bool(archived),
    )


def _checkpoint(row: Row) -> Checkpoint:
    checkpoint_id, study_id, timestamp, metrics, analyzed, sessions, event_id, provenance = row
    return Checkpoint(
        id=CheckpointId(_text(checkpoint_id)),
        study_id=StudyId(_text(study_id)),
        timestamp=datetime.fromisoformat(stored_time(_text(timestamp))),
        metrics=LongitudinalMetrics.model_validate_json(_text(metrics), extra="ignore"),
        events_analyzed=int(str(analyzed)),
        sessions_included=from_json(_text(sessions)),
        recorded_at=time_of_event(_text(event_id)),
        provenance=None if provenance is None else Provenance.model_validate_json(_text(provenance), extra="ignore"),
    )
