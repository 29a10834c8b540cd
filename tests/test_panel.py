"""The panel with its widgets, without a browser: controls are found by their names and used, and the front end's count of views is set by hand."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ipywidgets
import nbformat
import psutil
import pytest
from ipywidgets.widgets.widget import _instances
from nbclient import NotebookClient

import evalkit
from evalkit import EvalKit, EvalkitError, StudyNotFoundError, connect
from evalkit.panel import panel as panel_module
from evalkit.panel.feed import WATCHER, Worker, watchers
from evalkit.panel.panel import Panel
from tests.needs import need
from tests.properties import in_long_form
from tests.servers import Relay, Sqld
from tests.worker import Child, flat_sample, study_with_checkpoints

MARKUP = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
SECONDS = 20


def until(holds: Callable[[], object], seconds: float = SECONDS) -> None:
    """Wait until something holds, which another thread brings about."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)


def threads() -> list[str]:
    """Those that panels start; the one that drivers share stays for as long as the process."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("evalkit-") and name != "evalkit-background"]


class Hand:
    """What a user has of a panel: controls by name, and what is written on it."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.view = panel._screen.view

    def widgets(self, widget: Any = None) -> list[Any]:
        widget = self.panel.widget if widget is None else widget
        return [widget, *(below for child in getattr(widget, "children", ()) for below in self.widgets(child))]

    def control(self, name: str) -> Any:
        found = [one for one in self.widgets() if getattr(one, "description", None) == name]
        assert len(found) == 1, f"{len(found)} controls are named {name!r}"
        return found[0]

    def click(self, name: str) -> None:
        self.control(name).click()
        until(lambda: self.panel.model.busy is None)
        self.panel._screen.read(lambda: None)  # what the model says is shown before its lock is free

    def type(self, name: str, text: str) -> None:
        assert not self.control(name).disabled
        self.control(name).value = text

    @property
    def status(self) -> str:
        return str(self.view.message.value)

    @property
    def enabled(self) -> set[str]:
        return {name for name in ("Start", "Pause", "Resume", "Stop") if not self.control(name).disabled}


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[EvalKit]:
    with connect(tmp_path / "home") as kit:
        yield kit


@pytest.fixture
def show(kit: EvalKit) -> Iterator[Callable[..., Hand]]:
    """Open panels, seen or not, and close them at the end; nothing may be left of them then."""
    before, opened = len(_instances), []

    def opened_panel(*args: Any, on: EvalKit = kit, seen: bool = False) -> Hand:
        panel = on.panel(*args)
        opened.append(panel)
        if seen:
            panel.widget._view_count = 1
        return Hand(panel)

    yield opened_panel
    for panel in opened:
        panel.close()
    assert threads() == []
    assert len(_instances) == before


def running(kit: EvalKit, name: str = "agent", count: int = 0) -> evalkit.Study:
    return study_with_checkpoints(kit, count, name)


Show = Callable[..., Hand]


@pytest.mark.slow
def test_a_study_goes_through_its_lifecycle_by_clicking(kit: EvalKit, show: Show) -> None:
    """Each click changes the status, says so in words, and leaves exactly the legal buttons enabled; a stop asks first."""
    kit.create_study("agent")
    hand = show()
    assert hand.enabled == {"Start", "Stop"}
    for click, status, legal in (
        ("Start", "running", {"Pause", "Stop"}),
        ("Pause", "paused", {"Resume", "Stop"}),
        ("Resume", "running", {"Pause", "Stop"}),
    ):
        hand.click(click)
        assert f"&#x27;agent&#x27;: it is {status} now." in hand.status
        assert f"<td>{status}</td>" in hand.view.details.value
        assert hand.enabled == legal
    assert hand.view.confirmation.layout.display == "none"
    hand.click("Stop")
    assert hand.view.confirmation.layout.display == "flex"
    assert hand.view.question.value == "Stop &#x27;agent&#x27; for good?"
    hand.click("No")
    assert (hand.view.confirmation.layout.display, kit.resolve("agent").status) == ("none", "running")
    hand.click("Stop")
    hand.click("Yes, stop for good")
    assert (hand.view.confirmation.layout.display, kit.resolve("agent").status) == ("none", "stopped")
    assert hand.enabled == set()


def test_a_study_is_created_through_the_form(kit: EvalKit, show: Show) -> None:
    """The form opens by itself where there is no study yet, can be sent when it is right, and shows the new study."""
    hand = show()
    assert hand.view.forms.opened == 0
    assert hand.control("Create study").disabled
    hand.type("Name", "agent")
    hand.type("Period", "weekly")
    hand.type("Planned periods", "x")
    assert "is no number" in hand.view.study_form._problems.value
    assert "evalkit-invalid" in hand.control("Planned periods")._dom_classes
    assert hand.control("Create study").disabled
    hand.type("Planned periods", "8")
    hand.type("Tags", "nightly, coding")
    hand.type("Metadata", "model=m-1")
    hand.click("Create study")
    study = kit.resolve("agent")
    assert (study.period, study.config.tags, study.config.metadata) == ("weekly:8", ["nightly", "coding"], {"model": "m-1"})
    assert "Created &#x27;agent&#x27;" in hand.status
    assert hand.control("Studies").value == study.id
    assert (hand.control("Name").value, hand.control("Create study").disabled) == ("", True)
    hand.type("Name", "agent")
    hand.click("Create study")
    assert "A study named &#x27;agent&#x27; already exists" in hand.status
    assert hand.control("Name").value == "agent"


@pytest.mark.slow
def test_a_checkpoint_is_recorded_through_the_form(kit: EvalKit, show: Show) -> None:
    """What is typed is checked with every key; what is right is recorded, the form empties and proposes the next period, the chart changes."""
    running(kit, count=3)
    hand = show(seen=True)
    until(lambda: "<svg" in hand.view.chart.value)
    before = hand.view.chart.value
    assert hand.control("Period start (UTC)").value == "2000-01-01 03:00"
    hand.type("Session success rate", "83")
    assert "Divide it by 100: 0.83" in hand.view.checkpoint_form._problems.value
    assert hand.control("Record").disabled
    hand.type("Session success rate", "0.83")
    hand.type("Average session duration", "90.5")
    hand.type("Period end (UTC)", "2000-01-01 04:00")
    assert not hand.control("Record").disabled
    hand.click("Record")
    assert "Recorded Checkpoint([2000-01-01 03:00 .. 2000-01-01 04:00) UTC, 2 of 16 metrics) for &#x27;agent&#x27;." in hand.status
    row = kit.checkpoints().row(-1, named=True)
    assert (row["session_success_rate"], row["avg_session_duration"].total_seconds(), row["total_tokens"]) == (0.83, 90.5, None)
    assert (hand.control("Session success rate").value, hand.control("Period start (UTC)").value) == ("", "2000-01-01 04:00")
    assert hand.control("Record").disabled
    until(lambda: hand.view.chart.value != before)
    assert "4 periods" in hand.view.details.value


def test_a_warning_of_a_command_stands_in_the_status_line(kit: EvalKit, show: Show) -> None:
    """A second checkpoint for a period is announced before, and warned of after it was recorded; no warning gets lost or into a cell."""
    running(kit, count=1)
    hand = show()
    hand.type("Period start (UTC)", "2000-01-01 00:00")
    hand.type("Period end (UTC)", "2000-01-01 01:00")
    hand.type("Total tokens", "5")
    assert "has a checkpoint for this period already" in hand.view.checkpoint_form._note.value
    hand.click("Record")
    assert "has a checkpoint for the period [2000-01-01T00:00, 2000-01-01T01:00) UTC already" in hand.status
    assert 'role="alert"' in hand.status


def test_a_study_that_was_not_started_takes_no_checkpoint(kit: EvalKit, show: Show) -> None:
    """The form is disabled and says what to do first."""
    kit.create_study("agent")
    hand = show()
    assert hand.control("Session success rate").disabled
    assert "Start it first" in hand.view.checkpoint_form._note.value
    hand.click("Start")
    assert not hand.control("Session success rate").disabled


def test_a_refused_click_creates_nothing(kit: EvalKit, show: Show) -> None:
    """Where the home was deleted under an open panel, a click is refused, and leaves no home behind."""
    kit.create_study("agent")
    hand = show()
    home = kit.engine.settings.home
    kit.close()
    shutil.rmtree(home)
    hand.click("Start")
    assert 'role="alert"' in hand.status
    assert not home.exists()


def test_filters_and_the_list_choose_what_is_shown(kit: EvalKit, show: Show) -> None:
    """A study is shown by choosing it; filters shorten the list and leave alone what is shown."""
    for name in ("one", "two"):
        running(kit, name)
    kit.pause_study("one")
    hand = show("one")
    assert "<td>one</td>" in hand.view.details.value
    hand.control("Status").value = "running"
    assert [label for label, _ in hand.control("Studies").options] == ["two · running"]
    assert hand.control("Studies").value is None
    assert "<td>one</td>" in hand.view.details.value
    hand.control("Studies").value = kit.resolve("two").id
    assert "<td>two</td>" in hand.view.details.value
    hand.control("Search").value = "nothing"
    assert hand.control("Studies").options == ()


@pytest.mark.slow
def test_the_metric_picker_draws_another_chart(kit: EvalKit, show: Show) -> None:
    """The chart is an SVG that is named, and another one for another metric."""
    running(kit, count=3)
    hand = show(seen=True)
    until(lambda: "<svg" in hand.view.chart.value)
    assert "aria-label" in hand.view.chart.value
    assert "Session success rate" in hand.view.chart.value
    hand.control("Metric").value = "total_tokens"
    until(lambda: "Total tokens" in hand.view.chart.value)


@pytest.mark.slow
@pytest.mark.parametrize("pressed", ["Pause", "Yes, stop for good"])
def test_a_press_that_arrives_after_the_panel_knew_better_is_answered(kit: EvalKit, show: Show, pressed: str) -> None:
    """Another stopped the study, the panel read that, and the page did not show it yet: what was pressed did nothing, and says why."""
    study = running(kit)
    hand = show()
    hand.click("Stop")
    kit.stop_study(study)
    hand.panel.refresh()
    hand.click(pressed)
    assert f"{pressed.removeprefix('Yes, ').split()[0].capitalize()} did nothing: &#x27;agent&#x27; is stopped already." in hand.status


@pytest.mark.slow
def test_what_another_process_does_appears_within_three_seconds(kit: EvalKit, show: Show, tmp_path: Path) -> None:
    """A checkpoint and a transition from elsewhere are seen without running anything, while half-typed text stays as it is."""
    study = running(kit, "study", count=1)
    hand = show(seen=True)
    until(lambda: "<svg" in hand.view.chart.value)
    hand.type("Total tokens", "12")
    with Child("record", tmp_path / "home", first=100) as child, Child("race", tmp_path / "home") as other:
        assert child.hear() == other.hear() == "ready"
        child.hear()
        until(lambda: "<td>1 period, daily</td>" not in hand.view.details.value, 3)
        child.finish()
        other.tell({"command": "pause", "study": study.id})
        assert other.hear()["ended"] == "won"
        until(lambda: hand.enabled == {"Resume", "Stop"}, 3)
        other.finish()
    assert hand.control("Total tokens").value == "12"
    assert hand.control("Studies").value == study.id
    assert "Up to date." in hand.view.age.value


def test_a_refresh_that_finds_nothing_new_sends_nothing(kit: EvalKit, show: Show) -> None:
    """Nothing flickers: no trait of any widget changes while nothing happens."""
    running(kit, count=2)
    hand = show(seen=True)
    until(lambda: "<svg" in hand.view.chart.value and "Up to date." in hand.view.age.value)
    changes: list[Any] = []
    for widget in hand.widgets():
        widget.observe(changes.append)
    for _ in range(3):
        hand.panel.refresh()
        hand.panel._feed.tick()
    assert changes == []


def test_of_two_people_who_press_the_same_button_one_reads_what_happened(kit: EvalKit, show: Show) -> None:
    """The second press is refused in words, and the buttons then show what is legal."""
    kit.create_study("agent")
    with connect(kit.engine.settings.home) as other_kit:
        one, two = show(), show(on=other_kit)
        one.click("Start")
        assert two.enabled == {"Start", "Stop"}
        two.click("Start")
        assert "The study &#x27;agent&#x27; is running; start needs it pending." in two.status
        assert isinstance(two.panel.last_error, evalkit.TransitionError)
        assert one.enabled == two.enabled == {"Pause", "Stop"}
        assert one.panel.last_error is None


def test_a_lost_race_is_told_too(kit: EvalKit, show: Show, tmp_path: Path) -> None:
    """When both were legal at the same moment, the loser reads that another process was quicker."""
    study = kit.create_study("agent")
    hand = show()
    append = kit.engine.log.append

    def after_another_was_quicker(messages: Any) -> Any:
        kit.engine.log.append = append  # type: ignore[method-assign]
        with connect(tmp_path / "home") as other:
            other.stop_study(study)
        return append(messages)

    kit.engine.log.append = after_another_was_quicker  # type: ignore[method-assign]
    hand.click("Start")
    assert "Another process was quicker" in hand.status
    assert "The study is stopped now." in hand.status
    assert hand.enabled == set()


def test_several_panels_on_one_kit_show_the_same(kit: EvalKit, show: Show) -> None:
    """What is done in one appears in the other at once, and one watcher serves them all."""
    kit.create_study("agent")
    one, two = show(seen=True), show(seen=True)
    one.click("Start")
    assert two.enabled == {"Pause", "Stop"}
    assert threads().count(WATCHER) == 1
    one.panel.close()
    two.click("Pause")
    assert two.enabled == {"Resume", "Stop"}
    assert one.panel.widget.comm is None


@pytest.mark.slow
def test_a_panel_that_opens_is_told_nothing_before_it_can_show_it(
    kit: EvalKit, show: Show, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While one is seen, the watcher's ticks and readings may come at any moment of another's opening; both know everything after it."""
    kit.create_study("agent")
    seen = show(seen=True)

    class Slow(panel_module.Screen):
        def __init__(self, *args: Any) -> None:
            kit.start_study("agent")
            seen.panel._feed.tick()
            seen.panel.refresh()
            super().__init__(*args)
            seen.panel._feed.tick()

    monkeypatch.setattr(panel_module, "Screen", Slow)
    opened = show()
    assert opened.enabled == seen.enabled == {"Pause", "Stop"}
    assert caplog.records == []


@pytest.mark.slow
def test_the_watcher_runs_while_somebody_sees_a_panel(kit: EvalKit, show: Show) -> None:
    """It starts with the first view, ends soon after the last, and starts again with the next."""
    running(kit)
    hand = show()
    assert WATCHER not in threads()
    hand.panel.widget._view_count = 2
    assert threads().count(WATCHER) == 1
    hand.panel.widget._view_count = 1
    time.sleep(0.1)
    assert threads().count(WATCHER) == 1
    hand.panel.widget._view_count = 0
    until(lambda: WATCHER not in threads(), 3)
    kit.pause_study("agent")
    hand.panel.widget._view_count = 1
    until(lambda: hand.enabled == {"Resume", "Stop"}, 3)
    hand.panel.close()
    assert WATCHER not in threads()


@pytest.mark.slow
@pytest.mark.server
def test_a_server_that_is_lost_is_shown_and_comes_back(tmp_path: Path, show: Show) -> None:
    """The panel says that nothing can be read and goes on trying; commands fail in words; when the server is back it recovers by itself."""
    with Sqld(tmp_path / "sqld") as server, connect(tmp_path / "home", database_url=server.url) as kit:
        running(kit, count=1)
        hand = show(on=kit, seen=True)
        assert hand.enabled == {"Pause", "Stop"}
        server.kill()
        until(lambda: "Nothing can be read now; trying again." in hand.view.age.value)
        assert 'role="alert"' in hand.status
        hand.click("Pause")
        assert hand.panel.last_error is not None
        assert "Nothing can be read now" in hand.view.age.value
        assert hand.enabled == {"Pause", "Stop"}
        server.start()
        until(lambda: "Up to date." in hand.view.age.value)
        assert "The server answers again." in hand.status
        hand.click("Pause")
        assert hand.enabled == {"Resume", "Stop"}
        hand.panel.close()


@pytest.mark.slow
@pytest.mark.server
def test_a_server_that_does_not_answer_keeps_nobody_waiting(tmp_path: Path, show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    """After two seconds the panel says for how long; the kernel goes on, and so does a panel of another kit."""
    with (
        Sqld(tmp_path / "sqld") as server,
        Relay("127.0.0.1", server.port) as wire,
        connect(tmp_path / "home", database_url=f"http://127.0.0.1:{wire.port}") as kit,
        connect(tmp_path / "other") as other_kit,
    ):
        running(kit, count=1)
        running(other_kit)
        hand, other = show(on=kit, seen=True), show(on=other_kit, seen=True)
        wire.freeze()
        until(lambda: "The server has not answered for" in hand.view.age.value)
        began = time.monotonic()
        hand.control("Metric").value = "total_tokens"
        hand.type("Total cost", "1")
        assert time.monotonic() - began < 1
        other_kit.pause_study("agent")
        until(lambda: other.enabled == {"Resume", "Stop"}, 3)
        assert "Up to date." in other.view.age.value
        wire.restore()
        until(lambda: "Up to date." in hand.view.age.value)
        assert "The server answers again." in hand.status
        hand.panel.close()


@pytest.mark.slow
@pytest.mark.server
def test_a_panel_opens_although_its_server_is_out_of_reach(tmp_path: Path, show: Show) -> None:
    """It says what is wrong instead of raising, and shows everything once the server is there."""
    server = Sqld(tmp_path / "sqld")
    with server, connect(tmp_path / "home", database_url=server.url) as kit:
        running(kit)
    with connect(tmp_path / "home", database_url=server.url) as kit:
        hand = show(on=kit, seen=True)
        until(lambda: "Nothing can be read now" in hand.view.age.value)
        assert repr(hand.panel) == "Panel(nothing read yet)"
        with pytest.raises(EvalkitError):
            hand.panel.refresh()
        with server:
            until(lambda: hand.enabled == {"Pause", "Stop"})
            hand.panel.close()


@pytest.mark.slow
@pytest.mark.server
def test_an_outcome_that_is_unknown_is_asked_for_again(tmp_path: Path, show: Show) -> None:
    """A command whose database is lost after the append is neither repeated nor forgotten: the panel says what became of it."""
    with Sqld(tmp_path / "sqld") as server, connect(tmp_path / "home", database_url=server.url) as kit:
        running(kit)
        hand = show(on=kit, seen=True)
        append = kit.engine.log.append

        def and_then_the_server_dies(messages: Any) -> Any:
            positions = append(messages)
            server.kill()
            return positions

        kit.engine.log.append = and_then_the_server_dies  # type: ignore[method-assign]
        hand.click("Pause")
        assert "The panel asks again by itself." in hand.status
        assert isinstance(hand.panel.last_error, evalkit.OutcomeUnknownError)
        server.start()
        until(lambda: "The command whose outcome was unknown was carried out." in hand.status)
        until(lambda: hand.enabled == {"Resume", "Stop"})
        hand.panel.close()


@pytest.mark.slow
def test_markup_in_names_is_inert_everywhere(kit: EvalKit, show: Show) -> None:
    """No HTML of any widget, and neither output of the cell, holds a tag that came from a study."""
    study = kit.create_study(MARKUP, description=MARKUP, tags=[MARKUP], metadata={MARKUP: MARKUP})
    kit.start_study(study)
    kit.record_checkpoint(study, flat_sample(1), key=MARKUP)
    hand = show(seen=True)
    until(lambda: "<svg" in hand.view.chart.value)
    hand.click("Stop")
    hand.type("Total tokens", MARKUP)
    values = [one.value for one in hand.widgets() if isinstance(one, ipywidgets.HTML)]
    hand.click("Yes, stop for good")
    hand.type("Name", MARKUP)
    hand.click("Create study")
    values += [one.value for one in hand.widgets() if isinstance(one, ipywidgets.HTML)]
    values += [output["text/html"] for output in hand.panel._outputs(hand.panel._screen.picture(SECONDS))]
    assert sum("alert(1)" in value for value in values) > 4
    for value in values:
        assert "<img src=x" not in value
        assert "<script" not in value
    assert not any(getattr(one, "description_allow_html", False) for one in hand.widgets())


def test_every_control_has_a_name(kit: EvalKit, show: Show) -> None:
    """Whatever takes input has a description, which is what a screen reader says."""
    hand = show()
    controls = [one for one in hand.widgets() if "disabled" in one.keys]
    assert len(controls) > 35
    assert all(one.description for one in controls)


def test_an_error_in_a_callback_stands_in_the_status_line(kit: EvalKit, show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong inside the panel is said, since a notebook shows a callback's error nowhere."""
    hand = show()
    monkeypatch.setattr(hand.panel.model, "select", None)
    monkeypatch.setattr(hand.panel.model, "choose_metric", lambda name: 1 / 0)
    hand.panel._controls._on_value(hand.control("Metric"), hand.panel.model.choose_metric)
    hand.control("Metric").value = "total_tokens"
    assert "ZeroDivisionError: division by zero" in hand.status


def test_a_study_to_show_first_must_exist(kit: EvalKit, show: Show) -> None:
    """A name that no study has is an error in the cell, as everywhere."""
    running(kit, "one")
    running(kit, "two")
    assert repr(show("one").panel) == "Panel(2 studies, showing 'one': running, 0 periods)"
    with pytest.raises(StudyNotFoundError):
        kit.panel("three")


def test_a_panel_shows_only_what_its_users_need(show: Show) -> None:
    """What follows the kit is private."""
    assert {name for name in dir(show().panel) if not name.startswith("_")} == {"close", "last_error", "model", "refresh", "widget"}


def test_a_closed_panel_says_so(kit: EvalKit) -> None:
    """Closing twice is harmless; what is asked of a closed panel is answered in words."""
    panel = kit.panel()
    panel.close()
    panel.close()
    assert repr(panel) == "Panel(closed)"
    with pytest.raises(EvalkitError, match=r"This panel is closed. kit.panel\(\) makes another one."):
        panel.refresh()


@pytest.mark.slow
def test_many_panels_leave_nothing_behind(kit: EvalKit) -> None:
    """After opening, showing and closing them there are as many widgets, threads and open files as before."""
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
    assert watchers._feeds == watchers._seen == {}


def test_a_cell_that_runs_again_closes_the_panels_that_it_made_before(kit: EvalKit, show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of this run and of other cells stay; outside a notebook nothing is closed."""
    cells: Any = [("a", "1"), ("a", "1"), ("b", "2"), ("a", "3"), (None, "4")]
    monkeypatch.setattr("evalkit.panel.panel._present_cell", lambda: cells.pop(0))
    panels = [show().panel for _ in range(5)]
    assert [repr(panel) for panel in panels] == ["Panel(closed)", "Panel(closed)", *["Panel(0 studies)"] * 3]


@pytest.mark.slow
@pytest.mark.server
def test_a_process_ends_although_its_panel_waits_for_a_server(tmp_path: Path) -> None:
    """A server that does not answer keeps no interpreter alive, and its end says nothing."""
    code = """
import sys, time, evalkit
kit = evalkit.connect(sys.argv[1], database_url=sys.argv[2])
panel = kit.panel()
print("open", flush=True)
panel.widget._view_count = 1
input()
while "has not answered" not in panel._screen.view.age.value: time.sleep(0.01)
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
        warnings.simplefilter("ignore")  # of the machinery's own
        NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(tmp_path))
    return notebook.cells


@pytest.mark.slow
@pytest.mark.kernel
def test_a_headless_notebook_holds_a_table_and_a_picture(kit: EvalKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cell keeps the widget with a static twin and, beside it, the twin alone, folded; its text is the same every time; nothing watches."""
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


def test_a_worker_ends_by_itself_and_gives_up_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread is there only while there is something to do; ending it cancels what has not begun, and waits a bounded time for the rest."""
    monkeypatch.setattr("evalkit.panel.feed._IDLE_SECONDS", 0.05)
    worker, go = Worker("evalkit-test"), threading.Event()
    assert worker.submit(lambda: 1).result(SECONDS) == 1
    until(lambda: threads() == [])
    with pytest.raises(ZeroDivisionError):
        worker.submit(lambda: 1 / 0).result(SECONDS)
    hanging, waiting = worker.submit(go.wait), worker.submit(lambda: 2)
    until(lambda: worker.busy_seconds > 0)
    assert not worker.idle
    worker.end(0.05)
    assert waiting.cancelled()
    go.set()
    assert hanging.result(SECONDS)
    until(lambda: threads() == [])
    assert worker.submit(lambda: datetime.now(UTC)).result(SECONDS)
    worker.end(SECONDS)
    assert threads() == []
