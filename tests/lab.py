"""A JupyterLab server for the tests, with its own settings and data, a free loopback port, and kernels of this interpreter.

``with Lab(folder) as lab`` starts a server with its notebooks in ``lab.root``. It neither reads nor writes the user's Jupyter files.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat

from tests.needs import need
from tests.servers import ServerProcess, free_port, killed_with_parent

START_SECONDS = 60
REPOSITORY = Path(__file__).resolve().parent.parent
HOME = "home"
"""Home of `trial_kit` in the notebook's folder, so that other processes find it and it survives a kernel restart."""
SETTINGS = {
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},  # renders all cells, including those outside the viewport
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return environment variables that put this repository first on the path and hide the user's settings of evalkit and Jupyter."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EVALKIT_", "JUPYTER", "IPYTHON"))}
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    return {**kept, "PYTHONPATH": path, **(extra or {})}


class Lab(ServerProcess):
    """A JupyterLab server on a loopback port, with a token and its notebooks in ``root``."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "notebooks"
        self.root.mkdir(parents=True)
        self.output = folder / "lab.output"
        self.port, self.token = free_port(), "a-token-of-the-tests"
        self.url = f"http://127.0.0.1:{self.port}"
        names = ("config", "data", "runtime", "ipython", "settings", "workspaces")
        self._folders = {name: folder / name for name in names}
        for path in self._folders.values():
            path.mkdir()
        for plugin, settings in SETTINGS.items():
            path = self._folders["settings"] / f"{plugin}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(settings))
        kernel = self._folders["data"] / "kernels" / "python3"
        kernel.mkdir(parents=True)
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        kernel.joinpath("kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
        self.environment = clean_environment(
            {
                "JUPYTER_CONFIG_DIR": str(self._folders["config"]),
                "JUPYTER_DATA_DIR": str(self._folders["data"]),
                "JUPYTER_RUNTIME_DIR": str(self._folders["runtime"]),
                "IPYTHONDIR": str(self._folders["ipython"]),
                "JUPYTERLAB_SETTINGS_DIR": str(self._folders["settings"]),
                "JUPYTERLAB_WORKSPACES_DIR": str(self._folders["workspaces"]),
                "EVALKIT_TRIAL_HOME": HOME,
            }
        )

    def start(self) -> None:
        """Start the server and wait until it responds."""
        need("kernel")
        assert self._process is None
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={self.port}",
            "--ServerApp.port_retries=0", f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={self.root}",
            "--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly", "--KernelManager.shutdown_wait_time=1",
        ]  # fmt: skip
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                killed_with_parent(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.root,
            )
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.api("GET", "status")
                return
            time.sleep(0.1)
        self.kill()
        raise RuntimeError(f"JupyterLab did not start on port {self.port}. Output:\n{self.output.read_text()[-4000:]}")

    def stop(self) -> None:
        """End the kernels, then the server."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.end_kernels()
        super().stop()

    def api(self, method: str, path: str) -> Any:
        """Call the server's HTTP API and return its JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, f"/api/{path}", headers={"Authorization": f"token {self.token}"})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise RuntimeError(f"{method} /api/{path} returned {answer.status}: {text[:500]!r}")
        return json.loads(text) if text else None

    def end_kernels(self, path: str | None = None) -> None:
        """End the kernel of a notebook, or all kernels. Kernels outlive their page, and their state would leak into the next test."""
        for session in self.api("GET", "sessions"):
            if path in (None, session["path"]):
                self.api("DELETE", f"sessions/{session['id']}")

    def address(self, path: str) -> str:
        """Return the URL that opens a notebook in a new workspace."""
        return f"{self.url}/lab/workspaces/test-{time.monotonic_ns()}/tree/{path}?token={self.token}&reset"

    def write(self, name: str, cells: list[str] | nbformat.NotebookNode) -> str:
        """Write a notebook or a list of code cells below ``root`` and return its path there. It is not trusted."""
        notebook = cells if isinstance(cells, nbformat.NotebookNode) else new_notebook(cells)
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)
        return name

    def copy(self, source: Path, name: str) -> str:
        """Copy a notebook below ``root`` and return its path there."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
        return name


def new_notebook(cells: list[str]) -> nbformat.NotebookNode:
    """Return a notebook of code cells with the ids ``cell-0``, ``cell-1``, ..."""
    made = [nbformat.v4.new_code_cell(source, id=f"cell-{index}") for index, source in enumerate(cells)]
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": kernelspec, "language_info": {"name": "python"}})
