"""Fixtures that several test files share: the real servers, and the real browser."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests import needs, properties
from tests.chromium import CHROMIUMS, NO_CHROMIUM, running_chromium
from tests.iggy_server import NO_IGGY, VERSIONS, GivenIggy, Iggy, iggy_binary, iggy_version
from tests.servers import JwtKey, Sqld

if TYPE_CHECKING:
    from nbformat import NotebookNode
    from playwright.sync_api import Browser as Chromium

    from tests.browser import Notebook, OpenNotebook, Tab
    from tests.lab import Lab

# Whoever starts the tests in the background of a shell has SIGINT ignored, and so would every process that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in the last lines which Iggy server and which browser the tests met, and how many did not run for want of one."""
    _say(terminalreporter, "iggy", "the shared event log", NO_IGGY, lambda: f"on a real Apache Iggy server, version {iggy_version()}")
    _say(terminalreporter, "browser", "the notebook parts", NO_CHROMIUM, lambda: f"in a real browser, {_browsers()}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let the process that reports know which browsers and servers this one started, where tests run in several."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["chromiums"], output["iggies"] = CHROMIUMS, VERSIONS


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a process that ran tests lets know."""
    output = getattr(node, "workeroutput", {})
    CHROMIUMS.extend(output.get("chromiums", []))
    VERSIONS.extend(output.get("iggies", []))


def _skipped(terminalreporter: pytest.TerminalReporter, why: str) -> int:
    skipped = terminalreporter.stats.get("skipped", [])
    return sum(isinstance(one.longrepr, tuple) and why in one.longrepr[2] for one in skipped)


def _ran(terminalreporter: pytest.TerminalReporter, marker: str) -> int:
    return sum(
        marker in getattr(one, "keywords", {}) for outcome in ("passed", "failed") for one in terminalreporter.stats.get(outcome, [])
    )


def _browsers() -> str:
    return " and ".join(sorted(set(CHROMIUMS))) or "none that started"


def _say(terminalreporter: pytest.TerminalReporter, marker: str, about: str, why: str, where: Callable[[], str]) -> None:
    left, ran = _skipped(terminalreporter, why), _ran(terminalreporter, marker)
    if left:
        terminalreporter.write_line(f"{left} tests of {about} did not run: each {why}.")
    if ran:
        terminalreporter.write_line(f"{ran} tests ran {where()}; {left or 'none'} skipped.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark every test with what its fixtures need, so that it can be counted and chosen: -m iggy, -m browser, -m server.

    Tests that share a server are placed side by side, so that of several workers mostly one starts it: each begins with a part of its own.
    Long ones are left out of short runs.
    """
    for item in items:
        needs.mark(item)
    if not properties.LONG:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
        items[:] = [item for item in items if not item.get_closest_marker("long")]
    items.sort(key=needs.place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let what tests need see whether the running one has its marker."""
    needs.runs(item)
    try:
        return (yield)
    finally:
        needs.runs(None)


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


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    """For one module: while it runs, Playwright's event loop occupies this thread, and tests of others use asyncio here."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    from tests.lab import Lab

    with Lab(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture
def tab(chromium: Chromium) -> Iterator[Tab]:
    """A page that must not have asked another host for anything, nor have shown a dialog."""
    from tests.browser import Tab

    opened = Tab(chromium)
    try:
        yield opened
        opened.check()
    finally:
        opened.close()


@pytest.fixture
def notebook(tab: Tab, lab: Lab, request: pytest.FixtureRequest) -> Iterator[OpenNotebook]:
    """Opens a notebook of these cells, a notebook, or one in the server's folder, in the test's page."""
    from tests.browser import Notebook

    paths = []

    def open_notebook(what: list[str] | NotebookNode | str, *, kernel: bool = True) -> Notebook:
        path = what if isinstance(what, str) else lab.write(f"{request.node.name}.ipynb", what)
        paths.append(path)
        return Notebook(tab, lab, path).open(kernel=kernel)

    yield open_notebook
    for path in paths:
        lab.end_kernels(path)
