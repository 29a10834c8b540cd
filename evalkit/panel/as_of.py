"""The earlier states of the log that a panel can show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from evalkit._util.text import exact_moment
from evalkit.domain.refusals import invalid
from evalkit.panel.texts import parsed_time

__all__ = ["CHOICES", "LATEST", "OTHER", "EarlierState", "earlier_state"]

LATEST, OTHER = "latest", "other"
CHOICES = (
    ("Latest", LATEST),
    ("End of yesterday", "yesterday"),
    ("A week ago", "week"),
    ("A month ago", "month"),
    ("Other…", OTHER),
)
"""Labels and names of the states to choose from."""
_DAYS = {"week": 7, "month": 30}


@dataclass(frozen=True)
class EarlierState:
    """A state of the log before the latest one."""

    choice: str
    """The name in `CHOICES`."""
    value: datetime | str
    """What ``as_of=`` takes: a time, or the text of a pin."""
    text: str
    """The state as text, e.g. ``"2026-11-01 00:00 UTC"``."""


def earlier_state(choice: str, text: str, now: datetime) -> EarlierState:
    """Return the state that a user chose.

    Parameters
    ----------
    choice
        A name in `CHOICES`, except the latest state.
    text
        The time or pin that was typed, for the other state.
    now
        Current time, in UTC.

    Raises
    ------
    InvalidInputError
        If the text is neither a time nor the text of a pin.

    Examples
    --------
    >>> earlier_state("yesterday", "", datetime(2026, 3, 1, 12)).text
    '2026-03-01 00:00 UTC'
    """
    if choice == OTHER:
        typed = text.strip()
        if typed.startswith("pin:"):
            return EarlierState(choice, typed, typed if len(typed) <= 24 else f"{typed[:20]}…")
        if not typed:
            raise invalid("as_of", text, "expected a time, e.g. 2026-01-31 08:00 (UTC), or the text of a pin (pin:…)")
        moment = parsed_time("as_of", typed)
    else:
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        moment = midnight if choice == "yesterday" else now - timedelta(days=_DAYS[choice])
    return EarlierState(choice, moment, f"{exact_moment(moment.replace(microsecond=0) if choice != OTHER else moment)} UTC")
