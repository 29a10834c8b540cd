"""Wrong configuration: an error of evalkit within ten seconds, without a secret, from Python and the command line."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evalkit import EvalkitError, connect
from evalkit.cli.app import app
from tests.iggy_server import Iggy
from tests.properties import LONG
from tests.servers import Garbage, JwtKey, Silent, Sqld, free_port

SECONDS = 10
SECRET = "s3cr3t-pass"


@dataclass
class Wrong:
    """A wrong configuration, and what its error must mention."""

    mentions: str
    log_url: str | None = None
    database_url: str | None = None
    token: str | None = None
    reads: bool = False
    """Whether reading works."""


@pytest.fixture
def world() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def database_urls(port: int) -> list[str]:
    return [f"http://127.0.0.1:{port}", f"turso+http://127.0.0.1:{port}"]


def in_a_process(home: Path, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-c", "from evalkit.cli.app import main; main()", "--home", str(home), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def in_this_process(home: Path, *words: str) -> tuple[int, str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the command line prints them
        done = CliRunner().invoke(app, ["--home", str(home), *words], prog_name="evalkit", catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


def assert_clear_error(
    wrong: Wrong, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, processes: bool = True
) -> None:
    """Check that a command, a query, doctor and consume raise or print the expected error in time, without a secret.

    Doctor and consume run in separate processes, which takes seconds, or in this one.
    """
    caplog.set_level(logging.DEBUG)
    for name, value in (("LOG_URL", wrong.log_url), ("DATABASE_URL", wrong.database_url), ("DATABASE_AUTH_TOKEN", wrong.token)):
        if value is not None:
            monkeypatch.setenv(f"EVALKIT_{name}", value)
    secrets = [SECRET, *([wrong.token] if wrong.token else [])]
    shown: list[str] = []

    def timed(what: str, call: Callable[[], object]) -> None:
        began = time.monotonic()
        call()
        assert time.monotonic() - began < SECONDS, what

    def command() -> None:
        with pytest.raises(EvalkitError) as caught:
            connect(home).create_study("study")
        assert wrong.mentions in str(caught.value)
        shown.extend(["".join(traceback.format_exception(caught.value)), repr(vars(caught.value))])
        names = [type(error).__module__ for error in (caught.value, caught.value.__cause__) if error is not None]
        assert names == ["evalkit.errors"]

    def query() -> None:
        kit = connect(home)
        if wrong.reads:
            assert kit.studies().height == 1
        else:
            with pytest.raises(EvalkitError) as caught:
                kit.studies()
            assert wrong.mentions in str(caught.value)
            shown.append("".join(traceback.format_exception(caught.value)))

    def run(*words: str) -> None:
        code, output, errors = in_a_process(home, *words) if processes else in_this_process(home, *words)
        shown.extend([output, errors])
        assert code == 1, errors
        if words[0] == "--json":
            assert any(wrong.mentions in problem for problem in json.loads(output)["problems"]), output
        else:
            assert wrong.mentions in errors
        assert "Traceback" not in errors

    with pytest.warns() if wrong.reads else ExitStack():
        timed("a query", query)
    timed("a command", command)
    timed("doctor", lambda: run("--json", "doctor"))
    timed("consume", lambda: run("consume"))
    assert not any(secret in text for secret in secrets for text in [*shown, caplog.text])


TRIED_IN_PROCESSES = ("wrong port", "never answers")
"""In short runs, only these servers are tested with commands in separate processes."""

# --- the read model ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("protocol", range(2), ids=["http", "turso"])
@pytest.mark.parametrize("case", ["no token", "malformed token", "expired token", "token of another key"])
def test_refused_token_raises_database_unavailable(
    guarded_sqld: Sqld,
    jwt_key: JwtKey,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    case: str,
    protocol: int,
) -> None:
    token, mentions = {
        "no token": (None, "EVALKIT_DATABASE_AUTH_TOKEN"),
        "malformed token": (SECRET, "token"),
        "expired token": (jwt_key.token(expired=True), "expired"),
        "token of another key": (JwtKey().token(), "token"),
    }[case]
    wrong = Wrong(mentions, database_url=database_urls(guarded_sqld.port)[protocol], token=token)
    assert_clear_error(wrong, tmp_path / "home", monkeypatch, caplog, processes=protocol == 0 and (LONG or case == "no token"))


@pytest.mark.slow
@pytest.mark.parametrize("protocol", range(2), ids=["http", "turso"])
def test_read_only_token_reads_but_refuses_commands(
    guarded_sqld: Sqld, jwt_key: JwtKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, protocol: int
) -> None:
    """Reading works; a command raises before anything is appended."""
    from pydantic import SecretStr

    from evalkit.runtime.connections import open_database
    from tests.test_database_servers import emptied

    url = database_urls(guarded_sqld.port)[protocol]
    emptied(open_database(url, token=SecretStr(jwt_key.token())))
    monkeypatch.setenv("EVALKIT_DATABASE_AUTH_TOKEN", jwt_key.token())
    with connect(tmp_path / "home", database_url=url) as kit:
        kit.create_study("study")
        kit.engine.log.append([])
    wrong = Wrong("read-only", database_url=url, token=jwt_key.token("ro"), reads=True)
    assert_clear_error(wrong, tmp_path / "home", monkeypatch, caplog, processes=protocol == 0)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", range(2), ids=["http", "turso"])
@pytest.mark.parametrize("case", ["wrong host", "wrong port", "never answers", "answers garbage"])
def test_broken_database_server_is_named_in_time(
    world: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, case: str, protocol: int
) -> None:
    """The error names the server."""
    if case == "never answers":
        if protocol > 0:
            monkeypatch.setattr(
                "evalkit.readmodel.database.server_database._FIRST_SECONDS", 0.5
            )  # the processes of the first protocol wait their four seconds
        port = world.enter_context(Silent()).port
    elif case == "answers garbage":
        port = world.enter_context(Garbage()).port
    else:
        port = free_port()
    url = database_urls(port)[protocol]
    if case == "wrong host":
        url = url.replace("127.0.0.1", "no-such-host.invalid")
    wrong = Wrong(url.removeprefix("turso+"), database_url=url)
    assert_clear_error(wrong, tmp_path / "home", monkeypatch, caplog, processes=protocol == 0 and (LONG or case in TRIED_IN_PROCESSES))


# --- the log -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("case", ["wrong host", "wrong port", "never answers", "answers garbage"])
def test_broken_log_server_is_named_in_time(
    world: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    """The error names the server."""
    if case == "never answers":
        port = world.enter_context(Silent()).port
    elif case == "answers garbage":
        port = world.enter_context(Garbage()).port
    else:
        port = free_port()
    address = f"{'no-such-host.invalid' if case == 'wrong host' else '127.0.0.1'}:{port}"
    wrong = Wrong(address, log_url=f"iggy+tcp://evalkit:{SECRET}@{address}")
    assert_clear_error(wrong, tmp_path / "home", monkeypatch, caplog, processes=LONG or case in TRIED_IN_PROCESSES)


def test_refused_log_user_is_named(iggy: Iggy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    wrong = Wrong("password", log_url=iggy.url("evals", password=SECRET))
    assert_clear_error(wrong, tmp_path / "home", monkeypatch, caplog)


def test_missing_stream_permission_is_named(
    iggy: Iggy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The error names the stream."""
    stream = iggy.stream()
    name = f"nobody-{free_port()}"
    iggy.http("POST", "/users", {"username": name, "password": SECRET, "status": "active", "permissions": None})
    wrong = Wrong(stream, log_url=iggy.url(stream, user=name, password=SECRET))
    assert_clear_error(wrong, tmp_path / "home", monkeypatch, caplog)


@pytest.mark.slow
def test_a_canceled_request_prints_no_traceback() -> None:
    """The server does not respond, and the interpreter exits."""
    code = """
import sys
from contextlib import suppress
from evalkit._util import background_loop as background
from evalkit.readmodel.database.libsql_transport import LibsqlTransport
transport = LibsqlTransport(sys.argv[1], None)
with suppress(TimeoutError):
    background.run(transport._send([("SELECT 1", ())], 60), 1)
"""
    with Silent() as server:
        done = subprocess.run(
            [sys.executable, "-c", code, f"http://127.0.0.1:{server.port}"], capture_output=True, text=True, timeout=60, check=False
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
