"""Create the pictures of the README, of charts and of the panel in JupyterLab: python -m tests.pictures [FOLDER]."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from evalkit import connect, plots
from tests.browser import Notebook, Tab
from tests.chromium import running_chromium
from tests.lab import Lab

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"
STUDIES = """
import evalkit
from evalkit.samples import sample_checkpoints

kit = evalkit.connect("home")
for number, (name, period, start, count, trend) in enumerate([
    ("old prompt", "weekly:8", "2026-01-05T00:00:00Z", 6, -0.05),
    ("weekly coder", "weekly:12", "2026-01-19T00:00:00Z", 8, 0.15),
    ("nightly helper", "daily:60", "2026-02-02T00:00:00Z", 44, 0.03),
]):
    study = kit.create_study(name, period=period, at=start, tags=["coding"], metadata={"model": f"m-{number + 1}"}, if_exists="open",
                             description="Does the agent get better from period to period?")
    if study.status == "pending":
        kit.start_study(study, at=start)
        rows = sample_checkpoints(period.partition(":")[0], start, count, seed=number + 1, trend=trend)
        kit.record_checkpoints(study, [row for index, row in enumerate(rows) if period != "daily:60" or index not in (9, *range(20, 26))])
    if name == "nightly helper" and study.status == "pending":
        kit.note(study, "New help pages", at="2026-03-05T00:00:00Z", category="data")
        kit.note(study, "Provider outage", at="2026-02-07T00:00:00Z", until="2026-02-08T12:00:00Z", category="incident")
        kit.amend_checkpoint((study, "2026-02-17"), {"session_success_rate": 0.5, "total_cost": 9.5}, reason="Runs of another agent")
kit.stop_study("old prompt", at="2026-02-16T00:00:00Z")
kit.pause_study("nightly helper", at="2026-02-22T00:00:00Z")
kit.resume_study("nightly helper", at="2026-02-28T00:00:00Z")
""".strip()


def charts(home: Path, folder: Path) -> None:
    """Save each kind of chart as SVG."""
    kit = connect(home)
    data = kit.data()
    for name, chart in {
        "trend": plots.trend(data, "session_success_rate"),
        "compare": plots.trend(data, "cost_per_successful_task", align="start"),
        "scatter": plots.scatter(data),
        "lifecycle": plots.lifecycle(data),
        "overview": plots.overview(kit.checkpoints("weekly coder")),
    }.items():
        plots.save(chart, folder / f"{name}.svg")


def panel(home: Path, folder: Path) -> None:
    """Take screenshots of the panel in JupyterLab, light and dark."""
    with tempfile.TemporaryDirectory() as scratch, Lab(Path(scratch)) as lab, running_chromium() as browser:
        tab = Tab(browser)
        tab.page.set_viewport_size({"width": 1400, "height": 1300})
        cells = [f"import evalkit\nkit = evalkit.connect({str(home)!r})", 'kit.panel("nightly helper")']
        notebook = Notebook(tab, lab, lab.write("pictures.ipynb", cells)).open()
        notebook.run_all()
        tab.page.locator(".evalkit-chart svg").wait_for(timeout=60_000)
        for theme in ("light", "dark"):
            notebook.theme(theme)
            tab.page.wait_for_timeout(1000)
            tab.page.locator(".evalkit-panel").screenshot(path=folder / f"panel-{theme}.png")
        tab.check()
        tab.close()


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        exec(STUDIES.replace('"home"', repr(str(home))), {})
        charts(home, folder)
        panel(home, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
