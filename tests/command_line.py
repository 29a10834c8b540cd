"""The command line in this process, and a study for it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

import evalkit
from evalkit.cli.app import app

__all__ = ["DAY", "NAME", "metrics", "read_json", "run", "started"]

NAME = "nightly agent"
DAY = datetime(2026, 1, 31, tzinfo=UTC)


def run(*args: str | Path, stdin: str | bytes | None = None, code: int = 0) -> Result:
    """Run a command in this process."""
    result = CliRunner().invoke(app, [str(arg) for arg in args], input=stdin, prog_name="evalkit", catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def read_json(*args: str | Path, **more: Any) -> Any:
    """Run a command with --json; standard output must be exactly one JSON document."""
    return json.loads(run("--json", *args, **more).stdout)


def started(name: str = NAME) -> evalkit.EvalKit:
    """A kit on ./.evalkit with a running study that plans 30 days."""
    kit = evalkit.connect()
    kit.create_study(name, period="daily:30", tags=["a", "b"], metadata={"model": "m-1"}, description="Nightly run", at=DAY)
    kit.start_study(name, at=DAY)
    return kit


def metrics(day: int = 0, **more: Any) -> dict[str, Any]:
    """The content of a checkpoint of a day."""
    start = DAY + timedelta(days=day)
    return {"period": [start.isoformat(), (start + timedelta(days=1)).isoformat()], "session_success_rate": 0.85, **more}
