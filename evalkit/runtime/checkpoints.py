"""The handler that records checkpoints."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from typing import Any

from evalkit._util.text import exact_moment
from evalkit.domain.checkpoint_rows import CheckpointRows, NewCheckpoint
from evalkit.domain.codec import decode
from evalkit.domain.commands import AutoDefinitions, RecordCheckpoint, check_custom, check_runs, content
from evalkit.domain.corrections import call_to_amend
from evalkit.domain.definitions import Metric
from evalkit.domain.events import CheckpointContent, CheckpointRecorded, EncodedEvent, StoredEvalEvent
from evalkit.domain.ids import CheckpointId, StudyId, keyed_checkpoint_id, new_id, time_of_event
from evalkit.domain.periods import SHORTEST, period_start
from evalkit.domain.refusals import invalid
from evalkit.domain.study import PER_RUN, Checkpoint, Study, StudyStatus
from evalkit.domain.time_input import zone_name
from evalkit.errors import (
    ConflictError,
    InvalidInputError,
    LogError,
    LogUnavailableError,
    Message,
    OutcomeUnknownError,
    TransitionError,
    warn,
)  # fmt: skip
from evalkit.readmodel.corrections import NOT_RETRACTED, Corrections
from evalkit.readmodel.database.database import in_parts
from evalkit.readmodel.fold import APPLIED, Decision
from evalkit.runtime.commands import CommandHandler, calls, written_now
from evalkit.runtime.corrections import correction_text
from evalkit.runtime.definitions import new_definitions

__all__ = ["CheckpointHandler", "RecordedCheckpoints"]


@dataclass(frozen=True)
class RecordedCheckpoints:
    """The result of `record_checkpoints`.

    Examples
    --------
    >>> RecordedCheckpoints(recorded=2, already_recorded=1, checkpoint_ids=("a", "b", "c"))
    RecordedCheckpoints(2 recorded, 1 already recorded)
    """

    recorded: int
    """The number of checkpoints recorded now."""
    already_recorded: int
    """The number of checkpoints recorded before, under the same key and with the same content."""
    checkpoint_ids: tuple[str, ...]
    """The checkpoint ids of all rows, in row order."""

    def __repr__(self) -> str:
        again = f", {self.already_recorded} already recorded" if self.already_recorded else ""
        return f"RecordedCheckpoints({self.recorded} recorded{again})"


@dataclass
class _Recording:
    """The checkpoints for the rows of one study, recorded now or before."""

    rows: CheckpointRows
    ids: list[str]
    stored: dict[str, Checkpoint]
    """The checkpoints that were already recorded, or that another process recorded meanwhile, in their latest version, by id."""
    corrections: Corrections = field(default_factory=dict)
    """The corrections of the checkpoints that were already recorded."""
    new: dict[str, NewCheckpoint] = field(default_factory=dict)
    """The checkpoints to append, by id."""
    written_at: str = field(default_factory=written_now)
    """The time of writing of their events."""

    def checkpoint(self, checkpoint_id: str) -> Checkpoint:
        """Return the checkpoint with an id, recorded now or before."""
        if checkpoint_id in self.stored:
            return self.stored[checkpoint_id].model_copy(update={"already_recorded": True})
        new = self.new[checkpoint_id]
        return _recorded(new.encoded, checkpoint_id, self.rows.command(new.row))


def _recorded(event: EncodedEvent, checkpoint_id: str, content: CheckpointContent) -> Checkpoint:
    return Checkpoint(
        id=CheckpointId(checkpoint_id), study_id=StudyId(event.study_id), timestamp=content.timestamp, metrics=content.metrics,
        events_analyzed=content.events_analyzed, sessions_included=content.sessions_included, recorded_at=time_of_event(event.event_id),
        provenance=content.provenance,
    )  # fmt: skip


class CheckpointHandler(CommandHandler):
    """The handler of the commands that record checkpoints."""

    def record_checkpoint(self, reference: Study | str, command: RecordCheckpoint, *, define: bool = False) -> Checkpoint:
        """See `EvalKit.record_checkpoint`."""
        done = self._record(reference, CheckpointRows.of_commands([command]), define=define)
        return done.checkpoint(done.ids[0])

    def record_checkpoints(self, reference: Study | str, rows: CheckpointRows, *, define: bool = False) -> RecordedCheckpoints:
        """See `EvalKit.record_checkpoints`."""
        done = self._record(reference, rows, define=define, numbered=True)
        recorded = len(done.new) - len(done.new.keys() & done.stored.keys())
        return RecordedCheckpoints(recorded, len(rows) - recorded, tuple(done.ids))

    def _record(self, reference: Study | str, rows: CheckpointRows, *, define: bool = False, numbered: bool = False) -> _Recording:
        """Record checkpoints in a study.

        With `define`, undeclared metrics are defined. If the rows are `numbered`, errors name the row.
        """
        with self._engine.command():
            study = self.recordable(reference)
            undeclared: list[Metric] = []
            if rows.custom or any(command.metrics.custom for command in rows.commands.values()):
                stored = self._stored.get_metrics(study.id)
                defined = AutoDefinitions(stored) if define else stored
                rows = rows.checked_with(defined)
                check_custom(rows.commands, defined, rows=numbered)
                names = dict.fromkeys([*rows.custom, *(name for command in rows.commands.values() for name in command.metrics.custom)])
                undeclared = new_definitions(study.name, stored, [AutoDefinitions()[name] for name in names if name not in stored])
            if study.cadence != PER_RUN:
                check_runs(rows.commands, study.cadence, rows=numbered)
            ids: list[str] = [new_id() if key is None else keyed_checkpoint_id(study.id, key) for key in rows.keys]
            keyed = [checkpoint_id for checkpoint_id, key in zip(ids, rows.keys, strict=True) if key is not None]
            done = _Recording(rows, ids, *self._stored.versions(study.id, keyed))
            for row, (checkpoint_id, event) in enumerate(zip(ids, rows.events(study.id, ids, done.written_at), strict=True)):
                if event is None or checkpoint_id in done.stored or checkpoint_id in done.new:
                    self._add(done, study, row, checkpoint_id, numbered=numbered)
                else:
                    done.new[checkpoint_id] = event
            unkeyed = [period for period, key in zip(rows.periods, rows.keys, strict=True) if key is None]
            repeats = self._repeats(study, unkeyed, several=numbered)
            if done.new:
                self._define_before(study.id, undeclared)
                new = list(done.new.values())
                try:
                    decisions = self._outcomes.append(study.id, [added.encoded for added in new], [added.decoded for added in new])
                except LogError as error:
                    if not numbered:
                        raise
                    raise _in_rows(error, new, keyed=len(keyed) == len(rows)) from None
                done.stored |= self._settled(study.id, done.new, decisions, rows.command)
            if repeats is not None:
                warn(repeats)
            return done

    def _define_before(self, study_id: str, metrics: Sequence[Metric]) -> None:
        """Define the metrics of checkpoints that are recorded next."""
        try:
            self._define(study_id, metrics)
        except OutcomeUnknownError as error:  # in contrast to other commands, this one has more to append
            raise error.but(effect="No checkpoint was recorded.", hint="Execute the command again.", shell_hint="") from None

    def _add(self, done: _Recording, study: Study, row: int, checkpoint_id: str, *, numbered: bool) -> None:
        """Add a checkpoint to `done.new`, unless it is already recorded.

        Raises
        ------
        ConflictError, InvalidInputError
            When the key was used for different content or is that of a retracted checkpoint, or the event is too large.
        """
        stored, earlier = done.stored.get(checkpoint_id), done.new.get(checkpoint_id)
        if stored is not None:
            command = done.rows.command(row)
            if stored.retracted or content(stored) != content(command):
                where, number = (f"row {row}: ", row) if numbered else ("", None)
                raise _key_taken(study, command.key, stored, command, done.corrections, where=where, row=number)
            return
        if earlier is not None:
            command = done.rows.command(row)
            if content(done.rows.command(earlier.row)) != content(command):
                error = invalid("key", command.key, "an earlier row has this key and different content")
                raise error.in_row(row, effect="Nothing was recorded.")
            return
        try:
            event = done.rows.command(row).encoded(study.id, checkpoint_id, done.written_at)
        except InvalidInputError as error:
            raise error.in_row(row, effect="Nothing was recorded.") if numbered else error from None
        done.new[checkpoint_id] = NewCheckpoint(row, event, decode(event.data))

    def recorded(self, study_id: str, messages: Sequence[EncodedEvent], decisions: dict[str, Decision]) -> Checkpoint | RecordedCheckpoints:
        """Return the result of a command that appended checkpoints."""
        contents: list[CheckpointRecorded] = []
        new = {}
        for row, message in enumerate(messages):
            event = StoredEvalEvent.from_wire(message.data).event
            assert isinstance(event, CheckpointRecorded)
            contents.append(event)
            new[event.id] = NewCheckpoint(row, message, decode(message.data))
        stored = self._settled(study_id, new, decisions, contents.__getitem__)
        if len(new) > 1:
            return RecordedCheckpoints(len(new) - len(stored), len(stored), tuple(new))
        ((checkpoint_id, first),) = new.items()
        if checkpoint_id in stored:
            return stored[checkpoint_id].model_copy(update={"already_recorded": True})
        return _recorded(first.encoded, checkpoint_id, contents[0])

    def recordable(self, reference: Study | str) -> Study:
        """Return the study that matches a reference.

        Raises
        ------
        TransitionError
            When the study was never started, so that no checkpoint can be recorded in it.
        """
        study = self.studies.resolve(reference)
        if study.started_at is None:
            problem = f"Cannot record in study {study.name!r}: it"
            message = (
                Message(problem=f"{problem} is pending (must be running, paused or stopped)", **calls("Start it with", "start", study))
                if study.status is StudyStatus.PENDING
                else Message(problem=f"{problem} is stopped and was never started", hint="Create another study.")
            )
            raise TransitionError(message, study_id=study.id, status=study.status.value, command="record_checkpoint")
        return study

    def lifecycle(self, study: Study) -> list[tuple[str, datetime]]:
        """Return the kind and time of the lifecycle events of a study, in their order."""
        with self._engine.command():
            return self._stored.lifecycle(study.id)

    def last_period(self, study: Study) -> tuple[datetime, datetime] | None:
        """Return the period with the latest end of the checkpoints of a study; None without any."""
        with self._engine.command():
            return self._stored.last_period(study.id)

    def starts_by_time_of_day(self, study: Study) -> list[tuple[str, datetime]]:
        """Return the earliest checkpoint, its id and start, for each time of day of a start."""
        with self._engine.command():
            return self._stored.starts_by_time_of_day(study.id)

    def overlapping_period(self, study: Study, start: datetime, end: datetime) -> tuple[datetime, datetime] | None:
        """Return the first period of a checkpoint that overlaps with a period; None without one."""
        with self._engine.command():
            return self._stored.overlapping_period(study.id, start, end)

    def versions_of_keys(self, study: Study, keys: Sequence[str]) -> dict[str, Checkpoint]:
        """Return the latest versions of checkpoints by idempotency key, with retracted ones."""
        ids = {str(keyed_checkpoint_id(study.id, key)): key for key in keys}
        with self._engine.command():
            versions, _ = self._stored.versions(study.id, list(ids))
        return {ids[checkpoint_id]: version for checkpoint_id, version in versions.items()}

    def check_period(self, reference: Study | str, start: datetime, end: datetime, tz: tzinfo) -> None:
        """Check that a calendar period can get the next checkpoint of a study.

        Parameters
        ----------
        reference
            The study.
        start, end
            The period.
        tz
            The time zone of its calendar.

        Raises
        ------
        InvalidInputError
            When the study's last period does not begin with a calendar period in this time zone, or a checkpoint overlaps with the period.
        """
        with self._engine.command():
            study = self.studies.resolve(reference)
            last, overlap = self._stored.last_period(study.id), self._stored.overlapping_period(study.id, start, end)
        # A checkpoint of a shorter time, such as that of a block, says nothing about the calendar of the study.
        if (
            last is not None
            and last[1] - last[0] >= 0.9 * SHORTEST[study.period_type]
            and period_start(study.period_type, last[0], tz) != last[0]
        ):
            problem = (
                f"the last period of study {study.name!r}, {_interval(last)}, does not begin with a calendar period in {zone_name(tz)}"
            )
            raise invalid("period", "auto", problem, hint="Pass the time zone of the study's periods as tz=, or period=(start, end).")
        if overlap is not None:
            inside = "" if overlap == (start, end) else f", in its current period {_interval((start, end))}"
            raise invalid(
                "period", "auto", f"study {study.name!r} already has a checkpoint for {_interval(overlap)}{inside}",
                hint="Wait for the next period, retract that checkpoint with kit.retract_checkpoint(), or pass period=(start, end).",
            )  # fmt: skip

    def _settled(
        self,
        study_id: str,
        new: Mapping[str, NewCheckpoint],
        decisions: dict[str, Decision],
        content_of: Callable[[int], CheckpointContent],
    ) -> dict[str, Checkpoint]:
        """Return the checkpoints that another process recorded first with the same content.

        `content_of` returns the content of a row.

        Raises
        ------
        ConflictError
            When an event had no effect for another reason.
        """
        ineffective = {key: appended for key, appended in new.items() if decisions[appended.encoded.event_id] is not APPLIED}
        stored, corrections = self._stored.versions(study_id, list(ineffective))
        for checkpoint_id, appended in ineffective.items():
            event = appended.encoded
            if checkpoint_id not in stored:
                raise self._conflict(event, decisions[event.event_id])
            version = stored[checkpoint_id]
            own = content_of(appended.row)
            if version.retracted or content(version) != content(own):
                study = self._study(study_id)
                where, event_id, key = "Conflict: ", event.event_id, getattr(own, "key", None)
                raise _key_taken(study, key, version, own, corrections, where=where, event_id=event_id)
        return stored

    def _repeats(self, study: Study, periods: Sequence[tuple[str, str]], *, several: bool) -> Message | None:
        """Return a warning about periods that have or get several checkpoints; None without any."""
        if not periods:
            return None
        counts = Counter(periods)
        newest = str(self._engine.database.execute("SELECT max(period_end) FROM checkpoints WHERE study_id = ?", (study.id,))[0][0] or "")
        candidates = [period for period in counts if period[1] <= newest]
        sql = (
            "WITH candidates (began, ended) AS MATERIALIZED "
            "(SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)) "
            "SELECT began, ended FROM candidates WHERE EXISTS "
            f"(SELECT 1 FROM checkpoints WHERE study_id = ? AND period_end = ended AND period_start = began AND {NOT_RETRACTED})"
        )
        rows = in_parts(lambda part: self._engine.database.execute(sql, (json.dumps(part), study.id)), candidates) if candidates else []
        stored = {(str(start), str(end)) for start, end in rows}
        duplicates = {period: count if period in stored else count - 1 for period, count in counts.items()}
        total = sum(duplicates.values())
        if not total:
            return None
        start, end = (text[:16].replace("T", " ") for text in next(period for period, count in duplicates.items() if count))
        recorded = "another one was recorded" if total == 1 else f"{total:,} duplicates were recorded"
        return Message(
            problem=f"Study {study.name!r} already has a checkpoint for [{start}, {end}) UTC; {recorded}",
            hint="Add a key to each row to avoid duplicates." if several else "Pass key= to avoid duplicates.",
            shell_hint="Add a 'key' column to avoid duplicates." if several else "Pass --key to avoid duplicates.",
        )


def _key_taken(
    study: Study,
    key: str | None,
    stored: Checkpoint,
    new: CheckpointContent,
    corrections: Corrections,
    *,
    where: str = "",
    event_id: str | None = None,
    row: int | None = None,
) -> ConflictError:
    """Return the error for the key of a retracted checkpoint or of different content."""
    name = "this checkpoint's id" if key is None else f"key {key!r}"
    name = name if where else name[0].upper() + name[1:]
    last = corrections[stored.id][-1] if stored.id in corrections else None
    values: dict[str, Any] = {"study_id": study.id, "event_id": event_id, "row": row, "checkpoint": stored}
    if last is not None:
        values |= {"explanation": last.event.reason, "author": last.event.author}
    if stored.retracted and last is not None:
        message = Message(
            where=where, problem=f"{name} was used for a checkpoint that was retracted {correction_text(last)}",
            effect="The key of a retracted checkpoint cannot be used again.", hint="Use a new key.",
        )  # fmt: skip
        return ConflictError(message, reason="checkpoint retracted", **values)
    since = f" (amended {correction_text(last)})" if last is not None else ""
    message = Message(
        where=where, problem=f"{name} was already used for a checkpoint with different content{since}",
        effect="The recorded checkpoint is unchanged.", hint="Use a new key to record this one as well.",
    )  # fmt: skip
    call = call_to_amend(study.name, key, stored, new)
    if call is not None:
        step = f"{message.hint} To correct the recorded one:"
        in_shell = f"evalkit checkpoint amend {stored.id} NAME=VALUE --reason TEXT"
        message = replace(message, hint=f"{step} {call}.", shell_hint=f"{step} {in_shell}")
    return ConflictError(message, reason="checkpoint id taken", **values)


def _in_rows(error: LogError, new: Sequence[NewCheckpoint], *, keyed: bool) -> LogError:
    """Return the error of a partly failed append, with the durable rows in its message."""
    durable = [appended.row for appended, position in zip(new, error.positions, strict=False) if position is not None]
    if not durable:
        return error
    return LogUnavailableError(
        error.message.problem,
        effect=f"{len(durable):,} of {len(new):,} new rows are durable in the log: those up to row {durable[-1]}, counted from 0.",
        hint="Call again with the same rows and keys to record the rest."
        if keyed
        else f"The rows have no keys: check with kit.checkpoints() which rows from {durable[-1] + 1} on are recorded, and record only the "
        "others.",
        positions=error.positions, driver_message=error.driver_message,
    )  # fmt: skip


def _interval(period: tuple[datetime, datetime]) -> str:
    return f"[{exact_moment(period[0])}, {exact_moment(period[1])}) UTC"
