"""Properties of the fold: live, catch-up and rebuild produce the rows of the reference fold for any history."""

from __future__ import annotations

import re
import tempfile
import threading
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import evalkit
from evalkit.domain.catalog import METRICS
from evalkit.domain.events import EncodedEvent, StoredEvalEvent
from evalkit.domain.ids import keyed_checkpoint_id, time_of_event
from evalkit.domain.study import COMMANDS as LIFECYCLE_COMMANDS
from evalkit.domain.study import commands_allowed
from evalkit.errors import EvalkitError
from evalkit.eventlog.event_log import EventLog, LogPosition, partition_of
from evalkit.eventlog.sqlite_log import SqliteEventLog
from evalkit.frames.reader import FrameReader
from evalkit.readmodel.consumer import EvalProjectionConsumer
from evalkit.readmodel.database.database import Database
from evalkit.readmodel.database.sqlite_database import SqliteDatabase
from evalkit.readmodel.fold import Decision, Outcome, Reason
from evalkit.readmodel.rebuild import rebuild
from evalkit.readmodel.repository import EvalStorage
from evalkit.readmodel.snapshot import Snapshot
from evalkit.readmodel.verify import digest, verify
from tests.generators import (
    CHECKPOINTS,
    STUDIES,
    Entry,
    checkpoint,
    created,
    entries,
    histories,
    invalid,
    lifecycle,
    metric_texts,
    parsed,
)  # fmt: skip
from tests.memory_log import InMemoryEventLog
from tests.properties import enough_examples, examples
from tests.reference_fold import fold

REAL = (Path(__file__).parent / "data" / "wire_events.ndjson").read_bytes().splitlines()
ROWS = {
    "studies": "SELECT id, name, status, period_type, period_value, config, created_at, started_at, stopped_at, archived FROM studies "
    "ORDER BY id",
    "checkpoints": "SELECT study_id, id, event_id, timestamp, metrics, events_analyzed, sessions_included, provenance, written_at "
    "FROM checkpoints "
    "ORDER BY study_id, id",
    "lifecycle": "SELECT study_id, seq, event_id, kind, written_at FROM lifecycle ORDER BY study_id, seq",
    "changes": "SELECT study_id, seq, event_id, kind, subject, body, written_at FROM changes ORDER BY study_id, seq",
    "rejected": "SELECT study_id, event_id, reason, written_at FROM rejected ORDER BY study_id, event_id, reason",
    "quarantined": "SELECT study_id, key FROM quarantined ORDER BY study_id, key",
}
REASONS = {reason.value for reason in Reason}


class Everything:
    """A container of everything."""

    def __contains__(self, item: object) -> bool:
        return True


@contextmanager
def read_models() -> Iterator[Any]:
    """Return a function that creates empty, temporary read models."""
    made: list[SqliteDatabase] = []
    with tempfile.TemporaryDirectory() as folder:

        def make() -> SqliteDatabase:
            made.append(SqliteDatabase(Path(folder) / f"{len(made)}.db"))
            return made[-1]

        try:
            yield make
        finally:
            for database in made:
                database.close()


def rows(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    return {table: database.execute(sql) for table, sql in ROWS.items()}


def expected_fold(history: Sequence[Entry], right: Sequence[bool] | None = None) -> tuple[list[str], dict[str, list[tuple[Any, ...]]]]:
    """Return the reference's outcomes and rows of a history; by default every event is in its right partition."""
    places = right or [True] * len(history)
    return fold([(place, entry.study_id, entry.event_id, entry.event) for place, entry in zip(places, history, strict=True)])


def logged(history: Sequence[Entry]) -> InMemoryEventLog:
    log = InMemoryEventLog()
    for entry in history:
        log.place(0, entry.data)
    return log


def outcome_name(decision: Decision) -> str:
    return str(decision.reason or decision.outcome)


def caught_up(database: Database, log: EventLog, batch_size: int = 1000) -> str:
    """Return the digest of a read model that was brought up to date in batches."""
    EvalProjectionConsumer(log, database, batch_size=batch_size).catch_up()
    return digest(Snapshot(database))


# --- live, caught up, rebuilt, reference ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_live_catch_up_and_rebuild_match_reference() -> None:
    """For any log: the same decision for each event, and the same rows."""
    seen: Counter[str] = Counter()

    @settings(max_examples=examples(80))
    @given(histories(), st.data())
    def check(history: list[Entry], data: st.DataObject) -> None:
        outcomes, expected = expected_fold(history)
        log = InMemoryEventLog()
        with read_models() as make:
            live = make()
            consumer = EvalProjectionConsumer(log, live)
            for entry, outcome in zip(history, outcomes, strict=True):
                log.place(0, entry.data)
                decided = consumer.catch_up(Everything())
                assert {key: outcome_name(decision) for key, decision in decided.items()} == {(entry.study_id, entry.event_id): outcome}
            assert rows(live) == expected
            expected_digest = digest(Snapshot(live))
            at_once = make()
            assert caught_up(at_once, log, data.draw(st.integers(1, len(history)), label="batch size")) == expected_digest
            assert rows(at_once) == expected
            assert rebuild(at_once, log).generation == 2
            assert rows(at_once) == expected
            assert digest(Snapshot(at_once)) == expected_digest
            checked = verify(live, log, expect=expected_digest)
            assert checked.ok, checked
        count(seen, history, outcomes)

    check()
    assert_all_cases_occurred(seen)


def count(seen: Counter[str], history: Sequence[Entry], outcomes: Sequence[str]) -> None:
    """Count the outcomes of a history, repeats of each, and shared ids."""
    first: dict[tuple[str, str], tuple[str, bytes]] = {}
    for entry, outcome in zip(history, outcomes, strict=True):
        seen[outcome] += 1
        before = first.setdefault((entry.study_id, entry.event_id), (outcome, entry.data))
        if outcome == "duplicate":
            seen[f"{before[0]}, again"] += 1
            seen["other content under a decided event id"] += before[1] != entry.data
    applied = [entry for entry, outcome in zip(history, outcomes, strict=True) if outcome == "applied" and entry.event]
    for what, key in (("event id", lambda entry: entry.event_id), ("checkpoint id", lambda entry: entry.event.get("id"))):
        owners = {(key(entry), entry.study_id) for entry in applied if key(entry)}
        seen[f"the same {what} applied in two studies"] += len(owners) - len({shared for shared, _ in owners})
    seen["a time before the last one applied"] += any(first.event_id > second.event_id for first, second in pairwise(applied))
    seen["a quarantined event with its study"] += any(entry.event is None and entry.study_id for entry in history)


def assert_all_cases_occurred(seen: Counter[str]) -> None:
    outcomes = {"applied", "quarantined", *REASONS} - {"wrong partition"}
    expected = {
        *outcomes, *(f"{outcome}, again" for outcome in outcomes), "duplicate", "other content under a decided event id",
        "the same event id applied in two studies", "the same checkpoint id applied in two studies", "a time before the last one applied",
        "a quarantined event with its study",
    }  # fmt: skip
    if enough_examples():
        assert {what for what in expected if seen[what] == 0} == set(), seen


def test_histories_cover_all_outcomes_and_reasons() -> None:
    assert [outcome.value for outcome in Outcome] == ["applied", "duplicate", "rejected", "quarantined"]
    named = {
        "unknown study", "study id taken", "transition not allowed", "checkpoint id taken", "wrong partition", "metric defined differently",
        "unknown checkpoint", "amended meanwhile", "checkpoint retracted", "note id taken",
    }  # fmt: skip
    assert named == REASONS


# --- redelivery ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=examples(30))
@given(histories(max_size=12), st.data())
def test_redelivery_has_no_effect(history: list[Entry], data: st.DataObject) -> None:
    """In the process that applied the events and in another one."""
    log = logged(history)
    with read_models() as make:
        database = make()
        consumer = EvalProjectionConsumer(log, database, batch_size=data.draw(st.integers(1, 5), label="batch size"))
        consumer.catch_up()
        before, expected_digest = rows(database), digest(Snapshot(database))
        for _ in range(2):
            start = data.draw(st.integers(0, len(history) - 1), label="from")
            for entry in history[start : data.draw(st.integers(start + 1, len(history)), label="to")]:
                log.place(0, entry.data)
            decided = consumer.catch_up(Everything())
            assert {decision.outcome for decision in decided.values()} == {Outcome.DUPLICATE}
            assert (rows(database), digest(Snapshot(database))) == (before, expected_digest)
            consumer.restart()
        assert caught_up(make(), log) == expected_digest


def step(consumer: EvalProjectionConsumer) -> None:
    """Apply one batch with a consumer, as if another process took the next one."""
    stop = threading.Event()
    consumer.catch_up(stop=stop, on_batch=lambda _: stop.set())


def test_consumers_with_stale_state_end_with_the_rows_of_one() -> None:
    conflicts = 0

    @settings(max_examples=examples(30))
    @given(histories(max_size=12), st.lists(st.integers(0, 1), min_size=1, max_size=12), st.integers(1, 3))
    def check(history: list[Entry], turns: list[int], batch_size: int) -> None:
        nonlocal conflicts
        log = InMemoryEventLog()
        with read_models() as make:
            database = make()
            both = [EvalProjectionConsumer(log, database, batch_size=batch_size) for _ in range(2)]
            waiting = list(history)
            for turn in turns:
                for entry in waiting[:2]:
                    log.place(0, entry.data)
                del waiting[:2]
                step(both[turn])
            for entry in waiting:
                log.place(0, entry.data)
            for consumer in both:
                consumer.catch_up()
            assert rows(database) == expected_fold(history)[1]
            assert digest(Snapshot(database)) == caught_up(make(), log)
            conflicts += sum(consumer.conflicts for consumer in both)

    check()
    assert conflicts > 0


# --- partitions -----------------------------------------------------------------------------------------------------------------------


def interleaved(data: st.DataObject, history: Sequence[Entry]) -> list[Entry]:
    """Return the same events in another order that preserves the order of each study."""
    waiting: dict[str, list[Entry]] = {}
    for entry in history:
        waiting.setdefault(entry.study_id, []).append(entry)
    order = data.draw(st.permutations([entry.study_id for entry in history]), label="order of studies")
    return [waiting[study_id].pop(0) for study_id in order]


@pytest.mark.slow
@settings(max_examples=examples(30))
@given(histories(max_size=14), st.data())
def test_rows_are_independent_of_partitions_and_interleaving(history: list[Entry], data: st.DataObject) -> None:
    log, single = InMemoryEventLog(4), logged(history)
    for entry in interleaved(data, history):
        log.append([EncodedEvent(entry.study_id, entry.event_id, entry.data)])
    with read_models() as make:
        expected_digest = caught_up(make(), single)
        spread = make()
        assert caught_up(spread, log, data.draw(st.integers(1, len(history)), label="batch size")) == expected_digest
        assert rows(spread) == expected_fold(history)[1]
        rebuild(spread, log)
        assert digest(Snapshot(spread)) == expected_digest
        assert verify(spread, log, expect=expected_digest).ok


def misplaced(entry: Entry, shift: int) -> tuple[Entry, bool]:
    """Return the meaning of an entry in a wrong partition: invalid bytes there do not belong to the study that they name."""
    if shift and entry.event is None:
        return Entry(entry.data, "", sha256(entry.data).hexdigest(), None), True
    return entry, shift == 0


@pytest.mark.slow
def test_event_in_wrong_partition_is_rejected() -> None:
    """Regardless of the other events and the order of reading."""
    seen: Counter[str] = Counter()

    @settings(max_examples=examples(40))
    @given(histories(max_size=14), st.data())
    def check(history: list[Entry], data: st.DataObject) -> None:
        shifts = [data.draw(st.sampled_from([0, 0, 1, 3])) if entry.study_id else 0 for entry in history]
        outcomes, expected = expected_fold(*zip(*map(misplaced, history, shifts), strict=True))
        log = InMemoryEventLog(4)
        with read_models() as make:
            live = make()
            consumer = EvalProjectionConsumer(log, live, batch_size=1)
            for entry, shift, outcome in zip(history, shifts, outcomes, strict=True):
                log.place((partition_of(entry.study_id, 4) + shift) % 4, entry.data)
                assert [outcome_name(decision) for decision in consumer.catch_up(Everything()).values()] == [outcome]
                if data.draw(st.booleans(), label="forget"):
                    consumer.restart()
            assert rows(live) == expected
            assert caught_up(make(), log, data.draw(st.integers(1, len(history)), label="batch size")) == digest(Snapshot(live))
        count(seen, history, outcomes)

    check()
    assert seen["wrong partition"] > 0
    assert seen["wrong partition, again"] > 0
    assert seen["quarantined"] > 0


@settings(max_examples=examples(15))
@given(st.sampled_from(STUDIES), st.data(), st.integers(1, 3))
def test_invalid_bytes_in_wrong_partition_take_no_event_id(study_id: str, data: st.DataObject, shift: int) -> None:
    """Regardless of the order of reading."""
    valid = data.draw(created(study_id))
    broken = data.draw(invalid(study_id, st.just(valid.event_id)))
    right = partition_of(study_id, 4)
    digests = set()
    with read_models() as make:
        for order in ((0, 1), (1, 0)):
            log, database = InMemoryEventLog(4), make()
            consumer = EvalProjectionConsumer(log, database)
            for which in order:
                if which == 0:
                    log.place(right, valid.data)
                else:
                    log.place((right + shift) % 4, broken.data)
                consumer.catch_up()
            digests.add(digest(Snapshot(database)))
    assert len(digests) == 1


def test_copies_in_two_wrong_partitions_count_as_one_event() -> None:
    """Whichever is read first, also if their times of writing differ."""
    text = '{"event_id":"018f4e2c-0000-7000-8000-000000000001","event":{"type":"study_started","id":"%s"}%s}'
    copies = [(text % (STUDIES[0], more)).encode() for more in ("", ',"written_at":"2026-01-31T08:00:00Z"')]
    right, digests = partition_of(STUDIES[0], 4), set()
    with read_models() as make:
        for order in (copies, copies[::-1]):
            log, database = InMemoryEventLog(4), make()
            consumer = EvalProjectionConsumer(log, database)
            for data in order:
                log.place((right + 1 + copies.index(data)) % 4, data)
                consumer.catch_up()
            assert database.execute("SELECT count(*) FROM rejected") == [(1,)]
            digests.add(digest(Snapshot(database)))
    assert len(digests) == 1


# --- commands -------------------------------------------------------------------------------------------------------------------------

COMMANDS = ("create", "start", "start", "pause", "resume", "stop", "record", "record", "record_many")
WEEK = {"period": ("2026-01-05T00:00:00Z", "2026-01-12T00:00:00Z")}
FULL = {**WEEK, "session_success_rate": 0.1 + 0.2, "total_tokens": 2**53 + 1, "avg_session_duration": 1.000000001}
KEY = "2026-W02"


def command(kit: evalkit.EvalKit, name: str, study: str, data: st.DataObject) -> None:
    """Run one command, valid or not."""
    wrong = data.draw(st.sampled_from([False] * 6 + [True]), label="wrong values")
    past = ["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"]
    moment = data.draw(st.sampled_from(["2099-01-01T00:00:00Z", "2026-01-01T00:00:00"] if wrong else [None, None, *past]), label="at")
    contents = st.sampled_from([{**FULL, "session_success_rate": 80}, {**WEEK, "no_metric": 1}] if wrong else [WEEK, FULL])
    keys = st.sampled_from(["nul \0"] if wrong else [KEY, KEY, None, "ünï"])
    if name == "create":
        kit.create_study(study, period="yearly" if wrong else "weekly:2", tags=["a"], at=moment)
    elif name == "record":
        kit.record_checkpoint(study, data.draw(contents, label="content"), key=data.draw(keys, label="key"), at=moment)
    elif name == "record_many":
        several = data.draw(st.lists(st.tuples(contents, keys), min_size=1, max_size=3), label="rows")
        kit.record_checkpoints(study, [{**content, "key": key} for content, key in several])
    else:
        getattr(kit, f"{name}_study")(study, at=moment)


def allowed_commands(kit: evalkit.EvalKit, study: str) -> list[str]:
    """Return the commands that a study accepts in its current status."""
    known = [known for known in kit.storage.list_studies() if known.name == study]
    return [*commands_allowed(known[0].status), *(["record"] if known[0].started_at else [])] if known else ["create"]


class Rivals:
    """Wraps a log so that a rival appends its events between a command's checks and its append."""

    def __init__(self, log: SqliteEventLog) -> None:
        self.log, self.append_to_log = log, log.append
        self.ready: list[Entry] = []
        self.raw: dict[bytes, Entry] = {}
        log.append = self.append  # type: ignore[method-assign]

    def slip_in(self, entry: Entry) -> None:
        self.raw[entry.data] = entry
        self.append_to_log([EncodedEvent(entry.study_id, entry.event_id, entry.data)])

    def append(self, messages: Sequence[EncodedEvent]) -> list[LogPosition]:
        while self.ready:
            self.slip_in(self.ready.pop())
        return self.append_to_log(messages)

    def history(self) -> list[Entry]:
        """The events in the log so far, and their meaning."""
        return [self.raw.get(record.data) or parsed(record.data) for record in self.log.consumer("test").poll(1000, 0)]


def rival_of(data: st.DataObject, kit: evalkit.EvalKit, study: str, name: str) -> Entry:
    """Return an event that may conflict with a command about a study."""
    ids = [known.id for known in kit.storage.list_studies() if known.name == study] or list(STUDIES)
    study_id = data.draw(st.sampled_from(ids))
    recorded = [recorded.id for recorded in kit.storage.get_checkpoints(study_id)] + [keyed_checkpoint_id(study_id, KEY)] * 3
    alike = {command: lifecycle(study_id, kinds=[event]) for command, event in LIFECYCLE_COMMANDS.items()} | {"create": created(study_id)}
    like_it = alike.get(name, checkpoint(study_id, checkpoint_ids=recorded))
    return data.draw(data.draw(st.sampled_from([like_it, like_it, entries(study_id)])), label="rival")


@pytest.mark.slow
def test_commands_and_raw_events_match_reference() -> None:
    """A failed command appends nothing."""
    seen: Counter[str] = Counter()

    @settings(max_examples=examples(60))
    @given(st.data())
    def check(data: st.DataObject) -> None:
        with read_models() as make, tempfile.TemporaryDirectory() as home, evalkit.connect(home) as kit, warnings.catch_warnings():
            warnings.simplefilter("ignore", evalkit.EvalkitWarning)  # recording a period twice warns
            kit.create_study("one", at="2026-01-01T00:00:00Z")
            rivals = Rivals(kit.engine.log)  # type: ignore[arg-type]
            if data.draw(st.sampled_from([True, True, False]), label="started"):
                kit.start_study("one")
                kit.record_checkpoint("one", WEEK, key=KEY)
            manners = st.sampled_from(["alone", "with a rival", "raw", "again"])
            for manner in data.draw(st.lists(manners, min_size=3, max_size=8), label="steps"):
                study = data.draw(st.sampled_from(["one", "one", "one", "two"]), label="study")
                if manner == "raw":
                    like = data.draw(st.sampled_from(["record", "record", "start", "create"]), label="like")
                    rivals.slip_in(rival_of(data, kit, study, like))
                    continue
                if manner == "again":
                    rivals.slip_in(data.draw(st.sampled_from(rivals.history()), label="event"))
                    continue
                name = data.draw(st.sampled_from([*allowed_commands(kit, study) * 3, *COMMANDS]), label="command")
                if manner == "with a rival":
                    rivals.ready.append(rival_of(data, kit, study, name))
                before = len(rivals.history())
                answer = "done"
                try:
                    command(kit, name, study, data)
                except EvalkitError as error:
                    answer = type(error).__name__
                seen[answer] += 1
                assert answer in ("done", "ConflictError") or len(rivals.history()) == before, answer
                rivals.ready.clear()
            kit.studies()
            outcomes, expected = expected_fold(rivals.history())
            assert rows(kit.engine.database) == expected
            expected_digest = kit.verify().digest
            assert kit.rebuild(on_progress=lambda done, total: None).events == len(outcomes)
            assert kit.verify(expect=expected_digest).ok
            assert caught_up(make(), kit.engine.log, data.draw(st.integers(1, 5), label="batch size")) == expected_digest
            seen.update(outcomes)

    check()
    if enough_examples():
        assert all(seen[what] for what in ("done", "ConflictError", "InvalidInputError", "TransitionError", "applied", "duplicate")), seen
        assert sum(seen[reason] > 0 for reason in REASONS) >= 3, seen


# --- frames ---------------------------------------------------------------------------------------------------------------------------


def model_row(entry: Entry, recorded: dict[str, Entry]) -> dict[str, Any]:
    """Return a row of the checkpoints frame, built from the event by the model."""
    stored = StoredEvalEvent.from_wire(entry.data)
    event = stored.event
    assert event.type == "checkpoint_recorded"
    study = recorded[entry.study_id].event or {}
    return {
        "study_id": stored.study_id, "study": study["name"], "period_type": study["period_type"], "checkpoint_id": event.id,
        "timestamp": event.timestamp, "recorded_at": time_of_event(stored.event_id), "period_start": event.metrics.period.start,
        "period_end": event.metrics.period.end, **{name: getattr(event.metrics, name) for name in METRICS},
        "events_analyzed": event.events_analyzed, "sessions_included": event.sessions_included, "revision": 0,
        "collector": None if event.provenance is None else event.provenance.collector,
    }  # fmt: skip


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with times and durations in microseconds; durations too long for a frame are clipped."""
    micro = {"timestamp", "recorded_at", "period_start", "period_end", "avg_session_duration"}
    return {name: as_microseconds(value) if name in micro and value is not None else value for name, value in row.items()}


def as_microseconds(value: Any) -> int:
    if isinstance(value, int):
        return value
    pair = getattr(value, "pair", None)
    if pair is not None:
        return min(pair[0], (2**63 - 1) // 1_000_000 - 1) * 1_000_000 + pair[1] // 1000
    return int(pl.Series([value.replace(tzinfo=None)], dtype=pl.Datetime("us")).to_physical()[0])


def frame_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    numbers = [pl.col(name).to_physical() for name, kind in frame.schema.items() if kind in (pl.Datetime, pl.Duration)]
    return frame.with_columns(*numbers).to_dicts()


@pytest.mark.slow
@settings(max_examples=examples(50))
@given(st.data())
def test_frames_have_the_values_of_the_model(data: st.DataObject) -> None:
    """However the metrics are written; read at once, in pages, or after a rebuild."""
    studies = {study: data.draw(created(study)) for study in STUDIES[:2]}
    study_ids = st.sampled_from(list(studies))
    history = [
        data.draw(study_ids.flatmap(lambda study: checkpoint(study, metrics=metric_texts(), checkpoint_ids=CHECKPOINTS))) for _ in range(8)
    ]
    log = logged([*studies.values()])
    with read_models() as make:
        database = make()
        reader, consumer = FrameReader(database), EvalProjectionConsumer(log, database)
        for start in (0, 3, 5):
            for entry in history[start : {0: 3, 3: 5}.get(start)]:
                log.place(0, entry.data)
            consumer.catch_up()
            piece_by_piece = reader.checkpoints()
        assert piece_by_piece.equals(FrameReader(database).checkpoints())
        outcomes = expected_fold([*studies.values(), *history])[0][2:]
        expected = [model_row(entry, studies) for entry, outcome in zip(history, outcomes, strict=True) if outcome == "applied"]
        created_at = {row[0]: row[6] for row in rows(database)["studies"]}
        expected.sort(key=lambda row: (created_at[row["study_id"]], row["study_id"], row["timestamp"], row["checkpoint_id"]))
        assert frame_rows(piece_by_piece) == [plain(row) for row in expected]
        rebuild(database, log)
        assert reader.checkpoints().equals(piece_by_piece)


@pytest.mark.parametrize(
    "text",
    ["0e99999999999", "0.0e-99999999999999999999", "1e-400", "-0", "1" + "0" * 300, "0." + "3" * 5000, "18446744073709551616",
     "123456789012345678901234567890.5", "2.2250738585072011e-308", "0.1000000000000000055511151231257827021181583404541015625"],
)  # fmt: skip
def test_unusual_json_numbers_are_read_as_nearest_float(text: str) -> None:
    usual = StoredEvalEvent.from_wire(next(line for line in REAL if b"checkpoint_recorded" in line)).to_wire()
    strange = re.sub(rb'(?<="total_cost":)[^,]+', text.encode(), usual)
    study = next(line for line in REAL if StoredEvalEvent.from_wire(line).study_id == StoredEvalEvent.from_wire(usual).study_id)
    log = InMemoryEventLog()
    for line in (study, strange):
        log.place(0, line)
    with read_models() as make:
        database = make()
        EvalProjectionConsumer(log, database).catch_up()
        assert FrameReader(database).checkpoints()["total_cost"].to_list() == [float(text)]
        assert EvalStorage(database).get_checkpoints(StoredEvalEvent.from_wire(study).study_id)[0].metrics.total_cost == float(text)
