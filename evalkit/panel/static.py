"""The panel as static HTML, a table and an image, for notebooks without widgets.

Widgets cannot run in exported, untrusted or reopened notebooks.
"""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

from evalkit._util.text import exact_moment

if TYPE_CHECKING:
    from evalkit.panel.model import PanelModel

__all__ = ["collapsed_html", "static_html", "table_html"]

_MAX_ROWS = 50
_COLUMNS = ("Study", "Status", "Period", "Progress", "Last period ended (UTC)")


def table_html(model: PanelModel) -> str:
    """Return a table of the 50 newest studies, with the number of omitted ones.

    Archived studies are left out.
    """
    rows = []
    for study in model.studies[:_MAX_ROWS]:
        ended = study["last_period_end"]
        period_end = "" if ended is None else exact_moment(ended)
        cells = (study["status"], study["period_type"], model.progress(study), period_end, model.last_value(study))
        rows.append(f'<tr><th scope="row">{escape(study["name"])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>')
    omitted = len(model.studies) - len(rows)
    state = "" if model.earlier is None else f" as of {model.earlier.text}"
    caption = f"Studies{state}, newest first" + (f" ({omitted:,} older ones omitted)" if omitted else "")
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in (*_COLUMNS, f"{model.metric_label}, last value"))
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def static_html(model: PanelModel, svg: str | None, alt: str) -> str:
    """Return the table, and the chart as an image.

    Parameters
    ----------
    model
        State to show.
    svg
        The chart in fixed colors; None without a chart.
    alt
        Text alternative of the chart.
    """
    if not model.studies:
        return "<p>No studies.</p>"
    image = "" if svg is None else f'<p><img alt="{escape(alt)}" src="{_data_uri(svg)}"></p>'
    return table_html(model) + image


def collapsed_html(inner: str) -> str:
    """Return HTML in a section that is collapsed at first."""
    return f"<details><summary>Static copy of the panel, as of when this cell ran</summary>{inner}</details>"


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
