"""Fixtures that several test files share: the real servers."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.iggy_server import Iggy, iggy_binary
from tests.servers import JwtKey, Sqld

# Whoever starts the tests in the background of a shell has SIGINT ignored, and so would every process that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

NO_IGGY = "needs an iggy-server on the PATH, or EVALKIT_TEST_IGGY_URL"


@pytest.fixture(scope="session")
def sqld(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sqld]:
    with Sqld(tmp_path_factory.mktemp("sqld")) as server:
        yield server


@pytest.fixture(scope="session")
def small_sqld(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sqld]:
    """One that sends no more than 50,000 bytes at once."""
    with Sqld(tmp_path_factory.mktemp("small"), max_response_size="50KB") as server:
        yield server


@pytest.fixture(scope="session")
def jwt_key() -> JwtKey:
    return JwtKey()


@pytest.fixture(scope="session")
def guarded_sqld(tmp_path_factory: pytest.TempPathFactory, jwt_key: JwtKey) -> Iterator[Sqld]:
    """One that asks for a token."""
    with Sqld(tmp_path_factory.mktemp("guarded"), auth_key=jwt_key) as server:
        yield server


@pytest.fixture(scope="session")
def iggy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iggy]:
    if iggy_binary() is None:
        pytest.skip(NO_IGGY)
    with Iggy(tmp_path_factory.mktemp("iggy")) as server:
        yield server
