"""What every analysis gives: numbers as fields, a table, and two or three plain sentences."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from html import escape
from typing import Any

import polars as pl

__all__ = ["Result", "Told", "in_markdown", "like"]

_SPECIAL = re.compile(r"[\\`*_\[\]|~$>]")
"""What Markdown reads as markup anywhere."""
_BEGINS = re.compile(rf"{_SPECIAL.pattern}|^\s*(?:[#+-]|\d+[.)])", re.MULTILINE)
"""The same, and what it reads as markup at the beginning of a line."""


class Told(ABC):
    """What displays as sentences; nothing in a study's name is read as markup."""

    @abstractmethod
    def sentences(self) -> list[str]:
        """Give what was found in plain words: the method, the interval, the count, and what to be careful about."""

    def __repr__(self) -> str:
        return "\n".join(self.sentences())

    def _repr_markdown_(self) -> str:
        return "\n\n".join(in_markdown(sentence) for sentence in self.sentences())

    def _repr_html_(self) -> str:
        return "".join(f"<p>{escape(sentence)}</p>" for sentence in self.sentences())


class Result(Told):
    """What an analysis gives.

    Attributes
    ----------
    frame
        The table, in the library (Polars or Pandas) of the frame that was analysed.
    """

    frame: Any

    @abstractmethod
    def plot(self) -> Any:
        """Draw it, as an Altair chart that displays offline."""


def in_markdown(text: str, *, within: bool = False) -> str:
    """Give a text so that Markdown shows it as it is, whatever characters a name in it has.

    Parameters
    ----------
    text
        Any text.
    within
        Whether it stands within a line, as in a table's cell, so that its beginning is none of a line.
    """
    return escape((_SPECIAL if within else _BEGINS).sub(_escaped, text), quote=False)


def _escaped(found: re.Match[str]) -> str:
    """Put the backslash before the character that counts: of ``1.`` that is the full stop."""
    return f"{found[0][:-1]}\\{found[0][-1]}"


def like(given: Any, rows: pl.DataFrame, columns: Mapping[str, str]) -> Any:
    """Give a table in the library of the frame that was analysed.

    Parameters
    ----------
    given
        The frame that was analysed.
    rows
        The table.
    columns
        For each column of the table its kind, as in `evalkit.frames.columns`; for Pandas it says the dtype.
    """
    if type(given).__module__.partition(".")[0] != "pandas":
        return rows
    from evalkit.frames.pandas_output import to_pandas

    return to_pandas(rows, dict(columns))
