"""Render formulas as MathML, which browsers show without a script or a font of another host."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def _rendered(node: nodes.Element, *, block: bool) -> str:
    """Return a formula as MathML, with names of functions as identifiers: as operators, browsers may stretch them."""
    return re.sub(r"<mo[^>]*>(min|max)</mo>", r"<mi>\1</mi>", tex2mathml(node.astext(), as_block=block))


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(_rendered(node, block=False))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="math">{_rendered(node, block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
