"""Frames: columns and dtypes, selection, pandas versions, rebuilds, and independent copies."""

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
from evalkit import EvalKit, EvalkitWarning, InvalidInputError
from evalkit.domain.commands import CreateStudy
from evalkit.domain.ids import StudyId, milliseconds, new_id
from evalkit.frames.checkpoint_pages import decode_page
from evalkit.frames.reader import FrameReader
from evalkit.frames.study_data import StudyData
from evalkit.frames.versions import View
from evalkit.samples import sample_checkpoints

DAY = datetime(2026, 1, 1, tzinfo=UTC)
FRAMES = ["studies", "checkpoints", "lifecycle", "rejected", "metrics", "measurements", "notes", "amendments"]
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


def test_columns_and_dtypes_are_golden(kit: EvalKit, tmp_path: Path) -> None:
    """All frames, in both libraries, with and without rows."""
    empty = evalkit.connect(tmp_path / "nothing")
    with pytest.warns(EvalkitWarning):
        empty.studies()
    dtypes: dict[str, Any] = {}
    for frame in (*FRAMES, "changes"):
        since = (DAY,) if frame == "changes" else ()
        full, none = getattr(kit, frame)(*since), getattr(empty, frame)(*since)
        assert full.schema == none.schema
        assert none.height == 0
        pandas, no_pandas = getattr(kit, frame)(*since, backend="pandas"), getattr(empty, frame)(*since, backend="pandas")
        assert pandas.dtypes.to_dict() == no_pandas.dtypes.to_dict()
        dtypes[frame] = {name: [str(dtype), str(pandas.dtypes[name])] for name, dtype in full.schema.items()}
    assert not (tmp_path / "nothing").exists()
    assert json.loads(GOLDEN.read_text()) == dtypes


def test_rows_have_a_fixed_order(kit: EvalKit) -> None:
    """Checkpoints by study (oldest first), timestamp, id; studies newest first."""
    frame = kit.checkpoints()
    assert frame["study"].to_list() == ["first"] * 5 + ["second"] * 3
    assert frame["timestamp"].to_list() == sorted(frame["timestamp"][:5]) + sorted(frame["timestamp"][5:])
    assert kit.studies()["name"].to_list() == ["second", "first"]
    assert kit.studies()["checkpoints"].to_list() == [3, 5]
    assert kit.studies()["last_period_end"].to_list() == [DAY + timedelta(days=3), DAY + timedelta(days=5)]
    assert kit.studies()["metadata"].to_list()[1] == [{"key": "b", "value": "1"}, {"key": "a", "value": "2"}]


def test_missing_and_zero_values_differ(kit: EvalKit) -> None:
    frame = kit.checkpoints("first")
    assert frame["total_tokens"].to_list() == [None, 1, 2, 3, 4]
    assert frame["session_success_rate"].to_list() == [0.0, 0.1, None, 0.3, 0.4]
    assert frame["total_cost"].null_count() == 5


def test_checkpoints_select_by_study_time_and_exclusion(kit: EvalKit) -> None:
    first = kit.storage.list_studies()[1]
    all_of_first = kit.checkpoints(first)
    for reference in (first, first.id, "first", first.id[-8:], ["first"], [first, first.id]):
        assert kit.checkpoints(reference).equals(all_of_first)
    assert kit.checkpoints(["first", "second"]).equals(kit.checkpoints())
    assert kit.checkpoints([]).height == 0
    day2, day4 = DAY + timedelta(days=2), DAY + timedelta(days=4)
    assert kit.checkpoints("first", start=day2, end=day4)["timestamp"].to_list() == [day2, DAY + timedelta(days=3)]
    assert kit.checkpoints("first", start=day2, end=day4, by="period")["period_start"].to_list() == [day2, DAY + timedelta(days=3)]
    out = kit.storage.get_checkpoints(first.id)[1]
    for reference in (out, out.id, out.id[-8:], [out]):
        assert out.id not in kit.checkpoints(exclude=reference)["checkpoint_id"].to_list()
        assert kit.checkpoints(exclude=reference).height == 7
    keyed = kit.record_checkpoint(first, {"period": (day2 + timedelta(days=9), day2 + timedelta(days=10))}, key="tenth")
    for study in (first, first.id, "first"):
        assert keyed.id not in kit.checkpoints(exclude=[(study, "tenth")])["checkpoint_id"]
        assert kit.checkpoints(exclude=[(study, "tenth"), out]).height == 7


def test_one_study_reads_the_same_before_and_after_all(kit: EvalKit) -> None:
    fresh = evalkit.connect(kit.engine.settings.home)
    before = fresh.checkpoints("first")
    assert before.equals(fresh.checkpoints().filter(pl.col("study") == "first"))
    assert before.equals(fresh.checkpoints("first"))


def test_pandas_frames_have_the_same_values(kit: EvalKit) -> None:
    for frame in FRAMES:
        polars, pandas = getattr(kit, frame)(), getattr(kit, frame)(backend="pandas")
        assert list(pandas.columns) == polars.columns
        for name in polars.columns:
            for value, other in zip(polars[name].to_list(), pandas[name].tolist(), strict=True):
                if value is None:
                    assert other is None or pd.isna(other)
                else:
                    assert value == other


@pytest.mark.parametrize("frame", FRAMES)
def test_frames_are_independent_copies(kit: EvalKit, frame: str) -> None:
    expected = getattr(kit, frame)().to_dicts()
    polars = getattr(kit, frame)()
    for column in polars.columns:
        if polars.height and polars[column].dtype == pl.String:
            polars[0, column] = "changed"
        elif polars.height and polars[column].dtype == pl.Int64:
            polars[0, column] = -1
    polars.insert_column(0, pl.Series("mine", [0] * polars.height))
    polars.drop_in_place(polars.columns[-1])
    pandas = getattr(kit, frame)(backend="pandas")
    for column in pandas.columns:
        if len(pandas) and str(pandas[column].dtype) in ("Int64", "Float64"):
            pandas.loc[0, column] = -1
            pandas[column].array._data[:] = -2
    del pandas[pandas.columns[0]]
    assert getattr(kit, frame)().to_dicts() == expected
    pd.testing.assert_frame_equal(getattr(kit, frame)(backend="pandas"), getattr(kit, frame)(backend="pandas"))


def test_frames_include_new_checkpoints_and_survive_rebuilds(kit: EvalKit) -> None:
    """Also after the commands of another process."""
    kit.checkpoints()
    other = evalkit.connect(kit.engine.settings.home)
    other.record_checkpoints("first", rows(4, first=5))
    assert kit.checkpoints().equals(evalkit.connect(kit.engine.settings.home).checkpoints())
    other.rebuild(on_progress=lambda done, total: None)
    assert kit.checkpoints().equals(evalkit.connect(kit.engine.settings.home).checkpoints())
    kit.record_checkpoints("second", rows(2, first=9))
    assert kit.checkpoints().equals(evalkit.connect(kit.engine.settings.home).checkpoints())
    assert kit.checkpoints().height == 14


def test_rebuild_between_pages_restarts_read(kit: EvalKit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalkit.frames.stored_pages._FILE_PAGE", (3, 24 << 20))
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
    assert len(pages) == 6  # one of the old generation, one that detects the new, three of it, an empty one


def test_storage_queries_return_models(kit: EvalKit) -> None:
    storage = kit.storage
    second, first = storage.list_studies()
    assert (second.name, first.name) == ("second", "first")
    assert storage.get_study(first.id) == first
    assert storage.get_study("no such id") is None
    assert storage.list_studies_by_status("running") == [second, first]
    assert storage.list_studies_by_status(evalkit.StudyStatus.PAUSED) == []
    checkpoints = storage.get_checkpoints(first.id)
    assert [checkpoint.timestamp for checkpoint in checkpoints] == [DAY + timedelta(days=day) for day in range(1, 6)]
    assert storage.get_latest_checkpoint(first.id) == checkpoints[-1]
    assert storage.get_latest_checkpoint("no such id") is None
    assert storage.get_checkpoints_in_range(first.id, DAY + timedelta(days=2), DAY + timedelta(days=4)) == checkpoints[1:3]


# --- order --------------------------------------------------------------------------------------------------------------------------


def test_models_and_frames_support_all_years(kit: EvalKit) -> None:
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


def test_equal_times_are_sorted_by_id(tmp_path: Path) -> None:
    """In frames, models and charts."""
    with evalkit.connect(tmp_path / "home") as kit:
        studies = [kit.create_study(name, at=DAY) for name in ("b", "a", "c")]
        study = kit.start_study(studies[0], at=DAY)
        for number in range(6):
            kit.record_checkpoint(study, rows(1)[0] | {"key": str(number), "total_tokens": number})
        by_id = sorted((study.id for study in studies), reverse=True)
        assert [study.id for study in kit.storage.list_studies()] == kit.studies()["study_id"].to_list() == by_id
        assert kit.lifecycle()["study_id"].unique(maintain_order=True).to_list() == by_id[::-1]
        models, frame = kit.storage.get_checkpoints(study.id), kit.checkpoints(study)
        tokens = [model.metrics.total_tokens for model in sorted(models, key=lambda model: model.id)]
        assert [model.metrics.total_tokens for model in models] == frame["total_tokens"].to_list() == tokens
        latest = kit.storage.get_latest_checkpoint(study.id)
        assert latest == models[-1]
        for shuffled in (frame, frame.reverse(), frame.sort("total_tokens"), kit.checkpoints(study, backend="pandas")[::-1]):
            assert StudyData(shuffled).sorted_checkpoints(["total_tokens"])["total_tokens"].to_list() == tokens
        assert StudyData(frame.drop("timestamp", "checkpoint_id")).sorted_checkpoints(["total_tokens"])["total_tokens"].to_list() == tokens
        odd = frame.with_columns(timestamp=pl.lit("unknown"))
        assert StudyData(odd).sorted_checkpoints(["total_tokens"])["total_tokens"].to_list() == tokens


def test_printed_frames_show_complete_ids(kit: EvalKit) -> None:
    study = kit.create_study("nightly")
    for frame in (kit.studies(), kit.lifecycle()):
        assert study.id in frame._repr_html_()
        assert "…" not in str(frame.select("study_id"))


def test_only_the_wanted_columns_are_read(kit: EvalKit, tmp_path: Path) -> None:
    """They equal those of the whole frame, in the wanted order, with corrections, selection and states."""
    study = kit.resolve("first")
    ids = kit.checkpoints()["checkpoint_id"].to_list()
    pin = kit.pin()
    kit.amend_checkpoint(ids[1], {"total_cost": 123.0}, reason="wrong price")
    kit.retract_checkpoint(ids[2], reason="broken run")
    columns = ["total_cost", "study", "period_end", "revision", "avg_session_duration", "collector"]
    whole = kit.checkpoints()
    third = whole["timestamp"][2]
    selections: list[dict[str, Any]] = [
        {}, {"study": study}, {"values": "first"}, {"as_of": pin}, {"start": third, "by": "period"}, {"exclude": [ids[0]]},
    ]  # fmt: skip
    for options in selections:
        expected = kit.checkpoints(**options).select(columns)
        with evalkit.connect(tmp_path / "home") as fresh:
            assert fresh.checkpoints(**options, columns=columns).equals(expected), options
            assert fresh.checkpoints(**options).select(columns).equals(expected)
        assert kit.checkpoints(**options, columns=columns).equals(expected)
    assert kit.checkpoints(columns=["total_cost"], backend="pandas").columns.tolist() == ["total_cost"]
    assert kit.checkpoints(columns=iter(["total_cost"])).columns == ["total_cost"]  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, 1, 3, 51])
def test_polars_and_model_decode_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr("evalkit.frames.checkpoint_pages._CHUNK", 20)
    kit = evalkit.connect(tmp_path / "another")
    study = kit.start_study(kit.create_study("agent", period="hourly"))
    rows = sample_checkpoints("hourly", "2026-01-05T00:00:00Z", count, seed=1)
    kit.record_checkpoints(study, [{**row, "avg_session_duration": None} if number == 0 else row for number, row in enumerate(rows)])
    frames = []
    for _ in range(2):
        reader = FrameReader(kit.engine.database)
        frames.append((reader.checkpoints([study.id], View(columns=("total_cost", "collector"))), reader.checkpoints()))
        kit.engine.database.batch([("UPDATE checkpoints SET regular = 0", ())])  # as with unusual JSON
    for by_polars, by_model in zip(*frames, strict=True):
        assert by_polars.equals(by_model)
        assert by_polars.schema == by_model.schema
    assert frames[0][1].height == count


def test_numbers_with_many_digits_are_read(kit: EvalKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Polars before 1.44 reads another number at this place of a text."""
    monkeypatch.setattr("evalkit.frames.checkpoint_pages._CHUNK", 3)
    start = '{"sessions_completed":12,"session_success_rate":0.66666666666666662966'
    rest = "substr(metrics, instr(metrics, ',\"avg_session_duration\"'))"
    kit.engine.database.batch([(f"UPDATE checkpoints SET metrics = '{start}' || {rest}", ())])
    assert FrameReader(kit.engine.database).checkpoints()["session_success_rate"].unique().to_list() == [2 / 3]


def test_a_short_read_has_two_pages(kit: EvalKit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalkit.frames.stored_pages._SHORTEST_PAGE", 2)
    pages: list[int] = []

    def decode(count: int, *rest: Any) -> pl.DataFrame:
        pages.append(count)
        return decode_page(count, *rest)

    monkeypatch.setattr("evalkit.frames.stored_pages.decode_page", decode)
    frame = FrameReader(kit.engine.database).checkpoints()
    assert frame.equals(kit.checkpoints())
    assert pages[:2] == [frame.height // 2] * 2


@pytest.mark.parametrize("columns", ["total_cost", [], ["total_cst"], [3], ["no_such"]])
@pytest.mark.filterwarnings("ignore:No evalkit home found:evalkit.EvalkitWarning")
def test_unknown_columns_are_refused(kit: EvalKit, tmp_path: Path, columns: Any) -> None:
    with pytest.raises(InvalidInputError):
        kit.checkpoints(columns=columns)
    with pytest.raises(InvalidInputError):
        evalkit.connect(tmp_path / "nothing").checkpoints(columns=columns)
