"""The browser of the tests: Debian's Chromium, or another one on the PATH, controlled by Playwright.

Its headless shell is preferred: the same engine without window management needs a third less processor time.
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
    "--no-sandbox",  # the sandbox does not start for root and in most containers; the pages are trusted
    "--disable-dev-shm-usage",
    # A request handler of Playwright would disable the cache and slow down JupyterLab's hundreds of requests.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE [::1]",
)
NO_CHROMIUM = "needs a Chromium on the PATH that Playwright can start"
"""Why a test was skipped. In CI on Linux the test fails instead, because the browser is installed there."""
CHROMIUMS: list[str] = []
"""Names and versions of the started browsers."""


def chromium_binary() -> str | None:
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for path in map(shutil.which, names) if path), None)


def _skip(why: str) -> NoReturn:
    if os.environ.get("CI", "").lower() in ("1", "true") and sys.platform == "linux":
        pytest.fail(f"In CI, a test that {NO_CHROMIUM} must run: {why}", pytrace=False)
    pytest.skip(NO_CHROMIUM)


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Start the browser. Playwright's event loop occupies this thread until the end, so nothing else can use asyncio in it."""
    from playwright.sync_api import Error, sync_playwright

    need("browser")
    binary = chromium_binary()
    if binary is None:
        _skip("no Chromium was found")
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=binary, args=ARGUMENTS)
        except Error as error:
            _skip(str(error))
        CHROMIUMS.append(f"Chromium {browser.version}")
        try:
            yield browser
        finally:
            browser.close()
