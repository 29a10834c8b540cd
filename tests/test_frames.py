"""Frames: columns and dtypes, selection, the Pandas twin, and what a rebuild or a user's changes do to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

import evalkit
from evalkit import EvalKit, EvalkitWarning
from evalkit.domain.commands import CreateStudy
from evalkit.domain.ids import StudyId, milliseconds, new_id
from evalkit.frames.study_data import StudyData

DAY = datetime(2026, 1, 1, tzinfo=UTC)
FRAMES = ["studies", "checkpoints", "lifecycle", "rejected"]
GOLDEN = Path(__file__).parent / "golden" / "frame_dtypes.json"


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[EvalKit]:
    with evalkit.connect(tmp_path / "home") as kit:
        kit.create_study("first", period="daily:30", description="d", tags=["x"], metadata={"b": "1", "a": "2"}, at=DAY)
        kit.start_study("first", at=DAY)
        kit.create_study("second", period="hourly", at=DAY + timedelta(hours=1))
        kit.start_study("second", at=DAY + timedelta(hours=1))
        kit.record_checkpoints("second", rows(3))
        kit.record_checkpoints("first", rows(5))
        yield kit


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "period_start": DAY + timedelta(days=day), "period_end": DAY + timedelta(days=day + 1), "total_tokens": day or None,
            "session_success_rate": day / 10 if day != 2 else None, "avg_session_duration": timedelta(seconds=day, microseconds=1),
            "sessions_included": [f"s-{day}"], "key": f"day-{day}",
        }
        for day in range(first, first + count)
    ]  # fmt: skip


def test_columns_and_dtypes_are_golden_and_the_same_when_empty(kit: EvalKit, tmp_path: Path) -> None:
    """Names, order and dtypes of all four frames, in both libraries, with and without rows."""
    empty = evalkit.connect(tmp_path / "nothing")
    with pytest.warns(EvalkitWarning, match="There is no evalkit home yet"):
        empty.studies()
    found: dict[str, Any] = {}
    for frame in FRAMES:
        full, none = getattr(kit, frame)(), getattr(empty, frame)()
        assert full.schema == none.schema
        assert none.height == 0
        twin, none_twin = getattr(kit, frame)(backend="pandas"), getattr(empty, frame)(backend="pandas")
        assert twin.dtypes.to_dict() == none_twin.dtypes.to_dict()
        found[frame] = {name: [str(dtype), str(twin.dtypes[name])] for name, dtype in full.schema.items()}
    assert not (tmp_path / "nothing").exists()
    assert json.loads(GOLDEN.read_text()) == found


def test_rows_come_in_a_fixed_order(kit: EvalKit) -> None:
    """Checkpoints by study (oldest first), timestamp, id; studies newest first; whatever order they were recorded in."""
    frame = kit.checkpoints()
    assert frame["study"].to_list() == ["first"] * 5 + ["second"] * 3
    assert frame["timestamp"].to_list() == sorted(frame["timestamp"][:5]) + sorted(frame["timestamp"][5:])
    assert kit.studies()["name"].to_list() == ["second", "first"]
    assert kit.studies()["checkpoints"].to_list() == [3, 5]
    assert kit.studies()["last_period_end"].to_list() == [DAY + timedelta(days=3), DAY + timedelta(days=5)]
    assert kit.studies()["metadata"].to_list()[1] == [{"key": "b", "value": "1"}, {"key": "a", "value": "2"}]


def test_missing_stays_missing_and_zero_stays_zero(kit: EvalKit) -> None:
    """A metric left out or None is null; 0 is a measurement."""
    frame = kit.checkpoints("first")
    assert frame["total_tokens"].to_list() == [None, 1, 2, 3, 4]
    assert frame["session_success_rate"].to_list() == [0.0, 0.1, None, 0.3, 0.4]
    assert frame["total_cost"].null_count() == 5


def test_a_selection_by_study_time_and_exclusion(kit: EvalKit) -> None:
    """Studies by any reference or a list of them; [start, end) by timestamp or by the period's start; checkpoints left out by id."""
    first = kit.storage.list_studies()[1]
    whole = kit.checkpoints(first)
    for reference in (first, first.id, "first", first.id[-8:], ["first"], [first, first.id]):
        assert kit.checkpoints(reference).equals(whole)
    assert kit.checkpoints(["first", "second"]).equals(kit.checkpoints())
    assert kit.checkpoints([]).height == 0
    day2, day4 = DAY + timedelta(days=2), DAY + timedelta(days=4)
    assert kit.checkpoints("first", start=day2, end=day4)["timestamp"].to_list() == [day2, DAY + timedelta(days=3)]
    assert kit.checkpoints("first", start=day2, end=day4, by="period")["period_start"].to_list() == [day2, DAY + timedelta(days=3)]
    out = kit.storage.get_checkpoints(first.id)[1]
    for reference in (out, out.id, out.id[-8:], [out]):
        assert out.id not in kit.checkpoints(exclude=reference)["checkpoint_id"].to_list()
        assert kit.checkpoints(exclude=reference).height == 7


def test_a_fresh_kit_reads_the_same_for_one_study_as_for_all(kit: EvalKit) -> None:
    """Asking for one study before, or after, asking for all gives the same rows."""
    fresh = evalkit.connect(kit.engine.settings.home)
    before = fresh.checkpoints("first")
    assert before.equals(fresh.checkpoints().filter(pl.col("study") == "first"))
    assert before.equals(fresh.checkpoints("first"))


def test_the_pandas_twin_has_the_same_values(kit: EvalKit) -> None:
    """Cell by cell, missing included."""
    for frame in FRAMES:
        ours, twin = getattr(kit, frame)(), getattr(kit, frame)(backend="pandas")
        assert list(twin.columns) == ours.columns
        for name in ours.columns:
            for one, other in zip(ours[name].to_list(), twin[name].tolist(), strict=True):
                if one is None:
                    assert other is None or pd.isna(other)
                else:
                    assert one == other


@pytest.mark.parametrize("frame", FRAMES)
def test_changing_a_frame_changes_no_later_one(kit: EvalKit, frame: str) -> None:
    """Neither in place nor otherwise, in either library."""
    expected = getattr(kit, frame)().to_dicts()
    ours = getattr(kit, frame)()
    for column in ours.columns:
        if ours.height and ours[column].dtype == pl.String:
            ours[0, column] = "changed"
        elif ours.height and ours[column].dtype == pl.Int64:
            ours[0, column] = -1
    ours.insert_column(0, pl.Series("mine", [0] * ours.height))
    ours.drop_in_place(ours.columns[-1])
    twin = getattr(kit, frame)(backend="pandas")
    for column in twin.columns:
        if len(twin) and str(twin[column].dtype) in ("Int64", "Float64"):
            twin.loc[0, column] = -1
            twin[column].array._data[:] = -2
    del twin[twin.columns[0]]
    assert getattr(kit, frame)().to_dicts() == expected
    pd.testing.assert_frame_equal(getattr(kit, frame)(backend="pandas"), getattr(kit, frame)(backend="pandas"))


def test_a_frame_follows_what_is_recorded_and_a_rebuild(kit: EvalKit) -> None:
    """Only what is new is read, and it is right: after more checkpoints, after a rebuild, and after another process's."""
    kit.checkpoints()
    other = evalkit.connect(kit.engine.settings.home)
    other.record_checkpoints("first", rows(4, first=5))
    assert kit.checkpoints().equals(evalkit.connect(kit.engine.settings.home).checkpoints())
    other.rebuild(on_progress=lambda done, total: None)
    assert kit.checkpoints().equals(evalkit.connect(kit.engine.settings.home).checkpoints())
    kit.record_checkpoints("second", rows(2, first=9))
    assert kit.checkpoints().equals(evalkit.connect(kit.engine.settings.home).checkpoints())
    assert kit.checkpoints().height == 14


def test_a_rebuild_between_two_pages_restarts_the_read(kit: EvalKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame is one state: when the tables are swapped in the middle, the rows of the new ones are given, each once."""
    monkeypatch.setattr("evalkit.frames.reader._PAGE", 3)
    expected = kit.checkpoints()
    fresh = evalkit.connect(kit.engine.settings.home)
    batch, pages = fresh.engine.database.batch, []

    def rebuild_after_the_first_page(statements: Any) -> Any:
        pages.append(statements)
        answer = batch(statements)
        if len(pages) == 1:
            kit.rebuild(on_progress=lambda done, total: None)
        return answer

    assert fresh.studies().height == 2
    monkeypatch.setattr(fresh.engine.database, "batch", rebuild_after_the_first_page)
    assert fresh.checkpoints().equals(expected)
    assert len(pages) == 6  # one of the old generation, one that sees the new, three of it, one that is empty


def test_queries_as_models(kit: EvalKit) -> None:
    """The six queries give models in their order; what is not there is None or empty."""
    storage = kit.storage
    second, first = storage.list_studies()
    assert (second.name, first.name) == ("second", "first")
    assert storage.get_study(first.id) == first
    assert storage.get_study("no such id") is None
    assert storage.list_studies_by_status("running") == [second, first]
    assert storage.list_studies_by_status(evalkit.StudyStatus.PAUSED) == []
    found = storage.get_checkpoints(first.id)
    assert [checkpoint.timestamp for checkpoint in found] == [DAY + timedelta(days=day) for day in range(1, 6)]
    assert storage.get_latest_checkpoint(first.id) == found[-1]
    assert storage.get_latest_checkpoint("no such id") is None
    assert storage.get_checkpoints_in_range(first.id, DAY + timedelta(days=2), DAY + timedelta(days=4)) == found[1:3]


# --- order --------------------------------------------------------------------------------------------------------------------------


def test_models_and_frames_hold_every_year(kit: EvalKit) -> None:
    """Timestamps from the year 9000 on, and a study whose creating event id lies in the year 9500, are in the models as in the frames."""
    command = CreateStudy("late")
    created = command.event(StudyId(new_id()), milliseconds(datetime(9500, 6, 1, tzinfo=UTC))).encoded()
    kit.engine.log.append([created])
    years = [1, 1969, 8999, 9000, 9999]
    for year in years:
        kit.record_checkpoint("first", rows(1)[0] | {"key": str(year), "timestamp": datetime(year, 12, 31, tzinfo=UTC)})
    first = kit.resolve("first")
    assert [study.name for study in kit.storage.list_studies()] == kit.studies()["name"].to_list() == ["late", "second", "first"]
    assert kit.storage.get_study(created.study_id) == kit.resolve("late") == kit.storage.list_studies_by_status("pending")[0]
    stamps = [checkpoint.timestamp for checkpoint in kit.storage.get_checkpoints(first.id)]
    assert stamps == kit.checkpoints("first")["timestamp"].to_list()
    assert {1, 1969, 8999, 9000, 9999} < {stamp.year for stamp in stamps}
    latest = kit.storage.get_latest_checkpoint(first.id)
    assert latest is not None
    assert latest.timestamp.year == 9999
    in_range = kit.storage.get_checkpoints_in_range(first.id, datetime(9000, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, tzinfo=UTC))
    assert [checkpoint.timestamp.year for checkpoint in in_range] == [9000, 9999]


def test_equal_times_are_ordered_by_id_everywhere(tmp_path: Path) -> None:
    """Of equal creation times or timestamps the id decides: in frames, models, the panel and charts, whatever the order of a frame's rows."""
    with evalkit.connect(tmp_path / "home") as kit:
        studies = [kit.create_study(name, at=DAY) for name in ("b", "a", "c")]
        study = kit.start_study(studies[0], at=DAY)
        for number in range(6):
            kit.record_checkpoint(study, rows(1)[0] | {"key": str(number), "total_tokens": number})
        by_id = sorted((one.id for one in studies), reverse=True)
        assert [one.id for one in kit.storage.list_studies()] == kit.studies()["study_id"].to_list() == by_id
        assert kit.lifecycle()["study_id"].unique(maintain_order=True).to_list() == by_id[::-1]
        models, frame = kit.storage.get_checkpoints(study.id), kit.checkpoints(study)
        tokens = [one.metrics.total_tokens for one in sorted(models, key=lambda one: one.id)]
        assert [one.metrics.total_tokens for one in models] == frame["total_tokens"].to_list() == tokens
        latest = kit.storage.get_latest_checkpoint(study.id)
        assert latest == models[-1]
        for shuffled in (frame, frame.reverse(), frame.sort("total_tokens"), kit.checkpoints(study, backend="pandas")[::-1]):
            assert StudyData(shuffled).sorted_checkpoints(["total_tokens"])["total_tokens"].to_list() == tokens
        assert StudyData(frame.drop("timestamp", "checkpoint_id")).sorted_checkpoints(["total_tokens"])["total_tokens"].to_list() == tokens
        odd = frame.with_columns(timestamp=pl.lit("unknown"))
        assert StudyData(odd).sorted_checkpoints(["total_tokens"])["total_tokens"].to_list() == tokens
