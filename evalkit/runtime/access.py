"""Whether a kit may write, and the home folder that it writes into."""

from __future__ import annotations

import os
from pathlib import Path

from evalkit._util.sqlite_files import why_not_writable as why_file_not_writable
from evalkit.errors import LogUnavailableError
from evalkit.readmodel.database.server_database import token_access
from evalkit.runtime.opening import local_path
from evalkit.settings import Settings

__all__ = ["make_home", "uses_files", "why_not_writable"]


def uses_files(settings: Settings) -> bool:
    """Whether either engine is a file."""
    return settings.log_url.startswith("sqlite:") or settings.database_url.startswith("file:")


def why_not_writable(settings: Settings) -> str | None:
    """Say why nothing can be appended, as far as that can be seen without asking a server; None when it can."""
    home = settings.home
    if settings.read_only:
        return "This kit was opened with read_only=True"
    token = None if settings.database_url.startswith("file:") else settings.auth_token
    if token is not None and token_access(token.get_secret_value()) == "ro":
        return "The token of EVALKIT_DATABASE_AUTH_TOKEN may only read"
    for url, scheme in ((settings.log_url, "sqlite:"), (settings.database_url, "file:")):
        if url.startswith(scheme) and (why := why_file_not_writable(local_path(url.removeprefix(scheme)))) is not None:
            return why
    if uses_files(settings) and not home.exists() and not os.access(_nearest_existing(home), os.W_OK | os.X_OK):
        return f"The home {home} does not exist, and cannot be made"
    return None


def make_home(settings: Settings) -> None:
    """Make the home folder, readable by its owner alone, where an engine is a file and there is none yet.

    Raises
    ------
    LogUnavailableError
        When it cannot be made.
    """
    home = settings.home
    if home.exists() or not uses_files(settings):
        return
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (home / ".gitignore").write_text("*\n")
    except OSError as error:
        raise LogUnavailableError(f"The home {home} cannot be made: {error.strerror}", effect="Nothing was appended.") from None


def _nearest_existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())
