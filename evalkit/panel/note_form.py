"""The form that adds a note to a study, without widgets."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, get_args

from evalkit.domain import validation as checks
from evalkit.domain.notes import Category, checked_note
from evalkit.errors import InvalidInputError
from evalkit.panel.texts import Field, parsed_time

__all__ = ["NOTE_FIELDS", "NoteForm"]

_DEFAULT = "other"
NOTE_FIELDS = (
    Field("category", "Category", choices=get_args(Category)),
    Field("at", "Time of the note (UTC)", "blank: now"),
    Field("until", "Until (UTC)", "optional, the end of a range"),
    Field("author", "Author of the note", "optional"),
    Field("text", "Note", "e.g. model m-2 instead of m-1", multiline=True),
)
"""The fields of the form."""


@dataclass
class NoteForm:
    """The text typed to add a note to one study."""

    texts: dict[str, str] = field(default_factory=lambda: {each.name: "" for each in NOTE_FIELDS} | {"category": _DEFAULT})
    """The text of each field, by the names in `NOTE_FIELDS`."""

    def set_text(self, name: str, text: str) -> None:
        """Set the text of a field."""
        self.texts[name] = text

    @property
    def touched(self) -> bool:
        """Whether any field has text; the preselected category does not count."""
        return any(text.strip() for name, text in self.texts.items() if name != "category")

    def values(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the valid arguments of ``kit.note``, and problems by field name."""
        typed = {name: text.strip() for name, text in self.texts.items() if text.strip()}
        values: dict[str, Any] = {"category": self.texts["category"]}
        problems: dict[str, str] = {}
        for name in ("at", "until"):
            try:
                values |= {name: parsed_time(name, typed[name])} if name in typed else {}
            except InvalidInputError as error:
                problems[name] = str(error)
        try:
            values |= {"author": checks.check_text("author", typed["author"], low=1, high=200)} if "author" in typed else {}
        except InvalidInputError as error:
            problems["author"] = str(error)
        if "text" not in typed:
            return values, {**problems, "text": "Enter the text of the note."}
        values["text"] = typed["text"]
        if not problems:
            times = {"at": values.get("at"), "until": values.get("until")}
            try:
                checked_note(values["text"], **times, category=values["category"], tz=None, now=datetime.now(UTC))
            except InvalidInputError as error:
                problems[error.field or ""] = str(error)
        return values, problems

    def problems(self) -> dict[str, str]:
        """Return the problem of each invalid field; empty while nothing was typed."""
        return self.values()[1] if self.touched else {}
