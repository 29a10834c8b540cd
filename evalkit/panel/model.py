"""The state of a panel without widgets: content, available commands, last message.

The current time is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from evalkit._util.text import duration, exact_moment, plural
from evalkit.domain.catalog import METRICS
from evalkit.domain.study import COMMANDS, TRANSITIONS, StudyStatus, commands_allowed
from evalkit.frames.metric_text import number
from evalkit.panel.forms import CheckpointForm, StudyForm, cadence_of, proposed_period

if TYPE_CHECKING:
    import polars as pl

    from evalkit.panel.reading import Reading

__all__ = ["ALL", "PAGE_SIZE", "ListEntry", "Message", "PanelModel", "period_text", "shortened"]

ALL = "all"
"""The status filter that matches every study."""
PAGE_SIZE = 8
"""The number of studies on a page of the list."""
_FIRST_METRIC = "session_success_rate"
_FRESH = timedelta(seconds=4)
_NAME_START, _NAME_END = 24, 9
_PARTICIPLES = {"start": "started", "pause": "paused", "resume": "resumed", "stop": "stopped"}


@dataclass(frozen=True)
class Message:
    """The content of the status line."""

    text: str
    kind: Literal["info", "done", "problem"]
    at: datetime
    form: str = ""
    """The submitted form that the message is about, ``"study"`` or ``"checkpoint"``; empty for other messages."""


@dataclass(frozen=True)
class ListEntry:
    """One study in the list."""

    study_id: str
    name: str
    status: str
    progress: str
    """Recorded and planned periods, e.g. ``"3/8"``; only the recorded ones if no number is planned."""
    fraction: float | None
    """Recorded / planned periods, at most 1; None if no number is planned."""
    value: str
    """Last value of the shown metric; empty if it was never measured."""
    summary: str
    """All of these fields as text, for screen readers."""
    selected: bool


class PanelModel:
    """The state of a panel, changed by user actions and by readings of the kit.

    Parameters
    ----------
    now
        Current time, in UTC.
    selected
        Id of the study to show first; by default the newest.
    source
        The name of the data source in messages: ``"server"``, or ``"kit"`` without a server.
    excluded
        The ids of checkpoints that are not shown.
    """

    def __init__(self, now: datetime, selected: str | None = None, source: str = "server", excluded: frozenset[str] = frozenset()) -> None:
        self.source = source
        self.excluded = excluded
        self.reading: Reading | None = None
        self.read_at: datetime | None = None
        """The time at which `reading` was last known to be current."""
        self.status_filter = ALL
        self.text_filter = ""
        self.selected = selected
        self.metric = _FIRST_METRIC
        self._metric_chosen = False
        self._page = 0
        self.busy: str | None = None
        """Description of the running command; None if no command is running."""
        self.confirming: str | None = None
        """Id of the study whose stop awaits confirmation."""
        self.message = Message("Loading studies…", "info", now)
        self.waiting_seconds = 0
        """The time since the server stopped responding, in seconds; 0 if it responds."""
        self.read_error: str | None = None
        """The reason why the kit cannot be read; None if it can be read."""
        self.study_form = StudyForm()
        self._drafts: dict[str, CheckpointForm] = {}
        self._studies: dict[str, dict[str, Any]] = {}
        self._shown: pl.DataFrame | None = None
        """The checkpoints that are not excluded."""
        self._periods: dict[str, int] = {}
        self._last_values: dict[str, Any] = {}

    # --- readings of the kit ------------------------------------------------------------------------------------------------------

    def apply(self, reading: Reading, now: datetime) -> bool:
        """Show a reading of the kit. Return whether anything except its age changed."""
        first, was_unreachable = self.reading is None, self.read_error is not None or self.waiting_seconds > 0
        was_behind = self.reading is not None and self.reading.behind is not None
        changed = reading is not self.reading or was_unreachable
        if self.reading is None or self.reading.studies is not reading.studies:
            self._apply_frames(reading)
        self.read_at, self.read_error, self.waiting_seconds = now, None, 0
        self.reading = reading
        if self.busy is not None:
            return True  # a message about the connection would replace that of the running command
        if reading.behind is not None and not was_behind:
            self.notify(f"{reading.behind} Showing the read model, which may be out of date.", "problem", now)
        elif (reading.behind is None and was_behind) or (was_unreachable and not first):
            self.notify(f"The {self.source} is responding again.", "done", now)
        elif first:
            self.notify(self._welcome(reading), "info", now)
        return changed

    @staticmethod
    def _welcome(reading: Reading) -> str:
        count = plural(len(reading.studies), "study", "studies")
        if reading.not_writable is not None:
            return f"{count}. The panel is read-only: {reading.not_writable}."
        if len(reading.studies):
            return f"{count} loaded."
        return " ".join(["No studies yet. Create the first one below.", *reading.notes])

    def _apply_frames(self, reading: Reading) -> None:
        import polars as pl

        selected_visible = any(row["study_id"] == self.selected for row in self.page_rows())
        self._studies = {row["study_id"]: row for row in reading.studies.to_dicts()}
        self._shown = shown = reading.checkpoints.filter(~pl.col("checkpoint_id").is_in(list(self.excluded)))
        period_counts = shown.group_by("study_id").agg(pl.struct("period_start", "period_end").n_unique().alias("periods"))
        self._periods = dict(period_counts.iter_rows())
        if self.selected not in self._studies:
            self.selected = next(iter(self._studies), None)
            selected_visible = True
        if selected_visible:
            self._turn_to_selected()
        if not self._metric_chosen and not shown.is_empty():
            measured = [name for name in (_FIRST_METRIC, *METRICS) if shown[name].count()]
            self.metric = measured[0] if measured else self.metric
        self._collect_last_values(shown)
        if self.confirming is not None and (self.confirming != self.selected or "stop" not in self.legal_commands()):
            self.confirming = None
        for study_id, form in self._drafts.items():
            if study_id in self._studies:
                form.cadence = cadence_of(self._studies[study_id])
                form.propose(*proposed_period(self._studies[study_id]))

    def _collect_last_values(self, shown: pl.DataFrame) -> None:
        import polars as pl

        measured = shown.filter(pl.col(self.metric).is_not_null())
        self._last_values = dict(measured.group_by("study_id", maintain_order=True).agg(pl.col(self.metric).last()).iter_rows())

    def read_failed(self, problem: str, now: datetime) -> None:
        """Report that the kit cannot be read."""
        if self.read_error != problem and self.busy is None:
            self.notify(f"{problem} Retrying every second.", "problem", now)
        self.read_error, self.waiting_seconds = problem, 0

    def read_overdue(self, seconds: float, now: datetime) -> None:
        """Report that the kit has not responded for some seconds."""
        if not self.waiting_seconds and self.read_error is None and self.busy is None:
            problem = "The server is not responding; retrying…" if self.source == "server" else "The kit is busy; waiting…"
            self.notify(problem, "problem", now)
        self.waiting_seconds = int(seconds)

    # --- user actions -------------------------------------------------------------------------------------------------------------

    def select(self, study_id: str | None) -> None:
        """Show a study."""
        if study_id is not None and study_id != self.selected:
            self.selected, self.confirming = study_id, None

    def select_next(self) -> None:
        """Show the next study in the list, or the first after the last."""
        listed = [row["study_id"] for row in self.listed()]
        if listed:
            self.select(listed[(listed.index(self.selected) + 1) % len(listed)] if self.selected in listed else listed[0])
            self._turn_to_selected()

    def show_new(self, study_id: str) -> None:
        """Show a study that was just created; clear the filters if they hide it."""
        self.select(study_id)
        if not any(row["study_id"] == study_id for row in self.listed()):
            self.status_filter, self.text_filter = ALL, ""
        self._turn_to_selected()

    def filter_by(self, *, status: str | None = None, text: str | None = None) -> None:
        """List only matching studies, and turn to the page of the selected one."""
        self.status_filter = self.status_filter if status is None else status
        self.text_filter = self.text_filter if text is None else text
        self._page = 0
        self._turn_to_selected()

    def turn_page(self, step: int) -> None:
        """Show a later (positive step) or earlier page of the list."""
        self._page = min(max(self.page + step, 0), self.page_count - 1)

    def choose_metric(self, name: str) -> None:
        """Show another metric in the chart and in the list."""
        if name in METRICS:
            self.metric, self._metric_chosen = name, True
            if self._shown is not None:
                self._collect_last_values(self._shown)

    def request_stop(self) -> None:
        """Ask for confirmation before the selected study is stopped."""
        if "stop" in self.available_commands():
            self.confirming = self.selected

    def cancel_stop(self) -> None:
        """Withdraw the request to stop the study."""
        self.confirming = None

    def begin_command(self, description: str, now: datetime, form: str = "") -> None:
        """Mark a command as running."""
        self.busy, self.confirming = description, None
        self.notify(description, "info", now, form)

    def end_command(self) -> None:
        """Mark the command as finished; its changes have been read."""
        self.busy = None

    def notify(self, text: str, kind: Literal["info", "done", "problem"], now: datetime, form: str = "") -> None:
        """Show a message in the status line, and next to the button of a form."""
        self.message = Message(text, kind, now, form)

    # --- content ------------------------------------------------------------------------------------------------------------------

    @property
    def study(self) -> dict[str, Any] | None:
        """The selected study, as a row of the studies frame."""
        return self._studies.get(self.selected or "")

    @property
    def studies(self) -> list[dict[str, Any]]:
        """All studies, newest first, as rows of the studies frame."""
        return list(self._studies.values())

    def listed(self) -> list[dict[str, Any]]:
        """Return the studies that match the filters, newest first, as rows of the studies frame."""
        query = self.text_filter.strip().lower()
        return [row for row in self._studies.values() if self.status_filter in (ALL, row["status"]) and query in _search_text(row)]

    @property
    def page_count(self) -> int:
        """Number of pages of the list, at least 1."""
        return max(1, -(-len(self.listed()) // PAGE_SIZE))

    @property
    def page(self) -> int:
        """The shown page of the list, counted from 0."""
        return min(self._page, self.page_count - 1)

    def page_rows(self) -> list[dict[str, Any]]:
        """Return the studies on the shown page of the list."""
        return self.listed()[self.page * PAGE_SIZE :][:PAGE_SIZE]

    def _turn_to_selected(self) -> None:
        listed = [row["study_id"] for row in self.listed()]
        if self.selected in listed:
            self._page = listed.index(self.selected) // PAGE_SIZE

    def entries(self) -> list[ListEntry]:
        """Return the shown page of the list."""
        return [self._entry(row) for row in self.page_rows()]

    def _entry(self, row: dict[str, Any]) -> ListEntry:
        study_id, planned = row["study_id"], row["period_value"]
        recorded, selected = self._periods.get(study_id, 0), study_id == self.selected
        value = self.last_value(row)
        parts = (row["name"], row["status"], self.progress(row), value and f"{METRICS[self.metric].label.lower()} {value}")
        return ListEntry(
            study_id=study_id,
            name=shortened(row["name"]),
            status=row["status"],
            progress=plural(recorded, "period") if planned is None else f"{recorded:,}/{planned:,}",
            fraction=self.fraction(row),
            value=value,
            summary=("Selected: " if selected else "") + ", ".join(filter(None, parts)),
            selected=selected,
        )

    def last_value(self, row: dict[str, Any]) -> str:
        """Return the last measured value of the shown metric in a study; empty without one."""
        value = self._last_values.get(row["study_id"])
        if value is None:
            return ""
        return number(METRICS[self.metric], value.total_seconds() if isinstance(value, timedelta) else value)

    def list_summary(self) -> str:
        """Return the range of listed studies on the shown page, e.g. ``"9 to 16 of 50"``."""
        listed = len(self.listed())
        if not listed:
            return "No studies match." if self._studies else "No studies"
        if self.page_count == 1:
            total = "" if listed == len(self._studies) else f" of {len(self._studies):,}"
            return f"{listed:,}{total} studies" if total else plural(listed, "study", "studies")
        first = self.page * PAGE_SIZE + 1
        return f"{first:,} to {min(first + PAGE_SIZE - 1, listed):,} of {listed:,}"

    def progress(self, row: dict[str, Any]) -> str:
        """Return the recorded and planned periods of a study, e.g. ``"3 of 8 periods"``."""
        recorded, planned = self._periods.get(row["study_id"], 0), row["period_value"]
        return plural(recorded, "period") if planned is None else f"{recorded:,} of {plural(planned, 'period')}"

    def fraction(self, row: dict[str, Any]) -> float | None:
        """Return recorded / planned periods, at most 1; None if no number is planned."""
        planned = row["period_value"]
        return None if planned is None else min(1.0, self._periods.get(row["study_id"], 0) / planned)

    def facts(self) -> list[tuple[str, str]]:
        """Return labels and texts: progress, last checkpoint and times of the selected study."""
        row, checkpoints = self.study, self.checkpoints()
        if row is None or checkpoints is None:
            return []
        last = "none"
        if not checkpoints.is_empty():
            latest, extra = checkpoints.row(-1, named=True), checkpoints.height - self._periods.get(row["study_id"], 0)
            duplicates = f" (+{plural(extra, 'duplicate')})" if extra else ""
            last = period_text(latest["period_start"], latest["period_end"]) + duplicates
        excluded = row["checkpoints"] - checkpoints.height
        times = [(word, row[f"{word.lower()}_at"]) for word in ("Created", "Started", "Stopped")]
        return [
            ("Progress", f"{self.progress(row)}, {row['period_type']}"),
            ("Last checkpoint", last),
            *([("Excluded", plural(excluded, "checkpoint"))] if excluded else ()),
            *((word, f"{exact_moment(at.replace(microsecond=0))} UTC") for word, at in times if at is not None),
        ]

    def checkpoints(self) -> pl.DataFrame | None:
        """Return the shown checkpoints of the selected study, as ``kit.checkpoints()`` does."""
        return self._of_study(self._shown)

    def lifecycle(self) -> pl.DataFrame | None:
        """Return the lifecycle of the selected study, in the schema of ``kit.lifecycle()``."""
        return self._of_study(None if self.reading is None else self.reading.lifecycle)

    def study_frame(self) -> pl.DataFrame | None:
        """Return the name and metadata of the selected study, as in ``kit.studies()``."""
        return self._of_study(None if self.reading is None else self.reading.studies.select("study_id", "name", "metadata"))

    def _of_study(self, frame: pl.DataFrame | None) -> pl.DataFrame | None:
        import polars as pl

        return None if frame is None or self.study is None else frame.filter(pl.col("study_id") == self.selected)

    def age(self, now: datetime) -> str:
        """Return the age of the last reading as a text.

        This is the only text of the panel that changes with time alone.
        """
        unavailable, waited = self.read_error is not None, timedelta(seconds=self.waiting_seconds)
        if self.read_at is None:
            updated = "Not loaded yet."
        elif now - self.read_at <= _FRESH and not unavailable and not waited:
            updated = "The log is unreachable." if self.reading is not None and self.reading.behind is not None else "Up to date."
        else:
            updated = f"Last updated {_short_duration(now - self.read_at)} ago ({self.read_at:%H:%M:%S} UTC)."
        if waited:
            return f"The {self.source} has not responded for {_short_duration(waited)}. {updated}"
        return f"Cannot read the {self.source}; retrying. {updated}" if unavailable else updated

    def summary(self) -> str:
        """Return one line about the content of the panel, without ids and times."""
        if self.reading is None:
            return "Panel(not loaded)"
        row = self.study
        selected = "" if row is None else f", showing {row['name']!r}: {row['status']}, {self.progress(row)}"
        return f"Panel({plural(len(self._studies), 'study', 'studies')}{selected})"

    # --- available commands -------------------------------------------------------------------------------------------------------

    def legal_commands(self) -> list[str]:
        """Return the lifecycle commands that the status of the selected study allows.

        These are any of start, pause, resume and stop.
        """
        return [] if self.study is None else commands_allowed(StudyStatus(self.study["status"]))

    @property
    def can_write(self) -> bool:
        """Whether commands are available: no other command is running, and the kit is writable."""
        return self.busy is None and self.reading is not None and self.reading.not_writable is None

    def available_commands(self) -> list[str]:
        """Return the lifecycle commands that are available now."""
        return self.legal_commands() if self.can_write else []

    def unavailable(self) -> dict[str, str]:
        """Return the reason for each lifecycle command that is unavailable now, by command."""
        available = self.available_commands()
        return {command: self._why_unavailable(command) for command in COMMANDS if command not in available}

    def _why_unavailable(self, command: str) -> str:
        if self.study is None:
            return "Select a study first."
        status = self.study["status"]
        if status == StudyStatus.STOPPED:
            return "The study is stopped and cannot be resumed."
        if command not in self.legal_commands():
            required = " or ".join(sorted(TRANSITIONS[COMMANDS[command]][0]))
            return f"Only a {required} study can be {_PARTICIPLES[command]}; this one is {status}."
        if self.reading is not None and self.reading.not_writable is not None:
            return f"The panel is read-only: {self.reading.not_writable}."
        return "Wait until the running command has finished."

    @property
    def can_create(self) -> bool:
        """Whether the form for a study can be submitted."""
        return self.can_write and self.study_form.touched and not self.study_form.problems()

    @property
    def can_record(self) -> bool:
        """Whether the form for a checkpoint can be submitted."""
        form = self.checkpoint_form
        return self.can_write and self.why_not_recordable is None and form is not None and form.complete

    @property
    def why_not_recordable(self) -> str | None:
        """The reason why the selected study accepts no checkpoint; None if it accepts one."""
        if self.study is None:
            return "Select or create a study first."
        if self.study["started_at"] is None:
            stopped = self.study["status"] == StudyStatus.STOPPED
            return "The study was stopped before it was started." if stopped else "The study is pending. Start it to record checkpoints."
        return None

    @property
    def checkpoint_form(self) -> CheckpointForm | None:
        """The checkpoint form of the selected study; each study has a separate form."""
        if self.study is None or self.selected is None:
            return None
        if self.selected not in self._drafts:
            self._drafts[self.selected] = CheckpointForm(*proposed_period(self.study), cadence_of(self.study))
        return self._drafts[self.selected]

    def discard_draft(self, study_id: str) -> None:
        """Clear the form of a study after its checkpoint was recorded."""
        self._drafts.pop(study_id, None)

    def period_is_recorded(self) -> bool:
        """Whether the selected study already has a checkpoint for the period in the form."""
        form, checkpoints = self.checkpoint_form, self._of_study(None if self.reading is None else self.reading.checkpoints)
        period = form.period if form is not None and form.touched else None
        if period is None or checkpoints is None:
            return False
        return ((checkpoints["period_start"] == period[0]) & (checkpoints["period_end"] == period[1])).any()


def _search_text(row: dict[str, Any]) -> str:
    """Return a study's searchable text in lower case: name, id, description, tags, metadata."""
    pairs = (f"{pair['key']}={pair['value']}" for pair in row["metadata"])
    return "\n".join((row["name"], row["study_id"], row["description"] or "", *row["tags"], *pairs)).lower()


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


def _short_duration(length: timedelta) -> str:
    seconds = int(length.total_seconds())
    return f"{seconds} s" if seconds < 60 else duration(timedelta(seconds=seconds))


def shortened(name: str) -> str:
    """Return a name, without its middle if it is long; long names often differ at the end.

    Examples
    --------
    >>> shortened("nightly helper with the new prompt, run 17")
    'nightly helper with the …t, run 17'
    """
    return name if len(name) <= _NAME_START + _NAME_END + 1 else f"{name[:_NAME_START]}…{name[-_NAME_END:]}"
