"""Import and export of checkpoints in all file formats, and of the log as NDJSON."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import re
import resource
import sqlite3
import subprocess
import sys
import tempfile
import threading
import warnings
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot
from polars.testing import assert_frame_equal

import evalkit
from evalkit import METRICS, EvalkitError, EvalkitWarning, InvalidInputError
from evalkit._util.atomic_files import writing
from evalkit.domain.commands import RecordCheckpoint, checkpoint_commands
from evalkit.domain.events import EncodedEvent
from evalkit.domain.ids import event_id_at
from evalkit.errors import LogError, LogUnavailableError
from evalkit.eventlog.event_log import partition_of
from evalkit.frames.columns import CHECKPOINTS, frame_schema
from evalkit.io.checkpoint_files import export_checkpoints, import_checkpoints, write_frame
from evalkit.io.checkpoint_reader import file_format, read_rows
from evalkit.io.log_files import LogExport, LogImport, export_log, import_log
from evalkit.readmodel.consumer import EvalProjectionConsumer
from evalkit.readmodel.snapshot import Snapshot
from evalkit.readmodel.verify import digest
from evalkit.runtime.engine import Engine
from evalkit.settings import Settings
from tests.memory_log import InMemoryEventLog
from tests.messages import says
from tests.properties import examples

ALL_FORMATS = ["csv", "tsv", "ndjson", "jsonl", "json", "parquet", "csv.gz", "tsv.gz", "ndjson.gz", "jsonl.gz", "json.gz", "parquet.gz"]
FORMATS = ["csv", "json", "parquet.gz"]
"""One of each kind, where the format matters little."""
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
    """Valid rows with values that are hard to represent; many share a timestamp."""
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


@pytest.mark.filterwarnings("ignore::evalkit.EvalkitWarning")  # many rows share a period
@pytest.mark.parametrize("extension", ["csv", "tsv", "ndjson", "json", "parquet", "csv.gz"])
def test_import_of_an_export_gives_an_equal_frame(tmp_path: Path, extension: str) -> None:
    """Durations, lists, nulls, Unicode, counts above 2^53, microseconds, recording times and the order of ties are preserved."""
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
    assert_frame_equal(*(pl.DataFrame(rows_of(path), infer_schema_length=None, strict=False).drop(ids) for path in (file, again)))


def rows_of(file: Path) -> list[dict[str, Any]]:
    extension, compressed = file_format(file)
    data = gzip.decompress(file.read_bytes()) if compressed else file.read_bytes()
    if extension == "parquet":
        return pl.read_parquet(data).rows(named=True)
    if extension in ("csv", "tsv"):
        return pl.read_csv(data, infer_schema=False, separator="," if extension == "csv" else "\t").rows(named=True)
    return json.loads(data) if extension == "json" else [json.loads(line) for line in data.split(b"\n") if line]


@pytest.mark.filterwarnings("ignore::evalkit.EvalkitWarning")
@pytest.mark.parametrize("extension", FORMATS)
def test_second_import_records_nothing(tmp_path: Path, extension: str) -> None:
    """Neither does an import into the exported study; a changed row is recorded."""
    kit = running(tmp_path / "home")
    kit.record_checkpoints(NAME, [*nasty_rows(50), nasty_rows(50)[-1]])  # the last row occurs twice
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


def test_import_uses_no_deprecated_polars_feature(tmp_path: Path) -> None:
    """Pytest's filter cannot turn these warnings of Polars into errors."""
    with running(tmp_path / "home") as kit, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kit.record_checkpoint(NAME, {"period": (SINCE, SINCE + timedelta(days=14)), "total_tokens": 1})
        export_checkpoints(kit, tmp_path / "file.parquet")
        assert import_checkpoints(kit, tmp_path / "file.parquet", NAME).already_recorded == 1
    assert [str(warning.message) for warning in caught] == []


@pytest.mark.parametrize("extension", ALL_FORMATS)
def test_export_without_checkpoints_can_be_imported(tmp_path: Path, extension: str) -> None:
    """The file is valid in its format, and importing it records nothing."""
    kit = running(tmp_path / "home")
    file = tmp_path / f"none.{extension}"
    assert export_checkpoints(kit, file, NAME) == 0
    assert import_checkpoints(kit, file, NAME).recorded == 0


def test_csv_of_a_spreadsheet(tmp_path: Path) -> None:
    """A byte order mark, CRLF, counts such as 12.0, fractions of seconds, empty cells and any column order are accepted."""
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


HEADER = "period_start,period_end,sessions_completed,session_success_rate,total_cost,avg_session_duration,sessions_included"
PERIOD = "2026-01-01T00:00:00Z,2026-01-02T00:00:00Z"


def table(*rows: str, separator: str = ",") -> str:
    """A csv text with a header and a period in each row; the other cells of `rows` are separated by a vertical bar."""
    period = PERIOD.replace(",", separator)
    lines = [HEADER.replace(",", separator), *(f"{period}{separator}{row.replace('|', separator)}" for row in rows)]
    return "\n".join(lines) + "\n"


REFUSED = {
    "rate.csv": (
        table("1|0.5|||", "1|85|||"),
        snapshot(
            "TMP/rate.csv, line 3: Invalid session_success_rate 85: expected a rate from 0 to 1, not a percentage. Nothing was recorded. Write 0.85, or pass percent=True to read 85% and 85 as 0.85."
        ),
    ),
    "text.csv": (
        table("many||||"),
        snapshot(
            "TMP/text.csv, line 2: Invalid sessions_completed 'many': expected a number without units or symbols. Nothing was recorded. Leave the cell empty if the value is missing."
        ),
    ),
    "symbol.csv": (
        table("||$12.50||"),
        snapshot(
            "TMP/symbol.csv, line 2: Invalid total_cost '$12.50': expected a number without units or symbols. Nothing was recorded. Leave the cell empty if the value is missing."
        ),
    ),
    "fraction.csv": (
        table("1.5||||"),
        snapshot("TMP/fraction.csv, line 2: Invalid sessions_completed 1.5: expected a whole number of 0 or more. Nothing was recorded."),
    ),
    "big.csv": (
        table(f"{2**63}||||"),
        snapshot(
            "TMP/big.csv, line 2: Invalid sessions_completed 9223372036854775808: expected at most 9,223,372,036,854,775,807. Nothing was recorded."
        ),
    ),
    "infinite.csv": (
        table("|inf|||"),
        snapshot(
            "TMP/infinite.csv, line 2: Invalid session_success_rate 'inf': expected a number without units or symbols. Nothing was recorded. Leave the cell empty if the value is missing."
        ),
    ),
    "huge.csv": (
        table("|||1e9999999999999999999|"),
        snapshot("TMP/huge.csv, line 2: Invalid avg_session_duration inf: not finite. Nothing was recorded. Use None for a missing value."),
    ),
    "negative.csv": (
        table("|||-1|"),
        snapshot(
            "TMP/negative.csv, line 2: Invalid avg_session_duration -1: expected 0 or more seconds, or a timedelta. Nothing was recorded."
        ),
    ),
    "several.csv": (
        table(*["|85|||"] * 7, "1||||"),
        snapshot("""\
TMP/several.csv, line 2: Invalid session_success_rate 85: expected a rate from 0 to 1, not a percentage. 7 of 8 rows are invalid; nothing was recorded. Write 0.85, or pass percent=True to read 85% and 85 as 0.85.
line 3: Invalid session_success_rate 85: expected a rate from 0 to 1, not a percentage. Write 0.85, or pass percent=True to read 85% and 85 as 0.85.
line 4: Invalid session_success_rate 85: expected a rate from 0 to 1, not a percentage. Write 0.85, or pass percent=True to read 85% and 85 as 0.85.
line 5: Invalid session_success_rate 85: expected a rate from 0 to 1, not a percentage. Write 0.85, or pass percent=True to read 85% and 85 as 0.85.
line 6: Invalid session_success_rate 85: expected a rate from 0 to 1, not a percentage. Write 0.85, or pass percent=True to read 85% and 85 as 0.85.
2 more invalid rows.\
"""),
    ),
    "naive.csv": (
        table("1||||").replace("02T00:00:00Z", "02T00:00:00"),
        snapshot(
            "TMP/naive.csv, line 2: Invalid period_end '2026-01-02T00:00:00': no time zone; expected e.g. '2026-01-31T00:00:00Z'. Nothing was recorded. Pass tz='UTC' to read dates and local times in that time zone."
        ),
    ),
    "sessions.csv": (
        table("||||a;b"),
        snapshot(
            'TMP/sessions.csv, line 2: Invalid sessions_included \'a;b\': expected a list of strings, e.g. ["one", "two"]. Nothing was recorded.'
        ),
    ),
    "unknown.csv": (
        f"sucess,{HEADER}\n",
        snapshot(
            "TMP/unknown.csv: Unknown column 'sucess'. Nothing was recorded. Did you mean 'session_success_rate'? To record it as a custom metric, define it with kit.define_metric(), or pass define=\"auto\"."
        ),
    ),
    "duplicate.csv": (
        f"{HEADER},total_cost\n",
        snapshot("TMP/duplicate.csv: duplicate column 'total_cost'. Nothing was recorded. Remove or rename one of them."),
    ),
    "unnamed.csv": (
        f"{HEADER},,key\n{PERIOD},1,,,,,note,a\n",
        snapshot("TMP/unnamed.csv, line 2: Value in a column without a name. Nothing was recorded."),
    ),
    "short.csv": (
        f"{HEADER}\n{PERIOD},1\n",
        snapshot("TMP/short.csv, line 2: Expected 7 cells as in the header, got 3. Nothing was recorded."),
    ),
    "unclosed.csv": (
        f'{HEADER}\n{PERIOD},1,,,,"[""a',
        snapshot("TMP/unclosed.csv, line 2: invalid csv: unexpected end of data. Nothing was recorded. Close every quotation mark."),
    ),
    "empty.csv": ("", snapshot("TMP/empty.csv: the file is empty. Nothing was recorded. The first line must contain the column names.")),
    "latin.csv": (
        HEADER.encode() + b"\n\xe9",
        snapshot(
            "TMP/latin.csv, line 2: not valid UTF-8 text. Nothing was recorded. Save the file as UTF-8; in Excel, choose 'CSV UTF-8'."
        ),
    ),
    "utf16.csv": (
        HEADER.encode("utf-16-le"),
        snapshot(
            "TMP/utf16.csv: the file contains NUL characters. Nothing was recorded. Save the file as UTF-8; in Excel, choose 'CSV UTF-8'."
        ),
    ),
    "incomplete.ndjson": (
        '{"period_start": 1}\n{"period_sta',
        snapshot("""\
TMP/incomplete.ndjson, line 1: Invalid period_start 1: not a time; expected e.g. '2026-01-31T00:00:00Z'. 2 of 2 rows are invalid; nothing was recorded.
line 2: invalid JSON at column 12.\
"""),
    ),
    "infinite.ndjson": (
        '{"period_start": "2026-01-01T00:00:00Z", "period_end": "2026-01-02T00:00:00Z", "total_cost": Infinity}',
        snapshot("TMP/infinite.ndjson, line 1: Invalid total_cost inf: not finite. Nothing was recorded. Use None for a missing value."),
    ),
    "list.jsonl": ("[1]", snapshot("TMP/list.jsonl, line 1: Expected a JSON object, got [1]. Nothing was recorded.")),
    "object.ndjson": (
        "{}",
        snapshot(
            "TMP/object.ndjson, line 1: period_start is missing. Nothing was recorded. The end may be omitted if period_start is the start of a period, such as midnight for a daily study."
        ),
    ),
    "object.json": (
        '{"total_cost": 1}',
        snapshot(
            "TMP/object.json: expected an array of objects, got one object. Nothing was recorded. Write one object for each checkpoint: [{...}, {...}]."
        ),
    ),
    "lines.json": (
        '{"total_cost": 1}\n{"total_cost": 2}',
        snapshot(
            "TMP/lines.json: invalid JSON at line 2, column 1. Nothing was recorded. For a file with one object per line, use the extension .ndjson."
        ),
    ),
    "number.json": ("[5]", snapshot("TMP/number.json, row 0: Expected a JSON object, got 5. Nothing was recorded.")),
    "damaged.parquet": (
        b"PAR1" + b"x" * 50 + b"PAR1",
        snapshot("Cannot read 'TMP/damaged.parquet': not a valid Parquet file."),
    ),
    "text.parquet": (
        HEADER,
        snapshot("Cannot read 'TMP/text.parquet': not a valid Parquet file."),
    ),
    "text.csv.gz": (HEADER, snapshot("Cannot read 'TMP/text.csv.gz': damaged or incomplete gzip data.")),
    "cut.csv.gz": (gzip.compress(HEADER.encode())[:-10], snapshot("Cannot read 'TMP/cut.csv.gz': damaged or incomplete gzip data.")),
    "future.csv": (
        f"recorded_at,{HEADER}\n2999-01-01T00:00:00Z,{PERIOD},,,,,\n",
        snapshot(
            "TMP/future.csv, line 2: Invalid recorded_at '2999-01-01T00:00:00Z': in the future (now is NOW; at most 5 minutes ahead are allowed). Nothing was recorded."
        ),
    ),
    "sheet.xlsx": (
        "",
        snapshot(
            "Unsupported file extension in 'TMP/sheet.xlsx'; expected .csv, .tsv, .ndjson, .jsonl, .json or .parquet, each optionally followed by .gz."
        ),
    ),
    "only.gz": (
        "",
        snapshot(
            "Unsupported file extension in 'TMP/only.gz'; expected .csv, .tsv, .ndjson, .jsonl, .json or .parquet, each optionally followed by .gz."
        ),
    ),
    "no extension": (
        "",
        snapshot(
            "Unsupported file extension in 'TMP/no extension'; expected .csv, .tsv, .ndjson, .jsonl, .json or .parquet, each optionally followed by .gz."
        ),
    ),
    "thousands.csv": (
        table('"1,234"||||'),
        snapshot(
            "TMP/thousands.csv, line 2: Invalid sessions_completed '1,234': thousands separators are not supported; write the number without them. Nothing was recorded."
        ),
    ),
    "comma.csv": (
        table('|"0,5"|||'),
        snapshot(
            "TMP/comma.csv, line 2: Invalid session_success_rate '0,5': decimal commas are supported only in files separated by semicolons or tabs; write 0.5. Nothing was recorded."
        ),
    ),
    "unclear.csv": (
        table("||1,234||", separator=";"),
        snapshot(
            "TMP/unclear.csv, line 2: ambiguous total_cost '1,234': 1234 or 1.234. Nothing was recorded. Write 1234, or 1,2340 for 1.234."
        ),
    ),
    "both.csv": (
        table("|0.5|12,5||", separator=";"),
        snapshot(
            "TMP/both.csv, line 2: total_cost '12,5' has a decimal comma, but session_success_rate '0.5' in line 2 has a decimal point. Nothing was recorded. Use the same decimal mark throughout the file, without thousands separators."
        ),
    ),
    "separators.csv": (
        "period_start;period_end,total_cost\n",
        snapshot(
            "TMP/separators.csv: the header can be read as comma-separated or semicolon-separated. Nothing was recorded. Use the same separator between all column names."
        ),
    ),
    "percent.csv": (
        table("|85%|||", "|90\u00a0%|||"),
        snapshot("""\
TMP/percent.csv, line 2: Invalid session_success_rate '85%': expected a rate from 0 to 1, not a percentage. 2 of 2 rows are invalid; nothing was recorded. Write 0.85, or pass percent=True to read 85% and 85 as 0.85.
line 3: Invalid session_success_rate '90\\xa0%': expected a rate from 0 to 1, not a percentage. Write 0.9, or pass percent=True to read 85% and 85 as 0.85.\
"""),
    ),
    "percent.ndjson": (
        '{"session_success_rate": "85%"}',
        snapshot(
            "TMP/percent.ndjson, line 1: Invalid session_success_rate '85%': expected a rate from 0 to 1, not a percentage. Nothing was recorded. Write 0.85, or pass percent=True to read 85% and 85 as 0.85."
        ),
    ),
    "percent cost.csv": (
        table("||85%||"),
        snapshot(
            "TMP/percent cost.csv, line 2: Invalid total_cost '85%': only rates can be percentages; expected a number without %. Nothing was recorded."
        ),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_file_is_refused_completely(tmp_path: Path, name: str) -> None:
    """The message names the file, the line or row, and the column; nothing is appended to the log."""
    content, message = REFUSED[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    kit = running(tmp_path / "home")
    with pytest.raises(InvalidInputError) as error:
        import_checkpoints(kit, tmp_path / name, NAME)
    notes = getattr(error.value, "__notes__", [])
    assert says("\n".join([str(error.value), *notes])) == message
    assert [part.end for part in kit.engine.log.ranges()] == [2]


def test_error_counts_rows_from_0(tmp_path: Path) -> None:
    """The attributes of the error are those of the first invalid row."""
    (tmp_path / "rows.csv").write_text(table("1||||", "1|85|||").replace("\n", "\n,,,,,,\n"))
    with running(tmp_path / "home") as kit, pytest.raises(InvalidInputError) as error:
        import_checkpoints(kit, tmp_path / "rows.csv", NAME)
    assert (error.value.row, error.value.field, error.value.value) == (1, "session_success_rate", 85)
    assert "rows.csv, line 5: " in str(error.value)


def test_error_while_recording_names_the_line(tmp_path: Path) -> None:
    """A conflict between two rows is found only when they are recorded."""
    rows = f"key,recorded_at,{HEADER}\n,2026-01-05T00:00:00Z,{PERIOD},1,,,,\na,,{PERIOD},1,,,,\na,,{PERIOD},2,,,,\n"
    (tmp_path / "keys.csv").write_text(rows)
    with running(tmp_path / "home") as kit:
        (tmp_path / "first.csv").write_text("\n".join(rows.split("\n")[:2]))
        import_checkpoints(kit, tmp_path / "first.csv", NAME)
        with pytest.raises(InvalidInputError) as error:
            import_checkpoints(kit, tmp_path / "keys.csv", NAME)
    assert error.value.row == 2
    assert "keys.csv, line 4: " in str(error.value)


# --- files of other programs ------------------------------------------------------------------------------------------------------------


def imported(tmp_path: Path, name: str, content: str | bytes, **options: Any) -> tuple[pl.DataFrame, str]:
    """Import a file into a new study; return its frame and what was detected."""
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    kit = running(tmp_path / f"home of {name}")
    with warnings.catch_warnings(action="ignore"):
        result = import_checkpoints(kit, file, NAME, **options)
    frame = kit.checkpoints(NAME)
    assert result.recorded == frame.height
    return frame, result.read_as


@pytest.mark.parametrize("text", ["", " ", "nan", "NaN", "NA", "N/A", "n/a", "#N/A", "null", "NULL", "None", "<NA>", "-", "\u2013", '""'])
def test_missing_values_of_csv_files(tmp_path: Path, text: str) -> None:
    """They are null in every column but `key`; a line without values is skipped."""
    content = table(f"{text}|{text}|{text}|{text}|{text}") + ",,,,,,\n , ,,,,,\n\n"
    frame, read_as = imported(tmp_path, "a.csv", content)
    assert (frame.height, read_as) == (1, "")
    assert frame.select(list(METRICS)).row(0) == (None,) * len(METRICS)
    assert frame["sessions_included"].to_list() == [[]]


def test_key_may_be_a_text_for_missing_values(tmp_path: Path) -> None:
    """Only an empty cell is a missing key, so that NA is the key of North America."""
    content = f"key,{HEADER}\n" + "".join(f"{key},{PERIOD},1,,,,\n" for key in ("NA", "", "NA"))
    assert imported(tmp_path, "keys.csv", content.replace("\nNA", "\nEU", 1))[0].height == 3


def test_spaces_around_values_are_ignored(tmp_path: Path) -> None:
    """Also around column names and quotes, and no-break spaces."""
    frame, _ = imported(tmp_path, "a.csv", table(' 5 |" 0.5 "|\u00a012.5\u00a0| 90 |  "[""a""]"').replace("total_cost", " total_cost "))
    assert frame.select("sessions_completed", "session_success_rate", "total_cost").row(0) == (5, 0.5, 12.5)
    assert frame["sessions_included"].to_list() == [["a"]]


@pytest.mark.parametrize(
    ("name", "separator", "mark", "read_as"),
    [
        ("a.csv", ",", ".", ""), ("a.csv", ";", ".", "semicolon-separated"), ("a.csv", "\t", ".", "tab-separated"), ("a.tsv", "\t", ".", ""),
        ("a.csv", ";", ",", "semicolon-separated with decimal commas"), ("a.csv", "\t", ",", "tab-separated with decimal commas"),
        ("a.tsv", "\t", ",", "tab-separated with decimal commas"), ("a.tsv", ";", ",", "semicolon-separated with decimal commas"),
        ("a.tsv", ",", ".", "comma-separated"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_separator_decimal_mark_and_encoding_are_detected(
    tmp_path: Path, name: str, separator: str, mark: str, read_as: str, encoding: str
) -> None:
    """What the extension does not imply is part of the result."""
    text = table("1000|0.5|1.234|90.25|", "2||5|90|", separator=separator)
    marked = text.replace("0.5", f"0{mark}5").replace("1.234", f"1{mark}234").replace("90.25", f"90{mark}25").replace("\n", "\r\n")
    frame, detected = imported(tmp_path, name, marked.encode(encoding))
    assert frame["sessions_completed"].to_list() == [1000, 2]
    assert frame["session_success_rate"].to_list() == [0.5, None]
    assert frame["total_cost"].to_list() == [1.234, 5.0]
    assert frame["avg_session_duration"].to_list() == [timedelta(seconds=90.25), timedelta(seconds=90)]
    assert detected == (", ".join(filter(None, ["UTF-16", read_as])) if encoding == "utf-16" else read_as)


def test_separator_of_excel_is_honored(tmp_path: Path) -> None:
    """A first line such as `sep=;` names it; errors count that line."""
    frame, read_as = imported(tmp_path, "a.csv", "sep=;\n" + table("1|0.5|||", separator=";"))
    assert (frame["sessions_completed"].to_list(), read_as) == ([1], "semicolon-separated")
    with pytest.raises(InvalidInputError, match=r"b\.csv, line 3: "):
        imported(tmp_path, "b.csv", "sep=\t\n" + table("x||||", separator="\t"))


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        (["0,5|1,234"], [1.234]), (["0,5|1234,5"], [1234.5]), (["0.5|1.234"], [1.234]), (["|1,234"], None), (["|1.234"], None),
        (["0,5|1.234"], None), (["0,5|1.234,5"], None), (["0.5|1,234"], None), (["0,5|0.5"], None), (["|1,234,567"], None),
        (["|1,2340"], [1.234]), (["|1e3"], [1000.0]), (["|1,5e3"], [1500.0]), (["|0,123", "|1,234"], [0.123, 1.234]),
    ],
)  # fmt: skip
def test_thousands_separators_are_not_guessed(tmp_path: Path, cells: list[str], column: list[float] | None) -> None:
    """A number of a semicolon-separated file that can be read in two ways is refused, unless another one settles the decimal mark."""
    period = PERIOD.replace(",", ";")
    content = "period_start;period_end;session_success_rate;total_cost\n" + "".join(f"{period};{row.replace('|', ';')}\n" for row in cells)
    if column is None:
        with pytest.raises(InvalidInputError):
            imported(tmp_path, "a.csv", content)
    else:
        assert imported(tmp_path, "a.csv", content)[0]["total_cost"].to_list() == column


@pytest.mark.parametrize("count", ["1.000", "1,000", "1.000.000", "1.234"])
def test_counts_with_thousands_separators_are_refused(tmp_path: Path, count: str) -> None:
    """1.000 is never read as 1 in a file that may use decimal commas."""
    for other in ("0,5", "0.5"):
        with pytest.raises(InvalidInputError):
            imported(tmp_path, f"{other}.csv", table(f"{count}|{other}|||", separator=";"))


@pytest.mark.parametrize(
    ("cells", "rates"),
    [
        (["85%", "85.5\u00a0%", "0%", "1%"], [0.85, 0.855, 0.0, 0.01]), (["85", "85.5", "", "0"], [0.85, 0.855, None, 0.0]),
        (["0%", "0"], [0.0, 0.0]), (["0.5%", ""], [0.005, None]), (["85%", "85"], None), (["0.85", "1"], None), (["1"], None),
        (["85%", "0.85"], None), (["850%"], None), (["100%", "100.00001%"], [1.0, 1.0]),
    ],
)  # fmt: skip
def test_percentages(tmp_path: Path, cells: list[str], rates: list[float | None] | None) -> None:
    """With `percent`, 85% and 85 are 0.85; a column that can be read in two ways is refused. Other columns are not changed."""
    content = table(*(f"100|{cell}|85||" for cell in cells))
    if rates is None:
        with pytest.raises(InvalidInputError):
            imported(tmp_path, "a.csv", content, percent=True)
        return
    frame, _ = imported(tmp_path, "a.csv", content, percent=True)
    assert frame["session_success_rate"].to_list() == rates
    assert frame.select("sessions_completed", "total_cost").unique().rows() == [(100, 85.0)]


def test_percentages_of_other_formats(tmp_path: Path) -> None:
    """Numbers and strings of json files, and numbers of parquet files; decimal commas in csv files."""
    period = {"period_start": "2026-01-01T00:00:00Z", "period_end": "2026-01-02T00:00:00Z"}
    for name, rates in (("a.json", [85, 85.5]), ("b.json", ["85%", "85.5\u00a0%"])):
        content = json.dumps([{**period, "session_success_rate": rate} for rate in rates])
        assert imported(tmp_path, name, content, percent=True)[0]["session_success_rate"].to_list() == [0.85, 0.855]
    stream = io.BytesIO()
    pl.DataFrame([{**period, "session_success_rate": 85.5}]).write_parquet(stream)
    assert imported(tmp_path, "a.parquet", stream.getvalue(), percent=True)[0]["session_success_rate"].to_list() == [0.855]
    assert imported(tmp_path, "c.csv", table("|85,5%|||", separator=";"), percent=True)[0]["session_success_rate"].to_list() == [0.855]


@pytest.mark.parametrize("extension", ["ndjson", "jsonl", "json", "ndjson.gz", "json.gz"])
def test_nan_of_json_files_is_missing(tmp_path: Path, extension: str) -> None:
    """Python's `json.dumps` writes NaN for a missing number."""
    row = {"period_start": "2026-01-01T00:00:00Z", "period_end": "2026-01-02T00:00:00Z", "total_cost": float("nan"), "total_tokens": 5}
    content = json.dumps([row] if extension.startswith("json") and "l" not in extension else row).encode()
    frame, _ = imported(tmp_path, f"a.{extension}", gzip.compress(content) if extension.endswith("gz") else content)
    assert frame.select("total_cost", "total_tokens").row(0) == (None, 5)


def test_nan_of_parquet_files_is_missing(tmp_path: Path) -> None:
    """So that a frame with NaN can be stored and imported."""
    stream = io.BytesIO()
    pl.DataFrame({"period_start": [SINCE], "period_end": [SINCE + timedelta(days=1)], "total_cost": [float("nan")]}).write_parquet(stream)
    assert imported(tmp_path, "a.parquet", stream.getvalue())[0]["total_cost"].to_list() == [None]


def test_dates_are_read_in_a_time_zone(tmp_path: Path) -> None:
    """Without period_end, the end of the day follows; clock changes count. Without a time zone, dates are refused."""
    content = "period_start,total_cost\n2026-03-28,1\n2026-03-29,2\n"
    file = tmp_path / "days.csv"
    file.write_text(content)
    kit = evalkit.connect(tmp_path / "home")
    kit.start_study(kit.create_study("days", period="daily", at=SINCE), at=SINCE)
    with pytest.raises(InvalidInputError) as error:
        import_checkpoints(kit, file, "days")
    assert (error.value.field, error.value.row) == ("period_start", 0)
    assert import_checkpoints(kit, file, "days", tz="Europe/Berlin").recorded == 2
    assert kit.checkpoints("days").select("period_start", "period_end").rows() == [
        (datetime(2026, 3, 27, 23, tzinfo=UTC), datetime(2026, 3, 28, 23, tzinfo=UTC)),
        (datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC)),
    ]
    with pytest.raises(InvalidInputError) as error:
        import_checkpoints(kit, file, "days", tz="Europe/Berln")
    assert (error.value.field, error.value.value) == ("tz", "Europe/Berln")


# --- custom metrics, versions and states ------------------------------------------------------------------------------------------------

CUSTOM = (
    evalkit.Metric("refusals", kind="count", better="down"), evalkit.Metric("refusal_rate", kind="rate", better="down"),
    evalkit.Metric("delta", kind="number", better="neither"), evalkit.Metric("judge_cost", kind="money", better="down"),
    evalkit.Metric("wait", kind="duration", better="down"), evalkit.Metric("grade", kind="score", better="up", low=-5, high=10),
)  # fmt: skip


def with_custom(home: Path, name: str = NAME) -> evalkit.EvalKit:
    """A kit with a running study that defines a metric of each kind."""
    kit = running(home, name)
    kit.define_metric(name, *CUSTOM)
    return kit


def custom_rows() -> list[dict[str, Any]]:
    """Rows with values that are hard to represent; the last one has none."""
    values = [
        (0, 0.1 + 0.2, -1e300, 12.5, timedelta(microseconds=1), -5.0), (2**53, 1.0, 5e-324, 0.1, 86400.000001, 10.0),
        (3, 1e-7, -0.0, 0.0, 0, 0.30000000000000004), (None,) * 6,
    ]  # fmt: skip
    names = [metric.name for metric in CUSTOM]
    return [
        {
            "period_start": SINCE + timedelta(weeks=week),
            "period_end": SINCE + timedelta(weeks=week + 1),
            **dict(zip(names, row, strict=True)),
        }
        for week, row in enumerate(values)
    ]


@pytest.mark.parametrize("extension", ["csv", "tsv", "ndjson", "json", "parquet", "csv.gz"])
def test_custom_metrics_are_exported_and_imported(tmp_path: Path, extension: str) -> None:
    """Values and dtypes follow from the definitions; revision and collector are written, and ignored by an import."""
    first = with_custom(tmp_path / "first")
    first.record_checkpoints(NAME, custom_rows())
    made = first.record_checkpoint(
        NAME, {"period": (SINCE + timedelta(weeks=9), SINCE + timedelta(weeks=10)), "wait": 1.5}, provenance={"collector": "inspect"}
    )
    first.amend_checkpoint(made, {"refusals": 7, "total_cost": 2.5}, reason="counted again")
    went = first.checkpoints(NAME)
    file = tmp_path / f"out.{extension}"
    assert export_checkpoints(first, file, NAME) == 5
    assert went.select("revision", "collector").row(-1) == (1, "inspect")
    assert [str(rows_of(file)[-1][name]) for name in ("revision", "collector")] == ["1", "inspect"]
    second = with_custom(tmp_path / "second")
    assert import_checkpoints(second, file, NAME).recorded == 5
    dropped = ["study_id", "checkpoint_id", "revision", "collector"]
    assert_frame_equal(second.checkpoints(NAME).drop(dropped), went.drop(dropped), check_exact=True)
    assert second.checkpoints(NAME).select("revision", "collector").unique().rows() == [(0, None)]
    assert import_checkpoints(second, file, NAME).already_recorded == 5
    assert went.schema["wait"] == pl.Duration("us")
    assert went.schema["refusals"] == pl.Int64()


def test_custom_columns_of_an_export_without_checkpoints(tmp_path: Path) -> None:
    """The columns follow from the definitions alone."""
    kit = with_custom(tmp_path / "home")
    export_checkpoints(kit, tmp_path / "none.parquet")
    assert pl.read_parquet(tmp_path / "none.parquet").schema == kit.checkpoints().schema
    assert kit.checkpoints().columns[24:30] == [metric.name for metric in CUSTOM]


def test_undeclared_columns_are_defined_on_request(tmp_path: Path) -> None:
    """By default they are refused, also in a json file; nothing is appended then."""
    kit = running(tmp_path / "home")
    (tmp_path / "a.csv").write_text(f"period_start;period_end;judge;total_cost\n{PERIOD.replace(',', ';')};2,5;1\n")
    (tmp_path / "b.json").write_text(json.dumps([dict(zip(("period_start", "period_end"), PERIOD.split(","), strict=True)) | {"judge": 3}]))
    for name in ("a.csv", "b.json"):
        with pytest.raises(InvalidInputError, match=r'Unknown column \'judge\'\. .*, or pass define="auto"\.'):
            import_checkpoints(kit, tmp_path / name, NAME)
    with pytest.raises(InvalidInputError, match="Invalid define 'yes'"):
        import_checkpoints(kit, tmp_path / "a.csv", NAME, define="yes")  # type: ignore[arg-type]
    assert [part.end for part in kit.engine.log.ranges()] == [2]
    with pytest.warns(EvalkitWarning, match="already has a checkpoint"):
        assert [import_checkpoints(kit, tmp_path / name, NAME, define="auto").recorded for name in ("a.csv", "b.json")] == [1, 1]
    assert kit.metrics(NAME).select("name", "kind", "better").rows() == [("judge", "number", "neither")]
    assert kit.checkpoints(NAME)["judge"].to_list() == [2.5, 3.0]


@pytest.mark.parametrize(
    ("column", "cell", "problem"),
    [
        ("refusals", "1.5", "expected a whole number of 0 or more"), ("refusals", "-1", "expected a whole number of 0 or more"),
        ("refusal_rate", "85", "expected a rate from 0 to 1, not a percentage"), ("grade", "11", "outside the range -5 to 10"),
        ("delta", "12%", "only rates can be percentages"), ("judge_cost", "$3", "expected a number without units or symbols"),
        ("wait", "-2", "expected 0 or more seconds, or a timedelta"), ("refusals", "1,000", "thousands separators are not supported"),
    ],
)  # fmt: skip
def test_invalid_custom_values_are_refused(tmp_path: Path, column: str, cell: str, problem: str) -> None:
    """The message names the line and the metric; nothing is appended."""
    kit = with_custom(tmp_path / "home")
    before = kit.pin()
    (tmp_path / "a.csv").write_text(f'period_start,period_end,{column}\n{PERIOD},"{cell}"\n')
    with pytest.raises(InvalidInputError, match=re.escape(problem)) as error:
        import_checkpoints(kit, tmp_path / "a.csv", NAME)
    assert f"a.csv, line 2: Invalid {column} " in str(error.value)
    assert (error.value.field, kit.pin()) == (column, before)


def test_percentages_of_custom_rates(tmp_path: Path) -> None:
    """Rates that the study defines are read like those of every study."""
    kit = with_custom(tmp_path / "home")
    (tmp_path / "a.csv").write_text(f"period_start;period_end;refusal_rate;grade\n{PERIOD.replace(',', ';')};12,5%;5\n")
    import_checkpoints(kit, tmp_path / "a.csv", NAME, percent=True)
    assert kit.checkpoints().select("refusal_rate", "grade").rows() == [(0.125, 5.0)]


def test_export_of_versions_states_and_without_excluded_checkpoints(tmp_path: Path) -> None:
    """`values`, `as_of` and `exclude` select what ``kit.checkpoints`` selects."""
    kit = with_custom(tmp_path / "home")
    ids = kit.record_checkpoints(NAME, custom_rows()).checkpoint_ids
    pin = kit.pin()
    kit.amend_checkpoint(ids[0], {"judge_cost": 1}, reason="r")
    kit.retract_checkpoint(ids[1], reason="r")

    def exported(**options: Any) -> list[Any]:
        file = tmp_path / "out.ndjson"
        count = export_checkpoints(kit, file, NAME, **options)
        rows = rows_of(file)
        assert len(rows) == count
        return [row["judge_cost"] for row in rows]

    assert exported() == [1.0, 0.0, None]
    assert exported(values="first") == exported(as_of=pin) == exported(as_of=str(pin)) == [12.5, 0.1, 0.0, None]
    assert exported(exclude=[ids[0], ids[3][-8:]]) == [0.0]
    with pytest.raises(InvalidInputError, match="Invalid exclude 'abcdefgh': matches none of the selected checkpoints"):
        exported(exclude=["abcdefgh"])


def test_older_export_does_not_undo_corrections(tmp_path: Path) -> None:
    """Rows of checkpoints that were amended or retracted since are skipped; other content is recorded."""
    kit = with_custom(tmp_path / "home")
    ids = kit.record_checkpoints(NAME, custom_rows()).checkpoint_ids
    export_checkpoints(kit, tmp_path / "old.csv", NAME)
    kit.amend_checkpoint(ids[0], {"judge_cost": 1}, reason="r")
    kit.retract_checkpoint(ids[1], reason="r")
    export_checkpoints(kit, tmp_path / "new.csv", NAME)
    for name, count in (("old.csv", 4), ("new.csv", 3)):
        done = import_checkpoints(kit, tmp_path / name, NAME)
        assert (done.recorded, done.already_recorded) == (0, count)


# --- properties -------------------------------------------------------------------------------------------------------------------------

FLOATS = st.one_of(
    st.floats(0, 1e15, allow_nan=False),
    st.sampled_from([1.234, 1234.0, 1234.5, 0.123, 12.345, 100.0, 5e-324, 1e300]),
    st.integers(0, 5000).map(float),
)
VALUES = {
    "count": st.integers(0, 2**63 - 1) | st.integers(0, 5000),
    "rate": st.floats(0, 1),
    "number": FLOATS,
    "money": FLOATS,
    "duration": st.integers(0, 10**15).map(lambda us: timedelta(microseconds=us)),
}
FILE_ROWS = st.lists(
    st.fixed_dictionaries(
        {"period_start": st.just(SINCE), "period_end": st.datetimes(datetime(2026, 1, 2), datetime(2100, 1, 1), timezones=st.just(UTC))},
        optional={name: VALUES[metric.kind] for name, metric in METRICS.items()}
        | {
            "sessions_included": st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"])), max_size=3),
            "events_analyzed": VALUES["count"],
        },
    ),
    max_size=4,
)


CUSTOM_ROWS = st.lists(
    st.fixed_dictionaries(
        {"period_start": st.just(SINCE), "period_end": st.just(SINCE + timedelta(days=1))},
        optional={
            "refusals": st.integers(0, 2**53), "refusal_rate": st.floats(0, 1), "judge_cost": FLOATS,
            "delta": st.floats(allow_nan=False, allow_infinity=False), "grade": st.floats(-5, 10),
            "wait": st.integers(0, 10**14).map(lambda us: timedelta(microseconds=us)),
        },
    ),
    max_size=4,
)  # fmt: skip


@settings(max_examples=examples(200))
@given(CUSTOM_ROWS, st.sampled_from(ALL_FORMATS))
def test_exported_custom_values_are_read_unchanged(rows: list[dict[str, Any]], extension: str) -> None:
    """In every format, a file has the values of custom metrics that were written, in the dtypes of frames."""
    kinds = {**CHECKPOINTS, **{metric.name: metric.kind for metric in CUSTOM}}
    complete = [{"events_analyzed": 0, "sessions_included": [], "timestamp": row["period_end"], **row} for row in rows]
    frame = pl.DataFrame(complete, schema=frame_schema(kinds))
    definitions = {metric.name: metric for metric in CUSTOM}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows.{extension}"
        write_frame(frame, path)
        read = read_rows(path, definitions=lambda: definitions).rows
    assert all(row.error is None for row in read)
    came, went = (checkpoint_commands(values, definitions=definitions) for values in ([row.values for row in read], frame))
    assert came == went
    for command, row in zip(came, rows, strict=True):
        wait = row.get("wait")
        expected = {**row, "wait": None if wait is None else wait.total_seconds()}
        assert command.metrics.custom == {name: expected[name] for name in definitions if expected.get(name) is not None}
        assert round(command.metrics.custom.get("wait", 0) * 1e6) == (0 if wait is None else wait // timedelta(microseconds=1))


def frame_of(rows: list[dict[str, Any]]) -> pl.DataFrame:
    complete = [{"events_analyzed": 0, "sessions_included": [], "timestamp": row["period_end"], **row} for row in rows]
    return pl.DataFrame(complete, schema=frame_schema(CHECKPOINTS))


def commands_of(path: Path) -> list[RecordCheckpoint]:
    rows = read_rows(path).rows
    assert all(row.error is None for row in rows)
    return checkpoint_commands([row.values for row in rows])


@settings(max_examples=examples(200))
@given(FILE_ROWS, st.sampled_from(ALL_FORMATS))
def test_exported_rows_are_read_unchanged(rows: list[dict[str, Any]], extension: str) -> None:
    """In every format, a file has the values that were written."""
    frame = frame_of(rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows.{extension}"
        write_frame(frame, path)
        assert commands_of(path) == checkpoint_commands(frame)


@settings(max_examples=examples(400))
@given(
    FILE_ROWS, st.sampled_from([(",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ",")]), st.sampled_from(["csv", "tsv"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.sampled_from(["", "NA", "nan", " "]), st.sampled_from(["utf-8-sig", "utf-16"]),
    st.sampled_from(["{!r}", "{:.3f}", "{:.1f}"]),
)  # fmt: skip
def test_files_of_other_programs_are_read_unchanged_or_refused(
    rows: list[dict[str, Any]], marks: tuple[str, str], extension: str, quoting: Any, missing: str, encoding: str, pattern: str
) -> None:
    """Whatever the dialect, no number is read as another one."""
    separator, mark = marks
    expected, cells = [], []
    for row in rows:
        texts = {"period_start": row["period_start"].isoformat(), "period_end": row["period_end"].isoformat()}
        written: dict[str, Any] = dict(texts)
        for name in ("session_success_rate", "total_cost", "sessions_completed"):
            value = row.get(name)
            texts[name] = missing if value is None else str(value) if isinstance(value, int) else pattern.format(value).replace(".", mark)
            written[name] = None if value is None else value if isinstance(value, int) else float(pattern.format(value))
        cells.append(texts)
        expected.append(written)
    stream = io.StringIO()
    columns = ["period_start", "period_end", "session_success_rate", "total_cost", "sessions_completed"]
    writer = csv.DictWriter(stream, columns, delimiter=separator, quoting=quoting)
    writer.writeheader()
    writer.writerows(cells)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows.{extension}"
        path.write_bytes(stream.getvalue().encode(encoding))
        try:
            read = read_rows(path).rows
        except InvalidInputError:
            assert separator != ","
            return
    if all(row.error is None for row in read):
        assert checkpoint_commands([row.values for row in read]) == checkpoint_commands(expected)


def test_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """The message has the file and the error of the operating system."""
    kit = running(tmp_path / "home")
    for extension in FORMATS:
        with pytest.raises(InvalidInputError, match=r"Cannot read '.*none\.[\w.]+': the file does not exist"):
            import_checkpoints(kit, tmp_path / f"none.{extension}", NAME)
        (tmp_path / f"folder.{extension}").mkdir()
        with pytest.raises(InvalidInputError, match=r"folder\.[\w.]+': it is a folder"):
            export_checkpoints(kit, tmp_path / f"folder.{extension}", NAME)
        with pytest.raises(InvalidInputError, match=r"Cannot write '.*nowhere/a\.[\w.]+': folder"):
            export_checkpoints(kit, tmp_path / "nowhere" / f"a.{extension}", NAME)


def test_export_replaces_a_file_atomically(tmp_path: Path) -> None:
    """A reader of the old file is not affected; permissions and a symbolic link are preserved."""
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
def test_failed_export_keeps_the_old_file(tmp_path: Path, file: str) -> None:
    """On a full disk, simulated by a limit on the file size, the old file is unchanged and no temporary file is left."""
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
    assert done.stderr.startswith("error: ")
    assert file in done.stderr
    assert (tmp_path / file).read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([file, "home"])


def test_export_to_a_named_pipe(tmp_path: Path) -> None:
    """The rows are written to the pipe, which is not replaced by a file."""
    kit = running(tmp_path / "home")
    pipe = tmp_path / "pipe.ndjson"
    os.mkfifo(pipe)
    kit.record_checkpoints(NAME, [{"period_start": TIMES[2], "period_end": TIMES[4]}])
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    export_checkpoints(kit, pipe, NAME)
    reader.join(30)
    assert json.loads(received[0])["study"] == NAME
    assert pipe.is_fifo()


CELLS = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
    | st.text("0123456789.,%+-eE \u00a0\u0663", max_size=8)
    | st.sampled_from(
        [
            "1e9999999999999999999",
            "1e-9999999999999999999%",
            "9" * 5000,
            "0x10",
            "1_000",
            "NaN%",
            "[1]",
            '{"a": 1}',
            "2026-01-31",
            "1 000,5",
        ]
    )
)


@settings(max_examples=examples(400))
@given(
    st.one_of(
        st.binary(max_size=40),
        st.lists(CELLS, min_size=5, max_size=5).map(lambda cells: table("|".join(cells), separator=";").encode()),
        st.lists(CELLS, min_size=5, max_size=5).map(lambda cells: table("|".join(cells)).encode("utf-16")),
        st.dictionaries(st.sampled_from(list(METRICS)), CELLS | st.floats() | st.integers() | st.none()).map(lambda row: json.dumps(row).encode()),
    ),
    st.sampled_from(["csv", "tsv", "ndjson", "json", "parquet", "csv.gz"]), st.booleans(),
)  # fmt: skip
def test_any_file_is_read_or_refused(content: bytes, extension: str, percent: bool) -> None:
    """No content leads to another error than `InvalidInputError`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows.{extension}"
        path.write_bytes(gzip.compress(content) if extension == "csv.gz" else content)
        try:
            for row in read_rows(path, percent=percent).rows:
                checkpoint_commands([row.values], tz="UTC", period_type="daily")
        except InvalidInputError:
            pass


# --- the log ----------------------------------------------------------------------------------------------------------------------------


def engine_at(home: Path, partitions: int = 1) -> Engine:
    """An engine on a home; with several partitions, on a log in memory."""
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


def test_log_import_and_export_preserve_bytes(tmp_path: Path) -> None:
    """The export of 43 events of the Rust program equals the file, and a home created from it has the same digest."""
    first, second = engine_at(tmp_path / "first"), engine_at(tmp_path / "second")
    assert import_log(first, io.BytesIO(REAL)) == LogImport(43, 0)
    out, done = exported(first)
    assert out == REAL
    assert done == LogExport(43, 0, 0, 0)
    assert import_log(second, io.BytesIO(out.replace(b"\n", b"\r\n\n"))) == LogImport(43, 0)
    assert all_data(second) == REAL.splitlines()
    assert digest(Snapshot(first.database)) == digest(Snapshot(second.database))


def test_second_log_import_appends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Applied, rejected, quarantined, unknown and repeated events are skipped, also across chunks."""
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


def test_event_ids_are_unique_within_a_study(tmp_path: Path) -> None:
    """The same event id in two studies identifies two events."""
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


def test_log_export_skips_and_counts_invalid_events(tmp_path: Path) -> None:
    """Invalid JSON and objects without an event id are skipped; line breaks become spaces; the export can be imported."""
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


def test_log_import_preserves_the_order_within_studies(tmp_path: Path) -> None:
    """From one partition to four and back, each study's events keep their order, also those of unknown kinds, and the digest."""
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
    "no JSON": (
        b"hello",
        snapshot(
            "line 2: invalid JSON at column 1. No events were appended. Import a file that was exported from a log: one event per line, as JSON."
        ),
    ),
    "cut": (
        b'{"event_id": "01a2',
        snapshot(
            "line 2: invalid JSON at column 18. No events were appended. Import a file that was exported from a log: one event per line, as JSON."
        ),
    ),
    "not UTF-8": (
        b'{"event_id": "\xff"}',
        snapshot(
            "line 2: invalid JSON at column COLUMN. No events were appended. Import a file that was exported from a log: one event per line, as JSON."
        ),
    ),
    "NaN": (
        b'{"event_id": NaN}',
        snapshot(
            "line 2: invalid JSON at column 14. No events were appended. Import a file that was exported from a log: one event per line, as JSON."
        ),
    ),
    "two events": (
        REAL.splitlines()[0] * 2,
        snapshot(
            "line 2: invalid JSON at column 255. No events were appended. Import a file that was exported from a log: one event per line, as JSON."
        ),
    ),
    "a list": (
        b"[1]",
        snapshot(
            "line 2: not a JSON object: [1]. No events were appended. Import a file that was exported from a log: one event per line, as JSON."
        ),
    ),
    "no event id": (
        b'{"id": 1}',
        snapshot(
            'line 2: missing "event_id". No events were appended. Import a file that was exported from a log: one event per line, as JSON.'
        ),
    ),
    "a number": (
        b'{"event_id": 5}',
        snapshot(
            "line 2: invalid event_id 5: expected a string. No events were appended. Import a file that was exported from a log: one event per line, as JSON."
        ),
    ),
    "no UUID": (
        b'{"event_id": "five"}',
        snapshot(
            "line 2: invalid event_id: 'five' is not a UUID. No events were appended. Import a file that was exported from a log: one event per line, as JSON."
        ),
    ),
    "version 4": (
        b'{"event_id": "6ba7b810-9dad-41d1-80b4-00c04fd430c8"}',
        snapshot(
            "line 2: invalid event_id: ID is not a version 7 UUID. No events were appended. Import a file that was exported from a log: one event per line, as JSON."
        ),
    ),
    "far future": (
        b'{"event_id": "ffffffff-ffff-7fff-bfff-ffffffffffff"}',
        snapshot(
            "line 2: invalid event_id: the time inside ID is after the year 9999. No events were appended. Import a file that was exported from a log: one event per line, as JSON."
        ),
    ),
}


@pytest.mark.parametrize("case", WRONG_LINES)
def test_log_file_with_an_invalid_line_is_refused(tmp_path: Path, case: str) -> None:
    """The message names the line; nothing is appended, and no home is created."""
    line, message = WRONG_LINES[case]
    first, *rest = REAL.splitlines()
    with pytest.raises(InvalidInputError) as error:
        import_log(engine_at(tmp_path / "home"), io.BytesIO(b"\n".join([first, line, *rest])))
    text = says(error)
    if case == "not UTF-8":  # versions of the parser count differently
        text = re.sub(r"column 1[56]", "column COLUMN", text)
    assert text == message
    assert list(tmp_path.iterdir()) == []


def test_import_of_an_empty_log_file_creates_no_home(tmp_path: Path) -> None:
    """Nothing is appended."""
    assert import_log(engine_at(tmp_path / "home"), io.BytesIO(b"\n \r\n")) == LogImport(0, 0)
    assert list(tmp_path.iterdir()) == []


def test_second_import_completes_an_interrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the log fails during an import, the message has the number of appended events."""
    monkeypatch.setattr("evalkit.io.log_files._CHUNK", 10)
    engine = engine_at(tmp_path / "home")
    append_really = engine.log.append

    def append_twice(messages: list[EncodedEvent]) -> object:
        if len(all_data(engine)) >= 20:
            raise LogUnavailableError("Cannot write the event log: the disk is full", effect="No events were appended.")
        return append_really(messages)

    monkeypatch.setattr(engine.log, "append", append_twice)
    with pytest.raises(LogError) as error:
        import_log(engine, io.BytesIO(REAL))
    assert says(error) == snapshot(
        "Cannot write the event log: the disk is full. No events were appended. 20 events of the import had been appended; import the file again to complete it."
    )
    monkeypatch.setattr(engine.log, "append", append_really)
    assert import_log(engine, io.BytesIO(REAL)) == LogImport(23, 20)
    assert all_data(engine) == REAL.splitlines()


def test_log_export_with_a_damaged_read_model(tmp_path: Path) -> None:
    """A backup requires only the log."""
    engine = engine_at(tmp_path / "home")
    import_log(engine, io.BytesIO(REAL))
    engine.close()
    (tmp_path / "home" / "evalkit.db").write_bytes(b"garbage" * 1000)
    assert exported(engine_at(tmp_path / "home"))[0] == REAL


def test_log_export_warns_of_a_missing_beginning(tmp_path: Path) -> None:
    """The remaining events are exported."""
    engine = engine_at(tmp_path / "home")
    import_log(engine, io.BytesIO(REAL))
    with engine.log._use() as connection:  # type: ignore[attr-defined]
        connection.execute('DELETE FROM events WHERE "offset" < 3')
    with pytest.warns(EvalkitWarning) as warned:
        out, done = exported(engine)
    assert [says(warning.message) for warning in warned] == snapshot(
        ["Incomplete export: partition 0 of the log starts at offset 3, so its first 3 events are missing."]
    )
    assert out.splitlines() == REAL.splitlines()[3:]
    assert done.exported == 40


def test_writing_a_file_preserves_evalkit_errors(tmp_path: Path) -> None:
    """An `EvalkitError` in the block is raised unchanged, not as an error of the file."""
    with pytest.raises(EvalkitError, match=r"^unchanged\.$"), writing(tmp_path / "file"):
        raise LogUnavailableError("unchanged")
    assert list(tmp_path.iterdir()) == []


def test_log_export_warns_of_missing_events(tmp_path: Path) -> None:
    """The other events are exported."""
    with running(tmp_path / "home") as kit:
        kit.stop_study(NAME)
        with closing(sqlite3.connect(tmp_path / "home" / "events.db")) as connection, connection:
            connection.execute('DELETE FROM events WHERE "offset" = 1')
        with pytest.warns(EvalkitWarning) as warned:
            assert export_log(kit.engine, io.BytesIO()).exported == 2
        assert [says(warning.message) for warning in warned] == snapshot(
            ["Incomplete export: 1 event missing within the log. Restore the log from an earlier backup."]
        )
