"""Hypothesis profiles, selected with ``pytest --hypothesis-profile NAME``.

``fast`` for the inner loop, ``ci`` (the default) for every commit, ``nightly`` for long runs. The first two are reproducible; ``nightly``
draws new examples, and prints how to reproduce a failure. ``EVALKIT_TESTS=long`` selects the long form of other tests.
"""

from __future__ import annotations

import os
from typing import TypeVar

from hypothesis import HealthCheck, settings

__all__ = ["LONG", "enough_examples", "examples", "in_long_form"]

T = TypeVar("T")

_PERCENT = {"fast": 6, "ci": 25, "nightly": 100}
_LEAST = 5

for _name, _percent in _PERCENT.items():
    settings.register_profile(
        _name,
        max_examples=_percent,
        derandomize=_name != "nightly",
        print_blob=_name == "nightly",
        deadline=None,  # shared machines are slow at times
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile("ci")


def examples(most: int) -> int:
    """Return the number of examples in the current profile for a property with `most` in the nightly one."""
    return max(_LEAST, most * settings().max_examples // 100)


def enough_examples() -> bool:
    """Return whether the profile has enough examples to see every kind of outcome."""
    return settings().max_examples >= _PERCENT["ci"]


LONG = os.environ.get("EVALKIT_TESTS") == "long"
"""Whether tests have their long form: more kills, larger data, more simulated series (``make faults``)."""


def in_long_form(long: T, short: T) -> T:
    """Return `long` in long runs, otherwise `short`."""
    return long if LONG else short
