"""The handler of metric definitions: checks them, and appends those that are new."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from evalkit.domain.catalog import METRICS, is_custom_name
from evalkit.domain.definitions import LARGEST_CUSTOM_COUNT, UNITS, Metric
from evalkit.domain.refusals import a_type, invalid, unknown_name

__all__ = ["checked_metrics", "new_definitions"]

_MOST = 500
"""The largest number of custom metrics of a study."""


def checked_metrics(metrics: object, standard: Mapping[str, Metric]) -> list[Metric]:
    """Check metrics that a user passes: `Metric` objects, or names of standard definitions.

    Raises
    ------
    InvalidInputError
        When one is neither, has a reserved name, or two have the same name.
    """
    passed = [metrics] if isinstance(metrics, Metric | str) else metrics
    if isinstance(passed, Mapping):  # of names to definitions, such as STANDARD
        passed = passed.values()
    if not isinstance(passed, Iterable):
        raise invalid("metrics", metrics, 'expected Metric objects, or names in evalkit.metrics.STANDARD, e.g. ["tool_calls"]')
    checked: dict[str, Metric] = {}
    for item in passed:
        if isinstance(item, str) and item not in standard:
            raise unknown_name("standard metric", item, list(standard), field="metrics")
        metric = standard[item] if isinstance(item, str) else item
        if not isinstance(metric, Metric):
            raise invalid("metrics", item, f"expected a Metric, got {a_type(item)}")
        if not is_custom_name(metric.name):
            what = "one of the 16 metrics" if metric.name in METRICS else "the name of a column"
            raise invalid("name", metric.name, f"this is {what}", hint="Choose another name.")
        if metric.rollup == "ratio":
            raise invalid("rollup", metric.rollup, "only for cost_per_successful_task", "expected sum, weighted, min, max, last or none")
        if metric.kind == "count" and (metric.high or 0) > LARGEST_CUSTOM_COUNT:
            raise invalid("high", metric.high, f"expected at most {LARGEST_CUSTOM_COUNT:,}, the largest count of a custom metric")
        if metric.unit != UNITS.get(metric.kind, metric.unit):
            problem = f"the unit of a {metric.kind} is {UNITS[metric.kind]!r}"
            raise invalid("unit", metric.unit, problem, hint="For another unit, use kind='number'.")
        if metric.kind == "rate" and metric.unit == "%":
            raise invalid("unit", metric.unit, "a rate is from 0 to 1", hint="Record 5% as 0.05, or use kind='number'.")
        if metric.name in checked and checked[metric.name] != metric:
            raise invalid("metrics", metric.name, "defined twice, differently")
        checked[metric.name] = metric
    return list(checked.values())


def new_definitions(study: str, defined: Mapping[str, Metric], metrics: Sequence[Metric]) -> list[Metric]:
    """Return the definitions to append: new and redefined ones.

    Raises
    ------
    InvalidInputError
        When a definition contradicts the study's, or its denominator is not a count of the study.
    """
    counts = {
        name for name, metric in {**METRICS, **defined, **{metric.name: metric for metric in metrics}}.items() if metric.kind == "count"
    }
    new = []
    for metric in metrics:
        existing = defined.get(metric.name)
        if existing is not None and (differences := existing.differences(metric)):
            raise invalid(
                "metric", metric.name, f"study {study!r} defines it differently: {'; '.join(differences)}",
                hint="Define the other metric under a new name.",
            )  # fmt: skip
        if metric.denominator is not None and metric.denominator not in counts:
            raise unknown_name("denominator", metric.denominator, sorted(counts), field="denominator")
        if metric != existing:
            new.append(metric)
    if len(defined.keys() | {metric.name for metric in new}) > _MOST:
        raise invalid("metrics", len(defined) + len(new), f"a study can have at most {_MOST} custom metrics")
    return new
