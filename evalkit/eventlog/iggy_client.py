"""A bounded connection to an Apache Iggy server: where it is, how long is waited for it, and its errors in words.

The driver, apache-iggy, speaks only asyncio, waits for ever by default, and tells its errors apart by their texts alone. Here every call
ends: with an answer, or with a `LogError` that says what to do.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import SecretStr

from evalkit._util import background_loop as background
from evalkit._util.forks import reset_in_child
from evalkit._util.waiting import Pauses
from evalkit.errors import InvalidInputError, LogUnavailableError

__all__ = ["IggyAddress", "IggyConnection"]

_logger = logging.getLogger("evalkit.eventlog")
_T = TypeVar("_T")

SCHEME = "iggy+tcp"
_FORM = "iggy+tcp://USER:PASSWORD@HOST:PORT"
_OPTIONS = ("stream", "topic", "partitions", "tls", "tls_domain", "tls_ca_file", "nodelay")

_CONNECT_SECONDS = 4.0
_ANSWER_SECONDS = 5.0
_PATIENCE_SECONDS = 4.0
_FAILURE_STANDS_SECONDS = 1.0

# The texts by which the driver's errors are told apart.
_LOST = (
    "Disconnected", "Cannot establish connection", "TCP error", "Not connected", "Stale client", "Connection closed", "Client shutdown",
    "Empty response", "Request transiently", "Unauthenticated",
)  # fmt: skip
_WRONG_USER = (
    "Invalid credentials",
    "Invalid username",
    "Invalid password",
    "User inactive",
    "Invalid personal access token",
    "has expired",
)


@dataclass(frozen=True)
class IggyAddress:
    """What an ``iggy+tcp:`` URL says."""

    host: str
    port: int
    username: str = field(repr=False)
    password: SecretStr
    stream: str = "evals"
    topic: str = "events"
    partitions: int = 4
    """For a topic that has to be created; one that exists keeps its own."""
    tls: bool = False
    tls_domain: str = ""
    tls_ca_file: str | None = None
    nodelay: bool = False

    @classmethod
    def parse(cls, url: str) -> IggyAddress:
        """Take a URL apart.

        Raises
        ------
        InvalidInputError
            When a part is missing, or an option is unknown.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or 8090
            given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError:
            raise _wrong("it is not of the form " + _FORM) from None
        if not parts.hostname or not parts.username or parts.fragment or parts.path not in ("", "/"):
            raise _wrong(
                f"it is not of the form {_FORM} (write special characters of the password as in URLs: @ is %40, / is %2F, # is %23)"
            )
        options = dict(given)
        for name in options:
            if name not in _OPTIONS:
                raise _wrong(f"it has the option {name!r}; valid are {', '.join(_OPTIONS)}")
        if len(options) < len(given):
            raise _wrong("it has an option twice; keep one of them")
        flags = {name: options.pop(name, "false") for name in ("tls", "nodelay")}
        for name, value in flags.items():
            if value not in ("true", "false"):
                raise _wrong(f"the option {name} is {value!r}; give true or false")
        partitions = options.pop("partitions", "4")
        if not partitions.isdecimal() or not 1 <= int(partitions) <= 1000:
            raise _wrong(f"the option partitions is {partitions!r}; give a number from 1 to 1000")
        for name in ("stream", "topic"):
            if not 1 <= len(options.get(name, "x").encode()) <= 255 or options.get(name, "x").isdecimal():
                raise _wrong(f"the option {name} is {options[name]!r}; give a name, 1 to 255 bytes long, that is no number")
        return cls(
            parts.hostname, port, unquote(parts.username), SecretStr(unquote(parts.password or "")),
            partitions=int(partitions), tls=flags["tls"] == "true", nodelay=flags["nodelay"] == "true", **options,
        )  # fmt: skip

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def _wrong(why: str) -> InvalidInputError:
    return InvalidInputError(
        f"log_url: {why}", hint="For example iggy+tcp://evalkit:secret@iggy.example.org:8090?tls=true", field="log_url", value="***"
    )


class IggyConnection:
    """Calls a server, within bounded time, from any thread.

    Parameters
    ----------
    address
        Where it is.
    """

    _process: int | None = None

    def __init__(self, address: IggyAddress) -> None:
        self.address = address
        self._was_connected = False
        self._failure: tuple[float, str, str] | None = None
        self._left_behind: list[object] = []
        self._begin()
        reset_in_child(self)

    def _begin(self) -> None:
        self._client: Any = None
        self._connecting = asyncio.Lock()

    def reset_in_child(self) -> None:
        """Go on in a forked process."""
        self._left_behind.append(self._client)  # freeing it here would touch threads that are not there
        self._begin()

    def call(self, operation: Callable[[Any], Awaitable[_T]], *, seconds: float = _ANSWER_SECONDS, appending: str = "") -> _T:
        """Run an operation on a connected client; again, for a few seconds, when the connection is lost.

        Parameters
        ----------
        operation
            Takes the driver's client. It may run more than once.
        seconds
            How long one run may take.
        appending
            What to say when it cannot be known whether the operation was done.

        Raises
        ------
        LogUnavailableError
            When the server is out of reach, silent, or refuses.
        """
        self._check_process()
        self._raise_standing("Nothing was appended." if appending else "")
        found = background.run(self._patiently(operation, seconds, appending), seconds + _CONNECT_SECONDS + 2 * _PATIENCE_SECONDS)
        self._failure = None
        return found

    def close(self) -> None:
        """Let go of the connection."""
        self._client = None
        self._failure = None

    async def _patiently(self, operation: Callable[[Any], Awaitable[_T]], seconds: float, appending: str) -> _T:
        pauses = Pauses(0.05, 0.5, _PATIENCE_SECONDS if self._was_connected else 0)
        runs = 0
        while True:
            lost, told = True, appending if runs or not appending else "Nothing was appended."
            try:
                client = await self._connected(told)
                runs, told = runs + 1, appending
                return await asyncio.wait_for(operation(client), seconds)
            except TimeoutError:
                self._client = None
                why, text = f"did not answer within {seconds if runs else _CONNECT_SECONDS:g} s", "timeout"
            except RuntimeError as error:
                text = str(error)
                lost = text.startswith(_LOST)
                if lost:
                    self._client = None
                if lost and not pauses.over:
                    _logger.debug("Iggy: %s; trying again", text)
                    await asyncio.sleep(pauses.next())
                    continue
                why = self._why(text)
                if appending and runs <= 1 and text.startswith("Unauthorized"):
                    told = "Nothing was appended."
            if lost:
                self._failure = (time.monotonic(), why, text)
            raise self._unavailable(why, text, told) from None

    def _raise_standing(self, told: str) -> None:
        """Raise the last failure again while it is fresh: several questions in a row, or at once, wait once."""
        if self._failure is not None and time.monotonic() - self._failure[0] < _FAILURE_STANDS_SECONDS:
            raise self._unavailable(*self._failure[1:], told)

    async def _connected(self, told: str) -> Any:
        waits = self._connecting.locked()
        async with self._connecting:
            if self._client is None:
                if waits:
                    self._raise_standing(told)
                client = _new_client(self.address)
                await asyncio.wait_for(client.connect(), _CONNECT_SECONDS)
                self._client = client
                self._was_connected = True
            return self._client

    def _why(self, text: str) -> str:
        if text.startswith(_WRONG_USER) or any(part in text for part in _WRONG_USER):
            return "refuses the user or the password that the log's URL (EVALKIT_LOG_URL) gives"
        if text.startswith(("Unauthorized", "Unauthenticated")):
            return (
                f"does not permit this to the user of the log's URL: it must read, poll from and send to the topic "
                f"{self.address.topic!r} of the stream {self.address.stream!r}, and manage the stream where the topic does not exist yet"
            )
        if text.startswith("Invalid TLS"):
            return f"cannot be spoken to: {text}. Look at the options tls_domain and tls_ca_file of the log's URL"
        if text.startswith("Cannot establish connection"):
            tls = ", does it speak TLS, and does its certificate fit tls_domain and tls_ca_file?" if self.address.tls else "?"
            return f"cannot be reached. Is it running, and are host and port right{tls} ({_FORM})"
        if text.startswith(("Disconnected", "Empty response", "Connection closed", "TCP error", "Invalid")):
            tls = "" if self.address.tls else "; if it asks for TLS, add tls=true to the log's URL"
            return f"broke the connection off, or does not answer as an Iggy 0.9 server does on its TCP port (8090 by default){tls}"
        return f"answered: {text}"

    def _unavailable(self, why: str, text: str, appending: str) -> LogUnavailableError:
        _logger.debug("Iggy at %s: %s", self.address, text)
        problem = f"The event log cannot be used: the Iggy server at {self.address} {why}"
        return LogUnavailableError(problem, effect=appending, driver_message=text)

    @classmethod
    def _check_process(cls) -> None:
        if cls._process is None:
            cls._process = os.getpid()
        elif cls._process != os.getpid():
            raise LogUnavailableError(
                "The Iggy client cannot be used in a process that was forked after it was used: its threads are not there",
                hint='Start processes with multiprocessing.get_context("spawn").',
            )


def _new_client(address: IggyAddress) -> Any:
    from apache_iggy import AutoLogin, IggyClient, TcpConfig, TcpReconnectionConfig

    secret = address.password.get_secret_value()
    login = AutoLogin.username_password(address.username, secret) if secret else AutoLogin.personal_access_token(address.username)
    host = f"[{address.host}]" if ":" in address.host else address.host
    try:
        return IggyClient(
            TcpConfig(
                server_address=f"{host}:{address.port}",
                auto_login=login,
                # Connecting again is decided here, where it is bounded and told.
                reconnection=TcpReconnectionConfig(max_retries=0, interval=timedelta(milliseconds=100), reestablish_after=timedelta(0)),
                tls_enabled=address.tls,
                tls_domain=address.tls_domain,
                tls_ca_file=address.tls_ca_file,
                nodelay=address.nodelay,
            )
        )
    except ValueError as error:
        raise RuntimeError(f"Invalid address: {error}") from None
