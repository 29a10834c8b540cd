"""Showing and saving charts without a network: for a notebook, as SVG and PNG, and as a page of HTML that needs nothing else.

Nothing here changes a setting of Altair's, but for `enable`, which says so.
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
from evalkit.domain.validation import a_type, invalid
from evalkit.errors import InvalidInputError
from evalkit.plots._theme import Mode, theme

__all__ = ["bundle", "enable", "page", "png", "save", "show", "svg"]

Chart: TypeAlias = "alt.TopLevelMixin | Mapping[str, Any]"
"""Any Altair chart, or the specification of one."""
VEGA_LITE_5 = "application/vnd.vegalite.v5+json"
"""What JupyterLab and Notebook 7 draw by themselves, offline, also in a notebook that is not trusted."""
_SCHEMA_5 = "https://vega.github.io/schema/vega-lite/v5.json"  # the MIME type's version; a name, never asked for
_MARK = re.compile(r'<(path|line|rect|text)((?: [\w:-]+="[^"]*")*? aria-label="([^"]*)"(?: [\w:-]+="[^"]*")*)/>')
_FORMATS = (".svg", ".png", ".html", ".json")


def show(chart: Chart) -> None:
    """Display any Altair chart offline in the theme of evalkit, such as one composed of evalkit's charts.

    Parameters
    ----------
    chart
        An Altair chart of any kind. It is not changed.

    Raises
    ------
    InvalidInputError
        When it is no Altair chart.
    """
    from IPython.display import display

    data, metadata = bundle(chart)
    display(data, metadata=metadata, raw=True)  # type: ignore[no-untyped-call]


def enable() -> Any:
    """Let every Altair chart of this process display as evalkit's do, offline and in its theme.

    Returns
    -------
    a context manager
        That of ``altair.renderers.enable``: used with ``with``, the setting ends with the block; otherwise it stays, until
        ``altair.renderers.enable("default")``.
    """
    alt.renderers.register("evalkit", lambda spec, **_: _bundle(spec))
    return alt.renderers.enable("evalkit")


def save(chart: Chart, path: str | os.PathLike[str], *, mode: str = "light") -> Path:
    """Write a chart to a file, whole: the old file stays if anything goes wrong.

    Parameters
    ----------
    chart
        An Altair chart of any kind.
    path
        Its ending says the format: ``.svg`` (with a text for each point), ``.png`` (twice the size on the screen), ``.html`` (one file that
        needs no network; interactive, light or dark as the reader's browser is), ``.json`` (the Vega-Lite specification).
    mode
        ``"light"`` or ``"dark"``, for SVG and PNG.

    Returns
    -------
    pathlib.Path
        Where it was written.

    Raises
    ------
    InvalidInputError
        When the extension is none of these, or the file cannot be written.
    """
    if not isinstance(path, str | os.PathLike):
        raise invalid("path", path, "is no path", "give, for example, 'chart.svg'")
    target = Path(path)
    ending = target.suffix.lower()
    if ending not in _FORMATS:
        raise invalid("path", str(path), f"does not end in one of {', '.join(_FORMATS)}, which say the format.")
    if mode not in ("light", "dark"):
        raise invalid("mode", mode, "is neither 'light' nor 'dark'.")
    spec = specification(chart)
    if ending == ".svg":
        content = svg(spec, mode).encode()  # type: ignore[arg-type]
    elif ending == ".png":
        content = png(spec, mode)  # type: ignore[arg-type]
    elif ending == ".json":
        content = json.dumps(themed(spec, None), ensure_ascii=False, indent=1).encode()
    else:
        content = page([("", spec)], title=_title(spec) or "Charts").encode()
    with writing(target) as file:
        file.write(content)
    return target


def svg(chart: Chart, mode: Mode = "light") -> str:
    """Draw a chart as SVG text: named for screen readers, and with a tooltip for each point.

    Parameters
    ----------
    chart
        An Altair chart, or a specification.
    mode
        ``"light"``, ``"dark"``, or ``"page"``: the colours of the page of JupyterLab that it stands in.
    """
    drawn: str = _convert("vegalite_to_svg", themed(specification(chart), mode))
    return _MARK.sub(r"<\1\2><title>\3</title></\1>", drawn)


def png(chart: Chart, mode: Mode = "light") -> bytes:
    """Draw a chart as PNG, at twice the size that it has on a screen."""
    drawn: bytes = _convert("vegalite_to_png", themed(specification(chart), mode), scale=2)
    return drawn


def page(charts: Sequence[tuple[str, Chart]], *, title: str) -> str:
    """Give a page of HTML with charts that needs no network: it holds the program that draws them.

    Parameters
    ----------
    charts
        A heading for each (may be empty), and an Altair chart or a specification.
    title
        Of the page.
    """
    parts, specs = [], []
    for number, (heading, chart) in enumerate(charts):
        spec = themed(specification(chart), None)
        specs.append(spec)
        described = escape(str(spec.get("description", "")), quote=True)
        head = f"<h2>{escape(heading)}</h2>" if heading else ""
        parts.append(f'<section>{head}<div id="chart{number}" class="chart"></div><details><summary>In words</summary><p>{described}</p>'
                     "</details></section>")  # fmt: skip
    # "<" would let a name end the script; in JSON it may be written otherwise.
    data = json.dumps({"specs": specs, "light": theme("light"), "dark": theme("dark")}).replace("<", "\\u003c")
    return _PAGE.format(title=escape(title), body="\n".join(parts), data=data, program=_program())


def bundle(chart: Chart) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give what a notebook displays, in several forms for several readers, and its metadata.

    The Vega-Lite specification is for JupyterLab, SVG for exports, and the description for whatever shows text only.

    Raises
    ------
    InvalidInputError
        When it is no Altair chart.
    """
    return _bundle(specification(chart))


def _bundle(spec: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    # Colours of texts and background are left to JupyterLab, which knows its theme, and makes a PNG of what it drew when it saves.
    shown = {**themed(spec, None), "$schema": _SCHEMA_5}
    data = {VEGA_LITE_5: shown, "image/svg+xml": svg(spec), "text/plain": " ".join(_descriptions(spec)) or "A chart."}
    return data, {VEGA_LITE_5: {"embed_options": {"renderer": "svg", "actions": False}}}


def _descriptions(spec: Mapping[str, Any]) -> list[str]:
    """Give what a chart says of itself, or what its parts say."""
    if isinstance(own := spec.get("description"), str) and own:
        return [own]
    parts = [part for kind in ("layer", "concat", "hconcat", "vconcat") for part in spec.get(kind, [])]
    return [text for part in parts for text in _descriptions(part)]


def specification(chart: Chart) -> dict[str, Any]:
    """Give a chart's specification, however long its data are and whatever data transformer is enabled.

    Raises
    ------
    InvalidInputError
        When it is no Altair chart.
    """
    if isinstance(chart, Mapping):
        return dict(chart)
    if not isinstance(chart, alt.TopLevelMixin):
        raise InvalidInputError(
            f"chart: {a_type(chart)} is no Altair chart. Give what evalkit.plots returned, or a chart made of those.",
            field="chart", value=type(chart).__name__,
        )  # fmt: skip
    if getattr(chart, "holds_rows", False):
        return chart.to_dict(context={"pre_transform": False})
    with alt.data_transformers.enable("default", max_rows=None):  # for the frames in charts that a user made
        return chart.to_dict(context={"pre_transform": False})


def themed(spec: dict[str, Any], mode: Mode | None) -> dict[str, Any]:
    """Give the specification with the theme under its own configuration, which counts more."""
    return {**spec, "config": _over(theme(mode), spec.get("config", {}))}


def _over(base: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    merged = copy.copy(base)
    for key, value in more.items():
        old = merged.get(key)
        merged[key] = _over(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
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
const given = JSON.parse(document.getElementById("charts").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
function draw() {
  const base = dark.matches ? given.dark : given.light;
  given.specs.forEach((spec, number) => {
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
