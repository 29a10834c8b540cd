"""The metric catalog: the 16 metrics of a checkpoint, in wire order.

`LongitudinalMetrics` declares the metrics, with label, unit, range and direction. `METRICS` is read from its fields. Columns, dtypes, axes,
forms, checks and the tables of the docs are generated from `METRICS`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evalkit.domain.refusals import invalid, unknown_name
from evalkit.domain.times import MAX_COUNT, Duration, UtcTime
from evalkit.errors import InvalidInputError

__all__ = ["METRICS", "LongitudinalMetrics", "Metric", "TimePeriod", "constructed"]

_Model = TypeVar("_Model", bound=BaseModel)


@cache
def _all_fields(kind: type[BaseModel]) -> set[str]:
    return set(kind.model_fields)


def constructed(kind: type[_Model], values: dict[str, Any]) -> _Model:
    """Return a model of values that are already validated, without validating them again.

    `values` must have a value for each field. pydantic's ``model_construct`` does the same, but takes ten times as long, because it
    inspects every field; this is noticeable for 10,000 rows.
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
    """The description of one metric.

    Examples
    --------
    >>> metric = METRICS["total_cost"]
    >>> metric.label, metric.unit, metric.better
    ('Total cost', 'US$', 'neither')

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
        The accepted range, both ends included; None is unbounded. A rate that exceeds a bound by at most 1e-6, as after rounding errors, is
        recorded as the bound.
    group
        The heading for tables and forms.
    denominator
        The metric with the number of units that this metric averages over, for example sessions_completed; None if that number is not
        recorded.
    rollup
        The aggregation of several checkpoints: ``sum``; ``weighted`` by the denominator; ``ratio``, the sum of total_cost divided by the
        sum of solved tasks (total_cost / cost_per_successful_task of each checkpoint); ``none``, because the denominator is not recorded
        and a pooled value cannot be computed.
    better
        The direction of improvement: ``up``, ``down`` or ``neither``.
    description
        The meaning, in one sentence.
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


class _Constructed(BaseModel):
    """A model whose constructor raises `InvalidInputError`."""

    def __init__(self, *positional: object, **values: Any) -> None:
        if positional:
            name, first = type(self).__name__, next(iter(type(self).model_fields))
            raise InvalidInputError(
                f"{name} takes keyword arguments only", hint=f"Write {name}({first}=..., ...).", field=first, value=positional[0]
            )
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _invalid_input(error) from None

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # validating an event does not call it


def _invalid_input(error: ValidationError) -> InvalidInputError:
    """Return the first of pydantic's errors as an `InvalidInputError`."""
    problem = error.errors(include_url=False)[0]
    name, value = ".".join(map(str, problem["loc"])), problem["input"]
    if problem["type"] == "extra_forbidden" and len(problem["loc"]) == 1 and error.title == "LongitudinalMetrics":
        return unknown_name("metric", name, [*METRICS, "period"], field=name)
    if problem["type"] == "extra_forbidden":
        return invalid(name, value, "unknown name", "expected start and end")
    if problem["type"] == "missing":
        return InvalidInputError(f"{name} is missing", hint=f"Pass {name}=.", field=name, value=None)
    text = problem["msg"].removeprefix("Value error, ").removeprefix(f"{value!r} is ").replace("Input should be ", "expected ")
    return invalid(name, value, text.replace("expected greater", "expected a number greater"))


class TimePeriod(_Constructed):
    """The half-open interval ``[start, end)`` that a checkpoint describes.

    Examples
    --------
    >>> period = TimePeriod(start="2026-01-31T00:00:00Z", end="2026-02-01T00:00:00Z")
    >>> period.end - period.start
    datetime.timedelta(days=1)
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    start: UtcTime
    """The start, included; time-zone-aware, stored in UTC."""
    end: UtcTime
    """The end, excluded."""


Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class LongitudinalMetrics(_Constructed):
    """The 16 metrics of one period. None means "not measured"; zero is a measurement.

    The model accepts every value of a valid event, for example a rate of 1.5 in the log. The ranges in `METRICS` are checked when a
    checkpoint is recorded.

    Raises
    ------
    InvalidInputError
        A `ValueError`, for an unknown name, a wrong type, a number that is not finite, or a count outside 0 to 2^63 - 1.

    Examples
    --------
    >>> day = TimePeriod(start="2026-01-31T00:00:00Z", end="2026-02-01T00:00:00Z")
    >>> LongitudinalMetrics(session_success_rate=0.85, total_cost=0, period=day).measured()
    {'session_success_rate': 0.85, 'total_cost': 0.0}
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    sessions_completed: Annotated[Count | None, _count("Sessions completed", "Volume", "Agent sessions that ended in the period.")] = None
    session_success_rate: Annotated[
        Number | None,
        _rate("Session success rate", "Success", "Completed sessions that reached their goal.", denominator="sessions_completed"),
    ] = None
    avg_session_duration: Annotated[
        Duration | None,
        Metric(
            label="Average session duration", unit="s", kind="duration", format=",.1f", group="Effort", denominator="sessions_completed",
            rollup="weighted", better="down", description="Mean wall-clock time of a completed session.",
        ),
    ] = None  # fmt: skip
    tasks_completed: Annotated[Count | None, _count("Tasks completed", "Volume", "Tasks that the agent finished, solved or not.")] = None
    first_attempt_success_rate: Annotated[
        Number | None,
        _rate("First-attempt success rate", "Success", "Completed tasks solved at the first attempt.", denominator="tasks_completed"),
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
        Number | None, _rate("Tool success rate", "Success", "Tool calls that succeeded, of all tool calls; their number is not recorded.")
    ] = None
    self_correction_rate: Annotated[
        Number | None,
        _rate("Self-correction rate", "Success", "Failures that the agent corrected without help; their number is not recorded."),
    ] = None
    swarm_coordination_overhead: Annotated[
        Number | None,
        _rate("Swarm coordination overhead", "Coordination", "Share of the work spent on coordinating agents.", better="down"),
    ] = None
    parallelism_efficiency: Annotated[
        Number | None, _rate("Parallelism efficiency", "Coordination", "Achieved share of the ideal parallel speedup.")
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
            description="Total cost divided by the number of solved tasks.",
        ),
    ] = None  # fmt: skip
    period: TimePeriod
    """The period that the metrics describe."""

    def measured(self) -> dict[str, Any]:
        """Return the metrics that are not None, by name, in wire order.

        Examples
        --------
        >>> from datetime import UTC, datetime
        >>> period = TimePeriod(start=datetime(2026, 1, 1, tzinfo=UTC), end=datetime(2026, 1, 2, tzinfo=UTC))
        >>> LongitudinalMetrics(total_cost=1.5, period=period).measured()
        {'total_cost': 1.5}
        """
        return {name: value for name in METRICS if (value := getattr(self, name)) is not None}


def _catalog() -> dict[str, Metric]:
    entries = {}
    for name, field in LongitudinalMetrics.model_fields.items():
        for entry in field.metadata:
            if isinstance(entry, Metric):
                entries[name] = replace(entry, name=name)
    return entries


METRICS: dict[str, Metric] = _catalog()
"""The 16 metrics by name, in wire order."""
