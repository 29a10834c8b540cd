"""``evalkit report``: one page on a study that can be sent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evalkit.cli.common import Ref

__all__ = ["report"]


def report(
    ctx: typer.Context,
    ref: Ref,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Its ending, .html, .md or .json, says how it is written.")
    ],
    baseline: Annotated[str | None, typer.Option(metavar="REF", help="Another study to compare with.")] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this metric; may be repeated. The fewer, the smaller an effect can be told."),
    ] = None,
) -> None:
    """Write a report on a study: verdicts with intervals, charts, changes, the audit, and what it was computed from.

    Example: evalkit report "nightly agent" -o report.html
    """
    with ctx.obj.kit(must_exist=True) as kit:
        study = kit.resolve(ref)
        path = kit.report(study, output, baseline=baseline, metrics=metric or None)
        ctx.obj.say(f"Report written to {path}", {"study_id": study.id, "file": str(path)})
