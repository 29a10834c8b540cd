"""The read model on Turso Cloud, or any server with version 3 of the protocol, through turso-serverless."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from evalkit._util.forks import reset_in_child
from evalkit.readmodel.database.database import Row, Statement, writes
from evalkit.readmodel.database.server_database import Refused

__all__ = ["TursoTransport"]


class TursoTransport:
    """A `Transport` that turso-serverless carries: each batch is one request, which leaves nothing open on the server.

    Parameters
    ----------
    url
        ``https:`` or ``http:``.
    token
        The secret that the server asks for, if any.
    """

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url
        self._token = token
        self.reset_in_child()
        reset_in_child(self)

    def reset_in_child(self) -> None:
        """Go on in a forked process."""
        self._lock = threading.Lock()
        self._idle: list[Any] = []

    def send(self, statements: Sequence[Statement], seconds: float) -> list[list[Row]]:
        """See `Transport.send`."""
        from turso_serverless.protocol import ProtocolError, ServerError, build_batch_step, decode_value

        with self._lock:
            session = self._idle.pop() if self._idle else _session(self._url, self._token)
        steps: list[dict[str, Any]] = [{"stmt": {"sql": "BEGIN IMMEDIATE" if writes(statements) else "BEGIN", "want_rows": False}}]
        for sql, args in statements:
            steps.append(build_batch_step(sql, args=list(args), condition={"type": "ok", "step": len(steps) - 1}))
        done = len(steps)
        steps.append({"stmt": {"sql": "COMMIT", "want_rows": False}, "condition": {"type": "ok", "step": done - 1}})
        undo: dict[str, Any] = {"type": "not", "cond": {"type": "ok", "step": done}}
        steps.append({"stmt": {"sql": "ROLLBACK", "want_rows": False}, "condition": undo})
        try:
            answer, _ = session.within(seconds, [{"type": "batch", "batch": {"steps": steps}}, {"type": "close"}])
            if answer["type"] == "error":
                raise _refused(answer["error"])
            result = answer["response"]["result"]
            for error in result["step_errors"]:
                if error is not None:
                    raise _refused(error)
            rows = [[tuple(map(decode_value, row)) for row in one["rows"]] for one in result["step_results"][1:done]]
        except (ProtocolError, ServerError, KeyError, TypeError, ValueError) as error:
            session.drop()
            raise Refused(f"{type(error).__name__}: {error}", lost=True) from None
        except BaseException:
            session.drop()
            raise
        with self._lock:
            self._idle.append(session)
        return rows

    def close(self) -> None:
        """See `Transport.close`."""
        with self._lock:
            idle, self._idle = self._idle, []
        for session in idle:
            session.drop()


def _refused(error: dict[str, Any]) -> Refused:
    return Refused(str(error.get("message")), code=str(error.get("code") or ""))


def _session(url: str, token: str | None) -> Any:
    from turso_serverless.session import Session

    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection

    class BoundedSession(Session):  # type: ignore[misc]
        """The library's session waits for ever, and opens a connection for each request."""

        connection: http.client.HTTPConnection | None = None

        def within(self, seconds: float, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
            if self.connection is None:
                self.connection = kind(parts.hostname or "", parts.port)
            self.connection.timeout = seconds
            if self.connection.sock is not None:
                self.connection.sock.settimeout(seconds)
            return self.execute_pipeline(requests, track_autocommit=False)  # type: ignore[no-any-return]

        def _post(self, path: str, body: dict[str, Any]) -> bytes:
            import json

            assert self.connection is not None
            try:
                self.connection.request("POST", parts.path.rstrip("/") + path, json.dumps(body, allow_nan=False).encode(), self._headers())
                answer = self.connection.getresponse()
                data = answer.read()
            except TimeoutError:
                raise
            except (http.client.HTTPException, OSError) as error:
                raise Refused(f"{type(error).__name__}: {error}", lost=True) from None
            if answer.status != 200:
                raise Refused(data.decode(errors="replace")[:500], status=answer.status)
            return data

        def __del__(self) -> None:
            self.drop()

        def drop(self) -> None:
            if self.connection is not None:
                self.connection.close()
            self.connection = None
            self._reset_stream()

    return BoundedSession(url, auth_token=token)
