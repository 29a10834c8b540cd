"""Checkpoints to record together, as commands or as encoded parts of events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import repeat
from typing import Any, NamedTuple

from evalkit._util.named_tuples import named_tuples
from evalkit.domain.codec import DecodedEvent
from evalkit.domain.commands import RecordCheckpoint, RowReader
from evalkit.domain.definitions import Metric
from evalkit.domain.events import MAX_EVENT_BYTES, EncodedEvent
from evalkit.domain.ids import event_id_at, new_id
from evalkit.domain.times import stored_text

__all__ = ["CheckpointRows", "EncodedRows", "NewCheckpoint"]


class EncodedRows(NamedTuple):
    """The parts of the events of checkpoints, one value for each row.

    Times are in the format of the read model.
    """

    valid: Sequence[bool]
    """Whether the row is encoded. If it is not, its other values have no meaning."""
    start: Sequence[str]
    end: Sequence[str]
    timestamp: Sequence[str]
    wire_timestamp: Sequence[str]
    metrics: Sequence[str]
    """As JSON, without duplicate keys."""
    events_analyzed: Sequence[int]
    sessions: Sequence[str]
    """As JSON."""
    key: Sequence[str | None]
    at_ms: Sequence[int | None]
    """The time of recording in milliseconds since 1970 UTC; None for the current time."""


class NewCheckpoint(NamedTuple):
    """A checkpoint to append, with the number of its row."""

    row: int
    encoded: EncodedEvent
    decoded: DecodedEvent


class CheckpointRows:
    """Checkpoints to record together, in the order of the rows that a user passed.

    Parameters
    ----------
    count
        The number of rows.
    command
        Returns the command of a row by its number; it raises an error for an invalid row.
    encoded
        The encoded rows; None if none is encoded. The commands of encoded rows need not be made to check them.
    custom
        The names of custom metrics in encoded rows.
    definitions
        The definitions that the custom metrics of encoded rows were checked with.
    """

    def __init__(
        self,
        count: int,
        command: Callable[[int], RecordCheckpoint],
        encoded: EncodedRows | None = None,
        *,
        custom: Sequence[str] = (),
        definitions: Mapping[str, Metric] | None = None,
    ) -> None:
        self._count = count
        self._command = command
        self._commands: dict[int, RecordCheckpoint] = {}
        self._definitions = definitions
        self._encoded = encoded
        self.custom = custom
        self.not_encoded: Sequence[int] = range(count)
        """The numbers of the rows that are not encoded."""
        if encoded is not None:
            self.not_encoded = [] if all(encoded.valid) else [row for row, valid in enumerate(encoded.valid) if not valid]

    @classmethod
    def of_commands(cls, commands: Sequence[RecordCheckpoint]) -> CheckpointRows:
        """Return the rows of a list of commands."""
        return cls(len(commands), commands.__getitem__)

    @classmethod
    def of_mappings(
        cls,
        mappings: Sequence[Any],
        reader: RowReader,
        encoded: EncodedRows | None = None,
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
        return {row: self.command(row) for row in self.not_encoded}

    def checked_with(self, definitions: Mapping[str, Metric]) -> CheckpointRows:
        """Return these rows, as commands if their custom metrics had other definitions."""
        if not self.custom or self._definitions == definitions:
            return self
        return CheckpointRows(self._count, self.command)

    @cached_property
    def keys(self) -> list[str | None]:
        """The idempotency keys of the rows."""
        keys: list[str | None] = [None] * self._count if self._encoded is None else list(self._encoded.key)
        for row, command in self.commands.items():
            keys[row] = command.key
        return keys

    @cached_property
    def periods(self) -> list[tuple[str, str]]:
        """The start and end of each row's period, in the format of the read model."""
        periods = [("", "")] * self._count if self._encoded is None else list(zip(self._encoded.start, self._encoded.end, strict=True))
        for row, command in self.commands.items():
            periods[row] = stored_text(command.metrics.period.start), stored_text(command.metrics.period.end)
        return periods

    def events(self, study_id: str, checkpoint_ids: Sequence[str], written_at: str) -> list[NewCheckpoint | None]:
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
        if self._encoded is None:
            return [None] * self._count
        rows = self._encoded
        event_ids = [new_id() if moment is None else event_id_at(moment) for moment in rows.at_ms]
        parts = zip(event_ids, checkpoint_ids, rows.wire_timestamp, rows.metrics, rows.events_analyzed, rows.sessions, strict=True)
        data = [
            (
                f'{{"event_id":"{event_id}","event":{{"type":"checkpoint_recorded","id":"{checkpoint_id}","study_id":"{study_id}",'
                f'"timestamp":"{timestamp}","metrics":{metrics},"events_analyzed":{analyzed},"sessions_included":{sessions}}},'
                f'"written_at":"{written_at}"}}'
            ).encode()
            for event_id, checkpoint_id, timestamp, metrics, analyzed, sessions in parts
        ]
        values = zip(rows.timestamp, rows.metrics, rows.events_analyzed, rows.sessions, rows.start, rows.end, repeat(1))
        kind, study, written = repeat("checkpoint_recorded"), repeat(study_id), repeat(written_at)
        encoded = named_tuples(EncodedEvent, study, event_ids, data)
        decoded = named_tuples(DecodedEvent, kind, study, event_ids, checkpoint_ids, values, written, repeat(None))
        events: list[NewCheckpoint | None] = list(named_tuples(NewCheckpoint, range(self._count), encoded, decoded))
        too_large = [row for row, text in enumerate(data) if len(text) > MAX_EVENT_BYTES]
        for row in (*self.not_encoded, *too_large):
            events[row] = None
        return events
