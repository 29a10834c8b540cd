"""The panel in JupyterLab: controlling studies, following changes by other processes, and releasing all resources."""

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
"""A running study with a gap; its next period begins on 2026-02-02."""
THREADS = "import threading; sorted(thread.name for thread in threading.enumerate() if thread.name.startswith('evalkit'))"
PANELS = (
    "import gc, ipywidgets; gc.collect(); "
    "sum('evalkit-panel' in getattr(widget, '_dom_classes', ()) for widget in ipywidgets.widgets.widget._instances.values())"
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
    options = arguments.pop() if isinstance(arguments[-1], dict) and "reason" in arguments[-1] else {}
    getattr(kit, command)(*arguments, **options)
    print(time.time(), flush=True)
"""


class OtherProcess:
    """A second process with a kit on the same home, which runs commands on request."""

    def __init__(self, lab: Lab, home: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", OTHER, str(home)], env=lab.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def do(self, command: str, *arguments: object) -> float:
        """Run a command and return the time at which it finished."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([command, arguments]) + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def end(self) -> None:
        self._process.communicate(timeout=20)


@pytest.fixture(scope="module")
def desk(chromium: Browser, lab: Lab) -> Iterator[Notebook]:
    """Notebook 02, opened and run; each test uses its own study in it."""
    tab = Tab(chromium)
    path = lab.copy(REPOSITORY / "notebooks" / "02_lifecycle_panel.ipynb", "desk/02_lifecycle_panel.ipynb")
    opened = Notebook(tab, lab, path).open()
    opened.run_all()
    yield opened
    lab.end_kernels(path)
    tab.close()


@pytest.fixture
def name() -> str:
    """Name of the test's own study."""
    return f"study no. {next(NUMBERS)}."


@pytest.fixture
def panel(desk: Notebook, name: str) -> Iterator[PanelPage]:
    """The panel of notebook 02, showing the test's own study."""
    page = PanelPage(desk, desk.find(SHOW))
    if page.root.count() == 0:  # an earlier test removed it
        desk.run(desk.find(SHOW))
    page.ready()
    page.search.fill("")
    page.metric.select_option(label="Session success rate")
    desk.execute(STUDY.format(name=name))
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
def test_lifecycle_buttons(panel: PanelPage) -> None:
    """A study is created, started, paused, resumed and stopped; buttons of other commands are disabled with a reason."""
    panel.open_form("New study")
    expect(panel.button("Create study")).to_be_disabled()
    panel.field("Name").fill("made by clicking")
    panel.field("Planned periods").fill("x")
    expect(panel.root.get_by_role("alert").filter(has_text="'x'")).to_be_visible(timeout=SHOWN_MS)
    expect(panel.button("Create study")).to_be_disabled()
    panel.field("Planned periods").fill("3")
    panel.button("Create study").click()
    panel.expect_name("made by clicking")
    panel.expect_status("pending")
    panel.expect_fact("Progress", "0 of 3 periods, daily")
    panel.expect_buttons("Start", "Stop")
    expect(panel.button("Pause")).to_have_attribute("title", "Only a running study can be paused; this one is pending.")
    panel.press("Start", "running", "Started 'made by clicking'")
    panel.expect_buttons("Pause", "Stop")
    panel.press("Pause", "paused", "Paused 'made by clicking'")
    panel.expect_buttons("Resume", "Stop")
    panel.press("Resume", "running", "Resumed 'made by clicking'")
    panel.expect_buttons("Pause", "Stop")
    panel.button("Stop").click()
    panel.button("Cancel").click()
    expect(panel.button("Cancel")).to_be_hidden()
    panel.expect_status("running")
    panel.button("Stop").click()
    panel.press("Stop study", "stopped", "Stopped 'made by clicking'")
    panel.expect_buttons()
    expect(panel.row("made by clicking")).to_contain_text("Stopped")


@pytest.mark.slow
def test_record_checkpoint_form(panel: PanelPage, name: str) -> None:
    """Input is validated while typing; recording updates chart, list and progress, and proposes the next period."""
    panel.expect_fact("Progress", "3 of 8 periods, weekly")
    panel.chart.wait_for()
    before = panel.drawing()
    panel.open_form("Record checkpoint")
    expect(panel.field("Period start (UTC)")).to_have_value("2026-02-02 00:00")
    panel.field("Sessions completed").fill("40")
    panel.field("Session success rate").fill("91")
    expect(panel.root.get_by_role("alert").filter(has_text="session_success_rate 91")).to_be_visible(timeout=SHOWN_MS)
    expect(panel.button("Record")).to_be_disabled()
    panel.field("Session success rate").fill("0.91")
    panel.button("Record").click()
    expect(panel.message).to_contain_text("Recorded", timeout=SHOWN_MS)
    panel.expect_fact("Progress", "4 of 8 periods, weekly")
    expect(panel.row(name)).to_contain_text("91.0")
    expect(panel.row(name)).to_contain_text("4/8")
    expect(panel.chart.locator("[aria-label*='91']").first).to_be_attached(timeout=SHOWN_MS)
    assert "91" not in before
    expect(panel.field("Period start (UTC)")).to_have_value("2026-02-09 00:00", timeout=SHOWN_MS)
    expect(panel.field("Session success rate")).to_have_value("")
    panel.metric.select_option(label="Sessions completed")
    expect(panel.chart).to_contain_text("Sessions completed", timeout=SHOWN_MS)


@pytest.mark.slow
def test_custom_metric_is_recorded_and_picked(desk: Notebook, panel: PanelPage, other: OtherProcess, name: str) -> None:
    """A metric that is defined while the form is open gets a field; its value is in the chart and the list."""
    panel.open_form("Record checkpoint")
    panel.field("Sessions completed").fill("40")
    desk.execute(
        f"from evalkit import Metric; kit.define_metric({name!r}, Metric('refusal_rate', kind='rate', better='down', label='Refusals <b>'))"
    )
    field = panel.field("Refusals <b>")
    expect(field).to_have_attribute("placeholder", "0 to 1", timeout=SHOWN_MS)
    expect(panel.field("Sessions completed")).to_have_value("40")
    field.fill("0.21")
    panel.button("Record").click()
    expect(panel.message).to_contain_text("Recorded 2 metrics", timeout=SHOWN_MS)
    panel.metric.select_option(label="Custom: Refusals <b>")
    panel.chart.locator("[aria-label*='21']").first.wait_for(state="attached", timeout=SHOWN_MS)
    expect(panel.row(name)).to_contain_text("21.0%")
    expect(panel.root.locator(".evalkit-list-head")).to_contain_text("Refusals <b> (last)")


@pytest.mark.slow
def test_note_is_added(desk: Notebook, panel: PanelPage, name: str) -> None:
    """Markup in a note is shown as text."""
    panel.open_form("Notes")
    expect(panel.button("Add note")).to_be_disabled()
    panel.field("Category").select_option(label="model")
    panel.field("Time of the note (UTC)").fill("2026-01-13")
    panel.field("Note").fill(NAME)
    panel.button("Add note").click()
    expect(panel.message).to_contain_text(f"Added a note to '{name}', 2026-01-13 00:00 UTC, model.", timeout=SHOWN_MS)
    expect(panel.root.get_by_role("cell", name=NAME)).to_be_visible()
    expect(panel.field("Note")).to_have_value("")
    assert panel.root.locator("img, script").count() == 0
    assert desk.value(f"print(kit.notes({name!r})['category'].to_list())") == "['model']"


@pytest.mark.slow
def test_checkpoint_is_amended_and_retracted(desk: Notebook, panel: PanelPage, other: OtherProcess, name: str) -> None:
    """A conflict shows the other values and keeps what was typed; a retraction needs a reason and a confirmation."""
    panel.open_form("Amend or retract")
    checkpoint = desk.value(f"print(kit.checkpoints({name!r})['checkpoint_id'][-1])")
    expect(panel.field("Checkpoint")).to_have_value("2026-01-26 to 2026-02-02 UTC", timeout=SHOWN_MS)
    rate = panel.field("Session success rate")
    expect(rate).to_have_value("0.65")
    rate.fill("0.71")
    panel.field("Reason").fill("wrong judge")
    other.do("amend_checkpoint", checkpoint, {"session_success_rate": 0.68}, {"reason": "theirs", "author": "bob"})
    alert = panel.root.get_by_role("alert").filter(
        has_text="amended meanwhile: Session success rate: 65.0% → 68.0% (by bob, reason: theirs)"
    )
    expect(alert.first).to_be_visible(timeout=SHOWN_MS)
    expect(rate).to_have_value("0.71")
    expect(panel.button("Amend")).to_be_disabled()
    panel.button("Use latest version").click()
    panel.button("Amend").click()
    expect(panel.message).to_contain_text("now revision 2", timeout=SHOWN_MS)
    expect(panel.root.get_by_role("rowheader", name="Revision 2")).to_be_visible()
    expect(panel.row(name)).to_contain_text("71.0%")
    expect(panel.button("Retract checkpoint")).to_be_disabled()
    panel.field("Reason").fill("wrong model")
    panel.button("Retract checkpoint").click()
    expect(panel.button("Keep checkpoint")).to_be_focused()
    desk.page.keyboard.press("Enter")
    expect(panel.button("Retract checkpoint")).to_be_focused()
    desk.page.keyboard.press("Enter")
    panel.button("Retract permanently").click()
    expect(panel.message).to_contain_text("Retracted the checkpoint 2026-01-26 to 2026-02-02 UTC.", timeout=SHOWN_MS)
    panel.expect_fact("Progress", "2 of 8 periods, weekly")
    expect(panel.field("Checkpoint")).to_have_value("2026-01-12 to 2026-01-19 UTC", timeout=SHOWN_MS)


@pytest.mark.slow
def test_study_is_renamed_edited_and_archived(panel: PanelPage, name: str) -> None:
    """An archived study is behind a filter, and can be restored."""
    panel.open_form("Edit study")
    panel.field("Study name").fill(f"{name} renamed")
    panel.field("Study description").fill("A better question")
    panel.field("Study tags").fill("edited, twice")
    panel.button("Save changes").click()
    panel.expect_name(f"{name} renamed")
    expect(panel.root.locator(".evalkit-description")).to_have_text("A better question")
    expect(panel.root.locator(".evalkit-label").filter(has_text="twice")).to_be_visible()
    expect(panel.button("Save changes")).to_be_disabled()
    panel.button("Archive study").click()
    expect(panel.message).to_contain_text("Archived", timeout=SHOWN_MS)
    expect(panel.row(f"{name} renamed")).to_have_count(0)
    panel.field("Status").select_option(label="Archived")
    expect(panel.row(f"{name} renamed")).to_contain_text("Archived", timeout=SHOWN_MS)
    panel.button("Restore study").click()
    expect(panel.row(f"{name} renamed")).to_have_count(0, timeout=SHOWN_MS)
    panel.field("Status").select_option(label="All")
    expect(panel.row(f"{name} renamed")).to_have_count(1, timeout=SHOWN_MS)


@pytest.mark.slow
def test_earlier_state_is_read_only(desk: Notebook, panel: PanelPage, other: OtherProcess, name: str) -> None:
    """The panel says so, disables all commands, and ignores changes until the latest state is chosen."""
    pin = desk.value("print(kit.pin())")
    other.do("rename_study", name, f"{name} renamed")
    panel.expect_name(f"{name} renamed")
    panel.open_form("Record checkpoint")
    panel.as_of.select_option(label="Other…")
    panel.field("Time or pin").fill("soon")
    panel.field("Time or pin").press("Enter")
    expect(panel.message).to_contain_text("Invalid as_of 'soon': not a time", timeout=SHOWN_MS)
    panel.expect_buttons("Pause", "Stop")
    panel.field("Time or pin").fill(pin)
    panel.field("Time or pin").press("Enter")
    panel.expect_name(name)
    expect(panel.banner).to_contain_text("Read-only: showing the state as of pin:")
    panel.expect_buttons()
    expect(panel.field("Total tokens")).to_be_disabled()
    other.do("pause_study", f"{name} renamed")
    time.sleep(2)
    panel.expect_name(name)
    panel.expect_status("running")
    panel.button("Show latest").click()
    panel.expect_name(f"{name} renamed")
    panel.expect_status("paused")
    panel.expect_buttons("Resume", "Stop")
    expect(panel.banner).to_be_hidden()
    expect(panel.as_of).to_be_focused()


@pytest.mark.slow
def test_two_panels_see_each_others_changes(desk: Notebook, panel: PanelPage, name: str) -> None:
    """What is typed in one is kept when the other one changes the study."""
    cell = desk.add(f"second = kit.panel({name!r})\nsecond")
    desk.run(cell)
    second = PanelPage(desk, cell).ready()
    second.open_form("Amend or retract")
    panel.open_form("Notes")
    panel.field("Note").fill("typed")
    second.field("Session success rate").fill("0.5")
    second.field("Reason").fill("why")
    second.button("Amend").click()
    expect(panel.row(name)).to_contain_text("50.0%", timeout=SHOWN_MS)
    expect(panel.field("Note")).to_have_value("typed")
    panel.button("Add note").click()
    second.expect_fact("Notes", "1")
    second.open_form("Edit study")
    second.field("Study name").fill(f"{name} renamed")
    second.button("Save changes").click()
    panel.expect_name(f"{name} renamed")
    desk.execute("second.close()")
    desk.delete(cell)  # the study has another name now, and other tests run all cells


@pytest.mark.slow
def test_changes_by_another_process_appear(panel: PanelPage, other: OtherProcess, name: str) -> None:
    """They appear within 3 seconds without running a cell; the focus, selection and text of a field are kept."""
    panel.chart.wait_for()
    panel.open_form("Record checkpoint")
    field = panel.field("Total tokens")
    field.fill("12345")
    field.evaluate("input => input.setSelectionRange(1, 3)")
    field.evaluate("input => { window.blurred = 0; input.addEventListener('blur', () => { window.blurred += 1; }); }")
    for rate, start, end in ((0.97, "2026-02-02T00:00Z", "2026-02-09T00:00Z"), (0.13, "2026-02-09T00:00Z", "2026-02-16T00:00Z")):
        done = other.do("record_checkpoint", name, metrics(rate, start, end))
        panel.chart.locator(f"[aria-label*='{rate * 100:.0f}']").first.wait_for(state="attached", timeout=SHOWN_MS)
        assert time.time() - done < 3
    panel.expect_fact("Progress", "5 of 8 periods, weekly")
    done = other.do("pause_study", name)
    panel.expect_status("paused")
    assert time.time() - done < 3
    panel.expect_buttons("Resume", "Stop")
    expect(field).to_be_focused()
    expect(field).to_have_value("12345")
    assert field.evaluate("input => [input.selectionStart, input.selectionEnd, window.blurred]") == [1, 3, 0]


def test_concurrent_command_is_reported(panel: PanelPage, other: OtherProcess, name: str) -> None:
    """The status line reports that another process applied the command first."""
    panel.expect_buttons("Pause", "Stop")
    # The button is pressed before the panel reads the change.
    other.do("pause_study", name)
    panel.button("Pause").dispatch_event("click")
    expect(panel.message).to_contain_text("paused", timeout=SHOWN_MS)
    panel.expect_status("paused")
    panel.expect_buttons("Resume", "Stop")


@pytest.mark.slow
def test_panel_works_after_kernel_restart(desk: Notebook, panel: PanelPage, name: str) -> None:
    """After a restart, running the cells again shows the same studies with working buttons."""
    panel.press("Pause", "paused", "Paused")
    desk.restart()
    desk.run_all()
    panel.ready()
    panel.choose(name)
    panel.expect_status("paused")
    panel.press("Resume", "running", "Resumed")


@pytest.mark.slow
def test_watcher_ends_with_last_view(desk: Notebook, panel: PanelPage) -> None:
    """The watcher keeps running while one of two views is left, and ends when the last one is deleted."""
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
    desk.execute("shown.close()")


@pytest.mark.slow
def test_rerun_cell_replaces_its_panel(desk: Notebook, panel: PanelPage, name: str) -> None:
    """Running a cell again closes its earlier panel, also after the page was reloaded."""
    cell = desk.add("mine = kit.panel()\nmine")
    desk.run(cell)
    before = desk.value(PANELS)
    desk.save()
    desk.reload()
    desk.run(cell)
    PanelPage(desk, cell).ready().choose(name)
    assert desk.value(PANELS) == before
    desk.execute("mine.close()")
    desk.run(desk.find(SHOW))
    assert int(desk.value(PANELS)) == int(before) - 1


@pytest.mark.slow
def test_closed_panels_release_resources(desk: Notebook, panel: PanelPage) -> None:
    """Threads, tasks, sockets, files and widgets do not accumulate when panels are opened and closed."""
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
        desk.run(again)  # closes the previous panel
        page.root.wait_for()
    page.ready()
    # Connections of the last panels may be closed a moment after them.
    until = time.monotonic() + 20
    after = counted()
    while any(now > then for now, then in zip(after, before, strict=True)):
        assert time.monotonic() < until, (before, after)
        after = counted()
    desk.execute("mine.close()")
    desk.clear(again)


@pytest.mark.slow
def test_markup_in_names_is_shown_as_text(panel: PanelPage) -> None:
    """Markup is inert in the list, details, confirmation, status line, chart and forms."""
    panel.open_form("New study")
    panel.field("Name").fill(NAME)
    panel.field("Description").fill(NAME)
    panel.field("Tags").fill(NAME.replace(",", ""))
    panel.field("Metadata").fill(f"key={NAME}")
    panel.button("Create study").click()
    panel.expect_name(NAME)
    expect(panel.message).to_contain_text(NAME)
    panel.press("Start", "running", NAME)
    panel.open_form("Record checkpoint")
    panel.field("Sessions completed").fill("40")
    panel.field("Session success rate").fill("0.5")
    panel.button("Record").click()
    expect(panel.message).to_contain_text("Recorded", timeout=SHOWN_MS)
    panel.chart.wait_for()
    panel.button("Stop").click()
    expect(panel.root).to_contain_text(f"Stop {NAME!r} permanently?")
    panel.search.fill("<img")
    expect(panel.rows).to_have_count(1)
    assert panel.root.locator("img, script").count() == 0


@pytest.mark.slow
def test_panel_is_accessible_in_both_themes(desk: Notebook, panel: PanelPage, name: str) -> None:
    """axe finds no serious violation with any section open or in an earlier state; no label is cut; the chart is readable."""
    panel.chart.wait_for()
    desk.execute(f"kit.note({name!r}, 'New model')")
    desk.execute(f"kit.amend_checkpoint(kit.checkpoints({name!r})['checkpoint_id'][-1], {{'session_success_rate': 0.6}}, reason='r')")
    panel.expect_fact("Notes", "1")
    try:
        for theme in ("light", "dark"):
            desk.theme(theme)
            for title in ("New study", "Record checkpoint", "Notes", "Amend or retract", "Edit study"):
                panel.open_form(title)
                assert desk.axe(desk.output(desk.find(SHOW))) == []
                assert panel.cut() == []
            assert faults(panel.chart.locator("xpath=..")) == []
            panel.as_of.select_option(label="End of yesterday")
            expect(panel.banner).to_be_visible(timeout=SHOWN_MS)
            assert desk.axe(desk.output(desk.find(SHOW))) == []
            panel.button("Show latest").click()
            panel.expect_name(name)
    finally:
        desk.theme("light")


@pytest.mark.slow
def test_keyboard_operation(desk: Notebook, panel: PanelPage, name: str) -> None:
    """Enter in the search selects the next study; Tab reaches rows, buttons and headings, and the space bar presses them."""
    desk.execute(f"kit.create_study({name!r} + ' too')")
    panel.search.focus()
    desk.page.keyboard.type(name)
    expect(panel.rows).to_have_count(2, timeout=SHOWN_MS)
    for shown in (f"{name} too", name):
        desk.page.keyboard.press("Enter")
        panel.expect_name(shown)
    expect(panel.search).to_be_focused()
    reached = []
    for _ in range(8):
        desk.page.keyboard.press("Tab")
        reached.append(desk.page.evaluate("(document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim()"))
    assert {"Refresh", "Pause", "Stop", "Metric", "New study"} <= set(reached)
    assert [label.partition(",")[0] for label in reached if ", " in label] == [f"{name} too", f"Selected: {name}"]
    panel.row_label(f"{name} too").focus()
    desk.page.keyboard.press("Space")
    panel.expect_name(f"{name} too")
    expect(panel.row_label(f"{name} too")).to_be_focused()
    desk.page.keyboard.press("Tab")
    desk.page.keyboard.press("Enter")
    panel.expect_name(name)
    panel.button("Pause").focus()
    desk.page.keyboard.press("Space")
    panel.expect_status("paused")
    panel.button("New study").focus()
    desk.page.keyboard.press("Space")
    expect(panel.field("Name")).to_be_visible()
    desk.page.keyboard.press("Space")
    expect(panel.field("Name")).to_have_count(0)


@pytest.mark.slow
def test_panel_fits_narrow_outputs(desk: Notebook, panel: PanelPage) -> None:
    """In a narrow notebook the list is above the details, and nothing is wider than the panel."""
    panel.chart.wait_for()
    size = desk.page.viewport_size
    assert size is not None
    try:
        desk.page.set_viewport_size({"width": 860, "height": 1000})
        desk.page.wait_for_function(
            "root => root.querySelector('.evalkit-study').offsetTop > root.querySelector('.evalkit-list').offsetTop + 40",
            arg=panel.root.element_handle(),
        )
        for title in ("New study", "Record checkpoint", "Notes", "Amend or retract", "Edit study"):
            panel.open_form(title)
            wider = panel.root.evaluate(
                """root => { const right = root.getBoundingClientRect().right + 1;
                    return [...root.querySelectorAll('*')].filter(each => each.offsetParent && each.getBoundingClientRect().right > right)
                        .map(each => each.className); }"""
            )
            assert wider == []
            assert panel.cut() == []
    finally:
        desk.page.set_viewport_size(size)


@pytest.mark.slow
def test_study_id_is_short_and_copied_in_full(desk: Notebook, panel: PanelPage, name: str) -> None:
    """The panel shows the last 8 characters; a click selects the full id, which the tooltip shows, too."""
    study_id = desk.value(f"print(kit.resolve({name!r}).id)")
    shown = panel.root.locator(".evalkit-id")
    assert study_id in (shown.get_attribute("title") or "")
    assert shown.locator("span").evaluate("part => part.getBoundingClientRect().width") == 0
    shown.click()
    assert desk.page.evaluate("getSelection().toString().trim()") == study_id


@pytest.mark.slow
def test_static_copy_without_kernel(desk: Notebook, panel: PanelPage, name: str, lab: Lab) -> None:
    """A notebook reopened without its kernel shows a table and an image, whether it is trusted or not."""
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
    assert picture.evaluate("image => image.naturalWidth") > 200
    assert untrusted.axe(untrusted.output(cell)) == []
    untrusted.close()


def test_notebook_makes_no_external_requests(desk: Notebook) -> None:
    """Notebook 02 runs without an error, a dialog, or a request to another host."""
    desk.no_errors()
    desk.tab.check()
