"""The panel with its widgets, without a browser: controls are operated by name, and the count of views is set by the tests."""

from __future__ import annotations

import gc
import html
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ipywidgets
import nbformat
import psutil
import pytest
from ipywidgets.widgets.widget import _instances
from nbclient import NotebookClient

import evalkit
from evalkit import EvalKit, EvalkitError, InvalidInputError, StudyExistsError, StudyNotFoundError, connect
from evalkit.panel import panel as panel_module
from evalkit.panel.feed import WATCHER, Worker, watchers
from tests.needs import need
from tests.panel_driver import SECONDS, Show, threads, until
from tests.properties import in_long_form
from tests.servers import Relay, Sqld
from tests.worker import Child, flat_sample, study_with_checkpoints

MARKUP = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


def running(kit: EvalKit, name: str = "agent", count: int = 0) -> evalkit.Study:
    return study_with_checkpoints(kit, count, name)


@pytest.mark.slow
def test_lifecycle_buttons(kit: EvalKit, show: Show) -> None:
    """Each click changes the status, reports it, and leaves exactly the legal buttons enabled; a stop asks for confirmation."""
    kit.create_study("agent")
    driver = show()
    until(lambda: driver.enabled == {"Start", "Stop"})
    for click, status, legal in (
        ("Start", "running", {"Pause", "Stop"}),
        ("Pause", "paused", {"Resume", "Stop"}),
        ("Resume", "running", {"Pause", "Stop"}),
    ):
        driver.click(click)
        assert f"&#x27;agent&#x27; (now {status})." in driver.message
        assert driver.study_status == status
        assert driver.enabled == legal
    assert driver.view.confirmation.layout.display == "none"
    driver.click("Stop")
    assert driver.view.confirmation.layout.display is None
    assert "Stop &#x27;agent&#x27; permanently?" in driver.view.question.value
    driver.click("Cancel")
    assert (driver.view.confirmation.layout.display, kit.resolve("agent").status) == ("none", "running")
    driver.click("Stop")
    driver.click("Stop study")
    assert (driver.view.confirmation.layout.display, kit.resolve("agent").status) == ("none", "stopped")
    assert driver.enabled == set()
    assert driver.view.reason.value == "The study is stopped and cannot be resumed."


def test_next_command_is_the_primary_button(kit: EvalKit, show: Show) -> None:
    """Unavailable commands have their reason as a tooltip."""
    kit.create_study("agent")
    driver = show()
    for click, styles in (
        ("Start", {"start": "", "pause": "primary", "resume": "", "stop": "danger"}),
        ("Pause", {"start": "", "pause": "", "resume": "primary", "stop": "danger"}),
    ):
        driver.click(click)
        assert {name: button.button_style for name, button in driver.view.buttons.items()} == styles
    assert driver.view.buttons["start"].tooltip == "Only a pending study can be started; this one is paused."
    assert driver.view.buttons["resume"].tooltip == "Resume the study"


def test_create_study_form(kit: EvalKit, show: Show) -> None:
    """The form is open if the kit has no study, can be submitted once it is valid, and shows the new study."""
    driver = show()
    assert driver.view.sections.opened == "study"
    assert driver.control("Create study").disabled
    driver.type("Name", "agent")
    driver.type("Period", "weekly")
    driver.type("Planned periods", "x")
    assert "not a number" in driver.form("study")._problems.value
    assert "evalkit-invalid" in driver.control("Planned periods")._dom_classes
    assert driver.control("Create study").disabled
    driver.type("Planned periods", "8")
    driver.type("Tags", "nightly, coding")
    driver.type("Metadata", "model=m-1")
    driver.click("Create study")
    study = kit.resolve("agent")
    assert (study.period, study.config.tags, study.config.metadata) == ("weekly:8", ["nightly", "coding"], {"model": "m-1"})
    assert "Study &#x27;agent&#x27; created (pending). Press Start to begin." in driver.message
    assert "Press Start to begin." in driver.form("study").feedback.value
    assert driver.open("Record checkpoint").feedback.value == ""
    driver.open("New study")
    assert driver.listed == ["*agent"]
    assert (driver.control("Name").value, driver.control("Create study").disabled) == ("", True)
    driver.type("Name", "agent")
    driver.click("Create study")
    assert isinstance(driver.panel.last_error, StudyExistsError)
    assert html.escape(str(driver.panel.last_error)) in driver.message
    assert driver.control("Name").value == "agent"


@pytest.mark.slow
def test_record_checkpoint_form(kit: EvalKit, show: Show) -> None:
    """Input is validated while typing; recording clears the form, proposes the next period, and updates the chart."""
    running(kit, count=3)
    driver = show(visible=True)
    until(lambda: "<svg" in driver.view.chart.value)
    before = driver.view.chart.value
    driver.open("Record checkpoint")
    assert driver.control("Period start (UTC)").value == "2000-01-01 03:00"
    driver.type("Session success rate", "83")
    assert "session_success_rate 83" in driver.form("checkpoint")._problems.value
    assert driver.control("Record").disabled
    driver.type("Session success rate", "0.83")
    driver.type("Average session duration", "90.5")
    driver.type("Period end (UTC)", "2000-01-01 04:00")
    assert not driver.control("Record").disabled
    driver.click("Record")
    assert "Recorded 2 metrics for &#x27;agent&#x27;, 2000-01-01 03:00 to 2000-01-01 04:00 UTC." in driver.message
    row = kit.checkpoints().row(-1, named=True)
    assert (row["session_success_rate"], row["avg_session_duration"].total_seconds(), row["total_tokens"]) == (0.83, 90.5, None)
    assert (driver.control("Session success rate").value, driver.control("Period start (UTC)").value) == ("", "2000-01-01 04:00")
    assert driver.control("Record").disabled
    until(lambda: driver.view.chart.value != before)
    assert "4 periods" in driver.view.details.value


def test_warnings_of_commands_are_in_the_status_line(kit: EvalKit, show: Show) -> None:
    """A duplicate checkpoint is announced before it is recorded and reported afterwards; the warning does not appear in a cell."""
    running(kit, count=1)
    driver = show()
    driver.open("Record checkpoint")
    driver.type("Period start (UTC)", "2000-01-01 00:00")
    driver.type("Period end (UTC)", "2000-01-01 01:00")
    driver.type("Total tokens", "5")
    assert "This period already has a checkpoint; recording adds a duplicate." in driver.form("checkpoint")._note.value
    driver.click("Record")
    assert "Recorded 1 metric for &#x27;agent&#x27;, 2000-01-01 00:00 to 2000-01-01 01:00 UTC. " in driver.message
    assert len(driver.message.partition("01:00 UTC. ")[2].partition("<")[0]) > 20
    assert 'role="alert"' in driver.message


def test_pending_study_accepts_no_checkpoint(kit: EvalKit, show: Show) -> None:
    """The form is disabled and explains what to do first."""
    kit.create_study("agent")
    driver = show()
    driver.open("Record checkpoint")
    assert driver.control("Session success rate").disabled
    assert "Start it to record checkpoints" in driver.form("checkpoint")._note.value
    driver.click("Start")
    assert not driver.control("Session success rate").disabled


def test_click_does_not_recreate_deleted_home(kit: EvalKit, show: Show) -> None:
    """A command fails if the home was deleted while the panel was open."""
    kit.create_study("agent")
    driver = show()
    home = kit.engine.settings.home
    kit.close()
    shutil.rmtree(home)
    driver.click("Start")
    assert 'role="alert"' in driver.message
    assert not home.exists()


def test_list_and_filters(kit: EvalKit, show: Show) -> None:
    """Clicking a row shows a study; filters shorten the list without changing the shown study."""
    for name in ("one", "two"):
        running(kit, name)
    kit.pause_study("one")
    driver = show("one")
    assert (driver.name, set(driver.listed)) == ("one", {"two", "*one"})
    driver.control("Status").value = "running"
    assert (driver.name, driver.listed) == ("one", ["two"])
    driver.choose("two")
    assert (driver.name, driver.listed) == ("two", ["*two"])
    driver.control("Search").value = "nothing"
    assert (driver.name, driver.listed) == ("two", [])
    assert "No studies match." in driver.view.list.empty.value


@pytest.mark.slow
def test_list_has_pages(kit: EvalKit, show: Show) -> None:
    """Previous and Next turn the pages of a long list; rows are reused, so no widget is created."""
    for index in range(10):
        kit.create_study(f"study {index}", at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=index))
    driver = show()
    widgets = len(_instances)
    assert (driver.listed, driver.control("Previous").disabled) == (["*study 9", *(f"study {index}" for index in range(8, 1, -1))], True)
    driver.click("Next")
    assert (driver.listed, driver.control("Next").disabled) == (["study 1", "study 0"], True)
    driver.choose("study 0")
    assert (driver.name, driver.listed) == ("study 0", ["study 1", "*study 0"])
    driver.control("Search").value = "study 0"
    assert (driver.listed, driver.view.list.pager.layout.display) == (["*study 0"], "none")
    assert len(_instances) == widgets


def test_focus_follows_the_confirmation(kit: EvalKit, show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    """The focus moves to Cancel, back to Stop, and after a stop to the study's row, or to the search field if the row is hidden."""
    running(kit)
    focused: list[str] = []
    monkeypatch.setattr(ipywidgets.DOMWidget, "focus", lambda widget: focused.append(widget.description.split(",")[0]))
    driver = show()
    driver.click("Stop")
    driver.click("Cancel")
    driver.click("Stop")
    driver.click("Stop study")
    assert focused == ["Cancel", "Stop", "Cancel", "Selected: agent"]
    driver.control("Search").value = "nothing"
    driver.view.focus_selected(driver.panel.model)
    assert focused[-1] == "Search"


@pytest.mark.slow
def test_metric_dropdown_changes_chart_and_list(kit: EvalKit, show: Show) -> None:
    """The chart is an SVG with an accessible name; a metric without values has no chart."""
    running(kit, count=3)
    driver = show(visible=True)
    until(lambda: "<svg" in driver.view.chart.value)
    assert "aria-label" in driver.view.chart.value
    assert "Session success rate" in driver.view.chart.value
    driver.control("Metric").value = "total_tokens"
    until(lambda: "Total tokens" in driver.view.chart.value)
    assert "Total tokens (last)" in driver.view.list.head.value
    assert ", total tokens " in driver.rows[0].button.description
    driver.control("Metric").value = "learnings_applied"
    assert driver.view.chart.value == '<div class="evalkit-empty">No values of learnings applied yet.</div>'
    driver.control("Metric").value = "total_tokens"
    until(lambda: "<svg" in driver.view.chart.value)


@pytest.mark.slow
@pytest.mark.parametrize("pressed", ["Pause", "Stop study"])
def test_late_click_is_reported(kit: EvalKit, show: Show, pressed: str) -> None:
    """A click on a button that the page still showed as enabled has no effect and is explained."""
    study = running(kit)
    driver = show()
    driver.click("Stop")
    kit.stop_study(study)
    driver.panel.refresh()
    driver.click(pressed)
    assert f"{pressed.split(maxsplit=1)[0]} had no effect: &#x27;agent&#x27; is already stopped." in driver.message


@pytest.mark.slow
def test_changes_by_another_process_appear_within_three_seconds(kit: EvalKit, show: Show, tmp_path: Path) -> None:
    """Checkpoints and transitions appear without running a cell; typed text is kept."""
    study = running(kit, "study", count=1)
    driver = show(visible=True)
    until(lambda: "<svg" in driver.view.chart.value)
    driver.open("Record checkpoint")
    driver.type("Total tokens", "12")
    with Child("record", tmp_path / "home", first=100) as child, Child("race", tmp_path / "home") as other:
        assert child.hear() == other.hear() == "ready"
        child.hear()
        until(lambda: ">1 period, daily<" not in driver.view.details.value, 3)
        child.finish()
        other.tell({"command": "pause", "study": study.id})
        assert other.hear()["ended"] == "won"
        until(lambda: driver.enabled == {"Resume", "Stop"}, 3)
        other.finish()
    assert driver.control("Total tokens").value == "12"
    assert driver.listed == ["*study"]
    assert "Up to date." in driver.view.age.value


def test_refresh_without_changes_sends_nothing(kit: EvalKit, show: Show) -> None:
    """No trait of any widget changes, so nothing flickers."""
    running(kit, count=2)
    driver = show(visible=True)
    until(lambda: "<svg" in driver.view.chart.value and "Up to date." in driver.view.age.value)
    changes: list[Any] = []
    for widget in driver.widgets():
        widget.observe(changes.append)
    for _ in range(3):
        driver.panel.refresh()
        driver.panel._feed.tick()
    assert changes == []


def test_second_click_in_another_panel_is_refused(kit: EvalKit, show: Show) -> None:
    """The status line explains why, and the buttons show the legal commands."""
    kit.create_study("agent")
    with connect(kit.engine.settings.home) as other_kit:
        one, two = show(), show(on=other_kit)
        one.click("Start")
        assert two.enabled == {"Start", "Stop"}
        two.click("Start")
        assert isinstance(two.panel.last_error, evalkit.TransitionError)
        assert html.escape(str(two.panel.last_error)) in two.message
        assert one.enabled == two.enabled == {"Pause", "Stop"}
        assert one.panel.last_error is None


def test_concurrent_command_is_reported(kit: EvalKit, show: Show, tmp_path: Path) -> None:
    """The status line reports that another process applied an incompatible command first."""
    study = kit.create_study("agent")
    driver = show()
    append = kit.engine.log.append

    def append_after_stop(messages: Any) -> Any:
        kit.engine.log.append = append  # type: ignore[method-assign]
        with connect(tmp_path / "home") as other:
            other.stop_study(study)
        return append(messages)

    kit.engine.log.append = append_after_stop  # type: ignore[method-assign]
    driver.click("Start")
    assert isinstance(driver.panel.last_error, evalkit.ConflictError)
    assert html.escape(str(driver.panel.last_error)) in driver.message
    assert driver.enabled == set()


def test_panels_of_one_kit_are_synchronized(kit: EvalKit, show: Show) -> None:
    """A command in one panel appears immediately in the other; they share one watcher."""
    kit.create_study("agent")
    one, two = show(visible=True), show(visible=True)
    one.click("Start")
    assert two.enabled == {"Pause", "Stop"}
    assert threads().count(WATCHER) == 1
    one.panel.close()
    two.click("Pause")
    assert two.enabled == {"Resume", "Stop"}
    assert one.panel.widget.comm is None


@pytest.mark.slow
def test_opening_panel_ignores_events_until_it_is_ready(
    kit: EvalKit, show: Show, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Ticks and readings of the watcher may arrive at any moment while another panel opens."""
    kit.create_study("agent")
    visible = show(visible=True)

    class Slow(panel_module.Screen):
        def __init__(self, *args: Any) -> None:
            kit.start_study("agent")
            visible.panel._feed.tick()
            visible.panel.refresh()
            super().__init__(*args)
            visible.panel._feed.tick()

    monkeypatch.setattr(panel_module, "Screen", Slow)
    opened = show()
    assert opened.enabled == visible.enabled == {"Pause", "Stop"}
    assert caplog.records == []


@pytest.mark.slow
def test_watcher_runs_while_a_panel_is_visible(kit: EvalKit, show: Show) -> None:
    """The watcher starts with the first view, ends soon after the last one, and starts again with the next one."""
    running(kit)
    driver = show()
    assert WATCHER not in threads()
    driver.panel.widget._view_count = 2
    assert threads().count(WATCHER) == 1
    driver.panel.widget._view_count = 1
    time.sleep(0.1)
    assert threads().count(WATCHER) == 1
    driver.panel.widget._view_count = 0
    until(lambda: WATCHER not in threads(), 3)
    kit.pause_study("agent")
    driver.panel.widget._view_count = 1
    until(lambda: driver.enabled == {"Resume", "Stop"}, 3)
    driver.panel.close()
    assert WATCHER not in threads()


@pytest.mark.slow
@pytest.mark.server
def test_panel_recovers_when_server_is_back(tmp_path: Path, show: Show) -> None:
    """The panel reports an unreachable server and keeps retrying; commands fail with a message until the server is back."""
    with Sqld(tmp_path / "sqld") as server, connect(tmp_path / "home", database_url=server.url) as kit:
        running(kit, count=1)
        driver = show(on=kit, visible=True)
        assert driver.enabled == {"Pause", "Stop"}
        server.kill()
        until(lambda: "Cannot read the server; retrying." in driver.view.age.value)
        assert 'role="alert"' in driver.message
        driver.click("Pause")
        assert driver.panel.last_error is not None
        assert "Cannot read the server" in driver.view.age.value
        assert driver.enabled == {"Pause", "Stop"}
        server.start()
        until(lambda: "Up to date." in driver.view.age.value)
        assert "The server is responding again." in driver.message
        driver.click("Pause")
        assert driver.enabled == {"Resume", "Stop"}
        driver.panel.close()


@pytest.mark.slow
@pytest.mark.server
def test_unresponsive_server_does_not_block(tmp_path: Path, show: Show) -> None:
    """The panel reports the delay after two seconds; the kernel and panels of other kits are not blocked."""
    with (
        Sqld(tmp_path / "sqld") as server,
        Relay("127.0.0.1", server.port) as wire,
        connect(tmp_path / "home", database_url=f"http://127.0.0.1:{wire.port}") as kit,
        connect(tmp_path / "other") as other_kit,
    ):
        running(kit, count=1)
        running(other_kit)
        driver, other = show(on=kit, visible=True), show(on=other_kit, visible=True)
        wire.freeze()
        until(lambda: "The server has not responded for" in driver.view.age.value)
        driver.open("Record checkpoint")
        started = time.monotonic()
        driver.control("Metric").value = "total_tokens"
        driver.type("Total cost", "1")
        assert time.monotonic() - started < 1
        other_kit.pause_study("agent")
        until(lambda: other.enabled == {"Resume", "Stop"}, 3)
        assert "Up to date." in other.view.age.value
        wire.restore()
        until(lambda: "Up to date." in driver.view.age.value)
        assert "The server is responding again." in driver.message
        driver.panel.close()


@pytest.mark.slow
@pytest.mark.server
def test_panel_opens_without_server(tmp_path: Path, show: Show) -> None:
    """The panel reports the problem instead of raising, and shows the studies once the server is reachable."""
    server = Sqld(tmp_path / "sqld")
    with server, connect(tmp_path / "home", database_url=server.url) as kit:
        running(kit)
    with connect(tmp_path / "home", database_url=server.url) as kit:
        driver = show(on=kit, visible=True)
        until(lambda: "Cannot read the server" in driver.view.age.value)
        assert repr(driver.panel) == "Panel(not loaded)"
        with pytest.raises(EvalkitError):
            driver.panel.refresh()
        with server:
            until(lambda: driver.enabled == {"Pause", "Stop"})
            driver.panel.close()


@pytest.mark.slow
@pytest.mark.server
def test_unknown_outcome_is_resolved_later(tmp_path: Path, show: Show) -> None:
    """A command whose database becomes unreachable after the append is not repeated; its outcome is reported later."""
    with Sqld(tmp_path / "sqld") as server, connect(tmp_path / "home", database_url=server.url) as kit:
        running(kit)
        driver = show(on=kit, visible=True)
        append = kit.engine.log.append

        def append_then_kill_server(messages: Any) -> Any:
            positions = append(messages)
            server.kill()
            return positions

        kit.engine.log.append = append_then_kill_server  # type: ignore[method-assign]
        driver.click("Pause")
        assert "The panel keeps checking the outcome." in driver.message
        assert isinstance(driver.panel.last_error, evalkit.OutcomeUnknownError)
        server.start()
        until(lambda: "The command whose outcome was unknown has been applied." in driver.message)
        until(lambda: driver.enabled == {"Resume", "Stop"})
        driver.panel.close()


@pytest.mark.slow
def test_markup_in_names_is_escaped(kit: EvalKit, show: Show) -> None:
    """Neither the HTML of a widget nor an output of the cell has a tag from a study's text."""
    study = kit.create_study(MARKUP, description=MARKUP, tags=[MARKUP], metadata={MARKUP: MARKUP})
    kit.start_study(study)
    kit.record_checkpoint(study, flat_sample(1), key=MARKUP)
    driver = show(visible=True)
    until(lambda: "<svg" in driver.view.chart.value)
    driver.click("Stop")
    driver.open("Record checkpoint")
    driver.type("Total tokens", MARKUP)
    values = [widget.value for widget in driver.widgets() if isinstance(widget, ipywidgets.HTML)]
    driver.click("Stop study")
    driver.open("New study")
    driver.type("Name", MARKUP)
    driver.click("Create study")
    values += [widget.value for widget in driver.widgets() if isinstance(widget, ipywidgets.HTML)]
    values += [output["text/html"] for output in driver.panel._outputs(driver.panel._screen.picture(SECONDS))]
    assert sum("alert(1)" in value for value in values) > 4
    for value in values:
        assert "<img src=x" not in value
        assert "<script" not in value
    assert not any(getattr(widget, "description_allow_html", False) for widget in driver.widgets())


def test_every_control_has_an_accessible_name(kit: EvalKit, show: Show) -> None:
    running(kit, count=1)
    kit.define_metric("agent", "tool_calls")
    driver = show()
    for heading in driver.view.sections.headings.values():
        heading.value = True
    controls = [widget for widget in driver.widgets() if "disabled" in widget.keys]
    assert len(controls) > 80
    assert all(control.description for control in controls)


def test_callback_errors_are_in_the_status_line(kit: EvalKit, show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notebooks do not show errors of widget callbacks anywhere else."""
    driver = show()
    monkeypatch.setattr(driver.panel.model, "select", None)
    monkeypatch.setattr(driver.panel.model, "choose_metric", lambda name: 1 / 0)
    driver.panel._controls._on_value(driver.control("Metric"), driver.panel.model.choose_metric)
    driver.control("Metric").value = "total_tokens"
    assert "ZeroDivisionError: division by zero" in driver.message


def test_first_study_must_exist(kit: EvalKit, show: Show) -> None:
    """An unknown name raises in the cell."""
    running(kit, "one")
    running(kit, "two")
    assert repr(show("one").panel) == "Panel(2 studies, showing 'one': running, 0 periods)"
    with pytest.raises(StudyNotFoundError):
        kit.panel("three")


def test_panel_excludes_checkpoints_of_archived_studies(kit: EvalKit) -> None:
    """They are not shown again when the study is restored."""
    study = running(kit, count=3)
    (*_, last) = kit.checkpoints()["checkpoint_id"]
    kit.archive_study(study)
    panel = kit.panel(exclude=iter([last]))
    panel.model.filter_by(status="archived")
    assert [entry.progress for entry in panel.model.entries()] == ["2 periods"]
    kit.unarchive_study(study)
    panel.refresh()
    panel.model.filter_by(status="all")
    assert [entry.progress for entry in panel.model.entries()] == ["2 periods"]
    panel.close()


def test_panel_excludes_checkpoints(kit: EvalKit) -> None:
    """They are given as in ``kit.checkpoints``; an unknown one is refused before a panel opens."""
    study_with_checkpoints(kit, 3, "two")
    ids = kit.checkpoints("two")["checkpoint_id"].to_list()
    with pytest.raises(InvalidInputError, match="Invalid exclude 'zzzz': matches none of the selected checkpoints"):
        kit.panel("two", exclude=["zzzz"])
    panel = kit.panel("two", exclude=ids[0][-12:])
    frames = panel.model.study_frames()
    assert frames is not None
    assert frames.checkpoints["checkpoint_id"].to_list() == ids[1:]
    panel.close()


def test_public_attributes(show: Show) -> None:
    assert {name for name in dir(show().panel) if not name.startswith("_")} == {"close", "last_error", "model", "refresh", "widget"}


def test_closed_panel_raises(kit: EvalKit) -> None:
    """Closing twice is harmless; other methods raise an error."""
    panel = kit.panel()
    panel.close()
    panel.close()
    assert repr(panel) == "Panel(closed)"
    with pytest.raises(EvalkitError, match=r"This panel is closed"):
        panel.refresh()


@pytest.mark.slow
def test_closed_panels_release_resources(kit: EvalKit) -> None:
    """Widgets, threads, connections and files do not accumulate."""
    running(kit)
    process = psutil.Process()

    def cycle() -> None:
        panel = kit.panel()
        panel.widget._view_count = 1
        panel.close()

    cycle()
    gc.collect()
    before = len(_instances), len(threading.enumerate()), len(process.net_connections()), process.num_fds()
    for _ in range(in_long_form(50, 10)):
        cycle()
    gc.collect()
    assert (len(_instances), len(threading.enumerate()), len(process.net_connections()), process.num_fds()) == before
    assert watchers._feeds == watchers._visible == {}


def test_rerun_cell_closes_its_earlier_panels(kit: EvalKit, show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    """Panels of the same run and of other cells stay open; outside a notebook no panel is closed."""
    cells: Any = [("a", "1"), ("a", "1"), ("b", "2"), ("a", "3"), (None, "4")]
    monkeypatch.setattr("evalkit.panel.panel._current_cell", lambda: cells.pop(0))
    panels = [show().panel for _ in range(5)]
    assert [repr(panel) for panel in panels] == ["Panel(closed)", "Panel(closed)", *["Panel(0 studies)"] * 3]


@pytest.mark.slow
@pytest.mark.server
def test_process_exits_while_panel_waits_for_server(tmp_path: Path) -> None:
    """An unresponsive server does not keep the interpreter alive, and the exit prints nothing."""
    code = """
import sys, time, evalkit
kit = evalkit.connect(sys.argv[1], database_url=sys.argv[2])
panel = kit.panel()
print("open", flush=True)
panel.widget._view_count = 1
input()
while "has not responded" not in panel._screen.view.age.value: time.sleep(0.01)
"""
    with Sqld(tmp_path / "sqld") as server, Relay("127.0.0.1", server.port) as wire:
        with connect(tmp_path / "home", database_url=server.url) as kit:
            running(kit)
        command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "home"), f"http://127.0.0.1:{wire.port}"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            wire.freeze()
            assert process.communicate("\n", timeout=SECONDS) == ("", "")
            assert process.returncode == 0


NOTEBOOK = """
import os, threading, evalkit
kit = evalkit.connect(os.environ["EVALKIT_TEST_HOME"])
panel = kit.panel()
panel
"""


def executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *cells: str) -> list[Any]:
    need("kernel")
    monkeypatch.setenv("EVALKIT_TEST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(evalkit.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]))
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from nbclient and its dependencies
        NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(tmp_path))
    return notebook.cells


@pytest.mark.slow
@pytest.mark.kernel
def test_headless_notebook_has_static_copy(kit: EvalKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cell has the widget with its static copy and, as a second output, the collapsed copy; no watcher runs."""
    study = running(kit, count=3)
    names = "[thread.name for thread in threading.enumerate() if 'watcher' in thread.name]"
    cells = executed(tmp_path, monkeypatch, NOTEBOOK, names, NOTEBOOK)
    live, static = (output["data"] for output in cells[0].outputs)
    assert "application/vnd.jupyter.widget-view+json" in live
    assert live["text/plain"] == static["text/plain"] == "Panel(1 study, showing 'agent': running, 3 periods)"
    assert static["text/html"].startswith("<details><summary>Static copy")
    assert live["text/html"] in static["text/html"]
    assert '<th scope="row">agent</th>' in live["text/html"]
    assert 'src="data:image/svg+xml;base64,' in live["text/html"]
    assert study.id not in live["text/html"]
    assert cells[1].outputs[0]["data"]["text/plain"] == "[]"
    assert cells[2].outputs[1] == static | {} or cells[2].outputs[1]["data"] == static


def test_worker_ends_when_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ending a worker cancels its queued jobs and waits a limited time for the current one."""
    monkeypatch.setattr("evalkit.panel.feed._IDLE_SECONDS", 0.05)
    worker, release = Worker("evalkit-test"), threading.Event()
    assert worker.submit(lambda: 1).result(SECONDS) == 1
    until(lambda: threads() == [])
    with pytest.raises(ZeroDivisionError):
        worker.submit(lambda: 1 / 0).result(SECONDS)
    hanging, waiting = worker.submit(release.wait), worker.submit(lambda: 2)
    until(lambda: worker.busy_seconds > 0)
    assert not worker.idle
    worker.end(0.05)
    assert waiting.cancelled()
    release.set()
    assert hanging.result(SECONDS)
    until(lambda: threads() == [])
    assert worker.submit(lambda: datetime.now(UTC)).result(SECONDS)
    worker.end(SECONDS)
    assert threads() == []
