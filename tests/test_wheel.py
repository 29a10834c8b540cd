"""The distributions: their metadata and files, and the wheel installed in a clean environment."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.metadata import Metadata

from tests.properties import LONG, in_long_form

ROOT = Path(__file__).parents[1]

TYPED = """
import evalkit
import polars as pl
kit: evalkit.EvalKit = evalkit.connect()
frame: pl.DataFrame = kit.checkpoints()
wrong: int = kit.create_study("a")
"""


def _run(*command: str | Path, cwd: Path, expect: int = 0) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("EVALKIT_", "PYTHON"))}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and a source distribution."""
    folder = tmp_path_factory.mktemp("distributions")
    _run(sys.executable, "-m", "build", "--wheel", "--sdist", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.mark.slow
@pytest.mark.build
def test_metadata_of_wheel_and_sdist_is_valid_and_complete(distributions: Path) -> None:
    """As `twine check --strict` does, and that the files of the project are in the source distribution."""
    (wheel,) = distributions.glob("*.whl")
    (sdist,) = distributions.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        of_wheel = archive.read(name)
    with tarfile.open(sdist) as archive:
        prefix = sdist.name.removesuffix(".tar.gz")
        names = {member.name.removeprefix(f"{prefix}/") for member in archive.getmembers()}
        of_sdist = archive.extractfile(f"{prefix}/PKG-INFO").read()  # type: ignore[union-attr]
    assert {"README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "docs/conf.py"} <= names
    assert not [name for name in names if name.startswith(("docs/_build", "docs/_generated", ".venv"))]
    for content in (of_wheel, of_sdist):
        metadata = Metadata.from_email(content, validate=True)  # raises for every invalid field
        assert metadata.name == "evalkit-studies"
        assert metadata.description == (ROOT / "README.md").read_text("utf-8")
        assert metadata.description_content_type == "text/markdown"
        assert metadata.summary
        assert metadata.author
        assert metadata.license_expression == "MIT"
        assert metadata.license_files == ["LICENSE"]


@pytest.mark.slow
@pytest.mark.build
def test_wheel_alone_runs_the_demo_from_any_folder_and_ships_its_types(distributions: Path, tmp_path: Path) -> None:
    """It is installed with its dependencies only (short form: those of this environment); the long form checks the types with mypy."""
    (wheel,) = distributions.glob("*.whl")
    assert wheel.name.startswith("evalkit_studies-")
    names = zipfile.ZipFile(wheel).namelist()
    assert "evalkit/py.typed" in names
    assert not [name for name in names if name.startswith(("tests", "examples"))]
    clean = tmp_path / "clean"
    _run(sys.executable, "-m", "venv", "--without-pip", clean, cwd=tmp_path)
    install = [sys.executable, "-m", "pip", "--python", clean / "bin" / "python", "install", "-q"]
    if LONG:
        _run(*install, "-c", ROOT / "constraints.txt", wheel, cwd=tmp_path)
    else:
        _run(*install, "--no-deps", wheel, cwd=tmp_path)
        (packages,) = (clean / "lib").glob("python*/site-packages")
        (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    anywhere = tmp_path / "any folder"
    anywhere.mkdir()
    assert _run(clean / "bin" / "evalkit", "--version", cwd=anywhere) == f"evalkit {wheel.name.split('-')[1]}\n"
    for _ in range(in_long_form(2, 1)):
        assert "evalkit" in _run(clean / "bin" / "evalkit", "demo", cwd=anywhere)
    assert sorted(path.name for path in anywhere.iterdir()) == ["evalkit-demo"]
    if not LONG:
        return
    (tmp_path / "typed.py").write_text(TYPED)
    check = [sys.executable, "-m", "mypy", "--strict", "--python-executable", clean / "bin" / "python", "--cache-dir", tmp_path / "cache"]
    output = _run(*check, tmp_path / "typed.py", cwd=tmp_path, expect=1)
    assert 'expression has type "Study", variable has type "int"' in output
    assert "Found 1 error" in output
