"""Optional parts of events: a malformed part counts as absent, and the event stays valid."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator, ValidationError

from evalkit.domain.catalog import is_custom_name
from evalkit.domain.times import WireTime, stored_time

__all__ = [
    "MAX_CUSTOM", "CustomChanges", "CustomValues", "Provenance", "ProvenanceOrNone", "Source", "WrittenAt", "custom_values",
    "provenance_of", "written_time",
]  # fmt: skip

MAX_CUSTOM = 200
"""The largest number of custom metrics of a checkpoint."""
_LARGEST_INTEGER = 2**53
is_sha256 = re.compile("[0-9a-f]{64}").fullmatch


def custom_values(values: object) -> dict[str, float | None] | None:
    """Return the custom metrics of an event; None if they are malformed.

    Examples
    --------
    >>> custom_values({"refusal_rate": 0.1, "retries": None}), custom_values({"Refusals": 1})
    ({'refusal_rate': 0.1, 'retries': None}, None)
    """
    if not isinstance(values, Mapping) or len(values) > MAX_CUSTOM:
        return None
    return dict(values) if all(is_custom_name(name) and _is_value(value) for name, value in values.items()) else None


def _is_value(value: object) -> bool:
    if type(value) is float:
        return math.isfinite(value)
    return value is None or (type(value) is int and abs(value) <= _LARGEST_INTEGER)


def _custom_changes(values: object) -> dict[str, float | None]:
    return custom_values(values) or {}


def _measured(values: object) -> dict[str, float]:
    return {name: value for name, value in (custom_values(values) or {}).items() if value is not None}


CustomValues = Annotated[dict[str, float], PlainValidator(_measured)]
"""Custom metrics that were measured, by name."""
CustomChanges = Annotated[dict[str, float | None], PlainValidator(_custom_changes)]
"""Changed custom metrics by name; None withdraws a value."""


class Source(BaseModel):
    """A file that a checkpoint was computed from."""

    model_config = ConfigDict(strict=True, frozen=True, defer_build=True)

    name: str
    sha256: str | None = None


class Provenance(BaseModel):
    """The origin of a checkpoint's values.

    Examples
    --------
    >>> Provenance(collector="inspect", models=["m-1"]).models
    ['m-1']
    """

    model_config = ConfigDict(strict=True, frozen=True, defer_build=True)

    collector: str
    """The program that computed the values."""
    version: str | None = None
    sources: list[Source] = []
    models: list[str] = []
    agent: str | None = None
    agent_version: str | None = None
    cost_basis: Literal["reported", "estimated"] | None = None
    prices: str | None = None
    """The name of the list of prices, for estimated costs."""
    evidence: str | None = None
    """The hash of the sessions that the values were computed from."""


def provenance_of(values: object) -> Provenance | None:
    """Return the provenance in an event, without unknown fields; None if absent or malformed."""
    if isinstance(values, Provenance):
        return values
    try:
        return Provenance.model_validate(values, extra="ignore")
    except ValidationError:
        return None


def written_time(value: object) -> str | None:
    """Return a time in the format of the read model; None if it is absent or malformed."""
    if isinstance(value, WireTime):
        value = value.wire
    return _stored_time(value) if isinstance(value, str) else None


@lru_cache(maxsize=64)  # events that are appended together have the same time
def _stored_time(text: str) -> str | None:
    try:
        return stored_time(text)
    except ValueError:
        return None


WrittenAt = Annotated[str | None, PlainValidator(written_time)]
"""When an event was appended, by the clock of its writer, in the format of the read model."""


def _without_defaults(provenance: Provenance | None) -> dict[str, object] | None:
    return None if provenance is None else provenance.model_dump(exclude_defaults=True)


ProvenanceOrNone = Annotated[Provenance | None, PlainValidator(provenance_of), PlainSerializer(_without_defaults, when_used="json")]
