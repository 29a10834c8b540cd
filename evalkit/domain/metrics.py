"""The metric catalogue: the 16 numbers of a checkpoint, in wire order, and all that is known about each.

`LongitudinalMetrics` is the only list. `METRICS` is read from its fields, and columns, dtypes, axes, forms, checks and the
README's table are made from `METRICS`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from evalkit.domain.times import MAX_COUNT, Duration, UtcTime

__all__ = ["METRICS", "LongitudinalMetrics", "Metric", "TimePeriod", "constructed"]

_Model = TypeVar("_Model", bound=BaseModel)


@cache
def _all_fields(kind: type[BaseModel]) -> set[str]:
    return set(kind.model_fields)


def constructed(kind: type[_Model], values: dict[str, Any]) -> _Model:
    """Return a model of values that were checked already; all of its fields must be there.

    pydantic's own ``model_construct`` does the same, looks at every field, and takes ten times as long: 10,000 rows go through here.
    """
    model = kind.__new__(kind)
    fill = object.__setattr__
    fill(model, "__dict__", values)
    fill(model, "__pydantic_fields_set__", _all_fields(kind))
    fill(model, "__pydantic_extra__", None)
    fill(model, "__pydantic_private__", None)
    return model


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What is known about one metric.

    Attributes
    ----------
    name
        The key on the wire and the column in frames.
    label
        For axes and forms.
    unit
        ``""`` for counts and rates, ``"s"``, ``"US$"``, ``"tokens"``.
    kind
        ``count`` (whole, 0 to 2^63 - 1), ``rate`` (0 to 1), ``number``, ``money`` (US dollars), ``duration``.
    format
        A d3-format pattern, as Altair and Vega read it.
    low, high
        The range that commands accept, both ends included; None is unbounded. A rate that is outside by at most 1e-6, which is
        rounding, is recorded as the bound.
    group
        The heading it stands under.
    denominator
        The recorded metric that counts what this one is a mean over; None when no metric records it.
    rollup
        How checkpoints combine into a longer period: ``sum``; ``weighted`` by the denominator; ``ratio``: the sum of total_cost
        over the sum of the successes that it implies (total_cost / cost_per_successful_task); ``none``: what it is a mean over
        is not recorded, so a combined value cannot be known.
    better
        The direction in which a higher value points: ``up``, ``down`` or ``neither``.
    description
        One sentence: the meaning.
    """

    name: str = ""
    label: str
    unit: str = ""
    kind: Literal["count", "rate", "number", "money", "duration"]
    format: str
    low: float = 0
    high: float | None = None
    group: Literal["Volume", "Success", "Effort", "Coordination", "Learning", "Cost"]
    denominator: str | None = None
    rollup: Literal["sum", "weighted", "ratio", "none"]
    better: Literal["up", "down", "neither"]
    description: str


def _count(label: str, group: Literal["Volume", "Learning"], description: str, unit: str = "") -> Metric:
    return Metric(
        label=label, unit=unit, kind="count", format=",d", high=MAX_COUNT, group=group, rollup="sum", better="neither",
        description=description,
    )  # fmt: skip


def _rate(
    label: str,
    group: Literal["Success", "Coordination", "Learning"],
    description: str,
    *,
    denominator: str | None = None,
    better: Literal["up", "down"] = "up",
) -> Metric:
    return Metric(
        label=label, kind="rate", format=".1%", high=1, group=group, denominator=denominator,
        rollup="weighted" if denominator else "none", better=better, description=description,
    )  # fmt: skip


class TimePeriod(BaseModel):
    """The half-open time ``[start, end)`` that a checkpoint describes."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    start: UtcTime
    """Included. Time-zone-aware; held in UTC."""
    end: UtcTime
    """Not included."""


Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class LongitudinalMetrics(BaseModel):
    """The 16 metrics of one period. A metric that was not measured is None; zero is a measurement.

    The model holds whatever a valid event may hold: a rate of 1.5 in the log is read as it stands. The ranges in `METRICS`
    are checked when a checkpoint is recorded.

    Raises
    ------
    pydantic.ValidationError
        (a `ValueError`) for an unknown name, a wrong type, a number that is not finite, or a count outside 0 to 2^63 - 1.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    sessions_completed: Annotated[Count | None, _count("Sessions completed", "Volume", "Agent sessions that ended in the period.")] = None
    session_success_rate: Annotated[
        Number | None,
        _rate("Session success rate", "Success", "Sessions that reached their goal, of those completed.", denominator="sessions_completed"),
    ] = None
    avg_session_duration: Annotated[
        Duration | None,
        Metric(
            label="Average session duration", unit="s", kind="duration", format=",.1f", group="Effort", denominator="sessions_completed",
            rollup="weighted", better="down", description="Mean wall-clock time of a completed session.",
        ),
    ] = None  # fmt: skip
    tasks_completed: Annotated[Count | None, _count("Tasks completed", "Volume", "Tasks that the agent worked to an end.")] = None
    first_attempt_success_rate: Annotated[
        Number | None,
        _rate(
            "First-attempt success rate", "Success", "Tasks solved at the first attempt, of those completed.", denominator="tasks_completed"
        ),
    ] = None
    avg_iterations_to_success: Annotated[
        Number | None,
        Metric(
            label="Average iterations to success", kind="number", format=".2f", group="Effort", rollup="none", better="down",
            description="Mean number of attempts that a solved task took; the number of solved tasks is not recorded.",
        ),
    ] = None  # fmt: skip
    agent_efficiency: Annotated[Number | None, _rate("Agent efficiency", "Success", "Useful share of the agent's work.")] = None
    tool_success_rate: Annotated[
        Number | None, _rate("Tool success rate", "Success", "Tool calls that succeeded, of all; their number is not recorded.")
    ] = None
    self_correction_rate: Annotated[
        Number | None, _rate("Self-correction rate", "Success", "Failures that the agent mended itself; their number is not recorded.")
    ] = None
    swarm_coordination_overhead: Annotated[
        Number | None,
        _rate("Swarm coordination overhead", "Coordination", "Share of the work spent on coordinating agents.", better="down"),
    ] = None
    parallelism_efficiency: Annotated[
        Number | None, _rate("Parallelism efficiency", "Coordination", "Achieved share of the ideal parallel speed-up.")
    ] = None
    learnings_applied: Annotated[
        Count | None, _count("Learnings applied", "Learning", "Earlier learnings that the agent used in the period.")
    ] = None
    learning_effectiveness: Annotated[
        Number | None, _rate("Learning effectiveness", "Learning", "Share of the applied learnings that helped.")
    ] = None
    total_tokens: Annotated[Count | None, _count("Total tokens", "Volume", "Tokens read and written by all models.", unit="tokens")] = None
    total_cost: Annotated[
        Number | None,
        Metric(
            label="Total cost", unit="US$", kind="money", format="$,.2f", group="Cost", rollup="sum", better="neither",
            description="Money spent in the period.",
        ),
    ] = None  # fmt: skip
    cost_per_successful_task: Annotated[
        Number | None,
        Metric(
            label="Cost per successful task", unit="US$", kind="money", format="$,.2f", group="Cost", rollup="ratio", better="down",
            description="Total cost over the tasks that were solved.",
        ),
    ] = None  # fmt: skip
    period: TimePeriod
    """The time described."""

    def measured(self) -> dict[str, Any]:
        """Give the metrics that are not missing, by name, in wire order."""
        return {name: value for name in METRICS if (value := getattr(self, name)) is not None}


def _catalogue() -> dict[str, Metric]:
    entries = {}
    for name, field in LongitudinalMetrics.model_fields.items():
        for entry in field.metadata:
            if isinstance(entry, Metric):
                entries[name] = replace(entry, name=name)
    return entries


METRICS: dict[str, Metric] = _catalogue()
"""The 16 metrics by name, in wire order."""
