"""Texts of a study for display: without control characters, and not too long."""

from __future__ import annotations

import re

__all__ = ["sanitized", "truncated"]

_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff9-\uffff]"
)


def sanitized(text: str) -> str:
    r"""Return a text with U+FFFD in place of control characters.

    Characters that change the writing direction are replaced too. Line breaks and tabs are kept.

    Examples
    --------
    >>> sanitized("a\x1bb").encode("ascii", "replace")
    b'a?b'
    """
    return _CONTROL.sub("\ufffd", text.replace("\r\n", "\n"))


def truncated(text: str, length: int) -> str:
    """Return a text cut to `length` characters, with an ellipsis if it was longer.

    Examples
    --------
    >>> truncated("nightly", 7), truncated("nightly coder", 8)
    ('nightly', 'nightly…')
    """
    return text if len(text) <= length else f"{text[: length - 1]}…"
