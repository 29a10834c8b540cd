"""Files that are read and written whole, with what goes wrong told in words."""

from __future__ import annotations

import csv
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from evalkit.errors import EvalkitError, InvalidInputError

__all__ = ["reading", "writing"]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong while `path` is read into an `InvalidInputError` that names it."""
    with _named(path, "cannot be read", OSError, ValueError, csv.Error):
        yield


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Give a file that stands at `path` when the block ends well, whole and durable; until then, and if it fails, nothing changes there.

    What is no ordinary file, such as a pipe, is written directly.

    Raises
    ------
    InvalidInputError
        When it cannot be written.
    """
    with _named(path, "cannot be written", OSError):
        target = path.resolve()
        if target.exists() and not target.is_file():
            with target.open("wb") as file:
                yield file
            return
        draft = target.with_name(f".evalkit-{secrets.token_hex(4)}.part")
        try:
            with draft.open("xb") as file:
                if target.exists():
                    draft.chmod(target.stat().st_mode & 0o777)
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)


@contextmanager
def _named(path: Path, problem: str, *kinds: type[Exception]) -> Iterator[None]:
    try:
        yield
    except (EvalkitError, BrokenPipeError):
        raise
    except Exception as error:
        if not isinstance(error, kinds) and type(error).__module__.partition(".")[0] != "polars":
            raise
        words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InvalidInputError(f"{path} {problem}: {words}", field="file", value=str(path)) from None
