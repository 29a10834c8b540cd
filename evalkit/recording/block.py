"""The content of one ``with`` block of a recorder.

It has the sessions, the checkpoint to record, and warnings about the data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from evalkit._util.text import alternatives, plural
from evalkit.domain.catalog import METRICS
from evalkit.domain.commands import unknown_field
from evalkit.domain.definitions import Metric
from evalkit.domain.lenient import MAX_CUSTOM
from evalkit.domain.time_input import check_time
from evalkit.domain.times import wire_time
from evalkit.domain.validation import custom_check
from evalkit.errors import InvalidInputError
from evalkit.recording.aggregate import SessionRecord, aggregate, aggregate_custom

__all__ = ["Block", "recordable", "tally"]

_NAMES_BYTES = 900_000
_MAX_NAMED = 20


@dataclass
class Block:
    """One ``with`` block of a recorder, as stored in its journal."""

    journal: str
    """Id of the journal, from which the idempotency key of the checkpoint is derived."""
    begun: str
    """The time at which the block was entered, as a wire time."""
    period: tuple[str, str] | None = None
    """The ``period=`` of the recorder, as wire times; None for the time of the block."""
    sessions: list[SessionRecord] = field(default_factory=list)
    """Completed sessions, in order of completion."""
    incomplete: list[str] = field(default_factory=list)
    """Names of running and interrupted sessions."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """Metrics added with `Recorder.metrics`."""
    closed: dict[str, Any] | None = None
    """The checkpoint to record, once the block has ended."""

    @property
    def empty(self) -> bool:
        """Whether the block has no content."""
        return not (self.sessions or self.incomplete or self.metrics or self.closed)

    def apply(self, line: Mapping[str, Any]) -> None:
        """Add the content of a line of the journal to the block."""
        if "session" in line:
            self.sessions.append(SessionRecord(**line["session"]))
        elif "began" in line:
            self.incomplete.append(line["began"])
        elif "metrics" in line:
            self.metrics.update(line["metrics"])
        elif "dropped" not in line:  # written by earlier versions for excluded sessions
            self.closed = line["closed"]
        ended = line["session"]["name"] if "session" in line else line.get("dropped")
        if ended in self.incomplete:
            self.incomplete.remove(ended)

    def payload(self, now: datetime, definitions: Mapping[str, Metric]) -> dict[str, Any]:
        """Return the checkpoint to record if the block ends at `now`.

        `definitions` are those of the study's custom metrics.
        """
        # The system clock may have been set back since the block began.
        end = max(now, check_time("begun", self.begun) + timedelta(microseconds=1))
        names = [session.name for session in self.sessions]
        custom, _ = aggregate_custom(self.sessions, definitions, len(self.incomplete))
        return {
            "metrics": {**custom, **self._added(), **aggregate(self.sessions)},
            "period": self.period or (self.begun, wire_time(end)),
            "events_analyzed": len(names),
            # An event is limited to 1 MiB, which the names of tens of thousands of sessions would exceed.
            "sessions_included": names if len(json.dumps(names)) <= _NAMES_BYTES else [],
        }

    def _added(self) -> dict[str, Any]:
        return {name: value for name, value in self.metrics.items() if value is not None}

    def warnings(self, definitions: Mapping[str, Metric]) -> Iterator[str]:
        """Yield warnings about missing or excluded data."""
        count = len(self.sessions)
        if unreported := sum(not session.reported for session in self.sessions):
            yield f"{unreported} of {plural(count, 'session')} reported neither success nor failure; counted as failed."
        for name, value, metric in (("tokens", "token count", "total_tokens"), ("cost", "cost", "total_cost")):
            unknown = sum(getattr(session, name) is None for session in self.sessions)
            if 0 < unknown < count:
                yield f"{unknown} of {count} sessions {'has' if unknown == 1 else 'have'} no {value}; {metric} is recorded as missing."
        succeeded = [session for session in self.sessions if session.succeeded]
        unknown = sum(session.iterations is None for session in succeeded)
        if 0 < unknown < len(succeeded):
            yield (
                f"{unknown} of {len(succeeded)} successful sessions {'has' if unknown == 1 else 'have'} no iteration count; "
                "first_attempt_success_rate and "
                "avg_iterations_to_success are recorded as missing."
            )
        _, missing = aggregate_custom(self.sessions, definitions, len(self.incomplete))
        absent = {name: reason for name, reason in missing.items() if name not in self._added()}
        for reason in dict.fromkeys(absent.values()):
            metrics = [name for name in absent if absent[name] == reason]
            yield f"{reason} of {alternatives(metrics, 'and')}; {'it is' if len(metrics) == 1 else 'they are'} recorded as missing."
        if self.incomplete:
            more = f" and {len(self.incomplete) - _MAX_NAMED:,} more" if len(self.incomplete) > _MAX_NAMED else ""
            yield (
                f"{plural(len(self.incomplete), 'interrupted session')} excluded from all rates and sums: "
                f"{', '.join(self.incomplete[:_MAX_NAMED])}{more}."
            )


def recordable(metrics: Mapping[str, Any], definitions: Mapping[str, Metric]) -> tuple[dict[str, Any], list[str]]:
    """Return the metrics of a checkpoint that can be recorded, and the problems of the others.

    A custom metric cannot be recorded if the study has no definition of it, or if its value is outside the range of the definition,
    which may have changed since the value was reported.

    Examples
    --------
    >>> recordable({"total_cost": 0.5, "grade": 12}, {"grade": Metric("grade", kind="score", better="up", high=10)})
    ({'total_cost': 0.5}, ['Invalid grade 12: expected a number of at most 10. Recorded as missing.'])
    """
    valid: dict[str, Any] = {}
    problems: list[str] = []
    custom, excess = 0, []
    for name, value in metrics.items():
        if name not in METRICS:
            try:
                if name not in definitions:
                    raise unknown_field("metric", name, definitions, alternative="")
                custom_check(definitions[name])(name, value)
            except InvalidInputError as error:
                problems.append(f"{error} Recorded as missing.")
                continue
            custom += 1
            if custom > MAX_CUSTOM:
                excess.append(name)
                continue
        valid[name] = value
    if excess:
        problems.append(f"A checkpoint can have at most {MAX_CUSTOM} custom metrics. Recorded as missing: {', '.join(excess)}.")
    return valid, problems


def tally(sessions: Sequence[SessionRecord], planned: int | None = None, interrupted: int = 0) -> str:
    """Return the number of completed sessions by outcome, and their cost, as text.

    Parameters
    ----------
    sessions
        Completed sessions.
    planned
        Number of planned sessions, if known.
    interrupted
        Number of interrupted sessions.

    Examples
    --------
    >>> tally([SessionRecord(name="task", nanoseconds=1, succeeded=True, cost=0.5)], planned=3)
    '1 of 3 sessions: 1 succeeded, 0 failed; $0.50'
    """
    succeeded = sum(session.succeeded for session in sessions)
    costs = [session.cost for session in sessions if session.cost is not None]
    if not sessions and interrupted:
        return f"no sessions completed, {interrupted:,} interrupted"
    count = plural(len(sessions), "session") if planned is None else f"{len(sessions):,} of {plural(planned, 'session')}"
    stopped = f", {interrupted:,} interrupted" if interrupted else ""
    cost = f"; ${sum(costs):,.2f}" if costs else ""
    return f"{count}: {succeeded:,} succeeded, {len(sessions) - succeeded:,} failed{stopped}{cost}"
