"""A report as Markdown: the same texts and tables, without the charts."""

from __future__ import annotations

from evalkit.analysis._report.content import ReportContent
from evalkit.analysis._report.harmless import harmless
from evalkit.analysis._report.sections import Section, Table, sections
from evalkit.analysis._result import in_markdown

__all__ = ["markdown"]

_LINKS = (("://", "&#58;//"), ("@", "&#64;"), ("www.", "www&#46;"))
"""What GitHub's Markdown makes links of by itself."""


def markdown(content: ReportContent) -> str:
    """Give the report. Whatever a text of the study holds, it is shown as text."""
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
    """Give a text in one line, shown as it is."""
    shown = in_markdown(" ".join(harmless(text).split()), within=within)
    for link, apart in _LINKS:
        shown = shown.replace(link, apart)
    return shown
