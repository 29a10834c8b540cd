"""The sections of the panel with their widgets, without a browser."""

from __future__ import annotations

import html
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ipywidgets
import pytest
from ipywidgets.widgets.widget import _instances

from evalkit import ConflictError, EvalKit, InvalidInputError, LogMismatchError, Metric, StudyExistsError, connect
from evalkit.errors import LogUnavailableError
from evalkit.panel import controls
from evalkit.panel.metric_fields import SHOWN_FIELDS
from evalkit.panel.reading import read_earlier
from tests.panel_driver import SECONDS, Driver, Show, opened_panels, until

MARKUP = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
TITLES = ("New study", "Record checkpoint", "Notes", "Amend or retract", "Edit study")
REFUSALS = Metric("refusal_rate", kind="rate", better="down", label="Refusal rate", group="Safety")


def started(kit: EvalKit, name: str = "agent", *metrics: Metric | str, days: int = 1) -> str:
    """Start a study with checkpoints for the first days of 2026, and return its id."""
    study = kit.start_study(kit.create_study(name, metrics=metrics))
    for day in range(1, days + 1):
        kit.record_checkpoint(study, {"period_start": f"2026-01-{day:02}", "total_cost": day, "session_success_rate": 0.5}, tz="UTC")
    return study.id


def section(driver: Driver, name: str) -> Any:
    return driver.view.sections.views[name]


def shown(driver: Driver, name: str) -> bool:
    """Return whether a control is visible."""
    return any(getattr(widget, "description", None) == name for widget in driver.widgets(shown=True))


def test_sections_are_created_when_they_are_opened(kit: EvalKit, show: Show) -> None:
    """One section is open at a time; opening it again creates no widget."""
    started(kit)
    driver = show()
    before = len(_instances)
    for title in TITLES:
        driver.open(title)
        assert [heading.description for heading in driver.view.sections.headings.values() if heading.value] == [title]
    assert len(_instances) > before
    after = len(_instances)
    for title in TITLES:
        driver.open(title)
    assert len(_instances) == after
    driver.control("Edit study").value = False
    assert driver.view.sections.opened is None


@pytest.mark.slow
def test_custom_metric_is_recorded_and_picked(kit: EvalKit, show: Show) -> None:
    """The form has a field with label, range and group; the picker shows the group; the chart has the label."""
    started(kit, "agent", REFUSALS)
    driver = show(visible=True)
    form = driver.open("Record checkpoint")
    field = driver.control("Refusal rate")
    assert (field.placeholder, [heading.value for heading in form.custom._headings]) == ("0 to 1", ["Safety"])
    driver.type("Refusal rate", "7")
    assert "refusal_rate 7" in form._problems.value
    assert "evalkit-invalid" in field._dom_classes
    driver.type("Refusal rate", "0.07")
    driver.click("Record")
    assert kit.checkpoints()["refusal_rate"].to_list() == [None, 0.07]
    assert driver.control("Refusal rate").value == ""
    assert ("Safety: Refusal rate", "refusal_rate") in driver.control("Metric").options
    driver.control("Metric").value = "refusal_rate"
    until(lambda: "Refusal rate: agent" in driver.view.chart.value)
    assert "Refusal rate (last)" in driver.view.list.head.value
    assert "7.0%" in driver.rows[0].content.value


@pytest.mark.slow
def test_metric_without_values_and_with_one_value(kit: EvalKit, show: Show) -> None:
    """Nothing is drawn without a value; one value is a point."""
    study = started(kit, "agent", REFUSALS, Metric("empty", kind="number", better="up", label=MARKUP))
    kit.record_checkpoint(study, {"period_start": "2026-01-05", "refusal_rate": 0.25}, tz="UTC")
    driver = show(visible=True)
    driver.control("Metric").value = "empty"
    assert driver.view.chart.value == f'<div class="evalkit-empty">No values of {html.escape(MARKUP)} yet.</div>'
    driver.control("Metric").value = "refusal_rate"
    until(lambda: "Refusal rate: agent" in driver.view.chart.value)
    picture = driver.panel._screen.picture(SECONDS)
    assert picture is not None
    assert "Trend of refusal rate" in picture.alt
    (output, _) = driver.panel._outputs(picture)
    assert '<th scope="col">Refusal rate, last value</th>' in output["text/html"]
    assert "<td>25.0%</td>" in output["text/html"]


@pytest.mark.slow
def test_chart_says_that_version_changes_could_not_be_read(kit: EvalKit, show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    """The values are drawn nevertheless; the next change draws the chart again."""
    study = kit.start_study(kit.create_study("agent"))
    for day in (1, 2):
        values = {"period_start": f"2026-01-0{day}", "total_cost": day, "provenance": {"collector": "c", "models": [f"m-{day}"]}}
        kit.record_checkpoint(study, values, tz="UTC")

    def unreachable(*_: Any, **__: Any) -> None:
        raise LogUnavailableError(f"down {MARKUP}")

    with monkeypatch.context() as patch:
        patch.setattr(type(kit), "provenance", unreachable)
        driver = show(visible=True)
        until(lambda: "<svg" in driver.view.chart.value)
        assert "Version changes could not be read, so the chart does not show them: down &lt;img" in driver.view.chart.value
        assert "m-2" not in driver.view.chart.value
    driver.click("Refresh")
    until(lambda: "could not be read" not in driver.view.chart.value)
    assert "m-2" in driver.view.chart.value


def test_definition_by_another_process_appears_in_an_open_form(kit: EvalKit, show: Show) -> None:
    """Typed text is kept, and no widget is created for a study with fewer metrics."""
    started(kit, "one")
    started(kit, "two")
    driver = show("one")
    driver.open("Record checkpoint")
    driver.type("Total tokens", "5")
    with connect(kit.engine.settings.home) as other:
        other.define_metric("one", REFUSALS, "tool_calls")
    driver.panel.refresh()
    driver.type("Refusal rate", "0.5")
    assert driver.control("Total tokens").value == "5"
    before = len(_instances)
    driver.choose("two")
    assert not shown(driver, "Refusal rate")
    driver.choose("one")
    assert driver.control("Refusal rate").value == "0.5"
    assert len(_instances) == before


@pytest.mark.parametrize("count", [1, SHOWN_FIELDS])
def test_metric_keeps_its_control_while_another_process_defines_one(kit: EvalKit, show: Show, count: int) -> None:
    """Text in flight belongs to the metric whose control is focused, also if as many fields as possible are shown."""
    metrics = [Metric(f"m_{number:02}", kind="number", better="up", group="Part B") for number in range(count)]
    started(kit, "agent", Metric("first", kind="number", better="up", group="Part A"), *metrics)
    driver = show()
    driver.open("Record checkpoint")
    last = [control for control in driver.form("checkpoint").custom._grid.children if isinstance(control, ipywidgets.Text)][-1]
    label = last.description
    last.value = "0.5"
    with connect(kit.engine.settings.home) as other:
        other.define_metric("agent", Metric("second", kind="number", better="up", group="Part A"))
    driver.panel.refresh()
    last.value = "0.55"
    assert (last.description, driver.control(label), driver.control(label).value) == (label, last, "0.55")
    assert driver.panel.model.drafts is not None
    texts = driver.panel.model.drafts.checkpoint.texts
    assert {name: text for name, text in texts.items() if text == "0.55"} == {label.lower().replace(" ", "_"): "0.55"}
    assert shown(driver, "Second") == (count == 1)
    if count > 1:
        driver.type("Find a custom metric", "second")
        driver.type("Second", "2")
        driver.type("Find a custom metric", "")
        assert (driver.panel.model.drafts.checkpoint.texts["second"], shown(driver, "Second")) == ("2", True)


@pytest.mark.slow
def test_form_with_200_custom_metrics(kit: EvalKit, show: Show) -> None:
    """At most 24 fields exist; a search shows others, and what was typed in hidden ones is recorded."""
    started(kit, "agent", *(Metric(f"m_{number:03}", kind="number", better="up", group=f"Part {number // 50}") for number in range(200)))
    driver = show()
    form = driver.open("Record checkpoint")
    assert (len(form.custom._controls), SHOWN_FIELDS) == (24, 24)
    driver.type("M 000", "1")
    driver.type("Find a custom metric", "m_19")
    assert [control.description for control in form.custom._grid.children if isinstance(control, ipywidgets.Text)] == [
        f"M {number}" for number in range(190, 200)
    ]
    driver.type("M 199", "2")
    assert form.custom._summary.value == "10 of 200 custom metrics shown, 2 with a value."
    driver.type("Find a custom metric", "nothing")
    assert not shown(driver, "M 199")
    driver.click("Record")
    assert kit.checkpoints().row(-1, named=True) | {"m_000": 1.0, "m_199": 2.0} == kit.checkpoints().row(-1, named=True)
    driver.type("Find a custom metric", "")
    assert (driver.control("M 000").value, len(form.custom._controls)) == ("", 24)


def test_add_note(kit: EvalKit, show: Show) -> None:
    """The draft belongs to the study and survives updates; the note is listed; an equal one is not added again."""
    started(kit, "one")
    started(kit, "two")
    driver = show("one")
    driver.open("Notes")
    assert driver.control("Add note").disabled
    driver.type("Note", "New model")
    driver.type("Time of the note (UTC)", "yesterday")
    assert "not a time" in driver.form("note")._problems.value
    driver.type("Time of the note (UTC)", "2026-01-31")
    driver.control("Category").value = "model"
    kit.note("two", "other")
    driver.panel.refresh()
    driver.choose("two")
    assert (driver.control("Note").value, driver.control("Category").value) == ("", "other")
    driver.choose("one")
    assert driver.control("Note").value == "New model"
    driver.click("Add note")
    assert "Added a note to &#x27;one&#x27;, 2026-01-31 00:00 UTC, model." in driver.message
    assert "Added a note" in driver.form("note").feedback.value
    (note,) = kit.notes("one").to_dicts()
    assert (note["text"], note["category"], note["author"]) == ("New model", "model", None)
    assert "New model" in section(driver, "note")._notes.value
    assert (driver.control("Note").value, driver.control("Add note").disabled) == ("", True)
    assert "<dt>Notes</dt><dd>1</dd>" in driver.view.details.value


def test_amend_checkpoint(kit: EvalKit, show: Show) -> None:
    """Only the changed value is amended, with its reason and author; the new version is listed."""
    started(kit, "agent", REFUSALS, days=3)
    driver = show()
    driver.open("Amend or retract")
    assert [label for label, _ in driver.control("Checkpoint").options] == [
        f"2026-01-0{day} to 2026-01-0{day + 1} UTC" for day in (3, 2, 1)
    ]
    driver.type("Find a period", "2026-01-02")
    assert (driver.control("Total cost").value, driver.control("Amend").disabled) == ("2", True)
    driver.type("Total cost", "2.5")
    assert "Enter a reason." in driver.form("correction")._problems.value
    driver.type("Reason", "wrong invoice")
    driver.type("Author", "ada")
    driver.type("Refusal rate", "0.25")
    driver.click("Amend")
    assert "Amended 2 values of the checkpoint 2026-01-02 to 2026-01-03 UTC (now revision 1)." in driver.message
    amendments = kit.amendments().select("metric", "old", "new", "reason", "author").rows()
    assert amendments == [("total_cost", 2.0, 2.5, "wrong invoice", "ada"), ("refusal_rate", None, 0.25, "wrong invoice", "ada")]
    assert "Total cost: $2.00 → $2.50; Refusal rate: missing → 25.0%" in section(driver, "correction")._versions.value
    assert (driver.control("Total cost").value, driver.control("Reason").value, driver.control("Amend").disabled) == ("2.5", "", True)
    driver.type("Total cost", "")
    driver.type("Reason", "unknown")
    driver.click("Amend")
    assert kit.checkpoints()["total_cost"].to_list() == [1.0, None, 3.0]


@pytest.mark.slow
def test_concurrent_amendment_is_a_conflict(kit: EvalKit, show: Show, tmp_path: Path) -> None:
    """The other amendment's values, author and reason are shown, typed text is kept, and the command has to be repeated."""
    started(kit)
    driver = show()
    driver.open("Amend or retract")
    driver.type("Total cost", "3")
    driver.type("Reason", "mine")
    with connect(tmp_path / "home") as other:
        other.amend_checkpoint(other.checkpoints()["checkpoint_id"][0], {"total_cost": 2}, reason=f"theirs {MARKUP}", author="bob")
    driver.click("Amend")
    assert isinstance(driver.panel.last_error, ConflictError)
    assert html.escape(str(driver.panel.last_error)) in driver.message
    conflict = section(driver, "correction").conflict.text.value
    assert "Total cost: $1.00 → $2.00 (by bob, reason: theirs &lt;img" in conflict
    assert (driver.control("Total cost").value, driver.control("Reason").value) == ("3", "mine")
    assert driver.control("Amend").disabled
    driver.click("Use latest version")
    assert not shown(driver, "Use latest version")
    driver.click("Amend")
    assert kit.amendments().select("revision", "old", "new").rows() == [(1, 1.0, 2.0), (2, 2.0, 3.0)]
    assert not shown(driver, "Use latest version")


def test_retract_checkpoint(kit: EvalKit, show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs a reason and a confirmation; the focus moves to the next control; the checkpoint is left out everywhere."""
    focused: list[str] = []
    monkeypatch.setattr(ipywidgets.DOMWidget, "focus", lambda widget: focused.append(widget.description))
    started(kit, days=2)
    driver = show()
    driver.open("Amend or retract")
    assert (driver.control("Retract checkpoint").disabled, driver.control("Retract checkpoint").tooltip) == (True, "Enter a reason first.")
    driver.type("Reason", "wrong model")
    driver.click("Retract checkpoint")
    assert "Retract the checkpoint 2026-01-02 to 2026-01-03 UTC permanently?" in section(driver, "correction")._question.value
    driver.click("Keep checkpoint")
    assert not shown(driver, "Retract permanently")
    driver.click("Retract permanently")  # the page still shows the button
    assert kit.checkpoints().height == 2
    driver.click("Retract checkpoint")
    driver.click("Retract permanently")
    assert "Retracted the checkpoint 2026-01-02 to 2026-01-03 UTC." in driver.message
    assert kit.amendments().select("revision", "reason").rows() == [(None, "wrong model")]
    assert [label for label, _ in driver.control("Checkpoint").options] == ["2026-01-01 to 2026-01-02 UTC"]
    assert (driver.control("Reason").value, shown(driver, "Retract permanently")) == ("", False)
    assert focused == ["Keep checkpoint", "Retract checkpoint", "Checkpoint", "Keep checkpoint", "Checkpoint"]
    assert "1 period, daily" in driver.view.details.value


def test_retraction_needs_the_latest_version_and_a_reason(kit: EvalKit, show: Show, tmp_path: Path) -> None:
    """Neither a conflict nor a cleared reason can be confirmed, because a retraction cannot be undone."""
    started(kit)
    driver = show()
    driver.open("Amend or retract")
    driver.type("Total cost", "3")
    driver.type("Reason", "mine")
    driver.click("Retract checkpoint")
    retract, confirm = driver.control("Retract checkpoint"), driver.control("Retract permanently")
    assert (retract.disabled, confirm.disabled) == (False, False)
    with connect(tmp_path / "home") as other:
        other.amend_checkpoint(other.checkpoints()["checkpoint_id"][0], {"total_cost": 2}, reason="theirs")
    driver.panel.refresh()
    assert (retract.disabled, confirm.disabled, confirm.tooltip) == (True, True, "Use the latest version first.")
    driver.click("Retract permanently")
    assert kit.checkpoints().height == 1
    driver.click("Use latest version")
    assert (retract.disabled, confirm.disabled) == (False, False)
    driver.type("Reason", "")
    assert (retract.disabled, confirm.disabled, confirm.tooltip) == (True, True, "Enter a reason first.")
    driver.click("Retract permanently")
    assert kit.checkpoints().height == 1
    driver.type("Reason", "mine")
    driver.click("Retract permanently")
    assert (kit.checkpoints().height, kit.amendments()["reason"].to_list()[-1]) == (0, "mine")


def test_retraction_is_withdrawn_by_another_selection(kit: EvalKit, show: Show) -> None:
    """Neither another checkpoint nor another study keeps the question open."""
    started(kit, "one", days=2)
    started(kit, "two")
    driver = show("one")
    driver.open("Amend or retract")
    driver.type("Reason", "r")
    driver.click("Retract checkpoint")
    newest, older = (checkpoint_id for _, checkpoint_id in driver.control("Checkpoint").options)
    driver.control("Checkpoint").value = older
    driver.control("Checkpoint").value = newest
    assert (driver.control("Reason").value, shown(driver, "Retract permanently")) == ("r", False)
    driver.click("Retract checkpoint")
    driver.choose("two")
    driver.choose("one")
    assert not shown(driver, "Retract permanently")


def test_retraction_by_another_process_is_shown(kit: EvalKit, show: Show) -> None:
    """The form cannot be submitted, and keeps what was typed."""
    started(kit)
    driver = show()
    driver.open("Amend or retract")
    driver.type("Total cost", "3")
    kit.retract_checkpoint(kit.checkpoints()["checkpoint_id"][0], reason=MARKUP, author="bob")
    driver.panel.refresh()
    assert "This checkpoint was retracted (by bob, reason: &lt;img" in driver.form("correction")._note.value
    assert (driver.control("Total cost").value, driver.control("Total cost").disabled, driver.control("Amend").disabled) == (
        "3",
        True,
        True,
    )


def test_rename_and_edit_study(kit: EvalKit, show: Show) -> None:
    """The form has the current values; a name in use is refused and keeps the text."""
    kit.create_study("other")
    kit.create_study("agent", tags=["a"], metadata={"model": "m-1", "seed": "1"})
    driver = show()
    driver.open("Edit study")
    assert (driver.control("Study name").value, driver.control("Study metadata").value) == ("agent", "model=m-1\nseed=1")
    assert driver.control("Save changes").disabled
    driver.type("Study name", "other")
    driver.type("Study tags", "a, b")
    driver.click("Save changes")
    assert isinstance(driver.panel.last_error, StudyExistsError)
    assert (driver.control("Study name").value, kit.resolve("agent").config.tags) == ("other", ["a"])
    driver.type("Study name", "renamed")
    driver.type("Study metadata", "model=m-2")
    driver.click("Save changes")
    assert "Renamed &#x27;agent&#x27; to &#x27;renamed&#x27;. Changed the tags and metadata of &#x27;renamed&#x27;." in driver.message
    study = kit.resolve("renamed")
    assert (study.config.tags, study.config.metadata) == (["a", "b"], {"model": "m-2"})
    assert (driver.listed, driver.name, driver.control("Save changes").disabled) == (["*renamed", "other"], "renamed", True)
    driver.type("Study metadata", "model")
    assert "=&#x27; is missing" in driver.form("edit")._problems.value
    assert driver.control("Save changes").disabled


def test_edit_keeps_changes_of_another_process(kit: EvalKit, show: Show, tmp_path: Path) -> None:
    """Added tags and metadata survive; a changed description has to be accepted."""
    kit.create_study("agent", description="d", tags=["a"], metadata={"model": "m-0"})
    driver = show()
    driver.open("Edit study")
    for name, text in (("Study metadata", "model=m-1"), ("Study tags", "a, mine"), ("Study description", "mine")):
        driver.type(name, text)
    assert not shown(driver, "Continue with my changes")
    with connect(tmp_path / "home") as other:
        other.edit_study("agent", metadata={"owner": "x"}, tags=["a", "theirs"], description=f"theirs {MARKUP}")
    driver.panel.refresh()
    conflict = section(driver, "edit").conflict.text.value
    assert "Conflict: the description was changed to &#x27;theirs &lt;img" in conflict
    assert driver.control("Save changes").disabled
    driver.click("Continue with my changes")
    assert not shown(driver, "Continue with my changes")
    driver.click("Save changes")
    config = kit.resolve("agent").config
    assert (config.description, config.tags, config.metadata) == ("mine", ["a", "theirs", "mine"], {"model": "m-1", "owner": "x"})
    assert driver.control("Study metadata").value == "model=m-1\nowner=x"
    assert not shown(driver, "Continue with my changes")


def test_archive_and_restore_study(kit: EvalKit, show: Show) -> None:
    """An archived study is listed with the status filter Archived; its lifecycle commands work."""
    kit.create_study("agent")
    kit.create_study("other")
    driver = show("agent")
    driver.open("Edit study")
    driver.click("Archive study")
    assert "Archived &#x27;agent&#x27;." in driver.message
    assert (driver.listed, driver.name, kit.studies()["name"].to_list()) == (["other"], "agent", ["other"])
    assert "evalkit-archived" in driver.view.details.value
    driver.control("Status").value = "archived"
    assert driver.listed == ["*agent"]
    assert "evalkit-archived" in driver.rows[0].content.value
    driver.click("Start")
    assert (driver.study_status, driver.panel.last_error) == ("running", None)
    driver.click("Restore study")
    assert (driver.listed, kit.resolve("agent").archived) == ([], False)
    driver.control("Status").value = "all"
    assert set(driver.listed) == {"other", "*agent"}


@pytest.mark.slow
def test_earlier_state_is_read_only(kit: EvalKit, show: Show) -> None:
    """Every command and field is disabled with the reason; another panel stays live; the latest state returns."""
    started(kit)
    pin = str(kit.pin())
    kit.rename_study("agent", "renamed")
    driver, live = show(visible=True), show(visible=True)
    for title in TITLES:
        driver.open(title)
    driver.control("As of").value = "other"
    assert not shown(driver, "Show latest")
    driver.control("Time or pin").value = pin
    driver.settle()
    reason = f"Read-only: showing the state as of {pin[:20]}…."
    assert driver.name == "agent"
    assert reason in driver.view.banner.value
    assert (driver.enabled, driver.view.reason.value) == (set(), reason)
    for title in TITLES:
        form = driver.open(title)
        assert reason in form._note.value
        assert all(control.disabled for control in (*form.fields.values(), form.button))
    assert driver.control("Archive study").disabled
    kit.pause_study("renamed")
    until(lambda: live.enabled == {"Resume", "Stop"}, 3)
    assert driver.name == "agent"
    driver.panel.refresh()
    assert driver.name == "agent"
    assert driver.view.age.value == "An earlier state; it is not updated."
    driver.click("Refresh")
    assert driver.name == "agent"
    driver.click("Show latest")
    assert (driver.name, driver.enabled, driver.control("As of").value) == ("renamed", {"Resume", "Stop"}, "latest")
    assert not shown(driver, "Show latest")
    assert not driver.control("Archive study").disabled
    assert "Up to date." in driver.view.age.value


@pytest.mark.parametrize(("choice", "days"), [("yesterday", 0), ("week", 7), ("month", 30)])
def test_preset_state_stays_chosen(kit: EvalKit, show: Show, choice: str, days: int) -> None:
    """The select, the banner and Refresh are about the shown state until the latest one is chosen."""
    kit.create_study("agent")
    driver = show()
    as_of = driver.control("As of")
    as_of.value = choice
    driver.settle()
    state = driver.panel.model.earlier
    assert state is not None
    assert isinstance(state.value, datetime)
    assert timedelta(days=days) <= datetime.now(UTC) - state.value < timedelta(days=days + 1, minutes=1)
    for action in (lambda: None, lambda: driver.click("Refresh")):
        action()
        assert (driver.panel.model.earlier, as_of.value) == (state, choice)
        assert f"showing the state as of {state.text}." in driver.view.banner.value
        assert f"Showing the state as of {state.text}." in driver.message
    as_of.value = "latest"
    assert (driver.name, driver.panel.model.earlier, as_of.value) == ("agent", None, "latest")
    assert not shown(driver, "Show latest")
    driver.click("Refresh")
    assert "Refreshed." in driver.message


def test_refresh_reads_the_shown_state_again(kit: EvalKit, show: Show) -> None:
    """An invalid text in the field does not matter."""
    kit.create_study("agent")
    driver = show()
    as_of = driver.control("As of")
    as_of.value = "yesterday"
    driver.settle()
    state = driver.panel.model.earlier
    as_of.value = "other"
    driver.control("Time or pin").value = "soon"
    assert 'role="alert"' in driver.message
    driver.click("Refresh")
    assert 'role="alert"' not in driver.message
    assert (driver.panel.model.earlier, as_of.value) == (state, "yesterday")


class Gate:
    """Reads earlier states, one each time it is opened."""

    def __init__(self) -> None:
        self.reads = 0
        """The number of readings that began."""
        self.opened = threading.Semaphore(0)

    def read(self, kit: Any, as_of: Any) -> Any:
        self.reads += 1
        assert self.opened.acquire(timeout=SECONDS)
        return read_earlier(kit, as_of)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    monkeypatch.setattr(controls, "read_earlier", gate.read)
    return gate


@pytest.mark.parametrize("shown_before", [False, True])
def test_latest_replaces_a_state_that_is_being_read(kit: EvalKit, show: Show, gate: Gate, shown_before: bool) -> None:
    """The state that arrives later is dropped, with its message."""
    kit.create_study("agent")
    driver = show()
    as_of, model = driver.control("As of"), driver.panel.model
    if shown_before:
        gate.opened.release()
        as_of.value = "month"
        driver.settle()
    as_of.value = "week"
    until(lambda: gate.reads == 1 + shown_before)
    as_of.value = "latest"
    assert model.earlier is None
    gate.opened.release()
    driver.settle()
    assert (driver.name, model.earlier, as_of.value) == ("agent", None, "latest")
    assert "Showing the latest state." in driver.message
    assert driver.enabled == {"Start", "Stop"}


def test_error_of_a_replaced_state_is_dropped(kit: EvalKit, show: Show, gate: Gate) -> None:
    kit.create_study("agent")
    driver = show()
    as_of = driver.control("As of")
    as_of.value = "other"
    driver.control("Time or pin").value = f"pin:7@{'a' * 64}"
    until(lambda: gate.reads == 1)
    as_of.value = "latest"
    gate.opened.release()
    driver.settle()
    assert (driver.panel.model.earlier, driver.panel.last_error) == (None, None)
    assert "Showing the latest state." in driver.message


def test_last_of_several_states_is_shown(kit: EvalKit, show: Show, gate: Gate) -> None:
    """Commands are unavailable until it is; states in between are not read."""
    kit.create_study("agent")
    driver = show()
    as_of, model = driver.control("As of"), driver.panel.model
    as_of.value = "week"
    until(lambda: gate.reads == 1)
    as_of.value = "yesterday"
    as_of.value = "month"
    reading = driver.message
    gate.opened.release()
    until(lambda: gate.reads == 2)
    driver.panel._screen.read(lambda: None)
    assert (model.earlier, as_of.value, driver.message, driver.enabled) == (None, "month", reading, set())
    assert model.busy is not None
    gate.opened.release()
    driver.settle()
    assert model.earlier is not None
    assert (model.earlier.choice, as_of.value, gate.reads) == ("month", "month", 2)
    assert "Showing the state as of" in driver.message


def test_invalid_earlier_state_keeps_the_former(kit: EvalKit, show: Show, tmp_path: Path) -> None:
    """The status line says what is wrong; the typed text can be corrected."""
    started(kit)
    with connect(tmp_path / "other") as other:
        other.create_study("two")
        foreign = str(other.pin())
    driver = show()
    driver.control("As of").value = "yesterday"
    driver.settle()
    state = driver.panel.model.earlier
    driver.control("As of").value = "other"
    for text, problem in (("soon", "as_of &#x27;soon&#x27;: not a time"), ("pin:x", "not a pin"), (foreign, "pin of another log")):
        driver.control("Time or pin").value = text
        driver.settle()
        assert (driver.panel.model.earlier, driver.control("As of").value, driver.control("Time or pin").value) == (state, "other", text)
        assert 'role="alert"' in driver.message
        assert text == "pin:x" or problem in driver.message
    assert isinstance(driver.panel.last_error, LogMismatchError | InvalidInputError)
    driver.control("As of").value = "latest"
    assert driver.panel.model.earlier is None


def test_panels_see_each_others_changes(kit: EvalKit, show: Show) -> None:
    """Two panels of one kit, and of two kits, show notes, amendments and renames of each other."""
    started(kit)
    with connect(kit.engine.settings.home) as other_kit:
        one, two, third = show(), show(), show(on=other_kit)
        for driver in (one, two, third):
            driver.open("Amend or retract")
        one.type("Total cost", "5")
        one.type("Reason", "r")
        one.click("Amend")
        third.panel.refresh()
        assert [driver.control("Total cost").value for driver in (one, two, third)] == ["5"] * 3
        third.open("Edit study")
        third.type("Study name", "renamed")
        third.click("Save changes")
        one.panel.refresh()
        assert [driver.name for driver in (one, two, third)] == ["renamed"] * 3


@pytest.mark.slow
@pytest.mark.parametrize("title", TITLES)
def test_refresh_without_changes_sends_nothing(kit: EvalKit, show: Show, title: str) -> None:
    """No trait of any widget changes while a section is open."""
    study = started(kit, "agent", REFUSALS, days=2)
    kit.note(study, "x")
    kit.amend_checkpoint(kit.checkpoints()["checkpoint_id"][1], {"total_cost": 7}, reason="r")
    driver = show(visible=True)
    driver.open(title)
    until(lambda: "<svg" in driver.view.chart.value and "Up to date." in driver.view.age.value)
    changes: list[Any] = []
    for widget in driver.widgets():
        widget.observe(changes.append)
    frames = driver.panel._feed.reading.frames if driver.panel._feed.reading is not None else None
    for _ in range(3):
        driver.panel.refresh()
        driver.panel._feed.tick()
    assert changes == []
    assert driver.panel._feed.reading is not None
    assert driver.panel._feed.reading.frames is frames


def test_read_only_kit_explains_disabled_forms(kit: EvalKit) -> None:
    started(kit)
    with connect(kit.engine.settings.home, read_only=True) as reader, opened_panels(reader) as show:
        driver = show()
        for title in TITLES:
            form = driver.open(title)
            assert "this kit is read-only" in form._note.value
            assert form.button.disabled


@pytest.mark.slow
def test_markup_is_escaped_in_every_section(kit: EvalKit, show: Show) -> None:
    """Labels, groups, notes, reasons and authors are texts."""
    study = started(kit, MARKUP, Metric("x", kind="number", better="up", label=MARKUP, group=MARKUP, unit="<b>"))
    kit.note(study, MARKUP, author=MARKUP)
    (checkpoint,) = kit.checkpoints()["checkpoint_id"]
    kit.amend_checkpoint(checkpoint, {"x": 3}, reason=MARKUP, author=MARKUP)
    driver = show(visible=True)
    driver.control("Metric").value = "x"
    until(lambda: "<svg" in driver.view.chart.value, SECONDS)
    values: list[str] = []
    for title in TITLES:
        driver.open(title)
        values += [widget.value for widget in driver.widgets() if isinstance(widget, ipywidgets.HTML)]
    driver.type("Study name", "plain")
    driver.click("Save changes")
    values.append(driver.message)
    driver.control("Metric").value = "total_tokens"
    values += [widget.value for widget in driver.widgets() if isinstance(widget, ipywidgets.HTML)]
    values += [output["text/html"] for output in driver.panel._outputs(None)]
    assert sum("alert(1)" in value for value in values) > 10
    for value in values:
        assert "<img src=x" not in value
        assert "<script" not in value
        assert "<b>" not in value
