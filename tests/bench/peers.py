"""Compare recording and reading with centaurodb and MLflow.

``python -m tests.bench.peers PYTHON [--rounds 5] [--json FILE]``. PYTHON is the interpreter of an environment with ``pip install centaurodb
mlflow polars``. 5,000 checkpoints of 16 metrics are written until they can be read, and read to one wide frame; all programs alternate.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import evalkit
from tests.bench import workload

_COUNT = 5000
_PROGRAMS = Path(__file__).with_name("peer_programs.py")
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


def ours(folder: Path) -> tuple[float, float]:
    """Return the seconds of recording a frame, and of a read by a new kit."""
    frame = workload.frame_to_record(_COUNT)
    written = workload.record_frame(folder / "home", workload.make_study_home(folder / "home"), frame)
    with evalkit.connect(folder / "home") as kit:
        kit.status()
        start = perf_counter()
        assert kit.checkpoints().height == _COUNT
        return written, perf_counter() - start


def theirs(python: str, peer: str, folder: Path) -> tuple[float, float]:
    """Return the seconds of writing and reading of another program."""
    command = [python, str(_PROGRAMS), peer, str(folder), str(_COUNT)]
    done = subprocess.run(command, env={**os.environ, **_QUIET}, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    written, read = json.loads(done.stdout.splitlines()[-1])
    return written, read


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=__doc__)
    parser.add_argument("python")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path("peers-results.json"), metavar="FILE", help="output file")
    options = parser.parse_args()
    peers = ("centaurodb", "mlflow")
    ratios: dict[str, list[tuple[float, float]]] = {peer: [] for peer in peers}
    print(f"load average before: {os.getloadavg()[0]:.2f}")
    for _ in range(options.rounds + 1):  # the first round imports, and is not counted
        with tempfile.TemporaryDirectory(prefix="evalkit-peers-") as folder:
            written, read = ours(Path(folder))
            for peer in peers:
                their_write, their_read = theirs(options.python, peer, Path(folder))
                ratios[peer].append((their_write / written, their_read / read))
    results = {}
    for peer, rounds in ratios.items():
        for name, values in zip(("write", "read"), zip(*rounds[1:], strict=True), strict=True):
            results[f"{peer} {name}"] = {"ratio": median(values), "lowest": min(values), "highest": max(values)}
            print(f"{peer:10} {name:5}: {median(values):6.1f} times ours ({min(values):.1f} to {max(values):.1f})")
    options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
