"""The transport to Turso Cloud and other servers with version 3 of its protocol.

Only the protocol encoding of turso-serverless is used: its sessions have no time limit and open a connection for each request.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from evalkit._util.forks import reset_in_child
from evalkit.readmodel.database.database import Row, Statement, writes
from evalkit.readmodel.database.server_database import TransportError

__all__ = ["TursoTransport"]


class TursoTransport:
    """A `Transport` that sends each batch as one HTTP request.

    Parameters
    ----------
    url
        ``https:`` or ``http:``.
    token
        The authentication token, if any.
    """

    def __init__(self, url: str, token: str | None) -> None:
        self._parts = urlsplit(url)
        self._headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        self.reset_in_child()
        reset_in_child(self)

    def reset_in_child(self) -> None:
        """Replace the lock and drop the connections, also in a forked process."""
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []

    def send(self, statements: Sequence[Statement], seconds: float) -> list[list[Row]]:
        """See `Transport.send`."""
        from turso_serverless.protocol import ProtocolError, build_batch_step, decode_value

        steps: list[dict[str, Any]] = [{"stmt": {"sql": "BEGIN IMMEDIATE" if writes(statements) else "BEGIN", "want_rows": False}}]
        for sql, args in statements:
            steps.append(build_batch_step(sql, args=list(args), condition={"type": "ok", "step": len(steps) - 1}))
        done = len(steps)
        steps.append({"stmt": {"sql": "COMMIT", "want_rows": False}, "condition": {"type": "ok", "step": done - 1}})
        undo: dict[str, Any] = {"type": "not", "cond": {"type": "ok", "step": done}}
        steps.append({"stmt": {"sql": "ROLLBACK", "want_rows": False}, "condition": undo})
        data = self._post(msgspec.json.encode({"requests": [{"type": "batch", "batch": {"steps": steps}}, {"type": "close"}]}), seconds)
        try:
            response = msgspec.json.decode(data)["results"][0]
            result = {"step_errors": [response["error"]]} if response["type"] == "error" else response["response"]["result"]
            for error in result["step_errors"]:
                if error is not None:
                    raise TransportError(str(error.get("message")), code=str(error.get("code") or ""))
            return [[tuple(map(decode_value, row)) for row in step["rows"]] for step in result["step_results"][1:done]]
        except (ProtocolError, LookupError, TypeError, ValueError) as error:  # not a response of this protocol
            raise TransportError(f"{type(error).__name__}: {error}", lost=True) from None

    def _post(self, body: bytes, seconds: float) -> bytes:
        """Send a request over an idle or new connection; return the response body."""
        with self._lock:
            connection = self._idle.pop() if self._idle else self._new_connection()
        connection.timeout = seconds
        if connection.sock is not None:
            connection.sock.settimeout(seconds)
        try:
            connection.request("POST", f"{self._parts.path.rstrip('/')}/v3/pipeline", body, self._headers)
            response = connection.getresponse()
            data = response.read()
        except BaseException as error:
            connection.close()
            if isinstance(error, TimeoutError) or not isinstance(error, http.client.HTTPException | OSError):
                raise
            raise TransportError(f"{type(error).__name__}: {error}", lost=True) from None
        with self._lock:
            self._idle.append(connection)
        if response.status != 200:
            raise TransportError(data.decode(errors="replace")[:500], status=response.status)
        return data

    def _new_connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        return kind(self._parts.hostname or "", self._parts.port)

    def close(self) -> None:
        """See `Transport.close`."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def __del__(self) -> None:
        self.close()
