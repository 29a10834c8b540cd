"""Frames as tables for a terminal, and as rows for JSON."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import evalkit
from evalkit import METRICS
from evalkit._util.text import moment

if TYPE_CHECKING:
    import polars as pl

__all__ = ["checkpoint_table", "json_rows", "minute", "safe", "shown", "study_row", "table"]

_COLUMNS = ("sessions_completed", "session_success_rate", "total_tokens", "total_cost", "cost_per_successful_task")
"""The metrics in a list of checkpoints; ``--json`` gives all."""


def json_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Give the rows of a frame as they are printed in JSON."""
    from evalkit.io.checkpoint_files import as_json

    rows = as_json(frame).to_dicts()
    for row in rows:
        if "metadata" in row:
            row["metadata"] = {pair["key"]: pair["value"] for pair in row["metadata"]}
    return rows


def study_row(kit: evalkit.EvalKit, study: evalkit.Study) -> dict[str, Any]:
    """Give a study as it is printed in JSON."""
    (row,) = (row for row in json_rows(kit.studies()) if row["study_id"] == study.id)
    return row


def shown(study: evalkit.Study) -> str:
    """Give a study in a line."""
    return f"{safe(study.name)}: {study.status}, {study.period}"


def checkpoint_table(frame: pl.DataFrame) -> str:
    """Give checkpoints as a table: their periods and the metrics that fit."""
    rows = [
        {
            "period": minute(row["period_start"]),
            **{name: _measured(name, row[name]) for name in _COLUMNS},
            "id": f"…{row['checkpoint_id'][-8:]}",
        }
        for row in frame.to_dicts()
    ]
    return table(rows, {"period": "period from (UTC)", **{name: METRICS[name].label for name in _COLUMNS}, "id": "id"}, right=_COLUMNS)


def _measured(name: str, value: Any) -> str:
    """Give a metric as text, by the catalogue's format; a missing one is a dash."""
    if value is None:
        return "-"
    pattern = METRICS[name].format
    return f"${value:{pattern[1:]}}" if pattern.startswith("$") else f"{value:{pattern}}"


def minute(time: datetime | str) -> str:
    """Return a time in UTC to the minute; of midnight, only the date."""
    return moment(datetime.fromisoformat(time) if isinstance(time, str) else time)


def safe(text: object) -> str:
    """Give a text without what would steer a terminal."""
    return "".join(part if part.isprintable() else "�" for part in str(text))


def table(rows: list[dict[str, Any]], columns: dict[str, str], right: tuple[str, ...] = ()) -> str:
    """Give a table as wide as the terminal; where there is none, as wide as it needs to be, so that a line stays a line."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    wide = not sys.stdout.isatty()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, heading in columns.items():
        spread = heading if wide else heading.replace(" ", "\n")
        table.add_column(spread, justify="right" if name in right else "left", overflow="fold", no_wrap=name != "name")
    for row in rows:
        table.add_row(*(Text("-" if row[name] is None else safe(row[name])) for name in columns))
    console = Console(file=sys.stdout, width=10_000 if wide else None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
