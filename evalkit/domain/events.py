"""The six kinds of event, as models, and their wire format: one JSON object an event. `StoredEvalEvent.from_wire` says what is valid."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_serializer
from pydantic_core import from_json

from evalkit.domain.ids import normalize_event_id, normalize_id
from evalkit.domain.metrics import LongitudinalMetrics
from evalkit.domain.study import PeriodType, StudyConfig
from evalkit.domain.times import MAX_COUNT, UtcTime, duration_pair, wire_time
from evalkit.errors import InvalidInputError

__all__ = [
    "KINDS",
    "MAX_EVENT_BYTES",
    "CheckpointRecorded",
    "EncodedEvent",
    "EvalEvent",
    "InvalidEventError",
    "StoredEvalEvent",
    "StudyCreated",
    "StudyPaused",
    "StudyResumed",
    "StudyStarted",
    "StudyStopped",
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


class EncodedEvent(NamedTuple):
    """One event as it is appended to a log."""

    study_id: str
    """The message key: it decides the partition."""
    event_id: str
    data: bytes
    """The wire bytes, without a line's end."""


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
        """Return the event as one line of JSON, without the line's end."""
        return msgspec.json.encode(self._checkpoint() if isinstance(self.event, CheckpointRecorded) else self.model_dump(mode="json"))

    def _checkpoint(self) -> dict[str, Any]:
        """Return the wire form of a checkpoint, as ``model_dump`` does in ten times as long: a frame of 10,000 goes through here."""
        event = vars(self.event)
        metrics = vars(event["metrics"])
        duration, period = metrics["avg_session_duration"], metrics["period"]
        wire = {
            **metrics,
            "avg_session_duration": None if duration is None else duration_pair(duration),
            "period": {"start": wire_time(period.start), "end": wire_time(period.end)},
        }
        return {"event_id": self.event_id, "event": {**event, "timestamp": wire_time(event["timestamp"]), "metrics": wire}}

    def encoded(self) -> EncodedEvent:
        """Return the event as it is appended.

        Raises
        ------
        InvalidInputError
            When it is larger than an event may be.
        """
        data = self.to_wire()
        if len(data) > MAX_EVENT_BYTES:
            raise InvalidInputError(
                f"The event has {len(data):,} bytes; at most {MAX_EVENT_BYTES:,} are allowed",
                hint="Shorten its texts or list of sessions.", field="event", value=len(data),
            )  # fmt: skip
        return EncodedEvent(self.study_id, self.event_id, data)

    @property
    def study_id(self) -> str:
        """The study that the event belongs to; the log is partitioned by it."""
        return self.event.study_id if isinstance(self.event, CheckpointRecorded) else self.event.id


def _in_words(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"] if part not in KINDS)
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
