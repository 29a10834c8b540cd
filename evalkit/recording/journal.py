"""The file in which a recorder notes every session at once, so that a night's work outlives its process.

One JSON value a line, each durable before the next thing happens::

    {"journal": "<id>", "study": "...", "begun": "<time>", "period": null}
    {"began": "<session>"}
    {"session": {...}}          it ended; one that began and has no such line was interrupted
    {"metrics": {...}}
    {"closed": {...}}          what is to be recorded, word for word

A journal belongs to one study, and one process at a time holds it.
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
    """A study's journal, held by this process until it is released.

    Parameters
    ----------
    home
        The folder that journals lie in is made here when it is missing.
    study_id, study
        Whose journal, and the study's name for messages.

    Raises
    ------
    RecorderError
        When another recorder holds it, or the folder cannot be written.
    """

    def __init__(self, home: Path, study_id: str, study: str) -> None:
        self.path = home / "recorder" / f"{study_id}.ndjson"
        self._study = study
        self._file: int | None = None
        with self._errors_in_words():
            _make_folder(home)
            self._lock_path = self.path.with_suffix(".lock")
            # A second try, since the file may be one that its holder is just deleting.
            self._lock = FileLock(self._lock_path, timeout=0.05, mode=0o600, thread_local=False, on_acquired=_sign)
            try:
                self._lock.acquire()
            except Timeout:
                raise RecorderError(
                    f"The study {study!r} is being recorded already {_holder(self._lock_path)}. Two recorders at once would count into one "
                    "period; wait until that block ends, or leave it.",
                    path=str(self.path),
                ) from None  # fmt: skip
        reset_in_child(self)

    def read(self) -> Block | None:
        """Return what an earlier block left behind; None when it left nothing.

        Raises
        ------
        RecorderError
            When a line cannot be read. The last one may be cut short: that one was never acknowledged.
        """
        with self._errors_in_words():
            lines = self.path.read_bytes().split(b"\n")[:-1] if self.path.exists() else []
        if not lines:
            return None
        number = 1
        try:
            head = json.loads(lines[0])
            period = None if head["period"] is None else (head["period"][0], head["period"][1])
            block = Block(head["journal"], head["begun"], period)
            for number, line in enumerate(lines[1:], 2):  # noqa: B007  (the error names it)
                block.take(json.loads(line))
        except (ValueError, LookupError, TypeError):
            raise RecorderError(
                f"The journal {self.path} cannot be read in line {number}", effect="It was left as it is; look into it with an editor, or "
                f"set it aside: kit.recorder({self._study!r}, resume=False)",
                path=str(self.path),
            ) from None  # fmt: skip
        return block

    def begin(self, begun: datetime, period: tuple[str, str] | None) -> Block:
        """Start a new journal, in place of one that says nothing."""
        block = Block(new_id(), wire_time(begun), period)
        with self._errors_in_words():
            self.path.unlink(missing_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        self._write({"journal": block.journal, "study": self._study, "begun": block.begun, "period": period})
        _sync_folder(self.path.parent)
        return block

    def go_on(self) -> None:
        """Open the journal that was read, to write on after its last whole line."""
        with self._errors_in_words():
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND)
            os.ftruncate(self._file, self.path.read_bytes().rfind(b"\n") + 1)

    def note(self, block: Block, line: Mapping[str, Any]) -> None:
        """Make a line durable, then add it to the block.

        Raises
        ------
        RecorderError
            When it cannot be written; it is not in the journal then.
        """
        self._write(line)
        block.take(line)

    def set_aside(self) -> None:
        """Rename the journal, if there is one, to a name under which no recorder looks for it."""
        number = 1
        while (aside := self.path.with_suffix(f".set-aside-{number}.ndjson")).exists():
            number += 1
        with self._errors_in_words(), suppress(FileNotFoundError):
            self.path.rename(aside)

    def remove(self) -> None:
        """Delete the journal: what it holds is recorded."""
        self._close_file()
        if self._lock.is_locked:
            with self._errors_in_words():
                self.path.unlink(missing_ok=True)

    def release(self) -> None:
        """Let another recorder hold it."""
        self._close_file()
        if self._lock.is_locked:
            with suppress(OSError):  # on Windows, which deletes no file that is open, filelock deletes it
                self._lock_path.unlink(missing_ok=True)
            self._lock.release()

    def reset_in_child(self) -> None:
        """In a forked process: close the journal, which stays with the one that forked; so does the lock, by filelock's doing."""
        self._close_file()

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._file is None:
            raise RecorderError(
                "The recorder's journal stays with the process that opened it", allowed="report sessions there", path=str(self.path)
            )
        data = json.dumps(line).encode() + b"\n"
        end = os.fstat(self._file).st_size
        with self._errors_in_words():
            try:
                written = 0
                while written < len(data):
                    written += os.write(self._file, data[written:])
                os.fsync(self._file)
            except OSError:
                os.ftruncate(self._file, end)  # half a line would spoil the next one
                raise

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @contextmanager
    def _errors_in_words(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RecorderError(
                f"The recorder's journal {self.path} cannot be kept: {error.strerror}. Make room or give another home "
                "(evalkit.connect(home), EVALKIT_HOME). What it holds already is safe.",
                path=str(self.path),
            ) from None  # fmt: skip


def _make_folder(home: Path) -> None:
    if not home.exists():
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (home / ".gitignore").write_text("*\n")
    (home / "recorder").mkdir(mode=0o700, exist_ok=True)


def _sign(lock_file: int) -> None:
    """Write the id of this process into its lock's file, after the first byte, which nobody can read on Windows."""
    os.ftruncate(lock_file, 0)
    os.write(lock_file, f" {os.getpid()}\n".encode())


def _holder(lock_path: Path) -> str:
    """Return who holds a lock, in words that follow "already"."""
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
