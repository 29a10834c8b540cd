"""The demonstration: three studies of the past weeks in a folder of their own, with sample checkpoints, and what to try next."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import evalkit
from evalkit import EvalKit, PeriodType, Study
from evalkit.domain.study import COMMANDS
from evalkit.errors import InvalidInputError
from evalkit.samples import sample_checkpoints

if TYPE_CHECKING:
    import polars as pl

__all__ = ["DemoResult", "next_commands", "open_demo", "picture", "run_demo", "snippet", "write_charts"]

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class _Plan:
    name: str
    period: str
    description: str
    tags: tuple[str, ...]
    metadata: dict[str, str]
    age: int
    """How many days before the demo's day the study was created."""
    steps: tuple[tuple[str, timedelta], ...]
    """The lifecycle commands, and how long after the creation each was given."""
    seed: int
    trend: float
    checkpoints: int
    left_out: frozenset[int] = frozenset()
    """Periods without a checkpoint: the study was paused, or a job failed."""
    without_cost: frozenset[int] = frozenset()
    """Periods in which the bill was not measured."""


_PLANS = (
    _Plan(
        "old prompt", "weekly:4", "What the coder did before; stopped when it stood still.", ("baseline",), {"model": "m-1"}, 42,
        (("start", timedelta()), ("stop", 21 * _DAY)), seed=3, trend=-0.05, checkpoints=3,
    ),
    _Plan(
        "weekly coder", "weekly:8", "Does the coder get better from week to week?", ("coding", "main"), {"model": "m-2"}, 35,
        (("start", timedelta()),), seed=1, trend=0.2, checkpoints=5,
    ),
    _Plan(
        "daily helper", "daily", "A helper with a pause, two days without a run, and a bill that was not always measured.", ("support",),
        {"model": "m-2", "team": "help desk"}, 21, (("start", timedelta()), ("pause", 9 * _DAY), ("resume", 12 * _DAY)), seed=2, trend=0.05,
        checkpoints=21, left_out=frozenset({5, 9, 10, 11, 17}), without_cost=frozenset({3, 15, 16}),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class DemoResult:
    """What a run of the demonstration did."""

    recorded: int
    """Checkpoints that this run recorded."""
    already_recorded: int
    """Checkpoints that were there from an earlier run."""


def open_demo(folder: Path) -> EvalKit:
    """Open the kit of a demonstration: its log and read model stand in ``folder/.evalkit``, whatever the environment says.

    Raises
    ------
    InvalidInputError
        When `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidInputError(f"folder: {str(folder)!r} is a file", allowed="give a folder", field="folder", value=str(folder))
    home = (folder / ".evalkit").absolute()
    return evalkit.connect(home, log_url=f"sqlite:{home / 'events.db'}", database_url=f"file:{home / 'evalkit.db'}")


def run_demo(kit: EvalKit) -> DemoResult:
    """Create the studies, drive their lifecycle, record their checkpoints; what is there from an earlier run stays as it is.

    All times hang on the day of the first run, so that a later one finds everything in its place.
    """
    there = {study.name: study.created_at for study in kit.storage.list_studies()} if kit.engine.exists else {}
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    today = next((there[plan.name] + plan.age * _DAY for plan in _PLANS if plan.name in there), midnight)
    results = [_carry_out(kit, plan, today - plan.age * _DAY) for plan in _PLANS]
    return DemoResult(sum(one.recorded for one in results), sum(one.already_recorded for one in results))


def _carry_out(kit: EvalKit, plan: _Plan, created: datetime) -> Any:
    study = kit.create_study(
        plan.name, period=plan.period, description=plan.description, tags=plan.tags, metadata=plan.metadata, at=created, if_exists="open"
    )
    _drive(kit, study, plan, created)
    return kit.record_checkpoints(study, _rows(plan, created))


def _drive(kit: EvalKit, study: Study, plan: _Plan, created: datetime) -> None:
    """Give the lifecycle commands that were not given yet; none when somebody else gave others."""
    import polars as pl

    commands = {"start": kit.start_study, "pause": kit.pause_study, "resume": kit.resume_study, "stop": kit.stop_study}
    planned = [COMMANDS[command] for command, _ in plan.steps]
    given = kit.lifecycle().filter(pl.col("study_id") == study.id)["kind"].to_list()[1:]
    if planned[: len(given)] == given:
        for command, after in plan.steps[len(given) :]:
            commands[command](study, at=created + after)


def _rows(plan: _Plan, created: datetime) -> list[dict[str, Any]]:
    period_type = PeriodType(plan.period.partition(":")[0])
    rows = sample_checkpoints(period_type, created, plan.checkpoints, seed=plan.seed, trend=plan.trend)
    for index in plan.without_cost:
        rows[index].update(total_tokens=None, total_cost=None, cost_per_successful_task=None)
    return [row for index, row in enumerate(rows) if index not in plan.left_out]


def picture(kit: EvalKit) -> str:
    """Give the frames as text, at most 100 characters wide."""
    import polars as pl

    studies = kit.studies().select(
        "name", "status", "period_type", "period_value", "checkpoints", pl.col("created_at", "last_period_end").dt.date()
    )
    columns = [
        pl.col("period_start").dt.date(), "sessions_completed", pl.col("session_success_rate").round(3), "total_tokens",
        pl.col("total_cost").round(2),
    ]  # fmt: skip
    coder = kit.checkpoints("weekly coder").select(columns)
    helper = kit.checkpoints("daily helper").tail(8).select(columns)
    happened = kit.lifecycle().select("study", "seq", "kind", "status", "at")
    return "\n\n".join(
        [
            _titled("kit.studies()", studies),
            _titled('kit.checkpoints("weekly coder")', coder),
            _titled('kit.checkpoints("daily helper").tail(8)', helper),
            _titled("kit.lifecycle()", happened),
        ]
    )


def _titled(title: str, frame: pl.DataFrame) -> str:
    import polars as pl

    with pl.Config(
        tbl_rows=-1, tbl_cols=-1, tbl_width_chars=100, tbl_hide_column_data_types=True, tbl_hide_dataframe_shape=True, fmt_str_lengths=40
    ):
        return f"{title}\n{frame}"


def write_charts(kit: EvalKit, folder: Path) -> Path:
    """Write a page of charts that needs no network, and give its path.

    Raises
    ------
    InvalidInputError
        When it cannot be written.
    """
    from evalkit import plots
    from evalkit._util.atomic_files import writing
    from evalkit.plots._rendering import page

    data = kit.data()
    charts = [
        ("What happened when", plots.lifecycle(data)),
        ("Does it get better?", plots.trend(data, "session_success_rate")),
        ("One study, smoothed", plots.trend(kit.data("daily helper"), "session_success_rate", rolling=3)),
        ("From the beginning of each", plots.trend(data, "cost_per_successful_task", align="start")),
        ("What does success cost?", plots.scatter(data)),
        ("All metrics", plots.overview(data)),
    ]
    target = folder / "charts.html"
    text = page(charts, title="evalkit demo: charts")
    with writing(target) as file:
        file.write(text.encode())
    return target


def next_commands(folder: Path) -> list[str]:
    """Give commands to try next, as they are typed in the folder that the demonstration was run from."""
    return [
        f"cd {shlex.quote(os.path.relpath(folder))}",
        'evalkit study show "weekly coder"',
        'evalkit checkpoint list "daily helper"',
        'evalkit checkpoint export coder.csv --study "weekly coder"',
        'evalkit study pause "weekly coder"',
        "evalkit projection verify",
    ]


def snippet(folder: Path) -> str:
    """Give lines to run in a notebook."""
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
