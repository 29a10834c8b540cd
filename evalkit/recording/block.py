"""What a recorder's block came to: its sessions, what is recorded of them, and what is to be said of that."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from evalkit.domain import validation as checks
from evalkit.domain.times import wire_time
from evalkit.recording.aggregate import SessionRecord, aggregate

__all__ = ["JournalContent", "checked_period"]

_NAMES_BYTES = 900_000
_MOST_NAMED = 20


@dataclass
class JournalContent:
    """What stands in a journal."""

    journal: str
    """Its id, from which the checkpoint's key is made."""
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
        """Take in what a line says."""
        if "session" in line:
            session = SessionRecord(**line["session"])
            self.sessions.append(session)
            self._drop(session.name)
        elif "began" in line:
            self.began.append(line["began"])
        elif "dropped" in line:  # of earlier versions: a session that is not counted
            self._drop(line["dropped"])
        elif "metrics" in line:
            self.metrics.update(line["metrics"])
        else:
            self.closed = line["closed"]

    def payload(self, now: datetime) -> dict[str, Any]:
        """Give what is to be recorded when the block ends now."""
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
        """Say what a researcher should know of the numbers."""
        count = len(self.sessions)
        if silent := sum(not session.reported for session in self.sessions):
            yield f"{silent} of {count} sessions reported neither success nor failure, and count as failed."
        for name, metric in (("tokens", "total_tokens"), ("cost", "total_cost")):
            lacking = sum(getattr(session, name) is None for session in self.sessions)
            if 0 < lacking < count:
                yield f"{lacking} of {count} sessions reported no {name}, so {metric} is missing."
        if unknown := sum(session.succeeded and session.iterations is None for session in self.sessions):
            solved = sum(session.succeeded for session in self.sessions)
            if unknown < solved:
                yield (
                    f"{unknown} of {solved} successes reported no iterations, so first_attempt_success_rate and "
                    "avg_iterations_to_success are missing."
                )
        if self.began:
            more = f" and {len(self.began) - _MOST_NAMED:,} more" if len(self.began) > _MOST_NAMED else ""
            yield (
                f"{len(self.began):,} session{'s' if len(self.began) > 1 else ''} interrupted before the end, excluded from all rates and "
                f"sums: {', '.join(self.began[:_MOST_NAMED])}{more}."
            )

    def _drop(self, name: str) -> None:
        if name in self.began:
            self.began.remove(name)


def checked_period(period: Any) -> tuple[str, str]:
    """Give a period that a user asked for as wire times.

    Raises
    ------
    InvalidInputError
        When it is none.
    """
    given = checks.metrics_as_mapping({"period": period})
    start, end = checks.check_bounds(given["period_start"], given["period_end"])
    return wire_time(start), wire_time(end)
