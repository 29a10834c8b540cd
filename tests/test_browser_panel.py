"""The panel in JupyterLab: studies driven by clicking, followed while others change them, and nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import expect

from tests.browser import Notebook, OpenNotebook
from tests.lab import Lab
from tests.panel_page import SHOWN_MS, PanelPage
from tests.sight import faults

NAME = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
SETUP = """
import threading
import evalkit
from datetime import datetime, timedelta, timezone

kit = evalkit.connect("home")
study = kit.create_study("weekly coder", period="weekly:8", tags=["coding"], if_exists="open")
if study.status == "pending":
    study = kit.start_study(study)
    week = timedelta(weeks=1)
    begin = datetime(2026, 1, 5, tzinfo=timezone.utc)
    for number in (0, 1, 3):
        period = (begin + number * week, begin + (number + 1) * week)
        kit.record_checkpoint(study, {"sessions_completed": 40, "session_success_rate": 0.5 + number / 20, "period": period})
""".strip()
SHOW = "panel = kit.panel()\npanel"
THREADS = "sorted(thread.name for thread in threading.enumerate() if thread.name.startswith('evalkit'))"
OTHER = """
import sys, time, json
import evalkit
kit = evalkit.connect(sys.argv[1])
kit.studies()
for line in sys.stdin:
    command, arguments = json.loads(line)
    getattr(kit, command)(*arguments)
    print(time.time(), flush=True)
"""


class OtherProcess:
    """A second process with a kit on the same home, which does what it is told."""

    def __init__(self, lab: Lab, home: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", OTHER, str(home)], env=lab.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def do(self, command: str, *arguments: object) -> float:
        """Give a command, and give the time at which it was carried out."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([command, arguments]) + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def end(self) -> None:
        self._process.communicate(timeout=20)


@pytest.fixture
def opened(notebook: OpenNotebook, lab: Lab, request: pytest.FixtureRequest) -> Notebook:
    """A notebook with a panel in its second cell, in a folder of its own; both cells have run."""
    one = notebook(lab.write(f"{request.node.name}/panel.ipynb", [SETUP, SHOW]))
    one.run_all()
    return one


@pytest.fixture
def panel(opened: Notebook) -> PanelPage:
    return PanelPage(opened, 1).ready()


@pytest.fixture
def other(opened: Notebook, lab: Lab) -> Iterator[OtherProcess]:
    process = OtherProcess(lab, (lab.root / opened.path).parent / "home")
    yield process
    process.end()


def metrics(rate: float, start: str, end: str) -> dict[str, Any]:
    return {"sessions_completed": 40, "session_success_rate": rate, "period": [start, end]}


def test_a_study_is_driven_by_clicking(panel: PanelPage) -> None:
    """Created, started, paused, resumed and stopped with the buttons; those that are not legal cannot be pressed."""
    panel.open_form("New study")
    expect(panel.button("Create study")).to_be_disabled()
    panel.field("Name").fill("made by clicking")
    panel.field("Planned periods").fill("x")
    expect(panel.root.get_by_role("alert").filter(has_text="'x'")).to_be_visible(timeout=SHOWN_MS)
    expect(panel.button("Create study")).to_be_disabled()
    panel.field("Planned periods").fill("3")
    panel.button("Create study").click()
    panel.expect_detail("Name", "made by clicking")
    panel.expect_detail("Status", "pending")
    panel.expect_detail("Progress", "0 of 3 periods, daily")
    panel.expect_buttons("Start", "Stop")
    panel.press("Start", "running", "Started 'made by clicking'")
    panel.expect_buttons("Pause", "Stop")
    panel.press("Pause", "paused", "Paused 'made by clicking'")
    panel.expect_buttons("Resume", "Stop")
    panel.press("Resume", "running", "Resumed 'made by clicking'")
    panel.expect_buttons("Pause", "Stop")
    panel.button("Stop").click()
    panel.button("No").click()
    expect(panel.button("No")).to_be_hidden()
    panel.expect_detail("Status", "running")
    panel.button("Stop").click()
    panel.press("Yes, stop for good", "stopped", "Stopped 'made by clicking'")
    panel.expect_buttons()
    expect(panel.studies.locator("option", has_text="made by clicking")).to_contain_text("stopped")


def test_a_checkpoint_is_recorded_through_the_form(panel: PanelPage) -> None:
    """What is typed is checked at once; recording draws the new point, counts it, and proposes the next period."""
    panel.choose("weekly coder")
    panel.expect_detail("Progress", "3 of 8 periods, weekly")
    panel.chart.wait_for()
    before = panel.drawing()
    panel.open_form("Record checkpoint")
    expect(panel.field("Period start (UTC)")).to_have_value("2026-02-02 00:00")
    panel.field("Sessions completed").fill("40")
    panel.field("Session success rate").fill("91")
    expect(panel.root.get_by_role("alert").filter(has_text="session_success_rate")).to_be_visible(timeout=SHOWN_MS)
    expect(panel.button("Record checkpoint")).to_be_disabled()
    panel.field("Session success rate").fill("0.91")
    panel.button("Record checkpoint").click()
    expect(panel.status).to_contain_text("Recorded", timeout=SHOWN_MS)
    panel.expect_detail("Progress", "4 of 8 periods, weekly")
    expect(panel.chart.locator("[aria-label*='91']").first).to_be_attached(timeout=SHOWN_MS)
    assert "91" not in before
    expect(panel.field("Period start (UTC)")).to_have_value("2026-02-09 00:00", timeout=SHOWN_MS)
    expect(panel.field("Session success rate")).to_have_value("")
    panel.metric.select_option(label="Sessions completed")
    expect(panel.chart).to_contain_text("Sessions completed", timeout=SHOWN_MS)


def test_what_another_process_does_appears_by_itself(panel: PanelPage, other: OtherProcess) -> None:
    """Within 3 seconds, without running a cell, while the focus and the half-typed text of a field stay."""
    panel.choose("weekly coder")
    panel.chart.wait_for()
    panel.open_form("Record checkpoint")
    field = panel.field("Total tokens")
    field.fill("12345")
    field.evaluate("one => one.setSelectionRange(1, 3)")
    field.evaluate("one => { window.blurred = 0; one.addEventListener('blur', () => { window.blurred += 1; }); }")
    for rate, start, end in ((0.97, "2026-02-02T00:00Z", "2026-02-09T00:00Z"), (0.13, "2026-02-09T00:00Z", "2026-02-16T00:00Z")):
        done = other.do("record_checkpoint", "weekly coder", metrics(rate, start, end))
        panel.chart.locator(f"[aria-label*='{rate * 100:.0f}']").first.wait_for(state="attached", timeout=SHOWN_MS)
        assert time.time() - done < 3
    panel.expect_detail("Progress", "5 of 8 periods, weekly")
    done = other.do("pause_study", "weekly coder")
    panel.expect_detail("Status", "paused")
    assert time.time() - done < 3
    panel.expect_buttons("Resume", "Stop")
    expect(field).to_be_focused()
    expect(field).to_have_value("12345")
    assert field.evaluate("one => [one.selectionStart, one.selectionEnd, window.blurred]") == [1, 3, 0]


def test_whoever_is_second_reads_what_happened(panel: PanelPage, other: OtherProcess) -> None:
    """The button was legal when it was seen; another process was quicker, and the status line says so."""
    panel.choose("weekly coder")
    panel.expect_buttons("Pause", "Stop")
    # Both within one breath of the panel: it has not read what the other did when the button is pressed.
    other.do("pause_study", "weekly coder")
    panel.button("Pause").dispatch_event("click")
    expect(panel.status).to_contain_text("paused", timeout=SHOWN_MS)
    panel.expect_detail("Status", "paused")
    panel.expect_buttons("Resume", "Stop")


def test_a_restarted_kernel_attaches_again(opened: Notebook, panel: PanelPage) -> None:
    """After a restart and running the cells again the same studies are there, and follow the buttons."""
    panel.press("Pause", "paused", "Paused")
    opened.restart()
    opened.run_all()
    again = PanelPage(opened, 1).ready()
    again.expect_detail("Status", "paused")
    again.press("Resume", "running", "Resumed")


def test_the_watcher_ends_with_the_last_view(opened: Notebook, panel: PanelPage) -> None:
    """A second view of the panel changes nothing; once the last cell that shows it is deleted, nothing watches any more."""
    second, threads = opened.add("panel"), opened.add(THREADS)
    opened.run(second)
    assert "evalkit-watcher" in opened.run(threads).inner_text()
    opened.delete(second)
    time.sleep(2)
    assert "evalkit-watcher" in opened.run(threads - 1).inner_text()
    opened.delete(1)
    deadline = time.monotonic() + 10
    while "evalkit-watcher" in opened.run(threads - 2).inner_text() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert "evalkit-watcher" not in opened.output(threads - 2).inner_text()


def test_a_cell_that_runs_again_replaces_its_panel(opened: Notebook, panel: PanelPage) -> None:
    """Also after the page was loaded again, which no kernel hears of: one panel lives, and close() ends the threads."""
    opened.save()
    opened.reload()
    opened.run(1)
    PanelPage(opened, 1).ready().expect_detail("Status", "running")
    assert (
        opened.value(
            "import gc, ipywidgets; len([w for w in ipywidgets.widgets.widget._instances.values() if 'evalkit-panel' in getattr(w, '_dom_classes', ())])"
        )
        == "1"
    )
    assert opened.value(f"panel.close(); {THREADS}") == "[]"


def test_fifty_panels_leave_nothing_behind(opened: Notebook, panel: PanelPage) -> None:
    """Opened, seen and closed again: no more threads, tasks, sockets, files and widgets than before."""
    count = opened.add(
        "import asyncio, gc, os, psutil, ipywidgets\n"
        "gc.collect()\n"
        "process = psutil.Process()\n"
        "sockets = len(process.net_connections()) if hasattr(process, 'net_connections') else len(process.connections())\n"
        "print(threading.active_count(), len(asyncio.all_tasks()), sockets, process.num_fds(), len(ipywidgets.widgets.widget._instances))"
    )
    again = opened.add("panel.close()\npanel = kit.panel()\npanel")
    for _ in range(2):
        opened.run(again)
        PanelPage(opened, again).ready()
    before = opened.run(count).inner_text()
    for _ in range(50):
        opened.run(again)
        PanelPage(opened, again).root.wait_for()
    PanelPage(opened, again).ready()
    time.sleep(1)
    after = opened.run(count).inner_text()
    assert all(now <= then for now, then in zip(map(int, after.split()), map(int, before.split()), strict=True)), (before, after)


def test_a_name_with_markup_is_text_everywhere(panel: PanelPage) -> None:
    """In the list, the details, the question, the status line, the chart and the forms; nothing of it runs."""
    panel.open_form("New study")
    panel.field("Name").fill(NAME)
    panel.field("Description").fill(NAME)
    panel.field("Tags").fill(NAME.replace(",", ""))
    panel.field("Metadata").fill(f"key={NAME}")
    panel.button("Create study").click()
    panel.expect_detail("Name", NAME)
    expect(panel.status).to_contain_text(NAME)
    panel.press("Start", "running", NAME)
    panel.open_form("Record checkpoint")
    panel.field("Sessions completed").fill("40")
    panel.field("Session success rate").fill("0.5")
    panel.button("Record checkpoint").click()
    expect(panel.status).to_contain_text("Recorded", timeout=SHOWN_MS)
    panel.chart.wait_for()
    panel.button("Stop").click()
    expect(panel.root).to_contain_text(f"Stop {NAME!r} for good?")
    panel.search.fill("<img")
    expect(panel.studies.locator("option")).to_have_count(1)
    assert panel.root.locator("img, script").count() == 0


def test_the_panel_is_readable_and_open_to_screen_readers(opened: Notebook, panel: PanelPage) -> None:
    """No serious rule of accessibility is broken with either form open, and the chart is readable in both themes."""
    panel.chart.wait_for()
    for theme in ("light", "dark"):
        opened.theme(theme)
        try:
            for title in ("New study", "Record checkpoint"):
                panel.open_form(title)
                assert opened.axe(opened.output(1)) == []
            assert faults(panel.chart.locator("xpath=..")) == []
        finally:
            opened.theme("light")


def test_everything_is_reached_by_keyboard(opened: Notebook, panel: PanelPage) -> None:
    """Tab goes through the list, the buttons and the headings of the forms; space and Enter press them."""
    panel.search.focus()
    reached = []
    for _ in range(12):
        opened.page.keyboard.press("Tab")
        reached.append(opened.page.evaluate("(document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim()"))
    assert {"Studies", "Pause", "Stop", "Metric", "Refresh"} <= set(reached)
    panel.button("Pause").focus()
    opened.page.keyboard.press("Space")
    panel.expect_detail("Status", "paused")


def test_without_its_kernel_a_table_and_a_picture_stand_in(opened: Notebook, panel: PanelPage, notebook: OpenNotebook, lab: Lab) -> None:
    """Reopened in a notebook that is trusted, and in one that is not: what the panel showed, as table and picture."""
    opened.save()
    lab.end_kernels()
    saved = lab.root / opened.path
    trusted = notebook(opened.path, kernel=False)
    copy = trusted.output(1).last
    copy.get_by_text("Static copy").click()
    expect(copy.get_by_role("rowheader", name="weekly coder")).to_be_visible()
    expect(copy.locator("img[alt*='uccess']")).to_be_visible()
    stranger = nbformat.read(saved, as_version=4)
    stranger.cells[0].source += "\n# from elsewhere"
    untrusted = notebook(lab.write(f"{saved.parent.name}/untrusted.ipynb", stranger), kernel=False)
    shown = untrusted.output(1).first
    expect(shown.get_by_role("rowheader", name="weekly coder")).to_be_visible()
    expect(shown.locator("img[alt*='uccess']")).to_be_visible()
    assert shown.locator("img").evaluate("one => one.naturalWidth") > 200
    assert untrusted.axe(untrusted.output(1)) == []
