"""The panel without widgets: custom metrics, notes, corrections, changes of studies, and earlier states."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from inline_snapshot import snapshot

from evalkit import METRICS, ConflictError, EvalKit, InvalidInputError, LogMismatchError, Metric, Study, connect
from evalkit.panel.as_of import LATEST, OTHER, EarlierState, earlier_state
from evalkit.panel.checkpoint_form import CheckpointForm, custom_fields
from evalkit.panel.correction_form import LISTED, CheckpointChoice, CorrectionForm, versions_of
from evalkit.panel.correction_section import versions_html
from evalkit.panel.form_sections import notes_html
from evalkit.panel.markup import study_html
from evalkit.panel.model import ARCHIVED, PanelModel
from evalkit.panel.note_form import NoteForm
from evalkit.panel.reading import read, read_earlier, read_provenance
from evalkit.panel.screen import Picture
from evalkit.panel.static import table_html
from evalkit.panel.study_forms import EditForm

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MARKUP = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
REFUSALS = Metric("refusal_rate", kind="rate", better="down", denominator="sessions_completed", label="Refusal rate", group="Safety")
SCORE = Metric("judge_score", kind="score", better="up", low=1, high=5, group="Success")


def started(kit: EvalKit, name: str, *metrics: Metric | str) -> Study:
    return kit.start_study(kit.create_study(name, metrics=metrics))


def record(kit: EvalKit, study: Study | str, day: int = 1, **values: object) -> Any:
    return kit.record_checkpoint(study, {"period_start": f"2026-01-{day:02}", **values}, tz="UTC")


def model_of(kit: EvalKit) -> PanelModel:
    model = PanelModel(NOW)
    model.apply(read(kit, None), NOW)
    return model


def follow(model: PanelModel, kit: EvalKit) -> None:
    model.apply(read(kit, model.reading), NOW)


def selecting(model: PanelModel, name: str) -> PanelModel:
    assert model.reading is not None
    rows = model.reading.frames.studies
    model.select(rows.filter(rows["name"] == name)["study_id"][0])
    return model


def choice_of(model: PanelModel) -> CheckpointChoice:
    assert model.drafts is not None
    return model.drafts.correction


def correction_of(model: PanelModel) -> CorrectionForm:
    form = choice_of(model).form
    assert form is not None
    return form


# --- custom metrics -----------------------------------------------------------------------------------------------------------------


def test_chosen_metric_is_remembered_for_studies_that_have_it(kit: EvalKit) -> None:
    """A study without it shows a metric with values; the choice returns with a study that has it."""
    record(kit, started(kit, "one", REFUSALS), refusal_rate=0.25, total_cost=1)
    record(kit, started(kit, "two"), total_cost=2)
    model = selecting(model_of(kit), "one")
    assert list(model.metrics) == [*METRICS, "refusal_rate"]
    model.choose_metric("refusal_rate")
    assert [(entry.name, entry.value) for entry in model.entries()] == [("two", ""), ("one", "25.0%")]
    assert model.entries()[1].summary == "Selected: one, running, 1 period, refusal rate 25.0%"
    selecting(model, "two")
    assert (model.metric, [entry.value for entry in model.entries()]) == ("total_cost", ["$2.00", "$1.00"])
    model.choose_metric("refusal_rate")
    assert model.metric == "total_cost"
    assert selecting(model, "one").metric == "refusal_rate"


def test_studies_that_define_a_metric_differently_have_their_own_formats(kit: EvalKit) -> None:
    """The list, the chart's data and the fields use the definition of each study."""
    record(kit, started(kit, "time", Metric("wait", kind="duration", better="down")), wait=90)
    record(kit, started(kit, "rate", Metric("wait", kind="rate", better="down", label="Share of waiting")), wait=0.5)
    model = selecting(model_of(kit), "rate")
    model.choose_metric("wait")
    assert [(entry.name, entry.value) for entry in model.entries()] == [("rate", "50.0%"), ("time", "90.0 s")]
    assert model.metric_label == "Share of waiting"
    for name, kind in (("time", "duration"), ("rate", "rate")):
        frames = selecting(model, name).study_frames()
        assert frames is not None
        assert frames.data().metric("wait").kind == kind
        form = correction_of(model)
        assert form.texts["wait"] == {"time": "90", "rate": "0.5"}[name]


def test_definitions_of_other_processes_appear(kit: EvalKit, tmp_path: Path) -> None:
    """The picker and the form have a new metric after the next reading; typed text is kept."""
    started(kit, "one")
    model = model_of(kit)
    assert model.drafts is not None
    form = model.drafts.checkpoint
    form.set_text("total_cost", "5")
    with connect(tmp_path / "home") as other:
        other.define_metric("one", SCORE, REFUSALS)
    follow(model, kit)
    assert list(model.metrics)[16:] == ["judge_score", "refusal_rate"]
    assert [(field.name, field.placeholder, field.group) for field in custom_fields(form.definitions)] == [
        ("judge_score", "1 to 5", "Success (custom)"), ("refusal_rate", "0 to 1", "Safety"),
    ]  # fmt: skip
    form.set_text("judge_score", "4.5")
    assert form.complete
    assert form.texts["total_cost"] == "5"


def test_more_custom_metrics_than_a_frame_can_have(kit: EvalKit) -> None:
    """A panel shows studies that define more than 500 custom metrics together."""
    for name in ("one", "two"):
        started(kit, name, *(Metric(f"{name}_{number}", kind="number", better="up") for number in range(300)))
    record(kit, "two", two_299=7)
    with pytest.raises(InvalidInputError, match="600 custom metrics"):
        kit.checkpoints()
    model = selecting(model_of(kit), "two")
    assert (len(model.metrics), model.metric) == (316, "two_299")
    frames = model.study_frames()
    assert frames is not None
    assert [name for name in frames.checkpoints.columns if name.startswith("one_")] == []
    assert model.entries()[0].value == "7.00"


@pytest.mark.parametrize(("name", "text", "problem"), [
    ("judge_score", "7", snapshot("Invalid judge_score 7: outside the range 1 to 5.")),
    ("refusal_rate", "5%", snapshot("Invalid refusal_rate '5%': not a number. Enter a percentage as a fraction: 0.05.")),
    ("retries", "1.5", snapshot("Invalid retries 1.5: expected a whole number of 0 or more.")),
])  # fmt: skip
def test_custom_values_are_checked_as_in_commands(name: str, text: str, problem: str) -> None:
    retries = Metric("retries", kind="count", better="down")
    definitions = {metric.name: metric for metric in (SCORE, REFUSALS, retries)}
    form = CheckpointForm(NOW, NOW + timedelta(days=1), definitions=definitions)
    form.set_text(name, text)
    assert form.problems() == {name: problem}
    form.set_text(name, "1")
    assert (form.problems(), form.complete) == ({}, True)


def test_a_checkpoint_has_at_most_200_custom_metrics() -> None:
    """The form reports it before the command does."""
    definitions = {f"m_{number}": Metric(f"m_{number}", kind="number", better="up") for number in range(201)}
    form = CheckpointForm(NOW, NOW + timedelta(days=1), definitions=definitions)
    for name in definitions:
        form.set_text(name, "1")
    assert list(form.problems().values()) == snapshot(["Invalid metrics 201: a checkpoint can have at most 200 custom metrics."])


# --- notes --------------------------------------------------------------------------------------------------------------------------


def test_note_form_returns_arguments_of_a_note(kit: EvalKit) -> None:
    """Times are in UTC without another zone; a blank time means now."""
    study = started(kit, "one")
    form = NoteForm()
    assert (form.touched, form.problems()) == (False, {})
    form.set_text("text", " New model\nm-2 ")
    assert form.values() == ({"category": "other", "text": "New model\nm-2"}, {})
    for name, text in (("at", "2026-01-31"), ("until", "2026-02-02 08:00+02:00"), ("category", "model"), ("author", "ada")):
        form.set_text(name, text)
    values, problems = form.values()
    assert problems == {}
    note = kit.note(study, **values)
    assert (note.at, note.until) == (datetime(2026, 1, 31, tzinfo=UTC), datetime(2026, 2, 2, 6, tzinfo=UTC))
    assert (note.category, note.author) == ("model", "ada")


@pytest.mark.parametrize(("texts", "problems"), [
    ({"author": "ada"}, snapshot({"text": "Enter the text of the note."})),
    ({"text": "x", "at": "soon"}, snapshot({"at": "Invalid at='soon': not a time; expected e.g. 2026-01-31 08:00 (UTC)."})),
    ({"text": "x", "at": "2026-02-01", "until": "2026-01-01"}, snapshot({"until": "Invalid until 2026-01-01T00:00:00+00:00: must be after at (2026-02-01T00:00:00Z); ranges are half-open, [at, until)."})),
    ({"text": "x", "author": "a\0"}, snapshot({"author": "Invalid author 'a\\x00': contains the character U+0000, which is not allowed."})),
    ({"text": "x\0"}, snapshot({"text": "Invalid text 'x\\x00': contains the character U+0000, which is not allowed."})),
])  # fmt: skip
def test_invalid_notes(texts: dict[str, str], problems: dict[str, str]) -> None:
    form = NoteForm()
    for name, text in texts.items():
        form.set_text(name, text)
    assert form.problems() == problems


def test_newest_notes_are_listed(kit: EvalKit) -> None:
    """Markup is escaped, and the caption has the number of older notes."""
    study = started(kit, "one")
    for day in range(1, 13):
        kit.note(study, MARKUP if day == 12 else f"note {day}.", at=f"2026-01-{day:02}T00:00:00Z", author=MARKUP)
    html = notes_html(kit.notes())
    assert "Notes, newest first (2 older ones omitted)" in html
    assert (html.index("2026-01-12") < html.index("note 11."), "note 3." in html, "note 2." in html) == (True, True, False)
    assert "<img" not in html
    assert notes_html(kit.notes().clear()) == ""


# --- corrections --------------------------------------------------------------------------------------------------------------------


def test_checkpoints_are_listed_newest_period_first(kit: EvalKit) -> None:
    """The newest 50 are listed; a search finds the others; equal periods have the end of the id."""
    study = started(kit, "one")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    days = [(start + timedelta(days=day), start + timedelta(days=day + 1)) for day in range(60)]
    kit.record_checkpoints(study, [{"total_cost": 1, "period_start": a, "period_end": b, "key": str(a)} for a, b in days])
    kit.record_checkpoint(study, {"total_cost": 3, "period": days[5]}, key="again")
    kit.amend_checkpoint((study, str(days[59][0])), {"total_cost": 2}, reason="r")
    choice = choice_of(model_of(kit))
    labels = [label for label, _ in choice.options()]
    assert (len(labels), len(choice.matching())) == (LISTED, 60 + 1)
    assert labels[:2] == ["2026-03-01 to 2026-03-02 UTC, revision 1", "2026-02-28 to 2026-03-01 UTC"]
    choice.find("2026-01-06")  # not the checkpoint that ends then
    found = choice.options()
    assert [label[:28] for label, _ in found] == ["2026-01-06 to 2026-01-07 UTC"] * 2
    assert all(label.endswith(f"(id …{checkpoint_id[-8:]})") for label, checkpoint_id in found)
    assert choice.selected == found[0][1]
    choice.select("unknown")
    assert choice.selected == found[0][1]
    choice.find("no such period")
    assert (choice.matching(), choice.selected) == ([], found[0][1])


def test_search_does_not_replace_a_checkpoint_that_is_edited(kit: EvalKit) -> None:
    study = started(kit, "one")
    for day in (1, 2, 3):
        record(kit, study, day, total_cost=day)
    choice = choice_of(model_of(kit))
    newest = choice.selected
    assert choice.form is not None
    choice.form.set_text("total_cost", "9")
    choice.find("2026-01-01")
    assert choice.selected == newest
    assert [checkpoint_id for _, checkpoint_id in choice.options()] == [newest, *choice.matching()]


def test_only_changed_values_are_amended(kit: EvalKit) -> None:
    """Fields show exact values; an emptied one is withdrawn; text that equals the value changes nothing."""
    study = started(kit, "one", REFUSALS)
    record(
        kit, study, total_cost=0.1 + 0.2, avg_session_duration=3.25, sessions_completed=40, refusal_rate=0.5,
        events_analyzed=7, sessions_included=["a", "b"],
    )  # fmt: skip
    model = model_of(kit)
    form = correction_of(model)
    names = ("total_cost", "avg_session_duration", "sessions_completed", "refusal_rate", "events_analyzed", "sessions_included", "reason")
    assert [form.texts[name] for name in names] == ["0.30000000000000004", "3.25", "40", "0.5", "7", "a, b", ""]
    assert (form.touched, form.problems(), form.can_amend, form.can_retract) == (False, {}, False, False)
    for name, text in (
        ("total_cost", "2"),
        ("refusal_rate", " "),
        ("sessions_completed", "40 "),
        ("sessions_included", "a"),
        ("reason", "r"),
    ):
        form.set_text(name, text)
    assert form.changes() == ({"total_cost": 2, "refusal_rate": None, "sessions_included": ["a"]}, {})
    assert (form.can_amend, form.can_retract, form.about()[:2]) == (True, True, ("r", None))
    made = kit.amend_checkpoint(form.checkpoint(), {"total_cost": 2, "refusal_rate": None}, sessions_included=["a"], reason="r")
    assert (made.metrics.total_cost, made.metrics.custom, made.sessions_included, made.metrics.sessions_completed) == (2, {}, ["a"], 40)
    follow(model, kit)
    assert form.changes() == ({}, {})
    form.set_text("total_cost", "2")
    assert form.base is None


@pytest.mark.parametrize(("texts", "problems"), [
    ({"total_cost": "2"}, snapshot({"reason": "Enter a reason."})),
    ({"total_cost": "-2", "reason": "r"}, snapshot({"total_cost": "Invalid total_cost -2: expected a number of 0 or more."})),
    ({"refusal_rate": "7", "reason": "r"}, snapshot({"refusal_rate": "Invalid refusal_rate 7: outside the range 0 to 1. If it is a percentage, divide it by 100: 0.07."})),
    ({"events_analyzed": "", "reason": "r"}, snapshot({"events_analyzed": "Enter the number of events analyzed; it cannot be withdrawn."})),
    ({"total_cost": "2", "reason": "x" * 1001}, snapshot({"reason": f"Invalid reason '{'x' * 76}...: 1,001 characters; at most 1000 are allowed."})),
    ({"total_cost": "2", "reason": "r", "author": "\x07"}, snapshot({"author": "Invalid author '\\x07': contains the character U+0007, which is not allowed."})),
])  # fmt: skip
def test_invalid_corrections(kit: EvalKit, texts: dict[str, str], problems: dict[str, str]) -> None:
    record(kit, started(kit, "one", REFUSALS), total_cost=1, refusal_rate=0.5, events_analyzed=3)
    form = correction_of(model_of(kit))
    for name, text in texts.items():
        form.set_text(name, text)
    assert form.problems() == problems
    assert not form.can_amend


def test_amendment_by_another_process_is_a_conflict(kit: EvalKit, tmp_path: Path) -> None:
    """Other values follow the latest version, typed ones are kept; the command is refused until the latest version is accepted."""
    made = record(kit, started(kit, "one"), total_cost=1, total_tokens=5)
    model = model_of(kit)
    form = correction_of(model)
    form.set_text("total_cost", "3")
    form.set_text("reason", "mine")
    stale = form.checkpoint()
    with connect(tmp_path / "home") as other:
        other.amend_checkpoint(made, {"total_cost": 2, "total_tokens": 6}, reason="theirs", author="bob")
    with pytest.raises(ConflictError):
        kit.amend_checkpoint(stale, {"total_cost": 3}, reason="mine")
    follow(model, kit)
    assert (form.texts["total_cost"], form.texts["total_tokens"], form.texts["reason"]) == ("3", "6", "mine")
    assert (form.amended_meanwhile, form.can_amend, form.base) == (True, False, 0)
    form.accept_latest()
    assert (form.amended_meanwhile, form.can_amend) == (False, True)
    assert kit.amend_checkpoint(form.checkpoint(), form.changes()[0], reason="mine").revision == 2


def test_retraction_is_for_the_version_that_was_shown(kit: EvalKit) -> None:
    """An amendment while it awaits confirmation is a conflict; so is one of typed values."""
    made = record(kit, started(kit, "one"), total_cost=1)
    model = model_of(kit)
    form = correction_of(model)
    form.request_retraction()
    assert not form.confirming
    form.set_text("reason", "mine")
    made = kit.amend_checkpoint(made, {"total_cost": 2}, reason="theirs")
    follow(model, kit)
    assert (form.amended_meanwhile, form.can_retract) == (False, True)
    form.request_retraction()
    made = kit.amend_checkpoint(made, {"total_cost": 3}, reason="theirs")
    follow(model, kit)
    assert (form.confirming, form.amended_meanwhile, form.can_retract, form.checkpoint().revision) == (True, True, False, 1)
    form.accept_latest()
    assert (form.confirming, form.amended_meanwhile, form.can_retract, form.checkpoint().revision) == (True, False, True, 2)
    form.withdraw_retraction()
    form.set_text("total_cost", "9")
    kit.amend_checkpoint(made, {"total_cost": 4}, reason="theirs")
    follow(model, kit)
    assert (form.amended_meanwhile, form.can_retract, form.checkpoint().revision) == (True, False, 2)
    form.set_text("total_cost", "4")
    assert (form.amended_meanwhile, form.can_retract, form.checkpoint().revision) == (False, True, 3)


def test_equal_amendment_by_another_process_is_no_conflict(kit: EvalKit) -> None:
    made = record(kit, started(kit, "one"), total_cost=1)
    model = model_of(kit)
    form = correction_of(model)
    form.set_text("total_cost", "2")
    kit.amend_checkpoint(made, {"total_cost": 2}, reason="theirs")
    follow(model, kit)
    assert (form.amended_meanwhile, form.changes()[0]) == (False, {})


def test_retraction_by_another_process_keeps_what_was_typed(kit: EvalKit) -> None:
    """The checkpoint stays selected and is marked; another one can be selected."""
    study = started(kit, "one")
    record(kit, study, 1, total_cost=1)
    made = record(kit, study, 2, total_cost=2)
    model = model_of(kit)
    form = correction_of(model)
    form.set_text("total_cost", "3")
    kit.retract_checkpoint(made, reason="theirs")
    follow(model, kit)
    choice = choice_of(model)
    assert (choice.selected, choice.retracted, correction_of(model).texts["total_cost"]) == (made.id, True, "3")
    assert [label for label, _ in choice.options()] == ["2026-01-02 to 2026-01-03 UTC (retracted)", "2026-01-01 to 2026-01-02 UTC"]
    choice.discard(made.id)
    assert (choice.selected, choice.retracted) == (choice.options()[0][1], False)


def test_new_checkpoint_does_not_change_the_selection(kit: EvalKit) -> None:
    """The form would otherwise silently be about another checkpoint."""
    study = started(kit, "one")
    first = record(kit, study, 1, total_cost=1)
    model = model_of(kit)
    assert choice_of(model).selected == first.id
    record(kit, study, 2, total_cost=2)
    follow(model, kit)
    assert (choice_of(model).selected, len(choice_of(model).options())) == (first.id, 2)


def test_versions_show_old_and_new_values(kit: EvalKit) -> None:
    """Numbers have the format of their metric; reasons and authors are escaped."""
    made = record(kit, started(kit, "one", Metric("x", kind="rate", better="up", label=MARKUP)), total_cost=25, x=0.5)
    kit.amend_checkpoint(made.id, {"total_cost": 2.5, "x": None}, reason=MARKUP, author=MARKUP)
    kit.amend_checkpoint(made.id, sessions_included=["a"], events_analyzed=1200, provenance={"collector": "c"}, reason="more")
    kit.retract_checkpoint(made.id, reason="wrong model")
    versions = versions_of(kit.amendments(), made.id, kit._handlers.definitions("one"))
    assert [(version.revision, version.changes) for version in versions] == [
        (None, ()),
        (2, ("Events analyzed: 0 → 1,200", "Sessions included: 0 → 1 session", "Origin changed")),
        (1, ("Total cost: $25.00 → $2.50", f"{MARKUP}: 50.0% → missing")),
    ]
    html = versions_html(versions)
    assert "<img" not in html
    assert ">Retracted</th>" in html
    assert versions_html([]) == ""


def test_study_without_checkpoints_has_nothing_to_correct(kit: EvalKit) -> None:
    started(kit, "one")
    choice = choice_of(model_of(kit))
    assert (choice.selected, choice.form, choice.options(), choice.matching()) == (None, None, [], [])


def test_typing_is_quick_with_many_checkpoints(kit: EvalKit) -> None:
    """Each key press looks at texts only."""
    study = started(kit, "one")
    start = datetime(2020, 1, 1, tzinfo=UTC)
    days = [(start + timedelta(days=day), start + timedelta(days=day + 1)) for day in range(2000)]
    kit.record_checkpoints(study, [{"total_cost": 1, "period_start": a, "period_end": b} for a, b in days])
    model = model_of(kit)
    choice = choice_of(model)
    choice.find("2020-01-01")
    began = datetime.now(UTC)
    for number in range(100):
        correction_of(model).set_text("total_cost", str(number))
        choice.options()
    assert datetime.now(UTC) - began < timedelta(seconds=2)


# --- changes of studies -------------------------------------------------------------------------------------------------------------


def test_edit_form_returns_only_changes(kit: EvalKit) -> None:
    """The change of removed metadata has no value; unedited fields follow the study."""
    kit.create_study("one", description="d", tags=["a", "b"], metadata={"model": "m-1", "seed": "1"})
    model = model_of(kit)
    assert model.drafts is not None
    form = model.drafts.edit
    assert form.texts == {"name": "one", "tags": "a, b", "description": "d", "metadata": "model=m-1\nseed=1"}
    assert form.changes() == (None, {}, {})
    for name, text in (("name", " two "), ("tags", "a"), ("description", ""), ("metadata", "model=m-2")):
        form.set_text(name, text)
    changed = {"tags": ["a"], "description": "", "metadata": {"model": "m-2", "seed": None}}
    assert form.changes() == ("two", changed, {})
    form.set_text("name", "one")
    assert form.changes()[0] is None
    kit.edit_study("one", **changed)
    kit.rename_study("one", "renamed")
    follow(model, kit)
    assert form.changes() == (None, {}, {})
    assert form.texts["name"] == "renamed"


CHANGED_MEANWHILE: list[Any] = [
    # typed, changed by another process, result, conflicts
    ({"metadata": "model=m-1\nseed=1\nmine=1"}, {"metadata": {"owner": "x"}}, {"metadata": {"mine": "1"}}, []),
    ({"metadata": "model=m-1"}, {"metadata": {"owner": "x"}}, {"metadata": {"seed": None}}, []),
    ({"metadata": "model=m-2\nseed=1"}, {"metadata": {"model": "m-2", "owner": "x"}}, {}, []),
    ({"metadata": "model=m-2\nseed=2"}, {"metadata": {"model": "m-3"}}, {"metadata": {"model": "m-2", "seed": "2"}},
     snapshot(["the metadata 'model' was changed to 'm-3'"])),
    ({"metadata": "model=m-1\nseed=2"}, {"metadata": {"seed": None}}, {"metadata": {"seed": "2"}},
     snapshot(["the metadata 'seed' was removed"])),
    ({"metadata": "model=m-1"}, {"metadata": {"seed": "2"}}, {"metadata": {"seed": None}},
     snapshot(["the metadata 'seed' was changed to '2'"])),
    ({"tags": "a, b, mine"}, {"tags": ["a", "b", "theirs"]}, {"tags": ["a", "b", "theirs", "mine"]}, []),
    ({"tags": "b, mine"}, {"tags": ["a"]}, {"tags": ["mine"]}, []),
    ({"tags": "b, a"}, {"tags": ["b", "a", "theirs"]}, {}, []),
    ({"tags": "b"}, {"tags": ["a", "b", "theirs"]}, {"tags": ["b", "theirs"]}, []),
    ({"tags": "b, a"}, {}, {"tags": ["b", "a"]}, []),
    ({"description": "mine"}, {"description": "theirs"}, {"description": "mine"},
     snapshot(["the description was changed to 'theirs'"])),
    ({"description": ""}, {"description": "theirs"}, {"description": ""}, snapshot(["the description was changed to 'theirs'"])),
    ({"description": "same "}, {"description": "same"}, {}, []),
    ({"description": "d "}, {"description": "theirs"}, {}, []),
    ({"description": "mine", "metadata": "model"}, {"metadata": {"owner": "x"}}, {"description": "mine"}, []),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "theirs", "result", "conflicts"), CHANGED_MEANWHILE)
def test_edits_are_relative_to_the_values_they_were_typed_for(
    kit: EvalKit, typed: dict[str, str], theirs: dict[str, Any], result: dict[str, Any], conflicts: list[str]
) -> None:
    """Changes by another process survive; different changes of one value are a conflict until the latest values are accepted."""
    kit.create_study("one", description="d", tags=["a", "b"], metadata={"model": "m-1", "seed": "1"})
    model = model_of(kit)
    assert model.drafts is not None
    form = model.drafts.edit
    for name, text in typed.items():
        form.set_text(name, text)
    assert form.conflicts() == []
    kit.edit_study("one", **theirs)
    follow(model, kit)
    assert (form.changes()[:2], form.conflicts()) == ((None, result), conflicts)
    form.accept_latest()
    assert (form.changes()[:2], form.conflicts()) == ((None, result), [])
    kit.edit_study("one", **result)
    follow(model, kit)
    assert (form.changes()[:2], form.conflicts()) == ((None, {}), [])


def test_name_changed_by_another_process_is_a_conflict(kit: EvalKit) -> None:
    """Another change after the acceptance is a conflict again; text that equals the first value follows the study."""
    kit.create_study("one")
    model = model_of(kit)
    assert model.drafts is not None
    form = model.drafts.edit
    form.set_text("name", "mine")
    for name in ("theirs", "theirs again"):
        kit.rename_study(model.selected or "", name)
        follow(model, kit)
        assert (form.texts["name"], form.changes()[0], form.conflicts()) == ("mine", "mine", [f"the name was changed to {name!r}"])
        form.accept_latest()
        assert form.conflicts() == []
    form.set_text("name", "theirs again")
    assert form.changes()[0] is None
    kit.rename_study("theirs again", "third")
    follow(model, kit)
    assert (form.texts["name"], form.conflicts()) == ("third", [])


@pytest.mark.parametrize(("name", "text", "problem"), [
    ("name", " ", snapshot("Invalid name '': empty; at least one visible character is required.")),
    ("metadata", "model", snapshot("Invalid metadata 'model': '=' is missing; expected one pair per line, e.g. model=m-1.")),
    ("metadata", "evalkit.cadence=x", snapshot("Invalid metadata['evalkit.cadence'] 'x': expected 'per-period' or 'per-run'.")),
])  # fmt: skip
def test_invalid_edits(kit: EvalKit, name: str, text: str, problem: str) -> None:
    kit.create_study("one")
    form = EditForm(kit.studies().row(0, named=True))
    form.set_text(name, text)
    assert form.changes() == (None, {}, {name: problem})


def test_values_that_are_not_text_are_fixed(kit: EvalKit) -> None:
    """A tag with a comma or metadata with a line break would change when it is written to a field."""
    kit.create_study("one", tags=["a, b"], metadata={"prompt": "first\nsecond"})
    kit.create_study("two", tags=["a"], metadata={"formula": "a=b"})
    rows = {row["name"]: row for row in kit.studies().to_dicts()}
    assert (EditForm(rows["one"]).fixed, EditForm(rows["two"]).fixed) == ({"tags", "metadata"}, set())


def test_archived_studies_are_behind_a_filter(kit: EvalKit) -> None:
    """They are marked in the list and the details; the selected study stays selected when it is archived."""
    for name in ("one", "two"):
        kit.create_study(name)
    model = selecting(model_of(kit), "two")
    kit.archive_study("two")
    follow(model, kit)
    assert model.study is not None
    assert (model.study["name"], [entry.name for entry in model.entries()], model.list_summary()) == ("two", ["one"], "1 study")
    assert ">Archived</span>" in study_html(model)
    assert model.available_commands() == ["start", "stop"]
    model.filter_by(status=ARCHIVED)
    assert [(entry.name, entry.archived, entry.summary) for entry in model.entries()] == [
        ("two", True, "Selected: two, pending, archived, 0 periods")
    ]
    model.filter_by(text="one")
    assert model.entries() == []
    assert model.summary() == "Panel(1 study, showing 'two': pending, 0 periods)"
    assert "two" not in table_html(model)
    assert "one" in table_html(model)
    kit.unarchive_study("two")
    follow(model, kit)
    assert ">Archived</span>" not in study_html(model)


# --- earlier states -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("choice", "text", "state"), [
    ("yesterday", "", "2026-03-01 00:00 UTC"), ("week", "", "2026-02-22 12:00 UTC"), ("month", "", "2026-01-30 12:00 UTC"),
    (OTHER, "2026-01-31", "2026-01-31 00:00 UTC"), (OTHER, " 2026-01-31T08:00:00+02:00 ", "2026-01-31 06:00 UTC"),
    (OTHER, "pin:0@", "pin:0@"), (OTHER, f"pin:12@{'a' * 64}", "pin:12@aaaaaaaaaaaaa…"),
])  # fmt: skip
def test_earlier_states(choice: str, text: str, state: str) -> None:
    assert earlier_state(choice, text, NOW).text == state


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01"])
def test_invalid_earlier_state(text: str) -> None:
    with pytest.raises(InvalidInputError, match="as_of"):
        earlier_state(OTHER, text, NOW)


def test_earlier_state_is_read_only(kit: EvalKit) -> None:
    """Names, values, metrics and archived studies are those of the state; every command has the reason why it is unavailable."""
    study = started(kit, "one")
    made = record(kit, study, total_cost=25)
    pin = str(kit.pin())
    kit.amend_checkpoint(made, {"total_cost": 2.5}, reason="r")
    kit.rename_study(study, "renamed")
    kit.define_metric(study, REFUSALS)
    kit.create_study("two")
    model = model_of(kit)
    assert model.drafts is not None
    model.drafts.checkpoint.set_text("total_tokens", "5")
    state = EarlierState(OTHER, pin, "pin:…")
    model.show_earlier(state, read_earlier(kit, pin))
    assert (model.summary(), model.entries()[0].value) == ("Panel(1 study, showing 'one': running, 1 period, as of pin:…)", "$25.00")
    assert "refusal_rate" not in model.metrics
    assert "as of pin:…" in table_html(model)
    reason = "Read-only: showing the state as of pin:…."
    assert (model.read_only, model.can_write, model.can_create, model.can_record) == (reason, False, False, False)
    assert model.unavailable() == dict.fromkeys(("start", "pause", "resume", "stop"), reason)
    kit.note("two", "later")
    follow(model, kit)
    assert model.summary().endswith("as of pin:…)")
    assert model.age(NOW) == "An earlier state; it is not updated."
    model.show_latest(NOW)
    assert (model.study and model.study["name"], model.read_only) == ("two", None)
    selecting(model, "renamed")
    assert model.drafts is not None
    assert "refusal_rate" in model.metrics
    model.show_earlier(state, read_earlier(kit, pin))
    assert (model.study and model.study["name"]) == "one"
    assert model.drafts.edit.texts["name"] == "renamed"
    model.show_latest(NOW)
    assert (model.study and model.study["name"], model.as_of_choice) == ("renamed", LATEST)


def test_chart_marks_notes_amendments_origins_and_the_state(kit: EvalKit) -> None:
    """The panel's chart has the data of ``kit.data()``, in the shown state and without excluded checkpoints."""
    study = started(kit, "one")
    for day in (1, 2, 3):
        record(kit, study, day, total_cost=day, provenance={"collector": "c", "models": [f"m-{day // 2}"]})
    ids = kit.checkpoints(study)["checkpoint_id"].to_list()
    kit.note(study, "New prompt", at="2026-01-02T00:00:00Z")
    kit.amend_checkpoint(ids[0], {"total_cost": 5}, reason="r")
    pin = str(kit.pin())
    kit.retract_checkpoint(ids[1], reason="r")
    model = PanelModel(NOW, excluded=frozenset([(study.id, ids[2])]))
    model.apply(read(kit, None), NOW)

    def charted() -> Any:
        frames = model.study_frames()
        assert frames is not None
        return Picture.of(frames.data(read_provenance(kit, study.id, frames.as_of)), "total_cost").spec

    def expected(**options: Any) -> Any:
        data = kit.data(study, exclude=[ids[2]], **options)
        return Picture.of(data, "total_cost").spec

    assert charted() == expected()
    model.show_earlier(EarlierState(OTHER, pin, "pin"), read_earlier(kit, pin))
    assert charted() == expected(as_of=pin)
    assert charted()["title"]["subtitle"] != expected()["title"]["subtitle"]


def test_empty_earlier_state(kit: EvalKit) -> None:
    """A study that did not exist then is selected again in the latest state."""
    study = started(kit, "one")
    model = model_of(kit)
    state = earlier_state(OTHER, "2020-01-01", NOW)
    model.show_earlier(state, read_earlier(kit, state.value))
    assert (model.studies, model.study, model.drafts, model.entries(), model.facts()) == ([], None, None, [], [])
    assert "No study existed then." in study_html(model)
    assert set(model.unavailable().values()) == {"Select a study first."}
    model.show_latest(NOW)
    assert model.selected == study.id


def test_pin_of_another_log_is_refused(kit: EvalKit, tmp_path: Path) -> None:
    started(kit, "one")
    with connect(tmp_path / "other") as other:
        other.create_study("two")
        pin = str(other.pin())
    with pytest.raises(LogMismatchError):
        read_earlier(kit, pin)


def test_frames_of_an_empty_home(kit: EvalKit) -> None:
    """A panel without a log shows nothing, and refuses the pin of another log."""
    assert model_of(kit).summary() == "Panel(0 studies)"
    with pytest.raises(LogMismatchError):
        read_earlier(kit, f"pin:3@{'a' * 64}")
