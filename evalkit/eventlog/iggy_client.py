"""A connection to an Apache Iggy server with time limits, retries and readable errors.

The driver, apache-iggy, only has an asyncio API, waits without a limit by default, and raises errors that differ only in their texts. An
`IggyConnection` returns a result or raises a `LogError` within a time limit.
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

__all__ = ["NOTHING_APPENDED", "IggyAddress", "IggyConnection"]

_logger = logging.getLogger("evalkit.eventlog")
_T = TypeVar("_T")

SCHEME = "iggy+tcp"
_FORM = "iggy+tcp://USER:PASSWORD@HOST:PORT or iggy+tcp://TOKEN@HOST:PORT"
_OPTIONS = ("stream", "topic", "partitions", "tls", "tls_domain", "tls_ca_file", "nodelay")

_CONNECT_SECONDS = 4.0
_ANSWER_SECONDS = 5.0
_RETRY_SECONDS = 4.0
_FAILURE_CACHE_SECONDS = 1.0
NOTHING_APPENDED = "No events were appended."

# The driver's errors can only be distinguished by their texts.
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
    """The parts of an ``iggy+tcp:`` URL."""

    host: str
    port: int
    username: str = field(repr=False)
    password: SecretStr
    stream: str = "evals"
    topic: str = "events"
    partitions: int = 4
    """The number of partitions of a new topic; an existing topic keeps its own."""
    tls: bool = False
    tls_domain: str = ""
    tls_ca_file: str | None = None
    nodelay: bool = False

    @classmethod
    def parse(cls, url: str) -> IggyAddress:
        """Parse a URL.

        Raises
        ------
        InvalidInputError
            When a part is missing, or an option is unknown.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or 8090
            pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError:
            raise _invalid_url(f"expected {_FORM}") from None
        if not parts.hostname or not parts.username or parts.fragment or parts.path not in ("", "/"):
            raise _invalid_url(f"expected {_FORM} (percent-encode special characters in the password: @ is %40, / is %2F, # is %23)")
        options = dict(pairs)
        for name in options:
            if name not in _OPTIONS:
                raise _invalid_url(f"unknown option {name!r}; valid options are {', '.join(_OPTIONS)}")
        if len(options) < len(pairs):
            raise _invalid_url("duplicate option; keep one of them")
        flags = {name: options.pop(name, "false") for name in ("tls", "nodelay")}
        for name, value in flags.items():
            if value not in ("true", "false"):
                raise _invalid_url(f"option {name} is {value!r}; expected true or false")
        partitions = options.pop("partitions", "4")
        if not partitions.isdecimal() or not 1 <= int(partitions) <= 1000:
            raise _invalid_url(f"option partitions is {partitions!r}; expected a number from 1 to 1000")
        for name in ("stream", "topic"):
            if not 1 <= len(options.get(name, "x").encode()) <= 255 or options.get(name, "x").isdecimal():
                raise _invalid_url(f"option {name} is {options[name]!r}; expected a name of 1 to 255 bytes that is not a number")
        return cls(
            parts.hostname, port, unquote(parts.username), SecretStr(unquote(parts.password or "")),
            partitions=int(partitions), tls=flags["tls"] == "true", nodelay=flags["nodelay"] == "true", **options,
        )  # fmt: skip

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def topic_name(self) -> str:
        """Topic and stream, for messages."""
        return f"topic {self.topic!r} of stream {self.stream!r}"


def _invalid_url(problem: str) -> InvalidInputError:
    return InvalidInputError(
        f"Invalid log_url: {problem}",
        hint="Example: iggy+tcp://evalkit:secret@iggy.example.org:8090?tls=true", field="log_url", value="***",
    )  # fmt: skip


class IggyConnection:
    """Runs operations on a server with a time limit, from any thread.

    Parameters
    ----------
    address
        The address and the credentials.
    """

    _process: int | None = None

    def __init__(self, address: IggyAddress) -> None:
        self.address = address
        self._was_connected = False
        self._failure: tuple[float, str, str, str] | None = None
        self._left_behind: list[object] = []
        self._begin()
        reset_in_child(self)

    def _begin(self) -> None:
        self._client: Any = None
        self._connecting = asyncio.Lock()

    def reset_in_child(self) -> None:
        """Drop the connection in a forked process."""
        self._left_behind.append(self._client)  # freeing it would use threads that do not exist in the child
        self._begin()

    def call(self, operation: Callable[[Any], Awaitable[_T]], *, seconds: float = _ANSWER_SECONDS, appending: str = "") -> _T:
        """Run an operation on a connected client; retry it when the connection is lost.

        Parameters
        ----------
        operation
            A function of the driver's client. It may be called more than once.
        seconds
            The time limit of one call.
        appending
            For an append: the `effect` of the error if the outcome is unknown.

        Raises
        ------
        LogUnavailableError
            When the server cannot be reached, does not answer, or denies access.
        """
        self._check_process()
        self._raise_recent_failure(NOTHING_APPENDED if appending else "")
        result = background.run(self._retried(operation, seconds, appending), seconds + _CONNECT_SECONDS + 2 * _RETRY_SECONDS)
        self._failure = None
        return result

    def close(self) -> None:
        """Release the connection."""
        self._client = None
        self._failure = None

    async def _retried(self, operation: Callable[[Any], Awaitable[_T]], seconds: float, appending: str) -> _T:
        pauses = Pauses(0.05, 0.5, _RETRY_SECONDS if self._was_connected else 0)
        runs = 0
        while True:
            lost, effect = True, appending if runs or not appending else NOTHING_APPENDED
            try:
                client = await self._connected(effect)
                runs, effect = runs + 1, appending
                return await asyncio.wait_for(operation(client), seconds)
            except TimeoutError:
                self._client = None
                reason, hint, text = f"did not answer within {seconds if runs else _CONNECT_SECONDS:g} s", "", "timeout"
            except RuntimeError as error:
                text = str(error)
                lost = text.startswith(_LOST)
                if lost:
                    self._client = None
                if lost and not pauses.over:
                    _logger.debug("Iggy: %s; retrying", text)
                    await asyncio.sleep(pauses.next())
                    continue
                reason, hint = self._reason_and_hint(text)
                if appending and runs <= 1 and text.startswith("Unauthorized"):
                    effect = NOTHING_APPENDED
            if lost:
                self._failure = (time.monotonic(), reason, hint, text)
            raise self._unavailable(reason, hint, text, effect) from None

    def _raise_recent_failure(self, effect: str) -> None:
        """Raise the last failure again if it is recent, so that calls do not all wait."""
        if self._failure is not None and time.monotonic() - self._failure[0] < _FAILURE_CACHE_SECONDS:
            raise self._unavailable(*self._failure[1:], effect)

    async def _connected(self, effect: str) -> Any:
        waits = self._connecting.locked()
        async with self._connecting:
            if self._client is None:
                if waits:
                    self._raise_recent_failure(effect)
                client = _new_client(self.address)
                await asyncio.wait_for(client.connect(), _CONNECT_SECONDS)
                self._client = client
                self._was_connected = True
            return self._client

    def _reason_and_hint(self, text: str) -> tuple[str, str]:
        if text.startswith(_WRONG_USER) or any(part in text for part in _WRONG_USER):
            return "rejected the user name or the password", "Check the log URL (EVALKIT_LOG_URL)."
        if text.startswith(("Unauthorized", "Unauthenticated")):
            return "denied access to the user of the log URL", (
                f"Grant permission to read, poll from and send to {self.address.topic_name}, and to manage the stream if the topic does "
                "not exist yet."
            )
        if text.startswith("Invalid TLS"):
            return f"cannot be reached over TLS: {text}", "Check the options tls_domain and tls_ca_file of the log URL."
        if text.startswith("Cannot establish connection"):
            tls = ", that it uses TLS, and that its certificate matches tls_domain and tls_ca_file" if self.address.tls else ""
            return "cannot be reached", f"Check that it is running at this host and port{tls} ({_FORM})."
        if text.startswith(("Disconnected", "Empty response", "Connection closed", "TCP error", "Invalid")):
            tls = "" if self.address.tls else " If it requires TLS, add tls=true to the log URL."
            return "closed the connection or is not an Iggy 0.9 server", f"Use its TCP port (8090 by default).{tls}"
        return f"returned an error: {text}", ""

    def _unavailable(self, reason: str, hint: str, text: str, effect: str) -> LogUnavailableError:
        _logger.debug("Iggy at %s: %s", self.address, text)
        problem = f"The event log cannot be used: the Iggy server at {self.address} {reason}"
        return LogUnavailableError(problem, effect=effect, hint=hint, driver_message=text)

    @classmethod
    def _check_process(cls) -> None:
        if cls._process is None:
            cls._process = os.getpid()
        elif cls._process != os.getpid():
            raise LogUnavailableError(
                "The Iggy client cannot be used in a forked process after its first use in the parent: a fork does not copy its threads",
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
                # IggyConnection reconnects, with a time limit.
                reconnection=TcpReconnectionConfig(max_retries=0, interval=timedelta(milliseconds=100), reestablish_after=timedelta(0)),
                tls_enabled=address.tls,
                tls_domain=address.tls_domain,
                tls_ca_file=address.tls_ca_file,
                nodelay=address.nodelay,
            )
        )
    except ValueError as error:
        raise RuntimeError(f"Invalid address: {error}") from None
