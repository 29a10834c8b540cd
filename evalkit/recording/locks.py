"""A lock between processes that ends with the process that holds it, however that ends."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from evalkit._util.sqlite_files import file_identity

__all__ = ["FileLock"]


class FileLock:
    """A lock in a file, which is there only while it is held, or after its holder was killed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self) -> str | None:
        """Take the lock. When somebody else has it, say who, in words that follow "already".

        Raises
        ------
        OSError
            When the file cannot be made.
        """
        while True:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            if not _try_lock(file):
                with os.fdopen(file) as other:
                    holder = other.read(20).strip()
                return " in this process" if holder == str(os.getpid()) else f" by process {holder}" if holder else " by another process"
            status = os.fstat(file)
            if file_identity(self._path) == (status.st_dev, status.st_ino):
                break
            os.close(file)  # its holder deleted it between the two calls
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        self._file = file
        return None

    def release(self) -> None:
        """Give the lock back, and delete its file."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # Windows deletes no file that is open
                self._path.unlink(missing_ok=True)
            self.forget()

    def forget(self) -> None:
        """Close the file. In a forked process the lock stays with the one that forked."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: int) -> bool:
        os.lseek(file, 1000, os.SEEK_SET)  # beyond what is written, since a locked part cannot be read
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(file, 0, os.SEEK_SET)
        return True
else:
    import fcntl

    def _try_lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
