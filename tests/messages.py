"""Texts of errors and warnings in tests. Expected texts are snapshots: `make messages` renews them after a rewording."""

from __future__ import annotations

import re
import tempfile
from typing import Any

__all__ = ["says"]

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_FOLDER = re.compile(re.escape(tempfile.gettempdir()) + r"/pytest-of-[^/]+/pytest-\d+/(?:popen-gw\d+/)?[^/ ',;]+")
_NOW = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3,6}Z")


def says(raised: Any, **values: object) -> str:
    """Return the text of an error, a warning or a record of them, without what differs between two runs.

    Parameters
    ----------
    raised
        An exception, what `pytest.raises` gives, or a text.
    values
        What else differs, by the name to show instead: ``port=server.port``.

    Examples
    --------
    >>> says("Cannot open /tmp/pytest-of-me/pytest-7/test_a0/home on port 8090", port=8090)
    'Cannot open TMP/home on port PORT'
    """
    text = str(getattr(raised, "value", raised))
    for name, value in values.items():
        text = text.replace(str(value), name.upper())
    return _NOW.sub("NOW", _ID.sub("ID", _FOLDER.sub("TMP", text)))
