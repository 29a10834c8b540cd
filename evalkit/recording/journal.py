"""The journal of a recorder: a file with every completed session, which survives a crash.

It has one JSON value per line. A line is durable before the recorder continues::

    {"journal": "<id>", "study": "...", "begun": "<time>", "period": null}
    {"began": "<session>"}
    {"session": {...}}         the end of a session, with custom metrics; an interrupted session has no such line
    {"metrics": {...}}
    {"closed": {...}}          the checkpoint to record

A study has one journal. Only one process at a time has it open.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from evalkit._util.forks import reset_in_child
from evalkit.domain.ids import new_id
from evalkit.domain.times import wire_time
from evalkit.errors import RecorderError
from evalkit.recording.block import Block

__all__ = ["Journal"]


class Journal:
    """The journal of a study, locked by this process until it is released.

    Parameters
    ----------
    home
        The kit's home; journals are in its folder ``recorder``, which is created if necessary.
    study_id, study
        Id and name of the study.

    Raises
    ------
    RecorderError
        If another recorder has the journal open, or the folder is not writable.
    """

    def __init__(self, home: Path, study_id: str, study: str) -> None:
        self.path = home / "recorder" / f"{study_id}.ndjson"
        self._study = study
        self._file: int | None = None
        with self._as_recorder_errors():
            _make_folder(home)
            self._lock_path = self.path.with_suffix(".lock")
            # The timeout allows a second attempt, in case the previous holder is just deleting the lock file.
            self._lock = FileLock(self._lock_path, timeout=0.05, mode=0o600, thread_local=False, on_acquired=_write_process_id)
            try:
                self._lock.acquire()
            except Timeout:
                raise RecorderError(
                    f"Study {study!r} is already being recorded {_holder(self._lock_path)}",
                    hint="Only one recorder per study can be active. Wait until that block ends.",
                    path=str(self.path),
                ) from None  # fmt: skip
        reset_in_child(self)

    def read(self) -> Block | None:
        """Return the block that the journal contains; None if the journal does not exist.

        Raises
        ------
        RecorderError
            If a line is damaged. An incomplete last line is ignored, because its writer crashed before continuing.
        """
        with self._as_recorder_errors():
            lines = self.path.read_bytes().split(b"\n")[:-1] if self.path.exists() else []
        if not lines:
            return None
        number = 1
        try:
            head = json.loads(lines[0])
            period = None if head["period"] is None else (head["period"][0], head["period"][1])
            block = Block(head["journal"], head["begun"], period)
            for number, line in enumerate(lines[1:], 2):  # noqa: B007  (the error names it)
                block.apply(json.loads(line))
        except (ValueError, LookupError, TypeError):
            raise RecorderError(
                f"Cannot read line {number} of the journal {self.path}", effect="The file was not changed.",
                hint=f"Repair the line, or set the journal aside with kit.recorder({self._study!r}, resume=False).",
                path=str(self.path),
            ) from None  # fmt: skip
        return block

    def begin(self, begun: datetime, period: tuple[str, str] | None) -> Block:
        """Start a new journal, replacing an existing journal of an empty block."""
        block = Block(new_id(), wire_time(begun), period)
        with self._as_recorder_errors():
            self.path.unlink(missing_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        self._write({"journal": block.journal, "study": self._study, "begun": block.begun, "period": period})
        _sync_folder(self.path.parent)
        return block

    def reopen(self) -> None:
        """Open an existing journal for appending, and remove an incomplete last line."""
        with self._as_recorder_errors():
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND)
            os.ftruncate(self._file, self.path.read_bytes().rfind(b"\n") + 1)

    def append(self, block: Block, line: Mapping[str, Any]) -> None:
        """Write a line durably, then add it to the block.

        Raises
        ------
        RecorderError
            If the line cannot be written. The journal is then unchanged.
        """
        self._write(line)
        block.apply(line)

    def set_aside(self) -> None:
        """Rename the journal, if it exists, so that recorders ignore it."""
        number = 1
        while (aside := self.path.with_suffix(f".set-aside-{number}.ndjson")).exists():
            number += 1
        with self._as_recorder_errors(), suppress(FileNotFoundError):
            self.path.rename(aside)

    def remove(self) -> None:
        """Delete the journal, which is no longer needed once its checkpoint is recorded."""
        self._close_file()
        if self._lock.is_locked:
            with self._as_recorder_errors():
                self.path.unlink(missing_ok=True)

    def release(self) -> None:
        """Close the journal and release its lock."""
        self._close_file()
        if self._lock.is_locked:
            with suppress(OSError):  # Windows cannot delete open files; there, filelock deletes it
                self._lock_path.unlink(missing_ok=True)
            self._lock.release()

    def reset_in_child(self) -> None:
        """Close the journal in a forked process.

        The journal and its lock belong to the parent process.
        """
        self._close_file()

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._file is None:
            raise RecorderError(
                "The recorder cannot be used in a forked process",
                hint="Report sessions in the process that created the recorder.",
                path=str(self.path),
            )
        data = json.dumps(line).encode() + b"\n"
        end = os.fstat(self._file).st_size
        with self._as_recorder_errors():
            try:
                written = 0
                while written < len(data):
                    written += os.write(self._file, data[written:])
                os.fsync(self._file)
            except OSError:
                os.ftruncate(self._file, end)  # a partial line would corrupt the next one
                raise

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @contextmanager
    def _as_recorder_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RecorderError(
                f"Cannot write the recorder's journal {self.path}: {error.strerror}", effect="Sessions that are already in it are safe.",
                hint="Free disk space, or use another home (evalkit.connect(home), EVALKIT_HOME).",
                path=str(self.path),
            ) from None  # fmt: skip


def _make_folder(home: Path) -> None:
    if not home.exists():
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (home / ".gitignore").write_text("*\n")
    (home / "recorder").mkdir(mode=0o700, exist_ok=True)


def _write_process_id(lock_file: int) -> None:
    """Write the process id into the lock file, for messages of other processes.

    The id follows a space, because other processes cannot read the first byte of a locked file on Windows.
    """
    os.ftruncate(lock_file, 0)
    os.write(lock_file, f" {os.getpid()}\n".encode())


def _holder(lock_path: Path) -> str:
    """Return the process that holds a lock, as the end of a sentence."""
    holder = ""
    with suppress(OSError), lock_path.open("rb", buffering=0) as file:
        file.seek(1)
        holder = file.read(20).decode(errors="replace").strip()
    return "in this process" if holder == str(os.getpid()) else f"by process {holder}" if holder else "by another process"


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
