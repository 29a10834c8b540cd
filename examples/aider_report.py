"""Write a report on each model family of the public Aider leaderboard, and print its significant results.

    python examples/aider_report.py polyglot_leaderboard.yml [HOME] [-o FOLDER]

The studies are those of ``aider_leaderboard.py`` in the same folder. FOLDER, by default ``aider-reports``, gets an HTML page and a JSON
file for each study; those with too few runs report insufficient data. Needs PyYAML, scipy and jinja2.
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


def significant_results(content: dict[str, Any]) -> str:
    """Return one line on a report: the number of runs, significant trends and shifts, and metrics with insufficient data."""
    metrics, shifts = content["metrics"], content["shifts"]
    results = [
        f"{row['label'].lower()} {row['verdict']}" for row in metrics if row["verdict"] not in ("no significant trend", "insufficient data")
    ]
    results += [f"{row['label'].lower()} shifted" for row in shifts if row["verdict"] == "shifted"]
    insufficient = sum(row["verdict"] == "insufficient data" for row in metrics)
    runs = content["events"][0]["checkpoints"]
    return (
        f"{runs} {'run' if runs == 1 else 'runs'}; significant: {', '.join(results) or 'none'}; "
        f"insufficient data for a trend in {insufficient} of {len(metrics)} metrics"
    )


def main() -> None:
    """Record the runs of a leaderboard file in a home, and report on every family."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", metavar="PATH", help="the leaderboard file")
    parser.add_argument("home", metavar="HOME", nargs="?", help="where the studies are kept; by default a new temporary folder")
    parser.add_argument("-o", dest="folder", metavar="FOLDER", type=Path, default=Path("aider-reports"), help="where the reports go")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with evalkit.connect(options.home or tempfile.mkdtemp(prefix="aider-")) as kit:
        record(kit, options.path)
        for study in sorted(kit.studies().filter(pl.col("tags").list.contains("aider"))["name"]):
            page = options.folder / f"{study.replace(' ', '-')}.html"
            data = kit.report(study, page.with_suffix(".json"))
            kit.report(study, page)
            print(f"{study}: {significant_results(json.loads(data.read_text()))}. {page}")


if __name__ == "__main__":
    main()
