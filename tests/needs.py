"""What a test needs beside this process: its markers say so, and what is needed looks whether they do.

``make test-fast`` leaves these tests out by their markers, so a marker that is missing would make the inner loop slow, or break it on a machine
without the program. Tests whose fixtures name the need are marked by `mark`; others carry ``@pytest.mark.server`` and so on themselves.
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
    """Add the markers of what a test's fixtures need."""
    for marker in {_BY_FIXTURE[name] for name in getattr(item, "fixturenames", ()) if name in _BY_FIXTURE}:
        item.add_marker(marker)
    if item.get_closest_marker("iggy"):  # a shared log is mostly tried with a shared read model
        item.add_marker("server")


def place(item: pytest.Item) -> int:
    """Return the place of a test among those that need other things: notebooks first, since they take longest to start, then servers last."""
    markers = {marker.name for marker in item.iter_markers()}
    return 0 if markers & {"browser", "kernel"} else 2 if markers & {"server", "iggy"} else 1


def runs(item: pytest.Item | None) -> None:
    """Note which test is set up, run or torn down from now on."""
    global _running  # noqa: PLW0603  (pytest runs one test at a time in a process)
    _running = item


def need(marker: str) -> None:
    """Fail the running test unless it has the marker of what it is about to start."""
    if _running is not None and _running.get_closest_marker(marker) is None:
        pytest.fail(f"{_running.nodeid} needs the marker @pytest.mark.{marker}, by which `make test-fast` leaves it out.", pytrace=False)
