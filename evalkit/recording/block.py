"""What a recorder's block came to: its sessions, what is recorded of them, and what a researcher should know of the numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from evalkit._util.text import plural
from evalkit.domain import validation as checks
from evalkit.domain.times import wire_time
from evalkit.recording.aggregate import SessionRecord, aggregate

__all__ = ["Block", "tally"]

_NAMES_BYTES = 900_000
_MOST_NAMED = 20


@dataclass
class Block:
    """One ``with`` block of a recorder, as its journal holds it."""

    journal: str
    """The journal's id, from which the checkpoint's key is made."""
    begun: str
    """When the block was entered: a wire time."""
    period: tuple[str, str] | None = None
    """The period that was asked for, as wire times."""
    sessions: list[SessionRecord] = field(default_factory=list)
    """Those that ended, in the order of their ends."""
    began: list[str] = field(default_factory=list)
    """The names of those that began and did not end: they run, or were interrupted."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """What the user gave besides."""
    closed: dict[str, Any] | None = None
    """What is to be recorded, once the block has ended."""

    @property
    def empty(self) -> bool:
        """Whether nothing happened."""
        return not (self.sessions or self.began or self.metrics or self.closed)

    def take(self, line: Mapping[str, Any]) -> None:
        """Add what a line of the journal says."""
        if "session" in line:
            self.sessions.append(SessionRecord(**line["session"]))
        elif "began" in line:
            self.began.append(line["began"])
        elif "metrics" in line:
            self.metrics.update(line["metrics"])
        elif "dropped" not in line:  # which earlier versions wrote of a session that is not counted
            self.closed = line["closed"]
        over = line["session"]["name"] if "session" in line else line.get("dropped")
        if over in self.began:
            self.began.remove(over)

    def payload(self, now: datetime) -> dict[str, Any]:
        """Return what is to be recorded when the block ends now."""
        # The clock may have been set back in the meantime.
        end = max(now, checks.check_time("begun", self.begun) + timedelta(microseconds=1))
        names = [session.name for session in self.sessions]
        return {
            "metrics": {**self.metrics, **aggregate(self.sessions)},
            "period": self.period or (self.begun, wire_time(end)),
            "events_analyzed": len(names),
            # An event has at most 1 MiB: a block of tens of thousands of sessions is recorded without their names.
            "sessions_included": names if len(json.dumps(names)) <= _NAMES_BYTES else [],
        }

    def remarks(self) -> Iterator[str]:
        """Yield what a researcher should know of the numbers."""
        count = len(self.sessions)
        if silent := sum(not session.reported for session in self.sessions):
            yield f"{silent} of {count} sessions reported neither success nor failure, and count as failed."
        for name, metric in (("tokens", "total_tokens"), ("cost", "total_cost")):
            lacking = sum(getattr(session, name) is None for session in self.sessions)
            if 0 < lacking < count:
                yield f"{lacking} of {count} sessions reported no {name}, so {metric} is missing."
        solved = [session for session in self.sessions if session.succeeded]
        unknown = sum(session.iterations is None for session in solved)
        if 0 < unknown < len(solved):
            yield (
                f"{unknown} of {len(solved)} successes reported no iterations, so first_attempt_success_rate and "
                "avg_iterations_to_success are missing."
            )
        if self.began:
            more = f" and {len(self.began) - _MOST_NAMED:,} more" if len(self.began) > _MOST_NAMED else ""
            yield (
                f"{plural(len(self.began), 'session')} interrupted before the end, excluded from all rates and "
                f"sums: {', '.join(self.began[:_MOST_NAMED])}{more}."
            )


def tally(sessions: Sequence[SessionRecord], planned: int | None = None, interrupted: int = 0) -> str:
    """Return how many sessions ended, how, and at what cost.

    Parameters
    ----------
    sessions
        Those that ended.
    planned
        How many are planned, where that is known.
    interrupted
        How many began and did not end.
    """
    succeeded = sum(session.succeeded for session in sessions)
    costs = [session.cost for session in sessions if session.cost is not None]
    count = plural(len(sessions), "session") if planned is None else f"{len(sessions):,} of {plural(planned, 'session')}"
    left = f", {interrupted:,} interrupted" if interrupted else ""
    spent = f"; US${sum(costs):,.2f}" if costs else ""
    return f"{count}: {succeeded:,} succeeded, {len(sessions) - succeeded:,} failed{left}{spent}"
