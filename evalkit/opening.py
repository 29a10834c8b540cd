"""Which log and which database a URL stands for: the one place that knows every adapter."""

from __future__ import annotations

from pathlib import Path

from evalkit.database.libsql import LibsqlFileDatabase
from evalkit.database.port import Database
from evalkit.errors import InvalidInputError
from evalkit.log.port import EventLog
from evalkit.log.sqlite import SqliteEventLog
from evalkit.settings import redacted

__all__ = ["local_path", "open_database", "open_log"]


def open_log(url: str) -> EventLog:
    """Open an event log by its URL.

    Raises
    ------
    InvalidInputError
        When the scheme is not ``sqlite:``.
    """
    scheme, _, path = url.partition(":")
    if scheme == "sqlite" and path:
        return SqliteEventLog(local_path(path))
    raise InvalidInputError(
        f"log_url: {redacted(url)!r} is no event log. Give sqlite:PATH, or leave it out for the embedded log in the home.",
        field="log_url", value=redacted(url),
    )  # fmt: skip


def open_database(url: str, *, read_only: bool = False) -> Database:
    """Open the read model's database by its URL.

    Raises
    ------
    InvalidInputError
        When the scheme is not ``file:``.
    """
    scheme, _, path = url.partition(":")
    if scheme == "file" and path:
        return LibsqlFileDatabase(local_path(path), read_only=read_only)
    raise InvalidInputError(
        f"database_url: {redacted(url)!r} is no database. Give file:PATH, or leave it out for the embedded one in the home.",
        field="database_url", value=redacted(url),
    )  # fmt: skip


def local_path(path: str) -> Path:
    """Give the file that the part of a URL after its scheme names."""
    return Path("/" + path.lstrip("/") if path.startswith("//") else path).expanduser().absolute()
