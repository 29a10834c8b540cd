"""The servers that tests run against live exactly as long as the process that started them."""

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
def test_a_server_does_not_outlive_a_killed_test_run(tmp_path: Path) -> None:
    """Whoever is killed cannot stop what it started, so the kernel does."""
    command = [sys.executable, "-c", STARTS_A_SERVER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment(), text=True) as run:
        assert run.stdout is not None
        server = psutil.Process(int(run.stdout.readline()))
        run.kill()
    deadline = time.monotonic() + 10
    while (
        server.is_running() and server.status() != psutil.STATUS_ZOMBIE
    ) and time.monotonic() < deadline:  # nobody may be there to reap it
        time.sleep(0.01)
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE


@pytest.mark.server
def test_a_server_that_nobody_asks_goes_on(tmp_path: Path) -> None:
    """No option limits how long a server may be idle: with such a limit it was gone when a test asked it again a quarter of an hour later."""
    with Sqld(tmp_path) as server:
        assert not [word for word in psutil.Process(server.pid).cmdline() if "idle" in word]


@pytest.mark.server
def test_a_port_that_was_taken_in_the_meantime_is_no_obstacle(tmp_path: Path) -> None:
    """Between the choice of a port and the start of the server anybody may take it."""
    server = Sqld(tmp_path)
    with socket.create_server(("127.0.0.1", server.port)), server:
        assert open_database(server.url).execute("SELECT 1") == [(1,)]
