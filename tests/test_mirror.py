"""The mirror has the checkpoints of the read model, in every state, also after kills, rebuilds and concurrent updates."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot

import evalkit
from evalkit import EvalKit, EvalkitWarning, InvalidInputError, ReadOnlyError
from evalkit.domain.times import stored_time
from evalkit.frames import mirror as module
from evalkit.frames.mirror import CheckpointMirror
from evalkit.frames.reader import FrameReader
from evalkit.frames.scan import scan
from evalkit.frames.versions import View
from evalkit.readmodel.consumer import EvalProjectionConsumer
from evalkit.readmodel.history import AsOf
from evalkit.readmodel.pins import Pin, PinnedPosition
from evalkit.readmodel.rebuild import rebuild
from tests.command_line import run
from tests.generators import Entry, eventful_histories, in_parts
from tests.memory_log import InMemoryEventLog
from tests.properties import examples, in_long_form
from tests.test_fold_properties import read_models
from tests.worker import Child

START = datetime(2025, 12, 10, tzinfo=UTC)


def days(count: int, first: int = 0, **values: Any) -> list[dict[str, Any]]:
    day = timedelta(days=1)
    return [
        {"period_start": START + number * day, "period_end": START + (number + 1) * day, "total_cost": float(number), "key": f"{number}", **values}
        for number in range(first, first + count)
    ]  # fmt: skip


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[EvalKit]:
    with evalkit.connect(tmp_path / "home") as kit:
        for name in ("first", "second"):
            kit.create_study(name, at=START)
            kit.start_study(name, at=START)
        kit.record_checkpoints("first", days(30))
        kit.record_checkpoints("second", days(10))
        yield kit


def assert_equal(kit: EvalKit, folder: Path | None = None, **options: Any) -> None:
    """Compare the mirror with the frame, in the order of rows and columns."""
    scanned, frame = kit.scan(folder=folder, **options).collect(), kit.checkpoints(**options)
    assert scanned.schema == frame.schema
    assert scanned.equals(frame)


# --- any history ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(eventful_histories(), st.data())
@pytest.mark.filterwarnings("ignore:The selected studies define:evalkit.EvalkitWarning")
def test_a_mirror_equals_the_frames_of_any_history(history: list[Entry], data: st.DataObject) -> None:
    """After each of several updates, with latest and first values, in earlier states, and after a rebuild."""
    parts = in_parts(data, history, 3)
    log = InMemoryEventLog(1)
    with read_models() as make, tempfile.TemporaryDirectory() as folder:
        database = make()
        consumer, reader = EvalProjectionConsumer(log, database), FrameReader(database)
        mirror = CheckpointMirror(database, Path(folder) / "mirror")
        states: list[AsOf] = [None]

        def compare() -> None:
            for state in states:
                for view in (View(), View("first"), View(custom=False)):
                    scanned = scan(mirror.update(state), None, view, archived=True).collect()
                    assert scanned.equals(reader.checkpoints(None, view, state, archived=True))
                    assert scanned.schema == reader.checkpoints(None, view, state, archived=True).schema

        for part in parts:
            for entry in part:
                log.place(0, entry.data)
            consumer.catch_up()
            compare()
            states = [None, Pin((PinnedPosition(log.ranges()[0].end, ""),))]
        times = [str(entry.event["written_at"]) for entry in history if entry.event is not None and entry.event["written_at"]]
        if times:
            states.append(datetime.fromisoformat(stored_time(data.draw(st.sampled_from(times)))))
        rebuild(database, log)
        compare()


# --- files ------------------------------------------------------------------------------------------------------------------------------


def test_files_are_by_study_and_year(kit: EvalKit, tmp_path: Path) -> None:
    mirror = kit.mirror(tmp_path / "mirror")
    assert repr(mirror) == "Mirror(40 checkpoints in 3 files, 40 added)"
    first = kit.resolve("first").id
    names = {str(path.parent.relative_to(tmp_path / "mirror")) for path in mirror.files}
    assert {f"study={first}/year=2025", f"study={first}/year=2026"} < names
    assert pl.read_parquet(list(mirror.files)).height == 40
    assert_equal(kit, tmp_path / "mirror")


def test_an_update_adds_only_new_checkpoints(kit: EvalKit) -> None:
    before = kit.mirror()
    kit.record_checkpoints("second", days(1, first=12))
    after = kit.mirror()
    assert (after.checkpoints, after.added) == (41, 1)
    assert len(set(before.files) & set(after.files)) == 2
    assert kit.mirror().added == 0
    assert kit.mirror().files == after.files
    assert_equal(kit)


def test_many_updates_leave_few_files(kit: EvalKit) -> None:
    for night in range(40, 60):
        kit.record_checkpoints("first", days(1, first=night))
        kit.mirror()
    assert len(kit.mirror().files) == 3
    assert_equal(kit)


def test_large_files_are_kept(kit: EvalKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of one year may overlap: an earlier period can be recorded later."""
    monkeypatch.setattr(module, "_ROWS_OF_FILE", 15)
    monkeypatch.setattr(module, "_ROWS_OF_FLUSH", 8)
    monkeypatch.setattr("evalkit.frames.stored_pages._FILE_PAGE", (7, 24 << 20))
    kit.record_checkpoints("first", days(40, first=60))
    kit.mirror()
    kit.record_checkpoints("first", days(3, first=45))
    assert len(kit.mirror().files) > 4
    assert_equal(kit)


def test_replaced_files_are_deleted_after_an_hour(kit: EvalKit, monkeypatch: pytest.MonkeyPatch) -> None:
    lazy, frame = kit.scan(), kit.checkpoints()
    old = kit.mirror().files
    kit.record_checkpoints("second", days(1, first=12))
    new = kit.mirror().files
    assert all(path.exists() for path in old)
    assert lazy.collect().equals(frame), "an earlier frame is one state"
    monkeypatch.setattr(module, "_KEPT_SECONDS", 0.0)
    kit.record_checkpoints("second", days(1, first=14))
    newest = kit.mirror().files
    assert [path.exists() for path in (set(old) | set(new)) - set(newest)] == [False] * 2
    assert_equal(kit)


# --- changes ----------------------------------------------------------------------------------------------------------------------------


def test_corrections_names_and_definitions_apply_at_the_scan(kit: EvalKit) -> None:
    pin, before = kit.pin(), kit.checkpoints()
    kit.mirror()
    ids = before["checkpoint_id"].to_list()
    kit.amend_checkpoint(ids[0], {"total_cost": 99.0, "sessions_completed": 3}, reason="wrong price")
    kit.retract_checkpoint(ids[1], reason="broken run")
    kit.rename_study("second", "renamed")
    kit.archive_study("first")
    kit.define_metric("renamed", evalkit.Metric("retries", kind="count", better="down"))
    kit.record_checkpoints("renamed", days(2, first=20, retries=3))
    assert kit.mirror().added == 2
    for options in ({}, {"archived": True}, {"values": "first", "archived": True}, {"study": "renamed"}, {"custom": False}):
        assert_equal(kit, **options)
    assert kit.scan(as_of=pin).collect().equals(before)
    assert_equal(kit, as_of=pin)


def test_a_rebuild_makes_the_mirror_again(kit: EvalKit) -> None:
    files = kit.mirror().files
    kit.rebuild()
    mirror = kit.mirror()
    assert (mirror.added, set(mirror.files) & set(files)) == (40, set())
    assert_equal(kit)


def test_a_read_model_that_is_made_again_keeps_the_mirror(kit: EvalKit, tmp_path: Path) -> None:
    """Its rows have the same order, although it applies all events together, some with a provenance."""
    for night in range(12, 20):
        kit.record_checkpoints("second", days(1, first=night, provenance={"collector": "c"} if night % 3 else None))
        kit.mirror(tmp_path / "mirror")
    kit.close()
    for file in (tmp_path / "home").glob("evalkit.db*"):
        file.unlink()
    kit.record_checkpoints("second", days(4, first=22))
    assert kit.mirror(tmp_path / "mirror").added == 4
    assert_equal(kit, tmp_path / "mirror")


def test_other_row_ids_make_the_mirror_again(kit: EvalKit) -> None:
    kit.mirror()
    kit.engine.database.batch(
        [("UPDATE checkpoints SET rowid = -1 WHERE rowid = 1", ()), ("UPDATE checkpoints SET rowid = 41 WHERE rowid = 40", ())]
    )
    kit.engine.database.batch([("UPDATE checkpoints SET rowid = 40 WHERE rowid = -1", ())])
    assert kit.mirror().added == 40


@pytest.mark.parametrize("damage", ["deleted file", "truncated file", "manifest", "other format"])
def test_a_damaged_mirror_is_made_again(kit: EvalKit, damage: str) -> None:
    mirror = kit.mirror()
    manifest = mirror.folder / "manifest.json"
    if damage == "deleted file":
        mirror.files[0].unlink()
    elif damage == "truncated file":
        mirror.files[0].write_bytes(mirror.files[0].read_bytes()[:-1])
    elif damage == "manifest":
        manifest.write_bytes(b"{")
    else:
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 0}))
    assert_equal(kit)


def test_only_the_selected_columns_and_rows_are_read(kit: EvalKit) -> None:
    plan = kit.scan("first").filter(pl.col("total_cost") > 3).select("total_cost").explain()
    assert 'SELECTION: col("total_cost") > 3.0' in plan
    assert "PROJECT 2/26 COLUMNS" in plan


# --- several processes ------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_update_leaves_a_mirror_that_the_next_one_completes(kit: EvalKit, tmp_path: Path) -> None:
    chance, folder = random.Random(1), tmp_path / "mirror"
    for trial in range(in_long_form(20, 4)):
        with Child("mirror", tmp_path / "home", folder=str(folder), first=1000 * trial) as child:
            assert child.hear() == "ready"
            time.sleep(chance.uniform(0.05, 0.5))
            child.kill()
        assert_equal(kit, folder)
    assert kit.checkpoints().height > 40


@pytest.mark.slow
def test_several_processes_update_one_mirror(kit: EvalKit, tmp_path: Path) -> None:
    folder = tmp_path / "mirror"
    with (
        Child("mirror", tmp_path / "home", folder=str(folder), first=0) as one,
        Child("mirror", tmp_path / "home", folder=str(folder), first=5000) as other,
    ):
        assert (one.hear(), other.hear()) == ("ready", "ready")
        for _ in range(3):
            one.hear()
            other.hear()
            assert kit.scan(folder=folder).collect().height <= kit.checkpoints().height
        one.finish()
        other.finish()
    assert_equal(kit, folder)


# --- bad input --------------------------------------------------------------------------------------------------------------------------


def test_the_mirror_of_another_log_is_refused(kit: EvalKit, tmp_path: Path) -> None:
    kit.mirror(tmp_path / "mirror")
    with evalkit.connect(tmp_path / "other") as other:
        other.create_study("first")
        with pytest.raises(InvalidInputError) as raised:
            other.mirror(tmp_path / "mirror")
    assert "it has the mirror of another log. Choose another folder, or delete this one first." in str(raised.value)
    assert_equal(kit, tmp_path / "mirror")


def test_a_folder_that_cannot_be_used_is_refused(kit: EvalKit, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", "", 3):
        with pytest.raises(InvalidInputError):
            kit.mirror(folder)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError):
            kit.scan(folder=folder)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:This kit is read-only:evalkit.EvalkitWarning")
def test_a_read_only_kit_has_a_temporary_mirror(kit: EvalKit, tmp_path: Path) -> None:
    before = sorted((tmp_path / "home").rglob("*"))
    with evalkit.connect(tmp_path / "home", read_only=True) as reader:
        scanned = reader.scan()
        assert scanned.collect().equals(kit.checkpoints())
        folder = reader._mirror_folder(None, temporary=True)
        assert folder.exists()
        with pytest.raises(ReadOnlyError) as raised:
            reader.mirror()
        assert str(raised.value) == snapshot("Cannot write the mirror: this kit is read-only. Pass another folder: kit.mirror('parquet').")
        assert reader.mirror(tmp_path / "mirror").checkpoints == 40
    assert not folder.exists()
    assert sorted((tmp_path / "home").rglob("*")) == before


@pytest.mark.filterwarnings("ignore:This kit is read-only:evalkit.EvalkitWarning")
def test_a_temporary_mirror_that_cannot_be_created_has_an_error(kit: EvalKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with evalkit.connect(tmp_path / "home", read_only=True) as reader:
        with pytest.raises(ReadOnlyError) as raised:
            reader.scan()
        assert str(raised.value) == snapshot(
            "A temporary mirror cannot be created: No such file or directory. Pass a folder: kit.scan(folder='parquet')."
        )
        assert reader.scan(folder=tmp_path / "mirror").collect().equals(kit.checkpoints())


def test_an_empty_home_has_an_empty_mirror(tmp_path: Path) -> None:
    kit = evalkit.connect(tmp_path / "home")
    with pytest.warns(EvalkitWarning):
        assert kit.scan().collect().schema == kit.checkpoints().schema
    assert kit.mirror().checkpoints == 0
    kit.create_study("a")
    assert_equal(kit)
    shutil.rmtree(tmp_path / "home" / "mirror")
    assert_equal(kit)


def test_the_command_updates_a_mirror(kit: EvalKit, tmp_path: Path) -> None:
    result = run("--home", str(tmp_path / "home"), "mirror", str(tmp_path / "mirror"))
    assert result.stdout.replace(str(tmp_path), "…") == snapshot("…/mirror: 40 checkpoints in 3 files, 40 added\n")
    result = run("--home", str(tmp_path / "home"), "mirror", str(tmp_path / "mirror"), "--json")
    assert json.loads(result.stdout) == {"folder": str(tmp_path / "mirror"), "checkpoints": 40, "added": 0, "files": 3}
