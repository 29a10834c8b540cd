"""Child processes of the tests, and the handle to control one.

``Child("record", home, study=...)`` runs ``python worker.py record HOME '{"study": ...}'``. A child writes JSON lines to its standard
output and reads lines from its standard input. Its lifetime is limited, also when the test that started it is killed.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import queue
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

import evalkit
from evalkit import EvalKit, OutcomeUnknownError, connect
from evalkit.errors import DatabaseBusyError, DatabaseUnavailableError, LogUnavailableError
from evalkit.readmodel import rebuild as rebuild_module
from evalkit.readmodel.consumer import EvalProjectionConsumer
from evalkit.readmodel.schema import read_head
from evalkit.recording.journal import Journal

LIFETIME_SECONDS = 240
LOST = (LogUnavailableError, DatabaseUnavailableError, DatabaseBusyError, OutcomeUnknownError)
CREATED = datetime(2020, 1, 1, tzinfo=UTC)


def sample(index: int) -> dict[str, Any]:
    """Return metrics with a period that is unique to the index."""
    start = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(hours=index)
    return {"session_success_rate": 0.5, "total_tokens": index, "period": (start, start + timedelta(hours=1))}


def study_with_checkpoints(kit: EvalKit, count: int, name: str = "study", first: int = 0) -> evalkit.Study:
    """Create and start a study if it is missing, and record checkpoints `first` up to `first + count` in one append."""
    study = kit.create_study(name, at=CREATED, if_exists="open")
    if study.started_at is None:
        study = kit.start_study(study)
    if count:
        kit.record_checkpoints(study, [flat_sample(index) for index in range(first, first + count)])
    return study


def flat_sample(index: int) -> dict[str, Any]:
    """Return the sample of an index as a row."""
    row = sample(index)
    start, end = row.pop("period")
    return {**row, "period_start": start, "period_end": end}


class Marker:
    """One byte of shared memory with the current activity of a process, readable after it was killed."""

    OUTSIDE, APPEND, BATCH, SWAP = range(4)

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes([self.OUTSIDE]))
        self.path = path
        with path.open("r+b") as file:
            self._byte = mmap.mmap(file.fileno(), 1)

    def get(self) -> int:
        return self._byte[0]

    def set(self, value: int) -> None:
        self._byte[0] = value

    def watch(self, kit: EvalKit) -> None:
        """Mark every append to the log of a kit, and every batch and swap of its database."""
        self.set(self.OUTSIDE)  # remove the mark of an earlier, killed process
        engine: Any = kit.engine
        engine.log.append = self._marking(engine.log.append, lambda messages: self.APPEND)
        engine.database.batch = self._marking(
            engine.database.batch,
            lambda statements: self._kind([sql for sql, *_ in statements]),
        )

    def _kind(self, statements: list[str]) -> int:
        if all(sql.lstrip().startswith("SELECT") for sql in statements):
            return self.OUTSIDE  # only reads
        return self.SWAP if any("RENAME TO" in sql for sql in statements) else self.BATCH

    def _marking(self, call: Callable[..., Any], doing: Callable[[Any], int]) -> Callable[..., Any]:
        def marked(argument: Any, **options: Any) -> Any:
            self.set(doing(argument))
            try:
                return call(argument, **options)
            finally:
                self.set(self.OUTSIDE)

        return marked


class Child:
    """A process that runs one of the tasks below. It is killed at the end of the ``with`` block.

    Parameters
    ----------
    task, home, options
        The task and its arguments.
    prefix
        A command that runs the child, for example with fewer permissions.
    """

    def __init__(self, task: str, home: Path, *, prefix: tuple[str, ...] = (), **options: Any) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed in __exit__)
        command = [*prefix, sys.executable, "-W", "error", __file__, task, str(home), json.dumps(options)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True)
        self.pid = self._process.pid
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):  # the last line of a killed process may be incomplete
                self._lines.put(line)
        self._lines.put(None)

    def hear(self, seconds: float = 120) -> Any:
        """Wait for the next message of the child."""
        line = self._lines.get(timeout=seconds)
        assert line is not None, f"the child ended without a message: {self.stderr()}"
        return json.loads(line)

    def tell(self, message: object = "go") -> None:
        """Send a message to the child."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def finish(self, seconds: float = 120) -> list[Any]:
        """Close the child's input, wait until it exits, and return its remaining messages.

        It must exit with 0, without a warning or an error.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = self._process.wait(seconds)
        assert code == 0, f"the child exited with {code}: {self.stderr()}"
        assert self.stderr() == "", self.stderr()
        return self._rest()

    def kill(self) -> list[Any]:
        """Kill the child with SIGKILL, and return its remaining messages."""
        self._process.kill()
        self._process.wait(30)
        return self._rest()

    def kill_while(self, marker: Marker, doing: int, seconds: float = 60) -> list[Any]:
        """Kill the child while the marker is `doing`, and return its remaining messages."""
        self.interrupt_while(marker, doing, self._process.kill, seconds)
        return self.kill()

    def interrupt_while(self, marker: Marker, doing: int, do: Callable[[], None], seconds: float = 60) -> None:
        """Suspend the child while the marker is `doing`, call a function, and continue the child."""
        process = psutil.Process(self.pid)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self._process.poll() is None, f"the child ended: {self.stderr()}"
            if marker.get() != doing:
                continue
            self._process.send_signal(signal.SIGSTOP)
            while process.status() != psutil.STATUS_STOPPED:
                pass
            caught = marker.get() == doing
            if caught:
                do()
            self._process.send_signal(signal.SIGCONT)
            if caught:
                return
        raise AssertionError(f"the child was not seen doing {doing} within {seconds} s")

    def stderr(self) -> str:
        self._errors.seek(0)
        return self._errors.read()

    def _rest(self) -> list[Any]:
        self._listener.join(30)
        lines = [self._lines.get() for _ in range(self._lines.qsize())]
        return [json.loads(line) for line in lines if line is not None]


# --- tasks of the children ----------------------------------------------------------------------------------------------------------


def say(message: object) -> None:
    """Send a message to the test."""
    os.write(1, (json.dumps(message) + "\n").encode())  # unbuffered and atomic, so that no message is lost in a kill


def hear() -> Any:
    """Return the next message of the test; None at the end of the input."""
    line = sys.stdin.readline()
    return json.loads(line) if line else None


def until_stopped() -> Iterator[int]:
    """Count until the test closes the input."""
    stopped = threading.Event()

    def listen() -> None:
        hear()
        stopped.set()

    threading.Thread(target=listen, daemon=True).start()
    index = 0
    while not stopped.is_set():
        yield index
        index += 1


def commands(home: str, *, number: int, study: str, count: int) -> None:
    """Execute `count` commands of every kind, which must all succeed, concurrently with other processes."""
    kit = connect(home)
    say("ready")
    hear()
    studies, checkpoints, own = [], [], None
    for index in range(count):
        kind = index % 10
        if kind == 0:
            own = kit.create_study(f"study {index} of process {number}")
            studies.append(own.id)
        elif kind < 5:
            assert own is not None
            own = getattr(kit, f"{('start', 'pause', 'resume', 'stop')[kind - 1]}_study")(own)
        else:
            checkpoints.append(kit.record_checkpoint(study, sample(number * 100_000 + index)).id)
    say({"studies": studies, "checkpoints": checkpoints, **contention(kit)})


def begin(home: str, *, number: int) -> None:
    """Execute the first command in each requested home."""
    say("ready")
    while (request := hear()) is not None:
        with connect(Path(home) / request) as kit:
            say(kit.create_study(f"study {number}").id)


def create(home: str) -> None:
    """Create a study by name in each requested kit, and report its id or the type of the error."""
    say("ready")
    while (request := hear()) is not None:
        with connect(Path(home) / request["home"], **request.get("urls", {})) as kit:
            try:
                say(kit.create_study(request["name"], if_exists=request["if_exists"]).id)
            except evalkit.EvalkitError as error:
                say(type(error).__name__ if isinstance(error, evalkit.StudyExistsError) else f"{type(error).__name__}: {error}")


def contention(kit: EvalKit) -> dict[str, int]:
    return {"conflicts": kit.engine.consumer.conflicts, "busy": kit.engine.database.busy_retries}  # type: ignore[attr-defined]


def race(home: str) -> None:
    """Execute the requested lifecycle commands, and report the result of each."""
    kit = connect(home)
    say("ready")
    while (request := hear()) is not None:
        try:
            study = getattr(kit, f"{request['command']}_study")(request["study"])
            say({"ended": "won", "status": study.status})
        except evalkit.ConflictError as error:
            say({"ended": "lost", "event_id": error.event_id, "message": str(error)})
        except evalkit.TransitionError as error:
            say({"ended": "late", "message": str(error)})


def meet(home: str, *, command: str, study: str) -> None:
    """Execute one lifecycle command that waits for the test between its check and its append."""
    kit = connect(home)
    append = kit.engine.log.append

    def after_the_others_checked(messages: Any) -> Any:
        say("checked")
        hear()
        return append(messages)

    kit.engine.log.append = after_the_others_checked  # type: ignore[method-assign]
    try:
        getattr(kit, f"{command}_study")(study)
        say("won")
    except evalkit.ConflictError as error:
        say({"reason": error.reason, "event_id": error.event_id, "study_id": error.study_id})


def amend_at_once(home: str, *, number: int) -> None:
    """Amend each requested checkpoint, waiting for the test between the check and the append, and report the result."""
    kit = connect(home)
    append = kit.engine.log.append

    def after_the_other_checked(messages: Any) -> Any:
        say("checked")
        hear()
        return append(messages)

    kit.engine.log.append = after_the_other_checked  # type: ignore[method-assign]
    say("ready")
    while (checkpoint_id := hear()) is not None:
        try:
            amended = kit.amend_checkpoint(
                checkpoint_id, {"total_cost": float(number)}, reason=f"reason {number}", author=f"author {number}"
            )
            say({"ended": "won", "number": number, "cost": amended.metrics.total_cost})
        except evalkit.ConflictError as error:
            names = ("event_id", "reason", "changes", "explanation", "author")
            checkpoint: Any = error.checkpoint
            latest = {"measured": checkpoint.metrics.measured(), "revision": checkpoint.revision}
            say({"ended": "lost", "message": str(error), **latest, **{name: getattr(error, name) for name in names}})


def record(home: str, *, first: int, marker: str | None = None) -> None:
    """Record keyed checkpoints from number `first` on, and report number and id of each acknowledged one."""
    kit = connect(home)
    if marker is not None:
        Marker(Path(marker)).watch(kit)
    say("ready")
    study = study_with_checkpoints(kit, 0)
    for index in until_stopped():
        checkpoint = kit.record_checkpoint(study, sample(first + index), key=str(first + index))
        say([first + index, checkpoint.id])


def persist(home: str, *, first: int, marker: str | None = None) -> None:
    """Record as `record` does, retry with the same key after connection errors, and report the number of retries."""
    kit = connect(home)
    if marker is not None:
        Marker(Path(marker)).watch(kit)
    study = study_with_checkpoints(kit, 0)
    say("ready")
    for index in until_stopped():
        lost = 0
        while True:
            try:
                checkpoint = kit.record_checkpoint(study, sample(first + index), key=str(first + index))
                break
            except LOST:
                lost += 1
                time.sleep(0.05)
        say([first + index, checkpoint.id, lost])


def correct(home: str, *, first: int, marker: str) -> None:
    """Define a metric, record, amend, retract and note from number `first` on, and report each acknowledged command."""
    kit = connect(home)
    Marker(Path(marker)).watch(kit)
    say("ready")
    study = study_with_checkpoints(kit, 0)
    for index in until_stopped():
        number = first + index
        name, key = f"metric_{number}", (study, str(number))
        kit.define_metric(study, evalkit.Metric(name, kind="count", better="up"))
        say(["define", name])
        # A retracted checkpoint of an earlier, killed process cannot be recorded again.
        checkpoint = kit.record_checkpoint(study, {**sample(number), name: 1}, key=f"{number}")
        kit.amend_checkpoint(key, {"total_tokens": number + 1000, name: 2}, reason="late")
        say(["amend", checkpoint.id])
        if number % 2:
            kit.retract_checkpoint(key, reason="wrong")
            say(["retract", checkpoint.id])
        say(["note", kit.note(study, f"note {number}", at=CREATED).id])


def record_many(home: str, *, first: int, rows: int, marker: str, as_frame: bool = False) -> None:
    """Record batches of `rows` checkpoints, and report the ids of each acknowledged batch.

    A frame of many rows is written to the read model while it is appended to the log.
    """
    import polars as pl  # other workers fork, and must not import it before

    kit = connect(home)
    Marker(Path(marker)).watch(kit)
    study = study_with_checkpoints(kit, 0)
    say("ready")
    for batch in until_stopped():
        samples = [flat_sample((first + batch) * rows + index) for index in range(rows)]
        say(kit.record_checkpoints(study, pl.DataFrame(samples) if as_frame else samples).checkpoint_ids)


def mirror(home: str, *, folder: str, first: int) -> None:
    """Record checkpoints and update a mirror, again and again."""
    kit = connect(home)
    say("ready")
    for index in until_stopped():
        row = flat_sample(first + index)
        kit.record_checkpoints("first", [{**row, "key": str(row["period_start"])}])
        say(kit.mirror(folder).checkpoints)


def project(home: str, *, batch_size: int, marker: str | None = None) -> None:
    """Run the consumer loop."""
    kit = connect(home)
    if marker is not None:
        Marker(Path(marker)).watch(kit)
    consumer = EvalProjectionConsumer(kit.engine.log, kit.engine.database, batch_size=batch_size)
    stop = threading.Event()
    applied = 0

    def count(events: int) -> None:
        nonlocal applied
        applied += events

    def listen() -> None:
        hear()
        stop.set()

    threading.Thread(target=listen, daemon=True).start()
    say("ready")
    consumer.run(stop, on_batch=count)
    say({"applied": applied, "conflicts": consumer.conflicts})


def rebuild(home: str, *, batch_size: int, marker: str) -> None:
    """Rebuild repeatedly."""
    rebuild_module._BATCH = batch_size
    kit = connect(home)
    Marker(Path(marker)).watch(kit)
    say("ready")
    for _ in until_stopped():
        say(kit.rebuild(on_progress=lambda done, total: None).generation)


def read(home: str) -> None:
    """Read repeatedly through the kit and with SQL, report each time, and at the end decreasing counts."""
    kit = connect(home)
    other_program = sqlite3.connect(f"file:{kit.engine.database.path}?mode=ro", uri=True, timeout=30)  # type: ignore[attr-defined]
    most = dict.fromkeys(("frame", "studies", "raw"), 0)
    missing: list[Any] = []
    generations: set[int] = set()
    reads = 0
    say("ready")
    for _ in until_stopped():
        seen = {
            "frame": kit.checkpoints().height,
            "studies": len(kit.storage.list_studies()),
            "raw": other_program.execute("SELECT count(*) FROM checkpoints").fetchone()[0],
        }
        missing += [[source, most[source], rows] for source, rows in seen.items() if rows < most[source]]
        most = {source: max(rows, most[source]) for source, rows in seen.items()}
        head = read_head(kit.engine.database)
        assert head is not None
        generations.add(head.generation)
        reads += 1
        say("read")
    other_program.close()
    say({"reads": reads, "missing": missing, "generations": sorted(generations), "most": most})


def catch_up(home: str, *, batch_size: int) -> None:
    """Bring the read model up to date on request, and report its digest."""
    kit = connect(home)
    kit.engine.consumer._batch_size = batch_size
    say("ready")
    hear()
    kit.engine.catch_up()
    counts = contention(kit)
    say({"digest": kit.verify().digest, **counts})


def described(call: Callable[[], object]) -> dict[str, Any]:
    """Call a function, and return its value or its error."""
    try:
        return {"value": str(call())}
    except Exception as error:  # of any type, as a user would see it
        return described_error(error)


def described_error(error: Exception) -> dict[str, Any]:
    return {
        "error": type(error).__name__,
        "bases": [base.__name__ for base in type(error).__mro__],
        "message": str(error),
        "shown": shown_errors(error),
    }


def shown_errors(error: BaseException | None) -> list[str]:
    """Return the classes of all errors in a traceback: the error and its causes."""
    shown = []
    while error is not None:
        shown.append(f"{type(error).__module__}.{type(error).__name__}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return shown


def look(home: str) -> None:
    """Use a home without write access, and report the results of plain writes, queries and commands, and all warnings."""
    folder = Path(home)
    plain = [
        described(lambda: (folder / "plain.txt").write_text("written")),
        described(lambda: (folder / "events.db").open("r+b")),
        described(lambda: (folder / "evalkit.db").open("r+b")),
    ]
    kit = connect(home)
    while hear() is not None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            seen = {
                "studies": kit.studies()["name"].to_list(),
                "checkpoints": kit.checkpoints()["total_tokens"].to_list(),
                "lifecycle": kit.lifecycle().height,
                "rejected": kit.rejected().height,
                "pandas": len(kit.checkpoints(backend="pandas")),
                "models": len(kit.storage.get_checkpoints(kit.storage.list_studies()[0].id)),
                "problems": kit.status().problems,
            }
        refused = {
            "create": described(lambda: kit.create_study("another")),
            "start": described(lambda: kit.start_study("study")),
            "stop": described(lambda: kit.stop_study("study")),
            "record": described(lambda: kit.record_checkpoint("study", sample(999_999))),
            "many": described(lambda: kit.record_checkpoints("study", kit.checkpoints())),
            "rebuild": described(kit.rebuild),
        }
        say({"plain": plain, "seen": seen, "refused": refused, "warnings": [str(warning.message) for warning in caught]})


@contextlib.contextmanager
def full_disk(largest_file: int) -> Iterator[None]:
    """Limit the size of the files that this process writes, in bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill_up(home: str) -> None:
    """Record on a disk that becomes full at different times, and report results and the size of the log before and after."""
    kit = connect(home)
    study = study_with_checkpoints(kit, 0)
    sizes = [*range(0, 82_400, 2060), *range(82_400, 330_000, 16_480)]  # half a page of the log, then a page of the read model
    for index, size in enumerate(sizes):
        kit.close()  # creates new write-ahead files
        before = kit.engine.log.ranges()[0].end
        if index % 2:
            kit.storage.list_studies()  # opens the files before the disk is full
        else:
            kit.close()
        answer: dict[str, Any] = {}
        with full_disk(size):
            try:
                answer["value"] = kit.record_checkpoint(study, sample(index), key=str(index)).id
            except evalkit.OutcomeUnknownError as error:
                answer = described_error(error)
                answer["again"] = described(lambda error=error: kit.outcome(error))  # type: ignore[misc]
                unknown = error
            except Exception as error:
                answer = described_error(error)
        if answer.get("error") == "OutcomeUnknownError":
            answer["outcome"] = kit.outcome(unknown).id  # type: ignore[union-attr]
        say({**answer, "before": before, "after": kit.engine.log.ranges()[0].end})
    say({"verified": kit.verify().ok, "checkpoints": kit.checkpoints().height})


def fill_up_first(home: str) -> None:
    """Execute the first command of a home on a disk that becomes full at different times, then again with space."""
    for index in range(24):
        kit = connect(Path(home) / str(index))
        with full_disk(index * 2060):
            answer = described(lambda kit=kit: kit.create_study("study").name)  # type: ignore[misc]
        kit.create_study("study", if_exists="open")
        say({**answer, "studies": kit.studies().height, "events": kit.status().events})
        kit.close()


def fill_up_rebuild(home: str) -> None:
    """Rebuild on a full disk, read, and rebuild again with space."""
    kit = connect(home)
    height = kit.checkpoints().height
    with full_disk((Path(home) / "evalkit.db").stat().st_size // 2):
        answer = described(lambda: kit.rebuild(on_progress=lambda done, total: None))
        during = kit.checkpoints().height
    say({**answer, "before": height, "during": during, "generation": kit.rebuild().generation, "verified": kit.verify().ok})


def in_fork(work: Callable[[], object]) -> int:
    """Fork, and return the process id of the child, which works for a limited time and exits with 0 or 1."""
    warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns about forks with threads, which are tested here
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fork_and_use(home: str, *, closes: str | None = None) -> None:
    """Use one kit before a fork and then in both processes, one of which may close it; report acknowledged checkpoints."""
    kit = connect(home)
    study = study_with_checkpoints(kit, 3)
    (child_done, tell_child), (wait_child, tell_parent) = os.pipe(), os.pipe()

    def record_some(first: int) -> None:
        for index in range(first, first + 5):
            say(kit.record_checkpoint(study, sample(index)).id)
        assert len(kit.storage.get_checkpoints(study.id)) >= 5

    def work() -> None:
        record_some(100)
        if closes == "child":
            kit.close()
        os.write(tell_parent, b".")
        os.read(child_done, 1)
        if closes != "child":
            record_some(200)

    pid = in_fork(work)
    os.read(wait_child, 1)
    if closes == "parent":
        kit.close()
        os.write(tell_child, b".")
    else:
        record_some(300)
        os.write(tell_child, b".")
        record_some(400)
    code = exit_code(pid)
    record_some(500)
    say({"code": code, "verified": kit.verify().ok})


def fork_beside_threads(home: str) -> None:
    """Fork repeatedly while other threads execute commands and queries, and use the kit in each child."""
    kit = connect(home)
    study = study_with_checkpoints(kit, 100)
    stop = threading.Event()

    def keep(call: Callable[[int], object]) -> threading.Thread:
        def loop() -> None:
            index = 0
            while not stop.is_set():
                call(index)
                index += 1

        return threading.Thread(target=loop)

    threads = [
        keep(lambda index: kit.record_checkpoint(study, sample(1000 + index))),
        keep(lambda index: kit.storage.list_studies()),
    ]
    for thread in threads:
        thread.start()
    codes: list[int] = []
    while len(codes) < 10 and not any(codes):
        index = 100_000 + len(codes)
        codes.append(exit_code(in_fork(lambda index=index: kit.record_checkpoint(study, sample(index)))))  # type: ignore[misc]
    stop.set()
    for thread in threads:
        thread.join(30)
    checkpoints = {checkpoint.metrics.total_tokens for checkpoint in kit.storage.get_checkpoints(study.id)}
    say({"codes": codes, "there": sorted(checkpoints & set(range(100_000, 100_010))), "verified": kit.verify().ok})


def fork_and_read_frames(home: str, *, before: bool) -> None:
    """Read frames in a forked process, with or without reading frames `before` the fork, and report errors."""
    kit = connect(home)
    study_with_checkpoints(kit, 10)
    if before:
        assert kit.checkpoints().height == 10

    def work() -> None:
        for frame, height in ((kit.checkpoints, 10), (kit.studies, 1)):
            try:
                assert frame().height == height
            except evalkit.EvalkitError as error:
                say(str(error))

    say({"code": exit_code(in_fork(work))})


def record_sessions(home: str, *, resume: bool | None, wait_before_cleanup: bool = False, custom: dict[str, float] | None = None) -> None:
    """Run a session for each message until the end of the input, and report each step."""
    kit = connect(home)
    rec = kit.recorder("study", resume=resume)
    if wait_before_cleanup:
        Journal.remove = lambda self: (say("recorded"), hear())  # type: ignore[assignment,method-assign,return-value]
    with rec:
        say([session.name for session in rec.sessions])
        while (name := hear()) is not None:
            with rec.session(name) as session:
                say("began")
                hear()
                session.success(iterations=1, tokens=10, cost=0.5, **(custom or {}))
            say("ended")
    say(rec.checkpoint.id if rec.checkpoint else None)


TASKS: dict[str, Callable[..., None]] = {
    task.__name__: task
    for task in (
        commands, begin, create, race, meet, amend_at_once, correct, record, persist, record_many, mirror, project, rebuild, read, catch_up, look, fill_up, fill_up_first, fill_up_rebuild,
        fork_and_use, fork_beside_threads, fork_and_read_frames, record_sessions,
    )
}  # fmt: skip


def main() -> None:
    signal.alarm(LIFETIME_SECONDS)
    task, home, options = sys.argv[1:]
    TASKS[task](home, **json.loads(options))


if __name__ == "__main__":
    main()
