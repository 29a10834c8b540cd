"""``evalkit report``: a self-contained report on a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evalkit.cli.common import AsOf, Exclude, Ref, Values, state

__all__ = ["report"]


def report(
    ctx: typer.Context,
    ref: Ref,
    *,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="Set the output file; the extension (.html, .md, .json) selects the format."),
    ],
    baseline: Annotated[str | None, typer.Option(metavar="REF", help="Compare with another study.")] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Analyze only this metric (repeatable). Fewer metrics give more statistical power."),
    ] = None,
    as_of: AsOf = None,
    values: Values = "latest",
    exclude: Exclude = None,
) -> None:
    """Write a report on a study.

    It contains the verdicts with confidence intervals, charts, changes, notes, restatements, data quality and methods.
    Custom metrics are included if they are primary, or named with --metric.

    Example: evalkit report "nightly agent" -o report.html
    """
    with ctx.obj.kit(must_exist=True) as kit:
        study = kit.resolve(ref)
        path = kit.report(
            study, output, baseline=baseline, metrics=metric or None, as_of=state(as_of), values=values, exclude=exclude or ()
        )
        ctx.obj.print(f"Report written to {path}", {"study_id": study.id, "file": str(path)})
