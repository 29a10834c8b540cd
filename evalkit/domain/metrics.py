"""The values of a checkpoint: its period, the 16 metrics, and custom ones."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evalkit.domain.catalog import METRICS
from evalkit.domain.lenient import MAX_CUSTOM, CustomChanges, CustomValues, custom_values
from evalkit.domain.refusals import invalid, unknown_name
from evalkit.domain.times import MAX_COUNT, Duration, UtcTime
from evalkit.errors import InvalidInputError

__all__ = ["LongitudinalMetrics", "MetricChanges", "TimePeriod", "constructed"]

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


class _MetricValues(_Constructed):
    """The 16 metrics, in wire order."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    sessions_completed: Count | None = None
    session_success_rate: Number | None = None
    avg_session_duration: Duration | None = None
    tasks_completed: Count | None = None
    first_attempt_success_rate: Number | None = None
    avg_iterations_to_success: Number | None = None
    agent_efficiency: Number | None = None
    tool_success_rate: Number | None = None
    self_correction_rate: Number | None = None
    swarm_coordination_overhead: Number | None = None
    parallelism_efficiency: Number | None = None
    learnings_applied: Count | None = None
    learning_effectiveness: Number | None = None
    total_tokens: Count | None = None
    total_cost: Number | None = None
    cost_per_successful_task: Number | None = None


class LongitudinalMetrics(_MetricValues):
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

    period: TimePeriod
    """The period that the metrics describe."""
    custom: CustomValues = Field(default_factory=dict)
    """The values of the study's own metrics, by name."""

    def __init__(self, *positional: object, **values: Any) -> None:
        if values.get("custom") is not None and custom_values(values["custom"]) is None:
            problem = f"expected at most {MAX_CUSTOM} finite numbers by name, each name with lowercase letters, digits and underscores"
            raise invalid("custom", values["custom"], problem)
        super().__init__(*positional, **values)

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # so that reading an event does not call it

    def measured(self) -> dict[str, Any]:
        """Return the metrics that have a value, by name: the 16 in wire order, then custom ones.

        Examples
        --------
        >>> from datetime import UTC, datetime
        >>> period = TimePeriod(start=datetime(2026, 1, 1, tzinfo=UTC), end=datetime(2026, 1, 2, tzinfo=UTC))
        >>> LongitudinalMetrics(total_cost=1.5, period=period).measured()
        {'total_cost': 1.5}
        """
        return {name: value for name in METRICS if (value := getattr(self, name)) is not None} | self.custom

    def counted(self) -> str:
        """Return the number of metrics with a value as text.

        Examples
        --------
        >>> day = TimePeriod(start="2026-01-31T00:00:00Z", end="2026-02-01T00:00:00Z")
        >>> LongitudinalMetrics(total_cost=1, custom={"retries": 2}, period=day).counted()
        '1 of 16 metrics, 1 custom'
        """
        standard = sum(getattr(self, name) is not None for name in METRICS)
        return f"{standard} of {len(METRICS)} metrics" + (f", {len(self.custom)} custom" if self.custom else "")


class MetricChanges(_MetricValues):
    """The metrics that an amendment changes; None withdraws a value.

    Examples
    --------
    >>> MetricChanges(total_cost=2.5, tasks_completed=None).changed()
    {'tasks_completed': None, 'total_cost': 2.5}
    """

    custom: CustomChanges = Field(default_factory=dict)

    def changed(self) -> dict[str, Any]:
        """Return the changed metrics by name: the 16 in wire order, then custom ones."""
        return {name: getattr(self, name) for name in METRICS if name in self.model_fields_set} | self.custom
