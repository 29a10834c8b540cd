"""The six kinds of event, as models, and their wire format: one JSON object an event.

`StoredEvalEvent.from_wire` says what is valid. `decode` gives the projection the same events in the read model's terms,
faster: it recognises the usual shape by itself and leaves every doubt to the models, so both accept exactly the same bytes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_serializer
from pydantic_core import from_json

from evalkit.ids import normalize_event_id, normalize_id, time_of_event
from evalkit.metrics import METRICS, LongitudinalMetrics
from evalkit.study import PeriodType, StudyConfig
from evalkit.times import MAX_COUNT, UtcTime, stored_time

__all__ = [
    "KINDS",
    "MAX_EVENT_BYTES",
    "CheckpointRecorded",
    "DecodedEvent",
    "EvalEvent",
    "InvalidEventError",
    "StoredEvalEvent",
    "StudyCreated",
    "StudyPaused",
    "StudyResumed",
    "StudyStarted",
    "StudyStopped",
    "decode",
    "encode_checkpoint",
    "readable_ids",
]

MAX_EVENT_BYTES = 1 << 20

AnyId = Annotated[str, AfterValidator(normalize_id)]
EventId = Annotated[str, AfterValidator(normalize_event_id)]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]


class _Event(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class StudyCreated(_Event):
    """A study came into being, pending."""

    type: Literal["study_created"] = "study_created"
    id: AnyId
    name: str
    period_type: Annotated[PeriodType, Field(strict=False)]
    period_value: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None
    config: StudyConfig

    @field_serializer("config")
    def _leave_out_the_empty(self, config: StudyConfig) -> dict[str, Any]:
        return {name: value for name, value in config.model_dump().items() if value}


class StudyStarted(_Event):
    """A pending study began to run."""

    type: Literal["study_started"] = "study_started"
    id: AnyId


class StudyPaused(_Event):
    """A running study paused."""

    type: Literal["study_paused"] = "study_paused"
    id: AnyId


class StudyResumed(_Event):
    """A paused study ran on."""

    type: Literal["study_resumed"] = "study_resumed"
    id: AnyId


class StudyStopped(_Event):
    """A study ended for good."""

    type: Literal["study_stopped"] = "study_stopped"
    id: AnyId


class CheckpointRecorded(_Event):
    """One period's metrics were recorded."""

    type: Literal["checkpoint_recorded"] = "checkpoint_recorded"
    id: AnyId
    study_id: AnyId
    timestamp: UtcTime
    metrics: LongitudinalMetrics
    events_analyzed: Count
    sessions_included: list[str]


EvalEvent = StudyCreated | StudyStarted | StudyPaused | StudyResumed | StudyStopped | CheckpointRecorded
"""What can happen to a study."""

KINDS: tuple[str, ...] = (
    "study_created", "study_started", "study_paused", "study_resumed", "study_stopped", "checkpoint_recorded",
)  # fmt: skip
"""The names of the six kinds, in the order of the wire format's table."""


class InvalidEventError(ValueError):
    """Bytes that are not a valid event of a known kind; the message says why."""


class StoredEvalEvent(BaseModel):
    """One event as it stands in the log: its id, whose bits hold its time, and what happened."""

    model_config = ConfigDict(strict=True, frozen=True)

    event_id: EventId
    event: Annotated[EvalEvent, Field(discriminator="type")]

    @classmethod
    def from_wire(cls, data: bytes) -> StoredEvalEvent:
        """Read one event of at most 1 MiB of strict JSON; unknown fields are ignored, of equal keys the last counts.

        Raises
        ------
        InvalidEventError
            When `data` is not a valid event of a known kind.
        """
        if len(data) > MAX_EVENT_BYTES:
            raise InvalidEventError(f"{len(data)} bytes; an event has at most {MAX_EVENT_BYTES}")
        try:
            from_json(data, allow_inf_nan=False)  # NaN is no JSON, not even in a field that is ignored
            return cls.model_validate_json(data, extra="ignore")
        except ValidationError as error:
            raise InvalidEventError("; ".join(_in_words(problem) for problem in error.errors()[:3])) from None
        except ValueError as error:
            raise InvalidEventError(f"not strict JSON: {error}") from None

    def to_wire(self) -> bytes:
        """Give the event as one line of JSON, without the line's end."""
        return msgspec.json.encode(self.model_dump(mode="json"))

    @property
    def study_id(self) -> str:
        """The study that the event belongs to; the log is partitioned by it."""
        return self.event.study_id if isinstance(self.event, CheckpointRecorded) else self.event.id


def _in_words(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"] if part not in KINDS)
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


class DecodedEvent(NamedTuple):
    """A valid event in the read model's terms.

    `row` is what the kind adds to the read model, texts and times in the database's form: for `study_created` (name,
    period_type, period_value, config), for `checkpoint_recorded` (timestamp, metrics, events_analyzed, sessions_included,
    period_start, period_end, regular), else empty. `regular` is 1 when the metrics are written as evalkit and the Rust program
    write them: every key once and none besides.
    """

    kind: str
    study_id: str
    event_id: str
    checkpoint_id: str
    row: tuple[Any, ...]


class _PlainPeriod(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    start: str
    end: str


_number = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
_PLAIN_TYPES: dict[str, Any] = {"count": _number | None, "duration": tuple[_number, _number] | None}
_PlainMetrics = msgspec.defstruct(
    "_PlainMetrics",
    [*((name, _PLAIN_TYPES.get(metric.kind, float | None)) for name, metric in METRICS.items()), ("period", _PlainPeriod)],
    forbid_unknown_fields=True,
    gc=False,
)


class _PlainCheckpoint(msgspec.Struct, tag_field="type", tag="checkpoint_recorded", forbid_unknown_fields=True, gc=False):
    id: str
    study_id: str
    timestamp: str
    metrics: msgspec.Raw
    events_analyzed: _number
    sessions_included: msgspec.Raw


class _PlainEnvelope(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    event_id: str
    event: _PlainCheckpoint


_plain_envelope = msgspec.json.Decoder(_PlainEnvelope).decode
_plain_metrics: Any = msgspec.json.Decoder(_PlainMetrics).decode
_plain_sessions = msgspec.json.Decoder(list[str]).decode
_SHAPE = bytes(48 if byte in b"0123456789abcdef" else 45 if byte == 45 else 120 for byte in range(256))
_THREE_IDS = b"00000000-0000-0000-0000-000000000000" * 3
_METRICS_QUOTES = 2 * (len(METRICS) + 5)  # every key, the period's two, and its two times
_ENVELOPE_QUOTES = 28  # 9 keys and 5 texts


def _decode_plain(data: bytes) -> DecodedEvent | None:
    """Decode a checkpoint written in the usual shape; None where there is any doubt.

    The count of quotation marks proves that no key is there twice: each is required, and none besides is allowed.
    """
    try:
        envelope = _plain_envelope(data)
        event = envelope.event
        measured = _plain_metrics(event.metrics)
        _plain_sessions(event.sessions_included)
        metrics, sessions = str(event.metrics, "utf-8"), str(event.sessions_included, "utf-8")
        timestamp = stored_time(event.timestamp)
        period_start, period_end = stored_time(measured.period.start), stored_time(measured.period.end)
    except (ValueError, RecursionError):
        return None
    duration = measured.avg_session_duration
    event_id = envelope.event_id
    if (
        len(data) > MAX_EVENT_BYTES
        or data.count(b'"') != _ENVELOPE_QUOTES + _METRICS_QUOTES + sessions.count('"')
        or not len(event_id) == len(event.id) == 36
        or (event_id + event.id + event.study_id).encode().translate(_SHAPE) != _THREE_IDS
        or event_id[14] != "7"
        or event_id[19] not in "89ab"
        or event_id[0] > "d"  # perhaps after the year 9999
        or (duration is not None and duration[1] > 999_999_999)
    ):
        return None
    row = (timestamp, metrics, event.events_analyzed, sessions, period_start, period_end, 1)
    return DecodedEvent("checkpoint_recorded", event.study_id, envelope.event_id, event.id, row)


_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _text_of(data: bytes, field: str) -> str:
    """Give a field of the event as it is written; of equal keys the last counts, at both levels."""
    return bytes(_fields_of(_fields_of(data)["event"])[field]).decode()


def decode(data: bytes) -> DecodedEvent:
    """Read one event into the read model's terms.

    Raises
    ------
    InvalidEventError
        Exactly where `StoredEvalEvent.from_wire` raises it.
    """
    if (plain := _decode_plain(data)) is not None:
        return plain
    stored = StoredEvalEvent.from_wire(data)
    event = stored.event
    row: tuple[Any, ...] = ()
    checkpoint_id = ""
    if isinstance(event, StudyCreated):
        config = _text_of(data, "config")
        row = (event.name, event.period_type.value, event.period_value, config)
    elif isinstance(event, CheckpointRecorded):
        checkpoint_id = event.id
        period = event.metrics.period
        times = [stored_time(moment.wire) for moment in (event.timestamp, period.start, period.end)]  # type: ignore[attr-defined]
        metrics, sessions = _text_of(data, "metrics"), _text_of(data, "sessions_included")
        row = (times[0], metrics, event.events_analyzed, sessions, times[1], times[2], 0)
    return DecodedEvent(event.type, stored.study_id, stored.event_id, checkpoint_id, row)


def readable_ids(data: bytes) -> tuple[str, str]:
    """Give (study id, event id) of bytes that are no valid event, as far as they can be read; ``""`` where they cannot.

    The study can be read only from a known kind: nobody knows where another kind keeps it.
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
        return normalize_id(event["study_id" if event["type"] == "checkpoint_recorded" else "id"]), event_id
    except (ValueError, TypeError, KeyError):
        return "", event_id


def encode_checkpoint(  # noqa: PLR0917  (the fields of the wire, in its order)
    event_id: str, checkpoint_id: str, study_id: str, timestamp: str, metrics: dict[str, Any], events_analyzed: int, sessions: list[str]
) -> bytes:
    """Give the wire bytes of a checkpoint from checked values; `metrics` holds all 16 in wire order, then the period.

    The same bytes as `StoredEvalEvent.to_wire`, about ten times faster: a frame of 10,000 goes through here.
    """
    return msgspec.json.encode(
        {
            "event_id": event_id,
            "event": {
                "type": "checkpoint_recorded",
                "id": checkpoint_id,
                "study_id": study_id,
                "timestamp": timestamp,
                "metrics": metrics,
                "events_analyzed": events_analyzed,
                "sessions_included": sessions,
            },
        }
    )


def event_time_text(event_id: str) -> str:
    """Give the time inside an event id in the read model's width."""
    return time_of_event(event_id).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
