"""Run the notebooks with reproducible outputs.

``python -m tests.notebooks`` (``make notebook-outputs``) runs each and stores its outputs.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbclient
import nbformat

from tests.needs import need

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WIDGET = "application/vnd.jupyter.widget-view+json"
SECONDS = 120


def executed(path: Path, folder: Path) -> Any:
    """Run a notebook in a working directory and return it with its outputs."""
    need("kernel")
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    nbclient.NotebookClient(
        notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}}, store_widget_state=False,
        coalesce_streams=True,  # output arrives in a varying number of pieces
    ).execute()  # fmt: skip
    return reproducible(notebook)


def reproducible(notebook: Any) -> Any:
    """Remove what differs between runs: times, the Python version, and widgets, which need a running kernel.

    The static alternatives of a widget (table, picture or text) remain.
    """
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
    return notebook


def environment() -> dict[str, str]:
    """Return the environment without evalkit's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("EVALKIT_")}


def main() -> None:
    for name in set(os.environ) - set(environment()):
        del os.environ[name]
    for path in NOTEBOOKS if len(sys.argv) == 1 else map(Path, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(path, Path(folder))
        path.write_text(nbformat.writes(notebook) + "\n")  # type: ignore[no-untyped-call]
        sys.stdout.write(f"{path.name}: {len(notebook.cells)} cells, {path.stat().st_size // 1000:,} kB\n")


if __name__ == "__main__":
    main()
