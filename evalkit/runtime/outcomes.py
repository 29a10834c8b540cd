"""Append events, and read the effect that they had."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence

from evalkit._util.text import plural
from evalkit.domain.codec import DecodedEvent, readable_ids
from evalkit.domain.events import EncodedEvent, StoredEvalEvent
from evalkit.errors import EvalkitError, LogMismatchError, OutcomeUnknownError
from evalkit.eventlog.event_log import LogPosition, record_at
from evalkit.readmodel.database.database import in_parts
from evalkit.readmodel.fold import APPLIED, DUPLICATE, Decision, Outcome, Reason
from evalkit.readmodel.projection import EventKey
from evalkit.readmodel.rows import readable
from evalkit.runtime.engine import CONSUMER, Engine

__all__ = ["Outcomes"]

_CONSUMER_SECONDS = 0.3

_OUTCOME = """
WITH requested (id) AS MATERIALIZED (SELECT value FROM json_each(?))
SELECT event_id, 'applied', '', '' FROM requested CROSS JOIN lifecycle ON study_id = ? AND event_id = id
UNION ALL SELECT event_id, 'applied', '', '' FROM requested CROSS JOIN checkpoints c ON c.study_id = ? AND c.event_id = requested.id
UNION ALL SELECT event_id, 'applied', '', '' FROM requested CROSS JOIN changes ON study_id = ? AND event_id = id
UNION ALL SELECT event_id, 'rejected', reason, message FROM requested CROSS JOIN rejected ON study_id = ? AND event_id = id
  AND reason <> 'wrong partition'
UNION ALL SELECT event_id, 'quarantined', '', error FROM requested CROSS JOIN quarantined ON study_id = ? AND key = id"""


class Outcomes:
    """Appends events to the log of an engine, and reads their effect.

    Parameters
    ----------
    engine
        The engine, whose lock is held by the current command.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def append(self, study_id: str, messages: Sequence[EncodedEvent], events: Sequence[DecodedEvent] | None = None) -> dict[str, Decision]:
        """Append events of one study, and return the effect of each, by event id.

        `events` are the decoded messages, if they are known.

        Raises
        ------
        OutcomeUnknownError
            When the events are durable, but their effect cannot be read now.
        """
        self._engine.make_ready()
        keys = {(study_id, message.event_id) for message in messages}
        positions, decisions = self._engine.append(messages, keys, events)
        return self.of(study_id, messages, positions, decisions)

    def of(
        self,
        study_id: str,
        messages: Sequence[EncodedEvent],
        positions: Sequence[LogPosition] = (),
        decisions: Mapping[EventKey, Decision] | None = None,
    ) -> dict[str, Decision]:
        """Return the effect of each appended event of one study, by event id.

        `decisions` are those about events that were applied already.

        Raises
        ------
        OutcomeUnknownError
            When the read model cannot be brought up to these events.
        """
        event_ids = [message.event_id for message in messages]
        try:
            decided = {event_id: decision for (_, event_id), decision in (decisions or {}).items()}
            if not self._engine.embedded:
                decided = self._decided_by_a_consumer(study_id, event_ids)
            if len(decided) < len(event_ids):
                applied = self._engine.catch_up({(study_id, event_id) for event_id in event_ids})
                decided |= {event_id: decision for (_, event_id), decision in applied.items()}
            # Duplicates and missing events were decided before this call, by this or another process.
            missing = [event_id for event_id in event_ids if decided.get(event_id, DUPLICATE) is DUPLICATE]
            decided |= self._stored_outcomes(study_id, missing)
            if len(decided) < len(event_ids):
                raise EvalkitError("the read model does not contain them.")
        except EvalkitError as error:
            raise OutcomeUnknownError(
                f"{plural(len(messages), 'event')} ({event_ids[0]}{', …' if event_ids[1:] else ''}) "
                f"{'are' if event_ids[1:] else 'is'} durable in the log, but the effect cannot be read now: {error}",
                effect="Do not repeat the command.", hint="Read it again with kit.outcome(error).",
                shell_hint="Check first what was recorded: evalkit study show, evalkit checkpoint list.",
                study_id=study_id, event_ids=event_ids, positions=list(positions), driver_message=error.driver_message,
            ) from None  # fmt: skip
        return decided

    def _decided_by_a_consumer(self, study_id: str, event_ids: Sequence[str]) -> dict[str, Decision]:
        """Wait briefly for a running consumer to apply events, and return its decisions.

        The result is empty if the last writer is not a consumer, or if the consumer was too slow. Without the wait, both processes would
        apply the same events.
        """
        deadline = time.monotonic() + _CONSUMER_SECONDS
        while (last := self._engine.last_writer()) is not None and last[0].startswith(CONSUMER):
            if len(decided := self._stored_outcomes(study_id, event_ids)) == len(event_ids):
                return decided
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        return {}

    def _stored_outcomes(self, study_id: str, event_ids: Sequence[str]) -> dict[str, Decision]:
        decided: dict[str, Decision] = {}
        if event_ids:
            rows = in_parts(lambda part: self._engine.database.execute(_OUTCOME, (json.dumps(part), *[study_id] * 5)), event_ids)
            with readable(self._engine.database):
                for event_id, outcome, reason, message in rows:
                    decision = Decision(Outcome(str(outcome)), Reason(str(reason)) if reason else None, str(message))
                    decided[str(event_id)] = APPLIED if decision.outcome is Outcome.APPLIED else decision
        return decided

    def message_at(self, position: LogPosition, event_id: str) -> EncodedEvent:
        """Return an event of an earlier command from the log.

        Raises
        ------
        LogMismatchError
            When the log has another event or no event at this position.
        """
        record = record_at(self._engine.log, position)
        if record is not None and readable_ids(record.data)[1] == event_id:
            stored = StoredEvalEvent.from_wire(record.data)
            return EncodedEvent(stored.study_id, stored.event_id, record.data)
        raise LogMismatchError(
            f"Event {event_id} is not at offset {position.offset} of partition {position.partition}: this is another log than that of the "
            "command, or it lost its newest events",
            hint="Use a kit of the home in which the command was executed.",
            partition=position.partition,
        )
