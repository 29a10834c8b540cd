"""The panel without its widgets: what is shown, what may be done now, what was said. It has no clock: who calls says what time it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from evalkit._util.text import duration, exact_moment, plural
from evalkit.domain.metrics import METRICS
from evalkit.domain.study import StudyStatus, commands_allowed
from evalkit.panel.forms import CheckpointForm, StudyForm, proposed_period

if TYPE_CHECKING:
    import polars as pl

    from evalkit.panel.reading import Reading

__all__ = ["ALL", "Message", "PanelModel", "shortened"]

ALL = "all"
"""The status filter that hides nothing."""
_FIRST_METRIC = "session_success_rate"
_FRESH = timedelta(seconds=4)
_LABEL_START, _LABEL_END = 20, 9


@dataclass(frozen=True)
class Message:
    """What the status line says."""

    text: str
    kind: Literal["info", "done", "problem"]
    at: datetime


class PanelModel:
    """What a panel shows and lets one do.

    Parameters
    ----------
    now
        The time, in UTC.
    selected
        The id of the study to show first; by default the newest.
    source
        What the studies come from, in words: ``"server"``, or ``"kit"`` where there is none.
    """

    def __init__(self, now: datetime, selected: str | None = None, source: str = "server") -> None:
        self.source = source
        self.reading: Reading | None = None
        self.read_at: datetime | None = None
        """When `reading` was last known to be what the kit holds."""
        self.status_filter = ALL
        self.text_filter = ""
        self.selected = selected
        self.metric = _FIRST_METRIC
        self._metric_chosen = False
        self.busy: str | None = None
        """What is being done; None when nothing is."""
        self.confirming: str | None = None
        """The id of the study whose stop waits to be confirmed."""
        self.message = Message("Reading ...", "info", now)
        self.waiting_seconds = 0
        """For how many seconds the server has not answered; 0 when it does."""
        self.lost: str | None = None
        """Why nothing can be read now; None when it can."""
        self.study_form = StudyForm()
        self._drafts: dict[str, CheckpointForm] = {}
        self._studies: dict[str, dict[str, Any]] = {}
        self._periods: dict[str, int] = {}

    # --- what comes from the kit ---------------------------------------------------------------------------------------------------

    def take(self, reading: Reading, now: datetime) -> bool:
        """Show what was read. Returns whether anything but its age is new."""
        first, was_gone = self.reading is None, self.lost is not None or self.waiting_seconds
        fell_behind = reading.behind is not None and (self.reading is None or self.reading.behind is None)
        caught_up = reading.behind is None and self.reading is not None and self.reading.behind is not None
        if self.reading is None or self.reading.studies is not reading.studies:
            self._look_at(reading)
        self.read_at, self.lost, self.waiting_seconds = now, None, 0
        was_shown, self.reading = self.reading, reading
        if self.busy is not None:
            return True  # what becomes of the command is more important than what follows
        if fell_behind:
            self.say(f"{reading.behind} Shown is the read model as it stands, which may be behind.", "problem", now)
        elif caught_up or (was_gone and not first):
            self.say(f"The {self.source} answers again.", "done", now)
        elif first or was_gone:
            self.say(self._welcome(reading), "info", now)
        return bool(reading is not was_shown or was_gone)

    @staticmethod
    def _welcome(reading: Reading) -> str:
        count = plural(len(reading.studies), "study", "studies")
        if reading.not_writable is not None:
            return f"{count}. {reading.not_writable}: this panel only shows."
        if len(reading.studies):
            return f"{count}."
        return " ".join(["No studies yet: create one below.", *reading.notes])

    def _look_at(self, reading: Reading) -> None:
        import polars as pl

        self._studies = {row["study_id"]: row for row in reading.studies.to_dicts()}
        counted = reading.checkpoints.group_by("study_id").agg(pl.struct("period_start", "period_end").n_unique().alias("periods"))
        self._periods = dict(counted.iter_rows())
        if self.selected not in self._studies:
            self.selected = next(iter(self._studies), None)
        if not self._metric_chosen and not reading.checkpoints.is_empty():
            measured = [name for name in (_FIRST_METRIC, *METRICS) if reading.checkpoints[name].count()]
            self.metric = measured[0] if measured else self.metric
        if self.confirming is not None and (self.confirming != self.selected or "stop" not in self.legal()):
            self.confirming = None
        for study_id, form in self._drafts.items():
            if study_id in self._studies:
                form.propose(*proposed_period(self._studies[study_id]))

    def fail(self, problem: str, now: datetime) -> None:
        """Take note that the kit could not be read."""
        if self.lost != problem and self.busy is None:
            self.say(f"{problem} Trying again every second.", "problem", now)
        self.lost, self.waiting_seconds = problem, 0

    def wait(self, seconds: float, now: datetime) -> None:
        """Take note that the kit has not answered for some seconds."""
        if not self.waiting_seconds and self.lost is None and self.busy is None:
            reason = "slow to answer, or lost" if self.source == "server" else "busy with something else"
            self.say(f"The {self.source} is {reason}; still waiting for it.", "problem", now)
        self.waiting_seconds = int(seconds)

    # --- what a user does ----------------------------------------------------------------------------------------------------------

    def select(self, study_id: str | None) -> None:
        """Show a study."""
        if study_id is not None and study_id != self.selected:
            self.selected, self.confirming = study_id, None

    def select_next(self) -> None:
        """Show the study that the list has after the present one, or its first."""
        listed = [study_id for study_id, _ in self.listed()]
        if listed:
            self.select(listed[(listed.index(self.selected) + 1) % len(listed)] if self.selected in listed else listed[0])

    def show_new(self, study_id: str) -> None:
        """Show a study that was just created, whatever the filters say."""
        self.select(study_id)
        if study_id not in dict(self.listed()):
            self.status_filter, self.text_filter = ALL, ""

    def choose_metric(self, name: str) -> None:
        """Draw another metric."""
        if name in METRICS:
            self.metric, self._metric_chosen = name, True

    def ask_stop(self) -> None:
        """Ask whether the study is to be stopped for good."""
        if "stop" in self.allowed():
            self.confirming = self.selected

    def keep(self) -> None:
        """Do not stop the study after all."""
        self.confirming = None

    def begin(self, doing: str, now: datetime) -> None:
        """Take note that a command is carried out from now on."""
        self.busy, self.confirming = doing, None
        self.say(doing, "info", now)

    def end(self) -> None:
        """Take note that the command is over, and what it changed was read."""
        self.busy = None

    def say(self, text: str, kind: Literal["info", "done", "problem"], now: datetime) -> None:
        """Put something into the status line."""
        self.message = Message(text, kind, now)

    # --- what is shown -------------------------------------------------------------------------------------------------------------

    @property
    def study(self) -> dict[str, Any] | None:
        """The selected study, as a row of the studies frame."""
        return self._studies.get(self.selected or "")

    @property
    def studies(self) -> list[dict[str, Any]]:
        """All studies, newest first, as rows of the studies frame."""
        return list(self._studies.values())

    def listed(self) -> list[tuple[str, str]]:
        """Return the studies that the filters let through, newest first: the id, and what the list says."""
        asked = self.text_filter.strip().lower()
        return [
            (study_id, f"{shortened(row['name'])} · {row['status']}")
            for study_id, row in self._studies.items()
            if self.status_filter in (ALL, row["status"]) and asked in _searched(row)
        ]

    def progress(self, row: dict[str, Any]) -> str:
        """Return how many periods of a study have a checkpoint, and of how many: ``"3 of 8 periods"``."""
        done, planned = self._periods.get(row["study_id"], 0), row["period_value"]
        return plural(done, "period") if planned is None else f"{done:,} of {plural(planned, 'period')}"

    def details(self) -> list[tuple[str, str]]:
        """Return what is known of the selected study: a name and a text each."""
        row, found = self.study, self.checkpoints()
        if row is None or found is None:
            return []
        last = "none"
        if not found.is_empty():
            latest, repeated = found.row(-1, named=True), row["checkpoints"] - self._periods.get(row["study_id"], 0)
            more = f"; {repeated} more for a period that had one" if repeated else ""
            last = f"[{exact_moment(latest['period_start'])}, {exact_moment(latest['period_end'])}) UTC{more}"
        times = [(word, row[f"{word.lower()}_at"]) for word in ("Created", "Started", "Stopped")]
        known = [
            ("Name", row["name"]),
            ("Status", row["status"]),
            ("Progress", f"{self.progress(row)}, {row['period_type']}"),
            ("Last checkpoint", last),
            *((word, f"{exact_moment(at.replace(microsecond=0))} UTC") for word, at in times if at is not None),
            ("Description", row["description"] or ""),
            ("Tags", ", ".join(row["tags"])),
            ("Metadata", "\n".join(f"{pair['key']} = {pair['value']}" for pair in row["metadata"])),
            ("Id", row["study_id"]),
        ]
        return [(name, text) for name, text in known if text]

    def checkpoints(self) -> pl.DataFrame | None:
        """Return the selected study's checkpoints."""
        return self._of_study(None if self.reading is None else self.reading.checkpoints)

    def lifecycle(self) -> pl.DataFrame | None:
        """Return what happened to the selected study."""
        return self._of_study(None if self.reading is None else self.reading.lifecycle)

    def _of_study(self, frame: pl.DataFrame | None) -> pl.DataFrame | None:
        import polars as pl

        return None if frame is None or self.study is None else frame.filter(pl.col("study_id") == self.selected)

    def age(self, now: datetime) -> str:
        """Return how old what is shown is, and whether the kit answers. No other text changes only because time goes by."""
        behind = self.reading is not None and self.reading.behind is not None
        lost, waited = self.lost is not None, timedelta(seconds=self.waiting_seconds)
        if self.read_at is None:
            shown = "Nothing was read yet."
        elif now - self.read_at <= _FRESH and not lost and not waited:
            shown = "The log is out of reach." if behind else "Up to date."
        else:
            old = timedelta(seconds=int((now - self.read_at).total_seconds()))
            shown = f"Shown is the state of {self.read_at:%H:%M:%S} UTC, {duration(old)} ago."
        if waited:
            return f"The {self.source} has not answered for {duration(waited)}. {shown}"
        return f"Nothing can be read now; trying again. {shown}" if lost else shown

    def summary(self) -> str:
        """Return in one line what the panel shows, without ids and clocks."""
        if self.reading is None:
            return "Panel(nothing read yet)"
        row = self.study
        shown = "" if row is None else f", showing {row['name']!r}: {row['status']}, {self.progress(row)}"
        return f"Panel({plural(len(self._studies), 'study', 'studies')}{shown})"

    # --- what may be done now ------------------------------------------------------------------------------------------------------

    def legal(self) -> list[str]:
        """Return the commands that the selected study's status allows: any of start, pause, resume, stop."""
        return [] if self.study is None else commands_allowed(StudyStatus(self.study["status"]))

    @property
    def can_write(self) -> bool:
        """Whether a command can be given now: none is under way, and the kit may append."""
        return self.busy is None and self.reading is not None and self.reading.not_writable is None

    def allowed(self) -> list[str]:
        """Return the lifecycle commands that can be given now."""
        return self.legal() if self.can_write else []

    @property
    def can_create(self) -> bool:
        """Whether the form for a study can be sent."""
        return self.can_write and self.study_form.touched and not self.study_form.problems()

    @property
    def can_record(self) -> bool:
        """Whether the form for a checkpoint can be sent."""
        form = self.checkpoint_form
        return self.can_write and self.why_not_recordable is None and form is not None and form.complete

    @property
    def why_not_recordable(self) -> str | None:
        """Why the selected study takes no checkpoint; None when it does."""
        if self.study is None:
            return "Choose a study, or create one."
        if self.study["started_at"] is None:
            stopped = self.study["status"] == StudyStatus.STOPPED
            return "The study was never started." + ("" if stopped else " Start it first.")
        return None

    @property
    def checkpoint_form(self) -> CheckpointForm | None:
        """What was typed for the selected study; each study keeps its own."""
        if self.study is None or self.selected is None:
            return None
        if self.selected not in self._drafts:
            self._drafts[self.selected] = CheckpointForm(*proposed_period(self.study))
        return self._drafts[self.selected]

    def recorded(self, study_id: str) -> None:
        """Empty the form of a study, since its checkpoint was recorded."""
        self._drafts.pop(study_id, None)

    def period_is_taken(self) -> bool:
        """Whether the selected study has a checkpoint for the period that is in the form."""
        form, found = self.checkpoint_form, self.checkpoints()
        period = form.period if form is not None and form.touched else None
        if period is None or found is None:
            return False
        return ((found["period_start"] == period[0]) & (found["period_end"] == period[1])).any()


def _searched(row: dict[str, Any]) -> str:
    """Return what a search looks at, in lower case: name, id, description, tags and metadata."""
    pairs = (f"{pair['key']}={pair['value']}" for pair in row["metadata"])
    return "\n".join((row["name"], row["study_id"], row["description"] or "", *row["tags"], *pairs)).lower()


def shortened(name: str) -> str:
    """Return a name as a list shows it: what distinguishes long ones is often at their end."""
    return name if len(name) <= _LABEL_START + _LABEL_END + 1 else f"{name[:_LABEL_START]}…{name[-_LABEL_END:]}"
