"""``evalkit metric``: define and list custom metrics."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from evalkit.cli.common import AsOf, Command, OptionalRef, Ref, group, state
from evalkit.cli.tables import json_rows, printable, table
from evalkit.domain.definitions import Better, Kind
from evalkit.metrics import STANDARD, Metric

__all__ = ["metric_app"]

metric_app = group("Define and list custom metrics of studies.")


@metric_app.command("define", cls=Command)
def define(
    ctx: typer.Context,
    ref: Ref,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Name of the metric: lowercase letters, digits and underscores.")
    ] = None,
    *,
    kind: Annotated[Kind | None, typer.Option(help="Set the kind of the values (required with NAME).")] = None,
    better: Annotated[Better | None, typer.Option(help="Set the direction of improvement (required with NAME).")] = None,
    unit: Annotated[str | None, typer.Option(metavar="TEXT", help="Set the unit. [default: US$ for money, s for durations]")] = None,
    label: Annotated[str | None, typer.Option(metavar="TEXT", help="Set the label in charts and tables. [default: from the name]")] = None,
    low: Annotated[float | None, typer.Option(metavar="NUMBER", help="Set the lower bound, included. [default: that of the kind]")] = None,
    high: Annotated[float | None, typer.Option(metavar="NUMBER", help="Set the upper bound, included. [default: that of the kind]")] = None,
    denominator: Annotated[
        str | None, typer.Option(metavar="NAME", help="Set the count that the metric is a mean or rate over, such as sessions_completed.")
    ] = None,
    rollup: Annotated[
        Literal["sum", "weighted", "min", "max", "last", "none"] | None,
        typer.Option(help="Set how checkpoints combine into a longer period. [default: from the kind]"),
    ] = None,
    heading: Annotated[str | None, typer.Option("--group", metavar="TEXT", help="Set the heading in tables. [default: Custom]")] = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="Describe the metric in one sentence.")] = None,
    primary: Annotated[bool, typer.Option("--primary", help="Test the metric in reports, with the other primary ones.")] = False,
    standard: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help=f"Define a standard metric (repeatable): {', '.join(STANDARD)}.")
    ] = None,
) -> None:
    """Define a metric of a study, so that checkpoints can have it.

    An equal definition has no effect. Label, group, description and --primary can be redefined; for another kind, unit, direction,
    denominator or roll-up, choose a new name.

    Example: evalkit metric define "nightly agent" refusal_rate --kind rate --better down --denominator sessions_completed
    """
    options = {
        "unit": unit, "label": label, "low": _number(low), "high": _number(high), "denominator": denominator, "rollup": rollup,
        "group": heading, "description": description, "primary": primary or None,
    }  # fmt: skip
    passed = {option: value for option, value in {"kind": kind, "better": better, **options}.items() if value is not None}
    metrics: list[Metric | str] = [*(standard or [])]
    if name is None and (passed or not metrics):
        ctx.fail(f"--{next(iter(passed))} requires NAME." if passed else "Missing NAME, or --standard NAME.")
    if name is not None:
        for option in ("kind", "better"):
            if option not in passed:
                ctx.fail(f"Missing option '--{option}'.")
        metrics.insert(0, Metric(name, **passed))  # type: ignore[arg-type]  # the options have the types of the parameters
    with ctx.obj.kit() as kit:
        study = kit.resolve(ref)
        kit.define_metric(study, *metrics)
        names = list(dict.fromkeys(metric if isinstance(metric, str) else metric.name for metric in metrics))
        ctx.obj.print(
            f"{printable(study.name)}: {', '.join(names)} defined",
            lambda: [row for row in json_rows(kit.metrics(study)) if row["name"] in names],
        )


def _number(value: float | None) -> float | None:
    """Return a whole number as an int, as in Python and in files."""
    return int(value) if value is not None and value.is_integer() else value


@metric_app.command("list", cls=Command)
def list_metrics(ctx: typer.Context, ref: OptionalRef = None, as_of: AsOf = None) -> None:
    """List the custom metrics of a study, or of all studies.

    --json prints all fields of the definitions.

    Example: evalkit metric list "nightly agent"
    """
    with ctx.obj.kit() as kit:
        rows = json_rows(kit.metrics(ref, as_of=state(as_of)))
        columns = {name: name for name in ("study", "name", "kind", "unit", "better", "denominator", "rollup", "description")}
        ctx.obj.print(lambda: table(rows, columns), rows)
