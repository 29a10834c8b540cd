"""Where a kit keeps its things: the home folder and two URLs, from arguments, the environment or defaults."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from evalkit.errors import InvalidInputError

__all__ = ["Settings", "network_file_system", "redacted"]

_NETWORK_FILE_SYSTEMS = re.compile(
    r"nfs\d?|cifs|smb\w*|afpfs|webdav|davfs|ceph|fuse\.ceph.*|fuse\.sshfs|sshfs|fuse\.s3fs|fuse\.gcsfuse|lustre|gpfs|beegfs\w*|"
    r"glusterfs|fuse\.glusterfs|afs|ncpfs|9p|pvfs2|orangefs|moosefs|fuse\.mfs",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Settings:
    """What `connect` was told, with everything filled in."""

    home: Path
    """The home folder; it need not exist yet."""
    looked_in: tuple[Path, ...]
    """Where a home was looked for."""
    log_url: str = field(repr=False)
    database_url: str = field(repr=False)
    auth_token: SecretStr | None
    """For a shared database. Never shown."""
    read_only: bool = False
    """Whether nothing may be appended or projected."""

    @classmethod
    def resolve(
        cls,
        home: str | os.PathLike[str] | None = None,
        log_url: str | None = None,
        database_url: str | None = None,
        *,
        read_only: bool = False,
    ) -> Settings:
        """Fill in what was not given.

        The home is the argument, else ``EVALKIT_HOME``, else the nearest ``.evalkit`` in the working directory or a parent, else
        ``.evalkit`` in the working directory. The URLs are the arguments, else ``EVALKIT_LOG_URL`` and ``EVALKIT_DATABASE_URL``, else files
        in the home.

        Raises
        ------
        InvalidInputError
            When the home is an empty text, a file, or a folder that this user may not open.
        """
        environment = os.environ
        given = home if home is not None else environment.get("EVALKIT_HOME") or None
        if given is not None:
            if not os.fspath(given):
                raise InvalidInputError("home: '' is no folder", hint="Leave it out, or give a folder.", field="home", value=given)
            looked_in: tuple[Path, ...] = (Path(given).expanduser().absolute(),)
            found = looked_in[0]
        else:
            here = Path.cwd()
            looked_in = tuple(folder / ".evalkit" for folder in (here, *here.parents))
            found = next((folder for folder in looked_in if os.path.isdir(folder)), looked_in[0])  # noqa: PTH112  (False where it is forbidden)
        is_there = reachable("home", found).exists()
        if is_there and not found.is_dir():
            raise InvalidInputError(f"home: {str(found)!r} is a file", allowed="give a folder", field="home", value=str(found))
        if is_there and not os.access(found, os.R_OK | os.X_OK):
            raise InvalidInputError(
                f"home: Cannot open {str(found)!r}: permission denied", hint="Ask its owner for read access, or use another home.",
                field="home", value=str(found),
            )  # fmt: skip
        token = environment.get("EVALKIT_DATABASE_AUTH_TOKEN", "").strip()  # a file that it was read from ends in a line break
        if not (token.isascii() and token.isprintable()):
            raise InvalidInputError(
                "EVALKIT_DATABASE_AUTH_TOKEN: its value holds a character that no token has",
                hint="Set it to the token alone, as the server's tools print it.", field="EVALKIT_DATABASE_AUTH_TOKEN", value="***",
            )  # fmt: skip
        return cls(
            home=found,
            looked_in=looked_in,
            log_url=log_url or environment.get("EVALKIT_LOG_URL") or f"sqlite:{found / 'events.db'}",
            database_url=database_url or environment.get("EVALKIT_DATABASE_URL") or f"file:{found / 'evalkit.db'}",
            auth_token=SecretStr(token) if token else None,
            read_only=read_only,
        )


def reachable(field: str, path: Path) -> Path:
    """Return a path, whether or not something is there.

    Raises
    ------
    InvalidInputError
        When a folder above it may not be entered by this user, so that nobody can say.
    """
    try:
        path.exists()
    except PermissionError:
        raise InvalidInputError(
            f"{field}: Cannot open {str(path)!r}: permission denied in a folder above it",
            hint="Ask its owner for access, or use another place.",
            field=field, value=str(path),
        ) from None  # fmt: skip
    return path


def redacted(url: str) -> str:
    """Give a URL for messages: of a local one the path, of any other no more than scheme and host."""
    scheme, _, rest = url.partition(":")
    if scheme in ("sqlite", "file"):
        return url
    if not rest.startswith("//"):
        return url if url.startswith(("/", ".", "~")) else "***"
    # A password may hold a slash and a query an at sign: only where both ways to find the host agree is it one.
    host = re.split(r"[/?#]", rest[2:].rpartition("@")[2])[0]
    if host != re.split(r"[/?#]", rest[2:])[0].rpartition("@")[2]:
        return f"{scheme}://***"
    return f"{scheme}://{'***@' if '@' in rest else ''}{host}"


def network_file_system(folder: Path) -> str | None:
    """Give the type of the file system that holds a folder when it is a network one, where SQLite's WAL mode is not safe; else None."""
    import psutil

    where = folder.absolute()
    while not where.exists():
        where = where.parent
    where = where.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if where == Path(part.mountpoint) or Path(part.mountpoint) in where.parents]
    nearest = max(mounts, key=lambda part: len(part.mountpoint), default=None)
    return nearest.fstype if nearest is not None and _NETWORK_FILE_SYSTEMS.fullmatch(nearest.fstype) else None
