"""Decode events from the wire format to rows of the read model.

`decode` has a fast path for checkpoints in their usual form, several times faster than the pydantic models. All other events are parsed by
`StoredEvalEvent.from_wire`. Both paths accept exactly the same bytes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from pydantic_core import from_json

from evalkit.domain.catalog import METRICS
from evalkit.domain.events import (
    KINDS,
    MAX_EVENT_BYTES,
    CheckpointAmended,
    CheckpointRecorded,
    CheckpointRetracted,
    EvalEvent,
    MetricDefined,
    NoteAdded,
    StoredEvalEvent,
    StudyChanged,
    StudyCreated,
    study_id_field,
)
from evalkit.domain.ids import normalize_event_id, normalize_id
from evalkit.domain.lenient import Provenance, custom_values, written_time
from evalkit.domain.times import MAX_COUNT, stored_time

__all__ = ["DecodedEvent", "decode", "readable_ids"]


class DecodedEvent(NamedTuple):
    """A valid event in the form that the read model stores.

    `row` has the column values of the event, with texts and times in the format of the database: (name, period_type, period_value, config)
    for `study_created`; (timestamp, metrics, events_analyzed, sessions_included, period_start, period_end, regular) for
    `checkpoint_recorded`, then (provenance, collector, malformed) if one of these has a value; (body,), the event's own text, for the kinds
    that only evalkit reads; otherwise empty. `regular` is 1 if the metrics have every key exactly once and no other keys but a well-formed
    `custom`, as evalkit and the Rust program write them. `malformed` names the optional parts that are present but invalid; None without
    any.
    """

    kind: str
    study_id: str
    event_id: str
    subject: str
    """The id of the checkpoint or note, or the name of the metric; empty for other kinds."""
    row: tuple[Any, ...]
    written_at: str | None = None
    """When it was appended, in the format of the read model; None if it is not known."""
    event: EvalEvent | None = None
    """The event as a model, for the kinds that only evalkit reads."""


class _PlainPeriod(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    start: str
    end: str


_number = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
_PLAIN_TYPES: dict[str, Any] = {"count": _number | None, "duration": tuple[_number, _number] | None}
_PlainMetrics = msgspec.defstruct(
    "_PlainMetrics",
    [
        *((name, _PLAIN_TYPES.get(metric.kind, float | None)) for name, metric in METRICS.items()),
        ("period", _PlainPeriod),
        ("custom", msgspec.Raw | msgspec.UnsetType, msgspec.UNSET),
    ],
    forbid_unknown_fields=True,
    gc=False,
)


class _PlainCheckpoint(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: Literal["checkpoint_recorded"]  # not msgspec's tag, which is optional
    id: str
    study_id: str
    timestamp: str
    metrics: _PlainMetrics  # type: ignore[valid-type]
    events_analyzed: _number
    sessions_included: list[str]
    provenance: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _PlainEnvelope(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    event_id: str
    event: _PlainCheckpoint
    written_at: str | msgspec.UnsetType = msgspec.UNSET


_UNSET = msgspec.UNSET
_plain_envelope = msgspec.json.Decoder(_PlainEnvelope).decode
_plain_custom = msgspec.json.Decoder(dict[str, int | float | None]).decode
_SHAPE = bytes(48 if byte in b"0123456789abcdef" else 45 if byte == 45 else 120 for byte in range(256))
_THREE_IDS = b"00000000-0000-0000-0000-000000000000" * 3
_METRICS_QUOTES = 2 * (len(METRICS) + 5)  # every key, the period's two, and its two times
_ENVELOPE_QUOTES = 28  # 9 keys and 5 texts


def _quotes_of_custom(text: bytes) -> int | None:
    """Return the number of quotation marks of `custom` and its value; None if malformed."""
    values = _plain_custom(text)
    quotes = text.count(b'"')
    return quotes + 2 if quotes == 2 * len(values) and custom_values(values) is not None else None


@lru_cache(maxsize=256)
def _collector(text: bytes) -> str | None:
    """Return the collector of a provenance; None if it is malformed."""
    try:
        return Provenance.model_validate_json(text, extra="ignore").collector
    except ValueError:
        return None


def _texts(data: bytes, *, ends_event: bool) -> tuple[str, str]:
    """Return the JSON texts of the metrics and of the sessions of a checkpoint.

    It must not have duplicate keys. In their usual order, the texts are found by the keys around them: a string cannot contain these,
    because it cannot contain an unescaped quotation mark. `ends_event` says that the event is without a provenance, the only part that
    can contain these keys, too.
    """
    text = data.decode()
    start = text.find('"metrics":{') + 10
    end = text.find('},"events_analyzed":', start) + 1
    first = text.find('"sessions_included":[', end) + 20
    last = text.rfind("]") + 1 if ends_event else text.find('"provenance":') - 1
    if 10 <= start < end < first < last and text[last - 1] == "]":
        return text[start:end], text[first:last]
    return _text_of(data, "metrics"), _text_of(data, "sessions_included")


def _decode_plain(data: bytes) -> DecodedEvent | None:
    """Return the event of a checkpoint in its usual form; None for any other bytes.

    Every key is required and no other key is allowed, so counting the quotation marks detects duplicate keys.
    """
    try:
        envelope = _plain_envelope(data)
        event = envelope.event
        measured: Any = event.metrics
        metrics, sessions = _texts(data, ends_event=event.provenance is _UNSET)
        timestamp = stored_time(event.timestamp)
        period_start, period_end = stored_time(measured.period.start), stored_time(measured.period.end)
        quotes: int | None = 0
        if measured.custom is not _UNSET:
            quotes = _quotes_of_custom(bytes(measured.custom))
        written_at = provenance = collector = None
        if event.provenance is not _UNSET and quotes is not None:
            text = bytes(event.provenance)
            provenance = text.decode()
            collector = _collector(text)
            quotes = None if collector is None else quotes + 2 + provenance.count('"')
        if envelope.written_at is not _UNSET and quotes is not None:
            written_at = written_time(envelope.written_at)
            quotes = quotes + 4 if written_at is not None else None
    except (ValueError, RecursionError):
        return None
    duration = measured.avg_session_duration
    event_id = envelope.event_id
    if (
        quotes is None
        or len(data) > MAX_EVENT_BYTES
        or data.count(b'"') != _ENVELOPE_QUOTES + _METRICS_QUOTES + quotes + sessions.count('"')
        or not len(event_id) == len(event.id) == 36
        or (event_id + event.id + event.study_id).encode().translate(_SHAPE) != _THREE_IDS
        or event_id[14] != "7"
        or event_id[19] not in "89ab"
        or event_id[0] > "d"  # may be after the year 9999
        or (duration is not None and duration[1] > 999_999_999)
    ):
        return None
    row: tuple[Any, ...] = (timestamp, metrics, event.events_analyzed, sessions, period_start, period_end, 1)
    if provenance is not None:
        row = (*row, provenance, collector, None)
    return DecodedEvent("checkpoint_recorded", event.study_id, envelope.event_id, event.id, row, written_at)


_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _text_of(data: bytes, field: str) -> str:
    """Return the JSON text of a field of the event.

    Of duplicate keys the last one is used, in the envelope and in the event.
    """
    return bytes(_fields_of(_fields_of(data)["event"])[field]).decode()


def decode(data: bytes) -> DecodedEvent:
    """Decode one event to the form that the read model stores.

    Raises
    ------
    InvalidEventError
        If `StoredEvalEvent.from_wire` would raise it for the same bytes.
    """
    if (plain := _decode_plain(data)) is not None:
        return plain
    stored = StoredEvalEvent.from_wire(data)
    event = stored.event
    if isinstance(event, StudyChanged):
        return DecodedEvent(event.type, event.id, stored.event_id, "", (), stored.written_at)
    if isinstance(event, StudyCreated):
        config = _text_of(data, "config")
        row: tuple[Any, ...] = (event.name, event.period_type.value, event.period_value, config)
        return DecodedEvent(event.type, event.id, stored.event_id, "", row, stored.written_at)
    if isinstance(event, CheckpointRecorded):
        period = event.metrics.period
        times = [stored_time(moment.wire) for moment in (event.timestamp, period.start, period.end)]  # type: ignore[attr-defined]
        metrics, sessions = _text_of(data, "metrics"), _text_of(data, "sessions_included")
        provenance, collector = (None, None) if event.provenance is None else (_text_of(data, "provenance"), event.provenance.collector)
        malformed = _malformed(data, stored, event)
        row = (times[0], metrics, event.events_analyzed, sessions, times[1], times[2], 0)
        if provenance is not None or malformed is not None:
            row = (*row, provenance, collector, malformed)
        return DecodedEvent(event.type, event.study_id, stored.event_id, event.id, row, stored.written_at)
    subject = ""
    if isinstance(event, MetricDefined):
        subject = event.metric.name
    elif isinstance(event, CheckpointAmended | CheckpointRetracted):
        subject = event.checkpoint_id
    elif isinstance(event, NoteAdded):
        subject = event.id
    body = bytes(_fields_of(data)["event"]).decode()
    return DecodedEvent(event.type, stored.study_id, stored.event_id, subject, (body,), stored.written_at, event)


def _malformed(data: bytes, stored: StoredEvalEvent, event: CheckpointRecorded) -> str | None:
    """Return the names of the optional parts that are present but invalid; None without any."""
    envelope = _fields_of(data)
    fields = _fields_of(envelope["event"])
    custom = _fields_of(fields["metrics"]).get("custom", _NULL)
    parts = {
        "metrics.custom": bytes(custom) != b"null" and custom_values(from_json(bytes(custom))) is None,
        "provenance": bytes(fields.get("provenance", _NULL)) != b"null" and event.provenance is None,
        "written_at": bytes(envelope.get("written_at", _NULL)) != b"null" and stored.written_at is None,
    }
    return ", ".join(name for name, is_invalid in parts.items() if is_invalid) or None


_NULL = msgspec.Raw(b"null")


def readable_ids(data: bytes) -> tuple[str, str]:
    """Return (study id, event id) of bytes that are not a valid event.

    An id that cannot be read is ``""``. The study id is read only from events of a known kind, because its key depends on the kind.
    """
    try:
        content = from_json(data[:MAX_EVENT_BYTES], allow_inf_nan=False)
        event_id = normalize_event_id(content["event_id"])
    except (ValueError, TypeError, KeyError):
        return "", ""
    try:
        event = content["event"]
        if event["type"] not in KINDS:
            return "", event_id
        return normalize_id(event[study_id_field(event["type"])]), event_id
    except (ValueError, TypeError, KeyError):
        return "", event_id
