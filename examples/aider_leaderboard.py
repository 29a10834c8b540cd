"""Turn the public Aider leaderboard into studies, one for each model family, and print their success rates over time.

    python examples/aider_leaderboard.py polyglot_leaderboard.yml [HOME]

The file is Aider's ``polyglot_leaderboard.yml``: a list of benchmark runs with their dates. Each run becomes a checkpoint of one day,
with the name of its folder as idempotency key, so running this twice records nothing twice. Needs PyYAML.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import yaml

import evalkit

FAMILIES = {
    "claude": ("claude",), "gpt": ("gpt",), "o-series": ("o1", "o3", "o4"), "gemini": ("gemini",), "deepseek": ("deepseek",),
    "qwen": ("qwen", "qwq"), "grok": ("grok",), "llama": ("llama",),
}  # fmt: skip
"""The studies with the words in a model's name that identify them, in the order in which they are tried."""


def family(model: str) -> str:
    """Return the first family with a word in the name of a model; of several models joined by +, the first counts."""
    model_name = model.partition(" + ")[0].lower()
    return next((name for name, terms in FAMILIES.items() if any(term in model_name for term in terms)), "other")


def day_of(run: dict[str, Any]) -> datetime:
    """Return the start of a run's day, in UTC."""
    return datetime.combine(run["date"], time(), UTC)


def checkpoint(run: dict[str, Any]) -> dict[str, Any]:
    """Map a run to a checkpoint. Metrics that the benchmark does not measure are left out: missing is not zero."""
    cases, first, second = run["test_cases"], run["pass_num_1"], run["pass_num_2"]
    cost = run.get("total_cost") or None  # 0 means not recorded
    tokens = [run.get("prompt_tokens"), run.get("completion_tokens")]
    start = day_of(run)
    return {
        "period_start": start,
        "period_end": start + timedelta(days=1),
        "recorded_at": start + timedelta(days=1),
        "key": run["dirname"],
        "sessions_completed": cases,
        "tasks_completed": cases,
        "session_success_rate": second / cases,
        "first_attempt_success_rate": first / cases,
        "avg_iterations_to_success": (first + 2 * (second - first)) / second if second else None,
        "self_correction_rate": (second - first) / (cases - first) if cases > first else None,
        "tool_success_rate": run["percent_cases_well_formed"] / 100,
        "avg_session_duration": run["seconds_per_case"],
        "total_tokens": None if None in tokens else sum(tokens),
        "total_cost": cost,
        "cost_per_successful_task": cost / second if cost and second else None,
    }


def record(kit: evalkit.EvalKit, path: str) -> None:
    """Record the runs of a leaderboard file, and print their number per study."""
    runs = defaultdict(list)
    for run in sorted(yaml.safe_load(Path(path).read_text()), key=lambda run: (run["date"], run["dirname"])):
        runs[family(run["model"])].append(run)
    for name, family_runs in runs.items():
        start = day_of(family_runs[0])
        study = kit.create_study(f"aider {name}", description="Aider polyglot benchmark", tags=["aider"], at=start, if_exists="open")
        if study.status is evalkit.StudyStatus.PENDING:
            study = kit.start_study(study, at=start)
        print(f"{study.name}: {kit.record_checkpoints(study, [checkpoint(run) for run in family_runs])}")


def main(path: str, home: str) -> None:
    """Record the runs of a leaderboard file in a home, and print the recorded checkpoints."""
    with evalkit.connect(home) as kit:
        record(kit, path)
        over_time = kit.checkpoints().select(
            "study", pl.col("period_start").dt.date().alias("day"), "session_success_rate", "total_cost", "sessions_completed"
        )
        with pl.Config(tbl_rows=-1, tbl_hide_dataframe_shape=True, float_precision=3):
            print(over_time)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else tempfile.mkdtemp(prefix="aider-"))
