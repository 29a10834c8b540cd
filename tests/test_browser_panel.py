"""The panel in JupyterLab: studies driven by clicking, followed while others change them, and nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Browser, expect

from tests.browser import Notebook, Tab
from tests.lab import HOME, REPOSITORY, Lab
from tests.panel_page import SHOWN_MS, PanelPage
from tests.properties import in_long_form
from tests.sight import faults

NAME = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
NUMBERS = count(1)
SHOW = "kit.panel()"
STUDY = """
from datetime import datetime, timedelta, timezone
study = kit.start_study(kit.create_study({name!r}, period="weekly:8"))
week, begin = timedelta(weeks=1), datetime(2026, 1, 5, tzinfo=timezone.utc)
for number in (0, 1, 3):
    period = (begin + number * week, begin + (number + 1) * week)
    kit.record_checkpoint(study, {{"sessions_completed": 40, "session_success_rate": 0.5 + number / 20, "period": period}})
""".strip()
"""A running study with a gap, whose next period begins on 2026-02-02."""
THREADS = "import threading; sorted(thread.name for thread in threading.enumerate() if thread.name.startswith('evalkit'))"
PANELS = (
    "import gc, ipywidgets; gc.collect(); "
    "sum('evalkit-panel' in getattr(one, '_dom_classes', ()) for one in ipywidgets.widgets.widget._instances.values())"
)
COUNT = """
import asyncio, gc, psutil, threading, ipywidgets
gc.collect()
process = psutil.Process()
sockets = len(process.net_connections() if hasattr(process, "net_connections") else process.connections())
print(threading.active_count(), len(asyncio.all_tasks()), sockets, process.num_fds(), len(ipywidgets.widgets.widget._instances))
""".strip()
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


@pytest.fixture(scope="module")
def desk(chromium: Browser, lab: Lab) -> Iterator[Notebook]:
    """Notebook 02, open and run; each test works with a study of its own in it."""
    tab = Tab(chromium)
    path = lab.copy(REPOSITORY / "notebooks" / "02_lifecycle_panel.ipynb", "desk/02_lifecycle_panel.ipynb")
    opened = Notebook(tab, lab, path).open()
    opened.run_all()
    yield opened
    lab.end_kernels(path)
    tab.close()


@pytest.fixture
def name() -> str:
    """What the test's own study is called: short, since the list shortens."""
    return f"study no. {next(NUMBERS)}."


@pytest.fixture
def panel(desk: Notebook, name: str) -> Iterator[PanelPage]:
    """The panel of notebook 02, which shows the test's own study."""
    page = PanelPage(desk, desk.find(SHOW))
    if page.root.count() == 0:  # an earlier test took it away
        desk.run(desk.find(SHOW))
    page.ready()
    page.search.fill("")
    page.metric.select_option(label="Session success rate")
    desk.tell(STUDY.format(name=name))
    page.choose(name)
    yield page
    desk.tab.check()


@pytest.fixture(scope="module")
def other(desk: Notebook, lab: Lab) -> Iterator[OtherProcess]:
    process = OtherProcess(lab, (lab.root / desk.path).parent / HOME)
    yield process
    process.end()


def metrics(rate: float, start: str, end: str) -> dict[str, Any]:
    return {"sessions_completed": 40, "session_success_rate": rate, "period": [start, end]}


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_checkpoint_is_recorded_through_the_form(panel: PanelPage) -> None:
    """What is typed is checked at once; recording draws the new point, counts it, and proposes the next period."""
    panel.expect_detail("Progress", "3 of 8 periods, weekly")
    panel.chart.wait_for()
    before = panel.drawing()
    panel.open_form("Record checkpoint")
    expect(panel.field("Period start (UTC)")).to_have_value("2026-02-02 00:00")
    panel.field("Sessions completed").fill("40")
    panel.field("Session success rate").fill("91")
    expect(panel.root.get_by_role("alert").filter(has_text="session_success_rate")).to_be_visible(timeout=SHOWN_MS)
    expect(panel.button("Record")).to_be_disabled()
    panel.field("Session success rate").fill("0.91")
    panel.button("Record").click()
    expect(panel.status).to_contain_text("Recorded", timeout=SHOWN_MS)
    panel.expect_detail("Progress", "4 of 8 periods, weekly")
    expect(panel.chart.locator("[aria-label*='91']").first).to_be_attached(timeout=SHOWN_MS)
    assert "91" not in before
    expect(panel.field("Period start (UTC)")).to_have_value("2026-02-09 00:00", timeout=SHOWN_MS)
    expect(panel.field("Session success rate")).to_have_value("")
    panel.metric.select_option(label="Sessions completed")
    expect(panel.chart).to_contain_text("Sessions completed", timeout=SHOWN_MS)


@pytest.mark.slow
def test_what_another_process_does_appears_by_itself(panel: PanelPage, other: OtherProcess, name: str) -> None:
    """Within 3 seconds, without running a cell, while the focus and the half-typed text of a field stay."""
    panel.chart.wait_for()
    panel.open_form("Record checkpoint")
    field = panel.field("Total tokens")
    field.fill("12345")
    field.evaluate("one => one.setSelectionRange(1, 3)")
    field.evaluate("one => { window.blurred = 0; one.addEventListener('blur', () => { window.blurred += 1; }); }")
    for rate, start, end in ((0.97, "2026-02-02T00:00Z", "2026-02-09T00:00Z"), (0.13, "2026-02-09T00:00Z", "2026-02-16T00:00Z")):
        done = other.do("record_checkpoint", name, metrics(rate, start, end))
        panel.chart.locator(f"[aria-label*='{rate * 100:.0f}']").first.wait_for(state="attached", timeout=SHOWN_MS)
        assert time.time() - done < 3
    panel.expect_detail("Progress", "5 of 8 periods, weekly")
    done = other.do("pause_study", name)
    panel.expect_detail("Status", "paused")
    assert time.time() - done < 3
    panel.expect_buttons("Resume", "Stop")
    expect(field).to_be_focused()
    expect(field).to_have_value("12345")
    assert field.evaluate("one => [one.selectionStart, one.selectionEnd, window.blurred]") == [1, 3, 0]


def test_whoever_is_second_reads_what_happened(panel: PanelPage, other: OtherProcess, name: str) -> None:
    """The button was legal when it was seen; another process was quicker, and the status line says so."""
    panel.expect_buttons("Pause", "Stop")
    # Both within one breath of the panel: it has not read what the other did when the button is pressed.
    other.do("pause_study", name)
    panel.button("Pause").dispatch_event("click")
    expect(panel.status).to_contain_text("paused", timeout=SHOWN_MS)
    panel.expect_detail("Status", "paused")
    panel.expect_buttons("Resume", "Stop")


@pytest.mark.slow
def test_a_restarted_kernel_attaches_again(desk: Notebook, panel: PanelPage, name: str) -> None:
    """After a restart and running the cells again the same studies are there, and follow the buttons."""
    panel.press("Pause", "paused", "Paused")
    desk.restart()
    desk.run_all()
    panel.ready()
    panel.choose(name)
    panel.expect_detail("Status", "paused")
    panel.press("Resume", "running", "Resumed")


@pytest.mark.slow
def test_the_watcher_ends_with_the_last_view(desk: Notebook, panel: PanelPage) -> None:
    """A second view of a panel changes nothing; once the last cell that shows one is deleted, nothing watches any more."""
    threads, first, second = desk.add(THREADS), desk.add("shown = kit.panel()\nshown"), desk.add("shown")
    desk.clear(desk.find(SHOW))
    desk.run(first)
    desk.run(second)
    desk.clear(first)
    time.sleep(2)
    assert "evalkit-watcher" in desk.run(threads).inner_text()
    desk.delete(second)
    deadline = time.monotonic() + 10
    while "evalkit-watcher" in desk.run(threads).inner_text() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert "evalkit-watcher" not in desk.output(threads).inner_text()
    desk.tell("shown.close()")


@pytest.mark.slow
def test_a_cell_that_runs_again_replaces_its_panel(desk: Notebook, panel: PanelPage, name: str) -> None:
    """Also after the page was loaded again, which no kernel hears of: one panel lives, and with close() its threads end."""
    cell = desk.add("mine = kit.panel()\nmine")
    desk.run(cell)
    before = desk.value(PANELS)
    desk.save()
    desk.reload()
    desk.run(cell)
    PanelPage(desk, cell).ready().choose(name)
    assert desk.value(PANELS) == before
    desk.tell("mine.close()")
    desk.run(desk.find(SHOW))
    assert int(desk.value(PANELS)) == int(before) - 1


@pytest.mark.slow
def test_many_panels_leave_nothing_behind(desk: Notebook, panel: PanelPage) -> None:
    """Opened, seen and closed again: no more threads, tasks, sockets, files and widgets than before."""
    desk.clear(desk.find(SHOW))
    counting, again = desk.add(COUNT), desk.add("mine = kit.panel()\nmine")
    page = PanelPage(desk, again)
    for _ in range(2):
        desk.run(again)
        page.ready()

    def counted() -> list[int]:
        return [int(number) for number in desk.run(counting).inner_text().split()]

    before = counted()
    for _ in range(in_long_form(50, 3)):
        desk.run(again)  # closes the one before
        page.root.wait_for()
    page.ready()
    # A panel that looks at the read model has it open for a moment, and what the last ones opened may end later than they do.
    until = time.monotonic() + 20
    after = counted()
    while any(now > then for now, then in zip(after, before, strict=True)):
        assert time.monotonic() < until, (before, after)
        after = counted()
    desk.tell("mine.close()")
    desk.clear(again)


@pytest.mark.slow
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
    panel.button("Record").click()
    expect(panel.status).to_contain_text("Recorded", timeout=SHOWN_MS)
    panel.chart.wait_for()
    panel.button("Stop").click()
    expect(panel.root).to_contain_text(f"Stop {NAME!r} for good?")
    panel.search.fill("<img")
    expect(panel.studies.locator("option")).to_have_count(1)
    assert panel.root.locator("img, script").count() == 0


@pytest.mark.slow
def test_the_panel_is_readable_and_open_to_screen_readers(desk: Notebook, panel: PanelPage) -> None:
    """No serious rule of accessibility is broken with either form open; labels are whole, and the chart is readable in both themes."""
    panel.chart.wait_for()
    try:
        for theme in ("light", "dark"):
            desk.theme(theme)
            for title in ("New study", "Record checkpoint"):
                panel.open_form(title)
                assert desk.axe(desk.output(desk.find(SHOW))) == []
                assert panel.cut() == []
            assert faults(panel.chart.locator("xpath=..")) == []
    finally:
        desk.theme("light")


@pytest.mark.slow
def test_everything_is_reached_by_keyboard(desk: Notebook, panel: PanelPage, name: str) -> None:
    """Enter in the search goes to the next study; Tab goes through the buttons and headings, and the space bar presses them."""
    desk.tell(f"kit.create_study({name!r} + ' too')")
    expect(panel.studies.locator("option", has_text=f"{name} too")).to_have_count(1, timeout=SHOWN_MS)
    panel.search.focus()
    desk.page.keyboard.type(name)
    expect(panel.studies.locator("option")).to_have_count(2, timeout=SHOWN_MS)
    for shown in (f"{name} too", name):
        desk.page.keyboard.press("Enter")
        panel.expect_detail("Name", shown)
    expect(panel.search).to_be_focused()
    reached = []
    for _ in range(8):
        desk.page.keyboard.press("Tab")
        reached.append(desk.page.evaluate("(document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim()"))
    assert {"Studies", "Pause", "Stop", "Metric", "New study"} <= set(reached)
    panel.button("Pause").focus()
    desk.page.keyboard.press("Space")
    panel.expect_detail("Status", "paused")
    panel.button("New study").focus()
    desk.page.keyboard.press("Space")
    expect(panel.field("Name")).to_be_visible()
    desk.page.keyboard.press("Space")
    expect(panel.field("Name")).to_be_hidden()


@pytest.mark.slow
def test_without_its_kernel_a_table_and_a_picture_are_shown(desk: Notebook, panel: PanelPage, name: str, lab: Lab) -> None:
    """Reopened in a notebook that is trusted, and in one that is not: what the panel showed, as table and picture."""
    cell = desk.add(f"kit.panel({name!r})")
    desk.run(cell)
    desk.save()
    trusted = desk.open_beside(lab.copy(lab.root / desk.path, "trusted.ipynb"), kernel=False)
    copy = trusted.output(cell).last
    copy.get_by_text("Static copy").click()
    expect(copy.get_by_role("rowheader", name=name)).to_be_visible()
    expect(copy.locator("img[alt*='uccess']")).to_be_visible()
    trusted.close()
    stranger = nbformat.read(lab.root / desk.path, as_version=4)
    stranger.cells[cell].source += "  # from elsewhere"
    untrusted = desk.open_beside(lab.write("untrusted.ipynb", stranger), kernel=False)
    shown = untrusted.output(cell).first
    expect(shown.get_by_role("rowheader", name=name)).to_be_visible()
    picture = shown.locator("img[alt*='uccess']")
    expect(picture).to_be_visible()
    assert picture.evaluate("one => one.naturalWidth") > 200
    assert untrusted.axe(untrusted.output(cell)) == []
    untrusted.close()


def test_a_trial_of_every_cell_asks_nothing_of_the_network(desk: Notebook) -> None:
    """Notebook 02 ran from top to bottom without an error, a dialog, or a request to another host."""
    desk.no_errors()
    desk.tab.check()
