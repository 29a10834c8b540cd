"""A page of a real browser, and a notebook of JupyterLab that is open in one.

Whatever a page asks of another host than this one is recorded, and the browser finds no such host (`tests.chromium`); every dialog is recorded
and dismissed. `Tab.check` fails where there was one.
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

expect.set_options(timeout=CLICK_MS)  # its own five seconds are too few for a page of many charts on a busy machine


class Tab:
    """A page of its own, and what it asked for that it should not have."""

    def __init__(self, browser: Browser, *, dark: bool = False) -> None:
        self.outside: list[str] = []
        """URLs of other hosts than this one that were asked for; none was answered."""
        self.dialogs: list[str] = []
        """Texts of the dialogs that were shown."""
        self.console: list[str] = []
        """Warnings and errors in the page's console, and errors that no code caught."""
        self.context: BrowserContext = browser.new_context(
            viewport={"width": 1280, "height": 1000},
            service_workers="block",
            color_scheme="dark" if dark else "light",
            timezone_id="Asia/Kathmandu",  # five hours and three quarters ahead: what is not in UTC is seen
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
        """Open an HTML or SVG file, as a double click does."""
        self.page.goto(path.resolve().as_uri())
        return self.page

    def check(self) -> None:
        """Say that no page asked for another host, and that none showed a dialog."""
        assert self.outside == [], f"asked for another host: {self.outside}"
        assert self.dialogs == [], f"showed a dialog: {self.dialogs}"

    def close(self) -> None:
        self.context.close()


def _here(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("data", "blob", "file", "about") or parts.hostname in ("127.0.0.1", "localhost", "::1")


class Notebook:
    """A notebook that is open in JupyterLab, in `tab`; one page may hold several of them."""

    def __init__(self, tab: Tab, lab: Lab, path: str) -> None:
        self.tab, self.lab, self.path = tab, lab, path
        self.page = tab.page
        self._panel = f"[...jupyterapp.shell.widgets('main')].find(one => one.context?.path === {json.dumps(path)})"
        self._shown: Locator | None = None

    def open(self, *, kernel: bool = True) -> Notebook:
        """Open the page and wait for the notebook, and for its kernel until it can really run something."""
        self.page.goto(self.lab.address(self.path))
        self._opened(kernel=kernel)
        return self

    def open_beside(self, path: str, *, kernel: bool = True) -> Notebook:
        """Open another notebook in the same page, in front of this one: a page of its own takes seconds to load."""
        self._call(f"await app.commands.execute('docmanager:open', {{path: {json.dumps(path)}}})", READY_MS)
        other = Notebook(self.tab, self.lab, path)
        other._opened(kernel=kernel)
        return other

    def close(self) -> None:
        """Close the notebook without saving it, and end its kernel; what was open beside it is in front again."""
        self._call("panel.dispose()")
        self.lab.end_kernels(self.path)

    def reload(self) -> None:
        """Load the page again; the kernel runs on, and what was not saved is gone."""
        self.page.reload()
        self._opened(kernel=True)

    def _opened(self, *, kernel: bool) -> None:
        self._wait(f"({self._panel})?.content?.widgets?.length > 0", READY_MS)
        self._call("await app.restored; await panel.context.ready; await panel.revealed", READY_MS)
        self._shown = self.page.locator(f"id={self._look('panel.id')}")
        if kernel:
            self.wait_for_kernel()

    def wait_for_kernel(self) -> None:
        """Wait until the kernel has run something: it says that it is idle before it can, and what is run then is lost."""
        ready = "await session.ready; await session.session.kernel.info; await session.session.kernel.requestExecute({code: '1'}).done"
        self._call(ready, READY_MS)

    def run_all(self, *, errors: bool = False) -> None:
        """Run all cells and wait for the last; an error in one fails the test, unless `errors` are expected."""
        self._call("await app.commands.execute('notebook:run-all-cells')", RUN_MS)
        if not errors:
            self.no_errors()

    def run(self, index: int, *, errors: bool = False) -> Locator:
        """Run one cell, wait for its end, and return its output area."""
        self._call(f"notebook.activeCellIndex = {index}; notebook.deselectAll(); await app.commands.execute('notebook:run-cell')", RUN_MS)
        if not errors:
            self.no_errors()
        return self.output(index)

    def tell(self, source: str) -> None:
        """Run something in the kernel, in no cell; it must not raise."""
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
        """Return the index of the first cell whose source is, or has a line that is, this text."""
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
        """Return the output area of a cell: what is in it, not the prompts beside it."""
        return self.cell(index).locator(".jp-Cell-outputArea .jp-OutputArea-output")

    def outputs(self) -> Locator:
        """Return the output areas of all cells."""
        assert self._shown is not None, "the notebook is not open"
        return self._shown.locator(".jp-Cell-outputArea .jp-OutputArea-output")

    def trusts(self) -> list[bool]:
        """Return for each cell whether JupyterLab trusts what it shows."""
        trusted: list[bool] = self._look("notebook.widgets.map(cell => cell.model.trusted)")
        return trusted

    def no_errors(self) -> None:
        """Check that no cell raised an error; a failure shows the first."""
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
        """Restart the kernel and wait until it can run something; the page and its outputs stay."""
        self._call("await session.session.kernel.restart()", READY_MS)
        self.wait_for_kernel()

    def save(self) -> None:
        """Save the notebook; what was run here is trusted from then on."""
        self._call("await panel.context.save()", RUN_MS)

    def theme(self, name: str) -> None:
        """Change to the ``light`` or the ``dark`` theme."""
        self._call(f"await app.commands.execute('apputils:change-theme', {{theme: 'JupyterLab {name.title()}'}})")
        self._wait(f"document.body.dataset.jpThemeLight === '{'true' if name == 'light' else 'false'}'", CLICK_MS)

    def axe(self, target: Locator) -> list[str]:
        """Return the serious and critical violations of accessibility rules in `target`, each in a line."""
        return axe_violations(self.page, target)

    def _call(self, body: str, timeout: int = CLICK_MS) -> None:
        """Run JavaScript that may await; Playwright alone would wait for ever for a promise that never ends."""
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
    """Give the serious and critical violations of accessibility rules in `target`, or in the whole page, each in a line."""
    from axe_playwright_python.sync_playwright import Axe

    context = None
    if target is not None:
        target.evaluate_all("(all) => all.forEach(one => one.setAttribute('data-axe', ''))")
        context = "[data-axe]"
    try:
        found = Axe().run(page, context=context).response["violations"]
    finally:
        page.evaluate("document.querySelectorAll('[data-axe]').forEach(one => one.removeAttribute('data-axe'))")
    return [
        f"{rule['id']} ({rule['impact']}): {' '.join(node['html'].split())[:200]}"
        for rule in found
        if rule["impact"] in SERIOUS
        for node in rule["nodes"]
    ]


class OpenNotebook(Protocol):
    """What the fixture ``notebook`` gives: code cells, a notebook, or a path below the server's folder, opened."""

    def __call__(self, what: list[str] | NotebookNode | str, *, kernel: bool = True) -> Notebook: ...
