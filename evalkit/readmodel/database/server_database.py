"""A database on a server: time limits, retries, bulk inserts and readable errors."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar

import msgspec

from evalkit._util.engine_report import EngineReport
from evalkit._util.sqlite_files import BUSY, describe_failure, primary_code
from evalkit._util.waiting import BUSY_SECONDS, Pauses
from evalkit.errors import DatabaseBusyError, DatabaseError, DatabaseUnavailableError, ReadOnlyError
from evalkit.readmodel.database.database import (
    REBUILD_HINTS,
    Args,
    BulkInsert,
    ConditionFailed,
    ResponseTooLarge,
    Row,
    Statement,
    writes,
)  # fmt: skip

__all__ = ["ServerDatabase", "Transport", "TransportError", "token_access"]

_logger = logging.getLogger("evalkit.readmodel")
_T = TypeVar("_T")

_FIRST_SECONDS = 4.0
_ANSWER_SECONDS = 20.0
_WORK_SECONDS = 120.0  # for bulk inserts, and for creating tables and indexes
_TRUSTED_SECONDS = 5.0
_FAILURE_CACHE_SECONDS = 1.0
_BULK_BYTES = 3_000_000  # sqld rejects values larger than 5,000,000 bytes


class TransportError(Exception):
    """A failed request, raised by transports and handled by `ServerDatabase`.

    Parameters
    ----------
    message
        The driver's message.
    code
        The error code of SQLite or the server.
    status
        The HTTP status.
    lost
        Whether there was no valid response.
    """

    def __init__(self, message: str, *, code: str = "", status: int = 0, lost: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.lost = lost


class Transport(Protocol):
    """Sends statements to a server, which executes them as one transaction."""

    def send(self, statements: Sequence[Statement], seconds: float) -> list[list[Row]]:
        """Run statements, and return the rows of each.

        Raises
        ------
        TransportError
            When the server returns an error or no valid response.
        TimeoutError
            When the server does not respond within `seconds`.
        """

    def close(self) -> None:
        """Close the connection. The next `send` opens another one."""


class ServerDatabase:
    """A `Database` on a server.

    Parameters
    ----------
    transport
        The connection to the server.
    shown
        The URL of the server without secrets, for messages.
    token
        The authentication token, if any. Never shown.
    instead
        The URL that errors suggest if the server does not support this protocol.
    """

    def __init__(self, transport: Transport, shown: str, token: str | None, instead: str = "") -> None:
        self.busy_retries = 0
        """The number of retries because the database was busy."""
        self.shown = shown
        self._transport = transport
        self._token = token
        self._instead = instead
        self._responded_at = float("-inf")
        self._failure: tuple[float, DatabaseUnavailableError] | None = None

    def execute(self, sql: str, args: Args = ()) -> list[Row]:
        """See `Database.execute`."""
        return self.batch([(sql, args)])[0]

    def batch(self, statements: Sequence[Statement | BulkInsert], *, confirm: Callable[[], None] | None = None) -> list[list[Row]]:
        """See `Database.batch`."""
        if confirm is not None:
            confirm()
        if self._failure is not None and time.monotonic() - self._failure[0] < _FAILURE_CACHE_SECONDS:
            raise self._failure[1].but()  # so that successive calls do not all wait
        reads = not writes(statements)
        if not reads and token_access(self._token) == "ro":
            raise self._read_only("the token's claim is read-only")
        # If the last response is not recent, the server or the connection may be dead. Test it with a small query, because a write must not
        # be sent twice.
        if time.monotonic() - self._responded_at > _TRUSTED_SECONDS:
            self._retried(lambda: self._transport.send([("SELECT 1", ())], _FIRST_SECONDS), _FIRST_SECONDS, reads=True)
        expanded = [_expanded(statement) for statement in statements]
        flat = [statement for parts in expanded for statement in parts]
        long = any(
            isinstance(statement, BulkInsert) or statement[0].lstrip().startswith(("CREATE", "DROP", "ALTER")) for statement in statements
        )
        seconds = _WORK_SECONDS if long else _ANSWER_SECONDS
        results = iter(self._retried(lambda: self._transport.send(flat, seconds), seconds, reads=reads))
        return [[row for _ in parts for row in next(results)] for parts in expanded]

    def describe(self) -> EngineReport:
        """See `Database.describe`."""
        ((version,),) = self.execute("SELECT sqlite_version()")
        return EngineReport("libSQL server, SQLite", str(version), (self.shown,))

    def close(self) -> None:
        """See `Database.close`."""
        self._transport.close()
        self._responded_at = float("-inf")
        self._failure = None

    def _retried(self, call: Callable[[], _T], seconds: float, *, reads: bool) -> _T:
        pauses, retry_lost = Pauses(0.005, 0.2, BUSY_SECONDS), reads
        while True:
            try:
                result = call()
            except TimeoutError:
                self._lost()
                raise self._unavailable(f"did not answer within {seconds:g} s", "timeout") from None
            except TransportError as error:
                busy = primary_code(error.code) in BUSY or "database is locked" in error.message
                if busy and not pauses.over:
                    self.busy_retries += 1
                    time.sleep(pauses.next())
                    continue
                if error.lost:
                    self._lost()
                    if retry_lost:  # the server may only have closed an idle connection
                        retry_lost = False
                        continue
                raise self._as_evalkit_error(error, busy=busy, reads=reads) from None
            self._responded_at = time.monotonic()
            self._failure = None
            return result

    def _lost(self) -> None:
        self._transport.close()
        self._responded_at = float("-inf")

    def _as_evalkit_error(self, error: TransportError, *, busy: bool, reads: bool) -> Exception:
        message, code, status = error.message, error.code, error.status
        if "NOT NULL constraint failed" in message:
            return ConditionFailed(message)
        if code in ("RESPONSE_TOO_LARGE", "SQLITE_TOOBIG") or (reads and "Could not execute batch" in message):
            # "Could not execute batch" is sqld's only message over HTTP for a batch with too many rows.
            return ResponseTooLarge(message)
        if busy:
            return DatabaseBusyError(
                f"The read model at {self.shown} was locked by other clients for {BUSY_SECONDS:g} s",
                hint="Try again.", driver_message=message,
            )  # fmt: skip
        if status == 403 or "forbidden" in message.lower():
            return self._read_only(message)
        if status == 401 or code.startswith("AUTH_"):
            reason = "rejected the token in EVALKIT_DATABASE_AUTH_TOKEN" if self._token else "requires a token"
            reason += _rejection_reason(self._token, message)
            return self._unavailable(reason, message, "Set EVALKIT_DATABASE_AUTH_TOKEN to a valid token.")
        if status in (404, 505):
            hint = f"Try EVALKIT_DATABASE_URL={self._instead}." if self._instead else ""
            return self._unavailable(f"does not support this URL's protocol (HTTP status {status})", message, hint)
        if status in (429, 502, 503, 504):
            return self._unavailable(f"cannot be reached or is overloaded (HTTP status {status})", message)
        if error.lost:
            kind = "Turso" if self.shown.startswith("turso+") else "libSQL"
            return self._fail(
                f"Cannot connect to the read model at {self.shown}", message, f"Check the URL, and that a {kind} server is running there."
            )
        unusable = f"The read model at {self.shown} cannot be used"
        if "no such table" in message:
            return DatabaseUnavailableError(f"{unusable}: its tables are missing; connect again", driver_message=message)
        if "no such column" in message:
            reason = describe_failure(code, message).reason
            return DatabaseUnavailableError(f"{unusable}: {reason}", driver_message=message, **REBUILD_HINTS)
        return DatabaseError(f"The read model at {self.shown} rejected a statement: {message}", driver_message=message)

    def _unavailable(self, reason: str, driver_message: str, hint: str = "") -> DatabaseUnavailableError:
        return self._fail(f"The read model cannot be used: the server at {self.shown} {reason}", driver_message, hint)

    def _fail(self, problem: str, driver_message: str, hint: str) -> DatabaseUnavailableError:
        _logger.debug("read model at %s: %s", self.shown, driver_message)
        error = DatabaseUnavailableError(problem, hint=hint, driver_message=driver_message)
        self._failure = (time.monotonic(), error)
        return error

    def _read_only(self, driver_message: str) -> ReadOnlyError:
        return ReadOnlyError(
            f"The token for the read model at {self.shown} is read-only", effect="Nothing was changed.", driver_message=driver_message
        )


def token_access(token: str | None) -> str:
    """Return the access of a token, its claim ``a``: ``"ro"`` is read-only, ``""`` unknown."""
    claims = _claims(token)
    return str(claims.get("a") or "")


def _rejection_reason(token: str | None, message: str) -> str:
    expires = _claims(token).get("exp")
    if "expired" in message.lower() or (isinstance(expires, int | float) and expires < time.time()):
        return ": it has expired"
    return ": this server did not issue it" if token else ""


def _claims(token: str | None) -> dict[str, object]:
    with suppress(ValueError, IndexError):
        part = (token or "").split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return claims if isinstance(claims, dict) else {}
    return {}


def _expanded(statement: Statement | BulkInsert) -> list[Statement]:
    """Return a statement as a list. Bulk rows become JSON arguments, which is faster."""
    if not isinstance(statement, BulkInsert):
        return [statement]
    values = ", ".join(f"json_extract(value, '$[{index}]')" for index in range(statement.width))
    sql = f"INSERT INTO {statement.table} ({statement.columns}) SELECT {values} FROM json_each(?)"
    return [(sql, (part,)) for part in _json_parts(statement)]


def _json_parts(rows: BulkInsert) -> Iterator[str]:
    encode = msgspec.json.Encoder().encode
    lines: list[bytes] = []
    size = 0
    width = rows.width
    for start in range(0, len(rows.values), width):
        line = encode(rows.values[start : start + width])
        if lines and size + len(line) > _BULK_BYTES:
            yield (b"[" + b",".join(lines) + b"]").decode()
            lines, size = [], 0
        lines.append(line)
        size += len(line) + 1
    if lines:
        yield (b"[" + b",".join(lines) + b"]").decode()
