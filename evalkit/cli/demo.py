"""``evalkit demo``: sample studies in a separate folder, and commands to try next.

The three studies cover the past weeks.
"""

from __future__ import annotations

import os
import shlex
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import evalkit
from evalkit import EvalKit, Metric, Study
from evalkit.domain.events import Category
from evalkit.domain.refusals import invalid
from evalkit.domain.study import COMMANDS
from evalkit.errors import EvalkitError
from evalkit.samples import sample_checkpoints

if TYPE_CHECKING:
    import polars as pl

__all__ = ["DemoResult", "demo_folder", "frames_as_text", "next_commands", "notebook_lines", "open_demo", "run_demo", "write_charts"]

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class _Plan:
    name: str
    period: str
    description: str
    tags: tuple[str, ...]
    metadata: dict[str, str]
    age: int
    """The age of the study at the first run of the demo, in days."""
    steps: tuple[tuple[str, timedelta], ...]
    """The lifecycle commands, each with the time since the study was created."""
    seed: int
    trend: float
    checkpoints: int
    skipped: frozenset[int] = frozenset()
    """Periods without a checkpoint: the study was paused, or a job failed."""
    without_cost: frozenset[int] = frozenset()
    """Periods in which the cost was not measured."""
    metric: Metric | None = None
    """A custom rate, measured in each session."""
    note: tuple[str, Category, timedelta] | None = None
    """Text and category of a note, and its time since the study was created."""
    corrected: int | None = None
    """The period whose total cost is first recorded ten times too high, and then corrected."""


_PLANS = (
    _Plan(
        "old prompt", "weekly:4", "The previous coder, stopped when it no longer improved.", ("baseline",), {"model": "m-1"}, 42,
        (("start", timedelta()), ("stop", 21 * _DAY)), seed=3, trend=-0.05, checkpoints=3,
    ),
    _Plan(
        "weekly coder", "weekly:8", "Does the coder improve from week to week?", ("coding", "main"), {"model": "m-2"}, 35,
        (("start", timedelta()),), seed=1, trend=0.2, checkpoints=5,
    ),
    _Plan(
        "daily helper", "daily", "A helper with a pause, two days without a run, and some days without a measured cost.", ("support",),
        {"model": "m-2", "team": "help desk"}, 21, (("start", timedelta()), ("pause", 9 * _DAY), ("resume", 12 * _DAY)), seed=2, trend=0.05,
        checkpoints=21, skipped=frozenset({5, 9, 10, 11, 17}), without_cost=frozenset({3, 15, 16}),
        metric=Metric(
            "escalation_rate", kind="rate", better="down", denominator="sessions_completed", group="Success", primary=True,
            description="Sessions that were handed over to a person.",
        ),
        note=("New help pages", "data", 12 * _DAY), corrected=7,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class DemoResult:
    """The result of `run_demo`."""

    recorded: int
    """Number of checkpoints recorded by this run."""
    already_recorded: int
    """Number of checkpoints recorded by an earlier run."""


def demo_folder() -> Path:
    """Return the enclosing demo folder, or ``evalkit-demo`` outside of a demo folder."""
    here = Path.cwd()
    enclosing = next((folder for folder in (here, *here.parents) if (folder / ".evalkit").is_dir()), None)
    return Path(os.path.relpath(enclosing)) if enclosing is not None and _has_demo(enclosing) else Path("evalkit-demo")


def _has_demo(folder: Path) -> bool:
    """Return whether the home in a folder contains the demo studies."""
    try:
        with warnings.catch_warnings(action="ignore"), open_demo(folder, read_only=True) as kit:
            return {plan.name for plan in _PLANS} <= {study.name for study in kit.storage.list_studies()}
    except EvalkitError:
        return False


def open_demo(folder: Path, *, read_only: bool = False) -> EvalKit:
    """Open a kit in ``folder/.evalkit``, regardless of environment variables.

    Raises
    ------
    InvalidInputError
        If `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise invalid("folder", str(folder), "this is a file", "expected a folder")
    home = (folder / ".evalkit").absolute()
    return evalkit.connect(home, log_url=f"sqlite:{home / 'events.db'}", database_url=f"file:{home / 'evalkit.db'}", read_only=read_only)


def run_demo(kit: EvalKit) -> DemoResult:
    """Create the sample studies and their checkpoints, unless they already exist.

    All times are relative to the day of the first run, so that a later run creates the same checkpoints and records none of them again.
    """
    existing = {study.name: study.created_at for study in kit.storage.list_studies()} if kit.engine.exists else {}
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first_day = next((existing[plan.name] + plan.age * _DAY for plan in _PLANS if plan.name in existing), midnight)
    results = [_run_plan(kit, plan, first_day - plan.age * _DAY) for plan in _PLANS]
    return DemoResult(sum(result.recorded for result in results), sum(result.already_recorded for result in results))


def _run_plan(kit: EvalKit, plan: _Plan, created: datetime) -> DemoResult:
    study = kit.create_study(
        plan.name, period=plan.period, description=plan.description, tags=plan.tags, metadata=plan.metadata, at=created, if_exists="open"
    )
    _run_lifecycle(kit, study, plan, created)
    if plan.metric is not None:
        kit.define_metric(study, plan.metric)
    if plan.note is not None:
        text, category, after = plan.note
        kit.note(study, text, at=created + after, category=category)
    rows = _rows(plan, created)
    if not kit.amendments(study).is_empty():  # this is the last step of a run, or a user corrected a checkpoint
        return DemoResult(0, len(rows))
    result = kit.record_checkpoints(study, rows)
    if plan.corrected is not None:
        right = _samples(plan, created)[plan.corrected]
        costs = {name: right[name] for name in _COSTS}
        kit.amend_checkpoint((study, right["key"]), costs, reason="Wrong price per token")
    return DemoResult(result.recorded, result.already_recorded)


def _run_lifecycle(kit: EvalKit, study: Study, plan: _Plan, created: datetime) -> None:
    """Apply the remaining lifecycle commands, unless a user has changed the study."""
    import polars as pl

    commands = {"start": kit.start_study, "pause": kit.pause_study, "resume": kit.resume_study, "stop": kit.stop_study}
    planned = [COMMANDS[command] for command, _ in plan.steps]
    applied = kit.lifecycle().filter(pl.col("study_id") == study.id)["kind"].to_list()[1:]
    if planned[: len(applied)] == applied:
        for command, after in plan.steps[len(applied) :]:
            commands[command](study, at=created + after)


_COSTS = ("total_cost", "cost_per_successful_task")


def _samples(plan: _Plan, created: datetime) -> list[dict[str, Any]]:
    return sample_checkpoints(plan.period.partition(":")[0], created, plan.checkpoints, seed=plan.seed, trend=plan.trend)


def _rows(plan: _Plan, created: datetime) -> list[dict[str, Any]]:
    """Return the checkpoints as they are first recorded."""
    rows = _samples(plan, created)
    for index in plan.without_cost:
        rows[index].update(total_tokens=None, total_cost=None, cost_per_successful_task=None)
    if plan.corrected is not None:
        rows[plan.corrected].update({name: 10 * rows[plan.corrected][name] for name in _COSTS})
    if plan.metric is not None:
        random = Random(plan.seed)  # noqa: S311  (reproducible sample data)
        for row in rows:
            sessions = row["sessions_completed"]
            row[plan.metric.name] = sum(random.random() < 0.3 * (1 - row["session_success_rate"]) for _ in range(sessions)) / sessions
    return [row for index, row in enumerate(rows) if index not in plan.skipped]


def frames_as_text(kit: EvalKit) -> str:
    """Return the kit's frames as text, at most 100 characters wide."""
    import polars as pl

    studies = kit.studies().select(
        "name", "status", "period_type", "period_value", "checkpoints", pl.col("created_at", "last_period_end").dt.date()
    )
    columns = [
        pl.col("period_start").dt.date(), "sessions_completed", pl.col("session_success_rate").round(3), "total_tokens",
        pl.col("total_cost").round(2),
    ]  # fmt: skip
    coder = kit.checkpoints("weekly coder").select(columns)
    helper = kit.checkpoints("daily helper").tail(8).select([*columns, pl.col("escalation_rate").round(3)])
    lifecycle = kit.lifecycle().select("study", "seq", "kind", "status", "at")
    notes = kit.notes().select("study", pl.col("at").dt.date(), "category", "text")
    amendments = kit.amendments().select("study", "metric", pl.col("old", "new").round(3), "reason")
    return "\n\n".join(
        [
            _titled("kit.studies()", studies),
            _titled('kit.checkpoints("weekly coder")', coder),
            _titled('kit.checkpoints("daily helper").tail(8)', helper),
            _titled("kit.lifecycle()", lifecycle),
            _titled("kit.notes()", notes),
            _titled("kit.amendments()", amendments),
        ]
    )


def _titled(title: str, frame: pl.DataFrame) -> str:
    import polars as pl

    with pl.Config(
        tbl_rows=-1, tbl_cols=-1, tbl_width_chars=100, tbl_hide_column_data_types=True, tbl_hide_dataframe_shape=True, fmt_str_lengths=40
    ):
        return f"{title}\n{frame}"


def write_charts(kit: EvalKit, folder: Path) -> Path:
    """Write a self-contained page of charts, and return its path.

    Raises
    ------
    InvalidInputError
        If the file cannot be written.
    """
    from evalkit import plots
    from evalkit._util.atomic_files import writing
    from evalkit.plots._rendering import page

    data = kit.data()
    charts = [
        ("Lifecycle", plots.lifecycle(data)),
        ("Success rate over time", plots.trend(data, "session_success_rate")),
        ("One study with a rolling mean", plots.trend(kit.data("daily helper"), "session_success_rate", rolling=3)),
        ("A custom metric with a note", plots.trend(kit.data("daily helper"), "escalation_rate")),
        ("Total cost with a corrected value", plots.trend(kit.data("daily helper"), "total_cost")),
        ("Cost per successful task, aligned at the start", plots.trend(data, "cost_per_successful_task", align="start")),
        ("Success and cost", plots.scatter(data)),
        ("All metrics", plots.overview(data)),
    ]
    target = folder / "charts.html"
    text = page(charts, title="evalkit demo: charts")
    with writing(target) as file:
        file.write(text.encode())
    return target


def next_commands(folder: Path) -> list[str]:
    """Return commands to try next, for a shell in the current folder."""
    target = os.path.relpath(folder)
    return [
        *([] if target == os.curdir else [f"cd {shlex.quote(target)}"]),
        'evalkit study show "weekly coder"',
        'evalkit checkpoint list "daily helper"',
        'evalkit checkpoint export coder.csv --study "weekly coder"',
        'evalkit study pause "weekly coder"',
        "evalkit projection verify",
    ]


def notebook_lines(folder: Path) -> str:
    """Return code to run in a notebook."""
    return "\n".join(
        [
            "import evalkit",
            "from evalkit import plots",
            "",
            f"kit = evalkit.connect({str((folder / '.evalkit').absolute())!r})",
            'plots.trend(kit.data(), "session_success_rate")',
            "kit.panel()",
        ]
    )
