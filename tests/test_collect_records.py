"""Sessions of tables, labels and prices: against tables worked out by hand, bad input, and the example scripts."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import os
import re
import runpy
import shlex
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

import evalkit
from evalkit.collect import read_sessions
from evalkit.collect.labels import read_labels, with_labels
from evalkit.collect.prices import ModelPrices, Prices, read_prices, with_prices
from evalkit.collect.records import RECORDS, mapped
from evalkit.collect.session_frame import OUTCOMES, SESSION_SCHEMA, checked_sessions, session_frame
from evalkit.collect.source import Problem, Problems
from evalkit.collect.table_files import FORMATS, read_table
from evalkit.errors import InvalidInputError
from tests import command_line
from tests.messages import says

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT.parent / "shared" / "data" / "collect" / "lm_eval" / "results_2026-01-21.json"
END = datetime(2026, 1, 31, 8, tzinfo=UTC)
HEADER = "session_id,outcome,ended_at"
ROW = "a,passed,2026-01-31T08:00:00Z"


def read(path: Path, **options: Any) -> tuple[pl.DataFrame, Problems]:
    problems = Problems()
    frame = RECORDS.read(path, problems, **options)
    assert {name: frame.schema[name] for name in SESSION_SCHEMA} == SESSION_SCHEMA
    return frame, problems


def table(folder: Path, text: str | bytes, name: str = "runs.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# --- tables ---------------------------------------------------------------------------------------------------------------------------


def test_a_table_equals_its_sessions(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "run_id,task,passed,started,finished,seconds,calls,failed_calls,in,cached,out,usd,model,Judge Score,refused,prompt\n"
        '001,t1,True,2026-01-31T08:00:00Z,2026-01-31 09:30:00+01:00,90.5,3,1,100,20,5,0.25,m-1,0.5,false,"Hello, ""you""\nthere"\n'
        "002,t2,False,,1769846400,,,,100,,5,NaN,m-1,,TRUE,x\n",
    )
    names = "session_id=run_id,task_id=task,outcome=passed,started_at=started,ended_at=finished,duration=seconds,tool_calls=calls,"
    names += "tool_errors=failed_calls,tokens_input=in,tokens_cached=cached,tokens_output=out,cost=usd"
    frame, problems = read(path, map=names)
    first, second = frame.to_dicts()
    assert {name: value for name, value in first.items() if value is not None} == {
        "session_id": "001", "task_id": "t1", "outcome": "success", "started_at": END, "ended_at": END + timedelta(minutes=30),
        "duration": timedelta(seconds=90.5), "tool_calls": 3, "tool_errors": 1, "tokens_input": 100, "tokens_cached": 20,
        "tokens_output": 5, "tokens_total": 125, "cost": 0.25, "cost_basis": "reported", "model": "m-1", "source": "runs.csv",
        "source_sha256": read_table(path).sha256, "judge_score": 0.5, "refused": False,
    }  # fmt: skip
    assert {name: value for name, value in second.items() if value is not None} == {
        "session_id": "002", "task_id": "t2", "outcome": "failure", "ended_at": END, "tokens_input": 100, "tokens_output": 5,
        "model": "m-1", "source": "runs.csv", "source_sha256": first["source_sha256"], "refused": True,
    }  # fmt: skip
    assert problems.ignored == {"columns without numbers": 1, "names of columns that were changed to names of metrics": 1}


def as_file(frame: pl.DataFrame, name: str) -> bytes:
    buffer = io.BytesIO()
    text = frame.with_columns(pl.col(pl.Datetime).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
    match name.removesuffix(".gz").rpartition(".")[2]:
        case "csv":
            text.write_csv(buffer)
        case "tsv":
            text.write_csv(buffer, separator="\t")
        case "parquet":
            frame.write_parquet(buffer)
        case "json":
            text.write_json(buffer)
        case _:
            text.write_ndjson(buffer)
    return gzip.compress(buffer.getvalue()) if name.endswith(".gz") else buffer.getvalue()


@pytest.mark.parametrize("name", [f"runs.{extension}{gz}" for extension in FORMATS for gz in ("", ".gz")])
def test_every_format_gives_the_same_sessions(tmp_path: Path, name: str) -> None:
    frame = pl.DataFrame(
        {
            "session_id": ["a", "b", "c"], "outcome": ["passed", None, "failed"], "ended_at": [END, END + timedelta(microseconds=1), None],
            "attempt": [1, None, 2], "score": [0.5, None, 1.0], "judge": [None, 2.5, 3.0], "flag": [True, None, False],
        }
    )  # fmt: skip
    sessions, problems = read(table(tmp_path, as_file(frame, name), name))
    expected = checked_sessions(frame.with_columns(outcome=pl.col("outcome")))
    assert sessions.drop("source", "source_sha256").equals(expected.drop("source", "source_sha256"))
    assert sessions["source"].unique().to_list() == [name]
    assert problems == Problems()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31T08:00:00Z", END),
        ("2026-01-31 08:00:00.000+00:00", END),
        ("2026-01-31 08:00:00 UTC", END),
        ("1769846400", END),
        ("1769846400.25", END + timedelta(microseconds=250_000)),
        ("1769846400000", END),
        ("1769846400000000", END),
        ("1769846400000000000", END),
        ("", None),
        ("NaT", None),
    ],
)
def test_times_are_texts_or_unix_times(tmp_path: Path, text: str, expected: datetime | None) -> None:
    frame, _ = read(table(tmp_path, f"{HEADER},n\na,1,{text},0\n"))
    assert frame["ended_at"].to_list() == [expected]
    if text.replace(".", "").isdigit():
        rows = [{"session_id": "a", "outcome": 1, "ended_at": json.loads(text)}]
        assert read(table(tmp_path, json.dumps(rows), "runs.json"))[0]["ended_at"].to_list() == [expected]


@given(st.datetimes(datetime(1900, 1, 2), datetime(2999, 12, 30)), st.integers(-14 * 60, 14 * 60), st.booleans(), st.sampled_from("T "))
def test_times_equal_those_of_python(naive: datetime, offset: int, utc: bool, separator: str) -> None:
    time = naive.replace(tzinfo=UTC if utc else timezone(timedelta(minutes=offset)))
    text = time.isoformat(separator).replace("+00:00", "Z" if utc else "+00:00")
    frame = mapped(pl.DataFrame({"session_id": ["a", "b"], "ended_at": [text, None]}), None)
    assert frame["ended_at"].to_list() == [time, None]


@pytest.mark.parametrize("value", ["2026-01-31T09:00:00", "2026-01-31 09:00"])
def test_local_times_need_a_zone(tmp_path: Path, value: str) -> None:
    path = table(tmp_path, f"{HEADER}\na,1,{value}\n")
    with pytest.raises(InvalidInputError) as raised:
        read(path)
    assert str(raised.value) == (
        f"{path}, line 2: Invalid ended_at {value!r}: no time zone; expected e.g. '2026-01-31T00:00:00Z'. "
        "Pass tz='UTC' to read dates and local times in that time zone."
    )
    assert read(path, tz="Europe/Berlin")[0]["ended_at"].to_list() == [END]
    naive = pl.DataFrame({"session_id": ["a"], "outcome": [1], "ended_at": [datetime(2026, 1, 31, 9)], "started_at": [date(2026, 1, 31)]})
    frame, _ = read(table(tmp_path, as_file(naive, "runs.parquet"), "runs.parquet"), tz="Europe/Berlin")
    assert frame.select("started_at", "ended_at").row(0) == (END - timedelta(hours=9), END)


def test_text_encodings_and_separators_of_spreadsheets(tmp_path: Path) -> None:
    text = f"{HEADER},judge\n{ROW},0.5\n"
    for data in (
        b"\xef\xbb\xbf" + text.encode(),
        text.encode("utf-16"),
        text.replace(",", ";").encode(),
        text.replace("\n", "\r\n").encode(),
    ):
        assert read(table(tmp_path, data))[0].select("session_id", "judge").rows() == [("a", 0.5)]


def test_a_folder_is_read_in_order_and_broken_files_are_skipped(tmp_path: Path) -> None:
    table(tmp_path, f"{HEADER},n\n{ROW},1\n", "b/2.csv")
    table(tmp_path, json.dumps({"session_id": "z", "outcome": "c", "ended_at": 1769846400, "m": True}), "a.ndjson")
    table(tmp_path, f"{HEADER}\na,maybe,2026-01-31T08:00:00Z\n", "bad.csv")
    table(tmp_path, b"\x00\x01", "bad.parquet")
    table(tmp_path, "[]", "empty.json")
    for ignored in ("notes.txt", ".hidden.csv", "~$runs.csv"):
        table(tmp_path, "x", ignored)
    frame, problems = read(tmp_path)
    assert frame.select("session_id", "source", "n", "m").rows() == [("z", "a.ndjson", None, True), ("a", "b/2.csv", 1.0, None)]
    assert problems.skipped == [
        Problem("bad.csv", "line 2: Invalid outcome 'maybe': expected success, failure, invalid or unknown, or a word such as passed, "
                "failed or error"),
        Problem("bad.parquet", "not a valid Parquet file"),
    ]  # fmt: skip
    assert read(tmp_path / "empty.json")[0].height == 0
    (tmp_path / "none").mkdir()
    with pytest.raises(InvalidInputError) as raised:
        read(tmp_path / "none")
    assert says(raised) == snapshot("No tables in 'TMP/none'. Check the path; tables are csv, tsv, parquet, ndjson, jsonl or json files.")


@pytest.mark.parametrize(
    ("other", "sessions"),
    [
        ("a,success,2026-01-31T07:00:00Z,2026-01-31T08:00:00Z", 1),  # a copy
        ("a,failure,2026-01-31T07:00:00Z,2026-01-31T08:00:00Z", 1),  # judged again
        ("a,failure,2026-01-31T07:00:00Z,2026-02-01T08:00:00Z", 1),  # it went on
        ("a,success,2026-01-31T07:00:00Z,", 1),  # it was open
        ("a,success,2026-02-01T07:00:00Z,2026-02-01T08:00:00Z", None),
        ("a,success,,2026-02-01T08:00:00Z", None),
        ("b,success,2026-02-01T07:00:00Z,2026-02-01T08:00:00Z", 2),
    ],
)
def test_ids_that_several_files_have(tmp_path: Path, other: str, sessions: int | None) -> None:
    """One session in two exports is one session; two sessions with one id are an error, because one of them would be lost."""
    header = "session_id,outcome,started_at,ended_at"
    table(tmp_path, f"{header}\na,success,2026-01-31T07:00:00Z,2026-01-31T08:00:00Z\n", "1.csv")
    table(tmp_path, f"{header}\n{other}\n", "2.csv")
    if sessions is not None:
        assert read_sessions(f"records:{tmp_path}").height == sessions
        return
    with pytest.raises(InvalidInputError) as raised:
        read_sessions(f"records:{tmp_path}")
    assert says(raised) == snapshot(
        "Invalid session_id 'a': it is in '1.csv' and in '2.csv' with different times. Ids are unique in all files: map another column. A run that was exported twice has the same started_at."
    )


def test_an_old_broken_file_hides_nothing_new(tmp_path: Path) -> None:
    table(tmp_path, f"{HEADER}\n{ROW}\n", "good.csv")
    old = table(tmp_path, '"bad', "old.csv")
    os.utime(old, (1.5e9, 1.5e9))
    problems = read(tmp_path)[1]
    assert len(problems.skipped) == 1
    assert problems.hidden_since(datetime(2017, 1, 1, tzinfo=UTC)) == 1
    assert problems.hidden_since(datetime(2026, 1, 1, tzinfo=UTC)) == 0


def test_a_wrong_option_is_an_error_rather_than_a_folder_of_broken_files(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        table(tmp_path, f"run,{HEADER}\n1,{ROW}\n", name)
    with pytest.raises(
        InvalidInputError,
        match=r"^a\.csv: Unknown column 'runs' in map: the table does not have it\. Its columns are 'run', 'session_id', ",
    ):
        read(tmp_path, map="session_id=runs")


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        (["success", "Passed", " pass ", "true", "True", "yes", "1", "1.0", "C"], "success"),
        (["failure", "FAILED", "fail", "false", "no", "0", "0.0", "I"], "failure"),
        (["invalid", "error", "crashed", "canceled"], "invalid"),
        (["unknown", "", "None", "nan", "n/a", "-"], "unknown"),
    ],
)
def test_outcomes_are_words_booleans_and_numbers(tmp_path: Path, words: list[str], outcome: str) -> None:
    lines = "".join(f"{number},{word},1769846400\n" for number, word in enumerate(words))
    assert read(table(tmp_path, f"{HEADER}\n{lines}"))[0]["outcome"].to_list() == [outcome] * len(words)


def test_outcomes_that_are_all_missing_are_unknown(tmp_path: Path) -> None:
    rows = [{"session_id": "a", "outcome": None, "ended_at": 1769846400}]
    assert read(table(tmp_path, json.dumps(rows), "runs.json"))[0]["outcome"].to_list() == ["unknown"]


def test_a_table_without_outcomes_waits_for_labels(tmp_path: Path) -> None:
    frame, problems = read(table(tmp_path, "session_id,ended_at\na,1769846400\nb,1769846400\n"))
    assert frame["outcome"].to_list() == ["unknown", "unknown"]
    assert problems.ignored == {"outcomes of sessions without the column outcome": 2}


def test_further_columns_become_metrics(tmp_path: Path) -> None:
    columns = {
        "Unnamed: 0": 0, "index": 3, "metrics.f1-score": 0.5, "Total Cost": 1, "empty": None, "text": "t", "list": [1], "nested": {"a": 1},
        "yes_no": "true", "number_text": "1.5", "huge": 1e999, "2nd": 1, "flag": True, "big": 10**30, "metrics.f1.score": 2, "count": 3,
    }  # fmt: skip
    rows = [{"session_id": 5, "outcome": True, "ended_at": 1769846400, **columns}, {"session_id": 6, "outcome": None, "ended_at": None}]
    frame, problems = read(table(tmp_path, json.dumps(rows), "runs.json"))
    assert frame["session_id"].to_list() == ["5", "6"]
    extra = frame.select(pl.exclude(list(SESSION_SCHEMA)))
    assert extra.to_dicts()[0] == {
        "metrics_f1_score": 0.5, "yes_no": True, "number_text": 1.5, "huge": None, "flag": True, "big": 1e30,
    }  # fmt: skip
    assert problems.ignored == {
        "columns without numbers": 3, "infinite values": 1, "names of columns that were changed to names of metrics": 1,
        "columns whose names metrics cannot have": 4,
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["polars", "pandas"])
def test_mapped_renames_a_frame(kind: str) -> None:
    values = {"run": ["a", "b"], "ok": [1.0, math.nan], "end": [1769846400.0, 1769846400.5], "text": ["x", "y"], "reason": ["long", "text"]}
    frame: Any = pl.DataFrame(values) if kind == "polars" else pd.DataFrame(values)
    problems = Problems()
    names: dict[str, str | None] = {"session_id": "run", "task_id": "run", "outcome": "ok", "ended_at": "end", "reason": None}
    result = checked_sessions(mapped(frame, names, problems))
    assert result.select("session_id", "task_id", "outcome", "reason").rows() == [
        ("a", "a", "success", None), ("b", "b", "unknown", None),
    ]  # fmt: skip
    assert result["ended_at"].to_list() == [END, END + timedelta(milliseconds=500)]
    assert problems.ignored == {"columns without numbers": 1}
    assert mapped(frame, "session_id=run,task_id=run,outcome=ok,ended_at=end,reason=").equals(mapped(frame, names))
    assert mapped(frame, None).columns == ["reason", "ok", "outcome"]  # end is the name of a column of checkpoints


def test_a_mapped_name_may_be_that_of_a_metric(tmp_path: Path) -> None:
    path = table(tmp_path, f"{HEADER},metrics.judge,judge,other\n{ROW},0.5,9,1\n")
    assert read(path, map="judge=metrics.judge,other=")[0].select(pl.exclude(list(SESSION_SCHEMA))).to_dicts() == [{"judge": 0.5}]


# --- bad tables -----------------------------------------------------------------------------------------------------------------------

BAD_TABLES: list[tuple[str, str | bytes, str]] = [
    ("runs.csv", "", "the file is empty. The first line must contain the column names."),
    ("runs.csv", f"{HEADER}\n{ROW},extra\n", "line 2: expected 3 cells as in the header, got 4."),
    ("runs.csv", f"{HEADER}\n{ROW}\n\nb,pass", "line 4: expected 3 cells as in the header, got 2."),
    ("runs.csv", f'{HEADER}\n"a,1,1769846400\n', "line 2: invalid csv: unexpected end of data."),
    ("runs.csv", f"a,{HEADER},a\n1,{ROW},1\n", "line 1: duplicate column 'a'. Remove or rename one of them."),
    ("runs.csv", b"session_id\n\xff\n", "line 2: not valid UTF-8 text. Save the file as UTF-8; in Excel, choose 'CSV UTF-8'."),
    ("runs.csv", "session_id\na\0\n", "line 2: the file contains NUL characters."),
    ("runs.csv", "run,ended_at\n1,2\n", "Column 'session_id' is missing; the columns are 'run', 'ended_at'. "
     "Map one of them, e.g. map={'session_id': 'run'}."),
    ("runs.csv", "session_id,outcome,end\na,1,2\n", "Column 'ended_at' is missing; the columns are 'session_id', 'outcome', 'end'. "
     "Map one of them, e.g. map={'ended_at': 'end'}."),
    ("runs.csv", f"{HEADER}\n{ROW}\n,1,1769846400\n", "line 3: Invalid session_id None: expected the id of the session."),
    ("runs.csv", f"{HEADER}\n{ROW}\n{ROW}\n", "line 2: Invalid session_id 'a': it occurs more than once. Give each session an id of its own."),
    ("runs.csv", f"{HEADER}\na,1,soon\n", "line 2: Invalid ended_at 'soon': not an ISO 8601 time; expected e.g. '2026-01-31T00:00:00Z'."),
    ("runs.csv", f"{HEADER}\na,1,20260131\n", "line 2: Invalid ended_at '20260131': no time zone; expected e.g. '2026-01-31T00:00:00Z'. "
     "Pass tz='UTC' to read dates and local times in that time zone."),
    ("runs.csv", f"{HEADER},cost\n{ROW},$0.5\n", "line 2: Invalid cost '$0.5': expected a number."),
    ("runs.csv", f"{HEADER},cost\n{ROW},-1\n", "line 2: Invalid cost -1.0: expected US dollars, from 0 to a billion."),
    ("runs.csv", f"{HEADER},tokens_input\n{ROW},1.5\n", "line 2: Invalid tokens_input 1.5: expected a whole number."),
    ("runs.csv", f"{HEADER},reason\n{ROW},tired\n", None),  # type: ignore[list-item]
    ("runs.csv", f"{HEADER},started_at\n{ROW},2026-02-01T00:00:00Z\n", None),  # type: ignore[list-item]
    ("runs.json", "{", "invalid JSON at line 1, column 1. For a file with one object per line, use the extension .ndjson."),
    ("runs.json", '{"session_id": "a"}', "expected an array of objects, got one object. Write one object for each session: [{...}, {...}]."),
    ("runs.json", "3", "expected an array of objects, got 3. Write one object for each session: [{...}, {...}]."),
    ("runs.json", "[{}, 3]", "row 1: expected an object, got an int."),
    ("runs.json", "[" * 100_000, "invalid JSON at line 1, column "),
    ("runs.json", '[{"session_id": "a", "ended_at": -5}]', "row 0: Invalid ended_at -5: expected seconds or milliseconds since 1970, "
     "or e.g. '2026-01-31T00:00:00Z'."),
    ("runs.json", '[{"session_id": ["a"], "ended_at": null}]', "Invalid session_id []: expected text, got List(String)."),
    ("runs.ndjson", '{"session_id": "a"}\n\n{"sess', "line 3: invalid JSON at column 6."),
    ("runs.jsonl", "[]\n", "line 1: expected an object, got a list."),
    ("runs.parquet", b"PAR1 and nothing", "not a valid Parquet file."),
    ("runs.csv.gz", b"not gzip", "damaged or incomplete gzip data."),
    ("runs.xlsx", b"PK", "Unsupported file extension; expected .csv, .tsv, .parquet, .ndjson, .jsonl or .json, each optionally followed "
     "by .gz."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "expected"), BAD_TABLES)
def test_a_bad_table_is_an_error_that_names_the_place(tmp_path: Path, name: str, content: str | bytes, expected: str | None) -> None:
    path = table(tmp_path, content, name)
    with pytest.raises(InvalidInputError) as raised:
        read(path)
    text = str(raised.value)
    if expected is None:
        assert text.startswith(f"{path}, line 2: Invalid ")
    else:
        whole = f"{path}{', ' if expected.startswith(('line', 'row')) else ': '}{expected}"
        assert text == whole or (text.startswith(whole) and not whole.endswith("."))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("run", "Invalid map 'run': expected e.g. 'session_id=run_id,outcome=passed,ended_at=finished'."),
        ("", "Invalid map '': expected e.g. 'session_id=run_id,outcome=passed,ended_at=finished'."),
        ("session_id=run,session_id=b", "Invalid map 'session_id=run,session_id=b': 'session_id' occurs twice."),
        ("sesion_id=run", "Unknown column 'sesion_id'. Did you mean 'session_id'?"),
        ("Session=run", "Unknown column 'Session'. Did you mean 'session_id'?"),
        (5, "Invalid map 5: expected a mapping or text, got an int; expected e.g. 'session_id=run_id,outcome=passed,ended_at=finished'."),
        ({"session_id": 3}, "Invalid map {'session_id': 3}: names of columns must be text; "
         "expected e.g. 'session_id=run_id,outcome=passed,ended_at=finished'."),
    ],
)  # fmt: skip
def test_a_bad_map_is_an_error(tmp_path: Path, names: Any, expected: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        read(table(tmp_path, f"run,{HEADER}\n1,{ROW}\n"), map=names)
    assert str(raised.value) == expected


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(tmp_path, f"{HEADER}\n{ROW}\n", "a.csv")
    with pytest.raises(InvalidInputError, match=r"Cannot read '.*none\.csv': no such file or directory\.$"):
        read(tmp_path / "none.csv")
    (tmp_path / "deleted.csv").symlink_to(tmp_path / "none.csv")
    table(tmp_path, "x", "locked.csv")
    original = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "locked.csv":
            raise PermissionError(13, "Permission denied")
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    frame, problems = read(tmp_path)
    assert (frame.height, problems.skipped) == (
        1,
        [Problem("deleted.csv", "a link to a file that does not exist"), Problem("locked.csv", "permission denied")],
    )


@given(st.binary(max_size=60), st.sampled_from(FORMATS), st.booleans())
def test_any_bytes_are_sessions_or_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes, extension: str, complete: bool) -> None:
    prefix = {"csv": f"{HEADER}\n{ROW}\n".encode(), "tsv": b"session_id\tended_at\n", "ndjson": b'{"session_id": "a"}\n', "json": b"[{}, "}
    path = table(tmp_path_factory.getbasetemp(), (prefix.get(extension, b"") if complete else b"") + data, f"any.{extension}")
    try:
        frame, _ = read(path)
    except InvalidInputError as error:
        message = str(error)
    else:
        message = ""
        assert frame.equals(checked_sessions(frame))
    assert not message or message.startswith(str(path))


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.lists(st.integers(), max_size=2)
COLUMNS = st.sampled_from([*SESSION_SCHEMA, "judge", "Judge", "a b", "", "count"])


@given(st.lists(st.dictionaries(COLUMNS, VALUES, max_size=5), max_size=4))
def test_any_values_are_sessions_or_an_error(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    whole = [{"session_id": str(number), "ended_at": None, **row} for number, row in enumerate(rows)]
    path = table(tmp_path_factory.getbasetemp(), json.dumps(whole), "values.json")
    try:
        height = read(path)[0].height
    except InvalidInputError as error:
        assert str(error).startswith(str(path))  # noqa: PT017
        return
    assert height == len(rows)


@pytest.mark.skipif(not SAMPLE.exists(), reason="the public sample is not available")
def test_a_results_file_is_not_a_table() -> None:
    with pytest.raises(InvalidInputError, match="expected an array of objects, got one object"):
        read(SAMPLE)


# --- labels ---------------------------------------------------------------------------------------------------------------------------


def sessions_of(outcomes: dict[str, str]) -> pl.DataFrame:
    return session_frame({"session_id": list(outcomes), "outcome": list(outcomes.values())})


def test_labels_only_decide_what_is_unknown() -> None:
    sessions = sessions_of({"a": "unknown", "b": "failure", "c": "invalid", "d": "unknown", "e": "unknown", "f": "unknown"})
    problems = Problems()
    labels = {"a": True, "b": "success", "c": 0, "d": "error", "x": "passed", "y": None, "e": "unknown"}
    frame = with_labels(sessions, read_labels(labels), problems)
    assert frame.columns == sessions.columns
    assert frame.select("outcome", "reason").rows() == [
        ("success", None), ("failure", None), ("invalid", None), ("invalid", "not_valid"), ("unknown", None), ("unknown", None),
    ]  # fmt: skip
    assert problems.ignored == {"labels of sessions that have an outcome": 2, "labels for unknown sessions": 1}


def test_a_label_is_for_all_parts_without_their_own() -> None:
    sessions = sessions_of(dict.fromkeys(["a", "a#2", "a#3", "b#2", "c#x", "d#2#3"], "unknown"))
    problems = Problems()
    frame = with_labels(sessions, read_labels({"a": "passed", "a#3": "failed", "b": "failed", "c": "passed", "d#2": "passed"}), problems)
    assert frame["outcome"].to_list() == ["success", "success", "failure", "failure", "unknown", "success"]
    assert problems.ignored == {"labels for unknown sessions": 1}


@pytest.mark.parametrize("name", [f"labels.{extension}" for extension in FORMATS])
def test_labels_are_read_from_files(tmp_path: Path, name: str) -> None:
    frame = pl.DataFrame({"session_id": ["a", "b", "c", "a"], "outcome": ["passed", "0", None, "success"], "note": ["x"] * 4})
    path = table(tmp_path, as_file(frame, name), name)
    assert read_labels(path).rows() == read_labels(str(path)).rows() == [("a", "success"), ("b", "failure")]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "labels",
    [
        pl.DataFrame({"session_id": ["1", "2"], "outcome": [True, False]}),
        pl.DataFrame({"session_id": [1, 2], "outcome": [1.0, 0.0]}),
        pl.DataFrame({"session_id": ["1", "2", "3"], "outcome": [1.0, 0.0, math.nan]}),
        pd.DataFrame({"session_id": ["1", "2", "3"], "outcome": [True, False, None]}),
        {"1": "C", "2": "I"},
        {"1": True, "2": "fail", "3": None},
    ],
)
def test_labels_are_frames_and_mappings(labels: Any) -> None:
    frame = read_labels(labels)
    assert isinstance(frame, pl.DataFrame)
    assert frame.rows() == [("1", "success"), ("2", "failure")]
    again = read_labels(frame)
    assert isinstance(again, pl.DataFrame)
    assert frame.equals(again)


def test_a_function_gets_the_columns_of_a_session() -> None:
    sessions = sessions_of({"a": "unknown", "b": "failure", "c": "unknown", "d": "unknown"}).with_columns(model=pl.lit("m"))
    seen = []

    def label(session: Any) -> Any:
        seen.append((session["session_id"], session["model"]))
        return {"a": True, "c": None, "d": "failed"}[session["session_id"]]

    assert with_labels(sessions, label, Problems())["outcome"].to_list() == ["success", "failure", "unknown", "failure"]
    assert seen == [("a", "m"), ("c", "m"), ("d", "m")]
    assert with_labels(sessions, read_labels(label), Problems()).height == 4
    with pytest.raises(InvalidInputError) as raised:
        with_labels(sessions, lambda _session: "great", Problems())
    assert str(raised.value).startswith("label of session 'a': Invalid outcome 'great': expected success, failure, ")
    with pytest.raises(
        InvalidInputError, match=r"^label of session 'c': Invalid outcome 2: expected success, failure, invalid, unknown, a "
    ):
        with_labels(sessions, lambda session: 2 if session["session_id"] == "c" else None, Problems())
    with pytest.raises(InvalidInputError, match=r"^The function of labels failed for session 'a': ZeroDivisionError: division by zero\."):
        with_labels(sessions, lambda _session: bool(1 / 0), Problems())


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (5, "Invalid labels 5: expected a file, a mapping, a DataFrame or a function, got an int."),
        ({"a": 2}, "Invalid outcome 2: expected success, failure, invalid, unknown, a boolean or None."),
        ({5: True}, "Invalid labels 5: expected the id of a session as text, got an int."),
        ({"a": "great"}, "row 0: Invalid outcome 'great': expected success, failure, invalid or unknown, or a word such as passed, failed or "
         "error."),
        (pl.DataFrame({"id": ["a"]}), "Column 'session_id' is missing in the labels; the columns are 'id'. Labels have the columns session_id "
         "and outcome."),
        (pl.DataFrame({"session_id": [1.5], "outcome": [1]}), "Invalid session_id [1.5]: expected text, got Float64."),
        (pl.DataFrame({"session_id": ["a", None], "outcome": [1, 1]}), "row 1: Invalid session_id None: expected the id of a session."),
        (pl.DataFrame({"session_id": ["a", "b", "a"], "outcome": [1, 1, 0]}), "row 2: Invalid session_id 'a': it has the label 'failure' here "
         "and 'success' before. Keep one label for each session."),
    ],
)  # fmt: skip
def test_bad_labels_are_errors(labels: Any, expected: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        read_labels(labels)
    assert str(raised.value) == expected


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("labels.csv", "session_id,outcome\na,passed\n\na,failed\n", ", line 4: Invalid session_id 'a': it has the label 'failure' here and "
         "'success' before. Keep one label for each session."),
        ("labels.csv", "session_id,outcome\na,superb\n", ", line 2: Invalid outcome 'superb': expected success, failure, invalid or unknown, "
         "or a word such as passed, failed or error."),
        ("labels.csv", "session_id\na\n", ": Column 'outcome' is missing in the labels; the columns are 'session_id'. Labels have the columns "
         "session_id and outcome."),
        ("labels.txt", "a", ": Unsupported file extension; expected .csv, .tsv, .parquet, .ndjson, .jsonl or .json, each optionally followed "
         "by .gz."),
    ],
)  # fmt: skip
def test_a_bad_file_of_labels_is_an_error_that_names_the_place(tmp_path: Path, name: str, content: str, expected: str) -> None:
    path = table(tmp_path, content, name)
    with pytest.raises(InvalidInputError) as raised:
        read_labels(path)
    assert str(raised.value) == f"{path}{expected}"
    with pytest.raises(InvalidInputError, match=r"Cannot read labels from '.*none\.csv': no such file or directory"):
        read_labels(tmp_path / "none.csv")


IDS = st.sampled_from(["a", "a#2", "a#3", "b", "b#2", "c"])


@given(
    st.dictionaries(IDS, st.sampled_from(OUTCOMES), max_size=6),
    st.dictionaries(IDS, st.sampled_from([True, False, None, "error"]), max_size=6),
)
def test_labels_equal_a_loop(outcomes: dict[str, str], labels: dict[str, Any]) -> None:
    problems = Problems()
    frame = with_labels(sessions_of(outcomes), read_labels(labels), problems)
    words = {True: "success", False: "failure", "error": "invalid"}
    used = set()
    for row in frame.to_dicts():
        session_id, before = row["session_id"], outcomes[row["session_id"]]
        label_id = next((name for name in (session_id, session_id.split("#")[0]) if labels.get(name) is not None), None)
        if before == "unknown" and label_id is not None:
            used.add(label_id)
            assert row["outcome"] == words[labels[label_id]]
        else:
            assert row["outcome"] == before
    assert sum(problems.ignored.values()) == sum(value is not None for value in labels.values()) - len(used)


# --- prices ---------------------------------------------------------------------------------------------------------------------------

PRICES = """
name = "2026-10 list"
[models."model-x"]
input = 3.0
cached = 0.3
output = 15.0
[models."model-*"]
input = 1
cached = 0
output = 2
[models."model-xy*"]
input = 0.1
cached = 0.2
output = 0.7
"""


def priced(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    columns = ("model", "tokens_input", "tokens_cached", "tokens_output", "cost")
    values: dict[str, Any] = {name: [row[number] for row in rows] for number, name in enumerate(columns)}
    basis = [None if row[4] is None else "reported" for row in rows]
    return session_frame({"session_id": [str(number) for number in range(len(rows))], "cost_basis": basis, **values})


def test_costs_are_estimated_where_they_are_not_reported(tmp_path: Path) -> None:
    sessions = priced([
        ("model-x", 1_000_000, 2_000_000, 100_000, None), ("model-y", 500_000, 7, 1, None), ("model-xyz", 1, 1, 1, None),
        ("model-x", 1, 1, 1, 9.5), ("model-x", 1, None, 1, None), (None, 1, 1, 1, None), ("other", 1, 1, 1, None), ("b", 1, 1, 1, None),
        ("model-x", 0, 0, 0, 0.0),
    ])  # fmt: skip
    problems = Problems()
    frame = with_prices(sessions, read_prices(table(tmp_path, PRICES, "prices.toml")), problems)
    assert frame.columns == sessions.columns
    assert frame.select("cost", "cost_basis").rows() == [
        (5.1, "estimated"), (0.500002, "estimated"), (0.000001, "estimated"), (9.5, "reported"), (None, None), (None, None), (None, None),
        (None, None), (0.0, "reported"),
    ]  # fmt: skip
    assert problems.ignored == {
        "sessions of models without a price (b, other)": 2, "costs of sessions without a model or all counts of tokens": 2,
    }  # fmt: skip
    assert frame.equals(with_prices(frame, read_prices(tmp_path / "prices.toml"), Problems()))


def test_the_name_of_a_price_list_is_that_of_the_file_or_its_own(tmp_path: Path) -> None:
    prices = read_prices(table(tmp_path, PRICES, "prices.toml"))
    assert (prices.name, list(prices.models)) == ("2026-10 list", ["model-x", "model-*", "model-xy*"])
    assert read_prices(prices) is prices
    assert read_prices(str(table(tmp_path, PRICES.replace('name = "2026-10 list"', ""), "list.toml"))).name == "list.toml"


def test_many_models_without_a_price_are_named_in_part(tmp_path: Path) -> None:
    problems = Problems()
    with_prices(priced([(f"m{number}", 1, 1, 1, None) for number in range(8)]), read_prices(table(tmp_path, PRICES, "p.toml")), problems)
    assert problems.ignored == {"sessions of models without a price (m0, m1, m2, m3, m4 and 3 more)": 8}


TOKENS = st.integers(0, 9 * 10**12)
PRICE = st.decimals(0, 1_000_000, allow_nan=False, allow_infinity=False, places=6) | st.integers(0, 10**6).map(Decimal)


@given(TOKENS, TOKENS, TOKENS, PRICE, PRICE, PRICE)
def test_costs_are_exact(tokens_input: int, cached: int, output: int, per_input: Decimal, per_cached: Decimal, per_output: Decimal) -> None:
    exact = Fraction(per_input) * tokens_input + Fraction(per_cached) * cached + Fraction(per_output) * output
    prices = ModelPrices(per_input, per_cached, per_output)
    assert prices.cost(tokens_input, cached, output) == float(exact / 10**6)
    frame = with_prices(priced([("m", tokens_input, cached, output, None)]), Prices("list", {"m": prices}), Problems())
    assert frame["cost"].to_list() == [float(exact / 10**6)]


MODEL = '[models."m"]\ninput = 1\ncached = 1\noutput = 1\n'


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", 'No prices of models; expected [models."model-name"] with input, cached and output, in US$ per million tokens.'),
        ("models = 3", 'No prices of models; expected [models."model-name"] with input, cached and output, in US$ per million tokens.'),
        ("[model.m]\ninput = 1", "Unknown key 'model'. Did you mean 'models'?"),
        ("name = 3\n" + MODEL, "Invalid name 3: expected a text of 1 to 100 printable characters."),
        ("name = ''\n" + MODEL, "Invalid name '': expected a text of 1 to 100 printable characters."),
        (MODEL + "inputs = 1", "model 'm': Unknown key 'inputs'. Did you mean 'input'?"),
        ("[models.gpt-4.1]\ninput = 1", "model 'gpt-4': Unknown key '1'. A name with a dot must be quoted: [models.\"gpt-4.1\"]."),
        ("[models]\nm = 3", 'Invalid prices of model \'m\': expected a table; [models."model-name"] with input, cached and output, in US$ per '
         "million tokens."),
        ("[models.m]\ninput = 1\ncached = 1", "Price 'output' of model 'm' is missing."),
        ("[models.m]\ninput = 1\noutput = 1", "Price 'cached' of model 'm' is missing. Without a discount for cached tokens, repeat the price "
         "of the input."),
        (MODEL.replace("1", "-1"), "model 'm': Invalid input -1: expected US$ per million tokens, 0 to 1,000,000."),
        (MODEL.replace("1", "nan"), "model 'm': Invalid input 'NaN': expected US$ per million tokens, 0 to 1,000,000."),
        (MODEL.replace("1", "inf"), "model 'm': Invalid input 'Infinity': expected US$ per million tokens, 0 to 1,000,000."),
        (MODEL.replace("1", "true"), "model 'm': Invalid input True: expected US$ per million tokens, 0 to 1,000,000."),
        (MODEL.replace("1", "'3'"), "model 'm': Invalid input '3': expected US$ per million tokens, 0 to 1,000,000."),
        (MODEL.replace("1", "2000000"), "model 'm': Invalid input 2000000: expected US$ per million tokens, 0 to 1,000,000."),
        (MODEL.replace("1", "1e-99999"), "model 'm': Invalid input '1E-99999': expected at most 30 decimals."),
        (MODEL.replace('"m"', '"*-m"'), "Invalid model '*-m': * is allowed only at the end of a name."),
        (MODEL.replace('"m"', '""'), "Invalid model '': * is allowed only at the end of a name."),
        ("[models", "invalid TOML: Expected ']' at the end of a table declaration (at end of document); expected [models.\"model-name\"] with "
         "input, cached and output, in US$ per million tokens."),
    ],
)  # fmt: skip
def test_a_bad_price_file_is_an_error(tmp_path: Path, content: str, expected: str) -> None:
    path = table(tmp_path, content, "prices.toml")
    with pytest.raises(InvalidInputError) as raised:
        read_prices(path)
    assert str(raised.value) == f"{path}: {expected}"


def test_prices_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"Cannot read prices from '.*none\.toml': no such file or directory"):
        read_prices(tmp_path / "none.toml")
    with pytest.raises(InvalidInputError, match="not valid UTF-8 text"):
        read_prices(table(tmp_path, b"\xff", "binary.toml"))
    with pytest.raises(InvalidInputError, match=r"Invalid prices 3: expected a file, got an int"):
        read_prices(3)  # type: ignore[arg-type]


@given(st.text(max_size=40) | st.sampled_from(["a = " + "[" * 5000, "a = 0x" + "f" * 5000, "a = " + "9" * 5000]))
def test_any_price_file_is_prices_or_an_error(tmp_path_factory: pytest.TempPathFactory, content: str) -> None:
    path = table(tmp_path_factory.getbasetemp(), content.encode("utf-8", "surrogateescape"), "any.toml")
    with pytest.raises(InvalidInputError) as raised:
        read_prices(path)
    assert str(raised.value).startswith(str(path))


# --- guide and examples -------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run an example in this process, and return what it prints."""
    for name in [name for name in os.environ if name.startswith("EVALKIT_")]:
        monkeypatch.delenv(name)

    def run(example: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [example, *map(str, arguments)])
        runpy.run_path(str(ROOT / "examples" / example), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.mark.slow
def test_the_guide_leads_from_a_table_to_a_chart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("EVALKIT_")]:
        monkeypatch.delenv(name)
    lines = [f"r{n},{n % 3 > 0},2026-01-0{1 + n // 6}T08:00:00Z,0.{n % 10},claude-sonnet-4-5,1000,10,20" for n in range(18)]
    names = "run_id,passed,finished,score,model,tokens_input,tokens_cached,tokens_output"
    table(tmp_path, "\n".join([names, *lines]) + "\n")
    text = (ROOT / "docs" / "guides" / "collect-tables.md").read_text("utf-8")
    labels, prices = re.findall(r"^```text\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    table(tmp_path, labels, "labels.csv")
    table(tmp_path, prices, "prices.toml")
    shell = re.findall(r"^```sh\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    assert len(shell) == 3
    for number, commands in enumerate(shell):
        monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / f"home{number}"))
        assert "3 recorded" in command_line.run(*shlex.split(commands.splitlines()[0])[1:]).output
    monkeypatch.delenv("EVALKIT_HOME")
    costs = evalkit.connect(tmp_path / "home2").checkpoints()["cost_estimated"].to_list()
    assert costs == [math.fsum([(1000 * 3 + 10 * 0.3 + 20 * 15) / 10**6] * 6)] * 3
    code = re.findall(r"^```{code-block} python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    variables: dict[str, Any] = {}
    exec(compile("\n".join(code), "collect-tables.md", "exec"), variables)
    kit = variables["kit"]
    assert kit.checkpoints("nightly agent")["session_success_rate"].to_list() == [2 / 3] * 3
    assert kit.checkpoints("labeled agent")["session_success_rate"].to_list() == [1 / 6, 4 / 6, 3 / 6]
    assert len(code[0].splitlines()) < 10


@pytest.mark.slow
def test_langfuse_example_records_an_export(tmp_path: Path, run: Callable[..., str]) -> None:
    """Traces with scores of several kinds, without a score, without a latency, and without a cost."""
    common: dict[str, Any] = {"name": "agent", "version": None, "input": "SECRET", "tags": [], "errorCount": 0}
    traces: list[dict[str, Any]] = [
        {"id": "a", "timestamp": "2026-01-30T23:59:00.000Z", "latency": 90.5, "totalCost": 0.5, "totalTokens": 100, "quality": [0.75], "grade": [3, 4]},
        {"id": "b", "timestamp": "2026-01-31T08:00:00.000Z", "latency": 10, "totalCost": 0.25, "totalTokens": 50, "quality": [0.5], "grade": None},
        {"id": "c", "timestamp": "2026-02-01T08:00:00.000Z", "latency": 10, "totalCost": None, "totalTokens": 0, "quality": None, "grade": [1]},
        {"id": "d", "timestamp": "2026-02-01T09:00:00.000Z", "latency": None, "totalCost": None, "totalTokens": 0, "quality": ["True"], "grade": None},
    ]  # fmt: skip
    export = tmp_path / "traces.json"
    export.write_text(json.dumps([{**common, **trace} for trace in traces]))
    with (tmp_path / "traces.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*common, *traces[0]])
        writer.writeheader()
        for trace in traces:
            cells = {**common, **trace}
            writer.writerow({name: json.dumps(value) if isinstance(value, list) else value for name, value in cells.items()})
    for path in (export, tmp_path / "traces.csv"):
        home = tmp_path / path.suffix[1:]
        arguments = ("collect_langfuse.py", path, "--score", "quality", "--success-at", 0.6, "--home", home)
        assert "2 recorded" in run(*arguments)
        with evalkit.connect(home) as kit:
            frame = kit.checkpoints()
            columns = ("sessions_completed", "session_success_rate", "total_cost", "total_tokens", "grade")
            assert frame.select(columns).rows() == [(2, 0.5, 0.75, 150, 3.5), (1, None, None, None, 1.0)]
            assert frame["avg_session_duration"].to_list() == [timedelta(seconds=50.25), timedelta(seconds=10)]
        assert path != export or "2 unchanged" in run(*arguments)
        assert not [file for file in home.rglob("*") if file.is_file() and b"SECRET" in file.read_bytes()]


@pytest.mark.slow
def test_mlflow_example_records_an_export(tmp_path: Path, run: Callable[..., str]) -> None:
    """Runs that succeeded, failed, crashed, were killed, are running, and have no metric."""
    lines = [
        "run_id,experiment_id,status,artifact_uri,start_time,end_time,metrics.solved,metrics.cost,metrics.judge-score,params.task,tags.note",
        "a,1,FINISHED,x,2026-01-31 08:00:00.250000+00:00,2026-01-31 08:01:00+00:00,1.0,0.5,3,t,SECRET",
        "b,1,FINISHED,x,2026-01-31 09:00:00+00:00,2026-01-31 09:00:30+00:00,0.0,0.25,4,u,",
        "c,1,FAILED,x,2026-01-31 09:00:00+00:00,2026-01-31 09:00:30+00:00,,,,u,",
        "d,1,KILLED,x,2026-01-31 09:00:00+00:00,2026-01-31 09:00:30+00:00,1.0,,,u,",
        "e,1,RUNNING,x,2026-01-31 09:00:00+00:00,,,,,u,",
        "f,1,FINISHED,x,2026-02-01 09:00:00+00:00,2026-02-01 09:00:30+00:00,,,,u,",
    ]
    export = table(tmp_path, "\n".join(lines) + "\n")
    home = tmp_path / "home"
    assert "2 recorded" in run("collect_mlflow.py", export, "--success", "metrics.solved", "--home", home)
    with evalkit.connect(home) as kit:
        columns = ("sessions_completed", "session_success_rate", "total_cost", "tasks_completed", "judge_score", "sessions_invalid")
        assert kit.checkpoints().select(columns).rows() == [(2, 0.5, 0.75, 2, 3.5, 2), (1, None, None, 1, None, 0)]
        assert kit.sessions().filter(pl.col("outcome") == "invalid")["reason"].sort().to_list() == ["canceled", "error"]
    assert not [file for file in home.rglob("*") if file.is_file() and b"SECRET" in file.read_bytes()]


@pytest.mark.slow
@pytest.mark.parametrize("example", ["collect_langfuse.py", "collect_mlflow.py"])
def test_examples_run_without_an_export(tmp_path: Path, run: Callable[..., str], example: str) -> None:
    printed = run(example, "--demo", "--home", tmp_path)
    assert "10 recorded" in printed
    assert "0.667" in printed
