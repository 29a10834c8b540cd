"""The command line: what the kit does, from a shell. Each command is a few lines around the facade.

Exit codes: 0 is fine; 1 is an error, told in one line on stderr; 2 is a wrong call; 130 is Ctrl-C; 141 is a reader that left (``| head``).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
import threading
import warnings
from ast import literal_eval
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic_core import from_json
from typer.core import TyperCommand, TyperGroup

import evalkit
from evalkit import METRICS, EvalkitError, EvalkitWarning, InvalidInputError, StudyStatus
from evalkit.engine import Engine
from evalkit.errors import ReadOnlyError, SchemaError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["app", "main"]

_COLUMNS = ("sessions_completed", "session_success_rate", "total_tokens", "total_cost", "cost_per_successful_task")
"""The metrics in a list of checkpoints; ``--json`` gives all."""


class _Main(TyperGroup):
    """Turns errors and warnings of evalkit into lines on stderr and exit codes."""

    def invoke(self, ctx: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always", EvalkitWarning)
            shown = warnings.showwarning
            warnings.showwarning = lambda message, category, *where: (
                _complain("warning", message) if issubclass(category, EvalkitWarning) else shown(message, category, *where)
            )
            code = 0
            try:
                try:
                    super().invoke(ctx)
                except EvalkitError as error:
                    _complain("error", error)
                    code = 1
                sys.stdout.flush()
            except OSError as error:
                # Standard output went away or is full. What is left to print goes nowhere, or Python would complain once more at exit.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                code = 141 if isinstance(error, BrokenPipeError) else 1
                if code == 1:
                    _complain("error", error)
        if code:
            raise typer.Exit(code)


class _Command(TyperCommand):
    """Takes ``--json`` after the command as well."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        options = args[: args.index("--")] if "--" in args else args
        if "--json" in options:
            args = [*(arg for arg in options if arg != "--json"), *args[len(options) :]]
            ctx.obj.json = True
        return super().parse_args(ctx, args)


def _complain(what: str, message: object) -> None:
    text = re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", _in_shell_words(str(message)))
    print(f"{what}: {text}", file=sys.stderr)


def _in_shell_words(message: str) -> str:
    """Say what the kit tells a Python user to type next as it is typed in a shell."""

    def command(match: re.Match[str]) -> str:
        return f"evalkit study {match[1]} {shlex.quote(literal_eval(match[2]))}"

    message = re.sub(r"""kit\.(create|start|pause|resume|stop)_study\(('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\)""", command, message)
    for python, shell in (
        ('create_study(..., if_exists="open")', "--if-exists open"),
        ("evalkit.connect(home=...)", "--home DIR"),
        ("Ask again with kit.outcome(error).", "Look first what is there: evalkit study show, evalkit checkpoint list."),
        ("datetime(2026, 1, 31, tzinfo=timezone.utc) or '2026-01-31T00:00:00Z'", "2026-01-31T00:00:00Z"),
    ):
        message = message.replace(python, shell)
    return message


@dataclass
class _Session:
    """The global options, and how they are answered."""

    home: str | None = None
    log_url: str | None = None
    database_url: str | None = None
    json: bool = False

    def kit(self, *, must_exist: bool = False) -> evalkit.EvalKit:
        kit = evalkit.connect(self.home, log_url=self.log_url, database_url=self.database_url)
        if must_exist and not kit._engine.exists:
            looked_in = ", ".join(map(str, kit._engine.settings.looked_in))
            raise InvalidInputError(
                f"There is no evalkit home. Looked in {looked_in}. Give another folder with --home DIR; the first study makes one: "
                "evalkit study create NAME",
                field="home", value=looked_in,
            )  # fmt: skip
        return kit

    def say(self, text: str | Callable[[], str], data: Any) -> None:
        """Print a text, or with ``--json`` the data; either may be a function that gives it."""
        found = data if self.json else text
        found = found() if callable(found) else found
        if self.json:
            found = json.dumps(found, ensure_ascii=(sys.stdout.encoding or "").lower() not in ("utf-8", "utf8"))
        print(found, flush=True)


def _group(text: str) -> typer.Typer:
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None)


app = typer.Typer(
    cls=_Main, add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="Longitudinal evaluation studies of AI agents. Begin with: evalkit demo",
)  # fmt: skip
study_app = _group("Create studies, drive their lifecycle, look at them.")
checkpoint_app = _group("Record, list, import and export checkpoints.")
log_app = _group("Export and import the event log: the backup.")
projection_app = _group("The read model: how far it is, rebuild, verify.")
for _name, _part in (("study", study_app), ("checkpoint", checkpoint_app), ("log", log_app), ("projection", projection_app)):
    app.add_typer(_part, name=_name)

Ref = Annotated[str, typer.Argument(metavar="REF", help="A study's name, id, or the last four or more characters of its id.")]
At = Annotated[str | None, typer.Option(metavar="TIME", help="When it happened, with a time zone: 2026-01-31T08:00:00Z. [default: now]")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A file; its extension, .csv, .parquet or .ndjson, says how it is written.")]
LogFile = Annotated[Path, typer.Argument(metavar="FILE", help="A file, or - for standard input or output.")]


@app.callback(invoke_without_command=True)
def _options(
    ctx: typer.Context,
    *,
    home: Annotated[str | None, typer.Option(metavar="DIR", help="[default: EVALKIT_HOME, else the nearest .evalkit]")] = None,
    log_url: Annotated[str | None, typer.Option(metavar="URL", help="sqlite:PATH [default: EVALKIT_LOG_URL, else in the home]")] = None,
    database_url: Annotated[
        str | None, typer.Option(metavar="URL", help="file:PATH [default: EVALKIT_DATABASE_URL, else in the home]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document; may stand after the command too.")] = False,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    session = ctx.obj = _Session(home, log_url, database_url, as_json)
    if show_version:
        session.say(f"evalkit {version('evalkit')}", {"version": version("evalkit")})
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        ctx.fail("Missing command.")


# --- studies ----------------------------------------------------------------------------------------------------------------------------


@study_app.command("create", cls=_Command)
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    *,
    period: Annotated[str, typer.Option(help="hourly, daily, weekly or monthly; weekly:2 plans two of them.")] = "daily",
    description: Annotated[str | None, typer.Option(metavar="TEXT")] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="T", help="May be given several times.")] = None,
    meta: Annotated[list[str] | None, typer.Option(metavar="K=V", help="May be given several times.")] = None,
    at: At = None,
    if_exists: Annotated[Literal["error", "open"], typer.Option(help="What to do when a study has this name.")] = "error",
) -> None:
    """Create a study, pending.

    Example: evalkit study create "nightly agent" --period daily:30 --tag baseline --meta model=m-1
    """
    with ctx.obj.kit() as kit:
        study = kit.create_study(
            name, period=period, description=description, tags=tag or (), metadata=_pairs(meta or []), at=at, if_exists=if_exists
        )
        ctx.obj.say(f"{_shown(study)}, id {study.id}", lambda: _study_row(kit, study))


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key in pairs:
            problem = f"gives {key!r} twice" if equals else "is no K=V, as in model=m-1"
            raise typer.BadParameter(f"{text!r} {problem}.", param_hint="'--meta'")
        pairs[key] = value
    return pairs


def _change(ctx: typer.Context, command: str, ref: str, at: str | None) -> None:
    with ctx.obj.kit() as kit:
        study = getattr(kit, f"{command}_study")(ref, at=at)
        ctx.obj.say(_shown(study), lambda: _study_row(kit, study))


@study_app.command("start", cls=_Command)
def start(ctx: typer.Context, ref: Ref, at: At = None) -> None:
    """Let a pending study run.

    Example: evalkit study start "nightly agent"
    """
    _change(ctx, "start", ref, at)


@study_app.command("pause", cls=_Command)
def pause(ctx: typer.Context, ref: Ref, at: At = None) -> None:
    """Pause a running study.

    Example: evalkit study pause "nightly agent"
    """
    _change(ctx, "pause", ref, at)


@study_app.command("resume", cls=_Command)
def resume(ctx: typer.Context, ref: Ref, at: At = None) -> None:
    """Let a paused study run on.

    Example: evalkit study resume "nightly agent" --at 2026-01-31T08:00:00Z
    """
    _change(ctx, "resume", ref, at)


@study_app.command("stop", cls=_Command)
def stop(ctx: typer.Context, ref: Ref, at: At = None) -> None:
    """Stop a study for good.

    Example: evalkit study stop "nightly agent"
    """
    _change(ctx, "stop", ref, at)


@study_app.command("list", cls=_Command)
def list_studies(ctx: typer.Context, status: Annotated[StudyStatus | None, typer.Option(help="Only these.")] = None) -> None:
    """List the studies, newest first.

    Example: evalkit study list --status running
    """
    with ctx.obj.kit() as kit:
        frame = kit.studies()
        rows = [row for row in _rows(frame) if status in (None, row["status"])]
        columns = {
            "name": "name",
            "status": "status",
            "period": "period",
            "checkpoints": "checkpoints",
            "created_at": "created",
            "id": "id",
        }
        for row in rows if not ctx.obj.json else ():
            planned = f":{row['period_value']}" if row["period_value"] is not None else ""
            row.update(period=row["period_type"] + planned, id=f"…{row['study_id'][-8:]}", created_at=_minute(row["created_at"]))
        ctx.obj.say(lambda: _table(rows, columns), rows)


@study_app.command("show", cls=_Command)
def show(ctx: typer.Context, ref: Ref) -> None:
    """Show a study: what it is about, its lifecycle, its last checkpoints.

    Example: evalkit study show "nightly agent"
    """
    with ctx.obj.kit() as kit:
        row = _study_row(kit, kit.resolve(ref))
        lifecycle = [one for one in _rows(kit.lifecycle()) if one["study_id"] == row["study_id"]]
        frame = kit.checkpoints(row["study_id"])
        recorded = frame.select("period_start", "period_end").unique().height
        data = {**row, "periods_recorded": recorded, "lifecycle": lifecycle, "last_checkpoints": _rows(frame.tail(5))}
        ctx.obj.say(lambda: _study_text(data, frame.tail(5)), data)


def _study_text(study: dict[str, Any], last: pl.DataFrame) -> str:
    planned = "until stopped" if study["period_value"] is None else f"of {study['period_value']}"
    about = {
        "id": study["study_id"],
        "status": study["status"],
        "period": f"{study['period_type']}, {study['periods_recorded']} {planned}",
        "description": study["description"],
        "tags": ", ".join(study["tags"]),
        "metadata": ", ".join(f"{key}={value}" for key, value in study["metadata"].items()),
    }
    lines = [_safe(study["name"]), *(f"  {name:<13}{_safe(value)}" for name, value in about.items() if value)]
    events = [{**one, "kind": one["kind"].removeprefix("study_"), "at": _minute(one["at"])} for one in study["lifecycle"]]
    lines += ["", _table(events, {"seq": "", "kind": "what happened", "at": "at (UTC)"})]
    return "\n".join([*lines, "", _checkpoint_table(last) if last.height else "No checkpoints yet."])


# --- checkpoints ------------------------------------------------------------------------------------------------------------------------


@checkpoint_app.command("record", cls=_Command)
def record(
    ctx: typer.Context,
    ref: Ref,
    metrics: Annotated[str, typer.Option(metavar="FILE", help="A JSON object with metrics and period; - for standard input.")],
    key: Annotated[str | None, typer.Option(help="What makes it the same checkpoint when it is recorded again.")] = None,
    at: At = None,
) -> None:
    """Record one checkpoint, from JSON: {"period": ["2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z"], "session_success_rate": 0.85}.

    Example: evalkit checkpoint record "nightly agent" --metrics checkpoint.json --key 01-31
    """
    from evalkit.transfer import reading

    with reading(Path(metrics)):
        data = sys.stdin.buffer.read() if metrics == "-" else Path(metrics).read_bytes()
        given = from_json(data.removeprefix(b"\xef\xbb\xbf"), allow_inf_nan=False)
    with ctx.obj.kit() as kit:
        done = kit.record_checkpoint(ref, given, key=key, at=at)

        def row() -> dict[str, Any]:
            (found,) = (one for one in _rows(kit.checkpoints(done.study_id)) if one["checkpoint_id"] == done.id)
            return {**found, "already_recorded": done.already_recorded}

        ctx.obj.say(str(done), row)


@checkpoint_app.command("list", cls=_Command)
def list_checkpoints(ctx: typer.Context, ref: Ref) -> None:
    """List a study's checkpoints, oldest first.

    Example: evalkit checkpoint list "nightly agent"
    """
    with ctx.obj.kit() as kit:
        frame = kit.checkpoints(ref)
        ctx.obj.say(lambda: _checkpoint_table(frame), lambda: _rows(frame))


@checkpoint_app.command("import", cls=_Command)
def import_file(
    ctx: typer.Context, file: File, study: Annotated[str, typer.Option(metavar="REF", help="The study to record them in.")]
) -> None:
    """Record the checkpoints of a file: all, or none when anything is wrong.

    Example: evalkit checkpoint import runs.csv --study "nightly agent"
    """
    from evalkit.transfer import import_checkpoints

    with ctx.obj.kit() as kit:
        done = import_checkpoints(kit, file, study)
        text = f"{done.recorded} recorded, {done.already_recorded} already recorded"
        ctx.obj.say(text, {"recorded": done.recorded, "already_recorded": done.already_recorded})


@checkpoint_app.command("export", cls=_Command)
def export_file(
    ctx: typer.Context, file: File, study: Annotated[str | None, typer.Option(metavar="REF", help="Only this study's.")] = None
) -> None:
    """Write checkpoints to a file, replacing one that is there.

    Example: evalkit checkpoint export runs.parquet --study "nightly agent"
    """
    from evalkit.transfer import export_checkpoints

    with ctx.obj.kit(must_exist=True) as kit:
        count = export_checkpoints(kit, file, study)
        ctx.obj.say(f"{count} checkpoints written to {file}", {"exported": count, "file": str(file)})


# --- the log ----------------------------------------------------------------------------------------------------------------------------


@log_app.command("export", cls=_Command)
def log_export(ctx: typer.Context, file: LogFile) -> None:
    """Write every event as one line of JSON.

    Example: evalkit log export backup.ndjson
    """
    from evalkit.transfer import export_log, writing

    if str(file) == "-" and ctx.obj.json:
        raise typer.BadParameter("with - the events themselves go to standard output; leave out --json.", param_hint="'FILE'")
    with ctx.obj.kit(must_exist=True) as kit:
        if str(file) == "-":
            done = export_log(kit._engine, sys.stdout.buffer)
        else:
            with writing(file) as stream:
                done = export_log(kit._engine, stream)
            ctx.obj.say(f"{done.exported} events written to {file}", asdict(done))
    for count, what in (
        (done.not_json, "are not JSON, and were left out"),
        (done.without_event_id, "have no version 7 event id, so that they could not be imported, and were left out"),
        (done.respaced, "had line breaks between their values, and have spaces there now"),
    ):
        if count:
            _complain("warning", f"{count} events {what}.")


@log_app.command("import", cls=_Command)
def log_import(ctx: typer.Context, file: LogFile) -> None:
    """Append the events of a file that the log does not hold yet: all, or none when a line is no event.

    Example: evalkit log import backup.ndjson
    """
    from evalkit.transfer import import_log, reading

    with reading(file):
        source = nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb")
    with source as stream, ctx.obj.kit() as kit:
        done = import_log(kit._engine, stream)
        ctx.obj.say(f"{done.appended} appended, {done.skipped} skipped", asdict(done))


# --- the projection ---------------------------------------------------------------------------------------------------------------------


@projection_app.command("status", cls=_Command)
def status(ctx: typer.Context) -> None:
    """Say where things are, how far the read model is, and what is wrong.

    Example: evalkit projection status
    """
    with ctx.obj.kit() as kit:
        found = kit.status()
        ctx.obj.say(_in_shell_words(repr(found)), asdict(found))


@projection_app.command("catch-up", cls=_Command)
def catch_up(ctx: typer.Context) -> None:
    """Apply what is new in the log, and return.

    Example: evalkit projection catch-up
    """
    with ctx.obj.kit(must_exist=True) as kit:
        applied = _catch_up(kit._engine)
        found = kit.status()
        ctx.obj.say(
            f"{applied} events applied; {found.events} in the log, {found.lag} behind",
            {"applied": applied, "events": found.events, "lag": found.lag},
        )


def _catch_up(engine: Engine, stop: threading.Event | None = None) -> int:
    if engine.not_writable is not None:
        raise ReadOnlyError(f"{engine.not_writable}, so the read model cannot be brought up to date.")
    batches: list[int] = []
    try:
        engine.consumer.catch_up(on_batch=batches.append, stop=stop)
    except SchemaError:
        engine.catch_up()  # which makes an embedded read model of an older version anew, and refuses any other
    return sum(batches)


@projection_app.command("rebuild", cls=_Command)
def rebuild(
    ctx: typer.Context,
    adopt_log: Annotated[bool, typer.Option("--adopt-log", help="Accept another log, or one that lost events.")] = False,
) -> None:
    """Make the read model anew from the log, while readers go on with the old one.

    Example: evalkit projection rebuild
    """
    with ctx.obj.kit(must_exist=True) as kit:
        done = kit.rebuild(adopt_log=adopt_log)
        ctx.obj.say(f"{done.events} events replayed; generation {done.generation}", asdict(done))


@projection_app.command("verify", cls=_Command)
def verify(
    ctx: typer.Context, expect: Annotated[str | None, typer.Option(metavar="DIGEST", help="Must be the read model's digest.")] = None
) -> None:
    """Fold the log afresh and compare every row; exit code 1 when one differs.

    Example: evalkit projection verify
    """
    with ctx.obj.kit(must_exist=True) as kit:
        found = kit.verify(expect=expect)
        difference = None if found.difference is None else str(found.difference)
        if found.ok or ctx.obj.json:
            ctx.obj.say(str(found), {"ok": found.ok, "digest": found.digest, "expected": found.expected, "difference": difference})
        if not found.ok:
            raise EvalkitError(str(found))


@app.command("consume", cls=_Command)
def consume(ctx: typer.Context) -> None:
    """Apply events as they come, until Ctrl-C or SIGTERM.

    Example: evalkit consume
    """
    with _stopped_by_signals() as stop, ctx.obj.kit(must_exist=True) as kit:
        applied = _catch_up(kit._engine, stop)
        if not stop.is_set():
            ctx.obj.say(f"Caught up: {applied} events applied. Waiting for more; Ctrl-C ends.", {"caught_up": True, "applied": applied})
        kit._engine.consumer.run(stop)


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Give an event that the first SIGINT or SIGTERM sets; a second one acts as if nobody listened."""
    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def heard(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in numbers:
        signal.signal(number, heard)
    try:
        yield stop
    finally:
        for number in numbers:
            signal.signal(number, before[number])


@app.command("demo", cls=_Command)
def demo(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Option(metavar="DIR", help="The folder of its own that it works in.")] = Path("evalkit-demo"),
) -> None:
    """Make three studies with weeks of sample checkpoints, show the frames, say what to try next.

    Example: evalkit demo
    """
    from evalkit.demo import next_commands, open_demo, picture, run_demo, snippet

    if (ctx.obj.home, ctx.obj.log_url, ctx.obj.database_url) != (None, None, None):
        raise typer.BadParameter(
            "the demo keeps to a folder of its own; leave out --home, --log-url and --database-url.", param_hint="'demo'"
        )
    with open_demo(folder) as kit:
        done = run_demo(kit)
        commands = next_commands(folder)
        ctx.obj.say(
            lambda: (
                f"{picture(kit)}\n\nIn {folder}: {done.recorded} checkpoints recorded, {done.already_recorded} were there already.\n\n"
                "Try next:\n\n" + "\n".join(f"  {one}" for one in commands) + "\n\nIn a notebook:\n\n"
                + "\n".join(f"  {line}".rstrip() for line in snippet(folder).splitlines())
            ),
            lambda: {
                "folder": str(folder), **asdict(done), "studies": _rows(kit.studies()), "next": commands, "notebook": snippet(folder),
            },
        )  # fmt: skip


# --- printing ---------------------------------------------------------------------------------------------------------------------------


def _rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Give the rows of a frame as they are printed in JSON."""
    from evalkit.transfer import as_json

    rows = as_json(frame).to_dicts()
    for row in rows:
        if "metadata" in row:
            row["metadata"] = {pair["key"]: pair["value"] for pair in row["metadata"]}
    return rows


def _study_row(kit: evalkit.EvalKit, study: evalkit.Study) -> dict[str, Any]:
    (row,) = (row for row in _rows(kit.studies()) if row["study_id"] == study.id)
    return row


def _shown(study: evalkit.Study) -> str:
    return f"{_safe(study.name)}: {study.status}, {study.period}"


def _checkpoint_table(frame: pl.DataFrame) -> str:
    rows = [
        {
            "period": _minute(row["period_start"]),
            **{name: _measured(name, row[name]) for name in _COLUMNS},
            "id": f"…{row['checkpoint_id'][-8:]}",
        }
        for row in frame.to_dicts()
    ]
    return _table(rows, {"period": "period from (UTC)", **{name: METRICS[name].label for name in _COLUMNS}, "id": "id"}, right=_COLUMNS)


def _measured(name: str, value: Any) -> str:
    """Give a metric as text, by the catalogue's format; a missing one is a dash."""
    if value is None:
        return "-"
    pattern = METRICS[name].format
    return f"${value:{pattern[1:]}}" if pattern.startswith("$") else f"{value:{pattern}}"


def _minute(moment: datetime | str) -> str:
    """Give a time in UTC to the minute; of midnight, only the date."""
    return str(moment)[:16].replace("T", " ").removesuffix(" 00:00")


def _safe(text: object) -> str:
    """Give a text without what would steer a terminal."""
    return "".join(part if part.isprintable() else "�" for part in str(text))


def _table(rows: list[dict[str, Any]], columns: dict[str, str], right: tuple[str, ...] = ()) -> str:
    """Give a table as wide as the terminal; where there is none, as wide as it needs to be, so that a line stays a line."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    wide = not sys.stdout.isatty()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, heading in columns.items():
        spread = heading if wide else heading.replace(" ", "\n")
        table.add_column(spread, justify="right" if name in right else "left", overflow="fold", no_wrap=name != "name")
    for row in rows:
        table.add_row(*(Text("-" if row[name] is None else _safe(row[name])) for name in columns))
    console = Console(file=sys.stdout, width=10_000 if wide else None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def main() -> None:
    """Run the command line."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  (None when the caller closed it)
    sys.stderr = sys.stderr or sys.stdout
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no error
    app(prog_name="evalkit")
