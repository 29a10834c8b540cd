"""Atomic file writes, and errors that name the file."""

from __future__ import annotations

import csv
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from evalkit.errors import EvalkitError, InvalidInputError

__all__ = ["flush", "missing_folder", "reading", "writing"]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Replace an error of reading `path` with an `InvalidInputError` that names the file."""
    with _naming_file(path, "read", OSError, ValueError, csv.Error):
        yield


@contextmanager
def writing(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Write to a temporary file that atomically replaces `path` after the block.

    If the block raises an error, `path` is unchanged. A path that is not a regular file, such as a pipe, is written directly. If it is not
    `durable`, the file may be incomplete after a power failure, until `flush` is called.

    Raises
    ------
    InvalidInputError
        When the file cannot be written.
    """
    with _naming_file(path, "write", OSError):
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
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)


def flush(paths: Sequence[Path]) -> None:
    """Write files to the disk that were not written durably."""
    if len(paths) > _MANY and hasattr(os, "sync"):
        os.sync()  # much faster than one file after the other
        return
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())


_MANY = 20


def missing_folder(path: Path, *, field: str = "file") -> InvalidInputError:
    """Return the error for a file that cannot be written because its folder does not exist."""
    return InvalidInputError(
        f"Cannot write {str(path)!r}: folder {str(path.parent)!r} does not exist", hint="Create it, or choose another folder.",
        field=field, value=str(path),
    )  # fmt: skip


@contextmanager
def _naming_file(path: Path, verb: str, *kinds: type[Exception]) -> Iterator[None]:
    try:
        yield
    except (EvalkitError, BrokenPipeError):
        raise
    except Exception as error:
        if not isinstance(error, kinds) and type(error).__module__.partition(".")[0] != "polars":
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if isinstance(error, FileNotFoundError) and verb == "write":
            raise missing_folder(path) from None
        if isinstance(error, FileNotFoundError):
            reason = "the file does not exist"
        elif isinstance(error, IsADirectoryError):
            reason = "it is a folder"
        else:
            reason = reason[:1].lower() + reason[1:] if isinstance(error, OSError) else reason
        name = repr(str(path)) if str(path) != "-" else "standard input"
        raise InvalidInputError(f"Cannot {verb} {name}: {reason}", field="file", value=str(path)) from None
