"""Checkpoints to record together, as commands or as encoded parts of events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from evalkit.domain.codec import DecodedEvent
from evalkit.domain.commands import RecordCheckpoint, RowReader
from evalkit.domain.definitions import Metric
from evalkit.domain.events import MAX_EVENT_BYTES, EncodedEvent
from evalkit.domain.ids import event_id_at, new_id
from evalkit.domain.times import stored_text

__all__ = ["CheckpointRows", "EncodedRow"]


class EncodedRow(NamedTuple):
    """The parts of the event of a valid checkpoint; times in the format of the read model."""

    start: str
    end: str
    timestamp: str
    wire_timestamp: str
    metrics: str
    """As JSON, without duplicate keys."""
    events_analyzed: int
    sessions: str
    """As JSON."""
    key: str | None
    at_ms: int | None
    """The time of recording in milliseconds since 1970 UTC; None for the current time."""


class CheckpointRows:
    """Checkpoints to record together, in the order of the rows that a user passed.

    Parameters
    ----------
    count
        The number of rows.
    command
        Returns the command of a row by its number; it raises an error for an invalid row.
    encoded
        The encoded rows, with None for a row that is not encoded; empty without any. The commands of encoded rows need not be made to check
        them.
    custom
        The names of custom metrics in encoded rows.
    definitions
        The definitions that the custom metrics of encoded rows were checked with.
    """

    def __init__(
        self,
        count: int,
        command: Callable[[int], RecordCheckpoint],
        encoded: Sequence[EncodedRow | None] = (),
        *,
        custom: Sequence[str] = (),
        definitions: Mapping[str, Metric] | None = None,
    ) -> None:
        self._count = count
        self._command = command
        self._commands: dict[int, RecordCheckpoint] = {}
        self._definitions = definitions
        self.custom = custom
        self.encoded: Sequence[EncodedRow | None] = encoded or [None] * count
        """The encoded rows, with None for a row that is not encoded."""

    @classmethod
    def of_commands(cls, commands: Sequence[RecordCheckpoint]) -> CheckpointRows:
        """Return the rows of a list of commands."""
        return cls(len(commands), commands.__getitem__)

    @classmethod
    def of_mappings(
        cls,
        mappings: Sequence[Any],
        reader: RowReader,
        encoded: Sequence[EncodedRow | None] = (),
        *,
        custom: Sequence[str] = (),
        definitions: Mapping[str, Metric] | None = None,
    ) -> CheckpointRows:
        """Return rows that a reader reads from mappings; some are encoded already."""
        return cls(len(mappings), lambda row: reader.command(mappings[row], row), encoded, custom=custom, definitions=definitions)

    def __len__(self) -> int:
        return self._count

    def command(self, row: int) -> RecordCheckpoint:
        """Return the command of a row.

        Raises
        ------
        InvalidInputError
            When the row is invalid.
        """
        if row not in self._commands:
            self._commands[row] = self._command(row)
        return self._commands[row]

    @cached_property
    def commands(self) -> dict[int, RecordCheckpoint]:
        """The commands of the rows that are not encoded, by number.

        Raises
        ------
        InvalidInputError
            When a row is invalid; that of the first one, if there are several.
        """
        return {row: self.command(row) for row, encoded in enumerate(self.encoded) if encoded is None}

    def checked_with(self, definitions: Mapping[str, Metric]) -> CheckpointRows:
        """Return these rows, as commands if their custom metrics had other definitions."""
        if not self.custom or self._definitions == definitions:
            return self
        return CheckpointRows(self._count, self.command)

    @cached_property
    def keys(self) -> list[str | None]:
        """The idempotency keys of the rows."""
        return [self.command(row).key if encoded is None else encoded.key for row, encoded in enumerate(self.encoded)]

    @cached_property
    def periods(self) -> list[tuple[str, str]]:
        """The start and end of each row's period, in the format of the read model."""
        commands = {row: command.metrics.period for row, command in self.commands.items()}
        periods = {row: (stored_text(period.start), stored_text(period.end)) for row, period in commands.items()}
        return [periods[row] if encoded is None else encoded[:2] for row, encoded in enumerate(self.encoded)]

    def events(self, study_id: str, checkpoint_ids: Sequence[str], written_at: str) -> list[tuple[EncodedEvent, DecodedEvent] | None]:
        """Return the events that record the encoded rows, and what `decode` returns for them.

        The bytes are those of `encoded_checkpoint`.

        Parameters
        ----------
        study_id
            The id of the study.
        checkpoint_ids
            The id of each row's checkpoint.
        written_at
            The time of writing, in the format of the read model.

        Returns
        -------
        list
            With None for a row that is not encoded, or whose event is too large.
        """
        events: list[tuple[EncodedEvent, DecodedEvent] | None] = []
        for row, checkpoint_id in zip(self.encoded, checkpoint_ids, strict=True):
            if row is None:
                events.append(None)
                continue
            start, end, timestamp, wire_timestamp, metrics, analyzed, sessions, _, at_ms = row
            event_id = new_id() if at_ms is None else event_id_at(at_ms)
            data = (
                f'{{"event_id":"{event_id}","event":{{"type":"checkpoint_recorded","id":"{checkpoint_id}","study_id":"{study_id}",'
                f'"timestamp":"{wire_timestamp}","metrics":{metrics},"events_analyzed":{analyzed},"sessions_included":{sessions}}},'
                f'"written_at":"{written_at}"}}'
            ).encode()
            values = (timestamp, metrics, analyzed, sessions, start, end, 1, None, None, None)
            decoded = DecodedEvent("checkpoint_recorded", study_id, event_id, checkpoint_id, values, written_at)
            events.append((EncodedEvent(study_id, event_id, data), decoded) if len(data) <= MAX_EVENT_BYTES else None)
        return events
