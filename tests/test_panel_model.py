"""The panel without widgets: its content, the available commands, and the parsing of its forms."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from inline_snapshot import snapshot

from evalkit import METRICS, EvalKit, EvalkitWarning, InvalidInputError, PeriodType, connect
from evalkit.domain.commands import RecordCheckpoint
from evalkit.domain.periods import period_end, period_start
from evalkit.errors import LogUnavailableError, collect_warnings, warn
from evalkit.panel.checkpoint_form import CHECKPOINT_FIELDS, CheckpointForm
from evalkit.panel.markup import message_html, study_html
from evalkit.panel.model import ALL, PAGE_SIZE, PanelModel, shortened
from evalkit.panel.reading import read
from evalkit.panel.static import static_html, table_html
from evalkit.panel.study_forms import StudyForm
from evalkit.samples import sample_checkpoints

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MARKUP = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


def model_of(kit: EvalKit, now: datetime = NOW) -> PanelModel:
    model = PanelModel(now)
    model.apply(read(kit, None), now)
    return model


def three_studies(kit: EvalKit) -> None:
    """Create a pending study, a running one with 3 of 8 days, and a paused one."""
    kit.create_study("pending", at="2026-01-01T00:00:00Z", tags=["nightly"], metadata={"model": "m-1"})
    running = kit.create_study("running", period="daily:8", at="2026-01-01T00:01:00Z", description="A agent")
    kit.start_study(running, at="2026-01-01T00:02:00Z")
    kit.record_checkpoints(running, sample_checkpoints("daily", "2026-01-01T00:00:00Z", 3, seed=1))
    paused = kit.create_study("paused", period="weekly", at="2026-01-02T00:00:00Z")
    kit.start_study(paused, at="2026-01-02T00:01:00Z")
    kit.pause_study(paused, at="2026-01-03T00:01:00Z")


def selecting(model: PanelModel, name: str) -> PanelModel:
    model.select(next(study["study_id"] for study in model.studies if study["name"] == name))
    return model


def form_of(model: PanelModel) -> CheckpointForm:
    assert model.drafts is not None
    return model.drafts.checkpoint


def facts_of(model: PanelModel, name: str) -> dict[str, str]:
    return dict(selecting(model, name).facts())


def test_list_shows_newest_study_first(kit: EvalKit) -> None:
    """Each entry has the status, the progress, and the last value of the shown metric."""
    three_studies(kit)
    model = selecting(model_of(kit), "running")
    entries = model.entries()
    assert [(entry.name, entry.status, entry.progress, entry.fraction, entry.selected) for entry in entries] == [
        ("paused", "paused", "0 periods", None, False),
        ("running", "running", "3/8", 0.375, True),
        ("pending", "pending", "0 periods", None, False),
    ]
    last = kit.checkpoints("running").row(-1, named=True)
    assert [bool(entry.value) for entry in entries] == [False, True, False]
    assert entries[1].value.startswith(f"{last['session_success_rate'] * 100:.1f}")
    assert entries[1].summary == f"Selected: running, running, 3 of 8 periods, session success rate {entries[1].value}"
    model.choose_metric("avg_session_duration")
    assert model.entries()[1].value == f"{last['avg_session_duration'].total_seconds():,.1f} s"


def test_last_value_skips_checkpoints_without_the_metric(kit: EvalKit) -> None:
    kit.start_study(kit.create_study("agent"))
    for day, metrics in enumerate(({"total_cost": 1.5}, {"total_cost": 2.5}, {"total_tokens": 3}), 1):
        kit.record_checkpoint("agent", {**metrics, "period": (f"2026-01-0{day}T00:00:00Z", f"2026-01-0{day + 1}T00:00:00Z")})
    model = model_of(kit)
    model.choose_metric("total_cost")
    assert [entry.value for entry in model.entries()] == ["$2.50"]


def test_long_names_are_shortened_in_the_middle() -> None:
    assert shortened("a" * 24 + "b" * 30 + "c" * 9) == "a" * 24 + "…" + "c" * 9
    assert shortened("a" * 34) == "a" * 34


def test_list_has_pages(kit: EvalKit) -> None:
    """The list turns to the page of the selected study, and stays on the page that a user turned to."""
    for index in range(2 * PAGE_SIZE + 1):
        kit.create_study(f"study {index:02}", at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=index))
    model = model_of(kit)
    assert (model.page, model.page_count, model.list_summary()) == (0, 3, "1 to 8 of 17")
    assert [entry.name for entry in model.entries()] == [f"study {index:02}" for index in range(16, 8, -1)]
    model.turn_page(5)
    assert ([entry.name for entry in model.entries()], model.list_summary()) == (["study 00"], "17 to 17 of 17")
    kit.create_study("newest")
    model.apply(read(kit, model.reading), NOW)
    assert [entry.name for entry in model.entries()] == ["study 01", "study 00"]
    model.turn_page(-5)
    for _ in range(PAGE_SIZE):
        model.select_next()
    assert (model.page, model.study and model.study["name"]) == (1, "study 08")
    model.filter_by(text="study 0")
    assert (model.page, model.list_summary()) == (0, "1 to 8 of 10")
    model.filter_by(text="study 00")
    assert (model.page_count, model.list_summary()) == (1, "1 of 18 studies")
    model.filter_by(text="no such study")
    assert (model.entries(), model.page_count, model.list_summary()) == ([], 1, "No studies match.")
    assert PanelModel(NOW).list_summary() == "No studies"


@pytest.mark.parametrize(("status", "text", "names"), [
    ("all", "", ["paused", "running", "pending"]), ("running", "", ["running"]), ("stopped", "", []), ("all", "RUNN", ["running"]),
    ("all", "nightly", ["pending"]), ("all", "model=m", ["pending"]), ("all", "a agent", ["running"]), ("paused", "run", []),
])  # fmt: skip
def test_filters_match_status_and_text(kit: EvalKit, status: str, text: str, names: list[str]) -> None:
    """The search covers name, description, tags and metadata."""
    three_studies(kit)
    model = model_of(kit)
    model.filter_by(status=status, text=text)
    assert [row["name"] for row in model.listed()] == names


def test_filter_keeps_selected_study(kit: EvalKit) -> None:
    """A study that the filters hide stays selected and up to date."""
    three_studies(kit)
    model = selecting(model_of(kit), "running")
    model.filter_by(text="paused")
    kit.pause_study("running")
    model.apply(read(kit, model.reading), NOW)
    assert model.study is not None
    assert (model.study["name"], model.study["status"]) == ("running", "paused")


def test_select_next_cycles_through_listed_studies(kit: EvalKit) -> None:
    """The first study follows the last one and a hidden one; nothing changes if no study is listed."""
    three_studies(kit)
    model = selecting(model_of(kit), "paused")
    selected = []
    for status in ("all", "all", "all", "running", "running", "stopped"):
        model.filter_by(status=status)
        model.select_next()
        assert model.study is not None
        selected.append(model.study["name"])
    assert selected == ["running", "pending", "paused", "running", "running", "running"]


def test_facts_of_selected_study(kit: EvalKit) -> None:
    """Facts have progress, last checkpoint and times in UTC; times that do not exist are left out."""
    three_studies(kit)
    facts = facts_of(model_of(kit), "running")
    assert facts["Progress"] == "3 of 8 periods, daily"
    assert facts["Last checkpoint"] == "2026-01-03 to 2026-01-04 UTC"
    assert facts["Started"] == "2026-01-01 00:02 UTC"
    assert "Stopped" not in facts
    assert facts_of(model_of(kit), "pending")["Last checkpoint"] == "none"


def test_details_have_badge_labels_and_full_id(kit: EvalKit) -> None:
    """The id is complete in the markup, with its first part hidden by the style sheet."""
    three_studies(kit)
    model = selecting(model_of(kit), "pending")
    html = study_html(model)
    study_id = str(model.selected)
    assert '<span class="evalkit-badge evalkit-pending">Pending</span>' in html
    assert f"<span>{study_id[:-8]}</span>{study_id[-8:]}</span>" in html
    assert [label in html for label in (">nightly</span>", ">model = m-1</span>")] == [True, True]
    assert "A agent" in study_html(selecting(model, "running"))
    assert study_html(PanelModel(NOW)) == snapshot(
        '<div class="evalkit-empty">Details and a chart appear here once there is a study.</div>'
    )


def test_excluded_checkpoints_are_not_shown(kit: EvalKit) -> None:
    """They count neither as progress nor as last value; their period is still recorded."""
    three_studies(kit)
    first, *_, last = kit.checkpoints("running")["checkpoint_id"]
    model = PanelModel(NOW, excluded=frozenset([(kit.resolve("running").id, last)]))
    model.apply(read(kit, None), NOW)
    facts = facts_of(model, "running")
    assert (facts["Progress"], facts["Excluded"]) == ("2 of 8 periods, daily", "1 checkpoint")
    assert facts["Last checkpoint"] == "2026-01-02 to 2026-01-03 UTC"
    frames = model.study_frames()
    assert frames is not None
    shown = frames.checkpoints
    assert (shown.height, shown["checkpoint_id"][0]) == (2, first)
    assert model.entries()[1].value.startswith(f"{shown['session_success_rate'][-1] * 100:.1f}")
    assert "Excluded" not in facts_of(model_of(kit), "running")
    form = form_of(model)
    form.set_text("period_start", "2026-01-03T00:00:00Z")
    form.set_text("period_end", "2026-01-04T00:00:00Z")
    assert model.period_is_recorded()


def test_excluded_checkpoint_belongs_to_one_study(kit: EvalKit) -> None:
    """Other programs can give checkpoints of two studies the same id."""
    three_studies(kit)
    reading, running, paused = read(kit, None), kit.resolve("running").id, kit.resolve("paused").id
    own = reading.frames.checkpoints
    both = pl.concat([own, own.with_columns(study_id=pl.lit(paused), study=pl.lit("paused"))])
    model = PanelModel(NOW, excluded=frozenset([(running, own["checkpoint_id"][2])]))
    model.apply(replace(reading, frames=replace(reading.frames, checkpoints=both)), NOW)
    assert [(entry.name, entry.progress) for entry in model.entries()] == [
        ("paused", "3 periods"),
        ("running", "2/8"),
        ("pending", "0 periods"),
    ]
    frames = selecting(model, "running").study_frames()
    assert frames is not None
    assert frames.checkpoints["checkpoint_id"].to_list() == own["checkpoint_id"].to_list()[:2]


def test_panel_follows_changes_of_another_kit(kit: EvalKit, tmp_path: Path) -> None:
    """Renames, amendments, retractions and archived studies of other processes are shown by the next reading."""
    three_studies(kit)
    model = selecting(model_of(kit), "running")
    ids = kit.checkpoints("running")["checkpoint_id"].to_list()
    with connect(tmp_path / "home") as other:
        other.rename_study("running", "renamed")
        other.amend_checkpoint(ids[1], {"session_success_rate": 0.125}, reason="r")
        other.retract_checkpoint(ids[2], reason="r")
        other.archive_study("paused")
    model.apply(read(kit, model.reading), NOW)
    assert [(entry.name, entry.value, entry.progress) for entry in model.entries()] == [
        ("renamed", "12.5%", "2/8"), ("pending", "", "0 periods"),
    ]  # fmt: skip
    with connect(tmp_path / "home") as other:
        other.unarchive_study("paused")
        other.archive_study("renamed")
    model.apply(read(kit, model.reading), NOW)
    assert ([study["name"] for study in model.studies], model.study and model.study["name"]) == (["paused", "pending"], "renamed")


def test_duplicate_checkpoints_do_not_count_as_progress(kit: EvalKit) -> None:
    """A second checkpoint for a period is mentioned next to the last checkpoint."""
    three_studies(kit)
    kit.record_checkpoint("running", {"period": ("2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z"), "total_tokens": 1}, key="again")
    facts = facts_of(model_of(kit), "running")
    assert facts["Progress"] == "3 of 8 periods, daily"
    assert facts["Last checkpoint"] == "2026-01-03 to 2026-01-04 UTC (+1 duplicate)"


@pytest.mark.parametrize(
    ("name", "legal"), [("pending", ["start", "stop"]), ("running", ["pause", "stop"]), ("paused", ["resume", "stop"])]
)
def test_available_commands_follow_status(kit: EvalKit, name: str, legal: list[str]) -> None:
    """No command is available while another one is running."""
    three_studies(kit)
    model = selecting(model_of(kit), name)
    assert model.available_commands() == legal
    model.begin_command("Starting…", NOW)
    assert model.available_commands() == []
    assert {model.unavailable()[command] for command in legal} == {"Wait until the running command has finished."}
    model.end_command()
    assert model.available_commands() == legal
    assert model.unavailable().keys() == {"start", "pause", "resume", "stop"} - set(legal)


def test_unavailable_commands_have_reasons(kit: EvalKit) -> None:
    three_studies(kit)
    model = model_of(kit)
    assert selecting(model, "pending").unavailable() == snapshot(
        {
            "pause": "Only a running study can be paused; this one is pending.",
            "resume": "Only a paused study can be resumed; this one is pending.",
        }
    )
    assert selecting(model, "running").unavailable() == snapshot(
        {
            "start": "Only a pending study can be started; this one is running.",
            "resume": "Only a paused study can be resumed; this one is running.",
        }
    )
    assert selecting(model, "paused").unavailable() == snapshot(
        {
            "start": "Only a pending study can be started; this one is paused.",
            "pause": "Only a running study can be paused; this one is paused.",
        }
    )
    assert set(PanelModel(NOW).unavailable().values()) == {"Select a study first."}


def test_no_commands_for_stopped_study_or_read_only_kit(kit: EvalKit) -> None:
    """The reason is the same for all commands; the status line reports a read-only kit."""
    three_studies(kit)
    kit.stop_study("paused")
    stopped = selecting(model_of(kit), "paused")
    assert (stopped.available_commands(), set(stopped.unavailable().values())) == ([], {"The study is stopped and cannot be resumed."})
    kit.close()
    with connect(kit.engine.settings.home, read_only=True) as reader:
        model = selecting(model_of(reader), "running")
    assert model.legal_commands() == ["pause", "stop"]
    assert model.available_commands() == []
    assert "this kit is read-only" in model.message.text
    assert "this kit is read-only" in model.unavailable()["stop"]


def test_stop_confirmation_is_withdrawn_on_changes(kit: EvalKit) -> None:
    """Selecting another study, or a stop by another process, withdraws the confirmation."""
    three_studies(kit)
    model = selecting(model_of(kit), "running")
    model.request_stop()
    assert model.confirming == model.selected
    selecting(model, "paused")
    assert model.confirming is None
    model.request_stop()
    kit.stop_study("paused")
    model.apply(read(kit, model.reading), NOW)
    assert model.confirming is None
    model.request_stop()
    assert model.confirming is None


def test_unchanged_kit_is_not_read_again(kit: EvalKit) -> None:
    """A reading is reused until an event is appended, and applying it again changes nothing."""
    three_studies(kit)
    first = read(kit, None)
    model = PanelModel(NOW)
    assert model.apply(first, NOW)
    assert read(kit, first) is first
    assert not model.apply(first, NOW)
    with connect(kit.engine.settings.home) as other:
        other.pause_study("running")
    assert read(kit, first) is not first


def test_age_and_connection_are_reported(kit: EvalKit) -> None:
    """Each change of the connection is reported once in the status line; the age is reported continuously."""
    model = PanelModel(NOW)
    assert model.age(NOW) == "Not loaded yet."
    model.apply(read(kit, None), NOW)
    assert model.message.text.startswith("No studies yet. Create the first one below.")
    assert model.age(NOW + timedelta(seconds=3)) == "Up to date."
    assert model.age(NOW + timedelta(seconds=15)) == snapshot("Last updated 15 s ago (12:00:00 UTC).")
    model.read_overdue(3.4, NOW + timedelta(seconds=5))
    assert model.age(NOW + timedelta(seconds=5)) == snapshot("The server has not responded for 3 s. Last updated 5 s ago (12:00:00 UTC).")
    assert (model.message.text, model.message.kind) == (snapshot("The server is not responding; retrying…"), "problem")
    alone = PanelModel(NOW, source="kit")
    alone.read_overdue(3.4, NOW)
    assert alone.message.text == snapshot("The kit is busy; waiting…")
    model.read_failed("The server is gone.", NOW + timedelta(seconds=8))
    first = model.message
    assert (first.text, first.kind) == (snapshot("The server is gone. Retrying every second."), "problem")
    model.read_failed("The server is gone.", NOW + timedelta(seconds=9))
    assert model.message is first
    assert model.age(NOW + timedelta(minutes=3)) == snapshot("Cannot read the server; retrying. Last updated 3 minutes ago (12:00:00 UTC).")
    model.apply(read(kit, model.reading), NOW + timedelta(seconds=20))
    assert (model.message.text, model.message.kind) == (snapshot("The server is responding again."), "done")
    assert model.age(NOW + timedelta(seconds=20)) == "Up to date."


def test_status_line_has_roles_for_screen_readers() -> None:
    model = PanelModel(NOW)
    model.notify("Recorded <b>.", "done", NOW)
    assert message_html(model.message) == snapshot(
        '<div role="status" aria-live="polite" class="evalkit-message evalkit-done"><span>Recorded &lt;b&gt;.</span><span>12:00:00 UTC</span></div>'
    )
    model.notify("Failed.", "problem", NOW)
    assert 'role="alert"' in message_html(model.message)


def test_stale_read_model_is_reported(kit: EvalKit) -> None:
    """The status line reports when the log becomes unreachable and when it responds again."""
    three_studies(kit)
    current = read(kit, None)
    model = PanelModel(NOW)
    model.apply(current, NOW)
    model.apply(replace(current, behind="The log cannot be reached."), NOW)
    assert model.message.text == snapshot("The log cannot be reached. Showing the read model, which may be out of date.")
    assert model.age(NOW) == snapshot("The log is unreachable.")
    model.apply(current, NOW)
    assert model.message.text == snapshot("The server is responding again.")


def test_unreachable_log_is_still_reported_in_cells(kit: EvalKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readings by the panel do not consume the warning that a cell would show."""
    three_studies(kit)
    current = read(kit, None)

    def unreachable(*_: object) -> None:
        raise LogUnavailableError("The log cannot be reached.")

    with monkeypatch.context() as patch:
        patch.setattr(kit.engine.consumer, "catch_up", unreachable)
        assert [read(kit, current).behind for _ in range(2)] == ["The log cannot be reached."] * 2
        with pytest.warns(EvalkitWarning):
            kit.studies()
    assert read(kit, current) is current


def test_warnings_are_redirected_per_thread() -> None:
    """A listener receives the warnings of its own thread only."""
    received: list[str] = []
    with collect_warnings(received.append), ThreadPoolExecutor(1) as other:
        warn("here")
        with pytest.warns(EvalkitWarning, match="there"):
            other.submit(warn, "there").result()
    assert received == ["here."]
    with pytest.warns(EvalkitWarning, match="after"):
        warn("after")


def test_running_command_keeps_status_line(kit: EvalKit) -> None:
    """A slow, failing or recovering server does not replace the message of a running command."""
    model = model_of(kit)
    model.begin_command("Starting 'x'…", NOW)
    model.read_overdue(5, NOW)
    model.read_failed("The server is gone.", NOW)
    model.apply(read(kit, model.reading), NOW)
    assert model.message.text == "Starting 'x'…"


def test_summary_is_reproducible(kit: EvalKit) -> None:
    """The plain text of the panel has no ids and no times."""
    assert PanelModel(NOW).summary() == "Panel(not loaded)"
    assert model_of(kit).summary() == "Panel(0 studies)"
    three_studies(kit)
    assert selecting(model_of(kit), "running").summary() == "Panel(3 studies, showing 'running': running, 3 of 8 periods)"


def test_first_metric_has_values(kit: EvalKit) -> None:
    """The chart starts with a metric that has data, and keeps a chosen metric."""
    kit.start_study(kit.create_study("agent"))
    kit.record_checkpoint("agent", {"total_cost": 1.5, "period": ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")})
    model = model_of(kit)
    assert model.metric == "total_cost"
    model.choose_metric("total_tokens")
    kit.record_checkpoint("agent", {"total_cost": 2, "period": ("2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z")})
    model.apply(read(kit, model.reading), NOW)
    assert model.metric == "total_tokens"


# --- forms ------------------------------------------------------------------------------------------------------------------------


def test_checkpoint_form_has_every_metric() -> None:
    """Each metric has a field with its label, next to the fields of its group."""
    fields = {field.name: field for field in CHECKPOINT_FIELDS}
    assert set(METRICS) < set(fields)
    assert all(fields[name].label == metric.label and fields[name].group == metric.group for name, metric in METRICS.items())
    groups = [field.group for field in CHECKPOINT_FIELDS]
    assert len({*groups}) == sum(before != after for before, after in zip(groups, [*groups[1:], None], strict=True))
    assert fields["session_success_rate"].placeholder == "0 to 1"
    assert fields["total_cost"].placeholder == "US dollars, 0 or more"


@pytest.mark.parametrize(("name", "text", "value"), [
    ("session_success_rate", " 0.8 ", 0.8), ("session_success_rate", "1", 1), ("total_tokens", "12000", 12000), ("total_tokens", "5.0", 5),
    ("avg_session_duration", "90.5", 90.5), ("events_analyzed", "7", 7), ("sessions_included", "a, b,,c", ["a", "b", "c"]), ("key", "k", "k"),
    ("period_start", "2026-01-01 02:00+02:00", datetime(2026, 1, 1, tzinfo=UTC)), ("period_start", "2026-01-01", datetime(2026, 1, 1, tzinfo=UTC)),
])  # fmt: skip
def test_checkpoint_fields_are_parsed(name: str, text: str, value: object) -> None:
    """Numbers, lists and times are parsed; a time without a zone is in UTC."""
    form = CheckpointForm()
    form.set_text(name, text)
    values, problems = form.values()
    assert (values[name], problems) == (value, {})


@pytest.mark.parametrize(("name", "text", "problem"), [
    ("session_success_rate", "83%", snapshot("Invalid session_success_rate '83%': not a number. Enter a percentage as a fraction: 0.83.")),
    ("session_success_rate", "many", snapshot("Invalid session_success_rate 'many': not a number. Leave the field blank if it was not measured.")),
    ("period_end", "soon", snapshot("Invalid period_end 'soon': not a time; expected e.g. 2026-01-31 08:00 (UTC).")),
    ("period_end", "2025-12-31", snapshot('The period must end after it starts.')),
])  # fmt: skip
def test_text_that_cannot_be_parsed(name: str, text: str, problem: str) -> None:
    """The problem is reported at its field while typing, and the form cannot be submitted."""
    form = CheckpointForm(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    form.set_text("sessions_completed", "3")
    assert form.complete
    form.set_text(name, text)
    assert form.problems() == {name: problem}
    assert not form.complete


@pytest.mark.parametrize(("name", "text"), [
    ("session_success_rate", "83"), ("total_tokens", "1.5"), ("total_cost", "-1"), ("total_cost", "nan"), ("avg_session_duration", "-3"),
    ("events_analyzed", "-1"),
])  # fmt: skip
def test_values_that_commands_refuse(name: str, text: str) -> None:
    """The problem is the message of the command, reported at its field."""
    form = CheckpointForm(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    form.set_text("sessions_completed", "3")
    form.set_text(name, text)
    with pytest.raises(InvalidInputError) as error:
        RecordCheckpoint({name: float(text), "period": ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")})
    assert form.problems().keys() == {name}
    assert form.problems()[name].partition(": ")[2] == str(error.value).partition(": ")[2]
    assert not form.complete


def test_empty_checkpoint_form_has_no_problems() -> None:
    """An untouched form cannot be submitted but shows no problem; a checkpoint needs a metric and a period."""
    form = CheckpointForm(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    assert form.problems() == {}
    assert not form.complete
    form.set_text("key", "one")
    assert form.problems() == {"": "Enter at least one metric."}
    assert not form.complete
    without_period = CheckpointForm()
    without_period.set_text("total_tokens", "3")
    assert without_period.problems() == {"period_start": "Enter the start and end of the period."}


@pytest.mark.parametrize(("period", "moment", "start", "end"), [
    (PeriodType.HOURLY, "2026-01-31T08:20:01", "2026-01-31T08:00", "2026-01-31T09:00"),
    (PeriodType.DAILY, "2026-01-31T08:20:01", "2026-01-31T00:00", "2026-02-01T00:00"),
    (PeriodType.WEEKLY, "2026-01-31T08:20:01", "2026-01-26T00:00", "2026-02-02T00:00"),
    (PeriodType.MONTHLY, "2026-12-31T08:20:01", "2026-12-01T00:00", "2027-01-01T00:00"),
])  # fmt: skip
def test_period_of_a_time(period: PeriodType, moment: str, start: str, end: str) -> None:
    """Periods are hours, days, weeks from Monday and calendar months, in UTC."""
    began = period_start(period, datetime.fromisoformat(moment).replace(tzinfo=UTC))
    assert began == datetime.fromisoformat(start).replace(tzinfo=UTC)
    assert period_end(period, began) == datetime.fromisoformat(end).replace(tzinfo=UTC)


def test_month_after_the_31st_ends_on_its_last_day() -> None:
    assert period_end("monthly", datetime(2026, 1, 31, tzinfo=UTC)) == datetime(2026, 2, 28, tzinfo=UTC)


@pytest.mark.slow
def test_next_period_is_proposed_in_untouched_form(kit: EvalKit) -> None:
    """A new checkpoint moves the proposal of an untouched form; typed text is kept."""
    three_studies(kit)
    model = selecting(model_of(kit), "running")
    form = form_of(model)
    assert (form.texts["period_start"], form.texts["period_end"]) == ("2026-01-04 00:00", "2026-01-05 00:00")
    day = {"total_tokens": 1, "period": ("2026-01-04T00:00:00Z", "2026-01-05T00:00:00Z")}
    kit.record_checkpoint("running", day, key="4")
    model.apply(read(kit, model.reading), NOW)
    assert form.texts["period_start"] == "2026-01-05 00:00"
    assert not model.period_is_recorded()
    form.set_text("total_tokens", "5")
    kit.record_checkpoint("running", day | {"period": ("2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z")}, key="5")
    model.apply(read(kit, model.reading), NOW)
    assert (form.texts["period_start"], form.texts["total_tokens"]) == ("2026-01-05 00:00", "5")
    assert model.period_is_recorded()


def test_each_study_has_its_own_draft(kit: EvalKit) -> None:
    """Selecting another study neither loses a draft nor shows it for the wrong study."""
    three_studies(kit)
    model = selecting(model_of(kit), "running")
    form_of(model).set_text("total_tokens", "5")
    assert model.can_record
    other = form_of(selecting(model, "paused"))
    assert (other.texts["total_tokens"], other.texts["period_start"]) == ("", "2025-12-29 00:00")
    assert not model.can_record
    form = form_of(selecting(model, "running"))
    assert form.texts["total_tokens"] == "5"
    model.discard_draft(str(model.selected), "checkpoint")
    assert not model.can_record


def test_pending_study_accepts_no_checkpoint(kit: EvalKit) -> None:
    """The form explains what to do first."""
    three_studies(kit)
    model = selecting(model_of(kit), "pending")
    assert model.why_not_recordable == snapshot("The study is pending. Start it to record checkpoints.")
    form_of(model).texts |= {"period_start": "2026-01-01", "period_end": "2026-01-02", "total_tokens": "1"}
    assert not model.can_record
    assert PanelModel(NOW).why_not_recordable == snapshot("Select or create a study first.")


def test_study_form_returns_command() -> None:
    """Tags are separated by commas, metadata has one pair per line, and no planned periods mean until stopped."""
    form = StudyForm()
    assert (form.problems(), form.touched) == ({}, False)
    form.texts |= {"name": " agent ", "period": "weekly", "tags": "a, b", "metadata": "model = m=1\n\ncommit=abc", "description": "x\ny"}
    command = form.command()
    assert (command.name, command.period_type, command.period_value) == ("agent", PeriodType.WEEKLY, None)
    assert (command.config.tags, command.config.metadata) == (["a", "b"], {"model": "m=1", "commit": "abc"})
    form.set_text("periods", "8")
    assert form.command().period_value == 8


@pytest.mark.parametrize(("name", "text", "problem"), [
    ("name", "", snapshot('Enter a name.')),
    ("periods", "two", snapshot("Invalid planned periods 'two': not a number. Leave the field blank for a study without a planned end.")),
    ("periods", "1.5", snapshot('Invalid planned periods 1.5: expected a positive integer.')),
    ("periods", "0", snapshot('Invalid planned periods 0: expected a positive integer.')),
    ("periods", "nan", snapshot('Invalid planned periods nan: expected a positive integer.')),
    ("metadata", "model", snapshot("Invalid metadata 'model': '=' is missing; expected one pair per line, e.g. model=m-1.")),
])  # fmt: skip
def test_invalid_study_field(name: str, text: str, problem: str) -> None:
    """The problem is reported at its field, and no command can be made."""
    form = StudyForm()
    form.texts |= {"name": "agent", "description": "d", name: text}
    assert form.problems() == {name: problem}
    with pytest.raises(InvalidInputError):
        form.command()


@pytest.mark.parametrize(("name", "text"), [
    ("name", "x" * 201), ("periods", str(2**32)), ("tags", "a\0"), ("description", "\0"), ("metadata", "=1"), ("metadata", "model\0=1"),
])  # fmt: skip
def test_invalid_study_value_is_reported_at_its_field(name: str, text: str) -> None:
    form = StudyForm()
    form.texts |= {"name": "agent", name: text}
    assert form.problems().keys() == {name}


def test_every_invalid_study_field_is_reported() -> None:
    form = StudyForm()
    form.texts |= {"name": "x" * 201, "periods": "two", "metadata": "model", "description": "fine"}
    assert form.problems().keys() == {"name", "periods", "metadata"}


def test_new_study_resets_filters_that_hide_it(kit: EvalKit) -> None:
    three_studies(kit)
    model = model_of(kit)
    model.filter_by(text="running")
    new = kit.create_study("fresh")
    model.apply(read(kit, model.reading), NOW)
    model.show_new(new.id)
    assert (model.selected, model.text_filter, model.status_filter) == (new.id, "", ALL)
    assert new.id in [entry.study_id for entry in model.entries()]


# --- the static copy ----------------------------------------------------------------------------------------------------------------


def test_static_copy_is_accessible_and_reproducible(kit: EvalKit) -> None:
    """It has a caption, headers with a scope and a text alternative, but no ids."""
    three_studies(kit)
    model = selecting(model_of(kit), "running")
    html = static_html(model, "<svg/>", "Success of running")
    assert "<caption>Studies, newest first</caption>" in html
    assert '<th scope="col">Session success rate, last value</th>' in html
    cells = ("running", "daily", "3 of 8 periods", "2026-01-04 00:00", model.entries()[1].value)
    assert f'<tr><th scope="row">running</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>' in html
    assert '<img alt="Success of running" src="data:image/svg+xml;base64,PHN2Zy8+">' in html
    assert str(model.selected) not in html
    assert static_html(model_of(kit), None, "") == table_html(model)


def test_static_copy_escapes_markup(kit: EvalKit) -> None:
    kit.create_study(MARKUP + '"')
    model = model_of(kit)
    assert model.study is not None
    html = static_html(model, "<svg/>", f"Success of {model.study['name']}")
    assert "<img src=x" not in html
    assert "<script" not in html
    assert 'alert(2)&lt;/script&gt;&quot;" src=' in html


def test_static_copy_omits_old_studies(kit: EvalKit) -> None:
    """The table has 50 rows, and its caption the number of omitted studies."""
    for index in range(53):
        kit.create_study(f"study {index}", at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=index))
    html = table_html(model_of(kit))
    assert html.count("<tr>") == 51
    assert "study 52" in html
    assert "study 2<" not in html
    assert "3 older ones omitted" in html
