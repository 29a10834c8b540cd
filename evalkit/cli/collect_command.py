"""``evalkit collect``: record the sessions of agent logs as checkpoints."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from evalkit import EvalkitError, InvalidInputError, Study
from evalkit._util.text import alternatives
from evalkit.cli.common import OptionalRef, pairs, print_message
from evalkit.domain.study import SOURCE

if TYPE_CHECKING:
    from evalkit import EvalKit
    from evalkit.collect import Collected

__all__ = ["collect"]

_ENVIRONMENT = ("EVALKIT_HOME", "EVALKIT_EVIDENCE", "EVALKIT_AUTHOR", "CLAUDE_CONFIG_DIR", "CODEX_HOME", "INSPECT_LOG_DIR")
"""The variables without secrets that a scheduled command needs."""

_SECRET = ("EVALKIT_LOG_URL", "EVALKIT_DATABASE_URL", "EVALKIT_DATABASE_AUTH_TOKEN")


def collect(
    ctx: typer.Context,
    ref: OptionalRef = None,
    *,
    location: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="LOCATION",
            help="Read these logs: inspect:PATH, claude-code:[PATH], codex:[PATH], harbor:PATH, records:FILE. [default: the saved source]",
        ),
    ] = None,
    due: Annotated[
        bool, typer.Option("--due", help="Record every period that is due; without REF, of all studies with a saved source.")
    ] = False,
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Create and start the study if it does not exist, on this day of its first period.")
    ] = None,
    period: Annotated[
        str | None, typer.Option(metavar="PERIOD", help="Set the period of a new study: hourly, daily, weekly, monthly.")
    ] = None,
    zone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Follow the calendar of this time zone, such as Europe/Berlin. [default: UTC]")
    ] = None,
    source_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name the source in idempotency keys. [default: its format]")
    ] = None,
    grace: Annotated[str | None, typer.Option(metavar="TIME", help="Wait this long after the end of a period. [default: 2h]")] = None,
    scorer: Annotated[str | None, typer.Option(metavar="NAME", help="inspect: take the outcome from this scorer.")] = None,
    task: Annotated[str | None, typer.Option(metavar="NAME", help="inspect: collect only this task.")] = None,
    reward: Annotated[str | None, typer.Option(metavar="NAME", help="harbor: take the outcome from this reward.")] = None,
    success_at: Annotated[
        float | None, typer.Option(metavar="NUMBER", help="inspect, harbor: count a score of at least this as a success.")
    ] = None,
    map_: Annotated[
        str | None,
        typer.Option("--map", metavar="PAIRS", help="records: name the columns, as session_id=run_id,outcome=passed,ended_at=finished."),
    ] = None,
    tz: Annotated[str | None, typer.Option(metavar="ZONE", help="records, harbor: read times without a time zone in this zone.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Set an option of a registered source (repeatable).")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Take outcomes from this file with the columns session_id and outcome.")
    ] = None,
    prices: Annotated[Path | None, typer.Option(metavar="FILE", help="Estimate costs with the prices in this file.")] = None,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Record periods without sessions even if the logs do not cover them.")
    ] = False,
    amend_late: Annotated[bool, typer.Option("--amend-late", help="Amend checkpoints whose periods have other sessions now.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail if a file cannot be read.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be recorded.")] = False,
    save: Annotated[bool, typer.Option("--save", help="Keep the source and its options in the study.")] = False,
    print_: Annotated[
        Literal["cron", "systemd", "github"] | None,
        typer.Option("--print", help="Print the lines that run this command every hour, and do nothing else."),
    ] = None,
) -> None:
    """Record agent logs as checkpoints of the periods that are due.

    Each period is recorded once, on any number of machines. Only files that have changed are read again, but tables always are. Without
    REF, all studies that keep a source are collected. The exit code is 3 if a period has no data and nothing was recorded.

    Example: evalkit collect "nightly agent" --from inspect:./logs --since 2026-01-01
    """
    if print_ is not None:
        if ref is None and not due:
            raise typer.BadParameter("name the study, or use --due for all studies with a saved source.", param_hint="'REF'")
        if location is not None:
            from evalkit.collect.sources import check_location, parse_location

            reference = parse_location(location)
            if print_ != "github":
                check_location(reference)
            elif reference.is_default or reference.path.is_absolute():
                problem = "a runner of GitHub does not have the folders of this machine; pass a path in the repository."
                raise typer.BadParameter(problem, param_hint="'--from'")
        _print_schedule(ctx, print_)
        return
    options = {"scorer": scorer, "task": task, "reward": reward, "success_at": success_at, "map": map_, "tz": tz}
    options |= pairs(option or [], "--option", "NAME=VALUE, such as team=a")
    arguments: dict[str, Any] = {
        "zone": zone, "grace": grace, "labels": labels, "prices": prices, "allow_empty": allow_empty, "amend_late": amend_late,
        "strict": strict, "dry_run": dry_run, "save": save,
        **{name: value for name, value in options.items() if value is not None},
    }  # fmt: skip
    with ctx.obj.kit(must_exist=since is None) as kit:
        if ref is not None:
            result = kit.collect(ref, location, since=since, period=period, source_name=source_name, **arguments)
            ctx.obj.print(lambda: str(result), result.as_dict)
            code = result.exit_code
        else:
            if not due or location is not None:
                problem = "name the study, or use --due without --from for all studies with a saved source."
                raise typer.BadParameter(problem, param_hint="'REF'")
            code = _collect_all(ctx, kit, arguments)
    if code:
        raise typer.Exit(code)


def _collect_all(ctx: typer.Context, kit: EvalKit, arguments: dict[str, Any]) -> int:
    """Collect for all studies with a saved source, and return the exit code."""
    from evalkit.collect.requests import is_here

    studies: list[Study] = []
    for study in kit.storage.list_studies():
        if SOURCE in study.config.metadata:
            if is_here(kit, study):
                studies.append(study)
            else:
                print_message("warning", f"{study.name}: skipped, because its logs are not on this machine")
    if not studies:
        hint = "Save one with: evalkit collect NAME --from LOCATION --save"
        raise InvalidInputError("No study has a saved source on this machine", hint=hint, field="study", value=None)
    results: list[Collected] = []
    failed = False
    for study in studies:
        try:
            results.append(kit.collect(study, **arguments))
        except EvalkitError as error:  # the other studies are collected all the same
            print_message("error", f"{study.name}: {error.message.in_shell()}")
            failed = True
    if results or ctx.obj.json:
        ctx.obj.print(lambda: "\n".join(map(str, results)), lambda: [result.as_dict() for result in results])
    return 1 if failed else max((result.exit_code for result in results), default=0)


def _print_schedule(ctx: typer.Context, scheduler: str) -> None:
    from evalkit.collect.schedule import schedule

    arguments = sys.argv[1:]
    start = arguments.index("--print") if "--print" in arguments else next(
        number for number, argument in enumerate(arguments) if argument.startswith("--print=")
    )  # fmt: skip
    if scheduler == "github" and not any(argument.partition("=")[0] == "--from" for argument in arguments):
        raise typer.BadParameter("a runner of GitHub keeps no saved sources; name the study and --from LOCATION.", param_hint="'--print'")
    rest = [*arguments[:start], *arguments[start + (2 if arguments[start] == "--print" else 1) :]]
    if any("@" in argument and "://" in argument for argument in rest):
        problem = "a URL has credentials, and schedules are stored in files; set EVALKIT_LOG_URL instead."
        raise typer.BadParameter(problem, param_hint="'--print'")
    environment = {name: os.environ[name] for name in _ENVIRONMENT if os.environ.get(name)}
    program = "evalkit" if scheduler == "github" else os.path.abspath(sys.argv[0])  # noqa: PTH100  (keeps links)
    text = schedule(scheduler, [program, *rest], folder=str(Path.cwd()), environment=environment)
    secret = [name for name in _SECRET if os.environ.get(name)]
    if secret and scheduler != "github":
        text = f"# Set {alternatives(secret, 'and')} for this job, too; they may have secrets, so they are not printed.\n{text}"
    ctx.obj.print(text, {"scheduler": scheduler, "text": text})
