"""The form that amends or retracts a recorded checkpoint, without widgets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from evalkit._util.text import exact_moment, plural
from evalkit.domain import validation as checks
from evalkit.domain.catalog import METRICS
from evalkit.domain.definitions import Metric
from evalkit.domain.ids import CheckpointId, StudyId
from evalkit.domain.metrics import LongitudinalMetrics, TimePeriod
from evalkit.domain.study import Checkpoint
from evalkit.errors import InvalidInputError
from evalkit.frames.metric_text import number
from evalkit.panel.checkpoint_form import METRIC_FIELDS, SOURCE_FIELDS, read_value
from evalkit.panel.texts import Field, comma_separated, value_text

if TYPE_CHECKING:
    import polars as pl

__all__ = ["CORRECTION_FIELDS", "LISTED", "CheckpointChoice", "CorrectionForm", "Version", "period_text", "versions_of"]

LISTED = 50
"""The number of checkpoints to choose from at once; a search finds the others."""
CORRECTION_FIELDS = (
    *METRIC_FIELDS,
    *SOURCE_FIELDS,
    Field("reason", "Reason", "required, at most 1,000 characters", "Correction"),
    Field("author", "Author", "optional", "Correction"),
)
"""The fields of the form, without those of custom metrics."""
_ABOUT = ("reason", "author")


def period_text(start: datetime, end: datetime) -> str:
    """Return a period as text; only the dates if it starts and ends at midnight.

    Examples
    --------
    >>> period_text(datetime(2026, 1, 31), datetime(2026, 2, 1)), period_text(datetime(2026, 1, 31), datetime(2026, 1, 31, 1))
    ('2026-01-31 to 2026-02-01 UTC', '2026-01-31 00:00 to 2026-01-31 01:00 UTC')
    """
    first, last = exact_moment(start), exact_moment(end)
    if first.endswith(" 00:00") and last.endswith(" 00:00"):
        first, last = first[:10], last[:10]
    return f"{first} to {last} UTC"


@dataclass(frozen=True)
class Version:
    """An amendment of a checkpoint, or its retraction."""

    revision: int | None
    """The version that the amendment made; None for a retraction."""
    changes: tuple[str, ...]
    """Each changed value as text, e.g. ``"Total cost: $25.00 → $2.50"``; empty for a retraction."""
    reason: str
    author: str | None
    at: datetime


def versions_of(amendments: pl.DataFrame, checkpoint_id: str, definitions: Mapping[str, Metric]) -> list[Version]:
    """Return the corrections of a checkpoint, newest first.

    Parameters
    ----------
    amendments
        The rows of ``kit.amendments()`` of one study.
    checkpoint_id
        The id of the checkpoint.
    definitions
        The custom metrics of the study, by name.
    """
    versions: dict[int | None, Version] = {}
    for row in amendments.filter(amendments["checkpoint_id"] == checkpoint_id).iter_rows(named=True):
        revision, before = row["revision"], versions.get(row["revision"])
        changes = () if revision is None else (*(before.changes if before else ()), _change(row, definitions))
        versions[revision] = Version(revision, changes, row["reason"], row["author"], row["written_at"])
    return list(versions.values())[::-1]


def _change(row: Mapping[str, Any], definitions: Mapping[str, Metric]) -> str:
    name = row["metric"]
    metric = METRICS.get(name) or definitions.get(name)
    if metric is not None:
        return f"{metric.label or name}: {number(metric, row['old'])} → {number(metric, row['new'])}"
    if name == "provenance":
        return "Origin changed"
    old, new = (0 if value is None else int(value) for value in (row["old"], row["new"]))
    return f"Events analyzed: {old:,} → {new:,}" if name == "events_analyzed" else f"Sessions included: {old:,} → {plural(new, 'session')}"


class CorrectionForm:
    """The text typed to amend or retract one checkpoint.

    Fields that were not edited follow the latest version. An edited form remembers the version that it was typed for, so that an
    amendment by another process is not overwritten unnoticed.

    Parameters
    ----------
    row
        The row of the checkpoints frame.
    definitions
        The custom metrics of the study, by name.
    """

    def __init__(self, row: Mapping[str, Any], definitions: Mapping[str, Metric]) -> None:
        self._typed: dict[str, str] = {}
        self.base: int | None = None
        """The version that the typed values or the requested retraction are for; None without any."""
        self.confirming = False
        """Whether the retraction awaits confirmation."""
        self.follow(row, definitions)

    def follow(self, row: Mapping[str, Any], definitions: Mapping[str, Metric]) -> None:
        """Show the values of a newer row of the checkpoints frame."""
        self.row, self.definitions = row, definitions
        names = (*(field.name for field in CORRECTION_FIELDS), *definitions)
        self._current = {name: value_text(row.get(name)) for name in names}
        self._typed = {name: text for name, text in self._typed.items() if text.strip() != self._current[name]}
        self._update_base()

    @property
    def texts(self) -> dict[str, str]:
        """The text of each field, by the names in `CORRECTION_FIELDS` and of custom metrics."""
        return self._current | self._typed

    def set_text(self, name: str, text: str) -> None:
        """Set the text of a field."""
        self._typed[name] = text
        if text.strip() == self._current.get(name, ""):
            del self._typed[name]
        self._update_base()

    def _update_base(self) -> None:
        if not (self._edited or self.confirming):
            self.base = None
        elif self.base is None:
            self.base = self.row["revision"]

    def request_retraction(self) -> None:
        """Ask for confirmation before the checkpoint is retracted."""
        self.confirming = self.can_retract
        self._update_base()

    def withdraw_retraction(self) -> None:
        """Withdraw the request to retract the checkpoint."""
        self.confirming = False
        self._update_base()

    @property
    def _edited(self) -> list[str]:
        return [name for name, text in self._typed.items() if name not in _ABOUT and text.strip() != self._current.get(name, "")]

    @property
    def touched(self) -> bool:
        """Whether anything was typed."""
        return bool(self._typed)

    @property
    def fixed(self) -> set[str]:
        """The fields whose value cannot be written as text: sessions with a comma in a name."""
        sessions = list(self.row["sessions_included"])
        return set() if comma_separated(self._current["sessions_included"]) == sessions else {"sessions_included"}

    @property
    def amended_meanwhile(self) -> bool:
        """Whether there is a newer version than the one that the form is for."""
        return self.base is not None and self.row["revision"] > self.base

    def accept_latest(self) -> None:
        """Apply the typed values, or the requested retraction, to the latest version."""
        self.base = None
        self._update_base()

    def changes(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the changed values, None for a withdrawn one, and problems by field name."""
        values: dict[str, Any] = {}
        problems: dict[str, str] = {}
        for name in self._edited:
            text = self._typed[name].strip()
            try:
                if text:
                    values[name] = read_value(name, text, self.definitions)
                elif name == "events_analyzed":
                    problems[name] = "Enter the number of events analyzed; it cannot be withdrawn."
                else:
                    values[name] = [] if name == "sessions_included" else None
            except InvalidInputError as error:
                problems[name] = str(error)
        return values, problems

    def about(self) -> tuple[str, str | None, dict[str, str]]:
        """Return the reason, the author, and problems by field name."""
        typed = {name: self._typed.get(name, "").strip() for name in _ABOUT}
        problems: dict[str, str] = {}
        if not typed["reason"]:
            problems["reason"] = "Enter a reason."
        for name, high in (("reason", 1000), ("author", 200)):
            try:
                checks.check_text(name, typed[name], high=high, lines=name == "reason")
            except InvalidInputError as error:
                problems[name] = str(error)
        return typed["reason"], typed["author"] or None, problems

    def problems(self) -> dict[str, str]:
        """Return the problem of each invalid field; empty while nothing was typed."""
        return {**self.changes()[1], **self.about()[2]} if self.touched else {}

    @property
    def can_amend(self) -> bool:
        """Whether a value is changed, everything is valid, and the latest version is known."""
        return bool(self._edited) and not self.problems() and not self.amended_meanwhile

    @property
    def can_retract(self) -> bool:
        """Whether there is a valid reason, and the latest version is known."""
        return not self.about()[2] and not self.amended_meanwhile

    def checkpoint(self) -> Checkpoint:
        """Return a reference to the checkpoint, in the version that the typed values are for.

        It has no metrics: commands look at its id and its version only.
        """
        row = self.row
        period = TimePeriod(start=row["period_start"], end=row["period_end"])
        return Checkpoint(
            id=CheckpointId(row["checkpoint_id"]), study_id=StudyId(row["study_id"]), timestamp=row["timestamp"],
            metrics=LongitudinalMetrics(period=period), events_analyzed=row["events_analyzed"],
            sessions_included=list(row["sessions_included"]), recorded_at=row["recorded_at"],
            revision=row["revision"] if self.base is None else self.base,
        )  # fmt: skip


class CheckpointChoice:
    """The recorded checkpoints of one study, and a form for each one that was edited."""

    def __init__(self) -> None:
        self.search = ""
        """Part of the period of the checkpoints to list."""
        self.forms: dict[str, CorrectionForm] = {}
        self._selected: str | None = None
        self._load: Callable[[], pl.DataFrame] | None = None
        self._checkpoints: pl.DataFrame | None = None
        self._definitions: Mapping[str, Metric] = {}
        self._labels: dict[str, str] | None = None
        self._rows: dict[str, int] = {}
        self._starts: dict[str, str] = {}

    def follow(self, load: Callable[[], pl.DataFrame], definitions: Mapping[str, Metric]) -> None:
        """Use newer rows of the checkpoints frame, which `load` returns on first use."""
        self._load, self._definitions, self._labels = load, definitions, None
        if self.forms:
            self._read()

    def _read(self) -> None:
        """Read the checkpoints, newest period first; equal labels get the end of the id."""
        if self._labels is not None or self._load is None:
            return
        self._checkpoints = self._load()
        columns = self._checkpoints.select("checkpoint_id", "period_start", "period_end", "revision")
        rows = columns.with_row_index("row").sort("period_start", "period_end", "row", descending=True).rows()
        self._rows = {checkpoint_id: row for row, checkpoint_id, *_ in rows}
        self._starts = {checkpoint_id: exact_moment(start) for _, checkpoint_id, start, *_ in rows}
        periods = {checkpoint_id: period_text(start, end) for _, checkpoint_id, start, end, _ in rows}
        once = {text for text, count in Counter(periods.values()).items() if count == 1}
        revisions = {checkpoint_id: f", revision {revision}" if revision else "" for _, checkpoint_id, _, _, revision in rows}
        self._labels = {
            checkpoint_id: text + ("" if text in once else f" (id …{checkpoint_id[-8:]})") + revisions[checkpoint_id]
            for checkpoint_id, text in periods.items()
        }
        for checkpoint_id, form in self.forms.items():
            if checkpoint_id in self._rows:
                form.follow(self._row(checkpoint_id), self._definitions)

    def _row(self, checkpoint_id: str) -> dict[str, Any]:
        assert self._checkpoints is not None
        return self._checkpoints.row(self._rows[checkpoint_id], named=True)

    def find(self, text: str) -> None:
        """Search for checkpoints, and select the newest match.

        The selection stays if something was typed for the selected checkpoint.
        """
        self.search = text
        matching = self.matching()
        if matching and self.selected not in matching and (self.form is None or not self.form.touched):
            self.select(matching[0])

    def matching(self) -> list[str]:
        """Return the ids of checkpoints with the search text in the start of their period.

        The newest is first.
        """
        self._read()
        query = self.search.strip().lower()
        return [checkpoint_id for checkpoint_id, start in self._starts.items() if query in start]

    def options(self) -> list[tuple[str, str]]:
        """Return labels and ids of the newest matching checkpoints, and of the selected one."""
        listed = self.matching()[:LISTED]
        labels = self._labels or {}
        options = [(labels[checkpoint_id], checkpoint_id) for checkpoint_id in listed]
        if self.selected is not None and self.selected not in listed:
            row = self.forms[self.selected].row
            missing = f"{period_text(row['period_start'], row['period_end'])} (retracted)"
            options.insert(0, (labels.get(self.selected, missing), self.selected))
        return options

    @property
    def selected(self) -> str | None:
        """Id of the selected checkpoint, at first the newest; None without checkpoints.

        A newer checkpoint does not change the selection.
        """
        self._read()
        if self._selected is None and self._labels:
            self.select(next(iter(self._labels)))
        return self._selected

    def select(self, checkpoint_id: str) -> None:
        """Show a checkpoint; drop the form of the previous one if nothing was typed in it."""
        self._read()
        if checkpoint_id not in self._rows and checkpoint_id not in self.forms:
            return
        self.withdraw()
        if self._selected is not None and self._selected != checkpoint_id and not self.forms[self._selected].touched:
            del self.forms[self._selected]
        self._selected = checkpoint_id
        if checkpoint_id not in self.forms:
            self.forms[checkpoint_id] = CorrectionForm(self._row(checkpoint_id), self._definitions)

    def withdraw(self) -> None:
        """Withdraw the request to retract the selected checkpoint."""
        if self._selected is not None:
            self.forms[self._selected].withdraw_retraction()

    @property
    def form(self) -> CorrectionForm | None:
        """The form of the selected checkpoint."""
        return None if self.selected is None else self.forms[self.selected]

    @property
    def retracted(self) -> bool:
        """Whether the selected checkpoint was retracted after it was selected."""
        return self.selected is not None and self.selected not in self._rows

    def discard(self, checkpoint_id: str) -> None:
        """Clear the form of a corrected checkpoint; select another one if it is retracted."""
        self.forms.pop(checkpoint_id, None)
        if self._selected == checkpoint_id:
            self._selected = None
            if checkpoint_id in self._rows:
                self.select(checkpoint_id)
