"""Write a report on each model family of the public Aider leaderboard, and print what each of them claims.

    python examples/aider_report.py polyglot_leaderboard.yml [HOME] [-o FOLDER]

The studies are those of ``aider_leaderboard.py`` beside this file. FOLDER, by default ``aider-reports``, gets an HTML page for each, and
the same as JSON. A family with too few runs has a page as well, which says so. Needs PyYAML, scipy and jinja2.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
from aider_leaderboard import record

import evalkit


def claims(content: dict[str, Any]) -> str:
    """Say in a line what a report claims, and of how many metrics it cannot tell even a large trend."""
    metrics, shifts = content["metrics"], content["shifts"]
    told = [
        f"{one['label'].lower()} {one['verdict']}" for one in metrics if one["verdict"] not in ("no significant trend", "insufficient data")
    ]
    told += [f"{one['label'].lower()} shifted" for one in shifts if one["verdict"] == "shifted"]
    few = sum(one["verdict"] == "insufficient data" for one in metrics)
    runs = content["events"][0]["checkpoints"]
    counted = f"{runs} {'run' if runs == 1 else 'runs'}"
    return f"{counted}, claimed: {', '.join(told) or 'nothing'}; too few to tell a large trend in {few} of {len(metrics)} metrics"


def main() -> None:
    """Record the runs of a leaderboard file in a home, and report on every family."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", metavar="PATH", help="the leaderboard file")
    parser.add_argument("home", metavar="HOME", nargs="?", help="where the studies are kept; by default a new temporary folder")
    parser.add_argument("-o", dest="folder", metavar="FOLDER", type=Path, default=Path("aider-reports"), help="where the reports go")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with evalkit.connect(given.home or tempfile.mkdtemp(prefix="aider-")) as kit:
        record(kit, given.path)
        for study in sorted(kit.studies().filter(pl.col("tags").list.contains("aider"))["name"]):
            page = given.folder / f"{study.replace(' ', '-')}.html"
            data = kit.report(study, page.with_suffix(".json"))
            kit.report(study, page)
            print(f"{study}: {claims(json.loads(data.read_text()))}. {page}")


if __name__ == "__main__":
    main()
