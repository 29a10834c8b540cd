"""The facade: one object that takes commands and answers queries."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from evalkit._util.garbage import collector_paused
from evalkit.domain import validation as checks
from evalkit.domain.commands import CreateStudy, RecordCheckpoint
from evalkit.domain.metrics import LongitudinalMetrics
from evalkit.domain.study import Checkpoint, PeriodType, Study
from evalkit.errors import OutcomeUnknownError
from evalkit.runtime.engine import Engine
from evalkit.runtime.handlers import Handlers, RecordedCheckpoints
from evalkit.settings import Settings
from evalkit.upkeep import Upkeep

if TYPE_CHECKING:
    from evalkit.panel.panel import Panel
    from evalkit.recording.recorder import Recorder

__all__ = ["EvalKit", "connect"]

StudyRef = Study | str
Period = str | PeriodType | tuple[str | PeriodType, int]


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
        Where the read model is: ``file:PATH``; ``http(s)://``, ``ws(s)://`` or ``libsql://HOST`` for a libSQL server; ``turso+https://HOST``
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


class EvalKit(Upkeep):
    """Studies and checkpoints: commands append to the log, queries answer from the read model, and see what commands did.

    Made by `connect`. Serves several threads, and goes on working in a forked process.

    Every command raises `InvalidInputError` for a value that it refuses, `ReadOnlyError` where nothing can be appended, and
    `LogUnavailableError` when the log is out of reach: nothing was appended then. `OutcomeUnknownError` says that something was.
    """

    def __init__(self, settings: Settings, *, role: str = "kit") -> None:
        super().__init__(Engine(settings, role))
        self._handlers = Handlers(self._engine)

    def __enter__(self) -> EvalKit:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        home = self._engine.settings.home
        return f"EvalKit({str(home.relative_to(os.getcwd()) if home.is_relative_to(os.getcwd()) else home)!r})"  # noqa: PTH109

    def close(self) -> None:
        """Let go of the files. The kit opens them again when it is used again."""
        self._engine.close()

    # --- commands -----------------------------------------------------------------------------------------------------------------

    def create_study(
        self,
        name: str,
        *,
        period: Period = "daily",
        description: str | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, str] | None = None,
        at: datetime | str | None = None,
        if_exists: Literal["error", "open"] = "error",
    ) -> Study:
        """Create a study, pending.

        Parameters
        ----------
        name
            1 to 200 characters, no control characters.
        period
            The length of a checkpoint's period, and how many are planned: ``"daily"``, ``"weekly:2"``, ``(PeriodType.WEEKLY, 2)``.
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
        command = CreateStudy.of(name, period, description, tags, metadata)
        return self._handlers.create_study(command, at, if_exists)

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
            When no study, or more than one, answers to `study`.
        """
        return self._handlers.change_study("stop", study, at)

    def record_checkpoint(
        self,
        study: StudyRef,
        metrics: LongitudinalMetrics | Mapping[str, Any],
        *,
        timestamp: datetime | str | None = None,
        events_analyzed: int = 0,
        sessions_included: Iterable[str] = (),
        key: str | None = None,
        at: datetime | str | None = None,
    ) -> Checkpoint:
        """Record one period's measurements.

        Parameters
        ----------
        study
            See `stop_study`.
        metrics
            A `LongitudinalMetrics`, or a mapping of metric names with ``"period": (start, end)``. What is left out or None is missing.
            `avg_session_duration` is a duration or seconds. Rates are 0 to 1; rounding errors of up to 1e-6 beyond are corrected.
        timestamp
            When it was taken, with a time zone; by default the period's end.
        events_analyzed
            The number of session events that the metrics come from.
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
        given = dict(checks.metrics_as_mapping(metrics))
        now = datetime.now(UTC)
        sessions = checks.check_texts("sessions_included", sessions_included)
        analyzed = checks.check_count("events_analyzed", events_analyzed)
        extras = {
            "timestamp": timestamp, "events_analyzed": analyzed or None, "sessions_included": sessions or None, "key": key,
            "recorded_at": None if at is None else checks.check_at("at", at, now),
        }  # fmt: skip
        for name, value in extras.items():
            if value is not None and given.get(name) is not None:
                raise checks.invalid(name, value, f"is given beside {checks.shown(given[name])} in the metrics; give one or the other.")
        given.update({name: value for name, value in extras.items() if value is not None})
        return self._handlers.record_checkpoint(study, RecordCheckpoint.of(given, now=now))

    def record_checkpoints(self, study: StudyRef, rows: Any) -> RecordedCheckpoints:
        """Record many checkpoints at once: all, or none when anything is wrong with any.

        Parameters
        ----------
        study
            See `stop_study`.
        rows
            A Polars or Pandas frame, or a list of mappings. Columns: the metric names, ``period_start``, ``period_end``, and optionally
            ``timestamp``, ``events_analyzed``, ``sessions_included``, ``recorded_at``, ``key``. A frame that ``kit.checkpoints()`` gave
            can be recorded as it is.

        Raises
        ------
        InvalidInputError
            Naming the row (from 0) and the column.
        ConflictError
            When a key stands for other content.
        """
        with collector_paused():
            return self._handlers.record_checkpoints(study, RecordCheckpoint.of_rows(rows, now=datetime.now(UTC)))

    def recorder(
        self,
        study: StudyRef,
        *,
        sessions: int | None = None,
        period: Any = None,
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

        with self._engine.command():
            found = self._handlers.recordable(study)
        home = self._engine.settings.home
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
            When no study, or more than one, answers to `study`.
        """
        from evalkit.panel.panel import Panel

        return Panel(self, None if study is None else self.resolve(study).id)
