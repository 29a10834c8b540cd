"""Tables for the terminal, and rows for JSON output."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import evalkit
from evalkit import METRICS
from evalkit._util.text import moment
from evalkit.runtime.as_of import did_not_exist

if TYPE_CHECKING:
    import polars as pl

__all__ = ["checkpoint_table", "json_rows", "minute", "note_table", "printable", "short_id", "study_line", "study_row", "table"]

_COLUMNS = ("sessions_completed", "session_success_rate", "total_tokens", "total_cost", "cost_per_successful_task")
"""The metrics in a table of checkpoints; ``--json`` prints all metrics."""


def json_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame for JSON output."""
    from evalkit.io.checkpoint_files import as_json

    rows = as_json(frame).to_dicts()
    for row in rows:
        if "metadata" in row:
            row["metadata"] = {pair["key"]: pair["value"] for pair in row["metadata"]}
    return rows


def study_row(kit: evalkit.EvalKit, study: evalkit.Study, as_of: evalkit.Pin | str | None = None) -> dict[str, Any]:
    """Return a study as a row for JSON output.

    Raises
    ------
    InvalidInputError
        If the study did not exist in the state `as_of` of the log.
    """
    rows = [row for row in json_rows(kit.studies(as_of=as_of, archived=True)) if row["study_id"] == study.id]
    if not rows:
        raise did_not_exist(study.name, as_of)
    return rows[0]


def study_line(study: evalkit.Study) -> str:
    """Return a study's name, status and period on one line."""
    return f"{printable(study.name)}: {study.status}, {study.period}"


def checkpoint_table(frame: pl.DataFrame) -> str:
    """Return a table of checkpoints with their periods and main metrics."""
    rows = [
        {
            "period": minute(row["period_start"]),
            **{name: _metric_text(name, row[name]) for name in _COLUMNS},
            "id": short_id(row["checkpoint_id"]),
        }
        for row in frame.to_dicts()
    ]
    return table(rows, {"period": "period start (UTC)", **{name: METRICS[name].label for name in _COLUMNS}, "id": "id"}, right=_COLUMNS)


def note_table(notes: list[dict[str, Any]], *, study: bool = True) -> str:
    """Return a table of notes, from rows for JSON output."""
    columns = {"at": "time (UTC)", "until": "until (UTC)", "category": "category", "text": "text", "author": "author"}
    rows = []
    for note in notes:
        times = {name: None if note[name] is None else minute(note[name]) for name in ("at", "until")}
        rows.append({**note, **times, "text": " ".join(note["text"].split())})
    return table(rows, {"study": "study"} | columns if study else columns)


def _metric_text(name: str, value: Any) -> str:
    """Return a value in the metric's format, or a dash if it is missing."""
    if value is None:
        return "-"
    pattern = METRICS[name].format
    return f"${value:{pattern[1:]}}" if pattern.startswith("$") else f"{value:{pattern}}"


def minute(time: datetime | str) -> str:
    """Return a UTC time as text, to the minute; only the date for midnight."""
    return moment(datetime.fromisoformat(time) if isinstance(time, str) else time)


def printable(text: object) -> str:
    """Return a text without control characters, which could change the terminal's state."""
    return "".join(character if character.isprintable() else "�" for character in str(text))


def short_id(text: str) -> str:
    """Return the last 8 characters of an id, after an ellipsis."""
    return f"…{text[-8:]}"


def table(rows: list[dict[str, Any]], columns: dict[str, str], right: tuple[str, ...] = ()) -> str:
    """Return a table as text, in the width of the terminal.

    If the output is not a terminal, rows are not wrapped.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    is_terminal = sys.stdout.isatty()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, heading in columns.items():
        table.add_column(
            heading.replace(" ", "\n") if is_terminal else heading,
            justify="right" if name in right else "left",
            overflow="fold",
            no_wrap=name != "name",
        )
    for row in rows:
        table.add_row(*(Text("-" if row[name] is None else printable(row[name])) for name in columns))
    console = Console(file=sys.stdout, width=None if is_terminal else 10_000)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
