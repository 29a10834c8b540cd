"""The progress bar of a recorder, in a notebook or terminal.

ipywidgets, IPython and rich are imported only when a bar is shown.
"""

from __future__ import annotations

import html
import sys
from datetime import timedelta

__all__ = ["NotebookBar", "TerminalBar", "open_bar"]


def open_bar(study: str) -> NotebookBar | TerminalBar | None:
    """Return a progress bar for a notebook or terminal; None if the process has neither."""
    if sys.modules.get("IPython") is not None:
        from IPython import get_ipython

        if hasattr(get_ipython(), "kernel"):
            return NotebookBar(study)
    return TerminalBar(study) if sys.stdout.isatty() and sys.stderr.isatty() else None


class TerminalBar:
    """A progress bar on the standard error stream, replaced by one line at the end."""

    def __init__(self, study: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._study = study
        columns = TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task(study, total=None)
        self._progress.start()

    def show(self, done: int, planned: int | None, text: str, elapsed: timedelta) -> None:  # noqa: ARG002  (rich measures the time)
        """Show the number of completed sessions."""
        self._progress.update(self._task, completed=done, total=planned, description=f"{self._study}: {text}")

    def close(self, outcome: str) -> None:
        """Replace the bar by a line of text."""
        self._progress.stop()
        self._progress.console.print(outcome, markup=False, highlight=False)


class NotebookBar:
    """A progress bar in the output of a cell.

    At the end it is replaced by plain text, which is stored in a saved notebook.
    """

    def __init__(self, study: str) -> None:
        from IPython.display import display
        from ipywidgets import HTML, HBox, IntProgress

        self._bar, self._line = IntProgress(description="Sessions"), HTML()
        self._box = HBox([self._bar, self._line])
        # The text is shown where widgets are not supported.
        view = {"version_major": 2, "version_minor": 0, "model_id": self._box.model_id}
        self._shown = {"application/vnd.jupyter.widget-view+json": view, "text/plain": f"Recording {study!r}."}
        self._output = display(self._shown, raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def show(self, done: int, planned: int | None, text: str, elapsed: timedelta) -> None:
        """Show the number of completed sessions."""
        self._bar.max = max(1, done, planned or 0)
        self._bar.value = done
        self._bar.layout.display = "none" if planned is None else ""
        self._line.value = f"<span>{html.escape(f'{text}; {timedelta(seconds=elapsed // timedelta(seconds=1))}')}</span>"

    def close(self, outcome: str) -> None:
        """Replace the bar by a line of plain text, because HTML would render $ as a formula."""
        self._output.update({"text/plain": outcome}, raw=True)
        for widget in (self._box, self._bar, self._line):
            for part in (widget.layout, getattr(widget, "style", None), widget):  # closing a widget does not close its layout and style
                if part is not None:
                    part.close()
