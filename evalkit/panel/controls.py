"""Connection of the panel's widgets with its model and its kit.

Commands run in a worker, so that the kernel never waits for a server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from evalkit._util.text import plural
from evalkit.errors import EvalkitError, OutcomeUnknownError, collect_warnings
from evalkit.panel.feed import Feed
from evalkit.panel.forms import StudyForm
from evalkit.panel.model import period_text
from evalkit.panel.screen import Screen, error_text, utc_now

__all__ = ["Controls"]

_VERBS = {
    "start": ("Starting", "Started"),
    "pause": ("Pausing", "Paused"),
    "resume": ("Resuming", "Resumed"),
    "stop": ("Stopping", "Stopped"),
}


@dataclass(frozen=True)
class _Outcome:
    """The result of a command: a message, and an update to apply after the next reading."""

    text: str
    apply: Callable[[], object] = lambda: None


class Controls:
    """Connect the widgets of a screen with the model and the kit."""

    def __init__(self, screen: Screen, feed: Feed) -> None:
        self.last_error: Exception | None = None
        """The error of the last command; None if it succeeded."""
        self._kit = kit = feed.kit
        self._transitions = {"start": kit.start_study, "pause": kit.pause_study, "resume": kit.resume_study, "stop": kit.stop_study}
        self._screen = screen
        self._feed = feed
        self._unknown: OutcomeUnknownError | None = None
        self._connect()

    def resolve_unknown_outcome(self) -> None:
        """Look up the outcome of a command that raised `OutcomeUnknownError`, if there is one.

        This may wait for a server.
        """
        unknown = self._unknown
        if unknown is None:
            return
        text, problem = "The command whose outcome was unknown has been applied.", False
        try:
            with collect_warnings(lambda _: None):
                self._kit.outcome(unknown)
        except OutcomeUnknownError:
            return
        except EvalkitError as error:
            text, problem = str(error), True
        self._unknown = None
        self._notify(text, problem=problem)

    def _connect(self) -> None:
        view, model = self._screen.view, self._screen.model
        self._on_value(view.status, lambda value: model.filter_by(status=value))
        self._on_value(view.search, lambda value: model.filter_by(text=value))
        # Enter in the search field selects the next study; the field keeps the focus. (Text.on_submit is deprecated.)
        view.search.on_msg(lambda _, content, __: self._screen.change(model.select_next) if content.get("event") == "submit" else None)
        view.list.on_select(lambda study_id: self._screen.change(lambda: model.select(study_id)))
        self._on_click(view.list.previous, lambda: model.turn_page(-1))
        self._on_click(view.list.next, lambda: model.turn_page(1))
        self._on_value(view.metric, model.choose_metric)
        view.study_form.on_input(lambda name, text: self._screen.change_form(lambda: model.study_form.set_text(name, text)))
        view.checkpoint_form.on_input(lambda name, text: self._screen.change_form(lambda: self._type_checkpoint(name, text)))
        for command in ("start", "pause", "resume"):
            self._on_click(view.buttons[command], lambda command=command: self._transition(command))  # type: ignore[misc]  # (not inferred)
        # The pressed button disappears or is disabled, so the focus moves to the next control.
        self._on_click(view.buttons["stop"], model.request_stop, view.cancel.focus)
        self._on_click(view.confirm, lambda: self._transition("stop"), lambda: view.focus_selected(model))
        self._on_click(view.cancel, model.cancel_stop, view.buttons["stop"].focus)
        self._on_click(view.study_form.button, self._create)
        self._on_click(view.checkpoint_form.button, self._record)
        self._on_click(view.refresh, self._refresh)

    def _on_value(self, widget: Any, apply: Callable[[Any], object]) -> None:
        widget.observe(lambda change: self._screen.change(lambda: apply(change["new"])), "value")

    def _on_click(self, button: Any, act: Callable[[], object], move_focus: Callable[[], object] | None = None) -> None:
        def clicked(_: Any) -> None:
            if button.disabled:  # pressed before the browser received the change
                self._screen.change(lambda: self._report_no_effect(button.description))
                return
            self._screen.change(act)
            if move_focus is not None:
                move_focus()

        button.on_click(clicked)

    def _report_no_effect(self, label: str) -> None:
        """Report that a command had no effect because another process changed the study.

        A double click is ignored.
        """
        model = self._screen.model
        if label.lower() in _VERBS and model.busy is None and model.study is not None and label.lower() not in model.legal_commands():
            model.notify(f"{label} had no effect: {model.study['name']!r} is already {model.study['status']}.", "problem", utc_now())

    def _type_checkpoint(self, name: str, text: str) -> None:
        if self._screen.model.checkpoint_form is not None:
            self._screen.model.checkpoint_form.set_text(name, text)

    def _refresh(self) -> None:
        self._run("Refreshing…", lambda: _Outcome("Refreshed."))

    def _transition(self, command: str) -> None:
        study = self._screen.model.study
        if study is None or (command == "stop" and self._screen.model.confirming != study["study_id"]):
            self._report_no_effect("Stop")
            return
        transition = self._transitions[command]
        running, done = _VERBS[command]
        name = repr(study["name"])
        self._run(f"{running} {name}…", lambda: _Outcome(f"{done} {name} (now {transition(study['study_id']).status})."))

    def _create(self) -> None:
        model = self._screen.model
        command = model.study_form.command()
        period = command.period_type if command.period_value is None else (command.period_type, command.period_value)
        config = command.config

        def create() -> _Outcome:
            study = self._kit.create_study(
                command.name, period=period, description=config.description, tags=config.tags, metadata=config.metadata
            )

            def show() -> None:
                model.study_form = StudyForm()
                model.show_new(study.id)

            return _Outcome(f"Study {study.name!r} created (pending). Press Start to begin.", show)

        self._run(f"Creating {command.name!r}…", create, "study")

    def _record(self) -> None:
        model = self._screen.model
        study, form = model.study, model.checkpoint_form
        if study is None or form is None:
            return
        study_id, name = study["study_id"], study["name"]
        values, _ = form.values()

        def record() -> _Outcome:
            checkpoint = self._kit.record_checkpoint(study_id, values)
            repeated = " It had already been recorded with the same key." if checkpoint.already_recorded else ""
            period = period_text(checkpoint.metrics.period.start, checkpoint.metrics.period.end)
            count = plural(len(checkpoint.metrics.measured()), "metric")
            return _Outcome(f"Recorded {count} for {name!r}, {period}.{repeated}", lambda: model.discard_draft(study_id))

        self._run(f"Recording a checkpoint for {name!r}…", record, "checkpoint")

    def _run(self, description: str, command: Callable[[], _Outcome], form: str = "") -> None:
        """Run a command in the worker and report its outcome.

        Other commands are unavailable in the meantime.
        """
        self._screen.model.begin_command(description, utc_now(), form)

        def job() -> Callable[[], None]:
            warnings: list[str] = []
            outcome, self.last_error = _Outcome(""), None
            try:
                with collect_warnings(warnings.append):
                    outcome = command()
                text = outcome.text
            except Exception as error:
                self.last_error, text = error, error_text(error)
                if isinstance(error, OutcomeUnknownError):
                    self._unknown = error
                    text += " The panel keeps checking the outcome."
            self._notify(" ".join([text, *warnings]), problem=self.last_error is not None or bool(warnings), form=form)
            return lambda: self._screen.change(lambda: self._finish(outcome))

        self._feed.submit(job)

    def _finish(self, outcome: _Outcome) -> None:
        self._screen.model.end_command()
        outcome.apply()

    def _notify(self, text: str, *, problem: bool, form: str = "") -> None:
        self._screen.change(lambda: self._screen.model.notify(text, "problem" if problem else "done", utc_now(), form))
