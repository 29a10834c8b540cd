"""Events for other programs: what evalkit writes of the six original kinds, and ``log export --seed-kinds``."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import evalkit
from evalkit.domain.catalog import METRICS
from evalkit.domain.codec import decode
from evalkit.domain.events import KINDS, SEED_KINDS, EncodedEvent, StoredEvalEvent
from evalkit.domain.ids import event_id_at
from evalkit.io.log_files import LogExport, export_log, import_log
from evalkit.readmodel.replay import replayed
from evalkit.runtime.engine import Engine
from evalkit.settings import Settings
from tests.generators import Entry, histories
from tests.memory_log import InMemoryEventLog
from tests.properties import enough_examples, examples
from tests.rust_reader import rust_reads
from tests.test_wire import EXAMPLES_BY_KIND, METRIC_VALUES, OTHER, STUDY, VALID, wire

REAL = (Path(__file__).parent / "data" / "wire_events.ndjson").read_bytes()
WEEK = {"period": ("2026-01-05T00:00:00Z", "2026-01-12T00:00:00Z")}
FULL = {**WEEK, "avg_session_duration": 1.5} | {name: 1 for name, metric in METRICS.items() if metric.kind != "duration"}
COMPLETE = METRIC_VALUES | {name: 0.5 for name, value in METRIC_VALUES.items() if value is None}
PROVENANCE = {"collector": "inspect", "models": ["m-1"], "sources": [{"name": "a.eval", "sha256": "0" * 64}]}


def seed_export(log: InMemoryEventLog, folder: Path) -> tuple[list[bytes], LogExport]:
    """Export a log for other programs, and check that they read every line."""
    engine = Engine(Settings.resolve(folder))
    engine.log = log
    stream = io.BytesIO()
    done = export_log(engine, stream, seed_kinds=True)
    lines = stream.getvalue().splitlines()
    for line in lines:
        rust_reads(line)
    assert done.exported == len(lines)
    assert done.exported + sum(done.left_out.values()) + done.not_json + done.without_event_id == sum(part.end for part in log.ranges())
    return lines, done


def log_of(events: Sequence[bytes]) -> InMemoryEventLog:
    log = InMemoryEventLog()
    for event in events:
        log.place(0, event)
    return log


def test_the_reader_reads_the_real_events() -> None:
    """The Rust program wrote them."""
    assert [rust_reads(line).event.type for line in REAL.splitlines()] == [json.loads(line)["event"]["type"] for line in REAL.splitlines()]


@pytest.mark.parametrize(
    "line",
    [
        *(wire(kind) for kind in KINDS if kind not in SEED_KINDS), wire("study_started", type="study_merged"),
        *(wire(metrics=COMPLETE, drop=f"metrics.{name}") for name in METRICS), wire(metrics={**COMPLETE, "total_cost": None}),
        *(wire(metrics=COMPLETE, raw={f"metrics.{name}": text}) for name, text in (
            ("total_tokens", "5.0"), ("total_tokens", "-1"), ("total_tokens", "-0"), ("total_tokens", "18446744073709551616"),
            ("total_cost", '"1"'), ("total_cost", "1e999"), ("x", "1e999"), ("avg_session_duration", "[1,1000000000]"),
            ("avg_session_duration", "[1]"), ("avg_session_duration", "1.5"), ("custom", "[" * 125 + "]" * 125),
        )),
        wire(metrics=COMPLETE, drop="events_analyzed"), wire(metrics=COMPLETE).replace(b'"total_cost":', b'"total_cost":1,"total_cost":'),
    ],
)  # fmt: skip
def test_the_reader_is_strict(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (of pydantic, json or the reader)
        rust_reads(line)


def rich_kit(home: Path) -> evalkit.EvalKit:
    """A kit with events of all kinds: complete, incomplete, amended and retracted checkpoints with custom metrics and provenance."""
    kit = evalkit.connect(home)
    kit.create_study(
        "one", metrics=[evalkit.Metric("refusal_rate", kind="rate", better="down")], tags=["a"], metadata={"k": "v"}, description="d"
    )
    kit.create_study("two", period="weekly:2")
    for command in (kit.start_study, kit.pause_study, kit.resume_study):
        command("one")
    custom = {"refusal_rate": 0.25}
    recorded = [
        kit.record_checkpoint("one", values, key=f"{number}", provenance=PROVENANCE)
        for number, values in enumerate([{**FULL, **custom}, {**WEEK, **custom}, FULL, {**FULL, **custom}])
    ]
    kit.stop_study("one")
    for kind in KINDS:
        if kind not in SEED_KINDS:
            event: dict[str, Any] = {**EXAMPLES_BY_KIND[kind]}
            event["study_id" if "study_id" in event else "id"] = recorded[0].study_id
            if "checkpoint_id" in event:
                event["checkpoint_id"] = recorded[3 if kind == "checkpoint_retracted" else 2].id
            append(kit, event)
    assert {kind for (kind,) in kit.engine.database.execute("SELECT kind FROM changes")} == {*KINDS} - {*SEED_KINDS}
    return kit


def append(kit: evalkit.EvalKit, event: dict[str, Any]) -> None:
    stored = StoredEvalEvent.model_validate_json(json.dumps({"event_id": event_id_at(1_767_225_600_000), "event": event}))
    kit.engine.log.append([stored.encoded("2026-01-31T08:00:00.000000Z")])
    kit.studies()


@pytest.mark.filterwarnings("ignore::evalkit.EvalkitWarning")  # periods are recorded twice
def test_events_with_custom_metrics_provenance_and_time_of_writing_are_read(tmp_path: Path) -> None:
    """The Rust program reads all complete events of the six kinds, with the values that were recorded."""
    with rich_kit(tmp_path / "home") as kit:
        events = [record.data for record in kit.engine.log.consumer("test").poll(1000, 0)]
        stored = [StoredEvalEvent.from_wire(event) for event in events]
        seen = set()
        for event, data in zip(stored, events, strict=True):
            assert event.written_at is not None
            if event.event.type not in SEED_KINDS or (event.event.type == "checkpoint_recorded" and event.event.metrics.total_cost is None):
                continue
            read = rust_reads(data)
            assert (read.event_id, read.event.type) == (event.event_id, event.event.type)
            seen.add(read.event.type)
            if event.event.type == "checkpoint_recorded":
                assert read.event.type == "checkpoint_recorded"
                values = read.event.metrics.model_dump()
                assert {name: values[name] for name in METRICS if name != "avg_session_duration"} == {
                    name: getattr(event.event.metrics, name) for name in METRICS if name != "avg_session_duration"
                }
                assert values["avg_session_duration"] == (1, 500_000_000)
                seen |= {"custom" if event.event.metrics.custom else "", "provenance" if event.event.provenance else ""}
        assert seen >= {*SEED_KINDS, "custom", "provenance"}


@pytest.mark.filterwarnings("ignore::evalkit.EvalkitWarning")
def test_seed_kinds_of_a_home_with_all_kinds(tmp_path: Path) -> None:
    """Amended checkpoints are exported as first recorded; what other programs cannot read is counted; the export can be imported."""
    with rich_kit(tmp_path / "home") as kit:
        stream = io.BytesIO()
        done = export_log(kit.engine, stream, seed_kinds=True)
        kept = [data for (data,) in kit.engine.log._rows('SELECT data FROM events ORDER BY "offset"')]  # type: ignore[attr-defined]
    lines = stream.getvalue().splitlines()
    assert done == LogExport(8, 0, 0, 0, {"other_kind": 9, "missing_metrics": 1, "retracted": 1})
    assert [rust_reads(line).event.type for line in lines] == [
        "study_created", "study_created", "study_started", "study_paused", "study_resumed", *["checkpoint_recorded"] * 2, "study_stopped",
    ]  # fmt: skip
    assert [data for data in kept if data in lines] == lines
    with evalkit.connect(tmp_path / "other") as other:
        assert import_log(other.engine, io.BytesIO(stream.getvalue())).appended == 8
        assert other.checkpoints()["total_cost"].to_list() == [1.0, 1.0]


def test_seed_kinds_of_the_real_events_are_all_events(tmp_path: Path) -> None:
    lines, done = seed_export(log_of(REAL.splitlines()), tmp_path)
    assert lines == REAL.splitlines()
    assert done == LogExport(43, 0, 0, 0)


def test_seed_kinds_of_unusual_events(tmp_path: Path) -> None:
    """Only events with JSON that parsers read differently are left out; all other valid events are complete or counted as incomplete."""
    lines, done = seed_export(log_of([*VALID.values()]), tmp_path)
    assert done.left_out.keys() == {"not_portable", "missing_metrics"}
    assert len(lines) + done.left_out["missing_metrics"] > 10


def test_other_events_with_the_id_of_a_left_out_checkpoint_are_left_out(tmp_path: Path) -> None:
    """They had no effect, but would have one where the first is missing; a checkpoint that was itself without effect does not count."""

    def recorded(metrics: dict[str, Any], checkpoint_id: str, number: int) -> bytes:
        return wire(metrics=metrics, id=checkpoint_id, event_id=event_id_at(10**12 + number))

    incomplete, another = {"period": METRIC_VALUES["period"]}, OTHER[:-1] + "0"
    before_the_study = recorded(incomplete, another, 0)
    created = wire("study_created", event_id=event_id_at(10**12 + 1))
    first, second, third = recorded(incomplete, OTHER, 2), recorded(COMPLETE, OTHER, 3), recorded(COMPLETE, another, 4)
    lines, done = seed_export(log_of([before_the_study, created, first, second, third]), tmp_path)
    assert lines == [created, third]
    assert done.left_out == {"missing_metrics": 3}
    assert decode(created).study_id == STUDY


def is_complete(metrics: str) -> bool:
    values = json.loads(metrics)
    return all(values.get(name) is not None for name in METRICS)


@pytest.mark.slow
def test_seed_kinds_of_any_log_are_readable(tmp_path: Path) -> None:
    """With 1 and 4 partitions; only checkpoints that are complete and not retracted are in the export, and all of these."""
    reasons: set[str] = set()

    @settings(max_examples=examples(80))
    @given(histories(max_size=14), st.sampled_from([1, 4]))
    def check(history: list[Entry], partitions: int) -> None:
        log = InMemoryEventLog(partitions)
        for entry in history:
            log.append([EncodedEvent(entry.study_id, entry.event_id, entry.data)])
        lines, done = seed_export(log, tmp_path)
        reasons.update(done.left_out)
        with replayed(log) as database:
            retracted = set(database.execute("SELECT study_id, subject FROM changes WHERE kind = 'checkpoint_retracted'"))
            recorded = {
                (study, subject): text for study, subject, text in database.execute("SELECT study_id, id, metrics FROM checkpoints")
            }
        usable = {key for key, text in recorded.items() if key not in retracted and is_complete(text)}
        exported = {(event.study_id, event.subject) for line in lines if (event := decode(line)).kind == "checkpoint_recorded"}
        assert not exported & (recorded.keys() - usable)
        assert "not_portable" in done.left_out or usable <= exported

    check()
    if enough_examples():
        assert reasons == {"other_kind", "retracted", "missing_metrics", "not_portable", "invalid"}
