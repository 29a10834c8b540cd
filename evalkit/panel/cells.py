"""Which cell of a notebook made what, so that running it again replaces what it made before."""

from __future__ import annotations

import sys
import weakref
from typing import Any, Protocol

__all__ = ["replace_in_cell"]


class _Closes(Protocol):
    def close(self) -> None: ...


_made: dict[str, tuple[str, weakref.WeakSet[_Closes]]] = {}


def replace_in_cell(new: _Closes) -> None:
    """Close what an earlier run of the present cell made; outside a notebook nothing happens.

    A page that was reloaded or closed takes its views with it without a word, and what they showed would be kept up to date for ever.
    """
    cell, run = _present_cell()
    if cell is None:
        return
    before, made = _made.setdefault(cell, (run, weakref.WeakSet()))
    if before != run:
        for old in list(made):
            old.close()
        made = weakref.WeakSet()
    made.add(new)
    _made[cell] = run, made


def _present_cell() -> tuple[str | None, str]:
    """Give the id of the cell that runs, and of this run of it; None where the front end names no cell."""
    get_ipython: Any = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell: Any = get_ipython() if get_ipython is not None else None
    parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
    cell = parent.get("metadata", {}).get("cellId")
    return (cell if isinstance(cell, str) else None), str(parent.get("header", {}).get("msg_id"))
