"""The Apache Iggy server of the tests: the one at ``EVALKIT_TEST_IGGY_URL``, or a process of the ``iggy-server`` on the PATH.

Tests that use the HTTP API or kill the server need the latter. Without a server, tests are skipped, and the summary reports it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from evalkit.domain.ids import new_id
from evalkit.eventlog.iggy_client import IggyAddress, IggyConnection
from tests.needs import need
from tests.servers import ServerProcess, free_port, killed_with_parent

START_SECONDS = 30
NO_IGGY = "needs an iggy-server on the PATH, or EVALKIT_TEST_IGGY_URL"
"""The reason for skipped tests. With only the URL, tests that start, kill or configure a server are skipped as well."""
USER, PASSWORD = "iggy", "iggy-p@ss/word#1"
URL_PASSWORD = "iggy-p%40ss%2Fword%231"


def iggy_binary() -> str | None:
    return shutil.which("iggy-server")


def iggy_version() -> str:
    """Return the version that the server reports."""
    return VERSIONS[-1] if VERSIONS else "unknown"


VERSIONS: list[str] = []
"""Of the servers that were started."""


class ExternalIggy:
    """The server of ``EVALKIT_TEST_IGGY_URL``, whose user may create streams and topics; only its log is used."""

    def __init__(self, url: str) -> None:
        self._given = urlsplit(url)
        with closing(IggyConnection(IggyAddress.parse(url))) as connection:
            VERSIONS.append(str(connection.call(lambda client: client.get_stats()).iggy_server_version))

    def url(self, stream: str, *, port: int | None = None, partitions: int = 4, user: str = "", password: str = "") -> str:
        if port is not None:
            pytest.skip(NO_IGGY)
        where = self._given.netloc if not user else f"{user}:{password}@{self._given.netloc.rpartition('@')[2]}"
        options = f"&{self._given.query}" if self._given.query else ""
        return f"iggy+tcp://{where}?stream={stream}&partitions={partitions}{options}"

    def stream(self, *, partitions: int = 4, durable: bool = True, **options: str) -> str:
        """Return the name of a stream that evalkit creates with its first append."""
        if not durable or options:
            pytest.skip(NO_IGGY)
        return f"test-{new_id()}"

    def __getattr__(self, name: str) -> Any:
        pytest.skip(NO_IGGY)  # its HTTP API, its process


class Iggy(ServerProcess):
    """An iggy-server on loopback ports; ports and data survive restarts."""

    def __init__(self, folder: Path, *, environment: dict[str, str] | None = None) -> None:
        if iggy_binary() is None:
            pytest.skip(NO_IGGY)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port, self.http_port = free_port(), free_port()
        self.output = folder / "iggy.output"
        self._process: subprocess.Popen[bytes] | None = None
        self._token: str | None = None
        kept = {name: value for name, value in os.environ.items() if not name.startswith("IGGY_")}
        self._environment = {
            **kept,
            "IGGY_SYSTEM_PATH": str(folder / "data"),
            "IGGY_TCP_ADDRESS": f"127.0.0.1:{self.port}",
            "IGGY_HTTP_ADDRESS": f"127.0.0.1:{self.http_port}",
            "IGGY_QUIC_ENABLED": "false",
            "IGGY_WEBSOCKET_ENABLED": "false",
            "IGGY_ROOT_USERNAME": USER,
            "IGGY_ROOT_PASSWORD": PASSWORD,
            "IGGY_SYSTEM_MEMORY_POOL_SIZE": "512 MiB",
            **(environment or {}),
        }

    def url(self, stream: str, *, port: int | None = None, partitions: int = 4, user: str = USER, password: str = URL_PASSWORD) -> str:
        return f"iggy+tcp://{user}:{password}@127.0.0.1:{port or self.port}?stream={stream}&partitions={partitions}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server, and return when it responds."""
        need("iggy")
        assert self._process is None
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                killed_with_parent([str(iggy_binary())]), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=self._environment,
                cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        self._token = None
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1), contextlib.suppress(OSError):
                self.http("GET", "/ping")
                VERSIONS.append(self.http("GET", "/stats")["iggy_server_version"])
                return
            time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"iggy-server did not come up on port {self.port}. Its output was:\n{self.output.read_text()[-4000:]}")

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def http(self, method: str, path: str, body: object = None) -> Any:
        """Call the server's HTTP API as root."""
        if self._token is None and path != "/ping":
            login = {"username": USER, "password": PASSWORD}
            self._token = ""
            self._token = self.http("POST", "/users/login", login)["access_token"]["token"]
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json", **({"authorization": f"Bearer {self._token}"} if self._token else {})},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text[:1] in (b"{", b"[") else text

    def stream(self, *, partitions: int = 4, durable: bool = True, **options: str) -> str:
        """Create a stream with a topic ``events`` through the HTTP API, and return its name.

        The Python client cannot set the durability of a topic on servers before 0.9.0.
        """
        name = f"test-{new_id()}"
        self.http("POST", "/streams", {"name": name})
        durability = {"enforce_fsync": "true", "messages_required_to_save": "1"} if durable else {}
        topic = {
            "name": "events", "partitions_count": partitions, "message_expiry": 0, "compression_algorithm": "none", "max_topic_size": 0,
            "options": {**durability, **options},
        }  # fmt: skip
        self.http("POST", f"/streams/{name}/topics", topic)
        deadline = time.monotonic() + START_SECONDS
        while len(self.http("GET", f"/streams/{name}/topics/events")["partitions"]) < partitions and time.monotonic() < deadline:
            time.sleep(0.01)
        return name
