"""A temporary folder that is deleted with its owner, but not by a forked process."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path

__all__ = ["TemporaryFolder"]


class TemporaryFolder:
    """A new folder, which is deleted by `close`, at the latest when the process exits.

    Parameters
    ----------
    prefix
        The beginning of its name.

    Raises
    ------
    OSError
        When no temporary folder can be created.
    """

    def __init__(self, prefix: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        self.close = weakref.finalize(self, _delete, self.path, os.getpid())


def _delete(folder: Path, pid: int) -> None:
    if os.getpid() == pid:
        shutil.rmtree(folder, ignore_errors=True)
