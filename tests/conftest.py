"""Shared fixtures: servers and browser."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from evalkit import EvalKit, connect
from tests import needs, properties
from tests.chromium import CHROMIUMS, NO_CHROMIUM, running_chromium
from tests.iggy_server import NO_IGGY, VERSIONS, ExternalIggy, Iggy, iggy_binary, iggy_version
from tests.servers import JwtKey, Sqld

if TYPE_CHECKING:
    from nbformat import NotebookNode
    from playwright.sync_api import Browser as Chromium

    from tests.browser import Notebook, OpenNotebook, Tab
    from tests.lab import Lab
    from tests.panel_driver import Show

# A shell ignores SIGINT in background jobs, which all child processes would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report the Iggy server and the browsers in use, and the number of tests skipped without them."""
    _summarize(terminalreporter, "iggy", "the shared event log", NO_IGGY, lambda: f"on Apache Iggy {iggy_version()}")
    _summarize(terminalreporter, "browser", "the notebook parts", NO_CHROMIUM, lambda: f"in {_browsers()}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the browsers and servers of this worker to the main process."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["chromiums"], output["iggies"] = CHROMIUMS, VERSIONS


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Receive the browsers and servers of a worker."""
    output = getattr(node, "workeroutput", {})
    CHROMIUMS.extend(output.get("chromiums", []))
    VERSIONS.extend(output.get("iggies", []))


def _skipped(terminalreporter: pytest.TerminalReporter, reason: str) -> int:
    skipped = terminalreporter.stats.get("skipped", [])
    return sum(isinstance(test.longrepr, tuple) and reason in test.longrepr[2] for test in skipped)


def _ran(terminalreporter: pytest.TerminalReporter, marker: str) -> int:
    return sum(
        marker in getattr(test, "keywords", {}) for outcome in ("passed", "failed") for test in terminalreporter.stats.get(outcome, [])
    )


def _browsers() -> str:
    return " and ".join(sorted(set(CHROMIUMS))) or "no browser"


def _summarize(terminalreporter: pytest.TerminalReporter, marker: str, subject: str, reason: str, where: Callable[[], str]) -> None:
    skipped, ran = _skipped(terminalreporter, reason), _ran(terminalreporter, marker)
    if skipped:
        terminalreporter.write_line(f"Skipped {skipped} tests of {subject}: each {reason}.")
    if ran:
        terminalreporter.write_line(f"Ran {ran} tests {where()}; {skipped} skipped.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests by the programs that their fixtures need (-m iggy, -m browser, -m server).

    Tests that share a server are sorted next to each other, so that few workers start it. Long tests are deselected in short runs.
    """
    for item in items:
        needs.mark(item)
    if not properties.LONG:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
        items[:] = [item for item in items if not item.get_closest_marker("long")]
    items.sort(key=needs.place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Record the running test for `needs.need`."""
    needs.runs(item)
    try:
        return (yield)
    finally:
        needs.runs(None)


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test in an empty folder without evalkit settings in the environment."""
    for name in [name for name in os.environ if name.startswith("EVALKIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[EvalKit]:
    """A kit with an empty home."""
    with connect(tmp_path / "home") as kit:
        yield kit


@pytest.fixture
def show(kit: EvalKit) -> Iterator[Show]:
    """Opens panels of the kit, which are closed after the test."""
    from tests.panel_driver import opened_panels

    with opened_panels(kit) as show:
        yield show


@pytest.fixture(scope="session")
def sqld(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sqld]:
    with Sqld(tmp_path_factory.mktemp("sqld")) as server:
        yield server


@pytest.fixture(scope="session")
def small_sqld(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sqld]:
    """A server with a response limit of 50 KB."""
    with Sqld(tmp_path_factory.mktemp("small"), max_response_size="50KB") as server:
        yield server


@pytest.fixture(scope="session")
def jwt_key() -> JwtKey:
    return JwtKey()


@pytest.fixture(scope="session")
def guarded_sqld(tmp_path_factory: pytest.TempPathFactory, jwt_key: JwtKey) -> Iterator[Sqld]:
    """A server that requires a token."""
    with Sqld(tmp_path_factory.mktemp("guarded"), auth_key=jwt_key) as server:
        yield server


@pytest.fixture(scope="session")
def iggy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iggy | ExternalIggy]:
    if url := os.environ.get("EVALKIT_TEST_IGGY_URL"):
        yield ExternalIggy(url)
        return
    if iggy_binary() is None:
        pytest.skip(NO_IGGY)
    with Iggy(tmp_path_factory.mktemp("iggy")) as server:
        yield server


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    """A browser for one module: Playwright's event loop occupies this thread, and other tests use asyncio."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    from tests.lab import Lab

    with Lab(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture
def tab(chromium: Chromium) -> Iterator[Tab]:
    """A page that fails the test if it contacted another host or showed a dialog."""
    from tests.browser import Tab

    opened = Tab(chromium)
    try:
        yield opened
        opened.check()
    finally:
        opened.close()


@pytest.fixture
def notebook(tab: Tab, lab: Lab, request: pytest.FixtureRequest) -> Iterator[OpenNotebook]:
    """Opens a notebook in the test's page: from cells, a notebook object, or a file in the server's folder."""
    from tests.browser import Notebook

    paths = []

    def open_notebook(source: list[str] | NotebookNode | str, *, kernel: bool = True) -> Notebook:
        path = source if isinstance(source, str) else lab.write(f"{request.node.name}.ipynb", source)
        paths.append(path)
        return Notebook(tab, lab, path).open(kernel=kernel)

    yield open_notebook
    for path in paths:
        lab.end_kernels(path)
