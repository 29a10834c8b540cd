"""Records the sessions of a source as checkpoints of a study's periods."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from filelock import FileLock, Timeout

from evalkit._util.text import plural
from evalkit.collect.collected import Collected
from evalkit.collect.due import due_periods, period_key, running_intervals
from evalkit.collect.evidence import Evidence
from evalkit.collect.placement import placed_sessions
from evalkit.collect.planner import DETAILS, PeriodPlan, Planner, ReadSessions, Settings
from evalkit.collect.source import Problems
from evalkit.collect.sources import Reading, SourceReference, completed_by, problem_message, read_location
from evalkit.domain.checkpoint_rows import CheckpointRows
from evalkit.domain.ids import keyed_checkpoint_id
from evalkit.domain.periods import SHORTEST, period_start
from evalkit.domain.refusals import invalid
from evalkit.domain.study import PER_RUN, PeriodType, Study, StudyStatus
from evalkit.domain.time_input import zone_name
from evalkit.domain.times import wire_time
from evalkit.errors import ConflictError, EvalkitError, InvalidInputError
from evalkit.runtime.handlers import Handlers

__all__ = ["Collector", "FindStudy", "NewStudy"]

_TRIES = 3
_LOCK_SECONDS = 600
_LATE = "Late sessions"
"""The reason of amendments."""


class NewStudy(NamedTuple):
    """A study that a dry run does not create."""

    name: str
    period_type: PeriodType
    began: datetime


FindStudy = Callable[[pl.DataFrame], Study | NewStudy]
"""Returns the study for sessions; called when the source has been read, so that no study is created for one that cannot be."""


class Collector:
    """Records sessions as checkpoints of one kit.

    Parameters
    ----------
    handlers
        The handlers of the kit's commands.
    home
        The home of the kit, with the cache of read files and the locks.
    evidence
        The sessions of recorded checkpoints.
    now
        Returns the current time.
    """

    def __init__(self, handlers: Handlers, *, home: Path, evidence: Evidence, now: Any = lambda: datetime.now(UTC)) -> None:
        self._handlers, self._home, self._evidence, self._now = handlers, home, evidence, now

    def collect(
        self,
        find_study: FindStudy,
        reference: SourceReference,
        options: Mapping[str, Any],
        settings: Settings,
        *,
        strict: bool = False,
        progress: bool = True,
    ) -> Collected:
        """Read a source and record its sessions.

        Parameters
        ----------
        find_study
            Returns the study.
        reference, options
            The source with its options.
        settings
            How the sessions are recorded.
        strict
            Whether a file that cannot be read is an error.
        progress
            Whether to show a progress bar.

        Raises
        ------
        InvalidInputError
            If the source cannot be read, or one of its files and `strict` is set.
        """
        if not settings.dry_run:
            self._evidence.check()
        cache, is_new = self._cache(reference), not self._home.is_dir()
        with self._lock(None if settings.dry_run or is_new else cache.with_suffix(".lock"), reference):
            now = self._now()  # before reading: what is written later is late
            reading = read_location(reference, options, cache=None if is_new else cache, progress=progress)
            _check_reading(reference, reading, strict=strict)
            sessions = completed_by(reading.sessions, settings.labels, settings.prices, reading.problems)
            read = ReadSessions(sessions, reading.problems, reading.files, reading.changed, reference.retention_days)
            collected = self._collected(find_study(sessions), settings, read, now)
            if is_new and self._home.is_dir() and reading.store is not None:  # the home was created only now
                reading.store(cache)
            return collected

    def record(self, find_study: FindStudy, sessions: pl.DataFrame, settings: Settings, problems: Problems) -> Collected:
        """Record the sessions of a frame; `problems` has what was left out of it."""
        if not settings.dry_run:
            self._evidence.check()
        sessions = completed_by(sessions, settings.labels, settings.prices, problems)
        return self._collected(find_study(sessions), settings, ReadSessions(sessions, problems), self._now())

    def _collected(self, study: Study | NewStudy, settings: Settings, read: ReadSessions, now: datetime) -> Collected:
        for attempt in range(_TRIES):
            try:
                return self._record(study, settings, read, now)
            except ConflictError:  # another process recorded one of the periods meanwhile; it is compared with the sessions now
                if attempt == _TRIES - 1:
                    raise
        raise AssertionError

    def _record(self, study: Study | NewStudy, settings: Settings, read: ReadSessions, now: datetime) -> Collected:
        stored, existing = self._handlers.checkpoints, study if isinstance(study, Study) else None
        if existing is not None:
            stored.recordable(existing)
            self._check_zone(existing, settings)
        lifecycle = [("study_started", study.began)] if isinstance(study, NewStudy) else stored.lifecycle(study)
        running = running_intervals(lifecycle)
        due = due_periods(study.period_type, running, settings.zone, now, settings.grace)
        placement = placed_sessions(read.sessions, due, running)
        keys = {bounds: period_key(settings.name, bounds.start) for bounds in due}
        checkpoints = {} if existing is None else stored.versions_of_keys(existing, list(keys.values()))
        nothing = read.sessions.clear()
        periods = [
            PeriodPlan(bounds, key, placement.by_period.get(bounds, nothing), checkpoints.get(key))
            for bounds, key in keys.items()
            if bounds in placement.by_period or not settings.only_with_sessions
        ]
        definitions = {} if existing is None else self._handlers.definitions(existing)
        planner = Planner(study.period_type, settings, read, self._evidence, definitions, now=now)
        planner.plan(periods, checkpoints)
        notes = [*planner.notes]
        newest = next((period.bounds for period in reversed(periods) if period.status == "recorded"), None)
        if existing is not None and newest is not None and stored.overlapping_period(existing, *newest) is not None:
            notes.append(
                f"Study {study.name!r} has checkpoints of another source in the same periods. Collect each source into a study of its own."
            )
        if existing is not None and not settings.dry_run:
            self._keep_evidence(periods)
            if any(period.status in ("recorded", "amended") for period in periods):
                self._handlers.define_metrics(existing, planner.definitions)
                self._append(existing, periods)
        return Collected(
            study.name, settings.name, tuple(period.result() for period in periods), settings.dry_run, read.files, read.changed,
            placement.waiting, placement.outside, read.problems, tuple(notes), settings.zone,
            existing is not None and existing.status is StudyStatus.STOPPED,
        )  # fmt: skip

    def _keep_evidence(self, periods: Sequence[PeriodPlan]) -> None:
        """Write the sessions of new checkpoints, and of those whose evidence was deleted."""
        for period in periods:
            if period.status in ("recorded", "amended") or period.has_evidence:
                self._evidence.write(period.sessions, period.evidence)

    def _append(self, study: Study, periods: Sequence[PeriodPlan]) -> None:
        """Record new checkpoints and amend others."""
        new = {period.key: period.command for period in periods if period.command is not None}
        self._handlers.checkpoints.record_checkpoints(study, CheckpointRows.of_commands(list(new.values())))
        recorded = self._handlers.checkpoints.versions_of_keys(study, list(new))
        for period in periods:
            period.checkpoint = recorded.get(period.key, period.checkpoint)
            if period.status != "amended" or period.checkpoint is None:
                continue
            metrics = {name: value for name, value in period.changes.items() if name not in DETAILS}
            details = {name: period.changes.get(name) for name in DETAILS}
            try:
                period.checkpoint = self._handlers.corrections.amend(
                    period.checkpoint, metrics, **details, provenance=period.provenance, reason=_LATE, author=None
                )
            except ConflictError as error:
                period.status, period.note = "conflict", error.message.problem

    # --- files and checks ---------------------------------------------------------------------------------------------------------

    def _check_zone(self, study: Study, settings: Settings) -> None:
        """Check that the periods of a study belong to the calendar of the time zone.

        They are the last one, and all of this source: of two time zones that differ only in summer, the last period can be in both.
        """
        last = self._handlers.checkpoints.last_period(study)
        if study.cadence == PER_RUN or last is None:
            return
        whole = last[1] - last[0] >= 0.9 * SHORTEST[study.period_type]
        starts = [last[0]] if whole else []
        for checkpoint_id, start in self._handlers.checkpoints.starts_by_time_of_day(study):
            if checkpoint_id == str(keyed_checkpoint_id(study.id, period_key(settings.name, start))):
                starts.append(start)
        other = next((start for start in starts if period_start(study.period_type, start, settings.zone) != start), None)
        if other is not None:
            raise invalid(
                "zone", zone_name(settings.zone), f"a period of study {study.name!r} begins at {wire_time(other)}, which is not the start "
                "of a period in this time zone", hint="Pass the time zone of the study's periods.",
            )  # fmt: skip

    def _cache(self, reference: SourceReference) -> Path:
        location = f"{reference.source.name}:{reference.path.absolute()}"
        return self._home / "collect" / f"{hashlib.sha256(location.encode()).hexdigest()[:16]}.parquet"

    @contextmanager
    def _lock(self, path: Path | None, reference: SourceReference) -> Iterator[None]:
        """Hold the lock of a source, so that one run at a time reads it.

        It avoids double work. Without it, idempotency keys keep the data correct.
        """
        lock = None
        if path is not None:
            try:
                path.parent.mkdir(mode=0o700, exist_ok=True)
                lock = FileLock(path)
                lock.acquire(timeout=_LOCK_SECONDS)
            except Timeout:
                raise EvalkitError(
                    f"Another process has been collecting {reference.text!r} for {_LOCK_SECONDS / 60:g} minutes",
                    effect="Nothing was recorded.", hint="Wait until it is done, or end it.",
                ) from None  # fmt: skip
            except OSError:  # a folder that is not writable, or a file system without locks
                lock = None
        try:
            yield
        finally:
            if lock is not None:
                lock.release()


def _check_reading(reference: SourceReference, reading: Reading, *, strict: bool) -> None:
    """Check that the location has logs of the source, and with `strict` that all were read.

    A wrong path must not be taken for an idle agent.

    Raises
    ------
    InvalidInputError
        If no file has the name of a log, none can be read, or one cannot be read and `strict` is set.
    """
    title, skipped = reference.source.title, reading.problems.skipped
    message = problem_message(reading.problems)
    if strict and skipped and message is not None:
        raise InvalidInputError(
            message.problem, effect="Nothing was recorded.", hint="Repair or remove the files, or collect without strict=True.",
            shell_hint="Repair or remove the files, or collect without --strict.", field="location", value=reference.text,
        )  # fmt: skip
    if reading.sessions.height or reading.files is None:
        return
    if not reading.files and not skipped:
        problem = f"No {title} in {str(reference.path)!r}"
    elif reading.files and len(skipped) >= reading.files:
        problem = f"Cannot read any of {plural(reading.files, 'file')} in {str(reference.path)!r} as {title}: {skipped[0].reason}"
    else:
        return
    raise InvalidInputError(
        problem, effect="Nothing was recorded.", hint="Check the path and the source.", field="location", value=reference.text
    )
