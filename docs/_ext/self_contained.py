"""Check that the built pages load nothing from other hosts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.util import logging

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_ADDRESS = r"[\"']?\s*(?:https?:)?//[\w.-]+"
LOADS = {
    ".html": re.compile(
        rf"<(?:script|img|image|source|iframe|video|audio|embed|object|track|link)\b[^>]*?\b(?:src|srcset|href|data)={_ADDRESS}"
    ),
    ".css": re.compile(rf"(?:url\(|@import\s+){_ADDRESS}"),
    ".js": re.compile(r"(?:\.(?:src|href)\s*=\s*|\bimport\s*\(?\s*|\bfetch\(\s*|\bfrom\s*)[\"'](?:https?:)?//[\w.-]+"),
    ".svg": re.compile(rf"<(?:image|use|script|link)\b[^>]*?\bhref={_ADDRESS}|url\({_ADDRESS}|@import\s+{_ADDRESS}"),
}
"""What a file of each kind would load from another host."""


def remote_loads(folder: Path) -> list[str]:
    """Return each place in the files of a folder that loads something from another host."""
    loads = []
    for path in sorted(folder.rglob("*")):
        pattern = LOADS.get(path.suffix)
        if pattern is not None:
            text = path.read_text("utf-8", errors="replace")
            loads += [f"{path.relative_to(folder)}: {match[0]}" for match in pattern.finditer(text)]
            if path.suffix == ".html":
                loads += [f"{path.relative_to(folder)}: {match[0]}" for match in LOADS[".css"].finditer(text)]
    return loads


def _check(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        for load in remote_loads(Path(app.outdir)):
            logging.getLogger(__name__).warning("loads from another host: %s", load)


def setup(app: Sphinx) -> dict[str, bool]:
    """Check when the build is finished."""
    app.connect("build-finished", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
