"""The test servers exit with the process that started them."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from evalkit.runtime.connections import open_database
from tests.lab import clean_environment
from tests.servers import Sqld

STARTS_A_SERVER = """
import sys
from pathlib import Path
from tests.servers import Sqld
server = Sqld(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.server
def test_server_exits_with_killed_test_run(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTS_A_SERVER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment(), text=True) as run:
        assert run.stdout is not None
        server = psutil.Process(int(run.stdout.readline()))
        run.kill()
    deadline = time.monotonic() + 10
    while (
        server.is_running() and server.status() != psutil.STATUS_ZOMBIE
    ) and time.monotonic() < deadline:  # there may be no parent to reap it
        time.sleep(0.01)
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE


@pytest.mark.server
def test_idle_server_keeps_running(tmp_path: Path) -> None:
    """No option limits its idle time."""
    with Sqld(tmp_path) as server:
        assert not [word for word in psutil.Process(server.pid).cmdline() if word.startswith("-") and "idle" in word]


@pytest.mark.server
def test_taken_port_is_replaced(tmp_path: Path) -> None:
    server = Sqld(tmp_path)
    with socket.create_server(("127.0.0.1", server.port)), server:
        assert open_database(server.url).execute("SELECT 1") == [(1,)]
