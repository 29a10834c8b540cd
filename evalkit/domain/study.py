"""Studies and checkpoints as models, and the lifecycle that a study goes through."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, field_validator

from evalkit.domain.ids import CheckpointId, StudyId
from evalkit.domain.metrics import LongitudinalMetrics
from evalkit.domain.times import UtcTime

__all__ = ["TRANSITIONS", "Checkpoint", "PeriodType", "Study", "StudyConfig", "StudyStatus", "commands_allowed"]


class PeriodType(StrEnum):
    """The length of one checkpoint's period: an hour, a day, 7 days or a calendar month (UTC)."""

    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


class StudyStatus(StrEnum):
    """Where a study stands in its lifecycle."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


TRANSITIONS: dict[str, tuple[frozenset[StudyStatus], StudyStatus]] = {
    "study_started": (frozenset({StudyStatus.PENDING}), StudyStatus.RUNNING),
    "study_paused": (frozenset({StudyStatus.RUNNING}), StudyStatus.PAUSED),
    "study_resumed": (frozenset({StudyStatus.PAUSED}), StudyStatus.RUNNING),
    "study_stopped": (frozenset({StudyStatus.PENDING, StudyStatus.RUNNING, StudyStatus.PAUSED}), StudyStatus.STOPPED),
}
"""For each lifecycle event: the statuses that it is legal in, and the status that it leads to."""

COMMANDS = {"start": "study_started", "pause": "study_paused", "resume": "study_resumed", "stop": "study_stopped"}
"""For each lifecycle command: the event that it appends."""


def commands_allowed(status: StudyStatus) -> list[str]:
    """Give the lifecycle commands that are legal in a status: any of start, pause, resume, stop."""
    return [command for command, kind in COMMANDS.items() if status in TRANSITIONS[kind][0]]


class StudyConfig(BaseModel):
    """What a study is about. Each part is left out on the wire when empty."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    description: str | None = None
    """Free text."""
    tags: list[str] = Field(default_factory=list)
    """Labels to filter by."""
    metadata: dict[str, str] = Field(default_factory=dict)
    """Notes by name, such as the model or the commit."""

    @field_validator("metadata", mode="before")
    @classmethod
    def _last_of_equal_keys(cls, metadata: object) -> object:
        return metadata  # as a dict it holds the last of equal keys; read directly from JSON, each of them would have to be text


class Study(BaseModel):
    """A longitudinal study as the read model knows it at one moment."""

    model_config = ConfigDict(frozen=True)

    id: StudyId
    name: str
    status: StudyStatus
    period_type: PeriodType
    period_value: int | None
    """The planned number of periods; None until stopped. It limits nothing."""
    config: StudyConfig
    created_at: UtcTime
    """UTC, to the millisecond: the time inside the creating event's id."""
    started_at: UtcTime | None
    stopped_at: UtcTime | None

    @property
    def period(self) -> str:
        """The period as it is written in commands: ``daily``, ``weekly:8``."""
        return self.period_type if self.period_value is None else f"{self.period_type}:{self.period_value}"

    def __repr__(self) -> str:
        return f"Study({self.name!r}, {self.status}, {self.period})"

    __str__ = __repr__


class Checkpoint(BaseModel):
    """One period's measurements of one study."""

    model_config = ConfigDict(frozen=True)

    id: CheckpointId
    study_id: StudyId
    timestamp: UtcTime
    """When it was taken; by default the period's end."""
    metrics: LongitudinalMetrics
    events_analyzed: int
    """The number of session events that the metrics were computed from; 0 when not said."""
    sessions_included: list[str]
    """The names of the sessions that were counted."""
    recorded_at: UtcTime
    """UTC, to the millisecond: the time inside the recording event's id."""
    already_recorded: bool = Field(default=False, exclude=True)
    """True when a command found the same content under the same key, and appended nothing."""

    def __repr__(self) -> str:
        period = self.metrics.period
        measured = len(self.metrics.measured())
        again = ", already recorded" if self.already_recorded else ""
        return f"Checkpoint([{period.start:%Y-%m-%d %H:%M} .. {period.end:%Y-%m-%d %H:%M}) UTC, {measured} of 16 metrics{again})"

    __str__ = __repr__
