"""The documentation site: it builds without warnings, has every public name, and loads nothing from other hosts."""

from __future__ import annotations

import importlib
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

import evalkit

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
HTML = DOCS / "_build" / "html"


def _build() -> None:
    """Build the site, unless `make docs` has just built it."""
    if not _is_current():
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "-n", "--keep-going", "-j", "2", "-b", "html", DOCS, HTML]
        done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode == 0, done.stderr


def _is_current() -> bool:
    built = HTML / "objects.inv"
    if not built.exists():
        return False
    folders = (DOCS, ROOT / "evalkit", ROOT / "notebooks")
    sources = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".md", ".ipynb", ".css", ".svg", ".json")]
    kept = [path for path in [*sources, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"] if not {"_build", "_generated"} & {*path.parts}]
    return max(path.stat().st_mtime for path in kept if path.parent != DOCS / "notebooks") < built.stat().st_mtime


def _documented() -> set[str]:
    """Return the Python names in the site's inventory."""
    data = (HTML / "objects.inv").read_bytes().split(b"\n", 4)[4]
    lines = zlib.decompress(data).decode().splitlines()
    return {line.split(" ", 1)[0] for line in lines if " py:" in line}


def _public_names() -> set[str]:
    names = set()
    for module_name in ("evalkit", "evalkit.plots", "evalkit.analysis", "evalkit.io", "evalkit.samples"):
        module = importlib.import_module(module_name)
        names |= {f"{module_name}.{name}" for name in module.__all__}
    return names | {f"evalkit.EvalKit.{name}" for name in vars(evalkit.EvalKit) if not name.startswith("_")}


@pytest.mark.build
@pytest.mark.slow
def test_site_builds_with_every_public_name_and_loads_nothing_from_other_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """One test, so that parallel processes do not wait for the same build. The charts of the notebooks are pictures in their pages."""
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    _build()
    assert sorted(_public_names() - _documented()) == []
    assert importlib.import_module("self_contained").remote_loads(HTML) == []
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        page = (HTML / "notebooks" / notebook.with_suffix(".html").name).read_text("utf-8")
        assert page.count(".svg") >= notebook.read_text("utf-8").count('"image/svg+xml": [')


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.html", '<script async src="https://cdn.example.org/x.js"></script>'),
        ("a.html", "<link rel='stylesheet' href='//fonts.example.org/css'>"),
        ("a.html", '<img alt="x" src="http://example.org/x.png">'),
        ("a.css", "@font-face { src: url('https://example.org/font.woff2') }"),
        ("a.js", 'script.src = "https://example.org/x.js";'),
        ("a.svg", '<image href="https://example.org/x.png"/>'),
    ],
)
def test_a_page_that_loads_from_another_host_is_found(name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    (tmp_path / name).write_text(f'<a href="https://example.org">a link is allowed</a> {text}')
    assert len(importlib.import_module("self_contained").remote_loads(tmp_path)) == 1
