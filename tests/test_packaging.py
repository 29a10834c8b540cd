"""The name and the versions that are installed, and the installation commands in texts."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]

# `evalkit` on the public package index is another project, and `evalkit-studies` is not registered there yet.
INSTALLS_BY_NAME = re.compile(
    r"\b(?:uvx|(?:pip[3x]?|uv|conda|mamba|poetry|pdm)\s+(?:[^\s`&;|]+\s+){0,3}?(?:add|download|inject|install|run|update|upgrade))"
    r"(?:\s+[^\s`&;|]+){0,8}?\s+[\"'\\]*evalkit(?:[-_]studies)?(?!\.\w|[\w/-])",
)


@pytest.mark.parametrize(
    "text",
    [
        "pip install NAME",
        "Type: pip install 'NAME[analysis]'",
        r'"It needs \"pip install \"NAME[analysis]\"\".",',
        "Upgrade: pip install --upgrade NAME.",
        "`python -m pip install -q -U NAME==0.2.1`",
        "%pip install scipy NAME",
        "pip3 install NAME-studies",
        "run `pip\ninstall NAME`",
        "uv add NAME",
        "uv pip install NAME",
        "uv tool install NAME",
        "uvx NAME demo",
        "pipx install NAME",
        "pipx run NAME demo",
        "conda install -c conda-forge NAME",
    ],
)
def test_installation_by_name_is_found(text: str) -> None:
    """The pattern matches the commands of the usual installers, with options, extras and versions."""
    assert INSTALLS_BY_NAME.search(text.replace("NAME", "evalkit"))


@pytest.mark.parametrize(
    "text",
    [
        "pip install scipy jinja2",
        "evalkit.analysis needs scipy. Install: pip install scipy jinja2",
        "pip install -q -c constraints.txt -e '.[test]'\n\ttouch $@ $(VENV)/evalkit.stamp",
        "pip install --quiet /tmp/source &&\nexec NAME --json consume",
        "Upgrade evalkit from where you installed it.",
    ],
)
def test_other_installations_are_not_found(text: str) -> None:
    """Commands that install from a folder, or other packages, are allowed."""
    assert not INSTALLS_BY_NAME.search(text.replace("NAME", "evalkit"))


@pytest.mark.slow
def test_no_text_installs_evalkit_by_name() -> None:
    """No message, document, notebook, example or script installs evalkit from a package index."""
    folders = [ROOT / name for name in (".ci", "docs", "evalkit", "examples", "notebooks", "tests")]
    paths = [path for path in ROOT.iterdir() if path.suffix in {"", ".md", ".toml", ".txt"} and path.is_file()]
    built = {"_build", "_generated"}
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file() and not built & {*path.parts})
    paths += [path for path in files if path.suffix not in {".pyc", ".png", ".parquet"}]
    texts = {path.relative_to(ROOT): path.read_text("utf-8", errors="replace") for path in paths if path != Path(__file__)}
    assert {
        Path("README.md"),
        Path("CHANGELOG.md"),
        Path("Makefile"),
        Path("evalkit/analysis/_stats/scipy_functions.py"),
        Path(".ci/run"),
    } <= texts.keys()
    assert {str(path): match[0] for path, text in texts.items() if (match := INSTALLS_BY_NAME.search(text))} == {}


def test_lower_bounds_equal_the_tested_versions() -> None:
    """Each package for users has one lower bound: its version in constraints-lowest.txt."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    declared = [Requirement(text) for text in (*project["dependencies"], *extras["analysis"], *extras["notebook"])]
    assert {package.name: _lowest(package) for package in declared} == {package.name: _lowest(package) for package in _tested()}


def test_default_versions_satisfy_the_declared_ones() -> None:
    """No version in constraints.txt contradicts pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    pinned = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    everything = [*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra)]
    declared = [package for package in map(Requirement, everything) if package.name != project["name"]]
    assert [str(package) for package in declared if pinned.get(package.name) not in package.specifier] == []


def _tested() -> list[Requirement]:
    lines = (ROOT / "constraints-lowest.txt").read_text("utf-8").splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def _lowest(package: Requirement) -> Version:
    (bound,) = (Version(part.version) for part in package.specifier if part.operator in (">=", "=="))
    return bound
