"""Renaming, editing and archiving studies."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

import evalkit
from evalkit import EvalKit, OutcomeUnknownError, StudyExistsError, StudyNotFoundError, connect
from evalkit.domain.validation import check_metadata_changes
from evalkit.errors import DatabaseBusyError
from evalkit.panel.reading import read
from tests.messages import says
from tests.worker import Child


def events(kit: EvalKit) -> list[dict[str, Any]]:
    """Return the events of the log, without ids and times of writing."""
    records = kit.engine.log.consumer("test").poll(1000, 0)
    return [{key: part for key, part in json.loads(record.data)["event"].items() if key != "id"} for record in records]


def test_a_renamed_study_has_its_new_name_everywhere(kit: EvalKit) -> None:
    study = kit.start_study(kit.create_study("nightly", tags=["coding"]))
    renamed = kit.rename_study("nightly", "old prompt")
    assert renamed == study.model_copy(update={"name": "old prompt"})
    assert kit.resolve("old prompt") == kit.resolve(study) == kit.storage.get_study(study.id) == renamed
    with pytest.raises(StudyNotFoundError):
        kit.resolve("nightly")
    assert events(kit)[-1] == {"type": "study_renamed", "name": "old prompt"}
    kit.rebuild(on_progress=lambda done, events: None)
    assert kit.resolve("old prompt") == renamed
    assert kit.verify().ok


def test_renaming_to_the_current_name_appends_nothing(kit: EvalKit) -> None:
    study = kit.create_study("nightly")
    assert kit.rename_study(study, "nightly") == study
    assert len(events(kit)) == 1
    assert kit.rename_study(study, " nightly ").name == " nightly ", "another spelling of its own name is not in use"


def test_a_name_in_use_is_refused(kit: EvalKit) -> None:
    """Names are compared as in look-ups, and archived studies keep theirs."""
    first, second = kit.create_study("caf\u00e9", at="2026-01-01T00:00:00Z"), kit.create_study("second")
    with pytest.raises(StudyExistsError) as raised:
        kit.rename_study(second, " cafe\u0301 ")
    assert raised.value.study_ids == [first.id]
    assert says(raised) == snapshot("Study 'café' already exists (pending, created 2026-01-01). Choose another name.")
    kit.archive_study(first)
    with pytest.raises(StudyExistsError) as raised:
        kit.rename_study(second, "caf\u00e9")
    assert says(raised) == snapshot(
        "Study 'café' already exists (archived, pending, created 2026-01-01). Choose another name, or restore it with kit.unarchive_study('café')."
    )
    assert raised.value.message.shell_hint == snapshot("Choose another name, or restore it with: evalkit study unarchive 'café'")
    for if_exists in ("error", "open"):
        with pytest.raises(StudyExistsError) as raised:
            kit.create_study("caf\u00e9", if_exists=if_exists)
        assert says(raised) == snapshot(
            "Study 'café' already exists (archived, pending, created 2026-01-01). Choose another name, or restore it with kit.unarchive_study('café')."
        )
    assert len(events(kit)) == 3


def test_the_old_name_of_a_renamed_study_is_free(kit: EvalKit) -> None:
    ids = []
    for number in range(3):
        study = kit.create_study("nightly")
        ids.append(study.id)
        kit.rename_study(study, f"nightly {number}")
    assert len(set(ids)) == 3
    last = kit.create_study("nightly")
    assert last.id not in ids
    assert kit.create_study("nightly", if_exists="open") == last
    kit.rename_study(last, "nightly 3")
    assert kit.rename_study("nightly 1", "nightly").id == ids[1]
    assert kit.create_study("nightly", if_exists="open").id == ids[1]
    assert sorted(kit.studies()["name"]) == ["nightly", "nightly 0", "nightly 2", "nightly 3"]
    assert kit.rejected().is_empty()


def test_processes_that_create_the_old_name_of_a_renamed_study_get_one_study(tmp_path: Path) -> None:
    with ExitStack() as stack:
        children = [stack.enter_context(Child("create", tmp_path)) for _ in range(2)]
        assert [child.hear() for child in children] == ["ready"] * 2
        for number in range(5):
            home = f"home {number}"
            with connect(tmp_path / home) as kit:
                first = kit.rename_study(kit.create_study("daily run"), "old run")
            for child in children:
                child.tell({"if_exists": "open", "name": "daily run", "home": home})
            opened = {child.hear() for child in children}
            for child in children:
                child.tell({"if_exists": "error", "name": "another run", "home": home})
            assert Counter(child.hear() for child in children)["StudyExistsError"] == 1
            assert len(opened) == 1
            assert first.id not in opened
        for child in children:
            assert child.finish() == []


def test_a_study_that_was_created_and_renamed_meanwhile_leaves_its_name_free(
    kit: EvalKit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another process does both, between the check of this command and its append."""
    append = kit.engine.log.append

    def append_second(messages: Any) -> Any:
        monkeypatch.setattr(kit.engine.log, "append", append)
        with connect(tmp_path / "home") as other:
            other.rename_study(other.create_study("nightly"), "old nightly")
        return append(messages)

    monkeypatch.setattr(kit.engine.log, "append", append_second)
    study = kit.create_study("nightly")
    assert study.name == "nightly"
    assert sorted(kit.studies()["name"]) == ["nightly", "old nightly"]


def test_a_name_that_two_processes_give_at_once_is_reported(kit: EvalKit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The other process renames its study between the check of this command and its append."""
    first, second = kit.create_study("first"), kit.create_study("second")
    append = kit.engine.log.append

    def append_second(messages: Any) -> Any:
        monkeypatch.setattr(kit.engine.log, "append", append)
        with connect(tmp_path / "home") as other:
            other.rename_study(second, "nightly")
        return append(messages)

    monkeypatch.setattr(kit.engine.log, "append", append_second)
    with pytest.warns(evalkit.EvalkitWarning, match=f"gave study {second.id} the name 'nightly' at the same time"):
        assert kit.rename_study(first, "nightly").name == "nightly"
    assert kit.rename_study(first, "other").name == "other"


def test_edits_replace_the_description_and_tags_and_merge_the_metadata(kit: EvalKit) -> None:
    study = kit.create_study("nightly", description="old", tags=["a"], metadata={"model": "m-1", "seed": "1"})
    edited = kit.edit_study(study, description="new", tags=["b", "c"], metadata={"model": "m-2", "seed": None, "commit": "abc"})
    assert edited.config.model_dump() == {"description": "new", "tags": ["b", "c"], "metadata": {"model": "m-2", "commit": "abc"}}
    assert events(kit)[-1] == {
        "type": "study_edited", "description": "new", "tags": ["b", "c"], "metadata": {"model": "m-2", "seed": None, "commit": "abc"},
    }  # fmt: skip
    assert kit.edit_study(study, description="").config.description is None
    assert events(kit)[-1] == {"type": "study_edited", "description": None}, "only the changed part is in the event"
    assert kit.edit_study(study, tags=[], description="").config.tags == []
    assert events(kit)[-1] == {"type": "study_edited", "tags": []}
    assert kit.edit_study(study, metadata={"model": None, "commit": None}).config == evalkit.StudyConfig()
    assert kit.verify().ok


def test_an_edit_without_a_difference_appends_nothing(kit: EvalKit) -> None:
    study = kit.create_study("nightly", description="one", tags=["a"], metadata={"model": "m-1"})
    count = len(events(kit))
    same: dict[str, Any]
    for same in (
        {}, {"description": "one"}, {"tags": ("a",)}, {"metadata": {}}, {"metadata": {"model": "m-1", "absent": None}},
        {"cadence": "per-period"}, {"metadata": {"evalkit.cadence": "per-period"}},
    ):  # fmt: skip
        assert kit.edit_study(study, **same) == study
    assert len(events(kit)) == count


keys = st.sampled_from(["model", "seed", "evalkit.cadence"])


@given(st.lists(st.dictionaries(keys, st.sampled_from(["per-run", "per-period", None])), max_size=4))
def test_changes_of_metadata_accumulate(edits: list[dict[str, str | None]]) -> None:
    """The latest value of each key counts; the default cadence is not stored."""
    stored: dict[str, str | None] = {}
    latest: dict[str, str | None] = {}
    for edit in edits:
        stored |= check_metadata_changes(edit, None)
        latest |= edit
    if latest.get("evalkit.cadence") == "per-period":
        latest["evalkit.cadence"] = None
    present = {key: text for key, text in latest.items() if text is not None}
    assert {key: text for key, text in stored.items() if text is not None} == present


def test_an_archived_study_is_found_by_its_object_and_its_exact_id(kit: EvalKit) -> None:
    study = kit.start_study(kit.create_study("nightly"))
    kit.create_study("other")
    archived = kit.archive_study("nightly")
    assert archived == study.model_copy(update={"archived": True})
    assert kit.archive_study("nightly") == kit.archive_study(study.id) == archived
    assert events(kit)[-1] == {"type": "study_archived"}
    assert len(events(kit)) == 4, "repeated, it appends nothing"
    assert kit.resolve(study) == kit.resolve(study.id.upper()) == kit.resolve("nightly", archived=True) == archived
    assert kit.resolve(study.id[-6:], archived=True) == archived
    assert kit.pause_study(study).status == kit.edit_study(study.id, tags=["x"]).status == "paused"
    for reference in ("nightly", " nightly ", study.id[-6:]):
        with pytest.raises(StudyNotFoundError) as raised:
            kit.resolve(reference)
        assert "kit.unarchive_study('nightly')" in raised.value.message.hint
    with pytest.raises(StudyNotFoundError) as raised:
        kit.start_study("nightly")
    assert says(raised) == snapshot(
        "No study matches 'nightly'. Study 'nightly' is archived; restore it with kit.unarchive_study('nightly')."
    )
    assert raised.value.message.shell_hint == snapshot("Study 'nightly' is archived; restore it with: evalkit study unarchive nightly")
    assert kit.unarchive_study("nightly") == kit.unarchive_study(study) == kit.resolve("nightly")
    assert events(kit)[-1] == {"type": "study_unarchived"}
    assert kit.verify().ok


def test_lists_leave_archived_studies_out(kit: EvalKit) -> None:
    first, second = kit.create_study("first", at="2026-01-01T00:00:00Z"), kit.create_study("second", at="2026-01-02T00:00:00Z")
    first = kit.archive_study(first)
    storage = kit.storage
    assert storage.list_studies() == storage.list_studies_by_status("pending") == [second]
    assert storage.list_studies(archived=True) == storage.list_studies_by_status("pending", archived=True) == [second, first]
    assert storage.get_study(first.id) == first
    with pytest.raises(StudyNotFoundError) as raised:
        kit.resolve("zzzz")
    assert says(raised) == snapshot("No study matches 'zzzz'. Most recent studies: 'second'.")
    kit.archive_study(second)
    with pytest.raises(StudyNotFoundError) as raised:
        kit.resolve("zzzz")
    assert says(raised) == snapshot("No study matches 'zzzz'. All studies are archived.")


COMMANDS = {
    "rename": lambda kit: kit.rename_study("nightly", "renamed"),
    "edit": lambda kit: kit.edit_study("nightly", tags=["x"], cadence="per-run"),
    "archive": lambda kit: kit.archive_study("nightly"),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_an_unknown_outcome_is_read_later(kit: EvalKit, monkeypatch: pytest.MonkeyPatch, command: Any) -> None:
    study = kit.create_study("nightly")

    def busy(*_: object) -> Any:
        raise DatabaseBusyError("The read model stayed locked.")

    with monkeypatch.context() as patched:
        append = kit.engine.log.append

        def append_then_lock(messages: Any) -> Any:
            patched.setattr(kit.engine.database, "batch", busy)
            return append(messages)

        patched.setattr(kit.engine.log, "append", append_then_lock)
        with pytest.raises(OutcomeUnknownError) as unknown:
            command(kit)
    changed = kit.outcome(unknown.value)
    assert changed == kit.resolve(study) == kit.outcome(unknown.value)
    assert changed != study


def test_a_second_kit_sees_every_change(kit: EvalKit, tmp_path: Path) -> None:
    study = kit.create_study("nightly")
    with connect(tmp_path / "home") as other:
        assert other.resolve("nightly") == study
        kit.rename_study(study, "renamed")
        kit.edit_study(study, description="text")
        changed = kit.archive_study(study)
        assert other.resolve(study) == changed
        assert other.unarchive_study("renamed").config.description == "text"
    assert not kit.resolve("renamed").archived


def test_changes_contain_the_archiving_of_a_study(kit: EvalKit) -> None:
    study, hidden = kit.create_study("nightly"), kit.create_study("hidden")
    kit.archive_study(hidden)
    pin = kit.pin()
    kit.rename_study(study, "old prompt")
    kit.archive_study(study)
    kit.edit_study(kit.resolve(hidden.id), description="unseen")
    assert kit.changes(pin).select("study", "kind").rows() == [("old prompt", "study_renamed"), ("old prompt", "study_archived")]
    assert kit.changes(pin, archived=True).height == 3


def test_a_report_of_an_earlier_state_is_named_as_it_was(kit: EvalKit, tmp_path: Path) -> None:
    study = kit.start_study(kit.create_study("nightly"))
    pin = kit.pin()
    kit.rename_study(study, "old prompt")
    kit.create_study("nightly")
    content = json.loads(kit.report("nightly", tmp_path / "report.json", as_of=pin).read_text())
    assert (content["study"]["id"], content["study"]["name"]) == (study.id, "nightly")
    assert json.loads(kit.report("old prompt", tmp_path / "report.json", as_of=pin).read_text())["study"]["id"] == study.id
    with pytest.raises(evalkit.InvalidInputError, match="it is the study itself"):
        kit.report("nightly", tmp_path / "report.json", baseline="nightly")


def test_the_panel_shows_studies_with_more_metrics_than_a_dataframe_has(kit: EvalKit) -> None:
    for name in ("first", "second"):
        metrics = [evalkit.Metric(f"{name}_{number}", kind="number", better="up") for number in range(300)]
        kit.create_study(name, metrics=metrics)
    with pytest.raises(evalkit.InvalidInputError, match="600 custom metrics"):
        kit.checkpoints()
    assert kit.checkpoints(custom=False).is_empty()
    kit.start_study("first")
    kit.record_checkpoint("first", {"period_start": "2026-01-01", "first_7": 1.5}, tz="UTC")
    assert kit.measurements().select("metric", "value").rows() == [("first_7", 1.5)]
    assert read(kit, None).frames.studies.height == 2
