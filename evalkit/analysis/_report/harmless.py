"""Texts of other people as they may stand on a page: with nothing in them that steers a reader's screen."""

from __future__ import annotations

import re

__all__ = ["harmless", "shortened"]

_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff9-\uffff]"
)


def harmless(text: str) -> str:
    """Give a text with a mark in place of each character that controls: a terminal's, those that turn the direction of writing, and such.

    Line breaks and tabs stay.
    """
    return _STEERING.sub("\ufffd", text.replace("\r\n", "\n"))


def shortened(text: str, most: int) -> str:
    """Give a text cut to `most` characters, which it says."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
