"""A recorder: measures agent sessions while they run, and records one checkpoint of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from evalkit._util.text import plural
from evalkit.domain import validation as checks
from evalkit.domain.metrics import METRICS
from evalkit.domain.study import Checkpoint, Study
from evalkit.domain.times import wire_time
from evalkit.errors import EvalkitError, RecorderError, warn
from evalkit.recording.aggregate import COMPUTED, SessionRecord
from evalkit.recording.block import Block, tally
from evalkit.recording.journal import Journal
from evalkit.recording.progress import NotebookBar, TerminalBar, open_bar
from evalkit.recording.session import Session

__all__ = ["Recorder"]

Item = TypeVar("Item")


class Recorder:
    """Measures sessions in a ``with`` block, and records one checkpoint when the block ends. Made by ``kit.recorder(study)``.

    The period is the time of the block, unless one was given. One session is one task. The checkpoint's metrics:

    =========================== ========================================================= =============================================
    metric                      value                                                     missing when
    =========================== ========================================================= =============================================
    sessions_completed          number of sessions that ended                             never
    session_success_rate        sessions that succeeded / sessions that ended             no session ended
    avg_session_duration        sum of the durations / sessions that ended                no session ended
    tasks_completed             number of sessions that ended                             never
    first_attempt_success_rate  successes with iterations=1 / sessions that ended         none ended, or a success has no iterations
    avg_iterations_to_success   sum of the successes' iterations / sessions that          none succeeded, or a success has no iterations
                                succeeded
    total_tokens                sum of the tokens, also of failed sessions                a session has no tokens
    total_cost                  sum of the costs, also of failed sessions                 a session has no cost
    cost_per_successful_task    total_cost / sessions that succeeded                      none succeeded, or total_cost is missing
    =========================== ========================================================= =============================================

    A sum over some of the sessions is not the total, so it is missing rather than too small, and a warning says how many lack it. The other
    metrics are missing unless `metrics` gives them. ``sessions_included`` are the names of the sessions that ended (none when they alone
    would fill an event), and ``events_analyzed`` is their number. A block in which no session ended, and no metric was given, records
    nothing, and warns.

    A session is a success when `Session.success` was called and no exception came after; else it failed. One that reported nothing counts
    as failed, too, since success is reported, never assumed; a warning says how many did. One that ended by an exception failed, and the
    exception goes on. An invalid number, such as ``cost=nan``, is missing, and a warning names it.

    A session that was interrupted before it reported is neither success nor failure: it is in no rate and no sum, and a warning names it.
    Interruptions are Ctrl-C or a stopped cell (KeyboardInterrupt), SystemExit, a canceled asyncio task, a generator that is left, the end
    of the block while the session runs, and the end of the process. Where they count against the agent, turn them into a report or an
    exception within the session's block: ``asyncio.timeout`` inside it raises TimeoutError there, which is a failure.

    Every session is written at once to a journal in the home. When the block ends by an exception, or the process dies, nothing is recorded
    and the journal stays. The next recorder of the study then refuses to start until it is told what to do: ``resume=True`` counts on, the
    period still beginning where it began; ``resume=False`` sets the journal aside, under another name. A block that ended but could not be
    recorded is recorded by ``resume=True``: once, however often that is tried.

    Sessions may overlap in threads and asyncio tasks; within one of those they do not nest.
    """

    def __init__(
        self,
        study: Study,
        *,
        home: Path,
        record: Callable[..., Checkpoint],
        sessions: int | None = None,
        period: Any = None,
        resume: bool | None = None,
        progress: bool = True,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        elapsed: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.study = study
        """The study, as it was when the recorder was made."""
        self.checkpoint: Checkpoint | None = None
        """What was recorded, once the block has ended."""
        self._home, self._record, self._resume, self._progress = home, record, resume, progress
        self._now, self._elapsed = now, elapsed
        self._planned = None if sessions is None else checks.check_count("sessions", sessions)
        self._period = None if period is None else _checked_period(period)
        if resume not in (None, True, False):
            raise checks.invalid("resume", resume, "is none of True (go on with a journal), False (set it aside), None (ask).")
        self._lock = threading.RLock()
        self._state = "new"
        self._taken: set[str] = set()
        self._began_at = 0
        self._bar: NotebookBar | TerminalBar | None = None
        self._journal: Journal
        self._block = Block("", "")

    def __repr__(self) -> str:
        return f"Recorder({self.study.name!r}, {plural(len(self.sessions), 'session')})"

    @property
    def sessions(self) -> tuple[SessionRecord, ...]:
        """The sessions that ended, in the order of their ends; after a resume, those of the earlier block first."""
        return tuple(self._block.sessions)

    def session(self, name: str | None = None) -> Session:
        """Measure one session: ``with rec.session() as s: ...; s.success(iterations=2, tokens=1200, cost=0.03)``.

        Parameters
        ----------
        name
            For ``sessions_included``, 1 to 200 characters; by default the block's beginning and a number. A name that is taken gets a
            number after it.

        Raises
        ------
        RecorderError
            Outside the recorder's ``with`` block.
        """
        if name is not None:
            checks.check_text("name", name, low=1, high=200)
        self._check_open("rec.session()")
        return Session(self, name)

    def track(self, tasks: Iterable[Item], *, total: int | None = None) -> Iterator[Item]:
        """Iterate over tasks and show how far it is: ``for task in rec.track(tasks): ...``.

        Parameters
        ----------
        tasks
            Anything; one session each is expected.
        total
            How many there are, where they have no length.
        """
        self._check_open("rec.track(tasks)")
        known = checks.check_count("total", total) if total is not None else len(tasks) if isinstance(tasks, Sized) else None
        if self._planned is None and known is not None:
            self._planned = len(self.sessions) + known
            self._show()
        return iter(tasks)

    def metrics(self, **values: Any) -> None:
        """Add metrics that sessions do not determine, for example ``rec.metrics(tool_success_rate=0.9)``. Of two values the last counts.

        Raises
        ------
        InvalidInputError
            For a metric that is none or is computed from the sessions, or a value out of its range.
        """
        self._check_open("rec.metrics(...)")
        own = [name for name in METRICS if name not in COMPUTED]
        checked = {}
        for name, value in values.items():
            if name in COMPUTED:
                raise checks.invalid(name, value, "cannot be given: it comes from the sessions", hint=f"You can give {', '.join(own)}.")
            if name not in METRICS:
                raise checks.invalid(name, value, "is for no metric", hint=f"You can give {', '.join(own)}.{checks.nearest(name, own)}")
            checked[name] = None if checks.is_missing(value) else checks.CHECKERS[name](name, value)
        if checked:
            self._note({"metrics": checked})

    # --- the block ----------------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Recorder:
        if self._state != "new":
            raise RecorderError("This recorder was used already", allowed=f"make another one: {self._call()}")
        self._journal = Journal(self._home, self.study.id, self.study.name)
        try:
            self._settle_what_was_left()
            self._taken = {session.name for session in self.sessions}
            self._began_at = self._elapsed()
            self._bar = open_bar(self.study.name) if self._progress else None
            self._show()
        except BaseException:
            self._journal.release()
            raise
        self._state = "open"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:
            self._state = "closed"
        outcome = "Nothing was recorded."
        remarks: Iterable[str] = ()
        try:
            if error is not None:
                outcome = self._leave(error)
            elif self._block.sessions or self._block.metrics:
                self._note({"closed": self._block.payload(self._now())})
                self._record_closed(self._block)
                outcome = f"Recorded in {self.study.name!r}: {self._tally()}."
                remarks = self._block.remarks()
            else:
                self._journal.remove()
                remarks = list(self._block.remarks())
                if self.checkpoint is None:
                    remarks = [
                        f"No session ended in the block, so nothing was recorded in {self.study.name!r}. Use: with rec.session() as s: ...",
                        *remarks,
                    ]
        finally:
            self._journal.release()
            if self._bar is not None:
                self._bar.close(outcome)
        for remark in remarks:
            warn(remark)

    def _settle_what_was_left(self) -> None:
        """Decide about the journal of an earlier block, and begin one or go on with it."""
        if self._resume is False:
            self._journal.set_aside()
        left = self._journal.read()
        if left is not None and not left.empty:
            if self._resume is None:
                raise self._offer(left)
            if left.closed is None:
                if self._period not in (None, left.period):
                    was = "the time of its block" if left.period is None else " to ".join(left.period)
                    raise checks.invalid(
                        "period", self._period, f"is not that of the journal, {was}. Leave it out to resume: {self._call(True)}"
                    )
                self._journal.go_on()
                self._block = left
                return
            self._record_closed(left)
            for remark in left.remarks():
                warn(remark)
        self._block = self._journal.begin(self._now(), self._period)

    def _offer(self, left: Block) -> RecorderError:
        state, step = ("ended, but may not be recorded", "Record it") if left.closed else ("did not end", "Go on with it")
        return RecorderError(
            f"A block of {self.study.name!r} that began on {left.begun[:16].replace('T', ' ')} UTC {state}. Its journal holds "
            f"{tally(left.sessions, interrupted=len(left.began))}",
            hint=f"{step}: {self._call(True)}; or set it aside: {self._call(False)}",
            path=str(self._journal.path),
        )

    def _leave(self, error: BaseException) -> str:
        """Keep what the block did until an exception ended it, and say so in the exception."""
        if self._block.empty:
            self._journal.remove()
            return "Nothing was recorded."
        kept = f"{self._tally()}. Nothing was recorded yet, and nothing is lost."
        error.add_note(f"evalkit: {kept} Go on: {self._call(True)}; or set it aside: {self._call(False)}")
        return f"Stopped after {kept}"

    def _record_closed(self, block: Block) -> None:
        """Record the checkpoint of a block that ended, and delete its journal."""
        closed = block.closed
        assert closed is not None
        try:
            self.checkpoint = self._record(
                self.study, {**closed["metrics"], "period": tuple(closed["period"])}, events_analyzed=closed["events_analyzed"],
                sessions_included=closed["sessions_included"], key=f"recorder {block.journal}",
            )  # fmt: skip
        except EvalkitError as error:
            raise error.but(
                hint=f"{error.message.hint} Nothing is lost: the journal holds {tally(block.sessions)}. Record it, once and for all, "
                f"however often you try: with {self._call(True)}: pass".strip()
            ) from None
        self._journal.remove()

    # --- for sessions -------------------------------------------------------------------------------------------------------------

    def _begin_session(self, name: str | None) -> str:
        """Note the beginning of a session, and return its name."""
        with self._lock:
            self._check_open("rec.session()")
            given = name or f"{self._block.begun[:19]}Z"
            chosen, number = given, len(self._block.sessions) + len(self._block.began) + 1 if name is None else 2
            while name is None or chosen in self._taken:
                chosen, name, number = f"{given} #{number}", given, number + 1
            self._note({"began": chosen})
            self._taken.add(chosen)
            return chosen

    def _end_session(self, name: str, session: SessionRecord | None) -> None:
        """Note the end of a session; one without a record was interrupted."""
        with self._lock:
            self._check_open(f"The end of the session {name!r}")
            if session is None:
                self._taken.discard(name)  # for the next attempt
                return
            self._note({"session": asdict(session)})
            self._show()

    def _note(self, line: Mapping[str, Any]) -> None:
        with self._lock:  # sessions may end in several threads
            self._journal.note(self._block, line)

    def _tally(self) -> str:
        interrupted = len(self._block.began) if self._state == "closed" else 0  # until then they run
        return tally(self._block.sessions, self._planned, interrupted)

    def _show(self) -> None:
        if self._bar is not None:
            elapsed = timedelta(microseconds=(self._elapsed() - self._began_at) // 1000)
            self._bar.show(len(self.sessions), self._planned, self._tally(), elapsed)

    def _check_open(self, what: str) -> None:
        if self._state != "open":
            raise RecorderError(f"{what} belongs inside the block: with {self._call()} as rec: ...")

    def _call(self, resume: bool | None = None) -> str:
        return f"kit.recorder({self.study.name!r}{'' if resume is None else f', resume={resume}'})"


def _checked_period(period: Any) -> tuple[str, str]:
    """Return a period that a user asked for as wire times.

    Raises
    ------
    InvalidInputError
        When it is none.
    """
    given = checks.metrics_as_mapping({"period": period})
    start, end = checks.check_bounds(given["period_start"], given["period_end"])
    return wire_time(start), wire_time(end)
