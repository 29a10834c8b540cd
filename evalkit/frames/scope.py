"""Which version of which checkpoints some data contains."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from evalkit._util.text import plural

__all__ = ["Scope"]

_SHA = re.compile(r"(?<=@)([0-9a-f]{8})[0-9a-f]{56}")


@dataclass(frozen=True)
class Scope:
    """Which version of which checkpoints some data contains, as passed to ``kit.data``.

    Attributes
    ----------
    as_of
        The state of the log: the text of a pin, or a time in RFC 3339; None for the latest state.
    values
        ``"latest"``, or ``"first"`` for values as first recorded.
    excluded
        The number of checkpoints that were excluded with ``exclude=``.
    """

    as_of: str | None = None
    values: Literal["latest", "first"] = "latest"
    excluded: int = 0

    def sentences(self, *, exact: bool = False) -> list[str]:
        """Return what differs from all checkpoints in their latest version.

        Parameters
        ----------
        exact
            Whether a pin is complete; otherwise it is shortened for subtitles.

        Examples
        --------
        >>> Scope("2026-11-20T00:00:00.000000Z", "first", 2).sentences()
        ['As of 2026-11-20 00:00 UTC.', 'Values as first recorded.', '2 checkpoints excluded.']
        """
        sentences = []
        if self.as_of is not None:
            sentences.append(f"As of {self.as_of if exact and self.as_of.startswith('pin:') else _shortened(self.as_of)}.")
        if self.values == "first":
            sentences.append("Values as first recorded.")
        if self.excluded:
            sentences.append(f"{plural(self.excluded, 'checkpoint')} excluded.")
        return sentences


def _shortened(as_of: str) -> str:
    if as_of.startswith("pin:"):
        return _SHA.sub(r"\1…", as_of)
    date, _, time = as_of.removesuffix("Z").partition("T")
    return f"{date} {time.removesuffix('.000000').removesuffix(':00')} UTC"
