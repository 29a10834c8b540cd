"""The external programs that tests need, as markers, and a check that no marker is missing.

``make test-fast`` deselects these tests by marker: a missing marker would make it slow, or fail without the program. `mark` adds the markers of
fixtures; other tests have ``@pytest.mark.server`` and so on themselves.
"""

from __future__ import annotations

import pytest

_BY_FIXTURE = {
    "iggy": "iggy", "shared": "iggy", "shared_stream": "iggy",
    "sqld": "server", "small_sqld": "server", "guarded_sqld": "server",
    "chromium": "browser", "lab": "kernel",
}  # fmt: skip

_running: pytest.Item | None = None


def mark(item: pytest.Item) -> None:
    """Add the markers of a test's fixtures."""
    for marker in {_BY_FIXTURE[name] for name in getattr(item, "fixturenames", ()) if name in _BY_FIXTURE}:
        item.add_marker(marker)
    if item.get_closest_marker("iggy"):  # most tests of a shared log also use a shared read model
        item.add_marker("server")


def place(item: pytest.Item) -> int:
    """Return the sort key of a test: notebooks first, because they take longest to start, servers last."""
    markers = {marker.name for marker in item.iter_markers()}
    return 0 if markers & {"browser", "kernel"} else 2 if markers & {"server", "iggy"} else 1


def runs(item: pytest.Item | None) -> None:
    """Set the test that is being set up, run or torn down."""
    global _running  # noqa: PLW0603  (pytest runs one test at a time in a process)
    _running = item


def need(marker: str) -> None:
    """Fail the running test unless it has the marker of the program that it starts."""
    if _running is not None and _running.get_closest_marker(marker) is None:
        pytest.fail(f"{_running.nodeid} needs @pytest.mark.{marker}, so that `make test-fast` deselects it.", pytrace=False)
