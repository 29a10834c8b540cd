"""The transport to a libSQL server over HTTP, through libsql-client."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from evalkit._util import background_loop as background
from evalkit._util.forks import reset_in_child
from evalkit.readmodel.database.database import Row, Statement
from evalkit.readmodel.database.server_database import TransportError

__all__ = ["LibsqlTransport"]


class LibsqlTransport:
    """A `Transport` through libsql-client, which runs in the background loop.

    Parameters
    ----------
    url
        ``http:`` or ``https:``.
    token
        The authentication token, if any.
    """

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url
        self._token = token
        self._client: Any = None
        self._left_behind: list[object] = []
        reset_in_child(self)

    def send(self, statements: Sequence[Statement], seconds: float) -> list[list[Row]]:
        """See `Transport.send`."""
        return background.run(self._send(statements, seconds), seconds + 1)

    def close(self) -> None:
        """See `Transport.close`."""
        client, self._client = self._client, None
        if client is not None:
            background.at_end(id(client), None)
            background.spawn(_close(client))

    def reset_in_child(self) -> None:
        """Drop the connection in a forked process, where it belongs to the parent."""
        self._left_behind.append(self._client)
        self._client = None

    def __del__(self) -> None:
        with suppress(Exception):  # closing a kit is optional, and modules may be gone when the interpreter exits
            self.close()

    async def _send(self, statements: Sequence[Statement], seconds: float) -> list[list[Row]]:
        import aiohttp
        from libsql_client import LibsqlError

        try:
            if self._client is None:
                client = self._client = _client(self._url, self._token)
                background.at_end(id(client), lambda: _close(client))
            # The library does not support canceling its futures: after a timeout, the request ends when the client is closed.
            request = asyncio.ensure_future(self._client.batch([(sql, tuple(args)) for sql, args in statements]))
            # Retrieve errors after a timeout, for which asyncio would otherwise print a traceback.
            request.add_done_callback(lambda future: future.cancelled() or future.exception())
            await asyncio.wait({request}, timeout=seconds)
            if not request.done():
                raise TimeoutError
            results = request.result()
        except LibsqlError as error:
            raise TransportError(error.explanation, code=error.code, lost=error.code in ("HRANA_PROTO_ERROR", "CLIENT_CLOSED")) from None
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as error:
            # ValueError, KeyError and TypeError mean that the response is not one of this protocol.
            raise TransportError(f"{type(error).__name__}: {error}", lost=True) from None
        return [[row.astuple() for row in result.rows] for result in results]


def _client(url: str, token: str | None) -> Any:
    from libsql_client.http import HttpClient

    class Client(HttpClient):  # type: ignore[misc]
        """A client that keeps the server's error messages and encodes JSON faster.

        All requests of the library use `_send`. `_send`, `_session` and `_url` are the only private names of the library in use.
        """

        async def _send(self, method: str, path: str, request_body: Any) -> Any:
            body = io.BytesIO(msgspec.json.encode(request_body))
            headers = {"content-type": "application/json"}
            if self._url.startswith("http:"):
                # Without TLS the server is probably local, where compression costs more than it saves.
                headers["accept-encoding"] = "identity"
            async with self._session.request(method, f"{self._url.rstrip('/')}/{path}", data=body, headers=headers) as response:
                data = await response.read()
                if not response.ok:
                    raise _transport_error(response.status, data)
                return msgspec.json.decode(data)

    return Client(url, auth_token=token)


def _transport_error(status: int, data: bytes) -> TransportError:
    try:
        details = msgspec.json.decode(data)
        return TransportError(str(details.get("message") or details.get("error")), code=str(details.get("code") or ""), status=status)
    except (ValueError, AttributeError):
        return TransportError(f"HTTP status {status}: {data[:200].decode(errors='replace')}", status=status)


async def _close(client: Any) -> None:
    with suppress(Exception):  # the client is not used again
        await client.close()
