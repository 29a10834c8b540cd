"""The panel where it cannot live (exported, untrusted, reopened without its kernel): a table and a picture, in which nothing runs."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

from evalkit._util.text import exact_moment

if TYPE_CHECKING:
    from evalkit.panel.model import PanelModel

__all__ = ["static_html", "table_html"]

_MOST_ROWS = 50
_COLUMNS = ("Study", "Status", "Period", "Progress", "Last period ended (UTC)")


def table_html(model: PanelModel) -> str:
    """Return the studies as a table, newest first; of more than 50 the newest, and how many more there are."""
    rows = []
    for study in model.studies[:_MOST_ROWS]:
        ended = study["last_period_end"]
        cells = (study["status"], study["period_type"], model.progress(study), "" if ended is None else exact_moment(ended))
        rows.append(f'<tr><th scope="row">{escape(study["name"])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>')
    more = len(model.studies) - len(rows)
    caption = f"Studies, newest first; {more} older ones are not shown" if more else "Studies, newest first"
    head = "".join(f'<th scope="col">{name}</th>' for name in _COLUMNS)
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def static_html(model: PanelModel, svg: str | None, alt: str) -> str:
    """Return the table, and the chart as a picture.

    Parameters
    ----------
    model
        What to show.
    svg
        The chart in fixed colors; None when there is none.
    alt
        What it shows, in words.
    """
    if not model.studies:
        return "<p>No studies.</p>"
    picture = "" if svg is None else f'<p><img alt="{escape(alt)}" src="{_data_uri(svg)}"></p>'
    return table_html(model) + picture


def folded_html(inner: str) -> str:
    """Put the static copy behind a line that opens it."""
    return f"<details><summary>Static copy of the panel, as of when this cell ran</summary>{inner}</details>"


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
