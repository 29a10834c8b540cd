"""The facade: one object with all commands and queries."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import date, datetime, timedelta, tzinfo
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from evalkit._util.forks import polars_is_stranded
from evalkit._util.garbage import collector_paused
from evalkit._util.progress_bar import progress_bar
from evalkit._util.temporary_folder import TemporaryFolder
from evalkit.domain.checkpoint_rows import CheckpointRows
from evalkit.domain.commands import AutoDefinitions, CreateStudy, RecordCheckpoint, RowReader, is_auto
from evalkit.domain.definitions import Metric
from evalkit.domain.lenient import Provenance
from evalkit.domain.metrics import LongitudinalMetrics, TimePeriod
from evalkit.domain.notes import Note
from evalkit.domain.refusals import invalid
from evalkit.domain.study import Checkpoint, PeriodType, Study
from evalkit.domain.study_references import CheckpointRef, StudyRef, matching_studies
from evalkit.domain.time_input import check_at, check_local_time, check_zone
from evalkit.domain.times import stored_text
from evalkit.errors import EvalkitError, OutcomeUnknownError, ReadOnlyError, StudyNotFoundError
from evalkit.readmodel.command_queries import CommandQueries
from evalkit.readmodel.history import AsOf
from evalkit.readmodel.pins import Pin
from evalkit.readmodel.rebuild import RebuildResult, rebuild
from evalkit.readmodel.repository import EvalStorage, References
from evalkit.readmodel.rows import readable
from evalkit.readmodel.verify import VerifyResult, verify
from evalkit.runtime.as_of import AsOfInput, check_as_of, current_pin, did_not_exist, is_before
from evalkit.runtime.checkpoint_references import CheckpointReferences
from evalkit.runtime.checkpoints import RecordedCheckpoints
from evalkit.runtime.definitions import checked_metrics, new_definitions
from evalkit.runtime.engine import Engine
from evalkit.runtime.explanation import Explanation, explain
from evalkit.runtime.handlers import Handlers
from evalkit.runtime.status import Status, read_status
from evalkit.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from evalkit.collect.collected import Collected
    from evalkit.collect.recorded_sessions import Recomputed
    from evalkit.frames.all_frames import AllFrames
    from evalkit.frames.mirror import Mirror
    from evalkit.frames.reader import FrameReader
    from evalkit.frames.study_data import StudyData
    from evalkit.panel.panel import Panel
    from evalkit.recording.recorder import Recorder

__all__ = ["EvalKit", "connect"]

Studies = Study | str | Sequence[Study | str] | None
Period = str | PeriodType | tuple[str | PeriodType, int]
Cadence = Literal["per-period", "per-run"]
_TRIES = 5
_MANY_ROWS = 300  # fewer are recorded faster one by one
_T = TypeVar("_T")


def connect(
    home: str | os.PathLike[str] | None = None,
    *,
    log_url: str | None = None,
    database_url: str | None = None,
    read_only: bool = False,
) -> EvalKit:
    """Open a kit. Nothing is created before the first command.

    Parameters
    ----------
    home
        The folder of the log and the read model. By default ``EVALKIT_HOME``, else the nearest ``.evalkit`` in the working directory
        or a parent, else ``.evalkit`` in the working directory.
    log_url
        The URL of the log: ``sqlite:PATH``, or ``iggy+tcp://USER:PASSWORD@HOST:PORT`` or
        ``iggy+tcp://TOKEN@HOST:PORT`` with optional parameters
        ``?stream=evals&topic=events&partitions=4&tls=true&tls_domain=...&tls_ca_file=...``. By default ``EVALKIT_LOG_URL``, else a file
        in the home.
    database_url
        The URL of the read model: ``file:PATH``; ``http(s)://HOST`` or ``libsql://HOST`` for a libSQL server; ``turso+https://HOST``
        or any ``*.turso.io`` for Turso Cloud. By default ``EVALKIT_DATABASE_URL``, else a file in the home. Set the token of a server
        in ``EVALKIT_DATABASE_AUTH_TOKEN``.
    read_only
        Whether to only read, without appending or projecting anything. Use it for a home that is not writable, such as another user's.

    Returns
    -------
    EvalKit
        Usable as a context manager, which is optional.

    Raises
    ------
    InvalidInputError
        When the scheme of a URL is unknown, or the home is a file or a folder without read access.

    Examples
    --------
    >>> import tempfile, evalkit
    >>> with evalkit.connect(tempfile.mkdtemp()) as kit:
    ...     kit.create_study("nightly agent", period="daily:30")
    Study('nightly agent', pending, daily:30)
    """
    return EvalKit(Settings.resolve(home, log_url, database_url, read_only=read_only))


class EvalKit:
    """Studies and checkpoints: commands append events to the log, queries read the read model.

    Created by `connect`. A kit is thread-safe and can be used in a forked process. A query sees the effect of every earlier command.

    Every command raises `InvalidInputError` for an invalid value, `ReadOnlyError` without write access, and `LogUnavailableError` when
    the log is unreachable; nothing was appended then. After `OutcomeUnknownError`, events were appended.

    Examples
    --------
    >>> import tempfile, evalkit
    >>> kit = evalkit.connect(tempfile.mkdtemp())
    >>> kit.start_study(kit.create_study("nightly agent"))
    Study('nightly agent', running, daily)
    >>> kit.record_checkpoint("nightly agent", {"period_start": "2026-01-31", "session_success_rate": 0.85}, tz="UTC")
    Checkpoint([2026-01-31 00:00 .. 2026-02-01 00:00) UTC, 1 of 16 metrics)
    """

    def __init__(self, settings: Settings, *, role: str = "kit") -> None:
        self.engine = Engine(settings, role)
        """The internal engine of the kit, which may change in any version."""
        self.storage = EvalStorage(self.engine.database, self.engine.ready_to_read)
        """The read model as `Study` and `Checkpoint` objects."""
        self._handlers = Handlers(self.engine)
        self._references = References(EvalStorage(self.engine.database, self.engine.has_tables), settings.home, warned=True)
        self._temporary_mirror: TemporaryFolder | None = None

    def __enter__(self) -> EvalKit:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        home = self.engine.settings.home
        return f"EvalKit({str(home.relative_to(os.getcwd()) if home.is_relative_to(os.getcwd()) else home)!r})"  # noqa: PTH109

    def close(self) -> None:
        """Close files and connections. The next use of the kit opens them again.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> kit.close()
        """
        self.engine.close()
        if self._temporary_mirror is not None:
            self._temporary_mirror.close()
            self._temporary_mirror = None

    # --- commands -----------------------------------------------------------------------------------------------------------------

    def create_study(
        self,
        name: str | CreateStudy,
        *,
        period: Period | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        metadata: Mapping[str, str] | None = None,
        cadence: Cadence | None = None,
        metrics: Iterable[Metric | str] = (),
        at: datetime | str | None = None,
        if_exists: Literal["error", "open"] = "error",
    ) -> Study:
        """Create a study in the pending state.

        Parameters
        ----------
        name
            1 to 200 characters, no control characters; or a `CreateStudy` command, without other options.
        period
            The length of a checkpoint's period, optionally with the number of planned periods: ``"weekly"``, ``"weekly:2"``,
            ``(PeriodType.WEEKLY, 2)``. By default ``"daily"``.
        description, tags, metadata
            Notes about the study; metadata maps names to strings.
        cadence
            What a checkpoint describes: ``"per-period"`` (default), a whole period; ``"per-run"``, a run of any length, such as a block of
            40 minutes each night, or a benchmark at a point in time (its start equals its end). Of runs, one is expected to start in each
            period; their length is not checked. Stored in the metadata as ``evalkit.cadence``.
        metrics
            Definitions of the study's own metrics: `Metric` objects, or names in ``evalkit.metrics.STANDARD``.
        at
            The time of creation, with a time zone; by default now. At most 5 minutes in the future.
        if_exists
            What to do when a study with this name exists: ``"error"`` to raise an error, ``"open"`` to return the study, so that a
            notebook cell can be repeated. Stored values are never changed; a warning lists the arguments that differ from them.

        Raises
        ------
        StudyExistsError
            When a study has this name, and it is archived or `if_exists` is ``"error"``.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> kit.create_study("nightly agent", period="weekly:8", tags=["coding"], metadata={"model": "m-1"})
        Study('nightly agent', pending, weekly:8)
        """
        options = {"period": period, "description": description, "tags": tags, "metadata": metadata, "cadence": cadence}
        passed: dict[str, Any] = {option: value for option, value in options.items() if value is not None}
        if not isinstance(name, CreateStudy):
            name = CreateStudy(name, **passed)
        elif passed:
            raise invalid("name", name, "a command cannot be combined with other options", hint="Pass them to CreateStudy.")
        definitions = self._checked_metrics(metrics)
        if definitions:  # refuse them before the study is created
            new_definitions(name.name, self._defined_before(name.name, if_exists), definitions)
        study = self._handlers.study_changes.create(name, at, if_exists)
        self._handlers.define_metrics(study, definitions)
        return study

    def _defined_before(self, name: str, if_exists: str) -> Mapping[str, Metric]:
        """Return the custom metrics of a study that `create_study` opens."""
        try:
            return self._handlers.definitions(name) if if_exists == "open" else {}
        except StudyNotFoundError:
            return {}

    def define_metric(self, study: StudyRef, *metrics: Metric | str) -> None:
        """Define metrics of a study, so that its checkpoints can have them.

        An equal definition has no effect. The label, group, description, range and `primary` of a metric can be redefined: the new
        definition replaces the old one. Recorded values stay, also outside a new range.

        Parameters
        ----------
        study
            See `stop_study`.
        *metrics
            `Metric` objects, or names in ``evalkit.metrics.STANDARD``.

        Raises
        ------
        InvalidInputError
            When a name is reserved, a denominator is unknown, or the study defines the metric differently.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.start_study(kit.create_study("nightly agent"))
        >>> kit.define_metric(study, evalkit.Metric("refusals", kind="count", better="down"), "tool_calls")
        >>> kit.record_checkpoint(study, {"period_start": "2026-01-31", "refusals": 3, "tool_calls": 40}, tz="UTC")
        Checkpoint([2026-01-31 00:00 .. 2026-02-01 00:00) UTC, 0 of 16 metrics, 2 custom)
        """
        self._handlers.define_metrics(study, self._checked_metrics(metrics))

    @staticmethod
    def _checked_metrics(metrics: Iterable[Metric | str]) -> list[Metric]:
        from evalkit.metrics import STANDARD

        return checked_metrics(metrics, STANDARD)

    def start_study(self, study: StudyRef, *, at: datetime | str | None = None) -> Study:
        """Start a pending study.

        Parameters
        ----------
        study, at
            See `stop_study`.

        Raises
        ------
        TransitionError
            When the study is not pending.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.create_study("nightly agent")
        >>> kit.start_study(study)
        Study('nightly agent', running, daily)
        """
        return self._handlers.change_study("start", study, at)

    def pause_study(self, study: StudyRef, *, at: datetime | str | None = None) -> Study:
        """Pause a running study.

        Parameters
        ----------
        study, at
            See `stop_study`.

        Raises
        ------
        TransitionError
            When the study is not running.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.create_study("nightly agent")
        >>> study = kit.start_study(study)
        >>> kit.pause_study(study)
        Study('nightly agent', paused, daily)
        """
        return self._handlers.change_study("pause", study, at)

    def resume_study(self, study: StudyRef, *, at: datetime | str | None = None) -> Study:
        """Resume a paused study.

        Parameters
        ----------
        study, at
            See `stop_study`.

        Raises
        ------
        TransitionError
            When the study is not paused.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.create_study("nightly agent")
        >>> study = kit.pause_study(kit.start_study(study))
        >>> kit.resume_study(study)
        Study('nightly agent', running, daily)
        """
        return self._handlers.change_study("resume", study, at)

    def stop_study(self, study: StudyRef, *, at: datetime | str | None = None) -> Study:
        """Stop a study permanently.

        Parameters
        ----------
        study
            A `Study`, an exact id, a name that only one study has, or the last 4 or more characters of an id.
        at
            The time, with a time zone; by default now. Not before the study's last lifecycle event, at most 5 minutes in the future.

        Raises
        ------
        TransitionError
            When the study is stopped already.
        ConflictError
            When a concurrent command of another process was applied first.
        StudyNotFoundError, AmbiguousStudyError
            When no study, or more than one, matches `study`.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.create_study("nightly agent")
        >>> kit.stop_study("nightly agent")
        Study('nightly agent', stopped, daily)
        """
        return self._handlers.change_study("stop", study, at)

    def rename_study(self, study: StudyRef, name: str) -> Study:
        """Rename a study. The old name can be used for another study then.

        Parameters
        ----------
        study
            See `stop_study`.
        name
            1 to 200 characters, no control characters. The current name has no effect.

        Raises
        ------
        StudyExistsError
            When another study has this name, archived or not.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.create_study("nightly agent")
        >>> kit.rename_study(study, "nightly agent, old prompt")
        Study('nightly agent, old prompt', pending, daily)
        """
        return self._handlers.study_changes.rename(study, name)

    def edit_study(
        self,
        study: StudyRef,
        *,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        metadata: Mapping[str, str | None] | None = None,
        cadence: Cadence | None = None,
    ) -> Study:
        """Change the description, tags, metadata or cadence of a study.

        Omitted arguments change nothing. Of concurrent changes to one part, the last one takes effect.

        Parameters
        ----------
        study
            See `stop_study`.
        description, tags
            The new description, and all tags; ``""`` and ``[]`` clear them.
        metadata
            The keys to set; None removes a key. Other keys are unchanged.
        cadence
            See `create_study`. The recorded checkpoints are unchanged.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.create_study("nightly agent", tags=["coding"], metadata={"model": "m-1", "seed": "1"})
        >>> study = kit.edit_study(study, description="one model, one prompt", metadata={"model": "m-2", "seed": None})
        >>> study.config.description, study.config.tags, study.config.metadata
        ('one model, one prompt', ['coding'], {'model': 'm-2'})
        """
        return self._handlers.study_changes.edit(study, description=description, tags=tags, metadata=metadata, cadence=cadence)

    def archive_study(self, study: StudyRef) -> Study:
        """Archive a study: it is left out of lists, and of look-ups by name.

        Its data and its name are kept. A `Study` object or an exact id still finds it.

        Parameters
        ----------
        study
            See `stop_study`. An archived study has no effect.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.archive_study(kit.create_study("nightly agent"))
        >>> study.archived, kit.storage.list_studies()
        (True, [])
        """
        return self._handlers.study_changes.archive(study, archived=True)

    def unarchive_study(self, study: StudyRef) -> Study:
        """Restore a study from the archive.

        Parameters
        ----------
        study
            See `stop_study`; an archived study is found by its name too.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.archive_study(kit.create_study("nightly agent"))
        >>> kit.unarchive_study("nightly agent").archived
        False
        """
        return self._handlers.study_changes.archive(study, archived=False)

    def record_checkpoint(
        self,
        study: StudyRef,
        metrics: LongitudinalMetrics | Mapping[str, object] | RecordCheckpoint,
        *,
        period: TimePeriod | tuple[datetime | str, datetime | str] | None = None,
        timestamp: datetime | str | None = None,
        events_analyzed: int | None = None,
        sessions_included: Iterable[str] | None = None,
        key: str | None = None,
        at: datetime | str | None = None,
        tz: str | tzinfo | None = None,
        provenance: Provenance | Mapping[str, object] | None = None,
        define: Literal["auto"] | None = None,
    ) -> Checkpoint:
        """Record the metrics of one period.

        Parameters
        ----------
        study
            See `stop_study`.
        metrics
            A `LongitudinalMetrics`; a mapping from metric names to values, which may also contain `timestamp`, `events_analyzed`,
            `sessions_included`, `key`, `provenance`, and ``period_start`` and ``period_end`` instead of `period`; or a
            `RecordCheckpoint` command, without other arguments. Metrics that are left out or None are missing. `avg_session_duration`
            is a timedelta or seconds. Rates are 0 to 1; values up to 1e-6 outside, as from rounding, are corrected.
        period
            ``(start, end)``, half-open: the end is excluded, and after the start; a run (see `create_study`, `cadence`) may end when it
            starts. The end may be None or left out when the start is the start of a period
            of the study (an hour, a day, a week from Monday, a month) in the time zone `tz`, by default UTC. It is then the end of
            that calendar period; a day has 23 or 25 hours when the clocks change.
        timestamp
            The time of the checkpoint; by default the end of the period.
        events_analyzed
            The number of session events that the metrics are computed from; by default 0.
        sessions_included
            The names of the included sessions.
        key
            Idempotency key, for example ``"2026-W05"``: recording again with the same key and content is a no-op.
        at
            The time of recording; by default now.
        tz
            The time zone of dates without a time (``"2026-01-31"``, for daily and longer periods) and of times without a zone: a name
            such as ``"UTC"`` or ``"Europe/Berlin"``, or a tzinfo. None: times must have a time zone.
        provenance
            The origin of the values: a mapping with ``"collector"``, and optionally ``"version"``, ``"models"``, ``"agent"``,
            ``"agent_version"``, ``"sources"``, ``"cost_basis"``, ``"prices"``, ``"evidence"``.
        define
            ``"auto"`` to define undeclared metrics, whose values must be numbers, as ``Metric(name, kind="number", better="neither")``.
            By default, an undeclared name is an error; see `define_metric`.

        Returns
        -------
        Checkpoint
            Its `already_recorded` is True when the same content was recorded before under the same key; nothing was appended then.

        Raises
        ------
        TransitionError
            When the study was never started.
        ConflictError
            When the key was already used for a checkpoint with different content, or for one that was retracted. The content is
            compared with the latest version.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.start_study(kit.create_study("nightly agent"))
        >>> period = ("2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z")
        >>> kit.record_checkpoint(study, {"session_success_rate": 0.85}, period=period, key="2026-01-31")
        Checkpoint([2026-01-31 00:00 .. 2026-02-01 00:00) UTC, 1 of 16 metrics)
        >>> kit.record_checkpoint(study, {"period_start": "2026-02-01", "session_success_rate": 0.9}, tz="UTC")
        Checkpoint([2026-02-01 00:00 .. 2026-02-02 00:00) UTC, 1 of 16 metrics)
        """
        auto = is_auto(define)
        if isinstance(metrics, RecordCheckpoint):
            options = (period, timestamp, events_analyzed, sessions_included, key, at, tz, provenance)
            if any(option is not None for option in options):
                problem = "a command cannot be combined with other arguments"
                raise invalid("metrics", metrics, problem, hint="Pass them to RecordCheckpoint.")
            return self._handlers.checkpoints.record_checkpoint(study, metrics, define=auto)
        zone = None if tz is None else check_zone("tz", tz)
        moment = None if at is None else check_at("at", at) if zone is None else check_local_time("at", at, zone)
        command = RecordCheckpoint(
            metrics, period=period, timestamp=timestamp, events_analyzed=events_analyzed, sessions_included=sessions_included, key=key,
            recorded_at=moment, tz=zone, period_type=lambda: self._recordable(study).period_type,
            cadence=lambda: self._recordable(study).cadence,
            definitions=self._definitions(study, auto=auto), provenance=provenance,
        )  # fmt: skip
        return self._handlers.checkpoints.record_checkpoint(study, command, define=auto)

    def _definitions(self, study: StudyRef, *, auto: bool) -> Callable[[], Mapping[str, Metric]]:
        def defined() -> Mapping[str, Metric]:
            definitions = self._handlers.definitions(study)
            return AutoDefinitions(definitions) if auto else definitions

        return defined

    def record_checkpoints(
        self,
        study: StudyRef,
        rows: pl.DataFrame | pd.DataFrame | Sequence[Mapping[str, Any] | RecordCheckpoint],
        *,
        tz: str | tzinfo | None = None,
        define: Literal["auto"] | None = None,
    ) -> RecordedCheckpoints:
        """Record many checkpoints in one step: all of them, or none when a row is invalid.

        Parameters
        ----------
        study
            See `stop_study`.
        rows
            A Polars or pandas DataFrame, or a list of mappings or `RecordCheckpoint` commands. Columns: the metric names,
            ``period_start``, ``period_end``, and optionally ``timestamp``, ``events_analyzed``, ``sessions_included``, ``recorded_at``,
            ``key``. ``period_end`` may be missing as in `record_checkpoint`. The frame of ``kit.checkpoints()`` is accepted unchanged.
        tz
            The time zone of dates and of times without one, see `record_checkpoint`.
        define
            ``"auto"`` to define undeclared columns of numbers as metrics, see `record_checkpoint`.

        Returns
        -------
        RecordedCheckpoints
            The number of checkpoints recorded by this call and by earlier calls, and the ids of all rows.

        Raises
        ------
        InvalidInputError
            When a value is invalid; the error has the row (from 0) and the column.
        ConflictError
            When a key was already used for a checkpoint with different content, or for one that was retracted.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> import polars as pl
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.start_study(kit.create_study("nightly agent"))
        >>> rows = pl.DataFrame({"period_start": ["2026-01-30", "2026-01-31"], "session_success_rate": [0.8, 0.85]})
        >>> kit.record_checkpoints(study, rows, tz="Europe/Berlin")
        RecordedCheckpoints(2 recorded)
        """
        auto = is_auto(define)
        with collector_paused():
            reader = RowReader(
                tz=tz, period_type=lambda: self._recordable(study).period_type, cadence=lambda: self._recordable(study).cadence,
                definitions=self._definitions(study, auto=auto),
            )  # fmt: skip
            read = _to_record(rows, reader)
            _ = read.commands  # raises the error of an invalid row before the study is looked up
            return self._handlers.checkpoints.record_checkpoints(study, read, define=auto)

    def amend_checkpoint(
        self,
        checkpoint: CheckpointRef,
        metrics: Mapping[str, object] | None = None,
        *,
        reason: str,
        events_analyzed: int | None = None,
        sessions_included: Iterable[str] | None = None,
        provenance: Provenance | Mapping[str, object] | None = None,
        author: str | None = None,
    ) -> Checkpoint:
        """Correct values of a recorded checkpoint.

        The recorded values stay in the log; the read model has both versions. If no value differs from the latest version, nothing is
        appended, so a notebook cell can be repeated.

        Parameters
        ----------
        checkpoint
            A `Checkpoint`, an exact id, the last 4 or more characters of an id, or ``(study, key)``. A `Checkpoint` must be the latest
            version, so that an amendment by another process is not overwritten; an id or ``(study, key)`` always means the latest.
        metrics
            The changed metrics by name, as in `record_checkpoint`; None withdraws a value. The period and the timestamp cannot be
            amended: retract the checkpoint, and record it again.
        reason
            The reason for the correction, 1 to 1,000 characters.
        events_analyzed, sessions_included, provenance
            New values, see `record_checkpoint`; None keeps the recorded ones.
        author
            The author of the correction; by default ``EVALKIT_AUTHOR``, else None.

        Returns
        -------
        Checkpoint
            The latest version.

        Raises
        ------
        InvalidInputError
            When a value is invalid, or not exactly one checkpoint matches.
        ConflictError
            When the checkpoint was amended meanwhile, or is retracted. The error has the latest version, and the other amendment's
            values, reason and author.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.start_study(kit.create_study("nightly agent"))
        >>> made = kit.record_checkpoint(study, {"period_start": "2026-01-31", "total_cost": 25}, key="2026-01-31", tz="UTC")
        >>> kit.amend_checkpoint(("nightly agent", "2026-01-31"), {"total_cost": 2.5}, reason="Wrong currency").metrics.total_cost
        2.5
        """
        return self._handlers.corrections.amend(
            checkpoint, metrics, events_analyzed=events_analyzed, sessions_included=sessions_included, provenance=provenance,
            reason=reason, author=author,
        )  # fmt: skip

    def retract_checkpoint(self, checkpoint: CheckpointRef, *, reason: str, author: str | None = None) -> Checkpoint:
        """Declare a recorded checkpoint invalid, so that it is left out everywhere.

        It stays in the log. Its key cannot be used again. Retracting it again has no effect.

        Parameters
        ----------
        checkpoint, reason, author
            See `amend_checkpoint`.

        Returns
        -------
        Checkpoint
            The retracted checkpoint.

        Raises
        ------
        InvalidInputError
            When not exactly one checkpoint matches.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.start_study(kit.create_study("nightly agent"))
        >>> made = kit.record_checkpoint(study, {"period_start": "2026-01-31", "total_cost": 25}, tz="UTC")
        >>> kit.retract_checkpoint(made, reason="The agent used the wrong model").retracted
        True
        >>> kit.storage.get_checkpoints(study.id)
        []
        """
        return self._handlers.corrections.retract(checkpoint, reason=reason, author=author)

    def note(
        self,
        study: StudyRef,
        text: str,
        *,
        at: datetime | str | None = None,
        until: datetime | str | None = None,
        category: Literal["model", "prompt", "tool", "data", "incident", "other"] = "other",
        author: str | None = None,
        tz: str | tzinfo | None = None,
    ) -> Note:
        """Add a note to a study, for example on a new model.

        Adding the same text for the same time and category again has no effect, so with `at` a notebook cell can be repeated.

        Parameters
        ----------
        study
            See `stop_study`. It can have any status.
        text
            1 to 10,000 characters, which may contain line breaks.
        at
            The time that the note is about; by default now.
        until
            The end of a range of time ``[at, until)``; by default, the note is about a single time.
        category
            ``"model"``, ``"prompt"``, ``"tool"``, ``"data"``, ``"incident"`` or ``"other"``.
        author
            The author; by default ``EVALKIT_AUTHOR``, else None.
        tz
            The time zone of dates and of times without one, see `record_checkpoint`.

        Returns
        -------
        Note
            The note, added now or before.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.create_study("nightly agent")
        >>> kit.note(study, "Model m-2 instead of m-1", at="2026-01-31", category="model", tz="UTC")
        Note(2026-01-31 00:00 UTC, model, 'Model m-2 instead of m-1')
        """
        return self._handlers.notes.add(study, text, at=at, until=until, category=category, author=author, tz=tz)

    def recorder(
        self,
        study: StudyRef,
        *,
        sessions: int | None = None,
        period: TimePeriod | tuple[datetime | str, datetime | str] | Literal["auto"] | None = None,
        tz: str | tzinfo | None = None,
        resume: bool | None = None,
        progress: bool = True,
    ) -> Recorder:
        """Return a recorder, which measures agent sessions in a ``with`` block.

        At the end of the block, it records one checkpoint.

        Parameters
        ----------
        study
            See `stop_study`. It must have been started.
        sessions
            The number of planned sessions, for the progress bar; `Recorder.track` sets it too.
        period
            The checkpoint's period: ``(start, end)``, see `record_checkpoint`; or ``"auto"`` for the whole hour, day, week (from Monday)
            or month of the study in which the block begins, also if it ends later. By default, and with ``"auto"`` in a study of runs
            (see `create_study`, `cadence`), from entering the block to leaving it.
        tz
            The time zone whose calendar ``"auto"`` follows, by default UTC; also that of dates and of times without one in `period`.
        resume
            What to do with the journal of an interrupted block: None to raise an error that describes the journal, True to continue
            it, False to keep it under another name and start over. No effect without a journal.
        progress
            Whether to show a progress bar, in a notebook or on a terminal.

        Returns
        -------
        Recorder
            See `evalkit.Recorder` for the formulas, and for the behavior after an exception.

        Raises
        ------
        TransitionError
            When the study was never started.
        RecorderError
            On entering the block, when another recorder of the study is active, or a journal exists and `resume` was not passed.
        InvalidInputError
            On entering the block with ``period="auto"``, when a checkpoint overlaps with the current period, or the study's last period
            does not begin with a calendar period in the time zone `tz`. A resumed block keeps its period, without this check.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.start_study(kit.create_study("nightly agent"))
        >>> with kit.recorder(study, period="auto", tz="Europe/Berlin", progress=False) as rec:
        ...     for task in rec.track(["task 1", "task 2"]):
        ...         with rec.session() as session:
        ...             session.success(iterations=2, tokens=1200, cost=0.03)
        >>> rec.checkpoint.metrics.session_success_rate
        1.0
        """
        from evalkit.recording.recorder import Recorder

        home = self.engine.settings.home
        started = self._recordable(study)
        return Recorder(
            started, home=home, record=self.record_checkpoint, definitions=self._definitions(started, auto=False),
            check_period=lambda *period: self._handlers.checkpoints.check_period(started, *period), sessions=sessions, period=period,
            tz=tz, resume=resume, progress=progress,
        )  # fmt: skip

    # --- collecting ---------------------------------------------------------------------------------------------------------------

    def collect(
        self,
        study: StudyRef,
        location: str | None = None,
        *,
        since: datetime | date | str | None = None,
        period: Period | None = None,
        zone: str | tzinfo | None = None,
        source_name: str | None = None,
        grace: timedelta | str | None = None,
        labels: Any = None,
        prices: str | os.PathLike[str] | None = None,
        allow_empty: bool = False,
        amend_late: bool = False,
        strict: bool = False,
        dry_run: bool = False,
        save: bool = False,
        progress: bool = True,
        **options: Any,
    ) -> Collected:
        r"""Record the sessions of agent logs as checkpoints, one for each period that is due.

        A period is due when it ended at least `grace` ago and the study ran in it. Each is recorded once, on any number of machines: its
        idempotency key is made of the source's name and the start of the period. Only files that have changed are read again, but tables
        always are.

        Parameters
        ----------
        study
            See `stop_study`. It must have been started; with `since`, a name that does not exist is created and started.
        location
            The source and its path: ``"inspect:./logs"``, ``"claude-code:"``, ``"codex:"``, ``"harbor:./jobs"``, ``"records:runs.csv"``, or
            a source of `evalkit.collect.register_source`. By default, the source that the study keeps.
        since
            When a new study starts: the day of its first period, or a time. No effect on a study that was started.
        period
            The length of a checkpoint's period of a new study; see `create_study`.
        zone
            The time zone whose calendar the periods follow, by default UTC.
        source_name
            The name of the source in idempotency keys, by default its format. Use another one to collect two sources of one format.
        grace
            How long after its end a period is due, so that its last sessions are written: a timedelta, or text such as ``"30m"``. By
            default 2 hours.
        labels
            Outcomes of sessions whose logs have none: a file, a mapping of session ids to outcomes, a DataFrame with ``session_id`` and
            ``outcome``, or a function of a session as a mapping.
        prices
            A file with prices of tokens, to estimate the costs that are not reported.
        allow_empty
            Whether a period without sessions is recorded even if the logs do not have sessions before and after it.
        amend_late
            Whether a checkpoint is amended when its period has got other sessions since. By default, late sessions are only reported.
        strict
            Whether a file that cannot be read is an error. By default, it is skipped and reported.
        dry_run
            Whether to only show what would be recorded.
        save
            Whether to keep the location, `zone`, `source_name`, `grace`, `labels`, `prices` and options, so that they can be left out.
            Paths are kept in the home, the rest in the metadata of the study.
        progress
            Whether to show a progress bar, in a notebook or on a terminal.
        **options
            The options of the source, such as ``scorer="match"``.

        Returns
        -------
        evalkit.collect.Collected
            What was done for each period. It is a table in a notebook.

        Raises
        ------
        InvalidInputError
            When the location does not exist, an option is invalid, or `zone` is not that of the study's periods.
        StudyNotFoundError
            When no study matches, and `since` was not passed.

        Examples
        --------
        >>> import pathlib, tempfile, evalkit
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "runs.csv").write_text("session_id,outcome,ended_at\na,passed,2026-01-31T08:00:00Z\n")
        >>> kit = evalkit.connect(folder / "home")
        >>> result = kit.collect("nightly agent", f"records:{folder}/runs.csv", since="2026-01-31")
        >>> result.periods[0].status, result.periods[0].sessions
        ('recorded', 1)
        """
        _check_polars()
        from evalkit.collect.requests import collect

        return collect(
            self, study, location, since=since, period=period, zone=zone, source_name=source_name, grace=grace, labels=labels,
            prices=prices, allow_empty=allow_empty, amend_late=amend_late, strict=strict, dry_run=dry_run, save=save, progress=progress,
            options=options,
        )  # fmt: skip

    def record_sessions(
        self,
        study: StudyRef,
        sessions: pl.DataFrame | pd.DataFrame,
        *,
        map: Mapping[str, str] | str | None = None,  # noqa: A002  (the name of the option on the command line)
        since: datetime | date | str | None = None,
        period: Period | None = None,
        zone: str | tzinfo | None = None,
        source_name: str = "sessions",
        labels: Any = None,
        prices: str | os.PathLike[str] | None = None,
        amend_late: bool = False,
        dry_run: bool = False,
    ) -> Collected:
        """Record a DataFrame of finished sessions as checkpoints of the study's periods.

        Each period that has ended and has sessions gets a checkpoint. Recording the same sessions again has no effect.

        Parameters
        ----------
        study, since, period, zone, labels, prices, amend_late, dry_run
            See `collect`.
        sessions
            One row per session, with the columns ``session_id``, ``outcome`` (success, failure, invalid or unknown; also booleans, 0 and 1)
            and ``ended_at`` (with a time zone), and optionally the other columns of `evalkit.collect.read_sessions`. Further columns of
            numbers and booleans become custom metrics: the mean over the sessions that have a value.
        map
            The columns of the sessions under other names: ``{"session_id": "run_id", "outcome": "passed"}``.
        source_name
            The name in idempotency keys.

        Returns
        -------
        evalkit.collect.Collected
            What was done for each period.

        Raises
        ------
        InvalidInputError
            When a column is missing, or a value is invalid; the error has the row and the column.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> import polars as pl
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> runs = pl.DataFrame({"run": ["a", "b"], "passed": [True, False], "ended": ["2026-01-31T08:00Z"] * 2, "judge_score": [0.9, 0.4]})
        >>> names = {"session_id": "run", "outcome": "passed", "ended_at": "ended"}
        >>> kit.record_sessions("nightly agent", runs, map=names, since="2026-01-31")
        Collected('nightly agent', sessions: 1 recorded)
        >>> kit.checkpoints()["judge_score"][0]
        0.65
        """
        _check_polars()
        from evalkit.collect.requests import record_sessions

        return record_sessions(
            self, study, sessions, map=map, since=since, period=period, zone=zone, source_name=source_name, labels=labels, prices=prices,
            amend_late=amend_late, dry_run=dry_run,
        )  # fmt: skip

    def sessions(self, study: Studies = None) -> pl.DataFrame:
        """Return the sessions that collected checkpoints were computed from.

        They are kept in the folder ``evidence`` of the home, or in that of the environment variable ``EVALKIT_EVIDENCE``, which several
        machines can share. Checkpoints whose sessions are not there are left out, with a warning.

        Parameters
        ----------
        study
            A study, several studies, or None for all; see `checkpoints`.

        Returns
        -------
        polars.DataFrame
            The columns ``study_id``, ``study``, ``checkpoint_id`` and ``period_start``, then those of `evalkit.collect.read_sessions`.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> import polars as pl
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> runs = pl.DataFrame({"session_id": ["a"], "outcome": [True], "ended_at": ["2026-01-31T08:00Z"]})
        >>> _ = kit.record_sessions("nightly agent", runs, since="2026-01-31")
        >>> kit.sessions("nightly agent").select("study", "session_id", "outcome").row(0)
        ('nightly agent', 'a', 'success')
        """
        from evalkit.collect.recorded_sessions import evidence_sessions

        return evidence_sessions(self, study)

    def recompute(self, study: StudyRef, metrics: Iterable[str] | str | None = None, *, reason: str = "Recomputed") -> Recomputed:
        """Compute metrics of collected checkpoints again from their sessions.

        Checkpoints with other values are amended.

        A metric that was defined after the checkpoints were recorded gets its values this way. Values that cannot be computed from sessions
        stay.

        Parameters
        ----------
        study
            See `stop_study`.
        metrics
            The names of metrics; None for all that can be computed, also those that were amended by hand.
        reason
            The reason of the amendments.

        Returns
        -------
        evalkit.collect.Recomputed
            The number of amended and of unchanged checkpoints.

        Raises
        ------
        InvalidInputError
            When the study does not have a metric.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> import polars as pl
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> runs = pl.DataFrame({"session_id": ["a"], "outcome": [True], "ended_at": ["2026-01-31T08:00Z"], "retries": [2]})
        >>> _ = kit.record_sessions("nightly agent", runs, since="2026-01-31")
        >>> kit.recompute("nightly agent", "retries")
        Recomputed(0 amended, 1 unchanged)
        """
        _check_polars()
        from evalkit.collect.recorded_sessions import recompute

        return recompute(self, study, metrics, reason=reason)

    # --- outcomes -----------------------------------------------------------------------------------------------------------------

    def outcome(self, error: OutcomeUnknownError) -> Study | Checkpoint | RecordedCheckpoints | Note:
        """Read the effect of a command again after `OutcomeUnknownError`.

        Returns
        -------
        Study, Checkpoint, RecordedCheckpoints or Note
            The result of the command that raised the error; the study after `define_metric`.

        Raises
        ------
        OutcomeUnknownError
            When it is still unknown.
        ConflictError
            When a concurrent event took precedence, so the command had no effect.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> try:
        ...     study = kit.create_study("nightly agent")
        ... except evalkit.OutcomeUnknownError as error:  # the events are in the log: do not repeat the command
        ...     study = kit.outcome(error)
        """
        if not isinstance(error, OutcomeUnknownError):
            raise invalid("error", error, "expected the OutcomeUnknownError that a command raised")
        return self._handlers.outcome(error)

    def _recordable(self, study: StudyRef) -> Study:
        with self.engine.command():
            return self._handlers.checkpoints.recordable(study)

    # --- queries ------------------------------------------------------------------------------------------------------------------

    def resolve(self, reference: Study | str, *, archived: bool = False) -> Study:
        """Return the one study that matches a `Study`, an id, a name or the end of an id.

        Parameters
        ----------
        reference
            See `stop_study`.
        archived
            Whether an archived study matches by its name or the end of its id too; it always matches by its exact id.

        Raises
        ------
        StudyNotFoundError, AmbiguousStudyError
            When no study, or more than one, matches.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.create_study("nightly agent")
        >>> kit.resolve(study.id[-8:]) == study
        True
        """
        self.engine.ready_to_read()
        return self._references.resolve(reference, archived=archived)

    @overload
    def studies(self, *, as_of: AsOfInput = None, archived: bool = False, backend: Literal["polars"] = "polars") -> pl.DataFrame: ...
    @overload
    def studies(self, *, as_of: AsOfInput = None, archived: bool = False, backend: Literal["pandas"]) -> pd.DataFrame: ...
    def studies(self, *, as_of: AsOfInput = None, archived: bool = False, backend: str = "polars") -> Any:
        """Return the studies, newest first: by creation time, then id, both descending.

        Parameters
        ----------
        as_of
            The state of the log to show, see `checkpoints`.
        archived
            Whether archived studies are included.
        backend
            ``"polars"`` or ``"pandas"``.

        Returns
        -------
        polars.DataFrame or pandas.DataFrame
            One row per study: study_id, name, status, period_type, period_value, description, tags, metadata, created_at, started_at,
            stopped_at, checkpoints (their number, without retracted ones), last_period_end, archived. Times are UTC.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.create_study("nightly agent", tags=["coding"])
        >>> kit.studies().select("name", "status", "checkpoints").rows()
        [('nightly agent', 'pending', 0)]
        """
        return self._frame("studies", lambda: self._reader.studies(self._state("as_of", as_of), archived=archived), backend, as_of)

    @overload
    def checkpoints(
        self, study: Studies = None, *, start: datetime | None = None, end: datetime | None = None,
        by: Literal["timestamp", "period"] = "timestamp", exclude: Iterable[CheckpointRef] = (),
        values: Literal["latest", "first"] = "latest", as_of: AsOfInput = None, archived: bool = False, custom: bool = True,
        columns: Sequence[str] | None = None, backend: Literal["polars"] = "polars",
    ) -> pl.DataFrame: ...  # fmt: skip
    @overload
    def checkpoints(
        self, study: Studies = None, *, start: datetime | None = None, end: datetime | None = None,
        by: Literal["timestamp", "period"] = "timestamp", exclude: Iterable[CheckpointRef] = (),
        values: Literal["latest", "first"] = "latest", as_of: AsOfInput = None, archived: bool = False, custom: bool = True,
        columns: Sequence[str] | None = None, backend: Literal["pandas"],
    ) -> pd.DataFrame: ...  # fmt: skip
    def checkpoints(
        self,
        study: Studies = None,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        by: Literal["timestamp", "period"] = "timestamp",
        exclude: Iterable[CheckpointRef] = (),
        values: Literal["latest", "first"] = "latest",
        as_of: AsOfInput = None,
        archived: bool = False,
        custom: bool = True,
        columns: Sequence[str] | None = None,
        backend: str = "polars",
    ) -> Any:
        """Return checkpoints, ordered by study (oldest first), timestamp and id.

        Parameters
        ----------
        study
            A study (see `stop_study`), a list of studies, or None for all.
        start, end
            Only checkpoints in ``[start, end)``; times with a time zone.
        by
            The time that must be in ``[start, end)``: the ``"timestamp"``, or the start of the ``"period"``.
        exclude
            Checkpoints to leave out of this frame: `Checkpoint` objects, ids, the last 4 or more characters of ids, or (study, key). A
            checkpoint that is wrong for everybody should be retracted, see `retract_checkpoint`.
        values
            ``"latest"``: with amended values, and without retracted checkpoints. ``"first"``: all checkpoints as first recorded.
        as_of
            The state of the log to show, with the names, definitions and versions of that state: a pin (see `pin`) or its text, which is
            exact; or a time with a time zone, which selects of each study the events before the first one that was written later. None:
            the latest state.
        archived
            Whether archived studies are included, and found by name.
        custom
            Whether the metrics that the selected studies define have columns.
        columns
            The names of the columns to return, in their order. Only these are read, which is faster the first time. None: all.
        backend
            ``"polars"`` or ``"pandas"``.

        Returns
        -------
        polars.DataFrame or pandas.DataFrame
            One row per checkpoint: study_id, study, period_type, checkpoint_id, timestamp, recorded_at, period_start, period_end, the 16
            metrics, custom metrics in the order of their definition, events_analyzed, sessions_included, revision (0, or the number of
            amendments), collector (the program that computed the values, if known). A metric that was not measured is null. Times are
            UTC.

        Raises
        ------
        StudyNotFoundError, AmbiguousStudyError
            When no study, or more than one, matches `study`.
        InvalidInputError
            When a time has no time zone, or `exclude` matches no checkpoint.
        LogMismatchError
            When `as_of` is the pin of another log.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.start_study(kit.create_study("nightly agent"))
        >>> made = kit.record_checkpoint(study, {"period_start": "2026-01-31", "session_success_rate": 0.85}, tz="UTC")
        >>> kit.checkpoints(study).select("study", "session_success_rate", "total_cost").rows()
        [('nightly agent', 0.85, None)]
        """
        _check_polars()
        from evalkit.frames.selection import columns_to_read, only, select
        from evalkit.frames.versions import View

        wanted, read_columns = (None, None) if columns is None else columns_to_read(columns, by)

        def read() -> pl.DataFrame:
            state = self._state("as_of", as_of)
            view = View(values, custom, columns=read_columns)
            ids = self._ids(study, state, archived=archived)
            frame = select(self._reader.checkpoints(ids, view, state, archived=archived), start, end, by, exclude)
            return frame if wanted is None else frame.select(wanted)

        frame = self._frame("checkpoints", read, backend, as_of, always=study is not None)
        return frame if wanted is None else only(frame, wanted)  # an empty home has a frame with all columns

    def mirror(self, folder: str | os.PathLike[str] | None = None) -> Mirror:
        """Write new checkpoints to the Parquet files of a mirror.

        A mirror is for data that does not fit into memory, see `scan`, and for other programs. Its files are in folders by study and year,
        with values as first recorded; `scan` applies corrections. An update adds only new checkpoints. A rebuild of the read model makes
        all files again. A mirror can be deleted at any time.

        Parameters
        ----------
        folder
            The folder of the mirror; by default ``mirror`` in the home.

        Returns
        -------
        Mirror
            Its `files` are the Parquet files, e.g. for ``duckdb.read_parquet``. Other files in the folder are not part of the mirror.

        Raises
        ------
        InvalidInputError
            When the folder cannot be written, or has the mirror of another log.
        ReadOnlyError
            Without a folder, when the kit is read-only or has no home that can be written.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.start_study(kit.create_study("nightly agent"))
        >>> made = kit.record_checkpoint(study, {"period_start": "2026-01-31", "total_cost": 1.5}, tz="UTC")
        >>> kit.mirror()
        Mirror(1 checkpoint in 1 file, 1 added)
        """
        _check_polars()
        from evalkit.frames.mirror import CheckpointMirror, Mirror

        target = self._mirror_folder(folder)
        if not self.engine.ready_to_read():
            return Mirror(target, 0, 0)
        return CheckpointMirror(self.engine.database, target).update().result()

    def scan(
        self,
        study: Studies = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        values: Literal["latest", "first"] = "latest",
        as_of: AsOfInput = None,
        archived: bool = False,
        custom: bool = True,
    ) -> pl.LazyFrame:
        """Return checkpoints as a lazy frame over a mirror, which is brought up to date first.

        Only the columns and rows that a query needs are read, so the data may be larger than the memory. The frame is one state of the
        log: later checkpoints and corrections do not change it. Collect it within an hour, because replaced files are then deleted.

        Parameters
        ----------
        study, values, as_of, archived, custom
            See `checkpoints`.
        folder
            The folder of the mirror, see `mirror`. Without a home that can be written, a temporary folder is the default, which is deleted
            when the kit is closed.

        Returns
        -------
        polars.LazyFrame
            The columns, dtypes and order of `checkpoints`.

        Raises
        ------
        StudyNotFoundError, AmbiguousStudyError, LogMismatchError
            See `checkpoints`.
        InvalidInputError
            See `mirror`.
        ReadOnlyError
            When the home must not be written, and a temporary folder cannot be created.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.start_study(kit.create_study("nightly agent"))
        >>> made = kit.record_checkpoint(study, {"period_start": "2026-01-31", "total_cost": 1.5}, tz="UTC")
        >>> kit.scan().select("study", "total_cost").collect().rows()
        [('nightly agent', 1.5)]
        """
        _check_polars()
        from evalkit.frames.columns import CHECKPOINTS, empty_frame
        from evalkit.frames.mirror import CheckpointMirror
        from evalkit.frames.scan import scan
        from evalkit.frames.versions import View

        target, state, view = self._mirror_folder(folder, temporary=True), self._state("as_of", as_of), View(values, custom)
        if not self.engine.ready_to_read() and study is None:
            return empty_frame(CHECKPOINTS).lazy()
        ids = self._ids(study, state, archived=archived)
        return scan(CheckpointMirror(self.engine.database, target).update(state), ids, view, archived=archived)

    def _mirror_folder(self, folder: object, *, temporary: bool = False) -> Path:
        """Return the folder for a mirror; a `temporary` one if the home must not be written."""
        if folder is not None:
            if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
                raise invalid("folder", folder, "expected a folder, e.g. 'mirror'")
            return Path(folder).expanduser().absolute()
        home, reason = self.engine.settings.home, self.engine.not_writable
        if reason is None and not self.engine.embedded and not home.exists():
            reason = f"the home {home} does not exist"
        if reason is None:
            return home / "mirror"
        if not temporary:
            raise ReadOnlyError(
                f"Cannot write the mirror: {reason}", hint="Pass another folder: kit.mirror('parquet').",
                shell_hint="Name another folder: evalkit mirror parquet.",
            )  # fmt: skip
        if self._temporary_mirror is None:
            try:
                self._temporary_mirror = TemporaryFolder("evalkit-mirror-")
            except OSError as error:
                problem = f"A temporary mirror cannot be created: {error.strerror}"
                raise ReadOnlyError(problem, hint="Pass a folder: kit.scan(folder='parquet').") from None
        return self._temporary_mirror.path

    @overload
    def measurements(
        self, study: Studies = None, *, values: Literal["latest", "first"] = "latest", as_of: AsOfInput = None, archived: bool = False,
        exclude: Iterable[CheckpointRef] = (), backend: Literal["polars"] = "polars",
    ) -> pl.DataFrame: ...  # fmt: skip
    @overload
    def measurements(
        self, study: Studies = None, *, values: Literal["latest", "first"] = "latest", as_of: AsOfInput = None, archived: bool = False,
        exclude: Iterable[CheckpointRef] = (), backend: Literal["pandas"],
    ) -> pd.DataFrame: ...  # fmt: skip
    def measurements(
        self,
        study: Studies = None,
        *,
        values: Literal["latest", "first"] = "latest",
        as_of: AsOfInput = None,
        archived: bool = False,
        exclude: Iterable[CheckpointRef] = (),
        backend: str = "polars",
    ) -> Any:
        """Return the measured values in a long frame: one row per checkpoint and metric.

        Parameters
        ----------
        study, values, as_of, archived, exclude, backend
            See `checkpoints`.

        Returns
        -------
        polars.DataFrame or pandas.DataFrame
            study_id, study, checkpoint_id, period_start, period_end, metric (its name), value (Float64; durations in seconds), count (the
            value of the metric's denominator, or null), unit, better. Missing values have no row.

        Raises
        ------
        StudyNotFoundError, AmbiguousStudyError, InvalidInputError, LogMismatchError
            See `checkpoints`.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.start_study(kit.create_study("nightly agent", metrics=["tool_calls"]))
        >>> made = kit.record_checkpoint(study, {"period_start": "2026-01-31", "total_cost": 1.5, "tool_calls": 40}, tz="UTC")
        >>> kit.measurements(study).select("metric", "value", "unit").rows()
        [('total_cost', 1.5, 'US$'), ('tool_calls', 40.0, '')]
        """

        def read() -> pl.DataFrame:
            from evalkit.frames.change_frames import measurements_frame
            from evalkit.frames.columns import CHECKPOINTS
            from evalkit.frames.definitions import definitions_in
            from evalkit.frames.selection import select
            from evalkit.frames.versions import View

            state = self._state("as_of", as_of)
            view = View(values, limited=False)  # rows have no limit, in contrast to columns
            rows = self._reader.checkpoints(self._ids(study, state, archived=archived), view, state, archived=archived)
            checkpoints = select(rows, None, None, "timestamp", exclude)
            custom = [name for name in checkpoints.columns if name not in CHECKPOINTS]
            defined = definitions_in(self.metrics(study, as_of=as_of, archived=archived)) if custom else {}
            return measurements_frame(checkpoints, defined)

        return self._frame("measurements", lambda: self._of_one_version(read), backend, as_of, always=study is not None)

    @overload
    def metrics(
        self, study: Studies = None, *, as_of: AsOfInput = None, archived: bool = False, backend: Literal["polars"] = "polars"
    ) -> pl.DataFrame: ...
    @overload
    def metrics(
        self, study: Studies = None, *, as_of: AsOfInput = None, archived: bool = False, backend: Literal["pandas"]
    ) -> pd.DataFrame: ...
    def metrics(self, study: Studies = None, *, as_of: AsOfInput = None, archived: bool = False, backend: str = "polars") -> Any:
        """Return the custom metrics of studies, in the order of their definition.

        Parameters
        ----------
        study, as_of, archived, backend
            See `checkpoints`.

        Returns
        -------
        polars.DataFrame or pandas.DataFrame
            One row per study and metric: study_id, study, name, label, kind, unit, better, low, high, denominator, rollup, group,
            description, primary. The 16 metrics of every study are in ``evalkit.metrics.METRICS``.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> refusals = evalkit.Metric("refusal_rate", kind="rate", better="down", denominator="sessions_completed")
        >>> study = kit.create_study("nightly agent", metrics=[refusals, "tool_calls"])
        >>> kit.metrics().select("name", "kind", "better", "denominator").rows()
        [('refusal_rate', 'rate', 'down', 'sessions_completed'), ('tool_calls', 'count', 'neither', None)]
        """
        return self._changes("metrics", study, as_of, archived, backend)

    @overload
    def notes(
        self, study: Studies = None, *, as_of: AsOfInput = None, archived: bool = False, backend: Literal["polars"] = "polars"
    ) -> pl.DataFrame: ...
    @overload
    def notes(
        self, study: Studies = None, *, as_of: AsOfInput = None, archived: bool = False, backend: Literal["pandas"]
    ) -> pd.DataFrame: ...
    def notes(self, study: Studies = None, *, as_of: AsOfInput = None, archived: bool = False, backend: str = "polars") -> Any:
        """Return the notes of studies: studies oldest first, notes by their time.

        Parameters
        ----------
        study, as_of, archived, backend
            See `checkpoints`.

        Returns
        -------
        polars.DataFrame or pandas.DataFrame
            One row per note: study_id, study, note_id, at, until (null for a single time), category, text, author. Times are UTC.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.create_study("nightly agent")
        >>> note = kit.note(study, "New system prompt", at="2026-02-03T00:00:00Z", category="prompt")
        >>> kit.notes(study).select("category", "text").rows()
        [('prompt', 'New system prompt')]
        """
        return self._changes("notes", study, as_of, archived, backend)

    @overload
    def amendments(
        self, study: Studies = None, *, as_of: AsOfInput = None, archived: bool = False, backend: Literal["polars"] = "polars"
    ) -> pl.DataFrame: ...
    @overload
    def amendments(
        self, study: Studies = None, *, as_of: AsOfInput = None, archived: bool = False, backend: Literal["pandas"]
    ) -> pd.DataFrame: ...
    def amendments(self, study: Studies = None, *, as_of: AsOfInput = None, archived: bool = False, backend: str = "polars") -> Any:
        """Return the amended values and retractions of checkpoints, in the order of the log.

        Parameters
        ----------
        study, as_of, archived, backend
            See `checkpoints`.

        Returns
        -------
        polars.DataFrame or pandas.DataFrame
            One row per changed value: study_id, study, checkpoint_id, revision (the version with the new value), metric, old, new
            (Float64; durations in seconds; null if missing; for sessions_included their number), reason, author, written_at. A retraction
            has one row, whose revision and metric are null.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.start_study(kit.create_study("nightly agent"))
        >>> made = kit.record_checkpoint(study, {"period_start": "2026-01-31", "total_cost": 15}, tz="UTC")
        >>> made = kit.amend_checkpoint(made, {"total_cost": 1.5}, reason="The decimal point was wrong")
        >>> kit.amendments(study).select("revision", "metric", "old", "new").rows()
        [(1, 'total_cost', 15.0, 1.5)]
        """
        return self._changes("amendments", study, as_of, archived, backend)

    @overload
    def provenance(
        self, study: Studies = None, *, as_of: AsOfInput = None, archived: bool = False, backend: Literal["polars"] = "polars"
    ) -> pl.DataFrame: ...
    @overload
    def provenance(
        self, study: Studies = None, *, as_of: AsOfInput = None, archived: bool = False, backend: Literal["pandas"]
    ) -> pd.DataFrame: ...
    def provenance(self, study: Studies = None, *, as_of: AsOfInput = None, archived: bool = False, backend: str = "polars") -> Any:
        """Return the origin of checkpoints' values, in the order of studies and periods.

        Parameters
        ----------
        study, as_of, archived, backend
            See `checkpoints`.

        Returns
        -------
        polars.DataFrame or pandas.DataFrame
            One row per checkpoint with a known origin, retracted ones excluded: study_id, study, checkpoint_id, period_start, collector,
            version (of the collector), models (the names of the models), agent, agent_version, cost_basis, prices, evidence. What is not
            known is null.

        See Also
        --------
        explain : Also return the source files of one checkpoint.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.start_study(kit.create_study("nightly agent"))
        >>> origin = {"collector": "my script", "models": ["m-1"]}
        >>> made = kit.record_checkpoint(study, {"period_start": "2026-01-31", "total_cost": 1}, tz="UTC", provenance=origin)
        >>> kit.provenance(study).select("collector", "models").rows()
        [('my script', ['m-1'])]
        """
        return self._changes("provenance", study, as_of, archived, backend)

    @overload
    def changes(
        self, since: AsOfInput, until: AsOfInput = None, *, study: Studies = None, archived: bool = False,
        backend: Literal["polars"] = "polars",
    ) -> pl.DataFrame: ...  # fmt: skip
    @overload
    def changes(
        self, since: AsOfInput, until: AsOfInput = None, *, study: Studies = None, archived: bool = False, backend: Literal["pandas"]
    ) -> pd.DataFrame: ...
    def changes(
        self, since: AsOfInput, until: AsOfInput = None, *, study: Studies = None, archived: bool = False, backend: str = "polars"
    ) -> Any:
        """Return what changed between two states of the log, in the order of writing.

        Parameters
        ----------
        since, until
            Two states: pins or times, as in ``checkpoints(as_of=)``. By default until the latest state.
        study, archived, backend
            See `checkpoints`.

        Returns
        -------
        polars.DataFrame or pandas.DataFrame
            One row per event that had an effect: study_id, study, written_at, kind, checkpoint_id, description (the period of a new
            checkpoint, the amended values, the text of a note, ...), reason, author.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.start_study(kit.create_study("nightly agent"))
        >>> pin = kit.pin()
        >>> made = kit.record_checkpoint(study, {"period_start": "2026-01-31", "total_cost": 15}, tz="UTC")
        >>> kit.changes(since=pin).select("kind", "description").rows()
        [('checkpoint_recorded', '[2026-01-31 00:00, 2026-02-01 00:00) UTC')]
        """
        if since is None:
            raise invalid("since", since, "expected a pin of kit.pin(), or a time with a time zone")

        def read() -> pl.DataFrame:
            from evalkit.frames.change_frames import changes_frame

            first, last = self._state("since", since), self._state("until", until)
            if is_before(last, first):
                raise invalid("until", until, "must not be before since")
            build = changes_frame(self._ids(study, last, archived=archived), self._reader.bounds(first), archived=archived)
            return self._reader.read(build, as_of=last)[0]

        return self._frame("changes", read, backend, since, always=study is not None)

    def pin(self, *, digest: bool = False) -> Pin:
        """Return the current state of the log, to read frames as they are now at any later time.

        Parameters
        ----------
        digest
            Whether to compute the digest of the read model too, which takes as long as reading all rows.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.create_study("nightly agent")
        >>> pin = kit.pin()
        >>> pin.events, kit.rename_study(study, "baseline").name, kit.studies(as_of=pin)["name"].to_list()
        (1, 'baseline', ['nightly agent'])
        """
        ready = self.engine.ready_to_read()
        return current_pin(self.engine, digest=digest and ready)

    def explain(self, checkpoint: CheckpointRef) -> Explanation:
        """Return where a checkpoint's values come from: event, log position, origin and versions.

        Parameters
        ----------
        checkpoint
            A `Checkpoint`, an id, the last 4 or more characters of an id, or ``(study, key)``. It may be retracted.

        Raises
        ------
        InvalidInputError
            When no checkpoint, or more than one, matches.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.start_study(kit.create_study("nightly agent"))
        >>> made = kit.record_checkpoint(study, {"period_start": "2026-01-31", "total_cost": 15}, tz="UTC", key="a")
        >>> made = kit.retract_checkpoint(made, reason="The agent was misconfigured")
        >>> [(version.revision, version.reason) for version in kit.explain((study, "a")).versions]
        [(None, 'The agent was misconfigured')]
        """
        self.engine.ready_to_read()
        queries = CommandQueries(self.engine.database, self.engine.has_tables)
        found, _ = CheckpointReferences(queries, self._references).latest(checkpoint)
        study = queries.get_study(found.study_id)
        assert study is not None
        with readable(self.engine.database):
            return explain(self.engine, study.name, found)

    def _of_one_version(self, read: Callable[[], _T]) -> _T:
        """Return what `read` returns, from one version of the read model.

        If another process wrote meanwhile, it is called again.
        """
        for _ in range(_TRIES):
            version, result = self.engine.read_version(), read()
            if version == self.engine.read_version():
                break
        return result

    def _state(self, field: str, value: AsOfInput) -> AsOf:
        return check_as_of(self.engine, field, value)

    def _changes(self, name: str, study: Studies, as_of: AsOfInput, archived: bool, backend: str) -> Any:
        def read() -> pl.DataFrame:
            from evalkit.frames.change_frames import BUILDERS

            state = self._state("as_of", as_of)
            build = BUILDERS[name](self._ids(study, state, archived=archived), archived=archived)
            return self._reader.read(build, as_of=state)[0]

        return self._frame(name, read, backend, as_of, always=study is not None)

    @overload
    def lifecycle(self, *, as_of: AsOfInput = None, archived: bool = False, backend: Literal["polars"] = "polars") -> pl.DataFrame: ...
    @overload
    def lifecycle(self, *, as_of: AsOfInput = None, archived: bool = False, backend: Literal["pandas"]) -> pd.DataFrame: ...
    def lifecycle(self, *, as_of: AsOfInput = None, archived: bool = False, backend: str = "polars") -> Any:
        """Return the lifecycle events of all studies, in the order of the log.

        Parameters
        ----------
        as_of
            The state of the log to show, see `checkpoints`.
        archived
            Whether archived studies are included.
        backend
            ``"polars"`` or ``"pandas"``.

        Returns
        -------
        polars.DataFrame or pandas.DataFrame
            One row per event: study_id, study, seq (its order in the study, from 1), kind, status (after the event), at (UTC).

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.start_study(kit.create_study("nightly agent"))
        >>> kit.lifecycle().select("kind", "status").rows()
        [('study_created', 'pending'), ('study_started', 'running')]
        """
        return self._frame("lifecycle", lambda: self._reader.lifecycle(self._state("as_of", as_of), archived=archived), backend, as_of)

    @overload
    def rejected(self, *, as_of: AsOfInput = None, backend: Literal["polars"] = "polars") -> pl.DataFrame: ...
    @overload
    def rejected(self, *, as_of: AsOfInput = None, backend: Literal["pandas"]) -> pd.DataFrame: ...
    def rejected(self, *, as_of: AsOfInput = None, backend: str = "polars") -> Any:
        """Return the events in the log that had no effect.

        Parameters
        ----------
        as_of
            The state of the log to show, see `checkpoints`.
        backend
            ``"polars"`` or ``"pandas"``.

        Returns
        -------
        polars.DataFrame or pandas.DataFrame
            One row per event: study_id, event_id, kind, outcome (``rejected``: a valid event that conflicts with an earlier one;
            ``quarantined``: not a valid event), reason, message, at (UTC).

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.create_study("nightly agent")
        >>> kit.rejected().height
        0
        """
        return self._frame("rejected", lambda: self._reader.rejected(self._state("as_of", as_of)), backend, as_of)

    def data(
        self,
        study: Studies = None,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        by: Literal["timestamp", "period"] = "timestamp",
        exclude: Iterable[CheckpointRef] = (),
        values: Literal["latest", "first"] = "latest",
        as_of: AsOfInput = None,
        archived: bool = False,
    ) -> StudyData:
        """Return the checkpoints, lifecycle, notes, metrics and description of studies.

        The result is the first argument of every chart and analysis.

        Parameters
        ----------
        study
            A study (see `stop_study`), a list of studies, or None for all.
        start, end, by, exclude, values
            The selection of checkpoints, see `checkpoints`. The lifecycle and notes are always complete; amendments and the origin of
            checkpoints are those of all checkpoints that are not excluded.
        as_of, archived
            See `checkpoints`.

        Raises
        ------
        StudyNotFoundError, AmbiguousStudyError
            When no study, or more than one, matches `study`.
        InvalidInputError
            When a time has no time zone, `exclude` matches no checkpoint, or a study did not exist in the state `as_of`.
        LogMismatchError
            When `as_of` is the pin of another log.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.start_study(kit.create_study("nightly agent"))
        >>> made = kit.record_checkpoint(study, {"period_start": "2026-01-31", "session_success_rate": 0.85}, tz="UTC")
        >>> chart = evalkit.plots.trend(kit.data(study), "session_success_rate")
        """
        from evalkit.frames.change_frames import BUILDERS, malformed_frame
        from evalkit.frames.columns import FRAMES, empty_frame
        from evalkit.frames.reader import lifecycle_frame, studies_frame
        from evalkit.frames.scope import Scope
        from evalkit.frames.selection import select
        from evalkit.frames.study_data import StudyData

        self.engine.ready_to_read()
        ids = self._ids(study, self._state("as_of", as_of), archived=archived)
        shown = archived or ids is not None
        if as_of is not None and ids is not None:
            self._check_existed(ids, as_of)
        exclude = [exclude] if isinstance(exclude, str | Checkpoint) else list(exclude)  # it is used more than once

        def read() -> StudyData:
            state = self._state("as_of", as_of)
            stored = self.checkpoints(ids, values=values, as_of=as_of, archived=archived)
            checkpoints, every = (select(stored, start, end, by, excluding) for excluding in (exclude, ()))
            frames = {name: empty_frame(FRAMES[name]) for name in ("lifecycle", "studies", "metrics", "notes", "amendments", "provenance")}
            if self.engine.ready_to_read():
                builds = {"studies": studies_frame(archived=shown), "lifecycle": lifecycle_frame(archived=shown)}
                changes = ("metrics", "notes", "amendments", *(["provenance"] if checkpoints["collector"].count() else []))
                builds |= {name: BUILDERS[name](ids, archived=archived) for name in changes}
                builds["malformed"] = malformed_frame(ids, archived=archived)
                frames |= dict(zip(builds, self._reader.read(*builds.values(), as_of=state), strict=True))
            if ids is not None:
                frames |= {name: frames[name].filter(frames[name]["study_id"].is_in(ids)) for name in ("lifecycle", "studies")}
            excluded = every.height - checkpoints.height
            if excluded:
                gone = every.join(checkpoints, on=["study_id", "checkpoint_id"], how="anti")
                for name in ("amendments", "provenance"):
                    frames[name] = frames[name].join(gone, on=["study_id", "checkpoint_id"], how="anti", maintain_order="left")
            scope = Scope(None if state is None else str(state) if isinstance(state, Pin) else stored_text(state), values, excluded)
            return StudyData(checkpoints, **frames, scope=scope)

        return self._of_one_version(read)

    def report(
        self,
        study: Study | str,
        path: str | os.PathLike[str],
        *,
        baseline: Study | str | None = None,
        metrics: Sequence[str] | str | None = None,
        exclude: Iterable[CheckpointRef] = (),
        values: Literal["latest", "first"] = "latest",
        as_of: AsOfInput = None,
    ) -> Path:
        """Write a report on a study, as `evalkit.analysis.report` does from data.

        Parameters
        ----------
        study
            See `stop_study`.
        path, metrics
            See `evalkit.analysis.report`.
        baseline
            A study to compare with. None: no comparison.
        exclude, values, as_of
            The checkpoints, versions and state of the log to report on, see `checkpoints`.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        InvalidInputError
            When the extension is not ``.html``, ``.md`` or ``.json``, the file cannot be written, a metric is unknown, `exclude`
            matches no checkpoint, study and baseline are the same, or one of them did not exist in the state `as_of`.
        StudyNotFoundError, AmbiguousStudyError
            When no study, or more than one, matches `study` or `baseline`.
        LogMismatchError
            When `as_of` is the pin of another log.
        MissingExtraError
            When the packages of the extra ``analysis`` are not installed.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> home = tempfile.mkdtemp()
        >>> kit = evalkit.connect(home)
        >>> study = kit.start_study(kit.create_study("nightly agent"))
        >>> kit.report(study, f"{home}/report.json").name
        'report.json'
        """
        from evalkit.analysis import report

        self.engine.ready_to_read()
        references = [study] if baseline is None else [study, baseline]
        ids = self._ids(references, self._state("as_of", as_of)) or []
        if len(ids) < len(references):
            raise invalid("baseline", baseline, "it is the study itself", hint="Choose another study.")
        data = self.data(ids, exclude=exclude, values=values, as_of=as_of)
        return report(data, path, study=ids[0], baseline=None if baseline is None else ids[1], metrics=metrics)

    # --- the read model -----------------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """Return the locations of log and read model, the lag of the read model, and problems.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.create_study("nightly agent")
        >>> status = kit.status()
        >>> status.events, status.lag, status.problems
        (1, 0, ())
        """
        return read_status(self.engine)

    def rebuild(self, *, adopt_log: bool = False, on_progress: Callable[[int, int], None] | None = None) -> RebuildResult:
        """Rebuild the read model from the event log without blocking readers.

        Parameters
        ----------
        adopt_log
            Accept a log other than the one that the read model was built from.
        on_progress
            Called with the number of replayed events and the number in the log; by default a progress bar is shown.

        Returns
        -------
        RebuildResult
            The number of events, and the new generation of the read model.

        Raises
        ------
        LogMismatchError
            When the read model was built from another log, or the log lost events.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.create_study("nightly agent")
        >>> kit.rebuild(on_progress=lambda done, events: None).events
        1
        """
        engine = self.engine
        if engine.not_writable is not None:
            raise ReadOnlyError(f"Cannot rebuild the read model: {engine.not_writable}", hint=engine.write_hint)
        if not engine.exists:
            engine.ready_to_read()
            return RebuildResult(0, 0)
        try:
            with progress_bar("Rebuilding") if on_progress is None else nullcontext(on_progress) as show:
                return rebuild(engine.database, engine.log, adopt_log=adopt_log, on_progress=show, writer=engine.writer)
        finally:
            engine.consumer.restart()

    def verify(self, *, expect: str | None = None) -> VerifyResult:
        """Replay the log and compare the result with every row of the read model.

        Parameters
        ----------
        expect
            The digest of an earlier result, to compare with as well.

        Returns
        -------
        VerifyResult
            Its `ok` is True when all rows, and the digest if passed, are equal.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.create_study("nightly agent")
        >>> kit.verify().ok
        True
        """
        if self.engine.ready_to_read():
            return verify(self.engine.database, self.engine.log, expect=expect)
        return VerifyResult("", None, expect)

    # --- in a notebook --------------------------------------------------------------------------------------------------------------

    def panel(self, study: StudyRef | None = None, *, exclude: Iterable[CheckpointRef] = ()) -> Panel:
        """Return a panel for a notebook, shown when it is the last expression of a cell.

        The panel lists the studies, draws a metric, and creates, starts, pauses, resumes, stops, edits and archives studies. It records,
        amends and retracts checkpoints, and adds notes. It also shows earlier states of the log, without changing anything. While it is
        visible, it shows changes by other processes too. Errors appear in its status line. ``panel.close()`` removes it. Several panels
        can be open.

        Parameters
        ----------
        study
            The study to show first, see `stop_study`; by default the newest. Archived studies are listed with the status
            filter Archived.
        exclude
            Checkpoints that the panel does not show, of archived studies too; see `checkpoints`.

        Raises
        ------
        StudyNotFoundError, AmbiguousStudyError
            When no study, or more than one, matches `study`.
        InvalidInputError
            When `exclude` matches no checkpoint.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> panel = kit.panel()
        >>> panel.close()
        """
        from evalkit.panel.panel import Panel

        selected = None if study is None else self.resolve(study).id
        excluded: frozenset[tuple[str, str]] = frozenset()
        if exclude != ():
            from evalkit.frames.selection import select

            rows = self.checkpoints(archived=True, custom=False)
            kept = select(rows, None, None, "timestamp", exclude)
            excluded = frozenset(rows.join(kept, on=["study_id", "checkpoint_id"], how="anti").select("study_id", "checkpoint_id").rows())
        return Panel(self, selected, excluded=excluded, embedded=self.engine.embedded)

    def _ids(self, study: Study | str | Iterable[Study | str] | None, state: AsOf = None, *, archived: bool = False) -> list[str] | None:
        """Return the ids of the requested studies, without duplicates; None for all.

        A name is that of the state; otherwise, if no study had it then, the current one.
        """
        if study is None:
            return None
        several = isinstance(study, Iterable) and not isinstance(study, Study | str | bytes)
        references: list[Any] = list(study) if several else [study]
        then = [] if state is None else self._reader.studies(state, archived=True).select("study_id", "name").rows()
        named = {text: matching_studies(text, then) for text in references if isinstance(text, str)}
        ids = (
            named[reference][0]
            if isinstance(reference, str) and len(named.get(reference, ())) == 1
            else self._references.resolve(reference, archived=archived).id
            for reference in references
        )
        return list(dict.fromkeys(ids))

    def _check_existed(self, ids: Iterable[str], as_of: AsOfInput) -> None:
        """Raise unless studies existed in a state of the log."""
        known = self.studies(as_of=as_of, archived=True)["study_id"]
        for absent in (study_id for study_id in ids if study_id not in known):
            raise did_not_exist(self.resolve(absent).name, as_of)

    def _all_frames(self, as_of: AsOfInput = None, previous: AllFrames | None = None) -> AllFrames:
        """Return the frames of all studies for panels; see `read_all_frames`."""
        _check_polars()
        from evalkit.frames.all_frames import AllFrames, read_all_frames

        if not self.engine.ready_to_read():
            self._state("as_of", as_of)
            return AllFrames.empty()
        return self._of_one_version(lambda: read_all_frames(self._reader, self._state("as_of", as_of), previous))

    @cached_property
    def _reader(self) -> FrameReader:
        from evalkit.frames.reader import FrameReader  # slow to import: Polars

        return FrameReader(self.engine.database, self.engine.database_identity)

    def _frame(self, name: str, read: Callable[[], pl.DataFrame], backend: str, as_of: AsOfInput = None, *, always: bool = False) -> Any:
        if backend not in ("polars", "pandas"):
            raise invalid("backend", backend, "expected 'polars' or 'pandas'")
        _check_polars()
        from evalkit.frames.columns import FRAMES, empty_frame, kinds_of
        from evalkit.frames.pandas_output import to_pandas

        if self.engine.ready_to_read() or always:
            frame = read()
        else:
            self._state("as_of", as_of)  # an empty home does not have the state of another one
            frame = empty_frame(FRAMES[name])
        return frame if backend == "polars" else to_pandas(frame, kinds_of(frame, FRAMES[name]))


def _to_record(rows: Any, reader: RowReader) -> CheckpointRows:
    """Return the rows that a user passed; many rows of a frame are encoded by columns."""
    mappings = reader.mappings(rows)
    is_frame = type(rows).__module__.partition(".")[0] in ("polars", "pandas")
    if not is_frame or len(rows) < _MANY_ROWS or polars_is_stranded():
        return CheckpointRows.of_mappings(mappings, reader)
    from evalkit.frames.encoded_rows import encoded_rows  # slow to import: Polars

    return encoded_rows(rows, mappings, reader)


def _check_polars() -> None:
    if polars_is_stranded():
        raise EvalkitError(
            "Cannot read frames in a forked process when Polars was imported before the fork: its threads are missing, and it would hang",
            hint='Start processes with multiprocessing.get_context("spawn"), or use kit.storage.',
        )
