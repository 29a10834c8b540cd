"""What the databases behind a URL have in common: bounded waiting, bulk rows as JSON, and errors in words, whatever protocol is spoken."""

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
from evalkit._util.sqlite_files import BUSY, primary_code, says
from evalkit._util.waiting import BUSY_SECONDS, Pauses
from evalkit.errors import DatabaseBusyError, DatabaseError, DatabaseUnavailableError, ReadOnlyError
from evalkit.readmodel.database.database import Args, BulkInsert, ConditionFailed, ResponseTooLarge, Row, Statement, writes

__all__ = ["Refused", "ServerDatabase", "Transport", "token_access"]

_logger = logging.getLogger("evalkit.readmodel")
_T = TypeVar("_T")

_FIRST_SECONDS = 4.0
_ANSWER_SECONDS = 20.0
_WORK_SECONDS = 120.0  # for what writes many rows, or makes tables and indexes
_PROVEN_SECONDS = 5.0
_FAILURE_STANDS_SECONDS = 1.0
_BULK_BYTES = 3_000_000  # sqld takes no value of more than 5,000,000


class Refused(Exception):  # noqa: N818  (a signal between transport and database, no error that a user sees)
    """What went wrong, as far as the protocol told it.

    Parameters
    ----------
    message
        The driver's own words.
    code
        SQLite's or the server's name of the error.
    status
        HTTP's number.
    lost
        Whether there was no answer, or none that could be understood.
    """

    def __init__(self, message: str, *, code: str = "", status: int = 0, lost: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.lost = lost


class Transport(Protocol):
    """Carries statements to a server, as one transaction."""

    def send(self, statements: Sequence[Statement], seconds: float) -> list[list[Row]]:
        """Run statements, and give the rows of each.

        Raises
        ------
        Refused
            When the server refuses, or is lost.
        TimeoutError
            When it takes longer than `seconds`.
        """

    def close(self) -> None:
        """Let go of the connection; the next `send` opens another."""


class ServerDatabase:
    """A `Database` on a server.

    Parameters
    ----------
    transport
        How it is spoken to.
    shown
        Its URL, without secrets, for messages.
    token
        The secret that it asks for, if any. Never shown.
    instead
        The URL to try when it turns out that the server does not speak this protocol.
    """

    def __init__(self, transport: Transport, shown: str, token: str | None, instead: str = "") -> None:
        self.busy_retries = 0
        """How often a call found the database busy and tried again."""
        self.shown = shown
        self._transport = transport
        self._token = token
        self._instead = instead
        self._answered_at = float("-inf")
        self._failure: tuple[float, DatabaseUnavailableError] | None = None

    def execute(self, sql: str, args: Args = ()) -> list[Row]:
        """See `Database.execute`."""
        return self.batch([(sql, args)])[0]

    def batch(self, statements: Sequence[Statement | BulkInsert]) -> list[list[Row]]:
        """See `Database.batch`."""
        if self._failure is not None and time.monotonic() - self._failure[0] < _FAILURE_STANDS_SECONDS:
            raise self._failure[1].but()  # several questions in a row wait once
        reads = not writes(statements)
        if not reads and token_access(self._token) == "ro":
            raise self._read_only("its claim says so")
        # A server that has not answered for a while is asked a small question first: it may be silent, or the connection may be dead, and
        # what writes must not be sent twice.
        if time.monotonic() - self._answered_at > _PROVEN_SECONDS:
            self._patiently(lambda: self._transport.send([("SELECT 1", ())], _FIRST_SECONDS), _FIRST_SECONDS, reads=True)
        expanded = [_expanded(one) for one in statements]
        flat = [statement for parts in expanded for statement in parts]
        long = any(isinstance(one, BulkInsert) or one[0].lstrip().startswith(("CREATE", "DROP", "ALTER")) for one in statements)
        seconds = _WORK_SECONDS if long else _ANSWER_SECONDS
        answers = iter(self._patiently(lambda: self._transport.send(flat, seconds), seconds, reads=reads))
        return [[row for _ in parts for row in next(answers)] for parts in expanded]

    def describe(self) -> EngineReport:
        """See `Database.describe`."""
        ((version,),) = self.execute("SELECT sqlite_version()")
        return EngineReport("libSQL server, SQLite", str(version), (self.shown,))

    def close(self) -> None:
        """See `Database.close`."""
        self._transport.close()
        self._answered_at = float("-inf")
        self._failure = None

    def _patiently(self, call: Callable[[], _T], seconds: float, *, reads: bool) -> _T:
        pauses, again = Pauses(0.005, 0.2, BUSY_SECONDS), reads
        while True:
            try:
                found = call()
            except TimeoutError:
                self._lost()
                raise self._unavailable(f"did not answer within {seconds:g} s", "timeout") from None
            except Refused as refused:
                busy = primary_code(refused.code) in BUSY or "database is locked" in refused.message
                if busy and not pauses.over:
                    self.busy_retries += 1
                    time.sleep(pauses.next())
                    continue
                if refused.lost:
                    self._lost()
                    if again:  # it may only have closed a connection that nobody used
                        again = False
                        continue
                raise self._in_words(refused, busy=busy, reads=reads) from None
            self._answered_at = time.monotonic()
            self._failure = None
            return found

    def _lost(self) -> None:
        self._transport.close()
        self._answered_at = float("-inf")

    def _in_words(self, refused: Refused, *, busy: bool, reads: bool) -> Exception:
        message, code, status = refused.message, refused.code, refused.status
        if "NOT NULL constraint failed" in message:
            return ConditionFailed(message)
        if code in ("RESPONSE_TOO_LARGE", "SQLITE_TOOBIG") or (reads and "Could not execute batch" in message):
            # The latter is all that sqld says over HTTP of a batch whose rows are too many.
            return ResponseTooLarge(message)
        if busy:
            return DatabaseBusyError(
                f"The read model at {self.shown} stayed locked by others for {BUSY_SECONDS:g} s", hint="Try again.", driver_message=message
            )
        if status == 403 or "forbidden" in message.lower():
            return self._read_only(message)
        if status == 401 or code.startswith("AUTH_"):
            has = "refuses the token of EVALKIT_DATABASE_AUTH_TOKEN" if self._token else "asks for a token, and none is given"
            step = "Set EVALKIT_DATABASE_AUTH_TOKEN to a valid one."
            return self._unavailable(f"{has}{_why_refused(self._token, message)}", message, step)
        if status in (404, 505):
            instead = f"Try EVALKIT_DATABASE_URL={self._instead}." if self._instead else ""
            return self._unavailable(f"answers with HTTP status {status}: it does not speak this URL's protocol", message, instead)
        if status in (429, 502, 503, 504):
            return self._unavailable(f"cannot be reached, or is overloaded: HTTP status {status}", message)
        if refused.lost:
            return self._unavailable("cannot be reached, broke off, or does not answer as a libSQL server does", message)
        gone = "its tables are gone; connect again" if "no such table" in message else None
        gone = says(code, message) if "no such column" in message else gone
        if gone is not None:
            return DatabaseUnavailableError(f"The read model at {self.shown} cannot be used: {gone}", driver_message=message)
        return DatabaseError(f"The read model at {self.shown} refused a statement: {message}", driver_message=message)

    def _unavailable(self, why: str, driver_message: str, hint: str = "") -> DatabaseUnavailableError:
        _logger.debug("read model at %s: %s", self.shown, driver_message)
        error = DatabaseUnavailableError(
            f"The read model cannot be used: the server at {self.shown} {why}", hint=hint, driver_message=driver_message
        )
        self._failure = (time.monotonic(), error)
        return error

    def _read_only(self, driver_message: str) -> ReadOnlyError:
        return ReadOnlyError(
            f"The token for the read model at {self.shown} may only read", effect="Nothing was changed.", driver_message=driver_message
        )


def token_access(token: str | None) -> str:
    """Give what a token's claim ``a`` says: ``"ro"`` may only read. Empty where it says nothing, or is none of the known form."""
    claims = _claims(token)
    return str(claims.get("a") or "")


def _why_refused(token: str | None, message: str) -> str:
    expires = _claims(token).get("exp")
    if "expired" in message.lower() or (isinstance(expires, int | float) and expires < time.time()):
        return ": it has expired"
    return ": it is none that this server issued" if token else ""


def _claims(token: str | None) -> dict[str, object]:
    with suppress(ValueError, IndexError):
        part = (token or "").split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return claims if isinstance(claims, dict) else {}
    return {}


def _expanded(statement: Statement | BulkInsert) -> list[Statement]:
    """Give bulk rows as statements that take them as JSON: one value travels and is read faster than thousands."""
    if not isinstance(statement, BulkInsert):
        return [statement]
    columns = ", ".join(f"json_extract(value, '$[{index}]')" for index in range(statement.width))
    sql = f"INSERT INTO {statement.table} SELECT {columns} FROM json_each(?)"
    return [(sql, (part,)) for part in _json_parts(statement)]


def _json_parts(rows: BulkInsert) -> Iterator[str]:
    encode = msgspec.json.Encoder().encode
    lines: list[bytes] = []
    size = 0
    for start in range(0, len(rows.values), rows.width):
        line = encode(rows.values[start : start + rows.width])
        if lines and size + len(line) > _BULK_BYTES:
            yield (b"[" + b",".join(lines) + b"]").decode()
            lines, size = [], 0
        lines.append(line)
        size += len(line) + 1
    if lines:
        yield (b"[" + b",".join(lines) + b"]").decode()
