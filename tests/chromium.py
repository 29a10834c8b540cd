"""The real browser of the tests: Debian's Chromium, or another on the PATH, driven by Playwright.

Its headless shell is preferred: the same engine without the parts of a window that nobody sees, for two thirds of the processor time.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import pytest

from tests.needs import need

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ARGUMENTS = (
    "--no-sandbox",  # does not start for root, nor in most containers, and the pages are our own
    "--disable-dev-shm-usage",
    # Refused here and not by a handler of Playwright, which would turn off the cache and see every request of JupyterLab's hundreds.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE [::1]",
)
NO_CHROMIUM = "needs a Chromium on the PATH that Playwright can start"
"""Why a test was skipped. In CI on Linux it fails instead: there the browser is installed."""
CHROMIUMS: list[str] = []
"""Name and version of the browsers that were started."""


def chromium_binary() -> str | None:
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for path in map(shutil.which, names) if path), None)


def _without(why: str) -> NoReturn:
    if os.environ.get("CI", "").lower() in ("1", "true") and sys.platform == "linux":
        pytest.fail(f"In CI, a test that {NO_CHROMIUM} must run: {why}", pytrace=False)
    pytest.skip(NO_CHROMIUM)


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Start the browser. Playwright's event loop stays in this thread until the end: nothing else may use asyncio here meanwhile."""
    from playwright.sync_api import Error, sync_playwright

    need("browser")
    binary = chromium_binary()
    if binary is None:
        _without("there is none")
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=binary, args=ARGUMENTS)
        except Error as error:
            _without(str(error))
        CHROMIUMS.append(f"Chromium {browser.version}")
        try:
            yield browser
        finally:
            browser.close()
