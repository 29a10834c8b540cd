"""Earlier states of the log: pins, times, first and latest versions, and caches that must not hide changes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot

import evalkit
from evalkit import EvalKit, Metric, Pin
from evalkit.domain.catalog import METRICS
from evalkit.domain.events import EncodedEvent
from evalkit.errors import EvalkitError, EvalkitWarning
from evalkit.eventlog.event_log import partition_of
from evalkit.frames.change_frames import amendments_frame, changes_frame, metrics_frame, notes_frame
from evalkit.frames.reader import FrameReader
from evalkit.frames.versions import View
from evalkit.readmodel.consumer import EvalProjectionConsumer
from evalkit.readmodel.history import LATEST, AsOf
from evalkit.readmodel.pins import PinnedPosition
from evalkit.readmodel.rebuild import rebuild
from tests.generators import Entry, eventful_histories
from tests.memory_log import InMemoryEventLog
from tests.properties import examples, in_long_form
from tests.test_fold_properties import expected_fold, read_models

FIRST = View("first")
pytestmark = pytest.mark.filterwarnings("ignore:The selected studies define:evalkit.EvalkitWarning")


def frames(reader: FrameReader, as_of: AsOf = None) -> dict[str, pl.DataFrame]:
    """Return every frame of a state of the log."""
    return {
        "studies": reader.studies(as_of, archived=True),
        "not archived": reader.studies(as_of),
        "lifecycle": reader.lifecycle(as_of, archived=True),
        "rejected": reader.rejected(as_of),
        "latest": reader.checkpoints(as_of=as_of, archived=True),
        "first": reader.checkpoints(None, FIRST, as_of, archived=True),
        "of studies that are not archived": reader.checkpoints(as_of=as_of),
        "metrics": reader.read(metrics_frame(None, archived=True), as_of=as_of)[0],
        "notes": reader.read(notes_frame(None, archived=True), as_of=as_of)[0],
        "amendments": reader.read(amendments_frame(None, archived=True), as_of=as_of)[0],
        "changes": reader.read(changes_frame(None, LATEST, archived=True), as_of=as_of)[0],
    }


def assert_equal(first: dict[str, pl.DataFrame], second: dict[str, pl.DataFrame], *names: str) -> None:
    for name in names or first:
        assert first[name].equals(second[name]), (name, first[name].to_dicts(), second[name].to_dicts())
        assert first[name].schema == second[name].schema, name


def placed(history: Sequence[Entry], partitions: int) -> InMemoryEventLog:
    log = InMemoryEventLog(partitions)
    for entry in history:
        log.place(partition_of(entry.study_id, partitions), entry.data)
    return log


# --- pins -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(eventful_histories(), st.sampled_from([1, 4]), st.data())
def test_frames_of_a_pin_are_those_of_the_prefix_of_the_log(history: list[Entry], partitions: int, data: st.DataObject) -> None:
    """Also when cached, and after a rebuild; later events change no frame of an earlier pin."""
    places = st.integers(0, len(history))
    prefixes = range(len(history) + 1) if in_long_form(True, False) else data.draw(st.lists(places, min_size=2, max_size=3, unique=True))
    log = InMemoryEventLog(partitions)
    with read_models() as make:
        database = make()
        consumer, reader = EvalProjectionConsumer(log, database), FrameReader(database)
        consumer.catch_up()
        pinned: dict[int, tuple[Pin, dict[str, pl.DataFrame]]] = {}
        for count in range(len(history) + 1):
            if count:
                log.place(partition_of(history[count - 1].study_id, partitions), history[count - 1].data)
            if count in prefixes:
                consumer.catch_up()
                pin = Pin(tuple(PinnedPosition(part.end, "") for part in log.ranges()))
                at_once = make()
                EvalProjectionConsumer(placed(history[:count], partitions), at_once).catch_up()
                expected = frames(FrameReader(at_once))
                assert_equal(frames(reader), expected)
                pinned[count] = pin, expected
        consumer.catch_up()
        for pin, expected in pinned.values():
            assert_equal(frames(reader, pin), expected)
        rebuild(database, log)
        for pin, expected in pinned.values():
            assert_equal(frames(reader, pin), expected)
            assert_equal(frames(FrameReader(database), pin), expected)


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(eventful_histories(), st.sampled_from([1, 4]), st.data())
def test_frames_of_a_time_are_those_of_the_events_before_the_first_later_one(
    history: list[Entry], partitions: int, data: st.DataObject
) -> None:
    """The events of each study up to the first that was written later, whatever the clocks say."""
    outcomes, _ = expected_fold(history)
    times = sorted({written(entry) for entry in history if entry.event is not None})
    moment = data.draw(st.sampled_from(times or ["2026-01-01T00:00:00.000000Z"]), label="moment")
    ended: set[str] = set()
    known = []
    for entry, outcome in zip(history, outcomes, strict=True):
        if entry.event is not None and outcome != "duplicate" and written(entry) > moment:
            ended.add(entry.study_id)
        if entry.study_id not in ended:
            known.append(entry)
    with read_models() as make:
        database, expected = make(), make()
        EvalProjectionConsumer(placed(history, partitions), database).catch_up()
        EvalProjectionConsumer(placed(known, partitions), expected).catch_up()
        at = frames(FrameReader(database), datetime.fromisoformat(moment))
        then = frames(FrameReader(expected))
        assert_equal(at, then, *(name for name in then if name != "rejected"))
        valid = pl.col("outcome") == "rejected"
        assert at["rejected"].filter(valid).equals(then["rejected"].filter(valid))


def written(entry: Entry) -> str:
    """Return the time of writing of an event, or that in its id."""
    assert entry.event is not None
    if entry.event["written_at"] is not None:
        return str(entry.event["written_at"])
    milliseconds = int(entry.event_id.replace("-", "")[:12], 16)
    return (datetime(1970, 1, 1) + timedelta(milliseconds=milliseconds)).isoformat(timespec="microseconds") + "Z"


# --- versions, against a reading of the reference fold's rows -----------------------------------------------------------------------------


def custom_in(value: object) -> dict[str, Any]:
    """Return the custom metrics of an event, or none when one is malformed."""
    if not isinstance(value, dict):
        return {}
    well_formed = all(
        re.fullmatch("[a-z][a-z0-9_]{0,62}", name) and name not in METRICS and type(number) in (int, float, type(None))
        and (number is None or (abs(number) <= 2**53 if type(number) is int else number == number and abs(number) != float("inf")))
        for name, number in value.items()
    )  # fmt: skip
    return value if well_formed else {}


def collector_in(value: object) -> str | None:
    if not isinstance(value, dict) or not isinstance(value.get("collector"), str):
        return None
    return value["collector"] if all(isinstance(model, str) for model in value.get("models", [])) else None


def comparable(name: str, value: Any) -> Any:
    if name == "avg_session_duration" and value is not None:
        value = min(value[0], (2**63 - 1) // 1_000_000 - 1) * 1_000_000 + value[1] // 1000
    return None if value is None else float(value)


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(eventful_histories())
def test_versions_and_custom_metrics_are_those_of_the_reference(history: list[Entry]) -> None:
    _, rows = expected_fold(history)
    changes = [(row[0], row[3], json.loads(row[5])) for row in rows["changes"]]
    kinds: dict[str, dict[str, str]] = {}
    for study_id, kind, body in changes:
        if kind == "metric_defined":
            kinds.setdefault(study_id, {})[body["metric"]["name"]] = body["metric"]["kind"]
    columns = list(dict.fromkeys(name for study in sorted_studies(rows) for name in kinds.get(study, {})))
    mixed = {name for name in columns if len({defined[name] for defined in kinds.values() if name in defined}) > 1}
    expected: dict[str, dict[tuple[str, str], dict[str, Any]]] = {"first": {}, "latest": {}}
    for study_id, checkpoint_id, _, _, text, analyzed, _, provenance, _ in rows["checkpoints"]:
        metrics = json.loads(text)
        values = {name: metrics.get(name) for name in METRICS} | custom_in(metrics.get("custom"))
        origin = None if provenance is None else collector_in(json.loads(provenance.replace("1e400", "1")))
        key, first = (study_id, checkpoint_id), {**values, "events_analyzed": analyzed, "collector": origin, "revision": 0}
        latest, retracted = dict(first), False
        for of_study, kind, body in changes:
            subject = str(body.get("checkpoint_id", "")).lower().strip("{}").removeprefix("urn:uuid:").replace("-", "")
            if of_study == study_id and subject == checkpoint_id.replace("-", ""):
                retracted |= kind == "checkpoint_retracted"
                if kind == "checkpoint_amended":
                    changed = {name: value for name, value in body["metrics"].items() if name in METRICS}
                    latest |= changed | custom_in(body["metrics"].get("custom")) | {"revision": latest["revision"] + 1}
                    latest["collector"] = collector_in(body.get("provenance")) or latest["collector"]
        expected["first"][key] = first
        if not retracted:
            expected["latest"][key] = latest
    with read_models() as make:
        database = make()
        EvalProjectionConsumer(placed(history, 1), database).catch_up()
        reader = FrameReader(database)
        for name, rows_of in expected.items():
            frame = reader.checkpoints(None, View(name), archived=True)  # type: ignore[arg-type]
            names = frame.columns[frame.columns.index("cost_per_successful_task") + 1 : frame.columns.index("events_analyzed")]
            assert names == columns
            shown = {
                (row["study_id"], row["checkpoint_id"]): row
                for row in frame.with_columns(pl.col("avg_session_duration").to_physical()).to_dicts()
            }
            assert shown.keys() == rows_of.keys()
            for key, values in rows_of.items():
                row = shown[key]
                assert (row["collector"], row["revision"]) == (values["collector"], values["revision"])
                for metric in METRICS:
                    value = row[metric] if metric == "avg_session_duration" else comparable("", row[metric])
                    assert value == comparable(metric, values[metric]), metric
                for metric in columns:
                    value = values.get(metric) if metric in kinds.get(key[0], {}) else None
                    is_fraction = value is not None and float(value) != int(value)
                    if is_fraction and metric not in mixed and kinds[key[0]][metric] == "count":
                        value = None
                    assert comparable("", row[metric]) == comparable("", value), metric


def sorted_studies(rows: dict[str, list[tuple[Any, ...]]]) -> list[str]:
    return [row[0] for row in sorted(rows["studies"], key=lambda row: (row[6], row[0]))]


@pytest.mark.slow
@settings(max_examples=examples(40))
@given(eventful_histories(), eventful_histories())
def test_first_versions_are_untouched_by_later_events_and_redelivery(history: list[Entry], later: list[Entry]) -> None:
    log = placed(history, 1)
    with read_models() as make:
        database = make()
        consumer, reader = EvalProjectionConsumer(log, database), FrameReader(database)
        consumer.catch_up()
        before = frames(reader)
        for entry in history:
            log.place(0, entry.data)
        consumer.catch_up()
        assert_equal(frames(reader), before)
        for entry in later:
            log.place(0, entry.data)
        consumer.catch_up()
        values = ["study_id", "checkpoint_id", *METRICS, "events_analyzed", "sessions_included", "collector"]
        keys = before["first"].select("study_id", "checkpoint_id")
        after = keys.join(frames(reader)["first"], on=keys.columns, how="left", maintain_order="left")
        assert after.select(values).sort(keys.columns).equals(before["first"].select(values).sort(keys.columns))


# --- a kit ------------------------------------------------------------------------------------------------------------------------------

DAY = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[EvalKit]:
    with evalkit.connect(tmp_path / "home") as kit:
        kit.start_study(kit.create_study("nightly", metrics=[Metric("refusals", kind="count", better="down")]))
        for day in range(3):
            values = {"period_start": DAY + timedelta(days=day), "total_cost": 10.0 + day, "refusals": day}
            kit.record_checkpoint("nightly", values, key=f"day-{day}", tz="UTC")
        yield kit


def test_cached_frames_of_a_second_kit_show_later_changes(kit: EvalKit) -> None:
    second = evalkit.connect(kit.engine.settings.home)
    assert second.checkpoints()["refusals"].to_list() == [0, 1, 2]
    kit.rename_study("nightly", "baseline")
    kit.define_metric("baseline", Metric("judge_score", kind="score", better="up", high=10))
    kit.amend_checkpoint(("baseline", "day-0"), {"total_cost": 1.5, "refusals": None, "judge_score": 7}, reason="recomputed")
    kit.retract_checkpoint(("baseline", "day-2"), reason="the machine was down")
    frame = second.checkpoints()
    assert frame.select("study", "total_cost", "refusals", "judge_score", "revision").rows() == [
        ("baseline", 1.5, None, 7.0, 1), ("baseline", 11.0, 1, None, 0),
    ]  # fmt: skip
    assert second.checkpoints("baseline").equals(frame)
    assert second.checkpoints(values="first")["total_cost"].to_list() == [10.0, 11.0, 12.0]
    assert second.studies().select("name", "checkpoints").rows() == [("baseline", 2)]
    kit.archive_study("baseline")
    assert second.checkpoints().is_empty()
    assert second.checkpoints(archived=True).equals(frame)
    assert second.checkpoints(second.resolve("baseline", archived=True)).equals(frame)
    assert second.data().checkpoints.is_empty()
    second.close()


def test_values_of_earlier_checkpoints_appear_when_a_metric_is_defined(kit: EvalKit) -> None:
    """Other programs may record a metric before it is defined."""
    assert "judge_score" not in kit.checkpoints().columns
    event = json.loads(kit.engine.log.consumer("eval-projection").poll(100, 1)[-1].data)
    event["event_id"] = event["event_id"][:-4] + "ffff"
    event["event"]["id"] = event["event_id"]
    event["event"]["metrics"]["custom"]["judge_score"] = 8
    kit.engine.log.append([EncodedEvent(event["event"]["study_id"], event["event_id"], json.dumps(event).encode())])
    assert "judge_score" not in kit.checkpoints().columns
    kit.define_metric("nightly", Metric("judge_score", kind="score", better="up"))
    assert kit.checkpoints()["judge_score"].drop_nulls().to_list() == [8.0]


def test_pins_survive_saving_and_rebuild_and_belong_to_their_log(kit: EvalKit, tmp_path: Path) -> None:
    pin = kit.pin(digest=True)
    before = kit.checkpoints()
    assert pin.digest == kit.verify().digest
    assert Pin.load(pin.save(tmp_path / "paper.pin.json")) == pin
    assert Pin.parse(str(pin)).positions == pin.positions
    kit.amend_checkpoint(("nightly", "day-1"), {"total_cost": None}, reason="not measured")
    kit.rebuild(on_progress=lambda done, total: None)
    assert kit.checkpoints(as_of=pin).equals(kit.checkpoints(as_of=f" {pin} "))
    assert kit.checkpoints(as_of=pin).equals(before)
    assert kit.data(as_of=pin).checkpoints.equals(before)
    assert kit.changes(pin).select("kind", "description", "reason").rows() == [
        ("checkpoint_amended", "total_cost = None", "not measured"),
    ]  # fmt: skip
    assert kit.changes(pin, pin).is_empty()
    other = evalkit.connect(tmp_path / "other")
    for name in "abcdefgh":
        other.create_study(name)
    with pytest.raises(evalkit.LogMismatchError) as caught:
        other.checkpoints(as_of=pin)
    assert str(caught.value) == snapshot(
        "Invalid as_of: this is the pin of another log: event 6 differs. A pin belongs to its log; after log export and log import, make "
        "a new one with kit.pin()."
    )


def test_times_select_what_was_written_and_show_names_of_then(kit: EvalKit) -> None:
    """``at=`` may date an event back; what counts is when it was written."""
    kit.record_checkpoint("nightly", {"period_start": DAY + timedelta(days=3), "total_cost": 1}, at="2020-01-01T00:00:00Z", tz="UTC")
    now = datetime.now(UTC)
    kit.rename_study("nightly", "renamed")
    assert kit.checkpoints(as_of=now)["study"].to_list() == ["nightly"] * 4
    assert kit.checkpoints(as_of=DAY).is_empty()
    assert kit.studies(as_of="2020-06-01T00:00:00Z").is_empty()
    assert kit.studies(as_of=now)["name"].to_list() == ["nightly"]
    assert kit.lifecycle(as_of=now)["study"].unique().to_list() == ["nightly"]


def test_names_are_those_of_the_state(kit: EvalKit) -> None:
    first, pin = kit.resolve("nightly"), kit.pin()
    kit.rename_study("nightly", "renamed")
    kit.start_study(kit.create_study("nightly"))
    assert kit.checkpoints("nightly").is_empty()
    assert kit.checkpoints("nightly", as_of=pin)["study_id"].unique().to_list() == [first.id]
    assert kit.data("nightly", as_of=pin).names[0].id == first.id
    assert kit.checkpoints("renamed", as_of=pin).equals(kit.checkpoints(first, as_of=pin))
    kit.archive_study("renamed")
    assert kit.checkpoints("renamed", archived=True).height == 3


def test_refused_definitions_create_no_study(kit: EvalKit) -> None:
    pin = kit.pin()
    with pytest.raises(evalkit.InvalidInputError, match="denominator"):
        kit.create_study("orphan", metrics=[Metric("q", kind="rate", better="up", denominator="nope")])
    assert kit.pin() == pin
    metric = Metric("refusal_share", kind="rate", better="down", denominator="refusals")
    assert kit.create_study("nightly", metrics=[metric], if_exists="open") == kit.resolve("nightly")


def test_amended_provenance_is_listed(kit: EvalKit) -> None:
    pin = kit.pin()
    kit.amend_checkpoint(("nightly", "day-0"), provenance={"collector": "inspect"}, reason="origin")
    assert kit.amendments().select("revision", "metric", "old", "new").rows() == [(1, "provenance", None, None)]
    assert kit.changes(pin)["description"].to_list() == ["collector inspect"]
    assert "revision 1: collector inspect; reason: 'origin'" in str(kit.explain(("nightly", "day-0")))


def test_edits_of_metadata_change_only_the_passed_keys(kit: EvalKit) -> None:
    """So that another process that edits other keys at once does not lose its edit."""
    kit.edit_study("nightly", metadata={"model": "m-1", "prompt": "p"})
    kit.edit_study("nightly", metadata={"model": "m-2"})
    event = json.loads(kit.engine.log.consumer("eval-projection").poll(100, 1)[-1].data)
    assert event["event"]["metadata"] == {"model": "m-2"}
    study = kit.edit_study("nightly", metadata={"prompt": None})
    assert study.config.metadata == {"model": "m-2"}
    assert kit.verify().ok


def test_long_frame_has_the_measured_values_with_their_denominators(kit: EvalKit) -> None:
    rate = Metric("refusal_rate", kind="rate", better="down", denominator="sessions_completed")
    kit.define_metric("nightly", rate)
    kit.record_checkpoint("nightly", {"period_start": DAY + timedelta(days=3), "refusal_rate": 0.25, "sessions_completed": 8}, tz="UTC")
    long = kit.measurements("nightly")
    assert long.tail(2).select("metric", "value", "count", "better").rows() == [
        ("sessions_completed", 8.0, None, "neither"), ("refusal_rate", 0.25, 8, "down"),
    ]  # fmt: skip
    wide = kit.checkpoints("nightly")
    for name in ("total_cost", "refusals", "refusal_rate"):
        values = long.filter(metric=name).select("checkpoint_id", "value").rows()
        assert values == [row for row in wide.select("checkpoint_id", name).rows() if row[1] is not None]


def test_studies_that_define_a_metric_differently_share_a_plain_column(kit: EvalKit) -> None:
    kit.start_study(kit.create_study("other", metrics=[Metric("refusals", kind="duration", better="down")]))
    kit.record_checkpoint("other", {"period_start": DAY, "refusals": 1.5}, tz="UTC")
    with pytest.warns(EvalkitWarning, match="define 'refusals' with different kinds"):
        frame = kit.checkpoints()
    assert frame["refusals"].to_list() == [0.0, 1.0, 2.0, 1.5]
    assert kit.checkpoints("other")["refusals"].to_list() == [timedelta(seconds=1.5)]
    data = kit.data()
    with pytest.raises(evalkit.InvalidInputError) as caught:
        data.metric("refusals")
    assert str(caught.value) == snapshot(
        "Invalid metric 'refusals': studies 'nightly' and 'other' define it differently: kind is 'count', not 'duration'; unit is '', not 's'; rollup is 'sum', not 'none'. Select one of the studies."
    )
    assert kit.data("other").metric("refusals").kind == "duration"  # type: ignore[union-attr]
    assert data.of("nightly").metric("refusals").kind == "count"  # type: ignore[union-attr]
    assert "refusals" not in kit.checkpoints(custom=False).columns


@pytest.mark.parametrize(
    ("as_of", "message"),
    [
        (
            "pin:x",
            snapshot(
                "Invalid pin 'pin:x': expected the text of a pin: pin:EVENTS@SHA256, one pair for each partition. Make a pin with kit.pin()."
            ),
        ),
        (
            "pin:1@",
            snapshot(
                "Invalid pin 'pin:1@': a partition with events has a SHA-256, one without events has none. Make a pin with kit.pin()."
            ),
        ),
        (
            "yesterday",
            snapshot(
                "Invalid as_of 'yesterday': not an ISO 8601 time; expected e.g. '2026-01-31T00:00:00Z'. A pin is accepted too: its text begins with 'pin:'."
            ),
        ),
        (
            "2026-01-01T00:00:00",
            snapshot(
                "Invalid as_of '2026-01-01T00:00:00': no time zone; expected e.g. '2026-01-31T00:00:00Z'. A pin is accepted too: its text begins with 'pin:'."
            ),
        ),
        (5, snapshot('Invalid as_of 5: expected a pin of kit.pin(), or a time with a time zone; e.g. "2026-11-01T00:00:00Z".')),
        (
            "pin:900@" + "a" * 64,
            snapshot(
                "Invalid as_of: the pin has 900 events, but this log has only 6. A pin belongs to its log; after log export and log import, make a new one with kit.pin()."
            ),
        ),
        (
            "pin:2@" + "a" * 64,
            snapshot(
                "Invalid as_of: this is the pin of another log: event 2 differs. A pin belongs to its log; after log export and log import, make a new one with kit.pin()."
            ),
        ),
        (
            "pin:0@,0@",
            snapshot(
                "Invalid as_of: the pin has 2 partitions, this log has 1. A pin belongs to its log; after log export and log import, make a new one with kit.pin()."
            ),
        ),
    ],
)
def test_invalid_states_are_refused(kit: EvalKit, as_of: Any, message: str) -> None:
    for query in (kit.checkpoints, kit.studies, kit.lifecycle, kit.rejected, kit.metrics, kit.notes, kit.amendments, kit.data):
        with pytest.raises(EvalkitError) as caught:
            query(as_of=as_of)
        assert str(caught.value) == message


def test_explanation_names_event_position_origin_and_versions(kit: EvalKit) -> None:
    made = kit.amend_checkpoint(
        ("nightly", "day-1"), {"total_cost": 2}, reason="new prices", author="ada",
        provenance={"collector": "inspect", "version": "0.3", "sources": [{"name": "a.eval"}], "models": ["m-1"]},
    )  # fmt: skip
    kit.retract_checkpoint(made, reason="the machine was down")
    pin = kit.pin()
    explained = kit.explain(("nightly", "day-1"))
    assert json.loads(explained.event)["event_id"] == explained.event_id  # type: ignore[arg-type]
    assert explained.position.offset == 4
    assert [(version.revision, version.changes, version.author) for version in explained.versions] == [
        (1, {"total_cost": 2.0}, "ada"), (None, {}, None),
    ]  # fmt: skip
    assert [version.position.offset for version in explained.versions] == [6, 7]
    assert explained.written_at is not None
    assert explained.written_at <= explained.versions[0].written_at <= datetime.now(UTC)  # type: ignore[operator]
    text = re.sub(r"[0-9a-f-]{36}", "ID", re.sub(r"2026-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", str(explained)))
    assert text == snapshot("""\
Checkpoint([2026-01-02 00:00 .. 2026-01-03 00:00) UTC, 1 of 16 metrics, 1 custom, revision 1, retracted) of study 'nightly'
  id         ID
  recorded   TIME UTC, written TIME UTC
  event      ID, partition 0, offset 4
  provenance inspect 0.3; sources: a.eval; models: m-1
  revision 1: total_cost = 2.0; collector inspect; reason: 'new prices' by 'ada', written TIME UTC, partition 0, offset 6
  retracted; reason: 'the machine was down', written TIME UTC, partition 0, offset 7\
""")
    assert kit.pin() == pin
    read_only = evalkit.connect(kit.engine.settings.home, read_only=True)
    with pytest.warns(EvalkitWarning):
        assert str(read_only.explain(made)) == str(explained)
    with pytest.raises(evalkit.InvalidInputError) as caught:
        kit.explain(("nightly", "day-9"))
    assert str(caught.value) == snapshot(
        "Invalid checkpoint ('nightly', 'day-9'): study 'nightly' has no checkpoint with the key 'day-9'. Find ids with kit.checkpoints(study)."
    )


def test_pin_of_an_empty_home(tmp_path: Path) -> None:
    kit = evalkit.connect(tmp_path / "home")
    with pytest.warns(EvalkitWarning):
        pin = kit.pin()
    assert str(pin) == "pin:0@"
    assert not (tmp_path / "home").exists()
    kit.create_study("first")
    assert kit.studies(as_of=pin).is_empty()
    assert kit.studies(as_of=kit.pin()).height == 1


@pytest.mark.filterwarnings("ignore:No evalkit home")
def test_the_pin_of_another_log_is_refused_in_an_empty_home(tmp_path: Path) -> None:
    with evalkit.connect(tmp_path / "home") as kit:
        kit.create_study("nightly")
        pin = kit.pin()
    with evalkit.connect(tmp_path / "mistyped") as empty:
        for call in (empty.checkpoints, empty.studies, empty.lifecycle, empty.rejected, empty.notes, empty.measurements, empty.data):
            with pytest.raises(evalkit.LogMismatchError, match="the pin has 1 event, but this log has only 0"):
                call(as_of=pin)
        assert empty.checkpoints(as_of="2026-01-01T00:00:00Z").is_empty()
        with pytest.raises(evalkit.InvalidInputError, match="time zone"):
            empty.checkpoints(as_of="2026-01-01")
    assert not (tmp_path / "mistyped").exists()
