"""A page of a real browser, and a notebook that is open in JupyterLab.

Requests to other hosts are recorded and fail (`tests.chromium`); dialogs are recorded and dismissed. `Tab.check` fails if there were any.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from nbformat import NotebookNode
from playwright.sync_api import Browser, BrowserContext, Dialog, Locator, Page, Request, WebSocket, expect

from tests.lab import Lab

READY_MS = 60_000
RUN_MS = 60_000
CLICK_MS = 15_000
SERIOUS = ("serious", "critical")

expect.set_options(timeout=CLICK_MS)  # the default of 5 s is too short for a page of many charts on a busy machine


class Tab:
    """A page, with its unexpected requests, dialogs and console messages."""

    def __init__(self, browser: Browser, *, dark: bool = False) -> None:
        self.outside: list[str] = []
        """Requested URLs of other hosts; none was reachable."""
        self.dialogs: list[str] = []
        """Texts of dialogs."""
        self.console: list[str] = []
        """Warnings and errors in the console, and uncaught errors."""
        self.context: BrowserContext = browser.new_context(
            viewport={"width": 1280, "height": 1000},
            service_workers="block",
            color_scheme="dark" if dark else "light",
            timezone_id="Asia/Kathmandu",  # UTC+05:45, which reveals times that are not in UTC
        )
        self.context.set_default_timeout(CLICK_MS)
        self.context.on("page", self._watch)
        self.context.on("request", self._note)
        self.page: Page = self.context.new_page()

    def _note(self, request: Request) -> None:
        if not _here(request.url):
            self.outside.append(request.url)

    def _watch(self, page: Page) -> None:
        page.on("dialog", self._dismiss)
        page.on("websocket", self._note_socket)
        page.on("console", lambda message: self.console.append(message.text) if message.type in ("warning", "error") else None)
        page.on("pageerror", lambda error: self.console.append(str(error)))

    def _note_socket(self, socket: WebSocket) -> None:
        if not _here(socket.url):
            self.outside.append(socket.url)

    def _dismiss(self, dialog: Dialog) -> None:
        if dialog.type == "beforeunload":
            dialog.accept()
            return
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def open_file(self, path: Path) -> Page:
        """Open an HTML or SVG file."""
        self.page.goto(path.resolve().as_uri())
        return self.page

    def check(self) -> None:
        """Check that no page requested another host or showed a dialog."""
        assert self.outside == [], f"requested another host: {self.outside}"
        assert self.dialogs == [], f"showed a dialog: {self.dialogs}"

    def close(self) -> None:
        self.context.close()


def _here(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("data", "blob", "file", "about") or parts.hostname in ("127.0.0.1", "localhost", "::1")


class Notebook:
    """A notebook that is open in JupyterLab in `tab`. A page can have several open notebooks."""

    def __init__(self, tab: Tab, lab: Lab, path: str) -> None:
        self.tab, self.lab, self.path = tab, lab, path
        self.page = tab.page
        self._panel = f"[...jupyterapp.shell.widgets('main')].find(widget => widget.context?.path === {json.dumps(path)})"
        self._shown: Locator | None = None

    def open(self, *, kernel: bool = True) -> Notebook:
        """Open the page and wait until the notebook is loaded and its kernel can run code."""
        self.page.goto(self.lab.address(self.path))
        self._opened(kernel=kernel)
        return self

    def open_beside(self, path: str, *, kernel: bool = True) -> Notebook:
        """Open another notebook in the same page, in front of this one; loading another page takes seconds."""
        self._call(f"await app.commands.execute('docmanager:open', {{path: {json.dumps(path)}}})", READY_MS)
        other = Notebook(self.tab, self.lab, path)
        other._opened(kernel=kernel)
        return other

    def close(self) -> None:
        """Close the notebook without saving it, and end its kernel."""
        self._call("panel.dispose()")
        self.lab.end_kernels(self.path)

    def reload(self) -> None:
        """Reload the page; the kernel keeps running, and unsaved changes are lost."""
        self.page.reload()
        self._opened(kernel=True)

    def _opened(self, *, kernel: bool) -> None:
        self._wait(f"({self._panel})?.content?.widgets?.length > 0", READY_MS)
        self._call("await app.restored; await panel.context.ready; await panel.revealed", READY_MS)
        self._shown = self.page.locator(f"id={self._look('panel.id')}")
        if kernel:
            self.wait_for_kernel()

    def wait_for_kernel(self) -> None:
        """Wait until the kernel can run code: it reports idle earlier, and code that is run then is lost."""
        ready = "await session.ready; await session.session.kernel.info; await session.session.kernel.requestExecute({code: '1'}).done"
        self._call(ready, READY_MS)

    def run_all(self, *, errors: bool = False) -> None:
        """Run all cells and wait for the last one; an error in a cell fails the test unless `errors` is true."""
        self._call("await app.commands.execute('notebook:run-all-cells')", RUN_MS)
        if not errors:
            self.no_errors()

    def run(self, index: int, *, errors: bool = False) -> Locator:
        """Run a cell, wait for its end, and return its output area."""
        self._call(f"notebook.activeCellIndex = {index}; notebook.deselectAll(); await app.commands.execute('notebook:run-cell')", RUN_MS)
        if not errors:
            self.no_errors()
        return self.output(index)

    def execute(self, source: str) -> None:
        """Run code in the kernel outside a cell; it must not raise."""
        request = f"session.session.kernel.requestExecute({{code: {json.dumps(source)}, stop_on_error: false}}).done"
        self._call(f"const {{content}} = await {request}; if (content.status !== 'ok') throw new Error(content.evalue)", RUN_MS)

    def add(self, source: str) -> int:
        """Add a code cell at the end and return its index."""
        count: int = self._look(
            "notebook.model.sharedModel.addCell({cell_type: 'code', source: argument}) && notebook.model.sharedModel.cells.length", source
        )
        return count - 1

    def value(self, source: str) -> str:
        """Run a cell at the end and return the text of its output."""
        return self.run(self.add(source)).inner_text().strip()

    def find(self, source: str) -> int:
        """Return the index of the first cell with this line."""
        index: int = self._look(
            "notebook.widgets.findIndex(cell => cell.model.sharedModel.source.split('\\n').includes(argument))",
            source,
        )
        assert index >= 0, f"no cell has the line {source!r}"
        return index

    def cell(self, index: int) -> Locator:
        assert self._shown is not None, "the notebook is not open"
        return self._shown.locator(".jp-Notebook .jp-Cell").nth(index)

    def output(self, index: int) -> Locator:
        """Return the output area of a cell, without its prompt."""
        return self.cell(index).locator(".jp-Cell-outputArea .jp-OutputArea-output")

    def outputs(self) -> Locator:
        """Return the output areas of all cells."""
        assert self._shown is not None, "the notebook is not open"
        return self._shown.locator(".jp-Cell-outputArea .jp-OutputArea-output")

    def trusts(self) -> list[bool]:
        """Return whether JupyterLab trusts each cell."""
        trusted: list[bool] = self._look("notebook.widgets.map(cell => cell.model.trusted)")
        return trusted

    def no_errors(self) -> None:
        """Check that no cell raised an error."""
        raised: list[str] = self._look(
            """notebook.widgets.flatMap(cell => cell.model.sharedModel.getOutputs?.() ?? [])
               .filter(output => output.output_type === 'error').map(output => `${output.ename}: ${output.evalue}`)"""
        )
        assert raised == []

    def delete(self, index: int) -> None:
        self._call(f"notebook.activeCellIndex = {index}; notebook.deselectAll(); await app.commands.execute('notebook:delete-cell')")

    def clear(self, index: int) -> None:
        """Clear the output of a cell."""
        self._call(f"notebook.activeCellIndex = {index}; notebook.deselectAll(); await app.commands.execute('notebook:clear-cell-output')")

    def restart(self) -> None:
        """Restart the kernel and wait until it can run code; the outputs stay in the page."""
        self._call("await session.session.kernel.restart()", READY_MS)
        self.wait_for_kernel()

    def save(self) -> None:
        """Save the notebook, which makes its outputs trusted."""
        self._call("await panel.context.save()", RUN_MS)

    def theme(self, name: str) -> None:
        """Change to the ``light`` or the ``dark`` theme."""
        self._call(f"await app.commands.execute('apputils:change-theme', {{theme: 'JupyterLab {name.title()}'}})")
        self._wait(f"document.body.dataset.jpThemeLight === '{'true' if name == 'light' else 'false'}'", CLICK_MS)

    def axe(self, target: Locator) -> list[str]:
        """Return the serious and critical accessibility violations in `target`, one per line."""
        return axe_violations(self.page, target)

    def _call(self, body: str, timeout: int = CLICK_MS) -> None:
        """Run asynchronous JavaScript with a timeout, which Playwright lacks for promises."""
        self.page.evaluate(
            f"""body => {{
                const app = window.jupyterapp, panel = {self._panel}, notebook = panel?.content, session = panel?.sessionContext;
                const task = new (Object.getPrototypeOf(async function () {{}}).constructor)('app', 'panel', 'notebook', 'session', body);
                const state = window.testCall = {{done: false, error: ''}};
                task(app, panel, notebook, session).catch(error => {{ state.error = String(error); }}).finally(() => {{ state.done = true; }});
            }}""",
            body,
        )
        self._wait("window.testCall.done", timeout)
        error = self.page.evaluate("window.testCall.error")
        assert not error, f"{body}: {error}"

    def _look(self, expression: str, argument: object = None) -> Any:
        """Evaluate a JavaScript expression about the ``panel`` and its ``notebook``."""
        return self.page.evaluate(
            f"argument => {{ const panel = {self._panel}, notebook = panel.content; return {expression}; }}",
            argument,
        )

    def _wait(self, condition: str, timeout: int) -> None:
        self.page.wait_for_function(f"() => {{ try {{ return !!({condition}); }} catch {{ return false; }} }}", timeout=timeout)


def axe_violations(page: Page, target: Locator | None = None) -> list[str]:
    """Return the serious and critical accessibility violations in `target` or the whole page, one per line."""
    from axe_playwright_python.sync_playwright import Axe

    context = None
    if target is not None:
        target.evaluate_all("(all) => all.forEach(element => element.setAttribute('data-axe', ''))")
        context = "[data-axe]"
    try:
        violations = Axe().run(page, context=context).response["violations"]
    finally:
        page.evaluate("document.querySelectorAll('[data-axe]').forEach(element => element.removeAttribute('data-axe'))")
    return [
        f"{rule['id']} ({rule['impact']}): {' '.join(node['html'].split())[:200]}"
        for rule in violations
        if rule["impact"] in SERIOUS
        for node in rule["nodes"]
    ]


class OpenNotebook(Protocol):
    """Type of the fixture ``notebook``: opens code cells, a notebook, or a path below the server's folder."""

    def __call__(self, content: list[str] | NotebookNode | str, /, *, kernel: bool = True) -> Notebook: ...
