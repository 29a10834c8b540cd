"""The browser harness: opening and running notebooks, and detecting external requests."""

from __future__ import annotations

import pytest

import evalkit
from tests.browser import OpenNotebook, Tab, axe_violations


@pytest.mark.long
def test_notebook_runs_in_browser(notebook: OpenNotebook) -> None:
    """Cells run in a kernel of this interpreter with this repository's evalkit; a restart starts another kernel."""
    opened = notebook(["import evalkit, os\nprint(evalkit.__file__)", "answer = 6 * 7\nanswer"])
    opened.run_all()
    assert opened.output(0).inner_text().strip() == evalkit.__file__
    assert opened.output(1).inner_text().strip() == "42"
    first = opened.value("os.getpid()")
    opened.restart()
    assert opened.value("import os; os.getpid()") != first
    assert "NameError" in opened.run(opened.add("answer"), errors=True).inner_text()


@pytest.mark.slow
def test_unwanted_page_behavior_is_detected(tab: Tab) -> None:
    """External requests, dialogs and unnamed buttons are detected."""
    tab.page.set_content("<html lang=en><title>t</title><button></button><img alt=x src='https://example.invalid/x.png'></html>")
    tab.page.evaluate("alert(1)")
    assert [line.partition(" ")[0] for line in axe_violations(tab.page, tab.page.locator("button"))] == ["button-name"]
    with pytest.raises(AssertionError, match="another host"):
        tab.check()
    tab.outside.clear()
    with pytest.raises(AssertionError, match="dialog"):
        tab.check()
    tab.dialogs.clear()
