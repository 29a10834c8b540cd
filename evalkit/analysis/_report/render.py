"""A report as a self-contained HTML page, or as Markdown.

Texts and tables are the same in both; Markdown has no charts.
"""

from __future__ import annotations

from functools import cache
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from evalkit.analysis._report.safe_text import sanitized
from evalkit.analysis._report.sections import Column, Section, Table, sections
from evalkit.analysis._results import in_markdown
from evalkit.analysis._stats.scipy_functions import missing_extra
from evalkit.domain.verdicts import Verdict

if TYPE_CHECKING:
    from evalkit.analysis._report.content import ReportContent
    from evalkit.analysis._report.figures import Figure

__all__ = ["html", "markdown"]

_AUTOLINKS = (("://", "&#58;//"), ("@", "&#64;"), ("www.", "www&#46;"))
"""Texts that GitHub's Markdown turns into links."""
_TONES = {
    Verdict.IMPROVING: "good", Verdict.BETTER: "good", Verdict.DECLINING: "bad", Verdict.WORSE: "bad", Verdict.RISING: "changed",
    Verdict.FALLING: "changed", Verdict.HIGHER: "changed", Verdict.LOWER: "changed", Verdict.SHIFTED: "changed",
    Verdict.INSUFFICIENT_DATA: "unknown", "error": "bad", "warning": "caution",
}  # fmt: skip
"""The colors of badges; other badges are neutral. No information is in the color alone."""


def markdown(content: ReportContent) -> str:
    """Return the report as Markdown.

    Texts of the study are escaped, so they are shown literally.
    """
    status = f", {content.study.status}" if content.study.status else ""
    status += ", archived" if content.study.archived else ""
    blocks = [f"# {_text(content.study.name)}", f"Evaluation study report{status}"]
    blocks += [block for section in sections(content) for block in _section(section)]
    return "\n\n".join(blocks) + "\n"


def _section(section: Section) -> list[str]:
    blocks = [f"## {_text(section.title)}", *map(_text, section.lead)]
    if section.facts or section.definitions:
        blocks.append("\n".join(f"- {_text(name)}: {_text(value)}" for name, value in section.facts + section.definitions))
    if section.points:
        blocks.append("\n".join(f"- {_text(text)}" for text in section.points))
    return [*blocks, *(block for table in section.tables for block in _table(table)), *map(_text, section.notes)]


def _table(table: Table) -> list[str]:
    rule = ["---:" if column.kind == "number" else "---" for column in table.columns]
    rows = [[_text(cell, within=True) for cell in row] for row in table.rows]
    rows = [[f"**{row[0]}**", *row[1:]] if place in table.significant and row[0] else row for place, row in enumerate(rows)]
    lines = [[_text(column.title, within=True) for column in table.columns], rule, *rows]
    return [f"{_text(table.caption)}:", "\n".join(f"| {' | '.join(line)} |" for line in lines)]


def _text(text: str, *, within: bool = False) -> str:
    """Return a text in one line, with Markdown escaped."""
    escaped = in_markdown(" ".join(sanitized(text).split()), within=within)
    for link, replacement in _AUTOLINKS:
        escaped = escaped.replace(link, replacement)
    return escaped


def html(content: ReportContent, charts: dict[str, list[Figure]]) -> str:
    """Return the report as an HTML page.

    Texts of the study are escaped, so they are shown literally.

    Raises
    ------
    MissingExtraError
        If jinja2 is not installed.
    """
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
        finalize=lambda value: sanitized(value) if type(value) is str else value,
    )  # fmt: skip
    environment.filters |= {"drawing": _drawing, "cell": _cell, "badge": _badge}
    return environment.from_string(files("evalkit.analysis._report").joinpath("report.html.j2").read_text("utf-8"))


def _cell(text: str, column: Column) -> Any:
    """Return the content of a table cell: badges, and a second line with details."""
    from markupsafe import Markup

    if column.kind == "long":
        return text
    first, _, details = text.partition("\n")
    content = _badge(first) if column.kind == "verdict" else Markup("{}").format(sanitized(first))
    return content + Markup('\n<span class="details">{}</span>').format(sanitized(details)) if details else content


def _badge(text: str) -> Any:
    from markupsafe import Markup

    return Markup('<span class="badge {}">{}</span>').format(_TONES.get(text, "neutral"), text)


def _drawing(figure: Figure) -> Any:
    """Return the SVG of a figure, named for screen readers."""
    from markupsafe import Markup

    return Markup(figure.drawing.replace("<svg ", f'<svg role="img" aria-label="{escape(figure.name)}" ', 1))  # noqa: S704  sanitized SVG
