"""The facade: one object that takes commands and answers queries."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from evalkit._util.forks import polars_is_stranded
from evalkit._util.garbage import collector_paused
from evalkit._util.progress_bar import progress_bar
from evalkit.domain import validation as checks
from evalkit.domain.commands import CreateStudy, RecordCheckpoint, checkpoint_commands
from evalkit.domain.metrics import LongitudinalMetrics, TimePeriod
from evalkit.domain.study import Checkpoint, PeriodType, Study
from evalkit.errors import EvalkitError, OutcomeUnknownError, ReadOnlyError
from evalkit.readmodel.rebuild import RebuildResult, rebuild
from evalkit.readmodel.repository import EvalStorage, References
from evalkit.readmodel.verify import VerifyResult, verify
from evalkit.runtime.engine import Engine
from evalkit.runtime.handlers import Handlers, RecordedCheckpoints
from evalkit.runtime.status import Status, read_status
from evalkit.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from evalkit.frames.reader import FrameReader
    from evalkit.frames.study_data import StudyData
    from evalkit.panel.panel import Panel
    from evalkit.recording.recorder import Recorder

__all__ = ["EvalKit", "connect"]

StudyRef = Study | str
Period = str | PeriodType | tuple[str | PeriodType, int]
_TRIES = 5


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
        The folder of the log and the read model. Without it: ``EVALKIT_HOME``, else the nearest ``.evalkit`` in the working directory or a
        parent, else ``.evalkit`` in the working directory.
    log_url
        Where the log is: ``sqlite:PATH``, or ``iggy+tcp://USER:PASSWORD@HOST:PORT``, to which options may be added:
        ``?stream=evals&topic=events&partitions=4&tls=true&tls_domain=...&tls_ca_file=...``. Without it: ``EVALKIT_LOG_URL``, else a file
        in the home.
    database_url
        Where the read model is: ``file:PATH``; ``http(s)://`` or ``libsql://HOST`` for a libSQL server; ``turso+https://HOST``
        or any ``*.turso.io`` for Turso Cloud. Without it: ``EVALKIT_DATABASE_URL``, else a file in the home. A server's token is in
        ``EVALKIT_DATABASE_AUTH_TOKEN``.
    read_only
        Read everything, append and project nothing. Works on a home that cannot be written: another user's, or on a read-only mount.

    Returns
    -------
    EvalKit
        A context manager that need not be used as one.

    Raises
    ------
    InvalidInputError
        When a URL has no known scheme, or the home is a file or a folder that this user may not open.
    """
    return EvalKit(Settings.resolve(home, log_url, database_url, read_only=read_only))


class EvalKit:
    """Studies and checkpoints: commands append to the log, queries answer from the read model, and see what commands did.

    Made by `connect`. Serves several threads, and goes on working in a forked process.

    Every command raises `InvalidInputError` for a value that it refuses, `ReadOnlyError` where nothing can be appended, and
    `LogUnavailableError` when the log is out of reach: nothing was appended then. `OutcomeUnknownError` says that something was.
    """

    def __init__(self, settings: Settings, *, role: str = "kit") -> None:
        self.engine = Engine(settings, role)
        """The log and the read model at work, for the command line, the panel and import and export. It may change in any version."""
        self.storage = EvalStorage(self.engine.database, self.engine.ready_to_read)
        """The read model as models."""
        self._handlers = Handlers(self.engine)
        self._references = References(EvalStorage(self.engine.database, self.engine.has_tables), settings.home)

    def __enter__(self) -> EvalKit:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        home = self.engine.settings.home
        return f"EvalKit({str(home.relative_to(os.getcwd()) if home.is_relative_to(os.getcwd()) else home)!r})"  # noqa: PTH109

    def close(self) -> None:
        """Close the files and connections. The kit opens them again when it is used again."""
        self.engine.close()

    # --- commands -----------------------------------------------------------------------------------------------------------------

    def create_study(
        self,
        name: str | CreateStudy,
        *,
        period: Period | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        metadata: Mapping[str, str] | None = None,
        at: datetime | str | None = None,
        if_exists: Literal["error", "open"] = "error",
    ) -> Study:
        """Create a study, pending.

        Parameters
        ----------
        name
            1 to 200 characters, no control characters; or a whole `CreateStudy`, without the options that it has.
        period
            The length of a checkpoint's period, and how many are planned: ``"weekly"``, ``"weekly:2"``, ``(PeriodType.WEEKLY, 2)``; by
            default ``"daily"``.
        description, tags, metadata
            What the study is about; metadata is text by name.
        at
            When it was created, with a time zone; by default now. At most 5 minutes ahead.
        if_exists
            What to do when a study has this name: ``"error"``, or ``"open"`` it, so that a cell can be run again.

        Raises
        ------
        StudyExistsError
            When a study has this name, and `if_exists` is ``"error"``.
        """
        options = {"period": period, "description": description, "tags": tags, "metadata": metadata}
        given: dict[str, Any] = {option: value for option, value in options.items() if value is not None}
        if not isinstance(name, CreateStudy):
            name = CreateStudy(name, **given)
        elif given:
            raise checks.invalid("name", name, "is a whole command", "give the options to CreateStudy")
        return self._handlers.create_study(name, at, if_exists)

    def start_study(self, study: StudyRef, *, at: datetime | str | None = None) -> Study:
        """Let a pending study run. See `stop_study`."""
        return self._handlers.change_study("start", study, at)

    def pause_study(self, study: StudyRef, *, at: datetime | str | None = None) -> Study:
        """Pause a running study. See `stop_study`."""
        return self._handlers.change_study("pause", study, at)

    def resume_study(self, study: StudyRef, *, at: datetime | str | None = None) -> Study:
        """Let a paused study run on. See `stop_study`."""
        return self._handlers.change_study("resume", study, at)

    def stop_study(self, study: StudyRef, *, at: datetime | str | None = None) -> Study:
        """Stop a study for good.

        Parameters
        ----------
        study
            A `Study`, an exact id, a name that only one study has, or the last four or more characters of an id.
        at
            When, with a time zone; by default now. Not before the study's last lifecycle event, at most 5 minutes ahead.

        Raises
        ------
        TransitionError
            When the study's status does not allow it.
        ConflictError
            When another process was quicker.
        StudyNotFoundError, AmbiguousStudyError
            When no study, or more than one, matches `study`.
        """
        return self._handlers.change_study("stop", study, at)

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
    ) -> Checkpoint:
        """Record one period's measurements.

        Parameters
        ----------
        study
            See `stop_study`.
        metrics
            A `LongitudinalMetrics`, or a mapping of metric names, which may hold the other arguments too. What is left out or None is
            missing. `avg_session_duration` is a duration or seconds. Rates are 0 to 1; rounding errors of up to 1e-6 beyond are
            corrected. Or a whole `RecordCheckpoint`, without other arguments.
        period
            ``(start, end)`` with time zones: the half-open time that was measured.
        timestamp
            When it was taken, with a time zone; by default the period's end.
        events_analyzed
            The number of session events that the metrics come from; 0 where it is not given.
        sessions_included
            The names of the sessions that were counted.
        key
            What makes this checkpoint the same when a cell runs again, for example ``"2026-W05"``.
        at
            When it was recorded; by default now.

        Returns
        -------
        Checkpoint
            Its `already_recorded` is True when the same content was there under the same key; nothing was appended then.

        Raises
        ------
        TransitionError
            When the study was never started.
        ConflictError
            When the key stands for other content.
        """
        moment = None if at is None else checks.check_at("at", at)
        options = (period, timestamp, events_analyzed, sessions_included, key, moment)
        if isinstance(metrics, RecordCheckpoint):
            if any(option is not None for option in options):
                raise checks.invalid("metrics", metrics, "is a whole command", "give the other arguments to RecordCheckpoint")
            return self._handlers.record_checkpoint(study, metrics)
        command = RecordCheckpoint(
            metrics, period=period, timestamp=timestamp, events_analyzed=events_analyzed, sessions_included=sessions_included, key=key,
            recorded_at=moment,
        )  # fmt: skip
        return self._handlers.record_checkpoint(study, command)

    def record_checkpoints(
        self, study: StudyRef, rows: pl.DataFrame | pd.DataFrame | Sequence[Mapping[str, Any] | RecordCheckpoint]
    ) -> RecordedCheckpoints:
        """Record many checkpoints at once: all, or none when anything is wrong with any.

        Parameters
        ----------
        study
            See `stop_study`.
        rows
            A Polars or pandas DataFrame, or a list of mappings or `RecordCheckpoint` commands. Columns: the metric names,
            ``period_start``, ``period_end``, and optionally ``timestamp``, ``events_analyzed``, ``sessions_included``, ``recorded_at``,
            ``key``. A frame that ``kit.checkpoints()`` gave can be recorded as it is.

        Raises
        ------
        InvalidInputError
            Naming the row (from 0) and the column.
        ConflictError
            When a key stands for other content.
        """
        with collector_paused():
            return self._handlers.record_checkpoints(study, checkpoint_commands(rows))

    def recorder(
        self,
        study: StudyRef,
        *,
        sessions: int | None = None,
        period: TimePeriod | tuple[datetime | str, datetime | str] | None = None,
        resume: bool | None = None,
        progress: bool = True,
    ) -> Recorder:
        """Measure agent sessions in a ``with`` block, and record one checkpoint when it ends.

        ::

            with kit.recorder("nightly agent") as rec:
                for task in rec.track(tasks):
                    with rec.session() as s:
                        result = run(task)
                        s.success(iterations=2, tokens=1200, cost=0.03)

        Parameters
        ----------
        study
            See `stop_study`. It must have been started.
        sessions
            How many are planned, for the progress bar; `Recorder.track` finds it out by itself.
        period
            ``(start, end)`` with time zones: the checkpoint's period. By default from entering the block to leaving it.
        resume
            What to do with the journal of an earlier block that did not end: None refuses to start, and says what there is; True counts on;
            False sets the journal aside. Where there is none it makes no difference.
        progress
            Whether to show how far it is, in a notebook or on a terminal.

        Returns
        -------
        Recorder
            Its documentation has the formulas, and says what happens after an exception.

        Raises
        ------
        TransitionError
            When the study was never started.
        RecorderError
            When the block is entered while another recorder of the study is at work, or with a journal to decide about.
        """
        from evalkit.recording.recorder import Recorder

        with self.engine.command():
            found = self._handlers.recordable(study)
        home = self.engine.settings.home
        return Recorder(found, home=home, record=self.record_checkpoint, sessions=sessions, period=period, resume=resume, progress=progress)

    def outcome(self, error: OutcomeUnknownError) -> Study | Checkpoint | RecordedCheckpoints:
        """Ask again what became of events whose outcome was unknown.

        Raises
        ------
        OutcomeUnknownError
            When it is still unknown.
        ConflictError
            When another event won, and these changed nothing.
        """
        return self._handlers.outcome(error)

    # --- queries ------------------------------------------------------------------------------------------------------------------

    def resolve(self, reference: Study | str) -> Study:
        """Give the one study that a `Study`, an id, a name or the end of an id stands for.

        Raises
        ------
        StudyNotFoundError, AmbiguousStudyError
            When no study, or more than one, matches it.
        """
        self.engine.ready_to_read()
        return self._references.resolve(reference)

    @overload
    def studies(self, *, backend: Literal["polars"] = "polars") -> pl.DataFrame: ...
    @overload
    def studies(self, *, backend: Literal["pandas"]) -> pd.DataFrame: ...
    def studies(self, *, backend: str = "polars") -> Any:
        """Return every study, newest first: by creation time, then id, both descending.

        Columns: study_id, name, status, period_type, period_value, description, tags, metadata, created_at, started_at, stopped_at,
        checkpoints (how many), last_period_end. Times are UTC.
        """
        return self._frame("studies", self._reader.studies, backend)

    @overload
    def checkpoints(
        self, study: Study | str | Sequence[Study | str] | None = None, *, start: datetime | None = None, end: datetime | None = None,
        by: Literal["timestamp", "period"] = "timestamp", exclude: Iterable[Checkpoint | str] = (),
        backend: Literal["polars"] = "polars",
    ) -> pl.DataFrame: ...  # fmt: skip
    @overload
    def checkpoints(
        self, study: Study | str | Sequence[Study | str] | None = None, *, start: datetime | None = None, end: datetime | None = None,
        by: Literal["timestamp", "period"] = "timestamp", exclude: Iterable[Checkpoint | str] = (), backend: Literal["pandas"],
    ) -> pd.DataFrame: ...  # fmt: skip
    def checkpoints(
        self,
        study: Study | str | Sequence[Study | str] | None = None,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        by: Literal["timestamp", "period"] = "timestamp",
        exclude: Iterable[Checkpoint | str] = (),
        backend: str = "polars",
    ) -> Any:
        """Return checkpoints, by default all: by study (oldest first), timestamp, id.

        Columns: study_id, study, period_type, checkpoint_id, timestamp, recorded_at, period_start, period_end, the 16 metrics,
        events_analyzed, sessions_included. A metric that was not measured is null.

        Parameters
        ----------
        study
            A study (see `stop_study`), a list of them, or None for all.
        start, end
            Only what lies in ``[start, end)``, with a time zone.
        by
            What must lie there: the ``"timestamp"``, or the start of the ``"period"``.
        exclude
            Checkpoints to leave out: `Checkpoint` objects, exact ids, or the last four or more characters of ids. Events cannot be
            deleted; what should not count is left out by name.
        backend
            ``"polars"`` or ``"pandas"``.

        Raises
        ------
        StudyNotFoundError, AmbiguousStudyError
            When no study, or more than one, matches `study`.
        InvalidInputError
            When a time has no time zone, or `exclude` names no checkpoint.
        """

        def read() -> pl.DataFrame:
            from evalkit.frames.reader import select

            ids = self._ids(study)
            return select(self._reader.checkpoints(ids), start, end, by, exclude)

        return self._frame("checkpoints", read, backend, always=study is not None)

    @overload
    def lifecycle(self, *, backend: Literal["polars"] = "polars") -> pl.DataFrame: ...
    @overload
    def lifecycle(self, *, backend: Literal["pandas"]) -> pd.DataFrame: ...
    def lifecycle(self, *, backend: str = "polars") -> Any:
        """Give what happened to each study: study_id, study, seq (its order in the log, from 1), kind, status (after it), at."""
        return self._frame("lifecycle", self._reader.lifecycle, backend)

    @overload
    def rejected(self, *, backend: Literal["polars"] = "polars") -> pl.DataFrame: ...
    @overload
    def rejected(self, *, backend: Literal["pandas"]) -> pd.DataFrame: ...
    def rejected(self, *, backend: str = "polars") -> Any:
        """Give the events that changed nothing: study_id, event_id, kind, outcome (rejected or quarantined), reason, message, at."""
        return self._frame("rejected", self._reader.rejected, backend)

    def data(
        self,
        study: Study | str | Iterable[Study | str] | None = None,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        by: Literal["timestamp", "period"] = "timestamp",
        exclude: Iterable[Checkpoint | str] = (),
    ) -> StudyData:
        """Return checkpoints, lifecycle and description of some studies: the first argument of every chart and analysis.

        Parameters
        ----------
        study
            A study (see `stop_study`), a list of them, or None for all.
        start, end, by, exclude
            Which checkpoints, as in `checkpoints`. The lifecycle is always whole.

        Raises
        ------
        StudyNotFoundError, AmbiguousStudyError
            When no study, or more than one, matches `study`.
        InvalidInputError
            When a time has no time zone, or `exclude` names no checkpoint.

        Examples
        --------
        >>> from evalkit import analysis
        >>> analysis.trend(kit.data("nightly"), "session_success_rate")  # doctest: +SKIP
        """
        from evalkit.frames.study_data import StudyData

        self.engine.ready_to_read()
        ids = self._ids(study)
        for _ in range(_TRIES):  # again when another process wrote in between, so that all three are one state
            version = self.engine.read_version()
            checkpoints = self.checkpoints(ids, start=start, end=end, by=by, exclude=exclude)
            lifecycle, studies = self.lifecycle(), self.studies()
            if version == self.engine.read_version():
                break
        if ids is not None:
            lifecycle, studies = (frame.filter(frame["study_id"].is_in(ids)) for frame in (lifecycle, studies))
        return StudyData(checkpoints, lifecycle, studies=studies)

    def report(
        self,
        study: Study | str,
        path: str | os.PathLike[str],
        *,
        baseline: Study | str | None = None,
        metrics: Sequence[str] | str | None = None,
    ) -> Path:
        """Write a report on a study, as `evalkit.analysis.report` does from data.

        Parameters
        ----------
        study
            A `Study`, an id, a name, or the last four or more characters of an id.
        path, metrics
            See `evalkit.analysis.report`.
        baseline
            Another study to compare with, as `study`. None: no comparison.

        Returns
        -------
        pathlib.Path
            Where it was written.

        Raises
        ------
        InvalidInputError
            When the file's extension is none of ``.html``, ``.md`` and ``.json``, it cannot be written, there is no such metric, or study
            and baseline are the same.
        StudyNotFoundError, AmbiguousStudyError
            When no study, or more than one, matches `study` or `baseline`.
        MissingExtraError
            Without the packages of the extra ``analysis``.

        Examples
        --------
        >>> kit.report("nightly", "nightly.html", baseline="last year")  # doctest: +SKIP
        """
        from evalkit.analysis import report

        one = self.resolve(study)
        other = None if baseline is None else self.resolve(baseline)
        data = self.data([one.id] if other is None else [one.id, other.id])
        return report(data, path, study=study, baseline=baseline, metrics=metrics)

    # --- the read model -----------------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """Say where the kit keeps its things, how far the read model is, and what is wrong, if anything is."""
        return read_status(self.engine)

    def rebuild(self, *, adopt_log: bool = False, on_progress: Callable[[int, int], None] | None = None) -> RebuildResult:
        """Make the read model anew from the log, while readers go on with the old one.

        Parameters
        ----------
        adopt_log
            Accept a log that is not the one the read model was made from.
        on_progress
            Called with the number of events replayed, and in the log; by default a progress bar is shown.

        Raises
        ------
        LogMismatchError
            When the log is another one, or lost events.
        """
        engine = self.engine
        if engine.not_writable is not None:
            raise ReadOnlyError(f"{engine.not_writable}, so the read model cannot be rebuilt", hint="Ask for write access.")
        if not engine.exists:
            engine.ready_to_read()
            return RebuildResult(0, 0)
        try:
            with progress_bar("Rebuilding") if on_progress is None else nullcontext(on_progress) as show:
                return rebuild(engine.database, engine.log, adopt_log=adopt_log, on_progress=show, writer=engine.writer)
        finally:
            engine.consumer.restart()

    def verify(self, *, expect: str | None = None) -> VerifyResult:
        """Fold the log afresh and compare every row of the read model with it.

        Parameters
        ----------
        expect
            A digest noted earlier, to compare with as well.
        """
        if self.engine.ready_to_read():
            return verify(self.engine.database, self.engine.log, expect=expect)
        return VerifyResult("", None, expect)

    # --- in a notebook --------------------------------------------------------------------------------------------------------------

    def panel(self, study: StudyRef | None = None) -> Panel:
        """Give a panel for a notebook: the last expression of a cell shows it.

        It lists the studies, and follows them while somebody sees it: what another process does appears by itself. It draws a metric. It
        creates, starts, pauses, resumes and stops studies, and records checkpoints; errors stand in its status line. ``panel.close()``
        takes it off the page. Several panels may be open.

        Parameters
        ----------
        study
            The study to show first, see `stop_study`; by default the newest.

        Raises
        ------
        StudyNotFoundError, AmbiguousStudyError
            When no study, or more than one, matches `study`.
        """
        from evalkit.panel.panel import Panel

        return Panel(self, None if study is None else self.resolve(study).id, embedded=self.engine.embedded)

    def _ids(self, study: Study | str | Iterable[Study | str] | None) -> list[str] | None:
        """Return the ids of the studies that are asked for, each once; None for all."""
        if study is None:
            return None
        several = isinstance(study, Iterable) and not isinstance(study, Study | str | bytes)
        asked: list[Any] = list(study) if several else [study]
        return list(dict.fromkeys(self._references.resolve(one).id for one in asked))

    @cached_property
    def _reader(self) -> FrameReader:
        from evalkit.frames.reader import FrameReader  # with Polars, which is heavy

        return FrameReader(self.engine.database, self.engine.database_identity)

    def _frame(self, name: str, read: Callable[[], pl.DataFrame], backend: str, *, always: bool = False) -> Any:
        if backend not in ("polars", "pandas"):
            raise checks.invalid("backend", backend, "is neither 'polars' nor 'pandas'")
        if polars_is_stranded():
            raise EvalkitError(
                "Frames cannot be read in a forked process once Polars was imported before the fork: its threads are not there, and it "
                "would wait for them for ever",
                hint='Start processes with multiprocessing.get_context("spawn"), or use kit.storage, which works.',
            )
        from evalkit.frames.columns import FRAMES, empty_frame
        from evalkit.frames.pandas_output import to_pandas

        frame = read() if self.engine.ready_to_read() or always else empty_frame(FRAMES[name])
        return frame if backend == "polars" else to_pandas(frame, FRAMES[name])
