"""Open the log and the database of a URL, check write access, and create the home folder.

No other module imports all adapters.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from evalkit._util.sqlite_files import why_not_writable as why_file_not_writable
from evalkit.errors import InvalidInputError, LogUnavailableError
from evalkit.eventlog.event_log import EventLog
from evalkit.eventlog.sqlite_log import SqliteEventLog
from evalkit.readmodel.database.database import Database
from evalkit.readmodel.database.server_database import ServerDatabase, token_access
from evalkit.readmodel.database.sqlite_database import SqliteDatabase
from evalkit.settings import Settings, reachable, redacted

__all__ = ["make_home", "open_database", "open_log", "uses_files", "why_not_writable"]

_LIBSQL = ("http", "https", "libsql")
_TURSO = ("turso+https", "turso+http")


def open_log(url: str) -> EventLog:
    """Open an event log by its URL.

    Raises
    ------
    InvalidInputError
        When the scheme is neither ``sqlite:`` nor ``iggy+tcp:``, or the rest of the URL is invalid.
    """
    scheme, _, path = url.partition(":")
    if scheme == "sqlite" and path:
        file = reachable("log_url", _local_path(path))
        return SqliteEventLog(file, read_only=why_file_not_writable(file) is not None)
    if scheme == "iggy+tcp":
        from evalkit.eventlog.iggy_client import IggyAddress
        from evalkit.eventlog.iggy_log import IggyEventLog

        return IggyEventLog(IggyAddress.parse(url))
    raise InvalidInputError(
        f"Invalid log_url {redacted(url)!r}: expected sqlite:PATH, iggy+tcp://USER:PASSWORD@HOST:PORT or iggy+tcp://TOKEN@HOST:PORT",
        hint="Omit it to use the log in the home.",
        field="log_url", value=redacted(url),
    )  # fmt: skip


def open_database(url: str, *, token: SecretStr | None = None) -> Database:
    """Open the read model's database by its URL.

    Turso Cloud and URLs that begin with ``turso+`` are accessed through turso-serverless, other servers through libsql-client.

    Parameters
    ----------
    url
        ``file:``, ``http(s):``, ``libsql:``, ``turso+http(s):``.
    token
        The token of a server.

    Raises
    ------
    InvalidInputError
        When the scheme is unknown, the host is missing, or the URL contains a token.
    """
    scheme, _, path = url.partition(":")
    if scheme == "file" and path:
        file = reachable("database_url", _local_path(path))
        return SqliteDatabase(file, read_only=why_file_not_writable(file) is not None)
    try:
        parts = urlsplit(url)
        valid = scheme in (*_LIBSQL, *_TURSO) and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid:
        raise InvalidInputError(
            f"Invalid database_url {redacted(url)!r}: expected file:PATH, http(s)://HOST or libsql://HOST (a libSQL server), or "
            "turso+https://HOST (Turso Cloud)",
            hint="Omit it to use the database in the home.",
            field="database_url", value=redacted(url),
        )  # fmt: skip
    tls = parts.query in ("tls=0", "tls=1") and scheme == "libsql"
    if "@" in parts.netloc or parts.fragment or (parts.query and not tls):
        problem = (
            "query parameters are not allowed, except ?tls=0 with libsql://"
            if parts.query and not tls
            else "only a host, a port and a path are allowed"
        )
        raise InvalidInputError(
            f"Invalid database_url {redacted(url)!r}: {problem}", hint="Set the token in EVALKIT_DATABASE_AUTH_TOKEN.",
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


def _local_path(path: str) -> Path:
    """Return the file of a URL without its scheme."""
    return Path("/" + path.lstrip("/") if path.startswith("//") else path).expanduser().absolute()


def uses_files(settings: Settings) -> bool:
    """Return whether the log or the read model is a file."""
    return settings.log_url.startswith("sqlite:") or settings.database_url.startswith("file:")


def why_not_writable(settings: Settings) -> str | None:
    """Return the reason why events cannot be appended; None without a known reason.

    This does not connect to a server.
    """
    home = settings.home
    if settings.read_only:
        return "this kit is read-only"
    token = None if settings.database_url.startswith("file:") else settings.auth_token
    if token is not None and token_access(token.get_secret_value()) == "ro":
        return "the token in EVALKIT_DATABASE_AUTH_TOKEN is read-only"
    for url, scheme in ((settings.log_url, "sqlite:"), (settings.database_url, "file:")):
        if url.startswith(scheme) and (why := why_file_not_writable(_local_path(url.removeprefix(scheme)))) is not None:
            return why
    if uses_files(settings) and not home.exists() and not os.access(_nearest_existing(home), os.W_OK | os.X_OK):
        return f"the home {home} does not exist and cannot be created"
    return None


def make_home(settings: Settings) -> None:
    """Create the home folder if it is missing and needed for a file.

    Only its owner can read the folder. It is not needed if the log and the read model are on servers.

    Raises
    ------
    LogUnavailableError
        When the folder cannot be created.
    """
    home = settings.home
    if home.exists() or not uses_files(settings):
        return
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (home / ".gitignore").write_text("*\n")
    except OSError as error:
        raise LogUnavailableError(f"Cannot create the home {home}: {error.strerror}", effect="No events were appended.") from None


def _nearest_existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())
