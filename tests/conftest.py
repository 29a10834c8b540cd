"""Fixtures that several test files share: the real servers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.iggy_server import NO_IGGY, GivenIggy, Iggy, iggy_binary, iggy_version
from tests.servers import JwtKey, Sqld

# Whoever starts the tests in the background of a shell has SIGINT ignored, and so would every process that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in the last lines which Iggy server the tests met, and how many did not run for want of one."""
    left = [one for one in terminalreporter.stats.get("skipped", []) if isinstance(one.longrepr, tuple) and NO_IGGY in one.longrepr[2]]
    ran = [
        one for outcome in ("passed", "failed") for one in terminalreporter.stats.get(outcome, []) if "iggy" in getattr(one, "keywords", {})
    ]
    if left:
        terminalreporter.write_line(f"{len(left)} tests of the shared event log did not run: each {NO_IGGY}.")
    if ran:
        terminalreporter.write_line(
            f"{len(ran)} tests ran on a real Apache Iggy server, version {iggy_version()}; {len(left) or 'none'} skipped."
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that needs an Iggy server, so that it can be counted and chosen: -m iggy."""
    for item in items:
        if {"iggy", "shared", "shared_stream"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("iggy")


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
def iggy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iggy | GivenIggy]:
    if url := os.environ.get("EVALKIT_TEST_IGGY_URL"):
        yield GivenIggy(url)
        return
    if iggy_binary() is None:
        pytest.skip(NO_IGGY)
    with Iggy(tmp_path_factory.mktemp("iggy")) as server:
        yield server
