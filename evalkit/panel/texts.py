"""What the panel says of a study and of its own age, in words."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from evalkit.panel.forms import shown_time

__all__ = ["age", "details", "duration", "last_checkpoint", "progress", "searched", "shortened"]

_FRESH_SECONDS = 4.0
_LABEL_START, _LABEL_END = 20, 9


def progress(done: int, planned: int | None) -> str:
    """Say how many periods have a checkpoint, and of how many: ``"3 of 8 periods"``."""
    if planned is None:
        return f"{done} period{'' if done == 1 else 's'}"
    return f"{done} of {planned} period{'' if planned == 1 else 's'}"


def last_checkpoint(row: dict[str, Any] | None, repeated: int) -> str:
    """Say which period a study's last checkpoint is of, and how many there are for a period that had one."""
    if row is None:
        return "none"
    more = f"; {repeated} more for a period that had one" if repeated else ""
    return f"[{shown_time(row['period_start'])}, {shown_time(row['period_end'])}) UTC{more}"


def details(row: dict[str, Any], progress: str, last: str) -> list[tuple[str, str]]:
    """Give what is known of a study, a row of the studies frame: a name and a text each."""
    times = [(word, row[f"{word.lower()}_at"]) for word in ("Created", "Started", "Stopped")]
    told = [
        ("Name", row["name"]),
        ("Status", row["status"]),
        ("Progress", f"{progress}, {row['period_type']}"),
        ("Last checkpoint", last),
        *((word, f"{shown_time(moment.replace(microsecond=0))} UTC") for word, moment in times if moment is not None),
        ("Description", row["description"] or ""),
        ("Tags", ", ".join(row["tags"])),
        ("Metadata", "\n".join(f"{pair['key']} = {pair['value']}" for pair in row["metadata"])),
        ("Id", row["study_id"]),
    ]
    return [(name, text) for name, text in told if text]


def age(now: datetime, read_at: datetime | None, *, waiting: bool, lost: bool, behind: bool) -> str:
    """Say how old what is shown is, and whether it can be read anew."""
    if read_at is None:
        shown = "Nothing was read yet."
    elif (seconds := (now - read_at).total_seconds()) <= _FRESH_SECONDS and not lost and not waiting:
        shown = "The log is out of reach." if behind else "Up to date."
    else:
        shown = f"Shown is the state of {read_at:%H:%M:%S} UTC, {duration(seconds)} ago."
    return f"Nothing can be read now; trying again. {shown}" if lost and not waiting else shown


def searched(row: dict[str, Any]) -> str:
    """Give what a search looks at, in lower case: name, id, description, tags and metadata."""
    pairs = (f"{pair['key']}={pair['value']}" for pair in row["metadata"])
    return "\n".join((row["name"], row["study_id"], row["description"] or "", *row["tags"], *pairs)).lower()


def shortened(name: str) -> str:
    """Give a name as a list shows it: what tells long ones apart is often at their end."""
    return name if len(name) <= _LABEL_START + _LABEL_END + 1 else f"{name[:_LABEL_START]}…{name[-_LABEL_END:]}"


def duration(seconds: float) -> str:
    """Give a length of time as one says it: ``"7 s"``, ``"3 min"``, ``"2 h"``."""
    if seconds < 120:
        return f"{int(seconds)} s"
    return f"{int(seconds // 60)} min" if seconds < 7200 else f"{int(seconds // 3600)} h"
