"""A reader as strict as the Rust program that the wire format comes from; nothing of evalkit is imported here.

Its structs have exact types and required fields. As serde does, it ignores unknown fields, refuses unknown kinds and a known field that is
repeated, and refuses a whole event for a number beyond float64 or for nesting deeper than 127, also in a field that it ignores.
"""

from __future__ import annotations

import json
import math
import re
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

__all__ = ["rust_reads"]

U64 = Annotated[int, Field(ge=0, le=2**64 - 1)]
U32 = Annotated[int, Field(ge=0, le=2**32 - 1)]
F64 = Annotated[float, Field(allow_inf_nan=False)]
Id = Annotated[str, AfterValidator(lambda text: str(UUID(text)))]
Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)$")]
_DEEPEST = 127


class Struct(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class Period(Struct):
    start: Time
    end: Time


class Metrics(Struct):
    sessions_completed: U64
    session_success_rate: F64
    avg_session_duration: tuple[U64, Annotated[int, Field(ge=0, lt=10**9)]]
    tasks_completed: U64
    first_attempt_success_rate: F64
    avg_iterations_to_success: F64
    agent_efficiency: F64
    tool_success_rate: F64
    self_correction_rate: F64
    swarm_coordination_overhead: F64
    parallelism_efficiency: F64
    learnings_applied: U64
    learning_effectiveness: F64
    total_tokens: U64
    total_cost: F64
    cost_per_successful_task: F64
    period: Period


class Config(Struct):
    description: str | None = None
    tags: list[str] = []
    metadata: dict[str, str] = {}


class Created(Struct):
    type: Literal["study_created"]
    id: Id
    name: str
    period_type: Literal["hourly", "daily", "weekly", "monthly"]
    period_value: U32 | None = None
    config: Config


class Changed(Struct):
    type: Literal["study_started", "study_paused", "study_resumed", "study_stopped"]
    id: Id


class Recorded(Struct):
    type: Literal["checkpoint_recorded"]
    id: Id
    study_id: Id
    timestamp: Time
    metrics: Metrics
    events_analyzed: U64
    sessions_included: list[str]


class Envelope(Struct):
    event_id: Id
    event: Annotated[Created | Changed | Recorded, Field(discriminator="type")]


_KNOWN = {name for struct in (Period, Metrics, Config, Created, Recorded, Envelope) for name in struct.model_fields}
_envelope = TypeAdapter(Envelope)


def rust_reads(line: bytes) -> Envelope:
    """Return the event of a line.

    Raises
    ------
    ValueError
        When the Rust program would refuse it.
    """
    content = json.loads(line.decode(), object_pairs_hook=_members, parse_float=_float, parse_int=_int, parse_constant=_refuse)
    if _depth(content) > _DEEPEST:
        raise ValueError("recursion limit exceeded")
    return _envelope.validate_python(_with_pairs(content))


def _members(members: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in members if name in _KNOWN]
    if len(names) != len(set(names)):
        raise ValueError("duplicate field")
    return dict(members)


def _float(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError("number out of range")
    return value


def _int(text: str) -> int | float:
    """Return a 64-bit integer; serde_json reads any other one, and -0, as a float."""
    value = int(text) if re.fullmatch(r"-?\d{1,20}", text) else 2**64
    return value if text != "-0" and -(2**63) <= value < 2**64 else _float(text)


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _depth(content: Any) -> int:
    children = content.values() if isinstance(content, dict) else content if isinstance(content, list) else None
    return 0 if children is None else 1 + max(map(_depth, children), default=0)


def _with_pairs(content: Any) -> Any:
    """Return the content with a tuple for each list of two numbers, which pydantic's strict mode requires."""
    if isinstance(content, dict):
        return {name: _with_pairs(value) for name, value in content.items()}
    if isinstance(content, list) and len(content) == 2 and all(isinstance(item, int | float) for item in content):
        return tuple(content)
    return content
