"""Notes on a study: events of the world that explain a change, such as a new model."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

from evalkit.domain import validation as checks
from evalkit.domain.events import NoteAdded
from evalkit.domain.ids import StudyId
from evalkit.domain.refusals import invalid, nearest
from evalkit.domain.time_input import check_local_time, check_time, check_zone
from evalkit.domain.times import UtcTime, stored_text, wire_time

__all__ = ["Category", "Note", "checked_note", "note_id", "note_of"]

Category = Literal["model", "prompt", "tool", "data", "incident", "other"]
_CATEGORIES = get_args(Category)


class Note(BaseModel):
    """A note on a time of a study, or on a range of time.

    Examples
    --------
    >>> import tempfile, evalkit
    >>> kit = evalkit.connect(tempfile.mkdtemp())
    >>> study = kit.create_study("nightly agent")
    >>> kit.note(study, "Model m-2 instead of m-1", at="2026-01-31T00:00:00Z", category="model").category
    'model'
    """

    model_config = ConfigDict(frozen=True)

    id: str
    study_id: StudyId
    at: UtcTime
    """The time that the note is about, or the start of the range."""
    until: UtcTime | None
    """The end of the range, excluded; None for a single time."""
    category: Category
    text: str
    author: str | None

    def __repr__(self) -> str:
        until = "" if self.until is None else f" .. {self.until:%Y-%m-%d %H:%M}"
        text = self.text.splitlines()[0] if self.text.splitlines() else ""
        return f"Note({self.at:%Y-%m-%d %H:%M}{until} UTC, {self.category}, {(text if len(text) <= 60 else text[:57] + '...')!r})"

    __str__ = __repr__


def note_of(event: NoteAdded) -> Note:
    """Return the note that an event adds."""
    return Note(
        id=event.id, study_id=StudyId(event.study_id), at=event.at, until=event.until, category=event.category, text=event.text,
        author=event.author,
    )  # fmt: skip


def checked_note(
    text: object, *, at: object, until: object, category: object, tz: str | tzinfo | None, now: datetime
) -> tuple[str, datetime, datetime | None, Category]:
    """Return the checked text, times and category of a note; `at` is by default `now`.

    Raises
    ------
    InvalidInputError
        When a value is invalid.
    """
    zone = None if tz is None else check_zone("tz", tz)

    def read(field: str, value: object) -> datetime:
        return check_time(field, value, suggest_tz=True) if zone is None else check_local_time(field, value, zone)

    checked = checks.check_text("text", text, low=1, high=10_000, lines=True)
    if not isinstance(category, str) or category not in _CATEGORIES:
        raise invalid("category", category, f"expected one of {', '.join(_CATEGORIES)}", hint=nearest(category, _CATEGORIES).strip())
    first = now if at is None else read("at", at)
    last = None if until is None else read("until", until)
    if last is not None and last <= first:
        raise invalid("until", until, f"must be after at ({wire_time(first)})", "ranges are half-open, [at, until)")
    return checked, first, last, category  # type: ignore[return-value]  # mypy does not narrow a string to a literal


def note_id(study_id: str, parts: Iterable[object]) -> str:
    """Return the id of a note, a UUIDv5 of its content: equal notes have the same id."""
    texts = [stored_text(part.astimezone(UTC)) if isinstance(part, datetime) else part for part in parts]
    return str(uuid.uuid5(uuid.UUID(study_id), json.dumps(["note", *texts])))
