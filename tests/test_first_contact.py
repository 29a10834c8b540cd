"""What a user meets first when something is set up wrongly: an error in words within ten seconds, without a secret, from every way in."""

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
    """One way to be set up wrongly, and what the error must say of it."""

    says: str
    log_url: str | None = None
    database_url: str | None = None
    token: str | None = None
    reads: bool = False
    """Whether reading works all the same."""


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


def assert_told(
    wrong: Wrong, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, processes: bool = True
) -> None:
    """Check a command, a query, doctor and consume: each raises or prints the expected error in time, without a secret.

    Doctor and consume run as processes of their own, which costs seconds, or in this one.
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
        assert wrong.says in str(caught.value)
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
            assert wrong.says in str(caught.value)
            shown.append("".join(traceback.format_exception(caught.value)))

    def run(*words: str) -> None:
        code, output, errors = in_a_process(home, *words) if processes else in_this_process(home, *words)
        shown.extend([output, errors])
        assert code == 1, errors
        if words[0] == "--json":
            assert any(wrong.says in problem for problem in json.loads(output)["problems"]), output
        else:
            assert wrong.says in errors
        assert "Traceback" not in errors

    with pytest.warns() if wrong.reads else ExitStack():
        timed("a query", query)
    timed("a command", command)
    timed("doctor", lambda: run("--json", "doctor"))
    timed("consume", lambda: run("consume"))
    assert not any(secret in text for secret in secrets for text in [*shown, caplog.text])


TRIED_IN_PROCESSES = ("wrong port", "never answers")
"""In short runs commands of their own processes meet these servers only."""

# --- the read model ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("protocol", range(2), ids=["http", "turso"])
@pytest.mark.parametrize("case", ["no token", "malformed token", "expired token", "token of another key"])
def test_a_token_that_is_refused(
    guarded_sqld: Sqld,
    jwt_key: JwtKey,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    case: str,
    protocol: int,
) -> None:
    """The error says that it is the token, what is wrong with it, and where a valid one goes."""
    token, says = {
        "no token": (None, "requires a token"),
        "malformed token": (SECRET, "rejected the token"),
        "expired token": (jwt_key.token(expired=True), "it has expired"),
        "token of another key": (JwtKey().token(), "rejected the token"),
    }[case]
    wrong = Wrong(says, database_url=database_urls(guarded_sqld.port)[protocol], token=token)
    assert_told(wrong, tmp_path / "home", monkeypatch, caplog, processes=protocol == 0 and (LONG or case == "no token"))


@pytest.mark.slow
@pytest.mark.parametrize("protocol", range(2), ids=["http", "turso"])
def test_a_token_that_may_only_read(
    guarded_sqld: Sqld, jwt_key: JwtKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, protocol: int
) -> None:
    """Reading works; a command is refused before anything is appended."""
    from pydantic import SecretStr

    from evalkit.runtime.connections import open_database
    from tests.test_database_servers import emptied

    url = database_urls(guarded_sqld.port)[protocol]
    emptied(open_database(url, token=SecretStr(jwt_key.token())))
    monkeypatch.setenv("EVALKIT_DATABASE_AUTH_TOKEN", jwt_key.token())
    with connect(tmp_path / "home", database_url=url) as kit:
        kit.create_study("study")
        kit.engine.log.append([])
    wrong = Wrong("may only read", database_url=url, token=jwt_key.token("ro"), reads=True)
    assert_told(wrong, tmp_path / "home", monkeypatch, caplog, processes=protocol == 0)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", range(2), ids=["http", "turso"])
@pytest.mark.parametrize("case", ["wrong host", "wrong port", "never answers", "answers garbage"])
def test_a_read_model_that_is_not_there(
    world: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, case: str, protocol: int
) -> None:
    """The error names the server, and says whether it is silent or no libSQL server."""
    if case == "never answers":
        if protocol > 0:
            monkeypatch.setattr(
                "evalkit.readmodel.database.server_database._FIRST_SECONDS", 0.5
            )  # the processes of the first protocol wait their four seconds
        wrong = Wrong("did not answer within", database_url=database_urls(world.enter_context(Silent()).port)[protocol])
    elif case == "answers garbage":
        wrong = Wrong("is not a libSQL server", database_url=database_urls(world.enter_context(Garbage()).port)[protocol])
    else:
        url = database_urls(free_port())[protocol]
        wrong = Wrong("cannot be reached", database_url=url if case == "wrong port" else url.replace("127.0.0.1", "no-such-host.invalid"))
    assert_told(wrong, tmp_path / "home", monkeypatch, caplog, processes=protocol == 0 and (LONG or case in TRIED_IN_PROCESSES))


# --- the log -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("case", ["wrong host", "wrong port", "never answers", "answers garbage"])
def test_a_log_that_is_not_there(
    world: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    """The error names the server, and says what to look at."""
    url = f"iggy+tcp://evalkit:{SECRET}@127.0.0.1:%d"
    if case == "never answers":
        wrong = Wrong("did not answer within", log_url=url % world.enter_context(Silent()).port)
    elif case == "answers garbage":
        wrong = Wrong("is not an Iggy 0.9 server", log_url=url % world.enter_context(Garbage()).port)
    else:
        url %= free_port()
        wrong = Wrong("cannot be reached", log_url=url if case == "wrong port" else url.replace("127.0.0.1", "no-such-host.invalid"))
    assert_told(wrong, tmp_path / "home", monkeypatch, caplog, processes=LONG or case in TRIED_IN_PROCESSES)


def test_a_log_that_refuses_the_user(iggy: Iggy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A wrong password is told as such."""
    wrong = Wrong("rejected the user name or the password", log_url=iggy.url("evals", password=SECRET))
    assert_told(wrong, tmp_path / "home", monkeypatch, caplog)


def test_a_stream_that_the_user_may_not_use(
    iggy: Iggy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A user without permission for the stream is told which one it needs."""
    stream = iggy.stream()
    name = f"nobody-{free_port()}"
    iggy.http("POST", "/users", {"username": name, "password": SECRET, "status": "active", "permissions": None})
    wrong = Wrong("denied access", log_url=iggy.url(stream, user=name, password=SECRET))
    assert_told(wrong, tmp_path / "home", monkeypatch, caplog)


@pytest.mark.slow
def test_a_request_that_is_cancelled_prints_no_traceback() -> None:
    """A request whose caller was cancelled while the server was silent ends with the interpreter, and prints nothing."""
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
