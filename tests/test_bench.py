"""The benchmarks run, and write every figure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.__main__ import KINDS, NEEDS_IGGY, WITHOUT_BASELINE
from tests.iggy_server import iggy_binary

ROOT = Path(__file__).parents[1]


@pytest.mark.long
def test_bench_writes_every_figure(tmp_path: Path) -> None:
    """A small run prints the table and writes all figures, those of Iggy where there is a server, each with its ratio, what is required, and whether that is met."""
    results = tmp_path / "results.json"
    command = [sys.executable, "-m", "tests.bench", "--scale", "0.005", "--rounds", "1", "--json", str(results)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(results.read_text())
    measured = [kind.name for kind in KINDS if iggy_binary() or kind.name not in NEEDS_IGGY]
    assert [figure["name"] for figure in found["figures"]] == measured
    for figure in found["figures"]:
        assert figure["name"] in done.stdout
        assert figure["ours_median"] > 0
        assert figure["ratio"] > 0
        assert (figure["theirs_median"] is None) == (figure["name"] in WITHOUT_BASELINE)
        assert isinstance(figure["met"], bool)
        assert figure["required"] > 0


@pytest.mark.slow
def test_baselines_know_nothing_of_evalkit() -> None:
    """What evalkit is measured against imports nothing of evalkit."""
    code = "import sys, tests.bench.baselines; print([name for name in sys.modules if name.split('.')[0] == 'evalkit'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
