"""A report as one page of HTML that needs nothing else: no network, no script."""

from __future__ import annotations

from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from evalkit.analysis._extra import needed
from evalkit.analysis._report.charts import Figure
from evalkit.analysis._report.content import ReportContent
from evalkit.analysis._report.harmless import harmless
from evalkit.analysis._report.sections import sections

__all__ = ["html"]


def html(content: ReportContent, charts: dict[str, list[Figure]]) -> str:
    """Give the page. Whatever a text of the study holds, it is shown as text.

    Raises
    ------
    MissingExtraError
        Without jinja2.
    """
    page: str = _template().render(content=content, sections=sections(content), charts=charts)
    return page


@cache
def _template() -> Any:
    jinja2 = needed("jinja2")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined,
        finalize=lambda value: harmless(value) if type(value) is str else value,
    )  # fmt: skip
    environment.filters |= {"drawn": _drawn, "classed": _classed}
    return environment.from_string(files("evalkit.analysis._report").joinpath("report.html.j2").read_text("utf-8"))


def _classed(places: frozenset[int], place: int, name: str) -> Any:
    """Give the attribute of a class to what stands at one of some places."""
    return needed("markupsafe").Markup(f' class="{name}"') if place in places else ""


def _drawn(drawing: str, name: str) -> Any:
    """Give a drawing that is a picture with a name for who cannot see it."""
    return needed("markupsafe").Markup(drawing.replace("<svg ", f'<svg role="img" aria-label="{escape(name)}" ', 1))
