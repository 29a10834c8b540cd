"""Checkpoints as csv, parquet and ndjson files, and the log as wire NDJSON: what goes out comes back as it was, or nothing does."""

from __future__ import annotations

import io
import json
import os
import random
import resource
import sqlite3
import subprocess
import sys
import threading
import warnings
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import evalkit
from evalkit import METRICS, EvalkitError, EvalkitWarning, InvalidInputError
from evalkit._util.atomic_files import writing
from evalkit.domain.events import EncodedEvent
from evalkit.domain.ids import event_id_at
from evalkit.errors import LogError, LogUnavailableError
from evalkit.eventlog.event_log import partition_of
from evalkit.io.checkpoint_files import export_checkpoints, import_checkpoints
from evalkit.io.log_files import LogExport, LogImport, export_log, import_log
from evalkit.readmodel.consumer import EvalProjectionConsumer
from evalkit.readmodel.snapshot import Snapshot
from evalkit.readmodel.verify import digest
from evalkit.runtime.engine import Engine
from evalkit.settings import Settings
from tests.memory_log import InMemoryEventLog

FORMATS = ["csv", "parquet", "ndjson"]
REAL = (Path(__file__).parent / "data" / "wire_events.ndjson").read_bytes()
NAME = 'the "nightly", ünï 😀 <b>; study'
SINCE = datetime(2026, 1, 1, tzinfo=UTC)


def running(home: Path, name: str = NAME) -> evalkit.EvalKit:
    kit = evalkit.connect(home)
    kit.create_study(name, period="weekly:2", at=SINCE)
    kit.start_study(name, at=SINCE)
    return kit


COUNTS = [0, 1, 2**53 + 1, 2**63 - 1, None]
RATES = [0.0, 1.0, 0.1 + 0.2, 1 / 3, 5e-324, 1e-7, 0.9999999999999999, -0.0, None]
NUMBERS = [0.0, 1e16, 123456789.12345679, 1.7976931348623157e308, 2.5e-300, None]
DURATIONS = [
    timedelta(0),
    timedelta(microseconds=1),
    timedelta(days=36500, microseconds=999_999),
    (9_000_000_000_000, 1_000),
    0.1,
    612.5,
    None,
]
SESSIONS = [[], [""], ["a,b", 'c"d', "é😀\u2028", " padded ", "[1]", "null", "a;b|c\\n"], ["x"] * 50]
TIMES = [
    datetime(1, 1, 1, tzinfo=UTC), datetime(33, 12, 31, 23, 59, 59, 1, tzinfo=UTC), datetime(2026, 1, 31, 8, tzinfo=UTC),
    datetime(2026, 1, 31, 8, 0, 0, 123_456, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 58, 999_999, tzinfo=UTC),
]  # fmt: skip


def nasty_rows(count: int) -> list[dict[str, Any]]:
    """Rows that are legal, and hard to spell; many share a timestamp."""
    dice = random.Random(7)
    values = {"count": COUNTS, "rate": RATES, "number": NUMBERS, "money": NUMBERS, "duration": DURATIONS}
    rows = [{"period_start": TIMES[0], "period_end": TIMES[4]}]  # nothing measured at all
    for _ in range(count - 1):
        start = dice.choice(TIMES)
        row = {name: dice.choice(values[metric.kind]) for name, metric in METRICS.items()}
        row |= {"period_start": start, "period_end": start + timedelta(microseconds=dice.choice([1, 999_999]))}
        row |= {"timestamp": dice.choice(TIMES), "events_analyzed": dice.choice(COUNTS[:-1]), "sessions_included": dice.choice(SESSIONS)}
        rows.append(row | {"recorded_at": SINCE + timedelta(milliseconds=dice.randrange(10**9))})
    return rows


@pytest.mark.filterwarnings("ignore::evalkit.EvalkitWarning")  # many rows share a period, which is warned of
@pytest.mark.parametrize("extension", FORMATS)
def test_export_then_import_into_an_empty_home_gives_an_equal_frame(tmp_path: Path, extension: str) -> None:
    """Durations, lists, nulls, unicode, counts beyond 2^53, microseconds, times of recording and the order of ties all come back."""
    first = running(tmp_path / "first")
    first.record_checkpoints(NAME, nasty_rows(400))
    file = tmp_path / f"out.{extension.upper()}"
    assert export_checkpoints(first, file, NAME) == 400
    second = running(tmp_path / "second")
    assert import_checkpoints(second, file, NAME).recorded == 400
    went, came = (kit.checkpoints(NAME).drop("study_id", "checkpoint_id") for kit in (first, second))
    assert_frame_equal(came, went, check_exact=True)
    assert [str(value) for value in came["session_success_rate"]] == [str(value) for value in went["session_success_rate"]]  # -0.0 too
    again = tmp_path / f"again.{extension}"
    export_checkpoints(second, again)
    ids = ["study_id", "checkpoint_id"]
    assert_frame_equal(*(pl.DataFrame(list(rows_of(one)), infer_schema_length=None, strict=False).drop(ids) for one in (file, again)))


def rows_of(file: Path) -> list[dict[str, Any]]:
    extension = file.suffix.lower()
    if extension == ".parquet":
        return pl.read_parquet(file).rows(named=True)
    if extension == ".csv":
        return pl.read_csv(file, infer_schema=False).rows(named=True)
    return [json.loads(line) for line in file.read_bytes().split(b"\n") if line]


@pytest.mark.filterwarnings("ignore::evalkit.EvalkitWarning")
@pytest.mark.parametrize("extension", FORMATS)
def test_importing_twice_adds_nothing(tmp_path: Path, extension: str) -> None:
    """A second import of a file, and an import into the study that it came from, find every row recorded already; a changed row is new."""
    kit = running(tmp_path / "home")
    kit.record_checkpoints(NAME, [*nasty_rows(50), nasty_rows(50)[-1]])  # the last one is there twice, to the last digit
    file = tmp_path / f"all.{extension}"
    export_checkpoints(kit, file, NAME)
    assert import_checkpoints(kit, file, NAME).already_recorded == 51
    kit.create_study("copy", at=SINCE)
    kit.start_study("copy", at=SINCE)
    assert import_checkpoints(kit, file, "copy").recorded == 51
    done = import_checkpoints(kit, file, "copy")
    assert (done.recorded, done.already_recorded) == (0, 51)
    changed = kit.checkpoints("copy").with_columns(events_analyzed=pl.lit(77, dtype=pl.Int64)).head(1)
    changed.write_parquet(tmp_path / "changed.parquet")
    assert import_checkpoints(kit, tmp_path / "changed.parquet", "copy").recorded == 1


def test_importing_uses_nothing_that_polars_deprecates(tmp_path: Path) -> None:
    """Polars raises these warnings where pytest's filter cannot make them errors, so they are looked for."""
    with running(tmp_path / "home") as kit, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kit.record_checkpoint(NAME, {"period": (SINCE, SINCE + timedelta(days=14)), "total_tokens": 1})
        export_checkpoints(kit, tmp_path / "file.parquet")
        assert import_checkpoints(kit, tmp_path / "file.parquet", NAME).already_recorded == 1
    assert [str(one.message) for one in caught] == []


@pytest.mark.parametrize("extension", FORMATS)
def test_a_study_without_checkpoints_makes_a_file_that_imports_as_nothing(tmp_path: Path, extension: str) -> None:
    """An export of nothing is a file of its format, and importing it records nothing."""
    kit = running(tmp_path / "home")
    file = tmp_path / f"none.{extension}"
    assert export_checkpoints(kit, file, NAME) == 0
    assert import_checkpoints(kit, file, NAME).recorded == 0


def test_a_csv_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    """A byte order mark, CRLF, whole counts as 12.0, seconds as decimals, empty cells and any column order are fine."""
    text = (
        "period_end,period_start,avg_session_duration,sessions_completed,session_success_rate,sessions_included,total_cost\r\n"
        '2026-01-02T00:00:00+02:00,2026-01-01T00:00:00+02:00,612.500000001,12.0,1,"[""a"", ""b""]",1e-3\r\n'
        "2026-01-03T00:00:00Z,2026-01-02T00:00:00Z,,,,,\r\n"
        "\r\n"
    )
    (tmp_path / "sheet.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    kit = running(tmp_path / "home")
    import_checkpoints(kit, tmp_path / "sheet.csv", NAME)
    first, second = kit.storage.get_checkpoints(kit.resolve(NAME).id)
    assert first.metrics.avg_session_duration.pair == (612, 500_000_001)  # type: ignore[union-attr]
    assert (first.metrics.sessions_completed, first.metrics.session_success_rate, first.metrics.total_cost) == (12, 1.0, 0.001)
    assert first.metrics.period.start == datetime(2025, 12, 31, 22, tzinfo=UTC)
    assert first.sessions_included == ["a", "b"]
    assert second.metrics.measured() == {}


HEADER = "period_start,period_end,sessions_completed,session_success_rate,avg_session_duration,sessions_included"
PERIOD = "2026-01-01T00:00:00Z,2026-01-02T00:00:00Z"
REFUSED = {
    "rate.csv": (f"{HEADER}\n{PERIOD},1,0.5,,\n{PERIOD},1,85,,\n", "row 1, session_success_rate: 85.0 is outside the range 0 to 1"),
    "text.csv": (f"{HEADER}\n{PERIOD},many,,,\n", "row 0, sessions_completed: 'many' is no whole number"),
    "fraction.csv": (f"{HEADER}\n{PERIOD},1.5,,,\n", "row 0, sessions_completed: 1.5 is no whole number"),
    "big.csv": (f"{HEADER}\n{PERIOD},{2**63},,,\n", "row 0, sessions_completed: 9223372036854775808 is outside"),
    "nan.csv": (f"{HEADER}\n{PERIOD},,nan,,\n", "row 0, session_success_rate: 'nan'"),
    "huge.csv": (f"{HEADER}\n{PERIOD},,,1e999,\n", "row 0, avg_session_duration: inf is not finite"),
    "negative.csv": (f"{HEADER}\n{PERIOD},,,-1,\n", "row 0, avg_session_duration: -1.0 is outside the range 0"),
    "naive.csv": (
        f"{HEADER}\n2026-01-01T00:00:00,2026-01-02T00:00:00Z,,,,\n",
        "row 0, period_start: '2026-01-01T00:00:00' has no time zone",
    ),
    "names.csv": (f"{HEADER}\n{PERIOD},,,,a;b\n", "row 0, sessions_included: 'a;b' is no list of texts"),
    "unknown.csv": (f"sucess,{HEADER}\n,{PERIOD},,,,\n", "'sucess' is no metric"),
    "twice.csv": (f"{HEADER},sessions_completed\n{PERIOD},1,,,,2\n", "the column 'sessions_completed' is there twice"),
    "ragged.csv": (f"{HEADER}\n{PERIOD},1\n", "line 2 has 3 cells, the header 6"),
    "cut.csv": (f'{HEADER}\n{PERIOD},1,,,"[""a', "unexpected end of data"),
    "empty.csv": ("", "it is empty; the first line must name the columns"),
    "latin.csv": (HEADER.encode() + b"\n\xe9", "'utf-8' codec can't decode byte 0xe9"),
    "cut.ndjson": ('{"period_start": 1}\n{"period_sta', "line 2 is not JSON"),
    "nan.ndjson": ('{"session_success_rate": NaN}', "line 1 is not JSON"),
    "list.ndjson": ("[1]", "row 0"),
    "naked.ndjson": ("{}", "row 0, period_start is missing"),
    "garbage.parquet": (b"PAR1" + b"x" * 50 + b"PAR1", "cannot be read: parquet"),
    "text.parquet": (HEADER, "cannot be read: parquet"),
    "future.csv": (f"recorded_at,{HEADER}\n2999-01-01T00:00:00Z,{PERIOD},,,,\n", "recorded_at: '2999-01-01T00:00:00Z' lies in the future"),
    "sheet.xlsx": ("", "ends in none of .csv, .parquet and .ndjson"),
    "no extension": ("", "ends in none of .csv, .parquet and .ndjson"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_with_anything_wrong_is_refused_whole(tmp_path: Path, name: str) -> None:
    """The message names the file, and the row, line or column; nothing reaches the log."""
    content, message = REFUSED[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    kit = running(tmp_path / "home")
    with pytest.raises(InvalidInputError) as caught:
        import_checkpoints(kit, tmp_path / name, NAME)
    assert message in str(caught.value)
    assert name in str(caught.value)
    assert [part.end for part in kit.engine.log.ranges()] == [2]


def test_a_file_that_is_not_there_and_a_folder_are_told_in_words(tmp_path: Path) -> None:
    """What the operating system says of a file is passed on with its name."""
    kit = running(tmp_path / "home")
    for extension in FORMATS:
        with pytest.raises(InvalidInputError, match=r"none\.\w+ cannot be read: No such file or directory"):
            import_checkpoints(kit, tmp_path / f"none.{extension}", NAME)
        (tmp_path / f"folder.{extension}").mkdir()
        with pytest.raises(InvalidInputError, match=r"folder\.\w+ cannot be written: Is a directory"):
            export_checkpoints(kit, tmp_path / f"folder.{extension}", NAME)
        with pytest.raises(InvalidInputError, match=r"cannot be written: No such file or directory"):
            export_checkpoints(kit, tmp_path / "nowhere" / f"a.{extension}", NAME)


def test_an_export_replaces_a_file_at_once(tmp_path: Path) -> None:
    """Who has the old file open goes on reading the old one; its permissions and a link to it stay."""
    kit = running(tmp_path / "home")
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    with real.open() as reader:
        export_checkpoints(kit, link, NAME)
        assert reader.read() == "old"
    assert link.is_symlink()
    assert real.read_text().startswith("study_id,study,")
    assert real.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "link.csv", "real.csv"]


@pytest.mark.slow
@pytest.mark.parametrize("file", ["a.csv", "a.parquet", "a.ndjson", "log"])
def test_an_export_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, file: str) -> None:
    """On a full disk (a limit on the size of files stands in) the old file stays whole, and no half one is left beside it."""
    kit = running(tmp_path / "home")
    kit.record_checkpoints(
        NAME, [{"period_start": TIMES[2], "period_end": TIMES[4], "sessions_included": [os.urandom(32).hex() for _ in range(5000)]}]
    )
    kit.close()
    (tmp_path / file).write_text("old")
    command = ["log", "export", file] if file == "log" else ["checkpoint", "export", file]
    done = subprocess.run(
        [Path(sys.executable).parent / "evalkit", "--home", "home", *command], cwd=tmp_path, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)), timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {file} cannot be written: ")
    assert (tmp_path / file).read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([file, "home"])


def test_a_pipe_is_written_directly(tmp_path: Path) -> None:
    """A named pipe with the right extension gets the rows, and is still a pipe."""
    kit = running(tmp_path / "home")
    pipe = tmp_path / "pipe.ndjson"
    os.mkfifo(pipe)
    kit.record_checkpoints(NAME, [{"period_start": TIMES[2], "period_end": TIMES[4]}])
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    export_checkpoints(kit, pipe, NAME)
    reader.join(30)
    assert json.loads(got[0])["study"] == NAME
    assert pipe.is_fifo()


# --- the log ----------------------------------------------------------------------------------------------------------------------------


def engine_at(home: Path, partitions: int = 1) -> Engine:
    """An engine on a home; with partitions, on a log in memory that has them."""
    engine = Engine(Settings.resolve(home))
    if partitions > 1:
        engine.log = InMemoryEventLog(partitions)
        engine.consumer = EvalProjectionConsumer(engine.log, engine.database)
    return engine


def append(engine: Engine, *events: bytes) -> None:
    with engine.command():
        engine.make_ready()
        engine.log.append([EncodedEvent("", "", data) for data in events])
        engine.catch_up()


def exported(engine: Engine) -> tuple[bytes, LogExport]:
    stream = io.BytesIO()
    done = export_log(engine, stream)
    return stream.getvalue(), done


def all_data(engine: Engine) -> list[bytes]:
    return [record.data for record in engine.log.consumer("test").poll(100_000, 0)]


def envelope(event: object, *, at: int = 1_767_225_600_000, event_id: str | None = None) -> bytes:
    return json.dumps({"event_id": event_id or event_id_at(at), "event": event}).encode()


STUDY = "01a20992-afa3-7e32-bf5c-c2ca000c5fce"  # the first of the real events' studies


def test_the_real_log_goes_in_and_out_byte_for_byte(tmp_path: Path) -> None:
    """43 events of the Rust program: the export is the very file, and a home made from the export has the same digest."""
    first, second = engine_at(tmp_path / "first"), engine_at(tmp_path / "second")
    assert import_log(first, io.BytesIO(REAL)) == LogImport(43, 0)
    out, done = exported(first)
    assert out == REAL
    assert done == LogExport(43, 0, 0, 0)
    assert import_log(second, io.BytesIO(out.replace(b"\n", b"\r\n\n"))) == LogImport(43, 0)
    assert all_data(second) == REAL.splitlines()
    assert digest(Snapshot(first.database)) == digest(Snapshot(second.database))


def test_importing_a_log_twice_adds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Applied, rejected, quarantined and unknown events are skipped the second time, and so is what a file holds twice, chunk by chunk."""
    monkeypatch.setattr("evalkit.io.log_files._CHUNK", 5)
    more = [
        envelope({"type": "study_started", "id": STUDY}),  # not allowed: rejected
        envelope({"type": "study_archived", "study_id": STUDY}),  # an unknown kind
        envelope({"type": "study_started", "id": "no id"}),  # quarantined, its study not readable
        envelope({"type": "study_started", "id": STUDY, "pad": "x" * (1 << 20)}),  # too large: quarantined by its SHA-256
        envelope(None),
    ]
    file = REAL + b"\n".join([*more, more[0], REAL.splitlines()[3], more[3]])
    engine = engine_at(tmp_path / "home")
    assert import_log(engine, io.BytesIO(file)) == LogImport(48, 3)
    assert all_data(engine) == [*REAL.splitlines(), *more]
    outcomes = [engine.database.execute(f"SELECT count(*) FROM {table}")[0][0] for table in ("rejected", "quarantined")]
    assert outcomes == [1, 4]
    assert import_log(engine, io.BytesIO(file)) == LogImport(0, 51)
    assert all_data(engine) == [*REAL.splitlines(), *more]


def test_an_event_id_counts_once_in_each_study(tmp_path: Path) -> None:
    """The same event id in two studies is two events, as it is for the fold."""
    event_id = event_id_at(1_767_225_600_000)
    created = [
        {"type": "study_created", "id": study, "name": study, "period_type": "daily", "period_value": None, "config": {}}
        for study in (STUDY, STUDY[:-1] + "0")
    ]
    engine = engine_at(tmp_path / "home")
    file = b"\n".join(envelope(event, event_id=event_id) for event in created)
    assert import_log(engine, io.BytesIO(file)) == LogImport(2, 0)
    assert engine.database.execute("SELECT count(*) FROM studies") == [(2,)]
    assert import_log(engine, io.BytesIO(file)) == LogImport(0, 2)


def test_what_is_no_line_of_json_is_left_out_and_counted(tmp_path: Path) -> None:
    """Bytes that are not JSON, and JSON without an event id, are counted; raw line breaks become spaces; the export can be imported."""
    spread = b'\n{\r\n"event_id": "%s",\n "event": {"type": "study_paused",\r"id": "%s"}}\n' % (
        event_id_at(10**12).encode(),
        STUDY.encode(),
    )
    odd = [b"", b"\xff\xfe", b"not JSON", b'{"event_id": NaN}', b'"a\nb"', b"[" * 5000]
    without = [b"5", b"[]", b'{"no": "id"}', b'{"event_id": 7}', b'{"event_id": "6ba7b810-9dad-41d1-80b4-00c04fd430c8"}']
    engine = engine_at(tmp_path / "home")
    returned = b'{"event_id":\r"%s"}' % event_id_at(10**12).encode()
    append(engine, *REAL.splitlines(), *odd, spread, returned, *without)
    out, done = exported(engine)
    assert done == LogExport(exported=45, respaced=2, not_json=6, without_event_id=5)
    lines = out.split(b"\n")
    assert lines[:43] == REAL.splitlines()
    assert lines[43:] == [data.replace(b"\n", b" ").replace(b"\r", b" ") for data in (spread, returned)] + [b""]
    assert json.loads(lines[43]) == json.loads(spread)
    other = engine_at(tmp_path / "other")
    assert import_log(other, io.BytesIO(out)) == LogImport(45, 0)
    assert digest(Snapshot(engine.database)) == digest(Snapshot(other.database))


def test_events_stay_in_the_order_of_their_study_whatever_the_partitions(tmp_path: Path) -> None:
    """From one partition to four and back: each study's events keep their order, unknown kinds go with their study, the digest stays."""
    one, four, back = engine_at(tmp_path / "one"), engine_at(tmp_path / "four", 4), engine_at(tmp_path / "back")
    unknown = [envelope({"type": "study_archived", "id": STUDY.upper()}), envelope({"type": "note_taken", "study_id": STUDY})]
    nowhere = envelope({"type": "weather_changed", "id": "sunny"})
    import_log(one, io.BytesIO(REAL + b"\n".join([*unknown, nowhere])))
    import_log(four, io.BytesIO(exported(one)[0]))
    assert len([part for part in four.log.ranges() if part.end]) > 1
    placed = {record.data: record.partition for record in four.log.consumer("test").poll(1000, 0)}
    assert [placed[data] for data in [*unknown, nowhere]] == [partition_of(STUDY, 4)] * 2 + [partition_of("", 4)]
    import_log(back, io.BytesIO(exported(four)[0]))
    assert sorted(all_data(back)) == sorted(all_data(one))

    def by_study(engine: Engine) -> dict[str, list[str]]:
        order: dict[str, list[str]] = {}
        for data in all_data(engine):
            envelope = json.loads(data)
            event = envelope["event"]
            order.setdefault(str(event.get("study_id") or event["id"]).lower(), []).append(envelope["event_id"])
        return order

    assert by_study(one) == by_study(back)
    assert len({digest(Snapshot(engine.database)) for engine in (one, four, back)}) == 1


WRONG_LINES = {
    "no JSON": (b"hello", "line 2 is not JSON"),
    "cut": (b'{"event_id": "01a2', "line 2 is not JSON"),
    "not UTF-8": (b'{"event_id": "\xff"}', "line 2 is not JSON"),
    "NaN": (b'{"event_id": NaN}', "line 2 is not JSON"),
    "two events": (REAL.splitlines()[0] * 2, "line 2 is not JSON"),
    "a list": (b"[1]", "line 2 is JSON, but no object: [1]"),
    "no event id": (b'{"id": 1}', 'line 2 has no "event_id" that is a text'),
    "a number": (b'{"event_id": 5}', 'line 2 has no "event_id" that is a text'),
    "no UUID": (b'{"event_id": "five"}', "line 2 has a wrong event_id: 'five' is not a UUID"),
    "version 4": (b'{"event_id": "6ba7b810-9dad-41d1-80b4-00c04fd430c8"}', "is not a version 7 UUID"),
    "far future": (b'{"event_id": "ffffffff-ffff-7fff-bfff-ffffffffffff"}', "is after the year 9999"),
}


@pytest.mark.parametrize("case", WRONG_LINES)
def test_a_file_with_one_line_that_is_no_event_is_refused_whole(tmp_path: Path, case: str) -> None:
    """The message names the line; nothing is appended, and no home is made."""
    line, message = WRONG_LINES[case]
    first, *rest = REAL.splitlines()
    with pytest.raises(InvalidInputError, match="Nothing was appended") as caught:
        import_log(engine_at(tmp_path / "home"), io.BytesIO(b"\n".join([first, line, *rest])))
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_imports_as_nothing(tmp_path: Path) -> None:
    """No event: no home is made either."""
    assert import_log(engine_at(tmp_path / "home"), io.BytesIO(b"\n \r\n")) == LogImport(0, 0)
    assert list(tmp_path.iterdir()) == []


def test_an_import_that_was_cut_short_is_finished_by_importing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the log goes away in the middle, the message says how far it came, and a second import appends the rest."""
    monkeypatch.setattr("evalkit.io.log_files._CHUNK", 10)
    engine = engine_at(tmp_path / "home")
    append_really = engine.log.append

    def append_twice(messages: list[EncodedEvent]) -> object:
        if len(all_data(engine)) >= 20:
            raise LogUnavailableError("The event log cannot be used: the disk is full. Nothing was appended.")
        return append_really(messages)

    monkeypatch.setattr(engine.log, "append", append_twice)
    with pytest.raises(LogError, match=r"the disk is full.*Before that 20 events of the import were appended: import again"):
        import_log(engine, io.BytesIO(REAL))
    monkeypatch.setattr(engine.log, "append", append_really)
    assert import_log(engine, io.BytesIO(REAL)) == LogImport(23, 20)
    assert all_data(engine) == REAL.splitlines()


def test_a_log_is_exported_though_its_read_model_is_damaged(tmp_path: Path) -> None:
    """A backup needs the log alone."""
    engine = engine_at(tmp_path / "home")
    import_log(engine, io.BytesIO(REAL))
    engine.close()
    (tmp_path / "home" / "evalkit.db").write_bytes(b"garbage" * 1000)
    assert exported(engine_at(tmp_path / "home"))[0] == REAL


def test_an_export_says_when_the_beginning_is_gone(tmp_path: Path) -> None:
    """What the log still holds is exported, with a warning that it is not all."""
    engine = engine_at(tmp_path / "home")
    import_log(engine, io.BytesIO(REAL))
    with engine.log._use() as connection:  # type: ignore[attr-defined]
        connection.execute('DELETE FROM events WHERE "offset" < 3')
    with pytest.warns(EvalkitWarning, match="begins at offset 3: its first 3 events are gone"):
        out, done = exported(engine)
    assert out.splitlines() == REAL.splitlines()[3:]
    assert done.exported == 40


def test_errors_of_evalkit_pass_through_file_errors(tmp_path: Path) -> None:
    """An `EvalkitError` inside a write is told as it is, not as a file that cannot be written."""
    with pytest.raises(EvalkitError, match=r"^as it is\.$"), writing(tmp_path / "file"):
        raise LogUnavailableError("as it is")
    assert list(tmp_path.iterdir()) == []


def test_an_export_says_when_events_are_missing_in_the_middle(tmp_path: Path) -> None:
    """A backup of a log with a hole is made as far as it can be, and warned of."""
    with running(tmp_path / "home") as kit:
        kit.stop_study(NAME)
        with closing(sqlite3.connect(tmp_path / "home" / "events.db")) as connection, connection:
            connection.execute('DELETE FROM events WHERE "offset" = 1')
        with pytest.warns(EvalkitWarning, match="lacks 1 events"):
            assert export_log(kit.engine, io.BytesIO()).exported == 2
