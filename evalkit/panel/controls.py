"""What happens when a user does something with the panel. The worker carries out commands, so that the kernel never waits for a server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from evalkit.errors import EvalkitError, OutcomeUnknownError, collect_warnings
from evalkit.panel.feed import Feed
from evalkit.panel.forms import StudyForm
from evalkit.panel.screen import Screen, clock, in_words

__all__ = ["Controls"]

_DOING = {
    "start": ("Starting", "Started"),
    "pause": ("Pausing", "Paused"),
    "resume": ("Resuming", "Resumed"),
    "stop": ("Stopping", "Stopped"),
}


@dataclass(frozen=True)
class _Done:
    text: str
    then: Callable[[], object] = lambda: None


class Controls:
    """Connects the widgets of a screen with the model and the kit."""

    def __init__(self, screen: Screen, feed: Feed) -> None:
        self.last_error: Exception | None = None
        """What the last command ended with; None when it ended well."""
        self._kit = kit = feed.kit
        self._changes = {"start": kit.start_study, "pause": kit.pause_study, "resume": kit.resume_study, "stop": kit.stop_study}
        self._screen = screen
        self._feed = feed
        self._unknown: OutcomeUnknownError | None = None
        self._connect()

    def ask_again(self) -> None:
        """Learn what became of a command whose outcome could not be learnt when it was given. May wait for a server."""
        unknown = self._unknown
        if unknown is None:
            return
        said, problem = "The command whose outcome was unknown was carried out.", False
        try:
            with collect_warnings(lambda _: None):
                self._kit.outcome(unknown)
        except OutcomeUnknownError:
            return
        except EvalkitError as error:
            said, problem = str(error), True
        self._unknown = None
        self._say(said, problem=problem)

    def _connect(self) -> None:
        view, model = self._screen.view, self._screen.model
        self._on_value(view.status, lambda value: setattr(model, "status_filter", value))
        self._on_value(view.search, lambda value: setattr(model, "text_filter", value))
        # JupyterLab takes the arrow keys from a list, for its cells, and none from a text: Enter in the search goes through the list.
        # The message is asked for, since Text.on_submit is deprecated.
        view.search.on_msg(lambda _, content, __: self._screen.change(model.select_next) if content.get("event") == "submit" else None)
        self._on_value(view.list, model.select)
        self._on_value(view.metric, model.choose_metric)
        view.study_form.on_type(lambda name, text: self._screen.type(lambda: model.study_form.type(name, text)))
        view.checkpoint_form.on_type(lambda name, text: self._screen.type(lambda: self._type_checkpoint(name, text)))
        for command in ("start", "pause", "resume"):
            self._on_click(view.buttons[command], lambda command=command: self._change(command))  # type: ignore[misc]  # (not inferred)
        # What was pressed goes out of sight, or into it: the focus goes along.
        self._on_click(view.buttons["stop"], model.ask_stop, view.no)
        self._on_click(view.yes, lambda: self._change("stop"), view.list)
        self._on_click(view.no, model.keep, view.buttons["stop"])
        self._on_click(view.study_form.button, self._create)
        self._on_click(view.checkpoint_form.button, self._record)
        self._on_click(view.refresh, self._refresh)

    def _on_value(self, widget: Any, take: Callable[[Any], object]) -> None:
        widget.observe(lambda change: self._screen.change(lambda: take(change["new"])), "value")

    def _on_click(self, button: Any, act: Callable[[], object], then_focus: Any = None) -> None:
        def clicked(_: Any) -> None:
            if button.disabled:  # it was pressed before the page knew
                self._screen.change(lambda: self._too_late(button.description))
                return
            self._screen.change(act)
            if then_focus is not None:
                then_focus.focus()

        button.on_click(clicked)

    def _too_late(self, says: str) -> None:
        """Say why a command did nothing: somebody else was quicker. A second click on what is being done is not answered."""
        model = self._screen.model
        if says.lower() in _DOING and model.busy is None and model.study is not None and says.lower() not in model.legal():
            model.say(f"{says} did nothing: {model.study['name']!r} is {model.study['status']} already.", "problem", clock())

    def _type_checkpoint(self, name: str, text: str) -> None:
        if self._screen.model.checkpoint_form is not None:
            self._screen.model.checkpoint_form.type(name, text)

    def _refresh(self) -> None:
        self._command("Reading ...", lambda: _Done("Read again."))

    def _change(self, command: str) -> None:
        study = self._screen.model.study
        if study is None or (command == "stop" and self._screen.model.confirming != study["study_id"]):
            self._too_late("Stop")
            return
        change = self._changes[command]
        doing, done = _DOING[command]
        name = repr(study["name"])
        self._command(f"{doing} {name} ...", lambda: _Done(f"{done} {name}: it is {change(study['study_id']).status} now."))

    def _create(self) -> None:
        model = self._screen.model
        command = model.study_form.command()
        period = command.period_type if command.period_value is None else (command.period_type, command.period_value)
        config = command.config

        def create() -> _Done:
            study = self._kit.create_study(
                command.name, period=period, description=config.description, tags=config.tags, metadata=config.metadata
            )

            def show() -> None:
                model.study_form = StudyForm()
                model.show_new(study.id)

            return _Done(f"Created {study.name!r}. It is pending: press Start when it begins.", show)

        self._command(f"Creating {command.name!r} ...", create)

    def _record(self) -> None:
        model = self._screen.model
        study, form = model.study, model.checkpoint_form
        if study is None or form is None:
            return
        study_id, name = study["study_id"], study["name"]
        values, _ = form.values()

        def record() -> _Done:
            checkpoint = self._kit.record_checkpoint(study_id, values)
            again = " It was recorded already, under the same key." if checkpoint.already_recorded else ""
            return _Done(f"Recorded {checkpoint!r} for {name!r}.{again}", lambda: model.recorded(study_id))

        self._command(f"Recording a checkpoint for {name!r} ...", record)

    def _command(self, doing: str, act: Callable[[], _Done]) -> None:
        """Have a command carried out, and say what became of it. No other command can be given meanwhile."""
        self._screen.model.begin(doing, clock())

        def job() -> Callable[[], None]:
            warned: list[str] = []
            done, self.last_error = _Done(""), None
            try:
                with collect_warnings(warned.append):
                    done = act()
                said = done.text
            except Exception as error:
                self.last_error, said = error, in_words(error)
                if isinstance(error, OutcomeUnknownError):
                    self._unknown = error
                    said += " The panel asks again by itself."
            self._say(" ".join([said, *warned]), problem=self.last_error is not None or bool(warned))
            return lambda: self._screen.change(lambda: self._finish(done))

        self._feed.submit(job)

    def _finish(self, done: _Done) -> None:
        self._screen.model.end()
        done.then()

    def _say(self, text: str, *, problem: bool) -> None:
        self._screen.change(lambda: self._screen.model.say(text, "problem" if problem else "done", clock()))
