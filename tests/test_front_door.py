"""The front door, the layers behind it, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import evalkit

PACKAGE = Path(evalkit.__file__).parent

LAYERS = [
    ["errors", "reports", "distribution"],
    ["ids", "times"],
    ["metrics"],
    ["study"],
    ["events", "sqlite_files", "garbage"],
    ["decoding", "log.port", "database.port", "background"],
    ["log.memory", "log.sqlite", "log.iggy_client", "database.sqlite", "database.server", "projection.fold"],
    ["log.iggy", "database.libsql_server", "database.turso"],
    ["projection.schema", "projection.rows"],
    ["projection.projection", "projection.identity", "projection.snapshot", "projection.write_behind"],
    ["projection.consumer"],
    ["projection.rebuild", "projection.verify"],
    ["checks", "settings", "progress"],
    ["commands", "opening"],
    ["columns", "content", "storage", "selection", "pandas_twin", "access"],
    ["transfer.files"],
    ["plots.theme", "plots.words", "plots.wilson", "plots.thinning", "plots.source"],
    ["plots.rendering", "plots.series"],
    ["plots.chart", "plots.lines"],
    ["plots.history", "plots.findings"],
    ["plots.trends", "plots.overview", "plots.scatter"],
    ["plots"],
    [
        "analysis.result",
        "analysis.extra",
        "analysis.auditing.findings",
        "analysis.auditing.running",
        "analysis.auditing.tiling",
        "analysis.reporting.harmless",
    ],
    ["analysis.given"],
    ["analysis.auditing.coverage", "analysis.auditing.source"],
    ["analysis.auditing.bookkeeping", "analysis.auditing.contradictions"],
    ["analysis.auditing.audit"],
    ["analysis.rules", "analysis.calendar"],
    ["analysis.parts", "analysis.summary"],
    ["analysis.rollup"],
    ["analysis.ar1", "analysis.per_study"],
    ["analysis.trials", "analysis.phrases", "analysis.shift", "analysis.stretches"],
    ["analysis.observed"],
    ["analysis.carried", "analysis.pairs"],
    ["analysis.by_study", "analysis.difference"],
    ["analysis.trend", "analysis.before_after", "analysis.compare", "analysis.changepoints"],
    ["analysis.reporting.content", "analysis.reporting.digest", "analysis.reporting.whole"],
    ["analysis.reporting.in_short"],
    ["analysis.reporting.facts"],
    ["analysis.reporting.sections", "analysis.reporting.charts"],
    ["analysis.reporting.html", "analysis.reporting.markdown"],
    ["analysis.reporting.report"],
    ["analysis"],
    ["frames"],
    ["engine", "references"],
    ["handlers", "queries", "status"],
    ["widgets.forms", "widgets.reading", "widgets.worker", "widgets.picture", "widgets.cells"],
    ["widgets.texts"],
    ["widgets.model", "widgets.watcher"],
    ["widgets.static", "widgets.folds", "widgets.form_view"],
    ["widgets.view"],
    ["widgets.screen"],
    ["widgets.controls"],
    ["widgets.panel"],
    ["widgets.aggregates", "widgets.locks"],
    ["widgets.content", "widgets.meter", "widgets.session"],
    ["widgets.journal"],
    ["widgets.recorder"],
    ["upkeep"],
    ["kit"],
    [""],
    ["samples"],
    ["transfer.checkpoints", "transfer.log"],
    ["demo"],
    ["cli.printing", "cli.session"],
    ["cli.studies", "cli.checkpoints", "cli.log", "cli.consume", "cli.doctor", "cli.report"],
    ["cli.projection"],
    ["cli.app"],
]
"""Each module may import those of the layers above it in this list, never one of its own layer or below."""


def test_the_front_door_is_closed_sorted_and_small() -> None:
    """At most 25 names, sorted, each importable, and no other public name beside the submodules."""
    names = evalkit.__all__
    assert len(names) <= 25
    assert names == sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name))
    assert all(hasattr(evalkit, name) for name in names)
    submodules = {path.stem for path in PACKAGE.iterdir()}
    assert {name for name in vars(evalkit) if not name.startswith("_")} - submodules == set(names)
    assert evalkit.plots.trend.__module__ == "evalkit.plots.trends"
    with pytest.raises(AttributeError, match="no attribute 'plot'"):
        evalkit.plot  # noqa: B018


def _imports(path: Path) -> set[str]:
    """The modules of evalkit that a module imports when it runs; what is only there for the type checker does not count."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "evalkit":
            base = node.module.removeprefix("evalkit").lstrip(".")
            for alias in node.names:
                submodule = f"{base}.{alias.name}".lstrip(".")
                found.add(submodule if (PACKAGE / Path(*submodule.split("."))).with_suffix(".py").exists() else base)
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("evalkit").lstrip(".") for alias in node.names if alias.name.split(".")[0] == "evalkit"}
    return found


@pytest.mark.slow
def test_imports_point_one_way() -> None:
    """Every module stands in one layer, and imports only from layers above it."""
    level = {module: index for index, layer in enumerate(LAYERS) for module in layer}
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        if module in ("log", "database", "projection", "transfer", "cli", "widgets", "analysis.auditing", "analysis.reporting"):
            assert not _imports(path), f"{module} only holds its docstring"
            continue
        assert module in level, f"{module} stands in no layer; put it in one"
        wrong += [f"{module} imports {other}" for other in _imports(path) if level[other] >= level[module]]
    assert wrong == []


def test_importing_evalkit_imports_no_heavy_package() -> None:
    """`import evalkit` stays quick: what is heavy is imported by the function that needs it."""
    heavy = ["polars", "pandas", "altair", "ipywidgets", "apache_iggy", "libsql_client", "aiohttp", "rich", "typer", "psutil", "numpy"]
    code = f"import evalkit, sys; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_every_public_name_is_documented() -> None:
    """Every public module, class, function and method opens with a docstring."""
    bare = []
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        if not ast.get_docstring(tree):
            bare.append(path.name)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                members = [
                    node,
                    *(part for part in getattr(node, "body", []) if isinstance(node, ast.ClassDef) and isinstance(part, ast.FunctionDef)),
                ]
                overloads = {
                    id(part) for part in members if any(ast.unparse(mark) == "overload" for mark in getattr(part, "decorator_list", []))
                }
                bare += [
                    f"{path.name}: {part.name}"
                    for part in members
                    if not part.name.startswith("_") and id(part) not in overloads and not ast.get_docstring(part)
                ]
    assert bare == []
