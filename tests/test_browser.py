"""The browser harness itself: a notebook that opens, runs, and asks nothing of another host."""

from __future__ import annotations

import pytest

import evalkit
from tests.browser import OpenNotebook, Tab, axe_violations


@pytest.mark.long
def test_a_notebook_runs_in_the_browser(notebook: OpenNotebook) -> None:
    """Cells run in a kernel of this interpreter, with this repository's evalkit; after a restart the kernel is another."""
    opened = notebook(["import evalkit, os\nprint(evalkit.__file__)", "answer = 6 * 7\nanswer"])
    opened.run_all()
    assert opened.output(0).inner_text().strip() == evalkit.__file__
    assert opened.output(1).inner_text().strip() == "42"
    first = opened.value("os.getpid()")
    opened.restart()
    assert opened.value("import os; os.getpid()") != first
    assert "NameError" in opened.run(opened.add("answer"), errors=True).inner_text()


@pytest.mark.slow
def test_what_a_page_should_not_do_is_noted(tab: Tab) -> None:
    """A request to another host, a dialog and an unnamed button are each found."""
    tab.page.set_content("<html lang=en><title>t</title><button></button><img alt=x src='https://example.invalid/x.png'></html>")
    tab.page.evaluate("alert(1)")
    assert [line.partition(" ")[0] for line in axe_violations(tab.page, tab.page.locator("button"))] == ["button-name"]
    with pytest.raises(AssertionError, match="another host"):
        tab.check()
    tab.outside.clear()
    with pytest.raises(AssertionError, match="dialog"):
        tab.check()
    tab.dialogs.clear()
