"""The forms that create a study and that rename and edit it, without widgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from evalkit.domain import validation as checks
from evalkit.domain.commands import CreateStudy
from evalkit.domain.refusals import invalid, shown
from evalkit.domain.study import PeriodType
from evalkit.errors import InvalidInputError
from evalkit.panel.texts import Field, comma_separated, metadata_of, metadata_text, number_of

__all__ = ["EDIT_FIELDS", "STUDY_FIELDS", "EditForm", "StudyForm"]

STUDY_FIELDS = (
    Field("name", "Name", "1 to 200 characters"),
    Field("period", "Period", choices=tuple(period.value for period in PeriodType)),
    Field("periods", "Planned periods", "blank: until stopped"),
    Field("tags", "Tags", "e.g. nightly, coding"),
    Field("description", "Description", "question or goal of the study", multiline=True),
    Field("metadata", "Metadata", "one per line, e.g. model=m-1", multiline=True),
)
"""The fields of the form that creates a study."""
EDIT_FIELDS = (
    Field("name", "Study name", "1 to 200 characters"),
    Field("tags", "Study tags", "e.g. nightly, coding"),
    Field("description", "Study description", "question or goal of the study", multiline=True),
    Field("metadata", "Study metadata", "one per line, e.g. model=m-1", multiline=True),
)
"""The fields of the form that edits a study."""


def _planned_periods(period: str, text: str) -> tuple[str, int] | str:
    """Return the `period` argument of `CreateStudy`."""
    if not text:
        return period
    number = number_of("planned periods", text, "Leave the field blank for a study without a planned end.")
    if number < 1 or number != number // 1:
        raise invalid("planned periods", number, "expected a positive integer")
    planned = (period, int(number))
    checks.check_period(planned)
    return planned


@dataclass
class StudyForm:
    """The text typed to create a study."""

    texts: dict[str, str] = field(default_factory=lambda: {each.name: "" for each in STUDY_FIELDS} | {"period": PeriodType.DAILY.value})
    """The text of each field, by the names in `STUDY_FIELDS`."""

    def set_text(self, name: str, text: str) -> None:
        """Set the text of a field."""
        self.texts[name] = text

    @property
    def touched(self) -> bool:
        """Whether any field has text; the preselected period does not count."""
        return any(text.strip() for name, text in self.texts.items() if name != "period")

    def values(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the valid arguments of `CreateStudy`, and the problems by field name."""
        values: dict[str, Any] = {}
        problems: dict[str, str] = {}
        for name, (argument, read) in _STUDY_READERS.items():
            try:
                values[argument] = read(self.texts)
            except InvalidInputError as error:
                problems[name] = str(error)
        return values, problems

    def command(self) -> CreateStudy:
        """Return the command that the form describes.

        Raises
        ------
        InvalidInputError
            If a field is invalid.
        """
        return CreateStudy(**{argument: read(self.texts) for argument, read in _STUDY_READERS.values()})

    def problems(self) -> dict[str, str]:
        """Return the problem of each invalid field; empty while nothing was typed."""
        if not self.touched:
            return {}
        problems = self.values()[1]
        return problems if self.texts["name"].strip() else {**problems, "name": "Enter a name."}


_STUDY_READERS: dict[str, tuple[str, Callable[[Mapping[str, str]], Any]]] = {
    "name": ("name", lambda texts: checks.check_name(texts["name"].strip())),
    "periods": ("period", lambda texts: _planned_periods(texts["period"], texts["periods"].strip())),
    "tags": ("tags", lambda texts: checks.check_texts("tags", comma_separated(texts["tags"]))),
    "description": ("description", lambda texts: checks.check_text("description", texts["description"].strip(), lines=True) or None),
    "metadata": ("metadata", lambda texts: metadata_of(texts["metadata"])),
}
"""For each field of a study: the argument of `CreateStudy`, and the function that parses and checks it."""


class EditForm:
    """The text typed to rename and edit a study.

    Fields that were not edited follow the study. An edited field remembers the value that it was typed for, so that changes by other
    processes are neither hidden nor undone.

    Parameters
    ----------
    study
        A row of the studies frame.
    """

    def __init__(self, study: Mapping[str, Any]) -> None:
        self._typed: dict[str, str] = {}
        self._bases: dict[str, Any] = {}
        """The value that each edited field was typed for."""
        self.follow(study)

    def follow(self, study: Mapping[str, Any]) -> None:
        """Show the values of a newer row of the studies frame."""
        self._values: dict[str, Any] = {
            "name": {"name": study["name"]},
            "tags": list(study["tags"]),
            "description": {"description": study["description"] or ""},
            "metadata": {pair["key"]: pair["value"] for pair in study["metadata"] or ()},
        }
        self._current = {name: _text_of(name, value) for name, value in self._values.items()}
        for name, text in list(self._typed.items()):
            self.set_text(name, text)

    @property
    def texts(self) -> dict[str, str]:
        """The text of each field, by the names in `EDIT_FIELDS`."""
        return self._current | self._typed

    def set_text(self, name: str, text: str) -> None:
        """Set the text of a field."""
        base = self._bases.setdefault(name, self._values[name])
        self._typed[name] = text
        if text in (self._current[name], _text_of(name, base)):
            del self._typed[name], self._bases[name]

    @property
    def fixed(self) -> set[str]:
        """The fields whose value cannot be written as text, such as tags with a comma."""
        written = {"tags": comma_separated(self._current["tags"]) == self._values["tags"], "metadata": self._is_written()}
        return {name for name, matches in written.items() if not matches}

    def _is_written(self) -> bool:
        try:
            return metadata_of(self._current["metadata"]) == checks.check_metadata(self._values["metadata"])
        except InvalidInputError:
            return False

    def changes(self) -> tuple[str | None, dict[str, Any], dict[str, str]]:
        """Return the new name or None, the changed arguments of ``kit.edit_study``, and problems.

        Tags and metadata that another process added or removed meanwhile stay so. Problems are by field name.
        """
        values, problems = self._edited()
        changed = {name: self._change(name, value) for name, value in values.items()}
        new = changed.pop("name", {}).get("name")
        if "description" in changed:
            changed["description"] = changed["description"].get("description")
        return new, {name: value for name, value in changed.items() if value not in (None, {})}, problems

    def conflicts(self) -> list[str]:
        """Return a text about each edited value that another process changed to another one."""
        texts = []
        for name, value in self._edited()[0].items():
            base, latest = self._bases[name], self._values[name]
            for key in () if name == "tags" else self._change(name, value):
                if latest.get(key) != base.get(key):
                    what = f"metadata {key!r}" if name == "metadata" else name
                    texts.append(f"the {what} was " + (f"changed to {shown(latest[key])}" if key in latest else "removed"))
        return texts

    def accept_latest(self) -> None:
        """Apply the typed values to the latest version of the study."""
        for name, value in self._edited()[0].items():
            if name != "tags":
                accepted = {key: self._values[name].get(key) for key in self._change(name, value)}
                self._bases[name] = {key: text for key, text in (self._bases[name] | accepted).items() if text is not None}

    def _edited(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the values of the edited fields that are valid, and the problems of the others."""
        values: dict[str, Any] = {}
        problems: dict[str, str] = {}
        for name in self._typed:
            try:
                value = _STUDY_READERS[name][1](self.texts)
            except InvalidInputError as error:
                problems[name] = str(error)
            else:
                values[name] = value if name in ("tags", "metadata") else {name: value or ""}
        return values, problems

    def _change(self, name: str, value: Any) -> Any:
        """Return the new value of each key that the user changed; all tags, or None."""
        base, latest = self._bases[name], self._values[name]
        if name != "tags":
            changed = {key: value.get(key) for key in (*value, *base) if value.get(key) != base.get(key)}
            return {key: text for key, text in changed.items() if text != latest.get(key)}
        if latest != base:  # another process changed them
            removed = set(base) - set(value)
            value = [tag for tag in latest if tag not in removed] + [tag for tag in value if tag not in (*base, *latest)]
        return None if value == latest else value


def _text_of(name: str, value: Any) -> str:
    if name == "tags":
        return ", ".join(value)
    return metadata_text(value) if name == "metadata" else str(value[name])
