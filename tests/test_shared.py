"""Shared engines: Iggy and sqld have the same results as the embedded engines, for any consumer and any amount of data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot

from evalkit import ConflictError, EvalKit, EvalkitWarning, TransitionError, connect
from evalkit.domain.commands import lifecycle_event
from evalkit.domain.events import EncodedEvent
from evalkit.domain.ids import new_id
from evalkit.domain.study import StudyStatus
from evalkit.errors import DatabaseError, DatabaseUnavailableError, EvalkitError, LogMismatchError, ReadOnlyError
from evalkit.eventlog.event_log import EventLog
from evalkit.eventlog.sqlite_log import SqliteEventLog
from evalkit.io.log_files import export_log, import_log
from evalkit.readmodel.consumer import EvalProjectionConsumer
from evalkit.readmodel.database.database import Database
from evalkit.readmodel.database.sqlite_database import SqliteDatabase
from evalkit.readmodel.rebuild import rebuild
from evalkit.readmodel.rows import check_rows
from evalkit.readmodel.schema import read_head
from evalkit.readmodel.snapshot import Snapshot
from evalkit.readmodel.verify import digest, verify
from evalkit.runtime.connections import open_database, open_log
from tests.generators import Entry, histories
from tests.iggy_server import Iggy
from tests.memory_log import InMemoryEventLog
from tests.messages import says
from tests.properties import examples, in_long_form
from tests.servers import JwtKey, Sqld, free_port
from tests.test_database_servers import emptied
from tests.test_fold_properties import REAL, Everything, expected_fold, outcome_name, rows
from tests.test_projection import REAL_DIGEST
from tests.test_shared_faults import in_log, wait_until
from tests.worker import flat_sample, sample, study_with_checkpoints

PROTOCOLS = ("http", "turso+http")
each_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)


def url_of(server: Sqld, protocol: str) -> str:
    return f"{protocol}://127.0.0.1:{server.port}"


def empty_url(server: Sqld, protocol: str = "http") -> str:
    """Drop all tables of a server's database, and return its URL."""
    database = emptied(open_database(server.url))
    database.close()
    return url_of(server, protocol)


def as_message(entry: Entry) -> EncodedEvent:
    return EncodedEvent(entry.study_id, entry.event_id if len(entry.event_id) == 36 else "", entry.data)


# --- the fold -------------------------------------------------------------------------------------------------------------------------


def embedded_digest(messages: Sequence[EncodedEvent]) -> str:
    """Return the digest of the embedded engines for the same events."""
    with tempfile.TemporaryDirectory() as folder:
        log, database = SqliteEventLog(Path(folder) / "events.db"), SqliteDatabase(Path(folder) / "evalkit.db")
        try:
            log.append(messages)
            EvalProjectionConsumer(log, database).catch_up()
            return digest(Snapshot(database))
        finally:
            log.close()
            database.close()


def check_every_way(log: EventLog, open_empty: Callable[[], Database], history: Sequence[Entry], batch_size: int) -> None:
    """Check that live, catch-up and rebuild match the reference's rows and the digest of the embedded engines."""
    outcomes, expected = expected_fold(history)
    database = open_empty()
    consumer = EvalProjectionConsumer(log, database)
    for entry, outcome in zip(history, outcomes, strict=True):
        log.append([as_message(entry)])
        decided = consumer.catch_up(Everything())
        assert {key: outcome_name(decision) for key, decision in decided.items()} == {(entry.study_id, entry.event_id): outcome}
    assert rows(database) == expected
    expected_digest = digest(Snapshot(database))
    assert expected_digest == embedded_digest([as_message(entry) for entry in history])
    database.close()
    database = open_empty()
    EvalProjectionConsumer(log, database, batch_size=batch_size).catch_up()
    assert rows(database) == expected
    assert digest(Snapshot(database)) == expected_digest
    assert rebuild(database, log).generation == 2
    assert rows(database) == expected
    checked = verify(database, log, expect=expected_digest)
    assert checked.ok, checked
    database.close()


def check_histories(make_log: Callable[[], EventLog], server: Sqld, protocol: str, most: int) -> None:
    @settings(max_examples=examples(most), suppress_health_check=list(HealthCheck))
    @given(histories(), st.data())
    def check(history: list[Entry], data: st.DataObject) -> None:
        log = make_log()
        size = data.draw(st.integers(1, len(history)), label="batch size")
        check_every_way(log, lambda: open_database(empty_url(server, protocol)), history, size)
        log.close()

    check()


def test_read_models_over_iggy_and_sqld_match_reference(iggy: Iggy, sqld: Sqld) -> None:
    """Live, catch-up and rebuild, with four partitions."""
    check_histories(lambda: open_log(iggy.url(iggy.stream(partitions=4))), sqld, "http", 15)


@pytest.mark.slow
@each_protocol
def test_read_models_over_each_protocol_match_reference(sqld: Sqld, protocol: str) -> None:
    check_histories(lambda: InMemoryEventLog(4), sqld, protocol, 5)


@pytest.mark.parametrize("partitions", [1, 4])
def test_digest_of_real_events_is_golden_on_servers(iggy: Iggy, sqld: Sqld, tmp_path: Path, partitions: int) -> None:
    digests = []
    shared = {"log_url": iggy.url(iggy.stream(partitions=partitions), partitions=partitions), "database_url": empty_url(sqld)}
    for urls in ({}, shared):
        with connect(tmp_path / "home", **urls) as kit:
            import_log(kit.engine, BytesIO(b"\n".join(REAL)))
            digests.append(kit.verify().digest)
    assert digests == [REAL_DIGEST, REAL_DIGEST]


# --- moving, and what is read ---------------------------------------------------------------------------------------------------------


def named_sessions(size: int) -> list[str]:
    """Return session names of about `size` bytes in total."""
    length = min(size, 1000)
    return [f"{index:0{length}d}" for index in range(size // length)]


def eventful(kit: EvalKit, *, faulty: int = 3) -> None:
    """Fill a kit with studies in each status, checkpoints, rejected events and invalid bytes."""
    for number, status in enumerate(StudyStatus):
        study = kit.create_study(f"{status} ü", period="weekly:2", tags=["a", "b"], metadata={"k": "v"}, description="two\nlines")
        if status is not StudyStatus.PENDING:
            kit.start_study(study)
            kit.record_checkpoints(study, [{**flat_sample(number * 10 + row), "sessions_included": ["s", '"q"']} for row in range(7)])
            kit.record_checkpoint(study, {**sample(number), "avg_session_duration": 1.000000001, "total_cost": 0.1}, events_analyzed=2**53)
        if status is StudyStatus.PAUSED:
            kit.pause_study(study)
        if status is StudyStatus.STOPPED:
            kit.stop_study(study)
    add_faulty(kit, faulty)


def add_faulty(kit: EvalKit, count: int) -> None:
    """Append rejected events and invalid bytes, as many each."""
    studies = kit.storage.list_studies()
    messages = []
    for number in range(count):
        study = studies[number % len(studies)].id
        messages.append(lifecycle_event("study_resumed", study if number % 2 else new_id(), 1_700_000_000_000 + number).encoded())
        event = (
            {"type": "study_created", "id": study, "name": "x" * (number % 40)} if number % 2 else {"type": "study_renamed", "id": study}
        )
        event_id = new_id()
        messages.append(EncodedEvent(study, event_id, json.dumps({"event_id": event_id, "event": event}).encode()))
    kit.engine.log.append(messages)


def exported(kit: EvalKit) -> bytes:
    stream = BytesIO()
    export_log(kit.engine, stream)
    return stream.getvalue()


def assert_equal_queries(kit: EvalKit, other: EvalKit) -> None:
    """Check that all frames and queries of two kits are equal."""
    for name in ("studies", "checkpoints", "lifecycle", "rejected"):
        assert getattr(kit, name)().equals(getattr(other, name)()), name
        pd.testing.assert_frame_equal(getattr(kit, name)(backend="pandas"), getattr(other, name)(backend="pandas"))
    start, end = datetime(2000, 1, 1, 2, tzinfo=UTC), datetime(2000, 1, 2, tzinfo=UTC)
    here, there = kit.storage, other.storage
    assert here.list_studies() == there.list_studies() != []
    for status in StudyStatus:
        assert here.list_studies_by_status(status) == there.list_studies_by_status(status)
    for study in here.list_studies():
        assert there.get_study(study.id) == study
        assert kit.checkpoints(study).equals(other.checkpoints(study))
        checkpoints = here.get_checkpoints(study.id)
        assert there.get_checkpoints(study.id) == checkpoints
        assert there.get_latest_checkpoint(study.id) == here.get_latest_checkpoint(study.id) == (checkpoints[-1] if checkpoints else None)
        assert there.get_checkpoints_in_range(study.id, start, end) == here.get_checkpoints_in_range(study.id, start, end)
        for checkpoint in checkpoints[:3]:
            assert there.get_checkpoint(study.id, checkpoint.id) == checkpoint


def test_rejected_command_creates_nothing(tmp_path: Path, sqld: Sqld) -> None:
    """Neither tables nor a home."""
    with connect(tmp_path / "home", database_url=empty_url(sqld)) as kit:
        with pytest.raises(LookupError):
            kit.start_study("study")
        with pytest.warns(EvalkitWarning), pytest.raises(LookupError):
            kit.resolve("study")
        assert kit.engine.database.execute("SELECT name FROM sqlite_master") == []
        assert list(tmp_path.iterdir()) == []
        kit.start_study(kit.create_study("study"))
        assert kit.studies()["status"].to_list() == ["running"]


def test_log_moves_to_servers_and_back(iggy: Iggy, sqld: Sqld, tmp_path: Path) -> None:
    urls = {"log_url": iggy.url(iggy.stream()), "database_url": empty_url(sqld)}
    with connect(tmp_path / "first") as first, connect(tmp_path / "none", **urls) as shared, connect(tmp_path / "second") as second:
        eventful(first)
        lines = exported(first)
        assert import_log(shared.engine, BytesIO(lines)).appended == lines.count(b"\n")
        assert import_log(shared.engine, BytesIO(lines)).appended == 0
        back = exported(shared)
        assert sorted(back.splitlines()) == sorted(lines.splitlines())
        import_log(second.engine, BytesIO(back))
        assert first.verify().digest == shared.verify().digest == second.verify().digest
        for kit in (first, shared, second):
            assert kit.verify().ok
        assert_equal_queries(first, shared)
        assert_equal_queries(first, second)
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
@each_protocol
def test_frames_and_queries_match_embedded_engines(sqld: Sqld, tmp_path: Path, protocol: str) -> None:
    with connect(tmp_path / "one") as embedded, connect(tmp_path / "two", database_url=empty_url(sqld, protocol)) as shared:
        eventful(embedded)
        import_log(shared.engine, BytesIO(exported(embedded)))
        assert_equal_queries(embedded, shared)
        assert set(embedded.rejected()["outcome"]) == {"rejected", "quarantined"}


# --- large data -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "protocol", [protocol if protocol == "turso+http" else pytest.param(protocol, marks=pytest.mark.long) for protocol in PROTOCOLS]
)
def test_results_above_response_limit_are_paged(small_sqld: Sqld, tmp_path: Path, protocol: str) -> None:
    with connect(tmp_path / "one") as embedded, connect(tmp_path / "two", database_url=empty_url(small_sqld, protocol)) as shared:
        eventful(embedded, faulty=in_long_form(400, 60))
        for number in range(5):
            embedded.create_study(f"described {number}", description=str(number) * 30_000)
        study = study_with_checkpoints(embedded, 0, "large")
        sizes = [20_000] * in_long_form(60, 6) + [45_000] * 3 + [100] * in_long_form(900, 200)
        embedded.record_checkpoints(
            study, [{**flat_sample(row), "sessions_included": named_sessions(size), "key": str(row)} for row, size in enumerate(sizes)]
        )
        lines = exported(embedded)
        assert import_log(shared.engine, BytesIO(lines)).appended == lines.count(b"\n")
        assert import_log(shared.engine, BytesIO(lines)).appended == 0
        assert_equal_queries(embedded, shared)
        expected = embedded.verify().digest
        assert shared.verify(expect=expected).ok
        shared.rebuild(on_progress=lambda done, total: None)
        assert shared.verify(expect=expected).ok
        again = [{**flat_sample(row), "sessions_included": named_sessions(size), "key": str(row)} for row, size in enumerate(sizes)]
        assert shared.record_checkpoints(study, again).already_recorded == len(sizes)
        with pytest.warns(EvalkitWarning):
            assert shared.record_checkpoints(study, [flat_sample(row) for row in range(200)]).recorded == 200
        check_rows(shared.engine.database)  # as doctor does
        assert shared.verify().ok


@pytest.mark.slow
@each_protocol
def test_row_above_response_limit_raises(small_sqld: Sqld, tmp_path: Path, protocol: str) -> None:
    """It is recorded all the same."""
    with connect(tmp_path, database_url=empty_url(small_sqld, protocol)) as kit:
        study = study_with_checkpoints(kit, 3)
        recorded = kit.record_checkpoint(study, sample(9), sessions_included=named_sessions(70_000), key="large")
        queries: list[Callable[[], object]] = [
            kit.checkpoints,
            kit.verify,
            lambda: kit.storage.get_checkpoints(study.id),
            lambda: kit.storage.get_checkpoint(study.id, recorded.id),
            lambda: kit.storage.get_latest_checkpoint(study.id),
            lambda: kit.record_checkpoint(study, sample(9), sessions_included=named_sessions(70_000), key="large"),
        ]
        for query in queries:
            began = time.monotonic()
            with pytest.raises(DatabaseError) as error:
                query()
            assert "--max-response-size" in error.value.message.hint
            assert time.monotonic() - began < 5
        assert kit.studies()["checkpoints"].to_list() == [4]
        assert kit.rebuild(on_progress=lambda done, total: None).events == 6
        kit.pause_study(study)
        assert kit.lifecycle().height == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "count", "size"),
    [(protocol, *in_long_form((30, 1_000_000), (12, 1_000_000))) for protocol in in_long_form(PROTOCOLS, ("turso+http",))]
    + [(protocol, *in_long_form((3000, 5000), (2400, 5000))) for protocol in in_long_form(PROTOCOLS, ("http",))],
)
def test_tens_of_megabytes_are_recorded_and_read(sqld: Sqld, tmp_path: Path, protocol: str, count: int, size: int) -> None:
    rows_ = [{**flat_sample(row), "sessions_included": named_sessions(size), "key": str(row)} for row in range(count)]
    with connect(tmp_path, database_url=empty_url(sqld, protocol)) as kit:
        study = study_with_checkpoints(kit, 0)
        assert kit.record_checkpoints(study, rows_).recorded == count
        assert kit.record_checkpoints(study, rows_).already_recorded == count
        frame = kit.checkpoints()
        assert frame["sessions_included"].to_list() == [row["sessions_included"] for row in rows_]
        assert [len(checkpoint.sessions_included) for checkpoint in kit.storage.get_checkpoints(study.id)] == [
            len(named_sessions(size))
        ] * count
        expected = kit.verify()
        assert expected.ok
        assert kit.rebuild(on_progress=lambda done, total: None).events == count + 2
        assert kit.verify(expect=expected.digest).ok
        assert kit.checkpoints().equals(frame)


# --- read only ------------------------------------------------------------------------------------------------------------------------


def run_all_queries(kit: EvalKit) -> list[str]:
    """Run every query, and return the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        (study,) = kit.storage.list_studies()
        assert kit.resolve("study").id == study.id
        assert kit.studies().height == 1
        assert kit.checkpoints().height == kit.checkpoints("study").height == 3
        assert kit.lifecycle().height == 2
        assert kit.rejected().height == 0
        assert kit.storage.get_study(study.id) == study
        assert kit.storage.list_studies_by_status("running") == [study]
        checkpoints = kit.storage.get_checkpoints(study.id)
        assert kit.storage.get_checkpoint(study.id, checkpoints[0].id) == checkpoints[0]
        assert kit.storage.get_latest_checkpoint(study.id) == checkpoints[-1]
        assert kit.storage.get_checkpoints_in_range(study.id, checkpoints[0].timestamp, checkpoints[-1].timestamp) == checkpoints[:-1]
    return [str(warning.message) for warning in caught]


def assert_commands_rejected(kit: EvalKit) -> None:
    before = kit.engine.log.ranges()
    commands: list[Callable[[], object]] = [
        lambda: kit.create_study("other"),
        lambda: kit.pause_study("study"),
        lambda: kit.record_checkpoint("study", sample(5)),
        lambda: kit.record_checkpoints("study", [flat_sample(6)]),
        lambda: kit.rebuild(on_progress=lambda done, total: None),
    ]
    for command in commands:
        with pytest.raises(ReadOnlyError):
            command()
    assert kit.engine.log.ranges() == before


def positions(database: Database) -> object:
    return database.execute('SELECT * FROM positions ORDER BY "partition"'), read_head(database)


@pytest.fixture
def guarded(guarded_sqld: Sqld, jwt_key: JwtKey, monkeypatch: pytest.MonkeyPatch) -> Sqld:
    """A server that requires a token, with an empty database; the token in the environment has write access."""
    from pydantic import SecretStr

    database = emptied(open_database(guarded_sqld.url, token=SecretStr(jwt_key.token())))
    database.close()
    monkeypatch.setenv("EVALKIT_DATABASE_AUTH_TOKEN", jwt_key.token())
    return guarded_sqld


@pytest.mark.slow
@each_protocol
@pytest.mark.parametrize("way", ["token", "read_only=True", "hidden claim"])
def test_read_only_token_allows_queries_only(
    guarded: Sqld, jwt_key: JwtKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, protocol: str
) -> None:
    """Queries warn once how far behind the read model is."""
    url = url_of(guarded, protocol)
    with connect(tmp_path, database_url=url) as writer:
        study = study_with_checkpoints(writer, 3)
        before = positions(writer.engine.database)
        writer.engine.log.append([lifecycle_event("study_paused", study.id, 1_700_000_000_000 + number).encoded() for number in range(5)])
        if way != "read_only=True":
            monkeypatch.setenv("EVALKIT_DATABASE_AUTH_TOKEN", jwt_key.token("ro"))
        if way == "hidden claim":
            monkeypatch.setattr("evalkit.runtime.connections.token_access", lambda token: "")
            monkeypatch.setattr("evalkit.readmodel.database.server_database.token_access", lambda token: "")
        with connect(tmp_path, database_url=url, read_only=way == "read_only=True") as kit:
            messages = run_all_queries(kit)
            assert len(messages) == 1, messages
            assert "5 events" in messages[0]
            if way == "hidden claim":
                assert url in messages[0]
            assert run_all_queries(kit) == []
            assert_commands_rejected(kit)
            status = kit.status()
            assert status.lag == 5
            assert way == "read_only=True" or status.problems
        assert positions(writer.engine.database) == before


@each_protocol
def test_command_with_undetectable_read_only_token_appends_nothing(
    guarded: Sqld, jwt_key: JwtKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    url = url_of(guarded, protocol)
    with connect(tmp_path, database_url=url) as writer:
        study_with_checkpoints(writer, 3)
    monkeypatch.setenv("EVALKIT_DATABASE_AUTH_TOKEN", jwt_key.token("ro"))
    monkeypatch.setattr("evalkit.runtime.connections.token_access", lambda token: "")
    monkeypatch.setattr("evalkit.readmodel.database.server_database.token_access", lambda token: "")
    for command in ("create_study", "pause_study"):
        with connect(tmp_path, database_url=url) as kit:
            before = kit.engine.log.ranges()
            with pytest.raises(ReadOnlyError) as error:
                getattr(kit, command)("study" if command == "pause_study" else "other")
            assert says(error, url=url) == snapshot("The token for the read model at URL is read-only. Nothing was changed.")
            assert kit.engine.log.ranges() == before
            assert run_all_queries(kit) == []


@pytest.mark.slow
@pytest.mark.parametrize("way", ["token", "read_only=True", "writable"])
def test_queries_work_while_log_is_unavailable(
    guarded: Sqld, jwt_key: JwtKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """With one warning."""
    with connect(tmp_path, database_url=guarded.url) as writer:
        study_with_checkpoints(writer, 3)
    if way == "token":
        monkeypatch.setenv("EVALKIT_DATABASE_AUTH_TOKEN", jwt_key.token("ro"))
    log_url = f"iggy+tcp://evalkit:secret@127.0.0.1:{free_port()}"
    with connect(tmp_path, log_url=log_url, database_url=guarded.url, read_only=way == "read_only=True") as kit:
        (warning,) = run_all_queries(kit)
        assert "newest event" in warning
        assert "behind the log" not in warning, "how far it is behind is unknown"
        with pytest.raises(EvalkitError):
            kit.create_study("other")


UNCLOSED = """
import sys
from evalkit.runtime.connections import open_database

database = open_database(sys.argv[1])
database.execute("SELECT 1")
"""


@pytest.mark.slow
@each_protocol
def test_process_exits_with_open_connections(sqld: Sqld, protocol: str) -> None:
    done = subprocess.run([sys.executable, "-c", UNCLOSED, url_of(sqld, protocol)], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --- unsupported servers ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def refusing(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a web server that returns one HTTP status for every request."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(request.param)
            self.send_header("content-length", "0")
            self.end_headers()

        do_GET = do_POST = answer

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("refusing", [404, 505], indirect=True)
@each_protocol
def test_unsupported_protocol_suggests_other_url(refusing: int, tmp_path: Path, protocol: str) -> None:
    kit = connect(tmp_path, database_url=f"{protocol}://127.0.0.1:{refusing}")
    with pytest.raises(DatabaseUnavailableError) as error:
        kit.create_study("study")
    assert "does not support this URL's protocol" in error.value.message.problem
    hint = "" if protocol == "turso+http" else f"Try EVALKIT_DATABASE_URL=turso+http://127.0.0.1:{refusing}."
    assert error.value.message.hint == hint


# --- consumer processes ---------------------------------------------------------------------------------------------------------------

MAIN = "from evalkit.cli.app import main; main()"


class Consumer:
    """``evalkit consume`` as a process, configured by the environment."""

    def __init__(self, folder: Path, *, as_json: bool = False) -> None:
        self._output = (folder / f"consumer {new_id()}").open("w+")
        self.json = as_json
        args = ["--json", "consume"] if as_json else ["consume"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", MAIN, *args], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._output
        )

    def __enter__(self) -> Consumer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        self._output.close()

    def lines(self) -> list[str]:
        return Path(self._output.name).read_text().splitlines()

    def events(self) -> list[str]:
        """Return the logged events, by name."""
        return [json.loads(line)["event"] if self.json else line.split(" ")[2] for line in self.lines()]

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)


@pytest.fixture
def shared_environment(iggy: Iggy, sqld: Sqld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sqld:
    """Configure a new stream, an empty read model and a missing home through the environment."""
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EVALKIT_LOG_URL", iggy.url(iggy.stream()))
    monkeypatch.setenv("EVALKIT_DATABASE_URL", empty_url(sqld))
    return sqld


def evalkit(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", MAIN, *args], capture_output=True, text=True, timeout=60, check=False)


def append_behind(kit: EvalKit, count: int) -> None:
    """Append events that only count, without applying them."""
    kit.engine.log.append([lifecycle_event("study_started", new_id(), 1_700_000_000_000).encoded() for _ in range(count)])


def rejected_by_others(kit: EvalKit) -> int:
    return int(str(kit.engine.database.execute("SELECT count(*) FROM rejected")[0][0]))


def last_writer(kit: EvalKit) -> str:
    writer = kit.engine.last_writer()
    return writer[0] if writer else ""


@pytest.mark.parametrize("as_json", [False, True])
def test_consumer_applies_events_until_sigterm(shared_environment: Sqld, tmp_path: Path, as_json: bool) -> None:
    with connect() as kit:
        study_with_checkpoints(kit, 5)
        append_behind(kit, 7)
        with Consumer(tmp_path, as_json=as_json) as consumer:
            wait_until(lambda: rejected_by_others(kit) == 7)
            append_behind(kit, 3)
            wait_until(lambda: rejected_by_others(kit) == 10)
            wait_until(lambda: "applied" in consumer.events())
            quarantined = new_id()
            kit.engine.log.append([EncodedEvent("", quarantined, b'{"event_id":"%s","event":{}}' % quarantined.encode())])
            wait_until(lambda: kit.engine.database.execute("SELECT count(*) FROM quarantined") == [(1,)])
            status = json.loads(evalkit("projection", "status", "--json").stdout)
            assert consumer.end() == 0
            assert consumer.events()[0] == "started"
            assert consumer.events()[-1] == "stopped"
            assert "secret" not in "".join(consumer.lines())
            assert "iggy-p" not in "".join(consumer.lines())
        assert status["lag"] == 0
        assert status["lag_by_partition"] == [0, 0, 0, 0]
        assert (status["applied"], status["rejected"], status["quarantined"]) == (7, 10, 1)
        assert abs(datetime.fromisoformat(status["last_event_at"]) - datetime.now(UTC)) < timedelta(minutes=2)
        assert status["last_writer"].startswith("consumer")
        assert status["problems"] == []
        assert kit.verify().ok
    assert not (tmp_path / "home").exists()


def test_second_consumer_takes_over(shared_environment: Sqld, tmp_path: Path) -> None:
    with connect() as kit, Consumer(tmp_path) as first, Consumer(tmp_path) as second:
        study_with_checkpoints(kit, 5)
        wait_until(lambda: "started" in first.events() and "started" in second.events())
        append_behind(kit, 20)
        wait_until(lambda: rejected_by_others(kit) == 20)
        first.process.kill()
        append_behind(kit, 20)
        wait_until(lambda: rejected_by_others(kit) == 40)
        assert second.end() == 0
        assert kit.verify().ok


@pytest.mark.slow
def test_consumer_waits_for_unavailable_read_model(iggy: Iggy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reports the loss and the recovery once."""
    monkeypatch.setenv("EVALKIT_LOG_URL", iggy.url(iggy.stream()))
    with Sqld(tmp_path / "sqld") as server:
        for protocol in PROTOCOLS:
            monkeypatch.setenv("EVALKIT_DATABASE_URL", url_of(server, protocol))
            with connect(tmp_path / "home") as kit, Consumer(tmp_path, as_json=protocol == "http") as consumer:
                before = rejected_by_others(kit) if kit.engine.has_tables() else 0
                append_behind(kit, 2)
                wait_until(lambda: kit.engine.has_tables() and rejected_by_others(kit) == before + 2)  # noqa: B023  (called immediately)
                server.kill()
                append_behind(kit, 2)
                wait_until(lambda: "lost" in consumer.events())
                time.sleep(2)
                server.start()
                wait_until(lambda: "back" in consumer.events())
                append_behind(kit, 2)
                time.sleep(1.2)  # a failure is cached for a second
                wait_until(lambda: rejected_by_others(kit) == before + 6)  # noqa: B023
                assert consumer.end() == 0
                assert [event for event in consumer.events() if event in ("lost", "back")] == ["lost", "back"]
                assert kit.verify().ok


def test_consumer_exits_if_first_connection_fails(iggy: Iggy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALKIT_LOG_URL", iggy.url(iggy.stream()))
    monkeypatch.setenv("EVALKIT_DATABASE_URL", f"http://127.0.0.1:{free_port()}")
    began = time.monotonic()
    done = evalkit("consume")
    assert time.monotonic() - began < 10
    assert done.returncode == 1
    assert "Cannot connect to the read model" in done.stderr
    assert "Traceback" not in done.stderr


def test_command_waits_for_active_consumer(shared_environment: Sqld, tmp_path: Path) -> None:
    """Without an active consumer the command applies its event itself."""
    with connect() as kit, Consumer(tmp_path) as consumer:
        append_behind(kit, 1)
        wait_until(lambda: kit.engine.has_tables() and last_writer(kit).startswith("consumer"))
        study = kit.create_study("study")
        assert last_writer(kit).startswith("consumer")
        kit.start_study(study)
        for row in range(5):
            kit.record_checkpoint(study, sample(row))
            assert last_writer(kit).startswith("consumer")
        os.kill(consumer.process.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            kit.record_checkpoint(study, sample(10))
            assert time.monotonic() - began < 2
            assert last_writer(kit).startswith("kit")
            kit.pause_study(study)
        finally:
            os.kill(consumer.process.pid, signal.SIGCONT)
        append_behind(kit, 1)
        wait_until(lambda: rejected_by_others(kit) == 2)
        assert consumer.end() == 0
        assert kit.checkpoints().height == 6
        assert kit.verify().ok


# --- doctor ---------------------------------------------------------------------------------------------------------------------------


def doctor() -> tuple[int, str]:
    done = evalkit("doctor")
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_doctor_reports_no_problems(shared_environment: Sqld, tmp_path: Path) -> None:
    """It shows the number of unapplied events, and applies none."""
    code, output = doctor()
    assert (code, "No problems found." in output) == (0, True), output
    with connect() as kit:
        study_with_checkpoints(kit, 2)
        code, output = doctor()
        assert (code, "No problems found." in output) == (0, True), output
        assert "Apache Iggy" in output
        assert "libSQL" in output
        assert "iggy-p" not in output
        append_behind(kit, 3)
        code, output = doctor()
        assert (code, "3 events pending" in output) == (0, True), output
        assert rejected_by_others(kit) == 0
    assert not (tmp_path / "home").exists()


def test_doctor_suggests_rebuild_for_older_read_model(shared_environment: Sqld) -> None:
    with connect() as kit:
        study_with_checkpoints(kit, 2)
        kit.engine.database.batch([("UPDATE meta SET schema_version = 1", ())])
    code, output = doctor()
    assert code == 1
    assert "older version of evalkit" in output
    assert "evalkit projection rebuild" in output
    with connect() as kit, pytest.raises(EvalkitError) as error:
        kit.create_study("other")
    assert "kit.rebuild()" in error.value.message.hint
    assert evalkit("projection", "rebuild").returncode == 0
    assert doctor()[0] == 0


def test_doctor_reports_different_log(shared_environment: Sqld, iggy: Iggy, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect() as kit:
        study_with_checkpoints(kit, 2)
    monkeypatch.setenv("EVALKIT_LOG_URL", iggy.url(iggy.stream()))
    code, output = doctor()
    assert code == 1
    assert "The event log is empty, but the read model was built from" in output
    with connect() as kit:
        append_behind(kit, 20)
        before = kit.engine.log.ranges()
        with pytest.raises(LogMismatchError):
            kit.create_study("other")
        assert kit.engine.log.ranges() == before
    code, output = doctor()
    assert code == 1
    assert "not the log that the read model was built from" in output
    assert "--adopt-log" in output


def test_doctor_reports_topic_that_can_lose_events(shared_environment: Sqld, iggy: Iggy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALKIT_LOG_URL", iggy.url(iggy.stream(durable=False)))
    code, output = doctor()
    assert code == 1
    assert "loses acknowledged events when the server is killed" in output


@pytest.mark.slow
def test_doctor_without_home_creates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / "home"))
    code, output = doctor()
    assert code == 1
    assert str(tmp_path / "home") in output
    assert not (tmp_path / "home").exists()


# --- races and mixed engines ------------------------------------------------------------------------------------------------------------


def test_one_of_two_concurrent_commands_wins(shared_environment: Sqld, tmp_path: Path) -> None:
    with connect() as kit, connect() as other:
        outcomes: list[list[str]] = []
        for number in range(8):
            study = kit.create_study(f"study {number}")
            barrier, pair = threading.Barrier(2), list[str]()

            def start(kit: EvalKit, ready: threading.Barrier, name: str, outcomes: list[str]) -> None:
                ready.wait(10)
                try:
                    outcomes.append(kit.start_study(name).status)
                except (ConflictError, TransitionError) as error:
                    outcomes.append(type(error).__name__)

            threads = [threading.Thread(target=start, args=(opened, barrier, study.id, pair)) for opened in (kit, other)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            outcomes.append(sorted(pair))
        assert all(outcome in (["ConflictError", "running"], ["TransitionError", "running"]) for outcome in outcomes), outcomes
        assert kit.lifecycle().height == 16
        assert kit.rejected().height == sum("ConflictError" in outcome for outcome in outcomes)
        assert kit.verify().ok


@pytest.mark.parametrize("shared", ["log", "read model"])
def test_one_engine_may_be_a_file(shared_environment: Sqld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: str) -> None:
    """The first command creates it in the home."""
    monkeypatch.delenv("EVALKIT_DATABASE_URL" if shared == "log" else "EVALKIT_LOG_URL")
    home = tmp_path / "home"
    with connect() as kit:
        with pytest.warns(EvalkitWarning):
            assert kit.studies().is_empty()
        study_with_checkpoints(kit, 5)
        assert kit.checkpoints().height == 5
        assert kit.status().problems == ()
        assert kit.verify().ok
        assert len(in_log(kit)) == 7
    assert {path.name for path in home.iterdir() if path.suffix == ".db"} == {"evalkit.db" if shared == "log" else "events.db"}
    with connect() as kit:
        assert kit.pause_study("study").status == "paused"
        assert kit.rebuild(on_progress=lambda done, total: None).events == 8
        assert kit.verify().ok
