"""The frames that panels read: an update reads only changed studies, with the same rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import evalkit
from evalkit.domain.definitions import Kind
from evalkit.frames import all_frames as module
from evalkit.frames import checkpoint_pages, versions
from evalkit.frames.all_frames import AllFrames, read_all_frames
from evalkit.frames.reader import FrameReader
from evalkit.panel.content import Content
from evalkit.readmodel.consumer import EvalProjectionConsumer
from evalkit.readmodel.rebuild import rebuild
from tests.generators import Entry, eventful_histories, in_parts
from tests.memory_log import InMemoryEventLog
from tests.properties import examples
from tests.test_fold_properties import read_models

NAMES = ("studies", "lifecycle", "metrics", "notes", "amendments", "checkpoints")


def assert_equal(updated: AllFrames, read: AllFrames) -> None:
    assert updated.studies.equals(read.studies)
    assert list(updated.rows.items()) == [(row["study_id"], row) for row in read.studies.to_dicts()]
    for name in NAMES:
        old, new = getattr(updated, name), getattr(read, name)
        assert set(old.columns) == set(new.columns)
        for study_id in read.studies["study_id"]:
            assert old.filter(study_id=study_id).select(new.columns).equals(new.filter(study_id=study_id)), name
        assert old.height == new.height


def values_of(content: Content) -> list[tuple[int, dict[str, str]]]:
    """Return what a panel lists of each study, with every metric of the study."""
    return [
        (content.recorded(row), {name: content.last_value(row, name) for name in content.metrics_of(study_id)})
        for study_id, row in content.studies.items()
    ]


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(eventful_histories(), st.data())
@pytest.mark.filterwarnings("ignore:The selected studies define:evalkit.EvalkitWarning")
def test_updated_frames_equal_those_read_again(history: list[Entry], data: st.DataObject) -> None:
    """Pages are decoded in chunks, and stored checkpoints are not copied for few new ones."""
    parts = in_parts(data, history, 4)
    log = InMemoryEventLog(1)
    with read_models() as make, pytest.MonkeyPatch.context() as patch:
        database = make()
        consumer, reader = EvalProjectionConsumer(log, database), FrameReader(database)
        patch.setattr(versions, "_FEW_NEW", 0)
        patch.setattr(checkpoint_pages, "_CHUNK", data.draw(st.integers(1, 5)))
        patch.setattr(versions, "MOST_CHUNKS", data.draw(st.integers(1, 10)))
        frames: AllFrames | None = None
        content: Content | None = None
        for part in parts:
            for entry in part:
                log.place(0, entry.data)
            consumer.catch_up()
            frames = read_all_frames(reader, previous=frames)
            again = read_all_frames(FrameReader(database))
            assert_equal(frames, again)
            content = Content(frames, previous=content)
            assert values_of(content) == values_of(Content(again))
            assert reader.checkpoints(archived=True).equals(FrameReader(database).checkpoints(archived=True))
        rebuild(database, log)
        assert_equal(read_all_frames(reader, previous=frames), read_all_frames(FrameReader(database)))


def test_only_changed_studies_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with evalkit.connect(tmp_path) as kit:
        ids = [kit.create_study(f"study {number}").id for number in range(3)]
        first = kit._all_frames()
        assert kit._all_frames(previous=first) is first
        read: list[object] = []
        monkeypatch.setattr(module, "_read", lambda *args, original=module._read: read.append(args[2]) or original(*args))
        kit.start_study(ids[1])
        second = kit._all_frames(previous=first)
        assert read == [[ids[1]]]
        assert second.rows[ids[0]] is first.rows[ids[0]]
        assert second.rows[ids[1]]["status"] == "running"
        assert_equal(second, kit._all_frames())


def test_many_changed_studies_are_read_with_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_CHANGED", 1)
    with evalkit.connect(tmp_path) as kit:
        kit.create_study("study")
        first = kit._all_frames()
        for number in range(2):
            kit.create_study(f"study {number}")
        read: list[object] = []
        monkeypatch.setattr(module, "_read", lambda *args, original=module._read: read.append(args[2]) or original(*args))
        assert_equal(kit._all_frames(previous=first), kit._all_frames())
        assert read == [None, None]


def test_frames_are_read_again_if_columns_change(tmp_path: Path) -> None:
    """A metric that two studies define with different kinds has a column of plain numbers."""
    with evalkit.connect(tmp_path) as kit:
        kinds: tuple[tuple[str, Kind], ...] = (("first", "count"), ("second", "duration"))
        for name, kind in kinds:
            kit.start_study(kit.create_study(name, period="daily"))
            kit.define_metric(name, evalkit.Metric("waits", kind=kind, better="down"))
            kit.record_checkpoint(name, {"period_start": "2026-01-05", "waits": 3}, tz="UTC")
            if name == "first":
                frames = kit._all_frames()
        with pytest.warns(evalkit.EvalkitWarning, match="different kinds"):
            updated = kit._all_frames(previous=frames)
        assert_equal(updated, kit._all_frames())


def test_few_new_checkpoints_copy_only_those_of_their_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "_FEW_NEW", 0)
    monkeypatch.setattr(versions, "MOST_CHUNKS", 6)
    with evalkit.connect(tmp_path) as kit:
        for name in ("first", "second", "third"):
            kit.start_study(kit.create_study(name, period="daily", at="2026-01-01T00:00:00Z"), at="2026-01-01T00:00:00Z")
        for day in range(1, 12):
            name = ("first", "second", "third")[day % 3]
            kit.record_checkpoint(name, {"period_start": f"2026-01-{day:02}", "total_cost": day}, tz="UTC")
            frame = kit.checkpoints()
            assert frame.equals(FrameReader(kit.engine.database).checkpoints())
            assert frame.n_chunks() <= 6 + 2
        assert kit.checkpoints("second")["total_cost"].to_list() == [1, 4, 7, 10]
