"""A report as a page of HTML that needs nothing else, and as Markdown: the same texts and tables, in Markdown without the charts."""

from __future__ import annotations

import re
from functools import cache
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from evalkit.analysis._results import in_markdown
from evalkit.analysis._stats.scipy_functions import missing_extra

if TYPE_CHECKING:
    from evalkit.analysis._report.content import ReportContent
    from evalkit.analysis._report.figures import Figure
    from evalkit.analysis._report.sections import Section, Table

__all__ = ["harmless", "html", "markdown", "shortened"]

_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff9-\uffff]"
)
_LINKS = (("://", "&#58;//"), ("@", "&#64;"), ("www.", "www&#46;"))
"""What GitHub's Markdown makes links of by itself."""


def harmless(text: str) -> str:
    """Return a text with a mark in place of each character that controls: a terminal's, those that turn the direction of writing, and such.

    Line breaks and tabs stay.
    """
    return _STEERING.sub("\ufffd", text.replace("\r\n", "\n"))


def shortened(text: str, most: int) -> str:
    """Return a text cut to `most` characters, which it says."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def markdown(content: ReportContent) -> str:
    """Return the report. Whatever a text of the study holds, it is shown as text."""
    from evalkit.analysis._report.sections import sections

    status = f", {content.study.status}" if content.study.status else ""
    parts = [f"# {_text(content.study.name)}", f"Report of an evaluation study{status}"]
    parts += [block for section in sections(content) for block in _section(section)]
    return "\n\n".join(parts) + "\n"


def _section(part: Section) -> list[str]:
    blocks = [f"## {_text(part.title)}", *map(_text, part.lead)]
    if part.facts:
        blocks.append("\n".join(f"- {_text(name)}: {_text(value)}" for name, value in part.facts))
    if part.points:
        blocks.append("\n".join(f"- {_text(text)}" for text in part.points))
    return [*blocks, *(block for table in part.tables for block in _table(table)), *map(_text, part.notes)]


def _table(table: Table) -> list[str]:
    rule = ["---:" if place in table.numbers else "---" for place in range(len(table.columns))]
    rows = [[_text(cell, within=True) for cell in row] for row in table.rows]
    rows = [[f"**{cell}**" if place in table.loud and cell else cell for cell in row[:1]] + row[1:] for place, row in enumerate(rows)]
    lines = [[_text(title) for title in table.columns], rule, *rows]
    return [f"{_text(table.caption)}:", "\n".join(f"| {' | '.join(line)} |" for line in lines)]


def _text(text: str, *, within: bool = False) -> str:
    """Return a text in one line, shown as it is."""
    shown = in_markdown(" ".join(harmless(text).split()), within=within)
    for link, apart in _LINKS:
        shown = shown.replace(link, apart)
    return shown


def html(content: ReportContent, charts: dict[str, list[Figure]]) -> str:
    """Return the page. Whatever a text of the study holds, it is shown as text.

    Raises
    ------
    MissingExtraError
        Without jinja2.
    """
    from evalkit.analysis._report.sections import sections

    page: str = _template().render(content=content, sections=sections(content), charts=charts)
    return page


@cache
def _template() -> Any:
    try:
        import jinja2
    except ModuleNotFoundError as error:
        if error.name not in ("jinja2", "markupsafe"):
            raise
        raise missing_extra(error.name) from None
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined,
        finalize=lambda value: harmless(value) if type(value) is str else value,
    )  # fmt: skip
    environment.filters |= {"drawn": _drawn, "classed": _classed}
    return environment.from_string(files("evalkit.analysis._report").joinpath("report.html.j2").read_text("utf-8"))


def _classed(places: frozenset[int], place: int, name: str) -> Any:
    """Return the attribute of a class to what stands at one of some places."""
    from markupsafe import Markup

    return Markup(f' class="{name}"') if place in places else ""  # noqa: S704  names are constants of the template


def _drawn(drawing: str, name: str) -> Any:
    """Return a drawing that is a picture with a name for who cannot see it."""
    from markupsafe import Markup

    return Markup(drawing.replace("<svg ", f'<svg role="img" aria-label="{escape(name)}" ', 1))  # noqa: S704  the drawing is harmless
