"""Bad input: every mistake raises an error of evalkit, and nothing of it reaches the log."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from inline_snapshot import snapshot

from evalkit import EvalkitError
from tests.bad_input_setup import namespace
from tests.messages import says

CASES: list[tuple[str, str, Any]] = [
    ('kit.create_study("")', "InvalidInputError", snapshot("Invalid name '': empty; at least one visible character is required.")),
    ('kit.create_study("   ")', "InvalidInputError", snapshot("Invalid name '   ': empty; at least one visible character is required.")),
    (
        'kit.create_study("x" * 201)',
        "InvalidInputError",
        snapshot(
            "Invalid name 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...: 201 characters; at most 200 are allowed."
        ),
    ),
    (
        'kit.create_study("two\\nlines")',
        "InvalidInputError",
        snapshot("Invalid name 'two\\nlines': contains the character U+000A, which is not allowed."),
    ),
    (
        'kit.create_study("bell\\x07")',
        "InvalidInputError",
        snapshot("Invalid name 'bell\\x07': contains the character U+0007, which is not allowed."),
    ),
    (
        'kit.create_study("nul\\x00")',
        "InvalidInputError",
        snapshot("Invalid name 'nul\\x00': contains the character U+0000, which is not allowed."),
    ),
    (
        'kit.create_study("lone\\ud800")',
        "InvalidInputError",
        snapshot("Invalid name 'lone\\ud800': contains the character U+D800, which is not allowed."),
    ),
    ("kit.create_study(None)", "InvalidInputError", snapshot("Invalid name None: expected a string, got None.")),
    ("kit.create_study(5)", "InvalidInputError", snapshot("Invalid name 5: expected a string, got an int.")),
    (
        'kit.create_study("running")',
        "StudyExistsError",
        snapshot(
            "Study 'running' already exists (running, created 2025-06-01). Choose another name, or open it: create_study(..., if_exists=\"open\")."
        ),
    ),
    ("evalkit.connect(3)", "InvalidInputError", snapshot("Invalid home 3: expected a folder path.")),
    (
        'kit.outcome(ValueError("x"))',
        "InvalidInputError",
        snapshot("Invalid error ValueError('x'): expected the OutcomeUnknownError that a command raised."),
    ),
    (
        "kit.checkpoints(start=NEXT, end=DAY)",
        "InvalidInputError",
        snapshot("Invalid end 2026-01-01T00:00:00+00:00: must not be before start (2026-01-02T00:00:00+00:00)."),
    ),
    (
        'evalkit.TimePeriod(start="yesterday", end=NEXT)',
        "InvalidInputError",
        snapshot("Invalid start 'yesterday': not an RFC 3339 time in UTC with at most 9 fractional digits."),
    ),
    ("evalkit.TimePeriod(start=DAY, finish=NEXT)", "InvalidInputError", snapshot("end is missing. Pass end=.")),
    ("evalkit.TimePeriod(start=DAY)", "InvalidInputError", snapshot("end is missing. Pass end=.")),
    (
        "evalkit.LongitudinalMetrics(sucess=3, period=evalkit.TimePeriod(start=DAY, end=NEXT))",
        "InvalidInputError",
        snapshot("Unknown metric 'sucess'. Did you mean 'session_success_rate'?"),
    ),
    (
        "evalkit.LongitudinalMetrics(total_tokens=-3, period=evalkit.TimePeriod(start=DAY, end=NEXT))",
        "InvalidInputError",
        snapshot("Invalid total_tokens -3: expected a number greater than or equal to 0."),
    ),
    (
        'kit.create_study("a", if_exists="replace")',
        "InvalidInputError",
        snapshot("Invalid if_exists 'replace': expected 'error' or 'open'."),
    ),
    (
        'kit.create_study("a", period="dayly")',
        "InvalidInputError",
        snapshot(
            "Invalid period 'dayly': expected hourly, daily, weekly or monthly, optionally with a count ('weekly:2'). Did you mean 'daily'?"
        ),
    ),
    (
        'kit.create_study("a", period="weekly:")',
        "InvalidInputError",
        snapshot("Invalid period 'weekly:': expected a whole number after the colon, e.g. 'weekly:2'."),
    ),
    (
        'kit.create_study("a", period="weekly:0")',
        "InvalidInputError",
        snapshot("Invalid period 'weekly:0': expected a count of 1 to 4,294,967,295 periods."),
    ),
    (
        'kit.create_study("a", period="weekly:-2")',
        "InvalidInputError",
        snapshot("Invalid period 'weekly:-2': expected a whole number after the colon, e.g. 'weekly:2'."),
    ),
    (
        'kit.create_study("a", period="weekly:2.5")',
        "InvalidInputError",
        snapshot("Invalid period 'weekly:2.5': expected a whole number after the colon, e.g. 'weekly:2'."),
    ),
    (
        'kit.create_study("a", period="weekly:4294967296")',
        "InvalidInputError",
        snapshot("Invalid period 'weekly:4294967296': expected a count of 1 to 4,294,967,295 periods."),
    ),
    (
        'kit.create_study("a", period=(PeriodType.WEEKLY, 0))',
        "InvalidInputError",
        snapshot("Invalid period (<PeriodType.WEEKLY: 'weekly'>, 0): expected a count of 1 to 4,294,967,295 periods."),
    ),
    (
        'kit.create_study("a", period=(PeriodType.WEEKLY, True))',
        "InvalidInputError",
        snapshot("Invalid period (<PeriodType.WEEKLY: 'weekly'>, True): expected a count of 1 to 4,294,967,295 periods."),
    ),
    (
        'kit.create_study("a", period=7)',
        "InvalidInputError",
        snapshot("Invalid period 7: expected hourly, daily, weekly or monthly, optionally with a count ('weekly:2')."),
    ),
    ('kit.create_study("a", description=5)', "InvalidInputError", snapshot("Invalid description 5: expected a string, got an int.")),
    (
        'kit.create_study("a", description="bell\\x07")',
        "InvalidInputError",
        snapshot("Invalid description 'bell\\x07': contains the character U+0007, which is not allowed."),
    ),
    (
        'kit.create_study("a", description="x" * 1_100_000)',
        "InvalidInputError",
        snapshot("Event too large: 1,100,209 bytes (at most 1,048,576 are allowed). Shorten its texts or its list of sessions."),
    ),
    (
        'kit.create_study("a", tags="one")',
        "InvalidInputError",
        snapshot('Invalid tags \'one\': expected a list of strings, e.g. ["one", "two"].'),
    ),
    ('kit.create_study("a", tags=["one", 2])', "InvalidInputError", snapshot("Invalid tags ['one', 2]: expected strings, got an int (2).")),
    ('kit.create_study("a", tags=5)', "InvalidInputError", snapshot('Invalid tags 5: expected a list of strings, e.g. ["one", "two"].')),
    (
        'kit.create_study("a", metadata={"commit": 5})',
        "InvalidInputError",
        snapshot("Invalid metadata['commit'] 5: expected a string, got an int."),
    ),
    (
        'kit.create_study("a", metadata={5: "commit"})',
        "InvalidInputError",
        snapshot("Invalid metadata key 5: expected a string, got an int."),
    ),
    (
        'kit.create_study("a", metadata=["commit"])',
        "InvalidInputError",
        snapshot('Invalid metadata [\'commit\']: expected a mapping of strings, e.g. {"model": "m-1"}.'),
    ),
    (
        'kit.create_study("a", at=datetime(2026, 1, 1))',
        "InvalidInputError",
        snapshot("Invalid at=2026-01-01T00:00:00: no time zone; expected e.g. '2026-01-31T00:00:00Z'."),
    ),
    (
        'kit.create_study("a", at="yesterday")',
        "InvalidInputError",
        snapshot("Invalid at='yesterday': not an ISO 8601 time; expected e.g. '2026-01-31T00:00:00Z'."),
    ),
    (
        'kit.create_study("a", at="2026-01-01T00:00:00")',
        "InvalidInputError",
        snapshot("Invalid at='2026-01-01T00:00:00': no time zone; expected e.g. '2026-01-31T00:00:00Z'."),
    ),
    (
        'kit.create_study("a", at="9000-01-01T00:00:00Z")',
        "InvalidInputError",
        snapshot("Invalid at='9000-01-01T00:00:00Z': in the future (now is NOW; at most 5 minutes ahead are allowed)."),
    ),
    (
        'kit.create_study("a", at="1969-12-31T00:00:00Z")',
        "InvalidInputError",
        snapshot("Invalid at='1969-12-31T00:00:00Z': before 1970, the earliest time of an event id."),
    ),
    (
        'kit.create_study("a", at=1767225600)',
        "InvalidInputError",
        snapshot("Invalid at=1767225600: not a time; expected e.g. '2026-01-31T00:00:00Z'."),
    ),
    (
        'kit.start_study("running")',
        "TransitionError",
        snapshot(
            "Cannot start study 'running': it is running (must be pending). Next: kit.pause_study('running') or kit.stop_study('running')."
        ),
    ),
    (
        'kit.pause_study("pending")',
        "TransitionError",
        snapshot("Cannot pause study 'pending': it is pending (must be running). Start it first with kit.start_study('pending')."),
    ),
    (
        'kit.resume_study("running")',
        "TransitionError",
        snapshot(
            "Cannot resume study 'running': it is running (must be paused). Next: kit.pause_study('running') or kit.stop_study('running')."
        ),
    ),
    (
        'kit.stop_study("stopped")',
        "TransitionError",
        snapshot(
            "Cannot stop study 'stopped': it is stopped (must be pending, running or paused). A stopped study cannot be changed; create another one."
        ),
    ),
    (
        'kit.start_study("stopped")',
        "TransitionError",
        snapshot("Cannot start study 'stopped': it is stopped (must be pending). A stopped study cannot be changed; create another one."),
    ),
    ('kit.start_study("pendng")', "StudyNotFoundError", snapshot("No study matches 'pendng'. Did you mean 'pending'?")),
    (
        'kit.start_study("")',
        "InvalidInputError",
        snapshot("Invalid study '': expected a Study, an id, a name, or the last 4 or more characters of an id."),
    ),
    (
        "kit.start_study(None)",
        "InvalidInputError",
        snapshot("Invalid study None: expected a Study, an id, a name, or the last 4 or more characters of an id."),
    ),
    (
        'kit.start_study("abc")',
        "StudyNotFoundError",
        snapshot("No study matches 'abc'. Most recent studies: 'twin', 'twin', 'stopped before it started', 'stopped', 'running'."),
    ),
    (
        'kit.start_study("0" * 36)',
        "StudyNotFoundError",
        snapshot(
            "No study matches '000000000000000000000000000000000000'. Most recent studies: 'twin', 'twin', 'stopped before it started', 'stopped', 'running'."
        ),
    ),
    (
        'kit.start_study("twin")',
        "AmbiguousStudyError",
        snapshot(
            "'twin' matches 2 studies: ID ('twin', pending, created 2025-06-01); ID ('twin', pending, created 2025-06-01). Use the id, or its last characters."
        ),
    ),
    (
        'kit.start_study("pending", at=datetime(2026, 1, 1))',
        "InvalidInputError",
        snapshot("Invalid at=2026-01-01T00:00:00: no time zone; expected e.g. '2026-01-31T00:00:00Z'."),
    ),
    (
        'kit.start_study("pending", at="2020-01-01T00:00:00Z")',
        "InvalidInputError",
        snapshot("Invalid at='2020-01-01T00:00:00Z': before the study's last lifecycle event (2025-06-01T00:00:00Z)."),
    ),
    (
        'kit.start_study("pending", at="9000-01-01T00:00:00Z")',
        "InvalidInputError",
        snapshot("Invalid at='9000-01-01T00:00:00Z': in the future (now is NOW; at most 5 minutes ahead are allowed)."),
    ),
    (
        'record("pending", {})',
        "TransitionError",
        snapshot(
            "Cannot record in study 'pending': it is pending (must be running, paused or stopped). Start it with kit.start_study('pending')."
        ),
    ),
    (
        'record("stopped before it started", {})',
        "TransitionError",
        snapshot("Cannot record in study 'stopped before it started': it is stopped and was never started. Create another study."),
    ),
    (
        'record("running", {"sesion_success_rate": 0.5})',
        "InvalidInputError",
        snapshot(
            "Unknown metric 'sesion_success_rate'. Did you mean 'session_success_rate'? To record it as a custom metric, define it with kit.define_metric(), or pass define=\"auto\"."
        ),
    ),
    (
        'record("running", {"success": 0.5})',
        "InvalidInputError",
        snapshot(
            "Unknown metric 'success'. Did you mean 'session_success_rate'? To record it as a custom metric, define it with kit.define_metric(), or pass define=\"auto\"."
        ),
    ),
    (
        'record("running", {5: 0.5})',
        "InvalidInputError",
        snapshot(
            "Unknown metric 5. Valid metrics: sessions_completed, session_success_rate, avg_session_duration, tasks_completed, first_attempt_success_rate, avg_iterations_to_success, agent_efficiency, tool_success_rate, self_correction_rate, swarm_coordination_overhead, parallelism_efficiency, learnings_applied, learning_effectiveness, total_tokens, total_cost, cost_per_successful_task; and period_start, period_end, timestamp, events_analyzed, sessions_included, recorded_at, key."
        ),
    ),
    (
        'record("running", {"session_success_rate": 1.5})',
        "InvalidInputError",
        snapshot("Invalid session_success_rate 1.5: outside the range 0 to 1."),
    ),
    (
        'record("running", {"session_success_rate": 150})',
        "InvalidInputError",
        snapshot("Invalid session_success_rate 150: outside the range 0 to 1."),
    ),
    (
        'record("running", {"session_success_rate": -0.1})',
        "InvalidInputError",
        snapshot("Invalid session_success_rate -0.1: outside the range 0 to 1."),
    ),
    (
        'record("running", {"session_success_rate": float("nan")})',
        "InvalidInputError",
        snapshot("Invalid session_success_rate nan: not finite. Use None for a missing value."),
    ),
    (
        'record("running", {"session_success_rate": float("inf")})',
        "InvalidInputError",
        snapshot("Invalid session_success_rate inf: not finite. Use None for a missing value."),
    ),
    (
        'record("running", {"session_success_rate": "0.5"})',
        "InvalidInputError",
        snapshot("Invalid session_success_rate '0.5': expected a number, got a string."),
    ),
    (
        'record("running", {"session_success_rate": True})',
        "InvalidInputError",
        snapshot("Invalid session_success_rate True: expected a number, got a bool. Use None for a missing value."),
    ),
    (
        'record("running", {"session_success_rate": 10**400})',
        "InvalidInputError",
        snapshot(
            "Invalid session_success_rate 10000000000000000000000000000000000000000000000000000000000000000000000000000...: not finite. Use None for a missing value."
        ),
    ),
    (
        'record("running", {"avg_iterations_to_success": -1})',
        "InvalidInputError",
        snapshot("Invalid avg_iterations_to_success -1: expected a number of 0 or more."),
    ),
    (
        'record("running", {"total_cost": -0.01})',
        "InvalidInputError",
        snapshot("Invalid total_cost -0.01: expected a number of 0 or more."),
    ),
    (
        'record("running", {"total_tokens": -1})',
        "InvalidInputError",
        snapshot("Invalid total_tokens -1: expected a whole number of 0 or more."),
    ),
    (
        'record("running", {"total_tokens": 2**63})',
        "InvalidInputError",
        snapshot("Invalid total_tokens 9223372036854775808: expected at most 9,223,372,036,854,775,807."),
    ),
    (
        'record("running", {"total_tokens": 5.5})',
        "InvalidInputError",
        snapshot("Invalid total_tokens 5.5: expected a whole number of 0 or more."),
    ),
    (
        'record("running", {"total_tokens": "5"})',
        "InvalidInputError",
        snapshot("Invalid total_tokens '5': expected a whole number of 0 or more."),
    ),
    (
        'record("running", {"total_tokens": True})',
        "InvalidInputError",
        snapshot("Invalid total_tokens True: expected a whole number of 0 or more."),
    ),
    (
        'record("running", {"avg_session_duration": -1})',
        "InvalidInputError",
        snapshot("Invalid avg_session_duration -1: expected 0 or more seconds, or a timedelta."),
    ),
    (
        'record("running", {"avg_session_duration": timedelta(seconds=-1)})',
        "InvalidInputError",
        snapshot("Invalid avg_session_duration datetime.timedelta(days=-1, seconds=86399): expected 0 or more seconds, or a timedelta."),
    ),
    (
        'record("running", {"avg_session_duration": "34s"})',
        "InvalidInputError",
        snapshot("Invalid avg_session_duration '34s': expected seconds or a timedelta, got a string."),
    ),
    (
        'record("running", {"avg_session_duration": (1, 1_000_000_000)})',
        "InvalidInputError",
        snapshot("Invalid avg_session_duration (1, 1000000000): expected [seconds, nanoseconds] with nanoseconds below 1,000,000,000."),
    ),
    (
        'record("running", {"avg_session_duration": float("nan")})',
        "InvalidInputError",
        snapshot("Invalid avg_session_duration nan: not finite. Use None for a missing value."),
    ),
    (
        'kit.record_checkpoint("running", {"total_tokens": 5})',
        "InvalidInputError",
        snapshot(
            "period_start is missing. The end may be omitted if period_start is the start of a period, such as midnight for a daily study."
        ),
    ),
    (
        'kit.record_checkpoint("running", {"period": "2026-W05"})',
        "InvalidInputError",
        snapshot("Invalid period '2026-W05': expected (start, end) or {'start': start, 'end': end}."),
    ),
    (
        'kit.record_checkpoint("running", {"period": (DAY, DAY)})',
        "InvalidInputError",
        snapshot(
            'Invalid period_end 2026-01-01T00:00:00+00:00: must be after period_start (2026-01-01T00:00:00Z); periods are half-open, [start, end). Only a study with cadence="per-run" can have checkpoints at a point in time.'
        ),
    ),
    (
        'kit.record_checkpoint("running", {"period": (NEXT, DAY)})',
        "InvalidInputError",
        snapshot(
            "Invalid period_end 2026-01-01T00:00:00+00:00: must be after period_start (2026-01-02T00:00:00Z); periods are half-open, [start, end)."
        ),
    ),
    (
        'kit.record_checkpoint("running", {"period": (datetime(2026, 1, 1), datetime(2026, 1, 2))})',
        "InvalidInputError",
        snapshot(
            "Invalid period_start 2026-01-01T00:00:00: no time zone; expected e.g. '2026-01-31T00:00:00Z'. Pass tz='UTC' to read dates and local times in that time zone."
        ),
    ),
    (
        'kit.record_checkpoint("running", {"period": (None, NEXT)})',
        "InvalidInputError",
        snapshot(
            "period_start is missing. The end may be omitted if period_start is the start of a period, such as midnight for a daily study."
        ),
    ),
    (
        'kit.record_checkpoint("running", {"period": {"start": DAY, "stop": NEXT}})',
        "InvalidInputError",
        snapshot(
            "Invalid period {'start': datetime.datetime(2026, 1, 1, 0, 0, tzinfo=datetime.timezone.utc), ...: expected (start, end) or {'start': start, 'end': end}."
        ),
    ),
    (
        'kit.record_checkpoint("running", {"period_start": "1 Jan", "period_end": NEXT})',
        "InvalidInputError",
        snapshot("Invalid period_start '1 Jan': not an ISO 8601 time; expected e.g. '2026-01-31T00:00:00Z'."),
    ),
    (
        'kit.record_checkpoint("running", [("total_tokens", 5)])',
        "InvalidInputError",
        snapshot(
            'Invalid metrics [(\'total_tokens\', 5)]: expected a mapping, e.g. {"session_success_rate": 0.8, ..., "period": (start, end)}.'
        ),
    ),
    (
        'kit.record_checkpoint("running", None)',
        "InvalidInputError",
        snapshot('Invalid metrics None: expected a mapping, e.g. {"session_success_rate": 0.8, ..., "period": (start, end)}.'),
    ),
    (
        'record("running", {}, timestamp=datetime(2026, 1, 1))',
        "InvalidInputError",
        snapshot(
            "Invalid timestamp 2026-01-01T00:00:00: no time zone; expected e.g. '2026-01-31T00:00:00Z'. Pass tz='UTC' to read dates and local times in that time zone."
        ),
    ),
    (
        'record("running", {}, events_analyzed=-1)',
        "InvalidInputError",
        snapshot("Invalid events_analyzed -1: expected a whole number of 0 or more."),
    ),
    (
        'record("running", {}, events_analyzed=1.5)',
        "InvalidInputError",
        snapshot("Invalid events_analyzed 1.5: expected a whole number of 0 or more."),
    ),
    (
        'record("running", {}, sessions_included="s-1")',
        "InvalidInputError",
        snapshot('Invalid sessions_included \'s-1\': expected a list of strings, e.g. ["one", "two"].'),
    ),
    (
        'record("running", {}, sessions_included=["s-1", 2])',
        "InvalidInputError",
        snapshot("Invalid sessions_included ['s-1', 2]: expected strings, got an int (2)."),
    ),
    (
        'record("running", {}, sessions_included=["s"] * 300_000)',
        "InvalidInputError",
        snapshot("Event too large: 1,200,826 bytes (at most 1,048,576 are allowed). Shorten its texts or its list of sessions."),
    ),
    ('record("running", {}, key="")', "InvalidInputError", snapshot("Invalid key '': empty; at least one visible character is required.")),
    ('record("running", {}, key=5)', "InvalidInputError", snapshot("Invalid key 5: expected a string, got an int.")),
    (
        'record("running", {"total_tokens": 6}, key="taken")',
        "ConflictError",
        snapshot(
            "Key 'taken' was already used for a checkpoint with different content. The recorded checkpoint is unchanged. Use a new key to record this one as well."
        ),
    ),
    (
        'record("running", {}, at="9000-01-01T00:00:00Z")',
        "InvalidInputError",
        snapshot("Invalid at='9000-01-01T00:00:00Z': in the future (now is NOW; at most 5 minutes ahead are allowed)."),
    ),
    (
        'kit.record_checkpoints("running", {"period_start": [DAY], "period_end": [NEXT]})',
        "InvalidInputError",
        snapshot("Invalid rows: expected a Polars or pandas DataFrame, or a list of mappings, got a dict."),
    ),
    (
        'kit.record_checkpoints("running", "rows.csv")',
        "InvalidInputError",
        snapshot("Invalid rows: expected a Polars or pandas DataFrame, or a list of mappings, got a str."),
    ),
    (
        'kit.record_checkpoints("running", [{**ROW}, {**ROW, "total_cost": -1}])',
        "InvalidInputError",
        snapshot("row 1: Invalid total_cost -1: expected a number of 0 or more. Nothing was recorded."),
    ),
    (
        'kit.record_checkpoints("running", [{**ROW}, 5])',
        "InvalidInputError",
        snapshot(
            'row 1: Invalid metrics 5: expected a mapping, e.g. {"session_success_rate": 0.8, ..., "period": (start, end)}. Nothing was recorded.'
        ),
    ),
    (
        'kit.record_checkpoints("running", [{**ROW, "key": "a"}, {**ROW, "key": "a", "total_tokens": 9}])',
        "InvalidInputError",
        snapshot("row 1: Invalid key 'a': an earlier row has this key and different content. Nothing was recorded."),
    ),
    (
        'kit.record_checkpoints("running", [{**ROW}, {**ROW, "key": "taken", "total_tokens": 9}])',
        "ConflictError",
        snapshot(
            "row 1: key 'taken' was already used for a checkpoint with different content. The recorded checkpoint is unchanged. Use a new key to record this one as well."
        ),
    ),
    (
        'kit.record_checkpoints("running", [{**ROW}, {**ROW, "sessions_included": ["s"] * 300_000}])',
        "InvalidInputError",
        snapshot(
            "row 1: Event too large: 1,200,826 bytes (at most 1,048,576 are allowed). Nothing was recorded. Shorten its texts or its list of sessions."
        ),
    ),
    (
        'kit.record_checkpoints("running", pl.DataFrame([{**ROW, "sucess_rate": 0.5}]))',
        "InvalidInputError",
        snapshot(
            "Unknown column 'sucess_rate'. Did you mean 'session_success_rate'? To record it as a custom metric, define it with kit.define_metric(), or pass define=\"auto\"."
        ),
    ),
    (
        'kit.record_checkpoints("running", pl.DataFrame([{**ROW, "total_cost": 0.5}, {**ROW, "total_cost": math.nan}]))',
        "InvalidInputError",
        snapshot("row 1: Invalid total_cost nan: not finite. Nothing was recorded. Use None for a missing value."),
    ),
    (
        'kit.record_checkpoints("running", pl.DataFrame([{**ROW, "total_tokens": "5"}]))',
        "InvalidInputError",
        snapshot("row 0: Invalid total_tokens '5': expected a whole number of 0 or more. Nothing was recorded."),
    ),
    (
        'kit.record_checkpoints("running", pl.DataFrame({"period_start": [DAY, DAY + timedelta(hours=8)], "period_end": [NEXT, None]}))',
        "InvalidInputError",
        snapshot(
            "row 1: Cannot derive period_end: period_start 2026-01-01T08:00:00+00:00 is not the start of a day in UTC. Nothing was recorded. Pass period_end too, or a period_start such as '2026-01-01T00:00:00+00:00', or tz= for the periods of another time zone."
        ),
    ),
    (
        'kit.record_checkpoints("running", pl.DataFrame({"period_start": [datetime(2026, 1, 1)], "period_end": [datetime(2026, 1, 2)]}))',
        "InvalidInputError",
        snapshot(
            "row 0: Invalid period_start 2026-01-01T00:00:00: no time zone; expected e.g. '2026-01-31T00:00:00Z'. Nothing was recorded. Pass tz='UTC' to read dates and local times in that time zone."
        ),
    ),
    (
        'kit.record_checkpoints("running", pd.DataFrame([{**ROW, "total_tokens": 5.5}]))',
        "InvalidInputError",
        snapshot("row 0: Invalid total_tokens 5.5: expected a whole number of 0 or more. Nothing was recorded."),
    ),
    (
        'kit.record_checkpoints("running", pd.DataFrame([{**ROW}, {**ROW, "recorded_at": NEXT + timedelta(days=9000)}]))',
        "InvalidInputError",
        snapshot(
            "row 1: Invalid recorded_at 2050-08-24T00:00:00+00:00: in the future (now is NOW; at most 5 minutes ahead are allowed). Nothing was recorded."
        ),
    ),
    (
        'kit.checkpoints("nothing")',
        "StudyNotFoundError",
        snapshot("No study matches 'nothing'. Most recent studies: 'twin', 'twin', 'stopped before it started', 'stopped', 'running'."),
    ),
    (
        'kit.checkpoints("twin")',
        "AmbiguousStudyError",
        snapshot(
            "'twin' matches 2 studies: ID ('twin', pending, created 2025-06-01); ID ('twin', pending, created 2025-06-01). Use the id, or its last characters."
        ),
    ),
    (
        "kit.checkpoints(start=datetime(2026, 1, 1))",
        "InvalidInputError",
        snapshot("Invalid start 2026-01-01T00:00:00: no time zone; expected e.g. '2026-01-31T00:00:00Z'."),
    ),
    ('kit.checkpoints(by="week")', "InvalidInputError", snapshot("Invalid by='week': expected 'timestamp' or 'period'.")),
    (
        'kit.checkpoints(exclude="0000")',
        "InvalidInputError",
        snapshot(
            "Invalid exclude '0000': matches none of the selected checkpoints; expected a Checkpoint, an id, the last 4 or more characters of an id, or (study, key). A retracted checkpoint is already left out."
        ),
    ),
    (
        'kit.checkpoints(exclude=["abc"])',
        "InvalidInputError",
        snapshot("Invalid exclude 'abc': expected a Checkpoint, an id, the last 4 or more characters of an id, or (study, key)."),
    ),
    (
        'kit.checkpoints(exclude="total_cost")',
        "InvalidInputError",
        snapshot(
            "Invalid exclude 'total_cost': matches none of the selected checkpoints; expected a Checkpoint, an id, the last 4 or more characters of an id, or (study, key). To exclude a column, use frame.drop('total_cost')."
        ),
    ),
    (
        'kit.checkpoints(exclude=[("measured", "no such key")])',
        "InvalidInputError",
        snapshot(
            "Invalid exclude ('measured', 'no such key'): matches none of the selected checkpoints. A retracted checkpoint is already left out."
        ),
    ),
    (
        'kit.checkpoints(exclude=[("no such study", "a")])',
        "StudyNotFoundError",
        snapshot("No study matches 'no such study'. Studies in the data: 'measured', 'running'."),
    ),
    (
        'kit.checkpoints(exclude=[("nightly", "a", "b")])',
        "InvalidInputError",
        snapshot(
            "Invalid exclude ('nightly', 'a', 'b'): expected a Checkpoint, an id, the last 4 or more characters of an id, or (study, key)."
        ),
    ),
    (
        'kit.changes("2026-02-01T00:00:00Z", "2026-01-31T00:00:00Z")',
        "InvalidInputError",
        snapshot("Invalid until '2026-01-31T00:00:00Z': must not be before since."),
    ),
    ('kit.checkpoints(backend="arrow")', "InvalidInputError", snapshot("Invalid backend 'arrow': expected 'polars' or 'pandas'.")),
    ('kit.studies(backend="arrow")', "InvalidInputError", snapshot("Invalid backend 'arrow': expected 'polars' or 'pandas'.")),
    (
        'kit.storage.list_studies_by_status("done")',
        "InvalidInputError",
        snapshot("Invalid status 'done': expected one of pending, running, paused, stopped."),
    ),
    (
        'kit.storage.get_checkpoints_in_range("x", datetime(2026, 1, 1), NEXT)',
        "InvalidInputError",
        snapshot(
            "Invalid start 2026-01-01T00:00:00: expected a datetime with a time zone, e.g. datetime(2026, 1, 31, tzinfo=timezone.utc)."
        ),
    ),
    ('evalkit.connect("")', "InvalidInputError", snapshot("Invalid home '': expected a folder. Omit it, or pass a folder.")),
    (
        'evalkit.connect(log_url="kafka://user:secret@host/x")',
        "InvalidInputError",
        snapshot(
            "Invalid log_url 'kafka://***@host': expected sqlite:PATH, iggy+tcp://USER:PASSWORD@HOST:PORT or iggy+tcp://TOKEN@HOST:PORT. Omit it to use the log in the home."
        ),
    ),
    (
        'evalkit.connect(database_url="postgres://user:secret@host/x")',
        "InvalidInputError",
        snapshot(
            "Invalid database_url 'postgres://***@host': expected file:PATH, http(s)://HOST or libsql://HOST (a libSQL server), or turso+https://HOST (Turso Cloud). Omit it to use the database in the home."
        ),
    ),
    ("evalkit.connect(__file__)", "InvalidInputError", snapshot("Invalid home 'FILE': it is a file, expected a folder.")),
    (
        'kit.create_study("a", period="DAILY")',
        "InvalidInputError",
        snapshot(
            "Invalid period 'DAILY': expected hourly, daily, weekly or monthly, optionally with a count ('weekly:2'). Did you mean 'daily'?"
        ),
    ),
    (
        'kit.checkpoints(start="2026-01-01")',
        "InvalidInputError",
        snapshot("Invalid start '2026-01-01': no time zone; expected e.g. '2026-01-31T00:00:00Z'."),
    ),
    (
        'record("running", {"accuracy": 0.5})',
        "InvalidInputError",
        snapshot(
            "Unknown metric 'accuracy'. Did you mean 'session_success_rate'? To record it as a custom metric, define it with kit.define_metric(), or pass define=\"auto\"."
        ),
    ),
    (
        'record("running", {"cost_usd": 0.5})',
        "InvalidInputError",
        snapshot(
            "Unknown metric 'cost_usd'. Did you mean 'total_cost'? To record it as a custom metric, define it with kit.define_metric(), or pass define=\"auto\"."
        ),
    ),
    ('record("running", {"Total Cost": 0.5})', "InvalidInputError", snapshot("Unknown metric 'Total Cost'. Did you mean 'total_cost'?")),
    (
        'record("running", {"date": "2026-01-01"})',
        "InvalidInputError",
        snapshot(
            "Unknown metric 'date'. Did you mean 'period_start' or 'period_end'? To record it as a custom metric, define it with kit.define_metric(), or pass define=\"auto\"."
        ),
    ),
    (
        'record("running", {"zzz": 0.5})',
        "InvalidInputError",
        snapshot(
            "Unknown metric 'zzz'. Valid metrics: sessions_completed, session_success_rate, avg_session_duration, tasks_completed, first_attempt_success_rate, avg_iterations_to_success, agent_efficiency, tool_success_rate, self_correction_rate, swarm_coordination_overhead, parallelism_efficiency, learnings_applied, learning_effectiveness, total_tokens, total_cost, cost_per_successful_task; and period_start, period_end, timestamp, events_analyzed, sessions_included, recorded_at, key. To record it as a custom metric, define it with kit.define_metric(), or pass define=\"auto\"."
        ),
    ),
    (
        'record("running", {"session_success_rate": 85})',
        "InvalidInputError",
        snapshot("Invalid session_success_rate 85: outside the range 0 to 1. If it is a percentage, divide it by 100: 0.85."),
    ),
    (
        'kit.record_checkpoint("running", {"period_start": "2026-01-31"})',
        "InvalidInputError",
        snapshot(
            "Invalid period_start '2026-01-31': no time zone; expected e.g. '2026-01-31T00:00:00Z'. Pass tz='UTC' to read dates and local times in that time zone."
        ),
    ),
    (
        'kit.record_checkpoint("running", {"period_start": "2026-01-31", "period_end": "2026-02-01"})',
        "InvalidInputError",
        snapshot(
            "Invalid period_start '2026-01-31': no time zone; expected e.g. '2026-01-31T00:00:00Z'. Pass tz='UTC' to read dates and local times in that time zone."
        ),
    ),
    (
        'kit.record_checkpoint("running", {"period_start": date(2026, 1, 31)})',
        "InvalidInputError",
        snapshot(
            "Invalid period_start 2026-01-31: no time zone; expected e.g. '2026-01-31T00:00:00Z'. Pass tz='UTC' to read dates and local times in that time zone."
        ),
    ),
    (
        'kit.record_checkpoint("running", {"period_start": "2026-01-31"}, tz="Europe/Berln")',
        "InvalidInputError",
        snapshot("Unknown time zone 'Europe/Berln'. Did you mean 'Europe/Berlin'?"),
    ),
    (
        'kit.record_checkpoint("running", {"period_start": "2026-01-31"}, tz="Nowhere")',
        "InvalidInputError",
        snapshot("Unknown time zone 'Nowhere'. Use an IANA name, e.g. 'UTC', 'Europe/Berlin' or 'America/Los_Angeles'."),
    ),
    (
        'kit.record_checkpoint("running", {"period_start": "2026-01-31"}, tz="PST")',
        "InvalidInputError",
        snapshot("Unknown time zone 'PST'. Use an IANA name, e.g. 'UTC', 'Europe/Berlin' or 'America/Los_Angeles'."),
    ),
    (
        'kit.record_checkpoint("running", {"period_start": "2026-01-31"}, tz="utc")',
        "InvalidInputError",
        snapshot("Unknown time zone 'utc'. Did you mean 'UTC'?"),
    ),
    (
        'kit.record_checkpoint("running", {"period_start": np.datetime64("2026-01-31")})',
        "InvalidInputError",
        snapshot(
            "Invalid period_start np.datetime64('2026-01-31'): no time zone; expected e.g. '2026-01-31T00:00:00Z'. Pass tz='UTC' to read dates and local times in that time zone."
        ),
    ),
    (
        'evalkit.RecordCheckpoint({"period_start": "2026-01-31"}, tz="UTC", period_type="day")',
        "InvalidInputError",
        snapshot("Invalid period_type 'day': expected hourly, daily, weekly or monthly, optionally with a count ('weekly:2')."),
    ),
    ('record("running", {"count": 3})', "InvalidInputError", snapshot("Unknown metric 'count'. Did you mean 'sessions_completed'?")),
    (
        'record("running", {"steps": 3})',
        "InvalidInputError",
        snapshot(
            "Unknown metric 'steps'. Did you mean 'avg_iterations_to_success'? To record it as a custom metric, define it with kit.define_metric(), or pass define=\"auto\"."
        ),
    ),
    (
        'kit.record_checkpoint("running", {"period_start": "2026-01-31"}, tz=1)',
        "InvalidInputError",
        snapshot("Invalid tz=1: expected a time zone, e.g. 'UTC' or 'Europe/Berlin'."),
    ),
    (
        'kit.record_checkpoint("running", {"period_start": "2026-01-31T08:00"}, tz="UTC")',
        "InvalidInputError",
        snapshot(
            "Cannot derive period_end: period_start 2026-01-31T08:00:00+00:00 is not the start of a day in UTC. Pass period_end too, or a period_start such as '2026-01-31T00:00:00+00:00'."
        ),
    ),
    (
        'kit.record_checkpoint("running", {"period_start": "2026-01-31T00:00Z"}, tz="Europe/Berlin")',
        "InvalidInputError",
        snapshot(
            "Cannot derive period_end: period_start 2026-01-31T01:00:00+01:00 is not the start of a day in Europe/Berlin. Pass period_end too, or a period_start such as '2026-01-31T00:00:00+01:00'."
        ),
    ),
    (
        'kit.record_checkpoint("running", {"period_start": "2026-01-31", "period_end": "2026-01-31"}, tz="UTC")',
        "InvalidInputError",
        snapshot(
            "Invalid period_end '2026-01-31': must be after period_start (2026-01-31T00:00:00Z); periods are half-open, [start, end). Only a study with cadence=\"per-run\" can have checkpoints at a point in time."
        ),
    ),
    (
        'kit.record_checkpoint("running", {"period_start": "2026-10-25T02:30"}, tz="Europe/Berlin")',
        "InvalidInputError",
        snapshot(
            "Invalid period_start '2026-10-25T02:30': occurs twice in Europe/Berlin because the clocks go back; use '2026-10-25T02:30:00+02:00' or '2026-10-25T02:30:00+01:00'."
        ),
    ),
    (
        'kit.record_checkpoint("running", {"period_start": "2026-03-29T02:30"}, tz="Europe/Berlin")',
        "InvalidInputError",
        snapshot(
            "Invalid period_start '2026-03-29T02:30': does not exist in Europe/Berlin because the clocks go forward; use '2026-03-29T01:30:00+01:00' or '2026-03-29T03:30:00+02:00'."
        ),
    ),
    (
        'kit.record_checkpoint("running", {"period_start": "2011-12-30"}, tz="Pacific/Apia")',
        "InvalidInputError",
        snapshot("Invalid period_start '2011-12-30': this date does not exist in Pacific/Apia."),
    ),
    (
        'kit.record_checkpoint("running", {"period_start": "9999-12-31"}, tz="UTC")',
        "InvalidInputError",
        snapshot("Invalid period_start '9999-12-31': its period is not inside the years 1 to 9999 in UTC."),
    ),
    (
        'kit.record_checkpoint("running", {"period_start": "0001-01-01"}, tz="Europe/Berlin")',
        "InvalidInputError",
        snapshot("Invalid period_start '0001-01-01': outside the years 1 to 9999 in UTC."),
    ),
    (
        'kit.record_checkpoint("hourly", {"period_start": "2026-01-31"}, tz="UTC")',
        "InvalidInputError",
        snapshot(
            "Invalid period_start '2026-01-31': a date alone is not precise enough for an hourly study; expected e.g. '2026-01-31T08:00'."
        ),
    ),
    (
        'kit.record_checkpoint("weekly", {"period_start": "2026-01-31"}, tz="UTC")',
        "InvalidInputError",
        snapshot(
            "Cannot derive period_end: period_start 2026-01-31T00:00:00+00:00 is not the start of a week (Monday 00:00) in UTC. Pass period_end too, or a period_start such as '2026-01-26T00:00:00+00:00'."
        ),
    ),
    (
        'kit.record_checkpoint("monthly", {"period_start": "2026-01-31"}, tz="Asia/Kolkata")',
        "InvalidInputError",
        snapshot(
            "Cannot derive period_end: period_start 2026-01-31T00:00:00+05:30 is not the start of a month in Asia/Kolkata. Pass period_end too, or a period_start such as '2026-01-01T00:00:00+05:30'."
        ),
    ),
    (
        'kit.record_checkpoint("running", evalkit.RecordCheckpoint({"period": (DAY, NEXT)}), tz="UTC")',
        "InvalidInputError",
        snapshot(
            "Invalid metrics RecordCheckpoint([2026-01-01 00:00 .. 2026-01-02 00:00) UTC, 0 of 16 metrics): a command cannot be combined with other arguments. Pass them to RecordCheckpoint."
        ),
    ),
    (
        'evalkit.RecordCheckpoint({"period_start": DAY})',
        "InvalidInputError",
        snapshot("period_end is missing. Pass it, or period_type= to derive it from period_start."),
    ),
    (
        'kit.record_checkpoints("running", pl.DataFrame({"period_start": [date(2026, 1, 31), datetime(2026, 3, 29).date()]}))',
        "InvalidInputError",
        snapshot(
            "row 0: Invalid period_start 2026-01-31: no time zone; expected e.g. '2026-01-31T00:00:00Z'. Nothing was recorded. Pass tz='UTC' to read dates and local times in that time zone."
        ),
    ),
    (
        'kit.record_checkpoints("running", [{"period_start": "2026-01-31"}, {"period_start": "2026-02-01T08:00"}], tz="UTC")',
        "InvalidInputError",
        snapshot(
            "row 1: Cannot derive period_end: period_start 2026-02-01T08:00:00+00:00 is not the start of a day in UTC. Nothing was recorded. Pass period_end too, or a period_start such as '2026-02-01T00:00:00+00:00'."
        ),
    ),
    (
        'kit.amend_checkpoint(STALE, {"total_tokens": 7}, reason="late")',
        "ConflictError",
        snapshot(
            "Conflict: checkpoint ID of study 'measured' was amended meanwhile by 'ada' on 2025-06-01 01:00 UTC, reason: 'wrong tokenizer'; now total_tokens = 6 and refusals = None. Nothing was appended. To amend the latest version: kit.amend_checkpoint('ID', {'total_tokens': 7}, reason='...')."
        ),
    ),
    (
        'kit.amend_checkpoint(GONE, {"total_tokens": 7}, reason="late")',
        "ConflictError",
        snapshot(
            "Cannot amend checkpoint ID of study 'measured': it was retracted on 2025-06-01 01:00 UTC, reason: 'wrong model'. Nothing was appended. Record the period again, with a new key."
        ),
    ),
    (
        'kit.amend_checkpoint(STALE, reason="late")',
        "InvalidInputError",
        snapshot(
            'Nothing to amend. Pass the changed metrics, e.g. {"total_cost": 2.5}, or events_analyzed=, sessions_included= or provenance=.'
        ),
    ),
    (
        'kit.amend_checkpoint(STALE, {}, reason="late")',
        "InvalidInputError",
        snapshot(
            'Nothing to amend. Pass the changed metrics, e.g. {"total_cost": 2.5}, or events_analyzed=, sessions_included= or provenance=.'
        ),
    ),
    (
        'kit.amend_checkpoint(STALE, {"total_cost": 7}, reason="")',
        "InvalidInputError",
        snapshot("Invalid reason '': empty; at least one visible character is required."),
    ),
    (
        'kit.amend_checkpoint(STALE, {"total_cost": 7}, reason=None)',
        "InvalidInputError",
        snapshot("Invalid reason None: expected a string, got None."),
    ),
    (
        'kit.amend_checkpoint(STALE, {"total_cost": 7}, reason="x" * 1001)',
        "InvalidInputError",
        snapshot(
            "Invalid reason 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...: 1,001 characters; at most 1000 are allowed."
        ),
    ),
    (
        'kit.amend_checkpoint(STALE, {"total_cost": 7}, reason="late", author="")',
        "InvalidInputError",
        snapshot("Invalid author '': empty; at least one visible character is required."),
    ),
    (
        'kit.amend_checkpoint(STALE, {"total_cost": 7}, reason="late", author=3)',
        "InvalidInputError",
        snapshot("Invalid author 3: expected a string, got an int."),
    ),
    (
        'kit.amend_checkpoint(STALE, [("total_cost", 7)], reason="late")',
        "InvalidInputError",
        snapshot(
            "Invalid metrics [('total_cost', 7)]: expected a mapping of the changed metrics, e.g. {\"total_cost\": 2.5}; None withdraws a value."
        ),
    ),
    (
        'kit.amend_checkpoint(STALE, {"total_cost": "7"}, reason="late")',
        "InvalidInputError",
        snapshot("Invalid total_cost '7': expected a number, got a string."),
    ),
    (
        'kit.amend_checkpoint(STALE, {"total_cost": float("nan")}, reason="late")',
        "InvalidInputError",
        snapshot("Invalid total_cost nan: not finite. Use None for a missing value."),
    ),
    (
        'kit.amend_checkpoint(STALE, {"session_success_rate": 85}, reason="late")',
        "InvalidInputError",
        snapshot("Invalid session_success_rate 85: outside the range 0 to 1. If it is a percentage, divide it by 100: 0.85."),
    ),
    (
        'kit.amend_checkpoint(STALE, {"sucess_rate": 0.5}, reason="late")',
        "InvalidInputError",
        snapshot(
            "Unknown metric 'sucess_rate'. Did you mean 'session_success_rate'? To record it as a custom metric, define it with kit.define_metric()."
        ),
    ),
    (
        'kit.amend_checkpoint(STALE, {"period_end": NEXT}, reason="late")',
        "InvalidInputError",
        snapshot(
            "Invalid period_end 2026-01-02T00:00:00+00:00: only metrics, events_analyzed, sessions_included and provenance can be amended. Retract the checkpoint, and record it again: kit.retract_checkpoint('ID', reason='...')."
        ),
    ),
    (
        'kit.amend_checkpoint(STALE, {"timestamp": NEXT}, reason="late")',
        "InvalidInputError",
        snapshot(
            "Invalid timestamp 2026-01-02T00:00:00+00:00: only metrics, events_analyzed, sessions_included and provenance can be amended. Retract the checkpoint, and record it again: kit.retract_checkpoint('ID', reason='...')."
        ),
    ),
    (
        'kit.amend_checkpoint(STALE, {"key": "other"}, reason="late")',
        "InvalidInputError",
        snapshot(
            "Invalid key 'other': only metrics, events_analyzed, sessions_included and provenance can be amended. Retract the checkpoint, and record it again: kit.retract_checkpoint('ID', reason='...')."
        ),
    ),
    (
        'kit.amend_checkpoint(STALE, {"refusals": 2.5}, reason="late")',
        "InvalidInputError",
        snapshot("Invalid refusals 2.5: expected a whole number of 0 or more."),
    ),
    (
        'kit.amend_checkpoint(STALE, {"judge": 6}, reason="late")',
        "InvalidInputError",
        snapshot("Invalid judge 6: outside the range 1 to 5."),
    ),
    (
        'kit.amend_checkpoint(STALE, {"refusal": 6}, reason="late")',
        "InvalidInputError",
        snapshot("Unknown metric 'refusal'. Did you mean 'refusals'? To record it as a custom metric, define it with kit.define_metric()."),
    ),
    (
        'kit.amend_checkpoint(STALE, events_analyzed=-1, reason="late")',
        "InvalidInputError",
        snapshot("Invalid events_analyzed -1: expected a whole number of 0 or more."),
    ),
    (
        'kit.amend_checkpoint(STALE, {"events_analyzed": 1}, events_analyzed=2, reason="late")',
        "InvalidInputError",
        snapshot("Invalid events_analyzed 2: passed twice, the metrics contain 1. Pass it once."),
    ),
    (
        'kit.amend_checkpoint(STALE, {"events_analyzed": None}, reason="late")',
        "InvalidInputError",
        snapshot("Invalid events_analyzed None: expected a whole number of 0 or more."),
    ),
    (
        'kit.amend_checkpoint(STALE, sessions_included="one", reason="late")',
        "InvalidInputError",
        snapshot('Invalid sessions_included \'one\': expected a list of strings, e.g. ["one", "two"].'),
    ),
    (
        'kit.amend_checkpoint(STALE, provenance={"models": ["m-1"]}, reason="late")',
        "InvalidInputError",
        snapshot("Invalid provenance {'models': ['m-1']}: collector is missing."),
    ),
    (
        'kit.amend_checkpoint("zzzz", {"total_cost": 7}, reason="late")',
        "InvalidInputError",
        snapshot("Invalid checkpoint 'zzzz': no checkpoint matches. Find ids with kit.checkpoints(study)."),
    ),
    (
        'kit.amend_checkpoint("abc", {"total_cost": 7}, reason="late")',
        "InvalidInputError",
        snapshot("Invalid checkpoint 'abc': expected a Checkpoint, an id, the last 4 or more characters of an id, or (study, key)."),
    ),
    (
        'kit.amend_checkpoint(None, {"total_cost": 7}, reason="late")',
        "InvalidInputError",
        snapshot("Invalid checkpoint None: expected a Checkpoint, an id, the last 4 or more characters of an id, or (study, key)."),
    ),
    (
        'kit.amend_checkpoint(("measured", "unknown"), {"total_cost": 7}, reason="late")',
        "InvalidInputError",
        snapshot(
            "Invalid checkpoint ('measured', 'unknown'): study 'measured' has no checkpoint with the key 'unknown'. Find ids with kit.checkpoints(study)."
        ),
    ),
    (
        'kit.amend_checkpoint(("mesured", "amended"), {"total_cost": 7}, reason="late")',
        "StudyNotFoundError",
        snapshot("No study matches 'mesured'. Did you mean 'measured'?"),
    ),
    (
        'kit.amend_checkpoint(("measured", 5), {"total_cost": 7}, reason="late")',
        "InvalidInputError",
        snapshot("Invalid key 5: expected a string, got an int."),
    ),
    (
        'kit.retract_checkpoint(STALE, reason=" ")',
        "InvalidInputError",
        snapshot("Invalid reason ' ': empty; at least one visible character is required."),
    ),
    (
        'kit.retract_checkpoint("lone\\ud800", reason="late")',
        "InvalidInputError",
        snapshot("Invalid checkpoint 'lone\\ud800': no checkpoint matches. Find ids with kit.checkpoints(study)."),
    ),
    (
        'kit.retract_checkpoint(("measured", "unknown"), reason="late")',
        "InvalidInputError",
        snapshot(
            "Invalid checkpoint ('measured', 'unknown'): study 'measured' has no checkpoint with the key 'unknown'. Find ids with kit.checkpoints(study)."
        ),
    ),
    ('kit.note("measured", "")', "InvalidInputError", snapshot("Invalid text '': empty; at least one visible character is required.")),
    ('kit.note("measured", 5)', "InvalidInputError", snapshot("Invalid text 5: expected a string, got an int.")),
    (
        'kit.note("measured", "x" * 10_001)',
        "InvalidInputError",
        snapshot(
            "Invalid text 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...: 10,001 characters; at most 10000 are allowed."
        ),
    ),
    (
        'kit.note("measured", "bell\\x07")',
        "InvalidInputError",
        snapshot("Invalid text 'bell\\x07': contains the character U+0007, which is not allowed."),
    ),
    (
        'kit.note("measured", "new", category="modell")',
        "InvalidInputError",
        snapshot("Invalid category 'modell': expected one of model, prompt, tool, data, incident, other. Did you mean 'model'?"),
    ),
    (
        'kit.note("measured", "new", category=None)',
        "InvalidInputError",
        snapshot("Invalid category None: expected one of model, prompt, tool, data, incident, other."),
    ),
    (
        'kit.note("measured", "new", at="2026-01-31")',
        "InvalidInputError",
        snapshot(
            "Invalid at='2026-01-31': no time zone; expected e.g. '2026-01-31T00:00:00Z'. Pass tz='UTC' to read dates and local times in that time zone."
        ),
    ),
    (
        'kit.note("measured", "new", at="yesterday", tz="UTC")',
        "InvalidInputError",
        snapshot("Invalid at='yesterday': not an ISO 8601 time; expected e.g. '2026-01-31' or '2026-01-31T08:00'."),
    ),
    (
        'kit.note("measured", "new", at=NEXT, until=DAY)',
        "InvalidInputError",
        snapshot("Invalid until 2026-01-01T00:00:00+00:00: must be after at (2026-01-02T00:00:00Z); ranges are half-open, [at, until)."),
    ),
    (
        'kit.note("measured", "new", at=DAY, until=DAY)',
        "InvalidInputError",
        snapshot("Invalid until 2026-01-01T00:00:00+00:00: must be after at (2026-01-01T00:00:00Z); ranges are half-open, [at, until)."),
    ),
    (
        'kit.note("measured", "new", tz="Mars")',
        "InvalidInputError",
        snapshot("Unknown time zone 'Mars'. Use an IANA name, e.g. 'UTC', 'Europe/Berlin' or 'America/Los_Angeles'."),
    ),
    (
        'kit.note("measured", "new", author="two\\nlines")',
        "InvalidInputError",
        snapshot("Invalid author 'two\\nlines': contains the character U+000A, which is not allowed."),
    ),
    ('kit.note("mesured", "new")', "StudyNotFoundError", snapshot("No study matches 'mesured'. Did you mean 'measured'?")),
    (
        'kit.define_metric("measured", evalkit.Metric("refusals", kind="rate", better="down"))',
        "InvalidInputError",
        snapshot(
            "Invalid metric 'refusals': study 'measured' defines it differently: kind is 'count', not 'rate'; rollup is 'sum', not 'none'. Define the other metric under a new name."
        ),
    ),
    (
        'kit.define_metric("measured", "tool_cals")',
        "InvalidInputError",
        snapshot("Unknown standard metric 'tool_cals'. Did you mean 'tool_calls'?"),
    ),
    (
        'kit.define_metric("measured", evalkit.Metric("total_cost", kind="money", better="down"))',
        "InvalidInputError",
        snapshot("Invalid name 'total_cost': this is one of the 16 metrics. Choose another name."),
    ),
    (
        'kit.define_metric("measured", evalkit.Metric("checkpoint_id", kind="number", better="down"))',
        "InvalidInputError",
        snapshot("Invalid name 'checkpoint_id': this is the name of a column. Choose another name."),
    ),
    (
        'kit.define_metric("measured", evalkit.Metric("latency", kind="duration", better="down", unit="ms"))',
        "InvalidInputError",
        snapshot("Invalid unit 'ms': the unit of a duration is 's'. For another unit, use kind='number'."),
    ),
    (
        'kit.define_metric("measured", evalkit.Metric("share", kind="rate", better="up", unit="%"))',
        "InvalidInputError",
        snapshot("Invalid unit '%': a rate is from 0 to 1. Record 5% as 0.05, or use kind='number'."),
    ),
    (
        'kit.data("measured", as_of="garbage")',
        "InvalidInputError",
        snapshot(
            "Invalid as_of 'garbage': not an ISO 8601 time; expected e.g. '2026-01-31T00:00:00Z'. A pin is accepted too: its text begins with 'pin:'."
        ),
    ),
    (
        'kit.define_metric("measured", evalkit.Metric("share", kind="rate", better="up", denominator="judge"))',
        "InvalidInputError",
        snapshot(
            "Unknown denominator 'judge'. Valid denominators: learnings_applied, refusals, sessions_completed, tasks_completed, total_tokens."
        ),
    ),
    ('kit.define_metric("measured", 5)', "InvalidInputError", snapshot("Invalid metrics 5: expected a Metric, got an int.")),
    (
        'kit.define_metric("measured", evalkit.Metric("log_offset", kind="number", better="down"))',
        "InvalidInputError",
        snapshot("Invalid name 'log_offset': this is the name of a column. Choose another name."),
    ),
    (
        'kit.define_metric("measured", evalkit.Metric("row", kind="number", better="down"))',
        "InvalidInputError",
        snapshot("Invalid name 'row': this is the name of a column. Choose another name."),
    ),
    (
        'kit.define_metric("measured", evalkit.Metric("bytes", kind="count", better="down", high=10**17))',
        "InvalidInputError",
        snapshot("Invalid high 100000000000000000: expected at most 9,007,199,254,740,992, the largest count of a custom metric."),
    ),
    (
        'evalkit.Metric("q", kind="number", better="up", high=10**400)',
        "InvalidInputError",
        snapshot(
            "Invalid high 10000000000000000000000000000000000000000000000000000000000000000000000000000...: expected a finite number."
        ),
    ),
    (
        'evalkit.Metric("q", kind="number", better="higher")',
        "InvalidInputError",
        snapshot("Invalid better 'higher': expected one of up, down, neither. Did you mean 'up'?"),
    ),
    (
        'kit.record_checkpoint("measured", {"period": (DAY, NEXT), "refusals": 2**53 + 1})',
        "InvalidInputError",
        snapshot("Invalid refusals 9007199254740993: expected at most 9,007,199,254,740,992, the largest count of a custom metric."),
    ),
    (
        'evalkit.RecordCheckpoint({"period": (DAY, NEXT), "drift": -float("inf")}, '
        'definitions={"drift": evalkit.Metric("drift", kind="number", better="down")})',
        "InvalidInputError",
        snapshot("Invalid drift -inf: not finite. Use None for a missing value."),
    ),
    (
        'kit.amend_checkpoint(("measured", "amended"), {"refusals": 10**16}, reason="r")',
        "InvalidInputError",
        snapshot("Invalid refusals 10000000000000000: expected at most 9,007,199,254,740,992, the largest count of a custom metric."),
    ),
    (
        'kit.record_checkpoint("measured", {"period": (DAY, NEXT), "provenance": {"collector": ""}})',
        "InvalidInputError",
        snapshot("Invalid collector '': empty; at least one visible character is required."),
    ),
    (
        'kit.record_checkpoint("measured", {"period": (DAY, NEXT)}, provenance={"collector": "x", "sources": [{"name": "a", "sha256": "zz"}]})',
        "InvalidInputError",
        snapshot("Invalid sources 'zz': expected a SHA-256: 64 hexadecimal digits in lower case."),
    ),
    (
        'evalkit.RecordCheckpoint({"period": (DAY, NEXT), "refusals": 1})',
        "InvalidInputError",
        snapshot(
            "Unknown metric 'refusals'. Valid metrics: sessions_completed, session_success_rate, avg_session_duration, tasks_completed, first_attempt_success_rate, avg_iterations_to_success, agent_efficiency, tool_success_rate, self_correction_rate, swarm_coordination_overhead, parallelism_efficiency, learnings_applied, learning_effectiveness, total_tokens, total_cost, cost_per_successful_task; and period_start, period_end, timestamp, events_analyzed, sessions_included, recorded_at, key. To record it as a custom metric, pass the mapping to kit.record_checkpoint(), or definitions={name: Metric}."
        ),
    ),
    (
        'evalkit.RecordCheckpoint({"period": (DAY, NEXT), "refusals": 1}, definitions=kit.metrics("measured"))',
        "InvalidInputError",
        snapshot("Invalid definitions a DataFrame: expected a mapping from names to Metric objects, or a function that returns one."),
    ),
    (
        'evalkit.Metric("Share", kind="rate", better="up")',
        "InvalidInputError",
        snapshot("Invalid name 'Share': expected a lowercase letter, then up to 62 lowercase letters, digits or underscores."),
    ),
    (
        'evalkit.Metric("share", kind="ratio", better="up")',
        "InvalidInputError",
        snapshot("Invalid kind 'ratio': expected one of count, rate, number, money, duration, score. Did you mean 'duration'?"),
    ),
    (
        'evalkit.Metric("share", kind="rate", better="more")',
        "InvalidInputError",
        snapshot("Invalid better 'more': expected one of up, down, neither."),
    ),
    (
        'evalkit.Metric("share", kind="rate", better="up", rollup="sum")',
        "InvalidInputError",
        snapshot("Invalid rollup 'sum': the sum of rates has no meaning; expected 'weighted', 'min', 'max', 'last' or 'none'."),
    ),
    (
        'evalkit.Metric("share", kind="rate", better="up", rollup="weighted")',
        "InvalidInputError",
        snapshot("Invalid rollup 'weighted': weighted by the denominator, which is missing. Pass denominator=, or another rollup=."),
    ),
    (
        'evalkit.Metric("share", kind="score", better="up", low=5, high=1)',
        "InvalidInputError",
        snapshot("Invalid low 5: must be below high (1)."),
    ),
    ('record("measured", {"refusals": -1})', "InvalidInputError", snapshot("Invalid refusals -1: expected a whole number of 0 or more.")),
    (
        'record("measured", {"refusal_rate": 12})',
        "InvalidInputError",
        snapshot("Invalid refusal_rate 12: outside the range 0 to 1. If it is a percentage, divide it by 100: 0.12."),
    ),
    (
        'record("measured", {"refusal_rate": True})',
        "InvalidInputError",
        snapshot("Invalid refusal_rate True: expected a number, got a bool. Use None for a missing value."),
    ),
    ('record("measured", {"judge": "good"})', "InvalidInputError", snapshot("Invalid judge 'good': expected a number, got a string.")),
    ('record("measured", {"wait": -2})', "InvalidInputError", snapshot("Invalid wait -2: expected 0 or more seconds, or a timedelta.")),
    (
        'record("measured", {"refusal": 1})',
        "InvalidInputError",
        snapshot(
            "Unknown metric 'refusal'. Did you mean 'refusals'? To record it as a custom metric, define it with kit.define_metric(), or pass define=\"auto\"."
        ),
    ),
    (
        'record("measured", {"refusal": 1}, define="always")',
        "InvalidInputError",
        snapshot("Invalid define 'always': expected \"auto\", or None."),
    ),
    (
        'record("measured", {"Refusals": 1}, define="auto")',
        "InvalidInputError",
        snapshot(
            "Invalid metric 'Refusals': not a valid name; expected a lowercase letter, then up to 62 lowercase letters, digits or underscores. Rename it."
        ),
    ),
    (
        'record("measured", {"collector": 1}, define="auto")',
        "InvalidInputError",
        snapshot("Invalid metric 'collector': cannot be defined as a metric, because it is the name of a column. Rename it."),
    ),
    (
        'record("measured", {"grade": "good"}, define="auto")',
        "InvalidInputError",
        snapshot("Invalid grade 'good': expected a number, got a string."),
    ),
    (
        'record("measured", {"grade": True}, define="auto")',
        "InvalidInputError",
        snapshot("Invalid grade True: expected a number, got a bool. Use None for a missing value."),
    ),
    (
        'record("measured", {f"m{number}": 1 for number in range(201)}, define="auto")',
        "InvalidInputError",
        snapshot("Invalid metrics 201: a checkpoint can have at most 200 custom metrics."),
    ),
    (
        'kit.record_checkpoints("measured", [{**ROW, "grade": 1}, {**ROW, "grade": "good"}], define="auto")',
        "InvalidInputError",
        snapshot("row 1: Invalid grade 'good': expected a number, got a string. Nothing was recorded."),
    ),
    (
        'kit.record_checkpoints("measured", pl.DataFrame([{**ROW, "Grade": 1}]), define="auto")',
        "InvalidInputError",
        snapshot(
            "Invalid metric 'Grade': not a valid name; expected a lowercase letter, then up to 62 lowercase letters, digits or underscores. Rename it."
        ),
    ),
    (
        'kit.record_checkpoint("measured", {"period": (DAY, NEXT), "total_tokens": 5, "refusals": 2}, key="amended")',
        "ConflictError",
        snapshot(
            "Key 'amended' was already used for a checkpoint with different content (amended by 'ada' on 2025-06-01 01:00 UTC, reason: 'wrong tokenizer'). The recorded checkpoint is unchanged. Use a new key to record this one as well. To correct the recorded one: kit.amend_checkpoint(('measured', 'amended'), {'total_tokens': 5, 'refusals': 2}, reason='...')."
        ),
    ),
    (
        'kit.record_checkpoint("measured", {"period": (NEXT, NEXT + timedelta(days=1)), "total_tokens": 5}, key="retracted")',
        "ConflictError",
        snapshot(
            "Key 'retracted' was used for a checkpoint that was retracted on 2025-06-01 01:00 UTC, reason: 'wrong model'. The key of a retracted checkpoint cannot be used again. Use a new key."
        ),
    ),
    (
        'kit.record_checkpoints("measured", [ROW, {**ROW, "key": "retracted"}])',
        "ConflictError",
        snapshot(
            "row 1: key 'retracted' was used for a checkpoint that was retracted on 2025-06-01 01:00 UTC, reason: 'wrong model'. The key of a retracted checkpoint cannot be used again. Use a new key."
        ),
    ),
    (
        'record("measured", {}, provenance="inspect")',
        "InvalidInputError",
        snapshot('Invalid provenance \'inspect\': expected a mapping, e.g. {"collector": "inspect", "models": ["m-1"]}.'),
    ),
    (
        'record("measured", {}, provenance={"version": "1"})',
        "InvalidInputError",
        snapshot("Invalid provenance {'version': '1'}: collector is missing."),
    ),
    (
        'record("measured", {}, provenance={"collector": "inspect", "model": "m-1"})',
        "InvalidInputError",
        snapshot("Unknown field 'model'. Did you mean 'models'?"),
    ),
    (
        'record("measured", {}, provenance={"collector": "inspect", "models": "m-1"})',
        "InvalidInputError",
        snapshot("Invalid provenance {'collector': 'inspect', 'models': 'm-1'}: models: expected a valid list."),
    ),
    (
        'record("measured", {}, provenance={"collector": "inspect", "cost_basis": "guessed"})',
        "InvalidInputError",
        snapshot("Invalid provenance {'collector': 'inspect', 'cost_basis': 'guessed'}: cost_basis: expected 'reported' or 'estimated'."),
    ),
    (
        'kit.create_study("new", cadence="per-week")',
        "InvalidInputError",
        snapshot("Invalid cadence 'per-week': expected 'per-period' or 'per-run'."),
    ),
    (
        'kit.create_study("new", cadence="per_run")',
        "InvalidInputError",
        snapshot("Invalid cadence 'per_run': expected 'per-period' or 'per-run'. Did you mean 'per-run'?"),
    ),
    ('kit.create_study("new", cadence=1)', "InvalidInputError", snapshot("Invalid cadence 1: expected 'per-period' or 'per-run'.")),
    (
        'kit.create_study("new", metadata={"evalkit.cadence": "nightly"})',
        "InvalidInputError",
        snapshot("Invalid metadata['evalkit.cadence'] 'nightly': expected 'per-period' or 'per-run'."),
    ),
    (
        'kit.create_study("new", cadence="per-period", metadata={"evalkit.cadence": "per-run"})',
        "InvalidInputError",
        snapshot("Invalid cadence 'per-period': the metadata contain evalkit.cadence='per-run'. Pass it once."),
    ),
    (
        'kit.create_study(evalkit.CreateStudy("new"), cadence="per-run")',
        "InvalidInputError",
        snapshot(
            "Invalid name CreateStudy('new', period='daily'): a command cannot be combined with other options. Pass them to CreateStudy."
        ),
    ),
    (
        'kit.create_study("archived")',
        "StudyExistsError",
        snapshot(
            "Study 'archived' already exists (archived, pending, created 2025-05-22). Choose another name, or restore it with kit.unarchive_study('archived')."
        ),
    ),
    (
        'kit.create_study(" archived ", if_exists="open")',
        "StudyExistsError",
        snapshot(
            "Study 'archived' already exists (archived, pending, created 2025-05-22). Choose another name, or restore it with kit.unarchive_study('archived')."
        ),
    ),
    (
        'kit.rename_study("running", "")',
        "InvalidInputError",
        snapshot("Invalid name '': empty; at least one visible character is required."),
    ),
    (
        'kit.rename_study("running", "two\\nlines")',
        "InvalidInputError",
        snapshot("Invalid name 'two\\nlines': contains the character U+000A, which is not allowed."),
    ),
    ('kit.rename_study("running", None)', "InvalidInputError", snapshot("Invalid name None: expected a string, got None.")),
    (
        'kit.rename_study("running", "weekly")',
        "StudyExistsError",
        snapshot("Study 'weekly' already exists (running, created 2025-05-31). Choose another name."),
    ),
    (
        'kit.rename_study("running", "archived")',
        "StudyExistsError",
        snapshot(
            "Study 'archived' already exists (archived, pending, created 2025-05-22). Choose another name, or restore it with kit.unarchive_study('archived')."
        ),
    ),
    ('kit.rename_study("runing", "other")', "StudyNotFoundError", snapshot("No study matches 'runing'. Did you mean 'running'?")),
    (
        'kit.rename_study("archived", "other")',
        "StudyNotFoundError",
        snapshot("No study matches 'archived'. Study 'archived' is archived; restore it with kit.unarchive_study('archived')."),
    ),
    (
        'kit.rename_study("twin", "other")',
        "AmbiguousStudyError",
        snapshot(
            "'twin' matches 2 studies: ID ('twin', pending, created 2025-06-01); ID ('twin', pending, created 2025-06-01). Use the id, or its last characters."
        ),
    ),
    ('kit.edit_study("running", description=5)', "InvalidInputError", snapshot("Invalid description 5: expected a string, got an int.")),
    (
        'kit.edit_study("running", description="nul\\x00")',
        "InvalidInputError",
        snapshot("Invalid description 'nul\\x00': contains the character U+0000, which is not allowed."),
    ),
    (
        'kit.edit_study("running", tags="coding")',
        "InvalidInputError",
        snapshot('Invalid tags \'coding\': expected a list of strings, e.g. ["one", "two"].'),
    ),
    ('kit.edit_study("running", tags=["a", 2])', "InvalidInputError", snapshot("Invalid tags ['a', 2]: expected strings, got an int (2).")),
    (
        'kit.edit_study("running", metadata=[("model", "m-2")])',
        "InvalidInputError",
        snapshot("Invalid metadata [('model', 'm-2')]: expected a mapping of strings, e.g. {\"model\": \"m-2\"}; None removes a key."),
    ),
    (
        'kit.edit_study("running", metadata={"model": 2})',
        "InvalidInputError",
        snapshot("Invalid metadata['model'] 2: expected a string, got an int."),
    ),
    (
        'kit.edit_study("running", metadata={2: None})',
        "InvalidInputError",
        snapshot("Invalid metadata key 2: expected a string, got an int."),
    ),
    (
        'kit.edit_study("running", metadata={"": None})',
        "InvalidInputError",
        snapshot("Invalid metadata key '': empty; at least one visible character is required."),
    ),
    (
        'kit.edit_study("running", cadence="per-day")',
        "InvalidInputError",
        snapshot("Invalid cadence 'per-day': expected 'per-period' or 'per-run'."),
    ),
    (
        'kit.edit_study("running", metadata={"evalkit.cadence": "per-day"})',
        "InvalidInputError",
        snapshot("Invalid metadata['evalkit.cadence'] 'per-day': expected 'per-period' or 'per-run'."),
    ),
    (
        'kit.edit_study("running", cadence="per-run", metadata={"evalkit.cadence": None})',
        "InvalidInputError",
        snapshot("Invalid cadence 'per-run': the metadata contain evalkit.cadence=None. Pass it once."),
    ),
    (
        'kit.edit_study("running", description="x" * 2**20)',
        "InvalidInputError",
        snapshot("Event too large: 1,048,763 bytes (at most 1,048,576 are allowed). Shorten its texts or its list of sessions."),
    ),
    (
        "kit.edit_study(None, tags=[])",
        "InvalidInputError",
        snapshot("Invalid study None: expected a Study, an id, a name, or the last 4 or more characters of an id."),
    ),
    (
        'kit.archive_study("no such study")',
        "StudyNotFoundError",
        snapshot(
            "No study matches 'no such study'. Most recent studies: 'twin', 'twin', 'stopped before it started', 'stopped', 'running'."
        ),
    ),
    (
        'kit.unarchive_study("unknown")',
        "StudyNotFoundError",
        snapshot("No study matches 'unknown'. Most recent studies: 'twin', 'twin', 'stopped before it started', 'stopped', 'running'."),
    ),
    (
        "kit.archive_study(3)",
        "InvalidInputError",
        snapshot("Invalid study 3: expected a Study, an id, a name, or the last 4 or more characters of an id."),
    ),
    (
        'kit.resolve("archived")',
        "StudyNotFoundError",
        snapshot("No study matches 'archived'. Study 'archived' is archived; restore it with kit.unarchive_study('archived')."),
    ),
    (
        'kit.start_study("archived")',
        "StudyNotFoundError",
        snapshot("No study matches 'archived'. Study 'archived' is archived; restore it with kit.unarchive_study('archived')."),
    ),
    (
        'kit.record_checkpoint("running", {"period": (DAY, DAY)})',
        "InvalidInputError",
        snapshot(
            'Invalid period_end 2026-01-01T00:00:00+00:00: must be after period_start (2026-01-01T00:00:00Z); periods are half-open, [start, end). Only a study with cadence="per-run" can have checkpoints at a point in time.'
        ),
    ),
    (
        'kit.record_checkpoint("runs", {"period": (NEXT, DAY)})',
        "InvalidInputError",
        snapshot(
            "Invalid period_end 2026-01-01T00:00:00+00:00: must be after period_start (2026-01-02T00:00:00Z); periods are half-open, [start, end)."
        ),
    ),
    (
        'kit.record_checkpoints("running", [evalkit.RecordCheckpoint({"period": (DAY, DAY)}, cadence="per-run")])',
        "InvalidInputError",
        snapshot(
            'row 0: Invalid period_end 2026-01-01T00:00:00+00:00: must be after period_start (2026-01-01T00:00:00Z); periods are half-open, [start, end). Nothing was recorded. Only a study with cadence="per-run" can have checkpoints at a point in time.'
        ),
    ),
    (
        'evalkit.RecordCheckpoint({"period": (DAY, DAY)})',
        "InvalidInputError",
        snapshot(
            'Invalid period_end 2026-01-01T00:00:00+00:00: must be after period_start (2026-01-01T00:00:00Z); periods are half-open, [start, end). Only a study with cadence="per-run" can have checkpoints at a point in time.'
        ),
    ),
]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return namespace(tmp_path_factory.mktemp("bad-input") / "home")


@pytest.mark.parametrize(("mistake", "error", "message"), CASES, ids=[case[0][:80] for case in CASES])
def test_bad_input_raises_and_appends_nothing(names: dict[str, Any], mistake: str, error: str, message: str) -> None:
    log = names["kit"].engine.log
    before = log.ranges()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some rows repeat a period, which is not tested here
        with pytest.raises(EvalkitError) as raised:
            eval(mistake, dict(names))
    assert type(raised.value).__name__ == error
    assert says(raised, file=names["__file__"]) == message
    assert raised.value.__cause__ is None
    assert log.ranges() == before


def test_every_message_is_more_than_a_refusal() -> None:
    """Each has a value, a reason or a next step, and none is longer than 700 characters."""
    assert len(CASES) >= 60
    assert all(len(str(message).split()) >= 5 and len(str(message)) <= 700 for _, _, message in CASES)
