"""The read model on Turso Cloud, or any server with version 3 of the protocol, through turso-serverless.

Its own session waits without a limit and opens a connection for each request, so only its encoding of the protocol is used.
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
from evalkit.readmodel.database.server_database import Refused

__all__ = ["TursoTransport"]


class TursoTransport:
    """A `Transport` that turso-serverless encodes: each batch is one request, which leaves nothing open on the server.

    Parameters
    ----------
    url
        ``https:`` or ``http:``.
    token
        The secret that the server asks for, if any.
    """

    def __init__(self, url: str, token: str | None) -> None:
        self._parts = urlsplit(url)
        self._headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        self.reset_in_child()
        reset_in_child(self)

    def reset_in_child(self) -> None:
        """Go on in a forked process."""
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
            answer = msgspec.json.decode(data)["results"][0]
            result = {"step_errors": [answer["error"]]} if answer["type"] == "error" else answer["response"]["result"]
            for error in result["step_errors"]:
                if error is not None:
                    raise Refused(str(error.get("message")), code=str(error.get("code") or ""))
            return [[tuple(map(decode_value, row)) for row in one["rows"]] for one in result["step_results"][1:done]]
        except (ProtocolError, LookupError, TypeError, ValueError) as error:  # an answer in another language
            raise Refused(f"{type(error).__name__}: {error}", lost=True) from None

    def _post(self, body: bytes, seconds: float) -> bytes:
        """Send a request over a connection that is idle, or a new one, and return the answer."""
        with self._lock:
            connection = self._idle.pop() if self._idle else self._new_connection()
        connection.timeout = seconds
        if connection.sock is not None:
            connection.sock.settimeout(seconds)
        try:
            connection.request("POST", f"{self._parts.path.rstrip('/')}/v3/pipeline", body, self._headers)
            answer = connection.getresponse()
            data = answer.read()
        except BaseException as error:
            connection.close()
            if isinstance(error, TimeoutError) or not isinstance(error, http.client.HTTPException | OSError):
                raise
            raise Refused(f"{type(error).__name__}: {error}", lost=True) from None
        with self._lock:
            self._idle.append(connection)
        if answer.status != 200:
            raise Refused(data.decode(errors="replace")[:500], status=answer.status)
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
