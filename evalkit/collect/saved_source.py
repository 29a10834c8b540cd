"""The source that a study keeps.

What all machines share is in its metadata, and the paths of this machine are in the home.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from evalkit._util.atomic_files import writing
from evalkit._util.text import alternatives
from evalkit.domain.refusals import invalid
from evalkit.domain.study import SOURCE
from evalkit.errors import InvalidInputError, Message

__all__ = ["Places", "SavedSource", "grace_text", "read_places", "write_places"]

_HINTS = {
    "hint": "Collect once with the location and save=True.",
    "shell_hint": "Collect once with --from LOCATION --save.",
}


@dataclass(frozen=True)
class SavedSource:
    """The source of a study, as kept in its metadata.

    It has no paths, because they differ between machines and may name projects.

    Examples
    --------
    >>> SavedSource.parse(SavedSource("inspect", "nightly runs", zone="Europe/Berlin").text()).zone
    'Europe/Berlin'
    """

    source: str
    """The format, such as ``inspect``."""
    name: str
    """The name in idempotency keys."""
    zone: str | None = None
    grace: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """Return the source as the text of the metadata.

        Raises
        ------
        InvalidInputError
            If an option cannot be kept, because it is neither text nor a number, nor a mapping of these.
        """
        values = {name: value for name, value in vars(self).items() if value}
        try:
            return json.dumps(values, ensure_ascii=False)
        except TypeError:
            raise invalid("options", self.options, "only text and numbers can be saved", hint="Collect without save=True.") from None

    @classmethod
    def parse(cls, text: str) -> SavedSource:
        """Return the source in the text of the metadata.

        Raises
        ------
        InvalidInputError
            If the text was not written by `text`.
        """
        try:
            values = json.loads(text)
            known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
            saved = cls(**known)
            valid = all(isinstance(value, str) for name, value in known.items() if name != "options") and isinstance(saved.options, Mapping)
        except (ValueError, TypeError):
            valid = False
        if not valid:
            raise invalid(SOURCE, text, "the study's metadata has no valid source").but(**_HINTS)
        return saved


@dataclass(frozen=True)
class Places:
    """Where this machine has the logs of a study, the labels and the prices."""

    location: str
    labels: str | None = None
    prices: str | None = None

    def problem(self, study: str, *, unused: Collection[str] = ()) -> Message | None:
        """Return a message that names the used places that do not exist any more; None if all do.

        Examples
        --------
        >>> Places("inspect:/nowhere").problem("nightly agent").problem
        "Study 'nightly agent' keeps the location 'inspect:/nowhere', which does not exist on this machine"
        """
        kept = {"location": self.location.partition(":")[2], "labels": self.labels, "prices": self.prices}
        gone = [name for name, path in kept.items() if path and name not in unused and not Path(path).expanduser().exists()]
        if not gone:
            return None
        named = alternatives([f"the {name} {getattr(self, name)!r}" for name in gone], "and")
        arguments = {"location": "LOCATION", "labels": "labels=FILE", "prices": "prices=FILE"}
        options = {"location": "--from LOCATION", "labels": "--labels FILE", "prices": "--prices FILE"}
        return Message(
            problem=f"Study {study!r} keeps {named}, which {'does' if len(gone) == 1 else 'do'} not exist on this machine",
            hint=f"Pass and save the new place: kit.collect({study!r}, {', '.join(arguments[name] for name in gone)}, save=True).",
            shell_hint=f"Pass and save the new place: evalkit collect {study!r} {' '.join(options[name] for name in gone)} --save",
        )


def read_places(home: Path, study_id: str) -> Places | None:
    """Return where this machine has the logs of a study; None if it does not know.

    Examples
    --------
    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> write_places(home, "a", Places("inspect:~/logs"))
    >>> read_places(home, "a"), read_places(home, "b")
    (Places(location='inspect:~/logs', labels=None, prices=None), None)
    """
    try:
        values = json.loads(_path(home, study_id).read_bytes())
        return Places(**{name: values.get(name) for name in Places.__dataclass_fields__})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def write_places(home: Path, study_id: str, places: Places) -> None:
    """Keep where this machine has the logs of a study.

    Raises
    ------
    InvalidInputError
        If the home is not writable.
    """
    path = _path(home, study_id)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        problem = f"Cannot create {str(path.parent)!r}: {(error.strerror or 'unknown error').lower()}"
        raise InvalidInputError(problem, hint="Collect without save=True.", field="home", value=str(home)) from None
    with writing(path) as file:
        file.write(json.dumps({name: value for name, value in vars(places).items() if value}, ensure_ascii=False).encode())


def _path(home: Path, study_id: str) -> Path:
    return home / "sources" / f"{study_id}.json"


def grace_text(grace: timedelta) -> str:
    """Return a grace time as text that `parse_grace` reads."""
    return f"{int(grace.total_seconds())}s"
