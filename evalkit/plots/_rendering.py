"""Display of charts without a network, and files in SVG, PNG, HTML and JSON format.

No setting of Altair is changed, except by `enable`.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any, TypeAlias

import altair as alt

from evalkit._util.atomic_files import writing
from evalkit.domain.refusals import a_type, invalid
from evalkit.errors import InvalidInputError
from evalkit.plots._theme import Mode, theme

__all__ = ["bundle", "enable", "page", "png", "save", "show", "svg"]

Chart: TypeAlias = "alt.TopLevelMixin | Mapping[str, Any]"
"""An Altair chart or a specification."""
VEGA_LITE_5 = "application/vnd.vegalite.v5+json"
"""The MIME type that JupyterLab and Notebook 7 render without a network, also in an untrusted notebook."""
_SCHEMA_5 = "https://vega.github.io/schema/vega-lite/v5.json"  # matches the MIME type; an identifier that is never requested
_MARK = re.compile(r'<(path|line|rect|text)((?: [\w:-]+="[^"]*")*? aria-label="([^"]*)"(?: [\w:-]+="[^"]*")*)/>')
_FORMATS = (".svg", ".png", ".html", ".json")


def show(chart: Chart) -> None:
    """Display any Altair chart without a network and with evalkit's theme.

    Use it for combinations of evalkit's charts, which are plain Altair charts. Outside of IPython, the text description of the chart is
    printed.

    Parameters
    ----------
    chart
        Any Altair chart. It is not changed.

    Raises
    ------
    InvalidInputError
        If `chart` is not an Altair chart.

    Examples
    --------
    >>> import polars as pl
    >>> from evalkit import plots
    >>> from evalkit.samples import sample_checkpoints
    >>> checkpoints = pl.DataFrame(sample_checkpoints("daily", "2026-01-05T00:00:00Z", 1, seed=1))
    >>> plots.show(plots.trend(checkpoints, "total_cost"))  # doctest: +ELLIPSIS
    Trend of total cost over time, 1 study, 2026-01-05 to 2026-01-06 UTC. ...
    """
    from IPython.core.getipython import get_ipython
    from IPython.display import display

    spec = specification(chart)
    if get_ipython() is None:
        print(_text(spec))  # noqa: T201
        return
    data, metadata = _bundle(spec)
    display(data, metadata=metadata, raw=True)  # type: ignore[no-untyped-call]


def enable() -> Any:
    """Display all Altair charts of this process without a network, in evalkit's theme.

    Returns
    -------
    context manager
        The result of ``altair.renderers.enable``. In a ``with`` statement, the setting ends with the block; otherwise it lasts until
        ``altair.renderers.enable("default")``.

    Examples
    --------
    >>> import altair
    >>> from evalkit import plots
    >>> with plots.enable():
    ...     altair.renderers.active
    'evalkit'
    """
    alt.renderers.register("evalkit", lambda spec, **_: _bundle(spec))
    return alt.renderers.enable("evalkit")


def save(chart: Chart, path: str | os.PathLike[str], *, mode: str = "light") -> Path:
    """Save a chart to a file. An existing file is replaced only if saving succeeds.

    Parameters
    ----------
    chart
        Any Altair chart.
    path
        The file; its extension selects the format: ``.svg`` (with a tooltip for each point), ``.png`` (at twice the size on screen),
        ``.html`` (one interactive file that needs no network, light or dark like the browser), ``.json`` (the Vega-Lite specification).
    mode
        ``"light"`` or ``"dark"``, for SVG and PNG.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    InvalidInputError
        For an unsupported extension or mode, or a file that cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import polars as pl
    >>> from evalkit import plots
    >>> from evalkit.samples import sample_checkpoints
    >>> checkpoints = pl.DataFrame(sample_checkpoints("daily", "2026-01-05T00:00:00Z", 5, seed=1))
    >>> path = plots.save(plots.trend(checkpoints, "total_cost"), f"{tempfile.mkdtemp()}/cost.json")
    >>> path.name
    'cost.json'
    """
    if not isinstance(path, str | os.PathLike):
        raise invalid("path", path, "expected a file name, e.g. 'chart.svg'")
    target = Path(path)
    extension = target.suffix.lower()
    if extension not in _FORMATS:
        raise invalid("path", str(path), "expected the extension .svg, .png, .html or .json")
    if mode not in ("light", "dark"):
        raise invalid("mode", mode, "expected 'light' or 'dark'")
    spec = specification(chart)
    if extension == ".svg":
        content = svg(spec, mode).encode()  # type: ignore[arg-type]
    elif extension == ".png":
        content = png(spec, mode)  # type: ignore[arg-type]
    elif extension == ".json":
        content = json.dumps(themed(spec, None), ensure_ascii=False, indent=1).encode()
    else:
        content = page([("", spec)], title=_title(spec) or "Charts").encode()
    with writing(target) as file:
        file.write(content)
    return target


def svg(chart: Chart, mode: Mode = "light") -> str:
    """Render a chart as SVG, with accessible descriptions and a tooltip for each point.

    Parameters
    ----------
    chart
        An Altair chart or a specification.
    mode
        ``"light"``, ``"dark"``, or ``"page"`` for the CSS variables of the surrounding JupyterLab page.
    """
    drawing: str = _convert("vegalite_to_svg", themed(specification(chart), mode))
    return _MARK.sub(r"<\1\2><title>\3</title></\1>", drawing)


def png(chart: Chart, mode: Mode = "light") -> bytes:
    """Render a chart as PNG, at twice its size on screen."""
    drawing: bytes = _convert("vegalite_to_png", themed(specification(chart), mode), scale=2)
    return drawing


def page(charts: Sequence[tuple[str, Chart]], *, title: str) -> str:
    """Return a self-contained HTML page with interactive charts.

    Parameters
    ----------
    charts
        For each chart, a heading (may be empty), and an Altair chart or a specification.
    title
        The title of the page.
    """
    parts, specs = [], []
    for number, (heading, chart) in enumerate(charts):
        spec = themed(specification(chart), None)
        specs.append(spec)
        text = escape(str(spec.get("description", "")), quote=True)
        head = f"<h2>{escape(heading)}</h2>" if heading else ""
        parts.append(f'<section>{head}<div id="chart{number}" class="chart"></div><details><summary>Text description</summary><p>{text}</p>'
                     "</details></section>")  # fmt: skip
    # An unescaped "<" could end the script element.
    data = json.dumps({"specs": specs, "light": theme("light"), "dark": theme("dark")}).replace("<", "\\u003c")
    return _PAGE.format(title=escape(title), body="\n".join(parts), data=data, program=_program())


def bundle(chart: Chart) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the representations of a chart for notebooks, by MIME type, and their metadata.

    The Vega-Lite specification is for JupyterLab, SVG for exports, and the text description for text-only readers.

    Raises
    ------
    InvalidInputError
        For anything but an Altair chart.
    """
    return _bundle(specification(chart))


def _bundle(spec: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    # JupyterLab sets the text and background colors, which depend on its theme, also in a saved PNG.
    shown = {**themed(spec, None), "$schema": _SCHEMA_5}
    data = {VEGA_LITE_5: shown, "image/svg+xml": svg(spec), "text/plain": _text(spec)}
    return data, {VEGA_LITE_5: {"embed_options": {"renderer": "svg", "actions": False}}}


def _text(spec: Mapping[str, Any]) -> str:
    return " ".join(_descriptions(spec)) or "A chart."


def _descriptions(spec: Mapping[str, Any]) -> list[str]:
    """Return the description of a chart, or those of its parts."""
    if isinstance(own := spec.get("description"), str) and own:
        return [own]
    parts = [part for kind in ("layer", "concat", "hconcat", "vconcat") for part in spec.get(kind, [])]
    return [text for part in parts for text in _descriptions(part)]


def specification(chart: Chart) -> dict[str, Any]:
    """Return the specification of a chart with any number of rows.

    The enabled data transformer of Altair is not used.

    Raises
    ------
    InvalidInputError
        For anything but an Altair chart.
    """
    if isinstance(chart, Mapping):
        return dict(chart)
    if not isinstance(chart, alt.TopLevelMixin):
        raise InvalidInputError(
            f"Expected an Altair chart, got {a_type(chart)}", hint="Pass a chart of evalkit.plots, or a combination of such charts.",
            field="chart", value=type(chart).__name__,
        )  # fmt: skip
    if getattr(chart, "has_inline_rows", False):
        return chart.to_dict(context={"pre_transform": False})
    with alt.data_transformers.enable("default", max_rows=None):  # for DataFrames in charts that a user made
        return chart.to_dict(context={"pre_transform": False})


def themed(spec: dict[str, Any], mode: Mode | None) -> dict[str, Any]:
    """Return a specification with the theme; the chart's configuration takes precedence."""
    return {**spec, "config": _merged(theme(mode), spec.get("config", {}))}


def _merged(base: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    merged = copy.copy(base)
    for key, value in more.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def _convert(function: str, spec: dict[str, Any], **options: Any) -> Any:
    import vl_convert

    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    return getattr(vl_convert, function)(spec, vl_version=version, allowed_base_urls=[], **options)


def _title(spec: Mapping[str, Any]) -> str:
    title = spec.get("title", "")
    text = title.get("text", "") if isinstance(title, Mapping) else title
    return " ".join(map(str, text)) if isinstance(text, list) else str(text)


@cache
def _program() -> str:
    import vl_convert

    program: str = vl_convert.javascript_bundle(_DRAW)
    return program


_DRAW = """
const page = JSON.parse(document.getElementById("charts").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
function draw() {
  const base = dark.matches ? page.dark : page.light;
  page.specs.forEach((spec, number) => {
    const merged = {...spec, config: merge(base, spec.config)};
    vegaEmbed("#chart" + number, merged, {renderer: "svg", actions: false, ast: false});
  });
}
function merge(base, more) {
  const merged = {...base};
  for (const [key, value] of Object.entries(more)) {
    const both = value && typeof value === "object" && !Array.isArray(value) && typeof merged[key] === "object";
    merged[key] = both ? merge(merged[key], value) : value;
  }
  return merged;
}
dark.addEventListener("change", draw);
draw();
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font-family: system-ui, "Segoe UI", "DejaVu Sans", sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #1e1e1e; color: #eeeeee; }} }}
.chart {{ overflow-x: auto; }}
section {{ margin-bottom: 2rem; }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
<script type="application/json" id="charts">{data}</script>
<script type="module">{program}</script>
</body>
</html>
"""
