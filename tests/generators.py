"""Hypothesis strategies for the content of a log: valid events and invalid bytes, with ids shared within and across studies.

An `Entry` has the bytes and their meaning, so the reference fold needs no parser.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from hypothesis import strategies as st

__all__ = [
    "CHECKPOINTS",
    "EVENT_IDS",
    "METRIC_NAMES",
    "STUDIES",
    "Entry",
    "changes",
    "checkpoint",
    "created",
    "entries",
    "event_ids",
    "eventful_histories",
    "histories",
    "in_parts",
    "invalid",
    "lifecycle",
    "metric_texts",
    "parsed",
]

STUDIES = (
    "01a20992-afa3-7e32-bf5c-c2ca000c5fce",
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-4fff-bfff-ffffffffffff",
    "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d",
)
"""One study for each of 4 partitions."""
CHECKPOINTS = (
    "018f4e2c-0000-7000-8000-000000000001",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "00000000-0000-0000-0000-000000000000",
    "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
)
LIFECYCLE = ("study_started", "study_paused", "study_resumed", "study_stopped")
EVENT_IDS = (
    "018f4e2c-0000-7000-8000-000000000001",  # also the id of a checkpoint
    "018f4e2c-0000-7fff-bfff-ffffffffffff",  # the same millisecond
    "018f4e2b-ffff-7000-8000-000000000002",
    "00000000-0000-7000-8000-000000000000",  # 1970
    "e677d21f-dbff-7fff-bfff-ffffffffffff",  # the last millisecond of the year 9999
    "01a20992-afa3-7e32-bf5c-c2ca000c5fce",  # also the id of a study
)
"""The ids shared by several events."""

NAMES = ("study", "ünï <i>&amp;</i> \u202e 👩\u200d🔬", "nul \0 inside", "", "'; DROP TABLE studies; --", "two\nlines\x1e\x7f", "%s ? :x")
CONFIGS = (
    "{}",
    '{"description":"d","tags":["a","b"],"metadata":{"k":"v \\u0000 é"}}',
    '{ "description" : null,\n "tags":[] }',
    '{"description":"lost","description":"kept","unknown":[1.50e3,{"a":null}]}',
)
TIMES = (
    ("2026-01-31T08:00:00Z", "2026-01-31T08:00:00.000000Z"),
    ("2026-01-31T08:00:00.123456789Z", "2026-01-31T08:00:00.123456Z"),
    ("2026-01-31t07:59:59.9z", "2026-01-31T07:59:59.900000Z"),
    ("0001-01-01T00:00:00+00:00", "0001-01-01T00:00:00.000000Z"),
    ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999Z"),
    ("2024-02-29T12:00:00.000001-00:00", "2024-02-29T12:00:00.000001Z"),
)
"""Times on the wire, and in the read model."""
SESSIONS = ("[]", '["s-1","s\\u0000 \\ud83d\\ude00"]', '[ "ünï", "" ]')
METRIC_NAMES = (
    "sessions_completed", "session_success_rate", "avg_session_duration", "tasks_completed", "first_attempt_success_rate",
    "avg_iterations_to_success", "agent_efficiency", "tool_success_rate", "self_correction_rate", "swarm_coordination_overhead",
    "parallelism_efficiency", "learnings_applied", "learning_effectiveness", "total_tokens", "total_cost", "cost_per_successful_task",
)  # fmt: skip
COUNTS = ("0", "7", "9007199254740993", "9223372036854775807", "-0")
NUMBERS = (
    "0", "1", "1.5", "-3", "0.30000000000000004", "9007199254740993", "5e-324", "1.7976931348623157e308", "1E2", "-0.0",
    "100000000000000000000",
)  # fmt: skip
CUSTOM = (
    '{"refusal_rate":0.1,"retries":3}', '{"refusal_rate":null}', "{}", '{"a":1.5,"a":2}', '{ "a" : 1E2 }', "null", "[]", '{"A":1}',
    '{"total_cost":1}', '{"a":"1"}', '{"a":1e999}', '{"a":9007199254740993}', '{"\\u0061":1}', '{"a":true}',
)  # fmt: skip
"""Custom metrics, the last ones malformed."""
_ORIGINS = (
    ('{"collector":"inspect"}', True), ('{ "collector":"c", "models":["m-1","m\\u0000"], "x":[1e400] }', True), ("{}", False),
    ("5", False), ("null", False), ('{"collector":5}', False), ('{"collector":"c","models":[1]}', False),
)  # fmt: skip
PROVENANCE = (("", None), *((f',"provenance":{text}', text if valid else None) for text, valid in _ORIGINS))
"""The provenance on the wire, and in the read model; a malformed one is absent."""
DEFINITIONS = (
    ('{"name":"a","kind":"count","better":"down"}', "a", ("count", "", "down", None, "sum")),
    ('{"name":"a","kind":"count","better":"down","label":"A","primary":true,"x":[]}', "a", ("count", "", "down", None, "sum")),
    ('{"name":"a","kind":"rate","better":"up","denominator":"sessions_completed"}', "a", ("rate", "", "up", "sessions_completed", "weighted")),
    ('{"name":"b_1","kind":"score","unit":"points","better":"up","low":0,"high":10,"rollup":"max","group":"","denominator":null}', "b_1",
     ("score", "points", "up", None, "max")),
)  # fmt: skip
"""The text of a definition, its name, and what cannot be redefined."""
AMENDED = ("{}", '{"total_cost":1.5,"total_tokens":null}', '{"custom":{"a":1,"b_1":null}}', '{"custom":5,"avg_session_duration":[1,5]}')
EDITS = (
    '"description":"new"',
    '"description":null,"tags":[]',
    '"metadata":{"k":"w","other":"x"}',
    '"metadata":{"k":null}',
    '"tags":["ü"],"x":5',
    "",
)

DURATIONS = ("[0,0]", "[ 3600 , 999999999 ]", "[9223372036854775807,999999999]")


@dataclass(frozen=True)
class Entry:
    """Bytes in a log, and their meaning."""

    data: bytes
    study_id: str
    """Empty when invalid bytes have no readable study id."""
    event_id: str
    """For invalid bytes without a readable id, their SHA-256."""
    event: dict[str, Any] | None
    """The input of the reference fold; None for invalid bytes."""


def _spelled(uuid: str) -> st.SearchStrategy[str]:
    compact = uuid.replace("-", "")
    return st.sampled_from([uuid] * 6 + [uuid.upper(), "{" + uuid + "}", "urn:uuid:" + uuid, compact, "{" + compact.upper() + "}"])


WRITTEN = (
    ("", None), *((f',"written_at":"{wire}"', stored) for wire, stored in TIMES), (',"written_at":5', None), (',"written_at":null', None),
    (',"written_at":"yesterday"', None), (',"written_at":"2026-02-30T00:00:00Z"', None), (',"written_at":{"a":[1]}', None),
)  # fmt: skip
"""The time of writing on the wire, and in the read model; a malformed one is absent."""


def _envelope(draw: st.DrawFn, event_id: str, event: str) -> tuple[bytes, str | None]:
    """Return the bytes of an event, and its time of writing."""
    written, stored = draw(st.sampled_from(WRITTEN))
    text = f'{{"event_id":"{draw(_spelled(event_id))}","event":{event}{written}}}'
    return draw(st.sampled_from([text] * 4 + [f" {text}\n", text[:-1] + ',"extra":{"event":[]}}'])).encode(), stored


def _entry(draw: st.DrawFn, study_id: str, event_id: str, text: str, event: dict[str, Any] | None) -> Entry:
    data, written_at = _envelope(draw, event_id, text)
    return Entry(data, study_id, event_id, None if event is None else {**event, "written_at": written_at})


@st.composite
def event_ids(draw: st.DrawFn) -> str:
    """Draw an event id: a shared one, or a new one with an arbitrary time."""
    if draw(st.sampled_from([True, False, False])):
        return draw(st.sampled_from(EVENT_IDS))
    moment = draw(st.one_of(st.integers(0x018F4E2BFFF0, 0x018F4E2C0010), st.integers(0, 253_402_300_799_999)))
    rest = f"{draw(st.integers(0, 2**74 - 1)):019x}"
    return f"{moment:012x}"[:8] + f"-{moment & 0xFFFF:04x}-7{rest[:3]}-{draw(st.sampled_from('89ab'))}{rest[4:7]}-{rest[7:]}"


_EVENT_IDS = event_ids()


@st.composite
def created(draw: st.DrawFn, study_id: str, ids: st.SearchStrategy[str] = _EVENT_IDS) -> Entry:
    event_id, name, config = draw(ids), draw(st.sampled_from(NAMES)), draw(st.sampled_from(CONFIGS))
    period_type, value = draw(st.sampled_from(["hourly", "daily", "weekly", "monthly"])), draw(st.sampled_from([None, 0, 2, 2**32 - 1]))
    text = (
        f'{{"type":"study_created","id":"{draw(_spelled(study_id))}","name":{json.dumps(name)},"period_type":"{period_type}",'
        f'"period_value":{json.dumps(value)},"config":{config}}}'
    )
    event = {"type": "study_created", "name": name, "period_type": period_type, "period_value": value, "config": config}
    return _entry(draw, study_id, event_id, text, event)


@st.composite
def lifecycle(draw: st.DrawFn, study_id: str, ids: st.SearchStrategy[str] = _EVENT_IDS, kinds: Sequence[str] = LIFECYCLE) -> Entry:
    event_id, kind = draw(ids), draw(st.sampled_from(kinds))
    text = f'{{"type":"{kind}","id":"{draw(_spelled(study_id))}"}}'
    return _entry(draw, study_id, event_id, text, {"type": kind})


def _number(name: str) -> st.SearchStrategy[str]:
    if name in ("sessions_completed", "tasks_completed", "learnings_applied", "total_tokens"):
        return st.sampled_from(COUNTS)
    return st.sampled_from(DURATIONS) if name == "avg_session_duration" else st.one_of(
        st.sampled_from(NUMBERS), st.floats(allow_nan=False, allow_infinity=False).map(json.dumps)
    )  # fmt: skip


@st.composite
def metric_texts(draw: st.DrawFn) -> str:
    """Draw the text of a checkpoint's metrics: as evalkit writes it, or with nulls, missing, duplicate and unknown keys."""
    styles = ["usual", "usual", "sparse", "absent", "twice", "besides", "spaced", "shuffled", "escaped", "custom", "custom"]
    style = draw(st.sampled_from(styles))
    members = []
    for name in METRIC_NAMES:
        missing = style in ("sparse", "absent") and draw(st.booleans())
        if not (missing and style == "absent"):
            members.append((name, "null" if missing else draw(_number(name))))
    start, end = draw(st.sampled_from(TIMES))[0], draw(st.sampled_from(TIMES))[0]
    members.append(("period", f'{{"start":"{start}","end":"{end}"}}'))
    if style == "custom":
        members.append(("custom", draw(st.sampled_from(CUSTOM))))
    if style == "twice":
        name = draw(st.sampled_from(METRIC_NAMES))
        members.insert(0, (name, draw(st.one_of(_number(name), st.sampled_from(["null", '"not a number"', "[[]]"])))))
    if style == "besides":
        members.insert(draw(st.integers(0, len(members))), ("unknown", draw(st.sampled_from(["1e999", '{"period":[]}', "null", '"\\n"']))))
    if style == "shuffled":
        members = draw(st.permutations(members))
    if style == "escaped":
        members = [(f"\\u{ord(name[0]):04x}{name[1:]}", value) for name, value in members]
    comma, colon = (" ,\r\n\t", " : ") if style == "spaced" else (",", ":")
    return "{" + comma.join(f'"{name}"{colon}{value}' for name, value in members) + "}"


_SOME_METRICS = st.sampled_from(
    [
        '{"period":{"start":"2026-01-01T00:00:00Z","end":"2026-01-02T00:00:00Z"}}',
        '{"sessions_completed":3,"session_success_rate":0.30000000000000004,"avg_session_duration":[1,5],"tasks_completed":9007199254740993,'
        '"first_attempt_success_rate":null,"avg_iterations_to_success":1.50,"agent_efficiency":0,"tool_success_rate":1.5,'
        '"self_correction_rate":null,"swarm_coordination_overhead":null,"parallelism_efficiency":null,"learnings_applied":0,'
        '"learning_effectiveness":null,"total_tokens":9223372036854775807,"total_cost":1E2,"cost_per_successful_task":0.1,'
        '"period":{"start":"2026-01-01T00:00:00Z","end":"2026-01-02T00:00:00Z"}}',
        '{"total_tokens":5,"period":{"start":"2026-01-01T00:00:00Z","end":"2026-01-02T00:00:00Z"},"custom":{"a":1,"b_1":2.5,"c":null}}',
        '{"total_tokens":5,"period":{"start":"2026-01-01T00:00:00Z","end":"2026-01-02T00:00:00Z"},"custom":{"a":"1"}}',
        '{ "period" : {"end":"0001-01-01T00:00:00Z","start":"9999-12-31T23:59:59.999999999Z"} , "total_cost":"lost","total_cost":-1, '
        '"x":[] }',
    ]
)


@st.composite
def checkpoint(
    draw: st.DrawFn,
    study_id: str,
    ids: st.SearchStrategy[str] = _EVENT_IDS,
    metrics: st.SearchStrategy[str] = _SOME_METRICS,
    checkpoint_ids: Sequence[str] = CHECKPOINTS[:3],
) -> Entry:
    event_id, checkpoint_id = draw(ids), draw(st.sampled_from(checkpoint_ids))
    (wire, stored), text, sessions = draw(st.sampled_from(TIMES)), draw(metrics), draw(st.sampled_from(SESSIONS))
    analyzed = draw(st.sampled_from([0, 12, 2**63 - 1]))
    origin, provenance = draw(st.sampled_from(PROVENANCE))
    event = (
        f'{{"type":"checkpoint_recorded","id":"{draw(_spelled(checkpoint_id))}","study_id":"{draw(_spelled(study_id))}","timestamp":"{wire}",'
        f'"metrics":{text},"events_analyzed":{analyzed},"sessions_included":{sessions}{origin}}}'
    )
    content = {"type": "checkpoint_recorded", "id": checkpoint_id, "row": (stored, text, analyzed, sessions, provenance)}
    return _entry(draw, study_id, event_id, event, content)


@st.composite
def changes(
    draw: st.DrawFn,
    study_id: str,
    ids: st.SearchStrategy[str] = _EVENT_IDS,
    checkpoint_ids: Sequence[str] = CHECKPOINTS[:3],
    kinds: Sequence[str] = ("definition", "definition", "amendment", "amendment", "retraction", "note", "study"),
    revisions: Sequence[int] = (0, 0, 1, 2),
    definitions: Sequence[tuple[str, str, tuple[Any, ...]]] = DEFINITIONS,
) -> Entry:
    """Draw an event of a kind that only evalkit reads."""
    event_id, study, subject = draw(ids), draw(_spelled(study_id)), draw(st.sampled_from(checkpoint_ids))
    kind = draw(st.sampled_from(kinds))
    content: dict[str, Any] = {"subject": subject}
    if kind == "definition":
        text, name, compared = draw(st.sampled_from(definitions))
        body = f'{{"type":"metric_defined","study_id":"{study}","metric":{text}}}'
        content |= {"type": "metric_defined", "subject": name, "compared": compared}
    elif kind == "amendment":
        revision, metrics = draw(st.sampled_from(revisions)), draw(st.sampled_from(AMENDED))
        origin = draw(st.sampled_from(PROVENANCE))[0]
        body = (
            f'{{"type":"checkpoint_amended","study_id":"{study}","checkpoint_id":"{draw(_spelled(subject))}","revision":{revision},'
            f'"metrics":{metrics},"reason":"r"{origin}}}'
        )
        content |= {"type": "checkpoint_amended", "revision": revision}
    elif kind == "retraction":
        body = (
            f'{{"type":"checkpoint_retracted","study_id":"{study}","checkpoint_id":"{draw(_spelled(subject))}","reason":"","author":null}}'
        )
        content |= {"type": "checkpoint_retracted"}
    elif kind == "note":
        at = draw(st.sampled_from(TIMES))[0]
        body = f'{{"type":"note_added","study_id":"{study}","id":"{draw(_spelled(subject))}","at":"{at}","category":"model","text":"t"}}'
        content |= {"type": "note_added"}
    else:
        change = draw(st.sampled_from(["study_renamed", "study_edited", "study_archived", "study_unarchived"]))
        parts = ""
        if change == "study_renamed":
            content["name"] = draw(st.sampled_from(NAMES))
            parts = f',"name":{json.dumps(content["name"])}'
        elif change == "study_edited":
            edit = draw(st.sampled_from(EDITS))
            parts = edit and f",{edit}"
            content["edit"] = {name: value for name, value in json.loads(f"{{{edit}}}").items() if name != "x"}
        body = f'{{"type":"{change}","id":"{study}"{parts}}}'
        content |= {"type": change, "subject": ""}
    return _entry(draw, study_id, event_id, body, {**content, "body": body})


_UNREADABLE = (
    b"", b"\0", b"{", b"null", b"[]", b'"text"', b"1e999", b"\xff\xfe{}", b'\xef\xbb\xbf{"event_id":1}', b'{"event_id":"\\ud800"}',
    b'{"event_id":"018f4e2c-0000-4000-8000-000000000001","event":{"type":"study_started","id":"018f4e2c-0000-7000-8000-000000000001"}}',
    b'{"event_id":"018f4e2c-0000-7000-8000-000000000001","event":NaN}', b"[" * 1000, b'{"event_id":7,"event":{}}', b'{"event":{}}',
    b'{"event_id":"e677d21f-dc00-7000-8000-000000000000","event":{"type":"study_started","id":"00000000-0000-0000-0000-000000000000"}}',
)  # fmt: skip
"""Bytes without a readable event id: not JSON, not an object, not version 7, a time after the year 9999."""
_ID_ONLY = (
    '{"type":"study_merged","id":"STUDY"}', '{"type":"study_started","id":"no uuid"}', '{"type":"study_started"}', "null", "[]",
    "5", '{"id":"STUDY"}', '{"type":["study_started"],"id":"STUDY"}', '{"type":"Study_Started","id":"STUDY"}',
    '{"type":"study_started","id":[]}', '{"type":"checkpoint_recorded","id":"STUDY"}',
)  # fmt: skip
"""Events without a readable study id."""
_WITH_STUDY = (
    '{"type":"study_created","id":"STUDY"}',
    '{"type":"study_created","id":"STUDY","name":5,"period_type":"daily","period_value":null,"config":{}}',
    '{"type":"study_created","id":"STUDY","name":"n","period_type":"yearly","period_value":null,"config":{}}',
    '{"type":"study_created","id":"STUDY","name":"n","period_type":"daily","period_value":4294967296,"config":{}}',
    '{"type":"study_created","id":"STUDY","name":"n","period_type":"daily","period_value":null,"config":{"tags":null}}',
    '{"type":"checkpoint_recorded","study_id":"STUDY"}',
    '{"type":"study_renamed","id":"STUDY"}',
    '{"type":"study_edited","id":"STUDY","tags":[1]}',
    '{"type":"metric_defined","study_id":"STUDY","metric":{"name":"a","kind":"count"}}',
    '{"type":"metric_defined","study_id":"STUDY","metric":{"name":"total_cost","kind":"money","better":"down"}}',
    '{"type":"metric_defined","study_id":"STUDY","metric":{"name":"a","kind":"mean","better":"down"}}',
    '{"type":"checkpoint_amended","study_id":"STUDY","checkpoint_id":"018f4e2c-0000-7000-8000-000000000001","revision":-1,"metrics":{},'
    '"reason":""}',
    '{"type":"checkpoint_retracted","study_id":"STUDY","checkpoint_id":"x","reason":""}',
    '{"type":"note_added","study_id":"STUDY","id":"018f4e2c-0000-7000-8000-000000000001","at":"2026-01-01T00:00:00Z","category":"x",'
    '"text":""}',
    '{"type":"checkpoint_recorded","id":"018f4e2c-0000-7000-8000-000000000001","study_id":"STUDY","timestamp":"2026-02-30T00:00:00Z",'
    '"metrics":{"period":{"start":"2026-01-01T00:00:00Z","end":"2026-01-02T00:00:00Z"}},"events_analyzed":0,"sessions_included":[]}',
    '{"type":"checkpoint_recorded","id":"018f4e2c-0000-7000-8000-000000000001","study_id":"STUDY","timestamp":"2026-01-01T00:00:00Z",'
    '"metrics":{"period":{"start":"2026-01-01T00:00:00Z","end":"2026-01-02T00:00:00Z"}},"events_analyzed":5.0,"sessions_included":[]}',
)
"""Invalid events of a known kind with a readable study id."""


@st.composite
def unreadable(draw: st.DrawFn, ids: st.SearchStrategy[str] = _EVENT_IDS) -> Entry:
    """Draw bytes without a readable study id."""
    if draw(st.booleans()):
        data = draw(st.sampled_from(_UNREADABLE))
        return Entry(data, "", sha256(data).hexdigest(), None)
    event_id, text = draw(ids), draw(st.sampled_from(_ID_ONLY)).replace("STUDY", draw(st.sampled_from(STUDIES)))
    return _entry(draw, "", event_id, text, None)


@st.composite
def invalid(draw: st.DrawFn, study_id: str, ids: st.SearchStrategy[str] = _EVENT_IDS) -> Entry:
    """Draw bytes that are not a valid event, with a readable study id."""
    event_id, text = draw(ids), draw(st.sampled_from(_WITH_STUDY))
    return _entry(draw, study_id, event_id, text.replace("STUDY", draw(_spelled(study_id))), None)


def entries(study_id: str, ids: st.SearchStrategy[str] = _EVENT_IDS) -> st.SearchStrategy[Entry]:
    """Return a strategy for any entry of one study."""
    return st.one_of(
        created(study_id, ids), created(study_id, ids), lifecycle(study_id, ids), lifecycle(study_id, ids), lifecycle(study_id, ids),
        checkpoint(study_id, ids), checkpoint(study_id, ids), changes(study_id, ids), changes(study_id, ids), changes(study_id, ids),
        invalid(study_id, ids), unreadable(ids),
    )  # fmt: skip


@st.composite
def _conflict(draw: st.DrawFn, study_id: str) -> list[Entry]:
    """Draw two events of which the first makes the second illegal, or invalid bytes twice."""
    match draw(st.sampled_from(["study", "definition", "note", "invalid"])):
        case "study":
            return [draw(created(study_id)) for _ in range(2)]
        case "definition":
            different = draw(st.permutations([DEFINITIONS[0], DEFINITIONS[2]]))
            return [draw(changes(study_id, kinds=["definition"], definitions=[one])) for one in different]
        case "invalid":
            return [draw(invalid(study_id))] * 2
        case _:
            note = [draw(st.sampled_from(CHECKPOINTS))]
            return [draw(changes(study_id, checkpoint_ids=note, kinds=["note"])) for _ in range(2)]


@st.composite
def histories(draw: st.DrawFn, max_size: int = 14) -> list[Entry]:
    """Draw the entries of a log: some are repeated, some share an event id with an earlier one, some conflict with one."""
    studies = draw(st.permutations(STUDIES))[: draw(st.sampled_from([2, 2, 1]))]
    history: list[Entry] = [draw(created(study)) for study in studies if draw(st.sampled_from([True, True, False]))]
    steps = st.sampled_from(["new", "new", "twice", "again", "shared id", "clash", "change", "correction", "conflict", "conflict"])
    for step in draw(st.lists(steps, min_size=4, max_size=max_size)):
        study_id = draw(st.sampled_from(studies))
        used = [entry.event_id for entry in history if len(entry.event_id) == 36]
        recorded = [entry.event["id"] for entry in history if entry.event and "id" in entry.event]
        if step == "again" and history:
            history.append(draw(st.sampled_from(history)))
        elif step == "clash" and recorded:
            history += [draw(checkpoint(study_id, checkpoint_ids=recorded))] * 2
        elif step == "change":
            history += [draw(changes(study_id)) for _ in range(2)] * draw(st.sampled_from([1, 2]))
        elif step == "correction":
            history.append(draw(checkpoint(study_id, checkpoint_ids=CHECKPOINTS[:1])))
            kinds = ("amendment", "amendment", draw(st.sampled_from(["retraction", "amendment"])), "amendment")
            some = [draw(changes(study_id, checkpoint_ids=CHECKPOINTS[:1], kinds=[kind])) for kind in kinds]
            history += some * draw(st.sampled_from([1, 2]))
        elif step == "conflict":
            history += draw(_conflict(study_id)) * draw(st.sampled_from([1, 2]))
        else:
            ids = st.sampled_from(used) if step == "shared id" and used else _EVENT_IDS
            history += [draw(entries(study_id, ids))] * (2 if step == "twice" else 1)
    return history


def in_parts(data: st.DataObject, history: Sequence[Entry], most: int) -> list[Sequence[Entry]]:
    """Draw a division of a history into parts, which may be empty, at up to `most` places."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(history)), min_size=1, max_size=most)))
    return [history[start:end] for start, end in zip([0, *cuts], [*cuts, len(history)], strict=True)]


@st.composite
def eventful_histories(draw: st.DrawFn, most: int = 16) -> list[Entry]:
    """Draw the entries of a log most of which change something: few are repeated, illegal or invalid."""
    studies = draw(st.permutations(STUDIES))[: draw(st.sampled_from([2, 1]))]
    numbers = iter(range(1, 1000))

    def new_ids() -> st.SearchStrategy[str]:
        time = draw(st.sampled_from([0x018F4E2C0000, 0x018F4E2B0000, 0x01A209920000])) + next(numbers)
        return st.just(f"{time:012x}"[:8] + f"-{time & 0xFFFF:04x}-7000-8000-{next(numbers):012x}")

    history: list[Entry] = [draw(created(study)) for study in studies]
    history += [draw(checkpoint(study, new_ids(), checkpoint_ids=CHECKPOINTS[:1])) for study in studies]
    latest = {(study, CHECKPOINTS[0]): 0 for study in studies}
    steps = st.sampled_from(["checkpoint", "amendment", "amendment", "amendment", "change", "change", "lifecycle", "any"])
    for step in draw(st.lists(steps, min_size=6, max_size=most)):
        study_id = draw(st.sampled_from(studies))
        if step == "checkpoint":
            history.append(draw(checkpoint(study_id, new_ids())))
            latest.setdefault((study_id, history[-1].event["id"]), 0)  # type: ignore[index]
        elif step == "amendment":
            key = draw(st.sampled_from(sorted(latest)))
            kind, revision = draw(st.sampled_from(["amendment"] * 6 + ["retraction"])), draw(st.sampled_from([0] * 6 + [1])) + latest[key]
            history.append(draw(changes(key[0], new_ids(), [key[1]], [kind], revisions=[revision])))
            latest[key] += kind == "amendment" and revision == latest[key]
        elif step == "change":
            history.append(draw(changes(study_id, new_ids(), kinds=("definition", "note", "study", "study"))))
        elif step == "lifecycle":
            history.append(draw(lifecycle(study_id, new_ids())))
        else:
            history.append(draw(entries(study_id)))
    return history


def parsed(data: bytes) -> Entry:
    """Return the entry of an event of the six original kinds that evalkit wrote."""
    envelope = json.loads(data)
    event, text = envelope["event"], data.decode()
    content = {"type": event["type"], "written_at": envelope.get("written_at")}
    text = text.removesuffix("}").partition(',"written_at":')[0]  # that of the event
    if event["type"] == "study_created":
        content |= {name: event[name] for name in ("name", "period_type", "period_value")}
        content["config"] = text.partition('"config":')[2].removesuffix("}")
    elif event["type"] == "checkpoint_recorded":
        metrics, _, rest = text.partition('"metrics":')[2].partition(',"events_analyzed":')
        analyzed, _, sessions = rest.partition(',"sessions_included":')
        day, _, fraction = event["timestamp"].removesuffix("Z").partition(".")
        row = (f"{day}.{fraction[:6]:0<6}Z", metrics, int(analyzed), sessions.removesuffix("}"), None)
        content |= {"id": event["id"], "row": row}
    return Entry(data, event["study_id" if event["type"] == "checkpoint_recorded" else "id"], envelope["event_id"], content)
