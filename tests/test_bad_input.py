"""Bad input: what each mistake is told. Nothing of it reaches the log."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from evalkit import METRICS, EvalkitError
from tests.bad_input_setup import namespace, stable

VALID_NAMES = (
    f"The metrics are {', '.join(METRICS)}; besides them there are period_start, period_end, timestamp, events_analyzed, "
    "sessions_included, recorded_at, key."
)

CASES = [
    ('kit.create_study("")', "InvalidInputError", "name: '' is empty; give at least one visible character."),
    ('kit.create_study("   ")', "InvalidInputError", "name: '   ' is empty; give at least one visible character."),
    (
        'kit.create_study("x" * 201)',
        "InvalidInputError",
        "name: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx... has 201 characters; at most 200 are allowed.",
    ),
    (
        'kit.create_study("two\\nlines")',
        "InvalidInputError",
        "name: 'two\\nlines' holds the character U+000A, which is not allowed; remove it.",
    ),
    (
        'kit.create_study("bell\\x07")',
        "InvalidInputError",
        "name: 'bell\\x07' holds the character U+0007, which is not allowed; remove it.",
    ),
    ('kit.create_study("nul\\x00")', "InvalidInputError", "name: 'nul\\x00' holds the character U+0000, which is not allowed; remove it."),
    (
        'kit.create_study("lone\\ud800")',
        "InvalidInputError",
        "name: 'lone\\ud800' holds the character U+D800, which is not allowed; remove it.",
    ),
    ("kit.create_study(None)", "InvalidInputError", "name: None is of type NoneType; give text."),
    ("kit.create_study(5)", "InvalidInputError", "name: 5 is of type int; give text."),
    (
        'kit.create_study("running")',
        "StudyExistsError",
        "A study named 'running' already exists (running, created 2025-06-01). Choose another name, or open it: create_study(..., if_exists=\"open\").",
    ),
    ('kit.create_study("a", if_exists="replace")', "InvalidInputError", "if_exists: 'replace' is neither 'error' nor 'open'."),
    (
        'kit.create_study("a", period="dayly")',
        "InvalidInputError",
        "period: 'dayly' is none of hourly, daily, weekly, monthly, alone or with a number, as in 'weekly:2'. Did you mean 'daily'?",
    ),
    (
        'kit.create_study("a", period="weekly:")',
        "InvalidInputError",
        "period: 'weekly:' must end in a whole number after the colon, for example 'weekly:2'.",
    ),
    (
        'kit.create_study("a", period="weekly:0")',
        "InvalidInputError",
        "period: 'weekly:0' must plan a whole number of periods, 1 to 4,294,967,295.",
    ),
    (
        'kit.create_study("a", period="weekly:-2")',
        "InvalidInputError",
        "period: 'weekly:-2' must end in a whole number after the colon, for example 'weekly:2'.",
    ),
    (
        'kit.create_study("a", period="weekly:2.5")',
        "InvalidInputError",
        "period: 'weekly:2.5' must end in a whole number after the colon, for example 'weekly:2'.",
    ),
    (
        'kit.create_study("a", period="weekly:4294967296")',
        "InvalidInputError",
        "period: 'weekly:4294967296' must plan a whole number of periods, 1 to 4,294,967,295.",
    ),
    (
        'kit.create_study("a", period=(PeriodType.WEEKLY, 0))',
        "InvalidInputError",
        "period: (<PeriodType.WEEKLY: 'weekly'>, 0) must plan a whole number of periods, 1 to 4,294,967,295.",
    ),
    (
        'kit.create_study("a", period=(PeriodType.WEEKLY, True))',
        "InvalidInputError",
        "period: (<PeriodType.WEEKLY: 'weekly'>, True) must plan a whole number of periods, 1 to 4,294,967,295.",
    ),
    (
        'kit.create_study("a", period=7)',
        "InvalidInputError",
        "period: 7 is none of hourly, daily, weekly, monthly, alone or with a number, as in 'weekly:2'.",
    ),
    ('kit.create_study("a", description=5)', "InvalidInputError", "description: 5 is of type int; give text."),
    (
        'kit.create_study("a", description="bell\\x07")',
        "InvalidInputError",
        "description: 'bell\\x07' holds the character U+0007, which is not allowed; remove it.",
    ),
    (
        'kit.create_study("a", description="x" * 1_100_000)',
        "InvalidInputError",
        "The event has 1,100,209 bytes; at most 1,048,576 are allowed. Shorten its texts or list of sessions.",
    ),
    ('kit.create_study("a", tags="one")', "InvalidInputError", 'tags: \'one\' is no list of texts; give, for example, ["one", "two"].'),
    ('kit.create_study("a", tags=["one", 2])', "InvalidInputError", "tags: 2 is of type int; give text."),
    ('kit.create_study("a", tags=5)', "InvalidInputError", 'tags: 5 is no list of texts; give, for example, ["one", "two"].'),
    ('kit.create_study("a", metadata={"commit": 5})', "InvalidInputError", "metadata['commit']: 5 is of type int; give text."),
    ('kit.create_study("a", metadata={5: "commit"})', "InvalidInputError", "metadata key: 5 is of type int; give text."),
    (
        'kit.create_study("a", metadata=["commit"])',
        "InvalidInputError",
        'metadata: [\'commit\'] is no mapping; give, for example, {"model": "m-1"}.',
    ),
    (
        'kit.create_study("a", at=datetime(2026, 1, 1))',
        "InvalidInputError",
        "at: datetime.datetime(2026, 1, 1, 0, 0) has no time zone; give a time with a time zone, as in '2026-01-31T00:00:00Z'.",
    ),
    (
        'kit.create_study("a", at="yesterday")',
        "InvalidInputError",
        "at: 'yesterday' is no RFC 3339 time; give a time with a time zone, as in '2026-01-31T00:00:00Z'.",
    ),
    (
        'kit.create_study("a", at="2026-01-01T00:00:00")',
        "InvalidInputError",
        "at: '2026-01-01T00:00:00' has no time zone; give a time with a time zone, as in '2026-01-31T00:00:00Z'.",
    ),
    (
        'kit.create_study("a", at="9000-01-01T00:00:00Z")',
        "InvalidInputError",
        "at: '9000-01-01T00:00:00Z' lies in the future: now is <now>, and at most 5 minutes ahead are allowed.",
    ),
    (
        'kit.create_study("a", at="1969-12-31T00:00:00Z")',
        "InvalidInputError",
        "at: '1969-12-31T00:00:00Z' lies before 1970, which an event id cannot hold.",
    ),
    (
        'kit.create_study("a", at=1767225600)',
        "InvalidInputError",
        "at: 1767225600 is no time; give a time with a time zone, as in '2026-01-31T00:00:00Z'.",
    ),
    (
        'kit.start_study("running")',
        "TransitionError",
        "The study 'running' is running; start needs it pending. Next: kit.pause_study('running') or kit.stop_study('running')",
    ),
    (
        'kit.pause_study("pending")',
        "TransitionError",
        "The study 'pending' is pending; pause needs it running. Next: kit.start_study('pending') or kit.stop_study('pending')",
    ),
    (
        'kit.resume_study("running")',
        "TransitionError",
        "The study 'running' is running; resume needs it paused. Next: kit.pause_study('running') or kit.stop_study('running')",
    ),
    (
        'kit.stop_study("stopped")',
        "TransitionError",
        "The study 'stopped' is stopped; stop needs it paused or pending or running. It ended for good.",
    ),
    ('kit.start_study("stopped")', "TransitionError", "The study 'stopped' is stopped; start needs it pending. It ended for good."),
    ('kit.start_study("pendng")', "StudyNotFoundError", "No study answers to 'pendng'. Did you mean 'pending'?"),
    (
        'kit.start_study("")',
        "InvalidInputError",
        "study: '' is no study; give a Study, an id, a name, or the last four characters of an id.",
    ),
    (
        "kit.start_study(None)",
        "InvalidInputError",
        "study: None is no study; give a Study, an id, a name, or the last four characters of an id.",
    ),
    (
        'kit.start_study("abc")',
        "StudyNotFoundError",
        "No study answers to 'abc'. The newest are 'twin', 'twin', 'stopped before it started', 'stopped', 'running'.",
    ),
    (
        'kit.start_study("0" * 36)',
        "StudyNotFoundError",
        "No study answers to '000000000000000000000000000000000000'. The newest are 'twin', 'twin', 'stopped before it started', 'stopped', 'running'.",
    ),
    (
        'kit.start_study("twin")',
        "AmbiguousStudyError",
        "'twin' could be any of 2 studies: <id> ('twin', pending, created 2025-06-01); <id> ('twin', pending, created 2025-06-01). Give the id, or its last characters.",
    ),
    (
        'kit.start_study("pending", at=datetime(2026, 1, 1))',
        "InvalidInputError",
        "at: datetime.datetime(2026, 1, 1, 0, 0) has no time zone; give a time with a time zone, as in '2026-01-31T00:00:00Z'.",
    ),
    (
        'kit.start_study("pending", at="2020-01-01T00:00:00Z")',
        "InvalidInputError",
        "at: '2020-01-01T00:00:00Z' lies before the study's last lifecycle event, at 2025-06-01T00:00:00Z; give a later time.",
    ),
    (
        'kit.start_study("pending", at="9000-01-01T00:00:00Z")',
        "InvalidInputError",
        "at: '9000-01-01T00:00:00Z' lies in the future: now is <now>, and at most 5 minutes ahead are allowed.",
    ),
    (
        'record("pending", {})',
        "TransitionError",
        "The study 'pending' was never started, so it has no checkpoints. Next: kit.start_study('pending') or kit.stop_study('pending')",
    ),
    (
        'record("stopped before it started", {})',
        "TransitionError",
        "The study 'stopped before it started' was never started, so it has no checkpoints. Create another study.",
    ),
    (
        'record("running", {"sesion_success_rate": 0.5})',
        "InvalidInputError",
        "'sesion_success_rate' is no metric. Did you mean 'session_success_rate'? " + VALID_NAMES,
    ),
    ('record("running", {"success": 0.5})', "InvalidInputError", "'success' is no metric. " + VALID_NAMES),
    ('record("running", {5: 0.5})', "InvalidInputError", "5 is no metric. " + VALID_NAMES),
    ('record("running", {"session_success_rate": 1.5})', "InvalidInputError", "session_success_rate: 1.5 is outside the range 0 to 1."),
    ('record("running", {"session_success_rate": 150})', "InvalidInputError", "session_success_rate: 150 is outside the range 0 to 1."),
    ('record("running", {"session_success_rate": -0.1})', "InvalidInputError", "session_success_rate: -0.1 is outside the range 0 to 1."),
    (
        'record("running", {"session_success_rate": float("nan")})',
        "InvalidInputError",
        "session_success_rate: nan is not finite; give None when it was not measured.",
    ),
    (
        'record("running", {"session_success_rate": float("inf")})',
        "InvalidInputError",
        "session_success_rate: inf is not finite; give None when it was not measured.",
    ),
    (
        'record("running", {"session_success_rate": "0.5"})',
        "InvalidInputError",
        "session_success_rate: '0.5' is of type str; give a number, or None when it was not measured.",
    ),
    (
        'record("running", {"session_success_rate": True})',
        "InvalidInputError",
        "session_success_rate: True is of type bool; give a number, or None when it was not measured.",
    ),
    (
        'record("running", {"session_success_rate": 10**400})',
        "InvalidInputError",
        "session_success_rate: 10000000000000000000000000000000000000000000000000000000000000000000000000000... is not finite; give None when it was not measured.",
    ),
    (
        'record("running", {"avg_iterations_to_success": -1})',
        "InvalidInputError",
        "avg_iterations_to_success: -1 is outside the range 0 or more.",
    ),
    ('record("running", {"total_cost": -0.01})', "InvalidInputError", "total_cost: -0.01 is outside the range 0 or more."),
    (
        'record("running", {"total_tokens": -1})',
        "InvalidInputError",
        "total_tokens: -1 is outside the range of a count, 0 to 9,223,372,036,854,775,807.",
    ),
    (
        'record("running", {"total_tokens": 2**63})',
        "InvalidInputError",
        "total_tokens: 9223372036854775808 is outside the range of a count, 0 to 9,223,372,036,854,775,807.",
    ),
    (
        'record("running", {"total_tokens": 5.5})',
        "InvalidInputError",
        "total_tokens: 5.5 is no whole number; give a count from 0 to 9,223,372,036,854,775,807.",
    ),
    (
        'record("running", {"total_tokens": "5"})',
        "InvalidInputError",
        "total_tokens: '5' is no whole number; give a count from 0 to 9,223,372,036,854,775,807.",
    ),
    (
        'record("running", {"total_tokens": True})',
        "InvalidInputError",
        "total_tokens: True is no whole number; give a count from 0 to 9,223,372,036,854,775,807.",
    ),
    (
        'record("running", {"avg_session_duration": -1})',
        "InvalidInputError",
        "avg_session_duration: -1 is outside the range 0 to 9.0072e+15.",
    ),
    (
        'record("running", {"avg_session_duration": timedelta(seconds=-1)})',
        "InvalidInputError",
        "avg_session_duration: datetime.timedelta(days=-1, seconds=86399) is negative; a duration is 0 or more.",
    ),
    (
        'record("running", {"avg_session_duration": "34s"})',
        "InvalidInputError",
        "avg_session_duration: '34s' is of type str; give a number, or None when it was not measured.",
    ),
    (
        'record("running", {"avg_session_duration": (1, 1_000_000_000)})',
        "InvalidInputError",
        "avg_session_duration: (1, 1000000000) must be [seconds, nanoseconds] with nanoseconds below 1,000,000,000.",
    ),
    (
        'record("running", {"avg_session_duration": float("nan")})',
        "InvalidInputError",
        "avg_session_duration: nan is not finite; give None when it was not measured.",
    ),
    (
        'kit.record_checkpoint("running", {"total_tokens": 5})',
        "InvalidInputError",
        "period_start is missing. A checkpoint needs its period: period_start and period_end, with a time zone.",
    ),
    (
        'kit.record_checkpoint("running", {"period": "2026-W05"})',
        "InvalidInputError",
        "period: '2026-W05' is no period; give (start, end), or {'start': start, 'end': end}.",
    ),
    (
        'kit.record_checkpoint("running", {"period": (DAY, DAY)})',
        "InvalidInputError",
        "period_end: datetime.datetime(2026, 1, 1, 0, 0, tzinfo=datetime.timezone.utc) does not come after period_start, 2026-01-01T00:00:00Z; a period is [start, end).",
    ),
    (
        'kit.record_checkpoint("running", {"period": (NEXT, DAY)})',
        "InvalidInputError",
        "period_end: datetime.datetime(2026, 1, 1, 0, 0, tzinfo=datetime.timezone.utc) does not come after period_start, 2026-01-02T00:00:00Z; a period is [start, end).",
    ),
    (
        'kit.record_checkpoint("running", {"period": (datetime(2026, 1, 1), datetime(2026, 1, 2))})',
        "InvalidInputError",
        "period_start: datetime.datetime(2026, 1, 1, 0, 0) has no time zone; give a time with a time zone, as in '2026-01-31T00:00:00Z'.",
    ),
    (
        'kit.record_checkpoint("running", {"period": (DAY, None)})',
        "InvalidInputError",
        "period_end is missing. A checkpoint needs its period: period_start and period_end, with a time zone.",
    ),
    (
        'kit.record_checkpoint("running", {"period": {"start": DAY, "stop": NEXT}})',
        "InvalidInputError",
        "period: {'start': datetime.datetime(2026, 1, 1, 0, 0, tzinfo=datetime.timezone.utc), ... is no period; give (start, end), or {'start': start, 'end': end}.",
    ),
    (
        'kit.record_checkpoint("running", {"period_start": "1 Jan", "period_end": NEXT})',
        "InvalidInputError",
        "period_start: '1 Jan' is no RFC 3339 time; give a time with a time zone, as in '2026-01-31T00:00:00Z'.",
    ),
    (
        'kit.record_checkpoint("running", [("total_tokens", 5)])',
        "InvalidInputError",
        'metrics: [(\'total_tokens\', 5)] is no mapping; give {"session_success_rate": 0.8, ..., "period": (start, end)}.',
    ),
    (
        'kit.record_checkpoint("running", None)',
        "InvalidInputError",
        'metrics: None is no mapping; give {"session_success_rate": 0.8, ..., "period": (start, end)}.',
    ),
    (
        'record("running", {}, timestamp=datetime(2026, 1, 1))',
        "InvalidInputError",
        "timestamp: datetime.datetime(2026, 1, 1, 0, 0) has no time zone; give a time with a time zone, as in '2026-01-31T00:00:00Z'.",
    ),
    (
        'record("running", {}, events_analyzed=-1)',
        "InvalidInputError",
        "events_analyzed: -1 is outside the range of a count, 0 to 9,223,372,036,854,775,807.",
    ),
    (
        'record("running", {}, events_analyzed=1.5)',
        "InvalidInputError",
        "events_analyzed: 1.5 is no whole number; give a count from 0 to 9,223,372,036,854,775,807.",
    ),
    (
        'record("running", {}, sessions_included="s-1")',
        "InvalidInputError",
        'sessions_included: \'s-1\' is no list of texts; give, for example, ["one", "two"].',
    ),
    ('record("running", {}, sessions_included=["s-1", 2])', "InvalidInputError", "sessions_included: 2 is of type int; give text."),
    (
        'record("running", {}, sessions_included=["s"] * 300_000)',
        "InvalidInputError",
        "The event has 1,200,783 bytes; at most 1,048,576 are allowed. Shorten its texts or list of sessions.",
    ),
    ('record("running", {}, key="")', "InvalidInputError", "key: '' is empty; give at least one visible character."),
    ('record("running", {}, key=5)', "InvalidInputError", "key: 5 is of type int; give text."),
    (
        'record("running", {"total_tokens": 6}, key="taken")',
        "ConflictError",
        "The key 'taken' stands for a checkpoint with other content. What is recorded stays; give another key to record this as well.",
    ),
    (
        'record("running", {}, at="9000-01-01T00:00:00Z")',
        "InvalidInputError",
        "at: '9000-01-01T00:00:00Z' lies in the future: now is <now>, and at most 5 minutes ahead are allowed.",
    ),
    (
        'kit.record_checkpoints("running", {"period_start": [DAY], "period_end": [NEXT]})',
        "InvalidInputError",
        "rows: 'dict' is no frame; give a Polars or Pandas frame, or a list of mappings.",
    ),
    (
        'kit.record_checkpoints("running", "rows.csv")',
        "InvalidInputError",
        "rows: 'str' is no frame; give a Polars or Pandas frame, or a list of mappings.",
    ),
    (
        'kit.record_checkpoints("running", [{**ROW}, {**ROW, "total_cost": -1}])',
        "InvalidInputError",
        "row 1, total_cost: -1 is outside the range 0 or more. Nothing was recorded.",
    ),
    (
        'kit.record_checkpoints("running", [{**ROW}, 5])',
        "InvalidInputError",
        'row 1, metrics: 5 is no mapping; give {"session_success_rate": 0.8, ..., "period": (start, end)}. Nothing was recorded.',
    ),
    (
        'kit.record_checkpoints("running", [{**ROW, "key": "a"}, {**ROW, "key": "a", "total_tokens": 9}])',
        "InvalidInputError",
        "row 1, key: 'a' stands for other content in an earlier row. Nothing was recorded.",
    ),
    (
        'kit.record_checkpoints("running", [{**ROW}, {**ROW, "key": "taken", "total_tokens": 9}])',
        "ConflictError",
        "row 1, The key 'taken' stands for a checkpoint with other content. What is recorded stays; give another key to record this as well.",
    ),
    (
        'kit.record_checkpoints("running", [{**ROW}, {**ROW, "sessions_included": ["s"] * 300_000}])',
        "InvalidInputError",
        "row 1, The event has 1,200,783 bytes; at most 1,048,576 are allowed. Nothing was recorded. Shorten its texts or list of sessions.",
    ),
    (
        'kit.record_checkpoints("running", pl.DataFrame([{**ROW, "sucess_rate": 0.5}]))',
        "InvalidInputError",
        "'sucess_rate' is no metric. Did you mean 'tool_success_rate'? " + VALID_NAMES,
    ),
    (
        'kit.record_checkpoints("running", pl.DataFrame([{**ROW, "total_cost": 0.5}, {**ROW, "total_cost": math.nan}]))',
        "InvalidInputError",
        "row 1, total_cost: nan is not finite; give None when it was not measured. Nothing was recorded.",
    ),
    (
        'kit.record_checkpoints("running", pl.DataFrame([{**ROW, "total_tokens": "5"}]))',
        "InvalidInputError",
        "row 0, total_tokens: '5' is no whole number; give a count from 0 to 9,223,372,036,854,775,807. Nothing was recorded.",
    ),
    (
        'kit.record_checkpoints("running", pl.DataFrame({"period_start": [DAY, DAY], "period_end": [NEXT, None]}))',
        "InvalidInputError",
        "row 1, period_end is missing. Nothing was recorded. A checkpoint needs its period: period_start and period_end, with a time zone.",
    ),
    (
        'kit.record_checkpoints("running", pl.DataFrame({"period_start": [datetime(2026, 1, 1)], "period_end": [datetime(2026, 1, 2)]}))',
        "InvalidInputError",
        "row 0, period_start: datetime.datetime(2026, 1, 1, 0, 0) has no time zone; give a time with a time zone, as in '2026-01-31T00:00:00Z'. Nothing was recorded.",
    ),
    (
        'kit.record_checkpoints("running", pd.DataFrame([{**ROW, "total_tokens": 5.5}]))',
        "InvalidInputError",
        "row 0, total_tokens: 5.5 is no whole number; give a count from 0 to 9,223,372,036,854,775,807. Nothing was recorded.",
    ),
    (
        'kit.record_checkpoints("running", pd.DataFrame([{**ROW}, {**ROW, "recorded_at": NEXT + timedelta(days=9000)}]))',
        "InvalidInputError",
        "row 1, recorded_at: Timestamp('2050-08-24 00:00:00+0000', tz='UTC') lies in the future: now is <now>, and at most 5 minutes ahead are allowed. Nothing was recorded.",
    ),
    (
        'kit.checkpoints("nothing")',
        "StudyNotFoundError",
        "No study answers to 'nothing'. The newest are 'twin', 'twin', 'stopped before it started', 'stopped', 'running'.",
    ),
    (
        'kit.checkpoints("twin")',
        "AmbiguousStudyError",
        "'twin' could be any of 2 studies: <id> ('twin', pending, created 2025-06-01); <id> ('twin', pending, created 2025-06-01). Give the id, or its last characters.",
    ),
    (
        "kit.checkpoints(start=datetime(2026, 1, 1))",
        "InvalidInputError",
        "start: datetime.datetime(2026, 1, 1, 0, 0) has no time zone; give a time with a time zone, as in '2026-01-31T00:00:00Z'.",
    ),
    ('kit.checkpoints(by="week")', "InvalidInputError", "by: 'week' is neither 'timestamp' nor 'period'."),
    ('kit.checkpoints(exclude="0000")', "InvalidInputError", "exclude: '0000' names no checkpoint among those asked for."),
    (
        'kit.checkpoints(exclude=["abc"])',
        "InvalidInputError",
        "exclude: 'abc' is no checkpoint; give a Checkpoint, an id, or the last four or more characters of one.",
    ),
    (
        'kit.checkpoints(exclude="total_cost")',
        "InvalidInputError",
        "exclude: 'total_cost' names no checkpoint among those asked for. To leave out a column: frame.drop('total_cost').",
    ),
    ('kit.checkpoints(backend="arrow")', "InvalidInputError", "backend: 'arrow' is neither 'polars' nor 'pandas'."),
    ('kit.studies(backend="arrow")', "InvalidInputError", "backend: 'arrow' is neither 'polars' nor 'pandas'."),
    (
        'kit.storage.list_studies_by_status("done")',
        "InvalidInputError",
        "status: 'done' is none. Give one of pending, running, paused, stopped.",
    ),
    (
        'kit.storage.get_checkpoints_in_range("x", datetime(2026, 1, 1), NEXT)',
        "InvalidInputError",
        "start: datetime.datetime(2026, 1, 1, 0, 0) is no time with a time zone. Give, for example, datetime(2026, 1, 31, tzinfo=timezone.utc).",
    ),
    ('evalkit.connect("")', "InvalidInputError", "home: '' is no folder. Leave it out, or give a folder."),
    (
        'evalkit.connect(log_url="kafka://user:secret@host/x")',
        "InvalidInputError",
        "log_url: 'kafka://***@host' is no event log. Give sqlite:PATH or iggy+tcp://USER:PASSWORD@HOST:PORT, or leave it out for "
        "the embedded log in the home.",
    ),
    (
        'evalkit.connect(database_url="postgres://user:secret@host/x")',
        "InvalidInputError",
        "database_url: 'postgres://***@host' is no database. Give file:PATH; http(s):// or libsql://HOST for a libSQL "
        "server; turso+https://HOST for Turso Cloud; or leave it out for the embedded one in the home.",
    ),
    ("evalkit.connect(__file__)", "InvalidInputError", "home: '<path>' is a file; give a folder."),
]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return namespace(tmp_path_factory.mktemp("bad-input") / "home")


@pytest.mark.parametrize(("mistake", "error", "message"), CASES, ids=[case[0][:80] for case in CASES])
def test_bad_input_is_told_what_is_wrong_and_appends_nothing(names: dict[str, Any], mistake: str, error: str, message: str) -> None:
    """Each mistake raises evalkit's own error with exactly this message, and the log holds what it held before."""
    log = names["kit"].engine.log
    before = log.ranges()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some rows repeat a period, which is not what is tried here
        with pytest.raises(EvalkitError) as raised:
            eval(mistake, dict(names))
    assert type(raised.value).__name__ == error
    assert stable(str(raised.value)) == message
    assert raised.value.__cause__ is None
    assert log.ranges() == before


def test_every_message_names_what_is_valid_or_what_to_do() -> None:
    """The table holds at least 60 mistakes, and no message is a bare refusal."""
    assert len(CASES) >= 60
    assert all(len(message.split()) >= 5 for _, _, message in CASES)
