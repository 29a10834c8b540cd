"""The state of a panel without widgets: content, available commands, last message.

The current time is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from evalkit._util.text import duration, exact_moment, plural
from evalkit.domain.catalog import METRICS
from evalkit.domain.definitions import Metric
from evalkit.domain.study import COMMANDS, SOURCE, TRANSITIONS, StudyStatus, commands_allowed
from evalkit.panel.as_of import LATEST, OTHER, EarlierState
from evalkit.panel.content import Content, StudyFrames
from evalkit.panel.correction_form import period_text
from evalkit.panel.drafts import Drafts
from evalkit.panel.study_forms import StudyForm

if TYPE_CHECKING:
    from evalkit.frames.all_frames import AllFrames
    from evalkit.panel.reading import Reading

__all__ = ["ALL", "ARCHIVED", "PAGE_SIZE", "ListEntry", "Message", "PanelModel", "shortened"]

ALL, ARCHIVED = "all", "archived"
"""The status filters that match every study that is not archived, and every archived one."""
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
    """The submitted form that the message is about, e.g. ``"checkpoint"``; empty for other messages."""


@dataclass(frozen=True)
class ListEntry:
    """One study in the list."""

    study_id: str
    name: str
    status: str
    archived: bool
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
        The study id and id of each checkpoint that is not shown.
    """

    def __init__(
        self, now: datetime, selected: str | None = None, source: str = "server", excluded: frozenset[tuple[str, str]] = frozenset()
    ) -> None:
        self.source = source
        self.excluded = excluded
        self.reading: Reading | None = None
        self.read_at: datetime | None = None
        """The time at which `reading` was last known to be current."""
        self.status_filter = ALL
        self.text_filter = ""
        self.selected = selected
        self._chosen_metric: str | None = None
        self._first_metric = _FIRST_METRIC
        self._page = 0
        self.busy: str | None = None
        """Description of the last command that has not finished; None if all have."""
        self._unfinished = 0
        self.state_request = 0
        """The number of the newest request for a state; the results of earlier requests are not shown."""
        self.as_of_choice = LATEST
        """The state to show, by its name in `CHOICES`."""
        self.as_of_text = ""
        """The time or pin typed for another state."""
        self.confirming: str | None = None
        """Id of the study whose stop awaits confirmation."""
        self.message = Message("Loading studies…", "info", now)
        self.waiting_seconds = 0
        """The time since the server stopped responding, in seconds; 0 if it responds."""
        self.read_error: str | None = None
        """The reason why the kit cannot be read; None if it can be read."""
        self.study_form = StudyForm()
        self.earlier: EarlierState | None = None
        """The shown state of the log; None for the latest."""
        self._content: Content | None = None
        self._latest: Content | None = None
        """The content of the last reading, which forms follow."""
        self._selected_before: str | None = None
        """The selected study, if it did not exist in the earlier state that is shown."""
        self._drafts: dict[str, Drafts] = {}
        self._listed: tuple[tuple[Content, str, str] | None, list[dict[str, Any]]] = (None, [])

    # --- readings of the kit ------------------------------------------------------------------------------------------------------

    def apply(self, reading: Reading, now: datetime) -> bool:
        """Show a reading of the kit. Return whether anything except its age changed."""
        first, was_unreachable = self.reading is None, self.read_error is not None or self.waiting_seconds > 0
        was_behind = self.reading is not None and self.reading.behind is not None
        changed = reading is not self.reading or was_unreachable
        if self.reading is None or self.reading.frames is not reading.frames:
            self._latest = Content(reading.frames, self.excluded, previous=self._latest)
            self._drafts = {study_id: drafts for study_id, drafts in self._drafts.items() if study_id in self._latest.studies}
            for drafts in self._drafts.values():
                drafts.follow(self._latest)
            if self.earlier is None:
                self._show(self._latest)
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

    def _welcome(self, reading: Reading) -> str:
        count = plural(len(self.studies), "study", "studies")
        if reading.not_writable is not None:
            return f"{count}. The panel is read-only: {reading.not_writable}."
        if len(reading.frames.studies):
            return f"{count} loaded."
        return " ".join(["No studies yet. Create the first one below.", *reading.notes])

    def _show(self, content: Content) -> None:
        selected_visible = any(row["study_id"] == self.selected for row in self.page_rows())
        self._content = content
        if self.selected not in content.studies:
            self.selected = next((row["study_id"] for row in self.studies), None)
            selected_visible = True
        if selected_visible:
            self._turn_to_selected()
        self._first_metric = next(filter(content.is_measured, (_FIRST_METRIC, *self.metrics)), self._first_metric)
        if self.confirming is not None and (self.confirming != self.selected or "stop" not in self.legal_commands()):
            self.confirming = None

    def request_state(self, choice: str) -> int:
        """Choose a state by its name in `CHOICES`, and return the number of the request."""
        self.as_of_choice = choice
        self.state_request += 1
        return self.state_request

    def show_earlier(self, state: EarlierState, frames: AllFrames) -> None:
        """Show an earlier state of the log. Commands are unavailable until `show_latest`."""
        selected, self.earlier, self.as_of_choice, self.confirming = self.selected, state, state.choice, None
        self._show(Content(frames, self.excluded, state.value))
        if self.selected != selected and self._selected_before is None:
            self._selected_before = selected

    def show_latest(self, now: datetime) -> None:
        """Show the latest state of the log again, even if an earlier one is being read."""
        self.request_state(LATEST)
        if self.earlier is not None and self._latest is not None:
            self.earlier = None
            self.selected, self._selected_before = self._selected_before or self.selected, None
            self._show(self._latest)
        self.notify("Showing the latest state.", "done", now)

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
            if self.drafts is not None:
                self.drafts.correction.withdraw()
            self.selected, self.confirming, self._selected_before = study_id, None, None

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
        if name in self.metrics:
            self._chosen_metric = name

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
        self._unfinished += 1
        self.notify(description, "info", now, form)

    def end_command(self) -> None:
        """Mark a command as finished; its changes have been read. Others may still be running."""
        self._unfinished -= 1
        if self._unfinished:
            return
        self.busy = None
        if self.as_of_choice != OTHER:  # a typed time or pin that was refused can be corrected
            self.as_of_choice = LATEST if self.earlier is None else self.earlier.choice

    def notify(self, text: str, kind: Literal["info", "done", "problem"], now: datetime, form: str = "") -> None:
        """Show a message in the status line, and next to the button of a form."""
        self.message = Message(text, kind, now, form)

    # --- content ------------------------------------------------------------------------------------------------------------------

    @property
    def study(self) -> dict[str, Any] | None:
        """The selected study, as a row of the studies frame."""
        return None if self._content is None else self._content.studies.get(self.selected or "")

    @property
    def studies(self) -> list[dict[str, Any]]:
        """The studies that are not archived, newest first, as rows of the studies frame."""
        return [] if self._content is None else self._content.not_archived

    @property
    def has_studies(self) -> bool:
        """Whether there are studies, archived or not."""
        return self._content is not None and bool(self._content.studies)

    def listed(self) -> list[dict[str, Any]]:
        """Return the studies that match the filters, newest first, as rows of the studies frame."""
        if self._content is None:
            return []
        key = (self._content, self.status_filter, self.text_filter)
        if self._listed[0] != key:  # each display asks several times
            self._listed = key, self._filtered(self._content)
        return self._listed[1]

    def _filtered(self, content: Content) -> list[dict[str, Any]]:
        query = self.text_filter.strip().lower()
        if self.status_filter == ARCHIVED:
            rows = [row for row in content.studies.values() if row["archived"]]
        else:
            rows = [row for row in self.studies if self.status_filter in (ALL, row["status"])]
        return [row for row in rows if query in content.search_texts[row["study_id"]]] if query else rows

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics of the selected study by name: the 16, then custom ones as defined."""
        return METRICS if self._content is None else self._content.metrics_of(self.selected)

    @property
    def metric(self) -> str:
        """Name of the shown metric: the chosen one, if the selected study has it."""
        names = (self._chosen_metric, self._first_metric, _FIRST_METRIC)
        return next(name for name in names if name is not None and name in self.metrics)

    @property
    def metric_label(self) -> str:
        """The label of the shown metric."""
        return self.metrics[self.metric].label or self.metric

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
        content, planned, selected = self._shown, row["period_value"], row["study_id"] == self.selected
        value, recorded = self.last_value(row), content.recorded(row)
        status = f"{row['status']}, archived" if row["archived"] else row["status"]
        parts = (row["name"], status, content.progress(row), value and f"{self.metric_label.lower()} {value}")
        return ListEntry(
            study_id=row["study_id"],
            name=shortened(row["name"]),
            status=row["status"],
            archived=row["archived"],
            progress=plural(recorded, "period") if planned is None else f"{recorded:,}/{planned:,}",
            fraction=content.fraction(row),
            value=value,
            summary=("Selected: " if selected else "") + ", ".join(filter(None, parts)),
            selected=selected,
        )

    @property
    def _shown(self) -> Content:
        assert self._content is not None
        return self._content

    def last_value(self, row: dict[str, Any]) -> str:
        """Return the last measured value of the shown metric in a study; empty without one."""
        return self._shown.last_value(row, self.metric)

    def progress(self, row: dict[str, Any]) -> str:
        """Return the recorded and planned periods of a study, e.g. ``"3 of 8 periods"``."""
        return self._shown.progress(row)

    def fraction(self, row: dict[str, Any]) -> float | None:
        """Return recorded / planned periods, at most 1; None if no number is planned."""
        return self._shown.fraction(row)

    def list_summary(self) -> str:
        """Return the range of listed studies on the shown page, e.g. ``"9 to 16 of 50"``."""
        listed = len(self.listed())
        if not listed:
            return "No studies match." if self.has_studies else "No studies"
        if self.page_count == 1:
            total = "" if listed == len(self.studies) or self.status_filter == ARCHIVED else f" of {len(self.studies):,}"
            return f"{listed:,}{total} studies" if total else plural(listed, "study", "studies")
        first = self.page * PAGE_SIZE + 1
        return f"{first:,} to {min(first + PAGE_SIZE - 1, listed):,} of {listed:,}"

    def facts(self) -> list[tuple[str, str]]:
        """Return labels and texts: progress, last checkpoint and times of the selected study."""
        row, frames = self.study, self.study_frames()
        if row is None or frames is None:
            return []
        last, checkpoints = "none", frames.checkpoints
        if not checkpoints.is_empty():
            latest, extra = checkpoints.row(-1, named=True), checkpoints.height - self._shown.recorded(row)
            duplicates = f" (+{plural(extra, 'duplicate')})" if extra else ""
            last = period_text(latest["period_start"], latest["period_end"]) + duplicates
        excluded = row["checkpoints"] - checkpoints.height
        times = [(word, row[f"{word.lower()}_at"]) for word in ("Created", "Started", "Stopped")]
        return [
            ("Progress", f"{self.progress(row)}, {row['period_type']}"),
            ("Last checkpoint", last),
            *([("Excluded", plural(excluded, "checkpoint"))] if excluded else ()),
            *([("Notes", f"{frames.notes.height:,}")] if frames.notes.height else ()),
            *((word, f"{exact_moment(at.replace(microsecond=0))} UTC") for word, at in times if at is not None),
        ]

    def study_frames(self) -> StudyFrames | None:
        """Return the rows of the selected study."""
        return None if self.study is None or self.selected is None else self._shown.of_study(self.selected)

    def latest_frames(self) -> StudyFrames | None:
        """Return the rows of the selected study in the latest state, which forms are about."""
        return None if self.drafts is None or self._latest is None or self.selected is None else self._latest.of_study(self.selected)

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
        if self.earlier is not None and not unavailable:
            return "An earlier state; it is not updated."
        return f"Cannot read the {self.source}; retrying. {updated}" if unavailable else updated

    def summary(self) -> str:
        """Return one line about the content of the panel, without ids and times."""
        if self.reading is None:
            return "Panel(not loaded)"
        row = self.study
        selected = "" if row is None else f", showing {row['name']!r}: {row['status']}, {self.progress(row)}"
        state = "" if self.earlier is None else f", as of {self.earlier.text}"
        return f"Panel({plural(len(self.studies), 'study', 'studies')}{selected}{state})"

    # --- available commands -------------------------------------------------------------------------------------------------------

    def legal_commands(self) -> list[str]:
        """Return the lifecycle commands that the status of the selected study allows.

        These are any of start, pause, resume and stop.
        """
        return [] if self.study is None else commands_allowed(StudyStatus(self.study["status"]))

    @property
    def read_only(self) -> str | None:
        """The reason why nothing can be changed; None if commands are available."""
        if self.earlier is not None:
            return f"Read-only: showing the state as of {self.earlier.text}."
        if self.reading is not None and self.reading.not_writable is not None:
            return f"The panel is read-only: {self.reading.not_writable}."
        return None

    @property
    def can_write(self) -> bool:
        """Whether commands are available: none is running, and a writable state is shown."""
        return self.busy is None and self.reading is not None and self.read_only is None

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
        if self.earlier is not None:
            return f"{self.read_only}"
        status = self.study["status"]
        if status == StudyStatus.STOPPED:
            return "The study is stopped and cannot be resumed."
        if command not in self.legal_commands():
            required = " or ".join(sorted(TRANSITIONS[COMMANDS[command]][0]))
            return f"Only a {required} study can be {_PARTICIPLES[command]}; this one is {status}."
        return self.read_only or "Wait until the running command has finished."

    @property
    def has_source(self) -> bool:
        """Whether the selected study keeps a source of sessions, and was started."""
        if self.study is None or self.study["started_at"] is None:
            return False
        return any(pair["key"] == SOURCE for pair in self.study["metadata"])

    @property
    def can_create(self) -> bool:
        """Whether the form for a study can be submitted."""
        return self.can_write and self.study_form.touched and not self.study_form.problems()

    @property
    def drafts(self) -> Drafts | None:
        """The forms of the selected study; None without a study in the latest state."""
        if self._latest is None or self.selected is None or self.selected not in self._latest.studies:
            return None
        if self.selected not in self._drafts:
            self._drafts[self.selected] = Drafts(self._latest, self.selected)
        return self._drafts[self.selected]

    @property
    def can_record(self) -> bool:
        """Whether the form for a checkpoint can be submitted."""
        drafts = self.drafts
        return self.can_write and self.why_not_recordable is None and drafts is not None and drafts.checkpoint.complete

    @property
    def why_not_recordable(self) -> str | None:
        """The reason why the selected study accepts no checkpoint; None if it accepts one."""
        if self.study is None:
            return "Select or create a study first."
        if self.study["started_at"] is None:
            stopped = self.study["status"] == StudyStatus.STOPPED
            return "The study was stopped before it was started." if stopped else "The study is pending. Start it to record checkpoints."
        return None

    def discard_draft(self, study_id: str, form: str) -> None:
        """Clear a form of a study after its command."""
        if study_id in self._drafts and self._latest is not None:
            self._drafts[study_id].discard(form, self._latest)

    def period_is_recorded(self) -> bool:
        """Whether the selected study already has a checkpoint for the period in the form."""
        drafts, frames = self.drafts, self.study_frames()
        period = drafts.checkpoint.period if drafts is not None and drafts.checkpoint.touched else None
        if period is None or frames is None:
            return False
        return ((frames.periods["period_start"] == period[0]) & (frames.periods["period_end"] == period[1])).any()


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
