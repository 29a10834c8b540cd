"""The panel without a browser and without widgets: what it shows, what it allows, what its forms make of what is typed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from evalkit import METRICS, EvalKit, EvalkitWarning, InvalidInputError, PeriodType, connect
from evalkit.domain.periods import period_end, period_start
from evalkit.errors import LogUnavailableError, collect_warnings, warn
from evalkit.panel.forms import CHECKPOINT_FIELDS, CheckpointForm, StudyForm
from evalkit.panel.model import PanelModel, shortened
from evalkit.panel.reading import read
from evalkit.panel.static import static_html, table_html
from evalkit.samples import sample_checkpoints

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MARKUP = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[EvalKit]:
    with connect(tmp_path / "home") as kit:
        yield kit


def model_of(kit: EvalKit, now: datetime = NOW) -> PanelModel:
    model = PanelModel(now)
    model.take(read(kit, None), now)
    return model


def three_studies(kit: EvalKit) -> None:
    """A pending study, a running one with 3 of 8 days, and a paused one."""
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


def test_studies_are_listed_newest_first_with_their_status(kit: EvalKit) -> None:
    """The list says of each study its name and its status; of a long name the beginning and the end."""
    assert shortened("a" * 20 + "b" * 30 + "c" * 9) == "a" * 20 + "…" + "c" * 9
    three_studies(kit)
    assert [label for _, label in model_of(kit).listed()] == [
        "paused · paused",
        "running · running",
        "pending · pending",
    ]


@pytest.mark.parametrize(("status", "text", "found"), [
    ("all", "", ["paused", "running", "pending"]), ("running", "", ["running"]), ("stopped", "", []), ("all", "RUNN", ["running"]),
    ("all", "nightly", ["pending"]), ("all", "model=m", ["pending"]), ("all", "a agent", ["running"]), ("paused", "run", []),
])  # fmt: skip
def test_filters_look_at_status_name_description_tags_and_metadata(kit: EvalKit, status: str, text: str, found: list[str]) -> None:
    """A study is listed when its status and its texts both pass."""
    three_studies(kit)
    model = model_of(kit)
    model.status_filter, model.text_filter = status, text
    assert [label.partition(" ")[0] for _, label in model.listed()] == found


def test_a_filter_hides_a_study_from_the_list_but_not_its_details(kit: EvalKit) -> None:
    """What one looks at stays when the list gets shorter, and while others change it."""
    three_studies(kit)
    model = selecting(model_of(kit), "running")
    model.text_filter = "paused"
    kit.pause_study("running")
    model.take(read(kit, model.reading), NOW)
    assert dict(model.details())["Name"] == "running"
    assert dict(model.details())["Status"] == "paused"


def test_the_next_study_is_the_next_of_those_that_are_listed(kit: EvalKit) -> None:
    """One after the other, then from the start; from a study that is hidden to the first; where none is listed the present one stays."""
    three_studies(kit)
    model = selecting(model_of(kit), "paused")
    shown = []
    for status in ("all", "all", "all", "running", "running", "stopped"):
        model.status_filter = status
        model.select_next()
        shown.append(dict(model.details())["Name"].split()[0])
    assert shown == ["running", "pending", "paused", "running", "running", "running"]


def test_details_say_what_is_known_of_a_study(kit: EvalKit) -> None:
    """Progress, last checkpoint, times in UTC and what it is about are given; what there is none of is left out."""
    three_studies(kit)
    told = dict(selecting(model_of(kit), "running").details())
    assert told["Progress"] == "3 of 8 periods, daily"
    assert told["Last checkpoint"] == "[2026-01-03 00:00, 2026-01-04 00:00) UTC"
    assert told["Started"] == "2026-01-01 00:02 UTC"
    assert told["Description"] == "A agent"
    assert "Stopped" not in told
    assert "Tags" not in told
    assert dict(selecting(model_of(kit), "pending").details())["Metadata"] == "model = m-1"


def test_periods_are_counted_once_however_many_checkpoints_they_have(kit: EvalKit) -> None:
    """A second checkpoint for a period does not move the progress, and is mentioned."""
    three_studies(kit)
    kit.record_checkpoint("running", {"period": ("2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z"), "total_tokens": 1}, key="again")
    told = dict(selecting(model_of(kit), "running").details())
    assert told["Progress"] == "3 of 8 periods, daily"
    assert told["Last checkpoint"].endswith("; 1 more for a period that had one")


@pytest.mark.parametrize(
    ("name", "legal"), [("pending", ["start", "stop"]), ("running", ["pause", "stop"]), ("paused", ["resume", "stop"])]
)
def test_exactly_the_legal_commands_are_allowed(kit: EvalKit, name: str, legal: list[str]) -> None:
    """Each status allows its own commands, and none while another command is under way."""
    three_studies(kit)
    model = selecting(model_of(kit), name)
    assert model.allowed() == legal
    model.begin("Doing ...", NOW)
    assert model.allowed() == []
    model.end()
    assert model.allowed() == legal


def test_a_stopped_study_allows_nothing_and_a_read_only_kit_neither(kit: EvalKit) -> None:
    """After a stop nothing is legal; where nothing can be appended nothing is allowed, and the status line says why."""
    three_studies(kit)
    kit.stop_study("paused")
    assert selecting(model_of(kit), "paused").allowed() == []
    kit.close()
    with connect(kit.engine.settings.home, read_only=True) as reader:
        model = selecting(model_of(reader), "running")
    assert model.legal() == ["pause", "stop"]
    assert model.allowed() == []
    assert "read_only=True: this panel only shows." in model.message.text


def test_a_stop_waits_for_confirmation_and_is_forgotten_when_things_change(kit: EvalKit) -> None:
    """Choosing another study, or a stop by somebody else, takes the question back."""
    three_studies(kit)
    model = selecting(model_of(kit), "running")
    model.ask_stop()
    assert model.confirming == model.selected
    selecting(model, "paused")
    assert model.confirming is None
    model.ask_stop()
    kit.stop_study("paused")
    model.take(read(kit, model.reading), NOW)
    assert model.confirming is None
    model.ask_stop()
    assert model.confirming is None


def test_nothing_is_read_again_while_nothing_changes(kit: EvalKit) -> None:
    """A reading is the same object until something was appended, and taking it again shows nothing new."""
    three_studies(kit)
    first = read(kit, None)
    model = PanelModel(NOW)
    assert model.take(first, NOW)
    assert read(kit, first) is first
    assert not model.take(first, NOW)
    with connect(kit.engine.settings.home) as other:
        other.pause_study("running")
    assert read(kit, first) is not first


def test_the_age_and_the_state_of_the_server_are_said_in_words(kit: EvalKit) -> None:
    """Fresh, old, slow, lost, and back again: each has its words, and the status line says each change once."""
    model = PanelModel(NOW)
    assert model.age(NOW) == "Nothing was read yet."
    model.take(read(kit, None), NOW)
    assert model.message.text.startswith("No studies yet: create one below. There is no evalkit home yet. Looked in ")
    assert model.age(NOW + timedelta(seconds=3)) == "Up to date."
    assert model.age(NOW + timedelta(seconds=15)) == "Shown is the state of 12:00:00 UTC, 15 seconds ago."
    model.wait(3.4, NOW + timedelta(seconds=5))
    assert (
        model.age(NOW + timedelta(seconds=5))
        == "The server has not answered for 3 seconds. Shown is the state of 12:00:00 UTC, 5 seconds ago."
    )
    assert (model.message.text, model.message.kind) == ("The server is slow to answer, or lost; still waiting for it.", "problem")
    alone = PanelModel(NOW, source="kit")
    alone.wait(3.4, NOW)
    assert alone.message.text == "The kit is busy with something else; still waiting for it."
    model.fail("It is gone.", NOW + timedelta(seconds=8))
    first = model.message
    assert (first.text, first.kind) == ("It is gone. Trying again every second.", "problem")
    model.fail("It is gone.", NOW + timedelta(seconds=9))
    assert model.message is first
    assert model.age(NOW + timedelta(minutes=3)).startswith(
        "Nothing can be read now; trying again. Shown is the state of 12:00:00 UTC, 3 min"
    )
    model.take(read(kit, model.reading), NOW + timedelta(seconds=20))
    assert (model.message.text, model.message.kind) == ("The server answers again.", "done")
    assert model.age(NOW + timedelta(seconds=20)) == "Up to date."


def test_a_read_model_that_stays_behind_its_log_is_shown_as_such(kit: EvalKit) -> None:
    """When the log is out of reach the status line says so, and again when it is back."""
    three_studies(kit)
    whole = read(kit, None)
    model = PanelModel(NOW)
    model.take(whole, NOW)
    model.take(replace(whole, behind="The log cannot be reached."), NOW)
    assert model.message.text.startswith("The log cannot be reached. Shown is the read model as it stands")
    assert model.age(NOW) == "The log is out of reach."
    model.take(whole, NOW)
    assert model.message.text == "The server answers again."


def test_a_log_out_of_reach_is_noticed_and_warned_of_in_cells_all_the_same(kit: EvalKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """What watches a kit learns that it answers from the read model alone, and takes no warning from the cell that asks afterwards."""
    three_studies(kit)
    whole = read(kit, None)

    def gone(*_: object) -> None:
        raise LogUnavailableError("The log cannot be reached.")

    with monkeypatch.context() as patch:
        patch.setattr(kit.engine.consumer, "catch_up", gone)
        assert [read(kit, whole).behind for _ in range(2)] == ["The log cannot be reached."] * 2
        with pytest.warns(EvalkitWarning, match="Answering from the read model as it stands"):
            kit.studies()
    assert read(kit, whole) is whole


def test_warnings_are_told_on_one_thread_alone() -> None:
    """While one thread listens, another's warnings are shown as always."""
    heard: list[str] = []
    with collect_warnings(heard.append), ThreadPoolExecutor(1) as other:
        warn("here")
        with pytest.warns(EvalkitWarning, match="there"):
            other.submit(warn, "there").result()
    assert heard == ["here."]
    with pytest.warns(EvalkitWarning, match="after"):
        warn("after")


def test_what_becomes_of_a_command_is_not_talked_over(kit: EvalKit) -> None:
    """While a command is under way neither a slow nor a returning server takes the status line."""
    model = model_of(kit)
    model.begin("Starting 'x' ...", NOW)
    model.wait(5, NOW)
    model.fail("It is gone.", NOW)
    model.take(read(kit, model.reading), NOW)
    assert model.message.text == "Starting 'x' ..."


def test_the_summary_holds_no_ids_and_no_clocks(kit: EvalKit) -> None:
    """The panel's plain text is the same in every run."""
    assert PanelModel(NOW).summary() == "Panel(nothing read yet)"
    assert model_of(kit).summary() == "Panel(0 studies)"
    three_studies(kit)
    assert selecting(model_of(kit), "running").summary() == "Panel(3 studies, showing 'running': running, 3 of 8 periods)"


def test_the_first_metric_is_one_that_was_measured(kit: EvalKit) -> None:
    """The chart begins with a metric that has data, and stays with the one that was chosen."""
    kit.start_study(kit.create_study("one"))
    kit.record_checkpoint("one", {"total_cost": 1.5, "period": ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")})
    model = model_of(kit)
    assert model.metric == "total_cost"
    model.choose_metric("total_tokens")
    kit.record_checkpoint("one", {"total_cost": 2, "period": ("2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z")})
    model.take(read(kit, model.reading), NOW)
    assert model.metric == "total_tokens"


# --- forms ------------------------------------------------------------------------------------------------------------------------


def test_the_checkpoint_form_is_made_from_the_catalogue() -> None:
    """Every metric has its field, with its label, and stands beside those of its group."""
    fields = {field.name: field for field in CHECKPOINT_FIELDS}
    assert set(METRICS) < set(fields)
    assert all(fields[name].label == metric.label and fields[name].group == metric.group for name, metric in METRICS.items())
    groups = [field.group for field in CHECKPOINT_FIELDS]
    assert len({*groups}) == sum(before != after for before, after in zip(groups, [*groups[1:], None], strict=True))
    assert fields["session_success_rate"].hint == "0 to 1"
    assert fields["total_cost"].hint == "US dollars, 0 or more"


@pytest.mark.parametrize(("name", "text", "value"), [
    ("session_success_rate", " 0.8 ", 0.8), ("session_success_rate", "1", 1), ("total_tokens", "12000", 12000), ("total_tokens", "5.0", 5),
    ("avg_session_duration", "90.5", 90.5), ("events_analyzed", "7", 7), ("sessions_included", "a, b,,c", ["a", "b", "c"]), ("key", "k", "k"),
    ("period_start", "2026-01-01 02:00+02:00", datetime(2026, 1, 1, tzinfo=UTC)), ("period_start", "2026-01-01", datetime(2026, 1, 1, tzinfo=UTC)),
])  # fmt: skip
def test_what_is_typed_becomes_a_value(name: str, text: str, value: object) -> None:
    """Numbers, lists and times are read from text; a time without a zone is in UTC, as the label says."""
    form = CheckpointForm()
    form.type(name, text)
    values, problems = form.values()
    assert (values[name], problems) == (value, {})


@pytest.mark.parametrize(("name", "text", "said"), [
    ("session_success_rate", "83", "session_success_rate: 83 is outside the range 0 to 1. A percentage? Divide it by 100: 0.83."),
    ("session_success_rate", "83%", "session_success_rate: '83%' is no number; leave it empty when it was not measured."),
    ("total_tokens", "1.5", "total_tokens: 1.5 is no whole number; give a count from 0 to 9,223,372,036,854,775,807."),
    ("total_cost", "-1", "total_cost: -1 is outside the range 0 or more."),
    ("total_cost", "nan", "total_cost: nan is not finite; give None when it was not measured."),
    ("avg_session_duration", "-3", "avg_session_duration: -3 is outside the range 0 to 9.0072e+15."),
    ("period_end", "soon", "period_end: 'soon' is no time; give, for example, 2026-01-31 08:00, in UTC."),
    ("period_end", "2025-12-31", "period_end: datetime.datetime(2025, 12, 31, 0, 0, tzinfo=datetime.timezone.utc) does not come after period_start"),
    ("events_analyzed", "-1", "events_analyzed: -1 is outside the range of a count, 0 to 9,223,372,036,854,775,807."),
])  # fmt: skip
def test_what_is_wrong_is_said_as_one_types(name: str, text: str, said: str) -> None:
    """The messages are those of the commands, at the field that they are about, and the form cannot be sent."""
    form = CheckpointForm(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    form.type("sessions_completed", "3")
    assert form.complete
    form.type(name, text)
    assert form.problems()[name].startswith(said[:79])
    assert not form.complete


def test_an_empty_form_says_nothing_and_cannot_be_sent() -> None:
    """Nothing is wrong before anything was typed, and a period alone is no checkpoint."""
    form = CheckpointForm(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    assert form.problems() == {}
    assert not form.complete
    form.type("key", "one")
    assert form.problems() == {"": "Nothing was measured yet: fill in at least one metric."}
    assert not form.complete
    without_period = CheckpointForm()
    without_period.type("total_tokens", "3")
    assert list(without_period.problems()) == ["period_start"]


@pytest.mark.parametrize(("period", "moment", "start", "end"), [
    (PeriodType.HOURLY, "2026-01-31T08:20:01", "2026-01-31T08:00", "2026-01-31T09:00"),
    (PeriodType.DAILY, "2026-01-31T08:20:01", "2026-01-31T00:00", "2026-02-01T00:00"),
    (PeriodType.WEEKLY, "2026-01-31T08:20:01", "2026-01-26T00:00", "2026-02-02T00:00"),
    (PeriodType.MONTHLY, "2026-12-31T08:20:01", "2026-12-01T00:00", "2027-01-01T00:00"),
])  # fmt: skip
def test_the_first_period_is_the_one_that_the_study_was_started_in(period: PeriodType, moment: str, start: str, end: str) -> None:
    """Hours, days, weeks from Monday and calendar months, in UTC."""
    began = period_start(period, datetime.fromisoformat(moment).replace(tzinfo=UTC))
    assert began == datetime.fromisoformat(start).replace(tzinfo=UTC)
    assert period_end(period, began) == datetime.fromisoformat(end).replace(tzinfo=UTC)


def test_a_month_after_the_31st_ends_on_the_last_day() -> None:
    """A month that has no such day takes its last."""
    assert period_end("monthly", datetime(2026, 1, 31, tzinfo=UTC)) == datetime(2026, 2, 28, tzinfo=UTC)


@pytest.mark.slow
def test_the_next_period_is_proposed_until_something_is_typed(kit: EvalKit) -> None:
    """A checkpoint from elsewhere moves the proposal of an untouched form, never what somebody typed."""
    three_studies(kit)
    model = selecting(model_of(kit), "running")
    form = model.checkpoint_form
    assert form is not None
    assert (form.texts["period_start"], form.texts["period_end"]) == ("2026-01-04 00:00", "2026-01-05 00:00")
    day = {"total_tokens": 1, "period": ("2026-01-04T00:00:00Z", "2026-01-05T00:00:00Z")}
    kit.record_checkpoint("running", day, key="4")
    model.take(read(kit, model.reading), NOW)
    assert form.texts["period_start"] == "2026-01-05 00:00"
    assert not model.period_is_taken()
    form.type("total_tokens", "5")
    kit.record_checkpoint("running", day | {"period": ("2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z")}, key="5")
    model.take(read(kit, model.reading), NOW)
    assert (form.texts["period_start"], form.texts["total_tokens"]) == ("2026-01-05 00:00", "5")
    assert model.period_is_taken()


def test_each_study_keeps_what_was_typed_for_it(kit: EvalKit) -> None:
    """Looking at another study neither loses half a form nor offers it to the wrong study."""
    three_studies(kit)
    model = selecting(model_of(kit), "running")
    assert model.checkpoint_form is not None
    model.checkpoint_form.type("total_tokens", "5")
    assert model.can_record
    other = selecting(model, "paused").checkpoint_form
    assert other is not None
    assert (other.texts["total_tokens"], other.texts["period_start"]) == ("", "2025-12-29 00:00")
    assert not model.can_record
    form = selecting(model, "running").checkpoint_form
    assert form is not None
    assert form.texts["total_tokens"] == "5"
    model.recorded(str(model.selected))
    assert not model.can_record


def test_a_study_that_was_never_started_takes_no_checkpoint(kit: EvalKit) -> None:
    """The form says what to do first."""
    three_studies(kit)
    model = selecting(model_of(kit), "pending")
    assert model.why_not_recordable == "The study was never started. Start it first."
    assert model.checkpoint_form is not None
    model.checkpoint_form.texts |= {"period_start": "2026-01-01", "period_end": "2026-01-02", "total_tokens": "1"}
    assert not model.can_record
    assert PanelModel(NOW).why_not_recordable == "Choose a study, or create one."


def test_the_form_for_a_study_makes_the_command() -> None:
    """Tags are separated by commas, metadata stands one pair a line, and no number of periods means until stopped."""
    form = StudyForm()
    assert (form.problems(), form.touched) == ({}, False)
    form.texts |= {"name": " agent ", "period": "weekly", "tags": "a, b", "metadata": "model = m=1\n\ncommit=abc", "description": "x\ny"}
    command = form.command()
    assert (command.name, command.period_type, command.period_value) == ("agent", PeriodType.WEEKLY, None)
    assert (command.config.tags, command.config.metadata) == (["a", "b"], {"model": "m=1", "commit": "abc"})
    form.type("periods", "8")
    assert form.command().period_value == 8


@pytest.mark.parametrize(("name", "text", "said"), [
    ("name", "", "name: '' is empty; give at least one visible character."), ("name", "x" * 201, "has 201 characters; at most 200 are allowed."),
    ("periods", "two", "periods: 'two' is no number"), ("periods", "1.5", "must plan a whole number of periods"), ("periods", "0", "must plan"),
    ("metadata", "model", "metadata: 'model' has no '='; give one pair a line, for example model=m-1."), ("metadata", "=1", "is empty"),
])  # fmt: skip
def test_what_is_wrong_with_a_study_is_said_at_its_field(name: str, text: str, said: str) -> None:
    """The form cannot be sent, and the command refuses it with the same words."""
    form = StudyForm()
    form.texts |= {"name": "agent", "description": "d", name: text}
    assert said in form.problems()[name]
    with pytest.raises(InvalidInputError, match=r".+"):
        form.command()


def test_a_new_study_is_shown_whatever_the_filters_say(kit: EvalKit) -> None:
    """What one just created is not hidden from oneself."""
    three_studies(kit)
    model = model_of(kit)
    model.text_filter = "running"
    new = kit.create_study("fresh")
    model.take(read(kit, model.reading), NOW)
    model.show_new(new.id)
    assert (model.selected, model.text_filter) == (new.id, "")
    assert new.id in dict(model.listed())


# --- the static copy ----------------------------------------------------------------------------------------------------------------


def test_the_static_copy_is_a_named_table_and_a_picture_with_words(kit: EvalKit) -> None:
    """It has a caption, headers with a scope and an alternative text, and nothing that changes from run to run."""
    three_studies(kit)
    model = selecting(model_of(kit), "running")
    html = static_html(model, "<svg/>", f"Success of {dict(model.details())['Name']}")
    assert "<caption>Studies, newest first</caption>" in html
    assert '<tr><th scope="row">running</th><td>running</td><td>daily</td><td>3 of 8 periods</td><td>2026-01-04 00:00</td></tr>' in html
    assert '<img alt="Success of running" src="data:image/svg+xml;base64,PHN2Zy8+">' in html
    assert str(model.selected) not in html
    assert static_html(model_of(kit), None, "") == table_html(model)


def test_markup_in_names_is_text_in_the_static_copy(kit: EvalKit) -> None:
    """A name with tags and quotes shows as it is written."""
    kit.create_study(MARKUP + '"')
    model = model_of(kit)
    html = static_html(model, "<svg/>", f"Success of {dict(model.details())['Name']}")
    assert "<img src=x" not in html
    assert "<script" not in html
    assert 'alert(2)&lt;/script&gt;&quot;" src=' in html


def test_of_many_studies_the_static_copy_shows_the_newest(kit: EvalKit) -> None:
    """A table of 50 rows, and a caption that says how many it leaves out."""
    for index in range(53):
        kit.create_study(f"study {index}", at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=index))
    html = table_html(model_of(kit))
    assert html.count("<tr>") == 51
    assert "study 52" in html
    assert "study 2<" not in html
    assert "3 older ones are not shown" in html
