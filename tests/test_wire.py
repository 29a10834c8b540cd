"""The wire format: validity, lossless reading and writing, and equality of both decoders."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.domain.catalog import METRICS
from evalkit.domain.codec import DecodedEvent, _decode_plain, decode
from evalkit.domain.codec import readable_ids as read_ids
from evalkit.domain.events import KINDS, MAX_EVENT_BYTES, SEED_KINDS, InvalidEventError, StoredEvalEvent
from evalkit.domain.metrics import LongitudinalMetrics, TimePeriod
from evalkit.domain.study import PeriodType, StudyConfig
from evalkit.domain.times import stored_time, wire_time
from tests.generators import METRIC_NAMES
from tests.properties import examples
from tests.wire_writer import encode_checkpoint

HERE = Path(__file__).parent
REAL = (HERE / "data" / "wire_events.ndjson").read_bytes().splitlines()
GOLDEN = HERE / "golden" / "events"

STUDY, OTHER, EVENT = "01a20992-afa3-7e32-bf5c-c2ca000c5fce", "6ba7b810-9dad-41d1-80b4-00c04fd430c8", "01a20992-afa3-7e32-bf5c-c449acd0d199"


# --- both decoders --------------------------------------------------------------------------------------------------------------------


def read(data: bytes) -> StoredEvalEvent | None:
    """Return the event of the model after comparing it with the projection's decoder; None for invalid bytes."""
    try:
        stored = StoredEvalEvent.from_wire(data)
    except InvalidEventError:
        stored = None
    try:
        decoded = decode(data)
    except InvalidEventError:
        decoded = None
    if stored is None or decoded is None:
        assert stored is decoded, f"model: {stored}, decoder: {decoded}, bytes: {data[:2000]!r}"
        return None
    assert_same(stored, decoded, data)
    return stored


def assert_same(stored: StoredEvalEvent, decoded: DecodedEvent, data: bytes) -> None:
    event = stored.event
    assert (decoded.kind, decoded.study_id, decoded.event_id) == (event.type, stored.study_id, stored.event_id)
    if event.type == "study_created":
        name, period_type, period_value, config = decoded.row
        assert (name, period_type, period_value) == (event.name, event.period_type, event.period_value)
        assert config.encode() in data
        assert StudyConfig.model_validate_json(config, extra="ignore") == event.config
    elif event.type == "checkpoint_recorded":
        timestamp, metrics, analyzed, sessions, start, end, regular, *origin = decoded.row
        provenance, collector, malformed = origin or (None, None, None)
        assert origin != [None, None, None]
        period = event.metrics.period
        assert decoded.subject == event.id
        assert [timestamp, start, end] == [stored_time(wire_time(moment)) for moment in (event.timestamp, period.start, period.end)]
        assert (analyzed, json.loads(sessions)) == (event.events_analyzed, event.sessions_included)
        assert metrics.encode() in data
        assert sessions.encode() in data
        assert LongitudinalMetrics.model_validate_json(metrics, extra="ignore") == event.metrics
        if regular:
            names = [name for name, _ in json.loads(metrics, object_pairs_hook=list)]
            assert sorted(names) in (sorted([*METRICS, "period"]), sorted([*METRICS, "period", "custom"]))
        assert (provenance is None) == (event.provenance is None)
        assert collector == (None if event.provenance is None else event.provenance.collector)
        assert provenance is None or provenance.encode() in data
        envelope = json.loads(data)
        optional = {
            "metrics.custom": (envelope["event"]["metrics"].get("custom"), event.metrics.custom),
            "provenance": (envelope["event"].get("provenance"), event.provenance), "written_at": (envelope.get("written_at"), stored.written_at),
        }  # fmt: skip
        invalid = [name for name, (wire, read) in optional.items() if wire is not None and not read]
        assert set(malformed.split(", ") if malformed else ()) <= set(invalid)
        assert {name for name in invalid if name != "metrics.custom"} <= set(malformed.split(", ") if malformed else ())
    elif event.type in SEED_KINDS:
        assert decoded.row == ()
    else:
        assert decoded.event == event
        assert decoded.row[0].encode() in data
    assert decoded.written_at == stored.written_at


# --- round trips ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", REAL, ids=[str(number) for number in range(len(REAL))])
def test_real_events_round_trip_byte_for_byte(line: bytes) -> None:
    """They were written by the Rust program."""
    stored = read(line)
    assert stored is not None
    assert stored.to_wire() == line


def test_the_file_of_real_events_is_complete() -> None:
    events = [json.loads(line)["event"] for line in REAL]
    assert len(events) == 43
    assert {event["type"] for event in events} == set(SEED_KINDS)
    assert {event["period_type"] for event in events if event["type"] == "study_created"} == set(PeriodType)


METRIC_VALUES: dict[str, Any] = {
    "sessions_completed": 12, "session_success_rate": 0.1 + 0.2, "avg_session_duration": (3600, 5), "tasks_completed": 2**53 + 1,
    "first_attempt_success_rate": 0.0, "avg_iterations_to_success": 1.5, "agent_efficiency": 1.0, "tool_success_rate": None,
    "self_correction_rate": None, "swarm_coordination_overhead": 1e-7, "parallelism_efficiency": 5e-324, "learnings_applied": 0,
    "learning_effectiveness": None, "total_tokens": 2**63 - 1, "total_cost": 1234.5, "cost_per_successful_task": None,
    "period": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T01:00:00.123456789Z"},
}  # fmt: skip
SESSION_NAMES = ["s-1", "nul \0, ünï <b>'\"\\ 😀", ""]
CHECKPOINT = {
    "type": "checkpoint_recorded", "id": OTHER, "study_id": STUDY, "timestamp": "2026-01-01T01:00:00.5Z", "metrics": METRIC_VALUES,
    "events_analyzed": 2**63 - 1, "sessions_included": SESSION_NAMES,
}  # fmt: skip
CONFIG = {"description": "two\nlines", "tags": ["b", "a"], "metadata": {"z": "1", "a": "ü"}}
EXAMPLES_BY_KIND: dict[str, dict[str, Any]] = {
    "study_created": {
        "type": "study_created", "id": STUDY, "name": "ünï <i>", "period_type": "weekly", "period_value": 2, "config": CONFIG,
    },
    **{kind: {"type": kind, "id": STUDY} for kind in ("study_started", "study_paused", "study_resumed", "study_stopped")},
    "checkpoint_recorded": CHECKPOINT,
    "metric_defined": {
        "type": "metric_defined", "study_id": STUDY,
        "metric": {
            "name": "refusal_rate", "label": "Refusal rate", "kind": "rate", "better": "down", "low": 0, "high": 1,
            "denominator": "sessions_completed", "rollup": "weighted", "group": "Safety", "primary": True,
        },
    },
    "checkpoint_amended": {
        "type": "checkpoint_amended", "study_id": STUDY, "checkpoint_id": OTHER, "revision": 0,
        "metrics": {
            "session_success_rate": 0.5, "avg_session_duration": (60, 1), "total_cost": None, "custom": {"refusal_rate": 0.1, "retries": None},
        },
        "sessions_included": ["s-1"], "reason": "counted twice", "author": "ann",
    },
    "checkpoint_retracted": {"type": "checkpoint_retracted", "study_id": STUDY, "checkpoint_id": OTHER, "reason": "wrong agent"},
    "note_added": {
        "type": "note_added", "study_id": STUDY, "id": OTHER, "at": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z",
        "category": "model", "text": "new model: m-2\n<b>", "author": None,
    },
    "study_renamed": {"type": "study_renamed", "id": STUDY, "name": "another"},
    "study_edited": {"type": "study_edited", "id": STUDY, "description": None, "tags": ["a"]},
    **{kind: {"type": kind, "id": STUDY} for kind in ("study_archived", "study_unarchived")},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_of_each_kind_is_golden(kind: str) -> None:
    expected = StoredEvalEvent.model_validate_json(json.dumps({"event_id": EVENT, "event": EXAMPLES_BY_KIND[kind]}))
    golden = (GOLDEN / f"{kind}.json").read_bytes().removesuffix(b"\n")
    assert expected.to_wire() == golden
    assert read(golden) == expected


def test_a_second_writer_gives_the_golden_bytes() -> None:
    quick = encode_checkpoint(EVENT, OTHER, STUDY, CHECKPOINT["timestamp"], METRIC_VALUES, 2**63 - 1, SESSION_NAMES)
    assert quick == (GOLDEN / "checkpoint_recorded.json").read_bytes().removesuffix(b"\n")


def test_empty_parts_of_a_config_are_omitted() -> None:
    event = {"type": "study_created", "id": STUDY, "name": "n", "period_type": "daily", "period_value": None, "config": {}}
    stored = StoredEvalEvent.model_validate_json(json.dumps({"event_id": EVENT, "event": event}))
    assert stored.to_wire().endswith(b'"period_type":"daily","period_value":null,"config":{}}}')


ANY_NUMBER = st.floats(allow_nan=False, allow_infinity=False)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ANY_TIME = st.datetimes().map(lambda moment: wire_time(moment.replace(tzinfo=UTC)))
ANY_COUNT = st.integers(0, 2**63 - 1)


@pytest.mark.parametrize("text", ["1e16", "1e-7", "1e21", "5e-324", "1.7976931348623157e308", "1.2345678901234568e17", "-0.0", "0.0001"])
def test_both_writers_write_numbers_equally(text: str) -> None:
    """The text is the shortest one that is read as the same number, without a plus or zeros in the exponent."""
    values = dict.fromkeys(METRICS) | {"total_cost": float(text), "period": METRIC_VALUES["period"]}
    quick = encode_checkpoint(EVENT, OTHER, STUDY, CHECKPOINT["timestamp"], values, 0, [])
    assert f'"total_cost":{text},'.encode() in quick
    assert StoredEvalEvent.from_wire(quick).to_wire() == quick


@pytest.mark.slow
@settings(max_examples=examples(100))
@given(st.data())
def test_both_writers_are_equal_and_lossless(data: st.DataObject) -> None:
    """For any values, both write the same bytes, and reading returns the same values."""
    values: dict[str, Any] = {}
    for name, metric in METRICS.items():
        kinds = {"count": ANY_COUNT, "duration": st.tuples(ANY_COUNT, st.integers(0, 999_999_999))}
        values[name] = data.draw(st.none() | kinds.get(metric.kind, ANY_NUMBER), label=name)
    values["period"] = {"start": data.draw(ANY_TIME), "end": data.draw(ANY_TIME)}
    sessions, timestamp, analyzed = data.draw(st.lists(ANY_TEXT, max_size=3)), data.draw(ANY_TIME), data.draw(ANY_COUNT)
    wire = encode_checkpoint(EVENT, OTHER, STUDY, timestamp, values, analyzed, sessions)
    stored = read(wire)
    assert stored is not None
    assert stored.to_wire() == wire
    event = stored.event
    assert event.type == "checkpoint_recorded"
    assert (wire_time(event.timestamp), event.events_analyzed, event.sessions_included) == (timestamp, analyzed, sessions)
    written = json.loads(event.metrics.model_dump_json())
    for name in METRICS:
        value = list(values[name]) if isinstance(values[name], tuple) else values[name]
        assert written[name] == value
        assert type(written[name]) is type(value) or float(value).is_integer()


# --- validity, case by case -----------------------------------------------------------------------------------------------------------


def wire(
    kind: str = "checkpoint_recorded", *, event_id: str = EVENT, drop: str = "", raw: dict[str, str] | None = None, **changes: Any
) -> bytes:
    """Return an event of a kind with changes: `raw` has the JSON text of a field or, with a dot, of a metric."""
    event = {**EXAMPLES_BY_KIND[kind], **changes}
    texts = {key: json.dumps(value) for key, value in event.items()}
    if "metrics" in event:
        metrics = {key: json.dumps(value) for key, value in event["metrics"].items()}
        metrics |= {key.removeprefix("metrics."): text for key, text in (raw or {}).items() if key.startswith("metrics.")}
        metrics.pop(drop.removeprefix("metrics."), None)
        texts["metrics"] = members(metrics)
    texts |= {key: text for key, text in (raw or {}).items() if "." not in key}
    texts.pop(drop, None)
    return f'{{"event_id":{json.dumps(event_id)},"event":{members(texts)}}}'.encode()


def members(texts: dict[str, str]) -> str:
    return "{" + ",".join(f"{json.dumps(key)}:{text}" for key, text in texts.items()) + "}"


def number(name: str, text: str) -> bytes:
    return wire(raw={f"metrics.{name}": text})


def timed(text: str) -> bytes:
    return wire(timestamp=text)


def wide(size: int) -> bytes:
    """Return a checkpoint of exactly `size` bytes."""
    return wire(sessions_included=["x" * (size - len(wire(sessions_included=[""])))])


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


COMPLETE = wire()
VALID: dict[str, bytes] = {
    "every metric missing": wire(metrics={"period": METRIC_VALUES["period"]}),
    "a metric null": number("sessions_completed", "null"),
    "a metric absent": wire(drop="metrics.total_cost"),
    "a rate over one": number("session_success_rate", "1.5"),
    "a rate below zero": number("session_success_rate", "-7"),
    "a rate as a whole number": number("session_success_rate", "1"),
    "a rate beyond 2^64": number("session_success_rate", "1" + "0" * 30),
    "a rate with an exponent": number("total_cost", "1.5E+3"),
    "a rate that is rounded to zero": number("total_cost", "1e-400"),
    "zero with an enormous exponent": number("total_cost", "0e99999999999"),
    "a rate with 400 digits": number("total_cost", "0." + "3" * 400),
    "the greatest rate": number("total_cost", "1.7976931348623157e308"),
    "the greatest count": number("total_tokens", "9223372036854775807"),
    "minus zero as a count": number("total_tokens", "-0"),
    "a period that ends before it starts": wire(
        metrics={"period": {"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}}
    ),
    "a duration of no time": number("avg_session_duration", "[0,0]"),
    "the greatest duration": number("avg_session_duration", "[9223372036854775807,999999999]"),
    "metrics in another order": wire(metrics=dict(reversed(METRIC_VALUES.items()))),
    "no fraction of a second": timed("2026-01-31T08:00:00Z"),
    **{f"{digits} fractional digits": timed(f"2026-01-31T08:00:00.{'123456789'[:digits]}Z") for digits in range(1, 10)},
    "lower-case letters in a time": timed("2026-01-31t08:00:00z"),
    "an offset of zero": timed("2026-01-31T08:00:00+00:00"),
    "the year 1": timed("0001-01-01T00:00:00Z"),
    "the year 9999": timed("9999-12-31T23:59:59.999999999Z"),
    "29 February of a leap year": timed("2024-02-29T00:00:00Z"),
    "an upper-case id": wire(id=OTHER.upper()),
    "a braced id": wire(id="{" + OTHER + "}"),
    "an id as a URN": wire(study_id="urn:uuid:" + STUDY),
    "an id without hyphens": wire(study_id=STUDY.replace("-", "")),
    "an id without a version": wire("study_started", id="00000000-0000-0000-0000-000000000000"),
    "an upper-case event id": wire(event_id=EVENT.upper()),
    "a braced event id": wire("study_stopped", event_id="{" + EVENT + "}"),
    "the first event id": wire(event_id="00000000-0000-7000-8000-000000000000"),
    "an event id of the last millisecond of 9999": wire(event_id="e677d21f-dbff-7fff-bfff-ffffffffffff"),
    "a name with unusual characters": wire("study_created", name="\0\n\x1e\x7f 👩\u200d🔬 \u202e<script>"),
    "an empty name": wire("study_created", name=""),
    "no planned periods": wire("study_created", period_value=None),
    "zero planned periods": wire("study_created", period_value=0),
    "the most planned periods": wire("study_created", period_value=2**32 - 1),
    "a description of null": wire("study_created", config={"description": None}),
    "an unknown field in a config": wire("study_created", config={"unknown": [1.5, None]}),
    "an unknown field in an event": wire("study_started", extra={"a": [deep(50)]}),
    "an unknown metric": number("unknown", '{"a":1.50}'),
    "an unknown field in a period": wire(metrics={"period": {**METRIC_VALUES["period"], "zone": "UTC"}}),
    "an unknown field next to the event": COMPLETE[:-1] + b',"trace":"\\u0000"}',
    "a key twice, the last valid": COMPLETE.replace(b'"total_cost":', b'"total_cost":"lost","total_cost":'),
    "the event id twice": COMPLETE.replace(b'"event_id":', b'"event_id":5,"event_id":'),
    "the event twice, the first a number": COMPLETE.replace(b'"event":', b'"event":5,"event":'),
    "the event twice, the first of another kind": COMPLETE.replace(b'"event":', b'"event":{"type":"study_started","id":"x"},"event":'),
    "the created event twice, the first a text": wire("study_created").replace(b'"event":', b'"event":"lost","event":'),
    "the config twice, the first a number": wire("study_created").replace(b'"config":', b'"config":7,"config":'),
    "the metrics twice, the first null": COMPLETE.replace(b'"metrics":', b'"metrics":null,"metrics":'),
    "a key of the metadata twice": wire("study_created", raw={"config": '{"metadata":{"a":0,"a":"1"}}'}),
    "the sessions twice": COMPLETE.replace(b'"sessions_included":', b'"sessions_included":[5],"sessions_included":'),
    "the period twice": COMPLETE.replace(b'"period":', b'"period":{"start":"x"},"period":'),
    "an escaped key": COMPLETE.replace(b'"event":', b'"\\u0065vent":'),
    "an escaped metric": COMPLETE.replace(b'"total_cost":', b'"total\\u005fcost":'),
    "an escaped key twice": COMPLETE.replace(b'"total_cost":', b'"\\u0074otal_cost":"lost","total_cost":'),
    "an escaped id": COMPLETE.replace(OTHER.encode(), b"\\u0036" + OTHER[1:].encode()),
    "white space everywhere": json.dumps(json.loads(COMPLETE), indent=3).replace("\n", "\r\n\t").encode(),
    "white space around": b" \r\n\t" + COMPLETE + b"\n \t\r",
    "an escaped slash and a pair of surrogates": wire("study_created", raw={"name": '"\\/ \\ud83d\\ude00"'}),
    "exactly 1 MiB": wide(MAX_EVENT_BYTES),
}  # fmt: skip


INVALID: dict[str, bytes] = {
    "no type, another key twice": COMPLETE.replace(b'"type":"checkpoint_recorded",', b"").replace(b'"events_analyzed":', b'"events_analyzed":1,"events_analyzed":'),
    "nothing": b"", "white space": b" \n", "a text": b'"event"', "a list": b"[" + COMPLETE + b"]", "null": b"null", "a number": b"7",
    "an empty object": b"{}",
    "two events": COMPLETE + COMPLETE, "two lines": COMPLETE + b"\n" + COMPLETE, "a cut event": COMPLETE[:-1], "a comma at the end": COMPLETE[:-1] + b",}",
    "a NUL after it": COMPLETE + b"\0", "a comment": COMPLETE + b" // ok", "single quotes": COMPLETE.replace(b'"', b"'"),
    "a byte-order mark": b"\xef\xbb\xbf" + COMPLETE, "UTF-16": COMPLETE.decode().encode("utf-16"), "a form feed": b"\f" + COMPLETE,
    "invalid UTF-8 in a text": wire(sessions_included=["S"]).replace(b'"S"', b'"\xff"'),
    "invalid UTF-8 in an unknown field": COMPLETE[:-1] + b',"x":"\xc3("}',
    "invalid UTF-8 in a key": COMPLETE[:-1] + b',"\xe2\x82":1}',
    "overlong UTF-8": wire(sessions_included=["S"]).replace(b'"S"', b'"\xc0\x80"'),
    "a surrogate in UTF-8": wire(sessions_included=["S"]).replace(b'"S"', b'"\xed\xa0\x80"'),
    "a lone high surrogate": wire(raw={"sessions_included": '["\\ud800"]'}),
    "a lone low surrogate": wire("study_created", raw={"name": '"\\udc00"'}),
    "surrogates the wrong way round": wire("study_created", raw={"name": '"\\ude00\\ud83d"'}),
    "a lone surrogate in an unknown field": COMPLETE[:-1] + b',"x":"\\ud800"}',
    "a lone surrogate in a key": COMPLETE[:-1] + b',"\\ud800":1}',
    "a lone surrogate in a value that does not count": COMPLETE.replace(b'"total_cost":', b'"total_cost":"\\ud800","total_cost":'),
    "a raw control character": wire("study_created", raw={"name": '"a\nb"'}),
    "a raw NUL": wire("study_created", raw={"name": '"a\0b"'}),
    "an unknown escape": wire("study_created", raw={"name": '"\\x41"'}),
    "NaN as a rate": number("total_cost", "NaN"), "Infinity as a rate": number("total_cost", "Infinity"),
    "minus Infinity as a rate": number("total_cost", "-Infinity"), "1e999 as a rate": number("total_cost", "1e999"),
    "a whole rate beyond the greatest": number("total_cost", "1" + "0" * 400),
    "NaN in an unknown field": COMPLETE[:-1] + b',"x":NaN}', "Infinity in an unknown metric": number("unknown", "[-Infinity]"),
    "NaN in a value that does not count": COMPLETE.replace(b'"total_cost":', b'"total_cost":NaN,"total_cost":'),
    "a number with a leading zero": number("total_cost", "01"), "a number without a whole part": number("total_cost", ".5"),
    "a number without a fraction": number("total_cost", "1."), "a number with a plus": number("total_cost", "+1"),
    "a hexadecimal number": number("total_cost", "0x10"),
    **{
        f"{text} as a count": number("sessions_completed", text)
        for text in ("5.0", "5e0", "true", '"5"', "-1", "[5]", "9223372036854775808")
    },
    **{f"{text} as events analyzed": wire(raw={"events_analyzed": text}) for text in ("5.0", "false", '"5"', "-1", "null", str(2**63))},
    **{f"{text} as a rate": number("total_cost", text) for text in ("true", '"0.5"', "[0.5]", "{}")},
    **{
        f"{text} as a duration": number("avg_session_duration", text)
        for text in ("5", '"5"', "[]", "[5]", "[5,0,0]", "[5.0,0]", "[5,0.5]", "[true,0]", '["5",0]', "[5,null]", "[-1,0]", "[0,-1]",
                     "[0,1000000000]", "[9223372036854775808,0]", '{"secs":5,"nanos":0}')
    },
    **{
        f"{text} as a time": timed(text)
        for text in ("", "2026-01-31", "2026-01-31T08:00Z", "2026-01-31T08:00:00", "2026-01-31 08:00:00Z", "2026-01-31T08:00:00.Z",
                     "2026-01-31T08:00:00.1234567890Z", "2026-01-31T08:00:00,5Z", "2026-01-31T08:00:00+01:00", "2026-01-31T08:00:00+0000",
                     "2026-02-30T08:00:00Z", "2023-02-29T08:00:00Z", "2026-13-01T08:00:00Z", "2026-00-01T08:00:00Z", "2026-01-00T08:00:00Z",
                     "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "-001-01-01T00:00:00Z", "2026-01-31T24:00:00Z",
                     "2026-01-31T25:00:00Z", "2026-01-31T08:60:00Z", "2026-01-31T08:00:60Z", "2016-12-31T23:59:60Z",
                     " 2026-01-31T08:00:00Z", "2026-01-31T08:00:00Z\n",
                     "20260131T080000Z", "2026-W05-6T08:00:00Z", "٢٠٢٦-01-31T08:00:00Z")
    },
    "a time as a number": wire(timestamp=1769846400), "no time": wire(timestamp=None),
    "a period without an end": wire(metrics={"period": {"start": "2026-01-01T00:00:00Z"}}),
    "a period of null": wire(metrics={"period": None}), "no period": wire(drop="metrics.period"),
    "a period as a list": wire(metrics={"period": ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]}),
    "a period with another time zone": wire(metrics={"period": {**METRIC_VALUES["period"], "end": "2026-01-02T00:00:00+02:00"}}),
    "metrics of null": wire(raw={"metrics": "null"}), "metrics as a list": wire(raw={"metrics": "[]"}),
    "an event id of version 4": wire(event_id=OTHER), "an event id of another variant": wire(event_id=EVENT[:19] + "0" + EVENT[20:]),
    "an event id after the year 9999": wire(event_id="e677d21f-dc00-7000-8000-000000000000"),
    "an event id of the greatest time that begins with e": wire(event_id="efffffff-ffff-7000-8000-000000000000"),
    "an event id far after the year 9999": wire("study_started", event_id="ffffffff-ffff-7000-8000-000000000000"),
    "an event id of null": COMPLETE.replace(f'"{EVENT}"'.encode(), b"null"), "no event id": COMPLETE.replace(b'"event_id"', b'"id"'),
    **{
        f"{text!r} as an id": wire(id=text)
        for text in ("", "study", OTHER + " ", " " + OTHER, OTHER[:-1], OTHER + "0", "{" + OTHER, "((" + OTHER + "))", "g" + OTHER[1:],
                     OTHER.replace("-", "_"), "uuid:" + OTHER, OTHER[:8] + OTHER[9:], "\u0666" + OTHER[1:], "\uff16" + OTHER[1:])
    },
    "an id as a number": wire(id=7), "an id of null": wire("study_started", id=None), "no id": wire(drop="id"),
    "no study": wire(drop="study_id"),
    "an unknown kind": wire("study_started", type="study_merged"), "a kind in capitals": wire("study_started", type="STUDY_STARTED"),
    "no kind": wire(drop="type"), "a kind of null": wire(type=None), "a kind as a list": wire(type=["study_started"]),
    "an event of null": b'{"event_id":"' + EVENT.encode() + b'","event":null}', "no event": b'{"event_id":"' + EVENT.encode() + b'"}',
    "an event in a list": COMPLETE.replace(b'"event":', b'"event":[', 1)[:-1] + b"]}",
    **{f"no {field}": wire("study_created", drop=field) for field in ("name", "period_type", "config")},
    **{f"{value!r} as a name": wire("study_created", name=value) for value in (None, 5, ["n"])},
    **{f"{value!r} as a period type": wire("study_created", period_type=value) for value in ("yearly", "Daily", "", None, 1, ["daily"])},
    **{
        f"{text} as planned periods": wire("study_created", raw={"period_value": text})
        for text in ("-1", "2.0", '"2"', "true", "4294967296")
    },
    **{f"{value!r} as a config": wire("study_created", config=value) for value in (None, [], "", 5)},
    **{
        f"{value!r} in a config": wire("study_created", config=value)
        for value in ({"description": 5}, {"tags": None}, {"tags": "a"}, {"tags": [None]}, {"metadata": []}, {"metadata": {"a": 1}},
                      {"metadata": None}, {"metadata": {"a": None}})
    },
    **{f"no {field}": wire(drop=field) for field in ("timestamp", "metrics", "events_analyzed", "sessions_included")},
    **{f"{value!r} as sessions": wire(sessions_included=value) for value in (None, "s", {}, [None], [5], [["s"]])},
    "a key twice, the last invalid": COMPLETE.replace(b'"events_analyzed":', b'"events_analyzed":1,"events_analyzed":"x","x":'),
    "an escaped key twice, the last invalid": COMPLETE[:-2] + b',"\\u0065vents_analyzed":null}}',
    "one byte over 1 MiB": wide(MAX_EVENT_BYTES + 1), "1 MiB and a line's end": wide(MAX_EVENT_BYTES) + b"\n",
}  # fmt: skip


@pytest.mark.parametrize("data", VALID.values(), ids=VALID)
def test_valid(data: bytes) -> None:
    """Both decoders accept it, and writing it preserves its content."""
    stored = read(data)
    assert stored is not None
    assert read(stored.to_wire()) == stored


@pytest.mark.parametrize("data", INVALID.values(), ids=INVALID)
def test_invalid(data: bytes) -> None:
    """Both decoders refuse it, with a message."""
    assert read(data) is None
    with pytest.raises(InvalidEventError, match=r"\w"):
        StoredEvalEvent.from_wire(data)


def test_ids_are_normalized() -> None:
    """Every spelling of an id becomes 36 lower-case characters."""
    named = "urn:uuid:" + STUDY
    for spelling in (STUDY.upper(), "{" + STUDY + "}", named, named.upper(), STUDY.replace("-", ""), "{" + named + "}"):
        stored = read(wire(event_id=spelling, id=spelling, study_id=spelling))
        assert stored is not None
        assert (stored.event_id, stored.event.id, stored.study_id) == (STUDY, STUDY, STUDY)


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("2026-01-31T08:00:00Z", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31T08:00:00.1Z", "2026-01-31T08:00:00.100000Z"),
        ("2026-01-31T08:00:00.123456999Z", "2026-01-31T08:00:00.123456Z"),
        ("0033-01-31t08:00:00.000001+00:00", "0033-01-31T08:00:00.000001Z"),
        ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_times_are_stored_with_a_fixed_width_and_written_with_all_digits(written: str, stored: str) -> None:
    """The text of the read model has 27 characters; the event keeps its original text."""
    event = read(timed(written))
    assert event is not None
    assert decode(timed(written)).row[0] == stored
    assert json.loads(event.to_wire())["event"]["timestamp"] == written


def test_nanoseconds_and_long_durations_survive() -> None:
    """A duration keeps its nanoseconds, and seconds beyond the range of `timedelta`."""
    for pair in ([0, 1], [5, 999_999_999], [2**63 - 1, 7]):
        stored = read(number("avg_session_duration", json.dumps(pair)))
        assert stored is not None
        assert json.loads(stored.to_wire())["event"]["metrics"]["avg_session_duration"] == pair
    period = TimePeriod(start=datetime(2026, 1, 1, tzinfo=UTC), end=datetime(2026, 1, 2, tzinfo=UTC))
    metrics = LongitudinalMetrics(avg_session_duration=timedelta(days=3, microseconds=5), period=period)
    assert '"avg_session_duration":[259200,5000]' in metrics.model_dump_json()


# --- random bytes ---------------------------------------------------------------------------------------------------------------------

NUMBERS = (
    "0", "-0", "5", "-1", "5.0", "1.5", "0.30000000000000004", "1e2", "1E-400", "1e999", "-1e999", "NaN", "Infinity", "-Infinity", "01",
    "1.", ".5", "+1", "9007199254740993", "9223372036854775807", "9223372036854775808", "18446744073709551616", "1" + "0" * 30,
    "1" + "0" * 320, "0." + "3" * 800, "0e99999999999999999999", "0.0e-99999999999999999999", "2.2250738585072011e-308", "-0.0", "1_000",
    "true", "null", '"5"',
)  # fmt: skip
ID_TEXTS = (
    STUDY, OTHER, STUDY.upper(), "{" + OTHER + "}", "urn:uuid:" + OTHER, "{urn:uuid:" + OTHER + "}", OTHER.replace("-", ""), EVENT + " ",
    "e677d21f-dbff-7fff-bfff-ffffffffffff", "e677d21f-dc00-7000-8000-000000000000", "e7000000-0000-7000-8000-000000000000", "{}", "x", "",
    "ffffffff-ffff-7fff-bfff-ffffffffffff", "00000000-0000-7000-8000-000000000000", "00000000-0000-0000-0000-000000000000",
    EVENT[:14] + "4" + EVENT[15:],
    "\uff16" + OTHER[1:], OTHER[:8] + OTHER[9:],
)  # fmt: skip
TIME_TEXTS = (
    "2026-01-31T08:00:00Z", "2026-01-31T08:00:00.1Z", "2026-01-31T08:00:00.123456789Z", "2026-01-31T08:00:00.1234567890Z",
    "2026-01-31t08:00:00z", "2026-01-31T08:00:00+00:00", "2026-01-31T08:00:00-00:00", "2026-01-31T08:00:00+01:00", "2026-02-30T08:00:00Z",
    "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "2026-01-31T24:00:00Z", "2026-01-31T08:00:60Z",
    "2026-01-31T08:00:00", "2026-01-31", "",
)  # fmt: skip
JUNK = (
    "null", "true", "5", "1e999", "NaN", '"text"', '"\\ud800"', '"\\ud83d\\ude00"', '"\\u0000"', "[]", "{}", '{"a":1,"a":2}', deep(60),
    deep(300), '["a",5]', '"\\x"', '"raw\ttab"', '{"event":{"id":[]}}', "[0,0]", '"é"', "",
)  # fmt: skip
DURATION_TEXTS = (
    "[0,0]", "[5,999999999]", "[5,1000000000]", "[9223372036854775807,0]", "[9223372036854775808,0]", "[-0,0]", "[1.0,0]", "[5]",
    "[ 1 , 2 ]",
)  # fmt: skip

CUSTOM = {"refusal_rate": 0.1, "retries": 3, "score": None}
ORIGIN = {"collector": "inspect", "models": ["m-1"], "sources": [{"name": "a.eval", "sha256": "0" * 64}], "agent": None}
SPOILED = (
    "5", "[]", '"2026-02-30T00:00:00Z"', '"yesterday"', "{}", '{"A":1}', '{"total_cost":1}', '{"a":true}', '{"a":9007199254740993}',
    '{"a":1,"a":"1"}', '{"collector":5}', '{"collector":"c","models":[1]}', '{"collector":"c","cost_basis":"guessed"}',
)  # fmt: skip
"""Malformed values of optional parts."""

Node = list[list[Any]]
"""An object as its members, [key text, value]; a value is JSON text or a Node."""


def tree(value: Any) -> Any:
    return [[json.dumps(key), tree(item)] for key, item in value.items()] if isinstance(value, dict) else json.dumps(value)


def nodes(node: Node) -> list[Node]:
    return [node] + [inner for _, value in node if isinstance(value, list) for inner in nodes(value)]


def text_of(node: Node | str, comma: str = ",", colon: str = ":") -> str:
    if isinstance(node, str):
        return node
    return "{" + comma.join(f"{key}{colon}{text_of(value, comma, colon)}" for key, value in node) + "}"


@st.composite
def values_for(draw: st.DrawFn, key: str) -> str:
    """Draw JSON text for a key, mostly of its type, valid or nearly valid."""
    plain = json.loads(key)
    if plain.endswith("id") and draw(st.booleans()):
        return json.dumps(draw(st.sampled_from(ID_TEXTS)))
    if plain in ("timestamp", "start", "end", "written_at") and draw(st.booleans()):
        return json.dumps(draw(st.sampled_from(TIME_TEXTS)))
    if plain == "avg_session_duration" and draw(st.booleans()):
        return draw(st.sampled_from(DURATION_TEXTS))
    return draw(st.sampled_from(draw(st.sampled_from([NUMBERS, NUMBERS, JUNK]))))


def _double(draw: st.DrawFn, node: Node, index: int) -> None:
    key, value = node[index]
    other = draw(values_for(key))
    again = [draw(st.sampled_from([key, escaped(key)])), draw(st.sampled_from([other, text_of(value)]))]
    node.insert(draw(st.integers(0, len(node))), again)


def _replace(draw: st.DrawFn, node: Node, index: int) -> None:
    node[index] = [node[index][0], draw(values_for(node[index][0]))]


def _escape(draw: st.DrawFn, node: Node, index: int) -> None:
    node[index] = [escaped(node[index][0]), node[index][1]]


def _drop(draw: st.DrawFn, node: Node, index: int) -> None:
    del node[index]


def _add(draw: st.DrawFn, node: Node, index: int) -> None:
    key = draw(
        st.sampled_from(['"extra"', '""', '"\\u0000"', '"\\ud800"', '"type"', '"total_cost"', '"event"', '"custom"', '"written_at"'])
    )
    node.insert(index, [key, draw(st.sampled_from(JUNK))])


def _shuffle(draw: st.DrawFn, node: Node, index: int) -> None:
    node[:] = draw(st.permutations(node))


def escaped(key: str) -> str:
    plain = json.loads(key)
    return f'"\\u{ord(plain[0]):04X}{plain[1:]}"' if plain else key


STRAYS = (b"\xef\xbb\xbf", b"\xff", b"\xc0\x80", b"\0", b"\n", b" ", b'"', b"\\", b"}", b"\x0c", b"\xc2\xa0", b"1", b"-")


@st.composite
def wire_bytes(draw: st.DrawFn) -> bytes:
    """Draw an event with up to four changes of its text, and sometimes of its bytes."""
    kind = draw(st.sampled_from(["checkpoint_recorded"] * 4 + ["study_created", "study_stopped"]))
    content, optional = EXAMPLES_BY_KIND[kind], {}
    if draw(st.booleans()):
        optional = {"written_at": "2026-01-31T08:00:00.000001Z"}
        if kind == "checkpoint_recorded":
            content = {**content, "metrics": {**METRIC_VALUES, "custom": CUSTOM}, "provenance": ORIGIN}
    event = tree({"event_id": EVENT, "event": content, **optional})
    if optional and draw(st.booleans()):
        key = draw(st.sampled_from(['"custom"', '"provenance"', '"written_at"']))
        for member in (member for node in nodes(event) for member in node if member[0] == key):
            member[1] = draw(st.sampled_from(SPOILED))
    for change in draw(st.lists(st.sampled_from([_double, _replace, _replace, _escape, _drop, _add, _shuffle]), max_size=4)):
        node = draw(st.sampled_from(nodes(event)))
        if node:
            change(draw, node, draw(st.integers(0, len(node) - 1)))
    data = text_of(event, draw(st.sampled_from([",", ",", " ,\r\n\t"])), draw(st.sampled_from([":", " : "]))).encode()
    damage = draw(st.sampled_from(["none"] * 6 + ["flip", "cut", "insert", "before", "after"]))
    at = draw(st.integers(0, len(data) - 1))
    stray = draw(st.sampled_from(STRAYS))
    if damage == "flip":
        return data[:at] + bytes([data[at] ^ draw(st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128]))]) + data[at + 1 :]
    return {"cut": data[:at], "insert": data[:at] + stray + data[at:], "before": stray + data, "after": data + stray}.get(damage, data)


LAST_MILLISECOND = 253_402_300_799_999
"""The last millisecond of the year 9999, since 1970."""


class _Unspecified(Exception):
    """The design does not specify whether this is valid."""


def valid_by_design(data: bytes) -> bool | None:
    """Return whether bytes are a valid event by section 2 of the design, without code of evalkit; None if unspecified."""
    try:
        envelope = json.loads(data.decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_pairs, parse_int=_whole)
        _texts(envelope)
        return len(data) <= 1 << 20 and _is_event(envelope)
    except _Unspecified:
        return None
    except RecursionError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return False


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _whole(text: str) -> int:
    if len(text) > 4000:
        raise _Unspecified
    return int(text)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _texts([list(pair) for pair in pairs])
    return dict(pairs)


def _texts(value: Any, depth: int = 0) -> None:
    """Refuse lone surrogates. Deep nesting, and infinite numbers in ignored fields, are not specified."""
    if depth > 100 or value in (math.inf, -math.inf):
        raise _Unspecified
    if isinstance(value, str):
        value.encode()
    for part in [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ():
        _texts(part, depth + 1)


def _is_event(envelope: Any) -> bool:
    event, event_id = envelope["event"], envelope["event_id"]
    digits = re.sub(r"[{}-]|(?i:urn:uuid:)", "", event_id)
    checks = [_is_id(event_id), digits[12] == "7", digits[16] in "89abAB", int(digits[:12], 16) <= LAST_MILLISECOND]
    kind = event["type"]
    checks.append(_is_id(event["id"]))
    if kind == "checkpoint_recorded":
        metrics, sessions = event["metrics"], event["sessions_included"]
        checks += [_is_id(event["study_id"]), _is_time(event["timestamp"]), _is_count(event["events_analyzed"])]
        checks += [type(sessions) is list and all(type(session) is str for session in sessions)]
        checks += [_is_metric(name, metrics.get(name)) for name in METRIC_NAMES]
        checks += [_is_time(metrics["period"]["start"]), _is_time(metrics["period"]["end"])]
    elif kind == "study_created":
        config, value = event["config"], event.get("period_value")
        description, tags, metadata = config.get("description"), config.get("tags", []), config.get("metadata", {})
        checks += [type(event["name"]) is str, event["period_type"] in ("hourly", "daily", "weekly", "monthly")]
        checks += [value is None or (_is_count(value) and value < 2**32), description is None or type(description) is str]
        checks += [type(tags) is list and all(type(tag) is str for tag in tags)]
        checks += [type(metadata) is dict and all(type(item) is str for item in metadata.values())]
    else:
        checks.append(kind in ("study_started", "study_paused", "study_resumed", "study_stopped"))
    return all(checks)


def _is_id(text: str) -> bool:
    bare = text[1:-1] if text[:1] == "{" and text[-1:] == "}" else text
    return re.fullmatch(r"(?i:urn:uuid:)?([0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})", bare) is not None


def _is_time(text: str) -> bool:
    match = re.fullmatch(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?([Zz]|[+-]00:00)", text)
    if match is None:
        return False
    date.fromisoformat(match[1])
    return all(int(part) < limit for part, limit in zip(match[2].split(":"), (24, 60, 60), strict=True))


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_metric(name: str, value: Any) -> bool:
    if value is None:
        return True
    if METRICS[name].kind == "count":
        return _is_count(value)
    if name == "avg_session_duration":
        return type(value) is list and len(value) == 2 and all(map(_is_count, value)) and value[1] < 10**9
    if type(value) not in (int, float):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


@pytest.mark.slow
def test_both_decoders_accept_exactly_the_same_bytes() -> None:
    """The model, the projection's decoder and the design agree for events with random changes."""
    seen: Counter[str] = Counter()

    @settings(max_examples=examples(1500))
    @given(wire_bytes())
    def check(data: bytes) -> None:
        stored, expected = read(data), valid_by_design(data)
        if expected is not None:
            assert (stored is not None) is expected, data
        seen["valid" if stored is not None else "invalid"] += 1
        if stored is not None:
            seen["regular" if stored.event.type == "checkpoint_recorded" and decode(data).row[6] else "irregular"] += 1
            assert read_ids(data) == (stored.study_id, stored.event_id)
            count_optional_parts(data, stored, seen)

    check()
    assert min(seen[outcome] for outcome in ("valid", "invalid", "regular", "irregular")) >= examples(1500) // 20, seen
    parts = [f"{state} {part}" for state in ("regular", "malformed") for part in ("custom", "provenance", "written_at")]
    assert min(seen[part] for part in parts) >= examples(1500) // 100, seen


def count_optional_parts(data: bytes, stored: StoredEvalEvent, seen: Counter[str]) -> None:
    """Count custom metrics, provenances and times of writing: read by the fast decoder, and malformed."""
    envelope = json.loads(data)
    seen["malformed written_at"] += envelope.get("written_at") is not None and stored.written_at is None
    event = stored.event
    if event.type == "checkpoint_recorded":
        texts = envelope["event"]
        fast = _decode_plain(data) is not None
        parts = {
            "custom": (texts["metrics"].get("custom"), event.metrics.custom),
            "provenance": (texts.get("provenance"), event.provenance),
        }
        for name, (written, value) in parts.items():
            seen[f"malformed {name}"] += bool(written) and not value
            seen[f"regular {name}"] += fast and bool(value)
        seen["regular written_at"] += fast and stored.written_at is not None


@settings(max_examples=examples(100))
@given(st.permutations(list(json.loads(wire())["event"])), st.booleans(), st.sampled_from([None, (", ", ": ")]))
def test_texts_are_found_in_any_order_of_keys(order: list[str], has_provenance: bool, separators: tuple[str, str] | None) -> None:
    """A provenance may contain the same keys as the event."""
    content = json.loads(wire())
    event = {key: content["event"][key] for key in order}
    alike = {"metrics": {"a": 1}, "events_analyzed": 1, "sessions_included": ["x"], "provenance": {"sessions_included": ["y"]}}
    for key in ([*order, "provenance"], ["provenance", *order]) if has_provenance else ([*order],):
        values = {**event, "provenance": {"collector": "c", **alike, "metrics": {}}}
        data = json.dumps({**content, "event": {name: values[name] for name in key}}, separators=separators or (",", ":")).encode()
        assert read(data) is not None
        assert _decode_plain(data) is not None


@pytest.mark.slow
@settings(max_examples=examples(400))
@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_random_bytes_raise_only_invalid_event_errors(data: bytes) -> None:
    """Reading their ids raises nothing."""
    assert read(data) is None
    assert read_ids(data) == ("", "")


# --- ids of invalid events ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "ids"),
    [
        (wire("study_created", drop="name"), (STUDY, EVENT)),
        (wire("study_created", drop="name", id=STUDY.upper()), (STUDY, EVENT)),
        (wire(raw={"events_analyzed": "5.0"}), (STUDY, EVENT)),
        (wire(drop="study_id"), ("", EVENT)),
        (wire("study_started", id="no id"), ("", EVENT)),
        (wire("study_started", type="study_merged"), ("", EVENT)),
        (f'{{"event_id":"{EVENT}","event":{{"type":"study_merged","":"{STUDY}"}}}}'.encode(), ("", EVENT)),
        (f'{{"event_id":"{EVENT.upper()}","event":null}}'.encode(), ("", EVENT)),
        (wire("study_started", event_id=OTHER), ("", "")),
        (b"no JSON", ("", "")),
        (number("total_cost", "NaN"), ("", "")),
        (wide(MAX_EVENT_BYTES + 1), ("", "")),
    ],
    ids=[
        "known kind", "spelled otherwise", "a checkpoint", "no study", "no id", "unknown kind", "unknown kind with an empty key",
        "no event", "version 4", "no JSON", "NaN", "too long",
    ],
)  # fmt: skip
def test_readable_ids(data: bytes, ids: tuple[str, str]) -> None:
    """A valid event id is read, and the study id only from a known kind."""
    assert read(data) is None
    assert read_ids(data) == ids


# --- the catalog of metrics -----------------------------------------------------------------------------------------------------------


def test_the_catalog_has_the_16_metrics_in_wire_order() -> None:
    assert tuple(METRICS) == METRIC_NAMES
    assert [metric.name for metric in METRICS.values()] == list(METRIC_NAMES)
    assert list(LongitudinalMetrics.model_fields) == [*METRIC_NAMES, "period", "custom"]
    recorded = [json.loads(line)["event"] for line in REAL if b"checkpoint_recorded" in line]
    assert all(list(event["metrics"]) == [*METRIC_NAMES, "period"] for event in recorded)


def test_directions_of_improvement() -> None:
    """Success, efficiency, correction and learning rates go up; iterations, duration, overhead and cost per success go down."""
    down = {"avg_iterations_to_success", "avg_session_duration", "swarm_coordination_overhead", "cost_per_successful_task"}
    neither = {"sessions_completed", "tasks_completed", "learnings_applied", "total_tokens", "total_cost"}
    for name, metric in METRICS.items():
        assert metric.better == ("down" if name in down else "neither" if name in neither else "up"), name


def test_the_catalog_is_consistent() -> None:
    """Denominators are counts, sums are amounts, weighted metrics have a weight, and ranges fit the kind."""
    for name, metric in METRICS.items():
        assert (metric.rollup == "weighted") == (metric.denominator is not None), name
        assert metric.denominator is None or METRICS[metric.denominator].kind == "count", name
        assert (metric.rollup == "sum") == (metric.better == "neither"), name
        assert metric.low == 0, name
        assert metric.high == {"rate": 1, "count": 2**63 - 1}.get(metric.kind), name
        assert metric.label[:1].isupper(), name
        assert metric.description.endswith("."), name
        assert metric.kind != "count" or metric.format == ",d", name
        assert (metric.unit == "US$") == (metric.kind == "money"), name
    assert len({metric.label for metric in METRICS.values()}) == 16


def test_every_metric_is_read_from_its_own_key() -> None:
    for name, metric in METRICS.items():
        text = "[7,5000]" if metric.kind == "duration" else "7"
        stored = read(wire(metrics={"period": METRIC_VALUES["period"]}, raw={f"metrics.{name}": text}))
        assert stored is not None
        assert stored.event.type == "checkpoint_recorded"
        measured = stored.event.metrics.measured()
        assert measured == {name: timedelta(seconds=7, microseconds=5) if metric.kind == "duration" else 7}
