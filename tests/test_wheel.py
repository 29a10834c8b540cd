"""The built wheel, installed alone in a clean environment."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

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


@pytest.mark.slow
@pytest.mark.build
def test_the_wheel_alone_runs_the_demo_from_any_folder_and_ships_its_types(tmp_path: Path) -> None:
    """Installed with its dependencies and nothing else (in the short form: beside those of this environment), `evalkit demo` runs, and in the long form mypy sees the types."""
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
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
    said = _run(*check, tmp_path / "typed.py", cwd=tmp_path, expect=1)
    assert 'expression has type "Study", variable has type "int"' in said
    assert "Found 1 error" in said
