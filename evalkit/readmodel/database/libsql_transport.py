"""The read model on a libSQL server through libsql-client, over HTTP."""

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
from evalkit.readmodel.database.server_database import Refused

__all__ = ["LibsqlTransport"]


class LibsqlTransport:
    """A `Transport` that libsql-client carries. It is asynchronous, and runs in the background loop.

    Parameters
    ----------
    url
        ``http:`` or ``https:``.
    token
        The secret that the server asks for, if any.
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
            background.spawn(_closed(client))

    def reset_in_child(self) -> None:
        """Go on in a forked process: the connection stays the parent's."""
        self._left_behind.append(self._client)
        self._client = None

    def __del__(self) -> None:
        with suppress(Exception):  # a kit need not be closed, and an interpreter that ends has taken things away already
            self.close()

    async def _send(self, statements: Sequence[Statement], seconds: float) -> list[list[Row]]:
        import aiohttp
        from libsql_client import LibsqlError

        try:
            if self._client is None:
                client = self._client = _client(self._url, self._token)
                background.at_end(id(client), lambda: _closed(client))
            # The library does not bear that its futures are cancelled: what takes too long is left, and ends when the client is closed.
            answer = asyncio.ensure_future(self._client.batch([(sql, tuple(args)) for sql, args in statements]))
            # Nobody waits for its late error, also when this coroutine is cancelled while it waits: asyncio would print a traceback.
            answer.add_done_callback(lambda late: late.cancelled() or late.exception())
            await asyncio.wait({answer}, timeout=seconds)
            if not answer.done():
                raise TimeoutError
            results = answer.result()
        except LibsqlError as error:
            raise Refused(error.explanation, code=error.code, lost=error.code in ("HRANA_PROTO_ERROR", "CLIENT_CLOSED")) from None
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as error:
            # The last three: an answer in another language.
            raise Refused(f"{type(error).__name__}: {error}", lost=True) from None
        return [[row.astuple() for row in result.rows] for result in results]


def _client(url: str, token: str | None) -> Any:
    from libsql_client.http import HttpClient

    class Client(HttpClient):  # type: ignore[misc]
        """Overrides `_send`, since the library drops what the server says of an error, and sends and reads JSON more slowly.

        That is the one place in which it makes requests; with its `_session` and `_url` these are all private names of it that are used.
        """

        async def _send(self, method: str, path: str, request_body: Any) -> Any:
            body = io.BytesIO(msgspec.json.encode(request_body))
            headers = {"content-type": "application/json"}
            if self._url.startswith("http:"):
                # Without encryption the server is near, and packing takes it longer than sending.
                headers["accept-encoding"] = "identity"
            async with self._session.request(method, f"{self._url.rstrip('/')}/{path}", data=body, headers=headers) as answer:
                data = await answer.read()
                if not answer.ok:
                    raise _refused(answer.status, data)
                return msgspec.json.decode(data)

    return Client(url, auth_token=token)


def _refused(status: int, data: bytes) -> Refused:
    try:
        said = msgspec.json.decode(data)
        return Refused(str(said.get("message") or said.get("error")), code=str(said.get("code") or ""), status=status)
    except (ValueError, AttributeError):
        return Refused(f"HTTP status {status}: {data[:200].decode(errors='replace')}", status=status)


async def _closed(client: Any) -> None:
    with suppress(Exception):  # it is let go of in any case
        await client.close()
