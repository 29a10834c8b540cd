"""Commands of the panel, run in a worker, so that the kernel never waits for a server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from evalkit.errors import EvalkitError, OutcomeUnknownError, collect_warnings
from evalkit.panel.feed import Feed
from evalkit.panel.screen import Screen, error_text, utc_now

__all__ = ["Commands", "Outcome"]


@dataclass(frozen=True)
class Outcome:
    """The result of a command: a message, and an update to apply after the next reading."""

    text: str
    apply: Callable[[], object] = lambda: None


class Commands:
    """Run commands of one panel and report their outcomes."""

    def __init__(self, screen: Screen, feed: Feed) -> None:
        self.last_error: Exception | None = None
        """The error of the last command; None if it succeeded or was replaced by another one."""
        self._screen = screen
        self._feed = feed
        self._unknown: OutcomeUnknownError | None = None

    def run(
        self, description: str, command: Callable[[], Outcome], form: str = "", *, is_current: Callable[[], bool] = lambda: True
    ) -> None:
        """Run a command in the worker and report its outcome.

        Other commands are unavailable in the meantime.

        Parameters
        ----------
        description
            The text of the status line while the command runs.
        command
            Returns the outcome.
        form
            The submitted form, if any.
        is_current
            Whether a newer command has not replaced this one; otherwise it is not run, or its outcome is dropped.
        """
        self._screen.model.begin_command(description, utc_now(), form)

        def job() -> Callable[[], None]:
            if not is_current():
                return lambda: self._screen.change(self._screen.model.end_command)
            warnings: list[str] = []
            outcome, self.last_error = Outcome(""), None
            try:
                with collect_warnings(warnings.append):
                    outcome = command()
                text = outcome.text
            except Exception as error:
                self.last_error, text = error if is_current() else None, error_text(error)
                if isinstance(error, OutcomeUnknownError):
                    self._unknown = error
                    text += " The panel keeps checking the outcome."
            problem = self.last_error is not None or bool(warnings)
            self._screen.change(lambda: self._notify(" ".join([text, *warnings]), problem, form) if is_current() else None)
            return lambda: self._screen.change(lambda: self._finish(outcome, is_current()))

        self._feed.submit(job)

    def _finish(self, outcome: Outcome, current: bool) -> None:
        self._screen.model.end_command()
        if current:
            outcome.apply()

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
                self._feed.kit.outcome(unknown)
        except OutcomeUnknownError:
            return
        except EvalkitError as error:
            text, problem = str(error), True
        self._unknown = None
        self._screen.change(lambda: self._notify(text, problem))

    def _notify(self, text: str, problem: bool, form: str = "") -> None:
        self._screen.model.notify(text, "problem" if problem else "done", utc_now(), form)
