"""Which log and which database a URL stands for: the one place that knows every adapter."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from evalkit._util.sqlite_files import why_not_writable
from evalkit.errors import InvalidInputError
from evalkit.eventlog.event_log import EventLog
from evalkit.eventlog.sqlite_log import SqliteEventLog
from evalkit.readmodel.database.database import Database
from evalkit.readmodel.database.server_database import ServerDatabase
from evalkit.readmodel.database.sqlite_database import SqliteDatabase
from evalkit.settings import reachable, redacted

__all__ = ["local_path", "open_database", "open_log"]

_LIBSQL = ("http", "https", "libsql")
_TURSO = ("turso+https", "turso+http")


def open_log(url: str) -> EventLog:
    """Open an event log by its URL.

    Raises
    ------
    InvalidInputError
        When the scheme is neither ``sqlite:`` nor ``iggy+tcp:``, or the URL is not of the scheme's form.
    """
    scheme, _, path = url.partition(":")
    if scheme == "sqlite" and path:
        file = reachable("log_url", local_path(path))
        return SqliteEventLog(file, read_only=why_not_writable(file) is not None)
    if scheme == "iggy+tcp":
        from evalkit.eventlog.iggy_client import IggyAddress
        from evalkit.eventlog.iggy_log import IggyEventLog

        return IggyEventLog(IggyAddress.parse(url))
    raise InvalidInputError(
        f"log_url: {redacted(url)!r} is no event log",
        hint="Give sqlite:PATH or iggy+tcp://USER:PASSWORD@HOST:PORT, or leave it out for the embedded log in the home.",
        field="log_url", value=redacted(url),
    )  # fmt: skip


def open_database(url: str, *, token: SecretStr | None = None) -> Database:
    """Open the read model's database by its URL.

    Turso Cloud and every URL that begins with ``turso+`` is spoken to through turso-serverless, everything else through libsql-client.

    Parameters
    ----------
    url
        ``file:``, ``http(s):``, ``libsql:``, ``turso+http(s):``.
    token
        For a server.

    Raises
    ------
    InvalidInputError
        When the scheme is another one, the URL names no host, or it holds a token.
    """
    scheme, _, path = url.partition(":")
    if scheme == "file" and path:
        file = reachable("database_url", local_path(path))
        return SqliteDatabase(file, read_only=why_not_writable(file) is not None)
    try:
        parts = urlsplit(url)
        known = scheme in (*_LIBSQL, *_TURSO) and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        known = False
    if not known:
        raise InvalidInputError(
            f"database_url: {redacted(url)!r} is no database",
            hint="Give file:PATH; http(s):// or libsql://HOST for a libSQL server; turso+https://HOST for Turso Cloud; or leave "
            "it out for the embedded one in the home.",
            field="database_url", value=redacted(url),
        )  # fmt: skip
    tls = parts.query in ("tls=0", "tls=1") and scheme == "libsql"
    if "@" in parts.netloc or parts.fragment or (parts.query and not tls):
        raise InvalidInputError(
            f"database_url: {redacted(url)!r} has more than a host and a path",
            hint="The token belongs into EVALKIT_DATABASE_AUTH_TOKEN, where no shell history and no notebook shows it; the one option is "
            "?tls=0 behind libsql://HOST:PORT.",
            field="database_url", value=redacted(url),
        )  # fmt: skip
    secret = token.get_secret_value() if token is not None else None
    plain = scheme in ("http", "turso+http") or parts.query == "tls=0"
    shown = f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    address = f"{'http' if plain else 'https'}://{parts.netloc}{parts.path.rstrip('/')}"
    if scheme in _TURSO or (parts.hostname or "").endswith(".turso.io"):
        from evalkit.readmodel.database.turso_transport import TursoTransport

        return ServerDatabase(TursoTransport(address, secret), shown, secret)
    from evalkit.readmodel.database.libsql_transport import LibsqlTransport

    return ServerDatabase(LibsqlTransport(address, secret), shown, secret, instead=f"turso+{address}")


def local_path(path: str) -> Path:
    """Give the file that the part of a URL after its scheme names."""
    return Path("/" + path.lstrip("/") if path.startswith("//") else path).expanduser().absolute()
