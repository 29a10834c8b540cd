"""How far a recorder is: a bar in a notebook or on a terminal, and nothing where nobody would see it."""

from __future__ import annotations

import html
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from evalkit.recording.aggregate import SessionRecord

__all__ = ["Meter", "Tally", "open_meter"]


@dataclass(frozen=True)
class Tally:
    """What a meter shows."""

    study: str
    succeeded: int = 0
    failed: int = 0
    total: int | None = None
    """The number of sessions that are planned, where it is known."""
    cost: float | None = None
    """US dollars that sessions reported; None when none did."""
    interrupted: int = 0
    """The number of sessions that began and did not end."""

    @classmethod
    def of(cls, study: str, sessions: Sequence[SessionRecord], total: int | None = None, interrupted: int = 0) -> Tally:
        """Count sessions."""
        succeeded = sum(session.succeeded for session in sessions)
        costs = [session.cost for session in sessions if session.cost is not None]
        return cls(study, succeeded, len(sessions) - succeeded, total, sum(costs) if costs else None, interrupted)

    @property
    def done(self) -> int:
        """How many sessions ended."""
        return self.succeeded + self.failed

    def __str__(self) -> str:
        of_total = "" if self.total is None else f" of {self.total:,}"
        plural = "" if (self.done if self.total is None else self.total) == 1 else "s"
        cost = "" if self.cost is None else f"; US${self.cost:,.2f}"
        left = f", {self.interrupted:,} interrupted" if self.interrupted else ""
        return f"{self.done:,}{of_total} session{plural}: {self.succeeded:,} succeeded, {self.failed:,} failed{left}{cost}"


class Meter(Protocol):
    """Shows a tally while a block runs."""

    def show(self, tally: Tally, elapsed: timedelta) -> None:
        """Show how far it is."""

    def close(self, outcome: str) -> None:
        """Show how it ended, for good."""


def open_meter(tally: Tally) -> Meter:
    """Give a meter for where this process runs: a notebook, a terminal, or neither."""
    if _in_notebook():
        return _NotebookMeter(tally)
    return _TerminalMeter(tally) if sys.stdout.isatty() and sys.stderr.isatty() else _NoMeter()


def _in_notebook() -> bool:
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return hasattr(get_ipython(), "kernel")


class _NoMeter:
    def show(self, tally: Tally, elapsed: timedelta) -> None:
        pass

    def close(self, outcome: str) -> None:
        pass


class _TerminalMeter:
    def __init__(self, tally: Tally) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        text = TextColumn("{task.description}", markup=False)
        self._progress = Progress(text, BarColumn(), TimeElapsedColumn(), console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task(f"{tally.study}: {tally}", total=tally.total)
        self._progress.start()

    def show(self, tally: Tally, elapsed: timedelta) -> None:  # noqa: ARG002  (a column counts the time by itself)
        self._progress.update(self._task, completed=tally.done, total=tally.total, description=f"{tally.study}: {tally}")

    def close(self, outcome: str) -> None:
        self._progress.stop()
        self._progress.console.print(outcome, markup=False, highlight=False)


class _Text:
    """A text as the output of a cell. It needs no widget, so it lasts in a saved notebook. It is no HTML, where $ begins a formula."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


class _NotebookMeter:
    """A bar and a line. When the block has ended, one line of text takes their place."""

    def __init__(self, tally: Tally) -> None:
        from IPython.display import display
        from ipywidgets import HTML, IntProgress

        self._bar = IntProgress(description="Sessions")
        self._line = HTML()
        self._box = _bar_with_fallback([self._bar, self._line], f"Recording {tally.study!r}.")
        self.show(tally, timedelta(0))
        self._output = display(self._box, display_id=True)  # type: ignore[no-untyped-call]

    def show(self, tally: Tally, elapsed: timedelta) -> None:
        self._bar.max = max(1, tally.done, tally.total or 0)
        self._bar.value = tally.done
        self._bar.layout.display = "none" if tally.total is None else ""
        self._line.value = f"<span>{html.escape(f'{tally}; {elapsed - timedelta(microseconds=elapsed.microseconds)}')}</span>"

    def close(self, outcome: str) -> None:
        self._output.update(_Text(outcome))
        for widget in (self._box, self._bar, self._line):
            for part in (widget.layout, getattr(widget, "style", None), widget):  # closing a widget leaves its layout and style open
                if part is not None:
                    part.close()


def _bar_with_fallback(children: list[Any], text: str) -> Any:
    """Give a row of widgets that is a line of text where widgets are not shown."""
    from ipywidgets import HBox

    class Row(HBox):  # type: ignore[misc]
        def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
            bundle = super()._repr_mimebundle_(**options)
            data = dict(bundle[0] if isinstance(bundle, tuple) else bundle)
            return data | {"text/plain": text}

    return Row(children)
